//! `/v1`: where clients for OpenAI and its like find everything in its place.

use crate::world::{Payer, World, by_use, fixed};
use testkit::upstream::usage;
use testkit::{Reply, TestDb, json, on_both_databases};

fn chat(model: &str) -> serde_json::Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}]})
}

on_both_databases! {
    async fn a_chat_is_passed_to_the_same_path_and_billed(db: TestDb) {
        let world = World::open(db).await;
        let body = json!({"id": "chatcmpl-1", "choices": [], "usage": usage(20, 30)});
        world.upstream.on("/v1/chat/completions", Reply::json(&body));
        world.channel(&["gpt"], json!({})).await;
        world.admin().price("gpt", by_use()).await;
        let ann = world.payer(100).await;

        let answer = world.server.post("/v1/chat/completions", &ann.key, &chat("gpt")).await;

        assert_eq!(answer.expect(200).json(), body);
        assert_eq!(world.money(&ann).await.used, 50);
        world.close().await;
    }

    async fn balance_and_use_as_existing_clients_ask_for_them(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(250_000), Reply::text("x")).await;
        let ann = world.payer(1_000_000).await;
        world.pay("m", &ann).await.expect(200);

        let get = |path: &str| world.server.call("GET", path).key(&ann.key).send();
        let billing = get("/v1/dashboard/billing/subscription").await.expect(200).json();
        assert_eq!(billing["object"], "billing_subscription", "{billing}");
        // 500 000 quota are one dollar: 2 in all, of which 0.50 is spent, which is 50 cents.
        assert_eq!(billing["hard_limit_usd"].to_string().trim_end_matches(".0"), "2", "{billing}");
        let usage = get("/v1/dashboard/billing/usage").await.expect(200).json();
        assert_eq!(usage["total_usage"].to_string().trim_end_matches(".0"), "50", "{usage}");
        world.server.call("GET", "/v1/dashboard/billing/usage").send().await
            .expect_error(401, "invalid_api_key");
        world.close().await;
    }
}

/// What `/v1/models` lists for a key.
async fn model_ids(world: &World, payer: &Payer) -> Vec<String> {
    let call = world.server.call("GET", "/v1/models").key(&payer.key);
    let list = call.send().await.expect(200).json();
    assert_eq!(list["object"], "list");
    let models = list["data"].as_array().unwrap();
    assert!(models.iter().all(|one| one["object"] == "model"), "{models:?}");
    let mut ids: Vec<String> =
        models.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

on_sqlite! {
    async fn models_that_the_key_may_call_are_listed(db: TestDb) {
        let world = World::open(db).await;
        world.channel(&["a", "b", "org/c"], json!({})).await;
        world.channel(&["vip-only"], json!({"groups": ["vip"]})).await;
        let ann = world.payer(0).await;
        let narrow = world.key(&ann, json!({"models": ["b", "vip-only"]})).await;

        assert_eq!(model_ids(&world, &ann).await, ["a", "b", "org/c"]);
        assert_eq!(model_ids(&world, &narrow).await, ["b"]);
        world.server.call("GET", "/v1/models").send().await.expect_error(401, "invalid_api_key");
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }

    async fn errors_about_models_have_the_shape_that_who_asks_reads(db: TestDb) {
        let world = World::open(db).await;
        world.channel(&["gpt", "org/m:free"], json!({})).await;
        let ann = world.payer(0).await;
        let narrow = world.key(&ann, json!({"models": ["gpt"]})).await;
        let get = async |path: &str, header: &str, key: &str| {
            let call = world.server.call("GET", path).header(header, key);
            let call = match header {
                "x-api-key" => call.header("anthropic-version", "2023-06-01"),
                _ => call,
            };
            call.send().await
        };
        for (name, key) in [("gpt-typo", &ann), ("org/m:paid", &ann), ("org%2Fm%3Apaid", &ann),
            ("org/m:free", &narrow)]
        {
            let path = format!("/v1/models/{name}");
            let answer = get(&path, "Authorization", &format!("Bearer {}", key.key)).await;
            let error = answer.expect_error(404, "model_not_found").json()["error"].clone();
            assert!(error["message"].as_str().unwrap().contains("no such model"), "{error}");
            let answer = get(&path, "x-api-key", &key.key).await.expect(404).json();
            assert_eq!((&answer["type"], &answer["error"]["type"], &answer["error"]["code"]),
                (&json!("error"), &json!("not_found_error"), &json!("MODEL_NOT_FOUND")));
            let answer = get(&path, "x-goog-api-key", &key.key).await.expect(404).json();
            assert_eq!(answer["error"]["status"], "NOT_FOUND", "{answer}");
        }
        for path in ["/v1/models", "/v1/models/gpt"] {
            let answer = get(path, "Authorization", "Bearer sk-typo").await;
            answer.expect_error(401, "invalid_api_key");
            let answer = get(path, "x-api-key", "sk-typo").await.expect(401).json();
            assert_eq!(answer["error"]["type"], "authentication_error", "{answer}");
            let answer = get(path, "x-goog-api-key", "sk-typo").await.expect(401).json();
            assert_eq!(answer["error"]["status"], "UNAUTHENTICATED", "{answer}");
        }
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }

    async fn the_model_of_a_form_is_its_field(db: TestDb) {
        let world = World::open(db).await;
        let reply = json!({"text": "hello"});
        world.upstream.on("/v1/audio/transcriptions", Reply::json(&reply));
        world.channel(&["whisper"], json!({})).await;
        world.admin().price("whisper", fixed(40)).await;
        let ann = world.payer(100).await;
        let sound: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let mut form = b"--XyZ\r\nContent-Disposition: form-data; name=\"file\"; \
            filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n".to_vec();
        form.extend_from_slice(&sound);
        form.extend_from_slice(
            b"\r\n--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n\
            whisper\r\n--XyZ--\r\n",
        );

        let call = world.server.call("POST", "/v1/audio/transcriptions").key(&ann.key);
        let call = call.header("Content-Type", "multipart/form-data; boundary=XyZ");
        let answer = call.body(form.clone()).send().await.expect(200);

        assert_eq!(answer.json(), reply);
        let request = &world.upstream.requests().await[0];
        assert!(request.body == form, "the form arrives byte for byte");
        let kind = request.header("Content-Type");
        assert_eq!(kind.as_deref(), Some("multipart/form-data; boundary=XyZ"));
        assert_eq!(world.money(&ann).await.used, 40);
        world.close().await;
    }

    async fn without_a_clear_model_nothing_is_sent(db: TestDb) {
        let world = World::open(db).await;
        world.channel(&["gpt"], json!({})).await;
        let ann = world.payer(100).await;
        for body in [
            "", "{}", "[]", "null", "{\"model\":5}", "{\"model\":\"\"}", "{\"model\":null}",
            "{\"model\":\"gpt\"", "{\"model\":\"gpt\"} x", "{\"model\":\"gpt\",\"model\":\"m\"}",
            "not json", "{\"nested\":{\"model\":\"gpt\"}}", "{\"model\":\"../etc\"}",
        ] {
            let call = world.server.call("POST", "/v1/chat/completions").key(&ann.key);
            let call = call.header("Content-Type", "application/json").body(body);
            let answer = call.send().await;
            assert_eq!(answer.status, 400, "{body}: {}", answer.text());
            answer.expect_error(400, "INVALID_REQUEST");
        }
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }

    async fn an_escaped_model_member_is_the_same_member(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/v1/chat/completions", Reply::json(&json!({"choices": []})));
        world.channel(&["gpt"], json!({})).await;
        world.admin().price("gpt", fixed(40)).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/v1/chat/completions").key(&ann.key);
        let call = call.header("Content-Type", "application/json");
        call.body(r#"{"mo\u0064el":"g\u0070t"}"#).send().await.expect(200);

        assert_eq!(world.money(&ann).await.used, 40);
        world.close().await;
    }

    async fn the_models_name_can_be_mapped_and_every_other_byte_stays(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/v1/chat/completions", Reply::json(&json!({"choices": []})));
        world.upstream.on("/gpt-2024", Reply::text("x"));
        world.channel(&["gpt"], json!({"model_mapping": {"gpt": "gpt-2024"}})).await;
        world.admin().price("gpt", fixed(40)).await;
        let ann = world.payer(100).await;
        let body = "{\"seed\":12345678901234567890123, \"model\" : \"gpt\",\n \"x\":\"<\\/\"}";

        let call = world.server.call("POST", "/v1/chat/completions").key(&ann.key);
        let call = call.header("Content-Type", "application/json").body(body);
        call.send().await.expect(200);
        world.pay("gpt", &ann).await.expect(200);

        let requests = world.upstream.requests().await;
        assert_eq!(requests[0].text(), body.replace("\"gpt\"", "\"gpt-2024\""));
        assert_eq!(requests[1].path(), "/gpt-2024");
        assert_eq!(world.money(&ann).await.used, 80, "what is priced is what was asked for");
        world.close().await;
    }

    async fn unknown_models_are_not_found(db: TestDb) {
        let world = World::open(db).await;
        world.channel(&["gpt"], json!({})).await;
        let ann = world.payer(100).await;

        let answer = world.server.post("/v1/chat/completions", &ann.key, &chat("GPT")).await;

        // A retry would not help, and `Retry-After` would invite client libraries to one.
        let answer = answer.expect_error(404, "model_not_found");
        assert_eq!(answer.header("Retry-After"), None);
        world.close().await;
    }

    async fn a_submission_goes_to_the_models_own_path(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/img/submit", Reply::json(&json!({
            "code": 0, "data": {"task_id": "t-1"},
        })));
        world.channel(&["img/submit"], json!({})).await;
        world.admin().price("img/submit", fixed(40)).await;
        let ann = world.payer(100).await;
        let body = json!({"model": "img/submit", "prompt": "a cat"});

        world.server.post("/v1/images/generations", &ann.key, &body).await.expect(200);
        world.server.post("/pass/img/submit", &ann.key, &body).await.expect(200);

        let requests = world.upstream.requests().await;
        assert!(requests.iter().all(|one| one.path() == "/img/submit"), "{requests:?}");
        assert_eq!(world.money(&ann).await.quota, 20, "held until the tasks end");
        world.server.audit_clean().await;
    }

    async fn other_methods_and_paths_pass_as_well(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.otherwise(Reply::text("ok"));
        world.channel(&["gpt"], json!({})).await;
        let ann = world.payer(100).await;
        for path in ["/v1/responses", "/v1/embeddings", "/v1/messages?beta=true", "/v1/a/b/c"] {
            world.server.post(path, &ann.key, &chat("gpt")).await.expect(200);
            assert_eq!(world.upstream.requests().await.pop().unwrap().target, path);
        }
        for method in ["PUT", "PATCH"] {
            let call = world.server.call(method, "/v1/x").key(&ann.key).json(&chat("gpt"));
            call.send().await.expect(200);
            assert_eq!(world.upstream.requests().await.pop().unwrap().method, method);
        }
        world.close().await;
    }
}
