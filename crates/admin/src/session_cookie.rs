//! The cookie of a session and the token that guards its writes: `/api` and the console share them.

use crate::AdminError;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// Name of the cookie.
const NAME: &str = "newapi_session";
/// Longer values are of no session.
const MAX_BYTES: usize = 128;
/// A link from a mail leads into a session; a write needs the CSRF token, which a foreign site
/// can't read.
const ATTRIBUTES: &str = "Path=/; HttpOnly; SameSite=Lax";

/// What the cookie of a request holds.
#[must_use]
pub fn read(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|p| p.trim().split_once('='));
    let (_, token) = pairs.find(|(name, _)| *name == NAME)?;
    (!token.is_empty() && token.len() <= MAX_BYTES).then_some(token)
}

/// The header that begins a session in the browser; `secure`: over HTTPS alone.
///
/// # Errors
/// When the token can't be a cookie.
pub fn set(token: &str, secure: bool) -> Result<HeaderValue, AdminError> {
    let secure = if secure { "; Secure" } else { "" };
    let cookie = HeaderValue::try_from(format!("{NAME}={token}; {ATTRIBUTES}{secure}"));
    let mut cookie = cookie.map_err(|error| AdminError::System(error.to_string()))?;
    cookie.set_sensitive(true);
    Ok(cookie)
}

/// The header that takes the cookie away.
#[must_use]
pub const fn clear() -> HeaderValue {
    HeaderValue::from_static("newapi_session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0")
}

/// The CSRF token of a session. It follows from the session's token, which can't be found from it.
#[must_use]
pub fn csrf_token(token: &str) -> String {
    let hash = store::key_hash(&format!("csrf:{token}"));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `given` is the CSRF token of this session.
#[must_use]
pub fn csrf_matches(token: &str, given: &str) -> bool {
    // Compared as hashes, so that timing reveals nothing about the token.
    store::key_hash(given) == store::key_hash(&csrf_token(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(read(&headers), None);
        headers.append(COOKIE, HeaderValue::from_static("a=b; newapi_session=xyz; c=d"));
        assert_eq!(read(&headers), Some("xyz"));
        headers.insert(COOKIE, HeaderValue::from_static("newapi_session="));
        assert_eq!(read(&headers), None);
    }

    #[test]
    fn a_token_belongs_to_its_session() {
        assert!(csrf_matches("one", &csrf_token("one")));
        assert!(!csrf_matches("one", &csrf_token("two")));
        assert!(!csrf_matches("one", ""));
    }
}
