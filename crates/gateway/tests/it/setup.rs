//! The admin API as set-up scripts use it, and the first start.

use crate::world::{Money, NEWAPI, Payer, World};
use std::os::unix::fs::PermissionsExt as _;
use testkit::server::{ROOT_ACCESS_TOKEN, ROOT_PASSWORD};
use testkit::{Admin, Call, Reply, Server, TestDb, json, on_both_databases};

on_both_databases! {
    async fn a_whole_set_up_is_five_calls(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/m", Reply::result(20, 80));
        let admin = world.admin();

        let made = admin.post("/api/channel", &json!({
            "name": "c", "type": 52, "base_url": world.upstream.url(), "key": "up-key",
            "models": ["m", "img/submit"], "groups": ["default"],
        })).await;
        let channel = made["id"].as_i64().unwrap();
        admin.post("/api/ability", &json!({
            "model_name": "m", "channel_type": 52, "ratio": 2.0, "completion_ratio": 1.5,
        })).await;
        admin.post("/api/group", &json!({"group_name": "vip", "ratio": 0.8})).await;
        let made = admin.post("/api/user", &json!({
            "username": "ann", "password": "a good password", "group": "vip", "quota": 1000,
        })).await;
        let user = made["id"].as_i64().unwrap();
        let made = admin.post("/api/token", &json!({
            "user_id": user, "name": "k", "unlimited_quota": true, "expired_time": -1,
        })).await;
        let key = made["key"].as_str().unwrap().to_owned();
        assert!(key.starts_with("sk-"), "{made}");
        let ann = Payer { id: user, token_id: made["id"].as_i64().unwrap(), key };

        world.pay("m", &ann).await.expect(200);
        assert_eq!(world.money(&ann).await, Money { quota: 776, used: 224, calls: 1 });
        let row = admin.user_row(user).await;
        assert_eq!((&row["quota"], &row["used_quota"]), (&json!(776), &json!(224)));
        assert_eq!(row["request_count"], 1);
        // jq '.data[] | select(.type == 52)'
        let list = admin.envelope("/api/channel").await;
        let found = list["data"].as_array().unwrap().iter().find(|it| it["type"] == 52).unwrap();
        assert_eq!(found["id"], channel);
        assert_eq!(found["models"], json!(["m", "img/submit"]));
        assert_eq!(found["groups"], json!(["default"]));
        assert!(found.get("key").is_none_or(|key| key.is_null() || key == ""), "{found}");
        assert_eq!((&list["total"], &list["page"]), (&json!(1), &json!(1)));
        assert!(list["page_size"].is_i64() && list["message"].is_string(), "{list}");
        world.close().await;
    }

    async fn prices_and_groups_are_replaced(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        for ratio in ["0.1", "0.3", "1.000001"] {
            let number: serde_json::Value = serde_json::from_str(ratio).unwrap();
            admin.ability(json!({"model_name": "m", "channel_type": 52, "ratio": number})).await;
            admin.group(json!({"group_name": "vip", "ratio": number})).await;
            // Exactly as it was written.
            let shown = admin.call("GET", "/api/ability").send().await.expect(200).text();
            assert!(shown.contains(&format!("\"ratio\":{ratio}")), "{shown}");
            let groups = admin.call("GET", "/api/group").send().await.expect(200).text();
            assert!(groups.contains(&format!("\"ratio\":{ratio}")), "{groups}");
        }
        assert_eq!(world.db.i64("SELECT count(*) FROM abilities").await, 1);
        admin.delete("/api/ability?model_name=m").await;
        assert_eq!(world.db.i64("SELECT count(*) FROM abilities").await, 0);
        world.close().await;
    }

    async fn everything_can_be_listed_read_changed_and_deleted(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        let channel = world.channel(&["a"], json!({"priority": 3})).await;
        let ann = world.payer(100).await;

        let path = format!("/api/channel/{channel}");
        admin.put("/api/channel", &json!({"id": channel, "name": "renamed"})).await;
        admin.put(&path, &json!({"models": "a, b,a", "key": ""})).await;
        let row = admin.get(&path).await;
        assert_eq!((&row["name"], &row["priority"]), (&json!("renamed"), &json!(3)));
        assert_eq!(row["models"], json!(["a", "b"]));
        let user = format!("/api/user/{}", ann.id);
        admin.put(&user, &json!({"display_name": "Ann", "group": "vip"})).await;
        let row = admin.get(&user).await;
        assert_eq!((&row["display_name"], &row["group"]), (&json!("Ann"), &json!("vip")));
        assert_eq!(row["quota"], 100);
        let token = format!("/api/token/{}", ann.token_id);
        admin.put(&token, &json!({"name": "renamed", "models": ["a"]})).await;
        let row = admin.get(&token).await;
        assert_eq!((&row["name"], &row["models"]), (&json!("renamed"), &json!(["a"])));

        for path in [&token, &user, &path] {
            admin.delete(path).await;
        }
        for path in [&token, &path] {
            admin.call("GET", path).send().await.expect(404);
        }
        // A deleted user keeps their balance, and with it a place where it is seen.
        let kept = admin.get(&user).await;
        assert!(kept["deleted_at"].is_i64(), "{kept}");
        assert_eq!(kept["quota"], 100);
        world.close().await;
    }

    async fn a_channel_can_be_tested_for_free(db: TestDb) {
        let world = World::open(db).await;
        let channel = world.model("m", json!({"ratio": 1}), Reply::result(1, 2)).await;
        let path = format!("/api/channel/test/{channel}?model=m");
        let shown = world.admin().call("GET", &path).send().await.expect(200).text();
        assert!(!shown.contains("upstream-key"), "{shown}");
        let body = json!({"channel_id": channel, "model": "m", "test_data": {"q": 5}});
        world.admin().post("/api/channel/test", &body).await;

        let requests = world.upstream.requests().await;
        let last = requests.last().unwrap();
        assert_eq!(last.json(), json!({"q": 5}));
        assert_eq!(last.header("Authorization").as_deref(), Some("Bearer upstream-key"));
        assert_eq!(world.db.i64("SELECT count(*) FROM holds").await, 0);
        world.close().await;
    }

    async fn the_first_start_makes_root_and_says_how_to_get_in(db: TestDb) {
        let mut server = Server::builder(NEWAPI, &db)
            .without("ROOT_ACCESS_TOKEN")
            .without("ROOT_PASSWORD")
            .without("SECRET_KEY")
            .start()
            .await;
        let note = server.data_dir().join("first-run.txt");
        let text = std::fs::read_to_string(&note).unwrap();
        for name in ["first-run.txt", "secret.key"] {
            let mode = server.data_dir().join(name).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let mut found = None;
        for word in text.split([' ', '\n', '=', ':', '"']).filter(|word| word.len() >= 16) {
            let me = Call::new(server.addr(), "GET", "/api/user/self").key(word).send().await;
            if me.status == 200 {
                found = Some(word.to_owned());
            }
        }
        let root = found.unwrap_or_else(|| panic!("no access token in {text:?}"));
        server.wait_for_log(&["access token", &root]).await;

        server.restart().await;
        assert_eq!(server.log_lines().join("\n").matches(&root).count(), 1, "only once");
        let me = Admin::new(server.addr(), &root).get("/api/user/self").await;
        assert_eq!((&me["username"], &me["role"]), (&json!("root"), &json!(100)));
        server.audit_clean().await;
    }

    async fn what_root_was_given_is_used_and_not_told(db: TestDb) {
        let server = Server::start(NEWAPI, &db).await;
        let me = server.admin().get("/api/user/self").await;
        assert_eq!(me["username"], "root");
        let printed = server.log_lines().join("\n");
        assert!(!printed.contains(ROOT_ACCESS_TOKEN) && !printed.contains(ROOT_PASSWORD));
        server.audit_clean().await;
    }

    async fn the_journal_can_be_read(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", json!({"fixed_quota": 10}), Reply::text("ok")).await;
        let (ann, bob) = (world.payer(100).await, world.payer(100).await);
        world.pay("m", &ann).await.expect(200);
        world.pay("m", &ann).await.expect(200);
        world.pay("m", &bob).await.expect(200);
        let admin = world.admin();

        let of_ann = admin.envelope(&format!("/api/log?user_id={}&type=consume", ann.id)).await;
        let lines = of_ann["data"].as_array().unwrap();
        assert_eq!((lines.len(), &of_ann["total"]), (2, &json!(2)));
        assert!(lines.iter().all(|it| it["quota"] == 10 && it["model_name"] == "m"), "{of_ann}");
        let request = lines[0]["request_id"].as_str().unwrap();
        let one = admin.envelope(&format!("/api/log?request_id={request}")).await;
        let kinds: Vec<_> =
            one["data"].as_array().unwrap().iter().map(|it| it["type"].clone()).collect();
        assert_eq!(kinds, [json!("consume")], "a call is one line: {one}");
        world.close().await;
    }
}

on_postgres! {
    async fn several_nodes_start_at_once_on_an_empty_database(db: TestDb) {
        let start = || Server::builder(NEWAPI, &db).start();
        let (one, two, three) = tokio::join!(start(), start(), start());
        for server in [&one, &two, &three] {
            server.admin().get("/api/user/self").await;
        }
        assert_eq!(db.i64("SELECT count(*) FROM users").await, 1);
        one.audit_clean().await;
    }
}

on_sqlite! {
    async fn the_command_line_sets_up_as_well(db: TestDb) {
        let world = World::open(db).await;
        world.channel(&["m"], json!({})).await;
        for command in ["user", "token", "channel", "price"] {
            let help = world.server.cli_ok(&[command, "--help"]).await;
            assert!(help.contains("create") || help.contains("set"), "{help}");
            world.server.cli_ok(&[command, "list"]).await;
        }
        world.server.cli_ok(&["migrate", "--check"]).await;
        world.server.cli_ok(&["check"]).await;
        world.close().await;
    }
}
