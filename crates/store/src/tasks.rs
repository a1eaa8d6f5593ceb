//! The statements that write `tasks`: one place for the relay, the poller and the administrators,
//! so that what guards a row is written once. Those that write a task's money are the ledger's
//! (`ledger/src/task_rows.rs`), and are built of the same parts.
//!
//! A task is *pending* until the upstream has accepted it (`task_id = ''`), *unfinished* until it
//! has ended. Rows that change together are one statement, with the rows as one JSON array, which
//! both engines read alike.

use crate::{Db, Engine, Statement, StoreError, Value};
use domain::{ChannelId, NodeId, TaskStatus, TaskUid, UnixMs, UserId};
use serde::Serialize;

/// A column of JSON rows: its name, and its type on PostgreSQL.
pub type JsonColumn = (&'static str, &'static str);

/// What is larger is written by a statement of its own: SQLite copies each member of a JSON text a
/// dozen times on its way into a row, and a row that is joined to another three times.
pub const LARGE_DATA: usize = 64 * 1024;

const CHANGE: &[JsonColumn] = &[
    ("id", "bigint"),
    ("version", "bigint"),
    ("status", "text"),
    ("upstream_status", "text"),
    ("progress", "text"),
    ("data", "text"),
    ("fingerprint", "bigint"),
];

/// A report of the upstream about an unfinished task.
#[derive(Debug, Serialize)]
pub struct TaskChange {
    /// The task's id.
    pub id: i64,
    /// The version it had when it was read: an outdated report changes nothing.
    pub version: i64,
    /// The new status; never a final one.
    pub status: TaskStatus,
    /// The upstream's own status word.
    pub upstream_status: String,
    /// The progress, as the upstream wrote it.
    pub progress: String,
    /// The upstream's element, sealed.
    pub data: String,
    /// A hash of the element, by which an unchanged one is recognised.
    pub fingerprint: i64,
}

/// Notes that a user's unfinished task was cancelled, which its upstream has confirmed.
///
/// # Errors
/// Any error of the database.
pub async fn note_cancelled(
    db: &Db,
    (user_id, channel_id): (UserId, ChannelId),
    task_id: &str,
    now: UnixMs,
) -> Result<(), StoreError> {
    let sql = "UPDATE tasks SET cancelled_at = $4
        WHERE task_id = $3 AND +user_id = $1 AND channel_id = $2 AND cancelled_at IS NULL
          AND status IN ('submitted', 'processing', 'unknown')";
    let params =
        [Value::from(user_id), Value::from(channel_id), Value::from(task_id), Value::from(now)];
    db.execute(sql, &params).await.map(drop)
}

/// The time as the second parameter.
#[must_use]
pub const fn now_param(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "$2::timestamptz",
        Engine::Sqlite => "?2",
    }
}

/// The JSON rows of the first parameter, as a table called `c`.
#[must_use]
pub fn json_rows(engine: Engine, columns: &[JsonColumn]) -> String {
    let list = |item: &dyn Fn(&str, &str) -> String| {
        columns.iter().map(|(name, kind)| item(name, kind)).collect::<Vec<_>>().join(", ")
    };
    match engine {
        Engine::Postgres => {
            let typed = list(&|name, kind| format!("{name} {kind}"));
            format!("jsonb_to_recordset($1::jsonb) AS c ({typed})")
        }
        Engine::Sqlite => {
            let read = list(&|name, kind| match kind {
                "uuid" => format!("unhex(replace(value ->> '{name}', '-', '')) AS {name}"),
                _ => format!("value ->> '{name}' AS {name}"),
            });
            format!("(SELECT {read} FROM json_each(?1)) AS c")
        }
    }
}

/// Assigns a pending task to another channel.
///
/// # Errors
/// Any error of the database.
pub async fn move_to_channel(
    db: &Db,
    uid: TaskUid,
    channel_id: ChannelId,
    now: UnixMs,
) -> Result<(), StoreError> {
    let sql = "UPDATE tasks SET channel_id = $2, updated_at = $3
        WHERE uid = $1 AND task_id = '' AND finish_time IS NULL";
    let params = [Value::Uuid(uid.0), Value::Int(channel_id.0), Value::Time(now)];
    db.execute(sql, &params).await.map(drop)
}

/// Hands a pending task over to another node. `false`: another node did so first, or it is not
/// pending.
///
/// # Errors
/// Any error of the database.
pub async fn hand_over(
    db: &Db,
    uid: TaskUid,
    from: NodeId,
    to: NodeId,
) -> Result<bool, StoreError> {
    let sql = "UPDATE tasks SET node_id = $3
        WHERE uid = $1 AND node_id = $2 AND task_id = '' AND finish_time IS NULL";
    let params = [Value::Uuid(uid.0), Value::from(from), Value::from(to)];
    Ok(db.execute(sql, &params).await? > 0)
}

/// Writes reports about unfinished tasks, all in one statement but for large data.
///
/// # Errors
/// Any error of the database, or when the rows can't be written as JSON.
pub async fn apply_changes(
    db: &Db,
    mut changes: Vec<TaskChange>,
    now: UnixMs,
) -> Result<(), StoreError> {
    let mut statements = Vec::new();
    for change in changes.extract_if(.., |change| change.data.len() > LARGE_DATA) {
        statements.push(large_change(change, now));
    }
    let rows = serde_json::to_string(&changes).map_err(|e| StoreError::Other(e.to_string()))?;
    let (table, at) = (json_rows(db.engine(), CHANGE), now_param(db.engine()));
    let sql = format!(
        "UPDATE tasks SET status = c.status, upstream_status = c.upstream_status,
                progress = c.progress, data = coalesce(nullif(c.data, ''), tasks.data),
                fingerprint = c.fingerprint, updated_at = {at}, version = tasks.version + 1
         FROM {table}
         WHERE tasks.id = c.id AND tasks.version = c.version
           AND tasks.status IN ('submitted', 'processing', 'unknown')"
    );
    let params = vec![Value::Json(rows), Value::Time(now)];
    if statements.is_empty() {
        return db.execute(&sql, &params).await.map(drop);
    }
    if !changes.is_empty() {
        statements.push(Statement::new(sql, params));
    }
    db.write_all(statements).await.map(drop)
}

/// Without a table of rows, through which SQLite would copy what the task had before as well.
fn large_change(change: TaskChange, now: UnixMs) -> Statement {
    let sql = "UPDATE tasks SET status = $3, upstream_status = $4, progress = $5, data = $6,
            fingerprint = $7, updated_at = $8, version = version + 1
        WHERE id = $1 AND version = $2 AND status IN ('submitted', 'processing', 'unknown')";
    let params = vec![
        Value::Int(change.id),
        Value::Int(change.version),
        Value::Text(change.status.as_str().to_owned()),
        Value::Text(change.upstream_status),
        Value::Text(change.progress),
        Value::Text(change.data),
        Value::Int(change.fingerprint),
        Value::Time(now),
    ];
    Statement::new(sql, params)
}

/// Restarts the lifetime of an unfinished task. `false`: it has ended.
///
/// # Errors
/// Any error of the database.
pub async fn restart_lifetime(db: &Db, uid: TaskUid, now: UnixMs) -> Result<bool, StoreError> {
    let sql = "UPDATE tasks SET lifetime_from = $2, updated_at = $2, version = version + 1
        WHERE uid = $1 AND status IN ('submitted', 'processing', 'unknown')";
    Ok(db.execute(sql, &[Value::Uuid(uid.0), Value::Time(now)]).await? > 0)
}

/// Deletes tasks and their deliveries, in one transaction.
///
/// # Errors
/// Any error of the database.
pub async fn delete(db: &Db, ids: Vec<i64>) -> Result<(), StoreError> {
    let list = match db.engine() {
        Engine::Postgres => {
            "SELECT CAST(c.value AS bigint) FROM jsonb_array_elements_text($1::jsonb) AS c (value)"
        }
        Engine::Sqlite => "SELECT value FROM json_each($1)",
    };
    let deliveries = format!(
        "DELETE FROM webhook_deliveries
         WHERE task_uid IN (SELECT uid FROM tasks WHERE id IN ({list}))"
    );
    let tasks = format!("DELETE FROM tasks WHERE id IN ({list})");
    let ids = vec![Value::Json(serde_json::Value::from(ids).to_string())];
    db.write_all(vec![Statement::new(deliveries, ids.clone()), Statement::new(tasks, ids)])
        .await
        .map(drop)
}
