//! Quota: the integer unit of money. 500 000 quota are 1 USD.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// An amount of money, or a change of one. Arithmetic is checked: nothing wraps.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(transparent)]
pub struct Quota(pub i64);

impl Quota {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// What one US dollar is worth.
    pub const PER_USD: i64 = 500_000;

    /// The largest amount of one movement: two billion dollars. Sums of one user fit 64 bits.
    pub const LARGEST: Self = Self(1_000_000_000_000_000);

    /// How far from zero operators and codes may move a balance. So 64 bits have room for all that
    /// is held of it and comes back, and for what a call costs beyond its hold.
    pub const LARGEST_BALANCE: Self = Self::LARGEST;

    /// What a sum over many users is given as where it is more, in either direction. Two of them
    /// can be added.
    pub const LARGEST_SUM: Self = Self(4_000_000_000_000_000_000);

    /// Whether this is an amount that can be held or charged: not negative, and not too large.
    #[must_use]
    pub const fn is_amount(self) -> bool {
        0 <= self.0 && self.0 <= Self::LARGEST.0
    }

    /// `self + other`, or `None` where that doesn't fit.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// A sum, and one more amount.
    #[must_use]
    pub fn sum_with(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0).clamp(-Self::LARGEST_SUM.0, Self::LARGEST_SUM.0))
    }

    /// `self - other`, or `None` where that doesn't fit.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(rest) => Some(Self(rest)),
            None => None,
        }
    }

    /// The negated amount, or `None` where that doesn't fit.
    #[must_use]
    pub const fn checked_neg(self) -> Option<Self> {
        match self.0.checked_neg() {
            Some(turned) => Some(Self(turned)),
            None => None,
        }
    }

    /// Whether the amount is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
