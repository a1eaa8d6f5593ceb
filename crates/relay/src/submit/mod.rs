//! Submissions of tasks: what differs from other calls when the model ends in `/submit`, or the
//! route of a protocol submits a task.
//!
//! The task's row is created with the hold, before anything is sent. The reply is always collected;
//! when it names the task, that is durable before the client sees it. From then on the task belongs
//! to the poller. What a crash leaves between the two is recovered in `recover.rs`.

mod again;
mod first_reply;
mod recover;
mod request;
mod unread;
mod vendor;

use crate::Relay;
use crate::call::{Call, pass_path};
use crate::context::Context;
use crate::deliver::{
    Delivery, X_NEWAPI_QUOTA, head_of, in_one_piece, keeper_for, refuse, repeats_key, unusable,
};
use crate::faults;
use crate::idempotency::Tee;
use crate::outcome::{
    BodyEnd, CallEnd, ClientOutcome, FirstReplyKind, Money, Outcome, Terms, decide,
};
use crate::phases::Order;
use crate::reply::{Collected, collect};
use crate::reservation::{OpenTask, Reservation};
use crate::resources::ResourceEffect;
use crate::send::ChannelReply;
use crate::spoken::submit_route;
use crate::surface::ApiPath;
use crate::traced::ended;
use bytes::Bytes;
use domain::{ChannelId, Fault, FrozenPrice, ModelName, Quota, TaskUid, task_base};
use first_reply::{Accepted, FirstReply};
use http::header::{LOCATION, RETRY_AFTER};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri};
use ledger::{AcceptedTask, NewTask};
use std::borrow::Cow;
use std::sync::Arc;
use store::{Channel, TOKEN_KEY, WEBHOOK_URL};
use web::memory::Share;

const X_WEBHOOK_URL: HeaderName = HeaderName::from_static("x-webhook-url");
const MAX_WEBHOOK_URL_CHARS: usize = 2048;

/// How a task is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubmissionKind {
    /// By CustomPass: its model ends in `/submit`.
    Envelope,
    /// By a route of the channels' protocol.
    Route,
}

/// The client's options for its task.
pub(crate) struct SubmitOptions {
    pub kind: SubmissionKind,
    /// The address to notify of its end.
    pub webhook_url: Option<String>,
}

impl SubmitOptions {
    /// Reads the options of a submission, and removes the headers that are meant for us.
    pub(crate) fn take(
        kind: Option<SubmissionKind>,
        headers: &mut HeaderMap,
    ) -> Result<Option<Self>, Fault> {
        let Some(kind) = kind else { return Ok(None) };
        let webhook_url = webhook_url(headers)?;
        headers.remove(X_WEBHOOK_URL);
        Ok(Some(Self { kind, webhook_url }))
    }
}

/// Whether a call submits a task, and the channels that take it as that. Where some channels of a
/// model do and others do not, it is a task.
pub(crate) fn kind<'a>(
    candidates: Cow<'a, [Arc<Channel>]>,
    (method, api): (&Method, Option<&ApiPath>),
    model: &ModelName,
) -> (Cow<'a, [Arc<Channel>]>, Option<SubmissionKind>) {
    let path = api.map_or_else(|| pass_path(model).into(), |api| Cow::Borrowed(api.path()));
    let submits = |channel: &&Arc<Channel>| submit_route(channel, method, &path).is_some();
    match candidates.iter().filter(submits).count() {
        0 => (candidates, model.is_submission().then_some(SubmissionKind::Envelope)),
        all if all == candidates.len() => (candidates, Some(SubmissionKind::Route)),
        _ => {
            let submitting: Vec<_> = candidates.iter().filter(submits).cloned().collect();
            (Cow::Owned(submitting), Some(SubmissionKind::Route))
        }
    }
}

/// The webhook address of a submission, if it may be called.
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

/// Whether a submission may have to be repeated after a crash, and so has to be stored.
pub(crate) fn may_be_repeated(
    submission: Option<&SubmitOptions>,
    candidates: &[Arc<Channel>],
) -> bool {
    submission.is_some_and(|options| options.kind == SubmissionKind::Envelope)
        && candidates.iter().any(|channel| channel.setting.idempotent)
}

/// Creates the task, and holds the money for it. Nothing is sent before this is durable.
pub(crate) async fn open(
    ctx: &Context<'_>,
    order: Order<'_>,
    price: Option<FrozenPrice>,
    reservation: &mut Reservation,
) -> Result<(), Fault> {
    let (Order { call, caller, candidates, submission }, relay) = (order, ctx.relay);
    let now = relay.clock.now();
    let identity = &*caller.identity;
    let seal =
        |purpose: &str, plain: &[u8]| relay.sealer.seal(purpose, plain).map_err(faults::system);
    let webhook_url_sealed = match submission.and_then(|options| options.webhook_url.as_ref()) {
        None => None,
        Some(url) => {
            let user_id = identity.user_id;
            store::webhooks::ensure_own_endpoint(&relay.db, &relay.sealer, user_id, now).await?;
            Some(seal(WEBHOOK_URL, url.as_bytes())?)
        }
    };
    let request_sealed = match may_be_repeated(submission, candidates) {
        true => request::seal(relay, call, reservation.claim())?,
        false => None,
    };
    let task = NewTask {
        uid: TaskUid(web::uuid_v7(now)),
        user_id: identity.user_id,
        token_id: identity.key_id,
        key_sealed: seal(TOKEN_KEY, caller.key.as_bytes())?,
        channel_id: ctx.record.channel_id.unwrap_or(ChannelId(0)),
        action: call.model.as_str().to_owned(),
        request_id: call.request_id.to_string(),
        node_id: relay.node_id,
        request_sealed,
        webhook_url_sealed,
    };
    match price {
        None => reservation.open_free(relay, task).await,
        Some(price) => reservation.hold(ctx, order, price, Some(Box::new(task))).await,
    }
}

/// Assigns the task to another channel, in its row, before anything is sent to it.
pub(crate) async fn move_to_channel(
    relay: &Relay,
    task: OpenTask,
    channel_id: ChannelId,
) -> Result<(), Fault> {
    let now = relay.clock.now();
    store::tasks::move_to_channel(&relay.db, task.uid, channel_id, now).await?;
    Ok(())
}

/// Handles the upstream's reply: the task is recorded, or has failed, before the client gets it.
pub(crate) async fn deliver(
    mut ctx: Context<'_>,
    call: &Call,
    answer: ChannelReply,
    reservation: Reservation,
) -> Result<Delivery, Fault> {
    let ChannelReply { mut reply, prepared, mut attempt, collected, is_estimated, read_as } =
        answer;
    if let Some(why) = unusable(&reply, &prepared) {
        return Err(refuse(ctx, reservation, why).await);
    }
    let mut head = head_of(&reply, &prepared);
    let limit_bytes = ctx.relay.config.max_collected_reply_bytes;
    let collected = match collected {
        Some(collected) => collected,
        None => collect(&mut reply.body, limit_bytes, ctx.link, &mut ctx.share).await,
    };
    ctx.record.upstream_ends();
    if matches!(collected.end, Some(BodyEnd::Cut | BodyEnd::TimedOut)) {
        attempt.breaks_off();
    }
    let route = call.submit_route(&prepared.channel);
    let is_accepted = route.is_some() && reply.status.is_success();
    let bytes = match whole(collected) {
        Ok(bytes) => bytes,
        Err(kind) if is_accepted => {
            let client = decide(Terms::Free, CallEnd::Submission(kind)).client;
            return unread::keep(&mut ctx, call, (&prepared, reservation), client.into_fault())
                .await;
        }
        Err(kind) => {
            let Outcome { money, client } = decide(Terms::Free, CallEnd::Submission(kind));
            if let Money::Release { reason } = money {
                reservation.release(ctx.record, reason).await;
            }
            return Err(client.into_fault());
        }
    };
    if let Some(why) = repeats_key(&prepared, &reply.headers, &bytes) {
        if is_accepted {
            let fault = decide(Terms::Free, CallEnd::Unusable(why)).client.into_fault();
            return unread::keep(&mut ctx, call, (&prepared, reservation), fault).await;
        }
        return Err(refuse(ctx, reservation, why).await);
    }
    let reply = match &route {
        None => first_reply::read(reply.status, &reply.headers, &bytes, &read_as),
        Some(route) => {
            attempt.account_is_broken(vendor::account_fault(route, (&reply, &bytes), &prepared));
            vendor::read(route, call.upstream_path(&prepared.channel)?.into(), &reply, &bytes)
        }
    };
    if matches!(reply, FirstReply::Refused(_)) {
        attempt.says_failed();
    }
    drop(attempt);
    let kind = reply.kind();
    let Outcome { money, client } = decide(reservation.terms(), CallEnd::Submission(kind));
    match (reply, money) {
        (FirstReply::Accepted(accepted), _) => {
            let acceptance = Acceptance { accepted, is_estimated, channel: &prepared.channel };
            let reply = (&mut head, &bytes[..]);
            record_task(&mut ctx, call, (acceptance, reply), reservation).await?;
            ctx.record.succeed();
        }
        (FirstReply::Refused(refusal), Money::Release { reason }) => {
            let keeper = keeper_for(&ctx, call, prepared.channel.id, ResourceEffect::None);
            if let (Some(route), Some(keeper)) = (&route, keeper) {
                keeper.keep_named(ctx.relay, &refusal.continues, route.resource_days).await;
            }
            ctx.record.fail_upstream(refusal.code, refusal.error);
            reservation.release_task(ctx.record, reason, refusal.message).await;
        }
        (_, money) => reservation.end(ctx.record, money, Default::default(), None).await?,
    }
    match client {
        ClientOutcome::Reply => Ok(Delivery::Whole(in_one_piece(call, head, bytes, ctx.share))),
        not_the_reply => Err(not_the_reply.into_fault()),
    }
}

/// A complete reply, else the meaning of its end.
fn whole(collected: Collected) -> Result<Bytes, FirstReplyKind> {
    match collected.end {
        Some(BodyEnd::Complete) => Ok(collected.bytes),
        Some(end) => Err(FirstReplyKind::Broken(end)),
        None => Err(FirstReplyKind::TooLarge),
    }
}

/// An accepted task, its channel, and whether its hold follows an estimate.
struct Acceptance<'a> {
    accepted: Accepted,
    is_estimated: bool,
    channel: &'a Channel,
}

/// Records the task durably, and adds our headers to the reply.
async fn record_task(
    ctx: &mut Context<'_>,
    call: &Call,
    (acceptance, (head, bytes)): (Acceptance<'_>, (&mut Response<()>, &[u8])),
    reservation: Reservation,
) -> Result<(), Fault> {
    let relay = ctx.relay;
    let Acceptance { accepted, is_estimated, channel } = acceptance;
    let Some(OpenTask { uid, .. }) = reservation.task() else {
        return Err(faults::system("a submission without a task"));
    };
    if accepted.task_id.is_empty() {
        unread::warn(ctx, uid, "the upstream's reply names no task");
    }
    ctx.record.task_id = Some(accepted.task_id.clone());
    let location = match accepted.is_by_envelope() {
        true => location(call.model.as_str(), &accepted.task_id),
        false => location_of(uid),
    };
    point_to_task(relay, head, location);
    let (hold, held) = match reservation.terms() {
        Terms::Paid { price, held } if price.is_by_use() && !is_estimated => {
            (accepted.price_of_use(price), Some(held))
        }
        Terms::Paid { held, .. } => (None, Some(held)),
        Terms::Free => (None, None),
    };
    let grows = matches!((hold, held), (Some(to), Some(held)) if to > held);
    if let Some(held) = held.filter(|_| !grows) {
        head.headers_mut().insert(X_NEWAPI_QUOTA, HeaderValue::from(held.0));
    }
    // Whether the hold can grow is known only afterwards, so a stored reply doesn't contain its
    // amount.
    let share = ctx.share.another();
    let tee = reservation.is_claimed().then(|| tee_of(relay, head, bytes, share));
    let task = accepted.record(relay, uid, channel)?;
    let span = ctx.record.trace.phase("record task");
    let taken = AcceptedTask { task, hold, reply: None };
    let held = ended(span, reservation.record(relay, taken, tee).await)?;
    ctx.record.quota = held;
    if let Some(Quota(held)) = held {
        head.headers_mut().insert(X_NEWAPI_QUOTA, HeaderValue::from(held));
    }
    Ok(())
}

/// Adds headers with the task's path on our side, and when to poll it.
fn point_to_task(relay: &Relay, head: &mut Response<()>, location: String) {
    let seconds = relay.config.poll_interval_ms.div_ceil(1_000).max(1);
    head.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    // Percent-encoded text is always a valid header value.
    if let Ok(location) = HeaderValue::try_from(location) {
        head.headers_mut().insert(LOCATION, location);
    }
}

fn location(model: &str, task_id: &str) -> String {
    let base = upstream::encode_path(task_base(model));
    format!("/pass/{base}/task/{}", upstream::encode_segment(task_id))
}

/// The path of a task that is not addressed by CustomPass.
fn location_of(uid: TaskUid) -> String {
    format!("/v1/tasks/{}", uid.0)
}

/// A complete reply, to be stored for a repeated request.
fn tee_of(relay: &Relay, head: &Response<()>, bytes: &[u8], share: Share) -> Tee {
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
