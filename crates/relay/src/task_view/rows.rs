//! Tasks in the database, as far as their owners may see them.

use super::query::PageQuery;
use domain::{Quota, TaskStatus, TaskUid, UnixMs};
use std::collections::HashMap;
use store::{Db, Engine, Identity, Row, StoreError, Value};
use uuid::Uuid;

/// Reports up to this size are loaded with their rows where a single task is looked up. Larger ones
/// are read when they are rendered.
pub(super) const SMALL_DATA_BYTES: usize = 16 * 1024;
/// The same of lists, which are loaded before anything counts them: a page of large reports may be
/// hundreds of megabytes.
const LISTED_DATA_BYTES: usize = 512;

const COLUMNS: &str = "id, uid, task_id, action, status, upstream_status, progress, fail_reason,
    quota, octet_length(data) AS data_bytes, version, created_at, updated_at, finish_time";

/// A task.
#[derive(Debug)]
pub(super) struct OwnTask {
    /// Increases from task to task.
    pub id: i64,
    pub uid: TaskUid,
    /// The upstream's id; empty while it has none.
    pub task_id: String,
    pub model: String,
    pub status: TaskStatus,
    pub upstream_status: String,
    pub progress: String,
    pub fail_reason: String,
    pub quota: Quota,
    /// The size of `data`.
    pub data_bytes: usize,
    /// The upstream's last report, sealed; may be empty. `None`: not read yet.
    pub data: Option<String>,
    pub version: i64,
    pub created_at: UnixMs,
    pub updated_at: UnixMs,
    pub finish_time: Option<UnixMs>,
}

/// The state of a task. An edit by hand may not change the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub version: i64,
    pub status: TaskStatus,
}

impl OwnTask {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get("id")?,
            uid: TaskUid(row.get("uid")?),
            task_id: row.get("task_id")?,
            model: row.get("action")?,
            status: status_of(row)?,
            upstream_status: row.get("upstream_status")?,
            progress: row.get("progress")?,
            fail_reason: row.get("fail_reason")?,
            quota: row.get("quota")?,
            data_bytes: usize::try_from(row.get::<i64>("data_bytes")?).unwrap_or_default(),
            data: row.get("data")?,
            version: row.get("version")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
            finish_time: row.get("finish_time")?,
        })
    }

    /// What it takes in memory until it is rendered.
    pub(super) fn held_bytes(&self) -> usize {
        let texts = [&self.task_id, &self.model, &self.upstream_status, &self.progress];
        let texts = texts.into_iter().chain([&self.fail_reason]).chain(&self.data);
        texts.map(String::len).sum::<usize>() + size_of::<Self>()
    }

    pub(super) const fn standing(&self) -> Standing {
        Standing { version: self.version, status: self.status }
    }
}

fn status_of(row: &Row) -> Result<TaskStatus, StoreError> {
    let word: String = row.get("status")?;
    let status = TaskStatus::parse(&word);
    status.ok_or_else(|| StoreError::Other(format!("tasks.status says {word:?}")))
}

/// A query for tasks of one user, as far as the key may see them.
struct Query {
    engine: Engine,
    sql: String,
    params: Vec<Value>,
}

impl Query {
    /// `owner`: how the user's column is written. With a `+` in front, on either engine, its index
    /// is not used: users have many tasks, and the other conditions are nearly unique.
    fn of(db: &Db, identity: &Identity, (owner, data_bytes): (&str, usize)) -> Self {
        let (engine, sql) = (db.engine(), light(owner, data_bytes));
        let mut query = Self { engine, sql, params: vec![identity.user_id.into()] };
        if let Some(models) = &identity.models {
            query.and_among("action", models.iter());
        }
        query
    }

    fn and(&mut self, compared: &str, value: impl Into<Value>) {
        self.params.push(value.into());
        self.sql.push_str(&format!(" AND {compared} ${}", self.params.len()));
    }

    fn and_among<'a>(&mut self, column: &str, texts: impl Iterator<Item = &'a String>) {
        let texts = texts.map(|text| serde_json::Value::from(text.as_str())).collect();
        self.params.push(serde_json::Value::Array(texts).into());
        let list = list_of(self.engine, self.params.len());
        self.sql.push_str(&format!(" AND {column} {list}"));
    }

    async fn run(&self, db: &Db) -> Result<Vec<OwnTask>, StoreError> {
        db.read(&self.sql, &self.params).await?.iter().map(OwnTask::read).collect()
    }

    async fn first(&self, db: &Db) -> Result<Option<OwnTask>, StoreError> {
        Ok(self.run(db).await?.into_iter().next())
    }
}

/// The beginning of a query that leaves larger data out.
fn light(owner: &str, data_bytes: usize) -> String {
    format!(
        "SELECT {COLUMNS}, CASE WHEN octet_length(data) <= {data_bytes} THEN data END AS data
         FROM tasks WHERE {owner} = $1"
    )
}

/// One task with its full report. It was found before, so it may be seen.
pub(super) async fn whole(db: &Db, id: i64) -> Result<Option<OwnTask>, StoreError> {
    let sql = format!("SELECT {COLUMNS}, data FROM tasks WHERE id = $1");
    db.read(&sql, &[id.into()]).await?.first().map(OwnTask::read).transpose()
}

/// The reports of these tasks, sealed, by the tasks' numbers.
pub(super) async fn reports(db: &Db, ids: &[i64]) -> Result<HashMap<i64, String>, StoreError> {
    // Numbers: they can't be anything but digits.
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    let sql = format!("SELECT id, data FROM tasks WHERE id IN ({})", ids.join(", "));
    let rows = db.read(&sql, &[]).await?;
    rows.iter().map(|row| Ok((row.get("id")?, row.get("data")?))).collect()
}

/// `IN` the texts of a JSON array that is the `n`th parameter.
fn list_of(engine: Engine, n: usize) -> String {
    match engine {
        Engine::Postgres => format!("= ANY(ARRAY(SELECT jsonb_array_elements_text(${n}::jsonb)))"),
        Engine::Sqlite => format!("IN (SELECT value FROM json_each(${n}))"),
    }
}

/// One task by our id.
pub(super) async fn by_uid(
    db: &Db,
    identity: &Identity,
    uid: TaskUid,
) -> Result<Option<OwnTask>, StoreError> {
    let mut query = Query::of(db, identity, ("+user_id", SMALL_DATA_BYTES));
    query.and("uid =", uid.0);
    query.first(db).await
}

/// The newest task with this upstream id, of one model or of all.
pub(super) async fn by_upstream_id(
    db: &Db,
    identity: &Identity,
    model: Option<&str>,
    task_id: &str,
) -> Result<Option<OwnTask>, StoreError> {
    let mut query = Query::of(db, identity, ("+user_id", SMALL_DATA_BYTES));
    query.and("task_id =", task_id);
    if let Some(model) = model {
        query.and("action =", model);
    }
    // Not by the primary key, which would be scanned from its end.
    query.sql.push_str(" ORDER BY +id DESC LIMIT 1");
    query.first(db).await
}

/// Tasks of a model by the upstream's ids; of each id the newest.
pub(super) async fn by_upstream_ids(
    db: &Db,
    identity: &Identity,
    model: &str,
    ids: &[String],
) -> Result<HashMap<String, OwnTask>, StoreError> {
    let mut query = Query::of(db, identity, ("+user_id", LISTED_DATA_BYTES));
    query.and("action =", model);
    query.and_among("task_id", ids.iter());
    let mut newest: HashMap<String, OwnTask> = HashMap::new();
    for row in query.run(db).await? {
        if newest.get(&row.task_id).is_none_or(|other| other.id < row.id) {
            newest.insert(row.task_id.clone(), row);
        }
    }
    Ok(newest)
}

/// A page of all tasks, newest first, with one extra row if there are more.
pub(super) async fn page(
    db: &Db,
    identity: &Identity,
    page: &PageQuery,
) -> Result<Vec<OwnTask>, StoreError> {
    let mut query = Query::of(db, identity, ("user_id", LISTED_DATA_BYTES));
    if let Some(after) = page.after {
        query.and("uid <", after);
    }
    if let Some(status) = page.status {
        query.and("status =", status.as_str());
    }
    if let Some(model) = &page.model {
        query.and("action =", model);
    }
    let rows = i64::try_from(page.limit).unwrap_or(i64::MAX).saturating_add(1);
    query.params.push(rows.into());
    query.sql.push_str(&format!(" ORDER BY uid DESC LIMIT ${}", query.params.len()));
    query.run(db).await
}

/// The states of tasks, of any owner.
pub(super) async fn standings(
    db: &Db,
    uids: &[TaskUid],
) -> Result<HashMap<TaskUid, Standing>, StoreError> {
    let sql = match db.engine() {
        Engine::Postgres => {
            "SELECT uid, version, status FROM tasks
             WHERE uid = ANY(ARRAY(SELECT jsonb_array_elements_text($1::jsonb)::uuid))"
        }
        Engine::Sqlite => {
            "SELECT uid, version, status FROM tasks
             WHERE uid IN (SELECT unhex(replace(value, '-', '')) FROM json_each($1))"
        }
    };
    let asked = uids.iter().map(|uid| uid.0.to_string().into()).collect();
    let rows = db.read(sql, &[serde_json::Value::Array(asked).into()]).await?;
    let standing = |row: &Row| {
        let uid = TaskUid(row.get::<Uuid>("uid")?);
        Ok((uid, Standing { version: row.get("version")?, status: status_of(row)? }))
    };
    rows.iter().map(standing).collect()
}
