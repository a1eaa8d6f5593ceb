//! The scripted upstream does on the wire what the script says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use testkit::upstream::{Framing, gzip};
use testkit::{Answer, Call, Gate, RawClient, RawServer, Reply, Step, Upstream, json, run};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn get(upstream: &Upstream, target: &str) -> Result<Answer, String> {
    Call::new(upstream.addr(), "GET", target).try_send().await
}

#[test]
fn replies_are_given_and_requests_recorded() {
    run(async {
        let upstream = Upstream::start().await;
        upstream.on("/m", Reply::result(10, 20));
        upstream.queue("/m", Reply::text("first").status(201).header("X-A", "1"));
        let call = || Call::new(upstream.addr(), "POST", "/m?a=%20b").json(&json!({"n": 1}));
        let first = call().header("X-Two", "1").header("x-two", "2").send().await.expect(201);
        assert_eq!((first.text(), first.header("x-a")), ("first".into(), Some("1".into())));
        let second = call().send().await.expect(200).json();
        assert_eq!(second["usage"]["total_tokens"], 30);
        assert_eq!(get(&upstream, "/other").await.unwrap().status, 404);

        let requests = upstream.wait_for_requests(3).await;
        assert_eq!((requests[0].method.as_str(), requests[0].path()), ("POST", "/m"));
        assert_eq!(requests[0].query(), Some("a=%20b"));
        assert_eq!(requests[0].headers_named("x-TWO"), ["1", "2"]);
        assert_eq!(requests[0].json(), json!({"n": 1}));
        assert_eq!(requests[2].index, 2);
        upstream.forget();
        get(&upstream, "/m").await.unwrap();
        assert_eq!(upstream.requests().await[0].index, 3);
    });
}

#[test]
fn estimates_and_real_calls_differ() {
    run(async {
        let upstream = Upstream::start().await;
        upstream.on_estimate("/m", Reply::estimate(1, 2), Reply::result(1, 1));
        let estimate = get(&upstream, "/m?a=1&precharge=true").await.unwrap().json();
        assert_eq!(estimate["type"], "precharge");
        assert_eq!(get(&upstream, "/m?a=1").await.unwrap().json()["type"], json!(null));
    });
}

#[test]
fn chunks_come_when_the_gate_opens() {
    run(async {
        let upstream = Upstream::start().await;
        let gate = Gate::new();
        let reply = Reply::sse(["one"]).wait(&gate).event("two").event("[DONE]");
        upstream.on("/s", reply);
        let mut answer = Call::new(upstream.addr(), "POST", "/s").stream().await;
        assert_eq!(answer.read_until("one").await, "data: one\n\n");
        gate.reached(1).await;
        assert!(!upstream.requests().await[0].answered);
        gate.open();
        assert_eq!(answer.rest().await.unwrap(), "data: two\n\ndata: [DONE]\n\n");
        let done = upstream.wait_until("the reply's end", |all| all[0].answered).await;
        assert_eq!(done[0].sent, 11 + 11 + 14);
    });
}

#[test]
fn bodies_are_cut_in_every_way() {
    run(async {
        let upstream = Upstream::start().await;
        upstream.on("/reset", Reply::text("0123456789").reset_after(4));
        upstream.on("/close", Reply::text("0123456789").close_after(4));
        upstream.on("/chunked", Reply::sse(["a", "b"]).close_after(9));
        upstream.on("/lie", Reply::text("0123").framing(Framing::Declared(2)).last());
        upstream.on("/until", Reply::text("0123").framing(Framing::UntilClose));
        for path in ["/reset", "/close", "/chunked"] {
            let mut answer = Call::new(upstream.addr(), "GET", path).stream().await;
            assert_eq!(answer.status, 200);
            answer.rest().await.expect_err(path);
        }
        assert_eq!(get(&upstream, "/lie").await.unwrap().text(), "01");
        assert_eq!(get(&upstream, "/until").await.unwrap().text(), "0123");
        upstream.on("/reset", Reply::reset());
        upstream.on("/close", Reply::close());
        upstream.on("/raw", Reply::raw("garbage\r\n\r\n"));
        for path in ["/reset", "/close", "/raw"] {
            get(&upstream, path).await.expect_err(path);
        }
    });
}

#[test]
fn a_peer_that_leaves_is_noticed() {
    run(async {
        let upstream = Upstream::start().await;
        upstream.on("/hang", Reply::hang());
        upstream.on("/stall", Reply::text("0123456789").hang_after(3));
        upstream.on("/endless", Reply::endless("x".repeat(1000), Duration::ZERO));
        for (index, path) in ["/hang", "/stall", "/endless"].into_iter().enumerate() {
            let mut raw = RawClient::connect(upstream.addr()).await;
            raw.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            upstream.wait_for_requests(index + 1).await;
            drop(raw);
            assert!(!upstream.wait_for_peer_gone(index).await.answered);
        }
        testkit::eventually("connections to close", || async {
            (upstream.open_connections() == 0).then_some(())
        })
        .await;
        assert_eq!(upstream.connections(), 3);
    });
}

#[test]
fn odd_requests_are_read() {
    run(async {
        let upstream = Upstream::start().await;
        upstream.on("/m", Reply::text("ok"));
        upstream.on_head("/early", Reply::text("no").status(413));
        let mut raw = RawClient::connect(upstream.addr()).await;
        raw.send("POST /m HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
        raw.send("2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\nGET /m HTTP/1.1\r\n\r\n").await;
        assert_eq!(raw.read_answer().await.unwrap().text(), "ok");
        assert_eq!(raw.read_answer().await.unwrap().text(), "ok");
        assert_eq!(upstream.requests().await[0].text(), "abcde");
        raw.send("POST /m HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n").await;
        assert_eq!(raw.read_answer().await.unwrap().status, 100);
        raw.send("xPOST /early HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nabc").await;
        assert_eq!(raw.read_answer().await.unwrap().status, 200);
        assert_eq!(raw.read_answer().await.unwrap().status, 413);
        let early = upstream.wait_until("the early reply", |all| all[3].answered).await;
        assert!(!early[3].complete);
        raw.closed().await;
    });
}

#[test]
fn bodies_are_compressed_and_streams_made() {
    run(async {
        let upstream = Upstream::start().await;
        upstream.on("/z", Reply::text("hello hello hello").gzip());
        upstream.on("/s", Reply::openai_stream(&["a", "b"], 3, 2));
        upstream.on("/r", Reply::redirect(302, "http://127.0.0.1:1/x"));
        upstream.on("/head", Reply::text("body"));
        let zipped = get(&upstream, "/z").await.unwrap();
        assert_eq!(zipped.body, gzip(b"hello hello hello"));
        assert_eq!(zipped.header("content-encoding").as_deref(), Some("gzip"));
        let stream = get(&upstream, "/s").await.unwrap().text();
        assert_eq!(stream.matches("data: ").count(), 4);
        assert!(stream.ends_with("data: [DONE]\n\n") && stream.contains("\"total_tokens\":5"));
        let redirect = get(&upstream, "/r").await.unwrap();
        assert_eq!(redirect.header("location").as_deref(), Some("http://127.0.0.1:1/x"));
        let head = Call::new(upstream.addr(), "HEAD", "/head").send().await;
        assert_eq!((head.text(), head.header("content-length")), (String::new(), Some("4".into())));
    });
}

#[test]
fn a_raw_server_sends_anything() {
    run(async {
        let server = RawServer::start(|mut stream| async move {
            let _ = stream.write_all(b"220 smtp.example ready\r\n").await;
            let _ = stream.read(&mut [0; 16]).await;
        })
        .await;
        let mut raw = RawClient::connect(server.addr()).await;
        assert_eq!(raw.read_until("ready\r\n").await, b"220 smtp.example ready\r\n");
    });
}

#[test]
fn a_stopped_upstream_refuses_and_comes_back() {
    run(async {
        let upstream = Upstream::start().await;
        let addr = upstream.addr();
        drop(upstream);
        testkit::eventually("the port to close", || async {
            Call::new(addr, "GET", "/").try_send().await.is_err().then_some(())
        })
        .await;
        let upstream = Upstream::start_on(addr.port()).await;
        upstream.otherwise(Reply::new(204).step(Step::Pause(Duration::from_millis(1))));
        assert_eq!(get(&upstream, "/any").await.unwrap().status, 204);
    });
}
