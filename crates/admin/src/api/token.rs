//! `/api/token`

use super::envelope::{ApiResult, done, many, one};
use super::extract::{CallingActor, JsonBody, OptionalJsonBody, PathId, QueryParams, subject};
use crate::ops::batch::BatchRequest;
use crate::ops::token::{self, Created, TokenInput, TokenView};
use crate::{AdminState, PageRequest};
use axum::extract::State;
use domain::KeyId;
use serde::Serialize;
use utoipa::ToSchema;

const PAGE_SIZE: i64 = 20;

/// A key with its new secret: the one time it is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenShown)]
pub(super) struct TokenShown<'a> {
    #[serde(flatten)]
    token: &'a TokenView,
    /// The key itself, `sk-…`. It is shown this once.
    key: &'a str,
}

pub(super) async fn list(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    let page = PageRequest::read(&query, PAGE_SIZE)?;
    many(token::list(&state, &actor, &query, page).await?)
}

pub(super) async fn get(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(token::get(&state, &actor, KeyId(id)).await?)
}

pub(super) async fn create(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    shown(&token::create(&state, &actor, TokenInput::read(fields)?).await?)
}

fn shown(created: &Created) -> ApiResult {
    one(TokenShown { token: &created.token, key: created.key.expose() })
}

pub(super) async fn rotate(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
    OptionalJsonBody(fields): OptionalJsonBody,
) -> ApiResult {
    let grace_seconds = token::read_grace(fields)?;
    shown(&token::rotate(&state, &actor, KeyId(id), grace_seconds).await?)
}

pub(super) async fn end_old_key(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(token::end_old_key(&state, &actor, KeyId(id)).await?)
}

pub(super) async fn put(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(mut fields): JsonBody,
) -> ApiResult {
    let id = KeyId(subject(&mut fields, None)?);
    one(token::update(&state, &actor, id, TokenInput::read(fields)?).await?)
}

pub(super) async fn change(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
    JsonBody(mut fields): JsonBody,
) -> ApiResult {
    let id = KeyId(subject(&mut fields, Some(id))?);
    one(token::update(&state, &actor, id, TokenInput::read(fields)?).await?)
}

pub(super) async fn change_many(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(token::change_many(&state, &actor, BatchRequest::of_status(fields)?).await?)
}

pub(super) async fn delete(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    token::delete(&state, &actor, KeyId(id)).await?;
    done()
}

pub(super) async fn enable(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(token::set_status(&state, &actor, KeyId(id), true).await?)
}

pub(super) async fn disable(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(token::set_status(&state, &actor, KeyId(id), false).await?)
}
