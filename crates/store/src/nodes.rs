//! Running processes and their leases. Holds of a node whose lease has expired may be ended by
//! other nodes.

use crate::sums::sum_of;
use crate::{Db, Row, StoreError, Value};
use domain::{NodeId, Quota, UnixMs};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

/// What a node measured of itself at its last heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeLoad {
    /// Resident memory, in bytes; null where the system does not tell.
    pub resident_bytes: Option<i64>,
    /// `MEMORY_LIMIT`, past which it takes no new calls; null: it has none.
    pub memory_limit_bytes: Option<i64>,
    /// Bytes of requests and responses that it holds in memory.
    pub body_bytes: i64,
    /// How many of them it may hold: `CUSTOM_PASS_BUFFER_BUDGET`.
    pub body_budget_bytes: i64,
    /// Open connections of clients.
    pub connections: i64,
    /// How many of them it accepts at a time.
    pub max_connections: i64,
    /// Connections of its pool to PostgreSQL that are in use; null on SQLite, which has no pool.
    pub database_in_use: Option<i64>,
    /// How many connections that pool may have; null on SQLite.
    pub database_max: Option<i64>,
    /// Whether its Redis answers; null: it has none.
    pub redis_answers: Option<bool>,
}

/// A node's lease, to be announced or renewed.
#[derive(Clone, Copy, Debug)]
pub struct NodeState<'a> {
    /// The node's id.
    pub id: NodeId,
    /// The node's name.
    pub name: &'a str,
    /// The current time.
    pub now: UnixMs,
    /// The lease's end. Until then no other node ends this one's holds.
    pub lease_until: UnixMs,
    /// What it measures of itself; none while it starts.
    pub load: Option<NodeLoad>,
}

/// Announces a node, or renews its lease.
///
/// # Errors
/// Any error of the database.
pub async fn register(db: &Db, node: &NodeState<'_>) -> Result<(), StoreError> {
    let sql = "INSERT INTO nodes (id, name, started_at, lease_until, version, load)
               VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (id) DO UPDATE
               SET lease_until = excluded.lease_until, load = excluded.load";
    let params = [
        Value::from(node.id),
        Value::from(node.name),
        Value::from(node.now),
        Value::from(node.lease_until),
        Value::from(env!("CARGO_PKG_VERSION")),
        Value::from(node.load.map(|load| json!(load))),
    ];
    db.execute(sql, &params).await.map(drop)
}

/// A node, as its row has it.
#[derive(Clone, Debug)]
pub struct NodeRow {
    /// The node's id.
    pub id: NodeId,
    /// The node's name.
    pub name: String,
    /// When it was started.
    pub started_at: UnixMs,
    /// The lease's end.
    pub lease_until: UnixMs,
    /// The version of its program.
    pub version: String,
    /// Holds that its calls have open.
    pub open_holds: i64,
    /// What they put aside.
    pub held: Quota,
    /// What it measured of itself at its last heartbeat. None: it has not yet, or its program is
    /// of a version that measures otherwise.
    pub load: Option<NodeLoad>,
}

/// All nodes, the newest first.
///
/// # Errors
/// Any error of the database.
pub async fn list(db: &Db) -> Result<Vec<NodeRow>, StoreError> {
    let held = sum_of(db.engine(), "amount");
    let sql = format!(
        "SELECT id, name, started_at, lease_until, version, load,
                coalesce(open_holds, 0) AS open_holds, coalesce(held, 0) AS held
         FROM nodes LEFT JOIN (
             SELECT node_id, count(*) AS open_holds, {held} AS held FROM holds
             WHERE NOT for_task GROUP BY node_id) AS h ON h.node_id = nodes.id
         ORDER BY started_at DESC LIMIT 1000"
    );
    let read = |row: &Row| {
        Ok(NodeRow {
            id: row.get("id")?,
            name: row.get("name")?,
            started_at: row.get("started_at")?,
            lease_until: row.get("lease_until")?,
            version: row.get("version")?,
            open_holds: row.get("open_holds")?,
            held: row.get("held")?,
            load: load_of(row)?,
        })
    };
    db.read(&sql, &[]).await?.iter().map(read).collect()
}

fn load_of(row: &Row) -> Result<Option<NodeLoad>, StoreError> {
    let stored: Option<String> = row.get("load")?;
    Ok(stored.and_then(|text| serde_json::from_str(&text).ok()))
}

/// A node's name.
///
/// # Errors
/// Any error of the database.
pub async fn name(db: &Db, id: NodeId) -> Result<Option<String>, StoreError> {
    let rows = db.read("SELECT name FROM nodes WHERE id = $1", &[Value::from(id)]).await?;
    rows.first().map(|row| row.get("name")).transpose()
}

/// Open holds that end with no node, and what they put aside.
#[derive(Clone, Copy, Debug, Default)]
pub struct LooseHolds {
    /// Of tasks: each ends with its task.
    pub tasks: (i64, Quota),
    /// Of calls whose outcome is unknown: each waits for its deadline.
    pub unknown: (i64, Quota),
}

/// Open holds that end with no node.
///
/// # Errors
/// Any error of the database.
pub async fn loose_holds(db: &Db) -> Result<LooseHolds, StoreError> {
    let held = sum_of(db.engine(), "amount");
    let sql = format!(
        "SELECT for_task, count(*) AS open_holds, {held} AS held FROM holds
         WHERE for_task OR node_id IS NULL GROUP BY for_task"
    );
    let mut found = LooseHolds::default();
    for row in db.read(&sql, &[]).await? {
        let sums = (row.get("open_holds")?, row.get("held")?);
        match row.get("for_task")? {
            true => found.tasks = sums,
            false => found.unknown = sums,
        }
    }
    Ok(found)
}

/// Nodes whose lease has expired.
///
/// # Errors
/// Any error of the database.
pub async fn lapsed(db: &Db, now: UnixMs) -> Result<Vec<NodeId>, StoreError> {
    let sql = "SELECT id FROM nodes WHERE lease_until <= $1 ORDER BY lease_until";
    let rows = db.read(sql, &[Value::from(now)]).await?;
    rows.iter().map(|row| row.get("id")).collect()
}

/// Names of the nodes whose lease is valid; none while there is no such table.
///
/// # Errors
/// Any error of the database.
pub async fn alive(db: &Db, now: UnixMs) -> Result<Vec<String>, StoreError> {
    if !db.has_table("nodes").await? {
        return Ok(Vec::new());
    }
    let sql = "SELECT name FROM nodes WHERE lease_until > $1 ORDER BY name";
    let rows = db.read(sql, &[Value::from(now)]).await?;
    rows.iter().map(|row| row.get("name")).collect()
}
