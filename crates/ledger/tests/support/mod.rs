//! A ledger on a fresh database, with a clock of the test's own.

use domain::{
    Clock, FrozenPrice, HoldId, KeyId, NodeId, PriceRow, Pricing, Quota, Ratio, UnixMs, UserId,
};
use ledger::{Hold, HoldRequest, JobsConfig, Ledger, LedgerConfig, LedgerError};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use store::{Db, DbConfig};
use testkit::TestDb;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// One node with its database.
pub struct TestLedger {
    pub ledger: Ledger,
    pub db: Db,
    now_ms: Arc<AtomicI64>,
    jobs: TaskTracker,
}

fn system_now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn price() -> Arc<FrozenPrice> {
    let row = PriceRow { fixed_quota: Some(Quota(1)), ..PriceRow::default() };
    match Pricing::freeze(Some(&row), Ratio::ONE, Ratio::ONE).unwrap() {
        Pricing::Priced(price) => Arc::new(price),
        Pricing::Free => unreachable!("the row has a price"),
    }
}

impl TestLedger {
    pub async fn open(test_db: &TestDb) -> Self {
        let config = DbConfig {
            dsn: test_db.sql_dsn().map(str::to_owned),
            data_dir: test_db.dir().to_owned(),
            max_connections: 5,
            connect_timeout_ms: 5000,
        };
        let db = Db::open(&config).await.unwrap();
        store::make_months(&db, UnixMs(system_now_ms())).await.unwrap();
        Self::on(db, Arc::new(AtomicI64::new(system_now_ms()))).await
    }

    async fn on(db: Db, now_ms: Arc<AtomicI64>) -> Self {
        let (node, jobs) = (NodeId(Uuid::now_v7()), TaskTracker::new());
        let read = now_ms.clone();
        let clock = Clock::new(move || UnixMs(read.load(Ordering::Relaxed)));
        // Jobs run only when the test runs them: they are cancelled before they begin, except for
        // the heartbeat, whose pause is longer than any test.
        let stop = CancellationToken::new();
        stop.cancel();
        let config = LedgerConfig {
            busy_retry_delay_ms: 50,
            jobs: JobsConfig {
                node_name: "test".into(),
                heartbeat_ms: 3_600_000,
                rollup_lag_ms: 0,
                ..JobsConfig::default()
            },
            ..LedgerConfig::default()
        };
        let ledger = Ledger::start(db.clone(), node, config, clock, &jobs, stop).await.unwrap();
        Self { ledger, db, now_ms, jobs }
    }

    pub fn now(&self) -> UnixMs {
        UnixMs(self.now_ms.load(Ordering::Relaxed))
    }

    /// Another node over the same database and by the same clock.
    pub async fn another_node(&self) -> Self {
        Self::on(self.db.clone(), self.now_ms.clone()).await
    }

    /// Time passes in which this node renews its lease, and the others don't.
    pub async fn live_on_ms(&self, ms: i64) {
        for _ in 0..ms / 5_000 {
            self.pass_ms(5_000);
            ledger::run_jobs_once(&self.ledger).await.unwrap();
        }
    }

    pub fn pass_ms(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// The next month begins.
    pub fn to_next_month(&self) {
        let now = self.now_ms.load(Ordering::Relaxed);
        let date =
            jiff::Timestamp::from_millisecond(now).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
        let first = date.last_of_month().unwrap().tomorrow().unwrap().start_of_day().unwrap();
        self.now_ms.store(first.timestamp().as_millisecond(), Ordering::Relaxed);
    }

    pub async fn user(&self, quota: i64) -> UserId {
        let name = format!("u{}", Uuid::now_v7().simple());
        let sql = "INSERT INTO users (username) VALUES ($1) RETURNING id";
        let rows = self.db.write(sql, &[store::Value::Text(name)]).await.unwrap();
        let user_id = UserId(rows[0].get("id").unwrap());
        let deposit = ledger::Movement {
            user_id,
            amount: Quota(quota),
            reason: "start".into(),
            by: "test".into(),
            reference: None,
            told: None,
        };
        self.ledger.deposit(deposit).await.unwrap();
        self.limited_key(user_id, 0).await;
        user_id
    }

    /// A key with a limit of its own.
    pub async fn limited_key(&self, user: UserId, remain: i64) -> KeyId {
        let sql = "INSERT INTO tokens (user_id, key_hash, remain_quota)
                   VALUES ($1, $2, $3) RETURNING id";
        let hash = store::Value::Bytes(Uuid::now_v7().as_bytes().to_vec());
        let params = [store::Value::Int(user.0), hash, store::Value::Int(remain)];
        KeyId(self.db.write(sql, &params).await.unwrap()[0].get("id").unwrap())
    }

    pub async fn hold(&self, user: UserId, amount: i64) -> Result<Hold, LedgerError> {
        self.hold_on(&self.ledger, user, amount).await
    }

    pub async fn hold_on(
        &self,
        ledger: &Ledger,
        user: UserId,
        amount: i64,
    ) -> Result<Hold, LedgerError> {
        ledger.hold(self.request(user, self.key_of(user).await, false, amount)).await
    }

    pub async fn hold_with_key(
        &self,
        user: UserId,
        key: KeyId,
        amount: i64,
    ) -> Result<Hold, LedgerError> {
        self.ledger.hold(self.request(user, key, true, amount)).await
    }

    /// The user's first key.
    pub async fn key_of(&self, user: UserId) -> KeyId {
        let sql = "SELECT min(id) AS id FROM tokens WHERE user_id = $1";
        let rows = self.db.read(sql, &[store::Value::Int(user.0)]).await.unwrap();
        KeyId(rows[0].get("id").unwrap())
    }

    pub fn request(
        &self,
        user_id: UserId,
        key_id: KeyId,
        key_is_limited: bool,
        amount: i64,
    ) -> HoldRequest {
        let now = UnixMs(self.now_ms.load(Ordering::Relaxed));
        HoldRequest {
            hold_id: HoldId(uuid_at(now)),
            user_id,
            key_id,
            key_is_limited,
            channel_id: None,
            model: "model".into(),
            request_id: Uuid::now_v7().to_string().into(),
            amount: Quota(amount),
            price: price(),
            deadline_at: now.plus_ms(60_000),
            task: None,
        }
    }

    /// The balance, and what was spent.
    pub async fn balance(&self, user: UserId) -> (i64, i64) {
        let sql = "SELECT quota, used_quota FROM users WHERE id = $1";
        let rows = self.db.read(sql, &[store::Value::Int(user.0)]).await.unwrap();
        (rows[0].get("quota").unwrap(), rows[0].get("used_quota").unwrap())
    }

    /// Waits until everything requested so far is durable.
    pub async fn flushed(&self) {
        self.ledger.flushed().await;
    }

    /// Ends with a clean audit.
    pub async fn close(self) {
        let report = ledger::audit(&self.db, self.now()).await.unwrap();
        assert!(report.clean, "{report:#?}");
        self.ledger.drain().await;
        self.jobs.close();
    }
}

/// A UUIDv7 of the test's own time.
fn uuid_at(now: UnixMs) -> Uuid {
    let ms = u64::try_from(now.0).unwrap();
    let time = uuid::Timestamp::from_unix_time(ms / 1000, (ms % 1000) as u32 * 1_000_000, 0, 0);
    Uuid::new_v7(time)
}

/// A row locked by another session, in an open transaction.
pub struct Lock {
    client: tokio_postgres::Client,
}

impl Lock {
    pub async fn on_user(db: &TestDb, user: UserId) -> Self {
        Self::on(db, "users", user.0).await
    }

    pub async fn on_key(db: &TestDb, key: KeyId) -> Self {
        Self::on(db, "tokens", key.0).await
    }

    async fn on(db: &TestDb, table: &str, id: i64) -> Self {
        let client = connect(db).await;
        let sql = format!("BEGIN; SELECT 1 FROM {table} WHERE id = {id} FOR UPDATE");
        client.batch_execute(&sql).await.unwrap();
        Self { client }
    }

    pub async fn release(self) {
        self.client.batch_execute("COMMIT").await.unwrap();
    }
}

async fn connect(db: &TestDb) -> tokio_postgres::Client {
    let dsn = db.sql_dsn().unwrap();
    let (client, connection) = tokio_postgres::connect(dsn, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Ends every connection of newapi to the database.
pub async fn kill_connections(db: &TestDb) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'newapi'";
    connect(db).await.batch_execute(sql).await.unwrap();
}
