//! Rollups of the journal, so that sums and statements need not read every line.
//!
//! `logs_by_hour` has the lines of each channel and of all together (channel 0), `logs_by_day`
//! those of each key of a user through each channel, and `log_blocks` how many there are in each
//! block of the journal. All three contain the lines up to the cursor, each once. The cursor is the
//! id of a line and not a time, so that a clock that is set back loses nothing. Readers add the
//! lines after the cursor.

mod grouped;

pub(crate) use grouped::{Summed, grouped};
use store::{Engine, sums};

/// Line ids per block of `log_blocks`: as many lines as are read within milliseconds.
pub const BLOCK_LINES: i64 = 65_536;
/// What is summed: a column, and a line's value for it. Sums of amounts are bounded
/// ([`domain::Quota::LARGEST_SUM`]).
pub const COLUMNS: [(&str, &str); 7] = [
    ("lines", "1"),
    ("charging", "CASE WHEN used_delta <> 0 THEN 1 ELSE 0 END"),
    ("quota", "quota"),
    ("delta", "delta"),
    ("used_delta", "used_delta"),
    ("prompt_tokens", "prompt_tokens"),
    ("completion_tokens", "completion_tokens"),
];
/// Those of [`COLUMNS`] that are amounts. The others are counts, which 64 bits have room for.
const AMOUNTS: [&str; 3] = ["quota", "delta", "used_delta"];
/// The index in [`COLUMNS`] of what was spent.
pub(crate) const USED_DELTA: usize = 4;

/// The hour of a line.
pub(crate) const fn hour(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "date_trunc('hour', created_at, 'UTC')",
        Engine::Sqlite => "created_at - created_at % 3600000",
    }
}

const fn day(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "date_trunc('day', created_at, 'UTC')",
        Engine::Sqlite => "created_at - created_at % 86400000",
    }
}

/// The statement that adds the lines after `$1` up to `$2` by the hour, on PostgreSQL.
pub(crate) fn by_hour() -> String {
    let (hour, columns) = (hour(Engine::Postgres), names());
    let of_channels = list(|column, _| summed(Engine::Postgres, column, column));
    let of_lines = list(|column, worth| summed(Engine::Postgres, column, worth));
    let added = added_by_hour(Engine::Postgres);
    format!(
        "WITH slice AS MATERIALIZED (
             SELECT coalesce(channel_id, 0) AS channel_id, {hour} AS hour, model_name, type,
                    {of_lines}
             FROM logs WHERE id > $1 AND id <= $2 GROUP BY 1, 2, 3, 4)
         INSERT INTO logs_by_hour (channel_id, hour, model_name, type, {columns})
         SELECT channel_id, hour, model_name, type, {columns} FROM slice WHERE channel_id <> 0
         UNION ALL
         SELECT 0, hour, model_name, type, {of_channels} FROM slice GROUP BY hour, model_name, type
         {added}"
    )
}

/// The statement that adds the lines after `$1` up to `$2` by the day, on PostgreSQL: in order, so
/// that those of a user share pages.
pub(crate) fn by_day() -> String {
    let (day, columns) = (day(Engine::Postgres), names());
    let of_lines = list(|column, worth| summed(Engine::Postgres, column, worth));
    let added = added_by_day(Engine::Postgres);
    format!(
        "INSERT INTO logs_by_day (user_id, day, token_id, model_name, type, channel_id,
                                  first_line, last_line, {columns})
         SELECT user_id, {day}, coalesce(token_id, 0), model_name, type, coalesce(channel_id, 0),
                min(id), max(id), {of_lines}
         FROM logs WHERE id > $1 AND id <= $2 GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
         {added}"
    )
}

/// The statement that adds the lines after `$1` up to `$2` by the block, on PostgreSQL.
pub(crate) fn by_block() -> String {
    let day = day(Engine::Postgres);
    format!(
        "WITH slice AS MATERIALIZED (
             SELECT coalesce(channel_id, 0) AS channel_id, id / {BLOCK_LINES} AS block,
                    {day} AS day, model_name, type, count(*) AS lines
             FROM logs WHERE id > $1 AND id <= $2 GROUP BY 1, 2, 3, 4, 5)
         INSERT INTO log_blocks (channel_id, block, day, model_name, type, lines)
         SELECT channel_id, block, day, model_name, type, lines FROM slice WHERE channel_id <> 0
         UNION ALL
         SELECT 0, block, day, model_name, type, sum(lines) FROM slice
         GROUP BY block, day, model_name, type
         {ADDED_BY_BLOCK}"
    )
}

/// The statement that adds what the lines after `$1` up to `$2` used to a table of their channels
/// or keys, on PostgreSQL.
pub(crate) fn used_by(table: &str, column: &str) -> String {
    let used = sums::sum_of(Engine::Postgres, "used_delta");
    let all = sums::added(Engine::Postgres, "t.used_quota", "s.used");
    format!(
        "UPDATE {table} AS t SET used_quota = {all} FROM (
             SELECT {column} AS id, {used} AS used FROM logs
             WHERE id > $1 AND id <= $2 AND used_delta <> 0 GROUP BY 1) AS s
         WHERE t.id = s.id"
    )
}

fn added_by_hour(engine: Engine) -> String {
    let added = list(|column, _| added_to("logs_by_hour", column, engine));
    format!("ON CONFLICT (channel_id, hour, model_name, type) DO UPDATE SET {added}")
}

fn added_by_day(engine: Engine) -> String {
    let (least, greatest) = match engine {
        Engine::Postgres => ("least", "greatest"),
        Engine::Sqlite => ("min", "max"),
    };
    let added = list(|column, _| added_to("logs_by_day", column, engine));
    format!(
        "ON CONFLICT (user_id, day, token_id, model_name, type, channel_id) DO UPDATE SET {added},
             first_line = {least}(logs_by_day.first_line, excluded.first_line),
             last_line = {greatest}(logs_by_day.last_line, excluded.last_line)"
    )
}

const ADDED_BY_BLOCK: &str = "ON CONFLICT (channel_id, block, day, model_name, type) DO UPDATE
    SET lines = log_blocks.lines + excluded.lines";

fn list(show: impl Fn(&str, &str) -> String) -> String {
    COLUMNS.map(|(column, worth)| show(column, worth)).join(", ")
}

fn names() -> String {
    list(|column, _| column.to_owned())
}

/// The sum over a group, under the column's name.
#[must_use]
pub fn summed(engine: Engine, column: &str, worth: &str) -> String {
    if AMOUNTS.contains(&column) {
        format!("{} AS {column}", sums::sum_of(engine, worth))
    } else {
        format!("CAST(sum({worth}) AS BIGINT) AS {column}")
    }
}

fn added_to(table: &str, column: &str, engine: Engine) -> String {
    let (before, more) = (format!("{table}.{column}"), format!("excluded.{column}"));
    if AMOUNTS.contains(&column) {
        format!("{column} = {}", sums::added(engine, &before, &more))
    } else {
        format!("{column} = {before} + {more}")
    }
}
