//! When users are notified that their balance is low (`balance.low`).

use crate::fields::Fields;
use crate::ops::record::{self, Subject};
use crate::{Actor, AdminError, AdminState, exact};
use domain::{Quota, UnixMs};
use serde::Serialize;
use serde_json::json;
use store::Statement;
use utoipa::ToSchema;

/// When somebody wants to be told, and was told.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LowBalanceView {
    /// They are told when the balance falls below it; `null`: never.
    pub threshold: Option<Quota>,
    /// They were told, and the balance has not risen above it since.
    pub told: bool,
    /// When they were last told, in seconds since 1970.
    pub told_at: Option<i64>,
}

/// Reads a request: `threshold`, where `null` and 0 unset it.
///
/// # Errors
/// The first field that breaks its rule.
pub fn read_threshold(mut fields: Fields) -> Result<Option<Quota>, AdminError> {
    let threshold = fields.nullable_int("threshold")?;
    let threshold = fields.mentioned("threshold", threshold)?;
    fields.finish(&["told", "told_at"], &[])?;
    if threshold.is_some_and(i64::is_negative) {
        return Err(AdminError::field("threshold", "不能为负", "must not be negative"));
    }
    Ok(threshold.filter(|quota| *quota != 0).map(Quota))
}

/// Returns the actor's notification threshold and state.
///
/// # Errors
/// When there is no such user, or the database fails.
pub async fn get(state: &AdminState, actor: &Actor) -> Result<LowBalanceView, AdminError> {
    let sql = "SELECT low_balance_threshold, (low_balance_event IS NOT NULL) AS told,
                      low_balance_told_at
               FROM users WHERE id = $1 AND deleted_at IS NULL";
    let rows = state.db.read(sql, &[actor.user_id.into()]).await?;
    let row = rows.first().ok_or_else(not_found)?;
    Ok(LowBalanceView {
        threshold: row.get("low_balance_threshold")?,
        told: row.get("told")?,
        told_at: row.get::<Option<UnixMs>>("low_balance_told_at")?.map(exact::seconds),
    })
}

/// Sets the actor's notification threshold. A balance that is already below it triggers a
/// notification now.
///
/// # Errors
/// When there is no such user, or the database fails.
pub async fn set(
    state: &AdminState,
    actor: &Actor,
    threshold: Option<Quota>,
) -> Result<LowBalanceView, AdminError> {
    let statement = Statement::new(
        "UPDATE users SET low_balance_threshold = $1, low_balance_event = NULL, \
         low_balance_told_at = NULL WHERE id = $2 AND deleted_at IS NULL",
        vec![threshold.into(), actor.user_id.into()],
    )
    .expecting(1);
    let told = ("user.low_balance", "设置余额提醒".to_owned());
    let details = json!({ "target_user_id": actor.user_id, "threshold": threshold });
    let written = record::write(state, actor, vec![statement], Subject::Other, told, details).await;
    written.map_err(AdminError::or_missing(not_found))?;
    get(state, actor).await
}

fn not_found() -> AdminError {
    AdminError::not_found("用户", "user")
}
