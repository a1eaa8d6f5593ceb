//! The counters of one channel, of one model, or of all requests.

use crate::codes::{Codes, MAX_CODES};
use crate::history::{CallCounts, History, MinuteCounts, Totals};
use crate::times::{BUCKETS, bucket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Totals since the start, and how they have grown.
#[derive(Debug)]
pub struct TrafficMeter {
    codes: Arc<Codes>,
    calls: AtomicU64,
    failed: AtomicU64,
    times: [AtomicU64; BUCKETS],
    failures: [AtomicU64; MAX_CODES + 1],
    /// For who asks, and the keeper of the minutes; never for a call.
    history: Mutex<History>,
}

impl TrafficMeter {
    /// Counters that remember in steps of so many minutes.
    pub(crate) fn new(codes: Arc<Codes>, step: i64) -> Self {
        Self {
            codes,
            calls: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            times: [const { AtomicU64::new(0) }; BUCKETS],
            failures: [const { AtomicU64::new(0) }; MAX_CODES + 1],
            history: Mutex::new(History::new(step)),
        }
    }

    /// CallCounts one call: how long the upstream took, where it answered, and why it failed, if it
    /// did.
    pub fn count(&self, upstream: Option<Duration>, failed: Option<&'static str>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(time) = upstream {
            self.times[bucket(time)].fetch_add(1, Ordering::Relaxed);
        }
        if let Some(code) = failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
            self.failures[self.codes.number(code)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The sums of the last `minutes`, of which `now` is the last.
    #[must_use]
    pub fn read(&self, now: i64, minutes: i64) -> CallCounts {
        let sums = self.history().sums(&self.totals(), now - minutes);
        CallCounts::of(&sums, |number| self.codes.code(number))
    }

    /// The minutes in which there were calls, oldest first, the one that runs included.
    #[must_use]
    pub fn minutes(&self, now: i64, minutes: i64) -> Vec<MinuteCounts> {
        self.history().minutes(&self.totals(), now, now - minutes)
    }

    /// Notes by how much the totals have grown, for the minute that has ended.
    pub(crate) fn note(&self, ended: i64) -> &Self {
        self.history().note(self.totals(), ended);
        self
    }

    /// Whether there was no call as far back as it is remembered.
    pub(crate) fn is_idle(&self) -> bool {
        self.history().is_idle(&self.totals())
    }

    fn totals(&self) -> Totals {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Totals {
            calls: load(&self.calls),
            failed: load(&self.failed),
            times: std::array::from_fn(|at| load(&self.times[at])),
            failures: std::array::from_fn(|at| load(&self.failures[at])),
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
