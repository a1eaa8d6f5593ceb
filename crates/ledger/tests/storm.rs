//! The ledger on real databases: against the model of plain numbers, under concurrency, behind
//! locks, and through lost connections. Every test ends in a clean audit.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code, reason = "shared with other tests")]
mod support;

use domain::{Quota, UserId};
use ledger::{EndState, LedgerError, Movement, Release, Settlement};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::sync::Arc;
use support::TestLedger;
use testkit::on_both_databases;

fn settlement(charge: i64) -> Settlement {
    Settlement { charge: Quota(charge), ..Settlement::default() }
}

fn movement(user_id: UserId, amount: i64) -> Movement {
    named(user_id, amount, None)
}

fn named(user_id: UserId, amount: i64, reference: Option<&str>) -> Movement {
    let (reason, by) = ("test".into(), "test".into());
    let reference = reference.map(Into::into);
    Movement { user_id, amount: Quota(amount), reason, by, reference, told: None }
}

/// Lines that are in the journal but not in its view by users, or vice versa.
async fn differences(db: &testkit::TestDb) -> i64 {
    let lines =
        "SELECT id, user_id, created_at, type, content, delta, hold_id, held, price_id FROM";
    db.i64(&format!(
        "SELECT (SELECT count(*) FROM ({lines} logs EXCEPT {lines} user_logs) AS missing)
              + (SELECT count(*) FROM ({lines} user_logs EXCEPT {lines} logs) AS stray)
              + abs((SELECT count(*) FROM logs) - (SELECT count(*) FROM user_logs)) AS n"
    ))
    .await
}

/// Fails unless the rollups equal the sums of the journal's lines up to the cursor. Returns the
/// number of these lines.
async fn added_up(db: &testkit::TestDb) -> i64 {
    let amounts = ["quota", "delta", "used_delta", "prompt_tokens", "completion_tokens"];
    let parts = amounts.map(|a| format!("sum({a})")).join(", ");
    let of = |rows: &str, kept: &str| {
        format!(
            "SELECT {rows}, model_name, type, sum(lines), sum(charging), {parts}
             FROM {kept} GROUP BY 1, 2, 3 HAVING sum(lines) > 0"
        )
    };
    let journal = |rows: &str, which: &str| {
        format!(
            "SELECT {rows}, model_name, type, count(*),
                    count(CASE WHEN used_delta <> 0 THEN 1 END), {parts}
             FROM logs WHERE id <= (SELECT through FROM rollup_cursor) AND {which}
             GROUP BY 1, 2, 3"
        )
    };
    let blocks = |kept: &str| {
        format!(
            "SELECT block, model_name, type, sum(lines) FROM {kept}
             GROUP BY 1, 2, 3 HAVING sum(lines) > 0"
        )
    };
    let lines_of_blocks = |which: &str| {
        format!(
            "SELECT id / 65536, model_name, type, count(*) FROM logs
             WHERE id <= (SELECT through FROM rollup_cursor) AND {which} GROUP BY 1, 2, 3"
        )
    };
    for (kept, lines) in [
        (of("user_id", "logs_by_day"), journal("user_id", "1 = 1")),
        (
            of("channel_id", "logs_by_hour WHERE channel_id <> 0"),
            journal("channel_id", "channel_id IS NOT NULL"),
        ),
        (of("0", "logs_by_hour WHERE channel_id = 0"), journal("0", "1 = 1")),
        (blocks("log_blocks WHERE channel_id <> 0"), lines_of_blocks("channel_id IS NOT NULL")),
        (blocks("log_blocks WHERE channel_id = 0"), lines_of_blocks("1 = 1")),
    ] {
        for (one, other) in [(&kept, &lines), (&lines, &kept)] {
            let differ = db.query(&format!("{one} EXCEPT {other}")).await;
            assert!(differ.is_empty(), "{differ:?} of\n{one}");
        }
    }
    let lines = "SELECT count(*) AS n FROM logs WHERE id <= (SELECT through FROM rollup_cursor)";
    db.i64(lines).await
}

/// Runs the jobs until every line is rolled up: on PostgreSQL the transactions of other tests are
/// awaited, too.
async fn all_added_up(node: &TestLedger, db: &testkit::TestDb) {
    let all = || async {
        node.live_on_ms(20_000).await;
        (added_up(db).await == db.i64("SELECT count(*) AS n FROM logs").await).then_some(())
    };
    testkit::eventually("every line to be rolled up", all).await;
}

on_both_databases! {
    async fn a_paid_call_moves_money_and_is_recorded(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(1000).await;
        let mut hold = node.hold(user, 224).await.unwrap();
        assert_eq!(node.balance(user).await, (776, 0));
        let closed = node.ledger.settle(&mut hold, settlement(176)).await.unwrap();
        assert_eq!((closed.charged, closed.released), (Quota(176), Quota(48)));
        assert!(!closed.repeated);
        assert_eq!(node.balance(user).await, (824, 176));
        let lines = db.query(
            "SELECT type, quota, delta, used_delta FROM logs WHERE hold_id IS NOT NULL ORDER BY id",
        ).await;
        let number = |line: &testkit::Row| ["quota", "delta", "used_delta"].map(|c| line.i64(c));
        let lines: Vec<_> = lines.iter().map(|line| (line.text("type"), number(line))).collect();
        assert_eq!(lines, [
            ("consume", [176, -176, 176]),
        ]);
        node.close().await;
    }

    async fn releases_and_second_ends(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let mut hold = node.hold(user, 100).await.unwrap();
        assert!(matches!(
            node.hold(user, 1).await,
            Err(LedgerError::InsufficientQuota { available: Quota(0), .. })
        ));
        node.ledger.release(&mut hold, Release { reason: "upstream_error", ..Release::default() })
            .await.unwrap();
        assert_eq!(node.balance(user).await, (100, 0));
        let of_call = "SELECT type, quota, delta, held FROM logs WHERE hold_id IS NOT NULL";
        let line = db.row(of_call).await;
        let said = (line.text("type"), line.i64("quota"), line.i64("delta"), line.i64("held"));
        assert_eq!(said, ("error", 0, 0, 100), "why it failed, without money");
        // Work that turns out to have been done is charged all the same, once.
        let late = node.ledger.settle(&mut hold, settlement(5)).await.unwrap();
        assert!(!late.repeated && late.state == EndState::Settled);
        let again = node.ledger.settle(&mut hold, settlement(5)).await.unwrap();
        assert!(again.repeated && again.charged == Quota(5));
        assert_eq!(node.balance(user).await, (95, 5));
        let lost = "SELECT count(*) AS n FROM logs WHERE content = 'hold_lost'";
        assert_eq!(db.i64(lost).await, 1);
        node.close().await;
    }

    async fn a_dropped_hold_gives_itself_back(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        drop(node.hold(user, 60).await.unwrap());
        node.flushed().await;
        assert_eq!(node.balance(user).await, (100, 0));

        // Sent upstream with an unknown outcome, so it stays until its deadline.
        let mut sent = node.hold(user, 60).await.unwrap();
        sent.mark_sent();
        drop(sent);
        node.flushed().await;
        assert_eq!(node.balance(user).await, (40, 0));
        node.pass_ms(120_000);
        ledger::run_jobs_once(&node.ledger).await.unwrap();
        assert_eq!(node.balance(user).await, (100, 0));
        let line = db.row("SELECT held FROM logs WHERE content = 'unknown_outcome'").await;
        assert_eq!(line.i64("held"), 60);
        node.close().await;
    }

    async fn the_hold_of_a_deleted_user_ends_all_the_same(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let mut under_way = node.hold(user, 20).await.unwrap();
        let mut lost = node.hold(user, 30).await.unwrap();
        lost.mark_sent();
        db.execute("DELETE FROM tokens").await;
        db.execute(&format!("DELETE FROM users WHERE id = {user}")).await;
        drop(lost);
        node.ledger.settle(&mut under_way, settlement(20)).await.unwrap();
        node.flushed().await;
        node.pass_ms(120_000);
        ledger::run_jobs_once(&node.ledger).await.unwrap();
        assert_eq!(db.i64("SELECT count(*) AS n FROM holds").await, 0);
        node.close().await;
    }

    async fn money_for_k_is_enough_for_exactly_k(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(70).await;
        let tries = (0..200).map(|_| async {
            let mut hold = node.hold(user, 7).await.ok()?;
            node.ledger.settle(&mut hold, settlement(7)).await.ok()
        });
        let done = futures_util::future::join_all(tries).await;
        assert_eq!(done.iter().flatten().count(), 10);
        assert_eq!(node.balance(user).await, (0, 70));
        node.close().await;
    }

    async fn plain_sql_is_entered_as_adjust(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let mut hold = node.hold(user, 30).await.unwrap();
        let sql = format!(
            "UPDATE users SET quota = quota + 500, used_quota = used_quota - 7 WHERE id = {user}"
        );
        db.execute(&sql).await;
        node.ledger.settle(&mut hold, settlement(20)).await.unwrap();
        assert_eq!(node.balance(user).await, (580, 13));
        let line = db.row("SELECT delta, used_delta FROM logs WHERE type = 'adjust'").await;
        assert_eq!((line.i64("delta"), line.i64("used_delta")), (500, -7));
        node.close().await;
    }

    async fn deposits_adjustments_and_refunds(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(10).await;
        let moved = node.ledger.deposit(movement(user, 90)).await.unwrap();
        assert_eq!((moved.balance, moved.repeated), (Quota(100), false));
        assert_eq!(node.ledger.adjust(movement(user, -150)).await.unwrap().balance, Quota(-50));
        assert_eq!(node.ledger.adjust(movement(user, 150)).await.unwrap().balance, Quota(100));
        assert!(matches!(
            node.ledger.deposit(movement(user, 0)).await, Err(LedgerError::Overflow)
        ));
        assert!(matches!(
            node.ledger.deposit(movement(UserId(999), 5)).await, Err(LedgerError::UserUnavailable)
        ));
        let mut hold = node.hold(user, 40).await.unwrap();
        node.ledger.settle(&mut hold, settlement(40)).await.unwrap();
        let refund = |amount| {
            node.ledger.refund(hold.request_id().clone(), movement(user, amount))
        };
        assert_eq!(refund(15).await.unwrap().balance, Quota(75));
        assert_eq!(node.balance(user).await, (75, 25));
        assert!(matches!(refund(26).await, Err(LedgerError::Overflow)));
        let unknown = node.ledger.refund(Arc::<str>::from("never"), movement(user, 1)).await;
        assert!(matches!(unknown, Err(LedgerError::UnknownHold)));
        node.close().await;
    }

    async fn a_reference_moves_a_balance_once(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let other = node.another_node().await;
        let (user, stranger) = (node.user(1).await, node.user(1).await);
        let pay = |node: &ledger::Ledger, user, amount| {
            let (node, payment) = (node.clone(), named(user, amount, Some("pay-7")));
            async move { node.deposit(payment).await }
        };
        let tries = (0..20).map(|n| {
            pay(if n % 2 == 0 { &node.ledger } else { &other.ledger }, user, 50)
        });
        let moved = futures_util::future::join_all(tries).await;
        let first = moved.iter().filter(|moved| !moved.as_ref().unwrap().repeated).count();
        assert_eq!((first, node.balance(user).await), (1, (51, 0)));
        let taken = pay(&node.ledger, user, 51).await;
        assert!(matches!(taken, Err(LedgerError::ReferenceTaken)));
        assert!(!pay(&node.ledger, stranger, 51).await.unwrap().repeated, "of another user");
        let lines = "SELECT count(*) AS n FROM logs WHERE reference = 'pay-7'";
        assert_eq!(db.i64(lines).await, 2);
        node.close().await;
    }

    async fn a_deleted_key_does_not_keep_the_money(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let key = node.limited_key(user, 50).await;
        let mut hold = node.hold_with_key(user, key, 30).await.unwrap();
        db.execute(&format!("DELETE FROM tokens WHERE id = {key}")).await;
        node.ledger.settle(&mut hold, settlement(10)).await.unwrap();
        assert_eq!(node.balance(user).await, (90, 10));
        node.close().await;
    }

    async fn a_dead_node_s_holds_are_given_back_and_a_live_one_s_never(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let dead = node.another_node().await;
        let mut lost = dead.hold(user, 30).await.unwrap();
        lost.mark_sent();
        std::mem::forget(lost);
        let mut live = node.hold(user, 20).await.unwrap();
        live.mark_sent();
        ledger::run_jobs_once(&node.ledger).await.unwrap();
        assert_eq!(node.balance(user).await, (50, 0));
        // The other node falls silent; ours renews its lease.
        node.live_on_ms(10_000).await;
        assert_eq!(node.balance(user).await, (50, 0));
        node.live_on_ms(20_000).await;
        assert_eq!(node.balance(user).await, (80, 0));
        node.ledger.settle(&mut live, settlement(20)).await.unwrap();
        assert_eq!(node.balance(user).await, (80, 20));
        node.close().await;
    }

    async fn a_node_that_was_away_takes_no_other_for_dead(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        if !db.is_postgres() {
            return node.close().await; // One process serves an SQLite file.
        }
        let user = node.user(100).await;
        let other = node.another_node().await;
        let mut live = other.hold(user, 30).await.unwrap();
        live.mark_sent();
        // The database was unavailable for a minute: both leases have expired, and this node is
        // back first.
        node.pass_ms(60_000);
        ledger::run_jobs_once(&node.ledger).await.unwrap();
        assert_eq!(node.balance(user).await, (70, 0));
        ledger::run_jobs_once(&other.ledger).await.unwrap();
        node.live_on_ms(10_000).await;
        let closed = other.ledger.settle(&mut live, settlement(30)).await.unwrap();
        assert!(!closed.repeated);
        node.close().await;
    }

    async fn the_lines_of_users_are_whole_while_they_are_copied(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let users = [node.user(1000).await, node.user(1000).await];
        let copied = "SELECT count(*) AS n FROM user_log_lines";
        let note = format!(
            "INSERT INTO logs (user_id, type, content) VALUES ({}, 'system', 'a note')",
            users[0].0
        );
        for round in 1..=3 {
            for user in users {
                let mut hold = node.hold(user, 10).await.unwrap();
                node.ledger.settle(&mut hold, settlement(10)).await.unwrap();
            }
            db.execute(&note).await;
            assert_eq!(differences(&db).await, 0, "round {round}, before the copy");
            ledger::run_jobs_once(&node.ledger).await.unwrap();
            assert_eq!(differences(&db).await, 0, "round {round}, after it");
            if !db.is_postgres() {
                assert_eq!(db.i64(copied).await, db.i64("SELECT count(*) AS n FROM logs").await);
            }
            // The last line of the journal is deleted, and its id is assigned again.
            db.execute("DELETE FROM logs WHERE type = 'system'").await;
            db.execute(&note).await;
            assert_eq!(differences(&db).await, 0, "round {round}, after a line was deleted");
        }
        node.close().await;
    }

    async fn what_keys_and_channels_used_follows_the_journal(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(1000).await;
        db.execute("INSERT INTO channels (id, base_url) VALUES (4, 'http://up.example')").await;
        for round in 1..=3 {
            let mut hold = node.hold(user, 10).await.unwrap();
            let through = Settlement { channel_id: Some(domain::ChannelId(4)), ..settlement(10) };
            node.ledger.settle(&mut hold, through).await.unwrap();
            all_added_up(&node, &db).await;
            for used in ["tokens", "channels"] {
                let sum = format!("SELECT sum(used_quota) AS n FROM {used}");
                assert_eq!(db.i64(&sum).await, 10 * round, "{used}");
            }
        }
        node.close().await;
    }

    async fn sums_are_those_of_the_journal(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let note = "INSERT INTO logs (user_id, type, model_name, channel_id, quota, content)
                    VALUES (1, 'system', 'm', 3, 4, 'a note')";
        let lines = "SELECT count(*) AS n FROM logs";
        for _ in 0..3 {
            let user = node.user(1000).await;
            let mut hold = node.hold(user, 10).await.unwrap();
            node.ledger.settle(&mut hold, settlement(7)).await.unwrap();
            // The largest amounts there are.
            let rich = node.user(Quota::LARGEST.0).await;
            node.ledger.adjust(movement(rich, -Quota::LARGEST.0)).await.unwrap();
            db.execute(note).await;
            all_added_up(&node, &db).await;
            // The last line of the journal is deleted, and its id is assigned again.
            db.execute("DELETE FROM logs WHERE type = 'system'").await;
            db.execute(note).await;
            added_up(&db).await;
        }
        if db.is_postgres() {
            // A line of an open transaction has its id, and is not visible.
            let hidden = db.transaction(note).await;
            db.execute(note).await;
            let before = db.i64(lines).await;
            node.live_on_ms(40_000).await;
            assert_eq!(added_up(&db).await, before - 2, "two notes wait");
            hidden.end().await;
        }
        all_added_up(&node, &db).await;
        node.pass_ms(200 * 86_400_000);
        ledger::run_jobs_once(&node.ledger).await.unwrap();
        assert_eq!((added_up(&db).await, db.i64(lines).await), (0, 0));
        node.close().await;
    }

    async fn old_months_leave_and_balances_stay_provable(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(1000).await;
        let mut hold = node.hold(user, 100).await.unwrap();
        node.ledger.settle(&mut hold, settlement(60)).await.unwrap();
        node.pass_ms(200 * 86_400_000);
        ledger::run_jobs_once(&node.ledger).await.unwrap();
        assert_eq!(db.i64("SELECT count(*) AS n FROM logs").await, 0);
        assert_eq!(db.i64("SELECT count(*) AS n FROM holds").await, 0);
        assert_eq!(node.balance(user).await, (940, 60));
        let mut hold = node.hold(user, 100).await.unwrap();
        node.ledger.settle(&mut hold, settlement(40)).await.unwrap();
        assert_eq!(node.balance(user).await, (900, 100));
        node.close().await;
    }

    async fn what_others_change_is_seen_at_once(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(10).await;
        let key = node.limited_key(user, 5).await;
        assert!(node.hold_with_key(user, key, 6).await.is_err());
        db.execute(&format!("UPDATE tokens SET remain_quota = 50 WHERE id = {key}")).await;
        drop(node.hold_with_key(user, key, 6).await.unwrap());
        node.flushed().await;
        assert!(node.hold(user, 11).await.is_err());
        db.execute(&format!("UPDATE users SET quota = quota + 1 WHERE id = {user}")).await;
        drop(node.hold(user, 11).await.unwrap());
        node.flushed().await;
        db.execute(&format!("UPDATE users SET status = 2 WHERE id = {user}")).await;
        assert!(matches!(node.hold(user, 1).await, Err(LedgerError::UserUnavailable)));
        let renamed = "UPDATE users SET status = 1, username = 'new'";
        db.execute(&format!("{renamed} WHERE id = {user}")).await;
        drop(node.hold(user, 1).await.unwrap());
        node.flushed().await;
        let named = "SELECT count(*) AS n FROM logs WHERE username = 'new'";
        assert_eq!(db.i64(named).await, 1);
        assert_eq!(node.balance(user).await, (11, 0));
        node.close().await;
    }

    async fn what_another_node_gave_back_is_charged_when_it_was_delivered(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let mut hold = node.hold(user, 30).await.unwrap();
        hold.mark_sent();
        // This node was silent for longer than its lease, and another took it for dead.
        let other = node.another_node().await;
        node.pass_ms(20_000);
        for _ in 0..4 {
            node.pass_ms(5_000);
            ledger::run_jobs_once(&other.ledger).await.unwrap();
        }
        let late = node.ledger.settle(&mut hold, settlement(30)).await.unwrap();
        assert!(!late.repeated && late.charged == Quota(30), "what was delivered is charged");
        assert_eq!(node.balance(user).await, (70, 30));
        node.close().await;
    }

    async fn random_crowds_agree_with_plain_numbers(db: testkit::TestDb) {
        let node = TestLedger::open(&db).await;
        let mut runner = TestRunner::deterministic();
        for _ in 0..8 {
            let plan = prop::collection::vec((1_i64..40, 0_i64..60, 0_u8..4), 40)
                .new_tree(&mut runner).unwrap().current();
            let user = node.user(500).await;
            let calls = plan.iter().map(|&(amount, charge, end)| {
                let node = &node;
                async move {
                    let Ok(mut hold) = node.hold(user, amount).await else { return 0 };
                    match end {
                        0 => {
                            node.ledger.release(&mut hold, Release::default()).await.unwrap();
                            0
                        }
                        1 => {
                            drop(hold);
                            0
                        }
                        2 if node.ledger.grow(&mut hold, Quota(amount + 5)).await.is_err() => {
                            node.ledger.release(&mut hold, Release::default()).await.unwrap();
                            0
                        }
                        _ => {
                            node.ledger.settle(&mut hold, settlement(charge)).await.unwrap();
                            charge
                        }
                    }
                }
            });
            let spent: i64 = futures_util::future::join_all(calls).await.iter().sum();
            node.flushed().await;
            assert_eq!(node.balance(user).await, (500 - spent, spent));
        }
        node.close().await;
    }
}

/// PostgreSQL only: rows locked by other sessions, and lost connections.
mod on_postgres {
    use super::*;
    use testkit::TestDb;

    #[test]
    fn a_locked_account_delays_no_other() {
        testkit::run(async {
            let db = TestDb::postgres().await;
            let node = TestLedger::open(&db).await;
            let (locked, free) = (node.user(100).await, node.user(100).await);
            let mut under_way = node.hold(locked, 10).await.unwrap();
            let lock = support::Lock::on_user(&db, locked).await;
            let mut neighbour = node.hold(free, 10).await.unwrap();
            node.ledger.settle(&mut neighbour, settlement(10)).await.unwrap();
            assert!(matches!(node.hold(locked, 10).await, Err(LedgerError::AccountBusy)));
            // Work that is done is settled, however long it takes.
            let ledger = node.ledger.clone();
            let settling = tokio::spawn(async move {
                ledger.settle(&mut under_way, settlement(10)).await.unwrap()
            });
            lock.release().await;
            assert_eq!(settling.await.unwrap().charged, Quota(10));
            assert_eq!(node.balance(locked).await, (90, 10));
            node.close().await;
        });
    }

    #[test]
    fn killed_connections_cause_no_wrong_charge() {
        testkit::run(async {
            let db = TestDb::postgres().await;
            let node = TestLedger::open(&db).await;
            let user = node.user(100_000).await;
            let key = node.key_of(user).await;
            let calls = (0..300).map(|n| {
                let (node, db) = (&node, &db);
                async move {
                    if n % 60 == 30 {
                        support::kill_connections(db).await;
                    }
                    let request = node.request(user, key, false, 10);
                    let Ok(mut hold) = node.ledger.hold(request).await else { return 0 };
                    node.ledger.settle(&mut hold, settlement(7)).await.unwrap().charged.0
                }
            });
            let spent: i64 = futures_util::future::join_all(calls).await.iter().sum();
            node.flushed().await;
            assert!(spent > 0);
            assert_eq!(node.balance(user).await, (100_000 - spent, spent));
            node.close().await;
        });
    }

    #[test]
    fn one_account_on_three_nodes() {
        testkit::run(async {
            let db = TestDb::postgres().await;
            let node = TestLedger::open(&db).await;
            let nodes = [node.another_node().await, node.another_node().await];
            let user = node.user(90).await;
            let all = [&node.ledger, &nodes[0].ledger, &nodes[1].ledger];
            let tries = (0..120).map(|n| {
                let (node, ledger) = (&node, all[n % 3]);
                async move {
                    let mut hold = node.hold_on(ledger, user, 3).await.ok()?;
                    ledger.settle(&mut hold, settlement(3)).await.ok()
                }
            });
            let done = futures_util::future::join_all(tries).await;
            assert_eq!(done.iter().flatten().count(), 30);
            assert_eq!(node.balance(user).await, (0, 90));
            node.close().await;
        });
    }
}
