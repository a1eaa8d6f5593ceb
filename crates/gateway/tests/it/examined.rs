//! The health check and the nodes, through the API and the console.

use crate::pages::{Browser, PASSWORD, lively, name_of};
use crate::world::World;
use testkit::{ROOT_PASSWORD, TestDb, eventually, json, on_both_databases};

/// The checks of this state, by name.
fn named(checks: &serde_json::Value, state: &str) -> Vec<String> {
    let all = checks.as_array().unwrap().iter();
    let of_state = all.filter(|check| check["state"] == state);
    of_state.map(|check| check["name"].as_str().unwrap().to_owned()).collect()
}

on_both_databases! {
    async fn a_serving_process_examines_itself(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        let dead = json!({"name": "dead", "base_url": "http://127.0.0.1:9", "models": ["m"],
            "key": "k"});
        let created = admin.post("/api/channel", &dead).await;
        let name = format!("channel {} upstream", created["id"]);

        // The same checks as the command line's, and no word to an upstream unless asked.
        let found = admin.get("/api/doctor").await;
        let good = named(&found, "good");
        for check in ["configuration", "service", "database", "schema"] {
            assert!(good.iter().any(|it| it == check), "{check}: {found}");
        }
        assert!(!found.to_string().contains(&name), "{found}");
        // No page walks through the journal: the audit is the last that was made.
        let audit = |found: &serde_json::Value| {
            let all = found.as_array().unwrap().iter();
            let of_audit = all.filter(|check| check["name"] == "audit");
            of_audit.map(|check| check["found"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(audit(&found), ["none was made since this process was started"]);
        admin.get("/api/audit/ledger").await;
        let after = audit(&admin.get("/api/doctor").await);
        assert_eq!(after, ["clean 0 h ago: 1 users, 0 open holds"]);
        let found = admin.post("/api/doctor", &json!({"reach_out": true})).await;
        assert!(named(&found, "bad").contains(&name), "{found}");

        let nodes = admin.get("/api/node").await;
        let alive: Vec<_> = nodes.as_array().unwrap().iter().map(|node| &node["alive"]).collect();
        assert_eq!(alive, [&json!(true)], "{nodes}");
        world.close().await;
    }

    async fn a_node_tells_what_it_measures_of_itself(db: TestDb) {
        let world = World::with(db, &[("MEMORY_LIMIT", "8GiB")]).await;
        let pool = world.db.is_postgres();
        let load = eventually("a heartbeat to tell of a connection", || async {
            let nodes = world.admin().get("/api/node").await;
            let load = &nodes[0]["load"];
            (load["connections"].as_i64()? > 0).then(|| load.clone())
        })
        .await;
        assert!(load["resident_bytes"].as_i64().unwrap() > 1 << 20, "{load}");
        assert_eq!(load["memory_limit_bytes"], json!(8_i64 << 30), "{load}");
        assert_eq!(load["body_budget_bytes"], json!(256 << 20), "{load}");
        assert!(load["max_connections"].as_i64().unwrap() >= 16, "{load}");
        assert_eq!(load["database_max"].is_i64(), pool, "{load}");
        assert_eq!(load["database_in_use"].is_i64(), pool, "{load}");
        assert_eq!(load["redis_answers"], json!(null), "{load}");

        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get("/console/doctor").await.expect(200).text();
        for words in [" MiB / 8.0 GiB", " / 256 MiB"] {
            assert!(page.contains(words), "{words}: {page}");
        }
        world.close().await;
    }

    async fn health_is_shown_to_root_and_nodes_to_administrators(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get("/console/doctor").await.expect(200).text();
        for words in ["every setting can be used", "In order", "serving"] {
            assert!(page.contains(words), "{words}: {page}");
        }
        root.send("/console/doctor", "").await.expect(200);

        world.admin().put(&format!("/api/user/{ann}"), &json!({"role": 10})).await;
        let name = name_of(&world, ann).await;
        let staff = Browser::login(&world.server, &name, PASSWORD).await;
        let page = staff.get("/console/doctor").await.expect(200).text();
        assert!(page.contains("serving") && !page.contains("every setting can be used"), "{page}");
        let token = staff.get("/api/doctor").await;
        assert_eq!(token.status, 403, "{}", token.text());
        world.close().await;
    }
}
