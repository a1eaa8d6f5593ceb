//! A database of the test's own, on either engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use testkit::{TestDb, on_both_databases, run};

on_both_databases! {
    async fn plain_sql_works(db: TestDb) {
        db.execute("CREATE TABLE t (id bigint, name text, ok boolean)").await;
        let inserted = db.execute("INSERT INTO t VALUES (1, 'a', true), (2, NULL, false)").await;
        assert_eq!(inserted, 2);
        let rows = db.query("SELECT * FROM t ORDER BY id").await;
        assert_eq!((rows[0].i64("id"), rows[0].text("name")), (1, "a"));
        assert!(rows[0].bool("ok") && !rows[1].bool("ok"));
        assert_eq!(rows[1].get("name"), None);
        assert_eq!(db.i64("SELECT sum(id) FROM t").await, 3);
        assert_eq!(db.i64("SELECT sum(id) FROM t WHERE id > 9").await, 0);
        assert_eq!(db.text("SELECT name FROM t WHERE id = 1").await, "a");
        assert!(db.try_execute("INSERT INTO nowhere VALUES (1)").await.is_err());
    }

    async fn two_databases_are_apart(db: TestDb) {
        let other = TestDb::on(db.engine()).await;
        db.execute("CREATE TABLE t (id bigint)").await;
        assert!(other.try_execute("SELECT * FROM t").await.is_err());
        assert_eq!(db.is_postgres(), db.sql_dsn().is_some());
        assert_eq!(db.is_postgres(), db.sqlite_path().is_none());
        assert!(db.dir().is_dir());
    }
}

#[test]
fn nothing_is_left_behind() {
    run(async {
        let gone = TestDb::postgres().await;
        let name = gone.text("SELECT current_database()").await;
        let dir = gone.dir().to_path_buf();
        drop(gone);
        let other = TestDb::postgres().await;
        let sql = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
        assert_eq!(other.i64(&sql).await, 0);
        assert!(!dir.exists());
    });
}
