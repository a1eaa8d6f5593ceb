//! The log: the journal of money, and who did what.

mod actions;
pub mod balance;
pub mod export;
mod filter;
pub(super) mod lately;
mod ranges;
pub mod statement;
mod sums;
pub mod usage;
pub mod usage_table;

pub use actions::{ACTION_KINDS, ActionFilter};
pub(super) use filter::read_time;
pub use filter::{LogFilter, SPENT};
pub use lately::month_days;

use crate::page::{Page, PageRequest};
use crate::{Actor, AdminError, AdminState, exact};
use domain::DAY_MS;
use domain::{ChannelId, KeyId, Quota, UserId};
use ranges::IdRanges;
use serde::Serialize;
use serde_json::value::RawValue;
use store::{Row, StoreError};
use sums::Source;
use utoipa::ToSchema;
use uuid::Uuid;

pub(super) const COLUMNS: &str = "id, user_id, username, created_at, type, model_name, quota, \
     prompt_tokens, completion_tokens, channel_id, token_id, request_id, use_time_ms, content, \
     other, delta, used_delta, hold_id, held, reference";
/// How many lines are looked at to say how many there are, where no index leads to them.
const MAX_COUNTED_AMONG: i64 = 50_000;
/// The longest time that is summed up at once.
pub const MAX_SUM_DAYS: i64 = 31;
/// A line of the log as answers show it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LogView {
    /// Number of the line.
    pub id: i64,
    /// Whose balance, or who acted.
    pub user_id: UserId,
    /// Their name at the time.
    pub username: String,
    /// When, in seconds since 1970.
    pub created_at: i64,
    /// `topup`, `precharge`, `consume`, `refund`, `adjust`, `manage`, `system`, `error`.
    pub r#type: String,
    /// Model asked for.
    pub model_name: String,
    /// The amount the line is about.
    pub quota: Quota,
    /// Tokens of the prompt.
    pub prompt_tokens: i64,
    /// Tokens of the completion.
    pub completion_tokens: i64,
    /// Channel used; not shown to users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
    /// Key used.
    pub token_id: Option<KeyId>,
    /// `X-Request-Id` of the call.
    pub request_id: String,
    /// How long the call took.
    pub use_time_ms: i64,
    /// In words.
    pub content: String,
    /// Details: price, usage, reason.
    #[schema(value_type = Option<Object>)]
    pub other: Box<RawValue>,
    /// Effect on the balance.
    pub delta: Quota,
    /// Effect on what the user has spent.
    pub used_delta: Quota,
    /// Hold the line belongs to.
    pub hold_id: Option<Uuid>,
    /// What was held for the call or task.
    pub held: Option<Quota>,
    /// Name of the movement.
    pub reference: Option<String>,
}

/// Sums over lines of one type.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TypeSum {
    /// The type.
    pub r#type: String,
    /// How many lines.
    pub count: i64,
    /// Sum of their amounts.
    pub quota: Quota,
    /// Sum of their effects on balances.
    pub delta: Quota,
    /// Sum of tokens of prompts.
    pub prompt_tokens: i64,
    /// Sum of tokens of completions.
    pub completion_tokens: i64,
}

/// What the lines of a time add up to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Statistics {
    /// Consumed.
    pub quota: Quota,
    /// From when, in seconds since 1970.
    pub start_time: i64,
    /// Until when.
    pub end_time: i64,
    /// The sums, one a type.
    pub by_type: Vec<TypeSum>,
}

pub(super) fn view(row: &Row) -> Result<LogView, StoreError> {
    Ok(LogView {
        id: row.get("id")?,
        user_id: row.get("user_id")?,
        username: row.get("username")?,
        created_at: exact::seconds(row.get("created_at")?),
        r#type: row.get("type")?,
        model_name: row.get("model_name")?,
        quota: row.get("quota")?,
        prompt_tokens: row.get("prompt_tokens")?,
        completion_tokens: row.get("completion_tokens")?,
        channel_id: row.get("channel_id")?,
        token_id: row.get("token_id")?,
        request_id: row.get("request_id")?,
        use_time_ms: row.get("use_time_ms")?,
        content: row.get("content")?,
        other: row
            .get::<Option<String>>("other")?
            .map_or_else(|| RawValue::NULL.to_owned(), exact::json),
        delta: row.get("delta")?,
        used_delta: row.get("used_delta")?,
        hold_id: row.get("hold_id")?,
        held: row.get("held")?,
        reference: row.get("reference")?,
    })
}

/// A page of the lines that `filter` names, newest first. `own`: the actor's own lines alone.
///
/// # Errors
/// When the role doesn't reach, or the database fails.
pub async fn list(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    filter: &LogFilter,
    page: PageRequest,
) -> Result<Page<LogView>, AdminError> {
    let scope = scope(actor, own)?;
    let filter = filter.clone().with_owner(&state.db).await?;
    let mut conditions = filter.conditions(scope);
    // Newest first by number: on both engines the primary key runs backwards, without a sort.
    let lines = (COLUMNS, filter.table(scope), "id DESC");
    let mut page = match IdRanges::of(&state.db, &filter, scope, page).await? {
        Some(ranges) => {
            let items = match ranges.part(page) {
                Some(part) => {
                    part.narrow(&mut conditions);
                    let reach = (part.limit(page.size), part.offset);
                    conditions.some(&state.db, lines, reach, view).await?
                }
                None => Vec::new(),
            };
            Page { items, total: ranges.total, page: page.page, page_size: page.size }
        }
        None => {
            if scope.is_none() && !filter.is_narrow() {
                conditions.count_among(MAX_COUNTED_AMONG);
            }
            conditions.page(&state.db, lines, page, view).await?
        }
    };
    if !actor.is_admin() {
        for line in &mut page.items {
            line.channel_id = None;
        }
    }
    Ok(page)
}

pub(super) fn scope(actor: &Actor, own: bool) -> Result<Option<UserId>, AdminError> {
    if own {
        return Ok(Some(actor.user_id));
    }
    actor.require_admin()?;
    Ok(None)
}

/// What the lines that `filter` names add up to, by type: of the last day, or of the time named,
/// at most 31 days.
///
/// # Errors
/// When the role doesn't reach, or the database fails.
pub async fn statistics(
    state: &AdminState,
    actor: &Actor,
    own: bool,
    filter: &LogFilter,
) -> Result<Statistics, AdminError> {
    let scope = scope(actor, own)?;
    let now = state.clock.now();
    let end_at = filter.end_at.unwrap_or_else(|| now.plus_ms(1));
    let start_at = filter.start_at.unwrap_or_else(|| end_at.plus_ms(-DAY_MS));
    if end_at.since_ms(start_at) > MAX_SUM_DAYS * DAY_MS {
        return Err(AdminError::field(
            "start_time",
            format!("统计范围最多 {MAX_SUM_DAYS} 天"),
            format!("sums go over at most {MAX_SUM_DAYS} days"),
        ));
    }
    filter.check_name(&state.db, scope).await?;
    let filter = filter.clone().with_owner(&state.db).await?;
    // No line is later than now, so that the present hour or day needs no end.
    let Source { table, values } = sums::source(
        &state.db,
        &filter,
        scope,
        (start_at, Some(end_at).filter(|end_at| *end_at <= now)),
    )
    .await?;
    let columns = sums::columns(&state.db);
    let sql = format!(
        "SELECT type, {columns} FROM {table} GROUP BY type HAVING sum(lines) > 0 ORDER BY type"
    );
    let rows = state.db.search(&sql, &values).await?;
    let by_type: Vec<TypeSum> = rows.iter().map(sum).collect::<Result<_, StoreError>>()?;
    let consumed = by_type.iter().find(|sum| sum.r#type == "consume");
    Ok(Statistics {
        quota: consumed.map_or(Quota::ZERO, |sum| sum.quota),
        start_time: exact::seconds(start_at),
        end_time: exact::seconds(end_at),
        by_type,
    })
}

fn sum(row: &Row) -> Result<TypeSum, StoreError> {
    Ok(TypeSum {
        r#type: row.get("type")?,
        count: row.get("lines")?,
        quota: row.get("quota")?,
        delta: row.get("delta")?,
        prompt_tokens: row.get("prompt_tokens")?,
        completion_tokens: row.get("completion_tokens")?,
    })
}
