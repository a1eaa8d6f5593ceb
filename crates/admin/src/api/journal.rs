//! `/api/log` and `/api/audit`

use super::envelope::{Handled, many, one};
use super::extract::{Asked, Caller, Named};
use crate::ops::audit as proofs;
use crate::ops::log::{self, LogFilter};
use crate::{Actor, AdminState, PageRequest, Query};
use axum::extract::State;

const PAGE_SIZE: i64 = 20;

pub(super) async fn list(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Asked(query): Asked,
) -> Handled {
    listed(&state, &actor, false, &query).await
}

pub(super) async fn list_own(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Asked(query): Asked,
) -> Handled {
    listed(&state, &actor, true, &query).await
}

async fn listed(state: &AdminState, actor: &Actor, own: bool, query: &Query) -> Handled {
    let page = PageRequest::read(query, PAGE_SIZE)?;
    many(log::list(state, actor, own, &LogFilter::read(query)?, page).await?)
}

pub(super) async fn statistics(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Asked(query): Asked,
) -> Handled {
    one(log::statistics(&state, &actor, false, &LogFilter::read(&query)?).await?)
}

pub(super) async fn statistics_own(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Asked(query): Asked,
) -> Handled {
    one(log::statistics(&state, &actor, true, &LogFilter::read(&query)?).await?)
}

pub(super) async fn audit(State(state): State<AdminState>, Caller(actor): Caller) -> Handled {
    one(proofs::ledger(&state, &actor).await?)
}

pub(super) async fn explain(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(id): Named,
) -> Handled {
    one(proofs::explain(&state, &actor, &id).await?)
}
