//! Sessions of a user: where they are logged in, and ending one of them. Users see their own,
//! administrators also those of users below them.

use super::record::{self, Subject};
use super::session::{IDLE_MS, LIFETIME_MS};
use super::user;
use crate::{Actor, AdminError, AdminState, exact};
use domain::{UnixMs, UserId};
use serde::Serialize;
use serde_json::json;
use store::{Row, Statement, StoreError, Value};
use utoipa::ToSchema;

/// How much of the hash of a session's token names it.
const ID_BYTES: usize = 8;

/// A session as answers show it: nothing in it opens it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SessionView {
    /// Names the session, for ending it.
    pub id: String,
    /// When it began, in seconds since 1970.
    pub created_at: i64,
    /// When it was last used, within a minute.
    pub used_at: i64,
    /// What the client said it is when it logged in; empty: nothing.
    pub user_agent: String,
    /// Whether it is the one that asks.
    pub current: bool,
}

fn id_of(hash: &[u8]) -> String {
    hash.iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// A user's sessions that have not ended, last used first. `current`: the one that asks.
///
/// # Errors
/// When there is no such user, the role doesn't reach, or the database fails.
pub async fn list(
    state: &AdminState,
    actor: &Actor,
    user_id: UserId,
    current: Option<&[u8; 32]>,
) -> Result<Vec<SessionView>, AdminError> {
    if actor.user_id != user_id {
        user::reached(state, actor, user_id).await?;
    }
    let rows = alive(state, user_id).await?;
    let view = |row: &Row| -> Result<SessionView, StoreError> {
        let hash: Vec<u8> = row.get("token_hash")?;
        Ok(SessionView {
            id: id_of(&hash),
            created_at: exact::seconds(row.get::<UnixMs>("created_at")?),
            used_at: exact::seconds(row.get::<UnixMs>("used_at")?),
            user_agent: row.get("user_agent")?,
            current: current.is_some_and(|current| current[..] == hash[..]),
        })
    };
    Ok(rows.iter().map(view).collect::<Result<_, _>>()?)
}

async fn alive(state: &AdminState, user_id: UserId) -> Result<Vec<Row>, StoreError> {
    let now = state.clock.now();
    let sql = "SELECT token_hash, created_at, used_at, user_agent FROM sessions
        WHERE user_id = $1 AND created_at > $2 AND used_at > $3 ORDER BY used_at DESC";
    let (made_after, used_after) = (now.plus_ms(-LIFETIME_MS), now.plus_ms(-IDLE_MS));
    let params = [user_id.into(), made_after.into(), used_after.into()];
    state.db.read(sql, &params).await
}

/// Ends one of a user's sessions.
///
/// # Errors
/// When there is none of this name, the role doesn't reach, or the database fails.
pub async fn end(
    state: &AdminState,
    actor: &Actor,
    user_id: UserId,
    id: &str,
) -> Result<(), AdminError> {
    let owner = user::reached(state, actor, user_id).await?;
    let mut found = None;
    for row in alive(state, user_id).await? {
        let hash: Vec<u8> = row.get("token_hash")?;
        if id_of(&hash) == id {
            found = Some(hash);
        }
    }
    let hash = found.ok_or_else(not_found)?;
    let gone = Statement::new(
        "DELETE FROM sessions WHERE token_hash = $1 AND user_id = $2",
        vec![Value::from(hash.as_slice()), user_id.into()],
    )
    .expecting(1);
    let told = ("user.session_end", format!("用户 {} 结束一个会话", owner.username));
    let details = json!({ "target_user_id": user_id, "session": id });
    let written = record::write(state, actor, vec![gone], Subject::Other, told, details).await;
    written.map(drop).map_err(AdminError::or_missing(not_found))
}

fn not_found() -> AdminError {
    AdminError::not_found("会话", "session")
}
