//! What was delivered, and what is still to be.

use super::{WebhookView, get, reached};
use crate::ops::record::{self, Subject};
use crate::ops::task::TaskView;
use crate::page::{Page, PageRequest, Query, Where};
use crate::{Actor, AdminError, AdminState, exact};
use domain::{UnixMs, UserId};
use serde::Serialize;
use serde_json::json;
use store::{Row, Statement, StoreError};
use utoipa::ToSchema;
use uuid::Uuid;

const COLUMNS: &str = "id, endpoint_id, user_id, task_uid, event, state, attempts, due_at, \
     last_status, last_error, created_at, attempted_at";
const STATES: [&str; 3] = ["pending", "delivered", "failed"];

/// A delivery as answers show it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeliveryView {
    /// Number of the delivery.
    pub id: i64,
    /// Where to.
    pub endpoint_id: i64,
    /// Whose.
    pub user_id: UserId,
    /// `id` of the task that ended; of other events: of the event.
    pub task: Uuid,
    /// `task.completed`, `task.failed`, `balance.low` or `webhook.test`.
    pub event: String,
    /// `pending`, `delivered`, or `failed`: given up.
    pub state: String,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next, while it is pending.
    pub due_at: Option<i64>,
    /// HTTP status of the last answer.
    pub last_status: Option<i64>,
    /// Why the last try failed, in one word.
    pub last_error: String,
    /// When the task ended, or the balance was seen to be low.
    pub created_at: i64,
    /// When it was last tried.
    pub attempted_at: Option<i64>,
}

fn view(row: &Row) -> Result<DeliveryView, StoreError> {
    let state: String = row.get("state")?;
    let due_at: UnixMs = row.get("due_at")?;
    let attempted_at: Option<UnixMs> = row.get("attempted_at")?;
    Ok(DeliveryView {
        id: row.get("id")?,
        endpoint_id: row.get("endpoint_id")?,
        user_id: row.get("user_id")?,
        task: row.get("task_uid")?,
        event: row.get("event")?,
        attempts: row.get("attempts")?,
        due_at: (state == "pending").then(|| exact::seconds(due_at)),
        last_status: row.get("last_status")?,
        last_error: row.get("last_error")?,
        created_at: exact::seconds(row.get("created_at")?),
        attempted_at: attempted_at.map(exact::seconds),
        state,
    })
}

/// A page of an endpoint's deliveries, newest first. Filter `state`.
///
/// # Errors
/// When the endpoint isn't there or isn't the actor's, the filter can't be read, or the database
/// fails.
pub async fn deliveries(
    state: &AdminState,
    actor: &Actor,
    endpoint_id: i64,
    query: &Query,
    page: PageRequest,
) -> Result<Page<DeliveryView>, AdminError> {
    get(state, actor, endpoint_id).await?;
    let wanted = query.text("state");
    if wanted.is_some_and(|state| !STATES.contains(&state)) {
        let en = "must be pending, delivered or failed";
        return Err(AdminError::field("state", "必须是 pending, delivered 或 failed", en));
    }
    let mut conditions = Where::default();
    conditions.with("endpoint_id = ?", endpoint_id);
    conditions.with_some("state = ?", wanted);
    conditions.page(&state.db, (COLUMNS, "webhook_deliveries", "id DESC"), page, view).await
}

/// The deliveries about a task, of all endpoints.
///
/// # Errors
/// When the database fails.
pub async fn of_task(
    state: &AdminState,
    actor: &Actor,
    task: &TaskView,
) -> Result<Page<DeliveryView>, AdminError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM webhook_deliveries WHERE task_uid = $1 ORDER BY id LIMIT 100"
    );
    let rows = state.db.read(&sql, &[task.uid.0.into()]).await?;
    let views: Vec<DeliveryView> = rows.iter().map(view).collect::<Result<_, _>>()?;
    Ok(Page::whole(views.into_iter().filter(|one| actor.owns(one.user_id)).collect()))
}

/// Schedules a delivery again, now, under the same `webhook-id`.
///
/// # Errors
/// When it isn't there or isn't the actor's, its endpoint is gone or disabled, or the database
/// fails.
pub async fn redeliver(
    state: &AdminState,
    actor: &Actor,
    id: i64,
) -> Result<DeliveryView, AdminError> {
    let before = find(state, actor, id).await?;
    enabled(state, actor, before.endpoint_id).await?;
    let statement = Statement::new(
        "UPDATE webhook_deliveries SET state = 'pending', due_at = $1 WHERE id = $2",
        vec![state.clock.now().into(), id.into()],
    );
    let told = ("webhook.redeliver", format!("重新投递回调 #{id}"));
    let details = json!({
        "target_user_id": before.user_id, "webhook_id": before.endpoint_id, "delivery_id": id,
    });
    record::write(state, actor, vec![statement], Subject::Other, told, details).await?;
    find(state, actor, id).await
}

/// Sends a webhook of the event `webhook.test`, also where the endpoint's `events` name others:
/// signed, delivered and repeated as all are. One at a time.
///
/// # Errors
/// When the endpoint isn't there or isn't the actor's, is disabled, or has no address of its own;
/// while another test of it is pending; or the database fails.
pub async fn test(state: &AdminState, actor: &Actor, id: i64) -> Result<DeliveryView, AdminError> {
    let endpoint = enabled(state, actor, id).await?;
    if endpoint.url.is_empty() {
        let en = "it signs for the addresses of submissions, and has none of its own";
        return Err(AdminError::conflict("它只为提交时给出的地址签名, 自己没有地址", en));
    }
    let now = state.clock.now();
    let uid = web::uuid_v7(now);
    let statement = Statement::new(
        "INSERT INTO webhook_deliveries (endpoint_id, user_id, task_uid, event, due_at, created_at)
         SELECT id, user_id, $2, 'webhook.test', $3, $3 FROM webhook_endpoints
         WHERE id = $1 AND NOT EXISTS (
             SELECT 1 FROM webhook_deliveries d WHERE d.endpoint_id = webhook_endpoints.id
             AND d.user_id = webhook_endpoints.user_id AND d.event = 'webhook.test'
             AND d.state = 'pending')",
        vec![id.into(), uid.into(), now.into()],
    )
    .expecting(1);
    let told = ("webhook.test", format!("测试回调地址 #{id}"));
    let details = json!({ "target_user_id": endpoint.user_id, "webhook_id": id });
    let pending =
        || AdminError::conflict("上一个测试还未送达", "another test of it is still pending");
    record::write(state, actor, vec![statement], Subject::Other, told, details)
        .await
        .map_err(AdminError::or_missing(pending))?;
    let sql = format!("SELECT {COLUMNS} FROM webhook_deliveries WHERE task_uid = $1");
    let rows = state.db.read(&sql, &[uid.into()]).await?;
    let found = rows.first().map(view).transpose()?;
    found.ok_or_else(|| AdminError::not_found("投递记录", "delivery"))
}

/// An endpoint that the actor may change, and that webhooks go to.
async fn enabled(state: &AdminState, actor: &Actor, id: i64) -> Result<WebhookView, AdminError> {
    let endpoint = reached(state, actor, id).await?;
    if endpoint.status != 1 {
        return Err(AdminError::conflict(
            "回调地址已禁用, 请先启用",
            "the webhook is disabled: enable it first",
        ));
    }
    Ok(endpoint)
}

async fn find(state: &AdminState, actor: &Actor, id: i64) -> Result<DeliveryView, AdminError> {
    let sql = format!("SELECT {COLUMNS} FROM webhook_deliveries WHERE id = $1");
    let rows = state.db.read(&sql, &[id.into()]).await?;
    let found = rows.first().map(view).transpose()?;
    let not_found = || AdminError::not_found("投递记录", "delivery");
    found.filter(|delivery| actor.owns(delivery.user_id)).ok_or_else(not_found)
}
