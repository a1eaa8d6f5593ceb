//! The life of a hold: made, grown, settled, released.

use super::{Book, Found, OpRefusal, Verdict};
use crate::error::LedgerError;
use crate::journal::LineKind;
use crate::op::{Closed, EndState, HoldRef, HoldTerms, NewHold, OpOutcome, Release, Settlement};
use crate::rows::{EndedHold, HoldRow, RowId};
use crate::task::{NewTask, WithQuota};
use domain::{ChargeNote, HoldId, KeyId, Quota, UNKNOWN_OUTCOME, UnixMs};
use std::borrow::Cow;

/// How the line's text begins for a charge whose hold the database has lost.
pub(crate) const HOLD_LOST: &str = "hold_lost";

/// How a call or a task is charged.
pub(super) struct Settled<'a> {
    pub charge: Quota,
    pub settlement: &'a Settlement,
    /// The text of the line.
    pub note: Cow<'static, str>,
}

impl Book {
    pub(super) fn hold(&mut self, new: &NewHold) -> Verdict {
        let request = &new.request;
        if !request.amount.is_amount() {
            return Err(LedgerError::Overflow.into());
        }
        // A repetition: the reply to the first commit was lost.
        if let Some(row) = self.rows.holds.get(&request.hold_id) {
            let same = row.node == Some(new.node) && row.user_id == request.user_id;
            return if same && row.stored_amount.is_some() {
                Ok(OpOutcome::Held)
            } else {
                Err(LedgerError::WrongState.into())
            };
        }
        let limited = request.key_is_limited.then_some(request.key_id);
        let key = match limited {
            Some(id) => Some(self.key(id)?.ok_or(LedgerError::KeyUnavailable)?),
            None => None,
        };
        let has_remain = key.is_some_and(|key| !key.unlimited);
        if !self.account(request.user_id)?.usable {
            return Err(LedgerError::UserUnavailable.into());
        }
        self.check_balance(request.user_id, request.amount)?;
        if has_remain {
            self.check_key(request.key_id, request.amount)?;
        }
        let row = HoldRow {
            id: request.hold_id,
            user_id: request.user_id,
            key_id: request.key_id,
            channel_id: request.channel_id,
            model: request.model.clone(),
            request_id: request.request_id.clone(),
            key_amount: has_remain.then_some(Quota::ZERO),
            price_id: new.price_id,
            for_task: request.task.is_some(),
            node: Some(new.node),
            deadline_at: request.deadline_at,
            created_at: self.now,
            ..HoldRow::default()
        };
        self.check_spending(&row, limited, request.amount)?;
        self.rows.holds.insert(row.id, row);
        if let Some(task) = &request.task {
            self.rows.prices.insert(new.price_id, request.price.clone());
            let task = NewTask::clone(task);
            self.changes.new_tasks.push(WithQuota { task, quota: request.amount });
        }
        self.debit(request.hold_id, limited, request.amount);
        Ok(OpOutcome::Held)
    }

    pub(super) fn grow(&mut self, id: HoldId, to: Quota) -> Verdict {
        let Found::Open(row) = self.found(id)? else { return Err(LedgerError::WrongState.into()) };
        if !to.is_amount() {
            return Err(LedgerError::Overflow.into());
        }
        let held = row.amount;
        let more = to.checked_sub(held).ok_or(LedgerError::Overflow)?;
        if more <= Quota::ZERO {
            return Ok(OpOutcome::Done);
        }
        self.check_balance(row.user_id, more).map_err(|refusal| including_held(refusal, held))?;
        let key = self.limited_key(row)?;
        if let (Some(key_id), Some(_)) = (key, row.key_amount) {
            self.check_key(key_id, more).map_err(|refusal| including_held(refusal, held))?;
        }
        self.check_spending(row, key, to)?;
        self.debit(id, key, more);
        Ok(OpOutcome::Grown(more))
    }

    pub(super) fn settle(
        &mut self,
        hold: HoldRef,
        settlement: &Settlement,
        terms: &HoldTerms,
    ) -> Verdict {
        let note = settlement.note.as_ref().map_or_else(String::new, ToString::to_string);
        let note = Cow::from(note);
        let (row, note) = match self.found(hold.hold_id)? {
            Found::Open(row) => (row.clone(), note),
            Found::Ended(ended) if ended.state == EndState::Settled => {
                return Ok(OpOutcome::Closed(repeated(ended)));
            }
            // The work was done, and its call has no line: it is charged without a hold.
            Found::Ended(_) | Found::Lost => {
                let note = format!("{HOLD_LOST} {note}").trim_end().to_owned();
                (self.lost_hold(hold, terms)?, note.into())
            }
        };
        let charged = Settled { charge: settlement.charge, settlement, note };
        let closed = self.charge(row, &charged)?;
        self.changes.kept_replies.extend(settlement.reply.clone());
        Ok(OpOutcome::Closed(closed))
    }

    /// A hold of zero in place of one that has no row any more.
    fn lost_hold(&self, hold: HoldRef, terms: &HoldTerms) -> Result<HoldRow, OpRefusal> {
        let key = match terms.key_is_limited {
            true => self.key(terms.key_id)?,
            false => None,
        };
        let counts = key.is_some_and(|key| key.spending.is_some());
        Ok(HoldRow {
            id: hold.hold_id,
            user_id: hold.user_id,
            key_id: terms.key_id,
            model: terms.model.clone(),
            request_id: terms.request_id.clone(),
            price_id: terms.price_id,
            key_amount: key.filter(|key| !key.unlimited).map(|_| Quota::ZERO),
            key_counted_on: counts.then_some(self.today),
            ..HoldRow::default()
        })
    }

    /// Ends a hold with a charge. What was held beyond it is released; what is missing is taken
    /// from the balance.
    pub(super) fn charge(
        &mut self,
        mut row: HoldRow,
        settled: &Settled<'_>,
    ) -> Result<Closed, OpRefusal> {
        let Settled { charge, settlement, note } = settled;
        if !charge.is_amount() {
            return Err(LedgerError::Overflow.into());
        }
        if self.is_ownerless(&row) {
            return Ok(self.drop_hold(row.id));
        }
        let held = row.amount;
        let left = Quota(held.0 - charge.0);
        let balance = self.account(row.user_id)?.quota;
        balance.checked_add(left).ok_or(LedgerError::Overflow)?;
        let key = self.limited_key(&row)?;

        self.count(&mut row, key, *charge);
        row.channel_id = settlement.channel_id.or(row.channel_id);
        self.move_balance(row.user_id, left, *charge, 1);
        if let (Some(key_id), Some(_)) = (key, row.key_amount) {
            self.move_key(key_id, left);
        }
        let line = self.line(LineKind::Consume, &row, *charge);
        line.delta = Quota(-charge.0);
        line.used_delta = *charge;
        line.usage.clone_from(&settlement.usage);
        line.use_time_ms = settlement.use_time_ms;
        line.counted_on = row.counted_on;
        line.key_counted_on = row.key_counted_on;
        line.content = note.clone();
        self.end(row.id, EndedHold { state: EndState::Settled, held, charged: *charge });
        let bounded = settlement.note.as_ref().and_then(ChargeNote::bounded);
        Ok(Closed { bounded, ..closed(EndState::Settled, held, *charge) })
    }

    pub(super) fn release(&mut self, id: HoldId, release: &Release, leaves_line: bool) -> Verdict {
        let Found::Open(row) = self.found(id)? else {
            self.changes.forgotten_replies.extend(release.forget_reply.clone());
            return self.second_end(id);
        };
        let mut row = row.clone();
        row.channel_id = release.channel_id.or(row.channel_id);
        let closed = self.give_back(&mut row, EndState::Released)?;
        self.changes.forgotten_replies.extend(release.forget_reply.clone());
        if leaves_line {
            let line = self.line(LineKind::Error, &row, Quota::ZERO);
            line.content = match &release.said {
                Some(said) => format!("{}: {said}", release.reason).into(),
                None => release.reason.into(),
            };
            line.use_time_ms = release.use_time_ms;
        }
        Ok(OpOutcome::Closed(closed))
    }

    pub(super) fn expire(&mut self, id: HoldId) -> Verdict {
        let Found::Open(row) = self.found(id)? else { return self.second_end(id) };
        let mut row = row.clone();
        let closed = self.give_back(&mut row, EndState::Expired)?;
        self.line(LineKind::Error, &row, Quota::ZERO).content = UNKNOWN_OUTCOME.into();
        Ok(OpOutcome::Closed(closed))
    }

    /// Ends a hold without a charge.
    pub(super) fn give_back(
        &mut self,
        row: &mut HoldRow,
        state: EndState,
    ) -> Result<Closed, OpRefusal> {
        if self.is_ownerless(row) {
            return Ok(self.drop_hold(row.id));
        }
        let held = row.amount;
        let balance = self.account(row.user_id)?.quota;
        balance.checked_add(held).ok_or(LedgerError::Overflow)?;
        let key = self.limited_key(row)?;
        self.count(row, key, Quota::ZERO);
        self.move_balance(row.user_id, held, Quota::ZERO, 0);
        if let (Some(key_id), Some(held)) = (key, row.key_amount) {
            self.move_key(key_id, held);
        }
        self.end(row.id, EndedHold { state, held, charged: Quota::ZERO });
        Ok(closed(state, held, Quota::ZERO))
    }

    pub(super) fn abandon(&mut self, id: HoldId, deadline: Option<UnixMs>) -> Verdict {
        if let Found::Open(_) = self.found(id)?
            && let Some(row) = self.rows.holds.get_mut(&id)
        {
            row.node = None;
            row.deadline_at = deadline.unwrap_or(row.deadline_at).min(row.deadline_at);
            row.touched = true;
        }
        Ok(OpOutcome::Done)
    }

    /// Whether the user's row was deleted with plain SQL. Then there is no balance to account for.
    fn is_ownerless(&self, row: &HoldRow) -> bool {
        self.rows.gone.contains(&RowId::User(row.user_id))
    }

    /// Ends a hold that belongs to no balance.
    fn drop_hold(&mut self, id: HoldId) -> Closed {
        let state = EndState::Released;
        self.end(id, EndedHold { state, held: Quota::ZERO, charged: Quota::ZERO });
        closed(state, Quota::ZERO, Quota::ZERO)
    }

    /// An operation that ends a hold which has ended already returns how it ended.
    fn second_end(&self, id: HoldId) -> Verdict {
        let ended = self.rows.ended.get(&id).copied();
        let nothing =
            EndedHold { state: EndState::Released, held: Quota::ZERO, charged: Quota::ZERO };
        Ok(OpOutcome::Closed(repeated(ended.unwrap_or(nothing))))
    }

    /// Removes the hold's row from the book.
    fn end(&mut self, id: HoldId, ended: EndedHold) {
        if let Some(row) = self.rows.holds.remove(&id)
            && row.stored_amount.is_some()
        {
            self.changes.ended_holds.push(row);
        }
        self.rows.ended.insert(id, ended);
    }

    /// Moves `amount` from balance and key limit into the hold. The checks were made before.
    fn debit(&mut self, id: HoldId, key: Option<KeyId>, amount: Quota) {
        let Some(mut row) = self.rows.holds.get(&id).cloned() else { return };
        let now = Quota(row.amount.0 + amount.0);
        self.count(&mut row, key, now);
        row.amount = now;
        row.key_amount = row.key_amount.map(|held| Quota(held.0 + amount.0));
        row.touched = true;
        let delta = Quota(-amount.0);
        self.move_balance(row.user_id, delta, Quota::ZERO, 0);
        if let (Some(key_id), Some(_)) = (key, row.key_amount) {
            self.move_key(key_id, delta);
        }
        if row.for_task {
            // A task lives long, and its owner can see what it holds.
            self.line(LineKind::Precharge, &row, amount);
        }
        self.rows.holds.insert(id, row);
    }

    fn check_key(&self, id: KeyId, needed: Quota) -> Result<(), OpRefusal> {
        let Some(key) = self.key(id)? else { return Ok(()) };
        let available = key.remain;
        if available.is_negative() || available < needed {
            let key_limit = true;
            return Err(LedgerError::InsufficientQuota { needed, available, key_limit }.into());
        }
        Ok(())
    }

    /// Whether the spending limits allow this hold to be `to`.
    fn check_spending(
        &self,
        row: &HoldRow,
        key: Option<KeyId>,
        to: Quota,
    ) -> Result<(), OpRefusal> {
        let no = |reached| OpRefusal::No(LedgerError::SpendingLimit(reached));
        if let Some(spending) = &self.account(row.user_id)?.spending {
            spending.check(self.today, (row.counted_on, row.amount), to, false).map_err(no)?;
        }
        let limit = key.map(|id| self.key(id)).transpose()?.flatten();
        if let Some(spending) = limit.and_then(|limit| limit.spending.as_ref()) {
            spending.check(self.today, (row.key_counted_on, row.amount), to, true).map_err(no)?;
        }
        Ok(())
    }

    /// Counts a hold as spent: on the day of `now`, replacing its amount on an earlier day.
    fn count(&mut self, row: &mut HoldRow, key: Option<KeyId>, now: Quota) {
        let (today, was) = (self.today, row.amount);
        self.each_spending(row.user_id, key, |spending, of_key| {
            let on = if of_key { &mut row.key_counted_on } else { &mut row.counted_on };
            *on = Some(spending.recount(today, (*on, was), now));
        });
    }
}

const fn closed(state: EndState, held: Quota, charged: Quota) -> Closed {
    let left = held.0 - charged.0;
    Closed {
        state,
        charged,
        released: Quota(if left > 0 { left } else { 0 }),
        overrun: Quota(if left < 0 { -left } else { 0 }),
        bounded: None,
        repeated: false,
    }
}

pub(super) const fn repeated(ended: EndedHold) -> Closed {
    Closed { repeated: true, ..closed(ended.state, ended.held, ended.charged) }
}

/// The amount needed and the amount available, including what the hold has already.
fn including_held(refusal: OpRefusal, held: Quota) -> OpRefusal {
    let OpRefusal::No(LedgerError::InsufficientQuota { needed, available, key_limit }) = refusal
    else {
        return refusal;
    };
    let with = |amount: Quota| amount.checked_add(held).unwrap_or(amount);
    let (needed, available) = (with(needed), with(available));
    LedgerError::InsufficientQuota { needed, available, key_limit }.into()
}
