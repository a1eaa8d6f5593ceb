//! Where a browser's request was made.

use crate::AdminError;
use http::{HeaderMap, HeaderName, HeaderValue};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses requests that a browser marks as coming from another site.
///
/// # Errors
/// When it is one.
pub fn check_site(headers: &HeaderMap) -> Result<(), AdminError> {
    match headers.get(&SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(foreign_site()),
    }
}

/// The refusal of a write that no page of the console has sent.
#[must_use]
pub fn foreign_site() -> AdminError {
    AdminError::forbidden(
        "请求不是从本页面发出的, 请刷新后重试",
        "this request did not come from a page of the console: reload and try again",
    )
}
