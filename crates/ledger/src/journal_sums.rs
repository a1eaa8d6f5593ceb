//! The journal added up, so that sums and statements need not read every line.
//!
//! `journal_sums` knows the lines up to a mark, each once: by the hour for the house and for each
//! channel, by the day for each key of a user. The mark is a number of a line and no instant, so a
//! clock that was set back loses nothing. Whoever reads adds the lines behind the mark.

use store::Engine;

/// The house and its channels are added up by the hour, in milliseconds.
pub const HOUR_MS: i64 = 3_600_000;
/// Users are added up by the day, in milliseconds.
pub const DAY_MS: i64 = 86_400_000;
/// Amounts are added up in two parts, above and below this: their sum may not fit.
pub const PART: i64 = 1_000_000_000;
/// What is added up: a column of `journal_sums`, and what one line of the journal is worth in it.
pub const COLUMNS: [(&str, &str); 12] = [
    ("lines", "1"),
    ("charging", "CASE WHEN used_delta <> 0 THEN 1 ELSE 0 END"),
    ("quota_high", "quota / 1000000000"),
    ("quota_low", "quota % 1000000000"),
    ("delta_high", "delta / 1000000000"),
    ("delta_low", "delta % 1000000000"),
    ("used_delta_high", "used_delta / 1000000000"),
    ("used_delta_low", "used_delta % 1000000000"),
    ("prompt_tokens_high", "prompt_tokens / 1000000000"),
    ("prompt_tokens_low", "prompt_tokens % 1000000000"),
    ("completion_tokens_high", "completion_tokens / 1000000000"),
    ("completion_tokens_low", "completion_tokens % 1000000000"),
];

/// The statement that enters the lines after `$1` up to `$2`. They are read once.
pub(crate) fn enter(engine: Engine) -> String {
    let (hour, day) = match engine {
        Engine::Postgres => {
            ("date_trunc('hour', created_at, 'UTC')", "date_trunc('day', created_at, 'UTC')")
        }
        Engine::Sqlite => {
            ("created_at - created_at % 3600000", "created_at - created_at % 86400000")
        }
    };
    let each = |show: &dyn Fn(&str, &str) -> String| {
        COLUMNS.map(|(column, worth)| show(column, worth)).join(", ")
    };
    let columns = each(&|column, _| column.to_owned());
    let of_lines = each(&|column, worth| format!("sum({worth}) AS {column}"));
    let of_slice = each(&|column, _| format!("sum({column})"));
    let added = each(&|column, _| format!("{column} = journal_sums.{column} + excluded.{column}"));
    format!(
        "WITH slice AS MATERIALIZED (
             SELECT {hour} AS created_at, user_id, coalesce(channel_id, 0) AS channel_id,
                    coalesce(token_id, 0) AS token_id, model_name, type, {of_lines}
             FROM logs WHERE id > $1 AND id <= $2 GROUP BY 1, 2, 3, 4, 5, 6)
         INSERT INTO journal_sums (user_id, channel_id, created_at, token_id, model_name, type,
                                   {columns})
         SELECT 0, 0, created_at, 0, model_name, type, {of_slice}
         FROM slice GROUP BY created_at, model_name, type
         UNION ALL
         SELECT 0, channel_id, created_at, 0, model_name, type, {of_slice}
         FROM slice WHERE channel_id <> 0 GROUP BY channel_id, created_at, model_name, type
         UNION ALL
         SELECT user_id, 0, {day}, token_id, model_name, type, {of_slice}
         FROM slice WHERE user_id <> 0 GROUP BY user_id, {day}, token_id, model_name, type
         ON CONFLICT (user_id, channel_id, created_at, token_id, model_name, type)
         DO UPDATE SET {added}"
    )
}
