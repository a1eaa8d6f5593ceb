//! Polled tasks: how they end, what that costs, and which tasks a bad upstream delays.

use crate::world::{Money, Payer, World, fixed, node};
use serde_json::Value;
use std::time::Instant;
use testkit::{Reply, Signal, TestDb, Upstream, eventually, json, on_both_databases, within};

const IMG: &str = "img/submit";
const LIST: &str = "/img/task/list-by-condition";

const SOON: (&str, &str) = ("CUSTOM_PASS_POLL_INTERVAL", "1s");
/// Tasks are polled only on request.
const NEVER: (&str, &str) = ("CUSTOM_PASS_POLL_INTERVAL", "1h");

fn taken(id: impl Into<Value>) -> Reply {
    Reply::json(&json!({"code": 0, "data": {"task_id": id.into(), "status": "queued"}}))
}

fn list(elements: Value) -> Reply {
    Reply::json(&json!({"code": 0, "message": "ok", "data": elements}))
}

/// A model with a channel and a price, whose next submissions get these ids.
async fn model(world: &World, model: &str, price: Value, ids: &[&str]) -> i64 {
    let channel = world.model(model, price, Reply::failure(1, "no more")).await;
    queue(&world.upstream, model, ids);
    channel
}

fn queue(upstream: &Upstream, model: &str, ids: &[&str]) {
    for id in ids {
        upstream.queue(&format!("/{model}"), taken(*id));
    }
}

async fn submit(world: &World, model: &str, payer: &Payer, times: usize) {
    for _ in 0..times {
        world.pay(model, payer).await.expect(200);
    }
}

/// Waits until `done` holds for the row of a task, and returns it.
async fn wait_task(db: &TestDb, id: &str, done: impl Fn(&testkit::Row) -> bool) -> testkit::Row {
    let sql = format!("SELECT * FROM tasks WHERE task_id = '{id}'");
    eventually(&format!("task {id}"), || async {
        let row = db.row(&sql).await;
        done(&row).then_some(row)
    })
    .await
}

async fn wait_status(db: &TestDb, id: &str, status: &str) -> testkit::Row {
    wait_task(db, id, |row| row.text("status") == status).await
}

/// How often something was asked at this path.
async fn asked(upstream: &Upstream, path: &str) -> usize {
    upstream.requests().await.iter().filter(|one| one.path() == path).count()
}

/// Waits until this path has been asked so often since now, and answered.
async fn asked_again(upstream: &Upstream, path: &str, times: usize) {
    let before = asked(upstream, path).await;
    let done = |one: &&testkit::Recorded| one.path() == path && one.answered;
    upstream
        .wait_until("more questions", |all| all.iter().filter(done).count() >= before + times)
        .await;
}

/// Before the Nth second of its life nothing is too old.
async fn age(db: &TestDb, id: &str, seconds: i64) {
    let past = if db.is_postgres() {
        format!("lifetime_from - interval '{seconds} seconds'")
    } else {
        format!("lifetime_from - {}", seconds * 1000)
    };
    db.execute(&format!("UPDATE tasks SET lifetime_from = {past} WHERE task_id = '{id}'")).await;
}

on_both_databases! {
    async fn a_task_is_paid_by_its_use_at_the_price_of_its_submission(db: TestDb) {
        let world = World::with(db, &[NEVER, ("LOG_LEVEL", "debug")]).await;
        let price = json!({"ratio": 2.0, "min_hold": 300});
        let channel = model(&world, IMG, price, &["t-1"]).await;
        let ann = world.payer(1_000).await;
        submit(&world, IMG, &ann, 1).await;
        world.admin().price(IMG, json!({"ratio": 90.0, "min_hold": 300})).await;
        world.upstream.on(LIST, list(json!([{
            "task_id": "t-1", "status": "SUCCESS", "progress": "100%", "result": {"url": "u"},
            "usage": {"prompt_tokens": 10, "completion_tokens": 20},
        }])));
        world.server.signal(Signal::USR1);

        let row = wait_status(&world.db, "t-1", "completed").await;
        let amounts = ["quota", "precharge_quota", "used_quota"].map(|name| row.i64(name));
        assert_eq!(amounts, [60, 300, 60]);
        assert_eq!((row.text("upstream_status"), row.text("progress")), ("SUCCESS", "100%"));
        assert!(row.get("finish_time").is_some() && row.text("data").starts_with("enc:v1:"));
        assert_eq!(world.money(&ann).await, Money { quota: 940, used: 60, calls: 1 });

        let all = world.upstream.requests().await;
        let question = all.iter().find(|one| one.path() == LIST).unwrap();
        assert_eq!(question.json(), json!({"task_ids": ["t-1"]}));
        assert_eq!(question.header("authorization").as_deref(), Some("Bearer upstream-key"));
        assert_eq!(question.header("x-custom-token").as_deref(), Some(&*ann.key));
        assert_eq!(question.header("accept-encoding").as_deref(), Some("identity"));
        assert!(question.header("x-request-id").is_some());
        let asked = ["DEBUG", "polling_tasks", &format!("channel_id={channel}"), "task_count=1"];
        world.server.wait_for_log(&asked).await;
        let request_id = row.text("request_id");
        let ended = ["INFO", "task_finished", "task_id=t-1", "status=completed", "quota=60"];
        let line = world.server.wait_for_log(&ended).await;
        assert!(line.contains(&format!("request_id={request_id}")), "{line}");
        world.close().await;
    }

    async fn a_failed_task_costs_nothing_and_says_why(db: TestDb) {
        let world = World::with(db, &[SOON]).await;
        model(&world, IMG, json!({"fixed_quota": 50}), &["t-1", "t-2"]).await;
        let ann = world.payer(100).await;
        submit(&world, IMG, &ann, 2).await;
        world.upstream.on(LIST, list(json!([
            {"task_id": "t-1", "status": "failed", "error": {"message": "the cat ran away"}},
            {"task_id": "t-2", "status": "done"},
        ])));
        let row = wait_status(&world.db, "t-1", "failed").await;
        assert_eq!(row.text("fail_reason"), "the cat ran away");
        assert_eq!((row.i64("quota"), row.i64("used_quota")), (0, 0));
        let row = wait_status(&world.db, "t-2", "completed").await;
        assert_eq!((row.i64("quota"), row.i64("used_quota")), (50, 50));
        world.wait_for_money(&ann, 50, 50).await;
        assert_eq!(world.db.i64("SELECT count(*) FROM tasks WHERE quota > used_quota").await, 0);
        world.close().await;
    }

    async fn nothing_is_written_while_nothing_changes(db: TestDb) {
        let world = World::with(db, &[SOON]).await;
        model(&world, IMG, json!({"fixed_quota": 5}), &["t-1"]).await;
        let ann = world.payer(100).await;
        submit(&world, IMG, &ann, 1).await;
        world.upstream.on(LIST, list(json!([
            {"task_id": "t-1", "status": "running", "progress": "30%"},
        ])));
        let row = wait_task(&world.db, "t-1", |row| row.text("progress") == "30%").await;
        assert_eq!(row.text("status"), "processing");
        asked_again(&world.upstream, LIST, 3).await;
        assert_eq!(world.db.row("SELECT * FROM tasks").await, row);

        // The last step changes nothing either; nor does one that contradicts the end.
        world.upstream.on(LIST, list(json!([{"task_id": "t-1", "status": "done"}])));
        let row = wait_status(&world.db, "t-1", "completed").await;
        world.upstream.on(LIST, list(json!([{"task_id": "t-1", "status": "failed"}])));
        world.cli_poll().await;
        assert_eq!(world.db.row("SELECT * FROM tasks").await, row);
        world.close().await;
    }

    async fn a_word_on_no_list_is_unknown_until_somebody_explains_it(db: TestDb) {
        let world = World::with(db, &[SOON]).await;
        let channel = model(&world, IMG, json!({"fixed_quota": 5}), &["t-1"]).await;
        let ann = world.payer(100).await;
        submit(&world, IMG, &ann, 1).await;
        world.upstream.on(LIST, list(json!([
            {"task_id": "t-1", "status": "Ripening", "progress": "100%"},
        ])));
        let row = wait_status(&world.db, "t-1", "unknown").await;
        assert_eq!(row.text("upstream_status"), "Ripening");
        asked_again(&world.upstream, LIST, 3).await;
        let warned = |line: &String| line.contains("unknown_task_status");
        assert_eq!(world.server.log_lines().iter().filter(|line| warned(line)).count(), 1);
        assert!(world.server.metric("custompass_task_unknown_words_total").await >= 3);
        let in_queue = "custompass_tasks_in_queue{status=\"unknown\"}";
        eventually("the count", || async {
            (world.server.metric(in_queue).await == 1).then_some(())
        })
        .await;
        // Not a byte of the reply is different; its meaning is.
        world.db.execute(&format!(
            "UPDATE channels SET custompass_status_mapping = '{{\"success\": [\"ripening\"]}}'
             WHERE id = {channel}"
        )).await;
        wait_status(&world.db, "t-1", "completed").await;
        world.close().await;
    }

    async fn numbers_go_back_as_numbers(db: TestDb) {
        // R56.
        let world = World::with(db, &[SOON]).await;
        world.model(IMG, json!({"fixed_quota": 5}), taken(9_007_199_254_740_993_i64)).await;
        let ann = world.payer(100).await;
        submit(&world, IMG, &ann, 1).await;
        world.upstream.on(LIST, list(json!([
            {"task_id": 9_007_199_254_740_993_i64, "status": "done"},
        ])));
        wait_status(&world.db, "9007199254740993", "completed").await;
        let all = world.upstream.requests().await;
        let question = all.iter().find(|one| one.path() == LIST).unwrap();
        assert_eq!(question.text(), r#"{"task_ids":[9007199254740993]}"#);
        world.close().await;
    }

    async fn a_bad_reply_harms_no_neighbour(db: TestDb) {
        let world = World::with(db, &[SOON]).await;
        model(&world, IMG, json!({"fixed_quota": 5}), &["a", "b", "c"]).await;
        let ann = world.payer(100).await;
        submit(&world, IMG, &ann, 3).await;
        world.upstream.on(LIST, list(json!([
            7, null, [], {"task_id": "a", "status": {"x": 1}}, {"status": "done"},
            {"task_id": "nobody", "status": "done"}, {"task_id": ["b"], "status": "done"},
            {"task_id": "b", "status": "done", "usage": {"prompt_tokens": -5}},
            {"task_id": "b", "status": "failed"},
        ])));
        wait_status(&world.db, "b", "completed").await;
        let line = world.server.wait_for_log(&["WARN", "poll_reply_odd"]).await;
        let counts = "task_count=3 malformed=6 strangers=1 duplicates=1 missing=2 bad_usage=1";
        assert!(line.contains(counts), "{line}");
        for id in ["a", "c"] {
            let row = wait_task(&world.db, id, |_| true).await;
            assert_eq!((row.text("status"), row.i64("quota")), ("processing", 5));
        }
        world.upstream.on(LIST, list(json!([
            {"task_id": "a", "status": "failed", "error": "x"}, {"task_id": "c", "status": "done"},
        ])));
        wait_status(&world.db, "a", "failed").await;
        wait_status(&world.db, "c", "completed").await;
        world.wait_for_money(&ann, 90, 10).await;
        world.close().await;
    }

    async fn what_is_no_reply_changes_nothing(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        model(&world, IMG, json!({"fixed_quota": 5}), &["t-1"]).await;
        let ann = world.payer(100).await;
        submit(&world, IMG, &ann, 1).await;
        let before = wait_task(&world.db, "t-1", |_| true).await;
        let huge = format!("{{\"code\":0,\"data\":[{}]}}", "[0],".repeat(25_000_000));
        let done = || list(json!([{"task_id": "t-1", "status": "done"}]));
        for (reply, word) in [
            (Reply::bytes("text/html", "<html><b>sorry</b></html>"), "unusable"),
            (Reply::failure(1001, "no"), "unusable"),
            (Reply::raw_json("{\"code\":0,\"data\":[{\"task_id\":\"t-1\""), "unusable"),
            (Reply::json(&json!({"code": 0, "data": {"task_id": "t-1"}})), "unusable"),
            (done().header("Content-Encoding", "br"), "unusable"),
            (Reply::raw_json(huge), "too_large"),
            (list(json!([])).status(500), "status"),
            (Reply::redirect(302, "/elsewhere"), "status"),
            (Reply::reset(), "broken"),
            (Reply::raw("nonsense\r\n\r\n"), "broken"),
        ] {
            world.upstream.on(LIST, reply);
            let sample = format!("custompass_task_questions_total{{result=\"{word}\"}}");
            let seen = world.server.metric(&sample).await;
            world.server.signal(Signal::USR1);
            eventually(word, || async {
                (world.server.metric(&sample).await > seen).then_some(())
            })
            .await;
        }
        assert_eq!(world.db.row("SELECT * FROM tasks").await, before);
        let lines = world.server.log_lines().join("\n");
        assert!(lines.contains("poll_failed") && !lines.contains("sorry"), "{lines}");
        assert!(world.peak_kib() < 350 << 10, "{} KiB", world.peak_kib());
        world.upstream.on(LIST, list(json!([{"task_id": "t-1", "status": "done"}])));
        world.server.signal(Signal::USR1);
        wait_status(&world.db, "t-1", "completed").await;
        world.close().await;
    }

    async fn one_task_that_the_upstream_can_not_bear_spoils_no_other(db: TestDb) {
        let world = World::with(db, &[SOON]).await;
        let ids: Vec<String> = (0..20).map(|n| format!("t-{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        model(&world, IMG, json!({"fixed_quota": 5}), &ids).await;
        let ann = world.payer(100).await;
        world.upstream.handle(LIST, |request| {
            let asked = request.json();
            let asked = asked["task_ids"].as_array().unwrap();
            if asked.contains(&json!("t-13")) {
                return Reply::new(500);
            }
            let done = |id: &Value| json!({"task_id": id, "status": "done"});
            list(asked.iter().map(done).collect())
        });
        submit(&world, IMG, &ann, 20).await;
        let left = "SELECT count(*) FROM tasks WHERE status <> 'completed'";
        eventually("all others to end", || async {
            (world.db.i64(left).await == 1).then_some(())
        })
        .await;
        world.upstream.on(LIST, list(json!([{"task_id": "t-13", "status": "done"}])));
        wait_status(&world.db, "t-13", "completed").await;
        world.close().await;
    }

    async fn a_task_that_is_too_old_is_asked_about_once_more(db: TestDb) {
        let world = World::with(db, &[NEVER, ("CUSTOM_PASS_TASK_MAX_LIFETIME", "100s")]).await;
        model(&world, IMG, json!({"fixed_quota": 5}), &["slow", "done", "young"]).await;
        let ann = world.payer(100).await;
        submit(&world, IMG, &ann, 3).await;
        for id in ["slow", "done"] {
            age(&world.db, id, 101).await;
        }
        world.upstream.on(LIST, list(json!([
            {"task_id": "slow", "status": "running"}, {"task_id": "done", "status": "done"},
            {"task_id": "young", "status": "running"},
        ])));
        world.server.signal(Signal::USR1);
        let row = wait_status(&world.db, "slow", "failed").await;
        assert!(row.text("fail_reason").contains("lifetime"), "{row:?}");
        wait_status(&world.db, "done", "completed").await;
        wait_status(&world.db, "young", "processing").await;
        assert_eq!(world.money(&ann).await.used, 5);

        // One that its upstream doesn't know any more, too.
        age(&world.db, "young", 101).await;
        world.upstream.on(LIST, list(json!([])));
        world.server.signal(Signal::USR1);
        wait_status(&world.db, "young", "failed").await;
        assert_eq!(world.money(&ann).await, Money { quota: 95, used: 5, calls: 1 });
        world.close().await;
    }

    async fn a_task_whose_upstream_is_gone_is_given_up_later(db: TestDb) {
        // Three intervals later, which a busy machine needs some of.
        let world = World::with(db, &[("CUSTOM_PASS_POLL_INTERVAL", "4s")]).await;
        let ids = ["t-1", "t-2"];
        let channel = model(&world, IMG, json!({"fixed_quota": 5}), &ids).await;
        let ann = world.payer(100).await;
        submit(&world, IMG, &ann, 2).await;
        world.upstream.on(LIST, Reply::reset());
        asked_at_least(&world.upstream, 4).await;
        age(&world.db, "t-1", 3_601).await;
        // Old, but not so old: the upstream may come back.
        asked_at_least(&world.upstream, 2).await;
        wait_status(&world.db, "t-1", "processing").await;
        age(&world.db, "t-1", 3_601).await;
        let row = wait_status(&world.db, "t-1", "failed").await;
        assert!(row.text("fail_reason").contains("does not answer"), "{row:?}");
        wait_status(&world.db, "t-2", "processing").await;

        // With SQL: the API keeps a channel that has unfinished tasks.
        world.db.execute(&format!("DELETE FROM channels WHERE id = {channel}")).await;
        age(&world.db, "t-2", 2 * 3_601).await;
        wait_status(&world.db, "t-2", "failed").await;
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn what_ended_long_ago_is_forgotten(db: TestDb) {
        let world = World::with(db, &[SOON]).await;
        model(&world, IMG, fixed(40), &["old", "young"]).await;
        world.upstream.on(LIST, list(json!([
            {"task_id": "old", "status": "done"}, {"task_id": "young", "status": "done"},
        ])));
        let ann = world.payer(100).await;
        submit(&world, IMG, &ann, 2).await;
        for id in ["old", "young"] {
            wait_status(&world.db, id, "completed").await;
        }
        let back = if world.db.is_postgres() { "interval '8 days'" } else { "8 * 86400000" };
        world
            .db
            .execute(&format!(
                "UPDATE tasks SET finish_time = finish_time - {back} WHERE task_id = 'old'"
            ))
            .await;
        let week = json!({"key": "CUSTOM_PASS_TASK_RETENTION_DAYS", "value": "7"});
        world.admin().put("/api/option", &week).await;
        eventually("the old task to be gone", || async {
            (world.db.i64("SELECT count(*) FROM tasks").await == 1).then_some(())
        })
        .await;
        assert_eq!(world.db.text("SELECT task_id FROM tasks").await, "young");
        assert_eq!(world.money(&ann).await.used, 80);
        world.close().await;
    }

    async fn a_disabled_channel_is_still_asked(db: TestDb) {
        let world = World::with(db, &[SOON]).await;
        let channel = model(&world, IMG, json!({"fixed_quota": 5}), &["t-1"]).await;
        let ann = world.payer(100).await;
        submit(&world, IMG, &ann, 1).await;
        world.db.execute(&format!("UPDATE channels SET status = 2 WHERE id = {channel}")).await;
        world.upstream.on(LIST, list(json!([{"task_id": "t-1", "status": "done"}])));
        wait_status(&world.db, "t-1", "completed").await;
        world.close().await;
    }

    async fn a_restart_and_a_command_poll_at_once(db: TestDb) {
        let mut world = World::with(db, &[NEVER]).await;
        model(&world, IMG, json!({"fixed_quota": 5}), &["t-1", "t-2"]).await;
        let ann = world.payer(100).await;
        submit(&world, IMG, &ann, 1).await;
        world.upstream.on(LIST, list(json!([{"task_id": "t-1", "status": "done"}])));
        world.server.restart().await;
        wait_status(&world.db, "t-1", "completed").await;
        submit(&world, IMG, &ann, 1).await;
        world.upstream.on(LIST, list(json!([{"task_id": "t-2", "status": "done"}])));
        world.cli_poll().await;
        wait_status(&world.db, "t-2", "completed").await;
        world.close().await;
    }

    async fn bad_channels_delay_nobody(db: TestDb) {
        let world = World::with(db, &[
            SOON, ("CUSTOM_PASS_TASK_TIMEOUT", "5s"), ("CUSTOM_PASS_MAX_CONCURRENT", "4"),
        ]).await;
        let ann = world.payer(100).await;
        for (name, reply) in [
            ("hangs/submit", Reply::hang()),
            ("hangs2/submit", Reply::hang()),
            ("garbage/submit", Reply::bytes("text/html", "<html>")),
        ] {
            model(&world, name, json!({"fixed_quota": 5}), &["x-1"]).await;
            let path = name.replace("/submit", "/task/list-by-condition");
            world.upstream.on(&format!("/{path}"), reply);
            submit(&world, name, &ann, 1).await;
        }
        for path in ["/hangs/task/list-by-condition", "/hangs2/task/list-by-condition"] {
            world.upstream.wait_until("the hanging ones", |all| {
                all.iter().any(|one| one.path() == path)
            }).await;
        }
        model(&world, IMG, json!({"fixed_quota": 5}), &["t-1"]).await;
        world.upstream.on(LIST, list(json!([{"task_id": "t-1", "status": "running"}])));
        submit(&world, IMG, &ann, 1).await;
        asked_again(&world.upstream, LIST, 1).await;
        // If each waited for those that hang, eight rounds would take longer than the test waits.
        asked_again(&world.upstream, LIST, 8).await;
        // They end, so that the audit finds no money put aside.
        for base in ["hangs", "hangs2", "garbage", "img"] {
            let done = json!([{"task_id": "x-1", "status": "failed"},
                              {"task_id": "t-1", "status": "failed"}]);
            world.upstream.on(&format!("/{base}/task/list-by-condition"), list(done));
        }
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn what_an_operator_ends_by_hand_is_refunded(db: TestDb) {
        let mut world = World::with(db, &[NEVER]).await;
        model(&world, IMG, json!({"fixed_quota": 5}), &["t-1", "t-2"]).await;
        let ann = world.payer(100).await;
        submit(&world, IMG, &ann, 2).await;
        world.upstream.on(LIST, list(json!([])));
        world.db.execute("UPDATE tasks SET status = 'failed' WHERE task_id = 't-1';
                          DELETE FROM tasks WHERE task_id = 't-2'").await;
        world.server.restart().await;
        world.wait_for_money(&ann, 100, 0).await;
        let row = wait_task(&world.db, "t-1", |row| row.get("finish_time").is_some()).await;
        assert_eq!((row.text("status"), row.i64("quota")), ("failed", 0));
        world.close().await;
    }
}

on_postgres! {
    async fn a_dead_node_is_replaced_within_two_intervals(db: TestDb) {
        let settings = [("CUSTOM_PASS_POLL_INTERVAL", "3s")];
        let mut world = World::with(db, &settings).await;
        let ann = world.payer(100).await;
        for base in ["a", "b", "c", "d"] {
            let name = format!("{base}/submit");
            model(&world, &name, json!({"fixed_quota": 5}), &["x"]).await;
            let path = format!("/{base}/task/list-by-condition");
            world.upstream.on(&path, list(json!([{"task_id": "x", "status": "running"}])));
            submit(&world, &name, &ann, 1).await;
        }
        let mut second = node(&world.db, &settings).await;
        for server in [&world.server, &second] {
            eventually("a fair share of the lanes", || async {
                (server.metric("custompass_task_lanes").await == 2).then_some(())
            })
            .await;
        }
        second.kill_9().await;
        let killed = Instant::now();
        let mut seen = Vec::new();
        for base in ["a", "b", "c", "d"] {
            let path = format!("/{base}/task/list-by-condition");
            let all = world.upstream.wait_until("a question after the death", |all| {
                all.iter().any(|one| one.path() == path && one.at > killed)
            }).await;
            seen = all.iter().filter(|one| one.at > killed).map(|one| one.target.clone()).collect();
        }
        // Meanwhile the survivor's own lanes had two rounds, or the third just began.
        let rounds = |base: &&str| seen.iter().filter(|path| path.starts_with(*base)).count();
        let most = ["/a/", "/b/", "/c/", "/d/"].iter().map(rounds).max().unwrap();
        assert!(most <= 3, "{seen:?}");

        // A node that stops gracefully leaves at once, regardless of the interval.
        second.start_again().await;
        eventually("a fair share again", || async {
            (second.metric("custompass_task_lanes").await == 2).then_some(())
        })
        .await;
        assert!(second.terminate().await.success());
        let left = "SELECT count(DISTINCT node_id) FROM task_lanes";
        assert_eq!(world.db.i64(left).await, 1);
        for base in ["a", "b", "c", "d"] {
            let path = format!("/{base}/task/list-by-condition");
            world.upstream.on(&path, list(json!([{"task_id": "x", "status": "failed"}])));
        }
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
        world.server.terminate().await;
    }

    async fn a_wish_to_poll_reaches_all_nodes(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let ann = world.payer(100).await;
        model(&world, IMG, json!({"fixed_quota": 5}), &["t-1"]).await;
        world.upstream.on(LIST, list(json!([{"task_id": "t-1", "status": "running"}])));
        submit(&world, IMG, &ann, 1).await;
        world.server.signal(Signal::USR1);
        wait_status(&world.db, "t-1", "processing").await;
        // The other node has no lane; a poll requested there reaches this one.
        let second = node(&world.db, &[NEVER]).await;
        world.upstream.on(LIST, list(json!([{"task_id": "t-1", "status": "done"}])));
        second.cli_ok(&["poll"]).await;
        wait_status(&world.db, "t-1", "completed").await;
        world.close().await;
    }
}

impl World {
    /// Runs `newapi poll`, which triggers polls where there are unfinished tasks.
    async fn cli_poll(&self) {
        let told = self.server.cli_ok(&["poll"]).await;
        assert!(told.contains("poll"), "{told}");
    }
}

/// Waits for `more` further polls, regardless of their result.
async fn asked_at_least(upstream: &Upstream, more: usize) {
    let before = asked(upstream, LIST).await;
    let heard = |all: &[testkit::Recorded]| {
        all.iter().filter(|one| one.path() == LIST).count() >= before + more
    };
    within("more questions", upstream.wait_until("questions", heard)).await;
}
