//! What models, channels and users used lately, for lists that have it beside each of their rows:
//! of whole days in UTC with today, from the rollups and the few lines behind them.

use crate::AdminState;
use crate::ops::log::sums::cursor_before;
use crate::page;
use domain::{ChannelId, DAY_MS, Quota, UnixMs, UserId};
use std::collections::BTreeMap;
use store::sums::sum_of;
use store::{FromValue, StoreError, Value};

/// How many days a month has here.
const MONTH_DAYS: i64 = 30;

/// How many days such a sum is of: a month, or as many as the log is kept.
#[must_use]
pub fn month_days(state: &AdminState) -> i64 {
    let all = state.options.as_deref().map(|options| options.all()).unwrap_or_default();
    let kept = all.iter().find(|option| option.key == "CUSTOM_PASS_LOG_RETENTION_DAYS");
    let kept = kept.and_then(|option| option.value.parse().ok()).unwrap_or(MONTH_DAYS);
    MONTH_DAYS.min(kept)
}

/// What all models cost in the last 30 days, as far as the log is kept.
pub(in crate::ops) async fn of_models(
    state: &AdminState,
) -> Result<BTreeMap<String, Quota>, StoreError> {
    let rollup = Rollup { column: "model_name", rows: "logs_by_hour", start: "hour" };
    rollup.spent(state, month_days(state), ("channel_id = 0", "model_name <> ''")).await
}

/// What these users spent in the last 30 days, as far as the log is kept.
pub(in crate::ops) async fn of_users(
    state: &AdminState,
    ids: &[UserId],
) -> Result<BTreeMap<UserId, Quota>, StoreError> {
    let rollup = Rollup { column: "user_id", rows: "logs_by_day", start: "day" };
    rollup.spent_of(state, month_days(state), ids.iter().map(|id| id.0)).await
}

/// What was charged for calls through these channels today.
pub(in crate::ops) async fn of_channels(
    state: &AdminState,
    ids: &[ChannelId],
) -> Result<BTreeMap<ChannelId, Quota>, StoreError> {
    let rollup = Rollup { column: "channel_id", rows: "logs_by_hour", start: "hour" };
    rollup.spent_of(state, 1, ids.iter().map(|id| id.0)).await
}

/// Sums that are kept.
struct Rollup {
    /// Whose they are, in their table and in the journal.
    column: &'static str,
    rows: &'static str,
    /// The column with the start of a row's period.
    start: &'static str,
}

impl Rollup {
    async fn spent_of<K: FromValue + Ord>(
        &self,
        state: &AdminState,
        days: i64,
        ids: impl Iterator<Item = i64>,
    ) -> Result<BTreeMap<K, Quota>, StoreError> {
        let Some(list) = page::number_list(ids) else { return Ok(BTreeMap::new()) };
        let which = format!("{} IN ({list})", self.column);
        self.spent(state, days, (&which, &which)).await
    }

    /// What was spent in the last days, by `column`: of the rows and of the lines of which these
    /// conditions hold. One statement reads both, so that none is missed or read twice.
    async fn spent<K: FromValue + Ord>(
        &self,
        state: &AdminState,
        days: i64,
        (of_rows, of_lines): (&str, &str),
    ) -> Result<BTreeMap<K, Quota>, StoreError> {
        let Self { column, rows, start } = self;
        let now = state.clock.now();
        let since = UnixMs(now.0 - now.0.rem_euclid(DAY_MS)).plus_ms((1 - days) * DAY_MS);
        let mut values: Vec<Value> = vec![since.into()];
        let mut behind = "id > (SELECT through FROM rollup_cursor)".to_owned();
        if let Some(cursor) = cursor_before(&state.db).await? {
            values.push(cursor);
            behind.push_str(" AND id > $2");
        }
        let spent = sum_of(state.db.engine(), "used_delta");
        let sql = format!(
            "SELECT {column}, {spent} AS spent FROM (
                 SELECT {column}, used_delta FROM {rows} WHERE {of_rows} AND {start} >= $1
                 UNION ALL
                 SELECT {column}, used_delta FROM logs
                 WHERE {behind} AND created_at >= $1 AND {of_lines}) AS lately
             GROUP BY {column}"
        );
        let rows = state.db.search(&sql, &values).await?;
        rows.iter().map(|row| Ok((row.get(column)?, row.get("spent")?))).collect()
    }
}
