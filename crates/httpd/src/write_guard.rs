//! Ends a connection whose client does not read what was written for it.
//!
//! Pending output is memory, and part of a user's budget. There is no timer while the client keeps
//! up: it is armed when the system takes no more bytes, and checked only then.

use crate::connection_metrics::{ConnectionMetrics, Cut};
use crate::connections::Connections;
use http::{HeaderValue, Response};
use hyper::body::Body as _;
use hyper::rt::{Read, ReadBufCursor, Write};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use web::memory::{FRAME_BYTES, HeldPieces};
use web::{Body, Unread, X_REQUEST_ID};

/// The minimum that a client reads once it is awaited. A phone on a bad line reads more; a client
/// that reads less is holding memory on purpose.
const LEAST_BYTES_PER_SECOND: u64 = 256;

/// The window during a stop, which is not to wait for clients that read nothing.
const STOPPING_WINDOW: Duration = Duration::from_secs(5);

/// The windows in which a client takes what is held for it: a body, or a piece of one that is made
/// as it is read. However little of it counts as reading, a large one would be held for hours.
const HELD_WINDOWS: u32 = 5;
/// A larger one has a window for each of these: at the usual window that is 8.5 KiB a second.
const BYTES_A_WINDOW: u64 = 512 << 10;

/// The response that a connection is sending.
#[derive(Clone, Default)]
pub(crate) struct Sending(Arc<Mutex<Current>>);

#[derive(Default)]
struct Current {
    /// Its number on this connection.
    number: u64,
    memory: ResponseMemory,
    /// Of one that is held, for the log.
    request_id: Option<HeaderValue>,
}

/// What of a response is in memory while its client does not read.
#[derive(Default)]
enum ResponseMemory {
    /// Hardly anything.
    #[default]
    Nothing,
    /// Buffers. It passes as it comes; but its beginning may have been collected.
    Flowing(Unread, Option<HeldPieces>),
    /// All of it: so many bytes.
    Whole(u64),
    /// A piece.
    Pieces(HeldPieces),
}

/// What is held until it is taken.
#[derive(Clone, Copy)]
struct HeldPart {
    response: u64,
    piece: u64,
    bytes: u64,
}

impl HeldPart {
    /// The windows in which it is taken.
    fn windows(self) -> u32 {
        HELD_WINDOWS.max(u32::try_from(self.bytes / BYTES_A_WINDOW).unwrap_or(u32::MAX))
    }

    const fn is_same(self, other: Self) -> bool {
        self.response == other.response && self.piece == other.piece
    }
}

impl Sending {
    /// The next response begins.
    pub(crate) fn begins(&self, response: &mut Response<Body>) {
        let length = response.body().size_hint().exact().filter(|bytes| *bytes > 0);
        let extensions = response.extensions_mut();
        let memory = match (extensions.remove(), extensions.remove(), length) {
            (Some(unread), pieces, _) => ResponseMemory::Flowing(unread, pieces),
            (None, Some(pieces), _) => ResponseMemory::Pieces(pieces),
            (None, None, Some(bytes)) => ResponseMemory::Whole(bytes),
            (None, None, None) => ResponseMemory::Nothing,
        };
        let may_be_cut = match &memory {
            ResponseMemory::Nothing | ResponseMemory::Flowing(_, None) => false,
            ResponseMemory::Whole(bytes) => *bytes > FRAME_BYTES as u64,
            ResponseMemory::Flowing(_, Some(_)) | ResponseMemory::Pieces(_) => true,
        };
        let request_id = response.headers().get(X_REQUEST_ID).filter(|_| may_be_cut).cloned();
        let mut current = self.current();
        *current = Current { number: current.number.wrapping_add(1), memory, request_id };
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What counts the response, if it flows.
    fn unread(&self) -> Option<Unread> {
        match &self.current().memory {
            ResponseMemory::Flowing(unread, _) => Some(unread.clone()),
            _ => None,
        }
    }

    /// What of the response is held until it is taken.
    fn held(&self) -> Option<HeldPart> {
        let current = self.current();
        let (piece, bytes) = match &current.memory {
            ResponseMemory::Whole(bytes) => (0, *bytes),
            ResponseMemory::Pieces(pieces) | ResponseMemory::Flowing(_, Some(pieces)) => {
                pieces.current()?
            }
            ResponseMemory::Nothing | ResponseMemory::Flowing(_, None) => return None,
        };
        Some(HeldPart { response: current.number, piece, bytes })
    }

    /// Its client had long enough for what is held.
    fn is_cut(&self, held: HeldPart) {
        let current = self.current();
        let request_id = current.request_id.as_ref().and_then(|id| id.to_str().ok());
        tracing::warn!(
            target: "custompass", event = "connection_cut", request_id, bytes = held.bytes,
            error = "the client was too slow for what is held for it",
        );
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
    /// What is held since the client was first awaited for it, and until when it may be.
    held: Option<(HeldPart, Instant)>,
    metrics: ConnectionMetrics,
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
        metrics: ConnectionMetrics,
    ) -> Self {
        Self { io, window, connections, sending, wait: None, held: None, metrics, timer: None }
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
        let held = self.sending.held();
        let is_same = match (self.held, held) {
            (Some((before, _)), Some(held)) => before.is_same(held),
            (before, held) => before.is_none() && held.is_none(),
        };
        if !is_same {
            let until = |part: HeldPart| Instant::now() + self.window * part.windows();
            self.held = held.map(|part| (part, until(part)));
        }
        if let Some((_, until)) = self.held {
            wait.until = wait.until.min(until);
        }
        if wait.unread.is_none() {
            wait.unread = self.sending.unread();
            if wait.unread.as_ref().is_some_and(|unread| !unread.client_is_awaited()) {
                self.metrics.count(Cut::NoRoom);
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
                let now = Instant::now();
                if let Some((held, _)) = self.held.filter(|(_, until)| now >= *until) {
                    self.sending.is_cut(held);
                    self.metrics.count(Cut::Held);
                    return Err(io::ErrorKind::TimedOut.into());
                }
                if wait.taken_bytes < least_bytes.max(1) {
                    self.metrics.count(Cut::NotRead);
                    return Err(io::ErrorKind::TimedOut.into());
                }
                let until = now + window;
                wait.until = self.held.map_or(until, |(_, held_until)| until.min(held_until));
                wait.taken_bytes = 0;
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

#[cfg(test)]
mod tests {
    use super::*;
    use domain::UserId;
    use futures_util::StreamExt as _;
    use hyper::Request;
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use std::convert::Infallible;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use web::memory::Budget;

    const WINDOW: Duration = Duration::from_secs(60);

    /// How much of a body a client gets that takes so many bytes a second.
    async fn read_at(
        bytes_per_second: usize,
        body: impl Fn() -> Response<Body> + Send + 'static,
    ) -> usize {
        let (mut client, server) = tokio::io::duplex(bytes_per_second.max(4096));
        let sending = Sending::default();
        let guarded = sending.clone();
        let service = service_fn(move |_: Request<Incoming>| {
            let mut response = body();
            sending.begins(&mut response);
            async { Ok::<_, Infallible>(response) }
        });
        let stream = TokioIo::new(server);
        let io =
            WriteGuard::new(stream, WINDOW, Arc::default(), guarded, ConnectionMetrics::default());
        let mut http = http1::Builder::new();
        http.max_buf_size(128 << 10);
        let connection = tokio::spawn(http.serve_connection(io, service));
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let (mut buffer, mut seen) = (vec![0; bytes_per_second], 0);
        loop {
            match client.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(bytes) => seen += bytes,
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let _ = connection.await;
        seen
    }

    const SIZE: usize = 1 << 20;

    fn whole() -> Response<Body> {
        Response::new(web::full(vec![7; SIZE]))
    }

    fn in_pieces() -> Response<Body> {
        let (pieces, budget) = (HeldPieces::default(), Budget::new(SIZE));
        let counted = pieces.clone();
        let frames = futures_util::stream::iter(0..SIZE / 65_536).map(move |_| {
            let piece = counted.tie(budget.share_of(UserId(1)), vec![7; 65_536].into());
            Ok::<_, Infallible>(hyper::body::Frame::data(piece))
        });
        let mut response = Response::new(web::boxed(http_body_util::StreamBody::new(frames)));
        response.extensions_mut().insert(pieces);
        response
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_whole_is_taken_in_a_few_windows() {
        assert!(read_at(4_000, whole).await > SIZE);
        // It would be there for half an hour.
        let seen = read_at(600, whole).await;
        assert!((150_000..200_000).contains(&seen), "{seen}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_large_has_a_window_for_each_half_of_a_mebibyte() {
        let large = || Response::new(web::full(vec![7; 8 * SIZE]));
        assert!(read_at(10_000, large).await > 8 * SIZE);
        // Sixteen minutes.
        let seen = read_at(6_000, large).await;
        assert!((5_500_000..6_500_000).contains(&seen), "{seen}");
    }

    fn flowing(collected: usize) -> Response<Body> {
        let (pieces, budget) = (HeldPieces::default(), Budget::new(4 * SIZE));
        let first = pieces.tie(budget.share_of(UserId(1)), vec![7; collected].into());
        let both = futures_util::stream::iter([first, vec![7; SIZE].into()]);
        let frames = both.map(|piece| Ok::<_, Infallible>(hyper::body::Frame::data(piece)));
        let mut response = Response::new(web::boxed(http_body_util::StreamBody::new(frames)));
        response.extensions_mut().insert(Unread::new(&budget, UserId(1)));
        response.extensions_mut().insert(pieces);
        response
    }

    #[tokio::test(start_paused = true)]
    async fn what_flows_is_held_as_far_as_it_was_collected() {
        assert!(read_at(600, || flowing(100_000)).await > SIZE, "it was taken in time");
        let seen = read_at(600, || flowing(SIZE)).await;
        assert!((150_000..200_000).contains(&seen), "{seen}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_piece_of_what_is_made_as_it_is_read_has_that_time() {
        assert!(read_at(1_000, in_pieces).await > SIZE);
    }
}
