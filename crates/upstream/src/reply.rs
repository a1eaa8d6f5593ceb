//! The body of a reply, under its deadlines.

use crate::error::{Phase, SendError, chain};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// How many pieces may come in a row, without a wait between them, before the clock is looked at.
const PIECES_BETWEEN_LOOKS: u8 = 32;

/// The body of an upstream's reply. It ends cleanly, or with an error that says whether it was cut
/// or took too long; after an error there is nothing more.
pub struct ReplyBody {
    inner: Incoming,
    idle: Duration,
    total_at: Instant,
    /// Since when the next piece has been waited for. The time that the client takes to read is
    /// not the upstream's.
    waiting_since: Option<Instant>,
    /// Made at the first wait: a body that is here whole needs no timer.
    timer: Option<Pin<Box<Sleep>>>,
    in_a_row: u8,
    ended: bool,
}

impl ReplyBody {
    pub(crate) const fn new(inner: Incoming, idle: Duration, total_at: Instant) -> Self {
        let (waiting_since, timer, in_a_row, ended) = (None, None, 0, false);
        Self { inner, idle, total_at, waiting_since, timer, in_a_row, ended }
    }

    fn fail(&mut self, error: SendError) -> Poll<Option<Result<Frame<Bytes>, SendError>>> {
        self.ended = true;
        Poll::Ready(Some(Err(error)))
    }

    /// Waits for whichever deadline comes first.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<Phase> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let idle_at = since + self.idle;
        let at = idle_at.min(self.total_at);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        loop {
            // A timer that was set for an earlier piece fires early; only then is it moved.
            if timer.deadline() > at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= self.total_at {
                return Poll::Ready(Phase::Total);
            }
            if now >= idle_at {
                return Poll::Ready(Phase::Idle);
            }
            timer.as_mut().reset(at);
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = SendError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SendError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.waiting_since = None;
                this.in_a_row += 1;
                if this.in_a_row >= PIECES_BETWEEN_LOOKS {
                    this.in_a_row = 0;
                    if Instant::now() >= this.total_at {
                        return this.fail(SendError::Timeout(Phase::Total));
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => this.fail(SendError::Cut(chain(&error))),
            Poll::Ready(None) => {
                this.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => {
                this.in_a_row = 0;
                match this.poll_deadlines(cx) {
                    Poll::Ready(phase) => this.fail(SendError::Timeout(phase)),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
