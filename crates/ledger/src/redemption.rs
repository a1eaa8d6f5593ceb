//! Redemption codes. A code and the balance that it raises change in one transaction, decided by
//! the same [`Book`](crate::book::Book): of concurrent attempts exactly one succeeds.

use crate::error::CodeFault;
use domain::{Quota, RedemptionId, UnixMs, UserId};
use std::sync::Arc;

/// Values of `redemptions.status`.
const OPEN: i16 = 1;
const REDEEMED: i16 = 3;

/// A user redeems a code.
#[derive(Clone, Debug)]
pub struct Redemption {
    /// The hash of the code.
    pub id: RedemptionId,
    /// The user whose balance it raises.
    pub user_id: UserId,
    /// Who redeems it, for the journal.
    pub by: String,
    /// When.
    pub at: UnixMs,
}

/// A code's row.
#[derive(Clone, Debug)]
pub(crate) struct CodeRow {
    pub name: Arc<str>,
    pub quota: Quota,
    pub status: i16,
    pub expires_at: Option<UnixMs>,
}

impl CodeRow {
    /// The value of the code at this time.
    pub(crate) fn worth(&self, at: UnixMs) -> Result<Quota, CodeFault> {
        match self.status {
            OPEN if self.expires_at.is_some_and(|ends| ends <= at) => Err(CodeFault::Expired),
            OPEN => Ok(self.quota),
            REDEEMED => Err(CodeFault::Redeemed),
            _ => Err(CodeFault::Disabled),
        }
    }

    pub(crate) const fn mark_redeemed(&mut self) {
        self.status = REDEEMED;
    }
}
