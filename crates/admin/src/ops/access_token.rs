//! Access tokens: what `/api` is called with. One a user, kept as a hash.

use crate::ops::record::{self, Subject};
use crate::ops::{session, user};
use crate::{Actor, AdminError, AdminState, random};
use domain::UserId;
use serde_json::json;
use std::net::IpAddr;
use store::{Secret, Statement, StoreError};

/// A login this long ago still shows who is at the browser.
const FRESH_MS: i64 = 10 * 60_000;

/// What shows that it is the owner of an account who asks for its access token, and not somebody at
/// a session that was left open: the token outlasts the session.
#[derive(Debug)]
pub struct OwnProof {
    /// The password, if it was given.
    pub password: Option<Secret>,
    /// The session that asks; `None`: the present access token does, which ends with this.
    pub session: Option<[u8; 32]>,
    /// Where the request came from.
    pub client: IpAddr,
}

/// Gives the actor a new access token; an older one ends. The text is shown this once.
///
/// # Errors
/// When the password is wrong, or is needed, or the database fails.
pub async fn renew_own(
    state: &AdminState,
    actor: &Actor,
    proof: OwnProof,
) -> Result<Secret, AdminError> {
    let OwnProof { password, session, client } = proof;
    match (password, session) {
        (Some(password), _) => {
            session::check_own(state, actor, client, ("password", password)).await?;
        }
        (None, Some(session)) if !session::is_fresh(state, &session, FRESH_MS).await? => {
            return Err(AdminError::field(
                "password",
                "请输入密码, 或重新登录后 10 分钟内再试",
                "is needed, unless you logged in within the last 10 minutes",
            ));
        }
        (None, _) => {}
    }
    made(state, actor, actor.user_id).await
}

/// Gives another user a new access token; an older one ends. The text is shown this once.
///
/// # Errors
/// When there is no such user, it is the actor, the role doesn't reach, or the database fails.
pub async fn renew(
    state: &AdminState,
    actor: &Actor,
    user_id: UserId,
) -> Result<Secret, AdminError> {
    if actor.user_id == user_id {
        return Err(AdminError::forbidden(
            "自己的访问令牌请使用 POST /api/user/self/token",
            "your own access token is made by POST /api/user/self/token",
        ));
    }
    made(state, actor, user_id).await
}

async fn made(state: &AdminState, actor: &Actor, user_id: UserId) -> Result<Secret, AdminError> {
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
