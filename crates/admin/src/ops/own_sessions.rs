//! One's own sessions: where one is logged in, and ending one of them.

use super::record::{self, Subject};
use super::session::{IDLE_MS, LIFETIME_MS};
use crate::{Actor, AdminError, AdminState, exact};
use domain::UnixMs;
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
    /// Whether it is the one that asks.
    pub current: bool,
}

fn id_of(hash: &[u8]) -> String {
    hash.iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// The actor's sessions that have not ended, last used first. `current`: the one that asks.
///
/// # Errors
/// When the database fails.
pub async fn list(
    state: &AdminState,
    actor: &Actor,
    current: Option<&[u8; 32]>,
) -> Result<Vec<SessionView>, AdminError> {
    let rows = alive(state, actor).await?;
    let view = |row: &Row| -> Result<SessionView, StoreError> {
        let hash: Vec<u8> = row.get("token_hash")?;
        Ok(SessionView {
            id: id_of(&hash),
            created_at: exact::seconds(row.get::<UnixMs>("created_at")?),
            used_at: exact::seconds(row.get::<UnixMs>("used_at")?),
            current: current.is_some_and(|current| current[..] == hash[..]),
        })
    };
    Ok(rows.iter().map(view).collect::<Result<_, _>>()?)
}

async fn alive(state: &AdminState, actor: &Actor) -> Result<Vec<Row>, StoreError> {
    let now = state.clock.now();
    let sql = "SELECT token_hash, created_at, used_at FROM sessions
        WHERE user_id = $1 AND created_at > $2 AND used_at > $3 ORDER BY used_at DESC";
    let (made_after, used_after) = (now.plus_ms(-LIFETIME_MS), now.plus_ms(-IDLE_MS));
    let params = [actor.user_id.into(), made_after.into(), used_after.into()];
    state.db.read(sql, &params).await
}

/// Ends one of the actor's sessions.
///
/// # Errors
/// When there is none of this name, or the database fails.
pub async fn end(state: &AdminState, actor: &Actor, id: &str) -> Result<(), AdminError> {
    let mut found = None;
    for row in alive(state, actor).await? {
        let hash: Vec<u8> = row.get("token_hash")?;
        if id_of(&hash) == id {
            found = Some(hash);
        }
    }
    let hash = found.ok_or_else(not_found)?;
    let gone = Statement::new(
        "DELETE FROM sessions WHERE token_hash = $1 AND user_id = $2",
        vec![Value::from(hash.as_slice()), actor.user_id.into()],
    )
    .expecting(1);
    let told = ("user.session_end", format!("用户 {} 结束一个会话", actor.username));
    let details = json!({ "session": id });
    let written = record::write(state, actor, vec![gone], Subject::Other, told, details).await;
    written.map(drop).map_err(AdminError::or_missing(not_found))
}

fn not_found() -> AdminError {
    AdminError::not_found("会话", "session")
}
