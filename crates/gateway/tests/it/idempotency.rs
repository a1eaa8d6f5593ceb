//! `Idempotency-Key`: the same request twice is done once and charged once.

use crate::world::{Payer, World, by_use, fixed};
use testkit::{Answer, Call, Gate, Reply, Step, TestDb, json, on_both_databases};

fn call(world: &World, payer: &Payer, key: &str, body: &str) -> Call {
    let call = world.server.call("POST", "/pass/m?x=1").key(&payer.key);
    let call = call.header("Idempotency-Key", key).header("Content-Type", "application/json");
    call.body(body.to_owned())
}

async fn again(world: &World, payer: &Payer, key: &str) -> Answer {
    call(world, payer, key, "{\"a\":1}").send().await
}

on_both_databases! {
    async fn the_same_request_gets_the_stored_reply(db: TestDb) {
        let world = World::open(db).await;
        let reply = Reply::result(10, 20).status(201).header("X-Kind", "odd");
        world.model("m", by_use(), reply).await;
        let ann = world.payer(100).await;

        let first = again(&world, &ann, "once").await.expect(201);
        let second = again(&world, &ann, "once").await.expect(201);

        assert_eq!(first.header("Idempotent-Replayed"), None);
        assert_eq!(second.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(first.body, second.body);
        assert_eq!(second.header("X-Kind").as_deref(), Some("odd"));
        assert_eq!(second.header("Content-Type"), first.header("Content-Type"));
        assert_eq!(world.upstream.count(), 1);
        assert_eq!(world.money(&ann).await.used, 30);
        world.close().await;
    }

    async fn another_request_under_the_same_key_is_refused(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        again(&world, &ann, "once").await.expect(200);

        let other_body = call(&world, &ann, "once", "{\"a\":2}").send().await;
        other_body.expect_error(422, "IDEMPOTENCY_MISMATCH");
        let other_query = world.server.call("POST", "/pass/m?x=2").key(&ann.key);
        let other_query = other_query.header("Idempotency-Key", "once").body("{\"a\":1}");
        other_query.send().await.expect_error(422, "IDEMPOTENCY_MISMATCH");

        // Another user's key of the same name is another key.
        let bob = world.payer(100).await;
        let bobs = call(&world, &bob, "once", "{\"a\":2}").send().await.expect(200);
        assert_eq!(bobs.header("Idempotent-Replayed"), None);
        assert_eq!(world.money(&ann).await.used, 10);
        assert_eq!(world.money(&bob).await.used, 10);
        world.close().await;
    }

    async fn a_request_that_still_runs_is_not_run_twice(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        world.model("m", fixed(10), Reply::text("ok").gated(&gate)).await;
        let ann = world.payer(100).await;
        let running = tokio::spawn(call(&world, &ann, "once", "{\"a\":1}").send());
        gate.reached(1).await;

        again(&world, &ann, "once").await.expect_error(409, "IDEMPOTENCY_CONFLICT");
        gate.open();
        running.await.unwrap().expect(200);

        let replayed = again(&world, &ann, "once").await.expect(200);
        assert_eq!(replayed.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(world.upstream.count(), 1);
        assert_eq!(world.money(&ann).await.used, 10);
        world.close().await;
    }

    async fn a_call_that_was_not_charged_can_be_tried_again(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        world.upstream.queue("/m", Reply::text("busy").status(503));
        world.upstream.queue("/m", Reply::failure(9, "no"));
        let ann = world.payer(10).await;

        again(&world, &ann, "once").await.expect(503);
        again(&world, &ann, "once").await.expect(200);
        let third = again(&world, &ann, "once").await.expect(200);

        assert_eq!(third.text(), "ok");
        assert_eq!(third.header("Idempotent-Replayed"), None);
        assert_eq!(world.money(&ann).await.used, 10);
        world.close().await;
    }

    async fn a_refused_call_can_be_tried_again(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(9).await;

        again(&world, &ann, "once").await.expect_error(402, "INSUFFICIENT_QUOTA");
        world.admin().add_quota(ann.id, 1, "a coin found").await;
        again(&world, &ann, "once").await.expect(200);

        assert_eq!(world.money(&ann).await.used, 10);
        world.close().await;
    }

    async fn a_stream_is_replayed_whole(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", by_use(), Reply::openai_stream(&["a", "b"], 10, 20)).await;
        let ann = world.payer(100).await;

        let first = again(&world, &ann, "once").await.expect(200);
        let second = again(&world, &ann, "once").await.expect(200);

        assert_eq!(first.body, second.body);
        assert_eq!(second.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(world.money(&ann).await.used, 30);
        world.close().await;
    }

    async fn what_died_with_its_node_can_be_tried_again(db: TestDb) {
        let mut world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        world.upstream.queue("/m", Reply::hang());
        let ann = world.payer(100).await;
        let running = tokio::spawn(call(&world, &ann, "once", "{\"a\":1}").try_send());
        world.upstream.wait_for_requests(1).await;
        world.server.kill_9().await;
        assert!(running.await.unwrap().is_err());
        world.server.start_again().await;

        // The death of the node is detected only when its lease expires; then the key is free.
        testkit::eventually("the key to be free again", || async {
            let answer = again(&world, &ann, "once").await;
            assert!(matches!(answer.status, 200 | 409), "{}", answer.text());
            (answer.status == 200).then_some(())
        })
        .await;

        world.wait_for_money(&ann, 90, 10).await;
        world.close().await;
    }

    async fn twenty_at_once_are_charged_once(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(1_000).await;
        let calls: Vec<_> = (0..20)
            .map(|_| tokio::spawn(call(&world, &ann, "once", "{\"a\":1}").send()))
            .collect();
        for running in calls {
            let answer = running.await.unwrap();
            assert!(matches!(answer.status, 200 | 409), "{}", answer.text());
        }

        assert_eq!(world.upstream.count(), 1);
        assert_eq!(world.money(&ann).await.used, 10);
        world.close().await;
    }

    async fn a_client_that_left_finds_its_reply_later(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        world.model("m", fixed(10), Reply::text("ok").gated(&gate)).await;
        let ann = world.payer(100).await;
        let running = tokio::spawn(call(&world, &ann, "once", "{\"a\":1}").send());
        gate.reached(1).await;
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        gate.open();
        world.wait_for_money(&ann, 90, 10).await;

        let replayed = again(&world, &ann, "once").await;

        // Its reply was stored, or a 409 reports that it was not; it is never repeated.
        assert!(matches!(replayed.status, 200 | 409), "{}", replayed.text());
        assert_eq!(world.upstream.count(), 1);
        assert_eq!(world.money(&ann).await.used, 10);
        world.close().await;
    }

    async fn a_stream_whose_end_comes_in_pieces_is_replayed_whole(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        let reply = Reply::sse(["{\"a\":1}"]).body("data: [DONE]\n").wait(&gate).body("\n");
        world.model("m", fixed(10), reply).await;
        let ann = world.payer(100).await;
        let mut answer = call(&world, &ann, "once", "{}").stream().await;
        let mut first = answer.read_until("[DONE]\n").await;
        gate.open();
        first.push_str(&String::from_utf8_lossy(&answer.rest().await.unwrap()));

        let second = call(&world, &ann, "once", "{}").send().await.expect(200);

        assert_eq!(second.text(), first);
        assert_eq!(second.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(world.money(&ann).await.used, 10);
        world.close().await;
    }

    async fn a_stream_that_broke_off_is_not_replayed_as_whole(db: TestDb) {
        let world = World::open(db).await;
        let events = ["{\"a\":1}", "{\"a\":2}"];
        world.model("m", fixed(10), Reply::sse(events).step(Step::Close)).await;
        let ann = world.payer(100).await;

        let first = call(&world, &ann, "once", "{}").try_send().await;

        assert!(first.is_err(), "it broke off, and says so");
        world.wait_for_money(&ann, 90, 10).await;
        let second = call(&world, &ann, "once", "{}").send().await;
        second.expect_error(409, "IDEMPOTENCY_CONFLICT");
        assert_eq!(world.upstream.count(), 1);
        assert_eq!(world.money(&ann).await.used, 10);
        world.close().await;
    }

    async fn a_stream_that_outlived_its_drain_is_not_replayed_as_whole(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_DRAIN_SECONDS", "1")]).await;
        world.model("m", fixed(10), Reply::sse(["{\"a\":1}"]).step(Step::Hang)).await;
        let ann = world.payer(100).await;
        let mut answer = call(&world, &ann, "once", "{}").stream().await;
        answer.read_until("a").await;
        drop(answer);
        world.wait_for_money(&ann, 90, 10).await;

        let second = call(&world, &ann, "once", "{}").send().await;

        second.expect_error(409, "IDEMPOTENCY_CONFLICT");
        assert_eq!(world.upstream.count(), 1);
        world.close().await;
    }

    async fn a_body_that_outlived_its_drain_is_not_replayed_as_whole(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_DRAIN_SECONDS", "1")]).await;
        world.model("m", by_use(), begun_body()).await;
        world.upstream.on_estimate("/m", Reply::estimate(5, 5), begun_body());
        let ann = world.payer(100).await;
        let running = tokio::spawn(call(&world, &ann, "once", "{}").try_send());
        world.upstream.wait_for_requests(2).await;
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        world.wait_for_money(&ann, 90, 10).await;

        let second = call(&world, &ann, "once", "{}").send().await;

        second.expect_error(409, "IDEMPOTENCY_CONFLICT");
        world.close().await;
    }

    async fn what_changes_the_meaning_makes_another_request(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let named = |headers: &[(&str, &str)]| {
            let call = world.server.call("POST", "/pass/m").key(&ann.key).body("{}");
            let call = call.header("Idempotency-Key", "once");
            headers.iter().fold(call, |call, (name, value)| call.header(name, value)).send()
        };
        let json = ("Content-Type", "application/json");
        named(&[json, ("User-Agent", "a/1"), ("X-Request-Id", "one")]).await.expect(200);

        for headers in [
            &[][..],
            &[("Content-Type", "text/plain")],
            &[json, json],
            &[json, ("Accept", "text/event-stream")],
            &[json, ("OpenAI-Beta", "assistants=v2")],
            &[json, ("Anthropic-Version", "2023-06-01")],
            &[json, ("Range", "bytes=0-1")],
        ] {
            named(headers).await.expect_error(422, "IDEMPOTENCY_MISMATCH");
        }
        let again = named(&[json, ("User-Agent", "a/2"), ("X-Request-Id", "two")]).await;
        assert_eq!(again.expect(200).header("Idempotent-Replayed").as_deref(), Some("true"));
        world.close().await;
    }

    async fn another_webhook_is_another_request(db: TestDb) {
        let world = World::open(db).await;
        let taken = Reply::json(&json!({"code": 0, "data": {"task_id": "t-1"}}));
        world.model("img/submit", fixed(10), taken).await;
        let ann = world.payer(100).await;
        let submit = |url: &str| {
            let call = world.server.call("POST", "/pass/img/submit").key(&ann.key);
            let call = call.json(&json!({})).header("Idempotency-Key", "once");
            call.header("X-Webhook-Url", url).send()
        };
        submit("https://a.example/x").await.expect(200);

        submit("https://b.example/x").await.expect_error(422, "IDEMPOTENCY_MISMATCH");
        let again = submit("https://a.example/x").await.expect(200);

        assert_eq!(again.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(world.upstream.count(), 1);
        world.server.audit_clean().await;
    }

    async fn a_charge_that_did_not_happen_is_not_told(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        world.model("m", fixed(10), Reply::text("ok").gated(&gate)).await;
        let ann = world.payer(100).await;
        let running = tokio::spawn(call(&world, &ann, "once", "{}").send());
        gate.reached(1).await;
        // As another node does once this one's lease has expired.
        world.db.execute("UPDATE holds SET node_id = NULL, deadline_at = created_at").await;
        world.wait_for_money(&ann, 100, 0).await;
        gate.open();

        let answer = running.await.unwrap().expect(200);

        let told = answer.header("X-Newapi-Quota");
        assert_eq!(told, Some(world.money(&ann).await.used.to_string()));
        world.close().await;
    }
}

/// A reply that begins, and hangs.
fn begun_body() -> Reply {
    let begun = Reply::new(200).header("Content-Type", "application/json").chunked();
    begun.body("{\"a\":").step(Step::Hang)
}

on_sqlite! {
    async fn keys_have_a_length(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100).await;

        again(&world, &ann, &"k".repeat(256)).await.expect_error(400, "INVALID_REQUEST");
        assert_eq!(world.upstream.count(), 0);
        again(&world, &ann, &"k".repeat(255)).await.expect(200);
        world.close().await;
    }

    async fn stored_replies_are_not_readable(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("a private reply")).await;
        let ann = world.payer(100).await;

        again(&world, &ann, "my-idempotency-key").await.expect(200);

        let row = world.db.row("SELECT * FROM idempotency").await;
        let text = format!("{row:?}");
        assert!(!text.contains("private") && !text.contains("my-idempotency-key"), "{text}");
        world.close().await;
    }

    async fn a_restart_forgets_nothing(db: TestDb) {
        let mut world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        again(&world, &ann, "once").await.expect(200);

        world.server.restart().await;

        let replayed = again(&world, &ann, "once").await.expect(200);
        assert_eq!(replayed.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(world.money(&ann).await.used, 10);
        world.close().await;
    }
}
