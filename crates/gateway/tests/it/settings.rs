//! Settings that change while the server runs: through their file, and through root.

use crate::submit::taken;
use crate::world::{Payer, World, fixed};
use std::path::Path;
use testkit::{Gate, Reply, Signal, TestDb, eventually, json, on_both_databases};

/// Puts a whole file in place of another, as an editor does.
fn write(path: &Path, text: &str) {
    let draft = path.with_extension("new");
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(&draft, path).unwrap();
}

/// Waits until a call is answered so.
async fn answered(world: &World, payer: &Payer, status: u16, code: &str) {
    eventually(&format!("{status} {code}"), || async {
        let answer = world.pay("m", payer).await;
        (answer.status == status && (code.is_empty() || answer.text().contains(code))).then_some(())
    })
    .await;
}

on_postgres! {
    async fn limits_and_ways_follow_the_file(db: TestDb) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("newapi.json");
        write(&file, r#"{"CUSTOM_PASS_RETRY_DELAY": "1m", "CUSTOM_PASS_CONNECT_TIMEOUT": "10m"}"#);
        let world = World::with(db, &[("CUSTOM_PASS_CONFIG_FILE", file.to_str().unwrap())]).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(1_000_000).await;
        let change = |text: &str| {
            write(&file, text);
            world.server.signal(Signal::HUP);
        };

        // An account that is locked: with the delay of the start its call would wait for minutes.
        let row = format!("SELECT 1 FROM users WHERE id = {} FOR UPDATE", ann.id);
        let held = world.db.transaction(&row).await;
        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let waiting = tokio::spawn(call.send());
        change(r#"{"CUSTOM_PASS_RETRY_DELAY": "10ms", "CUSTOM_PASS_CONNECT_TIMEOUT": "100ms"}"#);
        waiting.await.unwrap().expect_error(503, "ACCOUNT_BUSY");
        held.end().await;

        // An upstream that accepts connections, and never responds to the TLS handshake.
        let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("https://{}", mute.local_addr().unwrap());
        world.channel(&["mute"], json!({"base_url": base})).await;
        world.pay("mute", &ann).await.expect_error(502, "UPSTREAM_ERROR");

        change(r#"{"MEMORY_LIMIT": "1MiB"}"#);
        answered(&world, &ann, 503, "OVERLOADED").await;
        change(r#"{"CUSTOM_PASS_BUFFER_BUDGET": "1MiB"}"#);
        answered(&world, &ann, 200, "").await;
        world.upstream.on("/v1/chat/completions", Reply::text("ok"));
        let large = json!({"model": "m", "text": "x".repeat(2 << 20)});
        let chat = || world.server.post("/v1/chat/completions", &ann.key, &large);
        chat().await.expect_error(503, "OVERLOADED");
        change(r#"{"TRUSTED_PROXIES": "127.0.0.0/8"}"#);
        let there = world.key(&ann, json!({"allow_ips": "203.0.113.7"})).await;
        eventually("the proxy to be believed", || async {
            let call = world.server.call("POST", "/pass/m").key(&there.key);
            let answer = call.header("X-Forwarded-For", "203.0.113.7").send().await;
            (answer.status == 200).then_some(())
        })
        .await;
        chat().await.expect(200);
        world.close().await;
    }
}

on_sqlite! {
    async fn root_changes_where_calls_may_go_and_how_many_questions_are_asked(db: TestDb) {
        let few = [
            ("CUSTOM_PASS_MAX_CONCURRENT", "1"), ("CUSTOM_PASS_POLL_INTERVAL", "1s"),
            ("CUSTOM_PASS_TASK_TIMEOUT", "10m"),
        ];
        let world = World::with(db, &few).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(1_000).await;
        world.pay("m", &ann).await.expect(200);
        let set = async |name: &str, value: serde_json::Value| {
            world.admin().put("/api/option", &json!({"key": name, "value": value})).await;
        };
        let hook = json!({"user_id": ann.id, "url": format!("{}/hook", world.upstream.url())});
        let post_hook = || world.admin().call("POST", "/api/webhook").json(&hook).send();
        assert_eq!(post_hook().await.status, 422);

        // Also the connection that is open leads nowhere now.
        set("UPSTREAM_ALLOW_NETS", json!("10.0.0.0/8")).await;
        world.pay("m", &ann).await.expect_error(502, "UPSTREAM_ERROR");
        set("UPSTREAM_ALLOW_NETS", json!(null)).await;
        world.pay("m", &ann).await.expect(200);
        set("HTTP_PROXY", json!("http://127.0.0.1:1")).await;
        world.pay("m", &ann).await.expect_error(502, "UPSTREAM_ERROR");
        set("NO_PROXY", json!("127.0.0.0/8")).await;
        world.pay("m", &ann).await.expect(200);
        set("WEBHOOK_ALLOW_NETS", json!("127.0.0.0/8")).await;
        assert_eq!(post_hook().await.status, 200);

        let gate = Gate::new();
        for model in ["one/submit", "two/submit"] {
            world.model(model, fixed(1), taken(model)).await;
            let asked = format!("/{}/task/list-by-condition", model.trim_end_matches("/submit"));
            let ended = json!({"code": 0, "data": [{"task_id": model, "status": "done"}]});
            world.upstream.on(&asked, Reply::json(&ended).gated(&gate));
            world.pay(model, &ann).await.expect(200);
        }
        gate.reached(1).await;
        set("CUSTOM_PASS_MAX_CONCURRENT", json!("2")).await;
        gate.reached(2).await;
        gate.open();
        eventually("both tasks to end", || async {
            let sql = "SELECT count(*) FROM tasks WHERE status = 'completed'";
            (world.db.i64(sql).await == 2).then_some(())
        })
        .await;
        world.close().await;
    }

    async fn the_file_is_followed_while_running(db: TestDb) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("newapi.json");
        write(&file, r#"{"CUSTOM_PASS_HTTP_TIMEOUT": "60s", "CUSTOM_PASS_IDLE_TIMEOUT": "3m"}"#);
        let path = file.to_str().unwrap();
        let settings =
            [("CUSTOM_PASS_CONFIG_FILE", path), ("CUSTOM_PASS_MAX_REQUEST_SIZE", "2KiB")];
        let world = World::with(db, &settings).await;
        world.model("m", fixed(30), Reply::hang()).await;
        world.model("fine", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(1_000).await;
        // The channel is known by the old settings.
        world.pay("fine", &ann).await.expect(200);

        write(&file, r#"{"CUSTOM_PASS_HTTP_TIMEOUT": "300ms", "LOG_FORMAT": "json"}"#);
        world.server.wait_for_log(&["setting_changed", "CUSTOM_PASS_HTTP_TIMEOUT", "300ms"]).await;
        world.server.wait_for_log(&["setting_needs_restart", "LOG_FORMAT"]).await;
        world.pay("m", &ann).await.expect_error(504, "TIMEOUT");

        // One that can't be used changes nothing, not even what is fine in it.
        write(&file, r#"{"CUSTOM_PASS_HTTP_TIMEOUT": "soon", "CUSTOM_PASS_UNPRICED": "reject"}"#);
        let line = world.server.wait_for_log(&["setting_refused", "soon", "500ms"]).await;
        assert!(line.contains("CUSTOM_PASS_HTTP_TIMEOUT"), "{line}");
        world.pay("m", &ann).await.expect_error(504, "TIMEOUT");

        // The environment overrides the file, and a signal takes effect at once.
        let more = r#"{"CUSTOM_PASS_MAX_REQUEST_SIZE": "1MiB", "CUSTOM_PASS_UNPRICED": "reject"}"#;
        write(&file, more);
        world.server.signal(Signal::HUP);
        world.server.wait_for_log(&["setting_changed", "CUSTOM_PASS_UNPRICED"]).await;
        let body = json!({"text": "x".repeat(4_096)});
        let answer = world.server.post("/pass/fine", &ann.key, &body).await;
        assert_eq!(answer.status, 413, "{answer:?}");
        world.pass_deadlines().await;
        world.wait_for_money(&ann, 999, 1).await;
        world.close().await;
    }
}

on_both_databases! {
    async fn root_sees_and_changes_settings(db: TestDb) {
        let world = World::with(db, &[("LOG_LEVEL", "warn")]).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let find = |all: serde_json::Value, name: &str| {
            let all = all.as_array().cloned().unwrap_or_default();
            all.into_iter().find(|one| one["key"] == name).unwrap()
        };
        let before = find(world.admin().get("/api/option").await, "CUSTOM_PASS_LOG_LEVEL");
        assert_eq!((&before["value"], &before["source"]), (&json!(""), &json!("default")));
        let secret = find(world.admin().get("/api/option").await, "SECRET_KEY");
        assert_eq!(secret["value"], "***", "{secret}");
        world.pay("m", &ann).await.expect(200);

        let change = json!({"key": "CUSTOM_PASS_LOG_LEVEL", "value": "info"});
        let answer = world.admin().call("PUT", "/api/option").json(&change).send().await;

        assert_eq!(answer.json()["data"]["source"], "runtime", "{answer:?}");
        assert!(answer.json()["message"].to_string().contains("restart"), "{answer:?}");
        world.pay("m", &ann).await.expect(200);
        world.server.wait_for_log(&["sync_request"]).await;
        let lines = world.server.log_lines();
        let calls = lines.iter().filter(|line| line.contains("sync_request")).count();
        assert_eq!(calls, 1, "the first call was below the level");
        assert!(!lines.iter().any(|line| line.contains("[INFO]") && !line.contains("custompass:")));

        for (name, value, status) in [
            ("CUSTOM_PASS_LOG_LEVEL", "loud", 422),
            ("PORT", "4000", 409),
            ("NO_SUCH", "1", 404),
        ] {
            let change = json!({"key": name, "value": value});
            let answer = world.admin().call("PUT", "/api/option").json(&change).send().await;
            assert_eq!(answer.status, status, "{name} {answer:?}");
        }
        let back = json!({"key": "CUSTOM_PASS_LOG_LEVEL", "value": null});
        world.admin().put("/api/option", &back).await;
        let after = find(world.admin().get("/api/option").await, "CUSTOM_PASS_LOG_LEVEL");
        assert_eq!(after, before);
        let sql = "SELECT count(*) FROM logs WHERE type = 'manage' AND content LIKE '%LOG_LEVEL%'";
        assert_eq!(world.db.i64(sql).await, 2);
        world.close().await;
    }

    async fn a_change_without_its_line_is_taken_back(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let put = async |value: serde_json::Value| {
            let change = json!({"key": "HTTP_PROXY", "value": value});
            world.admin().call("PUT", "/api/option").json(&change).send().await
        };
        world.db.execute(if world.db.is_postgres() {
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE 'no lines'; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON logs FOR EACH ROW
             WHEN (NEW.content LIKE '%HTTP_PROXY%') EXECUTE FUNCTION refuse()"
        } else {
            "CREATE TRIGGER refuse BEFORE INSERT ON logs WHEN NEW.content LIKE '%HTTP_PROXY%'
             BEGIN SELECT RAISE(ABORT, 'no lines'); END"
        }).await;

        assert_eq!(put(json!("http://127.0.0.1:1")).await.status, 500);

        world.pay("m", &ann).await.expect(200);
        let on = if world.db.is_postgres() { " ON logs" } else { "" };
        world.db.execute(&format!("DROP TRIGGER refuse{on}")).await;
        put(json!("http://127.0.0.1:1")).await.expect(200);
        world.pay("m", &ann).await.expect_error(502, "UPSTREAM_ERROR");
        world.close().await;
    }
}
