//! Configuration of the ledger.

/// The ledger's limits.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// Connections that write money on PostgreSQL. Two are best on two cores; SQLite has one.
    pub lanes: usize,
    /// The maximum number of operations in one commit.
    pub batch_max: usize,
    /// Pending operations beyond which new holds are refused as overloaded.
    pub queue_max: usize,
    /// With `busy_retry_delay_ms`, how long an operation on a locked row is retried: the sum of as
    /// many pauses as this, of which the second is twice as long as the first, and so on.
    pub busy_retry_count: u32,
    /// The first of these pauses.
    pub busy_retry_delay_ms: u64,
    /// Lines of type `error` that a user's failed calls may leave in the journal per minute, on
    /// each node. 0: none.
    pub failures_per_minute: u32,
    /// How long after a call whose outcome is unknown its hold is given back, in milliseconds; a
    /// hold's own deadline comes first.
    pub unknown_after_ms: i64,
    /// Settings of the background jobs.
    pub jobs: JobsConfig,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            lanes: 2,
            batch_max: 512,
            queue_max: 8192,
            busy_retry_count: 3,
            busy_retry_delay_ms: 1000,
            failures_per_minute: 60,
            unknown_after_ms: 60_000,
            jobs: JobsConfig::default(),
        }
    }
}

/// Settings of the background jobs.
#[derive(Clone, Debug)]
pub struct JobsConfig {
    /// Name of this node in the table of nodes.
    pub node_name: String,
    /// How long a node may be silent before other nodes release its holds.
    pub lease_ms: i64,
    /// Pause between two heartbeats.
    pub heartbeat_ms: u64,
    /// Pause between two sweeps for holds to expire.
    pub sweep_ms: u64,
    /// Pause between two rollups of the journal.
    pub rollup_ms: u64,
    /// The longest time between the assignment of a line's id and of its transaction's, on
    /// PostgreSQL. Both happen within one statement, so this is generous.
    pub rollup_lag_ms: i64,
    /// How long journal lines are kept.
    pub log_retention_days: i64,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            node_name: String::new(),
            lease_ms: 15_000,
            heartbeat_ms: 4_000,
            sweep_ms: 2_000,
            rollup_ms: 5_000,
            rollup_lag_ms: 10_000,
            log_retention_days: 90,
        }
    }
}
