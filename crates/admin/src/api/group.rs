//! `/api/group`

use super::envelope::{Handled, done, many, one};
use super::extract::{Asked, Caller, Named, Sent};
use crate::ops::group::{self, GroupInput};
use crate::{AdminState, PageRequest};
use axum::extract::State;

/// Groups are few, and scripts read them all.
const PAGE_SIZE: i64 = 100;

pub(super) async fn list(State(state): State<AdminState>, Asked(query): Asked) -> Handled {
    many(group::list(&state, PageRequest::read(&query, PAGE_SIZE)?).await?)
}

pub(super) async fn get(State(state): State<AdminState>, Named(name): Named) -> Handled {
    one(group::get(&state, &name).await?)
}

pub(super) async fn put(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Sent(fields): Sent,
) -> Handled {
    one(group::put(&state, &actor, GroupInput::read(fields)?).await?)
}

pub(super) async fn delete(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(name): Named,
) -> Handled {
    group::delete(&state, &actor, &name).await?;
    done()
}
