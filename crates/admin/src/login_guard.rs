//! How often somebody may try a password: by address and by name, in memory, bounded.

use crate::AdminError;
use domain::UnixMs;
use http::HeaderMap;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use web::TrustedProxies;

/// Attempts a minute from one address. An office may share one.
const PER_ADDRESS: i64 = 30;
/// Attempts a minute at one name.
const PER_NAME: i64 = 10;
const MINUTE_MS: i64 = 60_000;
/// Addresses, and names, that are remembered. One at rest for a minute needs no memory.
const REMEMBERED: usize = 16_384;

/// What this process knows of attempts. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LoginGuard(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    proxies: TrustedProxies,
    addresses: Attempts<IpAddr>,
    names: Attempts<[u8; 32]>,
}

impl LoginGuard {
    /// Believes these proxies about their clients.
    #[must_use]
    pub fn new(proxies: TrustedProxies) -> Self {
        Self(Arc::new(Inner { proxies, ..Inner::default() }))
    }

    /// Takes one attempt of the client behind `peer`.
    pub(crate) fn take_address(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
        now: UnixMs,
    ) -> Result<(), AdminError> {
        let address = self.0.proxies.client_address(peer, headers);
        self.0.addresses.take(network(address), PER_ADDRESS, now)
    }

    /// Takes one attempt at the password of the user of this name, known or not.
    pub(crate) fn take_name(&self, username: &str, now: UnixMs) -> Result<(), AdminError> {
        self.0.names.take(store::key_hash(username), PER_NAME, now)
    }

    /// Whether the client behind `peer` came over https.
    pub(crate) fn over_https(&self, peer: SocketAddr, headers: &HeaderMap) -> bool {
        self.0.proxies.over_https(peer, headers)
    }
}

/// Who has one IPv6 address has all of its /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

/// For each one when it would be back at rest (the generic cell rate algorithm).
#[derive(Debug)]
struct Attempts<K>(Mutex<HashMap<K, UnixMs>>);

impl<K> Default for Attempts<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Attempts<K> {
    fn take(&self, who: K, per_minute: i64, now: UnixMs) -> Result<(), AdminError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest_at = known.get(&who).copied().unwrap_or(now).max(now);
        let next = rest_at.plus_ms(MINUTE_MS / per_minute);
        let early_ms = next.since_ms(now) - MINUTE_MS;
        if early_ms > 0 {
            let retry_after_s = u32::try_from(early_ms / 1000 + 1).unwrap_or(u32::MAX);
            return Err(AdminError::TooMany { retry_after_s });
        }
        if known.len() >= REMEMBERED && !known.contains_key(&who) {
            known.retain(|_, rest_at| *rest_at > now);
            if known.len() >= REMEMBERED {
                // All start afresh, nobody is shut out: the places for hashing limit the rest.
                known.clear();
            }
        }
        known.insert(who, next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_by_name_and_come_back() {
        let (guard, now) = (LoginGuard::default(), UnixMs(1_000_000));
        for _ in 0..PER_NAME {
            guard.take_name("ann", now).unwrap();
        }
        let refused = guard.take_name("ann", now).unwrap_err();
        assert!(matches!(refused, AdminError::TooMany { retry_after_s: 7 }), "{refused:?}");
        guard.take_name("ben", now).unwrap();
        guard.take_name("ann", now.plus_ms(7_000)).unwrap();
    }

    #[test]
    fn memory_is_bounded() {
        let names = Attempts::default();
        for n in 0..=REMEMBERED {
            names.take(n, PER_NAME, UnixMs(0)).unwrap();
        }
        assert!(names.0.lock().unwrap().len() <= REMEMBERED);
    }

    #[test]
    fn a_network_is_one_client() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
