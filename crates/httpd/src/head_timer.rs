//! The timer of one connection's request heads.
//!
//! hyper creates a timer for every head it waits for, and drops it when the head has arrived. Here
//! all of them share one that stays armed: set for an earlier head it fires early, which costs a
//! look at the clock once in a while, where arming and disarming has a cost every time.

use hyper::rt::{Sleep, Timer};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::sleep_until;

type Alarm = Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>;

/// Creates the timers of one connection.
#[derive(Default)]
pub(crate) struct HeadTimer(Alarm);

/// The timer of one head.
struct Head {
    alarm: Alarm,
    deadline: Instant,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Head { alarm: Arc::clone(&self.0), deadline })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

impl Sleep for Head {}

impl Future for Head {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = tokio::time::Instant::from(self.deadline);
        let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() > deadline {
            alarm.as_mut().reset(deadline);
        }
        loop {
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if tokio::time::Instant::now() >= deadline {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_head_has_its_whole_time() {
        let timer = HeadTimer::default();
        let begin = Instant::now();
        let ms = Duration::from_millis;
        assert!(tokio::time::timeout(ms(20), timer.sleep(ms(40))).await.is_err());
        timer.sleep(ms(40)).await;
        assert!(begin.elapsed() >= ms(60), "the first head's timer is not the second's");
        // Also one that is due before the armed timer.
        assert!(tokio::time::timeout(ms(1), timer.sleep(ms(60_000))).await.is_err());
        timer.sleep(ms(1)).await;
        assert!(begin.elapsed() < ms(30_000));
    }
}
