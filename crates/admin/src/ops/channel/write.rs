//! Writing channels.

use super::destination::{Destination, key_needed, placed_by};
use super::input::{ChannelInput, check_path_of, protocol_named};
use super::setting;
use super::{ChannelView, get, not_found, text};
use crate::ops::batch::RowChange;
use crate::ops::record::{self, Subject};
use crate::{Actor, AdminError, AdminState, ROLE_ROOT};
use domain::ChannelId;
use protocol::Library;
use serde_json::json;
use store::{CHANNEL_KEY, Secret, Statement, StoreError, Value};

/// Creates a channel, which is live when this returns.
///
/// # Errors
/// When a field breaks its rule, or the database fails.
pub async fn create(
    state: &AdminState,
    actor: &Actor,
    input: ChannelInput,
) -> Result<ChannelView, AdminError> {
    actor.require_admin()?;
    let input = input.checked()?;
    check_new(state, &input).await?;
    let name = input.name.clone().unwrap_or_default();
    let mut set = assignments(state, &input)?;
    let now = state.clock.now();
    set.push(("placed_by", placed_by(actor)));
    set.push(("created_at", now.into()));
    set.push(("updated_at", now.into()));
    let insert = insert(&set);
    let rows = record::write(
        state,
        actor,
        vec![insert],
        Subject::NewChannel,
        ("channel.create", format!("创建渠道 {name}")),
        json!({ "fields": input.given() }),
    )
    .await?;
    state.refresh().await;
    get(state, ChannelId(record::returned_id(&rows)?)).await
}

async fn check_new(state: &AdminState, input: &ChannelInput) -> Result<(), AdminError> {
    let required = |field| AdminError::field(field, "不能为空", "is required");
    if input.base_url.is_none() {
        return Err(required("base_url"));
    }
    if input.models.is_none() {
        return Err(required("models"));
    }
    check_destination(state, input, ("", egress::CUSTOM_PASS)).await?;
    Ok(())
}

/// Whether a channel could be created, or this one changed, so: nothing is written.
///
/// # Errors
/// As creating or changing it would fail.
pub async fn check(
    state: &AdminState,
    actor: &Actor,
    id: Option<ChannelId>,
    input: ChannelInput,
) -> Result<(), AdminError> {
    actor.require_admin()?;
    let input = input.checked()?;
    match id {
        None => check_new(state, &input).await,
        Some(id) => {
            let before = get(state, id).await?;
            changed(state, actor, &before, input).await.map(|_| ())
        }
    }
}

/// Changes what is given, live when this returns. An empty key stays as it is.
///
/// # Errors
/// When a field breaks its rule, there is no such channel, or the database fails.
pub async fn update(
    state: &AdminState,
    actor: &Actor,
    id: ChannelId,
    input: ChannelInput,
) -> Result<ChannelView, AdminError> {
    actor.require_admin()?;
    let input = input.checked()?;
    let before = get(state, id).await?;
    let RowChange { mut statements, told, details, .. } =
        changed(state, actor, &before, input).await?;
    change(state, id, statements.remove(0), actor, told, details).await?;
    get(state, id).await
}

/// What a change of a channel writes, if it may be made. `input` is checked.
pub(super) async fn changed(
    state: &AdminState,
    actor: &Actor,
    before: &ChannelView,
    mut input: ChannelInput,
) -> Result<RowChange, AdminError> {
    let id = before.id;
    let library = check_destination(state, &input, (&before.base_url, &before.protocol)).await?;
    let kept = Destination::read(state, id).await?;
    if let Some(setting) = input.setting.take() {
        input.setting = Some(setting.unmasked(kept.proxy.as_deref()));
    }
    let keeps_key = before.has_key && input.key.is_none();
    if let Some(field) = kept.key_moved_by(&input, library.as_ref()).filter(|_| keeps_key) {
        return Err(key_needed(field));
    }
    let mut set = assignments(state, &input)?;
    // Root takes a channel over by saying where it leads, or by giving its key where it is. Another
    // change of root's says nothing about the address, which may be an administrator's.
    let (moves, gives_key) = (kept.moved_by(&input).is_some(), input.key.is_some());
    let is_placed = match actor.role >= ROLE_ROOT {
        false => moves,
        true if gives_key => moves || before.placed_by.is_some(),
        true => moves && input.base_url.is_some(),
    };
    if is_placed {
        set.push(("placed_by", placed_by(actor)));
    }
    set.push(("updated_at", state.clock.now().into()));
    let mut statement = record::update_row("channels", &set, id.0);
    let aims = [input.base_url.is_some(), input.protocol.is_some(), input.other.is_some()];
    if aims.contains(&true) || input.setting.is_some() || gives_key {
        kept.still_there(&mut statement);
    }
    let content = format!("修改渠道 {} (#{id})", input.name.as_ref().unwrap_or(&before.name));
    Ok(RowChange {
        statements: vec![statement],
        subject: Subject::Channel(id),
        told: ("channel.update", content),
        details: json!({ "fields": input.given() }),
    })
}

/// Whether there is the protocol that a channel is to have, and its address fits it, where either
/// changes; returns all protocols then. `before`: its base URL and protocol now.
async fn check_destination(
    state: &AdminState,
    input: &ChannelInput,
    before: (&str, &str),
) -> Result<Option<Library>, AdminError> {
    if input.base_url.is_none() && input.protocol.is_none() {
        return Ok(None);
    }
    let (library, _) = store::protocols::load(&state.db).await?;
    let base_url = input.base_url.as_deref().unwrap_or(before.0);
    let protocol = protocol_named(&library, input.protocol.as_deref().unwrap_or(before.1))?;
    check_path_of(base_url, protocol)?;
    Ok(Some(library))
}

/// Enables or disables a channel.
///
/// # Errors
/// When there is no such channel, or the database fails.
pub async fn set_status(
    state: &AdminState,
    actor: &Actor,
    id: ChannelId,
    enabled: bool,
) -> Result<ChannelView, AdminError> {
    let status = if enabled { 1 } else { 2 };
    let input = ChannelInput { status: Some(status), ..ChannelInput::default() };
    update(state, actor, id, input).await
}

/// Deletes a channel that has no unfinished tasks: without it they can't be asked about, and their
/// holds would stay until their lifetime is over. What was logged about it stays.
///
/// # Errors
/// When there is no such channel, it has unfinished tasks, or the database fails.
pub async fn delete(state: &AdminState, actor: &Actor, id: ChannelId) -> Result<(), AdminError> {
    actor.require_admin()?;
    let before = get(state, id).await?;
    let sql = format!("DELETE FROM channels WHERE id = $1 AND NOT EXISTS ({UNFINISHED})");
    let sql = Statement::new(sql, vec![id.into()]).expecting(1);
    let content = format!("删除渠道 {} (#{id})", before.name);
    let details = json!({ "base_url": before.base_url, "models": before.models });
    let deleted = change(state, id, sql, actor, ("channel.delete", content), details).await;
    match deleted {
        Err(AdminError::Conflict { .. }) => Err(still_needed(state, id).await?),
        other => other,
    }
}

const UNFINISHED: &str = "SELECT 1 FROM tasks WHERE channel_id = $1 \
     AND status IN ('submitted', 'processing', 'unknown')";

async fn still_needed(state: &AdminState, id: ChannelId) -> Result<AdminError, AdminError> {
    let sql = format!("SELECT count(*) AS n FROM ({UNFINISHED}) unfinished");
    let rows = state.db.read(&sql, &[id.into()]).await?;
    let count: i64 = rows.first().map(|row| row.get("n")).transpose()?.unwrap_or(0);
    Ok(AdminError::conflict(
        format!("渠道还有 {count} 个未完成的任务, 请先禁用渠道, 待任务结束后再删除"),
        format!(
            "the channel has {count} unfinished tasks: disable it, and delete it when they end"
        ),
    ))
}

/// Creates a disabled copy of a channel, to be edited, given a key and enabled. The key is not
/// copied, because the copy may be pointed at another server.
///
/// # Errors
/// When there is no such channel, or the database fails.
pub async fn copy(
    state: &AdminState,
    actor: &Actor,
    id: ChannelId,
) -> Result<ChannelView, AdminError> {
    actor.require_admin()?;
    let before = get(state, id).await?;
    let name: String = before.name.chars().take(90).collect();
    let insert = Statement::new(
        "INSERT INTO channels (name, type, base_url, key, models, groups, priority, weight, \
         auto_ban, status, other, model_mapping, param_override, status_code_mapping, \
         custompass_status_mapping, setting, protocol, tag, remark, placed_by, created_at, \
         updated_at) \
         SELECT $2, type, base_url, '', models, groups, priority, weight, auto_ban, 2, other, \
         model_mapping, param_override, status_code_mapping, custompass_status_mapping, setting, \
         protocol, tag, remark, coalesce(CAST($4 AS bigint), placed_by), $3, $3 \
         FROM channels WHERE id = $1 RETURNING id",
        vec![id.into(), format!("{name}_copy").into(), state.clock.now().into(), placed_by(actor)],
    )
    .expecting(1);
    let rows = record::write(
        state,
        actor,
        vec![insert],
        Subject::NewChannel,
        ("channel.copy", format!("复制渠道 {} (#{id})", before.name)),
        json!({ "from": id }),
    )
    .await
    .map_err(AdminError::or_missing(not_found))?;
    state.refresh().await;
    get(state, ChannelId(record::returned_id(&rows)?)).await
}

/// Columns and values of the fields that are given.
fn assignments(
    state: &AdminState,
    input: &ChannelInput,
) -> Result<Vec<(&'static str, Value)>, AdminError> {
    let mut set = Vec::new();
    let mut put = |column, value: Option<Value>| {
        if let Some(value) = value {
            set.push((column, value));
        }
    };
    put("name", input.name.as_deref().map(text));
    put("base_url", input.base_url.as_deref().map(text));
    put("protocol", input.protocol.as_deref().map(text));
    put("key", input.key.as_ref().map(|key| sealed(state, key)).transpose()?);
    put("models", input.models.as_ref().map(|models| models.join(",").into()));
    put("groups", input.groups.as_ref().map(|groups| groups.join(",").into()));
    put("priority", input.priority.map(Into::into));
    put("weight", input.weight.map(Into::into));
    put("auto_ban", input.auto_ban.map(Into::into));
    put("status", input.status.map(Into::into));
    put("other", input.other.as_deref().map(text));
    let json = |text: &Option<String>| text.clone().map(Value::Json);
    put("model_mapping", json(&input.model_mapping));
    put("param_override", json(&input.param_override));
    put("status_code_mapping", json(&input.status_code_mapping));
    put("custompass_status_mapping", json(&input.custompass_status_mapping));
    let setting = input.setting.as_ref().map(|it| setting::stored(&state.sealer, it));
    put("setting", setting.transpose()?.map(Value::Json));
    put("tag", input.tag.as_deref().map(text));
    put("remark", input.remark.as_deref().map(text));
    Ok(set)
}

fn sealed(state: &AdminState, key: &Secret) -> Result<Value, AdminError> {
    let sealed = state.sealer.seal(CHANNEL_KEY, key.expose().as_bytes());
    Ok(sealed.map_err(|e| AdminError::System(e.to_string()))?.into())
}

fn insert(set: &[(&'static str, Value)]) -> Statement {
    let columns: Vec<&str> = set.iter().map(|(column, _)| *column).collect();
    let marks: Vec<String> = (1..=set.len()).map(|n| format!("${n}")).collect();
    let sql = format!(
        "INSERT INTO channels ({}) VALUES ({}) RETURNING id",
        columns.join(", "),
        marks.join(", ")
    );
    Statement::new(sql, set.iter().map(|(_, value)| value.clone()).collect())
}

async fn change(
    state: &AdminState,
    id: ChannelId,
    statement: Statement,
    actor: &Actor,
    told: (&str, String),
    details: serde_json::Value,
) -> Result<(), AdminError> {
    let subject = Subject::Channel(id);
    match record::write(state, actor, vec![statement], subject, told, details).await {
        Ok(_) => {}
        Err(StoreError::RowCount { .. }) => {
            get(state, id).await?;
            return Err(AdminError::conflict(
                "渠道刚被修改, 请重试",
                "the channel was just changed: try again",
            ));
        }
        Err(other) => return Err(other.into()),
    }
    state.refresh().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_number_their_values() {
        let set = [("name", text("a")), ("weight", 2_i64.into())];
        let statement = record::update_row("channels", &set, 7);
        assert_eq!(&*statement.sql, "UPDATE channels SET name = $1, weight = $2 WHERE id = $3");
        let statement = insert(&set);
        assert_eq!(
            &*statement.sql,
            "INSERT INTO channels (name, weight) VALUES ($1, $2) RETURNING id"
        );
    }
}
