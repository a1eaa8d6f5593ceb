//! `/api/group`

use super::envelope::{ApiResult, done, many, one};
use super::extract::{CallingActor, JsonBody, PathName, QueryParams};
use crate::ops::group::{self, GroupInput};
use crate::{AdminState, PageRequest};
use axum::extract::State;

/// Groups are few, and scripts read them all.
const PAGE_SIZE: i64 = 100;

pub(super) async fn list(
    State(state): State<AdminState>,
    QueryParams(query): QueryParams,
) -> ApiResult {
    many(group::list(&state, PageRequest::read(&query, PAGE_SIZE)?).await?)
}

pub(super) async fn get(State(state): State<AdminState>, PathName(name): PathName) -> ApiResult {
    one(group::get(&state, &name).await?)
}

pub(super) async fn put(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(group::put(&state, &actor, GroupInput::read(fields)?).await?)
}

pub(super) async fn delete(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathName(name): PathName,
) -> ApiResult {
    group::delete(&state, &actor, &name).await?;
    done()
}
