use super::*;
use domain::{DAY_MS, NodeId, UnixMs, UserId};
use store::idempotency::{self, Claim};
use store::nodes::{self, NodeState};
use testkit::on_both_databases;
use uuid::Uuid;

const ANN: UserId = UserId(1);

fn node(n: u128) -> NodeId {
    NodeId(Uuid::from_u128(n))
}

fn node_state(id: NodeId, lease_until: UnixMs) -> NodeState<'static> {
    NodeState { id, name: "a", now: NOW, lease_until, load: None }
}

async fn claim(db: &Db, key: &str, print: u8, by: u128, now: UnixMs) -> Claim {
    let until = now.plus_ms(DAY_MS);
    idempotency::claim(db, ANN, key, &[print; 32], node(by), now, until).await.unwrap()
}

on_both_databases! {
    async fn one_of_many_gets_the_claim(test: TestDb) {
        let db = open(&test).await;
        nodes::register(&db, &node_state(node(1), NOW.plus_ms(30_000))).await.unwrap();
        let claims = (0..16).map(|_| {
            let db = db.clone();
            tokio::spawn(async move { claim(&db, "k", 1, 1, NOW).await })
        });
        let mut mine = 0;
        for answer in claims.collect::<Vec<_>>() {
            match answer.await.unwrap() {
                Claim::Mine => mine += 1,
                other => assert_eq!(other, Claim::Running),
            }
        }
        assert_eq!(mine, 1);
    }

    async fn a_claim_lives_through_its_stages(test: TestDb) {
        let db = open(&test).await;
        nodes::register(&db, &node_state(node(1), NOW.plus_ms(30_000))).await.unwrap();
        assert_eq!(claim(&db, "k", 1, 1, NOW).await, Claim::Mine);
        assert_eq!(claim(&db, "k", 1, 2, NOW).await, Claim::Running);
        assert_eq!(claim(&db, "k", 9, 2, NOW).await, Claim::Mismatch);
        // Another node can neither complete nor delete it.
        idempotency::complete(&db, ANN, "k", node(2), None).await.unwrap();
        idempotency::forget(&db, ANN, "k", node(2)).await.unwrap();
        assert_eq!(claim(&db, "k", 1, 2, NOW).await, Claim::Running);
        let reply = Some("enc:v1:…".to_owned());
        let done = idempotency::complete_statement(ANN, "k", node(1), reply.clone());
        db.write_all(vec![done.expecting(1)]).await.unwrap();
        let reply_bytes = reply.as_ref().map(String::len);
        assert_eq!(claim(&db, "k", 1, 2, NOW).await, Claim::Done { reply_bytes });
        assert_eq!(idempotency::reply(&db, ANN, "k").await.unwrap(), reply);
        assert_eq!(claim(&db, "k", 9, 2, NOW).await, Claim::Mismatch);
        idempotency::forget(&db, ANN, "k", node(1)).await.unwrap();
        assert_ne!(claim(&db, "k", 1, 2, NOW).await, Claim::Mine, "what is done stays");
        assert_eq!(claim(&db, "k", 9, 1, NOW.plus_ms(DAY_MS)).await, Claim::Mine, "a day later");
        idempotency::forget(&db, ANN, "k", node(1)).await.unwrap();
        assert_eq!(claim(&db, "k", 5, 1, NOW).await, Claim::Mine, "given up");
    }

    async fn what_a_dead_node_left_is_taken_over(test: TestDb) {
        let db = open(&test).await;
        nodes::register(&db, &node_state(node(1), NOW.plus_ms(30_000))).await.unwrap();
        assert_eq!(claim(&db, "k", 1, 1, NOW).await, Claim::Mine);
        let later = NOW.plus_ms(30_001);
        assert_eq!(claim(&db, "k", 9, 2, later).await, Claim::Mismatch);
        assert_eq!(claim(&db, "k", 1, 2, later).await, Claim::Mine);
        idempotency::complete(&db, ANN, "k", node(1), None).await.unwrap();
        nodes::register(&db, &node_state(node(2), later.plus_ms(30_000))).await.unwrap();
        assert_eq!(claim(&db, "k", 1, 3, later).await, Claim::Running, "the first has lost it");
    }

    async fn expired_claims_are_purged_bit_by_bit(test: TestDb) {
        let db = open(&test).await;
        for n in 0..5 {
            claim(&db, &format!("k{n}"), 1, 1, NOW).await;
        }
        claim(&db, "new", 1, 1, NOW.plus_ms(DAY_MS)).await;
        let later = NOW.plus_ms(DAY_MS);
        assert_eq!(idempotency::purge_expired(&db, later, 3).await.unwrap(), 3);
        assert_eq!(idempotency::purge_expired(&db, later, 3).await.unwrap(), 2);
        assert_eq!(test.text("SELECT idempotency_key FROM idempotency").await, "new");
    }

    async fn leases_lapse(test: TestDb) {
        let db = open(&test).await;
        nodes::register(&db, &node_state(node(1), NOW.plus_ms(10))).await.unwrap();
        nodes::register(&db, &node_state(node(2), NOW.plus_ms(20))).await.unwrap();
        assert!(nodes::lapsed(&db, NOW).await.unwrap().is_empty());
        assert_eq!(nodes::lapsed(&db, NOW.plus_ms(10)).await.unwrap(), [node(1)]);
        nodes::register(&db, &node_state(node(1), NOW.plus_ms(30))).await.unwrap();
        assert!(nodes::lapsed(&db, NOW.plus_ms(10)).await.unwrap().is_empty());
    }
}
