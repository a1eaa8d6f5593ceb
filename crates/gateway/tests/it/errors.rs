//! Every error of the contract, each once: its status, its code, its shape, and nothing more.

use crate::world::{Payer, World, by_use, fixed};
use std::time::Duration;
use testkit::{Answer, Gate, RawServer, Reply, TestDb, json, on_both_databases};

/// An error message says what to do, and reveals nothing about the installation.
#[track_caller]
fn tells_nothing(answer: &Answer, world: &World, payer: &Payer) {
    let text = answer.text();
    let upstream = world.upstream.addr().port().to_string();
    let port = world.server.addr().port().to_string();
    for secret in [
        "127.0.0.1",
        "localhost",
        &upstream,
        &port,
        "upstream-key",
        &payer.key,
        "user_id",
        "channel_id",
        "SELECT",
        "users",
        "sqlite",
        "postgres",
        "os error",
        "src/",
    ] {
        assert!(!text.contains(secret), "{secret:?} in {text}");
    }
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(!message.is_ascii(), "in Chinese: {message}");
    assert!(message.contains(" (") && message.ends_with(')'), "and English: {message}");
    let id = answer.header("X-Request-Id");
    assert_eq!(answer.json()["error"]["request_id"].as_str().map(str::to_owned), id);
}

on_both_databases! {
    async fn each_error_has_its_status_and_code(db: TestDb) {
        let world = World::open(db).await;
        world.model("dear", fixed(5_000), Reply::text("x")).await;
        world.model("no-usage", by_use(), Reply::json(&json!({"code": 0}))).await;
        world.model("broken", fixed(1), Reply::reset()).await;
        world.upstream.on("/slow", Reply::hang());
        world.channel(&["slow"], json!({"setting": {"timeout": "1s"}})).await;
        world.admin().price("slow", fixed(1)).await;
        world.channel(&["vip"], json!({"groups": ["vip"]})).await;
        let ann = world.payer(100).await;
        let limited = world.key(&ann, json!({"rate_limit_rpm": 1})).await;
        world.server.call("GET", "/pass/none").key(&limited.key).send().await;

        let post = |path: &str, key: &str| {
            world.server.call("POST", path).key(key).json(&json!({})).send()
        };
        for (answer, status, code) in [
            (post("/pass/a/../b", &ann.key).await, 400, "INVALID_REQUEST"),
            (post("/v1/chat/completions", &ann.key).await, 400, "INVALID_REQUEST"),
            (post("/pass/dear?precharge=1", &ann.key).await, 400, "INVALID_REQUEST"),
            (post("/pass/dear", "sk-unknown").await, 401, "AUTH_ERROR"),
            (post("/pass/dear", "").await, 401, "AUTH_ERROR"),
            (post("/pass/dear", &ann.key).await, 402, "INSUFFICIENT_QUOTA"),
            (post("/elsewhere", &ann.key).await, 404, "NOT_FOUND"),
            (post("/pass/vip", &limited.key).await, 429, "RATE_LIMITED"),
            (post("/pass/broken", &ann.key).await, 502, "UPSTREAM_ERROR"),
            (post("/pass/no-usage", &ann.key).await, 502, "UPSTREAM_RESPONSE"),
            (post("/pass/nowhere", &ann.key).await, 404, "MODEL_NOT_FOUND"),
            (post("/pass/slow", &ann.key).await, 504, "TIMEOUT"),
        ] {
            let answer = answer.expect_error(status, code);
            tells_nothing(&answer, &world, &ann);
            let must_say_when = matches!(status, 429 | 503);
            assert_eq!(answer.header("Retry-After").is_some(), must_say_when, "{code}");
            let kind = answer.header("Content-Type").unwrap();
            assert!(kind.starts_with("application/json"), "{kind}");
        }
        world.pass_deadlines().await;
        world.close().await;
        world.wait_for_money(&ann, 100, 0).await;
    }

    async fn an_upstreams_own_failure_passes_as_it_is_and_is_free(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(100).await;
        let body = "{\"error\": {\"message\":\"no < \\u00e9\", \"code\":\"x\"} ,\"n\":1.0e5}\n";
        for status in [400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504] {
            for (kind, price) in [("fixed", fixed(30)), ("used", by_use())] {
                let model = format!("{kind}{status}");
                let reply = Reply::raw_json(body).status(status).header("X-Why", "because");
                world.model(&model, price, reply).await;
                let answer = world.pay(&model, &ann).await.expect(status);
                assert_eq!(answer.text(), body);
                assert_eq!(answer.header("X-Why").as_deref(), Some("because"));
            }
        }
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn an_envelope_whose_code_is_not_0_passes_and_is_free(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(100).await;
        let failed = [
            "{\"code\":1,\"message\":\"no\"}", "{\"code\":\"1\",\"msg\":\"no\"}",
            "{ \"data\":{\"code\":0}, \"code\" : -3 , \"usage\":{\"prompt_tokens\":5}}",
        ];
        for (number, body) in failed.into_iter().enumerate() {
            for (kind, price) in [("fixed", fixed(30)), ("used", by_use())] {
                let model = format!("{kind}{number}");
                world.model(&model, price, Reply::raw_json(body)).await;
                assert_eq!(world.pay(&model, &ann).await.expect(200).text(), body);
            }
        }
        world.wait_for_money(&ann, 100, 0).await;
        // And these count as success.
        for (number, body) in ["{\"code\":0}", "{\"code\":\"0\"}", "{\"x\":{\"code\":1}}", "[1]"]
            .into_iter()
            .enumerate()
        {
            let model = format!("good{number}");
            world.model(&model, fixed(1), Reply::raw_json(body)).await;
            assert_eq!(world.pay(&model, &ann).await.expect(200).text(), body);
        }
        world.wait_for_money(&ann, 96, 4).await;
        world.close().await;
    }

    async fn usage_that_cannot_be_true_is_not_billed(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(100).await;
        let absurd = [
            "{}", "{\"usage\":null}", "{\"usage\":{}}", "{\"usage\":{\"prompt_tokens\":-5}}",
            "{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":-1}}",
            "{\"usage\":{\"prompt_tokens\":1e400}}", "{\"usage\":{\"prompt_tokens\":1.5}}",
            "{\"usage\":{\"prompt_tokens\":\"five\"}}", "{\"usage\":[1,2]}",
            "{\"usage\":{\"prompt_tokens\":99999999999999999999999}}",
            "{\"usage\":{\"prompt_tokens\":9223372036854775807,\"completion_tokens\":9}}",
            "{\"data\":{\"x\":{\"usage\":{\"prompt_tokens\":5}}}}",
            "not json at all, \"usage\":{\"prompt_tokens\":5}",
            "{\"usage\":{\"prompt_tokens\":5}", "",
        ];
        for (number, body) in absurd.into_iter().enumerate() {
            let model = format!("m{number}");
            world.model(&model, by_use(), Reply::raw_json(body)).await;
            let answer = world.pay(&model, &ann).await;
            assert_eq!(answer.error_code().as_deref(), Some("UPSTREAM_RESPONSE"), "{body}");
            answer.expect_error(502, "UPSTREAM_RESPONSE");
        }
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }
}

on_sqlite! {
    async fn statuses_are_mapped_and_bodies_are_not(db: TestDb) {
        let world = World::open(db).await;
        let body = json!({"error": "x"});
        world.upstream.on("/m", Reply::json(&body).status(500));
        world.upstream.on("/n", Reply::json(&body).status(418));
        world.upstream.on("/ok", Reply::json(&body).status(202));
        let mapping = json!({"status_code_mapping": {"500": 429, "202": "200"}});
        world.channel(&["m", "n", "ok"], mapping).await;
        for model in ["m", "n", "ok"] {
            world.admin().price(model, fixed(10)).await;
        }
        let ann = world.payer(100).await;

        assert_eq!(world.pay("m", &ann).await.expect(429).json(), body);
        assert_eq!(world.pay("n", &ann).await.expect(418).json(), body);
        world.wait_for_money(&ann, 100, 0).await;
        // A success keeps the status that it has.
        assert_eq!(world.pay("ok", &ann).await.expect(202).json(), body);
        assert_eq!(world.money(&ann).await.used, 10);
        world.close().await;
    }

    async fn a_redirect_to_elsewhere_is_not_followed(db: TestDb) {
        let world = World::open(db).await;
        let thief = testkit::Upstream::start().await;
        thief.otherwise(Reply::text("thanks for the key"));
        let away = format!("{}/m", thief.url());
        let ann = world.payer(100).await;
        for (number, status) in [301, 302, 303, 307, 308].into_iter().enumerate() {
            let model = format!("m{number}");
            world.model(&model, fixed(10), Reply::redirect(status, &away)).await;
            let answer = world.pay(&model, &ann).await.expect_error(502, "UPSTREAM_ERROR");
            tells_nothing(&answer, &world, &ann);
        }
        world.model("proto", fixed(10), Reply::redirect(302, "//example.com/x")).await;
        world.pay("proto", &ann).await.expect_error(502, "UPSTREAM_ERROR");

        assert_eq!(thief.count(), 0);
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn an_upstream_that_speaks_no_http(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(100).await;
        let lies: Vec<&[u8]> = vec![
            b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\x00\x02\x02\x46",
            b"HTTP/1.1 999999 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nBad Header\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"",
        ];
        for (number, lie) in lies.into_iter().enumerate() {
            let model = format!("m{number}");
            world.model(&model, fixed(10), Reply::raw(lie.to_vec())).await;
            let answer = world.pay(&model, &ann).await.expect_error(502, "UPSTREAM_ERROR");
            tells_nothing(&answer, &world, &ann);
        }
        world.pass_deadlines().await;
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn an_upstream_that_is_not_there(db: TestDb) {
        let world = World::open(db).await;
        let closed = testkit::ports::free_port();
        for (model, url) in [
            ("refused", format!("http://127.0.0.1:{closed}")),
            ("nowhere", "http://no-such-host.invalid".to_owned()),
            ("no-tls", world.upstream.url().replace("http://", "https://")),
        ] {
            world.channel(&[model], json!({"base_url": url})).await;
            world.admin().price(model, fixed(10)).await;
        }
        let ann = world.payer(100).await;
        for model in ["refused", "nowhere", "no-tls"] {
            let answer = world.pay(model, &ann).await.expect_error(502, "UPSTREAM_ERROR");
            let text = answer.text();
            assert!(!text.contains("invalid") && !text.contains(&closed.to_string()), "{text}");
        }
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn private_addresses_are_refused_unless_allowed(db: TestDb) {
        let world = World::with(db, &[("UPSTREAM_ALLOW_NETS", "")]).await;
        let mapped = format!("http://[::ffff:127.0.0.1]:{}", world.upstream.addr().port());
        let named = format!("http://localhost:{}", world.upstream.addr().port());
        let urls = [
            world.upstream.url(), mapped, named, "http://10.0.0.1".to_owned(),
            "http://169.254.169.254".to_owned(), "http://[::1]:9".to_owned(),
            "http://0.0.0.0:9".to_owned(), "http://192.168.1.1".to_owned(),
        ];
        let ann = world.payer(100).await;
        world.upstream.otherwise(Reply::text("inside"));
        for (number, url) in urls.iter().enumerate() {
            let model = format!("m{number}");
            world.channel(&[&model], json!({"base_url": url})).await;
            world.admin().price(&model, fixed(10)).await;
            let answer = world.pay(&model, &ann).await;
            assert_eq!(answer.status, 502, "{url}: {}", answer.text());
            tells_nothing(&answer, &world, &ann);
        }
        assert_eq!(world.upstream.connections(), 0, "nobody even knocked");
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn more_calls_than_allowed_get_503(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_MAX_IN_FLIGHT", "1")]).await;
        let gate = Gate::new();
        world.model("m", fixed(10), Reply::text("ok").gated(&gate)).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let running = tokio::spawn(call.send());
        world.upstream.wait_for_requests(1).await;

        let answer = world.pay("m", &ann).await.expect_error(503, "OVERLOADED");

        assert!(answer.header("Retry-After").is_some());
        gate.open();
        running.await.unwrap().expect(200);
        assert_eq!(world.money(&ann).await.used, 10);
        world.close().await;
    }

    async fn an_upstream_that_talks_without_end_fills_no_memory(db: TestDb) {
        let world = World::open(db).await;
        // A JSON reply of a model priced by use is collected, but not for ever.
        let piece = vec![b'1'; 1 << 20];
        let endless = Reply::endless(piece, Duration::ZERO);
        world.model("m", by_use(), endless.header("Content-Type", "application/json")).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let mut answer = call.stream().await;
        let mut bytes = 0;
        while bytes < 100 << 20 {
            match answer.next_chunk().await {
                Some(Ok(piece)) => bytes += piece.len(),
                _ => break,
            }
        }
        drop(answer);

        world.close().await;
        let kib = world.peak_kib();
        assert!(kib < 250 << 10, "peak {kib} KiB");
    }

    async fn an_upstream_that_drops_every_connection(db: TestDb) {
        let world = World::open(db).await;
        let rude = RawServer::start(|stream| async move { drop(stream) }).await;
        world.channel(&["m"], json!({"base_url": rude.url()})).await;
        world.admin().price("m", fixed(10)).await;
        let ann = world.payer(100).await;

        world.pay("m", &ann).await.expect_error(502, "UPSTREAM_ERROR");

        world.pass_deadlines().await;
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }
}
