//! Every rule about money, in one place and without a database.
//!
//! A lane loads the rows that its batch needs, opens a [`Book`] over them, applies each operation
//! in order of arrival, and writes what [`Book::into_changes`] returns. A refused operation changes
//! nothing, and does not affect its neighbours. A repeated operation finds its own result, and
//! returns it again.

mod calls;
mod movements;
mod tasks;

pub(crate) use calls::HOLD_LOST;

use crate::error::LedgerError;
use crate::journal::{LineKind, LineRow};
use crate::op::{KeptReply, Op, OpOutcome};
use crate::rows::{Account, EndedHold, HoldRow, KeyLimit, MadeMovement, RowId, Rows};
use crate::spending::{Day, Spending, Spent};
use crate::task::{EndedTask, NewTask, TaskRecord, WithQuota};
use domain::{HoldId, KeyId, Quota, RedemptionId, UnixMs, UserId};
use foldhash::HashMap;
use std::sync::Arc;

/// Why an operation was refused.
#[derive(Debug)]
pub(crate) enum OpRefusal {
    /// Another session has locked its row.
    Locked,
    /// It breaks a rule.
    No(LedgerError),
}

impl From<LedgerError> for OpRefusal {
    fn from(error: LedgerError) -> Self {
        Self::No(error)
    }
}

pub(crate) type Verdict = Result<OpOutcome, OpRefusal>;

/// How an account changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccountChange {
    pub delta: Quota,
    pub used_delta: Quota,
    pub requests: i64,
    /// The spending count, before it changed.
    pub spent_was: Option<Spent>,
}

/// How the limits of a key changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyChange {
    pub delta: Quota,
    /// The spending count, before it changed.
    pub spent_was: Option<Spent>,
}

/// The reference of a movement, by which a repetition is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewMovement {
    pub user_id: UserId,
    pub reference: Arc<str>,
    pub made: MadeMovement,
}

/// Everything that a batch writes.
#[derive(Debug, Default)]
pub(crate) struct BatchChanges {
    pub account_moves: HashMap<UserId, AccountChange>,
    pub key_moves: HashMap<KeyId, KeyChange>,
    /// Open holds in their final state; those that the batch changed are `touched`.
    pub holds: HashMap<HoldId, HoldRow>,
    /// Earlier holds that the batch ended, as they were read.
    pub ended_holds: Vec<HoldRow>,
    /// Every account that was used, in its final state.
    pub accounts: HashMap<UserId, Account>,
    /// The same for limits of keys.
    pub keys: HashMap<KeyId, KeyLimit>,
    pub lines: Vec<LineRow>,
    pub kept_replies: Vec<KeptReply>,
    pub forgotten_replies: Vec<(UserId, String)>,
    pub new_tasks: Vec<WithQuota<NewTask>>,
    pub recorded_tasks: Vec<WithQuota<TaskRecord>>,
    pub ended_tasks: Vec<WithQuota<EndedTask>>,
    pub movements: Vec<NewMovement>,
    /// Codes that were redeemed, and by whom.
    pub redeemed: Vec<(RedemptionId, UserId)>,
}

impl BatchChanges {
    /// Whether the batch involves a key with a limit of its own, or spending that is limited or
    /// counted. Most batches have neither.
    pub(crate) fn are_limited(&self) -> bool {
        !self.keys.is_empty() || self.accounts.values().any(|account| account.spending.is_some())
    }

    /// Holds that were made, and holds that were changed.
    pub(crate) fn written_holds(&self) -> (Vec<HoldRow>, Vec<HoldRow>) {
        let touched = self.holds.values().filter(|row| row.touched).cloned();
        touched.partition(|row| row.stored_amount.is_none())
    }
}

/// The open book of one batch.
#[derive(Debug)]
pub(crate) struct Book {
    rows: Rows,
    changes: BatchChanges,
    now: UnixMs,
    today: Day,
}

/// The state of a hold within a batch.
enum Found<'a> {
    Open(&'a HoldRow),
    Ended(EndedHold),
    /// It has no row, and its call no line: it was released, or the database has lost it.
    Lost,
}

impl Book {
    pub(crate) fn new(rows: Rows, now: UnixMs) -> Self {
        Self { rows, changes: BatchChanges::default(), now, today: Day::of(now) }
    }

    pub(crate) fn into_changes(self) -> BatchChanges {
        let Rows { accounts, keys, holds, .. } = self.rows;
        BatchChanges { accounts, keys, holds, ..self.changes }
    }

    /// Decides one operation. It is applied completely, or not at all.
    pub(crate) fn apply(&mut self, op: &Op) -> Verdict {
        match op {
            Op::Hold(new) => self.hold(new),
            Op::Grow(hold, to) => self.grow(hold.hold_id, *to),
            Op::Settle(hold, settlement, terms) => self.settle(*hold, settlement, terms),
            Op::Release(hold, release, leaves_line) => {
                self.release(hold.hold_id, release, *leaves_line)
            }
            Op::Expire(hold) => self.expire(hold.hold_id),
            Op::Abandon(hold, deadline) => self.abandon(hold.hold_id, *deadline),
            Op::Record(user_id, taken) => self.record(*user_id, taken),
            Op::Finish(finish) => self.finish(finish),
            Op::Move(movement, kind, entry) => self.movement(movement, *kind, entry),
            Op::Refund(charge, movement, entry) => self.refund(charge, movement, entry),
            Op::Redeem(redemption, entry) => self.redeem(redemption, entry),
        }
    }

    fn found(&self, id: HoldId) -> Result<Found<'_>, OpRefusal> {
        if let Some(row) = self.rows.holds.get(&id) {
            return Ok(Found::Open(row));
        }
        if let Some(ended) = self.rows.ended.get(&id) {
            return Ok(Found::Ended(*ended));
        }
        if self.rows.gone.contains(&RowId::Hold(id)) {
            Ok(Found::Lost)
        } else {
            Err(OpRefusal::Locked)
        }
    }

    fn account(&self, id: UserId) -> Result<&Account, OpRefusal> {
        self.rows
            .accounts
            .get(&id)
            .ok_or_else(|| self.gone_or_locked(RowId::User(id), LedgerError::UserUnavailable))
    }

    /// The key's own limit; `None`: the key was deleted while its call was in flight, and the
    /// call's money moves without it.
    fn key(&self, id: KeyId) -> Result<Option<&KeyLimit>, OpRefusal> {
        match self.rows.keys.get(&id) {
            Some(key) => Ok(Some(key)),
            None if self.rows.gone.contains(&RowId::Key(id)) => Ok(None),
            None => Err(OpRefusal::Locked),
        }
    }

    fn gone_or_locked(&self, row: RowId, error: LedgerError) -> OpRefusal {
        if self.rows.gone.contains(&row) { error.into() } else { OpRefusal::Locked }
    }

    /// The key whose limit a hold counts against, if it still exists.
    fn limited_key(&self, row: &HoldRow) -> Result<Option<KeyId>, OpRefusal> {
        let Some(id) = row.limited_key() else { return Ok(None) };
        Ok(self.key(id)?.map(|_| id))
    }

    /// The counts of the user and of the key, where there are any, before a change.
    fn each_spending(
        &mut self,
        user_id: UserId,
        key: Option<KeyId>,
        mut change: impl FnMut(&mut Spending, bool),
    ) {
        let account = self.rows.accounts.get_mut(&user_id);
        if let Some(spending) = account.and_then(|account| account.spending.as_deref_mut()) {
            let changed = self.changes.account_moves.entry(user_id).or_default();
            changed.spent_was.get_or_insert(spending.spent);
            change(spending, false);
        }
        let limit = key.and_then(|id| Some((id, self.rows.keys.get_mut(&id)?)));
        if let Some((id, KeyLimit { spending: Some(spending), .. })) = limit {
            let changed = self.changes.key_moves.entry(id).or_default();
            changed.spent_was.get_or_insert(spending.spent);
            change(spending, true);
        }
    }

    fn move_balance(&mut self, id: UserId, delta: Quota, used_delta: Quota, requests: i64) {
        if let Some(account) = self.rows.accounts.get_mut(&id) {
            account.quota = Quota(account.quota.0 + delta.0);
        }
        let change = self.changes.account_moves.entry(id).or_default();
        change.delta = Quota(change.delta.0 + delta.0);
        change.used_delta = Quota(change.used_delta.0 + used_delta.0);
        change.requests += requests;
    }

    fn move_key(&mut self, id: KeyId, delta: Quota) {
        let Some(key) = self.rows.keys.get_mut(&id) else { return };
        // "No limit" may have been written as the largest integer.
        let before = key.remain.0;
        key.remain = Quota(before.saturating_add(delta.0));
        let change = self.changes.key_moves.entry(id).or_default();
        change.delta = Quota(change.delta.0 + (key.remain.0 - before));
    }

    /// A line about a hold. It moves nothing until its `delta` is set.
    fn line(&mut self, kind: LineKind, row: &HoldRow, quota: Quota) -> &mut LineRow {
        let username = self.rows.accounts.get(&row.user_id).map(|a| a.username.clone());
        self.push(LineRow {
            kind,
            created_at: self.now,
            user_id: row.user_id,
            username: username.unwrap_or_else(|| "".into()),
            quota,
            delta: Quota::ZERO,
            used_delta: Quota::ZERO,
            hold_id: Some(row.id),
            held: Some(row.amount),
            price_id: Some(row.price_id),
            key_id: Some(row.key_id),
            channel_id: row.channel_id,
            model: row.model.clone(),
            request_id: row.request_id.clone(),
            use_time_ms: 0,
            usage: None,
            counted_on: None,
            key_counted_on: None,
            redemption: None,
            reference: None,
            content: "".into(),
            details: None,
        })
    }

    fn push(&mut self, line: LineRow) -> &mut LineRow {
        self.changes.lines.push(line);
        let last = self.changes.lines.len() - 1;
        &mut self.changes.lines[last]
    }

    /// A negative balance blocks every further hold, even one of zero.
    fn check_balance(&self, id: UserId, needed: Quota) -> Result<(), OpRefusal> {
        let available = self.account(id)?.quota;
        if available.is_negative() || available < needed {
            let key_limit = false;
            return Err(LedgerError::InsufficientQuota { needed, available, key_limit }.into());
        }
        Ok(())
    }
}
