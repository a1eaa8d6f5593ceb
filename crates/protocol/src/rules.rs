//! How the replies of a route are read: the compiled pointers, and what their values mean.

use crate::document::Merge;
use crate::found::DocumentValues;
use crate::head_count::HeaderSource;
use crate::ids::IdRules;
use crate::program::PointerProgram;
use crate::reading::BodyShape;
use domain::{METERS, Meter, Meters};
use std::ops::Range;
use std::sync::Arc;

/// All that is named must hold.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    /// The number of a test of the program.
    pub(crate) test: Option<u8>,
    /// The test must not hold, of a reply that is one whole document.
    pub(crate) missing: bool,
    pub(crate) status: Vec<u16>,
    pub(crate) events: Vec<String>,
    pub(crate) stream: Option<bool>,
}

/// The document that conditions are evaluated on, and its context.
#[derive(Clone, Copy)]
pub(crate) struct ConditionInput<'a> {
    pub(crate) found: &'a DocumentValues,
    pub(crate) event: &'a [u8],
    pub(crate) stream: bool,
    /// The document is there to its end.
    pub(crate) whole: bool,
    pub(crate) status: u16,
}

impl Condition {
    /// Whether it holds for a document.
    pub(crate) fn holds(&self, about: &ConditionInput<'_>) -> bool {
        let named = |event: &String| event.as_bytes() == about.event;
        let is_known = !self.missing || about.whole && !about.stream;
        is_known
            && self.test.is_none_or(|test| (about.found.tests >> test & 1 == 1) != self.missing)
            && (self.status.is_empty() || self.status.contains(&about.status))
            && (self.events.is_empty() || self.events.iter().any(named))
            && self.stream.is_none_or(|stream| stream == about.stream)
    }

    /// Whether the status alone decides it, and holds.
    pub(crate) fn holds_by_status(&self, status: u16) -> bool {
        let alone = self.test.is_none() && self.events.is_empty() && self.stream.is_none();
        alone && self.status.contains(&status)
    }
}

/// How replies are read.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) program: PointerProgram,
    pub(crate) usage: UsageRules,
    pub(crate) failed: Vec<Condition>,
    pub(crate) account: Vec<Condition>,
    pub(crate) estimate: Vec<Condition>,
    pub(crate) continues: Vec<Condition>,
    pub(crate) empty: Vec<Meter>,
    pub(crate) refused: Vec<u16>,
    pub(crate) retry: Vec<u16>,
    /// The shapes that a reply may have; none: any.
    pub(crate) promised: Vec<BodyShape>,
    pub(crate) ids: Arc<IdRules>,
}

impl Rules {
    /// Whether what a document lacks can mean something.
    pub(crate) fn look_for_missing(&self) -> bool {
        let all = self.failed.iter().chain(&self.account).chain(&self.estimate);
        all.chain(&self.continues).any(|condition| condition.missing)
    }

    /// Whether a document of which nothing was found can still mean something.
    pub(crate) fn look_at_events(&self) -> bool {
        let mut all = self.failed.iter().chain(&self.account);
        all.any(|condition| !condition.events.is_empty())
    }
}

/// How counts become meters.
#[derive(Debug)]
pub(crate) struct UsageRules {
    pub(crate) merge: Merge,
    /// The slots of each meter, the preferred one first.
    pub(crate) slots: Vec<(Meter, Range<usize>)>,
    /// The headers of each, the preferred one first.
    pub(crate) headers: Vec<HeaderSource>,
    /// The meter that each is a part of.
    pub(crate) inside: [Option<Meter>; METERS],
    pub(crate) alone: Option<Meter>,
    pub(crate) above: Option<Meter>,
}

impl UsageRules {
    /// Whether replies may say how long they are, and not the request alone.
    pub(crate) fn counts_reply(&self) -> bool {
        let in_body = self.slots.iter().filter(|(_, slots)| !slots.is_empty());
        let meters = in_body.map(|(meter, _)| *meter);
        meters.chain(self.headers.iter().map(|source| source.meter)).any(is_of_reply)
    }
}

fn is_of_reply(meter: Meter) -> bool {
    matches!(meter, Meter::Output | Meter::Total)
}

/// What was reported of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MeterReport {
    count: i64,
    beside: bool,
}

/// What has been reported so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct MeterReports {
    reports: [Option<MeterReport>; METERS],
    /// Of the reply's head.
    heads: Vec<HeadReport>,
}

/// What a header counts.
#[derive(Clone, Copy, Debug)]
struct HeadReport {
    meter: Meter,
    report: MeterReport,
    plus: bool,
    first: bool,
}

impl MeterReports {
    /// Adds what a document reports; returns whether it counts the reply so far, and not the
    /// request alone.
    pub(crate) fn add(
        &mut self,
        rules: &UsageRules,
        program: &PointerProgram,
        found: &DocumentValues,
    ) -> bool {
        if found.touched == 0 {
            return false;
        }
        let (mut counts_reply, mut total) = (false, None);
        for (meter, slots) in &rules.slots {
            if found.touched & bits(slots) == 0 {
                continue;
            }
            let said = |plus: bool| {
                slots.clone().filter_map(move |slot| {
                    let known = program.slots.get(slot).filter(|known| known.plus == plus)?;
                    Some(MeterReport { count: found.number(slot)?, beside: known.beside })
                })
            };
            // The first that counts anything; where none does, a 0 is still a report.
            let report = said(false).find(|it| it.count > 0).or_else(|| said(false).next());
            let Some(report) = said(true).fold(report, |sum, more| {
                let count = sum.map_or(0, |sum| sum.count).saturating_add(more.count);
                Some(MeterReport { count, ..sum.unwrap_or(more) })
            }) else {
                continue;
            };
            counts_reply |= meter.head() == Meter::Output;
            total = total.or((*meter == Meter::Total).then_some(report.count));
            let known = &mut self.reports[*meter as usize];
            *known = match (*known, rules.merge) {
                (Some(known), Merge::Max) if known.count >= report.count => Some(known),
                (Some(known), Merge::Sum) => {
                    let count = known.count.saturating_add(report.count);
                    Some(MeterReport { count, beside: report.beside })
                }
                _ => Some(report),
            };
        }
        let read = self.reports[Meter::Input as usize].map_or(0, |report| report.count);
        counts_reply || total.is_some_and(|total| total > read)
    }

    /// Adds what a header counts.
    pub(crate) fn add_header(&mut self, source: &HeaderSource, count: i64) {
        let HeaderSource { meter, beside, plus, first, .. } = *source;
        self.heads.push(HeadReport { meter, report: MeterReport { count, beside }, plus, first });
    }

    /// Counts what the headers say: where the body says it, too, the preferred one.
    pub(crate) fn add_heads(&mut self) {
        let heads = std::mem::take(&mut self.heads);
        let meters = Meter::ALL.into_iter().enumerate();
        for (at, meter) in meters.filter(|(_, meter)| heads.iter().any(|it| it.meter == *meter)) {
            let those = |wanted: fn(&HeadReport) -> bool| {
                let of_meter = heads.iter().filter(move |it| it.meter == meter && wanted(it));
                of_meter.map(|it| it.report)
            };
            let before = those(|it| !it.plus && it.first);
            let behind = those(|it| !it.plus && !it.first);
            let said: Vec<_> = before.chain(self.reports[at]).chain(behind).collect();
            let report = said.iter().find(|it| it.count > 0).or(said.first()).copied();
            self.reports[at] = those(|it| it.plus).fold(report, |sum, more| {
                let count = sum.map_or(0, |sum| sum.count).saturating_add(more.count);
                Some(MeterReport { count, ..sum.unwrap_or(more) })
            });
        }
    }

    /// Whether headers count the whole reply.
    pub(crate) fn heads_count_reply(&self) -> bool {
        self.heads.iter().any(|head| is_of_reply(head.meter) && !head.plus && head.report.count > 0)
    }

    /// Whether a meter was reported.
    pub(crate) const fn has(&self, meter: Meter) -> bool {
        self.reports[meter as usize].is_some()
    }

    /// The meters, each without what others count of it, and what did not add up.
    pub(crate) fn settle(&self, rules: &UsageRules) -> (Meters, Option<String>) {
        let mut meters = Meters::default();
        let mut mismatch = None;
        for (at, meter) in Meter::ALL.into_iter().enumerate() {
            if let Some(report) = self.reports[at].filter(|_| meter != Meter::Total) {
                meters.set(meter, report.count);
            }
        }
        for (at, part) in Meter::ALL.into_iter().enumerate() {
            let (Some(report), Some(whole)) = (self.reports[at], rules.inside[at]) else {
                continue;
            };
            let Some(rest) = meters.get(whole).filter(|_| !report.beside) else { continue };
            if rest < report.count {
                mismatch = Some(format!("{part} {} is more than {whole} has", report.count));
            }
            meters.set(whole, (rest - report.count).max(0));
        }
        if let Some(total) = self.reports[Meter::Total as usize] {
            let note = add_total(&mut meters, rules, total.count);
            mismatch = mismatch.or(note);
        }
        (meters, mismatch)
    }
}

/// The bits of these slots. There are at most 128.
fn bits(slots: &Range<usize>) -> u128 {
    let below = |end: usize| u32::try_from(end).ok().and_then(|end| 1_u128.checked_shl(end));
    let below = |end| below(end).map_or(u128::MAX, |bit| bit - 1);
    below(slots.end) & !below(slots.start)
}

/// Counts what the total has above the others.
fn add_total(meters: &mut Meters, rules: &UsageRules, total: i64) -> Option<String> {
    let tokens = |(meter, _): &(Meter, i64)| meter.is_tokens();
    let sum = meters.iter().filter(tokens).fold(0_i64, |sum, (_, count)| sum.saturating_add(count));
    let to = if sum == 0 { rules.alone } else { rules.above };
    match to {
        _ if total == sum => None,
        Some(meter) if total > sum => {
            meters.set(meter, meters.get(meter).unwrap_or(0).saturating_add(total - sum));
            (sum > 0).then(|| format!("total {total} is above the sum {sum}"))
        }
        _ => Some(format!("total {total} is not the sum {sum}")),
    }
}
