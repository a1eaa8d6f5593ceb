//! What OpenAI keeps for later calls, besides files: conversations, containers, uploads in parts,
//! and the files of a vector store many at once. Each is its maker's alone.

use crate::world::{Payer, World, by_use, fixed};
use serde_json::Value;
use testkit::{Answer, Reply, TestDb, json, on_both_databases};

async fn ask(world: &World, payer: &Payer, (method, path): (&str, &str), body: &Value) -> Answer {
    let call = world.server.call(method, path).key(&payer.key);
    match body {
        Value::Null => call.send().await,
        body => call.header("content-type", "application/json").body(body.to_string()).send().await,
    }
}

async fn open(db: TestDb) -> World {
    let world = World::open(db).await;
    let models = ["gpt", "files", "conversations", "containers", "vector-stores", "batches"];
    world.channel(&models, json!({"protocol": "openai"})).await;
    world.upstream.otherwise(Reply::json(&json!({"ok": true})));
    let makes = |path: &str, reply: Value| world.upstream.on(path, Reply::json(&reply));
    makes("/v1/files", json!({"id": "file-1", "object": "file"}));
    makes("/v1/conversations", json!({"id": "conv_1", "object": "conversation"}));
    makes("/v1/containers", json!({"id": "cntr_1", "object": "container"}));
    makes("/v1/uploads", json!({"id": "upload_1", "object": "upload", "status": "pending"}));
    makes("/v1/vector_stores", json!({"id": "vs_1", "object": "vector_store"}));
    world
}

const UPLOAD: &str = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n\
    x\r\n--b--\r\n";

async fn upload(world: &World, payer: &Payer, path: &str) -> Answer {
    let call = world.server.call("POST", path).key(&payer.key);
    let call = call.header("content-type", "multipart/form-data; boundary=b");
    call.body(UPLOAD).send().await
}

/// Each call is served to its owner, and no one else's reaches the upstream.
async fn are_the_owners(world: &World, [owner, other]: [&Payer; 2], calls: &[(&str, &str, Value)]) {
    for (method, path, body) in calls {
        let before = world.upstream.count();
        ask(world, other, (method, path), body).await.expect(404);
        assert_eq!(world.upstream.count(), before, "{method} {path}");
        let answer = ask(world, owner, (method, path), body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    }
}

on_both_databases! {
    async fn a_conversation_is_its_makers_with_its_items(db: TestDb) {
        let world = open(db).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        let conversations = ("POST", "/v1/conversations");
        upload(&world, &ann, "/v1/files").await.expect(200);
        let file = json!({"type": "input_file", "file_id": "file-1"});
        let of_file = json!({"items": [{"type": "message", "role": "user", "content": [file]}]});
        let of_item = json!({"items": [{"type": "item_reference", "id": "msg_1"}]});
        ask(&world, &bob, conversations, &of_file).await.expect(404);
        ask(&world, &bob, conversations, &of_item).await.expect(404);
        ask(&world, &ann, conversations, &of_file).await.expect(200);
        let items = "/v1/conversations/conv_1/items";
        world.upstream.on(items, Reply::json(&json!({"object": "list", "data": [
            {"id": "msg_1", "type": "message"}]})));
        let message = json!({"items": [{"type": "message", "role": "user", "content": "x"}]});
        are_the_owners(&world, [&ann, &bob], &[
            ("GET", "/v1/conversations/conv_1", Value::Null),
            ("POST", "/v1/conversations/conv_1", json!({"metadata": {"a": "b"}})),
            ("POST", items, message),
            ("GET", items, Value::Null),
            ("GET", "/v1/conversations/conv_1/items/msg_1", Value::Null),
            ("POST", "/v1/conversations", of_item),
            ("POST", "/v1/responses", json!({"model": "gpt", "input": "x",
                "conversation": "conv_1"})),
            ("DELETE", "/v1/conversations/conv_1/items/msg_1", Value::Null),
            ("DELETE", "/v1/conversations/conv_1", Value::Null),
        ]).await;
        ask(&world, &ann, ("GET", "/v1/conversations/conv_1"), &Value::Null).await.expect(404);
        world.close().await;
    }

    async fn a_container_is_paid_for_and_is_its_makers_with_its_files(db: TestDb) {
        let world = open(db).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        let make = ("POST", "/v1/containers");
        let larger = r#"[{"at":"body:/memory_limit","is":"4g","factor":4}]"#;
        let tiers: Value = serde_json::from_str(larger).unwrap();
        world.admin().price("containers", json!({"fixed_quota": 30, "tiers": tiers})).await;
        ask(&world, &ann, make, &json!({"name": "c", "file_ids": ["file-9"]})).await.expect(404);
        ask(&world, &ann, make, &json!({"name": "c"})).await.expect(200);
        assert_eq!(world.money(&ann).await.used, 30);
        ask(&world, &ann, make, &json!({"name": "c", "memory_limit": "4g"})).await.expect(200);
        assert_eq!(world.money(&ann).await.used, 150);
        let list = ask(&world, &ann, ("GET", "/v1/containers"), &Value::Null).await.json();
        assert_eq!(list["data"][0]["id"], "cntr_1");
        let list = ask(&world, &bob, ("GET", "/v1/containers"), &Value::Null).await.json();
        assert_eq!(list["data"], json!([]));
        upload(&world, &bob, "/v1/containers/cntr_1/files").await.expect(404);
        upload(&world, &ann, "/v1/containers/cntr_1/files").await.expect(200);
        upload(&world, &ann, "/v1/files").await.expect(200);
        are_the_owners(&world, [&ann, &bob], &[
            ("GET", "/v1/containers/cntr_1", Value::Null),
            ("POST", "/v1/containers/cntr_1/files", json!({"file_id": "file-1"})),
            ("GET", "/v1/containers/cntr_1/files", Value::Null),
            ("GET", "/v1/containers/cntr_1/files/cfile_1", Value::Null),
            ("GET", "/v1/containers/cntr_1/files/cfile_1/content", Value::Null),
            ("DELETE", "/v1/containers/cntr_1/files/cfile_1", Value::Null),
            ("DELETE", "/v1/containers/cntr_1", Value::Null),
        ]).await;
        let stolen = json!({"file_id": "file-9"});
        ask(&world, &ann, ("POST", "/v1/containers/cntr_1/files"), &stolen).await.expect(404);
        // The container of a tool is found by its id, too.
        let call = json!({"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_2"});
        let usage = json!({"input_tokens": 1, "output_tokens": 1, "total_tokens": 2});
        world.upstream.on("/v1/responses", Reply::json(&json!({"id": "resp_1",
            "status": "completed", "output": [call], "usage": usage})));
        let response = json!({"model": "gpt", "input": "x"});
        ask(&world, &ann, ("POST", "/v1/responses"), &response).await.expect(200);
        are_the_owners(&world, [&ann, &bob], &[
            ("GET", "/v1/containers/cntr_2/files/cfile_1/content", Value::Null),
        ]).await;
        world.close().await;
    }

    async fn what_tells_no_use_has_no_price_by_use(db: TestDb) {
        let world = open(db).await;
        let ann = world.payer(1_000).await;
        upload(&world, &ann, "/v1/files").await.expect(200);
        let batch = json!({"input_file_id": "file-1", "endpoint": "/v1/responses"});
        let before = world.upstream.count();
        for (model, path, body) in [
            ("containers", "/v1/containers", json!({"name": "c"})),
            ("batches", "/v1/batches", batch.clone()),
        ] {
            world.admin().price(model, by_use()).await;
            ask(&world, &ann, ("POST", path), &body).await.expect(503);
        }
        assert_eq!(world.upstream.count(), before, "none of these reached the upstream");
        world.admin().price("batches", fixed(50)).await;
        ask(&world, &ann, ("POST", "/v1/batches"), &batch).await.expect(200);
        assert_eq!(world.money(&ann).await.used, 50);
        world.close().await;
    }

    async fn an_upload_in_parts_becomes_its_makers_file(db: TestDb) {
        let world = open(db).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        let start = json!({"bytes": 1, "filename": "a", "mime_type": "text/plain",
            "purpose": "batch"});
        ask(&world, &ann, ("POST", "/v1/uploads"), &start).await.expect(200);
        world.upstream.on("/v1/uploads/upload_1/parts", Reply::json(&json!({"id": "part_1"})));
        let file = json!({"id": "file-2", "object": "file", "purpose": "batch"});
        world.upstream.on("/v1/files/file-2", Reply::json(&file));
        world.upstream.on("/v1/uploads/upload_1/complete", Reply::json(&json!({"id": "upload_1",
            "status": "completed", "file": file})));
        upload(&world, &bob, "/v1/uploads/upload_1/parts").await.expect(404);
        upload(&world, &ann, "/v1/uploads/upload_1/parts").await.expect(200);
        are_the_owners(&world, [&ann, &bob], &[
            ("POST", "/v1/uploads/upload_1/complete", json!({"part_ids": ["part_1"]})),
            ("GET", "/v1/files/file-2", Value::Null),
            ("GET", "/v1/files/file-2/content", Value::Null),
            ("POST", "/v1/uploads/upload_1/cancel", Value::Null),
        ]).await;
        let list = ask(&world, &ann, ("GET", "/v1/files"), &Value::Null).await.json();
        assert_eq!(list["data"][0]["id"], "file-2", "the file, and not the upload: {list}");
        assert_eq!(world.money(&ann).await.used, 0);
        world.close().await;
    }

    async fn many_files_of_a_vector_store_are_their_makers(db: TestDb) {
        let world = open(db).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        ask(&world, &ann, ("POST", "/v1/vector_stores"), &json!({"name": "s"})).await.expect(200);
        upload(&world, &ann, "/v1/files").await.expect(200);
        let batches = "/v1/vector_stores/vs_1/file_batches";
        for stolen in [
            json!({"file_ids": ["file-1", "file-9"]}),
            json!({"files": [{"file_id": "file-9"}]}),
        ] {
            ask(&world, &ann, ("POST", batches), &stolen).await.expect(404);
        }
        are_the_owners(&world, [&ann, &bob], &[
            ("POST", batches, json!({"file_ids": ["file-1"]})),
            ("POST", batches, json!({"files": [{"file_id": "file-1", "attributes": {}}]})),
            ("GET", "/v1/vector_stores/vs_1/file_batches/vsfb_1", Value::Null),
            ("GET", "/v1/vector_stores/vs_1/file_batches/vsfb_1/files", Value::Null),
            ("POST", "/v1/vector_stores/vs_1/file_batches/vsfb_1/cancel", Value::Null),
            ("POST", "/v1/vector_stores/vs_1/files/file-1", json!({"attributes": {}})),
            ("GET", "/v1/vector_stores/vs_1/files/file-1/content", Value::Null),
        ]).await;
        world.close().await;
    }

    async fn what_a_shell_runs_in_and_reads_is_its_makers(db: TestDb) {
        let world = open(db).await;
        let (ann, bob) = (world.payer(10_000).await, world.payer(10_000).await);
        upload(&world, &ann, "/v1/files").await.expect(200);
        ask(&world, &ann, ("POST", "/v1/containers"), &json!({"name": "c"})).await.expect(200);
        let within = json!({"type": "container_reference", "container_id": "cntr_2"});
        let picture = json!({"type": "image_generation_call", "id": "ig_1"});
        let said = json!({"type": "shell_call", "id": "sh_1", "environment": within});
        let usage = json!({"input_tokens": 1, "output_tokens": 1, "total_tokens": 2});
        let queued = json!({"id": "resp_1", "status": "queued", "output": []});
        let done = json!({"id": "resp_1", "status": "completed", "output": [picture, said],
            "usage": usage});
        world.upstream.on("/v1/responses", Reply::json(&queued));
        world.upstream.on("/v1/responses/resp_1", Reply::json(&done));
        let later = json!({"model": "gpt", "input": "x", "background": true});
        ask(&world, &ann, ("POST", "/v1/responses"), &later).await.expect(200);
        // What it has made in the background is known once it is asked about.
        ask(&world, &ann, ("GET", "/v1/responses/resp_1"), &Value::Null).await.expect(200);

        let shell = |environment: Value| json!({"type": "shell", "environment": environment});
        let of_files = json!({"type": "container_auto", "file_ids": ["file-1"]});
        let ours = json!({"type": "container_reference", "container_id": "cntr_1"});
        let tools = |tool: &Value| json!({"model": "gpt", "input": "x", "tools": [tool]});
        let input = |item: &Value| json!({"model": "gpt", "input": [item]});
        let items = |item: &Value| json!({"items": [item]});
        let added = |tool: Value| json!({"type": "additional_tools", "role": "developer",
            "tools": [tool]});
        let screen = json!({"type": "computer_call_output", "call_id": "c",
            "output": {"type": "computer_screenshot", "file_id": "file-1"}});
        let code = json!({"type": "code_interpreter", "container": "cntr_1"});
        let responses = "/v1/responses";
        are_the_owners(&world, [&ann, &bob], &[
            ("POST", responses, tools(&shell(ours.clone()))),
            ("POST", responses, tools(&shell(of_files.clone()))),
            ("POST", responses, tools(&shell(within.clone()))),
            ("POST", responses, input(&said)),
            ("POST", responses, input(&picture)),
            ("POST", responses, input(&screen)),
            ("POST", responses, input(&added(shell(ours.clone())))),
            ("POST", responses, input(&added(code))),
            ("POST", "/v1/responses/compact", tools(&shell(ours.clone()))),
            ("POST", "/v1/responses/input_tokens", tools(&shell(ours))),
            ("POST", "/v1/conversations", items(&picture)),
            ("POST", "/v1/conversations", items(&screen)),
            ("POST", "/v1/conversations", items(&added(shell(of_files)))),
        ]).await;
        // No skill is made here, so none is anybody's.
        let skills = json!([{"type": "skill_reference", "skill_id": "skill_9"}]);
        let skilled = json!({"type": "container_auto", "skills": skills});
        let before = world.upstream.count();
        ask(&world, &ann, ("POST", responses), &tools(&shell(skilled))).await.expect(404);
        assert_eq!(world.upstream.count(), before);
        world.close().await;
    }
}
