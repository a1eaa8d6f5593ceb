//! APIs of vendors, spoken by their own clients to their own kind of upstream: each is addressed,
//! read and billed according to its protocol. The numbers are those of docs/protocols.md's reports.

use crate::world::{Payer, World, by_use, fixed};
use testkit::upstream::Recorded;
use testkit::{Reply, TestDb, json, on_both_databases};

/// An upstream of Anthropic's: refuses what Anthropic refuses.
fn anthropic(reply: Reply) -> impl Fn(&Recorded) -> Reply + Send + Sync {
    move |request| {
        let wrong = |why: &str| {
            let error = json!({"type": "authentication_error", "message": why});
            Reply::json(&json!({"type": "error", "error": error})).status(401)
        };
        if request.header("x-api-key").as_deref() != Some("up-key") {
            return wrong("x-api-key");
        }
        if request.header("anthropic-version").is_none() {
            return wrong("anthropic-version");
        }
        match request.header("authorization").or(request.header("x-custom-token")) {
            Some(_) => wrong("a key of somebody else's"),
            None => reply.clone(),
        }
    }
}

async fn channel(world: &World, protocol: &str, models: &[&str]) -> i64 {
    world.channel(models, json!({"protocol": protocol, "key": "up-key"})).await
}

fn message() -> serde_json::Value {
    json!({"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
}

/// What a user was charged in all.
async fn used(world: &World, payer: &Payer) -> i64 {
    world.money(payer).await.used
}

on_both_databases! {
    async fn anthropic_is_called_and_billed_as_it_is(db: TestDb) {
        // R49: the key goes as `x-api-key`.
        let world = World::open(db).await;
        channel(&world, "anthropic", &["claude"]).await;
        let price = json!({"ratio": 1, "completion_ratio": 2, "cache_ratio": "0.1"});
        world.admin().price("claude", price).await;
        let ann = world.payer(10_000).await;
        // R01 and R02: usage in two events, of which the second reports that nothing was read.
        let start = json!({"type": "message_start", "message": {"usage": {
            "input_tokens": 100, "cache_read_input_tokens": 1000, "output_tokens": 1}}});
        let delta = r#"{"type":"content_block_delta","delta":{"text":"hello"}}"#;
        let end = json!({"type": "message_delta", "usage": {
            "input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 50}});
        let stop = r#"{"type":"message_stop"}"#;
        let stream = Reply::sse([&start.to_string(), delta, &end.to_string(), stop]);
        world.upstream.handle("/v1/messages", anthropic(stream));

        let call = world.server.call("POST", "/v1/messages").header("x-api-key", &ann.key);
        call.json(&message()).send().await.expect(200);

        assert_eq!(used(&world, &ann).await, 100 + 100 + 2 * 50);
        world.close().await;
    }

    async fn gemini_names_its_model_in_the_path(db: TestDb) {
        // R33.
        let world = World::open(db).await;
        channel(&world, "gemini", &["gemini-2.5-pro"]).await;
        world.admin().price("gemini-2.5-pro", by_use()).await;
        let ann = world.payer(10_000).await;
        let usage = json!({"promptTokenCount": 100, "candidatesTokenCount": 30,
            "thoughtsTokenCount": 20, "totalTokenCount": 150});
        let text = json!({"candidates": [{"content": {"parts": [{"text": "ok"}]}}],
            "usageMetadata": usage});
        let path = "/v1beta/models/gemini-2.5-pro:generateContent";
        world.upstream.handle(path, move |request| {
            match request.header("x-goog-api-key").as_deref() {
                Some("up-key") => Reply::json(&text),
                _ => Reply::text("no key").status(403),
            }
        });

        let call = world.server.call("POST", path).header("x-goog-api-key", &ann.key);
        let body = json!({"contents": [{"parts": [{"text": "hi"}]}]});
        call.json(&body).send().await.expect(200);

        assert_eq!(used(&world, &ann).await, 150, "R08: thoughts are paid for");
        let call = world.server.call("POST", "/v1beta/models/none:generateContent");
        let refused = call.header("x-goog-api-key", &ann.key).json(&body).send().await;
        let error = refused.expect(404).json();
        assert_eq!(error["error"]["status"], "NOT_FOUND", "{error}");
        world.close().await;
    }

    async fn an_upstream_that_refuses_leaves_the_call_to_the_next(db: TestDb) {
        let world = World::open(db).await;
        let busy = testkit::Upstream::start().await;
        let first = json!({"protocol": "openai", "key": "up-key", "priority": 10,
            "auto_ban": false});
        let busy_channel = world.admin().channel_to(&busy, &["gpt"], first).await;
        channel(&world, "openai", &["gpt"]).await;
        world.admin().price("gpt", fixed(7)).await;
        let body = json!({"choices": [{"message": {"content": "ok"}}],
            "usage": testkit::upstream::usage(1, 1)});
        world.upstream.on("/v1/chat/completions", Reply::json(&body));
        let ann = world.payer(100).await;

        // R45.
        for (asked, status) in [(1, 500), (2, 503), (3, 529), (4, 429)] {
            let says = json!({"error": {"message": "slow down"}});
            busy.otherwise(Reply::json(&says).status(status));
            let answer = world.server.post("/v1/chat/completions", &ann.key, &chat()).await;
            assert_eq!((answer.expect(200).json(), busy.count()), (body.clone(), asked));
        }
        assert_eq!(used(&world, &ann).await, 28);
        // Where it is the last, its own words reach the client, and nothing is charged.
        let off = json!({"id": busy_channel, "priority": -1});
        world.admin().put("/api/channel", &off).await;
        world.upstream.otherwise(Reply::text("busy, too").status(503));
        world.upstream.on("/v1/chat/completions", Reply::text("busy, too").status(503));
        let answer = world.server.post("/v1/chat/completions", &ann.key, &chat()).await;
        assert_eq!(answer.expect(429).json()["error"]["message"], "slow down");
        assert_eq!(used(&world, &ann).await, 28);
        world.close().await;
    }

    async fn a_submission_is_made_once(db: TestDb) {
        let world = World::open(db).await;
        let broken = testkit::Upstream::start().await;
        let first = json!({"protocol": "openai", "key": "up-key", "priority": 10,
            "auto_ban": false});
        let models = ["sora-2", "gpt", "batches"];
        world.admin().channel_to(&broken, &models, first).await;
        channel(&world, "openai", &models).await;
        for model in models {
            world.admin().price(model, fixed(7)).await;
        }
        let ann = world.payer(100).await;
        world.upstream.otherwise(Reply::json(&json!({"id": "x", "choices": []})));
        let response = |background| json!({"model": "gpt", "input": "x", "background": background});
        for status in [500, 502, 504] {
            broken.otherwise(Reply::text("lost").status(status));
            for (path, body) in [
                ("/v1/videos", json!({"prompt": "x", "model": "sora-2"})),
                ("/v1/responses", response(json!(true))),
                ("/v1/responses", response(json!("yes"))),
                ("/v1/batches", json!({"endpoint": "/v1/embeddings"})),
            ] {
                let answer = world.server.post(path, &ann.key, &body).await;
                assert_eq!((answer.status, world.upstream.count()), (status, 0), "{path}");
            }
        }
        assert_eq!(used(&world, &ann).await, 0);
        // Work that its reply carries may be asked for again.
        let answer = world.server.post("/v1/responses", &ann.key, &response(json!(false))).await;
        assert_eq!((answer.status, world.upstream.count()), (200, 1));
        world.close().await;
    }

    async fn what_failed_within_a_200_costs_nothing(db: TestDb) {
        let world = World::open(db).await;
        channel(&world, "openai", &["gpt"]).await;
        world.admin().price("gpt", fixed(100)).await;
        let ann = world.payer(1_000).await;
        // R21, and a page where JSON was promised.
        for reply in [
            Reply::json(&json!({"error": {"message": "overloaded"}})),
            Reply::json(&json!({"object": "response", "status": "failed", "error": null})),
            Reply::bytes("text/html", "<html>gateway</html>"),
            Reply::bytes("application/json", ""),
            Reply::sse([r#"{"error":{"message":"overloaded"}}"#]),
        ] {
            world.upstream.on("/v1/chat/completions", reply);
            world.server.post("/v1/chat/completions", &ann.key, &chat()).await.expect(200);
        }
        assert_eq!((used(&world, &ann).await, world.money(&ann).await.quota), (0, 1_000));
        // What the upstream said of it is told by `explain`.
        let sql = "SELECT request_id, content FROM logs WHERE type = 'error' ORDER BY id";
        let lines = world.db.query(sql).await;
        let notes: Vec<&str> = lines.iter().map(|line| line.text("content")).collect();
        let (plain, said) = ("upstream_failed", "upstream_failed: overloaded");
        assert_eq!(notes, [said, plain, "upstream_unpromised", "upstream_nothing", said]);
        let told = world.server.cli_ok(&["explain", lines[0].text("request_id")]).await;
        assert!(told.contains(said), "{told}");
        world.close().await;
    }
}

on_both_databases! {
    async fn a_request_names_one_model(db: TestDb) {
        let world = World::open(db).await;
        channel(&world, "openai", &["gpt"]).await;
        channel(&world, "anthropic", &["claude", "claude-batch"]).await;
        for model in ["gpt", "claude"] {
            world.admin().price(model, fixed(7)).await;
        }
        world.admin().price("claude-batch", by_use()).await;
        let reply = Reply::json(&json!({"choices": [], "content": [], "input_tokens": 1}));
        world.upstream.otherwise(reply);
        let ann = world.payer(1_000).await;
        let (chat_path, messages) = ("/v1/chat/completions", "/v1/messages");
        let responses = "/v1/responses";
        let painter = json!([{"type": "image_generation", "model": "dear"}]);
        let with = |body: &serde_json::Value, member: &str, value: serde_json::Value| {
            let mut body = body.clone();
            body[member] = value;
            body
        };
        let advisor = json!([{"type": "advisor_20260301", "name": "advisor", "model": "dear"}]);
        let plugin = json!([{"id": "fusion", "analysis_models": ["dear"]}]);
        let gateway = json!({"gateway": {"models": ["dear"]}});
        let compound = json!({"models": {"answering_model": "dear"}});
        for (path, body) in [
            (chat_path, with(&chat(), "models", json!(["dear"]))),
            (chat_path, with(&chat(), "Models", json!(["dear"]))),
            (chat_path, with(&chat(), "fallbacks", json!(["dear"]))),
            (chat_path, with(&chat(), "route", json!("fallback"))),
            (chat_path, with(&chat(), "preset", json!("dear"))),
            (chat_path, with(&chat(), "plugins", plugin)),
            (chat_path, with(&chat(), "tools", json!([{"type": "openrouter:advisor"}]))),
            (responses, with(&answer(), "tools", painter.clone())),
            (responses, with(&answer(), "input", json!([{"type": "additional_tools",
                "tools": painter}]))),
            (chat_path, with(&chat(), "providerOptions", gateway)),
            (chat_path, with(&chat(), "compound_custom", compound)),
            (messages, with(&message(), "fallbacks", json!([{"model": "dear"}]))),
            (messages, with(&message(), "models", json!(["dear"]))),
            (messages, with(&message(), "tools", advisor.clone())),
            ("/v1/messages/batches", json!({"requests": [
                {"custom_id": "a", "params": with(&message(), "tools", advisor)}]})),
        ] {
            let refused = world.server.post(path, &ann.key, &body).await.expect(400).text();
            assert!(refused.contains("model") && !refused.contains("dear"), "{body}: {refused}");
        }
        let escaped = r#"{"model":"gpt","messages":[],"m\u006fdels":["dear"]}"#;
        let call = world.server.call("POST", chat_path).key(&ann.key);
        let call = call.header("content-type", "application/json").body(escaped.to_owned());
        call.send().await.expect(400);
        assert_eq!((world.upstream.count(), used(&world, &ann).await), (0, 0));

        // What only looks like it passes.
        let function = json!({"name": "models", "parameters": {"properties": {"model": {}}}});
        let tools = json!([{"type": "function", "function": function}]);
        for (path, body) in [
            (chat_path, with(&chat(), "tools", tools)),
            (chat_path, with(&chat(), "plugins", json!([{"id": "web"}]))),
            (chat_path, with(&chat(), "models", json!(null))),
            (responses, with(&answer(), "tools", json!([{"type": "image_generation"}]))),
            (messages, with(&message(), "tools", json!([{"name": "advisor", "input_schema": {
                "type": "object", "properties": {"model": {"type": "string"}}}}]))),
            ("/v1/messages/count_tokens", with(&message(), "fallbacks", json!([{"model": "x"}]))),
        ] {
            world.server.post(path, &ann.key, &body).await.expect(200);
        }
        world.close().await;
    }
}

const BILLING: &str = "billing_error";

fn answer() -> serde_json::Value {
    json!({"model": "gpt", "input": "hi"})
}

fn chat() -> serde_json::Value {
    json!({"model": "gpt", "messages": [{"role": "user", "content": "hi"}]})
}

on_sqlite! {
    async fn side_calls_are_free(db: TestDb) {
        let world = World::open(db).await;
        channel(&world, "anthropic", &["claude"]).await;
        world.admin().price("claude", fixed(100)).await;
        let ann = world.payer(1_000).await;
        let counted = Reply::json(&json!({"input_tokens": 14}));
        world.upstream.handle("/v1/messages/count_tokens", anthropic(counted));

        let path = "/v1/messages/count_tokens";
        let call = world.server.call("POST", path).header("x-api-key", &ann.key);
        let answer = call.json(&message()).send().await.expect(200);

        // R20.
        assert_eq!(answer.json()["input_tokens"], 14);
        assert_eq!(used(&world, &ann).await, 0);
        world.close().await;
    }

    async fn errors_have_the_shape_of_the_api_that_is_spoken(db: TestDb) {
        let world = World::open(db).await;
        channel(&world, "anthropic", &["claude"]).await;
        world.admin().price("claude", fixed(100)).await;
        let ann = world.payer(1).await;
        let call = world.server.call("POST", "/v1/messages").header("x-api-key", &ann.key);

        let error = call.json(&message()).send().await.expect(402).json();

        assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!(BILLING)));
        let answer = world.server.post("/v1/chat/completions", &ann.key, &chat()).await;
        // R27: at once, and for good.
        let answer = answer.expect_error(404, "model_not_found");
        assert_eq!(answer.header("Retry-After"), None);
        world.close().await;
    }

    async fn a_base_url_has_a_version_or_none_as_its_vendor_does(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(0).await;
        let document = "name = \"bare\"\ntitle = { zh = \"无\", en = \"Bare\" }\nbase = \"openai\"\n\
            [address]\npath = true\nprefix = \"/v1\"\nunversioned = \"127.0.0.1\"\n";
        world.admin().post("/api/protocol", &json!({"document": document})).await;
        let key = ann.key.as_str();
        for (protocol, base, path, sent) in [
            ("bare", "/inference", "/v1/chat/completions", "/inference/chat/completions"),
            ("bare", "", "/v1/chat/completions", "/chat/completions"),
            ("gemini", "/v1beta", "/v1beta/models/m:generateContent",
                "/v1beta/models/m:generateContent"),
            ("cohere", "/v2", "/pass/v2/chat", "/v2/chat"),
            ("ollama", "/api", "/pass/api/chat", "/api/chat"),
        ] {
            let base_url = format!("{}{base}", world.upstream.url());
            let extra = json!({"protocol": protocol, "key": "up-key", "base_url": base_url});
            let id = world.channel(&["m"], extra).await;
            world.upstream.on(sent, Reply::json(&json!({"choices": []})));
            let mut body = chat();
            body["model"] = json!("m");
            let answer = world.server.post(path, key, &body).await;
            let asked = world.upstream.requests().await;
            let asked = asked.last().map(|it| it.path().to_owned());
            assert_eq!(asked.as_deref(), Some(sent), "{protocol} {base}: {}", answer.text());
            // A wrong path is shown.
            let trial = json!({"channel_id": id, "path": "v1/nothing"});
            let tried = world.admin().try_post("/api/channel/test", &trial).await.json();
            let detail = tried["data"]["detail"].as_str().unwrap_or_default().to_owned();
            assert!(detail.contains("/nothing"), "{protocol}: {tried}");
            world.admin().put(&format!("/api/channel/{id}"), &json!({"status": 2})).await;
        }
        world.close().await;
    }

    async fn an_api_below_a_path_is_addressed_there(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(0).await;
        // R48: Groq, BigModel, Ark, Gemini's compatible API, and OpenAI with and without `/v1`.
        for (base, front) in [
            ("/openai/v1", "/openai/v1"),
            ("/api/paas/v4", "/api/paas/v4"),
            ("/api/v3", "/api/v3"),
            ("/v1beta/openai", "/v1beta/openai"),
            ("", "/v1"),
            ("/v1", "/v1"),
            ("/proxy", "/proxy/v1"),
        ] {
            let base_url = format!("{}{base}", world.upstream.url());
            let extra = json!({"protocol": "openai", "key": "up-key", "base_url": base_url});
            let id = world.channel(&["gpt"], extra).await;
            let list = json!({"object": "list", "data": [{"id": "gpt"}]});
            for (path, reply) in [
                ("/chat/completions", json!({"choices": []})), ("/models/gpt", json!({})),
                ("/models", list),
            ] {
                world.upstream.on(&format!("{front}{path}"), Reply::json(&reply));
            }
            world.server.post("/v1/chat/completions", &ann.key, &chat()).await.expect(200);
            let tried = world.admin().post("/api/channel/test", &json!({"channel_id": id})).await;
            assert_eq!(tried["ok"], json!(true), "{base}: {tried}");
            let path = format!("/api/channel/{id}/models");
            let told = world.admin().post(&path, &json!({})).await;
            assert_eq!(told["models"], json!(["gpt"]), "{base}");
            let asked = world.upstream.requests().await;
            let asked: Vec<_> = asked.iter().rev().take(3).map(|it| it.path().to_owned()).collect();
            let paths = ["/models", "/models/gpt", "/chat/completions"];
            assert_eq!(asked, paths.map(|path| format!("{front}{path}")));
            world.admin().put(&format!("/api/channel/{id}"), &json!({"status": 2})).await;
        }

        // Under CustomPass a path is part of a model.
        let wrong = json!({"name": "n", "models": ["m"], "key": "k",
            "base_url": format!("{}/v1", world.upstream.url())});
        let refused = world.admin().try_post("/api/channel", &wrong).await.expect(422);
        assert!(refused.text().contains("base_url"), "{}", refused.text());
        let unknown = json!({"name": "n", "models": ["m"], "base_url": "http://up.example",
            "protocol": "soap"});
        let refused = world.admin().try_post("/api/channel", &unknown).await.expect(422);
        assert!(refused.text().contains("anthropic"), "{}", refused.text());
        world.close().await;
    }

    async fn a_protocol_that_is_gone_is_no_free_call(db: TestDb) {
        let world = World::open(db).await;
        let id = channel(&world, "openai", &["gpt"]).await;
        let ann = world.payer(0).await;
        world.db.execute(&format!("UPDATE channels SET protocol = 'soap' WHERE id = {id}")).await;

        let answer = testkit::eventually("the channel to be refused", || async {
            let answer = world.server.post("/v1/chat/completions", &ann.key, &chat()).await;
            (answer.status == 503).then_some(answer)
        })
        .await;

        answer.expect_error(503, "CONFIG_ERROR");
        world.close().await;
    }

    async fn azure_names_its_deployment_in_the_path(db: TestDb) {
        let world = World::open(db).await;
        let extra = json!({"protocol": "azure", "key": "up-key",
            "model_mapping": {"gpt": "my-gpt"}});
        world.channel(&["gpt"], extra).await;
        world.admin().price("gpt", by_use()).await;
        let ann = world.payer(1_000).await;
        let body = json!({"choices": [{"message": {"content": "ok"}}],
            "usage": testkit::upstream::usage(20, 30)});
        let path = "/openai/deployments/my-gpt/chat/completions";
        world.upstream.on(path, Reply::json(&body));

        let target = "/openai/deployments/gpt/chat/completions?api-version=2024-10-21";
        let call = world.server.call("POST", target).header("api-key", &ann.key);
        let ask = json!({"messages": [{"role": "user", "content": "hi"}]});
        call.json(&ask).send().await.expect(200);

        let seen = &world.upstream.requests().await[0];
        assert_eq!(seen.header("api-key").as_deref(), Some("up-key"));
        assert_eq!(seen.query(), Some("api-version=2024-10-21"));
        assert_eq!(seen.json(), ask, "not a byte of the body is changed");
        assert_eq!(used(&world, &ann).await, 50);
        world.close().await;
    }

    async fn what_is_not_counted_upstream_is_counted_here(db: TestDb) {
        let world = World::open(db).await;
        channel(&world, "openai", &["gpt"]).await;
        world.admin().price("gpt", by_use()).await;
        let ann = world.payer(1_000).await;
        let words = "The quick brown fox jumps over the lazy dog. ".repeat(4);
        let body = json!({"choices": [{"message": {"content": words}}]});
        world.upstream.on("/v1/chat/completions", Reply::json(&body));

        // R06: no call is silently charged one quota, and none gets a 502 for a complete reply.
        world.server.post("/v1/chat/completions", &ann.key, &chat()).await.expect(200);

        let used = used(&world, &ann).await;
        assert!((30..=60).contains(&used), "{used} for some forty tokens");
        let note = world.db.text("SELECT other FROM logs WHERE type = 'consume'").await;
        assert!(note.contains("estimated"), "{note}");
        world.close().await;
    }
}
