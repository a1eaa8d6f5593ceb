//! The data plane: from a client's request to its settled reply.
//!
//! [`Relay::handle`] serves `/pass/`, `/v1/` and the paths of the protocols. Begin reading in
//! `phases.rs`: its functions call the phases in order. What is absent here: no SQL that writes
//! (balances, holds and tasks are read; a submission's row is
//! changed by `store::tasks`, and what a call made is kept by `store::resources`), no
//! retries but after a failed connection or a status by which nothing was delivered, no parsing and
//! rewriting of bodies. Status codes are chosen in `web`, but for the 204 that ends a stream of a
//! task's events (`task_view`).
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod account;
mod api_request;
mod asked;
mod billing;
mod breaker;
mod call;
mod channels;
mod choose;
mod client_link;
mod config;
mod context;
mod cors;
mod current;
mod deliver;
mod extra_event;
mod faults;
mod flow;
mod idempotency;
mod identify;
mod inflate;
mod inlet;
mod lenient;
mod list_page;
mod methods;
mod metrics;
mod models;
mod outcome;
mod own_reply;
mod pace;
mod phases;
mod readings;
mod record;
mod reply;
mod request_body;
mod reservation;
mod resources;
mod revive;
mod route;
mod send;
mod session;
mod spoken;
mod submit;
mod surface;
mod task_view;
mod traced;
mod usual;
mod vendor_tasks;

pub use breaker::BreakerConfig;
pub use config::{CutStream, HoldMode, RelayConfig};
pub use cors::CorsOrigins;
pub use current::Current;

use domain::{Clock, NodeId};
use http::{Request, Response};
use hyper::body::Incoming;
use ledger::Ledger;
use prometheus_client::registry::Registry;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use store::{Db, Live, Sealer};
use throttle::RateLimits;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use traffic::Traffic;
use web::Body;
use web::memory::Budget;

/// The data plane of this process, as one runtime uses it: upstream connections and jobs are its
/// own, the rest is shared by all.
#[derive(Clone)]
pub struct Relay {
    /// This run of the process; it owns the idempotency claims made here.
    node_id: NodeId,
    config: Arc<RelayConfig>,
    db: Db,
    live: Arc<Live>,
    ledger: Ledger,
    client: upstream::Client,
    sealer: Sealer,
    clock: Clock,
    tracer: spans::Tracer,
    /// Work that continues for disconnected clients.
    jobs: TaskTracker,
    /// The runtime of that work: it is started from destructors.
    runtime: Handle,
    channels: Arc<channels::Channels>,
    limits: Arc<RateLimits>,
    budget: Arc<Budget>,
    metrics: metrics::Metrics,
    /// The live counters, which other parts read.
    traffic: Arc<Traffic>,
    refuses: Arc<AtomicBool>,
    /// Large results are read and rendered one by one.
    render_lock: Arc<tokio::sync::Mutex<()>>,
    /// Clients that wait for tasks.
    task_watch: Arc<task_view::TaskWatch>,
    /// How much output the calls of each model have.
    usual_outputs: Arc<usual::UsualOutputs>,
    /// The process is about to end: nothing is read any more for disconnected clients.
    drains_cancelled: CancellationToken,
    /// Origin of the rate limiter's clock, which must be monotonic.
    origin: Instant,
}

/// Dependencies of the data plane.
pub struct Parts {
    /// This run of the process.
    pub node_id: NodeId,
    /// The database.
    pub db: Db,
    /// The current channels, prices and keys.
    pub live: Arc<Live>,
    /// The ledger.
    pub ledger: Ledger,
    /// The HTTP client for upstreams.
    pub client: upstream::Client,
    /// Requests per minute of keys.
    pub limits: RateLimits,
    /// Seals stored replies.
    pub sealer: Sealer,
    /// The current time.
    pub clock: Clock,
    /// Creates the spans of calls.
    pub tracer: spans::Tracer,
    /// Live counters of calls, which the admin API shows.
    pub traffic: Arc<Traffic>,
    /// The memory budget of held bodies.
    pub budget: Arc<Budget>,
    /// Awaited at shutdown: settlements after a disconnect run here.
    pub jobs: TaskTracker,
}

impl Relay {
    /// Builds the data plane.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(config: RelayConfig, parts: Parts) -> Arc<Self> {
        let Parts { node_id, db, live, ledger, client, limits, .. } = parts;
        let Parts { sealer, clock, tracer, traffic, budget, jobs, .. } = parts;
        Arc::new(Self {
            channels: channels::Channels::new(config.breaker, Arc::clone(&traffic)),
            traffic,
            limits: Arc::new(limits),
            budget,
            metrics: metrics::Metrics::default(),
            refuses: Arc::default(),
            render_lock: Arc::default(),
            usual_outputs: Arc::default(),
            task_watch: Arc::new(task_view::TaskWatch::new(
                config.max_task_waiters,
                config.max_task_waiters_of_user,
            )),
            drains_cancelled: CancellationToken::new(),
            origin: Instant::now(),
            runtime: Handle::current(),
            node_id,
            config: Arc::new(config),
            db,
            live,
            ledger,
            client,
            sealer,
            clock,
            tracer,
            jobs,
        })
    }

    /// The same data plane on another runtime, where calls and their follow-up jobs stay: with
    /// connections of its own, so that no call waits for another thread to move its bytes.
    #[must_use]
    pub fn on(&self, runtime: Handle) -> Arc<Self> {
        let client = self.client.with_own_connections();
        Arc::new(Self { client, runtime, ..self.clone() })
    }

    /// Handles one request for a path under `/pass/` or `/v1/`. A client that disconnects drops the
    /// future: what must complete by then continues as a tracked job.
    pub fn handle(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Body>> + Send + use<> {
        let link = Arc::new(client_link::ClientLink::default());
        // Several KiB, which `Box::pin` would copy twice on their way to the heap.
        let room = Box::new_uninit();
        let phases = phases::run_phases(Arc::clone(self), request, peer, Arc::clone(&link));
        let phases = Box::into_pin(Box::write(room, phases));
        client_link::DetachOnDrop::new(Arc::clone(self), link, phases)
    }

    /// Whether a path is one of the data plane, or meant as one.
    #[must_use]
    pub fn serves<B>(&self, request: &Request<B>) -> bool {
        let path = request.uri().path();
        lenient::is_front(path) || {
            let method = cors::method_of(request.method(), request.headers());
            phases::is_meant(self, &method, path)
        }
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        let used_bytes = self.budget.used_bytes();
        let channels = (&self.channels.open, &self.channels.broken);
        self.metrics.register(registry, channels, used_bytes);
    }

    /// From now on new requests get 503 `OVERLOADED`, or are accepted again, on every runtime: for
    /// a process that has reached its memory limit. Requests in flight continue.
    pub fn refuse_new_calls(&self, refuse: bool) {
        self.refuses.store(refuse, Ordering::Relaxed);
    }

    /// Begins a stop. Waits for tasks return what is known, and streams of task events end; clients
    /// reconnect elsewhere.
    pub fn stop_waiting(&self) {
        self.task_watch.stop();
    }

    /// The process is about to end. Replies still read for disconnected clients are settled with
    /// what has arrived so far.
    pub fn cancel_drains(&self) {
        self.drains_cancelled.cancel();
    }

    /// Runs a job that shutdown waits for.
    #[track_caller]
    fn spawn(&self, kind: &'static str, job: impl Future<Output = ()> + Send + 'static) {
        self.jobs.spawn_on(roster::named(kind, job), &self.runtime);
    }

    /// Microseconds since the start.
    fn now_us(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}
