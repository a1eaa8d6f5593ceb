//! The register of running jobs: what they are, where they were started, and since when.
//!
//! The runtime's own dump of its tasks stops all of its threads to take it, and can leave them
//! stopped. Here each job registers itself and is removed at its end, so that a snapshot doesn't
//! pause any of them.
#![warn(unreachable_pub, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A job that has not ended.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Its name.
    pub kind: &'static str,
    /// The source line that started it.
    pub place: &'static Location<'static>,
    /// When it was started.
    pub since: Instant,
}

static NEXT: AtomicU64 = AtomicU64::new(0);
static ALIVE: Mutex<BTreeMap<u64, Job>> = Mutex::new(BTreeMap::new());

fn alive() -> MutexGuard<'static, BTreeMap<u64, Job>> {
    ALIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The running jobs, oldest first.
#[must_use]
pub fn jobs() -> Vec<Job> {
    alive().values().copied().collect()
}

/// Registers `job` until it ends or is dropped.
///
/// Meant for long-lived jobs; one that ends within a few steps is not worth the lock.
#[track_caller]
pub fn named<F: Future>(kind: &'static str, job: F) -> impl Future<Output = F::Output> {
    let entry = Entry::new(Job { kind, place: Location::caller(), since: Instant::now() });
    async move {
        let _entry = entry;
        job.await
    }
}

/// An entry of the register; removed when dropped.
struct Entry(u64);

impl Entry {
    fn new(job: Job) -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        alive().insert(id, job);
        Self(id)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        alive().remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::future::{pending, ready};

    fn listed(kind: &str) -> Vec<Job> {
        jobs().into_iter().filter(|job| job.kind == kind).collect()
    }

    #[test]
    fn a_job_is_listed_until_it_ends_or_is_dropped() {
        let waiting = named("waiting", pending::<()>());
        let line = line!() - 1;
        assert_eq!(listed("waiting")[0].place.line(), line);
        assert_eq!(listed("waiting")[0].place.file(), file!());
        drop(waiting);
        assert!(listed("waiting").is_empty());

        let ending = named("ending", ready(7));
        assert_eq!(listed("ending").len(), 1);
        assert_eq!(ending.now_or_never(), Some(7));
        assert!(listed("ending").is_empty());
    }
}
