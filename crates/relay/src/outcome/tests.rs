use super::*;
use domain::{PriceRow, Pricing, Ratio};
use upstream::{ConnectError, Echoed};

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

/// The outcome in short: what is charged (or why nothing), and what the client sees.
fn short(price: &FrozenPrice, reading: Reading, end: BodyEnd, seen: Seen) -> String {
    let terms = Terms::Paid { price, held: HELD };
    in_short(decide(terms, CallEnd::Reply { reading: &reading, end, seen }))
}

fn in_short(outcome: Outcome) -> String {
    let money = match outcome.money {
        Money::Charge { amount, note: None } => amount.to_string(),
        Money::Charge { amount, note: Some(_) } => format!("{amount}!"),
        Money::Release { reason } => reason.to_owned(),
        Money::Abandon => "abandon".to_owned(),
        Money::Task => "task".to_owned(),
    };
    let client = match outcome.client {
        ClientOutcome::Reply => "reply",
        ClientOutcome::Cut => "cut",
        ClientOutcome::Fault(fault) => web::show(fault.kind).code,
    };
    format!("{money} {client}")
}

fn json(usage: Option<Usage>) -> Reading {
    Reading { usage, ..Reading::default() }
}

fn stream(usage: Option<Usage>) -> Reading {
    Reading { usage, is_stream: true, ..Reading::default() }
}

#[test]
fn complete_replies() {
    let done = BodyEnd::Complete;
    for seen in [Seen::Nothing, Seen::Part] {
        assert_eq!(short(&per_call(), json(None), done, seen), "7 reply");
        assert_eq!(short(&per_call(), stream(usage(99)), done, seen), "7 reply");
        assert_eq!(short(&by_use(), json(usage(99)), done, seen), "99 reply");
        assert_eq!(short(&by_use(), json(usage(0)), done, seen), "0 reply");
    }
    assert_eq!(short(&by_use(), json(None), done, Seen::Nothing), "no_usage UPSTREAM_RESPONSE");
    assert_eq!(short(&by_use(), stream(None), done, Seen::Part), "7! reply");
}

#[test]
fn failures_are_passed_on_and_free() {
    for price in [per_call(), by_use()] {
        for seen in [Seen::Nothing, Seen::Part] {
            let failed = Reading { failed: true, ..json(usage(5)) };
            let failed = short(&price, failed, BodyEnd::Complete, seen);
            assert_eq!(failed, "upstream_failed reply");
        }
        let failed = Reading { failed: true, ..stream(None) };
        assert_eq!(short(&price, failed, BodyEnd::Complete, Seen::Part), "upstream_failed reply");
    }
    let worked = Reading { failed: true, ..stream(usage(5)) };
    assert_eq!(short(&by_use(), worked.clone(), BodyEnd::Complete, Seen::Part), "5 reply");
    assert_eq!(short(&per_call(), worked, BodyEnd::Complete, Seen::Part), "upstream_failed reply");
}

#[test]
fn an_estimate_is_never_a_result() {
    let estimate = Reading { is_estimate: true, ..json(usage(5)) };
    for price in [per_call(), by_use()] {
        let collected = short(&price, estimate.clone(), BodyEnd::Complete, Seen::Nothing);
        assert_eq!(collected, "estimate_instead_of_result UPSTREAM_RESPONSE");
        let under_way = short(&price, estimate.clone(), BodyEnd::Complete, Seen::Part);
        assert_eq!(under_way, "estimate_instead_of_result cut");
    }
}

#[test]
fn what_was_not_delivered_costs_nothing() {
    for price in [per_call(), by_use()] {
        let cut = |seen| short(&price, json(usage(5)), BodyEnd::Cut, seen);
        assert_eq!(cut(Seen::Nothing), "upstream_cut UPSTREAM_ERROR");
        assert_eq!(cut(Seen::Part), "upstream_cut cut");
        let late = |seen| short(&price, json(usage(5)), BodyEnd::TimedOut, seen);
        assert_eq!(late(Seen::Nothing), "abandon TIMEOUT");
        assert_eq!(late(Seen::Part), "upstream_timeout cut");
    }
}

#[test]
fn a_stream_that_breaks_off_has_been_worth_something() {
    for end in [BodyEnd::Cut, BodyEnd::TimedOut] {
        assert_eq!(short(&per_call(), stream(None), end, Seen::Part), "7 cut");
        assert_eq!(short(&by_use(), stream(usage(3)), end, Seen::Part), "3 cut");
        assert_eq!(short(&by_use(), stream(None), end, Seen::Part), "7! cut");
    }
}

#[test]
fn hanging_up_is_not_a_way_to_work_for_free() {
    assert_eq!(
        short(&per_call(), json(None), BodyEnd::ClientSlow, Seen::Nothing),
        "7 REQUEST_TIMEOUT"
    );
    assert_eq!(short(&by_use(), stream(usage(3)), BodyEnd::ClientSlow, Seen::Part), "3 cut");
    for seen in [Seen::Nothing, Seen::Part] {
        let gone = |price, reading| short(&price, reading, BodyEnd::DrainedOut, seen);
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
    let unseen = short(&dear, huge.clone(), BodyEnd::Complete, Seen::Nothing);
    assert_eq!(unseen, "charge_does_not_fit CONFIG_ERROR");
    assert_eq!(short(&dear, huge.clone(), BodyEnd::Complete, Seen::Part), "7! reply");
    assert_eq!(short(&dear, huge, BodyEnd::DrainedOut, Seen::Nothing), "7! reply");
}

#[test]
fn a_reply_that_reports_too_much_is_charged_the_bound() {
    let bounded = |max_charge| {
        let ratio = Some(Ratio::ONE);
        let max_charge = Some(Quota(max_charge));
        price(&PriceRow { ratio, min_hold: Some(HELD), max_charge, ..PriceRow::default() })
    };
    for end in [BodyEnd::Complete, BodyEnd::DrainedOut] {
        for seen in [Seen::Nothing, Seen::Part] {
            assert_eq!(short(&bounded(50), json(usage(50)), end, seen), "50 reply");
            assert_eq!(short(&bounded(50), json(usage(51)), end, seen), "50! reply");
            assert_eq!(short(&bounded(3), json(usage(1_000_000_000)), end, seen), "3! reply");
        }
    }
    assert_eq!(short(&bounded(5), stream(usage(9)), BodyEnd::Cut, Seen::Part), "5! cut");
    let failed = Reading { failed: true, ..json(usage(99)) };
    let failed = short(&bounded(5), failed, BodyEnd::Complete, Seen::Nothing);
    assert_eq!(failed, "upstream_failed reply");
}

/// The lines of the table that don't depend on the price.
#[test]
fn calls_without_a_body() {
    let terms = Terms::Free;
    let no_reply = |error| in_short(decide(terms, CallEnd::NoReply(error)));
    let refused = SendError::Connect(ConnectError::Refused("x".into()));
    for error in [refused, SendError::Timeout(Phase::Connect), SendError::Unsent("x".into())] {
        assert_eq!(no_reply(error), "not_sent UPSTREAM_ERROR");
    }
    for error in [SendError::Cut("x".into()), SendError::BadReply("x".into())] {
        assert_eq!(no_reply(error), "upstream_error UPSTREAM_ERROR");
    }
    for phase in [Phase::FirstByte, Phase::Idle, Phase::Total] {
        assert_eq!(no_reply(SendError::Timeout(phase)), "abandon TIMEOUT");
    }
    let large = InletError::TooLarge { limit_bytes: 5 };
    for (error, code) in [
        (SendError::Payload(Box::new(large)), "PAYLOAD_TOO_LARGE"),
        (SendError::Payload("gone".into()), "INVALID_REQUEST"),
        (SendError::Timeout(Phase::ClientBody), "REQUEST_TIMEOUT"),
    ] {
        assert_eq!(no_reply(error), format!("request_broken {code}"));
    }
    assert_eq!(in_short(decide(terms, CallEnd::BadStatus)), "upstream_status reply");
    for (why, expected) in [
        (Unusable::Redirects, "upstream_redirects UPSTREAM_ERROR"),
        (Unusable::Echo(Echoed::Key), "upstream_echo UPSTREAM_RESPONSE"),
        (Unusable::Echo(Echoed::Unreadable), "upstream_echo UPSTREAM_RESPONSE"),
        (Unusable::Informational, "upstream_informational UPSTREAM_ERROR"),
    ] {
        assert_eq!(in_short(decide(terms, CallEnd::Unusable(why))), expected);
    }
    for (end, expected) in [
        (BodyEnd::Cut, "upstream_cut UPSTREAM_ERROR"),
        (BodyEnd::TimedOut, "abandon TIMEOUT"),
        (BodyEnd::ClientSlow, "request_broken REQUEST_TIMEOUT"),
        (BodyEnd::DrainedOut, "client_gone INVALID_REQUEST"),
    ] {
        assert_eq!(in_short(decide(terms, CallEnd::Estimate(end))), expected);
    }
}

#[test]
fn free_calls_move_nothing() {
    let reading = json(usage(5));
    let free =
        |end, seen| in_short(decide(Terms::Free, CallEnd::Reply { reading: &reading, end, seen }));
    assert_eq!(free(BodyEnd::Complete, Seen::Nothing), "0 reply");
    assert_eq!(free(BodyEnd::Complete, Seen::Part), "0 reply");
    assert_eq!(free(BodyEnd::DrainedOut, Seen::Part), "not_delivered reply");
    assert_eq!(free(BodyEnd::Cut, Seen::Part), "not_delivered cut");
    assert_eq!(free(BodyEnd::TimedOut, Seen::Nothing), "not_delivered TIMEOUT");
}

#[test]
fn submissions() {
    for (kind, expected) in [
        (FirstReplyKind::Accepted, "task reply"),
        (FirstReplyKind::BadStatus, "upstream_status reply"),
        (FirstReplyKind::Failed, "upstream_failed reply"),
        (FirstReplyKind::NamesNoTask, "no_task_id reply"),
        (FirstReplyKind::Estimate, "estimate_instead_of_result UPSTREAM_RESPONSE"),
        (FirstReplyKind::TooLarge, "reply_too_large UPSTREAM_RESPONSE"),
        (FirstReplyKind::Broken(BodyEnd::Cut), "upstream_cut UPSTREAM_ERROR"),
        (FirstReplyKind::Broken(BodyEnd::TimedOut), "unknown_outcome TIMEOUT"),
        (FirstReplyKind::Broken(BodyEnd::ClientSlow), "unknown_outcome REQUEST_TIMEOUT"),
        (FirstReplyKind::Broken(BodyEnd::DrainedOut), "unknown_outcome INVALID_REQUEST"),
    ] {
        let terms = Terms::Free;
        assert_eq!(in_short(decide(terms, CallEnd::Submission(kind))), expected);
    }
}
