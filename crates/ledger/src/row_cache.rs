//! The accounts and limits that a lane has cached, as its last batch left them.
//!
//! Cached rows are never trusted blindly: each engine checks, in the transaction itself, that the
//! rows are unchanged. So they need not be read first.

use crate::book::BatchChanges;
use crate::rows::{Account, KeyLimit, Rows};
use crate::wanted::RowsNeeded;
use domain::{KeyId, UserId};
use foldhash::HashMap;
use std::hash::Hash;

/// Maximum number of cached rows. When it is exceeded, the cache is cleared.
const ROWS_MAX: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct RowCache {
    accounts: HashMap<UserId, Account>,
    keys: HashMap<KeyId, KeyLimit>,
}

impl RowCache {
    /// Adds the wanted rows that are cached.
    pub(crate) fn fill(&self, wanted: &RowsNeeded, rows: &mut Rows) {
        for id in &wanted.users {
            if let Some(account) = self.accounts.get(id) {
                rows.accounts.insert(*id, account.clone());
            }
        }
        for id in &wanted.keys {
            if let Some(key) = self.keys.get(id) {
                rows.keys.insert(*id, key.clone());
            }
        }
    }

    /// Inserts what has become durable.
    pub(crate) fn insert(&mut self, changes: &BatchChanges) {
        insert_all(&mut self.accounts, &changes.accounts);
        insert_all(&mut self.keys, &changes.keys);
    }

    /// Invalidates rows that are not as they were cached.
    pub(crate) fn invalidate(&mut self, wanted: &RowsNeeded) {
        for id in &wanted.users {
            self.accounts.remove(id);
        }
        for id in &wanted.keys {
            self.keys.remove(id);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn insert_all<K: Copy + Eq + Hash, V: Clone>(cached: &mut HashMap<K, V>, now: &HashMap<K, V>) {
    if cached.len() + now.len() > ROWS_MAX {
        cached.clear();
    }
    for (id, row) in now {
        match cached.get_mut(id) {
            Some(cached) => cached.clone_from(row),
            None => drop(cached.insert(*id, row.clone())),
        }
    }
}
