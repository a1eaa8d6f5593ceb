//! What a price may have beyond its ratios: the worth of every meter, prices of units, and tiers.

use crate::{Meter, Meters, Ratio, UnitPrice};
use std::fmt;

mod parse;
mod write;

pub use parse::ScheduleError;

/// The worth of meters, the prices of units, and the tiers of a model. Frozen with a price, it has
/// only those tiers of values of the request that hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Schedule {
    meters: Vec<(Meter, Ratio)>,
    units: Vec<(Meter, UnitPrice)>,
    tiers: Vec<Tier>,
}

/// Factors that count under a condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tier {
    when: TierCondition,
    /// Of all that has no factor of its own.
    factor: Option<Ratio>,
    factors: Vec<(Meter, Ratio)>,
}

/// When a tier counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum TierCondition {
    /// More than this was counted of a meter and those below it.
    Above { meter: Meter, count: i64 },
    /// A member of the request is one of these words (or, with `is: false`, is none of them).
    Request { at: RequestMember, words: Vec<String>, is: bool },
}

/// Something of a request that a price depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestMember {
    place: RequestPlace,
    names: Vec<String>,
}

/// Where something of a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestPlace {
    /// In its body.
    Body,
    /// It is a parameter of its query.
    Query,
    /// It is a part of its path, as its protocol names it.
    Path,
}

impl RequestMember {
    /// The names of the members on the way to it, from the top of the body.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The name of a parameter, or of a part of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// Where it stands.
    #[must_use]
    pub const fn place(&self) -> RequestPlace {
        self.place
    }
}

impl fmt::Display for RequestMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            RequestPlace::Body => f.write_str("body:")?,
            RequestPlace::Query => return write!(f, "query:{}", self.name()),
            RequestPlace::Path => return write!(f, "path:{}", self.name()),
        }
        for name in &self.names {
            write!(f, "/{}", name.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

impl Schedule {
    /// The meters with a worth of their own, in plain input tokens.
    #[must_use]
    pub fn meters(&self) -> &[(Meter, Ratio)] {
        &self.meters
    }

    /// The units with a price.
    #[must_use]
    pub fn units(&self) -> &[(Meter, UnitPrice)] {
        &self.units
    }

    /// The tiers, in the order in which they were written.
    #[must_use]
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    /// Whether factors depend on how much was counted.
    #[must_use]
    pub fn has_size_tiers(&self) -> bool {
        self.tiers.iter().any(|tier| matches!(tier.when, TierCondition::Above { .. }))
    }

    /// Whether tiers depend on what a request says.
    #[must_use]
    pub fn reads_requests(&self) -> bool {
        self.request_members().next().is_some()
    }

    /// Whether tiers depend on what a request says in its body.
    #[must_use]
    pub fn reads_bodies(&self) -> bool {
        self.request_members().any(|member| member.place == RequestPlace::Body)
    }

    /// The members of requests that tiers look at; one may come several times.
    pub fn request_members(&self) -> impl Iterator<Item = &RequestMember> {
        self.tiers.iter().filter_map(|tier| match &tier.when {
            TierCondition::Request { at, .. } => Some(at),
            TierCondition::Above { .. } => None,
        })
    }

    /// The three parts as JSON, with their numbers as they were written; [`Schedule::parse`] reads
    /// them.
    #[must_use]
    pub fn parts(&self) -> [String; 3] {
        write::parts(self)
    }

    /// What a count of `meter` is worth in plain input tokens, where it is set.
    pub(crate) fn worth_of(&self, meter: Meter) -> Option<Ratio> {
        find(&self.meters, meter)
    }

    /// Whether any unit that has a price was counted, other than what comes on top of tokens.
    #[must_use]
    pub fn counts_units(&self, counted: &Meters) -> bool {
        let mut units = self.units.iter().filter(|(unit, _)| *unit != Meter::Searches);
        units.any(|(unit, _)| counted.get(*unit).is_some())
    }

    /// The same without the tiers of other requests. `value` gives what a request says.
    #[must_use]
    pub(crate) fn for_request(&self, value: impl Fn(&RequestMember) -> Option<String>) -> Self {
        let holds = |tier: &Tier| match &tier.when {
            TierCondition::Above { .. } => true,
            TierCondition::Request { at, words, is } => {
                value(at).is_some_and(|said| words.iter().any(|word| same(word, &said)) == *is)
            }
        };
        let holding: Vec<Tier> = self.tiers.iter().filter(|tier| holds(tier)).cloned().collect();
        let last_of_its_kind = |at: usize, tier: &Tier| {
            let later = &holding[at + 1..];
            !tier.is_of_request() || !later.iter().any(|later| tier.looks_at_same(later))
        };
        let tiers = holding.iter().enumerate().filter(|(at, tier)| last_of_its_kind(*at, tier));
        let tiers = tiers.map(|(_, tier)| tier.clone()).collect();
        Self { tiers, meters: self.meters.clone(), units: self.units.clone() }
    }

    /// The tiers that count for what was counted. Of those that look at the same thing it is the
    /// last that holds; a frozen schedule has no others of requests than those that hold.
    pub(crate) fn holding(&self, counted: &Meters) -> Vec<&Tier> {
        let holds = |tier: &Tier| match &tier.when {
            TierCondition::Above { meter, count } => counted.family(*meter) > *count,
            TierCondition::Request { .. } => true,
        };
        let holding: Vec<&Tier> = self.tiers.iter().filter(|tier| holds(tier)).collect();
        let mut counting = holding.clone();
        let mut at = 0;
        counting.retain(|tier| {
            at += 1;
            !holding[at..].iter().any(|later| tier.looks_at_same(later))
        });
        counting
    }
}

impl Tier {
    /// Whether it depends on what a request says.
    const fn is_of_request(&self) -> bool {
        matches!(self.when, TierCondition::Request { .. })
    }

    /// Whether it has a factor for everything and no other, by what a request says: then it can
    /// change the price of a call.
    pub(crate) const fn is_of_call(&self) -> bool {
        self.is_of_request() && self.factors.is_empty()
    }

    fn looks_at_same(&self, other: &Self) -> bool {
        match (&self.when, &other.when) {
            (
                TierCondition::Above { meter: this, .. },
                TierCondition::Above { meter: that, .. },
            ) => this == that,
            (TierCondition::Request { at: this, .. }, TierCondition::Request { at: that, .. }) => {
                this == that
            }
            _ => false,
        }
    }

    /// The factor on all that has none of its own.
    pub(crate) const fn factor(&self) -> Option<Ratio> {
        self.factor
    }

    /// The factor on counts of `meter`: its own, else that of the nearest meter above it, else that
    /// of all.
    pub(crate) fn factor_of(&self, meter: Meter) -> Option<Ratio> {
        meter.line().find_map(|meter| find(&self.factors, meter)).or(self.factor)
    }

    /// What it multiplies, for people: `input × 2, output × 1.5`.
    pub(crate) fn write_factors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.factors.iter().map(|(meter, factor)| (meter.as_str(), *factor));
        let all = self.factor.map(|factor| ("all", factor));
        for (at, (what, factor)) in own.chain(all).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{what} × {factor}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.when {
            TierCondition::Above { meter, count } => write!(f, "above {count} {meter}"),
            TierCondition::Request { at, words, is } => {
                write!(f, "{at} {} {}", if *is { "is" } else { "is not" }, words.join(" or "))
            }
        }
    }
}

fn find<T: Copy>(of: &[(Meter, T)], meter: Meter) -> Option<T> {
    of.iter().find(|(known, _)| *known == meter).map(|(_, value)| *value)
}

/// Whether a request's value means this word: the same text in any case, or the same number
/// however it is written.
fn same(word: &str, said: &str) -> bool {
    let (word, said) = (word.trim(), said.trim());
    word.eq_ignore_ascii_case(said)
        || parse::number(word).is_some_and(|it| parse::number(said).is_some_and(|said| said == it))
}

#[cfg(test)]
mod tests;
