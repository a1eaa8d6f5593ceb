//! Limits per minute and subject, in memory, bounded.

use crate::{MINUTE_US, cost_us, spacing_us};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was admitted, by subject.
#[derive(Debug)]
pub struct PerMinute<K> {
    /// When each would be idle again, in microseconds.
    rest_at_us: Mutex<HashMap<K, i64>>,
    /// The maximum number of subjects. One that has been idle for a minute needs no entry.
    capacity: usize,
}

impl<K: Eq + Hash> PerMinute<K> {
    /// A limiter for at most `capacity` subjects.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { rest_at_us: Mutex::default(), capacity }
    }

    /// Takes one of `who` at `now_us`.
    ///
    /// # Errors
    /// After how many microseconds there is capacity, when there is none now.
    pub fn take(&self, who: K, per_minute: u32, now_us: i64) -> Result<(), i64> {
        let mut known = self.known();
        let rest_at_us = rest_of(&known, &who, now_us);
        let next_us = gcra(rest_at_us, per_minute, now_us)?;
        self.remember(&mut known, who, next_us, now_us);
        Ok(())
    }

    /// Whether `who` has any capacity left; nothing is taken.
    ///
    /// # Errors
    /// After how many microseconds there is.
    pub fn look(&self, who: &K, now_us: i64) -> Result<(), i64> {
        let rest_at_us = rest_of(&self.known(), who, now_us);
        let early_us = rest_at_us - now_us - MINUTE_US;
        if early_us >= 0 { Err(early_us + 1) } else { Ok(()) }
    }

    /// Counts what was used already, even beyond the limit.
    pub fn count(&self, who: K, used: u32, per_minute: u32, now_us: i64) {
        let mut known = self.known();
        let rest_at_us = rest_of(&known, &who, now_us);
        let next_us = after_use(rest_at_us, used, per_minute, now_us);
        self.remember(&mut known, who, next_us, now_us);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<K, i64>> {
        self.rest_at_us.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, known: &mut HashMap<K, i64>, who: K, next_us: i64, now_us: i64) {
        if known.len() >= self.capacity && !known.contains_key(&who) {
            known.retain(|_, rest_at_us| *rest_at_us > now_us);
            if known.len() >= self.capacity {
                evict_half(known);
            }
        }
        known.insert(who, next_us);
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.known().len()
    }
}

/// When `who` would be idle again. Further ahead than the rules let it be: the clock was set back.
fn rest_of<K: Eq + Hash>(known: &HashMap<K, i64>, who: &K, now_us: i64) -> i64 {
    let rest_at_us = known.get(who).copied().unwrap_or(now_us);
    if rest_at_us > now_us + 2 * MINUTE_US { now_us } else { rest_at_us }
}

/// Evicts the half that is nearest to idle. Those at their limit are the last to be evicted: else a
/// client with many networks could reset the limit of one name by trying many others. By halves, so
/// that a flood pays for one pass over all entries now and then.
fn evict_half<K: Eq + Hash>(known: &mut HashMap<K, i64>) {
    let mut ends: Vec<i64> = known.values().copied().collect();
    let middle = ends.len() / 2;
    let (_, &mut median, _) = ends.select_nth_unstable(middle);
    // Many may be idle at the same moment: at most half of all stay.
    let busier = known.values().filter(|end| **end > median).count();
    let mut equals = (ends.len() - middle).saturating_sub(busier);
    known.retain(|_, end| {
        let spared = *end == median && equals > 0;
        equals -= usize::from(spared);
        *end > median || spared
    });
}

/// The rule of `take.lua`, too: change both.
fn gcra(rest_at_us: i64, per_minute: u32, now_us: i64) -> Result<i64, i64> {
    let next_us = rest_at_us.max(now_us) + spacing_us(per_minute);
    let early_us = next_us - now_us - MINUTE_US;
    if early_us > 0 { Err(early_us) } else { Ok(next_us) }
}

/// The rule of `count.lua`, too: change both. What exceeds a minute's worth is owed for a minute,
/// and then forgiven: one huge call must not block its key for hours.
fn after_use(rest_at_us: i64, used: u32, per_minute: u32, now_us: i64) -> i64 {
    let next_us = rest_at_us.max(now_us).saturating_add(cost_us(used, per_minute));
    next_us.min(now_us + 2 * MINUTE_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_made_good_within_a_minute() {
        let tokens = PerMinute::new(10);
        assert_eq!(tokens.look(&7, 0), Ok(()));
        tokens.count(7, 50, 100, 0);
        assert_eq!(tokens.look(&7, 0), Ok(()), "half of it");
        tokens.count(7, 80, 100, 0);
        // 30 too many: 18 seconds.
        assert_eq!(tokens.look(&7, 0), Err(18_000_001));
        assert_eq!(tokens.look(&8, 0), Ok(()), "no other subject");
        assert_eq!(tokens.look(&7, 18_000_001), Ok(()));
        tokens.count(7, u32::MAX, 1, 20_000_000);
        assert_eq!(tokens.look(&7, 20_000_000), Err(MINUTE_US + 1));
        assert_eq!(tokens.look(&7, 20_000_001 + MINUTE_US), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_back_locks_no_one_out() {
        let (limits, hour_us) = (PerMinute::new(10), 60 * MINUTE_US);
        while limits.take(7, 10, hour_us).is_ok() {}
        limits.count(8, 500, 100, hour_us);
        assert!(limits.look(&8, hour_us).is_err());
        assert_eq!((limits.take(7, 10, 0), limits.look(&8, 0)), (Ok(()), Ok(())));
        limits.count(8, 10, 100, 0);
        assert_eq!(limits.look(&8, 0), Ok(()));
    }

    #[test]
    fn no_more_tokens_than_the_rate_over_any_stretch() {
        let tokens = PerMinute::new(1);
        let used: i64 = (0..600_000_i64)
            .filter(|ms| tokens.look(&7, ms * 1_000).is_ok())
            .map(|ms| {
                tokens.count(7, 90, 1_000, ms * 1_000);
                90
            })
            .sum();
        // Ten minutes, the burst at the start, and the call that went beyond it.
        assert!((10_000..=11_090).contains(&used), "{used}");
    }

    #[test]
    fn memory_is_bounded() {
        let names = PerMinute::new(1_000);
        for n in 0..=1_000 {
            names.take(n, 10, 0).unwrap();
        }
        assert!(names.remembered() <= 1_000);
    }

    #[test]
    fn many_others_do_not_reset_a_limit() {
        let names = PerMinute::new(100);
        for _ in 0..10 {
            names.take(-1, 10, 0).unwrap();
        }
        for other in 0..1_000 {
            names.take(other, 10, 0).unwrap();
            assert!(names.take(-1, 10, 0).is_err(), "after {other}");
        }
        assert!(names.remembered() <= 100);
        assert_eq!(names.take(-1, 10, MINUTE_US), Ok(()));
    }

    #[test]
    fn half_of_equals_is_evicted() {
        let names = PerMinute::new(100);
        for other in 0..101 {
            names.take(other, 10, 0).unwrap();
        }
        assert_eq!(names.remembered(), 51);
    }
}
