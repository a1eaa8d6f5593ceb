//! Rate limits for attempts at a password, by address and by name, and at an access token, by
//! address: shared by all nodes where there is a Redis, else in memory, bounded.

use crate::AdminError;
use crate::ops::failed_login::Door;
use arc_swap::ArcSwap;
use domain::UnixMs;
use http::HeaderMap;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use throttle::{PerMinute, Shared, Tries};
use web::TrustedProxies;

/// Attempts a minute from one address. An office may share one.
const PER_ADDRESS: u32 = 30;
/// Attempts a minute at one name.
const PER_NAME: u32 = 10;
/// Lines a minute about failures that may enter the journal.
const LINES: u32 = 30;
/// Addresses, and names, that are remembered. Past it the half that tried least starts afresh.
const REMEMBERED: usize = 16_384;
/// Callers that are remembered as right. Past it all prove themselves once more.
const CALLERS: usize = 16_384;

/// The attempts seen by this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LoginGuard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    proxies: ArcSwap<TrustedProxies>,
    addresses: Tries,
    names: Tries,
    tokens: Tries,
    /// Access tokens that were right, each with the network that it came from. They take no try, so
    /// that a guesser does not shut out other callers behind the same address.
    callers: Mutex<HashSet<[u8; 32]>>,
    /// The same of names whose password was right: who knows a name must not lock its owner out.
    owners: Mutex<HashSet<[u8; 32]>>,
    failures: PerMinute<([u8; 32], IpAddr, (Door, &'static str))>,
    lines: PerMinute<()>,
}

impl Default for LoginGuard {
    fn default() -> Self {
        Self::new(TrustedProxies::default(), None)
    }
}

impl LoginGuard {
    /// Trusts these proxies to name their clients, and counts in `shared` while it is reachable.
    #[must_use]
    pub fn new(proxies: TrustedProxies, shared: Option<Arc<Shared>>) -> Self {
        let addresses = Tries::new("login by address", REMEMBERED, shared.clone());
        let names = Tries::new("login by name", REMEMBERED, shared.clone());
        let tokens = Tries::new("access token by address", REMEMBERED, shared);
        let (failures, lines) = (PerMinute::new(REMEMBERED), PerMinute::new(1));
        let proxies = ArcSwap::from_pointee(proxies);
        let (callers, owners) = (Mutex::default(), Mutex::default());
        let inner = Inner { proxies, addresses, names, tokens, callers, owners, failures, lines };
        Self(Arc::new(inner))
    }

    /// Replaces the trusted proxies.
    pub fn believe(&self, proxies: TrustedProxies) {
        self.0.proxies.store(Arc::new(proxies));
    }

    /// The client behind `peer`.
    #[must_use]
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        self.0.proxies.load().client_address(peer, headers)
    }

    /// Takes one attempt of a client.
    pub(crate) async fn take_address(&self, client: IpAddr, now: UnixMs) -> Result<(), AdminError> {
        let who = store::key_hash(&network(client).to_string());
        self.0.addresses.take(who, PER_ADDRESS, micros(now)).await.map_err(too_many)
    }

    /// Takes one attempt at the password of the user of this name, known or not; none where it was
    /// right from this client's network before.
    pub(crate) async fn take_name(
        &self,
        username: &str,
        client: IpAddr,
        now: UnixMs,
    ) -> Result<(), AdminError> {
        let who = store::key_hash(username);
        if lock(&self.0.owners).contains(&caller(&who, client)) {
            return Ok(());
        }
        self.0.names.take(who, PER_NAME, micros(now)).await.map_err(too_many)
    }

    /// Records that the password of the user of this name was right.
    pub(crate) fn name_is_right(&self, username: &str, client: IpAddr) {
        remember(&mut lock(&self.0.owners), caller(&store::key_hash(username), client));
    }

    /// Takes one try of a client at the access token of this hash, unless it was right before.
    pub(crate) async fn take_token(
        &self,
        token: &[u8; 32],
        client: IpAddr,
        now: UnixMs,
    ) -> Result<(), AdminError> {
        if lock(&self.0.callers).contains(&caller(token, client)) {
            return Ok(());
        }
        let who = store::key_hash(&network(client).to_string());
        self.0.tokens.take(who, PER_ADDRESS, micros(now)).await.map_err(too_many)
    }

    /// Records whether a client's access token was valid.
    pub(crate) fn record_token(&self, token: &[u8; 32], client: IpAddr, right: bool) {
        let caller = caller(token, client);
        let mut callers = lock(&self.0.callers);
        if right {
            remember(&mut callers, caller);
        } else {
            callers.remove(&caller);
        }
    }

    /// Whether this failure is the first of its kind in a minute.
    pub(crate) fn is_news(
        &self,
        username: &str,
        client: IpAddr,
        reason: (Door, &'static str),
        now: UnixMs,
    ) -> bool {
        let failure = (store::key_hash(username), network(client), reason);
        self.0.failures.take(failure, 1, micros(now)).is_ok()
    }

    /// Takes one of the lines about failures that may enter the journal in a minute.
    pub(crate) fn take_line(&self, now: UnixMs) -> bool {
        self.0.lines.take((), LINES, micros(now)).is_ok()
    }

    /// Whether the client behind `peer` came over https.
    #[must_use]
    pub fn over_https(&self, peer: SocketAddr, headers: &HeaderMap) -> bool {
        self.0.proxies.load().over_https(peer, headers)
    }
}

fn lock(known: &Mutex<HashSet<[u8; 32]>>) -> MutexGuard<'_, HashSet<[u8; 32]>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remember(known: &mut HashSet<[u8; 32]>, caller: [u8; 32]) {
    if !known.contains(&caller) {
        if known.len() >= CALLERS {
            known.clear();
        }
        known.insert(caller);
    }
}

/// An access token, or a name, together with the network that it comes from.
fn caller(who: &[u8; 32], client: IpAddr) -> [u8; 32] {
    let mut both = *who;
    let network = store::key_hash(&network(client).to_string());
    both.iter_mut().zip(network).for_each(|(byte, other)| *byte ^= other);
    both
}

/// Who has one IPv6 address has all of its /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

const fn micros(now: UnixMs) -> i64 {
    now.0.saturating_mul(1000)
}

fn too_many(early_us: i64) -> AdminError {
    let retry_after_s = u32::try_from(early_us / 1_000_000 + 1).unwrap_or(u32::MAX);
    AdminError::TooMany { retry_after_s }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn attempts_are_counted_by_name_and_come_back() {
        let (guard, now) = (LoginGuard::default(), UnixMs(1_000_000));
        let [here, there] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        guard.name_is_right("ann", there);
        for _ in 0..PER_NAME {
            guard.take_name("ann", here, now).await.unwrap();
        }
        let refused = guard.take_name("ann", here, now).await.unwrap_err();
        assert!(matches!(refused, AdminError::TooMany { retry_after_s: 7 }), "{refused:?}");
        guard.take_name("ann", there, now).await.unwrap();
        guard.take_name("ben", here, now).await.unwrap();
        guard.take_name("ann", here, now.plus_ms(7_000)).await.unwrap();
    }

    #[tokio::test]
    async fn who_was_right_takes_no_try() {
        let (guard, now) = (LoginGuard::default(), UnixMs(1_000_000));
        let (right, wrong) = (store::key_hash("right"), store::key_hash("wrong"));
        let [here, there] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        guard.take_token(&right, here, now).await.unwrap();
        guard.record_token(&right, here, true);
        for _ in 1..PER_ADDRESS {
            guard.take_token(&wrong, here, now).await.unwrap();
            guard.record_token(&wrong, here, false);
        }
        assert!(guard.take_token(&wrong, here, now).await.is_err());
        guard.take_token(&right, here, now).await.unwrap();
        guard.take_token(&wrong, there, now).await.unwrap();
        // It ended: from now on it is a guess like any other.
        guard.record_token(&right, here, false);
        assert!(guard.take_token(&right, here, now).await.is_err());
    }

    #[test]
    fn a_network_is_one_client() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
