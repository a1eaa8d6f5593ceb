//! Polls upstreams about their tasks.
//!
//! Work is split into *lanes*: a lane is one model of one channel. Nodes share the lanes through
//! leases ([`lease`], [`lanes`]). One job per lane passes over all its unfinished tasks in every
//! interval ([`sweep`]), a page at a time ([`page`]), in requests about tasks of one owner's key
//! ([`poll_request`]). From the replies ([`upstream::task_reply`]) changes are applied ([`apply`]).
//! The resources that one lane may use are limited ([`permits`]), most of all while its upstream
//! times out.
//!
//! Between passes a lane keeps where it was aborted and a few tasks that break requests; everything
//! else is in the database. So memory does not grow with the number of tasks, and a node can die at
//! any moment: what it had not written is polled again.

mod apply;
mod count;
mod housekeeping;
mod lanes;
mod lease;
mod metrics;
mod page;
mod permits;
mod poll_request;
mod report;
mod semaphore;
mod suspects;
mod sweep;
mod words;

use crate::{Parts, TasksConfig};
use arc_swap::ArcSwap;
use count::CountPauses;
use domain::UnixMs;
use metrics::Metrics;
use permits::Permits;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use words::Words;

/// A task whose upstream doesn't reply at all is failed this many intervals past its lifetime.
const GRACE_INTERVALS: u64 = 3;

/// State shared by the jobs of the poller.
struct Core {
    config: ArcSwap<TasksConfig>,
    parts: Parts,
    metrics: Metrics,
    permits: Permits,
    words: Words,
    /// When the poller began, by a clock that does not jump and by the one that tasks are dated by.
    began: (Instant, UnixMs),
    /// The retention of ended tasks has changed.
    retention_changed: Notify,
    /// Counts the requests to poll everything now.
    polls: watch::Sender<u64>,
    count_pauses: CountPauses,
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
        permits: Permits::new(config.max_concurrent, config.max_ends),
        words: Words::default(),
        began: (Instant::now(), parts.clock.now()),
        retention_changed: Notify::new(),
        polls: watch::Sender::new(0),
        count_pauses: CountPauses::default(),
        config: ArcSwap::from_pointee(config),
        parts,
    });
    let lanes = lanes::run(Arc::clone(&core), jobs.clone(), shutdown.clone());
    jobs.spawn(roster::named("poller", lanes));
    let requests = follow_poll_requests(Arc::clone(&core), shutdown.clone());
    jobs.spawn(roster::named("poll requests", requests));
    let strays = housekeeping::strays(Arc::clone(&core), shutdown.clone());
    jobs.spawn(roster::named("stray tasks", strays));
    let retention = housekeeping::retention(Arc::clone(&core), shutdown.clone());
    jobs.spawn(roster::named("task retention", retention));
    Arc::new(Poller(core))
}

/// A request on any node reaches all nodes.
async fn follow_poll_requests(core: Arc<Core>, shutdown: CancellationToken) {
    let mut requests = core.parts.live.polls();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = requests.changed() => match changed {
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

    /// How old a task is. A clock that jumps forward makes no task older than it can be: it would
    /// be given up, and paid back, while its upstream works on it.
    fn age_ms(&self, lifetime_from: UnixMs, now: UnixMs) -> i64 {
        let (began, began_at) = self.began;
        let passed_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        now.min(began_at.plus_ms(passed_ms)).since_ms(lifetime_from)
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
            // A job that sleeps through the old interval starts the new one from here.
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
