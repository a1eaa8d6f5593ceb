//! Proofs: that no quota was lost, and how one charge came about.

use crate::{Actor, AdminError, AdminState};
use ledger::{AuditReport, Explanation};

/// Longest id that is looked up.
const MAX_ID_CHARS: usize = 128;

/// The conservation check over all accounts.
///
/// # Errors
/// When the database fails.
pub async fn ledger(state: &AdminState, actor: &Actor) -> Result<AuditReport, AdminError> {
    actor.require_admin()?;
    Ok(ledger::audit(&state.db, state.clock.now()).await?)
}

/// How the charge of a request, or of a hold, came about. Users see their own, without our inner
/// numbers: a request id is the client's choice, and others may have chosen the same.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn explain(
    state: &AdminState,
    actor: &Actor,
    id: &str,
) -> Result<Explanation, AdminError> {
    let not_found = || AdminError::not_found("记录", "request or hold");
    if id.is_empty() || id.chars().count() > MAX_ID_CHARS || id.contains('\0') {
        return Err(not_found());
    }
    let found = ledger::explain(&state.db, id).await?;
    found.and_then(|story| visible(actor, story)).ok_or_else(not_found)
}

/// What the actor may see of it.
fn visible(actor: &Actor, mut story: Explanation) -> Option<Explanation> {
    if !actor.is_admin() {
        story.holds.retain(|hold| hold.user_id == actor.user_id.0);
        for hold in &mut story.holds {
            hold.channel_id = None;
        }
        if story.holds.is_empty() {
            return None;
        }
    }
    Some(story)
}
