//! Request bodies: large ones pass, too large ones are refused before they are read whole.

use crate::world::{World, by_use, fixed};
use testkit::{Reply, TestDb, json};

const LIMIT: &[(&str, &str)] = &[("CUSTOM_PASS_MAX_REQUEST_SIZE", "64KiB")];

on_sqlite! {
    async fn a_large_body_arrives_byte_for_byte(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(3), Reply::text("ok")).await;
        world.upstream.on("/v1/files", Reply::text("ok"));
        let ann = world.payer(100).await;
        let body: Vec<u8> = (0..=250).cycle().take(20 << 20).collect();

        let call = world.server.call("POST", "/pass/m").key(&ann.key).body(body.clone());
        call.send().await.expect(200);

        let request = world.upstream.requests().await.pop().unwrap();
        assert!(request.body == body);
        assert_eq!(request.header("Content-Length"), Some(body.len().to_string()));
        assert_eq!(world.money(&ann).await.used, 3);
        world.close().await;
    }

    async fn a_chunked_body_stays_a_stream(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(3), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let piece = vec![b'x'; 200_000];
        let mut raw = world.server.raw().await;

        raw.send(head("/pass/m", &ann.key, "Transfer-Encoding: chunked")).await;
        raw.send(format!("{:x}\r\n", piece.len())).await.send(&piece).await.send("\r\n").await;
        // The first piece is with the upstream before the second was sent.
        let first = 200_000;
        world.upstream.wait_until("the first piece", |all| {
            all.last().is_some_and(|one| one.received >= first)
        })
        .await;
        raw.send("3\r\nend\r\n0\r\n\r\n").await;

        raw.read_answer().await.unwrap().expect(200);
        assert_eq!(world.upstream.requests().await.pop().unwrap().received, first + 3);
        assert_eq!(world.money(&ann).await.used, 3);
        world.close().await;
    }

    async fn a_body_that_says_it_is_too_large_is_not_read(db: TestDb) {
        let world = World::with(db, LIMIT).await;
        world.model("m", fixed(3), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let mut raw = world.server.raw().await;

        raw.send(head("/pass/m", &ann.key, "Content-Length: 65537")).await;

        raw.read_answer().await.unwrap().expect_error(413, "PAYLOAD_TOO_LARGE");
        assert_eq!(world.upstream.count(), 0);
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn an_endless_body_is_refused_at_the_limit(db: TestDb) {
        let world = World::with(db, LIMIT).await;
        world.model("fixed", fixed(3), Reply::text("ok")).await;
        world.model("used", by_use(), Reply::result(1, 1)).await;
        world.channel(&["gpt"], json!({})).await;
        let ann = world.payer(100).await;
        let piece = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
        for path in ["/pass/fixed", "/pass/used", "/v1/chat/completions"] {
            let mut raw = world.server.raw().await;
            let headers = "Content-Type: application/json\r\nTransfer-Encoding: chunked";
            raw.send(head(path, &ann.key, headers)).await;
            for _ in 0..9 {
                raw.send(&piece).await;
            }
            let answer = raw.read_answer().await.unwrap();
            answer.expect_error(413, "PAYLOAD_TOO_LARGE");
        }
        let whole = world.upstream.requests().await.iter().filter(|one| one.complete).count();
        assert_eq!(whole, 0, "nothing cut off was passed for whole");
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn a_bomb_is_counted_after_decompression(db: TestDb) {
        let world = World::with(db, LIMIT).await;
        world.model("m", fixed(3), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let bomb = testkit::upstream::gzip(&vec![b' '; 10 << 20]);
        assert!(bomb.len() < 64 << 10);
        let fair = testkit::upstream::gzip(b"{\"a\":1}");

        let call = |body: Vec<u8>| {
            let call = world.server.call("POST", "/pass/m").key(&ann.key);
            call.header("Content-Encoding", "gzip").body(body).send()
        };
        call(bomb).await.expect_error(413, "PAYLOAD_TOO_LARGE");
        assert_eq!(world.upstream.count(), 0);
        call(fair.clone()).await.expect(200);

        let request = world.upstream.requests().await.pop().unwrap();
        assert_eq!(request.body, fair, "passed on as it came");
        assert_eq!(request.header("Content-Encoding").as_deref(), Some("gzip"));
        assert_eq!(world.money(&ann).await.used, 3);
        world.close().await;
    }

    async fn what_cannot_be_read_names_no_model(db: TestDb) {
        let world = World::with(db, LIMIT).await;
        world.channel(&["gpt"], json!({})).await;
        let ann = world.payer(100).await;
        let twice = testkit::upstream::gzip(&testkit::upstream::gzip(b"{\"model\":\"gpt\"}"));
        let truncated = testkit::upstream::gzip(b"{\"model\":\"gpt\"}")[..12].to_vec();
        for (coding, body) in [
            ("gzip, gzip", twice), ("gzip", truncated), ("gzip", b"not gzip".to_vec()),
            ("br", b"{\"model\":\"gpt\"}".to_vec()), ("odd", vec![1, 2, 3]),
        ] {
            let call = world.server.call("POST", "/v1/chat/completions").key(&ann.key);
            let call = call.header("Content-Type", "application/json").body(body);
            let answer = call.header("Content-Encoding", coding).send().await;
            assert_eq!(answer.status, 400, "{coding}: {}", answer.text());
            answer.expect_error(400, "INVALID_REQUEST");
        }
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }

    async fn a_client_that_breaks_off_pays_nothing(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(30), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let large = vec![b'x'; 300_000];

        let mut raw = world.server.raw().await;
        raw.send(head("/pass/m", &ann.key, "Content-Length: 1000")).await.send("half").await;
        raw.reset();
        let mut raw = world.server.raw().await;
        raw.send(head("/pass/m", &ann.key, "Content-Length: 1000000")).await.send(&large).await;
        world.upstream.wait_for_heads(1).await;
        raw.reset();

        world.upstream.wait_until("the upstream to be told", |all| {
            all.iter().all(|one| !one.complete)
        })
        .await;
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn an_upstream_that_answers_early_is_heard(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(30), Reply::text("-")).await;
        let refusal = json!({"error": "too large for me"});
        world.upstream.on_head("/m", Reply::json(&refusal).status(413).last());
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).body(vec![b'x'; 1 << 20]);
        let answer = call.send().await;

        assert_eq!(answer.status, 413, "{}", answer.text());
        assert_eq!(answer.json(), refusal);
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn a_refusal_is_heard_by_those_who_send_first_and_listen_later(db: TestDb) {
        let world = World::open(db).await;
        world.model("dear", fixed(5_000), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let body = vec![b'x'; 1 << 20];
        for (path, key, status) in [
            ("/pass/dear", ann.key.as_str(), 402), ("/pass/dear", "sk-unknown", 401),
            ("/pass/a/../b", &ann.key, 400), ("/pass/none", &ann.key, 404),
            ("/elsewhere", &ann.key, 404), ("/v1/chat/completions", &ann.key, 415),
        ] {
            for _ in 0..5 {
                let mut raw = world.server.raw().await;
                raw.send(head(path, key, &format!("Content-Length: {}", body.len()))).await;
                raw.send(&body).await;
                let answer = raw.read_answer().await;
                let answer = answer.unwrap_or_else(|| panic!("{path}: cut before {status}"));
                assert_eq!(answer.status, status, "{path}");
            }
        }
        world.close().await;
    }

    async fn a_large_body_is_not_held_for_who_cannot_pay(db: TestDb) {
        let world = World::open(db).await;
        world.model("dear", fixed(30), Reply::text("ok")).await;
        let ann = world.payer(29).await;
        for (path, header, code) in [
            ("/v1/chat/completions", "Content-Type: application/json", "insufficient_quota"),
            ("/pass/dear", "Idempotency-Key: k", "INSUFFICIENT_QUOTA"),
        ] {
            let mut raw = world.server.raw().await;
            raw.send(head(path, &ann.key, &format!("{header}\r\nContent-Length: 1000000"))).await;

            // Most of it has not been sent.
            raw.send(vec![b' '; 200_000]).await;

            raw.read_answer().await.unwrap().expect_error(402, code);
        }
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }

    async fn expect_continue_is_answered(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(30), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let mut raw = world.server.raw().await;

        raw.send(head("/pass/m", &ann.key, "Content-Length: 2\r\nExpect: 100-continue")).await;
        raw.read_until("100 Continue\r\n\r\n").await;
        raw.send("hi").await;

        assert_eq!(raw.read_answer().await.unwrap().expect(200).text(), "ok");
        world.close().await;
    }
}

/// The head of a request, with one more header.
fn head(path: &str, key: &str, header: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{header}\r\n\r\n")
}
