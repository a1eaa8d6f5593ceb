//! The connections of one place, and the state by which they are stopped.
//!
//! Each reads one atomic whenever it is polled. Waiting on a channel instead would make every poll
//! of every connection take locks that all threads share.

use hyper_util::server::graceful::GracefulConnection;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The state of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum ConnectionState {
    /// They accept requests.
    Serving,
    /// They finish what is in flight, and close.
    Finishing,
    /// They close at once.
    Cut,
}

/// The connections of a place.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    /// The number of open ones.
    open: AtomicUsize,
    state: AtomicU8,
    wakers: Mutex<Wakers>,
}

#[derive(Debug, Default)]
struct Wakers {
    last: u64,
    by_number: HashMap<u64, Waker>,
}

/// A connection's registration, removed when it ends.
pub(crate) struct Membership {
    all: Arc<Connections>,
    number: Option<u64>,
}

/// A connection that follows the state. It must be the whole of its task, so that its first waker
/// stays valid.
pub(crate) struct SupervisedConnection<C> {
    connection: C,
    member: Membership,
    followed: u8,
}

impl Connections {
    /// The number of open ones.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether they are to finish, or to close.
    pub(crate) fn are_stopping(&self) -> bool {
        self.state.load(Ordering::Relaxed) != ConnectionState::Serving as u8
    }

    /// Registers one more.
    pub(crate) fn join(self: &Arc<Self>) -> Membership {
        self.open.fetch_add(1, Ordering::Relaxed);
        Membership { all: Arc::clone(self), number: None }
    }

    /// Sets the state of all of them, and of future ones.
    pub(crate) fn set_all(&self, state: ConnectionState) {
        self.state.store(state as u8, Ordering::SeqCst);
        for waker in self.wakers().by_number.values() {
            waker.wake_by_ref();
        }
    }

    fn wakers(&self) -> MutexGuard<'_, Wakers> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Membership {
    /// Runs `connection` to its end, or until the state ends it.
    pub(crate) const fn supervise<C>(self, connection: C) -> SupervisedConnection<C> {
        SupervisedConnection { connection, member: self, followed: ConnectionState::Serving as u8 }
    }

    /// Registers its waker, on the first poll.
    fn register(&mut self, waker: &Waker) {
        if self.number.is_some() {
            return;
        }
        let mut wakers = self.all.wakers();
        wakers.last += 1;
        let number = wakers.last;
        wakers.by_number.insert(number, waker.clone());
        self.number = Some(number);
    }
}

impl<C: GracefulConnection + Unpin> Future for SupervisedConnection<C> {
    type Output = Result<(), C::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.member.register(cx.waker());
        let state = this.member.all.state.load(Ordering::SeqCst);
        if state >= ConnectionState::Cut as u8 {
            return Poll::Ready(Ok(()));
        }
        let mut connection = Pin::new(&mut this.connection);
        if state != this.followed {
            this.followed = state;
            connection.as_mut().graceful_shutdown();
        }
        connection.poll(cx)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.all.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(number) = self.number {
            self.all.wakers().by_number.remove(&number);
        }
    }
}
