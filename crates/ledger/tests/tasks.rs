//! Tasks and their money on real databases: each ends once, from any source and however often.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code, reason = "shared with other tests")]
mod support;

use domain::{ChannelId, HoldId, KeyId, NodeId, Quota, TaskUid, UnixMs, UserId};
use ledger::{
    AcceptedTask, Charge, Hold, LedgerConfig, LedgerError, NewTask, Release, TaskEnd, TaskRecord,
    TaskRef,
};
use std::time::Duration;
use support::TestLedger;
use testkit::{TestDb, on_both_databases};
use uuid::Uuid;

const CHANNEL: ChannelId = ChannelId(4);

fn new_task(uid: TaskUid, user_id: UserId, key_id: KeyId) -> NewTask {
    NewTask {
        uid,
        user_id,
        token_id: key_id,
        key_sealed: "enc:v1:key".into(),
        channel_id: CHANNEL,
        action: "img/submit".into(),
        request_id: "r".into(),
        node_id: NodeId(Uuid::nil()),
        request_sealed: Some("enc:v1:request".into()),
        webhook_url_sealed: None,
    }
}

/// A task that was created, and is being submitted.
async fn submitting(node: &TestLedger, user: UserId, amount: i64) -> Hold {
    let key = node.key_of(user).await;
    let mut request = node.request(user, key, false, amount);
    request.task = Some(Box::new(new_task(request.hold_id.into(), user, key)));
    node.ledger.hold(request).await.unwrap()
}

fn taken(uid: TaskUid, id: &str, hold: Option<i64>) -> AcceptedTask {
    let task = TaskRecord::new(uid, id.to_owned(), CHANNEL);
    AcceptedTask { task, hold: hold.map(Quota), reply: None }
}

/// A task that the upstream has accepted.
async fn submitted(node: &TestLedger, user: UserId, amount: i64) -> TaskRef {
    let mut hold = submitting(node, user, amount).await;
    let uid = TaskUid::from(hold.id());
    node.ledger.record_task(&mut hold, taken(uid, "t-1", None)).await.unwrap();
    TaskRef { uid, user_id: user, channel_id: Some(CHANNEL), since: UnixMs(0) }
}

async fn free_task(node: &TestLedger, user: UserId) -> TaskRef {
    let uid = TaskUid(Uuid::now_v7());
    let task = new_task(uid, user, node.key_of(user).await);
    node.ledger.open_free_task(task).await.unwrap();
    node.ledger.record_task_again(user, taken(uid, "t-2", None)).await.unwrap();
    TaskRef { uid, user_id: user, channel_id: Some(CHANNEL), since: UnixMs(0) }
}

/// Status, amount held or charged, amount held at first, amount charged.
async fn row(db: &TestDb) -> (String, i64, i64, i64) {
    let row = db.row("SELECT * FROM tasks").await;
    let quota = |column| row.i64(column);
    let amounts = (quota("quota"), quota("precharge_quota"), quota("used_quota"));
    (row.text("status").to_owned(), amounts.0, amounts.1, amounts.2)
}

async fn endpoint(db: &TestDb, user: UserId, url: &str, events: &str) {
    db.execute(&format!(
        "INSERT INTO webhook_endpoints (user_id, url, events, secret_sealed)
         VALUES ({user}, '{url}', '{events}', 'enc:v1:secret')"
    ))
    .await;
}

on_both_databases! {
    async fn a_task_holds_grows_and_settles_once(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(1000).await;
        let mut hold = submitting(&node, user, 5).await;
        assert_eq!(row(&db).await, ("submitted".into(), 5, 5, 0));
        let uid = TaskUid::from(hold.id());
        let more = node.ledger.record_task(&mut hold, taken(uid, "up-1", Some(300))).await;
        assert_eq!(more.unwrap(), Quota(295));
        drop(hold);
        node.flushed().await;
        assert_eq!(row(&db).await, ("submitted".into(), 300, 300, 0));
        assert_eq!(node.balance(user).await, (700, 0));
        let kept = db.row("SELECT task_id, request_sealed, node_id FROM tasks").await;
        assert_eq!(kept.text("task_id"), "up-1");
        assert!(kept.get("request_sealed").is_none() && kept.get("node_id").is_none());

        let task = TaskRef { uid, user_id: user, channel_id: Some(CHANNEL), since: UnixMs(0) };
        let end = TaskEnd { data: Some("enc:v1:data".into()), ..TaskEnd::completed() };
        let ended = node.ledger.finish_task(&task, Charge::Price(None), end).await.unwrap();
        assert_eq!((ended.charged, ended.released, ended.repeated), (Quota(1), Quota(299), false));
        assert_eq!(row(&db).await, ("completed".into(), 1, 300, 1));
        assert_eq!(node.balance(user).await, (999, 1));

        // Later reports change nothing.
        let late = TaskEnd::failed("late");
        let again = node.ledger.finish_task(&task, Charge::Nothing("late"), late).await.unwrap();
        assert!(again.repeated && again.charged == Quota(1));
        let record = node.ledger.record_task_again(user, taken(uid, "other", None)).await;
        assert!(matches!(record, Err(LedgerError::WrongState)));
        assert_eq!(row(&db).await, ("completed".into(), 1, 300, 1));
        node.close().await;
    }

    async fn a_failed_task_gives_everything_back(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let task = submitted(&node, user, 60).await;
        let ended = node.ledger
            .finish_task(&task, Charge::Nothing("upstream_failed"), TaskEnd::failed("no"))
            .await.unwrap();
        assert_eq!((ended.charged, ended.released), (Quota(0), Quota(60)));
        assert_eq!(row(&db).await, ("failed".into(), 0, 60, 0));
        assert_eq!(node.balance(user).await, (100, 0));
        node.close().await;
    }

    async fn a_task_continues_when_the_balance_is_too_small_to_grow(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let mut hold = submitting(&node, user, 60).await;
        let uid = TaskUid::from(hold.id());
        let more = node.ledger.record_task(&mut hold, taken(uid, "t", Some(101))).await;
        assert_eq!(more.unwrap(), Quota(0));
        assert_eq!(row(&db).await, ("submitted".into(), 60, 60, 0));
        assert_eq!(node.balance(user).await, (40, 0));
        node.close().await;
    }

    async fn the_hold_of_a_task_never_expires(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let dead = node.another_node().await;
        let key = node.key_of(user).await;
        let mut request = node.request(user, key, false, 60);
        request.task = Some(Box::new(new_task(request.hold_id.into(), user, key)));
        let mut hold = dead.ledger.hold(request).await.unwrap();
        let uid = TaskUid::from(hold.id());
        dead.ledger.record_task(&mut hold, taken(uid, "t", None)).await.unwrap();
        node.live_on_ms(120_000).await;
        assert_eq!(node.balance(user).await, (40, 0));
        assert_eq!(db.i64("SELECT count(*) FROM nodes").await, 1, "the dead node is deleted");
        node.close().await;
    }

    async fn a_receipt_that_is_lost_ends_its_task(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let mut hold = submitting(&node, user, 60).await;
        hold.mark_sent();
        drop(hold);
        node.flushed().await;
        assert_eq!(row(&db).await, ("failed".into(), 0, 60, 0));
        assert_eq!(node.balance(user).await, (100, 0));
        node.close().await;
    }

    async fn a_failed_submission_ends_however_long_the_database_is_locked(db: TestDb) {
        let node = TestLedger::open(&db).await;
        // No patience: what gives up does so at its first try.
        node.ledger.configure(LedgerConfig { busy_retry_count: 0, ..LedgerConfig::default() });
        let user = node.user(100).await;
        let (dropped, mut refused) =
            (submitting(&node, user, 20).await, submitting(&node, user, 30).await);
        let task = TaskRef {
            uid: TaskUid::from(refused.id()), user_id: user, channel_id: None, since: UnixMs(0),
        };
        let lock = db.transaction("UPDATE users SET display_name = display_name").await;
        drop(dropped);
        let end = TaskEnd::failed("refused");
        let release = Release { reason: "refused", ..Release::default() };
        // Its caller stops waiting while the account is locked.
        let failing = node.ledger.fail_submission(&mut refused, &task, release, end);
        let late = tokio::time::timeout(Duration::from_millis(100), failing).await;
        assert!(late.is_err(), "{late:?}");
        lock.end().await;
        node.flushed().await;
        let open = "SELECT count(*) AS n FROM tasks WHERE status <> 'failed'";
        assert_eq!(db.i64(open).await, 0);
        assert_eq!(node.balance(user).await, (100, 0));
        node.close().await;
    }

    async fn a_task_that_has_lost_its_hold_is_charged_what_was_held(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let mut hold = submitting(&node, user, 60).await;
        let uid = TaskUid::from(hold.id());
        db.execute("DELETE FROM holds").await;
        node.ledger.record_task(&mut hold, taken(uid, "t-1", None)).await.unwrap();
        assert_eq!(row(&db).await, ("submitted".into(), 60, 60, 0), "the row remembers");

        let breaches = async || ledger::audit(&node.db, node.now()).await.unwrap().breaches;
        let found = breaches().await;
        assert_eq!(found.len(), 2, "{found:?}");
        let (_, remedy) = found[1].detail.split_once("give it back: ").unwrap();
        db.execute(remedy).await;
        let found = breaches().await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].rule, "an unfinished task that has a price has a hold");

        let since = UnixMs(0);
        let task = TaskRef { uid, user_id: user, channel_id: Some(CHANNEL), since };
        let end = || node.ledger.finish_task(&task, Charge::Price(None), TaskEnd::completed());
        assert_eq!(end().await.unwrap().charged, Quota(60));
        let again = end().await.unwrap();
        assert_eq!((again.charged, again.repeated), (Quota(60), true));
        assert_eq!(node.balance(user).await, (40, 60));
        let line = db.row("SELECT content, model_name FROM logs WHERE type = 'consume'").await;
        assert!(line.text("content").starts_with("hold_lost"), "{line:?}");
        node.close().await;
    }

    async fn a_free_task_lives_without_money(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(1).await;
        let task = free_task(&node, user).await;
        let end = TaskEnd::completed;
        let ended = node.ledger.finish_task(&task, Charge::Price(None), end()).await.unwrap();
        assert_eq!((ended.charged, ended.repeated), (Quota(0), false));
        let failed = TaskEnd::failed("late");
        let again = node.ledger.finish_task(&task, Charge::Nothing("late"), failed).await.unwrap();
        assert!(again.repeated);
        assert_eq!(row(&db).await, ("completed".into(), 0, 0, 0));
        assert_eq!(db.i64("SELECT count(*) FROM logs WHERE type <> 'topup'").await, 0);
        node.close().await;
    }

    async fn an_end_is_put_into_the_outbox_once(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        endpoint(&db, user, "https://a.example", "").await;
        endpoint(&db, user, "https://b.example", "task.failed").await;
        endpoint(&db, user, "https://c.example", "task.failed,task.completed").await;
        endpoint(&db, user, "", "").await;
        let task = submitted(&node, user, 60).await;
        for _ in 0..2 {
            node.ledger.finish_task(&task, Charge::Held, TaskEnd::completed()).await.unwrap();
        }
        let sql = "SELECT e.url, d.event FROM webhook_deliveries d
                    JOIN webhook_endpoints e ON e.id = d.endpoint_id ORDER BY e.url";
        let rows = db.query(sql).await;
        let sent: Vec<_> = rows.iter().map(|row| (row.text("url"), row.text("event"))).collect();
        let completed = "task.completed";
        assert_eq!(sent, [("https://a.example", completed), ("https://c.example", completed)]);
        node.close().await;
    }

    async fn a_stray_hold_is_given_back(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(100).await;
        let task = submitted(&node, user, 60).await;
        db.execute("UPDATE tasks SET status = 'failed'").await;
        let released = node.ledger.release_stray_hold(task.uid, user).await.unwrap();
        assert_eq!(released.released, Quota(60));
        assert_eq!(node.balance(user).await, (100, 0));
        node.close().await;
    }

    async fn many_tasks_end_in_one_batch(db: TestDb) {
        let node = TestLedger::open(&db).await;
        let user = node.user(10_000).await;
        let mut tasks = Vec::new();
        for _ in 0..20 {
            tasks.push(submitted(&node, user, 10).await);
            tasks.push(free_task(&node, user).await);
        }
        let ending = tasks.iter().enumerate().map(|(n, task)| {
            let (charge, end) = match n % 3 {
                0 => (Charge::Nothing("failed"), TaskEnd::failed("x")),
                1 => (Charge::Held, TaskEnd::completed()),
                _ => (Charge::Price(None), TaskEnd::completed()),
            };
            node.ledger.finish_task(task, charge, end)
        });
        let ended = futures_util::future::join_all(ending).await;
        assert!(ended.into_iter().all(|ended| !ended.unwrap().repeated));
        let open = "SELECT count(*) FROM tasks WHERE finish_time IS NULL OR quota <> used_quota";
        assert_eq!(db.i64(open).await, 0);
        let charged = db.i64("SELECT CAST(sum(used_quota) AS BIGINT) FROM tasks").await;
        assert_eq!(node.balance(user).await, (10_000 - charged, charged));
        node.close().await;
    }
}

#[test]
fn a_hold_and_its_task_have_one_id() {
    let id = Uuid::now_v7();
    assert_eq!(TaskUid::from(HoldId(id)).hold(), HoldId(id));
}
