//! Asynchronous work: polls upstreams, ends tasks with their money, and notifies owners by webhook.
//!
//! Submissions belong to the data plane (`relay`), and the effect of a task's end on its hold to
//! the ledger. The jobs here run in the background of every serving node.
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod config;
mod poller;
mod webhooks;

pub use config::{MAX_ENDS, TasksConfig};

use domain::{Clock, NodeId};
use ledger::Ledger;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use store::{Db, Live, Sealer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Dependencies of the background work.
#[derive(Clone)]
pub struct Parts {
    /// This run of the process; it leases the lanes that it polls.
    pub node_id: NodeId,
    /// The database.
    pub db: Db,
    /// The current channels.
    pub live: Arc<Live>,
    /// The ledger.
    pub ledger: Ledger,
    /// The HTTP client for upstreams.
    pub client: upstream::Client,
    /// The HTTP client for webhooks: users choose their addresses.
    pub webhook_client: upstream::Client,
    /// Opens owners' keys, seals upstreams' reports.
    pub sealer: Sealer,
    /// The current time.
    pub clock: Clock,
    /// Creates the spans of polls and webhooks.
    pub tracer: spans::Tracer,
    /// The memory budget of held bodies.
    pub budget: Arc<web::memory::Budget>,
}

/// The background work of this node.
pub struct Tasks {
    poller: Arc<poller::Poller>,
    webhooks: Arc<webhooks::Webhooks>,
}

impl Tasks {
    /// Starts it on `jobs`, until `shutdown`.
    #[must_use]
    pub fn start(
        config: TasksConfig,
        parts: &Parts,
        jobs: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Arc<Self> {
        let poller = poller::start(config, parts.clone(), jobs, shutdown);
        let webhooks = webhooks::start(parts.clone(), jobs, shutdown);
        Arc::new(Self { poller, webhooks })
    }

    /// Applies these settings from now on.
    pub fn configure(&self, config: TasksConfig) {
        self.poller.configure(config);
    }

    /// Polls every unfinished task now, instead of at its time.
    pub fn poll_now(&self) {
        self.poller.poll_now();
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        self.poller.register(registry);
        self.webhooks.register(registry);
    }
}
