//! The life of a task's money: held when the task's row is inserted, grown when the upstream has
//! accepted it, ended with it.

use super::calls::{HOLD_LOST, Settled, repeated};
use super::{Book, Found, OpRefusal, Verdict};
use crate::error::LedgerError;
use crate::journal::LineKind;
use crate::op::{AcceptedTask, Closed, EndState, Finish, OpOutcome, Settlement};
use crate::rows::{EndedHold, HoldRow, TaskState};
use crate::task::{Charge, EndedTask, TaskRef, WithQuota};
use domain::{ChargeNote, Quota, Usage, UserId};

impl Book {
    /// The upstream has accepted the task: from here on the hold belongs to the task. It grows to
    /// what it should be if the balance allows; the work is in flight either way.
    pub(super) fn record(&mut self, user_id: UserId, taken: &AcceptedTask) -> Verdict {
        let uid = taken.task.uid;
        self.check_turn(user_id)?;
        match self.rows.tasks.get(&uid) {
            None | Some(TaskState { ended: true, .. }) => {
                return Err(LedgerError::WrongState.into());
            }
            // A repetition: the reply to the first commit was lost.
            Some(TaskState { taken: true, .. }) => return Ok(OpOutcome::Grown(Quota::ZERO)),
            Some(_) => {}
        }
        let id = uid.hold();
        let held = match self.found(id)? {
            Found::Open(row) if row.user_id != user_id => {
                return Err(LedgerError::WrongState.into());
            }
            Found::Open(row) => Some(row.amount),
            // A task without a price has no hold. One that has lost its hold had one, says its row.
            Found::Ended(_) | Found::Lost => None,
        };
        let mut quota = self.rows.tasks.get(&uid).map_or(Quota::ZERO, |task| task.held);
        if let Some(held) = held {
            match taken.hold.map(|to| self.grow(id, to)).transpose() {
                Ok(_)
                | Err(OpRefusal::No(
                    LedgerError::InsufficientQuota { .. } | LedgerError::SpendingLimit(_),
                )) => {}
                Err(refusal) => return Err(refusal),
            }
            if let Some(row) = self.rows.holds.get_mut(&id) {
                row.channel_id = Some(taken.task.channel_id);
                row.touched = true;
                quota = row.amount;
            }
            debug_assert!(quota >= held, "a hold never shrinks");
        }
        if let Some(task) = self.rows.tasks.get_mut(&uid) {
            task.taken = true;
        }
        self.changes.recorded_tasks.push(WithQuota { task: taken.task.clone(), quota });
        self.changes.kept_replies.extend(taken.reply.clone());
        Ok(OpOutcome::Grown(Quota(quota.0 - held.unwrap_or(quota).0)))
    }

    /// Ends a task and its hold. Where the hold is gone, the task's row has the result.
    pub(super) fn finish(&mut self, finish: &Finish) -> Verdict {
        let uid = finish.task.uid;
        self.check_turn(finish.task.user_id)?;
        let row = match self.found(uid.hold())? {
            // The task's row was edited by hand.
            Found::Open(row) if row.user_id != finish.task.user_id => {
                return Err(LedgerError::WrongState.into());
            }
            Found::Open(row) => Some(row.clone()),
            Found::Ended(ended) => return Ok(OpOutcome::Closed(repeated(ended))),
            Found::Lost => None,
        };
        let closed = match (row, self.rows.tasks.get(&uid)) {
            (Some(row), _) => self.finish_paid(row, finish)?,
            (None, None) => return Err(LedgerError::UnknownHold.into()),
            (None, Some(TaskState { ended: true, charged, .. })) => {
                let charged = *charged;
                let state = EndState::Settled;
                return Ok(OpOutcome::Closed(repeated(EndedHold {
                    state,
                    held: charged,
                    charged,
                })));
            }
            (None, Some(task)) if task.held > Quota::ZERO => {
                self.finish_lost(&task.clone(), finish)?
            }
            (None, Some(_)) => free(),
        };
        if let Some(task) = self.rows.tasks.get_mut(&uid) {
            (task.ended, task.charged) = (true, closed.charged);
        }
        let task = EndedTask { uid, end: finish.end.clone() };
        self.changes.ended_tasks.push(WithQuota { task, quota: closed.charged });
        self.changes.forgotten_replies.extend(finish.forget_reply.clone());
        Ok(OpOutcome::Closed(closed))
    }

    /// Ending or recording a task locks its user, so what was read of the task is current. A
    /// deleted user locks nothing; then the statement checks the task's row again.
    fn check_turn(&self, user_id: UserId) -> Result<(), OpRefusal> {
        match self.account(user_id) {
            Err(OpRefusal::Locked) => Err(OpRefusal::Locked),
            _ => Ok(()),
        }
    }

    fn finish_paid(&mut self, mut row: HoldRow, finish: &Finish) -> Result<Closed, OpRefusal> {
        let held = row.amount;
        let use_time_ms = self.now.since_ms(finish.task.since).max(0);
        let (charge, usage, note) = match &finish.charge {
            Charge::Nothing(reason) => {
                row.channel_id = finish.task.channel_id.or(row.channel_id);
                let closed = self.give_back(&mut row, EndState::Released)?;
                let line = self.line(LineKind::Refund, &row, held);
                line.content = (*reason).into();
                line.use_time_ms = use_time_ms;
                return Ok(closed);
            }
            Charge::Held => (held, None, None),
            Charge::Price(usage) => self.price_of(&row, usage.clone()),
        };
        let channel_id = finish.task.channel_id;
        let text = match (&finish.charge, &note) {
            (Charge::Held, _) => "settled at the hold".into(),
            (_, Some(note)) => note.to_string().into(),
            (_, None) => "".into(),
        };
        let settlement =
            Settlement { usage, channel_id, use_time_ms, note, ..Settlement::default() };
        let held = row.clone();
        let settled = Settled { charge, settlement: &settlement, note: text };
        let closed = self.charge(row, &settled)?;
        if closed.released > Quota::ZERO {
            let refund = self.line(LineKind::Refund, &held, closed.released);
            refund.content = "settled below the hold".into();
            refund.channel_id = channel_id.or(refund.channel_id);
        }
        Ok(closed)
    }

    /// The hold was deleted with SQL, or lost with a database's last moments, and the price with
    /// it. Work that was done is charged what was held, as a call is whose hold is lost.
    fn finish_lost(&mut self, task: &TaskState, finish: &Finish) -> Result<Closed, OpRefusal> {
        if matches!(finish.charge, Charge::Nothing(_)) {
            return Ok(free());
        }
        let TaskRef { uid, user_id, channel_id, since } = finish.task;
        let row = HoldRow {
            id: uid.hold(),
            user_id,
            key_id: task.key_id,
            model: task.model.clone(),
            request_id: task.request_id.clone(),
            ..HoldRow::default()
        };
        let use_time_ms = self.now.since_ms(since).max(0);
        let settlement = Settlement { channel_id, use_time_ms, ..Settlement::default() };
        let note = format!("{HOLD_LOST} settled at what was held").into();
        let settled = Settled { charge: task.held, settlement: &settlement, note };
        let closed = self.charge(row, &settled)?;
        let last = self.changes.lines.last_mut();
        if let Some(line) = last.filter(|line| line.hold_id == Some(uid.hold())) {
            line.price_id = None;
        }
        Ok(closed)
    }

    /// The price of what was used, and what of that the price counts, with a note where that isn't
    /// the plain formula.
    fn price_of(&self, row: &HoldRow, usage: Option<Usage>) -> Priced {
        let Some(price) = self.rows.prices.get(&row.price_id) else {
            return (row.amount, usage, Some(ChargeNote::Held("its price is lost".to_owned())));
        };
        let usage = price.counts_of(usage, None);
        let (charge, note) = price.charge_or(row.amount, usage.as_ref());
        (charge, usage, note)
    }
}

/// A charge, what was counted, and a note.
type Priced = (Quota, Option<Usage>, Option<ChargeNote>);

/// The end of a task that costs nothing.
const fn free() -> Closed {
    Closed {
        state: EndState::Settled,
        charged: Quota::ZERO,
        released: Quota::ZERO,
        overrun: Quota::ZERO,
        bounded: None,
        repeated: false,
    }
}
