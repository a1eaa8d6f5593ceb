//! The health of this process: `GET /livez` reports that it is alive, `GET /readyz` and
//! `GET /api/status` whether it should get calls. The database is queried at most once a second,
//! and written to at most every ten seconds while that works, however often they are polled.

use domain::{Fault, FaultKind, UnixMs};
use http::Response;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::{Db, Engine, StoreError};
use throttle::Shared;
use tokio::time::Instant;
use web::Body;

/// How long an answer of the database counts.
const FRESH: Duration = Duration::from_secs(1);
/// How long a write that was taken counts: it costs the database a commit.
const WRITTEN: Duration = Duration::from_secs(10);
/// The least room that the disk of an SQLite file must have, in bytes: a batch of calls takes some
/// hundred KiB.
const ROOM: u64 = 1 << 20;
/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why no calls should be sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unready {
    /// A stop is under way.
    Stopping,
    /// The database can't be reached, or can't answer.
    Database,
    /// It takes no writes: its disk is full, or it is a standby.
    NotWritable,
    /// The schema lacks a step, as after an old backup was put back.
    Migrations,
}

impl Unready {
    /// For machines.
    fn word(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::Database => "database_unreachable",
            Self::NotWritable => "database_not_writable",
            Self::Migrations => "migrations_pending",
        }
    }

    fn fault(self) -> Fault {
        let (kind, zh, en) = match self {
            Self::Stopping => (FaultKind::Overloaded, "服务正在停止", "shutting down"),
            Self::Database => {
                (FaultKind::DatabaseUnavailable, "数据库没有响应", "the database does not answer")
            }
            Self::NotWritable => (
                FaultKind::DatabaseUnavailable,
                "数据库无法写入, 请检查磁盘空间或主备状态",
                "the database takes no writes: is its disk full, or is it a standby?",
            ),
            Self::Migrations => (
                FaultKind::DatabaseUnavailable,
                "数据库结构需要升级",
                "migrations are pending: newapi migrate",
            ),
        };
        Fault::new(kind, zh, en)
    }
}

/// The last result of the database check.
type Answer = Result<(), Unready>;

/// The state of this process.
pub(crate) struct Health {
    db: Db,
    /// Where the database is, if it is a file.
    file_dir: Option<PathBuf>,
    redis: Option<Arc<Shared>>,
    started_at: UnixMs,
    stopping: AtomicBool,
    last: Mutex<Option<(Instant, Answer)>>,
    /// Held while the database is asked. When it last took a write.
    asking: tokio::sync::Mutex<Option<Instant>>,
}

impl Health {
    /// Of a process that started at `started_at`, works on `db`, whose file would be in `data_dir`,
    /// and counts in `redis`.
    pub(crate) fn new(
        db: Db,
        data_dir: &Path,
        redis: Option<Arc<Shared>>,
        started_at: UnixMs,
    ) -> Self {
        let file_dir = (db.engine() == Engine::Sqlite).then(|| data_dir.to_owned());
        Self {
            db,
            file_dir,
            redis,
            started_at,
            stopping: AtomicBool::new(false),
            last: Mutex::new(None),
            asking: tokio::sync::Mutex::new(None),
        }
    }

    /// From now on reports that no further work should be sent here.
    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The response to `GET /livez`, which means only that the process responds. It checks no
    /// dependency, so that a database outage does not get processes restarted.
    pub(crate) fn alive() -> Response<Body> {
        web::json(&json!({"status": "alive"}))
    }

    /// The response to `GET /readyz`. It reports an unreachable Redis, but stays ready: Redis is
    /// optional.
    pub(crate) async fn ready(&self, request_id: &str) -> Response<Body> {
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
    pub(crate) async fn status(&self, request_id: &str) -> Response<Body> {
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

    /// Asks the database. Who comes meanwhile waits for the same answer.
    async fn ask(&self) -> Answer {
        let mut written = self.asking.lock().await;
        if let Some(answer) = self.remembered() {
            return answer;
        }
        let mut answer = self.read().await;
        if answer.is_ok() && written.is_none_or(|at| at.elapsed() >= WRITTEN) {
            answer = self.write().await;
            *written = answer.is_ok().then(Instant::now);
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((Instant::now(), answer));
        answer
    }

    async fn read(&self) -> Answer {
        match in_time(self.db.is_current()).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                tracing::warn!(target: "custompass", event = "migrations_missing");
                Err(Unready::Migrations)
            }
            Err(error) => {
                tracing::warn!(target: "custompass", event = "database_unavailable", error);
                Err(Unready::Database)
            }
        }
    }

    async fn write(&self) -> Answer {
        if self.file_dir.as_deref().is_some_and(has_no_room) {
            let error = "the disk of DATA_DIR is full";
            tracing::warn!(target: "custompass", event = "database_not_writable", error);
            return Err(Unready::NotWritable);
        }
        in_time(self.db.try_write()).await.map_err(|error| {
            tracing::warn!(target: "custompass", event = "database_not_writable", error);
            Unready::NotWritable
        })
    }
}

/// Whether the file system of a directory has no room for SQLite's files to grow. A small write may
/// still find a place in them while those of calls do not.
fn has_no_room(dir: &Path) -> bool {
    rustix::fs::statvfs(dir).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM)
}

/// Returns the database's response within [`PATIENCE`], or why there is none.
async fn in_time<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
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
        let health = Health::new(Db::open(&config).await.unwrap(), dir.path(), None, UnixMs(0));
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
