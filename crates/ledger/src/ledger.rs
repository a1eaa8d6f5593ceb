//! The front door: calls become operations on a lane.

use crate::config::LedgerConfig;
use crate::error::LedgerError;
use crate::hold::{EndQueue, Hold};
use crate::jobs::{self, Lease};
use crate::journal::LineKind;
use crate::lanes::{Lanes, OpAnswer, QueuedOp};
use crate::metrics::Metrics;
use crate::op::{
    ChargeRef, Closed, Entry, HoldRef, HoldRequest, Moved, Movement, NewHold, Op, Release,
    Settlement,
};
use crate::postgres::{Lane, LaneQueues};
use crate::redemption::Redemption;
use crate::sqlite::SqliteQueue;
use domain::{Clock, NodeId, Quota, UnixMs};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use store::nodes::NodeLoad;
use store::{Db, Engine, StoreError};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// How long a refusable operation waits for its lane, beyond the retries of locked rows.
const LANE_PATIENCE: Duration = Duration::from_secs(5);

/// The part of a lease that must be left for something billable to be sent: what it takes to get
/// there, and the distance of two nodes' clocks.
const LEASE_MARGIN: i64 = 3;

/// Longest reference of a movement, in characters.
pub const REFERENCE_MAX: usize = 100;

/// How the references of redeemed codes begin. No caller's own may.
pub const OF_CODES: &str = "code-";

/// Measures the process for its heartbeats: what it looks at lies above this crate.
pub trait NodeGauges: Send + Sync {
    /// What is so now.
    fn load(&self) -> NodeLoad;
}

/// The ledger of this process.
#[derive(Clone)]
pub struct Ledger {
    lanes: Arc<Lanes>,
    node: NodeId,
    db: Db,
    lease: Arc<Lease>,
    retention_changed: Arc<Notify>,
    gauges: Arc<OnceLock<Box<dyn NodeGauges>>>,
    /// Stops the lanes and ends the node's lease, after the last settlement.
    finished: CancellationToken,
}

impl Ledger {
    /// Opens the lanes, and starts the background jobs of a serving node on `tracker`. These stop
    /// with `shutdown`; lanes continue until [`Ledger::drain`].
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

    /// Opens the lanes only: for commands that move money beside a running server.
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
            Engine::Sqlite => {
                Lanes::new(Box::new(SqliteQueue::new(db.clone())), node, config, clock)
            }
            Engine::Postgres => {
                let (senders, receivers): (Vec<_>, Vec<_>) =
                    (0..config.lanes.max(1)).map(|_| mpsc::unbounded_channel()).unzip();
                let lanes = Lanes::new(Box::new(LaneQueues(senders)), node, config, clock);
                for receiver in receivers {
                    let lane = Lane::connect(db.clone(), lanes.clone()).await?;
                    let run = lane.run(receiver, finished.clone());
                    tracker.spawn(roster::named("ledger lane", run));
                }
                lanes
            }
        };
        Ok(Self {
            lanes,
            node,
            db,
            lease: Arc::default(),
            retention_changed: Arc::default(),
            gauges: Arc::default(),
            finished,
        })
    }

    /// The ledger's metrics.
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

    /// Applies these limits from now on. Those used at the start stay: the number of lanes, the
    /// pauses of the jobs.
    pub fn configure(&self, config: LedgerConfig) {
        let config = Arc::new(config);
        let before = self.lanes.config.swap(Arc::clone(&config));
        if before.jobs.log_retention_days != config.jobs.log_retention_days {
            self.retention_changed.notify_one();
        }
    }

    /// Has each heartbeat from now on tell what `gauges` show. The first ones may stay.
    pub fn measure_with(&self, gauges: impl NodeGauges + 'static) {
        let _ = self.gauges.set(Box::new(gauges));
    }

    pub(crate) fn load(&self) -> Option<NodeLoad> {
        self.gauges.get().map(|gauges| gauges.load())
    }

    /// Waits until the retention is changed.
    pub(crate) async fn retention_changed(&self) {
        self.retention_changed.notified().await;
    }

    pub(crate) fn config(&self) -> Arc<LedgerConfig> {
        self.lanes.config.load_full()
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(crate) const fn finished(&self) -> &CancellationToken {
        &self.finished
    }

    /// Holds money. Durable when this returns.
    ///
    /// # Errors
    /// When the balance is too small, the user may not spend, or the ledger can't accept it.
    pub async fn hold(&self, request: HoldRequest) -> Result<Hold, LedgerError> {
        if self.lanes.is_full() {
            return Err(LedgerError::Overloaded);
        }
        let price_id =
            self.lanes.prices.id_of(&self.db, &request.price, self.clock().now()).await?;
        let new = NewHold { request, price_id, node: self.node };
        match self.carry_out_in_time(Op::Hold(Box::new(new))).await? {
            OpAnswer::Held(hold) => Ok(hold),
            _ => Err(LedgerError::WrongState),
        }
    }

    /// Whether what this node has held since `since` is certainly still held. If it was paused for
    /// longer than its lease, other nodes may have released it. On SQLite there are none.
    #[must_use]
    pub fn still_holds(&self, since: UnixMs, now: UnixMs) -> bool {
        self.db.engine() == Engine::Sqlite || {
            let margin_ms = self.config().jobs.lease_ms / LEASE_MARGIN;
            self.lease.lasts(since, now, margin_ms)
        }
    }

    /// Grows a hold to `to`; it never shrinks.
    ///
    /// # Errors
    /// When the balance is too small: the hold is then as before.
    pub async fn grow(&self, hold: &mut Hold, to: Quota) -> Result<(), LedgerError> {
        self.carry_out_in_time(Op::Grow(hold.hold_ref, to)).await?;
        hold.amount = hold.amount.max(to);
        Ok(())
    }

    /// Charges a call, and releases the rest of its hold, or takes what is missing. Durable when
    /// this returns; completed even when the caller stops waiting.
    ///
    /// # Errors
    /// When the hold is unknown, or the amount doesn't fit.
    pub async fn settle(
        &self,
        hold: &mut Hold,
        settlement: Settlement,
    ) -> Result<Closed, LedgerError> {
        let op = Op::Settle(hold.hold_ref, Box::new(settlement), hold.terms.clone());
        self.end(hold, op).await
    }

    /// Releases a hold. Completed even when the caller stops waiting.
    ///
    /// # Errors
    /// When the hold is unknown.
    pub async fn release(&self, hold: &mut Hold, release: Release) -> Result<Closed, LedgerError> {
        let leaves_line = self.lanes.may_log_failure(hold.user_id());
        self.end(hold, Op::Release(hold.hold_ref, release, leaves_line)).await
    }

    /// Leaves a hold to the sweeper, which gives it back after [`LedgerConfig::unknown_after_ms`]:
    /// the outcome of its call is unknown, and stays so.
    pub async fn abandon(&self, mut hold: Hold) {
        hold.mark_ended();
        let deadline = self.clock().now().plus_ms(self.config().unknown_after_ms);
        let _ = self.carry_out(Op::Abandon(hold.hold_ref, Some(deadline))).await;
    }

    /// Adds to a balance.
    ///
    /// # Errors
    /// When the user is missing, the amount is not above zero or doesn't fit, or the reference
    /// names another movement.
    pub async fn deposit(&self, movement: Movement) -> Result<Moved, LedgerError> {
        if movement.amount <= Quota::ZERO {
            return Err(LedgerError::Overflow);
        }
        let entry = entry_of(&movement);
        self.moved(Op::Move(movement, LineKind::Topup, entry)).await
    }

    /// Reverses a deposit, or the reversal of one: its line is of the same type, with the other
    /// sign, so that the lines of deposits add up to what was paid in.
    ///
    /// # Errors
    /// When the user is missing, the amount doesn't fit, or the reference names another movement.
    pub async fn reverse_deposit(&self, movement: Movement) -> Result<Moved, LedgerError> {
        let entry = entry_of(&movement);
        self.moved(Op::Move(movement, LineKind::Topup, entry)).await
    }

    /// Changes a balance in either direction.
    ///
    /// # Errors
    /// When the user is missing, the amount doesn't fit, or the reference names another movement.
    pub async fn adjust(&self, movement: Movement) -> Result<Moved, LedgerError> {
        let entry = entry_of(&movement);
        self.moved(Op::Move(movement, LineKind::Adjust, entry)).await
    }

    /// Refunds part of what a settled call was charged. An amount below zero takes back what was
    /// refunded: the call costs that again.
    ///
    /// # Errors
    /// When the user has no such call, or several, or was not charged that much, or not refunded
    /// that much, or the reference names another movement.
    pub async fn refund(
        &self,
        charge: impl Into<ChargeRef>,
        movement: Movement,
    ) -> Result<Moved, LedgerError> {
        let entry = entry_of(&movement);
        self.moved(Op::Refund(charge.into(), movement, entry)).await
    }

    /// Redeems a code. Of concurrent attempts by several users one succeeds; one who has redeemed
    /// it is answered with that again.
    ///
    /// # Errors
    /// When the code is unknown, used, disabled or expired, or the user is missing.
    pub async fn redeem(&self, redemption: Redemption) -> Result<Moved, LedgerError> {
        let reference = format!("{OF_CODES}{}", redemption.id);
        self.moved(Op::Redeem(redemption, entry_under(Some(reference.into())))).await
    }

    /// Releases a hold when the outcome of its call will stay unknown.
    pub(crate) async fn expire(&self, hold: HoldRef) -> Result<Closed, LedgerError> {
        self.closed(Op::Expire(hold)).await
    }

    /// Waits until everything queued is durable.
    pub async fn flushed(&self) {
        self.lanes.drained().await;
    }

    /// Waits until everything queued is durable, then stops the lanes. Nothing is accepted
    /// afterwards.
    pub async fn drain(&self) {
        self.lanes.drained().await;
        jobs::leave(self).await;
        self.finished.cancel();
    }

    async fn end(&self, hold: &mut Hold, op: Op) -> Result<Closed, LedgerError> {
        // From here on the lane completes it, even if the caller is dropped.
        hold.mark_ended();
        self.closed(op).await
    }

    pub(crate) async fn closed(&self, op: Op) -> Result<Closed, LedgerError> {
        match self.carry_out(op).await? {
            OpAnswer::Closed(closed) => Ok(closed),
            _ => Err(LedgerError::WrongState),
        }
    }

    async fn moved(&self, op: Op) -> Result<Moved, LedgerError> {
        match self.carry_out(op).await? {
            OpAnswer::Moved(moved) => Ok(moved),
            _ => Err(LedgerError::WrongState),
        }
    }

    /// For operations that nothing depends on yet. A lane that has lost its connection around a
    /// commit replies only once the outcome is known, and may have to wait for the database; the
    /// caller needn't. A hold whose caller is gone is released.
    async fn carry_out_in_time(&self, op: Op) -> Result<OpAnswer, LedgerError> {
        let patience = self.lanes.patience() + LANE_PATIENCE;
        let late = || StoreError::Unavailable("the ledger has not replied in time".to_owned());
        tokio::time::timeout(patience, self.carry_out(op))
            .await
            .unwrap_or_else(|_| Err(LedgerError::Unavailable(late())))
    }

    pub(crate) async fn carry_out(&self, op: Op) -> Result<OpAnswer, LedgerError> {
        let (reply, answer) = oneshot::channel();
        self.lanes.submit(QueuedOp::new(op, Some(reply)));
        answer.await.map_err(|_| LedgerError::Stopped)?
    }
}

/// The entry under the caller's reference, or a fresh one: every movement has one, so that a commit
/// with an unknown outcome can be repeated.
fn entry_of(movement: &Movement) -> Entry {
    entry_under(movement.reference.clone())
}

fn entry_under(reference: Option<Arc<str>>) -> Entry {
    let id = Uuid::new_v4();
    Entry { reference: reference.unwrap_or_else(|| id.to_string().into()), id }
}
