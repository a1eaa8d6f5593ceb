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
        let rest = format!("Host: x\r\nAuthorization: {key}\r\n");
        let head = format!("POST /pass/m HTTP/1.1\r\n{rest}");
        for request in [
            "garbage\r\n\r\n".to_owned(),
            "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\r\n\r\n".to_owned(),
            "GET\r\n\r\n".to_owned(),
            format!("POST /pass/m HTTP/9.9\r\n{rest}\r\n"),
            format!("{head}Bad Name: x\r\n\r\n"),
            format!("{head}NoColon\r\n\r\n"),
            format!("{head}X: a\0b\r\n\r\n"),
            format!("{head}Content-Length: -1\r\n\r\n"),
            format!("{head}Content-Length: x\r\n\r\n"),
            format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"),
            format!("{head}X-Long: {long}\r\n\r\n"),
            format!("{head}{many}\r\n"),
            format!("POST /pass/{long} HTTP/1.1\r\n{rest}\r\n"),
            format!("POST /pass/m\u{e9} HTTP/1.1\r\n{rest}\r\n"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
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

    async fn http_2_without_tls_is_closed_at_once(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(30), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let mut raw = world.server.raw().await;
        raw.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        let began = std::time::Instant::now();
        let said = raw.read_to_end().await;
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "it is not kept open");
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 "), "{said:?}");
        // Who asks whether it may goes on as before.
        let mut raw = world.server.raw().await;
        raw.send(format!(
            "POST /pass/m HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nConnection: Upgrade, \
             HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\
             Content-Length: 0\r\n\r\n",
            ann.key
        ))
        .await;
        assert_eq!(raw.read_answer().await.unwrap().status, 200);
        world.wait_for_money(&ann, 70, 30).await;
        world.close().await;
    }

    // RFC 9112 §3.2 (`Host`), §5.2 (folded lines), §6.1 (codings), §6.3 (lengths).
    async fn a_head_that_two_servers_could_read_apart_is_refused(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let (host, chunked) = ("Host: x\r\n", "Transfer-Encoding: chunked\r\n");
        let (chunks, two) = ("2\r\nhi\r\n0\r\n\r\n", "Content-Length: 2\r\n");
        let cases = [
            // One host.
            ("1.1", host.to_owned(), "", 200),
            ("1.1", "Host: [::1]:3000\r\n".to_owned(), "", 200),
            ("1.1", "Host:\r\n".to_owned(), "", 200),
            ("1.1", String::new(), "", 400),
            ("1.1", format!("{host}{host}"), "", 400),
            ("1.1", format!("{host}hOST: y\r\n"), "", 400),
            ("1.1", "Host: x, y\r\n".to_owned(), "", 400),
            ("1.1", "Host: x/y\r\n".to_owned(), "", 400),
            ("1.1", "Host: ann@x\r\n".to_owned(), "", 400),
            ("1.0", String::new(), "", 200),
            ("1.0", host.to_owned(), "", 200),
            ("1.0", format!("{host}{host}"), "", 400),
            // Chunks, and no other coding.
            ("1.1", format!("{host}{chunked}"), chunks, 200),
            ("1.1", format!("{host}Transfer-Encoding: CHUNKED\r\n"), chunks, 200),
            ("1.1", format!("{host}Transfer-Encoding: gzip, chunked\r\n"), chunks, 501),
            ("1.1", format!("{host}Transfer-Encoding: gzip\r\n{chunked}"), chunks, 501),
            ("1.1", format!("{host}Transfer-Encoding: identity, chunked\r\n"), chunks, 501),
            ("1.1", format!("{host}Transfer-Encoding: , chunked\r\n"), chunks, 501),
            ("1.1", format!("{host}{chunked}{chunked}"), chunks, 501),
            ("1.1", format!("{host}Transfer-Encoding: gzip\r\n"), chunks, 400),
            ("1.1", format!("{host}Transfer-Encoding: chunked, gzip\r\n"), chunks, 400),
            ("1.1", format!("{host}Transfer-Encoding: chunked;q=1\r\n"), chunks, 400),
            ("1.1", format!("{host}Transfer-Encoding:\r\n"), chunks, 400),
            ("1.0", format!("{host}{chunked}"), chunks, 400),
            // One length. Chunks win over it, and the connection ends.
            ("1.1", format!("{host}{two}"), "hi", 200),
            ("1.1", format!("{host}{two}{two}"), "hi", 200),
            ("1.1", format!("{host}{two}{chunked}"), chunks, 200),
            ("1.1", format!("{host}{chunked}{two}"), chunks, 200),
            ("1.1", format!("{host}{two}Content-Length: 3\r\n"), "hi", 400),
            ("1.1", format!("{host}Content-Length: 2, 2\r\n"), "hi", 400),
            ("1.1", format!("{host}Content-Length: +2\r\n"), "hi", 400),
            // Each line a field.
            ("1.1", format!("{host}X-Folded: a\r\n b\r\n"), "", 400),
            ("1.1", format!("X-Folded: a\r\n\t{host}"), "", 400),
            ("1.1", format!("{host}X-Blank : a\r\n"), "", 400),
        ];
        let mut paid = 0;
        for (version, head, body, status) in cases {
            let mut raw = world.server.raw().await;
            raw.send(format!(
                "POST /pass/m HTTP/{version}\r\nAuthorization: Bearer {}\r\n{head}\
                 Connection: close\r\n\r\n{body}",
                ann.key
            ))
            .await;
            let answer = raw.read_answer().await.unwrap();
            assert_eq!(answer.status, status, "HTTP/{version} {head}");
            raw.closed().await;
            paid += i64::from(status == 200);
            assert_eq!(world.money(&ann).await.used, paid, "HTTP/{version} {head}");
            if !body.is_empty() && status == 200 {
                assert_eq!(world.upstream.requests().await.pop().unwrap().text(), "hi", "{head}");
            }
        }
        // Behind what is refused, and behind a body with two lengths, nothing is read.
        for head in [format!("{host}{host}"), format!("{host}{two}{chunked}")] {
            let mut raw = world.server.raw().await;
            let first = format!("POST /pass/m HTTP/1.1\r\n{head}\r\n{chunks}");
            let next = format!("POST /pass/m HTTP/1.1\r\n{host}Authorization: {}\r\n\r\n", ann.key);
            raw.send(format!("{first}{next}")).await;
            raw.read_answer().await.unwrap();
            assert_eq!(String::from_utf8_lossy(&raw.read_to_end().await), "", "{head}");
        }
        assert_eq!(world.money(&ann).await.used, paid);
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
