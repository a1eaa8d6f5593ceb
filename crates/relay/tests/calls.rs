//! Single calls through the data plane, on SQLite, against a scripted upstream.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;
use store::Value;
use support::{KEY, MONEY, TestRelay};
use testkit::{Call, Gate, RawClient, Reply, json};

#[tokio::test]
async fn a_fixed_price_is_charged_and_reported() {
    let relay = TestRelay::start().await;
    relay.upstream.on("/fixed", Reply::result(10, 20));
    let answer = relay.post("fixed").send().await.expect(200);
    assert_eq!(answer.header("x-newapi-quota").as_deref(), Some("100"));
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(relay.quota().await, MONEY - 100);
    let seen = &relay.upstream.requests().await[0];
    assert_eq!(seen.header("authorization").as_deref(), Some("Bearer up-key"));
    assert_eq!(seen.header("x-custom-token").as_deref(), Some(KEY));
    assert_eq!(seen.header("idempotency-key").map(|id| id.len()), Some(36));
    assert_eq!(seen.text(), r#"{"q":1}"#);
    relay.close().await;
}

#[tokio::test]
async fn use_is_estimated_held_and_settled() {
    let relay = TestRelay::start().await;
    relay.upstream.on_estimate("/use", Reply::estimate(20, 80), Reply::result(20, 60));
    let answer = relay.post("use").send().await.expect(200);
    assert_eq!(answer.header("x-newapi-quota").as_deref(), Some("80"));
    assert_eq!(relay.quota().await, MONEY - 80);
    assert_eq!(relay.upstream.count(), 2);
    relay.close().await;
}

#[tokio::test]
async fn an_estimate_beyond_the_balance_is_402_and_released() {
    let relay = TestRelay::start().await;
    relay.upstream.on_estimate("/use", Reply::estimate(2_000, 0), Reply::result(1, 1));
    relay.post("use").send().await.expect_error(402, "INSUFFICIENT_QUOTA");
    assert_eq!(relay.upstream.count(), 1, "the real call was not made");
    assert_eq!(relay.quota().await, MONEY);
    relay.close().await;
}

#[tokio::test]
async fn a_result_in_place_of_an_estimate_is_the_result() {
    let relay = TestRelay::start().await;
    relay.upstream.on("/use", Reply::result(3, 4));
    relay.post("use").send().await.expect(200);
    assert_eq!((relay.quota().await, relay.upstream.count()), (MONEY - 7, 1));
    relay.upstream.on("/use", Reply::openai_stream(&["a"], 5, 5));
    let answer = relay.post("use").send().await.expect(200);
    assert!(answer.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(relay.quota().await, MONEY - 17);
    relay.close().await;
}

#[tokio::test]
async fn failures_reach_the_client_as_they_are_and_cost_nothing() {
    let relay = TestRelay::start().await;
    for model in ["fixed", "use"] {
        let path = format!("/{model}");
        relay.upstream.on(&path, Reply::failure(7, "no such image"));
        let answer = relay.post(model).send().await.expect(200);
        assert_eq!(answer.json()["message"], "no such image");
        relay.upstream.on(&path, Reply::text("teapot").status(418));
        assert_eq!(relay.post(model).send().await.expect(418).text(), "teapot");
        relay.upstream.on(&path, Reply::close_after(Reply::result(1, 1), 20));
        relay.post(model).send().await.expect_error(502, "UPSTREAM_ERROR");
    }
    assert_eq!(relay.quota().await, MONEY);
    relay.close().await;
}

#[tokio::test]
async fn use_without_usage_is_not_delivered() {
    let relay = TestRelay::start().await;
    for body in [json!({"code": 0}), json!({"usage": {"prompt_tokens": -1}}), json!([1])] {
        relay.upstream.on("/use", Reply::json(&body));
        relay.post("use").send().await.expect_error(502, "UPSTREAM_RESPONSE");
    }
    relay.upstream.on_estimate("/use", Reply::estimate(1, 1), Reply::estimate(1, 1));
    relay.post("use").send().await.expect_error(502, "UPSTREAM_RESPONSE");
    assert_eq!(relay.quota().await, MONEY);
    relay.close().await;
}

#[tokio::test]
async fn a_stream_is_settled_before_its_end_is_seen() {
    let relay = TestRelay::start().await;
    let gate = Gate::new();
    let stream = Reply::sse(["{\"a\":1}"])
        .event(r#"{"usage":{"prompt_tokens":10,"completion_tokens":5}}"#)
        .event("[DONE]")
        .wait(&gate);
    relay.upstream.on_estimate("/use", Reply::estimate(50, 50), stream);
    let mut answer = relay.post("use").stream().await;
    // The upstream keeps the connection open after [DONE]: no phase waits for it.
    answer.read_until("[DONE]").await;
    assert_eq!(relay.quota().await, MONEY - 15);
    gate.open();
    assert!(answer.rest().await.is_ok());
    assert_eq!(relay.holds("settled").await, 1);
    relay.close().await;
}

#[tokio::test]
async fn a_cut_stream_is_cut_for_the_client_and_charged_by_what_was_seen() {
    let relay = TestRelay::start().await;
    let usage = r#"{"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
    let cut = || Reply::sse(["{\"a\":1}"]);
    let estimate = || Reply::estimate(30, 0);
    relay.upstream.on_estimate("/use", estimate(), cut().event(usage).step(testkit::Step::Reset));
    let mut answer = relay.post("use").stream().await;
    assert!(answer.rest().await.is_err(), "never an invented end");
    relay.quota_becomes(MONEY - 15).await;
    relay.upstream.on_estimate("/use", estimate(), cut().step(testkit::Step::Reset));
    let mut answer = relay.post("use").stream().await;
    assert!(answer.rest().await.is_err());
    relay.quota_becomes(MONEY - 15 - 30).await;
    relay.close().await;
}

#[tokio::test]
async fn a_stream_is_drained_when_its_client_hangs_up() {
    let relay = TestRelay::start().await;
    let gate = Gate::new();
    let stream = Reply::sse(["{\"a\":1}"])
        .wait(&gate)
        .event(r#"{"usage":{"prompt_tokens":10,"completion_tokens":5}}"#)
        .event("[DONE]");
    relay.upstream.on_estimate("/use", Reply::estimate(50, 50), stream);
    let mut answer = relay.post("use").stream().await;
    answer.read_until("\"a\":1").await;
    drop(answer);
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.open();
    relay.quota_becomes(MONEY - 15).await;
    relay.close().await;
}

#[tokio::test]
async fn a_call_is_finished_when_its_client_hangs_up_before_the_reply() {
    let relay = TestRelay::start().await;
    let gate = Gate::new();
    relay.upstream.on("/fixed", Reply::result(1, 1).gated(&gate));
    let call = tokio::spawn(relay.post("fixed").send());
    gate.reached(1).await;
    call.abort();
    assert!(call.await.is_err());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(relay.holds("held").await, 1);
    gate.open();
    testkit::eventually("the settlement", || async {
        (relay.holds("settled").await == 1).then_some(())
    })
    .await;
    assert_eq!(relay.quota().await, MONEY - 100);
    relay.close().await;
}

#[tokio::test]
async fn nothing_more_is_sent_for_a_client_that_left_at_the_estimate() {
    let relay = TestRelay::start().await;
    let gate = Gate::new();
    let estimate = Reply::estimate(9, 0).gated(&gate);
    relay.upstream.on_estimate("/use", estimate, Reply::result(1, 1));
    let call = tokio::spawn(relay.post("use").send());
    gate.reached(1).await;
    call.abort();
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.open();
    testkit::eventually("the release", || async {
        (relay.holds("released").await == 1).then_some(())
    })
    .await;
    assert_eq!((relay.upstream.count(), relay.quota().await), (1, MONEY));
    relay.close().await;
}

#[tokio::test]
async fn a_drain_has_limits() {
    let relay = TestRelay::build(|config| config.drain_ms = 100).await;
    relay.upstream.on("/fixed", Reply::endless("data: {}\n\n", Duration::from_millis(5)));
    let mut answer = relay.post("fixed").stream().await;
    answer.next_chunk().await.unwrap().unwrap();
    drop(answer);
    testkit::eventually("the settlement", || async {
        (relay.holds("settled").await == 1).then_some(())
    })
    .await;
    // A reply that is collected for a disconnected client ends too.
    relay.upstream.on_estimate("/use", Reply::estimate(9, 0), Reply::result(1, 1).hang_after(10));
    let call = tokio::spawn(relay.post("use").send());
    relay.upstream.wait_for_requests(3).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    call.abort();
    testkit::eventually("the settlement", || async {
        (relay.holds("settled").await == 2).then_some(())
    })
    .await;
    assert_eq!(relay.quota().await, MONEY - 100 - 9);
    relay.close().await;
}

#[tokio::test]
async fn too_slow_is_504_and_left_to_the_deadline() {
    let relay = TestRelay::build(|config| {
        config.first_byte_ms = 100;
        config.idle_ms = 100;
    })
    .await;
    relay.upstream.on("/fixed", Reply::hang());
    relay.post("fixed").send().await.expect_error(504, "TIMEOUT");
    relay.upstream.on("/fixed", Reply::result(1, 1).hang_after(10));
    relay.post("fixed").send().await.expect_error(504, "TIMEOUT");
    assert_eq!(relay.holds("held").await, 2);
    assert_eq!(relay.quota().await, MONEY - 200);
    relay.close().await;
}

#[tokio::test]
async fn another_channel_is_tried_only_while_nothing_was_sent() {
    let relay = TestRelay::start().await;
    let unreachable = "http://127.0.0.1:1";
    relay.channel(unreachable, 99).await;
    relay.upstream.on("/fixed", Reply::result(1, 1));
    let large = vec![b'x'; 300_000];
    for body in [b"{}".to_vec(), large] {
        relay.call("POST", "/pass/fixed").body(body).send().await.expect(200);
    }
    assert_eq!(relay.quota().await, MONEY - 200);
    relay.upstream.on("/fixed", Reply::reset());
    relay.channel(&relay.upstream.url(), 1).await;
    relay.upstream.forget();
    relay.post("fixed").send().await.expect_error(502, "UPSTREAM_ERROR");
    assert_eq!(relay.upstream.count(), 1, "it may have been sent");
    assert_eq!(relay.quota().await, MONEY - 200);
    relay.close().await;
}

#[tokio::test]
async fn a_failing_channel_is_left_alone_and_tried_again() {
    let relay = TestRelay::build(|config| {
        config.breaker.min_calls = 2;
        config.breaker.pause_ms = 200;
    })
    .await;
    relay.upstream.on("/free", Reply::text("down").status(500));
    for _ in 0..2 {
        relay.post("free").send().await.expect(500);
    }
    let refused = relay.post("free").send().await.expect_error(503, "NO_CHANNEL");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(relay.upstream.count(), 2);
    relay.upstream.on("/free", Reply::text("up"));
    tokio::time::sleep(Duration::from_millis(250)).await;
    relay.post("free").send().await.expect(200);
    relay.post("free").send().await.expect(200);
    relay.close().await;
}

#[tokio::test]
async fn free_models_pass_with_nothing_held() {
    let relay = TestRelay::start().await;
    relay.upstream.on("/free", Reply::text("hello"));
    let answer = relay.post("free").send().await.expect(200);
    assert_eq!((answer.text().as_str(), answer.header("x-newapi-quota")), ("hello", None));
    assert!(relay.upstream.requests().await[0].header("idempotency-key").is_none());
    relay.upstream.on_head("/free", Reply::text("hello"));
    let head = relay.call("HEAD", "/pass/free").send().await.expect(200);
    assert_eq!(head.header("content-length").as_deref(), Some("5"));
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        relay.call(method, "/pass/free?a=%20b&c").send().await.expect(200);
    }
    let seen = relay.upstream.requests().await;
    assert_eq!(seen.last().unwrap().query(), Some("a=%20b&c"));
    assert_eq!((relay.quota().await, relay.holds("settled").await), (MONEY, 0));
    relay.close().await;
}

#[tokio::test]
async fn a_repeated_request_is_answered_from_its_first_reply() {
    let relay = TestRelay::start().await;
    relay.upstream.on("/fixed", Reply::result(1, 1));
    let call = || relay.post("fixed").header("idempotency-key", "k-1");
    let first = call().send().await.expect(200);
    let again = call().send().await.expect(200);
    assert_eq!(first.body, again.body);
    assert_eq!(again.header("idempotent-replayed").as_deref(), Some("true"));
    assert_eq!((relay.upstream.count(), relay.quota().await), (1, MONEY - 100));
    let other = relay.call("POST", "/pass/fixed").header("idempotency-key", "k-1").body("other");
    other.send().await.expect_error(422, "IDEMPOTENCY_MISMATCH");

    let gate = Gate::new();
    relay.upstream.on("/fixed", Reply::openai_stream(&["a"], 1, 1).gated(&gate));
    let slow = || relay.post("fixed").header("idempotency-key", "k-2");
    let running = tokio::spawn(slow().send());
    gate.reached(1).await;
    slow().send().await.expect_error(409, "IDEMPOTENCY_CONFLICT");
    gate.open();
    let streamed = running.await.unwrap().expect(200);
    assert_eq!(slow().send().await.expect(200).body, streamed.body);

    relay.upstream.on("/fixed", Reply::text("no").status(500));
    let failing = || relay.post("fixed").header("idempotency-key", "k-3");
    failing().send().await.expect(500);
    relay.upstream.on("/fixed", Reply::result(1, 1));
    failing().send().await.expect(200);
    assert_eq!(relay.quota().await, MONEY - 300);
    relay.close().await;
}

#[tokio::test]
async fn bodies_have_limits() {
    let relay = TestRelay::build(|config| config.max_request_bytes = 100_000).await;
    relay.upstream.on("/fixed", Reply::result(1, 1));
    let large = vec![b'x'; 100_001];
    let declared = relay.call("POST", "/pass/fixed").body(large.clone());
    declared.send().await.expect_error(413, "PAYLOAD_TOO_LARGE");
    assert_eq!(relay.upstream.count(), 0);
    let mut raw = RawClient::connect(relay.address).await;
    let head = format!(
        "POST /pass/fixed HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        large.len()
    );
    raw.send(head).await.send(&large).await.send("\r\n").await;
    let answer = raw.read_answer().await.unwrap();
    assert_eq!((answer.status, answer.error_code().as_deref()), (413, Some("PAYLOAD_TOO_LARGE")));
    assert_eq!(relay.quota().await, MONEY);
    relay.close().await;
}

#[tokio::test]
async fn v1_reads_maps_and_overrides_the_model() {
    let relay = TestRelay::start().await;
    relay
        .sql(
            "UPDATE channels SET model_mapping = $1, param_override = $2",
            &[
                Value::from(r#"{"fixed":"gpt-real"}"#),
                Value::from(r#"{"temperature":0.10,"n":12345678901234567890}"#),
            ],
        )
        .await;
    relay.upstream.on("/v1/chat/completions", Reply::result(1, 1));
    let body = r#"{ "model":"fixed","big":98765432109876543210 , "n":1}"#;
    let call =
        relay.call("POST", "/v1/chat/completions").header("content-type", "application/json");
    call.body(body).send().await.expect(200);
    assert_eq!(
        relay.upstream.requests().await[0].text(),
        concat!(
            r#"{"temperature":0.10, "model":"gpt-real","big":98765432109876543210 , "#,
            r#""n":12345678901234567890}"#,
        )
    );
    relay.upstream.on("/gpt-real", Reply::result(1, 1));
    relay.post("fixed").send().await.expect(200);
    for body in ["{}", "", "[]", "{\"model\":5}"] {
        let call = relay.call("POST", "/v1/x").header("content-type", "application/json");
        call.body(body).send().await.expect_error(400, "INVALID_REQUEST");
    }
    assert_eq!(relay.quota().await, MONEY - 200);
    relay.close().await;
}

#[tokio::test]
async fn who_may_call_what() {
    let relay = TestRelay::start().await;
    let call = |key: &str| Call::new(relay.address, "POST", "/pass/free").key(key);
    Call::new(relay.address, "GET", "/pass/free").send().await.expect_error(401, "AUTH_ERROR");
    call("sk-unknown").send().await.expect_error(401, "AUTH_ERROR");
    relay.post("unheard-of").send().await.expect_error(404, "MODEL_NOT_FOUND");
    relay.post("free?%70recharge=1").send().await.expect_error(400, "INVALID_REQUEST");
    relay.call("POST", "/pass/a%2f..%2fb").send().await.expect_error(400, "INVALID_REQUEST");
    for (column, status, code) in [
        ("models = 'fixed'", 403, "FORBIDDEN"),
        ("models = '', allow_ips = '10.0.0.0/8'", 403, "FORBIDDEN"),
        ("allow_ips = '', expired_at = 5", 401, "AUTH_ERROR"),
        ("expired_at = NULL, status = 2", 401, "AUTH_ERROR"),
    ] {
        relay.sql(&format!("UPDATE tokens SET {column}"), &[]).await;
        relay.post("free").send().await.expect_error(status, code);
    }
    relay.sql("UPDATE tokens SET status = 1, rate_limit_rpm = 2", &[]).await;
    relay.sql("UPDATE users SET status = 2", &[]).await;
    relay.post("free").send().await.expect_error(403, "FORBIDDEN");
    relay.sql("UPDATE users SET status = 1", &[]).await;
    relay.sql("UPDATE channels SET groups = 'vip'", &[]).await;
    relay.post("free").send().await.expect_error(403, "FORBIDDEN");
    relay.sql("UPDATE tokens SET \"group\" = 'vip', rate_limit_rpm = 4", &[]).await;
    relay.upstream.otherwise(Reply::text("ok"));
    relay.post("free").send().await.expect(200);
    relay.post("free").send().await.expect(200);
    let limited = relay.post("free").send().await.expect_error(429, "RATE_LIMITED");
    assert!(limited.header("retry-after").is_some());
    relay.close().await;
}

#[tokio::test]
async fn what_clients_of_openai_ask_for() {
    let relay = TestRelay::start().await;
    relay.upstream.on("/fixed", Reply::result(1, 1));
    relay.post("fixed").send().await.expect(200);
    let list = relay.call("GET", "/v1/models").send().await.expect(200).json();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| m["id"].clone()).collect();
    assert_eq!(
        (&list["object"], ids),
        (&json!("list"), vec!["fixed".into(), "free".into(), "use".into()])
    );
    let get = |path: &str| relay.call("GET", &format!("/v1/dashboard/billing/{path}")).send();
    let subscription = get("subscription").await.expect(200).text();
    assert!(subscription.contains(r#""hard_limit_usd":0.002,"#), "{subscription}");
    assert_eq!(get("usage").await.expect(200).text(), r#"{"object":"list","total_usage":0.02}"#);
    relay.close().await;
}

#[tokio::test]
async fn the_poor_reach_no_upstream() {
    let relay = TestRelay::start().await;
    relay.sql("UPDATE users SET quota = 99", &[]).await;
    let answer = relay.post("fixed").send().await.expect_error(402, "INSUFFICIENT_QUOTA");
    assert!(answer.text().contains("余额不足"));
    assert_eq!((relay.upstream.count(), relay.quota().await), (0, 99));
    relay.close().await;
}

#[tokio::test]
async fn a_limit_broken_on_the_way_ends_the_upstream_call() {
    let relay = TestRelay::build(|config| config.max_request_bytes = 300_000).await;
    relay.upstream.on("/fixed", Reply::result(1, 1));
    let mut raw = RawClient::connect(relay.address).await;
    let head = format!(
        "POST /pass/fixed HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    raw.send(head).await.send(chunk(200_000)).await;
    relay.upstream.wait_for_heads(1).await;
    raw.send(chunk(200_000)).await;
    let answer = raw.read_answer().await.unwrap();
    assert_eq!((answer.status, answer.error_code().as_deref()), (413, Some("PAYLOAD_TOO_LARGE")));
    assert!(!relay.upstream.requests().await[0].complete);
    relay.quota_becomes(MONEY).await;
    // A client that disconnects half-way: the same, without a reply.
    let mut raw = RawClient::connect(relay.address).await;
    let head = format!(
        "POST /pass/fixed HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Length: 250000\r\n\r\n"
    );
    raw.send(head).await.send(vec![b'x'; 200_000]).await;
    relay.upstream.wait_for_heads(2).await;
    assert_eq!(relay.quota().await, MONEY - 100);
    drop(raw);
    relay.quota_becomes(MONEY).await;
    relay.close().await;
}

fn chunk(bytes: usize) -> Vec<u8> {
    [format!("{bytes:x}\r\n").into_bytes(), vec![b'x'; bytes], b"\r\n".to_vec()].concat()
}

#[tokio::test]
async fn the_last_byte_of_a_long_reply_waits_for_the_settlement() {
    let relay = TestRelay::start().await;
    let long = "y".repeat(400_000);
    relay.upstream.on("/fixed", Reply::text(long.clone()));
    let answer = relay.post("fixed").send().await.expect(200);
    assert_eq!(answer.header("content-length").as_deref(), Some("400000"));
    assert_eq!((answer.text() == long, relay.quota().await), (true, MONEY - 100));
    relay.upstream.on("/fixed", Reply::text(long).close_after(200_000));
    assert!(relay.post("fixed").try_send().await.is_err(), "cut for the client too");
    relay.quota_becomes(MONEY - 100).await;
    relay.close().await;
}

#[tokio::test]
async fn many_at_once_spend_no_more_than_there_is() {
    let relay = TestRelay::start().await;
    relay.upstream.on("/fixed", Reply::result(1, 1));
    let calls: Vec<_> = (0..40).map(|_| tokio::spawn(relay.post("fixed").send())).collect();
    let mut paid = 0;
    for call in calls {
        let answer = call.await.unwrap();
        assert!(matches!(answer.status, 200 | 402), "{}", answer.text());
        paid += i64::from(answer.status == 200);
    }
    assert_eq!((paid, relay.quota().await), (MONEY / 100, 0));
    relay.close().await;
}

#[tokio::test]
async fn a_reply_that_cannot_be_settled_in_time_is_cut_and_still_charged() {
    let relay = TestRelay::build(|config| config.settle_wait_ms = 100).await;
    let gate = Gate::new();
    let stream = Reply::sse(["{\"a\":1}"]).wait(&gate).event("[DONE]");
    relay.upstream.on("/fixed", stream);
    let mut answer = relay.post("fixed").stream().await;
    answer.read_until("\"a\":1").await;
    let busy = |_: &mut _| std::thread::sleep(Duration::from_millis(500));
    relay.db.sqlite().unwrap().post(Box::new(busy)).unwrap();
    gate.open();
    let mut seen = String::new();
    let ended = loop {
        match answer.next_chunk().await {
            Some(Ok(piece)) => seen.push_str(&String::from_utf8_lossy(&piece)),
            ended => break ended,
        }
    };
    assert!(matches!(ended, Some(Err(_))), "cut, not ended");
    assert!(!seen.contains("[DONE]"));
    relay.quota_becomes(MONEY - 100).await;
    testkit::eventually("the settlement", || async {
        (relay.holds("settled").await == 1).then_some(())
    })
    .await;
    relay.close().await;
}
