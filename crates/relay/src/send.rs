//! Putting a call to channels until one has taken it.

use crate::Relay;
use crate::call::{Call, Kind};
use crate::carry::Tie;
use crate::channels::{Attempt, Busy};
use crate::deal::Deal;
use crate::faults;
use crate::inlet::InletError;
use crate::record::Record;
use crate::reply::{Collected, Shape, collect, read, shape_of};
use crate::submit;
use crate::verdict::{End, Money};
use domain::{ChannelId, Fault, UserId};
use egress::Prepared;
use std::sync::Arc;
use store::Channel;
use upstream::{Phase, Reply, SendError, Sent};

/// A reply, and the channel that gave it.
pub(crate) struct Answer {
    pub reply: Reply,
    pub prepared: Arc<Prepared>,
    pub attempt: Attempt,
    /// What of the body was read already, to see whether it is an estimate.
    pub collected: Option<Collected>,
    /// The hold is as large as an estimate said.
    pub estimated: bool,
}

/// Why there is none.
pub(crate) struct Failure {
    pub fault: Fault,
    /// What becomes of the hold.
    pub money: Money,
    /// Nothing has left us: another channel may be tried.
    unsent: bool,
}

/// What an estimate call brought.
enum Estimated {
    /// The hold has grown; the real call may follow.
    Held,
    /// The reply is the result itself.
    Result(Box<(Reply, Option<Collected>)>),
}

const fn released(fault: Fault, reason: &'static str) -> Failure {
    Failure { fault, money: Money::Release { reason }, unsent: false }
}

/// Puts the call to the chosen channel, and, as long as nothing has been sent, to the next.
#[expect(clippy::too_many_arguments, reason = "the phase that everything comes together in")]
pub(crate) async fn send(
    relay: &Relay,
    call: &Call,
    candidates: &[Arc<Channel>],
    (mut channel, mut attempt): (Arc<Channel>, Attempt),
    mut excluded: Vec<ChannelId>,
    deal: &mut Deal,
    record: &mut Record,
    tie: &Tie,
) -> Result<Answer, Failure> {
    let mut tried = 0;
    loop {
        record.channel_id = Some(channel.id);
        let failure = match put(relay, call, &channel, attempt, deal, record, tie).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        record.upstream_ends();
        let most = channel.setting.retry_count.unwrap_or(relay.config.failover_count);
        if !failure.unsent || tried >= most || !call.inlet.is_fresh() {
            return Err(failure);
        }
        tried += 1;
        excluded.push(channel.id);
        let next = relay.channels.pick(candidates, &mut excluded).ok();
        let Some(next) = next.filter(|_| !tie.is_gone()) else { return Err(failure) };
        tracing::warn!(
            target: "custompass", event = "channel_failed", channel_id = channel.id.0,
            error = failure.fault.cause_chain(), request_id = &*record.request_id,
        );
        relay.metrics.failed_over();
        (channel, attempt) = next;
        if let Some(task) = deal.task() {
            submit::moves_to(relay, task, channel.id)
                .await
                .map_err(|fault| released(fault, "not_sent"))?;
        }
    }
}

/// When no channel can be called now.
pub(crate) fn none_left(busy: Busy) -> Fault {
    let seconds = u32::try_from(busy.for_ms.max(0) / 1_000).unwrap_or(u32::MAX);
    faults::no_channel(seconds.saturating_add(1))
}

/// Puts the call to one channel: the estimate where one is due, then the call itself.
async fn put(
    relay: &Relay,
    call: &Call,
    channel: &Arc<Channel>,
    mut attempt: Attempt,
    deal: &mut Deal,
    record: &mut Record,
    tie: &Tie,
) -> Result<Answer, Failure> {
    let prepared = attempt
        .prepared(channel, &relay.config)
        .map_err(|fault| Failure { unsent: true, ..released(fault, "not_sent") })?;
    record.upstream_begins();
    let mut estimated = false;
    if deal.price().is_some_and(domain::FrozenPrice::is_by_use) && Call::is_estimated_by(channel) {
        // Boxed, so that calls without an estimate carry nothing of it.
        let estimating = estimate(relay, call, &prepared, &mut attempt, deal, record, tie);
        match Box::pin(estimating).await? {
            Estimated::Held if tie.is_gone() => {
                return Err(released(faults::client_gone(), "client_gone"));
            }
            Estimated::Held => estimated = true,
            Estimated::Result(result) => {
                let (reply, collected) = *result;
                return Ok(Answer { reply, prepared, attempt, collected, estimated });
            }
        }
    }
    let reply = request(relay, call, &prepared, &mut attempt, deal, Kind::Real, record).await?;
    Ok(Answer { reply, prepared, attempt, collected: None, estimated })
}

/// One request, to the head of its reply.
async fn request(
    relay: &Relay,
    call: &Call,
    prepared: &Prepared,
    attempt: &mut Attempt,
    deal: &mut Deal,
    kind: Kind,
    record: &mut Record,
) -> Result<Reply, Failure> {
    let put = call
        .put(prepared, deal.hold_id(), kind, &relay.config)
        .map_err(|fault| released(fault, "not_sent"))?;
    deal.mark_sent();
    record.trace.asks(&call.method, prepared, kind);
    let sending = relay.client.send(put.request(&call.method, prepared), &prepared.deadlines);
    match sending.await {
        Ok(reply) => {
            record.trace.hears(reply.status);
            if reply.status.is_server_error() {
                attempt.bad();
            } else {
                attempt.good();
            }
            Ok(reply)
        }
        Err(error) => {
            if !error.is_clients_fault() {
                attempt.bad();
            }
            let failure = failure_of(error);
            record.trace.hears_nothing(&failure.fault);
            Err(failure)
        }
    }
}

/// Asks for an estimate, and makes the hold as large.
async fn estimate(
    relay: &Relay,
    call: &Call,
    prepared: &Prepared,
    attempt: &mut Attempt,
    deal: &mut Deal,
    record: &mut Record,
    tie: &Tie,
) -> Result<Estimated, Failure> {
    let mut reply = request(relay, call, prepared, attempt, deal, Kind::Estimate, record).await?;
    if !reply.status.is_success() || shape_of(&reply.headers) != Shape::Json {
        return Ok(Estimated::Result(Box::new((reply, None))));
    }
    let mut share = relay.budget.share_of(record.user_id.unwrap_or(UserId(0)));
    let most = relay.config.max_collected_reply_bytes;
    let collected = collect(&mut reply.body, most, tie, &mut share).await;
    match collected.end {
        Some(End::Cut) => {
            attempt.bad();
            return Err(released(faults::upstream_failed(), "upstream_cut"));
        }
        Some(End::TimedOut) => {
            attempt.bad();
            let fault = faults::upstream_timeout();
            return Err(Failure { fault, money: Money::Abandon, unsent: false });
        }
        Some(End::Complete) => {}
        Some(End::ClientSlow) => return Err(released(faults::body_too_slow(), "request_broken")),
        Some(End::DrainedOut) => {
            return Err(released(faults::client_gone(), "client_gone"));
        }
        // Too large for an estimate.
        None => {
            return Ok(Estimated::Result(Box::new((reply, Some(collected)))));
        }
    }
    let reading = read(upstream::scan::scan_whole(&reply.headers, &collected.bytes));
    if !reading.is_estimate || reading.failed {
        return Ok(Estimated::Result(Box::new((reply, Some(collected)))));
    }
    let bad = |why: String| released(faults::bad_estimate().caused_by(why), "bad_estimate");
    let usage = reading.usage.ok_or_else(|| {
        bad(reading.trouble.unwrap_or_else(|| "the estimate has no usage".to_owned()))
    })?;
    let price = deal.price().ok_or_else(|| bad("no price".to_owned()))?;
    let amount = price.charge(&usage).map_err(|e| bad(e.to_string()))?;
    record.trace.attempt_ends();
    deal.grow(relay, amount, record).await.map_err(|fault| released(fault, "estimate_not_held"))?;
    Ok(Estimated::Held)
}

/// What a failed request means.
fn failure_of(error: SendError) -> Failure {
    let unsent = error.sent() == Sent::No;
    let (fault, money) = match &error {
        SendError::Payload(cause) => {
            let fault = match InletError::among(&**cause) {
                Some(why) => why.fault(),
                None => faults::body_broken(),
            };
            (fault, Money::Release { reason: "request_broken" })
        }
        SendError::Timeout(Phase::ClientBody) => {
            (faults::body_too_slow(), Money::Release { reason: "request_broken" })
        }
        _ if unsent => (faults::upstream_failed(), Money::Release { reason: "not_sent" }),
        SendError::Timeout(_) => (faults::upstream_timeout(), Money::Abandon),
        _ => (faults::upstream_failed(), Money::Release { reason: "upstream_error" }),
    };
    Failure { fault: fault.caused_by(error), money, unsent }
}

#[cfg(test)]
mod tests {
    use super::*;
    use upstream::ConnectError;

    fn told(error: SendError) -> (&'static str, Money, bool) {
        let failure = failure_of(error);
        (web::show(failure.fault.kind).code, failure.money, failure.unsent)
    }

    #[test]
    fn only_what_was_not_sent_may_go_to_another_channel() {
        let refused = SendError::Connect(ConnectError::Refused("x".into()));
        let unsent = Money::Release { reason: "not_sent" };
        for error in [refused, SendError::Timeout(Phase::Connect), SendError::Unsent("x".into())] {
            assert_eq!(told(error), ("UPSTREAM_ERROR", unsent.clone(), true));
        }
        let cut = Money::Release { reason: "upstream_error" };
        for error in [SendError::Cut("x".into()), SendError::BadReply("x".into())] {
            assert_eq!(told(error), ("UPSTREAM_ERROR", cut.clone(), false));
        }
        for phase in [Phase::FirstByte, Phase::Idle, Phase::Total] {
            assert_eq!(told(SendError::Timeout(phase)), ("TIMEOUT", Money::Abandon, false));
        }
    }

    #[test]
    fn the_clients_own_faults_are_told_as_such() {
        let broken = Money::Release { reason: "request_broken" };
        let large = InletError::TooLarge { limit_bytes: 5 };
        for (error, code) in [
            (SendError::Payload(Box::new(large)), "PAYLOAD_TOO_LARGE"),
            (SendError::Payload("gone".into()), "INVALID_REQUEST"),
            (SendError::Timeout(Phase::ClientBody), "REQUEST_TIMEOUT"),
        ] {
            assert_eq!(told(error), (code, broken.clone(), false));
        }
    }
}
