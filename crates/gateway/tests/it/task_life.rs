//! Whole lives of tasks: from a submission to the webhook about its end, and through `kill -9` at
//! any moment.
//!
//! `STORM_ROUNDS` makes the storm longer, as in `crash.rs`.

use crate::world::{NEWAPI, World, fixed};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use testkit::{Reply, TestDb, eventually, json, on_both_databases, within};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const PRICE: i64 = 40;
const START: i64 = 1_000_000;
const SOON: [(&str, &str); 2] =
    [("CUSTOM_PASS_POLL_INTERVAL", "1s"), ("WEBHOOK_ALLOW_NETS", "127.0.0.0/8")];

/// The trial upstream as a process of its own: it outlives the server, and honours
/// `Idempotency-Key`.
async fn trial_upstream() -> (Child, String) {
    let mut child = Command::new(NEWAPI)
        .args(["mock-upstream", "--port", "0"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within("the trial upstream", lines.next_line()).await.unwrap().unwrap();
    let url = line.split_whitespace().last().unwrap().to_owned();
    (child, url)
}

fn rounds() -> u64 {
    std::env::var("STORM_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

on_both_databases! {
    async fn an_end_is_told_where_the_user_and_the_submission_want(db: TestDb) {
        let world = World::with(db, &SOON).await;
        let done = r#"{"code":0,"data":[{"task_id":"up-1","status":"DONE","result":{"n":1.50}}]}"#;
        world.upstream.on("/img/task/list-by-condition", Reply::raw_json(done));
        let taken = Reply::json(&json!({"code": 0, "data": {"task_id": "up-1"}}));
        world.model("img/submit", fixed(PRICE), taken).await;
        world.upstream.on("/hook", Reply::text("ok"));
        world.upstream.on("/own-hook", Reply::text("ok"));
        let ann = world.payer(100).await;
        let url = |path: &str| format!("{}{path}", world.upstream.url());
        let endpoint = json!({"user_id": ann.id, "url": url("/hook")});
        world.admin().post("/api/webhook", &endpoint).await;

        let call = world.server.call("POST", "/pass/img/submit").key(&ann.key).json(&json!({}));
        let taken = call.header("X-Webhook-Url", url("/own-hook")).send().await.expect(200);
        let place = format!("{}?wait=30", taken.header("Location").unwrap());
        let ended = world.server.call("GET", &place).key(&ann.key).send().await.expect(200);
        assert_eq!(ended.json()["data"]["status"], "completed");

        let told = |path: &'static str| {
            world.upstream.wait_until(path, move |all| {
                all.iter().any(|one| one.complete && one.path() == path)
            })
        };
        for path in ["/hook", "/own-hook"] {
            let told = told(path).await;
            let told = told.iter().find(|one| one.path() == path).unwrap();
            let body = String::from_utf8(told.body.to_vec()).unwrap();
            assert!(body.contains(r#""type":"task.completed""#), "{body}");
            assert!(body.contains(r#""result":{"n":1.50}"#), "{body}");
            assert!(told.header("webhook-signature").unwrap().starts_with("v1,"));
        }
        assert_eq!((world.money(&ann).await.quota, world.money(&ann).await.used), (60, PRICE));
        world.close().await;
    }

    async fn tasks_survive_kill_9(db: TestDb) {
        let mut world = World::with(db, &SOON).await;
        let (_upstream, url) = trial_upstream().await;
        let setting = json!({"base_url": url, "setting": {"idempotent": true}});
        world.channel(&["img/submit"], setting).await;
        world.admin().price("img/submit", fixed(PRICE)).await;
        let ann = world.payer(START).await;

        let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let workers: Vec<_> = ["", "?outcome=failed", "?polls=1", "?delay_ms=20"]
            .map(|query| {
                let target = format!("/pass/img/submit{query}");
                let call = world.server.call("POST", &target).key(&ann.key).json(&json!({}));
                let (stop, taken) = (Arc::clone(&stop), Arc::clone(&taken));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        match call.clone().try_send().await {
                            Ok(answer) if answer.status == 200 => {
                                taken.fetch_add(1, Ordering::Relaxed);
                            }
                            _ => tokio::time::sleep(Duration::from_millis(20)).await,
                        }
                        // A pace that leaves the poller something to do.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                })
            })
            .into();
        for round in 0..rounds() {
            let before = taken.load(Ordering::Relaxed);
            eventually("a few tasks to be taken", || async {
                (taken.load(Ordering::Relaxed) > before + 10).then_some(())
            })
            .await;
            // Each time at another moment between two polls.
            tokio::time::sleep(Duration::from_millis(round * 370 % 1_000)).await;
            world.server.kill_9().await;
            world.server.start_again().await;
        }
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.await.unwrap();
        }

        eventually("every task to end", || async {
            let open = "SELECT count(*) FROM tasks WHERE finish_time IS NULL";
            (world.db.i64(open).await == 0).then_some(())
        })
        .await;
        let count = |condition: &str| {
            let sql = format!("SELECT count(*) FROM tasks WHERE {condition}");
            let db = &world.db;
            async move { db.i64(&sql).await }
        };
        let completed = count("status = 'completed'").await;
        assert!(completed > 0 && count("status = 'failed'").await > 0);
        assert_eq!(count("quota <> used_quota OR used_quota NOT IN (0, 40)").await, 0);
        assert_eq!(count("status = 'completed' AND used_quota = 0").await, 0);
        assert_eq!(count("status = 'failed' AND used_quota <> 0").await, 0);
        let twice = "SELECT count(*) - count(DISTINCT task_id) FROM tasks WHERE task_id <> ''";
        assert_eq!(world.db.i64(twice).await, 0, "a submission was done twice");
        let known = count("task_id <> ''").await;
        assert!(known >= i64::try_from(taken.load(Ordering::Relaxed)).unwrap());
        world.wait_for_money(&ann, START - completed * PRICE, completed * PRICE).await;
        world.server.audit_clean().await;
    }
}
