//! `/api/redemption`, and `/api/user/topup`

use super::envelope::{ApiResult, done, many, one, tried};
use super::extract::{CallingActor, JsonBody, PathId, QueryParams, subject};
use crate::ops::batch::BatchRequest;
use crate::ops::redemption::{self, LotRequest, RedemptionChange, RedemptionInput};
use crate::{AdminError, AdminState, Fields, PageRequest};
use axum::extract::State;
use domain::RedemptionId;
use store::Secret;

const PAGE_SIZE: i64 = 20;

pub(super) async fn list(
    State(state): State<AdminState>,
    QueryParams(query): QueryParams,
) -> ApiResult {
    let page = PageRequest::read(&query, PAGE_SIZE)?;
    many(redemption::list(&state, &query, page).await?)
}

pub(super) async fn get(State(state): State<AdminState>, PathId(id): PathId) -> ApiResult {
    one(redemption::get(&state, RedemptionId(id)).await?)
}

/// The codes themselves are `data`, as scripts for similar servers expect.
pub(super) async fn create(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    let codes = redemption::create(&state, &actor, RedemptionInput::read(fields)?).await?;
    one(codes.iter().map(Secret::expose).collect::<Vec<_>>())
}

pub(super) async fn put(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(mut fields): JsonBody,
) -> ApiResult {
    let id = RedemptionId(subject(&mut fields, None)?);
    one(redemption::update(&state, &actor, id, RedemptionChange::read(fields)?).await?)
}

pub(super) async fn change(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
    JsonBody(mut fields): JsonBody,
) -> ApiResult {
    let id = RedemptionId(subject(&mut fields, Some(id))?);
    one(redemption::update(&state, &actor, id, RedemptionChange::read(fields)?).await?)
}

pub(super) async fn change_many(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(redemption::change_many(&state, &actor, BatchRequest::of_status(fields)?).await?)
}

pub(super) async fn disable_lot(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(redemption::disable_lot(&state, &actor, &read_lot(fields)?).await?)
}

/// Reads which lot, and whether its codes are only to be counted.
pub(super) fn read_lot(mut fields: Fields) -> Result<LotRequest, AdminError> {
    let lot = fields.text("lot")?;
    let lot = fields.required("lot", lot)?;
    let count = fields.int("count")?;
    let dry_run = fields.flag("dry_run")?.unwrap_or(false);
    fields.finish(&[], &[])?;
    Ok(LotRequest { lot, count, dry_run })
}

pub(super) async fn delete(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    redemption::delete(&state, &actor, RedemptionId(id)).await?;
    done()
}

pub(super) async fn enable(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(redemption::set_status(&state, &actor, RedemptionId(id), true).await?)
}

pub(super) async fn disable(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(redemption::set_status(&state, &actor, RedemptionId(id), false).await?)
}

/// What the code was worth is `data`, as scripts for similar servers expect.
pub(super) async fn redeem(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    let code = read_code(fields)?;
    let redeemed = redemption::redeem(&state, &actor, code.expose()).await?;
    let message = if redeemed.repeated { "you redeemed it before; nothing moved" } else { "" };
    tried(true, message, redeemed.quota)
}

/// Reads a code to be redeemed.
pub(super) fn read_code(mut fields: Fields) -> Result<Secret, AdminError> {
    let code = fields.text("key")?;
    let code = fields.required("key", code)?;
    fields.finish(&[], &[])?;
    Ok(Secret::new(code))
}
