//! Upstreams with manners of their own: connections that close, odd statuses, long headers.

use crate::world::{World, by_use, fixed};
use testkit::{Reply, Step, TestDb, eventually, json};

on_sqlite! {
    async fn a_connection_that_closed_meanwhile_is_made_anew(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok").step(Step::Close)).await;
        let ann = world.payer(1_000).await;

        for round in 1..=20 {
            world.pay("m", &ann).await.expect(200);
            assert_eq!(world.upstream.connections(), round);
            eventually("the upstream to close", || async {
                (world.upstream.open_connections() == 0).then_some(())
            })
            .await;
        }

        assert_eq!((world.upstream.count(), world.money(&ann).await.used), (20, 20));
        world.close().await;
    }

    async fn on_a_kept_connection_nothing_is_sent_twice_either(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(1_000).await;
        for (round, end) in [Reply::close(), Reply::reset()].into_iter().enumerate() {
            world.pay("m", &ann).await.expect(200);
            world.upstream.queue("/m", end);

            world.pay("m", &ann).await.expect_error(502, "UPSTREAM_ERROR");

            assert_eq!(world.upstream.count(), 2 * (round + 1));
        }
        world.pass_deadlines().await;
        world.wait_for_money(&ann, 998, 2).await;
        world.close().await;
    }

    async fn early_hints_are_not_the_answer(db: TestDb) {
        let world = World::open(db).await;
        let raw = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n\
                   HTTP/1.1 100 Continue\r\n\r\n\
                   HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        world.model("m", fixed(1), Reply::raw(raw)).await;
        let ann = world.payer(1_000).await;

        assert_eq!(world.pay("m", &ann).await.expect(200).text(), "ok");

        assert_eq!(world.money(&ann).await.used, 1);
        world.close().await;
    }

    async fn an_upgrade_is_not_offered_and_not_taken(db: TestDb) {
        let world = World::open(db).await;
        let raw = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                   Connection: Upgrade\r\n\r\n";
        world.model("m", fixed(1), Reply::raw(raw)).await;
        let ann = world.payer(1_000).await;
        let call = world.server.call("GET", "/pass/m").key(&ann.key);
        let call = call.header("Connection", "Upgrade").header("Upgrade", "websocket");

        call.send().await.expect_error(502, "UPSTREAM_ERROR");

        assert_eq!(world.upstream.requests().await[0].header("Upgrade"), None);
        world.pass_deadlines().await;
        world.wait_for_money(&ann, 1_000, 0).await;
        world.close().await;
    }

    async fn a_client_of_realtime_is_told_that_there_is_no_websocket(db: TestDb) {
        let world = World::open(db).await;
        world.channel(&["gpt-realtime"], json!({"protocol": "openai", "key": "up-key"})).await;
        let ann = world.payer(1_000).await;
        let upgrade = || {
            let call = world.server.call("GET", "/v1/realtime?model=gpt-realtime");
            call.header("Connection", "Upgrade").header("Upgrade", "websocket")
        };
        let in_protocol = format!("realtime, openai-insecure-api-key.{}", ann.key);
        // R38.
        let by_protocol = upgrade().header("Sec-WebSocket-Protocol", &in_protocol);
        for call in [upgrade().key(&ann.key), by_protocol] {
            let refused = call.send().await.expect_error(400, "INVALID_REQUEST");
            assert!(refused.text().contains("WebSocket"), "{}", refused.text());
        }
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }

    async fn replies_without_a_body(db: TestDb) {
        let world = World::open(db).await;
        world.model("m204", fixed(1), Reply::new(204).header("X-A", "b")).await;
        world.model("m304", fixed(1), Reply::new(304).header("ETag", "\"x\"")).await;
        world.model("empty", fixed(1), Reply::new(200)).await;
        world.model("used", by_use(), Reply::new(204)).await;
        let ann = world.payer(1_000).await;

        let answer = world.pay("m204", &ann).await.expect(204);
        assert_eq!(answer.header("X-A").as_deref(), Some("b"));
        world.pay("m304", &ann).await.expect(304);
        assert!(world.pay("empty", &ann).await.expect(200).body.is_empty());
        world.pay("used", &ann).await.expect_error(502, "UPSTREAM_RESPONSE");

        // Not modified: nothing was made, and nothing is charged.
        world.wait_for_money(&ann, 998, 2).await;
        world.close().await;
    }

    async fn headers_longer_than_any_reply_needs(db: TestDb) {
        let world = World::open(db).await;
        let long = Reply::text("ok").header("X-Long", "x".repeat(2 << 20));
        world.model("long", fixed(1), long).await;
        let mut many = Reply::text("ok");
        for _ in 0..3_000 {
            many = many.header("X-Many", "1");
        }
        world.model("many", fixed(1), many).await;
        let fair = Reply::text("ok").header("X-Fair", "x".repeat(8_000));
        world.model("fair", fixed(1), fair).await;
        let ann = world.payer(1_000).await;

        world.pay("long", &ann).await.expect_error(502, "UPSTREAM_ERROR");
        world.pay("many", &ann).await.expect_error(502, "UPSTREAM_ERROR");
        let answer = world.pay("fair", &ann).await.expect(200);

        assert_eq!(answer.header("X-Fair").map(|value| value.len()), Some(8_000));
        world.pass_deadlines().await;
        world.wait_for_money(&ann, 999, 1).await;
        world.close().await;
    }

    async fn a_redirect_on_the_same_host_is_the_clients_to_follow(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::redirect(302, "/elsewhere/on/it")).await;
        let ann = world.payer(1_000).await;

        let answer = world.pay("m", &ann).await;

        // Passed on as it is, or refused; in no case followed with our key.
        assert!(matches!(answer.status, 302 | 502), "{}", answer.text());
        assert_eq!(world.upstream.count(), 1);
        world.close().await;
    }

    async fn a_failing_upstreams_long_body_passes_too(db: TestDb) {
        let world = World::open(db).await;
        let body = "no ".repeat(100_000);
        world.model("m", by_use(), Reply::text(body.clone()).status(500).chunked()).await;
        let ann = world.payer(1_000).await;

        let answer = world.pay("m", &ann).await.expect(500);

        assert_eq!(answer.text(), body);
        world.wait_for_money(&ann, 1_000, 0).await;
        world.close().await;
    }

    async fn an_old_client_gets_its_answer(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("chunked").chunked()).await;
        let ann = world.payer(1_000).await;
        let mut raw = world.server.raw().await;

        raw.send(format!(
            "POST /pass/m HTTP/1.0\r\nAuthorization: {}\r\nContent-Length: 2\r\n\r\nhi",
            ann.key
        ))
        .await;
        let answer = String::from_utf8(raw.read_to_end().await).unwrap();

        assert!(answer.contains("200 OK") && answer.ends_with("chunked"), "{answer}");
        world.wait_for_money(&ann, 999, 1).await;
        world.close().await;
    }

    async fn a_form_with_two_models_or_none(db: TestDb) {
        // R43, in a form.
        let world = World::open(db).await;
        world.channel(&["a", "b"], json!({})).await;
        let ann = world.payer(1_000).await;
        let part = |name: &str, value: &str| {
            format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        for form in [
            part("model", "a") + &part("model", "b") + "--X--\r\n",
            part("prompt", "a") + "--X--\r\n",
            part("model", "a"),
            "--X".to_owned(),
            "no form".to_owned(),
        ] {
            let call = world.server.call("POST", "/v1/images/edits").key(&ann.key);
            let call = call.header("Content-Type", "multipart/form-data; boundary=X");
            let answer = call.body(form.clone()).send().await;
            assert_eq!(answer.status, 400, "{form}: {}", answer.text());
        }
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }
}
