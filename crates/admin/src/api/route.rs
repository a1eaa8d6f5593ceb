//! `/api/route`

use super::envelope::{ApiResult, many};
use crate::ops::route;
use crate::{AdminState, Page};
use axum::extract::State;

pub(super) async fn list(State(state): State<AdminState>) -> ApiResult {
    many(Page::whole(route::list(&state)?))
}
