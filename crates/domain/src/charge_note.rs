//! The notes of charges that are not what a usage comes to.

use crate::Quota;
use std::fmt;

/// The line's text of a call whose outcome stays unknown: its hold was given back.
pub const UNKNOWN_OUTCOME: &str = "unknown_outcome";

/// How the note of a bounded charge begins.
const AT_BOUND: &str = "settled at max_charge";

/// What a usage comes to; `None`: more than an amount may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported(pub Option<Quota>);

impl fmt::Display for Reported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(amount) => amount.fmt(f),
            None => f.write_str("more than fits"),
        }
    }
}

/// Why work that was done doesn't cost what its usage comes to: the note of its line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChargeNote {
    /// Its usage is unknown, or can't be priced.
    #[error("settled at the hold: {0}")]
    Held(String),
    /// Its usage comes to more than it may charge.
    #[error("{AT_BOUND}: reported {0}")]
    Bounded(Reported),
}

impl ChargeNote {
    /// What was reported, where it was bounded.
    #[must_use]
    pub const fn bounded(&self) -> Option<Reported> {
        match self {
            Self::Bounded(reported) => Some(*reported),
            Self::Held(_) => None,
        }
    }

    /// Whether the note of a line is that of a bounded charge.
    #[must_use]
    pub fn is_of_bound(note: &str) -> bool {
        note.starts_with(AT_BOUND)
    }
}
