//! Recovers what a crash left between sending a submission and recording its task: a row without an
//! upstream id, created by a node that has died. (Or by this one, so long ago that no request can
//! still be in flight: the database was unavailable when its end was to be written.)
//!
//! A row is taken over by writing this node's id into it, guarded by the old id, so that one of
//! several nodes gets it. Where the upstream honours `Idempotency-Key` the same submission is sent
//! again under the same key; else its outcome can't be known, and it ends as failed.

use super::again::{Again, Repeated, Resubmitted};
use super::{location, point_to_task, tee_of};
use crate::idempotency::Ticket;
use crate::{Current, Relay};
use domain::{ChannelId, DAY_MS, FrozenPrice, NodeId, Quota, TaskUid, UnixMs, UserId};
use futures_util::{StreamExt, stream};
use ledger::{AcceptedTask, Charge, KeptReply, LedgerError, TaskEnd, TaskRef};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use store::{Row, StoreError, Value};
use tokio_util::sync::CancellationToken;

/// Pause between two searches for abandoned submissions.
const PAUSE: Duration = Duration::from_secs(3);
/// Rows per search.
const BATCH: i64 = 200;
/// Submissions recovered concurrently.
const AT_ONCE: usize = 16;
/// How old a submission may become while its upstream can't be reached.
const MAX_AGE_MS: i64 = 10 * 60_000;
/// The upper bound of [`longest_submission_ms`], regardless of the settings.
const MAX_SUBMISSION_MS: i64 = 10 * DAY_MS;
/// The reason for the ledger and for the log.
const LOST: &str = "submission_lost";

/// An abandoned submission.
pub(super) struct Left {
    pub uid: TaskUid,
    pub user_id: UserId,
    pub channel_id: ChannelId,
    pub model: String,
    pub request_id: String,
    pub node: NodeId,
    pub key_sealed: String,
    pub request_sealed: Option<String>,
    /// The owner's role; none: there is no such user any more.
    pub owner_role: Option<i64>,
    pub created_at: UnixMs,
}

/// The result of a recovery.
enum Recovery {
    /// Recorded, refused, or lost: it has an end or an id now.
    Over,
    /// The upstream could not be reached; possibly later.
    Later,
}

/// Channels that could not be reached in this search: submissions of other channels don't wait for
/// them.
#[derive(Default)]
struct Unreached(Mutex<HashSet<ChannelId>>);

impl Unreached {
    fn has(&self, id: ChannelId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// Logs a channel, once.
    fn add(&self, left: &Left, why: &str) {
        let is_new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(left.channel_id);
        if is_new {
            tracing::warn!(
                target: "custompass", event = "submission_delayed", task_uid = %left.uid,
                channel_id = left.channel_id.0, request_id = left.request_id, error = why,
            );
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RecoverError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{0}")]
    Other(String),
}

impl Relay {
    /// Recovers abandoned submissions, at once and then periodically, until `shutdown`. Recoveries
    /// in flight by then are left to the next run.
    pub async fn keep_recovering(current: Current, shutdown: CancellationToken) {
        loop {
            let relay = current.now();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = relay.recover_submissions() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Recovers every submission whose node has died, once. A failing one doesn't affect the
    /// others.
    pub async fn recover_submissions(&self) {
        let mut after = TaskUid(uuid::Uuid::nil());
        let unreached = Unreached::default();
        loop {
            let rows = match left_behind(self, after).await {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::warn!(target: "custompass", event = "recovery_failed", %error);
                    return;
                }
            };
            let Some(last) = rows.last() else { return };
            let (is_last, uid) =
                (rows.len() < usize::try_from(BATCH).unwrap_or(0), last.get("uid"));
            let recovering = stream::iter(&rows).for_each_concurrent(AT_ONCE, |row| async {
                if let Err(error) = recover_row(self, row, &unreached).await {
                    tracing::warn!(target: "custompass", event = "recovery_failed", %error);
                }
            });
            recovering.await;
            match uid {
                Ok(uid) if !is_last => after = TaskUid(uid),
                _ => return,
            }
        }
    }
}

async fn left_behind(relay: &Relay, after: TaskUid) -> Result<Vec<Row>, StoreError> {
    const SELECT: &str = "SELECT uid, user_id, channel_id, action, request_id, node_id,
            key_sealed, request_sealed, created_at,
            (SELECT role FROM users WHERE users.id = tasks.user_id) AS owner_role FROM tasks
        WHERE node_id IS NOT NULL AND task_id = '' AND finish_time IS NULL AND uid > $1
          AND ((node_id = $2 AND created_at < $3)
               OR NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.id = tasks.node_id))
        ORDER BY uid LIMIT $4";
    let params = [
        Value::Uuid(after.0),
        Value::from(relay.node_id),
        Value::Time(relay.clock.now().plus_ms(-longest_submission_ms(relay))),
        Value::Int(BATCH),
    ];
    relay.db.read(SELECT, &params).await
}

/// Longer than any submission can take: its estimate, its reply, and failovers before.
fn longest_submission_ms(relay: &Relay) -> i64 {
    let catalog = relay.live.catalog.load();
    let total_ms = i64::try_from(relay.config.total_ms).unwrap_or(i64::MAX);
    let replies_ms = total_ms.saturating_mul(2);
    relay.config.hold_ms(catalog.channels()).saturating_add(replies_ms).min(MAX_SUBMISSION_MS)
}

fn left_of(row: &Row) -> Result<Left, StoreError> {
    Ok(Left {
        uid: TaskUid(row.get("uid")?),
        user_id: row.get("user_id")?,
        channel_id: row.get("channel_id")?,
        model: row.get("action")?,
        request_id: row.get("request_id")?,
        node: row.get("node_id")?,
        key_sealed: row.get("key_sealed")?,
        request_sealed: row.get("request_sealed")?,
        owner_role: row.get("owner_role")?,
        created_at: row.get("created_at")?,
    })
}

async fn recover_row(relay: &Relay, row: &Row, unreached: &Unreached) -> Result<(), RecoverError> {
    let left = left_of(row)?;
    let ours = relay.node_id;
    if !store::tasks::hand_over(&relay.db, left.uid, left.node, ours).await? {
        return Ok(());
    }
    let recovered = recover(relay, &left, unreached).await;
    // What was not finished is handed back, so that the next search finds it.
    if !matches!(recovered, Ok(Recovery::Over)) {
        store::tasks::hand_over(&relay.db, left.uid, ours, left.node).await?;
    }
    recovered.map(drop)
}

async fn recover(
    relay: &Relay,
    left: &Left,
    unreached: &Unreached,
) -> Result<Recovery, RecoverError> {
    let again = match Again::of(relay, left) {
        Ok(again) => again,
        Err(why) => return give_up(relay, left, why).await,
    };
    let Some(claim) = again.kept.claim.as_deref() else {
        return bring_to_end(relay, left, &again, unreached).await;
    };
    let (db, user_id, ours) = (&relay.db, left.user_id, relay.node_id);
    if !store::idempotency::take_over(db, user_id, claim, ours).await? {
        // The client has repeated the request itself: that one replaces this submission.
        return give_up(relay, left, "repeated by its client").await;
    }
    let outcome = bring_to_end(relay, left, &again, unreached).await;
    if matches!(outcome, Ok(Recovery::Over)) {
        // A completed claim stays.
        store::idempotency::forget(db, user_id, claim, ours).await?;
    } else {
        store::idempotency::hand_back(db, user_id, claim, ours, left.node).await?;
    }
    outcome
}

async fn bring_to_end(
    relay: &Relay,
    left: &Left,
    again: &Again,
    unreached: &Unreached,
) -> Result<Recovery, RecoverError> {
    let repeated = if unreached.has(left.channel_id) {
        Repeated::Unreached("it could not be reached for another submission".to_owned())
    } else {
        let price = price_of(relay, left).await?;
        again.send(relay, left, price.as_ref()).await
    };
    match repeated {
        Repeated::Accepted(resubmitted) => record(relay, left, *resubmitted, again).await?,
        Repeated::Refused(words) => refuse(relay, left, words).await?,
        Repeated::Unreached(why) => {
            unreached.add(left, &why);
            if is_young(relay, left) {
                return Ok(Recovery::Later);
            }
            return give_up(relay, left, "the upstream can't be reached").await;
        }
        Repeated::Lost(why) => return give_up(relay, left, why).await,
    }
    Ok(Recovery::Over)
}

fn is_young(relay: &Relay, left: &Left) -> bool {
    relay.clock.now().since_ms(left.created_at) < MAX_AGE_MS
}

async fn record(
    relay: &Relay,
    left: &Left,
    resubmitted: Resubmitted,
    again: &Again,
) -> Result<(), RecoverError> {
    let Resubmitted { accepted, mut head, bytes, hold } = resubmitted;
    let task_id = accepted.task_id.clone();
    // Only a client that repeats its request gets the reply.
    let reply = again.kept.claim.as_deref().map(|claim| {
        point_to_task(relay, &mut head, location(&left.model, &task_id));
        let ticket = Ticket { user_id: left.user_id, key_hash: claim.to_owned() };
        let share = relay.budget.share_of(ticket.user_id);
        tee_of(relay, &head, &bytes, share).keep(relay, &ticket)
    });
    let task = accepted.record(relay, left.uid, &again.channel);
    let task = task.map_err(|fault| RecoverError::Other(fault.en))?;
    let taken = AcceptedTask { task, hold, reply: reply.clone() };
    relay.ledger.record_task_again(left.user_id, taken).await?;
    if let Some(KeptReply { user_id, idempotency_key, sealed }) = reply {
        // The ledger has done so with the money; a free task has none.
        let (db, node) = (&relay.db, relay.node_id);
        store::idempotency::complete(db, user_id, &idempotency_key, node, sealed).await?;
    }
    tracing::info!(
        target: "custompass", event = "submission_recovered", task_uid = %left.uid, task_id,
        user_id = left.user_id.0, channel_id = left.channel_id.0, model = left.model,
        request_id = left.request_id,
    );
    Ok(())
}

/// The price of the hold; `None`: the task is free.
async fn price_of(relay: &Relay, left: &Left) -> Result<Option<FrozenPrice>, RecoverError> {
    let sql = "SELECT p.price FROM holds h JOIN price_snapshots p ON p.id = h.price_id
        WHERE h.id = $1";
    let rows = relay.db.read(sql, &[Value::Uuid(left.uid.0)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let price: String = row.get("price")?;
    serde_json::from_str(&price).map(Some).map_err(|e| RecoverError::Other(e.to_string()))
}

/// The upstream refuses the repetition.
async fn refuse(relay: &Relay, left: &Left, words: String) -> Result<(), RecoverError> {
    let released = end(relay, left, "upstream_refused", words).await?;
    tracing::info!(
        target: "custompass", event = "submission_refused", task_uid = %left.uid,
        user_id = left.user_id.0, channel_id = left.channel_id.0, model = left.model,
        request_id = left.request_id, released = released.0,
    );
    Ok(())
}

/// The outcome will never be known: failed, and released.
async fn give_up(relay: &Relay, left: &Left, why: &'static str) -> Result<Recovery, RecoverError> {
    let released = end(relay, left, LOST, format!("{LOST}: {why}")).await?;
    tracing::warn!(
        target: "custompass", event = "submission_lost", task_uid = %left.uid,
        user_id = left.user_id.0, channel_id = left.channel_id.0, model = left.model,
        request_id = left.request_id, released = released.0, error = why,
    );
    Ok(Recovery::Over)
}

async fn end(
    relay: &Relay,
    left: &Left,
    reason: &'static str,
    words: String,
) -> Result<Quota, RecoverError> {
    let task = TaskRef {
        uid: left.uid,
        user_id: left.user_id,
        channel_id: Some(left.channel_id),
        since: left.created_at,
    };
    let end = TaskEnd::failed(words);
    let finished = relay.ledger.finish_task(&task, Charge::Nothing(reason), end).await?;
    Ok(finished.released)
}
