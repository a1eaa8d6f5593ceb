use super::*;
use store::{Engine, StoreError};
use testkit::on_both_databases;

on_both_databases! {
    async fn many_starters_migrate_once(test: TestDb) {
        let config = config(&test);
        let (a, b, c) = tokio::join!(Db::open(&config), Db::open(&config), Db::open(&config));
        for db in [a.unwrap(), b.unwrap(), c.unwrap()] {
            assert!(db.pending_migrations().await.unwrap().is_empty());
            assert!(db.migrate().await.unwrap().is_empty());
        }
        let applied = "SELECT count(*) - count(DISTINCT version) FROM schema_migrations";
        assert_eq!(test.i64(applied).await, 0);
        assert_eq!(test.i64("SELECT min(version) FROM schema_migrations").await, 1);
    }

    async fn what_is_pending_is_reported_and_not_applied(test: TestDb) {
        let db = Db::open_unmigrated(&config(&test)).await.unwrap();
        let pending = db.pending_migrations().await.unwrap();
        assert_eq!(pending[0].version, 1);
        assert!(pending[0].name.ends_with("/0001_schema.sql"));
        assert!(db.read("SELECT 1 FROM users", &[]).await.is_err());
        assert_eq!(db.migrate().await.unwrap(), pending);
        assert!(db.read("SELECT 1 FROM users", &[]).await.unwrap().is_empty());
    }

    async fn a_newer_or_changed_schema_is_refused(test: TestDb) {
        drop(open(&test).await);
        let ours = test.i64("SELECT max(version) FROM schema_migrations").await;
        test.execute("INSERT INTO schema_migrations (version, name, sha256)
                      VALUES (999, 'x', 'x')").await;
        let newer = Db::open(&config(&test)).await;
        assert!(matches!(
            newer,
            Err(StoreError::SchemaTooNew { found: 999, known }) if known == ours
        ));
        test.execute("DELETE FROM schema_migrations WHERE version = 999").await;
        test.execute("UPDATE schema_migrations SET sha256 = 'x'").await;
        let changed = Db::open(&config(&test)).await.unwrap_err().to_string();
        assert!(changed.contains("0001_schema.sql"), "{changed}");
    }

    async fn a_schema_before_the_first_release_is_refused(test: TestDb) {
        drop(open(&test).await);
        let first = if test.is_postgres() {
            "d4d91745700464274ff51b73c1fab0410cb913c556f1ae67b2684da630d83927"
        } else {
            "91d8b6d83fde4a827cb3f1f24a4dec7ff7e135587dd1f5525bf2fe05c651b343"
        };
        test.execute(&format!("UPDATE schema_migrations SET sha256 = '{first}'")).await;
        let old = Db::open(&config(&test)).await.unwrap_err();
        assert!(matches!(old, StoreError::SchemaUnreleased));
        assert!(old.to_string().contains("start with an empty database"), "{old}");
    }

    async fn months_are_made_ahead(test: TestDb) {
        let db = open(&test).await;
        let (a, b) = tokio::join!(store::make_months(&db, NOW), store::make_months(&db, NOW));
        a.unwrap();
        b.unwrap();
        store::make_months(&db, NOW).await.unwrap();
        if db.engine() == Engine::Sqlite {
            return;
        }
        let made = "SELECT count(*) FROM pg_class WHERE relkind = 'r'
                    AND relname ~ '^logs_(202611|202612|202701)$'";
        assert_eq!(test.i64(made).await, 3);
        // A line of this month goes into its partition.
        db.execute("INSERT INTO logs (user_id, type, created_at) VALUES (1, 'system', $1)",
                   &[Value::Time(NOW)]).await.unwrap();
        assert_eq!(test.i64("SELECT count(*) FROM logs_202611").await, 1);
    }
}

#[test]
fn every_column_is_explained() {
    testkit::run(async {
        let test = TestDb::postgres().await;
        drop(open(&test).await);
        let bare = test
            .query(
                "SELECT c.relname, a.attname FROM pg_class c
                 JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
                   AND NOT c.relispartition
                   AND col_description(c.oid, a.attnum) IS NULL",
            )
            .await;
        assert!(bare.is_empty(), "without a comment: {bare:?}");
    });
}
