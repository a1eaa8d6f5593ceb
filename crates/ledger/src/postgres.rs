//! Lanes on PostgreSQL.
//!
//! A batch of calls is one statement, and so one round trip and one transaction: it compares the
//! rows with the cached ones as it changes them, and rolls back on a difference. Then, and for
//! operations that need more ([`Op::fits_one_statement`]), rows are locked in one round trip and
//! written in a second.
//!
//! A lane hardly waits for a lock: rows locked by another session are skipped (`SKIP LOCKED`) and
//! retried, while the rest of the batch is completed. A lane owns its connection; a cancelled
//! request never touches it.

#![expect(clippy::large_futures, reason = "a lane is one future, made once and never moved")]

mod attempt;
mod read;
mod rest;
mod session;
mod statement;

use crate::error::LedgerError;
use crate::lanes::{LaneQueue, Lanes, QueuedOp};
use crate::op::Op;
use crate::row_cache::RowCache;
use crate::rows::Rows;
use crate::wanted::RowsNeeded;
use attempt::{DecidedBatch, Failure, Server, decide};
use domain::UserId;
use session::LaneSession;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Db, StoreError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, error::SendError};
use tokio_util::sync::CancellationToken;

/// Delay before a lost connection is reopened.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// Pause between two checks whether the server process of a lost connection has ended.
const SERVER_PAUSE: Duration = Duration::from_millis(50);
/// The maximum number of batches that lock first after a conflict.
const LOCK_FIRST_MAX: u32 = 64;

/// The queues of all lanes.
pub(crate) struct LaneQueues(pub Vec<UnboundedSender<QueuedOp>>);

impl LaneQueue for LaneQueues {
    fn push(&self, _: &Arc<Lanes>, queued: QueuedOp) -> Result<(), Box<QueuedOp>> {
        let lane = lane_of(queued.op.user_id(), self.0.len());
        self.0[lane].send(queued).map_err(|SendError(queued)| Box::new(queued))
    }
}

/// All operations on one user's money go through one lane, in order.
fn lane_of(user_id: UserId, lanes: usize) -> usize {
    usize::try_from(user_id.0.unsigned_abs()).unwrap_or(0) % lanes.max(1)
}

/// One lane: the only writer of its users' money on this node.
pub(crate) struct Lane {
    db: Db,
    lanes: Arc<Lanes>,
    session: Option<LaneSession>,
    cache: RowCache,
    contention: Contention,
}

/// Decides when to lock first. Cached rows of accounts that other nodes use as much are outdated as
/// fast as they are read; each conflict doubles the number of batches that lock first.
#[derive(Debug, Default)]
struct Contention {
    batches_left: u32,
    last: u32,
}

impl Contention {
    fn should_lock_first(&mut self) -> bool {
        let should = self.batches_left > 0;
        self.batches_left = self.batches_left.saturating_sub(1);
        should
    }

    fn on_conflict(&mut self) {
        self.last = (self.last * 2).clamp(1, LOCK_FIRST_MAX);
        self.batches_left = self.last;
    }

    fn on_success(&mut self) {
        self.last /= 2;
    }
}

impl Lane {
    /// Opens the lane's connection.
    pub(crate) async fn connect(db: Db, lanes: Arc<Lanes>) -> Result<Self, LedgerError> {
        let session = Some(LaneSession::open(&db, lanes.open.node()).await?);
        let (cache, contention) = (RowCache::default(), Contention::default());
        Ok(Self { db, lanes, session, cache, contention })
    }

    /// Processes the queue, batch by batch, until `finished`.
    pub(crate) async fn run(
        mut self,
        mut queue: UnboundedReceiver<QueuedOp>,
        finished: CancellationToken,
    ) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                taken = queue.recv_many(&mut batch, self.lanes.batch_max()) => {
                    if taken == 0 {
                        return;
                    }
                }
                () = finished.cancelled() => return,
            }
            let batch = self.lanes.drop_unwanted(batch);
            self.run_batch(batch).await;
        }
    }

    async fn run_batch(&mut self, mut batch: Vec<QueuedOp>) {
        if batch.is_empty() {
            return;
        }
        let started = Instant::now();
        let size = batch.len();
        loop {
            match self.attempt(&batch).await {
                Ok(DecidedBatch { verdicts, changes }) => {
                    self.lanes.metrics.committed(size, started.elapsed());
                    self.cache.insert(&changes);
                    self.lanes.open.insert(&changes);
                    return self.lanes.answer_batch(batch, verdicts);
                }
                // Operations are repeatable: the batch is sent again, once the old server process
                // can't commit it any more.
                Err(Failure::InDoubt(server, error)) => {
                    tracing::warn!(target: "custompass", event = "commit_in_doubt", %error);
                    self.invalidate(&batch);
                    for queued in &mut batch {
                        (queued.in_doubt, queued.lock_first) = (true, true);
                    }
                    self.until_ended(&server).await;
                }
                Err(Failure::RolledBack(error)) if size == 1 || self.session.is_none() => {
                    for queued in batch {
                        self.lanes.retry_or_fail(queued, &error);
                    }
                    return;
                }
                // One failing operation never fails its neighbours.
                Err(Failure::RolledBack(_)) => {
                    for queued in batch {
                        Box::pin(self.run_batch(vec![queued])).await;
                    }
                    return;
                }
            }
        }
    }

    async fn attempt(&mut self, batch: &[QueuedOp]) -> Result<DecidedBatch, Failure> {
        if self.session.as_ref().is_none_or(LaneSession::is_closed) {
            self.session = None;
            self.lanes.prices.clear();
            let opened = LaneSession::open(&self.db, self.lanes.open.node()).await;
            self.session = Some(opened.map_err(Failure::RolledBack)?);
        }
        let ops: Vec<&Op> = batch.iter().map(|queued| &queued.op).collect();
        let fits = batch.iter().all(|queued| !queued.lock_first && queued.op.fits_one_statement());
        if fits
            && !self.contention.should_lock_first()
            && let Some(decision) = self.attempt_at_once(&ops).await?
        {
            self.contention.on_success();
            return Ok(decision);
        }
        let Some(session) = &mut self.session else { return Err(no_connection()) };
        let outcome = session.lock_and_write(&ops, self.lanes.clock.now()).await;
        if outcome.is_err() && !session.roll_back().await {
            self.session = None;
        }
        outcome
    }

    /// One statement over rows that are cached, or read without a lock. `None`: the batch has to
    /// lock first; nothing was changed.
    async fn attempt_at_once(&mut self, ops: &[&Op]) -> Result<Option<DecidedBatch>, Failure> {
        let Some(session) = &mut self.session else { return Err(no_connection()) };
        let (mut wanted, mut rows) = (RowsNeeded::of(ops), Rows::default());
        self.lanes.open.fill(&wanted, &mut rows);
        wanted.add_keys_of_holds(&rows);
        self.cache.fill(&wanted, &mut rows);
        if !session.read_missing(&wanted, &mut rows).await? {
            return Ok(None);
        }
        let decision = decide(ops, rows, self.lanes.clock.now());
        match session.write(&decision.changes).await {
            Ok(()) => return Ok(Some(decision)),
            Err(error) if session.is_lost(&error) => {
                let server = session.server().clone();
                self.session = None;
                return Err(Failure::InDoubt(server, error.into()));
            }
            // A row was not as it is cached, or stayed locked.
            Err(_) => {}
        }
        self.contention.on_conflict();
        self.cache.invalidate(&wanted);
        self.lanes.open.invalidate(&wanted);
        Ok(None)
    }

    fn invalidate(&mut self, batch: &[QueuedOp]) {
        let ops: Vec<&Op> = batch.iter().map(|queued| &queued.op).collect();
        let wanted = RowsNeeded::of(&ops);
        self.cache.invalidate(&wanted);
        self.lanes.open.invalidate(&wanted);
    }

    /// Waits until the server process of a lost connection has ended. Callers get no reply before.
    async fn until_ended(&mut self, server: &Server) {
        loop {
            match self.has_ended(server).await {
                Ok(true) => return,
                Ok(false) => tokio::time::sleep(SERVER_PAUSE).await,
                Err(_) => {
                    self.session = None;
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
            }
        }
    }

    async fn has_ended(&mut self, server: &Server) -> Result<bool, StoreError> {
        let session = match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => {
                self.lanes.prices.clear();
                LaneSession::open(&self.db, self.lanes.open.node()).await?
            }
        };
        let ended = session.has_ended(server).await?;
        self.session = Some(session);
        Ok(ended)
    }
}

/// The statement of a batch with these parts.
#[cfg(test)]
pub(crate) fn statement_of(parts: &[&str], forms: crate::columns::Forms) -> String {
    statement::BatchShape::named(parts, forms).sql()
}

fn no_connection() -> Failure {
    Failure::RolledBack(StoreError::Unavailable("no connection".to_owned()))
}
