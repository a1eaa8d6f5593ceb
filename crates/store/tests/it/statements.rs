use super::*;
use domain::{Ratio, UserId};
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;
use store::{Engine, Statement, StoreError};
use testkit::{eventually, on_both_databases, within};
use uuid::Uuid;

async fn table(db: &TestDb) {
    let (time, uuid, bytes, json, decimal, bool) = match db.is_postgres() {
        true => ("timestamptz", "uuid", "bytea", "jsonb", "numeric", "boolean"),
        false => ("INTEGER", "BLOB", "BLOB", "TEXT", "TEXT", "INTEGER"),
    };
    db.execute(&format!(
        "CREATE TABLE every (id bigint PRIMARY KEY, small smallint, flag {bool}, words text, \
         at {time}, uid {uuid}, raw {bytes}, doc {json}, ratio {decimal})"
    ))
    .await;
}

on_both_databases! {
    async fn every_value_comes_back(test: TestDb) {
        let db = open(&test).await;
        table(&test).await;
        let uid = Uuid::from_u128(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        let ratio: Ratio = "0.800001".parse().unwrap();
        let sql = "INSERT INTO every (doc, ratio, id, small, flag, words, at, uid, raw)
                   VALUES ($8, $9, $1, $2, $3, $4, $5, $6, $7)";
        let params = [
            Value::Int(i64::MAX), Value::Int(-7), Value::Bool(true), Value::from("it's $1 'ä'"),
            Value::Time(NOW), Value::Uuid(uid), Value::Bytes(vec![0, 255]),
            Value::Json(r#"{"n":12345678901234567890.10}"#.into()), Value::Ratio(ratio),
        ];
        assert_eq!(db.execute(sql, &params).await.unwrap(), 1);
        let rows = db.read("SELECT * FROM every WHERE at = $2 AND id = $1",
                           &[params[0].clone(), params[4].clone()]).await.unwrap();
        let row = &rows[0];
        assert_eq!(row.get::<i64>("id").unwrap(), i64::MAX);
        assert_eq!(row.get::<i16>("small").unwrap(), -7);
        assert!(row.get::<bool>("flag").unwrap());
        assert_eq!(row.get::<String>("words").unwrap(), "it's $1 'ä'");
        assert_eq!(row.get::<UnixMs>("at").unwrap(), NOW);
        assert_eq!(row.get::<Uuid>("uid").unwrap(), uid);
        assert_eq!(row.get::<Vec<u8>>("raw").unwrap(), [0, 255]);
        assert_eq!(row.get::<Ratio>("ratio").unwrap(), ratio);
        assert!(row.get::<String>("doc").unwrap().contains("12345678901234567890.10"));
        assert!(row.get::<String>("id").is_err() && row.get::<i64>("nothing").is_err());
    }

    async fn nothing_comes_back_as_nothing(test: TestDb) {
        let db = open(&test).await;
        table(&test).await;
        let mut params = vec![Value::Null; 9];
        params[0] = Value::Int(1);
        db.execute("INSERT INTO every VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)", &params)
            .await.unwrap();
        let row = &db.read("SELECT * FROM every", &[]).await.unwrap()[0];
        assert_eq!(row.get::<Option<i64>>("small").unwrap(), None);
        assert_eq!(row.get::<Option<Uuid>>("uid").unwrap(), None);
        assert_eq!(row.get::<Option<Ratio>>("ratio").unwrap(), None);
        assert!(matches!(row.get::<UserId>("small"), Err(StoreError::Decode { .. })));
    }

    async fn sums_are_exact(test: TestDb) {
        let db = open(&test).await;
        for name in ["ann", "bob"] {
            user(&db, name, 900_000_000_000_001).await;
        }
        let sql = "SELECT sum(quota) AS total, count(*) AS n FROM users";
        let rows = db.read(sql, &[]).await.unwrap();
        assert_eq!(rows[0].get::<i64>("total").unwrap(), 1_800_000_000_000_002);
        assert_eq!(rows[0].get::<i64>("n").unwrap(), 2);
    }

    async fn errors_show_what_the_caller_can_act_on(test: TestDb) {
        let db = open(&test).await;
        let id = user(&db, "ann", 0).await;
        let again = "INSERT INTO users (username) VALUES ($1)";
        let again = db.execute(again, &[Value::from("ann")]).await;
        match again {
            Err(StoreError::Conflict { table, column, .. }) => {
                assert_eq!((table.as_str(), column.as_str()), ("users", "username"));
            }
            other => panic!("{other:?}"),
        }
        let role = db.execute("UPDATE users SET role = 5 WHERE id = $1", &[Value::Int(id)]).await;
        assert!(matches!(role, Err(StoreError::Check { .. })), "{role:?}");
        let orphan = "INSERT INTO tokens (user_id, key_hash) VALUES (999, $1)";
        let orphan = db.execute(orphan, &[Value::Bytes(vec![1])]).await;
        assert!(matches!(orphan, Err(StoreError::Check { .. })), "{orphan:?}");
        let typo = db.read("SELECT nothing FROM users", &[]).await;
        assert!(matches!(typo, Err(StoreError::Other(_))), "{typo:?}");
        let few = db.read("SELECT id FROM users WHERE id = $1", &[]).await;
        let reported = matches!(few, Err(StoreError::Other(_)));
        assert!(reported || db.engine() == Engine::Sqlite, "{few:?}");
    }

    async fn transactions_are_all_or_nothing(test: TestDb) {
        let db = open(&test).await;
        let insert = |name: &str| {
            let sql = "INSERT INTO users (username) VALUES ($1) RETURNING id";
            Statement::new(sql, vec![Value::from(name)])
        };
        let failed = db.write_all(vec![insert("ann"), insert("bob"), insert("ann")]).await;
        assert!(matches!(failed, Err(StoreError::Conflict { .. })));
        let no_row = "UPDATE users SET status = 2 WHERE id = 77";
        let no_row = Statement::new(no_row, vec![]).expecting(1);
        let failed = db.write_all(vec![insert("ann"), no_row]).await;
        assert!(matches!(failed, Err(StoreError::RowCount { index: 1, expected: 1, found: 0 })));
        assert_eq!(test.i64("SELECT count(*) FROM users").await, 0);
        let answers = db.write_all(vec![insert("ann").expecting(1), insert("bob")]).await.unwrap();
        assert!(answers[0][0].get::<i64>("id").unwrap() < answers[1][0].get::<i64>("id").unwrap());
        assert_eq!(test.i64("SELECT count(*) FROM users").await, 2);
    }

    async fn who_stops_waiting_leaves_no_transaction_open(test: TestDb) {
        let db = open(&test).await;
        let id = user(&db, "ann", 0).await;
        let update = Statement::new(
            "UPDATE users SET request_count = request_count + 1 WHERE id = $1",
            vec![Value::Int(id)],
        );
        let mut cancelled = 0;
        for round in 0..400_u64 {
            let work = db.write_all(vec![update.clone(), update.clone()]);
            let patience = Duration::from_micros(round * 7 % 2000);
            if round % 4 == 0 {
                // Polled once, and dropped in the middle.
                cancelled += i32::from(futures_util::FutureExt::now_or_never(work).is_none());
                continue;
            }
            cancelled += i32::from(tokio::time::timeout(patience, work).await.is_err());
        }
        assert!(cancelled > 20, "only {cancelled} were cancelled");
        // Both or none of each, and the connections are good for more.
        within("writing on", db.write_all(vec![update.clone(), update])).await.unwrap();
        assert_eq!(test.i64("SELECT request_count % 2 FROM users").await, 0);
        if test.is_postgres() {
            let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                        AND state LIKE 'idle in transaction%'";
            eventually("no open transaction", || async {
                (test.i64(open).await == 0).then_some(())
            }).await;
        }
    }
}

#[test]
fn an_unreachable_database_is_reported_at_once_and_without_its_password() {
    testkit::run(async {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let dsn = Some(format!("postgres://ann:hunter2@127.0.0.1:{port}/x"));
        let error = Db::open(&DbConfig { dsn, ..DbConfig::default() }).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        let fault = domain::Fault::from(error);
        assert_eq!(fault.kind, domain::FaultKind::DatabaseUnavailable);
    });
}

#[test]
fn a_restarted_server_is_found_again() {
    testkit::run(async {
        let test = TestDb::postgres().await;
        let db = open(&test).await;
        for _ in 0..3 {
            test.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
            db.ping().await.unwrap();
        }
        assert!(db.pool_status().unwrap().open <= 8);
        let (client, _driven) = db.dedicated_postgres().await.unwrap();
        let name = client.query_one("SHOW application_name", &[]).await.unwrap();
        assert_eq!(name.get::<_, String>(0), "newapi");
        db.shed_idle_connections(0);
        assert_eq!(db.pool_status().unwrap().idle, 0);
        db.ping().await.unwrap();
    });
}

#[test]
fn a_long_read_has_an_hour() {
    testkit::run(async {
        let test = TestDb::postgres().await;
        let db = open(&test).await;
        let limit = "SELECT current_setting('statement_timeout') AS limit";
        let reader = db.long_reader().await.unwrap();
        let rows = reader.read(limit, &[]).await.unwrap();
        assert_eq!(rows[0].get::<String>("limit").unwrap(), "1h");
        let rows = db.read(limit, &[]).await.unwrap();
        assert_eq!(rows[0].get::<String>("limit").unwrap(), "30s", "a page has less");
    });
}

#[test]
fn long_searches_keep_no_reader_waiting() {
    testkit::run(async {
        let test = TestDb::sqlite().await;
        let db = open(&test).await;
        let long = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c \
                    WHERE n < 3000000) SELECT count(*) AS n FROM c";
        let mut searches: Vec<_> = (0..3).map(|_| Box::pin(db.search(long, &[]))).collect();
        // Queued, each of them, before the read is.
        let queued = poll_fn(|cx| {
            Poll::Ready(searches.iter_mut().all(|search| search.as_mut().poll(cx).is_pending()))
        });
        assert!(queued.await);
        assert_eq!(db.read("SELECT 1 AS one", &[]).await.unwrap().len(), 1);
        let first = poll_fn(|cx| Poll::Ready(searches[0].as_mut().poll(cx).is_pending())).await;
        assert!(first, "the read has waited for a search");
        for search in searches {
            search.await.unwrap();
        }
    });
}
