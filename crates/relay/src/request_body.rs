//! Decompresses a request's body, and tells whether it contradicts an estimate. What else is read
//! of it is in [`egress::request_body`].

use crate::inflate::{inflate, is_compressed};
use crate::{RelayConfig, faults};
use bytes::Bytes;
use domain::Fault;
use egress::request_body::{bad_form, kind};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use upstream::media::{self, MediaKind};
use upstream::multipart::{self, MultipartError};
use upstream::{query, splice};

const PRECHARGE: &str = "precharge";
const URLENCODED: &str = "x-www-form-urlencoded";
const MULTIPART: &str = "multipart/";

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

fn unreadable_coding() -> Fault {
    faults::invalid(
        "不支持该 Content-Encoding",
        "this Content-Encoding of the request can't be read",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::CONTENT_TYPE;

    fn of_type(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
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
