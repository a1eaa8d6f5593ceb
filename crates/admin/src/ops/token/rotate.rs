//! A new secret for a key: its name, limits, use, tasks and log stay. The secret before is good for
//! a while longer, so that clients can be moved; never are there more than these two.

use super::write::sealed;
use super::{Created, TokenView, get};
use crate::fields::Fields;
use crate::ops::record::{self, Subject};
use crate::ops::user;
use crate::{Actor, AdminError, AdminState, random};
use domain::KeyId;
use serde_json::json;
use store::{Secret, Statement};

/// The longest that the secret before a rotation may be good.
pub const MAX_GRACE_SECONDS: i64 = 7 * 86_400;
/// How long it is good unless something else is said.
pub const GRACE_SECONDS: i64 = 86_400;

/// Reads how long the secret before is to be good, in seconds.
///
/// # Errors
/// When it is no number of seconds up to [`MAX_GRACE_SECONDS`], or something else is said.
pub fn read_grace(mut fields: Fields) -> Result<i64, AdminError> {
    let grace = fields.int_in("grace_seconds", 0, MAX_GRACE_SECONDS)?;
    fields.finish(&[], &[])?;
    Ok(grace.unwrap_or(GRACE_SECONDS))
}

/// Gives a key a new secret, which works when this returns. The one before is good for so many
/// seconds more, the one before that no longer.
///
/// # Errors
/// When the key isn't there or isn't the actor's, its owner was deleted, it is rotated at the same
/// moment, or the database fails.
pub async fn rotate(
    state: &AdminState,
    actor: &Actor,
    id: KeyId,
    grace_seconds: i64,
) -> Result<Created, AdminError> {
    let seen = get(state, actor, id).await?;
    rotate_seen(state, actor, &seen, grace_seconds).await
}

/// The same of a key that was seen. One that has another secret by now is left alone, so that
/// nobody ends a secret unseen.
///
/// # Errors
/// Those of [`rotate`].
pub async fn rotate_seen(
    state: &AdminState,
    actor: &Actor,
    seen: &TokenView,
    grace_seconds: i64,
) -> Result<Created, AdminError> {
    user::require_reach(state, actor, seen.user_id).await?;
    user::require_there(state, seen.user_id).await?;
    let id = seen.id;
    let key = random::user_key()?;
    let (now, hint) = (state.clock.now(), store::key_hint(&key));
    let grace_seconds = grace_seconds.clamp(0, MAX_GRACE_SECONDS);
    let ends = (grace_seconds > 0).then(|| now.plus_ms(grace_seconds * 1_000));
    let old = match ends {
        Some(_) => "old_key_hash = key_hash, old_key_hint = key_hint",
        None => "old_key_hash = NULL, old_key_hint = ''",
    };
    let statement = Statement::new(
        format!(
            "UPDATE tokens SET {old}, old_key_ends_at = $1, old_key_used_at = NULL, \
             key_hash = $2, key_hint = $3, key_sealed = $4, rotated_at = $5, updated_at = $5 \
             WHERE id = $6 AND key_hash = $7"
        ),
        vec![
            ends.into(),
            (&store::key_hash(&key)).into(),
            hint.as_str().into(),
            sealed(state, &key)?,
            now.into(),
            id.into(),
            seen.key_hash.as_slice().into(),
        ],
    );
    let told = ("token.rotate", format!("更换令牌 {} (#{id}) 的密钥", seen.name));
    let details = json!({
        "target_user_id": seen.user_id, "key_hint": hint, "old_key_hint": seen.key_hint,
        "grace_seconds": grace_seconds,
    });
    write_seen(state, actor, statement, id, told, details).await?;
    Ok(Created { token: get(state, actor, id).await?, key: Secret::new(key) })
}

/// Ends the secret before the last rotation now. Where none is good any more nothing changes.
///
/// # Errors
/// When the key isn't there or isn't the actor's, it is rotated at the same moment, or the database
/// fails.
pub async fn end_old_key(
    state: &AdminState,
    actor: &Actor,
    id: KeyId,
) -> Result<TokenView, AdminError> {
    let seen = get(state, actor, id).await?;
    end_old_key_seen(state, actor, &seen).await
}

/// The same of a key that was seen. One that was rotated since is left alone: its secret before is
/// another.
///
/// # Errors
/// Those of [`end_old_key`].
pub async fn end_old_key_seen(
    state: &AdminState,
    actor: &Actor,
    seen: &TokenView,
) -> Result<TokenView, AdminError> {
    user::require_reach(state, actor, seen.user_id).await?;
    let id = seen.id;
    let Some(hint) = &seen.old_key_hint else { return get(state, actor, id).await };
    let statement = Statement::new(
        "UPDATE tokens SET old_key_hash = NULL, old_key_hint = '', old_key_ends_at = NULL, \
         old_key_used_at = NULL, updated_at = $1 \
         WHERE id = $2 AND key_hash = $3 AND old_key_hash IS NOT NULL",
        vec![state.clock.now().into(), id.into(), seen.key_hash.as_slice().into()],
    );
    let told = ("token.end_old_key", format!("结束令牌 {} (#{id}) 的旧密钥", seen.name));
    let details = json!({ "target_user_id": seen.user_id, "old_key_hint": hint });
    write_seen(state, actor, statement, id, told, details).await?;
    get(state, actor, id).await
}

/// Carries out a statement that changes the key only while it has the secret that was seen.
async fn write_seen(
    state: &AdminState,
    actor: &Actor,
    statement: Statement,
    id: KeyId,
    told: (&str, String),
    details: serde_json::Value,
) -> Result<(), AdminError> {
    let (statements, subject) = (vec![statement.expecting(1)], Subject::Token(id));
    let written = record::write(state, actor, statements, subject, told, details).await;
    written.map_err(AdminError::or_missing(|| {
        AdminError::conflict(
            "令牌的密钥刚被更换、结束或删除, 没有做任何修改; 请重新查看",
            "a secret of the key was just replaced or ended, or the key deleted: nothing was \
             changed; look at it again",
        )
    }))?;
    state.forget_key(id);
    Ok(())
}
