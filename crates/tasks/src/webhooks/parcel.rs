//! The request of a delivery: read from the rows, unsealed and signed.

use super::claim::DeliveryClaim;
use super::message::{self, EndedTaskRow, LowBalance};
use super::signature;
use crate::Parts;
use bytes::Bytes;
use domain::{TaskUid, UnixMs};
use http::Uri;
use store::{Row, Sealer, Secret, StoreError, TASK_DATA, WEBHOOK_SECRET, WEBHOOK_URL, webhooks};
use tokio::sync::Mutex;

/// A webhook, ready to be sent.
pub(super) struct Parcel {
    pub uri: Uri,
    pub id: String,
    pub timestamp: i64,
    pub signature: String,
    /// Its share of the memory budget, until it was sent.
    pub body: Bytes,
    /// It goes to the address of one submission, not to an endpoint that others share.
    pub of_submission: bool,
}

/// Why there is nothing to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsendable {
    /// The endpoint is deleted or disabled, and with it all its pending deliveries.
    NoEndpoint,
    /// The task or its address is deleted: this one delivery can't be made.
    Never(&'static str),
    /// The memory budget is exhausted: not an attempt, but postponed.
    NoRoom,
    /// Something can't be read; an operator or the owner may fix it in time.
    NotNow(&'static str),
}

/// All of it but a large result, which is read once there is memory for it.
const SELECT: &str = "
    SELECT e.status AS endpoint_status, e.url, e.secret_sealed, e.previous_secret_sealed,
           e.previous_until, t.uid, t.task_id, t.action, t.status, t.upstream_status, t.progress,
           t.fail_reason, t.quota, octet_length(t.data) AS data_bytes,
           CASE WHEN octet_length(t.data) <= 16384 THEN t.data END AS data,
           t.webhook_url_sealed, t.created_at, t.updated_at, t.finish_time, d.event,
           d.user_id AS owner, d.created_at AS seen_at, d.balance, d.threshold
    FROM webhook_deliveries d
         LEFT JOIN webhook_endpoints e ON e.id = d.endpoint_id AND e.user_id = d.user_id
         LEFT JOIN tasks t ON t.uid = d.task_uid AND t.user_id = d.user_id
    WHERE d.id = $1";

/// The upstream's report, where that is large.
const DATA: &str = "
    SELECT t.data
    FROM webhook_deliveries d JOIN tasks t ON t.uid = d.task_uid AND t.user_id = d.user_id
    WHERE d.id = $1";

/// Builds the parcel of a delivery, from the current rows of its endpoint and its task.
pub(super) async fn pack(
    parts: &Parts,
    claim: &DeliveryClaim,
    packing: &Mutex<()>,
) -> Result<Result<Parcel, Unsendable>, StoreError> {
    let rows = parts.db.read(SELECT, &[claim.id.into()]).await?;
    let Some(row) = rows.first() else { return Ok(Err(Unsendable::Never("delivery_gone"))) };
    if row.get::<Option<i64>>("endpoint_status")? != Some(1) {
        return Ok(Err(Unsendable::NoEndpoint));
    }
    let now = parts.clock.now();
    let mut share = parts.budget.share_of(claim.user_id);
    let body = match row.get::<String>("event")?.as_str() {
        message::LOW_BALANCE => message::low_balance(row.get("seen_at")?, low_balance(row)?),
        message::TEST => message::test(row.get("seen_at")?, claim.endpoint_id),
        _ if row.get::<Option<String>>("status")?.is_none() => {
            return Ok(Err(Unsendable::Never("task_gone")));
        }
        _ => {
            let bytes = usize::try_from(row.get::<i64>("data_bytes")?).unwrap_or_default();
            if !share.grow_towards(bytes) {
                return Ok(Err(Unsendable::NoRoom));
            }
            match row.get::<Option<String>>("data")? {
                Some(small) => message::body(&ended(row, small, &parts.sealer)?),
                None => {
                    // Sealed, unsealed and embedded, it is in memory three times: one at a time.
                    let _turn = packing.lock().await;
                    let rows = parts.db.read(DATA, &[claim.id.into()]).await?;
                    let data = rows.first().map(|row| row.get("data")).transpose()?;
                    drop(rows);
                    message::body(&ended(row, data.unwrap_or_default(), &parts.sealer)?)
                }
            }
        }
    };
    let (uri, of_submission) = match address(row, &parts.sealer)? {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    let keys = keys(row, &parts.sealer, now)?;
    let Ok(body) = body else { return Ok(Err(Unsendable::NotNow("task_unreadable"))) };
    let id = message::message_id(claim.task_uid, claim.endpoint_id);
    let timestamp = now.0.div_euclid(1_000);
    let body = share.tie(body.into());
    Ok(match signature::sign(&keys, &id, timestamp, &body) {
        Some(signature) => Ok(Parcel { uri, id, timestamp, signature, body, of_submission }),
        None => Err(Unsendable::NotNow("secret_unreadable")),
    })
}

/// The address, and whether only one submission requested it.
fn address(row: &Row, sealer: &Sealer) -> Result<Result<(Uri, bool), Unsendable>, StoreError> {
    let url: String = row.get("url")?;
    let (url, of_submission) = if url.is_empty() {
        let Some(sealed) = row.get::<Option<String>>("webhook_url_sealed")? else {
            return Ok(Err(Unsendable::Never("address_gone")));
        };
        match sealer.open_text(WEBHOOK_URL, &sealed) {
            Ok(url) => (url, true),
            Err(_) => return Ok(Err(Unsendable::NotNow("address_unreadable"))),
        }
    } else {
        (Secret::from(url), false)
    };
    let uri = url.expose().parse::<Uri>().ok().filter(|uri| uri.host().is_some());
    Ok(uri.map(|uri| (uri, of_submission)).ok_or(Unsendable::NotNow("address_unreadable")))
}

/// The signing secrets: the current one, and the previous one while it is valid.
fn keys(row: &Row, sealer: &Sealer, now: UnixMs) -> Result<Vec<Vec<u8>>, StoreError> {
    let current: String = row.get("secret_sealed")?;
    let until: Option<UnixMs> = row.get("previous_until")?;
    let previous: Option<String> = row.get("previous_secret_sealed")?;
    let previous = previous.filter(|_| until.is_some_and(|until| until > now));
    let key = |sealed: &String| {
        let secret = sealer.open_text(WEBHOOK_SECRET, sealed).ok()?;
        webhooks::signing_key(&secret)
    };
    Ok([Some(current), previous].iter().flatten().filter_map(key).collect())
}

fn low_balance(row: &Row) -> Result<LowBalance, StoreError> {
    Ok(LowBalance {
        user_id: row.get("owner")?,
        quota: row.get("balance")?,
        threshold: row.get("threshold")?,
    })
}

fn ended(row: &Row, data: String, sealer: &Sealer) -> Result<EndedTaskRow, StoreError> {
    // A report that can't be opened is left out: that the task has ended is worth reporting alone.
    let said = sealer.open(TASK_DATA, &data).ok();
    drop(data);
    let said = said.and_then(|text| String::from_utf8(text).ok());
    let finished: Option<UnixMs> = row.get("finish_time")?;
    Ok(EndedTaskRow {
        uid: TaskUid(row.get("uid")?),
        task_id: row.get("task_id")?,
        model: row.get("action")?,
        status: row.get("status")?,
        upstream_status: row.get("upstream_status")?,
        progress: row.get("progress")?,
        fail_reason: row.get("fail_reason")?,
        quota: row.get("quota")?,
        said: said.unwrap_or_default(),
        created_at: row.get("created_at")?,
        finish_time: finished.map_or_else(|| row.get("updated_at"), Ok)?,
    })
}
