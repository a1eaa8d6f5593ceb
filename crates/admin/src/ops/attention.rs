//! What an administrator should look at now: open holds, unfinished tasks, what is off or fails.

use crate::{Actor, AdminError, AdminState};
use domain::Quota;
use serde::Serialize;
use std::collections::BTreeSet;
use store::{Row, patterns};
use utoipa::ToSchema;

/// Most names of a list, and most rows that are counted.
const MAX_NAMED: usize = 50;
const UNPRICED: &str = "SELECT models FROM channels WHERE status = 1";
const COUNTS: &str = "SELECT
    (SELECT count(*) FROM holds) AS open_holds,
    (SELECT CAST(coalesce(sum(amount), 0) AS BIGINT) FROM holds) AS held,
    (SELECT count(*) FROM tasks
      WHERE status IN ('submitted', 'processing', 'unknown')) AS unfinished_tasks,
    (SELECT count(*) FROM webhook_endpoints
      WHERE url <> '' AND status = 2 AND disabled_reason <> '') AS webhooks_off,
    (SELECT count(*) FROM channels WHERE status = 1) AS channels_on,
    (SELECT count(*) FROM users WHERE deleted_at IS NULL) AS users";

/// What needs a look.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Attention {
    /// Holds open now.
    pub open_holds: i64,
    /// What they put aside.
    pub held: Quota,
    /// Tasks that have not ended.
    pub unfinished_tasks: i64,
    /// Webhooks that were disabled because they failed.
    pub webhooks_off: i64,
    /// Channels that serve.
    pub channels_on: i64,
    /// Users there are.
    pub users: i64,
    /// Channels that were disabled because they failed; at most 50.
    pub channels_off: Vec<ChannelOff>,
    /// Models that an enabled channel serves and that have no price: they are free; at most 50.
    pub unpriced_models: Vec<String>,
}

/// A channel that was disabled because it failed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChannelOff {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
}

/// What needs a look now.
///
/// # Errors
/// When the role does not reach, or the database fails.
pub async fn now(state: &AdminState, actor: &Actor) -> Result<Attention, AdminError> {
    actor.require_admin()?;
    let rows = state.db.search(COUNTS, &[]).await?;
    let counts = rows.first().ok_or_else(|| AdminError::System("no counts".to_owned()))?;
    let sql =
        format!("SELECT id, name FROM channels WHERE status = 3 ORDER BY id LIMIT {MAX_NAMED}");
    let off = state.db.read(&sql, &[]).await?;
    let channel = |row: &Row| Ok(ChannelOff { id: row.get("id")?, name: row.get("name")? });
    Ok(Attention {
        open_holds: counts.get("open_holds")?,
        held: counts.get("held")?,
        unfinished_tasks: counts.get("unfinished_tasks")?,
        webhooks_off: counts.get("webhooks_off")?,
        channels_on: counts.get("channels_on")?,
        users: counts.get("users")?,
        channels_off: off.iter().map(channel).collect::<Result<_, AdminError>>()?,
        unpriced_models: unpriced(state).await?,
    })
}

/// Models that are served free because they have no price.
async fn unpriced(state: &AdminState) -> Result<Vec<String>, AdminError> {
    let mut models = BTreeSet::new();
    for row in state.db.read(UNPRICED, &[]).await? {
        let text: String = row.get("models")?;
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        models.extend(names.map(str::to_owned));
    }
    for row in state.db.read("SELECT model_name FROM abilities", &[]).await? {
        let priced: String = row.get("model_name")?;
        models.retain(|model| *model != priced && !patterns::matches(&priced, model));
    }
    Ok(models.into_iter().take(MAX_NAMED).collect())
}
