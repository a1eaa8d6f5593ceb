//! What an administrator should look at now: open holds, unfinished tasks, what is off or fails.

use crate::ops::audit::AuditFailure;
use crate::ops::channel::{TrafficCounts, are_paused, requests_of, unasked};
use crate::ops::webhook::FAILING;
use crate::ops::{task, unpriced};
use crate::{Actor, AdminError, AdminState};
use domain::{ChannelId, Quota, UnixMs};
use serde::Serialize;
use store::Row;
use store::sums::sum_of;
use utoipa::ToSchema;

/// How far back calls that failed count, so that it follows soon once something was fixed.
const RECENT_MINUTES: i64 = 15;

/// Most names of a list; how many there are is counted beside.
const MAX_NAMED: usize = 50;
/// Each table once: of the holds all are read, of unfinished tasks the index by status, of those to
/// decide over the index of their own.
const COUNTS: &str = "
    (SELECT count(*) FILTER (WHERE status = 'submitted') AS submitted_tasks,
            count(*) FILTER (WHERE status = 'processing') AS processing_tasks,
            count(*) FILTER (WHERE status = 'unknown') AS unknown_tasks
       FROM tasks WHERE platform = 'custompass'
        AND status IN ('submitted', 'processing', 'unknown')) AS unfinished,
    (SELECT count(*) FILTER (WHERE status = 1) AS channels_on,
            count(*) FILTER (WHERE status = 3) AS channels_failed FROM channels) AS channels,
    (SELECT count(*) FILTER (WHERE quota < 0) AS users_below_zero, count(*) AS users
       FROM users WHERE deleted_at IS NULL) AS users,
    (SELECT count(*) AS webhooks_off FROM webhook_endpoints
      WHERE url <> '' AND status = 2 AND disabled_reason <> '') AS webhooks,
    (SELECT count(*) AS webhooks_failing FROM webhook_endpoints WHERE {FAILING}) AS failing,
    (SELECT min(next_at) AS asked_next FROM task_lanes) AS lanes,
    (SELECT count(*) AS nodes FROM nodes WHERE lease_until > $1) AS nodes";

/// What needs a look.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Attention {
    /// What the last check of the books found on the node that answers: broken rules.
    pub audit_breaches: i64,
    /// Why the check after it could not be made, if it could not.
    pub audit_failed: Option<AuditFailure>,
    /// Holds open now.
    pub open_holds: i64,
    /// What they put aside.
    pub held: Quota,
    /// Nodes that serve: their lease is valid.
    pub nodes: i64,
    /// Tasks that have not ended.
    pub unfinished_tasks: i64,
    /// Those of them that are `submitted`.
    pub submitted_tasks: i64,
    /// Those of them that are `processing`.
    pub processing_tasks: i64,
    /// Those of them that are `unknown`.
    pub unknown_tasks: i64,
    /// How many seconds the question about them that has waited longest is late; null: none waits.
    pub poll_lag: Option<i64>,
    /// Those of them that an administrator has to settle or refund: the reply to their submission
    /// can't be read, and they are asked about no more.
    pub undecided_tasks: i64,
    /// What they hold.
    pub undecided_held: Quota,
    /// Webhooks that were disabled because they failed.
    pub webhooks_off: i64,
    /// Enabled webhooks that nothing reaches: of their last 10 deliveries none arrived, after 3
    /// tries at least.
    pub webhooks_failing: i64,
    /// Channels that serve.
    pub channels_on: i64,
    /// Users there are.
    pub users: i64,
    /// Users whose balance is below zero: their calls are refused.
    pub users_below_zero: i64,
    /// Calls on the node that answers in the last 15 minutes, where more than a tenth of at least
    /// 20 failed; else null.
    pub failing: Option<TrafficCounts>,
    /// Enabled channels that the node that answers pauses now, because they fail; at most 50.
    pub breakers_open: Vec<ChannelOff>,
    /// How many there are.
    pub breakers_open_total: i64,
    /// Enabled channels that it pauses because their account at the upstream is broken; at most 50.
    pub channels_paused: Vec<ChannelPaused>,
    /// How many there are.
    pub channels_paused_total: i64,
    /// Channels that were disabled because they failed; at most 50.
    pub channels_off: Vec<ChannelOff>,
    /// How many there are.
    pub channels_off_total: i64,
    /// Models that an enabled channel serves and that have no price: they are free, or refused, as
    /// `CUSTOM_PASS_UNPRICED` says; at most 50, and `/api/price/unpriced` has them all.
    pub unpriced_models: Vec<String>,
    /// How many there are.
    pub unpriced_total: i64,
}

/// A channel that was disabled because it failed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChannelOff {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
}

/// A channel whose account at the upstream is broken.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChannelPaused {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What the upstream said.
    pub why: String,
}

/// What needs a look now.
///
/// # Errors
/// When the role does not reach, or the database fails.
pub async fn now(state: &AdminState, actor: &Actor) -> Result<Attention, AdminError> {
    actor.require_admin()?;
    let (held, undecided) = (sum_of(state.db.engine(), "amount"), task::UNDECIDED);
    let of_tasks = sum_of(state.db.engine(), "quota");
    let sql = format!(
        "SELECT * FROM
             (SELECT count(*) AS open_holds, {held} AS held FROM holds) AS holds,
             (SELECT count(*) AS undecided_tasks, {of_tasks} AS undecided_held
                FROM tasks WHERE {undecided}) AS undecided, {}",
        COUNTS.replace("{FAILING}", FAILING)
    );
    let now = state.clock.now();
    let rows = state.db.search(&sql, &[now.into()]).await?;
    let counts = rows.first().ok_or_else(|| AdminError::System("no counts".to_owned()))?;
    let sql =
        format!("SELECT id, name FROM channels WHERE status = 3 ORDER BY id LIMIT {MAX_NAMED}");
    let off = state.db.read(&sql, &[]).await?;
    let channel = |row: &Row| Ok(ChannelOff { id: row.get("id")?, name: row.get("name")? });
    let unpriced = unpriced::all(state).await?;
    let (audit_breaches, audit_failed) = state.last_audit.trouble();
    let [submitted_tasks, processing_tasks, unknown_tasks] = [
        counts.get("submitted_tasks")?,
        counts.get("processing_tasks")?,
        counts.get("unknown_tasks")?,
    ];
    let late_ms = counts.get::<Option<UnixMs>>("asked_next")?.map(|at| now.since_ms(at));
    let pauses = pauses(state).await?;
    Ok(Attention {
        audit_breaches,
        audit_failed,
        open_holds: counts.get("open_holds")?,
        held: counts.get("held")?,
        nodes: counts.get("nodes")?,
        unfinished_tasks: submitted_tasks + processing_tasks + unknown_tasks,
        submitted_tasks,
        processing_tasks,
        unknown_tasks,
        poll_lag: late_ms.map(|ms| ms / 1_000).filter(|seconds| *seconds > 0),
        undecided_tasks: counts.get("undecided_tasks")?,
        undecided_held: counts.get("undecided_held")?,
        webhooks_off: counts.get("webhooks_off")?,
        webhooks_failing: counts.get("webhooks_failing")?,
        channels_on: counts.get("channels_on")?,
        users: counts.get("users")?,
        users_below_zero: counts.get("users_below_zero")?,
        failing: requests_of(state, RECENT_MINUTES).filter(TrafficCounts::fails_much),
        breakers_open_total: pauses.open_total,
        breakers_open: pauses.open,
        channels_paused_total: pauses.broken_total,
        channels_paused: pauses.broken,
        channels_off: off.iter().map(channel).collect::<Result<_, AdminError>>()?,
        channels_off_total: counts.get("channels_failed")?,
        unpriced_total: i64::try_from(unpriced.len()).unwrap_or(i64::MAX),
        unpriced_models: unpriced.into_iter().take(MAX_NAMED).map(|it| it.model_name).collect(),
    })
}

/// Enabled channels that this node asks for nothing.
#[derive(Default)]
struct Pauses {
    /// Their breaker is open, and their account is not what is the matter.
    open: Vec<ChannelOff>,
    open_total: i64,
    /// Their account is broken.
    broken: Vec<ChannelPaused>,
    broken_total: i64,
}

async fn pauses(state: &AdminState) -> Result<Pauses, AdminError> {
    let mut pauses = Pauses::default();
    let mut reasons = unasked(state);
    if reasons.is_empty() {
        return Ok(pauses);
    }
    let sql = format!("SELECT id, name FROM channels WHERE {} ORDER BY id", are_paused(state));
    for row in state.db.read(&sql, &[]).await? {
        let (id, name): (i64, String) = (row.get("id")?, row.get("name")?);
        match reasons.remove(&ChannelId(id)).flatten() {
            Some(why) => {
                pauses.broken_total += 1;
                if pauses.broken.len() < MAX_NAMED {
                    pauses.broken.push(ChannelPaused { id, name, why });
                }
            }
            None => {
                pauses.open_total += 1;
                if pauses.open.len() < MAX_NAMED {
                    pauses.open.push(ChannelOff { id, name });
                }
            }
        }
    }
    Ok(pauses)
}
