//! Ends a connection whose client does not read what was written for it.
//!
//! Pending output is memory, and part of a user's budget. There is no timer while the client keeps
//! up: it is armed when the system takes no more bytes, and checked only then.

use crate::connections::Connections;
use hyper::rt::{Read, ReadBufCursor, Write};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use web::Unread;

/// The minimum that a client reads once it is awaited. A phone on a bad line reads more; a client
/// that reads less is holding memory on purpose.
const LEAST_BYTES_PER_SECOND: u64 = 256;

/// The window during a stop, which is not to wait for clients that read nothing.
const STOPPING_WINDOW: Duration = Duration::from_secs(5);

/// What counts the response that a connection is sending, if it flows.
#[derive(Clone, Default)]
pub(crate) struct Sending(Arc<Mutex<Option<Unread>>>);

impl Sending {
    /// The next response begins.
    pub(crate) fn set(&self, unread: Option<Unread>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = unread;
    }

    fn get(&self) -> Option<Unread> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A connection with a deadline for writes.
pub(crate) struct WriteGuard<T> {
    io: T,
    window: Duration,
    connections: Arc<Connections>,
    sending: Sending,
    /// `None` while the client keeps up.
    wait: Option<Wait>,
    /// Reused from wait to wait.
    timer: Option<Pin<Box<Sleep>>>,
}

/// A window in which a client has to read something.
struct Wait {
    until: Instant,
    taken_bytes: u64,
    /// Counts what waits; none of a response that is counted as a whole.
    unread: Option<Unread>,
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(unread) = &self.unread {
            unread.is_written();
        }
    }
}

impl<T> WriteGuard<T> {
    /// Within each `window` in which the client is awaited it must read a minimum of bytes.
    pub(crate) const fn new(
        io: T,
        window: Duration,
        connections: Arc<Connections>,
        sending: Sending,
    ) -> Self {
        Self { io, window, connections, sending, wait: None, timer: None }
    }

    /// A stop wakes every connection, and shortens a window that has begun.
    fn window(&self) -> Duration {
        if self.connections.are_stopping() {
            return self.window.min(STOPPING_WINDOW);
        }
        self.window
    }

    /// The result of a write, judged by how long the client was awaited.
    fn judge(&mut self, cx: &mut Context<'_>, written: &Poll<io::Result<usize>>) -> io::Result<()> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                if let Some(wait) = &mut self.wait {
                    wait.taken_bytes = wait.taken_bytes.saturating_add(*bytes as u64);
                }
                return Ok(());
            }
            Poll::Ready(Err(_)) => return Ok(()),
            Poll::Pending => {}
        }
        let window = self.window();
        let least_bytes = window.as_secs().saturating_mul(LEAST_BYTES_PER_SECOND);
        let fresh = || Wait { until: Instant::now() + window, taken_bytes: 0, unread: None };
        let wait = self.wait.get_or_insert_with(fresh);
        if wait.unread.is_none() {
            wait.unread = self.sending.get();
            if wait.unread.as_ref().is_some_and(|unread| !unread.client_is_awaited()) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
        }
        if window < self.window {
            wait.until = wait.until.min(Instant::now() + window);
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(wait.until)));
        loop {
            // A timer set for an earlier wait fires early; only then is it reset.
            if timer.deadline() > wait.until {
                timer.as_mut().reset(wait.until);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            if Instant::now() >= wait.until {
                if wait.taken_bytes < least_bytes.max(1) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                (wait.until, wait.taken_bytes) = (Instant::now() + window, 0);
            }
            timer.as_mut().reset(wait.until);
        }
    }
}

impl<T: Read + Unpin> Read for WriteGuard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for WriteGuard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.judge(cx, &written)?;
        written
    }

    /// hyper calls this when it has nothing left to write: the client has kept up.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wait = None;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.judge(cx, &written)?;
        written
    }
}
