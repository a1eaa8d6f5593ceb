//! Operations in flight: queued, retried, answered.
//!
//! Operations that arrive while a commit is in flight form the next batch: no timer, no added delay
//! when idle. PostgreSQL has a few lanes by user, each a job that owns its connection; SQLite has
//! one, run by the store's writer thread. A request only ever waits on a channel: it may be dropped
//! at any moment without leaving a transaction open.

use crate::book::OpRefusal;
use crate::config::LedgerConfig;
use crate::error::LedgerError;
use crate::hold::{EndQueue, Hold};
use crate::metrics::Metrics;
use crate::op::{Closed, Moved, Op, OpOutcome};
use crate::open_holds::OpenHolds;
use crate::prices::PriceIds;
use arc_swap::ArcSwap;
use domain::{Clock, NodeId, Quota, UserId};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use store::StoreError;
use throttle::PerMinute;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

/// First delay before an operation on a locked row is retried. Another node's commit takes about
/// this long.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// Users whose failed calls are counted at once. One that has been idle for a minute needs no
/// entry.
const FAILING_USERS_MAX: usize = 10_000;
/// Longest pause between two retries.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The result of an operation.
pub(crate) enum OpAnswer {
    Held(Hold),
    Done,
    Closed(Closed),
    Grown(Quota),
    Moved(Moved),
}

pub(crate) type AnswerSender = oneshot::Sender<Result<OpAnswer, LedgerError>>;

/// An operation in flight.
pub(crate) struct QueuedOp {
    pub op: Op,
    /// `None`: requested by a dropped [`Hold`].
    pub reply: Option<AnswerSender>,
    /// The row cache can't be used: a row was locked, or the outcome of a commit is unknown.
    pub lock_first: bool,
    /// It may have become durable without a reply: it is repeated in any case.
    pub in_doubt: bool,
    tries: u32,
    first_try_at: Option<Instant>,
    pending: Option<Pending>,
    /// Where the caller waits.
    caller_runtime: Option<Handle>,
}

/// A slot in the count of pending operations, released when the operation has ended.
struct Pending(Arc<Lanes>);

impl Pending {
    fn new(lanes: &Arc<Lanes>) -> Self {
        lanes.pending.fetch_add(1, Ordering::Relaxed);
        Self(lanes.clone())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.0.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// Assigns operations to the lane of their user.
pub(crate) trait LaneQueue: Send + Sync {
    /// Queues an operation; returns it when nothing will be written any more.
    fn push(&self, lanes: &Arc<Lanes>, queued: QueuedOp) -> Result<(), Box<QueuedOp>>;
}

/// All lanes of this process.
pub(crate) struct Lanes {
    queue: Box<dyn LaneQueue>,
    /// Operations queued, in flight, or waiting to be retried.
    pending: AtomicUsize,
    idle: Notify,
    pub open: OpenHolds,
    pub config: ArcSwap<LedgerConfig>,
    pub clock: Clock,
    pub metrics: Metrics,
    pub runtime: Handle,
    pub prices: PriceIds,
    /// Lines that failed calls have left.
    failures: PerMinute<UserId>,
}

impl QueuedOp {
    pub(crate) const fn new(op: Op, reply: Option<AnswerSender>) -> Self {
        Self {
            op,
            reply,
            lock_first: false,
            in_doubt: false,
            tries: 0,
            first_try_at: None,
            pending: None,
            caller_runtime: None,
        }
    }

    /// Ends the operation. Where the caller has gone, a [`Hold`] in the result releases itself when
    /// dropped.
    pub(crate) fn answer(self, answer: Result<OpAnswer, LedgerError>) {
        if let Some(reply) = self.reply {
            let _ = reply.send(answer);
        }
    }

    /// Whether this still has to be done.
    fn is_wanted(&self) -> bool {
        self.in_doubt
            || self.op.must_complete()
            || self.reply.as_ref().is_none_or(|reply| !reply.is_closed())
    }
}

impl EndQueue for Lanes {
    fn queue(self: Arc<Self>, op: Op) {
        self.submit(QueuedOp::new(op, None));
    }

    fn may_log_failure(&self, user_id: UserId) -> bool {
        let per_minute = self.config.load().failures_per_minute;
        let now_us = self.clock.now().0.saturating_mul(1_000);
        per_minute > 0 && self.failures.take(user_id, per_minute, now_us).is_ok()
    }
}

impl Lanes {
    pub(crate) fn new(
        queue: Box<dyn LaneQueue>,
        node: NodeId,
        config: LedgerConfig,
        clock: Clock,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue,
            pending: AtomicUsize::new(0),
            idle: Notify::new(),
            open: OpenHolds::of(node),
            config: ArcSwap::from_pointee(config),
            clock,
            metrics: Metrics::default(),
            runtime: Handle::current(),
            prices: PriceIds::default(),
            failures: PerMinute::new(FAILING_USERS_MAX),
        })
    }

    /// Whether the queue is too long to accept new work. Work that is done is always settled.
    pub(crate) fn is_full(&self) -> bool {
        self.pending.load(Ordering::Relaxed) >= self.config.load().queue_max
    }

    /// The maximum number of operations in one commit.
    pub(crate) fn batch_max(&self) -> usize {
        self.config.load().batch_max
    }

    /// Accepts an operation.
    pub(crate) fn submit(self: &Arc<Self>, mut queued: QueuedOp) {
        queued.pending = Some(Pending::new(self));
        queued.caller_runtime = Handle::try_current().ok();
        self.enqueue(queued);
    }

    /// Waits until everything accepted is done.
    pub(crate) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            if self.pending.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }

    fn enqueue(self: &Arc<Self>, queued: QueuedOp) {
        if let Err(queued) = self.queue.push(self, queued) {
            queued.answer(Err(LedgerError::Stopped));
        }
    }

    /// Drops operations that no caller waits for any more.
    pub(crate) fn drop_unwanted(&self, batch: Vec<QueuedOp>) -> Vec<QueuedOp> {
        let (wanted, unwanted): (Vec<QueuedOp>, Vec<QueuedOp>) =
            batch.into_iter().partition(QueuedOp::is_wanted);
        for queued in unwanted {
            queued.answer(Err(LedgerError::Stopped));
        }
        wanted
    }

    /// Sends the results of a durable batch, those of each runtime by one task there: one wake-up
    /// across threads per runtime instead of one per operation, and the lane continues with the
    /// next batch.
    pub(crate) fn answer_batch(
        self: &Arc<Self>,
        batch: Vec<QueuedOp>,
        decided: Vec<Result<OpOutcome, OpRefusal>>,
    ) {
        type Answers = Vec<(QueuedOp, Result<OpOutcome, OpRefusal>)>;
        let mut by_runtime: Vec<(Handle, Answers)> = Vec::new();
        for (queued, decided) in batch.into_iter().zip(decided) {
            let runtime = queued.caller_runtime.as_ref().unwrap_or(&self.runtime);
            match by_runtime.iter_mut().find(|(known, _)| known.id() == runtime.id()) {
                Some((_, answers)) => answers.push((queued, decided)),
                None => by_runtime.push((runtime.clone(), vec![(queued, decided)])),
            }
        }
        for (runtime, answers) in by_runtime {
            let lanes = self.clone();
            runtime.spawn(async move {
                for (queued, decided) in answers {
                    lanes.conclude(queued, decided);
                }
            });
        }
    }

    /// Sends the result of an operation of a durable batch, or retries it when its row was locked.
    fn conclude(self: &Arc<Self>, queued: QueuedOp, decided: Result<OpOutcome, OpRefusal>) {
        match decided {
            Ok(outcome) => {
                self.metrics.entered(&queued.op, &outcome);
                let answer = match (outcome, &queued.op) {
                    (OpOutcome::Held, Op::Hold(new)) => {
                        OpAnswer::Held(Hold::new(self.clone(), new, self.clock.now()))
                    }
                    (OpOutcome::Closed(closed), _) => OpAnswer::Closed(closed),
                    (OpOutcome::Moved(moved), _) => OpAnswer::Moved(moved),
                    (OpOutcome::Grown(more), _) => OpAnswer::Grown(more),
                    (OpOutcome::Done | OpOutcome::Held, _) => OpAnswer::Done,
                };
                queued.answer(Ok(answer));
            }
            Err(OpRefusal::No(error)) => {
                self.leave_to_sweeper(&queued.op);
                queued.answer(Err(error));
            }
            Err(OpRefusal::Locked) => self.retry_locked(queued),
        }
    }

    /// Retries an operation whose row another session has locked, until its patience is exhausted.
    fn retry_locked(self: &Arc<Self>, mut queued: QueuedOp) {
        queued.lock_first = true;
        if self.has_patience(&queued) || queued.op.must_complete() {
            self.retry(queued);
        } else {
            queued.answer(Err(LedgerError::AccountBusy));
        }
    }

    /// Retries an operation that the database failed to complete, if that may help.
    pub(crate) fn retry_or_fail(self: &Arc<Self>, queued: QueuedOp, error: &StoreError) {
        let must = queued.in_doubt || queued.op.must_complete();
        // What a commit of unknown outcome wrote may be locked when it is looked up.
        let entered = queued.in_doubt && matches!(error, StoreError::Conflict { .. });
        if entered || error.is_transient() && (must || self.has_patience(&queued)) {
            self.retry(queued);
            return;
        }
        self.leave_to_sweeper(&queued.op);
        tracing::error!(
            target: "custompass",
            event = "ledger_failed",
            user_id = queued.op.user_id().0,
            hold_id = queued.op.hold_id().map(|id| id.to_string()),
            error = %error,
        );
        queued.answer(Err(LedgerError::Unavailable(copy_of(error))));
    }

    /// The end of a hold was refused, by the database or by a rule: the sweeper gives the hold
    /// back, and it is not open for good.
    fn leave_to_sweeper(self: &Arc<Self>, op: &Op) {
        if let Op::Settle(hold, ..) | Op::Release(hold, ..) = op {
            self.submit(QueuedOp::new(Op::Abandon(*hold, None), None));
        }
    }

    /// Patience is the sum of the retries after 1 s, 2 s, 3 s. Within it the first retries come at
    /// once: a row is nearly always locked by another node's commit of a few milliseconds.
    pub(crate) fn patience(&self) -> Duration {
        let config = self.config.load();
        let (count, delay) = (config.busy_retry_count, config.busy_retry_delay_ms);
        Duration::from_millis(delay * u64::from(count * (count + 1) / 2))
    }

    fn has_patience(&self, queued: &QueuedOp) -> bool {
        queued.first_try_at.is_none_or(|first| first.elapsed() < self.patience())
    }

    fn retry(self: &Arc<Self>, mut queued: QueuedOp) {
        queued.first_try_at.get_or_insert_with(Instant::now);
        let pause = FIRST_PAUSE.saturating_mul(1 << queued.tries.min(10)).min(LONGEST_PAUSE);
        queued.tries += 1;
        self.metrics.retried();
        let lanes = self.clone();
        self.runtime.spawn(roster::named("ledger retry", async move {
            tokio::time::sleep(pause).await;
            lanes.enqueue(queued);
        }));
    }
}

/// The same error for every operation of a batch.
fn copy_of(error: &StoreError) -> StoreError {
    if error.is_transient() {
        StoreError::Unavailable(error.to_string())
    } else {
        StoreError::Other(error.to_string())
    }
}
