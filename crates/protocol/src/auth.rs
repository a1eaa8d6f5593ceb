//! How a channel's key is presented, and where its API stands.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::UnixMs;
use ring::hmac;
use serde_json::json;

/// How long a signed token is valid.
const TOKEN_SECONDS: i64 = 1_800;
/// How far the upstream's clock may be behind.
const CLOCK_SKEW_SECONDS: i64 = 5;
const TOKEN_HEADER: &[u8] = br#"{"alg":"HS256","typ":"JWT"}"#;

/// How the channel's key is presented.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// Header and value, in which `{key}` stands for the key, and `{jwt}` for a token signed by it.
    pub(crate) header: Option<(String, String)>,
    /// The parameter of the query.
    pub(crate) query: Option<String>,
    /// Headers that are sent where the client sent none.
    pub(crate) defaults: Vec<(String, String)>,
}

/// What presents a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A header.
    Header(String, String),
    /// A parameter of the query, not encoded.
    Query(String, String),
}

impl Auth {
    /// What presents `key`; nothing where the protocol has no keys, or the channel none.
    #[must_use]
    pub fn apply(&self, key: &str, now: UnixMs) -> Option<Credential> {
        if key.is_empty() {
            return None;
        }
        let filled = |value: &str| match value.contains("{jwt}") {
            true => value.replace("{jwt}", &jwt(key, now)),
            false => value.replace("{key}", key),
        };
        let header = self.header.as_ref();
        let header = header.map(|(name, value)| Credential::Header(name.clone(), filled(value)));
        let query = || self.query.as_ref();
        header.or_else(|| query().map(|name| Credential::Query(name.clone(), key.to_owned())))
    }

    /// The parameter of the query by which a key is presented, if that is how.
    #[must_use]
    pub fn parameter(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Whether a key is presented at the same place, in the same form.
    #[must_use]
    pub fn presents_as(&self, other: &Self) -> bool {
        (&self.header, &self.query) == (&other.header, &other.query)
    }

    /// Whether a key is presented by a token that is signed anew for each call.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.header.as_ref().is_some_and(|(_, value)| value.contains("{jwt}"))
    }

    /// What of a key no reply may show besides the key itself: the secret of one that is
    /// `ID:SECRET`, and what every token begins with that is signed by it.
    #[must_use]
    pub fn secrets_of(&self, key: &str) -> Vec<String> {
        let Some((id, secret)) = key.split_once(':') else { return Vec::new() };
        let mut secrets = vec![secret.to_owned()];
        secrets.extend(self.is_signed().then(|| token_prefix(id)));
        secrets
    }

    /// Headers that are sent where the client sent none of their name.
    pub fn default_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.defaults.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// A token for half an hour, signed (HS256) with the secret of a key `ID:SECRET`. A key without a
/// colon is a token itself.
fn jwt(key: &str, now: UnixMs) -> String {
    let Some((id, secret)) = key.split_once(':') else { return key.to_owned() };
    let now_s = now.0.div_euclid(1000);
    let (exp, nbf) = (now_s + TOKEN_SECONDS, now_s - CLOCK_SKEW_SECONDS);
    let claims = format!("{}{exp},\"nbf\":{nbf}}}", claims_before_time(id));
    let signed = format!("{}.{}", encoded(TOKEN_HEADER), encoded(claims.as_bytes()));
    let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&secret, signed.as_bytes());
    format!("{signed}.{}", encoded(signature.as_ref()))
}

/// The claims of a token up to where they depend on the time, so that its tokens begin alike.
fn claims_before_time(id: &str) -> String {
    format!("{{\"iss\":{},\"exp\":", json!(id))
}

/// What all tokens begin with that are signed by the key of this id.
fn token_prefix(id: &str) -> String {
    let claims = claims_before_time(id);
    // Each three bytes are four characters, regardless of what follows.
    let whole = claims.len() / 3 * 3;
    format!("{}.{}", encoded(TOKEN_HEADER), encoded(&claims.as_bytes()[..whole]))
}

fn encoded(part: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

/// Where an API stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The base URL may have a path, which stands before a route's.
    pub path: bool,
    /// Where routes' paths begin, and a base URL's may end: it is not doubled. A version gives way
    /// to the one that the base URL has, unless that is another of these.
    pub prefixes: Vec<String>,
    /// Hosts at which paths have none of these.
    pub unversioned: Vec<String>,
}

impl Address {
    /// The path at the upstream: the base URL's own, and the call's. `host` is the base URL's.
    #[must_use]
    pub fn join(&self, (host, base): (&str, &str), path: &str) -> String {
        let base = base.trim_end_matches('/');
        let prefixes = || self.prefixes.iter().map(String::as_str);
        // Of several, the call says which: `/v1/rerank` at `/v2`, `/upload/v1beta/files`.
        let ended = prefixes().find_map(|it| Some((it, base.strip_suffix(it)?)));
        let without = |prefix: &str| path.strip_prefix(prefix).filter(|it| is_path_or_empty(it));
        let Some((prefix, rest)) = prefixes().find_map(|it| Some((it, without(it)?))) else {
            let is_within = |prefix: &str| path.contains(&format!("{prefix}/"));
            let front = ended.filter(|(prefix, _)| is_within(prefix)).map(|(_, front)| front);
            return format!("{}{path}", front.unwrap_or(base));
        };
        match ended {
            Some((same, _)) if same == prefix => return format!("{base}{rest}"),
            Some((_, front)) => return format!("{front}{path}"),
            None => {}
        }
        let is_unversioned = self.unversioned.iter().any(|it| it.eq_ignore_ascii_case(host));
        if is_unversioned || is_version(prefix) && has_version(base) {
            return format!("{base}{rest}");
        }
        // `/openai/v1` before `/openai/deployments/…`: the call says the version.
        let unversioned = base.rfind('/').filter(|at| is_version(&base[*at..]));
        let front = unversioned.and_then(|at| base[..at].strip_suffix(prefix));
        format!("{}{path}", front.unwrap_or(base))
    }
}

fn is_path_or_empty(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}

/// Whether a base URL's path says the version of its API: at its end, or before the name that
/// vendors of other APIs give to the one that is like OpenAI's.
fn has_version(base: &str) -> bool {
    let (front, last) = base.split_at(base.rfind('/').unwrap_or(0));
    let is_named = matches!(last, "/openai" | "/openapi");
    is_version(last) || is_named && front.split_inclusive('/').any(is_version_segment)
}

/// Whether a segment is one like `/v1`, `/v1beta`, `/v1.1` or `/v1beta1`.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix('/').is_some_and(is_version_segment)
}

fn is_version_segment(segment: &str) -> bool {
    let Some(version) = segment.trim_end_matches('/').strip_prefix('v') else { return false };
    let is_number = |b: char| b.is_ascii_digit() || b == '.';
    let kind = version.trim_start_matches(is_number).trim_end_matches(is_number);
    let begins = version.starts_with(|b: char| b.is_ascii_digit());
    begins && matches!(kind, "" | "alpha" | "beta" | "preview")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_516_239_022_999);

    #[test]
    fn a_key_is_presented_as_the_protocol_wants_it() {
        let header = Some(("authorization".to_owned(), "Bearer {key}".to_owned()));
        let bearer = Auth { header, ..Auth::default() };
        let expected = Credential::Header("authorization".to_owned(), "Bearer sk-1".to_owned());
        assert_eq!(bearer.apply("sk-1", NOW), Some(expected));
        assert_eq!(bearer.apply("", NOW), None);
        let query = Auth { query: Some("key".to_owned()), ..Auth::default() };
        assert_eq!(
            query.apply("k", NOW),
            Some(Credential::Query("key".to_owned(), "k".to_owned()))
        );
        assert_eq!(Auth::default().apply("k", NOW), None);
    }

    #[test]
    fn a_token_is_signed_where_the_protocol_wants_one() {
        let header = Some(("authorization".to_owned(), "Bearer {jwt}".to_owned()));
        let auth = Auth { header, ..Auth::default() };
        let token = |key: &str| match auth.apply(key, NOW) {
            Some(Credential::Header(_, value)) => value.strip_prefix("Bearer ").unwrap().to_owned(),
            other => panic!("{other:?}"),
        };
        let made = token("ak:secret");
        let parts: Vec<&str> = made.split('.').collect();
        let claims = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims, json!({"iss": "ak", "exp": 1_516_240_822, "nbf": 1_516_239_017}));
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
        let signed = format!("{}.{}", parts[0], parts[1]);
        assert!(hmac::verify(&key, signed.as_bytes(), &signature).is_ok());
        assert_eq!(token("a-token"), "a-token");

        for id in ["a", "ak", "a\"k", "access"] {
            let key = format!("{id}:secret");
            let [secret, prefix] = auth.secrets_of(&key).try_into().unwrap();
            assert_eq!(secret, "secret");
            for now in [NOW, UnixMs(1), UnixMs(NOW.0 * 9)] {
                let made = jwt(&key, now);
                assert!(made.starts_with(&prefix), "{made} {prefix}");
                assert!(made.len() < prefix.len() + 100, "{made} {prefix}");
            }
        }
        assert!(auth.secrets_of("a-token").is_empty());
        assert_eq!(Auth::default().secrets_of("id:secret"), ["secret"]);
    }

    const HOST: &str = "api.example.com";

    fn with(prefixes: &[&str]) -> Address {
        let prefixes = prefixes.iter().map(|it| (*it).to_owned()).collect();
        Address { path: true, prefixes, unversioned: vec!["bare.example.com".to_owned()] }
    }

    #[test]
    fn a_doubled_prefix_is_one() {
        let address = with(&["/v1"]);
        for (base, path, joined) in [
            ("", "/v1/models", "/v1/models"),
            ("/", "/v1/models", "/v1/models"),
            ("/v1/", "/v1/models", "/v1/models"),
            ("/openai/v1", "/v1/models", "/openai/v1/models"),
            ("/openai", "/v1/models", "/openai/v1/models"),
            ("/v1", "/v1beta/models", "/v1/v1beta/models"),
        ] {
            assert_eq!(address.join((HOST, base), path), joined, "{base} {path}");
        }
    }

    #[test]
    fn a_version_gives_way_to_the_one_of_the_base_url() {
        let address = with(&["/v1"]);
        for (base, front) in [
            ("/api/paas/v4", "/api/paas/v4"),
            ("/v1beta/openai", "/v1beta/openai"),
            ("/v1beta1/projects/p/locations/l/endpoints/openapi", "…"),
            ("/v1/account/gateway/openai", "…"),
            ("/api/v3", "/api/v3"),
            ("/v1.1", "/v1.1"),
            ("/api/anthropic", "/api/anthropic/v1"),
            ("/v2ray", "/v2ray/v1"),
            ("/vault", "/vault/v1"),
            ("/v4/proxy", "/v4/proxy/v1"),
        ] {
            let front = if front == "…" { base } else { front };
            assert_eq!(
                address.join((HOST, base), "/v1/models"),
                format!("{front}/models"),
                "{base}"
            );
        }
        // Another version is another API.
        assert_eq!(address.join((HOST, "/api/v3"), "/v2/chat"), "/api/v3/v2/chat");
        let without = with(&[]);
        assert_eq!(without.join((HOST, "/x/v2"), "/v1/tokenize"), "/x/v2/v1/tokenize");
    }

    #[test]
    fn a_prefix_that_is_no_version_keeps_that_of_the_call() {
        let azure = with(&["/openai"]);
        for base in ["", "/openai", "/openai/v1", "/openai/v1/"] {
            for path in ["/openai/v1/models", "/openai/deployments/m/chat/completions"] {
                assert_eq!(azure.join((HOST, base), path), path, "{base}");
            }
        }
        assert_eq!(azure.join((HOST, "/x/openai/v1"), "/openai/files"), "/x/openai/files");
        assert_eq!(azure.join((HOST, "/x/v1"), "/openai/files"), "/x/v1/openai/files");
    }

    #[test]
    fn of_several_prefixes_the_call_says_which() {
        let (gemini, cohere) = (with(&["/v1beta", "/v1"]), with(&["/v2", "/v1"]));
        let dashscope = with(&["/api/v1"]);
        for (address, base, path, joined) in [
            (&gemini, "/v1beta", "/v1beta/models", "/v1beta/models"),
            (&gemini, "/v1beta", "/v1/models", "/v1/models"),
            (&gemini, "/v1beta", "/upload/v1beta/files", "/upload/v1beta/files"),
            (&gemini, "/v1beta1", "/v1beta/models", "/v1beta1/models"),
            (&gemini, "/proxy", "/upload/v1beta/files", "/proxy/upload/v1beta/files"),
            (&gemini, "", "/v1beta/models", "/v1beta/models"),
            (&cohere, "/v2", "/v2/chat", "/v2/chat"),
            (&cohere, "/v2/", "/v1/tokenize", "/v1/tokenize"),
            (&cohere, "/x/v1", "/v2/chat", "/x/v2/chat"),
            (&dashscope, "/api/v1", "/api/v1/tasks/7", "/api/v1/tasks/7"),
            (&dashscope, "", "/api/v1/tasks/7", "/api/v1/tasks/7"),
        ] {
            assert_eq!(address.join((HOST, base), path), joined, "{base} {path}");
        }
    }

    #[test]
    fn a_host_without_versions_gets_none() {
        let address = with(&["/v1"]);
        for (base, joined) in
            [("", "/chat"), ("/inference", "/inference/chat"), ("/v1", "/v1/chat")]
        {
            assert_eq!(address.join(("bare.example.com", base), "/v1/chat"), joined, "{base}");
        }
    }
}
