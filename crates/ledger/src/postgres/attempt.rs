//! What one attempt at a batch comes to: decided, or failed.

use crate::book::{BatchChanges, Book, OpRefusal};
use crate::op::{Op, OpOutcome};
use crate::rows::Rows;
use domain::UnixMs;
use store::StoreError;

pub(super) type PgResult<T> = Result<T, tokio_postgres::Error>;

/// The server process of a connection.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub pid: i32,
    pub started: String,
}

/// The result of a batch.
pub(super) struct DecidedBatch {
    pub verdicts: Vec<Result<OpOutcome, OpRefusal>>,
    pub changes: Box<BatchChanges>,
}

/// How a batch failed.
pub(super) enum Failure {
    /// It was rolled back.
    RolledBack(StoreError),
    /// The connection was lost around the commit, which this server process may still complete.
    InDoubt(Server, StoreError),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::RolledBack(error.into())
    }
}

/// Decides a batch over the rows that it needs.
pub(super) fn decide(ops: &[&Op], rows: Rows, now: UnixMs) -> DecidedBatch {
    let mut book = Book::new(rows, now);
    let verdicts = ops.iter().map(|op| book.apply(op)).collect();
    DecidedBatch { verdicts, changes: Box::new(book.into_changes()) }
}
