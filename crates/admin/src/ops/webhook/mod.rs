//! Webhook endpoints: where users are notified that a task has ended. A secret is shown once, when
//! it is created or rotated.

mod delivery;
mod input;
mod submission;
mod write;

pub use delivery::{DeliveryView, deliveries, of_task, redeliver, test};
pub use input::{WebhookInput, read_secret};
pub use submission::{renew_submission_secret, submissions};
pub use write::{
    WebhookShown, create, delete, end_old_secret, end_old_secret_seen, rotate, rotate_seen,
    set_status, update,
};

use crate::ops::user;
use crate::page::{Page, PageRequest, Query, Where};
use crate::{Actor, AdminError, AdminState, exact};
use domain::{UnixMs, UserId};
use serde::Serialize;
use store::{Row, StoreError};
use utoipa::ToSchema;

/// The newest delivery, and how many wait after a try that failed: among the first thousand that
/// wait. Each is found by an index.
const COLUMNS: &str = "id, user_id, url, events, status, disabled_reason, previous_until, \
     created_at, updated_at, secret_sealed, \
     (SELECT d.state FROM webhook_deliveries d WHERE d.endpoint_id = webhook_endpoints.id \
      ORDER BY d.id DESC LIMIT 1) AS last_state, \
     (SELECT coalesce(d.attempted_at, d.created_at) FROM webhook_deliveries d \
      WHERE d.endpoint_id = webhook_endpoints.id ORDER BY d.id DESC LIMIT 1) AS last_at, \
     (SELECT count(*) FROM (SELECT d.last_error FROM webhook_deliveries d \
      WHERE d.endpoint_id = webhook_endpoints.id AND d.state = 'pending' \
      ORDER BY d.due_at LIMIT 1000) AS waiting WHERE last_error <> '') AS failing";

/// An enabled endpoint with an address that nothing reaches: of its last 10 deliveries none
/// arrived, after 3 tries at least. Endpoints without a failure are left out by an index.
/// One probe each: as `EXISTS`, PostgreSQL might read all that ever failed instead.
pub(super) const FAILING: &str = "url <> '' AND status = 1 AND (\
         SELECT d.endpoint_id FROM webhook_deliveries d \
         WHERE d.endpoint_id = webhook_endpoints.id \
         AND d.last_error <> '' AND d.state <> 'delivered' LIMIT 1) IS NOT NULL \
     AND (SELECT sum(CASE WHEN state = 'delivered' THEN -1000 WHEN last_error <> '' THEN attempts \
              ELSE 0 END) \
          FROM (SELECT d.state, d.last_error, d.attempts FROM webhook_deliveries d \
                WHERE d.endpoint_id = webhook_endpoints.id ORDER BY d.id DESC LIMIT 10) AS newest) \
         >= 3";

/// An endpoint as answers show it: never its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WebhookView {
    /// Number of the endpoint.
    pub id: i64,
    /// Owner.
    pub user_id: UserId,
    /// Address; empty: that of `X-Webhook-Url` of each submission.
    pub url: String,
    /// What it hears of; empty: all.
    pub events: Vec<String>,
    /// 1 enabled, 2 disabled.
    pub status: i64,
    /// Why newapi itself disabled it.
    pub disabled_reason: String,
    /// Until when the secret before signs too, in seconds since 1970; `null`: it doesn't.
    pub previous_until: Option<i64>,
    /// When it was made.
    pub created_at: i64,
    /// When it was last edited.
    pub updated_at: i64,
    /// Where its newest delivery stands: `pending`, `delivered` or `failed`; null: there is none.
    pub last_delivery_state: Option<String>,
    /// When that was last tried, or made where it was not tried yet.
    pub last_delivery_at: Option<i64>,
    /// Deliveries that wait for another try because one failed; counted among the first 1000 that
    /// wait.
    pub failing: i64,
    /// Which secret was seen: a rotation replaces no other. Answers leave it out.
    #[serde(skip)]
    secret_sealed: String,
}

fn view(row: &Row, now: UnixMs) -> Result<WebhookView, StoreError> {
    let events: String = row.get("events")?;
    let until: Option<UnixMs> = row.get("previous_until")?;
    Ok(WebhookView {
        id: row.get("id")?,
        user_id: row.get("user_id")?,
        url: row.get("url")?,
        events: events.split(',').filter(|e| !e.is_empty()).map(str::to_owned).collect(),
        status: row.get("status")?,
        disabled_reason: row.get("disabled_reason")?,
        previous_until: until.filter(|until| *until > now).map(exact::seconds),
        created_at: exact::seconds(row.get("created_at")?),
        updated_at: exact::seconds(row.get("updated_at")?),
        last_delivery_state: row.get("last_state")?,
        last_delivery_at: row.get::<Option<UnixMs>>("last_at")?.map(exact::seconds),
        failing: row.get("failing")?,
        secret_sealed: row.get("secret_sealed")?,
    })
}

/// A page of endpoints: an administrator's filter `user_id` names whose, users see their own.
/// Filter `status`: 1, 2, or `failing`.
///
/// # Errors
/// When a filter can't be read, or the database fails.
pub async fn list(
    state: &AdminState,
    actor: &Actor,
    query: &Query,
    page: PageRequest,
) -> Result<Page<WebhookView>, AdminError> {
    let mut conditions = Where::default();
    conditions.fixed("url <> ''");
    if query.text("user_id").is_some() || !actor.is_admin() {
        conditions.with("user_id = ?", whose(actor, query)?);
    }
    match query.text("status") {
        Some("failing") => conditions.fixed(FAILING),
        _ => conditions.with_some("status = ?", query.number::<i64>("status")?),
    }
    let now = state.clock.now();
    let view = |row: &Row| view(row, now);
    conditions.page(&state.db, (COLUMNS, "webhook_endpoints", "id"), page, view).await
}

/// Returns an endpoint of the actor or, for administrators, of any user.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn get(state: &AdminState, actor: &Actor, id: i64) -> Result<WebhookView, AdminError> {
    let sql = format!("SELECT {COLUMNS} FROM webhook_endpoints WHERE id = $1");
    let rows = state.db.read(&sql, &[id.into()]).await?;
    let now = state.clock.now();
    let found = rows.first().map(|row| view(row, now)).transpose()?;
    // Another user's endpoint looks like none, so that ids cannot be probed.
    found.filter(|endpoint| actor.owns(endpoint.user_id)).ok_or_else(not_found)
}

/// An endpoint that the actor may change.
async fn reached(state: &AdminState, actor: &Actor, id: i64) -> Result<WebhookView, AdminError> {
    let endpoint = get(state, actor, id).await?;
    user::require_reach(state, actor, endpoint.user_id).await?;
    Ok(endpoint)
}

/// The user a call is about: the actor, or for administrators the user named by `user_id`.
fn whose(actor: &Actor, query: &Query) -> Result<UserId, AdminError> {
    let asked = query.number::<i64>("user_id")?.map_or(actor.user_id, UserId);
    if actor.owns(asked) { Ok(asked) } else { Err(not_yours()) }
}

fn not_found() -> AdminError {
    AdminError::not_found("回调地址", "webhook")
}

fn not_yours() -> AdminError {
    AdminError::forbidden("只能管理自己的回调地址", "these are not your webhooks")
}
