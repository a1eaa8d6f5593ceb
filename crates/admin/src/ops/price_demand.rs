//! How much prices are used: by which channels, and what it came to lately.

use crate::AdminState;
use crate::ops::ability::AbilityView;
use crate::ops::log::lately;
use crate::ops::unpriced::served_models;
use domain::Quota;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use store::StoreError;
use store::patterns::{Patterns, is_pattern, matches, overlap};

/// The names that prices stand under.
#[derive(Debug)]
pub(super) struct PricedNames {
    names: HashSet<String>,
    patterns: Patterns<String>,
}

impl PricedNames {
    /// Those that are stored, and one that may be.
    pub(super) async fn read(state: &AdminState, also: Option<&str>) -> Result<Self, StoreError> {
        let mut names: HashSet<String> = also.map(str::to_owned).into_iter().collect();
        for row in state.db.read("SELECT model_name FROM abilities", &[]).await? {
            names.insert(row.get("model_name")?);
        }
        Ok(Self::new(names))
    }

    fn new(names: HashSet<String>) -> Self {
        let patterns = names.iter().filter(|name| is_pattern(name));
        let patterns = Patterns::new(patterns.map(|it| (it.clone(), it.clone())).collect());
        Self { names, patterns }
    }

    /// By which of them a model is priced: its own, else the longest pattern that it fits.
    pub(super) fn price_of(&self, model: &str) -> Option<&str> {
        self.names.get(model).or_else(|| self.patterns.find(model)).map(String::as_str)
    }

    /// Which of these prices are of what a channel's entry serves, by their places.
    fn of_entry(&self, prices: &[&str], entry: &str) -> Vec<usize> {
        let of_pattern = is_pattern(entry);
        // A pattern as a name fits the patterns that cover it: what is covered by one that counts
        // first is not priced by another.
        let first = match of_pattern {
            true => self.patterns.find(entry).map(String::as_str),
            false => self.price_of(entry),
        };
        let is_priced = |price: &str| match (of_pattern, is_pattern(price)) {
            (false, _) => first == Some(price),
            (true, false) => matches(entry, price),
            (true, true) => {
                let is_left = first.is_none_or(|it| it == price || comes_after(it, price));
                is_left && overlap(price, entry)
            }
        };
        let all = prices.iter().enumerate();
        all.filter(|(_, price)| is_priced(price)).map(|(nth, _)| nth).collect()
    }
}

/// Whether a pattern counts after another one, so that it takes nothing from it.
fn comes_after(first: &str, price: &str) -> bool {
    (first.len(), price) < (price.len(), first)
}

/// Says of prices how much they are used.
pub(super) async fn add(state: &AdminState, prices: &mut [AbilityView]) -> Result<(), StoreError> {
    let priced = PricedNames::read(state, None).await?;
    let spent = lately::of_models(state).await?;
    let served = served_models(state).await?;
    let names: Vec<&str> = prices.iter().map(|price| price.model_name.as_str()).collect();
    let used = used(&priced, &names, &spent);
    let channels = channels(&priced, &names, &served);
    for ((price, used), channels) in prices.iter_mut().zip(used).zip(channels) {
        (price.channels, price.used_30d) = (Some(channels), Some(used));
    }
    Ok(())
}

fn used(priced: &PricedNames, names: &[&str], spent: &BTreeMap<String, Quota>) -> Vec<Quota> {
    let mut by_pattern: HashMap<&str, Quota> = HashMap::new();
    if names.iter().any(|name| is_pattern(name)) {
        for (model, spent) in spent {
            let name = priced.price_of(model).filter(|name| is_pattern(name));
            if let Some(name) = name {
                let so_far = by_pattern.entry(name).or_default();
                *so_far = so_far.sum_with(*spent);
            }
        }
    }
    let of = |name: &&str| match is_pattern(name) {
        true => by_pattern.get(name).copied(),
        false => spent.get(*name).copied(),
    };
    names.iter().map(|name| of(name).unwrap_or_default()).collect()
}

fn channels(priced: &PricedNames, names: &[&str], served: &[Vec<String>]) -> Vec<i64> {
    // Many channels have the same entries: each is looked at once.
    let mut prices_of: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut counts = vec![0; names.len()];
    for models in served {
        let mut serves = BTreeSet::new();
        for entry in models {
            let found = prices_of.entry(entry).or_insert_with(|| priced.of_entry(names, entry));
            serves.extend(found.iter().copied());
        }
        for nth in serves {
            counts[nth] += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_counts_for_the_prices_of_what_it_serves() {
        let all = ["gpt-4*", "gpt-4o*", "gpt-4o", "*", "claude"];
        let priced = PricedNames::new(all.iter().map(|name| (*name).to_owned()).collect());
        let of = |served: &[&[&str]]| {
            let served: Vec<Vec<String>> = served
                .iter()
                .map(|it| it.iter().map(|name| (*name).to_owned()).collect())
                .collect();
            channels(&priced, &all, &served)
        };
        assert_eq!(of(&[&["gpt-4o"]]), [0, 0, 1, 0, 0]);
        assert_eq!(of(&[&["gpt-4o-mini", "gpt-4o-big"]]), [0, 1, 0, 0, 0]);
        assert_eq!(of(&[&["gpt-*"], &["gpt-*", "gpt-4"]]), [2, 2, 2, 2, 0]);
        // All that it serves is priced by the longer pattern.
        assert_eq!(of(&[&["gpt-4o-*"]]), [0, 1, 0, 0, 0]);
        assert_eq!(of(&[&["gpt-4*"]]), [1, 1, 1, 0, 0]);
        assert_eq!(of(&[&["claude*"], &["other"]]), [0, 0, 0, 2, 1]);
        assert_eq!(of(&[&["org/*"]]), [0; 5]);
    }
}
