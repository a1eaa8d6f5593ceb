//! `/api/ability`

use super::envelope::{Handled, done, many, one};
use super::extract::{Asked, Caller, Named, Sent};
use crate::ops::ability::{self, AbilityInput};
use crate::{AdminError, AdminState, PageRequest};
use axum::extract::State;

/// Prices are read whole by scripts.
const PAGE_SIZE: i64 = 100;

pub(super) async fn list(State(state): State<AdminState>, Asked(query): Asked) -> Handled {
    let page = PageRequest::read(&query, PAGE_SIZE)?;
    many(ability::list(&state, &query, page).await?)
}

pub(super) async fn get(State(state): State<AdminState>, Named(model): Named) -> Handled {
    one(ability::get(&state, &model).await?)
}

pub(super) async fn put(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Sent(fields): Sent,
) -> Handled {
    one(ability::put(&state, &actor, AbilityInput::read(fields)?).await?)
}

pub(super) async fn delete(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Named(model): Named,
) -> Handled {
    ability::delete(&state, &actor, &model).await?;
    done()
}

pub(super) async fn delete_named(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Asked(query): Asked,
) -> Handled {
    let model = query.text("model_name").ok_or_else(|| {
        AdminError::field("model_name", "请在地址中指定", "is required in the address")
    })?;
    ability::delete(&state, &actor, model).await?;
    done()
}
