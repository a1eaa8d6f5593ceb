//! The book against the simplest model there is: plain numbers, one rule a line.

use crate::book::{Book, Changes, Refusal};
use crate::error::{CodeFault, LedgerError};
use crate::op::{
    Closed, EndState, HoldRef, HoldRequest, Movement, Op, Outcome, Release, Settlement,
};
use crate::redemption::{CodeRow, Redemption};
use crate::rows::{Account, HoldRow, HoldState, KeyLimit, Rows};
use crate::spending::{Day, Limits, Spending};
use domain::{
    FrozenPrice, HoldId, KeyId, NodeId, PriceRow, Pricing, Quota, Ratio, RedemptionId, UnixMs,
    UserId,
};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

const USER: UserId = UserId(7);
const KEY: KeyId = KeyId(3);
const NODE: NodeId = NodeId(Uuid::from_u128(1));

fn price() -> Arc<FrozenPrice> {
    let row = PriceRow { fixed_quota: Some(Quota(1)), ..PriceRow::default() };
    match Pricing::freeze(Some(&row), Ratio::ONE, Ratio::ONE) {
        Ok(Pricing::Priced(price)) => Arc::new(price),
        other => panic!("{other:?}"),
    }
}

fn hold_op(n: u128, amount: i64, limited: bool) -> Op {
    let request = HoldRequest {
        hold_id: HoldId(Uuid::from_u128(n)),
        user_id: USER,
        key_id: KEY,
        key_is_limited: limited,
        channel_id: None,
        model: "m".into(),
        request_id: "r".into(),
        amount: Quota(amount),
        price: price(),
        deadline_at: UnixMs(0),
        task: None,
    };
    Op::Hold(request, NODE)
}

fn place(n: u128, limited: bool) -> HoldRef {
    HoldRef {
        hold_id: HoldId(Uuid::from_u128(n)),
        user_id: USER,
        limited_key: limited.then_some(KEY),
    }
}

fn settle_op(n: u128, charge: i64, limited: bool) -> Op {
    Op::Settle(place(n, limited), Settlement { charge: Quota(charge), ..Settlement::default() })
}

fn release_op(n: u128, limited: bool) -> Op {
    Op::Release(place(n, limited), Release::default())
}

fn movement(amount: i64) -> Movement {
    Movement { user_id: USER, amount: Quota(amount), reason: "test".into(), by: "test".into() }
}

fn account(quota: i64) -> Account {
    Account { username: "ann".into(), quota: Quota(quota), usable: true, spending: None }
}

fn book(quota: i64, key: Option<i64>) -> Book {
    let mut rows = Rows::default();
    rows.accounts.insert(USER, account(quota));
    if let Some(remain) = key {
        let limit = KeyLimit { remain: Quota(remain), unlimited: false, spending: None };
        rows.keys.insert(KEY, limit);
    }
    Book::new(rows, UnixMs(0))
}

fn refused(book: &mut Book, op: &Op) -> LedgerError {
    match book.apply(op) {
        Err(Refusal::No(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hold_that_does_not_fit_refuses_itself_alone() {
    let mut book = book(10, None);
    assert!(book.apply(&hold_op(1, 6, false)).is_ok());
    assert!(matches!(
        refused(&mut book, &hold_op(2, 5, false)),
        LedgerError::InsufficientQuota { needed: Quota(5), available: Quota(4), key_limit: false }
    ));
    assert!(book.apply(&hold_op(3, 4, false)).is_ok());
    let changes = book.into_changes();
    assert_eq!(changes.new_holds.len(), 2);
    assert_eq!(changes.accounts[&USER].delta, Quota(-10));
    assert_eq!(changes.entries.len(), 2);
}

#[test]
fn the_key_s_own_limit_is_checked_in_the_same_step() {
    let mut book = book(100, Some(5));
    assert!(matches!(
        refused(&mut book, &hold_op(1, 6, true)),
        LedgerError::InsufficientQuota { key_limit: true, .. }
    ));
    assert!(book.apply(&hold_op(2, 5, true)).is_ok());
    let settled = book.apply(&settle_op(2, 3, true)).unwrap();
    assert!(matches!(settled, Outcome::Closed(Closed { refunded: Quota(2), .. })));
    let changes = book.into_changes();
    assert_eq!(changes.keys[&KEY].delta, Quota(-3));
    assert_eq!(changes.accounts[&USER].delta, Quota(-3));
}

#[test]
fn settling_takes_what_is_missing_and_a_negative_balance_blocks() {
    let mut book = book(10, None);
    book.apply(&hold_op(1, 10, false)).unwrap();
    let closed = book.apply(&settle_op(1, 25, false)).unwrap();
    assert!(matches!(closed, Outcome::Closed(Closed { overrun: Quota(15), .. })));
    assert!(matches!(
        refused(&mut book, &hold_op(2, 0, false)),
        LedgerError::InsufficientQuota { available: Quota(-15), .. }
    ));
}

#[test]
fn a_second_end_is_answered_with_the_first_one_s_result() {
    let mut book = book(10, None);
    book.apply(&hold_op(1, 10, false)).unwrap();
    book.apply(&settle_op(1, 4, false)).unwrap();
    let again = book.apply(&release_op(1, false)).unwrap();
    let first = Closed {
        state: EndState::Settled,
        charged: Quota(4),
        refunded: Quota(6),
        overrun: Quota::ZERO,
        repeated: true,
    };
    assert_eq!(again, Outcome::Closed(first));
    let changes = book.into_changes();
    assert_eq!(changes.entries.iter().filter(|entry| entry.closes).count(), 1);
    assert_eq!(changes.accounts[&USER].delta, Quota(-4));
}

#[test]
fn a_refund_never_exceeds_the_charge() {
    let mut book = book(10, None);
    book.apply(&hold_op(1, 10, false)).unwrap();
    book.apply(&settle_op(1, 4, false)).unwrap();
    let refund = |amount| Op::Refund(place(1, false), movement(amount));
    assert!(book.apply(&refund(3)).is_ok());
    assert!(matches!(refused(&mut book, &refund(2)), LedgerError::Overflow));
    assert!(book.apply(&refund(1)).is_ok());
    let changes = book.into_changes();
    assert_eq!(changes.accounts[&USER].delta, Quota::ZERO);
    assert_eq!(changes.accounts[&USER].used_delta, Quota::ZERO);
}

#[test]
fn amounts_that_do_not_fit_change_nothing() {
    let mut book = book(i64::MAX, None);
    let deposit = Op::Deposit(movement(1));
    assert!(matches!(refused(&mut book, &deposit), LedgerError::Overflow));
    book.apply(&hold_op(1, 5, false)).unwrap();
    assert!(matches!(refused(&mut book, &settle_op(1, -1, false)), LedgerError::Overflow));
    assert!(matches!(refused(&mut book, &hold_op(2, -1, false)), LedgerError::Overflow));
    assert_eq!(book.into_changes().entries.len(), 1);
}

#[test]
fn a_code_pays_once_within_a_batch_too() {
    let (id, ends) = (RedemptionId(7), UnixMs(1_000));
    let code =
        || CodeRow { name: "spring".into(), quota: Quota(5), status: 1, expires_at: Some(ends) };
    let redeem = |at| Op::Redeem(Redemption { id, user_id: USER, by: "ann".into(), at });
    let mut rows = Rows::default();
    rows.accounts.insert(USER, account(10));
    rows.codes.insert(id, code());
    let mut book = Book::new(rows, UnixMs(0));
    assert!(matches!(refused(&mut book, &redeem(ends)), LedgerError::Code(CodeFault::Expired)));
    let before = redeem(ends.plus_ms(-1));
    assert_eq!(book.apply(&before).unwrap(), Outcome::Balance(Quota(15)));
    assert!(matches!(refused(&mut book, &before), LedgerError::Code(CodeFault::Redeemed)));
    let changes = book.into_changes();
    assert_eq!(changes.redeemed, [(id, USER)]);
    assert_eq!(changes.accounts[&USER].delta, Quota(5));
    assert_eq!(changes.entries[0].other().as_deref(), Some(r#"{"redemption_id":7}"#));
}

/// What the model knows of a hold.
#[derive(Clone, Copy)]
struct ModelHold {
    amount: i64,
    charged: Option<i64>,
    /// The day that it counts in.
    day: i64,
}

#[derive(Clone, Debug)]
enum Step {
    Hold(u8, i64),
    Grow(u8, i64),
    Settle(u8, i64),
    Release(u8),
    Expire(u8),
    Abandon(u8),
    Deposit(i64),
    Adjust(i64),
    Refund(u8, i64),
    /// So many days pass; the next batch begins.
    Days(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let (hold, amount) = (0_u8..6, 0_i64..50);
    prop_oneof![
        3 => (hold.clone(), amount.clone()).prop_map(|(h, a)| Step::Hold(h, a)),
        2 => (hold.clone(), amount.clone()).prop_map(|(h, a)| Step::Grow(h, a)),
        3 => (hold.clone(), amount.clone()).prop_map(|(h, a)| Step::Settle(h, a)),
        2 => hold.clone().prop_map(Step::Release),
        1 => hold.clone().prop_map(Step::Expire),
        1 => hold.clone().prop_map(Step::Abandon),
        1 => amount.clone().prop_map(Step::Deposit),
        1 => (-30_i64..30).prop_map(Step::Adjust),
        1 => (hold, amount).prop_map(|(h, a)| Step::Refund(h, a)),
        1 => (0_i64..20).prop_map(Step::Days),
    ]
}

fn op_of(step: &Step) -> Option<Op> {
    let id = |h: u8| u128::from(h) + 1;
    Some(match *step {
        Step::Days(_) => return None,
        Step::Hold(h, amount) => hold_op(id(h), amount, true),
        Step::Grow(h, to) => Op::Grow(place(id(h), true), Quota(to)),
        Step::Settle(h, charge) => settle_op(id(h), charge, true),
        Step::Release(h) => release_op(id(h), true),
        Step::Expire(h) => Op::Expire(place(id(h), true)),
        Step::Abandon(h) => Op::Abandon(place(id(h), true)),
        Step::Deposit(amount) => Op::Deposit(movement(amount)),
        Step::Adjust(amount) => Op::Adjust(movement(amount)),
        Step::Refund(h, amount) => Op::Refund(place(id(h), true), movement(amount)),
    })
}

/// What is spent of the user's limits, or of the key's: by day and by month, from the first day on.
#[derive(Clone, Copy, Debug)]
struct ModelLimits {
    daily: i64,
    monthly: i64,
}

/// The whole of the rules, on plain numbers.
#[derive(Default)]
struct Model {
    quota: i64,
    used: i64,
    key: i64,
    holds: HashMap<u8, ModelHold>,
    ended: HashMap<u8, bool>,
    /// Of the user, and of the key.
    limits: [Option<ModelLimits>; 2],
    today: i64,
}

/// A month of the model is a month of the calendar: it begins on the first of December.
fn month(day: i64) -> i64 {
    i64::from(Day::of(at(day)).0) / 100
}

fn at(day: i64) -> UnixMs {
    UnixMs(1_796_083_200_000 + day * 86_400_000)
}

impl Model {
    fn fits(&self, amount: i64) -> bool {
        self.quota >= amount.max(0) && self.key >= amount.max(0)
    }

    /// What the holds come to that `counts` says count; all are added up anew each time.
    fn spent(&self, counts: impl Fn(i64) -> bool) -> i64 {
        let holds = self.holds.values().filter(|hold| counts(hold.day));
        holds.map(|hold| hold.charged.unwrap_or(hold.amount)).sum()
    }

    fn spent_today(&self) -> (i64, i64) {
        let (today, this_month) = (self.today, month(self.today));
        (self.spent(|day| day == today), self.spent(|day| month(day) == this_month))
    }

    /// Whether a hold may be as large as `to`.
    fn may_spend(&self, h: u8, to: i64) -> bool {
        let (mut day, mut month_so_far) = self.spent_today();
        if let Some(own) = self.holds.get(&h) {
            day -= if own.day == self.today { own.amount } else { 0 };
            month_so_far -= if month(own.day) == month(self.today) { own.amount } else { 0 };
        }
        let reaches = |limit: i64, spent: i64| limit - spent >= to.max(0);
        self.limits
            .iter()
            .flatten()
            .all(|limits| reaches(limits.daily, day) && reaches(limits.monthly, month_so_far))
    }

    /// Whether the step is carried out.
    fn apply(&mut self, step: &Step) -> bool {
        let open = |model: &Self, h: &u8| model.holds.contains_key(h) && !model.ended[h];
        match step {
            Step::Hold(h, amount) => {
                if self.holds.contains_key(h) || !self.fits(*amount) || !self.may_spend(*h, *amount)
                {
                    return false;
                }
                self.quota -= amount;
                self.key -= amount;
                let day = self.today;
                self.holds.insert(*h, ModelHold { amount: *amount, charged: None, day });
                self.ended.insert(*h, false);
                true
            }
            Step::Grow(h, to) => {
                if !open(self, h) {
                    return false;
                }
                let more = to - self.holds[h].amount;
                if more > 0 {
                    if !self.fits(more) || !self.may_spend(*h, *to) {
                        return false;
                    }
                    self.quota -= more;
                    self.key -= more;
                    let day = self.today;
                    self.holds.insert(*h, ModelHold { amount: *to, charged: None, day });
                }
                true
            }
            Step::Settle(h, charge) => {
                if open(self, h) {
                    let amount = self.holds[h].amount;
                    self.quota += amount - charge;
                    self.key += amount - charge;
                    self.used += charge;
                    let day = self.today;
                    self.holds.insert(*h, ModelHold { amount, charged: Some(*charge), day });
                    self.ended.insert(*h, true);
                }
                self.holds.contains_key(h)
            }
            Step::Release(h) | Step::Expire(h) => {
                if open(self, h) {
                    let hold = self.holds.get_mut(h).unwrap();
                    let amount = std::mem::take(&mut hold.amount);
                    self.quota += amount;
                    self.key += amount;
                    self.ended.insert(*h, true);
                }
                self.holds.contains_key(h)
            }
            Step::Abandon(h) => self.holds.contains_key(h),
            Step::Days(days) => {
                self.today += days;
                true
            }
            Step::Deposit(amount) if *amount == 0 => false,
            Step::Deposit(amount) | Step::Adjust(amount) => {
                self.quota += amount;
                true
            }
            Step::Refund(h, amount) => {
                let Some(ModelHold { charged: Some(charged), .. }) = self.holds.get_mut(h) else {
                    return false;
                };
                if *amount <= 0 || amount > charged {
                    return false;
                }
                *charged -= amount;
                self.quota += amount;
                self.used -= amount;
                true
            }
        }
    }
}

/// The rows as the database would have them, batch after batch.
struct Stored {
    quota: i64,
    key: i64,
    spending: [Option<Box<Spending>>; 2],
    holds: HashMap<HoldId, HoldRow>,
}

impl Stored {
    fn book(&self, today: i64) -> Book {
        let [of_user, of_key] = self.spending.clone();
        let mut rows = Rows { holds: self.holds.clone(), ..Rows::default() };
        rows.accounts.insert(USER, Account { spending: of_user, ..account(self.quota) });
        let remain = Quota(self.key);
        rows.keys.insert(KEY, KeyLimit { remain, unlimited: false, spending: of_key });
        Book::new(rows, at(today))
    }

    /// Writes as the engines do: only what a change speaks of.
    fn write(&mut self, changes: Changes) {
        let change = changes.accounts.get(&USER).copied().unwrap_or_default();
        let key_change = changes.keys.get(&KEY).copied().unwrap_or_default();
        self.quota += change.delta.0;
        self.key += key_change.delta.0;
        let becomes = [&changes.balances[&USER].spending, &changes.limits[&KEY].spending];
        let changed_from = [change.spent_was, key_change.spent_was];
        for ((stored, now), was) in self.spending.iter_mut().zip(becomes).zip(changed_from) {
            let was = was.or(now.as_ref().map(|now| now.spent));
            assert_eq!(was, stored.as_ref().map(|stored| stored.spent));
            stored.clone_from(now);
        }
        self.holds = changes.holds.into_iter().map(|(id, row)| (id, row.stored())).collect();
    }

    /// What the audit looks at.
    fn check_counts(&self, model: &Model) {
        for Spending { spent, .. } in self.spending.iter().flatten().map(|boxed| &**boxed) {
            let day = model.spent(|day| Day::of(at(day)) == spent.on);
            let month = model.spent(|day| month(day) == i64::from(spent.on.0) / 100);
            assert_eq!((spent.day, spent.month), (Quota(day), Quota(month)), "{spent:?}");
        }
    }
}

fn limits() -> impl Strategy<Value = Option<ModelLimits>> {
    prop::option::of((1_i64..150, 1_i64..300))
        .prop_map(|limits| limits.map(|(daily, monthly)| ModelLimits { daily, monthly }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any sequence, cut into batches anywhere, comes out as the model says; balance and journal
    /// move as one, each hold ends once, and what is counted as spent is what the holds say.
    #[test]
    fn any_sequence_in_any_batches_agrees_with_the_model(
        quota in 0_i64..200, key in 0_i64..200, limits in [limits(), limits()],
        steps in prop::collection::vec(step(), 1..60),
        cuts in prop::collection::vec(any::<bool>(), 60),
    ) {
        let mut model = Model { quota, key, limits, ..Model::default() };
        let (mut journal, mut used, mut closings) = (quota, 0, HashMap::new());
        let spending = limits.map(|limits| {
            let ModelLimits { daily, monthly } = limits?;
            let limits = Limits { daily: Some(Quota(daily)), monthly: Some(Quota(monthly)) };
            Spending::of(limits, None, 0, 0)
        });
        let mut stored = Stored { quota, key, spending, holds: HashMap::new() };
        let mut open = stored.book(model.today);
        for (step, cut) in steps.iter().zip(cuts) {
            let op = op_of(step);
            let done = op.as_ref().is_none_or(|op| open.apply(op).is_ok());
            prop_assert_eq!(done, model.apply(step), "{:?}", step);
            if op.is_some() && !cut {
                continue;
            }
            let changes = open.into_changes();
            let delta = changes.accounts.get(&USER).map_or(0, |change| change.delta.0);
            let lines: i64 = changes.entries.iter().map(|entry| entry.delta.0).sum();
            prop_assert_eq!(lines, delta);
            journal += lines;
            used += changes.entries.iter().map(|entry| entry.used_delta.0).sum::<i64>();
            for entry in changes.entries.iter().filter(|entry| entry.closes) {
                *closings.entry(entry.hold_id).or_insert(0) += 1;
            }
            stored.write(changes);
            let moved = (stored.quota, stored.key, used);
            prop_assert_eq!(moved, (model.quota, model.key, model.used));
            prop_assert_eq!(journal, model.quota);
            for (id, row) in &stored.holds {
                let ended = matches!(row.state, HoldState::Ended(_));
                prop_assert_eq!(closings.get(&Some(*id)).copied().unwrap_or(0), i32::from(ended));
            }
            stored.check_counts(&model);
            open = stored.book(model.today);
        }
    }
}
