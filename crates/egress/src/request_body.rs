//! Reads a request: the model that it names, and what it is about. A body that an upstream could
//! read differently is refused. Calls and trials of documents read by the same.

use crate::faults;
use domain::{Fault, ModelName};
use http::HeaderMap;
use protocol::{PathCaptures, ProtocolRoute, Refusal, UnreadBody, ValueSource};
use serde_json::value::RawValue;
use upstream::media::{self, MediaError, MediaKind};
use upstream::multipart::{self, MultipartError};
use upstream::query;
use upstream::splice::{self, SpliceError};
use upstream::urlencoded::{self, UrlencodedError};

/// Who names the model of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// This member at the top of a JSON body.
    Json(Box<str>),
    /// This field of a form.
    Form(multipart::Field),
    /// This field of a form that is encoded as a query is.
    Urlencoded(Box<str>),
    /// The protocol, because the call names none: this member is added.
    Default(Box<str>),
    /// This parameter of the query, which the upstream gets where its protocol says so.
    Query(Box<str>),
    /// The path, what the call is about, or the protocol, without a member of the body.
    Elsewhere,
}

/// Where calls of a route name their model, if not in their path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelPlaces<'a> {
    /// Members at the top of a JSON body, or fields of a form; the preferred one first.
    pub members: Vec<&'a str>,
    /// A parameter of the query.
    pub parameter: Option<&'a str>,
    /// The model of a call that names none.
    pub default: Option<&'a str>,
    /// What stands before the model's name in a body.
    pub prefix: Option<&'a str>,
}

impl<'a> ModelPlaces<'a> {
    /// Those of a route.
    #[must_use]
    pub fn of(route: &'a ProtocolRoute) -> Self {
        let prefix = route.model_prefix.as_deref();
        let mut places = Self { prefix, ..Self::default() };
        for source in &route.model {
            match source {
                ValueSource::Body(_) => places.members.extend(source.form_field()),
                ValueSource::Query(name) => places.parameter = Some(name),
                ValueSource::Default(name) => places.default = Some(name),
                ValueSource::Path | ValueSource::Every(_) | ValueSource::Anywhere(_) => {}
            }
        }
        places
    }

    /// Refuses a query that says a name by which some upstream may look for its model there, where
    /// it is not.
    ///
    /// # Errors
    /// When it says one.
    pub fn check_query(&self, query: &str) -> Result<(), Fault> {
        let mut names = self.members.iter().copied().chain(["model"]);
        let says = |name| self.parameter != Some(name) && upstream::says(query.as_bytes(), name);
        if names.any(says) { Err(faults::model_said()) } else { Ok(()) }
    }

    /// Those of a path that no protocol has.
    #[must_use]
    pub fn unspoken() -> Self {
        Self { members: vec!["model"], ..Self::default() }
    }
}

/// Who names the model, as far as it is known before the body is read.
#[derive(Debug)]
pub enum Named {
    /// It is this one.
    Outside(ModelName, NamedBy),
    /// What the call is about.
    ByResource,
    /// The body.
    InBody,
}

impl Named {
    /// The model that is named by the path, the query, or, where no body could name one, by the
    /// protocol.
    ///
    /// # Errors
    /// When what names it can't be one, or may be read differently.
    pub fn outside_of_body(
        (route, captures): (&ProtocolRoute, &PathCaptures),
        query: &str,
    ) -> Result<Self, Fault> {
        let in_path = captures.get("model").filter(|_| route.model.contains(&ValueSource::Path));
        if let Some(model) = in_path {
            return Ok(Self::Outside(model_name(model)?, NamedBy::Elsewhere));
        }
        if route.model.is_empty() && route.uses.is_empty() {
            // What stands in the log, where others have a model.
            return Ok(Self::Outside(model_name(&route.protocol)?, NamedBy::Elsewhere));
        }
        if route.model.is_empty() {
            return Ok(Self::ByResource);
        }
        let places = ModelPlaces::of(route);
        if let Some(parameter) = places.parameter {
            let named = query::parameter(query, parameter);
            if let Some(model) = named.map_err(|_| faults::ambiguous(parameter))? {
                return Ok(Self::Outside(model_name(&model)?, NamedBy::Query(parameter.into())));
            }
        }
        match places.default {
            Some(model) if places.members.is_empty() => {
                // What is priced is what runs, also where the upstream has a default.
                let parameter = places.parameter.filter(|_| route.model_stays);
                let by = parameter.map_or(NamedBy::Elsewhere, |name| NamedBy::Query(name.into()));
                Ok(Self::Outside(model_name(model)?, by))
            }
            _ => Ok(Self::InBody),
        }
    }
}

/// Reads which model a call's body means.
///
/// # Errors
/// When it names none, or can't be read in one way only.
pub fn model_in_body(
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
///
/// # Errors
/// When they name several or none, or it can't be read in one way only.
pub fn models_in_body(
    (route, captures): (&ProtocolRoute, &PathCaptures),
    plain: &[u8],
) -> Result<ModelName, Fault> {
    let read = route.read_request(captures, "", plain);
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
///
/// # Errors
/// When none is called so.
pub fn model_name(text: &str) -> Result<ModelName, Fault> {
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
///
/// # Errors
/// When the form can't be read in one way only.
pub fn form_as_json(kind: Option<&MediaKind>, plain: &[u8]) -> Result<Option<String>, Fault> {
    match kind {
        Some(MediaKind::Form { boundary }) => {
            multipart::as_json(boundary, plain).map(Some).map_err(bad_form)
        }
        Some(MediaKind::Urlencoded) => urlencoded::as_json(plain).map(Some).map_err(bad_fields),
        Some(MediaKind::Json) | None => Ok(None),
    }
}

/// The ids of what a call is about that was made before.
///
/// # Errors
/// When it can't be read in one way only.
pub fn resource_ids(
    (route, captures): (&ProtocolRoute, &PathCaptures),
    query: Option<&str>,
    (kind, plain): (Option<&MediaKind>, &[u8]),
) -> Result<Vec<String>, Fault> {
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
    let read = route.read_request(captures, query, json);
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
    if source.form_field().is_none() {
        return match form_says(form, plain, first)? {
            true => Err(faults::needs_json(first)),
            false => Ok(None),
        };
    }
    match form {
        MediaKind::Form { boundary } => match multipart::field(boundary, plain, first) {
            Err(MultipartError::Missing(_)) => Ok(None),
            field => field.map(|field| Some(field.text)).map_err(bad_form),
        },
        MediaKind::Urlencoded => urlencoded::field(plain, first).map_err(bad_fields),
        MediaKind::Json => Ok(None),
    }
}

/// Whether a form has a field that a reader may take for `name`, or for a part of it.
fn form_says(form: &MediaKind, plain: &[u8], name: &str) -> Result<bool, Fault> {
    match form {
        MediaKind::Form { boundary } => multipart::says(boundary, plain, name).map_err(bad_form),
        MediaKind::Urlencoded => urlencoded::says(plain, name).map_err(bad_fields),
        MediaKind::Json => Ok(false),
    }
}

/// Refuses a request that says what its route may not be told.
///
/// # Errors
/// When its query or its headers say it.
pub fn check_head(
    route: &ProtocolRoute,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<(), Fault> {
    let texts = |name: &str| {
        let values = headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    match route.refusal_by_head(query.unwrap_or_default(), texts) {
        Some(Refusal { zh, en, .. }) => Err(faults::invalid(zh, en)),
        None => Ok(()),
    }
}

/// The same of its body, of a form by its fields.
///
/// # Errors
/// When it says it, or can't be read in one way only.
pub fn check_body(
    route: &ProtocolRoute,
    kind: Option<&MediaKind>,
    plain: &[u8],
) -> Result<(), Fault> {
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
///
/// # Errors
/// When it is such a body.
pub fn check_readable(
    route: &ProtocolRoute,
    (kind, plain): (Option<&MediaKind>, &[u8]),
    is_read: bool,
) -> Result<(), Fault> {
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
///
/// # Errors
/// When it is neither JSON nor a form, or that is said in more than one way.
pub fn kind(headers: &HeaderMap) -> Result<MediaKind, Fault> {
    media::media_kind(headers).map_err(unreadable)
}

/// The fault of a body of an unusable kind.
#[must_use]
pub fn unreadable(error: MediaError) -> Fault {
    faults::media_type(error.zh(), &error.to_string())
}

/// The fault of a body of JSON.
#[must_use]
pub fn bad_json(error: SpliceError) -> Fault {
    match error {
        SpliceError::Missing(_) => faults::model_missing(),
        error => faults::invalid(error.zh(), error.to_string()),
    }
}

/// The fault of a form.
#[must_use]
pub fn bad_form(error: MultipartError) -> Fault {
    match error {
        MultipartError::Missing(_) => faults::model_missing(),
        error => faults::invalid(error.zh(), error.to_string()),
    }
}

/// The fault of a form that is encoded as a query is.
#[must_use]
pub fn bad_fields(error: UrlencodedError) -> Fault {
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
}
