//! Configuration → parts → running → drained.

mod clock;
mod first_run;
mod node_meter;
mod parts;
mod service;
mod settings;

pub(crate) use first_run::ensure as first_run;
pub(crate) use parts::{
    client, ledger_config, log_panics, new_node, sealer, shared_count, system_clock,
};
pub(crate) use service::Service;
pub(crate) use settings::LiveSettings;
