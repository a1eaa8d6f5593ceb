//! The data plane alone: SQLite, a scripted upstream, one user with money.

use domain::{Clock, NodeId, UnixMs, UserId};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ledger::{Ledger, LedgerConfig, Movement};
use relay::{Parts, Relay, RelayConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::{Db, DbConfig, Live, Sealer, Value};
use testkit::{Call, Upstream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use upstream::{AddressGuard, Client, ClientConfig, Proxies};

pub const KEY: &str = "sk-test";
pub const MONEY: i64 = 1_000;

pub struct TestRelay {
    pub upstream: Upstream,
    pub db: Db,
    pub live: Arc<Live>,
    pub address: SocketAddr,
    ledger: Ledger,
    jobs: TaskTracker,
    _dir: tempfile::TempDir,
}

fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMs(i64::try_from(since.as_millis()).unwrap())
}

impl TestRelay {
    /// Models `fixed` (100 a call), `use` (1 a token), `free`, on one channel.
    pub async fn build(change: impl FnOnce(&mut RelayConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().to_owned();
        let db = Db::open(&DbConfig { data_dir, ..DbConfig::default() }).await.unwrap();
        let upstream = Upstream::start().await;
        let jobs = TaskTracker::new();
        let clock = Clock::new(now);
        let node = NodeId(web::uuid_v7(now()));
        let shutdown = CancellationToken::new();
        let config = LedgerConfig::default();
        let ledger =
            Ledger::start(db.clone(), node, config, clock.clone(), &jobs, shutdown.clone())
                .await
                .unwrap();
        furnish(&db, &ledger, &upstream.url()).await;
        let sealer = Sealer::new(b"secret");
        let live = Live::start(db.clone(), sealer.clone(), clock.clone(), &jobs, shutdown.clone())
            .await
            .unwrap();
        let client = Client::new(ClientConfig {
            guard: AddressGuard::new(vec!["127.0.0.0/8".parse().unwrap()]),
            proxies: Proxies::default(),
            pin_addresses: false,
            connect_timeout: Duration::from_secs(2),
            pool_idle_timeout: Duration::from_secs(10),
            pool_max_idle_per_host: 8,
        })
        .unwrap();
        let mut config = RelayConfig { connect_ms: 2_000, ..RelayConfig::default() };
        change(&mut config);
        let parts = Parts {
            node_id: node,
            db: db.clone(),
            live: Arc::clone(&live),
            ledger: ledger.clone(),
            client,
            limits: throttle::RateLimits::default(),
            sealer,
            clock,
            tracer: spans::Tracer::default(),
            traffic: traffic::Traffic::new(node),
            budget: web::memory::Budget::new(config.buffer_budget_bytes),
            jobs: jobs.clone(),
        };
        let relay = Relay::new(config, parts);
        let address = serve(relay).await;
        Self { upstream, db, live, address, ledger, jobs, _dir: dir }
    }

    pub async fn start() -> Self {
        Self::build(|_| {}).await
    }

    /// Runs SQL, which is live when this returns.
    pub async fn sql(&self, sql: &str, params: &[Value]) {
        self.db.execute(sql, params).await.unwrap();
        self.live.refresh().await.unwrap();
    }

    /// Another channel for all models; it never replies if nothing listens at `url`.
    pub async fn channel(&self, url: &str, priority: i64) {
        let sql = "INSERT INTO channels (name, base_url, key, models, priority)
            VALUES ('more', $1, 'up-key', 'fixed,use,free', $2)";
        self.sql(sql, &[Value::from(url), Value::from(priority)]).await;
    }

    pub fn call(&self, method: &str, target: &str) -> Call {
        Call::new(self.address, method, target).key(KEY)
    }

    pub fn post(&self, model: &str) -> Call {
        self.call("POST", &format!("/pass/{model}")).json(&testkit::json!({"q": 1}))
    }

    /// The user's balance.
    pub async fn quota(&self) -> i64 {
        let rows = self.db.read("SELECT quota FROM users WHERE id = 1", &[]).await.unwrap();
        rows[0].get("quota").unwrap()
    }

    /// Waits until the user's balance is this: work for disconnected clients ends by itself.
    pub async fn quota_becomes(&self, quota: i64) {
        testkit::eventually(&format!("quota {quota}"), || async {
            (self.quota().await == quota).then_some(())
        })
        .await;
    }

    /// How many holds are open (`held`), were `settled` or were `released`.
    pub async fn holds(&self, state: &str) -> i64 {
        let sql = match state {
            "held" => "SELECT count(*) AS n FROM holds",
            "settled" => "SELECT count(*) AS n FROM logs WHERE type = 'consume'",
            _ => "SELECT count(*) AS n FROM logs WHERE type = 'error' AND hold_id IS NOT NULL",
        };
        self.db.read(sql, &[]).await.unwrap()[0].get("n").unwrap()
    }

    /// Every test ends here: nothing is lost, and nothing is in flight any more.
    pub async fn close(self) {
        let audit = ledger::audit(&self.db, now()).await.unwrap();
        assert!(audit.clean, "{:?}", audit.breaches);
        self.ledger.drain().await;
        self.jobs.close();
    }
}

async fn furnish(db: &Db, ledger: &Ledger, url: &str) {
    let hash = store::key_hash(KEY);
    for (sql, params) in [
        ("INSERT INTO users (id, username) VALUES (1, 'ann')", vec![]),
        (
            "INSERT INTO tokens (id, user_id, key_hash, unlimited_quota) VALUES (1, 1, $1, TRUE)",
            vec![Value::from(&hash)],
        ),
        (
            "INSERT INTO channels (id, name, base_url, key, models, priority)
             VALUES (1, 'c', $1, 'up-key', 'fixed,use,free', 10)",
            vec![Value::from(url)],
        ),
        ("INSERT INTO abilities (model_name, fixed_quota) VALUES ('fixed', 100)", vec![]),
        ("INSERT INTO abilities (model_name, ratio, min_hold) VALUES ('use', '1', 5)", vec![]),
    ] {
        db.execute(sql, &params).await.unwrap();
    }
    let (reason, by) = ("start".to_owned(), "test".to_owned());
    let amount = domain::Quota(MONEY);
    ledger
        .deposit(Movement { user_id: UserId(1), amount, reason, by, reference: None, told: None })
        .await
        .unwrap();
}

async fn serve(relay: Arc<Relay>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let relay = Arc::clone(&relay);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let handled = relay.handle(request, peer);
                    async move { Ok::<_, std::convert::Infallible>(handled.await) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}
