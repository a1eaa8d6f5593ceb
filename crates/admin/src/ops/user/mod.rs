//! Users: owners of balances. A balance is moved, never set.

mod input;
mod write;

pub use input::UserInput;
pub(super) use input::{check_display_name, check_username};
pub(super) use write::rename_own;
pub use write::{
    MovementInput, change_many, create, delete, move_quota, refunded_charge, reversal,
    reverse_line, reversed_lines, set_status, update,
};

use crate::exact::Decimal;
use crate::ops::log::lately;
use crate::page::{self, Page, PageRequest, Query, Where};
use crate::{Actor, AdminError, AdminState, exact};
use domain::{Quota, UnixMs, UserId};
use ledger::SpendingView;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use store::sums::sum_of;
use store::{Row, StoreError};
use utoipa::ToSchema;

const COLUMNS: &str = "id, username, display_name, (password_hash IS NOT NULL) AS has_password, \
     (access_token_hash IS NOT NULL) AS has_access_token, role, status, \"group\", ratio, quota, \
     used_quota, request_count, language, created_at, updated_at, deleted_at";

/// Most users that are named at once: those of a page.
const MAX_NAMES: usize = 200;

fn columns() -> String {
    format!("{COLUMNS}, {}", SpendingView::COLUMNS)
}

/// A user as answers show them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UserView {
    /// Number of the user.
    pub id: UserId,
    /// Name to log in with.
    pub username: String,
    /// Name to show.
    pub display_name: String,
    /// Whether there is a password.
    pub has_password: bool,
    /// Whether there is an access token for `/api`.
    pub has_access_token: bool,
    /// 1 user, 10 admin, 100 root.
    pub role: i64,
    /// 1 enabled, 2 disabled.
    pub status: i64,
    /// Group of the user.
    pub group: String,
    /// Factor on every price of this user.
    #[schema(value_type = Decimal)]
    pub ratio: Box<RawValue>,
    /// What the user can still spend.
    pub quota: Quota,
    /// What is held for open calls and unfinished tasks: it is not in `quota`, and what of it is
    /// not charged goes back there. Lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Quota>,
    /// What of it is held for unfinished tasks. Lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_for_tasks: Option<Quota>,
    /// What the user has spent.
    pub used_quota: Quota,
    /// What of it in the last 30 days, today included: of whole days in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_30d: Option<Quota>,
    /// Paid calls settled.
    pub request_count: i64,
    /// Limits on what is spent.
    #[serde(flatten)]
    pub spending: SpendingView,
    /// In which the console shows pages: `zh`, `en`; `null`: the browser's.
    pub language: Option<String>,
    /// When the user was made, in seconds since 1970.
    pub created_at: i64,
    /// When the user was last edited.
    pub updated_at: i64,
    /// When the user was deleted; `null`: they are there. The balance is kept.
    pub deleted_at: Option<i64>,
}

fn view(row: &Row, now: UnixMs) -> Result<UserView, StoreError> {
    Ok(UserView {
        id: row.get("id")?,
        username: row.get("username")?,
        display_name: row.get("display_name")?,
        has_password: row.get("has_password")?,
        has_access_token: row.get("has_access_token")?,
        role: row.get("role")?,
        status: row.get("status")?,
        group: row.get("group")?,
        ratio: exact::decimal(row, "ratio")?,
        quota: row.get("quota")?,
        held: None,
        held_for_tasks: None,
        used_quota: row.get("used_quota")?,
        used_30d: None,
        request_count: row.get("request_count")?,
        spending: SpendingView::read(row, now)?,
        language: row.get("language")?,
        created_at: exact::seconds(row.get("created_at")?),
        updated_at: exact::seconds(row.get("updated_at")?),
        deleted_at: row.get::<Option<UnixMs>>("deleted_at")?.map(exact::seconds),
    })
}

/// What users are sorted by: words, and their columns.
const SORTED: &[(&str, &str)] = &[
    ("username", "username"),
    ("quota", "quota"),
    ("used_quota", "used_quota"),
    ("request_count", "request_count"),
];

/// A page of the users that the filters `keyword`, `group`, `role` and `status` name, sorted by
/// `sort` and `order`: of those who are there or, with `deleted`, who were deleted.
///
/// # Errors
/// When a filter can't be read, or the database fails.
pub async fn list(
    state: &AdminState,
    query: &Query,
    page: PageRequest,
) -> Result<Page<UserView>, AdminError> {
    let mut page = rows(state, query, page).await?;
    let ids: Vec<UserId> = page.items.iter().map(|user| user.id).collect();
    let spent = lately::of_users(state, &ids).await?;
    for user in &mut page.items {
        user.used_30d = Some(spent.get(&user.id).copied().unwrap_or_default());
    }
    Ok(page)
}

/// The same without what they spent lately, which is dear: for those who show names alone.
///
/// # Errors
/// When a filter can't be read, or the database fails.
pub async fn rows(
    state: &AdminState,
    query: &Query,
    page: PageRequest,
) -> Result<Page<UserView>, AdminError> {
    let mut conditions = Where::default();
    conditions.fixed(match query.text("deleted") {
        None | Some("0" | "false") => "deleted_at IS NULL",
        Some("1" | "true") => "deleted_at IS NOT NULL",
        Some(_) => {
            return Err(AdminError::field(
                "deleted",
                "必须是 true 或 false",
                "must be true or false",
            ));
        }
    });
    if let Some(keyword) = query.text("keyword") {
        let pattern = page::anywhere(&keyword.to_lowercase());
        let by_words =
            r"lower(username) LIKE ? ESCAPE '\' OR lower(display_name) LIKE ? ESCAPE '\'";
        match keyword.parse::<i64>() {
            Ok(id) => conditions.with(&format!("({by_words} OR id = {id})"), pattern),
            Err(_) => conditions.with(&format!("({by_words})"), pattern),
        }
    }
    conditions.with_some("username = ?", query.text("username"));
    conditions.with_some("\"group\" = ?", query.text("group"));
    conditions.with_some("role = ?", query.number::<i64>("role")?);
    conditions.with_some("status = ?", query.number::<i64>("status")?);
    let now = state.clock.now();
    let read = |row: &Row| view(row, now);
    let order = page::order(query, SORTED)?;
    conditions.page(&state.db, (&columns(), "users", &order), page, read).await
}

/// One user who is there.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn get(state: &AdminState, id: UserId) -> Result<UserView, AdminError> {
    let user = kept(state, id).await?;
    if user.deleted_at.is_some() { Err(not_found()) } else { Ok(user) }
}

/// One user, also one who was deleted: their balance and their journal are kept.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn kept(state: &AdminState, id: UserId) -> Result<UserView, AdminError> {
    // One statement, so that balance and holds are of one moment.
    let sql = format!(
        "SELECT {}, (SELECT CAST(coalesce(sum(amount), 0) AS BIGINT) FROM holds
             WHERE user_id = $1) AS held,
             (SELECT CAST(coalesce(sum(amount), 0) AS BIGINT) FROM holds
             WHERE user_id = $1 AND for_task) AS held_for_tasks
         FROM users WHERE id = $1",
        columns()
    );
    let rows = state.db.read(&sql, &[id.into()]).await?;
    let row = rows.first().ok_or_else(not_found)?;
    let (held, held_for_tasks) = (Some(row.get("held")?), Some(row.get("held_for_tasks")?));
    Ok(UserView { held, held_for_tasks, ..view(row, state.clock.now())? })
}

/// The names of these users, deleted ones too, by their numbers.
///
/// # Errors
/// When the role does not reach, or the database fails.
pub async fn names(
    state: &AdminState,
    actor: &Actor,
    ids: impl IntoIterator<Item = UserId>,
) -> Result<BTreeMap<UserId, String>, AdminError> {
    actor.require_admin()?;
    let Some(list) = sql_list(ids) else { return Ok(BTreeMap::new()) };
    let sql = format!("SELECT id, username FROM users WHERE id IN ({list})");
    let rows = state.db.read(&sql, &[]).await?;
    let named = rows.iter().map(|row| Ok((row.get("id")?, row.get("username")?)));
    Ok(named.collect::<Result<_, StoreError>>()?)
}

/// What is held for open calls and unfinished tasks of these users; nothing of those who have none.
///
/// # Errors
/// When the role does not reach, or the database fails.
pub async fn held(
    state: &AdminState,
    actor: &Actor,
    ids: impl IntoIterator<Item = UserId>,
) -> Result<BTreeMap<UserId, Quota>, AdminError> {
    actor.require_admin()?;
    let Some(list) = sql_list(ids) else { return Ok(BTreeMap::new()) };
    let held = sum_of(state.db.engine(), "amount");
    let sql = format!(
        "SELECT user_id, {held} AS held FROM holds WHERE user_id IN ({list}) GROUP BY user_id"
    );
    let rows = state.db.read(&sql, &[]).await?;
    let held = rows.iter().map(|row| Ok((row.get("user_id")?, row.get("held")?)));
    Ok(held.collect::<Result<_, StoreError>>()?)
}

/// A user whose things the actor may change: themselves and, for administrators, those of a lower
/// role.
///
/// # Errors
/// When there is no such user, the role doesn't reach, or the database fails.
pub async fn reached(
    state: &AdminState,
    actor: &Actor,
    id: UserId,
) -> Result<UserView, AdminError> {
    if actor.user_id != id {
        actor.require_admin()?;
    }
    let user = get(state, id).await?;
    if actor.user_id != id {
        actor.require_above(user.role)?;
    }
    Ok(user)
}

/// Refuses to change what belongs to another user whose role the actor's doesn't reach: their keys,
/// webhooks and tasks. Those of a deleted user are reached as well, to be looked at and ended:
/// [`require_there`] is asked where more is done with them.
///
/// # Errors
/// When the role doesn't reach, or the database fails.
pub async fn require_reach(
    state: &AdminState,
    actor: &Actor,
    owner: UserId,
) -> Result<(), AdminError> {
    if actor.user_id == owner {
        return Ok(());
    }
    actor.require_admin()?;
    let rows = state.db.read("SELECT role FROM users WHERE id = $1", &[owner.into()]).await?;
    match rows.first() {
        Some(row) => actor.require_above(row.get("role")?),
        None => Ok(()),
    }
}

/// Refuses what is of no use to an owner who was deleted: a new secret of theirs, and to enable
/// what is theirs.
///
/// # Errors
/// When the owner was deleted, or the database fails.
pub async fn require_there(state: &AdminState, owner: UserId) -> Result<(), AdminError> {
    if deleted(state, [owner]).await?.is_empty() {
        return Ok(());
    }
    Err(AdminError::conflict(
        "其用户已删除: 只能禁用或删除",
        "its user was deleted: it can only be disabled or deleted",
    ))
}

/// Those of these users who were deleted.
///
/// # Errors
/// When the database fails.
pub async fn deleted(
    state: &AdminState,
    ids: impl IntoIterator<Item = UserId>,
) -> Result<BTreeSet<UserId>, AdminError> {
    let Some(list) = sql_list(ids) else { return Ok(BTreeSet::new()) };
    let sql = format!("SELECT id FROM users WHERE id IN ({list}) AND deleted_at IS NOT NULL");
    let rows = state.db.read(&sql, &[]).await?;
    Ok(rows.iter().map(|row| row.get("id")).collect::<Result<_, StoreError>>()?)
}

/// Those of these owners whose things the actor may not change, as [`require_reach`] says it:
/// deleted owners are reached as others are.
///
/// # Errors
/// When the database fails.
pub async fn out_of_reach(
    state: &AdminState,
    actor: &Actor,
    owners: impl IntoIterator<Item = UserId>,
) -> Result<BTreeSet<UserId>, AdminError> {
    let others = owners.into_iter().filter(|owner| *owner != actor.user_id);
    let Some(list) = sql_list(others) else { return Ok(BTreeSet::new()) };
    let sql = format!("SELECT id, role FROM users WHERE id IN ({list})");
    let mut beyond = BTreeSet::new();
    for row in state.db.read(&sql, &[]).await? {
        let is_reached = actor.is_admin() && actor.require_above(row.get("role")?).is_ok();
        if !is_reached {
            beyond.insert(row.get("id")?);
        }
    }
    Ok(beyond)
}

/// The user of this name, or of this number.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn find(state: &AdminState, name_or_id: &str) -> Result<UserView, AdminError> {
    let sql = format!("SELECT {} FROM users WHERE username = $1 AND deleted_at IS NULL", columns());
    let rows = state.db.read(&sql, &[name_or_id.into()]).await?;
    match (rows.first(), name_or_id.parse()) {
        (Some(row), _) => Ok(view(row, state.clock.now())?),
        (None, Ok(id)) => get(state, UserId(id)).await,
        (None, Err(_)) => Err(not_found()),
    }
}

fn not_found() -> AdminError {
    AdminError::not_found("用户", "user")
}

/// These users, as a statement lists them; `None` where there are none.
fn sql_list(ids: impl IntoIterator<Item = UserId>) -> Option<String> {
    page::number_list(ids.into_iter().map(|id| id.0).take(MAX_NAMES))
}
