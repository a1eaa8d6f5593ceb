//! Sums over the journal, from what is added up already and the lines that are not.

use super::LogFilter;
use domain::{DAY_MS, HOUR_MS};
use domain::{UnixMs, UserId};
use ledger::rollups::{COLUMNS, summed};
use std::fmt::Write as _;
use store::{Db, Engine, StoreError, Value};

/// A table for `FROM` that has a row for each line of the journal, or for many of them, with the
/// columns that are added up; and the values it binds.
pub(super) struct Source {
    pub(super) table: String,
    pub(super) values: Vec<Value>,
}

/// The lines that `filter` names from `start` on, before `end` or without one.
///
/// Whole hours (of users: days) are read from the rollup, which contains their lines up to the
/// cursor; the lines behind it, and those at either end of the period, from the journal. One
/// statement reads all, so that none is missed or read twice while the cursor moves.
pub(super) async fn source(
    db: &Db,
    filter: &LogFilter,
    self_of: Option<UserId>,
    times: (UnixMs, Option<UnixMs>),
) -> Result<Source, StoreError> {
    of_spans(db, filter, self_of, times, (filter.spans(self_of), &[])).await
}

/// What else a source says of each line, besides its model and type: columns as its tables have
/// them, and as the journal does.
type MoreColumns = &'static [(&'static str, &'static str)];

const OF_KEYS: MoreColumns =
    &[("user_id", "user_id"), ("token_id", "coalesce(token_id, 0) AS token_id")];
const OF_CHANNELS: MoreColumns = &[("channel_id", "coalesce(channel_id, 0) AS channel_id")];

/// The same with whose each line is, and of which key: from the days of users, of which there are
/// many more rows than of hours.
pub(super) async fn owned(
    db: &Db,
    filter: &LogFilter,
    self_of: Option<UserId>,
    times: (UnixMs, Option<UnixMs>),
) -> Result<Source, StoreError> {
    let spans = filter.request_id.is_none().then_some(DAYS_OF_USERS);
    of_spans(db, filter, self_of, times, (spans, OF_KEYS)).await
}

/// The same with the channel that each line is of; 0: of none.
pub(super) async fn by_channel(
    db: &Db,
    filter: &LogFilter,
    self_of: Option<UserId>,
    times: (UnixMs, Option<UnixMs>),
) -> Result<Source, StoreError> {
    let of_all = filter.channel_id.is_none() && !filter.is_of_users(self_of);
    let spans = filter.spans(self_of).map(|spans| if of_all { HOURS_OF_EACH } else { spans });
    of_spans(db, filter, self_of, times, (spans, OF_CHANNELS)).await
}

async fn of_spans(
    db: &Db,
    filter: &LogFilter,
    self_of: Option<UserId>,
    (start, end): (UnixMs, Option<UnixMs>),
    (spans, more): (Option<Spans>, MoreColumns),
) -> Result<Source, StoreError> {
    let filter = LogFilter { start_at: None, end_at: None, ..filter.clone() };
    let journal = filter.table(self_of);
    let (conditions, mut values) = filter.conditions(self_of).into_parts();
    let conditions = if conditions.is_empty() { " WHERE 1 = 1" } else { &conditions };
    let cursor_before = cursor_before(db).await?;
    let mut at = |value: Value| {
        values.push(value);
        format!("${}", values.len())
    };
    let of_row: String = more.iter().map(|(column, _)| format!("{column}, ")).collect();
    let of_line: String = more.iter().map(|(_, worth)| format!("{worth}, ")).collect();
    let lines = |which: &str| {
        let worth = of_a_line();
        format!(
            "SELECT created_at, type, model_name, {of_line}{worth}
             FROM {journal}{conditions} AND {which}"
        )
    };
    let spans = spans.map(|spans| {
        let last = end.map(|end| floor(end, spans.ms));
        (spans, floor(start.plus_ms(spans.ms - 1), spans.ms), last)
    });
    let parts = match spans {
        Some((Spans { rows, start: of_time, .. }, first, last))
            if last.is_none_or(|last| first < last) =>
        {
            let columns = COLUMNS.map(|(column, _)| column).join(", ");
            let (first_at, last_at) = (at(first.into()), last.map(|last| at(last.into())));
            let middle = |column| within(column, &first_at, last_at.as_deref());
            let (whole, behind) = (middle(of_time), middle("created_at"));
            let mut behind_cursor = "id > (SELECT through FROM rollup_cursor)".to_owned();
            if let Some(cursor) = cursor_before {
                let _ = write!(behind_cursor, " AND id > {}", at(cursor));
            }
            let mut parts = vec![
                format!(
                    "SELECT {of_time} AS created_at, type, model_name, {of_row}{columns}
                     FROM {rows}{conditions} AND {whole}"
                ),
                lines(&format!("{behind_cursor} AND {behind}")),
            ];
            if start < first {
                parts.push(lines(&within("created_at", &at(start.into()), Some(&first_at))));
            }
            if let (Some(end), Some(last), Some(last_at)) = (end, last, &last_at)
                && last < end
            {
                parts.push(lines(&within("created_at", last_at, Some(&at(end.into())))));
            }
            parts
        }
        _ => {
            let (start, end) = (at(start.into()), end.map(|end| at(end.into())));
            vec![lines(&within("created_at", &start, end.as_deref()))]
        }
    };
    Ok(Source { table: format!("({}) AS lines", parts.join(" UNION ALL ")), values })
}

/// Returns a recent cursor, for PostgreSQL: its planner estimates from values, and can't know that
/// only few lines are behind a cursor that the query itself reads. There the cursor only advances.
pub(super) async fn cursor_before(db: &Db) -> Result<Option<Value>, StoreError> {
    match db.engine() {
        Engine::Sqlite => Ok(None),
        Engine::Postgres => {
            let rows = db.read("SELECT through FROM rollup_cursor", &[]).await?;
            rows.first().map(|row| row.get("through").map(Value::Int)).transpose()
        }
    }
}

/// Rows that know many lines each.
#[derive(Clone, Copy)]
struct Spans {
    /// Their table; or those of its rows that know all the lines, in parentheses.
    rows: &'static str,
    /// The column with the start of a row's period.
    start: &'static str,
    /// How long a row's time is.
    ms: i64,
}

const DAYS_OF_USERS: Spans = Spans { rows: "logs_by_day", start: "day", ms: DAY_MS };
const HOURS_OF_CHANNELS: Spans = Spans { rows: "logs_by_hour", start: "hour", ms: HOUR_MS };
/// Those of every channel, one after the other: the index begins with them, and hours of all
/// together are no channel's.
const HOURS_OF_EACH: Spans = Spans {
    rows: "(SELECT * FROM logs_by_hour WHERE channel_id IN (
                WITH RECURSIVE known (id) AS (
                    SELECT (SELECT min(channel_id) FROM logs_by_hour WHERE channel_id > 0)
                    UNION ALL
                    SELECT (SELECT min(channel_id) FROM logs_by_hour WHERE channel_id > known.id)
                    FROM known WHERE known.id IS NOT NULL)
                SELECT id FROM known WHERE id IS NOT NULL)) AS hours",
    start: "hour",
    ms: HOUR_MS,
};
const HOURS: Spans = Spans {
    rows: "(SELECT * FROM logs_by_hour WHERE channel_id = 0) AS hours",
    start: "hour",
    ms: HOUR_MS,
};

impl LogFilter {
    /// The rows that know the lines; none where the sums of these lines aren't kept.
    fn spans(&self, self_of: Option<UserId>) -> Option<Spans> {
        match (self.is_of_users(self_of), self.channel_id) {
            _ if self.request_id.is_some() => None,
            (true, _) => Some(DAYS_OF_USERS),
            (false, Some(_)) => Some(HOURS_OF_CHANNELS),
            (false, None) => Some(HOURS),
        }
    }
}

fn within(column: &str, from: &str, to: Option<&str>) -> String {
    match to {
        Some(to) => format!("{column} >= {from} AND {column} < {to}"),
        None => format!("{column} >= {from}"),
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
pub(super) fn columns(db: &Db) -> String {
    COLUMNS.map(|(column, _)| summed(db.engine(), column, column)).join(", ")
}

/// The column `calls` of a source: how many were charged.
pub(super) fn calls(db: &Db) -> String {
    summed(db.engine(), "calls", "CASE WHEN type = 'consume' THEN charging ELSE 0 END")
}
