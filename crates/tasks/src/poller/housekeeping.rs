//! Periodic repairs and deletions.

use super::Core;
use domain::{ChannelId, DAY_MS, TaskStatus, TaskUid, UnixMs, UserId};
use ledger::{Charge, LedgerError, TaskEnd, TaskRef};
use std::sync::Arc;
use std::time::Duration;
use store::{Row, StoreError, Value};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Pause between two searches for holds whose task is gone.
const STRAYS_PAUSE: Duration = Duration::from_secs(60);
/// The largest part of the time that they may take.
const STRAYS_PART: u32 = 50;
/// Stray holds released by one search. It is repeated at once while there are more.
const STRAYS: usize = 500;
/// Pause between two searches for tasks that are old enough to be deleted.
const RETENTION_PAUSE: Duration = Duration::from_secs(3_600);
/// Tasks deleted in one transaction.
const SLICE: usize = 1_000;

/// Releases holds of tasks that an operator ended or deleted with plain SQL.
pub(super) async fn strays(core: Arc<Core>, stop: CancellationToken) {
    loop {
        let began = Instant::now();
        if let Err(error) = release_strays(&core).await {
            tracing::warn!(target: "custompass", event = "stray_holds_failed", %error);
        }
        let pause = STRAYS_PAUSE.max(began.elapsed() * STRAYS_PART);
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

async fn release_strays(core: &Core) -> Result<(), LedgerError> {
    // A task and its hold are inserted, and ended, in one transaction: a difference was made by
    // hand.
    let sql = "SELECT h.id, h.user_id, t.status, t.channel_id, t.fail_reason, t.created_at
               FROM holds h LEFT JOIN tasks t ON t.uid = h.id
               WHERE h.for_task
                 AND (t.uid IS NULL OR t.status IN ('completed', 'failed'))
               LIMIT $1";
    loop {
        let most = Value::Int(i64::try_from(STRAYS).unwrap_or(i64::MAX));
        let rows = core.parts.db.read(sql, &[most]).await?;
        let mut released = 0;
        for row in &rows {
            let (uid, user_id) = (TaskUid(row.get("id")?), row.get("user_id")?);
            // One whose account is locked doesn't keep the others.
            match release_stray(core, uid, user_id, row).await {
                Ok(()) => {
                    released += 1;
                    log_stray(uid, user_id);
                }
                Err(error) => tracing::warn!(
                    target: "custompass", event = "stray_hold_failed", task = %uid.0, %error,
                ),
            }
        }
        if rows.len() < STRAYS || released == 0 {
            return Ok(());
        }
    }
}

async fn release_stray(
    core: &Core,
    uid: TaskUid,
    user_id: UserId,
    row: &Row,
) -> Result<(), LedgerError> {
    let status: Option<String> = row.get("status")?;
    match status.as_deref().and_then(TaskStatus::parse) {
        None => core.parts.ledger.release_stray_hold(uid, user_id).await.map(drop),
        Some(status) => {
            let since: UnixMs = row.get("created_at")?;
            let channel_id: Option<ChannelId> = row.get("channel_id")?;
            let task = TaskRef { uid, user_id, channel_id, since };
            end_edited(core, &task, status, row.get("fail_reason")?).await
        }
    }
}

/// The row's status says that the task has ended; its amounts, its time and its webhooks follow, so
/// that it looks like any other ended task.
async fn end_edited(
    core: &Core,
    task: &TaskRef,
    status: TaskStatus,
    fail_reason: String,
) -> Result<(), LedgerError> {
    let end = TaskEnd { status, fail_reason, ..TaskEnd::completed() };
    core.parts.ledger.finish_task(task, Charge::Nothing("task_edited"), end).await.map(drop)
}

fn log_stray(uid: TaskUid, user_id: UserId) {
    tracing::warn!(
        target: "custompass", event = "stray_hold_released", user_id = user_id.0, task = %uid,
    );
}

/// Deletes ended tasks that are old, with their webhooks, and those about balances: periodically,
/// and at once when the retention is changed.
pub(super) async fn retention(core: Arc<Core>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            deleted = delete_old(&core) => {
                if let Err(error) = deleted {
                    tracing::warn!(target: "custompass", event = "task_retention_failed", %error);
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = core.retention_changed.notified() => {}
            () = sleep(RETENTION_PAUSE) => {}
        }
    }
}

async fn delete_old(core: &Core) -> Result<(), StoreError> {
    let db = &core.parts.db;
    let days = i64::from(core.config.load().retention_days);
    let before = core.parts.clock.now().plus_ms(-days.saturating_mul(DAY_MS));
    let without_task = "DELETE FROM webhook_deliveries
                        WHERE event IN ('balance.low', 'webhook.test') AND created_at < $1";
    db.execute(without_task, &[Value::Time(before)]).await?;
    let find = "SELECT id FROM tasks
                WHERE finish_time < $1 AND status IN ('completed', 'failed')
                ORDER BY finish_time LIMIT $2";
    loop {
        let most = Value::Int(i64::try_from(SLICE).unwrap_or(i64::MAX));
        let rows = db.read(find, &[Value::Time(before), most]).await?;
        let ids = rows.iter().map(|row| row.get("id")).collect::<Result<Vec<i64>, _>>()?;
        if ids.is_empty() {
            return Ok(());
        }
        let count = ids.len();
        store::tasks::delete(db, ids).await?;
        tracing::debug!(count, "old tasks deleted");
    }
}
