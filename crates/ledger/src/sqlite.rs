//! The lane on SQLite: one batch after the other on the store's writer thread, one commit each.

mod batch;

use crate::book::Book;
use crate::error::LedgerError;
use crate::lanes::{FIRST_PAUSE, LaneQueue, Lanes, QueuedOp};
use crate::op::Op;
use crate::row_cache::RowCache;
use crate::rows::Rows;
use crate::wanted::RowsNeeded;
use batch::{Batch, Verdicts};
use rusqlite::Connection;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use store::{Db, StoreError};

/// The queue of the writer.
#[derive(Clone)]
pub(crate) struct SqliteQueue(Arc<Inner>);

struct Inner {
    waiting: Mutex<VecDeque<QueuedOp>>,
    /// A batch is queued at the writer, or in flight.
    scheduled: AtomicBool,
    db: Db,
    writer: Mutex<Writer>,
}

/// Rows cached by the writer, valid for one state of the file.
#[derive(Debug, Default)]
struct Writer {
    cache: RowCache,
    as_of: Option<State>,
}

/// Shows whether anything else has written since: another connection changes the first number, and
/// other jobs on this connection the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    data_version: i64,
    total_changes: u64,
}

/// Runs the queued batches in turn, even when one panics.
struct NextBatch<'a>(&'a SqliteQueue, &'a Arc<Lanes>);

impl Drop for NextBatch<'_> {
    fn drop(&mut self) {
        let Inner { scheduled, .. } = &*self.0.0;
        scheduled.store(false, Ordering::Release);
        if !self.0.waiting().is_empty() && !scheduled.swap(true, Ordering::AcqRel) {
            self.0.schedule(self.1);
        }
    }
}

impl LaneQueue for SqliteQueue {
    fn push(&self, lanes: &Arc<Lanes>, queued: QueuedOp) -> Result<(), Box<QueuedOp>> {
        self.waiting().push_back(queued);
        if !self.0.scheduled.swap(true, Ordering::AcqRel) {
            self.schedule(lanes);
        }
        Ok(())
    }
}

impl SqliteQueue {
    pub(crate) fn new(db: Db) -> Self {
        Self(Arc::new(Inner {
            waiting: Mutex::default(),
            scheduled: AtomicBool::new(false),
            db,
            writer: Mutex::default(),
        }))
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<QueuedOp>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn schedule(&self, lanes: &Arc<Lanes>) {
        let (queue, for_writer) = (self.clone(), lanes.clone());
        let run = Box::new(move |connection: &mut Connection| queue.run(connection, &for_writer));
        match self.0.db.sqlite().map(|writer| writer.post(run)) {
            Some(Ok(())) => {}
            Some(Err(StoreError::Busy(_))) => self.schedule_later(lanes),
            Some(Err(_)) | None => self.refuse_waiting(),
        }
    }

    /// Other jobs have filled the writer's queue: this queue keeps its place and retries.
    fn schedule_later(&self, lanes: &Arc<Lanes>) {
        let (queue, lanes) = (self.clone(), lanes.clone());
        let runtime = lanes.runtime.clone();
        runtime.spawn(roster::named("ledger queue wait", async move {
            tokio::time::sleep(FIRST_PAUSE).await;
            queue.schedule(&lanes);
        }));
    }

    /// The writer has stopped: nothing more will be written.
    fn refuse_waiting(&self) {
        // Before the queue is emptied: what is pushed afterwards is refused in its turn.
        self.0.scheduled.store(false, Ordering::Release);
        let waiting: Vec<QueuedOp> = self.waiting().drain(..).collect();
        for queued in waiting {
            queued.answer(Err(LedgerError::Stopped));
        }
    }

    /// Runs one batch on the writer thread, and queues again for the next, behind other jobs of the
    /// writer.
    fn run(&self, connection: &Connection, lanes: &Arc<Lanes>) {
        let _next = NextBatch(self, lanes);
        let batch: Vec<QueuedOp> = {
            let mut waiting = self.waiting();
            let size = waiting.len().min(lanes.batch_max());
            waiting.drain(..size).collect()
        };
        self.run_batch(connection, lanes, lanes.drop_unwanted(batch));
    }

    fn run_batch(&self, connection: &Connection, lanes: &Arc<Lanes>, batch: Vec<QueuedOp>) {
        if batch.is_empty() {
            return;
        }
        let ops: Vec<&Op> = batch.iter().map(|queued| &queued.op).collect();
        let started = Instant::now();
        let mut writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let again = batch.iter().any(|queued| queued.lock_first);
        let (now, node) = (lanes.clock.now(), lanes.open.node());
        let open = Batch { connection, now, node, again };
        let outcome = writer.commit(&open, lanes, &ops);
        drop(writer);
        match outcome {
            Ok(verdicts) => {
                lanes.metrics.committed(batch.len(), started.elapsed());
                lanes.answer_batch(batch, verdicts);
            }
            Err(error) if batch.len() == 1 => {
                let error = StoreError::from(error);
                for mut queued in batch {
                    queued.lock_first = true;
                    lanes.retry_or_fail(queued, &error);
                }
            }
            // One failing operation never fails its neighbours.
            Err(_) => {
                for mut queued in batch {
                    queued.lock_first = true;
                    self.run_batch(connection, lanes, vec![queued]);
                }
            }
        }
    }
}

impl Writer {
    /// Runs a batch. Either all that was decided is durable, or nothing is.
    fn commit(
        &mut self,
        batch: &Batch<'_>,
        lanes: &Lanes,
        ops: &[&Op],
    ) -> rusqlite::Result<Verdicts> {
        let outcome = self.attempt(batch, lanes, ops);
        if outcome.is_err() {
            self.as_of = None;
            if !batch.connection.is_autocommit() {
                batch.connection.execute_batch("ROLLBACK")?;
            }
        }
        outcome
    }

    fn attempt(
        &mut self,
        batch: &Batch<'_>,
        lanes: &Lanes,
        ops: &[&Op],
    ) -> rusqlite::Result<Verdicts> {
        batch.run("BEGIN IMMEDIATE")?;
        // From here on nothing else writes: the cached rows stay valid.
        let found = State {
            data_version: batch.data_version()?,
            total_changes: batch.connection.total_changes(),
        };
        if self.as_of.take() != Some(found) {
            self.cache.clear();
            lanes.open.clear();
        }
        let (mut wanted, mut rows) = (RowsNeeded::of(ops), Rows::default());
        lanes.open.fill(&wanted, &mut rows);
        batch.read_holds(&wanted, &mut rows)?;
        wanted.add_keys_of_holds(&rows);
        self.cache.fill(&wanted, &mut rows);
        batch.read_others(&wanted, &mut rows)?;
        let mut book = Book::new(rows, batch.now);
        let verdicts = ops.iter().map(|op| book.apply(op)).collect();
        let changes = book.into_changes();
        batch.write(&changes)?;
        batch.run("COMMIT")?;
        self.cache.insert(&changes);
        lanes.open.insert(&changes);
        let total_changes = batch.connection.total_changes();
        self.as_of = Some(State { total_changes, ..found });
        Ok(verdicts)
    }
}
