//! How much output a model's calls usually have: what a call holds whose request names no limit.
//! Kept in memory, so a node that has just started knows nothing yet.

use domain::{DAY_MS, UnixMs};
use foldhash::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A day is remembered in so many parts.
const PARTS: usize = 4;
const PART_MS: i64 = DAY_MS / 4;
/// Four buckets for each power of two, up to more than a reply may count.
const BUCKETS: usize = 128;
/// More models are not remembered.
const MAX_MODELS: usize = 1_000;

/// The outputs of each model.
#[derive(Default)]
pub(crate) struct UsualOutputs(Mutex<HashMap<Arc<str>, Box<[DayPart; PARTS]>>>);

/// A part of a day: how many outputs were of which size.
#[derive(Clone, Copy)]
struct DayPart {
    number: i64,
    counts: [u32; BUCKETS],
}

impl UsualOutputs {
    /// A call of `model` had this many tokens of output.
    pub(crate) fn note(&self, model: &Arc<str>, tokens: i64, now: UnixMs) {
        let number = part_number(now);
        let mut models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !models.contains_key(model) {
            if models.len() >= MAX_MODELS {
                models.retain(|_, parts| parts.iter().any(|part| part.is_recent(number)));
            }
            if models.len() >= MAX_MODELS {
                return;
            }
            let none = DayPart { number: i64::MIN, counts: [0; BUCKETS] };
            models.insert(Arc::clone(model), Box::new([none; PARTS]));
        }
        let Some(parts) = models.get_mut(model) else { return };
        let at = usize::try_from(number.rem_euclid(PARTS as i64)).unwrap_or(0);
        let part = &mut parts[at];
        if part.number != number {
            *part = DayPart { number, counts: [0; BUCKETS] };
        }
        let count = &mut part.counts[bucket(tokens)];
        *count = count.saturating_add(1);
    }

    /// What 95 of 100 calls of the last day did not exceed; none where there were none.
    pub(crate) fn most(&self, model: &str, now: UnixMs) -> Option<i64> {
        let number = part_number(now);
        let models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = [0_u64; BUCKETS];
        for part in models.get(model)?.iter().filter(|part| part.is_recent(number)) {
            for (sum, count) in counts.iter_mut().zip(part.counts) {
                *sum += u64::from(count);
            }
        }
        drop(models);
        let all: u64 = counts.iter().sum();
        let mut seen = 0;
        let covers = |count: &u64| {
            seen += count;
            seen * 100 >= all * 95
        };
        if all == 0 { None } else { counts.iter().position(covers).map(largest_of) }
    }
}

impl DayPart {
    const fn is_recent(&self, now: i64) -> bool {
        self.number > now - PARTS as i64 && self.number <= now
    }
}

const fn part_number(now: UnixMs) -> i64 {
    now.0.div_euclid(PART_MS)
}

/// The bucket of a count: by its power of two, and the two digits that follow.
fn bucket(tokens: i64) -> usize {
    let tokens = tokens.max(0).unsigned_abs();
    let Some(power) = tokens.checked_ilog2() else { return 0 };
    let quarter = if power >= 2 { tokens >> (power - 2) & 3 } else { tokens << (2 - power) & 3 };
    let at = u64::from(power) * 4 + quarter + 1;
    usize::try_from(at).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The largest count of a bucket.
fn largest_of(bucket: usize) -> i64 {
    let Some(at) = bucket.checked_sub(1) else { return 0 };
    let (power, quarter) = (at / 4, i64::try_from(at % 4).unwrap_or(0));
    let next = (4 + quarter + 1) << power;
    ((next + 3) >> 2) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn every_count_is_in_its_bucket() {
        for tokens in (0..5_000).chain([99_999, 1_000_000_000]) {
            let most = largest_of(bucket(tokens));
            assert!(most >= tokens, "{tokens} {most}");
            assert!(most <= tokens + tokens / 4, "{tokens} {most}");
        }
    }

    #[test]
    fn the_rare_long_reply_does_not_count() {
        let (usual, model) = (UsualOutputs::default(), Arc::from("m"));
        assert_eq!(usual.most("m", UnixMs(0)), None);
        for _ in 0..96 {
            usual.note(&model, 100, UnixMs(0));
        }
        for _ in 0..4 {
            usual.note(&model, 90_000, UnixMs(0));
        }
        let most = usual.most("m", UnixMs(HOUR)).unwrap();
        assert!((100..=125).contains(&most), "{most}");
        assert_eq!(usual.most("other", UnixMs(0)), None);
        assert_eq!(usual.most("m", UnixMs(25 * HOUR)), None, "a day has passed");
    }

    #[test]
    fn no_more_models_are_remembered_than_fit() {
        let usual = UsualOutputs::default();
        for number in 0..MAX_MODELS + 5 {
            usual.note(&Arc::from(number.to_string()), 1, UnixMs(0));
        }
        assert_eq!(usual.0.lock().unwrap().len(), MAX_MODELS);
        usual.note(&Arc::from("new"), 1, UnixMs(48 * HOUR));
        assert_eq!(usual.0.lock().unwrap().len(), 1);
    }
}
