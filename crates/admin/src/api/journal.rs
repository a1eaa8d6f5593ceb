//! `/api/log` and `/api/audit`

use super::envelope::{ApiFailure, ApiResult, attached, many, one};
use super::extract::{CallingActor, PathName, QueryParams};
use crate::counted::overloaded;
use crate::ops::audit as proofs;
use crate::ops::log::export::Export;
use crate::ops::log::{self, LogFilter};
use crate::ops::recent::{self, RecentFilter};
use crate::{Actor, AdminError, AdminState, PageRequest, Query};
use axum::body::Body;
use axum::extract::State;
use futures_util::{StreamExt, stream};
use ledger::ExplainRequest;

const PAGE_SIZE: i64 = 20;

pub(super) async fn list(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    listed(&state, &actor, false, &query).await
}

pub(super) async fn list_own(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    listed(&state, &actor, true, &query).await
}

/// Who changed what, and when: the lines that each administrative write leaves behind, in the
/// transaction of the write itself.
pub(super) async fn actions(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    let page = PageRequest::read(&query, PAGE_SIZE)?;
    let filter = LogFilter { r#type: Some("manage"), ..LogFilter::of_lines(&query)? };
    many(log::list(&state, &actor, false, &filter, page).await?)
}

async fn listed(state: &AdminState, actor: &Actor, own: bool, query: &Query) -> ApiResult {
    let page = PageRequest::read(query, PAGE_SIZE)?;
    many(log::list(state, actor, own, &LogFilter::of_lines(query)?, page).await?)
}

/// Calls without a charge, as this node remembers them.
pub(super) async fn recent(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    recently(&state, &actor, false, &query).await
}

pub(super) async fn recent_own(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    recently(&state, &actor, true, &query).await
}

async fn recently(state: &AdminState, actor: &Actor, own: bool, query: &Query) -> ApiResult {
    let page = PageRequest::read(query, PAGE_SIZE)?;
    many(recent::list(state, actor, own, &RecentFilter::read(query)?, page).await?)
}

pub(super) async fn statistics(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    one(log::statistics(&state, &actor, false, &LogFilter::of_sums(&query)?).await?)
}

pub(super) async fn statistics_own(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    one(log::statistics(&state, &actor, true, &LogFilter::of_sums(&query)?).await?)
}

pub(super) async fn export(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    exported(&state, &actor, false, &query).await
}

pub(super) async fn export_own(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
) -> ApiResult {
    exported(&state, &actor, true, &query).await
}

/// What an export takes of the memory budget while it is under way: the lines of a piece, as they
/// are read and as they are written. The pieces themselves count until they are sent.
const EXPORT_BYTES: usize = 1024 * 1024;

/// The body reads a piece when the client has taken the previous one: at most one piece is
/// buffered, and no database cursor is open in between.
async fn exported(state: &AdminState, actor: &Actor, own: bool, query: &Query) -> ApiResult {
    let mut share = state.budget.share_of(actor.user_id);
    if !share.grow_to(EXPORT_BYTES) {
        return Err(ApiFailure(std::sync::Arc::new(overloaded())));
    }
    let mut export = Export::begin(state, actor, own, LogFilter::of_lines(query)?, query).await?;
    // An immediate failure gets its own status; a later one breaks off the body, so that a partial
    // export is not mistaken for a complete one.
    let first = export.piece().await?.unwrap_or_default();
    let rest = stream::try_unfold((export, share), async |(mut export, share)| {
        let piece = export.piece().await.map_err(|error| ApiFailure::from(error).0)?;
        Ok::<_, std::sync::Arc<domain::Fault>>(piece.map(|piece| (piece, (export, share))))
    });
    let whole = stream::once(async { Ok(first) }).chain(rest);
    Ok(attached("logs", state.clock.now(), Body::from_stream(whole)))
}

pub(super) async fn last_audit(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
) -> ApiResult {
    let run = proofs::last(&state, &actor)?;
    let none =
        || AdminError::not_found("本节点启动以来的检查", "check of this node since its start");
    one(&*run.ok_or_else(none)?)
}

pub(super) async fn last_clean(State(state): State<AdminState>) -> ApiResult {
    let none = || AdminError::not_found("无误的检查", "check that found the books balanced");
    one(proofs::last_clean(&state).ok_or_else(none)?)
}

pub(super) async fn audit(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
) -> ApiResult {
    one(proofs::ledger(&state, &actor).await?)
}

pub(super) async fn start_audit(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
) -> ApiResult {
    one(proofs::start(&state, &actor)?)
}

pub(super) async fn audit_state(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
) -> ApiResult {
    one(proofs::standing(&state, &actor)?)
}

pub(super) async fn explain(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    PathName(id): PathName,
    QueryParams(query): QueryParams,
) -> ApiResult {
    let asked = ExplainRequest { id, ..proofs::read_explained(&query)? };
    one(proofs::explain(&state, &actor, asked).await?)
}
