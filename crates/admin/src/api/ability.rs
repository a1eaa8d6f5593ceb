//! `/api/ability`

use super::envelope::{ApiResult, attached, done, many, one};
use super::extract::{CallingActor, JsonBody, PathName, QueryParams};
use crate::ops::ability::{self, AbilityInput};
use crate::ops::price::{self, PreviewInput};
use crate::ops::price_changes;
use crate::ops::price_table::{self, PriceTable};
use crate::ops::unpriced;
use crate::{AdminError, AdminState, Page, PageRequest};
use axum::body::Body;
use axum::extract::State;

/// Prices are read whole by scripts.
const PAGE_SIZE: i64 = 100;

pub(super) async fn list(
    State(state): State<AdminState>,
    QueryParams(query): QueryParams,
) -> ApiResult {
    let page = PageRequest::read(&query, PAGE_SIZE)?;
    many(ability::list(&state, &query, page).await?)
}

pub(super) async fn own(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
) -> ApiResult {
    many(Page::whole(price::own(&state, &actor).await?))
}

pub(super) async fn unpriced(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    let page = PageRequest::read(&query, PAGE_SIZE)?;
    many(unpriced::list(&state, &actor, &query, page).await?)
}

pub(super) async fn preview(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(price::preview(&state, &actor, PreviewInput::read(fields)?).await?)
}

pub(super) async fn export(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
) -> ApiResult {
    let table = price_table::export(&state, &actor).await?;
    Ok(attached("prices", state.clock.now(), Body::from(table)))
}

pub(super) async fn import(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(PriceTable::read(fields)?.save(&state, &actor).await?)
}

pub(super) async fn preview_import(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    let csv = price_changes::read_csv(fields)?;
    one(price_changes::preview(&state, &actor, csv.as_bytes()).await?)
}

pub(super) async fn get(State(state): State<AdminState>, PathName(model): PathName) -> ApiResult {
    one(ability::get(&state, &model).await?)
}

pub(super) async fn put(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(ability::put(&state, &actor, AbilityInput::read(fields)?).await?)
}

pub(super) async fn delete(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathName(model): PathName,
) -> ApiResult {
    ability::delete(&state, &actor, &model).await?;
    done()
}

pub(super) async fn delete_named(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    let model = query.text("model_name").ok_or_else(|| {
        AdminError::field("model_name", "请在地址中指定", "is required in the address")
    })?;
    ability::delete(&state, &actor, model).await?;
    done()
}
