//! What the process measures of itself for its row in the table of nodes.

use crate::memory_limit::MemoryLimit;
use crate::process;
use httpd::ConnectionMetrics;
use ledger::NodeGauges;
use std::sync::Arc;
use store::Db;
use store::nodes::NodeLoad;
use throttle::Shared;
use web::memory::Budget;

/// What it reads.
pub(super) struct NodeMeter {
    pub memory: Arc<MemoryLimit>,
    pub budget: Arc<Budget>,
    pub connections: ConnectionMetrics,
    pub max_connections: usize,
    pub db: Db,
    pub redis: Option<Arc<Shared>>,
}

impl NodeGauges for NodeMeter {
    fn load(&self) -> NodeLoad {
        let pool = self.db.pool_status();
        NodeLoad {
            resident_bytes: process::resident_bytes().map(clamped),
            memory_limit_bytes: self.memory.bytes().map(clamped),
            body_bytes: self.budget.used_bytes().get(),
            body_budget_bytes: self.budget.limit_bytes(),
            connections: self.connections.open(),
            max_connections: clamped(self.max_connections),
            database_in_use: pool.map(|pool| clamped(pool.open.saturating_sub(pool.idle))),
            database_max: pool.map(|pool| clamped(pool.max)),
            redis_answers: self.redis.as_ref().map(|redis| redis.is_up()),
        }
    }
}

fn clamped(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
