//! Limits per minute, by the generic cell rate algorithm: a minute's worth may come at once, then
//! requests must be spaced. Requests and tokens of keys ([`RateLimits`]), attempts by clients
//! ([`Tries`]), and other subjects ([`PerMinute`]). How many tokens a call uses is known when it
//! has ended: they are counted then, and calls are refused while a minute's worth is used up.
//!
//! With Redis, keys and attempts are counted for all nodes together; while it is unavailable, or
//! not configured, each node counts for itself. Redis is used for nothing else: not for money, and
//! not for change notifications, which go through the database (`store::Live`).
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod keeper;
mod node;
mod per_minute;
mod shared;

pub use per_minute::PerMinute;
pub use shared::{Shared, ThrottleError, is_address};

use domain::KeyId;
use node::NodeCount;
use std::sync::Arc;

/// The burst: as much as a minute allows.
const MINUTE_US: i64 = 60_000_000;

fn spacing_us(per_minute: u32) -> i64 {
    MINUTE_US / i64::from(per_minute.max(1))
}

/// The part of a minute that `used` takes, in microseconds. At least one, because a single token
/// may take less than a microsecond.
fn cost_us(used: u32, per_minute: u32) -> i64 {
    i64::from(used) * MINUTE_US / i64::from(per_minute.max(1))
}

/// The rate limiter of all keys.
#[derive(Debug, Default)]
pub struct RateLimits {
    requests: NodeCount,
    tokens: NodeCount,
    shared: Option<Arc<Shared>>,
}

impl RateLimits {
    /// Counts in `shared` while it is available, and else here.
    #[must_use]
    pub fn new(shared: Option<Arc<Shared>>) -> Self {
        Self { requests: NodeCount::default(), tokens: NodeCount::default(), shared }
    }

    /// Takes one request of `key`; `now_us` is of a clock that does not jump.
    ///
    /// # Errors
    /// After how many microseconds there is capacity, when there is none now.
    pub async fn take(&self, key: KeyId, per_minute: u32, now_us: i64) -> Result<(), i64> {
        let here = || self.requests.take(key, per_minute, now_us);
        let Some(shared) = &self.shared else { return here() };
        // Boxed, so that calls without a limit don't reserve space for it.
        decided(Box::pin(shared.take(key, per_minute)).await, here)
    }

    /// Whether `key` has tokens left in this minute.
    ///
    /// # Errors
    /// After how many microseconds it has, when it has none now.
    pub async fn look_for_tokens(&self, key: KeyId, now_us: i64) -> Result<(), i64> {
        // What was counted here is part of what all nodes have counted, and known earlier.
        self.tokens.look(key, now_us)?;
        let Some(shared) = &self.shared else { return Ok(()) };
        Box::pin(shared.look_for_tokens(key)).await.unwrap_or(Ok(()))
    }

    /// Counts tokens that a call of `key` has used. The returned future informs the other nodes;
    /// nothing needs to await it.
    pub fn count_tokens(
        &self,
        key: KeyId,
        used: u32,
        per_minute: u32,
        now_us: i64,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        self.tokens.count(key, used, per_minute, now_us);
        let shared = Arc::clone(self.shared.as_ref()?);
        Some(async move { shared.count_tokens(key, used, per_minute).await })
    }
}

/// Redis's result where there is one, and else the count here.
fn decided(
    shared: Option<Result<(), i64>>,
    here: impl FnOnce() -> Result<(), i64>,
) -> Result<(), i64> {
    match shared {
        None => here(),
        Some(refused @ Err(_)) => refused,
        Some(Ok(())) => {
            // So that a node that loses Redis continues from what it has admitted itself.
            let _ = here();
            Ok(())
        }
    }
}

/// A limit of attempts per minute and subject.
#[derive(Debug)]
pub struct Tries {
    /// The kind of attempt: separates them in Redis.
    what: &'static str,
    here: PerMinute<[u8; 32]>,
    shared: Option<Arc<Shared>>,
}

impl Tries {
    /// Counts in `shared` while it is available, and else here, for at most `capacity` subjects.
    #[must_use]
    pub fn new(what: &'static str, capacity: usize, shared: Option<Arc<Shared>>) -> Self {
        Self { what, here: PerMinute::new(capacity), shared }
    }

    /// Takes one attempt of the subject with this hash; `now_us` is of a monotonic clock.
    ///
    /// # Errors
    /// After how many microseconds there is capacity, when there is none now.
    pub async fn take(&self, who: [u8; 32], per_minute: u32, now_us: i64) -> Result<(), i64> {
        let here = || self.here.take(who, per_minute, now_us);
        let Some(shared) = &self.shared else { return here() };
        decided(shared.take_try(self.what, &who, per_minute).await, here)
    }
}
