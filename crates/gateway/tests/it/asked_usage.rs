//! Usage that a stream reports only where it is asked for is asked for on the client's behalf, and
//! the client sees nothing of that.

use crate::world::{Payer, World, by_use, fixed};
use serde_json::Value;
use testkit::{Gate, Reply, TestDb, eventually, json, on_both_databases};

const PATH: &str = "/v1/chat/completions";
const BODY: &str =
    r#"{"model":"gpt", "stream":true,"n":1.0,"messages":[{"role":"user","content":"hi"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":70,"completion_tokens":30}}"#;

/// An upstream that reports usage where it is asked to.
async fn streaming(db: TestDb, setting: Value, price: Value) -> (World, Payer) {
    let world = World::open(db).await;
    world.upstream.otherwise_handle(|request| {
        let text = json!({"choices": [{"delta": {"content": "well"}}]}).to_string();
        let asks = request.text().contains("\"include_usage\":true");
        let events = if asks { vec![&text[..], USAGE, "[DONE]"] } else { vec![&text, "[DONE]"] };
        Reply::sse(events)
    });
    let channel = json!({"protocol": "openai", "key": "up-key", "setting": setting});
    world.channel(&["gpt"], channel).await;
    world.admin().price("gpt", price).await;
    let ann = world.payer(10_000).await;
    (world, ann)
}

async fn stream((world, ann): (&World, &Payer), body: &str) -> String {
    let call = world.server.call("POST", PATH).key(&ann.key);
    let call = call
        .header("Content-Type", "application/json")
        .header("Idempotency-Key", body.len().to_string());
    call.body(body.to_owned()).send().await.expect(200).text()
}

async fn sent(world: &World) -> String {
    world.upstream.requests().await.last().unwrap().text()
}

on_both_databases! {
    async fn a_stream_that_would_not_report_usage_is_asked_for_it(db: TestDb) {
        let (world, ann) = streaming(db, json!({}), by_use()).await;
        let at = (&world, &ann);
        let seen = stream(at, BODY).await;
        let added = BODY.replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
        assert_eq!(sent(&world).await, added, "every other byte is the client's");
        assert!(seen.contains("well") && seen.ends_with("data: [DONE]\n\n"), "{seen}");
        assert!(!seen.contains("usage") && !seen.contains("[]"), "{seen}");
        world.wait_for_money(&ann, 9_900, 100).await;
        let count = world.upstream.count();
        assert_eq!(stream(at, BODY).await, seen, "a repetition is the same");
        assert_eq!(world.upstream.count(), count);

        // A client that asks gets what it asks for.
        let asking = BODY.replacen('{', r#"{"stream_options":{"include_usage":true}, "#, 1);
        let seen = stream(at, &asking).await;
        assert_eq!(sent(&world).await, asking);
        assert!(seen.contains(USAGE), "{seen}");
        world.wait_for_money(&ann, 9_800, 200).await;
        world.close().await;
    }

    async fn what_a_client_that_left_finds_later_is_whole(db: TestDb) {
        let (world, ann) = streaming(db, json!({}), by_use()).await;
        let event = r#"data: {"choices":[{"delta":{"content":"a"}}]}"#;
        let gate = Gate::new();
        let first = Reply::sse::<&str>([]).body(format!("{event}\n\n")).wait(&gate);
        // Its last event lacks its end.
        world.upstream.otherwise(first.body(event));
        let call = || {
            let call = world.server.call("POST", PATH).key(&ann.key).body(BODY);
            call.header("Content-Type", "application/json").header("Idempotency-Key", "once")
        };
        let mut answer = call().stream().await;
        answer.read_until("\n\n").await;
        drop(answer);
        eventually("the reply to be read on", || async {
            (world.server.metric("custompass_drains_total").await == 1).then_some(())
        })
        .await;
        gate.open();
        let found = eventually("the reply to be kept", || async {
            let answer = call().send().await;
            (answer.status == 200).then_some(answer)
        })
        .await;

        assert_eq!(found.text(), format!("{event}\n\n{event}"));
        assert_eq!(found.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(world.upstream.count(), 1);
        world.close().await;
    }
}

on_sqlite! {
    async fn what_is_not_needed_is_not_asked_for(db: TestDb) {
        let (world, ann) = streaming(db, json!({"ask_usage": false}), by_use()).await;
        stream((&world, &ann), BODY).await;
        assert_eq!(sent(&world).await, BODY, "the channel has turned it off");
        world.close().await;

        let (world, ann) = streaming(TestDb::sqlite().await, json!({}), fixed(5)).await;
        stream((&world, &ann), BODY).await;
        assert_eq!(sent(&world).await, BODY, "a price per call needs no usage");
        let said = BODY.replacen('{', r#"{"stream_options":{"include_usage":false},"#, 1);
        world.admin().price("gpt", by_use()).await;
        stream((&world, &ann), &said).await;
        assert_eq!(sent(&world).await, said, "the client's word stays");
        let whole = BODY.replace("true", "false");
        stream((&world, &ann), &whole).await;
        assert_eq!(sent(&world).await, whole, "no stream");
        world.close().await;
    }
}
