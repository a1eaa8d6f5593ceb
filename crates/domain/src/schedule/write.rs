//! Writes schedules: with a frozen price, where decimals are texts so that no reader takes them for
//! floats, and for columns, where they stand as numbers.

use super::{Schedule, Tier, TierCondition};
use crate::{Meter, Meters};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::fmt::Display;

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { meters, units, tiers } = self;
        let mut parts = serializer.serialize_map(None)?;
        if !meters.is_empty() {
            parts.serialize_entry("meters", &ByWord(meters))?;
        }
        if !units.is_empty() {
            parts.serialize_entry("units", &ByWord(units))?;
        }
        if !tiers.is_empty() {
            parts.serialize_entry("tiers", tiers)?;
        }
        parts.end()
    }
}

struct ByWord<'a, T>(&'a [(Meter, T)]);

impl<T: Serialize> Serialize for ByWord<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(meter, value)| (meter.as_str(), value)))
    }
}

impl Serialize for Tier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.when {
            TierCondition::Above { meter, count } => {
                map.serialize_entry("above", &Meters::from_iter([(*meter, *count)]))?;
            }
            TierCondition::Request { at, words, is } => {
                map.serialize_entry("at", &at.to_string())?;
                map.serialize_entry(if *is { "is" } else { "not" }, words)?;
            }
        }
        for (meter, factor) in &self.factors {
            map.serialize_entry(meter.as_str(), factor)?;
        }
        if let Some(factor) = &self.factor {
            map.serialize_entry("factor", factor)?;
        }
        map.end()
    }
}

/// The three parts for the columns of a price.
pub(super) fn parts(schedule: &Schedule) -> [String; 3] {
    let Schedule { meters, units, tiers } = schedule;
    let tiers: Vec<String> = tiers.iter().map(written).collect();
    [object(by_word(meters)), object(by_word(units)), format!("[{}]", tiers.join(","))]
}

fn written(tier: &Tier) -> String {
    let mut members = match &tier.when {
        TierCondition::Above { meter, count } => vec![format!(r#""above":{{"{meter}":{count}}}"#)],
        TierCondition::Request { at, words, is } => vec![
            format!(r#""at":{}"#, serde_json::Value::from(at.to_string())),
            format!(
                r#""{}":{}"#,
                if *is { "is" } else { "not" },
                serde_json::Value::from(words.clone())
            ),
        ],
    };
    members.extend(by_word(&tier.factors));
    members.extend(tier.factor.map(|factor| format!(r#""factor":{factor}"#)));
    object(members.into_iter())
}

fn by_word<T: Display>(of: &[(Meter, T)]) -> impl Iterator<Item = String> {
    of.iter().map(|(meter, value)| format!(r#""{meter}":{value}"#))
}

fn object(members: impl Iterator<Item = String>) -> String {
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}
