//! What is known of one channel while it serves.

use crate::codes::Codes;
use crate::meter::TrafficMeter;
use arc_swap::ArcSwapOption;
use domain::ChannelId;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

/// The state of a channel's breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// The channel is paused.
    Open,
    /// One call probes whether the upstream has recovered.
    HalfOpen,
}

/// Not an instant: the breaker is closed.
const CLOSED: i64 = i64::MIN;
/// Not an instant: a call probes.
const PROBED: i64 = i64::MAX;

/// The live counters of one channel.
#[derive(Debug)]
pub struct ChannelTraffic {
    /// The channel.
    pub id: ChannelId,
    /// Calls that were sent to it, each attempt for itself, and the time to the head of the reply.
    pub meter: TrafficMeter,
    /// Calls in flight. They are counted here alone: the limit of concurrent calls goes by it.
    pub in_flight: AtomicU32,
    /// When the open breaker is tried again, on the clock of [`crate::Traffic::now_ms`].
    retry_ms: AtomicI64,
    /// Why it is paused, where its account is broken.
    account: ArcSwapOption<String>,
}

impl ChannelTraffic {
    pub(crate) fn new(id: ChannelId, codes: Arc<Codes>) -> Self {
        Self {
            id,
            meter: TrafficMeter::new(codes, 1),
            in_flight: AtomicU32::new(0),
            retry_ms: AtomicI64::new(CLOSED),
            account: ArcSwapOption::empty(),
        }
    }

    /// The breaker is in this state now; open, it is tried again at `retry_ms`.
    pub fn breaker_is(&self, state: BreakerState, retry_ms: i64) {
        let at = match state {
            BreakerState::Closed => CLOSED,
            BreakerState::HalfOpen => PROBED,
            BreakerState::Open => retry_ms.clamp(CLOSED + 1, PROBED - 1),
        };
        self.retry_ms.store(at, Ordering::Relaxed);
    }

    /// The channel is paused because its account is broken, for this reason.
    pub fn account_broke(&self, why: &str) {
        self.account.store(Some(Arc::new(why.to_owned())));
    }

    /// It is not, or no longer.
    pub fn account_works(&self) {
        if self.account.load().is_some() {
            self.account.store(None);
        }
    }

    /// The state of its breaker, and when it is tried again, if it is open.
    #[must_use]
    pub fn breaker(&self) -> (BreakerState, Option<i64>) {
        match self.retry_ms.load(Ordering::Relaxed) {
            CLOSED => (BreakerState::Closed, None),
            PROBED => (BreakerState::HalfOpen, None),
            at => (BreakerState::Open, Some(at)),
        }
    }

    /// Why it is paused, where its account is broken.
    #[must_use]
    pub fn account(&self) -> Option<String> {
        self.account.load().as_ref().map(|why| String::clone(why))
    }

    /// Calls in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_breaker_says_when_it_is_tried_again() {
        let channel = ChannelTraffic::new(ChannelId(1), Arc::default());
        assert_eq!(channel.breaker(), (BreakerState::Closed, None));
        channel.breaker_is(BreakerState::Open, 5_000);
        assert_eq!(channel.breaker(), (BreakerState::Open, Some(5_000)));
        channel.breaker_is(BreakerState::HalfOpen, 5_000);
        assert_eq!(channel.breaker(), (BreakerState::HalfOpen, None));
        channel.account_broke("status 401");
        assert_eq!(channel.account().unwrap(), "status 401");
        channel.account_works();
        assert_eq!(channel.account(), None);
    }
}
