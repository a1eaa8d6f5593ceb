//! The receipt for a hold.

use crate::lane::{Job, Lanes};
use crate::op::{HoldRef, HoldRequest, Op, Release, TaskEnd};
use domain::{HoldId, Quota, UserId};
use std::fmt;
use std::sync::Arc;

/// Money put aside for one call. Whoever has it must end it, once.
///
/// A `Hold` that is dropped before it was ended doesn't leak: while nothing was sent upstream it is
/// given back at once; after [`Hold::mark_sent`] nobody knows how the call ended, so it is left to
/// the sweeper, which gives it back at its deadline and says `unknown_outcome`. A task that was
/// made with it ends as failed.
pub struct Hold {
    lanes: Arc<Lanes>,
    pub(crate) place: HoldRef,
    pub(crate) amount: Quota,
    sent: bool,
    ended: bool,
    /// A task was made with it: no sweeper ends it.
    for_task: bool,
}

impl Hold {
    pub(crate) fn new(lanes: Arc<Lanes>, request: &HoldRequest, key_limited: bool) -> Self {
        Self {
            lanes,
            place: HoldRef {
                hold_id: request.hold_id,
                user_id: request.user_id,
                limited_key: key_limited.then_some(request.key_id),
            },
            amount: request.amount,
            sent: false,
            ended: false,
            for_task: request.task.is_some(),
        }
    }

    /// Its id, which is also the `Idempotency-Key` sent upstream.
    #[must_use]
    pub const fn id(&self) -> HoldId {
        self.place.hold_id
    }

    /// Whose balance it was taken from.
    #[must_use]
    pub const fn user_id(&self) -> UserId {
        self.place.user_id
    }

    /// How much it holds.
    #[must_use]
    pub const fn amount(&self) -> Quota {
        self.amount
    }

    /// Something billable is about to be sent upstream.
    pub const fn mark_sent(&mut self) {
        self.sent = true;
    }

    /// The hold's end is in the ledger's hands now.
    pub(crate) const fn mark_ended(&mut self) {
        self.ended = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let reason = if self.sent { "unknown_outcome" } else { "not_sent" };
        let task = self.for_task.then(|| Box::new(TaskEnd::failed(reason)));
        let op = if self.sent && task.is_none() {
            Op::Abandon(self.place)
        } else {
            Op::Release(self.place, Release { reason, task, ..Release::default() })
        };
        self.lanes.submit(Job::new(op, None));
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("id", &self.id()).field("amount", &self.amount).finish()
    }
}
