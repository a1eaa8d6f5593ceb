//! Checkpoints, out of the way of commits.
//!
//! A thread with its own connection copies what is committed from the log into the file, without
//! ever making a writer wait. Under a load that never pauses the log still grows, because there is
//! always one more commit behind the copy; past a limit the writer itself finishes the rest and
//! starts the log again from its beginning. The log's file is never cut: writing over a file is
//! twice as fast as making it longer.

use crate::StoreError;
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::{debug, warn};

/// New pages after which the thread is woken.
const PAGES_BETWEEN: u32 = 1000;
/// Pages of 4 KiB after which the log is started again: 16 MiB.
const PAGES_MAX: u32 = 4096;
/// Memory of the writer while it grows the log's file, so that the pages go to the file.
const SMALL_CACHE_KIB: i32 = 256;
/// Delay after which a small remainder is copied.
const IDLE: Duration = Duration::from_secs(60);
/// How long the writer waits for readers when it starts the log again.
const RESTART_WAIT: Duration = Duration::from_millis(50);
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const STACK_BYTES: usize = 512 * 1024;

/// The checkpoint thread. It ends when its handle is dropped.
pub(crate) struct Checkpointer {
    /// Dropped: the thread ends.
    call: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(crate) fn start(conn: Connection) -> Result<Self, StoreError> {
        let (call, called) = sync_channel(1);
        let builder =
            std::thread::Builder::new().name("sqlite-checkpoint".into()).stack_size(STACK_BYTES);
        let started = builder.spawn(move || checkpoints(&conn, &called));
        let thread = started.map_err(|error| StoreError::Other(format!("no thread: {error}")))?;
        Ok(Self { call: Some(call), thread: Some(thread) })
    }

    fn call(&self) {
        // One pending wake-up is enough.
        let _ = self.call.as_ref().map(|call| call.try_send(()));
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.call = None;
        // The last connection to close deletes the log: it must not be in a checkpoint then.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn checkpoints(conn: &Connection, called: &Receiver<()>) {
    loop {
        match called.recv_timeout(IDLE) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {
                if let Err(error) = checkpoint(conn, "PASSIVE") {
                    warn!(target: "custompass", event = "checkpoint_failed", %error);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Runs a checkpoint; returns whether another connection blocked it.
fn checkpoint(conn: &Connection, how: &str) -> Result<bool, rusqlite::Error> {
    let sql = format!("PRAGMA wal_checkpoint({how})");
    conn.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(|busy| busy != 0)
}

/// Grows the log's file to its final length before any caller waits for a commit: a commit into a
/// file that has its length is several times as fast. Nothing is committed: the pages of a
/// transaction too large for memory go to the log, and are rolled back there.
pub(crate) fn lengthen_log(writer: &Connection, cache_kib: i32) -> Result<(), rusqlite::Error> {
    writer.pragma_update(None, "cache_size", -SMALL_CACHE_KIB)?;
    let written = writer.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         CREATE TABLE newapi_log_length (body BLOB);
         INSERT INTO newapi_log_length VALUES (zeroblob({}));
         ROLLBACK;",
        PAGES_MAX * 4096
    ));
    writer.pragma_update(None, "cache_size", -cache_kib)?;
    written
}

/// The writer's view of the log.
pub(crate) struct WalWatch {
    /// Pages in the log after the last commit, as SQLite reports them.
    pages: Arc<AtomicU32>,
    /// Pages at the last wake-up.
    called_at: u32,
    /// Pages from which the log is started again.
    restart_at: u32,
}

impl WalWatch {
    pub(crate) fn new(writer: &mut Connection) -> Result<Self, StoreError> {
        let pages = Arc::new(AtomicU32::new(0));
        let reported = Arc::clone(&pages);
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, in_log| {
            reported.store(u32::try_from(in_log).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { pages, called_at: 0, restart_at: PAGES_MAX })
    }

    pub(crate) fn after_job(&mut self, writer: &Connection, checkpointer: &Checkpointer) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.called_at {
            // The log was restarted.
            self.called_at = 0;
            self.restart_at = PAGES_MAX;
        }
        if pages >= self.restart_at {
            self.restart(writer, pages);
        } else if pages >= self.called_at + PAGES_BETWEEN {
            self.called_at = pages;
            checkpointer.call();
        }
    }

    fn restart(&mut self, writer: &Connection, pages: u32) {
        let restarted = writer
            .busy_timeout(RESTART_WAIT)
            .and_then(|()| checkpoint(writer, "RESTART"))
            .and_then(|busy| writer.busy_timeout(BUSY_TIMEOUT).map(|()| busy));
        match restarted {
            Ok(false) => debug!(pages, "SQLite log starts again"),
            // A reader blocks the restart: retry a little later, commits come first.
            Ok(true) => self.restart_at = pages + PAGES_BETWEEN,
            Err(error) => {
                self.restart_at = pages + PAGES_BETWEEN;
                warn!(target: "custompass", event = "checkpoint_incomplete", %error, pages);
            }
        }
    }
}
