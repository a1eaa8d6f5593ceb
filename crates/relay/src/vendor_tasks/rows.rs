//! The tasks of vendors' own APIs in the database.

use crate::{Relay, faults};
use domain::{ChannelId, Fault, TaskStatus, UserId};
use store::{Db, Row, StoreError, TASK_DATA, Value};

/// Tasks of one id that are looked at: ids are the vendors', and two may use the same.
const MAX_SAME: i64 = 8;
/// Largest report that is shown in a list.
pub(super) const MAX_LISTED_BYTES: usize = 16 * 1024;

/// A task of a vendor.
#[derive(Debug)]
pub(crate) struct VendorTask {
    pub id: i64,
    /// The vendor's id.
    pub task_id: String,
    pub channel_id: ChannelId,
    pub model: String,
    pub status: TaskStatus,
    /// The path that it was submitted to.
    pub path: String,
    pub fail_reason: String,
    pub created_at: domain::UnixMs,
    /// Its last report, sealed, in a list.
    pub data: Option<String>,
}

fn read(row: &Row) -> Result<VendorTask, StoreError> {
    let status: String = row.get("status")?;
    Ok(VendorTask {
        id: row.get("id")?,
        task_id: row.get("task_id")?,
        channel_id: row.get("channel_id")?,
        model: row.get("action")?,
        status: TaskStatus::parse(&status).unwrap_or(TaskStatus::Unknown),
        path: row.get("path")?,
        fail_reason: row.get("fail_reason")?,
        created_at: row.get("created_at")?,
        data: row.get("data")?,
    })
}

/// A user's tasks of this id, the newest first.
pub(super) async fn of_id(
    db: &Db,
    user_id: UserId,
    task_id: &str,
) -> Result<Vec<VendorTask>, Fault> {
    let sql = "SELECT id, task_id, channel_id, action, status, path, fail_reason, created_at,
            NULL AS data FROM tasks
        WHERE +user_id = $1 AND task_id = $2 AND path <> '' ORDER BY +id DESC LIMIT $3";
    let params = [Value::from(user_id), Value::from(task_id), Value::Int(MAX_SAME)];
    let rows = db.read(sql, &params).await?;
    rows.iter().map(read).collect::<Result<_, _>>().map_err(faults::system)
}

/// Which of a user's tasks a list shows.
#[derive(Clone, Copy)]
pub(super) struct TaskPage<'a> {
    /// The path that they were submitted to.
    pub path: &'a str,
    /// Begins behind the one of this number.
    pub behind: Option<i64>,
    /// Oldest first.
    pub ascending: bool,
    pub limit: i64,
}

/// A page of a user's tasks.
pub(super) async fn page(
    db: &Db,
    user_id: UserId,
    TaskPage { path, behind, ascending, limit }: TaskPage<'_>,
) -> Result<Vec<VendorTask>, Fault> {
    let (beyond, order, first) =
        if ascending { (">", "ASC", i64::MIN) } else { ("<", "DESC", i64::MAX) };
    let sql = format!(
        "SELECT id, task_id, channel_id, action, status, path, fail_reason, created_at,
            CASE WHEN octet_length(data) <= $5 THEN data END AS data FROM tasks
        WHERE user_id = $1 AND path = $2 AND id {beyond} $3 AND task_id <> ''
        ORDER BY uid {order} LIMIT $4"
    );
    let params = [
        Value::from(user_id),
        Value::from(path),
        Value::Int(behind.unwrap_or(first)),
        Value::Int(limit),
        Value::Int(i64::try_from(MAX_LISTED_BYTES).unwrap_or(0)),
    ];
    let rows = db.read(&sql, &params).await?;
    rows.iter().map(read).collect::<Result<_, _>>().map_err(faults::system)
}

/// The last report of a task, if it can be opened.
pub(super) async fn data(relay: &Relay, id: i64) -> Result<Option<Vec<u8>>, Fault> {
    let rows = relay.db.read("SELECT data FROM tasks WHERE id = $1", &[Value::Int(id)]).await?;
    let sealed: Option<String> =
        rows.first().map(|row| row.get("data")).transpose().map_err(faults::system)?;
    Ok(sealed.and_then(|sealed| relay.sealer.open(TASK_DATA, &sealed).ok()))
}
