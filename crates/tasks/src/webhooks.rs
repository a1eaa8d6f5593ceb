//! Telling users that their tasks have ended.

use crate::{Parts, TasksConfig};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The sender of this node.
pub(crate) struct Webhooks;

pub(crate) fn start(
    _config: TasksConfig,
    _parts: Parts,
    _jobs: &TaskTracker,
    _shutdown: &CancellationToken,
) -> Arc<Webhooks> {
    Arc::new(Webhooks)
}

impl Webhooks {
    pub(crate) fn register(&self, _registry: &mut Registry) {}
}
