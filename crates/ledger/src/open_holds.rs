//! The holds of this process that have not ended, as it knows them.
//!
//! They serve two ends. The lanes need not read a row again that they wrote themselves. And the
//! node tells others, with its lease, from which id on its open holds are (its *mark*): should it
//! die, they are found there, without an index that every hold would have to enter and leave.

use crate::book::Changes;
use crate::rows::{HoldRow, HoldState};
use domain::{HoldId, UnixMs};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// The mark stays this far behind the clock, so that a new hold is nearly always beyond it.
const MARK_LAG_MS: i64 = 60_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct OpenHolds(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    holds: BTreeMap<HoldId, Option<HoldRow>>,
    /// No mark in the database is later.
    mark: HoldId,
}

impl Default for Inner {
    fn default() -> Self {
        Self { holds: BTreeMap::new(), mark: HoldId(Uuid::nil()) }
    }
}

/// A hold that is about to be made. Dropped before it was handed over to a lane, it won't be.
#[derive(Debug)]
pub(crate) struct Entered<'a> {
    open: &'a OpenHolds,
    id: HoldId,
    /// It may be made only once the mark was moved.
    pub before_mark: bool,
    handed_over: bool,
}

impl Entered<'_> {
    /// From here on the lane says what becomes of it.
    pub const fn hand_over(&mut self) {
        self.handed_over = true;
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if !self.handed_over {
            self.open.forget(self.id);
        }
    }
}

/// What a node tells about its holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// None of them has an earlier id.
    pub mark: HoldId,
    /// How many there are.
    pub count: usize,
}

impl OpenHolds {
    /// Takes in a hold that is about to be made.
    pub fn enter(&self, id: HoldId) -> Entered<'_> {
        let mut inner = self.lock();
        inner.holds.insert(id, None);
        Entered { open: self, id, before_mark: id < inner.mark, handed_over: false }
    }

    /// Lets go of a hold that was not made, or is no more.
    pub fn forget(&self, id: HoldId) {
        self.lock().holds.remove(&id);
    }

    /// What is known of some holds; the others have to be read.
    pub fn known(&self, ids: impl Iterator<Item = HoldId>) -> Vec<(HoldId, HoldRow)> {
        let inner = self.lock();
        ids.filter_map(|id| Some((id, inner.holds.get(&id)?.clone()?))).collect()
    }

    /// Takes note of what has become durable.
    pub fn written(&self, changes: &Changes) {
        let mut inner = self.lock();
        // From here on these are their tasks', which may outlive us.
        for task in &changes.recorded_tasks {
            inner.holds.remove(&task.told.uid.hold());
        }
        for (id, row) in &changes.holds {
            if row.state != HoldState::Held || row.orphaned {
                inner.holds.remove(id);
            } else if let Some(known) = inner.holds.get_mut(id) {
                *known = Some(row.clone().stored());
            }
        }
    }

    /// Some rows may not be as they are known: they have to be read.
    pub fn distrust(&self, ids: impl Iterator<Item = HoldId>) {
        let mut inner = self.lock();
        for id in ids {
            if let Some(known) = inner.holds.get_mut(&id) {
                *known = None;
            }
        }
    }

    /// As [`Self::distrust`], for all.
    pub fn distrust_all(&self) {
        self.lock().holds.values_mut().for_each(|known| *known = None);
    }

    /// What to tell now. From here on holds before the mark wait; once it was told,
    /// [`Self::told`] has to be called.
    pub fn to_tell(&self, now: UnixMs) -> Told {
        let mut inner = self.lock();
        let lagging = floor(now.plus_ms(-MARK_LAG_MS));
        let mark = inner.holds.keys().next().map_or(lagging, |first| lagging.min(*first));
        inner.mark = inner.mark.max(mark);
        Told { mark, count: inner.holds.len() }
    }

    /// The mark is in the database.
    pub fn told(&self, told: Told) {
        self.lock().mark = told.mark;
    }

    pub fn count(&self) -> usize {
        self.lock().holds.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The smallest UUIDv7 of an instant, and less than all later ones.
fn floor(at: UnixMs) -> HoldId {
    let ms = u128::try_from(at.0).unwrap_or(0) & 0xffff_ffff_ffff;
    HoldId(Uuid::from_u128(ms << 80))
}
