//! What can be asked of the ledger, and what it answers.

use crate::redemption::Redemption;
use crate::task_rows::{NewTask, TaskRecord};
use domain::{
    ChannelId, FrozenPrice, HoldId, KeyId, NodeId, Quota, RedemptionId, TaskStatus, UnixMs, Usage,
    UserId,
};
use serde::Serialize;
use std::sync::Arc;
use store::{Row, StoreError};

/// A wish to put money aside before a call.
#[derive(Clone, Debug)]
pub struct HoldRequest {
    /// UUIDv7, made by the caller.
    pub hold_id: HoldId,
    /// Whose balance.
    pub user_id: UserId,
    /// Key that called.
    pub key_id: KeyId,
    /// Whether the key has a limit of its own. The key's row decides; this says whether to ask it.
    pub key_is_limited: bool,
    /// Channel chosen so far.
    pub channel_id: Option<ChannelId>,
    /// Model asked for.
    pub model: Arc<str>,
    /// `X-Request-Id` of the call.
    pub request_id: Arc<str>,
    /// How much.
    pub amount: Quota,
    /// The price, frozen.
    pub price: Arc<FrozenPrice>,
    /// From when the hold may be expired, once nobody is at work on it.
    pub deadline_at: UnixMs,
    /// The task that is made with it, and that it belongs to from then on.
    pub task: Option<Box<NewTask>>,
}

/// How a delivered call is charged.
#[derive(Clone, Debug, Default)]
pub struct Settlement {
    /// What it costs.
    pub charge: Quota,
    /// What it used, where known.
    pub usage: Option<Usage>,
    /// Channel that served it.
    pub channel_id: Option<ChannelId>,
    /// How long it took.
    pub use_time_ms: i64,
    /// Anything worth telling about the charge.
    pub note: Option<String>,
    /// Reply to keep for a repeated `Idempotency-Key`.
    pub reply: Option<KeptReply>,
    /// How the task ended that the hold belongs to.
    pub task: Option<Box<TaskEnd>>,
}

/// How a task ended.
#[derive(Clone, Debug, Serialize)]
pub struct TaskEnd {
    /// Completed or failed.
    pub status: TaskStatus,
    /// The upstream's own word; `None`: as it was.
    pub upstream_status: Option<String>,
    /// How far it got; `None`: as it was.
    pub progress: Option<String>,
    /// Why it failed.
    pub fail_reason: String,
    /// What the upstream said of it last, sealed; `None`: as it was.
    pub data: Option<String>,
    /// Of what the upstream said last.
    pub fingerprint: Option<i64>,
}

impl TaskEnd {
    /// It ended well.
    #[must_use]
    pub const fn completed() -> Self {
        Self::of(TaskStatus::Completed)
    }

    /// It ended badly.
    #[must_use]
    pub fn failed(reason: impl Into<String>) -> Self {
        Self { fail_reason: reason.into(), ..Self::of(TaskStatus::Failed) }
    }

    const fn of(status: TaskStatus) -> Self {
        Self {
            status,
            upstream_status: None,
            progress: None,
            fail_reason: String::new(),
            data: None,
            fingerprint: None,
        }
    }
}

/// A reply kept for clients that repeat their request: stored in the settling transaction.
#[derive(Clone, Debug)]
pub struct KeptReply {
    /// Whose request.
    pub user_id: UserId,
    /// SHA-256 of the client's key, in hex.
    pub idempotency_key: String,
    /// The reply, encrypted; `None` when it was too large to keep.
    pub sealed: Option<String>,
}

/// Why a hold is given back whole.
#[derive(Clone, Debug, Default)]
pub struct Release {
    /// In one word: `upstream_error`, `no_channel`, …
    pub reason: &'static str,
    /// Channel that was asked last.
    pub channel_id: Option<ChannelId>,
    /// How long it took.
    pub use_time_ms: i64,
    /// Idempotency claim to forget, so that the client may try again: user and hashed key.
    pub forget_reply: Option<(UserId, String)>,
    /// How the task ended that the hold belongs to.
    pub task: Option<Box<TaskEnd>>,
}

/// An upstream has taken a task.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What it said.
    pub task: TaskRecord,
    /// What the hold should reach; it stays as it is where the money isn't there.
    pub hold: Option<Quota>,
    /// Reply to keep for a repeated `Idempotency-Key`.
    pub reply: Option<KeptReply>,
}

/// A movement of money made by an operator.
#[derive(Clone, Debug)]
pub struct Movement {
    /// Whose balance.
    pub user_id: UserId,
    /// How much; an adjustment may be negative.
    pub amount: Quota,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndState {
    /// Charged.
    Settled,
    /// Given back whole.
    Released,
    /// Given back whole by the sweeper: nobody knows how the call ended.
    Expired,
}

impl EndState {
    /// The word in the database.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }
}

/// The end of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// How it ended.
    pub state: EndState,
    /// What was charged.
    pub charged: Quota,
    /// What went back.
    pub refunded: Quota,
    /// What was taken beyond the hold.
    pub overrun: Quota,
    /// Somebody had ended it before; this is how.
    pub repeated: bool,
}

/// Where a hold and its money stand: enough to find and lock all its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HoldRef {
    pub hold_id: HoldId,
    pub user_id: UserId,
    /// Set when the hold is part of a limit of the key's own.
    pub limited_key: Option<KeyId>,
}

impl HoldRef {
    /// From `key_id`, `key_amount` and `key_counted_on` of a hold's row.
    pub fn read(row: &Row, hold_id: HoldId, user_id: UserId) -> Result<Self, StoreError> {
        let has = |column| Ok::<_, StoreError>(row.get::<Option<i64>>(column)?.is_some());
        let key_id = KeyId(row.get("key_id")?);
        let limited_key = (has("key_amount")? || has("key_counted_on")?).then_some(key_id);
        Ok(Self { hold_id, user_id, limited_key })
    }
}

/// One operation, as a lane carries it out.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Hold(HoldRequest, NodeId),
    Grow(HoldRef, Quota),
    Record(HoldRef, Box<Taken>),
    Settle(HoldRef, Settlement),
    Release(HoldRef, Release),
    Expire(HoldRef),
    Abandon(HoldRef),
    Deposit(Movement),
    Adjust(Movement),
    Refund(HoldRef, Movement),
    Redeem(Redemption),
}

impl Op {
    pub fn user_id(&self) -> UserId {
        match self {
            Self::Hold(request, _) => request.user_id,
            Self::Deposit(movement) | Self::Adjust(movement) => movement.user_id,
            Self::Redeem(redemption) => redemption.user_id,
            _ => self.hold_ref().map_or(UserId(0), |hold| hold.user_id),
        }
    }

    /// The existing hold that this is about.
    pub const fn hold_ref(&self) -> Option<HoldRef> {
        match self {
            Self::Grow(hold, _)
            | Self::Record(hold, _)
            | Self::Settle(hold, _)
            | Self::Release(hold, _)
            | Self::Expire(hold)
            | Self::Abandon(hold)
            | Self::Refund(hold, _) => Some(*hold),
            Self::Hold(..) | Self::Deposit(_) | Self::Adjust(_) | Self::Redeem(_) => None,
        }
    }

    /// The code that is redeemed.
    pub const fn code(&self) -> Option<RedemptionId> {
        match self {
            Self::Redeem(redemption) => Some(redemption.id),
            _ => None,
        }
    }

    /// The key whose limit is touched.
    pub fn limited_key(&self) -> Option<KeyId> {
        match self {
            Self::Hold(request, _) => request.key_is_limited.then_some(request.key_id),
            _ => self.hold_ref().and_then(|hold| hold.limited_key),
        }
    }

    /// The same without its key's own limit: the key is gone.
    pub fn without_key(mut self) -> Self {
        match &mut self {
            Self::Grow(hold, _)
            | Self::Record(hold, _)
            | Self::Settle(hold, _)
            | Self::Release(hold, _)
            | Self::Expire(hold)
            | Self::Abandon(hold)
            | Self::Refund(hold, _) => hold.limited_key = None,
            Self::Hold(..) | Self::Deposit(_) | Self::Adjust(_) | Self::Redeem(_) => {}
        }
        self
    }

    /// Whether the work is done and the money must follow, however long it takes. Other operations
    /// give up, and say so.
    pub const fn must_happen(&self) -> bool {
        matches!(self, Self::Record(..) | Self::Settle(..) | Self::Release(..) | Self::Abandon(_))
    }
}

/// What an operation came to, as the book sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A hold was made; `key_limited` says whether the key's own limit was touched.
    Held { key_limited: bool },
    /// A hold grew by so much.
    Grown(Quota),
    /// A hold was large enough, or was abandoned.
    Done,
    /// A hold ended.
    Closed(Closed),
    /// A balance was moved; this is the new one.
    Balance(Quota),
}
