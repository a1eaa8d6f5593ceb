//! So many a minute of each, in memory, bounded.

use crate::{MINUTE_US, spacing_us};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// What was let through, by whom it was for.
#[derive(Debug)]
pub struct PerMinute<K> {
    /// When each would be back at rest, in microseconds.
    rest_at_us: Mutex<HashMap<K, i64>>,
    /// So many are remembered. One that has been idle for a minute needs no memory.
    places: usize,
}

impl<K: Eq + Hash> PerMinute<K> {
    /// Remembers so many at once.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self { rest_at_us: Mutex::default(), places }
    }

    /// Takes one of `who` at `now_us`.
    ///
    /// # Errors
    /// In how many microseconds there is room, when there is none now.
    pub fn take(&self, who: K, per_minute: u32, now_us: i64) -> Result<(), i64> {
        let mut known = self.rest_at_us.lock().unwrap_or_else(PoisonError::into_inner);
        let rest_at_us = known.get(&who).copied().unwrap_or(now_us);
        let next_us = gcra(rest_at_us, per_minute, now_us)?;
        if known.len() >= self.places && !known.contains_key(&who) {
            known.retain(|_, rest_at_us| *rest_at_us > now_us);
            if known.len() >= self.places {
                // More busy ones than we can remember: all start afresh, nobody is shut out.
                known.clear();
            }
        }
        known.insert(who, next_us);
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.rest_at_us.lock().unwrap_or_else(PoisonError::into_inner).len()
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
    fn memory_is_bounded() {
        let names = PerMinute::new(1_000);
        for n in 0..=1_000 {
            names.take(n, 10, 0).unwrap();
        }
        assert!(names.remembered() <= 1_000);
    }
}
