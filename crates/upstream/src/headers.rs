//! Which headers are forwarded, in either direction.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use memchr::memmem::Finder;
use std::cell::LazyCell;

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
        || CHOOSING_ACCOUNT.contains(&name.as_str())
        || STAYING_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
        || (name.as_str().starts_with("x-")
            && REROUTING.iter().any(|prefix| name.as_str().starts_with(prefix)))
}

/// The spellings of a key, and what proxies before us say about the client.
const STAY_HERE: &[&str] = &[
    "api-key",
    "cdn-loop",
    "client-ip",
    "fastly-client-ip",
    "idempotency-key",
    "true-client-ip",
    "x-api-key",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-goog-api-key",
    "x-real-ip",
];

/// The same, of families of headers: browsers' own, those of proxies, and ours.
const STAYING_PREFIXES: &[&str] = &["cf-", "proxy-", "sec-", "x-forwarded", "x-newapi-"];

/// What chooses, below a key, the account that a call is billed to, or, at Azure, the model of its
/// tool that makes pictures. The key is the channel's, and
/// so is the choice: of another's an upstream says that the key is wrong, which would be the
/// channel's fault. A document's `[auth]` may set them.
const CHOOSING_ACCOUNT: &[&str] = &[
    "anthropic-workspace-id",
    "openai-organization",
    "openai-project",
    "x-dashscope-workspace",
    "x-goog-user-project",
    "x-ms-oai-image-generation-deployment",
];

/// Families of headers that some servers, proxies and frameworks take the host, the path or the
/// method of a request from. The price follows the path that was sent, so a client must not be able
/// to override it.
const REROUTING: &[&str] = &[
    "x-accel-",
    "x-envoy-",
    "x-host",
    "x-http-host",
    "x-http-method",
    "x-http-path",
    "x-matched-path",
    "x-method-",
    "x-middleware-",
    "x-original-",
    "x-override-",
    "x-path-override",
    "x-proxy-",
    "x-request-uri",
    "x-rewrite-",
    "x-url-scheme",
    "x-verb",
    "x-waws-",
];

/// Headers of a reply by which a proxy before us, or a browser, would go to another place, report
/// to one, or change what it does for our whole host.
const OVERREACHING: &[&str] = &[
    "accept-ch",
    "alt-svc",
    "clear-site-data",
    "critical-ch",
    "expect-ct",
    "nel",
    "observe-browsing-topics",
    "origin-agent-cluster",
    "public-key-pins",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "set-cookie2",
    "set-login",
    "strict-transport-security",
    "use-as-dictionary",
    "x-envoy-degraded",
    "x-envoy-immediate-health-check-fail",
    "x-lighttpd-send-file",
    "x-reproxy-url",
    "x-sendfile",
];

/// What a cache before us obeys rather than `Cache-Control`.
const TO_CACHES: &[&str] =
    &["cdn-cache-control", "cloudflare-cdn-cache-control", "edge-control", "surrogate-control"];

/// Families of headers that upstreams don't set for our host.
const OURS_TO_SAY: &[&str] = &["access-control-", "x-accel-", "x-litespeed-", "x-newapi-"];

/// What of a client's headers is meant for us alone.
#[derive(Clone, Copy)]
pub struct ClientSecrets<'a> {
    /// Headers that we carry its key in.
    pub names: &'a [HeaderName],
    /// Its key, which may be in any header.
    pub key: &'a [u8],
}

/// The client's headers that are forwarded to the upstream. The channel's own (`Authorization`, the
/// user-token header, `Idempotency-Key`) are added by the caller, so that a client can't set them.
///
/// A name with `_` is dropped: many servers read it as one with `-`, and so as a header that was
/// dropped or is ours.
#[must_use]
pub fn forward_request_headers(from: &HeaderMap, ours: ClientSecrets<'_>) -> HeaderMap {
    let mut to = copy(from, |name| {
        !stays_here(name) && !name.as_str().contains('_') && !ours.names.contains(name)
    });
    // Most values are shorter than a key.
    let key = LazyCell::new(|| Finder::new(ours.key));
    let may_have_key = |value: &HeaderValue| !ours.key.is_empty() && value.len() >= ours.key.len();
    let has_key = |(name, value): (&HeaderName, &HeaderValue)| {
        (may_have_key(value) && key.find(value.as_bytes()).is_some()).then(|| name.clone())
    };
    for name in to.iter().filter_map(has_key).collect::<Vec<_>>() {
        to.remove(name);
    }
    to
}

/// The upstream's headers that are forwarded to the client.
///
/// `Set-Cookie` is dropped: the client's `Cookie` is never forwarded, so the session that it opens
/// could not continue, and under our own host name it could overwrite the console's session.
///
/// A reply is its caller's, whatever its upstream says: to that, all calls are one account's.
#[must_use]
pub fn forward_reply_headers(from: &HeaderMap) -> HeaderMap {
    let mut to = copy(from, |name| {
        let text = name.as_str();
        let is_ours = OURS_TO_SAY.iter().any(|prefix| text.starts_with(prefix));
        let is_kept = !OVERREACHING.contains(&text) && !TO_CACHES.contains(&text);
        *name != header::SET_COOKIE && !is_ours && is_kept
    });
    if to.contains_key(header::CACHE_CONTROL) {
        keep_private(&mut to);
    }
    to
}

/// Keeps caches that several users share from storing a reply: most do not know what a key is.
pub fn keep_private(headers: &mut HeaderMap) {
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    let said = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let said: Vec<&str> = said.map(str::trim).filter(|directive| !directive.is_empty()).collect();
    let says = |word: &str| said.iter().any(|directive| directive.eq_ignore_ascii_case(word));
    if (says("private") || says("no-store")) && !said.iter().any(|it| is_for_all(it)) {
        return;
    }
    let stays = |it: &&str| !is_for_all(it) && !it.eq_ignore_ascii_case("private");
    let kept = said.iter().copied().filter(stays);
    let directives: Vec<&str> = std::iter::once("private").chain(kept).collect();
    let value = HeaderValue::try_from(directives.join(", "));
    headers.insert(header::CACHE_CONTROL, value.unwrap_or(HeaderValue::from_static("private")));
}

/// Whether a directive lets a cache store a reply that others share; `private="x-name"` keeps it
/// from storing a header alone.
fn is_for_all(directive: &str) -> bool {
    let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
    let is = |word: &str| name.trim_end().eq_ignore_ascii_case(word);
    is("public") || is("s-maxage") || is("private") && !argument.is_empty()
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
            ("x_api_key", "k"),
            ("x-http_method-override", "TRACE"),
            ("x-http-path-override", "/elsewhere"),
            ("x-envoy-original-path", "/elsewhere"),
            ("x-forwarded", "for=1.2.3.4"),
            ("x-token", "Bearer sk-1"),
            ("openai-organization", "org-other"),
            ("OpenAI-Project", "proj-other"),
            ("anthropic-workspace-id", "wrkspc-other"),
            ("x-goog-user-project", "other"),
            ("x-dashscope-workspace", "other"),
            ("x-ms-oai-image-generation-deployment", "dear"),
            ("x-other", "1"),
            ("x-other", "2"),
            ("accept", "*/*"),
        ]);
        let names = [HeaderName::from_static("x-custom-token")];
        let to = forward_request_headers(&from, ClientSecrets { names: &names, key: b"sk-1" });
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
            ("x-accel-redirect", "/internal"),
            ("refresh", "0; url=//elsewhere"),
            ("x-newapi-quota", "0"),
            ("set-cookie", "session=1"),
            ("trailer", "x"),
            ("nel", "{}"),
            ("reporting-endpoints", "a=\"https://elsewhere\""),
            ("accept-ch", "Sec-CH-UA-Model"),
            ("x-envoy-immediate-health-check-fail", "true"),
            ("surrogate-control", "max-age=60"),
            ("x-litespeed-cache-control", "public"),
            ("x-ratelimit-remaining", "5"),
        ]);
        let expected = map(&[
            ("content-length", "3"),
            ("content-encoding", "gzip"),
            ("x-ratelimit-remaining", "5"),
        ]);
        assert_eq!(forward_reply_headers(&from), expected);
    }

    #[test]
    fn no_reply_is_for_a_cache_that_others_share() {
        for (said, sent) in [
            (&["public, max-age=60"][..], "private, max-age=60"),
            (&["Max-Age=60 ,S-MaxAge=9,Public"], "private, Max-Age=60"),
            (&["no-store"], "no-store"),
            (&["private, max-age=1"], "private, max-age=1"),
            (&["no-cache"], "private, no-cache"),
            (&["no-store, s-maxage=1"], "private, no-store"),
            (&["private=\"x-a\", must-revalidate", "public"], "private, must-revalidate"),
            (&[""], "private"),
        ] {
            let said: Vec<_> = said.iter().map(|value| ("cache-control", *value)).collect();
            let sent = map(&[("cache-control", sent)]);
            assert_eq!(forward_reply_headers(&map(&said)), sent, "{said:?}");
        }
        assert!(forward_reply_headers(&HeaderMap::new()).is_empty());
    }
}
