//! A connection of a lane, with what it has prepared.

use super::columns::{Accounts, ChangedHolds, Entries, Keys, NewHolds};
use super::{Decision, Failure, sql};
use crate::book::{Book, Changes};
use crate::lane::Decided;
use crate::op::{EndState, Op};
use crate::redemption::CodeRow;
use crate::rows::{Account, HoldRow, HoldState, KeyLimit, Missing, Rows, Stored};
use crate::spending::{Day, Limits, Spending};
use crate::task_rows::{TaskSql, json_rows};
use domain::{ChannelId, HoldId, KeyId, NodeId, Quota, RedemptionId, UnixMs, UserId};
use futures_util::future::OptionFuture;
use futures_util::try_join;
use std::collections::HashSet;
use std::hash::Hash;
use store::{Db, StoreError, Value};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

type Sent<T> = Result<T, tokio_postgres::Error>;
/// The one parameter of a reading statement.
type Ids<'a> = [&'a (dyn ToSql + Sync); 1];
/// Rows of tasks, and the time.
type TaskRows<'a> = [&'a (dyn ToSql + Sync); 2];

/// See the module.
pub(super) struct Session {
    client: Client,
    server: Server,
    node: NodeId,
    statements: Statements,
}

/// Statements prepared once a connection. Flights rely on it: a statement that had to be prepared
/// first would be sent behind its `COMMIT`.
struct Statements {
    enter_free: Statement,
    enter_limited: Statement,
    read: Reading,
    lock: Reading,
    move_balances: Statement,
    move_keys: Statement,
    insert_holds: Statement,
    update_holds: Statement,
    insert_entries: Statement,
    keep_replies: Statement,
    forget_replies: Statement,
    lock_codes: Statement,
    redeem_codes: Statement,
    tasks: TaskStatements,
}

/// What a batch may have to say about tasks.
struct TaskStatements {
    insert: Statement,
    record: Statement,
    end: Statement,
    outbox: Statement,
}

/// The statements that read a batch's rows.
struct Reading {
    users: Statement,
    keys: Statement,
    holds: Statement,
}

/// The process that serves a connection.
#[derive(Clone, Debug)]
struct Server {
    pid: i32,
    started: String,
}

/// What tells whether a transaction is durable that was not answered.
pub(super) enum Question {
    /// Its own number does.
    Transaction(i64),
    /// Its server has ended, and a hold is as it left it.
    Witness(Witness),
}

/// A hold that nobody else makes so.
pub(super) struct Witness {
    server: Server,
    hold_id: HoldId,
    state: Option<&'static str>,
    amount: Option<Quota>,
}

/// What a batch came to that was to be entered at once.
pub(super) enum AtOnce {
    Entered(Decision),
    /// A row was not as it was known: nothing was changed.
    Stale,
    /// It asks for more than the one statement does; nothing was sent.
    NotFor,
}

impl Session {
    pub async fn open(db: &Db, node: NodeId, tasks: &TaskSql) -> Result<Self, StoreError> {
        // The driver ends by itself once the client is dropped.
        let (client, _driver) = db.dedicated_postgres().await?;
        client.batch_execute(sql::SESSION).await?;
        let serves = client.query_one(sql::WHO_SERVES, &[]).await?;
        let server = Server { pid: serves.get(0), started: serves.get(1) };
        let statements = Statements::prepare(&client, tasks).await?;
        Ok(Self { client, server, node, statements })
    }

    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Ends a transaction that failed; answers whether the connection can still be used.
    pub async fn roll_back(&self) -> bool {
        !self.client.is_closed() && self.client.batch_execute("ROLLBACK").await.is_ok()
    }

    /// Decides a batch over what is known, reads what is not, and writes it with one statement if
    /// every row is still so.
    pub async fn enter_at_once(
        &self,
        ops: &[&Op],
        mut rows: Rows,
        now: UnixMs,
    ) -> Result<AtOnce, Failure> {
        // Whoever redeems a code must have locked it.
        if ops.iter().any(|op| op.code().is_some()) {
            return Ok(AtOnce::NotFor);
        }
        self.read_unknown(ops, &mut rows).await?;
        let decision = decide(ops, rows, now);
        let changes = &*decision.changes;
        let Some(witness) = self.witness(changes) else { return Ok(AtOnce::NotFor) };
        match self.enter(changes, now).await {
            Ok(true) => Ok(AtOnce::Entered(decision)),
            Ok(false) => Ok(AtOnce::Stale),
            Err(error) if self.is_lost(&error) => {
                let question = Some(Question::Witness(witness));
                Err(Failure::Unknown { decision, question, error: error.into() })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn read_unknown(&self, ops: &[&Op], rows: &mut Rows) -> Sent<()> {
        let mut wanted = Wanted::of(ops);
        wanted.users.retain(|id| !rows.accounts.contains_key(&UserId(*id)));
        wanted.keys.retain(|id| !rows.keys.contains_key(&KeyId(*id)));
        wanted.holds.retain(|id| !rows.holds.contains_key(&HoldId(*id)));
        let read = &self.statements.read;
        let (users, keys, holds): (Ids<'_>, Ids<'_>, Ids<'_>) =
            ([&wanted.users], [&wanted.keys], [&wanted.holds]);
        let (accounts, limits, held) = try_join!(
            some(!wanted.users.is_empty(), self.client.query(&read.users, &users)),
            some(!wanted.keys.is_empty(), self.client.query(&read.keys, &keys)),
            some(!wanted.holds.is_empty(), self.client.query(&read.holds, &holds)),
        )?;
        add(rows, accounts, limits, held);
        Ok(())
    }

    /// The hold by which it can be told later whether these changes are durable. `None` as well
    /// when they are more than one statement carries.
    fn witness(&self, changes: &Changes) -> Option<Witness> {
        let all_just_made = changes.inserted().all(|(_, row)| row.state == HoldState::Held);
        if !all_just_made
            || !changes.kept_replies.is_empty()
            || !changes.forgotten_replies.is_empty()
            || changes.tells_of_tasks()
        {
            return None;
        }
        let witness = |hold_id, state, amount| {
            Some(Witness { server: self.server.clone(), hold_id, state, amount })
        };
        if let Some((new, _)) = changes.inserted().next() {
            return witness(new.request.hold_id, None, None);
        }
        changes.updated().find_map(|(id, row)| {
            let stored = row.stored?;
            match row.state {
                // The sweeper of another node may expire a hold of ours, but never end it thus.
                HoldState::Ended(end @ (EndState::Settled | EndState::Released))
                    if stored.state == HoldState::Held =>
                {
                    witness(id, Some(end.word()), None)
                }
                HoldState::Held if row.amount > stored.amount => {
                    witness(id, None, Some(row.amount))
                }
                _ => None,
            }
        })
    }

    async fn enter(&self, changes: &Changes, now: UnixMs) -> Sent<bool> {
        let (accounts, keys) = (Accounts::of(changes), Keys::of(changes));
        let (changed, made) = (ChangedHolds::of(changes), NewHolds::of(changes));
        let entries = Entries::of(&changes.entries);
        let now = Value::Time(now);
        let mut params = accounts.compared();
        params.extend(changed.compared());
        params.extend(made.made());
        params.extend(entries.lines());
        params.extend(self.node_and(&now));
        let mut statement = &self.statements.enter_free;
        if changes.are_limited() {
            statement = &self.statements.enter_limited;
            params.extend(keys.compared());
            params.extend(accounts.counted.compared());
            params.extend(keys.counted.compared());
            params.extend(changed.counted.days());
            params.extend(made.counted.days());
        }
        let row = self.client.query_one(statement, &params).await?;
        Ok(row.get(0))
    }

    fn node_and<'a>(&'a self, now: &'a Value) -> [&'a (dyn ToSql + Sync); 2] {
        [&self.node.0, now]
    }

    /// Locks a batch's rows, decides, and writes.
    pub async fn lock_and_enter(&self, ops: &[&Op], now: UnixMs) -> Result<Decision, Failure> {
        let (rows, transaction_id) = self.lock(ops).await?;
        let decision = decide(ops, rows, now);
        match self.write_and_commit(&decision.changes, now).await {
            Ok(()) => Ok(decision),
            Err(error) if self.is_lost(&error) => {
                let question =
                    (transaction_id != 0).then_some(Question::Transaction(transaction_id));
                Err(Failure::Unknown { decision, question, error: error.into() })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn is_lost(&self, error: &tokio_postgres::Error) -> bool {
        self.client.is_closed() || error.is_closed()
    }

    /// The first flight: begin, and lock what the batch touches.
    async fn lock(&self, ops: &[&Op]) -> Sent<(Rows, i64)> {
        let (client, lock) = (&self.client, &self.statements.lock);
        let wanted = Wanted::of(ops);
        let (users, keys, holds): (Ids<'_>, Ids<'_>, Ids<'_>) =
            ([&wanted.users], [&wanted.keys], [&wanted.holds]);
        let wanted_codes: Ids<'_> = [&wanted.codes];
        // Sent in this order, answered in one round trip: the futures are polled in order.
        let (_, accounts, limits, held, codes) = try_join!(
            client.batch_execute("BEGIN"),
            client.query(&lock.users, &users),
            some(!wanted.keys.is_empty(), client.query(&lock.keys, &keys)),
            some(!wanted.holds.is_empty(), client.query(&lock.holds, &holds)),
            some(
                !wanted.codes.is_empty(),
                client.query(&self.statements.lock_codes, &wanted_codes)
            ),
        )?;
        // Where no account could be locked, nothing will be written.
        let transaction_id = accounts.first().map_or(0, |row| row.get(9));
        let mut rows = Rows::default();
        add(&mut rows, Some(accounts), limits, held);
        rows.codes.extend(codes.iter().flatten().map(code_row));
        Ok((rows, transaction_id))
    }

    /// The second flight: write, and commit.
    async fn write_and_commit(&self, changes: &Changes, now: UnixMs) -> Sent<()> {
        let (client, statements) = (&self.client, &self.statements);
        let (accounts, keys) = (Accounts::of(changes), Keys::of(changes));
        let (changed, made) = (ChangedHolds::of(changes), NewHolds::of(changes));
        let entries = Entries::of(&changes.entries);
        let now = Value::Time(now);
        let mut changed_params = changed.changed();
        changed_params.extend(self.node_and(&now));
        changed_params.extend(changed.counted.days());
        let mut made_params = made.as_they_stand();
        made_params.extend(self.node_and(&now));
        made_params.extend(made.counted.days());
        let mut lines = entries.lines();
        lines.push(&now);
        let (moved, keys_moved) = (accounts.moved(), keys.moved());
        try_join!(
            some(!changes.accounts.is_empty(), client.execute(&statements.move_balances, &moved)),
            some(!changes.keys.is_empty(), client.execute(&statements.move_keys, &keys_moved)),
            some(!made.ids.is_empty(), client.execute(&statements.insert_holds, &made_params)),
            some(
                !changed.ids.is_empty(),
                client.execute(&statements.update_holds, &changed_params)
            ),
            some(!changes.entries.is_empty(), client.execute(&statements.insert_entries, &lines)),
            some(!changes.kept_replies.is_empty(), self.keep_replies(changes)),
            some(!changes.forgotten_replies.is_empty(), self.forget_replies(changes)),
            some(!changes.redeemed.is_empty(), self.redeem_codes(changes, &now)),
            some(changes.tells_of_tasks(), self.write_tasks(changes, &now)),
            client.batch_execute("COMMIT"),
        )?;
        Ok(())
    }

    async fn write_tasks(&self, changes: &Changes, now: &Value) -> Sent<()> {
        let (client, statements) = (&self.client, &self.statements.tasks);
        let new = Value::Json(json_rows(&changes.new_tasks));
        let recorded = Value::Json(json_rows(&changes.recorded_tasks));
        let ended = Value::Json(json_rows(&changes.ended_tasks));
        let (makes, records) = (!changes.new_tasks.is_empty(), !changes.recorded_tasks.is_empty());
        let ends = !changes.ended_tasks.is_empty();
        let (new, recorded, ended): (TaskRows<'_>, TaskRows<'_>, TaskRows<'_>) =
            ([&new, now], [&recorded, now], [&ended, now]);
        try_join!(
            some(makes, client.execute(&statements.insert, &new)),
            some(records, client.execute(&statements.record, &recorded)),
            some(ends, client.execute(&statements.end, &ended)),
            some(ends, client.execute(&statements.outbox, &ended)),
        )?;
        Ok(())
    }

    async fn redeem_codes(&self, changes: &Changes, now: &Value) -> Sent<u64> {
        let (codes, users): (Vec<i64>, Vec<i64>) =
            changes.redeemed.iter().map(|(id, user_id)| (id.0, user_id.0)).unzip();
        self.client.execute(&self.statements.redeem_codes, &[&codes, &users, now]).await
    }

    async fn keep_replies(&self, changes: &Changes) -> Sent<u64> {
        let replies = &changes.kept_replies;
        let users: Vec<i64> = replies.iter().map(|r| r.user_id.0).collect();
        let keys: Vec<&str> = replies.iter().map(|r| r.idempotency_key.as_str()).collect();
        let sealed: Vec<Option<&str>> = replies.iter().map(|r| r.sealed.as_deref()).collect();
        let statement = &self.statements.keep_replies;
        self.client.execute(statement, &[&users, &keys, &sealed]).await
    }

    async fn forget_replies(&self, changes: &Changes) -> Sent<u64> {
        let (users, keys): (Vec<i64>, Vec<&str>) =
            changes.forgotten_replies.iter().map(|(user, key)| (user.0, key.as_str())).unzip();
        self.client.execute(&self.statements.forget_replies, &[&users, &keys]).await
    }

    /// What became of a transaction; `None`: the server is still at work on it.
    pub async fn ask(&self, question: &Question) -> Sent<Option<bool>> {
        match question {
            Question::Transaction(id) => {
                let asked = self.client.query_one("SELECT txid_status($1::bigint)", &[id]).await?;
                Ok(match asked.get::<_, Option<&str>>(0) {
                    Some("committed") => Some(true),
                    Some("in progress") => None,
                    _ => Some(false),
                })
            }
            Question::Witness(witness) => self.hear(witness).await,
        }
    }

    async fn hear(&self, witness: &Witness) -> Sent<Option<bool>> {
        let Server { pid, started } = &witness.server;
        if self.client.query_opt(sql::STILL_SERVES, &[pid, started]).await?.is_some() {
            return Ok(None);
        }
        // Only now: what a statement sees was settled when it began.
        let amount = witness.amount.map(|amount| amount.0);
        let params: [&(dyn ToSql + Sync); 3] = [&witness.hold_id.0, &witness.state, &amount];
        Ok(Some(self.client.query_opt(sql::BEARS_WITNESS, &params).await?.is_some()))
    }

    pub async fn existing(&self, missing: &[Missing]) -> Result<HashSet<Missing>, StoreError> {
        let (mut users, mut keys, mut holds) = (Vec::new(), Vec::new(), Vec::new());
        let mut codes = Vec::new();
        for row in missing {
            match row {
                Missing::User(id) => users.push(id.0),
                Missing::Key(id) => keys.push(id.0),
                Missing::Hold(id) => holds.push(id.0),
                Missing::Code(id) => codes.push(id.0),
            }
        }
        let rows = self.client.query(sql::EXISTING, &[&users, &keys, &holds, &codes]).await?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                let id: &str = row.get(1);
                Some(match row.get::<_, &str>(0) {
                    "u" => Missing::User(UserId(id.parse().ok()?)),
                    "k" => Missing::Key(KeyId(id.parse().ok()?)),
                    "c" => Missing::Code(RedemptionId(id.parse().ok()?)),
                    _ => Missing::Hold(HoldId(id.parse().ok()?)),
                })
            })
            .collect())
    }
}

impl Statements {
    async fn prepare(client: &Client, tasks: &TaskSql) -> Sent<Self> {
        let locking = |reading: &str| format!("{reading}{}", sql::AND_LOCK);
        Ok(Self {
            enter_free: client.prepare(&sql::enter_batch(false)).await?,
            enter_limited: client.prepare(&sql::enter_batch(true)).await?,
            read: Reading {
                users: client.prepare(sql::READ_USERS).await?,
                keys: client.prepare(sql::READ_KEYS).await?,
                holds: client.prepare(sql::READ_HOLDS).await?,
            },
            lock: Reading {
                users: client.prepare(sql::LOCK_USERS).await?,
                keys: client.prepare(&locking(sql::READ_KEYS)).await?,
                holds: client.prepare(&locking(sql::READ_HOLDS)).await?,
            },
            move_balances: client.prepare(sql::MOVE_BALANCES).await?,
            move_keys: client.prepare(sql::MOVE_KEYS).await?,
            insert_holds: client.prepare(sql::INSERT_HOLDS).await?,
            update_holds: client.prepare(sql::UPDATE_HOLDS).await?,
            insert_entries: client.prepare(sql::INSERT_ENTRIES).await?,
            keep_replies: client.prepare(sql::KEEP_REPLIES).await?,
            forget_replies: client.prepare(sql::FORGET_REPLIES).await?,
            lock_codes: client.prepare(sql::LOCK_CODES).await?,
            redeem_codes: client.prepare(sql::REDEEM_CODES).await?,
            tasks: TaskStatements {
                insert: client.prepare(&tasks.insert).await?,
                record: client.prepare(&tasks.record).await?,
                end: client.prepare(&tasks.end).await?,
                outbox: client.prepare(&tasks.outbox).await?,
            },
        })
    }
}

/// The rows that a batch touches.
struct Wanted {
    users: Vec<i64>,
    keys: Vec<i64>,
    holds: Vec<Uuid>,
    codes: Vec<i64>,
}

impl Wanted {
    fn of(ops: &[&Op]) -> Self {
        Self {
            users: distinct(ops.iter().map(|op| op.user_id().0)),
            keys: distinct(ops.iter().filter_map(|op| op.limited_key()).map(|id| id.0)),
            holds: distinct(ops.iter().filter_map(|op| op.hold_ref()).map(|h| h.hold_id.0)),
            codes: distinct(ops.iter().filter_map(|op| op.code()).map(|id| id.0)),
        }
    }
}

fn decide(ops: &[&Op], rows: Rows, now: UnixMs) -> Decision {
    let mut book = Book::new(rows, now);
    let decided: Vec<Decided> = ops.iter().map(|op| book.apply(op).into()).collect();
    Decision { decided, changes: Box::new(book.into_changes()) }
}

fn add(rows: &mut Rows, users: Option<Vec<Row>>, keys: Option<Vec<Row>>, holds: Option<Vec<Row>>) {
    for row in users.unwrap_or_default() {
        let account = Account {
            username: row.get::<_, &str>(1).into(),
            quota: Quota(row.get(2)),
            usable: row.get(3),
            spending: spending(&row, 4),
        };
        rows.accounts.insert(UserId(row.get(0)), account);
    }
    for row in keys.unwrap_or_default() {
        let (remain, unlimited) = (Quota(row.get(1)), row.get(2));
        let key = KeyLimit { remain, unlimited, spending: spending(&row, 3) };
        rows.keys.insert(KeyId(row.get(0)), key);
    }
    for row in holds.unwrap_or_default() {
        if let Some(hold) = hold_row(&row) {
            rows.holds.insert(HoldId(row.get(0)), hold);
        }
    }
}

/// From five columns, of which this is the first.
fn spending(row: &Row, first: usize) -> Option<Box<Spending>> {
    let limit = |column: usize| row.get::<_, Option<i64>>(column).map(Quota);
    let limits = Limits { daily: limit(first), monthly: limit(first + 1) };
    Spending::of(limits, row.get(first + 2), row.get(first + 3), row.get(first + 4))
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

fn hold_row(row: &Row) -> Option<HoldRow> {
    let state = HoldState::from_word(row.get(8))?;
    let (amount, charged) = (Quota(row.get(6)), Quota(row.get(9)));
    Some(HoldRow {
        user_id: UserId(row.get(1)),
        key_id: KeyId(row.get(2)),
        channel_id: row.get::<_, Option<i64>>(3).map(ChannelId),
        model: row.get::<_, &str>(4).into(),
        request_id: row.get::<_, &str>(5).into(),
        amount,
        key_amount: row.get::<_, Option<i64>>(7).map(Quota),
        state,
        charged,
        counted_on: row.get::<_, Option<i32>>(11).map(Day),
        key_counted_on: row.get::<_, Option<i32>>(12).map(Day),
        orphaned: row.get(10),
        stored: Some(Stored { state, amount, charged }),
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
