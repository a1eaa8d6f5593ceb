//! Counts the use of tasks whose report does not say it: in lines that are fetched once they are
//! done, such as the results of a batch. They pass, and are not kept.

use super::Core;
use super::apply::{End, is_overdue};
use super::poll_request::{PollFailure, PollQuestion, PollTarget, unreadable};
use super::report::usage_of;
use domain::{Meter, Meters, TaskStatus, TaskUid};
use http_body_util::BodyExt;
use ledger::Charge;
use protocol::TaskCount;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use upstream::{Deadlines, Decoded};

/// How long all lines may take.
const TOTAL_MS: u64 = 15 * 60 * 1000;
/// More are not read.
const MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Tasks whose use could not be counted and that are remembered for a pause.
const MAX_PAUSED: usize = 10_000;
/// The longest pause before lines are fetched again, in ms.
const MAX_PAUSE_MS: u64 = 60 * 60 * 1000;

/// When the lines of tasks are fetched again that could not be counted: after twice as long each
/// time, because they may be long. Kept by this node alone, and forgotten where there are too many.
#[derive(Debug, Default)]
pub(super) struct CountPauses(Mutex<HashMap<TaskUid, CountPause>>);

#[derive(Clone, Copy, Debug)]
struct CountPause {
    tries: u32,
    until: Instant,
    /// The number of requests to poll at once that had come: one more ends the pause.
    polls: u64,
}

impl CountPauses {
    fn lasts(&self, uid: TaskUid, polls: u64) -> bool {
        let paused = self.lock().get(&uid).copied();
        paused.is_some_and(|pause| pause.polls == polls && Instant::now() < pause.until)
    }

    fn begin(&self, uid: TaskUid, polls: u64, interval_ms: u64) {
        let mut paused = self.lock();
        if paused.len() >= MAX_PAUSED {
            paused.clear();
        }
        let tries = paused.get(&uid).map_or(0, |pause| pause.tries);
        let pause_ms = interval_ms.saturating_mul(1 << tries.min(16)).min(MAX_PAUSE_MS);
        let until = Instant::now() + Duration::from_millis(pause_ms);
        paused.insert(uid, CountPause { tries: tries + 1, until, polls });
    }

    fn end(&self, uid: TaskUid) {
        self.lock().remove(&uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TaskUid, CountPause>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why lines could not be counted, and what could be read of them.
struct Uncounted {
    failure: PollFailure,
    read: Option<Meters>,
}

impl<E: Into<PollFailure>> From<E> for Uncounted {
    fn from(failure: E) -> Self {
        Self { failure: failure.into(), read: None }
    }
}

/// The ends of tasks, with their use. One whose use can't be counted is left for a later pass; at
/// the end of its lifetime it is charged what could be read, or else what it holds.
pub(super) async fn counted<'t>(
    core: &Core,
    target: &PollTarget,
    question: PollQuestion<'_>,
    ends: Vec<End<'t>>,
) -> Vec<End<'t>> {
    let mut counted = Vec::with_capacity(ends.len());
    for mut end in ends {
        let rules = target.rules(&end.task.path).ok().flatten();
        let count = rules.and_then(|rules| rules.count.as_ref());
        if let Some(count) = count.filter(|_| end.end.status == TaskStatus::Completed) {
            let (uid, polls) = (end.task.uid, *core.polls.borrow());
            let is_last = is_overdue(core, Some(target), end.task, core.parts.clock.now());
            if core.count_pauses.lasts(uid, polls) && !is_last {
                continue;
            }
            end.charge = match use_of(core, target, (question, &end), count).await {
                Ok(meters) => Charge::Price(Some(usage_of(&meters))),
                Err(Uncounted { failure, read }) => {
                    tracing::warn!(
                        target: "custompass", event = "task_not_counted",
                        channel_id = target.prepared.channel.id.0, task_id = end.task.task_id,
                        request_id = end.task.request_id, is_last, error = failure.error(),
                    );
                    if !is_last {
                        let interval_ms = core.config.load().poll_interval_ms;
                        core.count_pauses.begin(uid, polls, interval_ms);
                        continue;
                    }
                    Charge::Price(read.map(|meters| usage_of(&meters)))
                }
            };
            core.count_pauses.end(uid);
        }
        counted.push(end);
    }
    counted
}

/// What all lines count together.
async fn use_of(
    core: &Core,
    target: &PollTarget,
    (question, end): (PollQuestion<'_>, &End<'_>),
    count: &TaskCount,
) -> Result<Meters, Uncounted> {
    let path = upstream::encode_path(&end.task.path);
    let path = count.request.path_for(&end.task.task_id, target.model(), &path);
    let call = (&*count.request.method, &*path);
    let request = target.request(call, question.owner, core.parts.clock.now())?;
    let deadlines = Deadlines { total_ms: TOTAL_MS, ..target.deadlines() };
    let reply = request.send(core, target, &deadlines).await?;
    if !reply.status.is_success() {
        return Err(PollFailure::Status(reply.status).into());
    }
    let mut reader = Decoded::up_to(&reply.headers, count.reader(), MAX_BYTES);
    let (mut body, mut length) = (reply.body, 0_u64);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        length = length.saturating_add(data.len() as u64);
        if length > MAX_BYTES {
            return Err(PollFailure::TooLarge.into());
        }
        reader.feed(&data);
        if let Some(why) = reader.unreadable() {
            return Err(unreadable(why).into());
        }
    }
    let reader = reader.finish().map_err(unreadable)?;
    let read = reader.ok_or_else(|| unreadable("nothing came"))?.finish();
    let why = match &read.fault {
        // A batch has at least one request, of which there is a line.
        _ if read.documents == 0 => "no lines".to_owned(),
        _ if !read.well_formed => "not lines of JSON".to_owned(),
        Some(fault) => match target.shows_key(&fault.text) {
            true => format!("{} is no count", fault.meter),
            false => format!("{} is {}", fault.meter, fault.text),
        },
        None => return Ok(or_nothing(&read.meters)),
    };
    let failure = PollFailure::Unusable(why);
    Err(Uncounted { failure, read: read.meters.usage().map(|_| read.meters) })
}

/// Lines that count nothing say that nothing was used.
fn or_nothing(meters: &Meters) -> Meters {
    let mut meters = *meters;
    if meters.usage().is_none() {
        meters.set(Meter::Input, 0);
    }
    meters
}
