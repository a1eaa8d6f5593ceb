//! The receipt for a hold.

use crate::op::{Finish, HoldRef, HoldTerms, NewHold, Op, Release};
use crate::task::{Charge, TaskEnd, TaskRef};
use domain::{HoldId, Quota, UnixMs, UserId};
use std::fmt;
use std::sync::Arc;

/// The queue for the end of a dropped hold.
pub(crate) trait EndQueue: Send + Sync {
    /// Queues an operation that has no caller.
    fn queue(self: Arc<Self>, op: Op);

    /// Whether a failed call of this user leaves a line in the journal.
    fn may_log_failure(&self, user_id: UserId) -> bool;
}

/// Money held for one call. Its owner must end it, once.
///
/// A `Hold` that is dropped before it was ended doesn't leak: while nothing was sent upstream it is
/// released at once; after [`Hold::mark_sent`] the outcome of the call is unknown, so it is left to
/// the sweeper, which releases it at its deadline. A task that was created with it ends as failed.
pub struct Hold {
    queue: Arc<dyn EndQueue>,
    pub(crate) hold_ref: HoldRef,
    pub(crate) terms: Arc<HoldTerms>,
    pub(crate) amount: Quota,
    sent: bool,
    ended: bool,
    /// The task that was created with it: the sweeper does not end it.
    task: Option<TaskRef>,
}

impl Hold {
    pub(crate) fn new(queue: Arc<dyn EndQueue>, new: &NewHold, since: UnixMs) -> Self {
        let request = &new.request;
        Self {
            queue,
            hold_ref: HoldRef { hold_id: request.hold_id, user_id: request.user_id },
            terms: Arc::new(HoldTerms {
                key_id: request.key_id,
                key_is_limited: request.key_is_limited,
                model: request.model.clone(),
                request_id: request.request_id.clone(),
                price_id: new.price_id,
            }),
            amount: request.amount,
            sent: false,
            ended: false,
            task: request.task.as_ref().map(|task| task_ref(task.uid, request.user_id, since)),
        }
    }

    /// Its id, which is also the `Idempotency-Key` sent upstream.
    #[must_use]
    pub const fn id(&self) -> HoldId {
        self.hold_ref.hold_id
    }

    /// `X-Request-Id` of its call.
    #[must_use]
    pub fn request_id(&self) -> &Arc<str> {
        &self.terms.request_id
    }

    /// The owner of the balance.
    #[must_use]
    pub const fn user_id(&self) -> UserId {
        self.hold_ref.user_id
    }

    /// The amount held.
    #[must_use]
    pub const fn amount(&self) -> Quota {
        self.amount
    }

    /// Something billable is about to be sent upstream.
    pub const fn mark_sent(&mut self) {
        self.sent = true;
    }

    /// The operation that ends it has been queued.
    pub(crate) const fn mark_ended(&mut self) {
        self.ended = true;
    }
}

fn task_ref(uid: domain::TaskUid, user_id: UserId, since: UnixMs) -> TaskRef {
    TaskRef { uid, user_id, channel_id: None, since }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let reason = if self.sent { domain::UNKNOWN_OUTCOME } else { "not_sent" };
        let op = match self.task {
            Some(task) => Op::Finish(Box::new(Finish {
                task,
                charge: Charge::Nothing(reason),
                end: TaskEnd::failed(reason),
                forget_reply: None,
                must_complete: true,
            })),
            None if self.sent => Op::Abandon(self.hold_ref, None),
            None => {
                let leaves_line = self.queue.may_log_failure(self.hold_ref.user_id);
                let release = Release { reason, ..Release::default() };
                Op::Release(self.hold_ref, release, leaves_line)
            }
        };
        Arc::clone(&self.queue).queue(op);
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("id", &self.id()).field("amount", &self.amount).finish()
    }
}
