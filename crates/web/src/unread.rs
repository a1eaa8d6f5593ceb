//! What flowing responses have in memory while their clients do not read.
//!
//! A piece passes through memory in no time while its client keeps up. Once the connection has to
//! wait, buffers fill: from then on the response counts with all that they may contain, until its
//! end is written. That needs no look at each piece, and nothing at all for clients that read.

use crate::memory::Budget;
use domain::UserId;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most that one response has in memory: what the server buffers for writing (128 KiB, and the
/// piece that exceeded it), and a piece of its upstream that was read ahead.
pub(crate) const UNREAD_BYTES: i64 = 320 * 1024;

/// Counts one flowing response. Its body has one, and its connection another: the response takes
/// it along in its extensions.
#[derive(Clone)]
pub struct Unread(Arc<Counted>);

struct Counted {
    budget: Arc<Budget>,
    user_id: UserId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// It is counted.
    is_counted: bool,
    /// The client is awaited.
    is_awaited: bool,
    /// The body has ended.
    is_over: bool,
    /// There was no room: the connection was ended.
    is_refused: bool,
}

impl Unread {
    /// Of a response that begins.
    #[must_use]
    pub fn new(budget: &Arc<Budget>, user_id: UserId) -> Self {
        Self(Arc::new(Counted { budget: Arc::clone(budget), user_id, state: Mutex::default() }))
    }

    /// The connection can't write. `false`: the user has too many of these.
    #[must_use]
    pub fn client_is_awaited(&self) -> bool {
        let mut state = self.0.state();
        state.is_awaited = true;
        if !state.is_counted {
            state.is_counted = self.0.budget.take_unread(self.0.user_id);
            state.is_refused = !state.is_counted;
        }
        state.is_counted
    }

    /// Whether it counts.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.0.state().is_counted
    }

    /// Whether there was no room, so that the connection was ended.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.0.state().is_refused
    }

    /// The connection has written everything so far.
    pub fn is_written(&self) {
        let mut state = self.0.state();
        state.is_awaited = false;
        if state.is_over {
            self.0.give_back(&mut state);
        }
    }

    /// The body has ended; its last pieces may still be unwritten.
    pub fn is_over(&self) {
        let mut state = self.0.state();
        state.is_over = true;
        if !state.is_awaited {
            self.0.give_back(&mut state);
        }
    }
}

impl Counted {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, state: &mut State) {
        if std::mem::take(&mut state.is_counted) {
            self.budget.give_back_unread(self.user_id);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.state().is_counted {
            self.budget.give_back_unread(self.user_id);
        }
    }
}

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unread").field("user_id", &self.0.user_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for this many responses.
    fn budget(responses: i64) -> Arc<Budget> {
        Budget::new(usize::try_from(responses * UNREAD_BYTES).unwrap())
    }

    #[test]
    fn a_response_counts_from_its_first_wait_until_its_end_is_written() {
        let budget = budget(4);
        let counted = || budget.used_bytes().get() / UNREAD_BYTES;
        let [one, two, three] = [1, 1, 1].map(|id| Unread::new(&budget, UserId(id)));
        assert!(budget.has_room_for_unread(UserId(1)));
        assert_eq!(counted(), 0);
        assert!(one.client_is_awaited() && one.client_is_awaited() && two.client_is_awaited());
        assert!(!three.client_is_awaited() && !budget.has_room_for_unread(UserId(1)));
        assert_eq!(counted(), 2, "half is one user's");
        // One that was awaited once keeps its place.
        one.is_written();
        assert!(!three.client_is_awaited() && one.client_is_awaited());
        one.is_over();
        assert_eq!(counted(), 2, "its end is still to be written");
        one.is_written();
        assert_eq!(counted(), 1);
        two.is_written();
        two.is_over();
        assert_eq!(counted(), 0);
        assert!(three.client_is_awaited());
        drop(three);
        assert_eq!(counted(), 0);
    }

    #[test]
    fn each_user_has_half_of_what_the_others_leave() {
        let budget = budget(64);
        let mut waiting = Vec::new();
        let mut most_of = |user: i64| {
            let before = waiting.len();
            loop {
                let unread = Unread::new(&budget, UserId(user));
                if !unread.client_is_awaited() {
                    return waiting.len() - before;
                }
                waiting.push(unread);
            }
        };
        assert_eq!([1, 2, 3, 1].map(&mut most_of), [32, 16, 8, 0]);
    }

    #[test]
    fn bodies_do_not_take_the_place_of_responses() {
        let budget = budget(4);
        let mut body = budget.share_of(UserId(1));
        assert!(body.grow_towards(usize::MAX));
        let unread = Unread::new(&budget, UserId(1));
        assert!(budget.has_room_for_unread(UserId(1)) && unread.client_is_awaited());
        drop(body);
        let mut body = budget.share_of(UserId(1));
        let one = usize::try_from(UNREAD_BYTES).unwrap();
        assert!(!body.grow_to(2 * one) && body.grow_to(one), "but they leave less for bodies");
    }
}
