//! The rows that the Book decides over, as a lane loads them.

use crate::op::{ChargeRef, EndState};
use crate::redemption::CodeRow;
use crate::spending::{Day, Spending};
use domain::{
    ChannelId, FrozenPrice, HoldId, KeyId, NodeId, Quota, RedemptionId, TaskUid, UnixMs, UserId,
};
use foldhash::{HashMap, HashSet};
use std::sync::Arc;
use uuid::Uuid;

/// A user's row.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub id: UserId,
    pub username: Arc<str>,
    pub quota: Quota,
    /// Enabled and not deleted.
    pub usable: bool,
    pub spending: Option<Box<Spending>>,
}

/// A key's row. Only loaded for keys that have a limit of their own.
#[derive(Clone, Debug)]
pub(crate) struct KeyLimit {
    pub id: KeyId,
    pub remain: Quota,
    pub unlimited: bool,
    pub spending: Option<Box<Spending>>,
}

/// A hold's row. It is open: a hold's row is deleted at its end.
#[derive(Clone, Debug)]
pub(crate) struct HoldRow {
    pub id: HoldId,
    pub user_id: UserId,
    pub key_id: KeyId,
    pub channel_id: Option<ChannelId>,
    pub model: Arc<str>,
    pub request_id: Arc<str>,
    pub amount: Quota,
    /// The amount taken from the key's own limit; `None`: it had none.
    pub key_amount: Option<Quota>,
    /// The day on which it counts as spent by the user, and by the key; `None`: it isn't counted.
    pub counted_on: Option<Day>,
    pub key_counted_on: Option<Day>,
    pub price_id: i64,
    /// It belongs to a task, and ends with it.
    pub for_task: bool,
    /// The node that owns its call; `None`: only its deadline will end it.
    pub node: Option<NodeId>,
    pub deadline_at: UnixMs,
    pub created_at: UnixMs,
    /// The amount in the database; `None`: made in this batch.
    pub stored_amount: Option<Quota>,
    /// Changed in this batch.
    pub touched: bool,
}

impl Default for HoldRow {
    fn default() -> Self {
        Self {
            id: HoldId(Uuid::nil()),
            user_id: UserId(0),
            key_id: KeyId(0),
            channel_id: None,
            model: "".into(),
            request_id: "".into(),
            amount: Quota::ZERO,
            key_amount: None,
            counted_on: None,
            key_counted_on: None,
            price_id: 0,
            for_task: false,
            node: None,
            deadline_at: UnixMs(0),
            created_at: UnixMs(0),
            stored_amount: None,
            touched: false,
        }
    }
}

impl HoldRow {
    /// The key whose limit it counts against.
    pub(crate) fn limited_key(&self) -> Option<KeyId> {
        (self.key_amount.is_some() || self.key_counted_on.is_some()).then_some(self.key_id)
    }

    /// The row once it is written.
    pub(crate) fn stored(mut self) -> Self {
        self.stored_amount = Some(self.amount);
        self.touched = false;
        self
    }
}

/// How a hold ended that has no row any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndedHold {
    pub state: EndState,
    pub held: Quota,
    pub charged: Quota,
}

/// The end of a task, according to its row.
#[derive(Clone, Debug)]
pub(crate) struct TaskState {
    pub ended: bool,
    /// The upstream has given it an id.
    pub taken: bool,
    pub charged: Quota,
    /// What was held for it last; nothing for a free task.
    pub held: Quota,
    pub key_id: KeyId,
    pub model: Arc<str>,
    pub request_id: Arc<str>,
}

/// A settled call, according to its journal line, less its refunds.
#[derive(Clone, Debug)]
pub(crate) struct SettledCall {
    pub hold_id: HoldId,
    pub key_id: KeyId,
    pub channel_id: Option<ChannelId>,
    pub model: Arc<str>,
    pub counted_on: Option<Day>,
    pub key_counted_on: Option<Day>,
    /// What was charged and not refunded.
    pub charged: Quota,
    /// What was refunded.
    pub refunded: Quota,
}

/// A movement made under a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MadeMovement {
    pub kind: String,
    pub amount: Quota,
    /// Request, or hold, whose charge it refunds, or makes due again; empty: none.
    pub refund_of: Arc<str>,
    /// Which request for the movement made it.
    pub entry: Uuid,
}

impl MadeMovement {
    /// Whether a later request under the same reference means the same movement.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (&self.kind, self.amount, &self.refund_of) == (&other.kind, other.amount, &other.refund_of)
    }
}

/// All rows that a batch needs.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub accounts: HashMap<UserId, Account>,
    pub keys: HashMap<KeyId, KeyLimit>,
    pub holds: HashMap<HoldId, HoldRow>,
    pub codes: HashMap<RedemptionId, CodeRow>,
    pub tasks: HashMap<TaskUid, TaskState>,
    /// The frozen prices of the tasks' holds, by their id.
    pub prices: HashMap<i64, Arc<FrozenPrice>>,
    /// Holds that have ended, where that is known.
    pub ended: HashMap<HoldId, EndedHold>,
    /// Settled calls by their user and request: clients may choose request ids.
    pub settled: HashMap<(UserId, ChargeRef), SettledCall>,
    pub movements: HashMap<(UserId, Arc<str>), MadeMovement>,
    /// Rows that don't exist. A row that is neither here nor above is locked by another session.
    pub gone: HashSet<RowId>,
}

/// Identifies a row that an operation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RowId {
    User(UserId),
    Key(KeyId),
    Hold(HoldId),
    Code(RedemptionId),
}
