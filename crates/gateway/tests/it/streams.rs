//! Streams pass as they come, and are settled before their end is seen.

use crate::world::{Money, World, by_use, fixed};
use testkit::{Gate, Reply, Step, TestDb, json, on_both_databases};

/// A body that a chat client would send for a stream.
fn stream_body(model: &str) -> serde_json::Value {
    json!({"model": model, "stream": true, "stream_options": {"include_usage": true},
           "messages": [{"role": "user", "content": "hi"}]})
}

/// The usage of a stream's last event.
fn usage_event(prompt: i64, completion: i64) -> String {
    json!({"choices": [], "usage": {
        "prompt_tokens": prompt, "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }})
    .to_string()
}

on_both_databases! {
    async fn the_first_event_is_seen_before_the_second_is_sent(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        let reply = Reply::sse([r#"{"choices":[{"delta":{"content":"one"}}]}"#])
            .wait(&gate)
            .event(r#"{"choices":[{"delta":{"content":"two"}}]}"#)
            .event(usage_event(20, 30))
            .event("[DONE]");
        world.model("m", by_use(), reply).await;
        let ann = world.payer(1_000).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&stream_body("m"));
        let mut answer = call.stream().await;
        assert_eq!(answer.status, 200);
        let first = answer.read_until("\n\n").await;
        assert!(first.contains("one") && !first.contains("two"), "{first}");
        gate.reached(1).await;
        gate.open();
        let rest = String::from_utf8(answer.rest().await.unwrap().to_vec()).unwrap();

        assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
        assert_eq!(rest.matches("[DONE]").count(), 1);
        assert_eq!(world.money(&ann).await, Money { quota: 950, used: 50, calls: 1 });
        world.close().await;
    }

    async fn a_stream_is_settled_before_its_end_is_seen(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", by_use(), Reply::openai_stream(&["a", "b"], 20, 30)).await;
        let ann = world.payer(1_000).await;

        for round in 1..=10 {
            let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&stream_body("m"));
            let mut answer = call.stream().await;
            answer.read_until("[DONE]").await;
            // At this moment, and not a little later.
            assert_eq!(world.money(&ann).await.used, 50 * round, "round {round}");
        }
        world.close().await;
    }

    async fn a_fixed_price_stream_costs_its_price(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(33), Reply::openai_stream(&["a"], 1_000, 1_000)).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&stream_body("m"));
        let answer = call.send().await.expect(200);

        assert!(answer.text().ends_with("data: [DONE]\n\n"));
        assert_eq!(world.money(&ann).await, Money { quota: 67, used: 33, calls: 1 });
        world.close().await;
    }

    async fn the_usage_may_come_in_pieces(db: TestDb) {
        let world = World::open(db).await;
        let whole = format!("data: {}\r\n\r\ndata: [DONE]\r\n\r\n", usage_event(123, 456));
        let mut reply = Reply::new(200).header("Content-Type", "text/event-stream").chunked();
        for piece in whole.as_bytes().chunks(3) {
            reply = reply.body(piece.to_vec());
        }
        world.model("m", by_use(), reply).await;
        let ann = world.payer(1_000).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&stream_body("m"));
        let answer = call.send().await.expect(200);

        assert_eq!(answer.text(), whole);
        assert_eq!(world.money(&ann).await, Money { quota: 421, used: 579, calls: 1 });
        world.close().await;
    }

    async fn a_stream_without_usage_is_settled_at_the_hold(db: TestDb) {
        let world = World::open(db).await;
        let reply = Reply::sse([r#"{"choices":[{"delta":{"content":"one"}}]}"#, "[DONE]"]);
        world.model("m", json!({"ratio": 1, "min_hold": 70}), reply).await;
        let ann = world.payer(1_000).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&stream_body("m"));
        let answer = call.send().await.expect(200);

        assert!(answer.text().ends_with("data: [DONE]\n\n"));
        assert_eq!(world.money(&ann).await, Money { quota: 930, used: 70, calls: 1 });
        world.close().await;
    }
}

on_sqlite! {
    async fn the_last_usage_of_a_stream_counts(db: TestDb) {
        let world = World::open(db).await;
        let events = [usage_event(5, 1), usage_event(5, 2), usage_event(5, 9)];
        world.model("m", by_use(), Reply::sse(events).event("[DONE]")).await;
        let ann = world.payer(100).await;

        world.pay("m", &ann).await.expect(200);

        assert_eq!(world.money(&ann).await.used, 14);
        world.close().await;
    }

    async fn an_upstream_that_lingers_after_done_keeps_nobody_waiting(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        let reply = Reply::openai_stream(&["a"], 20, 30).wait(&gate);
        world.model("m", by_use(), reply).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&stream_body("m"));
        let mut answer = call.stream().await;
        answer.read_until("[DONE]").await;

        assert_eq!(world.money(&ann).await.used, 50);
        gate.open();
        world.close().await;
    }

    async fn lines_of_json_are_a_stream_too(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        let last = format!("{}\n", usage_event(8, 2));
        let reply = Reply::new(200)
            .header("Content-Type", "application/x-ndjson")
            .chunked()
            .body("{\"response\":\"one\"}\n")
            .wait(&gate)
            .body(last.clone());
        world.model("m", by_use(), reply).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&stream_body("m"));
        let mut answer = call.stream().await;
        assert_eq!(answer.read_until("\n").await, "{\"response\":\"one\"}\n");
        gate.open();
        let rest = answer.rest().await.unwrap();

        assert_eq!(rest, last);
        assert_eq!(world.money(&ann).await.used, 10);
        world.close().await;
    }

    async fn an_anthropic_stream_is_billed_by_both_its_halves(db: TestDb) {
        let world = World::open(db).await;
        let start = json!({"type": "message_start", "message": {
            "id": "msg_1", "usage": {"input_tokens": 25, "output_tokens": 1},
        }});
        let delta = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
                           "usage": {"output_tokens": 15}});
        let stop = json!({"type": "message_stop"});
        let events: String = [("message_start", start), ("message_delta", delta),
            ("message_stop", stop)]
            .iter()
            .map(|(name, data)| format!("event: {name}\ndata: {data}\n\n"))
            .collect();
        world.upstream.on("/v1/messages", Reply::bytes("text/event-stream", events.clone()));
        world.channel(&["claude"], json!({"setting": {"precharge": "off"}})).await;
        world.admin().price("claude", by_use()).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/v1/messages").header("x-api-key", &ann.key);
        let answer = call.json(&stream_body("claude")).send().await.expect(200);

        assert_eq!(answer.text(), events);
        assert_eq!(world.money(&ann).await.used, 40);
        world.close().await;
    }

    async fn a_compressed_reply_is_read_and_passed_as_it_is(db: TestDb) {
        let world = World::open(db).await;
        let plain = json!({"id": "x", "usage": {"prompt_tokens": 3, "completion_tokens": 4}});
        let reply = Reply::json(&plain).gzip();
        let compressed = testkit::upstream::gzip(plain.to_string().as_bytes());
        world.model("m", by_use(), reply).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let answer = call.header("Accept-Encoding", "gzip").send().await.expect(200);

        assert_eq!(answer.header("Content-Encoding").as_deref(), Some("gzip"));
        assert_eq!(answer.body, compressed);
        assert_eq!(world.money(&ann).await.used, 7);
        world.close().await;
    }

    async fn a_compressed_stream_is_read_too(db: TestDb) {
        let world = World::open(db).await;
        let reply = Reply::openai_stream(&["a", "b"], 20, 30).gzip();
        world.model("m", by_use(), reply).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&stream_body("m"));
        call.header("Accept-Encoding", "gzip").send().await.expect(200);

        assert_eq!(world.money(&ann).await.used, 50);
        world.close().await;
    }

    async fn a_long_reply_with_its_usage_at_the_end(db: TestDb) {
        let world = World::open(db).await;
        let data = "x".repeat(3 << 20);
        let decoy = r#"\"usage\":{\"prompt_tokens\":9999999}"#;
        let usage = r#"{"prompt_tokens":6,"completion_tokens":5}"#;
        let body = format!(r#"{{"data":"{data} {decoy}","usage":{usage}}}"#);
        let mut reply = Reply::new(200).header("Content-Type", "application/json").chunked();
        for piece in body.as_bytes().chunks(100_000) {
            reply = reply.body(piece.to_vec());
        }
        world.model("m", by_use(), reply).await;
        let ann = world.payer(100).await;

        let answer = world.pay("m", &ann).await.expect(200);

        assert!(answer.body == body);
        assert_eq!(world.money(&ann).await.used, 11);
        world.close().await;
    }

    async fn a_reply_that_ends_with_its_connection(db: TestDb) {
        let world = World::open(db).await;
        let reply = Reply::text("until the end").framing(testkit::upstream::Framing::UntilClose);
        world.model("m", fixed(9), reply).await;
        let ann = world.payer(100).await;

        let answer = world.pay("m", &ann).await.expect(200);

        assert_eq!(answer.text(), "until the end");
        assert_eq!(world.money(&ann).await.used, 9);
        world.close().await;
    }

    async fn a_download_flows_without_being_held_in_memory(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        let piece = vec![7_u8; 1 << 20];
        let mut reply = Reply::new(200).header("Content-Type", "application/octet-stream");
        for _ in 0..32 {
            reply = reply.step(Step::Send(piece.clone().into()));
        }
        let reply = reply.chunked().wait(&gate).body("end");
        world.model("m", fixed(9), reply).await;
        let ann = world.payer(100).await;

        let call = world.server.call("GET", "/pass/m").key(&ann.key);
        let mut answer = call.stream().await;
        let mut bytes = 0;
        while bytes < 32 << 20 {
            bytes += answer.next_chunk().await.unwrap().unwrap().len();
        }
        gate.open();
        assert_eq!(answer.rest().await.unwrap(), "end");

        assert_eq!(world.money(&ann).await.used, 9);
        assert!(world.peak_kib() < 64 << 10, "{} KiB", world.peak_kib());
        world.close().await;
    }
}
