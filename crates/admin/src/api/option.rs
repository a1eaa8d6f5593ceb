//! `/api/option`

use super::envelope::{Handled, many, tried};
use super::extract::{Caller, Sent};
use crate::AdminState;
use crate::ops::option::{self, OptionInput};
use axum::extract::State;

/// How far a change reaches, so that nobody takes it for more.
const REACH: &str = "本节点立即生效，重启后失效 (in force on this node now, until it is restarted)";

pub(super) async fn list(State(state): State<AdminState>, Caller(actor): Caller) -> Handled {
    many(option::list(&state, &actor)?)
}

pub(super) async fn put(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Sent(fields): Sent,
) -> Handled {
    tried(true, REACH, option::change(&state, &actor, OptionInput::read(fields)?).await?)
}
