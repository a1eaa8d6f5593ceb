//! Prices by meters, units and tiers, end to end: what a reply or a request counts is charged as
//! the price says, and `explain` prints it so that it can be computed again.

use crate::world::{Payer, World};
use serde_json::Value;
use testkit::{Reply, TestDb, eventually, json, on_both_databases};

const FORM: &str = "multipart/form-data; boundary=b";

/// A world with a model of this protocol and price.
async fn priced(db: TestDb, protocol: &str, price: Value) -> (World, Payer) {
    let world = World::open(db).await;
    world.channel(&["m"], json!({"protocol": protocol, "key": "up-key"})).await;
    world.admin().price("m", price).await;
    let ann = world.payer(10_000_000).await;
    (world, ann)
}

/// What a call costs, and how that is explained.
async fn explained((world, ann): (&World, &Payer), path: &str, body: &Value) -> (i64, String) {
    let before = world.money(ann).await.used;
    world.server.post(path, &ann.key, body).await.expect(200);
    let charged = world.money(ann).await.used - before;
    let newest = "SELECT request_id FROM logs WHERE type = 'consume' ORDER BY id DESC LIMIT 1";
    let row = world.db.row(newest).await;
    let id = row.text("request_id").to_owned();
    let printed = world.server.cli_ok(&["explain", &id]).await;
    let story = world.admin().get(&format!("/api/audit/explain/{id}")).await;
    let lines = printed.lines().map(str::trim);
    let told = lines
        .filter(|line| line.contains(" = "))
        .find_map(|line| line.find("round(").map(|at| line[at..].to_owned()));
    let told = told.unwrap_or_else(|| panic!("{printed}"));
    assert_eq!(computed(&told), charged, "{told}");
    let (formula, _) = told.split_once(" = ").unwrap();
    assert!(story.to_string().contains(formula), "{story}");
    (charged, told)
}

/// What a printed calculation comes to. Six places of each number, exactly.
fn computed(told: &str) -> i64 {
    let (left, _) = told.split_once(" = ").unwrap();
    let mut text = String::new();
    let mut depth = 0;
    for letter in left.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ if depth == 0 => text.push(letter),
            _ => {}
        }
    }
    for sign in ["(", ")", "+", "×"] {
        text = text.replace(sign, &format!(" {sign} "));
    }
    let is_kept = |word: &&str| {
        ["(", ")", "+", "×"].contains(word) || word.starts_with(|it: char| it.is_ascii_digit())
    };
    let words: Vec<&str> = text.split_whitespace().filter(is_kept).collect();
    let mut at = 0;
    let (digits, places) = sum(&words, &mut at);
    assert_eq!(at, words.len(), "{told}");
    let one = 10_i128.pow(places);
    i64::try_from((digits * 2 + one) / (one * 2)).unwrap()
}

fn sum(words: &[&str], at: &mut usize) -> (i128, u32) {
    let mut all = product(words, at);
    while words.get(*at) == Some(&"+") {
        *at += 1;
        let more = product(words, at);
        let places = all.1.max(more.1);
        let scaled = |(digits, own): (i128, u32)| digits * 10_i128.pow(places - own);
        all = (scaled(all) + scaled(more), places);
    }
    all
}

fn product(words: &[&str], at: &mut usize) -> (i128, u32) {
    let mut all = (1, 0);
    loop {
        let word = words[*at];
        *at += 1;
        let (digits, places) = if word == "(" {
            let inner = sum(words, at);
            *at += 1;
            inner
        } else {
            let (whole, places) = word.split_once('.').unwrap_or((word, ""));
            (format!("{whole}{places}").parse().unwrap(), u32::try_from(places.len()).unwrap())
        };
        all = (all.0 * digits, all.1 + places);
        if words.get(*at) != Some(&"×") {
            return all;
        }
        *at += 1;
    }
}

fn message() -> Value {
    json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
}

fn images(n: i64) -> Reply {
    let data: Vec<Value> = (0..n).map(|_| json!({"url": "https://x.example/i.png"})).collect();
    Reply::json(&json!({"created": 1, "data": data}))
}

on_both_databases! {
    async fn every_meter_of_a_reply_is_charged_its_worth(db: TestDb) {
        let (world, ann) = priced(db, "anthropic", json!({
            "ratio": 2, "completion_ratio": 5, "cache_ratio": 0.1,
            "meters": {"cache_write": 1.25}, "units": {"searches": 5000},
            "tiers": [{"above": {"input": 1000}, "input": 2, "output": 1.5}],
        })).await;
        let usage = json!({
            "input_tokens": 100, "cache_read_input_tokens": 50, "output_tokens": 10,
            "cache_creation_input_tokens": 12, "server_tool_use": {"web_search_requests": 2},
            "cache_creation": {"ephemeral_5m_input_tokens": 8, "ephemeral_1h_input_tokens": 4},
        });
        let content = json!([{"type": "text", "text": "ok"}]);
        let whole = json!({"type": "message", "content": content, "usage": usage});
        world.upstream.on("/v1/messages", Reply::json(&whole));
        // (100 + 50 × 0.1 + 8 × 1.25 + 4 × 1.25 + 10 × 5) × 2 + 2 × 5000
        let (charged, told) = explained((&world, &ann), "/v1/messages", &message()).await;
        assert_eq!(charged, 10_340, "{told}");
        assert!(told.contains("4 cache_write_1h as cache_write × 1.25"), "{told}");
        assert!(told.contains("2 searches × 5000"), "{told}");

        let start = json!({"type": "message_start", "message": {"usage": usage}}).to_string();
        let delta = json!({"type": "message_delta", "delta": {},
            "usage": {"output_tokens": 20}}).to_string();
        world.upstream.on("/v1/messages", Reply::sse([&start, &delta]));
        let mut asked = message();
        asked["stream"] = json!(true);
        let (charged, told) = explained((&world, &ann), "/v1/messages", &asked).await;
        assert_eq!(charged, 10_440, "{told}");

        let large = json!({"type": "message", "content": content, "usage": {
            "input_tokens": 990, "cache_read_input_tokens": 50, "output_tokens": 10}});
        world.upstream.on("/v1/messages", Reply::json(&large));
        // ((990 + 5) × 2 + 50 × 1.5) × 2
        let (charged, told) = explained((&world, &ann), "/v1/messages", &message()).await;
        assert_eq!(charged, 4_130, "{told}");
        assert!(told.contains("[above 1000 input]"), "{told}");
        world.close().await;
    }

    async fn a_reply_charges_no_more_than_its_price_allows(db: TestDb) {
        let (world, ann) = priced(db, "openai", json!({"ratio": 2, "max_charge": 5000})).await;
        let billion = json!({"prompt_tokens": 1_000_000_000, "completion_tokens": 1_000_000_000});
        let message = json!({"role": "assistant", "content": "hi"});
        let whole = |usage: &Value| json!({"choices": [{"index": 0, "message": message}],
            "usage": usage});
        let path = "/v1/chat/completions";
        world.upstream.on(path, Reply::json(&whole(&billion)));
        let asked = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        let (charged, told) = explained((&world, &ann), path, &asked).await;
        assert_eq!(charged, 5_000, "{told}");
        assert!(told.starts_with("round(max_charge 5000 × group 1 × user 1) = 5000, "), "{told}");
        assert!(told.ends_with("= 4000000000"), "{told}");
        let log = world.server.wait_for_log(&["WARN", "charge_bounded", "4000000000"]).await;
        assert!(log.contains("channel_id"), "{log}");
        assert_eq!(world.server.metric("custompass_charges_bounded_total").await, 1);

        // A stream, of which the client has seen all but the end.
        let event = json!({"choices": [{"index": 0, "delta": {"content": "hi"}}]}).to_string();
        let usage = json!({"choices": [], "usage": billion}).to_string();
        world.upstream.on(path, Reply::sse([&event, &usage, "[DONE]"]));
        let mut streamed = asked.clone();
        streamed["stream"] = json!(true);
        assert_eq!(explained((&world, &ann), path, &streamed).await.0, 5_000);

        // An honest reply costs what it costs; a group pays its part of the bound, too.
        let honest = json!({"prompt_tokens": 100, "completion_tokens": 20});
        world.upstream.on(path, Reply::json(&whole(&honest)));
        assert_eq!(explained((&world, &ann), path, &asked).await.0, 240);
        world.admin().group(json!({"group_name": "default", "ratio": 0.5})).await;
        world.upstream.on(path, Reply::json(&whole(&billion)));
        assert_eq!(explained((&world, &ann), path, &asked).await.0, 2_500);
        assert_eq!(world.server.metric("custompass_charges_bounded_total").await, 3);
        let notes = "SELECT count(*) AS n FROM logs \
             WHERE content LIKE 'settled at max_charge: reported %'";
        assert_eq!(world.db.row(notes).await.i64("n"), 3);

        // Set with SQL, it is live within a second.
        world.db.execute("UPDATE abilities SET max_charge = 7").await;
        eventually("the new bound", || async {
            let before = world.money(&ann).await.used;
            world.server.post(path, &ann.key, &asked).await.expect(200);
            (world.money(&ann).await.used - before == 4).then_some(())
        })
        .await;
        world.close().await;
    }

    async fn what_is_asked_for_in_units_is_held_exactly(db: TestDb) {
        let (world, ann) = priced(db, "openai", json!({
            "units": {"images": 20000},
            "tiers": [{"at": "body:/size", "is": "1792x1024", "factor": 1.67},
                {"at": "body:/quality", "is": ["hd", "high"], "factor": 2}],
        })).await;
        let path = "/v1/images/generations";
        world.upstream.on(path, images(3));
        let body = json!({"model": "m", "prompt": "a cat", "n": 3, "size": "1792x1024"});
        let (charged, told) = explained((&world, &ann), path, &body).await;
        assert_eq!(charged, 100_200, "{told}");
        assert!(told.contains("[body:/size is 1792x1024]"), "{told}");
        // One is what is made where none is asked for, and fewer were made than asked for.
        world.upstream.on(path, images(1));
        let body = json!({"model": "m", "prompt": "a cat", "quality": "hd"});
        assert_eq!(explained((&world, &ann), path, &body).await.0, 40_000);
        let body = json!({"model": "m", "prompt": "a cat", "n": 2, "quality": "low"});
        assert_eq!(explained((&world, &ann), path, &body).await.0, 20_000);
        assert_eq!(world.journal(&ann).await, [
            "consume 100200 -100200 of 100200", "consume 40000 -40000 of 40000",
            "consume 20000 -20000 of 40000",
        ]);

        // A reply that counts nothing is charged what was asked for; a poor balance buys nothing.
        world.upstream.on(path, Reply::json(&json!({"created": 1})));
        let body = json!({"model": "m", "prompt": "a cat", "n": 2});
        assert_eq!(explained((&world, &ann), path, &body).await.0, 40_000);
        let bob = world.payer(39_999).await;
        let before = world.upstream.count();
        world.server.post(path, &bob.key, &body).await.expect(402);
        assert_eq!(world.upstream.count(), before);
        world.close().await;
    }

    async fn tasks_are_charged_by_what_they_report(db: TestDb) {
        let soon = [("CUSTOM_PASS_POLL_INTERVAL", "1s")];
        let world = World::with(db, &soon).await;
        let taken = Reply::json(&json!({"code": 0, "data": {"task_id": "up-1"}}));
        let price = json!({
            "units": {"seconds": 600}, "min_hold": 5000,
            "tiers": [{"at": "body:/resolution", "is": "1080p", "factor": 2}],
        });
        world.upstream.on("/film/submit", taken);
        let off = json!({"setting": {"precharge": "off"}});
        world.channel(&["film/submit"], off).await;
        world.admin().price("film/submit", price).await;
        let done = json!({"code": 0, "data": [
            {"task_id": "up-1", "status": "done", "usage": {"seconds": 5}}]});
        world.upstream.on("/film/task/list-by-condition", Reply::json(&done));
        let ann = world.payer(100_000).await;
        let body = json!({"resolution": "1080p"});
        world.server.post("/pass/film/submit", &ann.key, &body).await.expect(200);

        eventually("the task's charge", || async {
            (world.money(&ann).await.used == 6_000).then_some(())
        }).await;
        let row = world.db.row("SELECT request_id FROM tasks").await;
        let id = row.text("request_id");
        let printed = world.server.cli_ok(&["explain", id]).await;
        assert!(printed.contains("5 seconds × 600 × 2 [body:/resolution is 1080p]"), "{printed}");
        world.close().await;
    }
}

on_sqlite! {
    async fn a_form_says_the_same_as_json(db: TestDb) {
        let (world, ann) = priced(db, "openai", json!({
            "units": {"images": 1000}, "tiers": [{"at": "body:/size", "is": "big", "factor": 3}],
        })).await;
        world.upstream.on("/v1/images/edits", images(2));
        let part = |name: &str, value: &str| format!(
            "--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
        let file = "--b\r\nContent-Disposition: form-data; name=\"image[]\"; filename=\"a.png\"\r\n\
            Content-Type: image/png\r\n\r\nPNG\r\n";
        let send = |parts: String| {
            let call = world.server.call("POST", "/v1/images/edits").key(&ann.key);
            call.header("Content-Type", FORM).body(format!("{parts}--b--\r\n")).send()
        };
        let (model, size, n) = (part("model", "m"), part("size", "big"), part("n", "2"));
        send([&model, file, file, &size, &n].map(|it| it.to_string()).concat()).await.expect(200);
        assert_eq!(world.journal(&ann).await, ["consume 6000 -6000 of 6000"]);
        for odd in [part("size", "small"), part("Size", "small"), part("size[]", "small")] {
            let parts = [model.clone(), size.clone(), odd].concat();
            send(parts).await.expect_error(400, "INVALID_REQUEST");
        }
        world.close().await;
    }

    async fn a_request_that_two_readers_price_apart_is_refused(db: TestDb) {
        let (world, ann) = priced(db, "openai", json!({
            "units": {"images": 1000}, "tiers": [{"at": "body:/size", "is": "big", "factor": 3}],
        })).await;
        let path = "/v1/images/generations";
        world.upstream.on(path, images(1));
        for (kind, body) in [
            ("application/json", r#"{"model":"m","size":"small","size":"big"}"#),
            ("application/json", r#"{"model":"m","Size":"big"}"#),
            ("application/json", r#"{"model":"m","n":1,"n":9}"#),
            ("application/json", r#"{"model":"m","N":9}"#),
            ("application/json", r#"{"model":"m","n":"many"}"#),
            ("application/json", r#"{"model":"m","n":-1}"#),
            ("application/json", r#"{"model":"m","n":1e30}"#),
        ] {
            let call = world.server.call("POST", path).key(&ann.key).header("Content-Type", kind);
            call.body(body).send().await.expect_error(400, "INVALID_REQUEST");
        }
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }

    async fn a_price_per_call_has_tiers_of_the_request(db: TestDb) {
        let world = World::open(db).await;
        let price = json!({"fixed_quota": 100,
            "tiers": [{"at": "body:/options/size", "is": "big", "factor": 2.5}]});
        world.model("m", price, Reply::json(&json!({"code": 0}))).await;
        let ann = world.payer(10_000).await;
        let at = (&world, &ann);
        let big = json!({"options": {"size": "BIG"}});
        assert_eq!(explained(at, "/pass/m", &big).await.0, 250);
        assert_eq!(explained(at, "/pass/m", &json!({"options": {}})).await.0, 100);
        // What can't be read could be big.
        for (kind, body) in [("text/plain", "big"), ("application/json", "[1]")] {
            let call = world.server.call("POST", "/pass/m").key(&ann.key);
            let answer = call.header("Content-Type", kind).body(body).send().await;
            assert!([400, 415].contains(&answer.status), "{kind}: {}", answer.text());
        }
        let padding = "x".repeat(200_000);
        let long = json!({"padding": padding, "options": {"size": "big"}});
        assert_eq!(explained(at, "/pass/m", &long).await.0, 250, "a long body is read, too");
        world.close().await;
    }

    async fn custompass_counts_units_as_well(db: TestDb) {
        let world = World::open(db).await;
        let price = json!({"ratio": 1, "completion_ratio": 2,
            "meters": {"reasoning": 3}, "units": {"searches": 10}});
        world.model("m", price, Reply::text("-")).await;
        let usage = json!({"prompt_tokens": 10, "completion_tokens": 8, "searches": 4,
            "completion_tokens_details": {"reasoning_tokens": 5}});
        let (estimate, result) = (
            json!({"code": 0, "type": "precharge", "usage": usage}),
            json!({"code": 0, "usage": usage}),
        );
        world.upstream.on_estimate("/m", Reply::json(&estimate), Reply::json(&result));
        let ann = world.payer(10_000).await;
        // 10 + 3 × 2 + 5 × 3 + 4 × 10
        let (charged, told) = explained((&world, &ann), "/pass/m", &json!({"q": 1})).await;
        assert_eq!(charged, 71, "{told}");
        assert_eq!(world.journal(&ann).await, ["consume 71 -71 of 71"]);
        // Where tokens have a price, units alone are no usage.
        let alone = json!({"code": 0, "usage": {"searches": 4}});
        world.upstream.on_estimate("/m", Reply::json(&estimate), Reply::json(&alone));
        world.pay("m", &ann).await.expect_error(502, "UPSTREAM_RESPONSE");
        world.close().await;
    }
}
