//! Calls with an unknown outcome: the hold is released at its deadline, and the log records it.

use crate::world::{World, fixed};
use std::time::Duration;
use testkit::{Gate, Reply, Step, TestDb, eventually, json, on_both_databases};

on_both_databases! {
    async fn a_timeout_after_sending_is_an_unknown_outcome(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_HTTP_TIMEOUT", "300ms")]).await;
        world.model("m", fixed(30), Reply::hang()).await;
        let ann = world.payer(100).await;

        world.pay("m", &ann).await.expect_error(504, "TIMEOUT");

        // The upstream may have done the work: the money waits.
        assert_eq!(world.money(&ann).await.quota, 70);
        assert_eq!(world.open_holds().await, 1);
        world.pass_deadlines().await;
        world.wait_for_money(&ann, 100, 0).await;
        let line = world.db.row("SELECT content, held FROM logs WHERE type = 'error'").await;
        assert!(line.text("content").contains("unknown_outcome"), "{line:?}");
        assert_eq!(line.i64("held"), 30);
        assert_eq!(world.open_holds().await, 0);
        eventually("the metrics to say so", || async {
            let sample = "custompass_quota_total{kind=\"unknown_outcome\"}";
            (world.server.metric(sample).await == 30).then_some(())
        })
        .await;
        let report = world.admin().get("/api/audit/ledger").await;
        assert_eq!(report["unknown_outcome"], 30, "{report}");
        world.close().await;
    }

    async fn an_unknown_outcome_gives_its_hold_back_when_the_operator_says(db: TestDb) {
        let settings = [("CUSTOM_PASS_HTTP_TIMEOUT", "300ms"), ("CUSTOM_PASS_UNKNOWN_AFTER", "1s")];
        let world = World::with(db, &settings).await;
        world.model("m", fixed(30), Reply::hang()).await;
        let ann = world.payer(100).await;

        world.pay("m", &ann).await.expect_error(504, "TIMEOUT");

        // No deadline is moved: it is the setting that says when.
        world.wait_for_money(&ann, 100, 0).await;
        assert_eq!(world.open_holds().await, 0);
        world.close().await;
    }

    async fn a_live_nodes_holds_are_never_touched(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        world.model("long", fixed(30), Reply::text("done").gated(&gate)).await;
        world.upstream.on("/lost", Reply::hang());
        world.channel(&["lost"], json!({"setting": {"timeout": "1s"}})).await;
        world.admin().price("lost", fixed(7)).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/long").key(&ann.key).json(&json!({}));
        let running = tokio::spawn(call.send());
        gate.reached(1).await;
        world.pay("lost", &ann).await.expect_error(504, "TIMEOUT");

        // Both deadlines have passed; the sweeper releases the one whose call is no longer running.
        world.pass_deadlines().await;
        world.wait_for_money(&ann, 70, 0).await;

        assert_eq!(world.open_holds().await, 1);
        gate.open();
        running.await.unwrap().expect(200);
        assert_eq!(world.money(&ann).await.used, 30);
        world.close().await;
    }
}

on_sqlite! {
    async fn a_channels_own_timeout_wins(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_HTTP_TIMEOUT", "300ms")]).await;
        let gate = Gate::new();
        world.upstream.on("/m", Reply::text("at last").gated(&gate));
        world.upstream.on("/quick", Reply::hang());
        world.channel(&["m"], json!({"setting": {"timeout": 30}})).await;
        world.channel(&["quick"], json!({})).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let running = tokio::spawn(call.send());
        gate.reached(1).await;

        // The general one runs out while the patient channel waits.
        world.pay("quick", &ann).await.expect_error(504, "TIMEOUT");
        gate.open();

        assert_eq!(running.await.unwrap().expect(200).text(), "at last");
        world.close().await;
    }

    async fn only_a_timeout_is_a_504(db: TestDb) {
        let world = World::open(db).await;
        for (model, reply) in [("reset", Reply::reset()), ("closed", Reply::close())] {
            world.model(model, fixed(1), reply).await;
        }
        let ann = world.payer(100).await;

        for model in ["reset", "closed"] {
            world.pay(model, &ann).await.expect_error(502, "UPSTREAM_ERROR");
        }

        world.pass_deadlines().await;
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn a_call_has_a_limit_in_all(db: TestDb) {
        let short = ["CUSTOM_PASS_TOTAL_TIMEOUT", "CUSTOM_PASS_HTTP_TIMEOUT",
            "CUSTOM_PASS_IDLE_TIMEOUT"];
        let world = World::with(db, &short.map(|name| (name, "1s"))).await;
        let drip = Step::Endless("data: {}\n\n".into(), Duration::from_millis(20));
        world.model("m", fixed(30), Reply::sse::<&str>([]).step(drip)).await;
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let cut = call.try_send().await;

        assert!(cut.is_err(), "an endless stream is cut, never ended");
        world.wait_for_money(&ann, 70, 30).await;
        world.close().await;
    }
}
