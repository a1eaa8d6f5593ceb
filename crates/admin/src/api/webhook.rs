//! `/api/webhook`

use super::envelope::{ApiResult, done, many, one};
use super::extract::{CallingActor, JsonBody, OptionalJsonBody, PathId, QueryParams, subject};
use crate::ops::low_balance;
use crate::ops::webhook::{self, WebhookInput, WebhookShown, WebhookView};
use crate::{AdminState, PageRequest};
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

const PAGE_SIZE: i64 = 20;

/// An endpoint with its new secret: the one time it is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookWithSecret)]
pub(super) struct WithSecret<'a> {
    #[serde(flatten)]
    endpoint: &'a WebhookView,
    /// What signs: `whsec_` and the base64 of 24 to 64 bytes. It is shown this once.
    secret: &'a str,
}

fn with_secret(shown: &WebhookShown) -> ApiResult {
    one(WithSecret { endpoint: &shown.endpoint, secret: shown.secret.expose() })
}

pub(super) async fn list(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    let page = PageRequest::read(&query, PAGE_SIZE)?;
    many(webhook::list(&state, &actor, &query, page).await?)
}

pub(super) async fn get(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(webhook::get(&state, &actor, id).await?)
}

pub(super) async fn create(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    with_secret(&webhook::create(&state, &actor, WebhookInput::read(fields)?).await?)
}

pub(super) async fn change(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
    JsonBody(mut fields): JsonBody,
) -> ApiResult {
    let id = subject(&mut fields, Some(id))?;
    one(webhook::update(&state, &actor, id, WebhookInput::read(fields)?).await?)
}

pub(super) async fn delete(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    webhook::delete(&state, &actor, id).await?;
    done()
}

pub(super) async fn enable(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(webhook::set_status(&state, &actor, id, true).await?)
}

pub(super) async fn disable(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(webhook::set_status(&state, &actor, id, false).await?)
}

pub(super) async fn rotate(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
    OptionalJsonBody(fields): OptionalJsonBody,
) -> ApiResult {
    let given = webhook::read_secret(fields)?;
    with_secret(&webhook::rotate(&state, &actor, id, given).await?)
}

pub(super) async fn end_old_secret(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(webhook::end_old_secret(&state, &actor, id).await?)
}

pub(super) async fn deliveries(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
    QueryParams(query): QueryParams,
) -> ApiResult {
    let page = PageRequest::read(&query, PAGE_SIZE)?;
    many(webhook::deliveries(&state, &actor, id, &query, page).await?)
}

pub(super) async fn redeliver(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(webhook::redeliver(&state, &actor, id).await?)
}

pub(super) async fn test(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(webhook::test(&state, &actor, id).await?)
}

pub(super) async fn submissions(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    one(webhook::submissions(&state, &actor, &query).await?)
}

pub(super) async fn renew_submission_secret(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
    OptionalJsonBody(fields): OptionalJsonBody,
) -> ApiResult {
    let given = webhook::read_secret(fields)?;
    with_secret(&webhook::renew_submission_secret(&state, &actor, &query, given).await?)
}

pub(super) async fn low_balance(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
) -> ApiResult {
    one(low_balance::get(&state, &actor).await?)
}

pub(super) async fn set_low_balance(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    let threshold = low_balance::read_threshold(fields)?;
    one(low_balance::set(&state, &actor, threshold).await?)
}
