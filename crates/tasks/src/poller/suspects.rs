//! Tasks that break every request they are part of. They are polled one by one, so that the cost of
//! finding them is not paid in every pass.

use std::collections::BTreeMap;

/// The maximum number of suspects.
const MAX_SUSPECTS: usize = 32;

/// Suspects of a lane, and whether this pass has met them.
#[derive(Debug, Default)]
pub(super) struct Suspects(BTreeMap<i64, bool>);

impl Suspects {
    /// Starts a pass.
    pub(super) fn begin(&mut self) {
        self.0.values_mut().for_each(|met| *met = false);
    }

    /// Whether a task is a suspect; marks it as met.
    pub(super) fn meets(&mut self, task: i64) -> bool {
        self.0.get_mut(&task).is_some_and(|met| {
            *met = true;
            true
        })
    }

    /// A request for this task alone failed, while others succeed.
    pub(super) fn accuse(&mut self, task: i64) {
        if self.0.len() < MAX_SUSPECTS {
            self.0.insert(task, true);
        }
    }

    /// A request for this task alone succeeded.
    pub(super) fn acquit(&mut self, task: i64) {
        self.0.remove(&task);
    }

    /// A pass has met all tasks: suspects that it has not met have ended.
    pub(super) fn end(&mut self) {
        self.0.retain(|_, met| *met);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspect_is_one_until_it_answers_or_ends() {
        let mut suspects = Suspects::default();
        suspects.accuse(1);
        suspects.accuse(2);
        suspects.end();
        suspects.begin();
        assert!(suspects.meets(1) && !suspects.meets(3));
        suspects.end();
        assert!(!suspects.meets(2), "it has ended");
        suspects.acquit(1);
        assert!(!suspects.meets(1));
        (0..100).for_each(|task| suspects.accuse(task));
        assert_eq!(suspects.0.len(), MAX_SUSPECTS);
    }
}
