//! How a channel's key is presented, and where its API stands.

/// How the channel's key is presented.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// Header and value, in which `{key}` stands for the key.
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
    pub fn apply(&self, key: &str) -> Option<Credential> {
        if key.is_empty() {
            return None;
        }
        let header = self.header.as_ref();
        let header = header
            .map(|(name, value)| Credential::Header(name.clone(), value.replace("{key}", key)));
        let query = || self.query.as_ref();
        header.or_else(|| query().map(|name| Credential::Query(name.clone(), key.to_owned())))
    }

    /// Headers that are sent where the client sent none of their name.
    pub fn default_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.defaults.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Where an API stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The base URL may have a path, which stands before a route's.
    pub path: bool,
    /// Cut from a route's path where the base URL's path ends in it: a doubled `/v1` is one.
    pub prefix: Option<String>,
}

impl Address {
    /// The path at the upstream: the base URL's own, and the call's.
    #[must_use]
    pub fn join(&self, base: &str, path: &str) -> String {
        let base = base.trim_end_matches('/');
        let doubled = self.prefix.as_deref().filter(|prefix| base.ends_with(prefix));
        let rest = doubled.and_then(|prefix| path.strip_prefix(prefix));
        let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with('/'));
        format!("{base}{}", rest.unwrap_or(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_presented_as_the_protocol_wants_it() {
        let header = Some(("authorization".to_owned(), "Bearer {key}".to_owned()));
        let bearer = Auth { header, ..Auth::default() };
        let expected = Credential::Header("authorization".to_owned(), "Bearer sk-1".to_owned());
        assert_eq!(bearer.apply("sk-1"), Some(expected));
        assert_eq!(bearer.apply(""), None);
        let query = Auth { query: Some("key".to_owned()), ..Auth::default() };
        assert_eq!(query.apply("k"), Some(Credential::Query("key".to_owned(), "k".to_owned())));
        assert_eq!(Auth::default().apply("k"), None);
    }

    #[test]
    fn a_doubled_prefix_is_one() {
        let address = Address { path: true, prefix: Some("/v1".to_owned()) };
        for (base, path, joined) in [
            ("", "/v1/models", "/v1/models"),
            ("/", "/v1/models", "/v1/models"),
            ("/v1/", "/v1/models", "/v1/models"),
            ("/openai/v1", "/v1/models", "/openai/v1/models"),
            ("/openai", "/v1/models", "/openai/v1/models"),
            ("/v1", "/v1beta/models", "/v1/v1beta/models"),
        ] {
            assert_eq!(address.join(base, path), joined, "{base} {path}");
        }
    }
}
