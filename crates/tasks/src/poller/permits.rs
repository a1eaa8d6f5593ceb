//! Limits on concurrent poll requests, so that a slow upstream does not block the others.

use super::semaphore::{Permit, ResizableSemaphore};
use domain::ChannelId;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use store::Channel;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lanes that time out share this part of all requests.
const SICK_PART: usize = 4;
/// Replies that may be larger than [`super::poll_request::LARGE_REPLY`] at the same time.
const LARGE_REPLIES: usize = 4;
/// Concurrent statements for pages and changes: the pool is shared with the data plane.
const STATEMENTS: usize = 8;

/// The limits of one node.
pub(super) struct Permits {
    /// All poll requests.
    all: ResizableSemaphore,
    sick: ResizableSemaphore,
    pub(super) large: Semaphore,
    /// Of these, the one that is applied: it is sealed and copied on its way into the database.
    pub(super) large_applied: Semaphore,
    pub(super) statements: Semaphore,
    pub(super) ends: Semaphore,
    /// Channels that have a limit of their own, with that limit.
    channels: Mutex<HashMap<ChannelId, (usize, Arc<Semaphore>)>>,
    /// The number of lanes that share the requests.
    lanes: AtomicUsize,
}

/// Allows one poll request while it is held.
pub(super) struct PollPermit<'a> {
    _channel: Option<OwnedSemaphorePermit>,
    _sick: Option<Permit<'a>>,
    _all: Permit<'a>,
}

impl Permits {
    pub(super) fn new(capacity: usize, ends: usize) -> Self {
        Self {
            all: ResizableSemaphore::new(capacity),
            sick: ResizableSemaphore::new(capacity / SICK_PART),
            large: Semaphore::new(LARGE_REPLIES),
            large_applied: Semaphore::new(1),
            statements: Semaphore::new(STATEMENTS),
            ends: Semaphore::new(ends),
            channels: Mutex::default(),
            lanes: AtomicUsize::new(1),
        }
    }

    /// Changes how many requests may be in flight.
    pub(super) fn set(&self, capacity: usize) {
        self.all.set(capacity);
        self.sick.set(capacity / SICK_PART);
    }

    /// Sets the number of lanes that share the requests.
    pub(super) fn split_among(&self, lanes: usize) {
        self.lanes.store(lanes.max(1), Ordering::Relaxed);
    }

    /// How many requests one lane may have in flight.
    pub(super) fn share(&self) -> usize {
        (self.all.capacity() / self.lanes.load(Ordering::Relaxed)).max(1)
    }

    /// Waits for a permit. The widest limit comes last: a task that waits for a narrow one holds
    /// nothing that others need.
    pub(super) async fn acquire(&self, channel: &Channel, sick: bool) -> PollPermit<'_> {
        let own = self.of_channel(channel);
        let channel = match own {
            Some(own) => own.acquire_owned().await.ok(),
            None => None,
        };
        let sick = if sick { Some(self.sick.acquire().await) } else { None };
        let all = self.all.acquire().await;
        PollPermit { _channel: channel, _sick: sick, _all: all }
    }

    fn of_channel(&self, channel: &Channel) -> Option<Arc<Semaphore>> {
        let capacity = usize::try_from(channel.setting.concurrency?).unwrap_or(1).max(1);
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || (capacity, Arc::new(Semaphore::new(capacity)));
        let entry = channels.entry(channel.id).or_insert_with(fresh);
        if entry.0 != capacity {
            // Requests in flight keep the old one.
            *entry = fresh();
        }
        Some(Arc::clone(&entry.1))
    }

    /// Drops channels that this node no longer polls.
    pub(super) fn keep(&self, channels: &HashSet<ChannelId>) {
        let mut known = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|id, _| channels.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_never_nothing() {
        let permits = Permits::new(100, 1);
        for (lanes, share) in [(0, 100), (1, 100), (3, 33), (50, 2), (1000, 1)] {
            permits.split_among(lanes);
            assert_eq!(permits.share(), share, "{lanes}");
        }
        permits.set(0);
        assert_eq!(permits.share(), 1);
    }
}
