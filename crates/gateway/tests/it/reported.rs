//! Public reports of people who run such gateways, each with its smallest input, through the front
//! door: what the readers of replies find (`crates/protocol/cases`) is what is charged.

use crate::world::{Payer, World, by_use, fixed};
use serde_json::Value;
use testkit::{Gate, Reply, Step, TestDb, json, on_both_databases};

const CHAT: &str = "/v1/chat/completions";
const SPOKEN: &str = "/v1/audio/transcriptions";
const FORM: &str = "multipart/form-data; boundary=b";

/// A model `m` behind a channel of this protocol, at this price.
async fn world_of(db: TestDb, protocol: &str, price: Value) -> World {
    let world = World::open(db).await;
    world.channel(&["m"], json!({"protocol": protocol, "key": "up-key"})).await;
    world.admin().price("m", price).await;
    world
}

fn ask() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
}

/// A report: protocol and path, price, request, reply, and what the call costs.
struct Report {
    name: &'static str,
    called: (&'static str, &'static str),
    price: Value,
    body: Value,
    reply: Reply,
    charge: i64,
}

fn report(name: &'static str, called: (&'static str, &'static str), reply: Reply) -> Report {
    Report { name, called, price: by_use(), body: ask(), reply, charge: 0 }
}

/// Counts that stand where a reader may overlook them.
fn reported_tokens() -> Vec<Report> {
    let writes = json!({"input_tokens": 100, "output_tokens": 1,
        "cache_creation_input_tokens": 1000, "cache_creation": {
            "ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 1000}});
    let text = json!([{"type": "text", "text": "ok"}]);
    let writes = Reply::json(&json!({"type": "message", "content": text, "usage": writes}));
    let ended = json!({"type": "response.incomplete", "response": {"id": "r", "usage": {
        "input_tokens": 100, "input_tokens_details": {"cached_tokens": 80}, "output_tokens": 50}}});
    let parts = json!({"candidates": [{"content": {"parts": [{"text": "ok"}]}}], "usageMetadata": {
        "promptTokenCount": 100, "candidatesTokenCount": 30, "thoughtsTokenCount": 20}});
    let above = json!({"choices": [{"message": {"content": "x"}}], "usage": {
        "prompt_tokens": 9, "completion_tokens": 664, "total_tokens": 1994}});
    let gemini = ("gemini", "/v1beta/models/m:streamGenerateContent");
    vec![
        Report {
            price: json!({"ratio": 1, "completion_ratio": 2,
                "meters": {"cache_write": 1.25, "cache_write_1h": 2}}),
            charge: 100 + 2 * 1_000 + 2,
            ..report("R04", ("anthropic", "/v1/messages"), writes)
        },
        Report {
            price: json!({"ratio": 1, "completion_ratio": 2, "cache_ratio": "0.1"}),
            body: json!({"model": "m", "input": "x", "stream": true}),
            charge: 20 + 8 + 100,
            ..report("R05", ("openai", "/v1/responses"), Reply::sse([ended.to_string()]))
        },
        // The array that comes without `alt=sse`.
        Report {
            body: json!({"contents": []}),
            charge: 150,
            ..report("R08", gemini, Reply::raw_json(format!("[{parts}\n]")))
        },
        Report { charge: 1_994, ..report("R09", ("openai", CHAT), Reply::json(&above)) },
    ]
}

/// Replies that count something else, or a total alone.
fn reported_units() -> Vec<Report> {
    let total = Reply::json(&json!({"results": [], "usage": {"total_tokens": 17}}));
    let searches = Reply::json(&json!({"results": [], "meta": {
        "billed_units": {"search_units": 3}}}));
    let seconds = Reply::json(&json!({"text": "hello", "usage": {
        "type": "duration", "seconds": 600}}));
    let text = json!([{"type": "text", "text": "ok"}]);
    let searched = json!({"input_tokens": 100, "output_tokens": 50,
        "server_tool_use": {"web_search_requests": 5}});
    let searched = Reply::json(&json!({"type": "message", "content": text, "usage": searched}));
    let query = json!({"model": "m", "query": "q", "documents": ["a"]});
    vec![
        Report {
            body: query.clone(),
            charge: 17,
            ..report("R10", ("openai", "/v1/rerank"), total.clone())
        },
        Report {
            body: json!({"model": "m", "input": "x"}),
            charge: 17,
            ..report("R10", ("openai", "/v1/embeddings"), total)
        },
        Report {
            price: json!({"units": {"searches": 2000}}),
            body: query,
            charge: 6_000,
            ..report("R10", ("cohere", "/v2/rerank"), searches)
        },
        Report {
            price: json!({"ratio": 1, "completion_ratio": 2, "units": {"searches": 5000}}),
            charge: 200 + 5 * 5_000,
            ..report("R15", ("anthropic", "/v1/messages"), searched)
        },
        Report {
            price: json!({"units": {"seconds": 10}}),
            charge: 6_000,
            ..report("R11", ("openai", SPOKEN), seconds)
        },
    ]
}

on_both_databases! {
    async fn what_replies_count_is_what_is_charged(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(1_000_000).await;
        for report in reported_tokens().into_iter().chain(reported_units()) {
            let Report { name, called: (protocol, path), price, body, reply, charge } = report;
            world.upstream.on(path, reply);
            let id = world.channel(&["m"], json!({"protocol": protocol, "key": "up-key"})).await;
            world.admin().price("m", price).await;
            let before = world.money(&ann).await.used;
            world.server.post(path, &ann.key, &body).await.expect(200);
            assert_eq!(world.money(&ann).await.used - before, charge, "{name}: {path}");
            world.admin().delete(&format!("/api/channel/{id}")).await;
        }
        world.close().await;
    }

    async fn subtitles_by_use_are_counted(db: TestDb) {
        // R11: neither refused nor free, whichever form the client asks for.
        let world = world_of(db, "openai", by_use()).await;
        let ann = world.payer(10_000).await;
        let line = "The beach was a popular spot on a hot summer day.\n";
        for (format, kind) in
            [("text", "text/plain; charset=utf-8"), ("vtt", "text/vtt"), ("srt", "text/plain")]
        {
            let before = world.money(&ann).await.used;
            world.upstream.on(SPOKEN, Reply::bytes(kind, line.repeat(20)));
            let part = |name: &str, value: &str| {
                format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n")
            };
            let parts = [part("model", "m"), part("response_format", format)].concat();
            let call = world.server.call("POST", SPOKEN).key(&ann.key);
            let call = call.header("Content-Type", FORM).body(format!("{parts}--b--\r\n"));
            assert_eq!(call.send().await.expect(200).text(), line.repeat(20), "{format}");
            let charged = world.money(&ann).await.used - before;
            assert!((180..320).contains(&charged), "{format}: {charged}");
        }
        world.close().await;
    }

    async fn a_failure_within_a_200_is_told_in_the_upstreams_words(db: TestDb) {
        // R21, with both kinds of price.
        let world = world_of(db, "openai", fixed(100)).await;
        let ann = world.payer(1_000).await;
        for price in [fixed(100), by_use()] {
            world.admin().price("m", price).await;
            for (kind, body) in [
                ("application/json", r#"{"error":{"message":"the engine is overloaded"}}"#),
                ("application/json", r#"{"object":"response","status":"failed","error":null}"#),
                ("text/html", "<html>502</html>"),
                ("application/json", ""),
            ] {
                world.upstream.on(CHAT, Reply::bytes(kind, body));
                let answer = world.server.post(CHAT, &ann.key, &ask()).await.expect(200);
                assert_eq!(answer.text(), body);
            }
        }
        assert_eq!(world.money(&ann).await.calls, 0);
        world.wait_for_money(&ann, 1_000, 0).await;
        // What was made costs what it costs.
        world.upstream.on(CHAT, Reply::json(&json!({"choices": [{"message": {"content": "x"}}],
            "usage": testkit::upstream::usage(3, 4)})));
        world.server.post(CHAT, &ann.key, &ask()).await.expect(200);
        world.wait_for_money(&ann, 993, 7).await;
        world.close().await;
    }

    async fn a_stream_that_breaks_off_is_paid_per_call_and_counted_by_use(db: TestDb) {
        // R24: the whole price per call, unless `CUSTOM_PASS_CUT_STREAM` says otherwise; by use,
        // what passed is counted.
        let world = world_of(db, "openai", fixed(30)).await;
        let ann = world.payer(10_000).await;
        let role = json!({"choices": [{"delta": {"role": "assistant"}}]}).to_string();
        assert_eq!(cut(&world, &ann, &role).await, 30, "as documented");
        let words = "a few plain words ".repeat(100);
        let text = json!({"choices": [{"delta": {"content": words}}]}).to_string();
        world.admin().price("m", by_use()).await;
        let charged = cut(&world, &ann, &text).await;
        assert!((300..500).contains(&charged), "{charged} for some 400 tokens");
        world.close().await;
    }

    async fn an_api_that_takes_long_has_the_time_that_its_protocol_gives(db: TestDb) {
        // R26: the general time to the first byte is for short calls.
        let world = World::with(db, &[("CUSTOM_PASS_HTTP_TIMEOUT", "300ms")]).await;
        let channel = world.channel(&["m"], json!({"protocol": "openai", "key": "up-key"})).await;
        world.admin().price("m", fixed(1)).await;
        let gate = Gate::new();
        let reply = Reply::json(&json!({"choices": [{"message": {"content": "at last"}}]}));
        world.upstream.on(CHAT, reply.gated(&gate));
        world.upstream.on("/quick", Reply::hang());
        world.channel(&["quick"], json!({})).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", CHAT).key(&ann.key).json(&ask());
        let running = tokio::spawn(call.send());
        gate.reached(1).await;
        // The general one runs out meanwhile.
        world.pay("quick", &ann).await.expect_error(504, "TIMEOUT");
        gate.open();
        running.await.unwrap().expect(200);
        // The channel's own wins.
        let own = json!({"id": channel, "setting": {"timeout": "300ms"}});
        world.admin().put("/api/channel", &own).await;
        world.upstream.on(CHAT, Reply::hang());
        world.server.post(CHAT, &ann.key, &ask()).await.expect_error(504, "TIMEOUT");
        world.pass_deadlines().await;
        world.wait_for_money(&ann, 99, 1).await;
        world.close().await;
    }

    async fn a_key_pays_its_rate_for_streams_that_report_nothing(db: TestDb) {
        // R06: what was counted for want of a report counts for the key's rate, too.
        let world = World::open(db).await;
        let words = "a few plain words ".repeat(100);
        let text = json!({"choices": [{"delta": {"content": words}}]}).to_string();
        world.upstream.on(CHAT, Reply::sse([&text]).event("[DONE]"));
        let to = json!({"protocol": "openai", "key": "up-key", "setting": {"ask_usage": false}});
        world.channel(&["m"], to).await;
        world.admin().price("m", by_use()).await;
        let ann = world.payer(10_000).await;
        let slow = world.key(&ann, json!({"rate_limit_tpm": 100})).await;
        let mut body = ask();
        body["stream"] = json!(true);
        world.server.post(CHAT, &slow.key, &body).await.expect(200);
        world.server.post(CHAT, &slow.key, &body).await.expect_error(429, "rate_limit_exceeded");
        assert_eq!(world.upstream.count(), 1);
        world.close().await;
    }
}

/// What a stream cost that broke off after these events.
async fn cut(world: &World, payer: &Payer, event: &str) -> i64 {
    let before = world.money(payer).await.used;
    world.upstream.on(CHAT, Reply::sse([event]).step(Step::Reset));
    let mut body = ask();
    body["stream"] = json!(true);
    let call = world.server.call("POST", CHAT).key(&payer.key).json(&body);
    assert!(call.stream().await.rest().await.is_err(), "the client sees it");
    testkit::eventually("the call to be settled", || async {
        (world.open_holds().await == 0).then_some(())
    })
    .await;
    world.money(payer).await.used - before
}

on_sqlite! {
    async fn no_spelling_of_a_key_reaches_an_upstream_that_is_to_have_none(db: TestDb) {
        // R32.
        let world = World::open(db).await;
        world.upstream.on("/m", Reply::text("ok"));
        world.channel(&["m"], json!({"other": "-"})).await;
        let ann = world.payer(0).await;
        let call = world.server.call("POST", "/pass/m").key(&ann.key);
        let call = ["x-api-key", "api-key", "x-goog-api-key", "x-custom-token"]
            .iter()
            .fold(call, |call, name| call.header(name, &ann.key));
        call.send().await.expect(200);
        let request = &world.upstream.requests().await[0];
        let with_key = |it: &&(String, Vec<u8>)| {
            String::from_utf8_lossy(&it.1).contains(ann.key.trim_start_matches("sk-"))
        };
        assert_eq!(request.headers.iter().filter(with_key).count(), 0, "{:?}", request.headers);
        for name in ["x-api-key", "api-key", "x-goog-api-key", "x-custom-token"] {
            assert_eq!(request.header(name), None, "{name}");
        }
        world.close().await;
    }

    async fn a_model_with_a_slash_is_retrieved(db: TestDb) {
        // R36.
        let world = World::open(db).await;
        world.channel(&["org/model:free"], json!({"protocol": "openai"})).await;
        let ann = world.payer(0).await;
        let get = async |name: &str| {
            world.server.call("GET", &format!("/v1/models/{name}")).key(&ann.key).send().await
        };
        for name in ["org/model:free", "org%2Fmodel%3Afree"] {
            assert_eq!(get(name).await.expect(200).json()["id"], "org/model:free");
        }
        get("org/model:paid").await.expect_error(404, "model_not_found");
        world.close().await;
    }

    async fn what_says_when_to_try_again_reaches_the_client(db: TestDb) {
        // R44, when another channel was asked as well.
        let world = world_of(db, "openai", fixed(1)).await;
        let second = testkit::Upstream::start().await;
        let last = json!({"protocol": "openai", "key": "up-key", "priority": -1});
        world.admin().channel_to(&second, &["m"], last).await;
        let names = ["Retry-After", "retry-after-ms", "x-should-retry",
            "x-ratelimit-limit-requests", "x-ratelimit-remaining-tokens",
            "x-ratelimit-reset-requests"];
        let busy = Reply::json(&json!({"error": {"message": "slow down"}})).status(429);
        world.upstream.on(CHAT, busy.clone());
        second.on(CHAT, names.iter().fold(busy, |reply, name| reply.header(name, "30")));
        let ann = world.payer(100).await;
        let answer = world.server.post(CHAT, &ann.key, &ask()).await.expect(429);
        assert_eq!((world.upstream.count(), second.count()), (1, 1));
        for name in names {
            assert_eq!(answer.header(name).as_deref(), Some("30"), "{name}");
        }
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }
}
