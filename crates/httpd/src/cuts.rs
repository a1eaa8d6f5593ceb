//! Counts the connections that are ended because of what their clients read.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Why a connection is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// What is held for the client was not taken in its time.
    Held,
    /// The client reads next to nothing.
    NotRead,
    /// The user has too many responses that wait for their clients.
    NoRoom,
}

impl Cut {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::NotRead => "not_read",
            Self::NoRoom => "no_room",
        }
    }
}

/// The connections that were ended, by the reason.
#[derive(Clone, Debug, Default)]
pub struct Cuts(Family<[(&'static str, &'static str); 1], Counter>);

impl Cuts {
    /// Makes it a metric.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "custompass_connections_cut",
            "Connections ended because their clients read too little, by reason",
            self.0.clone(),
        );
    }

    pub(crate) fn count(&self, why: Cut) {
        self.0.get_or_create(&[("why", why.as_str())]).inc();
    }
}
