//! A database with money, channels and tasks, and nodes that can be started and killed.

use domain::{
    ChannelId, Clock, FrozenPrice, HoldId, KeyId, NodeId, PriceRow, Pricing, Quota, Ratio,
    StatusWords, TaskUid, UnixMs, UserId,
};
use egress::EgressConfig;
use ledger::{AcceptedTask, HoldRequest, Ledger, LedgerConfig, Movement, NewTask, TaskRecord};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::{Db, DbConfig, Live, Sealer, TOKEN_KEY, Value};
use tasks::{MAX_ENDS, Parts, Tasks, TasksConfig};
use testkit::TestDb;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use upstream::{AddressGuard, Client, ClientConfig, Deadlines, Proxies};
use uuid::Uuid;

/// What every task holds at first.
pub(crate) const HELD: i64 = 100;

pub(crate) struct TestCluster {
    pub db: Db,
    ledger: Ledger,
    config: DbConfig,
    is_sqlite: bool,
    jobs: TaskTracker,
}

fn clock() -> Clock {
    Clock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        UnixMs(i64::try_from(since.as_millis()).unwrap())
    })
}

fn sealer() -> Sealer {
    Sealer::new(b"secret")
}

/// One token costs one.
pub(crate) fn price() -> FrozenPrice {
    let row = PriceRow { ratio: Some(Ratio::ONE), ..PriceRow::default() };
    match Pricing::freeze(Some(&row), Ratio::ONE, Ratio::ONE).unwrap() {
        Pricing::Priced(price) => price,
        Pricing::Free => unreachable!("the row has a price"),
    }
}

impl TestCluster {
    pub(crate) async fn open(test_db: &TestDb) -> Self {
        let config = DbConfig {
            dsn: test_db.sql_dsn().map(str::to_owned),
            data_dir: test_db.dir().to_owned(),
            max_connections: 5,
            connect_timeout_ms: 5_000,
        };
        let db = Db::open(&config).await.unwrap();
        store::make_months(&db, clock().now()).await.unwrap();
        let jobs = TaskTracker::new();
        let node = NodeId(Uuid::now_v7());
        let ledger = Ledger::open(db.clone(), node, LedgerConfig::default(), clock(), &jobs);
        let ledger = ledger.await.unwrap();
        Self { db, ledger, config, is_sqlite: !test_db.is_postgres(), jobs }
    }

    /// A user with this balance and a key.
    pub(crate) async fn user(&self, quota: i64) -> (UserId, KeyId) {
        let name = Value::Text(format!("u{}", Uuid::now_v7().simple()));
        let sql = "INSERT INTO users (username) VALUES ($1) RETURNING id";
        let user_id: UserId = self.db.write(sql, &[name]).await.unwrap()[0].get("id").unwrap();
        let (amount, reason, by) = (Quota(quota), "start".into(), "test".into());
        self.ledger
            .deposit(Movement { user_id, amount, reason, by, reference: None, told: None })
            .await
            .unwrap();
        let sql = "INSERT INTO tokens (user_id, key_hash) VALUES ($1, $2) RETURNING id";
        let hash = Value::Bytes(Uuid::now_v7().as_bytes().to_vec());
        let rows = self.db.write(sql, &[Value::Int(user_id.0), hash]).await.unwrap();
        (user_id, rows[0].get("id").unwrap())
    }

    pub(crate) async fn channel(&self, url: &str) -> ChannelId {
        let sql = "INSERT INTO channels (name, base_url, key, models)
                   VALUES ('up', $1, 'up-key', 'a/submit,b/submit') RETURNING id";
        self.db.write(sql, &[Value::from(url)]).await.unwrap()[0].get("id").unwrap()
    }

    /// A task accepted by the upstream, with its money; or without, when it is free.
    pub(crate) async fn submit(
        &self,
        (user_id, key_id): (UserId, KeyId),
        channel_id: ChannelId,
        action: &str,
        task_id: &str,
        free: bool,
    ) -> TaskUid {
        let uid = TaskUid(Uuid::now_v7());
        let task = NewTask {
            uid,
            user_id,
            token_id: key_id,
            key_sealed: sealer().seal(TOKEN_KEY, b"sk-owner").unwrap(),
            channel_id,
            action: action.into(),
            request_id: format!("r-{task_id}"),
            node_id: NodeId(Uuid::nil()),
            request_sealed: None,
            webhook_url_sealed: None,
        };
        let record = TaskRecord::new(uid, task_id.into(), channel_id);
        let taken = AcceptedTask { task: record, hold: None, reply: None };
        if free {
            self.ledger.open_free_task(task).await.unwrap();
            self.ledger.record_task_again(user_id, taken).await.unwrap();
            return uid;
        }
        let request = HoldRequest {
            hold_id: HoldId(uid.0),
            user_id,
            key_id,
            key_is_limited: false,
            channel_id: Some(channel_id),
            model: action.into(),
            request_id: "r".into(),
            amount: Quota(HELD),
            price: Arc::new(price()),
            deadline_at: clock().now().plus_ms(60_000),
            task: Some(Box::new(task)),
        };
        let mut hold = self.ledger.hold(request).await.unwrap();
        self.ledger.record_task(&mut hold, taken).await.unwrap();
        uid
    }

    /// Another node over the same database, on threads of its own.
    pub(crate) async fn node(&self) -> Node {
        self.node_with(MAX_ENDS).await
    }

    /// The same, with at most so many ends of tasks at a time.
    pub(crate) async fn node_with(&self, max_ends: usize) -> Node {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // One process has one SQLite.
        let shared = self.is_sqlite.then(|| self.db.clone());
        let parts = runtime.spawn(Node::build(shared, self.config.clone(), max_ends));
        let (tasks, ledger, jobs, stop) = parts.await.unwrap();
        Node { runtime, tasks, ledger, jobs, stop }
    }

    /// Ends with a clean audit.
    pub(crate) async fn close(self) {
        let report = ledger::audit(&self.db, clock().now()).await.unwrap();
        assert!(report.clean, "{report:#?}");
        self.ledger.drain().await;
        self.jobs.close();
    }
}

pub(crate) struct Node {
    runtime: Runtime,
    pub tasks: Arc<Tasks>,
    ledger: Ledger,
    jobs: TaskTracker,
    stop: CancellationToken,
}

type Built = (Arc<Tasks>, Ledger, TaskTracker, CancellationToken);

impl Node {
    async fn build(shared: Option<Db>, config: DbConfig, max_ends: usize) -> Built {
        let db = match shared {
            Some(db) => db,
            None => Db::open(&config).await.unwrap(),
        };
        let (jobs, stop) = (TaskTracker::new(), CancellationToken::new());
        let node_id = NodeId(Uuid::now_v7());
        let limits = LedgerConfig::default();
        let ledger =
            Ledger::start(db.clone(), node_id, limits, clock(), &jobs, stop.clone()).await.unwrap();
        let live = Live::start(db.clone(), sealer(), clock(), &jobs, stop.clone()).await.unwrap();
        let client = Client::new(ClientConfig {
            guard: AddressGuard::new(vec!["127.0.0.0/8".parse().unwrap()]),
            proxies: Proxies::default(),
            pin_addresses: false,
            connect_timeout: Duration::from_secs(2),
            pool_idle_timeout: Duration::from_secs(10),
            pool_max_idle_per_host: 8,
        })
        .unwrap();
        let deadlines =
            Deadlines { connect_ms: 2_000, first_byte_ms: 2_000, idle_ms: 2_000, total_ms: 2_000 };
        let config = TasksConfig {
            poll_interval_ms: 300,
            query_timeout_ms: 1_000,
            batch_size: 4,
            max_concurrent: 6,
            max_ends,
            max_lifetime_ms: 3_600_000,
            retention_days: 30,
            status_words: StatusWords::usual(),
            egress: EgressConfig { user_token_header: "x-user-token".parse().unwrap(), deadlines },
        };
        let parts = Parts {
            node_id,
            db,
            live,
            ledger: ledger.clone(),
            client: client.clone(),
            webhook_client: client,
            sealer: sealer(),
            clock: clock(),
            tracer: spans::Tracer::default(),
            budget: web::memory::Budget::new(256 << 20),
        };
        let tasks = Tasks::start(config, &parts, &jobs, &stop);
        (tasks, ledger, jobs, stop)
    }

    /// Kills the node: everything in flight stops where it is.
    pub(crate) fn crash(self) {
        self.runtime.shutdown_background();
    }

    /// A graceful stop.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.ledger.drain().await;
        self.jobs.close();
        testkit::within("the node's jobs", self.jobs.wait()).await;
        self.runtime.shutdown_background();
    }
}
