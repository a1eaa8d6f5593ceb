//! `/api/usage` and `/api/attention`

use super::envelope::{ApiResult, many, one};
use super::extract::{CallingActor, QueryParams};
use crate::ops::attention as needs;
use crate::ops::log::usage::{self, UsageRequest};
use crate::{Actor, AdminState, Page, Query};
use axum::extract::State;

pub(super) async fn series(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    one(usage::series(&state, &actor, false, &UsageRequest::read(&query)?).await?)
}

pub(super) async fn series_own(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    one(usage::series(&state, &actor, true, &UsageRequest::read(&query)?).await?)
}

pub(super) async fn models(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    ranked(&state, &actor, false, &query).await
}

pub(super) async fn models_own(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    ranked(&state, &actor, true, &query).await
}

async fn ranked(state: &AdminState, actor: &Actor, own: bool, query: &Query) -> ApiResult {
    many(Page::whole(usage::models(state, actor, own, &UsageRequest::read(query)?).await?))
}

pub(super) async fn attention(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
) -> ApiResult {
    one(needs::now(&state, &actor).await?)
}
