//! What calls have made at upstreams and later calls name by its id: files, batches, stored
//! responses. Each belongs to the user whose call made it, and lies with the channel that it was
//! made at.

use crate::{Db, Row, StoreError, Value};
use domain::{ChannelId, UnixMs, UserId};

/// Something that a call has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The upstream's id.
    pub id: String,
    /// The channel that has it.
    pub channel_id: ChannelId,
    /// The model of the call that made it.
    pub model: String,
    /// When it was made.
    pub created_at: UnixMs,
    /// The last reply that showed it, sealed; none where it was too large to keep.
    pub reply_sealed: Option<String>,
}

/// Which part of a collection is listed.
#[derive(Clone, Copy, Debug)]
pub struct ResourcePage<'a> {
    /// Path of the calls that made it: `/v1/files`.
    pub collection: &'a str,
    /// Begins behind this one.
    pub after: Option<&'a str>,
    /// Oldest first.
    pub ascending: bool,
    /// At most so many.
    pub limit: u32,
}

/// Keeps who made these things, and where. Made again (some calls return what there was), one stays
/// what it is, with the newer reply.
///
/// # Errors
/// Any error of the database.
pub async fn keep(
    db: &Db,
    user_id: UserId,
    collection: &str,
    made: &[Resource],
    expires_at: UnixMs,
) -> Result<(), StoreError> {
    if made.is_empty() {
        return Ok(());
    }
    let mut params = vec![Value::from(user_id), Value::from(collection), Value::from(expires_at)];
    let mut rows = Vec::new();
    for resource in made {
        let at = params.len() + 1;
        rows.push(format!(
            "($1, ${at}, $2, ${}, ${}, ${}, ${}, $3)",
            at + 1,
            at + 2,
            at + 3,
            at + 4
        ));
        params.extend([
            Value::from(resource.id.as_str()),
            Value::from(resource.channel_id),
            Value::from(resource.model.as_str()),
            Value::from(resource.reply_sealed.clone()),
            Value::from(resource.created_at),
        ]);
    }
    let sql = format!(
        "INSERT INTO resources (user_id, resource_id, collection, channel_id, model,
                                reply_sealed, created_at, expires_at)
        VALUES {}
        ON CONFLICT (user_id, resource_id) DO UPDATE
        SET channel_id = excluded.channel_id, model = excluded.model,
            reply_sealed = excluded.reply_sealed, expires_at = excluded.expires_at",
        rows.join(", ")
    );
    db.execute(&sql, &params).await.map(drop)
}

/// Forgets who made things of these ids at a channel before this user: its upstream has forgotten
/// them, too, and gives their ids again.
///
/// # Errors
/// Any error of the database.
pub async fn take_over(
    db: &Db,
    user_id: UserId,
    channel_id: ChannelId,
    ids: &[String],
) -> Result<(), StoreError> {
    let sql = "DELETE FROM resources
        WHERE resource_id = $1 AND channel_id = $2 AND user_id <> $3";
    for id in ids {
        let params = [Value::from(id.as_str()), Value::from(channel_id), Value::from(user_id)];
        db.execute(sql, &params).await?;
    }
    Ok(())
}

/// Whether an id at a channel is known to be another user's: of a thing, or of a task.
///
/// # Errors
/// Any error of the database.
pub async fn is_anothers(
    db: &Db,
    user_id: UserId,
    channel_id: ChannelId,
    id: &str,
) -> Result<bool, StoreError> {
    let sql = "SELECT 1 AS known FROM resources
         WHERE resource_id = $1 AND channel_id = $2 AND user_id <> $3
        UNION ALL
        SELECT 1 FROM tasks WHERE task_id = $1 AND channel_id = $2 AND user_id <> $3
        LIMIT 1";
    let params = [Value::from(id), Value::from(channel_id), Value::from(user_id)];
    Ok(!db.read_first(sql, &params).await?.is_empty())
}

/// A user's own thing of this id.
///
/// # Errors
/// Any error of the database.
pub async fn find(
    db: &Db,
    user_id: UserId,
    id: &str,
    now: UnixMs,
) -> Result<Option<Resource>, StoreError> {
    let sql = "SELECT resource_id, channel_id, model, created_at, NULL AS reply_sealed
        FROM resources WHERE user_id = $1 AND resource_id = $2 AND expires_at > $3";
    let params = [Value::from(user_id), Value::from(id), Value::from(now)];
    db.read_first(sql, &params).await?.first().map(read).transpose()
}

/// A user's own things, the newest first unless the page says otherwise.
///
/// # Errors
/// Any error of the database.
pub async fn list(
    db: &Db,
    user_id: UserId,
    page: ResourcePage<'_>,
    now: UnixMs,
) -> Result<Vec<Resource>, StoreError> {
    let (beyond, order) = if page.ascending { (">", "ASC") } else { ("<", "DESC") };
    let sql = format!(
        "SELECT resource_id, channel_id, model, created_at, reply_sealed FROM resources
         WHERE user_id = $1 AND collection = $2 AND expires_at > $3
           AND ($4 = '' OR (created_at, resource_id) {beyond}
                (SELECT created_at, resource_id FROM resources
                 WHERE user_id = $1 AND resource_id = $4))
         ORDER BY created_at {order}, resource_id {order} LIMIT $5"
    );
    let params = [
        Value::from(user_id),
        Value::from(page.collection),
        Value::from(now),
        Value::from(page.after.unwrap_or_default()),
        Value::from(page.limit),
    ];
    db.read(&sql, &params).await?.iter().map(read).collect()
}

/// Replaces the reply that a list shows.
///
/// # Errors
/// Any error of the database.
pub async fn update_reply(
    db: &Db,
    user_id: UserId,
    id: &str,
    reply_sealed: Option<String>,
) -> Result<(), StoreError> {
    let sql = "UPDATE resources SET reply_sealed = $3 WHERE user_id = $1 AND resource_id = $2";
    let params = [Value::from(user_id), Value::from(id), Value::from(reply_sealed)];
    db.execute(sql, &params).await.map(drop)
}

/// Forgets a thing that its owner has deleted.
///
/// # Errors
/// Any error of the database.
pub async fn forget(db: &Db, user_id: UserId, id: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM resources WHERE user_id = $1 AND resource_id = $2";
    db.execute(sql, &[Value::from(user_id), Value::from(id)]).await.map(drop)
}

/// Deletes at most `limit` expired rows; returns how many.
///
/// # Errors
/// Any error of the database.
pub async fn purge_expired(db: &Db, now: UnixMs, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM resources WHERE (user_id, resource_id) IN
                   (SELECT user_id, resource_id FROM resources
                    WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";
    db.execute(sql, &[Value::from(now), Value::from(limit)]).await
}

fn read(row: &Row) -> Result<Resource, StoreError> {
    Ok(Resource {
        id: row.get("resource_id")?,
        channel_id: row.get("channel_id")?,
        model: row.get("model")?,
        created_at: row.get("created_at")?,
        reply_sealed: row.get("reply_sealed")?,
    })
}
