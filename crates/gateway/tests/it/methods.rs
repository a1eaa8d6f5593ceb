//! Methods that are no work for an upstream, and what upstreams say of what they were sent.

use crate::world::{World, fixed};
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
        let world = World::open(db).await;
        world.upstream.otherwise_handle(echo(200, "message/http"));
        world.channel(&["m"], json!({"key": SECRET})).await;
        world.admin().price("m", fixed(1)).await;
        let ann = world.payer(100).await;
        for target in ["/pass/m", "/v1/chat/completions"] {
            for method in ["TRACE", "CONNECT", "TRACK", "DEBUG", "get", "Post", "PRI", "X-ODD"] {
                let mut raw = world.server.raw().await;
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
        assert_eq!(world.upstream.count(), 0);
        assert_eq!(world.money(&ann).await.quota, 100);
        world.close().await;
    }

    async fn registered_methods_pass(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        for method in ["OPTIONS", "PROPFIND", "QUERY", "MKCOL", "REPORT", "VERSION-CONTROL"] {
            world.server.call(method, "/pass/m").key(&ann.key).send().await.expect(200);
            assert_eq!(world.upstream.requests().await.pop().unwrap().method, method);
        }
        world.close().await;
    }

    async fn a_task_is_only_read(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(0).await;
        let answer = world.server.call("DELETE", "/pass/img/task/7").key(&ann.key).send().await;
        let answer = answer.expect_error(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("Allow").as_deref(), Some("GET, HEAD"));
        world.close().await;
    }

    async fn an_echo_does_not_show_the_channels_key(db: TestDb) {
        let world = World::open(db).await;
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
            world.upstream.handle(&format!("/{model}"), echo(status, kind));
            world.channel(&[model], json!({"key": SECRET})).await;
            if model != "free" {
                world.admin().price(model, fixed(1)).await;
            }
        }
        world.upstream.handle("/header", |request| {
            let authorization = request.header("Authorization").unwrap();
            Reply::text("ok").header("X-Seen", authorization)
        });
        world.channel(&["header"], json!({"key": SECRET})).await;
        world.admin().price("header", fixed(1)).await;
        let ann = world.payer(100).await;

        for model in [
            "page", "says", "json", "http", "refusal", "img/submit", "free", "events", "header",
        ] {
            let call = world.server.call("POST", &format!("/pass/{model}")).key(&ann.key);
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
        world.wait_for_money(&ann, 98, 2).await;
        world.server.wait_for_log(&["upstream_echo", "ERROR"]).await;
        world.close().await;
    }

    async fn what_repeats_nothing_passes_unchanged(db: TestDb) {
        let world = World::open(db).await;
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
            world.upstream.on(&format!("/{model}"), reply);
            world.channel(&[model], json!({"key": SECRET})).await;
            if model.ends_with("text") {
                world.admin().price(model, fixed(1)).await;
            }
        }
        let ann = world.payer(100).await;

        for (model, status) in [
            ("page", 500), ("chunked-page", 404), ("text", 200), ("chunked-text", 200),
        ] {
            let answer = world.pay(model, &ann).await.expect(status);
            assert!(answer.text() == piece.repeat(20), "{model}: {} bytes", answer.body.len());
        }
        assert_eq!(world.pay("short-page", &ann).await.expect(400).text(), "no");
        assert_eq!(world.pay("empty-page", &ann).await.expect(403).text(), "");
        world.wait_for_money(&ann, 98, 2).await;
        world.close().await;
    }
}
