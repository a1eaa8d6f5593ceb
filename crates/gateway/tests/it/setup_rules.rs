//! What the admin API refuses, and with which errors.

use crate::world::World;
use testkit::{Admin, Answer, Reply, TestDb, json, on_both_databases};

/// An answer of the admin API that is not a success.
#[track_caller]
fn refused(answer: Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["success"], false, "{body}");
    let message = body["message"].as_str().unwrap().to_owned();
    assert!(message.contains('('), "Chinese (English): {message}");
    message
}

on_both_databases! {
    async fn who_may_what(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(100).await;
        let anonymous = |method: &str, path: &str| world.server.call(method, path).send();
        for path in [
            "/api/channel", "/api/ability", "/api/group", "/api/user", "/api/token", "/api/log",
            "/api/user/self", "/api/audit/ledger", "/api/channel/1", "/api/log/self",
        ] {
            refused(anonymous("GET", path).await, 401);
            let with_key = world.server.call("GET", path).key(&ann.key).send().await;
            refused(with_key, 401);
        }
        let token = access_token(&world, ann.id).await;
        let admin = Admin::new(world.server.addr(), &token);
        assert_eq!(admin.get("/api/user/self").await["id"], ann.id);
        for path in ["/api/channel", "/api/ability", "/api/user", "/api/audit/ledger", "/api/log"] {
            refused(admin.call("GET", path).send().await, 403);
        }
        let channel = json!({"name": "x"});
        refused(admin.try_post("/api/channel", &channel).await, 403);
        let more = json!({"delta": 5, "reason": "for me"});
        refused(admin.try_post(&format!("/api/user/{}/quota", ann.id), &more).await, 403);
        world.close().await;
    }

    async fn names_are_taken_once(db: TestDb) {
        let world = World::open(db).await;
        let ann = json!({"username": "ann", "password": "a good password"});
        world.admin().user(ann.clone()).await;
        refused(world.admin().try_post("/api/user", &ann).await, 409);
        world.close().await;
    }
}

/// A new access token for a user.
pub async fn access_token(world: &World, user_id: i64) -> String {
    let admin = world.admin();
    let answer = admin.call("POST", &format!("/api/user/{user_id}/token")).send().await;
    let data = &answer.clone().expect(200).json()["data"];
    let token = data.as_str().or_else(|| data["access_token"].as_str());
    token.unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
}

on_sqlite! {
    async fn paths_methods_and_bodies(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        for path in ["/api/channel", "/api/user", "/api/status"] {
            let plain = admin.call("GET", path).send().await.expect(200);
            let slash = admin.call("GET", &format!("{path}/")).send().await.expect(200);
            assert_eq!(plain.json()["data"], slash.json()["data"], "{path}");
        }
        refused(admin.call("GET", "/api/nothing").send().await, 404);
        refused(admin.call("GET", "/api/channel/999").send().await, 404);
        refused(admin.call("GET", "/api/user/999").send().await, 404);
        refused(admin.call("PATCH", "/api/audit/ledger").send().await, 405);
        refused(admin.call("POST", "/api/user").body("{").send().await, 400);
        refused(admin.call("POST", "/api/user").body("").send().await, 400);
        let large = vec![b' '; 2 << 20];
        let answer = admin.call("POST", "/api/user").body(large).send().await;
        assert!(matches!(answer.status, 400 | 413), "{}", answer.status);
        world.close().await;
    }

    async fn a_user_header_must_be_the_right_one(db: TestDb) {
        let world = World::open(db).await;
        let me = world.admin().get("/api/user/self").await["id"].clone();
        let with = |id: String| {
            world.admin().call("GET", "/api/user/self").header("New-Api-User", id).send()
        };
        with(me.to_string()).await.expect(200);
        refused(with("999".to_owned()).await, 401);
        refused(with("me".to_owned()).await, 401);
        world.close().await;
    }

    async fn a_channels_fields_have_rules(db: TestDb) {
        let world = World::open(db).await;
        let good = json!({
            "name": "c", "type": 52, "base_url": "http://127.0.0.1:9000", "key": "k",
            "models": ["m"],
        });
        let with = |field: &str, value: serde_json::Value| {
            let mut body = good.clone();
            body[field] = value;
            body
        };
        for (field, value) in [
            ("type", json!(1)), ("base_url", json!("api.example.com")),
            ("base_url", json!("https://api.example.com/v1/")),
            ("base_url", json!("https://api.example.com/")),
            ("base_url", json!("https://u:p@api.example.com")),
            ("base_url", json!("https://api.example.com?x=1")),
            ("base_url", json!("ftp://api.example.com")), ("base_url", json!("")),
            ("key", json!("two words")), ("key", json!("two\nlines")), ("models", json!([])),
            ("models", json!(["a/../b"])), ("models", json!(5)), ("weight", json!(-1)),
            ("priority", json!("high")), ("unknown_field", json!(1)),
            ("setting", json!({"precharge": "maybe"})), ("setting", json!({"timeout": "soon"})),
            ("setting", json!({"odd": 1})), ("param_override", json!("not json")),
            ("param_override", json!([1])), ("status_code_mapping", json!({"500": "x"})),
            ("model_mapping", json!({"m": 5})), ("other", json!("Bad Header")),
        ] {
            let body = with(field, value.clone());
            let answer = world.admin().try_post("/api/channel", &body).await;
            assert_eq!(answer.status, 422, "{field} = {value}: {}", answer.text());
            let message = refused(answer, 422);
            assert!(message.contains(field), "{field} = {value}: {message}");
            if field == "base_url" {
                assert!(message.contains("配置错误"), "{message}");
            }
        }
        assert_eq!(world.db.i64("SELECT count(*) FROM channels").await, 0);
        // Blanks around a key are trimmed.
        world.upstream.on("/m", Reply::text("ok"));
        let mut body = with("key", json!("  trimmed\n"));
        body["base_url"] = json!(world.upstream.url());
        world.admin().channel(body).await;
        let ann = world.payer(0).await;
        world.pay("m", &ann).await.expect(200);
        let request = &world.upstream.requests().await[0];
        assert_eq!(request.header("Authorization").as_deref(), Some("Bearer trimmed"));
        world.close().await;
    }

    async fn the_forms_that_older_scripts_send(db: TestDb) {
        let world = World::open(db).await;
        let inner = json!({
            "name": "c", "type": 52, "base_url": "http://127.0.0.1:9000", "key": "k",
            "models": "m,img/submit", "group": "default,vip",
            "model_mapping": "{\"m\":\"n\"}", "status_code_mapping": "{\"500\":\"503\"}",
            "param_override": "{\"top_k\":12345678901234567890}",
        });
        let wrapped = json!({"mode": "single", "channel": inner});

        let id = world.admin().channel(wrapped).await;

        let row = world.admin().get(&format!("/api/channel/{id}")).await;
        assert_eq!(row["models"], json!(["m", "img/submit"]));
        assert_eq!(row["groups"], json!(["default", "vip"]));
        assert_eq!(row["model_mapping"], json!({"m": "n"}));
        assert!(row["status_code_mapping"].is_object() && row["param_override"].is_object());
        let text = world.admin().call("GET", &format!("/api/channel/{id}")).send().await.text();
        assert!(text.contains("12345678901234567890"), "{text}");
        world.close().await;
    }

    async fn prices_have_rules(db: TestDb) {
        let world = World::open(db).await;
        for body in [
            json!({"model_name": "m"}), json!({"ratio": 1}),
            json!({"model_name": "m", "ratio": -1}), json!({"model_name": "m", "ratio": "x"}),
            json!({"model_name": "m", "fixed_quota": -1}),
            json!({"model_name": "m", "fixed_quota": 1.5}),
            json!({"model_name": "m", "ratio": 1, "min_hold": -1}),
            json!({"model_name": "m", "ratio": 1, "channel_type": 1}),
            json!({"model_name": "m", "ratio": 1, "odd": 1}),
            json!({"model_name": "m/../x", "ratio": 1}), json!({"model_name": "", "ratio": 1}),
        ] {
            let answer = world.admin().try_post("/api/ability", &body).await;
            assert_eq!(answer.status, 422, "{body}: {}", answer.text());
            refused(answer, 422);
        }
        let nobody = json!({"user_id": 999, "name": "k"});
        let answer = world.admin().try_post("/api/token", &nobody).await;
        assert!(matches!(answer.status, 404 | 422), "{}", answer.text());
        world.close().await;
    }

    async fn collections_come_in_pages(db: TestDb) {
        let world = World::open(db).await;
        for number in 0..7 {
            world.channel(&[&format!("m{number}")], json!({"name": format!("c{number}")})).await;
        }
        let admin = world.admin();
        let page = admin.envelope("/api/channel?p=2&page_size=3").await;
        assert_eq!(page["data"].as_array().unwrap().len(), 3);
        let numbers = [&page["total"], &page["page"], &page["page_size"]];
        assert_eq!(numbers, [&json!(7), &json!(2), &json!(3)]);
        let same = admin.envelope("/api/channel?page=2&page_size=3").await;
        assert_eq!(page["data"], same["data"]);
        let last = admin.envelope("/api/channel?page=3&page_size=3").await;
        assert_eq!(last["data"].as_array().unwrap().len(), 1);
        let found = admin.envelope("/api/channel?model=m4").await;
        assert_eq!(found["data"].as_array().unwrap().len(), 1);
        assert_eq!(found["data"][0]["name"], "c4");
        let found = admin.envelope("/api/channel?keyword=c5&type=52&status=1&group=default").await;
        assert_eq!(found["total"], 1);
        let most = admin.envelope("/api/channel?page_size=5000").await;
        assert!(most["page_size"].as_i64().unwrap() <= 100);
        world.close().await;
    }

    async fn channels_are_switched_copied_and_kept_secret(db: TestDb) {
        let world = World::open(db).await;
        let channel = world.channel(&["m"], json!({"priority": 4})).await;
        world.upstream.on("/m", Reply::text("ok"));
        let ann = world.payer(0).await;
        let admin = world.admin();
        let post = |path: String| admin.call("POST", &path).send();

        post(format!("/api/channel/{channel}/disable")).await.expect(200);
        world.pay("m", &ann).await.expect_error(503, "NO_CHANNEL");
        post(format!("/api/channel/{channel}/enable")).await.expect(200);
        world.pay("m", &ann).await.expect(200);
        let copy = post(format!("/api/channel/{channel}/copy")).await.expect(200);
        assert!(!copy.text().contains("upstream-key"), "{}", copy.text());
        let id = copy.json()["data"]["id"].as_i64().unwrap();
        assert_ne!(id, channel);
        let row = admin.get(&format!("/api/channel/{id}")).await;
        assert_eq!((&row["models"], &row["priority"]), (&json!(["m"]), &json!(4)));
        // The copy has no key, and a key of its own is all that it lacks.
        assert_eq!(row["has_key"], json!(false));
        admin.delete(&format!("/api/channel/{channel}")).await;
        admin.put(&format!("/api/channel/{id}"), &json!({"status": 1, "key": "its-own"})).await;
        world.pay("m", &ann).await.expect(200);
        let last = world.upstream.requests().await.pop().unwrap();
        assert_eq!(last.header("Authorization").as_deref(), Some("Bearer its-own"));
        world.close().await;
    }

    async fn users_see_their_own_and_nothing_else(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/m", Reply::text("ok"));
        world.channel(&["m"], json!({})).await;
        world.admin().price("m", json!({"fixed_quota": 5})).await;
        let (ann, bob) = (world.payer(100).await, world.payer(100).await);
        world.pay("m", &ann).await.expect(200);
        let bobs = world.server.call("POST", "/pass/m").key(&bob.key);
        bobs.header("X-Request-Id", "of-bob").send().await.expect(200);
        let token = access_token(&world, ann.id).await;
        let own = Admin::new(world.server.addr(), &token);

        let log = own.envelope("/api/log/self").await;
        let lines = log["data"].as_array().unwrap();
        assert!(!lines.is_empty() && lines.iter().all(|it| it["user_id"] == ann.id), "{log}");
        refused(own.call("GET", "/api/audit/explain/of-bob").send().await, 404);
        let keys = own.envelope("/api/token").await;
        let keys = keys["data"].as_array().unwrap();
        assert!(keys.iter().all(|it| it["user_id"] == ann.id), "{keys:?}");
        refused(own.call("GET", &format!("/api/token/{}", bob.token_id)).send().await, 404);
        // A user cannot create a key for another user.
        let body = json!({"user_id": bob.id, "name": "k", "unlimited_quota": true});
        let answer = own.try_post("/api/token", &body).await;
        assert!(matches!(answer.status, 403 | 404), "{}", answer.text());
        // The old access token ends with the new one.
        access_token(&world, ann.id).await;
        refused(own.call("GET", "/api/user/self").send().await, 401);
        world.close().await;
    }
}
