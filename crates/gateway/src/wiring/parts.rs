//! From configuration to the parts that it describes.

use crate::config::Config;
use crate::secret;
use anyhow::Context;
use domain::{Clock, NodeId, UnixMs};
use ipnet::{Ipv4Net, Ipv6Net};
use ledger::{JobsConfig, LedgerConfig};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use store::Sealer;
use throttle::Shared;
use upstream::{AddressGuard, Client, ClientConfig};

const BAD_PROXY: &str = "HTTP_PROXY or HTTPS_PROXY can't be used";

/// The system clock: the only place that reads it.
#[expect(clippy::disallowed_methods, reason = "the one clock there is")]
pub(crate) fn system_clock() -> Clock {
    Clock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    })
}

/// Sends panics to the log: one job's mistake, not the process's end.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("?");
        tracing::error!(target: "custompass", event = "panic", place, what);
    }));
}

/// A new run of this process.
pub(crate) fn new_node(clock: &Clock) -> NodeId {
    NodeId(web::uuid_v7(clock.now()))
}

/// What seals channel keys.
///
/// # Errors
/// When the key can't be read or kept.
pub(crate) fn sealer(config: &Config) -> anyhow::Result<Sealer> {
    let database = &config.database;
    let key = secret::load_or_make(database.secret_key.as_deref(), &database.db.data_dir)?;
    Ok(Sealer::new(&key))
}

/// The count of requests that all nodes share, where there is a Redis. It connects when it is kept.
///
/// # Errors
/// When the secret can't be read or kept.
pub(crate) fn shared_count(config: &Config) -> anyhow::Result<Option<Arc<Shared>>> {
    let Some(address) = &config.redis else { return Ok(None) };
    let database = &config.database;
    let secret = secret::load_or_make(database.secret_key.as_deref(), &database.db.data_dir)?;
    let shared =
        Shared::new(address.expose(), &secret).context("REDIS_CONN_STRING can't be used")?;
    Ok(Some(Arc::new(shared)))
}

/// The way to the upstreams, or to users' webhooks.
///
/// # Errors
/// When a proxy is not an address.
pub(crate) fn client(config: &ClientConfig) -> anyhow::Result<Client> {
    Client::new(config.clone()).context(BAD_PROXY)
}

/// The way to the collector of traces, which the operator has chosen, wherever it is.
///
/// # Errors
/// When a proxy is not an address.
pub(super) fn traces_client(config: &Config) -> anyhow::Result<Client> {
    let guard = AddressGuard::new(vec![Ipv4Net::default().into(), Ipv6Net::default().into()]);
    client(&ClientConfig { guard, ..config.upstream.clone() })
}

/// The ledger's limits, and the name of this node.
pub(crate) fn ledger_config(config: &Config) -> LedgerConfig {
    let jobs = JobsConfig { node_name: node_name(), ..config.ledger.jobs.clone() };
    LedgerConfig { jobs, ..config.ledger.clone() }
}

/// What the table of nodes calls this one: machine and process.
fn node_name() -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", machine.trim(), std::process::id())
}
