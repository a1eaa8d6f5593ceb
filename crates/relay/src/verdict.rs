//! What a reply means for the money and for the client.
//!
//! The reply's status is below 400 here; one of 400 and above is released and passed on as it is.
//! *Collected* means that the client has seen nothing yet, *under way* that it has. A *stream* is a
//! reply of events or lines, each worth something by itself.
//!
//! | reply | ended | priced | money | the client sees |
//! |---|---|---|---|---|
//! | says it failed (and no usage by use) | any | any | released | the reply |
//! | an estimate, not the result | any | any | released | 502 `UPSTREAM_RESPONSE`, or cut |
//! | any other | complete | per call | the price | the reply |
//! | with usage | complete | by use | by usage | the reply |
//! | with too large a charge, collected | complete | by use | released | 503 `CONFIG_ERROR` |
//! | without usable usage, collected | complete | by use | released | 502 `UPSTREAM_RESPONSE` |
//! | without usable usage, under way | complete | by use | the hold | the reply |
//! | collected | cut | any | released | 502 `UPSTREAM_ERROR` |
//! | collected | timed out | any | abandoned, `unknown_outcome` | 504 `TIMEOUT` |
//! | stream under way | cut, timed out | per call | the price | cut |
//! | stream under way | cut, timed out | by use | by the usage seen, else the hold | cut |
//! | other, under way | cut, timed out | any | released: half of it is nothing | cut |
//! | any | client too slow | any | as drained out | 408 `REQUEST_TIMEOUT`, or cut |
//! | any | drained out | per call | the price | – |
//! | any | drained out | by use | by the usage seen, else the hold | – |
//!
//! *Says it failed*: the envelope's `code` is not 0, or an event of the stream is an error.
//! *Drained out*: the client has gone, and the upstream went on beyond what we read for nobody.
//!
//! A client that has gone changes nothing else: the upstream is read to its end, and the line of
//! the table for that end counts. A charge that does not fit (more quota than 64 bits hold: the
//! price is a mistake) is settled at the hold where the client has seen something.

use crate::faults;
use domain::{Fault, FrozenPrice, Quota, Usage};

/// What was read of a reply.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// The envelope's `code`, or an event of the stream, says that the call failed.
    pub failed: bool,
    /// The reply is an estimate.
    pub is_estimate: bool,
    /// Usage that can be billed.
    pub usage: Option<Usage>,
    /// Why there is none, where something stood there.
    pub trouble: Option<String>,
    /// Events or lines.
    pub is_stream: bool,
}

/// How a reply's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The upstream said that this was all.
    Complete,
    /// The upstream broke off.
    Cut,
    /// The upstream paused or went on for too long.
    TimedOut,
    /// The client was too slow to send the rest of its request.
    ClientSlow,
    /// The client has gone, and the upstream went on beyond what we read for nobody.
    DrainedOut,
}

/// What happens to the hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Money {
    Charge { amount: Quota, note: Option<String> },
    Release { reason: &'static str },
    Abandon,
}

/// What happens to the client.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sight {
    /// It gets the reply, to its end.
    Reply,
    /// It gets a fault of ours in place of the reply.
    Fault(fn() -> Fault),
    /// Its reply breaks off where the upstream's did.
    Cut,
}

/// The line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub money: Money,
    pub sight: Sight,
}

const fn verdict(money: Money, sight: Sight) -> Verdict {
    Verdict { money, sight }
}

const fn release(reason: &'static str) -> Money {
    Money::Release { reason }
}

/// Decides; see the table above.
pub(crate) fn decide(
    price: &FrozenPrice,
    held: Quota,
    reading: &Reading,
    end: End,
    under_way: bool,
) -> Verdict {
    let sight = match (end, under_way) {
        (End::Complete | End::DrainedOut, _) => Sight::Reply,
        (End::Cut | End::TimedOut | End::ClientSlow, true) => Sight::Cut,
        (End::ClientSlow, false) => Sight::Fault(faults::body_too_slow),
        (End::Cut, false) => Sight::Fault(faults::upstream_failed),
        (End::TimedOut, false) => Sight::Fault(faults::upstream_timeout),
    };
    // A stream that failed half-way has done the work that its usage tells of.
    let worked = reading.is_stream && price.is_by_use() && reading.usage.is_some();
    if reading.failed && !worked {
        return verdict(release("upstream_failed"), sight);
    }
    if reading.is_estimate {
        let refused = Sight::Fault(faults::estimate_instead_of_result);
        let sight = if under_way { Sight::Cut } else { refused };
        return verdict(release("estimate_instead_of_result"), sight);
    }
    let worth_something = under_way && reading.is_stream;
    match end {
        End::TimedOut if !under_way => return verdict(Money::Abandon, sight),
        End::TimedOut if !worth_something => return verdict(release("upstream_timeout"), sight),
        End::Cut if !worth_something => return verdict(release("upstream_cut"), sight),
        _ => {}
    }
    let unseen = end == End::Complete && !under_way;
    let usage = if price.is_by_use() { reading.usage.as_ref() } else { Some(&Usage::default()) };
    match usage.map(|usage| price.charge(usage)) {
        Some(Ok(amount)) => verdict(Money::Charge { amount, note: None }, sight),
        Some(Err(_)) if unseen => {
            verdict(release("charge_does_not_fit"), Sight::Fault(faults::bad_price))
        }
        Some(Err(e)) => verdict(at_the_hold(held, &e.to_string()), sight),
        None if unseen => verdict(release("no_usage"), Sight::Fault(faults::no_usage)),
        None => {
            let why = reading.trouble.as_deref().unwrap_or("no usage in the reply");
            verdict(at_the_hold(held, why), sight)
        }
    }
}

fn at_the_hold(held: Quota, why: &str) -> Money {
    Money::Charge { amount: held, note: Some(format!("settled at the hold: {why}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{PriceRow, Pricing, Ratio};

    const HELD: Quota = Quota(7);

    fn price(row: &PriceRow) -> FrozenPrice {
        match Pricing::freeze(Some(row), Ratio::ONE, Ratio::ONE) {
            Ok(Pricing::Priced(price)) => price,
            other => panic!("{other:?}"),
        }
    }

    fn per_call() -> FrozenPrice {
        price(&PriceRow { fixed_quota: Some(HELD), ..PriceRow::default() })
    }

    fn by_use() -> FrozenPrice {
        let ratio = Some(Ratio::ONE);
        price(&PriceRow { ratio, min_hold: Some(HELD), ..PriceRow::default() })
    }

    fn usage(tokens: i64) -> Option<Usage> {
        Some(Usage { prompt_tokens: tokens, ..Usage::default() })
    }

    /// The verdict in short: what is charged (or why nothing), and what the client sees.
    fn short(price: &FrozenPrice, reading: Reading, end: End, under_way: bool) -> String {
        let verdict = decide(price, HELD, &reading, end, under_way);
        let money = match verdict.money {
            Money::Charge { amount, note: None } => amount.to_string(),
            Money::Charge { amount, note: Some(_) } => format!("{amount}!"),
            Money::Release { reason } => reason.to_owned(),
            Money::Abandon => "abandon".to_owned(),
        };
        let sight = match verdict.sight {
            Sight::Reply => "reply",
            Sight::Cut => "cut",
            Sight::Fault(fault) => web::show(fault().kind).code,
        };
        format!("{money} {sight}")
    }

    fn json(usage: Option<Usage>) -> Reading {
        Reading { usage, ..Reading::default() }
    }

    fn stream(usage: Option<Usage>) -> Reading {
        Reading { usage, is_stream: true, ..Reading::default() }
    }

    #[test]
    fn complete_replies() {
        let done = End::Complete;
        for under_way in [false, true] {
            assert_eq!(short(&per_call(), json(None), done, under_way), "7 reply");
            assert_eq!(short(&per_call(), stream(usage(99)), done, under_way), "7 reply");
            assert_eq!(short(&by_use(), json(usage(99)), done, under_way), "99 reply");
            assert_eq!(short(&by_use(), json(usage(0)), done, under_way), "0 reply");
        }
        assert_eq!(short(&by_use(), json(None), done, false), "no_usage UPSTREAM_RESPONSE");
        assert_eq!(short(&by_use(), stream(None), done, true), "7! reply");
    }

    #[test]
    fn failures_are_passed_on_and_free() {
        for price in [per_call(), by_use()] {
            for under_way in [false, true] {
                let failed = Reading { failed: true, ..json(usage(5)) };
                let seen = short(&price, failed, End::Complete, under_way);
                assert_eq!(seen, "upstream_failed reply");
            }
            let failed = Reading { failed: true, ..stream(None) };
            assert_eq!(short(&price, failed, End::Complete, true), "upstream_failed reply");
        }
        let worked = Reading { failed: true, ..stream(usage(5)) };
        assert_eq!(short(&by_use(), worked.clone(), End::Complete, true), "5 reply");
        assert_eq!(short(&per_call(), worked, End::Complete, true), "upstream_failed reply");
    }

    #[test]
    fn an_estimate_is_never_a_result() {
        let estimate = Reading { is_estimate: true, ..json(usage(5)) };
        for price in [per_call(), by_use()] {
            let collected = short(&price, estimate.clone(), End::Complete, false);
            assert_eq!(collected, "estimate_instead_of_result UPSTREAM_RESPONSE");
            let under_way = short(&price, estimate.clone(), End::Complete, true);
            assert_eq!(under_way, "estimate_instead_of_result cut");
        }
    }

    #[test]
    fn nobody_pays_for_what_was_not_delivered() {
        for price in [per_call(), by_use()] {
            let cut = |under_way| short(&price, json(usage(5)), End::Cut, under_way);
            assert_eq!(cut(false), "upstream_cut UPSTREAM_ERROR");
            assert_eq!(cut(true), "upstream_cut cut");
            let late = |under_way| short(&price, json(usage(5)), End::TimedOut, under_way);
            assert_eq!(late(false), "abandon TIMEOUT");
            assert_eq!(late(true), "upstream_timeout cut");
        }
    }

    #[test]
    fn a_stream_that_breaks_off_has_been_worth_something() {
        for end in [End::Cut, End::TimedOut] {
            assert_eq!(short(&per_call(), stream(None), end, true), "7 cut");
            assert_eq!(short(&by_use(), stream(usage(3)), end, true), "3 cut");
            assert_eq!(short(&by_use(), stream(None), end, true), "7! cut");
        }
    }

    #[test]
    fn hanging_up_is_not_a_way_to_work_for_free() {
        assert_eq!(short(&per_call(), json(None), End::ClientSlow, false), "7 REQUEST_TIMEOUT");
        assert_eq!(short(&by_use(), stream(usage(3)), End::ClientSlow, true), "3 cut");
        for under_way in [false, true] {
            let gone = |price, reading| short(&price, reading, End::DrainedOut, under_way);
            assert_eq!(gone(per_call(), json(None)), "7 reply");
            assert_eq!(gone(by_use(), stream(usage(3))), "3 reply");
            assert_eq!(gone(by_use(), stream(None)), "7! reply");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_while_it_can_be() {
        let most = "1000000".parse().unwrap();
        let dear = PriceRow {
            ratio: Some(most),
            cache_ratio: Some(most),
            min_hold: Some(HELD),
            ..PriceRow::default()
        };
        let Ok(Pricing::Priced(dear)) = Pricing::freeze(Some(&dear), most, most) else {
            panic!("not priced")
        };
        let huge = json(usage(1_000_000_000));
        let unseen = short(&dear, huge.clone(), End::Complete, false);
        assert_eq!(unseen, "charge_does_not_fit CONFIG_ERROR");
        assert_eq!(short(&dear, huge.clone(), End::Complete, true), "7! reply");
        assert_eq!(short(&dear, huge, End::DrainedOut, false), "7! reply");
    }
}
