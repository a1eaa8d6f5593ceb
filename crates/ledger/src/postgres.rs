//! Lanes on PostgreSQL.
//!
//! A batch is nearly always one statement, and so one round trip and one transaction
//! ([`session::Session::enter_at_once`]): it holds what the lane knows of the rows beside what it
//! changes, and changes nothing when a row is not so. Then, and when a batch needs more, rows are
//! locked in one flight and written in a second.
//!
//! A lane never waits for a lock: what somebody else holds is skipped (`SKIP LOCKED`) and tried
//! again, while the others of its batch go on. A lane owns its connection; nothing that a client
//! can cancel ever sees it.

#![expect(clippy::large_futures, reason = "a lane is one future, made once and never moved")]

mod columns;
mod session;
mod sql;

use crate::book::Changes;
use crate::error::LedgerError;
use crate::known::Known;
use crate::lane::{Decided, Job, Lanes};
use crate::op::Op;
use crate::rows::Missing;
use session::{Question, Session};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Db, StoreError};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;

/// Pause before a lost connection is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// How often a commit of unknown outcome is asked about while the server still works on it.
const OUTCOME_PAUSE: Duration = Duration::from_millis(50);
/// Most batches that lock first after rows were not as they were known: somebody shares them.
const CAUTION_MAX: u32 = 64;

/// Parameters of a statement.
type Params<'a> = Vec<&'a (dyn ToSql + Sync)>;

/// One lane: the only one who writes its users' money on this node.
pub(crate) struct Lane {
    db: Db,
    lanes: Arc<Lanes>,
    session: Option<Session>,
    known: Known,
    caution: Caution,
}

/// When to lock first. What is known of accounts that other nodes use as much goes stale as fast as
/// it is learnt; each time, twice as many batches lock first.
#[derive(Debug, Default)]
struct Caution {
    batches_left: u32,
    last: u32,
}

impl Caution {
    /// Whether this batch locks first.
    fn counsels(&mut self) -> bool {
        let counsels = self.batches_left > 0;
        self.batches_left = self.batches_left.saturating_sub(1);
        counsels
    }

    fn was_right(&mut self) {
        self.last = (self.last * 2).clamp(1, CAUTION_MAX);
        self.batches_left = self.last;
    }

    fn was_needless(&mut self) {
        self.last /= 2;
    }
}

/// What a batch came to.
struct Decision {
    decided: Vec<Decided>,
    changes: Box<Changes>,
}

/// How a batch failed.
enum Failure {
    /// It was rolled back.
    RolledBack(StoreError),
    /// The connection was lost around the commit: what was decided, and how to find out.
    Unknown { decision: Decision, question: Option<Question>, error: StoreError },
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::RolledBack(error.into())
    }
}

impl Lane {
    /// Opens the lane's connection.
    pub async fn connect(db: Db, lanes: Arc<Lanes>) -> Result<Self, LedgerError> {
        let session = Some(Session::open(&db, lanes.node, &lanes.tasks).await?);
        Ok(Self { db, lanes, session, known: Known::default(), caution: Caution::default() })
    }

    /// Carries out whatever is queued, batch by batch, until `finished`.
    pub async fn run(mut self, mut queue: UnboundedReceiver<Job>, finished: CancellationToken) {
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

    async fn run_batch(&mut self, batch: Vec<Job>) {
        if batch.is_empty() {
            return;
        }
        let started = Instant::now();
        let size = batch.len();
        match self.attempt(&batch).await {
            Ok(decision) => {
                self.lanes.metrics.committed(size, started.elapsed());
                self.conclude(batch, decision).await;
            }
            Err(Failure::Unknown { decision, question, error }) => {
                if let Some(question) = question
                    && self.was_committed(&question).await
                {
                    self.conclude(batch, decision).await;
                } else {
                    self.fail(batch, &error);
                }
            }
            Err(Failure::RolledBack(error)) if size == 1 || self.session.is_none() => {
                self.fail(batch, &error);
            }
            // One bad member never fails its neighbours.
            Err(Failure::RolledBack(_)) => {
                for job in batch {
                    Box::pin(self.run_batch(vec![job])).await;
                }
            }
        }
    }

    fn fail(&self, batch: Vec<Job>, error: &StoreError) {
        for job in batch {
            self.lanes.retry_or_fail(job, error);
        }
    }

    async fn attempt(&mut self, batch: &[Job]) -> Result<Decision, Failure> {
        if self.session.as_ref().is_none_or(Session::is_closed) {
            self.session = None;
            let session = Session::open(&self.db, self.lanes.node, &self.lanes.tasks).await;
            self.session = Some(session.map_err(Failure::RolledBack)?);
        }
        let ops: Vec<&Op> = batch.iter().map(|job| &job.op).collect();
        if !self.caution.counsels()
            && let Some(decision) = self.attempt_at_once(&ops).await?
        {
            self.caution.was_needless();
            return Ok(decision);
        }
        let Some(session) = &self.session else { return Err(no_connection()) };
        let outcome = session.lock_and_enter(&ops, self.lanes.clock.now()).await;
        if outcome.is_err() && !session.roll_back().await {
            self.session = None;
        }
        outcome
    }

    /// `None`: the batch has to lock first; nothing was changed.
    async fn attempt_at_once(&mut self, ops: &[&Op]) -> Result<Option<Decision>, Failure> {
        let Some(session) = &self.session else { return Err(no_connection()) };
        let mut rows = self.known.rows_of(ops);
        let holds = || ops.iter().filter_map(|op| op.hold_ref()).map(|hold| hold.hold_id);
        rows.holds.extend(self.lanes.open.known(holds()));
        let outcome = session.enter_at_once(ops, rows, self.lanes.clock.now()).await;
        match outcome {
            Ok(session::AtOnce::Entered(decision)) => return Ok(Some(decision)),
            Ok(session::AtOnce::NotFor) => return Ok(None),
            Ok(session::AtOnce::Stale) => {}
            Err(Failure::RolledBack(_)) if !session.is_closed() => {}
            Err(failure) => {
                if session.is_closed() {
                    self.session = None;
                }
                return Err(failure);
            }
        }
        self.caution.was_right();
        self.known.forget(ops);
        self.lanes.open.distrust(holds());
        Ok(None)
    }

    /// Answers a durable batch. Rows that were not there to be locked are looked up, to tell
    /// locked from gone.
    async fn conclude(&mut self, batch: Vec<Job>, decision: Decision) {
        let Decision { decided, changes } = decision;
        self.known.written(&changes);
        self.lanes.open.written(&changes);
        let missing: Vec<Missing> = decided
            .iter()
            .filter_map(|d| if let Decided::Missing(row) = d { Some(*row) } else { None })
            .collect();
        let existing = self.existing(&missing).await;
        self.lanes.answer_batch(batch, decided, existing);
    }

    async fn existing(&self, missing: &[Missing]) -> HashSet<Missing> {
        if missing.is_empty() {
            return HashSet::new();
        }
        // Where it can't be told, a row is taken to be locked: that is tried again.
        let all = || missing.iter().copied().collect();
        let Some(session) = &self.session else { return all() };
        session.existing(missing).await.unwrap_or_else(|_| all())
    }

    /// Whether a transaction whose commit was not answered is durable. The server knows, and is
    /// asked until it says; nobody is told anything before.
    async fn was_committed(&mut self, question: &Question) -> bool {
        loop {
            match self.ask(question).await {
                Ok(Some(committed)) => return committed,
                Ok(None) => tokio::time::sleep(OUTCOME_PAUSE).await,
                Err(_) => tokio::time::sleep(RECONNECT_PAUSE).await,
            }
        }
    }

    async fn ask(&mut self, question: &Question) -> Result<Option<bool>, StoreError> {
        if self.session.is_none() {
            self.session = Some(Session::open(&self.db, self.lanes.node, &self.lanes.tasks).await?);
        }
        let Some(session) = &self.session else { return Ok(None) };
        let answer = session.ask(question).await;
        if answer.is_err() {
            self.session = None;
        }
        Ok(answer?)
    }
}

fn no_connection() -> Failure {
    Failure::RolledBack(StoreError::Unavailable("no connection".to_owned()))
}
