//! `/api/protocol`

use super::envelope::{ApiResult, done, many, one};
use super::extract::{CallingActor, JsonBody, PathName};
use crate::AdminState;
use crate::ops::protocol::{self, TrialInput, read_document};
use axum::extract::State;

pub(super) async fn list(State(state): State<AdminState>) -> ApiResult {
    many(protocol::list(&state).await?)
}

pub(super) async fn get(State(state): State<AdminState>, PathName(name): PathName) -> ApiResult {
    one(protocol::get(&state, &name).await?)
}

pub(super) async fn put(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(protocol::put(&state, &actor, read_document(fields)?).await?)
}

pub(super) async fn check(
    State(state): State<AdminState>,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(protocol::check(&state, read_document(fields)?).await?)
}

pub(super) async fn try_out(
    State(state): State<AdminState>,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(protocol::try_out(&state, &TrialInput::read(fields)?).await?)
}

pub(super) async fn delete(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathName(name): PathName,
) -> ApiResult {
    protocol::delete(&state, &actor, &name).await?;
    done()
}
