//! One batch on PostgreSQL: rows locked in one flight, written in a second, one commit.
//!
//! A lane never waits for a lock: what somebody else holds is skipped (`SKIP LOCKED`) and tried
//! again, while the others of its batch go on. A lane owns its connection; nothing that a client
//! can cancel ever sees it.

#![expect(clippy::large_futures, reason = "a lane is one future, made once and never moved")]

use crate::book::{Account, Book, Changes, HoldRow, HoldState, KeyLimit, Missing, Rows};
use crate::error::LedgerError;
use crate::lane::{Decided, Job, Lanes};
use crate::op::Op;
use crate::task_rows::{TaskSql, json_rows};
use domain::{ChannelId, HoldId, KeyId, Quota, UnixMs, UserId};
use futures_util::future::OptionFuture;
use futures_util::try_join;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Db, StoreError, Value};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Pause before a lost connection is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// How often a commit of unknown outcome is asked about while the server still works on it.
const OUTCOME_PAUSE: Duration = Duration::from_millis(50);

/// A lane finds a few rows by their keys, whatever the planner believes about young tables: without
/// this, a table that was never analysed is joined by reading all of it. Plans are made once.
const SESSION: &str = "SET enable_seqscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET jit = off; SET plan_cache_mode = force_generic_plan;
    SET synchronous_commit = on";

const LOCK_USERS: &str = "SELECT id, username, quota, status = 1 AND deleted_at IS NULL,
           txid_current()
    FROM users WHERE id = ANY($1::bigint[]) FOR NO KEY UPDATE SKIP LOCKED";
const LOCK_KEYS: &str = "SELECT id, remain_quota, unlimited_quota
    FROM tokens WHERE id = ANY($1::bigint[]) FOR NO KEY UPDATE SKIP LOCKED";
const LOCK_HOLDS: &str = "SELECT id, user_id, key_id, channel_id, model_name, request_id, amount,
           key_amount, state, charged, node_id IS NULL
    FROM holds WHERE id = ANY($1::uuid[]) FOR NO KEY UPDATE SKIP LOCKED";
const MOVE_BALANCES: &str = "UPDATE users AS u
    SET quota = u.quota + c.delta, used_quota = u.used_quota + c.used,
        request_count = u.request_count + c.requests, revision = u.revision + 1
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
         AS c (id, delta, used, requests)
    WHERE u.id = c.id";
const MOVE_KEYS: &str = "UPDATE tokens AS t SET remain_quota = t.remain_quota + c.delta
    FROM unnest($1::bigint[], $2::bigint[]) AS c (id, delta) WHERE t.id = c.id";
const INSERT_HOLDS: &str = "INSERT INTO holds (id, user_id, key_id, channel_id, model_name,
           request_id, amount, key_amount, price, state, charged, node_id, deadline_at, created_at,
           for_task)
    SELECT c.id, c.user_id, c.key_id, c.channel_id, c.model, c.request_id, c.amount, c.key_amount,
           c.price::jsonb, c.state, c.charged, c.node_id, c.deadline_at, $14::timestamptz,
           c.for_task
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[],
                $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::bigint[], $12::uuid[],
                $13::timestamptz[], $15::boolean[])
         AS c (id, user_id, key_id, channel_id, model, request_id, amount, key_amount, price,
               state, charged, node_id, deadline_at, for_task)";
const UPDATE_HOLDS: &str = "UPDATE holds AS h
    SET channel_id = c.channel_id, amount = c.amount, key_amount = c.key_amount, state = c.state,
        charged = c.charged, node_id = CASE WHEN c.orphaned THEN NULL ELSE h.node_id END,
        closed_at = CASE WHEN c.state = 'held' THEN NULL
                         ELSE coalesce(h.closed_at, $8::timestamptz) END
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[],
                $7::boolean[])
         AS c (id, channel_id, amount, key_amount, state, charged, orphaned)
    WHERE h.id = c.id";
const INSERT_ENTRIES: &str = "INSERT INTO logs (user_id, username, type, model_name, quota,
           prompt_tokens, completion_tokens, channel_id, token_id, request_id, use_time_ms,
           content, other, delta, used_delta, hold_id, closes, created_at)
    SELECT c.user_id, c.username, c.type, c.model, c.quota, c.prompt, c.completion, c.channel_id,
           c.token_id, c.request_id, c.use_time_ms, c.content, c.other::jsonb, c.delta,
           c.used_delta, c.hold_id, c.closes, $18::timestamptz
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
                $7::bigint[], $8::bigint[], $9::bigint[], $10::text[], $11::bigint[], $12::text[],
                $13::text[], $14::bigint[], $15::bigint[], $16::uuid[], $17::boolean[])
         AS c (user_id, username, type, model, quota, prompt, completion, channel_id, token_id,
               request_id, use_time_ms, content, other, delta, used_delta, hold_id, closes)";
const KEEP_REPLIES: &str = "UPDATE idempotency AS i SET done = true, reply_sealed = c.sealed
    FROM unnest($1::bigint[], $2::text[], $3::text[]) AS c (user_id, key, sealed)
    WHERE i.user_id = c.user_id AND i.idempotency_key = c.key";
const FORGET_REPLIES: &str = "DELETE FROM idempotency AS i
    USING unnest($1::bigint[], $2::text[]) AS c (user_id, key)
    WHERE i.user_id = c.user_id AND i.idempotency_key = c.key AND NOT i.done";
const EXISTING: &str = "SELECT 'u', id::text FROM users WHERE id = ANY($1::bigint[])
    UNION ALL SELECT 'k', id::text FROM tokens WHERE id = ANY($2::bigint[])
    UNION ALL SELECT 'h', id::text FROM holds WHERE id = ANY($3::uuid[])";

/// The one parameter of a locking statement.
type Ids<'a> = [&'a (dyn ToSql + Sync); 1];
/// Rows of tasks, and the time.
type TaskRows<'a> = [&'a (dyn ToSql + Sync); 2];

/// Statements prepared once a connection. Flights rely on it: a statement that had to be prepared
/// first would be sent behind its `COMMIT`.
struct Statements {
    lock_users: Statement,
    lock_keys: Statement,
    lock_holds: Statement,
    move_balances: Statement,
    move_keys: Statement,
    insert_holds: Statement,
    update_holds: Statement,
    insert_entries: Statement,
    keep_replies: Statement,
    forget_replies: Statement,
    tasks: TaskStatements,
}

/// What a batch may have to say about tasks.
struct TaskStatements {
    insert: Statement,
    record: Statement,
    end: Statement,
    outbox: Statement,
}

/// A connection of a lane, with what it has prepared.
struct Session {
    client: Client,
    statements: Statements,
}

/// One lane: the only one who writes its users' money on this node.
pub(crate) struct Lane {
    db: Db,
    lanes: Arc<Lanes>,
    session: Option<Session>,
}

/// How a batch failed.
enum Failure {
    /// It was rolled back.
    RolledBack(StoreError),
    /// The connection was lost around the commit: what was decided, and the transaction's number.
    Unknown { decided: Vec<Decided>, transaction_id: i64, error: StoreError },
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::RolledBack(error.into())
    }
}

impl Lane {
    /// Opens the lane's connection.
    pub async fn connect(db: Db, lanes: Arc<Lanes>) -> Result<Self, LedgerError> {
        let session = Some(Session::open(&db, &lanes.tasks).await?);
        Ok(Self { db, lanes, session })
    }

    /// Carries out whatever is queued, batch by batch, until `finished`.
    pub async fn run(mut self, mut queue: UnboundedReceiver<Job>, finished: CancellationToken) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                taken = queue.recv_many(&mut batch, self.lanes.config.batch_max) => {
                    if taken == 0 {
                        return;
                    }
                }
                () = finished.cancelled() => return,
            }
            let batch = self.lanes.drop_unwanted(batch);
            self.run_batch(batch).await;
        }
    }

    async fn run_batch(&mut self, batch: Vec<Job>) {
        if batch.is_empty() {
            return;
        }
        let started = Instant::now();
        let size = batch.len();
        match self.attempt(&batch).await {
            Ok(decided) => {
                self.lanes.metrics.committed(size, started.elapsed());
                self.conclude(batch, decided).await;
            }
            Err(Failure::Unknown { decided, transaction_id, error }) => {
                if transaction_id != 0 && self.was_committed(transaction_id).await {
                    self.conclude(batch, decided).await;
                } else {
                    self.fail(batch, &error);
                }
            }
            Err(Failure::RolledBack(error)) if size == 1 || self.session.is_none() => {
                self.fail(batch, &error);
            }
            // One bad member never fails its neighbours.
            Err(Failure::RolledBack(_)) => {
                for job in batch {
                    Box::pin(self.run_batch(vec![job])).await;
                }
            }
        }
    }

    fn fail(&self, batch: Vec<Job>, error: &StoreError) {
        for job in batch {
            self.lanes.retry_or_fail(job, error);
        }
    }

    async fn attempt(&mut self, batch: &[Job]) -> Result<Vec<Decided>, Failure> {
        if self.session.as_ref().is_none_or(|session| session.client.is_closed()) {
            self.session = None;
            let opened = Session::open(&self.db, &self.lanes.tasks).await;
            self.session = Some(opened.map_err(Failure::RolledBack)?);
        }
        let Some(session) = &self.session else {
            return Err(Failure::RolledBack(StoreError::Unavailable("no connection".to_owned())));
        };
        let ops: Vec<&Op> = batch.iter().map(|job| &job.op).collect();
        let outcome = session.run(&ops, self.lanes.clock.now()).await;
        if outcome.is_err() {
            let lost = session.client.is_closed()
                || session.client.batch_execute("ROLLBACK").await.is_err();
            if lost {
                self.session = None;
            }
        }
        outcome
    }

    /// Answers a durable batch. Rows that were not there to be locked are looked up, to tell
    /// locked from gone.
    async fn conclude(&self, batch: Vec<Job>, decided: Vec<Decided>) {
        let missing: Vec<Missing> = decided
            .iter()
            .filter_map(|d| if let Decided::Missing(row) = d { Some(*row) } else { None })
            .collect();
        let existing = self.existing(&missing).await;
        self.lanes.answer_batch(batch, decided, existing);
    }

    async fn existing(&self, missing: &[Missing]) -> HashSet<Missing> {
        if missing.is_empty() {
            return HashSet::new();
        }
        // Where it can't be told, a row is taken to be locked: that is tried again.
        let all = || missing.iter().copied().collect();
        let Some(session) = &self.session else { return all() };
        session.existing(missing).await.unwrap_or_else(|_| all())
    }

    /// Whether a transaction whose commit was not answered is durable. The server knows, and is
    /// asked until it says; nobody is told anything before.
    async fn was_committed(&mut self, transaction_id: i64) -> bool {
        loop {
            match self.ask_outcome(transaction_id).await {
                Ok(Some(committed)) => return committed,
                Ok(None) => tokio::time::sleep(OUTCOME_PAUSE).await,
                Err(_) => tokio::time::sleep(RECONNECT_PAUSE).await,
            }
        }
    }

    async fn ask_outcome(&mut self, transaction_id: i64) -> Result<Option<bool>, StoreError> {
        if self.session.is_none() {
            self.session = Some(Session::open(&self.db, &self.lanes.tasks).await?);
        }
        let Some(session) = &self.session else { return Ok(None) };
        let asked =
            session.client.query_one("SELECT txid_status($1::bigint)", &[&transaction_id]).await;
        match asked {
            Ok(row) => Ok(match row.get::<_, Option<&str>>(0) {
                Some("committed") => Some(true),
                Some("in progress") => None,
                _ => Some(false),
            }),
            Err(error) => {
                self.session = None;
                Err(error.into())
            }
        }
    }
}

impl Session {
    async fn open(db: &Db, tasks: &TaskSql) -> Result<Self, StoreError> {
        // The driver ends by itself once the client is dropped.
        let (client, _driver) = db.dedicated_postgres().await?;
        client.batch_execute(SESSION).await?;
        let statements = Statements::prepare(&client, tasks).await?;
        Ok(Self { client, statements })
    }

    async fn run(&self, ops: &[&Op], now: UnixMs) -> Result<Vec<Decided>, Failure> {
        let (rows, transaction_id) = self.load(ops).await?;
        let mut book = Book::new(rows, now);
        let decided: Vec<Decided> = ops.iter().map(|op| book.apply(op).into()).collect();
        let now = book.now();
        let changes = book.into_changes();
        match self.write_and_commit(&changes, now).await {
            Ok(()) => Ok(decided),
            Err(error) if self.client.is_closed() || error.is_closed() => {
                Err(Failure::Unknown { decided, transaction_id, error: error.into() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The first flight: begin, and lock what the batch touches.
    async fn load(&self, ops: &[&Op]) -> Result<(Rows, i64), tokio_postgres::Error> {
        let client = &self.client;
        let users = distinct(ops.iter().map(|op| op.user_id().0));
        let keys = distinct(ops.iter().filter_map(|op| op.limited_key()).map(|id| id.0));
        let holds = distinct(ops.iter().filter_map(|op| op.hold_ref()).map(|h| h.hold_id.0));
        let statements = &self.statements;
        let (user_ids, key_ids, hold_ids): (Ids<'_>, Ids<'_>, Ids<'_>) =
            ([&users], [&keys], [&holds]);
        // Sent in this order, answered in one round trip: the futures are polled in order.
        let (_, accounts, limits, held) = try_join!(
            client.batch_execute("BEGIN"),
            client.query(&statements.lock_users, &user_ids),
            some(!keys.is_empty(), client.query(&statements.lock_keys, &key_ids)),
            some(!holds.is_empty(), client.query(&statements.lock_holds, &hold_ids)),
        )?;
        let mut rows = Rows::default();
        // Where no account could be locked, nothing will be written.
        let transaction_id = accounts.first().map_or(0, |row| row.get(4));
        for row in accounts {
            let account = Account {
                username: row.get::<_, &str>(1).into(),
                quota: Quota(row.get(2)),
                usable: row.get(3),
            };
            rows.accounts.insert(UserId(row.get(0)), account);
        }
        for row in limits.unwrap_or_default() {
            let key = KeyLimit { remain: Quota(row.get(1)), unlimited: row.get(2) };
            rows.keys.insert(KeyId(row.get(0)), key);
        }
        for row in held.unwrap_or_default() {
            if let Some(hold) = hold_row(&row) {
                rows.holds.insert(HoldId(row.get(0)), hold);
            }
        }
        Ok((rows, transaction_id))
    }

    /// The second flight: write, and commit.
    async fn write_and_commit(
        &self,
        changes: &Changes,
        now: UnixMs,
    ) -> Result<(), tokio_postgres::Error> {
        let client = &self.client;
        try_join!(
            some(!changes.accounts.is_empty(), self.move_balances(changes)),
            some(!changes.keys.is_empty(), self.move_keys(changes)),
            some(changes.inserted().next().is_some(), self.insert_holds(changes, now)),
            some(changes.updated().next().is_some(), self.update_holds(changes, now)),
            some(!changes.entries.is_empty(), self.insert_entries(changes, now)),
            some(!changes.kept_replies.is_empty(), self.keep_replies(changes)),
            some(!changes.forgotten_replies.is_empty(), self.forget_replies(changes)),
            some(changes.tells_of_tasks(), self.write_tasks(changes, now)),
            client.batch_execute("COMMIT"),
        )?;
        Ok(())
    }

    async fn move_balances(&self, changes: &Changes) -> Result<u64, tokio_postgres::Error> {
        let mut ids = Vec::with_capacity(changes.accounts.len());
        let (mut deltas, mut used, mut requests) = (ids.clone(), ids.clone(), ids.clone());
        for (id, change) in &changes.accounts {
            ids.push(id.0);
            deltas.push(change.delta.0);
            used.push(change.used_delta.0);
            requests.push(change.requests);
        }
        let statement = &self.statements.move_balances;
        self.client.execute(statement, &[&ids, &deltas, &used, &requests]).await
    }

    async fn move_keys(&self, changes: &Changes) -> Result<u64, tokio_postgres::Error> {
        let (ids, deltas): (Vec<i64>, Vec<i64>) =
            changes.keys.iter().map(|(id, delta)| (id.0, delta.0)).unzip();
        self.client.execute(&self.statements.move_keys, &[&ids, &deltas]).await
    }

    async fn insert_holds(
        &self,
        changes: &Changes,
        now: UnixMs,
    ) -> Result<u64, tokio_postgres::Error> {
        let prices: Vec<String> = changes
            .inserted()
            .map(|(new, _)| crate::sqlite::price_json(&new.request.price))
            .collect();
        let rows = || changes.inserted().map(|(_, row)| row);
        let requests = || changes.inserted().map(|(new, _)| &new.request);
        let ids: Vec<Uuid> = requests().map(|r| r.hold_id.0).collect();
        let users: Vec<i64> = rows().map(|r| r.user_id.0).collect();
        let keys: Vec<i64> = rows().map(|r| r.key_id.0).collect();
        let channels: Vec<Option<i64>> = rows().map(|r| r.channel_id.map(|c| c.0)).collect();
        let models: Vec<&str> = rows().map(|r| &*r.model).collect();
        let request_ids: Vec<&str> = rows().map(|r| &*r.request_id).collect();
        let amounts: Vec<i64> = rows().map(|r| r.amount.0).collect();
        let key_amounts: Vec<Option<i64>> = rows().map(|r| r.key_amount.map(|a| a.0)).collect();
        let states: Vec<&str> = rows().map(|r| r.state.word()).collect();
        let charged: Vec<i64> = rows().map(|r| r.charged.0).collect();
        let nodes: Vec<Uuid> = changes.inserted().map(|(new, _)| new.node.0).collect();
        let for_task: Vec<bool> = requests().map(|r| r.task.is_some()).collect();
        let deadlines: Vec<Value> = requests().map(|r| Value::Time(r.deadline_at)).collect();
        self.client
            .execute(
                &self.statements.insert_holds,
                &[
                    &ids,
                    &users,
                    &keys,
                    &channels,
                    &models,
                    &request_ids,
                    &amounts,
                    &key_amounts,
                    &prices,
                    &states,
                    &charged,
                    &nodes,
                    &deadlines,
                    &Value::Time(now),
                    &for_task,
                ],
            )
            .await
    }

    async fn update_holds(
        &self,
        changes: &Changes,
        now: UnixMs,
    ) -> Result<u64, tokio_postgres::Error> {
        let rows = || changes.updated().map(|(_, row)| row);
        let ids: Vec<Uuid> = changes.updated().map(|(id, _)| id.0).collect();
        let channels: Vec<Option<i64>> = rows().map(|r| r.channel_id.map(|c| c.0)).collect();
        let amounts: Vec<i64> = rows().map(|r| r.amount.0).collect();
        let key_amounts: Vec<Option<i64>> = rows().map(|r| r.key_amount.map(|a| a.0)).collect();
        let states: Vec<&str> = rows().map(|r| r.state.word()).collect();
        let charged: Vec<i64> = rows().map(|r| r.charged.0).collect();
        let orphaned: Vec<bool> = rows().map(|r| r.orphaned).collect();
        self.client
            .execute(
                &self.statements.update_holds,
                &[
                    &ids,
                    &channels,
                    &amounts,
                    &key_amounts,
                    &states,
                    &charged,
                    &orphaned,
                    &Value::Time(now),
                ],
            )
            .await
    }

    async fn insert_entries(
        &self,
        changes: &Changes,
        now: UnixMs,
    ) -> Result<u64, tokio_postgres::Error> {
        let entries = &changes.entries;
        let users: Vec<i64> = entries.iter().map(|e| e.user_id.0).collect();
        let usernames: Vec<&str> = entries.iter().map(|e| &*e.username).collect();
        let kinds: Vec<&str> = entries.iter().map(|e| e.kind.word()).collect();
        let models: Vec<&str> = entries.iter().map(|e| &*e.model).collect();
        let quotas: Vec<i64> = entries.iter().map(|e| e.quota.0).collect();
        let prompts: Vec<i64> = entries.iter().map(crate::journal::Entry::prompt_tokens).collect();
        let completions: Vec<i64> =
            entries.iter().map(crate::journal::Entry::completion_tokens).collect();
        let channels: Vec<Option<i64>> =
            entries.iter().map(|e| e.channel_id.map(|c| c.0)).collect();
        let keys: Vec<Option<i64>> = entries.iter().map(|e| e.key_id.map(|k| k.0)).collect();
        let request_ids: Vec<&str> = entries.iter().map(|e| &*e.request_id).collect();
        let times: Vec<i64> = entries.iter().map(|e| e.use_time_ms).collect();
        let contents: Vec<&str> = entries.iter().map(|e| e.content.as_str()).collect();
        let others: Vec<Option<String>> =
            entries.iter().map(crate::journal::Entry::other).collect();
        let deltas: Vec<i64> = entries.iter().map(|e| e.delta.0).collect();
        let used_deltas: Vec<i64> = entries.iter().map(|e| e.used_delta.0).collect();
        let holds: Vec<Option<Uuid>> = entries.iter().map(|e| e.hold_id.map(|h| h.0)).collect();
        let closes: Vec<bool> = entries.iter().map(|e| e.closes).collect();
        self.client
            .execute(
                &self.statements.insert_entries,
                &[
                    &users,
                    &usernames,
                    &kinds,
                    &models,
                    &quotas,
                    &prompts,
                    &completions,
                    &channels,
                    &keys,
                    &request_ids,
                    &times,
                    &contents,
                    &others,
                    &deltas,
                    &used_deltas,
                    &holds,
                    &closes,
                    &Value::Time(now),
                ],
            )
            .await
    }

    async fn keep_replies(&self, changes: &Changes) -> Result<u64, tokio_postgres::Error> {
        let replies = &changes.kept_replies;
        let users: Vec<i64> = replies.iter().map(|r| r.user_id.0).collect();
        let keys: Vec<&str> = replies.iter().map(|r| r.idempotency_key.as_str()).collect();
        let sealed: Vec<Option<&str>> = replies.iter().map(|r| r.sealed.as_deref()).collect();
        let statement = &self.statements.keep_replies;
        self.client.execute(statement, &[&users, &keys, &sealed]).await
    }

    async fn forget_replies(&self, changes: &Changes) -> Result<u64, tokio_postgres::Error> {
        let (users, keys): (Vec<i64>, Vec<&str>) =
            changes.forgotten_replies.iter().map(|(user, key)| (user.0, key.as_str())).unzip();
        self.client.execute(&self.statements.forget_replies, &[&users, &keys]).await
    }

    async fn write_tasks(
        &self,
        changes: &Changes,
        now: UnixMs,
    ) -> Result<(), tokio_postgres::Error> {
        let at = Value::Time(now);
        let statements = &self.statements.tasks;
        let new = Value::Json(json_rows(&changes.new_tasks));
        let recorded = Value::Json(json_rows(&changes.recorded_tasks));
        let ended = Value::Json(json_rows(&changes.ended_tasks));
        let ends = !changes.ended_tasks.is_empty();
        let (new, recorded, ended): (TaskRows<'_>, TaskRows<'_>, TaskRows<'_>) =
            ([&new, &at], [&recorded, &at], [&ended, &at]);
        try_join!(
            some(!changes.new_tasks.is_empty(), self.client.execute(&statements.insert, &new)),
            some(
                !changes.recorded_tasks.is_empty(),
                self.client.execute(&statements.record, &recorded)
            ),
            some(ends, self.client.execute(&statements.end, &ended)),
            some(ends, self.client.execute(&statements.outbox, &ended)),
        )?;
        Ok(())
    }

    async fn existing(&self, missing: &[Missing]) -> Result<HashSet<Missing>, StoreError> {
        let (mut users, mut keys, mut holds) = (Vec::new(), Vec::new(), Vec::new());
        for row in missing {
            match row {
                Missing::User(id) => users.push(id.0),
                Missing::Key(id) => keys.push(id.0),
                Missing::Hold(id) => holds.push(id.0),
            }
        }
        let rows = self.client.query(EXISTING, &[&users, &keys, &holds]).await?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                let id: &str = row.get(1);
                Some(match row.get::<_, &str>(0) {
                    "u" => Missing::User(UserId(id.parse().ok()?)),
                    "k" => Missing::Key(KeyId(id.parse().ok()?)),
                    _ => Missing::Hold(HoldId(id.parse().ok()?)),
                })
            })
            .collect())
    }
}

impl Statements {
    async fn prepare(client: &Client, tasks: &TaskSql) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            lock_users: client.prepare(LOCK_USERS).await?,
            lock_keys: client.prepare(LOCK_KEYS).await?,
            lock_holds: client.prepare(LOCK_HOLDS).await?,
            move_balances: client.prepare(MOVE_BALANCES).await?,
            move_keys: client.prepare(MOVE_KEYS).await?,
            insert_holds: client.prepare(INSERT_HOLDS).await?,
            update_holds: client.prepare(UPDATE_HOLDS).await?,
            insert_entries: client.prepare(INSERT_ENTRIES).await?,
            keep_replies: client.prepare(KEEP_REPLIES).await?,
            forget_replies: client.prepare(FORGET_REPLIES).await?,
            tasks: TaskStatements {
                insert: client.prepare(&tasks.insert).await?,
                record: client.prepare(&tasks.record).await?,
                end: client.prepare(&tasks.end).await?,
                outbox: client.prepare(&tasks.outbox).await?,
            },
        })
    }
}

fn hold_row(row: &tokio_postgres::Row) -> Option<HoldRow> {
    Some(HoldRow {
        user_id: UserId(row.get(1)),
        key_id: KeyId(row.get(2)),
        channel_id: row.get::<_, Option<i64>>(3).map(ChannelId),
        model: row.get::<_, &str>(4).into(),
        request_id: row.get::<_, &str>(5).into(),
        amount: Quota(row.get(6)),
        key_amount: row.get::<_, Option<i64>>(7).map(Quota),
        state: HoldState::from_word(row.get(8))?,
        charged: Quota(row.get(9)),
        orphaned: row.get(10),
        fresh: false,
        touched: false,
    })
}

/// `future` if `wanted`, as a member of `try_join!`.
async fn some<T, E>(
    wanted: bool,
    future: impl Future<Output = Result<T, E>>,
) -> Result<Option<T>, E> {
    OptionFuture::from(wanted.then_some(future)).await.transpose()
}

fn distinct<T: Copy + Eq + Hash>(ids: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    ids.filter(|id| seen.insert(*id)).collect()
}
