//! How many may do something at the same time: a number that can be changed while they do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::{Semaphore, SemaphorePermit};

/// So many turns at a time.
pub(super) struct Width {
    turns: Semaphore,
    most: Mutex<usize>,
    /// Turns under way that are not given to anybody after their end: there may be fewer now.
    surplus: AtomicUsize,
}

/// One of the turns, until it is dropped.
pub(super) struct Turn<'a> {
    permit: Option<SemaphorePermit<'a>>,
    surplus: &'a AtomicUsize,
}

impl Width {
    pub(super) fn new(most: usize) -> Self {
        let most = bounded(most);
        let (turns, surplus) = (Semaphore::new(most), AtomicUsize::new(0));
        Self { turns, most: Mutex::new(most), surplus }
    }

    /// Lets so many have a turn from now on: who waits has one at once where there are more, and
    /// where there are fewer, nobody begins until enough have ended.
    pub(super) fn set(&self, most: usize) {
        let most = bounded(most);
        let mut now = self.most.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in *now..most {
            if !take_one(&self.surplus) {
                self.turns.add_permits(1);
            }
        }
        let fewer = now.saturating_sub(most);
        let taken = self.turns.forget_permits(fewer);
        self.surplus.fetch_add(fewer - taken, Ordering::Relaxed);
        *now = most;
    }

    pub(super) fn most(&self) -> usize {
        *self.most.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn { permit: self.turns.acquire().await.ok(), surplus: &self.surplus }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take()
            && take_one(self.surplus)
        {
            permit.forget();
        }
    }
}

/// Whether there was one to take.
fn take_one(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok()
}

fn bounded(most: usize) -> usize {
    most.clamp(1, Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::pin::pin;

    fn begin(width: &Width) -> Option<Turn<'_>> {
        width.turn().now_or_never()
    }

    #[test]
    fn who_waits_begins_when_there_may_be_more() {
        let width = Width::new(1);
        let first = begin(&width).unwrap();
        let mut waiting = pin!(width.turn());
        assert!(waiting.as_mut().now_or_never().is_none());

        width.set(2);

        let second = waiting.now_or_never().unwrap();
        assert!(begin(&width).is_none());
        drop((first, second));
        assert_eq!(width.turns.available_permits(), 2);
    }

    #[test]
    fn nobody_begins_until_there_are_few_enough() {
        let width = Width::new(3);
        let mut turns: Vec<_> = (0..3).map(|_| begin(&width).unwrap()).collect();
        width.set(1);
        for left in [2, 1] {
            turns.truncate(left);
            assert!(begin(&width).is_none());
        }
        turns.clear();
        assert!(begin(&width).is_some());

        width.set(0);
        assert_eq!(width.most(), 1, "somebody always may");
        width.set(4);
        assert_eq!((width.most(), width.turns.available_permits()), (4, 4));
    }

    #[test]
    fn what_is_to_be_taken_away_is_given_again_first() {
        let width = Width::new(2);
        let turns = [begin(&width).unwrap(), begin(&width).unwrap()];
        width.set(1);
        width.set(2);
        drop(turns);
        assert_eq!(width.turns.available_permits(), 2);
    }
}
