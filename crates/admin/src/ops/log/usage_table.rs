//! Usage as a table: by user, by key, by model or by day.

use super::usage::{self, ModelUsage, UsageRequest};
use crate::page::Query;
use crate::sheet::{self, Sheet};
use crate::{Actor, AdminError, AdminState};
use domain::{Quota, UserId};
use serde::Serialize;
use std::collections::BTreeMap;
use store::{Row, StoreError};
use utoipa::ToSchema;

/// The most rows, those that cost most; a series has fewer days.
pub const MAX_ROWS: i64 = 100;

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageGroup {
    /// A user, of everybody's usage.
    User,
    /// A key.
    Key,
    /// A model.
    Model,
    /// A day, in UTC.
    Day,
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
            Some("model") => UsageGroup::Model,
            Some("day") => UsageGroup::Day,
            Some(_) => {
                let en = "must be user, key, model or day";
                return Err(AdminError::field("per", "必须是 user, key, model 或 day", en));
            }
        };
        Ok(Self { usage: UsageRequest::read(query)?, group })
    }
}

/// What one user, key, model or day used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsageRow {
    /// Number of the user; of users alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Number of the key; of keys alone. 0: without one.
    pub token_id: Option<i64>,
    /// Name of the user, key, model, or day like `2026-11-25`. A key that is gone has none.
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

/// Usage, what cost most first; days in order. At most 100 users, keys or models.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UsageTable {
    /// The rows.
    pub rows: Vec<UsageRow>,
}

impl UsageTable {
    /// As CSV, below a line of names.
    ///
    /// # Errors
    /// Never in practice.
    pub fn csv(&self) -> Result<Vec<u8>, AdminError> {
        let mut sheet = Sheet::new();
        sheet.row(["name", "calls", "spent", "prompt_tokens", "completion_tokens"])?;
        for row in &self.rows {
            let numbers = [row.calls, row.spent.0, row.prompt_tokens, row.completion_tokens];
            let numbers = numbers.map(|number| number.to_string());
            sheet.row(std::iter::once(&row.name).chain(&numbers))?;
        }
        sheet.text()
    }
}

/// Usage over the time of a series. `own`: the actor's alone.
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
        UsageGroup::User => dearest(state, actor, (own, USERS), &usage).await?,
        UsageGroup::Key => dearest(state, actor, (own, KEYS), &usage).await?,
        UsageGroup::Model => {
            let models = usage::models(state, actor, own, &usage).await?;
            models.into_iter().map(of_model).collect()
        }
        UsageGroup::Day => {
            let usage = UsageRequest { step: usage::Step::Day, ..usage };
            let series = usage::series(state, actor, own, &usage).await?;
            let used = series.points.iter().filter(|it| it.calls != 0 || it.spent.0 != 0);
            used.map(|point| UsageRow {
                user_id: None,
                token_id: None,
                name: sheet::instant(point.time).chars().take(10).collect(),
                calls: point.calls,
                spent: point.spent,
                prompt_tokens: point.prompt_tokens,
                completion_tokens: point.completion_tokens,
            })
            .collect()
        }
    };
    Ok(UsageTable { rows })
}

fn of_model(model: ModelUsage) -> UsageRow {
    UsageRow {
        user_id: None,
        token_id: None,
        name: model.model_name,
        calls: model.calls,
        spent: model.spent,
        prompt_tokens: model.prompt_tokens,
        completion_tokens: model.completion_tokens,
    }
}

/// Whose usage the rows of a table are: a column of the journal's sums, and where their names are.
struct RowOwner {
    column: &'static str,
    names: &'static str,
    set_id: fn(&mut UsageRow, i64),
}

const USERS: RowOwner = RowOwner {
    column: "user_id",
    names: "SELECT id, username AS name FROM users",
    set_id: |row, id| row.user_id = Some(UserId(id)),
};
const KEYS: RowOwner = RowOwner {
    column: "token_id",
    names: "SELECT id, name FROM tokens",
    set_id: |row, id| row.token_id = Some(id),
};

/// Those that cost most.
async fn dearest(
    state: &AdminState,
    actor: &Actor,
    (own, owner): (bool, RowOwner),
    request: &UsageRequest,
) -> Result<Vec<UsageRow>, AdminError> {
    let source = usage::owned_lines(state, actor, own, request).await?;
    let sql = usage::ranking(state, &source.table, owner.column, MAX_ROWS);
    let rows = state.db.search(&sql, &source.values).await?;
    let ids = rows.iter().map(|row| row.get(owner.column));
    let ids = ids.collect::<Result<Vec<i64>, StoreError>>()?;
    let names = named(state, owner.names, &ids).await?;
    let mut used = Vec::with_capacity(rows.len());
    for (row, id) in rows.iter().zip(ids) {
        let mut row = sums_of(row)?;
        row.name = names.get(&id).cloned().unwrap_or_default();
        (owner.set_id)(&mut row, id);
        used.push(row);
    }
    Ok(used)
}

/// What a row adds up to.
fn sums_of(row: &Row) -> Result<UsageRow, StoreError> {
    Ok(UsageRow {
        user_id: None,
        token_id: None,
        name: String::new(),
        calls: row.get("calls")?,
        spent: row.get("used_delta")?,
        prompt_tokens: row.get("prompt_tokens")?,
        completion_tokens: row.get("completion_tokens")?,
    })
}

/// The names of those that rows are of.
async fn named(
    state: &AdminState,
    select: &str,
    ids: &[i64],
) -> Result<BTreeMap<i64, String>, AdminError> {
    // Numbers: they can't be anything but digits.
    let list = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    if list.is_empty() {
        return Ok(BTreeMap::new());
    }
    let found = state.db.read(&format!("{select} WHERE id IN ({list})"), &[]).await?;
    let named = found.iter().map(|row| Ok((row.get("id")?, row.get("name")?)));
    Ok(named.collect::<Result<_, StoreError>>()?)
}
