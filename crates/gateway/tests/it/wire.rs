//! What travels and what does not: paths, queries, headers, bytes.

use crate::world::{World, by_use, fixed};
use testkit::{Reply, TestDb, json};

on_sqlite! {
    async fn bytes_and_headers_come_back_unchanged(db: TestDb) {
        let world = World::open(db).await;
        let body = "{ \"n\": 12345678901234567890.50,\r\n\t\"s\":\"\\u003c<\\/é\" , \"n\":1 } \n";
        let reply = Reply::bytes("application/vnd.odd+json; charset=utf-8", body)
            .status(201)
            .header("X-Many", "one")
            .header("X-Many", "two")
            .header("ETag", "\"abc\"")
            .header("X-Latin", b"caf\xe9")
            .header("Cache-Control", "no-store");
        world.model("m", fixed(7), reply).await;
        let ann = world.payer(100).await;

        let answer = world.pay("m", &ann).await.expect(201);

        assert_eq!(answer.text(), body);
        let many: Vec<_> = answer.headers.get_all("x-many").iter().collect();
        assert_eq!(many, ["one", "two"]);
        assert_eq!(answer.header("ETag").as_deref(), Some("\"abc\""));
        assert_eq!(answer.headers["x-latin"].as_bytes(), b"caf\xe9");
        let kind = answer.header("Content-Type");
        assert_eq!(kind.as_deref(), Some("application/vnd.odd+json; charset=utf-8"));
        assert_eq!(answer.header("Content-Length"), Some(body.len().to_string()));
        assert!(answer.header("X-Request-Id").is_some());
        assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("7"));
        world.close().await;
    }

    async fn every_method_and_any_content_passes(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let odd: Vec<u8> = (0..=255).collect();

        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let call = world.server.call(method, "/pass/m?x=%20&y").key(&ann.key);
            let call = call.header("Content-Type", "application/x-odd");
            let carries = !matches!(method, "GET" | "HEAD");
            let call = if carries { call.body(odd.clone()) } else { call };
            let answer = call.send().await.expect(200);
            assert_eq!(answer.text(), if method == "HEAD" { "" } else { "ok" }, "{method}");
            let last = world.upstream.requests().await.pop().unwrap();
            assert_eq!((last.method.as_str(), last.target.as_str()), (method, "/m?x=%20&y"));
            assert_eq!(last.body, if carries { odd.clone() } else { vec![] }, "{method}");
        }
        assert_eq!(world.money(&ann).await.used, 7);
        world.close().await;
    }

    async fn what_is_priced_is_what_is_sent(db: TestDb) {
        let world = World::open(db).await;
        let models = ["org/m", "a b", "图/画", "a%2e", "plain", "a:b@c"];
        world.upstream.otherwise(Reply::text("ok"));
        world.channel(&models, json!({})).await;
        for model in models {
            world.admin().price(model, fixed(1)).await;
        }
        let ann = world.payer(100).await;
        for (sent, model, arrives) in [
            ("org/m", "org/m", "/org/m"),
            ("org%2Fm", "org/m", "/org/m"),
            ("org%2fm", "org/m", "/org/m"),
            ("%6Frg/%6d", "org/m", "/org/m"),
            ("a%20b", "a b", "/a%20b"),
            ("%E5%9B%BE/%E7%94%BB", "图/画", "/%E5%9B%BE/%E7%94%BB"),
            ("a%252e", "a%2e", "/a%252e"),
            ("plain?a=%2F..", "plain", "/plain"),
            ("a:b@c", "a:b@c", "/a:b@c"),
        ] {
            let path = format!("/pass/{sent}");
            world.server.call("POST", &path).key(&ann.key).send().await.expect(200);
            let last = world.upstream.requests().await.pop().unwrap();
            assert_eq!(last.path(), arrives, "{sent}");
            let sql = "SELECT model_name FROM logs WHERE type = 'consume' ORDER BY id DESC LIMIT 1";
            assert_eq!(world.db.text(sql).await, model, "{sent}");
        }
        world.close().await;
    }

    async fn odd_paths_are_refused_and_nothing_is_sent(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.otherwise(Reply::text("ok"));
        world.channel(&["m", "a/m"], json!({})).await;
        let ann = world.payer(100).await;
        let long = "x".repeat(201);
        for path in [
            "", "..", "../m", "a/../m", "a/..", "%2e%2e/m", "a/%2e%2E/m", "a%2f..%2fm", "a/./m",
            "%2e/m", "a//m", "a%2F%2Fm", "m/", "m%2f", "/m", "%2Fm", "a%5cm", "m%3fx", "m%23x",
            "m%00", "m%0a", "m%0d%0aX:%20y", "m%7f", "m%", "m%2", "m%zz", "%ff", "%c0%ae%c0%ae/m",
            &long,
        ] {
            let path = format!("/pass/{path}");
            let answer = world.server.call("POST", &path).key(&ann.key).send().await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.text());
            answer.expect_error(400, "INVALID_REQUEST");
        }
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }

    async fn nobody_but_us_says_precharge(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", json!(null), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        for query in [
            "precharge=true", "precharge", "precharge=false", "a=1&precharge=1", "PRECHARGE=1",
            "PreCharge=1", "%70recharge=1", "%70%72%65%63%68%61%72%67%65=1", "pre%63harge",
            "precharge%3Dtrue", "+precharge=1", "precharge+=1", "%20precharge=1", "precharge%00=1",
            "precharge[]=1", "precharge%5B%5D=1", "precharge[0]=1", "a=1;precharge=1",
            "&&precharge=1", "?precharge=1", "%2570recharge=1",
        ] {
            let path = format!("/pass/m?{query}");
            let answer = world.server.call("POST", &path).key(&ann.key).send().await;
            assert_eq!(answer.status, 400, "{query}: {}", answer.text());
            answer.expect_error(400, "INVALID_REQUEST");
        }
        assert_eq!(world.upstream.count(), 0);
        for query in ["a=precharge", "precharged=1", "my-precharge=1", "q=%E5%AD%97", ""] {
            let path = format!("/pass/m?{query}");
            world.server.call("POST", &path).key(&ann.key).send().await.expect(200);
        }
        world.close().await;
    }

    async fn keys_and_cookies_stay_here_and_the_rest_goes_on(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok").header("Set-Cookie", "s=1")).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/m").key(&ann.key)
            .header("X-Api-Key", &ann.key)
            .header("Cookie", "session=secret")
            .header("X-Custom-Token", "forged")
            .header("Idempotency-Key", "mine")
            .header("X-Request-Id", "req-42")
            .header("Connection", "X-Private")
            .header("X-Private", "1")
            .header("Keep-Alive", "timeout=5")
            .header("Proxy-Authorization", "Basic eDp5")
            .header("TE", "trailers")
            .header("User-Agent", "a client/1.0")
            .header("Accept", "text/plain")
            .header("X-Odd", b"\xe9")
            .header("X-Twice", "1")
            .header("X-Twice", "2");

        let answer = call.body("x").send().await.expect(200);

        assert_eq!(answer.header("X-Request-Id").as_deref(), Some("req-42"));
        let request = world.upstream.requests().await.pop().unwrap();
        let header = |name: &str| request.header(name);
        assert_eq!(header("Authorization").as_deref(), Some("Bearer upstream-key"));
        assert_eq!(header("X-Custom-Token"), Some(ann.key.clone()));
        assert_eq!(request.headers_named("X-Custom-Token").len(), 1);
        assert_eq!(header("Host"), Some(world.upstream.addr().to_string()));
        assert_eq!(header("X-Request-Id").as_deref(), Some("req-42"));
        assert_eq!(header("User-Agent").as_deref(), Some("a client/1.0"));
        assert_eq!(header("Accept").as_deref(), Some("text/plain"));
        assert_eq!(request.headers_named("X-Twice"), ["1", "2"]);
        assert!(request.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("x-odd") && value == b"\xe9"
        }));
        for gone in
            ["X-Api-Key", "Cookie", "X-Private", "Keep-Alive", "Proxy-Authorization", "TE"]
        {
            assert_eq!(header(gone), None, "{gone}");
        }
        // The hold is the upstream's key against doing the work twice.
        let hold = header("Idempotency-Key").unwrap().replace('-', "");
        let held = "SELECT lower(hex(hold_id)) FROM logs WHERE type = 'consume'";
        assert_eq!(world.db.text(held).await, hold.to_lowercase());
        world.close().await;
    }

    async fn the_name_of_the_user_token_header(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_HEADER_KEY", "X-General")]).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        world.upstream.on("/own", Reply::text("ok"));
        world.channel(&["own"], json!({"other": "X-Own"})).await;
        let ann = world.payer(100).await;

        world.pay("m", &ann).await.expect(200);
        world.pay("own", &ann).await.expect(200);

        let requests = world.upstream.requests().await;
        assert_eq!(requests[0].header("X-General"), Some(ann.key.clone()));
        assert_eq!(requests[1].header("X-Own"), Some(ann.key.clone()));
        assert_eq!(requests[1].header("X-General"), None);
        assert_eq!(requests[1].header("X-Custom-Token"), None);
        world.close().await;
    }

    async fn a_request_id_is_made_when_none_can_be_kept(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let long = "x".repeat(500);
        for given in ["", "two words\t", "\u{e9}", &long] {
            let call = world.server.call("POST", "/pass/m").key(&ann.key);
            let answer = call.header("X-Request-Id", given).send().await.expect(200);
            let id = answer.header("X-Request-Id").unwrap();
            assert!(id != given && id.len() >= 16 && id.len() <= 128, "{given:?} → {id:?}");
            let request = world.upstream.requests().await.pop().unwrap();
            assert_eq!(request.header("X-Request-Id"), Some(id));
        }
        world.close().await;
    }

    async fn parameters_are_put_into_json_and_nothing_else_moves(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/m", Reply::text("ok"));
        let over = "{\"temperature\": 0.10, \"top_k\": 12345678901234567890, \"stop\": null}";
        let over: serde_json::Value = json!(over);
        world.channel(&["m"], json!({"param_override": over})).await;
        world.admin().price("m", fixed(1)).await;
        let ann = world.payer(100).await;
        let body = "{ \"big\":98765432109876543210 , \"temperature\" : 1.0,\"t\":\"\\u003c\" }\n";

        let call = world.server.call("POST", "/pass/m").key(&ann.key);
        let call = call.header("Content-Type", "application/json").body(body);
        call.send().await.expect(200);

        let sent = world.upstream.requests().await.pop().unwrap().text();
        assert!(sent.contains("\"big\":98765432109876543210 , \"temperature\" : 0.10"), "{sent}");
        assert!(sent.contains("\"t\":\"\\u003c\" }\n"), "{sent}");
        assert!(sent.contains("\"top_k\":12345678901234567890"), "{sent}");
        assert!(sent.contains("\"stop\":null"), "{sent}");
        // What is no JSON object stays as it is.
        let call = world.server.call("POST", "/pass/m").key(&ann.key).body("plain text");
        call.header("Content-Type", "text/plain").send().await.expect(200);
        assert_eq!(world.upstream.requests().await.pop().unwrap().text(), "plain text");
        world.close().await;
    }

    async fn chunks_win_over_a_length(db: TestDb) {
        let world = World::open(db).await;
        let body = r#"{"code":0,"usage":{"prompt_tokens":300,"completion_tokens":400}}"#;
        let framed = |kind: &str| {
            let reply = Reply::new(200).header("Content-Type", kind).chunked();
            let reply = reply.header("Transfer-Encoding", "chunked");
            reply.header("Content-Length", "9").body(body)
        };
        world.model("m", by_use(), framed("application/json")).await;
        world.model("free", json!(null), framed("text/plain")).await;
        world.model("text", fixed(5), framed("text/plain")).await;
        let ann = world.payer(1_000).await;

        for model in ["m", "free", "text"] {
            let answer = world.pay(model, &ann).await.expect(200);
            assert_eq!(answer.text(), body, "{model}");
        }

        assert_eq!(world.money(&ann).await.used, 705);
        world.close().await;
    }

    async fn one_connection_carries_many_calls(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let mut raw = world.server.raw().await;
        let request = format!(
            "POST /pass/m HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Length: 2\r\n\r\nhi",
            ann.key
        );
        for _ in 0..5 {
            raw.send(&request).await;
            assert_eq!(raw.read_answer().await.unwrap().expect(200).text(), "ok");
        }
        // Two at once, answered in order.
        raw.send(format!("{request}{request}")).await;
        for _ in 0..2 {
            assert_eq!(raw.read_answer().await.unwrap().expect(200).text(), "ok");
        }
        assert_eq!(world.upstream.connections(), 1, "connections to the upstream are kept");
        world.close().await;
    }

    async fn an_upstream_does_not_speak_for_us(db: TestDb) {
        let world = World::open(db).await;
        let forge = |reply: Reply| {
            reply
                .header("X-Request-Id", "theirs")
                .header("X-Newapi-Quota", "0")
                .header("Idempotent-Replayed", "true")
        };
        world.model("m", fixed(7), forge(Reply::text("ok"))).await;
        world.model("s", json!({"ratio": 1}), forge(Reply::openai_stream(&["a"], 1, 1))).await;
        world.model("free", json!(null), forge(Reply::text("ok"))).await;
        world.model("fails", fixed(7), forge(Reply::text("no").status(500))).await;
        let ann = world.payer(100).await;

        for (model, status, quota) in
            [("m", 200, Some("7")), ("s", 200, None), ("free", 200, None), ("fails", 500, None)]
        {
            let call = world.server.call("POST", &format!("/pass/{model}")).key(&ann.key);
            let answer = call.header("X-Request-Id", "ours").send().await.expect(status);
            let all = |name: &str| -> Vec<String> {
                let values = answer.headers.get_all(name).iter();
                values.map(|value| value.to_str().unwrap().to_owned()).collect()
            };
            assert_eq!(all("X-Request-Id"), ["ours"], "{model}");
            assert_eq!(all("X-Newapi-Quota"), quota.into_iter().collect::<Vec<_>>(), "{model}");
            assert!(all("Idempotent-Replayed").is_empty(), "{model}");
        }
        world.close().await;
    }

    async fn priced_replies_are_asked_for_in_what_can_be_read(db: TestDb) {
        let world = World::open(db).await;
        world.model("used", json!({"ratio": 1}), Reply::result(1, 2)).await;
        world.model("free", json!(null), Reply::text("ok")).await;
        let odd = Reply::result(1, 2).header("Content-Encoding", "br");
        world.model("odd", json!({"ratio": 1}), odd).await;
        let ann = world.payer(100).await;
        let pay = |model: &str| {
            let call = world.server.call("POST", &format!("/pass/{model}")).key(&ann.key);
            call.header("Accept-Encoding", "br, zstd").send()
        };

        pay("free").await.expect(200);
        pay("used").await.expect(200);
        pay("odd").await.expect_error(502, "UPSTREAM_RESPONSE");

        let requests = world.upstream.requests().await;
        let asked: Vec<_> = requests.iter().map(|one| one.header("Accept-Encoding")).collect();
        assert_eq!(asked[0].as_deref(), Some("br, zstd"));
        let readable = asked[1].clone().unwrap_or_default();
        assert!(!readable.contains("br") && !readable.contains("zstd"), "{readable}");
        assert_eq!(world.money(&ann).await.used, 3);
        world.close().await;
    }
}
