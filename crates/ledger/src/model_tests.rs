//! The book against the simplest model there is: plain numbers, one rule a line.

use crate::book::{Account, Book, HoldState, KeyLimit, Refusal, Rows};
use crate::error::{CodeFault, LedgerError};
use crate::op::{
    Closed, EndState, HoldRef, HoldRequest, Movement, Op, Outcome, Release, Settlement,
};
use crate::redemption::{CodeRow, Redemption};
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

fn book(quota: i64, key: Option<i64>) -> Book {
    let mut rows = Rows::default();
    let account = Account { username: "ann".into(), quota: Quota(quota), usable: true };
    rows.accounts.insert(USER, account);
    if let Some(remain) = key {
        rows.keys.insert(KEY, KeyLimit { remain: Quota(remain), unlimited: false });
    }
    Book::new(rows)
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
    assert_eq!(changes.keys[&KEY], Quota(-3));
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
    let account = Account { username: "ann".into(), quota: Quota(10), usable: true };
    rows.accounts.insert(USER, account);
    rows.codes.insert(id, code());
    let mut book = Book::new(rows);
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
    ]
}

fn op_of(step: &Step) -> Op {
    let id = |h: u8| u128::from(h) + 1;
    match *step {
        Step::Hold(h, amount) => hold_op(id(h), amount, true),
        Step::Grow(h, to) => Op::Grow(place(id(h), true), Quota(to)),
        Step::Settle(h, charge) => settle_op(id(h), charge, true),
        Step::Release(h) => release_op(id(h), true),
        Step::Expire(h) => Op::Expire(place(id(h), true)),
        Step::Abandon(h) => Op::Abandon(place(id(h), true)),
        Step::Deposit(amount) => Op::Deposit(movement(amount)),
        Step::Adjust(amount) => Op::Adjust(movement(amount)),
        Step::Refund(h, amount) => Op::Refund(place(id(h), true), movement(amount)),
    }
}

/// The whole of the rules, on plain numbers.
#[derive(Default)]
struct Model {
    quota: i64,
    used: i64,
    key: i64,
    holds: HashMap<u8, ModelHold>,
    ended: HashMap<u8, bool>,
}

impl Model {
    fn fits(&self, amount: i64) -> bool {
        self.quota >= amount.max(0) && self.key >= amount.max(0)
    }

    /// Whether the step is carried out.
    fn apply(&mut self, step: &Step) -> bool {
        let open = |model: &Self, h: &u8| model.holds.contains_key(h) && !model.ended[h];
        match step {
            Step::Hold(h, amount) => {
                if self.holds.contains_key(h) || !self.fits(*amount) {
                    return false;
                }
                self.quota -= amount;
                self.key -= amount;
                self.holds.insert(*h, ModelHold { amount: *amount, charged: None });
                self.ended.insert(*h, false);
                true
            }
            Step::Grow(h, to) => {
                if !open(self, h) {
                    return false;
                }
                let more = to - self.holds[h].amount;
                if more > 0 {
                    if !self.fits(more) {
                        return false;
                    }
                    self.quota -= more;
                    self.key -= more;
                    self.holds.insert(*h, ModelHold { amount: *to, charged: None });
                }
                true
            }
            Step::Settle(h, charge) => {
                if open(self, h) {
                    let amount = self.holds[h].amount;
                    self.quota += amount - charge;
                    self.key += amount - charge;
                    self.used += charge;
                    self.holds.insert(*h, ModelHold { amount, charged: Some(*charge) });
                    self.ended.insert(*h, true);
                }
                self.holds.contains_key(h)
            }
            Step::Release(h) | Step::Expire(h) => {
                if open(self, h) {
                    self.quota += self.holds[h].amount;
                    self.key += self.holds[h].amount;
                    self.ended.insert(*h, true);
                }
                self.holds.contains_key(h)
            }
            Step::Abandon(h) => self.holds.contains_key(h),
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any sequence, cut into batches anywhere, comes out as the model says; balance and journal
    /// move as one, and each hold ends once.
    #[test]
    fn any_sequence_in_any_batches_agrees_with_the_model(
        quota in 0_i64..200, key in 0_i64..200,
        steps in prop::collection::vec(step(), 1..60),
        cuts in prop::collection::vec(any::<bool>(), 60),
    ) {
        let mut model = Model { quota, key, ..Model::default() };
        let (mut journal, mut used, mut closings) = (quota, 0, HashMap::new());
        let mut open = book(quota, Some(key));
        let mut balance = (quota, key);
        for (step, cut) in steps.iter().zip(cuts) {
            let done = open.apply(&op_of(step)).is_ok();
            prop_assert_eq!(done, model.apply(step), "{:?}", step);
            if !cut {
                continue;
            }
            let changes = open.into_changes();
            let change = changes.accounts.get(&USER).copied().unwrap_or_default();
            balance.0 += change.delta.0;
            balance.1 += changes.keys.get(&KEY).map_or(0, |delta| delta.0);
            let lines: i64 = changes.entries.iter().map(|entry| entry.delta.0).sum();
            prop_assert_eq!(lines, change.delta.0);
            journal += lines;
            used += changes.entries.iter().map(|entry| entry.used_delta.0).sum::<i64>();
            for entry in changes.entries.iter().filter(|entry| entry.closes) {
                *closings.entry(entry.hold_id).or_insert(0) += 1;
            }
            prop_assert_eq!((balance.0, balance.1, used), (model.quota, model.key, model.used));
            prop_assert_eq!(journal, model.quota);
            let mut rows = Rows::default();
            for (id, row) in changes.holds {
                let row = row.stored();
                let ended = matches!(row.state, HoldState::Ended(_));
                prop_assert_eq!(closings.get(&Some(id)).copied().unwrap_or(0), i32::from(ended));
                rows.holds.insert(id, row);
            }
            let account =
                Account { username: "ann".into(), quota: Quota(balance.0), usable: true };
            rows.accounts.insert(USER, account);
            rows.keys.insert(KEY, KeyLimit { remain: Quota(balance.1), unlimited: false });
            open = Book::new(rows);
        }
    }
}
