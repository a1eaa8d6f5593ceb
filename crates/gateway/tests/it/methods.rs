//! Methods that are no work for an upstream, and what upstreams say of what they were sent.

use crate::house::{House, fixed};
use testkit::{Reply, TestDb, json};

/// Long enough to be a secret.
const SECRET: &str = "UPSTREAM-KEY-SECRET-0123456789";

/// An upstream that repeats what it was sent, as `TRACE` and many error pages do.
fn echo(status: u16, kind: &str) -> impl Fn(&testkit::Recorded) -> Reply + Send + Sync + use<> {
    let kind = kind.to_owned();
    move |request| {
        let lines = request.headers.iter();
        let lines = lines.map(|(name, value)| format!("{name}: {}\r\n", text(value)));
        Reply::bytes(&kind, lines.collect::<String>()).status(status)
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

on_sqlite! {
    async fn methods_that_are_not_work_are_refused(db: TestDb) {
        let house = House::open(db).await;
        house.upstream.otherwise_handle(echo(200, "message/http"));
        house.channel(&["m"], json!({"key": SECRET})).await;
        house.admin().price("m", fixed(1)).await;
        let ann = house.payer(100).await;
        for target in ["/pass/m", "/v1/chat/completions"] {
            for method in ["TRACE", "CONNECT", "TRACK", "DEBUG", "get", "Post", "PRI", "X-ODD"] {
                let mut raw = house.server.raw().await;
                raw.send(format!(
                    "{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
                     Content-Length: 0\r\n\r\n",
                    ann.key
                ))
                .await;
                let answer = raw.read_answer().await.unwrap();
                assert_eq!(answer.status, 405, "{method} {target}: {}", answer.text());
                let answer = answer.expect_error(405, "METHOD_NOT_ALLOWED");
                let allow = answer.header("Allow").unwrap();
                assert!(allow.contains("POST") && !allow.contains("TRACE"), "{allow}");
            }
        }
        assert_eq!(house.upstream.count(), 0);
        assert_eq!(house.money(&ann).await.quota, 100);
        house.close().await;
    }

    async fn registered_methods_pass(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(1), Reply::text("ok")).await;
        let ann = house.payer(100).await;
        for method in ["OPTIONS", "PROPFIND", "QUERY", "MKCOL", "REPORT", "VERSION-CONTROL"] {
            house.server.call(method, "/pass/m").key(&ann.key).send().await.expect(200);
            assert_eq!(house.upstream.requests().await.pop().unwrap().method, method);
        }
        house.close().await;
    }

    async fn a_task_is_only_read(db: TestDb) {
        let house = House::open(db).await;
        let ann = house.payer(0).await;
        let answer = house.server.call("DELETE", "/pass/img/task/7").key(&ann.key).send().await;
        let answer = answer.expect_error(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("Allow").as_deref(), Some("GET, HEAD"));
        house.close().await;
    }

    async fn an_echo_does_not_show_the_channels_key(db: TestDb) {
        let house = House::open(db).await;
        for (model, status, kind) in [
            ("page", 500, "text/html"),
            ("says", 200, "text/plain"),
            ("json", 200, "application/json"),
            ("http", 200, "message/http"),
            ("refusal", 403, "application/json"),
            ("img/submit", 200, "application/json"),
            ("free", 200, "text/plain"),
            ("events", 200, "text/event-stream"),
        ] {
            house.upstream.handle(&format!("/{model}"), echo(status, kind));
            house.channel(&[model], json!({"key": SECRET})).await;
            if model != "free" {
                house.admin().price(model, fixed(1)).await;
            }
        }
        house.upstream.handle("/header", |request| {
            let authorization = request.header("Authorization").unwrap();
            Reply::text("ok").header("X-Seen", authorization)
        });
        house.channel(&["header"], json!({"key": SECRET})).await;
        house.admin().price("header", fixed(1)).await;
        let ann = house.payer(100).await;

        for model in [
            "page", "says", "json", "http", "refusal", "img/submit", "free", "events", "header",
        ] {
            let call = house.server.call("POST", &format!("/pass/{model}")).key(&ann.key);
            match call.json(&json!({})).try_send().await {
                Ok(answer) => {
                    assert!(!answer.text().contains(SECRET), "{model}: {}", answer.text());
                    assert!(!format!("{:?}", answer.headers).contains(SECRET), "{model}");
                    if model == "header" {
                        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
                    } else {
                        answer.expect_error(502, "UPSTREAM_RESPONSE");
                    }
                }
                // What flows breaks off where the key would stand.
                Err(_) => {
                    assert!(matches!(model, "page" | "refusal" | "events" | "free"), "{model}");
                }
            }
        }
        // The header was taken out of a good reply; the events were under way.
        house.wait_for_money(&ann, 98, 2).await;
        house.server.wait_for_log(&["upstream_echo", "ERROR"]).await;
        house.close().await;
    }

    async fn what_repeats_nothing_passes_unchanged(db: TestDb) {
        let house = House::open(db).await;
        // Each piece ends like the beginning of the key.
        let piece = format!("{}{}", "x".repeat(9_000), &SECRET[..SECRET.len() - 1]);
        let pieces = |status: u16, kind: &str| {
            let reply = Reply::new(status).header("Content-Type", kind);
            (0..20).fold(reply, |reply, _| reply.body(piece.clone()))
        };
        for (model, reply) in [
            ("page", pieces(500, "text/html")),
            ("chunked-page", pieces(404, "application/json").chunked()),
            ("short-page", Reply::text("no").status(400)),
            ("empty-page", Reply::new(403)),
            ("text", pieces(200, "text/plain")),
            ("chunked-text", pieces(200, "text/plain").chunked()),
        ] {
            house.upstream.on(&format!("/{model}"), reply);
            house.channel(&[model], json!({"key": SECRET})).await;
            if model.ends_with("text") {
                house.admin().price(model, fixed(1)).await;
            }
        }
        let ann = house.payer(100).await;

        for (model, status) in [
            ("page", 500), ("chunked-page", 404), ("text", 200), ("chunked-text", 200),
        ] {
            let answer = house.pay(model, &ann).await.expect(status);
            assert!(answer.text() == piece.repeat(20), "{model}: {} bytes", answer.body.len());
        }
        assert_eq!(house.pay("short-page", &ann).await.expect(400).text(), "no");
        assert_eq!(house.pay("empty-page", &ann).await.expect(403).text(), "");
        house.wait_for_money(&ann, 98, 2).await;
        house.close().await;
    }
}
