//! What a call costs, and that nothing but the price changes hands.

use crate::world::{Money, World, by_use, fixed};
use testkit::{Gate, Reply, TestDb, eventually, json, on_both_databases};

/// ratio, completion ratio, group ratio, estimate, result, what is charged.
type Case = (&'static str, &'static str, &'static str, [i64; 2], [i64; 2], i64);

const WORKED: &[Case] = &[
    ("2.0", "1.5", "0.8", [20, 80], [20, 80], 224),
    ("2.0", "1.5", "0.8", [20, 80], [20, 60], 176),
    ("1.0", "1.0", "0.9", [10, 40], [10, 35], 41),
    ("1.0", "4.0", "1.0", [100, 100], [100, 100], 500),
    ("0.25", "1.0", "1.0", [1, 1], [1, 1], 1),
    ("1.0", "1.0", "1.0", [0, 0], [0, 0], 0),
];

on_both_databases! {
    async fn what_is_only_noted_makes_no_reply_unusable(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", by_use(), Reply::text("-")).await;
        let ann = world.payer(1_000).await;
        for noted in [
            r#""cost":"0.01""#,
            r#""cost":{"usd":1},"cost":2"#,
            r#""total_tokens":"30""#,
            r#""total_tokens":-1"#,
            r#""completion_tokens_details":{"reasoning_tokens":"8","image_tokens":[]}"#,
            r#""completion_tokens_details":"none""#,
            r#""output_tokens_details":{"reasoning_tokens":1.5}"#,
        ] {
            let usage = format!(r#"{{"prompt_tokens":10,{noted},"completion_tokens":20}}"#);
            let body = format!(r#"{{"code":0,"usage":{usage}}}"#);
            world.upstream.on_estimate("/m", Reply::estimate(1, 1), Reply::raw_json(body));

            let answer = world.pay("m", &ann).await;

            assert_eq!(answer.status, 200, "{noted}: {}", answer.text());
            assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("30"), "{noted}");
        }
        assert_eq!(world.money(&ann).await.used, 7 * 30);
        world.close().await;
    }

    async fn a_large_charge_is_exact_and_one_that_does_not_fit_is_refused(db: TestDb) {
        let world = World::open(db).await;
        let most = json!({"ratio": 1_000_000, "completion_ratio": 1_000_000});
        world.model("m", most, Reply::result(1, 300)).await;
        let ann = world.payer(1_000_000_000_000_000).await;

        let large = world.pay("m", &ann).await.expect(200);
        world.admin().group(json!({"group_name": "default", "ratio": 1_000_000})).await;
        world.pay("m", &ann).await.expect_error(503, "CONFIG_ERROR");

        assert_eq!(large.header("X-Newapi-Quota").as_deref(), Some("300000001000000"));
        assert_eq!(world.money(&ann).await.used, 300_000_001_000_000);
        world.close().await;
    }
}

on_both_databases! {
    async fn the_worked_cases_come_out_exactly(db: TestDb) {
        let world = World::open(db).await;
        for (number, case) in WORKED.iter().enumerate() {
            let (ratio, completion, group_ratio, estimate, result, charge) = *case;
            let (model, group) = (format!("m{number}"), format!("g{number}"));
            let numeric = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            let admin = world.admin();
            admin.group(json!({"group_name": group, "ratio": numeric(group_ratio)})).await;
            world.channel(&[&model], json!({"groups": [group]})).await;
            let price = json!({"ratio": numeric(ratio), "completion_ratio": numeric(completion)});
            admin.price(&model, price).await;
            world.upstream.on_estimate(
                &format!("/{model}"),
                Reply::estimate(estimate[0], estimate[1]),
                Reply::result(result[0], result[1]),
            );
            let user = json!({
                "username": format!("ann{number}"), "password": "correct horse 42",
                "group": group, "quota": 1000,
            });
            let id = admin.user(user).await;
            let token = admin.key_of(id, json!({})).await;
            let ann = crate::world::Payer { id, token_id: token.id, key: token.key };

            let answer = world.pay(&model, &ann).await.expect(200);
            assert_eq!(answer.header("X-Newapi-Quota"), Some(charge.to_string()), "{case:?}");
            let money = Money { quota: 1000 - charge, used: charge, calls: 1 };
            assert_eq!(world.money(&ann).await, money, "{case:?}");
            let usage = world.db.row(&format!(
                "SELECT prompt_tokens, completion_tokens, quota FROM logs \
                 WHERE type = 'consume' AND user_id = {id}"
            )).await;
            let said = [usage.i64("prompt_tokens"), usage.i64("completion_tokens")];
            assert_eq!((said, usage.i64("quota")), (result, charge), "{case:?}");
        }
        world.close().await;
    }

    async fn a_fixed_price_is_taken_first_and_settled_once(db: TestDb) {
        let world = World::open(db).await;
        world.admin().group(json!({"group_name": "default", "ratio": 0.8})).await;
        world.model("m", fixed(2_500_000), Reply::text("done")).await;
        let ann = world.payer(3_000_000).await;

        let answer = world.pay("m", &ann).await.expect(200);

        assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("2000000"));
        let money = Money { quota: 1_000_000, used: 2_000_000, calls: 1 };
        assert_eq!(world.money(&ann).await, money);
        let journal = ["consume 2000000 -2000000 of 2000000"];
        assert_eq!(world.journal(&ann).await, journal);
        let row = world.admin().user_row(ann.id).await;
        assert_eq!(row["quota"], 1_000_000);
        assert_eq!(row["used_quota"], 2_000_000);
        assert_eq!(row["request_count"], 1);
        world.close().await;
    }

    async fn what_was_held_too_much_goes_back(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", by_use(), Reply::result(10, 20)).await;
        world.upstream.on_estimate("/m", Reply::estimate(10, 90), Reply::result(10, 20));
        let ann = world.payer(1_000).await;

        world.pay("m", &ann).await.expect(200);

        assert_eq!(world.money(&ann).await, Money { quota: 970, used: 30, calls: 1 });
        assert_eq!(world.journal(&ann).await, ["consume 30 -30 of 100"]);
        world.close().await;
    }

    async fn ratios_of_key_group_user_and_model_multiply_once(db: TestDb) {
        let world = World::open(db).await;
        let admin = world.admin();
        admin.group(json!({"group_name": "dear", "ratio": "3"})).await;
        admin.group(json!({"group_name": "default", "ratio": 100})).await;
        world.channel(&["m"], json!({"groups": "default,dear"})).await;
        world.upstream.on("/m", Reply::text("x"));
        admin.price("m", fixed(7)).await;
        let user = json!({
            "username": "ann", "password": "correct horse 42", "quota": 10_000, "ratio": "0.5",
        });
        let id = admin.user(user).await;
        let token = admin.key_of(id, json!({"group": "dear"})).await;
        let ann = crate::world::Payer { id, token_id: token.id, key: token.key };

        // 7 × 3 × 0.5 = 10.5, half away from zero; the user's own group does not count.
        let answer = world.pay("m", &ann).await.expect(200);

        assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("11"));
        assert_eq!(world.money(&ann).await.quota, 9_989);
        world.close().await;
    }

    async fn a_free_model_moves_no_money(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", json!(null), Reply::result(1_000, 1_000)).await;
        let ann = world.payer(0).await;

        world.pay("m", &ann).await.expect(200);

        assert_eq!(world.upstream.count(), 1);
        assert_eq!(world.money(&ann).await, Money { quota: 0, used: 0, calls: 0 });
        assert!(world.journal(&ann).await.is_empty());
        assert_eq!(world.db.i64("SELECT count(*) FROM holds").await, 0);
        world.close().await;
    }

    async fn a_price_is_frozen_when_the_hold_is_made(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        world.model("m", by_use(), Reply::result(10, 20).gated(&gate)).await;
        let ann = world.payer(1_000).await;
        let (server, key) = (&world.server, ann.key.clone());
        let call = server.call("POST", "/pass/m").key(&key).json(&json!({}));
        let running = tokio::spawn(call.send());
        world.upstream.wait_for_requests(1).await;

        world.admin().price("m", json!({"ratio": 50})).await;
        world.admin().group(json!({"group_name": "default", "ratio": 50})).await;
        gate.open();

        let answer = running.await.unwrap().expect(200);
        assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("30"));
        assert_eq!(world.money(&ann).await.used, 30);
        world.close().await;
    }

    async fn every_charge_can_be_explained(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", by_use(), Reply::result(10, 20)).await;
        let ann = world.payer(1_000).await;
        let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
        call.header("X-Request-Id", "why-30").send().await.expect(200);

        let printed = world.server.cli_ok(&["explain", "why-30"]).await;
        assert!(printed.contains("why-30") && printed.contains("30"), "{printed}");
        let story = world.admin().get("/api/audit/explain/why-30").await.to_string();
        assert!(story.contains("(10 prompt + 20 completion × 1)"), "{story}");
        assert!(story.contains("\"held_by\":\"min_hold\""), "{story}");
        let unknown = world.server.cli(&["explain", "no-such-request"]).await;
        assert!(!unknown.status.success());
        world.close().await;
    }

    async fn a_row_that_cannot_price_a_call_refuses_it(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", json!(null), Reply::text("free")).await;
        let ann = world.payer(1_000).await;
        world.pay("m", &ann).await.expect(200);
        world.upstream.forget();

        world.db.execute("INSERT INTO abilities (model_name) VALUES ('m')").await;

        let refused = eventually("the row to count", || async {
            let answer = world.pay("m", &ann).await;
            (answer.status != 200).then_some(answer)
        })
        .await;
        let refused = refused.expect_error(503, "CONFIG_ERROR");
        assert!(refused.header("Retry-After").is_some());
        world.upstream.forget();
        world.pay("m", &ann).await.expect_error(503, "CONFIG_ERROR");
        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }
}

on_sqlite! {
    async fn cached_image_and_audio_parts_have_prices_of_their_own(db: TestDb) {
        let world = World::open(db).await;
        let reply = Reply::json(&json!({"choices": [], "usage": {
            "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110,
            "prompt_tokens_details": {
                "cached_tokens": 40, "image_tokens": 10, "audio_tokens": 5, "text_tokens": 45,
            },
            "completion_tokens_details": {"reasoning_tokens": 8},
        }}));
        let price = json!({
            "ratio": 1, "completion_ratio": 2, "cache_ratio": 0.1, "image_ratio": 2,
            "audio_ratio": 3,
        });
        world.model("m", price, reply).await;
        let ann = world.payer(1_000).await;

        // 45 + 40 × 0.1 + 10 × 2 + 5 × 3 + 10 × 2
        let answer = world.pay("m", &ann).await.expect(200);

        assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("104"));
        world.close().await;
    }

    async fn input_and_output_tokens_win_and_cached_hits_count(db: TestDb) {
        let world = World::open(db).await;
        let usage = json!({"usage": {
            "prompt_tokens": 1, "completion_tokens": 1, "input_tokens": 50, "output_tokens": 7,
            "prompt_cache_hit_tokens": 20,
        }});
        world.model("m", json!({"ratio": 1, "cache_ratio": 0.5}), Reply::json(&usage)).await;
        let ann = world.payer(1_000).await;

        // 30 + 20 × 0.5 + 7
        let answer = world.pay("m", &ann).await.expect(200);

        assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("47"));
        world.close().await;
    }

    async fn a_fixed_price_wins_over_a_ratio_and_is_never_estimated(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", json!({"fixed_quota": 5, "ratio": 100}), Reply::result(10, 10)).await;
        let ann = world.payer(1_000).await;

        let answer = world.pay("m", &ann).await.expect(200);

        assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("5"));
        let requests = world.upstream.requests().await;
        assert_eq!(requests.len(), 1);
        assert!(!requests[0].is_estimate());
        world.close().await;
    }

    async fn a_total_that_is_not_the_sum_is_noted_and_the_parts_are_billed(db: TestDb) {
        let world = World::open(db).await;
        let lie = json!({"usage": {
            "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 999,
        }});
        world.model("m", by_use(), Reply::json(&lie)).await;
        let ann = world.payer(1_000).await;

        let answer = world.pay("m", &ann).await.expect(200);

        assert_eq!(answer.header("X-Newapi-Quota").as_deref(), Some("7"));
        world.close().await;
    }

    async fn unpriced_models_can_be_refused(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_UNPRICED", "reject")]).await;
        world.model("m", json!(null), Reply::text("free")).await;
        let ann = world.payer(1_000).await;

        world.pay("m", &ann).await.expect_error(503, "CONFIG_ERROR");

        assert_eq!(world.upstream.count(), 0);
        world.close().await;
    }
}
