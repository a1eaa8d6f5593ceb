//! Running processes and their leases. The holds of a node whose lease lapsed may be ended by
//! others.

use crate::{Db, StoreError, Value};
use domain::{NodeId, UnixMs};

/// Announces a node, or renews its lease.
///
/// # Errors
/// What the database says.
pub async fn register(
    db: &Db,
    node: NodeId,
    name: &str,
    now: UnixMs,
    lease_until: UnixMs,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO nodes (id, name, started_at, lease_until) VALUES ($1, $2, $3, $4)
               ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until";
    let params = [Value::from(node), Value::from(name), Value::from(now), Value::from(lease_until)];
    db.execute(sql, &params).await.map(drop)
}

/// Nodes whose lease has lapsed.
///
/// # Errors
/// What the database says.
pub async fn lapsed(db: &Db, now: UnixMs) -> Result<Vec<NodeId>, StoreError> {
    let sql = "SELECT id FROM nodes WHERE lease_until <= $1 ORDER BY lease_until";
    let rows = db.read(sql, &[Value::from(now)]).await?;
    rows.iter().map(|row| row.get("id")).collect()
}
