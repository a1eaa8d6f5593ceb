//! Rows of `tasks` that change together with money: inserted with the hold, given the upstream's id
//! when it has accepted the work, ended with the hold. Each kind of change is one statement for a
//! whole batch, with its rows as one JSON array. Other changes of tasks are in `store::tasks`.

use crate::book::BatchChanges;
use crate::task::{EndedTask, TaskEnd, TaskRecord, WithQuota};
use domain::TaskUid;
use serde::Serialize;
use store::Engine;
use store::tasks::{JsonColumn, LARGE_DATA, json_rows as table_of, now_param};

const NEW: &[JsonColumn] = &[
    ("uid", "uuid"),
    ("user_id", "bigint"),
    ("token_id", "bigint"),
    ("key_sealed", "text"),
    ("channel_id", "bigint"),
    ("action", "text"),
    ("request_id", "text"),
    ("node_id", "uuid"),
    ("request_sealed", "text"),
    ("webhook_url_sealed", "text"),
    ("quota", "bigint"),
];
const RECORD: &[JsonColumn] = &[
    ("uid", "uuid"),
    ("task_id", "text"),
    ("channel_id", "bigint"),
    ("path", "text"),
    ("status", "text"),
    ("upstream_status", "text"),
    ("progress", "text"),
    ("data", "text"),
    ("quota", "bigint"),
];
const END: &[JsonColumn] = &[
    ("uid", "uuid"),
    ("status", "text"),
    ("upstream_status", "text"),
    ("progress", "text"),
    ("fail_reason", "text"),
    ("data", "text"),
    ("fingerprint", "bigint"),
    ("quota", "bigint"),
];
const ENDED: &[JsonColumn] = &[("uid", "uuid"), ("status", "text")];

/// The statements that change tasks together with their money, in one transaction. Each takes the
/// rows as JSON, and the time.
pub(crate) struct TaskSql {
    /// Creates tasks, with their holds.
    pub insert: String,
    /// Records the upstream's ids.
    pub record: String,
    /// Ends them.
    pub end: String,
    /// Queues a delivery for every endpoint that is notified of these ends.
    pub outbox: String,
}

impl TaskSql {
    /// The statements in the dialect of an engine.
    pub(crate) fn of(engine: Engine) -> Self {
        let now = now_param(engine);
        let (new, record) = (table_of(engine, NEW), table_of(engine, RECORD));
        let (end, ended) = (table_of(engine, END), table_of(engine, ENDED));
        Self {
            insert: format!(
                "INSERT INTO tasks (uid, user_id, token_id, key_sealed, channel_id, action,
                        request_id, node_id, request_sealed, webhook_url_sealed, quota,
                        precharge_quota, created_at, updated_at, lifetime_from)
                 SELECT c.uid, c.user_id, c.token_id, c.key_sealed, c.channel_id, c.action,
                        c.request_id, c.node_id, c.request_sealed, c.webhook_url_sealed, c.quota,
                        c.quota, {now}, {now}, {now}
                 FROM {new} WHERE true
                 ON CONFLICT (uid) DO NOTHING"
            ),
            record: format!(
                "UPDATE tasks SET task_id = c.task_id, channel_id = c.channel_id,
                        path = c.path, status = c.status, upstream_status = c.upstream_status,
                        progress = c.progress, quota = c.quota,
                        data = coalesce(nullif(c.data, ''), tasks.data),
                        precharge_quota = c.quota, submit_time = {now}, updated_at = {now},
                        node_id = NULL, request_sealed = NULL, version = tasks.version + 1
                 FROM {record} WHERE tasks.uid = c.uid AND tasks.task_id = ''
                   AND tasks.submit_time IS NULL AND tasks.finish_time IS NULL"
            ),
            end: format!(
                "UPDATE tasks SET status = c.status,
                        upstream_status = coalesce(c.upstream_status, tasks.upstream_status),
                        progress = coalesce(c.progress, tasks.progress),
                        fail_reason = c.fail_reason, data = coalesce(c.data, tasks.data),
                        fingerprint = coalesce(c.fingerprint, tasks.fingerprint),
                        quota = c.quota, used_quota = c.quota, finish_time = {now},
                        updated_at = {now}, node_id = NULL, request_sealed = NULL,
                        version = tasks.version + 1
                 FROM {end} WHERE tasks.uid = c.uid AND tasks.finish_time IS NULL"
            ),
            outbox: format!(
                "INSERT INTO webhook_deliveries (endpoint_id, user_id, task_uid, event, due_at,
                        created_at)
                 SELECT e.id, t.user_id, t.uid, 'task.' || c.status, {now}, {now}
                 FROM {ended} JOIN tasks t ON t.uid = c.uid
                      JOIN webhook_endpoints e ON e.user_id = t.user_id
                 WHERE e.status = 1
                   AND (e.events = '' OR ',' || e.events || ',' LIKE '%,task.' || c.status || ',%')
                   AND (e.url <> '' OR t.webhook_url_sealed IS NOT NULL)
                 ON CONFLICT (task_uid, endpoint_id) DO NOTHING"
            ),
        }
    }
}

/// Sets the data of an unfinished task, on SQLite.
pub(crate) const SET_DATA: &str =
    "UPDATE tasks SET data = ?2 WHERE uid = ?1 AND finish_time IS NULL";

/// On SQLite the same as `end`, of the row `?1` with the data `?3`. Where rows are joined SQLite
/// copies the new data and the old three times.
pub(crate) const END_LARGE: &str = "UPDATE tasks SET status = ?1 ->> '$[0].status',
        upstream_status = coalesce(?1 ->> '$[0].upstream_status', upstream_status),
        progress = coalesce(?1 ->> '$[0].progress', progress),
        fail_reason = ?1 ->> '$[0].fail_reason', data = ?3,
        fingerprint = coalesce(?1 ->> '$[0].fingerprint', fingerprint),
        quota = ?1 ->> '$[0].quota', used_quota = ?1 ->> '$[0].quota', finish_time = ?2,
        updated_at = ?2, node_id = NULL, request_sealed = NULL, version = version + 1
    WHERE uid = ?4 AND finish_time IS NULL";

/// What a batch writes about tasks on SQLite.
pub(crate) struct TaskWrites<'a> {
    /// Data for [`SET_DATA`], before the statements: what is too large to be a member of a row.
    pub large_data: Vec<(TaskUid, &'a str)>,
    /// Rows for [`END_LARGE`], before the statements, with their data.
    pub large_ends: Vec<(TaskUid, String, &'a str)>,
    /// Statements with their rows, in order. Empty for most batches.
    pub statements: Vec<(&'a str, String)>,
}

impl<'a> TaskWrites<'a> {
    pub(crate) fn of(sql: &'a TaskSql, changes: &'a BatchChanges) -> Self {
        let BatchChanges { new_tasks, recorded_tasks, ended_tasks, .. } = changes;
        let (large_data, large_ends, statements) = Default::default();
        let mut writes = Self { large_data, large_ends, statements };
        if !new_tasks.is_empty() {
            writes.statements.push((&sql.insert, json_rows(new_tasks)));
        }
        if !recorded_tasks.is_empty() {
            let rows: Vec<_> = recorded_tasks.iter().map(|row| writes.recorded(row)).collect();
            writes.statements.push((&sql.record, json_rows(&rows)));
        }
        if !ended_tasks.is_empty() {
            let small: Vec<_> =
                ended_tasks.iter().filter(|row| !writes.has_large_end(row)).collect();
            if !small.is_empty() {
                writes.statements.push((&sql.end, json_rows(&small)));
            }
            let ended: Vec<_> = ended_tasks.iter().map(without_data).collect();
            writes.statements.push((&sql.outbox, json_rows(&ended)));
        }
        writes
    }

    fn recorded(&mut self, row: &'a WithQuota<TaskRecord>) -> WithQuota<TaskRecord> {
        let TaskRecord { uid, task_id, channel_id, path, status, upstream_status, progress, data } =
            &row.task;
        let is_large = data.len() > LARGE_DATA;
        if is_large {
            self.large_data.push((*uid, data));
        }
        let task = TaskRecord {
            uid: *uid,
            task_id: task_id.clone(),
            channel_id: *channel_id,
            path: path.clone(),
            status: *status,
            upstream_status: upstream_status.clone(),
            progress: progress.clone(),
            data: if is_large { String::new() } else { data.clone() },
        };
        WithQuota { task, quota: row.quota }
    }

    /// Sets an end with large data apart.
    fn has_large_end(&mut self, row: &'a WithQuota<EndedTask>) -> bool {
        let data = row.task.end.data.as_deref().filter(|data| data.len() > LARGE_DATA);
        let Some(data) = data else { return false };
        self.large_ends.push((row.task.uid, json_rows(&[without_data(row)]), data));
        true
    }
}

fn without_data(row: &WithQuota<EndedTask>) -> WithQuota<EndedTask> {
    let end = TaskEnd { data: None, ..row.task.end.clone() };
    WithQuota { task: EndedTask { uid: row.task.uid, end }, quota: row.quota }
}

/// Rows as the statements take them.
pub(crate) fn json_rows(rows: &[impl Serialize]) -> String {
    // The types of the rows have no value that JSON can't represent.
    serde_json::to_string(rows).unwrap_or_default()
}
