//! Submissions of tasks: what a walk does differently when its model ends in `/submit`.
//!
//! The task's row is made with the hold, before anything is sent. The reply is always collected;
//! when it names the task, that is durable before the client sees it. From then on the task is the
//! poller's. What a crash leaves between the two is looked after in `recover.rs`.

mod again;
mod recover;
mod request;
mod said;

use crate::Relay;
use crate::call::Call;
use crate::carry::Tie;
use crate::deal::{Deal, OpenTask, UNKNOWN_OUTCOME};
use crate::deliver::{
    Ending, UPSTREAM_ECHO, X_NEWAPI_QUOTA, head_of, in_one_piece, repeats_key, unusable,
};
use crate::faults;
use crate::idempotency::Tee;
use crate::record::Record;
use crate::reply::{Collected, collect};
use crate::send::Answer;
use crate::traced::ended;
use crate::verdict::End;
use crate::walk::Order;
use bytes::Bytes;
use domain::{ChannelId, Fault, FrozenPrice, ModelName, Quota, TaskUid, UserId, task_base};
use http::header::{LOCATION, RETRY_AFTER};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Uri};
use ledger::{NewTask, Taken};
use said::{FirstReply, Refusal, Said};
use std::sync::Arc;
use store::{Channel, TOKEN_KEY, Value, WEBHOOK_URL};
use web::memory::Share;

const X_WEBHOOK_URL: HeaderName = HeaderName::from_static("x-webhook-url");
const MAX_WEBHOOK_URL_CHARS: usize = 2048;

/// What a client wishes of its task beyond the call.
pub(crate) struct Wish {
    /// Where it wants to hear of its end.
    pub webhook_url: Option<String>,
}

impl Wish {
    /// For a call that is a submission. What is meant for us is taken out of its headers.
    pub(crate) fn of(
        model: &ModelName,
        headers: &mut HeaderMap,
        record: &mut Record,
    ) -> Result<Option<Self>, Fault> {
        if !model.is_submission() {
            return Ok(None);
        }
        record.submits();
        let webhook_url = webhook_url(headers)?;
        headers.remove(X_WEBHOOK_URL);
        Ok(Some(Self { webhook_url }))
    }
}

/// The address that a submission brings along, if it is one that may be called.
fn webhook_url(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let mut given = headers.get_all(X_WEBHOOK_URL).iter();
    let (value, another) = (given.next(), given.next());
    let Some(value) = value else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let is_good = another.is_none()
        && text.len() <= MAX_WEBHOOK_URL_CHARS
        && text.parse::<Uri>().is_ok_and(|uri| may_be_called(&uri));
    if is_good { Ok(Some(text.to_owned())) } else { Err(faults::webhook_url_invalid()) }
}

fn may_be_called(uri: &Uri) -> bool {
    let is_http = uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    is_http && has_host && uri.authority().is_some_and(|a| !a.as_str().contains('@'))
}

/// Whether a submission may have to be repeated after a crash, and so has to be kept.
pub(crate) fn may_be_repeated(candidates: &[Arc<Channel>]) -> bool {
    candidates.iter().any(|channel| channel.setting.idempotent)
}

/// Makes the task, and puts the money for it aside. Nothing is sent before this is durable.
pub(crate) async fn open(
    relay: &Relay,
    order: Order<'_>,
    price: Option<FrozenPrice>,
    wish: &Wish,
    deal: &mut Deal,
    record: &Record,
) -> Result<(), Fault> {
    let Order { call, caller, candidates, .. } = order;
    let now = relay.clock.now();
    let identity = &*caller.identity;
    let seal =
        |purpose: &str, plain: &[u8]| relay.sealer.seal(purpose, plain).map_err(faults::system);
    let webhook_url_sealed = match &wish.webhook_url {
        None => None,
        Some(url) => {
            let user_id = identity.user_id;
            store::webhooks::ensure_own_endpoint(&relay.db, &relay.sealer, user_id, now).await?;
            Some(seal(WEBHOOK_URL, url.as_bytes())?)
        }
    };
    let request_sealed = match may_be_repeated(candidates) {
        true => request::seal(relay, call, deal.claim())?,
        false => None,
    };
    let task = NewTask {
        uid: TaskUid(web::uuid_v7(now)),
        user_id: identity.user_id,
        token_id: identity.key_id,
        key_sealed: seal(TOKEN_KEY, caller.key.as_bytes())?,
        channel_id: record.channel_id.unwrap_or(ChannelId(0)),
        action: call.model.as_str().to_owned(),
        request_id: call.request_id.to_string(),
        node_id: relay.config.node_id,
        request_sealed,
        webhook_url_sealed,
    };
    match price {
        None => deal.open_free(relay, task).await,
        Some(price) => {
            deal.hold(relay, identity, candidates, price, Some(Box::new(task)), record).await
        }
    }
}

/// Another channel is about to get the task: its row says so before that channel hears of it.
pub(crate) async fn moves_to(
    relay: &Relay,
    task: OpenTask,
    channel_id: ChannelId,
) -> Result<(), Fault> {
    let sql = "UPDATE tasks SET channel_id = $2, updated_at = $3
        WHERE uid = $1 AND task_id = '' AND finish_time IS NULL";
    let now = relay.clock.now();
    let params = [Value::Uuid(task.uid.0), Value::Int(channel_id.0), Value::Time(now)];
    relay.db.execute(sql, &params).await?;
    Ok(())
}

/// The upstream has answered: the task is recorded, or has failed, before the client hears of it.
pub(crate) async fn deliver(
    relay: &Relay,
    call: &Call,
    answer: Answer,
    deal: Deal,
    record: &mut Record,
    tie: &Tie,
    mut share: Share,
) -> Result<Ending, Fault> {
    let Answer { mut reply, prepared, mut attempt, collected, estimated } = answer;
    if let Some((reason, fault)) = unusable(&reply, &prepared) {
        deal.release(relay, record, reason).await;
        return Err(fault);
    }
    let head = head_of(&reply, &prepared);
    let most = relay.config.max_collected_reply_bytes;
    let collected = match collected {
        Some(collected) => collected,
        None => collect(&mut reply.body, most, tie, &mut share).await,
    };
    record.upstream_ends();
    if matches!(collected.end, Some(End::Cut | End::TimedOut)) {
        attempt.bad();
    }
    drop(attempt);
    let bytes = match whole(collected) {
        Ok(bytes) => bytes,
        Err((reason, fault)) => {
            deal.release(relay, record, reason).await;
            return Err(fault);
        }
    };
    if repeats_key(&prepared, &bytes) {
        deal.release(relay, record, UPSTREAM_ECHO).await;
        return Err(faults::upstream_echo());
    }
    match said::read(reply.status, &reply.headers, &bytes) {
        FirstReply::Taken(said) => {
            let took = Took { said, estimated, channel: &prepared.channel };
            let head = record_taken(relay, call, head, &bytes, took, deal, record).await?;
            record.succeed();
            Ok(Ending::Whole(in_one_piece(call, head, bytes, share)))
        }
        FirstReply::Estimate(_) => {
            deal.release(relay, record, "estimate_instead_of_result").await;
            Err(faults::estimate_instead_of_result())
        }
        FirstReply::Refused(Refusal { reason, code, error, words }) => {
            record.fail_upstream(code, error);
            deal.release_telling(relay, record, reason, words).await;
            Ok(Ending::Whole(in_one_piece(call, head, bytes, share)))
        }
    }
}

/// A reply that is here to its end, else why the task has failed, and what the client hears.
fn whole(collected: Collected) -> Result<Bytes, (&'static str, Fault)> {
    match collected.end {
        Some(End::Complete) => Ok(collected.bytes),
        Some(End::Cut) => Err(("upstream_cut", faults::upstream_failed())),
        Some(End::TimedOut) => Err((UNKNOWN_OUTCOME, faults::upstream_timeout())),
        Some(End::ClientSlow) => Err((UNKNOWN_OUTCOME, faults::body_too_slow())),
        Some(End::DrainedOut) => Err((UNKNOWN_OUTCOME, faults::client_gone())),
        None => Err(("reply_too_large", faults::no_task_reply())),
    }
}

/// A task that was taken, by which channel, and whether its hold is what an estimate said.
struct Took<'a> {
    said: Said,
    estimated: bool,
    channel: &'a Channel,
}

/// Makes the task durable, and adds to the reply's head what only we can say.
async fn record_taken(
    relay: &Relay,
    call: &Call,
    mut head: Response<()>,
    bytes: &[u8],
    took: Took<'_>,
    deal: Deal,
    record: &mut Record,
) -> Result<Response<()>, Fault> {
    let Took { said, estimated, channel } = took;
    let Some(OpenTask { uid, .. }) = deal.task() else {
        return Err(faults::system("a submission without a task"));
    };
    record.task_id = Some(said.task_id.clone());
    point_to_task(relay, &mut head, call.model.as_str(), &said.task_id);
    let held = deal.held();
    let hold = match deal.price() {
        Some(price) if price.is_by_use() && !estimated => said.price_of_use(price),
        _ => None,
    };
    let grows = matches!((hold, held), (Some(to), Some(held)) if to > held);
    if let Some(held) = held.filter(|_| !grows) {
        head.headers_mut().insert(X_NEWAPI_QUOTA, HeaderValue::from(held.0));
    }
    // Whether the hold can grow is known only afterwards, so a kept reply doesn't say what it is
    // then.
    let tee = deal.is_claimed().then(|| tee_of(relay, &head, bytes, record.user_id));
    let task = said.record(relay, uid, channel)?;
    let span = record.trace.phase("record task");
    let held = ended(span, deal.record(relay, Taken { task, hold, reply: None }, tee).await)?;
    record.quota = held;
    if let Some(Quota(held)) = held {
        head.headers_mut().insert(X_NEWAPI_QUOTA, HeaderValue::from(held));
    }
    Ok(head)
}

/// Says where the task is found on our side, and when it is worth asking.
fn point_to_task(relay: &Relay, head: &mut Response<()>, model: &str, task_id: &str) {
    let seconds = relay.config.poll_interval_ms.div_ceil(1_000).max(1);
    head.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    // What is percent-encoded is always fit for a header.
    if let Ok(location) = HeaderValue::try_from(location(model, task_id)) {
        head.headers_mut().insert(LOCATION, location);
    }
}

fn location(model: &str, task_id: &str) -> String {
    let base = upstream::encode_path(task_base(model));
    format!("/pass/{base}/task/{}", upstream::encode_segment(task_id))
}

/// A whole reply, to be kept for a repeated request.
fn tee_of(relay: &Relay, head: &Response<()>, bytes: &[u8], user_id: Option<UserId>) -> Tee {
    let share = relay.budget.share_of(user_id.unwrap_or(UserId(0)));
    let mut tee = Tee::new(head.status(), head.headers(), relay.config.max_kept_reply_bytes, share);
    tee.feed(bytes);
    tee
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(given: &[&str]) -> Result<Option<String>, Fault> {
        let mut headers = HeaderMap::new();
        for text in given {
            headers.append(X_WEBHOOK_URL, HeaderValue::from_str(text).unwrap());
        }
        webhook_url(&headers)
    }

    #[test]
    fn addresses_of_webhooks() {
        assert_eq!(url(&[]).unwrap(), None);
        for good in ["https://a.example/x?y=1", "http://a.example:8080", "http://[::1]/"] {
            assert_eq!(url(&[good]).unwrap().as_deref(), Some(good));
        }
        let long = format!("https://a.example/{}", "x".repeat(2048));
        for bad in
            ["", "/x", "a.example", "ftp://a.example", "https://u:p@a.example/", "x y", &long]
        {
            assert!(url(&[bad]).is_err(), "{bad}");
        }
        assert!(url(&["https://a.example", "https://b.example"]).is_err());
    }

    #[test]
    fn a_task_s_place_is_a_path() {
        assert_eq!(location("img/submit", "t-1"), "/pass/img/task/t-1");
        let odd = location("图/a b/submit", "a/b ü?");
        assert_eq!(odd, "/pass/%E5%9B%BE/a%20b/task/a%2Fb%20%C3%BC%3F");
    }
}
