//! The clock of a serving process.
//!
//! On PostgreSQL all nodes go by the database's: what one of them writes down (leases, deadlines,
//! days) is judged by the others. One whose own clock is wrong would give back what others hold.
//! Between two looks at the database time passes by a clock that nothing sets, and that counts the
//! time of a suspended machine. On SQLite there is one process, and its clock is the system's.

use super::parts::system_clock;
use domain::{Clock, UnixMs};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use store::{Db, Engine, StoreError};

/// How far from the database's clock ours may be.
const TOLERATED_MS: i64 = 250;
/// A correction by more than this is worth a line in the log.
const REMARKABLE_MS: i64 = 1_000;
/// Before there is a database.
const SYSTEM: i64 = i64::MIN;

/// A clock that follows the database's, where that is a server.
#[derive(Clone, Debug)]
pub(crate) struct ServiceClock {
    /// The time at which [`uptime_ms`] was 0.
    origin_ms: Arc<AtomicI64>,
}

impl ServiceClock {
    /// The system's clock, until there is a database.
    pub(crate) fn new() -> Self {
        Self { origin_ms: Arc::new(AtomicI64::new(SYSTEM)) }
    }

    /// It, for all who ask for the time.
    pub(crate) fn clock(&self) -> Clock {
        let (system, origin_ms) = (system_clock(), Arc::clone(&self.origin_ms));
        Clock::new(move || match origin_ms.load(Ordering::Relaxed) {
            SYSTEM => system.now(),
            origin_ms => UnixMs(origin_ms).plus_ms(uptime_ms()),
        })
    }

    /// Looks at the database's clock.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn follow(&self, db: &Db) -> Result<(), StoreError> {
        if db.engine() == Engine::Sqlite {
            return Ok(());
        }
        let asked_at = uptime_ms();
        let rows = db.read("SELECT clock_timestamp() AS now", &[]).await?;
        let answered_at = uptime_ms();
        let Some(row) = rows.first() else { return Ok(()) };
        let theirs: UnixMs = row.get("now")?;
        let before = match self.origin_ms.load(Ordering::Relaxed) {
            SYSTEM => system_clock().now().plus_ms(-answered_at).0,
            before => before,
        };
        // It was said somewhere between question and answer.
        let earliest = theirs.plus_ms(-answered_at - TOLERATED_MS).0;
        let latest = theirs.plus_ms(-asked_at + TOLERATED_MS).0;
        let after = before.clamp(earliest, latest);
        self.origin_ms.store(after, Ordering::Relaxed);
        let set_by_ms = after.saturating_sub(before);
        if set_by_ms.abs() > REMARKABLE_MS {
            tracing::warn!(target: "custompass", event = "clock_set", set_by_ms);
        }
        Ok(())
    }
}

/// Milliseconds since the machine was started, suspended or not.
#[cfg(target_os = "linux")]
fn uptime_ms() -> i64 {
    let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    since.tv_sec.saturating_mul(1_000).saturating_add(since.tv_nsec / 1_000_000)
}

/// Milliseconds since the first call.
#[cfg(not(target_os = "linux"))]
fn uptime_ms() -> i64 {
    static FIRST: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    i64::try_from(FIRST.elapsed().as_millis()).unwrap_or(i64::MAX)
}
