//! The times that pages sum up: 24 hours, 7 days, 30 days, or as many as the log is kept.

use crate::lang::{Lang, tell};
use crate::visit::Visit;
use admin::ops::log::month_days;
use admin::ops::log::usage::Step;
use domain::{DAY_MS, HOUR_MS, UnixMs};
use maud::{Markup, html};

/// A time until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// As an address names it.
    pub(crate) code: &'static str,
    days: i64,
}

impl Range {
    /// Those that are covered when the log is kept for so many days, at most a month: the last is
    /// the longest.
    fn offered(kept_days: i64) -> impl Iterator<Item = Self> {
        let all = [("24h", 1, 0), ("7d", 7, 7), ("30d", kept_days, 1)];
        let is_covered = move |(_, _, least): &(&str, i64, i64)| kept_days > *least;
        all.into_iter().filter(is_covered).map(|(code, days, _)| Self { code, days })
    }

    /// The one that is asked for, else the longest.
    pub(crate) fn of(visit: &Visit) -> Self {
        let all = || Self::offered(month_days(&visit.state));
        let asked = all().find(|range| range.code == visit.asked("range"));
        asked.or_else(|| all().last()).unwrap_or(Self { code: "24h", days: 1 })
    }

    /// All that there are.
    pub(crate) fn all(visit: &Visit) -> impl Iterator<Item = Self> {
        Self::offered(month_days(&visit.state))
    }

    /// `24 h`, `7 d`
    pub(crate) fn words(self, lang: Lang) -> String {
        match self.days {
            1 => lang.say("24 小时", "24 h").to_owned(),
            days => tell!(lang, "{days} 天", "{days} d"),
        }
    }

    /// When it begins, and how long the steps of its charts are. The longest is of whole days in
    /// UTC, with today, as lists count them.
    pub(crate) fn start(self, now: UnixMs) -> (UnixMs, Step) {
        match self.code {
            "30d" => days_start(now, self.days),
            _ => (UnixMs((now.0 - self.days * DAY_MS).div_euclid(HOUR_MS) * HOUR_MS), Step::Hour),
        }
    }
}

/// The last days in UTC, with today.
pub(crate) fn days_start(now: UnixMs, days: i64) -> (UnixMs, Step) {
    (UnixMs((now.0.div_euclid(DAY_MS) + 1 - days) * DAY_MS), Step::Day)
}

/// Ways to look at another time; `to` is where one leads. Where the address names days, it is of
/// none of these.
pub(crate) fn ranges(visit: &Visit, to: impl Fn(&str) -> String) -> Markup {
    let is_free = ["from", "to"].iter().any(|name| !visit.asked(name).is_empty());
    let now = Some(Range::of(visit)).filter(|_| !is_free);
    html! {
        span.seg role="group" aria-label=(visit.say("时间范围", "Range")) {
            @for range in Range::all(visit) {
                a href=(to(range.code)) aria-current=[(Some(range) == now).then_some("true")] {
                    (range.words(visit.lang()))
                }
            }
        }
    }
}

/// What is meant by a number of the range that is asked for: `Spent, 30 d`.
pub(crate) fn of_range(visit: &Visit, zh: &str, en: &str) -> String {
    let span = Range::of(visit).words(visit.lang());
    tell!(visit.lang(), "{span}{zh}", "{en}, {span}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_says_the_days_that_the_log_is_kept() {
        let words = |kept| Range::offered(kept).map(|it| it.words(Lang::En)).collect::<Vec<_>>();
        assert_eq!(words(30), ["24 h", "7 d", "30 d"]);
        assert_eq!(words(10), ["24 h", "7 d", "10 d"]);
        assert_eq!(words(7), ["24 h", "7 d"]);
        assert_eq!(words(3), ["24 h", "3 d"]);
        assert_eq!(words(1), ["24 h"]);
        let noon = UnixMs(100 * DAY_MS + 12 * HOUR_MS + 5);
        let starts: Vec<_> = Range::offered(10).map(|it| it.start(noon).0).collect();
        let hour = |day: i64| UnixMs(day * DAY_MS + 12 * HOUR_MS);
        assert_eq!(starts, [hour(99), hour(93), UnixMs(91 * DAY_MS)]);
    }
}
