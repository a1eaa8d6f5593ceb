//! `/api/statement`

use super::envelope::{ApiResult, attached, one};
use super::extract::{CallingActor, QueryParams, wants_csv};
use crate::ops::log::statement;
use crate::{Actor, AdminState, Query};
use axum::body::Body;
use axum::extract::State;

pub(super) async fn of_user(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    shown(&state, &actor, false, &query).await
}

pub(super) async fn own(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    shown(&state, &actor, true, &query).await
}

async fn shown(state: &AdminState, actor: &Actor, own: bool, query: &Query) -> ApiResult {
    let csv = wants_csv(query)?;
    let statement = statement::of_month(state, actor, own, query).await?;
    if csv {
        let text = statement.csv()?;
        return Ok(attached(&statement.name(), state.clock.now(), Body::from(text)));
    }
    one(statement)
}
