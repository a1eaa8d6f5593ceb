//! Tasks that spoil every question they are part of. They are asked about alone, so that finding
//! them is not to be paid for in every pass.

use std::collections::BTreeMap;

/// Tasks that are remembered.
const MAX_SUSPECTS: usize = 32;

/// Suspects of a lane, and whether this pass came by them.
#[derive(Debug, Default)]
pub(super) struct Suspects(BTreeMap<i64, bool>);

impl Suspects {
    /// A pass begins.
    pub(super) fn begin(&mut self) {
        self.0.values_mut().for_each(|met| *met = false);
    }

    /// Whether a task that the pass comes by is one.
    pub(super) fn meets(&mut self, task: i64) -> bool {
        self.0.get_mut(&task).is_some_and(|met| {
            *met = true;
            true
        })
    }

    /// A question about this task alone failed, where others are answered.
    pub(super) fn accuse(&mut self, task: i64) {
        if self.0.len() < MAX_SUSPECTS {
            self.0.insert(task, true);
        }
    }

    /// A question about this task alone was answered.
    pub(super) fn acquit(&mut self, task: i64) {
        self.0.remove(&task);
    }

    /// A pass has come by all tasks: those that it didn't meet have ended.
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
