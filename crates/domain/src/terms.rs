//! A charge in its terms: what is counted, what each is worth, and which factors count. The terms
//! are added up, and printed for people, so that what is printed is what was charged.

use crate::schedule::{Schedule, Tier};
use crate::{FrozenPrice, Meter, Meters, PriceError, Quota, Ratio, Rule, UnitPrice, UseRatios};
use num_bigint::BigUint;
use std::fmt;

/// One, in millionths.
const ONE_MICROS: u32 = 1_000_000;

/// What one count is worth.
#[derive(Clone, Copy, Debug)]
enum Worth {
    /// So many plain input tokens; `like` is the meter whose worth that is.
    Tokens {
        like: Meter,
        worth: Ratio,
    },
    Unit(UnitPrice),
}

/// A product: a count, its worth, and the factors of its tiers.
#[derive(Clone, Debug)]
struct PriceTerm<'a> {
    count: i64,
    meter: Meter,
    worth: Worth,
    tiers: Vec<(&'a Tier, Ratio)>,
}

/// All terms of a charge.
#[derive(Clone, Debug)]
pub(crate) struct PriceTerms<'a> {
    /// Of a price per call: that price, with the factors on it.
    call: Option<(Quota, Vec<(&'a Tier, Ratio)>)>,
    tokens: Vec<PriceTerm<'a>>,
    units: Vec<PriceTerm<'a>>,
    /// Quota a plain input token.
    ratio: Ratio,
    group: Ratio,
    user: Ratio,
}

impl<'a> PriceTerms<'a> {
    /// The terms of what was counted.
    pub(crate) fn of(price: &'a FrozenPrice, schedule: &'a Schedule, counted: &Meters) -> Self {
        let tiers = schedule.holding(counted);
        let (group, user) = (price.group, price.user);
        let mut terms =
            Self { call: None, tokens: vec![], units: vec![], ratio: Ratio::ZERO, group, user };
        let ratios = match &price.rule {
            Rule::PerCall { fixed_quota } => {
                let factors = tiers.iter().filter_map(|tier| Some((*tier, tier.factor()?)));
                terms.call = Some((*fixed_quota, factors.collect()));
                return terms;
            }
            Rule::ByUse(ratios) => ratios,
        };
        terms.ratio = ratios.ratio;
        for (meter, count) in counted.iter().filter(|(_, count)| *count > 0) {
            let factors = tiers.iter().filter_map(|tier| Some((*tier, tier.factor_of(meter)?)));
            let term = |worth| PriceTerm { count, meter, worth, tiers: factors.collect() };
            if meter.is_tokens() {
                if price.is_of_units() {
                    continue;
                }
                terms.tokens.push(term(worth_of(ratios, schedule, meter)));
            } else if let Some((_, price)) = schedule.units().iter().find(|it| it.0 == meter) {
                terms.units.push(term(Worth::Unit(*price)));
            }
        }
        terms
    }

    /// Adds the terms up: exact, and rounded once, half away from zero.
    pub(crate) fn charge(&self) -> Result<Quota, PriceError> {
        let of_call = self.call.iter().map(|(fixed, tiers)| {
            Product::of_count(fixed.0).times_all(tiers.iter().map(|(_, factor)| factor.micros()))
        });
        let tokens = self.tokens.iter().map(|term| term.product().times(self.ratio.micros()));
        let products: Vec<Product> =
            of_call.chain(tokens).chain(self.units.iter().map(PriceTerm::product)).collect();
        let most = products.iter().map(|product| product.places).max().unwrap_or(0);
        let sum: BigUint = products.into_iter().map(|product| product.scaled_to(most)).sum();
        let exact = Product { digits: sum, places: most }
            .times(self.group.micros())
            .times(self.user.micros());
        let one = BigUint::from(ONE_MICROS).pow(exact.places);
        let rounded = (exact.digits * 2_u32 + &one) / (one * 2_u32);
        let fitting = i64::try_from(rounded).ok().map(Quota);
        fitting.filter(|amount| amount.is_amount()).ok_or(PriceError::Overflow)
    }
}

fn worth_of(ratios: &UseRatios, schedule: &Schedule, meter: Meter) -> Worth {
    let own = |meter| {
        schedule.worth_of(meter).or(match meter {
            Meter::Input => Some(Ratio::ONE),
            Meter::Cached => Some(ratios.cache_ratio),
            Meter::ImageIn => Some(ratios.image_ratio),
            Meter::AudioIn => Some(ratios.audio_ratio),
            Meter::Output => Some(ratios.completion_ratio),
            _ => None,
        })
    };
    let found = meter.line().find_map(|meter| Some((meter, own(meter)?)));
    // Every family of tokens has a worth at its head; a total is never priced itself.
    let (like, worth) = found.unwrap_or((Meter::Input, Ratio::ONE));
    Worth::Tokens { like, worth }
}

impl PriceTerm<'_> {
    fn product(&self) -> Product {
        let worth = match self.worth {
            Worth::Tokens { worth, .. } => worth.micros(),
            Worth::Unit(price) => price.micros(),
        };
        let tiers = self.tiers.iter().map(|(_, factor)| factor.micros());
        Product::of_count(self.count).times(worth).times_all(tiers)
    }
}

/// An exact decimal with so many groups of six places.
struct Product {
    digits: BigUint,
    places: u32,
}

impl Product {
    /// Counts and prices are never negative.
    fn of_count(count: i64) -> Self {
        Self { digits: BigUint::from(count.unsigned_abs()), places: 0 }
    }

    fn times(self, micros: i64) -> Self {
        Self { digits: self.digits * micros.unsigned_abs(), places: self.places + 1 }
    }

    fn times_all(self, micros: impl Iterator<Item = i64>) -> Self {
        micros.fold(self, Self::times)
    }

    fn scaled_to(self, places: u32) -> BigUint {
        self.digits * BigUint::from(ONE_MICROS).pow(places - self.places)
    }
}

/// `round(((20 input + 5 cache_write × 1.25) × ratio 2 + 4 images × 20000 × 1.67 [body:/size is
/// 1792x1024]) × group 0.8 × user 1)`: a calculator that leaves out words, and what stands in
/// square brackets, comes to the charge.
impl fmt::Display for PriceTerms<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("round(")?;
        match &self.call {
            Some((fixed, tiers)) => {
                write!(f, "fixed {fixed}")?;
                write_tiers(tiers, f)?;
            }
            None => self.write_sum(f)?,
        }
        write!(f, " × group {} × user {})", self.group, self.user)
    }
}

impl PriceTerms<'_> {
    fn write_sum(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (has_tokens, has_units) = (!self.tokens.is_empty(), !self.units.is_empty());
        if !has_tokens && !has_units {
            return f.write_str("0");
        }
        if has_units {
            f.write_str("(")?;
        }
        if has_tokens {
            f.write_str("(")?;
            write_terms(&self.tokens, f)?;
            write!(f, ") × ratio {}", self.ratio)?;
        }
        if has_tokens && has_units {
            f.write_str(" + ")?;
        }
        if has_units {
            write_terms(&self.units, f)?;
            f.write_str(")")?;
        }
        Ok(())
    }
}

fn write_terms(terms: &[PriceTerm<'_>], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (at, PriceTerm { count, meter, worth, tiers }) in terms.iter().enumerate() {
        let plus = if at == 0 { "" } else { " + " };
        write!(f, "{plus}{count} {meter}")?;
        match worth {
            Worth::Tokens { like: Meter::Input, worth: Ratio::ONE } if *meter == Meter::Input => {}
            Worth::Tokens { like, worth } if like == meter => write!(f, " × {worth}")?,
            Worth::Tokens { like, worth } => write!(f, " as {like} × {worth}")?,
            Worth::Unit(price) => write!(f, " × {price}")?,
        }
        write_tiers(tiers, f)?;
    }
    Ok(())
}

fn write_tiers(tiers: &[(&Tier, Ratio)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (tier, factor) in tiers {
        write!(f, " × {factor} [{tier}]")?;
    }
    Ok(())
}

fn write_worths(
    ratios: &UseRatios,
    schedule: &Schedule,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    f.write_str("(input")?;
    for meter in Meter::ALL.into_iter().filter(|it| it.is_tokens() && *it != Meter::Input) {
        match worth_of(ratios, schedule, meter) {
            Worth::Tokens { like, worth } if like == meter => write!(f, " + {meter} × {worth}")?,
            Worth::Tokens { .. } | Worth::Unit(_) => {}
        }
    }
    write!(f, ") × ratio {}", ratios.ratio)
}

/// The formula of a price with a schedule, without a call's numbers.
pub(crate) fn write_formula(
    price: &FrozenPrice,
    schedule: &Schedule,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    f.write_str("round(")?;
    match &price.rule {
        Rule::PerCall { fixed_quota } => write!(f, "fixed {fixed_quota}")?,
        Rule::ByUse(ratios) => {
            f.write_str("(")?;
            if !price.is_of_units() {
                write_worths(ratios, schedule, f)?;
            }
            for (at, (unit, each)) in schedule.units().iter().enumerate() {
                let plus = if at == 0 && price.is_of_units() { "" } else { " + " };
                write!(f, "{plus}{unit} × {each}")?;
            }
            f.write_str(")")?;
        }
    }
    write!(f, " × group {} × user {})", price.group, price.user)?;
    for tier in schedule.tiers() {
        write!(f, "; {tier}: ")?;
        tier.write_factors(f)?;
    }
    if price.is_by_use() && !price.is_of_units() {
        f.write_str("; tokens without a worth of their own count as what they are part of")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
