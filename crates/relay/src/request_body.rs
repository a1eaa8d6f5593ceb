//! Reads a request's body: the model that it names, and whether it contradicts an estimate. A body
//! that an upstream could read differently is refused.

use crate::call::{ApiBody, NamedBy};
use crate::inflate::{inflate, is_compressed};
use crate::{RelayConfig, faults};
use bytes::Bytes;
use domain::{Fault, ModelName};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use upstream::media::{self, MediaError, MediaKind};
use upstream::multipart::{self, MultipartError};
use upstream::query;
use upstream::splice::{self, SpliceError};

const MODEL: &str = "model";
const PRECHARGE: &str = "precharge";
const URLENCODED: &str = "x-www-form-urlencoded";
const MULTIPART: &str = "multipart/";

/// Reads which model a call's body means; `default` is meant by one that names none.
pub(crate) fn model_in_body(
    headers: &HeaderMap,
    body: &Bytes,
    default: Option<&str>,
    config: &RelayConfig,
) -> Result<(ModelName, ApiBody), Fault> {
    if body.is_empty() {
        return Err(faults::model_missing());
    }
    let kind = kind(headers)?;
    let plain = plain(headers, body, config)?;
    let (text, named_by) = match (kind, default) {
        (MediaKind::Json, default) => match (splice::top_level_string(&plain, MODEL), default) {
            (Err(SpliceError::Missing(_)), Some(model)) => (model.to_owned(), NamedBy::Default),
            (named, _) => (named.map_err(bad_json)?, NamedBy::Json),
        },
        // A form is not added to, so it names its model itself.
        (MediaKind::Form { boundary }, _) => {
            let field = multipart::field(&boundary, &plain, MODEL).map_err(bad_form)?;
            (field.text.clone(), NamedBy::Form(field))
        }
    };
    let model = ModelName::parse(&text)
        .map_err(|e| faults::invalid(format!("model 无效: {e}"), format!("model {e}")))?;
    Ok((model, ApiBody { plain, named_by }))
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

fn unreadable(error: MediaError) -> Fault {
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

#[cfg(test)]
mod tests {
    use super::*;
    use domain::FaultKind;
    use http::HeaderValue;
    use http::header::CONTENT_TYPE;

    fn config() -> RelayConfig {
        RelayConfig::default()
    }

    fn of_type(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    fn read(content_type: &'static str, body: &'static [u8]) -> Result<String, Fault> {
        model_in_body(&of_type(content_type), &Bytes::from_static(body), None, &config())
            .map(|(model, _)| model.to_string())
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
