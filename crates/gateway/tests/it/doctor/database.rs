//! The database, and the money in it.

use super::{Diagnosis, apply, until};
use crate::house::{House, by_use, fixed};
use testkit::{Reply, TestDb, json, on_both_databases};

const OTHER_KEY: &str = "b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXItMTI=";

on_both_databases! {
    async fn a_schema_or_a_key_that_is_not_this_programs(db: TestDb) {
        let mut house = House::open(db).await;
        house.model("m", fixed(1), Reply::text("ok")).await;
        house.server.set_env("SECRET_KEY", OTHER_KEY);
        let diagnosis = Diagnosis::of(&house).await;
        diagnosis.bad("secret key", "", "SECRET_KEY that this database was used with");
        house.server.set_env("SECRET_KEY", testkit::server::SECRET_KEY);

        // After a rollback of the program alone.
        let newer = "INSERT INTO schema_migrations (version, name, sha256) VALUES (999, 'n', 'x')";
        house.db.execute(newer).await;
        let diagnosis = Diagnosis::of(&house).await;
        diagnosis.bad("schema", "999", "or a newer one");
        house.db.execute("DELETE FROM schema_migrations WHERE version = 999").await;
        Diagnosis::of(&house).await.well();
        house.close().await;
    }

    async fn balances_that_do_not_add_up_or_are_below_zero(db: TestDb) {
        let house = House::open(db).await;
        house.upstream.on("/m", Reply::result(100, 100));
        house.channel(&["m"], json!({"setting": {"precharge": "off"}})).await;
        house.admin().price("m", by_use()).await;
        let ann = house.payer(10).await;
        house.pay("m", &ann).await.expect(200);
        let diagnosis = Diagnosis::of(&house).await;
        diagnosis.odd("balances", "1 users are below zero", "newapi user topup");
        house.admin().add_quota(ann.id, 400, "paid by transfer").await;
        Diagnosis::of(&house).await.good("balances");

        // Written past the journal, as a restored row of an old backup would be.
        let change = |delta: i64| {
            let sql = format!(
                "UPDATE users SET quota = quota + {delta}, revision = revision + 1 WHERE id = {}",
                ann.id
            );
            let db = &house.db;
            async move { db.execute(&sql).await }
        };
        change(1).await;
        Diagnosis::of(&house).await.bad("audit", "1 breach", "newapi audit");
        change(-1).await;
        Diagnosis::of(&house).await.well();
        house.close().await;
    }

    async fn holds_that_nobody_gives_back(db: TestDb) {
        let mut house = House::with(db, &[("CUSTOM_PASS_HTTP_TIMEOUT", "300ms")]).await;
        house.model("m", fixed(1), Reply::hang()).await;
        let ann = house.payer(100).await;
        house.pay("m", &ann).await.expect_error(504, "TIMEOUT");
        assert!(house.server.terminate().await.success());
        let past = if house.db.is_postgres() { "now() - interval '30 minutes'" } else {
            "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - 1800000"
        };
        house.db.execute(&format!("UPDATE holds SET deadline_at = {past}")).await;
        Diagnosis::of(&house).await.bad("holds", "1 should have been given back", "systemctl");
        house.server.start_again().await;
        until(&house, "holds", "good", &[]).await.well();
        house.wait_for_money(&ann, 100, 0).await;
        house.close().await;
    }

    async fn rows_that_somebody_has_locked(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(1), Reply::text("ok")).await;
        let ann = house.payer(100).await;
        let row = format!("UPDATE users SET display_name = 'x' WHERE id = {}", ann.id);
        let held = house.db.transaction(&row).await;
        let diagnosis = until(&house, "locked rows", "bad", &[]).await;
        if house.db.is_postgres() {
            apply(&house, &diagnosis.bad("locked rows", "idle in transaction", "SELECT")).await;
        } else {
            diagnosis.bad("locked rows", "has left a transaction open", "fuser -v");
        }
        drop(held);
        until(&house, "locked rows", "good", &[]).await.well();
        house.pay("m", &ann).await.expect(200);
        house.close().await;
    }
}

on_postgres! {
    async fn a_database_that_is_away(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(1), Reply::text("ok")).await;
        house.db.allow_connections(false).await;
        let diagnosis = until(&house, "service", "bad", &[]).await;
        diagnosis.bad("service", "503", "see the database");
        diagnosis.bad("database", "can't be used", "systemctl status postgresql");
        house.db.allow_connections(true).await;
        until(&house, "service", "good", &[]).await.well();
        house.close().await;
    }

    async fn a_transaction_that_lasts(db: TestDb) {
        let house = House::open(db).await;
        house.model("m", fixed(1), Reply::text("ok")).await;
        let held = house.db.transaction("SELECT 1").await;
        let limit = ["--long-transaction", "1s"];
        let diagnosis = until(&house, "long transactions", "bad", &limit).await;
        let mend = diagnosis.bad("long transactions", "idle in transaction", "unless");
        diagnosis.good("locked rows");
        // The handbook's five minutes are not over.
        Diagnosis::of(&house).await.well();
        apply(&house, &mend).await;
        until(&house, "long transactions", "good", &limit).await.well();
        drop(held);
        house.close().await;
    }

    async fn a_pool_that_is_exhausted(db: TestDb) {
        let few = [("CUSTOM_PASS_DB_MAX_OPEN_CONNS", "2"), ("CUSTOM_PASS_DB_MAX_IDLE_CONNS", "2")];
        let house = House::with(db, &few).await;
        house.model("m", fixed(1), Reply::text("ok")).await;
        let held = house.db.transaction("LOCK TABLE webhook_endpoints").await;
        let lists: Vec<_> = (0..4)
            .map(|_| {
                let admin = house.admin();
                tokio::spawn(async move { admin.call("GET", "/api/webhook").try_send().await })
            })
            .collect();
        let diagnosis = until(&house, "connection pool", "bad", &[]).await;
        diagnosis.bad("connection pool", "2 of 2 connections", "CUSTOM_PASS_DB_MAX_OPEN_CONNS");
        let diagnosis = until(&house, "locked rows", "bad", &[]).await;
        apply(&house, &diagnosis.bad("locked rows", "idle in transaction", "SELECT")).await;
        for list in lists {
            drop(list.await.unwrap());
        }
        until(&house, "connection pool", "good", &[]).await;
        until(&house, "service", "good", &[]).await.well();
        drop(held);
        house.close().await;
    }
}
