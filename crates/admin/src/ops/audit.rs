//! Proofs: that no quota was lost, and how one charge came about.

use crate::{Actor, AdminError, AdminState, exact};
use ledger::{AuditReport, Explanation};
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use utoipa::ToSchema;

/// Longest id that is looked up.
const MAX_ID_CHARS: usize = 128;

/// A check that was made by this node.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditRun {
    /// When it began, in seconds since 1970.
    pub at: i64,
    /// How long it took.
    pub took_ms: i64,
    /// What it found.
    pub report: AuditReport,
}

/// The last check of this node.
#[derive(Clone, Debug, Default)]
pub struct LastAudit(Arc<Mutex<Option<Arc<AuditRun>>>>);

impl LastAudit {
    pub(super) fn get(&self) -> Option<Arc<AuditRun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, run: AuditRun) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(run));
    }
}

/// The conservation check over all accounts.
///
/// # Errors
/// When the database fails.
pub async fn ledger(state: &AdminState, actor: &Actor) -> Result<AuditReport, AdminError> {
    actor.require_admin()?;
    let began = state.clock.now();
    let report = ledger::audit(&state.db, began).await?;
    let took_ms = state.clock.now().since_ms(began);
    let run = AuditRun { at: exact::seconds(began), took_ms, report: report.clone() };
    state.last_audit.set(run);
    Ok(report)
}

/// The last check that this node made since its start, if it made one.
///
/// # Errors
/// When the role does not reach.
pub fn last(state: &AdminState, actor: &Actor) -> Result<Option<Arc<AuditRun>>, AdminError> {
    actor.require_admin()?;
    Ok(state.last_audit.get())
}

/// That the books balance, for everybody.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct CleanAudit {
    /// When the check began, in seconds since 1970.
    pub at: i64,
}

/// The last check of this node, where it found nothing: what any user may know of it.
#[must_use]
pub fn last_clean(state: &AdminState) -> Option<CleanAudit> {
    let run = state.last_audit.get().filter(|run| run.report.clean)?;
    Some(CleanAudit { at: run.at })
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
