//! Who may change what: a channel's key stays where it is, root's things stay root's, and a group
//! is not kept by a key.

use crate::world::{NEWAPI, World, fixed};
use testkit::server::ROOT_PASSWORD;
use testkit::{Admin, Answer, Reply, Server, TestDb, Upstream, json, on_both_databases};

/// A user of this role, and their access token.
async fn member(server: &Server, name: &str, role: i64) -> (i64, Admin) {
    let root = server.admin();
    let user = json!({"username": name, "password": "correct horse 42", "role": role});
    let id = root.user(user).await;
    let token = root.post(&format!("/api/user/{id}/token"), &json!({})).await;
    (id, Admin::new(server.addr(), token.as_str().unwrap()))
}

async fn try_put(admin: &Admin, path: &str, body: serde_json::Value) -> Answer {
    admin.call("PUT", path).json(&body).send().await
}

/// A balance that lasts for as many paid calls as a test may wait for something with.
const ENOUGH: i64 = 1_000_000_000;

on_both_databases! {
    async fn a_channels_key_goes_nowhere_else_unless_it_is_given_again(db: TestDb) {
        let world = World::open(db).await;
        let thief = Upstream::start().await;
        thief.otherwise(Reply::text("mine"));
        let channel = world.model("m", fixed(1), Reply::text("ok")).await;
        let (_, admin) = member(&world.server, "admin", 10).await;
        let path = format!("/api/channel/{channel}");

        for (moved, field) in [
            (json!({"base_url": thief.url()}), "base_url"),
            (json!({"base_url": thief.url(), "key": ""}), "base_url"),
            (json!({"setting": {"proxy": thief.url()}}), "setting.proxy"),
            (json!({"other": "X-Other-Token"}), "other"),
        ] {
            let refused = try_put(&admin, &path, moved.clone()).await.expect(422);
            assert!(refused.text().contains(field), "{moved}: {}", refused.text());
            let wrapped = json!({"id": channel, "base_url": thief.url()});
            try_put(&admin, "/api/channel", wrapped).await.expect(422);
        }
        let mut whole = admin.get(&path).await;
        whole["weight"] = json!(7);
        try_put(&admin, &path, whole).await.expect(200);
        let ann = world.payer(100).await;
        world.pay("m", &ann).await.expect(200);
        assert_eq!(thief.count(), 0);

        // The channel's place and its key may change together.
        let both = json!({"base_url": thief.url(), "key": "another-key"});
        try_put(&admin, &path, both).await.expect(200);
        world.pay("m", &ann).await.expect(200);
        let seen = thief.requests().await;
        assert_eq!(seen[0].header("authorization").as_deref(), Some("Bearer another-key"));
        world.close().await;
    }

    async fn a_channels_key_is_presented_as_before_unless_it_is_given_again(db: TestDb) {
        let world = World::open(db).await;
        let root = world.admin();
        let document = |auth: &str| {
            let route = "[[route]]\nmatch = \"POST /x/run\"\nmodel = [\"body:/model\"]\n";
            let title = "title = { zh = \"x\", en = \"x\" }\n";
            json!({"document": format!("name = \"mine\"\n{title}[auth]\n{auth}\n{route}")})
        };
        let bearer = "header = \"authorization\"\nvalue = \"Bearer {key}\"";
        root.post("/api/protocol", &document(bearer)).await;
        let openai = json!({"protocol": "openai", "key": "up-key"});
        let channel = world.channel(&["m"], openai).await;
        let (_, admin) = member(&world.server, "admin", 10).await;
        let path = format!("/api/channel/{channel}");
        let speak = async |who: &Admin, protocol: &str| {
            try_put(who, &path, json!({"protocol": protocol})).await
        };

        for who in [&admin, &root] {
            let refused = speak(who, "anthropic").await.expect(422);
            assert!(refused.text().contains("protocol"), "{}", refused.text());
        }
        let set = json!({"ids": [channel], "set": {"copy_from": world.channel(&["o"],
            json!({"protocol": "anthropic", "key": "k"})).await, "copy": ["protocol"]}});
        admin.try_post("/api/channel/batch", &set).await.expect(422);
        let both = json!({"protocol": "anthropic", "key": "another-key"});
        try_put(&admin, &path, both).await.expect(200);
        let both = json!({"protocol": "openai", "key": "another-key"});
        try_put(&admin, &path, both).await.expect(200);
        // Where it is presented alike, nothing moves.
        speak(&admin, "mine").await.expect(200);

        // Nor does the document of a protocol that a channel has move it.
        let query = document("query = \"key\"");
        admin.try_post("/api/protocol", &query).await.expect(403);
        admin.try_post("/api/protocol", &document(bearer)).await.expect(200);
        root.post("/api/protocol", &query).await;
        world.close().await;
    }

    async fn keys_of_root_and_of_administrators_go_where_root_says(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_POLL_INTERVAL", "1s")]).await;
        let root = world.admin();
        let thief = Upstream::start().await;
        thief.otherwise(Reply::text("ok"));
        thief.on("/img/submit", Reply::json(&json!({"code": 0, "data": {"task_id": "up-1"}})));
        let done = r#"{"code":0,"data":[{"task_id":"up-1","status":"DONE"}]}"#;
        thief.on("/img/task/list-by-condition", Reply::raw_json(done));
        let (admin_id, admin) = member(&world.server, "admin", 10).await;
        let (peer_id, _) = member(&world.server, "peer", 10).await;
        let models = json!({"name": "mine", "base_url": thief.url(), "key": "up-key",
            "models": ["m", "img/submit"]});
        let channel = admin.channel(models).await;
        let path = format!("/api/channel/{channel}");
        for model in ["m", "img/submit"] {
            root.price(model, fixed(1)).await;
        }
        let (user_id, _) = member(&world.server, "ann", 1).await;
        let mut keys = Vec::new();
        for id in [1, admin_id, peer_id, user_id] {
            root.add_quota(id, 1_000, "for the test").await;
            keys.push(root.key_of(id, json!({})).await.key);
        }
        // Whose key the upstream got: that of a call, or none.
        let is_sent = async |model: &str, key: &str| {
            thief.forget();
            world.server.post(&format!("/pass/{model}"), key, &json!({})).await.expect(200);
            let seen = thief.requests().await;
            let sent = seen[0].header("x-custom-token");
            assert!(sent.is_none() || sent.as_deref() == Some(key), "{sent:?}");
            sent.is_some()
        };
        let sent = async || {
            let mut sent = Vec::new();
            for key in &keys {
                sent.push(is_sent("m", key).await);
            }
            sent
        };

        assert_eq!(sent().await, [false, true, false, true], "root, admin, peer, user");
        assert_eq!(admin.get(&path).await["placed_by"], admin_id);
        // Nor when a task is asked about.
        assert!(!is_sent("img/submit", &keys[0]).await);
        let asked = thief.wait_until("the task to be asked about", |all| {
            all.iter().any(|it| it.complete && it.path() == "/img/task/list-by-condition")
        });
        let asked = asked.await;
        assert!(asked.iter().all(|it| it.header("x-custom-token").is_none()));

        // Root takes the channel over where it is, with its key.
        try_put(&root, &path, json!({"weight": 3})).await.expect(200);
        assert_eq!(sent().await, [false, true, false, true]);
        try_put(&root, &path, json!({"key": "up-key"})).await.expect(200);
        assert_eq!(sent().await, [true; 4]);
        try_put(&admin, &path, json!({"weight": 4, "base_url": thief.url()})).await.expect(200);
        assert_eq!(sent().await, [true; 4], "what is as it was moves nothing");
        for moved in [
            json!({"other": "X-Custom-Token", "key": "up-key"}),
            json!({"setting": {"proxy": "direct"}, "key": "up-key"}),
            json!({"protocol": "openai"}),
        ] {
            try_put(&admin, &path, moved).await.expect(200);
            assert_eq!(admin.get(&path).await["placed_by"], admin_id);
            try_put(&root, &path, json!({"key": "up-key"})).await.expect(200);
            assert_eq!(root.get(&path).await["placed_by"], json!(null));
        }
        let copied = admin.post(&format!("{path}/copy"), &json!({})).await;
        assert_eq!(copied["placed_by"], admin_id);
        let again = root.post(&format!("/api/channel/{}/copy", copied["id"]), &json!({})).await;
        assert_eq!(again["placed_by"], admin_id, "a copy leads where an administrator said");
        world.close().await;
    }

    async fn root_takes_over_no_channel_by_another_change(db: TestDb) {
        let world = World::open(db).await;
        let root = world.admin();
        let (admin_id, admin) = member(&world.server, "admin", 10).await;
        let keyless = json!({"name": "mine", "base_url": world.upstream.url(), "models": ["m"]});
        let path = format!("/api/channel/{}", admin.channel(keyless).await);

        // They say nothing about the address.
        for other in [
            json!({"setting": {"proxy": "direct"}}),
            json!({"other": "X-Custom-Token"}),
            json!({"protocol": "openai"}),
        ] {
            try_put(&root, &path, other).await.expect(200);
            assert_eq!(root.get(&path).await["placed_by"], admin_id);
        }
        let moved = json!({"base_url": format!("{}/v2", world.upstream.url())});
        try_put(&root, &path, moved).await.expect(200);
        assert_eq!(root.get(&path).await["placed_by"], json!(null));
        world.close().await;
    }

    async fn a_copy_of_a_channel_has_no_key(db: TestDb) {
        let world = World::open(db).await;
        let channel = world.model("m", fixed(1), Reply::text("ok")).await;
        let (_, admin) = member(&world.server, "admin", 10).await;

        let copy = admin.post(&format!("/api/channel/{channel}/copy"), &json!({})).await;

        assert_eq!((&copy["has_key"], &copy["status"]), (&json!(false), &json!(2)));
        let test = json!({"channel_id": copy["id"], "model": "m"});
        admin.post("/api/channel/test", &test).await;
        let seen = world.upstream.requests().await;
        assert_eq!(seen.last().unwrap().header("authorization"), None);
        world.close().await;
    }

    async fn an_administrator_cannot_touch_roots_things(db: TestDb) {
        let world = World::open(db).await;
        let root = world.admin();
        let (own_id, admin) = member(&world.server, "admin", 10).await;
        let (peer, _) = member(&world.server, "peer", 10).await;
        let key = root.key_of(1, json!({})).await.id;
        let hook = json!({"url": "https://hooks.example/x"});
        let hook = root.post("/api/webhook", &hook).await["id"].as_i64().unwrap();
        root.get("/api/webhook/submission-secret").await;
        let uid = if world.db.is_postgres() {
            "'01890000-0000-7000-8000-000000000001'"
        } else {
            "x'01890000000070008000000000000001'"
        };
        world.db.execute(&format!(
            "INSERT INTO tasks (uid, user_id, channel_id, action, task_id, status, upstream_status,
                                progress)
             VALUES ({uid}, 1, 1, 'img/submit', 'up-1', 'processing', 'WORD', '5%')"
        )).await;

        let money = json!({"delta": -5, "reason": "x"});
        let of_root = json!({"user_id": 1, "name": "mine"});
        let hooked = json!({"user_id": 1, "url": "https://hooks.example/y"});
        let nothing = json!({});
        for (method, path, body) in [
            ("POST", "/api/user/1/quota".to_owned(), &money),
            ("POST", format!("/api/user/{peer}/quota"), &money),
            ("POST", "/api/token".to_owned(), &of_root),
            ("PUT", format!("/api/token/{key}"), &json!({"name": "mine"})),
            ("POST", format!("/api/token/{key}/disable"), &nothing),
            ("POST", format!("/api/token/{key}/rotate"), &nothing),
            ("DELETE", format!("/api/token/{key}/old-key"), &nothing),
            ("DELETE", format!("/api/token/{key}"), &nothing),
            ("POST", "/api/webhook".to_owned(), &hooked),
            ("PUT", format!("/api/webhook/{hook}"), &json!({"url": "https://hooks.example/z"})),
            ("POST", format!("/api/webhook/{hook}/disable"), &nothing),
            ("POST", format!("/api/webhook/{hook}/rotate"), &nothing),
            ("DELETE", format!("/api/webhook/{hook}/old-secret"), &nothing),
            ("DELETE", format!("/api/webhook/{hook}"), &nothing),
            ("POST", "/api/webhook/submission-secret?user_id=1".to_owned(), &nothing),
            ("POST", "/api/task/up-1/settle-now".to_owned(), &json!({"reason": "x"})),
            ("POST", "/api/task/up-1/fail-and-refund".to_owned(), &json!({"reason": "x"})),
            ("POST", "/api/task/up-1/requeue".to_owned(), &json!({"reason": "x"})),
            ("PUT", "/api/user/1".to_owned(), &json!({"password": "correct horse 43"})),
            ("POST", "/api/user/1/token".to_owned(), &nothing),
        ] {
            let answer = admin.call(method, &path).json(body).send().await;
            assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
        }
        assert_eq!(root.user_quota(1).await, 0);
        assert_eq!(root.get(&format!("/api/token/{key}")).await["status"], 1);
        // Their own money and keys, and those of users, are theirs to change.
        let (ann, _) = member(&world.server, "ann", 1).await;
        admin.post(&format!("/api/user/{ann}/quota"), &json!({"delta": 5, "reason": "x"})).await;
        admin.key_of(ann, json!({})).await;
        admin.key_of(own_id, json!({})).await;
        world.db.execute("DELETE FROM tasks").await;
        world.close().await;
    }

    async fn a_password_is_not_changed_without_the_old_one(db: TestDb) {
        let server = Server::start(NEWAPI, &db).await;
        let (id, admin) = member(&server, "admin", 10).await;

        let new = json!({"password": "correct horse 43"});
        try_put(&admin, &format!("/api/user/{id}"), new.clone()).await.expect(403);
        try_put(&server.admin(), "/api/user/1", new).await.expect(403);
        let wrong = json!({"old_password": "not this one", "new_password": "correct horse 43"});
        try_put(&admin, "/api/user/self/password", wrong).await.expect(422);
        for (who, old) in [(&admin, "correct horse 42"), (&server.admin(), ROOT_PASSWORD)] {
            let right = json!({"old_password": old, "new_password": "correct horse 43"});
            try_put(who, "/api/user/self/password", right).await.expect(200);
        }
        server.audit_clean().await;
    }

    async fn two_roots_cannot_take_each_other_away(db: TestDb) {
        let server = Server::start(NEWAPI, &db).await;
        let (id, other) = member(&server, "other", 100).await;
        let root = server.admin();
        let enabled = "SELECT count(*) FROM users WHERE role = 100 AND status = 1 \
                       AND deleted_at IS NULL";

        for round in 0..20 {
            let (off, role) = (json!({"status": 2}), json!({"role": 1}));
            let (own_path, path) = ("/api/user/1".to_owned(), format!("/api/user/{id}"));
            let first = async {
                let change = if round % 2 == 0 { &off } else { &role };
                try_put(&root, &path, change.clone()).await
            };
            let (one, two) = tokio::join!(first, try_put(&other, &own_path, off.clone()));
            assert!(db.i64(enabled).await >= 1, "round {round}: {} {}", one.text(), two.text());
            db.execute("UPDATE users SET role = 100, status = 1, deleted_at = NULL").await;
        }
        server.audit_clean().await;
    }

    async fn a_group_is_not_kept_by_a_key(db: TestDb) {
        let world = World::open(db).await;
        let root = world.admin();
        root.group(json!({"group_name": "vip", "ratio": "0.1"})).await;
        world.model("m", fixed(1_000), Reply::text("ok")).await;
        let (id, own) = member(&world.server, "ann", 1).await;
        root.put(&format!("/api/user/{id}"), &json!({"group": "vip"})).await;
        root.add_quota(id, ENOUGH, "for the test").await;
        let mut payers = Vec::new();
        for by in [&own, &root] {
            let token = by.key_of(id, json!({"group": "vip"})).await;
            payers.push(crate::world::Payer { id, token_id: token.id, key: token.key });
        }
        // As an earlier version kept it.
        let token = own.key_of(id, json!({})).await;
        let sql = format!("UPDATE tokens SET \"group\" = 'vip' WHERE id = {}", token.id);
        world.db.execute(&sql).await;
        payers.push(crate::world::Payer { id, token_id: token.id, key: token.key });
        let given = root.key_of(id, json!({"group": "gift"})).await;
        root.group(json!({"group_name": "gift", "ratio": "0.2"})).await;
        let charge = async |payer| {
            let answer = world.pay("m", payer).await.expect(200);
            answer.header("X-Newapi-Quota").unwrap()
        };
        for payer in &payers {
            assert_eq!(charge(payer).await, "100");
        }

        root.put(&format!("/api/user/{id}"), &json!({"group": "default"})).await;

        for payer in &payers {
            assert_eq!(charge(payer).await, "1000");
        }
        // What an administrator gave, other than the owner's, stays.
        let given = crate::world::Payer { id, token_id: given.id, key: given.key };
        assert_eq!(charge(&given).await, "200");
        let again = json!({"group": "vip"});
        try_put(&own, &format!("/api/token/{}", payers[0].token_id), again).await.expect(403);

        // So it is when the owner is moved with SQL.
        let moved = |to: &str| format!("UPDATE users SET \"group\" = '{to}' WHERE id = {id}");
        world.db.execute(&moved("vip")).await;
        let pinned = &payers[2];
        world.db.execute(&sql).await;
        testkit::eventually("the price of the group", || async {
            (charge(pinned).await == "100").then_some(())
        })
        .await;
        world.db.execute(&moved("default")).await;
        testkit::eventually("the key to follow its owner", || async {
            (charge(pinned).await == "1000").then_some(())
        })
        .await;
        world.close().await;
    }
}
