//! The lanes of this node: a round looks after the leases, and one job for each lane asks.

use super::lease::{self, LANES_MAX, Leases, PollLane};
use super::sweep::{self, Memory};
use super::{Core, GRACE_INTERVALS};
use domain::TaskStatus;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use store::StoreError;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Rounds in each interval: a lane that lapses is found within a third of it.
const ROUNDS: u64 = 3;
const ROUND_MIN_MS: u64 = 250;
const ROUND_MAX_MS: u64 = 10_000;
/// A lease is as long as the interval, and at least this.
const LEASE_MIN_MS: u64 = 1_000;
/// Counting the tasks may take this part of the time.
const COUNT_PART: u32 = 20;
const COUNT_PAUSE: Duration = Duration::from_secs(2);

/// A lane that this node asks about.
struct Held {
    stop: CancellationToken,
    job: JoinHandle<()>,
}

/// All of them.
struct Lanes {
    core: Arc<Core>,
    jobs: TaskTracker,
    shutdown: CancellationToken,
    held: HashMap<PollLane, Held>,
    /// Until when the leases are ours, as far as we know.
    sure_until: Instant,
    count_at: Instant,
}

/// Looks after the lanes until the end, and gives them back then.
pub(super) async fn run(core: Arc<Core>, jobs: TaskTracker, shutdown: CancellationToken) {
    let now = Instant::now();
    let mut lanes = Lanes {
        jobs,
        held: HashMap::new(),
        sure_until: now,
        count_at: now,
        shutdown: shutdown.clone(),
        core: Arc::clone(&core),
    };
    if let Err(error) = lease::clear_dead(&core.parts.db).await {
        tracing::warn!(target: "custompass", event = "task_leases_failed", %error);
    }
    let mut polls = core.polls.subscribe();
    while !shutdown.is_cancelled() {
        let interval_ms = core.config.load().poll_interval_ms;
        let round_ms = (interval_ms / ROUNDS).clamp(ROUND_MIN_MS, ROUND_MAX_MS);
        let next = Instant::now() + Duration::from_millis(round_ms);
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = lanes.round() => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = sleep_until(next) => {}
            // Lanes that are new are asked about now, too.
            _ = polls.changed() => {}
        }
    }
    for (_, held) in lanes.held.drain() {
        held.stop.cancel();
        let _ = held.job.await;
    }
    if let Err(error) = lease::leave(&core.parts.db, core.parts.node_id).await {
        tracing::warn!(target: "custompass", event = "task_leases_failed", %error);
    }
}

impl Lanes {
    async fn round(&mut self) {
        if let Err(error) = self.lease().await {
            tracing::warn!(target: "custompass", event = "task_leases_failed", %error);
            if Instant::now() >= self.sure_until {
                // Others may have taken them.
                self.keep_only(&HashSet::new());
            }
        }
        let channels = self.held.keys().map(|lane| lane.channel_id).collect();
        self.core.permits.keep(&channels);
        self.core.permits.split_among(self.held.len());
        self.core.metrics.lanes.set(i64::try_from(self.held.len()).unwrap_or(i64::MAX));
        if Instant::now() >= self.count_at {
            let began = Instant::now();
            if let Err(error) = count(&self.core).await {
                tracing::debug!(%error, "unfinished tasks can't be counted");
            }
            self.count_at = Instant::now() + COUNT_PAUSE.max(began.elapsed() * COUNT_PART);
        }
    }

    /// Renews, takes and gives back.
    async fn lease(&mut self) -> Result<(), StoreError> {
        let core = Arc::clone(&self.core);
        let (db, me) = (&core.parts.db, core.parts.node_id);
        let lease_ms = core.config.load().poll_interval_ms.max(LEASE_MIN_MS);
        let (now, began) = (core.parts.clock.now(), Instant::now());
        let until = now.plus_ms(i64::try_from(lease_ms).unwrap_or(i64::MAX));
        let leases = lease::renew(db, me, now, until).await?;
        self.sure_until = began + Duration::from_millis(lease_ms);
        let wanted = lease::wanted(db).await?;
        if wanted.len() >= LANES_MAX {
            tracing::warn!(target: "custompass", event = "too_many_task_lanes", most = LANES_MAX);
        }
        let plan = lease::plan(me, &wanted, &leases);
        let taken = lease::take(db, me, &plan.take, now, until).await?;
        let mine = mine(&leases, me, &wanted, &plan.give, taken);
        // Nobody asks any more before somebody else may begin.
        for stopped in self.keep_only(&mine) {
            let _ = stopped.await;
        }
        lease::give(db, me, &plan.give).await?;
        for lane in mine {
            self.ask_about(lane);
        }
        Ok(())
    }

    /// Stops asking about all others. Answers what has to come to its end for that.
    fn keep_only(&mut self, mine: &HashSet<PollLane>) -> Vec<JoinHandle<()>> {
        let others = self.held.extract_if(|lane, _| !mine.contains(lane));
        others
            .map(|(_, held)| {
                held.stop.cancel();
                held.job
            })
            .collect()
    }

    /// Asks about a lane from now on. A job that has died is replaced.
    fn ask_about(&mut self, lane: PollLane) {
        if self.held.get(&lane).is_some_and(|held| !held.job.is_finished()) {
            return;
        }
        let stop = self.shutdown.child_token();
        let polls = self.core.polls.subscribe();
        let asking = ask(Arc::clone(&self.core), lane.clone(), polls, stop.clone());
        let job = self.jobs.spawn(roster::named("poller lane", asking));
        self.held.insert(lane, Held { stop, job });
    }
}

fn mine(
    leases: &Leases,
    me: domain::NodeId,
    wanted: &BTreeSet<PollLane>,
    given: &[PollLane],
    taken: HashSet<PollLane>,
) -> HashSet<PollLane> {
    let kept = wanted.iter().filter(|lane| leases.of.get(*lane) == Some(&me));
    let mut mine = taken;
    mine.extend(kept.filter(|lane| !given.contains(lane)).cloned());
    mine
}

/// Asks about a lane, once in every interval and whenever somebody wishes, until `stop`.
async fn ask(
    core: Arc<Core>,
    lane: PollLane,
    mut polls: watch::Receiver<u64>,
    stop: CancellationToken,
) {
    let mut memory = Memory::new(core.parts.clock.now());
    let mut due = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep_until(due) => {}
            _ = polls.changed() => due = Instant::now(),
        }
        let began = Instant::now();
        tokio::select! {
            () = stop.cancelled() => return,
            () = Box::pin(sweep::run(&core, &lane, &mut memory, due)) => {}
        }
        due = began + Duration::from_millis(core.config.load().poll_interval_ms);
    }
}

async fn count(core: &Core) -> Result<(), StoreError> {
    let sql = "SELECT status, count(*) AS tasks FROM tasks
               WHERE platform = 'custompass' AND status IN ('submitted', 'processing', 'unknown')
               GROUP BY status";
    let rows = core.parts.db.read(sql, &[]).await?;
    let mut counts = HashMap::new();
    for row in &rows {
        counts.insert(row.get::<String>("status")?, row.get::<i64>("tasks")?);
    }
    for status in TaskStatus::UNFINISHED {
        core.metrics.in_queue(status, counts.get(status.word()).copied().unwrap_or(0));
    }
    Ok(())
}

/// Leases lapse before a task is given up for want of an answer.
const _: () = assert!(GRACE_INTERVALS > 1);
