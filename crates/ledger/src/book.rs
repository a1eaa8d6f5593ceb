//! Every rule about money, in one place and without a database.
//!
//! A lane brings the rows that its batch touches, opens a [`Book`] over them, applies each
//! operation in order of arrival, and writes what [`Book::into_changes`] says. An operation that is
//! refused changes nothing, so it refuses itself alone.

use crate::error::LedgerError;
use crate::journal::{Entry, EntryKind};
use crate::op::{
    Closed, EndState, HoldRef, HoldRequest, KeptReply, Movement, Op, Outcome, Release, Settlement,
    Taken, TaskEnd,
};
use crate::redemption::Redemption;
use crate::rows::{Account, HoldRow, HoldState, KeyLimit, Missing, Rows};
use crate::spending::{Day, Spending, Spent};
use crate::task_rows::{EndedTask, NewTask, TaskRecord, WithQuota};
use domain::{HoldId, KeyId, NodeId, Quota, RedemptionId, UnixMs, UserId};
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

/// Why an operation was not carried out.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Its row is locked, or gone: the lane finds out which.
    Missing(Missing),
    /// It breaks a rule.
    No(LedgerError),
}

impl Refusal {
    /// The same, told to somebody who already has `held` in this hold: it is part of what the
    /// call needs, and of what is there for it.
    fn counting(self, held: Quota) -> Self {
        let Self::No(LedgerError::InsufficientQuota { needed, available, key_limit }) = self else {
            return self;
        };
        let with = |amount: Quota| amount.checked_add(held).unwrap_or(amount);
        let (needed, available) = (with(needed), with(available));
        Self::No(LedgerError::InsufficientQuota { needed, available, key_limit })
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        Self::No(error)
    }
}

/// How an account moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccountChange {
    pub delta: Quota,
    pub used_delta: Quota,
    pub requests: i64,
    /// The count of what is spent, before it changed.
    pub spent_was: Option<Spent>,
}

/// How the limits of a key moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyChange {
    pub delta: Quota,
    /// The count of what is spent, before it changed.
    pub spent_was: Option<Spent>,
}

/// A hold to insert.
#[derive(Clone, Debug)]
pub(crate) struct NewHold {
    pub request: HoldRequest,
    pub node: NodeId,
}

/// Everything a batch writes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub accounts: HashMap<UserId, AccountChange>,
    pub keys: HashMap<KeyId, KeyChange>,
    pub new_holds: Vec<NewHold>,
    /// Holds whose row changed, made in this batch or before. The row itself is in `holds`.
    changed_holds: Vec<HoldId>,
    pub holds: HashMap<HoldId, HoldRow>,
    /// Every account that was asked about, as it stands at the end.
    pub balances: HashMap<UserId, Account>,
    /// The same for limits of keys.
    pub limits: HashMap<KeyId, KeyLimit>,
    pub entries: Vec<Entry>,
    pub kept_replies: Vec<KeptReply>,
    pub forgotten_replies: Vec<(UserId, String)>,
    pub new_tasks: Vec<WithQuota<NewTask>>,
    pub recorded_tasks: Vec<WithQuota<TaskRecord>>,
    pub ended_tasks: Vec<WithQuota<EndedTask>>,
    /// Codes that were redeemed, and by whom.
    pub redeemed: Vec<(RedemptionId, UserId)>,
}

impl Changes {
    /// Whether the batch has anything to say about tasks. Most have not.
    pub fn tells_of_tasks(&self) -> bool {
        !self.new_tasks.is_empty()
            || !self.recorded_tasks.is_empty()
            || !self.ended_tasks.is_empty()
    }

    /// Whether a key has a limit of its own that the batch is about, or what somebody spends is
    /// limited or counted. Most have not.
    pub fn are_limited(&self) -> bool {
        !self.limits.is_empty() || self.balances.values().any(|account| account.spending.is_some())
    }

    /// Holds made in this batch, each as it stands at its end.
    pub fn inserted(&self) -> impl Iterator<Item = (&NewHold, &HoldRow)> {
        self.new_holds.iter().filter_map(|new| Some((new, self.holds.get(&new.request.hold_id)?)))
    }

    /// Holds made before that changed in this batch.
    pub fn updated(&self) -> impl Iterator<Item = (HoldId, &HoldRow)> {
        self.changed_holds
            .iter()
            .filter_map(|id| Some((*id, self.holds.get(id)?)))
            .filter(|(_, row)| row.stored.is_some())
    }
}

/// The open book of one batch.
#[derive(Debug)]
pub(crate) struct Book {
    rows: Rows,
    changes: Changes,
    today: Day,
}

type Verdict = Result<Outcome, Refusal>;

impl Book {
    pub fn new(rows: Rows, now: UnixMs) -> Self {
        Self { rows, changes: Changes::default(), today: Day::of(now) }
    }

    pub fn into_changes(self) -> Changes {
        let Rows { accounts: balances, keys: limits, holds, codes: _ } = self.rows;
        Changes { holds, balances, limits, ..self.changes }
    }

    /// Decides one operation. Either it is entered whole, or nothing of it is.
    pub fn apply(&mut self, op: &Op) -> Verdict {
        match op {
            Op::Hold(request, node) => self.hold(request, *node),
            Op::Grow(hold, to) => self.grow(*hold, *to),
            Op::Record(hold, taken) => self.record(*hold, taken),
            Op::Settle(hold, settlement) => self.settle(*hold, settlement),
            Op::Release(hold, release) => self.give_back(*hold, EndState::Released, Some(release)),
            Op::Expire(hold) => self.give_back(*hold, EndState::Expired, None),
            Op::Abandon(hold) => self.abandon(*hold),
            Op::Deposit(movement) => self.movement(movement, EntryKind::Topup),
            Op::Adjust(movement) => self.movement(movement, EntryKind::Adjust),
            Op::Refund(hold, movement) => self.refund(*hold, movement),
            Op::Redeem(redemption) => self.redeem(redemption),
        }
    }

    fn hold(&mut self, request: &HoldRequest, node: NodeId) -> Verdict {
        if request.amount.is_negative() {
            return Err(LedgerError::Overflow.into());
        }
        let key_amount = self.key_limit(request)?.map(|_| request.amount);
        let account = self.account(request.user_id)?;
        if !account.usable {
            return Err(LedgerError::UserUnavailable.into());
        }
        self.check_balance(request.user_id, request.amount)?;
        if key_amount.is_some() {
            self.check_key(request.key_id, request.amount)?;
        }

        let row = HoldRow {
            user_id: request.user_id,
            key_id: request.key_id,
            channel_id: request.channel_id,
            model: request.model.clone(),
            request_id: request.request_id.clone(),
            amount: Quota::ZERO,
            key_amount: key_amount.map(|_| Quota::ZERO),
            counted_on: None,
            key_counted_on: None,
            state: HoldState::Held,
            charged: Quota::ZERO,
            orphaned: false,
            stored: None,
            touched: false,
        };
        let key = request.key_is_limited.then_some(request.key_id);
        self.check_spending(&row, key, request.amount)?;
        match self.rows.holds.entry(request.hold_id) {
            // A UUIDv7 that is taken is a mistake of the caller.
            Slot::Occupied(_) => return Err(LedgerError::WrongState.into()),
            Slot::Vacant(slot) => slot.insert(row),
        };
        self.changes.new_holds.push(NewHold { request: request.clone(), node });
        if let Some(task) = &request.task {
            let told = NewTask::clone(task);
            self.changes.new_tasks.push(WithQuota { told, quota: request.amount });
        }
        let row = self.take(request.hold_id, key, request.amount);
        Ok(Outcome::Held { key_limited: row.is_some_and(HoldRow::limits_key) })
    }

    fn grow(&mut self, hold: HoldRef, to: Quota) -> Verdict {
        let row = self.open_hold(hold)?;
        let HoldState::Held = row.state else { return Err(LedgerError::WrongState.into()) };
        let more = to.checked_sub(row.amount).ok_or(LedgerError::Overflow)?;
        if more <= Quota::ZERO {
            return Ok(Outcome::Done);
        }
        let held = row.amount;
        self.check_balance(row.user_id, more).map_err(|refusal| refusal.counting(held))?;
        if let (Some(key_id), Some(_)) = (hold.limited_key, row.key_amount) {
            self.check_key(key_id, more).map_err(|refusal| refusal.counting(held))?;
        }
        self.check_spending(row, hold.limited_key, to)?;
        self.take(hold.hold_id, hold.limited_key, more);
        Ok(Outcome::Grown(more))
    }

    /// The upstream has taken the task: from here on the hold is the task's. What it should hold
    /// beyond that is held if the money is there; the work is under way either way.
    fn record(&mut self, hold: HoldRef, taken: &Taken) -> Verdict {
        let row = self.open_hold(hold)?;
        let HoldState::Held = row.state else { return Err(LedgerError::WrongState.into()) };
        let held = row.amount;
        match taken.hold.map(|to| self.grow(hold, to)).transpose() {
            Ok(_)
            | Err(Refusal::No(
                LedgerError::InsufficientQuota { .. } | LedgerError::SpendingLimit(_),
            )) => {}
            Err(refusal) => return Err(refusal),
        }
        let quota = self.open_hold(hold)?.amount;
        if let Some(row) = self.rows.holds.get_mut(&hold.hold_id) {
            row.channel_id = Some(taken.task.channel_id);
        }
        self.touch(hold.hold_id);
        self.changes.recorded_tasks.push(WithQuota { told: taken.task.clone(), quota });
        self.changes.kept_replies.extend(taken.reply.clone());
        Ok(Outcome::Grown(Quota(quota.0 - held.0)))
    }

    fn end_task(&mut self, hold: HoldRef, end: Option<&TaskEnd>, quota: Quota) {
        let Some(end) = end.cloned() else { return };
        let told = EndedTask { uid: hold.hold_id.into(), end };
        self.changes.ended_tasks.push(WithQuota { told, quota });
    }

    /// Moves `amount` from balance and key limit into the hold. The checks are behind us.
    fn take(&mut self, hold_id: HoldId, key: Option<KeyId>, amount: Quota) -> Option<&HoldRow> {
        let mut row = self.rows.holds.get(&hold_id)?.clone();
        let held = row.amount;
        row.amount = Quota(held.0 + amount.0);
        row.key_amount = row.key_amount.map(|held| Quota(held.0 + amount.0));
        let now = row.amount;
        self.count(&mut row, key, held, now);
        self.rows.holds.insert(hold_id, row.clone());
        let delta = Quota(-amount.0);
        self.move_balance(row.user_id, delta, Quota::ZERO, 0);
        if row.key_amount.is_some() && self.rows.keys.contains_key(&row.key_id) {
            self.move_key(row.key_id, delta);
        }
        self.enter(hold_id, &row, EntryKind::Precharge, amount, delta);
        self.touch(hold_id);
        self.rows.holds.get(&hold_id)
    }

    fn settle(&mut self, hold: HoldRef, settlement: &Settlement) -> Verdict {
        let row = self.open_hold(hold)?;
        if let HoldState::Ended(state) = row.state {
            return Ok(Outcome::Closed(repeated(row, state)));
        }
        let mut row = row.clone();
        let charge = settlement.charge;
        if charge.is_negative() {
            return Err(LedgerError::Overflow.into());
        }
        let left = row.amount.checked_sub(charge).ok_or(LedgerError::Overflow)?;
        let account = self.account(row.user_id)?;
        account.quota.checked_add(left).ok_or(LedgerError::Overflow)?;
        if let Some(key_id) = hold.limited_key {
            self.key(key_id)?;
        }

        row.state = HoldState::Ended(EndState::Settled);
        row.charged = charge;
        let held = row.amount;
        self.count(&mut row, hold.limited_key, held, charge);
        row.channel_id = settlement.channel_id.or(row.channel_id);
        self.rows.holds.insert(hold.hold_id, row.clone());
        self.move_balance(row.user_id, left, charge, 1);
        if let (Some(key_id), Some(_)) = (hold.limited_key, row.key_amount) {
            self.move_key(key_id, left);
        }
        let (refunded, overrun) = (left.max(Quota::ZERO), Quota(-left.0.min(0)));
        let delta = Quota(left.0.min(0));
        let consume = self.enter(hold.hold_id, &row, EntryKind::Consume, charge, delta);
        consume.used_delta = charge;
        consume.closes = true;
        consume.usage.clone_from(&settlement.usage);
        consume.use_time_ms = settlement.use_time_ms;
        consume.content = settlement.note.clone().unwrap_or_default();
        if overrun > Quota::ZERO {
            push_words(&mut consume.content, &format!("overrun={overrun}"));
        }
        if refunded > Quota::ZERO {
            let refund = self.enter(hold.hold_id, &row, EntryKind::Refund, refunded, refunded);
            refund.content = "settled below the hold".to_owned();
        }
        self.touch(hold.hold_id);
        self.changes.kept_replies.extend(settlement.reply.clone());
        self.end_task(hold, settlement.task.as_deref(), charge);
        Ok(Outcome::Closed(Closed {
            state: EndState::Settled,
            charged: charge,
            refunded,
            overrun,
            repeated: false,
        }))
    }

    fn give_back(&mut self, hold: HoldRef, end: EndState, release: Option<&Release>) -> Verdict {
        let row = self.open_hold(hold)?;
        if let HoldState::Ended(state) = row.state {
            return Ok(Outcome::Closed(repeated(row, state)));
        }
        let mut row = row.clone();
        let account = self.account(row.user_id)?;
        account.quota.checked_add(row.amount).ok_or(LedgerError::Overflow)?;
        if let Some(key_id) = hold.limited_key {
            self.key(key_id)?;
        }

        row.state = HoldState::Ended(end);
        let held = row.amount;
        self.count(&mut row, hold.limited_key, held, Quota::ZERO);
        row.channel_id = release.and_then(|r| r.channel_id).or(row.channel_id);
        self.rows.holds.insert(hold.hold_id, row.clone());
        self.move_balance(row.user_id, row.amount, Quota::ZERO, 0);
        if let (Some(key_id), Some(held)) = (hold.limited_key, row.key_amount) {
            self.move_key(key_id, held);
        }
        let entry = self.enter(hold.hold_id, &row, EntryKind::Refund, row.amount, row.amount);
        entry.closes = true;
        entry.content = release.map_or("unknown_outcome", |r| r.reason).to_owned();
        entry.use_time_ms = release.map_or(0, |r| r.use_time_ms);
        self.touch(hold.hold_id);
        self.changes.forgotten_replies.extend(release.and_then(|r| r.forget_reply.clone()));
        self.end_task(hold, release.and_then(|r| r.task.as_deref()), Quota::ZERO);
        Ok(Outcome::Closed(Closed {
            state: end,
            charged: Quota::ZERO,
            refunded: row.amount,
            overrun: Quota::ZERO,
            repeated: false,
        }))
    }

    fn abandon(&mut self, hold: HoldRef) -> Verdict {
        self.open_hold(hold)?;
        if let Some(row) = self.rows.holds.get_mut(&hold.hold_id)
            && row.state == HoldState::Held
        {
            row.orphaned = true;
            self.touch(hold.hold_id);
        }
        Ok(Outcome::Done)
    }

    fn movement(&mut self, movement: &Movement, kind: EntryKind) -> Verdict {
        if kind == EntryKind::Topup && movement.amount <= Quota::ZERO {
            return Err(LedgerError::Overflow.into());
        }
        let account = self.account(movement.user_id)?;
        let balance = account.quota.checked_add(movement.amount).ok_or(LedgerError::Overflow)?;
        let entry = Entry {
            kind,
            user_id: movement.user_id,
            username: account.username.clone(),
            quota: movement.amount,
            delta: movement.amount,
            used_delta: Quota::ZERO,
            hold_id: None,
            closes: false,
            key_id: None,
            channel_id: None,
            model: "".into(),
            request_id: "".into(),
            use_time_ms: 0,
            usage: None,
            redemption: None,
            content: words_of(movement),
        };
        self.move_balance(movement.user_id, movement.amount, Quota::ZERO, 0);
        self.changes.entries.push(entry);
        Ok(Outcome::Balance(balance))
    }

    /// A deposit of what the code is worth, which is nothing from then on.
    fn redeem(&mut self, redemption: &Redemption) -> Verdict {
        let (id, user_id) = (redemption.id, redemption.user_id);
        let code = self.rows.codes.get(&id).ok_or(Refusal::Missing(Missing::Code(id)))?;
        let amount = code.worth(redemption.at).map_err(LedgerError::Code)?;
        if !self.account(user_id)?.usable {
            return Err(LedgerError::UserUnavailable.into());
        }
        let reason = format!("redemption #{id} {}", code.name).trim_end().to_owned();
        let movement = Movement { user_id, amount, reason, by: redemption.by.clone() };
        let outcome = self.movement(&movement, EntryKind::Topup)?;
        if let Some(line) = self.changes.entries.last_mut() {
            line.redemption = Some(id);
        }
        if let Some(code) = self.rows.codes.get_mut(&id) {
            code.mark_redeemed();
        }
        self.changes.redeemed.push((id, user_id));
        Ok(outcome)
    }

    /// Gives back part of what a settled hold was charged; never more than that.
    fn refund(&mut self, hold: HoldRef, movement: &Movement) -> Verdict {
        let row = self.open_hold(hold)?;
        let HoldState::Ended(EndState::Settled) = row.state else {
            return Err(LedgerError::WrongState.into());
        };
        let amount = movement.amount;
        if amount <= Quota::ZERO || amount > row.charged {
            return Err(LedgerError::Overflow.into());
        }
        let mut row = row.clone();
        let account = self.account(row.user_id)?;
        let balance = account.quota.checked_add(amount).ok_or(LedgerError::Overflow)?;
        if let Some(key_id) = hold.limited_key {
            self.key(key_id)?;
        }
        row.charged = Quota(row.charged.0 - amount.0);
        self.rows.holds.insert(hold.hold_id, row.clone());
        let today = self.today;
        self.each_spending(row.user_id, hold.limited_key, |spending, of_key| {
            let on = if of_key { row.key_counted_on } else { row.counted_on };
            spending.take_back(today, on, amount);
        });
        let taken_back = Quota(-amount.0);
        self.move_balance(row.user_id, amount, taken_back, 0);
        let entry = self.enter(hold.hold_id, &row, EntryKind::Refund, amount, amount);
        entry.used_delta = taken_back;
        entry.content = words_of(movement);
        self.touch(hold.hold_id);
        Ok(Outcome::Balance(balance))
    }

    fn account(&self, id: UserId) -> Result<&Account, Refusal> {
        self.rows.accounts.get(&id).ok_or(Refusal::Missing(Missing::User(id)))
    }

    fn key(&self, id: KeyId) -> Result<&KeyLimit, Refusal> {
        self.rows.keys.get(&id).ok_or(Refusal::Missing(Missing::Key(id)))
    }

    fn open_hold(&self, hold: HoldRef) -> Result<&HoldRow, Refusal> {
        self.rows.holds.get(&hold.hold_id).ok_or(Refusal::Missing(Missing::Hold(hold.hold_id)))
    }

    /// The limit this request's key has of its own, if it has one.
    fn key_limit(&self, request: &HoldRequest) -> Result<Option<&KeyLimit>, Refusal> {
        if !request.key_is_limited {
            return Ok(None);
        }
        Ok(Some(self.key(request.key_id)?).filter(|key| !key.unlimited))
    }

    /// A negative balance blocks every further hold, a hold of nothing included.
    fn check_balance(&self, id: UserId, needed: Quota) -> Result<(), Refusal> {
        let available = self.account(id)?.quota;
        if available.is_negative() || available < needed {
            let key_limit = false;
            return Err(LedgerError::InsufficientQuota { needed, available, key_limit }.into());
        }
        Ok(())
    }

    fn check_key(&self, id: KeyId, needed: Quota) -> Result<(), Refusal> {
        let available = self.key(id)?.remain;
        if available.is_negative() || available < needed {
            let key_limit = true;
            return Err(LedgerError::InsufficientQuota { needed, available, key_limit }.into());
        }
        Ok(())
    }

    /// Whether what may be spent reaches for this hold to be `to`.
    fn check_spending(&self, row: &HoldRow, key: Option<KeyId>, to: Quota) -> Result<(), Refusal> {
        let no = |reached| Refusal::No(LedgerError::SpendingLimit(reached));
        if let Some(spending) = &self.account(row.user_id)?.spending {
            spending.check(self.today, (row.counted_on, row.amount), to, false).map_err(no)?;
        }
        if let Some(id) = key
            && let Some(spending) = &self.key(id)?.spending
        {
            spending.check(self.today, (row.key_counted_on, row.amount), to, true).map_err(no)?;
        }
        Ok(())
    }

    /// Counts a hold as spent: at `now`, instead of at `was` where it was counted before.
    fn count(&mut self, row: &mut HoldRow, key: Option<KeyId>, was: Quota, now: Quota) {
        let today = self.today;
        self.each_spending(row.user_id, key, |spending, of_key| {
            let on = if of_key { &mut row.key_counted_on } else { &mut row.counted_on };
            *on = Some(spending.recount(today, (*on, was), now));
        });
    }

    /// What is counted of the user and of the key, where it is: about to change.
    fn each_spending(
        &mut self,
        user_id: UserId,
        key: Option<KeyId>,
        mut change: impl FnMut(&mut Spending, bool),
    ) {
        let account = self.rows.accounts.get_mut(&user_id);
        if let Some(spending) = account.and_then(|account| account.spending.as_deref_mut()) {
            let changed = self.changes.accounts.entry(user_id).or_default();
            changed.spent_was.get_or_insert(spending.spent);
            change(spending, false);
        }
        let limit = key.and_then(|id| Some((id, self.rows.keys.get_mut(&id)?)));
        if let Some((id, KeyLimit { spending: Some(spending), .. })) = limit {
            let changed = self.changes.keys.entry(id).or_default();
            changed.spent_was.get_or_insert(spending.spent);
            change(spending, true);
        }
    }

    fn move_balance(&mut self, id: UserId, delta: Quota, used_delta: Quota, requests: i64) {
        if let Some(account) = self.rows.accounts.get_mut(&id) {
            account.quota = Quota(account.quota.0 + delta.0);
        }
        let change = self.changes.accounts.entry(id).or_default();
        change.delta = Quota(change.delta.0 + delta.0);
        change.used_delta = Quota(change.used_delta.0 + used_delta.0);
        change.requests += requests;
    }

    fn move_key(&mut self, id: KeyId, delta: Quota) {
        if let Some(key) = self.rows.keys.get_mut(&id) {
            key.remain = Quota(key.remain.0.saturating_add(delta.0));
        }
        let change = self.changes.keys.entry(id).or_default();
        change.delta = Quota(change.delta.0.saturating_add(delta.0));
    }

    fn touch(&mut self, id: HoldId) {
        if let Some(row) = self.rows.holds.get_mut(&id)
            && !std::mem::replace(&mut row.touched, true)
        {
            self.changes.changed_holds.push(id);
        }
    }

    fn enter(
        &mut self,
        hold_id: HoldId,
        row: &HoldRow,
        kind: EntryKind,
        quota: Quota,
        delta: Quota,
    ) -> &mut Entry {
        let username = self.rows.accounts.get(&row.user_id).map(|a| a.username.clone());
        self.changes.entries.push(Entry {
            kind,
            user_id: row.user_id,
            username: username.unwrap_or_else(|| "".into()),
            quota,
            delta,
            used_delta: Quota::ZERO,
            hold_id: Some(hold_id),
            closes: false,
            key_id: Some(row.key_id),
            channel_id: row.channel_id,
            model: row.model.clone(),
            request_id: row.request_id.clone(),
            use_time_ms: 0,
            usage: None,
            redemption: None,
            content: String::new(),
        });
        let last = self.changes.entries.len() - 1;
        &mut self.changes.entries[last]
    }
}

/// A second end of the same hold is answered with the first one's result.
fn repeated(row: &HoldRow, state: EndState) -> Closed {
    let left = row.amount.0 - row.charged.0;
    Closed {
        state,
        charged: row.charged,
        refunded: Quota(left.max(0)),
        overrun: Quota(-left.min(0)),
        repeated: true,
    }
}

fn words_of(movement: &Movement) -> String {
    format!("{} (by {})", movement.reason, movement.by)
}

fn push_words(content: &mut String, words: &str) {
    if !content.is_empty() {
        content.push(' ');
    }
    content.push_str(words);
}
