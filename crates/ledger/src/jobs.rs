//! Background jobs of a serving node: its lease, the sweeper, the rollups, retention.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::op::HoldRef;
use domain::{HoldId, NodeId, UnixMs, UserId};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use store::nodes::{self, NodeState};
use store::{Engine, StoreError, Value};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod retention;
mod rollup;

/// Pause between two searches for lines that are old enough to be deleted.
const RETENTION_PAUSE: Duration = Duration::from_secs(3_600);
/// Holds released by one sweep. It is repeated at once while there are more.
const SWEEP_BATCH: usize = 500;

/// Registers the node and starts its jobs.
pub(crate) async fn start(
    ledger: &Ledger,
    tracker: &TaskTracker,
    shutdown: CancellationToken,
) -> Result<(), LedgerError> {
    let db = ledger.db();
    if db.engine() == Engine::Sqlite {
        // An SQLite file is served by one process: nodes of earlier ones are dead.
        db.execute("UPDATE nodes SET lease_until = 0", &[]).await?;
    }
    let config = &ledger.config().jobs;
    heartbeat(ledger).await?;

    let finished = ledger.finished().clone();
    every(tracker, config.heartbeat_ms, finished, ledger, "heartbeat", |l| async move {
        heartbeat(&l).await
    });
    every(tracker, config.sweep_ms, shutdown.clone(), ledger, "sweep", |l| async move {
        sweep(&l).await
    });
    every(tracker, config.rollup_ms, shutdown.clone(), ledger, "rollup", |l| async move {
        rollup::run(l.db(), l.config().jobs.rollup_lag_ms).await
    });
    tracker.spawn(roster::named("retention", retain(ledger.clone(), shutdown)));
    Ok(())
}

/// Deletes old lines periodically, and at once when the retention is changed.
async fn retain(ledger: Ledger, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let days = ledger.config().jobs.log_retention_days;
        if let Err(error) = retention::run(ledger.db(), ledger.clock().now(), days).await {
            tracing::warn!(target: "custompass", event = "job_failed", job = "retention", %error);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = ledger.retention_changed() => {}
            () = tokio::time::sleep(RETENTION_PAUSE) => {}
        }
    }
}

/// Runs every background job once: for tests and for the command line.
///
/// # Errors
/// When the database fails.
pub async fn run_once(ledger: &Ledger) -> Result<(), StoreError> {
    heartbeat(ledger).await?;
    sweep(ledger).await?;
    rollup::run(ledger.db(), ledger.config().jobs.rollup_lag_ms).await?;
    retention::run(ledger.db(), ledger.clock().now(), ledger.config().jobs.log_retention_days).await
}

/// Ends the node's lease: what it still holds, if anything, is released by the sweeper at once.
pub(crate) async fn leave(ledger: &Ledger) {
    let gone = "UPDATE nodes SET lease_until = $2 WHERE id = $1";
    let left = Value::Time(ledger.clock().now().plus_ms(-1));
    if let Err(error) = ledger.db().execute(gone, &[Value::Uuid(ledger.node().0), left]).await {
        tracing::warn!(target: "custompass", event = "node_leave_failed", error = %error);
    }
}

/// Runs `job` at once and then after every pause, until `stop`. A failure is logged, and the job
/// retried.
fn every<F>(
    tracker: &TaskTracker,
    pause_ms: u64,
    stop: CancellationToken,
    ledger: &Ledger,
    name: &'static str,
    job: impl Fn(Ledger) -> F + Send + 'static,
) where
    F: Future<Output = Result<(), StoreError>> + Send,
{
    let ledger = ledger.clone();
    let run = async move {
        while !stop.is_cancelled() {
            if let Err(error) = job(ledger.clone()).await {
                tracing::warn!(target: "custompass", event = "job_failed", job = name, %error);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(pause_ms)) => {}
            }
        }
    };
    tracker.spawn(roster::named(name, run));
}

/// Renews the node's lease; registers the node again where other nodes have removed it meanwhile.
pub(crate) async fn heartbeat(ledger: &Ledger) -> Result<(), StoreError> {
    let (config, now) = (ledger.config(), ledger.clock().now());
    let config = &config.jobs;
    let lease_until = now.plus_ms(config.lease_ms);
    let (id, name) = (ledger.node(), &config.node_name);
    let load = ledger.load();
    nodes::register(ledger.db(), &NodeState { id, name, now, lease_until, load }).await?;
    ledger.lease().renewed(now, lease_until);
    Ok(())
}

/// This node's own lease, as far as it knows.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    until_ms: AtomicI64,
    /// Since when the lease has been renewed without a gap.
    steady_since_ms: AtomicI64,
}

impl Lease {
    fn renewed(&self, now: UnixMs, until: UnixMs) {
        let lapsed_at = self.until_ms.load(Ordering::Relaxed);
        // A clock that went back would count as a gap until it is where it was.
        let steady_since = self.steady_since_ms.load(Ordering::Relaxed);
        if lapsed_at <= now.0 || now.0 < steady_since {
            self.steady_since_ms.store(now.0, Ordering::Relaxed);
        }
        self.until_ms.store(until.0, Ordering::Release);
    }

    /// Whether the other nodes have had the time of a lease to renew theirs. While the database is
    /// unavailable every lease expires: the node that is back first must not take the others for
    /// dead.
    fn is_steady(&self, now: UnixMs, lease_ms: i64) -> bool {
        now.since_ms(UnixMs(self.steady_since_ms.load(Ordering::Relaxed))) >= lease_ms
    }

    /// Whether it has not lapsed from `since` to `now`, and won't within `margin_ms`. A node that
    /// was paused doesn't notice by anything else. Without jobs there is no lease that could lapse.
    pub(crate) fn lasts(&self, since: UnixMs, now: UnixMs, margin_ms: i64) -> bool {
        let until = self.until_ms.load(Ordering::Acquire);
        let steady_since = self.steady_since_ms.load(Ordering::Relaxed);
        until == 0 || steady_since <= since.0 && now.plus_ms(margin_ms).0 < until
    }
}

/// Releases holds that no call will settle: those without a node, or of one that is not registered,
/// past their deadline; and all of nodes whose lease has expired. A live node's holds are never
/// touched.
async fn sweep(ledger: &Ledger) -> Result<(), StoreError> {
    let (db, now) = (ledger.db(), ledger.clock().now());
    let abandoned = "SELECT id, user_id FROM holds
        WHERE node_id IS NULL AND NOT for_task AND deadline_at < $1
        ORDER BY deadline_at LIMIT 500";
    expire_all(ledger, abandoned, &[Value::Time(now)]).await?;
    // A node that was paused may have made one after its row was deleted, and died before it was
    // registered again. One that lives registers long before a hold's deadline.
    let unregistered = "SELECT id, user_id FROM holds
        WHERE node_id IS NOT NULL AND NOT for_task AND deadline_at < $1
          AND NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.id = holds.node_id)
        ORDER BY deadline_at LIMIT 500";
    expire_all(ledger, unregistered, &[Value::Time(now)]).await?;
    // An SQLite file is served by one process, so all other nodes are certainly dead.
    let alone = db.engine() == Engine::Sqlite;
    if alone || ledger.lease().is_steady(now, ledger.config().jobs.lease_ms) {
        // This node lives, regardless of its lease after a jump of the clock, or a pause.
        for node in nodes::lapsed(db, now).await?.into_iter().filter(|it| *it != ledger.node()) {
            reap_node(ledger, node, now).await?;
        }
    }
    if let Some(row) = db.read("SELECT count(*) AS n FROM holds", &[]).await?.first() {
        ledger.metrics().open_holds.set(row.get("n")?);
    }
    Ok(())
}

/// Releases the holds of an expired node; deletes its row once none is left.
async fn reap_node(ledger: &Ledger, node: NodeId, now: UnixMs) -> Result<(), StoreError> {
    let left = "SELECT id, user_id FROM holds WHERE node_id = $1 AND NOT for_task
        ORDER BY id LIMIT 500";
    expire_all(ledger, left, &[Value::Uuid(node.0)]).await?;
    let forget = "DELETE FROM nodes WHERE id = $1 AND lease_until < $2 AND NOT EXISTS
        (SELECT 1 FROM holds WHERE holds.node_id = $1 AND NOT holds.for_task)";
    ledger.db().execute(forget, &[Value::Uuid(node.0), Value::Time(now)]).await?;
    Ok(())
}

async fn expire_all(ledger: &Ledger, sql: &str, params: &[Value]) -> Result<(), StoreError> {
    loop {
        let rows = ledger.db().read(sql, params).await?;
        let mut ended = 0;
        let expiring = rows.iter().map(|row| async move {
            let (hold_id, user_id) = (HoldId(row.get("id")?), UserId(row.get("user_id")?));
            let closed = ledger.expire(HoldRef { hold_id, user_id }).await;
            Ok::<_, StoreError>((hold_id, user_id, closed))
        });
        for outcome in futures_util::future::join_all(expiring).await {
            let (hold_id, user_id, closed) = outcome?;
            match closed {
                Ok(closed) => {
                    ended += 1;
                    tracing::warn!(
                        target: "custompass",
                        event = domain::UNKNOWN_OUTCOME,
                        user_id = user_id.0,
                        hold_id = %hold_id,
                        quota = closed.released.0,
                    );
                }
                Err(error) => tracing::warn!(
                    target: "custompass", event = "expire_failed", hold_id = %hold_id, %error,
                ),
            }
        }
        // A full sweep means that there may be more; one that ended nothing won't do better now.
        if rows.len() < SWEEP_BATCH || ended == 0 {
            return Ok(());
        }
    }
}
