//! The work must survive its client. hyper drops the service's future when the client hangs up;
//! a walk that has something at stake by then is handed over to a tracked job, and goes on.
//!
//! Nothing of this costs anything while the client stays: the walk is boxed, and runs where hyper
//! polls it.

use crate::Relay;
use http::Response;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use web::Body;

const AT_STAKE: u8 = 1;
const GONE: u8 = 2;
const DRAIN_OVER: u8 = 4;

/// What a walk and its carrier tell each other.
#[derive(Debug, Default)]
pub(crate) struct Tie(AtomicU8);

impl Tie {
    /// From here on the walk must reach its end.
    pub(crate) fn at_stake(&self) {
        self.0.fetch_or(AT_STAKE, Ordering::Relaxed);
    }

    /// Whether the client has gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.has(GONE)
    }

    /// Whether the client has been gone for so long that we stop reading for nobody.
    pub(crate) fn is_drain_over(&self) -> bool {
        self.has(DRAIN_OVER)
    }

    fn has(&self, flag: u8) -> bool {
        self.0.load(Ordering::Relaxed) & flag != 0
    }
}

type Walk = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// A walk that survives being dropped.
pub(crate) struct Carried {
    relay: Arc<Relay>,
    tie: Arc<Tie>,
    walk: Option<Walk>,
}

impl Carried {
    pub(crate) const fn new(relay: Arc<Relay>, tie: Arc<Tie>, walk: Walk) -> Self {
        Self { relay, tie, walk: Some(walk) }
    }
}

impl Future for Carried {
    type Output = Response<Body>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        let Some(walk) = &mut self.walk else { return Poll::Pending };
        let polled = walk.as_mut().poll(cx);
        if polled.is_ready() {
            self.walk = None;
        }
        polled
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        let Some(walk) = self.walk.take().filter(|_| self.tie.has(AT_STAKE)) else { return };
        self.tie.0.fetch_or(GONE, Ordering::Relaxed);
        let rest = carry_on(Arc::clone(&self.relay), walk, Arc::clone(&self.tie));
        self.relay.spawn("call without its client", rest);
    }
}

/// Finishes a walk whose client has gone. Its reply is dropped, and what hangs on it settles
/// itself.
async fn carry_on(relay: Arc<Relay>, mut walk: Walk, tie: Arc<Tie>) {
    tokio::select! {
        _ = walk.as_mut() => return,
        () = tokio::time::sleep(Duration::from_millis(relay.config.drain_ms)) => {}
        () = relay.hurried.cancelled() => {}
    }
    // Whatever the walk waits for looks at the tie whenever it is polled, and we poll it.
    tie.0.fetch_or(DRAIN_OVER, Ordering::Relaxed);
    walk.await;
}
