//! Waits until commits are on disk.
//!
//! The connection that writes commits with `synchronous = NORMAL`, which appends to the log and
//! leaves the disk alone. That a commit is durable is this file's doing: one sync of the log for
//! all commits before it, and the connection is free meanwhile. Others may read what is not durable
//! yet; after a loss of power they find the log up to some commit, never one without those before.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::error;

pub(crate) struct LogSync {
    path: PathBuf,
    /// Commits so far.
    commits: Arc<AtomicU64>,
    synced: Mutex<Synced>,
}

#[derive(Default)]
struct Synced {
    /// The log, once there is one. SQLite deletes it when its last connection closes, not before,
    /// and has no lock on it that closing this would drop.
    log: Option<File>,
    /// Commits that are on disk.
    commits: u64,
}

impl LogSync {
    /// For the log of the database at `database`, with the count of commits to it.
    pub(crate) fn new(database: &Path, commits: Arc<AtomicU64>) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Self { path: path.into(), commits, synced: Mutex::default() }
    }

    /// The number of the last commit.
    pub(crate) fn last_commit(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }

    /// Returns once a commit, and all before it, are on disk.
    ///
    /// A disk that fails ends the process. After a failed sync the system may have dropped what it
    /// could not write, and report success to the next one (lwn.net/Articles/752063): what is
    /// durable is known only by reading the log again, at the next start.
    pub(crate) fn wait_for(&self, commit: u64) {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if synced.commits >= commit {
            return;
        }
        // Those that were committed while this thread waited for the one before are included.
        let commits = self.last_commit();
        if let Err(error) = synced.sync(&self.path) {
            error!(target: "custompass", event = "log_sync_failed", %error);
            // The log's own writer may not come to it any more.
            let _ = writeln!(std::io::stderr(), "newapi: log_sync_failed error=\"{error}\"");
            std::process::abort();
        }
        synced.commits = commits;
    }
}

impl Synced {
    fn sync(&mut self, path: &Path) -> std::io::Result<()> {
        let log = match self.log.take() {
            Some(log) => log,
            None => File::open(path)?,
        };
        self.log.insert(log).sync_data()
    }
}
