//! The endpoint that has no address of its own: its secret signs what goes to the `X-Webhook-Url`
//! of a user's submissions.

use super::write::{WebhookShown, create_for_submissions, given_or_new, rotate_seen};
use super::{COLUMNS, WebhookView, not_found, view, whose};
use crate::ops::user;
use crate::{Actor, AdminError, AdminState, Query};
use domain::UserId;
use store::{Secret, webhooks};

/// The endpoint of the actor's submissions or, for administrators, of those of `user_id`. It is
/// made if it isn't there.
///
/// # Errors
/// When it isn't the actor's, or the database fails.
pub async fn submissions(
    state: &AdminState,
    actor: &Actor,
    query: &Query,
) -> Result<WebhookView, AdminError> {
    let owner = whose(actor, query)?;
    user::get(state, owner).await?;
    webhooks::ensure_own_endpoint(&state.db, &state.sealer, owner, state.clock.now()).await?;
    find(state, owner).await
}

/// Creates or rotates the secret of these submissions.
///
/// # Errors
/// When it isn't the actor's, or the database fails.
pub async fn renew_submission_secret(
    state: &AdminState,
    actor: &Actor,
    query: &Query,
    given: Option<Secret>,
) -> Result<WebhookShown, AdminError> {
    let owner = whose(actor, query)?;
    user::reached(state, actor, owner).await?;
    let secret = given_or_new(given)?;
    let made = create_for_submissions(state, actor, owner, &secret).await?;
    let endpoint = find(state, owner).await?;
    if made {
        return Ok(WebhookShown { endpoint, secret });
    }
    rotate_seen(state, actor, &endpoint, Some(secret)).await
}

async fn find(state: &AdminState, owner: UserId) -> Result<WebhookView, AdminError> {
    let sql = format!("SELECT {COLUMNS} FROM webhook_endpoints WHERE user_id = $1 AND url = ''");
    let rows = state.db.read(&sql, &[owner.into()]).await?;
    let now = state.clock.now();
    rows.first().map(|row| view(row, now)).transpose()?.ok_or_else(not_found)
}
