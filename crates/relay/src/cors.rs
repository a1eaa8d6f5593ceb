//! Cross-origin calls from browsers (the CORS protocol of the Fetch standard). Keys travel in
//! headers and never in cookies, so a page of another origin can do no more than its own client.

use crate::methods;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use std::borrow::Cow;
use web::Body;

/// How long a browser remembers a preflight, in seconds. Browsers have limits of their own.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// All headers of a reply, and by name those that older browsers need.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "*, X-Request-Id, X-Newapi-Quota, Retry-After, Idempotent-Replayed, X-RateLimit-Limit, \
     X-RateLimit-Remaining, X-RateLimit-Reset",
);
const ANY: HeaderValue = HeaderValue::from_static("*");

/// Which origins may call from a browser (`CORS_ORIGINS`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Every one.
    Any,
    /// These, as browsers write them.
    Listed(Vec<HeaderValue>),
}

impl CorsOrigins {
    /// Reads `*`, `off`, or origins separated by commas.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "*" => Some(Self::Any),
            "off" => Some(Self::Listed(Vec::new())),
            list => list.split(',').map(origin).collect::<Option<_>>().map(Self::Listed),
        }
    }

    /// What `Access-Control-Allow-Origin` says to a request; none: it is from no such page.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        match self {
            Self::Any => Some(ANY),
            Self::Listed(list) => list.contains(origin).then(|| origin.clone()),
        }
    }

    /// The answer to a preflight, if the request is one. It has no key, so none is asked for.
    pub(crate) fn preflight(&self, head: &Parts) -> Option<Response<Body>> {
        let headers = &head.headers;
        let is_preflight = head.method == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight {
            return None;
        }
        let mut response = Response::new(web::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let to = response.headers_mut();
        to.insert(VARY, HeaderValue::from_static("Origin, Access-Control-Request-Headers"));
        if let Some(origin) = self.allowed(headers) {
            to.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            to.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods::PASSED));
            // `*` would not cover Authorization.
            if let Some(names) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
                to.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
            }
            to.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
        Some(response)
    }

    /// What lets a page read the response to its request.
    pub(crate) fn granted(&self, headers: &HeaderMap) -> CorsGrant {
        CorsGrant { origin: self.allowed(headers), varies: matches!(self, Self::Listed(_)) }
    }
}

/// The method that a request is about: of a preflight, that of the request which follows.
pub(crate) fn method_of<'a>(method: &'a Method, headers: &HeaderMap) -> Cow<'a, Method> {
    let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| method == Method::OPTIONS);
    let asked = asked.and_then(|asked| Method::from_bytes(asked.as_bytes()).ok());
    asked.map_or(Cow::Borrowed(method), Cow::Owned)
}

/// The headers for one response.
pub(crate) struct CorsGrant {
    origin: Option<HeaderValue>,
    varies: bool,
}

impl CorsGrant {
    pub(crate) fn add_to<T>(self, response: &mut Response<T>) {
        let Some(origin) = self.origin else { return };
        let to = response.headers_mut();
        to.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        to.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        if self.varies {
            to.append(VARY, HeaderValue::from_static("Origin"));
        }
    }
}

/// An origin as browsers send it: `https://app.example`, with a port that is not the usual one.
fn origin(text: &str) -> Option<HeaderValue> {
    let text = text.trim().trim_end_matches('/').to_ascii_lowercase();
    let uri = text.parse::<Uri>().ok()?;
    let authority = uri.authority()?;
    let is_plain = uri.path() == "/" && uri.query().is_none() && !authority.as_str().contains('@');
    let rebuilt = format!("{}://{authority}", uri.scheme_str()?);
    (is_plain && rebuilt == text).then(|| HeaderValue::try_from(text).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        assert_eq!(CorsOrigins::parse(" * "), Some(CorsOrigins::Any));
        assert_eq!(CorsOrigins::parse("off"), Some(CorsOrigins::Listed(Vec::new())));
        let listed = CorsOrigins::parse("https://App.example/, http://localhost:5173").unwrap();
        let names = ["https://app.example", "http://localhost:5173"];
        let names = names.map(HeaderValue::from_static).into();
        assert_eq!(listed, CorsOrigins::Listed(names));
        for text in
            ["app.example", "https://a/b", "https://u@a", "*, https://a", "https://a?b", ","]
        {
            assert_eq!(CorsOrigins::parse(text), None, "{text}");
        }
    }
}
