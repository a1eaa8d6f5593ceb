//! Many at once: as many calls succeed as there is money for, not one more, not one fewer.

use crate::house::{House, Money, Payer, fixed, node};
use testkit::{Reply, Server, TestDb, json, on_both_databases};

/// Sends so many calls at once, spread over the nodes; returns how many were answered 200.
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
        let house = House::open(db).await;
        house.model("m", fixed(7), Reply::text("ok")).await;
        let ann = house.payer(15 * 7 + 6).await;

        assert_eq!(storm(&[&house.server], &ann, 60).await, 15);

        assert_eq!(house.upstream.count(), 15);
        assert_eq!(house.money(&ann).await, Money { quota: 6, used: 105, calls: 15 });
        house.close().await;
    }

    async fn a_keys_limit_holds_as_well(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(7), Reply::text("ok")).await;
        let ann = house.payer(10_000).await;
        let limited = json!({"unlimited_quota": false, "remain_quota": 11 * 7});
        let small = house.key(&ann, limited).await;

        assert_eq!(storm(&[&house.server], &small, 40).await, 11);

        let sql = format!("SELECT remain_quota FROM tokens WHERE id = {}", small.token_id);
        assert_eq!(house.db.i64(&sql).await, 0);
        assert_eq!(house.money(&ann).await, Money { quota: 9_923, used: 77, calls: 11 });
        house.close().await;
    }

    async fn users_do_not_pay_for_each_other(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(7), Reply::text("ok")).await;
        let mut payers = Vec::new();
        for _ in 0..10 {
            payers.push(house.payer(3 * 7).await);
        }
        let nodes = [&house.server];
        let storms = payers.iter().map(|payer| storm(&nodes, payer, 6));
        let paid = futures_util::future::join_all(storms).await;

        assert_eq!(paid, [3; 10]);
        for payer in &payers {
            assert_eq!(house.money(payer).await, Money { quota: 0, used: 21, calls: 3 });
        }
        house.close().await;
    }
}

on_postgres! {
    async fn three_nodes_share_one_balance(db: TestDb) {
        let house = House::open(db).await;
        let (second, third) = (node(&house.db, &[]).await, node(&house.db, &[]).await);
        house.model("m", fixed(7), Reply::text("ok")).await;
        let ann = house.payer(20 * 7 + 3).await;
        // Every node hears of the model before the storm.
        for server in [&second, &third] {
            testkit::eventually("a node to hear of the model", || async {
                let models = server.call("GET", "/v1/models").key(&ann.key).send().await;
                models.text().contains("\"m\"").then_some(())
            })
            .await;
        }

        let nodes = [&house.server, &second, &third];
        assert_eq!(storm(&nodes, &ann, 90).await, 20);

        assert_eq!(house.upstream.count(), 20);
        assert_eq!(house.money(&ann).await, Money { quota: 3, used: 140, calls: 20 });
        house.close().await;
        second.audit_clean().await;
    }
}
