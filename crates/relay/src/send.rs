//! Sends a call to channels until one has taken it.

use crate::Relay;
use crate::account::{AccountWatch, MAX_READ_BYTES};
use crate::call::{Call, RequestKind};
use crate::channels::{Attempt, Busy, Candidates};
use crate::context::Context;
use crate::faults;
use crate::outcome::{BodyEnd, CallEnd, ClientOutcome, Outcome, decide};
use crate::reply::{Collected, DeclaredShape, ReadAs, collect, read_whole, shape_of};
use crate::reservation::Reservation;
use crate::submit;
use domain::{Fault, FrozenPrice, HoldId, UnixMs};
use egress::Prepared;
use http::StatusCode;
use http::header::RETRY_AFTER;
use http_body_util::BodyExt as _;
use protocol::ProtocolRoute;
use std::sync::Arc;
use std::time::Duration;
use store::Channel;
use tokio::time::{Instant, timeout_at};
use upstream::{Reply, SendError, Sent};
use web::memory::Share;

/// How long a refusal is read that is not passed on.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);
/// The first pause after a 429; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest one, and the longest `Retry-After` that is obeyed.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// A reply, and the channel that sent it.
pub(crate) struct ChannelReply {
    pub reply: Reply,
    pub prepared: Arc<Prepared>,
    pub attempt: Attempt,
    /// What of the body was read already, to see whether it is an estimate.
    pub collected: Option<Collected>,
    /// The hold follows an estimate.
    pub is_estimated: bool,
    /// How it is read.
    pub read_as: ReadAs,
}

impl ChannelReply {
    /// Whether another channel may be asked in its place: this one did no work, or none that was
    /// delivered, as its protocol says.
    fn may_be_retried(&self, call: &Call) -> bool {
        let Some(route) = self.read_as.route() else { return false };
        let status = self.reply.status.as_u16();
        route.is_refused_by(status) || route.is_retried_after(status) && !call.is_made_once(route)
    }
}

impl ChannelReply {
    /// Reads a refusal that is not passed on for what it says of the channel's account.
    async fn look_at_account(&mut self) {
        let Some(mut watch) = AccountWatch::of(&self.read_as, &self.reply) else { return };
        let until = Instant::now() + REFUSAL_PATIENCE;
        let mut left_bytes = MAX_READ_BYTES;
        while let Ok(Some(Ok(frame))) = timeout_at(until, self.reply.body.frame()).await {
            let Ok(data) = frame.into_data() else { continue };
            watch.feed(&data);
            left_bytes = left_bytes.saturating_sub(data.len());
            if left_bytes == 0 {
                break;
            }
        }
        self.attempt.account_is_broken(watch.finish(self.prepared.echo.as_ref()));
    }

    /// How long to wait before the next channel is asked: some have the same account behind them.
    fn pause(&self, failovers: u32) -> Duration {
        if self.reply.status != StatusCode::TOO_MANY_REQUESTS {
            return Duration::ZERO;
        }
        let says = self.reply.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let says = says.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let growing = FIRST_PAUSE.saturating_mul(1 << failovers.min(4));
        says.filter(|says| *says <= MAX_PAUSE).unwrap_or(growing).min(MAX_PAUSE)
    }
}

/// One attempt at a channel.
pub(crate) struct Exchange<'a> {
    pub relay: &'a Relay,
    pub call: &'a Call,
    pub prepared: Arc<Prepared>,
    pub attempt: Attempt,
    /// The route that its reply is read by.
    pub route: Option<Arc<ProtocolRoute>>,
    /// The idempotency key for the upstream.
    pub hold_id: Option<HoldId>,
}

/// Why a channel has not taken a call.
pub(crate) enum NotTaken {
    /// It can't be built for the channel: nothing was sent.
    Unbuilt(Fault),
    /// There was no reply.
    NoReply(SendError),
}

/// A failed attempt: its outcome, and whether another channel may be tried.
struct Failure {
    outcome: Outcome,
    is_unsent: bool,
}

impl Failure {
    fn cause(&self) -> String {
        match &self.outcome.client {
            ClientOutcome::Fault(fault) => fault.cause_chain(),
            ClientOutcome::Reply | ClientOutcome::Cut => String::new(),
        }
    }
}

impl From<Outcome> for Failure {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, is_unsent: false }
    }
}

impl Exchange<'_> {
    /// Sends one request, and reads the head of its reply. Records what it shows about the
    /// channel's health. A body that is made for the channel counts in `share` until then.
    pub(crate) async fn request(
        &mut self,
        kind: RequestKind,
        now: UnixMs,
        share: &mut Share,
    ) -> Result<Reply, NotTaken> {
        let before = share.bytes();
        let replied = self.request_within(kind, now, share).await;
        share.shrink_to(before);
        replied
    }

    async fn request_within(
        &mut self,
        kind: RequestKind,
        now: UnixMs,
        share: &mut Share,
    ) -> Result<Reply, NotTaken> {
        let Self { relay, call, prepared, attempt, route, hold_id } = self;
        let deadlines = prepared.deadlines_of(route.as_deref());
        let before = share.bytes();
        let mut build = || {
            let built =
                call.build_request(prepared, *hold_id, (kind, route.as_ref()), &relay.config);
            let built = built.map_err(NotTaken::Unbuilt)?;
            if !share.grow_towards(before.saturating_add(built.made_bytes)) {
                return Err(NotTaken::Unbuilt(faults::overloaded()));
            }
            let mut request = built.outbound(&call.method, prepared);
            prepared.sign(&mut request.headers, now);
            Ok(request)
        };
        let request = build()?;
        attempt.sends();
        let mut sent = relay.client.send(request, &deadlines).await;
        if matches!(sent, Err(SendError::Stale(_))) && call.may_be_repeated(&prepared.channel) {
            sent = relay.client.send_afresh(build()?, &deadlines).await;
        }
        match sent {
            Ok(reply) => {
                attempt.answers(reply.status);
                Ok(reply)
            }
            Err(error) => {
                attempt.goes_unanswered(&error);
                Err(NotTaken::NoReply(error))
            }
        }
    }
}

/// Sends the call to the chosen channel, and, as long as nothing was sent, to the next.
pub(crate) async fn send(
    ctx: &mut Context<'_>,
    call: &Call,
    (mut candidates, mut next): (Candidates<'_>, (Arc<Channel>, Attempt)),
    reservation: &mut Reservation,
) -> Result<ChannelReply, Outcome> {
    let relay = ctx.relay;
    let mut failovers = 0;
    loop {
        let (channel, attempt) = next;
        ctx.record.channel_id = Some(channel.id);
        let attempted = attempt_channel(ctx, call, (&channel, attempt), reservation).await;
        let may_fail_over = match &attempted {
            Ok(answer) => answer.may_be_retried(call),
            Err(failure) => failure.is_unsent,
        };
        if !may_fail_over {
            return attempted.map_err(|failure| failure.outcome);
        }
        let max_failovers = channel.setting.retry_count.unwrap_or(relay.config.failover_count);
        let may_go_on = failovers < max_failovers && call.inlet.is_fresh();
        candidates.exclude(channel.id);
        let another = match may_go_on && !ctx.link.is_disconnected() {
            true => candidates.choose().ok(),
            false => None,
        };
        // The last channel's own words reach the client.
        let Some(another) = another else {
            return attempted.map_err(|failure| failure.outcome);
        };
        let (error, pause) = match attempted {
            Ok(mut answer) => {
                answer.look_at_account().await;
                let status = answer.reply.status.as_u16();
                (format!("status {status}"), answer.pause(failovers))
            }
            Err(failure) => (failure.cause(), Duration::ZERO),
        };
        ctx.record.upstream_ends();
        failovers += 1;
        tracing::warn!(
            target: "custompass", event = "channel_failed", channel_id = channel.id.0,
            error, request_id = &*ctx.record.request_id,
        );
        relay.metrics.failed_over();
        if let Some(task) = reservation.task() {
            submit::move_to_channel(relay, task, another.0.id)
                .await
                .map_err(|fault| Outcome::refused("not_sent", fault))?;
        }
        tokio::time::sleep(pause).await;
        next = another;
    }
}

/// When no channel can be called now.
pub(crate) fn none_left(busy: Busy) -> Fault {
    let seconds = u32::try_from(busy.for_ms.max(0) / 1_000).unwrap_or(u32::MAX);
    faults::no_channel(seconds.saturating_add(1))
}

/// Sends the call to one channel: the estimate where one is due, then the call itself.
async fn attempt_channel(
    ctx: &mut Context<'_>,
    call: &Call,
    (channel, attempt): (&Arc<Channel>, Attempt),
    reservation: &mut Reservation,
) -> Result<ChannelReply, Failure> {
    let relay = ctx.relay;
    let prepared = attempt.prepared(channel, &relay.config).map_err(|fault| Failure {
        outcome: Outcome::refused("not_sent", fault),
        is_unsent: true,
    })?;
    ctx.record.upstream_begins();
    let read_as = call.read_as(channel, reservation.price());
    let hold_id = reservation.hold_id();
    let route = read_as.route().map(Arc::clone);
    let mut exchange = Exchange { relay, call, prepared, attempt, route, hold_id };
    let is_by_use = reservation.price().is_some_and(FrozenPrice::is_by_use);
    let mut is_estimated = false;
    // An estimate call would submit the work.
    let is_submitted = || call.submit_route(channel).is_some();
    if is_by_use && call.is_estimated_by(channel) && !is_submitted() {
        // Boxed, so that calls without an estimate don't reserve space for it.
        let before_bytes = ctx.share.bytes();
        let estimated = Box::pin(estimate(ctx, &mut exchange, reservation, &read_as)).await;
        if !matches!(estimated, Ok(Some(_))) {
            // Nothing of what was collected is passed on.
            ctx.share.shrink_to(before_bytes);
        }
        match estimated? {
            None if ctx.link.is_disconnected() => {
                return Err(Outcome::refused("client_gone", faults::client_gone()).into());
            }
            None => is_estimated = true,
            Some((reply, collected)) => {
                let Exchange { prepared, attempt, .. } = exchange;
                return Ok(ChannelReply {
                    reply,
                    prepared,
                    attempt,
                    collected,
                    is_estimated,
                    read_as,
                });
            }
        }
    }
    let reply = request(ctx, &mut exchange, RequestKind::Real, reservation).await?;
    let Exchange { prepared, attempt, .. } = exchange;
    Ok(ChannelReply { reply, prepared, attempt, collected: None, is_estimated, read_as })
}

/// One request of a call that has a client, a reservation and a trace.
async fn request(
    ctx: &mut Context<'_>,
    exchange: &mut Exchange<'_>,
    kind: RequestKind,
    reservation: &mut Reservation,
) -> Result<Reply, Failure> {
    let now = ctx.relay.clock.now();
    let held = reservation.mark_sent(ctx.relay, now);
    held.map_err(|fault| Outcome::refused("not_sent", fault))?;
    let trace = &mut ctx.record.trace;
    trace.request_sent(&exchange.call.method, &exchange.prepared, kind);
    match exchange.request(kind, now, &mut ctx.share).await {
        Ok(reply) => {
            trace.reply_received(reply.status);
            Ok(reply)
        }
        Err(NotTaken::Unbuilt(fault)) => Err(Outcome::refused("not_sent", fault).into()),
        Err(NotTaken::NoReply(error)) => {
            let is_unsent = error.sent() == Sent::No;
            let outcome = decide(reservation.terms(), CallEnd::NoReply(error));
            if let ClientOutcome::Fault(fault) = &outcome.client {
                trace.no_reply(fault);
            }
            Err(Failure { outcome, is_unsent })
        }
    }
}

/// Asks for an estimate, and grows the hold to it. `Some`: the reply is the result itself.
async fn estimate(
    ctx: &mut Context<'_>,
    exchange: &mut Exchange<'_>,
    reservation: &mut Reservation,
    read_as: &ReadAs,
) -> Result<Option<(Reply, Option<Collected>)>, Failure> {
    let mut reply = request(ctx, exchange, RequestKind::Estimate, reservation).await?;
    if !reply.status.is_success() || shape_of(&reply.headers) != DeclaredShape::Json {
        return Ok(Some((reply, None)));
    }
    let limit_bytes = ctx.relay.config.max_collected_reply_bytes;
    let collected = collect(&mut reply.body, limit_bytes, ctx.link, &mut ctx.share).await;
    match collected.end {
        Some(BodyEnd::Complete) => {}
        // Too large for an estimate.
        None => return Ok(Some((reply, Some(collected)))),
        Some(end) => {
            if matches!(end, BodyEnd::Cut | BodyEnd::TimedOut) {
                exchange.attempt.breaks_off();
            }
            return Err(decide(reservation.terms(), CallEnd::Estimate(end)).into());
        }
    }
    let mut reading = read_whole(&reply.headers, &collected.bytes, &estimates_of(read_as));
    if let Some(guard) = &exchange.prepared.echo {
        reading.hide(guard);
    }
    if !reading.is_estimate || reading.failed {
        return Ok(Some((reply, Some(collected))));
    }
    let bad = |why: String| Outcome::refused("bad_estimate", faults::bad_estimate().caused_by(why));
    reservation.counted(&mut reading);
    let usage = reading.usage.ok_or_else(|| {
        bad(reading.trouble.unwrap_or_else(|| "the estimate has no usage".to_owned()))
    })?;
    let price = reservation.price().ok_or_else(|| bad("no price".to_owned()))?;
    let amount = price.charge(&usage).map_err(|e| bad(e.to_string()))?;
    ctx.record.trace.attempt_ends();
    let grown = reservation.grow(amount, ctx.record).await;
    grown.map_err(|fault| Outcome::refused("estimate_not_held", fault))?;
    Ok(None)
}

/// How an estimate is read: by the contract of CustomPass, whose it is.
fn estimates_of(read_as: &ReadAs) -> ReadAs {
    match read_as {
        ReadAs::Envelope { .. } => read_as.clone(),
        ReadAs::Route { .. } => ReadAs::SUMS,
    }
}
