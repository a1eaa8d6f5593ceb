//! When keys were last used, to a minute, without a write or a note for each call: a key that is
//! in use is looked up once a minute, when what is cached of it expires. Those looked up are noted,
//! and the notes written together.

use crate::{Db, Engine, StoreError, Value};
use domain::{Clock, KeyId};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
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
pub(crate) struct KeyUses(Mutex<HashSet<KeyId>>);

impl KeyUses {
    pub(crate) fn note(&self, key: KeyId) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() < MAX_NOTED {
            noted.insert(key);
        }
    }

    fn take(&self) -> Vec<KeyId> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *noted).into_iter().collect()
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
        for keys in self.take().chunks(SLICE) {
            let ids = keys.iter().map(|key| key.0.to_string()).collect::<Vec<_>>().join(", ");
            let which = match db.engine() {
                // A key whose row a settlement holds is left out, rather than waited for.
                Engine::Postgres => {
                    format!("SELECT id FROM tokens WHERE id IN ({ids}) FOR UPDATE SKIP LOCKED")
                }
                Engine::Sqlite => ids,
            };
            let sql = format!("UPDATE tokens SET last_used_at = $1 WHERE id IN ({which})");
            db.execute(&sql, &[Value::Time(clock.now())]).await?;
        }
        Ok(())
    }
}
