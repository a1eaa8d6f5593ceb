//! What an operator can set, as plain values.

use domain::StatusWords;
use egress::EgressConfig;

/// Settings of the work on tasks. Durations in milliseconds.
#[derive(Clone, Debug)]
pub struct TasksConfig {
    /// Between two questions about a task (`CUSTOM_PASS_POLL_INTERVAL`).
    pub poll_interval_ms: u64,
    /// How long one question may take (`CUSTOM_PASS_TASK_TIMEOUT`).
    pub query_timeout_ms: u64,
    /// Ids in one question (`CUSTOM_PASS_BATCH_SIZE`).
    pub batch_size: usize,
    /// Questions under way, to all channels together (`CUSTOM_PASS_MAX_CONCURRENT`).
    pub max_concurrent: usize,
    /// How old a task may become; then it is asked about once more, and given up
    /// (`CUSTOM_PASS_TASK_MAX_LIFETIME`).
    pub max_lifetime_ms: u64,
    /// How long ended tasks and their webhooks are kept (`CUSTOM_PASS_TASK_RETENTION_DAYS`).
    pub retention_days: u32,
    /// Which words of upstreams mean what, where the channel has none of its own.
    pub status_words: StatusWords,
    /// How channels are called.
    pub egress: EgressConfig,
}
