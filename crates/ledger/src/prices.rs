//! Frozen prices by id. Thousands of calls have the same price, so a hold and its line carry the id
//! of a row of `price_snapshots`.

use crate::error::LedgerError;
use domain::{DAY_MS, FrozenPrice, UnixMs};
use foldhash::HashMap;
use ring::digest::{SHA256, digest};
use std::sync::{Mutex, MutexGuard, PoisonError};
use store::{Db, StoreError, Value};

/// Maximum number of cached prices. When it is exceeded, the cache is cleared.
const PRICES_MAX: usize = 10_000;
/// How long an id is used before its row is updated. Retention keeps rows for longer than that.
pub(crate) const REFRESH_MS: i64 = DAY_MS;

const ENTER: &str = "INSERT INTO price_snapshots (hash, price, used_at) VALUES ($1, $2, $3)
    ON CONFLICT (hash) DO UPDATE SET used_at = excluded.used_at RETURNING id";

/// The ids of prices that this process has used, and since when.
#[derive(Debug, Default)]
pub(crate) struct PriceIds(Mutex<HashMap<FrozenPrice, (i64, UnixMs)>>);

impl PriceIds {
    /// The id of a price. For a new price, and once a day, it is written to the database.
    pub(crate) async fn id_of(
        &self,
        db: &Db,
        price: &FrozenPrice,
        now: UnixMs,
    ) -> Result<i64, LedgerError> {
        let known = self.lock().get(price).copied();
        if let Some((id, since)) = known
            && now.since_ms(since) < REFRESH_MS
        {
            return Ok(id);
        }
        let json = json_of(price);
        let hash = digest(&SHA256, json.as_bytes()).as_ref().to_vec();
        let params = [Value::Bytes(hash), Value::Json(json), Value::Time(now)];
        let rows = db.write(ENTER, &params).await?;
        let row = rows.first().ok_or_else(|| StoreError::Other("no price was kept".to_owned()))?;
        let id = row.get("id").map_err(LedgerError::from)?;
        let mut known = self.lock();
        if known.len() >= PRICES_MAX {
            known.clear();
        }
        known.insert(price.clone(), (id, now));
        Ok(id)
    }

    /// Clears the cache: after a fail-over the database may lack the last rows.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FrozenPrice, (i64, UnixMs)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A frozen price in its stored form. The types of a price have no value that JSON can't represent.
fn json_of(price: &FrozenPrice) -> String {
    serde_json::to_string(price).unwrap_or_default()
}
