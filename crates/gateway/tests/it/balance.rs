//! Who has too little money, and who has less than none.

use crate::house::{House, Money, by_use, fixed};
use testkit::{Gate, Reply, TestDb, json, on_both_databases};

on_both_databases! {
    async fn without_money_the_upstream_sees_nothing(db: TestDb) {
        let house = House::open(db).await;
        house.model("fixed", fixed(60), Reply::text("x")).await;
        house.model("used", by_use(), Reply::result(1, 1)).await;
        let ann = house.payer(59).await;
        let nil = house.payer(0).await;

        let refused = house.pay("fixed", &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");
        let text = refused.text();
        assert!(text.contains("余额不足"), "{text}");
        assert!(text.contains("60") && text.contains("59"), "needed, and there: {text}");
        house.pay("used", &nil).await.expect_error(402, "INSUFFICIENT_QUOTA");

        assert_eq!(house.upstream.count(), 0);
        assert_eq!(house.money(&ann).await, Money { quota: 59, used: 0, calls: 0 });
        assert!(house.journal(&ann).await.is_empty());
        house.close().await;
    }

    async fn the_last_quota_can_be_spent(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(60), Reply::text("x")).await;
        let ann = house.payer(60).await;

        house.pay("m", &ann).await.expect(200);

        assert_eq!(house.money(&ann).await, Money { quota: 0, used: 60, calls: 1 });
        house.pay("m", &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");
        house.close().await;
    }

    async fn min_hold_must_be_there_before_anything_is_sent(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", json!({"ratio": 1, "min_hold": 50}), Reply::result(2, 3)).await;
        let (ann, bob) = (house.payer(49).await, house.payer(50).await);

        house.pay("m", &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");
        assert_eq!(house.upstream.count(), 0);
        house.pay("m", &bob).await.expect(200);

        assert_eq!(house.money(&bob).await, Money { quota: 45, used: 5, calls: 1 });
        let journal = ["consume 5 -5 of 50"];
        assert_eq!(house.journal(&bob).await, journal);
        house.close().await;
    }

    async fn work_that_was_done_is_paid_even_below_zero(db: TestDb) {
        let house = House::open(db).await;
        house.upstream.on("/m", Reply::result(100, 100));
        house.channel(&["m"], json!({"setting": {"precharge": "off"}})).await;
        house.admin().price("m", by_use()).await;
        let ann = house.payer(10).await;

        house.pay("m", &ann).await.expect(200);
        assert_eq!(house.money(&ann).await, Money { quota: -190, used: 200, calls: 1 });
        assert_eq!(house.journal(&ann).await, ["consume 200 -200 of 1"]);

        // Below zero nothing goes any more, until somebody tops up.
        house.pay("m", &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");
        assert_eq!(house.upstream.count(), 1);
        house.admin().add_quota(ann.id, 400, "paid by transfer").await;
        house.pay("m", &ann).await.expect(200);
        assert_eq!(house.money(&ann).await, Money { quota: 10, used: 400, calls: 2 });
        house.close().await;
    }

    async fn a_key_has_a_limit_of_its_own(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(60), Reply::text("x")).await;
        let ann = house.payer(10_000).await;
        let limited = json!({"unlimited_quota": false, "remain_quota": 100});
        let small = house.key(&ann, limited).await;

        house.pay("m", &small).await.expect(200);
        house.pay("m", &small).await.expect_error(402, "INSUFFICIENT_QUOTA");

        assert_eq!(house.upstream.count(), 1);
        assert_eq!(key_remain(&house, small.token_id).await, 40);
        // The user's other key is none the poorer.
        house.pay("m", &ann).await.expect(200);
        assert_eq!(house.money(&ann).await, Money { quota: 9_880, used: 120, calls: 2 });
        house.close().await;
    }

    async fn what_goes_back_goes_back_to_the_key_too(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", json!({"ratio": 1, "min_hold": 90}), Reply::result(10, 10)).await;
        house.model("fails", fixed(80), Reply::failure(7, "no")).await;
        let ann = house.payer(10_000).await;
        let limited = json!({"unlimited_quota": false, "remain_quota": 100});
        let small = house.key(&ann, limited).await;

        house.pay("m", &small).await.expect(200);
        assert_eq!(key_remain(&house, small.token_id).await, 80);
        house.pay("fails", &small).await.expect(200);
        assert_eq!(key_remain(&house, small.token_id).await, 80);
        house.close().await;
    }

    async fn a_balance_is_moved_and_never_set(db: TestDb) {
        let house = House::open(db).await;
        let ann = house.payer(1_000).await;
        let path = format!("/api/user/{}/quota", ann.id);
        let admin = house.admin();

        admin.add_quota(ann.id, 500, "bonus").await;
        admin.add_quota(ann.id, -200, "correction").await;
        assert_eq!(house.money(&ann).await.quota, 1_300);
        let without_reason = admin.try_post(&path, &json!({"quota": 5})).await;
        assert!(matches!(without_reason.status, 400 | 422), "{}", without_reason.text());
        let user = format!("/api/user/{}", ann.id);
        let set = admin.call("PUT", &user).json(&json!({"quota": 5})).send().await.expect(422);
        assert!(set.text().contains("/quota"), "it says how: {}", set.text());

        assert_eq!(house.money(&ann).await.quota, 1_300);
        house.close().await;
    }

    async fn held_money_cannot_be_spent_twice(db: TestDb) {
        let house = House::open(db).await;
        let gate = Gate::new();
        house.model("slow", fixed(80), Reply::text("x").gated(&gate)).await;
        house.model("m", fixed(30), Reply::text("x")).await;
        let ann = house.payer(100).await;
        let call = house.server.call("POST", "/pass/slow").key(&ann.key).json(&json!({}));
        let running = tokio::spawn(call.send());
        house.upstream.wait_for_requests(1).await;

        assert_eq!(house.money(&ann).await, Money { quota: 20, used: 0, calls: 0 });
        house.pay("m", &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");
        gate.open();

        running.await.unwrap().expect(200);
        assert_eq!(house.money(&ann).await, Money { quota: 20, used: 80, calls: 1 });
        house.close().await;
    }
}

on_both_databases! {
    async fn what_is_removed_meanwhile_is_settled_all_the_same(db: TestDb) {
        let house = House::open(db).await;
        let gate = Gate::new();
        let channel = house.model("m", by_use(), Reply::result(10, 20).gated(&gate)).await;
        let ann = house.payer(1_000).await;
        let limited = json!({"unlimited_quota": false, "remain_quota": 500});
        let small = house.key(&ann, limited).await;
        let call = house.server.call("POST", "/pass/m").key(&small.key).json(&json!({}));
        let running = tokio::spawn(call.send());
        gate.reached(1).await;

        let admin = house.admin();
        admin.delete(&format!("/api/token/{}", small.token_id)).await;
        admin.delete(&format!("/api/channel/{channel}")).await;
        admin.delete("/api/ability?model_name=m").await;
        admin.delete(&format!("/api/user/{}", ann.id)).await;
        gate.open();

        let answer = running.await.unwrap().expect(200);
        assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("30"));
        assert_eq!(house.money(&ann).await, Money { quota: 970, used: 30, calls: 1 });
        house.close().await;
    }

    async fn calls_that_share_a_request_id_are_calls_of_their_own(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(10), Reply::text("x")).await;
        let ann = house.payer(100).await;
        for _ in 0..2 {
            let call = house.server.call("POST", "/pass/m").key(&ann.key);
            call.header("X-Request-Id", "always-the-same").send().await.expect(200);
        }

        assert_eq!(house.money(&ann).await, Money { quota: 80, used: 20, calls: 2 });
        house.close().await;
    }

    async fn a_price_of_nothing_needs_no_money_but_no_debts(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(0), Reply::text("x")).await;
        let nil = house.payer(0).await;

        house.pay("m", &nil).await.expect(200);

        assert_eq!(house.money(&nil).await.quota, 0);
        let sql = format!("UPDATE users SET quota = 0 - 1 WHERE id = {}", nil.id);
        house.db.execute(&sql).await;
        house.pay("m", &nil).await.expect_error(402, "INSUFFICIENT_QUOTA");
        house.close().await;
    }
}

async fn key_remain(house: &House, token_id: i64) -> i64 {
    house.db.i64(&format!("SELECT remain_quota FROM tokens WHERE id = {token_id}")).await
}
