//! Queues. Operations that arrive while a commit is under way form the next batch: no timer, no
//! added delay when idle.
//!
//! PostgreSQL has a few lanes by user, each a job that owns its connection. SQLite has one, run by
//! the store's writer thread. A request only ever waits on a channel: it may vanish at any moment
//! without leaving a transaction open.

use crate::book::Refusal;
use crate::error::{CodeFault, LedgerError};
use crate::hold::Hold;
use crate::ledger::LedgerConfig;
use crate::metrics::Metrics;
use crate::op::{Closed, Op, Outcome};
use crate::open_holds::OpenHolds;
use crate::rows::Missing;
use crate::sqlite;
use crate::task_rows::TaskSql;
use arc_swap::ArcSwap;
use domain::{Clock, NodeId, Quota, UserId};
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use store::{Db, Engine, StoreError};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};

/// First pause before a locked row is tried again. Another node's commit takes about this long.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What an operation is answered with.
pub(crate) enum Answer {
    Held(Hold),
    Done,
    Closed(Closed),
    Grown(Quota),
    Balance(Quota),
}

pub(crate) type Reply = oneshot::Sender<Result<Answer, LedgerError>>;

/// An operation on its way.
pub(crate) struct Job {
    pub op: Op,
    /// Nobody waits for what a dropped [`Hold`] asks for.
    pub reply: Option<Reply>,
    tries: u32,
    first_try_at: Option<Instant>,
    counted: Option<Counted>,
    /// Where whoever asked for it waits.
    home: Option<Handle>,
}

/// A place in the count of pending operations, given back whatever becomes of the operation.
struct Counted(Arc<Lanes>);

impl Counted {
    fn new(lanes: &Arc<Lanes>) -> Self {
        lanes.pending.fetch_add(1, Ordering::Relaxed);
        Self(lanes.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// Has what waits on SQLite carried out in turn, even when a batch panics.
struct NextBatch<'a>(&'a Arc<Lanes>);

impl Drop for NextBatch<'_> {
    fn drop(&mut self) {
        let Queue::Sqlite { waiting, scheduled, db, .. } = &self.0.queue else { return };
        scheduled.store(false, Ordering::Release);
        if !lock(waiting).is_empty() && !scheduled.swap(true, Ordering::AcqRel) {
            self.0.schedule(db);
        }
    }
}

/// What became of an operation in a batch that is durable.
pub(crate) enum Decided {
    Outcome(Outcome),
    /// A row was not there to be locked.
    Missing(Missing),
    No(LedgerError),
}

impl From<Result<Outcome, Refusal>> for Decided {
    fn from(verdict: Result<Outcome, Refusal>) -> Self {
        match verdict {
            Ok(outcome) => Self::Outcome(outcome),
            Err(Refusal::Missing(row)) => Self::Missing(row),
            Err(Refusal::No(error)) => Self::No(error),
        }
    }
}

enum Queue {
    Postgres(Vec<mpsc::UnboundedSender<Job>>),
    Sqlite {
        waiting: Mutex<VecDeque<Job>>,
        scheduled: AtomicBool,
        db: Db,
        writer: Box<Mutex<sqlite::Writer>>,
    },
}

/// All lanes of this process.
pub(crate) struct Lanes {
    queue: Queue,
    /// Operations queued, under way, or waiting to be tried again.
    pending: AtomicUsize,
    idle: Notify,
    pub node: NodeId,
    pub open: OpenHolds,
    pub config: ArcSwap<LedgerConfig>,
    pub clock: Clock,
    pub metrics: Metrics,
    /// How this engine is told of tasks.
    pub tasks: TaskSql,
    runtime: Handle,
}

impl Job {
    pub const fn new(op: Op, reply: Option<Reply>) -> Self {
        Self { op, reply, tries: 0, first_try_at: None, counted: None, home: None }
    }

    /// Ends the operation. Where nobody listens any more, a [`Hold`] in the answer gives itself
    /// back.
    pub fn answer(self, answer: Result<Answer, LedgerError>) {
        if let (Op::Hold(request, _), Err(_), Some(counted)) = (&self.op, &answer, &self.counted) {
            counted.0.open.forget(request.hold_id);
        }
        if let Some(reply) = self.reply {
            let _ = reply.send(answer);
        }
    }

    /// Whether anybody still wants this done.
    pub fn wanted(&self) -> bool {
        self.op.must_happen() || self.reply.as_ref().is_none_or(|reply| !reply.is_closed())
    }
}

impl Lanes {
    /// Lanes on SQLite: one, run by the store's writer.
    pub fn on_sqlite(db: Db, node: NodeId, config: LedgerConfig, clock: Clock) -> Arc<Self> {
        let queue = Queue::Sqlite {
            waiting: Mutex::default(),
            scheduled: AtomicBool::new(false),
            db,
            writer: Box::default(),
        };
        Self::new(queue, node, config, clock)
    }

    /// Lanes on PostgreSQL: as many as `senders`, each read by a job.
    pub fn on_postgres(
        senders: Vec<mpsc::UnboundedSender<Job>>,
        node: NodeId,
        config: LedgerConfig,
        clock: Clock,
    ) -> Arc<Self> {
        Self::new(Queue::Postgres(senders), node, config, clock)
    }

    fn new(queue: Queue, node: NodeId, config: LedgerConfig, clock: Clock) -> Arc<Self> {
        let engine = match &queue {
            Queue::Postgres(_) => Engine::Postgres,
            Queue::Sqlite { .. } => Engine::Sqlite,
        };
        Arc::new(Self {
            queue,
            tasks: TaskSql::of(engine),
            pending: AtomicUsize::new(0),
            idle: Notify::new(),
            node,
            open: OpenHolds::default(),
            config: ArcSwap::from_pointee(config),
            clock,
            metrics: Metrics::default(),
            runtime: Handle::current(),
        })
    }

    /// Whether the queue is too long to take on new work. Work that is done is always settled.
    pub fn is_full(&self) -> bool {
        self.pending.load(Ordering::Relaxed) >= self.config.load().queue_max
    }

    /// Most operations in one commit.
    pub fn batch_max(&self) -> usize {
        self.config.load().batch_max
    }

    /// Takes on an operation.
    pub fn submit(self: &Arc<Self>, mut job: Job) {
        job.counted = Some(Counted::new(self));
        job.home = Handle::try_current().ok();
        self.enqueue(job);
    }

    /// Waits until everything taken on is done.
    pub async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            if self.pending.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }

    fn enqueue(self: &Arc<Self>, job: Job) {
        match &self.queue {
            Queue::Postgres(senders) => {
                let lane = lane_of(job.op.user_id(), senders.len());
                if let Err(mpsc::error::SendError(job)) = senders[lane].send(job) {
                    job.answer(Err(LedgerError::Stopped));
                }
            }
            Queue::Sqlite { waiting, scheduled, db, .. } => {
                lock(waiting).push_back(job);
                if !scheduled.swap(true, Ordering::AcqRel) {
                    self.schedule(db);
                }
            }
        }
    }

    fn schedule(self: &Arc<Self>, db: &Db) {
        let lanes = self.clone();
        let drain = Box::new(move |connection: &mut rusqlite::Connection| {
            lanes.drain_sqlite(connection);
        });
        match db.sqlite().map(|writer| writer.post(drain)) {
            Some(Ok(())) => {}
            Some(Err(StoreError::Busy(_))) => self.schedule_later(),
            Some(Err(_)) | None => self.refuse_waiting(),
        }
    }

    /// Others have filled the writer's queue: what waits here keeps its place and asks again.
    fn schedule_later(self: &Arc<Self>) {
        let lanes = self.clone();
        self.runtime.spawn(roster::named("ledger queue wait", async move {
            tokio::time::sleep(FIRST_PAUSE).await;
            if let Queue::Sqlite { db, .. } = &lanes.queue {
                lanes.schedule(db);
            }
        }));
    }

    /// The writer has ended: nothing more will be written.
    fn refuse_waiting(&self) {
        let Queue::Sqlite { waiting, .. } = &self.queue else { return };
        let jobs: Vec<Job> = lock(waiting).drain(..).collect();
        for job in jobs {
            job.answer(Err(LedgerError::Stopped));
        }
    }

    /// Carries out one batch on the writer thread, and comes back for the next behind whatever
    /// else wants to write.
    fn drain_sqlite(self: &Arc<Self>, connection: &rusqlite::Connection) {
        let Queue::Sqlite { waiting, .. } = &self.queue else { return };
        let _next = NextBatch(self);
        let batch: Vec<Job> = {
            let mut waiting = lock(waiting);
            let size = waiting.len().min(self.batch_max());
            waiting.drain(..size).collect()
        };
        self.run_sqlite(connection, batch);
    }

    fn run_sqlite(self: &Arc<Self>, connection: &rusqlite::Connection, batch: Vec<Job>) {
        let batch = self.drop_unwanted(batch);
        if batch.is_empty() {
            return;
        }
        let Queue::Sqlite { writer, .. } = &self.queue else { return };
        let ops: Vec<&Op> = batch.iter().map(|job| &job.op).collect();
        let started = Instant::now();
        let outcome = writer.lock().unwrap_or_else(PoisonError::into_inner).run_batch(
            connection,
            &ops,
            self.clock.now(),
            (self.node, &self.open, &self.tasks),
        );
        match outcome {
            Ok(decided) => {
                self.metrics.committed(batch.len(), started.elapsed());
                // Nothing is ever locked row by row here: what is missing is gone.
                self.answer_batch(batch, decided, HashSet::new());
            }
            Err(error) if batch.len() == 1 => {
                let error = StoreError::from(error);
                for job in batch {
                    self.retry_or_fail(job, &error);
                }
            }
            // One bad member never fails its neighbours.
            Err(_) => batch.into_iter().for_each(|job| self.run_sqlite(connection, vec![job])),
        }
    }

    /// Answers a durable batch, each operation on the runtime that it came from: that is one
    /// wake-up across threads for each runtime instead of one an operation, and the lane goes on
    /// with the next batch. `existing` are the rows that are there, and were locked.
    pub fn answer_batch(
        self: &Arc<Self>,
        batch: Vec<Job>,
        decided: Vec<Decided>,
        existing: HashSet<Missing>,
    ) {
        let mut homes: Vec<(Handle, Vec<(Job, Decided)>)> = Vec::new();
        for (job, decided) in batch.into_iter().zip(decided) {
            let home = job.home.as_ref().unwrap_or(&self.runtime);
            match homes.iter_mut().find(|(known, _)| known.id() == home.id()) {
                Some((_, answers)) => answers.push((job, decided)),
                None => homes.push((home.clone(), vec![(job, decided)])),
            }
        }
        let existing = Arc::new(existing);
        for (home, answers) in homes {
            let (lanes, existing) = (self.clone(), existing.clone());
            home.spawn(async move {
                for (job, decided) in answers {
                    lanes.conclude(job, decided, |row| existing.contains(&row));
                }
            });
        }
    }

    /// Leaves out what nobody waits for any more.
    pub fn drop_unwanted(&self, batch: Vec<Job>) -> Vec<Job> {
        let (wanted, unwanted): (Vec<Job>, Vec<Job>) = batch.into_iter().partition(Job::wanted);
        for job in unwanted {
            job.answer(Err(LedgerError::Stopped));
        }
        wanted
    }

    /// Answers an operation of a durable batch, or has it tried again when its row was locked.
    fn conclude(self: &Arc<Self>, job: Job, decided: Decided, exists: impl Fn(Missing) -> bool) {
        match decided {
            Decided::Outcome(outcome) => {
                self.metrics.entered(&job.op, &outcome);
                let answer = match (outcome, &job.op) {
                    (Outcome::Held { key_limited }, Op::Hold(request, _)) => {
                        Answer::Held(Hold::new(self.clone(), request, key_limited))
                    }
                    (Outcome::Closed(closed), _) => Answer::Closed(closed),
                    (Outcome::Balance(balance), _) => Answer::Balance(balance),
                    (Outcome::Grown(more), _) => Answer::Grown(more),
                    (Outcome::Done | Outcome::Held { .. }, _) => Answer::Done,
                };
                job.answer(Ok(answer));
            }
            Decided::No(error) => job.answer(Err(error)),
            Decided::Missing(row) if exists(row) => self.retry_locked(job),
            Decided::Missing(Missing::User(_)) => {
                job.answer(Err(LedgerError::UserUnavailable));
            }
            // A key may be deleted while a call is under way; the call's money still moves.
            Decided::Missing(Missing::Key(_)) if job.op.hold_ref().is_some() => {
                self.enqueue(Job { op: job.op.without_key(), ..job });
            }
            Decided::Missing(Missing::Code(_)) => {
                job.answer(Err(LedgerError::Code(CodeFault::Unknown)));
            }
            Decided::Missing(Missing::Key(_)) => job.answer(Err(LedgerError::KeyUnavailable)),
            Decided::Missing(Missing::Hold(id)) => {
                self.open.forget(id);
                job.answer(Err(LedgerError::UnknownHold));
            }
        }
    }

    /// Has an operation tried again whose row somebody else has locked, while its patience lasts.
    fn retry_locked(self: &Arc<Self>, job: Job) {
        if self.patience_left(&job) || job.op.must_happen() {
            self.retry(job);
        } else {
            job.answer(Err(LedgerError::AccountBusy));
        }
    }

    /// Has an operation tried again that the database did not carry out, if that may help.
    pub fn retry_or_fail(self: &Arc<Self>, job: Job, error: &StoreError) {
        let again = error.is_transient() && (job.op.must_happen() || self.patience_left(&job));
        if again {
            self.retry(job);
        } else {
            tracing::error!(
                target: "custompass",
                event = "ledger_failed",
                user_id = job.op.user_id().0,
                hold_id = job.op.hold_ref().map(|hold| hold.hold_id.to_string()),
                error = %error,
            );
            job.answer(Err(LedgerError::Unavailable(copy_of(error))));
        }
    }

    /// Patience is what the retries after 1 s, 2 s, 3 s add up to. Within it the first tries come
    /// at once: what holds a row is nearly always another node's commit of a few milliseconds.
    pub fn patience(&self) -> Duration {
        let config = self.config.load();
        let (count, delay) = (config.busy_retry_count, config.busy_retry_delay_ms);
        Duration::from_millis(delay * u64::from(count * (count + 1) / 2))
    }

    fn patience_left(&self, job: &Job) -> bool {
        job.first_try_at.is_none_or(|first| first.elapsed() < self.patience())
    }

    fn retry(self: &Arc<Self>, mut job: Job) {
        job.first_try_at.get_or_insert_with(Instant::now);
        let pause = FIRST_PAUSE.saturating_mul(1 << job.tries.min(10)).min(LONGEST_PAUSE);
        job.tries += 1;
        self.metrics.retried();
        let lanes = self.clone();
        self.runtime.spawn(roster::named("ledger retry", async move {
            tokio::time::sleep(pause).await;
            lanes.enqueue(job);
        }));
    }
}

/// All operations on one user's money go through one lane, in order.
fn lane_of(user_id: UserId, lanes: usize) -> usize {
    usize::try_from(user_id.0.unsigned_abs()).unwrap_or(0) % lanes.max(1)
}

fn lock(queue: &Mutex<VecDeque<Job>>) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same words for every member of a batch.
fn copy_of(error: &StoreError) -> StoreError {
    if error.is_transient() {
        StoreError::Unavailable(error.to_string())
    } else {
        StoreError::Other(error.to_string())
    }
}
