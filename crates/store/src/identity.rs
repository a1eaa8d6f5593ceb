//! Who calls: a key and its owner.

use crate::identity_cache::Cache;
use crate::{Db, Row, StoreError, Value};
use domain::{KeyId, Ratio, UnixMs, UserId};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

/// Lines in which misses queue, so that one key is looked up once, however many ask.
/// Fewer than the pool has connections: somebody who guesses keys can't take them all.
const LINES: usize = 16;

/// A key with its owner, as far as a call needs to know them.
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
    /// When it ends.
    pub expires_at: Option<UnixMs>,
    /// Only the owner's balance limits what it spends in all.
    pub unlimited: bool,
    /// What it spends is limited, in all or in a day or a month, or is counted since it was.
    pub limited: bool,
    /// Requests a minute.
    pub rate_limit_rpm: Option<u32>,
    /// Tokens a minute.
    pub rate_limit_tpm: Option<u32>,
    /// The owner was deleted.
    pub deleted: bool,
}

/// Whose access token it is.
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

/// Keys by their hash, remembered for a while.
#[derive(Debug)]
pub struct Identities {
    db: Db,
    cache: Cache,
    lines: [tokio::sync::Mutex<Line>; LINES],
}

/// When the last one of a line found the database away.
#[derive(Debug, Default)]
struct Line {
    failed_at: Option<Instant>,
}

impl Identities {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new(db: Db) -> Self {
        let lines = std::array::from_fn(|_| tokio::sync::Mutex::default());
        Self { db, cache: Cache::default(), lines }
    }

    /// The identity of a key, if it is remembered.
    #[must_use]
    pub fn cached(&self, hash: &[u8; 32]) -> Option<Arc<Identity>> {
        self.cache.get(hash, Instant::now()).flatten()
    }

    /// The identity of a key; none when nobody has it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn by_key_hash(&self, hash: &[u8; 32]) -> Result<Option<Arc<Identity>>, StoreError> {
        let asked = Instant::now();
        if let Some(known) = self.cache.get(hash, asked) {
            return Ok(known);
        }
        let mut line = self.lines[usize::from(hash[0]) % LINES].lock().await;
        if let Some(known) = self.cache.get(hash, Instant::now()) {
            return Ok(known);
        }
        // Whoever waited behind one who waited in vain doesn't wait as long again.
        if line.failed_at.is_some_and(|at| at >= asked) {
            return Err(StoreError::Unavailable("keys can't be looked up".to_owned()));
        }
        let epoch = self.cache.epoch();
        match self.db.read_first(SELECT_KEY, &[Value::from(hash)]).await {
            Ok(rows) => {
                let found = rows.first().map(identity).transpose()?.map(Arc::new);
                self.cache.put(*hash, found.clone(), epoch, Instant::now());
                Ok(found)
            }
            Err(error) => {
                line.failed_at = Some(Instant::now());
                Err(error)
            }
        }
    }

    /// The user whose access token has this hash. Always asks the database.
    ///
    /// # Errors
    /// What the database says.
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

    /// Forgets all keys of a user.
    pub fn invalidate_user(&self, id: UserId) {
        self.cache.forget(&HashSet::from([id]), &HashSet::new());
    }

    /// Forgets a key.
    pub fn invalidate_key(&self, id: KeyId) {
        self.cache.forget(&HashSet::new(), &HashSet::from([id]));
    }

    pub(crate) fn invalidate(&self, users: &HashSet<UserId>, keys: &HashSet<KeyId>) {
        self.cache.forget(users, keys);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.cache.clear();
    }
}

const SELECT_KEY: &str = r#"SELECT t.id AS key_id, t.user_id, t.name AS key_name,
        t.status AS key_status, t."group" AS key_group, t.models, t.allow_ips, t.expired_at,
        t.unlimited_quota, (NOT t.unlimited_quota OR t.daily_limit IS NOT NULL
            OR t.monthly_limit IS NOT NULL OR t.spent_on IS NOT NULL) AS limited,
        t.rate_limit_rpm, t.rate_limit_tpm, u.username, u.role, u.status AS user_status,
        u."group" AS user_group, u.ratio, u.deleted_at
    FROM tokens t JOIN users u ON u.id = t.user_id WHERE t.key_hash = $1"#;

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
    })
}
