//! `Idempotency-Key`: the same request twice is done once and charged once.

use crate::house::{House, Payer, by_use, fixed};
use testkit::{Answer, Call, Gate, Reply, Step, TestDb, json, on_both_databases};

fn call(house: &House, payer: &Payer, key: &str, body: &str) -> Call {
    let call = house.server.call("POST", "/pass/m?x=1").key(&payer.key);
    let call = call.header("Idempotency-Key", key).header("Content-Type", "application/json");
    call.body(body.to_owned())
}

async fn again(house: &House, payer: &Payer, key: &str) -> Answer {
    call(house, payer, key, "{\"a\":1}").send().await
}

on_both_databases! {
    async fn the_same_request_gets_the_stored_reply(db: TestDb) {
        let house = House::open(db).await;
        let reply = Reply::result(10, 20).status(201).header("X-Kind", "odd");
        house.model("m", by_use(), reply).await;
        let ann = house.payer(100).await;

        let first = again(&house, &ann, "once").await.expect(201);
        let second = again(&house, &ann, "once").await.expect(201);

        assert_eq!(first.header("Idempotent-Replayed"), None);
        assert_eq!(second.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(first.body, second.body);
        assert_eq!(second.header("X-Kind").as_deref(), Some("odd"));
        assert_eq!(second.header("Content-Type"), first.header("Content-Type"));
        assert_eq!(house.upstream.count(), 1);
        assert_eq!(house.money(&ann).await.used, 30);
        house.close().await;
    }

    async fn another_request_under_the_same_key_is_refused(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(10), Reply::text("ok")).await;
        let ann = house.payer(100).await;
        again(&house, &ann, "once").await.expect(200);

        let other_body = call(&house, &ann, "once", "{\"a\":2}").send().await;
        other_body.expect_error(422, "IDEMPOTENCY_MISMATCH");
        let other_query = house.server.call("POST", "/pass/m?x=2").key(&ann.key);
        let other_query = other_query.header("Idempotency-Key", "once").body("{\"a\":1}");
        other_query.send().await.expect_error(422, "IDEMPOTENCY_MISMATCH");

        // Another user's key of the same name is another key.
        let bob = house.payer(100).await;
        let bobs = call(&house, &bob, "once", "{\"a\":2}").send().await.expect(200);
        assert_eq!(bobs.header("Idempotent-Replayed"), None);
        assert_eq!(house.money(&ann).await.used, 10);
        assert_eq!(house.money(&bob).await.used, 10);
        house.close().await;
    }

    async fn a_request_that_still_runs_is_not_run_twice(db: TestDb) {
        let house = House::open(db).await;
        let gate = Gate::new();
        house.model("m", fixed(10), Reply::text("ok").gated(&gate)).await;
        let ann = house.payer(100).await;
        let running = tokio::spawn(call(&house, &ann, "once", "{\"a\":1}").send());
        gate.reached(1).await;

        again(&house, &ann, "once").await.expect_error(409, "IDEMPOTENCY_CONFLICT");
        gate.open();
        running.await.unwrap().expect(200);

        let replayed = again(&house, &ann, "once").await.expect(200);
        assert_eq!(replayed.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(house.upstream.count(), 1);
        assert_eq!(house.money(&ann).await.used, 10);
        house.close().await;
    }

    async fn a_call_that_was_not_charged_can_be_tried_again(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(10), Reply::text("ok")).await;
        house.upstream.queue("/m", Reply::text("busy").status(503));
        house.upstream.queue("/m", Reply::failure(9, "no"));
        let ann = house.payer(10).await;

        again(&house, &ann, "once").await.expect(503);
        again(&house, &ann, "once").await.expect(200);
        let third = again(&house, &ann, "once").await.expect(200);

        assert_eq!(third.text(), "ok");
        assert_eq!(third.header("Idempotent-Replayed"), None);
        assert_eq!(house.money(&ann).await.used, 10);
        house.close().await;
    }

    async fn a_refused_call_can_be_tried_again(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(10), Reply::text("ok")).await;
        let ann = house.payer(9).await;

        again(&house, &ann, "once").await.expect_error(402, "INSUFFICIENT_QUOTA");
        house.admin().add_quota(ann.id, 1, "a coin found").await;
        again(&house, &ann, "once").await.expect(200);

        assert_eq!(house.money(&ann).await.used, 10);
        house.close().await;
    }

    async fn a_stream_is_replayed_whole(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", by_use(), Reply::openai_stream(&["a", "b"], 10, 20)).await;
        let ann = house.payer(100).await;

        let first = again(&house, &ann, "once").await.expect(200);
        let second = again(&house, &ann, "once").await.expect(200);

        assert_eq!(first.body, second.body);
        assert_eq!(second.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(house.money(&ann).await.used, 30);
        house.close().await;
    }

    async fn what_died_with_its_node_can_be_tried_again(db: TestDb) {
        let mut house = House::open(db).await;
        house.model("m", fixed(10), Reply::text("ok")).await;
        house.upstream.queue("/m", Reply::hang());
        let ann = house.payer(100).await;
        let running = tokio::spawn(call(&house, &ann, "once", "{\"a\":1}").try_send());
        house.upstream.wait_for_requests(1).await;
        house.server.kill_9().await;
        assert!(running.await.unwrap().is_err());
        house.server.start_again().await;

        // Nobody knows yet that its node is dead; once its lease has lapsed, the key is free.
        testkit::eventually("the key to be free again", || async {
            let answer = again(&house, &ann, "once").await;
            assert!(matches!(answer.status, 200 | 409), "{}", answer.text());
            (answer.status == 200).then_some(())
        })
        .await;

        house.wait_for_money(&ann, 90, 10).await;
        house.close().await;
    }

    async fn twenty_at_once_are_charged_once(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(10), Reply::text("ok")).await;
        let ann = house.payer(1_000).await;
        let calls: Vec<_> = (0..20)
            .map(|_| tokio::spawn(call(&house, &ann, "once", "{\"a\":1}").send()))
            .collect();
        for running in calls {
            let answer = running.await.unwrap();
            assert!(matches!(answer.status, 200 | 409), "{}", answer.text());
        }

        assert_eq!(house.upstream.count(), 1);
        assert_eq!(house.money(&ann).await.used, 10);
        house.close().await;
    }

    async fn a_client_that_left_finds_its_reply_later(db: TestDb) {
        let house = House::open(db).await;
        let gate = Gate::new();
        house.model("m", fixed(10), Reply::text("ok").gated(&gate)).await;
        let ann = house.payer(100).await;
        let running = tokio::spawn(call(&house, &ann, "once", "{\"a\":1}").send());
        gate.reached(1).await;
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        gate.open();
        house.wait_for_money(&ann, 90, 10).await;

        let replayed = again(&house, &ann, "once").await;

        // Its reply was kept, or it is said that it was not; it is never done again.
        assert!(matches!(replayed.status, 200 | 409), "{}", replayed.text());
        assert_eq!(house.upstream.count(), 1);
        assert_eq!(house.money(&ann).await.used, 10);
        house.close().await;
    }

    async fn a_stream_whose_end_comes_in_pieces_is_replayed_whole(db: TestDb) {
        let house = House::open(db).await;
        let gate = Gate::new();
        let reply = Reply::sse(["{\"a\":1}"]).body("data: [DONE]\n").wait(&gate).body("\n");
        house.model("m", fixed(10), reply).await;
        let ann = house.payer(100).await;
        let mut answer = call(&house, &ann, "once", "{}").stream().await;
        let mut first = answer.read_until("[DONE]\n").await;
        gate.open();
        first.push_str(&String::from_utf8_lossy(&answer.rest().await.unwrap()));

        let second = call(&house, &ann, "once", "{}").send().await.expect(200);

        assert_eq!(second.text(), first);
        assert_eq!(second.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(house.money(&ann).await.used, 10);
        house.close().await;
    }

    async fn a_stream_that_broke_off_is_not_replayed_as_whole(db: TestDb) {
        let house = House::open(db).await;
        let events = ["{\"a\":1}", "{\"a\":2}"];
        house.model("m", fixed(10), Reply::sse(events).step(Step::Close)).await;
        let ann = house.payer(100).await;

        let first = call(&house, &ann, "once", "{}").try_send().await;

        assert!(first.is_err(), "it broke off, and says so");
        house.wait_for_money(&ann, 90, 10).await;
        let second = call(&house, &ann, "once", "{}").send().await;
        second.expect_error(409, "IDEMPOTENCY_CONFLICT");
        assert_eq!(house.upstream.count(), 1);
        assert_eq!(house.money(&ann).await.used, 10);
        house.close().await;
    }

    async fn a_stream_that_outlived_its_drain_is_not_replayed_as_whole(db: TestDb) {
        let house = House::with(db, &[("CUSTOM_PASS_DRAIN_SECONDS", "1")]).await;
        house.model("m", fixed(10), Reply::sse(["{\"a\":1}"]).step(Step::Hang)).await;
        let ann = house.payer(100).await;
        let mut answer = call(&house, &ann, "once", "{}").stream().await;
        answer.read_until("a").await;
        drop(answer);
        house.wait_for_money(&ann, 90, 10).await;

        let second = call(&house, &ann, "once", "{}").send().await;

        second.expect_error(409, "IDEMPOTENCY_CONFLICT");
        assert_eq!(house.upstream.count(), 1);
        house.close().await;
    }

    async fn a_body_that_outlived_its_drain_is_not_replayed_as_whole(db: TestDb) {
        let house = House::with(db, &[("CUSTOM_PASS_DRAIN_SECONDS", "1")]).await;
        house.model("m", by_use(), begun_body()).await;
        house.upstream.on_estimate("/m", Reply::estimate(5, 5), begun_body());
        let ann = house.payer(100).await;
        let running = tokio::spawn(call(&house, &ann, "once", "{}").try_send());
        house.upstream.wait_for_requests(2).await;
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        house.wait_for_money(&ann, 90, 10).await;

        let second = call(&house, &ann, "once", "{}").send().await;

        second.expect_error(409, "IDEMPOTENCY_CONFLICT");
        house.close().await;
    }

    async fn what_changes_the_meaning_makes_another_request(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(10), Reply::text("ok")).await;
        let ann = house.payer(100).await;
        let named = |headers: &[(&str, &str)]| {
            let call = house.server.call("POST", "/pass/m").key(&ann.key).body("{}");
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
        house.close().await;
    }

    async fn another_webhook_is_another_request(db: TestDb) {
        let house = House::open(db).await;
        let taken = Reply::json(&json!({"code": 0, "data": {"task_id": "t-1"}}));
        house.model("img/submit", fixed(10), taken).await;
        let ann = house.payer(100).await;
        let submit = |url: &str| {
            let call = house.server.call("POST", "/pass/img/submit").key(&ann.key);
            let call = call.json(&json!({})).header("Idempotency-Key", "once");
            call.header("X-Webhook-Url", url).send()
        };
        submit("https://a.example/x").await.expect(200);

        submit("https://b.example/x").await.expect_error(422, "IDEMPOTENCY_MISMATCH");
        let again = submit("https://a.example/x").await.expect(200);

        assert_eq!(again.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(house.upstream.count(), 1);
        house.server.audit_clean().await;
    }

    async fn a_charge_that_did_not_happen_is_not_told(db: TestDb) {
        let house = House::open(db).await;
        let gate = Gate::new();
        house.model("m", fixed(10), Reply::text("ok").gated(&gate)).await;
        let ann = house.payer(100).await;
        let running = tokio::spawn(call(&house, &ann, "once", "{}").send());
        gate.reached(1).await;
        // As another node does once this one's lease has lapsed.
        house.db.execute("UPDATE holds SET node_id = NULL, deadline_at = created_at").await;
        house.wait_for_money(&ann, 100, 0).await;
        gate.open();

        let answer = running.await.unwrap().expect(200);

        let told = answer.header("X-Newapi-Quota");
        assert_eq!(told, Some(house.money(&ann).await.used.to_string()));
        house.close().await;
    }
}

/// A reply that begins, and hangs.
fn begun_body() -> Reply {
    let begun = Reply::new(200).header("Content-Type", "application/json").chunked();
    begun.body("{\"a\":").step(Step::Hang)
}

on_sqlite! {
    async fn keys_have_a_length(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(10), Reply::text("ok")).await;
        let ann = house.payer(100).await;

        again(&house, &ann, &"k".repeat(256)).await.expect_error(400, "INVALID_REQUEST");
        assert_eq!(house.upstream.count(), 0);
        again(&house, &ann, &"k".repeat(255)).await.expect(200);
        house.close().await;
    }

    async fn stored_replies_are_not_readable(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(10), Reply::text("a private reply")).await;
        let ann = house.payer(100).await;

        again(&house, &ann, "my-idempotency-key").await.expect(200);

        let row = house.db.row("SELECT * FROM idempotency").await;
        let text = format!("{row:?}");
        assert!(!text.contains("private") && !text.contains("my-idempotency-key"), "{text}");
        house.close().await;
    }

    async fn a_restart_forgets_nothing(db: TestDb) {
        let mut house = House::open(db).await;
        house.model("m", fixed(10), Reply::text("ok")).await;
        let ann = house.payer(100).await;
        again(&house, &ann, "once").await.expect(200);

        house.server.restart().await;

        let replayed = again(&house, &ann, "once").await.expect(200);
        assert_eq!(replayed.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(house.money(&ann).await.used, 10);
        house.close().await;
    }
}
