//! `/api/option`

use super::envelope::{ApiResult, many, one, tried};
use super::extract::{CallingActor, JsonBody};
use crate::AdminState;
use crate::ops::option::{self, OptionInput};
use axum::extract::State;

/// The scope of a change, stated so that it is not mistaken for a permanent one.
const REACH: &str = "本节点立即生效, 重启后失效 (in force on this node now, until it is restarted)";

pub(super) async fn list(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
) -> ApiResult {
    many(option::list(&state, &actor)?)
}

pub(super) async fn put(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    tried(true, REACH, option::change(&state, &actor, OptionInput::read(fields)?).await?)
}

pub(super) async fn console(State(state): State<AdminState>) -> ApiResult {
    one(option::console(&state))
}
