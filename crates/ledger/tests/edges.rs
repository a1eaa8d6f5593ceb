//! The ledger under edits by hand, repeated request ids and wrong clocks. Every test ends in a
//! clean audit.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code, reason = "shared with other tests")]
mod support;

use domain::{NodeId, Quota, UserId};
use ledger::{Hold, KeptReply, LedgerError, Movement, Release, Settlement};
use std::sync::Arc;
use support::TestLedger;
use testkit::{TestDb, on_both_databases};
use uuid::Uuid;

fn settlement(charge: i64) -> Settlement {
    Settlement { charge: Quota(charge), ..Settlement::default() }
}

fn movement(user_id: UserId, amount: i64) -> Movement {
    let (reason, by, reference) = ("test".into(), "test".into(), None);
    Movement { user_id, amount: Quota(amount), reason, by, reference, told: None }
}

/// A call with a client-supplied request id, settled at this charge.
async fn named_call(node: &TestLedger, user: UserId, name: &str, charge: i64) -> Hold {
    let mut request = node.request(user, node.key_of(user).await, false, charge);
    request.request_id = name.into();
    let mut hold = node.ledger.hold(request).await.unwrap();
    node.ledger.settle(&mut hold, settlement(charge)).await.unwrap();
    hold
}

on_both_databases! {
    async fn a_refund_is_of_the_user_s_own_call(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let (ann, bob, eve) =
            (node.user(100).await, node.user(100).await, node.user(100).await);
        drop(named_call(&node, ann, "r1", 40).await);
        drop(named_call(&node, bob, "r1", 9).await);
        let refund =
            |user, amount| node.ledger.refund(Arc::<str>::from("r1"), movement(user, amount));
        let at_once = tokio::join!(refund(ann, 30), refund(bob, 9), refund(eve, 1));
        assert_eq!(at_once.0.unwrap().balance, Quota(90));
        assert_eq!(at_once.1.unwrap().balance, Quota(100));
        assert!(matches!(at_once.2, Err(LedgerError::UnknownHold)));
        assert!(matches!(refund(bob, 1).await, Err(LedgerError::Overflow)), "all is given back");
        // Two calls share a request id: neither is used.
        drop(named_call(&node, ann, "r1", 5).await);
        assert!(matches!(refund(ann, 1).await, Err(LedgerError::UnknownHold)));
        node.close().await;
    }

    async fn a_refund_that_comes_twice_at_once_is_made_once(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let ann = node.user(100).await;
        drop(named_call(&node, ann, "r1", 40).await);
        let refund = || {
            let once = Movement { reference: Some("back-1".into()), ..movement(ann, 30) };
            node.ledger.refund(Arc::<str>::from("r1"), once)
        };
        let (first, second) = tokio::join!(refund(), refund());
        let repeated = [first.unwrap(), second.unwrap()].map(|moved| moved.repeated);
        assert_eq!(repeated.iter().filter(|repeated| **repeated).count(), 1);
        // The same name and amount for another call is another movement.
        drop(named_call(&node, ann, "r2", 30).await);
        let once = Movement { reference: Some("back-1".into()), ..movement(ann, 30) };
        let other = node.ledger.refund(Arc::<str>::from("r2"), once).await;
        assert!(matches!(other, Err(LedgerError::ReferenceTaken)), "{other:?}");
        assert_eq!(node.balance(ann).await, (60, 40));
        node.close().await;
    }

    async fn a_claim_that_another_node_took_over_is_that_node_s(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let (ann, other) = (node.user(100).await, NodeId(Uuid::now_v7()));
        let claim = async |key: &'static str| {
            let (now, ends) = (node.now(), node.now().plus_ms(60_000));
            let claim =
                store::idempotency::claim(&node.db, ann, key, &[7; 32], other, now, ends).await;
            assert_eq!(claim.unwrap(), store::idempotency::Claim::Mine);
        };
        claim("kept").await;
        claim("forgotten").await;
        let reply = KeptReply {
            user_id: ann,
            idempotency_key: "kept".into(),
            sealed: Some("of the first".into()),
        };
        let mut hold = node.hold(ann, 10).await.unwrap();
        let settlement = Settlement { reply: Some(reply), ..settlement(10) };
        node.ledger.settle(&mut hold, settlement).await.unwrap();
        let mut hold = node.hold(ann, 10).await.unwrap();
        let forget_reply = Some((ann, "forgotten".to_owned()));
        let release = Release { forget_reply, ..Release::default() };
        node.ledger.release(&mut hold, release).await.unwrap();

        let running = "SELECT count(*) FROM idempotency WHERE NOT done";
        assert_eq!(db.i64(running).await, 2, "both are still the other node's");
        node.close().await;
    }

    async fn the_largest_limit_of_a_key_is_no_trap(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let key = node.limited_key(user, 50).await;
        let mut hold = node.hold_with_key(user, key, 20).await.unwrap();
        let most = format!("UPDATE tokens SET remain_quota = {} WHERE id = {key}", i64::MAX);
        db.execute(&most).await;
        node.ledger.settle(&mut hold, settlement(5)).await.unwrap();
        assert_eq!(node.balance(user).await, (95, 5));
        let remain = format!("SELECT remain_quota AS n FROM tokens WHERE id = {key}");
        assert_eq!(db.i64(&remain).await, i64::MAX);
        node.close().await;
    }

    async fn the_hold_of_a_node_that_is_not_registered_is_given_back(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let other = node.another_node().await;
        let hold = node.hold_on(&other.ledger, user, 30).await.unwrap();
        // It was paused, and taken for dead; it made a hold, and died.
        db.execute("DELETE FROM nodes WHERE id IN (SELECT node_id FROM holds)").await;
        std::mem::forget(hold);
        ledger::run_jobs_once(&node.ledger).await.unwrap();
        assert_eq!(node.balance(user).await, (70, 0), "it may live, and register again");
        node.live_on_ms(120_000).await;
        assert_eq!(node.balance(user).await, (100, 0));
        node.close().await;
    }

    async fn an_audit_makes_all_its_steps(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let progress = ledger::AuditProgress::default();
        assert_eq!(progress.step(), Some(ledger::AuditStep::Balances));
        ledger::watched_audit(&node.db, node.now(), &progress).await.unwrap();
        assert_eq!((progress.done(), progress.step()), (ledger::AuditStep::ALL.len(), None));
        node.close().await;
    }

    async fn a_hold_that_nothing_ends_is_a_breach(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let mut hold = node.hold(user, 30).await.unwrap();
        hold.mark_sent();
        drop(hold);
        node.flushed().await;
        let breaches = async || {
            let report = ledger::audit(&node.db, node.now()).await.unwrap();
            report.breaches.iter().map(|it| it.detail.clone()).collect::<Vec<_>>()
        };
        assert!(breaches().await.is_empty(), "it is open");

        // Its deadline passes, and no sweeper gives it back.
        node.pass_ms(24 * 60 * 60 * 1_000);

        let [breach] = breaches().await.try_into().unwrap();
        assert!(breach.contains("overdue") && breach.contains("30"), "{breach}");
        ledger::run_jobs_once(&node.ledger).await.unwrap();
        assert!(breaches().await.is_empty());
        node.close().await;
    }

    async fn lines_after_a_deleted_end_of_the_journal_are_seen(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(1_000).await;
        let note = "INSERT INTO logs (user_id, type, content) VALUES (1, 'system', 'a note')";
        for _ in 0..5 {
            db.execute(note).await;
        }
        ledger::run_jobs_once(&node.ledger).await.unwrap();
        // Some of them are rolled up, and some are not.
        for _ in 0..5 {
            db.execute(note).await;
        }
        db.execute("DELETE FROM logs WHERE type = 'system'").await;
        node.ledger.deposit(movement(user, 7)).await.unwrap();
        let seen = format!("SELECT count(*) AS n FROM user_logs WHERE user_id = {user}");
        assert_eq!(db.i64(&seen).await, 2);
        testkit::eventually("the line to be rolled up", || async {
            node.live_on_ms(20_000).await;
            let days = format!("SELECT sum(lines) AS n FROM logs_by_day WHERE user_id = {user}");
            let rows = db.query(&days).await;
            rows[0].get("n").is_some_and(|lines| lines == "2").then_some(())
        })
        .await;
        node.close().await;
    }

    async fn a_late_charge_is_part_of_the_key_s_limit(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let key = node.limited_key(user, 50).await;
        let limit = format!("UPDATE tokens SET daily_limit = 40 WHERE id = {key}");
        db.execute(&limit).await;
        let mut hold = node.hold_with_key(user, key, 20).await.unwrap();
        hold.mark_sent();
        // Another node took this one for dead, and released the hold.
        let away = "UPDATE holds SET node_id = NULL, deadline_at = created_at";
        db.execute(away).await;
        node.pass_ms(1_000);
        ledger::run_jobs_once(&node.ledger).await.unwrap();
        assert_eq!(db.i64("SELECT count(*) AS n FROM holds").await, 0);
        node.ledger.settle(&mut hold, settlement(15)).await.unwrap();
        let counted = format!("SELECT remain_quota, spent_day FROM tokens WHERE id = {key}");
        let row = db.row(&counted).await;
        assert_eq!((row.i64("remain_quota"), row.i64("spent_day")), (35, 15));
        node.close().await;
    }
}

/// A hold that is locked when its call is abandoned is left to its deadline once it is free.
#[test]
fn an_abandoned_hold_that_is_locked_is_not_lost() {
    testkit::run(async {
        let db = TestDb::postgres().await;
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let mut hold = node.hold(user, 30).await.unwrap();
        hold.mark_sent();
        let lock = db.transaction("SELECT 1 FROM holds FOR UPDATE").await;
        drop(hold);
        let waits = "SELECT count(*) AS n FROM holds WHERE node_id IS NULL";
        tokio::time::timeout(std::time::Duration::from_millis(200), node.flushed()).await.ok();
        assert_eq!(db.i64(waits).await, 0);
        lock.end().await;
        node.flushed().await;
        assert_eq!(db.i64(waits).await, 1);
        node.pass_ms(120_000);
        ledger::run_jobs_once(&node.ledger).await.unwrap();
        assert_eq!(node.balance(user).await, (100, 0));
        node.close().await;
    });
}

#[test]
fn the_journal_is_not_truncated() {
    testkit::run(async {
        let db = TestDb::postgres().await;
        let node = TestLedger::open(&db).await;
        node.user(100).await;
        let refused = db.try_execute("TRUNCATE logs").await.unwrap_err();
        assert!(refused.contains("can only be added to"), "{refused}");
        node.close().await;
    });
}
