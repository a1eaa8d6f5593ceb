//! The unit in which pages show amounts, and in which an amount without a sign is read: dollars,
//! another currency at a fixed rate, or quota. It is for display alone: the ledger counts quota.
//!
//! Every amount of quota is shown as the shortest decimal that is read back as the same quota, also
//! in a currency whose quota has no end of digits, like ¥0.0000146: what was typed as ¥100 is shown
//! as ¥100.

use domain::Quota;
use std::sync::{LazyLock, OnceLock};

/// The parts of one that arithmetic is in: of a currency, millionths of millionths.
const ONE: i128 = 1_000_000_000_000;
/// Decimals that an amount is shown with at least.
const LEAST_PLACES: u32 = 2;
const MOST_PLACES: u32 = 12;
/// The longest sign: `HK$`, `USDT`.
const MAX_SIGN: usize = 4;
/// Between a thousandth and a million of a currency to the dollar.
const RATES: std::ops::RangeInclusive<i128> = ONE / 1_000..=ONE * 1_000_000;

/// A process serves one console, whose amounts all are in one unit; it is the same on each page.
static SHOWN: OnceLock<Unit> = OnceLock::new();

/// What amounts are shown in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// As it is counted.
    Quota,
    /// A currency.
    Currency(Currency),
}

/// A currency and what a dollar is worth in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Currency {
    sign: String,
    /// What a quota is worth, in parts of one.
    quota: i128,
}

impl Default for Unit {
    fn default() -> Self {
        Self::Currency(Currency::dollars())
    }
}

impl Unit {
    /// `$`, `q` for quota, or a sign and what a dollar is worth: `¥7.25`, `€0.92`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "$" => Some(Self::default()),
            "q" => Some(Self::Quota),
            _ => {
                let start = text.find(|c: char| c.is_ascii_digit())?;
                let (sign, rate) = text.split_at(start);
                let is_sign = |c: char| c.is_alphabetic() || is_currency_symbol(c);
                let fits = (1..=MAX_SIGN).contains(&sign.chars().count());
                if !fits || !sign.chars().all(is_sign) || sign == "$" {
                    return None;
                }
                let rate = parts(rate, 6)?;
                let quota = rate / i128::from(Quota::PER_USD);
                let sign = sign.to_owned();
                RATES.contains(&rate).then_some(Self::Currency(Currency { sign, quota }))
            }
        }
    }

    /// Makes it the unit of this process, unless one was set before.
    pub(crate) fn show(self) {
        let _ = SHOWN.set(self);
    }

    /// The unit of this process.
    pub(crate) fn shown() -> &'static Self {
        static DOLLARS: LazyLock<Unit> = LazyLock::new(Unit::default);
        SHOWN.get().unwrap_or(&DOLLARS)
    }

    /// The shortest form with two decimals at least: `$1,240.00`, `−¥0.00327`, `1,240 q`.
    pub(crate) fn short(&self, quota: Quota) -> String {
        match self {
            Self::Quota => in_quota(quota),
            Self::Currency(currency) => currency.with_places(quota, LEAST_PLACES),
        }
    }

    /// The same with zeros up to all decimals that quota may need, so that a column lines up.
    pub(crate) fn whole(&self, quota: Quota) -> String {
        match self {
            Self::Quota => in_quota(quota),
            Self::Currency(currency) => currency.with_places(quota, currency.places()),
        }
    }

    /// What was typed as an amount: `$5`, `2500000q`, and with neither, or with its own sign, in
    /// this unit. Nothing is dropped to make a number of it: a comma groups three digits, or there
    /// is no amount. Nor is there a minus: which way money moves is never a matter of a character.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<Quota> {
        let text = text.trim();
        let quota = |digits: &str| digits_of(digits)?.parse().ok().map(Quota);
        match (text.strip_suffix(['q', 'Q']), self) {
            (Some(digits), _) => quota(digits.trim_end()),
            (None, _) if text.starts_with('$') => Currency::dollars().read(text),
            (None, Self::Quota) => quota(text),
            (None, Self::Currency(currency)) => currency.read(text),
        }
    }

    /// What stands before amounts; none of quota.
    pub(crate) fn sign(&self) -> &str {
        match self {
            Self::Quota => "",
            Self::Currency(currency) => &currency.sign,
        }
    }

    /// What a quota is worth, in millionths of millionths of the currency, for the script; 0 of
    /// quota itself.
    pub(crate) const fn worth_of_one(&self) -> i128 {
        match self {
            Self::Quota => 0,
            Self::Currency(currency) => currency.quota,
        }
    }
}

impl Currency {
    /// What prices of vendors are in, and what quota is defined by.
    pub(crate) fn dollars() -> Self {
        Self { sign: "$".to_owned(), quota: ONE / i128::from(Quota::PER_USD) }
    }

    fn worth(&self, quota: Quota) -> i128 {
        i128::from(quota.0).abs() * self.quota
    }

    /// The fewest decimals by which every quota differs from the next.
    fn places(&self) -> u32 {
        let tells_apart = |places: &u32| step(*places) <= self.quota;
        (LEAST_PLACES..MOST_PLACES).find(tells_apart).unwrap_or(MOST_PLACES)
    }

    /// The fewest decimals by which this worth of a whole quota is read back as the same.
    fn shortest(&self, worth: i128) -> u32 {
        let is_read = |places: &u32| {
            let near = nearest(worth, step(*places));
            self.whole_quota(near) == Some(worth / self.quota)
        };
        (0..self.places()).find(is_read).unwrap_or_else(|| self.places())
    }

    /// The shortest decimal, and zeros up to so many places at least.
    fn with_places(&self, quota: Quota, least: u32) -> String {
        let worth = self.worth(quota);
        let shortest = self.shortest(worth);
        let near = nearest(worth, step(shortest));
        let places = shortest.max(least);
        let sign = if quota.is_negative() { "−" } else { "" };
        let width = places as usize;
        let part = near % ONE / step(places);
        format!("{sign}{}{}.{part:0width$}", self.sign, grouped(&(near / ONE).to_string()))
    }

    /// The quota of an amount, with or without the sign.
    pub(crate) fn read(&self, text: &str) -> Option<Quota> {
        let text = text.strip_prefix(&self.sign).map_or(text, str::trim_start);
        let worth = parts(text, self.places().max(6))?;
        i64::try_from(self.whole_quota(worth)?).ok().map(Quota)
    }

    /// The quota that is worth so much. Of dollars, and other currencies whose places a quota fits
    /// into, an amount comes to a whole quota, or is none; of the rest it is the nearest.
    fn whole_quota(&self, worth: i128) -> Option<i128> {
        let is_exact = ONE % self.quota == 0 && self.quota % step(self.places()) == 0;
        if is_exact && worth % self.quota != 0 {
            return None;
        }
        Some(nearest(worth, self.quota) / self.quota)
    }
}

/// The worth of the last of so many decimals.
const fn step(places: u32) -> i128 {
    10_i128.pow(MOST_PLACES - places)
}

const fn nearest(of: i128, step: i128) -> i128 {
    (of + step / 2) / step * step
}

fn is_currency_symbol(c: char) -> bool {
    matches!(c, '$' | '¢' | '£' | '¥' | '₠'..='⃀' | '฿' | '￥')
}

fn in_quota(quota: Quota) -> String {
    let sign = if quota.is_negative() { "−" } else { "" };
    format!("{sign}{} q", grouped(&quota.0.unsigned_abs().to_string()))
}

/// The parts of one in a decimal: `1,250.5`, `.5`; none of one that has more decimals.
fn parts(text: &str, places: u32) -> Option<i128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let too_long = part.len() > places as usize;
    if (whole.is_empty() && part.is_empty()) || !is_digits(part) || too_long {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { digits_of(whole)?.parse().ok()? };
    whole.checked_mul(ONE)?.checked_add(format!("{part:0<12}").parse::<i128>().ok()?)
}

/// `1,234,567`.
pub(crate) fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The digits of a whole number, which may have a comma before each three of them.
pub(crate) fn digits_of(text: &str) -> Option<String> {
    let mut groups = text.split(',');
    let first = groups.next().filter(|first| !first.is_empty() && is_digits(first))?;
    // 0,150 is no thousand: its writer means a decimal comma.
    if text.contains(',') && (first.len() > 3 || first.starts_with('0')) {
        return None;
    }
    let mut digits = first.to_owned();
    for group in groups {
        if group.len() != 3 || !is_digits(group) {
            return None;
        }
        digits.push_str(group);
    }
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn yuan() -> Unit {
        Unit::parse("¥7.25").expect("a unit")
    }

    #[test]
    fn a_unit_is_dollars_quota_or_a_currency_with_its_rate() {
        for text in ["$", "q", "¥7.25", "¥1", "€0.92", "HK$7.8", "元7", "₫25000", "£.8"] {
            assert_eq!(Unit::parse(text).is_some(), text != "£.8", "{text}");
        }
        for text in ["", "¥", "7.25", "$7", "¥-7", "¥0", "¥0.0001", "¥7.1234567", "¥1e3", "¥ 7"]
        {
            assert_eq!(Unit::parse(text), None, "{text}");
        }
        assert_eq!(Unit::parse("LONGX5"), None);
        assert_eq!(Unit::parse("¥10000000"), None);
    }

    #[test]
    fn an_amount_is_shown_as_it_was_typed() {
        let unit = yuan();
        for text in ["¥100.00", "¥0.01", "¥36.50", "¥1,234,567.89", "¥0.00"] {
            let quota = unit.read(text).expect("an amount");
            assert_eq!(unit.short(quota), text);
            assert_eq!(unit.read(text.trim_start_matches('¥')), Some(quota));
        }
        assert_eq!(unit.read("¥100"), Some(Quota(6_896_552)));
        assert_eq!(unit.whole(Quota(6_896_552)), "¥100.00000");
        let three = unit.read("3").expect("an amount");
        assert_eq!((&*unit.whole(three), &*unit.short(three)), ("¥3.00000", "¥3.00"));
        assert_eq!(unit.whole(Quota(1)), "¥0.00001");
        assert_eq!(unit.short(Quota(-500_000)), "−¥7.25");
        assert_eq!(unit.short(Quota(1)), "¥0.00001");
        assert_eq!(Unit::Quota.short(Quota(-1_240)), "−1,240 q");
        assert_eq!(Unit::Quota.read("1,240"), Some(Quota(1_240)));
        assert_eq!(Unit::Quota.read("1.5"), None);
    }

    /// A unit with this worth of a dollar, in millionths.
    fn at(rate: i64) -> Unit {
        let unit = Unit::parse(&format!("¥{}.{:06}", rate / 1_000_000, rate % 1_000_000));
        unit.expect("a unit")
    }

    /// Rates that people have: a quota has few places by some of them, many by others.
    fn usual_rates() -> impl Strategy<Value = i64> {
        let usual = [1_000_000, 7_250_000, 7_200_000, 8_000_000, 920_000, 800_000, 25_345_000_000];
        prop::sample::select(usual.to_vec())
    }

    proptest! {
        #[test]
        fn what_is_shown_in_any_currency_is_read_as_the_same(
            quota in prop_oneof![0..10_000_i64, 0..i64::MAX],
            rate in prop_oneof![
                usual_rates(), 1_000..100_000_000_i64, 1_000..1_000_000_000_000_i64
            ],
        ) {
            let unit = at(rate);
            for shown in [unit.short(Quota(quota)), unit.whole(Quota(quota))] {
                prop_assert_eq!(unit.read(&shown), Some(Quota(quota)), "{}", shown);
            }
        }

        #[test]
        fn what_was_typed_is_what_is_shown(
            amount in prop_oneof![0..10_000_i64, 0..1_000_000_000_i64],
            rate in prop_oneof![usual_rates(), 1_000..100_000_000_i64],
            places in 1..6_u32,
        ) {
            let Unit::Currency(currency) = at(rate) else { return Ok(()) };
            // Amounts that stand further apart than two quota do.
            let fits = |places: &u32| step(*places) > currency.quota;
            let places = (1..=places).take_while(fits).last().unwrap_or(1);
            let (one, width) = (10_i64.pow(places), places as usize);
            let part = format!("{:0width$}", amount % one);
            let whole = grouped(&(amount / one).to_string());
            let all = currency.places() as usize;
            let unit = Unit::Currency(currency);
            let Some(quota) = unit.read(&format!("{whole}.{part}")) else { return Ok(()) };
            let part = part.trim_end_matches('0');
            prop_assert_eq!(unit.short(quota), format!("¥{whole}.{part:0<2}"));
            prop_assert_eq!(unit.whole(quota), format!("¥{whole}.{part:0<all$}"));
        }
    }
}
