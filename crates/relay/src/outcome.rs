//! What the end of a call means for the money and for the client: one table for paid, free and
//! submitted calls, with a reply and without.
//!
//! *Collected* means that the client has seen nothing yet, *under way* that it has. A *stream* is a
//! reply of events or lines, each worth something by itself.
//!
//! | the call ended | with its body | priced | money | the client sees |
//! |---|---|---|---|---|
//! | before anything was sent | | any | released | another channel's reply, or 502 |
//! | because the request broke off or was too slow | | any | released | 400, 408 or 413 |
//! | without a reply, cut | | any | released | 502 `UPSTREAM_ERROR` |
//! | without a reply, timed out | | any | abandoned, `unknown_outcome` | 504 `TIMEOUT` |
//! | in its estimate | cut | any | released | 502 `UPSTREAM_ERROR` |
//! | in its estimate | timed out | any | abandoned, `unknown_outcome` | 504 `TIMEOUT` |
//! | in its estimate | client too slow, gone | any | released | 408, – |
//! | with a reply that can't be passed on | | any | released | 502 |
//! | with a status of 400 and above | | any | released | the reply |
//! | with a reply | complete | free | – | the reply |
//! | with a reply | not complete | free | – | as below |
//! | with one not in its coding, collected | complete | paid | released | 502 `UPSTREAM_RESPONSE` |
//! | with a reply that says it failed, no usage streamed | any | paid | released | the reply |
//! | with an estimate, not the result | any | paid | released | 502 `UPSTREAM_RESPONSE`, or cut |
//! | with any other reply | complete | per call | the price | the reply |
//! | with usage | complete | by use | by usage, at most `max_charge` | the reply |
//! | with too large a charge, collected | complete | by use | released | 503 `CONFIG_ERROR` |
//! | without usable usage, collected | complete | by use | released | 502 `UPSTREAM_RESPONSE` |
//! | without usable usage, under way | complete | by use | the hold | the reply |
//! | with a reply, collected | cut | paid | released | 502 `UPSTREAM_ERROR` |
//! | with a reply, collected | timed out | paid | abandoned, `unknown_outcome` | 504 `TIMEOUT` |
//! | with a stream, under way | cut, timed out | per call | the price | cut |
//! | … no content, `CUSTOM_PASS_CUT_STREAM=seen` | cut, timed out | per call | released | cut |
//! | with a stream, under way | cut, timed out | by use | by usage seen, else the hold | cut |
//! | with another reply, under way | cut, timed out | paid | released: half is nothing | cut |
//! | with a reply | client too slow | paid | as drained out | 408 `REQUEST_TIMEOUT`, or cut |
//! | with a reply | drained out | per call | the price | – |
//! | with a reply | drained out | by use | by usage seen, else the hold | – |
//! | with a submission's reply that names its task | complete | any | the task's | the reply |
//! | … that refuses, fails, or names no task | complete | any | released | the reply |
//! | … that is an estimate | complete | any | released | 502 `UPSTREAM_RESPONSE` |
//! | … that is too large, or cut | | any | released | 502 |
//! | … | timed out, client slow, drained out | any | released, `unknown_outcome` | 504, 408, – |
//!
//! *Usage* on a route of a protocol is also what is counted here: of the request's text and of what
//! passed, where the upstream reports none, and of what passed after its last report (`reply.rs`).
//! *Says it failed*: the envelope's `code` is not 0, an event of the stream is an error, or the
//! route's protocol calls the reply failed or empty. *Abandoned*: left to the hold's deadline; a
//! submission, which can't be polled without an id, is released instead, with the same reason.
//! What ends before anything is sent (`no_channel`, `not_held`, `client_gone`) is released where it
//! is found, in `phases.rs` and `send.rs`; so is an estimate that can't be held.
//! *Drained out*: the client has gone, and the upstream continued beyond what is read without it.
//!
//! A client that disconnects changes nothing else: the upstream is read to its end, and the line of
//! the table for that end counts. A charge that does not fit (more quota than an amount may have:
//! the price is a mistake) is settled at the hold where the client has seen something.
//!
//! What the end of an accepted task costs is decided in the ledger, in the transaction that ends it
//! (`ledger/src/book/tasks.rs`), by the same [`FrozenPrice::charge_or`].

use crate::faults;
use crate::inlet::InletError;
use domain::{ChargeNote, Fault, FrozenPrice, PriceError, Quota, UNKNOWN_OUTCOME, Usage};
use upstream::{EchoGuard, Echoed, Phase, SendError, Sent};

/// How a reply shows that its call failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FailedReply {
    /// It says so.
    #[default]
    Said,
    /// It counts that nothing was made.
    Empty,
    /// Nothing came.
    Nothing,
    /// It is not what its route promises: a page, another type, or a document without its end.
    Unpromised,
}

impl FailedReply {
    /// Why nothing is charged, as the journal has it.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Said => "upstream_failed",
            Self::Empty => "upstream_empty",
            Self::Nothing => "upstream_nothing",
            Self::Unpromised => "upstream_unpromised",
        }
    }

    /// The same, for the log.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Said => "the upstream's reply says that it failed",
            Self::Empty => "the upstream's reply counts that nothing was made",
            Self::Nothing => "the upstream's reply has nothing in it",
            Self::Unpromised => {
                "the upstream's reply is not what its protocol promises, or cut short"
            }
        }
    }
}

/// What was read of a reply.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// The envelope's `code`, or an event of the stream, says that the call failed.
    pub failed: bool,
    /// How it shows that, where it failed.
    pub failure: FailedReply,
    /// The reply is an estimate.
    pub is_estimate: bool,
    /// Why, in the upstream's words.
    pub message: Option<String>,
    /// Usage that can be billed.
    pub usage: Option<Usage>,
    /// Why there is none, where the usage was malformed.
    pub trouble: Option<String>,
    /// Events or lines.
    pub is_stream: bool,
    /// It is not what its `Content-Encoding` declares, or ends within it: no client can read it to
    /// its end.
    pub is_garbled: bool,
    /// Something of what was asked for has come.
    pub has_content: bool,
    /// Broken off, it costs nothing where it is priced per call.
    pub is_free_when_cut: bool,
    /// The ids of what the call made, where its route makes something.
    pub resources: Vec<String>,
    /// It says that the channel's account is broken: in these words.
    pub account: Option<String>,
}

impl Reading {
    /// Drops the upstream's words that show the key of this guard: they are stored, logged, and
    /// shown to the caller.
    pub(crate) fn hide(&mut self, guard: &EchoGuard) {
        self.message.take_if(|words| guard.finds_in(words));
        self.trouble.take_if(|words| guard.finds_in(words));
        if let Some(words) = self.account.as_mut().filter(|words| guard.finds_in(words)) {
            words.clear();
        }
        self.resources.retain(|id| !guard.finds_in(id));
    }
}

/// How a reply's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    /// The upstream completed it.
    Complete,
    /// The upstream broke off.
    Cut,
    /// The upstream stalled or took too long.
    TimedOut,
    /// The client was too slow to send the rest of its request.
    ClientSlow,
    /// The client disconnected, and the upstream continued beyond what is drained.
    DrainedOut,
}

/// How much of a reply the client has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing: the reply was collected.
    Nothing,
    /// At least its head: the reply is under way.
    Part,
}

/// Why a reply can't be passed on, regardless of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It redirects to another host.
    Redirects,
    /// It repeats the request, reveals the channel's key, or can't be searched for it.
    Echo(Echoed),
    /// It switches to a protocol that it was not offered; passed on, it would take over the
    /// client's connection.
    Informational,
}

/// The meaning of a submission's first reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstReplyKind {
    /// It names the task.
    Accepted,
    /// It has a status of 400 and above.
    BadStatus,
    /// It reports that the submission failed.
    Failed,
    /// It names no task.
    NamesNoTask,
    /// It is an estimate.
    Estimate,
    /// It is incomplete.
    Broken(BodyEnd),
    /// It is too large to be read.
    TooLarge,
}

/// What a call reserved.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Terms<'a> {
    Free,
    Paid { price: &'a FrozenPrice, held: Quota },
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum CallEnd<'a> {
    /// Without a reply.
    NoReply(SendError),
    /// In its estimate, whose body ended early.
    Estimate(BodyEnd),
    /// With a reply that can't be passed on.
    Unusable(Unusable),
    /// With a status of 400 and above.
    BadStatus,
    /// With a reply.
    Reply { reading: &'a Reading, end: BodyEnd, seen: Seen },
    /// With the first reply to a submission.
    Submission(FirstReplyKind),
}

/// What happens to the hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Money {
    Charge {
        amount: Quota,
        note: Option<ChargeNote>,
    },
    Release {
        reason: &'static str,
    },
    /// Left to its deadline.
    Abandon,
    /// It belongs to the task from now on.
    Task,
}

/// What happens to the client.
#[derive(Debug)]
pub(crate) enum ClientOutcome {
    /// It gets the complete reply.
    Reply,
    /// It gets a fault of ours instead of the reply.
    Fault(Fault),
    /// Its reply breaks off where the upstream's did.
    Cut,
}

/// A line of the table.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub money: Money,
    pub client: ClientOutcome,
}

impl Outcome {
    const fn new(money: Money, client: ClientOutcome) -> Self {
        Self { money, client }
    }

    /// Releases the hold, and returns a fault with the reason.
    pub(crate) const fn refused(reason: &'static str, fault: Fault) -> Self {
        Self::new(Money::Release { reason }, ClientOutcome::Fault(fault))
    }

    const fn passed_on(reason: &'static str) -> Self {
        Self::new(Money::Release { reason }, ClientOutcome::Reply)
    }
}

impl ClientOutcome {
    /// The client's fault when it has seen nothing of a reply yet.
    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::Fault(fault) => fault,
            Self::Reply | Self::Cut => faults::upstream_failed(),
        }
    }
}

/// Finds the line of the table.
pub(crate) fn decide(terms: Terms<'_>, end: CallEnd<'_>) -> Outcome {
    match end {
        CallEnd::NoReply(error) => without_reply(error),
        CallEnd::Estimate(end) => in_estimate(end),
        CallEnd::Unusable(why) => unusable(why),
        CallEnd::BadStatus => Outcome::passed_on("upstream_status"),
        CallEnd::Submission(kind) => submission(kind),
        CallEnd::Reply { reading, end, seen } => match terms {
            Terms::Free => free(end, seen),
            Terms::Paid { price, held } => paid((price, held), reading, end, seen),
        },
    }
}

fn without_reply(error: SendError) -> Outcome {
    let (fault, money) = match &error {
        SendError::Payload(cause) => {
            let fault =
                InletError::among(&**cause).map_or_else(faults::body_broken, InletError::fault);
            (fault, Money::Release { reason: "request_broken" })
        }
        SendError::Timeout(Phase::ClientBody) => {
            (faults::body_too_slow(), Money::Release { reason: "request_broken" })
        }
        _ if error.sent() == Sent::No => {
            (faults::upstream_failed(), Money::Release { reason: "not_sent" })
        }
        SendError::Timeout(_) => (faults::upstream_timeout(), Money::Abandon),
        _ => (faults::upstream_failed(), Money::Release { reason: "upstream_error" }),
    };
    Outcome::new(money, ClientOutcome::Fault(fault.caused_by(error)))
}

fn in_estimate(end: BodyEnd) -> Outcome {
    match end {
        BodyEnd::TimedOut => {
            Outcome::new(Money::Abandon, ClientOutcome::Fault(faults::upstream_timeout()))
        }
        BodyEnd::ClientSlow => Outcome::refused("request_broken", faults::body_too_slow()),
        BodyEnd::DrainedOut => Outcome::refused("client_gone", faults::client_gone()),
        BodyEnd::Cut | BodyEnd::Complete => {
            Outcome::refused("upstream_cut", faults::upstream_failed())
        }
    }
}

fn unusable(why: Unusable) -> Outcome {
    match why {
        Unusable::Redirects => Outcome::refused("upstream_redirects", faults::upstream_redirects()),
        Unusable::Echo(echoed) => Outcome::refused("upstream_echo", faults::echoed(echoed)),
        Unusable::Informational => {
            Outcome::refused("upstream_informational", faults::upstream_failed())
        }
    }
}

fn submission(kind: FirstReplyKind) -> Outcome {
    match kind {
        FirstReplyKind::Accepted => Outcome::new(Money::Task, ClientOutcome::Reply),
        FirstReplyKind::BadStatus => Outcome::passed_on("upstream_status"),
        FirstReplyKind::Failed => Outcome::passed_on("upstream_failed"),
        FirstReplyKind::NamesNoTask => Outcome::passed_on("no_task_id"),
        FirstReplyKind::Estimate => {
            Outcome::refused("estimate_instead_of_result", faults::estimate_instead_of_result())
        }
        FirstReplyKind::TooLarge => Outcome::refused("reply_too_large", faults::no_task_reply()),
        FirstReplyKind::Broken(BodyEnd::Cut | BodyEnd::Complete) => {
            Outcome::refused("upstream_cut", faults::upstream_failed())
        }
        FirstReplyKind::Broken(BodyEnd::TimedOut) => {
            Outcome::refused(UNKNOWN_OUTCOME, faults::upstream_timeout())
        }
        FirstReplyKind::Broken(BodyEnd::ClientSlow) => {
            Outcome::refused(UNKNOWN_OUTCOME, faults::body_too_slow())
        }
        FirstReplyKind::Broken(BodyEnd::DrainedOut) => {
            Outcome::refused(UNKNOWN_OUTCOME, faults::client_gone())
        }
    }
}

/// What a body's end means for the client, regardless of its cost.
fn client_of(end: BodyEnd, seen: Seen) -> ClientOutcome {
    match (end, seen) {
        (BodyEnd::Complete | BodyEnd::DrainedOut, _) => ClientOutcome::Reply,
        (_, Seen::Part) => ClientOutcome::Cut,
        (BodyEnd::ClientSlow, Seen::Nothing) => ClientOutcome::Fault(faults::body_too_slow()),
        (BodyEnd::Cut, Seen::Nothing) => ClientOutcome::Fault(faults::upstream_failed()),
        (BodyEnd::TimedOut, Seen::Nothing) => ClientOutcome::Fault(faults::upstream_timeout()),
    }
}

/// Nothing is held: this only decides whether the reply may be stored for a repeated request.
fn free(end: BodyEnd, seen: Seen) -> Outcome {
    let money = match end {
        BodyEnd::Complete => Money::Charge { amount: Quota::ZERO, note: None },
        _ => Money::Release { reason: "not_delivered" },
    };
    Outcome::new(money, client_of(end, seen))
}

fn paid(
    (price, held): (&FrozenPrice, Quota),
    reading: &Reading,
    end: BodyEnd,
    seen: Seen,
) -> Outcome {
    let client = client_of(end, seen);
    let release = |reason| Money::Release { reason };
    if reading.is_garbled && seen == Seen::Nothing && end == BodyEnd::Complete {
        return Outcome::refused("garbled", faults::garbled_reply());
    }
    // A stream that failed half-way has done the work that its usage reports.
    let worked = reading.is_stream && price.is_by_use() && reading.usage.is_some();
    if reading.failed && !worked {
        return Outcome::new(release(reading.failure.reason()), client);
    }
    if reading.is_estimate {
        let client = match seen {
            Seen::Part => ClientOutcome::Cut,
            Seen::Nothing => ClientOutcome::Fault(faults::estimate_instead_of_result()),
        };
        return Outcome::new(release("estimate_instead_of_result"), client);
    }
    let is_free_when_cut = reading.is_free_when_cut && !price.is_by_use();
    let worth_something = seen == Seen::Part && reading.is_stream && !is_free_when_cut;
    match end {
        BodyEnd::TimedOut if seen == Seen::Nothing => return Outcome::new(Money::Abandon, client),
        BodyEnd::TimedOut if !worth_something => {
            return Outcome::new(release("upstream_timeout"), client);
        }
        BodyEnd::Cut if !worth_something => return Outcome::new(release("upstream_cut"), client),
        _ => {}
    }
    let (amount, why) = price.charge_or(held, reading.usage.as_ref());
    let why = match why {
        Some(ChargeNote::Held(why)) => why,
        note => return Outcome::new(Money::Charge { amount, note }, client),
    };
    let is_unpriced = price.is_by_use() && reading.usage.is_none();
    // The work was done, and its reply can't say how much: what was held is what it asked for.
    let is_uncounted = reading
        .usage
        .as_ref()
        .is_some_and(|usage| matches!(price.charge(usage), Err(PriceError::Uncounted(_))));
    if end == BodyEnd::Complete && seen == Seen::Nothing && !is_uncounted {
        return if is_unpriced {
            let fault = faults::no_usage();
            Outcome::refused(
                "no_usage",
                match &reading.trouble {
                    Some(trouble) => fault.caused_by(trouble.clone()),
                    None => fault,
                },
            )
        } else {
            Outcome::refused("charge_does_not_fit", faults::bad_price())
        };
    }
    let why = reading.trouble.clone().filter(|_| is_unpriced).unwrap_or(why);
    let note = Some(ChargeNote::Held(why));
    Outcome::new(Money::Charge { amount, note }, client)
}

#[cfg(test)]
mod cases;
#[cfg(test)]
mod tests;
