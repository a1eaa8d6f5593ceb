//! Configuration: the `Config` of each crate, filled from the table of settings and passed on by
//! value. What may change while running is passed
//! on again (`wiring::settings`).
//!
//! The only place that reads the environment.

mod load;
mod markdown;
mod table;
mod value;

pub(crate) use load::{
    Problems, Resolved, Runtime, SettingProblem, SettingSource, Settings, shown,
};
pub(crate) use markdown::page as markdown;
pub(crate) use table::{Key, MEANINGLESS, Setting, TABLE};
pub(crate) use value::allowed;

use admin::ops::option::ConsoleConfig;
use console::Unit;
use domain::StatusWords;
use http::HeaderMap;
use ledger::{JobsConfig, LedgerConfig};
use oplog::{LogConfig, Rotation};
use relay::{CorsOrigins, CutStream, HoldMode, RelayConfig};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use store::{DbConfig, Secret};
use tasks::{MAX_ENDS, TasksConfig};
use upstream::{AddressGuard, ClientConfig, Proxies};
use web::TrustedProxies;

/// Everything that can be set, in the shape in which it is used.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The console.
    pub console: ConsoleConfig,
    /// What its amounts are in.
    pub unit: Unit,
    /// The client side.
    pub server: ServerConfig,
    /// The database, and what is kept beside it.
    pub database: DatabaseConfig,
    /// The ledger.
    pub ledger: LedgerConfig,
    /// The way to the upstreams.
    pub upstream: ClientConfig,
    /// The way to users' webhooks.
    pub webhooks: ClientConfig,
    /// The data plane.
    pub relay: RelayConfig,
    /// Resident memory past which new calls are refused; 0: none.
    pub memory_limit_bytes: u64,
    /// The Redis that helps; none when unset or switched off. The address may hold a password.
    pub redis: Option<Secret>,
    /// Asynchronous work.
    pub tasks: TasksConfig,
    /// The log.
    pub log: LogConfig,
    /// The metrics; none when switched off.
    pub metrics: Option<MetricsConfig>,
    /// Where to serve diagnostics; nowhere when switched off.
    pub diagnostics: Option<SocketAddr>,
    /// Where traces go; none when there are none.
    pub traces: Option<TracesConfig>,
}

/// The client side.
#[derive(Clone, Debug)]
pub(crate) struct ServerConfig {
    /// Where to serve.
    pub listen: SocketAddr,
    /// Client connections at a time; 0: half the descriptor limit.
    pub max_connections: usize,
    /// How long a request head may take.
    pub header_timeout_ms: u64,
    /// How long a client may take next to nothing of its answer.
    pub write_timeout_ms: u64,
    /// How long a stop may take.
    pub shutdown_timeout_ms: u64,
    /// Threads; 0: one a core.
    pub worker_threads: usize,
}

/// The database, and what is kept beside it.
#[derive(Clone)]
pub(crate) struct DatabaseConfig {
    /// Where it is, and how it is connected to; `data_dir` is the directory of all files.
    pub db: DbConfig,
    /// Connections that are kept while they are not in use.
    pub max_idle_connections: usize,
    /// Encrypts channel keys, when given.
    pub secret_key: Option<String>,
    /// For the first start, when given.
    pub root_access_token: Option<String>,
    /// For the first start, when given.
    pub root_password: Option<String>,
}

impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("data_dir", &self.db.data_dir)
            .finish_non_exhaustive()
    }
}

/// The metrics.
#[derive(Clone, Debug)]
pub(crate) struct MetricsConfig {
    /// Where to serve them.
    pub listen: SocketAddr,
    /// Under which path.
    pub path: String,
}

/// Traces.
#[derive(Clone, Debug)]
pub(crate) struct TracesConfig {
    /// The collector's address; spans go to `/v1/traces` below it.
    pub endpoint: String,
    /// How they are sent: the only supported protocol.
    pub protocol: String,
    /// Headers that the collector requires, such as an API key.
    pub headers: HeaderMap,
    /// How long it may take.
    pub timeout_ms: u64,
    /// The service name of the spans.
    pub service_name: String,
    /// Which calls are recorded.
    pub sampling: Sampling,
}

/// Which calls are recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampling {
    /// A call that is part of the client's trace is recorded if that trace is.
    pub by_parent: bool,
    /// The share that is recorded of the others.
    pub share: f64,
}

impl Config {
    /// Turns settings into what the parts of the program take.
    ///
    /// # Errors
    /// When settings that are each valid contradict each other.
    pub(crate) fn from_settings(s: &Settings) -> Result<Self, Problems> {
        let relay = relay(s);
        let config = Self {
            console: console(s),
            unit: s.text(Key::ConsoleUnit).and_then(|unit| Unit::parse(&unit)).unwrap_or_default(),
            server: server(s),
            database: database(s),
            ledger: ledger(s),
            upstream: upstream(s),
            webhooks: webhooks(s),
            tasks: tasks(s, &relay),
            relay,
            memory_limit_bytes: s.number(Key::MemoryLimit),
            redis: redis(s),
            log: LogConfig {
                level: s.text(Key::LogLevel).unwrap_or_default(),
                custompass_level: s
                    .text(Key::CustomPassLogLevel)
                    .or_else(|| s.text(Key::LogLevel))
                    .unwrap_or_default(),
                file: s.text(Key::LogFile).map(PathBuf::from),
                rotation: Rotation {
                    max_bytes: s.number(Key::LogMaxSize),
                    max_age: Some(Duration::from_millis(s.number(Key::LogMaxAge)))
                        .filter(|age| !age.is_zero()),
                    kept: s.number(Key::LogKeep),
                },
                json: s.text(Key::LogFormat).as_deref() == Some("json"),
            },
            metrics: s.flag(Key::EnableMetrics).then(|| MetricsConfig {
                listen: SocketAddr::new(s.address(Key::MetricsAddr), s.port(Key::MetricsPort)),
                path: s.text(Key::MetricsPath).unwrap_or_default(),
            }),
            // Reachable from this machine only.
            diagnostics: s
                .flag(Key::EnablePprof)
                .then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, s.port(Key::PprofPort)))),
            traces: traces(s),
        };
        let problems = disagreements(s, &config);
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }
}

fn console(s: &Settings) -> ConsoleConfig {
    match s.text(Key::ConfirmAbove) {
        Some(text) => ConsoleConfig { confirm_above: value::amount(&text) },
        None => ConsoleConfig::default(),
    }
}

fn server(s: &Settings) -> ServerConfig {
    ServerConfig {
        listen: SocketAddr::new(s.address(Key::ListenAddr), s.port(Key::Port)),
        max_connections: s.size(Key::MaxConnections),
        header_timeout_ms: s.number(Key::HeaderTimeout),
        write_timeout_ms: s.number(Key::WriteTimeout),
        shutdown_timeout_ms: s.number(Key::ShutdownTimeout),
        worker_threads: s.size(Key::WorkerThreads),
    }
}

fn database(s: &Settings) -> DatabaseConfig {
    DatabaseConfig {
        db: DbConfig {
            dsn: s.text(Key::SqlDsn).filter(|dsn| dsn != "local"),
            data_dir: PathBuf::from(s.text(Key::DataDir).unwrap_or_default()),
            max_connections: s.size(Key::DbMaxOpenConns),
            connect_timeout_ms: s.number(Key::DbConnectTimeout),
        },
        max_idle_connections: s.size(Key::DbMaxIdleConns),
        secret_key: s.text(Key::Secret),
        root_access_token: s.text(Key::RootAccessToken),
        root_password: s.text(Key::RootPassword),
    }
}

fn ledger(s: &Settings) -> LedgerConfig {
    LedgerConfig {
        lanes: s.size(Key::LedgerLanes),
        busy_retry_count: s.small(Key::RetryCount),
        busy_retry_delay_ms: s.number(Key::RetryDelay),
        failures_per_minute: s.small(Key::LogFailures),
        unknown_after_ms: i64::try_from(s.number(Key::UnknownAfter)).unwrap_or(i64::MAX),
        jobs: JobsConfig {
            log_retention_days: i64::from(s.small(Key::LogRetentionDays)),
            ..JobsConfig::default()
        },
        ..LedgerConfig::default()
    }
}

fn relay(s: &Settings) -> RelayConfig {
    // The table has checked it: `SettingKind::Header`.
    let user_token_header = s.text(Key::UserTokenHeader).and_then(|name| name.parse().ok());
    let cors = s.text(Key::CorsOrigins).and_then(|text| CorsOrigins::parse(&text));
    let defaults = RelayConfig::default();
    RelayConfig {
        user_token_header: user_token_header.unwrap_or(defaults.user_token_header),
        trusted_proxies: TrustedProxies::new(s.networks(Key::TrustedProxies)),
        refuse_unpriced: s.text(Key::Unpriced).as_deref() == Some("reject"),
        hold: match s.text(Key::Hold).as_deref() {
            Some("input") => HoldMode::Input,
            Some("min") => HoldMode::Min,
            _ => HoldMode::Full,
        },
        cut_stream: match s.text(Key::CutStream).as_deref() {
            Some("seen") => CutStream::Seen,
            _ => CutStream::Charge,
        },
        max_request_bytes: s.number(Key::MaxRequestSize),
        body_window_ms: s.number(Key::BodyWindow),
        body_timeout_ms: s.number(Key::BodyTimeout),
        max_in_flight: i64::try_from(s.number(Key::MaxInFlight)).unwrap_or(i64::MAX),
        buffer_budget_bytes: s.size(Key::BufferBudget),
        connect_ms: s.number(Key::ConnectTimeout),
        first_byte_ms: s.number(Key::HttpTimeout),
        idle_ms: s.number(Key::IdleTimeout),
        total_ms: s.number(Key::TotalTimeout),
        drain_ms: s.number(Key::DrainSeconds),
        failover_count: s.small(Key::FailoverCount),
        status_words: status_words(s),
        poll_interval_ms: s.number(Key::PollInterval),
        cors: cors.unwrap_or(defaults.cors),
        ..defaults
    }
}

fn upstream(s: &Settings) -> ClientConfig {
    ClientConfig {
        guard: AddressGuard::new(s.networks(Key::AllowNets)),
        proxies: Proxies {
            http: s.text(Key::HttpProxy),
            https: s.text(Key::HttpsProxy),
            no: s.text(Key::NoProxy),
        },
        connect_timeout: Duration::from_millis(s.number(Key::ConnectTimeout)),
        ..ClientConfig::default()
    }
}

/// The networks of upstreams are not for users' webhooks to address, nor is what an upstream's
/// proxy can reach, unless the operator says so; and then by the addresses that were judged,
/// because users choose what their names mean to the proxy.
fn webhooks(s: &Settings) -> ClientConfig {
    let upstream = upstream(s);
    let proxies = match s.flag(Key::WebhookUseProxy) {
        true => upstream.proxies.clone(),
        false => Proxies::default(),
    };
    let guard = AddressGuard::new(s.networks(Key::WebhookAllowNets));
    ClientConfig { guard, proxies, pin_addresses: true, ..upstream }
}

fn redis(s: &Settings) -> Option<Secret> {
    let address = s.text(Key::RedisConnString).filter(|_| s.flag(Key::EnableCache));
    address.map(Secret::new)
}

fn tasks(s: &Settings, relay: &RelayConfig) -> TasksConfig {
    TasksConfig {
        poll_interval_ms: s.number(Key::PollInterval),
        query_timeout_ms: s.number(Key::TaskTimeout),
        batch_size: s.size(Key::TaskBatchSize),
        max_concurrent: s.size(Key::TaskMaxConcurrent),
        max_ends: MAX_ENDS,
        max_lifetime_ms: s.number(Key::TaskMaxLifetime),
        retention_days: s.small(Key::TaskRetentionDays),
        status_words: status_words(s),
        egress: relay.egress(),
    }
}

fn status_words(s: &Settings) -> StatusWords {
    let words = |key| {
        let text = s.text(key).unwrap_or_default();
        let words = text.split([',', '，']).map(str::trim).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    StatusWords {
        success: words(Key::StatusSuccess),
        failed: words(Key::StatusFailed),
        processing: words(Key::StatusProcessing),
    }
}

fn traces(s: &Settings) -> Option<TracesConfig> {
    let endpoint = s.text(Key::OtlpEndpoint).filter(|_| !s.flag(Key::OtelDisabled))?;
    let sampler = s.text(Key::TracesSampler).unwrap_or_default();
    let given = || s.text(Key::TracesSamplerArg).and_then(|text| value::share(&text));
    let share = match sampler.trim_start_matches("parentbased_") {
        "always_off" => 0.0,
        "traceidratio" => given().unwrap_or(1.0),
        _ => 1.0,
    };
    let headers = s.text(Key::OtlpHeaders).and_then(|text| value::headers(&text));
    Some(TracesConfig {
        endpoint,
        protocol: s.text(Key::OtlpProtocol).unwrap_or_default(),
        headers: headers.unwrap_or_default(),
        timeout_ms: s.number(Key::OtlpTimeout),
        service_name: s.text(Key::OtelServiceName).unwrap_or_default(),
        sampling: Sampling { by_parent: sampler.starts_with("parentbased_"), share },
    })
}

/// Settings that exclude one another.
fn disagreements(s: &Settings, config: &Config) -> Vec<SettingProblem> {
    let mut problems = Vec::new();
    let mut problem = |key: Key, allowed: String| {
        let name = TABLE[key as usize].name.to_owned();
        problems.push(SettingProblem { name, found: s.resolved(key).text.clone(), allowed });
    };
    if config.relay.total_ms < config.relay.first_byte_ms {
        let least = &s.resolved(Key::HttpTimeout).text;
        problem(Key::TotalTimeout, format!("at least CUSTOM_PASS_HTTP_TIMEOUT ({least})"));
    }
    if let Some(metrics) = &config.metrics {
        let port = metrics.listen.port();
        if port != 0 && port == config.server.listen.port() {
            problem(Key::MetricsPort, "another port than PORT".into());
        }
        if !metrics.path.starts_with('/') {
            problem(Key::MetricsPath, "a path that begins with /".into());
        }
    }
    if let Some(diagnostics) = config.diagnostics.filter(|address| address.port() != 0) {
        let others = [Some(&config.server.listen), config.metrics.as_ref().map(|it| &it.listen)];
        if others.into_iter().flatten().any(|other| other.port() == diagnostics.port()) {
            problem(Key::PprofPort, "another port than PORT and METRICS_PORT".into());
        }
    }
    problems
}

/// Reads the settings of the process environment, through the only function that accesses it.
pub(crate) fn from_process() -> Result<Settings, Problems> {
    from_process_under(&Runtime::new())
}

/// The same, with what was set while running on top.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub(crate) fn from_process_under(runtime: &Runtime) -> Result<Settings, Problems> {
    let environment =
        |name: &str| std::env::var_os(name).map(|text| text.to_string_lossy().into_owned());
    Settings::load(&environment, runtime)
}

/// Names in the environment that look like ours and are not, so that a slip of the pen, or a
/// setting of another version, doesn't go unnoticed.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub(crate) fn unknown_in_process() -> Vec<String> {
    let known = |name: &str| TABLE.iter().any(|setting| setting.names().any(|n| n == name));
    let mut names: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("CUSTOM_PASS_") && !known(name))
        .collect();
    names.sort_unstable();
    names
}

/// Settings in the environment that mean nothing here, with the reason.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub(crate) fn meaningless_in_process() -> impl Iterator<Item = (&'static str, &'static str)> {
    MEANINGLESS.iter().copied().filter(|(name, _)| std::env::var_os(name).is_some())
}
