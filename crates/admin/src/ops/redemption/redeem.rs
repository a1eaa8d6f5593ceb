//! Redeeming a code. The ledger decides and pays; here codes that don't exist are counted.

use crate::ops::log::balance;
use crate::{Actor, AdminError, AdminState};
use domain::{Quota, RedemptionId, UnixMs, UserId};
use ledger::{CodeFault, LedgerError, OF_CODES, Redemption};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Wrong codes that a user may try within [`WINDOW_MS`], on each node.
const WRONG_MAX: u32 = 10;
const WINDOW_MS: i64 = 10 * 60 * 1000;
/// Maximum number of users whose wrong codes are counted; beyond it, the oldest are evicted.
const USERS_MAX: usize = 10_000;

/// What a code was worth to the one who redeemed it.
#[derive(Clone, Copy, Debug)]
pub struct Redeemed {
    /// The amount.
    pub quota: Quota,
    /// The caller had redeemed it before; nothing moved.
    pub repeated: bool,
    /// The line in the caller's journal; `None`: nothing moved.
    pub line: Option<i64>,
}

/// Redeems a code into the caller's balance.
///
/// # Errors
/// When the code is worth nothing, when too many wrong ones were tried, or the ledger fails.
pub async fn redeem(state: &AdminState, actor: &Actor, code: &str) -> Result<Redeemed, AdminError> {
    let now = state.clock.now();
    // Counted before it is looked at, so that many at once are no way around the limit.
    state.wrong_codes.count(actor.user_id, now)?;
    let code = code.trim();
    let sql = "SELECT id, quota FROM redemptions WHERE code_hash = $1";
    let rows = state.db.read(sql, &[(&store::key_hash(code)).into()]).await?;
    let Some(row) = rows.first() else {
        return Err(LedgerError::Code(CodeFault::Unknown).into());
    };
    state.wrong_codes.take_back(actor.user_id);
    let id: RedemptionId = row.get("id")?;
    let by = actor.username.clone();
    let redemption = Redemption { id, user_id: actor.user_id, by, at: now };
    let moved = state.ledger.redeem(redemption).await?;
    if !moved.repeated {
        tracing::info!(
            target: "custompass",
            event = "code_redeemed",
            user_id = actor.user_id.0,
            redemption_id = id.0,
        );
    }
    let line = match moved.repeated {
        true => None,
        false => {
            let reference = format!("{OF_CODES}{id}");
            balance::recent_line(state, actor, actor.user_id, &reference).await
        }
    };
    Ok(Redeemed { quota: row.get("quota")?, repeated: moved.repeated, line })
}

/// How many wrong codes users have tried lately.
#[derive(Clone, Debug, Default)]
pub struct WrongCodes(Arc<Mutex<HashMap<UserId, Tally>>>);

#[derive(Clone, Copy, Debug)]
struct Tally {
    since: UnixMs,
    wrong: u32,
}

impl Tally {
    fn lapsed(self, now: UnixMs) -> bool {
        // It may also lie ahead: the clock was set back.
        now.0.saturating_sub(self.since.0) >= WINDOW_MS || now < self.since
    }
}

impl WrongCodes {
    /// Counts a code as wrong, until it is known to be right.
    fn count(&self, user_id: UserId, now: UnixMs) -> Result<(), AdminError> {
        let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tallies.len() >= USERS_MAX && !tallies.contains_key(&user_id) {
            tallies.retain(|_, tally| !tally.lapsed(now));
            let oldest = tallies.iter().min_by_key(|(_, tally)| tally.since).map(|(id, _)| *id);
            if let Some(id) = oldest.filter(|_| tallies.len() >= USERS_MAX) {
                tallies.remove(&id);
            }
        }
        let tally = tallies.entry(user_id).or_insert(Tally { since: now, wrong: 0 });
        if tally.lapsed(now) {
            *tally = Tally { since: now, wrong: 0 };
        }
        if tally.wrong >= WRONG_MAX {
            let left_ms = tally.since.0.saturating_add(WINDOW_MS).saturating_sub(now.0);
            let seconds = u32::try_from(left_ms.div_euclid(1000) + 1).unwrap_or(u32::MAX);
            return Err(AdminError::TooManyWrongCodes { retry_after_s: seconds });
        }
        tally.wrong += 1;
        Ok(())
    }

    fn take_back(&self, user_id: UserId) {
        let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tally) = tallies.get_mut(&user_id) {
            tally.wrong = tally.wrong.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_codes_are_counted_for_a_while() {
        let (wrong, ann, bob) = (WrongCodes::default(), UserId(1), UserId(2));
        let start = UnixMs(1_000_000);
        for _ in 0..WRONG_MAX {
            wrong.count(ann, start).unwrap();
            wrong.count(bob, start).unwrap();
            wrong.take_back(bob);
        }
        let refused = wrong.count(ann, start.plus_ms(1_000)).unwrap_err();
        assert!(matches!(refused, AdminError::TooManyWrongCodes { retry_after_s: 600 }));
        assert!(wrong.count(bob, start).is_ok());
        assert!(wrong.count(ann, start.plus_ms(WINDOW_MS)).is_ok());
    }

    #[test]
    fn the_count_has_a_limit_of_its_own() {
        let wrong = WrongCodes::default();
        for id in 0..=i64::try_from(USERS_MAX).unwrap() {
            wrong.count(UserId(id), UnixMs(id)).unwrap();
        }
        let tallies = wrong.0.lock().unwrap();
        assert_eq!(tallies.len(), USERS_MAX);
        assert!(!tallies.contains_key(&UserId(0)));
    }
}
