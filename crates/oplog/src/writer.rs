//! Lines are handed to one writer thread, so that logging never waits for a disk.
//!
//! All threads fill one buffer, which the writer swaps out whole: no allocation per line, and one
//! `write` for all that accumulates within [`LINGER`].

use super::file::{LogFile, Rotation};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Capacity of the buffer. Lines beyond it are dropped and counted.
const MAX_PENDING_BYTES: usize = 1 << 20;
/// Memory that a buffer keeps after a burst.
const KEPT_BYTES: usize = 64 << 10;
/// How long lines are collected before they are written.
const LINGER: Duration = Duration::from_millis(5);

/// The handle that lines are written through.
#[derive(Clone)]
pub struct Lines(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    dropped: u64,
    dropped_in_all: u64,
    reopen: bool,
    closing: bool,
}

/// The writer thread; stops it when asked to.
pub struct Writer {
    lines: Lines,
    thread: Option<JoinHandle<()>>,
}

enum Sink {
    Stderr,
    File(LogFile),
}

impl Lines {
    /// Appends a line. Never waits for more than a copy of memory.
    pub fn push(&self, line: &str) {
        let mut state = self.state();
        if state.pending.len().saturating_add(line.len()) > MAX_PENDING_BYTES {
            state.dropped = state.dropped.saturating_add(1);
            state.dropped_in_all = state.dropped_in_all.saturating_add(1);
            return;
        }
        let was_empty = state.pending.is_empty();
        state.pending.extend_from_slice(line.as_bytes());
        drop(state);
        if was_empty {
            self.0.changed.notify_one();
        }
    }

    /// Closes the file and reopens it by its name, once pending lines are written.
    pub fn reopen(&self) {
        self.state().reopen = true;
        self.0.changed.notify_one();
    }

    /// Lines that were dropped because the writer didn't keep up.
    pub fn dropped_in_all(&self) -> u64 {
        self.state().dropped_in_all
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Opens the log and starts writing it.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub fn start(path: Option<&Path>, rotation: Rotation) -> io::Result<Self> {
        let sink = match path {
            None => Sink::Stderr,
            Some(path) => Sink::File(LogFile::open(path, rotation)?),
        };
        let shared = Shared { state: Mutex::default(), changed: Condvar::new() };
        let lines = Lines(Arc::new(shared));
        let thread = std::thread::Builder::new().name("log".into()).spawn({
            let lines = lines.clone();
            move || write_all(&lines, sink)
        })?;
        Ok(Self { lines, thread: Some(thread) })
    }

    /// A handle to write lines through.
    pub fn lines(&self) -> Lines {
        self.lines.clone()
    }

    /// Writes pending lines, and stops the thread.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.lines.state().closing = true;
        self.lines.0.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

fn write_all(lines: &Lines, mut sink: Sink) {
    let mut buffer = Vec::new();
    loop {
        let mut state = lines.state();
        while state.pending.is_empty() && !state.closing && !state.reopen {
            state = lines.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.closing {
            drop(state);
            std::thread::sleep(LINGER);
            state = lines.state();
        }
        std::mem::swap(&mut state.pending, &mut buffer);
        let (reopen, closing) = (std::mem::take(&mut state.reopen), state.closing);
        let dropped = std::mem::take(&mut state.dropped);
        drop(state);
        if dropped > 0 {
            let _ = writeln!(buffer, "# {dropped} lines dropped: the log can't be written as fast");
        }
        // A log that can't be written must not stop the service; the next line retries.
        if !buffer.is_empty() {
            let _ = sink.write(&buffer);
        }
        buffer.clear();
        buffer.shrink_to(KEPT_BYTES);
        if reopen && let Sink::File(file) = &mut sink {
            file.reopen();
        }
        if closing {
            return;
        }
    }
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().lock().write_all(bytes),
            Self::File(file) => file.write(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Rotation = Rotation { max_bytes: 0, max_age: None, kept: 1 };

    fn wait_for(path: &Path, text: &str) {
        for _ in 0..400 {
            if std::fs::read_to_string(path).is_ok_and(|found| found.contains(text)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{text:?} is not in {}", path.display());
    }

    #[test]
    fn writes_everything_before_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "kept\n").unwrap();
        let writer = Writer::start(Some(&path), NEVER).unwrap();
        let lines = writer.lines();
        for n in 0..1_000 {
            lines.push(&format!("line {n}\n"));
        }
        writer.close();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("kept\nline 0\n") && text.ends_with("line 999\n"));
        assert_eq!(text.lines().count(), 1_001);
    }

    #[test]
    fn a_renamed_file_is_left_behind_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let writer = Writer::start(Some(&path), NEVER).unwrap();
        let lines = writer.lines();
        lines.push("one\n");
        wait_for(&path, "one");
        std::fs::rename(&path, &old).unwrap();
        lines.push("two\n");
        wait_for(&old, "two");
        lines.reopen();
        for _ in 0..400 {
            if path.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        lines.push("three\n");
        wait_for(&path, "three");
        writer.close();
    }

    #[test]
    fn a_flood_is_dropped_and_counted_and_never_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let writer = Writer::start(Some(&path), NEVER).unwrap();
        let lines = writer.lines();
        let line = format!("{}\n", "x".repeat(1 << 16));
        for _ in 0..64 {
            lines.push(&line);
        }
        assert!(lines.dropped_in_all() > 0);
        writer.close();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("lines dropped"));
    }
}
