//! Making and changing redemption codes. Only the ledger marks one as redeemed.

use super::input::{RedemptionChange, RedemptionInput};
use super::{RedemptionView, get, not_found};
use crate::ops::batch::{
    BatchItem, BatchRequest, BatchResult, RowChange, RowDecision, StatusSet, change_each,
};
use crate::ops::record::{self, Subject};
use crate::{Actor, AdminError, AdminState, random};
use domain::{Quota, RedemptionId, UnixMs};
use serde::Serialize;
use serde_json::json;
use std::fmt::Write as _;
use store::sums::sum_of;
use store::{Secret, Statement, StoreError, Value};
use utoipa::ToSchema;

/// Creates a batch of codes, all or none, and returns them: they are shown only once. Under one
/// reference they are made once.
///
/// # Errors
/// When a field breaks its rule, there are codes of this reference, or the database fails.
pub async fn create(
    state: &AdminState,
    actor: &Actor,
    input: RedemptionInput,
) -> Result<Vec<Secret>, AdminError> {
    actor.require_admin()?;
    let now = state.clock.now();
    // A lot is found by its reference, and not by a name that others may have.
    let reference = input.reference.clone().unwrap_or_else(|| web::uuid_v7(now).to_string());
    check_expiry(input.expires_at, now)?;
    let codes: Vec<String> = std::iter::repeat_with(random::redemption_code)
        .take(input.count)
        .collect::<Result<_, _>>()?;
    let told = ("redemption.create", format!("生成兑换码 {} × {}", input.name, input.count));
    let details = json!({ "name": input.name, "quota": input.quota, "count": input.count,
        "reason": input.reason, "lot": reference });
    let insert = insert((&input, &reference), &codes, actor, now);
    let written = record::write(state, actor, vec![insert], Subject::Other, told, details).await;
    if let Err(error) = written {
        return Err(match error {
            StoreError::Conflict { .. } => {
                let count = made_before(state, actor, &reference).await?;
                AdminError::conflict(
                    format!("此前已生成 {count} 个兑换码, 不再显示"),
                    format!("made before: {count} codes, which are not shown again"),
                )
            }
            error => error.into(),
        });
    }
    Ok(codes.into_iter().map(Secret::new).collect())
}

/// How many codes there are that were made under a reference.
///
/// # Errors
/// When the role does not reach, or the database fails.
pub async fn made_before(
    state: &AdminState,
    actor: &Actor,
    reference: &str,
) -> Result<i64, AdminError> {
    actor.require_admin()?;
    let sql = "SELECT count(*) AS codes FROM redemptions WHERE lot_reference = $1";
    let rows = state.db.read(sql, &[reference.into()]).await?;
    Ok(rows.first().map(|row| row.get("codes")).transpose()?.unwrap_or(0))
}

/// The codes of a lot that can still be redeemed, and what they are worth.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OpenCodes {
    /// Nothing was changed: this is what would be.
    pub dry_run: bool,
    /// Name of the lot; where its codes were renamed, the first of their names.
    pub name: String,
    /// How many are disabled.
    pub changed: i64,
    /// What they are worth together.
    pub quota: Quota,
}

/// Which lot is to be disabled.
#[derive(Clone, Debug)]
pub struct LotRequest {
    /// Its reference.
    pub lot: String,
    /// How many of its codes the caller takes to be open; `None`: any number.
    pub count: Option<i64>,
    /// Nothing is changed: they are counted.
    pub dry_run: bool,
}

/// Disables every open code of a lot; or tells how many they are. Where they are not as many as
/// the caller was told, nothing changes.
///
/// # Errors
/// When the lot has no codes, another number of them is open, or the database fails.
pub async fn disable_lot(
    state: &AdminState,
    actor: &Actor,
    request: &LotRequest,
) -> Result<OpenCodes, AdminError> {
    actor.require_admin()?;
    let LotRequest { lot, count, dry_run } = request;
    let worth = sum_of(state.db.engine(), "CASE WHEN status = 1 THEN quota ELSE 0 END");
    let sql = format!(
        "SELECT min(name) AS name, {worth} AS worth,
                CAST(coalesce(sum(CASE WHEN status = 1 THEN 1 ELSE 0 END), 0) AS BIGINT) AS codes
         FROM redemptions WHERE lot_reference = $1"
    );
    let rows = state.db.read(&sql, &[lot.as_str().into()]).await?;
    let row = rows.first().ok_or_else(not_found)?;
    let name: String = row.get::<Option<String>>("name")?.ok_or_else(not_found)?;
    let (changed, quota): (i64, Quota) = (row.get("codes")?, row.get("worth")?);
    let open = OpenCodes { dry_run: *dry_run, name, changed, quota };
    if count.is_some_and(|count| count != changed) {
        return Err(other_number(changed));
    }
    if *dry_run || changed == 0 {
        return Ok(open);
    }
    // What was counted is what is disabled, and what the journal says: else nothing is.
    let update = Statement::new(
        "UPDATE redemptions SET status = 2 WHERE lot_reference = $1 AND status = 1",
        vec![lot.as_str().into()],
    )
    .expecting(u64::try_from(changed).unwrap_or(0));
    let named = if open.name.is_empty() { lot } else { &open.name };
    let told = ("redemption.disable_lot", format!("停用兑换码 {named} × {changed}"));
    let details = json!({ "name": open.name, "lot": lot, "count": changed, "quota": quota });
    let written = record::write(state, actor, vec![update], Subject::Other, told, details).await;
    written.map_err(|error| match error {
        StoreError::RowCount { .. } => {
            AdminError::conflict("此时有变动, 请重新查看", "they changed just now: look again")
        }
        other => other.into(),
    })?;
    Ok(open)
}

fn other_number(open: i64) -> AdminError {
    AdminError::conflict(
        format!("此时未使用的为 {open} 个, 请重新查看"),
        format!("{open} codes are open by now: look again"),
    )
}

/// One statement for the whole lot.
fn insert(
    (input, lot): (&RedemptionInput, &str),
    codes: &[String],
    actor: &Actor,
    now: UnixMs,
) -> Statement {
    let mut sql = "INSERT INTO redemptions (name, quota, created_by, created_at, expires_at, \
                   lot_reference, lot_number, code_hash, code_hint) VALUES "
        .to_owned();
    let mut params: Vec<Value> = vec![
        input.name.as_str().into(),
        input.quota.into(),
        actor.user_id.into(),
        now.into(),
        input.expires_at.into(),
        lot.into(),
    ];
    for (nth, code) in codes.iter().enumerate() {
        params.push((&store::key_hash(code)).into());
        params.push(store::key_hint(code).into());
        let (comma, last) = (if nth == 0 { "" } else { ", " }, params.len());
        let _ = write!(sql, "{comma}($1, $2, $3, $4, $5, $6, {nth}, ${}, ${last})", last - 1);
    }
    Statement::new(sql, params)
}

/// Changes the given fields of a code that has not been redeemed.
///
/// # Errors
/// When a field breaks its rule, the code isn't there or has been redeemed, or the database fails.
pub async fn update(
    state: &AdminState,
    actor: &Actor,
    id: RedemptionId,
    change: RedemptionChange,
) -> Result<RedemptionView, AdminError> {
    actor.require_admin()?;
    let now = state.clock.now();
    let before = get(state, id).await?;
    let Some(row) = changed(&before, &change, now)? else { return Ok(before) };
    let RowChange { statements, told, details, .. } = row;
    let written = record::write(state, actor, statements, Subject::Other, told, details).await;
    written.map_err(|error| match error {
        StoreError::RowCount { .. } => redeemed(),
        other => other.into(),
    })?;
    get(state, id).await
}

fn redeemed() -> AdminError {
    AdminError::conflict("兑换码已被使用, 不能修改", "the code has been redeemed")
}

/// Enables or disables many codes, all or none; or tells what would change.
///
/// # Errors
/// When one of them isn't there or has been redeemed, or the database fails.
pub async fn change_many(
    state: &AdminState,
    actor: &Actor,
    request: BatchRequest<StatusSet>,
) -> Result<BatchResult, AdminError> {
    actor.require_admin()?;
    let one = |id| one_of_many(state, RedemptionId(id), request.set);
    change_each(state, actor, &request, one).await
}

async fn one_of_many(
    state: &AdminState,
    id: RedemptionId,
    set: StatusSet,
) -> Result<RowDecision, AdminError> {
    let before = get(state, id).await?;
    if before.status == 3 {
        return Err(AdminError::field("ids", "已被使用, 不能修改", "has been redeemed"));
    }
    let mut item = BatchItem::new(id.0, &before.name);
    let status = item.set("status", &before.status, Some(set.status));
    let change = RedemptionChange { status, ..RedemptionChange::default() };
    Ok((item, changed(&before, &change, state.clock.now())?))
}

/// What a change of a code writes, if it may be made; `None`: nothing.
fn changed(
    before: &RedemptionView,
    change: &RedemptionChange,
    now: UnixMs,
) -> Result<Option<RowChange>, AdminError> {
    let id = before.id;
    if change.quota.is_some_and(|quota| quota != before.quota) {
        let en = "what a code is worth stays: disable it, and make another one";
        return Err(AdminError::field("quota", "额度不能修改, 请停用后重新生成", en));
    }
    // A whole record may be sent back as it was read, its past end included.
    if change.expires_at.flatten().is_some_and(|ends| ends.0 / 1000 != before.expired_time) {
        check_expiry(change.expires_at.flatten(), now)?;
    }
    let mut set: Vec<(&'static str, Value)> = Vec::new();
    let mut put = |column, value: Option<Value>| {
        if let Some(value) = value {
            set.push((column, value));
        }
    };
    put("name", change.name.as_deref().map(Into::into));
    put("expires_at", change.expires_at.map(Into::into));
    put("status", change.status.map(Into::into));
    if set.is_empty() {
        return Ok(None);
    }
    let mut statement = record::update_row("redemptions", &set, id.0);
    statement.sql.to_mut().push_str(" AND status <> 3");
    let told = ("redemption.update", format!("修改兑换码 {} (#{id})", before.name));
    let details = json!({ "redemption_id": id, "status": change.status, "name": change.name });
    let (statements, subject) = (vec![statement], Subject::Other);
    Ok(Some(RowChange { statements, subject, told, details }))
}

/// Enables or disables a code that has not been redeemed.
///
/// # Errors
/// As for [`update`].
pub async fn set_status(
    state: &AdminState,
    actor: &Actor,
    id: RedemptionId,
    open: bool,
) -> Result<RedemptionView, AdminError> {
    let status = Some(if open { 1 } else { 2 });
    update(state, actor, id, RedemptionChange { status, ..RedemptionChange::default() }).await
}

/// Deletes a code. What it paid stays in the journal.
///
/// # Errors
/// When the code isn't there, or the database fails.
pub async fn delete(state: &AdminState, actor: &Actor, id: RedemptionId) -> Result<(), AdminError> {
    actor.require_admin()?;
    let before = get(state, id).await?;
    let statement =
        Statement::new("DELETE FROM redemptions WHERE id = $1", vec![id.into()]).expecting(1);
    let told = ("redemption.delete", format!("删除兑换码 {} (#{id})", before.name));
    let details = json!({ "redemption_id": id, "quota": before.quota, "status": before.status });
    let written = record::write(state, actor, vec![statement], Subject::Other, told, details).await;
    written.map(drop).map_err(AdminError::or_missing(not_found))
}

fn check_expiry(ends: Option<UnixMs>, now: UnixMs) -> Result<(), AdminError> {
    if ends.is_some_and(|ends| ends <= now) {
        return Err(AdminError::field("expired_time", "已经过去", "lies in the past"));
    }
    Ok(())
}
