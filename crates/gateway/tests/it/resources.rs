//! What calls make at an upstream is its maker's alone: files, batches, stored responses.

use crate::world::{Payer, World, by_use, fixed};
use testkit::{Answer, Recorded, Reply, TestDb, json, on_both_databases};

const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\n\
    Content-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{}\r\n--b--\r\n";

async fn upload(world: &World, payer: &Payer, target: &str) -> Answer {
    world
        .server
        .call("POST", target)
        .key(&payer.key)
        .header("content-type", "multipart/form-data; boundary=b")
        .body(FORM)
        .send()
        .await
}

async fn ask(world: &World, payer: &Payer, method: &str, path: &str) -> Answer {
    world.server.call(method, path).key(&payer.key).send().await
}

/// The ids that a list shows.
async fn listed(world: &World, payer: &Payer, path: &str) -> Vec<String> {
    let list = ask(world, payer, "GET", path).await.expect(200).json();
    let id = |it: &serde_json::Value| it["id"].as_str().unwrap().to_owned();
    list["data"].as_array().unwrap().iter().map(id).collect()
}

/// An account of two: one id belongs to the account whose key is sent.
fn of_account(request: &Recorded, reply: serde_json::Value) -> Reply {
    match request.header("authorization").as_deref() {
        Some("Bearer first") => Reply::json(&reply),
        _ => Reply::json(&json!({"error": {"message": "no such object"}})).status(404),
    }
}

on_both_databases! {
    async fn a_file_is_its_owners_and_lies_with_one_channel(db: TestDb) {
        // R39.
        let world = World::open(db).await;
        let first = json!({"protocol": "openai", "key": "first", "priority": 9});
        world.channel(&["files"], first).await;
        let (ann, bob) = (world.payer(100).await, world.payer(100).await);
        world.upstream.handle("/v1/files", |request| {
            assert!(request.text().contains("a.jsonl") && request.query().is_none());
            of_account(request, json!({"id": "file-1", "object": "file", "purpose": "batch"}))
        });
        world.upstream.handle("/v1/files/file-1", |request| match request.method.as_str() {
            "DELETE" => of_account(request, json!({"id": "file-1", "deleted": true})),
            _ => of_account(request, json!({"id": "file-1", "purpose": "batch", "status": "done"})),
        });
        world.upstream.on("/v1/files/file-1/content", Reply::text("line"));
        assert_eq!(upload(&world, &ann, "/v1/files").await.expect(200).json()["id"], "file-1");
        // A channel of higher priority has nothing of it.
        let second = json!({"protocol": "openai", "key": "second", "priority": 99});
        world.channel(&["files"], second).await;

        let file = ask(&world, &ann, "GET", "/v1/files/file-1").await.expect(200).json();
        assert_eq!(file["status"], "done");
        let content = ask(&world, &ann, "GET", "/v1/files/file-1/content").await;
        assert_eq!(content.expect(200).text(), "line");
        assert_eq!(listed(&world, &ann, "/v1/files").await, ["file-1"]);
        let list = ask(&world, &ann, "GET", "/v1/files?purpose=batch").await.json();
        assert_eq!(list["has_more"], false);
        assert_eq!(list["data"][0]["status"], "done");
        assert!(listed(&world, &ann, "/v1/files?purpose=vision").await.is_empty());

        let before = world.upstream.count();
        for (method, path) in [
            ("GET", "/v1/files/file-1"),
            ("GET", "/v1/files/file-1/content"),
            ("DELETE", "/v1/files/file-1"),
            ("GET", "/v1/files/file-2"),
        ] {
            ask(&world, &bob, method, path).await.expect_error(404, "NOT_FOUND");
        }
        assert!(listed(&world, &bob, "/v1/files").await.is_empty());
        // A key that may not call the model does not reach what the model's calls made.
        let narrow = world.key(&ann, json!({"model_limits": ["other"]})).await;
        ask(&world, &narrow, "GET", "/v1/files/file-1").await.expect_error(404, "NOT_FOUND");
        assert!(listed(&world, &narrow, "/v1/files").await.is_empty());
        assert_eq!(world.upstream.count(), before, "none of these reached the upstream");

        ask(&world, &ann, "DELETE", "/v1/files/file-1").await.expect(200);
        ask(&world, &ann, "GET", "/v1/files/file-1").await.expect_error(404, "NOT_FOUND");
        assert_eq!(world.money(&ann).await.used, 0);
        world.close().await;
    }

    async fn the_model_of_an_upload_may_be_named_in_the_query(db: TestDb) {
        let world = World::open(db).await;
        world.channel(&["archive"], json!({"protocol": "openai"})).await;
        let ann = world.payer(100).await;
        world.upstream.handle("/v1/files", |request| {
            assert_eq!(request.query(), Some("x=1"), "the upstream does not know it");
            Reply::json(&json!({"id": "file-1"}))
        });
        upload(&world, &ann, "/v1/files?x=1&model=archive").await.expect(200);
        upload(&world, &ann, "/v1/files").await.expect_error(404, "model_not_found");
        let twice = upload(&world, &ann, "/v1/files?model=archive&Model=b").await;
        twice.expect_error(400, "INVALID_REQUEST");
        world.close().await;
    }

    async fn a_batch_is_made_of_its_makers_file(db: TestDb) {
        // R39.
        let world = World::open(db).await;
        world.channel(&["files", "batches"], json!({"protocol": "openai"})).await;
        world.admin().price("batches", fixed(50)).await;
        let (ann, bob) = (world.payer(500).await, world.payer(500).await);
        world.upstream.on("/v1/files", Reply::json(&json!({"id": "file-1"})));
        world.upstream.on("/v1/batches", Reply::json(&json!({"id": "batch-1", "status": "new"})));
        let done = json!({"id": "batch-1", "status": "completed", "output_file_id": "file-9"});
        world.upstream.on("/v1/batches/batch-1", Reply::json(&done));
        upload(&world, &ann, "/v1/files").await.expect(200);

        let batch = json!({"input_file_id": "file-1", "endpoint": "/v1/chat/completions"});
        let stolen = world.server.post("/v1/batches", &bob.key, &batch).await;
        stolen.expect_error(404, "NOT_FOUND");
        for odd in [
            r#"{"input_file_id":"file-2","Input_File_Id":"file-1"}"#,
            r#"{"Input_File_Id":"file-1"}"#,
        ] {
            let call = world.server.call("POST", "/v1/batches").key(&bob.key);
            let odd = call.header("content-type", "application/json").body(odd).send().await;
            odd.expect_error(400, "INVALID_REQUEST");
        }
        world.server.post("/v1/batches", &ann.key, &batch).await.expect(200);
        assert_eq!((world.money(&ann).await.used, world.money(&bob).await.used), (50, 0));
        let shown = ask(&world, &ann, "GET", "/v1/batches/batch-1").await.expect(200).json();
        assert_eq!(shown["status"], "completed");
        let list = ask(&world, &ann, "GET", "/v1/batches").await.json();
        assert_eq!(list["data"][0]["status"], "completed");
        // What a batch has made is its maker's, too.
        world.upstream.on("/v1/files/file-9/content", Reply::text("results"));
        ask(&world, &ann, "GET", "/v1/files/file-9/content").await.expect(200);
        ask(&world, &bob, "GET", "/v1/files/file-9/content").await.expect_error(404, "NOT_FOUND");
        world.close().await;
    }

    async fn a_stored_response_is_continued_by_its_owner_alone(db: TestDb) {
        // R39.
        let world = World::open(db).await;
        let first = json!({"protocol": "openai", "key": "first", "priority": 9});
        let first = world.channel(&["gpt", "mini"], first).await;
        world.admin().price("gpt", by_use()).await;
        let (ann, bob) = (world.payer(5_000).await, world.payer(5_000).await);
        let usage = json!({"input_tokens": 3, "output_tokens": 4, "total_tokens": 7});
        let reply = json!({"id": "resp-1", "status": "completed", "output": [], "usage": usage});
        world.upstream.handle("/v1/responses", move |request| {
            if request.json()["stream"] == true {
                let done = json!({"type": "response.completed",
                    "response": {"id": "resp-2", "status": "completed", "usage": usage}});
                return Reply::sse([done.to_string()]);
            }
            of_account(request, reply.clone())
        });
        world.upstream.on("/v1/responses/resp-2", Reply::json(&json!({"id": "resp-2"})));
        let call = |payer: &Payer, body: serde_json::Value| {
            let key = payer.key.clone();
            let server = &world.server;
            async move { server.post("/v1/responses", &key, &body).await }
        };
        call(&ann, json!({"model": "gpt", "input": "hi"})).await.expect(200);
        let second = json!({"protocol": "openai", "key": "second", "priority": 99});
        world.channel(&["gpt"], second).await;
        let more = json!({"model": "gpt", "input": "and", "previous_response_id": "resp-1"});
        call(&ann, more.clone()).await.expect(200);
        assert_eq!(world.money(&ann).await.used, 14);

        let before = world.upstream.count();
        call(&bob, more.clone()).await.expect_error(404, "NOT_FOUND");
        for member in ["Previous_Response_Id", "previous_response_id\\u0000"] {
            let body = format!(r#"{{"model":"gpt","input":"x","{member}":"resp-1"}}"#);
            let call = world.server.call("POST", "/v1/responses").key(&bob.key);
            let odd = call.header("content-type", "application/json").body(body).send().await;
            odd.expect_error(400, "INVALID_REQUEST");
        }
        call(&bob, json!({"model": "gpt", "conversation": {"id": "conv-1"}})).await
            .expect_error(404, "NOT_FOUND");
        // More ids than are read are not passed on unread.
        let many: Vec<_> = (0..300).map(|_| json!({"file_id": "resp-1"})).collect();
        let many = json!({"model": "gpt", "input": [{"content": many}]});
        call(&ann, many).await.expect_error(400, "INVALID_REQUEST");
        // Work in the background would be used before it is counted.
        let background = json!({"model": "gpt", "input": "x", "background": true});
        call(&ann, background).await.expect_error(400, "INVALID_REQUEST");
        assert_eq!(world.upstream.count(), before, "none of these reached the upstream");
        let null = json!({"model": "gpt", "input": "x", "previous_response_id": null});
        call(&ann, null).await.expect(404);

        // A stream makes one, too; and a channel that is paused has what it has.
        call(&ann, json!({"model": "mini", "input": "x", "stream": true})).await.expect(200);
        ask(&world, &ann, "GET", "/v1/responses/resp-2").await.expect(200);
        ask(&world, &bob, "GET", "/v1/responses/resp-2").await.expect_error(404, "NOT_FOUND");
        world.admin().put(&format!("/api/channel/{first}"), &json!({"status": 2})).await;
        ask(&world, &ann, "GET", "/v1/responses/resp-2").await.expect_error(503, "NO_CHANNEL");
        call(&ann, more).await.expect_error(400, "INVALID_REQUEST");
        world.close().await;
    }

    async fn what_a_body_names_is_its_senders(db: TestDb) {
        let world = World::open(db).await;
        let models = ["gpt", "files", "vector-stores"];
        world.channel(&models, json!({"protocol": "openai"})).await;
        world.channel(&["claude"], json!({"protocol": "anthropic"})).await;
        world.channel(&["gemini"], json!({"protocol": "gemini"})).await;
        let (ann, bob) = (world.payer(100).await, world.payer(100).await);
        world.upstream.on("/v1/files", Reply::json(&json!({"id": "file-1"})));
        world.upstream.on("/v1/vector_stores", Reply::json(&json!({"id": "vs-1"})));
        world.upstream.otherwise(Reply::json(&json!({"ok": true})));
        upload(&world, &ann, "/v1/files").await.expect(200);
        let store = json!({"name": "mine", "file_ids": ["file-1"]});
        world.server.post("/v1/vector_stores", &bob.key, &store).await
            .expect_error(404, "NOT_FOUND");
        world.server.post("/v1/vector_stores", &ann.key, &store).await.expect(200);
        assert_eq!(listed(&world, &ann, "/v1/vector_stores").await, ["vs-1"]);
        assert!(listed(&world, &bob, "/v1/vector_stores").await.is_empty());

        // Nor is it named by a form, in whatever spelling, to an upstream that reads those.
        let before = world.upstream.count();
        let part = |name: &str| {
            let head = format!("Content-Disposition: form-data; name=\"{name}\"");
            format!("--b\r\n{head}\r\n\r\nfile-1\r\n--b--\r\n")
        };
        let (encoded, parts) =
            ("application/x-www-form-urlencoded", "multipart/form-data; boundary=b");
        for (kind, body, status) in [
            (encoded, r#"{"file_ids":["file-1"]}"#.to_owned(), 415),
            (encoded, "name=x&file_ids=file-1".to_owned(), 400),
            (encoded, "file_ids[]=file-1".to_owned(), 400),
            (encoded, "name=x&file_ids%5B0%5D=file-1".to_owned(), 400),
            (encoded, "file_ids.0=file-1".to_owned(), 400),
            (parts, part("file_ids"), 400),
            (parts, part("file_ids[]"), 400),
            (parts, part("file_ids[0]"), 400),
        ] {
            for path in ["/v1/vector_stores", "/v1/vector_stores/vs-1/file_batches"] {
                let call = world.server.call("POST", path).key(&ann.key);
                let answer = call.header("content-type", kind).body(body.clone()).send().await;
                assert_eq!(answer.status, status, "{path} {body}: {}", answer.text());
            }
        }
        assert_eq!(world.upstream.count(), before, "none of these reached the upstream");

        let file = |id: &str| json!({"type": "file", "file": {"file_id": id}});
        let chat = |id: &str| {
            json!({"model": "gpt", "messages": [{"role": "user", "content": [file(id)]}]})
        };
        let search = json!({"type": "file_search", "vector_store_ids": ["vs-1"]});
        let own = [
            ("/v1/chat/completions", chat("file-1")),
            ("/v1/responses", json!({"model": "gpt", "input": "x", "tools": [search]})),
            ("/v1/vector_stores/vs-1/search", json!({"query": "x"})),
            ("/v1/vector_stores/vs-1/files", json!({"file_id": "file-1"})),
        ];
        for (path, body) in &own {
            let before = world.upstream.count();
            world.server.post(path, &bob.key, body).await.expect_error(404, "NOT_FOUND");
            assert_eq!(world.upstream.count(), before, "{path}");
            world.server.post(path, &ann.key, body).await.expect(200);
        }
        let source = json!({"type": "document", "source": {"type": "file", "file_id": "file_9"}});
        let result = json!({"type": "tool_result", "tool_use_id": "t", "content": [source]});
        let claude = |content: &serde_json::Value| {
            json!({"model": "claude", "max_tokens": 9,
                "messages": [{"role": "user", "content": [content]}]})
        };
        let gemini = "/v1beta/models/gemini:generateContent";
        let mut with_container = claude(&json!({"type": "text", "text": "x"}));
        with_container["container"] = json!({"id": "container_1"});
        let gemini_file = |path: &str| {
            let uri = format!("https://generativelanguage.googleapis.com/{path}");
            json!({"fileData": {"mimeType": "video/mp4", "fileUri": uri}})
        };
        let of_item = |item: serde_json::Value| json!({"model": "gpt", "input": [item]});
        let spelt = r#"{"model":"gpt",
            "messages":[{"content":[{"file":{"fil\u0065_id":"file-1"}}]}]}"#;
        let of_others = [
            ("/v1/messages", claude(&source)),
            ("/v1/messages", claude(&result)),
            ("/v1/messages", claude(&json!({"type": "container_upload", "file_id": "file_9"}))),
            ("/v1/messages", with_container),
            (gemini, json!({"contents": [], "cachedContent": "cachedContents/1"})),
            (gemini, json!({"contents": [], "cached_content": "cachedContents/1"})),
            ("/v1/chat/completions", serde_json::from_str(spelt).unwrap()),
            (gemini, json!({"contents": [{"parts": [gemini_file("v1beta/files/1")]}]})),
            (gemini, json!({"contents": {"parts": gemini_file("v1beta/files/1")}})),
            (gemini, json!({"contents": [], "tools": [
                {"file_search": {"file_search_store_names": ["fileSearchStores/1"]}}]})),
            ("/v1beta/models/gemini:countTokens", json!({"generateContentRequest":
                {"contents": [{"parts": [gemini_file("v1beta/files/1")]}]}})),
            ("/v1/responses", json!({"model": "gpt", "prompt": {"id": "pmpt_1"}})),
            ("/v1/responses", of_item(json!({"type": "item_reference", "id": "msg_9"}))),
            ("/v1/responses", of_item(json!({"id": "msg_9"}))),
            ("/v1/responses", of_item(json!({"id": "msg_9", "type": null}))),
            ("/v1/audio/speech", json!({"model": "gpt", "input": "x", "voice": {"id": "voice_1"}})),
            ("/v1/images/edits", json!({"model": "gpt", "prompt": "x",
                "images": [{"file_id": "file-1"}]})),
        ];
        let before = world.upstream.count();
        for (path, body) in &of_others {
            let answer = world.server.post(path, &bob.key, body).await;
            assert_eq!(answer.status, 404, "{path} {body}: {}", answer.text());
        }
        let odd = world.server.call("POST", "/v1/chat/completions").key(&bob.key);
        let odd = odd.header("content-type", "application/json").body(spelt).send().await;
        odd.expect_error(404, "NOT_FOUND");
        assert_eq!(world.upstream.count(), before, "none of these reached the upstream");

        // What a reply has made is the caller's.
        let reply = json!({"type": "message", "container": {"id": "container_1"}});
        world.upstream.on("/v1/messages", Reply::json(&reply));
        let text = claude(&json!({"type": "text", "text": "x"}));
        world.server.post("/v1/messages", &ann.key, &text).await.expect(200);
        let mut again = text.clone();
        again["container"] = json!("container_1");
        world.server.post("/v1/messages", &ann.key, &again).await.expect(200);
        world.server.post("/v1/messages", &bob.key, &again).await.expect(404);
        world.close().await;
    }

    async fn a_file_goes_to_a_channel_of_the_api_that_its_client_speaks(db: TestDb) {
        let world = World::open(db).await;
        let of = |protocol: &str, key: &str, priority: i64| {
            json!({"protocol": protocol, "key": key, "priority": priority})
        };
        world.channel(&["files"], of("openai", "first", 99)).await;
        let ann = world.payer(100).await;
        world.upstream.handle("/v1/files", |request| {
            let name = if request.header("x-api-key").is_some() { "file_a" } else { "file-o" };
            Reply::json(&json!({"id": name}))
        });
        let upload = |version: Option<&'static str>| {
            let call = world.server.call("POST", "/v1/files").key(&ann.key);
            let call = call.header("content-type", "multipart/form-data; boundary=b").body(FORM);
            version.into_iter().fold(call, |it, version| it.header("anthropic-version", version))
        };
        let version = Some("2023-06-01");
        // As long as no channel is of its API, one that has the path is asked.
        assert_eq!(upload(version).send().await.expect(200).json()["id"], "file-o");
        world.channel(&["files"], of("anthropic", "second", 0)).await;
        assert_eq!(upload(version).send().await.expect(200).json()["id"], "file_a");
        assert_eq!(upload(None).send().await.expect(200).json()["id"], "file-o");
        world.close().await;
    }
}
