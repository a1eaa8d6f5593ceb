//! What happens, as it happens: new lines of the log, and tasks that change. One job of this
//! process reads both while anyone follows; each stream takes what its reader may see.

use super::log::{self, LogView};
use super::task::{self, TaskFilter, TaskView};
use crate::page::{PageRequest, Query};
use crate::{Actor, AdminError, AdminState};
use domain::{UnixMs, UserId};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::{StoreError, Value};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// The most streams of this process, and of one user.
const MAX_STREAMS: usize = 64;
const MAX_STREAMS_OF_USER: usize = 6;
/// How often the database is read while anyone follows.
const PAUSE: Duration = Duration::from_secs(1);
/// A stream ends after this time, and its reader comes back: who may no longer read, doesn't.
const LIFE: Duration = Duration::from_secs(300);
/// A stream without an event says so this often.
const SILENCE: Duration = Duration::from_secs(15);
/// The most lines, and tasks, of one look.
const MAX_LINES: i64 = 256;
const MAX_TASKS: i64 = 500;
/// Lines of this many numbers before the newest may still be committed.
const LATE_LINES: i64 = 200;
/// Tasks that changed this long before the last look are looked at again, for the same reason.
const LATE_TASKS_MS: i64 = 5_000;
/// Looks that a slow reader may be behind, and that are kept for it. After that it is told anew how
/// things stand.
const QUEUE: usize = 4;
/// The most lines that are counted.
const MAX_COUNTED: i64 = 1_000;

/// What a stream is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventRequest {
    /// New lines of the log.
    pub calls: bool,
    /// Tasks that change.
    pub tasks: bool,
    /// The last line that is known: those behind it are counted at the start.
    pub after: Option<i64>,
}

impl EventRequest {
    /// Reads the parameters of an address.
    ///
    /// # Errors
    /// When a topic is none.
    pub fn read(query: &Query) -> Result<Self, AdminError> {
        let mut request = Self { after: query.number("after")?, ..Self::default() };
        for topic in query.text("topics").unwrap_or("calls,tasks").split(',') {
            match topic.trim() {
                "calls" => request.calls = true,
                "tasks" => request.tasks = true,
                _ => {
                    return Err(AdminError::field(
                        "topics",
                        "只有 calls 和 tasks",
                        "must be calls, tasks, or both with a comma",
                    ));
                }
            }
        }
        Ok(request)
    }
}

/// How things stand when a stream begins.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventState {
    /// Number of the newest line of the log.
    pub newest: i64,
    /// How many lines there are behind the one that was named; counting stops at 1000.
    pub missed: i64,
    /// The newest unfinished tasks, 100 at most.
    pub unfinished: Vec<TaskView>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The first one, and again after a reader was too slow.
    State(EventState),
    /// A new line of the log.
    Call(Box<LogView>),
    /// A task that is new or has changed.
    Task(Box<TaskView>),
    /// Nothing, for a while.
    Silence,
}

/// What one look found.
#[derive(Debug)]
struct Found {
    lines: Vec<LogView>,
    tasks: Vec<TaskView>,
}

/// Who follows.
#[derive(Debug, Default)]
struct Followers {
    /// Whether the job runs.
    running: bool,
    streams: HashMap<UserId, usize>,
}

#[derive(Debug)]
struct Inner {
    followers: Mutex<Followers>,
    sender: broadcast::Sender<Arc<Found>>,
    stop: CancellationToken,
}

/// The streams of this process, and the job behind them.
#[derive(Clone, Debug)]
pub struct EventHub(Arc<Inner>);

impl Default for EventHub {
    fn default() -> Self {
        let (sender, _) = broadcast::channel(QUEUE);
        let stop = CancellationToken::new();
        Self(Arc::new(Inner { followers: Mutex::default(), sender, stop }))
    }
}

impl EventHub {
    /// Ends all streams, so that a stop need not wait for their readers.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }

    /// Waits until the process stops.
    pub(super) async fn stopped(&self) {
        self.0.stop.cancelled().await;
    }

    fn enter(&self, state: &AdminState, user: UserId) -> Option<Seat> {
        let mut followers = self.0.followers.lock().unwrap_or_else(PoisonError::into_inner);
        let own = followers.streams.get(&user).copied().unwrap_or(0);
        let all: usize = followers.streams.values().sum();
        if own >= MAX_STREAMS_OF_USER || all >= MAX_STREAMS {
            return None;
        }
        followers.streams.insert(user, own + 1);
        let receiver = self.0.sender.subscribe();
        if !std::mem::replace(&mut followers.running, true) {
            state.jobs.spawn(follow(state.clone(), self.clone()));
        }
        Some(Seat { hub: self.clone(), user, receiver })
    }

    /// Whether the job has no reader left, and ends.
    fn is_left(&self) -> bool {
        let mut followers = self.0.followers.lock().unwrap_or_else(PoisonError::into_inner);
        if followers.streams.is_empty() {
            followers.running = false;
        }
        !followers.running
    }
}

/// A reader's place, given back when it leaves.
struct Seat {
    hub: EventHub,
    user: UserId,
    receiver: broadcast::Receiver<Arc<Found>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let followers = &self.hub.0.followers;
        let mut followers = followers.lock().unwrap_or_else(PoisonError::into_inner);
        let left = followers.streams.get(&self.user).map_or(0, |streams| streams - 1);
        if left == 0 {
            followers.streams.remove(&self.user);
        } else {
            followers.streams.insert(self.user, left);
        }
    }
}

/// The events of one reader.
pub struct Following {
    state: AdminState,
    actor: Actor,
    request: EventRequest,
    seat: Seat,
    /// How things stand, to be sent first.
    standing: Option<EventState>,
    /// What was found last, and how much of it was sent. Readers share it: a slow one has no copy.
    found: Option<(Arc<Found>, usize)>,
    /// Lines that were there when the stream began, of those that a look may bring again.
    known: BTreeSet<i64>,
    ends: Instant,
}

/// Follows what happens from now on: users their own, administrators everything.
///
/// # Errors
/// When there are too many streams, or the database fails.
pub async fn open(
    state: &AdminState,
    actor: &Actor,
    request: EventRequest,
) -> Result<Following, AdminError> {
    let seat = state.events.enter(state, actor.user_id);
    let seat = seat.ok_or(AdminError::TooMany { retry_after_s: 5 })?;
    let mut stream = Following {
        state: state.clone(),
        actor: actor.clone(),
        request,
        seat,
        standing: None,
        found: None,
        known: BTreeSet::new(),
        ends: Instant::now() + LIFE,
    };
    stream.standing = Some(stream.how_things_stand().await?);
    Ok(stream)
}

impl Following {
    /// The next event; `None`: the reader has to come again.
    pub async fn next(&mut self) -> Option<Event> {
        // However much there still is to read.
        if Instant::now() >= self.ends {
            return None;
        }
        loop {
            if let Some(event) = self.already() {
                return Some(event);
            }
            let stop = self.seat.hub.0.stop.clone();
            let until = self.ends.min(Instant::now() + SILENCE);
            let found = tokio::select! {
                () = stop.cancelled() => return None,
                found = timeout_at(until, self.seat.receiver.recv()) => found,
            };
            match found {
                Ok(Ok(found)) => self.found = Some((found, 0)),
                Ok(Err(RecvError::Closed)) => return None,
                Ok(Err(RecvError::Lagged(_))) => {
                    self.standing = Some(self.how_things_stand().await.ok()?);
                }
                Err(_) if Instant::now() >= self.ends => return None,
                Err(_) => return Some(Event::Silence),
            }
        }
    }

    /// An event that needs no waiting.
    pub fn already(&mut self) -> Option<Event> {
        if let Some(state) = self.standing.take() {
            return Some(Event::State(state));
        }
        while let Some((found, sent)) = self.found.take() {
            let event = match found.lines.get(sent) {
                Some(line) => self.call(line),
                None => self.task(found.tasks.get(sent - found.lines.len())?),
            };
            self.found = Some((found, sent + 1));
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// A line, if it is for this reader.
    fn call(&self, line: &LogView) -> Option<Event> {
        let is_mine = self.request.calls && self.actor.owns(line.user_id);
        if !is_mine || self.known.contains(&line.id) {
            return None;
        }
        let mut line = line.clone();
        line.channel_id = line.channel_id.filter(|_| self.actor.is_admin());
        Some(Event::Call(Box::new(line)))
    }

    /// A task, if it is for this reader.
    fn task(&self, task: &TaskView) -> Option<Event> {
        let is_mine = self.request.tasks && self.actor.owns(task.user_id);
        is_mine.then(|| Event::Task(Box::new(task::shown(&self.actor, task.clone()))))
    }

    async fn how_things_stand(&mut self) -> Result<EventState, AdminError> {
        self.known = newest_lines(&self.state).await?;
        let newest = self.known.last().copied().unwrap_or(0);
        let (state, actor) = (&self.state, &self.actor);
        let missed = match self.request.after.filter(|_| self.request.calls) {
            Some(after) => missed(state, actor, after).await?,
            None => 0,
        };
        let unfinished = if self.request.tasks {
            let filter = TaskFilter { status: Some("unfinished".to_owned()), ..Default::default() };
            let page = PageRequest::read(&Query::default(), 100)?;
            task::list(state, actor, !actor.is_admin(), &filter, page).await?.items
        } else {
            Vec::new()
        };
        Ok(EventState { newest, missed, unfinished })
    }
}

async fn newest_lines(state: &AdminState) -> Result<BTreeSet<i64>, StoreError> {
    let most = [Value::Int(LATE_LINES)];
    let rows = state.db.read("SELECT id FROM logs ORDER BY id DESC LIMIT $1", &most).await?;
    rows.iter().map(|row| row.get("id")).collect()
}

async fn missed(state: &AdminState, actor: &Actor, after: i64) -> Result<i64, StoreError> {
    let owned = if actor.is_admin() { "" } else { " AND user_id = $3" };
    let sql = format!(
        "SELECT count(*) AS lines FROM (SELECT 1 FROM logs WHERE id > $1{owned} LIMIT $2) AS them"
    );
    let mut values = vec![Value::Int(after), Value::Int(MAX_COUNTED)];
    if !actor.is_admin() {
        values.push(actor.user_id.into());
    }
    let rows = state.db.read(&sql, &values).await?;
    Ok(rows.first().map(|row| row.get("lines")).transpose()?.unwrap_or(0))
}

/// What a job has seen.
struct Seen {
    newest: i64,
    lines: BTreeSet<i64>,
    tasks: HashMap<i64, i64>,
    since: UnixMs,
}

/// Looks while anyone follows.
async fn follow(state: AdminState, hub: EventHub) {
    let mut seen = None;
    while !hub.is_left() {
        match look(&state, &mut seen).await {
            Ok(found) if found.lines.is_empty() && found.tasks.is_empty() => {}
            Ok(found) => drop(hub.0.sender.send(Arc::new(found))),
            Err(error) => tracing::debug!(%error, "what happens can't be read"),
        }
        tokio::select! {
            () = hub.0.stop.cancelled() => return,
            () = sleep(PAUSE) => {}
        }
    }
}

/// What is new since the last look. The first one may bring what its readers know.
async fn look(state: &AdminState, seen: &mut Option<Seen>) -> Result<Found, StoreError> {
    let now = state.clock.now();
    let (newest, since) = match seen {
        Some(seen) => (seen.newest, seen.since),
        None => (newest_lines(state).await?.last().copied().unwrap_or(0), now),
    };
    let columns = log::COLUMNS;
    let sql = format!("SELECT {columns} FROM logs WHERE id > $1 ORDER BY id DESC LIMIT $2");
    let from = [Value::Int(newest - LATE_LINES), Value::Int(MAX_LINES + LATE_LINES)];
    let rows = state.db.read(&sql, &from).await?;
    let mut lines: Vec<LogView> = rows.iter().map(log::view).collect::<Result<_, _>>()?;
    lines.reverse();
    let changed = task::changed_since(state, since.plus_ms(-LATE_TASKS_MS), MAX_TASKS).await?;
    let before = seen.take();
    let known = |id: i64| before.as_ref().is_some_and(|seen| seen.lines.contains(&id));
    let same = |id: i64, version: i64| {
        before.as_ref().is_some_and(|seen| seen.tasks.get(&id) == Some(&version))
    };
    let last = lines.last().map_or(newest, |line| line.id.max(newest));
    *seen = Some(Seen {
        newest: last,
        lines: lines.iter().map(|line| line.id).filter(|id| *id > last - LATE_LINES).collect(),
        tasks: changed.iter().map(|(task, version)| (task.id, *version)).collect(),
        since: now,
    });
    lines.retain(|line| !known(line.id));
    let tasks = changed.into_iter().filter(|(task, version)| !same(task.id, *version));
    Ok(Found { lines, tasks: tasks.map(|(task, _)| task).collect() })
}
