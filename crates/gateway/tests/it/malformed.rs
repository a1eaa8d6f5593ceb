//! What no client should send: a clear answer or a closed door, and nothing lost.

use crate::world::{Money, World, fixed};
use testkit::{Gate, Reply, TestDb};

on_sqlite! {
    async fn what_is_no_http_is_refused(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(30), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let key = &ann.key;
        let long = "x".repeat(200_000);
        let many = "X-A: b\r\n".repeat(5_000);
        for request in [
            "garbage\r\n\r\n".to_owned(),
            "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\r\n\r\n".to_owned(),
            "GET\r\n\r\n".to_owned(),
            format!("POST /pass/m HTTP/9.9\r\nAuthorization: {key}\r\n\r\n"),
            format!("POST /pass/m HTTP/1.1\r\nAuthorization: {key}\r\nBad Name: x\r\n\r\n"),
            format!("POST /pass/m HTTP/1.1\r\nAuthorization: {key}\r\nNoColon\r\n\r\n"),
            format!("POST /pass/m HTTP/1.1\r\nAuthorization: {key}\r\nX: a\0b\r\n\r\n"),
            format!("POST /pass/m HTTP/1.1\r\nAuthorization: {key}\r\nContent-Length: -1\r\n\r\n"),
            format!("POST /pass/m HTTP/1.1\r\nAuthorization: {key}\r\nContent-Length: x\r\n\r\n"),
            format!(
                "POST /pass/m HTTP/1.1\r\nAuthorization: {key}\r\nContent-Length: 1\r\n\
                 Content-Length: 2\r\n\r\nx"
            ),
            format!("POST /pass/m HTTP/1.1\r\nAuthorization: {key}\r\nX-Long: {long}\r\n\r\n"),
            format!("POST /pass/m HTTP/1.1\r\nAuthorization: {key}\r\n{many}\r\n"),
            format!("POST /pass/{long} HTTP/1.1\r\nAuthorization: {key}\r\n\r\n"),
            format!("POST /pass/m\u{e9} HTTP/1.1\r\nAuthorization: {key}\r\n\r\n"),
            format!(
                "POST /pass/m HTTP/1.1\r\nAuthorization: {key}\r\n\
                 Transfer-Encoding: chunked\r\n\r\nzz\r\n"
            ),
        ] {
            let start: String = request.chars().take(60).collect();
            let mut raw = world.server.raw().await;
            raw.send(&request).await;
            if let Some(answer) = raw.read_answer().await {
                assert!((400..=505).contains(&answer.status), "{start}: {}", answer.status);
                assert_ne!(answer.status, 500, "{start}");
            }
        }
        assert_eq!(world.upstream.requests().await.iter().filter(|it| it.complete).count(), 0);
        world.wait_for_money(&ann, 100, 0).await;
        // And the next one is served.
        world.pay("m", &ann).await.expect(200);
        world.close().await;
    }

    async fn a_request_smuggled_behind_another_is_not_served_with_its_rights(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(30), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let mut raw = world.server.raw().await;

        raw.send(format!(
            "POST /pass/m HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Length: 4\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nPOST /pass/m HTTP/1.1\r\nHost: x\r\n\r\n",
            ann.key
        ))
        .await;
        raw.shutdown_write().await;
        raw.closed().await;

        world.close().await;
        assert!(world.money(&ann).await.used <= 30, "one call at most was authorised");
    }

    async fn half_a_head_holds_nobody_up(db: TestDb) {
        let world = World::with(db, &[("HEADER_TIMEOUT", "1s")]).await;
        world.model("m", fixed(30), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let mut slow = Vec::new();
        for _ in 0..50 {
            let mut raw = world.server.raw().await;
            raw.send("POST /pass/m HTTP/1.1\r\nHost: x\r\nX-Half: ").await;
            slow.push(raw);
        }

        world.pay("m", &ann).await.expect(200);

        for raw in &mut slow {
            raw.closed().await;
        }
        world.close().await;
    }

    async fn a_client_that_closes_its_half_pays_for_what_it_asked(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        world.model("m", fixed(30), Reply::text("ok").gated(&gate)).await;
        let ann = world.payer(100).await;
        let mut raw = world.server.raw().await;

        raw.send(format!(
            "POST /pass/m HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Length: 0\r\n\r\n",
            ann.key
        ))
        .await;
        world.upstream.wait_for_requests(1).await;
        raw.shutdown_write().await;
        gate.open();

        world.wait_for_money(&ann, 70, 30).await;
        world.close().await;
    }

    async fn bytes_that_are_no_text_pass_as_bytes(db: TestDb) {
        let world = World::open(db).await;
        let odd = b"\xff\xfe{\"code\":1\x80".to_vec();
        world.model("m", fixed(30), Reply::bytes("application/json", odd.clone())).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).body(odd.clone());
        let answer = call.header("Content-Type", "application/json").send().await.expect(200);

        assert_eq!(answer.body, odd);
        assert_eq!(world.upstream.requests().await[0].body, odd);
        assert_eq!(world.money(&ann).await, Money { quota: 70, used: 30, calls: 1 });
        world.close().await;
    }
}
