//! What operators do with plain SQL: it counts at once, and the books stay right.

use crate::world::{World, fixed};
use std::time::Instant;
use testkit::{PATIENCE, Reply, TestDb, eventually, json, on_both_databases};

/// Waits until a call costs this much.
async fn costs(world: &World, payer: &crate::world::Payer, quota: i64) {
    let wanted = Some(quota.to_string());
    eventually(&format!("calls to cost {quota}"), || async {
        let answer = world.pay("m", payer).await.expect(200);
        (answer.header("X-Newapi-Quota") == wanted).then_some(())
    })
    .await;
}

/// Waits until a call is answered with this status.
async fn answers(world: &World, payer: &crate::world::Payer, status: u16) {
    let started = Instant::now();
    loop {
        let answer = world.pay("m", payer).await;
        if answer.status == status {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "not {status} but {answer:?}");
    }
}

on_both_databases! {
    async fn prices_groups_channels_and_users_count_at_once(db: TestDb) {
        // R57.
        let world = World::open(db).await;
        let channel = world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(1_000_000).await;
        let sql = async |sql: &str| { world.db.execute(sql).await; };
        costs(&world, &ann, 10).await;

        sql("UPDATE abilities SET fixed_quota = 7 WHERE model_name = 'm'").await;
        costs(&world, &ann, 7).await;
        sql("INSERT INTO group_ratio (group_name, ratio) VALUES ('default', '2')").await;
        costs(&world, &ann, 14).await;
        sql("UPDATE group_ratio SET ratio = '0.5'").await;
        costs(&world, &ann, 4).await;
        sql(&format!("UPDATE users SET ratio = '3' WHERE id = {}", ann.id)).await;
        costs(&world, &ann, 11).await;
        sql(&format!("UPDATE users SET \"group\" = 'other' WHERE id = {}", ann.id)).await;
        costs(&world, &ann, 21).await;
        sql(&format!("UPDATE channels SET groups = 'vip' WHERE id = {channel}")).await;
        answers(&world, &ann, 403).await;
        sql(&format!("UPDATE channels SET groups = 'vip,other' WHERE id = {channel}")).await;
        answers(&world, &ann, 200).await;
        costs(&world, &ann, 21).await;
        sql(&format!("UPDATE channels SET status = 2 WHERE id = {channel}")).await;
        answers(&world, &ann, 503).await;
        sql(&format!("UPDATE channels SET status = 1 WHERE id = {channel}")).await;
        answers(&world, &ann, 200).await;
        sql(&format!("UPDATE users SET status = 2 WHERE id = {}", ann.id)).await;
        answers(&world, &ann, 403).await;
        sql(&format!("UPDATE users SET status = 1 WHERE id = {}", ann.id)).await;
        answers(&world, &ann, 200).await;
        sql(&format!("UPDATE tokens SET status = 2 WHERE id = {}", ann.token_id)).await;
        answers(&world, &ann, 401).await;
        world.close().await;
    }

    async fn a_key_written_readable_is_used_and_sealed(db: TestDb) {
        let world = World::open(db).await;
        let channel = world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(1_000).await;

        let sql = format!("UPDATE channels SET key = 'typed-by-hand' WHERE id = {channel}");
        world.db.execute(&sql).await;

        eventually("the new key to be used", || async {
            world.pay("m", &ann).await.expect(200);
            let last = world.upstream.requests().await.pop().unwrap();
            (last.header("Authorization")? == "Bearer typed-by-hand").then_some(())
        })
        .await;
        eventually("the key to be sealed", || async {
            world.db.text("SELECT key FROM channels").await.starts_with("enc:v1:").then_some(())
        })
        .await;
        world.close().await;
    }

    async fn one_bad_row_stops_none_of_its_neighbours(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(1_000_000).await;

        world.db.execute(
            "INSERT INTO channels (name, base_url, key, models) \
             VALUES ('bad', 'not a url', 'k', 'm,n'), ('worse', 'http://u', 'enc:v1:AAAA', 'n')",
        )
        .await;
        world.db.execute("UPDATE abilities SET fixed_quota = 12 WHERE model_name = 'm'").await;

        costs(&world, &ann, 12).await;
        world.close().await;
    }

    async fn money_given_with_sql_under_load_is_entered(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100_000).await;
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let call = world.server.call("POST", "/pass/m").key(&ann.key).json(&json!({}));
                tokio::spawn(async move {
                    for _ in 0..25 {
                        call.clone().send().await.expect(200);
                    }
                })
            })
            .collect();
        for _ in 0..20 {
            let sql = format!("UPDATE users SET quota = quota + 500 WHERE id = {}", ann.id);
            assert_eq!(world.db.execute(&sql).await, 1);
        }
        for running in calls {
            running.await.unwrap();
        }

        world.wait_for_money(&ann, 100_000 + 20 * 500 - 200 * 10, 200 * 10).await;
        assert_eq!(world.lines("adjust").await, 20);
        world.close().await;
    }

    async fn money_given_with_sql_can_be_spent_at_once(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(5).await;
        world.pay("m", &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");

        let sql = format!("UPDATE users SET quota = quota + 5 WHERE id = {}", ann.id);
        world.db.execute(&sql).await;
        world.pay("m", &ann).await.expect(200);

        let sql = format!("UPDATE users SET quota = 0 - 20 WHERE id = {}", ann.id);
        world.db.execute(&sql).await;
        world.pay("m", &ann).await.expect_error(402, "INSUFFICIENT_QUOTA");
        assert_eq!(world.lines("adjust").await, 2);
        world.close().await;
    }

    async fn lines_about_money_can_only_be_added(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        world.pay("m", &ann).await.expect(200);
        let before = world.journal(&ann).await;

        for sql in [
            "DELETE FROM logs", "DELETE FROM logs WHERE type = 'consume'",
            "UPDATE logs SET delta = 0", "UPDATE logs SET quota = 1 WHERE type = 'consume'",
            "UPDATE logs SET user_id = 1 WHERE type = 'topup'",
        ] {
            let refused = world.db.try_execute(sql).await;
            assert!(refused.is_err(), "{sql} went through");
        }

        assert_eq!(world.journal(&ann).await, before);
        world.close().await;
    }

    async fn the_audit_finds_what_was_tampered_with(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(100).await;
        world.server.audit_clean().await;

        // With the revision moved along, as only the ledger does, no line is entered.
        world.db.execute(&format!(
            "UPDATE users SET quota = quota + 1, revision = revision + 1 WHERE id = {}", ann.id
        ))
        .await;

        let output = world.server.cli(&["audit", "--json"]).await;
        assert_eq!(output.status.code(), Some(1));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["clean"], false);
        let text = report["breaches"].to_string();
        assert!(text.contains(&ann.id.to_string()), "{text}");
        let report = world.admin().get("/api/audit/ledger").await;
        assert_eq!(report["clean"], false);
    }
}

on_sqlite! {
    async fn an_older_sqlite3_runs_what_is_documented(db: TestDb) {
        let world = World::open(db).await;
        let ann = json!({"username": "ann", "password": "correct horse 42", "quota": 1_000});
        let id = world.admin().user(ann).await;
        let documented = include_str!("../../../../docs/money.md").split("```sql\n").skip(1);
        let mut statements: Vec<&str> =
            documented.map(|rest| rest.split("```").next().unwrap()).collect();
        assert!(statements.len() >= 2, "{statements:?}");
        statements.extend([
            "INSERT INTO group_ratio (group_name, ratio) VALUES ('vip', '0.8')",
            "INSERT INTO abilities (model_name, ratio) VALUES ('m', '2')",
            "INSERT INTO channels (name, base_url, key, models, groups)
             VALUES ('c', 'http://127.0.0.1:9', 'k', 'm', 'default')",
            "INSERT INTO users (username) VALUES ('bob')",
            "UPDATE users SET status = 2 WHERE username = 'bob'",
        ]);

        // Debian 12 has 3.40.
        for sql in statements {
            let mut sqlite3 = tokio::process::Command::new("sqlite3");
            sqlite3.args(["-bail", "-cmd", ".timeout 10000"]);
            sqlite3.arg(world.db.dir().join("newapi.db")).arg(sql);
            let Ok(ran) = sqlite3.output().await else {
                return crate::world::skipped("there is no sqlite3");
            };
            let said = String::from_utf8_lossy(&ran.stderr);
            assert!(ran.status.success(), "{sql}: {said}");
        }

        let limited = format!("SELECT daily_limit FROM users WHERE id = {id}");
        assert_eq!(world.db.i64(&limited).await, 500_000);
        assert_eq!(world.admin().user_quota(id).await, 1_500);
        assert_eq!(world.lines("adjust").await, 1, "it is in the journal");
        world.close().await;
    }
}
