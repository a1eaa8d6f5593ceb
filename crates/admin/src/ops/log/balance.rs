//! The balance that a user had after one of their journal lines.

use crate::{Actor, AdminError, AdminState, page};
use domain::{Quota, UserId};
use std::collections::BTreeMap;

/// How long a movement counts as just made.
const JUST_MADE_MS: i64 = 10 * 60_000;

/// How many lines are summed while a reader waits: the balance after older ones is not given.
const MAX_NEWER: i64 = 10_000;

/// The balances after these lines of a user, by the journal: what is put aside for open calls
/// counts as there. Lines that are too old to say are left out.
///
/// # Errors
/// When the actor may not see it, or the database fails.
pub async fn after_lines(
    state: &AdminState,
    actor: &Actor,
    user_id: UserId,
    lines: &[i64],
) -> Result<BTreeMap<i64, Quota>, AdminError> {
    require_own(actor, user_id)?;
    let Some(oldest) = lines.iter().min() else { return Ok(BTreeMap::new()) };
    let Some(list) = page::number_list(lines.iter().copied()) else { return Ok(BTreeMap::new()) };
    // One statement, so that balance, holds and lines are of one moment.
    let sql = format!(
        "SELECT l.id, l.newer, u.quota,
                (SELECT CAST(coalesce(sum(amount), 0) AS BIGINT) FROM holds
                 WHERE user_id = $1) AS held
         FROM users u, (
             SELECT id, CAST(sum(delta) OVER (ORDER BY id DESC) - delta AS BIGINT) AS newer
             FROM (SELECT id, delta FROM user_logs WHERE user_id = $1 AND id >= $2
                   ORDER BY id DESC LIMIT {}) AS newest) AS l
         WHERE u.id = $1 AND l.id IN ({list})",
        MAX_NEWER + 1
    );
    let mut after = BTreeMap::new();
    for row in state.db.search(&sql, &[user_id.into(), (*oldest).into()]).await? {
        let (quota, held): (Quota, Quota) = (row.get("quota")?, row.get("held")?);
        let newer: Quota = row.get("newer")?;
        let balance = quota.checked_add(held).and_then(|all| all.checked_sub(newer));
        if let Some(balance) = balance {
            after.insert(row.get("id")?, balance);
        }
    }
    Ok(after)
}

/// A movement that was just made, by its line.
#[derive(Clone, Copy, Debug)]
pub struct RecentMovement {
    /// What it moved.
    pub delta: Quota,
    /// The balance now, as the user's pages show it: without what is held.
    pub now: Quota,
}

/// The line of a movement that was just made under this reference, where it can be told: money has
/// moved already, so that no error of this is one of the movement.
pub async fn recent_line(
    state: &AdminState,
    actor: &Actor,
    user_id: UserId,
    reference: &str,
) -> Option<i64> {
    require_own(actor, user_id).ok()?;
    let sql = "SELECT id FROM user_logs
        WHERE user_id = $1 AND created_at >= $2 AND reference = $3 ORDER BY id DESC LIMIT 1";
    let since = state.clock.now().plus_ms(-JUST_MADE_MS);
    let rows = state.db.read(sql, &[user_id.into(), since.into(), reference.into()]).await.ok()?;
    rows.first()?.get("id").ok()
}

/// What this line moved, if it is of a movement that was just made.
///
/// # Errors
/// When the actor may not see it, or the database fails.
pub async fn recent_movement(
    state: &AdminState,
    actor: &Actor,
    user_id: UserId,
    line_id: i64,
) -> Result<Option<RecentMovement>, AdminError> {
    require_own(actor, user_id)?;
    let sql = "SELECT l.delta, u.quota FROM user_logs l JOIN users u ON u.id = l.user_id
        WHERE l.user_id = $1 AND l.created_at >= $2 AND l.id = $3 AND l.reference IS NOT NULL";
    let since = state.clock.now().plus_ms(-JUST_MADE_MS);
    let rows = state.db.read(sql, &[user_id.into(), since.into(), line_id.into()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(RecentMovement { delta: row.get("delta")?, now: row.get("quota")? }))
}

fn require_own(actor: &Actor, user_id: UserId) -> Result<(), AdminError> {
    if actor.owns(user_id) {
        return Ok(());
    }
    Err(AdminError::forbidden("只能查看自己的余额", "this is not your balance"))
}
