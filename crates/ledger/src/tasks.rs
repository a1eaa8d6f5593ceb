//! The front door for tasks. A task without a price has a row and no hold; everything else is the
//! same.

use crate::error::LedgerError;
use crate::hold::Hold;
use crate::lanes::OpAnswer;
use crate::ledger::Ledger;
use crate::op::{AcceptedTask, Closed, Finish, HoldRef, Op, Release};
use crate::task::{Charge, NewTask, TaskEnd, TaskRef, WithQuota};
use crate::task_rows::{TaskSql, json_rows};
use domain::{Quota, TaskUid, UserId};
use store::Value;

/// The result of ending a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishedTask {
    /// The amount charged.
    pub charged: Quota,
    /// The amount released.
    pub released: Quota,
    /// It had ended before; nothing was changed.
    pub repeated: bool,
}

impl From<Closed> for FinishedTask {
    fn from(closed: Closed) -> Self {
        let Closed { charged, released, repeated, .. } = closed;
        Self { charged, released, repeated }
    }
}

impl Ledger {
    /// Creates a task that costs nothing. A paid one is created with its hold.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_free_task(&self, task: NewTask) -> Result<(), LedgerError> {
        let sql = TaskSql::of(self.db().engine()).insert;
        let rows = json_rows(&[WithQuota { task, quota: Quota::ZERO }]);
        let params = [Value::Json(rows), Value::Time(self.clock().now())];
        self.db().execute(&sql, &params).await?;
        Ok(())
    }

    /// Records that the upstream has accepted the task that this hold was made for. From here on
    /// the hold belongs to the task, and the receipt is void. Returns by how much the hold has
    /// grown.
    ///
    /// # Errors
    /// When the task has ended already: it failed meanwhile.
    pub async fn record_task(
        &self,
        hold: &mut Hold,
        taken: AcceptedTask,
    ) -> Result<Quota, LedgerError> {
        hold.mark_ended();
        self.record_task_again(hold.user_id(), taken).await
    }

    /// The same for a task without a receipt: a free one, or one that was submitted again.
    ///
    /// # Errors
    /// When the task has ended already.
    pub async fn record_task_again(
        &self,
        user_id: UserId,
        taken: AcceptedTask,
    ) -> Result<Quota, LedgerError> {
        match self.carry_out(Op::Record(user_id, Box::new(taken))).await? {
            OpAnswer::Grown(more) => Ok(more),
            _ => Err(LedgerError::WrongState),
        }
    }

    /// Ends a task, once: its row, its hold and its webhooks change together. A second end changes
    /// nothing, and returns the first one's charge.
    ///
    /// # Errors
    /// When the task is unknown, or the ledger fails.
    pub async fn finish_task(
        &self,
        task: &TaskRef,
        charge: Charge,
        end: TaskEnd,
    ) -> Result<FinishedTask, LedgerError> {
        let (task, forget_reply) = (*task, None);
        let finish = Finish { task, charge, end, forget_reply, must_complete: false };
        self.closed(Op::Finish(Box::new(finish))).await.map(Into::into)
    }

    /// Ends a task that no upstream has accepted, with the hold that was made for it. The client's
    /// idempotency claim is deleted, so that it may retry. Completed even when the caller stops
    /// waiting.
    ///
    /// # Errors
    /// Those of [`Self::finish_task`].
    pub async fn fail_submission(
        &self,
        hold: &mut Hold,
        task: &TaskRef,
        release: Release,
        end: TaskEnd,
    ) -> Result<FinishedTask, LedgerError> {
        hold.mark_ended();
        let Release { reason, forget_reply, .. } = release;
        let charge = Charge::Nothing(reason);
        let task = *task;
        let finish = Finish { task, charge, end, forget_reply, must_complete: true };
        self.closed(Op::Finish(Box::new(finish))).await.map(Into::into)
    }

    /// Releases the hold of a task whose row was deleted, or was edited to have ended.
    ///
    /// # Errors
    /// When the ledger fails.
    pub async fn release_stray_hold(
        &self,
        uid: TaskUid,
        user_id: UserId,
    ) -> Result<FinishedTask, LedgerError> {
        let release = Release { reason: "task_edited", ..Release::default() };
        let hold = HoldRef { hold_id: uid.hold(), user_id };
        self.closed(Op::Release(hold, release, true)).await.map(Into::into)
    }
}
