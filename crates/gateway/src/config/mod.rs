//! Configuration: one struct a concern, passed on by value. What may change while running is passed
//! on again (`wiring::settings`).
//!
//! The only place that reads the environment.

mod load;
mod markdown;
mod table;
mod value;

pub use load::{Problem, Problems, Resolved, Runtime, Settings, Source, shown};
pub use markdown::page as markdown;
pub use table::{Key, MEANINGLESS, Setting, TABLE};
pub use value::allowed;

use domain::StatusWords;
use http::HeaderMap;
use ipnet::IpNet;
use oplog::{LogConfig, Rotation};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use store::Secret;

/// Everything that can be set, in the shape in which it is used.
#[derive(Clone, Debug)]
pub struct Config {
    /// The client side.
    pub server: ServerConfig,
    /// The database, and what is kept beside it.
    pub database: DatabaseConfig,
    /// The ledger.
    pub ledger: LedgerSettings,
    /// The way to the upstreams.
    pub upstream: UpstreamConfig,
    /// The data plane.
    pub relay: RelaySettings,
    /// The Redis that helps; none when unset or switched off. The address may hold a password.
    pub redis: Option<Secret>,
    /// Asynchronous work.
    pub tasks: TaskSettings,
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
pub struct ServerConfig {
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
    /// Whose word on the client's address counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Threads; 0: one a core.
    pub worker_threads: usize,
}

/// The database, and what is kept beside it.
#[derive(Clone)]
pub struct DatabaseConfig {
    /// `None`: SQLite in `data_dir`.
    pub dsn: Option<String>,
    /// Directory of everything that is kept in files.
    pub data_dir: PathBuf,
    /// Connections at most.
    pub max_connections: usize,
    /// Connections that are kept while nobody uses them.
    pub max_idle_connections: usize,
    /// How long to wait for one.
    pub connect_timeout_ms: u64,
    /// Encrypts channel keys, when given.
    pub secret_key: Option<String>,
    /// For the first start, when given.
    pub root_access_token: Option<String>,
    /// For the first start, when given.
    pub root_password: Option<String>,
}

impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseConfig").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

/// The ledger.
#[derive(Clone, Copy, Debug)]
pub struct LedgerSettings {
    /// Writers on PostgreSQL.
    pub lanes: usize,
    /// Tries for a locked account.
    pub busy_retry_count: u32,
    /// Pause before the first of them.
    pub busy_retry_delay_ms: u64,
    /// Days that log lines are kept.
    pub log_retention_days: u32,
    /// Lines that a user's failed calls leave in a minute.
    pub failures_per_minute: u32,
}

/// The way to the upstreams.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// For connecting.
    pub connect_timeout_ms: u64,
    /// For the first byte of an answer.
    pub http_timeout_ms: u64,
    /// Between bytes.
    pub idle_timeout_ms: u64,
    /// In all.
    pub total_timeout_ms: u64,
    /// Private networks that may be addressed.
    pub allow_nets: Vec<IpNet>,
    /// Proxy for http.
    pub http_proxy: Option<String>,
    /// Proxy for https.
    pub https_proxy: Option<String>,
    /// Hosts without a proxy.
    pub no_proxy: Option<String>,
}

/// The data plane.
#[derive(Clone, Debug)]
pub struct RelaySettings {
    /// Header that carries the caller's key upstream.
    pub user_token_header: String,
    /// Largest request body.
    pub max_request_bytes: u64,
    /// Whether a model without a price is refused.
    pub reject_unpriced: bool,
    /// In each of these times a request body has to come on.
    pub body_window_ms: u64,
    /// How long a body that is held whole may take to come.
    pub body_timeout_ms: u64,
    /// Calls at a time.
    pub max_in_flight: usize,
    /// Memory for bodies held whole.
    pub buffer_budget_bytes: u64,
    /// Further channels to try.
    pub failover_count: u32,
    /// How long an answer is read on without its client.
    pub drain_ms: u64,
    /// Resident memory past which new calls are refused; 0: none.
    pub memory_limit_bytes: u64,
}

/// Asynchronous work.
#[derive(Clone, Debug)]
pub struct TaskSettings {
    /// Between two questions about a task.
    pub poll_interval_ms: u64,
    /// For one question.
    pub query_timeout_ms: u64,
    /// Tasks in one question.
    pub batch_size: usize,
    /// Questions at a time.
    pub max_concurrent: usize,
    /// How old a task may become.
    pub max_lifetime_ms: u64,
    /// Days that ended tasks are kept.
    pub retention_days: u32,
    /// Words of upstreams.
    pub status_words: StatusWords,
    /// Private networks that webhooks may address.
    pub webhook_allow_nets: Vec<IpNet>,
    /// Whether webhooks go through the installation's proxies.
    pub webhook_use_proxy: bool,
}

/// The metrics.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    /// Where to serve them.
    pub listen: SocketAddr,
    /// Under which path.
    pub path: String,
}

/// Traces.
#[derive(Clone, Debug)]
pub struct TracesConfig {
    /// The collector's address; spans go to `/v1/traces` below it.
    pub endpoint: String,
    /// How they are sent: the table knows one way.
    pub protocol: String,
    /// What it wants to be told, like a key.
    pub headers: HeaderMap,
    /// How long it may take.
    pub timeout_ms: u64,
    /// What the spans are said to come from.
    pub service_name: String,
    /// Which calls are recorded.
    pub sampling: Sampling,
}

/// Which calls are recorded.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// A call that is part of somebody's trace is recorded if that is.
    pub by_parent: bool,
    /// The share that is recorded of the others.
    pub share: f64,
}

impl Config {
    /// Turns settings into what the parts of the program take.
    ///
    /// # Errors
    /// Settings that are fine each by itself and don't go together.
    pub fn from_settings(s: &Settings) -> Result<Self, Problems> {
        let config = Self {
            server: server(s),
            database: database(s),
            ledger: LedgerSettings {
                lanes: s.size(Key::LedgerLanes),
                busy_retry_count: s.small(Key::RetryCount),
                busy_retry_delay_ms: s.number(Key::RetryDelay),
                log_retention_days: s.small(Key::LogRetentionDays),
                failures_per_minute: s.small(Key::LogFailures),
            },
            upstream: upstream(s),
            relay: RelaySettings {
                user_token_header: s.text(Key::UserTokenHeader).unwrap_or_default(),
                max_request_bytes: s.number(Key::MaxRequestSize),
                reject_unpriced: s.text(Key::Unpriced).as_deref() == Some("reject"),
                body_window_ms: s.number(Key::BodyWindow),
                body_timeout_ms: s.number(Key::BodyTimeout),
                max_in_flight: s.size(Key::MaxInFlight),
                buffer_budget_bytes: s.number(Key::BufferBudget),
                failover_count: s.small(Key::FailoverCount),
                drain_ms: s.number(Key::DrainSeconds),
                memory_limit_bytes: s.number(Key::MemoryLimit),
            },
            redis: redis(s),
            tasks: tasks(s),
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
            // For whoever is on the machine, and for nobody else.
            diagnostics: s
                .flag(Key::EnablePprof)
                .then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, s.port(Key::PprofPort)))),
            traces: traces(s),
        };
        let problems = disagreements(s, &config);
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }
}

fn server(s: &Settings) -> ServerConfig {
    ServerConfig {
        listen: SocketAddr::new(s.address(Key::ListenAddr), s.port(Key::Port)),
        max_connections: s.size(Key::MaxConnections),
        header_timeout_ms: s.number(Key::HeaderTimeout),
        write_timeout_ms: s.number(Key::WriteTimeout),
        shutdown_timeout_ms: s.number(Key::ShutdownTimeout),
        trusted_proxies: s.networks(Key::TrustedProxies),
        worker_threads: s.size(Key::WorkerThreads),
    }
}

fn database(s: &Settings) -> DatabaseConfig {
    DatabaseConfig {
        dsn: s.text(Key::SqlDsn).filter(|dsn| dsn != "local"),
        data_dir: PathBuf::from(s.text(Key::DataDir).unwrap_or_default()),
        max_connections: s.size(Key::DbMaxOpenConns),
        max_idle_connections: s.size(Key::DbMaxIdleConns),
        connect_timeout_ms: s.number(Key::DbConnectTimeout),
        secret_key: s.text(Key::Secret),
        root_access_token: s.text(Key::RootAccessToken),
        root_password: s.text(Key::RootPassword),
    }
}

fn upstream(s: &Settings) -> UpstreamConfig {
    UpstreamConfig {
        connect_timeout_ms: s.number(Key::ConnectTimeout),
        http_timeout_ms: s.number(Key::HttpTimeout),
        idle_timeout_ms: s.number(Key::IdleTimeout),
        total_timeout_ms: s.number(Key::TotalTimeout),
        allow_nets: s.networks(Key::AllowNets),
        http_proxy: s.text(Key::HttpProxy),
        https_proxy: s.text(Key::HttpsProxy),
        no_proxy: s.text(Key::NoProxy),
    }
}

fn redis(s: &Settings) -> Option<Secret> {
    let address = s.text(Key::RedisConnString).filter(|_| s.flag(Key::EnableCache));
    address.map(Secret::new)
}

fn tasks(s: &Settings) -> TaskSettings {
    let words = |key| {
        let text = s.text(key).unwrap_or_default();
        let words = text.split([',', '，']).map(str::trim).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    TaskSettings {
        poll_interval_ms: s.number(Key::PollInterval),
        query_timeout_ms: s.number(Key::TaskTimeout),
        batch_size: s.size(Key::TaskBatchSize),
        max_concurrent: s.size(Key::TaskMaxConcurrent),
        max_lifetime_ms: s.number(Key::TaskMaxLifetime),
        retention_days: s.small(Key::TaskRetentionDays),
        status_words: StatusWords {
            success: words(Key::StatusSuccess),
            failed: words(Key::StatusFailed),
            processing: words(Key::StatusProcessing),
        },
        webhook_allow_nets: s.networks(Key::WebhookAllowNets),
        webhook_use_proxy: s.flag(Key::WebhookUseProxy),
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
fn disagreements(s: &Settings, config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut problem = |key: Key, allowed: String| {
        let name = TABLE[key as usize].name.to_owned();
        problems.push(Problem { name, found: s.resolved(key).text.clone(), allowed });
    };
    if config.upstream.total_timeout_ms < config.upstream.http_timeout_ms {
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

/// What the environment says, read through the one function that asks it.
pub fn from_process() -> Result<Settings, Problems> {
    from_process_under(&Runtime::new())
}

/// The same, with what was set while running on top.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn from_process_under(runtime: &Runtime) -> Result<Settings, Problems> {
    let environment =
        |name: &str| std::env::var_os(name).map(|text| text.to_string_lossy().into_owned());
    Settings::load(&environment, runtime)
}

/// Names in the environment that look like ours and are not, so that a slip of the pen, or a
/// setting of another version, doesn't go unnoticed.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn unknown_in_process() -> Vec<String> {
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
pub fn meaningless_in_process() -> impl Iterator<Item = (&'static str, &'static str)> {
    MEANINGLESS.iter().copied().filter(|(name, _)| std::env::var_os(name).is_some())
}
