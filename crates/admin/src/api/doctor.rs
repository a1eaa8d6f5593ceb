//! `/api/doctor`, `/api/node`

use super::envelope::{ApiResult, many};
use super::extract::{CallingActor, JsonBody};
use crate::AdminState;
use crate::ops::doctor::{self, read_reach};
use axum::extract::State;

pub(super) async fn examine(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
) -> ApiResult {
    many(doctor::examine(&state, &actor, false).await?)
}

pub(super) async fn reach_out(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    many(doctor::examine(&state, &actor, read_reach(fields)?).await?)
}

pub(super) async fn nodes(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
) -> ApiResult {
    many(doctor::list_nodes(&state, &actor).await?)
}
