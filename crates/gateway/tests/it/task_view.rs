//! Tasks as their owners see them. The rows are written with plain SQL: these tests are only about
//! how they are shown, to whom, and how soon.

use crate::world::{Payer, World, fixed, node};
use std::time::{Duration, Instant};
use testkit::{Answer, Call, Reply, Server, Signal, TestDb, eventually, json, on_both_databases};
use tokio::task::JoinHandle;

const IMG: &str = "img/submit";

/// The poller leaves the tasks of these tests alone.
const STILL: [(&str, &str); 1] = [("CUSTOM_PASS_POLL_INTERVAL", "1h")];

async fn open(db: TestDb) -> World {
    World::with(db, &STILL).await
}

/// The `n`th of all tasks.
fn uid(n: u32) -> String {
    format!("018f5b2e-0000-7000-8000-{n:012}")
}

fn uid_sql(db: &TestDb, n: u32) -> String {
    if db.is_postgres() {
        format!("'{}'", uid(n))
    } else {
        format!("x'{}'", uid(n).replace('-', ""))
    }
}

/// Writes the `n`th task.
async fn task(db: &TestDb, n: u32, owner: &Payer, model: &str, task_id: &str, status: &str) {
    let (uid, user) = (uid_sql(db, n), owner.id);
    let ends = matches!(status, "completed" | "failed");
    let finish = if ends { "updated_at" } else { "NULL" };
    db.execute(&format!(
        "INSERT INTO tasks (uid, user_id, channel_id, action, task_id, status, upstream_status,
            progress) VALUES ({uid}, {user}, {n}, '{model}', '{task_id}', '{status}', 'WORD', '5%');
         UPDATE tasks SET finish_time = {finish} WHERE uid = {uid}"
    ))
    .await;
}

/// Changes the `n`th task, as the poller does.
async fn becomes(db: &TestDb, n: u32, status: &str) {
    let uid = uid_sql(db, n);
    db.execute(&format!(
        "UPDATE tasks SET status = '{status}', version = version + 1 WHERE uid = {uid}"
    ))
    .await;
}

fn get(server: &Server, payer: &Payer, target: &str) -> Call {
    server.call("GET", target).key(&payer.key)
}

/// An answer about the task `a` that is held until it ends.
async fn held_answer(world: &World, payer: &Payer) -> JoinHandle<Answer> {
    let held = tokio::spawn(get(&world.server, payer, "/v1/tasks/a?wait=60").send());
    // A call that is counted is in progress.
    eventually("the answer to be held", || async {
        let held = world.server.metric("custompass_requests_in_flight").await;
        (held == 1).then_some(())
    })
    .await;
    held
}

/// Returns the ids that `list-by-condition` lists, in their order.
async fn listed(world: &World, payer: &Payer, base: &str, ids: serde_json::Value) -> Vec<String> {
    let target = format!("/pass/{base}/task/list-by-condition");
    let answer = world.server.post(&target, &payer.key, &json!({"task_ids": ids})).await;
    let answer = answer.expect(200).json();
    assert_eq!((&answer["code"], &answer["message"]), (&json!(0), &json!("success")));
    let id = |task: &serde_json::Value| task["task_id"].as_str().unwrap().to_owned();
    answer["data"].as_array().unwrap().iter().map(id).collect()
}

/// Returns the ids (ours, by number) on a page, and the rest of the response.
async fn paged(world: &World, payer: &Payer, query: &str) -> (Vec<String>, serde_json::Value) {
    let answer = get(&world.server, payer, &format!("/v1/tasks{query}")).send().await;
    let page = answer.expect(200).json();
    assert_eq!(page["object"], "list");
    let id = |task: &serde_json::Value| task["id"].as_str().unwrap().to_owned();
    (page["data"].as_array().unwrap().iter().map(id).collect(), page)
}

on_both_databases! {
    async fn everybody_sees_their_own_tasks(db: TestDb) {
        let world = open(db).await;
        let (ann, bob) = (world.payer(0).await, world.payer(0).await);
        task(&world.db, 1, &ann, IMG, "a", "processing").await;
        task(&world.db, 2, &ann, IMG, "7", "completed").await;
        task(&world.db, 3, &ann, "org/vid/submit", "v", "submitted").await;
        task(&world.db, 4, &bob, IMG, "b", "failed").await;
        task(&world.db, 5, &bob, IMG, "a", "unknown").await;
        // The upstream's ids repeat: the newest counts.
        task(&world.db, 6, &ann, IMG, "a", "completed").await;

        let asked = json!(["b", 7, "a", "v", "a", "none", "7", ""]);
        assert_eq!(listed(&world, &ann, "img", asked.clone()).await, ["7", "a"]);
        assert_eq!(listed(&world, &bob, "img", asked.clone()).await, ["b", "a"]);
        assert_eq!(listed(&world, &ann, "org/vid", asked.clone()).await, ["v"]);
        assert_eq!(listed(&world, &ann, "elsewhere", asked).await, [""; 0]);

        let seen = async |payer: &Payer, target: &str| {
            let answer = get(&world.server, payer, target).send().await.expect(200).json();
            let task = if answer["data"].is_null() { answer } else { answer["data"].clone() };
            (task["status"].as_str().unwrap().to_owned(), task["model"].clone())
        };
        let done = ("completed".to_owned(), json!(IMG));
        assert_eq!(seen(&ann, "/pass/img/task/a").await, done);
        assert_eq!(seen(&ann, "/pass/img/task/a/fetch").await, done);
        assert_eq!(seen(&ann, "/v1/tasks/a").await, done);
        assert_eq!(seen(&ann, &format!("/v1/tasks/{}", uid(2))).await, done);
        assert_eq!(seen(&bob, "/pass/img/task/a").await.0, "unknown");
        assert_eq!(seen(&ann, "/v1/tasks/v").await.1, "org/vid/submit");
        for target in [
            "/pass/img/task/b".to_owned(),
            "/pass/img/task/v".to_owned(),
            "/pass/img/task/none".to_owned(),
            // Ours is no id of the upstream's.
            format!("/pass/img/task/{}", uid(1)),
            format!("/v1/tasks/{}", uid(4)),
            format!("/v1/tasks/{}/events", uid(4)),
            "/pass/img/task/b/events".to_owned(),
            "/v1/tasks/b".to_owned(),
        ] {
            let answer = get(&world.server, &ann, &target).send().await;
            answer.expect_error(404, "TASK_NOT_FOUND");
        }
        for target in ["/pass/img/task/a", "/v1/tasks", "/v1/tasks/a", "/pass/img/task/a/events"] {
            world.server.call("GET", target).send().await.expect_error(401, "AUTH_ERROR");
        }
        world.close().await;
    }

    async fn a_key_for_some_models_sees_their_tasks_alone(db: TestDb) {
        let world = open(db).await;
        world.channel(&[IMG, "vid/submit"], json!({})).await;
        let ann = world.payer(0).await;
        task(&world.db, 1, &ann, IMG, "a", "completed").await;
        task(&world.db, 2, &ann, "vid/submit", "a", "failed").await;
        task(&world.db, 3, &ann, "vid/submit", "v", "failed").await;
        let key = world.key(&ann, json!({"models": [IMG]})).await;

        assert_eq!(listed(&world, &key, "img", json!(["a", "v"])).await, ["a"]);
        assert_eq!(listed(&world, &key, "vid", json!(["a", "v"])).await, [""; 0]);
        assert_eq!(paged(&world, &key, "").await.0, [uid(1)]);
        let newest = get(&world.server, &key, "/v1/tasks/a").send().await.expect(200).json();
        assert_eq!(newest["id"], uid(1));
        for target in ["/pass/vid/task/a", "/v1/tasks/v", &format!("/v1/tasks/{}", uid(3))] {
            let answer = get(&world.server, &key, target).send().await;
            answer.expect_error(404, "TASK_NOT_FOUND");
        }
        assert_eq!(paged(&world, &ann, "").await.0, [uid(3), uid(2), uid(1)]);
        world.close().await;
    }

    async fn a_task_is_told_in_full(db: TestDb) {
        let world = open(db).await;
        let ann = world.payer(0).await;
        task(&world.db, 1, &ann, IMG, "x/y 字", "processing").await;
        task(&world.db, 2, &ann, IMG, "f", "failed").await;
        task(&world.db, 3, &ann, IMG, "", "submitted").await;
        world.db.execute("UPDATE tasks SET fail_reason = 'out of paint'").await;

        let answer = get(&world.server, &ann, "/pass/img/task/x%2Fy%20%E5%AD%97").send().await;
        let task = answer.expect(200).json()["data"].clone();
        let created_at = task["created_at"].as_i64().unwrap();
        assert!(created_at > 1_700_000_000 && created_at < 10_000_000_000, "{created_at}");
        assert_eq!(
            task,
            json!({
                "task_id": "x/y 字", "status": "processing", "upstream_status": "WORD",
                "progress": "5%", "error": null, "result": null, "usage": null,
                "created_at": created_at, "updated_at": task["updated_at"], "model": IMG,
                "quota": 0,
            })
        );
        let failed = get(&world.server, &ann, "/v1/tasks/f").send().await.expect(200).json();
        assert_eq!((&failed["object"], &failed["error"]), (&json!("task"), &json!("out of paint")));
        assert_eq!(failed["finish_time"], failed["updated_at"]);
        let unsent = get(&world.server, &ann, &format!("/v1/tasks/{}", uid(3))).send().await;
        assert!(unsent.expect(200).json()["task_id"].is_null());
        // Such responses do not count as calls of a model.
        let calls = "custompass_requests_total{type=\"sync\",status=\"success\"}";
        assert_eq!(world.server.metric(calls).await, 0);
        world.close().await;
    }

    async fn pages_follow_one_another(db: TestDb) {
        let world = open(db).await;
        let (ann, bob) = (world.payer(0).await, world.payer(0).await);
        for n in 1..=5 {
            let status = if n % 2 == 0 { "failed" } else { "completed" };
            let model = if n < 3 { "vid/submit" } else { IMG };
            task(&world.db, n, &ann, model, &format!("t{n}"), status).await;
            task(&world.db, n + 10, &bob, IMG, &format!("t{n}"), status).await;
        }

        let (ids, page) = paged(&world, &ann, "?limit=2").await;
        assert_eq!(ids, [uid(5), uid(4)]);
        assert_eq!((&page["first_id"], &page["last_id"]), (&json!(uid(5)), &json!(uid(4))));
        assert_eq!(page["has_more"], true);
        let (ids, page) = paged(&world, &ann, &format!("?limit=2&after={}", uid(4))).await;
        assert_eq!((ids, &page["has_more"]), (vec![uid(3), uid(2)], &json!(true)));
        let (ids, page) = paged(&world, &ann, &format!("?limit=1&after={}", uid(2))).await;
        assert_eq!((ids, &page["has_more"]), (vec![uid(1)], &json!(false)));
        let (ids, page) = paged(&world, &ann, &format!("?after={}", uid(1))).await;
        assert_eq!(ids, [""; 0]);
        assert!(page["first_id"].is_null() && page["last_id"].is_null(), "{page}");

        assert_eq!(paged(&world, &ann, "?status=failed").await.0, [uid(4), uid(2)]);
        assert_eq!(paged(&world, &ann, "?model=vid").await.0, [uid(2), uid(1)]);
        assert_eq!(paged(&world, &ann, "?model=vid/submit&status=failed").await.0, [uid(2)]);
        for bad in ["limit=0", "limit=101", "limit=x", "after=t1", "status=done", "model=%00"] {
            let answer = get(&world.server, &ann, &format!("/v1/tasks?{bad}")).send().await;
            answer.expect_error(400, "INVALID_REQUEST");
        }
        world.close().await;
    }

    async fn questions_that_make_no_sense_are_refused(db: TestDb) {
        let world = open(db).await;
        let ann = world.payer(0).await;
        task(&world.db, 1, &ann, IMG, "a", "completed").await;
        let ask = |body: String| {
            let call = world.server.call("POST", "/pass/img/task/list-by-condition");
            call.key(&ann.key).body(body).send()
        };
        for body in ["", "{}", "[\"a\"]", "{\"task_ids\":\"a\"}", "{\"task_ids\":[{}]}"] {
            ask(body.to_owned()).await.expect_error(400, "INVALID_REQUEST");
        }
        let many = |count| format!("{{\"task_ids\":[{}\"a\"]}}", "\"x\",".repeat(count));
        let most = ask(many(999)).await.expect(200).json();
        assert_eq!(most["data"].as_array().unwrap().len(), 1);
        ask(many(1_000)).await.expect_error(400, "INVALID_REQUEST");
        ask("x".repeat(3 << 20)).await.expect_error(413, "PAYLOAD_TOO_LARGE");
        // What cannot be an id matches no task, and is harmless.
        let odd = "{\"task_ids\":[\"a\\u0000\",\"a\",1e999,\"\"]}".to_owned();
        assert_eq!(ask(odd).await.expect(200).json()["data"].as_array().unwrap().len(), 1);

        let refused = async |method: &str, target: &str, status, code| {
            let call = world.server.call(method, target).key(&ann.key);
            call.send().await.expect_error(status, code);
        };
        refused("GET", "/pass/img/task/%00", 400, "INVALID_REQUEST").await;
        let long = format!("/pass/img/task/{}", "x".repeat(256));
        refused("GET", &long, 400, "INVALID_REQUEST").await;
        refused("GET", "/pass/img/task/a?wait=soon", 400, "INVALID_REQUEST").await;
        refused("GET", "/pass/img/task/list-by-condition", 405, "METHOD_NOT_ALLOWED").await;
        refused("POST", "/pass/img/task/a", 405, "METHOD_NOT_ALLOWED").await;
        refused("DELETE", "/pass/img/task/a/events", 405, "METHOD_NOT_ALLOWED").await;
        world.close().await;
    }

    async fn heads_and_models_of_such_names(db: TestDb) {
        let world = open(db).await;
        let ann = world.payer(100).await;
        task(&world.db, 1, &ann, IMG, "a", "completed").await;
        world.model("img/task/b", fixed(10), Reply::text("a model")).await;

        let whole = get(&world.server, &ann, "/pass/img/task/a").send().await.expect(200);
        for target in ["/pass/img/task/a", "/v1/tasks/a", "/v1/tasks", "/pass/img/task/a/events"] {
            let head = world.server.call("HEAD", target).key(&ann.key).send().await.expect(200);
            assert_eq!(head.text(), "", "{target}");
        }
        let head = world.server.call("HEAD", "/pass/img/task/a").key(&ann.key).send().await;
        assert_eq!(head.header("content-length"), Some(whole.body.len().to_string()));
        let missing = world.server.call("HEAD", "/pass/img/task/none").key(&ann.key).send().await;
        assert_eq!(missing.status, 404);
        let model = get(&world.server, &ann, "/pass/img/task/b").send().await.expect(200);
        assert_eq!(model.text(), "a model");
        world.wait_for_money(&ann, 90, 10).await;
        world.close().await;
    }

    async fn a_held_answer_comes_when_the_task_ends(db: TestDb) {
        let world = open(db).await;
        let ann = world.payer(0).await;
        for n in 1..=3 {
            task(&world.db, n, &ann, IMG, &format!("t{n}"), "submitted").await;
        }
        let began = Instant::now();
        let waiting = [
            "/pass/img/task/t1?wait=60",
            "/pass/img/task/t1/fetch?wait=60",
            "/v1/tasks/t1?wait=60",
            "/v1/tasks/t2?wait=60",
        ]
        .map(|target| tokio::spawn(get(&world.server, &ann, target).send()));
        // Its wait times out long before its task ends.
        let short = get(&world.server, &ann, "/v1/tasks/t3?wait=1").send().await.expect(200);
        assert_eq!(short.json()["status"], "submitted");
        assert!(began.elapsed() >= Duration::from_secs(1));
        becomes(&world.db, 1, "processing").await;
        becomes(&world.db, 1, "completed").await;
        // By hand: the change is not counted.
        let second = uid_sql(&world.db, 2);
        let hand = format!("UPDATE tasks SET status = 'failed' WHERE uid = {second}");
        world.db.execute(&hand).await;

        let mut ends = Vec::new();
        for answer in waiting {
            let answer = answer.await.unwrap().expect(200).json();
            let task = if answer["data"].is_null() { &answer } else { &answer["data"] };
            ends.push(task["status"].as_str().unwrap().to_owned());
        }
        assert_eq!(ends, ["completed", "completed", "completed", "failed"]);
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        // What has ended is not waited for.
        let done = get(&world.server, &ann, "/v1/tasks/t1?wait=60").send().await.expect(200);
        assert_eq!(done.json()["status"], "completed");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        world.close().await;
    }

    async fn a_task_that_goes_while_it_is_waited_for_is_gone(db: TestDb) {
        let world = open(db).await;
        let ann = world.payer(0).await;
        task(&world.db, 1, &ann, IMG, "a", "submitted").await;
        let mut events = get(&world.server, &ann, "/v1/tasks/a/events").stream().await;
        events.read_until("\n\n").await;
        let held = tokio::spawn(get(&world.server, &ann, "/v1/tasks/a?wait=60").send());

        world.db.execute("DELETE FROM tasks").await;

        held.await.unwrap().expect_error(404, "TASK_NOT_FOUND");
        assert_eq!(events.rest().await.unwrap(), "");
        world.close().await;
    }

    async fn events_tell_each_change_and_can_be_resumed(db: TestDb) {
        let world = open(db).await;
        let ann = world.payer(0).await;
        task(&world.db, 1, &ann, IMG, "a", "submitted").await;
        let target = "/pass/img/task/a/events";
        let follow = |last: &str| get(&world.server, &ann, target).header("Last-Event-ID", last);

        let mut events = get(&world.server, &ann, target).stream().await;
        assert_eq!(events.status, 200);
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "private, no-cache"),
            ("x-accel-buffering", "no"),
        ] {
            assert_eq!(events.header(name).as_deref(), Some(value));
        }
        let first = events.read_until("\n\n").await;
        assert!(first.starts_with("id: 1\nevent: task\ndata: {\"task_id\":\"a\","), "{first}");
        assert!(first.contains("\"status\":\"submitted\""), "{first}");
        let mut resumed = follow("1").stream().await;
        let mut behind = follow("0").stream().await;
        assert_eq!(behind.read_until("\n\n").await, first);

        becomes(&world.db, 1, "processing").await;
        let second = events.read_until("\n\n").await;
        assert!(second.starts_with("id: 2\n") && second.contains("\"processing\""), "{second}");
        assert_eq!(resumed.read_until("\n\n").await, second, "nothing is told twice");
        drop(resumed);

        becomes(&world.db, 1, "completed").await;
        let rest = String::from_utf8(events.rest().await.unwrap().to_vec()).unwrap();
        assert!(rest.starts_with("id: 3\n") && rest.contains("\"completed\""), "{rest}");
        assert_eq!(rest.matches("event: task").count(), 1, "{rest}");
        // Who comes later gets the end; who has it already is sent away for good.
        assert_eq!(follow("2").send().await.expect(200).text(), rest);
        assert_eq!(get(&world.server, &ann, target).send().await.expect(200).text(), rest);
        follow("3").send().await.expect(204);
        let own = get(&world.server, &ann, "/v1/tasks/a/events").send().await.expect(200).text();
        assert!(own.contains(&uid(1)), "{own}");
        world.close().await;
    }

    async fn whoever_is_locked_out_meanwhile_hears_no_more(db: TestDb) {
        let world = open(db).await;
        let ann = world.payer(0).await;
        task(&world.db, 1, &ann, IMG, "a", "submitted").await;
        let mut events = get(&world.server, &ann, "/pass/img/task/a/events").stream().await;
        events.read_until("\n\n").await;
        let held = held_answer(&world, &ann).await;

        world.db.execute(&format!("UPDATE users SET status = 2 WHERE id = {}", ann.id)).await;
        eventually("the user to be locked out", || async {
            let answer = get(&world.server, &ann, "/v1/tasks/a").send().await;
            (answer.status == 403).then_some(())
        })
        .await;
        becomes(&world.db, 1, "completed").await;

        assert_eq!(events.rest().await.unwrap(), "", "the end is not for them");
        held.await.unwrap().expect_error(403, "FORBIDDEN");
        world.close().await;
    }

    async fn a_stop_answers_those_who_wait(db: TestDb) {
        let mut world = open(db).await;
        let ann = world.payer(0).await;
        task(&world.db, 1, &ann, IMG, "a", "processing").await;
        let mut events = get(&world.server, &ann, "/v1/tasks/a/events").stream().await;
        events.read_until("\n\n").await;
        let held = held_answer(&world, &ann).await;
        world.server.signal(Signal::TERM);

        let answer = held.await.unwrap().expect(200).json();
        assert_eq!(answer["status"], "processing");
        assert_eq!(events.rest().await.unwrap(), "");
        let status = world.server.wait_exit().await;
        assert_eq!(status.code(), Some(0), "{}", world.server.log_lines().join("\n"));
        world.server.audit_clean().await;
    }
}

on_postgres! {
    async fn a_change_is_heard_on_every_node(db: TestDb) {
        let world = open(db).await;
        let second = node(&world.db, &STILL).await;
        let ann = world.payer(0).await;
        task(&world.db, 1, &ann, IMG, "a", "submitted").await;
        let began = Instant::now();
        let mut streams = Vec::new();
        let mut held = Vec::new();
        for server in [&world.server, &second] {
            let mut events = get(server, &ann, "/v1/tasks/a/events").stream().await;
            events.read_until("\n\n").await;
            streams.push(events);
            held.push(tokio::spawn(get(server, &ann, "/pass/img/task/a?wait=60").send()));
        }

        becomes(&world.db, 1, "failed").await;

        for (mut events, answer) in streams.into_iter().zip(held) {
            let end = String::from_utf8(events.rest().await.unwrap().to_vec()).unwrap();
            assert!(end.starts_with("id: 2\n") && end.contains("\"failed\""), "{end}");
            let answer = answer.await.unwrap().expect(200).json();
            assert_eq!(answer["data"]["status"], "failed");
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        world.close().await;
    }
}
