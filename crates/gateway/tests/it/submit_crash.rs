//! Submissions that a crash interrupted between sending and recording: resent where the upstream
//! deduplicates requests, else failed and refunded.

use crate::submit::{quotas, taken, task, task_count, tasks, without_estimate};
use crate::world::{Payer, World, by_use, fixed, node};
use testkit::{Gate, Reply, TestDb, Upstream, eventually, json, on_both_databases};

/// A channel whose upstream honours `Idempotency-Key`.
fn idempotent() -> serde_json::Value {
    json!({"setting": {"idempotent": true, "precharge": "off"}})
}

/// A model for tasks whose upstream keeps its first reply back for ever.
async fn stuck(world: &World, channel: serde_json::Value, reply: Reply) {
    world.upstream.queue("/img/submit", Reply::hang());
    world.upstream.on("/img/submit", reply);
    world.channel(&["img/submit"], channel).await;
    world.admin().price("img/submit", fixed(40)).await;
}

/// Submits, and kills the server while the upstream is at it.
async fn crash(world: &mut World, payer: &Payer, key: Option<&str>) {
    let mut call = world.server.call("POST", "/pass/img/submit?q=1").key(&payer.key);
    if let Some(key) = key {
        call = call.header("Idempotency-Key", key);
    }
    let call = call.header("X-Request-Id", "crashed").header("X-Own", "1").body("a cat");
    let running = tokio::spawn(call.try_send());
    world.upstream.wait_for_requests(1).await;
    world.server.kill_9().await;
    assert!(running.await.unwrap().is_err());
}

async fn recorded(world: &World, id: &str) {
    eventually("the task to be recorded", || async {
        (task(world).await.text("task_id") == id).then_some(())
    })
    .await;
}

async fn lost(world: &World, payer: &Payer) {
    let line = world.server.wait_for_log(&["submission_lost", "request_id=crashed"]).await;
    assert!(line.contains("released=40") && line.contains("WARN"), "{line}");
    let task = task(world).await;
    assert_eq!((task.text("status"), quotas(&task)), ("failed", (0, 40, 0)));
    assert!(task.text("fail_reason").starts_with("submission_lost"));
    assert_eq!(world.money(payer).await.quota, 100);
    assert!(world.journal(payer).await.contains(&"refund 40 0 of 40".to_owned()));
    world.close().await;
}

on_both_databases! {
    async fn a_crash_is_mended_where_the_upstream_knows_the_key(db: TestDb) {
        let mut world = World::open(db).await;
        stuck(&world, idempotent(), taken("t")).await;
        let ann = world.payer(100).await;
        crash(&mut world, &ann, None).await;
        let sealed = task(&world).await.text("request_sealed").to_owned();
        assert!(sealed.starts_with("enc:v1:"));

        world.server.start_again().await;
        recorded(&world, "t").await;

        let sent = world.upstream.requests().await;
        assert_eq!(sent.len(), 2);
        let ours = ["Idempotency-Key", "X-Request-Id", "Authorization", "X-Custom-Token"];
        for name in ours.into_iter().chain(["X-Own"]) {
            assert!(sent[0].header(name).is_some(), "{name}");
            assert_eq!(sent[0].header(name), sent[1].header(name), "{name}");
        }
        assert_eq!((sent[0].target.as_str(), &sent[0].body), ("/img/submit?q=1", &sent[1].body));
        assert_eq!(sent[0].target, sent[1].target);
        let task = task(&world).await;
        assert_eq!((task.text("status"), quotas(&task)), ("processing", (40, 40, 0)));
        assert!(task.get("request_sealed").is_none() && task.get("node_id").is_none());
        assert_eq!(world.money(&ann).await.quota, 60);
        world.server.wait_for_log(&["submission_recovered", "task_id=t"]).await;
        world.server.audit_clean().await;
    }

    async fn a_crash_fails_the_task_where_the_upstream_does_not(db: TestDb) {
        let mut world = World::open(db).await;
        stuck(&world, without_estimate(), taken("t")).await;
        let ann = world.payer(100).await;
        crash(&mut world, &ann, None).await;
        assert!(task(&world).await.get("request_sealed").is_none(), "kept for nothing");

        world.server.start_again().await;

        lost(&world, &ann).await;
        assert_eq!(world.upstream.count(), 1, "it was not sent again");
    }

    async fn a_free_task_is_recovered_or_lost_as_well(db: TestDb) {
        let mut world = World::open(db).await;
        world.upstream.queue("/img/submit", Reply::hang());
        tasks(&world, json!(null), taken("t")).await;
        let ann = world.payer(0).await;
        crash(&mut world, &ann, None).await;
        world.server.start_again().await;
        world.server.wait_for_log(&["submission_lost", "released=0"]).await;
        assert_eq!(task(&world).await.text("status"), "failed");
        world.close().await;
    }

    async fn what_was_estimated_is_held_again(db: TestDb) {
        let mut world = World::open(db).await;
        let calls = std::sync::atomic::AtomicUsize::new(0);
        world.upstream.handle("/img/submit", move |request| {
            if request.is_estimate() {
                return Reply::estimate(10, 40);
            }
            match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => Reply::hang(),
                _ => taken("t"),
            }
        });
        world.channel(&["img/submit"], json!({"setting": {"idempotent": true}})).await;
        world.admin().price("img/submit", by_use()).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/img/submit").key(&ann.key).body("{}");
        let running = tokio::spawn(call.try_send());
        world.upstream.wait_for_requests(2).await;
        world.server.kill_9().await;
        assert!(running.await.unwrap().is_err());

        world.server.start_again().await;
        recorded(&world, "t").await;

        let sent = world.upstream.requests().await;
        let keys: Vec<_> = sent.iter().filter_map(|one| one.header("Idempotency-Key")).collect();
        assert_eq!((&keys[..2], keys.len()), (&keys[2..], 4));
        assert_eq!(quotas(&task(&world).await), (50, 50, 0));
        world.server.audit_clean().await;
    }

    async fn an_upstream_that_says_no_the_second_time_fails_the_task(db: TestDb) {
        let mut world = World::open(db).await;
        stuck(&world, idempotent(), Reply::failure(7, "no cats")).await;
        let ann = world.payer(100).await;
        crash(&mut world, &ann, None).await;

        world.server.start_again().await;

        world.wait_for_money(&ann, 100, 0).await;
        let task = task(&world).await;
        assert_eq!((task.text("status"), task.text("fail_reason")), ("failed", "no cats"));
        world.close().await;
    }

    async fn a_client_that_repeats_its_request_gets_the_same_task(db: TestDb) {
        let mut world = World::open(db).await;
        stuck(&world, idempotent(), taken("t")).await;
        let ann = world.payer(100).await;
        crash(&mut world, &ann, Some("once")).await;
        world.server.start_again().await;
        recorded(&world, "t").await;

        let call = world.server.call("POST", "/pass/img/submit?q=1").key(&ann.key);
        let again = call.header("Idempotency-Key", "once").body("a cat").send().await.expect(200);

        assert_eq!(again.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(again.header("Location").as_deref(), Some("/pass/img/task/t"));
        assert_eq!((world.upstream.count(), task_count(&world).await), (2, 1));
        assert_eq!(world.money(&ann).await.quota, 60);
        world.server.audit_clean().await;
    }

    async fn an_upstream_that_is_away_is_waited_for(db: TestDb) {
        let mut world = World::open(db).await;
        stuck(&world, idempotent(), taken("t")).await;
        let ann = world.payer(100).await;
        crash(&mut world, &ann, None).await;
        let port = world.upstream.addr().port();
        let key = world.upstream.requests().await[0].header("Idempotency-Key");
        drop(std::mem::replace(&mut world.upstream, Upstream::start().await));

        world.server.start_again().await;
        world.server.wait_for_log(&["submission_delayed", "request_id=crashed"]).await;
        let back = Upstream::start_on(port).await;
        back.on("/img/submit", taken("t"));
        recorded(&world, "t").await;

        assert_eq!(back.requests().await[0].header("Idempotency-Key"), key);
        assert_eq!(world.money(&ann).await.quota, 60);
        world.server.audit_clean().await;
    }

    async fn an_upstream_that_stays_away_is_not_waited_for_ever(db: TestDb) {
        let mut world = World::open(db).await;
        stuck(&world, idempotent(), taken("t")).await;
        let ann = world.payer(100).await;
        crash(&mut world, &ann, None).await;
        world.upstream.on("/img/submit", Reply::text("away").status(503));
        let old = if world.db.is_postgres() {
            "now() - interval '11 minutes'"
        } else {
            "created_at - 660000"
        };
        world.db.execute(&format!("UPDATE tasks SET created_at = {old}")).await;

        world.server.start_again().await;

        lost(&world, &ann).await;
    }

    async fn one_that_can_not_be_read_harms_no_other(db: TestDb) {
        let mut world = World::open(db).await;
        stuck(&world, idempotent(), taken("t")).await;
        world.upstream.queue("/img/submit", Reply::hang());
        let ann = world.payer(100).await;
        let bad = world.server.call("POST", "/pass/img/submit").key(&ann.key).body("{}");
        let bad = tokio::spawn(bad.header("X-Request-Id", "bad").try_send());
        world.upstream.wait_for_requests(1).await;
        let good = world.server.call("POST", "/pass/img/submit").key(&ann.key).body("{}");
        let good = tokio::spawn(good.header("X-Request-Id", "good").try_send());
        world.upstream.wait_for_requests(2).await;
        world.server.kill_9().await;
        assert!(bad.await.unwrap().is_err() && good.await.unwrap().is_err());
        let spoil = "UPDATE tasks SET request_sealed = 'enc:v1:AAAA' WHERE request_id = 'bad'";
        assert_eq!(world.db.execute(spoil).await, 1);

        world.server.start_again().await;

        world.server.wait_for_log(&["submission_lost", "request_id=bad"]).await;
        world.server.wait_for_log(&["submission_recovered", "request_id=good"]).await;
        assert_eq!(world.money(&ann).await.quota, 60);
        world.server.audit_clean().await;
    }

    async fn what_a_living_node_has_forgotten_ends_as_well(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(0).await;
        let (uid, old) = if world.db.is_postgres() {
            ("gen_random_uuid()", "now() - interval '1 hour'")
        } else {
            ("randomblob(16)", "CAST(unixepoch('subsec') * 1000 AS INTEGER) - 3600000")
        };
        let insert = format!(
            "INSERT INTO tasks (uid, user_id, channel_id, action, request_id, node_id, created_at)
             SELECT {uid}, {}, 1, 'img/submit', 'crashed', id, {old} FROM nodes",
            ann.id
        );
        assert_eq!(world.db.execute(&insert).await, 1);

        world.server.wait_for_log(&["submission_lost", "request_id=crashed"]).await;
        assert_eq!(task(&world).await.text("status"), "failed");
        world.close().await;
    }
}

on_postgres! {
    async fn another_node_sends_again_what_a_dead_one_had_sent(db: TestDb) {
        let mut world = World::open(db).await;
        let others = [node(&world.db, &[]).await, node(&world.db, &[]).await];
        stuck(&world, idempotent(), taken("t")).await;
        let ann = world.payer(100).await;
        crash(&mut world, &ann, None).await;

        recorded(&world, "t").await;

        let sent = world.upstream.requests().await;
        assert_eq!(sent.len(), 2, "one of the others, and only one");
        assert_eq!(sent[0].header("Idempotency-Key"), sent[1].header("Idempotency-Key"));
        assert_eq!(world.money(&ann).await.quota, 60);
        others[0].audit_clean().await;
    }

    async fn a_node_that_lives_is_left_alone(db: TestDb) {
        let world = World::open(db).await;
        let _other = node(&world.db, &[]).await;
        let gate = Gate::new();
        world.upstream.on("/img/submit", taken("t").gated(&gate));
        world.channel(&["img/submit"], idempotent()).await;
        world.admin().price("img/submit", fixed(40)).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/img/submit").key(&ann.key).body("{}");
        let running = tokio::spawn(call.send());
        gate.reached(1).await;
        // Longer than the others take to look.
        let dead = "INSERT INTO nodes (id, name, started_at, lease_until)
            VALUES ('00000000-0000-0000-0000-000000000001', 'dead', now(), now())";
        world.db.execute(dead).await;
        eventually("the others to look after dead nodes", || async {
            let left = "SELECT count(*) FROM nodes WHERE name = 'dead'";
            (world.db.i64(left).await == 0).then_some(())
        })
        .await;
        gate.open();

        running.await.unwrap().expect(200);
        assert_eq!((world.upstream.count(), task_count(&world).await), (1, 1));
        world.server.audit_clean().await;
    }
}
