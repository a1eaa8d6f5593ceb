//! Prices: what a call costs. Exact decimals, one rounding at the end, every step checked.

use crate::{Quota, Ratio, Usage};
use serde::{Deserialize, Serialize};

/// The version of the formulas below. It is frozen with a price, so that a later change of a
/// formula doesn't change what was agreed on.
const RULE_VERSION: u8 = 1;
/// What a model priced by use holds while its usage is unknown.
const DEFAULT_MIN_HOLD: Quota = Quota(1);
/// One, in the unit that the product of two [`Ratio::micros`] has.
const SQUARE: i128 = 1_000_000 * 1_000_000;

/// A row of `abilities`: what an operator set for a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceRow {
    /// Price of a call.
    pub fixed_quota: Option<Quota>,
    /// Price of a plain prompt token.
    pub ratio: Option<Ratio>,
    /// How many plain prompt tokens a completion token is worth. Unset: 1, like the others.
    pub completion_ratio: Option<Ratio>,
    /// The same for a cached prompt token.
    pub cache_ratio: Option<Ratio>,
    /// The same for an image token of the prompt.
    pub image_ratio: Option<Ratio>,
    /// The same for an audio token of the prompt.
    pub audio_ratio: Option<Ratio>,
    /// What is held before a call priced by use. Unset: 1.
    pub min_hold: Option<Quota>,
}

/// What a call of a model means for the caller's balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pricing {
    /// No price is set: passed through, nothing held, nothing logged as consumed.
    Free,
    /// Paid in advance.
    Priced(FrozenPrice),
}

/// A price as it was when the hold was made. Settlement uses this, regardless of later changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FrozenPrice {
    /// The formula, with the operator's numbers.
    #[serde(flatten)]
    pub rule: Rule,
    /// Ratio of the group.
    pub group: Ratio,
    /// Ratio of the user.
    pub user: Ratio,
    /// Version of the formula.
    pub rule_version: u8,
}

/// The two ways to price a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Rule {
    /// A fixed price per call.
    PerCall {
        /// The price before group and user.
        fixed_quota: Quota,
    },
    /// A price per token.
    ByUse(UseRatios),
}

/// The operator's numbers for a model priced by use, with all defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UseRatios {
    /// Price of a plain prompt token.
    pub ratio: Ratio,
    /// Worth of a completion token, in plain prompt tokens.
    pub completion_ratio: Ratio,
    /// Worth of a cached prompt token.
    pub cache_ratio: Ratio,
    /// Worth of an image token.
    pub image_ratio: Ratio,
    /// Worth of an audio token.
    pub audio_ratio: Ratio,
    /// What is held before the call.
    pub min_hold: Quota,
}

/// Why there is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The row sets neither `fixed_quota` nor `ratio`.
    #[error("the price row has neither fixed_quota nor ratio")]
    Neither,
    /// A price below zero.
    #[error("the price row has a negative amount")]
    Negative,
    /// The amount doesn't fit.
    #[error("the amount does not fit")]
    Overflow,
}

impl Pricing {
    /// Freezes the price of one call. `row` is the model's, where it has one.
    ///
    /// # Errors
    /// When the row can't be used.
    pub fn freeze(row: Option<&PriceRow>, group: Ratio, user: Ratio) -> Result<Self, PriceError> {
        let Some(row) = row else { return Ok(Self::Free) };
        if row.fixed_quota.is_some_and(Quota::is_negative)
            || row.min_hold.is_some_and(Quota::is_negative)
        {
            return Err(PriceError::Negative);
        }
        let rule = match (row.fixed_quota, row.ratio) {
            // Scripts write `fixed_quota: 0` for "unset" beside a ratio.
            (Some(Quota::ZERO) | None, Some(ratio)) => Rule::ByUse(UseRatios {
                ratio,
                completion_ratio: row.completion_ratio.unwrap_or(Ratio::ONE),
                cache_ratio: row.cache_ratio.unwrap_or(Ratio::ONE),
                image_ratio: row.image_ratio.unwrap_or(Ratio::ONE),
                audio_ratio: row.audio_ratio.unwrap_or(Ratio::ONE),
                min_hold: row.min_hold.unwrap_or(DEFAULT_MIN_HOLD),
            }),
            (Some(fixed_quota), _) => Rule::PerCall { fixed_quota },
            (None, None) => return Err(PriceError::Neither),
        };
        Ok(Self::Priced(FrozenPrice { rule, group, user, rule_version: RULE_VERSION }))
    }
}

impl FrozenPrice {
    /// What is held before anything is sent.
    ///
    /// # Errors
    /// When the amount doesn't fit.
    pub fn first_hold(&self) -> Result<Quota, PriceError> {
        match &self.rule {
            Rule::PerCall { fixed_quota } => self.per_call(*fixed_quota),
            Rule::ByUse(ratios) => Ok(ratios.min_hold),
        }
    }

    /// What a call with this usage costs. The usage of a call with a fixed price is only noted.
    ///
    /// # Errors
    /// When the amount doesn't fit.
    pub fn charge(&self, usage: &Usage) -> Result<Quota, PriceError> {
        match &self.rule {
            Rule::PerCall { fixed_quota } => self.per_call(*fixed_quota),
            Rule::ByUse(ratios) => self.by_use(ratios, usage),
        }
    }

    /// What work that was done costs: its price, or `held` where its use is unknown or its price
    /// doesn't fit, with the reason.
    #[must_use]
    pub fn charge_or(&self, held: Quota, usage: Option<&Usage>) -> (Quota, Option<String>) {
        if usage.is_none() && self.is_by_use() {
            return (held, Some("no usage".to_owned()));
        }
        match self.charge(usage.unwrap_or(&Usage::default())) {
            Ok(charge) => (charge, None),
            Err(error) => (held, Some(error.to_string())),
        }
    }

    /// Whether the amount depends on usage.
    #[must_use]
    pub const fn is_by_use(&self) -> bool {
        matches!(self.rule, Rule::ByUse(_))
    }

    fn per_call(&self, fixed_quota: Quota) -> Result<Quota, PriceError> {
        scaled(i128::from(fixed_quota.0), 1, self.group, self.user)
    }

    fn by_use(&self, ratios: &UseRatios, usage: &Usage) -> Result<Quota, PriceError> {
        let parts = [
            (usage.plain_prompt_tokens(), Ratio::ONE),
            (usage.cached_tokens, ratios.cache_ratio),
            (usage.image_tokens, ratios.image_ratio),
            (usage.audio_tokens, ratios.audio_ratio),
            (usage.completion_tokens, ratios.completion_ratio),
        ];
        let weighted = parts.into_iter().try_fold(0_i128, |sum, (tokens, worth)| {
            i128::from(tokens).checked_mul(i128::from(worth.micros()))?.checked_add(sum)
        });
        let of_call = weighted.and_then(|sum| sum.checked_mul(i128::from(ratios.ratio.micros())));
        scaled(of_call.ok_or(PriceError::Overflow)?, SQUARE, self.group, self.user)
    }
}

/// `amount ÷ unit × group × user`, rounded once, half away from zero. `unit` is at most
/// [`SQUARE`].
///
/// The plain product has up to 193 bits. So whole units are multiplied by themselves, and what is
/// left below one by itself: 10¹² × 10²⁴ fits.
fn scaled(amount: i128, unit: i128, group: Ratio, user: Ratio) -> Result<Quota, PriceError> {
    let factor = i128::from(group.micros()) * i128::from(user.micros());
    let units = (amount / unit).checked_mul(factor).ok_or(PriceError::Overflow)?;
    let below = (units % SQUARE) * unit + (amount % unit) * factor;
    let whole = unit * SQUARE;
    // Amounts are never negative, so half away from zero is half up.
    let rounded = units / SQUARE + (below + whole / 2) / whole;
    let fitting = i64::try_from(rounded).ok().map(Quota);
    fitting.filter(|amount| amount.is_amount()).ok_or(PriceError::Overflow)
}

#[cfg(test)]
mod tests {
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
        assert_eq!(frozen(&row, "0.8", "1").first_hold(), Ok(Quota(2_000_000)));
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
        assert_eq!(frozen(&both, "1", "1").first_hold(), Ok(Quota(9)));
        let negative = PriceRow { fixed_quota: Some(Quota(-1)), ..PriceRow::default() };
        assert_eq!(Pricing::freeze(Some(&negative), one, one), Err(PriceError::Negative));
        assert_eq!(frozen(&by_use("1", "1"), "1", "1").first_hold(), Ok(Quota(1)));
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
        assert_eq!(frozen(&huge, "1", "1").first_hold(), Ok(Quota::LARGEST));
        assert_eq!(frozen(&huge, "1.000001", "1").first_hold(), Err(PriceError::Overflow));
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
}
