//! Money. The only crate that writes a balance, a hold or a money line of the journal.
//!
//! The path of one operation: [`Ledger`] turns a call into an [`op::Op`] and queues it on the lane
//! of its user ([`lanes`]). A lane takes what has queued while its last commit was in flight, loads
//! the rows these operations need, lets [`book::Book`] decide each of them in order of arrival,
//! writes all that changed, and commits once. Only then do the callers get their replies.
//! [`sqlite`] and [`postgres`] differ in how rows are read and written, and in how they check that
//! cached rows are current; the decisions are made by the same code.
//!
//! The modules as floors, each importing from those before it: `config`, `error`, `spending`,
//! `journal`, `task`, `redemption`, `op`, `rows`, `book`, `columns`, `tables`, `task_rows`,
//! `wanted`, the caches and `prices`, `metrics`, `lanes` with `hold`, the engines, `jobs` with
//! `ledger` and `tasks`. Beside them, over the database alone: `audit`, `explain`, `recount`,
//! `rollups`.
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod audit;
mod book;
mod columns;
mod config;
mod error;
mod explain;
mod hold;
mod jobs;
mod journal;
mod lanes;
mod ledger;
mod metrics;
#[cfg(test)]
mod model_tests;
mod op;
mod open_holds;
mod postgres;
mod prices;
mod prospect;
mod recount;
mod redemption;
mod repriced;
pub mod rollups;
mod row_cache;
mod rows;
mod spending;
mod sqlite;
#[cfg(test)]
mod statement_tests;
mod tables;
mod task;
mod task_rows;
mod tasks;
mod wanted;

pub use audit::{AuditProgress, AuditReport, AuditStep, Breach, audit, watched_audit};
pub use config::{JobsConfig, LedgerConfig};
pub use error::{CodeFault, LedgerError};
pub use explain::{CALLS_MAX, ExplainRequest, Explanation, HoldStory, JournalLine, explain};
pub use hold::Hold;
pub use jobs::run_once as run_jobs_once;
pub use ledger::{Ledger, NodeGauges, OF_CODES, REFERENCE_MAX};
pub use metrics::Metrics;
pub use op::{
    AcceptedTask, ChargeRef, Closed, EndState, HoldRequest, KeptReply, Moved, Movement, Release,
    Settlement, Told,
};
pub use prospect::{TaskProspect, task_prospect};
pub use recount::recount;
pub use redemption::Redemption;
pub use repriced::{ChargedLine, charged_lines};
pub use spending::{LimitReached, Period, SpendingView};
pub use task::{Charge, NewTask, TaskEnd, TaskRecord, TaskRef};
pub use tasks::FinishedTask;
