//! The tables of money, column by column.

use crate::columns::{Cell, Column, ColumnRole as Role, ColumnType as Kind, Forms, TableSchema};
use crate::journal::LineRow;
use crate::rows::{Account, HoldRow, KeyLimit};
use crate::spending::{Day, Spending, SpendingLimits, Spent};
use domain::{ChannelId, HoldId, KeyId, NodeId, Quota, UnixMs, UserId};
use std::sync::Arc;

const ALWAYS: Forms = Forms::ALWAYS;
const LIMITED: Forms = Forms::LIMITED;
const DETAILED: Forms = Forms::DETAILED;

/// A column that is only written.
const fn written<R>(
    name: &'static str,
    kind: Kind,
    role: Role,
    form: Forms,
    get: fn(&R) -> Cell<'_>,
) -> Column<R> {
    Column { name, kind, role, form, get, set: None }
}

/// The same column, which is also read.
const fn read<R>(column: Column<R>, set: fn(&mut R, &Cell<'_>)) -> Column<R> {
    Column { set: Some(set), ..column }
}

fn quota(amount: Option<Quota>) -> Cell<'static> {
    amount.map(|amount| amount.0).into()
}

fn day(day: Option<Day>) -> Cell<'static> {
    day.map(|day| i64::from(day.0)).into()
}

fn day_of(cell: &Cell<'_>) -> Option<Day> {
    cell.int().and_then(|day| i32::try_from(day).ok()).map(Day)
}

fn amount_of(cell: &Cell<'_>) -> Quota {
    Quota(cell.int().unwrap_or_default())
}

/// Open holds. One that ends is deleted.
pub(crate) const HOLDS: TableSchema<HoldRow> = TableSchema {
    name: "holds",
    free_guard: "",
    also_set: "",
    columns: &[
        read(written("id", Kind::Uuid, Role::Key, ALWAYS, |h| Cell::Uuid(h.id.0)), |h, cell| {
            h.id = HoldId(cell.uuid().unwrap_or_default())
        }),
        read(
            written("user_id", Kind::BigInt, Role::Fixed, ALWAYS, |h| Cell::Int(h.user_id.0)),
            |h, cell| h.user_id = UserId(cell.int().unwrap_or_default()),
        ),
        read(
            written("key_id", Kind::BigInt, Role::Fixed, ALWAYS, |h| Cell::Int(h.key_id.0)),
            |h, cell| h.key_id = KeyId(cell.int().unwrap_or_default()),
        ),
        read(
            written("channel_id", Kind::BigInt, Role::Mutable, ALWAYS, |h| {
                h.channel_id.map(|id| id.0).into()
            }),
            |h, cell| h.channel_id = cell.int().map(ChannelId),
        ),
        read(
            written("model_name", Kind::Text, Role::Fixed, ALWAYS, |h| (&*h.model).into()),
            |h, cell| h.model = cell.text().into(),
        ),
        read(
            written("request_id", Kind::Text, Role::Fixed, ALWAYS, |h| (&*h.request_id).into()),
            |h, cell| h.request_id = cell.text().into(),
        ),
        written("amount_was", Kind::BigInt, Role::Seen("t.amount"), ALWAYS, |h| {
            quota(h.stored_amount)
        }),
        read(
            written("amount", Kind::BigInt, Role::Mutable, ALWAYS, |h| Cell::Int(h.amount.0)),
            |h, cell| {
                h.amount = amount_of(cell);
                h.stored_amount = Some(h.amount);
            },
        ),
        read(
            written("price_id", Kind::BigInt, Role::Fixed, ALWAYS, |h| Cell::Int(h.price_id)),
            |h, cell| h.price_id = cell.int().unwrap_or_default(),
        ),
        read(
            written("node_id", Kind::Uuid, Role::Mutable, ALWAYS, |h| {
                h.node.map_or(Cell::Null, |node| Cell::Uuid(node.0))
            }),
            |h, cell| h.node = cell.uuid().map(NodeId),
        ),
        read(
            written("deadline_at", Kind::Time, Role::Mutable, ALWAYS, |h| {
                Cell::Time(h.deadline_at)
            }),
            |h, cell| h.deadline_at = cell.time().unwrap_or(UnixMs(0)),
        ),
        written("created_at", Kind::Time, Role::Fixed, ALWAYS, |h| Cell::Time(h.created_at)),
        read(
            written("for_task", Kind::Bool, Role::Fixed, DETAILED, |h| Cell::Bool(h.for_task)),
            |h, cell| h.for_task = cell.is_true(),
        ),
        read(
            written("key_amount", Kind::BigInt, Role::Mutable, LIMITED, |h| quota(h.key_amount)),
            |h, cell| h.key_amount = cell.int().map(Quota),
        ),
        read(
            written("counted_on", Kind::Integer, Role::Mutable, LIMITED, |h| day(h.counted_on)),
            |h, cell| h.counted_on = day_of(cell),
        ),
        read(
            written("key_counted_on", Kind::Integer, Role::Mutable, LIMITED, |h| {
                day(h.key_counted_on)
            }),
            |h, cell| h.key_counted_on = day_of(cell),
        ),
    ],
};

/// The limits and counts of an account or of a key: as they were read, and as they become.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    limits: SpendingLimits,
    was: Option<Spent>,
    now: Option<Spent>,
}

impl Counted {
    fn of(spending: Option<&Spending>, changed_from: Option<Spent>) -> Self {
        let Some(Spending { limits, spent }) = spending else { return Self::default() };
        let (limits, began) = (*limits, |spent: Spent| spent.began().then_some(spent));
        Self { limits, was: began(changed_from.unwrap_or(*spent)), now: began(*spent) }
    }

    fn spending(self) -> Option<Box<Spending>> {
        let was = self.was.unwrap_or_default();
        let on = self.was.map(|was| was.on.0);
        Spending::of(self.limits, on, was.day.0, was.month.0)
    }

    fn found_on(&mut self, cell: &Cell<'_>) {
        self.was = day_of(cell).map(|on| Spent { on, ..Spent::default() });
    }

    fn found(&mut self, set: impl FnOnce(&mut Spent)) {
        if let Some(was) = &mut self.was {
            set(was);
        }
    }
}

fn spent(spent: Option<Spent>, part: impl FnOnce(Spent) -> Quota) -> Cell<'static> {
    Cell::Int(spent.map_or(0, |spent| part(spent).0))
}

/// The columns of spending limits, which users and keys share.
macro_rules! with_spending {
    ($($column:expr),* $(,)?) => {
        &[
            $($column,)*
            read(
                written("daily", Kind::BigInt, Role::Seen("t.daily_limit"), LIMITED, |r| {
                    quota(r.counted.limits.daily)
                }),
                |r, cell| r.counted.limits.daily = cell.int().map(Quota),
            ),
            read(
                written("monthly", Kind::BigInt, Role::Seen("t.monthly_limit"), LIMITED, |r| {
                    quota(r.counted.limits.monthly)
                }),
                |r, cell| r.counted.limits.monthly = cell.int().map(Quota),
            ),
            read(
                written("on_was", Kind::Integer, Role::Seen("t.spent_on"), LIMITED, |r| {
                    day(r.counted.was.map(|was| was.on))
                }),
                |r, cell| r.counted.found_on(cell),
            ),
            read(
                written("day_was", Kind::BigInt, Role::Seen(
                    "CASE WHEN t.spent_on IS NULL THEN 0 ELSE t.spent_day END"
                ), LIMITED, |r| spent(r.counted.was, |was| was.day)),
                |r, cell| r.counted.found(|was| was.day = amount_of(cell)),
            ),
            read(
                written("month_was", Kind::BigInt, Role::Seen(
                    "CASE WHEN t.spent_on IS NULL THEN 0 ELSE t.spent_month END"
                ), LIMITED, |r| spent(r.counted.was, |was| was.month)),
                |r, cell| r.counted.found(|was| was.month = amount_of(cell)),
            ),
            written("spent_on", Kind::Integer, Role::Mutable, LIMITED, |r| {
                day(r.counted.now.map(|now| now.on))
            }),
            written("spent_day", Kind::BigInt, Role::Mutable, LIMITED, |r| {
                spent(r.counted.now, |now| now.day)
            }),
            written("spent_month", Kind::BigInt, Role::Mutable, LIMITED, |r| {
                spent(r.counted.now, |now| now.month)
            }),
        ]
    };
}

/// No limit, and no count.
const FREE: &str = "t.daily_limit IS NULL AND t.monthly_limit IS NULL AND t.spent_on IS NULL";

/// An account as it was read, and how it changes.
#[derive(Clone, Debug)]
pub(crate) struct AccountMove {
    pub id: UserId,
    pub username: Arc<str>,
    pub quota_was: Quota,
    pub usable: bool,
    pub delta: Quota,
    pub used: Quota,
    pub requests: i64,
    counted: Counted,
}

impl Default for AccountMove {
    fn default() -> Self {
        Self {
            id: UserId(0),
            username: "".into(),
            quota_was: Quota::ZERO,
            usable: false,
            delta: Quota::ZERO,
            used: Quota::ZERO,
            requests: 0,
            counted: Counted::default(),
        }
    }
}

impl AccountMove {
    /// `account` as a batch leaves it, and how the batch changed it.
    pub(crate) fn new(account: &Account, change: &crate::book::AccountChange) -> Self {
        Self {
            id: account.id,
            username: account.username.clone(),
            quota_was: Quota(account.quota.0.wrapping_sub(change.delta.0)),
            usable: account.usable,
            delta: change.delta,
            used: change.used_delta,
            requests: change.requests,
            counted: Counted::of(account.spending.as_deref(), change.spent_was),
        }
    }

    /// The account as it was read.
    pub(crate) fn found(self) -> Account {
        Account {
            id: self.id,
            username: self.username,
            quota: self.quota_was,
            usable: self.usable,
            spending: self.counted.spending(),
        }
    }
}

/// Accounts.
pub(crate) const ACCOUNTS: TableSchema<AccountMove> = TableSchema {
    name: "users",
    free_guard: FREE,
    also_set: "revision = t.revision + 1",
    columns: with_spending![
        read(written("id", Kind::BigInt, Role::Key, ALWAYS, |a| Cell::Int(a.id.0)), |a, cell| a
            .id =
            UserId(cell.int().unwrap_or_default()),),
        read(
            written("username", Kind::Text, Role::Seen("t.username"), ALWAYS, |a| {
                (&*a.username).into()
            }),
            |a, cell| a.username = cell.text().into(),
        ),
        read(
            written("quota_was", Kind::BigInt, Role::Seen("t.quota"), ALWAYS, |a| {
                Cell::Int(a.quota_was.0)
            }),
            |a, cell| a.quota_was = amount_of(cell),
        ),
        read(
            written(
                "usable",
                Kind::Bool,
                Role::Seen("(t.status = 1 AND t.deleted_at IS NULL)"),
                ALWAYS,
                |a| Cell::Bool(a.usable),
            ),
            |a, cell| a.usable = cell.is_true(),
        ),
        written("delta", Kind::BigInt, Role::Add("quota"), ALWAYS, |a| Cell::Int(a.delta.0)),
        written("used", Kind::BigInt, Role::Add("used_quota"), ALWAYS, |a| Cell::Int(a.used.0)),
        written("requests", Kind::BigInt, Role::Add("request_count"), ALWAYS, |a| {
            Cell::Int(a.requests)
        }),
    ],
};

/// A key's own limit as it was read, and how it changes.
#[derive(Clone, Debug)]
pub(crate) struct KeyMove {
    pub id: KeyId,
    pub remain_was: Quota,
    pub unlimited: bool,
    pub delta: Quota,
    counted: Counted,
}

impl Default for KeyMove {
    fn default() -> Self {
        Self {
            id: KeyId(0),
            remain_was: Quota::ZERO,
            unlimited: false,
            delta: Quota::ZERO,
            counted: Counted::default(),
        }
    }
}

impl KeyMove {
    /// `key` as a batch leaves it, and how the batch changed it.
    pub(crate) fn new(key: &KeyLimit, change: &crate::book::KeyChange) -> Self {
        Self {
            id: key.id,
            remain_was: Quota(key.remain.0.wrapping_sub(change.delta.0)),
            unlimited: key.unlimited,
            delta: change.delta,
            counted: Counted::of(key.spending.as_deref(), change.spent_was),
        }
    }

    /// The limit as it was read.
    pub(crate) fn found(self) -> KeyLimit {
        let spending = self.counted.spending();
        KeyLimit { id: self.id, remain: self.remain_was, unlimited: self.unlimited, spending }
    }
}

/// Keys with a limit of their own.
pub(crate) const KEYS: TableSchema<KeyMove> = TableSchema {
    name: "tokens",
    free_guard: "",
    also_set: "",
    columns: with_spending![
        read(written("id", Kind::BigInt, Role::Key, ALWAYS, |k| Cell::Int(k.id.0)), |k, cell| k
            .id =
            KeyId(cell.int().unwrap_or_default()),),
        read(
            written("remain_was", Kind::BigInt, Role::Seen("t.remain_quota"), ALWAYS, |k| {
                Cell::Int(k.remain_was.0)
            }),
            |k, cell| k.remain_was = amount_of(cell),
        ),
        read(
            written("unlimited", Kind::Bool, Role::Seen("t.unlimited_quota"), ALWAYS, |k| {
                Cell::Bool(k.unlimited)
            }),
            |k, cell| k.unlimited = cell.is_true(),
        ),
        written("delta", Kind::BigInt, Role::Add("remain_quota"), ALWAYS, |k| {
            Cell::Int(k.delta.0)
        }),
    ],
};

/// Lines of the journal. They are only inserted.
pub(crate) const LINES: TableSchema<LineRow> = TableSchema {
    name: "logs",
    free_guard: "",
    also_set: "",
    columns: &[
        written("user_id", Kind::BigInt, Role::Fixed, ALWAYS, |l| Cell::Int(l.user_id.0)),
        written("username", Kind::Text, Role::Fixed, ALWAYS, |l| (&*l.username).into()),
        written("created_at", Kind::Time, Role::Fixed, ALWAYS, |l| Cell::Time(l.created_at)),
        written("type", Kind::Text, Role::Fixed, ALWAYS, |l| l.kind.as_str().into()),
        written("model_name", Kind::Text, Role::Fixed, ALWAYS, |l| (&*l.model).into()),
        written("quota", Kind::BigInt, Role::Fixed, ALWAYS, |l| Cell::Int(l.quota.0)),
        written("prompt_tokens", Kind::BigInt, Role::Fixed, ALWAYS, |l| {
            Cell::Int(l.prompt_tokens())
        }),
        written("completion_tokens", Kind::BigInt, Role::Fixed, ALWAYS, |l| {
            Cell::Int(l.completion_tokens())
        }),
        written("channel_id", Kind::BigInt, Role::Fixed, ALWAYS, |l| {
            l.channel_id.map(|id| id.0).into()
        }),
        written("token_id", Kind::BigInt, Role::Fixed, ALWAYS, |l| l.key_id.map(|id| id.0).into()),
        written("request_id", Kind::Text, Role::Fixed, ALWAYS, |l| (&*l.request_id).into()),
        written("use_time_ms", Kind::BigInt, Role::Fixed, ALWAYS, |l| Cell::Int(l.use_time_ms)),
        written("delta", Kind::BigInt, Role::Fixed, ALWAYS, |l| Cell::Int(l.delta.0)),
        written("used_delta", Kind::BigInt, Role::Fixed, ALWAYS, |l| Cell::Int(l.used_delta.0)),
        written("hold_id", Kind::Uuid, Role::Fixed, ALWAYS, |l| {
            l.hold_id.map_or(Cell::Null, |id| Cell::Uuid(id.0))
        }),
        written("held", Kind::BigInt, Role::Fixed, ALWAYS, |l| quota(l.held)),
        written("price_id", Kind::BigInt, Role::Fixed, ALWAYS, |l| l.price_id.into()),
        written("content", Kind::Text, Role::Fixed, DETAILED, |l| (&*l.content).into()),
        written("other", Kind::Json, Role::Fixed, DETAILED, |l| {
            l.other().map_or(Cell::Null, |other| Cell::Text(other.into()))
        }),
        written("reference", Kind::Text, Role::Fixed, DETAILED, |l| {
            l.reference.as_deref().map_or(Cell::Null, Cell::from)
        }),
        written("counted_on", Kind::Integer, Role::Fixed, LIMITED, |l| day(l.counted_on)),
        written("key_counted_on", Kind::Integer, Role::Fixed, LIMITED, |l| day(l.key_counted_on)),
    ],
};
