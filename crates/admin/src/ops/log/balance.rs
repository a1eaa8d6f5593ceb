//! The balance that a user had after one of their journal lines.

use crate::{Actor, AdminError, AdminState};
use domain::{Quota, UserId};

/// How many lines are summed while a reader waits: the balance after older ones is not given.
const MAX_NEWER: i64 = 10_000;

/// The balance after the line `line_id` of a user, by the journal: what is put aside for open calls
/// counts as there. `None`: the line is too old to say, or there is no such user.
///
/// # Errors
/// When the actor may not see it, or the database fails.
pub async fn after_line(
    state: &AdminState,
    actor: &Actor,
    user_id: UserId,
    line_id: i64,
) -> Result<Option<Quota>, AdminError> {
    if !actor.owns(user_id) {
        return Err(AdminError::forbidden("只能查看自己的余额", "this is not your balance"));
    }
    // One statement, so that balance, holds and lines are of one moment.
    let sql = format!(
        "SELECT u.quota,
                (SELECT CAST(coalesce(sum(amount), 0) AS BIGINT) FROM holds
                 WHERE user_id = $1) AS held,
                newer.lines, newer.moved
         FROM users u, (
             SELECT count(*) AS lines, CAST(coalesce(sum(delta), 0) AS BIGINT) AS moved FROM (
                 SELECT delta FROM user_logs WHERE user_id = $1 AND id > $2
                 ORDER BY id DESC LIMIT {}) AS newest) AS newer
         WHERE u.id = $1",
        MAX_NEWER + 1
    );
    let rows = state.db.search(&sql, &[user_id.into(), line_id.into()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    if row.get::<i64>("lines")? > MAX_NEWER {
        return Ok(None);
    }
    let (quota, held): (Quota, Quota) = (row.get("quota")?, row.get("held")?);
    let moved: Quota = row.get("moved")?;
    Ok(quota.checked_add(held).and_then(|all| all.checked_sub(moved)))
}
