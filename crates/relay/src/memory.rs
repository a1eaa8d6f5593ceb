//! The byte budget of all bodies that are held in memory.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

/// What all held bodies may take together.
#[derive(Debug)]
pub(crate) struct Budget {
    limit_bytes: AtomicI64,
    /// Also a metric.
    used_bytes: Gauge,
}

/// A share of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: i64,
}

impl Budget {
    pub(crate) fn new(limit_bytes: usize) -> Arc<Self> {
        let limit_bytes = AtomicI64::new(signed(limit_bytes));
        Arc::new(Self { limit_bytes, used_bytes: Gauge::default() })
    }

    /// Makes it this large from now on. Shares that are taken stay, also when they are more.
    pub(crate) fn resize(&self, limit_bytes: usize) {
        self.limit_bytes.store(signed(limit_bytes), Ordering::Relaxed);
    }

    /// An empty share, to grow as data comes.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0 }
    }

    /// What is used now.
    pub(crate) const fn used_bytes(&self) -> &Gauge {
        &self.used_bytes
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Share {
    /// Makes the share at least `bytes` large. `false`: the budget doesn't reach.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        let bytes = signed(bytes);
        let more = bytes - self.bytes;
        if more <= 0 {
            return true;
        }
        let before = self.budget.used_bytes.inc_by(more);
        if before.saturating_add(more) > self.budget.limit_bytes.load(Ordering::Relaxed) {
            self.budget.used_bytes.dec_by(more);
            return false;
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used_bytes.dec_by(self.bytes);
    }
}

/// A body in one piece that keeps its share of the budget until it is sent.
pub(crate) struct Held {
    bytes: Bytes,
    _share: Share,
}

impl Share {
    /// Ties the share to what it was taken for.
    pub(crate) const fn hold(self, bytes: Bytes) -> Held {
        Held { bytes, _share: self }
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_out_of_one_budget_and_go_back() {
        let budget = Budget::new(100);
        let mut one = budget.share();
        let mut two = budget.share();
        assert!(one.grow_to(60) && one.grow_to(10));
        assert!(!two.grow_to(41));
        assert!(two.grow_to(40));
        assert_eq!(budget.used_bytes().get(), 100);
        drop(one);
        assert!(two.grow_to(100));
        budget.resize(50);
        assert!(!budget.share().grow_to(1));
        drop(two);
        assert_eq!(budget.used_bytes().get(), 0);
    }
}
