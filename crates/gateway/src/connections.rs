//! The connections of one place, and the word that ends them.
//!
//! Each looks at one number whenever it is polled. Listening to a channel in place of that would
//! have every poll of every connection take locks that all threads share.

use hyper_util::server::graceful::GracefulConnection;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What connections are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Word {
    /// Take requests.
    Serve,
    /// Finish what is under way, and end.
    Finish,
    /// End at once.
    Cut,
}

/// Some connections.
#[derive(Debug, Default)]
pub struct Connections {
    /// How many there are.
    open: AtomicUsize,
    word: AtomicU8,
    wakers: Mutex<Wakers>,
}

#[derive(Debug, Default)]
struct Wakers {
    last: u64,
    by_number: HashMap<u64, Waker>,
}

/// A connection's place among the others, given back when it ends.
pub struct Member {
    all: Arc<Connections>,
    number: Option<u64>,
}

/// A connection that listens. It must be all of its task, so that its first waker stays the right
/// one.
pub struct Attended<C> {
    connection: C,
    member: Member,
    told: u8,
}

impl Connections {
    /// How many there are.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts one more.
    pub fn join(self: &Arc<Self>) -> Member {
        self.open.fetch_add(1, Ordering::Relaxed);
        Member { all: Arc::clone(self), number: None }
    }

    /// Tells all of them, and those to come.
    pub fn tell(&self, word: Word) {
        self.word.store(word as u8, Ordering::SeqCst);
        for waker in self.wakers().by_number.values() {
            waker.wake_by_ref();
        }
    }

    fn wakers(&self) -> MutexGuard<'_, Wakers> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// Runs `connection` to its end, or until the word says otherwise.
    pub const fn attend<C>(self, connection: C) -> Attended<C> {
        Attended { connection, member: self, told: Word::Serve as u8 }
    }

    /// Leaves word where it can be woken, the first time.
    fn listen(&mut self, waker: &Waker) {
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

impl<C: GracefulConnection + Unpin> Future for Attended<C> {
    type Output = Result<(), C::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.member.listen(cx.waker());
        let word = this.member.all.word.load(Ordering::SeqCst);
        if word >= Word::Cut as u8 {
            return Poll::Ready(Ok(()));
        }
        let mut connection = Pin::new(&mut this.connection);
        if word != this.told {
            this.told = word;
            connection.as_mut().graceful_shutdown();
        }
        connection.poll(cx)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.all.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(number) = self.number {
            self.all.wakers().by_number.remove(&number);
        }
    }
}
