//! Tasks that no node polls, whose status is not understood, or that hold money for nothing.

use super::{Diagnosis, until};
use crate::world::{World, fixed};
use testkit::{Reply, Signal, TestDb, eventually, json, on_both_databases};

const LIST: &str = "/img/task/list-by-condition";
const SOON: (&str, &str) = ("CUSTOM_PASS_POLL_INTERVAL", "1s");

/// The upstream's reply about the task `t-0`.
fn says(status: &str) -> Reply {
    Reply::json(&json!({"code": 0, "data": [{"task_id": "t-0", "status": status}]}))
}

/// Submits `tasks` tasks to an upstream that gives `answer` when polled.
async fn submitted(world: &World, tasks: usize, answer: Reply) {
    world.model("img/submit", fixed(1), Reply::failure(1, "no more")).await;
    world.upstream.on(LIST, answer);
    let ann = world.payer(1_000).await;
    for id in 0..tasks {
        let taken = json!({"code": 0, "data": {"task_id": format!("t-{id}")}});
        world.upstream.queue("/img/submit", Reply::json(&taken));
        world.pay("img/submit", &ann).await.expect(200);
    }
}

async fn ended(world: &World) {
    eventually("the task to end", || async {
        let open = "SELECT count(*) FROM tasks WHERE finish_time IS NULL";
        (world.db.i64(open).await == 0).then_some(())
    })
    .await;
}

on_both_databases! {
    async fn a_word_on_no_list(db: TestDb) {
        let world = World::with(db, &[SOON]).await;
        submitted(&world, 1, says("pondering")).await;
        let diagnosis = until(&world, "status words", "bad", &[]).await;
        diagnosis.bad("status words", "\"pondering\" of channel 1", "custompass_status_mapping");
        let mapping = json!({"processing": ["pondering"], "success": ["done"], "failed": []});
        let mapping = json!({"id": 1, "custompass_status_mapping": mapping});
        world.admin().put("/api/channel", &mapping).await;
        until(&world, "status words", "good", &[]).await.well();
        world.upstream.on(LIST, says("done"));
        ended(&world).await;
        world.close().await;
    }

    async fn tasks_that_nobody_asks_about(db: TestDb) {
        let mut world = World::with(db, &[SOON]).await;
        submitted(&world, 1, says("running")).await;
        assert!(world.server.terminate().await.success());
        let past = if world.db.is_postgres() { "now() - interval '1 hour'" } else { "1000" };
        world.db.execute(&format!("UPDATE tasks SET created_at = {past}")).await;
        let diagnosis = Diagnosis::of(&world).await;
        diagnosis.bad("tasks asked about", "1 of img/submit on channel 1", "systemctl");
        world.server.start_again().await;
        until(&world, "tasks asked about", "good", &[]).await.well();
        world.upstream.on(LIST, says("done"));
        ended(&world).await;
        world.close().await;
    }

    async fn tasks_that_were_ended_or_deleted_with_sql(db: TestDb) {
        let mut world = World::with(db, &[SOON]).await;
        submitted(&world, 3, says("running")).await;
        assert!(world.server.terminate().await.success());
        world.db.execute("UPDATE tasks SET status = 'failed' WHERE task_id = 't-0'").await;
        world.db.execute("DELETE FROM tasks WHERE task_id = 't-1'").await;
        let diagnosis = Diagnosis::of(&world).await;
        diagnosis.bad("refunds of tasks", "2 tasks have ended, or are gone", "a running newapi");
        world.server.start_again().await;
        until(&world, "refunds of tasks", "good", &[]).await.well();
        let refund = ["task", "fail-and-refund", "t-2", "--reason", "no node asks"];
        world.server.cli_ok(&refund).await;
        assert_eq!(world.db.i64("SELECT sum(used_quota) FROM users").await, 0);

        // The handbook's repair query looks for such rows: no money is behind them.
        world.db.execute("UPDATE tasks SET quota = 5 WHERE task_id = 't-2'").await;
        let diagnosis = Diagnosis::of(&world).await;
        diagnosis.odd("rows of tasks", "1 ended tasks", "quota back to used_quota");
        diagnosis.good("audit");
        world.db.execute("UPDATE tasks SET quota = used_quota WHERE task_id = 't-2'").await;
        Diagnosis::of(&world).await.good("refunds of tasks");
        world.close().await;
    }
}

on_sqlite! {
    async fn an_upstream_that_says_nothing_about_tasks(db: TestDb) {
        let log = db.dir().join("newapi.log").display().to_string();
        let world = World::with(db, &[SOON, ("LOG_FILE", &log)]).await;
        submitted(&world, 1, Reply::text("down").status(500)).await;
        let diagnosis = eventually("doctor to find it", || async {
            world.server.signal(Signal::USR1);
            let diagnosis = Diagnosis::of(&world).await;
            diagnosis.is("channel 1 tasks", "bad").is_some().then_some(diagnosis)
        })
        .await;
        diagnosis.good("tasks asked about");
        diagnosis.bad("channel 1 tasks", "status 500", "newapi poll");
        world.upstream.on(LIST, says("done"));
        world.server.cli_ok(&["poll"]).await;
        ended(&world).await;
        until(&world, "channel calls", "good", &[]).await.well();
        world.close().await;
    }

    async fn a_long_queue(db: TestDb) {
        let world = World::with(db, &[SOON]).await;
        submitted(&world, 101, says("submitted")).await;
        let diagnosis = until(&world, "task queue", "odd", &[]).await;
        diagnosis.odd("task queue", "101 tasks", "CUSTOM_PASS_MAX_CONCURRENT");
        let all: Vec<_> =
            (0..101).map(|id| json!({"task_id": format!("t-{id}"), "status": "done"})).collect();
        world.upstream.on(LIST, Reply::json(&json!({"code": 0, "data": all})));
        ended(&world).await;
        until(&world, "task queue", "good", &[]).await.well();
        world.close().await;
    }

    async fn webhooks_that_nobody_sends(db: TestDb) {
        let mut world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        assert!(world.server.terminate().await.success());
        world
            .db
            .execute(&format!(
                "INSERT INTO webhook_deliveries (endpoint_id, user_id, task_uid, event, due_at)
                 VALUES (1, {}, x'01900000000000000000000000000001', 'task.completed', 1000)",
                ann.id
            ))
            .await;
        let diagnosis = Diagnosis::of(&world).await;
        diagnosis.bad("webhooks", "1 are overdue", "webhooks_stalled");
        world.server.start_again().await;
        until(&world, "webhooks", "good", &[]).await.well();
        world.close().await;
    }
}
