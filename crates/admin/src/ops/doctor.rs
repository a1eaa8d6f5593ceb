//! The health check of the installation, as `newapi doctor` makes it, and its nodes.

use crate::page::Page;
use crate::{Actor, AdminError, AdminState, Fields, ROLE_ROOT, exact};
use domain::Quota;
use ledger::AuditReport;
use serde::Serialize;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use store::nodes::{self, NodeRow};
pub use store::nodes::{LooseHolds, NodeLoad};
use utoipa::ToSchema;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// As it should be.
    Good,
    /// Worth a look; nothing is broken.
    Odd,
    /// Broken.
    Bad,
}

/// One check.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HealthCheck {
    /// What was looked at.
    pub name: String,
    /// How it came out.
    pub state: HealthState,
    /// What was found.
    pub found: String,
    /// What to do; empty when there is nothing to do.
    pub remedy: String,
}

/// A health check under way.
pub type Examining<'a> = Pin<Box<dyn Future<Output = Vec<HealthCheck>> + Send + 'a>>;

/// Who makes the health check: it looks at settings, ports and files, above this crate.
pub trait Doctor: Send + Sync {
    /// Makes it; with `reaches_out` upstreams are asked as well.
    fn examine(&self, reaches_out: bool) -> Examining<'_>;
}

/// The health check of a serving process, one at a time.
#[derive(Clone, Default)]
pub struct HealthChecks {
    doctor: Option<Arc<dyn Doctor>>,
    turn: Arc<tokio::sync::Mutex<()>>,
    last: Arc<Mutex<Option<LastHealth>>>,
}

/// How the last health check of this process came out, in numbers of checks.
#[derive(Clone, Copy, Debug)]
pub struct LastHealth {
    /// When it was made, in seconds since 1970.
    pub at: i64,
    /// What is broken.
    pub bad: usize,
    /// What is worth a look.
    pub odd: usize,
}

impl HealthChecks {
    /// Checks that this doctor makes.
    #[must_use]
    pub fn by(doctor: Arc<dyn Doctor>) -> Self {
        Self { doctor: Some(doctor), ..Self::default() }
    }
}

/// Reads whether upstreams are asked as well.
///
/// # Errors
/// The first field that breaks its rule.
pub fn read_reach(mut fields: Fields) -> Result<bool, AdminError> {
    let reaches_out = fields.flag("reach_out")?.unwrap_or(false);
    fields.finish(&[], &[])?;
    Ok(reaches_out)
}

/// Makes the health check. It shows settings, so it is root's.
///
/// # Errors
/// For any user but root, and while another is under way.
pub async fn examine(
    state: &AdminState,
    actor: &Actor,
    reaches_out: bool,
) -> Result<Page<HealthCheck>, AdminError> {
    if actor.role < ROLE_ROOT {
        return Err(AdminError::forbidden("需要 root 权限", "only root may do this"));
    }
    let HealthChecks { doctor, turn, last } = &state.health;
    let absent = || AdminError::not_found("健康检查", "health check to be made here");
    let doctor = doctor.as_ref().ok_or_else(absent)?;
    let _turn = turn
        .try_lock()
        .map_err(|_| AdminError::conflict("健康检查正在进行", "a health check is under way"))?;
    let mut checks = doctor.examine(reaches_out).await;
    let number = |state| checks.iter().filter(|check| check.state == state).count();
    let at = exact::seconds(state.clock.now());
    let (bad, odd) = (number(HealthState::Bad), number(HealthState::Odd));
    *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(LastHealth { at, bad, odd });
    // What the audit found is said where books are.
    checks.push(last_audit(state));
    Ok(Page::whole(checks))
}

/// How long the result of a health check says something: what it found may be fixed since.
const TOLD_FOR_S: i64 = 3_600;

/// How the last health check of this process came out, besides the books; none: none was made
/// within the hour, or the actor is not root, whose it is.
#[must_use]
pub fn last(state: &AdminState, actor: &Actor) -> Option<LastHealth> {
    let last = state.health.last.lock().unwrap_or_else(PoisonError::into_inner);
    let now = exact::seconds(state.clock.now());
    last.filter(|last| actor.role >= ROLE_ROOT && now.saturating_sub(last.at) < TOLD_FOR_S)
}

/// The last audit of this process.
fn last_audit(state: &AdminState) -> HealthCheck {
    let check = |state, found: String, remedy: &str| {
        let (name, remedy) = ("audit".to_owned(), remedy.to_owned());
        HealthCheck { name, state, found, remedy }
    };
    let Some(run) = state.last_audit.get() else {
        let found = "none was made since this process was started".to_owned();
        return check(HealthState::Good, found, "");
    };
    let hours = exact::seconds(state.clock.now()).saturating_sub(run.at) / 3_600;
    let AuditReport { clean, users, open_holds, breaches, .. } = &run.report;
    match clean {
        true => {
            let found = format!("clean {hours} h ago: {users} users, {open_holds} open holds");
            check(HealthState::Good, found, "")
        }
        false => {
            let found = format!("{} breaches, {hours} h ago", breaches.len());
            check(HealthState::Bad, found, "the audit lists them; explain tells how it came")
        }
    }
}

/// A process that serves this database.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NodeView {
    /// Its name: that of its machine, unless `NODE_NAME` says otherwise.
    pub name: String,
    /// This run of the process.
    pub id: String,
    /// When it was started, in seconds since 1970.
    pub started_at: i64,
    /// Until when other nodes leave its holds alone, in seconds since 1970. It renews this.
    pub lease_until: i64,
    /// Its lease is valid. One that is not has ended without a word, and its holds are ended by
    /// others.
    pub alive: bool,
    /// The version of its program.
    pub version: String,
    /// Holds that it has open: its calls. Those of unfinished tasks belong to no node.
    pub open_holds: i64,
    /// What they put aside.
    pub held: Quota,
    /// What it measured of itself at its last heartbeat, seconds ago; null where it has just
    /// started, or is gone.
    pub load: Option<NodeLoad>,
}

/// What is on hold for no node: for unfinished tasks, and for calls whose outcome is unknown.
///
/// # Errors
/// For ordinary users, or when the database fails.
pub async fn loose_holds(state: &AdminState, actor: &Actor) -> Result<LooseHolds, AdminError> {
    actor.require_admin()?;
    Ok(nodes::loose_holds(&state.db).await?)
}

/// The nodes, the newest first.
///
/// # Errors
/// For ordinary users, or when the database fails.
pub async fn list_nodes(state: &AdminState, actor: &Actor) -> Result<Page<NodeView>, AdminError> {
    actor.require_admin()?;
    let now = state.clock.now();
    let view = |row: NodeRow| NodeView {
        name: row.name,
        id: row.id.0.to_string(),
        started_at: exact::seconds(row.started_at),
        lease_until: exact::seconds(row.lease_until),
        alive: row.lease_until > now,
        version: row.version,
        open_holds: row.open_holds,
        held: row.held,
        load: row.load.filter(|_| row.lease_until > now),
    };
    let rows = nodes::list(&state.db).await?;
    Ok(Page::whole(rows.into_iter().map(view).collect()))
}
