//! `/api/usage`, `/api/attention` and `/api/setup`

use super::envelope::{ApiResult, attached, many, one};
use super::extract::{CallingActor, QueryParams, wants_csv};
use crate::ops::attention as needs;
use crate::ops::first_steps;
use crate::ops::log::usage::{self, UsageRequest};
use crate::ops::log::usage_table::{self, UsageGroup, UsageTable, UsageTableRequest};
use crate::{Actor, AdminState, Page, Query};
use axum::body::Body;
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

pub(super) async fn table_own(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    let request = UsageTableRequest::read(&query)?;
    let table = usage_table::table(&state, &actor, true, &request).await?;
    as_asked(&state, &query, (table, request.group))
}

pub(super) async fn table(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    let request = UsageTableRequest::of_all(&query)?;
    let table = usage_table::table(&state, &actor, false, &request).await?;
    as_asked(&state, &query, (table, request.group))
}

fn as_asked(
    state: &AdminState,
    query: &Query,
    (table, group): (UsageTable, UsageGroup),
) -> ApiResult {
    if wants_csv(query)? {
        return Ok(attached("usage", state.clock.now(), Body::from(table.csv(group)?)));
    }
    one(table)
}

pub(super) async fn setup(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
) -> ApiResult {
    one(first_steps::get(&state, &actor).await?)
}

pub(super) async fn attention(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
) -> ApiResult {
    one(needs::now(&state, &actor).await?)
}
