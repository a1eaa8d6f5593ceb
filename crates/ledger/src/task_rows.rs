//! Rows of `tasks` that change together with money: inserted with the hold, given the upstream's id
//! when it has accepted the work, ended with the hold. Each kind of change is one statement for a
//! whole batch, with its rows as one JSON array. Other changes of tasks are in `store::tasks`.

use crate::book::BatchChanges;

use serde::Serialize;
use store::Engine;
use store::tasks::{JsonColumn, json_rows as table_of, now_param};

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
                        progress = c.progress, data = c.data, quota = c.quota,
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

/// What a batch writes about tasks: statements with their rows, in order. Empty for most batches.
pub(crate) fn statements<'a>(
    sql: &'a TaskSql,
    changes: &BatchChanges,
) -> impl Iterator<Item = (&'a str, String)> {
    let (new, recorded) = (&changes.new_tasks, &changes.recorded_tasks);
    let ended = &changes.ended_tasks;
    let insert = (!new.is_empty()).then(|| (sql.insert.as_str(), json_rows(new)));
    let record = (!recorded.is_empty()).then(|| (sql.record.as_str(), json_rows(recorded)));
    let end = (!ended.is_empty()).then(|| (sql.end.as_str(), json_rows(ended)));
    let outbox = (!ended.is_empty()).then(|| (sql.outbox.as_str(), json_rows(ended)));
    [insert, record, end, outbox].into_iter().flatten()
}

/// Rows as the statements take them.
pub(crate) fn json_rows(rows: &[impl Serialize]) -> String {
    // The types of the rows have no value that JSON can't represent.
    serde_json::to_string(rows).unwrap_or_default()
}
