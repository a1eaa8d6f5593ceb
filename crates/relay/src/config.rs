//! Configuration of the data plane.

use crate::{BreakerConfig, CorsOrigins};
use domain::{HOUR_MS, StatusWords};
use egress::EgressConfig;
use http::HeaderName;
use std::sync::Arc;
use store::Channel;
use upstream::Deadlines;
use web::TrustedProxies;

/// Bodies up to this size are always collected: requests so that they can be sent twice, replies so
/// that the charge can be sent in a header.
pub(crate) const SMALL_BODY_BYTES: usize = 64 * 1024;

/// The margin of a hold's deadline.
const MARGIN_MS: u64 = 60_000;

/// What a call by use holds before it is sent, where its upstream estimates nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HoldMode {
    /// The request's text, and the output that it allows.
    #[default]
    Full,
    /// The request's text.
    Input,
    /// The least hold of its price.
    Min,
}

/// What a stream priced per call costs that its upstream breaks off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CutStream {
    /// The price.
    #[default]
    Charge,
    /// Nothing before its first content, else the price.
    Seen,
}

/// Settings of the data plane. Durations in milliseconds.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// The header that carries the caller's key to the upstream, where the channel names none.
    pub user_token_header: HeaderName,
    /// Networks of trusted proxies.
    pub trusted_proxies: TrustedProxies,
    /// Refuse models without a price, instead of passing them free of charge.
    pub refuse_unpriced: bool,
    /// What a call by use holds.
    pub hold: HoldMode,
    /// What a stream priced per call costs that breaks off.
    pub cut_stream: CutStream,
    /// Largest request body, counted after decompression.
    pub max_request_bytes: u64,
    /// Concurrent requests; above it 503.
    pub max_in_flight: i64,
    /// Memory of all collected bodies; above it 503.
    pub buffer_budget_bytes: usize,
    /// A reply of a model priced by use is collected up to this size; a larger one is streamed.
    pub max_collected_reply_bytes: usize,
    /// A reply larger than this is not stored for a repeated `Idempotency-Key`.
    pub max_kept_reply_bytes: usize,
    /// How long a reply is stored for a repeated `Idempotency-Key`.
    pub idempotency_ttl_ms: i64,
    /// In each window of this length in which a request's body is awaited, a minimum of bytes must
    /// arrive.
    pub body_window_ms: u64,
    /// The total time to wait for the client while its body is held.
    pub body_timeout_ms: u64,
    /// Time limit for connecting to an upstream.
    pub connect_ms: u64,
    /// Time limit for the first byte of an upstream (`CUSTOM_PASS_HTTP_TIMEOUT`).
    pub first_byte_ms: u64,
    /// Longest pause of an upstream within its reply.
    pub idle_ms: u64,
    /// Time limit of a whole call.
    pub total_ms: u64,
    /// How long a reply is drained when its client has disconnected (`CUSTOM_PASS_DRAIN_SECONDS`).
    pub drain_ms: u64,
    /// How much of it.
    pub drain_bytes: u64,
    /// How long a client waits for its settlement to become durable. After that its reply is cut;
    /// the ledger continues.
    pub settle_wait_ms: u64,
    /// How many further channels are tried while nothing has been sent.
    pub failover_count: u32,
    /// Clients that may wait for tasks concurrently; above it 503.
    pub max_task_waiters: usize,
    /// The same per user; above it 429.
    pub max_task_waiters_of_user: usize,
    /// After how much silence a stream of task events sends a keep-alive.
    pub task_silence_ms: u64,
    /// Status words of upstreams, where the channel has none of its own.
    pub status_words: StatusWords,
    /// The poll interval of tasks: what clients are advised to wait.
    pub poll_interval_ms: u64,
    /// Which origins may call from a browser.
    pub cors: CorsOrigins,
    /// When a failing channel is paused.
    pub breaker: BreakerConfig,
}

impl Default for RelayConfig {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            user_token_header: HeaderName::from_static("x-custom-token"),
            trusted_proxies: TrustedProxies::default(),
            refuse_unpriced: false,
            hold: HoldMode::default(),
            cut_stream: CutStream::default(),
            max_request_bytes: 32 * MIB as u64,
            max_in_flight: 20_000,
            buffer_budget_bytes: 256 * MIB,
            max_collected_reply_bytes: 8 * MIB,
            max_kept_reply_bytes: MIB,
            idempotency_ttl_ms: 25 * HOUR_MS,
            body_window_ms: 30_000,
            body_timeout_ms: 300_000,
            connect_ms: 10_000,
            first_byte_ms: 30_000,
            idle_ms: 120_000,
            total_ms: 900_000,
            drain_ms: 30_000,
            drain_bytes: 64 * MIB as u64,
            settle_wait_ms: 10_000,
            failover_count: 3,
            max_task_waiters: 10_000,
            max_task_waiters_of_user: 1_000,
            task_silence_ms: 15_000,
            status_words: StatusWords::usual(),
            poll_interval_ms: 30_000,
            cors: CorsOrigins::Any,
            breaker: BreakerConfig::default(),
        }
    }
}

impl RelayConfig {
    /// Defaults for calling channels.
    #[must_use]
    pub fn egress(&self) -> EgressConfig {
        let deadlines = Deadlines {
            connect_ms: self.connect_ms,
            first_byte_ms: self.first_byte_ms,
            idle_ms: self.idle_ms,
            total_ms: self.total_ms,
        };
        EgressConfig { user_token_header: self.user_token_header.clone(), deadlines }
    }

    /// How long money stays held when the outcome of its call is unknown: the longest time that an
    /// estimate and the head of a reply may take, on the slowest of these channels, with failovers
    /// before. A hold of a call in flight has all the time it needs, regardless of its deadline.
    pub(crate) fn hold_ms(&self, candidates: &[Arc<Channel>]) -> i64 {
        let own = candidates.iter().filter_map(|channel| channel.setting.timeout_ms).max();
        let first_byte_ms = own.unwrap_or(0).max(self.first_byte_ms);
        let connects_ms = self.connect_ms.saturating_mul(u64::from(self.failover_count) + 1);
        [first_byte_ms, first_byte_ms, connects_ms, self.settle_wait_ms, MARGIN_MS]
            .into_iter()
            .fold(0, u64::saturating_add)
            .try_into()
            .unwrap_or(i64::MAX)
    }
}
