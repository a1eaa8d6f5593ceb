//! The live counters of this process: what its channels and models are doing now.
//!
//! The data plane adds to totals that only ever grow, each an atomic, so that a call waits for
//! no lock and no clock is read for its sake. Once a minute [`Traffic::tick`] notes by how much
//! they have grown; a question about the last minutes adds those notes up. Calls that failed or
//! cost nothing leave a note of their own ([`RecentCalls`]). Nothing of it is stored: a node that
//! has just started knows nothing yet, and each node knows its own calls.
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod channel;
mod codes;
mod history;
mod meter;
mod recent;
mod times;

pub use channel::{BreakerState, ChannelTraffic};
pub use codes::{UNLISTED, status_code};
pub use history::{CallCounts, MinuteCounts};
pub use meter::TrafficMeter;
pub use recent::{RecentCall, RecentCalls, RecentEnd};

use arc_swap::ArcSwap;
use codes::Codes;
use domain::{ChannelId, NodeId};
use foldhash::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How far back it is remembered.
pub const MAX_MINUTES: i64 = 180;
/// Models are remembered in steps of this.
pub const MODEL_STEP_MINUTES: i64 = 15;
/// More models are not counted. One that had no call in [`MAX_MINUTES`] makes room.
const MAX_MODELS: usize = 1_000;

/// The live counters of one process.
#[derive(Debug)]
pub struct Traffic {
    node: NodeId,
    origin: Instant,
    codes: Arc<Codes>,
    /// Requests of clients, as the metrics count them.
    pub requests: TrafficMeter,
    /// What this node adds to their times, where an upstream was asked.
    pub own_share: TrafficMeter,
    channels: ArcSwap<HashMap<ChannelId, Arc<ChannelTraffic>>>,
    models: ArcSwap<HashMap<Arc<str>, Arc<TrafficMeter>>>,
    /// The last calls that failed or cost nothing.
    pub recent: RecentCalls,
}

impl Traffic {
    /// Starts to count, for this run of the process.
    #[must_use]
    pub fn new(node: NodeId) -> Arc<Self> {
        let codes = Arc::<Codes>::default();
        Arc::new(Self {
            node,
            origin: Instant::now(),
            requests: TrafficMeter::new(Arc::clone(&codes), 1),
            own_share: TrafficMeter::new(Arc::clone(&codes), 1),
            codes,
            channels: ArcSwap::default(),
            models: ArcSwap::default(),
            recent: RecentCalls::default(),
        })
    }

    /// The run of the process that counts.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// How long it has counted.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Milliseconds since the start: a clock that never goes back.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        i64::try_from(self.age().as_millis()).unwrap_or(i64::MAX)
    }

    /// The minute that runs, counted from the start.
    #[must_use]
    pub fn minute(&self) -> i64 {
        self.now_ms() / 60_000
    }

    /// The counters of a channel, made when it is first called. The caller keeps them.
    pub fn channel(&self, id: ChannelId) -> Arc<ChannelTraffic> {
        if let Some(found) = self.channels.load().get(&id) {
            return Arc::clone(found);
        }
        let fresh = Arc::new(ChannelTraffic::new(id, Arc::clone(&self.codes)));
        self.channels.rcu(|all| {
            let mut all = HashMap::clone(all);
            all.entry(id).or_insert_with(|| Arc::clone(&fresh));
            all
        });
        self.channels.load().get(&id).map_or(fresh, Arc::clone)
    }

    /// The counters of a model that a channel serves; none when there are too many models.
    pub fn model(&self, name: &Arc<str>) -> Option<Arc<TrafficMeter>> {
        if let Some(found) = self.models.load().get(name) {
            return Some(Arc::clone(found));
        }
        let fresh = Arc::new(TrafficMeter::new(Arc::clone(&self.codes), MODEL_STEP_MINUTES));
        self.models.rcu(|all| {
            if all.len() >= MAX_MODELS || all.contains_key(name) {
                return Arc::clone(all);
            }
            let mut all = HashMap::clone(all);
            all.insert(Arc::clone(name), Arc::clone(&fresh));
            Arc::new(all)
        });
        self.models.load().get(name).map(Arc::clone)
    }

    /// The channels that were called since the start, by number.
    #[must_use]
    pub fn channels(&self) -> Vec<Arc<ChannelTraffic>> {
        let mut all: Vec<_> = self.channels.load().values().map(Arc::clone).collect();
        all.sort_by_key(|channel| channel.id);
        all
    }

    /// One of them.
    #[must_use]
    pub fn called(&self, id: ChannelId) -> Option<Arc<ChannelTraffic>> {
        self.channels.load().get(&id).map(Arc::clone)
    }

    /// The models that were called, by name.
    #[must_use]
    pub fn models(&self) -> Vec<(Arc<str>, Arc<TrafficMeter>)> {
        let models = self.models.load();
        let mut all: Vec<_> =
            models.iter().map(|(name, meter)| (Arc::clone(name), Arc::clone(meter))).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    /// Notes what was counted since the last time. Called once a minute.
    pub fn tick(&self) {
        self.note(self.minute());
    }

    fn note(&self, minute: i64) {
        // The minute that has just ended.
        let ended = minute - 1;
        self.requests.note(ended);
        self.own_share.note(ended);
        for channel in self.channels.load().values() {
            channel.meter.note(ended);
        }
        let models = self.models.load_full();
        let idle = models.values().filter(|meter| meter.note(ended).is_idle()).count();
        if idle > 0 && models.len() >= MAX_MODELS {
            self.models.rcu(|all| {
                let mut all = HashMap::clone(all);
                all.retain(|_, meter| !meter.is_idle());
                all
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic() -> Arc<Traffic> {
        Traffic::new(NodeId(Default::default()))
    }

    #[test]
    fn a_minute_leaves_after_three_hours() {
        let traffic = traffic();
        let channel = traffic.channel(ChannelId(7));
        let answered = Duration::from_millis(100);
        channel.meter.count(Some(answered), None);
        channel.meter.count(Some(answered), Some("cut"));
        let read = |now, minutes| channel.meter.read(now, minutes);
        assert_eq!((read(0, 60).calls, read(0, 60).failed), (2, 1), "at once");
        traffic.note(1);
        channel.meter.count(None, Some("dns"));
        assert_eq!(read(1, 60).calls, 3);
        assert_eq!(read(1, 60).failures, [("cut", 1), ("dns", 1)]);
        assert_eq!(read(60, 60).calls, 1, "the first minute has left; the last is not noted yet");
        traffic.note(61);
        assert_eq!(read(61, 60).calls, 1);
        for minute in 62..=MAX_MINUTES + 61 {
            traffic.note(minute);
        }
        assert_eq!(read(MAX_MINUTES + 61, MAX_MINUTES).calls, 0);
        assert!(channel.meter.minutes(MAX_MINUTES + 61, MAX_MINUTES).is_empty());
    }

    #[test]
    fn models_have_a_bound_and_idle_ones_make_room() {
        let traffic = traffic();
        for number in 0..MAX_MODELS {
            assert!(traffic.model(&Arc::from(number.to_string())).is_some());
        }
        let first: Arc<str> = Arc::from("0");
        traffic.model(&first).unwrap().count(None, None);
        assert!(traffic.model(&Arc::from("more")).is_none());
        traffic.note(1);
        assert!(traffic.model(&Arc::from("more")).is_some());
        assert_eq!(traffic.models().len(), 2);
        assert_eq!(traffic.models()[0].0, first);
    }

    #[test]
    fn a_channel_has_one_set_of_counters() {
        let traffic = traffic();
        let one = traffic.channel(ChannelId(1));
        assert!(Arc::ptr_eq(&one, &traffic.channel(ChannelId(1))));
        assert!(traffic.called(ChannelId(2)).is_none());
        assert_eq!(traffic.channels().len(), 1);
    }
}
