//! The queue between the threads where spans end and the job that sends them. It never blocks.

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Became {
    result: &'static str,
}

/// What became of the spans that were recorded.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    all: Family<Became, Counter>,
    /// Taken by the collector.
    pub sent: Counter,
    /// Not sent: the queue was full.
    pub dropped: Counter,
    /// Sent, and not taken.
    pub failed: Counter,
}

impl Default for Counts {
    fn default() -> Self {
        let all = Family::<Became, Counter>::default();
        let of = |result| all.get_or_create(&Became { result }).clone();
        let (sent, dropped, failed) = (of("sent"), of("dropped"), of("failed"));
        Self { all, sent, dropped, failed }
    }
}

impl Counts {
    /// Registers the counters as metrics.
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Spans recorded for traces, by what became of them";
        registry.register("custompass_trace_spans", help, self.all.clone());
    }

    /// How many have been lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.dropped.get().saturating_add(self.failed.get())
    }
}

/// Where spans go when they end.
#[derive(Debug)]
pub(super) struct Queue {
    ended: Sender<SpanData>,
    counts: Counts,
}

impl Queue {
    /// The way into the other end of `ended`.
    pub(super) const fn new(ended: Sender<SpanData>, counts: Counts) -> Self {
        Self { ended, counts }
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.ended.try_send(span).is_err() {
            self.counts.dropped.inc();
        }
    }

    /// The job sends all there is by itself.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
