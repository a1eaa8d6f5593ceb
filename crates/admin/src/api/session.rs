//! Console sessions: the cookie, what guards it, and the calls that begin and end it.

use super::envelope::{ApiFailure, ApiResult, done, many, one};
use super::extract::{CallingActor, JsonBody, PathId, PathIdAndName, PathName};
use crate::ops::own_sessions;
use crate::ops::session::{self, LoggedIn, LoginClient};
use crate::{AdminError, AdminState, Fields, Page, check_site, session_cookie};
use axum::Extension;
use axum::extract::{FromRequestParts, State};
use domain::UserId;
use http::header::SET_COOKIE;
use http::request::Parts;
use http::{HeaderMap, Method};
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use store::Secret;
use utoipa::ToSchema;

const CSRF_HEADER: &str = "x-csrf-token";
/// What changes something although it is asked with `GET`, as older scripts do.
pub(super) const WRITING_GETS: [&str; 4] =
    ["/api/user/token", "/api/user/self/token", "/api/user/logout", "/api/channel/test/"];

/// Who has logged in.
#[derive(Serialize, ToSchema)]
pub(super) struct Welcome {
    /// Number of the user.
    id: UserId,
    /// Name to log in with.
    username: String,
    /// 1 user, 10 admin, 100 root.
    role: i64,
    /// Group of the user.
    group: String,
    /// For the header `X-CSRF-Token`.
    csrf_token: String,
}

/// The session a call came with: the hash of its cookie.
#[derive(Clone, Copy)]
pub(super) struct Session(pub(super) [u8; 32]);

/// Where a call comes from: its session, if it has one, and its address.
pub(super) struct CallerPlace {
    pub(super) session: Option<[u8; 32]>,
    pub(super) client: IpAddr,
}

impl FromRequestParts<AdminState> for CallerPlace {
    type Rejection = ApiFailure;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, ApiFailure> {
        let peer = parts.extensions.get::<SocketAddr>().copied();
        let peer = peer.ok_or_else(|| ApiFailure::system("a call from nowhere".to_owned()))?;
        let client = state.logins.client(peer, &parts.headers);
        let session = parts.extensions.get::<Session>().map(|Session(hash)| *hash);
        Ok(Self { session, client })
    }
}

pub(super) async fn login(
    State(state): State<AdminState>,
    peer: Option<Extension<SocketAddr>>,
    headers: HeaderMap,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    // A page of another site could log its visitor in as somebody else.
    check_site(&headers)?;
    let peer = known(peer)?;
    let client = LoginClient::new(state.logins.client(peer, &headers), &headers);
    let (username, password) = read(fields)?;
    let username = username.trim();
    let LoggedIn { actor, token } = session::login(&state, &client, username, password).await?;
    let mut response = one(Welcome {
        id: actor.user_id,
        username: actor.username,
        role: actor.role,
        group: actor.group,
        csrf_token: session_cookie::csrf_token(token.expose()),
    })?;
    let secure = state.logins.over_https(peer, &headers);
    let cookie = session_cookie::set(token.expose(), secure)?;
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

pub(super) async fn logout(
    State(state): State<AdminState>,
    session: Option<Extension<Session>>,
) -> ApiResult {
    if let Some(Extension(Session(hash))) = session {
        session::logout(&state, &hash).await?;
    }
    let mut response = done()?;
    response.headers_mut().insert(SET_COOKIE, session_cookie::clear());
    Ok(response)
}

pub(super) async fn list(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    session: Option<Extension<Session>>,
) -> ApiResult {
    let current = session.map(|Extension(Session(hash))| hash);
    many(Page::whole(own_sessions::list(&state, &actor, actor.user_id, current.as_ref()).await?))
}

pub(super) async fn end(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathName(id): PathName,
) -> ApiResult {
    own_sessions::end(&state, &actor, actor.user_id, &id).await?;
    done()
}

pub(super) async fn list_of(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(user): PathId,
) -> ApiResult {
    many(Page::whole(own_sessions::list(&state, &actor, UserId(user), None).await?))
}

pub(super) async fn end_of(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathIdAndName(user, id): PathIdAndName,
) -> ApiResult {
    own_sessions::end(&state, &actor, UserId(user), &id).await?;
    done()
}

pub(super) async fn change_password(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    caller: CallerPlace,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    let CallerPlace { session: kept, client } = caller;
    let passwords = read_passwords(fields)?;
    session::change_password(&state, &actor, client, kept, passwords).await?;
    done()
}

/// Who is at the other end of the connection.
fn known(peer: Option<Extension<SocketAddr>>) -> Result<SocketAddr, ApiFailure> {
    let Some(Extension(peer)) = peer else {
        return Err(ApiFailure::system("a call from nowhere".to_owned()));
    };
    Ok(peer)
}

/// Reads who logs in.
pub(super) fn read(fields: Fields) -> Result<(String, Secret), AdminError> {
    two(fields, ["username", "password"]).map(|[name, password]| (name, Secret::new(password)))
}

/// Reads an old password and a new one.
pub(super) fn read_passwords(fields: Fields) -> Result<(Secret, Secret), AdminError> {
    let both = two(fields, ["old_password", "new_password"])?;
    let [old, new] = both.map(Secret::new);
    Ok((old, new))
}

/// Two texts, neither of them empty.
fn two(mut fields: Fields, names: [&str; 2]) -> Result<[String; 2], AdminError> {
    let mut texts = [String::new(), String::new()];
    for (text, name) in texts.iter_mut().zip(names) {
        let given = fields.text(name)?.filter(|text| !text.is_empty());
        *text = fields.required(name, given)?;
    }
    fields.finish(&[], &[])?;
    Ok(texts)
}

/// Refuses a write that another site may have made the browser send: it can't know the token.
pub(super) fn check_csrf(
    token: &str,
    (method, path): (&Method, &str),
    headers: &HeaderMap,
) -> Result<(), AdminError> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    if reads && !WRITING_GETS.iter().any(|writing| path.starts_with(writing)) {
        return Ok(());
    }
    let given = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
    if given.is_some_and(|given| session_cookie::csrf_matches(token, given)) {
        return Ok(());
    }
    Err(AdminError::forbidden(
        "缺少或错误的 X-CSRF-Token, 请使用登录时返回的 csrf_token",
        "X-CSRF-Token is missing or wrong: send the csrf_token that the login answered",
    ))
}
