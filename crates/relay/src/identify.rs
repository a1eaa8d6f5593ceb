//! Identifies the caller: from a key to its user, and whether both are allowed.

use crate::faults;
use domain::{Fault, KeyId, UnixMs};
use egress::CallerKey;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use store::{Identity, Live};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");
pub(crate) const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
const PREFIX: &str = "sk-";
/// Longest key that is accepted.
const MAX_KEY_CHARS: usize = 256;
const ENABLED: i64 = 1;

/// The caller.
#[derive(Clone)]
pub(crate) struct Caller {
    pub identity: Arc<Identity>,
    /// The key itself, for the upstream.
    pub key: HeaderValue,
    address: IpAddr,
}

impl Caller {
    /// The caller as it stands now, for what lasts longer than a request; an error: it would no
    /// longer be let in.
    pub(crate) async fn renewed(&self, live: &Live, now: UnixMs) -> Result<Self, Fault> {
        let key = self.key.to_str().map_err(|_| faults::bad_key())?;
        let identity = admitted(live, key, self.address, now).await?;
        Ok(Self { identity, ..self.clone() })
    }

    pub(crate) fn key_for_upstream(&self) -> CallerKey {
        let Identity { user_id, role, .. } = *self.identity;
        CallerKey { value: self.key.clone(), user_id, role }
    }
}

/// Identifies the caller of a request, and checks what doesn't depend on the model.
pub(crate) async fn identify(
    live: &Live,
    headers: &HeaderMap,
    address: IpAddr,
    now: UnixMs,
) -> Result<Caller, Fault> {
    let key = key_of(headers)?.ok_or_else(|| match has_other_scheme(headers) {
        true => faults::other_scheme(),
        false => faults::no_key(),
    })?;
    let identity = admitted(live, key, address, now).await?;
    let mut key = HeaderValue::from_str(key).map_err(|_| faults::bad_key())?;
    key.set_sensitive(true);
    Ok(Caller { identity, key, address })
}

async fn admitted(
    live: &Live,
    key: &str,
    address: IpAddr,
    now: UnixMs,
) -> Result<Arc<Identity>, Fault> {
    let hash = store::key_hash(key);
    let identity = match live.identities.cached(&hash) {
        Some(identity) => identity,
        None => {
            let looked_up = Box::pin(live.identities.by_key_hash(&hash)).await?;
            looked_up.ok_or_else(faults::bad_key)?
        }
    };
    check(&identity, address, now)?;
    Ok(identity)
}

/// Whether a client has presented a key.
pub(crate) fn has_key(headers: &HeaderMap) -> bool {
    key_of(headers).map_or(true, |key| key.is_some())
}

/// The key in a request's headers, in the forms that clients send it. Two that differ are refused:
/// which of them pays would be a guess.
fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    // Twice: some add the scheme to a key that was entered with it.
    let bare = authorization.map(|text| without_scheme(without_scheme(text)));
    let others = [X_API_KEY, API_KEY, X_GOOG_API_KEY]
        .into_iter()
        .filter_map(|name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim));
    let is_key = |key: &&str| key.starts_with(PREFIX) && key.len() <= MAX_KEY_CHARS;
    let mut keys = bare.into_iter().chain(others).filter(is_key);
    let first = keys.next();
    match keys.all(|other| Some(other) == first) {
        true => Ok(first),
        false => Err(faults::two_keys()),
    }
}

/// Whether a client has sent something as its authorization that has no key of ours where one is
/// read: with another scheme, say.
fn has_other_scheme(headers: &HeaderMap) -> bool {
    let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let scheme = sent.and_then(|text| text.trim().split_once(' ')).map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| !scheme.eq_ignore_ascii_case("bearer"))
}

fn without_scheme(text: &str) -> &str {
    match text.trim().split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
        _ => text.trim(),
    }
}

fn check(identity: &Identity, address: IpAddr, now: UnixMs) -> Result<(), Fault> {
    if identity.deleted {
        return Err(faults::bad_key());
    }
    if identity.replaced_until.is_some_and(|ends| ends <= now) {
        return Err(faults::key_replaced());
    }
    if identity.key_status != ENABLED {
        return Err(faults::key_disabled());
    }
    if identity.expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Err(faults::key_expired());
    }
    if identity.user_status != ENABLED {
        return Err(faults::user_disabled());
    }
    if !allows(&identity.allow_ips, address) {
        return Err(faults::address_not_allowed());
    }
    Ok(())
}

/// Whether an address is on a list; an empty list allows all. An entry that can't be parsed matches
/// none.
fn allows(list: &[String], address: IpAddr) -> bool {
    let holds = |entry: &String| match entry.trim().parse::<IpNet>() {
        Ok(net) => net.contains(&address),
        Err(_) => entry.trim().parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical() == address),
    };
    list.is_empty() || list.iter().any(holds)
}

/// Whether the key may call a model.
pub(crate) fn may_call(identity: &Identity, model: &str) -> bool {
    identity.models.as_ref().is_none_or(|models| models.contains(model))
}

/// The group that routes and prices the key's calls.
pub(crate) fn group_of(identity: &Identity) -> &str {
    identity.key_group.as_deref().unwrap_or(&identity.user_group)
}

/// The key's own request limit, where it has one.
pub(crate) fn rate_of(identity: &Identity) -> Option<(KeyId, u32)> {
    identity.rate_limit_rpm.map(|per_minute| (identity.key_id, per_minute))
}

/// The key's own limit on tokens, where it has one.
pub(crate) fn token_rate_of(identity: &Identity) -> Option<(KeyId, u32)> {
    identity.rate_limit_tpm.map(|per_minute| (identity.key_id, per_minute))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_in(headers: &[(&'static str, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        key_of(&map).unwrap().map(str::to_owned)
    }

    #[test]
    fn keys_come_in_every_spelling() {
        for headers in [
            [("authorization", "Bearer sk-a")],
            [("authorization", "bearer  sk-a ")],
            [("authorization", "Bearer Bearer sk-a")],
            [("authorization", "sk-a")],
            [("x-api-key", "sk-a")],
            [("api-key", "sk-a")],
            [("x-goog-api-key", "sk-a")],
        ] {
            assert_eq!(key_in(&headers).as_deref(), Some("sk-a"), "{headers:?}");
        }
        let both = [("authorization", "Basic eDp5"), ("x-api-key", "sk-b")];
        assert_eq!(key_in(&both).as_deref(), Some("sk-b"));
        for headers in [("authorization", "Bearer x"), ("authorization", ""), ("x-api-key", "k")] {
            assert_eq!(key_in(&[headers]), None, "{headers:?}");
        }
        assert_eq!(key_in(&[("x-api-key", &format!("sk-{}", "x".repeat(300)))]), None);
        assert_eq!(key_in(&[]), None);
        let same = [("authorization", "Bearer sk-a"), ("x-goog-api-key", "sk-a")];
        assert_eq!(key_in(&same).as_deref(), Some("sk-a"));
    }

    #[test]
    fn another_scheme_is_no_missing_key() {
        for (sent, other) in [
            ("Token sk-a", true),
            ("Basic eDp5", true),
            ("Bearer x", false),
            ("bearer sk-a", false),
            ("x", false),
        ] {
            let value = HeaderValue::from_static(sent);
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
            assert_eq!(has_other_scheme(&headers), other, "{sent}");
        }
        assert!(!has_other_scheme(&HeaderMap::new()));
    }

    #[test]
    fn two_keys_that_differ_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer sk-a"));
        headers.append(API_KEY, HeaderValue::from_static("sk-b"));
        let fault = key_of(&headers).unwrap_err();
        assert!(fault.en.contains("two API keys") && has_key(&headers), "which of them pays?");
    }

    #[test]
    fn address_lists() {
        let list = |entries: &[&str]| entries.iter().map(|&e| e.to_owned()).collect::<Vec<_>>();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(allows(&[], address("1.2.3.4")));
        assert!(allows(&list(&["9.9.9.9", "1.2.3.0/24"]), address("1.2.3.4")));
        assert!(allows(&list(&["1.2.3.4 "]), address("1.2.3.4")));
        assert!(allows(&list(&["2001:db8::/32"]), address("2001:db8::1")));
        assert!(!allows(&list(&["1.2.3.5", "nonsense"]), address("1.2.3.4")));
        assert!(!allows(&list(&["nonsense"]), address("1.2.3.4")));
    }
}
