//! Metrics of the data plane. Handles of the hot path are looked up once.

use crate::channels::ChannelLabel;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};
use std::time::Duration;

type TypeAndStatus = [(&'static str, &'static str); 2];
type OneLabel = [(&'static str, &'static str); 1];

struct Adder<'a>(&'a mut Registry);

impl Adder<'_> {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: &M) {
        self.0.register(name, help, metric.clone());
    }
}

/// Results of the calls of one type.
#[derive(Clone, Debug)]
struct Outcomes {
    succeeded: (Counter, Histogram),
    failed: (Counter, Histogram),
}

/// All metrics of the data plane.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    requests: Family<TypeAndStatus, Counter>,
    durations: Family<TypeAndStatus, Histogram, fn() -> Histogram>,
    sync: Outcomes,
    submissions: Outcomes,
    upstream: Histogram,
    overhead: Histogram,
    errors: Family<OneLabel, Counter>,
    precharges: Family<OneLabel, Counter>,
    precharged: Counter,
    failovers: Counter,
    drains: Counter,
    pub(crate) in_flight: Gauge,
}

/// 0.5 ms to 260 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 20))
}

/// 10 µs to 160 ms.
fn short_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.00001, 2.0, 15))
}

impl Default for Metrics {
    fn default() -> Self {
        let requests = Family::<TypeAndStatus, Counter>::default();
        let durations: Family<TypeAndStatus, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(seconds);
        let precharges = Family::<OneLabel, Counter>::default();
        let of = |kind, status| {
            let labels = [("type", kind), ("status", status)];
            (requests.get_or_create_owned(&labels), durations.get_or_create_owned(&labels))
        };
        let outcomes =
            |kind| Outcomes { succeeded: of(kind, "success"), failed: of(kind, "error") };
        Self {
            sync: outcomes("sync"),
            submissions: outcomes("async"),
            precharged: precharges.get_or_create_owned(&[("result", "ok")]),
            requests,
            durations,
            upstream: seconds(),
            overhead: short_seconds(),
            errors: Family::default(),
            precharges,
            failovers: Counter::default(),
            drains: Counter::default(),
            in_flight: Gauge::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn register(
        &self,
        registry: &mut Registry,
        (open, broken): (&Family<ChannelLabel, Gauge>, &Family<ChannelLabel, Gauge>),
        buffered_bytes: &Gauge,
    ) {
        let mut add = Adder(registry);
        add.add("custompass_requests", "Requests, by outcome", &self.requests);
        add.add(
            "custompass_request_duration_seconds",
            "From a request's head to the end of its reply",
            &self.durations,
        );
        add.add(
            "custompass_upstream_duration_seconds",
            "The upstream's share of it",
            &self.upstream,
        );
        add.add("custompass_overhead_seconds", "Our own share of it", &self.overhead);
        add.add("custompass_errors", "Failed requests, by code", &self.errors);
        add.add("custompass_precharge", "Holds asked for, by result", &self.precharges);
        add.add("custompass_failovers", "Calls sent on to a further channel", &self.failovers);
        add.add("custompass_drains", "Replies read on for a client that had gone", &self.drains);
        add.add("custompass_requests_in_flight", "Requests in flight", &self.in_flight);
        add.add(
            "custompass_buffered_bytes",
            "Bytes of collected bodies, until they are sent",
            buffered_bytes,
        );
        add.add("custompass_channel_open", "1 while a channel's breaker is open", open);
        add.add(
            "custompass_channel_account_broken",
            "1 while a channel is paused because its account is broken",
            broken,
        );
    }

    /// A request has ended.
    pub(crate) fn ended(
        &self,
        is_async: bool,
        success: bool,
        total: Duration,
        upstream: Option<Duration>,
    ) {
        let outcomes = if is_async { &self.submissions } else { &self.sync };
        let (count, duration) = if success { &outcomes.succeeded } else { &outcomes.failed };
        count.inc();
        duration.observe(total.as_secs_f64());
        if let Some(upstream) = upstream {
            self.upstream.observe(upstream.as_secs_f64());
            self.overhead.observe(total.saturating_sub(upstream).as_secs_f64());
        }
    }

    pub(crate) fn error(&self, code: &'static str) {
        self.errors.get_or_create(&[("code", code)]).inc();
    }

    pub(crate) fn precharged(&self) {
        self.precharged.inc();
    }

    pub(crate) fn not_precharged(&self, why: &'static str) {
        self.precharges.get_or_create(&[("result", why)]).inc();
    }

    pub(crate) fn failed_over(&self) {
        self.failovers.inc();
    }

    pub(crate) fn drained(&self) {
        self.drains.inc();
    }
}
