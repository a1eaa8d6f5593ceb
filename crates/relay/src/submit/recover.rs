//! What a crash left between sending a submission and recording its task: a row without a number
//! of the upstream's, made by a node that is no more.
//!
//! A row is taken over by writing this node's name into it, guarded by the old name, so that one of
//! several nodes gets it. Where the upstream honours `Idempotency-Key` the same submission is sent
//! again under the same key; else nobody can know what became of it, and it ends as failed.

use super::said::{self, FirstReply, Refusal, Said};
use super::{age_ms, request, whole};
use crate::Relay;
use crate::call::Kind;
use crate::carry::Tie;
use crate::deliver::unusable;
use crate::reply::collect;
use crate::verdict::End;
use domain::{ChannelId, FrozenPrice, NodeId, Quota, TaskUid, UnixMs, UserId};
use egress::Prepared;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use ledger::{Charge, LedgerError, Taken, TaskEnd, TaskRef};
use std::sync::Arc;
use std::time::Duration;
use store::{Channel, Row, StoreError, TOKEN_KEY, Value};
use tokio_util::sync::CancellationToken;

/// Between two looks for submissions that were left behind.
const PAUSE: Duration = Duration::from_secs(3);
/// Rows of one look at the table.
const BATCH: i64 = 200;
/// Submissions recovered at the same time.
const AT_ONCE: usize = 16;
/// How old a submission may become while its upstream can't be reached.
const MAX_AGE_MS: i64 = 10 * 60_000;
/// The reason for the ledger and for the log.
const LOST: &str = "submission_lost";

/// A submission that was left behind.
struct Left {
    uid: TaskUid,
    user_id: UserId,
    channel_id: ChannelId,
    model: String,
    request_id: String,
    node: NodeId,
    key_sealed: String,
    request_sealed: Option<String>,
    created_at: UnixMs,
}

/// What became of it.
enum Outcome {
    /// Recorded, refused, or lost: it has an end or a number now.
    Over,
    /// The upstream could not be reached; later, perhaps.
    Later(String),
}

/// Why it is not repeated, or what the repetition came to.
enum Repeated {
    Taken(Said),
    Refused(String),
    Lost(&'static str),
    Unreached(String),
}

/// A submission that can be repeated.
struct Again {
    kept: request::Kept,
    channel: Arc<Channel>,
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
    /// Looks after submissions that other runs left behind, at once and then again and again,
    /// until `shutdown`. What is under way by then is left to the next run.
    pub async fn keep_recovering(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.recover_submissions() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Looks once after every submission whose node is no more. None of them harms another.
    pub async fn recover_submissions(&self) {
        let mut after = TaskUid(uuid::Uuid::nil());
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
            let recovering = stream::iter(&rows).for_each_concurrent(AT_ONCE, |row| async move {
                if let Err(error) = recover_row(self, row).await {
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
            key_sealed, request_sealed, created_at FROM tasks
        WHERE node_id IS NOT NULL AND task_id = '' AND finish_time IS NULL AND uid > $1
          AND NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.id = tasks.node_id)
        ORDER BY uid LIMIT $2";
    relay.db.read(SELECT, &[Value::Uuid(after.0), Value::Int(BATCH)]).await
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
        created_at: row.get("created_at")?,
    })
}

async fn recover_row(relay: &Relay, row: &Row) -> Result<(), RecoverError> {
    let left = left_of(row)?;
    let ours = relay.config.node_id;
    if !passes(relay, left.uid, left.node, ours).await? {
        return Ok(());
    }
    let recovered = recover(relay, &left).await;
    // Whatever was not brought to an end is given back, so that the next look finds it.
    if !matches!(recovered, Ok(Outcome::Over)) {
        passes(relay, left.uid, ours, left.node).await?;
    }
    if let Outcome::Later(why) = recovered? {
        tracing::warn!(
            target: "custompass", event = "submission_delayed", task_uid = %left.uid,
            channel_id = left.channel_id.0, request_id = left.request_id, error = why,
        );
    }
    Ok(())
}

/// Hands a row from one node to another. `false`: somebody else was first.
async fn passes(relay: &Relay, uid: TaskUid, from: NodeId, to: NodeId) -> Result<bool, StoreError> {
    let sql = "UPDATE tasks SET node_id = $3
        WHERE uid = $1 AND node_id = $2 AND task_id = '' AND finish_time IS NULL";
    let params = [Value::Uuid(uid.0), Value::from(from), Value::from(to)];
    Ok(relay.db.execute(sql, &params).await? > 0)
}

async fn recover(relay: &Relay, left: &Left) -> Result<Outcome, RecoverError> {
    let again = match again_of(relay, left) {
        Ok(again) => again,
        Err(why) => return lose(relay, left, why).await,
    };
    let Again { kept, channel } = &again;
    let ours = relay.config.node_id;
    let claim = kept.claim.as_deref();
    if let Some(claim) = claim {
        let (db, user_id) = (&relay.db, left.user_id);
        if !store::idempotency::take_over(db, user_id, claim, left.node, ours).await? {
            // The client has repeated the request itself: that one stands for both.
            return lose(relay, left, "repeated by its client").await;
        }
    }
    let outcome = match repeat(relay, left, &again).await {
        Repeated::Taken(said) => {
            record(relay, left, said, channel, claim).await?;
            return Ok(Outcome::Over);
        }
        Repeated::Unreached(why) if is_young(relay, left) => {
            if let Some(claim) = claim {
                let (db, user_id) = (&relay.db, left.user_id);
                store::idempotency::take_over(db, user_id, claim, ours, left.node).await?;
            }
            return Ok(Outcome::Later(why));
        }
        Repeated::Unreached(_) => lose(relay, left, "the upstream can't be reached").await?,
        Repeated::Lost(why) => lose(relay, left, why).await?,
        Repeated::Refused(words) => {
            let refunded = end(relay, left, "upstream_refused", words).await?;
            tracing::info!(
                target: "custompass", event = "submission_refused", task_uid = %left.uid,
                user_id = left.user_id.0, channel_id = left.channel_id.0, model = left.model,
                request_id = left.request_id, refunded = refunded.0,
            );
            Outcome::Over
        }
    };
    if let Some(claim) = claim {
        store::idempotency::forget(&relay.db, left.user_id, claim, ours).await?;
    }
    Ok(outcome)
}

fn is_young(relay: &Relay, left: &Left) -> bool {
    age_ms(left.created_at, relay.clock.now()) < MAX_AGE_MS
}

/// What is needed to repeat a submission, or why it can't be.
fn again_of(relay: &Relay, left: &Left) -> Result<Again, &'static str> {
    let catalog = relay.live.catalog.load_full();
    let channel = catalog.channel(left.channel_id).ok_or("its channel is gone")?;
    if !channel.setting.idempotent {
        return Err("its upstream does not honour Idempotency-Key");
    }
    let sealed = left.request_sealed.as_deref().ok_or("it was too large to be kept")?;
    let key = relay.sealer.open_text(TOKEN_KEY, &left.key_sealed);
    let key = key.map_err(|_| "its key can't be opened")?;
    let kept = request::open(relay, sealed, key.expose(), &left.request_id)
        .filter(|kept| kept.call.model.as_str() == left.model)
        .ok_or("it can't be read again")?;
    Ok(Again { kept, channel: Arc::clone(channel) })
}

/// Sends the submission again, under the key that the upstream knows it by.
async fn repeat(relay: &Relay, left: &Left, again: &Again) -> Repeated {
    let Again { kept, channel } = again;
    let limit = channel.setting.concurrency;
    let Ok(mut attempt) = relay.channels.enter(channel.id, limit, channel.auto_ban) else {
        return Repeated::Unreached("the channel is busy or left alone".to_owned());
    };
    let Ok(prepared) = attempt.prepared(channel, &relay.config) else {
        return Repeated::Lost("its channel is misconfigured");
    };
    let call = &kept.call;
    let Ok(put) = call.put(&prepared, Some(left.uid.hold()), Kind::Real, &relay.config) else {
        return Repeated::Lost("it can't be put to its channel");
    };
    let request = put.request(&call.method, &prepared);
    let reply = match relay.client.send(request, &prepared.deadlines).await {
        Ok(reply) => reply,
        Err(error) => {
            attempt.bad();
            return Repeated::Unreached(error.to_string());
        }
    };
    if reply.status.is_server_error() {
        attempt.bad();
    } else {
        attempt.good();
    }
    if may_differ_later(reply.status) {
        return Repeated::Unreached(format!("status {}", reply.status.as_u16()));
    }
    judge(relay, reply, &prepared).await
}

/// Whether an upstream that says this may say something else when it is asked again.
fn may_differ_later(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425 | 429)
}

async fn judge(relay: &Relay, mut reply: upstream::Reply, prepared: &Prepared) -> Repeated {
    if unusable(&reply, prepared).is_some() {
        return Repeated::Lost("its upstream redirects elsewhere");
    }
    let (tie, mut share) = (Tie::default(), relay.budget.share());
    let most = relay.config.max_collected_reply_bytes;
    let collected = collect(&mut reply.body, most, &tie, &mut share).await;
    if matches!(collected.end, Some(End::Cut | End::TimedOut)) {
        return Repeated::Unreached("the reply broke off".to_owned());
    }
    let Ok(bytes) = whole(collected) else {
        return Repeated::Lost("the upstream's reply is too large");
    };
    match said::read(reply.status, &reply.headers, &bytes) {
        FirstReply::Taken(said) => Repeated::Taken(said),
        FirstReply::Refused(Refusal { words, .. }) => Repeated::Refused(words),
        FirstReply::Estimate => Repeated::Lost("the upstream answered with an estimate"),
    }
}

async fn record(
    relay: &Relay,
    left: &Left,
    said: Said,
    channel: &Channel,
    claim: Option<&str>,
) -> Result<(), RecoverError> {
    let hold = hold_for(relay, left, &said).await?;
    let other = |fault: domain::Fault| RecoverError::Other(fault.en);
    let task_id = said.task_id.clone();
    let task = said.record(relay, left.uid, channel).map_err(other)?;
    // The reply itself went to nobody: who repeats the request is told that it was done.
    let reply = claim.map(|claim| ledger::KeptReply {
        user_id: left.user_id,
        idempotency_key: claim.to_owned(),
        sealed: None,
    });
    relay
        .ledger
        .record_task_again(left.user_id, Taken { task, hold, reply: reply.clone() })
        .await?;
    if let (None, Some(reply)) = (hold, reply) {
        // A free task has no transaction of the ledger's; for others this changes nothing more.
        let (db, node) = (&relay.db, relay.config.node_id);
        let (user_id, key) = (reply.user_id, &reply.idempotency_key);
        store::idempotency::complete(db, user_id, key, node, None).await?;
    }
    tracing::info!(
        target: "custompass", event = "submission_recovered", task_uid = %left.uid, task_id,
        user_id = left.user_id.0, channel_id = left.channel_id.0, model = left.model,
        request_id = left.request_id,
    );
    Ok(())
}

/// What the hold should reach: as for a first submission, the use that the upstream told of, where
/// no estimate has made it larger already.
async fn hold_for(relay: &Relay, left: &Left, said: &Said) -> Result<Option<Quota>, RecoverError> {
    let sql = "SELECT amount, price FROM holds WHERE id = $1";
    let rows = relay.db.read(sql, &[Value::Uuid(left.uid.0)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let amount: Quota = row.get("amount")?;
    let price: String = row.get("price")?;
    let price: FrozenPrice =
        serde_json::from_str(&price).map_err(|e| RecoverError::Other(e.to_string()))?;
    let is_first = price.first_hold().is_ok_and(|first| first == amount);
    Ok(if price.is_by_use() && is_first { said.price_of_use(&price) } else { None })
}

/// Nobody will know what became of it: failed, and given back.
async fn lose(relay: &Relay, left: &Left, why: &'static str) -> Result<Outcome, RecoverError> {
    let refunded = end(relay, left, LOST, format!("{LOST}: {why}")).await?;
    tracing::warn!(
        target: "custompass", event = "submission_lost", task_uid = %left.uid,
        user_id = left.user_id.0, channel_id = left.channel_id.0, model = left.model,
        request_id = left.request_id, refunded = refunded.0, error = why,
    );
    Ok(Outcome::Over)
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
        channel_id: left.channel_id,
        since: left.created_at,
    };
    let end = TaskEnd::failed(words);
    let finished = relay.ledger.finish_task(&task, Charge::Nothing(reason), end).await?;
    Ok(finished.refunded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_that_is_not_itself_is_asked_again() {
        for status in [408, 409, 425, 429, 500, 503] {
            assert!(may_differ_later(StatusCode::from_u16(status).unwrap()), "{status}");
        }
        for status in [200, 302, 400, 401, 402, 404, 422] {
            assert!(!may_differ_later(StatusCode::from_u16(status).unwrap()), "{status}");
        }
    }
}
