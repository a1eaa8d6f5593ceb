//! A call's reservation: its hold, the task that it submits, and its claim on an idempotency key. A
//! reservation ends once, and is consumed by that.

use crate::Relay;
use crate::account::in_short;
use crate::asked::Asked;
use crate::context::Context;
use crate::faults;
use crate::idempotency::{Tee, Ticket};
use crate::outcome::{Money, Reading, Terms};
use crate::phases::Order;
use crate::record::Record;
use crate::traced::ended;
use domain::{Fault, FrozenPrice, HoldId, Quota, TaskUid, UNKNOWN_OUTCOME, UnixMs, Usage, UserId};
use ledger::{
    AcceptedTask, Charge, Hold, HoldRequest, KeptReply, LedgerError, NewTask, Release, Settlement,
    TaskEnd, TaskRef,
};
use spans::key;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::error::Elapsed;

/// Delay between two attempts to record a task that costs nothing.
const RECORD_PAUSE: Duration = Duration::from_millis(200);

/// What is reserved for a call.
#[derive(Default)]
pub(crate) struct Reservation {
    paid: Option<(Hold, Arc<FrozenPrice>)>,
    /// What the call asks for.
    asked: Asked,
    ticket: Option<Ticket>,
    /// A task that was created, and has no upstream id yet.
    task: Option<OpenTask>,
    /// When the hold or the task was made; 0: neither was.
    since: UnixMs,
}

/// A task being submitted to an upstream.
#[derive(Clone, Copy)]
pub(crate) struct OpenTask {
    pub uid: TaskUid,
    user_id: UserId,
}

impl Reservation {
    pub(crate) fn claimed(ticket: Option<Ticket>) -> Self {
        Self { ticket, ..Self::default() }
    }

    /// Whether there is nothing to end.
    pub(crate) const fn is_empty(&self) -> bool {
        self.paid.is_none() && self.ticket.is_none() && self.task.is_none()
    }

    /// The idempotency key for the upstream: the hold's id, or that of a free task.
    pub(crate) fn hold_id(&self) -> Option<HoldId> {
        let held = self.paid.as_ref().map(|(hold, _)| hold.id());
        held.or_else(|| self.task.map(|task| task.uid.hold()))
    }

    pub(crate) const fn task(&self) -> Option<OpenTask> {
        self.task
    }

    /// The price of the call.
    pub(crate) fn terms(&self) -> Terms<'_> {
        match &self.paid {
            None => Terms::Free,
            Some((hold, price)) => Terms::Paid { price, held: hold.amount() },
        }
    }

    pub(crate) fn price(&self) -> Option<&FrozenPrice> {
        self.paid.as_ref().map(|(_, price)| &**price)
    }

    /// The usage as the price needs it: with the units that were asked for, where the reply has not
    /// counted them. A reply that failed and counted nothing has not done what was asked for.
    pub(crate) fn counted(&self, reading: &mut Reading) {
        let asked = self.asked.units.as_deref();
        if let Some(price) = self.price()
            && (!reading.failed || reading.usage.is_some())
        {
            reading.usage = price.counts_of(reading.usage.take(), asked);
        }
    }

    pub(crate) const fn is_claimed(&self) -> bool {
        self.ticket.is_some()
    }

    /// The client's idempotency key, hashed.
    pub(crate) fn claim(&self) -> Option<&str> {
        self.ticket.as_ref().map(|ticket| ticket.key_hash.as_str())
    }

    /// Holds the money, and creates the task that it is for. Nothing billable may be sent before.
    pub(crate) async fn hold(
        &mut self,
        ctx: &Context<'_>,
        order: Order<'_>,
        price: FrozenPrice,
        task: Option<Box<NewTask>>,
    ) -> Result<(), Fault> {
        let Context { relay, record, .. } = ctx;
        let identity = &order.caller.identity;
        let asked = &order.call.asked;
        let amount = price.first_hold(asked.expected.as_deref());
        let amount = amount.map_err(|e| faults::bad_price().caused_by(e))?;
        let now = relay.clock.now();
        let price = Arc::new(price);
        let open = task.as_ref().map(|task| OpenTask { uid: task.uid, user_id: task.user_id });
        let request = HoldRequest {
            hold_id: open.map_or_else(|| HoldId(web::uuid_v7(now)), |task| task.uid.hold()),
            user_id: identity.user_id,
            key_id: identity.key_id,
            key_is_limited: identity.limited,
            channel_id: record.channel_id,
            model: record.model.clone().unwrap_or_default(),
            request_id: Arc::clone(&record.request_id),
            amount,
            price: Arc::clone(&price),
            deadline_at: now.plus_ms(relay.config.hold_ms(order.candidates)),
            task,
        };
        let mut span = record.trace.phase("hold");
        span.show(key::HOLD_ID, request.hold_id);
        span.set(key::QUOTA, amount.0);
        let held = relay.ledger.hold(request).await;
        let hold = ended(span, held.map_err(|e| not_held(record, e)))?;
        relay.metrics.precharged();
        self.since = now;
        self.paid = Some((hold, price));
        self.asked.clone_from(asked);
        self.task = open;
        Ok(())
    }

    /// Creates a task that costs nothing.
    pub(crate) async fn open_free(&mut self, relay: &Relay, task: NewTask) -> Result<(), Fault> {
        let open = OpenTask { uid: task.uid, user_id: task.user_id };
        let now = relay.clock.now();
        relay.ledger.open_free_task(task).await?;
        self.since = now;
        self.task = Some(open);
        Ok(())
    }

    /// The upstream has accepted the task: from here on the poller ends it. Returns the amount
    /// held.
    pub(crate) async fn record(
        self,
        relay: &Relay,
        mut taken: AcceptedTask,
        tee: Option<Tee>,
    ) -> Result<Option<Quota>, Fault> {
        if let (Some(ticket), Some(tee)) = (&self.ticket, tee) {
            taken.reply = Some(tee.keep(relay, ticket));
        }
        let limit = Duration::from_millis(relay.config.settle_wait_ms);
        let Some((mut hold, _)) = self.paid else {
            let kept = taken.reply.take();
            let user_id = self.task.map_or(UserId(0), |task| task.user_id);
            let recording = record_free(relay, user_id, taken);
            not_late(tokio::time::timeout(limit, recording).await)?;
            if let Some(kept) = kept {
                complete(relay, kept).await?;
            }
            return Ok(None);
        };
        let held = hold.amount();
        let recording = relay.ledger.record_task(&mut hold, taken);
        let more = not_late(tokio::time::timeout(limit, recording).await)?;
        Ok(Some(held.checked_add(more).unwrap_or(held)))
    }

    /// Grows the hold to an estimate.
    pub(crate) async fn grow(&mut self, to: Quota, record: &Record) -> Result<(), Fault> {
        let Some((hold, _)) = &mut self.paid else { return Ok(()) };
        if to <= hold.amount() {
            return Ok(());
        }
        let mut span = record.trace.phase("grow");
        span.set(key::QUOTA, to.0);
        let grown = record.relay().ledger.grow(hold, to).await;
        ended(span, grown.map_err(|e| not_held(record, e)))
    }

    /// Marks that something billable is about to be sent. Fails when another node may have ended
    /// the reservation meanwhile: nothing may be sent for it then.
    pub(crate) fn mark_sent(&mut self, relay: &Relay, now: UnixMs) -> Result<(), Fault> {
        if self.since != UnixMs(0) && !relay.ledger.still_holds(self.since, now) {
            return Err(faults::node_paused());
        }
        if let Some((hold, _)) = &mut self.paid {
            hold.mark_sent();
        }
        Ok(())
    }

    /// Ends the reservation with what was read of the reply, and the reply to store. A charge is
    /// durable when this returns `Ok`; if it isn't within the time limit, the client gets a fault,
    /// and the ledger continues to settle it.
    pub(crate) async fn end(
        self,
        record: &mut Record,
        money: Money,
        reading: Reading,
        tee: Option<Tee>,
    ) -> Result<(), Fault> {
        record.used(reading.usage.as_ref());
        match money {
            Money::Charge { amount, note } => {
                self.note_output(record, reading.usage.as_ref());
                let settlement = Settlement {
                    charge: amount,
                    usage: reading.usage,
                    channel_id: record.channel_id,
                    use_time_ms: record.elapsed_ms(),
                    note,
                    reply: None,
                };
                return self.settle(record, settlement, tee).await;
            }
            Money::Release { reason } => {
                let said = reading.message.filter(|_| reading.failed);
                let said = said.map(|said| in_short(&said)).filter(|said| !said.is_empty());
                let release = Release { reason, said, ..Release::default() };
                self.release_as(record, release, reason.to_owned()).await;
            }
            // Rare, and the largest: it would be a part of every call.
            Money::Abandon => Box::pin(self.abandon(record)).await,
            // Recorded with the task: [`Self::record`].
            Money::Task => {}
        }
        Ok(())
    }

    /// How much output the call had: for holds of later calls of its model.
    fn note_output(&self, record: &Record, usage: Option<&Usage>) {
        let expected = self.asked.expected.as_ref();
        if let (Some(_), Some(usage), Some(model)) = (expected, usage, &record.model) {
            let relay = record.relay();
            relay.usual_outputs.note(model, usage.completion_tokens, relay.clock.now());
        }
    }

    async fn settle(
        self,
        record: &mut Record,
        mut settlement: Settlement,
        tee: Option<Tee>,
    ) -> Result<(), Fault> {
        let relay = Arc::clone(record.relay());
        let kept = match (&self.ticket, tee) {
            (Some(ticket), Some(tee)) => Some(tee.keep(&relay, ticket)),
            _ => None,
        };
        let Some((mut hold, _)) = self.paid else {
            let Some(kept) = kept else { return Ok(()) };
            return complete(&relay, kept).await;
        };
        settlement.reply = kept;
        let limit = Duration::from_millis(relay.config.settle_wait_ms);
        let mut span = record.trace.phase("settle");
        span.set(key::QUOTA, settlement.charge.0);
        let settling = relay.ledger.settle(&mut hold, settlement);
        let settled = match tokio::time::timeout(limit, settling).await {
            Err(_) => Err(faults::not_settled()),
            Ok(Err(e)) => Err(faults::not_settled().caused_by(e)),
            Ok(Ok(closed)) => Ok(closed),
        };
        let closed = ended(span, settled)?;
        record.quota = Some(closed.charged);
        Ok(())
    }

    /// Releases everything. The client does not wait until that is durable: the ledger completes
    /// it, and a task that is left in between is recovered.
    pub(crate) async fn release(self, record: &Record, reason: &'static str) {
        self.release_task(record, reason, reason.to_owned()).await;
    }

    /// The same; a task that was created ends as failed, with `why` for its owner.
    pub(crate) async fn release_task(self, record: &Record, reason: &'static str, why: String) {
        self.release_as(record, Release { reason, ..Release::default() }, why).await;
    }

    async fn release_as(self, record: &Record, release: Release, why: String) {
        let relay = record.relay();
        let Self { paid, ticket, task, .. } = self;
        let task = task.map(|OpenTask { uid, user_id }| {
            let (channel_id, since) = (record.channel_id, relay.clock.now());
            (TaskRef { uid, user_id, channel_id, since }, TaskEnd::failed(why))
        });
        let Some((mut hold, _)) = paid else {
            if let Some((task, end)) = task {
                fail_free(record, &task, end).await;
            }
            return delete_claim(relay, ticket).await;
        };
        let reason = release.reason;
        let release = Release {
            channel_id: record.channel_id,
            use_time_ms: record.elapsed_ms(),
            forget_reply: ticket.map(|ticket| (ticket.user_id, ticket.key_hash)),
            ..release
        };
        let limit = Duration::from_millis(relay.config.settle_wait_ms);
        let mut span = record.trace.phase("release");
        span.set(key::REASON, reason);
        let releasing = async {
            match task {
                Some((task, end)) => {
                    let failed = relay.ledger.fail_submission(&mut hold, &task, release, end);
                    failed.await.map(drop)
                }
                None => relay.ledger.release(&mut hold, release).await.map(drop),
            }
        };
        if let Ok(Err(e)) = tokio::time::timeout(limit, releasing).await {
            span.fail(e.label());
            tracing::error!(
                target: "custompass", event = "release_failed", hold_id = %hold.id(),
                request_id = &*record.request_id, error = %e,
            );
        }
    }

    /// Leaves the hold to its deadline: the outcome of the call is unknown. A task without an
    /// upstream id can't be polled, so it has failed.
    async fn abandon(self, record: &Record) {
        if self.task.is_some() {
            return self.release(record, UNKNOWN_OUTCOME).await;
        }
        let relay = record.relay();
        let Self { paid, ticket, .. } = self;
        if let Some((hold, _)) = paid {
            let limit = Duration::from_millis(relay.config.settle_wait_ms);
            // Beyond the time limit the ledger continues on its own.
            let _ = tokio::time::timeout(limit, relay.ledger.abandon(hold)).await;
        }
        delete_claim(relay, ticket).await;
    }
}

/// Stores the end of a claim outside the ledger.
async fn complete(relay: &Relay, kept: KeptReply) -> Result<(), Fault> {
    let KeptReply { user_id, idempotency_key, sealed } = kept;
    let node = relay.node_id;
    store::idempotency::complete(&relay.db, user_id, &idempotency_key, node, sealed).await?;
    Ok(())
}

/// Ends a task without a hold.
async fn fail_free(record: &Record, task: &TaskRef, end: TaskEnd) {
    if let Err(e) = record.relay().ledger.finish_task(task, Charge::Nothing("failed"), end).await {
        tracing::error!(
            target: "custompass", event = "task_not_ended", task_uid = %task.uid,
            request_id = &*record.request_id, error = %e,
        );
    }
}

/// Records a free task; as with money, an unavailable database is waited for.
async fn record_free(
    relay: &Relay,
    user_id: UserId,
    taken: AcceptedTask,
) -> Result<(), LedgerError> {
    loop {
        match relay.ledger.record_task_again(user_id, taken.clone()).await {
            Err(LedgerError::Unavailable(_)) => tokio::time::sleep(RECORD_PAUSE).await,
            recorded => return recorded.map(drop),
        }
    }
}

/// The result of recording a task, within the time limit.
fn not_late<T>(recorded: Result<Result<T, LedgerError>, Elapsed>) -> Result<T, Fault> {
    match recorded {
        Err(_) => Err(faults::not_settled()),
        Ok(Err(LedgerError::WrongState)) => Err(faults::task_given_up()),
        Ok(Err(e)) => Err(faults::not_settled().caused_by(e)),
        Ok(Ok(recorded)) => Ok(recorded),
    }
}

/// Deletes a claim, so that the request may be repeated.
async fn delete_claim(relay: &Relay, ticket: Option<Ticket>) {
    let Some(Ticket { user_id, key_hash }) = ticket else { return };
    let node = relay.node_id;
    if let Err(e) = store::idempotency::forget(&relay.db, user_id, &key_hash, node).await {
        tracing::warn!(target: "custompass", event = "claim_not_forgotten", error = %e);
    }
}

fn not_held(record: &Record, error: LedgerError) -> Fault {
    record.relay().metrics.not_precharged(error.label());
    tracing::error!(
        target: "custompass", event = "precharge_failed", user_id = record.user_id.map(|id| id.0),
        error = %error, request_id = &*record.request_id,
    );
    error.into()
}
