//! Writing users.

use super::input::UserInput;
use super::{UserView, get, kept, reached};
use crate::ops::batch::{
    BatchItem, BatchRequest, BatchResult, RowChange, RowDecision, StatusSet, change_each,
};
use crate::ops::record::{self, Subject};
use crate::ops::session;
use crate::state::ROLE_USER;
use crate::{Actor, AdminError, AdminState, words};
use domain::{HoldId, Quota, UserId};
use ledger::{ChargeRef, Moved, Movement, OF_CODES, REFERENCE_MAX};
use serde_json::json;
use std::collections::BTreeSet;
use store::{Engine, Statement, StoreError, Value};
use uuid::Uuid;

/// The note of the deposit with which a user is created: a code, as readers have languages.
const FIRST_DEPOSIT: &str = "first_deposit";

/// Most lines that are looked at for reversals: those of a page.
const MAX_LINES: usize = 200;

/// Creates a user and deposits their initial quota.
///
/// # Errors
/// When a field breaks its rule, the name is taken, or the database fails. When only the deposit
/// fails, the user exists with no quota, and the error reports it.
pub async fn create(
    state: &AdminState,
    actor: &Actor,
    input: UserInput,
) -> Result<UserView, AdminError> {
    actor.require_admin()?;
    let input = input.checked()?;
    let role = input.role.unwrap_or(ROLE_USER);
    actor.require_above(role)?;
    let Some(username) = input.username.clone() else {
        return Err(AdminError::field("username", "不能为空", "is required"));
    };
    let hash = hashed(state, &input).await?;
    let now = state.clock.now();
    let insert = Statement::new(
        "INSERT INTO users (username, display_name, password_hash, role, status, \"group\", \
         ratio, daily_limit, monthly_limit, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10) RETURNING id",
        vec![
            username.as_str().into(),
            input.display_name.clone().unwrap_or_default().into(),
            hash.into(),
            role.into(),
            input.status.unwrap_or(1).into(),
            input.group.clone().unwrap_or_else(|| "default".to_owned()).into(),
            input.ratio.unwrap_or(domain::Ratio::ONE).into(),
            input.daily_limit.flatten().into(),
            input.monthly_limit.flatten().into(),
            now.into(),
        ],
    );
    let rows = record::write(
        state,
        actor,
        vec![insert],
        Subject::NewUser(&username),
        ("user.create", format!("创建用户 {username}")),
        json!({
            "username": username, "role": role, "group": input.group, "quota": input.quota,
            "reason": input.reason, "daily_limit": input.daily_limit,
            "monthly_limit": input.monthly_limit,
        }),
    )
    .await
    .map_err(taken)?;
    let id = UserId(record::returned_id(&rows)?);
    if let Some(amount) = input.quota.filter(|quota| *quota != Quota::ZERO) {
        let reason = input.reason.map(|reason| format!("{FIRST_DEPOSIT}: {reason}"));
        let reason = reason.unwrap_or_else(|| FIRST_DEPOSIT.to_owned());
        let movement = by_hand(actor, (id, &username), DEPOSIT, amount, reason);
        let deposited = state.ledger.deposit(movement).await;
        deposited.map_err(|cause| AdminError::DepositFailed { user_id: id.0, cause })?;
    }
    get(state, id).await
}

/// Changes what is given, live when this returns.
///
/// # Errors
/// When a field breaks its rule, the role doesn't reach, or the database fails.
pub async fn update(
    state: &AdminState,
    actor: &Actor,
    id: UserId,
    input: UserInput,
) -> Result<UserView, AdminError> {
    actor.require_admin()?;
    let input = input.checked()?;
    let before = reached(state, actor, id).await?;
    let RowChange { statements, told, details, .. } = changed(state, actor, &before, input).await?;
    write(state, statements, actor, id, told, details).await?;
    get(state, id).await
}

/// Enables or disables many users, all or none; or tells what would change.
///
/// # Errors
/// When one of them isn't there, the role doesn't reach, or the database fails.
pub async fn change_many(
    state: &AdminState,
    actor: &Actor,
    request: BatchRequest<StatusSet>,
) -> Result<BatchResult, AdminError> {
    actor.require_admin()?;
    let one = |id| one_of_many(state, actor, UserId(id), request.set);
    let result = change_each(state, actor, &request, one).await?;
    request.ids.iter().for_each(|id| state.forget_user(UserId(*id)));
    Ok(result)
}

async fn one_of_many(
    state: &AdminState,
    actor: &Actor,
    id: UserId,
    set: StatusSet,
) -> Result<RowDecision, AdminError> {
    let before = reached(state, actor, id).await?;
    let mut item = BatchItem::new(id.0, &before.username);
    let status = item.set("status", &before.status, Some(set.status));
    if status.is_none() {
        return Ok((item, None));
    }
    let input = UserInput { status, ..UserInput::default() };
    Ok((item, Some(changed(state, actor, &before, input).await?)))
}

/// What a change of a user writes, if it may be made. `input` is checked.
async fn changed(
    state: &AdminState,
    actor: &Actor,
    before: &UserView,
    input: UserInput,
) -> Result<RowChange, AdminError> {
    let id = before.id;
    let own = actor.user_id == id;
    if own && input.password.is_some() {
        return Err(old_password_needed());
    }
    let new_role = input.role.filter(|role| *role != before.role);
    if let Some(role) = new_role {
        actor.require_above(role)?;
    }
    if own && (new_role.is_some() || input.status == Some(2)) {
        return Err(not_yourself());
    }
    let demotes = new_role.is_some() || input.status == Some(2);
    let hash = hashed(state, &input).await?;
    let mut set: Vec<(&'static str, Value)> = vec![("updated_at", state.clock.now().into())];
    let mut put = |column, value: Option<Value>| {
        if let Some(value) = value {
            set.push((column, value));
        }
    };
    put("username", input.username.as_deref().map(Into::into));
    put("display_name", input.display_name.as_deref().map(Into::into));
    // Who knew the old password may have made the token.
    put("access_token_hash", hash.as_ref().map(|_| Value::Null));
    put("password_hash", hash.map(Into::into));
    put("\"group\"", input.group.as_deref().map(Into::into));
    put("ratio", input.ratio.map(Into::into));
    put("role", new_role.map(Into::into));
    put("status", input.status.map(Into::into));
    put("daily_limit", input.daily_limit.map(Into::into));
    put("monthly_limit", input.monthly_limit.map(Into::into));
    let name = &before.username;
    let told = ("user.update", format!("修改用户 {name} (#{id})"));
    let details = json!({
        "target_user_id": id, "fields": input.given(), "role": new_role, "group": input.group,
        "ratio": input.ratio, "status": input.status, "daily_limit": input.daily_limit,
        "monthly_limit": input.monthly_limit,
    });
    let mut statements = match demotes {
        true => but_the_last_root(state, change_sql(&set, id)),
        false => vec![change_sql(&set, id)],
    };
    if input.password.is_some() || input.status == Some(2) {
        statements.push(session::end_all(id));
    }
    Ok(RowChange { statements, subject: Subject::Other, told, details })
}

/// Gives the actor another name to show; that to log in with stays.
pub(in crate::ops) async fn rename_own(
    state: &AdminState,
    actor: &Actor,
    display_name: String,
) -> Result<(), AdminError> {
    let before = get(state, actor.user_id).await?;
    let input = UserInput { display_name: Some(display_name), ..UserInput::default() };
    let RowChange { statements, told, details, .. } = changed(state, actor, &before, input).await?;
    write(state, statements, actor, before.id, told, details).await
}

/// Enables or disables a user, and with them all their keys.
///
/// # Errors
/// When there is no such user, the role doesn't reach, or the database fails.
pub async fn set_status(
    state: &AdminState,
    actor: &Actor,
    id: UserId,
    enabled: bool,
) -> Result<UserView, AdminError> {
    let status = if enabled { 1 } else { 2 };
    update(state, actor, id, UserInput { status: Some(status), ..UserInput::default() }).await
}

/// Deletes a user: their keys and access token end, their name stays taken, because the journal
/// refers to it, and their balance is kept.
///
/// # Errors
/// When there is no such user, the role doesn't reach, or the database fails.
pub async fn delete(state: &AdminState, actor: &Actor, id: UserId) -> Result<(), AdminError> {
    actor.require_admin()?;
    let before = reached(state, actor, id).await?;
    if actor.user_id == id {
        return Err(not_yourself());
    }
    let now = state.clock.now();
    let user = Statement::new(
        "UPDATE users SET deleted_at = $1, updated_at = $1, status = 2, access_token_hash = NULL \
         WHERE id = $2 AND deleted_at IS NULL",
        vec![now.into(), id.into()],
    )
    .expecting(1);
    let keys = Statement::new(
        "UPDATE tokens SET status = 2, updated_at = $1 WHERE user_id = $2",
        vec![now.into(), id.into()],
    );
    let told = ("user.delete", format!("删除用户 {} (#{id})", before.username));
    let mut statements = but_the_last_root(state, user);
    statements.extend([keys, session::end_all(id)]);
    write(state, statements, actor, id, told, json!({ "target_user_id": id })).await
}

/// Moves a balance: a deposit, a correction downwards, or a refund of a call. That of a deleted
/// user is kept, and can be taken off, refunded to and reversed.
///
/// # Errors
/// When there is nothing to move, the role doesn't reach, or the ledger refuses.
pub async fn move_quota(
    state: &AdminState,
    actor: &Actor,
    id: UserId,
    input: MovementInput,
) -> Result<Moved, AdminError> {
    actor.require_admin()?;
    let MovementInput { delta, reason, reference, refund_of, reversal_of, username } = input;
    if delta == Quota::ZERO {
        let en = "must not be 0: positive adds, negative takes";
        return Err(AdminError::field("delta", "不能为 0, 正数增加, 负数扣减", en));
    }
    let reason = words::reason(&reason)?;
    let reference = reference.map(|it| words::name("reference", &it, REFERENCE_MAX));
    let reference = reference.transpose()?;
    // A caller who names a movement relies on the name.
    if reference.as_ref().is_some_and(String::is_empty) {
        return Err(AdminError::field("reference", "不能为空", "must not be empty"));
    }
    let is_ours = |it: &String| [OF_CODES, OF_REVERSALS].iter().any(|ours| it.starts_with(ours));
    if reference.as_ref().is_some_and(is_ours) {
        let zh = format!("不能以 {OF_CODES} 或 {OF_REVERSALS} 开头");
        let en = format!("must not begin with {OF_CODES} or {OF_REVERSALS}");
        return Err(AdminError::field("reference", zh, en));
    }
    let user = kept(state, id).await?;
    if actor.user_id != id {
        actor.require_above(user.role)?;
    }
    let is_given = !delta.is_negative() && refund_of.is_none() && reversal_of.is_none();
    if user.deleted_at.is_some() && is_given {
        return Err(AdminError::conflict(
            "该用户已删除: 余额只能扣减, 或以退款、冲正归还",
            "this user was deleted: the balance can only be taken off, or given back by a refund \
             or a reversal",
        ));
    }
    if username.is_some_and(|name| name != user.username) {
        let en = "is not the name of this user";
        return Err(AdminError::field("username", "不是该用户的用户名", en));
    }
    if let Some(line) = reversal_of {
        if reference.is_some() || refund_of.is_some() {
            let en = "names the movement by itself: leave out reference and refund_of";
            return Err(AdminError::field("reversal_of", "不能与 reference、refund_of 同用", en));
        }
        return reverse(state, actor, &user, (line, delta, &reason)).await;
    }
    let action = match &refund_of {
        Some(_) => REFUND,
        None if delta.is_negative() => ADJUSTMENT,
        None => DEPOSIT,
    };
    let movement = by_hand(actor, (id, &user.username), action, delta, reason);
    let movement = Movement { reference: reference.map(Into::into), ..movement };
    Ok(match refund_of {
        Some(charge) => state.ledger.refund(charge, movement).await?,
        None if delta.is_negative() => state.ledger.adjust(movement).await?,
        None => state.ledger.deposit(movement).await?,
    })
}

/// Moves back what a line moved, as a movement with `reversal_of` does. Returns by how much.
///
/// # Errors
/// As [`move_quota`]; when the line moved nothing of this user's that can be moved back.
pub async fn reverse_line(
    state: &AdminState,
    actor: &Actor,
    id: UserId,
    line: i64,
    reason: String,
) -> Result<(Quota, Moved), AdminError> {
    let moved: Quota = reversible(state, id, line).await?.get("delta")?;
    let delta = Quota(moved.0.checked_neg().unwrap_or_default());
    let input =
        MovementInput { delta, reason, reversal_of: Some(line), ..MovementInput::default() };
    Ok((delta, move_quota(state, actor, id, input).await?))
}

/// Moves back what a line moved, once, by a line of the same type: a deposit is no longer paid in,
/// what was taken and comes back is no deposit, and the call of a refund costs that again.
async fn reverse(
    state: &AdminState,
    actor: &Actor,
    user: &UserView,
    (line, delta, reason): (i64, Quota, &str),
) -> Result<Moved, AdminError> {
    let row = reversible(state, user.id, line).await?;
    let moved: Quota = row.get("delta")?;
    if moved.0.checked_neg() != Some(delta.0) {
        let en = format!("must be what the line moved, with the other sign: {}", -moved.0);
        let zh = format!("必须是该流水的相反数: {}", -moved.0);
        return Err(AdminError::field("delta", zh, en));
    }
    let reason = format!("reversal of line {line}: {reason}");
    let owner = (user.id, user.username.as_str());
    let movement = by_hand(actor, owner, REVERSAL, delta, reason);
    let movement = Movement { reference: Some(reversal(line).into()), ..movement };
    Ok(match row.get::<String>("type")?.as_str() {
        "topup" => state.ledger.reverse_deposit(movement).await?,
        "refund" => {
            let request_id: String = row.get("request_id")?;
            let hold_id = row.get::<Option<Uuid>>("hold_id")?.map(HoldId);
            let charge = ChargeRef { request_id: request_id.into(), hold_id };
            state.ledger.refund(charge, movement).await?
        }
        _ => state.ledger.adjust(movement).await?,
    })
}

/// Movements by hand in the admin journal: the action, and the word for it.
const DEPOSIT: (&str, &str) = ("balance.deposit", "充值");
const REFUND: (&str, &str) = ("balance.refund", "退款");
const REVERSAL: (&str, &str) = ("balance.reverse", "冲正");
const ADJUSTMENT: (&str, &str) = ("balance.adjust", "余额调整");

/// A movement by an administrator, and what the admin journal says about it.
fn by_hand(
    actor: &Actor,
    (id, name): (UserId, &str),
    (action, what): (&str, &str),
    amount: Quota,
    reason: String,
) -> Movement {
    let content = format!("用户 {name} (#{id}) {what} {} q", amount.0);
    let details = json!({ "target_user_id": id, "delta": amount, "reason": reason });
    let told = Some(record::told(actor, (action, content), details));
    let by = actor.username.clone();
    Movement { user_id: id, amount, reason, by, reference: None, told }
}

/// A line of a user's that moved what can be moved back: its type, amount and request.
async fn reversible(state: &AdminState, id: UserId, line: i64) -> Result<store::Row, AdminError> {
    let sql = "SELECT type, delta, request_id, hold_id FROM logs \
               WHERE id = $1 AND user_id = $2 AND type IN ('topup', 'adjust', 'refund') \
                 AND delta <> 0";
    let rows = state.db.read(sql, &[line.into(), id.into()]).await?;
    rows.into_iter().next().ok_or_else(|| {
        let en = "is not a deposit, an adjustment or a refund of this user";
        AdminError::field("reversal_of", "不是该用户的充值、调整或退款", en)
    })
}

/// How the references of reversals begin. No caller's own may.
const OF_REVERSALS: &str = "reverse-";

/// The reference of the movement that reverses a line.
#[must_use]
pub fn reversal(line: i64) -> String {
    format!("{OF_REVERSALS}{line}")
}

/// Those of these lines of a user that were reversed.
///
/// # Errors
/// When the role doesn't reach, or the database fails.
pub async fn reversed_lines(
    state: &AdminState,
    actor: &Actor,
    id: UserId,
    lines: impl IntoIterator<Item = i64>,
) -> Result<BTreeSet<i64>, AdminError> {
    actor.require_admin()?;
    // Numbers: they can't be anything but digits.
    let names: Vec<String> =
        lines.into_iter().take(MAX_LINES).map(|line| format!("'{}'", reversal(line))).collect();
    if names.is_empty() {
        return Ok(BTreeSet::new());
    }
    let names = names.join(", ");
    let sql =
        format!("SELECT reference FROM movements WHERE user_id = $1 AND reference IN ({names})");
    let rows = state.db.read(&sql, &[id.into()]).await?;
    let line = |row: &store::Row| {
        let reference: String = row.get("reference")?;
        Ok(reference.trim_start_matches("reverse-").parse::<i64>().ok())
    };
    let found: Result<Vec<_>, StoreError> = rows.iter().map(line).collect();
    Ok(found?.into_iter().flatten().collect())
}

/// The charge that a refund is of, by the `X-Request-Id` of its call and, where several calls have
/// that, by its hold.
///
/// # Errors
/// When a hold is named alone, or is none.
pub fn refunded_charge(
    request_id: Option<String>,
    hold: Option<&str>,
) -> Result<Option<ChargeRef>, AdminError> {
    let hold = hold.map(str::trim).filter(|hold| !hold.is_empty());
    let wrong = |zh: &str, en: &str| AdminError::field("refund_hold", zh, en);
    let hold_id = hold
        .map(|hold| Uuid::parse_str(hold).map(HoldId))
        .transpose()
        .map_err(|_| wrong("不是预扣费的编号", "is not the id of a hold"))?;
    match request_id {
        Some(id) => Ok(Some(ChargeRef { request_id: id.into(), hold_id })),
        None if hold_id.is_some() => {
            Err(wrong("须与 refund_of 同用", "goes with refund_of, the id of its request"))
        }
        None => Ok(None),
    }
}

/// How a balance is to be moved.
#[derive(Clone, Debug, Default)]
pub struct MovementInput {
    /// By how much: positive adds, negative takes.
    pub delta: Quota,
    /// Why.
    pub reason: String,
    /// Name of the movement: the same again moves nothing.
    pub reference: Option<String>,
    /// The charge that is given back, whole or in part.
    pub refund_of: Option<ChargeRef>,
    /// Number of the line that this reverses: `delta` is what it moved, with the other sign.
    pub reversal_of: Option<i64>,
    /// The name that the caller believes the user to have: with another nothing moves.
    pub username: Option<String>,
}

async fn hashed(state: &AdminState, input: &UserInput) -> Result<Option<String>, AdminError> {
    match &input.password {
        Some(password) => Ok(Some(state.passwords.hash(password.expose().to_owned()).await?)),
        None => Ok(None),
    }
}

fn change_sql(set: &[(&'static str, Value)], id: UserId) -> Statement {
    let mut statement = record::update_row("users", set, id.0);
    statement.sql.to_mut().push_str(" AND deleted_at IS NULL");
    statement
}

async fn write(
    state: &AdminState,
    statements: Vec<Statement>,
    actor: &Actor,
    id: UserId,
    told: (&str, String),
    details: serde_json::Value,
) -> Result<(), AdminError> {
    match record::write(state, actor, statements, Subject::Other, told, details).await {
        Ok(_) => {}
        Err(StoreError::RowCount { .. }) => {
            // Either the user is gone, or was the last who can make another root.
            get(state, id).await?;
            return Err(AdminError::conflict(
                "这是最后一个 root 用户",
                "this is the last root user",
            ));
        }
        Err(other) => return Err(taken(other)),
    }
    state.forget_user(id);
    Ok(())
}

fn taken(error: StoreError) -> AdminError {
    match error {
        StoreError::Conflict { .. } => AdminError::conflict(
            "用户名已存在, 或属于已删除的用户",
            "the username is taken, perhaps by a deleted user",
        ),
        other => other.into(),
    }
}

fn not_yourself() -> AdminError {
    AdminError::conflict(
        "不能禁用、删除自己或修改自己的角色",
        "you can't disable or delete yourself, or change your own role",
    )
}

fn old_password_needed() -> AdminError {
    AdminError::forbidden(
        "修改自己的密码需要原密码, 请使用 PUT /api/user/self/password",
        "your own password is changed with the old one: PUT /api/user/self/password",
    )
}

/// `change`, which takes a root away, unless it would be the last. The condition is part of the
/// update; on PostgreSQL all roots are locked before, so that two who do this to each other at
/// once don't both find the other still there.
fn but_the_last_root(state: &AdminState, mut change: Statement) -> Vec<Statement> {
    change.sql.to_mut().push_str(
        " AND (role <> 100 OR EXISTS (SELECT 1 FROM users other WHERE other.role = 100 \
         AND other.status = 1 AND other.deleted_at IS NULL AND other.id <> users.id))",
    );
    let roots = "SELECT id FROM users WHERE role = 100 ORDER BY id FOR UPDATE";
    match state.db.engine() {
        Engine::Postgres => vec![Statement::new(roots, vec![]), change],
        Engine::Sqlite => vec![change],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_never_touches_a_balance() {
        let set = [("updated_at", Value::Int(1)), ("\"group\"", "vip".into())];
        let statement = change_sql(&set, UserId(3));
        assert_eq!(
            &*statement.sql,
            "UPDATE users SET updated_at = $1, \"group\" = $2 WHERE id = $3 AND deleted_at IS NULL"
        );
        assert_eq!(statement.expect_rows, Some(1));
    }
}
