//! Counts the open connections, and those that are ended because of what their clients read.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
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

/// What a server counts of its connections.
#[derive(Clone, Debug, Default)]
pub struct ConnectionMetrics {
    open: Gauge,
    /// Those that were ended, by the reason.
    cut: Family<[(&'static str, &'static str); 1], Counter>,
}

/// An open connection; it is counted until this is dropped.
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ConnectionMetrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        let open = "Open connections of clients";
        registry.register("custompass_connections_open", open, self.open.clone());
        registry.register(
            "custompass_connections_cut",
            "Connections ended because their clients read too little, by reason",
            self.cut.clone(),
        );
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> i64 {
        self.open.get()
    }

    pub(crate) fn opened(&self) -> OpenConnection {
        self.open.inc();
        OpenConnection(self.open.clone())
    }

    pub(crate) fn count(&self, why: Cut) {
        self.cut.get_or_create(&[("why", why.as_str())]).inc();
    }
}
