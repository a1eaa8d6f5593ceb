//! Reads a batch's rows: without locks for the one-statement path, or locked.

use super::attempt::PgResult;
use crate::columns::{Cell, ColumnType, TableSchema};
use crate::op::{ChargeRef, EndState};
use crate::redemption::CodeRow;
use crate::rows::{EndedHold, HoldRow, MadeMovement, RowId, Rows, SettledCall, TaskState};
use crate::spending::Day;
use crate::tables::{ACCOUNTS, AccountMove, HOLDS, KEYS, KeyMove};
use crate::wanted::RowsNeeded;
use domain::{ChannelId, HoldId, KeyId, Quota, RedemptionId, TaskUid, UnixMs, UserId};
use futures_util::try_join;
use std::sync::Arc;
use store::Value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

/// Appended to a reading statement to lock its rows, and skip those locked by other sessions.
const AND_LOCK: &str = " FOR NO KEY UPDATE OF t SKIP LOCKED";
/// Keys that are named, and those whose limits the holds count against.
const LOCK_KEYS: &str =
    "t.id IN (SELECT unnest($1::bigint[]) UNION ALL SELECT h.key_id FROM holds h
    WHERE h.id = ANY($2::uuid[]) AND (h.key_amount IS NOT NULL OR h.key_counted_on IS NOT NULL))";
const LOCK_CODES: &str = "SELECT id, name, quota, status,
           (extract(epoch FROM expires_at) * 1000)::bigint
    FROM redemptions AS t WHERE id = ANY($1::bigint[]) FOR NO KEY UPDATE OF t SKIP LOCKED";
const READ_TASKS: &str = "SELECT uid, finish_time IS NOT NULL, submit_time IS NOT NULL, used_quota,
        precharge_quota, token_id, action, request_id
    FROM tasks WHERE uid = ANY($1::uuid[])";
const READ_PRICES: &str = "SELECT p.id, p.price::text FROM holds h
    JOIN price_snapshots p ON p.id = h.price_id WHERE h.id = ANY($1::uuid[]) AND h.for_task";
const READ_MOVEMENTS: &str = "SELECT m.user_id, m.reference, m.type, m.amount, m.refund_of,
        m.entry_id
    FROM unnest($1::bigint[], $2::text[]) AS c (user_id, reference)
    JOIN movements m ON m.user_id = c.user_id AND m.reference = c.reference";
const READ_REFUNDED: &str =
    "SELECT c.user_id, c.request_id, c.hold_id, c.token_id, c.channel_id, c.model_name,
           c.counted_on, c.key_counted_on, c.quota, w.hold_id,
           coalesce((SELECT -sum(r.used_delta) FROM logs r
               WHERE r.request_id = c.request_id AND r.request_id <> '' AND r.hold_id = c.hold_id
                 AND r.type = 'refund'), 0)::bigint
    FROM unnest($1::bigint[], $2::text[], $3::uuid[]) AS w (user_id, request_id, hold_id)
    CROSS JOIN LATERAL (
        (SELECT * FROM logs l
         WHERE l.request_id = w.request_id AND l.request_id <> '' AND l.user_id = w.user_id
           AND l.type = 'consume' AND w.hold_id IS NULL LIMIT 2)
        UNION ALL
        (SELECT * FROM logs l
         WHERE l.request_id = w.request_id AND l.request_id <> '' AND l.user_id = w.user_id
           AND l.type = 'consume' AND l.hold_id = w.hold_id LIMIT 2)) AS c";
const READ_ENDED: &str = "SELECT l.hold_id, l.quota, coalesce(l.held, 0)
    FROM unnest($1::uuid[], $2::text[]) AS w (hold_id, request_id)
    JOIN logs l ON l.request_id = w.request_id AND l.request_id <> '' AND l.hold_id = w.hold_id
         AND l.type = 'consume'";
const EXISTING: &str = "SELECT 'u', id::text FROM users WHERE id = ANY($1::bigint[])
    UNION ALL SELECT 'k', id::text FROM tokens WHERE id = ANY($2::bigint[])
    UNION ALL SELECT 'h', id::text FROM holds WHERE id = ANY($3::uuid[])
    UNION ALL SELECT 'c', id::text FROM redemptions WHERE id = ANY($4::bigint[])";

/// The reading statements, prepared once per connection.
pub(super) struct Readers {
    users: Statement,
    keys: Statement,
    holds: Statement,
    lock_users: Statement,
    lock_keys: Statement,
    lock_holds: Statement,
    lock_codes: Statement,
    tasks: Statement,
    prices: Statement,
    movements: Statement,
    refunded: Statement,
    ended: Statement,
    existing: Statement,
}

fn reading<R>(table: &TableSchema<R>, which: &str) -> String {
    format!("SELECT {} FROM {} AS t WHERE {which}", table.selected(), table.name)
}

impl Readers {
    pub(super) async fn prepare(client: &Client) -> PgResult<Self> {
        const BIGINTS: &str = "t.id = ANY($1::bigint[])";
        const UUIDS: &str = "t.id = ANY($1::uuid[])";
        let locking = |reading: String| reading + AND_LOCK;
        Ok(Self {
            users: client.prepare(&reading(&ACCOUNTS, BIGINTS)).await?,
            keys: client.prepare(&reading(&KEYS, BIGINTS)).await?,
            holds: client.prepare(&reading(&HOLDS, UUIDS)).await?,
            lock_users: client.prepare(&locking(reading(&ACCOUNTS, BIGINTS))).await?,
            lock_keys: client.prepare(&locking(reading(&KEYS, LOCK_KEYS))).await?,
            lock_holds: client.prepare(&locking(reading(&HOLDS, UUIDS))).await?,
            lock_codes: client.prepare(LOCK_CODES).await?,
            tasks: client.prepare(READ_TASKS).await?,
            prices: client.prepare(READ_PRICES).await?,
            movements: client.prepare(READ_MOVEMENTS).await?,
            refunded: client.prepare(READ_REFUNDED).await?,
            ended: client.prepare(READ_ENDED).await?,
            existing: client.prepare(EXISTING).await?,
        })
    }

    /// Reads the accounts, keys and holds missing in `rows`. False: one was not found.
    pub(super) async fn read_missing(
        &self,
        client: &Client,
        wanted: &RowsNeeded,
        rows: &mut Rows,
    ) -> PgResult<bool> {
        let users: Vec<i64> = wanted
            .users
            .iter()
            .filter(|id| !rows.accounts.contains_key(id))
            .map(|id| id.0)
            .collect();
        let keys: Vec<i64> =
            wanted.keys.iter().filter(|id| !rows.keys.contains_key(id)).map(|id| id.0).collect();
        let holds: Vec<Uuid> =
            wanted.holds.iter().filter(|id| !rows.holds.contains_key(id)).map(|id| id.0).collect();
        let (users_param, keys_param): (One<'_>, One<'_>) = ([&users], [&keys]);
        let holds_param: One<'_> = [&holds];
        let (found_users, found_keys, found_holds) = try_join!(
            query(client, !users.is_empty(), &self.users, &users_param),
            query(client, !keys.is_empty(), &self.keys, &keys_param),
            query(client, !holds.is_empty(), &self.holds, &holds_param),
        )?;
        let all = found_users.len() == users.len()
            && found_keys.len() == keys.len()
            && found_holds.len() == holds.len();
        add_accounts(rows, &found_users)?;
        add_keys(rows, &found_keys)?;
        add_holds(rows, &found_holds)?;
        // The limits of a hold that was just read are not.
        let limits = rows.holds.values().filter_map(HoldRow::limited_key);
        Ok(all && limits.into_iter().all(|key| rows.keys.contains_key(&key)))
    }

    /// Begins a transaction, and locks and reads the wanted rows: one pipelined round trip, and
    /// another one where a row was locked.
    pub(super) async fn lock(&self, client: &Client, mut wanted: RowsNeeded) -> PgResult<Rows> {
        let users: Vec<i64> = wanted.users.iter().map(|id| id.0).collect();
        let keys: Vec<i64> = wanted.keys.iter().map(|id| id.0).collect();
        let holds: Vec<Uuid> =
            wanted.holds.iter().chain(&wanted.new_holds).map(|id| id.0).collect();
        let codes: Vec<i64> = wanted.codes.iter().map(|id| id.0).collect();
        let tasks: Vec<Uuid> = wanted.tasks.iter().map(|uid| uid.0).collect();
        let (named_by, names) = texts(&wanted.references);
        let refunded_of: Vec<i64> = wanted.refunded.iter().map(|(user, _)| user.0).collect();
        let charges = || wanted.refunded.iter().map(|(_, charge)| charge);
        let refunded: Vec<&str> = charges().map(|charge| &*charge.request_id).collect();
        let of_holds: Vec<Option<Uuid>> =
            charges().map(|charge| charge.hold_id.map(|hold| hold.0)).collect();
        let by_user: One<'_> = [&users];
        let by_hold: One<'_> = [&holds];
        let by_key: [&(dyn ToSql + Sync); 2] = [&keys, &holds];
        let (by_code, by_task): (One<'_>, One<'_>) = ([&codes], [&tasks]);
        let by_reference: [&(dyn ToSql + Sync); 2] = [&named_by, &names];
        let by_request: [&(dyn ToSql + Sync); 3] = [&refunded_of, &refunded, &of_holds];
        // Sent in this order, in one round trip: the futures are polled in order. Users come first:
        // any other writer of a user's holds and movements has locked the user, too.
        let (_, users, holds, keys, codes, tasks, prices, movements, refunded) = try_join!(
            client.batch_execute("BEGIN"),
            client.query(&self.lock_users, &by_user),
            query(client, !holds.is_empty(), &self.lock_holds, &by_hold),
            client.query(&self.lock_keys, &by_key),
            query(client, !codes.is_empty(), &self.lock_codes, &by_code),
            query(client, !tasks.is_empty(), &self.tasks, &by_task),
            query(client, !tasks.is_empty(), &self.prices, &by_task),
            query(client, !names.is_empty(), &self.movements, &by_reference),
            query(client, !refunded.is_empty(), &self.refunded, &by_request),
        )?;
        let mut rows = Rows::default();
        add_accounts(&mut rows, &users)?;
        add_holds(&mut rows, &holds)?;
        add_keys(&mut rows, &keys)?;
        add_movements(&mut rows, &movements);
        add_refunded(&mut rows, &refunded);
        rows.codes.extend(codes.iter().map(code_row));
        rows.tasks.extend(tasks.iter().map(task_row));
        rows.prices.extend(prices.iter().filter_map(|row| {
            let price = serde_json::from_str(row.get(1)).ok()?;
            Some((row.get(0), Arc::new(price)))
        }));
        wanted.add_keys_of_holds(&rows);
        self.lock_keys_of_refunds(client, &mut wanted, &mut rows).await?;
        self.distinguish_gone_from_locked(client, &wanted, &mut rows).await?;
        Ok(rows)
    }

    /// A refund is subtracted from the count of its call's key.
    async fn lock_keys_of_refunds(
        &self,
        client: &Client,
        wanted: &mut RowsNeeded,
        rows: &mut Rows,
    ) -> PgResult<()> {
        let counted = rows.settled.values().filter(|call| call.key_counted_on.is_some());
        let keys: Vec<KeyId> = counted.map(|call| call.key_id).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = keys.iter().map(|id| id.0).collect();
        let found = client.query(&self.lock_keys, &[&ids, &Vec::<Uuid>::new()]).await?;
        add_keys(rows, &found)?;
        wanted.keys.extend(keys);
        Ok(())
    }

    /// Rows that were not returned are locked by another session, or don't exist.
    async fn distinguish_gone_from_locked(
        &self,
        client: &Client,
        wanted: &RowsNeeded,
        rows: &mut Rows,
    ) -> PgResult<()> {
        let users = missing(&wanted.users, |id| rows.accounts.contains_key(id));
        let keys = missing(&wanted.keys, |id| rows.keys.contains_key(id));
        let holds = missing(&wanted.holds, |id| rows.holds.contains_key(id));
        let codes = missing(&wanted.codes, |id| rows.codes.contains_key(id));
        if users.is_empty() && keys.is_empty() && holds.is_empty() && codes.is_empty() {
            return Ok(());
        }
        rows.gone.extend(users.iter().map(|id| RowId::User(*id)));
        rows.gone.extend(keys.iter().map(|id| RowId::Key(*id)));
        rows.gone.extend(holds.iter().map(|id| RowId::Hold(*id)));
        rows.gone.extend(codes.iter().map(|id| RowId::Code(*id)));
        let users: Vec<i64> = users.iter().map(|id| id.0).collect();
        let keys: Vec<i64> = keys.iter().map(|id| id.0).collect();
        let codes: Vec<i64> = codes.iter().map(|id| id.0).collect();
        let held: Vec<Uuid> = holds.iter().map(|id| id.0).collect();
        let settling = wanted.settling.iter().filter(|(id, _)| holds.contains(id));
        let (ended, requests): (Vec<Uuid>, Vec<&str>) =
            settling.map(|(id, request_id)| (id.0, &**request_id)).unzip();
        let by_id: [&(dyn ToSql + Sync); 4] = [&users, &keys, &held, &codes];
        let by_request: [&(dyn ToSql + Sync); 2] = [&ended, &requests];
        let (existing, ended) = try_join!(
            client.query(&self.existing, &by_id),
            query(client, !ended.is_empty(), &self.ended, &by_request),
        )?;
        for row in &existing {
            if let Some(id) = row_id(row) {
                rows.gone.remove(&id);
            }
        }
        rows.ended.extend(ended.iter().map(|row| {
            let (state, charged, held) = (EndState::Settled, Quota(row.get(1)), Quota(row.get(2)));
            (HoldId(row.get(0)), EndedHold { state, held, charged })
        }));
        Ok(())
    }
}

/// The one parameter of a statement.
type One<'a> = [&'a (dyn ToSql + Sync); 1];

/// The rows of `statement` if they are `wanted`, for `try_join!`.
async fn query(
    client: &Client,
    wanted: bool,
    statement: &Statement,
    params: &[&(dyn ToSql + Sync)],
) -> PgResult<Vec<Row>> {
    if wanted { client.query(statement, params).await } else { Ok(Vec::new()) }
}

fn missing<K: Copy>(wanted: &[K], is_there: impl Fn(&K) -> bool) -> Vec<K> {
    wanted.iter().copied().filter(|id| !is_there(id)).collect()
}

fn texts(named: &[(UserId, Arc<str>)]) -> (Vec<i64>, Vec<&str>) {
    named.iter().map(|(user_id, name)| (user_id.0, &**name)).unzip()
}

fn read<R: Default>(table: &TableSchema<R>, row: &Row) -> PgResult<R> {
    table.row(|place, kind| cell_of(row, place, kind))
}

fn add_accounts(rows: &mut Rows, found: &[Row]) -> PgResult<()> {
    for row in found {
        let account = read(&ACCOUNTS, row).map(AccountMove::found)?;
        rows.accounts.insert(account.id, account);
    }
    Ok(())
}

fn add_keys(rows: &mut Rows, found: &[Row]) -> PgResult<()> {
    for row in found {
        let key = read(&KEYS, row).map(KeyMove::found)?;
        rows.keys.insert(key.id, key);
    }
    Ok(())
}

fn add_holds(rows: &mut Rows, found: &[Row]) -> PgResult<()> {
    for row in found {
        let hold = read(&HOLDS, row).map(HoldRow::stored)?;
        rows.holds.insert(hold.id, hold);
    }
    Ok(())
}

fn add_movements(rows: &mut Rows, found: &[Row]) {
    for row in found {
        let reference: Arc<str> = row.get::<_, &str>(1).into();
        let (kind, amount) = (row.get(2), Quota(row.get(3)));
        let (refund_of, entry) = (row.get::<_, &str>(4).into(), row.get(5));
        let made = MadeMovement { kind, amount, refund_of, entry };
        rows.movements.insert((UserId(row.get(0)), reference), made);
    }
}

fn add_refunded(rows: &mut Rows, found: &[Row]) {
    let day = |row: &Row, place| row.get::<_, Option<i32>>(place).map(Day);
    let named = |row: &Row| {
        let request_id = row.get::<_, &str>(1).into();
        let hold_id = row.get::<_, Option<Uuid>>(9).map(HoldId);
        (UserId(row.get(0)), ChargeRef { request_id, hold_id })
    };
    for row in found {
        let refunded: i64 = row.get(10);
        let call = SettledCall {
            hold_id: HoldId(row.get(2)),
            key_id: KeyId(row.get::<_, Option<i64>>(3).unwrap_or_default()),
            channel_id: row.get::<_, Option<i64>>(4).map(ChannelId),
            model: row.get::<_, &str>(5).into(),
            counted_on: day(row, 6),
            key_counted_on: day(row, 7),
            charged: Quota(row.get::<_, i64>(8) - refunded),
            refunded: Quota(refunded),
        };
        // Client-supplied request ids may repeat: if two calls share one, neither is used.
        let name = named(row);
        if found.iter().filter(|other| named(other) == name).count() == 1 {
            rows.settled.insert(name, call);
        }
    }
}

fn code_row(row: &Row) -> (RedemptionId, CodeRow) {
    let code = CodeRow {
        name: row.get::<_, &str>(1).into(),
        quota: Quota(row.get(2)),
        status: row.get(3),
        expires_at: row.get::<_, Option<i64>>(4).map(UnixMs),
    };
    (RedemptionId(row.get(0)), code)
}

fn task_row(row: &Row) -> (TaskUid, TaskState) {
    let text = |place| Arc::<str>::from(row.get::<_, &str>(place));
    let task = TaskState {
        ended: row.get(1),
        taken: row.get(2),
        charged: Quota(row.get(3)),
        held: Quota(row.get(4)),
        key_id: KeyId(row.get(5)),
        model: text(6),
        request_id: text(7),
    };
    (TaskUid(row.get(0)), task)
}

fn row_id(row: &Row) -> Option<RowId> {
    let id: &str = row.get(1);
    Some(match row.get::<_, &str>(0) {
        "u" => RowId::User(UserId(id.parse().ok()?)),
        "k" => RowId::Key(KeyId(id.parse().ok()?)),
        "c" => RowId::Code(RedemptionId(id.parse().ok()?)),
        _ => RowId::Hold(HoldId(id.parse().ok()?)),
    })
}

fn cell_of(row: &Row, place: usize, kind: ColumnType) -> PgResult<Cell<'static>> {
    Ok(match kind {
        ColumnType::BigInt => row.try_get::<_, Option<i64>>(place)?.into(),
        ColumnType::Integer => row.try_get::<_, Option<i32>>(place)?.map(i64::from).into(),
        ColumnType::Bool => row.try_get::<_, Option<bool>>(place)?.map_or(Cell::Null, Cell::Bool),
        ColumnType::Uuid => row.try_get::<_, Option<Uuid>>(place)?.map_or(Cell::Null, Cell::Uuid),
        ColumnType::Time => match row.try_get(place)? {
            Value::Time(at) => Cell::Time(at),
            _ => Cell::Null,
        },
        // None is read: a lane decides over amounts, days and references.
        ColumnType::Json => Cell::Null,
        ColumnType::Text => {
            let text: Option<String> = row.try_get(place)?;
            text.map_or(Cell::Null, |text| Cell::Text(text.into()))
        }
    })
}
