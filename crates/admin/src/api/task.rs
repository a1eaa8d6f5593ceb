//! `/api/task`

use super::envelope::{ApiResult, many, one};
use super::extract::{CallingActor, JsonBody, OptionalJsonBody, PathName, QueryParams};
use crate::ops::task::{self, Decision, TaskFilter};
use crate::ops::task_batch::{self, TaskBatch};
use crate::ops::webhook;
use crate::{Actor, AdminError, AdminState, Fields, PageRequest, Query};
use axum::extract::State;

const PAGE_SIZE: i64 = 20;

pub(super) async fn list(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    listed(&state, &actor, false, &query).await
}

pub(super) async fn list_own(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    listed(&state, &actor, true, &query).await
}

async fn listed(state: &AdminState, actor: &Actor, own: bool, query: &Query) -> ApiResult {
    let page = PageRequest::read(query, PAGE_SIZE)?;
    many(task::list(state, actor, own, &TaskFilter::read(query)?, page).await?)
}

pub(super) async fn get(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathName(id): PathName,
) -> ApiResult {
    one(task::get(&state, &actor, &id).await?)
}

pub(super) async fn reply(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathName(id): PathName,
) -> ApiResult {
    one(task::reply(&state, &actor, &id).await?)
}

pub(super) async fn deliveries(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathName(id): PathName,
) -> ApiResult {
    let task = task::get(&state, &actor, &id).await?;
    many(webhook::of_task(&state, &actor, &task).await?)
}

pub(super) async fn settle_now(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathName(id): PathName,
    said: OptionalJsonBody,
) -> ApiResult {
    decided(&state, &actor, &id, Decision::SettleNow, said).await
}

pub(super) async fn fail_and_refund(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathName(id): PathName,
    said: OptionalJsonBody,
) -> ApiResult {
    decided(&state, &actor, &id, Decision::FailAndRefund, said).await
}

pub(super) async fn requeue(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathName(id): PathName,
    said: OptionalJsonBody,
) -> ApiResult {
    decided(&state, &actor, &id, Decision::Requeue, said).await
}

pub(super) async fn decide_many(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(task_batch::decide_many(&state, &actor, &TaskBatch::read(fields)?).await?)
}

async fn decided(
    state: &AdminState,
    actor: &Actor,
    id: &str,
    decision: Decision,
    OptionalJsonBody(fields): OptionalJsonBody,
) -> ApiResult {
    one(task::decide(state, actor, id, decision, &read_reason(fields)?).await?)
}

/// Reads the reason for an administrator's decision on a task.
pub(super) fn read_reason(mut fields: Fields) -> Result<String, AdminError> {
    let reason = fields.text("reason")?.unwrap_or_default();
    fields.finish(&[], &[])?;
    Ok(reason)
}
