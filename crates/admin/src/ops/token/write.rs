//! Writing keys.

use super::input::TokenInput;
use super::{TokenView, get, not_found};
use crate::ops::batch::{
    BatchItem, BatchRequest, BatchResult, RowChange, RowDecision, StatusSet, change_each,
};
use crate::ops::record::{self, Subject};
use crate::ops::user;
use crate::{Actor, AdminError, AdminState, random};
use domain::{KeyId, Quota, UserId};
use serde_json::json;
use store::{Secret, Statement, TOKEN_KEY, Value};

/// A key that was just created, with its plaintext, which is shown only once.
#[derive(Debug)]
pub struct Created {
    /// What is kept.
    pub token: TokenView,
    /// `sk-…`
    pub key: Secret,
}

/// Creates a key, usable when this returns: it has never been looked up, so no cache holds its
/// absence.
///
/// # Errors
/// When a field breaks its rule, the owner isn't there or isn't the actor, or the database fails.
pub async fn create(
    state: &AdminState,
    actor: &Actor,
    input: TokenInput,
) -> Result<Created, AdminError> {
    let input = input.checked()?;
    let owner = input.user_id.unwrap_or(actor.user_id);
    if !actor.owns(owner) {
        return Err(not_yours());
    }
    if owner == UserId(0) {
        return Err(AdminError::field("user_id", "不能为空", "is required"));
    }
    let user = match user::reached(state, actor, owner).await {
        Err(AdminError::NotFound { .. }) => {
            return Err(AdminError::field("user_id", "用户不存在", "no such user"));
        }
        other => other?,
    };
    check_group(actor, &input, &user.group)?;
    let now = state.clock.now();
    if input.expired_at.flatten().is_some_and(|ends| ends <= now) {
        return Err(AdminError::field("expired_time", "已经过去", "lies in the past"));
    }
    let key = random::user_key()?;
    let hash = store::key_hash(&key);
    // A key without a limit of its own, unless one is named.
    let unlimited = input.unlimited_quota.unwrap_or(input.remain_quota.is_none());
    let insert = Statement::new(
        "INSERT INTO tokens (user_id, name, key_hash, key_hint, key_sealed, status, remain_quota, \
         unlimited_quota, \"group\", models, allow_ips, rate_limit_rpm, daily_limit, \
         monthly_limit, rate_limit_tpm, expired_at, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17) \
         RETURNING id",
        vec![
            owner.into(),
            input.name.clone().unwrap_or_default().into(),
            (&hash).into(),
            store::key_hint(&key).into(),
            sealed(state, &key)?,
            input.status.unwrap_or(1).into(),
            input.remain_quota.unwrap_or(Quota::ZERO).into(),
            unlimited.into(),
            pinned(input.group.clone().flatten(), &user.group).into(),
            joined(input.models.as_deref()),
            joined(input.allow_ips.as_deref()),
            input.rate_limit_rpm.flatten().into(),
            input.daily_limit.flatten().into(),
            input.monthly_limit.flatten().into(),
            input.rate_limit_tpm.flatten().into(),
            input.expired_at.flatten().into(),
            now.into(),
        ],
    );
    let rows = record::write(
        state,
        actor,
        vec![insert],
        Subject::NewToken(&hash),
        ("token.create", format!("创建用户 {} 的令牌 {}", user.username, shown(&input.name))),
        json!({ "target_user_id": owner, "fields": input.given() }),
    )
    .await?;
    let id = KeyId(record::returned_id(&rows)?);
    Ok(Created { token: get(state, actor, id).await?, key: Secret::new(key) })
}

/// Changes what is given, live when this returns.
///
/// # Errors
/// When a field breaks its rule, the key isn't there or isn't the actor's, it is enabled and its
/// owner was deleted, or the database fails.
pub async fn update(
    state: &AdminState,
    actor: &Actor,
    id: KeyId,
    input: TokenInput,
) -> Result<TokenView, AdminError> {
    let input = input.checked()?;
    let before = reached(state, actor, id).await?;
    let RowChange { mut statements, told, details, .. } =
        changed(state, actor, &before, input).await?;
    write(state, statements.remove(0), actor, id, told, details).await?;
    get(state, actor, id).await
}

/// Enables or disables many keys, all or none; or tells what would change.
///
/// # Errors
/// When one of them isn't there or isn't the actor's, or the database fails.
pub async fn change_many(
    state: &AdminState,
    actor: &Actor,
    request: BatchRequest<StatusSet>,
) -> Result<BatchResult, AdminError> {
    let one = |id| one_of_many(state, actor, KeyId(id), request.set);
    let result = change_each(state, actor, &request, one).await?;
    request.ids.iter().for_each(|id| state.forget_key(KeyId(*id)));
    Ok(result)
}

async fn one_of_many(
    state: &AdminState,
    actor: &Actor,
    id: KeyId,
    set: StatusSet,
) -> Result<RowDecision, AdminError> {
    let before = reached(state, actor, id).await?;
    let mut item = BatchItem::new(id.0, &before.name);
    let status = item.set("status", &before.status, Some(set.status));
    if status.is_none() {
        return Ok((item, None));
    }
    let input = TokenInput { status, ..TokenInput::default() };
    Ok((item, Some(changed(state, actor, &before, input).await?)))
}

/// What a change of a key writes, if it may be made. `input` is checked.
async fn changed(
    state: &AdminState,
    actor: &Actor,
    before: &TokenView,
    input: TokenInput,
) -> Result<RowChange, AdminError> {
    let id = before.id;
    if input.user_id.is_some_and(|owner| owner != before.user_id) {
        let en = "a key stays with its owner: make another one";
        return Err(AdminError::field("user_id", "令牌不能转给其他用户, 请新建", en));
    }
    if input.status == Some(1) && before.status != 1 {
        user::require_there(state, before.user_id).await?;
    }
    let mut group = input.group.clone();
    if group.as_ref().is_some_and(|group| *group != before.group) {
        let user = user::get(state, before.user_id).await?;
        check_group(actor, &input, &user.group)?;
        group = group.map(|group| pinned(group, &user.group));
    }
    let mut set: Vec<(&'static str, Value)> = vec![("updated_at", state.clock.now().into())];
    let mut put = |column, value: Option<Value>| {
        if let Some(value) = value {
            set.push((column, value));
        }
    };
    put("name", input.name.as_deref().map(Into::into));
    put("unlimited_quota", input.unlimited_quota.map(Into::into));
    put("remain_quota", input.remain_quota.map(Into::into));
    put("expired_at", input.expired_at.map(Into::into));
    put("models", input.models.as_deref().map(|models| joined(Some(models))));
    put("\"group\"", group.map(Into::into));
    put("allow_ips", input.allow_ips.as_deref().map(|ips| joined(Some(ips))));
    put("rate_limit_rpm", input.rate_limit_rpm.map(Into::into));
    put("rate_limit_tpm", input.rate_limit_tpm.map(Into::into));
    put("daily_limit", input.daily_limit.map(Into::into));
    put("monthly_limit", input.monthly_limit.map(Into::into));
    put("status", input.status.map(Into::into));
    let statement = record::update_row("tokens", &set, id.0);
    let told = ("token.update", format!("修改令牌 {} (#{id})", before.name));
    let details = json!({
        "target_user_id": before.user_id, "fields": input.given(),
        "remain_quota": input.remain_quota, "unlimited_quota": input.unlimited_quota,
        "status": input.status, "daily_limit": input.daily_limit,
        "monthly_limit": input.monthly_limit,
    });
    let (statements, subject) = (vec![statement], Subject::Token(id));
    Ok(RowChange { statements, subject, told, details })
}

/// Enables or disables a key.
///
/// # Errors
/// When the key isn't there or isn't the actor's, or the database fails.
pub async fn set_status(
    state: &AdminState,
    actor: &Actor,
    id: KeyId,
    enabled: bool,
) -> Result<TokenView, AdminError> {
    let status = if enabled { 1 } else { 2 };
    update(state, actor, id, TokenInput { status: Some(status), ..TokenInput::default() }).await
}

/// Deletes a key. What was logged about it stays.
///
/// # Errors
/// When the key isn't there or isn't the actor's, or the database fails.
pub async fn delete(state: &AdminState, actor: &Actor, id: KeyId) -> Result<(), AdminError> {
    let before = reached(state, actor, id).await?;
    let statement =
        Statement::new("DELETE FROM tokens WHERE id = $1", vec![id.into()]).expecting(1);
    let told = ("token.delete", format!("删除令牌 {} (#{id})", before.name));
    let details = json!({ "target_user_id": before.user_id, "key_hint": before.key_hint });
    write(state, statement, actor, id, told, details).await
}

async fn write(
    state: &AdminState,
    statement: Statement,
    actor: &Actor,
    id: KeyId,
    told: (&str, String),
    details: serde_json::Value,
) -> Result<(), AdminError> {
    let subject = Subject::Token(id);
    let written = record::write(state, actor, vec![statement], subject, told, details).await;
    written.map_err(AdminError::or_missing(not_found))?;
    state.forget_key(id);
    Ok(())
}

/// A key that the actor may change.
async fn reached(state: &AdminState, actor: &Actor, id: KeyId) -> Result<TokenView, AdminError> {
    let token = get(state, actor, id).await?;
    user::require_reach(state, actor, token.user_id).await?;
    Ok(token)
}

/// The group that a key keeps for itself. The owner's own is none: the key follows the owner out of
/// it, so that no user keeps a cheaper one than theirs. One that differs was given by an
/// administrator.
fn pinned(group: Option<String>, owners: &str) -> Option<String> {
    group.filter(|group| group != owners)
}

/// A group is a price: users can't choose a cheaper one than theirs.
fn check_group(actor: &Actor, input: &TokenInput, own: &str) -> Result<(), AdminError> {
    match &input.group {
        Some(Some(group)) if !actor.is_admin() && group != own => Err(AdminError::forbidden(
            "只能使用自己的分组",
            "only an administrator may give a key another group",
        )),
        _ => Ok(()),
    }
}

pub(super) fn sealed(state: &AdminState, key: &str) -> Result<Value, AdminError> {
    let sealed = state.sealer.seal(TOKEN_KEY, key.as_bytes());
    Ok(sealed.map_err(|e| AdminError::System(e.to_string()))?.into())
}

fn joined(items: Option<&[String]>) -> Value {
    items.unwrap_or_default().join(",").into()
}

fn shown(name: &Option<String>) -> &str {
    name.as_deref().unwrap_or_default()
}

fn not_yours() -> AdminError {
    AdminError::forbidden("只能管理自己的令牌", "only an administrator may do this for others")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_cannot_choose_a_cheaper_group() {
        let input = TokenInput { group: Some(Some("vip".to_owned())), ..TokenInput::default() };
        let actor = |role| Actor {
            user_id: UserId(2),
            username: String::new(),
            role,
            group: "default".to_owned(),
        };
        assert!(check_group(&actor(1), &input, "default").is_err());
        assert!(check_group(&actor(1), &input, "vip").is_ok());
        assert!(check_group(&actor(10), &input, "default").is_ok());
        assert!(check_group(&actor(1), &TokenInput::default(), "default").is_ok());
    }
}
