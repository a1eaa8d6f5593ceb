//! What a charge gives back later, and takes again.

use super::*;

/// A book over a settled call that was charged 4.
fn charged() -> Book {
    let mut rows = rows(10, None);
    let call = SettledCall {
        hold_id: id(1),
        key_id: KEY,
        channel_id: None,
        model: "m".into(),
        counted_on: None,
        key_counted_on: None,
        charged: Quota(4),
        refunded: Quota::ZERO,
    };
    rows.settled.insert((USER, request_id(1).into()), call);
    Book::new(rows, UnixMs(0))
}

#[test]
fn a_refund_never_exceeds_the_charge() {
    let mut book = charged();
    assert!(book.apply(&refund_op(1, 3, "a")).is_ok());
    assert!(matches!(refused(&mut book, &refund_op(1, 2, "b")), LedgerError::Overflow));
    assert!(book.apply(&refund_op(1, 1, "c")).is_ok());
    let another_call = refused(&mut book, &refund_op(2, 1, "c"));
    assert!(matches!(another_call, LedgerError::ReferenceTaken));
    assert!(matches!(refused(&mut book, &refund_op(2, 1, "d")), LedgerError::UnknownHold));
    let changes = book.into_changes();
    assert_eq!(changes.account_moves[&USER].delta, Quota(4));
    assert_eq!(changes.account_moves[&USER].used_delta, Quota(-4));
}

#[test]
fn a_refund_is_taken_back_as_far_as_it_went() {
    let mut book = charged();
    assert!(matches!(refused(&mut book, &refund_op(1, -1, "a")), LedgerError::Overflow));
    assert!(book.apply(&refund_op(1, 3, "b")).is_ok());
    assert!(matches!(refused(&mut book, &refund_op(1, -4, "c")), LedgerError::Overflow));
    assert!(book.apply(&refund_op(1, -3, "d")).is_ok());
    assert!(book.apply(&refund_op(1, 4, "e")).is_ok(), "all of it may be given back again");
    let changes = book.into_changes();
    let moved: Vec<_> = changes.lines.iter().map(|line| (line.quota, line.used_delta)).collect();
    let expected = [(3, -3), (-3, 3), (4, -4)].map(|(by, used)| (Quota(by), Quota(used)));
    assert_eq!(moved, expected);
    assert_eq!(changes.account_moves[&USER].delta, Quota(4));
}
