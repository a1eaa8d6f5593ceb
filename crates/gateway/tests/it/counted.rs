//! What a call by use costs where its usage is missing, can't be billed, or says that nothing was
//! made.

use crate::world::{Payer, World, by_use};
use testkit::{Reply, TestDb, json, on_both_databases};

async fn world_of(db: TestDb, protocol: &str, model: &str) -> (World, Payer) {
    let world = World::open(db).await;
    world.channel(&[model], json!({"protocol": protocol, "key": "up-key"})).await;
    world.admin().price(model, by_use()).await;
    let ann = world.payer(1_000_000).await;
    (world, ann)
}

/// What a call cost that got this reply.
async fn cost(
    (world, ann): (&World, &Payer),
    path: &str,
    body: &serde_json::Value,
    reply: Reply,
) -> i64 {
    let before = world.money(ann).await.used;
    world.upstream.on(path, reply);
    world.server.post(path, &ann.key, body).await.expect(200);
    world.money(ann).await.used - before
}

fn chat() -> serde_json::Value {
    json!({"model": "gpt", "messages": [{"role": "user", "content": "hi"}]})
}

fn message(max_tokens: i64) -> serde_json::Value {
    json!({"model": "claude", "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": "hi"}]})
}

on_both_databases! {
    async fn all_that_was_made_is_counted_where_no_usage_comes(db: TestDb) {
        let (world, ann) = world_of(db, "openai", "gpt").await;
        let text = "a few plain words ".repeat(3_000 / 18);
        let path = "/v1/chat/completions";
        for delta in [
            json!({"content": text}),
            json!({"function_call": {"arguments": text}}),
            json!({"audio": {"transcript": text}}),
            json!({"reasoning_details": [{"text": text}]}),
        ] {
            let event = json!({"choices": [{"delta": delta}]}).to_string();
            let streamed = Reply::sse([&event]).event("[DONE]");
            let charged = cost((&world, &ann), path, &chat(), streamed).await;
            assert!((450..800).contains(&charged), "{charged}: {delta}");
            let whole = Reply::json(&json!({"choices": [{"message": delta}]}));
            let charged = cost((&world, &ann), path, &chat(), whole).await;
            assert!((450..800).contains(&charged), "{charged}: {delta}");
        }
        world.close().await;
    }

    async fn a_count_that_cannot_be_billed_is_estimated(db: TestDb) {
        let (world, ann) = world_of(db, "openai", "gpt").await;
        let text = "a few plain words ".repeat(3_000 / 18);
        for (prompt, completion, least) in [
            (json!(10), json!(99_999_999_999_i64), 450),
            (json!(-10), json!(20), 21),
            (json!(-10), json!(-20), 450),
            (json!(10), json!("many"), 450),
            (json!(10), json!(1.5), 450),
        ] {
            let usage = json!({"prompt_tokens": prompt, "completion_tokens": completion});
            let body = json!({"choices": [{"message": {"content": text}}], "usage": usage});
            let path = "/v1/chat/completions";
            let charged = cost((&world, &ann), path, &chat(), Reply::json(&body)).await;
            assert!((least..800).contains(&charged), "{charged}: {usage}");
        }
        let marked = "SELECT count(*) FROM logs WHERE CAST(other AS TEXT) LIKE '%estimated: %'";
        assert_eq!(world.db.i64(marked).await, 5);
        world.close().await;
    }

    async fn what_came_after_the_last_count_of_a_stream_is_charged_and_explained(db: TestDb) {
        let (world, ann) = world_of(db, "anthropic", "claude").await;
        let began = json!({"type": "message_start", "message": {
            "role": "assistant", "usage": {"input_tokens": 10, "output_tokens": 1}}});
        let text = "a few plain words ".repeat(3_000 / 18);
        let delta = json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": text}});
        let error = json!({"type": "error", "error": {"type": "api_error", "message": "no"}});
        let counted = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 700}});
        let began = Reply::sse([began.to_string(), delta.to_string()]);
        for (ends, end, estimated) in [
            ("without its count", None, true),
            ("with an error", Some(error), true),
            ("with its count", Some(counted), false),
        ] {
            let reply = match end {
                Some(end) => began.clone().event(end.to_string()),
                None => began.clone(),
            };
            world.upstream.on("/v1/messages", reply);
            let before = world.money(&ann).await.used;
            let answer = world.server.post("/v1/messages", &ann.key, &message(5_000)).await;
            let charged = world.money(&ann).await.used - before;
            if estimated {
                assert!((450..800).contains(&charged), "{ends}: {charged}");
            } else {
                assert_eq!(charged, 710, "{ends}");
            }
            let id = answer.expect(200).header("x-request-id").unwrap().clone();
            let told = world.admin().get(&format!("/api/audit/explain/{id}")).await;
            let note = told["holds"][0]["usage_note"].as_str().unwrap();
            assert_eq!(note.starts_with("estimated: "), estimated, "{ends}: {told}");
            let printed = world.server.cli_ok(&["explain", &id]).await;
            assert_eq!(printed.contains("estimated: "), estimated, "{ends}: {printed}");
        }
        let metric = "custompass_charges_estimated_total{channel_id=\"1\"}";
        assert_eq!(world.server.metric(metric).await, 2);
        world.close().await;
    }

    async fn a_price_per_call_is_never_estimated(db: TestDb) {
        let (world, ann) = world_of(db, "openai", "gpt").await;
        world.admin().price("gpt", json!({"fixed_quota": 7})).await;
        let path = "/v1/chat/completions";
        let silent = json!({"choices": [{"message": {"content": "four words of it"}}]});
        world.upstream.on(path, Reply::json(&silent));
        let answer = world.server.post(path, &ann.key, &chat()).await.expect(200);
        assert_eq!(world.money(&ann).await.used, 7);
        let id = answer.header("x-request-id").unwrap();
        let told = world.admin().get(&format!("/api/audit/explain/{id}")).await;
        assert_eq!(told["holds"][0]["usage_note"], "", "{told}");
        let metric = "custompass_charges_estimated_total{channel_id=\"1\"}";
        assert_eq!(world.server.metric(metric).await, 0);
        world.close().await;
    }

    async fn an_empty_reply_that_did_something_is_paid(db: TestDb) {
        let (world, ann) = world_of(db, "anthropic", "claude").await;
        let reply = |usage: serde_json::Value| {
            Reply::json(&json!({"type": "message", "content": [], "usage": usage}))
        };
        let path = "/v1/messages";
        let asked = message(9);
        for (usage, charged) in [
            (json!({"input_tokens": 10, "output_tokens": 0}), 0),
            (json!({"input_tokens": 10, "cache_read_input_tokens": 50, "output_tokens": 0}), 0),
            (
                json!({"input_tokens": 10, "cache_creation_input_tokens": 5000,
                    "output_tokens": 0}),
                5_010,
            ),
            (
                json!({"input_tokens": 10, "output_tokens": 0,
                    "server_tool_use": {"web_search_requests": 1}}),
                10,
            ),
        ] {
            let got = cost((&world, &ann), path, &asked, reply(usage.clone())).await;
            assert_eq!(got, charged, "{usage}");
        }
        // Nothing is what was asked for.
        let usage = json!({"input_tokens": 10, "output_tokens": 0});
        assert_eq!(cost((&world, &ann), path, &message(0), reply(usage)).await, 10);
        world.close().await;
    }
}

on_sqlite! {
    async fn pictures_of_gemini_are_counted_where_no_usage_comes(db: TestDb) {
        let (world, ann) = world_of(db, "gemini", "g").await;
        let data = json!({"mimeType": "image/png", "data": "QUJDREVG".repeat(400_000)});
        let parts = json!({"candidates": [{"content": {"parts": [{"inlineData": data}]}}]});
        let body = json!({"contents": [{"parts": [{"text": "draw"}]}]});
        let path = "/v1beta/models/g:generateContent";

        let charged = cost((&world, &ann), path, &body, Reply::json(&parts)).await;

        assert!((1_200..2_200).contains(&charged), "{charged}");
        world.close().await;
    }
}
