//! What an administrator should look at now: open holds, unfinished tasks, what is off or fails.

use crate::ops::audit::AuditFailure;
use crate::ops::channel::BreakerView;
use crate::ops::channel::{TrafficCounts, live_of, requests_of};
use crate::ops::{task, unpriced};
use crate::{Actor, AdminError, AdminState};
use domain::{ChannelId, Quota};
use serde::Serialize;
use store::Row;
use store::sums::sum_of;
use utoipa::ToSchema;

/// How far back calls that failed count, so that it follows soon once something was fixed.
const RECENT_MINUTES: i64 = 15;

/// Most names of a list; how many there are is counted beside.
const MAX_NAMED: usize = 50;
const COUNTS: &str = "
    (SELECT count(*) FROM tasks
      WHERE status IN ('submitted', 'processing', 'unknown')) AS unfinished_tasks,
    (SELECT count(*) FROM webhook_endpoints
      WHERE url <> '' AND status = 2 AND disabled_reason <> '') AS webhooks_off,
    (SELECT count(*) FROM channels WHERE status = 1) AS channels_on,
    (SELECT count(*) FROM channels WHERE status = 3) AS channels_failed,
    (SELECT count(*) FROM users WHERE quota < 0 AND deleted_at IS NULL) AS users_below_zero,
    (SELECT count(*) FROM users WHERE deleted_at IS NULL) AS users";

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
    /// Tasks that have not ended.
    pub unfinished_tasks: i64,
    /// Those of them that an administrator has to settle or refund: the reply to their submission
    /// can't be read, and they are asked about no more.
    pub undecided_tasks: i64,
    /// What they hold.
    pub undecided_held: Quota,
    /// Webhooks that were disabled because they failed.
    pub webhooks_off: i64,
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

/// What needs a look now.
///
/// # Errors
/// When the role does not reach, or the database fails.
pub async fn now(state: &AdminState, actor: &Actor) -> Result<Attention, AdminError> {
    actor.require_admin()?;
    let (held, undecided) = (sum_of(state.db.engine(), "amount"), task::UNDECIDED);
    let of_tasks = sum_of(state.db.engine(), "quota");
    let sql = format!(
        "SELECT (SELECT count(*) FROM holds) AS open_holds,
             (SELECT coalesce({held}, 0) FROM holds) AS held,
             (SELECT count(*) FROM tasks WHERE {undecided}) AS undecided_tasks,
             (SELECT coalesce({of_tasks}, 0) FROM tasks WHERE {undecided}) AS undecided_held,
             {COUNTS}"
    );
    let rows = state.db.search(&sql, &[]).await?;
    let counts = rows.first().ok_or_else(|| AdminError::System("no counts".to_owned()))?;
    let sql =
        format!("SELECT id, name FROM channels WHERE status = 3 ORDER BY id LIMIT {MAX_NAMED}");
    let off = state.db.read(&sql, &[]).await?;
    let channel = |row: &Row| Ok(ChannelOff { id: row.get("id")?, name: row.get("name")? });
    let unpriced = unpriced::all(state).await?;
    let (audit_breaches, audit_failed) = state.last_audit.trouble();
    Ok(Attention {
        audit_breaches,
        audit_failed,
        open_holds: counts.get("open_holds")?,
        held: counts.get("held")?,
        unfinished_tasks: counts.get("unfinished_tasks")?,
        undecided_tasks: counts.get("undecided_tasks")?,
        undecided_held: counts.get("undecided_held")?,
        webhooks_off: counts.get("webhooks_off")?,
        channels_on: counts.get("channels_on")?,
        users: counts.get("users")?,
        users_below_zero: counts.get("users_below_zero")?,
        failing: requests_of(state, RECENT_MINUTES).filter(TrafficCounts::fails_much),
        breakers_open: breakers_open(state).await?,
        channels_off: off.iter().map(channel).collect::<Result<_, AdminError>>()?,
        channels_off_total: counts.get("channels_failed")?,
        unpriced_total: i64::try_from(unpriced.len()).unwrap_or(i64::MAX),
        unpriced_models: unpriced.into_iter().take(MAX_NAMED).map(|it| it.model_name).collect(),
    })
}

/// Channels whose breaker is open, and whose account is not what is the matter.
async fn breakers_open(state: &AdminState) -> Result<Vec<ChannelOff>, AdminError> {
    let Some(traffic) = &state.traffic else { return Ok(Vec::new()) };
    let is_open = |id: ChannelId| {
        let live = live_of(state, id, true);
        live.is_some_and(|it| it.breaker == BreakerView::Open && it.pause_reason.is_none())
    };
    let open: Vec<String> = traffic
        .channels()
        .iter()
        .filter(|channel| is_open(channel.id))
        .take(MAX_NAMED)
        .map(|channel| channel.id.0.to_string())
        .collect();
    if open.is_empty() {
        return Ok(Vec::new());
    }
    // Numbers: they can't be anything but digits. Without `auto_ban` no breaker is asked.
    let sql = format!(
        "SELECT id, name FROM channels WHERE status = 1 AND auto_ban AND id IN ({}) ORDER BY id",
        open.join(", ")
    );
    let rows = state.db.read(&sql, &[]).await?;
    let channel = |row: &Row| Ok(ChannelOff { id: row.get("id")?, name: row.get("name")? });
    rows.iter().map(channel).collect()
}
