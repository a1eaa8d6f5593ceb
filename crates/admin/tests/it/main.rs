//! The admin API over real databases, called as a script would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// Runs the test on both engines.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::House::open(testkit::TestDb::sqlite().await).await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::House::open(testkit::TestDb::postgres().await).await).await;
            })*
        }
    };
}

mod access;
mod channels;
mod money;
mod prices;
mod tasks;
mod tokens;
mod usage;
mod users;
mod webhooks;

use admin::{AdminState, Passwords};
use axum::Router;
use axum::body::Body;
use domain::{Clock, NodeId, UnixMs};
use http::Request;
use http_body_util::BodyExt;
use ledger::{Ledger, LedgerConfig};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::{Db, DbConfig, Live, Sealer};
use testkit::TestDb;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use upstream::{AddressGuard, Client, ClientConfig, Proxies};

/// The access token of root.
pub(crate) const ROOT: &str = "root-access-token-of-these-tests";

/// A serving process without its sockets.
pub(crate) struct House {
    pub(crate) state: AdminState,
    router: Router,
    /// Goes last.
    _db: TestDb,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Answer {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!((self.status, &self.json["success"]), (200, &Value::Bool(true)), "{self:?}");
        self.json["data"].clone()
    }

    #[track_caller]
    pub(crate) fn refused(self, status: u16, word: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            (&self.json["success"], &self.json["data"]),
            (&Value::Bool(false), &Value::Null)
        );
        assert!(self.json["message"].as_str().unwrap().contains(word), "{self:?}");
    }
}

fn clock() -> Clock {
    Clock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        UnixMs(i64::try_from(since.as_millis()).unwrap())
    })
}

fn client(guard: AddressGuard) -> Client {
    let config = ClientConfig {
        guard,
        proxies: Proxies::default(),
        pin_addresses: false,
        connect_timeout: Duration::from_secs(5),
        pool_idle_timeout: Duration::from_secs(5),
        pool_max_idle_per_host: 2,
    };
    Client::new(config).unwrap()
}

impl House {
    pub(crate) async fn open(test_db: TestDb) -> Self {
        let config = DbConfig {
            dsn: test_db.sql_dsn().map(str::to_owned),
            data_dir: test_db.dir().to_owned(),
            max_connections: 5,
            connect_timeout_ms: 5000,
        };
        let db = Db::open(&config).await.unwrap();
        let (clock, jobs, stop) = (clock(), TaskTracker::new(), CancellationToken::new());
        store::make_months(&db, clock.now()).await.unwrap();
        let sealer = Sealer::new(b"a secret for tests");
        let node = NodeId(uuid::Uuid::now_v7());
        let live = Live::start(db.clone(), sealer.clone(), clock.clone(), &jobs, stop.clone());
        let live = live.await.unwrap();
        let ledger = Ledger::open(db.clone(), node, LedgerConfig::default(), clock.clone(), &jobs);
        let state = AdminState {
            options: None,
            health: admin::ops::doctor::HealthChecks::default(),
            db,
            live: Some(live),
            ledger: ledger.await.unwrap(),
            sealer,
            client: client(AddressGuard::new(vec!["127.0.0.0/8".parse().unwrap()])),
            webhook_client: client(AddressGuard::default()),
            clock,
            tracer: spans::Tracer::default(),
            logins: admin::LoginGuard::default(),
            passwords: Passwords::default(),
            wrong_codes: admin::WrongCodes::default(),
            traffic: None,
            budget: web::memory::Budget::new(1 << 28),
            last_audit: admin::ops::audit::LastAudit::default(),
            events: admin::ops::events::EventHub::default(),
            jobs,
        };
        let first = admin::ops::first_start::ensure_root(
            &state.db,
            &state.passwords,
            &state.clock,
            None,
            Some(ROOT),
        );
        assert!(first.await.unwrap().is_some());
        Self { router: admin::router(state.clone()), state, _db: test_db }
    }

    /// A call with this access token, and this text as its body.
    pub(crate) async fn call(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        request = request.extension(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert!(response.headers().contains_key("x-request-id"));
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} {text}"));
        Answer { status, text, json }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(ROOT, "GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.call(ROOT, "POST", path, body).await
    }

    pub(crate) async fn put(&self, path: &str, body: &str) -> Answer {
        self.call(ROOT, "PUT", path, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(ROOT, "DELETE", path, "").await
    }

    /// A user of this role, and their access token.
    pub(crate) async fn user(&self, name: &str, role: i64) -> (i64, String) {
        let body = format!(r#"{{"username":"{name}","role":{role},"quota":100}}"#);
        let id = self.post("/api/user", &body).await.ok()["id"].as_i64().unwrap();
        let token = self.post(&format!("/api/user/{id}/token"), "").await.ok();
        (id, token.as_str().unwrap().to_owned())
    }
}
