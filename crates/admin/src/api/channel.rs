//! `/api/channel`

use super::envelope::{ApiResult, done, many, one, tried};
use super::extract::{CallingActor, JsonBody, PathId, QueryParams, subject};
use crate::ops::channel::{self, ChannelFilter, ChannelInput, ProbeRequest};
use crate::{AdminError, AdminState, Fields, PageRequest};
use axum::extract::State;
use domain::ChannelId;

/// Channels are few, and scripts read them all.
const PAGE_SIZE: i64 = 100;

pub(super) async fn list(
    State(state): State<AdminState>,
    QueryParams(query): QueryParams,
) -> ApiResult {
    let page = PageRequest::read(&query, PAGE_SIZE)?;
    many(channel::list(&state, &ChannelFilter::read(&query)?, page).await?)
}

pub(super) async fn get(State(state): State<AdminState>, PathId(id): PathId) -> ApiResult {
    one(channel::get(&state, ChannelId(id)).await?)
}

pub(super) async fn live(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    one(channel::live(&state, &actor, channel::read_minutes(&query)?).await?)
}

pub(super) async fn create(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(channel::create(&state, &actor, ChannelInput::read(fields)?).await?)
}

pub(super) async fn put(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(mut fields): JsonBody,
) -> ApiResult {
    let id = ChannelId(subject(&mut fields, None)?);
    one(channel::update(&state, &actor, id, ChannelInput::read(fields)?).await?)
}

pub(super) async fn change(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
    JsonBody(mut fields): JsonBody,
) -> ApiResult {
    let id = ChannelId(subject(&mut fields, Some(id))?);
    one(channel::update(&state, &actor, id, ChannelInput::read(fields)?).await?)
}

pub(super) async fn change_many(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    one(channel::change_many(&state, &actor, channel::read_batch(fields)?).await?)
}

pub(super) async fn delete(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    channel::delete(&state, &actor, ChannelId(id)).await?;
    done()
}

pub(super) async fn copy(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(channel::copy(&state, &actor, ChannelId(id)).await?)
}

pub(super) async fn enable(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(channel::set_status(&state, &actor, ChannelId(id), true).await?)
}

pub(super) async fn disable(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(channel::set_status(&state, &actor, ChannelId(id), false).await?)
}

pub(super) async fn models(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(channel::upstream_models(&state, &actor, ChannelId(id)).await?)
}

pub(super) async fn reach(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathId(id): PathId,
) -> ApiResult {
    one(channel::reach(&state, &actor, ChannelId(id)).await?)
}

pub(super) async fn test(
    State(state): State<AdminState>,
    caller: CallingActor,
    JsonBody(fields): JsonBody,
) -> ApiResult {
    probe(&state, caller, read_probe(fields)?).await
}

/// Reads what to try.
pub(super) fn read_probe(mut fields: Fields) -> Result<ProbeRequest, AdminError> {
    fields.alias("channel_id", "id");
    let id = fields.int("channel_id")?;
    let request = ProbeRequest {
        channel_id: ChannelId(fields.required("channel_id", id)?),
        model: fields.text("model")?.filter(|model| !model.is_empty()),
        path: fields.text("path")?.filter(|path| !path.is_empty()),
        test_data: fields.raw("test_data").map(|json| json.get().to_owned()),
    };
    fields.finish(&[], &[])?;
    Ok(request)
}

pub(super) async fn test_one(
    State(state): State<AdminState>,
    caller: CallingActor,
    PathId(id): PathId,
    QueryParams(query): QueryParams,
) -> ApiResult {
    let owned = |name: &str| query.text(name).map(str::to_owned);
    let request = ProbeRequest {
        channel_id: ChannelId(id),
        model: owned("model"),
        path: owned("path"),
        test_data: None,
    };
    probe(&state, caller, request).await
}

/// The call itself succeeds regardless of the channel, whose result is in `success`.
async fn probe(
    state: &AdminState,
    CallingActor(actor): CallingActor,
    request: ProbeRequest,
) -> ApiResult {
    let probe = channel::probe(state, &actor, request).await?;
    let message = match (probe.ok, probe.error) {
        (true, _) => String::new(),
        (false, error) => {
            let word = error.unwrap_or("unknown");
            format!("渠道测试失败: {word} (the channel's test failed: {word})")
        }
    };
    tried(probe.ok, &message, probe)
}
