//! Summaries of the journal: usage by the hour, and what channels and keys have used.
//!
//! A money transaction never touches a channel's row: every call of every user would queue behind
//! it. Instead, journal lines older than the lag are added up here, each exactly once, together
//! with the mark of how far the summary has come. The lag is longer than any transaction may take,
//! so no line can appear before the mark later on.

use crate::journal_sums;
use domain::UnixMs;
use store::{Db, Engine, Statement, StoreError, Value};

/// Longer than a money transaction can take: a statement is ended by the server after 30 s.
const LAG_MS: i64 = 60_000;
/// At most this much of the journal in one go.
const SLICE_MS: i64 = 3_600_000;

/// Instants are compared by the millisecond, which is what we know of them: PostgreSQL may have the
/// mark more exactly.
const ADVANCE: &str = "UPDATE rollup_progress SET through = $2
    WHERE name = 'usage' AND through >= $1 AND through < $3";
const CHANNELS: &str = "UPDATE channels SET used_quota = used_quota + s.used FROM (
    SELECT channel_id, CAST(sum(used_delta) AS BIGINT) AS used FROM logs
    WHERE created_at >= $1 AND created_at < $2 AND used_delta <> 0 GROUP BY channel_id) AS s
    WHERE channels.id = s.channel_id";
const KEYS: &str = "UPDATE tokens SET used_quota = used_quota + s.used FROM (
    SELECT token_id, CAST(sum(used_delta) AS BIGINT) AS used FROM logs
    WHERE created_at >= $1 AND created_at < $2 AND used_delta <> 0 GROUP BY token_id) AS s
    WHERE tokens.id = s.token_id";

/// Brings the summaries up to date.
pub(super) async fn run(db: &Db, now: UnixMs) -> Result<(), StoreError> {
    let upto = now.plus_ms(-LAG_MS);
    let hourly = hourly(db.engine());
    while let Some(Waiting { through, first_line }) = waiting(db, upto).await? {
        // Silence is skipped in one step.
        let to = upto.min(first_line.plus_ms(SLICE_MS));
        let statement =
            |sql: String| Statement::new(sql, vec![Value::Time(through), Value::Time(to)]);
        let slice = vec![
            Statement::new(
                ADVANCE,
                vec![Value::Time(through), Value::Time(to), Value::Time(through.plus_ms(1))],
            )
            .expecting(1),
            statement(hourly.clone()),
            statement(CHANNELS.to_owned()),
            statement(KEYS.to_owned()),
        ];
        match db.write_all(slice).await {
            Ok(_) => {}
            // Another node was here first; it does the rest.
            Err(StoreError::RowCount { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Lines not yet in the summaries.
struct Waiting {
    through: UnixMs,
    first_line: UnixMs,
}

/// What there is to add up. The mark is made where there is none yet.
async fn waiting(db: &Db, upto: UnixMs) -> Result<Option<Waiting>, StoreError> {
    let make = "INSERT INTO rollup_progress (name, through)
        SELECT 'usage', min(created_at) FROM logs HAVING min(created_at) < $1
        ON CONFLICT (name) DO NOTHING";
    let read = "SELECT through FROM rollup_progress WHERE name = 'usage'";
    let mut rows = db.read(read, &[]).await?;
    if rows.is_empty() && db.execute(make, &[Value::Time(upto)]).await? > 0 {
        rows = db.read(read, &[]).await?;
    }
    let Some(row) = rows.first() else { return Ok(None) };
    let through: UnixMs = row.get("through")?;
    // First in the next hour: on PostgreSQL the first line of all is found by looking at all.
    for to in [upto.min(through.plus_ms(SLICE_MS)), upto] {
        if let Some(first_line) = first_line(db, through, to).await? {
            return Ok(Some(Waiting { through, first_line }));
        }
    }
    Ok(None)
}

async fn first_line(db: &Db, from: UnixMs, to: UnixMs) -> Result<Option<UnixMs>, StoreError> {
    let first = "SELECT min(created_at) AS first_line FROM logs
        WHERE created_at >= $1 AND created_at < $2";
    let rows = db.read(first, &[Value::Time(from), Value::Time(to)]).await?;
    rows.first().map_or(Ok(None), |row| row.get("first_line"))
}

fn hourly(engine: Engine) -> String {
    let hour = journal_sums::hour(engine);
    format!(
        "INSERT INTO usage_hourly (hour, user_id, channel_id, token_id, model_name, calls, quota,
                                   prompt_tokens, completion_tokens)
         SELECT {hour}, user_id, coalesce(channel_id, 0), coalesce(token_id, 0), model_name,
                count(CASE WHEN type = 'consume' THEN 1 END), sum(used_delta),
                sum(prompt_tokens), sum(completion_tokens)
         FROM logs
         WHERE created_at >= $1 AND created_at < $2
           AND (type = 'consume' OR (type = 'refund' AND used_delta <> 0))
         GROUP BY 1, 2, 3, 4, 5
         ON CONFLICT (hour, user_id, channel_id, token_id, model_name) DO UPDATE
         SET calls = usage_hourly.calls + excluded.calls,
             quota = usage_hourly.quota + excluded.quota,
             prompt_tokens = usage_hourly.prompt_tokens + excluded.prompt_tokens,
             completion_tokens = usage_hourly.completion_tokens + excluded.completion_tokens"
    )
}
