//! `newapi protocol`: documents are listed, shown, checked and tried out.

use crate::world::World;
use testkit::{TestDb, on_both_databases};

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
}
