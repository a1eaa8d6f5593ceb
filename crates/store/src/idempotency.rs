//! Idempotency keys: which node processes a request, and what it replied.

use crate::{Db, Statement, StoreError, Value};
use domain::{NodeId, UnixMs, UserId};

/// Retries while the row is deleted and inserted concurrently.
const TRIES: usize = 5;

/// The result of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The key is free, and is claimed now: process the request, then complete or forget the claim.
    Mine,
    /// Another request with this key is in flight.
    Running,
    /// The key was used with another request.
    Mismatch,
    /// The request has completed.
    Done {
        /// The size of the reply, sealed; `None` when it was too large to keep.
        reply_bytes: Option<usize>,
    },
}

/// Claims the key, unless it is claimed. A claim that a dead node left open may be taken over.
///
/// # Errors
/// Any error of the database.
pub async fn claim(
    db: &Db,
    user_id: UserId,
    key_hash_hex: &str,
    fingerprint: &[u8; 32],
    node: NodeId,
    now: UnixMs,
    expires_at: UnixMs,
) -> Result<Claim, StoreError> {
    const TAKE: &str = "INSERT INTO idempotency
            (user_id, idempotency_key, fingerprint, node_id, done, created_at, expires_at)
        VALUES ($1, $2, $3, $4, FALSE, $5, $6)
        ON CONFLICT (user_id, idempotency_key) DO UPDATE
        SET fingerprint = excluded.fingerprint, node_id = excluded.node_id, done = FALSE,
            reply_sealed = NULL, created_at = excluded.created_at,
            expires_at = excluded.expires_at
        WHERE idempotency.expires_at <= excluded.created_at
           OR (NOT idempotency.done AND idempotency.fingerprint = excluded.fingerprint
               AND NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.id = idempotency.node_id
                               AND nodes.lease_until > excluded.created_at))
        RETURNING 1";
    const LOOK: &str =
        "SELECT fingerprint, done, octet_length(reply_sealed) AS bytes FROM idempotency
        WHERE user_id = $1 AND idempotency_key = $2";
    let params = [
        Value::from(user_id),
        Value::from(key_hash_hex),
        Value::from(fingerprint),
        Value::from(node),
        Value::from(now),
        Value::from(expires_at),
    ];
    for _ in 0..TRIES {
        if !db.write(TAKE, &params).await?.is_empty() {
            return Ok(Claim::Mine);
        }
        let rows = db.read_first(LOOK, &params[..2]).await?;
        // Deleted between the two statements: the key may be free now.
        let Some(row) = rows.first() else { continue };
        if row.get::<Vec<u8>>("fingerprint")? != fingerprint {
            return Ok(Claim::Mismatch);
        }
        return Ok(match row.get("done")? {
            false => Claim::Running,
            true => {
                let bytes: Option<i64> = row.get("bytes")?;
                let reply_bytes = bytes.map(|bytes| usize::try_from(bytes).unwrap_or_default());
                Claim::Done { reply_bytes }
            }
        });
    }
    Err(StoreError::Busy("the idempotency key keeps changing hands".to_owned()))
}

/// The sealed reply of a completed claim; `None` when there is none, or it has expired.
///
/// # Errors
/// Any error of the database.
pub async fn reply(
    db: &Db,
    user_id: UserId,
    key_hash_hex: &str,
) -> Result<Option<String>, StoreError> {
    let sql = "SELECT reply_sealed FROM idempotency
        WHERE user_id = $1 AND idempotency_key = $2 AND done";
    let rows = db.read_first(sql, &[Value::from(user_id), Value::from(key_hash_hex)]).await?;
    rows.first().map_or(Ok(None), |row| row.get("reply_sealed"))
}

/// Takes over a claim that a dead node left open. `false`: the request was repeated meanwhile, and
/// another node has the claim, or it has completed.
///
/// # Errors
/// Any error of the database.
pub async fn take_over(
    db: &Db,
    user_id: UserId,
    key_hash_hex: &str,
    to: NodeId,
) -> Result<bool, StoreError> {
    let sql = "UPDATE idempotency SET node_id = $3
        WHERE user_id = $1 AND idempotency_key = $2 AND NOT done
          AND NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.id = idempotency.node_id)";
    let params = [Value::from(user_id), Value::from(key_hash_hex), Value::from(to)];
    Ok(db.execute(sql, &params).await? > 0)
}

/// Reverts [`take_over`], back to the dead node.
///
/// # Errors
/// Any error of the database.
pub async fn hand_back(
    db: &Db,
    user_id: UserId,
    key_hash_hex: &str,
    from: NodeId,
    to: NodeId,
) -> Result<(), StoreError> {
    let sql = "UPDATE idempotency SET node_id = $4
        WHERE user_id = $1 AND idempotency_key = $2 AND node_id = $3 AND NOT done";
    let params =
        [Value::from(user_id), Value::from(key_hash_hex), Value::from(from), Value::from(to)];
    db.execute(sql, &params).await.map(drop)
}

/// The statement that completes a claim, for a transaction of the ledger's. It affects no row when
/// this node has lost the claim.
#[must_use]
pub fn complete_statement(
    user_id: UserId,
    key_hash_hex: &str,
    node: NodeId,
    reply_sealed: Option<String>,
) -> Statement {
    Statement::new(
        "UPDATE idempotency SET done = TRUE, reply_sealed = $4
         WHERE user_id = $1 AND idempotency_key = $2 AND node_id = $3 AND NOT done",
        vec![
            Value::from(user_id),
            Value::from(key_hash_hex),
            Value::from(node),
            Value::from(reply_sealed),
        ],
    )
}

/// Completes a claim outside the ledger: for calls that cost nothing.
///
/// # Errors
/// Any error of the database.
pub async fn complete(
    db: &Db,
    user_id: UserId,
    key_hash_hex: &str,
    node: NodeId,
    reply_sealed: Option<String>,
) -> Result<(), StoreError> {
    let statement = complete_statement(user_id, key_hash_hex, node, reply_sealed);
    db.execute(&statement.sql, &statement.params).await.map(drop)
}

/// The statement that deletes a claim, so that the request may be repeated.
#[must_use]
pub fn forget_statement(user_id: UserId, key_hash_hex: &str, node: NodeId) -> Statement {
    Statement::new(
        "DELETE FROM idempotency
         WHERE user_id = $1 AND idempotency_key = $2 AND node_id = $3 AND NOT done",
        vec![Value::from(user_id), Value::from(key_hash_hex), Value::from(node)],
    )
}

/// Deletes a claim outside the ledger.
///
/// # Errors
/// Any error of the database.
pub async fn forget(
    db: &Db,
    user_id: UserId,
    key_hash_hex: &str,
    node: NodeId,
) -> Result<(), StoreError> {
    let statement = forget_statement(user_id, key_hash_hex, node);
    db.execute(&statement.sql, &statement.params).await.map(drop)
}

/// Deletes at most `limit` expired rows; returns how many.
///
/// # Errors
/// Any error of the database.
pub async fn purge_expired(db: &Db, now: UnixMs, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM idempotency WHERE (user_id, idempotency_key) IN
                   (SELECT user_id, idempotency_key FROM idempotency
                    WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";
    db.execute(sql, &[Value::from(now), Value::from(limit)]).await
}
