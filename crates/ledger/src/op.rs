//! The operations of the ledger, and their results.

use crate::journal::LineKind;
use crate::redemption::Redemption;
use crate::task::{Charge, NewTask, TaskEnd, TaskRecord, TaskRef};
use domain::{
    ChannelId, ChargeNote, FrozenPrice, HoldId, KeyId, NodeId, Quota, Reported, TaskUid, UnixMs,
    Usage, UserId,
};
use serde::Serialize;
use std::sync::Arc;
use uuid::Uuid;

/// A request to hold money for a call.
#[derive(Clone, Debug)]
pub struct HoldRequest {
    /// UUIDv7, made by the caller. A repeated request returns the first one's result.
    pub hold_id: HoldId,
    /// The owner of the balance.
    pub user_id: UserId,
    /// Key of the call.
    pub key_id: KeyId,
    /// Whether the key has a limit of its own. The key's row decides; this tells whether to read
    /// it.
    pub key_is_limited: bool,
    /// Channel chosen so far.
    pub channel_id: Option<ChannelId>,
    /// Requested model.
    pub model: Arc<str>,
    /// `X-Request-Id` of the call.
    pub request_id: Arc<str>,
    /// The amount.
    pub amount: Quota,
    /// The frozen price.
    pub price: Arc<FrozenPrice>,
    /// When the hold is given back if it is abandoned.
    pub deadline_at: UnixMs,
    /// The task that is created with it, and that it belongs to from then on.
    pub task: Option<Box<NewTask>>,
}

/// How a delivered call is charged.
#[derive(Clone, Debug, Default)]
pub struct Settlement {
    /// Its cost.
    pub charge: Quota,
    /// Its usage, where known.
    pub usage: Option<Usage>,
    /// Channel that served it.
    pub channel_id: Option<ChannelId>,
    /// How long it took.
    pub use_time_ms: i64,
    /// Why that is not what its usage comes to: the text of the journal line.
    pub note: Option<ChargeNote>,
    /// Reply to store for a repeated `Idempotency-Key`.
    pub reply: Option<KeptReply>,
}

/// A reply kept for clients that repeat their request: stored in the settling transaction.
#[derive(Clone, Debug)]
pub struct KeptReply {
    /// The user.
    pub user_id: UserId,
    /// SHA-256 of the client's key, in hex.
    pub idempotency_key: String,
    /// The reply, encrypted; `None` when it was too large to keep.
    pub sealed: Option<String>,
}

/// Why a hold is released.
#[derive(Clone, Debug, Default)]
pub struct Release {
    /// A label: `upstream_error`, `no_channel`, …
    pub reason: &'static str,
    /// What the upstream said of it, for the line.
    pub said: Option<String>,
    /// Channel that was tried last.
    pub channel_id: Option<ChannelId>,
    /// How long it took.
    pub use_time_ms: i64,
    /// Idempotency claim to delete, so that the client may retry: user and hashed key.
    pub forget_reply: Option<(UserId, String)>,
}

/// An upstream has accepted a task.
#[derive(Clone, Debug)]
pub struct AcceptedTask {
    /// What it reported.
    pub task: TaskRecord,
    /// What the hold should grow to; it stays as it is where the balance is too small.
    pub hold: Option<Quota>,
    /// Reply to store for a repeated `Idempotency-Key`.
    pub reply: Option<KeptReply>,
}

/// A movement of money made by an operator.
#[derive(Clone, Debug)]
pub struct Movement {
    /// The owner of the balance.
    pub user_id: UserId,
    /// The amount; an adjustment may be negative.
    pub amount: Quota,
    /// The operator's reason.
    pub reason: String,
    /// The operator.
    pub by: String,
    /// Identifies the movement: a repetition with the same reference, of the same user, moves
    /// nothing and returns the first one's result. `None`: every request is a movement of its own.
    pub reference: Option<Arc<str>>,
    /// What the admin journal says about it, in the same transaction; `None`: nothing.
    pub told: Option<Told>,
}

/// A line of the admin journal.
#[derive(Clone, Debug)]
pub struct Told {
    /// Who acted.
    pub user_id: UserId,
    /// In words.
    pub content: String,
    /// Details for programs: a JSON object.
    pub details: String,
}

/// The result of a movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The balance now.
    pub balance: Quota,
    /// It had been made before, under the same reference.
    pub repeated: bool,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndState {
    /// Charged.
    Settled,
    /// Released.
    Released,
    /// Released by the sweeper: the outcome of the call is unknown.
    Expired,
}

/// The end of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// How it ended.
    pub state: EndState,
    /// The amount charged.
    pub charged: Quota,
    /// The amount released.
    pub released: Quota,
    /// The amount taken beyond the hold.
    pub overrun: Quota,
    /// What its usage came to, where its price bounds the charge to less.
    pub bounded: Option<Reported>,
    /// It had ended before; this is how.
    pub repeated: bool,
}

/// A hold that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HoldRef {
    pub hold_id: HoldId,
    pub user_id: UserId,
}

/// What a settlement needs to know of its call when the row of its hold is lost.
#[derive(Clone, Debug)]
pub(crate) struct HoldTerms {
    pub key_id: KeyId,
    pub key_is_limited: bool,
    pub model: Arc<str>,
    pub request_id: Arc<str>,
    pub price_id: i64,
}

/// A hold to make.
#[derive(Clone, Debug)]
pub(crate) struct NewHold {
    pub request: HoldRequest,
    pub price_id: i64,
    pub node: NodeId,
}

/// The end of a task.
#[derive(Clone, Debug)]
pub(crate) struct Finish {
    pub task: TaskRef,
    pub charge: Charge,
    pub end: TaskEnd,
    /// Idempotency claim to delete.
    pub forget_reply: Option<(UserId, String)>,
    /// Nobody asks again: the caller, or the client that was told, takes the task for ended. A
    /// poller does ask again.
    pub must_complete: bool,
}

/// The reference of a movement, and the id of the request for it, by which a retry recognises its
/// own earlier commit.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub reference: Arc<str>,
    pub id: Uuid,
}

/// The charge that a refund gives back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChargeRef {
    /// `X-Request-Id` of the call.
    pub request_id: Arc<str>,
    /// Which of the calls of that id: clients choose it, and may choose the same again. None: the
    /// only one.
    pub hold_id: Option<HoldId>,
}

impl ChargeRef {
    /// As it is kept with the reference of the refund.
    pub(crate) fn name(&self) -> Arc<str> {
        match self.hold_id {
            Some(hold) => hold.to_string().into(),
            None => self.request_id.clone(),
        }
    }
}

impl From<Arc<str>> for ChargeRef {
    fn from(request_id: Arc<str>) -> Self {
        Self { request_id, hold_id: None }
    }
}

/// One operation, as a lane processes it. Each is repeatable: a repetition returns the first
/// result.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Hold(Box<NewHold>),
    Grow(HoldRef, Quota),
    Settle(HoldRef, Box<Settlement>, Arc<HoldTerms>),
    /// The flag tells whether the failed call leaves a line.
    Release(HoldRef, Release, bool),
    Expire(HoldRef),
    Abandon(HoldRef, Option<UnixMs>),
    Record(UserId, Box<AcceptedTask>),
    Finish(Box<Finish>),
    Move(Movement, LineKind, Entry),
    /// Of a charge.
    Refund(ChargeRef, Movement, Entry),
    Redeem(Redemption, Entry),
}

impl Op {
    pub(crate) fn user_id(&self) -> UserId {
        match self {
            Self::Hold(new) => new.request.user_id,
            Self::Grow(hold, _)
            | Self::Settle(hold, ..)
            | Self::Release(hold, ..)
            | Self::Expire(hold)
            | Self::Abandon(hold, _) => hold.user_id,
            Self::Record(user_id, _) => *user_id,
            Self::Finish(finish) => finish.task.user_id,
            Self::Move(movement, ..) | Self::Refund(_, movement, _) => movement.user_id,
            Self::Redeem(redemption, _) => redemption.user_id,
        }
    }

    /// The hold that this makes, changes or ends.
    pub(crate) fn hold_id(&self) -> Option<HoldId> {
        match self {
            Self::Hold(new) => Some(new.request.hold_id),
            Self::Grow(hold, _)
            | Self::Settle(hold, ..)
            | Self::Release(hold, ..)
            | Self::Expire(hold)
            | Self::Abandon(hold, _) => Some(hold.hold_id),
            Self::Record(..) | Self::Finish(_) => self.task().map(TaskUid::hold),
            Self::Move(..) | Self::Refund(..) | Self::Redeem(..) => None,
        }
    }

    /// The task that this records or ends.
    pub(crate) fn task(&self) -> Option<TaskUid> {
        match self {
            Self::Record(_, taken) => Some(taken.task.uid),
            Self::Finish(finish) => Some(finish.task.uid),
            _ => None,
        }
    }

    /// The reference of a movement.
    pub(crate) fn reference(&self) -> Option<&Arc<str>> {
        match self {
            Self::Move(.., entry) | Self::Refund(.., entry) | Self::Redeem(_, entry) => {
                Some(&entry.reference)
            }
            _ => None,
        }
    }

    /// Whether one statement, over rows without locks, can do this.
    pub(crate) fn fits_one_statement(&self) -> bool {
        match self {
            Self::Hold(new) => new.request.task.is_none(),
            Self::Settle(_, settlement, _) => settlement.reply.is_none(),
            Self::Release(_, release, _) => release.forget_reply.is_none(),
            Self::Grow(..) | Self::Expire(_) | Self::Abandon(..) => true,
            Self::Record(..)
            | Self::Finish(_)
            | Self::Move(..)
            | Self::Refund(..)
            | Self::Redeem(..) => false,
        }
    }

    /// Whether the work is done and the money must follow, however long it takes. Other operations
    /// fail with an error.
    pub(crate) fn must_complete(&self) -> bool {
        match self {
            Self::Record(..) | Self::Settle(..) | Self::Release(..) | Self::Abandon(..) => true,
            Self::Finish(finish) => finish.must_complete,
            Self::Hold(_)
            | Self::Grow(..)
            | Self::Expire(_)
            | Self::Move(..)
            | Self::Refund(..)
            | Self::Redeem(..) => false,
        }
    }
}

/// The Book's result of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpOutcome {
    /// A hold was made.
    Held,
    /// A hold grew by this amount.
    Grown(Quota),
    /// A hold was large enough, or was abandoned.
    Done,
    /// A hold ended.
    Closed(Closed),
    /// A balance was moved.
    Moved(Moved),
}
