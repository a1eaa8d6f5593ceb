//! `channel test`: what is read of the reply, and that a user pays what it shows.

use crate::world::{World, by_use, fixed};
use testkit::{Reply, TestDb, json};

/// A chat's reply of 9 tokens in and 4 out.
fn chat() -> Reply {
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13});
    Reply::json(&json!({"choices": [{"message": {"content": "hi"}}], "usage": usage}))
}

/// A price whose charge depends on the request.
fn by_size() -> serde_json::Value {
    json!({"fixed_quota": 10, "tiers": [{"at": "body:/size", "is": "large", "factor": 3}]})
}

on_sqlite! {
    async fn a_user_pays_what_a_test_shows(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        admin.group(json!({"name": "vip", "ratio": 1.5})).await;
        let silent = json!({"choices": [{"message": {"content": "four words of it"}}]});
        let failed = json!({"error": {"message": "boom"}});
        let envelope = json!({"code": 0, "usage": {"prompt_tokens": 6, "completion_tokens": 2}});
        let spoken = "v1/chat/completions";
        let cases = [
            ("openai", spoken, by_use(), chat()),
            ("openai", spoken, fixed(30), chat()),
            ("openai", spoken, by_size(), chat()),
            ("openai", spoken, by_use(), Reply::json(&silent)),
            ("openai", spoken, by_use(), Reply::json(&failed)),
            ("openai", spoken, by_use(), Reply::text("no").status(400)),
            ("custompass", spoken, by_use(), chat()),
            ("custompass", "", by_use(), Reply::json(&envelope)),
            ("custompass", "", by_use(), Reply::json(&json!({"code": 7, "message": "no"}))),
            ("custompass", "", fixed(30), Reply::text("made")),
        ];
        for (n, (protocol, path, price, reply)) in cases.into_iter().enumerate() {
            let model = format!("m{n}");
            let route = if path.is_empty() { format!("/{model}") } else { format!("/{path}") };
            world.upstream.on(&route, reply);
            let channel = json!({
                "protocol": protocol, "key": "up-key", "groups": ["vip"],
                "setting": {"precharge": "off"},
            });
            let id = world.channel(&[&model], channel).await;
            admin.price(&model, price).await;
            let ann = world.payer(1_000).await;
            admin.put(&format!("/api/user/{}", ann.id), &json!({"group": "vip"})).await;
            let body = json!({
                "model": model, "size": "large", "messages": [{"role": "user", "content": "hello"}],
            });

            let trial = json!({
                "channel_id": id, "model": model, "path": path, "test_data": body,
            });
            let shown = admin.try_post("/api/channel/test", &trial).await.json();
            let shown = &shown["data"];

            let pays = if path.is_empty() { format!("/pass/{model}") } else { route };
            world.server.post(&pays, &ann.key, &body).await;
            let used = world.money(&ann).await.used;
            assert_eq!(shown["cost"]["quota"], used, "{model}: {shown}");
            assert_eq!(shown["cost"]["group"], "vip", "{model}: {shown}");
            admin.delete(&format!("/api/channel/{id}")).await;
        }
        world.close().await;
    }

    async fn a_test_calls_no_model_free_that_is_refused(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_UNPRICED", "reject")]).await;
        world.upstream.on("/v1/chat/completions", chat());
        let id = world.channel(&["gift"], json!({"protocol": "openai"})).await;
        let trial =
            json!({"channel_id": id, "model": "gift", "path": "v1/chat/completions"});
        let shown = world.admin().try_post("/api/channel/test", &trial).await.json();
        let cost = &shown["data"]["cost"];
        assert!(cost["quota"].is_null(), "{shown}");
        assert_eq!(cost["calculation"], "refused: the model has no price");
        world.close().await;
    }

    async fn a_test_takes_the_cheapest_route(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/v1/models/m", Reply::json(&json!({"id": "m", "object": "model"})));
        let id = world.channel(&["m"], json!({"protocol": "openai", "key": "up-key"})).await;
        world.admin().price("m", by_use()).await;

        let said = world.server.cli(&["channel", "test", &id.to_string()]).await;

        assert!(said.status.success(), "{said:?}");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("works, status 200"), "{said}");
        assert!(said.contains("0 quota: calls of this route are free"), "{said}");
        assert_eq!(world.upstream.count(), 1);
        world.close().await;
    }

    async fn a_test_shows_what_was_counted(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/v1/chat/completions", chat());
        let id = world.channel(&["m"], json!({"protocol": "openai", "key": "up-key"})).await;
        world.admin().price("m", by_use()).await;
        let id = id.to_string();
        let said = ["channel", "test", &id, "--path", "v1/chat/completions"];

        let said = world.server.cli(&said).await;

        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("usage: input 9, output 4"), "{said}");
        assert!(said.contains("13 quota: "), "{said}");
        // A reply larger than what is shown of it is read all the same.
        let text = "word ".repeat(20_000);
        let usage = json!({"prompt_tokens": 9, "completion_tokens": 25_000});
        let choices = json!([{"message": {"content": text}}]);
        let large = json!({"choices": choices, "usage": usage});
        world.upstream.on("/v1/chat/completions", Reply::json(&large));
        let trial = json!({"channel_id": world.db.i64("SELECT id FROM channels").await,
            "path": "v1/chat/completions"});
        let shown = world.admin().post("/api/channel/test", &trial).await;
        assert_eq!((&shown["ok"], &shown["usage"]["output"]), (&json!(true), &json!(25_000)));
        world.close().await;
    }
}
