//! Repeats a submission whose first sender has died, as it was sent the first time: the estimate
//! where one is due, then the submission, under the same keys.

use super::first_reply::{self, Accepted, FirstReply, SubmissionRefusal, price_of_use};
use super::recover::Left;
use super::{request, whole};
use crate::Relay;
use crate::call::RequestKind;
use crate::client_link::ClientLink;
use crate::deliver::{head_of, repeats_key, unusable};
use crate::outcome::{BodyEnd, FirstReplyKind};
use crate::reply::{ReadAs, collect};
use crate::send::{Exchange, NotTaken};
use bytes::Bytes;
use domain::{FaultKind, FrozenPrice, Quota, Usage};
use egress::CallerKey;
use http::{HeaderValue, Response, StatusCode};
use std::sync::Arc;
use store::{Channel, TOKEN_KEY};
use upstream::Reply;

/// A submission that can be repeated.
pub(super) struct Again {
    pub kept: request::Kept,
    pub channel: Arc<Channel>,
}

/// The result of a repetition.
pub(super) enum Repeated {
    Accepted(Box<Resubmitted>),
    /// The upstream refuses, with this message.
    Refused(String),
    /// The outcome can't be known.
    Lost(&'static str),
    /// The upstream can't be reached now; possibly later.
    Unreached(String),
}

/// A reply that names the task.
pub(super) struct Resubmitted {
    pub accepted: Accepted,
    pub head: Response<()>,
    pub bytes: Bytes,
    /// The amount that the hold should have.
    pub hold: Option<Quota>,
}

/// One parsed reply.
enum ReadReply {
    Accepted(Box<(Accepted, Response<()>, Bytes)>),
    Estimate(Option<Usage>),
}

impl Again {
    /// What is needed to repeat a submission, or why it can't be repeated.
    pub(super) fn of(relay: &Relay, left: &Left) -> Result<Self, &'static str> {
        let catalog = relay.live.catalog.load_full();
        let channel = catalog.channel(left.channel_id).ok_or("its channel is gone")?;
        if !channel.setting.idempotent {
            return Err("its upstream does not honour Idempotency-Key");
        }
        let sealed = left.request_sealed.as_deref().ok_or("it was not kept")?;
        let key = relay.sealer.open_text(TOKEN_KEY, &left.key_sealed);
        let key = key.map_err(|_| "its key can't be opened")?;
        let mut value = HeaderValue::from_str(key.expose()).map_err(|_| "its key is no header")?;
        value.set_sensitive(true);
        // Whoever was deleted with plain SQL may have been root.
        let role = left.owner_role.unwrap_or(i64::MAX);
        let key = CallerKey { value, user_id: left.user_id, role };
        let kept = request::open(relay, sealed, key, &left.request_id)
            .filter(|kept| kept.call.model.as_str() == left.model)
            .ok_or("it can't be read again")?;
        Ok(Self { kept, channel: Arc::clone(channel) })
    }

    /// Sends it again. `price` is that of the hold; `None`: it is free.
    pub(super) async fn send(
        &self,
        relay: &Relay,
        left: &Left,
        price: Option<&FrozenPrice>,
    ) -> Repeated {
        match self.try_send(relay, left, price).await {
            Ok(resubmitted) => Repeated::Accepted(Box::new(resubmitted)),
            Err(repeated) => repeated,
        }
    }

    async fn try_send(
        &self,
        relay: &Relay,
        left: &Left,
        price: Option<&FrozenPrice>,
    ) -> Result<Resubmitted, Repeated> {
        let channel = &self.channel;
        let limit = channel.setting.concurrency;
        let entered = relay.channels.enter(channel.id, limit, channel.auto_ban, left.user_id);
        let attempt =
            entered.map_err(|_| Repeated::Unreached("the channel is busy or paused".to_owned()))?;
        let prepared = attempt
            .prepared(channel, &relay.config)
            .map_err(|_| Repeated::Lost("its channel is misconfigured"))?;
        let (call, hold_id) = (&self.kept.call, Some(left.uid.hold()));
        let mut exchange = Exchange { relay, call, prepared, attempt, route: None, hold_id };
        let price = price.filter(|price| price.is_by_use());
        let read_as = call.read_as(channel, price);
        let sent = (left, &read_as);
        let mut estimate = None;
        if let Some(price) = price.filter(|_| call.is_estimated_by(channel)) {
            match request(&mut exchange, sent, RequestKind::Estimate).await? {
                ReadReply::Estimate(usage) => {
                    estimate = price_of_use(price, usage);
                }
                ReadReply::Accepted(result) => {
                    let (accepted, head, bytes) = *result;
                    let hold = accepted.price_of_use(price);
                    return Ok(Resubmitted { accepted, head, bytes, hold });
                }
            }
        }
        match request(&mut exchange, sent, RequestKind::Real).await? {
            ReadReply::Estimate(_) => Err(Repeated::Lost("the upstream answered with an estimate")),
            ReadReply::Accepted(result) => {
                let (accepted, head, bytes) = *result;
                let hold = estimate.or_else(|| accepted.price_of_use(price?));
                Ok(Resubmitted { accepted, head, bytes, hold })
            }
        }
    }
}

/// One request, to the end of its reply.
async fn request(
    exchange: &mut Exchange<'_>,
    sent: (&Left, &ReadAs),
    kind: RequestKind,
) -> Result<ReadReply, Repeated> {
    let now = exchange.relay.clock.now();
    let mut share = exchange.relay.budget.share_of(sent.0.user_id);
    let reply = exchange.request(kind, now, &mut share).await.map_err(|error| match error {
        NotTaken::Unbuilt(fault) if fault.kind == FaultKind::Overloaded => {
            Repeated::Unreached(fault.en)
        }
        NotTaken::Unbuilt(_) => Repeated::Lost("it can't be addressed to its channel"),
        NotTaken::NoReply(error) => Repeated::Unreached(error.to_string()),
    })?;
    if may_differ_later(reply.status) {
        return Err(Repeated::Unreached(format!("status {}", reply.status.as_u16())));
    }
    read_reply(exchange, sent, reply).await
}

/// Whether an upstream that replies so may reply differently later.
fn may_differ_later(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425 | 429)
}

async fn read_reply(
    exchange: &Exchange<'_>,
    (left, read_as): (&Left, &ReadAs),
    mut reply: Reply,
) -> Result<ReadReply, Repeated> {
    let Exchange { relay, prepared, .. } = exchange;
    if unusable(&reply, prepared).is_some() {
        return Err(Repeated::Lost("its upstream's reply can't be passed on"));
    }
    let head = head_of(&reply, prepared);
    let (link, mut share) = (ClientLink::default(), relay.budget.share_of(left.user_id));
    let limit_bytes = relay.config.max_collected_reply_bytes;
    let collected = collect(&mut reply.body, limit_bytes, &link, &mut share).await;
    let bytes = whole(collected).map_err(|kind| match kind {
        FirstReplyKind::Broken(BodyEnd::Cut | BodyEnd::TimedOut) => {
            Repeated::Unreached("the reply broke off".to_owned())
        }
        _ => Repeated::Lost("the upstream's reply is too large"),
    })?;
    let bytes = share.tie(bytes);
    if repeats_key(prepared, &reply.headers, &bytes).is_some() {
        return Err(Repeated::Lost("the upstream's reply repeats its channel's key, or may"));
    }
    match first_reply::read(reply.status, &reply.headers, &bytes, read_as) {
        FirstReply::Accepted(accepted) => {
            Ok(ReadReply::Accepted(Box::new((accepted, head, bytes))))
        }
        FirstReply::Refused(SubmissionRefusal { message, .. }) => Err(Repeated::Refused(message)),
        FirstReply::Estimate(usage) => Ok(ReadReply::Estimate(usage)),
    }
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
