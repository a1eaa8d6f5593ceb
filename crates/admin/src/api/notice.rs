//! `/api/notice`

use super::envelope::{ApiResult, one};
use super::extract::{CallingActor, JsonBody};
use crate::AdminState;
use crate::ops::notice::{self, NoticeInput};
use axum::extract::State;

pub(super) async fn get(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
) -> ApiResult {
    one(notice::get(&state, &actor).await?)
}

pub(super) async fn put(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(notice::put(&state, &actor, NoticeInput::read(fields)?).await?)
}
