use super::*;
use proptest::prelude::*;

fn ratio(text: &str) -> Ratio {
    text.parse().unwrap()
}

fn frozen(row: &PriceRow, group: &str, user: &str) -> FrozenPrice {
    match Pricing::freeze(Some(row), ratio(group), ratio(user)) {
        Ok(Pricing::Priced(price)) => price,
        other => panic!("{other:?}"),
    }
}

fn by_use(text: &str, completion: &str) -> PriceRow {
    PriceRow {
        ratio: Some(ratio(text)),
        completion_ratio: Some(ratio(completion)),
        ..PriceRow::default()
    }
}

fn tokens(prompt_tokens: i64, completion_tokens: i64) -> Usage {
    Usage { prompt_tokens, completion_tokens, ..Usage::default() }
}

#[test]
fn the_worked_cases_come_out_exactly() {
    for (row, group, prompt, completion, quota) in [
        (by_use("2.0", "1.5"), "0.8", 20, 80, 224),
        (by_use("2.0", "1.5"), "0.8", 20, 60, 176),
        (by_use("1.0", "1.0"), "0.9", 10, 40, 45),
        (by_use("1.0", "1.0"), "0.9", 10, 35, 41),
        (by_use("1.0", "4.0"), "1.0", 100, 100, 500),
        (by_use("0.25", "1.0"), "1.0", 1, 1, 1),
        (by_use("1.0", "1.0"), "1.0", 0, 0, 0),
    ] {
        let price = frozen(&row, group, "1");
        assert_eq!(price.charge(&tokens(prompt, completion)), Ok(Quota(quota)), "{row:?}");
    }
    let row = PriceRow { fixed_quota: Some(Quota(2_500_000)), ..PriceRow::default() };
    assert_eq!(frozen(&row, "0.8", "1").first_hold(None), Ok(Quota(2_000_000)));
}

#[test]
fn every_part_of_the_prompt_has_its_own_worth() {
    let row = PriceRow {
        ratio: Some(ratio("2")),
        completion_ratio: Some(ratio("3")),
        cache_ratio: Some(ratio("0.1")),
        image_ratio: Some(ratio("5")),
        audio_ratio: Some(ratio("10")),
        ..PriceRow::default()
    };
    let usage = Usage {
        prompt_tokens: 100,
        cached_tokens: 50,
        image_tokens: 20,
        audio_tokens: 10,
        completion_tokens: 7,
        ..Usage::default()
    };
    // (20 + 5 + 100 + 100 + 21) × 2 × 1.5 × 0.5
    assert_eq!(frozen(&row, "1.5", "0.5").charge(&usage), Ok(Quota(369)));
}

#[test]
fn each_column_has_its_meaning() {
    let one = Ratio::ONE;
    assert_eq!(Pricing::freeze(None, one, one), Ok(Pricing::Free));
    let neither = PriceRow::default();
    assert_eq!(Pricing::freeze(Some(&neither), one, one), Err(PriceError::Neither));
    let unset = PriceRow { fixed_quota: Some(Quota(0)), ..by_use("1", "1") };
    assert!(frozen(&unset, "1", "1").is_by_use());
    let both = PriceRow { fixed_quota: Some(Quota(9)), ..by_use("1", "1") };
    assert_eq!(frozen(&both, "1", "1").first_hold(None), Ok(Quota(9)));
    let negative = PriceRow { fixed_quota: Some(Quota(-1)), ..PriceRow::default() };
    assert_eq!(Pricing::freeze(Some(&negative), one, one), Err(PriceError::Negative));
    assert_eq!(frozen(&by_use("1", "1"), "1", "1").first_hold(None), Ok(Quota(1)));
}

#[test]
fn large_amounts_are_exact() {
    let dear = by_use("1000000", "1000000");
    // 1.000001 × 0.999999 is 0.999999999999.
    let price = frozen(&dear, "1.000001", "0.999999");
    let exact = Quota(899_999_999_999_100);
    assert_eq!(price.charge(&tokens(0, 900)), Ok(exact));
    let price = frozen(&by_use("0.5", "1000000"), "1", "1");
    assert_eq!(price.charge(&tokens(1, 1_000_000_000)), Ok(Quota(500_000_000_000_001)));
}

#[test]
fn what_does_not_fit_is_refused() {
    let dear = by_use("1000000", "1000000");
    let usage = tokens(1_000_000_000, 1_000_000_000);
    assert_eq!(frozen(&dear, "1000000", "1").charge(&usage), Err(PriceError::Overflow));
    let most = frozen(&dear, "1000000", "1000000");
    assert_eq!(most.charge(&usage), Err(PriceError::Overflow));
    let huge = PriceRow { fixed_quota: Some(Quota::LARGEST), ..PriceRow::default() };
    assert_eq!(frozen(&huge, "1", "1").first_hold(None), Ok(Quota::LARGEST));
    assert_eq!(frozen(&huge, "1.000001", "1").first_hold(None), Err(PriceError::Overflow));
}

#[test]
fn a_frozen_price_survives_its_row() {
    let price = frozen(&by_use("0.000001", "1.5"), "0.8", "1.25");
    let json = serde_json::to_string(&price).unwrap();
    assert_eq!(serde_json::from_str::<FrozenPrice>(&json).unwrap(), price);
}

proptest! {
    /// The oracle shares nothing with the code: it computes the distance between the charge
    /// and the exact value as a fraction, and asks for at most one half, upwards when equal.
    #[test]
    fn rounds_once_and_to_the_nearest(
        prompt in 0_i64..5_000_000, completion in 0_i64..5_000_000,
        r in 0_i64..20_000_000, c in 0_i64..10_000_000,
        g in 0_i64..3_000_000, u in 0_i64..3_000_000,
    ) {
        let micros = |m| Ratio::from_micros(m).unwrap();
        let row = PriceRow {
            ratio: Some(micros(r)), completion_ratio: Some(micros(c)), ..PriceRow::default()
        };
        let Pricing::Priced(price) = Pricing::freeze(Some(&row), micros(g), micros(u)).unwrap()
            else { panic!("free") };
        let charged = i128::from(price.charge(&tokens(prompt, completion)).unwrap().0);
        let exact = (i128::from(prompt) * 1_000_000 + i128::from(completion) * i128::from(c))
            * i128::from(r) * i128::from(g) * i128::from(u);
        let error = charged * 10_i128.pow(24) - exact;
        let half = 5 * 10_i128.pow(23);
        prop_assert!(-half < error && error <= half);
    }

    #[test]
    fn more_use_never_costs_less(
        prompt in 0_i64..1_000_000, more in 0_i64..1_000_000, r in 0_i64..20_000_000,
    ) {
        let row = PriceRow {
            ratio: Some(Ratio::from_micros(r).unwrap()), ..PriceRow::default()
        };
        let price = frozen(&row, "0.9", "1.1");
        let less = price.charge(&tokens(prompt, 0)).unwrap();
        prop_assert!(less <= price.charge(&tokens(prompt + more, 0)).unwrap());
    }
}
