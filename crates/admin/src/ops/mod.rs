//! The use cases, one file a resource: plain functions that check, write and record. The JSON
//! handlers and the command line call the same ones.
//!
//! Every write that an administrator makes is entered in the log in the same transaction, without
//! the secrets in it; balances are moved by the ledger alone.

pub mod ability;
pub mod access_token;
pub mod attention;
pub mod audit;
pub mod batch;
pub mod channel;
pub mod doctor;
pub mod events;
pub(crate) mod failed_login;
pub mod first_start;
pub mod first_steps;
pub mod group;
pub mod log;
pub mod low_balance;
pub mod notice;
pub mod option;
pub mod own_account;
pub mod own_sessions;
pub mod price;
pub mod price_changes;
mod price_demand;
pub mod price_table;
pub mod protocol;
pub mod recent;
mod record;
pub mod redemption;
pub mod route;
pub mod session;
pub mod task;
pub mod task_batch;
pub mod token;
pub mod unpriced;
pub mod user;
pub mod webhook;
