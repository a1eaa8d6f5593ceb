//! One batch on SQLite: prepared statements on the writer's own connection, one commit.

use crate::book::{Book, Changes};
use crate::known::Known;
use crate::lane::Decided;
use crate::op::Op;
use crate::open_holds::OpenHolds;
use crate::redemption::CodeRow;
use crate::rows::{Account, HoldRow, HoldState, KeyLimit, Rows, Stored};
use crate::spending::{Day, Limits, Spending};
use crate::task_rows::{TaskSql, statements};
use domain::{ChannelId, HoldId, KeyId, NodeId, Quota, RedemptionId, UnixMs, UserId};
use rusqlite::{Connection, OptionalExtension, params};

/// What the writer knows of the rows without reading them, as of a state of the file.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    known: Known,
    as_of: Option<State>,
}

/// Tells whether anybody has written since: another connection changes the first number, and this
/// one, for somebody else, the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    data_version: i64,
    total_changes: u64,
}

impl Writer {
    /// Carries out a batch. Either all that was decided is durable, or nothing happened.
    pub fn run_batch(
        &mut self,
        connection: &Connection,
        ops: &[&Op],
        now: UnixMs,
        (node, open, tasks): (NodeId, &OpenHolds, &TaskSql),
    ) -> rusqlite::Result<Vec<Decided>> {
        let batch = Batch { connection, now, node, tasks };
        let outcome = self.attempt(&batch, ops, open);
        if outcome.is_err() {
            self.as_of = None;
            if !connection.is_autocommit() {
                connection.execute_batch("ROLLBACK")?;
            }
        }
        outcome
    }

    fn attempt(
        &mut self,
        batch: &Batch<'_>,
        ops: &[&Op],
        open: &OpenHolds,
    ) -> rusqlite::Result<Vec<Decided>> {
        batch.run("BEGIN IMMEDIATE")?;
        // From here on nobody else writes: what is known now stays true.
        let found = batch.state()?;
        if self.as_of.take() != Some(found) {
            self.known.forget_all();
            open.distrust_all();
        }
        let mut book = Book::new(self.load(batch, ops, open)?, batch.now);
        let decided = ops.iter().map(|op| book.apply(op).into()).collect();
        let changes = book.into_changes();
        batch.write(&changes)?;
        batch.run("COMMIT")?;
        self.known.written(&changes);
        open.written(&changes);
        let total_changes = batch.connection.total_changes();
        self.as_of = Some(State { total_changes, ..found });
        Ok(decided)
    }

    fn load(&self, batch: &Batch<'_>, ops: &[&Op], open: &OpenHolds) -> rusqlite::Result<Rows> {
        let mut rows = self.known.rows_of(ops);
        let holds = || ops.iter().filter_map(|op| op.hold_ref()).map(|hold| hold.hold_id);
        rows.holds.extend(open.known(holds()));
        for id in holds() {
            if !rows.holds.contains_key(&id)
                && let Some(row) = batch.load_hold(id)?
            {
                rows.holds.insert(id, row);
            }
        }
        for op in ops {
            let user_id = op.user_id();
            if !rows.accounts.contains_key(&user_id)
                && let Some(account) = batch.load_account(user_id)?
            {
                rows.accounts.insert(user_id, account);
            }
            if let Some(key_id) = op.limited_key()
                && !rows.keys.contains_key(&key_id)
                && let Some(key) = batch.load_key(key_id)?
            {
                rows.keys.insert(key_id, key);
            }
            if let Some(id) = op.code()
                && let Some(code) = batch.load_code(id)?
            {
                rows.codes.insert(id, code);
            }
        }
        Ok(rows)
    }
}

/// An open transaction.
struct Batch<'a> {
    connection: &'a Connection,
    now: UnixMs,
    node: NodeId,
    tasks: &'a TaskSql,
}

impl Batch<'_> {
    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    fn state(&self) -> rusqlite::Result<State> {
        let mut statement = self.connection.prepare_cached("PRAGMA data_version")?;
        let data_version = statement.query_row([], |row| row.get(0))?;
        Ok(State { data_version, total_changes: self.connection.total_changes() })
    }

    fn load_account(&self, id: UserId) -> rusqlite::Result<Option<Account>> {
        let sql = "SELECT username, quota, status = 1 AND deleted_at IS NULL,
                          daily_limit, monthly_limit, spent_on, spent_day, spent_month
                   FROM users WHERE id = ?1";
        let account = |row: &rusqlite::Row<'_>| {
            Ok(Account {
                username: row.get::<_, String>(0)?.into(),
                quota: Quota(row.get(1)?),
                usable: row.get(2)?,
                spending: spending(row, 3)?,
            })
        };
        self.connection.prepare_cached(sql)?.query_row([id.0], account).optional()
    }

    fn load_key(&self, id: KeyId) -> rusqlite::Result<Option<KeyLimit>> {
        let sql = "SELECT remain_quota, unlimited_quota,
                          daily_limit, monthly_limit, spent_on, spent_day, spent_month
                   FROM tokens WHERE id = ?1";
        let limit = |row: &rusqlite::Row<'_>| {
            Ok(KeyLimit {
                remain: Quota(row.get(0)?),
                unlimited: row.get(1)?,
                spending: spending(row, 2)?,
            })
        };
        self.connection.prepare_cached(sql)?.query_row([id.0], limit).optional()
    }

    fn load_hold(&self, id: HoldId) -> rusqlite::Result<Option<HoldRow>> {
        let sql = "SELECT user_id, key_id, channel_id, model_name, request_id, amount, key_amount,
                          state, charged, node_id IS NULL, counted_on, key_counted_on
                   FROM holds WHERE id = ?1";
        let id = id.0.as_bytes().as_slice();
        self.connection.prepare_cached(sql)?.query_row([id], hold_row).optional()
    }

    fn load_code(&self, id: RedemptionId) -> rusqlite::Result<Option<CodeRow>> {
        let sql = "SELECT name, quota, status, expires_at FROM redemptions WHERE id = ?1";
        let code = |row: &rusqlite::Row<'_>| {
            Ok(CodeRow {
                name: row.get::<_, String>(0)?.into(),
                quota: Quota(row.get(1)?),
                status: row.get(2)?,
                expires_at: row.get::<_, Option<i64>>(3)?.map(UnixMs),
            })
        };
        self.connection.prepare_cached(sql)?.query_row([id.0], code).optional()
    }

    fn write(&self, changes: &Changes) -> rusqlite::Result<()> {
        self.write_accounts(changes)?;
        self.insert_holds(changes)?;
        self.update_holds(changes)?;
        self.write_entries(changes)?;
        self.write_replies(changes)?;
        self.write_codes(changes)?;
        self.write_tasks(changes)
    }

    fn write_codes(&self, changes: &Changes) -> rusqlite::Result<()> {
        for (id, user_id) in &changes.redeemed {
            let sql = "UPDATE redemptions SET status = 3, redeemed_by = ?2, redeemed_at = ?3
                       WHERE id = ?1";
            self.connection.prepare_cached(sql)?.execute([id.0, user_id.0, self.now.0])?;
        }
        Ok(())
    }

    fn write_tasks(&self, changes: &Changes) -> rusqlite::Result<()> {
        for (sql, rows) in statements(self.tasks, changes) {
            self.connection.prepare_cached(sql)?.execute(params![rows, self.now.0])?;
        }
        Ok(())
    }

    fn write_accounts(&self, changes: &Changes) -> rusqlite::Result<()> {
        let mut account = self.connection.prepare_cached(
            "UPDATE users SET quota = quota + ?2, used_quota = used_quota + ?3,
                    request_count = request_count + ?4, revision = revision + 1
             WHERE id = ?1",
        )?;
        for (id, change) in &changes.accounts {
            account.execute(params![id.0, change.delta.0, change.used_delta.0, change.requests])?;
            let spent_was = change.spent_was;
            let spending = changes.balances.get(id).and_then(|row| row.spending.as_deref());
            self.write_spent("users", id.0, spending.filter(|_| spent_was.is_some()))?;
        }
        if changes.keys.is_empty() {
            return Ok(());
        }
        let mut key = self
            .connection
            .prepare_cached("UPDATE tokens SET remain_quota = remain_quota + ?2 WHERE id = ?1")?;
        for (id, change) in &changes.keys {
            key.execute(params![id.0, change.delta.0])?;
            let spent_was = change.spent_was;
            let spending = changes.limits.get(id).and_then(|row| row.spending.as_deref());
            self.write_spent("tokens", id.0, spending.filter(|_| spent_was.is_some()))?;
        }
        Ok(())
    }

    /// What is counted as spent, where it has changed.
    fn write_spent(&self, table: &str, id: i64, now: Option<&Spending>) -> rusqlite::Result<()> {
        let Some(Spending { spent, .. }) = now else { return Ok(()) };
        let sql = format!(
            "UPDATE {table} SET spent_on = ?2, spent_day = ?3, spent_month = ?4 WHERE id = ?1"
        );
        let count = params![id, spent.on.0, spent.day.0, spent.month.0];
        self.connection.prepare_cached(&sql)?.execute(count).map(drop)
    }

    fn insert_holds(&self, changes: &Changes) -> rusqlite::Result<()> {
        if changes.new_holds.is_empty() {
            return Ok(());
        }
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO holds (id, user_id, key_id, channel_id, model_name, request_id, amount,
                                key_amount, price, state, charged, node_id, deadline_at, created_at,
                                for_task, counted_on, key_counted_on)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )?;
        for (new, row) in changes.inserted() {
            insert.execute(params![
                new.request.hold_id.0.as_bytes().as_slice(),
                row.user_id.0,
                row.key_id.0,
                row.channel_id.map(|id| id.0),
                &*row.model,
                &*row.request_id,
                row.amount.0,
                row.key_amount.map(|held| held.0),
                price_json(&new.request.price),
                row.state.word(),
                row.charged.0,
                new.node.0.as_bytes().as_slice(),
                new.request.deadline_at.0,
                self.now.0,
                new.request.task.is_some(),
                row.counted_on.map(|on| on.0),
                row.key_counted_on.map(|on| on.0),
            ])?;
        }
        Ok(())
    }

    fn update_holds(&self, changes: &Changes) -> rusqlite::Result<()> {
        if changes.updated().next().is_none() {
            return Ok(());
        }
        let mut update = self.connection.prepare_cached(
            "UPDATE holds SET channel_id = ?2, amount = ?3, key_amount = ?4, state = ?5,
                    charged = ?6,
                    node_id = CASE WHEN ?7 THEN NULL ELSE coalesce(node_id, ?8) END,
                    closed_at = CASE WHEN ?5 = 'held' THEN NULL ELSE coalesce(closed_at, ?9) END,
                    counted_on = ?10, key_counted_on = ?11
             WHERE id = ?1",
        )?;
        for (id, row) in changes.updated() {
            let touched = update.execute(params![
                id.0.as_bytes().as_slice(),
                row.channel_id.map(|id| id.0),
                row.amount.0,
                row.key_amount.map(|held| held.0),
                row.state.word(),
                row.charged.0,
                row.is_abandoned(),
                self.node.0.as_bytes().as_slice(),
                self.now.0,
                row.counted_on.map(|on| on.0),
                row.key_counted_on.map(|on| on.0),
            ])?;
            if touched != 1 {
                return Err(rusqlite::Error::StatementChangedRows(touched));
            }
        }
        Ok(())
    }

    fn write_entries(&self, changes: &Changes) -> rusqlite::Result<()> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO logs (user_id, username, created_at, type, model_name, quota,
                               prompt_tokens, completion_tokens, channel_id, token_id, request_id,
                               use_time_ms, content, other, delta, used_delta, hold_id, closes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                     ?18)",
        )?;
        for entry in &changes.entries {
            insert.execute(params![
                entry.user_id.0,
                &*entry.username,
                self.now.0,
                entry.kind.word(),
                &*entry.model,
                entry.quota.0,
                entry.prompt_tokens(),
                entry.completion_tokens(),
                entry.channel_id.map(|id| id.0),
                entry.key_id.map(|id| id.0),
                &*entry.request_id,
                entry.use_time_ms,
                &entry.content,
                entry.other(),
                entry.delta.0,
                entry.used_delta.0,
                entry.hold_id.as_ref().map(|id| id.0.as_bytes().as_slice()),
                entry.closes,
            ])?;
        }
        Ok(())
    }

    fn write_replies(&self, changes: &Changes) -> rusqlite::Result<()> {
        for reply in &changes.kept_replies {
            self.connection
                .prepare_cached(
                    "UPDATE idempotency SET done = 1, reply_sealed = ?3
                     WHERE user_id = ?1 AND idempotency_key = ?2",
                )?
                .execute(params![reply.user_id.0, reply.idempotency_key, reply.sealed])?;
        }
        for (user_id, key) in &changes.forgotten_replies {
            self.connection
                .prepare_cached(
                    "DELETE FROM idempotency
                     WHERE user_id = ?1 AND idempotency_key = ?2 AND done = 0",
                )?
                .execute(params![user_id.0, key])?;
        }
        Ok(())
    }
}

/// From five columns, of which this is the first.
fn spending(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Option<Box<Spending>>> {
    let limit = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Quota));
    let limits = Limits { daily: limit(first)?, monthly: limit(first + 1)? };
    Ok(Spending::of(limits, row.get(first + 2)?, row.get(first + 3)?, row.get(first + 4)?))
}

fn hold_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<HoldRow> {
    let word: String = row.get(7)?;
    let state = HoldState::from_word(&word)
        .ok_or_else(|| rusqlite::Error::InvalidColumnType(7, word, rusqlite::types::Type::Text))?;
    let (amount, charged) = (Quota(row.get(5)?), Quota(row.get(8)?));
    Ok(HoldRow {
        user_id: UserId(row.get(0)?),
        key_id: KeyId(row.get(1)?),
        channel_id: row.get::<_, Option<i64>>(2)?.map(ChannelId),
        model: row.get::<_, String>(3)?.into(),
        request_id: row.get::<_, String>(4)?.into(),
        amount,
        key_amount: row.get::<_, Option<i64>>(6)?.map(Quota),
        state,
        charged,
        counted_on: row.get::<_, Option<i32>>(10)?.map(Day),
        key_counted_on: row.get::<_, Option<i32>>(11)?.map(Day),
        orphaned: row.get(9)?,
        stored: Some(Stored { state, amount, charged }),
        touched: false,
    })
}

/// A frozen price as it is kept. The types of a price have no value that JSON can't hold.
pub(crate) fn price_json(price: &domain::FrozenPrice) -> String {
    serde_json::to_string(price).unwrap_or_default()
}
