//! One's own usage as a table: by key, by model or by day.

use super::sums;
use super::usage::{self, ModelUsage, UsageRequest};
use crate::page::Query;
use crate::sheet::{self, Sheet};
use crate::{Actor, AdminError, AdminState};
use domain::Quota;
use serde::Serialize;
use std::collections::BTreeMap;
use store::StoreError;
use utoipa::ToSchema;

/// The most rows; a series has fewer days.
const MAX_ROWS: i64 = 100;

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageGroup {
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
    /// Reads the filters of an address, and `per`.
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
}

/// What one key, model or day used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsageRow {
    /// Number of the key; of keys alone. 0: without one.
    pub token_id: Option<i64>,
    /// Name of the key, model, or day like `2026-11-25`. A key that is gone has none.
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

/// One's own usage, what cost most first; days in order. At most 100 keys or models.
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

/// The actor's own usage, over the time of a series.
///
/// # Errors
/// When there would be too many days, or the database fails.
pub async fn own(
    state: &AdminState,
    actor: &Actor,
    request: &UsageTableRequest,
) -> Result<UsageTable, AdminError> {
    let usage = UsageRequest { top: MAX_ROWS, ..request.usage.clone() };
    let rows = match request.group {
        UsageGroup::Key => keys(state, actor, &usage).await?,
        UsageGroup::Model => {
            let models = usage::models(state, actor, true, &usage).await?;
            models.into_iter().map(of_model).collect()
        }
        UsageGroup::Day => {
            let usage = UsageRequest { step: usage::Step::Day, ..usage };
            let series = usage::series(state, actor, true, &usage).await?;
            let used = series.points.iter().filter(|it| it.calls != 0 || it.spent.0 != 0);
            used.map(|point| UsageRow {
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
        token_id: None,
        name: model.model_name,
        calls: model.calls,
        spent: model.spent,
        prompt_tokens: model.prompt_tokens,
        completion_tokens: model.completion_tokens,
    }
}

async fn keys(
    state: &AdminState,
    actor: &Actor,
    request: &UsageRequest,
) -> Result<Vec<UsageRow>, AdminError> {
    let source = usage::own_lines(state, actor, request).await?;
    let columns = sums::columns(&state.db);
    let sql = format!(
        "SELECT token_id, {columns} FROM {} GROUP BY token_id HAVING sum(charging) > 0
         ORDER BY used_delta DESC, token_id LIMIT {MAX_ROWS}",
        source.table
    );
    let rows = state.db.search(&sql, &source.values).await?;
    let sql = "SELECT id, name FROM tokens WHERE user_id = $1";
    let named = state.db.read(sql, &[actor.user_id.into()]).await?;
    let named = named.iter().map(|row| Ok((row.get::<i64>("id")?, row.get("name")?)));
    let named: BTreeMap<i64, String> = named.collect::<Result<_, StoreError>>()?;
    let used = rows.iter().map(|row| {
        let id: i64 = row.get("token_id")?;
        Ok(UsageRow {
            token_id: Some(id),
            name: named.get(&id).cloned().unwrap_or_default(),
            calls: row.get("charging")?,
            spent: row.get("used_delta")?,
            prompt_tokens: row.get("prompt_tokens")?,
            completion_tokens: row.get("completion_tokens")?,
        })
    });
    Ok(used.collect::<Result<_, StoreError>>()?)
}
