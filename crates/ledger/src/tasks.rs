//! The life of a task's money: held with the task's row, grown when the upstream has taken it,
//! ended with it. A task without a price has a row and no hold; everything else is the same.

use crate::error::LedgerError;
use crate::hold::Hold;
use crate::lane::Answer;
use crate::ledger::Ledger;
use crate::op::{Closed, HoldRef, Op, Release, Settlement, Taken, TaskEnd};
use crate::task_rows::{EndedTask, NewTask, WithQuota, json_rows};
use domain::{ChannelId, FrozenPrice, Quota, TaskUid, UnixMs, Usage, UserId};
use serde::Serialize;
use store::{Row, Statement, StoreError, Value};

/// A task that is to be ended, or told of.
#[derive(Clone, Copy, Debug)]
pub struct TaskRef {
    /// Which.
    pub uid: TaskUid,
    /// Whose.
    pub user_id: UserId,
    /// Channel that has it.
    pub channel_id: ChannelId,
    /// Since when it has been at work.
    pub since: UnixMs,
}

/// What a task's end means for its hold.
#[derive(Clone, Debug)]
pub enum Charge {
    /// The frozen price: a call's, or that of this use. Where use is unknown, what is held.
    Price(Option<Usage>),
    /// What is held.
    Held,
    /// Nothing, for this reason in one word.
    Nothing(&'static str),
}

/// What ending a task came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishedTask {
    /// What was charged.
    pub charged: Quota,
    /// What went back.
    pub refunded: Quota,
    /// Somebody had ended it before; nothing was changed.
    pub repeated: bool,
}

impl From<Closed> for FinishedTask {
    fn from(closed: Closed) -> Self {
        let Closed { charged, refunded, repeated, .. } = closed;
        Self { charged, refunded, repeated }
    }
}

/// A task's hold, as it stands.
struct TaskHold {
    place: HoldRef,
    amount: Quota,
    price: FrozenPrice,
}

impl Ledger {
    /// Makes a task that costs nothing. One that costs something is made with its hold.
    ///
    /// # Errors
    /// When the database doesn't answer.
    pub async fn open_free_task(&self, task: NewTask) -> Result<(), LedgerError> {
        self.tell_of(&self.task_sql().insert, task).await?;
        Ok(())
    }

    /// The upstream has taken the task that this hold was made for. From here on the hold is the
    /// task's, and the receipt is void. Answers by how much the hold has grown.
    ///
    /// # Errors
    /// When the hold has ended already: the task was given up meanwhile.
    pub async fn record_task(&self, hold: &mut Hold, taken: Taken) -> Result<Quota, LedgerError> {
        hold.mark_ended();
        self.grown(Op::Record(hold.place, Box::new(taken))).await
    }

    /// The same for a task whose receipt is gone: a free one, or one that was submitted again.
    ///
    /// # Errors
    /// When the task has ended already.
    pub async fn record_task_again(
        &self,
        user_id: UserId,
        taken: Taken,
    ) -> Result<Quota, LedgerError> {
        match self.task_hold(taken.task.uid, user_id).await? {
            Some(hold) => self.grown(Op::Record(hold.place, Box::new(taken))).await,
            None => match self.tell_of(&self.task_sql().record, taken.task).await? {
                0 => Err(LedgerError::WrongState),
                _ => Ok(Quota::ZERO),
            },
        }
    }

    /// Ends a task, once: its row, its hold and the webhooks about it change together. A second
    /// end changes nothing, and is answered with the first one's charge.
    ///
    /// # Errors
    /// When the amount doesn't fit, or the ledger can't carry it out.
    pub async fn finish_task(
        &self,
        task: &TaskRef,
        charge: Charge,
        end: TaskEnd,
    ) -> Result<FinishedTask, LedgerError> {
        let Some(hold) = self.task_hold(task.uid, task.user_id).await? else {
            return self.finish_free_task(task, end).await;
        };
        let channel_id = Some(task.channel_id);
        let use_time_ms = self.clock().now().since_ms(task.since).max(0);
        let end = Some(Box::new(end));
        let op = match charge {
            Charge::Nothing(reason) => Op::Release(
                hold.place,
                Release { reason, channel_id, use_time_ms, task: end, ..Release::default() },
            ),
            Charge::Held => Op::Settle(
                hold.place,
                Settlement {
                    charge: hold.amount,
                    channel_id,
                    use_time_ms,
                    note: Some("settled at the hold".to_owned()),
                    task: end,
                    ..Settlement::default()
                },
            ),
            Charge::Price(usage) => {
                let (charge, note) = hold.charge_for(usage.as_ref());
                Op::Settle(
                    hold.place,
                    Settlement {
                        charge,
                        usage,
                        channel_id,
                        use_time_ms,
                        note,
                        task: end,
                        ..Settlement::default()
                    },
                )
            }
        };
        self.closed(op).await.map(Into::into)
    }

    /// Gives back what a task held whose row is gone or says that it has ended: somebody edited
    /// the table by hand.
    ///
    /// # Errors
    /// When the ledger can't carry it out.
    pub async fn release_stray_hold(
        &self,
        uid: TaskUid,
        user_id: UserId,
    ) -> Result<Option<FinishedTask>, LedgerError> {
        let Some(hold) = self.task_hold(uid, user_id).await? else { return Ok(None) };
        let release = Release { reason: "task_edited", ..Release::default() };
        self.closed(Op::Release(hold.place, release)).await.map(|closed| Some(closed.into()))
    }

    async fn finish_free_task(
        &self,
        task: &TaskRef,
        end: TaskEnd,
    ) -> Result<FinishedTask, LedgerError> {
        let sql = self.task_sql();
        let params = self.free_row(EndedTask { uid: task.uid, end });
        let ended = self
            .db()
            .write_all(vec![
                Statement::new(sql.end_free.clone(), params.clone()).expecting(1),
                Statement::new(sql.outbox.clone(), params),
            ])
            .await;
        let repeated = match ended {
            Ok(_) => false,
            Err(StoreError::RowCount { .. }) => true,
            Err(error) => return Err(error.into()),
        };
        Ok(FinishedTask { charged: Quota::ZERO, refunded: Quota::ZERO, repeated })
    }

    async fn task_hold(
        &self,
        uid: TaskUid,
        user_id: UserId,
    ) -> Result<Option<TaskHold>, LedgerError> {
        let sql = "SELECT key_id, key_amount, key_counted_on, amount, price FROM holds
            WHERE id = $1";
        let rows = self.db().read(sql, &[Value::Uuid(uid.0)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(TaskHold::read(row, uid, user_id)?))
    }

    async fn tell_of(&self, sql: &str, told: impl Serialize) -> Result<u64, StoreError> {
        self.db().execute(sql, &self.free_row(told)).await
    }

    fn free_row(&self, told: impl Serialize) -> Vec<Value> {
        let rows = json_rows(&[WithQuota { told, quota: Quota::ZERO }]);
        vec![Value::Json(rows), Value::Time(self.clock().now())]
    }

    async fn grown(&self, op: Op) -> Result<Quota, LedgerError> {
        match self.carry_out(op).await? {
            Answer::Grown(more) => Ok(more),
            _ => Err(LedgerError::WrongState),
        }
    }
}

impl TaskHold {
    fn read(row: &Row, uid: TaskUid, user_id: UserId) -> Result<Self, StoreError> {
        let price: String = row.get("price")?;
        let price = serde_json::from_str(&price).map_err(|e| StoreError::Other(e.to_string()))?;
        let place = HoldRef::read(row, uid.hold(), user_id)?;
        Ok(Self { place, amount: row.get("amount")?, price })
    }

    /// The price of what was used, with a word about it where it isn't the plain formula.
    fn charge_for(&self, usage: Option<&Usage>) -> (Quota, Option<String>) {
        let nothing_known = Usage::default();
        let counted = match usage {
            Some(usage) => self.price.charge(usage),
            None if self.price.is_by_use() => {
                return (self.amount, Some("settled at the hold: no usage".to_owned()));
            }
            None => self.price.charge(&nothing_known),
        };
        match counted {
            Ok(charge) => (charge, None),
            Err(why) => (self.amount, Some(format!("settled at the hold: {why}"))),
        }
    }
}
