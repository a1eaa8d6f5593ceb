//! The book against the simplest possible model: plain numbers, one rule a line.

use crate::book::{BatchChanges, Book, OpRefusal};
use crate::error::{CodeFault, LedgerError};
use crate::journal::LineKind;
use crate::op::{
    ChargeRef, Closed, EndState, Entry, HoldRef, HoldRequest, HoldTerms, Moved, Movement, NewHold,
    Op, OpOutcome, Release, Settlement,
};
use crate::redemption::{CodeRow, Redemption};
use crate::rows::{Account, EndedHold, HoldRow, KeyLimit, MadeMovement, RowId, Rows, SettledCall};
use crate::spending::{Day, Spending, SpendingLimits};
use domain::{
    FrozenPrice, HoldId, KeyId, NodeId, PriceRow, Pricing, Quota, Ratio, RedemptionId, UnixMs,
    UserId,
};
use foldhash::{HashMap, HashSet};
use proptest::prelude::*;
use std::sync::Arc;
use uuid::Uuid;

mod refunds;

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

fn id(n: u128) -> HoldId {
    HoldId(Uuid::from_u128(n))
}

fn request_id(n: u128) -> Arc<str> {
    format!("r{n}").into()
}

fn hold_op(n: u128, amount: i64, limited: bool) -> Op {
    let request = HoldRequest {
        hold_id: id(n),
        user_id: USER,
        key_id: KEY,
        key_is_limited: limited,
        channel_id: None,
        model: "m".into(),
        request_id: request_id(n),
        amount: Quota(amount),
        price: price(),
        deadline_at: UnixMs(0),
        task: None,
    };
    Op::Hold(Box::new(NewHold { request, price_id: 5, node: NODE }))
}

fn place(n: u128) -> HoldRef {
    HoldRef { hold_id: id(n), user_id: USER }
}

fn settle_op(n: u128, charge: i64) -> Op {
    settle_with(n, charge, false)
}

fn settle_with(n: u128, charge: i64, limited: bool) -> Op {
    let settlement = Settlement { charge: Quota(charge), ..Settlement::default() };
    let (model, request_id) = ("m".into(), request_id(n));
    let key_is_limited = limited;
    let terms = Arc::new(HoldTerms { key_id: KEY, key_is_limited, model, request_id, price_id: 5 });
    Op::Settle(place(n), Box::new(settlement), terms)
}

fn release_op(n: u128) -> Op {
    Op::Release(place(n), Release::default(), true)
}

fn movement(amount: i64) -> Movement {
    let (reason, by, reference) = ("test".into(), "test".into(), None);
    Movement { user_id: USER, amount: Quota(amount), reason, by, reference, told: None }
}

fn entry(reference: &str) -> Entry {
    Entry { reference: reference.into(), id: Uuid::new_v4() }
}

fn deposit_op(amount: i64, reference: &str) -> Op {
    Op::Move(movement(amount), LineKind::Topup, entry(reference))
}

fn refund_op(n: u128, amount: i64, reference: &str) -> Op {
    Op::Refund(request_id(n).into(), movement(amount), entry(reference))
}

fn account(quota: i64) -> Account {
    Account { id: USER, username: "ann".into(), quota: Quota(quota), usable: true, spending: None }
}

fn rows(quota: i64, key: Option<i64>) -> Rows {
    let mut rows = Rows::default();
    rows.accounts.insert(USER, account(quota));
    if let Some(remain) = key {
        let remain = Quota(remain);
        rows.keys.insert(KEY, KeyLimit { id: KEY, remain, unlimited: false, spending: None });
    }
    rows
}

fn book(quota: i64, key: Option<i64>) -> Book {
    Book::new(rows(quota, key), UnixMs(0))
}

fn refused(book: &mut Book, op: &Op) -> LedgerError {
    match book.apply(op) {
        Err(OpRefusal::No(error)) => error,
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
    assert_eq!(changes.written_holds().0.len(), 2);
    assert_eq!(changes.account_moves[&USER].delta, Quota(-10));
    assert!(changes.lines.is_empty(), "a hold is a row, and no line");
}

#[test]
fn the_key_s_own_limit_is_checked_in_the_same_step() {
    let mut book = book(100, Some(5));
    assert!(matches!(
        refused(&mut book, &hold_op(1, 6, true)),
        LedgerError::InsufficientQuota { key_limit: true, .. }
    ));
    assert!(book.apply(&hold_op(2, 5, true)).is_ok());
    let settled = book.apply(&settle_op(2, 3)).unwrap();
    assert!(matches!(settled, OpOutcome::Closed(Closed { released: Quota(2), .. })));
    let changes = book.into_changes();
    assert_eq!(changes.key_moves[&KEY].delta, Quota(-3));
    assert_eq!(changes.account_moves[&USER].delta, Quota(-3));
}

#[test]
fn settling_takes_what_is_missing_and_a_negative_balance_blocks() {
    let mut book = book(10, None);
    book.apply(&hold_op(1, 10, false)).unwrap();
    let closed = book.apply(&settle_op(1, 25)).unwrap();
    assert!(matches!(closed, OpOutcome::Closed(Closed { overrun: Quota(15), .. })));
    assert!(matches!(
        refused(&mut book, &hold_op(2, 0, false)),
        LedgerError::InsufficientQuota { available: Quota(-15), .. }
    ));
}

#[test]
fn a_second_end_is_answered_with_the_first_one_s_result() {
    let mut book = book(10, None);
    book.apply(&hold_op(1, 10, false)).unwrap();
    book.apply(&settle_op(1, 4)).unwrap();
    let first = Closed {
        state: EndState::Settled,
        charged: Quota(4),
        released: Quota(6),
        overrun: Quota::ZERO,
        bounded: None,
        repeated: true,
    };
    assert_eq!(book.apply(&release_op(1)).unwrap(), OpOutcome::Closed(first));
    assert_eq!(book.apply(&settle_op(1, 9)).unwrap(), OpOutcome::Closed(first));
    let changes = book.into_changes();
    assert_eq!(changes.lines.len(), 1);
    assert_eq!(changes.account_moves[&USER].delta, Quota(-4));
}

#[test]
fn a_hold_that_is_sent_again_is_the_same_hold() {
    let mut first = book(10, None);
    first.apply(&hold_op(1, 6, false)).unwrap();
    assert!(matches!(refused(&mut first, &hold_op(1, 6, false)), LedgerError::WrongState));
    let changes = first.into_changes();
    let mut rows = rows(4, None);
    rows.holds.extend(changes.holds.into_iter().map(|(id, row)| (id, row.stored())));
    let mut again = Book::new(rows, UnixMs(0));
    assert_eq!(again.apply(&hold_op(1, 6, false)).unwrap(), OpOutcome::Held);
    let changes = again.into_changes();
    assert!(changes.account_moves.is_empty() && changes.written_holds().0.is_empty());
}

#[test]
fn a_settlement_whose_hold_is_lost_charges_once() {
    let mut rows = rows(100, None);
    rows.gone.insert(RowId::Hold(id(1)));
    let mut lost = Book::new(rows, UnixMs(0));
    let closed = lost.apply(&settle_op(1, 30)).unwrap();
    assert!(matches!(
        closed,
        OpOutcome::Closed(Closed { charged: Quota(30), overrun: Quota(30), repeated: false, .. })
    ));
    let again = lost.apply(&settle_op(1, 30)).unwrap();
    assert!(matches!(again, OpOutcome::Closed(Closed { repeated: true, .. })));
    let changes = lost.into_changes();
    assert_eq!(changes.account_moves[&USER].delta, Quota(-30));
    assert_eq!(&*changes.lines[0].content, "hold_lost");
    assert_eq!((changes.lines.len(), changes.lines[0].held), (1, Some(Quota::ZERO)));
}

#[test]
fn a_hold_whose_user_was_deleted_ends_without_money() {
    for op in [settle_op(1, 5), release_op(1), Op::Expire(place(1))] {
        let mut made = book(10, None);
        made.apply(&hold_op(1, 6, false)).unwrap();
        let mut rows = Rows::default();
        let holds = made.into_changes().holds.into_iter().map(|(id, row)| (id, row.stored()));
        rows.holds.extend(holds);
        rows.gone.insert(RowId::User(USER));
        let mut book = Book::new(rows, UnixMs(0));
        let ended = book.apply(&op).unwrap();
        assert!(matches!(ended, OpOutcome::Closed(Closed { charged: Quota(0), .. })), "{op:?}");
        let changes = book.into_changes();
        assert_eq!((changes.ended_holds.len(), changes.account_moves.len()), (1, 0), "{op:?}");
    }
}

#[test]
fn rows_that_are_locked_are_waited_for() {
    let mut rows = Rows::default();
    rows.accounts.insert(USER, account(10));
    let mut book = Book::new(rows, UnixMs(0));
    assert!(matches!(book.apply(&settle_op(1, 1)), Err(OpRefusal::Locked)), "the hold");
    assert!(matches!(book.apply(&hold_op(1, 1, true)), Err(OpRefusal::Locked)), "the key");
}

#[test]
fn a_reference_moves_once() {
    let mut book = book(10, None);
    let moved = |balance, repeated| OpOutcome::Moved(Moved { balance: Quota(balance), repeated });
    let first = deposit_op(5, "pay-1");
    assert_eq!(book.apply(&first).unwrap(), moved(15, false));
    assert_eq!(book.apply(&first).unwrap(), moved(15, false), "its commit was not answered");
    assert_eq!(book.apply(&deposit_op(5, "pay-1")).unwrap(), moved(15, true));
    assert!(matches!(refused(&mut book, &deposit_op(6, "pay-1")), LedgerError::ReferenceTaken));
    let adjust = Op::Move(movement(5), LineKind::Adjust, entry("pay-1"));
    assert!(matches!(refused(&mut book, &adjust), LedgerError::ReferenceTaken));
    assert_eq!(book.apply(&deposit_op(5, "pay-2")).unwrap(), moved(20, false));
    assert_eq!(book.into_changes().lines.len(), 2);
}

#[test]
fn amounts_that_do_not_fit_change_nothing() {
    let mut book = book(i64::MAX, None);
    assert!(matches!(refused(&mut book, &deposit_op(1, "a")), LedgerError::Overflow));
    let large = Quota::LARGEST.0 + 1;
    assert!(matches!(refused(&mut book, &deposit_op(large, "b")), LedgerError::Overflow));
    assert!(matches!(refused(&mut book, &hold_op(2, -1, false)), LedgerError::Overflow));
    assert!(matches!(refused(&mut book, &hold_op(2, large, false)), LedgerError::Overflow));
    book.apply(&hold_op(1, 5, false)).unwrap();
    assert!(matches!(refused(&mut book, &settle_op(1, -1)), LedgerError::Overflow));
    let changes = book.into_changes();
    assert_eq!((changes.lines.len(), changes.account_moves[&USER].delta), (0, Quota(-5)));
}

#[test]
fn a_code_pays_once_within_a_batch_too() {
    let (id, ends) = (RedemptionId(7), UnixMs(1_000));
    let code =
        || CodeRow { name: "spring".into(), quota: Quota(5), status: 1, expires_at: Some(ends) };
    let redeem = |at, reference: &str| {
        Op::Redeem(Redemption { id, user_id: USER, by: "ann".into(), at }, entry(reference))
    };
    let mut rows = rows(10, None);
    rows.codes.insert(id, code());
    let mut book = Book::new(rows, UnixMs(0));
    let late = refused(&mut book, &redeem(ends, "a"));
    assert!(matches!(late, LedgerError::Code(CodeFault::Expired)));
    let before = ends.plus_ms(-1);
    let moved = |repeated| OpOutcome::Moved(Moved { balance: Quota(15), repeated });
    let first = redeem(before, "b");
    assert_eq!(book.apply(&first).unwrap(), moved(false));
    assert_eq!(book.apply(&first).unwrap(), moved(false), "carried out again");
    let other = refused(&mut book, &redeem(before, "c"));
    assert!(matches!(other, LedgerError::Code(CodeFault::Redeemed)));
    let changes = book.into_changes();
    assert_eq!(changes.redeemed, [(id, USER)]);
    assert_eq!(changes.account_moves[&USER].delta, Quota(5));
    assert_eq!(changes.lines[0].other().as_deref(), Some(r#"{"redemption_id":7}"#));
}

/// The model's state of a hold.
#[derive(Clone, Copy, Debug)]
struct ModelHold {
    amount: i64,
    /// `None`: it is open, or was released.
    charged: Option<i64>,
    /// What of the charge was refunded.
    refunded: i64,
    open: bool,
    /// The day on which it counts.
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
    /// The last movement once more, under its reference.
    MoveAgain,
    /// This many days pass; the next batch begins.
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
        2 => (hold, -30_i64..50).prop_map(|(h, a)| Step::Refund(h, a)),
        1 => Just(Step::MoveAgain),
        1 => (0_i64..20).prop_map(Step::Days),
    ]
}

/// What is spent of the user's limits, or of the key's: by day and by month, from the first day on.
#[derive(Clone, Copy, Debug)]
struct ModelLimits {
    daily: i64,
    monthly: i64,
}

/// All rules, on plain numbers.
#[derive(Default)]
struct Model {
    quota: i64,
    used: i64,
    key: i64,
    holds: HashMap<u8, ModelHold>,
    /// Of the user, and of the key.
    limits: [Option<ModelLimits>; 2],
    today: i64,
    references: u32,
    last_movement: Option<Op>,
}

/// A month of the model is a calendar month: it begins on the first of December.
fn month(day: i64) -> i64 {
    i64::from(Day::of(at(day)).0) / 100
}

fn at(day: i64) -> UnixMs {
    UnixMs(1_796_083_200_000 + day * 86_400_000)
}

impl Model {
    /// The operation of a step; `None` where it means nothing: a hold ends once.
    fn op(&mut self, step: &Step) -> Option<Op> {
        let n = |h: u8| u128::from(h) + 1;
        let used = |h: &u8| self.holds.contains_key(h);
        let op = match step {
            Step::Days(_) => return None,
            Step::Hold(h, _) if used(h) => return None,
            Step::Settle(h, _) | Step::Refund(h, _) if !used(h) => return None,
            Step::Hold(h, amount) => hold_op(n(*h), *amount, true),
            Step::Grow(h, to) => Op::Grow(place(n(*h)), Quota(*to)),
            Step::Settle(h, charge) => settle_with(n(*h), *charge, true),
            Step::Release(h) => release_op(n(*h)),
            Step::Expire(h) => Op::Expire(place(n(*h))),
            Step::Abandon(h) => Op::Abandon(place(n(*h)), None),
            Step::MoveAgain => return self.last_movement.clone(),
            Step::Deposit(_) | Step::Adjust(_) | Step::Refund(..) => {
                self.references += 1;
                let reference = self.references.to_string();
                match step {
                    Step::Deposit(amount) => deposit_op(*amount, &reference),
                    Step::Adjust(amount) => {
                        Op::Move(movement(*amount), LineKind::Adjust, entry(&reference))
                    }
                    Step::Refund(h, amount) => refund_op(n(*h), *amount, &reference),
                    _ => return None,
                }
            }
        };
        Some(op)
    }

    fn fits(&self, amount: i64) -> bool {
        self.quota >= amount.max(0) && self.key >= amount.max(0)
    }

    /// The sum of the holds that `counts` selects; added up anew each time.
    fn spent(&self, counts: impl Fn(i64) -> bool) -> i64 {
        let holds = self.holds.values().filter(|hold| counts(hold.day));
        let worth =
            |hold: &ModelHold| hold.charged.unwrap_or(if hold.open { hold.amount } else { 0 });
        holds.map(worth).sum()
    }

    /// Whether a hold may be as large as `to`.
    fn may_spend(&self, h: u8, to: i64) -> bool {
        let reaches = |limit: i64, spent: i64| limit - spent >= to.max(0);
        self.limits.iter().flatten().all(|limits| {
            let mut day = self.spent(|day| day == self.today);
            let mut month_so_far = self.spent(|day| month(day) == month(self.today));
            if let Some(own) = self.holds.get(&h) {
                day -= if own.day == self.today { own.amount } else { 0 };
                month_so_far -= if month(own.day) == month(self.today) { own.amount } else { 0 };
            }
            reaches(limits.daily, day) && reaches(limits.monthly, month_so_far)
        })
    }

    /// Whether the step succeeds.
    fn apply(&mut self, step: &Step, op: Option<&Op>) -> bool {
        let open = |model: &Self, h: &u8| model.holds.get(h).is_some_and(|hold| hold.open);
        let today = self.today;
        match step {
            Step::Days(days) => self.today += days,
            _ if op.is_none() => {}
            Step::Hold(h, amount) => {
                if !self.fits(*amount) || !self.may_spend(*h, *amount) {
                    return false;
                }
                self.quota -= amount;
                self.key -= amount;
                let (amount, day) = (*amount, today);
                let (charged, refunded) = (None, 0);
                let hold = ModelHold { amount, charged, refunded, open: true, day };
                self.holds.insert(*h, hold);
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
                    let hold = self.holds.get_mut(h).unwrap();
                    (hold.amount, hold.day) = (*to, today);
                }
            }
            Step::Settle(h, charge) => {
                let hold = self.holds.get_mut(h).unwrap();
                if hold.charged.is_some() {
                    return true;
                }
                // A released hold is charged all the same: the work was done.
                let held = if hold.open { hold.amount } else { 0 };
                self.quota += held - charge;
                self.key += held - charge;
                self.used += charge;
                (hold.charged, hold.open, hold.day) = (Some(*charge), false, today);
            }
            Step::Release(h) | Step::Expire(h) => {
                if let Some(hold) = self.holds.get_mut(h).filter(|hold| hold.open) {
                    self.quota += hold.amount;
                    self.key += hold.amount;
                    (hold.amount, hold.open) = (0, false);
                }
            }
            Step::Abandon(_) | Step::MoveAgain => {}
            Step::Deposit(0) => return false,
            Step::Deposit(amount) | Step::Adjust(amount) => {
                self.quota += amount;
                self.last_movement = op.cloned();
            }
            Step::Refund(h, amount) => {
                let Some(ModelHold { charged: Some(charged), refunded, .. }) =
                    self.holds.get_mut(h)
                else {
                    return false;
                };
                if *amount == 0 || amount > charged || -*amount > *refunded {
                    return false;
                }
                *charged -= amount;
                *refunded += amount;
                self.quota += amount;
                self.used -= amount;
                self.last_movement = op.cloned();
            }
        }
        true
    }
}

/// The rows as the database would have them, batch after batch.
struct Stored {
    quota: i64,
    key: i64,
    spending: [Option<Box<Spending>>; 2],
    holds: HashMap<HoldId, HoldRow>,
    ended: HashMap<HoldId, EndedHold>,
    settled: HashMap<(UserId, ChargeRef), SettledCall>,
    movements: HashMap<(UserId, Arc<str>), MadeMovement>,
}

impl Stored {
    fn book(&self, today: i64) -> Book {
        let [of_user, of_key] = self.spending.clone();
        let all: HashSet<RowId> = (1..=6).map(|n| RowId::Hold(id(n))).collect();
        let mut rows = Rows {
            holds: self.holds.clone(),
            ended: self.ended.clone(),
            settled: self.settled.clone(),
            movements: self.movements.clone(),
            gone: all,
            ..Rows::default()
        };
        rows.accounts.insert(USER, Account { spending: of_user, ..account(self.quota) });
        let remain = Quota(self.key);
        rows.keys.insert(KEY, KeyLimit { id: KEY, remain, unlimited: false, spending: of_key });
        Book::new(rows, at(today))
    }

    /// Writes as the engines do: only what a change mentions.
    fn write(&mut self, changes: BatchChanges) {
        let change = changes.account_moves.get(&USER).copied().unwrap_or_default();
        let key_change = changes.key_moves.get(&KEY).copied().unwrap_or_default();
        self.quota += change.delta.0;
        self.key += key_change.delta.0;
        let becomes = [&changes.accounts[&USER].spending, &changes.keys[&KEY].spending];
        let changed_from = [change.spent_was, key_change.spent_was];
        for ((stored, now), was) in self.spending.iter_mut().zip(becomes).zip(changed_from) {
            let was = was.or(now.as_ref().map(|now| now.spent));
            assert_eq!(was, stored.as_ref().map(|stored| stored.spent));
            stored.clone_from(now);
        }
        for line in &changes.lines {
            let hold_id = line.hold_id.unwrap_or(id(0));
            match line.kind {
                LineKind::Consume => {
                    let (held, charged) = (line.held.unwrap(), line.quota);
                    let state = EndState::Settled;
                    let once = self.ended.insert(hold_id, EndedHold { state, held, charged });
                    assert_eq!(once, None, "a call is charged once");
                    let call = SettledCall {
                        hold_id,
                        key_id: KEY,
                        channel_id: None,
                        model: "m".into(),
                        counted_on: line.counted_on,
                        key_counted_on: line.key_counted_on,
                        charged,
                        refunded: Quota::ZERO,
                    };
                    self.settled.insert((USER, line.request_id.clone().into()), call);
                }
                LineKind::Refund => {
                    let call =
                        self.settled.get_mut(&(USER, line.request_id.clone().into())).unwrap();
                    call.charged = Quota(call.charged.0 + line.used_delta.0);
                    call.refunded = Quota(call.refunded.0 - line.used_delta.0);
                }
                _ => {}
            }
        }
        for made in &changes.movements {
            let key = (made.user_id, made.reference.clone());
            assert_eq!(self.movements.insert(key, made.made.clone()), None);
        }
        let ended: HashSet<HoldId> = changes.ended_holds.iter().map(|row| row.id).collect();
        assert!(ended.iter().all(|id| self.holds.contains_key(id)));
        let kept: HashSet<HoldId> = changes.holds.keys().copied().collect();
        assert!(self.holds.keys().all(|id| kept.contains(id) != ended.contains(id)));
        self.holds = changes.holds.into_iter().map(|(id, row)| (id, row.stored())).collect();
    }

    fn held(&self) -> i64 {
        self.holds.values().map(|row| row.amount.0).sum()
    }

    /// The rules of the audit.
    fn check_counts(&self, model: &Model) {
        for spending in self.spending.iter().flatten() {
            let spent = spending.spent;
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

    /// Any sequence, cut into batches anywhere, ends as in the model; the balance is the sum of the
    /// journal less the open holds, each hold ends once, each movement happens once, and what is
    /// counted as spent is the sum of lines and holds.
    #[test]
    fn any_sequence_in_any_batches_agrees_with_the_model(
        quota in 0_i64..200, key in 0_i64..200, limits in [limits(), limits()],
        steps in prop::collection::vec(step(), 1..60),
        cuts in prop::collection::vec(any::<bool>(), 60),
    ) {
        let mut model = Model { quota, key, limits, ..Model::default() };
        let (mut journal, mut used) = (quota, 0);
        let spending = limits.map(|limits| {
            let ModelLimits { daily, monthly } = limits?;
            let (daily, monthly) = (Some(Quota(daily)), Some(Quota(monthly)));
            let limits = SpendingLimits { daily, monthly };
            Spending::of(limits, None, 0, 0)
        });
        let mut stored = Stored {
            quota,
            key,
            spending,
            holds: HashMap::default(),
            ended: HashMap::default(),
            settled: HashMap::default(),
            movements: HashMap::default(),
        };
        let mut open = stored.book(model.today);
        for (step, cut) in steps.iter().zip(cuts) {
            // A later batch reads a settled call from its line.
            if matches!(step, Step::Refund(..)) {
                stored.write(open.into_changes_of(&mut journal, &mut used));
                open = stored.book(model.today);
            }
            let op = model.op(step);
            let done = op.as_ref().is_none_or(|op| open.apply(op).is_ok());
            prop_assert_eq!(done, model.apply(step, op.as_ref()), "{:?}", step);
            if op.is_some() && !cut {
                continue;
            }
            stored.write(open.into_changes_of(&mut journal, &mut used));
            let moved = (stored.quota, stored.key, used);
            prop_assert_eq!(moved, (model.quota, model.key, model.used));
            prop_assert_eq!(journal - stored.held(), model.quota);
            stored.check_counts(&model);
            open = stored.book(model.today);
        }
    }
}

impl Book {
    /// The changes, with the sums of their lines.
    fn into_changes_of(self, journal: &mut i64, used: &mut i64) -> BatchChanges {
        let changes = self.into_changes();
        *journal += changes.lines.iter().map(|line| line.delta.0).sum::<i64>();
        *used += changes.lines.iter().map(|line| line.used_delta.0).sum::<i64>();
        changes
    }
}
