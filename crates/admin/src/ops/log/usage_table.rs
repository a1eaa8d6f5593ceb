//! Usage as a table: by user, by key, by channel, by model or by day.

use super::sums::Source;
use super::usage::{self, ModelUsage, UsagePoint, UsageRequest};
use crate::ops::channel;
use crate::page::{self, Query};
use crate::sheet::{self, Sheet};
use crate::{Actor, AdminError, AdminState};
use domain::{ChannelId, Quota, UserId};
use serde::Serialize;
use std::collections::BTreeMap;
use store::{Row, StoreError};
use utoipa::ToSchema;

/// The most rows, those that cost most; of days there are as many as a series has steps.
pub const MAX_ROWS: i64 = 100;

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageGroup {
    /// A user, of everybody's usage.
    User,
    /// A key.
    Key,
    /// A channel, of everybody's usage.
    Channel,
    /// A model.
    Model,
    /// A day, in UTC.
    Day,
}

impl UsageGroup {
    /// What tells rows apart that have one name, or none any more: columns, with a row's cells.
    fn identity(self, row: &UsageRow) -> Vec<(&'static str, String)> {
        let number = |id: Option<i64>| id.map(|id| id.to_string()).unwrap_or_default();
        match self {
            Self::User => vec![("user_id", number(row.user_id.map(|id| id.0)))],
            Self::Key => vec![
                ("token_id", number(row.token_id)),
                ("username", row.username.clone().unwrap_or_default()),
            ],
            Self::Channel => vec![("channel_id", number(row.channel_id.map(|id| id.0)))],
            Self::Model | Self::Day => Vec::new(),
        }
    }
}

/// A table, as asked for.
#[derive(Clone, Debug)]
pub struct UsageTableRequest {
    /// Over what.
    pub usage: UsageRequest,
    /// By what.
    pub group: UsageGroup,
}

impl UsageTableRequest {
    /// Reads the filters of an address, and `per`: of one's own usage.
    ///
    /// # Errors
    /// When one of them means nothing.
    pub fn read(query: &Query) -> Result<Self, AdminError> {
        let group = match query.text("per") {
            None | Some("key") => UsageGroup::Key,
            Some("model") => UsageGroup::Model,
            Some("day") => UsageGroup::Day,
            Some(_) => {
                let en = "must be key, model or day";
                return Err(AdminError::field("per", "必须是 key, model 或 day", en));
            }
        };
        Ok(Self { usage: UsageRequest::read(query)?, group })
    }

    /// The same of everybody's.
    ///
    /// # Errors
    /// When one of them means nothing.
    pub fn of_all(query: &Query) -> Result<Self, AdminError> {
        let group = match query.text("per") {
            None | Some("user") => UsageGroup::User,
            Some("key") => UsageGroup::Key,
            Some("channel") => UsageGroup::Channel,
            Some("model") => UsageGroup::Model,
            Some("day") => UsageGroup::Day,
            Some(_) => {
                let zh = "必须是 user, key, channel, model 或 day";
                return Err(AdminError::field(
                    "per",
                    zh,
                    "must be user, key, channel, model or day",
                ));
            }
        };
        Ok(Self { usage: UsageRequest::read(query)?, group })
    }
}

/// What one user, key, channel, model or day used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsageRow {
    /// Number of the user, or of whose the key is; of users and keys alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Whose the key is; of keys alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Number of the channel; of channels alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
    /// Number of the key; of keys alone. 0: without one.
    pub token_id: Option<i64>,
    /// Name of the user, key, channel, model, or day like `2026-11-25`. A key or channel that is
    /// gone has none.
    pub name: String,
    /// Charged calls.
    pub calls: i64,
    /// What they cost, less what was taken back.
    pub spent: Quota,
    /// Tokens of prompts.
    pub prompt_tokens: i64,
    /// Tokens of completions.
    pub completion_tokens: i64,
}

/// Usage, what cost most first; days in order. At most 100 users, keys, channels or models.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UsageTable {
    /// The rows.
    pub rows: Vec<UsageRow>,
}

impl UsageTable {
    /// As CSV, below a line of names: what tells rows of this group apart comes last.
    ///
    /// # Errors
    /// Never in practice.
    pub fn csv(&self, group: UsageGroup) -> Result<Vec<u8>, AdminError> {
        let mut sheet = Sheet::new();
        let numbers = ["calls", "spent", "prompt_tokens", "completion_tokens"];
        let identity = group.identity(&UsageRow::default());
        let columns = identity.iter().map(|(column, _)| *column);
        sheet.row(["name"].into_iter().chain(numbers).chain(columns))?;
        for row in &self.rows {
            let numbers = [row.calls, row.spent.0, row.prompt_tokens, row.completion_tokens];
            let numbers = numbers.map(|number| number.to_string());
            let identity = group.identity(row).into_iter().map(|(_, cell)| cell);
            sheet.row(std::iter::once(row.name.clone()).chain(numbers).chain(identity))?;
        }
        sheet.text()
    }
}

/// Usage over the time of a series, or a longer one. `own`: the actor's alone.
///
/// # Errors
/// When the role does not reach, there would be too many days, or the database fails.
pub async fn table(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    request: &UsageTableRequest,
) -> Result<UsageTable, AdminError> {
    let usage = UsageRequest { top: MAX_ROWS, ..request.usage.clone() };
    let rows = match request.group {
        UsageGroup::User => users(state, actor, own, &usage).await?,
        UsageGroup::Key => keys(state, actor, own, &usage).await?,
        // Whoever they are: channels are not what users see.
        UsageGroup::Channel => channels(state, actor, &usage).await?,
        UsageGroup::Model => {
            let models = usage::models(state, actor, own, &usage).await?;
            models.into_iter().map(of_model).collect()
        }
        UsageGroup::Day => {
            let usage = UsageRequest { step: usage::Step::Day, ..usage };
            let series = usage::series(state, actor, own, &usage).await?;
            let used = series.points.iter().filter(|it| it.calls != 0 || it.spent.0 != 0);
            used.map(of_day).collect()
        }
    };
    Ok(UsageTable { rows })
}

fn of_model(model: ModelUsage) -> UsageRow {
    UsageRow {
        name: model.model_name,
        calls: model.calls,
        spent: model.spent,
        prompt_tokens: model.prompt_tokens,
        completion_tokens: model.completion_tokens,
        ..UsageRow::default()
    }
}

fn of_day(point: &UsagePoint) -> UsageRow {
    UsageRow {
        name: sheet::instant(point.time).chars().take(10).collect(),
        calls: point.calls,
        spent: point.spent,
        prompt_tokens: point.prompt_tokens,
        completion_tokens: point.completion_tokens,
        ..UsageRow::default()
    }
}

/// Those who cost most.
async fn users(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    request: &UsageRequest,
) -> Result<Vec<UsageRow>, AdminError> {
    let source = usage::owned_lines(state, actor, own, request).await?;
    let read = |row: &Row| Ok(UsageRow { user_id: Some(row.get("user_id")?), ..sums_of(row)? });
    let mut used = dearest(state, &source, "user_id", read).await?;
    let names = named(state, USERS, used.iter().filter_map(|row| Some(row.user_id?.0))).await?;
    for row in &mut used {
        row.name = row.user_id.and_then(|id| names.get(&id.0).cloned()).unwrap_or_default();
    }
    Ok(used)
}

/// The keys that cost most, and whose they are.
async fn keys(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    request: &UsageRequest,
) -> Result<Vec<UsageRow>, AdminError> {
    let source = usage::owned_lines(state, actor, own, request).await?;
    let read = |row: &Row| {
        let (user_id, token_id) = (Some(row.get("user_id")?), Some(row.get("token_id")?));
        Ok(UsageRow { user_id, token_id, ..sums_of(row)? })
    };
    let mut used = dearest(state, &source, "user_id, token_id", read).await?;
    let names = named(state, KEYS, used.iter().filter_map(|row| row.token_id)).await?;
    let owners = named(state, USERS, used.iter().filter_map(|row| Some(row.user_id?.0))).await?;
    for row in &mut used {
        row.name = row.token_id.and_then(|id| names.get(&id).cloned()).unwrap_or_default();
        row.username = row.user_id.and_then(|id| owners.get(&id.0).cloned());
    }
    Ok(used)
}

/// The channels that most was charged through.
async fn channels(
    state: &AdminState,
    actor: &Actor,
    request: &UsageRequest,
) -> Result<Vec<UsageRow>, AdminError> {
    let source = usage::lines_by_channel(state, actor, request).await?;
    let read =
        |row: &Row| Ok(UsageRow { channel_id: Some(row.get("channel_id")?), ..sums_of(row)? });
    let mut used = dearest(state, &source, "channel_id", read).await?;
    let names = channel::names(state, actor, used.iter().filter_map(|row| row.channel_id)).await?;
    for row in &mut used {
        row.name = row.channel_id.and_then(|id| names.get(&id).cloned()).unwrap_or_default();
    }
    Ok(used)
}

/// Those that cost most, by columns of the source.
async fn dearest(
    state: &AdminState,
    source: &Source,
    columns: &str,
    read: impl Fn(&Row) -> Result<UsageRow, StoreError>,
) -> Result<Vec<UsageRow>, AdminError> {
    let sql = usage::ranking(state, &source.table, columns, MAX_ROWS);
    let rows = state.db.search(&sql, &source.values).await?;
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// What a row adds up to.
fn sums_of(row: &Row) -> Result<UsageRow, StoreError> {
    Ok(UsageRow {
        calls: row.get("calls")?,
        spent: row.get("used_delta")?,
        prompt_tokens: row.get("prompt_tokens")?,
        completion_tokens: row.get("completion_tokens")?,
        ..UsageRow::default()
    })
}

const USERS: &str = "SELECT id, username AS name FROM users";
const KEYS: &str = "SELECT id, name FROM tokens";

/// The names of those that rows are of.
async fn named(
    state: &AdminState,
    select: &str,
    ids: impl Iterator<Item = i64>,
) -> Result<BTreeMap<i64, String>, AdminError> {
    let Some(list) = page::number_list(ids) else { return Ok(BTreeMap::new()) };
    let found = state.db.read(&format!("{select} WHERE id IN ({list})"), &[]).await?;
    let named = found.iter().map(|row| Ok((row.get("id")?, row.get("name")?)));
    Ok(named.collect::<Result<_, StoreError>>()?)
}
