//! Keys: how they are sent, what they permit, and that they cannot be read back.

use crate::world::{Payer, World, by_use, fixed};
use testkit::{Answer, Reply, TestDb, eventually, json, on_both_databases};

async fn house_with_model(db: TestDb) -> World {
    let world = World::open(db).await;
    world.model("m", fixed(1), Reply::text("ok")).await;
    world
}

on_both_databases! {
    async fn a_key_says_when_it_was_last_used(db: TestDb) {
        let mut world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let idle = world.key(&ann, json!({})).await;
        let used_at = |payer: &Payer| format!("/api/token/{}", payer.token_id);
        assert!(world.admin().get(&used_at(&ann)).await["last_used_at"].is_null());

        world.pay("m", &ann).await.expect(200);

        // What was noted is written at a stop, too.
        world.server.restart().await;
        assert!(world.admin().get(&used_at(&ann)).await["last_used_at"].is_i64());
        assert!(world.admin().get(&used_at(&idle)).await["last_used_at"].is_null());
        world.close().await;
    }

    async fn a_key_has_so_many_tokens_a_minute(db: TestDb) {
        let world = World::open(db).await;
        world.model("used", by_use(), Reply::result(300, 400)).await;
        world.model("fixed", fixed(1), Reply::result(300, 400)).await;
        world.model("free", json!(null), Reply::result(300, 400)).await;
        world.model("stream", by_use(), Reply::openai_stream(&["a", "b"], 300, 400)).await;
        world.model("freestream", json!(null), Reply::openai_stream(&["a"], 300, 400)).await;
        let ann = world.payer(10_000).await;

        for model in ["used", "fixed", "free", "stream", "freestream"] {
            let key = world.key(&ann, json!({"rate_limit_tpm": 1_000})).await;
            world.pay(model, &key).await.expect(200);
            // 300 are left; what it uses is known when it has ended.
            world.pay(model, &key).await.expect(200);
            let calls = world.upstream.count();

            let refused = world.pay(model, &key).await.expect_error(429, "RATE_LIMITED");

            assert!(refused.text().contains("tokens"), "{model}: {}", refused.text());
            // 400 too many, of 1000 a minute.
            let seconds: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
            assert!((1..=25).contains(&seconds), "{model}: {seconds}");
            assert_eq!(world.upstream.count(), calls, "{model}");
            world.server.call("GET", "/v1/models").key(&key.key).send().await.expect(200);
            world.pay(model, &ann).await.expect(200);
            world.admin().put(&format!("/api/token/{}", key.token_id),
                &json!({"rate_limit_tpm": 0})).await;
            eventually("the limit to be off", || async {
                (world.pay(model, &key).await.status == 200).then_some(())
            })
            .await;
        }
        world.close().await;
    }

    async fn a_key_is_nowhere_to_be_read(db: TestDb) {
        let world = house_with_model(db).await;
        let ann = world.payer(100).await;
        assert!(ann.key.starts_with("sk-") && ann.key.len() >= 40, "{}", ann.key);
        world.pay("m", &ann).await.expect(200);

        let secret = ann.key.trim_start_matches("sk-");
        for table in ["tokens", "users", "channels", "logs", "holds", "options", "idempotency"] {
            let rows = format!("{:?}", world.db.query(&format!("SELECT * FROM {table}")).await);
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            for readable in [secret, &hex, "upstream-key", testkit::server::ROOT_ACCESS_TOKEN,
                testkit::server::ROOT_PASSWORD, "correct horse 42"]
            {
                assert!(!rows.contains(readable), "{readable} stands in {table}");
            }
        }
        for path in ["/api/token", "/api/user", "/api/channel", "/api/log"] {
            let text = world.admin().envelope(path).await.to_string();
            assert!(!text.contains(secret) && !text.contains("upstream-key"), "{path}: {text}");
        }
        let one = world.admin().get(&format!("/api/token/{}", ann.token_id)).await.to_string();
        assert!(!one.contains(secret), "{one}");
        let log = world.server.log_lines().join("\n");
        assert!(!log.contains(secret) && !log.contains("upstream-key"), "{log}");
        world.close().await;
    }

    async fn a_disabled_key_or_user_is_refused_at_once(db: TestDb) {
        let world = house_with_model(db).await;
        let ann = world.payer(100).await;
        let other = world.key(&ann, json!({})).await;
        world.pay("m", &ann).await.expect(200);
        let admin = world.admin();

        admin.put(&format!("/api/token/{}", ann.token_id), &json!({"status": 2})).await;
        world.pay("m", &ann).await.expect_error(401, "AUTH_ERROR");
        world.pay("m", &other).await.expect(200);
        admin.put(&format!("/api/user/{}", ann.id), &json!({"status": 2})).await;
        world.pay("m", &other).await.expect_error(403, "FORBIDDEN");
        admin.put(&format!("/api/user/{}", ann.id), &json!({"status": 1})).await;
        world.pay("m", &other).await.expect(200);
        admin.delete(&format!("/api/token/{}", other.token_id)).await;
        world.pay("m", &other).await.expect_error(401, "AUTH_ERROR");

        assert_eq!(world.upstream.count(), 3);
        world.close().await;
    }

    async fn an_expired_key_is_refused(db: TestDb) {
        let world = house_with_model(db).await;
        let ann = world.payer(1_000_000).await;
        let hour = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let soon = i64::try_from(hour.as_secs()).unwrap() + 3_600;
        let good = world.key(&ann, json!({"expired_time": soon})).await;
        world.pay("m", &good).await.expect(200);

        let past = if world.db.is_postgres() { "now() - interval '1 second'" } else { "1" };
        let sql = format!("UPDATE tokens SET expired_at = {past} WHERE id = {}", good.token_id);
        world.db.execute(&sql).await;

        let refused = eventually("the key to expire", || async {
            let answer = world.pay("m", &good).await;
            (answer.status != 200).then_some(answer)
        })
        .await;
        refused.expect_error(401, "AUTH_ERROR");
        world.pay("m", &ann).await.expect(200);
        world.close().await;
    }
}

on_sqlite! {
    async fn the_ways_to_send_a_key(db: TestDb) {
        let world = house_with_model(db).await;
        let ann = world.payer(100).await;
        let key = &ann.key;
        let send = |name: &'static str, value: String| {
            world.server.call("POST", "/pass/m").header(name, value).send()
        };
        send("Authorization", format!("Bearer {key}")).await.expect(200);
        send("Authorization", format!("bearer {key}")).await.expect(200);
        send("Authorization", key.clone()).await.expect(200);
        send("Authorization", format!("Bearer Bearer {key}")).await.expect(200);
        send("x-api-key", key.clone()).await.expect(200);
        for (name, value) in [
            ("Authorization", format!("Basic {key}x")),
            ("Authorization", format!("Bearer {}", key.trim_start_matches("sk-"))),
            ("Authorization", format!("Bearer {key}x")),
            ("Authorization", "Bearer".to_owned()),
            ("Authorization", format!("Bearer Bearer Bearer {key}")),
            ("Authorization", format!("Bearer {}", testkit::server::ROOT_ACCESS_TOKEN)),
            ("x-api-key", String::new()),
            ("X-Other", key.clone()),
        ] {
            let shown = value.replace(key.as_str(), "KEY");
            let answer = send(name, value).await;
            assert_eq!(answer.status, 401, "{name}: {shown}");
            answer.expect_error(401, "AUTH_ERROR");
        }
        let query = format!("/pass/m?key={key}&api_key={key}&access_token={key}");
        let in_query = world.server.call("POST", &query).send().await;
        in_query.expect_error(401, "AUTH_ERROR");
        assert_eq!(world.upstream.count(), 5);
        world.close().await;
    }

    async fn a_channel_s_key_is_not_entered_with_its_scheme(db: TestDb) {
        let world = World::open(db).await;
        let channel = json!({
            "name": "c", "base_url": world.upstream.url(), "models": ["gpt"],
            "protocol": "openai", "key": "Bearer up-key",
        });
        let refused = world.admin().try_post("/api/channel", &channel).await.expect(422);
        assert!(refused.text().contains("must not contain blanks"), "{}", refused.text());
        world.close().await;
    }

    async fn a_key_may_be_held_to_models(db: TestDb) {
        let world = house_with_model(db).await;
        world.model("other", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        for models in [json!(["m", "x/submit"]), json!("m, x/submit")] {
            let narrow = world.key(&ann, json!({"models": models})).await;
            world.pay("m", &narrow).await.expect(200);
            world.pay("other", &narrow).await.expect_error(403, "FORBIDDEN");
        }
        world.close().await;
    }

    async fn a_key_may_be_held_to_addresses(db: TestDb) {
        // R42.
        let world = house_with_model(db).await;
        let ann = world.payer(100).await;
        for (list, status) in [
            ("127.0.0.1", 200), ("127.0.0.0/8", 200), ("10.0.0.1,127.0.0.1", 200),
            ("10.0.0.1", 403), ("10.0.0.0/8, 192.168.0.0/16", 403), ("::1", 403),
        ] {
            let key = world.key(&ann, json!({"allow_ips": list})).await;
            assert_eq!(world.pay("m", &key).await.status, status, "{list}");
            // A client's own claim about its address is ignored.
            let call = world.server.call("POST", "/pass/m").key(&key.key);
            let claims = ["X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP"];
            let call = claims.iter().fold(call, |call, name| call.header(name, "10.0.0.1"));
            assert_eq!(call.send().await.status, status, "{list}");
        }
        world.close().await;
    }

    async fn a_trusted_proxy_tells_the_address(db: TestDb) {
        // R42, behind a proxy.
        let world = World::with(db, &[("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let key = world.key(&ann, json!({"allow_ips": "203.0.113.7"})).await;
        let from = |address: &'static str| {
            let call = world.server.call("POST", "/pass/m").key(&key.key);
            call.header("X-Forwarded-For", address).send()
        };

        from("203.0.113.7").await.expect(200);
        from("203.0.113.8").await.expect_error(403, "FORBIDDEN");
        // The client's own claim stands left of what the proxy saw.
        from("203.0.113.7, 198.51.100.1").await.expect_error(403, "FORBIDDEN");
        world.close().await;
    }

    async fn a_key_has_a_rate(db: TestDb) {
        let world = house_with_model(db).await;
        let ann = world.payer(100).await;
        let slow = world.key(&ann, json!({"rate_limit_rpm": 3})).await;
        for _ in 0..3 {
            world.pay("m", &slow).await.expect(200);
        }

        let refused = world.pay("m", &slow).await.expect_error(429, "RATE_LIMITED");

        let seconds: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        world.pay("m", &ann).await.expect(200);
        assert_eq!(world.money(&ann).await.used, 4);
        world.close().await;
    }

    async fn a_deleted_user_is_nobody(db: TestDb) {
        let world = house_with_model(db).await;
        let ann = world.payer(100).await;
        world.admin().delete(&format!("/api/user/{}", ann.id)).await;
        let answer: Answer = world.pay("m", &ann).await;
        assert!(matches!(answer.status, 401 | 403), "{}", answer.text());
        let nobody = Payer { key: "sk-".to_owned() + &"x".repeat(48), ..ann };
        world.pay("m", &nobody).await.expect_error(401, "AUTH_ERROR");
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }
}
