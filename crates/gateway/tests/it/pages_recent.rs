//! Calls that leave no charge: each request id that a client got can be looked up, by its owner
//! and by operators, with as much as each may know.

use crate::pages::{Browser, PASSWORD, attributes, lively, name_of};
use crate::world::{Payer, World, by_use};
use testkit::{Answer, ROOT_PASSWORD, Reply, Step, TestDb, json, on_both_databases};

fn id_of(answer: &Answer) -> String {
    answer.header("x-request-id").unwrap()
}

/// A world with a second payer, and three calls of the first: of no model, free, and not sent.
async fn three_calls(db: TestDb) -> (World, Payer, [String; 3]) {
    let (world, ann) = lively(db).await;
    let key = world.admin().key_of(ann, json!({ "name": "k" })).await;
    let payer = Payer { id: ann, token_id: key.id, key: key.key };
    let none = world.pay("nothing", &payer).await.expect(404);
    world.upstream.on("/draw", Reply::text("a picture"));
    let free = world.pay("draw", &payer).await.expect(200);
    world.channel(&["far"], json!({ "name": "", "base_url": "http://10.1.2.3:8443" })).await;
    world.admin().price("far", by_use()).await;
    let unsent = world.pay("far", &payer).await.expect(502);
    let ids = [id_of(&none), id_of(&free), id_of(&unsent)];
    (world, payer, ids)
}

on_both_databases! {
    async fn every_request_id_is_found(db: TestDb) {
        let (world, ann, [none, free, unsent]) = three_calls(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let user = Browser::login(&world.server, &name_of(&world, ann.id).await, PASSWORD).await;
        let bob = json!({ "username": "bob", "password": PASSWORD });
        world.admin().user(bob).await;
        let bob = Browser::login(&world.server, "bob", PASSWORD).await;
        for (id, root_sees, ann_sees) in [
            (&none, ["Why this call failed", "404 · "], ["Why this call", "MODEL_NOT_FOUND"]),
            (&free, ["A call without a charge", "succeeded, free"], ["A call without", "draw"]),
            (
                &unsent,
                ["Why nothing was charged", "10.1.2.3 is not an allowed address"],
                ["Why nothing was charged", "UPSTREAM_ERROR"],
            ),
        ] {
            let path = format!("/console/explain/{id}");
            for (browser, words) in [(&root, root_sees), (&user, ann_sees)] {
                let page = browser.get(&path).await.expect(200).text();
                for words in words {
                    assert!(page.contains(words), "{words}: {page}");
                }
            }
            let own = user.get(&path).await.text();
            assert!(!own.contains("10.1.2.3") && !own.contains("/console/channels/"), "{own}");
            let foreign = bob.get(&path).await.expect(404).text();
            assert!(!foreign.contains("MODEL_NOT_FOUND"), "{foreign}");
        }
        // A channel without a name is that of its host.
        let page = root.get(&format!("/console/explain/{unsent}")).await.text();
        assert!(page.contains(">10.1.2.3:8443</a>"), "{page}");

        let list = root.get("/console/log?show=recent").await.expect(200).text();
        let found = root.get(&format!("/console/log?request_id={none}")).await.expect(200).text();
        assert!(found.contains("Not in the journal") && found.contains("MODEL_NOT_FOUND"));
        // Sums have the signs of their lines.
        let log = root.get("/console/log").await.expect(200).text();
        let day = attributes(&log, "href").into_iter().find(|to| to.contains("?from="));
        let sums = root.get(&day.unwrap()).await.expect(200).text();
        assert!(sums.contains("charge ×1 −$0.00016"), "{sums}");
        for id in [&none, &free, &unsent] {
            let link = format!("/console/explain/{}", id.replace('-', "%2D"));
            assert!(list.contains(&link), "{link}: {list}");
        }
        let others = bob.get("/console/log?show=recent").await.expect(200).text();
        assert!(others.contains("No call has failed or was free yet"), "{others}");

        let one = format!("/api/log/recent?request_id={unsent}");
        let told = world.admin().envelope(&one).await;
        assert_eq!(told["total"], 1, "{told}");
        let call = &told["data"][0];
        assert_eq!((&call["state"], &call["status"]), (&json!("failed"), &json!(502)), "{call}");
        assert!(call["cause"].as_str().unwrap().starts_with("guarded"), "{call}");
        let own = user.get("/api/log/self/recent").await.expect(200).json();
        assert_eq!(own["total"], 3, "{own}");
        assert!(own["data"].as_array().unwrap().iter().all(|it| it.get("cause").is_none()));
        user.get("/api/log/recent").await.expect(403);
        world.close().await;
    }
}

on_sqlite! {
    async fn an_unknown_key_is_for_operators_alone_and_a_paid_call_is_not_noted(db: TestDb) {
        let (world, ann) = lively(db).await;
        let refused = world.server.post("/pass/chat", "sk-nobody", &json!({})).await.expect(401);
        let key = world.admin().key_of(ann, json!({ "name": "k" })).await;
        let payer = Payer { id: ann, token_id: key.id, key: key.key };
        let paid = id_of(&world.pay("chat", &payer).await.expect(200));
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        // A stream that is cut is charged by what it has told.
        let told = r#"{"usage":{"prompt_tokens":4,"completion_tokens":5}}"#;
        let cut = Reply::sse([told]).step(Step::Close);
        world.model("cut", json!({ "ratio": 1, "min_hold": 25 }), cut).await;
        let carl = world.payer(100).await;
        let call = world.server.call("POST", "/pass/cut").key(&carl.key).json(&json!({}));
        let mut answer = call.stream().await;
        let cut = answer.header("x-request-id").unwrap();
        let _ = answer.rest().await;
        world.wait_for_money(&carl, 91, 9).await;
        let path = format!("/api/log/recent?request_id={cut}");
        assert_eq!(world.admin().envelope(&path).await["total"], 0);
        let page = root.get(&format!("/console/explain/{}", id_of(&refused))).await;
        assert!(page.expect(200).text().contains("AUTH_ERROR"));
        let none = world.server.call("GET", "/v1/models/none").key(&payer.key).send().await;
        let page = root.get(&format!("/console/explain/{}", id_of(&none.expect(404)))).await;
        assert!(page.expect(200).text().contains("MODEL_NOT_FOUND"));
        let path = format!("/api/log/recent?request_id={paid}");
        assert_eq!(world.admin().envelope(&path).await["total"], 0);
        let none = root.get("/console/explain/no-such-id").await.expect(404).text();
        assert!(none.contains("log file of the node"), "{none}");
        world.close().await;
    }

    async fn the_overview_says_that_calls_fail(db: TestDb) {
        let (world, payer, _) = three_calls(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let calm = root.get("/console").await.expect(200).text();
        assert!(!calm.contains("calls failed in 15 minutes"), "four calls say nothing: {calm}");
        for _ in 0..20 {
            world.pay("nothing", &payer).await.expect(404);
        }
        world.admin().add_quota(payer.id, -10_000_000, "a correction").await;
        let page = root.get("/console").await.expect(200).text();
        let rate = "calls failed in 15 minutes, most with no such model (MODEL_NOT_FOUND)";
        assert!(page.contains(rate) && page.contains("1 user is below zero"), "{page}");
        let told = world.admin().get("/api/attention").await;
        assert_eq!((&told["users_below_zero"], &told["failing"]["failed"]), (
            &json!(1), &json!(22),
        ), "{told}");
        world.close().await;
    }
}
