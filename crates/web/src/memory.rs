//! The byte budget of all bodies held in memory, and each user's part of it.

use crate::BodyError;
use crate::unread::UNREAD_BYTES;
use bytes::Bytes;
use domain::UserId;
use http_body::{Body, Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};

/// The most of a held body that is sent at a time. The rest follows when this has been sent.
pub const FRAME_BYTES: usize = 64 * 1024;
/// Bodies up to this size are still admitted when large ones have used up their part.
const SMALL_BYTES: i64 = 64 * 1024;
/// The share of the budget reserved for small bodies: an eighth.
const KEPT_FOR_SMALL: i64 = 8;
/// One user's part: half. So a customer with most of the traffic is not slowed down, and no single
/// user can keep others from being served.
const USERS_PART: i64 = 2;
/// Users are counted by the low bits of their ids, without a lock or a growing table. Two users
/// that share a counter share their part.
const COUNTS: usize = 4096;
/// The count of callers who are not known yet.
const NAMELESS: usize = COUNTS;
/// The part of all of them together: a sixteenth. What they send is small, and they must not take
/// what callers have who are known.
const NAMELESS_PART: i64 = 16;

/// The budget of all held bodies.
#[derive(Debug)]
pub struct Budget {
    limit_bytes: AtomicI64,
    /// Also a metric.
    used_bytes: Gauge,
    of_users: Box<[AtomicI64]>,
    /// The part of it that flowing responses have whose clients don't read.
    unread_bytes: AtomicI64,
    unread_of_users: Box<[AtomicI64]>,
}

/// A share of the budget, of one user; given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    count: usize,
    bytes: i64,
}

impl Budget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        let limit_bytes = AtomicI64::new(signed(limit_bytes));
        let counts = || std::iter::repeat_with(AtomicI64::default).take(COUNTS + 1).collect();
        Arc::new(Self {
            limit_bytes,
            used_bytes: Gauge::default(),
            of_users: counts(),
            unread_bytes: AtomicI64::default(),
            unread_of_users: counts(),
        })
    }

    /// Resizes the budget. Shares already taken stay, even when they exceed it.
    pub fn resize(&self, limit_bytes: usize) {
        self.limit_bytes.store(signed(limit_bytes), Ordering::Relaxed);
    }

    /// An empty share, to grow as data arrives.
    #[must_use]
    pub fn share_of(self: &Arc<Self>, user_id: UserId) -> Share {
        Share { budget: Arc::clone(self), count: count_of(user_id), bytes: 0 }
    }

    /// An empty share of callers who are not known yet: all of them have one part together.
    #[must_use]
    pub fn share_of_nameless(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), count: NAMELESS, bytes: 0 }
    }

    /// Whether one more flowing response of this user would find room if its client didn't read.
    /// Who has none that is not read is not suspected.
    #[must_use]
    pub fn has_room_for_unread(&self, user_id: UserId) -> bool {
        let all = self.unread_bytes.load(Ordering::Relaxed);
        let of_user = self.unread_of_users[count_of(user_id)].load(Ordering::Relaxed);
        of_user == 0 || self.unread_fits(all + UNREAD_BYTES, of_user + UNREAD_BYTES)
    }

    /// Counts a flowing response of this user. `false`: there is no room.
    ///
    /// Bodies leave room to each other; responses under way can't, and find theirs beside bodies,
    /// which then have less. A user may have as much as is left for others: half of all, a third
    /// each where two do, and some for the next one.
    pub(crate) fn take_unread(&self, user_id: UserId) -> bool {
        let count = count_of(user_id);
        let add = |to: &AtomicI64| to.fetch_add(UNREAD_BYTES, Ordering::Relaxed) + UNREAD_BYTES;
        let (all, of_user) = (add(&self.unread_bytes), add(&self.unread_of_users[count]));
        if !self.unread_fits(all, of_user) {
            self.unread_bytes.fetch_sub(UNREAD_BYTES, Ordering::Relaxed);
            self.unread_of_users[count].fetch_sub(UNREAD_BYTES, Ordering::Relaxed);
            return false;
        }
        self.of_users[count].fetch_add(UNREAD_BYTES, Ordering::Relaxed);
        self.used_bytes.inc_by(UNREAD_BYTES);
        true
    }

    pub(crate) fn give_back_unread(&self, user_id: UserId) {
        let count = count_of(user_id);
        for from in [&self.unread_bytes, &self.unread_of_users[count], &self.of_users[count]] {
            from.fetch_sub(UNREAD_BYTES, Ordering::Relaxed);
        }
        self.used_bytes.dec_by(UNREAD_BYTES);
    }

    /// Whether a user may have so much of so much in all.
    fn unread_fits(&self, all: i64, of_user: i64) -> bool {
        of_user <= self.limit_bytes.load(Ordering::Relaxed) - all
    }

    /// Bytes that may be in use.
    #[must_use]
    pub fn limit_bytes(&self) -> i64 {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// Bytes in use.
    #[must_use]
    pub const fn used_bytes(&self) -> &Gauge {
        &self.used_bytes
    }
}

fn count_of(user_id: UserId) -> usize {
    usize::try_from(user_id.0.rem_euclid(COUNTS as i64)).unwrap_or(0)
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Share {
    /// Grows the share to at least `bytes`. `false`: the budget, or the user's part of it, is
    /// exhausted.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let bytes = signed(bytes);
        let more = bytes - self.bytes;
        if more <= 0 {
            return true;
        }
        let limit = self.budget.limit_bytes.load(Ordering::Relaxed);
        let reach = if bytes > SMALL_BYTES { limit - limit / KEPT_FOR_SMALL } else { limit };
        let of_user = &self.budget.of_users[self.count];
        let before = self.budget.used_bytes.inc_by(more);
        let before_of_user = of_user.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > reach
            || before_of_user.saturating_add(more) > limit / self.part()
        {
            of_user.fetch_sub(more, Ordering::Relaxed);
            self.budget.used_bytes.dec_by(more);
            return false;
        }
        self.bytes = bytes;
        true
    }

    /// Like [`Self::grow_to`], but a size beyond a user's part counts as that part: such a body can
    /// be served when the user has no other.
    pub fn grow_towards(&mut self, bytes: usize) -> bool {
        let most = self.budget.limit_bytes.load(Ordering::Relaxed) / self.part();
        self.grow_to(bytes.min(usize::try_from(most).unwrap_or(usize::MAX)))
    }

    /// Which part of the budget all shares of its user may have together.
    const fn part(&self) -> i64 {
        if self.count == NAMELESS { NAMELESS_PART } else { USERS_PART }
    }

    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or_default()
    }

    /// Gives back what exceeds `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes - signed(bytes);
        if less > 0 {
            self.give_back(less);
        }
    }

    /// Takes what exceeds `bytes` as a share of its own.
    #[must_use]
    pub fn split_beyond(&mut self, bytes: usize) -> Self {
        let mut rest = self.another();
        rest.bytes = (self.bytes - signed(bytes)).max(0);
        self.bytes -= rest.bytes;
        rest
    }

    fn give_back(&mut self, bytes: i64) {
        self.bytes -= bytes;
        self.budget.of_users[self.count].fetch_sub(bytes, Ordering::Relaxed);
        self.budget.used_bytes.dec_by(bytes);
    }

    /// An empty share of the same user.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { budget: Arc::clone(&self.budget), count: self.count, bytes: 0 }
    }

    /// Attaches the share to `bytes`: it is given back with the last piece, once the socket has
    /// taken it.
    #[must_use]
    pub fn tie(self, bytes: Bytes) -> Bytes {
        if self.bytes == 0 {
            return bytes;
        }
        Bytes::from_owner(Tied { bytes, _share: self })
    }

    /// The same, as a body.
    #[must_use]
    pub fn hold(self, bytes: Bytes) -> Held {
        Held(self.tie(bytes))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.give_back(self.bytes);
        }
    }
}

/// The pieces of a response that is made as its client reads, and is held piece by piece: its body
/// has one, and its connection another, which the response takes along in its extensions.
#[derive(Clone, Debug, Default)]
pub struct HeldPieces(Arc<PieceCounts>);

#[derive(Debug, Default)]
struct PieceCounts {
    made: AtomicU64,
    held: AtomicU64,
    /// The size of the last one.
    bytes: AtomicU64,
}

impl HeldPieces {
    /// Attaches the share to a new piece, which is held until the socket has taken all of it.
    #[must_use]
    pub fn tie(&self, share: Share, bytes: Bytes) -> Bytes {
        self.0.made.fetch_add(1, Ordering::Relaxed);
        self.0.held.fetch_add(1, Ordering::Relaxed);
        self.0.bytes.store(bytes.len() as u64, Ordering::Relaxed);
        Bytes::from_owner(HeldPiece { bytes, _share: share, pieces: self.clone() })
    }

    /// The number and the size of the piece that is held, if one is.
    #[must_use]
    pub fn current(&self) -> Option<(u64, u64)> {
        let PieceCounts { made, held, bytes } = &*self.0;
        let is_held = held.load(Ordering::Relaxed) > 0;
        is_held.then(|| (made.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed)))
    }
}

struct HeldPiece {
    bytes: Bytes,
    _share: Share,
    pieces: HeldPieces,
}

impl AsRef<[u8]> for HeldPiece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for HeldPiece {
    fn drop(&mut self) {
        self.pieces.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Tied {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Tied {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A complete body. It is sent in frames, so that unsent data is not in a buffer where nothing
/// counts it.
pub struct Held(Bytes);

impl Body for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(next_frame(&mut self.0).map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// Splits the next frame off; `None` at the end.
pub fn next_frame(bytes: &mut Bytes) -> Option<Bytes> {
    if bytes.len() > FRAME_BYTES {
        return Some(bytes.split_to(FRAME_BYTES));
    }
    let last = std::mem::take(bytes);
    (!last.is_empty()).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_out_of_one_budget_and_go_back() {
        let budget = Budget::new(100);
        let mut one = budget.share_of(UserId(1));
        let mut two = budget.share_of(UserId(2));
        assert!(one.grow_to(50) && one.grow_to(10));
        assert!(!one.grow_to(51), "half is one user's");
        let mut same = budget.share_of(UserId(1));
        assert!(!same.grow_to(1), "all its shares together");
        assert!(two.grow_to(50));
        assert_eq!(budget.used_bytes().get(), 100);
        assert!(!budget.share_of(UserId(3)).grow_to(1));
        one.shrink_to(20);
        assert!(same.grow_to(30));
        let rest = one.split_beyond(5);
        assert_eq!((one.bytes(), rest.bytes(), one.split_beyond(9).bytes()), (5, 15, 0));
        assert!(!same.grow_to(31), "the parts of a share are counted as before");
        drop((one, same, rest));
        budget.resize(50);
        assert!(!budget.share_of(UserId(3)).grow_to(1));
        drop(two);
        assert_eq!(budget.used_bytes().get(), 0);
    }

    #[test]
    fn callers_without_a_name_share_a_small_part() {
        let budget = Budget::new(160);
        let (mut one, mut two) = (budget.share_of_nameless(), budget.share_of_nameless());
        assert!(one.grow_to(8) && !two.grow_to(3) && two.grow_to(2));
        assert!(budget.share_of(UserId(0)).grow_to(80), "another's part is theirs");
        drop((one, two));
        assert_eq!(budget.used_bytes().get(), 0);
    }

    #[test]
    fn large_bodies_leave_room_for_small_ones() {
        let budget = Budget::new(800 * 1024);
        let mut large = [1, 2].map(|id| budget.share_of(UserId(id)));
        assert!(large[0].grow_to(400 * 1024));
        assert!(!large[1].grow_to(400 * 1024) && large[1].grow_to(300 * 1024));
        assert!(budget.share_of(UserId(3)).grow_to(64 * 1024));
    }

    #[test]
    fn what_is_larger_than_a_part_is_served_alone() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (budget.share_of(UserId(1)), budget.share_of(UserId(1)));
        assert!(one.grow_towards(1_000) && !two.grow_towards(1_000));
        drop(one);
        assert!(two.grow_towards(1_000));
    }

    #[test]
    fn bytes_are_counted_until_the_last_piece_of_them_is_gone() {
        let budget = Budget::new(1 << 20);
        let mut share = budget.share_of(UserId(1));
        assert!(share.grow_to(100_000));
        let mut held = share.hold(Bytes::from(vec![7; 100_000]));
        let first = next_frame(&mut held.0).unwrap();
        let second = next_frame(&mut held.0).unwrap();
        assert_eq!((first.len(), second.len()), (FRAME_BYTES, 100_000 - FRAME_BYTES));
        assert!(held.is_end_stream());
        drop((held, second));
        assert_eq!(budget.used_bytes().get(), 100_000);
        drop(first);
        assert_eq!(budget.used_bytes().get(), 0);
    }
}
