//! Sums over the journal, from what is added up already and the lines that are not.

use super::log::LogFilter;
use domain::{UnixMs, UserId};
use ledger::journal_sums::{COLUMNS, DAY_MS, HOUR_MS, PART};
use store::{Row, StoreError, Value};

/// A table for `FROM` that has a row for each line of the journal, or for many of them, with the
/// columns of `journal_sums`; and the values it speaks of.
pub(super) struct Source {
    pub(super) table: String,
    pub(super) values: Vec<Value>,
}

/// The lines that `filter` names from `start` on, before `end` or without one.
///
/// Hours (of users: days) that lie within are taken from `journal_sums`, which knows their lines up
/// to a mark; the lines behind the mark, and those at either end of the time, from the journal. One
/// statement reads all, so none is missed or read twice while the mark moves.
pub(super) fn source(
    filter: &LogFilter,
    self_of: Option<UserId>,
    start: UnixMs,
    end: Option<UnixMs>,
) -> Source {
    let filter = LogFilter { start_at: None, end_at: None, ..filter.clone() };
    let journal = filter.table(self_of);
    let (conditions, mut values) = filter.conditions(self_of).into_parts();
    let conditions = if conditions.is_empty() { " WHERE 1 = 1" } else { &conditions };
    let mut at = |instant: UnixMs| {
        values.push(Value::Time(instant));
        format!("${}", values.len())
    };
    let lines = |more: &str| {
        let worth = of_a_line();
        format!(
            "SELECT created_at, type, model_name, {worth} FROM {journal}{conditions} AND {more}"
        )
    };
    let within = |from: &str, to: Option<&str>| match to {
        Some(to) => format!("created_at >= {from} AND created_at < {to}"),
        None => format!("created_at >= {from}"),
    };

    let added_up = filter.added_up(self_of).map(|(rows, span_ms)| {
        let last = end.map(|end| floor(end, span_ms));
        (rows, floor(start.plus_ms(span_ms - 1), span_ms), last)
    });
    let parts = match added_up {
        Some((rows, first, last)) if last.is_none_or(|last| first < last) => {
            let columns = COLUMNS.map(|(column, _)| column).join(", ");
            let (first_at, last_at) = (at(first), last.map(&mut at));
            let middle = within(&first_at, last_at.as_deref());
            let mut parts = vec![
                format!(
                    "SELECT created_at, type, model_name, {columns}
                     FROM journal_sums{conditions} AND {rows} AND {middle}"
                ),
                lines(&format!("id > (SELECT through FROM journal_sums_mark) AND {middle}")),
            ];
            if start < first {
                parts.push(lines(&within(&at(start), Some(&first_at))));
            }
            if let (Some(end), Some(last), Some(last_at)) = (end, last, &last_at)
                && last < end
            {
                parts.push(lines(&within(last_at, Some(&at(end)))));
            }
            parts
        }
        _ => {
            let (start, end) = (at(start), end.map(&mut at));
            vec![lines(&within(&start, end.as_deref()))]
        }
    };
    Source { table: format!("({}) AS lines", parts.join(" UNION ALL ")), values }
}

impl LogFilter {
    /// Which rows of `journal_sums` know the lines, and how much time each row is about; none where
    /// the sums of these lines aren't kept.
    fn added_up(&self, self_of: Option<UserId>) -> Option<(&'static str, i64)> {
        if self.request_id.is_some() || self.before_id.is_some() || self.user_id == Some(UserId(0))
        {
            return None;
        }
        match (self.is_of_users(self_of), self.channel_id.is_some(), self.token_id.is_some()) {
            (true, false, _) => Some(("channel_id = 0", DAY_MS)),
            (false, true, false) => Some(("user_id = 0", HOUR_MS)),
            (false, false, false) => Some(("user_id = 0 AND channel_id = 0", HOUR_MS)),
            _ => None,
        }
    }
}

/// The start of the span that an instant lies in.
const fn floor(at: UnixMs, span_ms: i64) -> UnixMs {
    UnixMs(at.0 - at.0.rem_euclid(span_ms))
}

/// The columns of a source, of one line of the journal.
pub(super) fn of_a_line() -> String {
    COLUMNS.map(|(column, worth)| format!("{worth} AS {column}")).join(", ")
}

/// The columns that add up a source.
pub(super) fn columns() -> String {
    COLUMNS.map(|(column, _)| format!("sum({column}) AS {column}")).join(", ")
}

/// The sum `name` of a row, from its two parts; none when it does not fit.
pub(super) fn whole(row: &Row, name: &str) -> Result<Option<i64>, StoreError> {
    let part = |part: &str| row.get::<i64>(&format!("{name}_{part}")).map(i128::from);
    Ok(i64::try_from(part("high")? * i128::from(PART) + part("low")?).ok())
}
