//! Redemption codes. A code and the balance that it raises move in one transaction, decided by the
//! same [`Book`](crate::book::Book): so exactly one of all who try it at once is paid.

use crate::error::{CodeFault, LedgerError};
use crate::ledger::Ledger;
use crate::op::Op;
use domain::{Quota, RedemptionId, UnixMs, UserId};
use std::sync::Arc;

/// A code's words in `redemptions.status`.
const OPEN: i16 = 1;
const REDEEMED: i16 = 3;

/// Somebody redeems a code.
#[derive(Clone, Debug)]
pub struct Redemption {
    /// Which code.
    pub id: RedemptionId,
    /// Whose balance it raises.
    pub user_id: UserId,
    /// Who says so, in words.
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
    /// What the code is worth at this time.
    pub fn worth(&self, at: UnixMs) -> Result<Quota, CodeFault> {
        match self.status {
            OPEN if self.expires_at.is_some_and(|ends| ends <= at) => Err(CodeFault::Expired),
            OPEN => Ok(self.quota),
            REDEEMED => Err(CodeFault::Redeemed),
            _ => Err(CodeFault::Disabled),
        }
    }

    pub const fn mark_redeemed(&mut self) {
        self.status = REDEEMED;
    }
}

impl Ledger {
    /// Redeems a code, and answers the new balance. Of all who redeem it one succeeds.
    ///
    /// # Errors
    /// When the code is worth nothing (any more), or the user is missing.
    pub async fn redeem(&self, redemption: Redemption) -> Result<Quota, LedgerError> {
        self.moved(Op::Redeem(redemption)).await
    }
}
