//! Replies about tasks, however large, stay within the memory budget.

use crate::memory::{MIB, close, open};
use crate::world::{Payer, World, fixed};
use std::sync::atomic::{AtomicUsize, Ordering};
use testkit::{Recorded, Reply, Signal, TestDb, eventually, json};

const RESULT_BYTES: usize = 3 * MIB;

/// Waits until the upstream's word about each of the tasks is this one.
async fn wait_for_word(world: &World, word: &str, count: i64) {
    let sql = format!("SELECT count(*) FROM tasks WHERE upstream_status = '{word}'");
    // They come one after the other, each with the patience of one.
    for nth in 1..=count {
        eventually(&format!("task {nth} to be {word}"), || async {
            // Lanes ask again, as they do every few seconds where something was left.
            world.server.signal(Signal::USR1);
            (world.db.i64(&sql).await >= nth).then_some(())
        })
        .await;
    }
}

/// A reply that says this of each task that is asked about, with a result of `bytes`.
fn reports(request: &Recorded, status: &str, bytes: usize) -> Reply {
    let ids: Vec<_> = request.json()["task_ids"].as_array().unwrap().clone();
    let mut once: Vec<_> = ids.iter().map(ToString::to_string).collect();
    once.dedup();
    let result = "r".repeat(bytes);
    let elements: Vec<_> = once
        .iter()
        .map(|id| format!(r#"{{"task_id":{id},"status":"{status}","result":"{result}"}}"#))
        .collect();
    Reply::raw_json(format!(r#"{{"code":0,"data":[{}]}}"#, elements.join(",")))
}

async fn submitted(world: &World, model: &str, owner: &Payer, count: usize) {
    for _ in 0..count {
        world.pay(model, owner).await.expect(200);
    }
}

on_sqlite! {
    async fn large_replies_about_tasks_of_many_lanes(db: TestDb) {
        let world = open(db).await;
        let next = AtomicUsize::new(0);
        let (ann, bob) = (world.payer(100).await, world.payer(100).await);
        world.upstream.otherwise_handle(move |request| {
            if request.path().ends_with("/task/list-by-condition") {
                return reports(request, "running", RESULT_BYTES);
            }
            let id = next.fetch_add(1, Ordering::Relaxed).to_string();
            Reply::json(&json!({"code": 0, "data": {"task_id": id, "status": "queued"}}))
        });
        for lane in 0..3 {
            let model = format!("img{lane}/submit");
            world.channel(&[&model], json!({})).await;
            world.admin().price(&model, fixed(1)).await;
            for owner in [&ann, &bob] {
                submitted(&world, &model, owner, 3).await;
            }
        }

        wait_for_word(&world, "running", 18).await;

        world.upstream.otherwise_handle(|request| reports(request, "done", RESULT_BYTES));
        wait_for_word(&world, "done", 18).await;
        assert_eq!((world.money(&ann).await.used, world.money(&bob).await.used), (9, 9));
        close(&world).await;
    }

    async fn one_large_result_of_many_tasks_of_the_same_id(db: TestDb) {
        let world = open(db).await;
        let ann = world.payer(100).await;
        let taken = json!({"code": 0, "data": {"task_id": "same", "status": "queued"}});
        world.model("img/submit", fixed(1), Reply::json(&taken)).await;
        submitted(&world, "img/submit", &ann, 16).await;
        world.upstream.handle("/img/task/list-by-condition", |request| {
            reports(request, "running", RESULT_BYTES)
        });

        wait_for_word(&world, "running", 16).await;

        world.upstream.handle("/img/task/list-by-condition", |request| {
            reports(request, "done", RESULT_BYTES)
        });
        wait_for_word(&world, "done", 16).await;
        assert_eq!(world.money(&ann).await.used, 16);
        close(&world).await;
    }
}
