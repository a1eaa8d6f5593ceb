//! The service, its settings, its memory, its calls.

use super::{Diagnosis, until};
use crate::world::{World, fixed};
use testkit::{Reply, TestDb, json, on_both_databases};

on_both_databases! {
    async fn a_healthy_house_is_well(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let diagnosis = Diagnosis::with(&world, &[]).await;
        diagnosis.well();
        for name in ["service", "metrics", "database", "schema", "locked rows", "audit", "prices",
            "tasks asked about", "status words", "refunds of tasks", "channel 1 upstream"] {
            diagnosis.good(name);
        }
        let shown = world.server.cli_ok(&["doctor", "--offline"]).await;
        assert!(shown.contains("✓ audit: clean"), "{shown}");
        assert!(shown.contains("Everything that matters is well."), "{shown}");
        assert!(!shown.contains("channel 1 upstream"), "{shown}");
        world.close().await;
    }
}

on_sqlite! {
    async fn a_service_that_is_away_is_found(db: TestDb) {
        let mut world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        assert!(world.server.terminate().await.success());
        let diagnosis = Diagnosis::of(&world).await;
        diagnosis.bad("service", "nothing answers on", "systemctl status newapi");
        diagnosis.bad("metrics", "nothing answers on", "METRICS_PORT");
        world.server.start_again().await;
        Diagnosis::of(&world).await.well();
        world.close().await;
    }

    async fn settings_that_mean_nothing_or_can_not_be_read(db: TestDb) {
        let mut world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        world.server.set_env("CUSTOM_PASS_BATCH_SIZES", 5);
        world.server.set_env("GOGC", 100);
        world.server.set_env("CUSTOM_PASS_HTTP_TIMEOUT", "soon");
        let diagnosis = Diagnosis::of(&world).await;
        diagnosis.odd("CUSTOM_PASS_BATCH_SIZES", "not a setting", "unset it");
        diagnosis.odd("GOGC", "", "unset it");
        diagnosis.bad("configuration", "CUSTOM_PASS_HTTP_TIMEOUT", "newapi config");
        world.server.set_env("CUSTOM_PASS_HTTP_TIMEOUT", "60s");
        Diagnosis::of(&world).await.well();
        world.close().await;
    }

    async fn too_much_memory_is_found(db: TestDb) {
        let mut world = World::with(db, &[("MEMORY_LIMIT", "1MiB")]).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        world.server.wait_for_log(&["memory_limit"]).await;
        world.pay("m", &ann).await.expect_error(503, "OVERLOADED");
        let diagnosis = Diagnosis::of(&world).await;
        diagnosis.bad("memory", "above MEMORY_LIMIT", "raise MEMORY_LIMIT");
        world.server.set_env("MEMORY_LIMIT", "1GiB");
        world.server.restart().await;
        world.pay("m", &ann).await.expect(200);
        Diagnosis::of(&world).await.well();
        world.close().await;
    }

    async fn calls_that_fail_are_found_with_what_fails_most(db: TestDb) {
        let log = db.dir().join("newapi.log").display().to_string();
        let world = World::with(db, &[("LOG_FILE", &log)]).await;
        let channel = world.model("m", fixed(1), Reply::text("ok")).await;
        world.admin().price("img/submit", fixed(1)).await;
        let ann = world.payer(1_000).await;
        for _ in 0..20 {
            world.pay("m", &ann).await.expect(200);
        }
        until(&world, "error rate", "good", &[]).await.well();

        // The handbook's mistake: the model of a task without /submit.
        let models = |models: &[&str]| json!({"id": channel, "models": models});
        world.admin().put("/api/channel", &models(&["m", "img"])).await;
        for _ in 0..20 {
            world.pay("img/submit", &ann).await.expect_error(404, "MODEL_NOT_FOUND");
        }
        let diagnosis = until(&world, "error rate", "bad", &[]).await;
        diagnosis.bad("error rate", "MODEL_NOT_FOUND", "/submit");
        diagnosis.odd("models", "img/submit (a channel has img:", "into a channel's list");
        diagnosis.odd("prices", "cost nothing: img", "newapi price set");

        world.admin().put("/api/channel", &models(&["m", "img/submit"])).await;
        for _ in 0..100 {
            world.pay("m", &ann).await.expect(200);
        }
        let diagnosis = until(&world, "error rate", "good", &[]).await;
        diagnosis.well();
        diagnosis.good("prices");
        world.close().await;
    }

    async fn without_a_log_file_the_rate_since_the_start_is_what_there_is(db: TestDb) {
        let mut world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("no").status(400)).await;
        let ann = world.payer(1_000).await;
        for _ in 0..20 {
            world.pay("m", &ann).await.expect(400);
        }
        let diagnosis = Diagnosis::of(&world).await;
        diagnosis.bad("error rate", "100 % of 20 calls", "custompass_errors_total");
        world.server.restart().await;
        Diagnosis::of(&world).await.well();
        world.close().await;
    }

    async fn slow_calls_are_found(db: TestDb) {
        let log = db.dir().join("newapi.log").display().to_string();
        let world = World::with(db, &[("LOG_FILE", &log)]).await;
        let slow = Reply::text("ok").delay(std::time::Duration::from_millis(2));
        world.model("m", fixed(1), slow).await;
        let ann = world.payer(1_000).await;
        for _ in 0..20 {
            world.pay("m", &ann).await.expect(200);
        }
        let diagnosis = until(&world, "response time", "odd", &["--slow-call", "1ms"]).await;
        diagnosis.odd("response time", "100 % of the last 20", "custompass_overhead_seconds");
        until(&world, "response time", "good", &[]).await.well();
        world.close().await;
    }
}
