//! Protocols in the console: an own one is checked, saved, tried out, used and deleted.

use crate::pages::Browser;
use crate::world::World;
use testkit::{ROOT_PASSWORD, Reply, TestDb, json, on_both_databases};

const MINE: &str = r#"name = "mine"
title = { zh = "我的", en = "Mine <b>" }

[auth]
header = "x-key"

[[route]]
match = "POST /v2/draw"
model = "body:/engine"
reply = "json"

[outcome]
failed = [{ at = "/state", is = ["broken"] }]

[usage.meters]
images = ["/pictures/#"]
"#;

pub fn form(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs.iter().map(|(name, value)| {
        let value: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        format!("{name}={value}")
    });
    pairs.collect::<Vec<_>>().join("&")
}

on_both_databases! {
    async fn an_own_protocol_is_made_and_used_in_the_console(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let list = root.get("/console/protocols").await.expect(200).text();
        for name in ["openai", "anthropic", "custompass"] {
            assert!(list.contains(&format!("/console/protocols/view?name={name}")), "{name}");
        }

        // A browser sends CR LF; what is wrong is said with its line, and what was typed stays.
        let document = |text: &str| form(&[("document", &text.replace('\n', "\r\n"))]);
        let bad = document(&MINE.replace("images =", "imagos ="));
        for to in ["/console/protocols/check", "/console/protocols/edit"] {
            let page = root.send(to, &bad).await.expect(422).text();
            assert!(page.contains("line 16: usage.meters.imagos"), "{page}");
            assert!(page.contains("imagos = ["), "{page}");
        }
        let checked = root.send("/console/protocols/check", &document(MINE)).await.expect(200);
        assert!(checked.text().contains("mine is in order. Calls: 1"));
        assert!(!root.get("/console/protocols").await.text().contains("name=mine"));
        let saved = root.send("/console/protocols/edit", &document(MINE)).await.expect(303);
        let to = "/console/protocols/view?name=mine&done=saved";
        assert_eq!(saved.header("location").as_deref(), Some(to));
        let shown = root.get(to).await.expect(200).text();
        assert!(shown.contains("Mine &lt;b&gt;") && !shown.contains("Mine <b>"), "{shown}");
        let kept = world.db.row("SELECT document FROM protocols").await;
        assert_eq!(kept.text("document"), MINE);
        let builtin = root.send("/console/protocols/edit", &form(&[("document",
            &MINE.replace("\"mine\"", "\"openai\""))])).await;
        assert!(builtin.expect(422).text().contains("built in"));

        let trial = form(&[
            ("protocol", "mine"), ("call", "POST /v2/draw"), ("request", r#"{"engine":"brush"}"#),
            ("reply", r#"{"state":"ok","pictures":[{},{}]}"#), ("status", "200"),
            ("content_type", "application/json"),
        ]);
        let found = root.send("/console/protocols/try", &trial).await.expect(200).text();
        for words in ["brush", "delivered", "2 images", "value=\"POST /v2/draw\""] {
            assert!(found.contains(words), "{words}: {found}");
        }
        let elsewhere = form(&[("protocol", "mine"), ("call", "GET /x"), ("status", "200")]);
        root.send("/console/protocols/try", &elsewhere).await.expect(422);

        // A channel is given the protocol in its form, and calls go by it.
        world.upstream.handle("/v2/draw", |request| match request.header("x-key").as_deref() {
            Some("up-key") => Reply::json(&json!({"state": "ok", "pictures": [{}]})),
            _ => Reply::text("whose key?").status(401),
        });
        let channel = form(&[
            ("name", "one"), ("protocol", "mine"), ("base_url", &world.upstream.url()),
            ("key", "up-key"), ("models", "brush"), ("groups", "default"),
        ]);
        root.send("/console/channels/new", &channel).await.expect(303);
        let ann = world.payer(100).await;
        let draw = json!({"engine": "brush"});
        world.server.post("/v2/draw", &ann.key, &draw).await.expect(200);

        let named = root.send("/console/protocols/delete?name=mine", "").await;
        assert!(named.expect(409).text().contains("channels that name it: 1"));
        root.send("/console/channels/1/delete", "").await.expect(303);
        root.send("/console/protocols/delete?name=mine", "").await.expect(303);
        root.get("/console/protocols/view?name=mine").await.expect(404);
        world.close().await;
    }
}
