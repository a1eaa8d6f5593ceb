//! The accounts and limits that a lane has seen, as its last batch left them.
//!
//! What is known is never trusted blindly: each engine has its way to tell, in the transaction
//! itself, that the rows are still these. Then they need not be read first.

use crate::book::Changes;
use crate::op::Op;
use crate::rows::Rows;
use std::collections::HashMap;

/// Rows kept in mind. Past it a lane starts to learn anew.
const ROWS_MAX: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Known(Rows);

impl Known {
    /// What is known of the accounts and limits that some operations touch.
    pub fn rows_of(&self, ops: &[&Op]) -> Rows {
        let mut rows = Rows::default();
        for op in ops {
            let user_id = op.user_id();
            if let Some(account) = self.0.accounts.get(&user_id) {
                rows.accounts.entry(user_id).or_insert_with(|| account.clone());
            }
            if let Some(key_id) = op.limited_key()
                && let Some(limit) = self.0.keys.get(&key_id)
            {
                rows.keys.entry(key_id).or_insert_with(|| limit.clone());
            }
        }
        rows
    }

    /// Takes note of what has become durable.
    pub fn written(&mut self, changes: &Changes) {
        learn(&mut self.0.accounts, &changes.balances);
        learn(&mut self.0.keys, &changes.limits);
    }

    /// The rows of some operations are not as they are known.
    pub fn forget(&mut self, ops: &[&Op]) {
        for op in ops {
            self.0.accounts.remove(&op.user_id());
            op.limited_key().map(|key_id| self.0.keys.remove(&key_id));
        }
    }

    pub fn forget_all(&mut self) {
        self.0 = Rows::default();
    }
}

fn learn<K: Copy + Eq + std::hash::Hash, V: Clone>(known: &mut HashMap<K, V>, now: &HashMap<K, V>) {
    if known.len() + now.len() > ROWS_MAX {
        known.clear();
    }
    for (id, row) in now {
        match known.get_mut(id) {
            Some(known) => known.clone_from(row),
            None => drop(known.insert(*id, row.clone())),
        }
    }
}
