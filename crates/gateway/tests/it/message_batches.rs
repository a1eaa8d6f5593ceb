//! Anthropic's batches: many messages of one model, at a price of their own, charged by what their
//! results count.

use crate::vendor_tasks::{NEVER, polled};
use crate::world::{Payer, World, by_use, fixed};
use serde_json::Value;
use testkit::{Answer, Reply, Signal, TestDb, json, on_both_databases};

const BATCHES: &str = "/v1/messages/batches";
const ONE: &str = "/v1/messages/batches/msgbatch_1";
const RESULTS: &str = "/v1/messages/batches/msgbatch_1/results";

fn batch(status: &str) -> Value {
    let results = format!("https://api.anthropic.com{RESULTS}");
    json!({"id": "msgbatch_1", "type": "message_batch", "processing_status": status,
        "results_url": (status == "ended").then_some(results)})
}

fn message(model: &str, max_tokens: i64) -> Value {
    json!({"custom_id": "c", "params": {"model": model, "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": "Hello"}]}})
}

fn of(messages: &[Value]) -> Value {
    json!({ "requests": messages })
}

/// A line of the results that counts so much.
fn succeeded(input: i64, output: i64) -> String {
    let usage = json!({"input_tokens": input, "output_tokens": output,
        "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0});
    let message = json!({"type": "message", "model": "claude", "usage": usage});
    json!({"custom_id": "c", "result": {"type": "succeeded", "message": message}}).to_string()
}

fn lines(lines: &[String]) -> Reply {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    Reply::bytes("application/x-jsonl", text)
}

async fn submit(world: &World, payer: &Payer, body: &Value) -> Answer {
    world.server.post(BATCHES, &payer.key, body).await
}

async fn ask(world: &World, payer: &Payer, method: &str, path: &str) -> Answer {
    world.server.call(method, path).key(&payer.key).send().await
}

async fn open(db: TestDb) -> World {
    let world = World::with(db, &[NEVER, ("CUSTOM_PASS_TASK_MAX_LIFETIME", "1h")]).await;
    world.channel(&["claude", "claude-batch"], json!({"protocol": "anthropic"})).await;
    world.admin().price("claude", by_use()).await;
    let half = json!({"ratio": 0.5, "completion_ratio": 2});
    world.admin().price("claude-batch", half).await;
    world.upstream.on(BATCHES, Reply::json(&batch("in_progress")));
    world.upstream.on(ONE, Reply::json(&batch("in_progress")));
    world
}

on_both_databases! {
    async fn a_batch_is_charged_by_its_results_and_is_its_owners(db: TestDb) {
        let world = open(db).await;
        let (ann, bob) = (world.payer(100_000).await, world.payer(1_000).await);
        let two = of(&[message("claude", 1_000), message("claude", 3_000)]);
        submit(&world, &ann, &two).await.expect(200);
        // What all of them allow is held: 4000 tokens at twice a half, and the text of both.
        let held = 100_000 - world.money(&ann).await.quota;
        assert!((4_001..4_020).contains(&held), "{held}");
        // No user can pay for it: a balance is not enough for one of its messages.
        submit(&world, &bob, &two).await.expect(402);

        polled(&world, "processing").await;
        assert_eq!(ask(&world, &ann, "GET", ONE).await.expect(200).json(), batch("in_progress"));
        let before = world.upstream.count();
        for (method, path) in [
            ("GET", ONE.to_owned()),
            ("GET", RESULTS.to_owned()),
            ("DELETE", ONE.to_owned()),
            ("POST", format!("{ONE}/cancel")),
        ] {
            ask(&world, &bob, method, &path).await.expect(404);
        }
        assert_eq!(ask(&world, &bob, "GET", BATCHES).await.expect(200).json()["data"], json!([]));
        assert_eq!(world.upstream.count(), before, "none of these reached the upstream");

        let errored = json!({"custom_id": "d", "result": {"type": "errored", "error": {}}});
        world.upstream.on(ONE, Reply::json(&batch("ended")));
        world.upstream.on(RESULTS, lines(&[succeeded(100, 20), errored.to_string(),
            succeeded(200, 30)]));
        // It is done upstream, and is not counted yet: deleted now, it would be free.
        ask(&world, &ann, "DELETE", ONE).await.expect(409);
        polled(&world, "completed").await;
        let money = world.money(&ann).await;
        assert_eq!((money.quota, money.used), (99_800, 200), "300 × 0.5 + 50 × 1");
        let shown = ask(&world, &ann, "GET", ONE).await.expect(200).json();
        assert_eq!(shown["results_url"], RESULTS, "a path of ours, and no address of the vendor's");
        let tasks = ask(&world, &ann, "GET", "/v1/tasks").await.expect(200).json();
        assert_eq!(tasks["data"][0]["results_url"], RESULTS, "{tasks}");
        let task = format!("/v1/tasks/{}", tasks["data"][0]["id"].as_str().unwrap());
        let task = ask(&world, &ann, "GET", &task).await.expect(200).json();
        assert_eq!(task["results_url"], RESULTS, "{task}");
        let again = || {
            let call = world.server.call("GET", ONE).key(&ann.key);
            call.header("idempotency-key", "once").send()
        };
        for replayed in [None, Some("true")] {
            let answer = again().await.expect(200);
            assert_eq!(answer.header("idempotent-replayed").as_deref(), replayed);
            assert_eq!(answer.json()["results_url"], RESULTS);
        }
        let results = ask(&world, &ann, "GET", RESULTS).await.expect(200);
        assert_eq!(results.text().lines().count(), 3);
        let list = ask(&world, &ann, "GET", BATCHES).await.expect(200).json();
        assert_eq!(list["data"][0]["id"], "msgbatch_1");
        assert_eq!(list["data"][0]["results_url"], RESULTS);
        let behind = format!("{BATCHES}?after_id=msgbatch_1");
        let list = ask(&world, &ann, "GET", &behind).await.expect(200).json();
        assert_eq!(list["data"], json!([]));
        ask(&world, &ann, "DELETE", ONE).await.expect(200);
        world.close().await;
    }

    async fn a_batch_of_which_nothing_succeeds_costs_nothing(db: TestDb) {
        let world = open(db).await;
        let ann = world.payer(10_000).await;
        submit(&world, &ann, &of(&[message("claude", 100)])).await.expect(200);
        world.upstream.on(ONE, Reply::json(&batch("ended")));
        let expired = json!({"custom_id": "c", "result": {"type": "expired"}});
        world.upstream.on(RESULTS, lines(&[expired.to_string()]));
        polled(&world, "completed").await;
        let money = world.money(&ann).await;
        assert_eq!((money.quota, money.used), (10_000, 0));
        world.close().await;
    }

    async fn a_batch_that_can_not_be_counted_is_not_free(db: TestDb) {
        let world = open(db).await;
        let ann = world.payer(10_000).await;
        submit(&world, &ann, &of(&[message("claude", 100)])).await.expect(200);
        let held = 10_000 - world.money(&ann).await.quota;
        world.upstream.on(ONE, Reply::json(&batch("ended")));
        for (broken, why) in [
            (Reply::json(&json!({"error": "later"})).status(503), "status 503"),
            (lines(&[]), "no lines"),
            (lines(&[succeeded(100, 20), "{\"result\":".to_owned()]), "not lines of JSON"),
        ] {
            world.upstream.on(RESULTS, broken);
            world.server.signal(Signal::USR1);
            world.server.wait_for_log(&["task_not_counted", why]).await;
            assert_eq!(world.money(&ann).await.quota, 10_000 - held, "it is still held");
        }
        // Longer than tasks may take here, and within the day that the vendor may.
        let is_postgres = world.db.is_postgres();
        let day = if is_postgres { "interval '24 hours'" } else { "86400000" };
        let a_day_passes = format!("UPDATE tasks SET lifetime_from = lifetime_from - {day}");
        world.db.execute(&a_day_passes).await;
        let asked = world.upstream.count();
        world.server.signal(Signal::USR1);
        world.upstream.wait_for_requests(asked + 2).await;
        assert_eq!(world.money(&ann).await.quota, 10_000 - held, "it is still held");
        world.db.execute(&a_day_passes).await;
        polled(&world, "completed").await;
        // What could be read: half of 100 and twice 20.
        let money = world.money(&ann).await;
        assert_eq!((money.quota, money.used), (10_000 - 70, 70));

        // Nothing could be read: what was held.
        submit(&world, &ann, &of(&[message("claude", 100)])).await.expect(200);
        world.upstream.on(RESULTS, lines(&[]));
        world.db.execute(&format!("{a_day_passes} WHERE finish_time IS NULL")).await;
        world.db.execute(&format!("{a_day_passes} WHERE finish_time IS NULL")).await;
        world.server.signal(Signal::USR1);
        world.wait_for_money(&ann, 10_000 - 70 - held, 70 + held).await;
        world.close().await;
    }

    async fn what_a_model_was_made_to_write_is_counted(db: TestDb) {
        let world = open(db).await;
        let ann = world.payer(10_000).await;
        submit(&world, &ann, &of(&[message("claude", 100)])).await.expect(200);
        world.upstream.on(ONE, Reply::json(&batch("ended")));
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        let deep = succeeded(100, 20).replacen("\"usage\"", &format!("\"x\":{deep},\"usage\""), 1);
        world.upstream.on(RESULTS, lines(&[deep]));
        polled(&world, "completed").await;
        assert_eq!(world.money(&ann).await.used, 70);

        // What stands beside the requests bounds nothing.
        let held = async |body: &Value| {
            let before = world.money(&ann).await.quota;
            submit(&world, &ann, body).await.expect(200);
            before - world.money(&ann).await.quota
        };
        let mut batch = of(&[message("claude", 100), message("claude", 100)]);
        let honest = held(&batch).await;
        batch["max_tokens"] = json!(1);
        assert!(held(&batch).await >= honest, "{honest}");
        world.server.signal(Signal::USR1);
        world.close().await;
    }

    async fn a_batch_that_can_not_be_priced_is_refused(db: TestDb) {
        let world = open(db).await;
        world.channel(&["flat-batch"], json!({"protocol": "anthropic"})).await;
        world.admin().price("flat-batch", fixed(5)).await;
        let ann = world.payer(10_000).await;
        let mixed = of(&[message("claude", 1), message("dear", 1)]);
        submit(&world, &ann, &mixed).await.expect(400);
        let mut many: Vec<_> = (0..300).map(|_| message("claude", 1)).collect();
        many.push(message("x", 1));
        submit(&world, &ann, &of(&many)).await.expect(400);
        for odd in [
            r#"{"requests":[{"params":{"model":"claude","model":"dear","max_tokens":1}}]}"#,
            r#"{"requests":[{"params":{"model":"claude"}}],"requests":[{"params":{"model":"x"}}]}"#,
            r#"{"requests":[{"params":{"max_tokens":1}}]}"#,
            r#"{"requests":[{"params":{"model":"claude"}}]"#,
        ] {
            let call = world.server.call("POST", BATCHES).key(&ann.key);
            let call = call.header("content-type", "application/json").body(odd);
            call.send().await.expect(400);
        }
        // No channel sells batches of it, and a price per call would be that of any number.
        submit(&world, &ann, &of(&[message("dear", 1)])).await.expect(404);
        submit(&world, &ann, &of(&[message("flat", 1)])).await.expect(503);
        let file = json!({"type": "file", "file_id": "file_9"});
        let parts = json!([{"type": "image", "source": file}]);
        let document = json!({"type": "document", "source": {"type": "content", "content": parts}});
        for content in [
            json!({"type": "document", "source": file}),
            json!({"type": "tool_result", "tool_use_id": "t", "content": [document]}),
            document,
        ] {
            let mut with_file = message("claude", 1);
            with_file["params"]["messages"][0]["content"] = json!([content]);
            submit(&world, &ann, &of(&[with_file.clone()])).await.expect(404);
            for path in ["/v1/messages", "/v1/messages/count_tokens"] {
                let answer = world.server.post(path, &ann.key, &with_file["params"]).await;
                answer.expect(404);
            }
        }
        assert_eq!(world.upstream.count(), 0, "none of these reached the upstream");
        many.pop();
        submit(&world, &ann, &of(&many)).await.expect(200);
        world.upstream.on(ONE, Reply::json(&batch("ended")));
        world.upstream.on(RESULTS, lines(&[succeeded(1, 1)]));
        polled(&world, "completed").await;
        // A thousand small requests are not a large one.
        let tiers = json!({"ratio": 1, "tiers": [{"above": {"input": 200_000}, "input": 2}]});
        world.admin().price("claude-batch", tiers).await;
        submit(&world, &ann, &of(&[message("claude", 1)])).await.expect(503);
        world.close().await;
    }
}
