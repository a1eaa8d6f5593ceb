//! Configuration → parts → running → drained.

mod first_run;
mod parts;
mod service;
mod settings;

pub use first_run::ensure as first_run;
pub use parts::{client, ledger_config, log_panics, new_node, sealer, shared_count, system_clock};
pub use service::Service;
pub use settings::LiveSettings;
