//! Redemption codes: administrators make them, users turn each into quota once. A code is shown
//! when it is made; what is kept is its hash.

mod input;
mod redeem;
mod write;

pub use input::{RedemptionChange, RedemptionInput};
pub use redeem::{WrongCodes, redeem};
pub use write::{
    LotRequest, OpenCodes, change_many, create, delete, disable_lot, made_before, set_status,
    update,
};

use crate::page::{self, Page, PageRequest, Query, Where};
use crate::{AdminError, AdminState, exact};
use domain::{Quota, RedemptionId, UnixMs, UserId};
use serde::Serialize;
use store::{Row, StoreError};
use utoipa::ToSchema;

const COLUMNS: &str = "id, name, code_hint, quota, status, created_by, created_at, expires_at, \
     redeemed_by, redeemed_at, lot_reference";

/// A code as answers show it: never the code itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RedemptionView {
    /// Number of the code.
    pub id: RedemptionId,
    /// Name of the lot it was made in.
    pub name: String,
    /// Reference of that lot, by which it is found; empty: made with plain SQL.
    pub lot: String,
    /// Its first and last characters.
    pub key_hint: String,
    /// What it is worth.
    pub quota: Quota,
    /// 1 open, 2 disabled, 3 redeemed.
    pub status: i64,
    /// Administrator who made it; 0: the command line.
    pub user_id: UserId,
    /// When it was made, in seconds since 1970.
    pub created_time: i64,
    /// When it ends; 0: never.
    pub expired_time: i64,
    /// Who redeemed it; 0: nobody.
    pub used_user_id: UserId,
    /// When; 0: not yet.
    pub redeemed_time: i64,
}

fn view(row: &Row) -> Result<RedemptionView, StoreError> {
    let instant = |at: Option<UnixMs>| at.map_or(0, exact::seconds);
    Ok(RedemptionView {
        id: row.get("id")?,
        name: row.get("name")?,
        lot: row.get::<Option<String>>("lot_reference")?.unwrap_or_default(),
        key_hint: row.get("code_hint")?,
        quota: row.get("quota")?,
        status: row.get("status")?,
        user_id: row.get("created_by")?,
        created_time: exact::seconds(row.get("created_at")?),
        expired_time: instant(row.get("expires_at")?),
        used_user_id: row.get::<Option<UserId>>("redeemed_by")?.unwrap_or(UserId(0)),
        redeemed_time: instant(row.get("redeemed_at")?),
    })
}

/// A page of codes, newest first. Filters `keyword` (in the name), `name` (all of it), `lot` and
/// `status`.
///
/// # Errors
/// When a filter can't be read, or the database fails.
pub async fn list(
    state: &AdminState,
    query: &Query,
    page: PageRequest,
) -> Result<Page<RedemptionView>, AdminError> {
    let mut conditions = Where::default();
    let keyword = query.text("keyword").map(|word| page::anywhere(&word.to_lowercase()));
    conditions.with_some(r"lower(name) LIKE ? ESCAPE '\'", keyword);
    conditions.with_some("name = ?", query.text("name"));
    conditions.with_some("lot_reference = ?", query.text("lot"));
    conditions.with_some("status = ?", query.number::<i64>("status")?);
    conditions.page(&state.db, (COLUMNS, "redemptions", "id DESC"), page, view).await
}

/// One code.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn get(state: &AdminState, id: RedemptionId) -> Result<RedemptionView, AdminError> {
    let sql = format!("SELECT {COLUMNS} FROM redemptions WHERE id = $1");
    let rows = state.db.read(&sql, &[id.into()]).await?;
    Ok(view(rows.first().ok_or_else(not_found)?)?)
}

fn not_found() -> AdminError {
    AdminError::not_found("兑换码", "redemption code")
}
