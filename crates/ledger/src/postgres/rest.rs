//! What a batch writes besides its money: tasks, replies, references of movements, codes.

use super::attempt::PgResult;
use crate::book::{BatchChanges, NewMovement};
use crate::task_rows::{TaskSql, json_rows};
use domain::NodeId;
use futures_util::try_join;
use store::{Engine, Value};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

const REDEEM_CODES: &str = "UPDATE redemptions AS r
    SET status = 3, redeemed_by = c.user_id, redeemed_at = $3::timestamptz
    FROM unnest($1::bigint[], $2::bigint[]) AS c (id, user_id) WHERE r.id = c.id";
const NAME_MOVEMENTS: &str = "INSERT INTO movements
        (user_id, reference, type, amount, refund_of, entry_id, created_at)
    SELECT c.user_id, c.reference, c.type, c.amount, c.refund_of, c.entry_id, $7::timestamptz
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::uuid[])
        AS c (user_id, reference, type, amount, refund_of, entry_id)";
const KEEP_REPLIES: &str = "UPDATE idempotency AS i
    SET done = true, reply_sealed = c.sealed
    FROM unnest($1::bigint[], $2::text[], $3::text[]) AS c (user_id, key, sealed)
    WHERE i.user_id = c.user_id AND i.idempotency_key = c.key AND i.node_id = $4 AND NOT i.done";
const FORGET_REPLIES: &str = "DELETE FROM idempotency AS i
    USING unnest($1::bigint[], $2::text[]) AS c (user_id, key)
    WHERE i.user_id = c.user_id AND i.idempotency_key = c.key AND i.node_id = $3 AND NOT i.done";

/// The statements, prepared once per connection.
pub(super) struct Rest {
    insert_tasks: Statement,
    record_tasks: Statement,
    end_tasks: Statement,
    outbox: Statement,
    name_movements: Statement,
    redeem_codes: Statement,
    keep_replies: Statement,
    forget_replies: Statement,
    /// Whose claims are ended: one that was taken over is the other node's.
    node: Uuid,
}

/// Rows, and the time.
type Timed<'a> = [&'a (dyn ToSql + Sync); 2];

impl Rest {
    pub(super) async fn prepare(client: &Client, NodeId(node): NodeId) -> PgResult<Self> {
        let tasks = TaskSql::of(Engine::Postgres);
        Ok(Self {
            insert_tasks: client.prepare(&tasks.insert).await?,
            record_tasks: client.prepare(&tasks.record).await?,
            end_tasks: client.prepare(&tasks.end).await?,
            outbox: client.prepare(&tasks.outbox).await?,
            name_movements: client.prepare(NAME_MOVEMENTS).await?,
            redeem_codes: client.prepare(REDEEM_CODES).await?,
            keep_replies: client.prepare(KEEP_REPLIES).await?,
            forget_replies: client.prepare(FORGET_REPLIES).await?,
            node,
        })
    }

    pub(super) async fn insert_tasks(
        &self,
        client: &Client,
        changes: &BatchChanges,
        now: &Value,
    ) -> PgResult<u64> {
        let rows = Value::Json(json_rows(&changes.new_tasks));
        client.execute(&self.insert_tasks, &[&rows, now]).await
    }

    pub(super) async fn record_tasks(
        &self,
        client: &Client,
        changes: &BatchChanges,
        now: &Value,
    ) -> PgResult<u64> {
        let rows = Value::Json(json_rows(&changes.recorded_tasks));
        client.execute(&self.record_tasks, &[&rows, now]).await
    }

    pub(super) async fn end_tasks(
        &self,
        client: &Client,
        changes: &BatchChanges,
        now: &Value,
    ) -> PgResult<()> {
        let rows = Value::Json(json_rows(&changes.ended_tasks));
        let params: Timed<'_> = [&rows, now];
        try_join!(client.execute(&self.end_tasks, &params), client.execute(&self.outbox, &params))?;
        Ok(())
    }

    pub(super) async fn name_movements(
        &self,
        client: &Client,
        changes: &BatchChanges,
        now: &Value,
    ) -> PgResult<u64> {
        let (mut names, mut made) = ((vec![], vec![]), (vec![], vec![], vec![], vec![]));
        for NewMovement { user_id, reference, made: one } in &changes.movements {
            names.0.push(user_id.0);
            names.1.push(&**reference);
            made.0.push(&*one.kind);
            made.1.push(one.amount.0);
            made.2.push(&*one.refund_of);
            made.3.push(one.entry);
        }
        let params: [&(dyn ToSql + Sync); 7] =
            [&names.0, &names.1, &made.0, &made.1, &made.2, &made.3, now];
        client.execute(&self.name_movements, &params).await
    }

    pub(super) async fn redeem_codes(
        &self,
        client: &Client,
        changes: &BatchChanges,
        now: &Value,
    ) -> PgResult<u64> {
        let (codes, users): (Vec<i64>, Vec<i64>) =
            changes.redeemed.iter().map(|(id, user_id)| (id.0, user_id.0)).unzip();
        client.execute(&self.redeem_codes, &[&codes, &users, now]).await
    }

    pub(super) async fn keep_replies(
        &self,
        client: &Client,
        changes: &BatchChanges,
    ) -> PgResult<u64> {
        let replies = &changes.kept_replies;
        let users: Vec<i64> = replies.iter().map(|r| r.user_id.0).collect();
        let keys: Vec<&str> = replies.iter().map(|r| r.idempotency_key.as_str()).collect();
        let sealed: Vec<Option<&str>> = replies.iter().map(|r| r.sealed.as_deref()).collect();
        client.execute(&self.keep_replies, &[&users, &keys, &sealed, &self.node]).await
    }

    pub(super) async fn forget_replies(
        &self,
        client: &Client,
        changes: &BatchChanges,
    ) -> PgResult<u64> {
        let (users, keys): (Vec<i64>, Vec<&str>) =
            changes.forgotten_replies.iter().map(|(user, key)| (user.0, key.as_str())).unzip();
        client.execute(&self.forget_replies, &[&users, &keys, &self.node]).await
    }
}
