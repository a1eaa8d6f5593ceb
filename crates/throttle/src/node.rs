//! The counters of this node: in memory, bounded.

use crate::per_minute::PerMinute;
use domain::KeyId;
use std::array;

const SHARDS: usize = 16;
const KEYS_PER_SHARD: usize = 8_192;

/// What this node has admitted, in shards: every call with a limit is counted here.
#[derive(Debug)]
pub(crate) struct NodeCount([PerMinute<KeyId>; SHARDS]);

impl Default for NodeCount {
    fn default() -> Self {
        Self(array::from_fn(|_| PerMinute::new(KEYS_PER_SHARD)))
    }
}

impl NodeCount {
    /// Takes one request of `key` at `now_us`, or returns after how many microseconds to retry.
    pub(crate) fn take(&self, key: KeyId, per_minute: u32, now_us: i64) -> Result<(), i64> {
        self.shard(key).take(key, per_minute, now_us)
    }

    /// Whether `key` has capacity, or after how many microseconds to retry.
    pub(crate) fn look(&self, key: KeyId, now_us: i64) -> Result<(), i64> {
        self.shard(key).look(&key, now_us)
    }

    /// Counts what `key` has used.
    pub(crate) fn count(&self, key: KeyId, used: u32, per_minute: u32, now_us: i64) {
        self.shard(key).count(key, used, per_minute, now_us);
    }

    fn shard(&self, key: KeyId) -> &PerMinute<KeyId> {
        let index = usize::try_from(key.0.rem_euclid(SHARDS as i64)).unwrap_or(0);
        &self.0[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_may_come_at_once() {
        let limits = NodeCount::default();
        for _ in 0..3 {
            assert_eq!(limits.take(KeyId(1), 3, 5), Ok(()));
        }
        assert_eq!(limits.take(KeyId(1), 3, 5), Err(20_000_000));
        assert_eq!(limits.take(KeyId(2), 3, 5), Ok(()), "keys don't share a limit");
    }

    #[test]
    fn room_comes_back_evenly() {
        let limits = NodeCount::default();
        for _ in 0..60 {
            assert_eq!(limits.take(KeyId(1), 60, 0), Ok(()));
        }
        assert_eq!(limits.take(KeyId(1), 60, 999_999), Err(1));
        assert_eq!(limits.take(KeyId(1), 60, 1_000_000), Ok(()));
        assert!(limits.take(KeyId(1), 60, 1_000_000).is_err());
    }

    #[test]
    fn no_more_than_the_rate_over_any_stretch() {
        let limits = NodeCount::default();
        let taken = (0..600_000).filter(|ms| limits.take(KeyId(1), 30, ms * 1_000).is_ok());
        // Ten minutes at 30, and the burst at the start.
        assert!((300..=330).contains(&taken.count()));
    }

    #[test]
    fn memory_is_bounded() {
        let limits = NodeCount::default();
        for key in 0..(KEYS_PER_SHARD as i64 + 100) * SHARDS as i64 {
            assert_eq!(limits.take(KeyId(key), 1, 0), Ok(()));
        }
        for shard in &limits.0 {
            assert!(shard.remembered() <= KEYS_PER_SHARD);
        }
    }
}
