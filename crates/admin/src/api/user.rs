//! `/api/user`

use super::envelope::{ApiResult, done, many, one};
use super::extract::{CallingActor, JsonBody, OptionalJsonBody, PathId, QueryParams, subject};
use super::session::CallerPlace;
use crate::ops::access_token::{self, OwnProof};
use crate::ops::batch::BatchRequest;
use crate::ops::own_account;
use crate::ops::user::{self, MovementInput, UserInput};
use crate::{Actor, AdminError, AdminState, Fields, PageRequest};
use axum::extract::State;
use domain::{Quota, UserId};
use serde::Serialize;
use store::Secret;
use utoipa::ToSchema;

const PAGE_SIZE: i64 = 20;

pub(super) async fn list(
    State(state): State<AdminState>,
    QueryParams(query): QueryParams,
) -> ApiResult {
    let page = PageRequest::read(&query, PAGE_SIZE)?;
    many(user::list(&state, &query, page).await?)
}

pub(super) async fn get(State(state): State<AdminState>, PathId(id): PathId) -> ApiResult {
    one(user::kept(&state, UserId(id)).await?)
}

pub(super) async fn own(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
) -> ApiResult {
    one(user::get(&state, actor.user_id).await?)
}

pub(super) async fn change_own(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(own_account::set(&state, &actor, own_account::read(fields)?).await?)
}

pub(super) async fn create(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(user::create(&state, &actor, UserInput::read_new(fields)?).await?)
}

pub(super) async fn put(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(mut fields): JsonBody,
) -> ApiResult {
    let id = UserId(subject(&mut fields, None)?);
    one(user::update(&state, &actor, id, UserInput::read_change(fields)?).await?)
}

pub(super) async fn change(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
    JsonBody(mut fields): JsonBody,
) -> ApiResult {
    let id = UserId(subject(&mut fields, Some(id))?);
    one(user::update(&state, &actor, id, UserInput::read_change(fields)?).await?)
}

pub(super) async fn change_many(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(user::change_many(&state, &actor, BatchRequest::of_status(fields)?).await?)
}

pub(super) async fn delete(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    user::delete(&state, &actor, UserId(id)).await?;
    done()
}

pub(super) async fn enable(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(user::set_status(&state, &actor, UserId(id), true).await?)
}

pub(super) async fn disable(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(user::set_status(&state, &actor, UserId(id), false).await?)
}

pub(super) async fn move_quota(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    let input = read_movement(fields)?;
    let moved = user::move_quota(&state, &actor, UserId(id), input).await?;
    one(MovedBalance { id: UserId(id), quota: moved.balance, repeated: moved.repeated })
}

/// A balance after it was moved.
#[derive(Serialize, ToSchema)]
pub(super) struct MovedBalance {
    /// The user.
    id: UserId,
    /// What the user can still spend.
    quota: Quota,
    /// It had been moved before, under the same reference; nothing moved now.
    repeated: bool,
}

/// Reads how a balance is to be moved.
pub(super) fn read_movement(mut fields: Fields) -> Result<MovementInput, AdminError> {
    let delta = fields.int("delta")?;
    let delta = fields.required("delta", delta)?;
    let reason = fields.text("reason")?.unwrap_or_default();
    let (reference, refund_of) = (fields.text("reference")?, fields.text("refund_of")?);
    let refund_hold = fields.text("refund_hold")?;
    let reversal_of = fields.int("reversal_of")?;
    let username = fields.text("username")?;
    fields.finish(&[], &[])?;
    let delta = Quota(delta);
    let charge = user::refunded_charge(refund_of, refund_hold.as_deref())?;
    Ok(MovementInput { delta, reason, reference, refund_of: charge, reversal_of, username })
}

pub(super) async fn renew_access_token(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
    caller: CallerPlace,
    OptionalJsonBody(fields): OptionalJsonBody,
) -> ApiResult {
    let password = read_password(fields)?;
    if actor.user_id == UserId(id) {
        return own_token(&state, &actor, caller, password).await;
    }
    one(access_token::renew(&state, &actor, UserId(id)).await?.expose())
}

/// The token itself is `data`, as scripts for similar servers expect.
pub(super) async fn own_access_token(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    caller: CallerPlace,
    OptionalJsonBody(fields): OptionalJsonBody,
) -> ApiResult {
    own_token(&state, &actor, caller, read_password(fields)?).await
}

async fn own_token(
    state: &AdminState,
    actor: &Actor,
    CallerPlace { session, client }: CallerPlace,
    password: Option<Secret>,
) -> ApiResult {
    let proof = OwnProof { password, session, client };
    one(access_token::renew_own(state, actor, proof).await?.expose())
}

/// Reads the password that may be given with a request for one's own access token.
pub(super) fn read_password(mut fields: Fields) -> Result<Option<Secret>, AdminError> {
    let password = fields.text("password")?.filter(|text| !text.is_empty());
    fields.finish(&[], &[])?;
    Ok(password.map(Secret::new))
}
