//! A database that goes away under load, and comes back.

use crate::world::{World, fixed};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use testkit::{Reply, TestDb, eventually, json, on_both_databases};

const KILL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE datname = current_database() AND application_name = 'newapi'";

on_postgres! {
    async fn a_call_whose_commit_is_in_doubt_does_not_wait_for_the_database(db: TestDb) {
        let world = World::with(db, &[("CUSTOM_PASS_RETRY_DELAY", "50ms")]).await;
        world.model("m", fixed(7), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        world.pay("m", &ann).await.expect(200);
        world.db.execute(
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql
             AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END'"
        ).await;
        world.db.execute(
            "CREATE TRIGGER linger BEFORE INSERT ON holds FOR EACH ROW EXECUTE FUNCTION linger()"
        ).await;

        let lost = async {
            eventually("a hold to be on its way", || async {
                let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'
                           AND datname = current_database()";
                (world.db.i64(sql).await == 1).then_some(())
            })
            .await;
            world.db.allow_connections(false).await;
        };
        let (answer, ()) = tokio::join!(world.pay("m", &ann), lost);
        answer.expect_error(503, "DATABASE_UNAVAILABLE");

        world.db.allow_connections(true).await;
        world.db.execute("DROP TRIGGER linger ON holds").await;
        eventually("the service to return by itself", || async {
            (world.pay("m", &ann).await.status == 200).then_some(())
        })
        .await;
        world.wait_for_money(&ann, 100 - 14, 14).await;
        world.close().await;
    }

    async fn connections_killed_under_load_charge_nobody_wrongly(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(7), Reply::text("ok")).await;
        let ann = world.payer(1_000_000).await;
        let delivered = Arc::<Mutex<HashSet<String>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let (delivered, stop) = (Arc::clone(&delivered), Arc::clone(&stop));
                let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
                tokio::spawn(async move {
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        number += 1;
                        let name = format!("kill-{worker}-{number}");
                        let named = call.clone().header("X-Request-Id", &name);
                        // An error, or a reply that is cut, is fair; a wrong charge is not.
                        if named.try_send().await.is_ok_and(|answer| answer.status == 200) {
                            delivered.lock().unwrap().insert(name);
                        }
                    }
                })
            })
            .collect();
        for _ in 0..8 {
            let so_far = delivered.lock().unwrap().len();
            eventually("calls to go through", || async {
                (delivered.lock().unwrap().len() > so_far + 10).then_some(())
            })
            .await;
            world.db.query(KILL).await;
        }
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.await.unwrap();
        }

        world.pass_deadlines().await;
        world.close().await;
        let sql = "SELECT request_id FROM logs WHERE type = 'consume'";
        let charged: Vec<String> =
            world.db.query(sql).await.iter().map(|row| row.text("request_id").to_owned()).collect();
        let once: HashSet<String> = charged.iter().cloned().collect();
        assert_eq!(once.len(), charged.len(), "charged twice");
        let free: Vec<String> =
            delivered.lock().unwrap().difference(&once).cloned().collect();
        assert!(free.is_empty(), "delivered, not charged: {free:?}");
        let seen = world.upstream.requests().await;
        let seen: HashSet<String> =
            seen.iter().filter_map(|one| one.header("X-Request-Id")).collect();
        assert!(once.is_subset(&seen), "charged for what was never sent");
        let used = 7 * i64::try_from(charged.len()).unwrap();
        world.wait_for_money(&ann, 1_000_000 - used, used).await;
    }

    async fn without_a_database_nothing_is_sent_and_then_all_is_well(db: TestDb) {
        let short = [("CUSTOM_PASS_DB_CONNECT_TIMEOUT", "1s"), ("CUSTOM_PASS_RETRY_COUNT", "1"),
            ("CUSTOM_PASS_RETRY_DELAY", "50ms")];
        let world = World::with(db, &short).await;
        world.model("m", fixed(7), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        world.pay("m", &ann).await.expect(200);
        world.upstream.forget();

        world.db.allow_connections(false).await;
        let refused = eventually("the loss to be noticed", || async {
            let answer = world.pay("m", &ann).await;
            (answer.status != 200).then_some(answer)
        })
        .await;
        let refused = refused.expect_error(503, "DATABASE_UNAVAILABLE");
        assert!(refused.header("Retry-After").is_some());
        health(&world, 503).await;
        ready(&world, "database_unreachable").await;
        world.server.call("GET", "/livez").send().await.expect(200);
        assert_eq!(world.upstream.count(), 0);

        world.db.allow_connections(true).await;
        eventually("the service to return by itself", || async {
            (world.pay("m", &ann).await.status == 200).then_some(())
        })
        .await;
        health(&world, 200).await;
        world.close().await;
    }
}

on_both_databases! {
    async fn a_schema_that_lacks_a_step_is_no_place_for_calls(db: TestDb) {
        let world = World::open(db).await;
        ready(&world, "").await;

        world.db.execute("UPDATE schema_migrations SET version = -version").await;
        ready(&world, "migrations_pending").await;
        world.server.call("GET", "/livez").send().await.expect(200);
        // As a newer version leaves it, whose rolling start this one sees.
        world.db.execute("UPDATE schema_migrations SET version = 100 - version").await;
        ready(&world, "").await;

        world.db.execute("UPDATE schema_migrations SET version = version - 100").await;
        world.close().await;
    }
}

/// Waits until the server reports this reason for not being ready; empty: until it is ready.
async fn ready(world: &World, reason: &str) {
    eventually(&format!("readiness: {reason:?}"), || async {
        let answer = world.server.call("GET", "/readyz").send().await;
        let found = answer.json()["reason"].as_str().unwrap_or_default().to_owned();
        let status = if reason.is_empty() { 200 } else { 503 };
        (answer.status == status && found == reason).then_some(())
    })
    .await;
}

/// Waits until the server reports this status.
async fn health(world: &World, status: u16) {
    eventually("the status to say so", || async {
        let answer = world.server.call("GET", "/api/status").send().await;
        (answer.status == status).then_some(())
    })
    .await;
}
