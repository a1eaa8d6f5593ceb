//! A price and its charge as people check them.

use crate::terms::{PriceTerms, write_formula};
use crate::{FrozenPrice, Quota, Rule, Schedule, Usage, UseRatios};
use std::fmt;

impl FrozenPrice {
    /// The formula, with the numbers of the price.
    #[must_use]
    pub fn formula(&self) -> String {
        let formula = self.unbounded_formula();
        match self.bound_formula() {
            Some(bound) => format!("{formula}; at most {bound}"),
            None => formula,
        }
    }

    fn bound_formula(&self) -> Option<String> {
        let (group, user) = (self.group, self.user);
        let bound = self.max_charge?;
        Some(format!("round(max_charge {bound} × group {group} × user {user})"))
    }

    fn unbounded_formula(&self) -> String {
        let (group, user) = (self.group, self.user);
        match (&self.rule, &self.schedule) {
            (_, Some(schedule)) => ScheduleFormula(self, schedule).to_string(),
            (Rule::PerCall { fixed_quota }, None) => {
                format!("round(fixed {fixed_quota} × group {group} × user {user})")
            }
            (Rule::ByUse(r), None) => format!(
                "round((plain prompt + cached × {} + image × {} + audio × {} + completion × {}) \
                 × ratio {} × group {group} × user {user})",
                r.cache_ratio, r.image_ratio, r.audio_ratio, r.completion_ratio, r.ratio
            ),
        }
    }

    /// The formula with the numbers of a call, and what came of it. What was not counted is left
    /// out. A calculator that leaves out the words, and what stands in square brackets, comes to
    /// the same. Where the bound was charged, its own formula comes first.
    #[must_use]
    pub fn calculation(&self, usage: &Usage, charged: Quota) -> String {
        let bounded = self.bound_formula().filter(|_| self.bound() == Some(charged));
        let Some((bound, reported)) = bounded.zip(self.beyond_bound(usage)) else {
            return self.unbounded_calculation(usage, charged);
        };
        let reported = self.unbounded_calculation(usage, reported);
        format!("{bound} = {charged}, in place of {reported}")
    }

    fn unbounded_calculation(&self, usage: &Usage, charged: impl fmt::Display) -> String {
        match (&self.rule, &self.schedule) {
            (_, Some(schedule)) => {
                format!("{} = {charged}", PriceTerms::of(self, schedule, &usage.counted()))
            }
            (Rule::PerCall { .. }, None) => format!("{} = {charged}", self.unbounded_formula()),
            (Rule::ByUse(ratios), None) => self.calculation_of_ratios(ratios, usage, charged),
        }
    }

    fn calculation_of_ratios(
        &self,
        r: &UseRatios,
        usage: &Usage,
        charged: impl fmt::Display,
    ) -> String {
        let parts = [
            (usage.cached_tokens, "cached", r.cache_ratio),
            (usage.image_tokens, "image", r.image_ratio),
            (usage.audio_tokens, "audio", r.audio_ratio),
            (usage.completion_tokens, "completion", r.completion_ratio),
        ];
        let mut sum = format!("{} prompt", usage.plain_prompt_tokens());
        for (tokens, name, ratio) in parts.into_iter().filter(|(tokens, ..)| *tokens != 0) {
            sum.push_str(&format!(" + {tokens} {name} × {ratio}"));
        }
        let (ratio, group, user) = (r.ratio, self.group, self.user);
        format!("round(({sum}) × ratio {ratio} × group {group} × user {user}) = {charged}")
    }
}

struct ScheduleFormula<'a>(&'a FrozenPrice, &'a Schedule);

impl fmt::Display for ScheduleFormula<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_formula(self.0, self.1, f)
    }
}
