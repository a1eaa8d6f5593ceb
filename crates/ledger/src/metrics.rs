//! Metrics of the ledger.

use crate::op::{Closed, EndState, Op, OpOutcome};
use domain::{ChannelId, Quota, Reported, Usage};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Channel {
    channel_id: i64,
}

/// Handles of all metrics of the ledger, looked up once.
#[derive(Debug)]
pub struct Metrics {
    quota: Family<Kind, Counter>,
    held: Counter,
    settled: Counter,
    released: Counter,
    refunded: Counter,
    overrun: Counter,
    unknown_outcome: Counter,
    bounded: Counter,
    estimated: Family<Channel, Counter>,
    pub(crate) open_holds: Gauge,
    batch_size: Histogram,
    commit_seconds: Histogram,
    retries: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let quota = Family::<Kind, Counter>::default();
        let kind = |kind| quota.get_or_create(&Kind { kind }).clone();
        Self {
            held: kind("held"),
            settled: kind("settled"),
            released: kind("released"),
            refunded: kind("refunded"),
            overrun: kind("overrun"),
            unknown_outcome: kind("unknown_outcome"),
            quota,
            bounded: Counter::default(),
            estimated: Family::default(),
            open_holds: Gauge::default(),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            commit_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 16)),
            retries: Counter::default(),
        }
    }
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("custompass_quota", "Quota moved, by kind", self.quota.clone());
        registry.register(
            "custompass_charges_bounded",
            "Charges that max_charge of the price has bounded",
            self.bounded.clone(),
        );
        registry.register(
            "custompass_charges_estimated",
            "Charges whose tokens were counted here, by the channel that did not report them",
            self.estimated.clone(),
        );
        registry.register(
            "custompass_open_holds",
            "Holds open in the database, all nodes",
            self.open_holds.clone(),
        );
        registry.register(
            "custompass_ledger_batch_size",
            "Operations in one commit",
            self.batch_size.clone(),
        );
        registry.register(
            "custompass_ledger_commit_seconds",
            "Time of one commit, from lock to durable",
            self.commit_seconds.clone(),
        );
        registry.register(
            "custompass_ledger_retries",
            "Operations tried again because a row was locked or the database away",
            self.retries.clone(),
        );
    }

    pub(crate) fn committed(&self, size: usize, took: Duration) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a batch has at most a few hundred members"
        )]
        self.batch_size.observe(size as f64);
        self.commit_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn retried(&self) {
        self.retries.inc();
    }

    /// Counts what became durable.
    pub(crate) fn entered(&self, op: &Op, outcome: &OpOutcome) {
        match (op, outcome) {
            (Op::Hold(new), OpOutcome::Held) => add(&self.held, new.request.amount),
            (_, OpOutcome::Grown(more)) => add(&self.held, *more),
            (_, OpOutcome::Closed(closed)) if !closed.repeated => {
                add(&self.settled, closed.charged);
                add(&self.released, closed.released);
                add(&self.overrun, closed.overrun);
                if let Some(reported) = closed.bounded {
                    self.bounded.inc();
                    warn_of_bound(op, closed, reported);
                }
                if let Some(channel_id) = estimated_at(op) {
                    self.estimated.get_or_create(&Channel { channel_id: channel_id.0 }).inc();
                }
                if closed.state == EndState::Expired {
                    add(&self.unknown_outcome, closed.released);
                }
            }
            (Op::Refund(_, movement, _), OpOutcome::Moved(moved)) if !moved.repeated => {
                add(&self.refunded, movement.amount);
            }
            _ => {}
        }
    }
}

/// The channel of a settlement whose usage was not reported.
fn estimated_at(op: &Op) -> Option<ChannelId> {
    let Op::Settle(_, settlement, _) = op else { return None };
    settlement.channel_id.filter(|_| settlement.usage.as_ref().is_some_and(Usage::is_estimated))
}

/// An upstream has reported more than the operator holds possible.
fn warn_of_bound(op: &Op, closed: &Closed, reported: Reported) {
    let (channel_id, model, request_id) = match op {
        Op::Settle(_, settlement, terms) => {
            (settlement.channel_id, Some(&*terms.model), Some(&*terms.request_id))
        }
        Op::Finish(finish) => (finish.task.channel_id, None, None),
        _ => (None, None, None),
    };
    tracing::warn!(
        target: "custompass", event = "charge_bounded", channel_id = channel_id.map(|id| id.0),
        model, request_id, task_uid = op.task().map(tracing::field::display),
        quota = closed.charged.0, reported = %reported,
    );
}

fn add(counter: &Counter, amount: Quota) {
    counter.inc_by(u64::try_from(amount.0).unwrap_or(0));
}
