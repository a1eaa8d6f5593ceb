//! Submissions that a crash left between sending and recording: sent again where the upstream
//! knows a repetition when it sees one, else failed and refunded.

use crate::house::{House, Payer, by_use, fixed, node};
use crate::submit::{quotas, taken, task, task_count, tasks, without_estimate};
use testkit::{Gate, Reply, TestDb, Upstream, eventually, json, on_both_databases};

/// A channel whose upstream honours `Idempotency-Key`.
fn idempotent() -> serde_json::Value {
    json!({"setting": {"idempotent": true, "precharge": "off"}})
}

/// A model for tasks whose upstream keeps its first reply back for ever.
async fn stuck(house: &House, channel: serde_json::Value, reply: Reply) {
    house.upstream.queue("/img/submit", Reply::hang());
    house.upstream.on("/img/submit", reply);
    house.channel(&["img/submit"], channel).await;
    house.admin().price("img/submit", fixed(40)).await;
}

/// Submits, and kills the server while the upstream is at it.
async fn crash(house: &mut House, payer: &Payer, key: Option<&str>) {
    let mut call = house.server.call("POST", "/pass/img/submit?q=1").key(&payer.key);
    if let Some(key) = key {
        call = call.header("Idempotency-Key", key);
    }
    let call = call.header("X-Request-Id", "crashed").header("X-Own", "1").body("a cat");
    let running = tokio::spawn(call.try_send());
    house.upstream.wait_for_requests(1).await;
    house.server.kill_9().await;
    assert!(running.await.unwrap().is_err());
}

async fn recorded(house: &House, id: &str) {
    eventually("the task to be recorded", || async {
        (task(house).await.text("task_id") == id).then_some(())
    })
    .await;
}

async fn lost(house: &House, payer: &Payer) {
    let line = house.server.wait_for_log(&["submission_lost", "request_id=crashed"]).await;
    assert!(line.contains("refunded=40") && line.contains("WARN"), "{line}");
    let task = task(house).await;
    assert_eq!((task.text("status"), quotas(&task)), ("failed", (0, 40, 0)));
    assert!(task.text("fail_reason").starts_with("submission_lost"));
    assert_eq!(house.money(payer).await.quota, 100);
    assert!(house.journal(payer).await.contains(&"refund 40 0 of 40".to_owned()));
    house.close().await;
}

on_both_databases! {
    async fn a_crash_is_mended_where_the_upstream_knows_the_key(db: TestDb) {
        let mut house = House::open(db).await;
        stuck(&house, idempotent(), taken("t")).await;
        let ann = house.payer(100).await;
        crash(&mut house, &ann, None).await;
        let sealed = task(&house).await.text("request_sealed").to_owned();
        assert!(sealed.starts_with("enc:v1:"));

        house.server.start_again().await;
        recorded(&house, "t").await;

        let sent = house.upstream.requests().await;
        assert_eq!(sent.len(), 2);
        let ours = ["Idempotency-Key", "X-Request-Id", "Authorization", "X-Custom-Token"];
        for name in ours.into_iter().chain(["X-Own"]) {
            assert!(sent[0].header(name).is_some(), "{name}");
            assert_eq!(sent[0].header(name), sent[1].header(name), "{name}");
        }
        assert_eq!((sent[0].target.as_str(), &sent[0].body), ("/img/submit?q=1", &sent[1].body));
        assert_eq!(sent[0].target, sent[1].target);
        let task = task(&house).await;
        assert_eq!((task.text("status"), quotas(&task)), ("processing", (40, 40, 0)));
        assert!(task.get("request_sealed").is_none() && task.get("node_id").is_none());
        assert_eq!(house.money(&ann).await.quota, 60);
        house.server.wait_for_log(&["submission_recovered", "task_id=t"]).await;
        house.server.audit_clean().await;
    }

    async fn a_crash_fails_the_task_where_the_upstream_does_not(db: TestDb) {
        let mut house = House::open(db).await;
        stuck(&house, without_estimate(), taken("t")).await;
        let ann = house.payer(100).await;
        crash(&mut house, &ann, None).await;
        assert!(task(&house).await.get("request_sealed").is_none(), "kept for nothing");

        house.server.start_again().await;

        lost(&house, &ann).await;
        assert_eq!(house.upstream.count(), 1, "it was not sent again");
    }

    async fn a_free_task_is_recovered_or_lost_as_well(db: TestDb) {
        let mut house = House::open(db).await;
        house.upstream.queue("/img/submit", Reply::hang());
        tasks(&house, json!(null), taken("t")).await;
        let ann = house.payer(0).await;
        crash(&mut house, &ann, None).await;
        house.server.start_again().await;
        house.server.wait_for_log(&["submission_lost", "refunded=0"]).await;
        assert_eq!(task(&house).await.text("status"), "failed");
        house.close().await;
    }

    async fn what_was_estimated_is_held_again(db: TestDb) {
        let mut house = House::open(db).await;
        let calls = std::sync::atomic::AtomicUsize::new(0);
        house.upstream.handle("/img/submit", move |request| {
            if request.is_estimate() {
                return Reply::estimate(10, 40);
            }
            match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => Reply::hang(),
                _ => taken("t"),
            }
        });
        house.channel(&["img/submit"], json!({"setting": {"idempotent": true}})).await;
        house.admin().price("img/submit", by_use()).await;
        let ann = house.payer(100).await;
        let call = house.server.call("POST", "/pass/img/submit").key(&ann.key).body("{}");
        let running = tokio::spawn(call.try_send());
        house.upstream.wait_for_requests(2).await;
        house.server.kill_9().await;
        assert!(running.await.unwrap().is_err());

        house.server.start_again().await;
        recorded(&house, "t").await;

        let sent = house.upstream.requests().await;
        let keys: Vec<_> = sent.iter().filter_map(|one| one.header("Idempotency-Key")).collect();
        assert_eq!((&keys[..2], keys.len()), (&keys[2..], 4));
        assert_eq!(quotas(&task(&house).await), (50, 50, 0));
        house.server.audit_clean().await;
    }

    async fn an_upstream_that_says_no_the_second_time_fails_the_task(db: TestDb) {
        let mut house = House::open(db).await;
        stuck(&house, idempotent(), Reply::failure(7, "no cats")).await;
        let ann = house.payer(100).await;
        crash(&mut house, &ann, None).await;

        house.server.start_again().await;

        house.wait_for_money(&ann, 100, 0).await;
        let task = task(&house).await;
        assert_eq!((task.text("status"), task.text("fail_reason")), ("failed", "no cats"));
        house.close().await;
    }

    async fn a_client_that_repeats_its_request_gets_the_same_task(db: TestDb) {
        let mut house = House::open(db).await;
        stuck(&house, idempotent(), taken("t")).await;
        let ann = house.payer(100).await;
        crash(&mut house, &ann, Some("once")).await;
        house.server.start_again().await;
        recorded(&house, "t").await;

        let call = house.server.call("POST", "/pass/img/submit?q=1").key(&ann.key);
        let again = call.header("Idempotency-Key", "once").body("a cat").send().await.expect(200);

        assert_eq!(again.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(again.header("Location").as_deref(), Some("/pass/img/task/t"));
        assert_eq!((house.upstream.count(), task_count(&house).await), (2, 1));
        assert_eq!(house.money(&ann).await.quota, 60);
        house.server.audit_clean().await;
    }

    async fn an_upstream_that_is_away_is_waited_for(db: TestDb) {
        let mut house = House::open(db).await;
        stuck(&house, idempotent(), taken("t")).await;
        let ann = house.payer(100).await;
        crash(&mut house, &ann, None).await;
        let port = house.upstream.addr().port();
        let key = house.upstream.requests().await[0].header("Idempotency-Key");
        drop(std::mem::replace(&mut house.upstream, Upstream::start().await));

        house.server.start_again().await;
        house.server.wait_for_log(&["submission_delayed", "request_id=crashed"]).await;
        let back = Upstream::start_on(port).await;
        back.on("/img/submit", taken("t"));
        recorded(&house, "t").await;

        assert_eq!(back.requests().await[0].header("Idempotency-Key"), key);
        assert_eq!(house.money(&ann).await.quota, 60);
        house.server.audit_clean().await;
    }

    async fn an_upstream_that_stays_away_is_not_waited_for_ever(db: TestDb) {
        let mut house = House::open(db).await;
        stuck(&house, idempotent(), taken("t")).await;
        let ann = house.payer(100).await;
        crash(&mut house, &ann, None).await;
        house.upstream.on("/img/submit", Reply::text("away").status(503));
        let old = if house.db.is_postgres() {
            "now() - interval '11 minutes'"
        } else {
            "created_at - 660000"
        };
        house.db.execute(&format!("UPDATE tasks SET created_at = {old}")).await;

        house.server.start_again().await;

        lost(&house, &ann).await;
    }

    async fn one_that_can_not_be_read_harms_no_other(db: TestDb) {
        let mut house = House::open(db).await;
        stuck(&house, idempotent(), taken("t")).await;
        house.upstream.queue("/img/submit", Reply::hang());
        let ann = house.payer(100).await;
        let bad = house.server.call("POST", "/pass/img/submit").key(&ann.key).body("{}");
        let bad = tokio::spawn(bad.header("X-Request-Id", "bad").try_send());
        house.upstream.wait_for_requests(1).await;
        let good = house.server.call("POST", "/pass/img/submit").key(&ann.key).body("{}");
        let good = tokio::spawn(good.header("X-Request-Id", "good").try_send());
        house.upstream.wait_for_requests(2).await;
        house.server.kill_9().await;
        assert!(bad.await.unwrap().is_err() && good.await.unwrap().is_err());
        let spoil = "UPDATE tasks SET request_sealed = 'enc:v1:AAAA' WHERE request_id = 'bad'";
        assert_eq!(house.db.execute(spoil).await, 1);

        house.server.start_again().await;

        house.server.wait_for_log(&["submission_lost", "request_id=bad"]).await;
        house.server.wait_for_log(&["submission_recovered", "request_id=good"]).await;
        assert_eq!(house.money(&ann).await.quota, 60);
        house.server.audit_clean().await;
    }

    async fn what_a_living_node_has_forgotten_ends_as_well(db: TestDb) {
        let house = House::open(db).await;
        let ann = house.payer(0).await;
        let (uid, old) = if house.db.is_postgres() {
            ("gen_random_uuid()", "now() - interval '1 hour'")
        } else {
            ("randomblob(16)", "CAST(unixepoch('subsec') * 1000 AS INTEGER) - 3600000")
        };
        let insert = format!(
            "INSERT INTO tasks (uid, user_id, channel_id, action, request_id, node_id, created_at)
             SELECT {uid}, {}, 1, 'img/submit', 'crashed', id, {old} FROM nodes",
            ann.id
        );
        assert_eq!(house.db.execute(&insert).await, 1);

        house.server.wait_for_log(&["submission_lost", "request_id=crashed"]).await;
        assert_eq!(task(&house).await.text("status"), "failed");
        house.close().await;
    }
}

on_postgres! {
    async fn another_node_sends_again_what_a_dead_one_had_sent(db: TestDb) {
        let mut house = House::open(db).await;
        let others = [node(&house.db, &[]).await, node(&house.db, &[]).await];
        stuck(&house, idempotent(), taken("t")).await;
        let ann = house.payer(100).await;
        crash(&mut house, &ann, None).await;

        recorded(&house, "t").await;

        let sent = house.upstream.requests().await;
        assert_eq!(sent.len(), 2, "one of the others, and only one");
        assert_eq!(sent[0].header("Idempotency-Key"), sent[1].header("Idempotency-Key"));
        assert_eq!(house.money(&ann).await.quota, 60);
        others[0].audit_clean().await;
    }

    async fn a_node_that_lives_is_left_alone(db: TestDb) {
        let house = House::open(db).await;
        let _other = node(&house.db, &[]).await;
        let gate = Gate::new();
        house.upstream.on("/img/submit", taken("t").gated(&gate));
        house.channel(&["img/submit"], idempotent()).await;
        house.admin().price("img/submit", fixed(40)).await;
        let ann = house.payer(100).await;
        let call = house.server.call("POST", "/pass/img/submit").key(&ann.key).body("{}");
        let running = tokio::spawn(call.send());
        gate.reached(1).await;
        // Longer than the others take to look.
        let dead = "INSERT INTO nodes (id, name, started_at, lease_until)
            VALUES ('00000000-0000-0000-0000-000000000001', 'dead', now(), now())";
        house.db.execute(dead).await;
        eventually("the others to look after dead nodes", || async {
            let left = "SELECT count(*) FROM nodes WHERE name = 'dead'";
            (house.db.i64(left).await == 0).then_some(())
        })
        .await;
        gate.open();

        running.await.unwrap().expect(200);
        assert_eq!((house.upstream.count(), task_count(&house).await), (1, 1));
        house.server.audit_clean().await;
    }
}
