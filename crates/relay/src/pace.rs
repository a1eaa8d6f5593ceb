//! The minimum rate of a request's body. Only the time spent waiting for the client counts: an
//! upstream that takes a body slowly is not the client's fault.

use crate::inlet::InletError;
use bytes::Bytes;
use http_body::Body as _;
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// The minimum rate. The slowest codecs for speech send more; a client that sends less is holding
/// memory, or a slot at an upstream, on purpose.
const LEAST_BYTES_PER_SECOND: u64 = 256;

/// The rate of a body so far.
pub(crate) struct Pace {
    window: Duration,
    /// What is left of the total time; `None`: there is no limit.
    left: Option<Duration>,
    /// Time waited and bytes received in this window.
    waited: Duration,
    come_bytes: u64,
    waiting_since: Option<Instant>,
    /// Created at the first wait: most bodies come with their head.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(crate) fn new(window_ms: u64, total_ms: Option<u64>) -> Self {
        Self {
            window: Duration::from_millis(window_ms),
            left: total_ms.map(Duration::from_millis),
            waited: Duration::ZERO,
            come_bytes: 0,
            waiting_since: None,
            timer: None,
        }
    }

    /// From here on it may take as long as its call.
    pub(crate) const fn has_no_end(&mut self) {
        self.left = None;
    }

    /// The next non-empty piece; `None` at the end.
    pub(crate) fn poll_piece(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, InletError>>> {
        loop {
            let frame = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let late = ready!(self.poll_late(cx));
                    return Poll::Ready(Some(Err(late)));
                }
            };
            if let Some(since) = self.waiting_since.take() {
                self.waits(since.elapsed());
            }
            let frame = match frame {
                None => return Poll::Ready(None),
                Some(Err(e)) => return Poll::Ready(Some(Err(InletError::Broken(e)))),
                Some(Ok(frame)) => frame,
            };
            // Trailers of a request are not used, and belong to this connection.
            if let Ok(piece) = frame.into_data()
                && !piece.is_empty()
            {
                self.come_bytes = self.come_bytes.saturating_add(piece.len() as u64);
                return Poll::Ready(Some(Ok(piece)));
            }
        }
    }

    fn waits(&mut self, waited: Duration) {
        self.waited += waited;
        self.left = self.left.map(|left| left.saturating_sub(waited));
    }

    /// Waits until the client is too slow.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<InletError> {
        loop {
            let since = *self.waiting_since.get_or_insert_with(Instant::now);
            let window_left = self.window.saturating_sub(self.waited);
            let at = since + self.left.unwrap_or(window_left).min(window_left);
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
            // A timer set for an earlier piece fires early; only then is it reset.
            if timer.deadline() > at {
                timer.as_mut().reset(at);
            }
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            if now < at {
                timer.as_mut().reset(at);
                continue;
            }
            self.waiting_since = Some(now);
            self.waits(now.duration_since(since));
            let least_bytes = self.window.as_secs().saturating_mul(LEAST_BYTES_PER_SECOND).max(1);
            let over = self.left.is_some_and(|left| left.is_zero());
            if over || (self.waited >= self.window && self.come_bytes < least_bytes) {
                return Poll::Ready(InletError::TooSlow);
            }
            if self.waited >= self.window {
                (self.waited, self.come_bytes) = (Duration::ZERO, 0);
            }
        }
    }
}
