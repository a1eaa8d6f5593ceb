//! Where spans go, when there is a collector to send them to: into a bounded queue, from there in
//! batches over the wire (OTLP, protobuf over HTTP).
//!
//! The SDK samples spans and assigns their ids. Its own exporter is not used: it runs on its own
//! thread, doesn't report how many spans it lost, brings an HTTP client along, and reads the
//! environment.

mod collector;
mod queue;
mod sending;

use crate::config::{Sampling, TracesConfig};
use collector::Collector;
use domain::NodeId;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use prometheus_client::registry::Registry;
use queue::{Counts, Queue};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// Spans that wait to be sent; one more is lost.
const QUEUE_SPANS: usize = 4_096;
/// How long the last spans of a stop may take.
const FLUSH: Duration = Duration::from_secs(2);

/// The way of spans out of this process.
pub(crate) struct Traces {
    tracer: spans::Tracer,
    counts: Counts,
    sending: JoinHandle<()>,
    end: CancellationToken,
}

impl Traces {
    /// Starts sending to the collector that `config` names, through `client`.
    ///
    /// # Errors
    /// When its address can't be used.
    pub(crate) fn start(
        config: &TracesConfig,
        client: upstream::Client,
        node: NodeId,
    ) -> anyhow::Result<Self> {
        let resource = Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_service_name(config.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", node.0.to_string()))
            .build();
        let (endpoint, protocol) = (&config.endpoint, &config.protocol);
        tracing::info!(target: "custompass", event = "traces", endpoint, protocol);
        let collector = Collector::new(config, client, &resource)?;
        let (to_queue, queued) = mpsc::channel(QUEUE_SPANS);
        let (counts, end) = (Counts::default(), CancellationToken::new());
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler(config.sampling))
            .with_resource(resource)
            .with_span_processor(Queue::new(to_queue, counts.clone()))
            .build();
        let tracer = spans::Tracer::new(provider.tracer("newapi"));
        let sending = sending::run(queued, collector, counts.clone(), end.clone());
        let sending = tokio::spawn(roster::named("traces", sending));
        Ok(Self { tracer, counts, sending, end })
    }

    /// Returns the tracer whose spans are exported here.
    pub(crate) fn tracer(&self) -> spans::Tracer {
        self.tracer.clone()
    }

    /// Registers the counters as metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        self.counts.register(registry);
    }

    /// Sends what has ended by now, unless the collector is too slow for that.
    pub(crate) async fn stop(self, until: Instant) {
        self.end.cancel();
        let mut sending = self.sending;
        if timeout_at(until.min(Instant::now() + FLUSH), &mut sending).await.is_err() {
            sending.abort();
            tracing::warn!(target: "custompass", event = "traces_left_unsent");
        }
    }
}

fn sampler(sampling: Sampling) -> Sampler {
    let own = Sampler::TraceIdRatioBased(sampling.share);
    if sampling.by_parent { Sampler::ParentBased(Box::new(own)) } else { own }
}
