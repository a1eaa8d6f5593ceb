//! Prices in dollars a million tokens, as vendors list them, and the ratios that are stored.
//!
//! A ratio of 1 is $2 a million. The others are worth in prompt tokens, to six places, so most
//! quotients are rounded: $10 beside $3 is 3.333333. What is shown is the shortest price that is
//! stored as the same ratio, which is what was typed; where a million tokens come to another
//! amount, that is said beside.

use crate::form::Form;
use crate::show;
use admin::AdminError;
use admin::ops::ability::AbilityView;
use domain::Ratio;

/// The number of tokens that prices are per, and the millionths that ratios are in.
const MILLION: i128 = 1_000_000;
/// Millionths of a dollar for a million tokens at a ratio of a millionth.
const MICROS_PER_RATIO: i128 = 2;
/// The ratios that are typed in dollars.
const TYPED: [&str; 3] = ["ratio", "completion_ratio", "cache_ratio"];

/// A price of a million tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MillionPrice {
    /// What was meant: the shortest price that is stored as this.
    pub(super) meant: String,
    /// What a million tokens come to, to the last place, where that is another amount.
    pub(super) exact: Option<String>,
}

/// Of prompt tokens; `None` where this is no ratio.
pub(super) fn of_prompt(ratio: &str) -> Option<MillionPrice> {
    let ratio: Ratio = ratio.parse().ok()?;
    Some(MillionPrice { meant: dollars(i128::from(ratio.micros()) * 2 * MILLION), exact: None })
}

/// Of tokens that are worth so many prompt tokens each.
pub(super) fn of_others(ratio: &str, worth: &str) -> Option<MillionPrice> {
    let [ratio, worth] = [ratio.parse::<Ratio>().ok()?, worth.parse().ok()?].map(Ratio::micros);
    let prompt = MICROS_PER_RATIO * i128::from(ratio);
    let product = prompt * i128::from(worth);
    let exact = dollars(product);
    match shortest(prompt, i128::from(worth)) {
        Some(micros) if micros * MILLION != product => {
            Some(MillionPrice { meant: dollars(micros * MILLION), exact: Some(exact) })
        }
        _ => Some(MillionPrice { meant: exact, exact: None }),
    }
}

/// The prices of a row: of the prompt, of the completion, of cached tokens.
pub(super) fn of_row(price: &AbilityView) -> [Option<MillionPrice>; 3] {
    let ratio = price.ratio.get();
    let other = |worth: &str| of_others(ratio, worth);
    [of_prompt(ratio), other(price.completion_ratio.get()), other(price.cache_ratio.get())]
}

/// The same as they are typed: what costs as much as the prompt is left empty, so that it goes on
/// to do so when the prompt's price changes.
pub(super) fn to_type(price: &AbilityView) -> [Option<MillionPrice>; 3] {
    let [prompt, completion, cached] = of_row(price);
    let unless_as_prompt =
        |ratio: &str, typed: Option<MillionPrice>| typed.filter(|_| ratio != "1");
    [
        prompt,
        unless_as_prompt(price.completion_ratio.get(), completion),
        unless_as_prompt(price.cache_ratio.get(), cached),
    ]
}

/// The shortest price, in millionths of a dollar, that is stored as `worth` beside this prompt
/// price; of several that short, the one that is nearest.
fn shortest(prompt: i128, worth: i128) -> Option<i128> {
    if prompt <= 0 {
        return None;
    }
    let least = (2 * worth - 1) * prompt;
    let low = ceiling(least, 2 * MILLION).max(0);
    let high = ceiling(least + 2 * prompt, 2 * MILLION) - 1;
    for places in 0..=6 {
        // A quota is two of them: the last place is even.
        let step = 10_i128.pow(6 - places).max(MICROS_PER_RATIO);
        let near = (worth * prompt + step * MILLION / 2) / (step * MILLION);
        let fits = |nth: &i128| (low..=high).contains(&(nth * step));
        if let Some(nth) = [near, near - 1, near + 1].iter().find(|nth| fits(nth)) {
            return Some(nth * step);
        }
    }
    None
}

const fn ceiling(of: i128, by: i128) -> i128 {
    -((-of).div_euclid(by))
}

/// An amount in millionths of a millionth of a dollar, exactly, with two places at least.
fn dollars(picos: i128) -> String {
    const PLACES: i128 = MILLION * MILLION;
    let places = format!("{:012}", picos % PLACES);
    let end = places.trim_end_matches('0').len().max(2);
    let whole = i64::try_from(picos / PLACES).unwrap_or(i64::MAX);
    format!("${}.{}", show::count(whole), &places[..end])
}

/// The ratios of prices that were typed in dollars.
pub(super) fn ratios(form: &Form) -> Result<Vec<(&'static str, String)>, AdminError> {
    let amount = |name: &str| -> Result<Option<i128>, AdminError> {
        Ok(form.dollars(name)?.map(|quota| i128::from(quota) * MICROS_PER_RATIO))
    };
    let has_units = !form.text("units").is_empty();
    let Some(prompt) = amount("prompt_million")? else {
        if has_units {
            return Ok(TYPED.map(|name| (name, String::new())).to_vec());
        }
        let en = "is needed: dollars for a million prompt tokens";
        return Err(AdminError::field("prompt_million", "请填写每百万输入 Tokens 的美元价", en));
    };
    if prompt <= 0 {
        let en = "must be above $0: a model without a price is free, or refused";
        return Err(AdminError::field(
            "prompt_million",
            "必须大于 0; 没有价格的模型免费或被拒绝",
            en,
        ));
    }
    let ratio = |micros: i128| format!("{}.{:06}", micros / MILLION, micros % MILLION);
    let worth = |of: Option<i128>| {
        of.map_or(String::new(), |of| ratio((of * MILLION + prompt / 2) / prompt))
    };
    Ok(vec![
        (TYPED[0], ratio(prompt / MICROS_PER_RATIO)),
        (TYPED[1], worth(amount("completion_million")?)),
        (TYPED[2], worth(amount("cached_million")?)),
    ])
}

/// Prices are typed in dollars, unless these would not come back to the same ratios.
pub(super) fn unit_of(price: Option<&AbilityView>) -> &'static str {
    let Some(price) = price.filter(|price| price.ratio.get() != "null") else { return "usd" };
    let ratios_now = [price.ratio.get(), price.completion_ratio.get(), price.cache_ratio.get()];
    let typed = of_row(price).map(|price| price.map(|price| price.meant).unwrap_or_default());
    let names = ["prompt_million", "completion_million", "cached_million"];
    let pairs: Vec<_> = names.into_iter().map(str::to_owned).zip(typed).collect();
    let same = |back: &str, ratio: &str| {
        let read = |text: &str| text.parse::<Ratio>().ok();
        read(back) == read(ratio) || (back.is_empty() && matches!(ratio, "null" | "1"))
    };
    let back = ratios(&Form::of(&pairs)).ok();
    let keeps =
        back.is_some_and(|back| back.iter().zip(ratios_now).all(|((_, it), was)| same(it, was)));
    if keeps { "usd" } else { "ratio" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Quota;
    use proptest::prelude::*;

    /// An amount of quota as a price of a million tokens is typed.
    fn typed(quota: i64) -> String {
        show::amount(Quota(quota))
    }

    fn of(pairs: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let pairs: Vec<_> =
            pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let read = ratios(&Form::of(&pairs)).map_err(|error| error.to_string())?;
        Ok(read.into_iter().map(|(_, ratio)| ratio).collect())
    }

    fn shown(prompt: &str, other: &str) -> MillionPrice {
        let ratios = of(&[("prompt_million", prompt), ("completion_million", other)]).unwrap();
        assert_eq!(of_prompt(&ratios[0]).unwrap().meant, prompt);
        of_others(&ratios[0], &ratios[1]).unwrap()
    }

    #[test]
    fn dollars_become_ratios() {
        let ratios = of(&[("prompt_million", "$0.15"), ("completion_million", "0.6")]).unwrap();
        assert_eq!(ratios, ["0.075000", "4.000000", ""]);
        let third = of(&[("prompt_million", "3"), ("completion_million", "10")]).unwrap();
        assert_eq!(third[1], "3.333333");
        assert!(of(&[]).is_err() && of(&[("prompt_million", "0")]).is_err());
        assert!(of(&[("prompt_million", "0,15")]).unwrap_err().contains("0.5, not 0,5"));
    }

    #[test]
    fn what_was_typed_is_shown_and_what_it_comes_to_beside() {
        for (prompt, other, exact) in [
            ("$0.27", "$1.10", Some("$1.09999998")),
            ("$3.00", "$10.00", Some("$9.999999")),
            ("$3.00", "$15.00", None),
            ("$0.15", "$0.075", None),
            ("$75.00", "$0.00", None),
            ("$0.000002", "$1.00", None),
        ] {
            let price = shown(prompt, other);
            assert_eq!((&*price.meant, price.exact.as_deref()), (other, exact), "{prompt}");
        }
        // Ratios that no price in dollars is stored as are shown as they are.
        let tiny = of_others("0.000001", "0.1").unwrap();
        assert_eq!((&*tiny.meant, tiny.exact), ("$0.0000002", None));
        assert_eq!(of_prompt("1").unwrap().meant, "$2.00");
        assert_eq!(of_others("2", "1.5").unwrap().meant, "$6.00");
        assert_eq!(of_others("x", "1"), None);
        assert_eq!(of_prompt("1000000").unwrap().meant, "$2,000,000.00");
    }

    proptest! {
        /// Where a ratio has places enough to tell two prices of so many decimals apart, what was
        /// typed is what is shown.
        #[test]
        fn a_typed_price_comes_back(cents in 1..100_000_i64, others in 0..1_000_000_i64) {
            // Prices in steps of a tenth of a cent, up to $100: a step of a ratio is a tenth of
            // that at most.
            let (prompt, other) = (typed(cents * 500), typed(others * 500));
            let price = shown(&prompt, &other);
            prop_assert_eq!(&price.meant, &other, "{}", prompt);
        }

        /// Whatever was typed, what is shown is stored as the same, and is never longer.
        #[test]
        fn what_is_shown_is_stored_as_the_same(
            prompt in 1..50_000_000_i64, other in 0..500_000_000_i64,
        ) {
            let (prompt, other) = (typed(prompt), typed(other));
            let stored = of(&[("prompt_million", &prompt), ("completion_million", &other)]);
            let stored = stored.unwrap();
            prop_assume!(stored[1].parse::<Ratio>().is_ok());
            let price = of_others(&stored[0], &stored[1]).unwrap();
            let again = of(&[("prompt_million", &prompt), ("completion_million", &price.meant)]);
            prop_assert_eq!(&again.unwrap(), &stored);
            prop_assert!(price.meant.len() <= other.len(), "{} for {}", price.meant, other);
        }
    }
}
