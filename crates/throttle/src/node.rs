//! The count of this node: in memory, bounded.

use crate::{MINUTE_US, spacing_us};
use domain::KeyId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

const SHARDS: usize = 16;
/// Keys remembered per shard. One that has been idle for a minute needs no memory.
const KEYS_PER_SHARD: usize = 8_192;

/// What this node has let through.
#[derive(Debug, Default)]
pub(crate) struct NodeCount {
    /// For each key when it would be back at rest, in microseconds.
    shards: [Mutex<HashMap<KeyId, i64>>; SHARDS],
}

impl NodeCount {
    /// Takes one request of `key` at `now_us`, or says in how many microseconds there is room.
    pub(crate) fn take(&self, key: KeyId, per_minute: u32, now_us: i64) -> Result<(), i64> {
        let index = usize::try_from(key.0.rem_euclid(SHARDS as i64)).unwrap_or(0);
        let mut shard = self.shards[index].lock().unwrap_or_else(PoisonError::into_inner);
        let rest_at_us = shard.get(&key).copied().unwrap_or(now_us);
        let next_us = gcra(rest_at_us, per_minute, now_us)?;
        if shard.len() >= KEYS_PER_SHARD && !shard.contains_key(&key) {
            shard.retain(|_, rest_at_us| *rest_at_us > now_us);
            if shard.len() >= KEYS_PER_SHARD {
                // More busy keys than we can remember: all start afresh, nobody is shut out.
                shard.clear();
            }
        }
        shard.insert(key, next_us);
        Ok(())
    }
}

/// The rule of `take.lua`, too: change both.
fn gcra(rest_at_us: i64, per_minute: u32, now_us: i64) -> Result<i64, i64> {
    let next_us = rest_at_us.max(now_us) + spacing_us(per_minute);
    let early_us = next_us - now_us - MINUTE_US;
    if early_us > 0 { Err(early_us) } else { Ok(next_us) }
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
        for shard in &limits.shards {
            assert!(shard.lock().unwrap().len() <= KEYS_PER_SHARD);
        }
    }
}
