//! Traces, as a collector gets them.

use crate::world::{World, by_use, fixed};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use std::fmt::Write;
use testkit::{Call, Recorded, Reply, TestDb, Upstream, json};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A world whose spans go to a collector.
async fn observed(db: TestDb, settings: &[(&str, &str)]) -> (World, Upstream) {
    let collector = Upstream::start().await;
    collector.on("/base/v1/traces", Reply::bytes("application/x-protobuf", ""));
    let endpoint = format!("{}/base/", collector.url());
    let own = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b"),
        ("OTEL_SERVICE_NAME", "till"),
    ];
    let settings: Vec<_> = own.iter().chain(settings).copied().collect();
    (World::with(db, &settings).await, collector)
}

fn read(request: &Recorded) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(request.body.clone()).unwrap()
}

fn spans_in(requests: &[Recorded]) -> Vec<Span> {
    let whole = requests.iter().filter(|request| request.complete);
    let resources = whole.flat_map(|request| read(request).resource_spans);
    resources.flat_map(|one| one.scope_spans).flat_map(|one| one.spans).collect()
}

/// The spans of a trace, once the one of the request itself is among them: it ends last.
async fn trace(collector: &Upstream, id: &str) -> Vec<Span> {
    let of_trace = |requests: &[Recorded]| -> Vec<Span> {
        spans_in(requests).into_iter().filter(|span| hex(&span.trace_id) == id).collect()
    };
    let whole = |requests: &[Recorded]| of_trace(requests).iter().any(is_server);
    of_trace(&collector.wait_until("a whole trace", whole).await)
}

fn is_server(span: &Span) -> bool {
    span.kind() == SpanKind::Server
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Returns the attribute of a span, as text.
fn said(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|one| one.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(flag) => Some(flag.to_string()),
        other => panic!("{other:?}"),
    }
}

/// What the spans of a call did, in order of their beginning, and each with its failure:
/// `hold`, `POST 1 UPSTREAM_ERROR!`, `settle`. Checks that they lie within that of the request.
fn phases(spans: &[Span]) -> Vec<String> {
    let call = spans.iter().find(|span| is_server(span)).unwrap();
    let mut parts: Vec<&Span> = spans.iter().filter(|span| !is_server(span)).collect();
    parts.sort_by_key(|span| span.start_time_unix_nano);
    let tell = |span: &&Span| {
        assert_eq!(span.parent_span_id, call.span_id, "{span:?}");
        assert!(span.start_time_unix_nano >= call.start_time_unix_nano, "{span:?}");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
        assert!(span.end_time_unix_nano <= call.end_time_unix_nano, "{span:?}");
        let mut told = span.name.clone();
        for key in ["newapi.attempt", "http.response.status_code", "error.type"] {
            if let Some(value) = said(span, key) {
                told += &format!(" {value}");
            }
        }
        told + failed(span)
    };
    parts.iter().map(tell).collect()
}

fn failed(span: &Span) -> &'static str {
    let status = span.status.clone().unwrap_or_default();
    assert_eq!(status.message, "");
    if status.code() == StatusCode::Error { "!" } else { "" }
}

/// Expects that what the collector received contains no private data.
async fn nothing_private(collector: &Upstream, secrets: &[&str]) {
    for message in collector.requests().await {
        let bytes = String::from_utf8_lossy(&message.body);
        for secret in secrets.iter().chain(&["private"]) {
            assert!(!bytes.contains(secret), "{secret} in {bytes}");
        }
    }
}

/// A call that belongs to the client's trace.
fn traced(call: Call, flags: &str) -> Call {
    call.header("traceparent", format!("00-{TRACE}-{PARENT}-{flags}"))
}

on_sqlite! {
    async fn a_paid_call_is_a_trace_without_secrets(db: TestDb) {
        let (world, collector) = observed(db, &[]).await;
        let reply = Reply::json(&json!({
            "code": 0, "data": {"answer": "a private reply"},
            "usage": {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50},
        }));
        let channel = world.model("m", by_use(), Reply::new(404)).await;
        world.upstream.on_estimate("/m", Reply::estimate(20, 40), reply);
        let ann = world.payer(1_000).await;
        let call = world.server.call("POST", "/pass/m?token=a-private-query").key(&ann.key);
        let call = call.header("X-Request-Id", "call-1").header("tracestate", "v=a-private-state");

        traced(call, "01").body("a private prompt").send().await.expect(200);

        let spans = trace(&collector, TRACE).await;
        let told = ["hold", "POST 1 200", "grow", "POST 1 200", "settle"];
        assert_eq!(phases(&spans), told);
        let server = spans.iter().find(|span| is_server(span)).unwrap();
        assert_eq!((server.name.as_str(), failed(server)), ("POST /pass/{model}", ""));
        assert_eq!(hex(&server.parent_span_id), PARENT);
        let port = world.server.addr().port().to_string();
        for (key, value) in [
            ("http.request.method", "POST"),
            ("http.route", "/pass/{model}"),
            ("http.response.status_code", "200"),
            ("server.address", "127.0.0.1"),
            ("server.port", &port),
            ("newapi.request.id", "call-1"),
            ("newapi.user.id", &ann.id.to_string()),
            ("newapi.key.id", &ann.token_id.to_string()),
            ("newapi.channel.id", &channel.to_string()),
            ("newapi.model", "m"),
            ("newapi.quota", "50"),
        ] {
            assert_eq!(said(server, key).as_deref(), Some(value), "{key}");
        }
        let client = spans.iter().find(|span| span.kind() == SpanKind::Client).unwrap();
        let upstream = world.upstream.addr().port().to_string();
        assert_eq!(said(client, "server.port"), Some(upstream));
        let hold = spans.iter().find(|span| span.name == "hold").unwrap();
        let at_upstream = world.upstream.requests().await.remove(1);
        assert_eq!(said(hold, "newapi.hold.id"), at_upstream.header("Idempotency-Key"));

        let line = world.server.wait_for_log(&["sync_request", "request_id=call-1"]).await;
        assert!(line.contains(&format!(" trace_id={TRACE}")), "{line}");
        let message = collector.requests().await.remove(0);
        assert_eq!(message.header("content-type").as_deref(), Some("application/x-protobuf"));
        assert_eq!(message.header("x-tenant").as_deref(), Some("a b"));
        let resource = read(&message).resource_spans.remove(0).resource.unwrap();
        let told = format!("{resource:?}");
        assert!(told.contains("service.name") && told.contains("till"), "{told}");
        nothing_private(&collector, &[&ann.key, "upstream-key"]).await;
        world.close().await;
    }

    async fn what_the_upstream_hears_does_not_change(db: TestDb) {
        let (world, collector) = observed(db, &[]).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(10).await;
        let call = || world.server.call("POST", "/pass/m").key(&ann.key);

        call().send().await.expect(200);
        traced(call(), "01").send().await.expect(200);

        let heard = world.upstream.requests().await;
        assert_eq!(heard[0].header("traceparent"), None);
        let own = format!("00-{TRACE}-{PARENT}-01");
        assert_eq!(heard[1].headers_named("traceparent"), [own]);
        trace(&collector, TRACE).await;
        world.close().await;
    }

    async fn each_attempt_is_a_span(db: TestDb) {
        let (world, collector) = observed(db, &[]).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let gone = format!("http://127.0.0.1:{}", testkit::ports::free_port());
        let gone = json!({"base_url": gone, "priority": 9});
        let gone = world.channel(&["m"], gone).await;
        let ann = world.payer(10).await;

        traced(world.server.call("POST", "/pass/m").key(&ann.key), "01").send().await.expect(200);

        let spans = trace(&collector, TRACE).await;
        let told = ["hold", "POST 1 UPSTREAM_ERROR!", "POST 2 200", "settle"];
        assert_eq!(phases(&spans), told);
        let first = spans.iter().find(|span| said(span, "newapi.attempt").as_deref() == Some("1"));
        assert_eq!(said(first.unwrap(), "newapi.channel.id"), Some(gone.to_string()));
        world.close().await;
    }

    async fn a_stream_is_a_trace_until_its_end(db: TestDb) {
        let (world, collector) = observed(db, &[]).await;
        world.model("m", by_use(), Reply::openai_stream(&["a", "b"], 20, 30)).await;
        world.model("cut", by_use(), Reply::sse(["{}"]).reset_after(4)).await;
        let ann = world.payer(1_000).await;
        let call = |model: &str| {
            let call = world.server.call("POST", &format!("/pass/{model}")).key(&ann.key);
            call.json(&json!({"stream": true}))
        };

        traced(call("m"), "01").send().await.expect(200);
        let spans = trace(&collector, TRACE).await;
        assert_eq!(phases(&spans), ["hold", "POST 1 200", "settle"]);
        let settled = spans.iter().find(|span| span.name == "settle").unwrap();
        assert_eq!(said(settled, "newapi.quota").as_deref(), Some("50"));

        let cut = call("cut").header("X-Request-Id", "cut").stream().await.rest().await;
        cut.unwrap_err();
        let line = world.server.wait_for_log(&["request_id=cut", "trace_id="]).await;
        let id = line.split("trace_id=").nth(1).unwrap().split(' ').next().unwrap();
        let spans = trace(&collector, id).await;
        let server = spans.iter().find(|span| is_server(span)).unwrap();
        assert_eq!(server.parent_span_id, b"");
        assert_eq!(said(server, "http.response.status_code").as_deref(), Some("200"));
        assert_eq!(said(server, "error.type").as_deref(), Some("UPSTREAM_ERROR"));
        assert_eq!(failed(server), "!");
        world.pass_deadlines().await;
        world.close().await;
    }

    async fn who_is_refused_is_told_of_too(db: TestDb) {
        let (world, collector) = observed(db, &[]).await;
        world.model("m", fixed(11), Reply::text("ok")).await;
        let ann = world.payer(10).await;

        traced(world.server.call("POST", "/pass/m").key(&ann.key), "01").send().await.expect(402);

        let spans = trace(&collector, TRACE).await;
        assert_eq!(phases(&spans), ["hold INSUFFICIENT_QUOTA!"]);
        let server = spans.iter().find(|span| is_server(span)).unwrap();
        assert_eq!(said(server, "http.response.status_code").as_deref(), Some("402"));
        assert_eq!(said(server, "error.type").as_deref(), Some("INSUFFICIENT_QUOTA"));
        assert_eq!(failed(server), "");
        world.close().await;
    }

    async fn a_path_that_is_no_model_is_not_told(db: TestDb) {
        let (world, collector) = observed(db, &[]).await;
        let ann = world.payer(10).await;
        let call = world.server.call("POST", "/pass/a-private-path").key(&ann.key);

        traced(call, "01").send().await.expect(404);

        let spans = trace(&collector, TRACE).await;
        assert_eq!(phases(&spans), Vec::<String>::new());
        nothing_private(&collector, &[&ann.key]).await;
        world.close().await;
    }

    async fn a_task_is_told_of_from_its_submission_to_its_webhook(db: TestDb) {
        let settings =
            [("CUSTOM_PASS_POLL_INTERVAL", "1s"), ("WEBHOOK_ALLOW_NETS", "127.0.0.0/8")];
        let (world, collector) = observed(db, &settings).await;
        let done = r#"{"code":0,"data":[{"task_id":"private-1","status":"DONE","result":1}]}"#;
        world.upstream.on("/img/task/list-by-condition", Reply::raw_json(done));
        let taken = Reply::json(&json!({"code": 0, "data": {"task_id": "private-1"}}));
        let channel = world.model("img/submit", fixed(40), taken).await;
        world.upstream.on("/private-hook", Reply::new(204));
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/img/submit").key(&ann.key).json(&json!({}));
        let hook = format!("{}/private-hook", world.upstream.url());

        traced(call, "01").header("X-Webhook-Url", hook).send().await.expect(200);

        let spans = trace(&collector, TRACE).await;
        assert_eq!(phases(&spans), ["hold", "POST 1 200", "record task"]);
        let named = |name: &'static str| {
            let there = move |all: &[Recorded]| spans_in(all).iter().any(|one| one.name == name);
            collector.wait_until(name, there)
        };
        for (name, key, value, status) in [
            ("ask about tasks", "newapi.channel.id", channel, "200"),
            ("webhook", "newapi.attempt", 1, "204"),
        ] {
            let all = spans_in(&named(name).await);
            let span = all.iter().find(|span| span.name == name).unwrap();
            assert_eq!((span.kind(), span.parent_span_id.len()), (SpanKind::Client, 0));
            assert_eq!(said(span, key), Some(value.to_string()));
            assert_eq!(said(span, "http.response.status_code").as_deref(), Some(status));
            assert_eq!(failed(span), "");
        }
        nothing_private(&collector, &[&ann.key, "upstream-key"]).await;
        world.close().await;
    }

    async fn calls_of_the_api_are_told_by_their_route(db: TestDb) {
        let (world, collector) = observed(db, &[]).await;
        let ann = world.payer(10).await;
        let admin = world.admin();
        let get = |path: String, id: &str| {
            let call = admin.call("GET", &path);
            call.header("traceparent", format!("00-{id}-{PARENT}-01")).send()
        };
        let other = TRACE.replace("0af", "1bf");

        get(format!("/api/user/{}/?keyword=private", ann.id), TRACE).await.expect(200);
        get("/api/private".to_owned(), &other).await.expect(404);

        let told = |spans: Vec<Span>| {
            assert_eq!(spans.len(), 1);
            let status = said(&spans[0], "http.response.status_code").unwrap();
            (spans[0].name.clone(), status, failed(&spans[0]))
        };
        let found = told(trace(&collector, TRACE).await);
        assert_eq!(found, ("GET /api/user/{id}".to_owned(), "200".to_owned(), ""));
        let missing = told(trace(&collector, &other).await);
        assert_eq!(missing, ("GET".to_owned(), "404".to_owned(), ""));
        nothing_private(&collector, &[&ann.key]).await;
        world.close().await;
    }

    async fn the_sampler_decides_what_is_recorded(db: TestDb) {
        let settings = [("OTEL_TRACES_SAMPLER", "parentbased_always_off")];
        let (world, collector) = observed(db, &settings).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(10).await;
        let call = || world.server.call("POST", "/pass/m").key(&ann.key);

        call().header("X-Request-Id", "not").send().await.expect(200);
        traced(call(), "00").send().await.expect(200);
        traced(call(), "01").send().await.expect(200);

        let spans = trace(&collector, TRACE).await;
        assert_eq!(phases(&spans), ["hold", "POST 1 200", "settle"]);
        assert_eq!(spans_in(&collector.requests().await).len(), spans.len());
        // What is not recorded has an id all the same.
        world.server.wait_for_log(&["request_id=not", "trace_id="]).await;
        world.close().await;
    }

    async fn a_stop_sends_what_has_ended(db: TestDb) {
        let (mut world, collector) = observed(db, &[]).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(10).await;
        traced(world.server.call("POST", "/pass/m").key(&ann.key), "01").send().await.expect(200);

        assert_eq!(world.server.terminate().await.code(), Some(0));

        let spans = spans_in(&collector.requests().await);
        assert!(spans.iter().any(|span| hex(&span.trace_id) == TRACE && is_server(span)));
    }

    async fn a_collector_that_is_away_is_nobody_s_trouble(db: TestDb) {
        let (mut world, collector) = observed(db, &[]).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let lost = |result: &str| format!("custompass_trace_spans_total{{result=\"{result}\"}}");
        collector.on("/base/v1/traces", Reply::new(503));
        world.pay("m", &ann).await.expect(200);
        let line = world.server.wait_for_log(&["spans_lost"]).await;
        assert!(line.contains("error=\"status 503\""), "{line}");
        assert!(world.server.metric(&lost("failed")).await >= 4);
        assert_eq!(world.server.metric(&lost("sent")).await, 0);

        collector.on("/base/v1/traces", Reply::hang());
        collector.forget();
        world.pay("m", &ann).await.expect(200);
        collector.wait_for_requests(1).await;
        world.pay("m", &ann).await.expect(200);
        world.close().await;
        assert_eq!(world.server.terminate().await.code(), Some(0));
        world.server.wait_for_log(&["traces_left_unsent"]).await;
    }

    async fn switched_off_there_is_nothing(db: TestDb) {
        let (world, collector) = observed(db, &[("OTEL_SDK_DISABLED", "true")]).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(10).await;

        traced(world.server.call("POST", "/pass/m").key(&ann.key), "01").send().await.expect(200);

        let line = world.server.wait_for_log(&["sync_request"]).await;
        assert!(!line.contains("trace_id"), "{line}");
        assert!(!world.server.metrics().await.contains("custompass_trace_spans"));
        world.close().await;
        assert_eq!(collector.count(), 0);
    }
}
