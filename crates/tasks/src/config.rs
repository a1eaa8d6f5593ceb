//! Configuration of the background work.

use domain::StatusWords;
use egress::EgressConfig;

/// The usual [`TasksConfig::max_ends`].
pub const MAX_ENDS: usize = 64;

/// Settings of tasks. Durations in milliseconds.
#[derive(Clone, Debug)]
pub struct TasksConfig {
    /// Interval between two polls of a task (`CUSTOM_PASS_POLL_INTERVAL`).
    pub poll_interval_ms: u64,
    /// Time limit of one poll request (`CUSTOM_PASS_TASK_TIMEOUT`).
    pub query_timeout_ms: u64,
    /// Ids per poll request (`CUSTOM_PASS_BATCH_SIZE`).
    pub batch_size: usize,
    /// Concurrent poll requests, of all channels together (`CUSTOM_PASS_MAX_CONCURRENT`).
    pub max_concurrent: usize,
    /// Concurrent ends of tasks that wait for the ledger; read at the start alone.
    pub max_ends: usize,
    /// Maximum age of a task; after that it is polled once more, and failed
    /// (`CUSTOM_PASS_TASK_MAX_LIFETIME`).
    pub max_lifetime_ms: u64,
    /// How long ended tasks and their webhooks are kept (`CUSTOM_PASS_TASK_RETENTION_DAYS`).
    pub retention_days: u32,
    /// Status words of upstreams, where the channel has none of its own.
    pub status_words: StatusWords,
    /// Defaults for calling channels.
    pub egress: EgressConfig,
}
