//! What a call by use holds before it is sent: its text, and the output that it allows.

use crate::world::{Payer, World, by_use};
use futures_util::future::join_all;
use serde_json::Value;
use testkit::{Reply, TestDb, json, on_both_databases};

const PATH: &str = "/v1/chat/completions";

async fn chatting(db: TestDb, settings: &[(&str, &str)]) -> World {
    let world = World::with(db, settings).await;
    world.channel(&["gpt"], json!({"protocol": "openai", "key": "up-key"})).await;
    world.admin().price("gpt", by_use()).await;
    world.upstream.on(PATH, reply(10, 20));
    world
}

fn reply(prompt: i64, completion: i64) -> Reply {
    let choices = json!([{"message": {"content": "well"}}]);
    let usage = json!({"prompt_tokens": prompt, "completion_tokens": completion});
    Reply::json(&json!({"choices": choices, "usage": usage}))
}

fn chat(more: &Value) -> Value {
    let mut body = json!({"model": "gpt",
        "messages": [{"role": "user", "content": "tell me something about the sea"}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// What was held for a call.
async fn held((world, ann): (&World, &Payer), more: Value) -> i64 {
    world.server.post(PATH, &ann.key, &chat(&more)).await.expect(200);
    let newest = "SELECT held FROM logs WHERE type = 'consume' ORDER BY id DESC LIMIT 1";
    world.db.i64(newest).await
}

on_both_databases! {
    async fn fifty_calls_at_once_do_not_spend_what_is_not_there(db: TestDb) {
        let world = chatting(db, &[]).await;
        for balance in [50, 500] {
            let ann = world.payer(balance).await;
            let body = chat(&json!({"max_tokens": 20}));
            let calls = (0..50).map(|_| world.server.post(PATH, &ann.key, &body));
            let answers = join_all(calls).await;
            let made = answers.iter().filter(|answer| answer.status == 200).count();
            assert!(made > 0 && answers.iter().all(|it| [200, 402].contains(&it.status)));
            let money = world.money(&ann).await;
            let below = (-money.quota).max(0);
            assert!(below * 20 <= money.used, "{money:?}");
        }
        world.close().await;
    }

    async fn fifty_calls_that_name_no_limit_overspend_by_what_could_not_be_known(db: TestDb) {
        let world = chatting(db, &[]).await;
        for balance in [50, 500] {
            let ann = world.payer(balance).await;
            let body = chat(&json!({}));
            let calls = (0..50).map(|_| world.server.post(PATH, &ann.key, &body));
            let answers = join_all(calls).await;
            assert!(answers.iter().all(|it| [200, 402].contains(&it.status)));
            let misestimates = world
                .db
                .i64(&format!(
                    "SELECT CAST(coalesce(sum(quota - held), 0) AS BIGINT) FROM logs
                     WHERE type = 'consume' AND user_id = {} AND quota > held",
                    ann.id
                ))
                .await;
            let below = (-world.money(&ann).await.quota).max(0);
            assert!(below <= misestimates, "{below} of {misestimates}");
        }
        world.close().await;
    }

    async fn the_text_and_the_output_that_it_allows_are_held(db: TestDb) {
        let world = chatting(db, &[]).await;
        let ann = world.payer(10_000_000).await;
        let at = (&world, &ann);
        // Where the request names no limit, and nothing is known of others.
        let text = held(at, json!({})).await;
        assert!((6..14).contains(&text), "{text}");
        for (more, allowed) in [
            (json!({"max_tokens": 300}), 300),
            (json!({"max_completion_tokens": 40}), 40),
            (json!({"max_tokens": 40, "n": 3}), 120),
            (json!({"max_tokens": "70"}), 70),
        ] {
            assert_eq!(held(at, more.clone()).await, text + allowed, "{more}");
        }
        // All of them had 20.
        let usual = held(at, json!({})).await - text;
        assert!((20..=25).contains(&usual), "{usual}");
        let row = world.db.row("SELECT request_id FROM logs WHERE type = 'consume' LIMIT 1").await;
        let story = format!("/api/audit/explain/{}", row.text("request_id"));
        let story = world.admin().get(&story).await.to_string();
        assert!(story.contains("\"held_by\":\"estimate\""), "{story}");

        let before = world.upstream.count();
        let dear = chat(&json!({"max_tokens": 20_000_000}));
        world.server.post(PATH, &ann.key, &dear).await.expect(402);
        let twice = r#"{"model":"gpt","messages":[],"max_tokens":1,"max_tokens":90}"#;
        let call = world.server.call("POST", PATH).key(&ann.key);
        let call = call.header("Content-Type", "application/json").body(twice);
        call.send().await.expect(400);
        assert_eq!(world.upstream.count(), before);
        world.close().await;
    }
}

on_sqlite! {
    async fn how_much_is_held_can_be_set(db: TestDb) {
        let world = chatting(db, &[("CUSTOM_PASS_HOLD", "input")]).await;
        let ann = world.payer(10_000).await;
        let text = held((&world, &ann), json!({"max_tokens": 300})).await;
        assert!((6..14).contains(&text), "{text}");
        world.close().await;

        let world = chatting(TestDb::sqlite().await, &[("CUSTOM_PASS_HOLD", "min")]).await;
        let ann = world.payer(10_000).await;
        assert_eq!(held((&world, &ann), json!({"max_tokens": 300})).await, 1);
        world.admin().price("gpt", json!({"ratio": 1, "min_hold": 77})).await;
        assert_eq!(held((&world, &ann), json!({"max_tokens": 300})).await, 77);
        world.close().await;
    }

    async fn a_channel_of_custompass_estimates_other_apis_where_it_asks_for_it(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on(PATH, reply(10, 20));
        let channel = world.channel(&["gpt"], json!({})).await;
        world.admin().price("gpt", by_use()).await;
        let ann = world.payer(10_000).await;
        let by_text = held((&world, &ann), json!({"max_tokens": 300})).await;
        assert!((306..314).contains(&by_text), "{by_text}");
        assert_eq!(world.upstream.count(), 1, "no estimate");

        let ask = json!({"id": channel, "setting": {"precharge": "query"}});
        world.admin().put("/api/channel", &ask).await;
        world.upstream.on_estimate(PATH, Reply::estimate(400, 50), reply(10, 20));
        assert_eq!(held((&world, &ann), json!({"max_tokens": 300})).await, 450);
        world.close().await;
    }
}
