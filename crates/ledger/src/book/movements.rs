//! Balances moved by operators, codes and refunds. Each movement has a reference, and happens once.

use super::{Book, NewMovement, OpRefusal, Verdict};
use crate::error::LedgerError;
use crate::journal::{LineKind, LineRow};
use crate::op::{ChargeRef, Entry, Moved, Movement, OpOutcome};
use crate::redemption::Redemption;
use crate::rows::{MadeMovement, RowId, SettledCall};
use domain::{Quota, UserId};
use std::sync::Arc;

impl Book {
    pub(super) fn movement(
        &mut self,
        movement: &Movement,
        kind: LineKind,
        entry: &Entry,
    ) -> Verdict {
        let made = made(kind, movement.amount, "".into(), entry);
        if let Some(before) = self.made_before(movement.user_id, entry, &made)? {
            return Ok(before);
        }
        if kind == LineKind::Topup && movement.amount == Quota::ZERO {
            return Err(LedgerError::Overflow.into());
        }
        let mut line = self.moving_line(movement, kind, entry)?;
        line.delta = movement.amount;
        let outcome = self.enter_movement(line, entry, made)?;
        self.tell(movement);
        Ok(outcome)
    }

    /// A deposit of the code's value; the code is void from then on.
    pub(super) fn redeem(&mut self, redemption: &Redemption, entry: &Entry) -> Verdict {
        let (id, user_id) = (redemption.id, redemption.user_id);
        if let Some(before) = self.rows.movements.get(&(user_id, entry.reference.clone())) {
            let repeated = before.entry != entry.id;
            let balance = self.account(user_id)?.quota;
            return Ok(OpOutcome::Moved(Moved { balance, repeated }));
        }
        let unknown = LedgerError::Code(crate::error::CodeFault::Unknown);
        let code = self.rows.codes.get(&id);
        let code = code.ok_or_else(|| self.gone_or_locked(RowId::Code(id), unknown))?;
        let amount = code.worth(redemption.at).map_err(LedgerError::Code)?;
        if !self.account(user_id)?.usable {
            return Err(LedgerError::UserUnavailable.into());
        }
        let reason = format!("redemption #{id} {}", code.name).trim_end().to_owned();
        let by = redemption.by.clone();
        let movement = Movement { user_id, amount, reason, by, reference: None, told: None };
        let mut line = self.moving_line(&movement, LineKind::Topup, entry)?;
        line.delta = amount;
        line.redemption = Some(id);
        let made = made(LineKind::Topup, amount, "".into(), entry);
        let outcome = self.enter_movement(line, entry, made)?;
        if let Some(code) = self.rows.codes.get_mut(&id) {
            code.mark_redeemed();
        }
        self.changes.redeemed.push((id, user_id));
        Ok(outcome)
    }

    /// Refunds part of what a settled call was charged, never more than that; or, below zero, takes
    /// back part of what was refunded.
    pub(super) fn refund(
        &mut self,
        charge: &ChargeRef,
        movement: &Movement,
        entry: &Entry,
    ) -> Verdict {
        let (user_id, amount) = (movement.user_id, movement.amount);
        let made = made(LineKind::Refund, amount, charge.name(), entry);
        if let Some(before) = self.made_before(user_id, entry, &made)? {
            return Ok(before);
        }
        let named = (user_id, charge.clone());
        let call = self.rows.settled.get(&named).ok_or(LedgerError::UnknownHold)?.clone();
        if amount == Quota::ZERO || amount > call.charged || amount.0 < -call.refunded.0 {
            return Err(LedgerError::Overflow.into());
        }
        let key = match call.key_counted_on {
            Some(_) => self.key(call.key_id)?.map(|key| key.id),
            None => None,
        };
        let mut line = self.moving_line(movement, LineKind::Refund, entry)?;
        let SettledCall { counted_on, key_counted_on, .. } = call;
        line.delta = amount;
        line.used_delta = Quota(-amount.0);
        line.hold_id = Some(call.hold_id);
        line.key_id = Some(call.key_id);
        line.channel_id = call.channel_id;
        line.model = call.model;
        line.request_id = charge.request_id.clone();
        (line.counted_on, line.key_counted_on) = (counted_on, key_counted_on);
        let outcome = self.enter_movement(line, entry, made)?;
        self.tell(movement);
        // The same call may be named by its hold, and without.
        let known = self.rows.settled.values_mut();
        for call in known.filter(|known| known.hold_id == call.hold_id) {
            call.charged = Quota(call.charged.0 - amount.0);
            call.refunded = Quota(call.refunded.0 + amount.0);
        }
        let today = self.today;
        self.each_spending(user_id, key, |spending, of_key| {
            spending.take_back(today, if of_key { key_counted_on } else { counted_on }, amount);
        });
        Ok(outcome)
    }

    /// Returns the first result of a movement that is repeated. Another kind, amount or call under
    /// the same reference is refused.
    fn made_before(
        &self,
        user_id: UserId,
        entry: &Entry,
        asked: &MadeMovement,
    ) -> Result<Option<OpOutcome>, OpRefusal> {
        let balance = self.account(user_id)?.quota;
        match self.rows.movements.get(&(user_id, entry.reference.clone())) {
            None => Ok(None),
            Some(before) if before.is_like(asked) => {
                // A retry after a commit of unknown outcome finds its own entry.
                let repeated = before.entry != entry.id;
                Ok(Some(OpOutcome::Moved(Moved { balance, repeated })))
            }
            Some(_) => Err(LedgerError::ReferenceTaken.into()),
        }
    }

    fn moving_line(
        &self,
        movement: &Movement,
        kind: LineKind,
        entry: &Entry,
    ) -> Result<LineRow, OpRefusal> {
        let account = self.account(movement.user_id)?;
        Ok(LineRow {
            quota: movement.amount,
            reference: Some(entry.reference.clone()),
            content: format!("{} (by {})", movement.reason, movement.by).into(),
            ..self.line_of_no_call(kind, movement.user_id, account.username.clone())
        })
    }

    /// The line of the admin journal about a movement, in the transaction of the movement.
    fn tell(&mut self, movement: &Movement) {
        let Some(told) = &movement.told else { return };
        self.push(LineRow {
            content: told.content.clone().into(),
            details: Some(told.details.as_str().into()),
            ..self.line_of_no_call(LineKind::Manage, told.user_id, movement.by.as_str().into())
        });
    }

    /// A line about no call, which moves nothing and says nothing yet.
    fn line_of_no_call(&self, kind: LineKind, user_id: UserId, username: Arc<str>) -> LineRow {
        LineRow {
            kind,
            created_at: self.now,
            user_id,
            username,
            quota: Quota::ZERO,
            delta: Quota::ZERO,
            used_delta: Quota::ZERO,
            hold_id: None,
            held: None,
            price_id: None,
            key_id: None,
            channel_id: None,
            model: "".into(),
            request_id: "".into(),
            use_time_ms: 0,
            usage: None,
            counted_on: None,
            key_counted_on: None,
            redemption: None,
            reference: None,
            content: "".into(),
            details: None,
        }
    }

    fn enter_movement(&mut self, line: LineRow, entry: &Entry, made: MadeMovement) -> Verdict {
        let (user_id, amount) = (line.user_id, line.quota);
        if !Quota(amount.0.saturating_abs()).is_amount() {
            return Err(LedgerError::Overflow.into());
        }
        let account = self.account(user_id)?;
        let balance = account.quota.checked_add(line.delta).ok_or(LedgerError::Overflow)?;
        // What was charged goes back to any balance.
        let is_back = line.kind == LineKind::Refund && amount > Quota::ZERO;
        let is_beyond = balance.0.saturating_abs() > Quota::LARGEST_BALANCE.0;
        let moves_away = balance.0.saturating_abs() > account.quota.0.saturating_abs();
        if is_beyond && moves_away && !is_back {
            return Err(LedgerError::Overflow.into());
        }
        self.move_balance(user_id, line.delta, line.used_delta, 0);
        self.push(line);
        let reference = entry.reference.clone();
        self.rows.movements.insert((user_id, reference.clone()), made.clone());
        self.changes.movements.push(NewMovement { user_id, reference, made });
        Ok(OpOutcome::Moved(Moved { balance, repeated: false }))
    }
}

fn made(kind: LineKind, amount: Quota, refund_of: Arc<str>, entry: &Entry) -> MadeMovement {
    MadeMovement { kind: kind.as_str().to_owned(), amount, refund_of, entry: entry.id }
}
