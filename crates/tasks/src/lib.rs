//! Asynchronous work: asking upstreams how it goes, ending it with its money, and telling those
//! who want to hear of it.
//!
//! Submitting is the data plane's (`relay`), and what a task's end means for its hold is the
//! ledger's. What is here runs in the background of every serving node.
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod config;
mod poller;
mod webhooks;

pub use config::TasksConfig;

use domain::{Clock, NodeId};
use ledger::Ledger;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use store::{Db, Live, Sealer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the background work on tasks works with.
#[derive(Clone)]
pub struct Parts {
    /// This run of the process; it leases what it asks about.
    pub node_id: NodeId,
    /// The database.
    pub db: Db,
    /// Channels as they are now.
    pub live: Arc<Live>,
    /// The money.
    pub ledger: Ledger,
    /// The way to upstreams.
    pub client: upstream::Client,
    /// The way to webhooks: users choose where these go.
    pub webhook_client: upstream::Client,
    /// Opens owners' keys, seals what upstreams say.
    pub sealer: Sealer,
    /// The time.
    pub clock: Clock,
    /// Makes the spans of what is asked and told.
    pub tracer: spans::Tracer,
    /// The memory of bodies that are held.
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

    /// Asks by these settings from now on.
    pub fn configure(&self, config: TasksConfig) {
        self.poller.configure(config);
    }

    /// Asks about every unfinished task now, instead of at its time.
    pub fn poll_now(&self) {
        self.poller.poll_now();
    }

    /// Makes the metrics part of what is scraped.
    pub fn register(&self, registry: &mut Registry) {
        self.poller.register(registry);
        self.webhooks.register(registry);
    }
}
