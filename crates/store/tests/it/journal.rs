use super::*;
use testkit::on_both_databases;

on_both_databases! {
    async fn a_balance_edited_with_sql_is_entered(test: TestDb) {
        let db = open(&test).await;
        let id = user(&db, "ann", 100).await;
        test.execute("UPDATE users SET quota = quota + 500 WHERE username = 'ann'").await;
        test.execute("UPDATE users SET used_quota = 30, quota = quota - 30").await;
        test.execute("UPDATE users SET display_name = 'Ann', quota = quota").await;
        let lines = test.query("SELECT type, delta, used_delta, username, user_id, content
                                FROM logs ORDER BY id").await;
        let deltas: Vec<_> = lines.iter().map(|l| (l.i64("delta"), l.i64("used_delta"))).collect();
        assert_eq!(deltas, [(100, 0), (500, 0), (-30, 30)]);
        for line in &lines {
            assert_eq!((line.text("type"), line.text("username")), ("adjust", "ann"));
            assert_eq!(line.i64("user_id"), id);
            assert!(line.text("content").starts_with("SQL"));
        }
    }

    async fn the_ledgers_own_writes_enter_nothing(test: TestDb) {
        let db = open(&test).await;
        user(&db, "ann", 0).await;
        test.execute("UPDATE users SET quota = quota - 5, revision = revision + 1").await;
        assert_eq!(test.i64("SELECT count(*) FROM logs").await, 0);
    }

    async fn money_lines_can_only_be_added(test: TestDb) {
        let db = open(&test).await;
        user(&db, "ann", 100).await;
        test.execute("INSERT INTO logs (user_id, type, content) VALUES (1, 'manage', 'x')").await;
        for sql in [
            "UPDATE logs SET delta = 5 WHERE type = 'adjust'",
            "UPDATE logs SET content = '' WHERE type = 'adjust'",
            "UPDATE logs SET delta = 5 WHERE type = 'manage'",
            "DELETE FROM logs WHERE type = 'adjust'",
            "DELETE FROM logs",
        ] {
            let refused = test.try_execute(sql).await.unwrap_err();
            assert!(refused.contains("can only be added"), "{sql}: {refused}");
        }
        assert_eq!(test.i64("SELECT sum(delta) FROM logs").await, 100);
        test.execute("UPDATE logs SET content = 'y' WHERE type = 'manage'").await;
        assert_eq!(test.execute("DELETE FROM logs WHERE type = 'manage'").await, 1);
    }

    async fn ratios_out_of_range_are_refused(test: TestDb) {
        let db = open(&test).await;
        user(&db, "ann", 0).await;
        for good in ["0", "1", "0.001", "'0.000001'", "1000000", "1.5"] {
            test.execute(&format!("UPDATE users SET ratio = {good}")).await;
            let row = &db.read("SELECT ratio FROM users", &[]).await.unwrap()[0];
            let expected: domain::Ratio = good.trim_matches('\'').parse().unwrap();
            assert_eq!(row.get::<domain::Ratio>("ratio").unwrap(), expected);
        }
        for bad in ["-1", "1000001", "0.1234567", "'NaN'", "'abc'", "'1.2.3'", "''"] {
            let user = format!("UPDATE users SET ratio = {bad}");
            assert!(test.try_execute(&user).await.is_err(), "{bad}");
            let price = format!("INSERT INTO abilities (model_name, ratio) VALUES ('m', {bad})");
            assert!(test.try_execute(&price).await.is_err(), "{bad}");
        }
    }

    async fn money_is_whole_numbers(test: TestDb) {
        let db = open(&test).await;
        user(&db, "ann", 0).await;
        let cents = test.try_execute("UPDATE users SET quota = 'lots'").await;
        assert!(cents.is_err());
        assert!(test.try_execute("INSERT INTO abilities (model_name, fixed_quota) VALUES ('m', -1)")
            .await.is_err());
    }
}
