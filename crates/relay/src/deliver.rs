//! The upstream has answered: what the client gets, and what becomes of the money.

use crate::Relay;
use crate::call::Call;
use crate::carry::Tie;
use crate::deal::Deal;
use crate::faults;
use crate::flow::{Source, Stake};
use crate::idempotency::{IDEMPOTENT_REPLAYED, Tee};
use crate::record::Record;
use crate::reply::{Collected, collect, collects, length_of, read};
use crate::send::Answer;
use crate::verdict::{End, Money, Sight};
use bytes::Bytes;
use domain::{ChannelId, Fault, FrozenPrice, Quota};
use egress::Prepared;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use std::collections::HashMap;
use upstream::{EchoGuard, Reply, ReplyScanner};
use web::Body;
use web::memory::Share;

/// What was charged, where it is known before the body.
pub(crate) const X_NEWAPI_QUOTA: HeaderName = HeaderName::from_static("x-newapi-quota");

/// Why money is given back when a reply shows the channel's key.
pub(crate) const UPSTREAM_ECHO: &str = "upstream_echo";

/// What a walk ends with.
pub(crate) enum Ending {
    /// A reply that is complete.
    Whole(Response<Body>),
    /// One that is under way; the request's record goes with it.
    Flowing(Response<()>, Box<Source>),
}

/// Passes a reply on: whole and settled, or as it flows.
pub(crate) async fn deliver(
    relay: &Relay,
    call: &Call,
    answer: Answer,
    deal: Deal,
    record: &mut Record,
    tie: &Tie,
    mut share: Share,
) -> Result<Ending, Fault> {
    let Answer { mut reply, prepared, attempt, collected, .. } = answer;
    if let Some((reason, fault)) = unusable(&reply, &prepared) {
        deal.release(relay, record, reason).await;
        return Err(fault);
    }
    let head = head_of(&reply, &prepared);
    let left = length_of(&reply.headers);

    if !reply.status.is_success() {
        // Failed or moved: passed on as it is, and free.
        record.fail_upstream("UPSTREAM_STATUS", format!("status {}", reply.status.as_u16()));
        deal.release(relay, record, "upstream_status").await;
        // An error page is of use only when it is whole, so its end may wait.
        let echo = prepared.echo.as_ref().map(EchoGuard::withholding_watch);
        let source = Source { body: reply.body, prefix: None, left, echo, stake: None, attempt };
        return Ok(flowing(call, head, source));
    }
    record.succeed();
    let echo = prepared.echo.as_ref().map(EchoGuard::watch);
    if deal.is_empty() && record.counts_tokens_of.is_none() {
        let source = Source { body: reply.body, prefix: None, left, echo, stake: None, attempt };
        return Ok(flowing(call, head, source));
    }

    let by_use = deal.price().is_some_and(FrozenPrice::is_by_use);
    let most = relay.config.max_collected_reply_bytes;
    let collected = match collected {
        Some(collected) => collected,
        None => match collects(&reply.headers, &reply.body, by_use, most) {
            Some(limit) => collect(&mut reply.body, limit, tie, &mut share).await,
            None => Collected { bytes: Bytes::new(), end: None },
        },
    };
    let mut source = Source { body: reply.body, prefix: None, left, echo, stake: None, attempt };
    let Some(end) = collected.end else {
        let kept_bytes = relay.config.max_kept_reply_bytes;
        share.shrink_to(collected.bytes.len());
        let tee_share = share.another();
        source.prefix = Some(share.tie(collected.bytes)).filter(|bytes| !bytes.is_empty());
        let tee = deal
            .is_claimed()
            .then(|| Tee::new(head.status(), head.headers(), kept_bytes, tee_share));
        source.stake = Some(Stake::new(deal, ReplyScanner::for_headers(&reply.headers), tee));
        return Ok(flowing(call, head, source));
    };
    if matches!(end, End::Cut | End::TimedOut) {
        source.attempt.bad();
    }
    drop(source);
    record.upstream_ends();
    if repeats_key(&prepared, &collected.bytes) {
        deal.release(relay, record, UPSTREAM_ECHO).await;
        return Err(faults::upstream_echo());
    }
    let whole = Whole { head, headers: &reply.headers, bytes: collected.bytes, end };
    settle_whole(relay, call, whole, deal, record, share).await
}

/// Why a reply can't be passed on whatever its body is, and the reason for giving the money back.
pub(crate) fn unusable(reply: &Reply, prepared: &Prepared) -> Option<(&'static str, Fault)> {
    if upstream::redirects_elsewhere(reply.status, &reply.headers, &prepared.base) {
        return Some(("upstream_redirects", faults::upstream_redirects()));
    }
    if upstream::is_repeated_request(&reply.headers) {
        return Some((UPSTREAM_ECHO, faults::upstream_echo()));
    }
    // It switches to a protocol that it was not offered; passed on, it would take the client's
    // connection along.
    let switches = reply.status.is_informational();
    switches.then(|| ("upstream_informational", faults::upstream_failed()))
}

/// The head of a reply as the client gets it.
pub(crate) fn head_of(reply: &Reply, prepared: &Prepared) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = mapped(reply.status, &prepared.channel.status_code_mapping);
    *head.headers_mut() = upstream::headers::forward_reply_headers(&reply.headers);
    // What only we can know, nobody says in our place.
    for ours in [X_NEWAPI_QUOTA, IDEMPOTENT_REPLAYED] {
        head.headers_mut().remove(ours);
    }
    if prepared.echo.as_ref().is_some_and(|echo| echo.clean(head.headers_mut())) {
        warn_of_echo(prepared.channel.id);
    }
    head
}

/// Whether a reply shows the channel's key.
pub(crate) fn repeats_key(prepared: &Prepared, bytes: &[u8]) -> bool {
    let repeats = prepared.echo.as_ref().is_some_and(|echo| echo.finds(bytes));
    if repeats {
        warn_of_echo(prepared.channel.id);
    }
    repeats
}

/// The operator should know: other clients of that upstream may see what ours don't.
pub(crate) fn warn_of_echo(channel_id: ChannelId) {
    tracing::error!(
        target: "custompass", event = "upstream_echo", channel_id = channel_id.0,
        error = "the upstream repeats the channel's key to clients; it was kept back",
    );
}

/// A reply that is here to its end.
struct Whole<'a> {
    head: Response<()>,
    /// As the upstream sent them.
    headers: &'a HeaderMap,
    bytes: Bytes,
    end: End,
}

/// Settles first, then delivers in one piece.
async fn settle_whole(
    relay: &Relay,
    call: &Call,
    whole: Whole<'_>,
    deal: Deal,
    record: &mut Record,
    share: Share,
) -> Result<Ending, Fault> {
    let Whole { mut head, headers, bytes, end } = whole;
    let reading = read(upstream::scan::scan_whole(headers, &bytes));
    let verdict = deal.judge(&reading, end, false);
    if reading.failed && matches!(verdict.money, Money::Release { .. }) {
        let error = "the upstream's reply says that it failed".to_owned();
        record.fail_upstream("UPSTREAM_ENVELOPE", error);
    }
    let is_priced = deal.price().is_some();
    let tee = deal.is_claimed().then(|| {
        let mut kept = head.headers().clone();
        if let Money::Charge { amount, .. } = &verdict.money
            && is_priced
        {
            kept.insert(X_NEWAPI_QUOTA, HeaderValue::from(amount.0));
        }
        let mut tee =
            Tee::new(head.status(), &kept, relay.config.max_kept_reply_bytes, share.another());
        tee.feed(&bytes);
        tee.ended(end)
    });
    let trouble = reading.trouble.clone();
    deal.end(relay, record, verdict.money, reading, tee).await?;
    // What the ledger says, and not what was asked of it: the hold may have ended before.
    if let Some(Quota(charged)) = record.quota.filter(|_| is_priced) {
        head.headers_mut().insert(X_NEWAPI_QUOTA, HeaderValue::from(charged));
    }
    match verdict.sight {
        Sight::Reply => Ok(Ending::Whole(in_one_piece(call, head, bytes, share))),
        Sight::Fault(fault) => Err(match trouble {
            Some(trouble) => fault().caused_by(trouble),
            None => fault(),
        }),
        Sight::Cut => Err(faults::upstream_failed()),
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

fn flowing(call: &Call, mut head: Response<()>, mut source: Source) -> Ending {
    use http_body::Body as _;
    if source.body.is_end_stream() && source.prefix.is_none() && source.stake.is_none() {
        let mut response = head.map(|()| web::empty());
        tidy_length(call, &mut response);
        return Ending::Whole(response);
    }
    if tells_length_of_nothing(call, head.status()) {
        source.left = None;
    } else {
        tidy_length(call, &mut head);
    }
    Ending::Flowing(head, Box::new(source))
}

/// The length is said by the body itself, so that the two can't differ. Only where there is no
/// body the header speaks for the body that would have been.
fn tidy_length<T>(call: &Call, response: &mut Response<T>) {
    if !tells_length_of_nothing(call, response.status()) {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
}

fn tells_length_of_nothing(call: &Call, status: StatusCode) -> bool {
    call.method == Method::HEAD || status == StatusCode::NOT_MODIFIED
}

/// The upstream's status as the operator wants it seen. Only failures are mapped.
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
        let mapping = HashMap::from([(429, 503), (200, 500), (404, 99)]);
        let mapped = |status| mapped(StatusCode::from_u16(status).unwrap(), &mapping).as_u16();
        assert_eq!((mapped(429), mapped(200), mapped(404), mapped(500)), (503, 200, 404, 500));
    }
}
