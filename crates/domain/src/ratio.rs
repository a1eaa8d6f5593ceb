//! Ratios: exact decimals with six places. No float ever touches a price.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

const PLACES: usize = 6;
const ONE_MICROS: i64 = 1_000_000;
/// Largest ratio that may be configured. It bounds the arithmetic of a price.
const MAX_RATIO: i64 = 1_000_000;
/// Largest price of a unit, in quota: two thousand dollars.
const MAX_UNIT_PRICE: i64 = 1_000_000_000;

/// A non-negative decimal of at most six places and at most 1 000 000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(i64);

/// The price of one counted unit, in quota: a non-negative decimal of at most six places and at
/// most 1 000 000 000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitPrice(i64);

/// Why a text is not a [`Ratio`], or a [`UnitPrice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RatioError {
    /// Not digits with an optional point.
    #[error("not a decimal number")]
    Malformed,
    /// More than six places after the point.
    #[error("more than 6 decimal places")]
    TooPrecise,
    /// Negative, or larger than this.
    #[error("outside 0 to {0}")]
    OutOfRange(i64),
}

impl Ratio {
    /// 1: leaves a price as it is.
    pub const ONE: Self = Self(ONE_MICROS);
    /// 0: the price is nothing.
    pub const ZERO: Self = Self(0);

    /// The ratio in millionths.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// A ratio given in millionths.
    ///
    /// # Errors
    /// [`RatioError::OutOfRange`] outside 0 to 1 000 000.
    #[cfg(test)]
    pub(crate) const fn from_micros(micros: i64) -> Result<Self, RatioError> {
        if micros < 0 || micros > MAX_RATIO * ONE_MICROS {
            return Err(RatioError::OutOfRange(MAX_RATIO));
        }
        Ok(Self(micros))
    }
}

impl UnitPrice {
    /// The price in millionths of a quota.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }
}

impl FromStr for Ratio {
    type Err = RatioError;

    fn from_str(text: &str) -> Result<Self, RatioError> {
        parse_micros(text, MAX_RATIO).map(Self)
    }
}

impl FromStr for UnitPrice {
    type Err = RatioError;

    fn from_str(text: &str) -> Result<Self, RatioError> {
        parse_micros(text, MAX_UNIT_PRICE).map(Self)
    }
}

/// The millionths of a decimal from 0 to `max`.
fn parse_micros(text: &str, max: i64) -> Result<i64, RatioError> {
    let outside = RatioError::OutOfRange(max);
    let text = text.trim();
    if text.starts_with('-') && text.len() > 1 {
        return Err(outside);
    }
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && places.is_empty()) || !digits(whole) || !digits(places) {
        return Err(RatioError::Malformed);
    }
    // PostgreSQL prints 1.5000000000: zeros beyond the sixth place carry no value.
    let places = places.trim_end_matches('0');
    if places.len() > PLACES {
        return Err(RatioError::TooPrecise);
    }
    let micros = format!("{whole}{places:0<PLACES$}").parse().map_err(|_| outside)?;
    if micros <= max * ONE_MICROS { Ok(micros) } else { Err(outside) }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_micros(self.0, f)
    }
}

impl fmt::Display for UnitPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_micros(self.0, f)
    }
}

fn write_micros(micros: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (whole, places) = (micros / ONE_MICROS, micros % ONE_MICROS);
    if places == 0 {
        return write!(f, "{whole}");
    }
    let places = format!("{places:06}");
    write!(f, "{whole}.{}", places.trim_end_matches('0'))
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for UnitPrice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_databases_print() {
        for (text, micros) in [
            ("1", 1_000_000),
            ("0.8", 800_000),
            (".5", 500_000),
            ("2.", 2_000_000),
            ("1.5000000000", 1_500_000),
            ("0.000001", 1),
            ("001000000", 1_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Ratio(micros)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_an_exact_ratio() {
        use RatioError::{Malformed, TooPrecise};
        const OUTSIDE: RatioError = RatioError::OutOfRange(MAX_RATIO);
        for (text, why) in [
            ("", Malformed),
            (".", Malformed),
            ("1e3", Malformed),
            ("NaN", Malformed),
            ("+1", Malformed),
            ("1.2.3", Malformed),
            ("-0.5", OUTSIDE),
            ("0.0000001", TooPrecise),
            ("1000000.000001", OUTSIDE),
            ("99999999999999999999", OUTSIDE),
        ] {
            assert_eq!(text.parse::<Ratio>(), Err(why), "{text}");
        }
    }

    #[test]
    fn a_unit_may_cost_more_than_a_ratio_is() {
        let price: UnitPrice = "1000000000".parse().unwrap();
        assert_eq!(price.micros(), MAX_UNIT_PRICE * ONE_MICROS);
        let outside = Err(RatioError::OutOfRange(MAX_UNIT_PRICE));
        assert_eq!("1000000000.000001".parse::<UnitPrice>(), outside);
    }

    proptest! {
        #[test]
        fn printing_and_reading_are_inverse(micros in 0..=MAX_RATIO * ONE_MICROS) {
            prop_assert_eq!(Ratio(micros).to_string().parse(), Ok(Ratio(micros)));
        }
    }
}
