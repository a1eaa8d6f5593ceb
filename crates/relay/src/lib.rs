//! The data plane: from a client's request to its settled reply.
//!
//! [`Relay::handle`] answers everything under `/pass/` and `/v1/`. `phases.rs` is the place to
//! begin reading: its functions call the phases in order. What is absent here: no SQL that writes
//! (a balance and tasks are read; a submission's row is changed by `store::tasks`), no retries of
//! anything that may have been sent, no parsing and rewriting of bodies. Status codes are chosen in
//! `web`, but for the 204 that ends a stream of a task's events (`task_view`).
#![warn(clippy::disallowed_methods)]

mod billing;
mod breaker;
mod call;
mod channels;
mod choose;
mod client_link;
mod config;
mod context;
mod current;
mod deliver;
mod faults;
mod flow;
mod idempotency;
mod identify;
mod inflate;
mod inlet;
mod methods;
mod metrics;
mod models;
mod outcome;
mod pace;
mod phases;
mod record;
mod reply;
mod request_body;
mod reservation;
mod route;
mod send;
mod submit;
mod surface;
mod task_view;
mod traced;

pub use breaker::{BreakerConfig, BreakerState};
pub use channels::ChannelHealth;
pub use config::RelayConfig;
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
use web::Body;
use web::memory::Budget;

/// The data plane of this process, as one runtime sees it: the way out and the jobs are its own,
/// the rest is shared by all.
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
    /// Work that goes on for clients that have gone.
    jobs: TaskTracker,
    /// Where that work runs: it is begun from destructors.
    runtime: Handle,
    channels: Arc<channels::Channels>,
    limits: Arc<RateLimits>,
    budget: Arc<Budget>,
    metrics: metrics::Metrics,
    refuses: Arc<AtomicBool>,
    /// Large results are read and told one by one.
    telling: Arc<tokio::sync::Mutex<()>>,
    /// Clients that wait for tasks.
    task_watch: Arc<task_view::TaskWatch>,
    /// The process is about to end: nothing is read any more for clients that have gone.
    drains_cancelled: CancellationToken,
    /// Zero of the rate limiter's clock, which must not jump with the wall's.
    origin: Instant,
}

/// What the data plane works with.
pub struct Parts {
    /// This run of the process.
    pub node_id: NodeId,
    /// The database.
    pub db: Db,
    /// Channels, prices and keys as they are now.
    pub live: Arc<Live>,
    /// The money.
    pub ledger: Ledger,
    /// The way out.
    pub client: upstream::Client,
    /// Requests per minute of keys.
    pub limits: RateLimits,
    /// Seals kept replies.
    pub sealer: Sealer,
    /// The time.
    pub clock: Clock,
    /// Makes the spans of calls.
    pub tracer: spans::Tracer,
    /// The memory of bodies that are held.
    pub budget: Arc<Budget>,
    /// Waited for at shutdown: what is settled after a client has gone runs here.
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
        let Parts { sealer, clock, tracer, budget, jobs, .. } = parts;
        Arc::new(Self {
            channels: channels::Channels::new(config.breaker),
            limits: Arc::new(limits),
            budget,
            metrics: metrics::Metrics::default(),
            refuses: Arc::default(),
            telling: Arc::default(),
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

    /// The same data plane on another runtime, where calls and what they leave behind stay: with
    /// connections of its own, so that no call waits for another thread to move its bytes.
    #[must_use]
    pub fn on(&self, runtime: Handle) -> Arc<Self> {
        let client = self.client.with_own_connections();
        Arc::new(Self { client, runtime, ..self.clone() })
    }

    /// Answers one request for a path under `/pass/` or `/v1/`. Dropping the future is what a
    /// client that disconnects does: what must complete by then continues as a tracked job.
    pub fn handle(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Body>> + Send + use<> {
        let link = Arc::new(client_link::ClientLink::default());
        let phases = phases::run_phases(Arc::clone(self), request, peer, Arc::clone(&link));
        client_link::DetachOnDrop::new(Arc::clone(self), link, Box::pin(phases))
    }

    /// Makes the metrics part of what is scraped.
    pub fn register(&self, registry: &mut Registry) {
        let used_bytes = self.budget.used_bytes();
        self.metrics.register(registry, &self.channels.open, used_bytes);
    }

    /// From now on new requests get 503 `OVERLOADED`, or are taken again, on every runtime: for a
    /// process that has reached its memory limit. What is under way continues.
    pub fn refuse_new_calls(&self, refuse: bool) {
        self.refuses.store(refuse, Ordering::Relaxed);
    }

    /// A stop begins. Whoever waits for a task is answered with what is known of it, and streams
    /// of a task's events end; clients ask again elsewhere.
    pub fn stop_waiting(&self) {
        self.task_watch.stop();
    }

    /// The process is about to end. Whatever is still read for clients that have gone is settled
    /// with what has come so far.
    pub fn cancel_drains(&self) {
        self.drains_cancelled.cancel();
    }

    /// Where all channels stand that were called since the start.
    #[must_use]
    pub fn states(&self) -> Vec<ChannelHealth> {
        self.channels.health()
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
