//! Which headers are forwarded, in either direction.

use http::header::{self, HeaderMap, HeaderName};

/// Hop-by-hop headers (RFC 9110 §7.6.1).
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// What the client sends to this server only, or what hyper sets itself.
fn stays_here(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::AUTHORIZATION
            | header::COOKIE
            | header::HOST
            | header::CONTENT_LENGTH
            | header::EXPECT
            | header::ORIGIN
            | header::REFERER
            | header::FORWARDED
            | header::VIA
    ) || STAY_HERE.contains(&name.as_str())
        || STAYING_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
        || (name.as_str().starts_with("x-") && REROUTING.contains(&name.as_str()))
}

/// The spellings of a key, and what proxies before us say about the client.
const STAY_HERE: &[&str] = &[
    "api-key",
    "cdn-loop",
    "idempotency-key",
    "true-client-ip",
    "x-api-key",
    "x-goog-api-key",
    "x-real-ip",
];

/// The same, of families of headers: browsers' own, those of proxies, and ours.
const STAYING_PREFIXES: &[&str] = &["cf-", "proxy-", "sec-", "x-forwarded-", "x-newapi-"];

/// Headers that some servers and frameworks take the path or the method of a request from. The
/// price follows the path that was sent, so a client must not be able to override it.
const REROUTING: &[&str] = &[
    "x-envoy-original-path",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
];

/// The client's headers that are forwarded to the upstream. The channel's own (`Authorization`, the
/// user-token header, `Idempotency-Key`) are added by the caller, so that a client can't set them.
#[must_use]
pub fn forward_request_headers(
    from: &HeaderMap,
    user_token_header: Option<&HeaderName>,
) -> HeaderMap {
    copy(from, |name| !stays_here(name) && Some(name) != user_token_header)
}

/// The upstream's headers that are forwarded to the client.
///
/// `Set-Cookie` is dropped: the client's `Cookie` is never forwarded, so the session that it opens
/// could not continue, and under our own host name it could overwrite the console's session.
#[must_use]
pub fn forward_reply_headers(from: &HeaderMap) -> HeaderMap {
    copy(from, |name| *name != header::SET_COOKIE)
}

/// Copies the headers that `wanted` accepts, without hop-by-hop ones.
fn copy(from: &HeaderMap, wanted: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let named = Named::read(from);
    let mut to = HeaderMap::with_capacity(from.len() + 4);
    for (name, value) in from {
        if !is_hop_by_hop(name) && wanted(name) && !named.contains(name) {
            to.append(name.clone(), value.clone());
        }
    }
    to
}

/// The header names that `Connection` declares as hop-by-hop.
struct Named<'a>(Vec<&'a str>);

impl<'a> Named<'a> {
    fn read(headers: &'a HeaderMap) -> Self {
        let values = headers.get_all(header::CONNECTION).into_iter();
        let tokens = values.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
        let tokens = tokens.map(str::trim).filter(|token| {
            // The two usual values name nothing beyond what is dropped anyway: no list is allocated
            // for them.
            !token.eq_ignore_ascii_case("keep-alive") && !token.eq_ignore_ascii_case("close")
        });
        Self(tokens.collect())
    }

    fn contains(&self, name: &HeaderName) -> bool {
        // Content-Type can't be dropped this way: it defines how the body is parsed.
        self.0.iter().any(|token| token.eq_ignore_ascii_case(name.as_str()))
            && *name != header::CONTENT_TYPE
            && *name != header::CONTENT_ENCODING
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |&(name, value): &(&str, &str)| {
            (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
        };
        let mut map = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            map.append(name, value);
        }
        map
    }

    #[test]
    fn a_client_keeps_its_secrets_and_its_connection() {
        let from = map(&[
            ("authorization", "Bearer sk-1"),
            ("x-api-key", "sk-1"),
            ("cookie", "a=b"),
            ("host", "us"),
            ("content-length", "3"),
            ("content-type", "application/json"),
            ("connection", "Keep-Alive, X-Private, Content-Type"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("expect", "100-continue"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "close"),
            ("idempotency-key", "k"),
            ("x-http-method-override", "TRACE"),
            ("x-original-url", "/elsewhere"),
            ("x-custom-token", "forged"),
            ("x-other", "1"),
            ("x-other", "2"),
            ("accept", "*/*"),
        ]);
        let token = HeaderName::from_static("x-custom-token");
        let to = forward_request_headers(&from, Some(&token));
        let expected = map(&[
            ("content-type", "application/json"),
            ("x-other", "1"),
            ("x-other", "2"),
            ("accept", "*/*"),
        ]);
        assert_eq!(to, expected);
    }

    #[test]
    fn a_reply_keeps_its_length_and_encoding() {
        let from = map(&[
            ("content-length", "3"),
            ("content-encoding", "gzip"),
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("set-cookie", "session=1"),
            ("trailer", "x"),
            ("x-ratelimit-remaining", "5"),
        ]);
        let expected = map(&[
            ("content-length", "3"),
            ("content-encoding", "gzip"),
            ("x-ratelimit-remaining", "5"),
        ]);
        assert_eq!(forward_reply_headers(&from), expected);
    }
}
