use super::*;
use std::os::unix::fs::PermissionsExt;
use store::StoreError;

fn on_sqlite<F: Future<Output = ()>>(body: impl FnOnce(TestDb) -> F) {
    testkit::run(async { body(TestDb::sqlite().await).await });
}

#[test]
fn one_process_serves_and_others_may_look() {
    on_sqlite(|test| async move {
        let (first, second) = (open(&test).await, open(&test).await);
        first.lock_for_serving().await.unwrap();
        let refused = second.lock_for_serving().await.unwrap_err();
        assert!(matches!(refused, StoreError::ServedElsewhere(_)));
        second.ping().await.unwrap();
        user(&second, "ann", 5).await;
        assert_eq!(first.read("SELECT 1 FROM users", &[]).await.unwrap().len(), 1);
        first.close().await;
        drop(first);
        second.lock_for_serving().await.unwrap();
    });
}

#[test]
fn files_are_their_owners_alone() {
    on_sqlite(|test| async move {
        let data_dir = test.dir().join("data/deep");
        let config = DbConfig { data_dir: data_dir.clone(), ..DbConfig::default() };
        let db = Db::open(&config).await.unwrap();
        user(&db, "ann", 5).await;
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&data_dir), 0o700);
        for file in ["newapi.db", "newapi.db-wal", "newapi.db-shm"] {
            assert_eq!(mode(&data_dir.join(file)), 0o600, "{file}");
        }
        db.close().await;
        assert!(!data_dir.join("newapi.db-wal").exists(), "closed orderly: no log is left");
        assert!(matches!(db.ping().await, Err(StoreError::Unavailable(_))));
        assert!(matches!(db.execute("SELECT 1", &[]).await, Err(StoreError::Unavailable(_))));
    });
}

#[test]
fn a_job_that_fails_does_not_stop_its_neighbours() {
    on_sqlite(|test| async move {
        let db = open(&test).await;
        let writer = db.sqlite().unwrap();
        let lost = writer.run(|_| -> i64 { panic!("a job that panics, on purpose") }).await;
        assert!(lost.is_err());
        let left_open = |conn: &mut rusqlite::Connection| {
            conn.execute_batch("BEGIN; INSERT INTO users (username) VALUES ('ghost')")
        };
        writer.run(left_open).await.unwrap().unwrap();
        user(&db, "ann", 0).await;
        assert_eq!(test.text("SELECT username FROM users").await, "ann");
    });
}

#[test]
fn the_log_has_its_length_before_the_first_commit() {
    on_sqlite(|test| async move {
        let db = open(&test).await;
        let log = test.dir().join("newapi.db-wal");
        assert!(log.metadata().unwrap().len() < 1024 * 1024);
        db.lock_for_serving().await.unwrap();
        user(&db, "ann", 5).await;
        assert!(log.metadata().unwrap().len() > 16_000_000);
        assert!(test.dir().join("newapi.db").metadata().unwrap().len() < 1024 * 1024);
        let left = "SELECT count(*) FROM sqlite_master WHERE name = 'newapi_log_length'";
        assert_eq!(test.i64(left).await, 0);
        assert_eq!(test.text("PRAGMA integrity_check").await, "ok");
    });
}

#[test]
fn readers_can_not_write() {
    on_sqlite(|test| async move {
        let db = open(&test).await;
        assert!(db.read("INSERT INTO users (username) VALUES ('x')", &[]).await.is_err());
    });
}

#[test]
fn the_log_stays_bounded_under_a_load_that_never_pauses() {
    on_sqlite(|test| async move {
        let db = open(&test).await;
        test.execute("CREATE TABLE load (id INTEGER PRIMARY KEY, body BLOB)").await;
        let body = Value::Bytes(vec![7; 400_000]);
        let mut largest = 0;
        let log = test.dir().join("newapi.db-wal");
        for n in 0..400 {
            let sql = "INSERT INTO load (id, body) VALUES ($1, $2)
                       ON CONFLICT (id) DO UPDATE SET body = excluded.body";
            db.execute(sql, &[Value::Int(n % 20), body.clone()]).await.unwrap();
            largest = largest.max(log.metadata().unwrap().len());
        }
        let mib = largest / 1024 / 1024;
        assert!(mib <= 40, "160 MB were written, and the log grew to {mib} MiB");
        assert_eq!(test.i64("SELECT count(*) FROM load").await, 20);
    });
}

#[test]
fn long_queries_do_not_keep_calls_waiting() {
    on_sqlite(|test| async move {
        let db = open(&test).await;
        let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
                       WHERE i < 30000000) SELECT count(*) FROM n";
        let long: Vec<_> = (0..4)
            .map(|_| {
                let db = db.clone();
                tokio::spawn(async move { db.read(endless, &[]).await })
            })
            .collect();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let identities = store::Identities::new(db.clone());
        let hash = store::key_hash("sk-1");
        assert!(testkit::within("a key", identities.by_key_hash(&hash)).await.unwrap().is_none());
        assert!(long.iter().any(|query| !query.is_finished()), "the long queries were too short");
        for query in long {
            query.abort();
        }
    });
}
