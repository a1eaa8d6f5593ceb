//! Many at once: as many calls succeed as there is money for, not one more, not one fewer.

use crate::world::{Money, Payer, World, fixed, node};
use testkit::{Reply, Server, TestDb, json, on_both_databases};

/// Sends `calls` concurrently, spread over the nodes; returns how many got a 200.
async fn storm(nodes: &[&Server], payer: &Payer, calls: usize) -> usize {
    let running: Vec<_> = (0..calls)
        .map(|number| {
            let server = nodes[number % nodes.len()];
            let call = server.call("POST", "/pass/m").key(&payer.key).json(&json!({}));
            tokio::spawn(call.send())
        })
        .collect();
    let mut paid = 0;
    for call in running {
        let answer = call.await.unwrap();
        match answer.status {
            200 => paid += 1,
            _ => drop(answer.expect_error(402, "INSUFFICIENT_QUOTA")),
        }
    }
    paid
}

on_both_databases! {
    async fn money_for_fifteen_pays_for_fifteen(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(7), Reply::text("ok")).await;
        let ann = world.payer(15 * 7 + 6).await;

        assert_eq!(storm(&[&world.server], &ann, 60).await, 15);

        assert_eq!(world.upstream.count(), 15);
        assert_eq!(world.money(&ann).await, Money { quota: 6, used: 105, calls: 15 });
        world.close().await;
    }

    async fn a_keys_limit_holds_as_well(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(7), Reply::text("ok")).await;
        let ann = world.payer(10_000).await;
        let limited = json!({"unlimited_quota": false, "remain_quota": 11 * 7});
        let small = world.key(&ann, limited).await;

        assert_eq!(storm(&[&world.server], &small, 40).await, 11);

        let sql = format!("SELECT remain_quota FROM tokens WHERE id = {}", small.token_id);
        assert_eq!(world.db.i64(&sql).await, 0);
        assert_eq!(world.money(&ann).await, Money { quota: 9_923, used: 77, calls: 11 });
        world.close().await;
    }

    async fn users_do_not_pay_for_each_other(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(7), Reply::text("ok")).await;
        let mut payers = Vec::new();
        for _ in 0..10 {
            payers.push(world.payer(3 * 7).await);
        }
        let nodes = [&world.server];
        let storms = payers.iter().map(|payer| storm(&nodes, payer, 6));
        let paid = futures_util::future::join_all(storms).await;

        assert_eq!(paid, [3; 10]);
        for payer in &payers {
            assert_eq!(world.money(payer).await, Money { quota: 0, used: 21, calls: 3 });
        }
        world.close().await;
    }
}

on_postgres! {
    async fn three_nodes_share_one_balance(db: TestDb) {
        let world = World::open(db).await;
        let (second, third) = (node(&world.db, &[]).await, node(&world.db, &[]).await);
        world.model("m", fixed(7), Reply::text("ok")).await;
        let ann = world.payer(20 * 7 + 3).await;
        // Every node knows the model before the storm.
        for server in [&second, &third] {
            testkit::eventually("a node to hear of the model", || async {
                let models = server.call("GET", "/v1/models").key(&ann.key).send().await;
                models.text().contains("\"m\"").then_some(())
            })
            .await;
        }

        let nodes = [&world.server, &second, &third];
        assert_eq!(storm(&nodes, &ann, 90).await, 20);

        assert_eq!(world.upstream.count(), 20);
        assert_eq!(world.money(&ann).await, Money { quota: 3, used: 140, calls: 20 });
        world.close().await;
        second.audit_clean().await;
    }
}
