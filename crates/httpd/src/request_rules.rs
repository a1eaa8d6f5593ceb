//! Requests that hyper accepts although RFC 9112 has a server refuse them. Like those that hyper
//! refuses they get a status without a body, and the connection ends.

use http::header::{CONNECTION, HOST, HeaderMap, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use web::Body;

/// The response to a request that is refused.
pub(crate) fn refusal<B>(request: &Request<B>) -> Option<Response<Body>> {
    let status = refused_with(request.version(), request.headers())?;
    let mut response = Response::new(web::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    Some(response)
}

fn refused_with(version: Version, headers: &HeaderMap) -> Option<StatusCode> {
    // §3.2: one `Host`, which two servers could otherwise read apart. HTTP/1.0 had none.
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version < Version::HTTP_11 => {}
        (Some(host), None) if host.as_bytes().iter().all(|byte| is_of_host(*byte)) => {}
        _ => return Some(StatusCode::BAD_REQUEST),
    }
    // §6.1: codings below the chunks would reach an upstream without being said.
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => None,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => None,
        _ => Some(StatusCode::NOT_IMPLEMENTED),
    }
}

/// Whether a byte may be in a name or address, with a port (RFC 3986 §3.2.2). A comma may as well,
/// but means that two hosts were joined.
const fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b':' | b'[' | b']')
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=')
}
