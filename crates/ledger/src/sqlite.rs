//! One batch on SQLite: prepared statements on the writer's own connection, one commit.

use crate::book::{Account, Book, Changes, HoldRow, HoldState, KeyLimit, Rows};
use crate::lane::Decided;
use crate::op::Op;
use crate::task_rows::{TaskSql, statements};
use domain::{ChannelId, HoldId, KeyId, Quota, UnixMs, UserId};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

/// Carries out a batch. Either all that was decided is durable, or nothing happened.
pub(crate) fn run_batch(
    connection: &mut Connection,
    ops: &[&Op],
    tasks: &TaskSql,
    now: UnixMs,
) -> rusqlite::Result<Vec<Decided>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut book = Book::new(load(&transaction, ops)?, now);
    let decided = ops.iter().map(|op| book.apply(op).into()).collect();
    let now = book.now();
    let changes = book.into_changes();
    write(&transaction, &changes, now)?;
    write_tasks(&transaction, tasks, &changes, now)?;
    transaction.commit()?;
    Ok(decided)
}

fn load(transaction: &Transaction<'_>, ops: &[&Op]) -> rusqlite::Result<Rows> {
    let mut rows = Rows::default();
    for op in ops {
        let user_id = op.user_id();
        if !rows.accounts.contains_key(&user_id)
            && let Some(account) = load_account(transaction, user_id)?
        {
            rows.accounts.insert(user_id, account);
        }
        if let Some(key_id) = op.limited_key()
            && !rows.keys.contains_key(&key_id)
            && let Some(key) = load_key(transaction, key_id)?
        {
            rows.keys.insert(key_id, key);
        }
        if let Some(hold) = op.hold_ref()
            && !rows.holds.contains_key(&hold.hold_id)
            && let Some(row) = load_hold(transaction, hold.hold_id)?
        {
            rows.holds.insert(hold.hold_id, row);
        }
    }
    Ok(rows)
}

fn load_account(transaction: &Transaction<'_>, id: UserId) -> rusqlite::Result<Option<Account>> {
    transaction
        .prepare_cached(
            "SELECT username, quota, status = 1 AND deleted_at IS NULL FROM users WHERE id = ?1",
        )?
        .query_row([id.0], |row| {
            Ok(Account {
                username: row.get::<_, String>(0)?.into(),
                quota: Quota(row.get(1)?),
                usable: row.get(2)?,
            })
        })
        .optional()
}

fn load_key(transaction: &Transaction<'_>, id: KeyId) -> rusqlite::Result<Option<KeyLimit>> {
    transaction
        .prepare_cached("SELECT remain_quota, unlimited_quota FROM tokens WHERE id = ?1")?
        .query_row([id.0], |row| {
            Ok(KeyLimit { remain: Quota(row.get(0)?), unlimited: row.get(1)? })
        })
        .optional()
}

fn load_hold(transaction: &Transaction<'_>, id: HoldId) -> rusqlite::Result<Option<HoldRow>> {
    transaction
        .prepare_cached(
            "SELECT user_id, key_id, channel_id, model_name, request_id, amount, key_amount,
                    state, charged, node_id IS NULL
             FROM holds WHERE id = ?1",
        )?
        .query_row([id.0.as_bytes().as_slice()], |row| {
            let word: String = row.get(7)?;
            let state = HoldState::from_word(&word).ok_or_else(|| {
                rusqlite::Error::InvalidColumnType(7, word, rusqlite::types::Type::Text)
            })?;
            Ok(HoldRow {
                user_id: UserId(row.get(0)?),
                key_id: KeyId(row.get(1)?),
                channel_id: row.get::<_, Option<i64>>(2)?.map(ChannelId),
                model: row.get::<_, String>(3)?.into(),
                request_id: row.get::<_, String>(4)?.into(),
                amount: Quota(row.get(5)?),
                key_amount: row.get::<_, Option<i64>>(6)?.map(Quota),
                state,
                charged: Quota(row.get(8)?),
                orphaned: row.get(9)?,
                fresh: false,
                touched: false,
            })
        })
        .optional()
}

fn write(transaction: &Transaction<'_>, changes: &Changes, now: UnixMs) -> rusqlite::Result<()> {
    write_accounts(transaction, changes)?;
    write_holds(transaction, changes, now)?;
    write_entries(transaction, changes, now)?;
    let mut keep = transaction.prepare_cached(
        "UPDATE idempotency SET done = 1, reply_sealed = ?3
         WHERE user_id = ?1 AND idempotency_key = ?2",
    )?;
    for reply in &changes.kept_replies {
        keep.execute(params![reply.user_id.0, reply.idempotency_key, reply.sealed])?;
    }
    let mut forget = transaction.prepare_cached(
        "DELETE FROM idempotency WHERE user_id = ?1 AND idempotency_key = ?2 AND done = 0",
    )?;
    for (user_id, key) in &changes.forgotten_replies {
        forget.execute(params![user_id.0, key])?;
    }
    Ok(())
}

fn write_accounts(transaction: &Transaction<'_>, changes: &Changes) -> rusqlite::Result<()> {
    let mut account = transaction.prepare_cached(
        "UPDATE users SET quota = quota + ?2, used_quota = used_quota + ?3,
                request_count = request_count + ?4, revision = revision + 1
         WHERE id = ?1",
    )?;
    for (id, change) in &changes.accounts {
        account.execute(params![id.0, change.delta.0, change.used_delta.0, change.requests])?;
    }
    let mut key = transaction
        .prepare_cached("UPDATE tokens SET remain_quota = remain_quota + ?2 WHERE id = ?1")?;
    for (id, delta) in &changes.keys {
        key.execute(params![id.0, delta.0])?;
    }
    Ok(())
}

fn write_holds(
    transaction: &Transaction<'_>,
    changes: &Changes,
    now: UnixMs,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO holds (id, user_id, key_id, channel_id, model_name, request_id, amount,
                            key_amount, price, state, charged, node_id, deadline_at, created_at,
                            for_task)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
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
            now.0,
            new.request.task.is_some(),
        ])?;
    }
    let mut update = transaction.prepare_cached(
        "UPDATE holds SET channel_id = ?2, amount = ?3, key_amount = ?4, state = ?5, charged = ?6,
                node_id = CASE WHEN ?7 THEN NULL ELSE node_id END,
                closed_at = CASE WHEN ?5 = 'held' THEN NULL ELSE coalesce(closed_at, ?8) END
         WHERE id = ?1",
    )?;
    for (id, row) in changes.updated() {
        update.execute(params![
            id.0.as_bytes().as_slice(),
            row.channel_id.map(|id| id.0),
            row.amount.0,
            row.key_amount.map(|held| held.0),
            row.state.word(),
            row.charged.0,
            row.orphaned,
            now.0,
        ])?;
    }
    Ok(())
}

fn write_tasks(
    transaction: &Transaction<'_>,
    sql: &TaskSql,
    changes: &Changes,
    now: UnixMs,
) -> rusqlite::Result<()> {
    for (sql, rows) in statements(sql, changes) {
        transaction.prepare_cached(sql)?.execute(params![rows, now.0])?;
    }
    Ok(())
}

fn write_entries(
    transaction: &Transaction<'_>,
    changes: &Changes,
    now: UnixMs,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO logs (user_id, username, created_at, type, model_name, quota, prompt_tokens,
                           completion_tokens, channel_id, token_id, request_id, use_time_ms,
                           content, other, delta, used_delta, hold_id, closes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    )?;
    for entry in &changes.entries {
        insert.execute(params![
            entry.user_id.0,
            &*entry.username,
            now.0,
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

/// A frozen price as it is kept. The types of a price have no value that JSON can't hold.
pub(crate) fn price_json(price: &domain::FrozenPrice) -> String {
    serde_json::to_string(price).unwrap_or_default()
}
