//! Applies replies: most tasks are unchanged; for some, a few columns change, in one statement for
//! all of them; and some end, with their money.

use super::page::Waiting;
use super::poll_request::{LARGE_REPLY, PollAnswer, PollFailure, PollQuestion, PollTarget};
use super::report::{Report, read_by_rules};
use super::{Core, count, lease::PollLane};
use domain::{TaskStatus, UnixMs, task_status};
use futures_util::future::join_all;
use http::StatusCode;
use ledger::{Charge, TaskEnd, TaskRef};
use std::borrow::Cow;
use std::sync::Arc;
use store::tasks::TaskChange;
use store::{Channel, TASK_DATA};
use upstream::task_reply::{Odd, RequestedIds, read_reply};

/// A task that ends.
pub(super) struct End<'t> {
    pub(super) task: &'t Waiting,
    pub(super) charge: Charge,
    pub(super) end: TaskEnd,
}

/// What a reply reports about the tasks of a request.
struct News<'t> {
    changes: Vec<TaskChange>,
    ends: Vec<End<'t>>,
    bad_usage: usize,
    /// How many bytes may still be kept of the reply.
    room: usize,
    /// Tasks that did not fit, by their places.
    put_off: Vec<usize>,
}

impl News<'_> {
    fn new(room: usize) -> Self {
        Self { changes: Vec::new(), ends: Vec::new(), bad_usage: 0, room, put_off: Vec::new() }
    }

    /// Whether a report of this size is applied now. The first always is.
    fn takes(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.room || self.changes.is_empty() && self.ends.is_empty();
        self.room = self.room.saturating_sub(bytes);
        fits
    }
}

/// Applies what is new in the reply.
///
/// What is kept is written some at a time: on its way into the database it is copied more than
/// once, and tasks that have one id keep the same element each, which may be many times the reply.
///
/// # Errors
/// When the reply can't be used.
pub(super) async fn reply(
    core: &Core,
    (lane, target): (&PollLane, &PollTarget),
    question: PollQuestion<'_>,
    answer: PollAnswer<'_>,
) -> Result<(), PollFailure> {
    let tasks = question.tasks;
    let _turn = match answer.body.len() > LARGE_REPLY {
        true => core.permits.large_applied.acquire().await.ok(),
        false => None,
    };
    let now = core.parts.clock.now();
    let mut tasks = Cow::Borrowed(tasks);
    loop {
        let (news, odd) = read(core, target, &tasks, (&answer.body, now))?;
        let News { changes, ends, bad_usage, put_off, .. } = news;
        // A later round is about some of the tasks: the others' elements are not odd.
        if (matches!(tasks, Cow::Borrowed(_)) && odd.any()) || bad_usage > 0 {
            let Odd { malformed, strangers, duplicates, missing } = odd;
            tracing::warn!(
                target: "custompass", event = "poll_reply_odd", channel_id = lane.channel_id.0,
                model = &*lane.action, task_count = tasks.len(), malformed, strangers, duplicates,
                missing, bad_usage,
            );
        }
        write(core, lane, changes, now).await;
        let ends = count::counted(core, target, question, ends).await;
        finish(core, lane, ends).await;
        if put_off.is_empty() {
            return Ok(());
        }
        tasks = Cow::Owned(put_off.into_iter().map(|place| tasks[place].clone()).collect());
    }
}

fn read<'t>(
    core: &Core,
    target: &PollTarget,
    tasks: &'t [Waiting],
    (body, now): (&[u8], UnixMs),
) -> Result<(News<'t>, Odd), PollFailure> {
    let channel: &Channel = &target.prepared.channel;
    let words = channel.status_words.as_ref();
    let mut news = News::new(LARGE_REPLY);
    // Ended now, or when what comes before it is written.
    let mut ended = vec![false; tasks.len()];
    let mut apply = |place: usize, status: TaskStatus, report: &dyn Report| {
        let task = &tasks[place];
        let fingerprint = report.fingerprint();
        // The same word may map to another status by now: its list was edited.
        let same = fingerprint == task.fingerprint && status == task.status;
        let is_news = status.is_final() || !same && !is_overdue(core, Some(target), task, now);
        if is_news && !news.takes(report.kept().len()) {
            ended[place] = true;
            news.put_off.push(place);
            return;
        }
        if status.is_final() {
            ended[place] = true;
            let (of, said) = ((task, channel), (status, report));
            news.ends.push(ended_by_reply(core, of, said, &mut news.bad_usage));
            return;
        }
        if status == TaskStatus::Unknown {
            core.metrics.unknown_words.inc();
            core.words.note(channel.id, report.word());
        }
        if is_news {
            news.changes.extend(changed(core, task, (status, report), fingerprint));
        }
    };
    let unusable = |why: String| PollFailure::Unusable(why);
    let odd = match target.rules(tasks.first().map_or("", |task| &task.path))? {
        None => {
            let requested: RequestedIds<'_> =
                tasks.iter().map(|task| task.task_id.as_str()).collect();
            read_reply(body, &requested, |place, element| {
                let usual = &core.config.load().status_words;
                apply(place, task_status(element.raw_status(), words, usual), element);
            })
            .map_err(|error| unusable(error.to_string()))?
        }
        Some(rules) => {
            let links = tasks.first().map_or(&[][..], |task| target.links(task));
            read_by_rules((rules, links), body, tasks, |place, report| {
                apply(place, report.status(words), report);
            })
            .map_err(|error| unusable(error.to_owned()))?
        }
    };
    for (task, _) in tasks.iter().zip(ended).filter(|(_, ended)| !ended) {
        if is_overdue(core, Some(target), task, now) {
            news.ends.push(End::of_age(task, true));
        }
    }
    Ok((news, odd))
}

fn changed(
    core: &Core,
    task: &Waiting,
    (status, report): (TaskStatus, &dyn Report),
    fingerprint: i64,
) -> Option<TaskChange> {
    Some(TaskChange {
        id: task.place.id,
        version: task.version,
        status,
        upstream_status: report.word(),
        progress: report.progress(),
        data: sealed(core, report)?,
        fingerprint,
    })
}

fn sealed(core: &Core, report: &dyn Report) -> Option<String> {
    let sealed = core.parts.sealer.seal(TASK_DATA, report.kept().as_bytes());
    sealed
        .inspect_err(|error| {
            tracing::warn!(target: "custompass", event = "task_reply_not_kept", %error);
        })
        .ok()
}

fn ended_by_reply<'t>(
    core: &Core,
    (task, channel): (&'t Waiting, &Channel),
    (status, report): (TaskStatus, &dyn Report),
    bad_usage: &mut usize,
) -> End<'t> {
    let (charge, fail_reason) = if status == TaskStatus::Completed && report.made_nothing() {
        (Charge::Nothing("upstream_empty"), String::new())
    } else if status == TaskStatus::Completed {
        let usage = report.usage(channel).unwrap_or_else(|_| {
            // Usage that can't be billed is replaced by the amount held.
            *bad_usage += 1;
            None
        });
        (Charge::Price(usage), String::new())
    } else {
        (Charge::Nothing("upstream_failed"), report.reason())
    };
    let end = TaskEnd {
        status,
        upstream_status: Some(report.word()),
        progress: Some(report.progress()),
        fail_reason,
        data: sealed(core, report).map(Arc::from),
        fingerprint: Some(report.fingerprint()),
    };
    End { task, charge, end }
}

impl<'t> End<'t> {
    fn of_age(task: &'t Waiting, answered: bool) -> Self {
        let reason = if answered {
            "任务超过最长时限仍未完成 (the task was not finished within its lifetime)"
        } else {
            "任务超过最长时限, 上游没有应答 \
             (the task outlived its lifetime, and the upstream does not answer)"
        };
        Self { task, charge: Charge::Nothing("lifetime"), end: TaskEnd::failed(reason) }
    }
}

pub(super) fn is_overdue(
    core: &Core,
    target: Option<&PollTarget>,
    task: &Waiting,
    now: UnixMs,
) -> bool {
    core.age_ms(task.lifetime_from, now) > lifetime_ms(core, target, task)
}

/// How long a task may take: what its document says, if that is longer than all may.
fn lifetime_ms(core: &Core, target: Option<&PollTarget>, task: &Waiting) -> i64 {
    let rules = target.and_then(|target| target.rules(&task.path).ok().flatten());
    let own = rules.and_then(|rules| rules.lifetime_ms).unwrap_or(0);
    i64::try_from(core.config.load().max_lifetime_ms.max(own)).unwrap_or(i64::MAX)
}

/// Fails those of these tasks that are too old, after a request about them without a report: at
/// once where the upstream has replied at all; else after some more intervals. These are counted
/// from when this node began to poll: after a long stop no task is failed because the upstream
/// happens to be unavailable at that very moment.
pub(super) async fn end_overdue(
    core: &Core,
    (lane, target): (&PollLane, Option<&PollTarget>),
    asking_since: UnixMs,
    tasks: &[Waiting],
    answered: bool,
) {
    let now = core.parts.clock.now();
    let grace_ms = core.config.load().poll_interval_ms.saturating_mul(super::GRACE_INTERVALS);
    let grace_ms = i64::try_from(grace_ms).unwrap_or(i64::MAX);
    let given_up = |task: &&Waiting| {
        let most = lifetime_ms(core, target, task).saturating_add(grace_ms);
        core.age_ms(task.lifetime_from, now) > most && now.since_ms(asking_since) > grace_ms
    };
    let ends = tasks.iter().filter(|task| match answered {
        true => is_overdue(core, target, task, now),
        false => given_up(task),
    });
    finish(core, lane, ends.map(|task| End::of_age(task, answered)).collect()).await;
}

/// Whether a status says of the one task asked about that it is gone, because it was cancelled.
pub(super) fn is_gone(target: &PollTarget, tasks: &[Waiting], status: StatusCode) -> bool {
    let [task] = tasks else { return false };
    let rules = || target.rules(&task.path).ok().flatten();
    task.is_cancelled && rules().is_some_and(|rules| rules.gone.contains(&status.as_u16()))
}

/// Ends tasks that were cancelled, and that their upstream does not know any more.
pub(super) async fn end_cancelled(core: &Core, lane: &PollLane, tasks: &[Waiting]) {
    let end = || TaskEnd::failed("任务已取消 (the task was cancelled)");
    let charge = || Charge::Nothing("cancelled");
    let ends = tasks.iter().map(|task| End { task, charge: charge(), end: end() });
    finish(core, lane, ends.collect()).await;
}

/// Writes the changes together.
async fn write(core: &Core, lane: &PollLane, changes: Vec<TaskChange>, now: UnixMs) {
    if changes.is_empty() {
        return;
    }
    let _turn = core.permits.statements.acquire().await;
    let task_count = changes.len();
    if let Err(error) = store::tasks::apply_changes(&core.parts.db, changes, now).await {
        tracing::warn!(
            target: "custompass", event = "task_changes_lost", channel_id = lane.channel_id.0,
            model = &*lane.action, task_count, %error,
        );
    }
}

/// Ends tasks with their money. Together, so that they share the ledger's commits.
async fn finish(core: &Core, lane: &PollLane, ends: Vec<End<'_>>) {
    join_all(ends.into_iter().map(|end| finish_one(core, lane, end))).await;
}

async fn finish_one(core: &Core, lane: &PollLane, End { task, charge, end }: End<'_>) {
    let _turn = core.permits.ends.acquire().await;
    let place = TaskRef {
        uid: task.uid,
        user_id: task.user_id,
        channel_id: Some(lane.channel_id),
        since: task.since,
    };
    let status = end.status;
    match core.parts.ledger.finish_task(&place, charge, end).await {
        Ok(finished) if finished.repeated => {}
        Ok(finished) => tracing::info!(
            target: "custompass", event = "task_finished", user_id = task.user_id.0,
            channel_id = lane.channel_id.0, model = &*lane.action, task_id = task.task_id,
            status = status.as_str(), quota = finished.charged.0, request_id = task.request_id,
        ),
        // It is still unfinished, so it is polled and ended again.
        Err(error) => tracing::warn!(
            target: "custompass", event = "task_not_finished", user_id = task.user_id.0,
            channel_id = lane.channel_id.0, model = &*lane.action, task_id = task.task_id,
            status = status.as_str(), request_id = task.request_id, %error,
        ),
    }
}
