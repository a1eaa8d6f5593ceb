//! `newapi protocol`: documents are listed, shown, checked and tried out.

use crate::world::{World, fixed};
use testkit::{Reply, TestDb, eventually, json, on_both_databases};

const MINE: &str = r#"
name = "mine"
title = { zh = "我的", en = "Mine" }

[auth]
header = "x-key"

[[route]]
match = "POST /v2/draw"
model = "body:/engine"
reply = "json"

[hold.units]
images = ["/count"]

[outcome]
failed = [{ at = "/state", is = ["broken"] }]
message = "/why"

[usage.meters]
images = ["/pictures/#"]
credits = ["/cost"]
"#;

on_both_databases! {
    async fn built_in_protocols_are_listed_and_shown(db: TestDb) {
        let world = World::open(db).await;
        let listed = world.server.cli_ok(&["protocol", "list"]).await;
        for name in ["custompass", "openai", "anthropic", "gemini", "kling"] {
            assert!(listed.contains(name), "{listed}");
        }
        let listed = world.server.cli_ok(&["protocol", "list", "--json"]).await;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        assert!(listed.as_array().unwrap().iter().all(|it| it["title"]["zh"] != ""));
        // What is shown is a document that is in order.
        let shown = world.server.cli_ok(&["protocol", "show", "anthropic"]).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("copy.toml");
        std::fs::write(&file, shown).unwrap();
        let said = world.server.cli_ok(&["protocol", "check", file.to_str().unwrap()]).await;
        assert!(said.contains("anthropic is in order"), "{said}");
        assert!(said.contains("it needs another name"), "{said}");
        assert!(!world.server.cli(&["protocol", "show", "nothing"]).await.status.success());
        world.server.audit_clean().await;
    }

    async fn a_document_is_checked_and_tried(db: TestDb) {
        let world = World::open(db).await;
        let folder = tempfile::tempdir().unwrap();
        let save = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let bad = save("bad.toml", &MINE.replace("credits =", "coins =").replace("/cost", "cost"));
        let checked = world.server.cli(&["protocol", "check", &bad]).await;
        assert_eq!(checked.status.code(), Some(1));
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(said.contains("line 22: usage.meters.coins: \"coins\" is not a meter"), "{said}");
        let mine = save("mine.toml", MINE);
        let request = save("request", "POST /v2/draw HTTP/1.1\nhost: x\n\n\
            {\"engine\":\"brush-2\",\"count\":3}");
        let reply = save("reply", "HTTP/1.1 200 OK\ncontent-type: application/json\n\n\
            {\"state\":\"ok\",\"pictures\":[{},{}],\"cost\":7}");
        let arguments = ["protocol", "try", &mine, "--request", &request, "--reply", &reply];
        let said = world.server.cli_ok(&arguments).await;
        for line in ["brush-2", "images 3", "delivered", "credits 7, images 2"] {
            assert!(said.contains(line), "{line}: {said}");
        }
        let failed = save("failed", "{\"state\":\"broken\",\"why\":\"no ink\"}");
        let said = world.server.cli_ok(&["protocol", "try", &mine, "--call", "POST /v2/draw",
            "--reply", &failed, "--json"]).await;
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["reply"]["outcome"], "failed");
        assert_eq!(said["reply"]["message"], "no ink");

        let missing = world.server.cli(&["protocol", "try", "openai", "--call", "GET /x"]).await;
        assert_eq!(missing.status.code(), Some(1));
        world.server.audit_clean().await;
    }

    async fn an_own_protocol_is_live_as_it_is_saved(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        let mine = MINE;
        let saved = admin.post("/api/protocol", &json!({"document": mine})).await;
        assert_eq!((&saved["name"], &saved["built_in"]), (&json!("mine"), &json!(false)));
        world.channel(&["brush"], json!({"protocol": "mine", "key": "up-key"})).await;
        admin.price("brush", fixed(7)).await;
        let ann = world.payer(1_000).await;
        world.upstream.handle("/v2/draw", |request| {
            match (request.header("x-key").as_deref(), request.header("x-newer").as_deref()) {
                (Some("up-key"), None) => Reply::json(&json!({"state": "ok", "pictures": [{}]})),
                (None, Some("up-key")) => Reply::json(&json!({"state": "broken", "why": "ink"})),
                _ => Reply::text("whose key?").status(401),
            }
        });
        let draw = json!({"engine": "brush", "count": 1});
        // Under its own path, and under /pass as every vendor's.
        world.server.post("/v2/draw", &ann.key, &draw).await.expect(200);
        world.server.post("/pass/v2/draw", &ann.key, &draw).await.expect(200);
        assert_eq!(world.money(&ann).await.used, 14);

        // Changed with plain SQL, it is live within a moment: another header, and a failure in a
        // 200, which costs nothing.
        let newer = mine.replace("x-key", "x-newer");
        world.db.execute(&format!("UPDATE protocols SET document = '{newer}'")).await;
        eventually("the changed document", || async {
            let said = world.server.post("/v2/draw", &ann.key, &draw).await;
            (said.expect(200).json()["state"] == "broken").then_some(())
        })
        .await;
        let used = world.money(&ann).await.used;
        world.server.post("/v2/draw", &ann.key, &draw).await.expect(200);
        assert_eq!(world.money(&ann).await.used, used);

        // Gone, or broken, its channels are refused and never free.
        world.db.execute("UPDATE protocols SET document = 'name = 1'").await;
        eventually("the broken document", || async {
            let said = world.server.post("/v1/x", &ann.key, &json!({"model": "brush"})).await;
            (said.status == 503 && said.json()["error"]["code"] == "CONFIG_ERROR").then_some(())
        })
        .await;
        for path in ["/v2/draw", "/pass/v2/draw"] {
            let said = world.server.post(path, &ann.key, &draw).await;
            said.expect_error(503, "CONFIG_ERROR");
        }
        let listed = admin.get("/api/protocol").await;
        let mine = listed.as_array().unwrap().iter().find(|it| it["name"] == "mine").unwrap();
        assert!(mine["problem"].as_str().unwrap().contains("line 1"), "{mine}");
        let doctor = world.server.cli(&["doctor"]).await;
        let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(doctor.contains("protocol"), "{doctor}");
        world.close().await;
    }

    async fn a_protocol_that_is_needed_stays(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        let refused = async |document: &str, status: u16| {
            let said = admin.try_post("/api/protocol", &json!({"document": document})).await;
            said.expect(status).json()["message"].as_str().unwrap().to_owned()
        };
        let said = refused("name = 1", 422).await;
        assert!(said.contains("line 1"), "{said}");
        let said = refused(&MINE.replace("\"mine\"", "\"openai\""), 422).await;
        assert!(said.contains("built in"), "{said}");
        assert_eq!(world.db.i64("SELECT count(*) FROM protocols").await, 0);

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.toml");
        std::fs::write(&file, MINE).unwrap();
        let added = world.server.cli_ok(&["protocol", "add", file.to_str().unwrap()]).await;
        assert!(added.contains("mine is there: 1 routes"), "{added}");
        assert_eq!(world.server.cli_ok(&["protocol", "show", "mine"]).await.trim(), MINE.trim());
        let other = "name = \"more\"\ntitle = { zh = \"更\", en = \"More\" }\nbase = \"mine\"\n";
        admin.post("/api/protocol", &json!({"document": other})).await;

        // Another builds on it, then a channel names it, then nothing does.
        let delete = async || admin.call("DELETE", "/api/protocol/mine").send().await;
        assert!(delete().await.expect(409).json()["message"].to_string().contains("more"));
        admin.delete("/api/protocol/more").await;
        let channel = world.channel(&["brush"], json!({"protocol": "mine", "key": "k"})).await;
        assert!(delete().await.expect(409).json()["message"].to_string().contains("1 "));
        let moved = json!({"id": channel, "protocol": "custompass", "key": "k"});
        admin.put("/api/channel", &moved).await;
        world.server.cli_ok(&["protocol", "delete", "mine"]).await;
        delete().await.expect(404);
        admin.call("DELETE", "/api/protocol/openai").send().await.expect(409);

        // Tried out without being stored.
        let trial = json!({"document": MINE, "call": "POST /v2/draw",
            "request": "{\"engine\":\"b\",\"count\":3}",
            "reply": "{\"pictures\":[{},{}],\"cost\":7}"});
        let read = admin.post("/api/protocol/try", &trial).await;
        assert_eq!(read["request"]["units"], json!({"images": 3}));
        assert_eq!(read["reply"]["meters"], json!({"credits": 7, "images": 2}));
        let checked = admin.post("/api/protocol/check", &json!({"document": MINE})).await;
        assert_eq!(checked["routes"], 1);
        world.close().await;
    }

    async fn a_trial_refuses_what_a_call_is_refused_for(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        let refusing = MINE.replace("[hold.units]", r#"[[refuse]]
at = "/hook"
why = { zh = "不支持回调", en = "no hooks" }

[[refuse]]
query = "callback"
why = { zh = "不支持回调", en = "no callbacks" }

[[refuse]]
header = "x-hook"
why = { zh = "不支持回调", en = "no headers" }

[hold.units]"#);
        admin.post("/api/protocol", &json!({"document": refusing})).await;
        world.channel(&["b"], json!({"protocol": "mine", "key": "k"})).await;
        admin.price("b", fixed(5)).await;
        let ann = world.payer(1_000).await;
        let body = r#"{"engine":"b","count":3}"#;
        for (path, header, body) in [
            ("/v2/draw", "", r#"{"engine":"b","hook":"https://x"}"#),
            ("/v2/draw?callback=x", "", body),
            ("/v2/draw", "x-hook: 1", body),
            ("/v2/draw", "", "[1]"),
            ("/v2/draw", "", r#"{"engine":"b""#),
            ("/v2/draw", "", r#"{"count":1}"#),
            ("/v2/draw", "", ""),
            ("/v2/draw?model=b", "", body),
            ("/v2/draw", "content-type: text/plain", body),
            ("/v2/draw", "content-type: multipart/form-data; boundary=b", "--b\r\nodd"),
        ] {
            let trial = json!({"protocol": "mine", "call": format!("POST {path}"),
                "request": body, "request_headers": header});
            let tried = admin.post("/api/protocol/try", &trial).await;
            let (name, value) = header.split_once(": ").unwrap_or(("accept", "*/*"));
            let json = if name == "content-type" { value } else { "application/json" };
            let call = world.server.call("POST", &format!("/pass{path}")).key(&ann.key);
            let call = call.header("content-type", json);
            let call = if name == "content-type" { call } else { call.header(name, value) };
            let refused = call.body(body.as_bytes().to_vec()).send().await;
            let said = refused.text();
            let shown = tried["request"]["refused"]["zh"].as_str().unwrap_or("nothing").to_owned();
            let is_alike = refused.status >= 400 && said.contains(&shown);
            assert!(is_alike, "{path} {body}: {shown} {said}");
        }
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }

    async fn a_trial_shows_what_is_added_and_what_has_a_price(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        let tried = async |protocol: &str, call: &str, headers: &str, body: &str, reply: &str| {
            admin
                .post("/api/protocol/try", &json!({"protocol": protocol, "call": call,
                    "request_headers": headers, "request": body, "reply": reply}))
                .await
        };
        let chat = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"a b c"}]}"#;
        let shown = tried("openai", "POST /v1/chat/completions", "", chat, "").await;
        assert_eq!(shown["request"]["added"], json!(["/stream_options/include_usage: true"]));
        assert!(shown["request"]["refused"].is_null(), "{shown}");

        // A form's units, and those that the reply does not count.
        let form = "--b\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n3\r\n--b\r\n\
            Content-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b--\r\n";
        let of_form = "Content-Type: multipart/form-data; boundary=b";
        let shown = tried("openai", "POST /v1/images/edits", of_form, form, "{\"data\":[]}").await;
        assert_eq!(shown["request"]["units"]["images"], 3, "{shown}");
        assert_eq!(shown["request"]["model"], "m");

        let film = r#"{"prompt":"a fox"}"#;
        let shown = tried("fal", "POST /fal-ai/x", "", film, "").await;
        let why = shown["request"]["units_refused"]["seconds"]["en"].as_str().unwrap().to_owned();
        assert!(why.contains("the request has to have duration"), "{why}");
        let film = r#"{"prompt":"a fox","duration":"long"}"#;
        let shown = tried("fal", "POST /fal-ai/x", "", film, "").await;
        let why = shown["request"]["units_refused"]["seconds"]["en"].as_str().unwrap().to_owned();
        assert!(why.contains("duration of the request is not one count: long"), "{why}");

        // What a price by use counts where the reply reports nothing.
        let reply = r#"{"choices":[{"message":{"content":"one two three"}}]}"#;
        let shown = tried("openai", "POST /v1/chat/completions", "", chat, reply).await;
        assert!(shown["reply"]["charged"]["output"].as_i64().unwrap() > 0, "{shown}");
        assert!(shown["reply"]["note"].as_str().unwrap().contains("estimated"), "{shown}");
        world.close().await;
    }
}
