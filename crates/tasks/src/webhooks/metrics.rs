//! Metrics of the sender.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type OneLabel = [(&'static str, &'static str); 1];

/// The result of an attempt for its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptResult {
    Delivered,
    Retried,
    Failed,
    PutOff,
}

impl AttemptResult {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::Failed => "failed",
            Self::PutOff => "put_off",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Metrics {
    tries: Family<OneLabel, Counter>,
    pub(super) pending: Gauge,
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("custompass_webhooks", "Tries to deliver, by result", self.tries.clone());
        registry.register(
            "custompass_webhooks_pending",
            "Webhooks not delivered yet, all nodes; counting stops at 100 000",
            self.pending.clone(),
        );
    }

    pub(super) fn ended(&self, ended: AttemptResult) {
        self.tries.get_or_create(&[("result", ended.as_str())]).inc();
    }
}
