//! Proofs: that no quota was lost, and how one charge came about.

use crate::{Actor, AdminError, AdminState, Query, exact};
use domain::{Fault, UnixMs};
pub use ledger::AuditStep;
use ledger::{AuditProgress, AuditReport, ExplainRequest, Explanation};
use serde::Serialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// The checks of this node: the last one, and whether one is under way.
#[derive(Clone, Debug, Default)]
pub struct LastAudit(Arc<Mutex<Checks>>);

#[derive(Debug, Default)]
struct Checks {
    /// One that was started in the background and is under way.
    running: Option<WatchedAudit>,
    last: Option<Arc<AuditRun>>,
    /// Why the last one in the background could not be made.
    failed: Option<AuditFailure>,
}

/// A check under way.
#[derive(Clone, Debug)]
struct WatchedAudit {
    since: UnixMs,
    progress: Arc<AuditProgress>,
}

impl LastAudit {
    fn checks(&self) -> MutexGuard<'_, Checks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self) -> Option<Arc<AuditRun>> {
        self.checks().last.clone()
    }

    /// How many breaches the last one found, and why a later one could not be made, if it could
    /// not.
    pub(super) fn trouble(&self) -> (i64, Option<AuditFailure>) {
        let checks = self.checks();
        let breaches = checks.last.as_ref().map_or(0, |run| run.report.breaches.len());
        (i64::try_from(breaches).unwrap_or(i64::MAX), checks.failed.clone())
    }

    /// Notes that one begins, and returns what it counts its steps in; none where one is under
    /// way.
    fn begin(&self, now: UnixMs) -> Option<Arc<AuditProgress>> {
        let mut checks = self.checks();
        if checks.running.is_some() {
            return None;
        }
        let progress = Arc::default();
        checks.running = Some(WatchedAudit { since: now, progress: Arc::clone(&progress) });
        Some(progress)
    }
}

/// Ends a check in the background, also one that panics or is dropped as the process stops.
struct Running(LastAudit);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.checks().running = None;
    }
}

/// Where the checks of this node stand.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditState {
    /// Since when one is under way, in seconds since 1970; none: none is.
    pub running_since: Option<i64>,
    /// How far that one is; null: none is under way.
    pub progress: Option<AuditStanding>,
    /// The last one that was made since the node's start.
    pub last: Option<AuditRun>,
    /// Why the last one that was started could not be made, if it could not.
    pub failed: Option<AuditFailure>,
}

/// How far a check is.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct AuditStanding {
    /// Its steps that are done. They take unequally long.
    pub steps_done: usize,
    /// Its steps in all.
    pub steps: usize,
    /// The step under way; null: it is about to end.
    pub step: Option<AuditStep>,
    /// For how long it has been under way, in milliseconds.
    pub running_ms: i64,
}

/// Why a check could not be made.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditFailure {
    /// In Chinese.
    pub zh: String,
    /// In English.
    pub en: String,
}

/// The conservation check over all accounts, while the caller waits.
///
/// # Errors
/// When the database fails.
pub async fn ledger(state: &AdminState, actor: &Actor) -> Result<AuditReport, Fault> {
    actor.require_admin()?;
    checked(state, &AuditProgress::default()).await
}

/// Checks, and remembers how that ended.
async fn checked(state: &AdminState, progress: &AuditProgress) -> Result<AuditReport, Fault> {
    let made = ended(state, progress).await.map_err(Fault::from);
    if let Err(Fault { zh, en, .. }) = &made {
        let why = AuditFailure { zh: zh.clone(), en: en.clone() };
        state.last_audit.checks().failed = Some(why);
    }
    made
}

async fn ended(state: &AdminState, progress: &AuditProgress) -> Result<AuditReport, AdminError> {
    let began = state.clock.now();
    let report = ledger::watched_audit(&state.db, began, progress).await?;
    let took_ms = state.clock.now().since_ms(began);
    let run = AuditRun { at: exact::seconds(began), took_ms, report: report.clone() };
    let mut checks = state.last_audit.checks();
    (checks.last, checks.failed) = (Some(Arc::new(run)), None);
    Ok(report)
}

/// Starts a check in the background, and tells where it stands. While one is under way, it is that
/// one: over millions of lines a check takes longer than a proxy or a reader waits.
///
/// # Errors
/// When the role does not reach.
pub fn start(state: &AdminState, actor: &Actor) -> Result<AuditState, AdminError> {
    actor.require_admin()?;
    if let Some(progress) = state.last_audit.begin(state.clock.now()) {
        let (state, running) = (state.clone(), Running(state.last_audit.clone()));
        state.jobs.clone().spawn(async move {
            // It writes nothing, so a stop need not wait for it.
            let made = tokio::select! {
                made = checked(&state, &progress) => made,
                () = state.events.stopped() => return,
            };
            // Under way until here, also where it fails.
            drop(running);
            if let Err(fault) = made {
                tracing::error!(
                    target: "custompass",
                    event = "audit_failed",
                    error = %fault.en,
                    cause = %fault.cause_chain(),
                );
            }
        });
    }
    standing(state, actor)
}

/// Where the checks of this node stand.
///
/// # Errors
/// When the role does not reach.
pub fn standing(state: &AdminState, actor: &Actor) -> Result<AuditState, AdminError> {
    actor.require_admin()?;
    let (now, checks) = (state.clock.now(), state.last_audit.checks());
    let running = checks.running.as_ref();
    Ok(AuditState {
        running_since: running.map(|audit| exact::seconds(audit.since)),
        progress: running.map(|audit| AuditStanding {
            steps_done: audit.progress.done(),
            steps: AuditStep::ALL.len(),
            step: audit.progress.step(),
            running_ms: now.since_ms(audit.since),
        }),
        last: checks.last.as_deref().cloned(),
        failed: checks.failed.clone(),
    })
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

/// How the charges of a request, or of a hold, came about, the newest first. Users see their own,
/// without our inner numbers: a request id is the client's choice, and others may have chosen the
/// same.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn explain(
    state: &AdminState,
    actor: &Actor,
    asked: ExplainRequest,
) -> Result<Explanation, AdminError> {
    if !may_be_id(&asked.id) {
        return Err(not_explained());
    }
    let user_id = (!actor.is_admin()).then_some(actor.user_id);
    let asked = ExplainRequest { user_id: user_id.or(asked.user_id), ..asked };
    let mut story = ledger::explain(&state.db, &asked).await?.ok_or_else(not_explained)?;
    if !actor.is_admin() {
        for hold in &mut story.holds {
            hold.channel_id = None;
        }
    }
    Ok(story)
}

/// Whether [`explain`] finds anything: it looks for one call.
///
/// # Errors
/// When the database fails.
pub async fn is_explained(state: &AdminState, actor: &Actor, id: &str) -> Result<bool, AdminError> {
    let user_id = (!actor.is_admin()).then_some(actor.user_id);
    let asked = ExplainRequest { id: id.to_owned(), user_id, limit: 1, ..Default::default() };
    Ok(may_be_id(id) && ledger::explain(&state.db, &asked).await?.is_some())
}

fn not_explained() -> AdminError {
    AdminError::not_found("记录", "request or hold")
}

fn may_be_id(id: &str) -> bool {
    !id.is_empty() && id.chars().count() <= MAX_ID_CHARS && !id.contains('\0')
}

/// Which of the calls of an id a query asks for; the id itself is the caller's to add.
///
/// # Errors
/// When the id of a hold is none.
pub fn read_explained(query: &Query) -> Result<ExplainRequest, AdminError> {
    let hold = |name: &str| {
        let wrong = |_| AdminError::field(name, "不是预扣费的编号", "is not the id of a hold");
        query.text(name).map(|text| uuid::Uuid::parse_str(text).map_err(wrong)).transpose()
    };
    let (hold_id, before) = (hold("hold")?, hold("before")?);
    Ok(ExplainRequest { hold_id, before, ..ExplainRequest::default() })
}
