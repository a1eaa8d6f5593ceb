//! Settings that change while calls are in flight.

use crate::{Relay, RelayConfig};
use arc_swap::ArcSwap;
use std::sync::Arc;

/// The data plane of one runtime, with its current configuration. A call keeps the settings that it
/// began with: its deadlines and its hold belong together.
#[derive(Clone)]
pub struct Current(Arc<ArcSwap<Relay>>);

impl Current {
    /// Starts with the settings it was built with.
    #[must_use]
    pub fn new(relay: Arc<Relay>) -> Self {
        Self(Arc::new(ArcSwap::new(relay)))
    }

    /// The snapshot for a call that begins now.
    #[must_use]
    pub fn now(&self) -> Arc<Relay> {
        self.0.load_full()
    }

    /// Gives these settings to every call from now on. Channels are prepared once per `config`, so
    /// all runtimes must be given the same one. What was built from the first settings stays: the
    /// breakers, the waiters for tasks.
    pub fn configure(&self, config: Arc<RelayConfig>) {
        let relay = Relay::clone(&self.now());
        relay.budget.resize(config.buffer_budget_bytes);
        self.0.store(Arc::new(Relay { config, ..relay }));
    }
}
