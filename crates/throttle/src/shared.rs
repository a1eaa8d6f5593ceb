//! The counters shared by all nodes, in Redis. A call waits for them a few milliseconds at most,
//! and not at all while Redis is known to be unavailable.

use crate::{MINUTE_US, cost_us, spacing_us};
use arc_swap::ArcSwapOption;
use domain::KeyId;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};
use ring::hmac;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a call waits for a reply.
const PATIENCE: Duration = Duration::from_millis(10);
/// After this many consecutive time-outs the connection is given up.
const MISSES: u32 = 3;
/// The time limit for a connection, and for a reply that no call waits for.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// Prefix of our names: the same Redis may serve other programs.
const REQUESTS: &str = "newapi:rpm:";
const TOKENS: &str = "newapi:tpm:";
const TRIES: &str = "newapi:tries:";
/// Bytes of a hash that name a key: enough to rule out collisions.
const NAME_BYTES: usize = 16;
const TAKE: &str = include_str!("take.lua");
const COUNT: &str = include_str!("count.lua");

/// Why Redis can't be used.
pub type ThrottleError = redis::RedisError;

/// Whether `REDIS_CONN_STRING` is valid: `redis://`, `rediss://` or `unix://`.
#[must_use]
pub fn is_address(text: &str) -> bool {
    Client::open(text).is_ok()
}

/// The counters shared by all nodes.
pub struct Shared {
    client: Client,
    /// Derives names from ids, which can't be reversed, and which other installations don't share.
    names: hmac::Key,
    /// Set while Redis is considered available. Only [`Shared::keep`] sets it.
    link: ArcSwapOption<Link>,
    up: Gauge,
    asked: Asked,
}

/// The result of a lookup, for the metrics.
#[derive(Debug)]
struct Asked {
    all: Family<[(&'static str, &'static str); 1], Counter>,
    answered: Counter,
    /// Failed or timed out.
    failed: Counter,
    /// Skipped, because Redis is unavailable.
    away: Counter,
}

/// A connection that all calls share, until one of them finds it broken.
pub(crate) struct Link {
    connection: MultiplexedConnection,
    /// Consecutive time-outs.
    misses: AtomicU32,
    why: OnceLock<String>,
    broken: CancellationToken,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client contains a password.
        f.debug_struct("Shared").field("up", &self.is_up()).finish_non_exhaustive()
    }
}

impl Shared {
    /// A client of `address`, with names derived from `secret`. Connects when [`Self::keep`] runs.
    ///
    /// # Errors
    /// When it is not an address.
    pub fn new(address: &str, secret: &[u8]) -> Result<Self, ThrottleError> {
        let all = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let of = |result| all.get_or_create_owned(&[("result", result)]);
        let (answered, failed, away) = (of("answered"), of("failed"), of("away"));
        Ok(Self {
            client: Client::open(address)?,
            names: hmac::Key::new(hmac::HMAC_SHA256, secret),
            link: ArcSwapOption::empty(),
            up: Gauge::default(),
            asked: Asked { all, answered, failed, away },
        })
    }

    /// Whether the last lookup succeeded.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.link.load().as_ref().is_some_and(|link| !link.broken.is_cancelled())
    }

    /// Connects, and performs a lookup as a call does.
    ///
    /// # Errors
    /// Any error of Redis, or a time-out.
    pub async fn reach(&self) -> Result<(), ThrottleError> {
        self.connect().await.map(drop)
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        let up = "1 while Redis answers and rate limits hold over all nodes";
        registry.register("custompass_redis_up", up, self.up.clone());
        let asked = "Rate limits looked up in Redis, by result";
        registry.register("custompass_redis_asked", asked, self.asked.all.clone());
    }

    /// Takes one request of `key`: `Err` returns after how many microseconds to retry. `None`:
    /// Redis is unavailable.
    pub(crate) async fn take(&self, key: KeyId, per_minute: u32) -> Option<Result<(), i64>> {
        self.room(TAKE, self.name_of(REQUESTS, key), spacing_us(per_minute)).await
    }

    /// Takes one attempt of `who` at `what`, with the same result.
    pub(crate) async fn take_try(
        &self,
        what: &str,
        who: &[u8],
        per_minute: u32,
    ) -> Option<Result<(), i64>> {
        let who: String = who.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = self.name_of(TRIES, format_args!("{what}:{who}"));
        self.room(TAKE, name, spacing_us(per_minute)).await
    }

    /// Whether `key` has tokens left, with the same result.
    pub(crate) async fn look_for_tokens(&self, key: KeyId) -> Option<Result<(), i64>> {
        self.room(COUNT, self.name_of(TOKENS, key), 0).await
    }

    /// Counts tokens that `key` has used, if Redis is available.
    pub(crate) async fn count_tokens(&self, key: KeyId, used: u32, per_minute: u32) {
        // Less than a microsecond is sent as one: 0 only queries.
        let cost_us = cost_us(used, per_minute).max(1);
        self.room(COUNT, self.name_of(TOKENS, key), cost_us).await;
    }

    /// Runs a script that returns after how many microseconds there is capacity.
    async fn room(&self, script: &str, name: String, cost_us: i64) -> Option<Result<(), i64>> {
        let link = self.link.load_full().filter(|link| !link.broken.is_cancelled());
        let Some(link) = link else {
            self.asked.away.inc();
            return None;
        };
        let asking = ask(link.connection.clone(), script, name, cost_us);
        match timeout(PATIENCE, asking).await {
            Ok(Ok(early_us)) => {
                link.misses.store(0, Ordering::Relaxed);
                self.asked.answered.inc();
                return Some(if early_us > 0 { Err(early_us) } else { Ok(()) });
            }
            Ok(Err(error)) => link.give_up(&error),
            Err(_) => {
                if link.misses.fetch_add(1, Ordering::Relaxed) + 1 >= MISSES {
                    link.give_up(&"no answer in time");
                }
            }
        }
        self.asked.failed.inc();
        None
    }

    /// A connection on which the very lookup of a call has succeeded: a server that is read-only,
    /// or out of memory, is not usable.
    pub(crate) async fn connect(&self) -> Result<Link, ThrottleError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_PATIENCE))
            .set_response_timeout(Some(CONNECT_PATIENCE));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let link = Link {
            connection,
            misses: AtomicU32::new(0),
            why: OnceLock::new(),
            broken: CancellationToken::new(),
        };
        self.probe(&link).await?;
        Ok(link)
    }

    /// Performs a lookup for a reserved key, which takes next to nothing.
    pub(crate) async fn probe(&self, link: &Link) -> Result<(), ThrottleError> {
        ask(link.connection.clone(), TAKE, self.name_of(REQUESTS, KeyId(0)), 1).await.map(drop)
    }

    /// From now on this connection is used, or none.
    pub(crate) fn put(&self, link: Option<std::sync::Arc<Link>>) {
        self.up.set(i64::from(link.is_some()));
        self.link.store(link);
    }

    fn name_of(&self, namespace: &str, key: impl fmt::Display) -> String {
        let tag = hmac::sign(&self.names, format!("{namespace}{key}").as_bytes());
        let hash = tag.as_ref().iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}"));
        std::iter::once(namespace.to_owned()).chain(hash).collect()
    }
}

impl Link {
    /// The connection is no longer used.
    pub(crate) fn give_up(&self, why: &impl fmt::Display) {
        let _ = self.why.set(why.to_string());
        self.broken.cancel();
    }

    /// Waits until the connection has been given up.
    pub(crate) async fn given_up(&self) {
        self.broken.cancelled().await;
    }

    /// Why the connection was given up.
    pub(crate) fn why(&self) -> &str {
        self.why.get().map_or("", String::as_str)
    }
}

async fn ask(
    mut connection: MultiplexedConnection,
    script: &str,
    name: String,
    cost_us: i64,
) -> Result<i64, ThrottleError> {
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(1).arg(name).arg(cost_us).arg(MINUTE_US);
    command.query_async(&mut connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_reveal_nothing() {
        let shared = |secret: &[u8]| Shared::new("redis://localhost", secret).unwrap();
        let name = |secret, key| shared(secret).name_of(REQUESTS, KeyId(key));
        let (one, other) = (name(b"one", 7), name(b"other", 7));
        assert_ne!(one, other, "two installations share no count");
        assert_eq!(one, name(b"one", 7));
        assert_ne!(one, name(b"one", 8));
        assert_eq!(one.len(), REQUESTS.len() + 2 * NAME_BYTES);
    }

    #[test]
    fn addresses() {
        for good in ["redis://localhost:6379", "rediss://u:p@host/1", "redis://:p@[::1]:1"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["localhost:6379", "http://localhost", "redis://host:port", ""] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn without_a_link_no_call_waits() {
        let shared = Shared::new("redis://127.0.0.1:1", b"").unwrap();
        assert_eq!(shared.take(KeyId(1), 1).await, None);
        assert!(!shared.is_up());
        assert!(shared.reach().await.is_err());
    }
}
