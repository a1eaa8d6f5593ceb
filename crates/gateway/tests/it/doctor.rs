//! `newapi doctor`: each fault is caused on purpose, found under its name, and told with its mend.

use crate::house::{House, fixed};
use serde_json::Value;
use testkit::{Reply, TestDb, json, on_both_databases};

/// The checks, and whether all is well.
async fn diagnosis(house: &House, arguments: &[&str]) -> (Vec<Value>, bool) {
    let arguments: Vec<&str> = ["doctor", "--json"].iter().chain(arguments).copied().collect();
    let output = house.server.cli(&arguments).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let checks = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (checks, output.status.success())
}

/// The one check of this name.
fn check<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    let found = checks.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no check {name}: {checks:?}"))
}

#[track_caller]
fn bad(checks: &[Value], name: &str, word: &str) {
    let check = check(checks, name);
    assert_eq!(check["state"], "bad", "{check}");
    assert!(!check["mend"].as_str().unwrap().is_empty(), "{check}");
    assert!(check.to_string().contains(word), "{check}");
}

/// A row of a task, as an operator would find it.
async fn task(house: &House, columns: &str, values: &str) {
    let uid = if house.db.is_postgres() { "md5('x')::uuid" } else { "randomblob(16)" };
    house
        .db
        .execute(&format!(
            "INSERT INTO tasks (uid, task_id, user_id, channel_id, action, {columns})
             VALUES ({uid}, 't', 1, 1, 'img/submit', {values})"
        ))
        .await;
}

on_both_databases! {
    async fn a_healthy_house_is_well(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(1), Reply::text("ok")).await;
        let (checks, well) = diagnosis(&house, &[]).await;
        assert!(well, "{checks:?}");
        for name in ["service", "metrics", "database", "schema", "audit", "tasks asked about",
            "channel 1 upstream"] {
            assert_eq!(check(&checks, name)["state"], "good", "{name}");
        }
        let shown = house.server.cli_ok(&["doctor", "--offline"]).await;
        assert!(shown.contains("✓ audit: clean"), "{shown}");
        assert!(!shown.contains("channel 1 upstream"), "{shown}");
        house.close().await;
    }

    async fn a_service_that_is_away_is_found(db: TestDb) {
        let mut house = House::open(db).await;
        house.model("m", fixed(1), Reply::text("ok")).await;
        assert!(house.server.terminate().await.success());
        let (checks, well) = diagnosis(&house, &[]).await;
        assert!(!well);
        bad(&checks, "service", "systemctl status newapi");
        house.server.start_again().await;
        house.close().await;
    }

    async fn upstreams_out_of_reach_are_told_apart(db: TestDb) {
        let house = House::open(db).await;
        for (name, url) in [
            ("nowhere", "http://127.0.0.1:1"),
            ("nameless", "http://no-such-host.invalid"),
            ("private", "http://10.0.0.1"),
        ] {
            house.channel(&["m"], json!({"name": name, "base_url": url})).await;
        }
        let (checks, well) = diagnosis(&house, &[]).await;
        assert!(!well);
        bad(&checks, "channel 1 upstream", "firewall");
        bad(&checks, "channel 2 upstream", "nslookup");
        bad(&checks, "channel 3 upstream", "UPSTREAM_ALLOW_NETS");
        house.close().await;
    }

    async fn tasks_in_trouble_are_found(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(1), Reply::text("ok")).await;
        let long_ago = if house.db.is_postgres() { "now() - interval '1 hour'" } else { "1000" };
        let columns = "status, upstream_status, created_at";
        task(&house, columns, &format!("'unknown', 'pondering', {long_ago}")).await;
        let (checks, well) = diagnosis(&house, &["--offline"]).await;
        assert!(!well);
        bad(&checks, "status words", "pondering");
        bad(&checks, "status words", "custompass_status_mapping");
        house.db.execute("DELETE FROM tasks").await;
        house.close().await;
    }
}

#[test]
fn a_locked_row_is_found_with_who_holds_it() {
    testkit::run(async {
        let house = House::open(TestDb::postgres().await).await;
        house.model("m", fixed(1), Reply::text("ok")).await;
        let held = house.db.transaction("SELECT 1 FROM users WHERE id = 1 FOR UPDATE").await;
        let found = async {
            testkit::eventually("the lock to be found", || async {
                let (checks, _) = diagnosis(&house, &["--offline"]).await;
                (check(&checks, "locked rows")["state"] == "bad").then_some(())
            })
            .await;
            let (checks, well) = diagnosis(&house, &["--offline"]).await;
            assert!(!well);
            bad(&checks, "locked rows", "pg_terminate_backend");
            drop(held);
        };
        let update = house.db.execute("UPDATE users SET display_name = 'x' WHERE id = 1");
        tokio::join!(update, found);
        house.close().await;
    });
}
