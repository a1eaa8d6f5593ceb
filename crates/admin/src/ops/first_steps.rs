//! How far an installation is on the way to its first paid call.

use super::unpriced;
use crate::{Actor, AdminError, AdminState};
use domain::{ChannelId, KeyId, Quota, UserId};
use serde::Serialize;
use store::{Value, patterns};
use utoipa::ToSchema;
use uuid::Uuid;

/// What there is already of the way to the first paid call; `null`: not yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FirstSteps {
    /// An enabled channel.
    pub channel: Option<FirstChannel>,
    /// A model that an enabled channel serves, and that has a price.
    pub priced_model: Option<String>,
    /// A model that an enabled channel serves, and that has no price.
    pub unpriced_model: Option<String>,
    /// An enabled user with a balance.
    pub user: Option<FirstUser>,
    /// An enabled key of such a user.
    pub key: Option<FirstKey>,
    /// The first paid call.
    pub call: Option<FirstCall>,
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FirstChannel {
    /// Its number.
    pub id: ChannelId,
    /// Its name.
    pub name: String,
    /// Whether its last test went well; `null`: it was never tested.
    pub tested: Option<bool>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FirstUser {
    /// Number of the user.
    pub id: UserId,
    /// Name to log in with.
    pub username: String,
    /// What the user can spend.
    pub quota: Quota,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FirstKey {
    /// Number of the key.
    pub id: KeyId,
    /// Its name.
    pub name: String,
}

/// A paid call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FirstCall {
    /// Its `X-Request-Id`.
    pub request_id: String,
    /// Its hold.
    pub hold_id: Option<Uuid>,
    /// The model.
    pub model_name: String,
    /// What it was charged.
    pub quota: Quota,
}

const CHANNEL: &str =
    "SELECT id, name, tested_at, test_ok FROM channels WHERE status = 1 ORDER BY id LIMIT 1";
const USER: &str = "SELECT id, username, quota FROM users
    WHERE status = 1 AND deleted_at IS NULL AND quota > 0 ORDER BY id LIMIT 1";
const KEY: &str = "SELECT t.id, t.name FROM tokens t JOIN users u ON u.id = t.user_id
    WHERE t.status = 1 AND u.status = 1 AND u.deleted_at IS NULL AND u.quota > 0
      AND (t.expired_at IS NULL OR t.expired_at > $1)
    ORDER BY t.id LIMIT 1";
const PAID: &str = "SELECT 1 AS paid FROM users WHERE request_count > 0 LIMIT 1";
/// Asked only of an installation that has just begun: among its few lines.
const CALL: &str = "SELECT request_id, hold_id, model_name, quota FROM logs
    WHERE type = 'consume' AND request_id <> '' ORDER BY id LIMIT 1";

/// Journals of more lines are of no installation that has just begun.
const JUST_BEGUN_LINES: i64 = 1000;
const LINES: &str = "SELECT through FROM rollup_cursor";

impl FirstSteps {
    /// Whether no step is left.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.channel.is_some()
            && self.priced_model.is_some()
            && self.user.is_some()
            && self.key.is_some()
            && self.call.is_some()
    }
}

/// How far it is, while a step is left; `None` once all are done, or the installation has long
/// been at work.
///
/// # Errors
/// When the role does not reach, or the database fails.
pub async fn ahead(state: &AdminState, actor: &Actor) -> Result<Option<FirstSteps>, AdminError> {
    actor.require_admin()?;
    let rows = state.db.read(LINES, &[]).await?;
    let lines: i64 = rows.first().map_or(Ok(0), |row| row.get("through"))?;
    if lines > JUST_BEGUN_LINES && is_paid(state).await? {
        return Ok(None);
    }
    let steps = get(state, actor).await?;
    Ok(Some(steps).filter(|steps| !steps.is_done()))
}

async fn is_paid(state: &AdminState) -> Result<bool, AdminError> {
    Ok(!state.db.read(PAID, &[]).await?.is_empty())
}

/// How far it is, and the first paid call once there is one.
///
/// # Errors
/// When the role does not reach, or the database fails.
pub async fn get(state: &AdminState, actor: &Actor) -> Result<FirstSteps, AdminError> {
    actor.require_admin()?;
    let db = &state.db;
    let channels = db.read(CHANNEL, &[]).await?;
    let channel = channels.first().map(|row| {
        let is_tested = row.get::<Option<domain::UnixMs>>("tested_at")?.is_some();
        let ok: bool = row.get("test_ok")?;
        let tested = is_tested.then_some(ok);
        Ok::<_, AdminError>(FirstChannel { id: row.get("id")?, name: row.get("name")?, tested })
    });
    let users = db.read(USER, &[]).await?;
    let user = users.first().map(|row| {
        let (id, username) = (row.get("id")?, row.get("username")?);
        Ok::<_, AdminError>(FirstUser { id, username, quota: row.get("quota")? })
    });
    let keys = db.read(KEY, &[Value::Time(state.clock.now())]).await?;
    let key = keys
        .first()
        .map(|row| Ok::<_, AdminError>(FirstKey { id: row.get("id")?, name: row.get("name")? }));
    let calls = if is_paid(state).await? { db.read(CALL, &[]).await? } else { Vec::new() };
    let call = calls.first().map(|row| {
        let (request_id, hold_id) = (row.get("request_id")?, row.get("hold_id")?);
        let (model_name, quota) = (row.get("model_name")?, row.get("quota")?);
        Ok::<_, AdminError>(FirstCall { request_id, hold_id, model_name, quota })
    });
    let (priced_model, unpriced_model) = models(state).await?;
    Ok(FirstSteps {
        channel: channel.transpose()?,
        priced_model,
        unpriced_model,
        user: user.transpose()?,
        key: key.transpose()?,
        call: call.transpose()?,
    })
}

/// A served model with a price, and one without. One that can be called comes before a pattern.
async fn models(state: &AdminState) -> Result<(Option<String>, Option<String>), AdminError> {
    let first = |models: Vec<String>| {
        let plain = models.iter().position(|model| !patterns::is_pattern(model));
        models.into_iter().nth(plain.unwrap_or(0))
    };
    let (priced, free) = unpriced::split(state).await?;
    Ok((first(priced), first(free.into_iter().map(|model| model.model_name).collect())))
}
