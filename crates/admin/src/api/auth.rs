//! Who calls: access tokens, and roles.

use super::envelope::ApiFailure;
use super::extract::CallingActor;
use super::session::{self, Session};
use crate::counted::counted;
use crate::ops::failed_login;
use crate::{Actor, AdminError, AdminState, BodyShare, ops, session_cookie};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What older scripts send beside the access token: the number of the user.
const NEW_API_USER: &str = "new-api-user";
/// Longer tokens are not valid, and are not looked up.
const MAX_TOKEN_BYTES: usize = 512;

/// Finds out who calls, or refuses.
pub(super) async fn identify(
    State(state): State<AdminState>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiFailure> {
    let headers = request.headers();
    // A call that names its token means it; browsers send cookies unasked.
    let (actor, session) = match session_cookie::read(headers) {
        Some(token) if !headers.contains_key(AUTHORIZATION) => {
            session::check_csrf(token, (request.method(), request.uri().path()), headers)?;
            let hash = store::key_hash(token);
            (actor_of_session(&state, &hash, request.uri().path()).await?, Some(Session(hash)))
        }
        _ => {
            let peer = request.extensions().get::<SocketAddr>().copied();
            (actor_of(&state, peer, headers).await?, None)
        }
    };
    if !named_rightly(headers, actor.user_id.0) {
        return Err(AdminError::unauthenticated(
            "New-Api-User 与当前用户不一致",
            "New-Api-User is not the user who calls",
        )
        .into());
    }
    if let Some(session) = session {
        request.extensions_mut().insert(session);
    }
    let user_id = actor.user_id;
    request.extensions_mut().insert(actor);
    let body = BodyShare::of(&state.budget, user_id);
    request.extensions_mut().insert(body.clone());
    let answer = next.run(request).await;
    drop(body);
    counted(&state.budget, user_id, answer).await.map_err(|fault| ApiFailure(Arc::new(fault)))
}

/// Requires the caller to be an administrator.
pub(super) async fn require_admin(
    CallingActor(actor): CallingActor,
    request: Request,
    next: Next,
) -> Result<Response, ApiFailure> {
    actor.require_admin()?;
    Ok(next.run(request).await)
}

async fn actor_of(
    state: &AdminState,
    peer: Option<SocketAddr>,
    headers: &HeaderMap,
) -> Result<Actor, AdminError> {
    let token = access_token(headers).ok_or_else(|| {
        AdminError::unauthenticated(
            "未登录, 请携带请求头 Authorization: Bearer 访问令牌",
            "not authenticated: send Authorization: Bearer with an access token",
        )
    })?;
    let peer = peer.ok_or_else(|| AdminError::System("a call from nowhere".to_owned()))?;
    let (client, token) = (state.logins.client(peer, headers), store::key_hash(token));
    let found = owner_of(state, client, &token).await;
    if let Err(error) = &found {
        failed_login::report_token(state, client, error);
    }
    found
}

/// The user of this access token. A try at one is as dear as a try at a password: what is not known
/// to be right is counted before it is looked up.
async fn owner_of(
    state: &AdminState,
    client: IpAddr,
    token: &[u8; 32],
) -> Result<Actor, AdminError> {
    state.logins.take_token(token, client, state.clock.now()).await?;
    let live = state.live.as_ref();
    let live = live.ok_or_else(|| AdminError::System("the API without a live view".to_owned()))?;
    let found = live.identities.by_access_token(token).await?.filter(|user| !user.deleted);
    state.logins.record_token(token, client, found.is_some());
    let Some(user) = found else {
        return Err(AdminError::unauthenticated("访问令牌无效", "unknown access token"));
    };
    if user.status != 1 {
        return Err(AdminError::forbidden("用户已被禁用", "the user is disabled"));
    }
    Ok(Actor { user_id: user.user_id, username: user.username, role: user.role, group: user.group })
}

async fn actor_of_session(
    state: &AdminState,
    hash: &[u8; 32],
    path: &str,
) -> Result<Actor, AdminError> {
    // A page that follows what happens comes back by itself.
    let found = match path {
        "/api/events" => ops::session::find_unused(state, hash).await?,
        _ => ops::session::find(state, hash).await?,
    };
    found.map(|session| session.actor).ok_or_else(|| {
        AdminError::unauthenticated("登录已失效, 请重新登录", "the session has ended: log in again")
    })
}

/// The access token, with or without `Bearer` before it.
fn access_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let token = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        Some(_) => return None,
        None if value.eq_ignore_ascii_case("bearer") => return None,
        None => value,
    };
    (!token.is_empty() && token.len() <= MAX_TOKEN_BYTES).then_some(token)
}

/// Whether `New-Api-User`, if it is there, names this user.
fn named_rightly(headers: &HeaderMap, user_id: i64) -> bool {
    let Some(value) = headers.get(NEW_API_USER) else { return true };
    value.to_str().is_ok_and(|text| text.trim().parse() == Ok(user_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn tokens_come_with_or_without_their_scheme() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc", Some("abc")),
            ("abc", Some("abc")),
            ("Basic abc", None),
            ("Bearer ", None),
            ("", None),
        ] {
            assert_eq!(access_token(&with("authorization", value)), token, "{value}");
        }
        assert_eq!(access_token(&HeaderMap::new()), None);
    }

    #[test]
    fn a_named_user_must_be_the_one() {
        assert!(named_rightly(&HeaderMap::new(), 1));
        assert!(named_rightly(&with(NEW_API_USER, " 1"), 1));
        assert!(!named_rightly(&with(NEW_API_USER, "2"), 1));
        assert!(!named_rightly(&with(NEW_API_USER, "x"), 1));
    }
}
