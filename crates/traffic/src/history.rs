//! By how much totals have grown, minute by minute. Minutes without a call take no room.

use crate::MAX_MINUTES;
use crate::codes::MAX_CODES;
use crate::times::{BUCKETS, Times, percentile_ms};
use std::collections::VecDeque;

/// Totals since the start.
#[derive(Clone, Debug)]
pub(crate) struct Totals {
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    pub(crate) times: Times,
    pub(crate) failures: [u64; MAX_CODES + 1],
}

impl Default for Totals {
    fn default() -> Self {
        Self { calls: 0, failed: 0, times: [0; BUCKETS], failures: [0; MAX_CODES + 1] }
    }
}

impl Totals {
    /// By how much they have grown since `before`. Counters are read one by one while calls go
    /// on, so one may be a call ahead of another; none goes back.
    fn since(&self, before: &Self) -> Self {
        let grown = |now: u64, then: u64| now.saturating_sub(then);
        Self {
            calls: grown(self.calls, before.calls),
            failed: grown(self.failed, before.failed),
            times: std::array::from_fn(|at| grown(self.times[at], before.times[at])),
            failures: std::array::from_fn(|at| grown(self.failures[at], before.failures[at])),
        }
    }

    fn is_empty(&self) -> bool {
        self.calls == 0 && self.failed == 0
    }
}

/// What was counted in one step.
#[derive(Debug)]
struct Step {
    minute: i64,
    calls: u64,
    failed: u64,
    times: [u32; BUCKETS],
    /// Codes that came up, by number.
    failures: Vec<(usize, u64)>,
}

impl Step {
    fn new(minute: i64) -> Self {
        Self { minute, calls: 0, failed: 0, times: [0; BUCKETS], failures: Vec::new() }
    }

    fn add(&mut self, grown: &Totals) {
        self.calls += grown.calls;
        self.failed += grown.failed;
        for (kept, more) in self.times.iter_mut().zip(grown.times) {
            *kept = kept.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        }
        for (number, count) in grown.failures.iter().copied().enumerate().filter(|it| it.1 > 0) {
            match self.failures.iter_mut().find(|(known, _)| *known == number) {
                Some((_, kept)) => *kept += count,
                None => self.failures.push((number, count)),
            }
        }
    }

    fn add_to(&self, sums: &mut Totals) {
        sums.calls += self.calls;
        sums.failed += self.failed;
        for (sum, more) in sums.times.iter_mut().zip(self.times) {
            *sum += u64::from(more);
        }
        for (number, count) in &self.failures {
            sums.failures[*number] += count;
        }
    }
}

/// The steps that are remembered.
#[derive(Debug)]
pub(crate) struct History {
    /// The length of a step, in minutes.
    step: i64,
    /// The totals when they were last noted.
    noted: Totals,
    steps: VecDeque<Step>,
}

impl History {
    pub(crate) fn new(step: i64) -> Self {
        Self { step, noted: Totals::default(), steps: VecDeque::new() }
    }

    /// Notes by how much the totals have grown, for the minute `ended`.
    pub(crate) fn note(&mut self, totals: Totals, ended: i64) {
        let grown = totals.since(&self.noted);
        if !grown.is_empty() {
            let minute = ended - ended.rem_euclid(self.step);
            if self.steps.back().is_none_or(|last| last.minute != minute) {
                self.steps.push_back(Step::new(minute));
            }
            if let Some(last) = self.steps.back_mut() {
                last.add(&grown);
            }
            self.noted = totals;
        }
        let oldest = ended + 1 - MAX_MINUTES;
        while self.steps.front().is_some_and(|first| first.minute + self.step <= oldest) {
            self.steps.pop_front();
        }
    }

    /// What was counted after the minute `after`.
    pub(crate) fn sums(&self, totals: &Totals, after: i64) -> Totals {
        let mut sums = totals.since(&self.noted);
        let recent = self.steps.iter().filter(|step| step.minute + self.step - 1 > after);
        recent.for_each(|step| step.add_to(&mut sums));
        sums
    }

    pub(crate) fn minutes(&self, totals: &Totals, now: i64, after: i64) -> Vec<MinuteCounts> {
        let read = |step: &Step| MinuteCounts {
            minute: step.minute,
            calls: step.calls,
            failed: step.failed,
            p95_ms: percentile_ms(&step.times.map(u64::from), 95),
        };
        let recent = self.steps.iter().filter(|step| step.minute > after);
        let mut minutes: Vec<_> = recent.map(read).collect();
        let grown = totals.since(&self.noted);
        if !grown.is_empty() {
            let mut running = Step::new(now);
            running.add(&grown);
            minutes.push(read(&running));
        }
        minutes
    }

    pub(crate) fn is_idle(&self, totals: &Totals) -> bool {
        self.steps.is_empty() && totals.since(&self.noted).is_empty()
    }
}

/// The sums of some minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// Calls that ended.
    pub calls: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// The upstream's time that half of the calls did not exceed, in milliseconds.
    pub p50_ms: Option<i64>,
    /// The same of 95 in a hundred.
    pub p95_ms: Option<i64>,
    /// Why calls failed, the most frequent first.
    pub failures: Vec<(&'static str, u64)>,
}

impl CallCounts {
    pub(crate) fn of(sums: &Totals, code: impl Fn(usize) -> &'static str) -> Self {
        let failures = sums.failures.iter().copied().enumerate().filter(|(_, count)| *count > 0);
        let mut failures: Vec<_> = failures.map(|(number, count)| (code(number), count)).collect();
        failures.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Self {
            calls: sums.calls,
            failed: sums.failed.min(sums.calls),
            p50_ms: percentile_ms(&sums.times, 50),
            p95_ms: percentile_ms(&sums.times, 95),
            failures,
        }
    }
}

/// One minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinuteCounts {
    /// Which, counted from the start of the process.
    pub minute: i64,
    /// Calls that ended in it.
    pub calls: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// The upstream's time that 95 of a hundred did not exceed, in milliseconds.
    pub p95_ms: Option<i64>,
}
