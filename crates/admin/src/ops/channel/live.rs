//! What channels and models are doing now, on the node that answers.

use super::shown_setting;
use crate::{Actor, AdminError, AdminState, Query, exact, page};
use domain::ChannelId;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use store::{Precharge, Row, StoreError, channel_fields, nodes};
use traffic::{
    BreakerState, CallCounts, ChannelTraffic, MAX_MINUTES, MinuteCounts, Traffic, TrafficMeter,
};
use utoipa::ToSchema;

/// Lists of channels show the sums of so many minutes.
const SHOWN_MINUTES: i64 = 60;

/// What one node has counted. Each node counts its own calls, and forgets them when it ends.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NodeTraffic {
    /// Name of the node that answers.
    pub node: String,
    /// This run of its process.
    pub node_id: String,
    /// When it began to count, in seconds since 1970.
    pub since: i64,
    /// The sums are of so many minutes before now.
    pub minutes: i64,
    /// All requests of clients, those that no channel was asked for included; the times are the
    /// upstreams' share.
    pub requests: TrafficCounts,
    /// What this node added to the time of half of those for which an upstream was asked, or less,
    /// in milliseconds; null without them.
    pub own_p50_ms: Option<i64>,
    /// The same of 95 in a hundred.
    pub own_p95_ms: Option<i64>,
    /// Channels that were called since the start, by number.
    pub channels: Vec<ChannelTrafficView>,
    /// Models that were called: the requests of clients, in steps of 15 minutes. At most 1000.
    pub models: Vec<ModelTraffic>,
}

/// Calls that ended.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct TrafficCounts {
    /// How many.
    pub calls: u64,
    /// How many of them failed.
    pub failed: u64,
    /// The time that half of them did not exceed, in milliseconds; null without calls.
    pub p50_ms: Option<i64>,
    /// The same of 95 in a hundred.
    pub p95_ms: Option<i64>,
    /// Why they failed, the most frequent first.
    pub failures: Vec<FailureCount>,
}

/// Fewer calls say nothing about a rate.
const MIN_CALLS: u64 = 20;
/// The handbook's alert: more failed calls than these, in per cent.
const MAX_FAILED_PERCENT: u64 = 10;

impl TrafficCounts {
    /// Whether so many of enough calls failed that somebody should look.
    #[must_use]
    pub const fn fails_much(&self) -> bool {
        self.calls >= MIN_CALLS && self.failed * 100 > MAX_FAILED_PERCENT * self.calls
    }
}

/// Calls that failed alike.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FailureCount {
    /// Of a channel the upstream's status, or a word like `dns`, `first_byte_timeout`, `cut`,
    /// `envelope`; of requests and models the code that clients saw.
    pub code: &'static str,
    /// How many.
    pub calls: u64,
}

/// The state of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerView {
    /// Calls pass.
    Closed,
    /// The channel is paused.
    Open,
    /// One call probes whether the upstream has recovered.
    HalfOpen,
}

/// What one channel is doing.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChannelTrafficView {
    /// The channel.
    pub channel_id: ChannelId,
    /// Its breaker.
    pub breaker: BreakerView,
    /// When an open breaker is tried again, in seconds since 1970.
    pub retry_at: Option<i64>,
    /// Why the channel is paused, where its account at the upstream is broken.
    pub pause_reason: Option<String>,
    /// Calls in flight now.
    pub in_flight: u32,
    /// How many may be, on each node: `setting.concurrency`; null: there is no limit.
    pub in_flight_limit: Option<u32>,
    /// Calls that were sent to it, each attempt for itself; the times are those to the head of the
    /// reply.
    pub counts: TrafficCounts,
}

impl ChannelTrafficView {
    /// One that was never called.
    fn unused(channel_id: ChannelId, rules: CallRules) -> Self {
        Self {
            channel_id,
            breaker: BreakerView::Closed,
            retry_at: None,
            pause_reason: None,
            in_flight: 0,
            in_flight_limit: rules.limit,
            counts: TrafficCounts::default(),
        }
    }
}

/// What a channel's row says of its calls, besides where they go.
#[derive(Clone, Copy)]
pub(super) struct CallRules {
    /// Whether a breaker pauses it.
    pub auto_ban: bool,
    /// How many calls may be in flight.
    pub limit: Option<u32>,
}

impl CallRules {
    pub(super) fn read(state: &AdminState, row: &Row) -> Result<Self, StoreError> {
        let setting = shown_setting(&state.sealer, row.get("setting")?);
        // A channel whose setting can't be read is not called.
        let read = channel_fields::setting(setting.get(), Precharge::default()).ok();
        let limit = read.and_then(|(setting, _)| setting.concurrency);
        Ok(Self { auto_ban: row.get("auto_ban")?, limit })
    }
}

/// What one model is doing.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ModelTraffic {
    /// The model that clients named.
    pub model: String,
    /// Their requests; the times are the upstreams' share.
    pub counts: TrafficCounts,
}

/// One minute of a channel, or of all requests.
#[derive(Clone, Copy, Debug)]
pub struct TrafficMinute {
    /// When it began, in seconds since 1970.
    pub time: i64,
    /// Calls that ended in it.
    pub calls: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// The time to the head of the reply that 95 in a hundred did not exceed.
    pub p95_ms: Option<i64>,
}

/// Reads of how many minutes the sums are to be.
///
/// # Errors
/// When it isn't a number from 1 to 180.
pub fn read_minutes(query: &Query) -> Result<i64, AdminError> {
    let minutes = query.number("minutes")?.unwrap_or(SHOWN_MINUTES);
    if !(1..=MAX_MINUTES).contains(&minutes) {
        let zh = format!("必须在 1 到 {MAX_MINUTES} 之间");
        return Err(AdminError::field("minutes", zh, format!("must be from 1 to {MAX_MINUTES}")));
    }
    Ok(minutes)
}

/// What the node that answers is doing.
///
/// # Errors
/// For ordinary users, where calls are not served (on the command line), or when the database
/// fails.
pub async fn live(
    state: &AdminState,
    actor: &Actor,
    minutes: i64,
) -> Result<NodeTraffic, AdminError> {
    actor.require_admin()?;
    let absent = || AdminError::not_found("实时统计", "traffic here: this process serves no calls");
    let traffic = state.traffic.as_deref().ok_or_else(absent)?;
    let node_id = traffic.node();
    let node = nodes::name(&state.db, node_id).await?;
    let now = traffic.minute();
    let rules = call_rules(state).await?;
    let channels = traffic.channels();
    let known = channels.iter().filter_map(|channel| Some((channel, *rules.get(&channel.id)?)));
    let models = traffic.models().into_iter();
    let own = traffic.own_share.read(now, minutes);
    Ok(NodeTraffic {
        node: node.unwrap_or_default(),
        node_id: node_id.0.to_string(),
        since: exact::seconds(state.clock.now()) - seconds_of(traffic),
        minutes,
        requests: counts(traffic.requests.read(now, minutes)),
        own_p50_ms: own.p50_ms,
        own_p95_ms: own.p95_ms,
        channels: known
            .map(|(channel, rules)| view(state, traffic, channel, (minutes, rules)))
            .collect(),
        models: models
            .map(|(model, meter)| ModelTraffic {
                model: model.to_string(),
                counts: counts(meter.read(now, minutes)),
            })
            .filter(|model| model.counts.calls > 0)
            .collect(),
    })
}

/// The sums of all requests of the last minutes; none where calls are not served.
#[must_use]
pub fn requests_of(state: &AdminState, minutes: i64) -> Option<TrafficCounts> {
    let traffic = state.traffic.as_deref()?;
    Some(counts(traffic.requests.read(traffic.minute(), minutes)))
}

/// What a channel is doing; none where calls are not served.
pub(super) fn live_of(
    state: &AdminState,
    id: ChannelId,
    rules: CallRules,
) -> Option<ChannelTrafficView> {
    let traffic = state.traffic.as_deref()?;
    Some(match traffic.called(id) {
        Some(channel) => view(state, traffic, &channel, (SHOWN_MINUTES, rules)),
        None => ChannelTrafficView::unused(id, rules),
    })
}

/// Every minute of a channel as far back as it is remembered, oldest first.
#[must_use]
pub fn minutes_of(state: &AdminState, id: ChannelId) -> Vec<TrafficMinute> {
    let Some(traffic) = state.traffic.as_deref() else { return Vec::new() };
    let Some(channel) = traffic.called(id) else { return Vec::new() };
    each_minute(state, traffic, &channel.meter, MAX_MINUTES)
}

/// All requests minute by minute, as far back as they are remembered, oldest first.
#[must_use]
pub fn minutes_of_requests(state: &AdminState) -> Vec<TrafficMinute> {
    let Some(traffic) = state.traffic.as_deref() else { return Vec::new() };
    each_minute(state, traffic, &traffic.requests, MAX_MINUTES)
}

fn each_minute(
    state: &AdminState,
    traffic: &Traffic,
    meter: &TrafficMeter,
    minutes: i64,
) -> Vec<TrafficMinute> {
    let now = traffic.minute();
    let began = exact::seconds(state.clock.now()) - seconds_of(traffic);
    let counted = meter.minutes(now, minutes);
    let counted: HashMap<i64, MinuteCounts> =
        counted.into_iter().map(|minute| (minute.minute, minute)).collect();
    let first = (now + 1 - minutes).max(0);
    let of = |minute: i64| {
        let found = counted.get(&minute);
        TrafficMinute {
            time: began + minute * 60,
            calls: found.map_or(0, |found| found.calls),
            failed: found.map_or(0, |found| found.failed),
            p95_ms: found.and_then(|found| found.p95_ms),
        }
    };
    (first..=now).map(of).collect()
}

/// Which channels there are, and what they say of their calls.
async fn call_rules(state: &AdminState) -> Result<HashMap<ChannelId, CallRules>, AdminError> {
    let rows = state.db.read("SELECT id, auto_ban, setting FROM channels", &[]).await?;
    let read = |row: &Row| Ok((row.get("id")?, CallRules::read(state, row)?));
    rows.iter().map(read).collect()
}

fn seconds_of(traffic: &Traffic) -> i64 {
    traffic.now_ms() / 1_000
}

fn view(
    state: &AdminState,
    traffic: &Traffic,
    channel: &ChannelTraffic,
    (minutes, rules): (i64, CallRules),
) -> ChannelTrafficView {
    // Without `auto_ban` the breaker is not asked.
    let (breaker, retry_ms) = match rules.auto_ban {
        true => channel.breaker(),
        false => (BreakerState::Closed, None),
    };
    let retry_at = |at: i64| {
        let wait_ms = (at - traffic.now_ms()).max(0);
        exact::seconds(state.clock.now().plus_ms(wait_ms))
    };
    ChannelTrafficView {
        channel_id: channel.id,
        breaker: match breaker {
            BreakerState::Closed => BreakerView::Closed,
            BreakerState::Open => BreakerView::Open,
            BreakerState::HalfOpen => BreakerView::HalfOpen,
        },
        retry_at: retry_ms.map(retry_at),
        pause_reason: channel.account().filter(|_| rules.auto_ban),
        in_flight: channel.in_flight(),
        in_flight_limit: rules.limit,
        counts: counts(channel.meter.read(traffic.minute(), minutes)),
    }
}

fn counts(counts: CallCounts) -> TrafficCounts {
    let failures = counts.failures.into_iter();
    TrafficCounts {
        calls: counts.calls,
        failed: counts.failed,
        p50_ms: counts.p50_ms,
        p95_ms: counts.p95_ms,
        failures: failures.map(|(code, calls)| FailureCount { code, calls }).collect(),
    }
}

/// Channels that this node asks for nothing, and why where it is their account.
pub(in crate::ops) fn unasked(state: &AdminState) -> BTreeMap<ChannelId, Option<String>> {
    let Some(traffic) = &state.traffic else { return BTreeMap::new() };
    let called = traffic.channels();
    let reasons = called.iter().filter_map(|channel| match channel.account() {
        Some(why) => Some((channel.id, Some(why))),
        None => (channel.breaker().0 == BreakerState::Open).then_some((channel.id, None)),
    });
    reasons.collect()
}

/// The condition of enabled channels that this node asks for nothing: their breaker is open, or
/// their account is broken.
pub(in crate::ops) fn are_paused(state: &AdminState) -> String {
    match page::number_list(unasked(state).keys().map(|id| id.0)) {
        None => "1 = 0".to_owned(),
        // Without `auto_ban` neither pauses a channel.
        Some(list) => format!("status = 1 AND auto_ban AND id IN ({list})"),
    }
}
