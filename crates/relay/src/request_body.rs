//! Reads a request's body: the model that it names, and what it is about, and whether it
//! contradicts an estimate. A body
//! that an upstream could read differently is refused.

use crate::call::NamedBy;
use crate::inflate::{inflate, is_compressed};
use crate::spoken::{ModelPlaces, Spoken};
use crate::{RelayConfig, faults};
use bytes::Bytes;
use domain::{Fault, ModelName};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use protocol::{Refusal, UnreadBody, ValueSource};
use serde_json::value::RawValue;
use upstream::media::{self, MediaError, MediaKind};
use upstream::multipart::{self, MultipartError};
use upstream::query;
use upstream::splice::{self, SpliceError};
use upstream::urlencoded::{self, UrlencodedError};

const PRECHARGE: &str = "precharge";
const URLENCODED: &str = "x-www-form-urlencoded";
const MULTIPART: &str = "multipart/";

/// Reads which model a call's body means.
pub(crate) fn model_in_body(
    kind: &MediaKind,
    plain: &[u8],
    places: &ModelPlaces<'_>,
) -> Result<(ModelName, NamedBy), Fault> {
    let (text, named_by) = match kind {
        MediaKind::Json => model_in_json(plain, places)?,
        MediaKind::Form { boundary } => model_in_form(boundary, plain, places)?,
        MediaKind::Urlencoded => model_in_urlencoded(plain, places)?,
    };
    Ok((model_name(&text)?, named_by))
}

/// Reads the one model that all requests of a body name.
pub(crate) fn models_in_body(spoken: &Spoken, plain: &[u8]) -> Result<ModelName, Fault> {
    let read = spoken.route().read_request(spoken.captures(), "", plain);
    if read.ambiguous {
        return Err(faults::body_ambiguous());
    }
    if read.models_differ {
        return Err(faults::models_differ());
    }
    match read.model {
        Some(model) if read.well_formed => model_name(&model),
        _ => Err(faults::model_missing()),
    }
}

/// A model's name, as a client wrote it.
pub(crate) fn model_name(text: &str) -> Result<ModelName, Fault> {
    ModelName::parse(text)
        .map_err(|e| faults::invalid(format!("model 无效: {e}"), format!("model {e}")))
}

fn model_in_json(plain: &[u8], places: &ModelPlaces<'_>) -> Result<(String, NamedBy), Fault> {
    for member in &places.members {
        match splice::top_level_string(plain, member) {
            Err(SpliceError::Missing(_)) => {}
            named => {
                let named = named.map_err(bad_json)?;
                let model = places.prefix.and_then(|prefix| named.strip_prefix(prefix));
                let model = model.map(str::to_owned).unwrap_or(named);
                return Ok((model, NamedBy::Json((*member).into())));
            }
        }
    }
    match (places.default, places.members.first()) {
        (Some(model), Some(member)) => Ok((model.to_owned(), NamedBy::Default((*member).into()))),
        _ => Err(faults::model_missing()),
    }
}

/// A form is not added to, so it names its model itself.
fn model_in_form(
    boundary: &str,
    plain: &[u8],
    places: &ModelPlaces<'_>,
) -> Result<(String, NamedBy), Fault> {
    for member in &places.members {
        match multipart::field(boundary, plain, member) {
            Err(MultipartError::Missing(_)) => {}
            field => {
                let field = field.map_err(bad_form)?;
                return Ok((field.text.clone(), NamedBy::Form(field)));
            }
        }
    }
    Err(faults::model_missing())
}

fn model_in_urlencoded(plain: &[u8], places: &ModelPlaces<'_>) -> Result<(String, NamedBy), Fault> {
    for member in &places.members {
        if let Some(text) = urlencoded::field(plain, member).map_err(bad_fields)? {
            return Ok((text, NamedBy::Urlencoded((*member).into())));
        }
    }
    Err(faults::model_missing())
}

/// The fields of a form as a JSON object; none of other bodies.
pub(crate) fn form_as_json(
    kind: Option<&MediaKind>,
    plain: &[u8],
) -> Result<Option<String>, Fault> {
    match kind {
        Some(MediaKind::Form { boundary }) => {
            multipart::as_json(boundary, plain).map(Some).map_err(bad_form)
        }
        Some(MediaKind::Urlencoded) => urlencoded::as_json(plain).map(Some).map_err(bad_fields),
        Some(MediaKind::Json) | None => Ok(None),
    }
}

/// The ids of what a call is about that was made before.
pub(crate) fn resource_ids(
    spoken: &Spoken,
    query: Option<&str>,
    (kind, plain): (Option<&MediaKind>, &[u8]),
) -> Result<Vec<String>, Fault> {
    let route = spoken.route();
    if route.uses.is_empty() {
        return Ok(Vec::new());
    }
    let query = query.unwrap_or_default();
    // A vendor that names the model in the path may read JSON whatever its type says.
    let form = kind.filter(|kind| **kind != MediaKind::Json);
    let is_read = form.is_none() && route.may_use_resources(plain);
    let json = if is_read { plain } else { b"" };
    let mut ids = Vec::new();
    for source in &route.uses {
        match (source, form) {
            (ValueSource::Query(name), _) => {
                query::parameter(query, name).map_err(|_| faults::ambiguous(name))?;
            }
            (source, Some(form)) => ids.extend(id_in_form(form, plain, source)?),
            (ValueSource::Body(_), None) if is_read || kind.is_some() => {
                let name = source.form_field();
                name.map_or(Ok(()), |name| splice::check_unambiguous(plain, name))
                    .map_err(bad_json)?;
            }
            (_, None) => {}
        }
    }
    let read = route.read_request(spoken.captures(), query, json);
    if read.ambiguous {
        return Err(faults::body_ambiguous());
    }
    ids.extend(read.resources);
    Ok(ids)
}

/// The id that a field of a form names. What stands deeper in JSON has no field that all readers
/// take for it, so a form that may mean it is refused.
fn id_in_form(
    form: &MediaKind,
    plain: &[u8],
    source: &ValueSource,
) -> Result<Option<String>, Fault> {
    let Some(first) = source.first_name() else { return Ok(None) };
    let is_field = source.form_field().is_some();
    match form {
        MediaKind::Form { boundary } if is_field => {
            match multipart::field(boundary, plain, first) {
                Err(MultipartError::Missing(_)) => Ok(None),
                field => field.map(|field| Some(field.text)).map_err(bad_form),
            }
        }
        MediaKind::Urlencoded if is_field => urlencoded::field(plain, first).map_err(bad_fields),
        MediaKind::Form { boundary } => match multipart::says(boundary, plain, first) {
            Ok(true) => Err(faults::needs_json(first)),
            said => said.map(|_| None).map_err(bad_form),
        },
        MediaKind::Urlencoded => match urlencoded::says(plain, first) {
            Ok(true) => Err(faults::needs_json(first)),
            said => said.map(|_| None).map_err(bad_fields),
        },
        MediaKind::Json => Ok(None),
    }
}

/// Refuses a request that says what its route may not be told.
pub(crate) fn check_head(
    spoken: &Spoken,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<(), Fault> {
    let texts = |name: &str| {
        let values = headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    match spoken.route().refusal_by_head(query.unwrap_or_default(), texts) {
        Some(Refusal { zh, en, .. }) => Err(faults::invalid(zh, en)),
        None => Ok(()),
    }
}

/// The same of its body, of a form by its fields.
pub(crate) fn check_body(
    spoken: &Spoken,
    kind: Option<&MediaKind>,
    plain: &[u8],
) -> Result<(), Fault> {
    let route = spoken.route();
    if plain.is_empty() || !route.refuses_by_body() {
        return Ok(());
    }
    let fields = form_as_json(kind, plain)?;
    // What a form says unclearly is there by name alone.
    if fields.is_none() && !route.may_be_refused(plain) {
        return Ok(());
    }
    let json = fields.as_ref().map_or(plain, |fields| fields.as_bytes());
    let members: Vec<&str> = route.refused_members().collect();
    let Some(said) = splice::members_alone(json, &members).map_err(bad_json)? else {
        return Ok(());
    };
    match route.refusal_by_body(&said) {
        Ok(None) => Ok(()),
        Ok(Some(Refusal { zh, en, .. })) => Err(faults::invalid(zh, en)),
        Err(UnreadBody::NoObject) => Err(no_object()),
        Err(UnreadBody::Ambiguous) => Err(faults::body_ambiguous()),
    }
}

/// Refuses a body that may name what was made before, or say what it may not, and is neither a JSON
/// object nor a form whose fields can be looked at: an upstream may read what is not read here.
/// `is_read`: its model was read from it.
pub(crate) fn check_readable(
    spoken: &Spoken,
    (kind, plain): (Option<&MediaKind>, &[u8]),
    is_read: bool,
) -> Result<(), Fault> {
    let route = spoken.route();
    let is_looked_at = || route.refuses_by_body() || route.uses.iter().any(ValueSource::is_in_body);
    if plain.is_empty() || !is_looked_at() {
        return Ok(());
    }
    if kind.is_some_and(|kind| *kind != MediaKind::Json) {
        let anywhere = |source: &ValueSource| matches!(source, ValueSource::Anywhere(_));
        return if route.uses.iter().any(anywhere) { Err(no_object()) } else { Ok(()) };
    }
    let object = plain.trim_ascii();
    let is_object =
        || object.starts_with(b"{") && serde_json::from_slice::<&RawValue>(object).is_ok();
    if is_read || is_object() { Ok(()) } else { Err(no_object()) }
}

fn no_object() -> Fault {
    faults::invalid("请求体必须是 JSON 对象", "the body is not a JSON object")
}

/// The kind of a body that determines the price.
pub(crate) fn kind(headers: &HeaderMap) -> Result<MediaKind, Fault> {
    media::media_kind(headers).map_err(unreadable)
}

/// The decoded body.
pub(crate) fn plain(
    headers: &HeaderMap,
    body: &Bytes,
    config: &RelayConfig,
) -> Result<Bytes, Fault> {
    if headers.get_all(CONTENT_ENCODING).iter().count() > 1 {
        return Err(unreadable_coding());
    }
    if !is_compressed(headers) {
        return Ok(body.clone());
    }
    match inflate(headers, body, config.max_request_bytes) {
        Ok(Some(plain)) => Ok(plain.into()),
        Ok(None) => Err(unreadable_coding()),
        Err(e) => Err(e.fault()),
    }
}

/// Whether a body can carry our `precharge`, and has none of its own.
pub(crate) fn check_can_carry_estimate(plain: &[u8]) -> Result<(), Fault> {
    match splice::has_member(plain, PRECHARGE) {
        Ok(false) => Ok(()),
        Ok(true) => Err(faults::precharge_said()),
        Err(_) => Err(faults::estimate_needs_json()),
    }
}

/// Refuses a JSON object with `precharge` at its top level.
pub(crate) fn check_is_no_estimate(plain: &[u8]) -> Result<(), Fault> {
    let says = may_contain_precharge(plain) && splice::has_member(plain, PRECHARGE) == Ok(true);
    if says { Err(faults::precharge_said()) } else { Ok(()) }
}

/// Refuses a body with `precharge` where the query must have it: some upstreams merge both, and
/// prefer the body's.
pub(crate) fn check_has_no_precharge(headers: &HeaderMap, plain: &[u8]) -> Result<(), Fault> {
    let says = if media::mentions(headers, MULTIPART) {
        form_has_precharge(headers, plain)?
    } else {
        media::mentions(headers, URLENCODED) && upstream::says(plain, PRECHARGE)
    };
    if says { Err(faults::precharge_said()) } else { check_is_no_estimate(plain) }
}

/// Whether JSON can contain the member at all: saves most bodies from being parsed.
fn may_contain_precharge(plain: &[u8]) -> bool {
    query::contains(plain, PRECHARGE) || memchr::memmem::find(plain, b"\\u").is_some()
}

fn form_has_precharge(headers: &HeaderMap, plain: &[u8]) -> Result<bool, Fault> {
    let MediaKind::Form { boundary } = kind(headers)? else { return Ok(false) };
    match multipart::field(&boundary, plain, PRECHARGE) {
        Ok(_) | Err(MultipartError::Duplicate(_) | MultipartError::NotText(_)) => Ok(true),
        Err(MultipartError::Missing(_)) => Ok(false),
        Err(error) => Err(bad_form(error)),
    }
}

pub(crate) fn unreadable(error: MediaError) -> Fault {
    faults::media_type(error.zh(), &error.to_string())
}

fn unreadable_coding() -> Fault {
    faults::invalid(
        "不支持该 Content-Encoding",
        "this Content-Encoding of the request can't be read",
    )
}

pub(crate) fn bad_json(error: SpliceError) -> Fault {
    match error {
        SpliceError::Missing(_) => faults::model_missing(),
        error => faults::invalid(error.zh(), error.to_string()),
    }
}

pub(crate) fn bad_form(error: MultipartError) -> Fault {
    match error {
        MultipartError::Missing(_) => faults::model_missing(),
        error => faults::invalid(error.zh(), error.to_string()),
    }
}

pub(crate) fn bad_fields(error: UrlencodedError) -> Fault {
    match error {
        UrlencodedError::NoForm => faults::media_type(&error.zh(), &error.to_string()),
        error => faults::invalid(error.zh(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::FaultKind;
    use http::HeaderValue;
    use http::header::CONTENT_TYPE;

    fn of_type(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    fn read(content_type: &'static str, body: &'static [u8]) -> Result<String, Fault> {
        let places = ModelPlaces::unspoken();
        let kind = kind(&of_type(content_type))?;
        model_in_body(&kind, body, &places).map(|(model, _)| model.to_string())
    }

    #[test]
    fn the_model_of_a_body() {
        assert_eq!(read("application/json", br#"{"a":1,"model":"m"}"#).unwrap(), "m");
        let form = b"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nw\r\n--b--\r\n";
        assert_eq!(read("multipart/form-data; boundary=b", form).unwrap(), "w");
        let fault = read("text/plain", br#"{"model":"m"}"#).unwrap_err();
        assert_eq!(fault.kind, FaultKind::UnsupportedMediaType);
    }

    #[test]
    fn bodies_without_one_model_are_refused() {
        for body in [
            &b""[..],
            b"{}",
            b"[]",
            b"{\"model\":1}",
            b"{\"model\":\"a\",\"model\":\"b\"}",
            b"{\"model\":\"../x\"}",
            b"{\"model\":\"a\"",
            b"\xff",
        ] {
            let fault = read("application/json", body).unwrap_err();
            assert_eq!(fault.kind, FaultKind::InvalidRequest, "{body:?}");
        }
    }

    #[test]
    fn precharge_in_a_body() {
        let refuses = |kind, body: &[u8]| check_has_no_precharge(&of_type(kind), body).is_err();
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        assert!(refuses(form, b"a=1&%70recharge=0") && refuses("", br#"{"PreCharge":0}"#));
        assert!(!refuses(form, b"a=precharge") && !refuses("", br#"{"a":{"precharge":0}}"#));
        assert!(!refuses("application/octet-stream", b"precharge=0 \xff"));
        let parts = "multipart/form-data; boundary=b";
        let part = b"--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\nprecharge\r\n--b--";
        assert!(!refuses(parts, part) && refuses(parts, b"odd") && refuses("multipart/x", part));
    }
}
