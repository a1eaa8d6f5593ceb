//! The lanes of this node: a round renews the leases, and one job per lane polls.

use super::lease::{self, LANES_MAX, Leases, PollLane};
use super::metrics::UNREADABLE;
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

/// Rounds per interval: a lane whose lease has expired is found within a third of it.
const ROUNDS: u64 = 3;
const ROUND_MIN_MS: u64 = 250;
const ROUND_MAX_MS: u64 = 10_000;
/// A lease is as long as the interval, and at least this.
const LEASE_MIN_MS: u64 = 1_000;
/// The part of the time that counting the tasks may take.
const COUNT_PART: u32 = 20;
const COUNT_PAUSE: Duration = Duration::from_secs(2);
/// How often a pass is noted that went as the one before.
const NOTE_PAUSE: Duration = Duration::from_secs(5);
/// The most that is noted of an error.
const ERROR_MAX_CHARS: usize = 300;

/// A lane that this node polls.
struct Held {
    stop: CancellationToken,
    job: JoinHandle<()>,
}

/// All lanes of this node.
struct Lanes {
    core: Arc<Core>,
    jobs: TaskTracker,
    shutdown: CancellationToken,
    held: HashMap<PollLane, Held>,
    /// Until when the leases are this node's, as far as it knows.
    sure_until: Instant,
    count_at: Instant,
}

/// Manages the lanes until the end, and then gives them back.
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
            // New lanes are polled now, too.
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
                // Other nodes may have taken them.
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

    /// Renews, takes and gives back leases.
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
        // The old job must have stopped before another node may start.
        for stopped in self.keep_only(&mine) {
            let _ = stopped.await;
        }
        lease::give(db, me, &plan.give).await?;
        for lane in mine {
            self.start_polling(lane);
        }
        Ok(())
    }

    /// Stops polling all other lanes. Returns the jobs that have to finish for that.
    fn keep_only(&mut self, mine: &HashSet<PollLane>) -> Vec<JoinHandle<()>> {
        let others = self.held.extract_if(|lane, _| !mine.contains(lane));
        others
            .map(|(_, held)| {
                held.stop.cancel();
                held.job
            })
            .collect()
    }

    /// Starts polling a lane. A job that has died is replaced.
    fn start_polling(&mut self, lane: PollLane) {
        if self.held.get(&lane).is_some_and(|held| !held.job.is_finished()) {
            return;
        }
        let stop = self.shutdown.child_token();
        let polls = self.core.polls.subscribe();
        let polling = poll(Arc::clone(&self.core), lane.clone(), polls, stop.clone());
        let job = self.jobs.spawn(roster::named("poller lane", polling));
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

/// Polls a lane, once per interval and on request, until `stop`.
async fn poll(
    core: Arc<Core>,
    lane: PollLane,
    mut polls: watch::Receiver<u64>,
    stop: CancellationToken,
) {
    let mut memory = Memory::new(core.parts.clock.now());
    let mut noted: Option<(Instant, String)> = None;
    let mut due = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep_until(due) => {}
            _ = polls.changed() => due = Instant::now(),
        }
        let began = Instant::now();
        let failure = tokio::select! {
            () = stop.cancelled() => return,
            failure = Box::pin(sweep::run(&core, &lane, &mut memory, due)) => failure,
        };
        due = began + Duration::from_millis(core.config.load().poll_interval_ms);
        let error: String = failure.unwrap_or_default().chars().take(ERROR_MAX_CHARS).collect();
        let is_news = noted
            .as_ref()
            .is_none_or(|(at, before)| began.duration_since(*at) >= NOTE_PAUSE || *before != error);
        if is_news {
            note(&core, &lane, due, &error).await;
            noted = Some((began, error));
        }
    }
}

/// Writes down how a pass went, for those who look at a task.
async fn note(core: &Core, lane: &PollLane, due: Instant, error: &str) {
    let now = core.parts.clock.now();
    let wait = due.saturating_duration_since(Instant::now()).as_millis();
    let next = now.plus_ms(i64::try_from(wait).unwrap_or(i64::MAX));
    let noted = lease::note(&core.parts.db, core.parts.node_id, lane, (now, next), error).await;
    if let Err(error) = noted {
        tracing::debug!(%error, "a pass over tasks can't be noted");
    }
}

async fn count(core: &Core) -> Result<(), StoreError> {
    let sql = "SELECT CASE WHEN task_id = '' AND submit_time IS NOT NULL THEN 'unreadable'
                           ELSE status END AS status, count(*) AS tasks FROM tasks
               WHERE platform = 'custompass' AND status IN ('submitted', 'processing', 'unknown')
               GROUP BY 1";
    let rows = core.parts.db.read(sql, &[]).await?;
    let mut counts = HashMap::new();
    for row in &rows {
        counts.insert(row.get::<String>("status")?, row.get::<i64>("tasks")?);
    }
    for status in TaskStatus::UNFINISHED.map(TaskStatus::as_str).into_iter().chain([UNREADABLE]) {
        core.metrics.in_queue(status, counts.get(status).copied().unwrap_or(0));
    }
    Ok(())
}

/// Leases expire before a task is failed for lack of a reply.
const _: () = assert!(GRACE_INTERVALS > 1);
