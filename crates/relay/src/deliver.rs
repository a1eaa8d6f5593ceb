//! Delivers the upstream's reply to the client, and settles the call.

use crate::account::AccountWatch;
use crate::call::Call;
use crate::context::Context;
use crate::extra_event::ExtraEvent;
use crate::flow::{FlowSource, Pending};
use crate::idempotency::{IDEMPOTENT_REPLAYED, Tee};
use crate::outcome::{BodyEnd, CallEnd, ClientOutcome, Money, Outcome, Seen, Unusable, decide};
use crate::reply::{
    ChargeReader, Collected, DeclaredShape, ReadAs, collect, collects, length_of, read_whole,
    shape_of,
};
use crate::reservation::Reservation;
use crate::resources::{ResourceEffect, ResourceKeeper};
use crate::send::ChannelReply;
use crate::session::SessionOwner;
use crate::{faults, session};
use bytes::Bytes;
use domain::{ChannelId, Fault, FrozenPrice, Quota};
use egress::Prepared;
use foldhash::HashMap;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;
use protocol::RouteSession;
use upstream::{EchoGuard, EchoWatch, Echoed, Reply, links};
use web::Body;
use web::memory::Share;

/// What was charged, where it is known before the body is sent.
pub(crate) const X_NEWAPI_QUOTA: HeaderName = HeaderName::from_static("x-newapi-quota");

/// What the client gets.
pub(crate) enum Delivery {
    /// A complete reply.
    Whole(Response<Body>),
    /// A streamed one; the request's record goes with it.
    Flowing(Response<()>, Box<FlowSource>),
}

/// Delivers a reply: settled and then in one piece, or streamed.
pub(crate) async fn deliver(
    mut ctx: Context<'_>,
    call: &Call,
    answer: ChannelReply,
    reservation: Reservation,
) -> Result<Delivery, Fault> {
    let ChannelReply { reply, prepared, attempt, collected, read_as, .. } = answer;
    if let Some(why) = unusable(&reply, &prepared) {
        return Err(refuse(ctx, reservation, why).await);
    }
    let mut head = head_of(&reply, &prepared);
    let left = length_of(&reply.headers);

    let echo = watch_of(&reply, &prepared, !reply.status.is_success());
    let echo = match echo {
        Ok(echo) => echo,
        Err(why) => return Err(refuse(ctx, reservation, why).await),
    };

    if !reply.status.is_success() {
        // Failed or redirected: passed on unchanged, and free.
        hide_session(call, &read_as, head.headers_mut());
        let error = format!("status {}", reply.status.as_u16());
        ctx.record.fail_upstream("UPSTREAM_STATUS", error);
        end(&mut ctx, reservation, CallEnd::BadStatus).await;
        let account = AccountWatch::of(&read_as, &reply);
        let account = account.map(|watch| (watch, prepared.echo.clone()));
        let (body, prefix, pending) = (reply.body, None, None);
        let source = FlowSource { body, prefix, held: None, left, echo, pending, account, attempt };
        return Ok(flowing(call, head, source));
    }
    if let Err(fault) = show_session(&ctx, call, (&prepared, &read_as), &mut head).await {
        end(&mut ctx, reservation, CallEnd::BadStatus).await;
        return Err(fault);
    }
    ctx.record.succeed();
    let (body, prefix, pending, account) = (reply.body, None, None, None);
    let mut source = FlowSource { body, prefix, held: None, left, echo, pending, account, attempt };
    let keeper = keeper_of(&ctx, call, &prepared);
    let is_kept = keeper.is_some() || !call.links(read_as.route()).is_empty();
    if reservation.is_empty() && ctx.record.counts_tokens_of.is_none() && !is_kept {
        return Ok(flowing(call, head, source));
    }

    let is_read = reservation.price().is_some_and(FrozenPrice::is_by_use) || is_kept;
    let config = &ctx.relay.config;
    let limit = collects(&reply.headers, &source.body, is_read, config.max_collected_reply_bytes);
    let collected = match (collected, limit) {
        (Some(collected), _) => collected,
        (None, Some(limit)) => collect(&mut source.body, limit, ctx.link, &mut ctx.share).await,
        (None, None) => Collected { bytes: Bytes::new(), end: None },
    };
    let Some(body_end) = collected.end else {
        let kept_bytes = config.max_kept_reply_bytes;
        ctx.share.shrink_to(collected.bytes.len());
        let tee_share = ctx.share.another();
        source.send_first(collected.bytes, ctx.share);
        let tee = reservation
            .is_claimed()
            .then(|| Tee::new(head.status(), head.headers(), kept_bytes, tee_share));
        let reader = ChargeReader::new(&reply.headers, &read_as);
        let asked = call.asks_usage_of(&prepared.channel).cloned();
        let asked = asked.filter(|_| shape_of(&reply.headers) == DeclaredShape::Stream);
        let extra = ExtraEvent::of(asked, &reply.headers);
        // What is kept back is missing from the length that was declared.
        source.left = source.left.filter(|_| extra.is_none());
        source.pending = Some(Pending { reservation, reader, tee, keeper, extra });
        return Ok(flowing(call, head, source));
    };
    if matches!(body_end, BodyEnd::Cut | BodyEnd::TimedOut) {
        source.attempt.breaks_off();
    }
    ctx.record.upstream_ends();
    if let Some(why) = repeats_key(&prepared, &reply.headers, &collected.bytes) {
        return Err(refuse(ctx, reservation, why).await);
    }
    let (headers, bytes, echo) = (&reply.headers, collected.bytes, prepared.echo.as_ref());
    let whole = Whole { head, headers, bytes, end: body_end, read_as, echo, keeper, source };
    settle_whole(ctx, call, whole, reservation).await
}

/// What keeps the call's effect on what calls make, if it has any.
fn keeper_of(ctx: &Context<'_>, call: &Call, prepared: &Prepared) -> Option<ResourceKeeper> {
    let effect = Some(call.effect()).filter(|effect| !effect.is_none())?;
    keeper_for(ctx, call, prepared.channel.id, effect.clone())
}

/// What keeps an effect of the call, at this channel.
pub(crate) fn keeper_for(
    ctx: &Context<'_>,
    call: &Call,
    channel_id: ChannelId,
    effect: ResourceEffect,
) -> Option<ResourceKeeper> {
    let model = call.model.as_str().to_owned();
    Some(ResourceKeeper { effect, user_id: ctx.record.user_id?, channel_id, model })
}

/// How the call continues, if it may, and its path.
fn session_of<'a>(call: &'a Call, read_as: &'a ReadAs) -> Option<(&'a RouteSession, &'a str)> {
    read_as.route()?.session.as_ref().zip(call.spoken_path())
}

fn hide_session(call: &Call, read_as: &ReadAs, headers: &mut HeaderMap) {
    if let Some((session, _)) = session_of(call, read_as) {
        session::hide(session, headers);
    }
}

/// Shows the client where its call continues, if it does.
async fn show_session(
    ctx: &Context<'_>,
    call: &Call,
    (prepared, read_as): (&Prepared, &ReadAs),
    head: &mut Response<()>,
) -> Result<(), Fault> {
    let Some((session, path)) = session_of(call, read_as) else { return Ok(()) };
    let Some(user_id) = ctx.record.user_id else { return Ok(()) };
    let host = call.headers.get(HOST).and_then(|host| host.to_str().ok());
    let scheme = if ctx.over_https { "https" } else { "http" };
    let origin = format!("{scheme}://{}", host.ok_or_else(faults::no_host)?);
    let owner = SessionOwner {
        user_id,
        channel_id: prepared.channel.id,
        model: call.model.as_str(),
        key: call.key.value.to_str().unwrap_or_default(),
        origin: &origin,
        path,
    };
    session::show(ctx, session, owner, head.headers_mut()).await
}

/// Ends a reservation without a charge.
async fn end(ctx: &mut Context<'_>, reservation: Reservation, end: CallEnd<'_>) -> ClientOutcome {
    let Outcome { money, client } = decide(reservation.terms(), end);
    if let Money::Release { reason } = money {
        reservation.release(ctx.record, reason).await;
    }
    client
}

/// Refuses a reply that can't be passed on.
pub(crate) async fn refuse(mut ctx: Context<'_>, reservation: Reservation, why: Unusable) -> Fault {
    end(&mut ctx, reservation, CallEnd::Unusable(why)).await.into_fault()
}

/// Why a reply can't be passed on, regardless of its body.
pub(crate) fn unusable(reply: &Reply, prepared: &Prepared) -> Option<Unusable> {
    if upstream::redirects_elsewhere(reply.status, &reply.headers, &prepared.base) {
        return Some(Unusable::Redirects);
    }
    if upstream::is_repeated_request(&reply.headers) {
        return Some(Unusable::Echo(Echoed::Key));
    }
    if prepared.echo.is_some() && upstream::is_part_of_a_text(reply.status, &reply.headers) {
        return Some(unsearched(prepared, Echoed::Partial));
    }
    reply.status.is_informational().then_some(Unusable::Informational)
}

/// The head of the reply to the client.
pub(crate) fn head_of(reply: &Reply, prepared: &Prepared) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = mapped(reply.status, &prepared.channel.status_code_mapping);
    *head.headers_mut() = upstream::headers::forward_reply_headers(&reply.headers);
    // Headers of ours: an upstream must not set them.
    for ours in [X_NEWAPI_QUOTA, IDEMPOTENT_REPLAYED] {
        head.headers_mut().remove(ours);
    }
    if prepared.echo.as_ref().is_some_and(|echo| echo.clean(head.headers_mut())) {
        warn_of_echo(prepared.channel.id, Echoed::Key);
    }
    head
}

/// Why a whole reply can't be passed on: it reveals the channel's key, or may do so.
pub(crate) fn repeats_key(
    prepared: &Prepared,
    headers: &HeaderMap,
    bytes: &Bytes,
) -> Option<Unusable> {
    let echoed = prepared.echo.as_ref()?.search(headers, bytes).err()?;
    Some(unsearched(prepared, echoed))
}

fn unsearched(prepared: &Prepared, echoed: Echoed) -> Unusable {
    warn_of_echo(prepared.channel.id, echoed);
    Unusable::Echo(echoed)
}

/// What searches a reply that flows for the channel's key.
fn watch_of(
    reply: &Reply,
    prepared: &Prepared,
    is_error: bool,
) -> Result<Option<EchoWatch>, Unusable> {
    let Some(echo) = prepared.echo.as_ref().filter(|_| !reply.body.is_end_stream()) else {
        return Ok(None);
    };
    // An error page is only useful as a whole, so its end may wait.
    let watch = match is_error {
        true => echo.withholding_watch(&reply.headers),
        false => echo.watch(&reply.headers),
    };
    watch.map(Some).map_err(|echoed| unsearched(prepared, echoed))
}

/// For the operator: clients that use that upstream directly may see the key.
pub(crate) fn warn_of_echo(channel_id: ChannelId, echoed: Echoed) {
    tracing::error!(
        target: "custompass", event = "upstream_echo", channel_id = channel_id.0,
        error = %echoed,
    );
}

/// A complete reply.
struct Whole<'a> {
    head: Response<()>,
    /// As the upstream sent them.
    headers: &'a HeaderMap,
    bytes: Bytes,
    end: BodyEnd,
    read_as: ReadAs,
    /// The guard of the channel's key.
    echo: Option<&'a EchoGuard>,
    keeper: Option<ResourceKeeper>,
    source: FlowSource,
}

/// Settles first, then delivers in one piece.
async fn settle_whole(
    ctx: Context<'_>,
    call: &Call,
    whole: Whole<'_>,
    reservation: Reservation,
) -> Result<Delivery, Fault> {
    let Context { relay, record, share, .. } = ctx;
    let Whole { mut head, headers, bytes, end, read_as, echo, keeper, mut source } = whole;
    let mut reading = read_whole(headers, &bytes, &read_as);
    if let Some(echo) = echo {
        reading.hide(echo);
    }
    // A repetition gets the same, and so do lists.
    let bytes = links::shown(bytes, call.links(read_as.route()));
    source.attempt.account_said(reading.account.as_deref());
    if reading.failed {
        source.attempt.says_failed();
    }
    drop(source);
    reservation.counted(&mut reading);
    let reply = CallEnd::Reply { reading: &reading, end, seen: Seen::Nothing };
    let Outcome { money, client } = decide(reservation.terms(), reply);
    if reading.failed && matches!(money, Money::Release { .. }) {
        let error = reading.failure.words().to_owned();
        record.fail_upstream("UPSTREAM_ENVELOPE", error);
    }
    let is_priced = reservation.price().is_some();
    let tee = reservation.is_claimed().then(|| {
        let mut kept = head.headers().clone();
        if let Money::Charge { amount, .. } = &money
            && is_priced
        {
            kept.insert(X_NEWAPI_QUOTA, HeaderValue::from(amount.0));
        }
        let limit_bytes = relay.config.max_kept_reply_bytes;
        let mut tee = Tee::new(head.status(), &kept, limit_bytes, share.another());
        tee.feed(&bytes);
        tee.ended(end)
    });
    if let Some(keeper) = keeper.filter(|_| end == BodyEnd::Complete) {
        keeper.keep(relay, &reading, Some(&bytes)).await;
    }
    reservation.end(record, money, reading, tee).await?;
    // The ledger's result, not the request: the hold may have ended before.
    if let Some(Quota(charged)) = record.quota.filter(|_| is_priced) {
        head.headers_mut().insert(X_NEWAPI_QUOTA, HeaderValue::from(charged));
    }
    match client {
        ClientOutcome::Reply => Ok(Delivery::Whole(in_one_piece(call, head, bytes, share))),
        not_the_reply => Err(not_the_reply.into_fault()),
    }
}

pub(crate) fn in_one_piece(
    call: &Call,
    head: Response<()>,
    bytes: Bytes,
    mut share: Share,
) -> Response<Body> {
    share.shrink_to(bytes.len());
    let mut response = head.map(|()| web::boxed(share.hold(bytes)));
    tidy_length(call, &mut response);
    response
}

fn flowing(call: &Call, mut head: Response<()>, mut source: FlowSource) -> Delivery {
    if source.body.is_end_stream() && source.prefix.is_none() && source.pending.is_none() {
        let mut response = head.map(|()| web::empty());
        tidy_length(call, &mut response);
        return Delivery::Whole(response);
    }
    if declares_length_without_body(call, head.status()) {
        source.left = None;
    } else {
        tidy_length(call, &mut head);
    }
    Delivery::Flowing(head, Box::new(source))
}

/// The length follows from the body itself, so that the two can't differ. Only where there is no
/// body, the header gives the length that it would have had.
fn tidy_length<T>(call: &Call, response: &mut Response<T>) {
    if !declares_length_without_body(call, response.status()) {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
}

fn declares_length_without_body(call: &Call, status: StatusCode) -> bool {
    call.method == Method::HEAD || status == StatusCode::NOT_MODIFIED
}

/// The upstream's status, mapped by the channel's settings. Only failures are mapped.
fn mapped(status: StatusCode, mapping: &HashMap<u16, u16>) -> StatusCode {
    let is_failure = status.is_client_error() || status.is_server_error();
    let to = mapping.get(&status.as_u16()).filter(|_| is_failure);
    to.and_then(|&to| StatusCode::from_u16(to).ok()).unwrap_or(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_are_mapped() {
        let mapping = HashMap::from_iter([(429, 503), (200, 500), (404, 99)]);
        let mapped = |status| mapped(StatusCode::from_u16(status).unwrap(), &mapping).as_u16();
        assert_eq!((mapped(429), mapped(200), mapped(404), mapped(500)), (503, 200, 404, 500));
    }
}
