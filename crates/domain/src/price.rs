//! Prices: what a call costs. Exact decimals, one rounding at the end, every step checked.

use crate::schedule::{RequestMember, Schedule, Tier};
use crate::terms::PriceTerms;
use crate::{ChargeNote, Meter, Meters, Quota, Ratio, Reported, Usage};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The version of the formulas of ratios alone. It is frozen with a price, so that a later change
/// of a formula doesn't change what was agreed on.
const RULE_VERSION: u8 = 1;
/// The version of the formulas of prices with a schedule.
const SCHEDULE_VERSION: u8 = 2;
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
    /// The most that a call priced by use may charge, before group and user. Unset: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_charge: Option<Quota>,
    /// Worth of further meters, prices of units, and tiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Arc<Schedule>>,
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
    /// Worth of further meters, prices of units, and the tiers that this call may come into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Arc<Schedule>>,
    /// The most that the call may charge, before group and user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_charge: Option<Quota>,
    /// What a task's submission asked for in units. Its result may not count them again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<Meters>>,
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
    /// The row sets neither `fixed_quota` nor `ratio`, nor a price of units.
    #[error("the price row has neither fixed_quota nor ratio nor units")]
    Neither,
    /// A price below zero.
    #[error("the price row has a negative amount")]
    Negative,
    /// The amount doesn't fit.
    #[error("the amount does not fit")]
    Overflow,
    /// A price per call has what only a price by use can have.
    #[error(
        "the price row has fixed_quota, beside which there may only be tiers by values of the \
         request, with no factor but `factor`"
    )]
    FixedByUse,
    /// A price per call has a bound.
    #[error("the price row has fixed_quota, which max_charge can't bound")]
    FixedBounded,
    /// A bound of zero or less.
    #[error("the price row has a max_charge below 1")]
    BoundTooSmall,
    /// A meter's worth is set in a column, and otherwise in `meters`.
    #[error("the price row sets {0} otherwise than meters.{1}")]
    Contradicts(&'static str, Meter),
    /// A price of units alone, and none of them was counted.
    #[error("no count of {0}")]
    Uncounted(Meter),
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
        if row.max_charge.is_some_and(|bound| bound <= Quota::ZERO) {
            return Err(PriceError::BoundTooSmall);
        }
        let has_units = row.schedule.as_ref().is_some_and(|it| !it.units().is_empty());
        // What is priced by units alone has tokens that are worth nothing.
        let ratio = row.ratio.or(has_units.then_some(Ratio::ZERO));
        let rule = match (row.fixed_quota, ratio) {
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
        let (schedule, max_charge) = (row.schedule.clone(), row.max_charge);
        if max_charge.is_some() && matches!(rule, Rule::PerCall { .. }) {
            return Err(PriceError::FixedBounded);
        }
        let rule_version = match &schedule {
            None => RULE_VERSION,
            Some(schedule) => {
                row.check_schedule(schedule, &rule)?;
                SCHEDULE_VERSION
            }
        };
        let asked = None;
        Ok(Self::Priced(FrozenPrice {
            rule,
            group,
            user,
            rule_version,
            schedule,
            max_charge,
            asked,
        }))
    }
}

impl PriceRow {
    /// Whether its schedule fits its columns.
    fn check_schedule(&self, schedule: &Schedule, rule: &Rule) -> Result<(), PriceError> {
        if matches!(rule, Rule::PerCall { .. }) {
            let is_plain = schedule.meters().is_empty() && schedule.units().is_empty();
            let fits = is_plain && schedule.tiers().iter().all(Tier::is_of_call);
            return if fits { Ok(()) } else { Err(PriceError::FixedByUse) };
        }
        let columns = [
            ("completion_ratio", self.completion_ratio, Meter::Output),
            ("cache_ratio", self.cache_ratio, Meter::Cached),
            ("image_ratio", self.image_ratio, Meter::ImageIn),
            ("audio_ratio", self.audio_ratio, Meter::AudioIn),
        ];
        for (column, ratio, meter) in columns {
            // 1 is what a column says that was never set.
            let set = ratio.filter(|ratio| *ratio != Ratio::ONE);
            if let (Some(set), Some(worth)) = (set, schedule.worth_of(meter))
                && set != worth
            {
                return Err(PriceError::Contradicts(column, meter));
            }
        }
        Ok(())
    }
}

impl FrozenPrice {
    /// The price for one request: of the tiers that depend on what it says, those that hold.
    /// `value` gives what it says.
    #[must_use]
    pub fn for_request(mut self, value: impl Fn(&RequestMember) -> Option<String>) -> Self {
        let reads = |it: &Arc<Schedule>| it.request_members().next().is_some();
        if let Some(schedule) = self.schedule.take_if(|it| reads(it)) {
            self.schedule = Some(Arc::new(schedule.for_request(value)));
        }
        self
    }

    /// What is held before anything is sent. `expected` is what the call may come to, as far as its
    /// request says: it is held as far as it has a price, and as far as it may be charged.
    ///
    /// # Errors
    /// When the amount doesn't fit.
    pub fn first_hold(&self, expected: Option<&Meters>) -> Result<Quota, PriceError> {
        self.bounded(self.unbounded_hold(expected))
    }

    fn unbounded_hold(&self, expected: Option<&Meters>) -> Result<Quota, PriceError> {
        match (&self.rule, &self.schedule) {
            (Rule::PerCall { fixed_quota }, None) => self.per_call(*fixed_quota),
            (Rule::PerCall { .. }, Some(schedule)) => {
                PriceTerms::of(self, schedule, &Meters::default()).charge()
            }
            (Rule::ByUse(ratios), None) => match expected.and_then(Meters::usage) {
                Some(usage) => Ok(ratios.min_hold.max(self.by_use(ratios, &usage)?)),
                None => Ok(ratios.min_hold),
            },
            (Rule::ByUse(ratios), Some(schedule)) => {
                let expected = expected.copied().unwrap_or_default();
                let comes_to = PriceTerms::of(self, schedule, &expected).charge()?;
                Ok(ratios.min_hold.max(comes_to))
            }
        }
    }

    /// What a call with this usage costs. The usage of a call with a fixed price is only noted.
    ///
    /// # Errors
    /// When the amount doesn't fit, or nothing was counted of all that has a price.
    pub fn charge(&self, usage: &Usage) -> Result<Quota, PriceError> {
        self.bounded(self.unbounded(usage))
    }

    /// What the usage comes to where that is more than the call may charge.
    pub(crate) fn beyond_bound(&self, usage: &Usage) -> Option<Reported> {
        let bound = self.bound()?;
        match self.unbounded(usage) {
            Ok(amount) => (amount > bound).then_some(Reported(Some(amount))),
            Err(PriceError::Overflow) => Some(Reported(None)),
            Err(_) => None,
        }
    }

    /// The most that the call may charge. What does not fit bounds nothing.
    #[must_use]
    pub fn bound(&self) -> Option<Quota> {
        self.max_charge.and_then(|bound| self.per_call(bound).ok())
    }

    fn bounded(&self, amount: Result<Quota, PriceError>) -> Result<Quota, PriceError> {
        match (amount, self.bound()) {
            (Ok(amount), Some(bound)) => Ok(amount.min(bound)),
            (Err(PriceError::Overflow), Some(bound)) => Ok(bound),
            (amount, _) => amount,
        }
    }

    /// What the usage comes to.
    fn unbounded(&self, usage: &Usage) -> Result<Quota, PriceError> {
        match (&self.rule, &self.schedule) {
            (Rule::PerCall { fixed_quota }, None) => self.per_call(*fixed_quota),
            (Rule::ByUse(ratios), None) => self.by_use(ratios, usage),
            (rule, Some(schedule)) => {
                let counted = usage.counted();
                if let (Rule::ByUse(ratios), Some((first, _))) = (rule, schedule.units().first())
                    && ratios.ratio == Ratio::ZERO
                    && !schedule.units().iter().any(|(unit, _)| counted.get(*unit).is_some())
                {
                    return Err(PriceError::Uncounted(*first));
                }
                PriceTerms::of(self, schedule, &counted).charge()
            }
        }
    }

    /// The usage as this price needs it, and no more, so that a line of the journal has no counts
    /// that nothing depends on: every count where there is a schedule, with the units that were
    /// asked for where the reply has not counted them. A price per call says nothing of what was
    /// counted in an upstream's place: its charge is as sure as any.
    #[must_use]
    pub fn counts_of(&self, usage: Option<Usage>, asked: Option<&Meters>) -> Option<Usage> {
        // Where tokens have a price, units alone don't say what the call has used.
        let usage = usage.filter(|usage| self.is_of_units() || usage.counts_tokens());
        let Some(schedule) = self.schedule.as_ref().filter(|_| self.is_by_use()) else {
            let is_noted = |usage: &Usage| self.is_by_use() || !usage.is_estimated();
            return usage.map(|usage| Usage {
                inconsistency: usage.inconsistency.clone().filter(|_| is_noted(&usage)),
                meters: None,
                ..usage
            });
        };
        let asked = asked.or(self.asked.as_deref());
        let asked_for = |unit: Meter| asked.and_then(|asked| asked.get(unit));
        let mut usage = match usage {
            Some(usage) => usage,
            // What has a price was asked for, and tokens cost nothing.
            None if self.is_of_units() && asked.is_some_and(|it| schedule.counts_units(it)) => {
                Usage::default()
            }
            None => return None,
        };
        let mut counted = usage.counted().into_owned();
        for (unit, _) in schedule.units() {
            if let (None, Some(count)) = (counted.get(*unit), asked_for(*unit)) {
                counted.set(*unit, count);
            }
        }
        usage.meters = Some(Box::new(counted));
        Some(usage)
    }

    /// Whether factors depend on how much was counted.
    #[must_use]
    pub fn has_size_tiers(&self) -> bool {
        self.schedule.as_ref().is_some_and(|schedule| schedule.has_size_tiers())
    }

    /// Whether it is a price of units alone.
    #[must_use]
    pub fn is_of_units(&self) -> bool {
        matches!(&self.rule, Rule::ByUse(ratios) if ratios.ratio == Ratio::ZERO)
            && self.schedule.as_ref().is_some_and(|schedule| !schedule.units().is_empty())
    }

    /// What work that was done costs: its price, the most that it may be, or `held` where its use
    /// is unknown or its price doesn't fit; with a note where it isn't the plain price.
    #[must_use]
    pub fn charge_or(&self, held: Quota, usage: Option<&Usage>) -> (Quota, Option<ChargeNote>) {
        if usage.is_none() && self.is_by_use() {
            return (held, Some(ChargeNote::Held("no usage".to_owned())));
        }
        let none = Usage::default();
        let usage = usage.unwrap_or(&none);
        match self.charge(usage) {
            Ok(charge) => (charge, self.beyond_bound(usage).map(ChargeNote::Bounded)),
            Err(error) => (held, Some(ChargeNote::Held(error.to_string()))),
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
mod tests;
