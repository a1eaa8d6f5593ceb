//! From configuration to the parts that it describes.

use crate::config::{Config, UpstreamConfig};
use crate::secret;
use anyhow::Context;
use domain::{Clock, NodeId, UnixMs};
use ipnet::{Ipv4Net, Ipv6Net};
use ledger::{JobsConfig, LedgerConfig};
use relay::RelayConfig;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::{DbConfig, Sealer};
use tasks::TasksConfig;
use throttle::Shared;
use upstream::{AddressGuard, Client, ClientConfig, Proxies};

/// Unused connections that are kept for each upstream, and how long.
const POOL_IDLE: usize = 1_024;
const POOL_IDLE_TIME: Duration = Duration::from_secs(90);

const BAD_PROXY: &str = "HTTP_PROXY or HTTPS_PROXY can't be used";

/// The system's time: the only place that asks for it.
#[expect(clippy::disallowed_methods, reason = "the one clock there is")]
pub fn system_clock() -> Clock {
    Clock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    })
}

/// Sends panics to the log: one job's mistake, not the process's end.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("?");
        tracing::error!(target: "custompass", event = "panic", place, what);
    }));
}

/// A new run of this process.
pub fn new_node(clock: &Clock) -> NodeId {
    NodeId(web::uuid_v7(clock.now()))
}

/// Where the database is.
pub fn db_config(config: &Config) -> DbConfig {
    DbConfig {
        dsn: config.database.dsn.clone(),
        data_dir: config.database.data_dir.clone(),
        max_connections: config.database.max_connections,
        connect_timeout_ms: config.database.connect_timeout_ms,
    }
}

/// What seals channel keys.
///
/// # Errors
/// When the key can't be read or kept.
pub fn sealer(config: &Config) -> anyhow::Result<Sealer> {
    let database = &config.database;
    let key = secret::load_or_make(database.secret_key.as_deref(), &database.data_dir)?;
    Ok(Sealer::new(&key))
}

/// The count of requests that all nodes share, where there is a Redis. It connects when it is kept.
///
/// # Errors
/// When the secret can't be read or kept.
pub fn shared_count(config: &Config) -> anyhow::Result<Option<Arc<Shared>>> {
    let Some(address) = &config.redis else { return Ok(None) };
    let database = &config.database;
    let secret = secret::load_or_make(database.secret_key.as_deref(), &database.data_dir)?;
    let shared =
        Shared::new(address.expose(), &secret).context("REDIS_CONN_STRING can't be used")?;
    Ok(Some(Arc::new(shared)))
}

/// How upstreams are reached.
pub fn client_config(config: &UpstreamConfig) -> ClientConfig {
    ClientConfig {
        guard: AddressGuard::new(config.allow_nets.clone()),
        proxies: Proxies {
            http: config.http_proxy.clone(),
            https: config.https_proxy.clone(),
            no: config.no_proxy.clone(),
        },
        pin_addresses: false,
        connect_timeout: Duration::from_millis(config.connect_timeout_ms),
        pool_idle_timeout: POOL_IDLE_TIME,
        pool_max_idle_per_host: POOL_IDLE,
    }
}

/// How users' webhooks are reached. The networks of upstreams are not theirs to address, nor is
/// what an upstream's proxy can reach, unless the operator says so; and then by the addresses that
/// were judged, for what their names mean to the proxy is theirs to say.
pub fn webhook_client_config(config: &Config) -> ClientConfig {
    let guard = AddressGuard::new(config.tasks.webhook_allow_nets.clone());
    let through = client_config(&config.upstream);
    let proxies = match config.tasks.webhook_use_proxy {
        true => through.proxies.clone(),
        false => Proxies::default(),
    };
    ClientConfig { guard, proxies, pin_addresses: true, ..through }
}

/// The way to the upstreams.
///
/// # Errors
/// When a proxy is not an address.
pub fn client(config: &UpstreamConfig) -> anyhow::Result<Client> {
    Client::new(client_config(config)).context(BAD_PROXY)
}

/// The way to users' webhooks.
///
/// # Errors
/// When a proxy is not an address.
pub fn webhook_client(config: &Config) -> anyhow::Result<Client> {
    Client::new(webhook_client_config(config)).context(BAD_PROXY)
}

/// The way to the collector of traces, which the operator has chosen, wherever it is.
///
/// # Errors
/// When a proxy is not an address.
pub fn traces_client(config: &Config) -> anyhow::Result<Client> {
    let allow_nets = vec![Ipv4Net::default().into(), Ipv6Net::default().into()];
    client(&UpstreamConfig { allow_nets, ..config.upstream.clone() })
}

/// The work on tasks.
pub fn tasks_config(config: &Config, relay: &RelayConfig) -> TasksConfig {
    let tasks = &config.tasks;
    TasksConfig {
        node_id: relay.node_id,
        poll_interval_ms: tasks.poll_interval_ms,
        query_timeout_ms: tasks.query_timeout_ms,
        batch_size: tasks.batch_size,
        max_concurrent: tasks.max_concurrent,
        max_lifetime_ms: tasks.max_lifetime_ms,
        retention_days: tasks.retention_days,
        status_words: tasks.status_words.clone(),
        egress: relay.egress(),
    }
}

/// The ledger's limits.
pub fn ledger_config(config: &Config) -> LedgerConfig {
    LedgerConfig {
        lanes: config.ledger.lanes,
        busy_retry_count: config.ledger.busy_retry_count,
        busy_retry_delay_ms: config.ledger.busy_retry_delay_ms,
        failures_per_minute: config.ledger.failures_per_minute,
        jobs: JobsConfig {
            node_name: node_name(),
            log_retention_days: i64::from(config.ledger.log_retention_days),
            ..JobsConfig::default()
        },
        ..LedgerConfig::default()
    }
}

/// What the table of nodes calls this one: machine and process.
fn node_name() -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", machine.trim(), std::process::id())
}

/// The networks whose word about their clients is believed.
pub fn trusted_proxies(config: &Config) -> web::TrustedProxies {
    web::TrustedProxies::new(config.server.trusted_proxies.clone())
}

/// The data plane's settings.
///
/// # Errors
/// When the header's name can't be used.
pub fn relay_config(config: &Config, node: NodeId) -> anyhow::Result<RelayConfig> {
    let (relay, upstream) = (&config.relay, &config.upstream);
    Ok(RelayConfig {
        user_token_header: relay.user_token_header.parse().context("CUSTOM_PASS_HEADER_KEY")?,
        trusted_proxies: trusted_proxies(config),
        refuse_unpriced: relay.reject_unpriced,
        max_request_bytes: relay.max_request_bytes,
        body_window_ms: relay.body_window_ms,
        body_timeout_ms: relay.body_timeout_ms,
        max_in_flight: i64::try_from(relay.max_in_flight).unwrap_or(i64::MAX),
        buffer_budget_bytes: usize::try_from(relay.buffer_budget_bytes).unwrap_or(usize::MAX),
        connect_ms: upstream.connect_timeout_ms,
        first_byte_ms: upstream.http_timeout_ms,
        idle_ms: upstream.idle_timeout_ms,
        total_ms: upstream.total_timeout_ms,
        drain_ms: relay.drain_ms,
        failover_count: relay.failover_count,
        status_words: config.tasks.status_words.clone(),
        poll_interval_ms: config.tasks.poll_interval_ms,
        ..RelayConfig::new(node)
    })
}
