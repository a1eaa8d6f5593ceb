use crate::{
    ChargeNote, FrozenPrice, Meter, Meters, PriceError, PriceRow, Pricing, Quota, Ratio, Schedule,
    Usage,
};
use proptest::prelude::*;
use std::sync::Arc;

fn ratio(text: &str) -> Ratio {
    text.parse().unwrap()
}

fn by_use(meters: &str, units: &str, tiers: &str) -> PriceRow {
    let schedule = Schedule::parse(meters, units, tiers).unwrap().map(Arc::new);
    PriceRow { schedule, ..PriceRow::default() }
}

fn freeze(row: &PriceRow, group: &str, user: &str) -> Result<FrozenPrice, PriceError> {
    match Pricing::freeze(Some(row), ratio(group), ratio(user))? {
        Pricing::Priced(price) => Ok(price),
        Pricing::Free => panic!("free"),
    }
}

fn usage(counts: &[(Meter, i64)]) -> Usage {
    let meters: Meters = counts.iter().copied().collect();
    Usage { meters: Some(Box::new(meters)), ..meters.usage().unwrap_or_default() }
}

/// Charges, and returns the calculation, too.
fn charged(price: &FrozenPrice, usage: &Usage) -> (i64, String) {
    let charge = price.charge(usage).unwrap();
    (charge.0, price.calculation(usage, charge))
}

#[test]
fn every_meter_has_a_worth_its_own_or_that_of_its_parent() {
    let row = PriceRow {
        ratio: Some(ratio("2")),
        completion_ratio: Some(ratio("4")),
        cache_ratio: Some(ratio("0.1")),
        ..by_use(r#"{"cache_write":1.25}"#, "", "")
    };
    let price = freeze(&row, "0.5", "1").unwrap();
    let counts = [
        (Meter::Input, 100),
        (Meter::Cached, 50),
        (Meter::CacheWrite, 8),
        (Meter::CacheWrite1h, 4),
        (Meter::VideoIn, 3),
        (Meter::Output, 10),
        (Meter::Reasoning, 5),
        (Meter::AudioOut, 2),
    ];
    // (100 + 5 + 10 + 5 + 3 + 40 + 20 + 8) × 2 × 0.5
    let (charge, told) = charged(&price, &usage(&counts));
    assert_eq!(charge, 191);
    assert_eq!(
        told,
        "round((100 input + 50 cached × 0.1 + 8 cache_write × 1.25 + 4 cache_write_1h as \
         cache_write × 1.25 + 3 video_in as input × 1 + 10 output × 4 + 5 reasoning as output × 4 \
         + 2 audio_out as output × 4) × ratio 2 × group 0.5 × user 1) = 191"
    );
    assert_eq!(
        price.formula(),
        "round(((input + cached × 0.1 + cache_write × 1.25 + image_in × 1 + audio_in × 1 + output \
         × 4) × ratio 2) × group 0.5 × user 1); tokens without a worth of their own count as what \
         they are part of"
    );
}

#[test]
fn units_stand_beside_tokens() {
    let row = PriceRow { ratio: Some(ratio("1.5")), ..by_use("", r#"{"searches":5000}"#, "") };
    let price = freeze(&row, "0.8", "1").unwrap();
    let (charge, told) = charged(&price, &usage(&[(Meter::Input, 100), (Meter::Searches, 2)]));
    assert_eq!(charge, 8120);
    assert_eq!(
        told,
        "round(((100 input) × ratio 1.5 + 2 searches × 5000) × group 0.8 × user 1) = 8120"
    );
    // What was not counted is not there: a chat without a search.
    assert_eq!(charged(&price, &usage(&[(Meter::Input, 100)])).0, 120);
}

#[test]
fn units_alone_are_a_price() {
    let row =
        by_use("", r#"{"images":20000}"#, r#"[{"at":"body:/size","is":"big","factor":1.67}]"#);
    let price = freeze(&row, "1", "1").unwrap();
    let big = price.clone().for_request(|_| Some("BIG".to_owned()));
    let small = price.for_request(|_| Some("small".to_owned()));
    let asked: Meters = [(Meter::Images, 3)].into_iter().collect();
    assert_eq!(big.first_hold(Some(&asked)), Ok(Quota(100_200)));
    assert_eq!(small.first_hold(Some(&asked)), Ok(Quota(60_000)));
    assert_eq!(small.first_hold(None), Ok(Quota(1)));
    let (charge, told) = charged(&big, &usage(&[(Meter::Images, 2), (Meter::Input, 9)]));
    assert_eq!(charge, 66_800);
    assert_eq!(
        told,
        "round((2 images × 20000 × 1.67 [body:/size is big]) × group 1 × user 1) = 66800"
    );
    assert_eq!(
        big.formula(),
        "round((images × 20000) × group 1 × user 1); body:/size is big: all × 1.67"
    );
    // Nothing that has a price was counted: that is not free.
    let tokens = usage(&[(Meter::Input, 9)]);
    assert_eq!(small.charge(&tokens), Err(PriceError::Uncounted(Meter::Images)));
    let (held, why) = small.charge_or(Quota(7), Some(&tokens));
    let why = why.unwrap().to_string();
    assert_eq!((held, &*why), (Quota(7), "settled at the hold: no count of images"));
    // What was asked for stands in for what the reply does not count.
    let counted = small.counts_of(Some(tokens), Some(&asked)).unwrap();
    assert_eq!(small.charge(&counted), Ok(Quota(60_000)));
    let counted = small.counts_of(None, Some(&asked)).unwrap();
    assert_eq!(small.charge(&counted), Ok(Quota(60_000)));
    assert_eq!(small.counts_of(None, None), None);
}

#[test]
fn a_tier_counts_for_the_whole_call() {
    let row = PriceRow {
        ratio: Some(ratio("1")),
        completion_ratio: Some(ratio("8")),
        ..by_use("", "", r#"[{"above":{"input":200000},"input":2,"output":1.5}]"#)
    };
    let price = freeze(&row, "1", "1").unwrap();
    let of =
        |input, output| charged(&price, &usage(&[(Meter::Input, input), (Meter::Output, output)]));
    assert_eq!(of(200_000, 100).0, 200_800);
    let (charge, told) = of(200_001, 100);
    assert_eq!(charge, 401_202);
    assert_eq!(
        told,
        "round((200001 input × 2 [above 200000 input] + 100 output × 8 × 1.5 [above 200000 input]) \
         × ratio 1 × group 1 × user 1) = 401202"
    );
}

#[test]
fn a_price_per_call_has_tiers_by_its_request() {
    let tiers = r#"[{"at":"body:/size","is":"1792x1024","factor":2}]"#;
    let row = PriceRow { fixed_quota: Some(Quota(20_000)), ..by_use("", "", tiers) };
    let price = freeze(&row, "0.8", "1").unwrap().for_request(|_| Some("1792x1024".to_owned()));
    assert_eq!(price.first_hold(None), Ok(Quota(32_000)));
    let (charge, told) = charged(&price, &Usage::default());
    assert_eq!(charge, 32_000);
    assert_eq!(
        told,
        "round(fixed 20000 × 2 [body:/size is 1792x1024] × group 0.8 × user 1) = 32000"
    );
    for (meters, units, tiers) in [
        (r#"{"output":2}"#, "", ""),
        ("", r#"{"images":2}"#, ""),
        ("", "", r#"[{"above":{"input":2},"factor":2}]"#),
        ("", "", r#"[{"at":"body:/size","is":1,"images":2}]"#),
    ] {
        let row = PriceRow { fixed_quota: Some(Quota(9)), ..by_use(meters, units, tiers) };
        assert_eq!(freeze(&row, "1", "1"), Err(PriceError::FixedByUse), "{meters}{units}{tiers}");
    }
}

#[test]
fn a_column_and_a_meter_may_not_contradict_each_other() {
    let row = |text: &str| PriceRow {
        ratio: Some(Ratio::ONE),
        completion_ratio: Some(ratio(text)),
        ..by_use(r#"{"output":4}"#, "", "")
    };
    assert!(freeze(&row("4"), "1", "1").is_ok() && freeze(&row("1"), "1", "1").is_ok());
    let why = freeze(&row("3"), "1", "1").unwrap_err();
    assert_eq!(why.to_string(), "the price row sets completion_ratio otherwise than meters.output");
}

#[test]
fn what_does_not_fit_is_refused() {
    let row =
        by_use("", r#"{"images":1000000000}"#, r#"[{"above":{"images":0},"factor":1000000}]"#);
    let price = freeze(&row, "1000000", "1000000").unwrap();
    let most = usage(&[(Meter::Images, 1_000_000_000)]);
    assert_eq!(price.charge(&most), Err(PriceError::Overflow));
}

#[test]
fn a_price_without_a_schedule_is_kept_as_ever() {
    let row = PriceRow { ratio: Some(Ratio::ONE), ..PriceRow::default() };
    let price = freeze(&row, "1", "1").unwrap();
    assert_eq!(
        serde_json::to_string(&price).unwrap(),
        r#"{"rule":"by_use","ratio":"1","completion_ratio":"1","cache_ratio":"1","#.to_owned()
            + r#""image_ratio":"1","audio_ratio":"1","min_hold":1,"group":"1","user":"1","#
            + r#""rule_version":1}"#
    );
    let detailed = usage(&[(Meter::Input, 3), (Meter::CacheWrite, 2)]);
    assert_eq!(price.counts_of(Some(detailed), None).unwrap().meters, None);
}

/// Evaluates a calculation as a person would: numbers, `+`, `×` and parentheses count, words and
/// what stands in brackets do not. Exact: a numerator over a power of ten.
mod calculator {
    use num_bigint::BigUint;

    #[derive(Clone, Debug)]
    struct Number(BigUint, u32);

    impl Number {
        fn at(&self, places: u32) -> BigUint {
            &self.0 * BigUint::from(10_u32).pow(places - self.1)
        }
    }

    /// What it comes to, and what it says it comes to.
    pub(super) fn check(text: &str) -> (i64, i64) {
        let (left, right) = text.split_once(" = ").unwrap();
        let (right, _) = right.split_once(", in place of ").unwrap_or((right, ""));
        let mut tokens = tokens(left).into_iter().peekable();
        let value = sum(&mut tokens);
        assert!(tokens.next().is_none(), "{text}");
        let one = BigUint::from(10_u32).pow(value.1);
        let rounded = (value.0 * 2_u32 + &one) / (one * 2_u32);
        (i64::try_from(rounded).unwrap(), right.parse().unwrap())
    }

    fn tokens(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let end = match c {
                '[' => rest.find(']').unwrap() + 1,
                '(' | ')' | '+' | '×' | ' ' => c.len_utf8(),
                _ => rest.find([' ', '(', ')']).unwrap_or(rest.len()),
            };
            let word = &rest[..end];
            if "()+×".contains(c) || c.is_ascii_digit() {
                found.push(word.to_owned());
            }
            rest = &rest[end..];
        }
        found
    }

    type Tokens = std::iter::Peekable<std::vec::IntoIter<String>>;

    fn sum(tokens: &mut Tokens) -> Number {
        let mut all = product(tokens);
        while tokens.next_if(|it| it == "+").is_some() {
            let more = product(tokens);
            let places = all.1.max(more.1);
            all = Number(all.at(places) + more.at(places), places);
        }
        all
    }

    fn product(tokens: &mut Tokens) -> Number {
        let mut all = value(tokens);
        while tokens.next_if(|it| it == "×").is_some() {
            let Number(digits, places) = value(tokens);
            all = Number(all.0 * digits, all.1 + places);
        }
        all
    }

    fn value(tokens: &mut Tokens) -> Number {
        let token = tokens.next().unwrap();
        if token == "(" {
            let inner = sum(tokens);
            assert_eq!(tokens.next().as_deref(), Some(")"));
            return inner;
        }
        let (whole, places) = token.split_once('.').unwrap_or((&token, ""));
        let digits = format!("{whole}{places}").parse().unwrap();
        Number(digits, u32::try_from(places.len()).unwrap())
    }
}

fn micros(up_to: i64) -> impl Strategy<Value = String> {
    (0..=up_to).prop_map(|micros| Ratio::from_micros(micros).unwrap().to_string())
}

prop_compose! {
    fn rows()(
        columns in (micros(20_000_000), micros(9_000_000), micros(3_000_000)),
        meters in proptest::option::of((micros(5_000_000), micros(50_000_000))),
        units in proptest::option::of((micros(900_000_000_000), micros(90_000_000))),
        above in proptest::option::of((0_i64..2_000, micros(4_000_000), micros(4_000_000))),
        sized in proptest::option::of((micros(4_000_000), any::<bool>())),
    ) -> PriceRow {
        let meters = meters.map_or(String::new(), |(write, audio)| {
            format!(r#"{{"cache_write":{write},"audio_out":{audio}}}"#)
        });
        let units = units.map_or(String::new(), |(images, seconds)| {
            format!(r#"{{"images":{images},"seconds":{seconds}}}"#)
        });
        let mut tiers = Vec::new();
        if let Some((count, input, rest)) = above {
            tiers.push(format!(
                r#"{{"above":{{"input":{count}}},"input":{input},"factor":{rest}}}"#
            ));
        }
        if let Some((factor, is_big)) = sized {
            let word = if is_big { "big" } else { "tiny" };
            tiers.push(format!(r#"{{"at":"body:/size","is":"{word}","factor":{factor}}}"#));
        }
        PriceRow {
            ratio: Some(columns.0.parse().unwrap()),
            completion_ratio: Some(columns.1.parse().unwrap()),
            cache_ratio: Some(columns.2.parse().unwrap()),
            ..by_use(&meters, &units, &format!("[{}]", tiers.join(",")))
        }
    }
}

#[test]
fn no_reply_charges_more_than_the_bound() {
    let row = PriceRow {
        ratio: Some(ratio("2")),
        max_charge: Some(Quota(500)),
        min_hold: Some(Quota(900)),
        ..PriceRow::default()
    };
    let price = freeze(&row, "0.5", "1").unwrap();
    // Nor is more held: it could not be charged.
    assert_eq!(price.first_hold(None), Ok(Quota(250)));
    let note = |count| price.charge_or(Quota(7), Some(&usage(&[(Meter::Input, count)]))).1;
    assert_eq!((note(249), note(250)), (None, None));
    let bounded = note(251).unwrap();
    assert_eq!(bounded.to_string(), "settled at max_charge: reported 251");
    assert!(ChargeNote::is_of_bound(&bounded.to_string()));
    let (charge, told) = charged(&price, &usage(&[(Meter::Input, 1_000_000_000)]));
    assert_eq!(charge, 250);
    assert_eq!(
        told,
        "round(max_charge 500 × group 0.5 × user 1) = 250, in place of round((1000000000 prompt) \
         × ratio 2 × group 0.5 × user 1) = 1000000000"
    );
    assert!(price.formula().ends_with("; at most round(max_charge 500 × group 0.5 × user 1)"));
    // What is beyond every amount is bounded, too, and a bound beyond every amount bounds nothing.
    let dear = PriceRow { ratio: Some(ratio("1000000")), ..row.clone() };
    let dear = freeze(&dear, "1000000", "1").unwrap();
    let most = usage(&[(Meter::Input, 1_000_000_000)]);
    assert_eq!(dear.charge(&most), Ok(Quota(500_000_000)));
    let (_, note) = dear.charge_or(Quota(7), Some(&most));
    assert_eq!(note.unwrap().to_string(), "settled at max_charge: reported more than fits");
    let high = PriceRow { max_charge: Some(Quota::LARGEST), ..row.clone() };
    let high = freeze(&high, "1000000", "1000000").unwrap();
    assert_eq!(high.charge(&usage(&[(Meter::Input, 1)])), Ok(Quota(2_000_000_000_000)));
    assert_eq!(high.charge(&most), Err(PriceError::Overflow));
    for (row, why) in [
        (PriceRow { max_charge: Some(Quota(0)), ..row.clone() }, PriceError::BoundTooSmall),
        (PriceRow { fixed_quota: Some(Quota(9)), ratio: None, ..row }, PriceError::FixedBounded),
    ] {
        assert_eq!(freeze(&row, "1", "1"), Err(why));
    }
}

proptest! {
    /// Whatever is reported: the bound is the most, and what is below it is as without.
    #[test]
    fn a_bound_is_the_most_and_changes_nothing_below(
        row in rows(), group in micros(3_000_000), user in micros(3_000_000),
        counts in proptest::array::uniform4(0_i64..=1_000_000_000),
        max_charge in 1_i64..10_000_000_000,
    ) {
        let free = freeze(&row, &group, &user).unwrap();
        let row = PriceRow { max_charge: Some(Quota(max_charge)), ..row };
        let price = freeze(&row, &group, &user).unwrap();
        let meters = [Meter::Input, Meter::Output, Meter::AudioOut, Meter::Images];
        let usage = usage(&meters.into_iter().zip(counts).collect::<Vec<_>>());
        let exact = i128::from(max_charge) * i128::from(ratio(&group).micros())
            * i128::from(ratio(&user).micros());
        let bound = i64::try_from((exact + 500_000_000_000) / 1_000_000_000_000).unwrap();
        let (charge, note) = price.charge_or(Quota(3), Some(&usage));
        match free.charge(&usage) {
            Ok(amount) if amount <= Quota(bound) => prop_assert_eq!((charge, note), (amount, None)),
            Ok(amount) => {
                prop_assert_eq!(charge, Quota(bound));
                prop_assert_eq!(note, Some(ChargeNote::Bounded(crate::Reported(Some(amount)))));
            }
            Err(PriceError::Overflow) => prop_assert_eq!(charge, Quota(bound)),
            Err(other) => prop_assert_eq!(price.charge(&usage), Err(other)),
        }
        prop_assert!(price.first_hold(usage.meters.as_deref()).unwrap() <= Quota(bound));
    }

    /// Whatever the price and the counts: who computes what `explain` prints comes to the charge.
    #[test]
    fn what_is_printed_is_what_is_charged(
        row in rows(), group in micros(3_000_000), user in micros(3_000_000),
        counts in proptest::array::uniform12(0_i64..3_000),
        max_charge in proptest::option::of(1_i64..9_000_000),
    ) {
        let row = PriceRow { max_charge: max_charge.map(Quota), ..row };
        let price = freeze(&row, &group, &user).unwrap().for_request(|_| Some("big".to_owned()));
        let meters = [
            Meter::Input, Meter::Cached, Meter::CacheWrite, Meter::CacheWrite1h, Meter::ImageIn,
            Meter::VideoIn, Meter::Output, Meter::Reasoning, Meter::AudioOut, Meter::Images,
            Meter::Seconds, Meter::Searches,
        ];
        let counts: Vec<_> = meters.into_iter().zip(counts).collect();
        let usage = price.counts_of(Some(usage(&counts)), None).unwrap();
        let charge = price.charge(&usage);
        prop_assume!(!matches!(charge, Err(PriceError::Uncounted(_))));
        let charge = charge.unwrap();
        let told = price.calculation(&usage, charge);
        let (computed, said) = calculator::check(&told);
        prop_assert_eq!((computed, said), (charge.0, charge.0), "{}", told);
        // A frozen price comes to the same when it is read again.
        let json = serde_json::to_string(&price).unwrap();
        let again: FrozenPrice = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(again.charge(&usage), Ok(charge));
        prop_assert_eq!(again, price);
    }

    /// A schedule that changes nothing comes to what the ratios alone come to.
    #[test]
    fn a_schedule_that_says_nothing_new_changes_nothing(
        prompt in 0_i64..5_000_000, cached in 0_i64..5_000_000, completion in 0_i64..5_000_000,
        r in micros(20_000_000), c in micros(10_000_000), group in micros(3_000_000),
    ) {
        let plain = PriceRow {
            ratio: Some(ratio(&r)), completion_ratio: Some(ratio(&c)),
            cache_ratio: Some(ratio("0.1")), ..PriceRow::default()
        };
        let neutral = r#"[{"above":{"input":1},"factor":1}]"#;
        let same = PriceRow { schedule: by_use("", "", neutral).schedule, ..plain.clone() };
        let usage = Usage {
            prompt_tokens: prompt, cached_tokens: cached, completion_tokens: completion,
            ..Usage::default()
        };
        let charge = |row| freeze(row, &group, "1.1").unwrap().charge(&usage);
        prop_assert_eq!(charge(&plain), charge(&same));
    }
}
