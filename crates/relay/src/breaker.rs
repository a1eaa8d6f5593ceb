//! The circuit breaker of one channel: pure state, with the time as an argument.
//!
//! It counts only failures of the upstream: no connection, no first byte in time, a status of 500
//! or above, a truncated reply. A status below 500 is a valid reply (429 means that this account is
//! busy, which the client may see and wait for), and a client that disconnects says nothing about
//! the upstream.
//!
//! An account that is broken (`account.rs`) pauses the channel at once, and for all. Each pause is
//! twice as long as the one before, and a probe ends it.
//!
//! Whether a request or the upstream is at fault for a status of 500 can't be known. So what one
//! user's failures open is closed to that user alone, until the calls of others fail as well.
//!
//! A probe keeps all others waiting, and its client may be slow. So others are admitted at the head
//! of its reply, or another probe after [`PROBE_MS`] at the latest; and a user whose probe has
//! shown nothing leaves the next one to others for twice as long as it took, or longer where
//! several have done so. How the probe's reply ends still counts: where it breaks off before any
//! other call has shown that the channel works, the channel is paused for longer.

use domain::UserId;
use traffic::BreakerState;

/// Number of slots of the window.
const SLOTS: usize = 10;

/// How long a probe has before a call may take its place.
const PROBE_MS: i64 = 25_000;

/// The most users whose probes have shown nothing that are remembered.
const MAX_IDLE_PROBERS: usize = 16;

/// When a channel is paused, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct BreakerConfig {
    /// The length of the window.
    pub window_ms: i64,
    /// Fewer calls than this in the window are not enough.
    pub min_calls: u32,
    /// The share of failed calls that opens the breaker.
    pub failure_percent: u32,
    /// The first pause of a channel. Every failed probe doubles it.
    pub pause_ms: i64,
    /// The longest pause.
    pub max_pause_ms: i64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            window_ms: 60_000,
            min_calls: 10,
            failure_percent: 50,
            pause_ms: 5_000,
            max_pause_ms: 300_000,
        }
    }
}

/// Whether a call may go to the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It may.
    Call,
    /// It may, as the probe whose outcome decides, unless the account breaks after so many pauses.
    Probe { pauses: u32 },
    /// It was the probe, and its reply has begun.
    Trial,
    /// Not before this many milliseconds.
    Refused { for_ms: i64 },
}

/// What a call showed about the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallHealth {
    Good,
    Bad,
    /// The account is broken. `probed`: a free probe follows the pause, before any call.
    Account {
        probed: bool,
    },
    /// Nothing: the client disconnected, or the call never got that far.
    Unknown,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The slot of time that the counts are of.
    number: i64,
    calls: u32,
    failures: u32,
}

/// Whose failures are in the window, or opened the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailedUsers {
    None,
    One(UserId),
    Many,
}

impl FailedUsers {
    /// A call of this user has failed as well.
    fn with(self, user_id: UserId) -> Self {
        match self {
            Self::One(other) if other != user_id => Self::Many,
            Self::Many => Self::Many,
            Self::None | Self::One(_) => Self::One(user_id),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open {
        until_ms: i64,
    },
    /// A call of this user is the probe.
    HalfOpen {
        since_ms: i64,
        user_id: UserId,
    },
}

/// The breaker of one channel.
#[derive(Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    slots: [Slot; SLOTS],
    state: State,
    pause_ms: i64,
    failed_users: FailedUsers,
    /// When the account is to be probed, while it is broken.
    account: Option<AccountPause>,
    /// How often an account has been paused: a probe from before says nothing of the last time.
    pauses: u32,
    /// Whose last probes have shown nothing, and until when they make no other.
    idle_probers: Vec<(UserId, i64)>,
    trial: Option<Trial>,
}

/// The reply of a probe is on its way, and nothing else has shown that the channel works.
#[derive(Clone, Copy, Debug)]
struct Trial {
    /// Until when its end is the verdict: a stream may go on for hours.
    until_ms: i64,
    /// Whose failures had opened the breaker.
    failed_users: FailedUsers,
}

#[derive(Clone, Copy, Debug)]
struct AccountPause {
    probe_ms: i64,
}

impl Breaker {
    pub(crate) fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            slots: [Slot::default(); SLOTS],
            state: State::Closed,
            pause_ms: config.pause_ms,
            failed_users: FailedUsers::None,
            account: None,
            pauses: 0,
            idle_probers: Vec::new(),
            trial: None,
        }
    }

    /// Requests one call of this user. A probe must be followed by [`Breaker::note`].
    pub(crate) fn enter(&mut self, now_ms: i64, user_id: UserId) -> Entry {
        if let State::HalfOpen { since_ms, .. } = self.state
            && now_ms >= since_ms + PROBE_MS
        {
            self.end_idle_probe(since_ms + PROBE_MS);
        }
        let until_ms = match self.state {
            State::Closed => return Entry::Call,
            State::Open { until_ms } => {
                let idle = self.idle_probers.iter().find(|(idle, _)| *idle == user_id);
                idle.map_or(until_ms, |(_, idle_until_ms)| until_ms.max(*idle_until_ms))
            }
            State::HalfOpen { .. } => now_ms + 1_000,
        };
        if now_ms >= until_ms {
            self.state = State::HalfOpen { since_ms: now_ms, user_id };
            Entry::Probe { pauses: self.pauses }
        } else if self.is_anothers(user_id) {
            Entry::Call
        } else {
            Entry::Refused { for_ms: until_ms - now_ms }
        }
    }

    /// Records the outcome of a call that [`Breaker::enter`] admitted.
    pub(crate) fn note(&mut self, now_ms: i64, entry: Entry, health: CallHealth, user_id: UserId) {
        match (entry, health) {
            // The account broke meanwhile, and the next probe is of that.
            (Entry::Probe { pauses }, CallHealth::Good | CallHealth::Account { .. })
                if self.has_broken_account() && pauses != self.pauses => {}
            (Entry::Probe { .. }, CallHealth::Good) => self.close(),
            (Entry::Trial, CallHealth::Bad) if self.is_on_trial(now_ms) => {
                if let Some(trial) = self.trial.take() {
                    self.failed_users = trial.failed_users;
                }
                self.slots = [Slot::default(); SLOTS];
                self.open_for_longer(now_ms);
            }
            // Calls that were under way when it was paused say the same again.
            (Entry::Call | Entry::Trial, CallHealth::Account { .. }) if self.account.is_some() => {}
            (Entry::Call | Entry::Probe { .. } | Entry::Trial, CallHealth::Account { probed }) => {
                self.pause_account(now_ms, probed);
            }
            (Entry::Probe { .. }, CallHealth::Bad) if self.is_probed_by(user_id) => {
                self.open_for_longer(now_ms);
            }
            (Entry::Probe { .. }, CallHealth::Unknown) if self.is_probed_by(user_id) => {
                self.end_idle_probe(now_ms);
            }
            // A probe that took too long is a call like others.
            (Entry::Call | Entry::Trial, CallHealth::Good)
            | (Entry::Call | Entry::Probe { .. } | Entry::Trial, CallHealth::Bad) => {
                self.note_call(now_ms, health == CallHealth::Bad, user_id);
            }
            (Entry::Call | Entry::Probe { .. } | Entry::Trial, CallHealth::Unknown)
            | (Entry::Refused { .. }, _) => {}
        }
    }

    /// The reply of a probe has begun: others may call, unless the account is broken, of which the
    /// reply itself will tell. Where it breaks off the pause was not long enough, so that its
    /// length is kept until a call has ended well. Returns whether they may.
    pub(crate) fn admit(&mut self, now_ms: i64) -> bool {
        if self.has_broken_account() {
            return false;
        }
        if !matches!(self.state, State::Closed) {
            let failed_users = std::mem::replace(&mut self.failed_users, FailedUsers::None);
            self.trial = Some(Trial { until_ms: now_ms + PROBE_MS, failed_users });
            self.slots = [Slot::default(); SLOTS];
            self.state = State::Closed;
        }
        true
    }

    /// How often an account has been paused.
    pub(crate) const fn pauses(&self) -> u32 {
        self.pauses
    }

    /// Whether the account is broken, and has not been paused again since.
    pub(crate) const fn is_in_pause(&self, pauses: u32) -> bool {
        self.account.is_some() && self.pauses == pauses
    }

    fn is_on_trial(&self, now_ms: i64) -> bool {
        let is_closed = matches!(self.state, State::Closed);
        is_closed && self.trial.is_some_and(|trial| now_ms < trial.until_ms)
    }

    /// A call has ended well: the next pause is as short as the first.
    fn is_proven(&mut self) {
        (self.pause_ms, self.trial) = (self.config.pause_ms, None);
        self.idle_probers.clear();
    }

    fn open_for_longer(&mut self, now_ms: i64) {
        self.pause_ms = self.pause_ms.saturating_mul(2).min(self.config.max_pause_ms);
        self.state = State::Open { until_ms: now_ms + self.pause_ms };
    }

    const fn is_probed_by(&self, prober: UserId) -> bool {
        matches!(self.state, State::HalfOpen { user_id, .. } if user_id.0 == prober.0)
    }

    /// The probe has shown nothing: the next call is the probe, for a while that of another user.
    /// The more have probed in vain the longer each waits, so that they can't take turns.
    fn end_idle_probe(&mut self, now_ms: i64) {
        let State::HalfOpen { since_ms, user_id } = self.state else { return };
        self.idle_probers.retain(|(idle, until_ms)| *idle != user_id && *until_ms > now_ms);
        let others = i64::try_from(self.idle_probers.len()).unwrap_or(0);
        if self.idle_probers.len() == MAX_IDLE_PROBERS {
            self.idle_probers.remove(0);
        }
        let until_ms = now_ms + (now_ms - since_ms) * (2 + others);
        self.idle_probers.push((user_id, until_ms));
        self.state = State::Open { until_ms: now_ms };
    }

    fn close(&mut self) {
        *self = Self { pauses: self.pauses, ..Self::new(self.config) };
    }

    /// Pauses the channel for all: its account is broken.
    pub(crate) fn pause_account(&mut self, now_ms: i64, probed: bool) {
        let probe_ms = now_ms + self.pause_ms;
        self.slots = [Slot::default(); SLOTS];
        self.failed_users = FailedUsers::Many;
        self.account = Some(AccountPause { probe_ms });
        self.pauses = self.pauses.wrapping_add(1);
        self.state = State::Open { until_ms: probe_ms + if probed { PROBE_MS } else { 0 } };
        self.pause_ms = self.pause_ms.saturating_mul(2).min(self.config.max_pause_ms);
    }

    /// Whether the channel is paused because its account is broken.
    pub(crate) const fn has_broken_account(&self) -> bool {
        self.account.is_some()
    }

    /// Whether a paused account is to be probed now.
    pub(crate) fn is_probe_due(&self, now_ms: i64) -> bool {
        let is_open = matches!(self.state, State::Open { .. });
        is_open && self.account.is_some_and(|account| now_ms >= account.probe_ms)
    }

    /// A free probe works: the next call decides. While none comes the account is probed ever more
    /// seldom.
    pub(crate) fn allow_trial(&mut self, now_ms: i64) {
        if let Some(account) = &mut self.account
            && matches!(self.state, State::Open { .. })
        {
            account.probe_ms = now_ms + self.pause_ms;
            self.pause_ms = self.pause_ms.saturating_mul(2).min(self.config.max_pause_ms);
            self.state = State::Open { until_ms: now_ms };
        }
    }

    /// The account is another one now.
    pub(crate) fn forget_account(&mut self) {
        if self.account.is_some() {
            self.close();
        }
    }

    /// Calls that began before the breaker opened may end at any time.
    fn note_call(&mut self, now_ms: i64, failed: bool, user_id: UserId) {
        if matches!(self.state, State::Closed) {
            match failed {
                true => self.failed_users = self.failed_users.with(user_id),
                false => self.is_proven(),
            }
            self.count(now_ms, failed);
            if self.failures(now_ms) == 0 {
                self.failed_users = FailedUsers::None;
            }
            if self.has_failed(now_ms) {
                self.state = State::Open { until_ms: now_ms + self.pause_ms };
                // From here on the calls of others are counted.
                self.slots = [Slot::default(); SLOTS];
            }
        } else if self.is_anothers(user_id) {
            self.count(now_ms, failed);
            if self.has_failed(now_ms) {
                self.state = State::Open { until_ms: now_ms + self.pause_ms };
                self.failed_users = FailedUsers::Many;
            }
        }
    }

    /// Whether another user's failures alone have opened it.
    fn is_anothers(&self, user_id: UserId) -> bool {
        matches!(self.failed_users, FailedUsers::One(other) if other != user_id)
    }

    pub(crate) const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// When a paused channel is tried again: by a call, or before that by a free probe.
    pub(crate) fn retry_ms(&self) -> i64 {
        match (self.state, self.account) {
            (State::Open { until_ms }, Some(account)) => until_ms.min(account.probe_ms),
            (State::Open { until_ms }, None) => until_ms,
            (State::Closed | State::HalfOpen { .. }, _) => 0,
        }
    }

    fn slot_number(&self, now_ms: i64) -> i64 {
        now_ms / (self.config.window_ms / SLOTS as i64).max(1)
    }

    fn count(&mut self, now_ms: i64, failed: bool) {
        let number = self.slot_number(now_ms);
        let index = usize::try_from(number.rem_euclid(SLOTS as i64)).unwrap_or(0);
        let slot = &mut self.slots[index];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        slot.calls = slot.calls.saturating_add(1);
        slot.failures = slot.failures.saturating_add(u32::from(failed));
    }

    fn failures(&self, now_ms: i64) -> u64 {
        self.totals(now_ms).1
    }

    /// Calls and failures in the window.
    fn totals(&self, now_ms: i64) -> (u64, u64) {
        let oldest = self.slot_number(now_ms) - SLOTS as i64 + 1;
        let fresh = self.slots.iter().filter(|slot| slot.number >= oldest);
        fresh.fold((0, 0), |(calls, failures), slot| {
            (calls + u64::from(slot.calls), failures + u64::from(slot.failures))
        })
    }

    fn has_failed(&self, now_ms: i64) -> bool {
        let (calls, failures) = self.totals(now_ms);
        calls >= u64::from(self.config.min_calls)
            && failures > 0
            && failures * 100 >= calls * u64::from(self.config.failure_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: BreakerConfig = BreakerConfig {
        window_ms: 10_000,
        min_calls: 4,
        failure_percent: 50,
        pause_ms: 1_000,
        max_pause_ms: 3_000,
    };

    /// A probe before the account ever broke.
    const PROBE: Entry = Entry::Probe { pauses: 0 };
    const ANN: UserId = UserId(1);
    const BOB: UserId = UserId(2);
    const CID: UserId = UserId(3);

    fn fed(outcomes: &[(i64, CallHealth)]) -> Breaker {
        let mut breaker = Breaker::new(CONFIG);
        for &(now_ms, health) in outcomes {
            let entry = breaker.enter(now_ms, ANN);
            breaker.note(now_ms, entry, health, ANN);
        }
        breaker
    }

    fn opened() -> Breaker {
        fed(&[
            (0, CallHealth::Bad),
            (1, CallHealth::Bad),
            (2, CallHealth::Bad),
            (3, CallHealth::Bad),
        ])
    }

    #[test]
    fn a_broken_account_is_paused_for_all_and_ever_longer() {
        let mut breaker = Breaker::new(CONFIG);
        let broken = CallHealth::Account { probed: false };
        let (first, second) = (breaker.enter(0, ANN), breaker.enter(0, ANN));
        breaker.note(0, first, broken, ANN);
        breaker.note(1, second, broken, ANN);
        assert!(matches!(breaker.enter(999, BOB), Entry::Refused { .. }), "for all, at once");
        let probe = breaker.enter(1_000, BOB);
        assert_eq!(probe, Entry::Probe { pauses: 1 });
        breaker.note(1_000, probe, broken, BOB);
        assert!(matches!(breaker.enter(2_999, ANN), Entry::Refused { .. }), "twice as long");
        let probe = breaker.enter(3_000, ANN);
        breaker.note(3_000, probe, CallHealth::Good, ANN);
        assert_eq!(breaker.enter(3_001, BOB), Entry::Call);
        assert!(!breaker.has_broken_account());
    }

    #[test]
    fn a_free_probe_comes_before_any_call() {
        let mut breaker = Breaker::new(CONFIG);
        let entry = breaker.enter(0, ANN);
        breaker.note(0, entry, CallHealth::Account { probed: true }, ANN);
        assert!(!breaker.is_probe_due(999) && breaker.is_probe_due(1_000));
        assert!(matches!(breaker.enter(20_000, ANN), Entry::Refused { .. }));
        breaker.pause_account(20_000, true);
        assert!(!breaker.is_probe_due(21_999) && breaker.is_probe_due(22_000));
        breaker.allow_trial(22_000);
        assert_eq!(breaker.enter(22_000, BOB), Entry::Probe { pauses: 2 });
        breaker.forget_account();
        assert_eq!(breaker.enter(22_000, BOB), Entry::Call);
    }

    #[test]
    fn an_account_that_nobody_calls_is_probed_ever_more_seldom() {
        let mut breaker = Breaker::new(CONFIG);
        breaker.pause_account(0, true);
        let due = (0..20_000).step_by(100).filter(|now_ms| {
            let is_due = breaker.is_probe_due(*now_ms);
            if is_due {
                breaker.allow_trial(*now_ms);
            }
            is_due
        });
        assert_eq!(due.collect::<Vec<_>>(), [1_000, 3_000, 6_000, 9_000, 12_000, 15_000, 18_000]);
        assert_eq!(breaker.enter(20_000, ANN), Entry::Probe { pauses: 1 });
    }

    #[test]
    fn a_single_error_changes_nothing() {
        assert_eq!(fed(&[(0, CallHealth::Bad)]).state(), BreakerState::Closed);
        let three = [(0, CallHealth::Bad), (1, CallHealth::Bad), (2, CallHealth::Bad)];
        assert_eq!(fed(&three).state(), BreakerState::Closed);
    }

    #[test]
    fn opens_at_the_rate_and_not_below() {
        use CallHealth::{Bad, Good};
        let below = [(0, Good), (1, Good), (2, Good), (3, Bad), (4, Bad)];
        assert_eq!(fed(&below).state(), BreakerState::Closed);
        let at = [(0, Good), (1, Good), (2, Bad), (3, Bad)];
        assert_eq!(fed(&at).state(), BreakerState::Open);
    }

    #[test]
    fn clients_that_hang_up_never_open_it() {
        let outcomes: Vec<_> = (0..100).map(|ms| (ms, CallHealth::Unknown)).collect();
        assert_eq!(fed(&outcomes).state(), BreakerState::Closed);
    }

    #[test]
    fn old_failures_leave_the_window() {
        use CallHealth::{Bad, Good};
        let spread = [(0, Bad), (1, Bad), (2, Bad), (12_000, Bad), (12_001, Good)];
        assert_eq!(fed(&spread).state(), BreakerState::Closed);
    }

    #[test]
    fn one_probe_decides() {
        let mut breaker = opened();
        assert_eq!(breaker.enter(4, ANN), Entry::Refused { for_ms: 999 });
        assert_eq!(breaker.enter(1_003, ANN), PROBE);
        assert!(matches!(breaker.enter(1_004, ANN), Entry::Refused { .. }));
        breaker.note(1_005, PROBE, CallHealth::Good, ANN);
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.enter(1_006, ANN), Entry::Call);
    }

    #[test]
    fn failed_probes_wait_longer_up_to_a_limit() {
        let mut breaker = opened();
        let mut now = 1_003;
        for pause in [2_000, 3_000, 3_000] {
            assert_eq!(breaker.enter(now, ANN), PROBE);
            breaker.note(now, PROBE, CallHealth::Bad, ANN);
            assert_eq!(breaker.enter(now, ANN), Entry::Refused { for_ms: pause });
            now += pause;
        }
    }

    #[test]
    fn a_probe_that_found_out_nothing_is_followed_by_another() {
        let mut breaker = opened();
        assert_eq!(breaker.enter(1_003, ANN), PROBE);
        breaker.note(1_004, PROBE, CallHealth::Unknown, ANN);
        assert_eq!(breaker.enter(1_006, ANN), PROBE);
    }

    #[test]
    fn a_probe_that_lasts_is_not_waited_for() {
        let mut breaker = opened();
        breaker.failed_users = FailedUsers::Many;
        assert_eq!(breaker.enter(1_003, ANN), PROBE);
        assert_eq!(breaker.enter(26_002, BOB), Entry::Refused { for_ms: 1_000 });
        // The user who held it lets others go first, for twice as long.
        assert_eq!(breaker.enter(26_003, ANN), Entry::Refused { for_ms: 50_000 });
        assert_eq!(breaker.enter(26_004, BOB), PROBE);
        // It ends late, and says nothing of the one that is under way.
        breaker.note(26_005, PROBE, CallHealth::Unknown, ANN);
        assert_eq!(breaker.enter(26_006, ANN), Entry::Refused { for_ms: 1_000 });
        breaker.note(26_007, PROBE, CallHealth::Good, BOB);
        assert_eq!(breaker.enter(26_008, ANN), Entry::Call);
    }

    #[test]
    fn who_probes_in_vain_leaves_the_next_probe_to_others() {
        let mut breaker = opened();
        breaker.failed_users = FailedUsers::Many;
        assert_eq!(breaker.enter(1_003, ANN), PROBE);
        breaker.note(11_003, PROBE, CallHealth::Unknown, ANN);
        assert_eq!(breaker.enter(11_003, ANN), Entry::Refused { for_ms: 20_000 });
        assert_eq!(breaker.enter(11_003, BOB), PROBE);
        breaker.note(21_003, PROBE, CallHealth::Unknown, BOB);
        // They can't take turns: between them there is room for others.
        assert_eq!(breaker.enter(21_003, ANN), Entry::Refused { for_ms: 10_000 });
        assert_eq!(breaker.enter(21_003, BOB), Entry::Refused { for_ms: 30_000 });
        assert_eq!(breaker.enter(21_003, CID), PROBE);
    }

    #[test]
    fn a_probe_whose_reply_breaks_off_pauses_for_longer() {
        let mut breaker = opened();
        for (now, pause) in [(1_003, 2_000), (3_003, 3_000)] {
            assert_eq!(breaker.enter(now, ANN), PROBE);
            assert!(breaker.admit(now));
            assert_eq!(breaker.enter(now, ANN), Entry::Call, "its reply has begun");
            breaker.note(now, Entry::Trial, CallHealth::Bad, ANN);
            assert_eq!(breaker.enter(now, ANN), Entry::Refused { for_ms: pause });
            assert_eq!(breaker.enter(now, BOB), Entry::Call, "it is one user's still");
        }
        assert_eq!(breaker.enter(6_003, ANN), PROBE);
        assert!(breaker.admit(6_003));
        breaker.note(6_004, Entry::Trial, CallHealth::Good, ANN);
        for _ in 0..4 {
            breaker.note(6_005, Entry::Call, CallHealth::Bad, ANN);
        }
        assert_eq!(breaker.enter(6_005, ANN), Entry::Refused { for_ms: 1_000 }, "as at first");
    }

    #[test]
    fn a_stream_that_was_the_probe_is_no_verdict_on_what_works() {
        let mut breaker = opened();
        assert_eq!(breaker.enter(1_003, ANN), PROBE);
        assert!(breaker.admit(1_003));
        breaker.note(1_004, Entry::Call, CallHealth::Good, BOB);
        breaker.note(1_005, Entry::Trial, CallHealth::Bad, ANN);
        assert_eq!(breaker.enter(1_005, ANN), Entry::Call, "others have shown that it works");

        let mut breaker = opened();
        assert_eq!(breaker.enter(1_003, ANN), PROBE);
        assert!(breaker.admit(1_003));
        breaker.note(26_003, Entry::Trial, CallHealth::Bad, ANN);
        assert_eq!(breaker.enter(26_003, ANN), Entry::Call, "it has lasted too long to tell");
    }

    #[test]
    fn a_broken_account_is_not_forgotten_for_a_reply_that_has_begun() {
        let mut breaker = opened();
        assert_eq!(breaker.enter(1_003, ANN), PROBE);
        breaker.note(1_004, Entry::Call, CallHealth::Account { probed: false }, BOB);
        assert!(!breaker.admit(1_005));
        breaker.note(1_005, PROBE, CallHealth::Good, ANN);
        assert!(matches!(breaker.enter(1_006, BOB), Entry::Refused { .. }));
    }

    #[test]
    fn a_probe_that_lasts_shows_that_the_account_works() {
        let mut breaker = Breaker::new(CONFIG);
        let broken = CallHealth::Account { probed: false };
        breaker.note(0, Entry::Call, broken, ANN);
        let slow = breaker.enter(1_000, ANN);
        assert!(!breaker.admit(1_001), "its reply has to end");
        assert!(matches!(breaker.enter(26_000, ANN), Entry::Refused { .. }));
        breaker.note(30_000, slow, CallHealth::Good, ANN);
        assert_eq!(breaker.enter(30_000, ANN), Entry::Call);
        // One from before the last pause says nothing of it, in either way.
        breaker.note(30_001, Entry::Call, broken, BOB);
        for late in [CallHealth::Good, broken] {
            breaker.note(30_002, slow, late, ANN);
            assert_eq!(breaker.enter(30_003, BOB), Entry::Refused { for_ms: 998 });
        }
    }

    #[test]
    fn late_outcomes_of_earlier_calls_do_not_close_it() {
        let mut breaker = opened();
        breaker.note(10, Entry::Call, CallHealth::Good, ANN);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn what_one_user_s_failures_open_is_closed_to_that_user_alone() {
        let mut breaker = opened();
        assert!(matches!(breaker.enter(4, ANN), Entry::Refused { .. }));
        assert_eq!(breaker.enter(4, BOB), Entry::Call);
        // Calls of the first that end late say nothing of the others'.
        for _ in 0..10 {
            breaker.note(5, Entry::Call, CallHealth::Bad, ANN);
        }
        for health in [CallHealth::Good, CallHealth::Good, CallHealth::Good, CallHealth::Bad] {
            assert_eq!(breaker.enter(5, BOB), Entry::Call);
            breaker.note(5, Entry::Call, health, BOB);
        }
        assert_eq!(breaker.enter(6, BOB), Entry::Call, "one failure is no failing upstream");
        // While the first one probes, too.
        assert_eq!(breaker.enter(1_003, ANN), PROBE);
        assert_eq!(breaker.enter(1_004, BOB), Entry::Call);
        breaker.note(1_005, PROBE, CallHealth::Bad, ANN);
        for _ in 0..2 {
            assert_eq!(breaker.enter(1_006, BOB), Entry::Call);
            breaker.note(1_006, Entry::Call, CallHealth::Bad, BOB);
        }
        assert!(matches!(breaker.enter(1_007, BOB), Entry::Refused { .. }), "others' fail as well");
    }
}
