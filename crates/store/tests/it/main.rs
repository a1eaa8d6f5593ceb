//! The store against real databases.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod catalog;
mod change_feed;
mod identities;
mod journal;
mod migrating;
mod shared_work;
mod sqlite_file;
mod statements;

use domain::{Clock, UnixMs};
use store::{Db, DbConfig, Live, Sealer, Value};
use testkit::TestDb;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// 2026-11-23T00:00:00Z.
const NOW: UnixMs = UnixMs(1_795_392_000_000);

fn config(db: &TestDb) -> DbConfig {
    let dsn = db.sql_dsn().map(ToOwned::to_owned);
    DbConfig { dsn, data_dir: db.dir().to_owned(), max_connections: 8, connect_timeout_ms: 5000 }
}

async fn open(db: &TestDb) -> Db {
    Db::open(&config(db)).await.unwrap()
}

fn sealer() -> Sealer {
    Sealer::new(b"a secret for tests")
}

fn clock() -> Clock {
    Clock::new(|| NOW)
}

/// A running [`Live`], stopped and awaited when it is dropped.
struct Following {
    live: std::sync::Arc<Live>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl Following {
    async fn start(db: &Db) -> Self {
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let live = Live::start(db.clone(), sealer(), clock(), &tracker, shutdown.clone());
        Self { live: live.await.unwrap(), tracker, shutdown }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.tracker.close();
        testkit::within("the change feed to stop", self.tracker.wait()).await;
    }
}

async fn user(db: &Db, name: &str, quota: i64) -> i64 {
    let sql = "INSERT INTO users (username, quota) VALUES ($1, $2) RETURNING id";
    let rows = db.write(sql, &[Value::from(name), Value::Int(quota)]).await.unwrap();
    rows[0].get("id").unwrap()
}

async fn key(db: &Db, user_id: i64, key: &str) -> i64 {
    let sql = "INSERT INTO tokens (user_id, key_hash, unlimited_quota) VALUES ($1, $2, TRUE)
               RETURNING id";
    let params = [Value::Int(user_id), Value::from(store::key_hash(key))];
    db.write(sql, &params).await.unwrap()[0].get("id").unwrap()
}
