//! Replies about tasks that are too large.

use crate::world::{World, fixed};
use testkit::{Recorded, Reply, Signal, TestDb, eventually, json, on_both_databases};

const LIST: &str = "/img/task/list-by-condition";
/// Above what is read of a reply.
const TOO_LARGE: usize = 17 * 1024 * 1024;

fn ids(request: &Recorded) -> Vec<serde_json::Value> {
    request.json()["task_ids"].as_array().unwrap().clone()
}

on_both_databases! {
    async fn a_lane_asks_about_fewer_tasks_after_a_reply_that_was_too_large(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_POLL_INTERVAL", "1h")]).await;
        world.model("img/submit", fixed(1), Reply::failure(1, "no more")).await;
        let ann = world.payer(100).await;
        for id in 0..8 {
            let taken = json!({"code": 0, "data": {"task_id": id.to_string(), "status": "queued"}});
            world.upstream.queue("/img/submit", Reply::json(&taken));
            world.pay("img/submit", &ann).await.expect(200);
        }
        let large = bytes::Bytes::from(vec![b' '; TOO_LARGE]);
        let answer = move |status: &'static str, large: bytes::Bytes| {
            move |request: &Recorded| {
                let ids = ids(request);
                if ids.len() > 2 {
                    return Reply::raw_json(large.clone());
                }
                let data: Vec<_> =
                    ids.iter().map(|id| json!({"task_id": id, "status": status})).collect();
                Reply::json(&json!({"code": 0, "data": data}))
            }
        };
        world.upstream.handle(LIST, answer("running", large.clone()));
        world.server.signal(Signal::USR1);
        let running = "SELECT count(*) FROM tasks WHERE upstream_status = 'running'";
        eventually("all to be asked about in halves", || async {
            (world.db.i64(running).await == 8).then_some(())
        })
        .await;

        world.upstream.forget();
        world.upstream.handle(LIST, answer("done", large));
        world.server.signal(Signal::USR1);
        eventually("all to end", || async {
            let ended = "SELECT count(*) FROM tasks WHERE status = 'completed'";
            (world.db.i64(ended).await == 8).then_some(())
        })
        .await;
        let sizes: Vec<usize> =
            world.upstream.requests().await.iter().map(|one| ids(one).len()).collect();
        assert!(sizes.iter().all(|size| *size <= 2), "{sizes:?}");
        world.close().await;
    }
}
