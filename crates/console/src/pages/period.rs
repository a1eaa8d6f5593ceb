//! The time that a list is of: `from` and `to` in its address, days or minutes, in UTC.

use crate::ranges::Range;
use crate::show;
use crate::visit::{Visit, step};
use admin::AdminError;
use admin::ops::log::{LogFilter, MAX_SUM_DAYS};
use domain::{DAY_MS, UnixMs};
use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use maud::{Markup, html};

/// From when, and until when; either may be open.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogPeriod {
    from: Option<UnixMs>,
    to: Option<UnixMs>,
}

impl LogPeriod {
    /// Reads the address. A day in `to` belongs to the time.
    pub(super) fn read(visit: &Visit) -> Result<Self, AdminError> {
        let moment = |name, days| moment(name, visit.asked(name), days);
        Ok(Self { from: moment("from", 0)?, to: moment("to", 1)? })
    }

    /// The lines of the filter that are of this time.
    pub(super) fn of(self, filter: LogFilter) -> LogFilter {
        LogFilter {
            start_at: self.from.or(filter.start_at),
            end_at: self.to.or(filter.end_at),
            ..filter
        }
    }

    /// The same in the words of the API.
    pub(super) fn of_api(self) -> [(&'static str, String); 2] {
        let seconds =
            |at: Option<UnixMs>| at.map_or(String::new(), |at| (at.0 / 1_000).to_string());
        [("start_time", seconds(self.from)), ("end_time", seconds(self.to))]
    }
}

/// A day or a minute; of a day its start, or that of a day as many days later.
fn moment(name: &str, text: &str, days: i64) -> Result<Option<UnixMs>, AdminError> {
    if text.is_empty() {
        return Ok(None);
    }
    let of_day = || {
        let day = text.parse::<Date>()?.checked_add(days.days())?;
        TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0))
    };
    let at = match text.contains('T') {
        true => text.parse::<DateTime>().and_then(|at| TimeZone::UTC.to_timestamp(at)),
        false => of_day(),
    };
    // No line is older than 1970, and none is of a time that an engine does not know.
    let at = at.ok().map(|at| at.as_millisecond()).filter(|ms| (0..MAX_MS).contains(ms));
    at.map(UnixMs).map(Some).ok_or_else(|| {
        let en = "must be a day like 2026-11-30, or a time like 2026-11-30T18:00, in UTC";
        AdminError::field(name, "必须是 UTC 日期或时间, 如 2026-11-30 或 2026-11-30T18:00", en)
    })
}

/// The year 10000.
const MAX_MS: i64 = 253_402_300_800_000;

/// Whether sums are made of the lines of this filter.
pub(super) fn is_summed(filter: &LogFilter, now: UnixMs) -> bool {
    let until = filter.end_at.unwrap_or(now);
    filter.start_at.is_some_and(|from| until.since_ms(from) <= MAX_SUM_DAYS * DAY_MS)
}

/// A link's parameter for the time since an instant, which is the start of an hour.
pub(super) fn since(start: UnixMs) -> String {
    format!("from={}", step(&text(start)))
}

/// A minute as addresses have it; a day, where it is the start of one.
pub(super) fn text(at: UnixMs) -> String {
    let text = show::moment(at.0 / 1_000);
    text.strip_suffix("T00:00").map(str::to_owned).unwrap_or(text)
}

/// The fields of a filter.
pub(super) fn fields(visit: &Visit) -> Markup {
    let both =
        [("from", visit.say("从 (UTC)", "From (UTC)")), ("to", visit.say("到 (UTC)", "To (UTC)"))];
    html! {
        @for (name, label) in both {
            // A link may name a minute; what is typed is a day.
            @let now = visit.asked(name);
            @let kind = if now.contains('T') { "datetime-local" } else { "date" };
            label { (label) input type=(kind) name=(name) value=(now); }
        }
    }
}

/// Times that sums are made of.
pub(super) fn choices(visit: &Visit) -> Markup {
    let now = visit.state.clock.now();
    html! {
        @for (nth, range) in Range::all(visit).enumerate() {
            @let (start, _) = range.start(now);
            @if nth > 0 { " · " }
            a href=(visit.with_both(("from", &text(start)), ("to", ""))) {
                (range.words(visit.lang()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::HOUR_MS;

    #[test]
    fn a_day_is_from_its_start_to_its_end() {
        let read = |text: &str, days| moment("from", text, days).unwrap().map(|at| at.0);
        assert_eq!(read("1970-01-02", 0), Some(DAY_MS));
        assert_eq!(read("1970-01-02", 1), Some(2 * DAY_MS));
        assert_eq!(read("1970-01-02T01:00", 1), Some(DAY_MS + HOUR_MS));
        assert_eq!(read("", 0), None);
        for wrong in ["yesterday", "1969-12-31", "2026-13-01", "9999-12-31T24:00", "T"] {
            assert!(moment("from", wrong, 0).is_err(), "{wrong}");
        }
        assert_eq!(since(UnixMs(2 * DAY_MS)), "from=1970%2D01%2D03");
        assert_eq!(since(UnixMs(DAY_MS + HOUR_MS)), "from=1970%2D01%2D02T01%3A00");
    }
}
