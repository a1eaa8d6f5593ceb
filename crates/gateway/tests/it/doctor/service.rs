//! The service, its settings, its memory, its calls.

use super::{Diagnosis, until};
use crate::house::{House, fixed};
use testkit::{Reply, TestDb, json, on_both_databases};

on_both_databases! {
    async fn a_healthy_house_is_well(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(1), Reply::text("ok")).await;
        let diagnosis = Diagnosis::with(&house, &[]).await;
        diagnosis.well();
        for name in ["service", "metrics", "database", "schema", "locked rows", "audit", "prices",
            "tasks asked about", "status words", "refunds of tasks", "channel 1 upstream"] {
            diagnosis.good(name);
        }
        let shown = house.server.cli_ok(&["doctor", "--offline"]).await;
        assert!(shown.contains("✓ audit: clean"), "{shown}");
        assert!(shown.contains("Everything that matters is well."), "{shown}");
        assert!(!shown.contains("channel 1 upstream"), "{shown}");
        house.close().await;
    }
}

on_sqlite! {
    async fn a_service_that_is_away_is_found(db: TestDb) {
        let mut house = House::open(db).await;
        house.model("m", fixed(1), Reply::text("ok")).await;
        assert!(house.server.terminate().await.success());
        let diagnosis = Diagnosis::of(&house).await;
        diagnosis.bad("service", "nothing answers on", "systemctl status newapi");
        diagnosis.bad("metrics", "nothing answers on", "METRICS_PORT");
        house.server.start_again().await;
        Diagnosis::of(&house).await.well();
        house.close().await;
    }

    async fn settings_that_mean_nothing_or_can_not_be_read(db: TestDb) {
        let mut house = House::open(db).await;
        house.model("m", fixed(1), Reply::text("ok")).await;
        house.server.set_env("CUSTOM_PASS_BATCH_SIZES", 5);
        house.server.set_env("GOGC", 100);
        house.server.set_env("CUSTOM_PASS_HTTP_TIMEOUT", "soon");
        let diagnosis = Diagnosis::of(&house).await;
        diagnosis.odd("CUSTOM_PASS_BATCH_SIZES", "not a setting", "unset it");
        diagnosis.odd("GOGC", "", "unset it");
        diagnosis.bad("configuration", "CUSTOM_PASS_HTTP_TIMEOUT", "newapi config");
        house.server.set_env("CUSTOM_PASS_HTTP_TIMEOUT", "60s");
        Diagnosis::of(&house).await.well();
        house.close().await;
    }

    async fn too_much_memory_is_found(db: TestDb) {
        let mut house = House::with(db, &[("MEMORY_LIMIT", "1MiB")]).await;
        house.model("m", fixed(1), Reply::text("ok")).await;
        let ann = house.payer(100).await;
        house.server.wait_for_log(&["memory_limit"]).await;
        house.pay("m", &ann).await.expect_error(503, "OVERLOADED");
        let diagnosis = Diagnosis::of(&house).await;
        diagnosis.bad("memory", "above MEMORY_LIMIT", "raise MEMORY_LIMIT");
        house.server.set_env("MEMORY_LIMIT", "1GiB");
        house.server.restart().await;
        house.pay("m", &ann).await.expect(200);
        Diagnosis::of(&house).await.well();
        house.close().await;
    }

    async fn calls_that_fail_are_found_with_what_fails_most(db: TestDb) {
        let log = db.dir().join("newapi.log").display().to_string();
        let house = House::with(db, &[("LOG_FILE", &log)]).await;
        let channel = house.model("m", fixed(1), Reply::text("ok")).await;
        house.admin().price("img/submit", fixed(1)).await;
        let ann = house.payer(1_000).await;
        for _ in 0..20 {
            house.pay("m", &ann).await.expect(200);
        }
        until(&house, "error rate", "good", &[]).await.well();

        // The handbook's mistake: the model of a task without /submit.
        let models = |models: &[&str]| json!({"id": channel, "models": models});
        house.admin().put("/api/channel", &models(&["m", "img"])).await;
        for _ in 0..20 {
            house.pay("img/submit", &ann).await.expect_error(404, "MODEL_NOT_FOUND");
        }
        let diagnosis = until(&house, "error rate", "bad", &[]).await;
        diagnosis.bad("error rate", "MODEL_NOT_FOUND", "/submit");
        diagnosis.odd("models", "img/submit (a channel has img:", "into a channel's list");
        diagnosis.odd("prices", "cost nothing: img", "newapi price set");

        house.admin().put("/api/channel", &models(&["m", "img/submit"])).await;
        for _ in 0..100 {
            house.pay("m", &ann).await.expect(200);
        }
        let diagnosis = until(&house, "error rate", "good", &[]).await;
        diagnosis.well();
        diagnosis.good("prices");
        house.close().await;
    }

    async fn without_a_log_file_the_rate_since_the_start_is_what_there_is(db: TestDb) {
        let mut house = House::open(db).await;
        house.model("m", fixed(1), Reply::text("no").status(400)).await;
        let ann = house.payer(1_000).await;
        for _ in 0..20 {
            house.pay("m", &ann).await.expect(400);
        }
        let diagnosis = Diagnosis::of(&house).await;
        diagnosis.bad("error rate", "100 % of 20 calls", "custompass_errors_total");
        house.server.restart().await;
        Diagnosis::of(&house).await.well();
        house.close().await;
    }

    async fn slow_calls_are_found(db: TestDb) {
        let log = db.dir().join("newapi.log").display().to_string();
        let house = House::with(db, &[("LOG_FILE", &log)]).await;
        let slow = Reply::text("ok").delay(std::time::Duration::from_millis(2));
        house.model("m", fixed(1), slow).await;
        let ann = house.payer(1_000).await;
        for _ in 0..20 {
            house.pay("m", &ann).await.expect(200);
        }
        let diagnosis = until(&house, "response time", "odd", &["--slow-call", "1ms"]).await;
        diagnosis.odd("response time", "100 % of the last 20", "custompass_overhead_seconds");
        until(&house, "response time", "good", &[]).await.well();
        house.close().await;
    }
}
