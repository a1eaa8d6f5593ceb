//! Every setting, declared once: its name, what it may be, its default and its meaning.
//! `newapi config` prints this table, and docs/configuration.md is made from it; nothing else
//! knows a variable's name.

/// What a setting may be, and so how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SettingKind {
    /// Any text.
    Text,
    /// Any text; never shown.
    Secret,
    /// An access token for `/api`; never shown.
    AccessToken,
    /// A database address; its password is never shown.
    Dsn,
    /// A path.
    Path,
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number within these bounds.
    Count(u64, u64),
    /// A duration, in milliseconds, within these bounds.
    Millis(u64, u64),
    /// A size, in bytes, within these bounds.
    Bytes(u64, u64),
    /// An IP address.
    Address,
    /// IP networks, separated by commas.
    Networks,
    /// The address of a Redis; its password is never shown.
    Redis,
    /// The name of an HTTP header.
    Header,
    /// Origins of pages, `*` or `off`.
    Origins,
    /// The address of a proxy; its password is never shown.
    Proxy,
    /// The address of a service, without query, user or password.
    Url,
    /// Headers of a request, like `key=value,key=value`; never shown.
    Headers,
    /// A number from 0 to 1.
    Share,
    /// An amount of money, in dollars or quota, or `off` for one that nothing reaches.
    Amount,
    /// What amounts are shown in.
    Unit,
}

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The environment variable, and the member of the configuration file.
    pub name: &'static str,
    /// Other names it goes by. The first name that is set wins.
    pub also: &'static [&'static str],
    /// What it may be.
    pub kind: SettingKind,
    /// Its value when nobody sets it; empty: unset.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// When a change takes effect.
    pub change: Change,
}

/// When a change of a setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// While running.
    Live,
    /// At the next start, for this reason.
    AtStart(&'static str),
}

impl Setting {
    /// Whether a change takes effect while running.
    pub(crate) fn is_live(&self) -> bool {
        self.change == Change::Live
    }

    /// All names, the main one first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.also.iter().copied())
    }
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const SAMPLERS: &[&str] = &[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];
const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

/// Why some settings wait for a start.
const FILE: &str = "the environment of a process is given once";
const PORTS: &str = "ports are opened once";
const ACCEPTING: &str = "the accept loop is begun once";
const STOP: &str = "it must fit what the service manager allows, TimeoutStopSec";
const CONSOLE: &str = "pages are made with it from the first on";
const THREADS: &str = "threads are started once";
const DATABASE: &str = "the database is opened once";
const REDIS: &str = "the link to Redis is made once";
const SEALED: &str = "what it has sealed is read with it";
const FIRST: &str = "only the very first start reads it";
const LANES: &str = "a user's money stays in one lane";
const LOG: &str = "the log is opened once";
const TRACES: &str = "the way to the collector is opened once";

macro_rules! settings {
    (@change live) => { Change::Live };
    (@change start $why:ident) => { Change::AtStart($why) };
    ($($key:ident: $name:literal $(or $also:literal)*, $kind:expr, $default:literal,
       $meaning:literal, $when:ident $($why:ident)?;)*) => {
        /// Names a setting inside the program.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Key { $(#[doc = $meaning] $key),* }

        /// Every setting there is, in the order in which they are shown.
        pub(crate) const TABLE: &[Setting] = &[$(Setting {
            name: $name,
            also: &[$($also),*],
            kind: $kind,
            default: $default,
            meaning: $meaning,
            change: settings!(@change $when $($why)?),
        }),*];
    };
}

settings! {
    ConfigFile: "CUSTOM_PASS_CONFIG_FILE", SettingKind::Path, "",
        "a JSON file with settings by name; the environment wins over it", start FILE;

    ListenAddr: "LISTEN_ADDR", SettingKind::Address, "0.0.0.0",
        "address to serve on", start PORTS;
    Port: "PORT", SettingKind::Count(0, 65_535), "3000",
        "port to serve on; 0 takes a free one and says which in the log", start PORTS;
    MaxConnections: "MAX_CONNECTIONS", SettingKind::Count(0, 1_000_000), "0",
        "client connections at a time; more wait to be accepted. 0: half the descriptor limit",
        start ACCEPTING;
    HeaderTimeout: "HEADER_TIMEOUT", SettingKind::Millis(SECOND, 10 * MINUTE), "30s",
        "how long a client may take to send its request head, and to stay idle between requests",
        start ACCEPTING;
    WriteTimeout: "WRITE_TIMEOUT", SettingKind::Millis(SECOND, HOUR), "1m",
        "how long a client may take next to nothing of its answer (256 bytes a second count); \
         what is held in memory for it, it has to take within five times that, or once that \
         for each 512 KiB of it",
        start ACCEPTING;
    ShutdownTimeout: "SHUTDOWN_TIMEOUT", SettingKind::Millis(SECOND, HOUR), "30s",
        "how long a stop may take: what is under way is finished and settled first", start STOP;
    TrustedProxies: "TRUSTED_PROXIES", SettingKind::Networks, "",
        "networks whose X-Forwarded-For and X-Real-IP are believed", live;
    WorkerThreads: "WORKER_THREADS", SettingKind::Count(0, 1024), "0",
        "threads that serve; 0: one a core", start THREADS;

    DataDir: "DATA_DIR", SettingKind::Path, "./data",
        "directory of the SQLite file, the secret key and the first-run note", start DATABASE;
    SqlDsn: "SQL_DSN", SettingKind::Dsn, "",
        "postgres://… for PostgreSQL; unset or `local`: SQLite in DATA_DIR", start DATABASE;
    DbMaxOpenConns: "CUSTOM_PASS_DB_MAX_OPEN_CONNS", SettingKind::Count(1, 1_000), "25",
        "PostgreSQL connections at most", start DATABASE;
    DbMaxIdleConns: "CUSTOM_PASS_DB_MAX_IDLE_CONNS", SettingKind::Count(0, 1_000), "10",
        "idle PostgreSQL connections to keep open", start DATABASE;
    DbConnectTimeout: "CUSTOM_PASS_DB_CONNECT_TIMEOUT", SettingKind::Millis(100, 10 * MINUTE),
        "10s",
        "how long to wait for a PostgreSQL connection", start DATABASE;
    RedisConnString: "REDIS_CONN_STRING", SettingKind::Redis, "",
        "redis://… or rediss://…: rate limits hold over all nodes; unset: each counts for itself",
        start REDIS;
    EnableCache: "ENABLE_CACHE", SettingKind::Switch, "true",
        "use the Redis of REDIS_CONN_STRING", start REDIS;
    Secret: "SECRET_KEY", SettingKind::Secret, "",
        "encrypts channel keys; unset: made at the first start and kept in DATA_DIR/secret.key",
        start SEALED;
    RootAccessToken: "ROOT_ACCESS_TOKEN", SettingKind::AccessToken, "",
        "access token of the user root, used at the first start; unset: made and printed once",
        start FIRST;
    RootPassword: "ROOT_PASSWORD", SettingKind::Secret, "",
        "password of the user root, used at the first start; unset: made and printed once",
        start FIRST;

    LedgerLanes: "CUSTOM_PASS_LEDGER_LANES", SettingKind::Count(1, 64), "2",
        "writers of the ledger on PostgreSQL; SQLite has one", start LANES;
    RetryCount: "CUSTOM_PASS_RETRY_COUNT", SettingKind::Count(0, 20), "3",
        "with the delay, how long a hold waits for an account that another session locks", live;
    RetryDelay: "CUSTOM_PASS_RETRY_DELAY", SettingKind::Millis(1, MINUTE), "1s",
        "it waits 1 + 2 + … + count times this, 6 s by default; tried every 2 ms to 1 s", live;
    ConfirmAbove: "CONSOLE_CONFIRM_ABOVE", SettingKind::Amount, "$100",
        "moving more than this to or from a user at the console takes typing the user's name", live;
    ConsoleUnit: "CONSOLE_UNIT", SettingKind::Unit, "$",
        "what the console shows amounts in: $, q for quota, or a currency with what a dollar is \
         worth, like ¥7.25", start CONSOLE;
    LogRetentionDays: "CUSTOM_PASS_LOG_RETENTION_DAYS", SettingKind::Count(1, 36_500), "90",
        "days that the table logs keeps its lines", live;
    LogFailures: "CUSTOM_PASS_LOG_FAILURES", SettingKind::Count(0, 1_000_000), "60",
        "lines of type error that a user's failed calls leave in a minute; 0: none", live;

    HttpTimeout: "CUSTOM_PASS_HTTP_TIMEOUT", SettingKind::Millis(100, DAY), "30s",
        "how long an upstream may take to begin its answer; its protocol may say longer, and a \
         channel's own setting wins", live;
    ConnectTimeout: "CUSTOM_PASS_CONNECT_TIMEOUT", SettingKind::Millis(50, 10 * MINUTE), "10s",
        "how long a connection to an upstream may take", live;
    IdleTimeout: "CUSTOM_PASS_IDLE_TIMEOUT", SettingKind::Millis(SECOND, DAY), "2m",
        "how long an upstream may pause within its answer", live;
    TotalTimeout: "CUSTOM_PASS_TOTAL_TIMEOUT", SettingKind::Millis(SECOND, DAY / 2), "15m",
        "how long an upstream may take for a call in all, and its client beside it", live;
    FailoverCount: "CUSTOM_PASS_FAILOVER_COUNT", SettingKind::Count(0, 100), "3",
        "further channels that are tried while nothing has been sent", live;
    DrainSeconds: "CUSTOM_PASS_DRAIN_SECONDS", SettingKind::Millis(0, DAY), "30s",
        "how long an answer is read on, to be settled, when its client has gone", live;
    AllowNets: "UPSTREAM_ALLOW_NETS", SettingKind::Networks, "",
        "private networks that channels and their own proxies may be in, like 10.0.0.0/8; all \
         others are refused", live;
    HttpProxy: "HTTP_PROXY" or "http_proxy", SettingKind::Proxy, "",
        "proxy towards http:// upstreams", live;
    HttpsProxy: "HTTPS_PROXY" or "https_proxy", SettingKind::Proxy, "",
        "proxy towards https:// upstreams", live;
    NoProxy: "NO_PROXY" or "no_proxy", SettingKind::Text, "",
        "hosts that are reached without a proxy, separated by commas", live;

    PollInterval: "CUSTOM_PASS_POLL_INTERVAL", SettingKind::Millis(SECOND, HOUR), "30s",
        "pause between two questions to an upstream about an unfinished task", live;
    TaskTimeout: "CUSTOM_PASS_TASK_TIMEOUT", SettingKind::Millis(100, HOUR), "15s",
        "how long one such question may take", live;
    TaskBatchSize: "CUSTOM_PASS_BATCH_SIZE", SettingKind::Count(1, 1_000), "50",
        "tasks in one question", live;
    TaskMaxConcurrent: "CUSTOM_PASS_MAX_CONCURRENT", SettingKind::Count(1, 10_000), "100",
        "questions under way at a time, to all channels together", live;
    TaskMaxLifetime: "CUSTOM_PASS_TASK_MAX_LIFETIME", SettingKind::Millis(SECOND, 365 * DAY), "1h",
        "how old a task may become; then it is asked about once more, failed and refunded", live;
    TaskRetentionDays: "CUSTOM_PASS_TASK_RETENTION_DAYS", SettingKind::Count(1, 36_500), "30",
        "days that ended tasks and their webhooks are kept", live;
    StatusSuccess: "CUSTOM_PASS_STATUS_SUCCESS", SettingKind::Text,
        "completed,success,succeeded,finished,done",
        "words of upstreams that say that a task is done; a channel's own mapping wins", live;
    StatusFailed: "CUSTOM_PASS_STATUS_FAILED", SettingKind::Text,
        "failed,failure,error,cancelled,canceled,timeout,expired",
        "words that say that it has failed", live;
    StatusProcessing: "CUSTOM_PASS_STATUS_PROCESSING", SettingKind::Text,
        "processing,pending,running,in_progress,queued,submitted",
        "words that say that it is under way", live;
    WebhookAllowNets: "WEBHOOK_ALLOW_NETS", SettingKind::Networks, "",
        "private networks that users' webhooks may address; all others are refused", live;
    WebhookUseProxy: "WEBHOOK_USE_PROXY", SettingKind::Switch, "false",
        "users' webhooks, too, go through HTTP_PROXY and HTTPS_PROXY", live;

    CorsOrigins: "CORS_ORIGINS", SettingKind::Origins, "*",
        "origins whose pages may call models from a browser; never /api", live;
    UserTokenHeader: "CUSTOM_PASS_HEADER_KEY", SettingKind::Header, "X-Custom-Token",
        "header that carries the caller's key upstream; a channel's own setting wins", live;
    MaxRequestSize: "CUSTOM_PASS_MAX_REQUEST_SIZE", SettingKind::Bytes(KIB, 64 * GIB), "32MiB",
        "largest request body, counted after decompression", live;
    BodyWindow: "CUSTOM_PASS_BODY_WINDOW", SettingKind::Millis(SECOND, HOUR), "30s",
        "in each such time that a request body is waited for, 256 bytes a second must come", live;
    BodyTimeout: "CUSTOM_PASS_BODY_TIMEOUT", SettingKind::Millis(SECOND, DAY), "5m",
        "how long a body that has to be held whole may take to come; past it the call gets 408",
        live;
    Unpriced: "CUSTOM_PASS_UNPRICED", SettingKind::Word(&["pass", "reject"]), "pass",
        "what happens to a model without a price: passed through free, or refused", live;
    Hold: "CUSTOM_PASS_HOLD", SettingKind::Word(&["full", "input", "min"]), "full",
        "what a call by use holds that no upstream estimates: its text and the output that it \
         allows, its text, or the price's min_hold", live;
    CutStream: "CUSTOM_PASS_CUT_STREAM", SettingKind::Word(&["charge", "seen"]), "charge",
        "what a stream priced per call costs that its upstream breaks off: its price, or nothing \
         before its first content", live;
    UnknownAfter: "CUSTOM_PASS_UNKNOWN_AFTER", SettingKind::Millis(0, HOUR), "60s",
        "how long after a call that timed out, its outcome unknown, its hold is given back", live;
    MaxInFlight: "CUSTOM_PASS_MAX_IN_FLIGHT", SettingKind::Count(1, 1_000_000), "20000",
        "calls at work at a time; more get 503 OVERLOADED", live;
    BufferBudget: "CUSTOM_PASS_BUFFER_BUDGET", SettingKind::Bytes(MIB, 1024 * GIB), "256MiB",
        "memory for bodies that have to be held whole and replies that are not read, half of it \
         for one user; past it: 503", live;
    MemoryLimit: "MEMORY_LIMIT" or "GOMEMLIMIT", SettingKind::Bytes(0, 1024 * GIB), "0",
        "resident memory past which new calls get 503 OVERLOADED; nothing is killed. 0: none", live;

    LogLevel: "LOG_LEVEL", SettingKind::Word(LEVELS), "info",
        "least important level that is logged", live;
    CustomPassLogLevel: "CUSTOM_PASS_LOG_LEVEL", SettingKind::Word(LEVELS), "",
        "the same for the lines of calls, tasks and money (custompass:); unset: as LOG_LEVEL", live;
    LogFile: "CUSTOM_PASS_LOG_FILE" or "LOG_FILE", SettingKind::Path, "",
        "file that the log is appended to, reopened on SIGHUP; unset: standard error", start LOG;
    LogMaxSize: "LOG_MAX_SIZE", SettingKind::Bytes(0, 1024 * GIB), "1GiB",
        "size beyond which LOG_FILE is put aside as LOG_FILE.1; 0: never", start LOG;
    LogMaxAge: "LOG_MAX_AGE", SettingKind::Millis(0, 366 * DAY), "0",
        "age at which LOG_FILE is put aside, when a line comes; 0: never", start LOG;
    LogKeep: "LOG_KEEP", SettingKind::Count(1, 1_000), "5",
        "files put aside that are kept", start LOG;
    LogFormat: "LOG_FORMAT", SettingKind::Word(&["text", "json"]), "text",
        "shape of a log line", start LOG;

    EnableMetrics: "ENABLE_METRICS", SettingKind::Switch, "true",
        "serve metrics", start PORTS;
    MetricsAddr: "METRICS_ADDR", SettingKind::Address, "127.0.0.1",
        "address to serve metrics on; set 0.0.0.0 when Prometheus runs elsewhere", start PORTS;
    MetricsPort: "METRICS_PORT", SettingKind::Count(0, 65_535), "9090",
        "port to serve metrics on", start PORTS;
    MetricsPath: "METRICS_PATH", SettingKind::Path, "/metrics",
        "path of the metrics", start PORTS;
    EnablePprof: "ENABLE_PPROF", SettingKind::Switch, "false",
        "serve diagnostics, on 127.0.0.1: profiles of processor and memory, the jobs alive",
        start PORTS;
    PprofPort: "PPROF_PORT", SettingKind::Count(0, 65_535), "6060",
        "port to serve diagnostics on", start PORTS;

    OtlpEndpoint: "OTEL_EXPORTER_OTLP_ENDPOINT", SettingKind::Url, "",
        "collector that traces are sent to, at its path /v1/traces; unset: there are none",
        start TRACES;
    OtelDisabled: "OTEL_SDK_DISABLED", SettingKind::Switch, "false",
        "send no traces, whatever the other settings say", start TRACES;
    OtlpProtocol: "OTEL_EXPORTER_OTLP_PROTOCOL", SettingKind::Word(&["http/protobuf"]),
        "http/protobuf",
        "how they are sent", start TRACES;
    OtlpHeaders: "OTEL_EXPORTER_OTLP_HEADERS", SettingKind::Headers, "",
        "headers for the collector", start TRACES;
    OtlpTimeout: "OTEL_EXPORTER_OTLP_TIMEOUT", SettingKind::Count(1, 10 * MINUTE), "10000",
        "how long the collector may take, in milliseconds", start TRACES;
    OtelServiceName: "OTEL_SERVICE_NAME", SettingKind::Text, "newapi",
        "what traces say they come from", start TRACES;
    TracesSampler: "OTEL_TRACES_SAMPLER", SettingKind::Word(SAMPLERS), "parentbased_always_on",
        "which calls are recorded; parentbased: those of a recorded trace, and of others as said",
        start TRACES;
    TracesSamplerArg: "OTEL_TRACES_SAMPLER_ARG", SettingKind::Share, "1",
        "share of the calls that traceidratio records", start TRACES;
}

/// Settings that other systems of this kind have, and that mean nothing here.
pub(crate) const MEANINGLESS: &[(&str, &str)] =
    &[("GOGC", "there is no garbage collector here; MEMORY_LIMIT sets a ceiling")];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_call_ends_before_its_claim() {
        // Else a repetition under the same `Idempotency-Key` would be charged beside the first.
        let claim_ms = relay::RelayConfig::default().idempotency_ttl_ms;
        let longest = TABLE.iter().find(|setting| setting.name == "CUSTOM_PASS_TOTAL_TIMEOUT");
        let Some(Setting { kind: SettingKind::Millis(_, longest), .. }) = longest else {
            panic!("no longest call");
        };
        // The upstream's time, and as much of its client's.
        assert!(i64::try_from(2 * longest).unwrap() < claim_ms);
        assert!(i64::try_from(store::channel_fields::TIMEOUT_MAX_MS).unwrap() < claim_ms);
    }

    #[test]
    fn every_name_is_there_once() {
        let mut seen = HashSet::new();
        for setting in TABLE {
            for name in setting.names() {
                assert!(seen.insert(name), "{name} twice");
            }
            assert!(!setting.meaning.is_empty());
        }
        assert_eq!(TABLE[Key::MetricsPath as usize].name, "METRICS_PATH");
    }
}
