//! Tasks as their owners see them: what needs the sealing key, or limits of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "the calls use the rest")]
mod support;

use store::{Sealer, TASK_DATA, Value};
use support::TestRelay;
use testkit::{Answer, Call, eventually, json};
use uuid::Uuid;

/// Inserts a task with this report of the upstream.
async fn task(relay: &TestRelay, n: u128, status: &str, said: &str) {
    let data = Sealer::new(b"secret").seal(TASK_DATA, said.as_bytes()).unwrap();
    let sql = "INSERT INTO tasks (uid, user_id, channel_id, action, task_id, status, data)
        VALUES ($1, 1, 1, 'img/submit', $2, $3, $4)";
    let uid = Value::Uuid(Uuid::from_u128(n));
    let params = [uid, n.to_string().into(), status.into(), data.into()];
    relay.db.execute(sql, &params).await.unwrap();
}

async fn list(relay: &TestRelay, ids: &[u128]) -> Answer {
    let ids: Vec<String> = ids.iter().map(u128::to_string).collect();
    let call = relay.call("POST", "/pass/img/task/list-by-condition");
    call.json(&json!({"task_ids": ids})).send().await
}

#[tokio::test]
async fn what_the_upstream_said_is_passed_on_byte_for_byte() {
    let relay = TestRelay::start().await;
    let said = "{\"task_id\":1,\r\n \"result\":{\"seed\":12345678901234567890123,\n\"x\":1.0e-7},\
        \"usage\":{\"cost\":0.30}}";
    task(&relay, 1, "completed", said).await;
    task(&relay, 2, "completed", "not JSON").await;

    let text = list(&relay, &[2, 1]).await.expect(200).text();
    let result = "\"result\":{\"seed\":12345678901234567890123,\n\"x\":1.0e-7}";
    assert!(text.contains(result) && text.contains("\"usage\":{\"cost\":0.30}"), "{text}");
    assert!(text.contains("\"task_id\":1,") && text.contains("\"task_id\":\"2\","), "{text}");
    // Lines of an event are sent one by one, and add up to the same JSON.
    let events = relay.call("GET", "/pass/img/task/1/events").send().await.expect(200).text();
    assert!(events.contains("12345678901234567890123,\ndata: \"x\":1.0e-7}"), "{events}");
    let data: Vec<&str> = events.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let sent: serde_json::Value = serde_json::from_str(&data.join("\n")).unwrap();
    assert_eq!(sent["usage"], json!({"cost": 0.30}));
    relay.close().await;
}

#[tokio::test]
async fn a_list_takes_no_more_memory_than_one_of_its_results() {
    let relay = TestRelay::build(|config| config.buffer_budget_bytes = 300_000).await;
    let said = format!(r#"{{"result":"{}"}}"#, "x".repeat(100_000));
    for n in 1..=3 {
        task(&relay, n, "completed", &said).await;
    }
    let listed = list(&relay, &[1, 2, 3]).await.expect(200).json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 3);
    let page = relay.call("GET", "/v1/tasks?limit=2").send().await.expect(200).json();
    assert_eq!((page["data"].as_array().unwrap().len(), &page["has_more"]), (2, &true.into()));
    relay.close().await;
}

#[tokio::test]
async fn places_are_few_and_given_back() {
    let relay = TestRelay::build(|config| config.max_task_waiters = 2).await;
    task(&relay, 1, "processing", "{}").await;
    let mut events = relay.call("GET", "/v1/tasks/1/events").stream().await;
    events.read_until("\n\n").await;
    let mut others = relay.call("GET", "/v1/tasks/1/events").stream().await;
    others.read_until("\n\n").await;

    let wait = || relay.call("GET", "/v1/tasks/1?wait=1").send();
    wait().await.expect_error(503, "OVERLOADED");
    let refused = relay.call("GET", "/v1/tasks/1/events").send().await;
    refused.expect_error(503, "OVERLOADED");
    // A call that doesn't wait needs no slot.
    relay.call("GET", "/v1/tasks/1").send().await.expect(200);

    drop(events);
    eventually("the slot to be free", || async { (wait().await.status == 200).then_some(()) })
        .await;
    relay.close().await;
}

#[tokio::test]
async fn one_user_leaves_room_to_the_others() {
    let relay = TestRelay::build(|config| config.max_task_waiters_of_user = 1).await;
    task(&relay, 1, "processing", "{}").await;
    let key = format!("sk-{}", "b".repeat(48));
    relay.sql("INSERT INTO users (id, username) VALUES (2, 'ben')", &[]).await;
    let token =
        "INSERT INTO tokens (id, user_id, key_hash, unlimited_quota) VALUES (2, 2, $1, TRUE)";
    relay.sql(token, &[Value::from(&store::key_hash(&key))]).await;
    task(&relay, 2, "processing", "{}").await;
    relay.sql("UPDATE tasks SET user_id = 2 WHERE task_id = '2'", &[]).await;
    let mut events = relay.call("GET", "/v1/tasks/1/events").stream().await;
    events.read_until("\n\n").await;

    let wait = || relay.call("GET", "/v1/tasks/1?wait=1").send();
    let refused = wait().await.expect_error(429, "RATE_LIMITED");
    assert!(refused.text().contains("wait for tasks"), "{}", refused.text());
    relay.call("GET", "/v1/tasks/1").send().await.expect(200);
    let theirs = Call::new(relay.address, "GET", "/v1/tasks/2?wait=1").key(&key);
    theirs.send().await.expect(200);

    drop(events);
    eventually("the slot to be free", || async { (wait().await.status == 200).then_some(()) })
        .await;
    relay.close().await;
}

#[tokio::test]
async fn silence_is_broken() {
    let relay = TestRelay::build(|config| config.task_silence_ms = 50).await;
    task(&relay, 1, "processing", "{}").await;
    let mut events = relay.call("GET", "/v1/tasks/1/events").stream().await;
    events.read_until("event: task\n").await;

    events.read_until(": still here\n\n").await;
    events.read_until(": still here\n\n").await;
    relay.db.execute("UPDATE tasks SET status = 'failed', version = 2", &[]).await.unwrap();

    let rest = String::from_utf8(events.rest().await.unwrap().to_vec()).unwrap();
    assert!(rest.contains("id: 2\nevent: task\n") && rest.contains("\"failed\""), "{rest}");
    relay.close().await;
}
