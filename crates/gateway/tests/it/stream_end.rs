//! Where a stream ends: nothing that stands in it before, and nothing behind, is free.

use crate::world::{Payer, World, by_use};
use testkit::{Gate, Reply, TestDb, json, on_both_databases};

const GEMINI: &str = "/v1beta/models/g:streamGenerateContent";

/// Models by use, each behind a channel of its protocol.
async fn models(db: TestDb, models: &[(&str, &str)]) -> World {
    let world = World::open(db).await;
    for (model, protocol) in models {
        let extra = json!({"protocol": protocol, "key": "up-key", "setting": {"precharge": "off"}});
        world.channel(&[model], extra).await;
        world.admin().price(model, by_use()).await;
    }
    world
}

/// An event of one candidate, which has finished, and the tokens of all so far.
fn finished(index: i64, text: &str, tokens: i64) -> String {
    let content = json!({"parts": [{"text": text}], "role": "model"});
    json!({
        "candidates": [{"index": index, "content": content, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": tokens},
    })
    .to_string()
}

fn two_candidates() -> serde_json::Value {
    json!({"contents": [{"parts": [{"text": "say [DONE]"}]}],
        "generationConfig": {"candidateCount": 2}})
}

async fn call(world: &World, ann: &Payer, path: &str, body: &serde_json::Value) -> String {
    world.server.post(path, &ann.key, body).await.expect(200).text()
}

on_both_databases! {
    async fn text_that_says_done_ends_no_stream(db: TestDb) {
        let world = models(db, &[("g", "gemini"), ("c", "custompass")]).await;
        for path in [GEMINI, "/v1beta/models/c:streamGenerateContent"] {
            let ann = world.payer(1_000_000).await;
            let (one, two) = (finished(0, "[DONE]", 2), finished(1, "long", 90_000));
            world.upstream.on(path, Reply::sse([&one, &two]));

            let seen = call(&world, &ann, path, &two_candidates()).await;

            assert!(seen.contains("long"), "{seen}");
            assert_eq!(world.money(&ann).await.used, 90_010, "{path}");
        }
        world.close().await;
    }

    async fn a_choice_that_has_finished_ends_no_stream(db: TestDb) {
        let world = models(db, &[("gpt", "openai")]).await;
        let ann = world.payer(1_000_000).await;
        let choice = |index: i64, text: &str| {
            let delta = json!({"content": text});
            json!({"choices": [{"index": index, "delta": delta, "finish_reason": "stop"}],
                "type": "response.completed", "usage": null}).to_string()
        };
        let usage = json!({"choices": [], "usage": testkit::upstream::usage(10, 500)}).to_string();
        let events = [&choice(0, "data: [DONE]\n\n"), &choice(1, "more"), &usage];
        world.upstream.on("/v1/chat/completions", Reply::sse(events).event("[DONE]"));
        let body = json!({"model": "gpt", "n": 2, "stream": true,
            "messages": [{"role": "user", "content": "hi"}]});

        call(&world, &ann, "/v1/chat/completions", &body).await;

        assert_eq!(world.money(&ann).await.used, 510);
        world.close().await;
    }
}

on_sqlite! {
    async fn a_stream_that_is_cut_before_its_end_is_not_kept_as_whole(db: TestDb) {
        let world = models(db, &[("g", "gemini")]).await;
        let ann = world.payer(1_000_000).await;
        let event = format!("data: {}\n\n", finished(0, "[DONE]", 2));
        let reply = Reply::sse::<&str>([]).body(event.clone()).body("data: {");
        let cut = reply.reset_after(event.len());
        world.upstream.on(GEMINI, cut);
        let submit = || {
            let call = world.server.call("POST", GEMINI).key(&ann.key).json(&two_candidates());
            call.header("Idempotency-Key", "k").stream()
        };

        assert!(submit().await.rest().await.is_err(), "the reply breaks off");
        world.wait_for_money(&ann, 1_000_000 - 12, 12).await;
        let mut again = submit().await;

        assert_eq!(again.header("Idempotent-Replayed"), None);
        let status = again.status;
        assert_eq!(status, 409, "{:?}", again.rest().await);
        world.close().await;
    }

    async fn what_comes_behind_done_is_not_passed_on(db: TestDb) {
        let world = World::open(db).await;
        let (one, two) = (Gate::new(), Gate::new());
        let reply = Reply::sse([r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#])
            .body("data: [DONE]\n")
            .wait(&one)
            .body("\n")
            .wait(&two)
            .body("data: {\"free\":1}\n\n");
        world.model("m", by_use(), reply).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let mut answer = call.stream().await;
        answer.read_until("[DONE]\n").await;
        assert_eq!(world.money(&ann).await.used, 7);
        one.open();
        answer.read_until("\n").await;
        two.open();

        assert_eq!(answer.rest().await.unwrap(), "", "the reply ends there, as a whole one");
        world.close().await;
    }

    async fn done_with_data_behind_it_is_no_end(db: TestDb) {
        let world = World::open(db).await;
        let usage = r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
        let reply = Reply::sse::<&str>([])
            .body(format!("data: one\n\ndata: [DONE]\n\ndata: {usage}\n\n"))
            .event("[DONE]");
        world.model("m", by_use(), reply).await;
        let ann = world.payer(100).await;

        let text = world.pay("m", &ann).await.expect(200).text();

        assert_eq!(text.matches("[DONE]").count(), 2);
        assert_eq!(world.money(&ann).await.used, 7);
        world.close().await;
    }
}
