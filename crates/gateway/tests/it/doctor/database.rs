//! The database, and the money in it.

use super::{Diagnosis, apply, until};
use crate::world::{World, by_use, fixed};
use testkit::{Reply, TestDb, json, on_both_databases};

const OTHER_KEY: &str = "b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXItMTI=";

on_both_databases! {
    async fn a_schema_or_a_key_that_is_not_this_programs(db: TestDb) {
        let mut world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        world.server.set_env("SECRET_KEY", OTHER_KEY);
        let diagnosis = Diagnosis::of(&world).await;
        diagnosis.bad("secret key", "", "SECRET_KEY that this database was used with");
        world.server.set_env("SECRET_KEY", testkit::server::SECRET_KEY);

        // After a rollback of the program alone.
        let newer = "INSERT INTO schema_migrations (version, name, sha256) VALUES (999, 'n', 'x')";
        world.db.execute(newer).await;
        let diagnosis = Diagnosis::of(&world).await;
        diagnosis.bad("schema", "999", "or a newer one");
        world.db.execute("DELETE FROM schema_migrations WHERE version = 999").await;
        Diagnosis::of(&world).await.well();
        world.close().await;
    }

    async fn balances_that_do_not_add_up_or_are_below_zero(db: TestDb) {
        let world = World::open(db).await;
        world.upstream.on("/m", Reply::result(100, 100));
        world.channel(&["m"], json!({"setting": {"precharge": "off"}})).await;
        world.admin().price("m", by_use()).await;
        let ann = world.payer(10).await;
        world.pay("m", &ann).await.expect(200);
        let diagnosis = Diagnosis::of(&world).await;
        diagnosis.odd("balances", "1 user is below zero", "newapi user topup");
        world.admin().add_quota(ann.id, 400, "paid by transfer").await;
        Diagnosis::of(&world).await.good("balances");

        // Written past the journal, as a restored row of an old backup would be.
        let change = |delta: i64| {
            let sql = format!(
                "UPDATE users SET quota = quota + {delta}, revision = revision + 1 WHERE id = {}",
                ann.id
            );
            let db = &world.db;
            async move { db.execute(&sql).await }
        };
        change(1).await;
        Diagnosis::of(&world).await.bad("audit", "1 breach", "newapi audit");
        change(-1).await;
        Diagnosis::of(&world).await.well();
        world.close().await;
    }

    async fn holds_that_nobody_gives_back(db: TestDb) {
        let mut world = World::with(db, &[("CUSTOM_PASS_HTTP_TIMEOUT", "300ms")]).await;
        world.model("m", fixed(1), Reply::hang()).await;
        let ann = world.payer(100).await;
        world.pay("m", &ann).await.expect_error(504, "TIMEOUT");
        assert!(world.server.terminate().await.success());
        let past = if world.db.is_postgres() { "now() - interval '30 minutes'" } else {
            "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - 1800000"
        };
        world.db.execute(&format!("UPDATE holds SET deadline_at = {past}")).await;
        Diagnosis::of(&world).await.bad("holds", "1 should have been given back", "systemctl");
        world.server.start_again().await;
        until(&world, "holds", "good", &[]).await.well();
        world.wait_for_money(&ann, 100, 0).await;
        world.close().await;
    }

    async fn rows_that_somebody_has_locked(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let row = format!("UPDATE users SET display_name = 'x' WHERE id = {}", ann.id);
        let held = world.db.transaction(&row).await;
        let diagnosis = until(&world, "locked rows", "bad", &[]).await;
        if world.db.is_postgres() {
            apply(&world, &diagnosis.bad("locked rows", "idle in transaction", "SELECT")).await;
        } else {
            diagnosis.bad("locked rows", "has left a transaction open", "fuser -v");
        }
        drop(held);
        until(&world, "locked rows", "good", &[]).await.well();
        world.pay("m", &ann).await.expect(200);
        world.close().await;
    }
}

on_postgres! {
    async fn a_database_that_is_away(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        world.db.allow_connections(false).await;
        let diagnosis = until(&world, "service", "bad", &[]).await;
        diagnosis.bad("service", "503", "see the database");
        diagnosis.bad("database", "can't be used", "systemctl status postgresql");
        world.db.allow_connections(true).await;
        until(&world, "service", "good", &[]).await.well();
        world.close().await;
    }

    async fn a_transaction_that_lasts(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let held = world.db.transaction("SELECT 1").await;
        let limit = ["--long-transaction", "1s"];
        let diagnosis = until(&world, "long transactions", "bad", &limit).await;
        let remedy = diagnosis.bad("long transactions", "idle in transaction", "unless");
        diagnosis.good("locked rows");
        // The handbook's five minutes are not over.
        Diagnosis::of(&world).await.well();
        apply(&world, &remedy).await;
        until(&world, "long transactions", "good", &limit).await.well();
        drop(held);
        world.close().await;
    }

    async fn a_pool_that_is_exhausted(db: TestDb) {
        let few = [("CUSTOM_PASS_DB_MAX_OPEN_CONNS", "2"), ("CUSTOM_PASS_DB_MAX_IDLE_CONNS", "2")];
        let world = World::with(db, &few).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let held = world.db.transaction("LOCK TABLE webhook_endpoints").await;
        let lists: Vec<_> = (0..4)
            .map(|_| {
                let admin = world.admin();
                tokio::spawn(async move { admin.call("GET", "/api/webhook").try_send().await })
            })
            .collect();
        let diagnosis = until(&world, "connection pool", "bad", &[]).await;
        diagnosis.bad("connection pool", "2 of 2 connections", "CUSTOM_PASS_DB_MAX_OPEN_CONNS");
        let diagnosis = until(&world, "locked rows", "bad", &[]).await;
        apply(&world, &diagnosis.bad("locked rows", "idle in transaction", "SELECT")).await;
        for list in lists {
            drop(list.await.unwrap());
        }
        until(&world, "connection pool", "good", &[]).await;
        until(&world, "service", "good", &[]).await.well();
        drop(held);
        world.close().await;
    }
}
