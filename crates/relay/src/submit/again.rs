//! Sending a submission again whose first sender is no more, as it was sent the first time: the
//! estimate where one is due, then the submission, under the same keys.

use super::recover::Left;
use super::said::{self, FirstReply, Refusal, Said};
use super::{request, whole};
use crate::Relay;
use crate::call::{Call, Kind};
use crate::carry::Tie;
use crate::channels::Attempt;
use crate::deliver::{head_of, repeats_key, unusable};
use crate::reply::collect;
use crate::verdict::End;
use bytes::Bytes;
use domain::{FrozenPrice, Quota, Usage, UserId};
use egress::Prepared;
use http::{Response, StatusCode};
use std::sync::Arc;
use store::{Channel, TOKEN_KEY};
use upstream::Reply;

/// A submission that can be repeated.
pub(super) struct Again {
    pub kept: request::Kept,
    pub channel: Arc<Channel>,
}

/// What a repetition came to.
pub(super) enum Repeated {
    Taken(Box<Answered>),
    /// The upstream says no, in these words.
    Refused(String),
    /// It can't be told what became of it.
    Lost(&'static str),
    /// Not now; perhaps later.
    Unreached(String),
}

/// A reply that names the task.
pub(super) struct Answered {
    pub said: Said,
    pub head: Response<()>,
    pub bytes: Bytes,
    /// What the hold should reach.
    pub hold: Option<Quota>,
}

/// One reply, read.
enum Heard {
    Taken(Box<(Said, Response<()>, Bytes)>),
    Estimate(Option<Usage>),
}

impl Again {
    /// What is needed to repeat a submission, or why it can't be.
    pub(super) fn of(relay: &Relay, left: &Left) -> Result<Self, &'static str> {
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
        Ok(Self { kept, channel: Arc::clone(channel) })
    }

    /// Sends it again. `price` is what the hold was made at; none: it is free.
    pub(super) async fn send(
        &self,
        relay: &Relay,
        left: &Left,
        price: Option<&FrozenPrice>,
    ) -> Repeated {
        match self.try_send(relay, left, price).await {
            Ok(answered) => Repeated::Taken(Box::new(answered)),
            Err(repeated) => repeated,
        }
    }

    async fn try_send(
        &self,
        relay: &Relay,
        left: &Left,
        price: Option<&FrozenPrice>,
    ) -> Result<Answered, Repeated> {
        let channel = &self.channel;
        let limit = channel.setting.concurrency;
        let entered = relay.channels.enter(channel.id, limit, channel.auto_ban);
        let mut attempt = entered
            .map_err(|_| Repeated::Unreached("the channel is busy or left alone".to_owned()))?;
        let prepared = attempt
            .prepared(channel, &relay.config)
            .map_err(|_| Repeated::Lost("its channel is misconfigured"))?;
        let price = price.filter(|price| price.is_by_use());
        let mut estimate = None;
        if let Some(price) = price.filter(|_| Call::is_estimated_by(channel)) {
            match self.ask(relay, left, &prepared, &mut attempt, Kind::Estimate).await? {
                Heard::Estimate(usage) => {
                    estimate = usage.and_then(|usage| price.charge(&usage).ok());
                }
                Heard::Taken(taken) => {
                    let (said, head, bytes) = *taken;
                    let hold = said.price_of_use(price);
                    return Ok(Answered { said, head, bytes, hold });
                }
            }
        }
        match self.ask(relay, left, &prepared, &mut attempt, Kind::Real).await? {
            Heard::Estimate(_) => Err(Repeated::Lost("the upstream answered with an estimate")),
            Heard::Taken(taken) => {
                let (said, head, bytes) = *taken;
                let hold = estimate.or_else(|| said.price_of_use(price?));
                Ok(Answered { said, head, bytes, hold })
            }
        }
    }

    /// One request, to the end of its reply.
    async fn ask(
        &self,
        relay: &Relay,
        left: &Left,
        prepared: &Prepared,
        attempt: &mut Attempt,
        kind: Kind,
    ) -> Result<Heard, Repeated> {
        let call = &self.kept.call;
        let put = call
            .put(prepared, Some(left.uid.hold()), kind, &relay.config)
            .map_err(|_| Repeated::Lost("it can't be put to its channel"))?;
        let request = put.request(&call.method, prepared);
        let reply = match relay.client.send(request, &prepared.deadlines).await {
            Ok(reply) => reply,
            Err(error) => {
                attempt.bad();
                return Err(Repeated::Unreached(error.to_string()));
            }
        };
        if reply.status.is_server_error() {
            attempt.bad();
        } else {
            attempt.good();
        }
        if may_differ_later(reply.status) {
            return Err(Repeated::Unreached(format!("status {}", reply.status.as_u16())));
        }
        hear(relay, left.user_id, reply, prepared).await
    }
}

/// Whether an upstream that says this may say something else when it is asked again.
fn may_differ_later(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425 | 429)
}

async fn hear(
    relay: &Relay,
    user_id: UserId,
    mut reply: Reply,
    prepared: &Prepared,
) -> Result<Heard, Repeated> {
    if unusable(&reply, prepared).is_some() {
        return Err(Repeated::Lost("its upstream's reply can't be passed on"));
    }
    let head = head_of(&reply, prepared);
    let (tie, mut share) = (Tie::default(), relay.budget.share_of(user_id));
    let most = relay.config.max_collected_reply_bytes;
    let collected = collect(&mut reply.body, most, &tie, &mut share).await;
    if matches!(collected.end, Some(End::Cut | End::TimedOut)) {
        return Err(Repeated::Unreached("the reply broke off".to_owned()));
    }
    let bytes =
        whole(collected).map_err(|_| Repeated::Lost("the upstream's reply is too large"))?;
    if repeats_key(prepared, &bytes) {
        return Err(Repeated::Lost("the upstream's reply repeats its channel's key"));
    }
    match said::read(reply.status, &reply.headers, &bytes) {
        FirstReply::Taken(said) => Ok(Heard::Taken(Box::new((said, head, bytes)))),
        FirstReply::Refused(Refusal { words, .. }) => Err(Repeated::Refused(words)),
        FirstReply::Estimate(usage) => Ok(Heard::Estimate(usage)),
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
