//! The last calls that no charge in the journal tells of: those that failed, and those that cost
//! nothing. In memory, of this process alone, so that a request id that a client has can be found.

use domain::{ChannelId, KeyId, UnixMs, UserId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How many calls that failed are remembered.
const MAX_FAILED: usize = 2_048;
/// How many that failed before their caller was known: guesses at keys must not drive out others.
const MAX_NAMELESS: usize = 512;
/// How many that cost nothing.
const MAX_FREE: usize = 1_024;
/// Longest text that is kept of a failure.
const MAX_TEXT_CHARS: usize = 400;

/// A call that ended, and has no charge in the journal.
#[derive(Clone, Debug)]
pub struct RecentCall {
    /// When it ended.
    pub at: UnixMs,
    /// `X-Request-Id`, which may be the client's choice.
    pub request_id: Arc<str>,
    /// Who called, where that was found.
    pub user_id: Option<UserId>,
    /// With which key.
    pub key_id: Option<KeyId>,
    /// The channel that was asked last.
    pub channel_id: Option<ChannelId>,
    /// What the client named, which may be no model.
    pub model: Option<Arc<str>>,
    /// What the client got; none: it had gone.
    pub status: Option<u16>,
    /// How long it took.
    pub took_ms: i64,
    /// How it ended.
    pub end: RecentEnd,
}

/// How a call ended that was not charged.
#[derive(Clone, Debug)]
pub enum RecentEnd {
    /// Well, and nothing was charged.
    Free,
    /// The client disconnected before anything was decided.
    Gone,
    /// It failed.
    Failed {
        /// The code that clients see, or that of an upstream's own error.
        code: &'static str,
        /// The public words, in Chinese and in English; none: the upstream's own were passed on.
        words: Option<(String, String)>,
        /// The cause, for operators alone.
        cause: String,
    },
}

/// A list of fixed length, whose oldest entry makes room. Each place has a lock of its own, so
/// that calls that end at once wait for each other only when one is a whole round ahead.
#[derive(Debug)]
struct Ring {
    places: Box<[Mutex<Option<Arc<RecentCall>>>]>,
    next: AtomicUsize,
}

impl Ring {
    fn new(length: usize) -> Self {
        let places = (0..length).map(|_| Mutex::default()).collect();
        Self { places, next: AtomicUsize::new(0) }
    }

    fn push(&self, call: RecentCall) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.places.len();
        if let Some(place) = self.places.get(at) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(call));
        }
    }

    fn calls(&self) -> impl Iterator<Item = Arc<RecentCall>> {
        let read =
            |place: &Mutex<Option<_>>| place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.places.iter().filter_map(read)
    }
}

/// A list of limited length by users: who has the most in it makes room, so that no user drives
/// out what others look for.
#[derive(Debug, Default)]
struct FairList(Mutex<CallsByUser>);

#[derive(Debug, Default)]
struct CallsByUser {
    calls: BTreeMap<UserId, VecDeque<Arc<RecentCall>>>,
    length: usize,
}

impl FairList {
    fn push(&self, user_id: UserId, call: RecentCall) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.calls.entry(user_id).or_default().push_back(Arc::new(call));
        list.length += 1;
        if list.length > MAX_FAILED {
            list.drop_one();
        }
    }

    fn calls(&self) -> Vec<Arc<RecentCall>> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.calls.values().flatten().map(Arc::clone).collect()
    }
}

impl CallsByUser {
    /// Drops the oldest of those who have the most.
    fn drop_one(&mut self) {
        let oldest = |calls: &VecDeque<Arc<RecentCall>>| calls.front().map(|call| call.at);
        let most = self.calls.iter().max_by_key(|(_, it)| (it.len(), Reverse(oldest(it))));
        let Some(user_id) = most.map(|(user_id, _)| *user_id) else { return };
        if let Some(calls) = self.calls.get_mut(&user_id) {
            calls.pop_front();
            self.length -= 1;
            if calls.is_empty() {
                self.calls.remove(&user_id);
            }
        }
    }
}

/// The last calls without a charge.
#[derive(Debug)]
pub struct RecentCalls {
    failed: FairList,
    nameless: Ring,
    free: Ring,
}

impl Default for RecentCalls {
    fn default() -> Self {
        Self {
            failed: FairList::default(),
            nameless: Ring::new(MAX_NAMELESS),
            free: Ring::new(MAX_FREE),
        }
    }
}

impl RecentCalls {
    /// Remembers a call.
    pub fn push(&self, mut call: RecentCall) {
        if let RecentEnd::Failed { cause, .. } = &mut call.end
            && let Some((end, _)) = cause.char_indices().nth(MAX_TEXT_CHARS)
        {
            cause.truncate(end);
            cause.push('…');
        }
        match (&call.end, call.user_id) {
            (RecentEnd::Free, _) => self.free.push(call),
            (_, None) => self.nameless.push(call),
            (_, Some(user_id)) => self.failed.push(user_id, call),
        }
    }

    /// Those that `wanted` picks, the newest first.
    #[must_use]
    pub fn find(&self, wanted: impl Fn(&RecentCall) -> bool) -> Vec<Arc<RecentCall>> {
        let all =
            self.failed.calls().into_iter().chain(self.nameless.calls()).chain(self.free.calls());
        let mut found: Vec<_> = all.filter(|call| wanted(call)).collect();
        found.sort_by_key(|call| Reverse(call.at));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(n: usize, user_id: Option<UserId>, end: RecentEnd) -> RecentCall {
        RecentCall {
            at: UnixMs(i64::try_from(n).unwrap()),
            request_id: n.to_string().into(),
            user_id,
            key_id: None,
            channel_id: None,
            model: None,
            status: Some(502),
            took_ms: 1,
            end,
        }
    }

    fn failed(cause: &str) -> RecentEnd {
        RecentEnd::Failed { code: "UPSTREAM_ERROR", words: None, cause: cause.to_owned() }
    }

    #[test]
    fn the_oldest_make_room_and_no_kind_drives_out_another() {
        let calls = RecentCalls::default();
        let ann = Some(UserId(2));
        calls.push(call(0, ann, RecentEnd::Free));
        calls.push(call(1, None, failed("no such key")));
        for n in 2..MAX_FAILED + 3 {
            calls.push(call(n, ann, failed("x")));
        }
        let all = calls.find(|_| true);
        assert_eq!(all.len(), MAX_FAILED + 2);
        assert_eq!(&*all[0].request_id, (MAX_FAILED + 2).to_string(), "the newest comes first");
        let named = |id: &str| calls.find(|call| &*call.request_id == id).len();
        assert_eq!([named("0"), named("1"), named("2"), named("3")], [1, 1, 0, 1]);
    }

    #[test]
    fn no_user_drives_out_another() {
        let calls = RecentCalls::default();
        for n in 0..3 {
            calls.push(call(n, Some(UserId(3)), failed("of bob")));
        }
        for n in 3..3 * MAX_FAILED {
            calls.push(call(n, Some(UserId(2)), failed("of ann")));
        }
        let of = |user: i64| calls.find(|call| call.user_id == Some(UserId(user))).len();
        assert_eq!([of(2), of(3)], [MAX_FAILED - 3, 3]);
        // Where all have as many, the oldest makes room.
        for n in 0..2 * MAX_FAILED {
            let user = i64::try_from(n).unwrap();
            calls.push(call(3 * MAX_FAILED + n, Some(UserId(user)), failed("x")));
        }
        assert_eq!(calls.find(|_| true).len(), MAX_FAILED);
        assert_eq!([of(0), of(i64::try_from(2 * MAX_FAILED - 1).unwrap())], [0, 1]);
    }

    #[test]
    fn long_texts_are_cut() {
        let calls = RecentCalls::default();
        calls.push(call(0, None, failed(&"长".repeat(MAX_TEXT_CHARS + 1))));
        let RecentEnd::Failed { cause, .. } = &calls.find(|_| true)[0].end else { panic!() };
        assert_eq!(cause.chars().count(), MAX_TEXT_CHARS + 1);
    }
}
