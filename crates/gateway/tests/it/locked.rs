//! Rows locked by another session: one account waits, the others do not.

use crate::world::{Money, World, fixed};
use testkit::{Gate, Reply, TestDb, json};

const QUICK: &[(&str, &str)] =
    &[("CUSTOM_PASS_RETRY_COUNT", "2"), ("CUSTOM_PASS_RETRY_DELAY", "30ms")];

on_postgres! {
    async fn a_locked_account_is_busy_and_the_others_are_served(db: TestDb) {
        let world = World::with(db, QUICK).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let (ann, bob) = (world.payer(100).await, world.payer(1_000).await);
        let row = format!("SELECT 1 FROM users WHERE id = {} FOR UPDATE", ann.id);
        let held = world.db.transaction(&row).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let busy = tokio::spawn(call.send());
        for _ in 0..20 {
            world.pay("m", &bob).await.expect(200);
        }
        let busy = busy.await.unwrap().expect_error(503, "ACCOUNT_BUSY");

        assert!(busy.header("Retry-After").is_some());
        assert_eq!(world.upstream.count(), 20, "nothing was sent for the one that was busy");
        held.end().await;
        world.pay("m", &ann).await.expect(200);
        assert_eq!(world.money(&ann).await, Money { quota: 90, used: 10, calls: 1 });
        assert_eq!(world.money(&bob).await.used, 200);
        world.close().await;
    }

    async fn a_settlement_waits_for_as_long_as_it_takes(db: TestDb) {
        let world = World::with(db, QUICK).await;
        let gate = Gate::new();
        world.model("m", fixed(10), Reply::text("ok").gated(&gate)).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let running = tokio::spawn(call.send());
        gate.reached(1).await;
        let row = format!("SELECT 1 FROM users WHERE id = {} FOR UPDATE", ann.id);
        let held = world.db.transaction(&row).await;
        gate.open();

        // A second call finds the account busy, which shows that the lock outlasts the retries.
        world.pay("m", &ann).await.expect_error(503, "ACCOUNT_BUSY");
        assert_eq!(world.open_holds().await, 1);
        held.end().await;

        running.await.unwrap().expect(200);
        assert_eq!(world.money(&ann).await, Money { quota: 90, used: 10, calls: 1 });
        world.close().await;
    }

    async fn a_locked_key_is_busy_too(db: TestDb) {
        let world = World::with(db, QUICK).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let limited = json!({"unlimited_quota": false, "remain_quota": 50});
        let small = world.key(&ann, limited).await;
        let row = format!("SELECT 1 FROM tokens WHERE id = {} FOR UPDATE", small.token_id);
        let held = world.db.transaction(&row).await;

        world.pay("m", &small).await.expect_error(503, "ACCOUNT_BUSY");
        world.pay("m", &ann).await.expect(200);

        held.end().await;
        world.pay("m", &small).await.expect(200);
        world.close().await;
    }
}

on_sqlite! {
    async fn a_file_that_somebody_writes_to_is_waited_for(db: TestDb) {
        let world = World::with(db, QUICK).await;
        let gate = Gate::new();
        world.model("slow", fixed(10), Reply::text("ok").gated(&gate)).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/slow").key(&ann.key).json(&json!({}));
        let running = tokio::spawn(call.send());
        gate.reached(1).await;

        // An operator's shell with an open transaction: on SQLite that stops every writer.
        let held = world.db.transaction("UPDATE users SET display_name = 'x'").await;
        gate.open();
        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        let second = tokio::spawn(call.send());
        let answer = world.server.call("GET", "/v1/models").key(&ann.key).send().await;
        assert_eq!(answer.status, 200, "who only reads is served: {}", answer.text());
        held.end().await;

        running.await.unwrap().expect(200);
        let second = second.await.unwrap();
        assert!(matches!(second.status, 200 | 503), "{}", second.text());
        let used = if second.status == 200 { 11 } else { 10 };
        world.wait_for_money(&ann, 100 - used, used).await;
        world.close().await;
    }
}
