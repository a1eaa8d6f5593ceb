//! Tasks: are they asked about, understood, ended and told of?

use super::Report;
use domain::UnixMs;
use store::{Db, StoreError, Value};

/// A webhook that should have been tried this long ago waits for a sender.
const OVERDUE_MS: i64 = 300_000;
const SHOWN: usize = 5;

pub(super) async fn check(report: &mut Report, db: &Db, now: UnixMs) {
    let checks = [
        ("tasks asked about", stale(report, db, now).await),
        ("status words", unmapped_words(report, db).await),
        ("refunds of tasks", missing_refunds(report, db).await),
        ("webhooks", webhooks(report, db, now).await),
    ];
    for (name, result) in checks {
        if let Err(error) = result {
            report.failed(name, &error);
        }
    }
}

/// A lane of unfinished tasks whose lease has lapsed is asked about by nobody.
async fn stale(report: &mut Report, db: &Db, now: UnixMs) -> Result<(), StoreError> {
    let unfinished = "status IN ('submitted', 'processing', 'unknown')";
    let sql = format!(
        "SELECT t.channel_id, t.action, count(*) AS n FROM tasks t
         LEFT JOIN task_lanes l ON l.channel_id = t.channel_id AND l.action = t.action
              AND l.lease_until > $1
         WHERE t.{unfinished} AND l.node_id IS NULL AND t.created_at < $2
         GROUP BY t.channel_id, t.action ORDER BY 3 DESC"
    );
    let rows = db.read(&sql, &[Value::Time(now), Value::Time(now.plus_ms(-60_000))]).await?;
    if rows.is_empty() {
        report.good("tasks asked about", "every unfinished task has a node that asks");
        return Ok(());
    }
    let told: Result<Vec<String>, StoreError> = rows
        .iter()
        .take(SHOWN)
        .map(|row| {
            let (channel, n): (i64, i64) = (row.get("channel_id")?, row.get("n")?);
            Ok(format!("{n} of {} on channel {channel}", row.get::<String>("action")?))
        })
        .collect();
    let mend = "is newapi running? newapi poll asks now; the log says poll_failed where an \
                upstream doesn't answer";
    report.bad("tasks asked about", format!("nobody asks about {}", told?.join(", ")), mend);
    Ok(())
}

async fn unmapped_words(report: &mut Report, db: &Db) -> Result<(), StoreError> {
    let rows = db
        .read(
            "SELECT channel_id, upstream_status, count(*) AS n FROM tasks
             WHERE platform = 'custompass' AND status = 'unknown'
             GROUP BY channel_id, upstream_status ORDER BY 3 DESC",
            &[],
        )
        .await?;
    if rows.is_empty() {
        report.good("status words", "every word of an upstream is understood");
        return Ok(());
    }
    let told: Result<Vec<String>, StoreError> = rows
        .iter()
        .take(SHOWN)
        .map(|row| {
            let (channel, n): (i64, i64) = (row.get("channel_id")?, row.get("n")?);
            let word: String = row.get("upstream_status")?;
            Ok(format!("{word:?} of channel {channel} ({n} tasks)"))
        })
        .collect();
    let mend = "put the word on a list of the channel's custompass_status_mapping, or of \
                CUSTOM_PASS_STATUS_SUCCESS, _FAILED, _PROCESSING";
    report.bad("status words", told?.join(", "), mend);
    Ok(())
}

async fn missing_refunds(report: &mut Report, db: &Db) -> Result<(), StoreError> {
    let rows = db
        .read(
            "SELECT count(*) AS n FROM tasks JOIN holds ON holds.id = tasks.uid
             WHERE tasks.finish_time IS NOT NULL
               AND (tasks.quota > tasks.used_quota OR holds.state = 'held')",
            &[],
        )
        .await?;
    match rows.first().map_or(Ok(0), |row| row.get::<i64>("n"))? {
        0 => report.good("refunds of tasks", "none is missing"),
        missing => report.bad(
            "refunds of tasks",
            format!("{missing} tasks have ended and still hold money"),
            "newapi gives it back within a minute; if it stays, newapi task fail-and-refund ID",
        ),
    }
    Ok(())
}

async fn webhooks(report: &mut Report, db: &Db, now: UnixMs) -> Result<(), StoreError> {
    let rows = db
        .read(
            "SELECT count(*) AS n FROM webhook_deliveries WHERE state = 'pending' AND due_at < $1",
            &[Value::Time(now.plus_ms(-OVERDUE_MS))],
        )
        .await?;
    match rows.first().map_or(Ok(0), |row| row.get::<i64>("n"))? {
        0 => report.good("webhooks", "none waits for its sender"),
        waiting => report.bad(
            "webhooks",
            format!("{waiting} are overdue by more than {} s", OVERDUE_MS / 1_000),
            "is newapi running? is WEBHOOK_ALLOW_NETS or a proxy in the way?",
        ),
    }
    Ok(())
}
