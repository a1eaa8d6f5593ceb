//! Notifies waiting clients of changes, made by any node: while any client waits, one job polls all
//! awaited tasks, and wakes the clients of those that have changed.

use super::rows::{Standing, standings};
use crate::{Relay, faults};
use domain::{Fault, TaskUid, UserId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::Db;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Pause between two polls.
const PAUSE: Duration = Duration::from_millis(250);
/// Maximum number of tasks in one query.
const MAX_LOOKED_AT: usize = 500;

/// What a poll found of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Stands(Standing),
    /// The task no longer exists.
    Gone,
}

/// All waiting clients of this node.
pub(crate) struct TaskWatch {
    max_waiters: usize,
    max_of_user: usize,
    watched: Mutex<Watched>,
    stopping: CancellationToken,
}

#[derive(Default)]
struct Watched {
    tasks: HashMap<TaskUid, Entry>,
    waiters: usize,
    /// The number of waiting clients per user.
    of_users: HashMap<UserId, usize>,
    /// Whether the job runs.
    looking: bool,
}

/// An awaited task.
struct Entry {
    /// The result of the last poll, once there was one.
    look: watch::Sender<Option<Look>>,
    waiters: usize,
}

/// A registration of a waiting client; removed when it is dropped.
pub(super) struct Waiter {
    watch: Arc<TaskWatch>,
    user_id: UserId,
    uid: TaskUid,
    look: watch::Receiver<Option<Look>>,
    /// The result of an earlier poll may be there already, which this one has not seen.
    fresh: bool,
}

impl TaskWatch {
    pub(crate) fn new(max_waiters: usize, max_of_user: usize) -> Self {
        let (watched, stopping) = (Mutex::default(), CancellationToken::new());
        Self { max_waiters, max_of_user, watched, stopping }
    }

    /// The task is no longer awaited.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tasks to poll. `None`: there are none, and the job ends.
    fn to_look_at(&self) -> Option<Vec<TaskUid>> {
        let mut watched = self.lock();
        if watched.tasks.is_empty() || self.stopping.is_cancelled() {
            watched.looking = false;
            return None;
        }
        Some(watched.tasks.keys().copied().collect())
    }

    fn notify(&self, uids: &[TaskUid], found: &HashMap<TaskUid, Standing>) {
        let watched = self.lock();
        for uid in uids {
            let look = found.get(uid).map_or(Look::Gone, |&standing| Look::Stands(standing));
            if let Some(entry) = watched.tasks.get(uid) {
                entry.look.send_if_modified(|last| last.replace(look) != Some(look));
            }
        }
    }
}

/// Registers a client of this user that waits for a task.
pub(super) fn follow(relay: &Relay, user_id: UserId, uid: TaskUid) -> Result<Waiter, Fault> {
    let watch = &relay.task_watch;
    let mut watched = watch.lock();
    if watched.waiters >= watch.max_waiters {
        return Err(faults::overloaded());
    }
    let of_user = watched.of_users.get(&user_id).copied().unwrap_or_default();
    if of_user >= watch.max_of_user {
        return Err(faults::too_many_waiting());
    }
    watched.of_users.insert(user_id, of_user + 1);
    watched.waiters += 1;
    let entry = watched
        .tasks
        .entry(uid)
        .or_insert_with(|| Entry { look: watch::Sender::new(None), waiters: 0 });
    entry.waiters += 1;
    let look = entry.look.subscribe();
    let looking = std::mem::replace(&mut watched.looking, true);
    drop(watched);
    if !looking {
        relay.spawn("task watch", keep_looking(relay.db.clone(), Arc::clone(watch)));
    }
    Ok(Waiter { watch: Arc::clone(watch), user_id, uid, look, fresh: true })
}

impl Waiter {
    /// Waits until the task's state differs from `known`. `None`: the service stops.
    pub(super) async fn change(&mut self, known: Standing) -> Option<Look> {
        let watch = Arc::clone(&self.watch);
        loop {
            if !std::mem::take(&mut self.fresh) {
                tokio::select! {
                    biased;
                    () = watch.stopping.cancelled() => return None,
                    changed = self.look.changed() => changed.ok()?,
                }
            } else if watch.stopping.is_cancelled() {
                return None;
            }
            let look = *self.look.borrow_and_update();
            if let Some(look) = look.filter(|&look| look != Look::Stands(known)) {
                return Some(look);
            }
        }
    }

    /// Waits until the task has ended, or is gone, or the service stops.
    pub(super) async fn end(&mut self, mut known: Standing) {
        while let Some(Look::Stands(standing)) = self.change(known).await {
            if standing.status.is_final() {
                return;
            }
            known = standing;
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut watched = self.watch.lock();
        watched.waiters -= 1;
        if let Some(of_user) = watched.of_users.get_mut(&self.user_id) {
            *of_user -= 1;
            if *of_user == 0 {
                watched.of_users.remove(&self.user_id);
            }
        }
        if let Some(entry) = watched.tasks.get_mut(&self.uid) {
            entry.waiters -= 1;
            if entry.waiters == 0 {
                watched.tasks.remove(&self.uid);
            }
        }
    }
}

/// The job: polls, until no client waits.
async fn keep_looking(db: Db, watch: Arc<TaskWatch>) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = watch.stopping.cancelled() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
        let Some(uids) = watch.to_look_at() else { return };
        for uids in uids.chunks(MAX_LOOKED_AT) {
            match standings(&db, uids).await {
                Ok(found) => {
                    watch.notify(uids, &found);
                    failing = false;
                }
                // Waiting clients get what is known when their time is over.
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(target: "custompass", event = "task_watch_failed", %error);
                    }
                    break;
                }
            }
        }
    }
}
