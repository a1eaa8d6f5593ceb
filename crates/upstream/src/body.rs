//! The body of an outgoing request, and how far it has been sent.

use crate::error::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::time::Instant;

/// The body of a request.
pub enum Payload {
    /// Complete already; empty bytes are no body at all.
    Whole(Bytes),
    /// Still arriving.
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

impl From<UnsyncBoxBody<Bytes, BoxError>> for Payload {
    fn from(body: UnsyncBoxBody<Bytes, BoxError>) -> Self {
        Self::Stream(body)
    }
}

/// The progress of a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Progress {
    /// The body has not been polled yet: the head is not written either.
    Untouched = 0,
    /// Being written.
    Writing = 1,
    /// Waiting for the next piece from the client.
    Starved = 2,
    /// Handed over completely.
    Complete = 3,
    /// The body itself failed.
    Failed = 4,
}

/// Progress shared between a request's body, which the connection owns, and the task that awaits
/// the reply.
pub(crate) struct Watch {
    start: Instant,
    progress: AtomicU8,
    /// Milliseconds from `start` to the last step.
    step_ms: AtomicU64,
    /// Milliseconds spent waiting for the client, up to the last step.
    starved_ms: AtomicU64,
}

impl Watch {
    pub(crate) const fn new(start: Instant) -> Self {
        let progress = AtomicU8::new(Progress::Untouched as u8);
        let (step_ms, starved_ms) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { start, progress, step_ms, starved_ms }
    }

    pub(crate) const fn start(&self) -> Instant {
        self.start
    }

    pub(crate) fn progress(&self) -> Progress {
        match self.progress.load(Ordering::Acquire) {
            0 => Progress::Untouched,
            1 => Progress::Writing,
            2 => Progress::Starved,
            3 => Progress::Complete,
            _ => Progress::Failed,
        }
    }

    /// Milliseconds from the start to the last step.
    pub(crate) fn step_ms(&self) -> u64 {
        self.step_ms.load(Ordering::Acquire)
    }

    /// Milliseconds spent waiting for the client, up to the last step.
    pub(crate) fn starved_ms(&self) -> u64 {
        self.starved_ms.load(Ordering::Acquire)
    }

    /// Only the body itself records steps, so there is no concurrent write.
    fn note(&self, progress: Progress) {
        let elapsed = self.start.elapsed().as_millis();
        let now_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let before_ms = self.step_ms.swap(now_ms, Ordering::AcqRel);
        if self.progress() == Progress::Starved {
            let starved_ms = now_ms.saturating_sub(before_ms);
            self.starved_ms.fetch_add(starved_ms, Ordering::AcqRel);
        }
        self.progress.store(progress as u8, Ordering::Release);
    }

    fn touch(&self, complete: bool) {
        if self.progress() == Progress::Untouched {
            self.note(if complete { Progress::Complete } else { Progress::Writing });
        }
    }
}

/// A payload that records how far it was sent.
///
/// hyper checks whether a body has ended just before it writes the head, and not earlier: a request
/// that fails before that was never sent. A test pins hyper to this.
pub(crate) struct Tracked {
    payload: Payload,
    watch: Arc<Watch>,
}

impl Tracked {
    pub(crate) const fn new(payload: Payload, watch: Arc<Watch>) -> Self {
        Self { payload, watch }
    }

    fn ended(&self) -> bool {
        match &self.payload {
            Payload::Whole(bytes) => bytes.is_empty(),
            Payload::Stream(body) => body.is_end_stream(),
        }
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let polled = match &mut this.payload {
            Payload::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                let frame = (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)));
                Poll::Ready(frame)
            }
            Payload::Stream(body) => Pin::new(body).poll_frame(cx),
        };
        this.watch.note(match &polled {
            Poll::Pending => {
                if this.watch.progress() == Progress::Starved {
                    return polled;
                }
                Progress::Starved
            }
            Poll::Ready(None) => Progress::Complete,
            Poll::Ready(Some(Err(_))) => Progress::Failed,
            Poll::Ready(Some(Ok(_))) if this.ended() => Progress::Complete,
            Poll::Ready(Some(Ok(_))) => Progress::Writing,
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        let ended = self.ended();
        self.watch.touch(ended);
        ended
    }

    fn size_hint(&self) -> SizeHint {
        match &self.payload {
            Payload::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Payload::Stream(body) => body.size_hint(),
        }
    }
}
