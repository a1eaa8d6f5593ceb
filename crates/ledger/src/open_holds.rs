//! The cache of this process's open holds, as the last batch left them: rows that the lanes wrote
//! themselves need not be read.

use crate::book::BatchChanges;
use crate::rows::{HoldRow, Rows};
use crate::wanted::RowsNeeded;
use domain::{HoldId, NodeId};
use foldhash::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug)]
pub(crate) struct OpenHolds {
    node: NodeId,
    holds: Mutex<HashMap<HoldId, HoldRow>>,
}

impl OpenHolds {
    /// Holds of this node.
    pub(crate) fn of(node: NodeId) -> Self {
        Self { node, holds: Mutex::default() }
    }

    /// The id of this node.
    pub(crate) const fn node(&self) -> NodeId {
        self.node
    }

    /// Adds the wanted rows that are cached.
    pub(crate) fn fill(&self, wanted: &RowsNeeded, rows: &mut Rows) {
        let holds = self.lock();
        for id in &wanted.holds {
            if let Some(row) = holds.get(id) {
                rows.holds.insert(*id, row.clone());
            }
        }
    }

    /// Inserts what has become durable.
    pub(crate) fn insert(&self, changes: &BatchChanges) {
        let mut holds = self.lock();
        for ended in &changes.ended_holds {
            holds.remove(&ended.id);
        }
        for (id, row) in &changes.holds {
            // A task's hold may outlive this process: its end reads the row.
            if row.node == Some(self.node) && !row.for_task {
                holds.insert(*id, row.clone().stored());
            } else {
                holds.remove(id);
            }
        }
    }

    /// Invalidates rows that may not be as they are cached: they have to be read.
    pub(crate) fn invalidate(&self, wanted: &RowsNeeded) {
        let mut holds = self.lock();
        for id in &wanted.holds {
            holds.remove(id);
        }
    }

    /// As [`Self::invalidate`], for all.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<HoldId, HoldRow>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
