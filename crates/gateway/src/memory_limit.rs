//! The ceiling on resident memory: past it no new call is taken.

use crate::process;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Calls are accepted again once this percentage of the limit is free. Without a margin, the first
/// call that is accepted would reach the limit again.
const MARGIN_PERCENT: u64 = 5;

/// The ceiling, and whether it is reached.
pub(crate) struct MemoryLimit {
    /// 0: none.
    limit_bytes: AtomicU64,
    full: AtomicBool,
    /// Has the data plane refuse new calls, or take them again.
    refuse: Box<dyn Fn(bool) + Send + Sync>,
    /// The same, as a metric.
    reached: Gauge,
}

impl MemoryLimit {
    /// Creates a limit of `limit_bytes`; 0: none. `refuse` is called with `true` whenever it is
    /// reached, and with `false` when there is room again.
    pub(crate) fn new(limit_bytes: u64, refuse: impl Fn(bool) + Send + Sync + 'static) -> Self {
        Self {
            limit_bytes: AtomicU64::new(limit_bytes),
            full: AtomicBool::new(false),
            refuse: Box::new(refuse),
            reached: Gauge::default(),
        }
    }

    /// Puts the ceiling there from now on; 0: none.
    pub(crate) fn set(&self, limit_bytes: u64) {
        self.limit_bytes.store(limit_bytes, Ordering::Relaxed);
        self.look();
    }

    /// The ceiling, if there is one.
    pub(crate) fn bytes(&self) -> Option<u64> {
        Some(self.limit_bytes.load(Ordering::Relaxed)).filter(|limit| *limit > 0)
    }

    /// Whether new calls are refused.
    fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Registers its metric.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "custompass_memory_limit_reached",
            "1 while calls are refused because MEMORY_LIMIT is reached",
            self.reached.clone(),
        );
    }

    /// Looks at what is used now.
    pub(crate) fn look(&self) {
        match self.limit_bytes.load(Ordering::Relaxed) {
            0 => self.consider(0, u64::MAX),
            limit => {
                if let Some(bytes) = process::resident_bytes() {
                    self.consider(bytes, limit);
                }
            }
        }
    }

    fn consider(&self, bytes: u64, limit: u64) {
        let was = self.is_full();
        let ceiling = if was { limit - limit / 100 * MARGIN_PERCENT } else { limit };
        let full = bytes > ceiling;
        if full != was {
            self.full.store(full, Ordering::Relaxed);
            (self.refuse)(full);
            self.reached.set(i64::from(full));
            let event = "memory_limit";
            tracing::warn!(target: "custompass", event, reached = full, bytes, limit);
        }
    }
}

impl fmt::Debug for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLimit").field("full", &self.full).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn opens_again_only_with_some_room() {
        let refuses = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&refuses);
        let limit = MemoryLimit::new(0, move |full| told.store(full, Ordering::Relaxed));
        let seen = [999, 1_000, 1_001, 990, 951, 950, 1_000, 1_001].map(|bytes| {
            limit.consider(bytes, 1_000);
            assert_eq!(limit.reached.get(), i64::from(limit.is_full()));
            assert_eq!(refuses.load(Ordering::Relaxed), limit.is_full());
            limit.is_full()
        });
        assert_eq!(seen, [false, false, true, true, true, false, false, true]);
        limit.set(0);
        assert!(!limit.is_full(), "no limit, no ceiling");
    }
}
