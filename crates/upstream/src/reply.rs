//! The body of a reply, under its deadlines.

use crate::body::{Progress, Watch};
use crate::error::{Phase, SendError, chain};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// How many pieces may be read in a row, without a wait between them, before the clock is read.
const PIECES_BETWEEN_LOOKS: u8 = 32;

/// The body of an upstream's reply. It ends cleanly, or with an error that says whether it was cut
/// or timed out, and whether upstream or client was slow. After an error there are no more pieces,
/// except when it was the client that took too long.
pub struct ReplyBody {
    inner: Incoming,
    /// Progress of the request, which may still be in flight.
    request: Arc<Watch>,
    idle: Duration,
    /// The total time for the upstream, and the same for the client.
    total: Duration,
    start: Instant,
    /// Time spent waiting for the upstream. The rest of the time since the start was the client's:
    /// sending its request, or taking the reply.
    waited: Duration,
    /// Since when the next piece has been awaited.
    waiting_since: Option<Instant>,
    /// Created at the first wait: a body that is complete needs no timer.
    timer: Option<Pin<Box<Sleep>>>,
    in_a_row: u8,
    client_left: bool,
    ended: bool,
}

impl ReplyBody {
    pub(crate) fn new(
        inner: Incoming,
        idle: Duration,
        total: Duration,
        request: Arc<Watch>,
        start: Instant,
    ) -> Self {
        let waited = start.elapsed().saturating_sub(Duration::from_millis(request.starved_ms()));
        let (waiting_since, timer, in_a_row) = (None, None, 0);
        let (client_left, ended) = (false, false);
        Self {
            inner,
            request,
            idle,
            total,
            start,
            waited,
            waiting_since,
            timer,
            in_a_row,
            client_left,
            ended,
        }
    }

    /// From here on the body is read without its client, whose time no longer counts.
    pub const fn client_leaves(&mut self) {
        self.client_left = true;
    }

    fn fail(&mut self, error: SendError) -> Poll<Option<Result<Frame<Bytes>, SendError>>> {
        self.ended = true;
        Poll::Ready(Some(Err(error)))
    }

    /// Whether the client has used up its time, at an instant when it is not awaited.
    fn client_is_late(&self, now: Instant) -> bool {
        let since_start = now.duration_since(self.start);
        !self.client_left && since_start.saturating_sub(self.waited) >= self.total
    }

    /// Waits for the earliest deadline.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<Phase> {
        let since = match self.waiting_since {
            Some(since) => since,
            None => {
                let now = Instant::now();
                if self.client_is_late(now) {
                    return Poll::Ready(Phase::ClientReply);
                }
                *self.waiting_since.insert(now)
            }
        };
        let (idle_at, total_at) =
            (since + self.idle, since + self.total.saturating_sub(self.waited));
        let at = idle_at.min(total_at);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        loop {
            // A timer that was set for an earlier piece fires early; only then is it reset.
            if timer.deadline() > at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= at {
                // An upstream that waits for the rest of its request is not idle.
                let phase = if now >= total_at { Phase::Total } else { Phase::Idle };
                let starved = self.request.progress() == Progress::Starved;
                return Poll::Ready(if starved { Phase::ClientBody } else { phase });
            }
            timer.as_mut().reset(at);
        }
    }

    /// The error that the body ended with.
    fn broken(&self, error: hyper::Error) -> SendError {
        match self.request.progress() {
            Progress::Failed => SendError::Payload(error.into()),
            _ => SendError::Cut(chain(&error)),
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
        if this.in_a_row >= PIECES_BETWEEN_LOOKS {
            this.in_a_row = 0;
            if this.client_is_late(Instant::now()) {
                return Poll::Ready(Some(Err(SendError::Timeout(Phase::ClientReply))));
            }
        }
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(since) = this.waiting_since.take() {
                    this.waited += since.elapsed();
                }
                this.in_a_row += 1;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let error = this.broken(error);
                this.fail(error)
            }
            Poll::Ready(None) => {
                this.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => {
                this.in_a_row = 0;
                match this.poll_deadlines(cx) {
                    Poll::Ready(phase @ Phase::ClientReply) => {
                        Poll::Ready(Some(Err(SendError::Timeout(phase))))
                    }
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
