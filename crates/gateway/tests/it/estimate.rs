//! The estimate call: asked first for models priced by use, and for no others.

use crate::world::{Money, World, by_use, fixed};
use testkit::{Reply, TestDb, json, on_both_databases};

on_both_databases! {
    async fn an_estimate_grows_the_hold_and_then_the_real_call_goes(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", by_use(), Reply::text("-")).await;
        world.upstream.on_estimate("/m", Reply::estimate(10, 70), Reply::result(10, 20));
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m?a=1&b=%20x").key(&ann.key);
        let answer = call.json(&json!({"q": 1})).send().await.expect(200);

        assert_eq!(answer.json()["data"]["answer"], 42);
        assert_eq!(answer.json()["type"], json!(null), "an estimate is never the answer");
        let requests = world.upstream.requests().await;
        let targets: Vec<&str> = requests.iter().map(|one| one.target.as_str()).collect();
        assert_eq!(targets, ["/m?a=1&b=%20x&precharge=true", "/m?a=1&b=%20x"]);
        assert_eq!(requests[0].body, requests[1].body);
        assert_eq!(world.money(&ann).await, Money { quota: 70, used: 30, calls: 1 });
        world.close().await;
    }

    async fn an_estimate_beyond_the_balance_is_402_and_all_goes_back(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", by_use(), Reply::text("-")).await;
        world.upstream.on_estimate("/m", Reply::estimate(10, 500), Reply::result(10, 20));
        let ann = world.payer(100).await;

        let refused = world.pay("m", &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");

        let text = refused.text();
        assert!(text.contains("510") && text.contains("100"), "needed, and there: {text}");
        assert_eq!(world.upstream.count(), 1, "the work itself was not asked for");
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn a_result_in_place_of_an_estimate_is_the_answer(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", by_use(), Reply::result(10, 20)).await;
        let ann = world.payer(100).await;

        let answer = world.pay("m", &ann).await.expect(200);

        assert_eq!(answer.json()["data"]["answer"], 42);
        assert_eq!(world.upstream.count(), 1);
        assert_eq!(world.money(&ann).await, Money { quota: 70, used: 30, calls: 1 });
        world.close().await;
    }

    async fn a_real_reply_that_is_an_estimate_breaks_the_contract(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", by_use(), Reply::estimate(10, 20)).await;
        let ann = world.payer(100).await;

        world.pay("m", &ann).await.expect_error(502, "UPSTREAM_RESPONSE");

        assert_eq!(world.upstream.count(), 2);
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }
}

on_sqlite! {
    async fn the_estimate_can_be_asked_for_in_the_body(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.handle("/m", |request| {
            if request.text().contains("precharge") {
                Reply::estimate(1, 1)
            } else {
                Reply::result(10, 20)
            }
        });
        world.channel(&["m"], json!({"setting": {"precharge": "body"}})).await;
        world.admin().price("m", by_use()).await;
        let ann = world.payer(100).await;
        let body = "{ \"big\":12345678901234567890123 ,\"esc\":\"\\u003c<\",\n\t\"n\":1.50 }";

        let call = world.server.call("POST", "/pass/m").key(&ann.key);
        let call = call.header("Content-Type", "application/json").body(body);
        call.send().await.expect(200);

        let requests = world.upstream.requests().await;
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].json()["precharge"], true);
        assert_eq!(requests[0].query(), None);
        for kept in ["12345678901234567890123 ,", "\"\\u003c<\",\n\t\"n\":1.50 }"] {
            assert!(requests[0].text().contains(kept), "{}", requests[0].text());
        }
        assert_eq!(requests[1].text(), body);
        world.close().await;
    }

    async fn the_estimate_can_be_left_out(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on_estimate("/m", Reply::estimate(50, 50), Reply::result(10, 20));
        world.channel(&["m"], json!({"setting": {"precharge": "off"}})).await;
        world.admin().price("m", by_use()).await;
        let ann = world.payer(100).await;

        world.pay("m", &ann).await.expect(200);

        assert_eq!(world.upstream.count(), 1);
        assert_eq!(world.journal(&ann).await, ["consume 30 -30 of 1"]);
        world.close().await;
    }

    async fn fixed_and_free_models_are_never_estimated(db: TestDb) {
        let world = World::open(db).await;
        world.model("fixed", fixed(5), Reply::text("x")).await;
        world.model("free", json!(null), Reply::text("x")).await;
        let ann = world.payer(100).await;

        world.pay("fixed", &ann).await.expect(200);
        world.pay("free", &ann).await.expect(200);

        let requests = world.upstream.requests().await;
        assert_eq!(requests.len(), 2);
        assert!(requests.iter().all(|one| !one.is_estimate()));
        world.close().await;
    }

    async fn a_failed_estimate_is_the_answer_and_free(db: TestDb) {
        let world = World::open(db).await;
        let body = json!({"error": {"message": "model is loading"}});
        world.model("m", by_use(), Reply::text("-")).await;
        let busy = Reply::json(&body).status(429).header("Retry-After", "7");
        world.upstream.on_estimate("/m", busy, Reply::result(10, 20));
        let ann = world.payer(100).await;

        let answer = world.pay("m", &ann).await.expect(429);

        assert_eq!(answer.json(), body);
        assert_eq!(answer.header("Retry-After").as_deref(), Some("7"));
        assert_eq!(world.upstream.count(), 1);
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn an_absurd_estimate_breaks_the_contract(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", by_use(), Reply::text("-")).await;
        let ann = world.payer(100).await;
        for (prompt, completion) in [(-5, 1), (1, 9_000_000_000_000)] {
            let estimate = Reply::estimate(prompt, completion);
            world.upstream.on_estimate("/m", estimate, Reply::result(10, 20));
            world.pay("m", &ann).await.expect_error(502, "UPSTREAM_RESPONSE");
        }
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn the_hold_never_shrinks_to_an_estimate(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", json!({"ratio": 1, "min_hold": 60}), Reply::text("-")).await;
        world.upstream.on_estimate("/m", Reply::estimate(1, 1), Reply::result(10, 20));
        let ann = world.payer(100).await;

        world.pay("m", &ann).await.expect(200);

        let journal = ["consume 30 -30 of 60"];
        assert_eq!(world.journal(&ann).await, journal);
        world.close().await;
    }

    async fn both_calls_of_a_stream_are_made_and_one_is_billed(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", by_use(), Reply::text("-")).await;
        let stream = Reply::openai_stream(&["a"], 10, 20);
        world.upstream.on_estimate("/m", Reply::estimate(10, 40), stream);
        let ann = world.payer(100).await;

        let call = world.server.call("POST", "/pass/m").key(&ann.key);
        let answer = call.json(&json!({"stream": true})).send().await.expect(200);

        assert!(answer.text().ends_with("data: [DONE]\n\n"));
        assert_eq!(world.money(&ann).await, Money { quota: 70, used: 30, calls: 1 });
        world.close().await;
    }
}
