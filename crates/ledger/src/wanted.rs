//! Which rows a batch needs.

use crate::op::{ChargeRef, Op};
use crate::rows::Rows;
use domain::{HoldId, KeyId, RedemptionId, TaskUid, UserId};
use foldhash::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// The rows that a set of operations needs, each once.
#[derive(Debug, Default)]
pub(crate) struct RowsNeeded {
    pub users: Vec<UserId>,
    /// Keys whose own limit an operation names. Those of holds follow once these are read.
    pub keys: Vec<KeyId>,
    pub holds: Vec<HoldId>,
    /// Holds that are about to be made: they exist only if the operation is a repetition.
    pub new_holds: Vec<HoldId>,
    pub codes: Vec<RedemptionId>,
    pub tasks: Vec<TaskUid>,
    pub references: Vec<(UserId, Arc<str>)>,
    /// Charges that are partly refunded.
    pub refunded: Vec<(UserId, ChargeRef)>,
    /// The requests of holds to settle: where a hold is gone, its line is searched for.
    pub settling: Vec<(HoldId, Arc<str>)>,
}

impl RowsNeeded {
    pub(crate) fn of(ops: &[&Op]) -> Self {
        let mut wanted = Self {
            users: distinct(ops.iter().map(|op| op.user_id())),
            tasks: distinct(ops.iter().filter_map(|op| op.task())),
            ..Self::default()
        };
        for op in ops {
            if let Some(reference) = op.reference() {
                wanted.references.push((op.user_id(), reference.clone()));
            }
            match op {
                Op::Hold(new) => {
                    wanted.new_holds.push(new.request.hold_id);
                    wanted.keys.extend(new.request.key_is_limited.then_some(new.request.key_id));
                }
                Op::Settle(hold, _, terms) => {
                    wanted.settling.push((hold.hold_id, terms.request_id.clone()));
                    wanted.keys.extend(terms.key_is_limited.then_some(terms.key_id));
                }
                Op::Refund(charge, movement, _) => {
                    wanted.refunded.push((movement.user_id, charge.clone()));
                }
                Op::Redeem(redemption, _) => wanted.codes.push(redemption.id),
                _ => {}
            }
        }
        wanted.holds = distinct(
            ops.iter().filter(|op| !matches!(op, Op::Hold(_))).filter_map(|op| op.hold_id()),
        );
        wanted.keys = distinct(wanted.keys.iter().copied());
        wanted.refunded.sort();
        wanted.refunded.dedup();
        wanted.codes = distinct(wanted.codes.iter().copied());
        wanted
    }

    /// Adds the keys whose own limits the holds of `rows` count against.
    pub(crate) fn add_keys_of_holds(&mut self, rows: &Rows) {
        let more = rows.holds.values().filter_map(|row| row.limited_key());
        self.keys = distinct(self.keys.iter().copied().chain(more));
    }
}

pub(crate) fn distinct<T: Copy + Eq + Hash>(ids: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::default();
    ids.filter(|id| seen.insert(*id)).collect()
}
