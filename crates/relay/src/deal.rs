//! What a call has at stake: its hold, and its claim on an idempotency key. Whoever has a deal
//! ends it, once.

use crate::Relay;
use crate::faults;
use crate::idempotency::{Tee, Ticket};
use crate::record::Record;
use crate::verdict::{End, Money, Reading, Sight, Verdict, decide};
use domain::{Fault, FrozenPrice, HoldId, Quota};
use ledger::{EndState, Hold, HoldRequest, LedgerError, Release, Settlement};
use std::sync::Arc;
use std::time::Duration;
use store::{Channel, Identity};

/// What is at stake.
#[derive(Default)]
pub(crate) struct Deal {
    paid: Option<(Hold, Arc<FrozenPrice>)>,
    ticket: Option<Ticket>,
}

impl Deal {
    pub(crate) const fn claimed(ticket: Option<Ticket>) -> Self {
        Self { paid: None, ticket }
    }

    /// Whether there is nothing to be ended.
    pub(crate) const fn is_empty(&self) -> bool {
        self.paid.is_none() && self.ticket.is_none()
    }

    pub(crate) fn hold_id(&self) -> Option<HoldId> {
        self.paid.as_ref().map(|(hold, _)| hold.id())
    }

    pub(crate) fn price(&self) -> Option<&FrozenPrice> {
        self.paid.as_ref().map(|(_, price)| &**price)
    }

    pub(crate) const fn is_claimed(&self) -> bool {
        self.ticket.is_some()
    }

    /// Puts the money aside. Nothing billable may be sent before.
    pub(crate) async fn hold(
        &mut self,
        relay: &Relay,
        identity: &Identity,
        candidates: &[Arc<Channel>],
        price: FrozenPrice,
        record: &Record,
    ) -> Result<(), Fault> {
        let amount = price.first_hold().map_err(|e| faults::bad_price().caused_by(e))?;
        let now = relay.clock.now();
        let price = Arc::new(price);
        let request = HoldRequest {
            hold_id: HoldId(web::uuid_v7(now)),
            user_id: identity.user_id,
            key_id: identity.key_id,
            key_is_limited: !identity.unlimited,
            channel_id: record.channel_id,
            model: record.model.clone().unwrap_or_default(),
            request_id: Arc::clone(&record.request_id),
            amount,
            price: Arc::clone(&price),
            deadline_at: now.plus_ms(relay.config.hold_ms(candidates)),
            task: None,
        };
        let held = relay.ledger.hold(request).await;
        let hold = held.map_err(|e| not_held(relay, record, e))?;
        relay.metrics.precharged();
        self.paid = Some((hold, price));
        Ok(())
    }

    /// Makes the hold as large as an estimate.
    pub(crate) async fn grow(
        &mut self,
        relay: &Relay,
        to: Quota,
        record: &Record,
    ) -> Result<(), Fault> {
        let Some((hold, _)) = &mut self.paid else { return Ok(()) };
        if to <= hold.amount() {
            return Ok(());
        }
        relay.ledger.grow(hold, to).await.map_err(|e| not_held(relay, record, e))
    }

    /// Something billable is about to leave us.
    pub(crate) const fn mark_sent(&mut self) {
        if let Some((hold, _)) = &mut self.paid {
            hold.mark_sent();
        }
    }

    /// What the end of a reply means.
    pub(crate) fn judge(&self, reading: &Reading, end: End, under_way: bool) -> Verdict {
        if let Some((hold, price)) = &self.paid {
            return decide(price, hold.amount(), reading, end, under_way);
        }
        let sight = match (end, under_way) {
            (End::Complete | End::DrainedOut, _) => Sight::Reply,
            (_, true) => Sight::Cut,
            (End::TimedOut, false) => Sight::Fault(faults::upstream_timeout),
            (End::Cut, false) => Sight::Fault(faults::upstream_failed),
        };
        let money = match end {
            End::Complete => Money::Charge { amount: Quota::ZERO, note: None },
            _ => Money::Release { reason: "not_delivered" },
        };
        Verdict { money, sight }
    }

    /// Ends the deal. A charge is durable when this returns well; when it isn't within the limit
    /// the caller is told, and the ledger goes on by itself.
    pub(crate) async fn end(
        self,
        relay: &Relay,
        record: &mut Record,
        money: Money,
        reading: Reading,
        tee: Option<Tee>,
    ) -> Result<(), Fault> {
        match money {
            Money::Charge { amount, note } => {
                let settlement = Settlement {
                    charge: amount,
                    usage: reading.usage,
                    channel_id: record.channel_id,
                    use_time_ms: record.elapsed_ms(),
                    note,
                    reply: None,
                    task: None,
                };
                self.settle(relay, record, settlement, tee).await
            }
            Money::Release { reason } => {
                self.release(relay, record, reason).await;
                Ok(())
            }
            Money::Abandon => {
                self.abandon(relay).await;
                Ok(())
            }
        }
    }

    async fn settle(
        self,
        relay: &Relay,
        record: &mut Record,
        mut settlement: Settlement,
        tee: Option<Tee>,
    ) -> Result<(), Fault> {
        let kept = match (&self.ticket, tee) {
            (Some(ticket), Some(tee)) => Some(tee.keep(relay, ticket)),
            _ => None,
        };
        let Some((mut hold, _)) = self.paid else {
            let Some(kept) = kept else { return Ok(()) };
            let node = relay.config.node_id;
            store::idempotency::complete(
                &relay.db,
                kept.user_id,
                &kept.idempotency_key,
                node,
                kept.sealed,
            )
            .await?;
            return Ok(());
        };
        settlement.reply = kept;
        let limit = Duration::from_millis(relay.config.settle_wait_ms);
        let settling = relay.ledger.settle(&mut hold, settlement);
        let closed = match tokio::time::timeout(limit, settling).await {
            Err(_) => return Err(faults::not_settled()),
            Ok(Err(e)) => return Err(faults::not_settled().caused_by(e)),
            Ok(Ok(closed)) => closed,
        };
        record.quota = Some(closed.charged);
        if closed.state != EndState::Settled {
            tracing::error!(
                target: "custompass", event = "settled_too_late", hold_id = %hold.id(),
                request_id = &*record.request_id, error = "the hold had ended before",
            );
        }
        Ok(())
    }

    /// Gives everything back. Whether that is durable yet is not the client's business: the
    /// ledger carries it out.
    pub(crate) async fn release(self, relay: &Relay, record: &Record, reason: &'static str) {
        let Self { paid, ticket } = self;
        let Some((mut hold, _)) = paid else { return forget(relay, ticket).await };
        let release = Release {
            reason,
            channel_id: record.channel_id,
            use_time_ms: record.elapsed_ms(),
            forget_reply: ticket.map(|ticket| (ticket.user_id, ticket.key_hash)),
            task: None,
        };
        let limit = Duration::from_millis(relay.config.settle_wait_ms);
        let releasing = relay.ledger.release(&mut hold, release);
        if let Ok(Err(e)) = tokio::time::timeout(limit, releasing).await {
            tracing::error!(
                target: "custompass", event = "release_failed", hold_id = %hold.id(),
                request_id = &*record.request_id, error = %e,
            );
        }
    }

    /// Leaves the hold to its deadline: nobody knows how the call ended.
    pub(crate) async fn abandon(self, relay: &Relay) {
        let Self { paid, ticket } = self;
        if let Some((hold, _)) = paid {
            let limit = Duration::from_millis(relay.config.settle_wait_ms);
            // Beyond the limit the ledger goes on by itself.
            let _ = tokio::time::timeout(limit, relay.ledger.abandon(hold)).await;
        }
        forget(relay, ticket).await;
    }
}

/// Gives up a claim, so that the request may be repeated.
async fn forget(relay: &Relay, ticket: Option<Ticket>) {
    let Some(Ticket { user_id, key_hash }) = ticket else { return };
    let node = relay.config.node_id;
    if let Err(e) = store::idempotency::forget(&relay.db, user_id, &key_hash, node).await {
        tracing::warn!(target: "custompass", event = "claim_not_forgotten", error = %e);
    }
}

fn not_held(relay: &Relay, record: &Record, error: LedgerError) -> Fault {
    relay.metrics.not_precharged(error.word());
    tracing::error!(
        target: "custompass", event = "precharge_failed", user_id = record.user_id.map(|id| id.0),
        error = %error, request_id = &*record.request_id,
    );
    error.into()
}
