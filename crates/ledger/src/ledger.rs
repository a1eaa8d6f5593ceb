//! The front door: calls become operations on a lane.

use crate::config::LedgerConfig;
use crate::error::LedgerError;
use crate::hold::{EndQueue, Hold};
use crate::jobs::{self, Lease};
use crate::journal::LineKind;
use crate::lanes::{Lanes, OpAnswer, QueuedOp};
use crate::metrics::Metrics;
use crate::op::{
    Closed, Entry, HoldRef, HoldRequest, Moved, Movement, NewHold, Op, Release, Settlement,
};
use crate::postgres::{Lane, LaneQueues};
use crate::redemption::Redemption;
use crate::sqlite::SqliteQueue;
use domain::{Clock, NodeId, Quota};
use std::sync::Arc;
use std::time::Duration;
use store::{Db, Engine, StoreError};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// How long a lane is waited for, beyond the patience with locked rows, by what may still be
/// refused.
const LANE_PATIENCE: Duration = Duration::from_secs(5);

/// Longest reference of a movement, in characters.
pub const REFERENCE_MAX: usize = 100;

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
            finished,
        })
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
        let price_id =
            self.lanes.prices.id_of(&self.db, &request.price, self.clock().now()).await?;
        let new = NewHold { request, price_id, node: self.node };
        match self.carry_out_in_time(Op::Hold(Box::new(new))).await? {
            OpAnswer::Held(hold) => Ok(hold),
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
        let op = Op::Settle(hold.place, Box::new(settlement), hold.terms.clone());
        self.end(hold, op).await
    }

    /// Gives a hold back whole. Carried out even when nobody waits for it any more.
    ///
    /// # Errors
    /// When the hold is unknown.
    pub async fn release(&self, hold: &mut Hold, release: Release) -> Result<Closed, LedgerError> {
        let leaves_line = self.lanes.may_log_failure(hold.user_id());
        self.end(hold, Op::Release(hold.place, release, leaves_line)).await
    }

    /// Leaves a hold to the sweeper: the outcome of its call is unknown.
    pub async fn abandon(&self, mut hold: Hold) {
        hold.mark_ended();
        let _ = self.carry_out(Op::Abandon(hold.place)).await;
    }

    /// Adds to a balance.
    ///
    /// # Errors
    /// When the user is missing, the amount is not above zero or doesn't fit, or the reference
    /// names another movement.
    pub async fn deposit(&self, movement: Movement) -> Result<Moved, LedgerError> {
        let entry = entry_of(&movement);
        self.moved(Op::Move(movement, LineKind::Topup, entry)).await
    }

    /// Moves a balance either way.
    ///
    /// # Errors
    /// When the user is missing, the amount doesn't fit, or the reference names another movement.
    pub async fn adjust(&self, movement: Movement) -> Result<Moved, LedgerError> {
        let entry = entry_of(&movement);
        self.moved(Op::Move(movement, LineKind::Adjust, entry)).await
    }

    /// Gives back part of what a settled call was charged, by its `X-Request-Id`.
    ///
    /// # Errors
    /// When the user has no such call, or it was not charged that much, or the reference names
    /// another movement.
    pub async fn refund(
        &self,
        request_id: Arc<str>,
        movement: Movement,
    ) -> Result<Moved, LedgerError> {
        let entry = entry_of(&movement);
        self.moved(Op::Refund(request_id, movement, entry)).await
    }

    /// Redeems a code. Of all who redeem it one succeeds.
    ///
    /// # Errors
    /// When the code is worth nothing (any more), or the user is missing.
    pub async fn redeem(&self, redemption: Redemption) -> Result<Moved, LedgerError> {
        self.moved(Op::Redeem(redemption, entry_under(None))).await
    }

    /// Gives back a hold when the outcome of its call will stay unknown.
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

    /// For what nothing depends on yet. A lane that has lost its connection around a commit answers
    /// nothing before it knows what became of it, and may have to wait for the database to come
    /// back; the caller needn't. A hold without a caller gives itself back.
    async fn carry_out_in_time(&self, op: Op) -> Result<OpAnswer, LedgerError> {
        let patience = self.lanes.patience() + LANE_PATIENCE;
        let late = || StoreError::Unavailable("the ledger has no answer yet".to_owned());
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

/// Under the caller's name of a movement, or a fresh one: every movement has one, so that a commit
/// that was not answered can be entered again.
fn entry_of(movement: &Movement) -> Entry {
    entry_under(movement.reference.clone())
}

fn entry_under(reference: Option<Arc<str>>) -> Entry {
    let id = Uuid::new_v4();
    Entry { reference: reference.unwrap_or_else(|| id.to_string().into()), id }
}
