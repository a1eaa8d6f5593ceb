//! People at a console: who is logged in, kept in the database, so on every node.

use crate::ops::failed_login::{self, Door};
use crate::ops::record::{self, Subject};
use crate::{Actor, AdminError, AdminState, password, random};
use domain::{DAY_MS, HOUR_MS, UnixMs, UserId};
use http::HeaderMap;
use http::header::USER_AGENT;
use serde_json::json;
use std::net::IpAddr;
use store::{Row, Secret, Statement, StoreError, Value};

/// How long a session lasts at most.
pub(super) const LIFETIME_MS: i64 = 7 * DAY_MS;
/// How long it lasts unused.
pub(super) const IDLE_MS: i64 = 12 * HOUR_MS;
/// How exactly its last use is known: a write a minute, not one a call.
const USE_NOTED_MS: i64 = 60_000;
/// How many sessions a user has; the longest unused ends when another begins.
const MAX_PER_USER: i64 = 20;
const SELECT: &str = "SELECT u.id, u.username, u.role, u.\"group\", u.language, s.used_at \
     FROM sessions s JOIN users u ON u.id = s.user_id \
     WHERE s.token_hash = $1 AND s.created_at > $2 AND s.used_at > $3 \
     AND u.status = 1 AND u.deleted_at IS NULL";

/// A session just begun.
pub struct LoggedIn {
    /// Who.
    pub actor: Actor,
    /// What the cookie holds.
    pub token: Secret,
}

/// A session that goes on.
pub struct ActiveSession {
    /// Whose.
    pub actor: Actor,
    /// The language that they have chosen.
    pub language: Option<String>,
}

/// Who logs in, as far as the connection tells: from where, and what it says that it is.
#[derive(Clone, Debug)]
pub struct LoginClient {
    /// The client's address.
    pub address: IpAddr,
    /// Its `User-Agent`; empty: it says none.
    pub user_agent: String,
}

/// Most characters of a `User-Agent` that are kept.
const MAX_AGENT_CHARS: usize = 256;

impl LoginClient {
    /// A client at this address, with the headers that it sent.
    #[must_use]
    pub fn new(address: IpAddr, headers: &HeaderMap) -> Self {
        let said = headers.get(USER_AGENT).and_then(|said| said.to_str().ok()).unwrap_or_default();
        Self { address, user_agent: said.chars().take(MAX_AGENT_CHARS).collect() }
    }
}

/// Begins a session of the user who has this name and password, for this client.
/// Unknown users and wrong passwords get the same answer, after the same time.
///
/// # Errors
/// When they don't match, there were too many attempts, or the database fails.
pub async fn login(
    state: &AdminState,
    client: &LoginClient,
    username: &str,
    password: Secret,
) -> Result<LoggedIn, AdminError> {
    let ended = attempt(state, client, username, password).await;
    if let Err(error) = &ended {
        failed_login::tell(state, Door::Login, client.address, username, error).await?;
    }
    ended
}

async fn attempt(
    state: &AdminState,
    client: &LoginClient,
    username: &str,
    password: Secret,
) -> Result<LoggedIn, AdminError> {
    let (now, address) = (state.clock.now(), client.address);
    state.logins.take_address(address, now).await?;
    state.logins.take_name(username, address, now).await?;
    let sql = "SELECT id, username, role, status, \"group\", password_hash FROM users \
         WHERE username = $1 AND deleted_at IS NULL";
    let rows = state.db.read(sql, &[username.into()]).await?;
    let user = rows.first();
    let hash = user.map(|row| row.get("password_hash")).transpose()?.flatten();
    let right = state.passwords.verify(password.expose().to_owned(), hash.clone()).await?;
    let (Some(user), Some(hash), true) = (user, hash, right) else {
        return Err(AdminError::unauthenticated(
            "用户名或密码错误",
            "unknown user name or wrong password",
        ));
    };
    if user.get::<i64>("status")? != 1 {
        return Err(AdminError::forbidden("用户已被禁用", "the user is disabled"));
    }
    let actor = actor(user)?;
    let token = random::session()?;
    begin(state, &actor, (store::key_hash(&token), &client.user_agent), hash).await?;
    state.logins.name_is_right(username, address);
    Ok(LoggedIn { actor, token: Secret::new(token) })
}

/// Enters the session, unless the password was changed meanwhile, and sweeps what has ended.
async fn begin(
    state: &AdminState,
    actor: &Actor,
    (session, user_agent): ([u8; 32], &str),
    hash: String,
) -> Result<(), AdminError> {
    let now = state.clock.now();
    let swept = Statement::new(
        "DELETE FROM sessions WHERE created_at <= $1 OR used_at <= $2",
        vec![now.plus_ms(-LIFETIME_MS).into(), now.plus_ms(-IDLE_MS).into()],
    );
    let made_room = Statement::new(
        "DELETE FROM sessions WHERE user_id = $1 AND token_hash NOT IN (SELECT token_hash \
         FROM sessions WHERE user_id = $1 ORDER BY used_at DESC LIMIT $2)",
        vec![actor.user_id.into(), (MAX_PER_USER - 1).into()],
    );
    let begun = Statement::new(
        "INSERT INTO sessions (token_hash, user_id, created_at, used_at, user_agent) \
         SELECT $1, id, $2, $2, $5 \
         FROM users WHERE id = $3 AND password_hash = $4 AND status = 1 AND deleted_at IS NULL",
        vec![
            Value::from(&session),
            now.into(),
            actor.user_id.into(),
            hash.into(),
            user_agent.into(),
        ],
    )
    .expecting(1);
    let told = ("user.login", format!("用户 {} 登录", actor.username));
    record::write(state, actor, vec![swept, made_room, begun], Subject::Other, told, json!({}))
        .await
        .map_err(|error| match error {
            StoreError::RowCount { .. } => {
                AdminError::conflict("用户刚被修改, 请重试", "the user was just changed: try again")
            }
            other => other.into(),
        })?;
    Ok(())
}

/// Returns the user of this session if it is still valid. Always reads the database, so that the
/// session ends at once when its user is disabled or deleted.
///
/// # Errors
/// When the database fails.
pub async fn find(
    state: &AdminState,
    session: &[u8; 32],
) -> Result<Option<ActiveSession>, AdminError> {
    let Some((active, used_at)) = valid(state, session).await? else { return Ok(None) };
    let now = state.clock.now();
    if now.since_ms(used_at) >= USE_NOTED_MS {
        let sql = "UPDATE sessions SET used_at = $1 WHERE token_hash = $2";
        state.db.execute(sql, &[now.into(), session.into()]).await?;
    }
    Ok(Some(active))
}

/// The same for a request that nobody made: a page that is open asks again by itself, and does not
/// keep its session from ending.
///
/// # Errors
/// When the database fails.
pub async fn find_unused(
    state: &AdminState,
    session: &[u8; 32],
) -> Result<Option<ActiveSession>, AdminError> {
    Ok(valid(state, session).await?.map(|(active, _)| active))
}

/// The session, and when it was last used.
async fn valid(
    state: &AdminState,
    session: &[u8; 32],
) -> Result<Option<(ActiveSession, UnixMs)>, AdminError> {
    let now = state.clock.now();
    let (made_after, used_after) = (now.plus_ms(-LIFETIME_MS), now.plus_ms(-IDLE_MS));
    let params = [session.into(), made_after.into(), used_after.into()];
    let rows = state.db.read(SELECT, &params).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let active = ActiveSession { actor: actor(row)?, language: row.get("language")? };
    Ok(Some((active, row.get("used_at")?)))
}

fn actor(row: &Row) -> Result<Actor, StoreError> {
    Ok(Actor {
        user_id: row.get("id")?,
        username: row.get("username")?,
        role: row.get("role")?,
        group: row.get("group")?,
    })
}

/// Ends a session.
///
/// # Errors
/// When the database fails.
pub async fn logout(state: &AdminState, session: &[u8; 32]) -> Result<(), AdminError> {
    let sql = "DELETE FROM sessions WHERE token_hash = $1";
    state.db.execute(sql, &[session.into()]).await?;
    Ok(())
}

/// Changes the actor's own password, and ends their access token and their sessions but for `kept`,
/// for the client at this address.
///
/// # Errors
/// When the old one is wrong, the new one breaks its rule, or the database fails.
pub async fn change_password(
    state: &AdminState,
    actor: &Actor,
    client: IpAddr,
    kept: Option<[u8; 32]>,
    (old, new): (Secret, Secret),
) -> Result<(), AdminError> {
    password::check(new.expose())?;
    check_own(state, actor, client, ("old_password", old)).await?;
    let hash = state.passwords.hash(new.expose().to_owned()).await?;
    let changed = Statement::new(
        "UPDATE users SET password_hash = $1, access_token_hash = NULL, updated_at = $2 \
         WHERE id = $3",
        vec![hash.into(), state.clock.now().into(), actor.user_id.into()],
    )
    .expecting(1);
    let ended = match kept {
        None => end_all(actor.user_id),
        Some(kept) => Statement::new(
            "DELETE FROM sessions WHERE user_id = $1 AND token_hash <> $2",
            vec![actor.user_id.into(), Value::from(&kept)],
        ),
    };
    let told = ("user.password", format!("用户 {} 修改密码", actor.username));
    record::write(state, actor, vec![changed, ended], Subject::Other, told, json!({})).await?;
    state.forget_user(actor.user_id);
    Ok(())
}

/// Whether a session began at most this long ago.
pub(super) async fn is_fresh(
    state: &AdminState,
    session: &[u8; 32],
    within_ms: i64,
) -> Result<bool, AdminError> {
    let sql = "SELECT 1 AS one FROM sessions WHERE token_hash = $1 AND created_at > $2";
    let since = state.clock.now().plus_ms(-within_ms);
    Ok(!state.db.read(sql, &[session.into(), since.into()]).await?.is_empty())
}

/// Takes one try at the actor's own password, which that in this field must be.
pub(super) async fn check_own(
    state: &AdminState,
    actor: &Actor,
    client: IpAddr,
    (field, password): (&'static str, Secret),
) -> Result<(), AdminError> {
    let checked = is_own(state, actor, client, (field, password)).await;
    if let Err(error) = &checked {
        failed_login::tell(state, Door::Change, client, &actor.username, error).await?;
    }
    checked
}

async fn is_own(
    state: &AdminState,
    actor: &Actor,
    client: IpAddr,
    (field, password): (&'static str, Secret),
) -> Result<(), AdminError> {
    let now = state.clock.now();
    state.logins.take_address(client, now).await?;
    state.logins.take_name(&actor.username, client, now).await?;
    let sql = "SELECT password_hash FROM users WHERE id = $1";
    let rows = state.db.read(sql, &[actor.user_id.into()]).await?;
    let hash = rows.first().map(|row| row.get("password_hash")).transpose()?.flatten();
    if state.passwords.verify(password.expose().to_owned(), hash).await? {
        state.logins.name_is_right(&actor.username, client);
        return Ok(());
    }
    Err(AdminError::field(field, "密码错误", "is not the password"))
}

/// Ends all sessions of a user.
pub(super) fn end_all(user_id: UserId) -> Statement {
    Statement::new("DELETE FROM sessions WHERE user_id = $1", vec![user_id.into()])
}
