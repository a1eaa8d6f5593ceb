//! The life of a serving process: start in order, run, stop in the opposite order.

use super::clock::ServiceClock;
use super::node_meter::NodeMeter;
use super::parts;
use super::settings::{Followers, LiveSettings};
use crate::app::App;
use crate::cli::{Followed, Loaded};
use crate::config::{Config, MetricsConfig, ServerConfig};
use crate::doctor::ServingDoctor;
use crate::health::Health;
use crate::memory_limit::MemoryLimit;
use crate::traces::Traces;
use crate::{metrics, process, secret, signals};
use admin::AdminState;
use admin::ops::doctor::HealthChecks;
use admin::ops::events::EventHub;
use anyhow::Context;
use domain::{Clock, NodeId, UnixMs};
use httpd::{ConnectionMetrics, Cores, Limits, Place, Stop};
use ledger::Ledger;
use oplog::{Levels, Lines};
use prometheus_client::registry::Registry;
use relay::{Current, Relay};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::{Db, Live, Sealer};
use tasks::Tasks;
use throttle::{RateLimits, Shared};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use traffic::Traffic;
use web::memory::Budget;

/// How often memory is looked at, while it has a limit.
const MEMORY_PAUSE: Duration = Duration::from_millis(250);
/// How often the months of PostgreSQL's partitions are looked after.
const MONTHS_PAUSE: Duration = Duration::from_secs(6 * 3_600);
/// How often the database's clock is looked at.
const CLOCK_PAUSE: Duration = Duration::from_secs(5);
/// How often idle connections to the database are thinned out.
const IDLE_PAUSE: Duration = Duration::from_secs(30);
/// How often the live counters note a minute.
const TRAFFIC_PAUSE: Duration = Duration::from_mins(1);
/// The part of a stop's time that is kept for settling what had to be cut.
const SETTLING: Duration = Duration::from_secs(5);

/// The part of that which is kept for the ledger's last commit and for closing the database.
const CLOSING: Duration = Duration::from_secs(1);

/// A service that runs.
pub(crate) struct Service {
    /// Where it serves.
    pub address: SocketAddr,
    /// How many connections it serves at a time.
    pub max_connections: usize,
    /// A note shown to the operator once, after the very first start.
    pub first_run_note: Option<String>,
    app: Arc<App>,
    relay: Arc<Relay>,
    events: EventHub,
    ledger: Ledger,
    stop: Stop,
    shutdown_timeout: Duration,
    /// The accept loop.
    serving: JoinHandle<()>,
    /// What the data plane left behind to be finished.
    walks: TaskTracker,
    /// Everything else in the background.
    jobs: TaskTracker,
    /// Ends `jobs`.
    shutdown: CancellationToken,
    /// Closed last but for the threads that use it.
    db: Db,
    /// Where spans go, if they go anywhere.
    traces: Option<Traces>,
    _cores: Cores,
}

/// What the surfaces share.
struct Parts {
    db: Db,
    ledger: Ledger,
    relay: Arc<Relay>,
    tasks: Arc<Tasks>,
    admin: AdminState,
    traffic: Arc<Traffic>,
    redis: Option<Arc<Shared>>,
    traces: Option<Traces>,
}

impl Parts {
    /// The parts that follow changes of settings.
    fn followers(
        &self,
        relays: Vec<Current>,
        memory: &Arc<MemoryLimit>,
        levels: Levels,
    ) -> Followers {
        Followers {
            relays,
            tasks: Arc::clone(&self.tasks),
            ledger: self.ledger.clone(),
            client: self.admin.client.clone(),
            webhook_client: self.admin.webhook_client.clone(),
            logins: self.admin.logins.clone(),
            memory: Arc::clone(memory),
            levels,
        }
    }
}

/// Every port that is served on.
struct Ports {
    listener: TcpListener,
    metrics: Option<(TcpListener, MetricsConfig)>,
    diagnostics: Option<TcpListener>,
}

impl Ports {
    fn bind(config: &Config) -> anyhow::Result<Self> {
        let listener = bind(config.server.listen, "PORT")?;
        let metrics = match &config.metrics {
            Some(metrics) => Some((bind(metrics.listen, "METRICS_PORT")?, metrics.clone())),
            None => None,
        };
        let diagnostics = config.diagnostics.map(|at| bind(at, "PPROF_PORT")).transpose()?;
        Ok(Self { listener, metrics, diagnostics })
    }
}

impl Service {
    /// Starts everything, and returns once it serves.
    ///
    /// # Errors
    /// The first thing that can't be had, in words for the operator.
    pub(crate) async fn start(loaded: Loaded) -> anyhow::Result<Self> {
        let Loaded { config, followed, lines } = loaded;
        let (began, service_clock) = (Instant::now(), ServiceClock::new());
        let clock = service_clock.clock();
        let descriptors = process::raise_descriptor_limit();
        // Ports first: a second start on the same machine ends before it touches anything.
        let Ports { listener, metrics, diagnostics } = Ports::bind(&config)?;
        let address = listener.local_addr()?;
        let metrics_at = metrics.as_ref().map(|(at, _)| at.local_addr()).transpose()?;
        let (walks, jobs) = (TaskTracker::new(), TaskTracker::new());
        let shutdown = CancellationToken::new();
        let mut built = build(&config, (&service_clock, &clock), &walks, &jobs, &shutdown).await?;
        let started_at = clock.now();
        let first_run_note = super::first_run(&built.admin, &config).await?;
        let cores = Cores::start(config.server.worker_threads).context("threads can't be made")?;
        let places: Vec<_> = cores
            .runtimes()
            .map(|runtime| (runtime.clone(), Current::new(built.relay.on(runtime.clone()))))
            .collect();
        let main = Current::new(Arc::clone(&built.relay));
        let relay = Arc::clone(&built.relay);
        let refuse = move |full| relay.refuse_new_calls(full);
        let memory = Arc::new(MemoryLimit::new(config.memory_limit_bytes, refuse));
        let relays = places.iter().map(|(_, relay)| relay.clone()).chain([main.clone()]).collect();
        let Followed { settings, read, levels } = followed;
        let followers = built.followers(relays, &memory, levels);
        let settings = LiveSettings::new(settings, read, followers);
        built.admin.options = Some(Arc::clone(&settings) as Arc<dyn admin::Options>);
        built.admin.health = health_checks(&built, &settings, (address, metrics_at));

        let app = Arc::new(App {
            admin: admin::router(built.admin.clone()),
            console: console::router(built.admin.clone(), config.unit.clone()),
            health: health(&config, &built, started_at),
            clock: clock.clone(),
            runtime: Handle::current(),
        });
        let stop = Stop::default();
        let mut registry = Registry::default();
        let connections = register(&mut registry, &built, started_at, lines.clone());
        memory.register(&mut registry);
        if let Some((listener, config)) = metrics {
            spawn_metrics(&jobs, &shutdown, listener, config, registry)?;
        }
        if let Some(listener) = diagnostics {
            spawn_diagnostics(&jobs, &shutdown, listener, &clock)?;
        }
        spawn_followers(&jobs, &shutdown, &built, (lines, settings, main));
        spawn_background(&jobs, &shutdown, &config, &built.admin, (&memory, &service_clock));

        let max_connections = max_connections(&config, descriptors);
        measure(&built, &memory, &connections, max_connections);
        let limits = limits(&config, max_connections);
        let places = places.into_iter().map(|(runtime, relay)| {
            let app = Arc::clone(&app);
            let handler = move |request, peer| Arc::clone(&app).answer(relay.now(), request, peer);
            Place { runtime, handler }
        });
        let serving = httpd::serve(listener, limits, stop.clone(), places.collect(), connections);
        let serving = tokio::spawn(roster::named("accept loop", serving));
        announce(address, &built.db, began, max_connections);
        Ok(Self {
            address,
            max_connections,
            first_run_note,
            app,
            relay: built.relay,
            events: built.admin.events,
            ledger: built.ledger,
            stop,
            shutdown_timeout: Duration::from_millis(config.server.shutdown_timeout_ms),
            serving,
            walks,
            jobs,
            shutdown,
            db: built.db,
            traces: built.traces,
            _cores: cores,
        })
    }

    /// Stops: no further calls, what is under way is finished and settled, then the end.
    pub(crate) async fn stop(self) {
        let began = Instant::now();
        let end = began + self.shutdown_timeout;
        let cut_at = end - SETTLING.min(self.shutdown_timeout / 2);
        let close_at = end - CLOSING.min(self.shutdown_timeout / 4);
        tracing::info!(target: "custompass", event = "stopping");
        self.app.health.stopping();
        self.relay.stop_waiting();
        self.events.stop();
        self.stop.accepting.cancel();
        let mut serving = self.serving;
        if timeout_at(cut_at, &mut serving).await.is_err() {
            tracing::warn!(target: "custompass", event = "connections_cut");
            self.stop.now.cancel();
            let _ = timeout_at(close_at, serving).await;
        }
        self.walks.close();
        if timeout_at(cut_at, self.walks.wait()).await.is_err() {
            // Settled with what has come so far, rather than not at all.
            self.relay.cancel_drains();
        }
        if timeout_at(close_at, self.walks.wait()).await.is_err() {
            // Their holds are released by the sweeper, here after a restart or on another node.
            let left = self.walks.len();
            tracing::warn!(target: "custompass", event = "calls_left_unsettled", calls = left);
        }
        self.shutdown.cancel();
        self.jobs.close();
        let closed = timeout_at(end, async {
            self.ledger.drain().await;
            self.jobs.wait().await;
            self.db.close().await;
        });
        if closed.await.is_err() {
            tracing::warn!(target: "custompass", event = "database_left_open");
        }
        if let Some(traces) = self.traces {
            traces.stop(end).await;
        }
        let took = began.elapsed();
        let duration = format_args!("{}.{:03}s", took.as_secs(), took.subsec_millis());
        tracing::info!(target: "custompass", event = "stopped", %duration);
    }
}

fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    httpd::listen(address).with_context(|| format!("{setting}: {address} can't be listened on"))
}

/// Opens the database and builds the parts on it, the ones that others need first.
async fn build(
    config: &Config,
    (service_clock, clock): (&ServiceClock, &Clock),
    walks: &TaskTracker,
    jobs: &TaskTracker,
    shutdown: &CancellationToken,
) -> anyhow::Result<Parts> {
    let (db, sealer) = open(config, service_clock).await?;
    let node = parts::new_node(clock);
    let ledger_config = parts::ledger_config(config);
    let ledger =
        Ledger::start(db.clone(), node, ledger_config, clock.clone(), jobs, shutdown.clone())
            .await
            .context("the ledger can't start")?;
    let live = Live::start(db.clone(), sealer.clone(), clock.clone(), jobs, shutdown.clone())
        .await
        .context("the configuration in the database can't be read")?;
    let client = parts::client(&config.upstream)?;
    let webhook_client = parts::client(&config.webhooks)?;
    let traces = start_traces(config, node)?;
    let tracer = traces.as_ref().map(Traces::tracer).unwrap_or_default();
    let budget = Budget::new(config.relay.buffer_budget_bytes);
    let tasks = Tasks::start(
        config.tasks.clone(),
        &tasks::Parts {
            node_id: node,
            db: db.clone(),
            live: Arc::clone(&live),
            ledger: ledger.clone(),
            client: client.clone(),
            webhook_client: webhook_client.clone(),
            sealer: sealer.clone(),
            clock: clock.clone(),
            tracer: tracer.clone(),
            budget: Arc::clone(&budget),
        },
        jobs,
        shutdown,
    );
    let redis = parts::shared_count(config)?;
    let traffic = Traffic::new(node);
    let relay = Relay::new(
        config.relay.clone(),
        relay::Parts {
            node_id: node,
            db: db.clone(),
            live: Arc::clone(&live),
            ledger: ledger.clone(),
            client: client.clone(),
            limits: RateLimits::new(redis.clone()),
            sealer: sealer.clone(),
            clock: clock.clone(),
            tracer: tracer.clone(),
            traffic: Arc::clone(&traffic),
            budget: Arc::clone(&budget),
            jobs: walks.clone(),
        },
    );
    let admin = AdminState {
        options: None, // What they follow is not built yet.
        health: HealthChecks::default(),
        db: db.clone(),
        live: Some(Arc::clone(&live)),
        ledger: ledger.clone(),
        sealer: sealer.clone(),
        client,
        webhook_client,
        clock: clock.clone(),
        tracer,
        logins: admin::LoginGuard::new(config.relay.trusted_proxies.clone(), redis.clone()),
        passwords: admin::Passwords::default(),
        wrong_codes: admin::WrongCodes::default(),
        last_audit: admin::ops::audit::LastAudit::default(),
        traffic: Some(Arc::clone(&traffic)),
        budget,
        events: EventHub::default(),
        jobs: walks.clone(), // A stop waits for what they write, too.
    };
    Ok(Parts { db, ledger, relay, tasks, admin, traffic, redis, traces })
}

fn health_checks(
    built: &Parts,
    settings: &Arc<LiveSettings>,
    (address, metrics_at): (SocketAddr, Option<SocketAddr>),
) -> HealthChecks {
    let settings = Arc::clone(settings);
    // Where a setting says any free port, it is the one that was found.
    let here = move |mut config: Config| {
        config.server.listen = address;
        if let (Some(metrics), Some(at)) = (&mut config.metrics, metrics_at) {
            metrics.listen = at;
        }
        config
    };
    let served = Box::new(move || settings.read_again().map(here));
    let (db, traffic) = (built.db.clone(), Arc::clone(&built.traffic));
    HealthChecks::by(Arc::new(ServingDoctor { served, db, traffic }))
}

fn health(config: &Config, built: &Parts, started_at: UnixMs) -> Health {
    let data_dir = &config.database.db.data_dir;
    Health::new(built.db.clone(), data_dir, built.redis.clone(), started_at)
}

/// The database, migrated, to be served by this process, and what opens its secrets.
async fn open(config: &Config, clock: &ServiceClock) -> anyhow::Result<(Db, Sealer)> {
    secret::make_data_dir(&config.database.db.data_dir)?;
    let sealer = parts::sealer(config)?;
    let db = Db::open(&config.database.db).await.context("the database can't be used")?;
    db.lock_for_serving().await.context("DATA_DIR")?;
    clock.follow(&db).await.context("the database's clock can't be read")?;
    let now = clock.clock().now();
    store::verify_secret(&db, &sealer, now).await?;
    store::make_months(&db, now).await?;
    Ok((db, sealer))
}

fn follow_clock(jobs: &TaskTracker, shutdown: &CancellationToken, clock: &ServiceClock, db: &Db) {
    let (clock, db) = (clock.clone(), db.clone());
    every("clock", jobs, shutdown, CLOCK_PAUSE, move || {
        let (clock, db) = (clock.clone(), db.clone());
        async move {
            if let Err(error) = clock.follow(&db).await {
                tracing::debug!(%error, "the database's clock can't be read");
            }
        }
    });
}

fn start_traces(config: &Config, node: NodeId) -> anyhow::Result<Option<Traces>> {
    let Some(traces) = &config.traces else { return Ok(None) };
    Traces::start(traces, parts::traces_client(config)?, node).map(Some)
}

/// Has the heartbeats tell what this process measures of itself.
fn measure(
    built: &Parts,
    memory: &Arc<MemoryLimit>,
    connections: &ConnectionMetrics,
    max_connections: usize,
) {
    built.ledger.measure_with(NodeMeter {
        memory: Arc::clone(memory),
        budget: Arc::clone(&built.admin.budget),
        connections: connections.clone(),
        max_connections,
        db: built.db.clone(),
        redis: built.redis.clone(),
    });
}

fn max_connections(config: &Config, descriptors: u64) -> usize {
    match config.server.max_connections {
        0 => process::connections_for(descriptors),
        given => given,
    }
}

const fn limits(config: &Config, max_connections: usize) -> Limits {
    let ServerConfig { header_timeout_ms, write_timeout_ms, .. } = config.server;
    Limits { max_connections, header_timeout_ms, write_timeout_ms }
}

/// Returns what counts the connections.
fn register(
    registry: &mut Registry,
    parts: &Parts,
    started_at: UnixMs,
    lines: Option<Lines>,
) -> ConnectionMetrics {
    parts.relay.register(registry);
    parts.tasks.register(registry);
    parts.ledger.metrics().register(registry);
    if let Some(redis) = &parts.redis {
        redis.register(registry);
    }
    if let Some(traces) = &parts.traces {
        traces.register(registry);
    }
    metrics::register_process(registry, started_at, lines);
    metrics::register_pool(registry, parts.db.clone());
    let connections = ConnectionMetrics::default();
    connections.register(registry);
    connections
}

fn spawn_metrics(
    jobs: &TaskTracker,
    shutdown: &CancellationToken,
    listener: TcpListener,
    config: MetricsConfig,
    registry: Registry,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(target: "custompass", event = "metrics", %address, path = config.path);
    // Up to the very end, so that the last numbers of a stop can still be read.
    let stop = Stop { accepting: shutdown.clone(), now: shutdown.clone() };
    let serving = metrics::serve(listener, config, Arc::new(registry), stop);
    jobs.spawn(roster::named("metrics", serving));
    Ok(())
}

fn spawn_diagnostics(
    jobs: &TaskTracker,
    shutdown: &CancellationToken,
    listener: TcpListener,
    clock: &Clock,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(target: "custompass", event = "diagnostics", %address);
    // A stop can be looked at as well; a profile that is being taken then ends with it.
    let stop = Stop { accepting: shutdown.clone(), now: shutdown.clone() };
    jobs.spawn(roster::named("diagnostics", profiles::serve(listener, clock.clone(), stop)));
    Ok(())
}

/// What follows the world outside: Redis, signals, the settings; and what recovers submissions.
fn spawn_followers(
    jobs: &TaskTracker,
    shutdown: &CancellationToken,
    parts: &Parts,
    (lines, settings, main): (Option<Lines>, Arc<LiveSettings>, Current),
) {
    if let Some(redis) = &parts.redis {
        let keeping = Arc::clone(redis).keep(shutdown.clone());
        jobs.spawn(roster::named("redis", keeping));
    }
    let tasks = Arc::clone(&parts.tasks);
    let signals = signals::follow(lines, Arc::clone(&settings), tasks, shutdown.clone());
    jobs.spawn(roster::named("signals", signals));
    jobs.spawn(roster::named("settings", settings.follow(shutdown.clone())));
    let reviving = Relay::keep_reviving(main.clone(), shutdown.clone());
    jobs.spawn(roster::named("revival", reviving));
    let recovering = Relay::keep_recovering(main, shutdown.clone());
    jobs.spawn(roster::named("recovery", recovering));
}

fn spawn_background(
    jobs: &TaskTracker,
    shutdown: &CancellationToken,
    config: &Config,
    admin: &AdminState,
    (memory, service_clock): (&Arc<MemoryLimit>, &ServiceClock),
) {
    let (db, clock) = (&admin.db, admin.clock.clone());
    follow_clock(jobs, shutdown, service_clock, db);
    let months = db.clone();
    every("months", jobs, shutdown, MONTHS_PAUSE, move || {
        let (db, now) = (months.clone(), clock.now());
        async move {
            if let Err(error) = store::make_months(&db, now).await {
                tracing::warn!(target: "custompass", event = "months_failed", %error);
            }
        }
    });
    let (pool, keep) = (db.clone(), config.database.max_idle_connections);
    every("idle connections", jobs, shutdown, IDLE_PAUSE, move || {
        pool.shed_idle_connections(keep);
        std::future::ready(())
    });
    if let Some(traffic) = admin.traffic.clone() {
        every("live counters", jobs, shutdown, TRAFFIC_PAUSE, move || {
            traffic.tick();
            std::future::ready(())
        });
    }
    let memory = Arc::clone(memory);
    every("memory limit", jobs, shutdown, MEMORY_PAUSE, move || {
        memory.look();
        std::future::ready(())
    });
}

/// Runs `job` after every pause, until the end.
fn every<F>(
    kind: &'static str,
    jobs: &TaskTracker,
    shutdown: &CancellationToken,
    pause: Duration,
    job: impl Fn() -> F + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let shutdown = shutdown.clone();
    let run = async move {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            job().await;
        }
    };
    jobs.spawn(roster::named(kind, run));
}

fn announce(address: SocketAddr, db: &Db, began: Instant, max_connections: usize) {
    let took_ms = began.elapsed().as_millis();
    tracing::info!(
        target: "custompass",
        event = "listening",
        %address,
        version = env!("CARGO_PKG_VERSION"),
        database = ?db.engine(),
        max_connections,
        ready_after = %format_args!("{}.{:03}s", took_ms / 1_000, took_ms % 1_000),
    );
}
