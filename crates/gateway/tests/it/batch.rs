//! The same change of many rows: all of it or none, told before it is made.

use crate::pages::{Browser, PASSWORD, name_of};
use crate::world::{World, fixed};
use testkit::{ROOT_PASSWORD, Reply, TestDb, json, on_both_databases};

/// The fields that change of a row, as `field before → after`.
fn changes(result: &serde_json::Value, nth: usize) -> Vec<String> {
    let changes = result["items"][nth]["changes"].as_array().unwrap().iter();
    let told = |it: &serde_json::Value| {
        format!("{} {} → {}", it["field"].as_str().unwrap(), it["before"], it["after"])
    };
    changes.map(told).collect()
}

async fn actions(world: &World) -> usize {
    let journal = world.admin().envelope("/api/audit/actions?page_size=100").await;
    journal["data"].as_array().unwrap().len()
}

on_both_databases! {
    async fn channels_change_together_or_not_at_all(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        world.upstream.on("/new", Reply::text("ok"));
        let mut ids = Vec::new();
        for n in 0..3 {
            let own = json!({"name": format!("c{n}"), "priority": n,
                "setting": {"proxy": format!("http://u:secret{n}@p{n}.example:1")}});
            ids.push(world.channel(&["a", "b"], own).await);
        }
        admin.price("new", fixed(1)).await;
        let ann = world.payer(100).await;
        world.pay("new", &ann).await.expect(404);

        // Told first, and nothing is changed by that.
        let before = actions(&world).await;
        let mut ask = json!({"ids": ids, "dry_run": true,
            "set": {"add_models": ["new"], "remove_models": "b", "priority": 1}});
        let told = admin.post("/api/channel/batch", &ask).await;
        assert_eq!((&told["dry_run"], &told["changed"]), (&json!(true), &json!(3)));
        let models = r#"models ["a","b"] → ["a","new"]"#;
        assert_eq!(changes(&told, 0), [models, "priority 0 → 1"]);
        assert_eq!(changes(&told, 1), [models], "what is so already is no change");
        let path = |id: i64| format!("/api/channel/{id}");
        assert_eq!(admin.get(&path(ids[0])).await["models"], json!(["a", "b"]));
        assert_eq!(actions(&world).await, before);

        ask["dry_run"] = json!(false);
        ask["set"]["remove_models"] = json!(["b", "a"]);
        for id in &ids {
            // They would go through the proxy, which is not there.
            let direct = json!({"setting": {"proxy": "direct"}, "key": "k"});
            admin.put(&path(*id), &direct).await;
        }
        let before = actions(&world).await;
        let done = admin.post("/api/channel/batch", &ask).await;
        assert_eq!((&done["dry_run"], &done["changed"]), (&json!(false), &json!(3)));
        assert_eq!(actions(&world).await, before + 3, "each has its line of the journal");
        world.pay("new", &ann).await.expect(200);

        // One that can't be changed keeps all from changing.
        let shown = async |id: i64| world.admin().get(&path(id)).await;
        admin.put(&path(ids[2]), &json!({"models": ["only"]})).await;
        for (set, word) in [
            (json!({"remove_models": ["only"], "weight": 9}), "models"),
            (json!({"weight": -1}), "weight"),
            (json!({"copy_from": ids[0], "copy": ["base_url"]}), "copy"),
            (json!({"copy_from": 999, "copy": ["models"]}), "copy_from"),
        ] {
            let ask = json!({"ids": ids, "set": set});
            let refused = admin.call("POST", "/api/channel/batch").json(&ask).send().await;
            assert!(refused.expect(422).text().contains(word), "{set}");
        }
        let ask = json!({"ids": [ids[0], 999], "set": {"weight": 9}});
        let refused = admin.call("POST", "/api/channel/batch").json(&ask).send().await.expect(422);
        assert!(refused.text().contains("#999"), "{}", refused.text());
        assert_eq!(shown(ids[0]).await["weight"], 1);

        let off = json!({"ids": [ids[0], ids[1], ids[0]], "set": {"status": 2}});
        let done = admin.post("/api/channel/batch", &off).await;
        assert_eq!(done["items"].as_array().unwrap().len(), 2);
        assert_eq!(shown(ids[1]).await["status"], 2);
        assert_eq!(shown(ids[2]).await["status"], 1);
        let user = world.server.call("POST", "/api/channel/batch").json(&off).send().await;
        user.expect(401);
        world.close().await;
    }

    async fn fields_are_copied_but_never_where_a_key_goes(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        let source = json!({"name": "source", "priority": 7, "groups": ["vip"],
            "model_mapping": {"a": "b"},
            "setting": {"timeout": "30s", "proxy": "http://u:theirs@p.example:1"}});
        let source = world.channel(&["a"], source).await;
        let own = json!({"setting": {"concurrency": 3, "proxy": "http://u:mine@q.example:1"}});
        let target = world.channel(&["z"], own).await;
        let ask = json!({"ids": [target], "set": {"copy_from": source,
            "copy": ["groups", "priority", "model_mapping", "setting"]}});
        let done = admin.post("/api/channel/batch", &ask).await;
        assert_eq!(changes(&done, 0).len(), 4, "{done}");
        let text = done.to_string();
        assert!(!text.contains("mine") && !text.contains("theirs"), "{text}");
        let shown = admin.get(&format!("/api/channel/{target}")).await;
        assert_eq!(shown["model_mapping"], json!({"a": "b"}));
        assert_eq!((&shown["priority"], &shown["groups"]), (&json!(7), &json!(["vip"])));
        assert_eq!(shown["models"], json!(["z"]), "models were not asked for");
        let setting = json!({"timeout": "30s", "proxy": "http://u:***@q.example:1"});
        assert_eq!(shown["setting"], setting, "the proxy is its own");
        let done = admin.post("/api/channel/batch", &ask).await;
        assert_eq!(done["changed"], 0, "{done}");
        world.close().await;
    }

    async fn keys_users_and_codes_change_with_the_rights_of_one(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let admin = world.admin();
        let (ann, bob) = (world.payer(100).await, world.payer(100).await);
        let off = |ids: &[i64]| json!({"ids": ids, "set": {"status": 2}});
        let on = |ids: &[i64]| json!({"ids": ids, "set": {"status": 1}});

        // A user's own keys, and no others.
        let password = json!({"password": PASSWORD});
        admin.put(&format!("/api/user/{}", ann.id), &password).await;
        let token = admin.post(&format!("/api/user/{}/token", ann.id), &json!({})).await;
        let token = token.as_str().unwrap();
        let as_ann = |body: serde_json::Value| {
            let call = world.server.call("POST", "/api/token/batch").json(&body);
            call.header("Authorization", token).send()
        };
        as_ann(off(&[ann.token_id, bob.token_id])).await.expect(422);
        world.pay("m", &ann).await.expect(200);
        as_ann(off(&[ann.token_id])).await.expect(200);
        world.pay("m", &ann).await.expect(401);
        as_ann(on(&[ann.token_id])).await.expect(200);
        let call = world.server.call("POST", "/api/user/batch").json(&off(&[bob.id]));
        call.header("Authorization", token).send().await.expect(403);

        // An administrator can't disable themselves; the others of the batch stay enabled, too.
        let myself = admin.get("/api/user/self").await["id"].as_i64().unwrap();
        let both = admin.call("POST", "/api/user/batch").json(&off(&[bob.id, myself]));
        both.send().await.expect(409);
        world.pay("m", &bob).await.expect(200);
        let done = admin.post("/api/user/batch", &off(&[ann.id, bob.id])).await;
        assert_eq!(done["changed"], 2, "{done}");
        assert_eq!(world.pay("m", &bob).await.status, 403);

        admin.post("/api/redemption", &json!({"name": "x", "quota": 5, "count": 3})).await;
        let codes = admin.get("/api/redemption").await;
        let codes: Vec<i64> =
            codes.as_array().unwrap().iter().map(|code| code["id"].as_i64().unwrap()).collect();
        let mut ask = off(&codes);
        ask["dry_run"] = json!(true);
        assert_eq!(admin.post("/api/redemption/batch", &ask).await["changed"], 3);
        assert_eq!(admin.get(&format!("/api/redemption/{}", codes[0])).await["status"], 1);
        admin.post("/api/redemption/batch", &off(&codes)).await;
        for code in &codes {
            assert_eq!(admin.get(&format!("/api/redemption/{code}")).await["status"], 2);
        }
        world.close().await;
    }

    async fn lists_are_sorted_by_what_they_show(db: TestDb) {
        let world = World::open(db).await;
        for (name, priority) in [("b", 1), ("c", 3), ("a", 2)] {
            world.channel(&["m"], json!({"name": name, "priority": priority})).await;
        }
        let ann = world.payer(1).await;
        for name in ["own2", "own3", "own1"] {
            world.key(&ann, json!({"name": name})).await;
        }
        let admin = world.admin();
        let names = async |path: &str| {
            let list = admin.get(path).await;
            let name = |item: &serde_json::Value| item["name"].as_str().unwrap().to_owned();
            list.as_array().unwrap().iter().map(name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("/api/channel?sort=name&order=asc").await, "a b c");
        assert_eq!(names("/api/channel?sort=priority").await, "c a b");
        let keys = format!("/api/token?user_id={}&keyword=own&sort=name&order=asc", ann.id);
        assert_eq!(names(&keys).await, "own1 own2 own3");
        for path in ["/api/channel?sort=key", "/api/token?sort=key_hash", "/api/token?order=up"] {
            admin.call("GET", path).send().await.expect(422);
        }
        world.close().await;
    }

    async fn the_console_tells_what_a_batch_changes_before_it_does(db: TestDb) {
        let world = World::open(db).await;
        let one = world.channel(&["a"], json!({"name": "one"})).await;
        let two = world.channel(&["a", "b"], json!({"name": "two"})).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get(&format!("/console/channels/batch?id={one}&id={two}")).await;
        assert!(page.expect(200).text().contains("Change 2 channels"));
        let form = format!("id={one}&id={two}&add_models=b%2C%3Cx%3E&priority=4");
        let page = root.send("/console/channels/batch", &form).await.expect(200).text();
        assert!(page.contains("Apply to 2 channels") && page.contains("+ &lt;x&gt;"), "{page}");
        let path = |id: i64| format!("/api/channel/{id}");
        assert_eq!(world.admin().get(&path(one)).await["models"], json!(["a"]));
        let apply = format!("{form}&apply=1");
        root.send("/console/channels/batch", &apply).await.expect(303);
        assert_eq!(world.admin().get(&path(one)).await["models"], json!(["a", "b", "<x>"]));
        let wrong = format!("id={one}&remove_models=a%2Cb%2C%3Cx%3E&apply=1");
        let page = root.send("/console/channels/batch", &wrong).await.expect(422).text();
        assert!(page.contains("would leave no model"), "{page}");

        let ann = world.payer(1).await;
        let password = json!({"password": PASSWORD});
        world.admin().put(&format!("/api/user/{}", ann.id), &password).await;
        let name = name_of(&world, ann.id).await;
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        user.send("/console/channels/batch", &apply).await.expect(403);
        world.close().await;
    }

    async fn the_console_changes_keys_users_and_codes_together(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        let (ann, bob) = (world.payer(1).await, world.payer(1).await);
        let password = json!({"password": PASSWORD});
        admin.put(&format!("/api/user/{}", ann.id), &password).await;
        let name = name_of(&world, ann.id).await;
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;

        // A user's own keys, told before.
        let list = user.get("/console/keys").await.expect(200).text();
        assert!(list.contains("data-all") && list.contains(r#"form="batch""#), "{list}");
        let form = format!("id={}&status=2", ann.token_id);
        let page = user.send("/console/keys/batch", &form).await.expect(200).text();
        assert!(page.contains("Apply to 1 key") && page.contains("refused at once"), "{page}");
        let id = ann.token_id;
        let open = format!("SELECT count(*) FROM tokens WHERE status = 1 AND id = {id}");
        assert_eq!(world.db.i64(&open).await, 1);
        let more = format!("{form}&id={}&apply=1", bob.token_id);
        let page = user.send("/console/keys/batch", &more).await.expect(422).text();
        assert!(page.contains("Nothing was changed") && page.contains("there is no"), "{page}");
        assert_eq!(world.db.i64(&open).await, 1);
        user.send("/console/keys/batch", &format!("{form}&apply=1")).await.expect(303);
        assert_eq!(world.db.i64(&open).await, 0);

        // Users: no box at oneself, and nobody else is disabled with oneself.
        let me = admin.get("/api/user/self").await["id"].as_i64().unwrap();
        let list = root.get("/console/users").await.expect(200).text();
        let boxed = |id: i64| list.contains(&format!(r#"name="id" value="{id}""#));
        assert!(boxed(ann.id) && boxed(bob.id) && !boxed(me), "{list}");
        let enabled = "SELECT count(*) FROM users WHERE status = 1";
        let before = world.db.i64(enabled).await;
        let both = format!("id={}&id={}&status=2", ann.id, bob.id);
        root.send("/console/users/batch", &format!("{both}&id={me}&apply=1")).await.expect(422);
        user.send("/console/users/batch", &format!("{both}&apply=1")).await.expect(403);
        assert_eq!(world.db.i64(enabled).await, before);
        let page = root.send("/console/users/batch", &both).await.expect(200).text();
        assert!(page.contains("Apply to 2 users") && page.contains("sessions end"), "{page}");
        root.send("/console/users/batch", &format!("{both}&apply=1")).await.expect(303);
        assert_eq!(world.db.i64(enabled).await, before - 2);

        // Codes: none that was redeemed.
        let lot = json!({"name": "x", "quota": 5, "count": 2});
        let codes = admin.post("/api/redemption", &lot).await;
        let form = format!("code={}", codes[0].as_str().unwrap());
        root.send("/console/redeem", &form).await.expect(303);
        let list = root.get("/console/codes").await.expect(200).text();
        assert!(list.contains(r#"value="2" form="#) && !list.contains(r#"value="1" form="#));
        let page = root.send("/console/codes/batch", "id=1&id=2&status=2").await.expect(422).text();
        assert!(page.contains("(#1) has been redeemed"), "{page}");
        root.send("/console/codes/batch", "id=2&status=2&apply=1").await.expect(303);
        assert_eq!(world.db.i64("SELECT count(*) FROM redemptions WHERE status = 2").await, 1);
        root.get("/console/codes/batch").await.expect(303);
        world.close().await;
    }
}
