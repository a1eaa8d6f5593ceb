//! When keys were last used, to a minute, without a write or a note for each call: a key that is
//! in use is looked up once a minute, when what is cached of it expires. Those looked up are noted,
//! and the notes written together.

use crate::{Db, Engine, StoreError, Value};
use domain::{Clock, KeyId};
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pause between two writes.
const PAUSE: Duration = Duration::from_secs(10);
/// Keys in one statement.
const SLICE: usize = 500;
/// Keys noted at a time; more are written late, or not at all.
const MAX_NOTED: usize = 50_000;

/// The keys that were looked up since the last write.
#[derive(Debug, Default)]
pub(crate) struct KeyUses(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    keys: HashSet<KeyId>,
    /// The hashes of secrets that were replaced.
    replaced: HashSet<[u8; 32]>,
}

impl KeyUses {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, key: KeyId) {
        let mut noted = self.noted();
        if noted.keys.len() < MAX_NOTED {
            noted.keys.insert(key);
        }
    }

    /// Notes the use of a secret that was replaced. By its hash: another may be the one before by
    /// the time that it is written.
    pub(crate) fn note_replaced(&self, hash: [u8; 32]) {
        let mut noted = self.noted();
        if noted.replaced.len() < MAX_NOTED {
            noted.replaced.insert(hash);
        }
    }

    /// Writes the notes, periodically and once more at the end.
    pub(crate) async fn keep_writing(&self, db: &Db, clock: &Clock, shutdown: CancellationToken) {
        let mut is_last = false;
        while !is_last {
            tokio::select! {
                () = shutdown.cancelled() => is_last = true,
                () = tokio::time::sleep(PAUSE) => {}
            }
            if let Err(error) = self.write(db, clock).await {
                tracing::warn!(target: "custompass", event = "key_uses_not_written", %error);
            }
        }
    }

    async fn write(&self, db: &Db, clock: &Clock) -> Result<(), StoreError> {
        let Noted { keys, replaced } = std::mem::take(&mut *self.noted());
        // A key whose row a settlement holds is left out, rather than waited for.
        let (skip, quotes) = match db.engine() {
            Engine::Postgres => (" FOR UPDATE SKIP LOCKED", ("'\\x", "'::bytea")),
            Engine::Sqlite => ("", ("x'", "'")),
        };
        let set = async |columns: &str, which: String| {
            let rows = format!("SELECT id FROM tokens WHERE {which}{skip}");
            let sql = format!("UPDATE tokens SET {columns} WHERE id IN ({rows})");
            db.execute(&sql, &[Value::Time(clock.now())]).await
        };
        let keys: Vec<KeyId> = keys.into_iter().collect();
        for keys in keys.chunks(SLICE) {
            let ids = keys.iter().map(|key| key.0.to_string()).collect::<Vec<_>>().join(", ");
            set("last_used_at = $1", format!("id IN ({ids})")).await?;
        }
        let replaced: Vec<[u8; 32]> = replaced.into_iter().collect();
        for hashes in replaced.chunks(SLICE) {
            let literal = |hash: &[u8; 32]| {
                let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{}{hex}{}", quotes.0, quotes.1)
            };
            let list = hashes.iter().map(literal).collect::<Vec<_>>().join(", ");
            let which = format!("old_key_hash IN ({list}) AND old_key_ends_at > $1");
            set("last_used_at = $1, old_key_used_at = $1", which).await?;
        }
        Ok(())
    }
}
