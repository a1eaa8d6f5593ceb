//! One pass over a lane: polls every unfinished task of one model of one channel.

use super::lease::PollLane;
use super::page::{self, PagePlace, Round, Waiting};
use super::poll_request::{self, PollFailure, PollQuestion, PollTarget};
use super::suspects::Suspects;
use super::{Core, apply};
use domain::UnixMs;
use egress::CallerKey;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use http::HeaderValue;
use std::sync::Arc;
use store::TOKEN_KEY;
use tokio::time::Instant;
use web::Seconds;

/// Largest page, in rows.
const PAGE_MAX: usize = 2_000;
/// A page holds this many requests for each concurrent one.
const PAGE_QUESTIONS: usize = 4;
/// After this many consecutive time-outs, a pass is aborted.
const HANGS_MAX: usize = 3;
/// Requests that one pass may spend on finding a task that breaks its requests: enough to find one
/// among 64.
const HALVES_MAX: usize = 12;
/// After this many single failures, no single task is to blame.
const HALVES_IN_VAIN: usize = 6;
/// Failed requests of one pass that are kept to be split in halves.
const FAILED_MAX: usize = 4;

/// Passes without a reply that is too large before larger batches are tried.
const CALM_PASSES: u32 = 20;

/// What a lane keeps between passes.
pub(super) struct Memory {
    /// Since when this node has polled this lane.
    since: UnixMs,
    /// Where the last pass was aborted.
    resume: Option<PagePlace>,
    /// Its last request timed out.
    sick: bool,
    /// Tasks that break requests.
    suspects: Suspects,
    /// The channel as it was last read.
    target: Option<Arc<PollTarget>>,
    /// Questions about more tasks had replies that were too large.
    batch_max: Option<usize>,
    /// Passes since then without such a reply.
    calm_passes: u32,
}

impl Memory {
    pub(super) fn new(since: UnixMs) -> Self {
        let suspects = Suspects::default();
        Self {
            since,
            resume: None,
            sick: false,
            suspects,
            target: None,
            batch_max: None,
            calm_passes: 0,
        }
    }

    /// A reply about so many tasks was too large.
    fn too_many(&mut self, tasks: usize) {
        let half = (tasks / 2).max(1);
        self.calm_passes = 0;
        self.batch_max = Some(self.batch_max.map_or(half, |most| most.min(half)));
    }

    /// A pass had no reply that was too large: slowly back to the usual size, since a try that
    /// fails costs a reply of the largest size.
    fn fits(&mut self, usual: usize) {
        self.calm_passes += 1;
        if self.calm_passes < CALM_PASSES {
            return;
        }
        self.calm_passes = 0;
        let grown = self.batch_max.map(|most| most + (most / 8).max(1));
        self.batch_max = grown.filter(|most| *most < usual);
    }

    fn target(&mut self, core: &Core, lane: &PollLane) -> Result<Arc<PollTarget>, PollFailure> {
        let catalog = core.parts.live.catalog.load();
        let Some(channel) = catalog.channel(lane.channel_id) else {
            self.target = None;
            return Err(PollFailure::Unasked("the channel is gone, or can't be read".to_owned()));
        };
        let last = self.target.as_ref();
        if let Some(last) = last.filter(|last| Arc::ptr_eq(&last.prepared.channel, channel)) {
            return Ok(Arc::clone(last));
        }
        let target = PollTarget::read(core, channel, &lane.action).map_err(|fault| {
            PollFailure::Unasked(format!("{}: {}", fault.en, fault.cause_chain()))
        })?;
        Ok(Arc::clone(self.target.insert(Arc::new(target))))
    }
}

/// Tasks of one owner's key that are polled together.
struct Batch {
    tasks: Vec<Waiting>,
    /// The maximum number of tasks.
    limit: usize,
    owner: Result<CallerKey, PollFailure>,
    /// Its task is a suspect, and polled by itself.
    alone: bool,
}

/// A step of what is under way.
enum Step {
    Polled((Batch, Result<(), PollFailure>)),
    /// Tasks that were too old have ended.
    Ended,
}

/// What is constant during a pass.
struct Pass<'a> {
    core: &'a Core,
    lane: &'a PollLane,
    /// The scheduled start of the pass.
    due: Instant,
    since: UnixMs,
    target: Result<Arc<PollTarget>, PollFailure>,
}

/// The progress of a pass.
#[derive(Default)]
struct Course {
    hangs: usize,
    answers: usize,
    failed: Vec<Batch>,
    /// What the first request that failed said.
    failure: Option<String>,
    numbers: bool,
    /// A reply was too large.
    too_large: bool,
    /// The position up to which everything was polled.
    asked_to: Option<PagePlace>,
}

/// Polls all tasks of a lane. Returns what went wrong first, if anything did.
pub(super) async fn run(
    core: &Core,
    lane: &PollLane,
    memory: &mut Memory,
    due: Instant,
) -> Option<String> {
    let target = memory.target(core, lane);
    let pass = Pass { core, lane, due, since: memory.since, target };
    let mut course = Course::default();
    let mut round = Round::from(memory.resume.take().unwrap_or(PagePlace::FIRST));
    let mut first = true;
    memory.suspects.begin();
    loop {
        let usual = core.config.load().batch_size.max(1);
        let size = memory.batch_max.unwrap_or(usual).min(usual);
        let rows = (size * core.permits.share() * PAGE_QUESTIONS).min(PAGE_MAX).max(size);
        let page = match page::load(core, lane, round.span(), rows).await {
            Ok(page) => page,
            Err(error) => return Some(pass.warn_unread(&error)),
        };
        if std::mem::take(&mut first) {
            let target = pass.target.as_deref().ok();
            course.numbers = page::has_numbers(core, &page, target).await.unwrap_or(false);
        }
        let end = page.last().map(|task| task.place);
        let batches = pass.batches(page, size, &mut memory.suspects);
        pass.ask_all(batches, memory, &mut course).await;
        if course.hangs >= HANGS_MAX {
            memory.resume = course.asked_to;
            return course.failure;
        }
        if !round.advance(end) {
            break;
        }
    }
    pass.ask_in_halves(memory, &mut course).await;
    memory.suspects.end();
    if !course.too_large {
        memory.fits(core.config.load().batch_size.max(1));
    }
    course.failure
}

fn owner_key(core: &Core, sealed: &str, task: &Waiting) -> Result<CallerKey, PollFailure> {
    let unasked = |why: &str| PollFailure::Unasked(format!("the owner's key {why}"));
    let key = core.parts.sealer.open_text(TOKEN_KEY, sealed);
    let key = key.map_err(|error| unasked(&error.to_string()))?;
    let mut value =
        HeaderValue::from_str(key.expose()).map_err(|_| unasked("can't be a header"))?;
    value.set_sensitive(true);
    // Whoever was deleted with plain SQL may have been root.
    let role = task.owner_role.unwrap_or(i64::MAX);
    Ok(CallerKey { value, user_id: task.user_id, role })
}

impl Pass<'_> {
    /// Splits a page into batches. Suspects are polled one by one.
    fn batches(&self, page: Vec<Waiting>, size: usize, suspects: &mut Suspects) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        let mut owner = Err(PollFailure::Unasked(String::new()));
        for mut task in page {
            if let Some(sealed) = task.key_sealed.take() {
                owner = owner_key(self.core, &sealed, &task);
            }
            let alone = suspects.meets(task.place.id);
            // Tasks of a key that was rotated lately were submitted with one secret or the other.
            let mut last = batches.iter_mut().rev().take(2);
            match last.find(|last| !alone && last.takes(&task, &owner)) {
                Some(last) => last.tasks.push(task),
                None => {
                    let target = self.target.as_ref().ok();
                    let limit = target.map_or(size, |it| it.batch_limit(&task.path).min(size));
                    let owner = owner.clone();
                    batches.push(Batch { tasks: vec![task], limit, owner, alone });
                }
            }
        }
        batches
    }

    /// Polls these batches, as many at a time as this lane may, and starts no new ones when too
    /// many time out.
    async fn ask_all(&self, batches: Vec<Batch>, memory: &mut Memory, course: &mut Course) {
        let (mut waiting, mut polling) = (batches.into_iter(), 0);
        let mut under_way: FuturesUnordered<BoxFuture<'_, Step>> = FuturesUnordered::new();
        loop {
            let most = if memory.sick { 1 } else { self.core.permits.share() };
            while polling < most && course.hangs < HANGS_MAX {
                let Some(batch) = waiting.next() else { break };
                course.asked_to = batch.tasks.last().map(|task| task.place);
                let polled = self.poll(batch, memory.sick, course.numbers);
                under_way.push(Box::pin(async { Step::Polled(polled.await) }));
                polling += 1;
            }
            let (batch, polled) = match under_way.next().await {
                Some(Step::Polled(polled)) => polled,
                Some(Step::Ended) => continue,
                None => return,
            };
            polling -= 1;
            // Awaited right here it could wait for ever: the requests under way hold permits that
            // it needs, and are not polled meanwhile.
            if let Some((tasks, answered)) = self.take(batch, polled, memory, course) {
                under_way.push(Box::pin(async move {
                    self.end_overdue(&tasks, answered).await;
                    Step::Ended
                }));
            }
        }
    }

    /// Records the result of a request. Returns the tasks that have had their last request, and
    /// whether it was answered: those that are too old end now.
    fn take(
        &self,
        batch: Batch,
        polled: Result<(), PollFailure>,
        memory: &mut Memory,
        course: &mut Course,
    ) -> Option<(Vec<Waiting>, bool)> {
        let single = (batch.tasks.len() == 1).then(|| batch.tasks[0].place.id);
        let failure = match polled {
            Ok(()) => {
                (memory.sick, course.hangs) = (false, 0);
                course.answers += 1;
                if let Some(id) = single {
                    memory.suspects.acquit(id);
                }
                return None;
            }
            Err(failure) => failure,
        };
        memory.sick = failure.hangs();
        course.hangs = if failure.hangs() { course.hangs + 1 } else { 0 };
        self.warn(&failure, course);
        if failure.is_size() {
            course.too_large = true;
            memory.too_many(batch.tasks.len());
        }
        let halve = failure.may_be_one_task() && single.is_none();
        if halve && course.failed.len() < FAILED_MAX {
            course.failed.push(batch);
            return None;
        }
        if let Some(id) = single.filter(|_| failure.may_be_one_task() && course.answers > 0) {
            memory.suspects.accuse(id);
        }
        Some((batch.tasks, failure.is_answer()))
    }

    /// Repeats the batches that failed as a whole, in halves: the reply may be too large, or the
    /// upstream may fail on one of the tasks. A batch that timed out is only split when others of
    /// this pass were answered.
    async fn ask_in_halves(&self, memory: &mut Memory, course: &mut Course) {
        let mut left = HALVES_MAX;
        let mut queue: std::collections::VecDeque<_> = course.failed.drain(..).collect();
        let mut unanswered = course.answers == 0;
        while let Some(batch) = queue.pop_front() {
            let in_vain = unanswered && left <= HALVES_MAX - HALVES_IN_VAIN;
            if left < 2 || in_vain || course.hangs >= HANGS_MAX || memory.sick && unanswered {
                self.end_overdue(&batch.tasks, !memory.sick).await;
                continue;
            }
            for half in batch.halves() {
                left -= 1;
                let (half, polled) = Box::pin(self.poll(half, memory.sick, course.numbers)).await;
                unanswered &= polled.is_err();
                if let Some((tasks, answered)) = self.take(half, polled, memory, course) {
                    self.end_overdue(&tasks, answered).await;
                }
            }
            queue.extend(course.failed.drain(..));
        }
    }

    /// Polls a batch, and applies the reply.
    async fn poll(
        &self,
        batch: Batch,
        sick: bool,
        numbers: bool,
    ) -> (Batch, Result<(), PollFailure>) {
        let polled = self.request(&batch, sick, numbers).await;
        let result = polled.as_ref().map_or_else(PollFailure::label, |()| "ok");
        self.core.metrics.answered(result);
        (batch, polled)
    }

    async fn request(&self, batch: &Batch, sick: bool, numbers: bool) -> Result<(), PollFailure> {
        let target = self.target.as_ref().map_err(Clone::clone)?;
        let owner = batch.owner.as_ref().map_err(Clone::clone)?;
        let channel = &target.prepared.channel;
        let permit = self.core.permits.acquire(channel, sick).await;
        let began = Instant::now();
        self.core.metrics.polled(began.saturating_duration_since(self.due));
        let question = PollQuestion { tasks: &batch.tasks, owner, numbers };
        let answer = poll_request::send(self.core, target, question).await;
        drop(permit);
        tracing::debug!(
            target: "custompass", event = "polling_tasks", channel_id = channel.id.0,
            model = &*self.lane.action, task_count = batch.tasks.len(),
            duration = %Seconds(began.elapsed()),
        );
        match answer {
            Err(PollFailure::Status(status)) if apply::is_gone(target, &batch.tasks, status) => {
                apply::end_cancelled(self.core, self.lane, &batch.tasks).await;
                Ok(())
            }
            answer => apply::reply(self.core, (self.lane, target), question, answer?).await,
        }
    }

    async fn end_overdue(&self, tasks: &[Waiting], answered: bool) {
        let of = (self.lane, self.target.as_ref().ok().map(|it| &**it));
        apply::end_overdue(self.core, of, self.since, tasks, answered).await;
    }

    /// Logged once per pass: what fails for one request mostly fails for all.
    fn warn(&self, failure: &PollFailure, course: &mut Course) {
        if course.failure.is_none() {
            let error = failure.error();
            tracing::warn!(
                target: "custompass", event = "poll_failed", channel_id = self.lane.channel_id.0,
                model = &*self.lane.action, error,
            );
            course.failure = Some(error);
        }
    }

    fn warn_unread(&self, error: &store::StoreError) -> String {
        tracing::warn!(
            target: "custompass", event = "poll_failed", channel_id = self.lane.channel_id.0,
            model = &*self.lane.action, %error,
        );
        "its tasks can't be read".to_owned()
    }
}

impl Batch {
    fn halves(mut self) -> [Self; 2] {
        let second = self.tasks.split_off(self.tasks.len() / 2);
        let (limit, owner, alone) = (self.limit, self.owner.clone(), self.alone);
        [self, Self { tasks: second, limit, owner, alone }]
    }

    /// Whether this task can be asked about together with the others.
    fn takes(&self, task: &Waiting, owner: &Result<CallerKey, PollFailure>) -> bool {
        let is_like =
            |last: &Waiting| last.path == task.path && last.place.token_id == task.place.token_id;
        let is_same_key = match (&self.owner, owner) {
            (Ok(own), Ok(other)) => own.value == other.value,
            (own, other) => own.is_err() && other.is_err(),
        };
        let has_room = !self.alone && self.tasks.len() < self.limit;
        has_room && is_same_key && self.tasks.last().is_some_and(is_like)
    }
}
