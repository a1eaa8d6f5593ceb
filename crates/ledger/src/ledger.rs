//! The front door: calls become operations on a lane.

use crate::error::LedgerError;
use crate::hold::Hold;
use crate::jobs::{self, JobsConfig, Lease};
use crate::lane::{Answer, Job, Lanes};
use crate::metrics::Metrics;
use crate::op::{Closed, HoldRef, HoldRequest, Movement, Op, Release, Settlement};
use crate::open_holds::OpenHolds;
use crate::postgres;
use crate::task_rows::TaskSql;
use domain::{Clock, HoldId, NodeId, Quota};
use std::sync::Arc;
use std::time::Duration;
use store::{Db, Engine, StoreError, Value};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a lane is waited for, beyond the patience with locked rows, by what may still be
/// refused.
const LANE_PATIENCE: Duration = Duration::from_secs(5);

/// The ledger's limits.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// Connections that write money on PostgreSQL. Two are best on two cores; SQLite has one.
    pub lanes: usize,
    /// Most operations in one commit.
    pub batch_max: usize,
    /// Operations pending beyond which new holds are refused as overloaded.
    pub queue_max: usize,
    /// How often a locked row is tried again…
    pub busy_retry_count: u32,
    /// …after one, two, three times this pause, in all.
    pub busy_retry_delay_ms: u64,
    /// What the background jobs keep to.
    pub jobs: JobsConfig,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            lanes: 2,
            batch_max: 512,
            queue_max: 8192,
            busy_retry_count: 3,
            busy_retry_delay_ms: 1000,
            jobs: JobsConfig::default(),
        }
    }
}

/// The ledger of this process.
#[derive(Clone)]
pub struct Ledger {
    lanes: Arc<Lanes>,
    node: NodeId,
    db: Db,
    lease: Arc<Lease>,
    retention_changed: Arc<Notify>,
    /// Ends the lanes and the node's lease, after the last settlement.
    finished: CancellationToken,
}

impl Ledger {
    /// Opens the lanes, and starts the background jobs of a serving node on `tracker`. These stop
    /// with `shutdown`; lanes go on until [`Ledger::drain`].
    ///
    /// # Errors
    /// When the node can't be registered, or a lane can't connect.
    pub async fn start(
        db: Db,
        node: NodeId,
        config: LedgerConfig,
        clock: Clock,
        tracker: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self, LedgerError> {
        let ledger = Self::open(db, node, config, clock, tracker).await?;
        jobs::start(&ledger, tracker, shutdown).await?;
        Ok(ledger)
    }

    /// Opens the lanes alone: for commands that move money beside a running server.
    ///
    /// # Errors
    /// When a lane can't connect.
    pub async fn open(
        db: Db,
        node: NodeId,
        config: LedgerConfig,
        clock: Clock,
        tracker: &TaskTracker,
    ) -> Result<Self, LedgerError> {
        let finished = CancellationToken::new();
        let lanes = match db.engine() {
            Engine::Sqlite => Lanes::on_sqlite(db.clone(), node, config, clock),
            Engine::Postgres => {
                let (senders, receivers): (Vec<_>, Vec<_>) =
                    (0..config.lanes.max(1)).map(|_| mpsc::unbounded_channel()).unzip();
                let lanes = Lanes::on_postgres(senders, node, config, clock);
                for receiver in receivers {
                    let lane = postgres::Lane::connect(db.clone(), lanes.clone()).await?;
                    let run = lane.run(receiver, finished.clone());
                    tracker.spawn(roster::named("ledger lane", run));
                }
                lanes
            }
        };
        let (lease, retention_changed) = (Arc::default(), Arc::default());
        Ok(Self { lanes, node, db, lease, retention_changed, finished })
    }

    /// What the ledger counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.lanes.metrics
    }

    pub(crate) const fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) const fn node(&self) -> NodeId {
        self.node
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.lanes.clock
    }

    /// Keeps to these limits from now on. What it was started with stays: the number of lanes, the
    /// pauses of the jobs.
    pub fn configure(&self, config: LedgerConfig) {
        let config = Arc::new(config);
        let before = self.lanes.config.swap(Arc::clone(&config));
        if before.jobs.log_retention_days != config.jobs.log_retention_days {
            self.retention_changed.notify_one();
        }
    }

    /// Waits until lines are kept for another time than before.
    pub(crate) async fn retention_changed(&self) {
        self.retention_changed.notified().await;
    }

    pub(crate) fn config(&self) -> Arc<LedgerConfig> {
        self.lanes.config.load_full()
    }

    pub(crate) fn task_sql(&self) -> &TaskSql {
        &self.lanes.tasks
    }

    pub(crate) fn open_holds(&self) -> &OpenHolds {
        &self.lanes.open
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(crate) const fn finished(&self) -> &CancellationToken {
        &self.finished
    }

    /// Puts money aside. Durable when this returns.
    ///
    /// # Errors
    /// When the money isn't there, the user may not spend, or the ledger can't take it on.
    pub async fn hold(&self, request: HoldRequest) -> Result<Hold, LedgerError> {
        if self.lanes.is_full() {
            return Err(LedgerError::Overloaded);
        }
        let mut entered = self.lanes.open.enter(request.hold_id);
        if entered.before_mark {
            // The clock was set back: the next sign of life says so.
            jobs::heartbeat(self).await?;
        }
        entered.hand_over();
        match self.carry_out_in_time(Op::Hold(request, self.node)).await? {
            Answer::Held(hold) => Ok(hold),
            _ => Err(LedgerError::WrongState),
        }
    }

    /// Makes a hold as large as `to`; it never shrinks.
    ///
    /// # Errors
    /// When the money isn't there: the hold is then as before.
    pub async fn grow(&self, hold: &mut Hold, to: Quota) -> Result<(), LedgerError> {
        self.carry_out_in_time(Op::Grow(hold.place, to)).await?;
        hold.amount = hold.amount.max(to);
        Ok(())
    }

    /// Charges a call, gives the rest of its hold back, or takes what is missing. Durable when
    /// this returns; carried out even when nobody waits for it any more.
    ///
    /// # Errors
    /// When the hold is unknown, or the amount doesn't fit.
    pub async fn settle(
        &self,
        hold: &mut Hold,
        settlement: Settlement,
    ) -> Result<Closed, LedgerError> {
        self.end(hold, Op::Settle(hold.place, settlement)).await
    }

    /// Gives a hold back whole. Carried out even when nobody waits for it any more.
    ///
    /// # Errors
    /// When the hold is unknown.
    pub async fn release(&self, hold: &mut Hold, release: Release) -> Result<Closed, LedgerError> {
        self.end(hold, Op::Release(hold.place, release)).await
    }

    /// Leaves a hold to the sweeper: nobody knows how its call ended.
    pub async fn abandon(&self, mut hold: Hold) {
        hold.mark_ended();
        let _ = self.carry_out(Op::Abandon(hold.place)).await;
    }

    /// Adds to a balance, and answers the new one.
    ///
    /// # Errors
    /// When the user is missing, or the amount is not above zero or doesn't fit.
    pub async fn deposit(&self, movement: Movement) -> Result<Quota, LedgerError> {
        self.moved(Op::Deposit(movement)).await
    }

    /// Moves a balance either way, and answers the new one.
    ///
    /// # Errors
    /// When the user is missing, or the amount doesn't fit.
    pub async fn adjust(&self, movement: Movement) -> Result<Quota, LedgerError> {
        self.moved(Op::Adjust(movement)).await
    }

    /// Gives back part of what a settled hold was charged, and answers the new balance.
    ///
    /// # Errors
    /// When the hold was not charged that much.
    pub async fn refund(&self, id: HoldId, movement: Movement) -> Result<Quota, LedgerError> {
        let sql = "SELECT key_id, key_amount, key_counted_on FROM holds WHERE id = $1";
        let rows = self.db.read(sql, &[Value::Uuid(id.0)]).await?;
        let row = rows.first().ok_or(LedgerError::UnknownHold)?;
        let place = HoldRef::read(row, id, movement.user_id)?;
        self.moved(Op::Refund(place, movement)).await
    }

    /// Gives back a hold whose call nobody will ever know the end of.
    pub(crate) async fn expire(&self, hold: HoldRef) -> Result<Closed, LedgerError> {
        self.closed(Op::Expire(hold)).await
    }

    /// Waits until everything queued is durable.
    pub async fn settled(&self) {
        self.lanes.drained().await;
    }

    /// Waits until everything queued is durable, then ends the lanes. Nothing is taken on after.
    pub async fn drain(&self) {
        self.lanes.drained().await;
        jobs::leave(self).await;
        self.finished.cancel();
    }

    async fn end(&self, hold: &mut Hold, op: Op) -> Result<Closed, LedgerError> {
        // From here on the lane carries it out, whatever becomes of the caller.
        hold.mark_ended();
        self.closed(op).await
    }

    pub(crate) async fn closed(&self, op: Op) -> Result<Closed, LedgerError> {
        match self.carry_out(op).await? {
            Answer::Closed(closed) => Ok(closed),
            _ => Err(LedgerError::WrongState),
        }
    }

    pub(crate) async fn moved(&self, op: Op) -> Result<Quota, LedgerError> {
        match self.carry_out(op).await? {
            Answer::Balance(balance) => Ok(balance),
            _ => Err(LedgerError::WrongState),
        }
    }

    /// For what nothing depends on yet. A lane that has lost its connection around a commit tells
    /// nobody anything before it knows what became of it, and may have to wait for the database to
    /// come back; whoever asks needn't. A hold that is made for nobody gives itself back.
    async fn carry_out_in_time(&self, op: Op) -> Result<Answer, LedgerError> {
        let patience = self.lanes.patience() + LANE_PATIENCE;
        let late = || StoreError::Unavailable("the ledger has no answer yet".to_owned());
        tokio::time::timeout(patience, self.carry_out(op))
            .await
            .unwrap_or_else(|_| Err(LedgerError::Unavailable(late())))
    }

    pub(crate) async fn carry_out(&self, op: Op) -> Result<Answer, LedgerError> {
        let (reply, answer) = oneshot::channel();
        self.lanes.submit(Job::new(op, Some(reply)));
        answer.await.map_err(|_| LedgerError::Stopped)?
    }
}
