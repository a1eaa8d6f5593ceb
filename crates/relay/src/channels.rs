//! State of each channel in this process: breaker, calls in flight.

use crate::account::{AccountFault, Evidence, reason};
use crate::breaker::{Breaker, CallHealth, Entry};
use crate::choose::{Candidate, choose};
use crate::revive::Probed;
use crate::{BreakerConfig, RelayConfig};
use arc_swap::ArcSwapOption;
use domain::{ChannelId, Fault, UserId};
use egress::Prepared;
use foldhash::HashMap;
use http::StatusCode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use store::Channel;
use traffic::{BreakerState, ChannelTraffic, Traffic, status_code};
use upstream::SendError;

/// How long a channel's places are shared after a user found all of them taken.
const CONTENDED_MS: i64 = 60_000;

/// Label of the metric that shows which channels are paused.
pub(crate) type ChannelLabel = [(&'static str, String); 1];

/// All channels that were ever called.
#[derive(Debug)]
pub(crate) struct Channels {
    config: BreakerConfig,
    /// The live counters, and the breakers' clock, which must be monotonic.
    traffic: Arc<Traffic>,
    states: RwLock<HashMap<ChannelId, Arc<ChannelState>>>,
    /// 1 while a channel is paused.
    pub(crate) open: Family<ChannelLabel, Gauge>,
    /// 1 while it is paused because its account is broken.
    pub(crate) broken: Family<ChannelLabel, Gauge>,
}

#[derive(Debug)]
struct ChannelState {
    id: ChannelId,
    breaker: Mutex<Breaker>,
    places: Mutex<Places>,
    /// What others may know of it.
    traffic: Arc<ChannelTraffic>,
    /// What says that the account may be broken: it is to be probed.
    suspicion: Mutex<Option<AccountFault>>,
    /// The row as it was last read.
    prepared: ArcSwapOption<Kept>,
}

/// A row, and the settings at the time it was read.
#[derive(Debug)]
struct Kept {
    prepared: Arc<Prepared>,
    config: Arc<RelayConfig>,
}

/// Who has the places of a channel with a limit. One user may have all of them while no other asks.
#[derive(Debug, Default)]
struct Places {
    of_users: HashMap<UserId, u32>,
    /// Another user found them all taken: until then, those who have half leave a quarter free.
    contended_until_ms: i64,
}

impl Places {
    /// Takes one of `limit` places.
    fn take(&mut self, limit: u32, user_id: UserId, now_ms: i64) -> bool {
        let own = self.of_users.get(&user_id).copied().unwrap_or(0);
        let free = limit.saturating_sub(self.of_users.values().sum());
        let has_part = own >= limit.div_ceil(2);
        if free == 0 {
            if !has_part {
                self.contended_until_ms = now_ms + CONTENDED_MS;
            }
            return false;
        }
        if has_part && free <= (limit / 4).max(1) && now_ms < self.contended_until_ms {
            return false;
        }
        self.of_users.insert(user_id, own + 1);
        true
    }

    fn give_back(&mut self, user_id: UserId) {
        if let Some(own) = self.of_users.get_mut(&user_id) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.of_users.remove(&user_id);
            }
        }
    }
}

/// Why a channel can't be called now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy {
    /// When to retry.
    pub for_ms: i64,
}

/// One call in flight on a channel. The upstream's health is reported at its end, that of a probe
/// when it replies.
#[derive(Debug)]
pub(crate) struct Attempt {
    channels: Arc<Channels>,
    state: Arc<ChannelState>,
    /// `None` when the breaker is off for this channel.
    entry: Option<Entry>,
    user_id: UserId,
    /// It is counted among the user's places.
    has_place: bool,
    health: CallHealth,
    account: Option<AccountFault>,
    /// When a request was last sent.
    sent: Option<Instant>,
    /// How long the head of its reply took.
    answered: Option<Duration>,
    /// Why the call failed, in a word.
    failure: Option<&'static str>,
}

/// A channel whose account is broken, or may be.
pub(crate) struct PausedChannel {
    state: Arc<ChannelState>,
    pub prepared: Arc<Prepared>,
    /// It is to be probed now.
    pub is_due: bool,
    /// Which of its pauses a probe is of.
    pauses: u32,
}

/// The remaining candidates of one call.
pub(crate) struct Candidates<'a> {
    channels: &'a Arc<Channels>,
    candidates: &'a [Arc<Channel>],
    user_id: UserId,
    excluded: Vec<ChannelId>,
}

impl<'a> Candidates<'a> {
    pub(crate) const fn new(
        channels: &'a Arc<Channels>,
        candidates: &'a [Arc<Channel>],
        user_id: UserId,
    ) -> Self {
        Self { channels, candidates, user_id, excluded: Vec::new() }
    }

    /// Removes a channel from the candidates.
    pub(crate) fn exclude(&mut self, id: ChannelId) {
        self.excluded.push(id);
    }

    /// Chooses a channel that can be called now, and excludes those that can't. If none is left,
    /// the error tells when to retry.
    pub(crate) fn choose(&mut self) -> Result<(Arc<Channel>, Attempt), Busy> {
        let random = |n| rand::random_range(0..n);
        let mut soonest = None;
        while let Some(channel) = choose(self.candidates, &self.excluded, random) {
            let (limit, auto_ban) = (channel.setting.concurrency, channel.auto_ban);
            match self.channels.enter(channel.id, limit, auto_ban, self.user_id) {
                Ok(attempt) => return Ok((Arc::clone(channel), attempt)),
                Err(Busy { for_ms }) => {
                    soonest = Some(soonest.map_or(for_ms, |ms: i64| ms.min(for_ms)));
                    self.excluded.push(channel.id);
                }
            }
        }
        Err(Busy { for_ms: soonest.unwrap_or(5_000) })
    }
}

impl Channels {
    pub(crate) fn new(config: BreakerConfig, traffic: Arc<Traffic>) -> Arc<Self> {
        let (open, broken) = (Family::default(), Family::default());
        Arc::new(Self { config, traffic, states: RwLock::default(), open, broken })
    }

    /// Begins a call, if the channel's limit of concurrent calls and (with `auto_ban`) its breaker
    /// allow it.
    pub(crate) fn enter(
        self: &Arc<Self>,
        id: ChannelId,
        limit: Option<u32>,
        auto_ban: bool,
        user_id: UserId,
    ) -> Result<Attempt, Busy> {
        let state = self.state_of(id);
        state.traffic.in_flight.fetch_add(1, Ordering::Relaxed);
        // From here on dropping `attempt` releases the slot.
        let mut attempt = Attempt {
            channels: Arc::clone(self),
            state,
            entry: None,
            user_id,
            has_place: false,
            health: CallHealth::Unknown,
            account: None,
            sent: None,
            answered: None,
            failure: None,
        };
        if let Some(limit) = limit {
            let mut places = lock(&attempt.state.places);
            attempt.has_place = places.take(limit, user_id, self.now_ms());
            if !attempt.has_place {
                drop(places);
                return Err(Busy { for_ms: 1_000 });
            }
        }
        if auto_ban {
            let mut breaker = lock(&attempt.state.breaker);
            match breaker.enter(self.now_ms(), user_id) {
                Entry::Refused { for_ms } => return Err(Busy { for_ms }),
                entry => attempt.entry = Some(entry),
            }
            if attempt.is_probe() {
                attempt.state.show(&breaker);
            }
        }
        Ok(attempt)
    }

    /// Channels that are paused because their accounts are broken, or may be.
    pub(crate) fn paused_accounts(&self) -> Vec<PausedChannel> {
        let now_ms = self.now_ms();
        let states = self.states.read().unwrap_or_else(PoisonError::into_inner);
        let paused = |state: &Arc<ChannelState>| {
            let breaker = lock(&state.breaker);
            let is_suspected = lock(&state.suspicion).is_some();
            let is_due = is_suspected || breaker.is_probe_due(now_ms);
            if !is_suspected && !breaker.has_broken_account() {
                return None;
            }
            let pauses = breaker.pauses();
            drop(breaker);
            let prepared = Arc::clone(&state.prepared.load().as_ref()?.prepared);
            Some(PausedChannel { state: Arc::clone(state), prepared, is_due, pauses })
        };
        states.values().filter_map(paused).collect()
    }

    /// The channel has another account now, or is gone.
    pub(crate) fn forget_pause(&self, paused: &PausedChannel) {
        *lock(&paused.state.suspicion) = None;
        self.change(&paused.state, None, Breaker::forget_account);
    }

    /// Notes what a probe has shown, unless a call has shown meanwhile that the account works.
    pub(crate) fn note_probe(&self, paused: &PausedChannel, probed: Probed) {
        let suspicion = lock(&paused.state.suspicion).take();
        if suspicion.is_none() && !lock(&paused.state.breaker).is_in_pause(paused.pauses) {
            return;
        }
        let now_ms = self.now_ms();
        let is_probed = egress::free_probe(&paused.prepared.protocol).is_some();
        match probed {
            // Nothing speaks for the account, and a call against it.
            Probed::Absent | Probed::Unknown
                if suspicion.as_ref().is_some_and(AccountFault::is_likely) =>
            {
                let why = suspicion.map(|fault| fault.why);
                self.change(&paused.state, why.as_deref(), |it| it.pause_account(now_ms, true));
            }
            Probed::Works | Probed::Absent => {
                self.change(&paused.state, None, |it| it.allow_trial(now_ms));
            }
            Probed::Broken(fault) => {
                self.change(&paused.state, Some(&fault.why), |it| {
                    it.pause_account(now_ms, is_probed);
                });
            }
            // Of a channel that works nothing is known now.
            Probed::Unknown if suspicion.is_some() => {}
            Probed::Unknown if is_probed => {
                let why = "the upstream could not be asked whether its account works again";
                self.change(&paused.state, Some(why), |it| it.pause_account(now_ms, true));
            }
            // The next call is the probe.
            Probed::Unknown => {}
        }
    }

    /// Changes a breaker, and reports what is different then.
    fn change(&self, state: &ChannelState, why: Option<&str>, with: impl FnOnce(&mut Breaker)) {
        let mut breaker = lock(&state.breaker);
        let before = (breaker.state(), breaker.has_broken_account());
        with(&mut breaker);
        let after = (breaker.state(), breaker.has_broken_account());
        state.show(&breaker);
        match why {
            Some(why) if after.1 => state.traffic.account_broke(why),
            _ if !after.1 => state.traffic.account_works(),
            _ => {}
        }
        drop(breaker);
        let label = || [("channel_id", state.id.to_string())];
        if before.0 != after.0 {
            let open = i64::from(after.0 == BreakerState::Open);
            self.open.get_or_create(&label()).set(open);
            tracing::warn!(
                target: "custompass", event = "channel_breaker", channel_id = state.id.0,
                state = ?after.0,
            );
        }
        if before.1 != after.1 {
            self.broken.get_or_create(&label()).set(i64::from(after.1));
        }
        match why {
            Some(why) if after.1 => tracing::error!(
                target: "custompass", event = "channel_account", channel_id = state.id.0,
                error = format!("the channel is paused, its account is broken: {why}"),
            ),
            _ if before.1 && !after.1 => tracing::warn!(
                target: "custompass", event = "channel_account", channel_id = state.id.0,
                state = "works again",
            ),
            _ => {}
        }
    }

    fn state_of(&self, id: ChannelId) -> Arc<ChannelState> {
        let read = self.states.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = read.get(&id) {
            return Arc::clone(state);
        }
        drop(read);
        let mut write = self.states.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = || {
            let breaker = Mutex::new(Breaker::new(self.config));
            let traffic = self.traffic.channel(id);
            let (places, suspicion) = (Mutex::default(), Mutex::default());
            let prepared = ArcSwapOption::empty();
            Arc::new(ChannelState { id, breaker, places, traffic, suspicion, prepared })
        };
        Arc::clone(write.entry(id).or_insert_with(fresh))
    }

    fn now_ms(&self) -> i64 {
        self.traffic.now_ms()
    }
}

impl ChannelState {
    /// Shows the state of the breaker to others; under its lock, so that the last state stays.
    fn show(&self, breaker: &Breaker) {
        self.traffic.breaker_is(breaker.state(), breaker.retry_ms());
    }
}

impl Candidate for Arc<Channel> {
    fn id(&self) -> ChannelId {
        self.id
    }

    fn priority(&self) -> i64 {
        self.priority
    }

    fn weight(&self) -> u32 {
        self.weight
    }
}

impl Attempt {
    /// The channel, ready to be called. Built once for each version of its row and of the settings.
    pub(crate) fn prepared(
        &self,
        channel: &Arc<Channel>,
        config: &Arc<RelayConfig>,
    ) -> Result<Arc<Prepared>, Fault> {
        let last = self.state.prepared.load();
        if let Some(last) = last.as_deref()
            && Arc::ptr_eq(&last.prepared.channel, channel)
            && Arc::ptr_eq(&last.config, config)
        {
            return Ok(Arc::clone(&last.prepared));
        }
        let prepared = Arc::new(Prepared::read(channel, &config.egress())?);
        let kept = Kept { prepared: Arc::clone(&prepared), config: Arc::clone(config) };
        self.state.prepared.store(Some(Arc::new(kept)));
        Ok(prepared)
    }

    /// Whether its outcome decides about a paused channel.
    const fn is_probe(&self) -> bool {
        matches!(self.entry, Some(Entry::Probe { .. }))
    }

    /// A request is sent.
    pub(crate) fn sends(&mut self) {
        self.sent = Some(Instant::now());
    }

    /// Reports the head of a reply.
    pub(crate) fn answers(&mut self, status: StatusCode) {
        self.answered = self.sent.map(|sent| sent.elapsed());
        self.failure = status_code(status.as_u16());
        self.health = match status.is_server_error() {
            true => CallHealth::Bad,
            false => CallHealth::Good,
        };
        self.report_probe();
    }

    /// An upstream that replies is well, which others need not learn only when the client has read
    /// it all. Whether its account works is known by the reply itself.
    fn report_probe(&mut self) {
        if !self.is_probe() || self.health != CallHealth::Good {
            return;
        }
        let (now_ms, mut is_admitted) = (self.channels.now_ms(), false);
        self.channels.change(&self.state, None, |breaker| is_admitted = breaker.admit(now_ms));
        if is_admitted {
            self.entry = Some(Entry::Trial);
        }
    }

    /// Reports a request without a reply.
    pub(crate) const fn goes_unanswered(&mut self, error: &SendError) {
        self.failure = Some(error.label());
        if !error.is_clients_fault() {
            self.health = CallHealth::Bad;
        }
    }

    /// Reports what a reply says of the channel's account.
    pub(crate) fn account_is_broken(&mut self, fault: Option<AccountFault>) {
        self.account = self.account.take().or(fault);
    }

    /// The same, where it says so in words alone, which have been searched for the key.
    pub(crate) fn account_said(&mut self, message: Option<&str>) {
        let why = message.map(|message| reason("a reply", Some(message)));
        let evidence = Evidence::Proof;
        self.account_is_broken(why.map(|why| AccountFault { why, evidence }));
    }

    /// What the call has shown, and why, where the account is broken. Where the caller's own key
    /// goes upstream, a refusal may be about that one.
    fn shown(&self) -> (CallHealth, Option<&str>) {
        let Some(fault) = &self.account else { return (self.health, None) };
        let kept = self.state.prepared.load();
        let Some(prepared) = kept.as_ref().map(|kept| &kept.prepared) else {
            return (self.health, None);
        };
        let probed = egress::free_probe(&prepared.protocol).is_some();
        if prepared.user_token_header.is_some() {
            return (self.health, None);
        }
        let is_broken = match fault.evidence {
            Evidence::Proof => true,
            // The call that decides after a pause is not asked twice.
            Evidence::Likely => !probed || self.is_probe(),
            Evidence::Hint => false,
        };
        if is_broken {
            return (CallHealth::Account { probed }, Some(&fault.why));
        }
        // Calls that were under way when it was paused say the same again.
        if probed && !lock(&self.state.breaker).has_broken_account() {
            let mut suspicion = lock(&self.state.suspicion);
            // The stronger one stays.
            if !suspicion.as_ref().is_some_and(AccountFault::is_likely) {
                *suspicion = Some(fault.clone());
            }
        }
        match fault.is_likely() {
            true => (CallHealth::Bad, None),
            false => (self.health, None),
        }
    }

    /// Reports that the upstream broke a reply off.
    pub(crate) const fn breaks_off(&mut self) {
        self.health = CallHealth::Bad;
        self.failure = Some("cut");
    }

    /// Reports a reply that says itself that the call failed. The upstream is well.
    pub(crate) fn says_failed(&mut self) {
        self.failure.get_or_insert("envelope");
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let traffic = &self.state.traffic;
        if self.has_place {
            lock(&self.state.places).give_back(self.user_id);
        }
        traffic.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.sent.is_some() {
            // Dropped before the upstream answered or failed.
            let left = self.answered.is_none().then_some("client_gone");
            traffic.meter.count(self.answered, self.failure.or(left));
        }
        let Some(entry) = self.entry else { return };
        let (health, why) = self.shown();
        let (now_ms, user_id) = (self.channels.now_ms(), self.user_id);
        self.channels.change(&self.state, why, |it| it.note(now_ms, entry, health, user_id));
    }
}

fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(config: BreakerConfig) -> Arc<Channels> {
        Channels::new(config, Traffic::new(domain::NodeId(uuid::Uuid::nil())))
    }

    #[test]
    fn places_are_given_back_and_limits_kept() {
        let channels = channels(BreakerConfig::default());
        let one = channels.enter(ChannelId(1), Some(1), true, UserId(1)).unwrap();
        assert!(channels.enter(ChannelId(1), Some(1), true, UserId(1)).is_err());
        assert!(channels.enter(ChannelId(2), Some(1), true, UserId(1)).is_ok());
        drop(one);
        assert!(channels.enter(ChannelId(1), Some(1), true, UserId(1)).is_ok());
        assert!(channels.traffic.channels().iter().all(|channel| channel.in_flight() == 0));
    }

    #[test]
    fn places_are_shared_once_another_asks() {
        let channels = channels(BreakerConfig::default());
        let enter = |user| channels.enter(ChannelId(1), Some(4), true, UserId(user));
        let (ann, bob) = (1, 2);
        let mut anns: Vec<_> = (0..4).map(|_| enter(ann).unwrap()).collect();
        assert!(enter(ann).is_err());
        anns.pop();
        anns.push(enter(ann).expect("no other has asked"));
        assert!(enter(bob).is_err());
        anns.pop();
        assert!(enter(ann).is_err(), "another has");
        let bobs = enter(bob).unwrap();
        anns.clear();
        let (_two, _more) = (enter(ann).unwrap(), enter(ann).unwrap());
        assert!(enter(ann).is_err() && enter(bob).is_ok());
        drop(bobs);
        assert_eq!(lock(&channels.state_of(ChannelId(1)).places).of_users.len(), 1);

        let enter = |user| channels.enter(ChannelId(2), Some(8), true, UserId(user));
        let mut anns: Vec<_> = (0..8).map(|_| enter(ann).unwrap()).collect();
        assert!(enter(bob).is_err());
        anns.truncate(3);
        anns.extend((3..6).map(|_| enter(ann).expect("a quarter is left")));
        assert!(enter(ann).is_err());
    }

    #[test]
    fn failures_close_the_door_only_with_auto_ban() {
        let channels = channels(BreakerConfig { min_calls: 2, ..BreakerConfig::default() });
        for _ in 0..2 {
            channels.enter(ChannelId(1), None, true, UserId(1)).unwrap().breaks_off();
            channels.enter(ChannelId(2), None, false, UserId(1)).unwrap().breaks_off();
        }
        assert!(channels.enter(ChannelId(1), None, true, UserId(1)).is_err());
        assert!(channels.enter(ChannelId(2), None, false, UserId(1)).is_ok());
        let shown = |id| channels.traffic.channel(ChannelId(id)).breaker();
        let (state, retry_ms) = shown(1);
        assert_eq!(state, BreakerState::Open);
        assert!(retry_ms.is_some_and(|at| at > 0 && at <= channels.now_ms() + 5_000));
        assert_eq!(shown(2), (BreakerState::Closed, None));
    }

    #[test]
    fn each_attempt_that_was_sent_is_counted() {
        let channels = channels(BreakerConfig::default());
        let enter = || channels.enter(ChannelId(1), None, true, UserId(1)).unwrap();
        drop(enter());
        for status in [200, 429, 503] {
            let mut attempt = enter();
            attempt.sends();
            attempt.answers(StatusCode::from_u16(status).unwrap());
        }
        enter().sends();
        let counts = channels.traffic.channel(ChannelId(1)).meter.read(0, 60);
        assert_eq!((counts.calls, counts.failed), (4, 3));
        let codes: Vec<_> = counts.failures.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, ["429", "503", "client_gone"]);
        assert!(counts.p95_ms.is_some());
    }
}
