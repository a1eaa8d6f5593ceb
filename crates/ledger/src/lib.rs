//! Money. The only crate that writes a balance, a hold or a money line of the journal.
//!
//! The walk of one operation: [`Ledger`] turns a call into an [`op::Op`] and queues it on the lane
//! of its user. A lane takes whatever has queued while its last commit was under way, brings the
//! rows these operations touch, lets [`book::Book`] decide each of them in order of arrival, writes
//! all that changed with a handful of set-based statements, and commits once. Only then is anybody
//! answered. [`sqlite`] and [`postgres`] differ in how rows are read and written, and in how they
//! make sure that rows which were not read are as they are known; what is decided is the same code.

mod audit;
mod book;
mod error;
mod explain;
mod hold;
mod jobs;
mod journal;
pub mod journal_sums;
mod known;
mod lane;
mod ledger;
mod metrics;
#[cfg(test)]
mod model_tests;
mod op;
mod open_holds;
mod postgres;
mod redemption;
mod rows;
mod spending;
mod sqlite;
mod task_rows;
mod tasks;

pub use audit::{AuditReport, Breach, audit};
pub use error::{CodeFault, LedgerError};
pub use explain::{Explanation, explain};
pub use hold::Hold;
pub use jobs::{JobsConfig, run_once as run_jobs_once};
pub use ledger::{Ledger, LedgerConfig};
pub use metrics::Metrics;
pub use op::{
    Closed, EndState, HoldRequest, KeptReply, Movement, Release, Settlement, Taken, TaskEnd,
};
pub use redemption::Redemption;
pub use spending::{LimitReached, Period, SpendingView};
pub use task_rows::{NewTask, TaskRecord};
pub use tasks::{Charge, FinishedTask, TaskRef};
