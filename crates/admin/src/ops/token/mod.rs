//! Keys (`sk-…`), which the API calls tokens. A key is shown once, when it is made; what is kept
//! is its hash, and the key itself encrypted for asking upstreams about tasks.

mod input;
mod rotate;
mod write;

pub use input::TokenInput;
pub use rotate::{
    GRACE_SECONDS, MAX_GRACE_SECONDS, end_old_key, end_old_key_seen, read_grace, rotate,
    rotate_seen,
};
pub use write::{Created, change_many, create, delete, set_status, update};

use crate::page::{self, Page, PageRequest, Query, Where};
use crate::{Actor, AdminError, AdminState, exact};
use domain::{KeyId, Quota, UnixMs, UserId};
use ledger::SpendingView;
use serde::Serialize;
use std::collections::BTreeMap;
use store::{Row, StoreError};
use utoipa::ToSchema;

const COLUMNS: &str = "id, user_id, name, key_hint, status, remain_quota, unlimited_quota, \
     used_quota, \"group\", models, allow_ips, rate_limit_rpm, rate_limit_tpm, expired_at, \
     created_at, updated_at, last_used_at, rotated_at, old_key_hint, old_key_ends_at, \
     old_key_used_at, key_hash";

/// Most keys that are named at once: more than a page has.
const MAX_NAMES: usize = 200;
/// Most users whose keys are counted at once: those of a page.
const MAX_USERS: usize = 100;

fn columns() -> String {
    format!("{COLUMNS}, {}", SpendingView::COLUMNS)
}

/// A key as answers show it: never the key itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TokenView {
    /// Number of the key.
    pub id: KeyId,
    /// Owner.
    pub user_id: UserId,
    /// Name the owner gave it.
    pub name: String,
    /// Its first and last characters.
    pub key_hint: String,
    /// 1 enabled, 2 disabled.
    pub status: i64,
    /// What this key may still spend; without meaning when unlimited.
    pub remain_quota: Quota,
    /// Only the balance of the user limits this key.
    pub unlimited_quota: bool,
    /// What this key has spent.
    pub used_quota: Quota,
    /// Group to price and route by; `null`: the group of the user.
    pub group: Option<String>,
    /// Models it may call; empty: all.
    pub models: Vec<String>,
    /// Addresses and networks it may be used from; empty: all.
    pub allow_ips: Vec<String>,
    /// Requests a minute; `null`: no limit of its own.
    pub rate_limit_rpm: Option<i64>,
    /// Tokens a minute; `null`: no limit.
    pub rate_limit_tpm: Option<i64>,
    /// Limits on what it spends.
    #[serde(flatten)]
    pub spending: SpendingView,
    /// When it ends, in seconds since 1970; -1: never.
    pub expired_time: i64,
    /// When it was made.
    pub created_at: i64,
    /// When it was last edited.
    pub updated_at: i64,
    /// When it was last used, to a minute; `null`: never.
    pub last_used_at: Option<i64>,
    /// When it was last given a new secret, in seconds since 1970; `null`: never.
    pub rotated_at: Option<i64>,
    /// First and last characters of the secret before, while that is good, too; `null`: none is.
    pub old_key_hint: Option<String>,
    /// Until when the secret before is good, in seconds since 1970; `null`: none is.
    pub old_key_ends_at: Option<i64>,
    /// When the secret before was last used since it was replaced, to a minute; `null`: not since.
    pub old_key_used_at: Option<i64>,
    /// Which secret was seen: a rotation replaces no other. Answers leave it out.
    #[serde(skip)]
    key_hash: Vec<u8>,
}

fn view(row: &Row, now: UnixMs) -> Result<TokenView, StoreError> {
    let ends: Option<UnixMs> = row.get("expired_at")?;
    let old_ends: Option<UnixMs> = row.get("old_key_ends_at")?;
    let old_ends = old_ends.filter(|ends| *ends > now);
    let old_used: Option<UnixMs> = row.get("old_key_used_at")?;
    Ok(TokenView {
        id: row.get("id")?,
        user_id: row.get("user_id")?,
        name: row.get("name")?,
        key_hint: row.get("key_hint")?,
        status: row.get("status")?,
        remain_quota: row.get("remain_quota")?,
        unlimited_quota: row.get("unlimited_quota")?,
        used_quota: row.get("used_quota")?,
        group: row.get("group")?,
        models: items(&row.get::<String>("models")?),
        allow_ips: items(&row.get::<String>("allow_ips")?),
        rate_limit_rpm: row.get("rate_limit_rpm")?,
        rate_limit_tpm: row.get("rate_limit_tpm")?,
        spending: SpendingView::read(row, now)?,
        expired_time: ends.map_or(-1, exact::seconds),
        created_at: exact::seconds(row.get("created_at")?),
        updated_at: exact::seconds(row.get("updated_at")?),
        last_used_at: row.get::<Option<UnixMs>>("last_used_at")?.map(exact::seconds),
        rotated_at: row.get::<Option<UnixMs>>("rotated_at")?.map(exact::seconds),
        old_key_hint: old_ends.map(|_| row.get("old_key_hint")).transpose()?,
        old_key_ends_at: old_ends.map(exact::seconds),
        old_key_used_at: old_ends.and(old_used).map(exact::seconds),
        key_hash: row.get("key_hash")?,
    })
}

fn items(text: &str) -> Vec<String> {
    let items = text.split([',', '\n']).map(str::trim);
    items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// What keys are sorted by: words, and their columns.
const SORTED: &[(&str, &str)] = &[
    ("name", "name"),
    ("status", "status"),
    ("used_quota", "used_quota"),
    ("remain_quota", "remain_quota"),
    ("created_at", "created_at"),
    ("last_used_at", "last_used_at"),
];

/// A page of keys: an administrator's filters `user_id` and `username` name whose, users see their
/// own. Filters `keyword` (in the name) and `status`; sorted by `sort` and `order`.
///
/// # Errors
/// When a filter can't be read, or the database fails.
pub async fn list(
    state: &AdminState,
    actor: &Actor,
    query: &Query,
    page: PageRequest,
) -> Result<Page<TokenView>, AdminError> {
    let mut conditions = Where::default();
    let asked = query.number::<i64>("user_id")?.map(UserId);
    match asked {
        Some(user_id) if !actor.owns(user_id) => {
            return Err(AdminError::forbidden("只能查看自己的令牌", "these are not your keys"));
        }
        Some(user_id) => conditions.with("user_id = ?", user_id),
        None if actor.is_admin() => {
            let by_name = "user_id = (SELECT id FROM users WHERE users.username = ?)";
            conditions.with_some(by_name, query.text("username"));
        }
        None => conditions.with("user_id = ?", actor.user_id),
    }
    let keyword = query.text("keyword").map(|word| page::anywhere(&word.to_lowercase()));
    conditions.with_some(r"lower(name) LIKE ? ESCAPE '\'", keyword);
    conditions.with_some("status = ?", query.number::<i64>("status")?);
    let now = state.clock.now();
    let read = |row: &Row| view(row, now);
    let order = page::order(query, SORTED)?;
    conditions.page(&state.db, (&columns(), "tokens", &order), page, read).await
}

/// The keys of a user together.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeysOfUser {
    /// How many there are.
    pub keys: i64,
    /// When one was last used, in seconds since 1970.
    pub last_used_at: Option<i64>,
}

/// The keys of these users; nothing of those who have none.
///
/// # Errors
/// When the role does not reach, or the database fails.
pub async fn of_users(
    state: &AdminState,
    actor: &Actor,
    ids: impl IntoIterator<Item = UserId>,
) -> Result<BTreeMap<UserId, KeysOfUser>, AdminError> {
    actor.require_admin()?;
    let ids = ids.into_iter().take(MAX_USERS).map(|id| id.0);
    let Some(list) = page::number_list(ids) else { return Ok(BTreeMap::new()) };
    let sql = format!(
        "SELECT user_id, count(*) AS keys, max(last_used_at) AS last_used_at FROM tokens \
         WHERE user_id IN ({list}) GROUP BY user_id"
    );
    let rows = state.db.read(&sql, &[]).await?;
    let keys = rows.iter().map(|row| {
        let last_used_at: Option<UnixMs> = row.get("last_used_at")?;
        let last_used_at = last_used_at.map(exact::seconds);
        Ok((row.get("user_id")?, KeysOfUser { keys: row.get("keys")?, last_used_at }))
    });
    Ok(keys.collect::<Result<_, StoreError>>()?)
}

/// Returns a key of the actor or, for administrators, of any user.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn get(state: &AdminState, actor: &Actor, id: KeyId) -> Result<TokenView, AdminError> {
    let sql = format!("SELECT {} FROM tokens WHERE id = $1", columns());
    let rows = state.db.read(&sql, &[id.into()]).await?;
    let now = state.clock.now();
    let found = rows.first().map(|row| view(row, now)).transpose()?;
    // Another user's key looks like none, so that ids cannot be probed.
    found.filter(|token| actor.owns(token.user_id)).ok_or_else(not_found)
}

/// The names of these keys by their numbers, in place of an empty one its first and last
/// characters. Deleted keys have none; users learn those of their own.
///
/// # Errors
/// When the database fails.
pub async fn names(
    state: &AdminState,
    actor: &Actor,
    ids: impl IntoIterator<Item = KeyId>,
) -> Result<BTreeMap<KeyId, String>, AdminError> {
    let ids = ids.into_iter().map(|id| id.0).take(MAX_NAMES);
    let Some(list) = page::number_list(ids) else { return Ok(BTreeMap::new()) };
    let sql = format!("SELECT id, user_id, name, key_hint FROM tokens WHERE id IN ({list})");
    let rows = state.db.read(&sql, &[]).await?;
    let mut names = BTreeMap::new();
    for row in rows {
        if actor.owns(row.get("user_id")?) {
            let name: String = row.get("name")?;
            names.insert(row.get("id")?, if name.is_empty() { row.get("key_hint")? } else { name });
        }
    }
    Ok(names)
}

/// The key of this number, or of this name; for the command line.
///
/// # Errors
/// When there is none, when several have this name, or the database fails.
pub async fn find(
    state: &AdminState,
    actor: &Actor,
    name_or_id: &str,
) -> Result<TokenView, AdminError> {
    if let Ok(id) = name_or_id.parse() {
        return get(state, actor, KeyId(id)).await;
    }
    let sql = "SELECT id FROM tokens WHERE name = $1 ORDER BY id LIMIT 5";
    let rows = state.db.read(sql, &[name_or_id.into()]).await?;
    let ids: Result<Vec<KeyId>, StoreError> = rows.iter().map(|row| row.get("id")).collect();
    match ids?.as_slice() {
        [] => Err(not_found()),
        [id] => get(state, actor, *id).await,
        ids => {
            let ids = ids.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ");
            Err(AdminError::conflict(
                format!("多个令牌叫这个名称, 请用编号: {ids}"),
                format!("several keys have this name; say the number: {ids}"),
            ))
        }
    }
}

fn not_found() -> AdminError {
    AdminError::not_found("令牌", "key")
}
