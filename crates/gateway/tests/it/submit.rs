//! Task submissions: the row exists before anything is sent, and the task before the client gets a
//! response; a submission that was not accepted costs nothing.

use crate::world::{Money, Payer, World, by_use, fixed};
use testkit::{
    Answer, Gate, Recorded, Reply, Row, TestDb, Upstream, eventually, json, on_both_databases,
};

/// No estimates: the first reply reports the usage.
pub fn without_estimate() -> serde_json::Value {
    json!({"setting": {"precharge": "off"}})
}

/// An upstream's reply when it accepts a task.
pub fn taken(id: &str) -> Reply {
    let data = json!({"task_id": id, "status": "queued", "progress": "0%"});
    Reply::json(&json!({"code": 0, "data": data}))
}

/// Creates a model for tasks with its channel, its price and the upstream's reply.
pub async fn tasks(world: &World, price: serde_json::Value, reply: Reply) -> i64 {
    world.model("img/submit", price, reply).await
}

pub async fn submit(world: &World, payer: &Payer) -> Answer {
    world.pay("img/submit", payer).await
}

/// The only task.
pub async fn task(world: &World) -> Row {
    world.db.row("SELECT * FROM tasks").await
}

pub async fn task_count(world: &World) -> i64 {
    world.db.i64("SELECT count(*) FROM tasks").await
}

/// What a task holds, held at first, and was charged.
pub fn quotas(task: &Row) -> (i64, i64, i64) {
    (task.i64("quota"), task.i64("precharge_quota"), task.i64("used_quota"))
}

/// A task that failed, and gave everything back.
async fn failed(world: &World, payer: &Payer, reason: &str) {
    let task = task(world).await;
    assert_eq!(task.text("status"), "failed", "{reason}");
    assert_eq!(task.text("fail_reason"), reason);
    assert_eq!((task.i64("quota"), task.i64("used_quota")), (0, 0));
    assert!(task.get("finish_time").is_some());
    assert_eq!(world.money(payer).await, Money { quota: 100, used: 0, calls: 0 }, "{reason}");
    world.close().await;
}

on_both_databases! {
    async fn a_task_is_held_for_recorded_and_named(db: TestDb) {
        let world = World::open(db).await;
        let body = "{ \"code\":0,\n \"data\":{\"task_id\":\"a/b 1\",\"status\":\"Queued\",\
                    \"progress\":30,\"more\":[1.50]}}";
        let channel = tasks(&world, fixed(40), Reply::raw_json(body).header("X-Own", "1")).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/img/submit?q=1").key(&ann.key);
        let call = call.header("X-Request-Id", "named").header("Accept-Encoding", "br");
        let answer = call.body("a cat").send().await.expect(200);

        assert_eq!(answer.text(), body, "byte for byte");
        let header = |name| answer.header(name).unwrap_or_default();
        assert_eq!(header("Location"), "/pass/img/task/a%2Fb%201");
        assert_eq!((header("Retry-After"), header("X-Newapi-Quota")), ("30".into(), "40".into()));
        assert_eq!((header("X-Request-Id"), header("X-Own")), ("named".into(), "1".into()));
        let task = task(&world).await;
        let text = |column| task.text(column);
        assert_eq!((text("task_id"), text("action")), ("a/b 1", "img/submit"));
        assert_eq!((text("status"), text("upstream_status")), ("processing", "Queued"));
        assert_eq!((text("progress"), text("request_id")), ("30", "named"));
        assert_eq!((task.i64("user_id"), task.i64("token_id")), (ann.id, ann.token_id));
        assert_eq!((task.i64("channel_id"), quotas(&task)), (channel, (40, 40, 0)));
        assert!(task.get("submit_time").is_some() && task.get("node_id").is_none());
        for sealed in ["key_sealed", "data"] {
            assert!(text(sealed).starts_with("enc:v1:"), "{sealed}");
        }
        let sent = &world.upstream.requests().await[0];
        assert_eq!((sent.target.as_str(), sent.text().as_str()), ("/img/submit?q=1", "a cat"));
        assert_eq!(sent.header("Accept-Encoding").as_deref(), Some("identity"));
        let key = sent.header("Idempotency-Key").unwrap();
        let hold = "SELECT count(*) FROM holds h JOIN tasks t ON t.uid = h.id";
        assert_eq!((key.len(), world.db.i64(hold).await), (36, 1));
        assert_eq!(world.journal(&ann).await, ["precharge 40 0 of 40"]);
        world.server.audit_clean().await;
    }

    async fn both_surfaces_submit_and_ids_may_be_numbers(db: TestDb) {
        // R56: no digit of an id is lost.
        let world = World::open(db).await;
        let numbered = |id: &str| Reply::raw_json(format!("{{\"data\":{{\"task_id\":{id}}}}}"));
        tasks(&world, fixed(40), Reply::text("no")).await;
        world.upstream.queue("/img/submit", numbered("12345678901234567890123"));
        world.upstream.queue("/img/submit", numbered("\"字\""));
        let ann = world.payer(100).await;
        let body = json!({"model": "img/submit", "prompt": "a cat"});

        let first = world.server.post("/v1/images/edits", &ann.key, &body).await.expect(200);
        let second = submit(&world, &ann).await.expect(200);

        let place = first.header("Location");
        assert_eq!(place.as_deref(), Some("/pass/img/task/12345678901234567890123"));
        assert_eq!(second.header("Location").as_deref(), Some("/pass/img/task/%E5%AD%97"));
        let ids = world.db.query("SELECT task_id, status FROM tasks ORDER BY id").await;
        let ids: Vec<_> = ids.iter().map(|row| (row.text("task_id"), row.text("status"))).collect();
        assert_eq!(ids, [("12345678901234567890123", "submitted"), ("字", "submitted")]);
        assert_eq!(world.money(&ann).await.quota, 20);
        world.server.audit_clean().await;
    }

    async fn a_submission_may_be_taken_with_201_and_202(db: TestDb) {
        // R53.
        let world = World::open(db).await;
        tasks(&world, fixed(40), Reply::text("no")).await;
        let ann = world.payer(200).await;
        for (id, status) in [("a", 200), ("b", 201), ("c", 202)] {
            world.upstream.queue("/img/submit", taken(id).status(status));
            let answer = submit(&world, &ann).await.expect(status);
            assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("40"), "{status}");
        }
        let alive = "SELECT count(*) FROM tasks WHERE finish_time IS NULL AND quota = 40";
        assert_eq!((world.db.i64(alive).await, world.money(&ann).await.quota), (3, 80));
        world.server.audit_clean().await;
    }

    async fn by_use_the_first_reply_says_what_is_held(db: TestDb) {
        let world = World::open(db).await;
        let usage = json!({"prompt_tokens": 10, "completion_tokens": 20});
        let reply = json!({"data": {"task_id": "t"}, "usage": usage});
        world.upstream.on("/img/submit", Reply::json(&reply));
        world.channel(&["img/submit"], without_estimate()).await;
        world.admin().price("img/submit", by_use()).await;
        let ann = world.payer(40).await;

        let rich = submit(&world, &ann).await.expect(200);
        assert_eq!(rich.header("X-Newapi-Quota").as_deref(), Some("30"));
        assert_eq!(quotas(&task(&world).await), (30, 30, 0));
        assert_eq!(world.money(&ann).await.quota, 10);

        // Where the balance does not cover more, the work continues with the existing hold.
        let poor = submit(&world, &ann).await.expect(200);
        let held = poor.header("X-Newapi-Quota").unwrap().parse::<i64>().unwrap();
        assert!(held < 30, "{held}");
        assert_eq!(world.money(&ann).await.quota, 10 - held);
        assert_eq!(task_count(&world).await, 2);
        world.server.audit_clean().await;
    }

    async fn an_estimate_counts_more_than_the_first_reply(db: TestDb) {
        let world = World::open(db).await;
        tasks(&world, by_use(), Reply::text("no")).await;
        let usage = json!({"prompt_tokens": 90, "completion_tokens": 0});
        let real = Reply::json(&json!({"data": {"task_id": "t"}, "usage": usage}));
        world.upstream.on_estimate("/img/submit", Reply::estimate(10, 40), real);
        let ann = world.payer(100).await;

        let answer = submit(&world, &ann).await.expect(200);

        assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("50"));
        let requests = world.upstream.requests().await;
        let key = |one: &Recorded| one.header("Idempotency-Key");
        let keys: Vec<_> = requests.iter().filter_map(key).collect();
        assert_eq!(keys[0], format!("{}-precharge", keys[1]));
        assert_eq!(quotas(&task(&world).await), (50, 50, 0));
        world.server.audit_clean().await;
    }

    async fn an_upstream_that_takes_the_task_at_once_is_not_asked_twice(db: TestDb) {
        let world = World::open(db).await;
        tasks(&world, by_use(), taken("t")).await;
        let ann = world.payer(100).await;

        submit(&world, &ann).await.expect(200);

        assert_eq!((world.upstream.count(), task_count(&world).await), (1, 1));
        assert_eq!(task(&world).await.text("task_id"), "t");
        world.server.audit_clean().await;
    }

    async fn without_money_nothing_is_sent_and_there_is_no_task(db: TestDb) {
        let world = World::open(db).await;
        tasks(&world, fixed(40), taken("t")).await;
        let ann = world.payer(39).await;

        submit(&world, &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");

        assert_eq!((world.upstream.count(), task_count(&world).await), (0, 0));
        world.close().await;
    }

    async fn an_estimate_beyond_the_balance_fails_the_task(db: TestDb) {
        let world = World::open(db).await;
        tasks(&world, by_use(), taken("t")).await;
        world.upstream.on_estimate("/img/submit", Reply::estimate(101, 0), taken("t"));
        let ann = world.payer(100).await;

        submit(&world, &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");

        assert_eq!(world.upstream.count(), 1);
        failed(&world, &ann, "estimate_not_held").await;
    }

    async fn what_the_upstream_refuses_is_told_in_its_words(db: TestDb) {
        let world = World::open(db).await;
        tasks(&world, fixed(40), Reply::text("no")).await;
        let ann = world.payer(100).await;
        let nothing = "the upstream's reply names no usable data.task_id";
        let long = format!("{{\"data\":{{\"task_id\":\"{}\"}}}}", "x".repeat(256));
        for (status, body, reason) in [
            (400, r#"{"error":{"message":"too rude"}}"#, "too rude"),
            (500, "oops", "status 500"),
            (200, r#"{"code":7,"message":"no cats","data":{"task_id":"t"}}"#, "no cats"),
            (200, r#"{"code":0,"data":{"task_id":""}}"#, nothing),
            (200, r#"{"code":0,"data":{"task_id":null}}"#, nothing),
            (200, r#"{"code":0,"data":{"task_id":"a\u0000b"}}"#, nothing),
            (200, r#"{"code":0,"data":[{"task_id":"t"}]}"#, nothing),
            (200, &long, nothing),
            (201, "<html>welcome</html>", nothing),
            (204, "", nothing),
        ] {
            world.upstream.queue("/img/submit", Reply::raw_json(body.to_owned()).status(status));
            let answer = submit(&world, &ann).await.expect(status);
            assert_eq!(answer.text(), body);
            assert_eq!(answer.header("Location"), None, "{body}");
            let row = world.db.row("SELECT * FROM tasks ORDER BY id DESC LIMIT 1").await;
            assert_eq!((row.text("status"), row.text("fail_reason")), ("failed", reason), "{body}");
            assert_eq!((row.text("task_id"), quotas(&row)), ("", (0, 40, 0)));
            assert_eq!(world.money(&ann).await, Money { quota: 100, used: 0, calls: 0 });
        }
        world.close().await;
    }

    async fn a_reply_that_breaks_off_is_no_task(db: TestDb) {
        let world = World::open(db).await;
        tasks(&world, fixed(40), taken("t").close_after(20)).await;
        let ann = world.payer(100).await;
        submit(&world, &ann).await.expect_error(502, "UPSTREAM_ERROR");
        failed(&world, &ann, "upstream_cut").await;
    }

    async fn a_reply_that_is_too_large_is_no_task(db: TestDb) {
        let world = World::open(db).await;
        let body = format!("{{\"data\":{{\"x\":\"{}\"}}}}", "x".repeat(9 << 20));
        tasks(&world, fixed(40), Reply::raw_json(body)).await;
        let ann = world.payer(100).await;
        submit(&world, &ann).await.expect_error(502, "UPSTREAM_RESPONSE");
        failed(&world, &ann, "reply_too_large").await;
    }

    async fn an_estimate_is_no_task(db: TestDb) {
        let world = World::open(db).await;
        tasks(&world, fixed(40), Reply::estimate(1, 1)).await;
        let ann = world.payer(100).await;
        submit(&world, &ann).await.expect_error(502, "UPSTREAM_RESPONSE");
        failed(&world, &ann, "estimate_instead_of_result").await;
    }

    async fn nobody_waits_for_a_task_whose_upstream_is_silent(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_HTTP_TIMEOUT", "1s")]).await;
        tasks(&world, fixed(40), Reply::hang()).await;
        let ann = world.payer(100).await;
        submit(&world, &ann).await.expect_error(504, "TIMEOUT");
        failed(&world, &ann, "unknown_outcome").await;
    }

    async fn a_compressed_reply_is_read_and_passed_on(db: TestDb) {
        let world = World::open(db).await;
        tasks(&world, fixed(40), taken("t").gzip()).await;
        let ann = world.payer(100).await;

        let answer = submit(&world, &ann).await.expect(200);

        assert_eq!(answer.header("Content-Encoding").as_deref(), Some("gzip"));
        assert_eq!(&answer.body[..2], b"\x1f\x8b");
        assert_eq!(task(&world).await.text("task_id"), "t");
        world.server.audit_clean().await;
    }

    async fn a_task_belongs_to_the_channel_that_is_sent_to(db: TestDb) {
        let world = World::open(db).await;
        let gone = Upstream::start().await;
        let admin = world.admin();
        let first = json!({"priority": 9});
        let first = admin.channel_to(&gone, &["img/submit"], first).await;
        drop(gone);
        let gate = Gate::new();
        let second = tasks(&world, fixed(40), taken("t").gated(&gate)).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/img/submit").key(&ann.key).body("{}");
        let running = tokio::spawn(call.send());
        gate.reached(1).await;

        let before = task(&world).await;
        assert_eq!((before.i64("channel_id"), before.text("task_id")), (second, ""));
        assert!(before.get("node_id").is_some());
        gate.open();

        running.await.unwrap().expect(200);
        let task = task(&world).await;
        assert_eq!((task.i64("channel_id"), task.text("task_id")), (second, "t"));
        let held = world.db.i64("SELECT channel_id FROM holds").await;
        assert_eq!((held == second, held == first), (true, false));
        world.server.audit_clean().await;
    }

    async fn a_task_without_any_channel_that_answers_has_failed(db: TestDb) {
        let world = World::open(db).await;
        let gone = Upstream::start().await;
        world.admin().channel_to(&gone, &["img/submit"], json!({})).await;
        world.admin().price("img/submit", fixed(40)).await;
        drop(gone);
        let ann = world.payer(100).await;
        submit(&world, &ann).await.expect_error(502, "UPSTREAM_ERROR");
        failed(&world, &ann, "not_sent").await;
    }

    async fn a_task_outlives_the_client_that_submits_it(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        tasks(&world, fixed(40), taken("t").gated(&gate)).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/img/submit").key(&ann.key).body("{}");
        let running = tokio::spawn(call.try_send());
        gate.reached(1).await;
        running.abort();
        assert!(running.await.is_err());
        gate.open();

        eventually("the task to be recorded", || async {
            (task(&world).await.text("task_id") == "t").then_some(())
        })
        .await;
        world.server.wait_for_log(&["async_request", "task_id=t"]).await;
        assert_eq!(world.money(&ann).await.quota, 60);
        world.server.audit_clean().await;
    }

    async fn a_repeated_submission_is_one_task(db: TestDb) {
        let world = World::open(db).await;
        tasks(&world, fixed(40), taken("t").status(202)).await;
        world.upstream.queue("/img/submit", Reply::failure(7, "not now"));
        let ann = world.payer(100).await;
        let call = || {
            let call = world.server.call("POST", "/pass/img/submit").key(&ann.key);
            call.header("Idempotency-Key", "once").body("{}").send()
        };

        // What failed may be tried again.
        call().await.expect(200);
        let first = call().await.expect(202);
        let second = call().await.expect(202);

        assert_eq!(first.header("Idempotent-Replayed"), None);
        assert_eq!(second.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(first.body, second.body);
        for name in ["Location", "Retry-After", "X-Newapi-Quota", "Content-Type"] {
            assert!(first.header(name).is_some(), "{name}");
            assert_eq!(first.header(name), second.header(name), "{name}");
        }
        assert_eq!((world.upstream.count(), task_count(&world).await), (2, 2));
        assert_eq!(world.money(&ann).await.quota, 60);
        world.server.audit_clean().await;
    }

    async fn a_free_task_has_a_row_and_no_hold(db: TestDb) {
        let world = World::open(db).await;
        tasks(&world, json!(null), taken("t")).await;
        world.upstream.queue("/img/submit", Reply::failure(7, "not now"));
        let ann = world.payer(0).await;
        let call = || {
            let call = world.server.call("POST", "/pass/img/submit").key(&ann.key);
            call.header("Idempotency-Key", "once").body("{}").send()
        };

        call().await.expect(200);
        assert_eq!(task(&world).await.text("fail_reason"), "not now");
        let first = call().await.expect(200);
        let second = call().await.expect(200);

        assert_eq!(second.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(first.header("Location"), second.header("Location"));
        assert_eq!(first.header("X-Newapi-Quota"), None);
        let row = world.db.row("SELECT * FROM tasks ORDER BY id DESC LIMIT 1").await;
        assert_eq!((row.text("task_id"), quotas(&row)), ("t", (0, 0, 0)));
        let sent = world.upstream.requests().await;
        assert_eq!(sent.len(), 2);
        assert!(sent[1].header("Idempotency-Key").is_some_and(|key| key.len() == 36));
        assert_eq!(sent[1].header("Accept-Encoding").as_deref(), Some("identity"));
        assert_eq!(world.db.i64("SELECT count(*) FROM holds").await, 0);
        world.close().await;
    }

    async fn an_address_for_webhooks_stays_with_us(db: TestDb) {
        let world = World::open(db).await;
        tasks(&world, fixed(40), taken("t")).await;
        let ann = world.payer(100).await;
        let with = |url: &str| {
            let call = world.server.call("POST", "/pass/img/submit").key(&ann.key);
            call.header("X-Webhook-Url", url).body("{}").send()
        };
        for bad in ["", "/here", "ftp://a.example", "https://ann:pass@a.example/"] {
            with(bad).await.expect_error(400, "INVALID_REQUEST");
        }
        assert_eq!((world.upstream.count(), task_count(&world).await), (0, 0));

        with("https://hooks.example/secret-path").await.expect(200);
        with("https://hooks.example/secret-path").await.expect(200);

        for sent in world.upstream.requests().await {
            assert_eq!(sent.header("X-Webhook-Url"), None);
        }
        let rows = world.db.query("SELECT webhook_url_sealed FROM tasks").await;
        assert!(rows.iter().all(|row| row.text("webhook_url_sealed").starts_with("enc:v1:")));
        let own = world.db.row("SELECT * FROM webhook_endpoints").await;
        assert_eq!((own.i64("user_id"), own.text("url")), (ann.id, ""));
        assert!(own.text("secret_sealed").starts_with("enc:v1:"));
        assert!(!world.server.log_lines().join("\n").contains("secret-path"));
        world.server.audit_clean().await;
    }

    async fn submissions_are_told_apart(db: TestDb) {
        let world = World::open(db).await;
        let channel = tasks(&world, fixed(40), taken("t 1")).await;
        let ann = world.payer(79).await;
        submit(&world, &ann).await.expect(200);
        submit(&world, &ann).await.expect(402);

        let line = world.server.wait_for_log(&["async_request", "status=success"]).await;
        let told = format!("user_id={} channel_id={channel} model=img/submit", ann.id);
        for word in [told.as_str(), "task_id=\"t 1\"", "quota=40", "duration=", "request_id="] {
            assert!(line.contains(word), "{word}: {line}");
        }
        world.server.wait_for_log(&["async_request", "status=error"]).await;
        for status in ["success", "error"] {
            let sample = |name: &str| format!("{name}{{type=\"async\",status=\"{status}\"}}");
            let total = sample("custompass_requests_total");
            assert_eq!(world.server.metric(&total).await, 1, "{status}");
            let timed = sample("custompass_request_duration_seconds_count");
            assert_eq!(world.server.metric(&timed).await, 1, "{status}");
        }
        assert!(!world.server.log_lines().join("\n").contains("sync_request user_id=0"));
        world.server.audit_clean().await;
    }
}
