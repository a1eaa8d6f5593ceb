//! Tasks: are they polled, understood, ended and reported?

use super::HealthReport;
use domain::UnixMs;
use store::{Db, StoreError, Value};

/// A webhook that should have been tried this long ago waits for a sender.
const OVERDUE_MS: i64 = 300_000;
const SHOWN: usize = 5;

pub(super) async fn check(report: &mut HealthReport, db: &Db, now: UnixMs) {
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

/// A lane of unfinished tasks whose lease has expired is not polled by any node.
async fn stale(report: &mut HealthReport, db: &Db, now: UnixMs) -> Result<(), StoreError> {
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
    let remedy = "no newapi works on this database: systemctl status newapi; once one does, it \
                takes them up within a minute";
    report.bad("tasks asked about", format!("no node asks about {}", told?.join(", ")), remedy);
    Ok(())
}

async fn unmapped_words(report: &mut HealthReport, db: &Db) -> Result<(), StoreError> {
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
    let remedy = "say what the word means: on a list of the channel's custompass_status_mapping \
                (PATCH /api/channel/ID), or for all channels in CUSTOM_PASS_STATUS_SUCCESS, \
                _FAILED or _PROCESSING; the tasks go on by themselves then";
    report.bad("status words", told?.join(", "), remedy);
    Ok(())
}

/// A task and its hold end together; where they differ, the row was edited or deleted by hand.
async fn missing_refunds(report: &mut HealthReport, db: &Db) -> Result<(), StoreError> {
    let held = "SELECT count(*) FROM holds h LEFT JOIN tasks t ON t.uid = h.id
                WHERE h.for_task
                  AND (t.uid IS NULL OR t.status IN ('completed', 'failed'))";
    let edited = "SELECT count(*) FROM tasks t LEFT JOIN holds h ON h.id = t.uid
                  WHERE t.status IN ('completed', 'failed') AND t.quota > t.used_quota
                    AND h.id IS NULL";
    let rows = db.read(&format!("SELECT ({held}) AS held, ({edited}) AS edited"), &[]).await?;
    let count = |name| rows.first().map_or(Ok(0), |row| row.get::<i64>(name));
    let (held, edited) = (count("held")?, count("edited")?);
    if held > 0 {
        let found = format!("{held} tasks have ended, or are gone, and still hold money");
        let remedy = "their rows were edited or deleted; a running newapi gives the money back \
                    within a minute (stray_hold_released in the log)";
        report.bad("refunds of tasks", found, remedy);
    }
    if edited > 0 {
        let found = format!("{edited} ended tasks seem to hold more than they used");
        let remedy = "their rows were edited, and no money is missing: newapi audit. Put quota \
                      back to used_quota in these rows, or leave them";
        report.odd("rows of tasks", found, remedy);
    }
    if held == 0 && edited == 0 {
        report.good("refunds of tasks", "none is missing");
    }
    Ok(())
}

async fn webhooks(report: &mut HealthReport, db: &Db, now: UnixMs) -> Result<(), StoreError> {
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
            "no newapi works on this database, or its sender is stuck: webhooks_stalled in the log",
        ),
    }
    Ok(())
}
