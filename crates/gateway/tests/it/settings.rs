//! Settings that change while the server runs: through their file, and through root.

use crate::house::{House, fixed};
use std::path::Path;
use testkit::{Reply, Signal, TestDb, json, on_both_databases};

/// Puts a whole file in place of another, as an editor does.
fn write(path: &Path, text: &str) {
    let draft = path.with_extension("new");
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(&draft, path).unwrap();
}

on_sqlite! {
    async fn the_file_is_followed_while_running(db: TestDb) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("newapi.json");
        write(&file, r#"{"CUSTOM_PASS_HTTP_TIMEOUT": "60s", "CUSTOM_PASS_IDLE_TIMEOUT": "3m"}"#);
        let path = file.to_str().unwrap();
        let settings =
            [("CUSTOM_PASS_CONFIG_FILE", path), ("CUSTOM_PASS_MAX_REQUEST_SIZE", "2KiB")];
        let house = House::with(db, &settings).await;
        house.model("m", fixed(30), Reply::hang()).await;
        house.model("fine", fixed(1), Reply::text("ok")).await;
        let ann = house.payer(1_000).await;
        // The channel is known by the old settings.
        house.pay("fine", &ann).await.expect(200);

        write(&file, r#"{"CUSTOM_PASS_HTTP_TIMEOUT": "300ms", "LOG_FORMAT": "json"}"#);
        house.server.wait_for_log(&["setting_changed", "CUSTOM_PASS_HTTP_TIMEOUT", "300ms"]).await;
        house.server.wait_for_log(&["setting_needs_restart", "LOG_FORMAT"]).await;
        house.pay("m", &ann).await.expect_error(504, "TIMEOUT");

        // One that can't be used changes nothing, not even what is fine in it.
        write(&file, r#"{"CUSTOM_PASS_HTTP_TIMEOUT": "soon", "CUSTOM_PASS_UNPRICED": "reject"}"#);
        let line = house.server.wait_for_log(&["setting_refused", "soon", "500ms"]).await;
        assert!(line.contains("CUSTOM_PASS_HTTP_TIMEOUT"), "{line}");
        house.pay("m", &ann).await.expect_error(504, "TIMEOUT");

        // The environment wins over the file; and a signal is heard at once.
        let more = r#"{"CUSTOM_PASS_MAX_REQUEST_SIZE": "1MiB", "CUSTOM_PASS_UNPRICED": "reject"}"#;
        write(&file, more);
        house.server.signal(Signal::HUP);
        house.server.wait_for_log(&["setting_changed", "CUSTOM_PASS_UNPRICED"]).await;
        let body = json!({"text": "x".repeat(4_096)});
        let answer = house.server.post("/pass/fine", &ann.key, &body).await;
        assert_eq!(answer.status, 413, "{answer:?}");
        house.pass_deadlines().await;
        house.wait_for_money(&ann, 999, 1).await;
        house.close().await;
    }
}

on_both_databases! {
    async fn root_sees_and_changes_settings(db: TestDb) {
        let house = House::with(db, &[("LOG_LEVEL", "warn")]).await;
        house.model("m", fixed(1), Reply::text("ok")).await;
        let ann = house.payer(100).await;
        let find = |all: serde_json::Value, name: &str| {
            let all = all.as_array().cloned().unwrap_or_default();
            all.into_iter().find(|one| one["key"] == name).unwrap()
        };
        let before = find(house.admin().get("/api/option").await, "CUSTOM_PASS_LOG_LEVEL");
        assert_eq!((&before["value"], &before["source"]), (&json!(""), &json!("default")));
        let secret = find(house.admin().get("/api/option").await, "SECRET_KEY");
        assert_eq!(secret["value"], "***", "{secret}");
        house.pay("m", &ann).await.expect(200);

        let change = json!({"key": "CUSTOM_PASS_LOG_LEVEL", "value": "info"});
        let answer = house.admin().call("PUT", "/api/option").json(&change).send().await;

        assert_eq!(answer.json()["data"]["source"], "runtime", "{answer:?}");
        assert!(answer.json()["message"].to_string().contains("restart"), "{answer:?}");
        house.pay("m", &ann).await.expect(200);
        house.server.wait_for_log(&["sync_request"]).await;
        let lines = house.server.log_lines();
        let calls = lines.iter().filter(|line| line.contains("sync_request")).count();
        assert_eq!(calls, 1, "the first call was below the level");
        assert!(!lines.iter().any(|line| line.contains("[INFO]") && !line.contains("custompass:")));

        for (name, value, status) in [
            ("CUSTOM_PASS_LOG_LEVEL", "loud", 422),
            ("PORT", "4000", 409),
            ("NO_SUCH", "1", 404),
        ] {
            let change = json!({"key": name, "value": value});
            let answer = house.admin().call("PUT", "/api/option").json(&change).send().await;
            assert_eq!(answer.status, status, "{name} {answer:?}");
        }
        let back = json!({"key": "CUSTOM_PASS_LOG_LEVEL", "value": null});
        house.admin().put("/api/option", &back).await;
        let after = find(house.admin().get("/api/option").await, "CUSTOM_PASS_LOG_LEVEL");
        assert_eq!(after, before);
        let sql = "SELECT count(*) FROM logs WHERE type = 'manage' AND content LIKE '%LOG_LEVEL%'";
        assert_eq!(house.db.i64(sql).await, 2);
        house.close().await;
    }
}
