//! The client's hop: pages of other origins, bodies in newer codings, paths that are nearly right.

use crate::world::{World, by_use, fixed};
use testkit::{Reply, TestDb, json, on_both_databases};

/// `{"model":"m","messages":[{"role":"user","content":"hi"}]}` in brotli, as Node compresses it.
const BROTLI: [u8; 53] = [
    0x1b, 0x38, 0x00, 0x40, 0x1c, 0x07, 0x76, 0x8c, 0xb3, 0x85, 0x39, 0x1c, 0x6c, 0xe7, 0xb5, 0xc8,
    0x5e, 0xda, 0xd6, 0x68, 0x6b, 0x16, 0x9d, 0xae, 0x3e, 0xe0, 0x90, 0x03, 0xa7, 0x03, 0x65, 0x6d,
    0x81, 0x7c, 0x5e, 0x67, 0x36, 0x1d, 0x96, 0x84, 0x7a, 0x82, 0x3c, 0xb9, 0x64, 0x96, 0x4c, 0x03,
    0x80, 0xc5, 0x77, 0xef, 0x06,
];
const PLAIN: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;

fn chat() -> Reply {
    let choices = json!([{"message": {"content": "hello"}}]);
    Reply::json(&json!({"choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": 4}}))
}

on_both_databases! {
    async fn a_page_of_another_origin_may_call(db: TestDb) {
        // R29.
        let world = World::open(db).await;
        let reply = chat().header("Access-Control-Allow-Origin", "https://upstream.example");
        world.upstream.on("/v1/chat/completions", reply.header("X-RateLimit-Remaining", "7"));
        world.channel(&["m"], json!({"protocol": "openai"})).await;
        world.admin().price("m", fixed(1)).await;
        let ann = world.payer(100).await;
        let preflight = |path: &str| {
            let call = world.server.call("OPTIONS", path).header("Origin", "https://app.example");
            call.header("Access-Control-Request-Method", "POST")
                .header("Access-Control-Request-Headers", "authorization,x-api-key")
        };
        for path in ["/v1/chat/completions", "/pass/m", "/chat/completions", "//v1/messages"] {
            let answer = preflight(path).send().await.expect(204);
            assert_eq!(answer.header("Access-Control-Allow-Origin").as_deref(), Some("*"));
            let names = answer.header("Access-Control-Allow-Headers");
            assert_eq!(names.as_deref(), Some("authorization,x-api-key"), "{path}");
            assert!(answer.header("Access-Control-Allow-Methods").unwrap().contains("POST"));
            assert_eq!(answer.header("Access-Control-Allow-Credentials"), None);
        }
        let call = |key: &str| {
            let call = world.server.call("POST", "/v1/chat/completions").key(key);
            call.header("Origin", "https://app.example").body(PLAIN)
                .header("Content-Type", "application/json")
        };
        for answer in [call(&ann.key).send().await.expect(200), call("sk-no").send().await] {
            let origins = answer.headers.iter();
            let origins = origins.filter(|(name, _)| *name == "access-control-allow-origin");
            assert_eq!(origins.count(), 1, "{:?}", answer.headers);
            assert_eq!(answer.header("Access-Control-Allow-Origin").as_deref(), Some("*"));
            let exposed = answer.header("Access-Control-Expose-Headers").unwrap();
            for name in ["X-Request-Id", "X-Newapi-Quota", "X-RateLimit-Remaining"] {
                assert!(exposed.contains(name), "{exposed}");
            }
        }
        let own = world.server.post("/v1/chat/completions", &ann.key, &json!({"model": "m"})).await;
        assert_eq!(own.expect(200).header("Access-Control-Allow-Origin"), None);
        for path in ["/api/user/self", "/api/status", "/livez", "/console"] {
            for answer in [
                preflight(path).send().await,
                world.server.call("GET", path).header("Origin", "https://a").send().await,
            ] {
                assert_eq!(answer.header("Access-Control-Allow-Origin"), None, "{path}");
            }
        }
        assert!(world.upstream.requests().await.iter().all(|it| it.method == "POST"));
        world.close().await;
    }

    async fn only_listed_origins_may_call(db: TestDb) {
        let settings = [("CORS_ORIGINS", "https://app.example, http://localhost:5173/")];
        let world = World::with(db, &settings).await;
        for (origin, allowed) in [
            ("https://app.example", true),
            ("http://localhost:5173", true),
            ("https://app.example.evil", false),
            ("null", false),
        ] {
            for method in ["OPTIONS", "GET"] {
                let call = world.server.call(method, "/v1/models").header("Origin", origin);
                let answer = call.header("Access-Control-Request-Method", "GET").send().await;
                let allows = answer.header("Access-Control-Allow-Origin");
                assert_eq!(allows.as_deref(), allowed.then_some(origin), "{method} {origin}");
                assert!(!allowed || answer.header("Vary").unwrap().contains("Origin"));
            }
        }
        world.close().await;
    }

    async fn bodies_come_in_zstd_and_brotli(db: TestDb) {
        // R35.
        let world = World::with(db, &[("CUSTOM_PASS_MAX_REQUEST_SIZE", "1MiB")]).await;
        world.upstream.on("/v1/chat/completions", chat());
        world.upstream.on("/m", Reply::text("ok"));
        world.channel(&["m"], json!({})).await;
        world.admin().price("m", by_use()).await;
        let ann = world.payer(1_000).await;
        let zstd = zstd::encode_all(PLAIN.as_bytes(), 3).unwrap();
        let call = |path: &str, coding: &str, body: &[u8]| {
            let call = world.server.call("POST", path).key(&ann.key).body(body.to_vec());
            call.header("Content-Encoding", coding).header("Content-Type", "application/json")
        };
        for (coding, body) in [("zstd", &zstd[..]), ("br", &BROTLI[..])] {
            call("/v1/chat/completions", coding, body).send().await.expect(200);
            let request = world.upstream.requests().await.pop().unwrap();
            assert_eq!(request.text(), PLAIN, "what was priced is what is sent");
            assert_eq!(request.header("Content-Encoding"), None);
            let broken = call("/v1/chat/completions", coding, &body[..body.len() - 1]).send().await;
            broken.expect_error(400, "INVALID_REQUEST");
        }
        assert_eq!(world.money(&ann).await.used, 14);
        let bomb = zstd::encode_all(&vec![b' '; 2 << 20][..], 3).unwrap();
        assert!(bomb.len() < 1_000);
        for path in ["/v1/chat/completions", "/pass/m"] {
            call(path, "zstd", &bomb).send().await.expect_error(413, "PAYLOAD_TOO_LARGE");
        }
        world.close().await;
    }

    async fn a_path_that_is_nearly_right_is_read_as_the_right_one(db: TestDb) {
        // R37.
        let world = World::open(db).await;
        world.upstream.on("/v1/chat/completions", chat());
        world.upstream.on("/v1/messages/count_tokens", Reply::json(&json!({"input_tokens": 3})));
        world.upstream.on("/a/b", Reply::text("ok"));
        world.channel(&["m", "a/b"], json!({})).await;
        for model in ["m", "a/b"] {
            world.admin().price(model, fixed(1)).await;
        }
        let ann = world.payer(100).await;
        for (path, reaches) in [
            ("//v1/chat/completions", "/v1/chat/completions"),
            ("/v1//chat/completions/", "/v1/chat/completions"),
            ("/v1/v1/chat/completions", "/v1/chat/completions"),
            ("/chat/completions?a=1", "/v1/chat/completions"),
            ("/v1/messages/count_tokens/", "/v1/messages/count_tokens"),
            ("/messages/count_tokens", "/v1/messages/count_tokens"),
            ("//pass/a/b", "/a/b"),
        ] {
            let body = json!({"model": "m", "messages": []});
            let before = world.money(&ann).await.used;
            world.server.post(path, &ann.key, &body).await.expect(200);
            let request = world.upstream.requests().await.pop().unwrap();
            assert_eq!(request.path(), reaches, "{path}");
            let charged = world.money(&ann).await.used - before;
            assert_eq!(charged, i64::from(!reaches.contains("count_tokens")), "{path}");
        }
        let count = world.upstream.count();
        let get = world.server.call("GET", "/v1/v1/models/").key(&ann.key).send().await.expect(200);
        assert!(get.text().contains("\"a/b\""), "{}", get.text());
        let billing = world.server.call("GET", "/dashboard/billing/subscription").key(&ann.key);
        let billing = billing.send().await.expect(200).json();
        assert_eq!(billing["object"], "billing_subscription", "{billing}");
        for (path, names) in [
            ("/rerank", vec!["/v1/rerank", "/v2/rerank"]),
            ("/elsewhere", vec!["/v1/", "/pass/"]),
        ] {
            world.channel(&["r"], json!({"protocol": "cohere"})).await;
            let answer = world.server.post(path, &ann.key, &json!({"model": "r"})).await;
            let answer = answer.expect_error(404, "NOT_FOUND");
            for name in names {
                assert!(answer.text().contains(name), "{path}: {}", answer.text());
            }
        }
        for path in ["/pass/a/../b", "/v1/%2e%2e/x", "/v1/a%2F%2Fb", "/pass//", "/pass/m/"] {
            let answer = world.server.post(path, &ann.key, &json!({"model": "m"})).await;
            assert_eq!(answer.status, 400, "{path}");
        }
        assert_eq!(world.upstream.count(), count);
        world.close().await;
    }

    async fn a_channel_that_takes_every_path_leaves_others_their_paths(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/v1/chat/completions", chat());
        world.upstream.on("/v2/chat", chat());
        world.upstream.on("/v1beta/models/gem:generateContent", Reply::json(&json!({})));
        world.upstream.on("/v1/listen", Reply::text("heard"));
        for (models, protocol) in [
            (&["m"][..], "openai"), (&["gem"], "gemini"), (&["c"], "cohere"),
            (&["plain"], "custompass"), (&["call", "v1/listen"], "http"), (&["fal-ai/x"], "fal"),
        ] {
            world.channel(models, json!({"protocol": protocol})).await;
            for model in models {
                world.admin().price(model, fixed(1)).await;
            }
        }
        let ann = world.payer(100).await;
        let post = async |path: &str, model: &str| {
            let body = json!({"model": model, "messages": []});
            world.server.post(path, &ann.key, &body).await
        };
        for everything in [false, true] {
            if everything {
                world.channel(&["*"], json!({"protocol": "http"})).await;
            }
            for (path, model, reaches) in [
                ("/chat/completions", "m", "/v1/chat/completions"),
                ("/v1/v1/chat/completions", "m", "/v1/chat/completions"),
                ("//v1/chat/completions/", "m", "/v1/chat/completions"),
                ("/v2/v2/chat", "c", "/v2/chat"),
                ("/v1/v1beta/models/gem:generateContent", "", "/v1beta/models/gem:generateContent"),
                ("/v1/listen", "", "/v1/listen"),
            ] {
                post(path, model).await.expect(200);
                let request = world.upstream.requests().await.pop().unwrap();
                assert_eq!(request.path(), reaches, "{path}");
            }
            let models = world.server.call("GET", "/models").key(&ann.key).send().await;
            let models = models.expect_error(404, "NOT_FOUND");
            assert!(models.text().contains("/v1beta/models"), "{}", models.text());
            // Models are called behind `/pass`.
            for path in ["/call", "/fal-ai/x"] {
                post(path, "").await.expect_error(404, "NOT_FOUND");
            }
        }
        world.close().await;
    }

    async fn a_path_that_no_protocol_has_goes_to_its_model_beside_one_that_takes_all(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/v1/unheard-of", Reply::text("ok"));
        world.channel(&["plain"], json!({})).await;
        world.channel(&["call"], json!({"protocol": "http"})).await;
        let ann = world.payer(100).await;
        for model in ["plain", "call"] {
            world.admin().price(model, fixed(1)).await;
        }
        world.server.post("/v1/unheard-of", &ann.key, &json!({"model": "plain"})).await.expect(200);
        assert_eq!(world.money(&ann).await.used, 1);
        world.close().await;
    }

    async fn a_head_is_a_get_without_its_body(db: TestDb) {
        let world = World::open(db).await;
        let file = json!({"id": "file-1", "object": "file", "bytes": 3});
        world.upstream.on("/v1/files", Reply::json(&file));
        world.upstream.on("/v1/files/file-1", Reply::json(&file));
        world.upstream.on("/head", Reply::text("a model's own"));
        let openai = json!({"protocol": "openai", "key": "up-key"});
        world.channel(&["m", "files"], openai).await;
        world.channel(&["gem"], json!({"protocol": "gemini", "key": "up-key"})).await;
        world.channel(&["head"], json!({})).await;
        let ann = world.payer(100).await;
        let upload = world.server.call("POST", "/v1/files").key(&ann.key);
        upload.json(&json!({"purpose": "x"})).send().await.expect(200);
        for path in ["/v1/models", "/v1/files", "/v1/files/file-1", "/v1beta/models"] {
            let call = |method: &str| world.server.call(method, path).key(&ann.key).send();
            let (get, head) = (call("GET").await.expect(200), call("HEAD").await);
            assert_eq!(head.status, 200, "{path}");
            assert_eq!(head.text(), "", "{path}");
            assert_eq!(head.header("Content-Type"), get.header("Content-Type"), "{path}");
        }
        // What no API has is the model's own affair.
        let head = world.server.call("HEAD", "/pass/head").key(&ann.key).send().await.expect(200);
        assert_eq!(head.text(), "");
        assert_eq!(world.upstream.requests().await.pop().unwrap().method, "HEAD");
        let gone = world.server.call("HEAD", "/v1/files/file-2").key(&ann.key).send().await;
        assert_eq!(gone.status, 404);
        world.close().await;
    }

    async fn what_is_wrong_is_said_so_that_nobody_tries_again(db: TestDb) {
        let world = World::open(db).await;
        world.channel(&["gpt"], json!({"protocol": "azure", "key": "up-key"})).await;
        world.admin().price("gpt", by_use()).await;
        let (ann, bob) = (world.payer(100).await, world.payer(100).await);
        let body = json!({"messages": []});
        for path in ["gpt%2Fx/chat/completions", "gpt/chat/completion"] {
            let path = format!("/openai/deployments/{path}");
            let answer = world.server.post(&path, &ann.key, &body).await;
            let answer = answer.expect_error(404, "model_not_found");
            assert!(answer.text().contains("check the path"), "{}", answer.text());
        }
        let two = world.server.call("POST", "/openai/deployments/gpt/chat/completions");
        let two = two.key(&ann.key).header("api-key", &bob.key).json(&body).send().await;
        let two = two.expect(401).text();
        assert!(two.contains("two API keys"), "{two}");
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }
}
