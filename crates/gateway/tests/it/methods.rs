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
}
