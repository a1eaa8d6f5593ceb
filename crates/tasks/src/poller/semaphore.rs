//! A semaphore whose capacity can be changed while permits are held.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Hands out at most `capacity` permits at a time.
pub(super) struct ResizableSemaphore {
    permits: Semaphore,
    capacity: Mutex<usize>,
    /// Permits in use beyond the capacity, which are not handed out again when they are dropped.
    surplus: AtomicUsize,
}

/// One permit, until it is dropped.
pub(super) struct Permit<'a> {
    permit: Option<SemaphorePermit<'a>>,
    surplus: &'a AtomicUsize,
}

impl ResizableSemaphore {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = bounded(capacity);
        let (permits, surplus) = (Semaphore::new(capacity), AtomicUsize::new(0));
        Self { permits, capacity: Mutex::new(capacity), surplus }
    }

    /// Changes the capacity. If it grows, waiters get permits at once; if it shrinks, no new permit
    /// is handed out until enough have been dropped.
    pub(super) fn set(&self, capacity: usize) {
        let capacity = bounded(capacity);
        let mut now = self.capacity.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in *now..capacity {
            if !take_one(&self.surplus) {
                self.permits.add_permits(1);
            }
        }
        let fewer = now.saturating_sub(capacity);
        let taken = self.permits.forget_permits(fewer);
        self.surplus.fetch_add(fewer - taken, Ordering::Relaxed);
        *now = capacity;
    }

    pub(super) fn capacity(&self) -> usize {
        *self.capacity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn acquire(&self) -> Permit<'_> {
        Permit { permit: self.permits.acquire().await.ok(), surplus: &self.surplus }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take()
            && take_one(self.surplus)
        {
            permit.forget();
        }
    }
}

/// Decrements `count`; returns whether it was above zero.
fn take_one(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok()
}

fn bounded(capacity: usize) -> usize {
    capacity.clamp(1, Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::pin::pin;

    fn begin(semaphore: &ResizableSemaphore) -> Option<Permit<'_>> {
        semaphore.acquire().now_or_never()
    }

    #[test]
    fn a_waiter_gets_a_permit_when_the_capacity_grows() {
        let semaphore = ResizableSemaphore::new(1);
        let first = begin(&semaphore).unwrap();
        let mut waiting = pin!(semaphore.acquire());
        assert!(waiting.as_mut().now_or_never().is_none());

        semaphore.set(2);

        let second = waiting.now_or_never().unwrap();
        assert!(begin(&semaphore).is_none());
        drop((first, second));
        assert_eq!(semaphore.permits.available_permits(), 2);
    }

    #[test]
    fn no_permit_is_handed_out_until_few_enough_are_held() {
        let semaphore = ResizableSemaphore::new(3);
        let mut held: Vec<_> = (0..3).map(|_| begin(&semaphore).unwrap()).collect();
        semaphore.set(1);
        for left in [2, 1] {
            held.truncate(left);
            assert!(begin(&semaphore).is_none());
        }
        held.clear();
        assert!(begin(&semaphore).is_some());

        semaphore.set(0);
        assert_eq!(semaphore.capacity(), 1, "the minimum");
        semaphore.set(4);
        assert_eq!((semaphore.capacity(), semaphore.permits.available_permits()), (4, 4));
    }

    #[test]
    fn growing_again_cancels_a_pending_reduction() {
        let semaphore = ResizableSemaphore::new(2);
        let held = [begin(&semaphore).unwrap(), begin(&semaphore).unwrap()];
        semaphore.set(1);
        semaphore.set(2);
        drop(held);
        assert_eq!(semaphore.permits.available_permits(), 2);
    }
}
