//! `GET /api/status`: whether this process can do its work, asked of the database at most once
//! a second however often it is polled.

use domain::{Fault, FaultKind, UnixMs};
use http::Response;
use serde_json::json;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::Db;
use tokio::time::Instant;
use web::Body;

/// How long an answer of the database counts.
const FRESH: Duration = Duration::from_secs(1);
/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The state of this process.
pub struct Health {
    db: Db,
    started_at: UnixMs,
    stopping: AtomicBool,
    last: Mutex<Option<(Instant, bool)>>,
    asking: tokio::sync::Mutex<()>,
}

impl Health {
    /// Of a process that started at `started_at` and works on `db`.
    pub fn new(db: Db, started_at: UnixMs) -> Self {
        Self {
            db,
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

    /// The answer to `GET /api/status`.
    pub async fn answer(&self, request_id: &str) -> Response<Body> {
        match self.check().await {
            Ok(()) => web::json(&json!({
                "success": true,
                "message": "",
                "data": {
                    "status": "ok",
                    "version": env!("CARGO_PKG_VERSION"),
                    "start_time": self.started_at.0.div_euclid(1_000),
                },
            })),
            Err(fault) => web::render_admin_fault(&fault, request_id),
        }
    }

    async fn check(&self) -> Result<(), Fault> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Fault::new(FaultKind::Overloaded, "服务正在停止", "shutting down"));
        }
        let answers = match self.remembered(FRESH) {
            Some(answers) => answers,
            None => self.ask().await,
        };
        if answers {
            return Ok(());
        }
        let (zh, en) = ("数据库没有响应", "the database does not answer");
        Err(Fault::new(FaultKind::DatabaseUnavailable, zh, en))
    }

    fn remembered(&self, within: Duration) -> Option<bool> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(at, _)| at.elapsed() < within).map(|(_, answers)| answers)
    }

    /// Asks the database. Whoever comes meanwhile waits for the same answer.
    async fn ask(&self) -> bool {
        let _turn = self.asking.lock().await;
        if let Some(answers) = self.remembered(FRESH) {
            return answers;
        }
        let answers = match tokio::time::timeout(PATIENCE, self.db.ping()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(target: "custompass", event = "database_unavailable", %error);
                false
            }
            Err(_) => {
                let error = "no answer in time";
                tracing::warn!(target: "custompass", event = "database_unavailable", error);
                false
            }
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((Instant::now(), answers));
        answers
    }
}
