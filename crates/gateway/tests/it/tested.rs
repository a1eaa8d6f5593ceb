//! The last test of a channel, and the models that its upstream says it has.

use crate::pages::Browser;
use crate::world::World;
use testkit::{ROOT_PASSWORD, Recorded, Reply, TestDb, json, on_both_databases};

on_both_databases! {
    async fn the_last_test_is_kept(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        world.upstream.on("/m", Reply::text("ok"));
        let id = world.channel(&["m"], json!({"name": "c"})).await;
        let path = format!("/api/channel/{id}");
        assert!(admin.get(&path).await["last_test"].is_null());
        let edited = admin.get(&path).await["updated_at"].clone();

        let ask = json!({"channel_id": id});
        admin.call("POST", "/api/channel/test").json(&ask).send().await.expect(200);
        let kept = admin.get(&path).await["last_test"].clone();
        assert_eq!((&kept["ok"], &kept["model"]), (&json!(true), &json!("m")));
        assert_eq!(kept["error"], "");
        assert!(kept["at"].as_i64() > Some(0) && kept["time_ms"].is_i64(), "{kept}");

        world.upstream.on("/m", Reply::text("no").status(401));
        admin.call("POST", "/api/channel/test").json(&ask).send().await.expect(200);
        let shown = admin.get(&path).await;
        let kept = &shown["last_test"];
        assert_eq!((&kept["ok"], &kept["error"]), (&json!(false), &json!("status 401")));
        assert_eq!(shown["updated_at"], edited, "a test is no edit");
        admin.put(&path, &shown).await;
        let copy = admin.post(&format!("{path}/copy"), &json!({})).await;
        assert!(copy["last_test"].is_null(), "{copy}");

        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let list = root.get("/console/channels").await.expect(200).text();
        assert!(list.contains("status 401"), "{list}");

        // Opening a page makes no calls: a link from elsewhere must not.
        let calls = world.upstream.requests().await.len();
        let page = root.send("/console/channels/test", &format!("id={id}")).await.expect(200);
        assert!(page.text().contains(&format!("hx-post=\"/console/channels/{id}/test?row=1\"")));
        assert!(root.get("/console/channels/test").await.status >= 400);
        assert_eq!(world.upstream.requests().await.len(), calls);
        world.close().await;
    }

    async fn a_test_names_the_path_that_was_called(db: TestDb) {
        let world = World::open(db).await;
        let vendor = "/api/paas/v4/chat/completions";
        world.upstream.on(vendor, Reply::json(&json!({"choices": []})));
        let base = format!("{}/api/paas/v4", world.upstream.url());
        let of_vendor = json!({"protocol": "openai", "base_url": base, "key": "up-key"});
        let id = world.channel(&["m"], of_vendor).await;
        let ask = json!({"channel_id": id, "path": "v1/chat/completions"});
        let tested = world.admin().call("POST", "/api/channel/test").json(&ask).send().await;
        let tested = tested.expect(200).json();
        let asked = world.upstream.requests().await.pop().unwrap();
        assert_eq!(asked.path(), vendor);
        assert_eq!(tested["data"]["call"], format!("POST {vendor}"), "{tested}");
        world.close().await;
    }

    async fn a_free_call_of_its_vendor_tests_a_channel(db: TestDb) {
        // R52.
        let world = World::open(db).await;
        let admin = world.admin();
        for (protocol, path) in [
            ("azure", "/openai/v1/models"),
            ("dashscope", "/api/v1/tasks/"),
            ("kling", "/v1/videos/text2video"),
            ("midjourney", "/mj/task/queue"),
            ("openai-video", "/v1/videos"),
            ("replicate", "/v1/account"),
            ("runway", "/v1/organization"),
            ("suno", "/api/v1/generate/credit"),
        ] {
            world.upstream.on(path, Reply::json(&json!({"data": []})));
            let of_vendor = json!({"protocol": protocol, "key": "access:secret"});
            let id = world.channel(&["m"], of_vendor).await;
            let ask = json!({"channel_id": id});
            admin.call("POST", "/api/channel/test").json(&ask).send().await.expect(200);
            let asked = world.upstream.requests().await;
            let asked = asked.last().unwrap();
            assert_eq!((&*asked.method, asked.path()), ("GET", path), "{protocol}");
            let kept = admin.get(&format!("/api/channel/{id}")).await["last_test"].clone();
            assert_eq!(kept["error"], "", "{protocol}: {kept}");
        }
        world.close().await;
    }

    async fn a_vendor_s_probe_has_the_body_that_it_wants(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        let messages = json!([{"role": "user", "content": "hi"}]);
        for (protocol, model, method, path, wanted) in [
            ("cohere", "c", "POST", "/v1/tokenize", json!({"model": "c", "text": "hi"})),
            ("jina", "j", "POST", "/v1/embeddings", json!({"model": "j", "input": ["hi"]})),
            (
                "anthropic",
                "a",
                "POST",
                "/v1/messages/count_tokens",
                json!({"model": "a", "messages": messages}),
            ),
            (
                "gemini",
                "g",
                "POST",
                "/v1beta/models/g:countTokens",
                json!({"contents": [{"parts": [{"text": "hi"}]}]}),
            ),
            ("ollama", "o", "GET", "/api/tags", json!(null)),
            ("openai", "m", "GET", "/v1/models/m", json!(null)),
        ] {
            // Members that it does not know, or that are missing, are refused.
            world.upstream.handle(path, move |request: &Recorded| {
                let body = serde_json::from_slice(&request.body).unwrap_or(json!(null));
                match request.method == method && body == wanted {
                    true => Reply::json(&json!({"models": [], "usage": {"total_tokens": 1}})),
                    false => Reply::json(&json!({"message": "invalid request"})).status(400),
                }
            });
            let id = world.channel(&[model], json!({"protocol": protocol, "key": "up-key"})).await;
            let ask = json!({"channel_id": id});
            let tried = admin.post("/api/channel/test", &ask).await;
            assert_eq!((&tried["ok"], &tried["error"]), (&json!(true), &json!(null)), "{tried}");
        }
        world.close().await;
    }

    async fn a_status_that_says_that_a_key_works_is_no_failure(db: TestDb) {
        // fal has no call that costs nothing; of a request that nobody made it says 404.
        let world = World::open(db).await;
        let admin = world.admin();
        let path = "/fal-ai/flux/requests/00000000-0000-0000-0000-000000000000/status";
        let fal = json!({"protocol": "fal", "key": "up-key"});
        let id = world.channel(&["fal-ai/flux/dev"], fal).await;
        let ask = json!({"channel_id": id});
        world.upstream.on(path, Reply::json(&json!({"detail": "Request not found"})).status(404));
        let tried = admin.post("/api/channel/test", &ask).await;
        assert_eq!((&tried["ok"], &tried["status"]), (&json!(true), &json!(404)), "{tried}");
        world.upstream.on(path, Reply::json(&json!({"detail": "no such key"})).status(401));
        let tried = admin.try_post("/api/channel/test", &ask).await.json()["data"].clone();
        assert_eq!((&tried["ok"], &tried["error"]), (&json!(false), &json!("status")), "{tried}");
        let asked = world.upstream.requests().await;
        assert!(asked.iter().all(|it| it.method == "GET" && it.path() == path), "{asked:?}");
        world.close().await;
    }

    async fn an_upstream_tells_its_models(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        let list = json!({"data": [{"id": "b"}, {"id": "a"}, {"id": "<new>"}, {"id": "x,y"}]});
        world.upstream.on("/v1/models", Reply::json(&list));
        let openai = json!({"name": "o", "protocol": "openai", "key": "up-key-of-the-test"});
        let id = world.channel(&["a", "old"], openai).await;
        let path = format!("/api/channel/{id}/models");
        let told = admin.post(&path, &json!({})).await;
        assert_eq!(told["models"], json!(["<new>", "a", "b"]));
        assert_eq!(told["unserved"], json!(["<new>", "b"]));
        assert_eq!(told["unknown"], json!(["old"]));
        let asked = world.upstream.requests().await;
        let key = asked.last().unwrap().header("authorization");
        assert_eq!(key.as_deref(), Some("Bearer up-key-of-the-test"));
        let served = admin.get(&format!("/api/channel/{id}")).await["models"].clone();
        assert_eq!(served, json!(["a", "old"]), "asking changes nothing");
        let output = world.server.cli(&["channel", "models", &id.to_string()]).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text, "+ <new>\n  a\n+ b\n");

        // In the console they are ticked, and go the way of a change that is shown first.
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.send(&format!("/console/channels/{id}/models"), "").await.expect(200);
        assert!(page.text().contains("&lt;new&gt;") && page.text().contains("not listed"));
        let form = format!("id={id}&models=a&models=b");
        let page = root.send("/console/channels/batch", &form).await.expect(200).text();
        assert!(page.contains("+ b") && page.contains("− old"), "{page}");
        root.send("/console/channels/batch", &format!("{form}&apply=1")).await.expect(303);
        let served = admin.get(&format!("/api/channel/{id}")).await["models"].clone();
        assert_eq!(served, json!(["a", "b"]));

        // What an upstream says in place of a list is shown without the key.
        world.upstream.on("/v1/models", Reply::text("no: up-key-of-the-test").status(403));
        let refused = admin.call("POST", &path).send().await.expect(409).text();
        assert!(refused.contains("status 403: no: ***"), "{refused}");
        world.upstream.on("/v1/models", Reply::text("<html>"));
        admin.call("POST", &path).send().await.expect(409);
        let kling = json!({"protocol": "kling", "key": "access:secret"});
        let kling = world.channel(&["k"], kling).await;
        let path = format!("/api/channel/{kling}/models");
        let refused = admin.call("POST", &path).send().await.expect(409).text();
        assert!(refused.contains("has no list of models"), "{refused}");
        admin.call("POST", "/api/channel/999/models").send().await.expect(404);
        world.close().await;
    }
}
