//! Lets work survive its client. hyper drops the service's future when the client disconnects; a
//! request that must complete by then is handed over to a tracked job.
//!
//! None of this costs anything while the client stays connected: the phases are boxed, and run
//! where hyper polls them.

use crate::Relay;
use http::Response;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use web::Body;

const MUST_COMPLETE: u8 = 1;
const DISCONNECTED: u8 = 2;
const DRAIN_OVER: u8 = 4;

/// State shared by the phases of a request and [`DetachOnDrop`].
#[derive(Debug, Default)]
pub(crate) struct ClientLink(AtomicU8);

impl ClientLink {
    /// From here on the phases run to their end, with or without the client.
    pub(crate) fn must_complete(&self) {
        self.0.fetch_or(MUST_COMPLETE, Ordering::Relaxed);
    }

    pub(crate) fn is_disconnected(&self) -> bool {
        self.has(DISCONNECTED)
    }

    /// Whether the client has been disconnected for longer than its reply is drained.
    pub(crate) fn is_drain_over(&self) -> bool {
        self.has(DRAIN_OVER)
    }

    fn has(&self, flag: u8) -> bool {
        self.0.load(Ordering::Relaxed) & flag != 0
    }
}

type Phases = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// The phases of a request, which continue as a job when this is dropped and they must complete.
pub(crate) struct DetachOnDrop {
    relay: Arc<Relay>,
    link: Arc<ClientLink>,
    phases: Option<Phases>,
}

impl DetachOnDrop {
    pub(crate) const fn new(relay: Arc<Relay>, link: Arc<ClientLink>, phases: Phases) -> Self {
        Self { relay, link, phases: Some(phases) }
    }
}

impl Future for DetachOnDrop {
    type Output = Response<Body>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        let Some(phases) = &mut self.phases else { return Poll::Pending };
        let polled = phases.as_mut().poll(cx);
        if polled.is_ready() {
            self.phases = None;
        }
        polled
    }
}

impl Drop for DetachOnDrop {
    fn drop(&mut self) {
        let phases = self.phases.take().filter(|_| self.link.has(MUST_COMPLETE));
        let Some(phases) = phases else { return };
        self.link.0.fetch_or(DISCONNECTED, Ordering::Relaxed);
        let rest = complete(Arc::clone(&self.relay), phases, Arc::clone(&self.link));
        self.relay.spawn("call without its client", rest);
    }
}

/// Completes a request whose client has disconnected. The response is dropped, and settles what
/// depends on it.
async fn complete(relay: Arc<Relay>, mut phases: Phases, link: Arc<ClientLink>) {
    tokio::select! {
        _ = phases.as_mut() => return,
        () = tokio::time::sleep(Duration::from_millis(relay.config.drain_ms)) => {}
        () = relay.drains_cancelled.cancelled() => {}
    }
    // Every phase that reads the upstream checks the link when it is polled.
    link.0.fetch_or(DRAIN_OVER, Ordering::Relaxed);
    phases.await;
}
