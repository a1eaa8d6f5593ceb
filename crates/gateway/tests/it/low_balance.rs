//! `balance.low`: sent once when a balance falls below its owner's threshold, and again only after
//! it has risen above it.

use crate::world::{Payer, World, fixed, node};
use testkit::{Admin, Recorded, Reply, TestDb, eventually, json, on_both_databases};

const LOCAL: &[(&str, &str)] = &[("WEBHOOK_ALLOW_NETS", "127.0.0.0/8")];

/// A user who spends 30 a call, and has an endpoint of their own.
async fn spender(world: &World) -> (Payer, Admin) {
    world.model("m", fixed(30), Reply::text("x")).await;
    world.upstream.on("/hook", Reply::text("thanks"));
    world.upstream.on("/tasks-only", Reply::text("thanks"));
    let ann = world.payer(100).await;
    let token = world.admin().post(&format!("/api/user/{}/token", ann.id), &json!({})).await;
    let own = Admin::new(world.server.addr(), token.as_str().unwrap());
    let url = |path: &str| format!("{}{path}", world.upstream.url());
    own.post("/api/webhook", &json!({"url": url("/hook")})).await;
    let tasks = json!({"url": url("/tasks-only"), "events": ["task.failed"]});
    own.post("/api/webhook", &tasks).await;
    (ann, own)
}

/// Waits for `count` events at the endpoint, and returns all it has received.
async fn told(world: &World, count: usize) -> Vec<Recorded> {
    eventually(&format!("{count} events"), || async {
        let all = world.upstream.requests().await;
        let told: Vec<Recorded> = all.into_iter().filter(|it| it.path() == "/hook").collect();
        (told.len() >= count).then_some(told)
    })
    .await
}

/// Waits until the user's notification state is `state`.
async fn wait_for(own: &Admin, state: bool) {
    eventually(&format!("told to be {state}"), || async {
        (own.get("/api/webhook/low-balance").await["told"] == state).then_some(())
    })
    .await;
}

on_both_databases! {
    async fn a_low_balance_is_told_once_until_it_has_risen(db: TestDb) {
        let world = World::with(db, LOCAL).await;
        // Several nodes check the balance; only one sends the event.
        let several = world.db.is_postgres();
        let _second = if several { Some(node(&world.db, LOCAL).await) } else { None };
        let (ann, own) = spender(&world).await;
        own.put("/api/webhook/low-balance", &json!({"threshold": 50})).await;

        world.pay("m", &ann).await.expect(200);
        let still = own.get("/api/webhook/low-balance").await;
        assert_eq!((&still["threshold"], &still["told"]), (&json!(50), &json!(false)));
        world.pay("m", &ann).await.expect(200);
        let first = told(&world, 1).await;
        let body = first[0].json();
        assert_eq!(body["type"], "balance.low");
        let data = json!({"user_id": ann.id, "quota": 40, "threshold": 50});
        assert_eq!(body["data"], data);
        assert!(first[0].header("webhook-signature").unwrap().starts_with("v1,"));

        // Lower still is no news; a rise is none either, but the next fall is, when it is not too
        // soon after the last.
        world.pay("m", &ann).await.expect(200);
        world.admin().add_quota(ann.id, 50, "a rise").await;
        wait_for(&own, false).await;
        world.pay("m", &ann).await.expect(200);
        let back = if world.db.is_postgres() { "now() - interval '1 hour'" } else { "1" };
        let past = format!("UPDATE users SET low_balance_told_at = {back} WHERE id = {}", ann.id);
        world.db.execute(&past).await;

        let both = told(&world, 2).await;
        assert_eq!(both.len(), 2);
        assert_eq!(both[1].json()["data"]["quota"], 30);
        assert_ne!(both[0].header("webhook-id"), both[1].header("webhook-id"));
        let others = world.upstream.requests().await;
        assert!(!others.iter().any(|it| it.path() == "/tasks-only"));
        let rows = "SELECT count(*) FROM webhook_deliveries WHERE event = 'balance.low'";
        assert_eq!(world.db.i64(rows).await, 2);
        world.close().await;
    }

    async fn whoever_names_a_threshold_above_the_balance_is_told_at_once(db: TestDb) {
        let world = World::with(db, LOCAL).await;
        let (_, own) = spender(&world).await;
        for bad in [json!({}), json!({"threshold": -1}), json!({"threshold": 5, "x": 1})] {
            let refused = own.call("PUT", "/api/webhook/low-balance").json(&bad).send().await;
            refused.expect(422);
        }

        own.put("/api/webhook/low-balance", &json!({"threshold": 101})).await;
        assert_eq!(told(&world, 1).await[0].json()["data"]["quota"], 100);
        wait_for(&own, true).await;
        let off = own.put("/api/webhook/low-balance", &json!({"threshold": null})).await;
        assert_eq!((&off["threshold"], &off["told"]), (&json!(null), &json!(false)));
        world.close().await;
    }
}
