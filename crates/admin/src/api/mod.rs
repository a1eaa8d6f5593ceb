//! The JSON API under `/api`: the route table, and what every call goes through.

mod ability;
mod auth;
mod channel;
mod envelope;
mod extract;
mod group;
mod journal;
mod option;
mod task;
mod token;
mod user;
mod webhook;

use crate::AdminState;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{get, post, put};
use axum::{Router, middleware};
use domain::{Fault, FaultKind};
use envelope::Failure;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri};
use tower::ServiceExt;

/// Everything under `/api` but `/api/status`.
pub fn router(state: AdminState) -> Router {
    let inner = house()
        .route_layer(middleware::from_fn(auth::require_admin))
        .merge(own())
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(state.clone(), auth::identify))
        .with_state(state.clone());
    let entry = move |request: Request| enter(state.clone(), inner.clone(), request);
    Router::new().fallback(entry)
}

/// What administrators reach.
fn house() -> Router<AdminState> {
    Router::new()
        .route("/api/channel", get(channel::list).post(channel::create).put(channel::put))
        .route("/api/channel/search", get(channel::list))
        .route("/api/channel/test", post(channel::test))
        .route("/api/channel/test/{id}", get(channel::test_one))
        .route("/api/channel/copy/{id}", post(channel::copy))
        .route(
            "/api/channel/{id}",
            get(channel::get).put(channel::change).patch(channel::change).delete(channel::delete),
        )
        .route("/api/channel/{id}/copy", post(channel::copy))
        .route("/api/channel/{id}/enable", post(channel::enable))
        .route("/api/channel/{id}/disable", post(channel::disable))
        .route(
            "/api/ability",
            get(ability::list).post(ability::put).put(ability::put).delete(ability::delete_named),
        )
        .route("/api/ability/{*model}", get(ability::get).delete(ability::delete))
        .route("/api/group", get(group::list).post(group::put).put(group::put))
        .route("/api/group/{name}", get(group::get).delete(group::delete))
        .route("/api/user", get(user::list).post(user::create).put(user::put))
        .route("/api/user/search", get(user::list))
        .route(
            "/api/user/{id}",
            get(user::get).put(user::change).patch(user::change).delete(user::delete),
        )
        .route("/api/user/{id}/quota", post(user::move_quota))
        .route("/api/user/{id}/enable", post(user::enable))
        .route("/api/user/{id}/disable", post(user::disable))
        .route("/api/user/{id}/token", post(user::renew_access_token))
        .route("/api/task", get(task::list))
        .route("/api/task/{id}/settle-now", post(task::settle_now))
        .route("/api/task/{id}/fail-and-refund", post(task::fail_and_refund))
        .route("/api/task/{id}/requeue", post(task::requeue))
        .route("/api/log", get(journal::list))
        .route("/api/log/stat", get(journal::statistics))
        .route("/api/option", get(option::list).put(option::put))
        .route("/api/audit/ledger", get(journal::audit))
}

/// What every user reaches, about themselves. Administrators reach more through the same calls.
fn own() -> Router<AdminState> {
    Router::new()
        .route("/api/user/self", get(user::own))
        .route("/api/user/token", get(user::own_access_token).post(user::own_access_token))
        .route("/api/user/self/token", get(user::own_access_token).post(user::own_access_token))
        .route("/api/token", get(token::list).post(token::create).put(token::put))
        .route("/api/token/search", get(token::list))
        .route(
            "/api/token/{id}",
            get(token::get).put(token::change).patch(token::change).delete(token::delete),
        )
        .route("/api/token/{id}/enable", put(token::enable).post(token::enable))
        .route("/api/token/{id}/disable", put(token::disable).post(token::disable))
        .route("/api/task/self", get(task::list_own))
        .route("/api/task/{id}", get(task::get))
        .merge(webhooks())
        .route("/api/log/self", get(journal::list_own))
        .route("/api/log/self/stat", get(journal::statistics_own))
        .route("/api/audit/explain/{id}", get(journal::explain))
}

/// Where users want to hear of their tasks.
fn webhooks() -> Router<AdminState> {
    Router::new()
        .route("/api/webhook", get(webhook::list).post(webhook::create))
        .route(
            "/api/webhook/submission-secret",
            get(webhook::submissions).post(webhook::renew_submission_secret),
        )
        .route("/api/webhook/delivery/{id}/redeliver", post(webhook::redeliver))
        .route(
            "/api/webhook/{id}",
            get(webhook::get).put(webhook::change).patch(webhook::change).delete(webhook::delete),
        )
        .route("/api/webhook/{id}/enable", put(webhook::enable).post(webhook::enable))
        .route("/api/webhook/{id}/disable", put(webhook::disable).post(webhook::disable))
        .route("/api/webhook/{id}/rotate", post(webhook::rotate))
        .route("/api/webhook/{id}/deliveries", get(webhook::deliveries))
}

/// What every call goes through: one spelling of its path, an id, and a fault in its envelope.
async fn enter(state: AdminState, inner: Router, mut request: Request) -> Response {
    let request_id = web::request_id(request.headers(), state.clock.now());
    without_trailing_slash(request.uri_mut());
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let work = inner.oneshot(request);
    let done = if writes {
        // A write goes to its end, also when its caller doesn't wait for it.
        state.jobs.spawn(work).await.unwrap_or_else(|e| Ok(Failure::system(e.to_string()).into()))
    } else {
        work.await
    };
    let mut response = done.unwrap_or_else(|never| match never {});
    if let Some(Failure(fault)) = response.extensions_mut().remove::<Failure>() {
        return envelope::render(&fault, &request_id, response.headers());
    }
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(web::X_REQUEST_ID, id);
    }
    response
}

/// `/api/channel/` is `/api/channel`.
fn without_trailing_slash(uri: &mut Uri) {
    let bare = uri.path().trim_end_matches('/');
    if bare.len() == uri.path().len() || bare.is_empty() {
        return;
    }
    let text = match uri.query() {
        Some(query) => format!("{bare}?{query}"),
        None => bare.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = text.parse::<PathAndQuery>().ok();
    if let Ok(spelt) = Uri::from_parts(parts) {
        *uri = spelt;
    }
}

async fn unknown_path() -> Failure {
    Fault::new(FaultKind::NotFound, "没有这个接口", "no such call").into()
}

async fn wrong_method(method: Method) -> Failure {
    let zh = format!("该接口不支持 {method}");
    Fault::new(FaultKind::MethodNotAllowed, zh, format!("{method} is not for this path")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_slash_says_nothing() {
        for (given, want) in [
            ("/api/channel/", "/api/channel"),
            ("/api/channel//", "/api/channel"),
            ("/api/channel/?p=1", "/api/channel?p=1"),
            ("/api/channel", "/api/channel"),
            ("/api/ability/img/submit/", "/api/ability/img/submit"),
            ("/", "/"),
        ] {
            let mut uri: Uri = given.parse().unwrap();
            without_trailing_slash(&mut uri);
            assert_eq!(uri, want, "{given}");
        }
    }

    #[test]
    fn the_table_has_no_conflicts() {
        let _ = house().merge(own());
    }
}
