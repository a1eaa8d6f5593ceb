//! How this process is: `GET /livez` says that it works, `GET /readyz` and `GET /api/status`
//! whether it should get calls. The database is asked at most once a second, however often they are
//! polled.

use domain::{Fault, FaultKind, UnixMs};
use http::Response;
use serde_json::json;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::Db;
use throttle::Shared;
use tokio::time::Instant;
use web::Body;

/// How long an answer of the database counts.
const FRESH: Duration = Duration::from_secs(1);
/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why no calls should be sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unready {
    /// A stop is under way.
    Stopping,
    /// The database can't be reached, or can't answer.
    Database,
    /// The schema lacks a step, as after an old backup was put back.
    Migrations,
}

impl Unready {
    /// For machines.
    fn word(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::Database => "database_unreachable",
            Self::Migrations => "migrations_pending",
        }
    }

    fn fault(self) -> Fault {
        let (kind, zh, en) = match self {
            Self::Stopping => (FaultKind::Overloaded, "服务正在停止", "shutting down"),
            Self::Database => {
                (FaultKind::DatabaseUnavailable, "数据库没有响应", "the database does not answer")
            }
            Self::Migrations => (
                FaultKind::DatabaseUnavailable,
                "数据库结构需要升级",
                "migrations are pending: newapi migrate",
            ),
        };
        Fault::new(kind, zh, en)
    }
}

/// What the database last said: nothing, if it has what is needed.
type Answer = Result<(), Unready>;

/// The state of this process.
pub struct Health {
    db: Db,
    redis: Option<Arc<Shared>>,
    started_at: UnixMs,
    stopping: AtomicBool,
    last: Mutex<Option<(Instant, Answer)>>,
    asking: tokio::sync::Mutex<()>,
}

impl Health {
    /// Of a process that started at `started_at`, works on `db`, and counts in `redis`.
    pub fn new(db: Db, redis: Option<Arc<Shared>>, started_at: UnixMs) -> Self {
        Self {
            db,
            redis,
            started_at,
            stopping: AtomicBool::new(false),
            last: Mutex::new(None),
            asking: tokio::sync::Mutex::new(()),
        }
    }

    /// From now on says that no further work should be sent here.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The answer to `GET /livez`. That it is given is what it says; it asks nobody, so that a
    /// database that is away gets no process restarted.
    pub fn alive() -> Response<Body> {
        web::json(&json!({"status": "alive"}))
    }

    /// The answer to `GET /readyz`. Redis being away is told, and is no reason: it only helps.
    pub async fn ready(&self, request_id: &str) -> Response<Body> {
        let redis = self.redis();
        match self.check().await {
            Ok(()) => web::json(&json!({"status": "ready", "redis": redis})),
            Err(unready) => {
                let reason = unready.word();
                let body = json!({"status": "not_ready", "reason": reason, "redis": redis});
                let refusal = web::render_admin_fault(&unready.fault(), request_id);
                refusal.map(|_| web::full(body.to_string()))
            }
        }
    }

    /// The answer to `GET /api/status`.
    pub async fn status(&self, request_id: &str) -> Response<Body> {
        match self.check().await {
            Ok(()) => web::json(&json!({
                "success": true,
                "message": "",
                "data": {
                    "status": "ok",
                    "redis": self.redis(),
                    "version": env!("CARGO_PKG_VERSION"),
                    "start_time": self.started_at.0.div_euclid(1_000),
                },
            })),
            Err(unready) => web::render_admin_fault(&unready.fault(), request_id),
        }
    }

    fn redis(&self) -> &'static str {
        match &self.redis {
            None => "off",
            Some(shared) if shared.is_up() => "up",
            Some(_) => "down",
        }
    }

    async fn check(&self) -> Answer {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Unready::Stopping);
        }
        match self.remembered() {
            Some(answer) => answer,
            None => self.ask().await,
        }
    }

    fn remembered(&self) -> Option<Answer> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(at, _)| at.elapsed() < FRESH).map(|(_, answer)| answer)
    }

    /// Asks the database. Whoever comes meanwhile waits for the same answer.
    async fn ask(&self) -> Answer {
        let _turn = self.asking.lock().await;
        if let Some(answer) = self.remembered() {
            return answer;
        }
        let answer = match tokio::time::timeout(PATIENCE, self.db.is_current()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => {
                tracing::warn!(target: "custompass", event = "migrations_missing");
                Err(Unready::Migrations)
            }
            Ok(Err(error)) => {
                tracing::warn!(target: "custompass", event = "database_unavailable", %error);
                Err(Unready::Database)
            }
            Err(_) => {
                let error = "no answer in time";
                tracing::warn!(target: "custompass", event = "database_unavailable", error);
                Err(Unready::Database)
            }
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((Instant::now(), answer));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use store::DbConfig;

    async fn said(response: Response<Body>) -> (u16, serde_json::Value) {
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_process_that_stops_lives_and_is_not_ready() {
        let dir = tempfile::tempdir().unwrap();
        let config = DbConfig {
            dsn: None,
            data_dir: dir.path().to_path_buf(),
            max_connections: 1,
            connect_timeout_ms: 1_000,
        };
        let health = Health::new(Db::open(&config).await.unwrap(), None, UnixMs(0));
        assert_eq!(
            said(health.ready("r").await).await,
            (200, json!({"status": "ready", "redis": "off"}))
        );

        health.stopping();

        let not = json!({"status": "not_ready", "reason": "stopping", "redis": "off"});
        assert_eq!(said(health.ready("r").await).await, (503, not));
        assert_eq!(said(Health::alive()).await.0, 200);
    }
}
