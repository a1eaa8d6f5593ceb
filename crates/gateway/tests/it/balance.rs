//! Who has too little money, and who has less than none.

use crate::world::{Money, World, by_use, fixed};
use testkit::{Gate, Reply, TestDb, json, on_both_databases};

on_both_databases! {
    async fn a_line_is_reversed_by_a_command(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let (ann, bob) = (world.payer(1_000).await, world.payer(1_000).await);
        let name = |id: i64| format!("SELECT username FROM users WHERE id = {id}");
        let (ann_name, bob_name) = (
            world.db.text(&name(ann.id)).await, world.db.text(&name(bob.id)).await,
        );
        world.server.cli_ok(&["user", "topup", &ann_name, "500", "--reason", "cash"]).await;
        let newest = "SELECT max(id) FROM logs WHERE type = 'topup'";
        let line = world.db.i64(newest).await.to_string();
        let reverse = |user: &str, line: &str, reason: &str| {
            let words = ["user", "reverse", user, line, "--reason", reason];
            words.map(str::to_owned).to_vec()
        };
        let run = async |words: &[String]| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let output = world.server.cli(&words).await;
            let text = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&text).into_owned())
        };
        for (words, why) in [
            (reverse(&bob_name, &line, "a slip"), "is not a deposit, an adjustment or a refund"),
            (reverse(&ann_name, "999999", "a slip"), "is not a deposit"),
            (reverse(&ann_name, &line, " "), "reason"),
            (reverse("nobody", &line, "a slip"), "no such user"),
            (reverse(&ann_name, &line, "a slip")[..4].to_vec(), "--reason"),
        ] {
            let (done, text) = run(&words).await;
            assert!(!done && text.contains(why), "{words:?}: {text}");
        }
        assert_eq!(world.money(&ann).await.quota, 1_500);

        let (done, text) = run(&reverse(&ann_name, &line, "a slip")).await;

        assert!(done && text.contains("→") && !text.contains("before"), "{text}");
        assert_eq!(world.money(&ann).await.quota, 1_000);
        let moved = "SELECT type, delta, content FROM logs WHERE delta <> 0
            ORDER BY id DESC LIMIT 1";
        let row = world.db.row(moved).await;
        assert_eq!((row.text("type"), row.i64("delta")), ("topup", -500));
        let content = format!("reversal of line {line}: a slip (by command line)");
        assert_eq!(row.text("content"), content);
        let (done, text) = run(&reverse(&ann_name, &line, "a slip")).await;
        assert!(done && text.contains("this line was reversed before"), "{text}");
        assert_eq!(world.money(&ann).await.quota, 1_000);
        // Who did it to whom stands in the admin journal.
        let told = "SELECT count(*) FROM logs WHERE type = 'manage'
            AND content LIKE '%冲正 -500 q'";
        assert_eq!(world.db.i64(told).await, 1);
        // A refund that is reversed is charged again.
        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        call.header("X-Request-Id", "call-1").send().await.expect(200);
        world.server.cli_ok(&["user", "topup", &ann_name, "4", "--refund-of", "call-1",
            "--reason", "our fault"]).await;
        let line = world.db.i64("SELECT max(id) FROM logs WHERE type = 'refund'").await;
        let (done, text) = run(&reverse(&ann_name, &line.to_string(), "it was right")).await;
        assert!(done, "{text}");
        assert_eq!((world.money(&ann).await.quota, world.money(&ann).await.used), (990, 10));
        world.close().await;
    }

    async fn without_money_the_upstream_sees_nothing(db: TestDb) {
        let world = World::open(db).await;
        world.model("fixed", fixed(60), Reply::text("x")).await;
        world.model("used", by_use(), Reply::result(1, 1)).await;
        let ann = world.payer(59).await;
        let nil = world.payer(0).await;

        let refused = world.pay("fixed", &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");
        let text = refused.text();
        assert!(text.contains("余额不足"), "{text}");
        assert!(text.contains("60") && text.contains("59"), "needed, and there: {text}");
        world.pay("used", &nil).await.expect_error(402, "INSUFFICIENT_QUOTA");

        assert_eq!(world.upstream.count(), 0);
        assert_eq!(world.money(&ann).await, Money { quota: 59, used: 0, calls: 0 });
        assert!(world.journal(&ann).await.is_empty());
        world.close().await;
    }

    async fn a_spent_deposit_that_is_reversed_leaves_a_debt(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(60), Reply::text("x")).await;
        let ann = world.payer(100).await;
        world.pay("m", &ann).await.expect(200);
        let lines = format!("/api/log?type=topup&user_id={}", ann.id);
        let line = world.admin().get(&lines).await["data"][0]["id"].clone();
        let back = json!({"delta": -100, "reason": "paid by another's card", "reversal_of": line});
        world.admin().post(&format!("/api/user/{}/quota", ann.id), &back).await;

        assert_eq!(world.money(&ann).await, Money { quota: -60, used: 60, calls: 1 });
        world.pay("m", &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");
        // The audit knows where the debt comes from.
        world.close().await;
    }

    async fn the_last_quota_can_be_spent(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(60), Reply::text("x")).await;
        let ann = world.payer(60).await;

        world.pay("m", &ann).await.expect(200);

        assert_eq!(world.money(&ann).await, Money { quota: 0, used: 60, calls: 1 });
        world.pay("m", &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");
        world.close().await;
    }

    async fn min_hold_must_be_there_before_anything_is_sent(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", json!({"ratio": 1, "min_hold": 50}), Reply::result(2, 3)).await;
        let (ann, bob) = (world.payer(49).await, world.payer(50).await);

        world.pay("m", &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");
        assert_eq!(world.upstream.count(), 0);
        world.pay("m", &bob).await.expect(200);

        assert_eq!(world.money(&bob).await, Money { quota: 45, used: 5, calls: 1 });
        let journal = ["consume 5 -5 of 50"];
        assert_eq!(world.journal(&bob).await, journal);
        world.close().await;
    }

    async fn work_that_was_done_is_paid_even_below_zero(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/m", Reply::result(100, 100));
        world.channel(&["m"], json!({"setting": {"precharge": "off"}})).await;
        world.admin().price("m", by_use()).await;
        let ann = world.payer(10).await;

        world.pay("m", &ann).await.expect(200);
        assert_eq!(world.money(&ann).await, Money { quota: -190, used: 200, calls: 1 });
        assert_eq!(world.journal(&ann).await, ["consume 200 -200 of 1"]);

        // Below zero, calls are refused until a top-up.
        world.pay("m", &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");
        assert_eq!(world.upstream.count(), 1);
        world.admin().add_quota(ann.id, 400, "paid by transfer").await;
        world.pay("m", &ann).await.expect(200);
        assert_eq!(world.money(&ann).await, Money { quota: 10, used: 400, calls: 2 });
        world.close().await;
    }

    async fn a_key_has_a_limit_of_its_own(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(60), Reply::text("x")).await;
        let ann = world.payer(10_000).await;
        let limited = json!({"unlimited_quota": false, "remain_quota": 100});
        let small = world.key(&ann, limited).await;

        world.pay("m", &small).await.expect(200);
        world.pay("m", &small).await.expect_error(402, "INSUFFICIENT_QUOTA");

        assert_eq!(world.upstream.count(), 1);
        assert_eq!(key_remain(&world, small.token_id).await, 40);
        // The user's other key is none the poorer.
        world.pay("m", &ann).await.expect(200);
        assert_eq!(world.money(&ann).await, Money { quota: 9_880, used: 120, calls: 2 });
        world.close().await;
    }

    async fn what_goes_back_goes_back_to_the_key_too(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", json!({"ratio": 1, "min_hold": 90}), Reply::result(10, 10)).await;
        world.model("fails", fixed(80), Reply::failure(7, "no")).await;
        let ann = world.payer(10_000).await;
        let limited = json!({"unlimited_quota": false, "remain_quota": 100});
        let small = world.key(&ann, limited).await;

        world.pay("m", &small).await.expect(200);
        assert_eq!(key_remain(&world, small.token_id).await, 80);
        world.pay("fails", &small).await.expect(200);
        assert_eq!(key_remain(&world, small.token_id).await, 80);
        world.close().await;
    }

    async fn a_balance_is_moved_and_never_set(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(1_000).await;
        let path = format!("/api/user/{}/quota", ann.id);
        let admin = world.admin();

        admin.add_quota(ann.id, 500, "bonus").await;
        admin.add_quota(ann.id, -200, "correction").await;
        assert_eq!(world.money(&ann).await.quota, 1_300);
        let without_reason = admin.try_post(&path, &json!({"quota": 5})).await;
        assert!(matches!(without_reason.status, 400 | 422), "{}", without_reason.text());
        let user = format!("/api/user/{}", ann.id);
        let set = admin.call("PUT", &user).json(&json!({"quota": 5})).send().await.expect(422);
        assert!(set.text().contains("/quota"), "it says how: {}", set.text());

        assert_eq!(world.money(&ann).await.quota, 1_300);
        world.close().await;
    }

    async fn held_money_cannot_be_spent_twice(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        world.model("slow", fixed(80), Reply::text("x").gated(&gate)).await;
        world.model("m", fixed(30), Reply::text("x")).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/slow").key(&ann.key).json(&json!({}));
        let running = tokio::spawn(call.send());
        world.upstream.wait_for_requests(1).await;

        assert_eq!(world.money(&ann).await, Money { quota: 20, used: 0, calls: 0 });
        world.pay("m", &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");
        gate.open();

        running.await.unwrap().expect(200);
        assert_eq!(world.money(&ann).await, Money { quota: 20, used: 80, calls: 1 });
        world.close().await;
    }
}

on_both_databases! {
    async fn what_is_removed_meanwhile_is_settled_all_the_same(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        let channel = world.model("m", by_use(), Reply::result(10, 20).gated(&gate)).await;
        let ann = world.payer(1_000).await;
        let limited = json!({"unlimited_quota": false, "remain_quota": 500});
        let small = world.key(&ann, limited).await;
        let call = world.server.call("POST", "/pass/m").key(&small.key).json(&json!({}));
        let running = tokio::spawn(call.send());
        gate.reached(1).await;

        let admin = world.admin();
        admin.delete(&format!("/api/token/{}", small.token_id)).await;
        admin.delete(&format!("/api/channel/{channel}")).await;
        admin.delete("/api/ability?model_name=m").await;
        admin.delete(&format!("/api/user/{}", ann.id)).await;
        gate.open();

        let answer = running.await.unwrap().expect(200);
        assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("30"));
        assert_eq!(world.money(&ann).await, Money { quota: 970, used: 30, calls: 1 });
        world.close().await;
    }

    async fn calls_that_share_a_request_id_are_calls_of_their_own(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("x")).await;
        let ann = world.payer(100).await;
        for _ in 0..2 {
            let call = world.server.call("POST", "/pass/m").key(&ann.key);
            call.header("X-Request-Id", "always-the-same").send().await.expect(200);
        }

        assert_eq!(world.money(&ann).await, Money { quota: 80, used: 20, calls: 2 });
        world.close().await;
    }

    async fn a_price_of_nothing_needs_no_money_but_no_debts(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(0), Reply::text("x")).await;
        let nil = world.payer(0).await;

        world.pay("m", &nil).await.expect(200);

        assert_eq!(world.money(&nil).await.quota, 0);
        let sql = format!("UPDATE users SET quota = 0 - 1 WHERE id = {}", nil.id);
        world.db.execute(&sql).await;
        world.pay("m", &nil).await.expect_error(402, "INSUFFICIENT_QUOTA");
        world.close().await;
    }
}

async fn key_remain(world: &World, token_id: i64) -> i64 {
    world.db.i64(&format!("SELECT remain_quota FROM tokens WHERE id = {token_id}")).await
}
