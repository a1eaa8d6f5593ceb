//! Several nodes over one PostgreSQL: one world with several doors.

use crate::world::{Payer, World, fixed, node};
use testkit::{Call, Gate, Reply, Server, TestDb, eventually, json};

/// A call through one of the nodes.
fn through(server: &Server, payer: &Payer) -> Call {
    server.call("POST", "/pass/m").key(&payer.key).json(&json!({"a": 1}))
}

/// Waits until a call through this node is charged `quota`.
async fn costs(server: &Server, payer: &Payer, quota: i64) {
    eventually(&format!("a node to charge {quota}"), || async {
        let answer = through(server, payer).send().await;
        (answer.header("X-Newapi-Quota")? == quota.to_string()).then_some(())
    })
    .await;
}

on_postgres! {
    async fn every_node_hears_of_every_change(db: TestDb) {
        let world = World::open(db).await;
        let (second, third) = (node(&world.db, &[]).await, node(&world.db, &[]).await);
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(1_000_000).await;
        for server in [&world.server, &second, &third] {
            costs(server, &ann, 10).await;
        }

        world.db.execute("UPDATE abilities SET fixed_quota = 4").await;
        for server in [&world.server, &second, &third] {
            costs(server, &ann, 4).await;
        }
        second.admin().price("m", fixed(6)).await;
        for server in [&world.server, &second, &third] {
            costs(server, &ann, 6).await;
        }
        third.admin().put(&format!("/api/token/{}", ann.token_id), &json!({"status": 2})).await;
        for server in [&world.server, &second, &third] {
            eventually("a node to turn the key away", || async {
                (through(server, &ann).send().await.status == 401).then_some(())
            })
            .await;
        }
        world.close().await;
    }

    async fn a_request_is_done_once_whatever_door_it_comes_through(db: TestDb) {
        let world = World::open(db).await;
        let second = node(&world.db, &[]).await;
        let gate = Gate::new();
        world.model("m", fixed(10), Reply::text("ok").gated(&gate)).await;
        let ann = world.payer(100).await;
        eventually("the other node to hear of the model", || async {
            let models = second.call("GET", "/v1/models").key(&ann.key).send().await;
            models.text().contains("\"m\"").then_some(())
        })
        .await;
        let named = |server: &Server| through(server, &ann).header("Idempotency-Key", "once");
        let running = tokio::spawn(named(&world.server).send());
        gate.reached(1).await;

        named(&second).send().await.expect_error(409, "IDEMPOTENCY_CONFLICT");
        gate.open();
        running.await.unwrap().expect(200);
        let replayed = named(&second).send().await.expect(200);

        assert_eq!(replayed.header("Idempotent-Replayed").as_deref(), Some("true"));
        assert_eq!(world.upstream.count(), 1);
        assert_eq!(world.money(&ann).await.used, 10);
        world.close().await;
    }

    async fn the_others_serve_on_when_one_is_killed(db: TestDb) {
        let world = World::open(db).await;
        let mut second = node(&world.db, &[]).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100_000).await;
        costs(&second, &ann, 10).await;
        let spent = world.money(&ann).await.used;
        let (first_call, second_call) = (through(&world.server, &ann), through(&second, &ann));
        let first = tokio::spawn(async move {
            for _ in 0..200 {
                first_call.clone().send().await.expect(200);
            }
        });
        let other = tokio::spawn(async move {
            let mut paid = 0;
            while second_call.clone().try_send().await.is_ok_and(|answer| answer.status == 200) {
                paid += 1;
            }
            paid
        });
        world.upstream.wait_for_requests(60).await;
        second.kill_9().await;

        first.await.unwrap();
        let paid: i64 = other.await.unwrap();

        world.close().await;
        let used = world.money(&ann).await.used - spent;
        // Its last call may have been settled, and its reply lost with the node.
        assert!((2_000 + paid * 10..=2_010 + paid * 10).contains(&used), "{used}, {paid} paid");
    }

    async fn one_node_stops_and_the_others_go_on(db: TestDb) {
        let world = World::open(db).await;
        let mut second = node(&world.db, &[]).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        costs(&second, &ann, 10).await;

        assert!(second.terminate().await.success());

        through(&world.server, &ann).send().await.expect(200);
        assert_eq!(world.open_holds().await, 0);
        world.close().await;
    }
}
