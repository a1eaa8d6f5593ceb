//! Access tokens: what `/api` is called with. One a user, kept as a hash.

use crate::ops::record::{self, Subject};
use crate::ops::user;
use crate::{Actor, AdminError, AdminState, random};
use domain::UserId;
use serde_json::json;
use store::{Secret, Statement, StoreError};

/// Gives the user a new access token; an older one ends. The text is shown this once.
///
/// # Errors
/// When there is no such user, the role doesn't reach, or the database fails.
pub async fn renew(
    state: &AdminState,
    actor: &Actor,
    user_id: UserId,
) -> Result<Secret, AdminError> {
    let user = user::reached(state, actor, user_id).await?;
    let token = random::access_token()?;
    let statement = Statement::new(
        "UPDATE users SET access_token_hash = $1, updated_at = $2 \
         WHERE id = $3 AND deleted_at IS NULL",
        vec![store::key_hash(&token).into(), state.clock.now().into(), user_id.into()],
    )
    .expecting(1);
    record::write(
        state,
        actor,
        vec![statement],
        Subject::Other,
        ("user.access_token", format!("更新用户 {} 的访问令牌", user.username)),
        json!({ "target_user_id": user_id }),
    )
    .await
    .map_err(|error| match error {
        StoreError::RowCount { .. } => AdminError::not_found("用户", "user"),
        other => other.into(),
    })?;
    state.forget_user(user_id);
    Ok(Secret::new(token))
}
