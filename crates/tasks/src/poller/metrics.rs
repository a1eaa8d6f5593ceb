//! Metrics of the poller.

use domain::TaskStatus;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::time::Duration;

type OneLabel = [(&'static str, &'static str); 1];

/// Tasks whose submission was accepted with a reply that can't be read: an operator decides.
pub(super) const UNREADABLE: &str = "unreadable";

/// All metrics of the poller.
pub(super) struct Metrics {
    in_queue: Family<OneLabel, Gauge>,
    lag: Histogram,
    questions: Family<OneLabel, Counter>,
    pub(super) unknown_words: Counter,
    pub(super) lanes: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            in_queue: Family::default(),
            // 10 ms to 22 min.
            lag: Histogram::new(exponential_buckets(0.01, 2.0, 18)),
            questions: Family::default(),
            unknown_words: Counter::default(),
            lanes: Gauge::default(),
        }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        for status in TaskStatus::UNFINISHED {
            self.in_queue(status.as_str(), 0);
        }
        self.in_queue(UNREADABLE, 0);
        registry.register(
            "custompass_tasks_in_queue",
            "Unfinished tasks in the database, all nodes",
            self.in_queue.clone(),
        );
        registry.register(
            "custompass_task_poll_lag_seconds",
            "How much later than scheduled a poll request was sent",
            self.lag.clone(),
        );
        registry.register(
            "custompass_task_questions",
            "Poll requests, by result",
            self.questions.clone(),
        );
        registry.register(
            "custompass_task_unknown_words",
            "Status words of upstreams that are on no list",
            self.unknown_words.clone(),
        );
        registry.register(
            "custompass_task_lanes",
            "Models of channels that this node polls",
            self.lanes.clone(),
        );
    }

    pub(super) fn in_queue(&self, status: &'static str, count: i64) {
        self.in_queue.get_or_create(&[("status", status)]).set(count);
    }

    pub(super) fn polled(&self, late: Duration) {
        self.lag.observe(late.as_secs_f64());
    }

    pub(super) fn answered(&self, result: &'static str) {
        self.questions.get_or_create(&[("result", result)]).inc();
    }
}
