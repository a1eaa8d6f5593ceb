//! Daily and monthly spending limits. Every test ends in a clean audit, which checks each count.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code, reason = "shared with other tests")]
mod support;

use domain::{DAY_MS, KeyId, Quota, UserId};
use ledger::{LedgerError, LimitReached, Movement, Period, Release, Settlement};
use support::TestLedger;
use testkit::{TestDb, on_both_databases};

fn settlement(charge: i64) -> Settlement {
    Settlement { charge: Quota(charge), ..Settlement::default() }
}

async fn limit(db: &TestDb, whose: &str, id: impl std::fmt::Display, limits: &str) {
    db.execute(&format!("UPDATE {whose} SET {limits} WHERE id = {id}")).await;
}

/// The counts: today, and this month.
async fn spent(db: &TestDb, whose: &str, id: impl std::fmt::Display) -> (i64, i64) {
    let sql = format!("SELECT spent_day, spent_month FROM {whose} WHERE id = {id}");
    let row = db.row(&sql).await;
    (row.i64("spent_day"), row.i64("spent_month"))
}

async fn pay(node: &TestLedger, user: UserId, amount: i64) -> Result<(), LedgerError> {
    let mut hold = node.hold(user, amount).await?;
    node.ledger.settle(&mut hold, settlement(amount)).await.map(drop)
}

async fn refusal(node: &TestLedger, user: UserId, amount: i64) -> LimitReached {
    match node.hold(user, amount).await.unwrap_err() {
        LedgerError::SpendingLimit(reached) => reached,
        other => panic!("{other:?}"),
    }
}

/// A key that only these limits limit.
async fn key_with(db: &TestDb, node: &TestLedger, user: UserId, limits: &str) -> KeyId {
    let key = node.limited_key(user, 0).await;
    limit(db, "tokens", key, &format!("unlimited_quota = true, {limits}")).await;
    key
}

on_both_databases! {
    async fn a_limit_for_k_is_enough_for_exactly_k_a_day(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let other = node.another_node().await;
        let user = node.user(1_000).await;
        limit(&db, "users", user, "daily_limit = 70, monthly_limit = 100").await;
        node.to_next_month();
        let mut paid = Vec::new();
        for _ in 0..3 {
            let tries = (0..60).map(|n| {
                let node = if n % 2 == 0 { &node } else { &other };
                async move {
                    let mut hold = node.hold(user, 7).await.ok()?;
                    node.ledger.settle(&mut hold, settlement(7)).await.ok()
                }
            });
            let done = futures_util::future::join_all(tries).await;
            paid.push(done.iter().flatten().count());
            node.pass_ms(DAY_MS);
        }
        // 70, and then what the month leaves: 30.
        assert_eq!(paid, [10, 4, 0]);
        let reached = refusal(&node, user, 3).await;
        assert_eq!((reached.period, reached.available), (Period::Month, Quota(2)));
        node.to_next_month();
        pay(&node, user, 70).await.unwrap();
        assert_eq!(refusal(&node, user, 1).await.period, Period::Day);
        assert_eq!(node.balance(user).await, (1_000 - 168, 168));
        node.close().await;
    }

    async fn a_hold_counts_in_its_own_day_until_it_ends(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(1_000).await;
        limit(&db, "users", user, "daily_limit = 50").await;
        node.to_next_month();
        let mut open = node.hold(user, 30).await.unwrap();
        let mut grown = node.hold(user, 10).await.unwrap();
        assert_eq!(refusal(&node, user, 11).await.available, Quota(10));

        node.pass_ms(DAY_MS);
        drop(node.hold(user, 50).await.unwrap());
        node.flushed().await;
        // A hold that grows counts on the current day from then on, with its whole amount.
        node.ledger.grow(&mut grown, Quota(40)).await.unwrap();
        assert_eq!(spent(&db, "users", user).await, (40, 70));
        // The other charge counts on this day, regardless of the amount held: work done is paid.
        node.ledger.settle(&mut open, settlement(25)).await.unwrap();
        assert_eq!(spent(&db, "users", user).await, (65, 65));
        assert_eq!(refusal(&node, user, 0).await.available, Quota(-15));
        node.ledger.release(&mut grown, Release::default()).await.unwrap();
        assert_eq!(spent(&db, "users", user).await, (25, 25));
        pay(&node, user, 25).await.unwrap();
        node.close().await;
    }

    async fn keys_have_limits_of_their_own(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(1_000).await;
        limit(&db, "users", user, "monthly_limit = 60").await;
        let key = key_with(&db, &node, user, "daily_limit = 20").await;
        node.to_next_month();
        let mut hold = node.hold_with_key(user, key, 20).await.unwrap();
        let refused = node.hold_with_key(user, key, 1).await.unwrap_err();
        assert!(matches!(&refused, LedgerError::SpendingLimit(reached) if reached.of_key));
        assert!(node.ledger.grow(&mut hold, Quota(21)).await.is_err(), "nor does one grow");
        node.ledger.settle(&mut hold, settlement(15)).await.unwrap();
        drop(node.hold_with_key(user, key, 5).await.unwrap());
        pay(&node, user, 40).await.unwrap();
        assert_eq!(spent(&db, "tokens", key).await, (15, 15));
        assert_eq!(spent(&db, "users", user).await, (55, 55));

        // The key's limit allows it, its owner's doesn't; a refused hold is counted nowhere.
        let refused = node.hold_with_key(user, key, 10).await.unwrap_err();
        assert!(matches!(&refused, LedgerError::SpendingLimit(reached) if !reached.of_key));
        // A refund is subtracted where its charge was counted.
        let (user_id, amount) = (user, Quota(10));
        let (reason, by, reference) = ("late".into(), "test".into(), None);
        let movement = Movement { user_id, amount, reason, by, reference, told: None };
        node.ledger.refund(hold.request_id().clone(), movement).await.unwrap();
        assert_eq!(spent(&db, "tokens", key).await, (5, 5));
        drop(node.hold_with_key(user, key, 15).await.unwrap());
        node.flushed().await;
        node.close().await;
    }

    async fn what_a_dead_node_held_is_not_spent(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let key = key_with(&db, &node, user, "daily_limit = 30").await;
        node.to_next_month();
        let dead = node.another_node().await;
        let mut lost = dead.hold_with_key(user, key, 30).await.unwrap();
        lost.mark_sent();
        std::mem::forget(lost);
        assert!(node.hold_with_key(user, key, 1).await.is_err());
        node.live_on_ms(40_000).await;
        assert_eq!(node.balance(user).await, (100, 0));
        drop(node.hold_with_key(user, key, 30).await.unwrap());
        node.flushed().await;
        node.close().await;
    }

    async fn limits_set_with_sql_hold_at_once_and_counts_stay(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(1_000).await;
        // What was held before a count began is not in it, and its charge is.
        let mut before = node.hold(user, 500).await.unwrap();
        limit(&db, "users", user, "daily_limit = 40").await;
        assert_eq!(refusal(&node, user, 41).await.available, Quota(40));
        node.ledger.settle(&mut before, settlement(30)).await.unwrap();
        assert_eq!(refusal(&node, user, 11).await.available, Quota(10));
        // Without a limit the count continues, so that it is right for the next one.
        limit(&db, "users", user, "daily_limit = NULL").await;
        pay(&node, user, 50).await.unwrap();
        limit(&db, "users", user, "daily_limit = 100, monthly_limit = 90").await;
        assert_eq!(refusal(&node, user, 11).await.available, Quota(10));
        pay(&node, user, 10).await.unwrap();
        node.close().await;
    }

    async fn the_audit_finds_a_count_that_was_edited(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(1_000).await;
        limit(&db, "users", user, "daily_limit = 40").await;
        pay(&node, user, 30).await.unwrap();
        limit(&db, "users", user, "spent_day = 0").await;
        let report = ledger::audit(&node.db, node.now()).await.unwrap();
        assert_eq!(report.breaches.len(), 1, "{report:#?}");
        assert!(report.breaches[0].detail.contains("spent_day 0, lines and holds of the day 30"));
        limit(&db, "users", user, "spent_day = 30").await;
        node.close().await;
    }
}

/// A refund is subtracted from the key's count as well, or not at all.
#[test]
fn a_refund_is_not_made_past_a_locked_key() {
    testkit::run(async {
        let db = TestDb::postgres().await;
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let key = key_with(&db, &node, user, "daily_limit = 30").await;
        let mut hold = node.hold_with_key(user, key, 30).await.unwrap();
        node.ledger.settle(&mut hold, settlement(30)).await.unwrap();
        let refund = || {
            let (reason, by, reference) = ("late".into(), "test".into(), None);
            let movement =
                Movement { user_id: user, amount: Quota(10), reason, by, reference, told: None };
            node.ledger.refund(hold.request_id().clone(), movement)
        };
        let lock = support::Lock::on_key(&db, key).await;
        assert!(matches!(refund().await, Err(LedgerError::AccountBusy)));
        lock.release().await;
        assert_eq!(refund().await.unwrap().balance, Quota(80));
        assert_eq!(spent(&db, "tokens", key).await, (20, 20));
        // A deleted key doesn't block the refund.
        db.execute(&format!("DELETE FROM tokens WHERE id = {key}")).await;
        assert_eq!(refund().await.unwrap().balance, Quota(90));
        node.close().await;
    });
}
