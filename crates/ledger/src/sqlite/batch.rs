//! One batch on SQLite: prepared statements on the writer's own connection, one commit.

use crate::book::{BatchChanges, NewMovement, OpRefusal};
use crate::columns::{Cell, ColumnType, TableSchema};
use crate::op::{EndState, OpOutcome};
use crate::redemption::CodeRow;
use crate::rows::{EndedHold, HoldRow, MadeMovement, RowId, Rows, SettledCall, TaskState};
use crate::spending::Day;
use crate::tables::{ACCOUNTS, AccountMove, HOLDS, KEYS, KeyMove, LINES};
use crate::task_rows::{END_LARGE, SET_DATA, TaskSql, TaskWrites};
use crate::wanted::RowsNeeded;
use domain::{ChannelId, FrozenPrice, HoldId, KeyId, NodeId, Quota, UnixMs};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::{Arc, LazyLock};
use store::Engine;
use uuid::Uuid;

/// The Book's decision on each operation.
pub(super) type Verdicts = Vec<Result<OpOutcome, OpRefusal>>;

/// The statements of the tables, each built once.
struct Sql {
    insert_hold: String,
    update_hold: String,
    read_hold: String,
    move_account: String,
    read_account: String,
    move_key: String,
    read_key: String,
    insert_line: String,
    tasks: TaskSql,
}

static SQL: LazyLock<Sql> = LazyLock::new(|| Sql {
    insert_hold: HOLDS.insert_one(),
    update_hold: HOLDS.update_one(),
    read_hold: reading(&HOLDS),
    move_account: ACCOUNTS.update_one(),
    read_account: reading(&ACCOUNTS),
    move_key: KEYS.update_one(),
    read_key: reading(&KEYS),
    insert_line: LINES.insert_one(),
    tasks: TaskSql::of(Engine::Sqlite),
});

fn reading<R>(table: &TableSchema<R>) -> String {
    format!("SELECT {} FROM {} AS t WHERE t.id = ?1", table.selected(), table.name)
}

/// An open transaction.
pub(super) struct Batch<'a> {
    pub connection: &'a Connection,
    pub now: UnixMs,
    /// The node whose claims on replies are ended: one that was taken over is the other node's.
    pub node: NodeId,
    /// An operation may have been done before, with an unknown outcome.
    pub again: bool,
}

impl Batch<'_> {
    pub(super) fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    pub(super) fn data_version(&self) -> rusqlite::Result<i64> {
        self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
    }

    /// Reads one row of a table, if it exists.
    fn read<R: Default>(
        &self,
        table: &TableSchema<R>,
        sql: &str,
        id: impl ToSql,
    ) -> rusqlite::Result<Option<R>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let read = |row: &Row<'_>| table.row(|place, kind| cell_of(row, place, kind));
        statement.query_row([id], read).optional()
    }

    /// Reads the wanted holds missing in `rows`. Each batch has exclusive access to the file, so a
    /// missing row is gone.
    pub(super) fn read_holds(&self, wanted: &RowsNeeded, rows: &mut Rows) -> rusqlite::Result<()> {
        let new_holds = if self.again { &*wanted.new_holds } else { &[] };
        for id in wanted.holds.iter().chain(new_holds) {
            if rows.holds.contains_key(id) {
                continue;
            }
            match self.read::<HoldRow>(&HOLDS, &SQL.read_hold, id.0.as_bytes().as_slice())? {
                Some(row) => drop(rows.holds.insert(*id, row.stored())),
                None => drop(rows.gone.insert(RowId::Hold(*id))),
            }
        }
        Ok(())
    }

    /// Reads the other wanted rows missing in `rows`.
    pub(super) fn read_others(&self, wanted: &RowsNeeded, rows: &mut Rows) -> rusqlite::Result<()> {
        for id in &wanted.users {
            if rows.accounts.contains_key(id) {
                continue;
            }
            match self.read::<AccountMove>(&ACCOUNTS, &SQL.read_account, id.0)? {
                Some(row) => drop(rows.accounts.insert(*id, row.found())),
                None => drop(rows.gone.insert(RowId::User(*id))),
            }
        }
        for id in &wanted.keys {
            if rows.keys.contains_key(id) {
                continue;
            }
            match self.read::<KeyMove>(&KEYS, &SQL.read_key, id.0)? {
                Some(row) => drop(rows.keys.insert(*id, row.found())),
                None => drop(rows.gone.insert(RowId::Key(*id))),
            }
        }
        self.read_ended(wanted, rows)?;
        self.read_tasks(wanted, rows)?;
        self.read_movements(wanted, rows)
    }

    /// The lines of calls whose hold is gone.
    fn read_ended(&self, wanted: &RowsNeeded, rows: &mut Rows) -> rusqlite::Result<()> {
        for (id, request_id) in &wanted.settling {
            if !rows.gone.contains(&RowId::Hold(*id)) {
                continue;
            }
            let sql = "SELECT quota, held FROM logs
                WHERE request_id = ?1 AND request_id <> '' AND hold_id = ?2 AND type = 'consume'";
            let ended = |row: &Row<'_>| {
                let (charged, held) = (Quota(row.get(0)?), row.get::<_, Option<i64>>(1)?);
                let held = Quota(held.unwrap_or_default());
                Ok(EndedHold { state: EndState::Settled, held, charged })
            };
            let params = params![&**request_id, id.0.as_bytes().as_slice()];
            let found = self.connection.prepare_cached(sql)?.query_row(params, ended).optional()?;
            rows.ended.extend(found.map(|ended| (*id, ended)));
        }
        Ok(())
    }

    fn read_tasks(&self, wanted: &RowsNeeded, rows: &mut Rows) -> rusqlite::Result<()> {
        for uid in &wanted.tasks {
            let sql = "SELECT finish_time IS NOT NULL, submit_time IS NOT NULL, used_quota,
                    precharge_quota, token_id, action, request_id
                FROM tasks WHERE uid = ?1";
            let task = |row: &Row<'_>| {
                Ok(TaskState {
                    ended: row.get(0)?,
                    taken: row.get(1)?,
                    charged: Quota(row.get(2)?),
                    held: Quota(row.get(3)?),
                    key_id: KeyId(row.get(4)?),
                    model: row.get::<_, String>(5)?.into(),
                    request_id: row.get::<_, String>(6)?.into(),
                })
            };
            let id = [uid.0.as_bytes().as_slice()];
            let found = self.connection.prepare_cached(sql)?.query_row(id, task).optional()?;
            rows.tasks.extend(found.map(|task| (*uid, task)));
            let Some(price_id) = rows.holds.get(&uid.hold()).map(|hold| hold.price_id) else {
                continue;
            };
            if rows.prices.contains_key(&price_id) {
                continue;
            }
            let sql = "SELECT price FROM price_snapshots WHERE id = ?1";
            let json = |row: &Row<'_>| row.get::<_, String>(0);
            let mut statement = self.connection.prepare_cached(sql)?;
            let price = statement.query_row([price_id], json).optional()?;
            rows.prices.extend(price.and_then(|json| frozen(&json)).map(|price| (price_id, price)));
        }
        Ok(())
    }

    fn read_movements(&self, wanted: &RowsNeeded, rows: &mut Rows) -> rusqlite::Result<()> {
        for id in &wanted.codes {
            let sql = "SELECT name, quota, status, expires_at FROM redemptions WHERE id = ?1";
            let code = |row: &Row<'_>| {
                Ok(CodeRow {
                    name: row.get::<_, String>(0)?.into(),
                    quota: Quota(row.get(1)?),
                    status: row.get(2)?,
                    expires_at: row.get::<_, Option<i64>>(3)?.map(UnixMs),
                })
            };
            match self.connection.prepare_cached(sql)?.query_row([id.0], code).optional()? {
                Some(code) => drop(rows.codes.insert(*id, code)),
                None => drop(rows.gone.insert(RowId::Code(*id))),
            }
        }
        for (user_id, reference) in &wanted.references {
            let sql = "SELECT type, amount, refund_of, entry_id FROM movements
                WHERE user_id = ?1 AND reference = ?2";
            let made = |row: &Row<'_>| {
                let (refund_of, entry) =
                    (row.get::<_, String>(2)?.into(), row.get::<_, Vec<u8>>(3)?);
                let entry = Uuid::from_slice(&entry).unwrap_or_default();
                let amount = Quota(row.get(1)?);
                Ok(MadeMovement { kind: row.get(0)?, amount, refund_of, entry })
            };
            let params = params![user_id.0, &**reference];
            let found = self.connection.prepare_cached(sql)?.query_row(params, made).optional()?;
            rows.movements.extend(found.map(|made| ((*user_id, reference.clone()), made)));
        }
        for (user_id, charge) in &wanted.refunded {
            let by_hold = match charge.hold_id {
                Some(_) => "c.hold_id = ?3",
                None => "?3 IS NULL",
            };
            let sql = format!(
                "SELECT c.hold_id, c.token_id, c.channel_id, c.model_name, c.counted_on,
                    c.key_counted_on, c.quota, coalesce((SELECT -sum(r.used_delta) FROM logs r
                        WHERE r.request_id = c.request_id AND r.request_id <> ''
                          AND r.hold_id = c.hold_id AND r.type = 'refund'), 0)
                FROM logs c WHERE c.request_id = ?1 AND c.request_id <> '' AND c.user_id = ?2
                  AND c.type = 'consume' AND {by_hold} LIMIT 2"
            );
            let mut statement = self.connection.prepare_cached(&sql)?;
            let hold = charge.hold_id.map(|hold| hold.0.as_bytes().to_vec());
            let named = params![&*charge.request_id, user_id.0, hold];
            let calls = statement.query_map(named, settled_call)?;
            let calls = calls.collect::<rusqlite::Result<Vec<_>>>()?;
            // Client-supplied request ids may repeat: if two calls share one, neither is used.
            if let [call] = &*calls {
                rows.settled.insert((*user_id, charge.clone()), call.clone());
            }
        }
        let keys: Vec<KeyId> = rows
            .settled
            .values()
            .filter(|call| call.key_counted_on.is_some())
            .map(|call| call.key_id)
            .collect();
        for id in keys {
            if rows.keys.contains_key(&id) {
                continue;
            }
            match self.read::<KeyMove>(&KEYS, &SQL.read_key, id.0)? {
                Some(row) => drop(rows.keys.insert(id, row.found())),
                None => drop(rows.gone.insert(RowId::Key(id))),
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, changes: &BatchChanges) -> rusqlite::Result<()> {
        let accounts = changes.account_moves.iter();
        let accounts: Vec<AccountMove> = accounts
            .filter_map(|(id, change)| Some(AccountMove::new(changes.accounts.get(id)?, change)))
            .collect();
        self.each(&SQL.move_account, &accounts, |row| ACCOUNTS.update_cells(row))?;
        let keys = changes.key_moves.iter();
        let keys: Vec<KeyMove> = keys
            .filter_map(|(id, change)| Some(KeyMove::new(changes.keys.get(id)?, change)))
            .collect();
        self.each(&SQL.move_key, &keys, |row| KEYS.update_cells(row))?;
        let by_id = |row: &HoldRow| std::iter::once(Cell::Uuid(row.id.0));
        self.each("DELETE FROM holds WHERE id = ?1", &changes.ended_holds, by_id)?;
        let (made, changed) = changes.written_holds();
        self.each(&SQL.update_hold, &changed, |row| HOLDS.update_cells(row))?;
        self.each(&SQL.insert_hold, &made, |row| HOLDS.insert_cells(row))?;
        self.each(&SQL.insert_line, &changes.lines, |row| LINES.insert_cells(row))?;
        let tasks = TaskWrites::of(&SQL.tasks, changes);
        for (uid, data) in tasks.large_data {
            self.connection
                .prepare_cached(SET_DATA)?
                .execute(params![&uid.0.as_bytes()[..], data])?;
        }
        for (uid, row, data) in tasks.large_ends {
            self.connection.prepare_cached(END_LARGE)?.execute(params![
                row,
                self.now.0,
                data,
                &uid.0.as_bytes()[..]
            ])?;
        }
        for (sql, rows) in tasks.statements {
            self.connection.prepare_cached(sql)?.execute(params![rows, self.now.0])?;
        }
        self.write_movements(changes)?;
        self.write_replies(changes)
    }

    /// Executes a statement about one row for each of the rows.
    fn each<'r, R, C: Iterator<Item = Cell<'r>>>(
        &self,
        sql: &str,
        rows: &'r [R],
        cells: impl Fn(&'r R) -> C,
    ) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut statement = self.connection.prepare_cached(sql)?;
        for row in rows {
            for (at, cell) in cells(row).enumerate() {
                statement.raw_bind_parameter(at + 1, cell)?;
            }
            match statement.raw_execute()? {
                1 => {}
                changed => return Err(rusqlite::Error::StatementChangedRows(changed)),
            }
        }
        Ok(())
    }

    fn write_movements(&self, changes: &BatchChanges) -> rusqlite::Result<()> {
        for NewMovement { user_id, reference, made } in &changes.movements {
            let sql = "INSERT INTO movements
                    (user_id, reference, type, amount, refund_of, entry_id, created_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let MadeMovement { kind, amount, refund_of, entry } = made;
            let entry = entry.as_bytes().as_slice();
            let params =
                params![user_id.0, &**reference, kind, amount.0, &**refund_of, entry, self.now.0];
            self.connection.prepare_cached(sql)?.execute(params)?;
        }
        for (id, user_id) in &changes.redeemed {
            let sql = "UPDATE redemptions SET status = 3, redeemed_by = ?2, redeemed_at = ?3
                WHERE id = ?1";
            let params = params![id.0, user_id.0, self.now.0];
            self.connection.prepare_cached(sql)?.execute(params)?;
        }
        Ok(())
    }

    fn write_replies(&self, changes: &BatchChanges) -> rusqlite::Result<()> {
        let node = self.node.0.as_bytes().as_slice();
        for reply in &changes.kept_replies {
            let sql = "UPDATE idempotency SET done = 1, reply_sealed = ?3
                WHERE user_id = ?1 AND idempotency_key = ?2 AND node_id = ?4 AND done = 0";
            let params = params![reply.user_id.0, reply.idempotency_key, reply.sealed, node];
            self.connection.prepare_cached(sql)?.execute(params)?;
        }
        for (user_id, key) in &changes.forgotten_replies {
            let sql = "DELETE FROM idempotency
                WHERE user_id = ?1 AND idempotency_key = ?2 AND node_id = ?3 AND done = 0";
            self.connection.prepare_cached(sql)?.execute(params![user_id.0, key, node])?;
        }
        Ok(())
    }
}

fn settled_call(row: &Row<'_>) -> rusqlite::Result<SettledCall> {
    let day = |place| Ok::<_, rusqlite::Error>(row.get::<_, Option<i32>>(place)?.map(Day));
    let id: Vec<u8> = row.get(0)?;
    let (charged, refunded): (i64, i64) = (row.get(6)?, row.get(7)?);
    Ok(SettledCall {
        hold_id: HoldId(Uuid::from_slice(&id).unwrap_or_default()),
        key_id: KeyId(row.get::<_, Option<i64>>(1)?.unwrap_or_default()),
        channel_id: row.get::<_, Option<i64>>(2)?.map(ChannelId),
        model: row.get::<_, String>(3)?.into(),
        counted_on: day(4)?,
        key_counted_on: day(5)?,
        charged: Quota(charged - refunded),
        refunded: Quota(refunded),
    })
}

/// A price in its stored form.
fn frozen(json: &str) -> Option<Arc<FrozenPrice>> {
    serde_json::from_str(json).ok().map(Arc::new)
}

fn cell_of(row: &Row<'_>, place: usize, kind: ColumnType) -> rusqlite::Result<Cell<'static>> {
    Ok(match (row.get_ref(place)?, kind) {
        (ValueRef::Null, _) => Cell::Null,
        (ValueRef::Integer(value), ColumnType::Bool) => Cell::Bool(value != 0),
        (ValueRef::Integer(value), ColumnType::Time) => Cell::Time(UnixMs(value)),
        (ValueRef::Integer(value), _) => Cell::Int(value),
        (ValueRef::Blob(bytes), ColumnType::Uuid) => {
            Uuid::from_slice(bytes).map_or(Cell::Null, Cell::Uuid)
        }
        _ => Cell::Text(row.get::<_, String>(place)?.into()),
    })
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) | Self::Time(UnixMs(value)) => ValueRef::Integer(*value),
            Self::Bool(value) => ValueRef::Integer(i64::from(*value)),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Uuid(id) => ValueRef::Blob(id.as_bytes()),
        }))
    }
}
