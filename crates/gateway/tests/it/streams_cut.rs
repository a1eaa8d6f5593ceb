//! Streams that break off, clients that leave: cut is cut, and what was used is charged.

use crate::world::{Money, World, by_use, fixed};
use std::time::Duration;
use testkit::{Gate, Reply, Step, TestDb, eventually, gzip, json, on_both_databases};

const ONE: &str = r#"{"choices":[{"delta":{"content":"one"}}]}"#;
const USED_9: &str = r#"{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":5}}"#;

on_both_databases! {
    async fn a_cut_stream_is_cut_and_nothing_is_invented(db: TestDb) {
        let world = World::open(db).await;
        let reply = Reply::sse([ONE]).step(Step::Reset);
        world.model("m", json!({"ratio": 1, "min_hold": 25}), reply).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let mut answer = call.stream().await;
        let (text, ended) = read_all(&mut answer).await;

        assert!(!ended, "the client must see that it was cut");
        assert!(!text.contains("[DONE]"), "{text}");
        assert_eq!(text, format!("data: {ONE}\n\n"));
        // It was under way: the hold is what it costs.
        world.wait_for_money(&ann, 75, 25).await;
        world.close().await;
    }

    async fn a_cut_stream_is_charged_by_the_usage_it_told(db: TestDb) {
        let world = World::open(db).await;
        let reply = Reply::sse([ONE, USED_9]).step(Step::Close);
        world.model("m", json!({"ratio": 1, "min_hold": 25}), reply).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let mut answer = call.stream().await;
        let (text, ended) = read_all(&mut answer).await;

        assert!(!ended && !text.contains("[DONE]"), "{text}");
        world.wait_for_money(&ann, 91, 9).await;
        world.close().await;
    }

    async fn a_client_that_leaves_a_stream_pays_for_it(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        let reply = Reply::sse([ONE]).wait(&gate).event(USED_9).event("[DONE]");
        world.model("m", by_use(), reply).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let mut answer = call.stream().await;
        answer.read_until("one").await;
        drop(answer);
        gate.open();

        world.wait_for_money(&ann, 91, 9).await;
        world.close().await;
    }

    async fn a_client_that_leaves_before_the_reply_pays_for_it(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        world.model("used", by_use(), Reply::result(4, 5).gated(&gate)).await;
        world.model("fixed", fixed(30), Reply::text("x").gated(&gate)).await;
        world.model("fails", fixed(30), Reply::failure(5, "no").gated(&gate)).await;
        let ann = world.payer(100).await;
        for (number, model) in ["used", "fixed", "fails"].into_iter().enumerate() {
            let call = world.server.call("POST", &format!("/pass/{model}"));
            let running = tokio::spawn(call.key(&ann.key).json(&json!({})).send());
            world.upstream.wait_for_requests(number + 1).await;
            running.abort();
            assert!(running.await.unwrap_err().is_cancelled());
        }

        gate.open();

        world.wait_for_money(&ann, 61, 39).await;
        assert_eq!(world.money(&ann).await, Money { quota: 61, used: 39, calls: 2 });
        world.close().await;
    }

    async fn an_upstream_that_never_ends_is_read_for_nobody_only_so_long(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_DRAIN_SECONDS", "1s")]).await;
        let endless = Step::Endless("data: {}\n\n".into(), Duration::from_millis(20));
        let reply = Reply::sse([ONE]).step(endless);
        world.model("m", json!({"ratio": 1, "min_hold": 25}), reply).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let mut answer = call.stream().await;
        answer.read_until("one").await;
        drop(answer);

        world.wait_for_money(&ann, 75, 25).await;
        eventually("the upstream to be let go", || async {
            (world.upstream.open_connections() == 0).then_some(())
        })
        .await;
        world.close().await;
    }
}

on_both_databases! {
    async fn a_compressed_stream_that_breaks_off_costs_what_came(db: TestDb) {
        let world = World::open(db).await;
        let channel = json!({"protocol": "openai", "key": "up-key"});
        world.channel(&["used", "fixed"], channel).await;
        world.admin().price("used", by_use()).await;
        world.admin().price("fixed", fixed(30)).await;
        let ann = world.payer(100_000).await;
        let word = |n| json!({"choices": [{"delta": {"content": format!("word{n} ")}}]});
        let text: Vec<String> = (0..800).map(|n| word(n).to_string()).collect();
        let path = "/v1/chat/completions";
        // Cut in its text, and in the trailer behind its usage; and where HTTP ends well.
        for (events, missing, by_use) in
            [(text, 500, 900..4_000), (vec![word(1).to_string(), USED_9.to_owned()], 4, 9..10)]
        {
            let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
            let whole = gzip(events.as_bytes());
            let part = whole[..whole.len() - missing].to_vec();
            let reply = Reply::bytes("text/event-stream", part).chunked();
            let reply = reply.header("Content-Encoding", "gzip");
            for (ends_well, reply) in [(true, reply.clone()), (false, reply.step(Step::Close))] {
                world.upstream.on(path, reply);
                for (model, price) in [("used", by_use.clone()), ("fixed", 30..31)] {
                    let before = world.money(&ann).await.used;
                    let body = json!({"model": model, "stream": true,
                        "messages": [{"role": "user", "content": "hi"}]});
                    let call = world.server.call("POST", path).key(&ann.key).json(&body);
                    let mut answer = call.stream().await;
                    let (_, ended) = read_all(&mut answer).await;
                    assert_eq!(ended, ends_well, "{model}, {missing}");
                    let charged = eventually("the charge", || async {
                        let charged = world.money(&ann).await.used - before;
                        (charged > 0).then_some(charged)
                    })
                    .await;
                    assert!(price.contains(&charged), "{model}, {missing}: {charged}");
                }
            }
        }
        world.close().await;
    }

    async fn a_whole_reply_that_is_not_in_its_encoding_is_free(db: TestDb) {
        let world = World::open(db).await;
        world.channel(&["used", "fixed"], json!({"protocol": "openai", "key": "up-key"})).await;
        world.admin().price("used", by_use()).await;
        world.admin().price("fixed", fixed(30)).await;
        let ann = world.payer(1_000).await;
        let path = "/v1/chat/completions";
        let usage = json!({"prompt_tokens": 4, "completion_tokens": 5});
        let whole = json!({"choices": [{"message": {"content": "hi"}}], "usage": usage});
        let whole = gzip(whole.to_string().as_bytes());
        for (encoding, body) in [
            ("gzip", whole[..whole.len() - 4].to_vec()),
            ("gzip", whole[..3].to_vec()),
            ("gzip", b"{\"choices\":[]}".to_vec()),
            ("deflate", vec![0xff; 40]),
        ] {
            let reply = Reply::bytes("application/json", body.clone());
            world.upstream.on(path, reply.header("Content-Encoding", encoding));
            for model in ["used", "fixed"] {
                let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
                let answer = world.server.post(path, &ann.key, &body).await.expect(502);
                assert!(answer.text().contains("Content-Encoding"), "{}", answer.text());
            }
        }
        assert_eq!(world.money(&ann).await, Money { quota: 1_000, used: 0, calls: 0 });
        world.close().await;
    }
}

on_sqlite! {
    async fn a_reply_cut_before_its_delivery_is_not_charged(db: TestDb) {
        let world = World::open(db).await;
        let whole = r#"{"answer":"a long one","usage":{"prompt_tokens":4,"completion_tokens":5}}"#;
        for (model, price) in [("used", by_use()), ("fixed", fixed(30))] {
            world.model(model, price, Reply::raw_json(whole).reset_after(40)).await;
        }
        let ann = world.payer(100).await;

        world.pay("used", &ann).await.expect_error(502, "UPSTREAM_ERROR");
        world.pay("fixed", &ann).await.expect_error(502, "UPSTREAM_ERROR");

        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn a_body_shorter_than_it_promised_is_cut(db: TestDb) {
        let world = World::open(db).await;
        let framing = testkit::upstream::Framing::Declared(500_000);
        let body = vec![b'x'; 200_000];
        let reply = Reply::bytes("application/octet-stream", body).framing(framing);
        world.model("m", fixed(30), reply.step(Step::Close)).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let mut answer = call.stream().await;
        let (_, ended) = read_all(&mut answer).await;

        assert!(!ended, "half a file is no file");
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn a_stream_that_says_it_failed_before_any_work_is_free(db: TestDb) {
        let world = World::open(db).await;
        let events = [r#"{"error":{"message":"overloaded","code":"busy"}}"#];
        world.model("m", json!({"ratio": 1, "min_hold": 25}), Reply::sse(events)).await;
        let ann = world.payer(100).await;

        let answer = world.pay("m", &ann).await.expect(200);

        assert!(answer.text().contains("overloaded"));
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn a_silent_stream_is_cut_after_its_idle_time(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_IDLE_TIMEOUT", "1s")]).await;
        let reply = Reply::sse([ONE]).step(Step::Hang);
        world.model("m", json!({"ratio": 1, "min_hold": 25}), reply).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let mut answer = call.stream().await;
        let (text, ended) = read_all(&mut answer).await;

        assert!(!ended && text.contains("one") && !text.contains("[DONE]"), "{text}");
        world.wait_for_money(&ann, 75, 25).await;
        world.close().await;
    }
}

/// All of a body, and whether it came to a proper end.
async fn read_all(answer: &mut testkit::StreamAnswer) -> (String, bool) {
    let mut text = String::new();
    while let Some(piece) = answer.next_chunk().await {
        match piece {
            Ok(piece) => text.push_str(&String::from_utf8_lossy(&piece)),
            Err(_) => return (text, false),
        }
    }
    (text, true)
}

on_both_databases! {
    async fn a_stream_without_content_may_be_free_when_it_breaks_off(db: TestDb) {
        let setting = [("CUSTOM_PASS_CUT_STREAM", "seen")];
        let world = World::with(db, &setting).await;
        world.channel(&["gpt"], json!({"protocol": "openai", "key": "up-key"})).await;
        world.admin().price("gpt", fixed(30)).await;
        let ann = world.payer(100).await;
        let role = json!({"choices": [{"delta": {"role": "assistant"}}]}).to_string();
        let text = json!({"choices": [{"delta": {"content": "one"}}]}).to_string();
        let body = json!({"model": "gpt", "stream": true, "messages": []});
        for (events, left) in [(vec![&role], 100), (vec![&role, &text], 70)] {
            let reply = Reply::sse(events).step(Step::Reset);
            world.upstream.on("/v1/chat/completions", reply);
            let call = world.server.call("POST", "/v1/chat/completions").key(&ann.key);
            let (_, ended) = read_all(&mut call.json(&body).stream().await).await;
            assert!(!ended);
            world.wait_for_money(&ann, left, 100 - left).await;
        }
        world.close().await;
    }
}
