//! Identities: a key with its owner.

use crate::identity_cache::Cache;
use crate::key_uses::KeyUses;
use crate::{Db, Row, StoreError, Value};
use domain::{KeyId, Ratio, UnixMs, UserId};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

/// Locks over which misses are spread, so that one key is looked up once, however many callers need
/// it. Fewer than the pool has connections: a client that guesses keys can't take them all.
const LINES: usize = 16;

/// A key with its owner, as far as a call needs them.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The owner.
    pub user_id: UserId,
    /// The owner's name.
    pub username: Arc<str>,
    /// 1 user, 10 admin, 100 root.
    pub role: i64,
    /// 1 enabled.
    pub user_status: i64,
    /// The owner's group.
    pub user_group: String,
    /// The owner's price factor.
    pub user_ratio: Ratio,
    /// The key.
    pub key_id: KeyId,
    /// The key's name.
    pub key_name: String,
    /// 1 enabled.
    pub key_status: i64,
    /// The key's own group, if it has one.
    pub key_group: Option<String>,
    /// Models it may call; none: all.
    pub models: Option<HashSet<String>>,
    /// Addresses and networks it may be used from, as stored; empty: all.
    pub allow_ips: Vec<String>,
    /// When it expires.
    pub expires_at: Option<UnixMs>,
    /// The key has no quota of its own: only the owner's balance limits it.
    pub unlimited: bool,
    /// The key's spending is limited, in total or by day or month, or is counted since it was.
    pub limited: bool,
    /// Requests a minute.
    pub rate_limit_rpm: Option<u32>,
    /// Tokens a minute.
    pub rate_limit_tpm: Option<u32>,
    /// The owner was deleted.
    pub deleted: bool,
    /// Until when the secret it was found by is good: it was replaced by another.
    pub replaced_until: Option<UnixMs>,
}

/// The owner of an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminIdentity {
    /// The user.
    pub user_id: UserId,
    /// The user's name.
    pub username: String,
    /// 1 user, 10 admin, 100 root.
    pub role: i64,
    /// 1 enabled.
    pub status: i64,
    /// The user's group.
    pub group: String,
    /// The user was deleted.
    pub deleted: bool,
}

/// A cache of keys, by their hash.
#[derive(Debug)]
pub struct Identities {
    db: Db,
    cache: Cache,
    pub(crate) uses: KeyUses,
    lines: [tokio::sync::Mutex<Line>; LINES],
}

/// When the last lookup under a lock failed because the database was unavailable.
#[derive(Debug, Default)]
struct Line {
    failed_at: Option<Instant>,
}

impl Identities {
    /// Creates an empty cache.
    #[must_use]
    pub fn new(db: Db) -> Self {
        let lines = std::array::from_fn(|_| tokio::sync::Mutex::default());
        Self { db, cache: Cache::default(), uses: KeyUses::default(), lines }
    }

    /// The identity of a key, if it is cached.
    #[must_use]
    pub fn cached(&self, hash: &[u8; 32]) -> Option<Arc<Identity>> {
        self.cache.get(hash, Instant::now()).flatten()
    }

    /// The identity of a key; `None` when there is no such key.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn by_key_hash(&self, hash: &[u8; 32]) -> Result<Option<Arc<Identity>>, StoreError> {
        let asked = Instant::now();
        if let Some(known) = self.cache.get(hash, asked) {
            return Ok(known);
        }
        let mut line = self.lines[usize::from(hash[0]) % LINES].lock().await;
        if let Some(known) = self.cache.get(hash, Instant::now()) {
            return Ok(known);
        }
        // Those who queued behind a lookup that timed out don't wait for the full time-out again.
        if line.failed_at.is_some_and(|at| at >= asked) {
            return Err(StoreError::Unavailable("keys can't be looked up".to_owned()));
        }
        let epoch = self.cache.epoch();
        match self.db.read_first(SELECT_KEY, &[Value::from(hash)]).await {
            Ok(rows) => {
                let found = rows.first().map(identity).transpose()?.map(Arc::new);
                if let Some(key) = found.as_ref().filter(|key| key.key_status == 1) {
                    match key.replaced_until {
                        Some(_) => self.uses.note_replaced(*hash),
                        None => self.uses.note(key.key_id),
                    }
                }
                self.cache.put(*hash, found.clone(), epoch, Instant::now());
                Ok(found)
            }
            Err(error) => {
                line.failed_at = Some(Instant::now());
                Err(error)
            }
        }
    }

    /// The user whose access token has this hash. Never cached.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn by_access_token(
        &self,
        hash: &[u8; 32],
    ) -> Result<Option<AdminIdentity>, StoreError> {
        let rows = self.db.read_first(SELECT_ACCESS_TOKEN, &[Value::from(hash)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(AdminIdentity {
            user_id: row.get("id")?,
            username: row.get("username")?,
            role: row.get("role")?,
            status: row.get("status")?,
            group: row.get("group")?,
            deleted: row.get::<Option<UnixMs>>("deleted_at")?.is_some(),
        }))
    }

    /// Invalidates all keys of a user.
    pub fn invalidate_user(&self, id: UserId) {
        self.cache.invalidate(&HashSet::from([id]), &HashSet::new());
    }

    /// Invalidates a key.
    pub fn invalidate_key(&self, id: KeyId) {
        self.cache.invalidate(&HashSet::new(), &HashSet::from([id]));
    }

    pub(crate) fn invalidate(&self, users: &HashSet<UserId>, keys: &HashSet<KeyId>) {
        self.cache.invalidate(users, keys);
    }

    /// Invalidates everything.
    pub fn clear(&self) {
        self.cache.clear();
    }
}

const SELECT_KEY: &str = r#"SELECT t.id AS key_id, t.user_id, t.name AS key_name,
        t.status AS key_status, t."group" AS key_group, t.models, t.allow_ips, t.expired_at,
        t.unlimited_quota, (NOT t.unlimited_quota OR t.daily_limit IS NOT NULL
            OR t.monthly_limit IS NOT NULL OR t.spent_on IS NOT NULL) AS limited,
        t.rate_limit_rpm, t.rate_limit_tpm, u.username, u.role, u.status AS user_status,
        u."group" AS user_group, u.ratio, u.deleted_at,
        CASE WHEN t.key_hash <> $1 THEN t.old_key_ends_at END AS replaced_until
    FROM tokens t JOIN users u ON u.id = t.user_id
    WHERE t.key_hash = $1 OR t.old_key_hash = $1"#;

const SELECT_ACCESS_TOKEN: &str = r#"SELECT id, username, role, status, "group", deleted_at
    FROM users WHERE access_token_hash = $1"#;

fn identity(row: &Row) -> Result<Identity, StoreError> {
    let models = crate::channel_fields::list(&row.get::<String>("models")?);
    let key_group: Option<String> = row.get("key_group")?;
    Ok(Identity {
        user_id: row.get("user_id")?,
        username: row.get("username")?,
        role: row.get("role")?,
        user_status: row.get("user_status")?,
        user_group: row.get("user_group")?,
        user_ratio: row.get("ratio")?,
        key_id: row.get("key_id")?,
        key_name: row.get("key_name")?,
        key_status: row.get("key_status")?,
        key_group: key_group.filter(|group| !group.is_empty()),
        models: Some(models.into_iter().collect()).filter(|set: &HashSet<_>| !set.is_empty()),
        allow_ips: crate::channel_fields::list(&row.get::<String>("allow_ips")?),
        expires_at: row.get("expired_at")?,
        unlimited: row.get("unlimited_quota")?,
        limited: row.get("limited")?,
        rate_limit_rpm: row.get("rate_limit_rpm")?,
        rate_limit_tpm: row.get("rate_limit_tpm")?,
        deleted: row.get::<Option<UnixMs>>("deleted_at")?.is_some(),
        replaced_until: row.get("replaced_until")?,
    })
}
