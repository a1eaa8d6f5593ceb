//! `/api/statement`

use super::envelope::{ApiResult, attached, one};
use super::extract::{CallingActor, QueryParams};
use crate::ops::log::statement;
use crate::{Actor, AdminError, AdminState, Query};
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
    let csv = match query.text("format") {
        None | Some("json") => false,
        Some("csv") => true,
        Some(_) => {
            let en = "must be json or csv";
            return Err(AdminError::field("format", "必须是 json 或 csv", en).into());
        }
    };
    let statement = statement::of_month(state, actor, own, query).await?;
    if csv {
        let text = statement.csv()?;
        return Ok(attached(&statement.name(), state.clock.now(), Body::from(text)));
    }
    one(statement)
}
