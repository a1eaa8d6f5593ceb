//! Asking upstreams how their tasks go.
//!
//! Work is split into *lanes*: a lane is one model of one channel. Nodes share the lanes through
//! leases ([`lease`], [`lanes`]). One job for each lane passes over all its unfinished tasks in
//! every interval ([`sweep`]), a page at a time ([`page`]), in questions about tasks of one
//! owner's key ([`question`]). Their replies ([`upstream::task_reply`]) change what is new
//! ([`apply`]). What one lane may take of the node is limited ([`permits`]), most of all while its
//! upstream hangs.
//!
//! Between passes a lane remembers where it was broken off and a few tasks that spoil questions;
//! everything else is in the database. So memory does not grow with the number of tasks, and a
//! node can die at any moment: whatever it had not written is asked about again.

mod apply;
mod housekeeping;
mod lanes;
mod lease;
mod metrics;
mod page;
mod permits;
mod question;
mod suspects;
mod sweep;
mod width;
mod words;

use crate::{Parts, TasksConfig};
use arc_swap::ArcSwap;
use metrics::Metrics;
use permits::Permits;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use words::Words;

/// So many intervals past its lifetime a task is given up whose upstream doesn't answer at all.
const GRACE_INTERVALS: u64 = 3;

/// What the jobs of the poller share.
struct Core {
    config: ArcSwap<TasksConfig>,
    parts: Parts,
    metrics: Metrics,
    permits: Permits,
    words: Words,
    /// Ended tasks are to be kept for another time than before.
    retention_changed: Notify,
    /// Counts the wishes to ask about everything now.
    polls: watch::Sender<u64>,
}

/// The poller of this node.
pub(crate) struct Poller(Arc<Core>);

pub(crate) fn start(
    config: TasksConfig,
    parts: Parts,
    jobs: &TaskTracker,
    shutdown: &CancellationToken,
) -> Arc<Poller> {
    let core = Arc::new(Core {
        metrics: Metrics::default(),
        permits: Permits::new(config.max_concurrent),
        words: Words::default(),
        retention_changed: Notify::new(),
        polls: watch::Sender::new(0),
        config: ArcSwap::from_pointee(config),
        parts,
    });
    let lanes = lanes::run(Arc::clone(&core), jobs.clone(), shutdown.clone());
    jobs.spawn(roster::named("poller", lanes));
    let wishes = follow_wishes(Arc::clone(&core), shutdown.clone());
    jobs.spawn(roster::named("poll wishes", wishes));
    let strays = housekeeping::strays(Arc::clone(&core), shutdown.clone());
    jobs.spawn(roster::named("stray tasks", strays));
    let retention = housekeeping::retention(Arc::clone(&core), shutdown.clone());
    jobs.spawn(roster::named("task retention", retention));
    Arc::new(Poller(core))
}

/// What is wished on any node reaches all.
async fn follow_wishes(core: Arc<Core>, shutdown: CancellationToken) {
    let mut wishes = core.parts.live.polls();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            wished = wishes.changed() => match wished {
                Ok(()) => core.poll_now(),
                Err(_) => return,
            }
        }
    }
}

impl Core {
    fn poll_now(&self) {
        self.polls.send_modify(|count| *count += 1);
    }
}

impl Poller {
    pub(crate) fn poll_now(&self) {
        self.0.poll_now();
    }

    pub(crate) fn configure(&self, config: TasksConfig) {
        let config = Arc::new(config);
        let before = self.0.config.swap(Arc::clone(&config));
        self.0.permits.set(config.max_concurrent);
        if before.poll_interval_ms != config.poll_interval_ms {
            // Who sleeps through the old interval sleeps through the new one from here.
            self.0.poll_now();
        }
        if before.retention_days != config.retention_days {
            self.0.retention_changed.notify_one();
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        self.0.metrics.register(registry);
    }
}
