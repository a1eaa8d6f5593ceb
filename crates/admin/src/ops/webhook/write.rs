//! Writing endpoints.

use super::input::WebhookInput;
use super::{WebhookView, get, not_found, not_yours, reached};
use crate::ops::record::{self, Subject};
use crate::ops::user;
use crate::{Actor, AdminError, AdminState};
use domain::{DAY_MS, UserId};
use serde_json::json;
use store::{Secret, Statement, StoreError, Value, WEBHOOK_SECRET, webhooks};

/// Endpoints of one user, so that one task's end doesn't become a flood.
const MAX_ENDPOINTS: i64 = 10;
/// How long the secret before a rotation signs too.
const OVERLAP_MS: i64 = DAY_MS;

/// An endpoint and its new secret, which is shown only once.
#[derive(Debug)]
pub struct WebhookShown {
    /// What is kept.
    pub endpoint: WebhookView,
    /// `whsec_…`
    pub secret: Secret,
}

/// Creates an endpoint.
///
/// # Errors
/// When a field breaks its rule, the owner has enough or isn't the actor, or the database fails.
pub async fn create(
    state: &AdminState,
    actor: &Actor,
    input: WebhookInput,
) -> Result<WebhookShown, AdminError> {
    let input = input.checked(state)?;
    let owner = input.user_id.unwrap_or(actor.user_id);
    if !actor.owns(owner) {
        return Err(not_yours());
    }
    let Some(url) = &input.url else {
        return Err(AdminError::field("url", "不能为空", "is required"));
    };
    let user = match user::reached(state, actor, owner).await {
        Err(AdminError::NotFound { .. }) => {
            return Err(AdminError::field("user_id", "用户不存在", "no such user"));
        }
        other => other?,
    };
    let secret = given_or_new(input.secret.clone())?;
    // Two calls at the same moment may both pass: this keeps scripts from running away, no more.
    let insert = Statement::new(
        "INSERT INTO webhook_endpoints (user_id, url, events, secret_sealed, status, created_at, \
         updated_at) SELECT $1, $2, $3, $4, $5, $6, $6 WHERE (SELECT count(*) \
         FROM webhook_endpoints WHERE user_id = $1 AND url <> '') < $7 RETURNING id",
        vec![
            owner.into(),
            url.into(),
            input.events.as_deref().unwrap_or_default().join(",").into(),
            sealed(state, &secret)?,
            input.status.unwrap_or(1).into(),
            state.clock.now().into(),
            MAX_ENDPOINTS.into(),
        ],
    )
    .expecting(1);
    let told = ("webhook.create", format!("创建用户 {} 的回调地址", user.username));
    let details = json!({ "target_user_id": owner, "fields": input.given() });
    let rows = record::write(state, actor, vec![insert], Subject::Other, told, details).await;
    let rows = rows.map_err(|error| match error {
        StoreError::RowCount { .. } => AdminError::conflict(
            format!("每个用户最多 {MAX_ENDPOINTS} 个回调地址"),
            format!("a user has at most {MAX_ENDPOINTS} webhooks"),
        ),
        other => other.into(),
    })?;
    let endpoint = get(state, actor, record::returned_id(&rows)?).await?;
    Ok(WebhookShown { endpoint, secret })
}

/// Changes what is given. One that is disabled gives up what waits for it.
///
/// # Errors
/// When a field breaks its rule, the endpoint isn't there or isn't the actor's, it is enabled and
/// its owner was deleted, or the database fails.
pub async fn update(
    state: &AdminState,
    actor: &Actor,
    id: i64,
    input: WebhookInput,
) -> Result<WebhookView, AdminError> {
    let input = input.checked(state)?;
    let before = reached(state, actor, id).await?;
    refuse_changes(&input, &before)?;
    if input.status == Some(1) && before.status != 1 {
        user::require_there(state, before.user_id).await?;
    }
    let mut set: Vec<(&'static str, Value)> = vec![("updated_at", state.clock.now().into())];
    if let Some(url) = &input.url {
        set.push(("url", url.into()));
    }
    if let Some(events) = &input.events {
        set.push(("events", events.join(",").into()));
    }
    let mut statements = Vec::new();
    if let Some(status) = input.status {
        set.push(("status", status.into()));
        set.push(("disabled_reason", "".into()));
        if status == 2 {
            statements.push(give_up(id));
        }
    }
    statements.push(record::update_row("webhook_endpoints", &set, id));
    let told = ("webhook.update", format!("修改回调地址 #{id}"));
    let details = json!({
        "target_user_id": before.user_id, "webhook_id": id, "fields": input.given(),
        "status": input.status,
    });
    write(state, actor, statements, told, details).await?;
    get(state, actor, id).await
}

fn refuse_changes(input: &WebhookInput, before: &WebhookView) -> Result<(), AdminError> {
    let refuse = |field: &str, zh: &str, en: &str| Err(AdminError::field(field, zh, en));
    if input.user_id.is_some_and(|owner| owner != before.user_id) {
        return refuse("user_id", "不能转给其他用户, 请新建", "can't change: make another one");
    }
    if input.secret.is_some() {
        return refuse("secret", "请用 rotate 更换", "is replaced with POST …/rotate");
    }
    if before.url.is_empty() && input.url.is_some() {
        let en = "is that of X-Webhook-Url: make another webhook";
        return refuse("url", "由 X-Webhook-Url 决定, 请新建", en);
    }
    Ok(())
}

/// Enables or disables an endpoint.
///
/// # Errors
/// When the endpoint isn't there or isn't the actor's, or the database fails.
pub async fn set_status(
    state: &AdminState,
    actor: &Actor,
    id: i64,
    enabled: bool,
) -> Result<WebhookView, AdminError> {
    let status = Some(if enabled { 1 } else { 2 });
    update(state, actor, id, WebhookInput { status, ..WebhookInput::default() }).await
}

/// Deletes an endpoint; what waits for it is given up.
///
/// # Errors
/// When the endpoint isn't there or isn't the actor's, or the database fails.
pub async fn delete(state: &AdminState, actor: &Actor, id: i64) -> Result<(), AdminError> {
    let before = reached(state, actor, id).await?;
    let gone = Statement::new("DELETE FROM webhook_endpoints WHERE id = $1", vec![id.into()]);
    let told = ("webhook.delete", format!("删除回调地址 #{id}"));
    let details = json!({ "target_user_id": before.user_id, "webhook_id": id });
    write(state, actor, vec![give_up(id), gone.expecting(1)], told, details).await
}

/// Gives an endpoint a new secret. For a day the one before signs as well, so that the receiver
/// can change over at any time.
///
/// # Errors
/// When the endpoint isn't there or isn't the actor's, its owner was deleted, it is rotated at the
/// same moment, or the database fails.
pub async fn rotate(
    state: &AdminState,
    actor: &Actor,
    id: i64,
    given: Option<Secret>,
) -> Result<WebhookShown, AdminError> {
    let seen = get(state, actor, id).await?;
    rotate_seen(state, actor, &seen, given).await
}

/// The same of an endpoint that was seen. One that has another secret by now is left alone, so that
/// nobody ends a secret unseen.
///
/// # Errors
/// Those of [`rotate`].
pub async fn rotate_seen(
    state: &AdminState,
    actor: &Actor,
    seen: &WebhookView,
    given: Option<Secret>,
) -> Result<WebhookShown, AdminError> {
    user::require_reach(state, actor, seen.user_id).await?;
    user::require_there(state, seen.user_id).await?;
    let id = seen.id;
    let secret = given_or_new(given)?;
    let now = state.clock.now();
    let statement = Statement::new(
        "UPDATE webhook_endpoints SET previous_secret_sealed = secret_sealed, \
         previous_until = $1, secret_sealed = $2, updated_at = $3 \
         WHERE id = $4 AND secret_sealed = $5",
        vec![
            now.plus_ms(OVERLAP_MS).into(),
            sealed(state, &secret)?,
            now.into(),
            id.into(),
            (&seen.secret_sealed).into(),
        ],
    );
    let told = ("webhook.rotate", format!("更换回调地址 #{id} 的密钥"));
    let details = json!({ "target_user_id": seen.user_id, "webhook_id": id });
    write_seen(state, actor, statement, told, details).await?;
    Ok(WebhookShown { endpoint: get(state, actor, id).await?, secret })
}

/// Ends the secret before the last rotation now: it signs nothing more. Where it does not any more
/// nothing changes.
///
/// # Errors
/// When the endpoint isn't there or isn't the actor's, it is rotated at the same moment, or the
/// database fails.
pub async fn end_old_secret(
    state: &AdminState,
    actor: &Actor,
    id: i64,
) -> Result<WebhookView, AdminError> {
    let seen = get(state, actor, id).await?;
    end_old_secret_seen(state, actor, &seen).await
}

/// The same of an endpoint that was seen. One that was rotated since is left alone: its secret
/// before is another.
///
/// # Errors
/// Those of [`end_old_secret`].
pub async fn end_old_secret_seen(
    state: &AdminState,
    actor: &Actor,
    seen: &WebhookView,
) -> Result<WebhookView, AdminError> {
    user::require_reach(state, actor, seen.user_id).await?;
    let id = seen.id;
    if seen.previous_until.is_none() {
        return get(state, actor, id).await;
    }
    let statement = Statement::new(
        "UPDATE webhook_endpoints SET previous_secret_sealed = NULL, previous_until = NULL, \
         updated_at = $1 WHERE id = $2 AND secret_sealed = $3 AND previous_until IS NOT NULL",
        vec![state.clock.now().into(), id.into(), (&seen.secret_sealed).into()],
    );
    let told = ("webhook.end_old_secret", format!("结束回调地址 #{id} 的旧密钥"));
    let details = json!({ "target_user_id": seen.user_id, "webhook_id": id });
    write_seen(state, actor, statement, told, details).await?;
    get(state, actor, id).await
}

/// Carries out a statement that changes the endpoint only while it has the secret that was seen.
async fn write_seen(
    state: &AdminState,
    actor: &Actor,
    statement: Statement,
    told: (&str, String),
    details: serde_json::Value,
) -> Result<(), AdminError> {
    let statements = vec![statement.expecting(1)];
    let written = record::write(state, actor, statements, Subject::Other, told, details).await;
    written.map(drop).map_err(AdminError::or_missing(|| {
        AdminError::conflict(
            "回调的密钥刚被更换、结束或删除, 没有做任何修改; 请重新查看",
            "a secret of the webhook was just replaced or ended, or the webhook deleted: nothing \
             was changed; look at it again",
        )
    }))
}

pub(super) fn given_or_new(given: Option<Secret>) -> Result<Secret, StoreError> {
    given.map_or_else(webhooks::new_secret, Ok)
}

pub(super) fn sealed(state: &AdminState, secret: &Secret) -> Result<Value, AdminError> {
    let sealed = state.sealer.seal(WEBHOOK_SECRET, secret.expose().as_bytes());
    Ok(sealed.map_err(|e| AdminError::System(e.to_string()))?.into())
}

fn give_up(endpoint_id: i64) -> Statement {
    Statement::new(
        "UPDATE webhook_deliveries SET state = 'failed', last_error = 'endpoint_disabled' \
         WHERE endpoint_id = $1 AND state = 'pending'",
        vec![endpoint_id.into()],
    )
}

async fn write(
    state: &AdminState,
    actor: &Actor,
    statements: Vec<Statement>,
    told: (&str, String),
    details: serde_json::Value,
) -> Result<(), AdminError> {
    let written = record::write(state, actor, statements, Subject::Other, told, details).await;
    written.map(drop).map_err(AdminError::or_missing(not_found))
}

/// Creates the endpoint for a user's submissions unless it exists; returns the secret of a new one.
pub(super) async fn create_for_submissions(
    state: &AdminState,
    actor: &Actor,
    owner: UserId,
    secret: &Secret,
) -> Result<bool, AdminError> {
    let insert = Statement::new(
        "INSERT INTO webhook_endpoints (user_id, url, secret_sealed, created_at, updated_at) \
         VALUES ($1, '', $2, $3, $3) ON CONFLICT DO NOTHING",
        vec![owner.into(), sealed(state, secret)?, state.clock.now().into()],
    )
    .expecting(1);
    let told = ("webhook.submission_secret", format!("创建用户 #{owner} 的提交回调密钥"));
    let details = json!({ "target_user_id": owner });
    match record::write(state, actor, vec![insert], Subject::Other, told, details).await {
        Ok(_) => Ok(true),
        Err(StoreError::RowCount { .. }) => Ok(false),
        Err(other) => Err(other.into()),
    }
}
