//! Reads schedules as operators write them, and as frozen prices keep them.

use super::{RequestMember, RequestPlace, Schedule, Tier, TierCondition};
use crate::Meter;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::str::FromStr;

/// Longest text of one part, in bytes.
const MAX_BYTES: usize = 16 * 1024;
const MAX_TIERS: usize = 64;
/// Most things that tiers of one schedule look at: each may add a factor.
const MAX_LOOKED_AT: usize = 8;
const MAX_WORDS: usize = 64;
const MAX_WORD_BYTES: usize = 100;
/// Deepest member of a request that is looked at.
const MAX_NAMES: usize = 8;
/// Largest count that can be billed.
const MAX_COUNT: i64 = 1_000_000_000;
/// Largest exponent of a number that is compared.
const MAX_EXPONENT: i64 = 1_000_000;

/// Why a text is not a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at} {why}")]
pub struct ScheduleError {
    /// Where: `meters.cache_writ`, `tiers.0.at`.
    pub at: String,
    /// What is wrong there.
    pub why: String,
}

type Parsed<T> = Result<T, ScheduleError>;

fn wrong<T>(at: impl Into<String>, why: impl Into<String>) -> Parsed<T> {
    Err(ScheduleError { at: at.into(), why: why.into() })
}

impl Schedule {
    /// Reads the three parts, each JSON: an object by meter, an object by unit, a list of tiers.
    /// `None`: there is nothing in them.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(meters: &str, units: &str, tiers: &str) -> Parsed<Option<Self>> {
        let schedule = Self {
            meters: by_word("meters", meters, priced_meter)?,
            units: by_word("units", units, priced_unit)?,
            tiers: read_tiers(tiers)?,
        };
        let is_empty = schedule == Self::default();
        Ok(Some(schedule).filter(|_| !is_empty))
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Parts {
            meters: Option<Box<RawValue>>,
            units: Option<Box<RawValue>>,
            tiers: Option<Box<RawValue>>,
        }
        let parts = Parts::deserialize(from)?;
        let text = |part: &Option<Box<RawValue>>| {
            part.as_ref().map(|raw| raw.get().to_owned()).unwrap_or_default()
        };
        let parsed = Self::parse(&text(&parts.meters), &text(&parts.units), &text(&parts.tiers));
        parsed.map(Option::unwrap_or_default).map_err(D::Error::custom)
    }
}

/// The JSON of a part; none where it is empty.
fn part<'a>(name: &str, text: &'a str) -> Parsed<Option<&'a RawValue>> {
    let text = text.trim();
    if text.is_empty() || text == "null" {
        return Ok(None);
    }
    if text.len() > MAX_BYTES {
        return wrong(name, format!("is longer than {MAX_BYTES} bytes"));
    }
    let malformed = |error: serde_json::Error| ScheduleError {
        at: name.to_owned(),
        why: format!("is not JSON: line {} column {}", error.line(), error.column()),
    };
    serde_json::from_str(text).map(Some).map_err(malformed)
}

fn by_word<T: FromStr<Err: fmt::Display>>(
    name: &str,
    text: &str,
    meter: fn(&str) -> Result<Meter, String>,
) -> Parsed<Vec<(Meter, T)>> {
    let Some(raw) = part(name, text)? else { return Ok(Vec::new()) };
    let mut read = Vec::new();
    for (word, value) in members(name, raw)? {
        let at = format!("{name}.{word}");
        match meter(&word) {
            Ok(meter) => read.push((meter, decimal(&at, &value)?)),
            Err(why) => return wrong(at, why),
        }
    }
    read.sort_by_key(|(meter, _)| *meter);
    Ok(read)
}

/// A meter that may have a worth of its own.
fn priced_meter(word: &str) -> Result<Meter, String> {
    match Meter::parse(word) {
        Ok(Meter::Input) => Err("is what the others are measured in: ratio is its price".into()),
        Ok(meter) if meter.is_tokens() && meter != Meter::Total => Ok(meter),
        Ok(meter) if !meter.is_tokens() => {
            Err("is not a count of tokens; units has its price".into())
        }
        _ => Err(unknown(&|it| it.is_tokens() && !matches!(it, Meter::Input | Meter::Total))),
    }
}

/// A unit that may have a price.
fn priced_unit(word: &str) -> Result<Meter, String> {
    match Meter::parse(word) {
        Ok(meter) if !meter.is_tokens() => Ok(meter),
        Ok(meter) if meter != Meter::Total => {
            Err("counts tokens; meters has its worth, and ratio their price".into())
        }
        _ => Err(unknown(&|it| !it.is_tokens())),
    }
}

/// A meter or unit that a tier may have a factor for.
fn tier_meter(word: &str) -> Result<Meter, String> {
    let known = Meter::parse(word).ok().filter(|meter| *meter != Meter::Total);
    known.ok_or_else(|| unknown(&|it| it != Meter::Total))
}

fn unknown(fits: &dyn Fn(Meter) -> bool) -> String {
    let known: Vec<_> = Meter::ALL.into_iter().filter(|it| fits(*it)).map(Meter::as_str).collect();
    format!("is not known; there are {}", known.join(", "))
}

fn read_tiers(text: &str) -> Parsed<Vec<Tier>> {
    let Some(raw) = part("tiers", text)? else { return Ok(Vec::new()) };
    let all: Vec<Box<RawValue>> = match serde_json::from_str(raw.get()) {
        Ok(all) => all,
        Err(_) => return wrong("tiers", "is not a list"),
    };
    if all.len() > MAX_TIERS {
        return wrong("tiers", format!("has more than {MAX_TIERS} tiers"));
    }
    let mut tiers: Vec<Tier> = Vec::new();
    for (number, raw) in all.iter().enumerate() {
        let at = format!("tiers.{number}");
        let tier = read_tier(&at, raw)?;
        check_order(&at, &tiers, &tier)?;
        tiers.push(tier);
    }
    let first = |at: &usize| !tiers[..*at].iter().any(|it| it.looks_at_same(&tiers[*at]));
    if (0..tiers.len()).filter(first).count() > MAX_LOOKED_AT {
        return wrong("tiers", format!("look at more than {MAX_LOOKED_AT} things"));
    }
    Ok(tiers)
}

/// Of tiers above counts of one meter the last that holds counts, so they have to ascend.
fn check_order(at: &str, before: &[Tier], tier: &Tier) -> Parsed<()> {
    let TierCondition::Above { meter, count } = &tier.when else { return Ok(()) };
    let ascends = before.iter().all(|it| match &it.when {
        TierCondition::Above { meter: other, count: less } => other != meter || less < count,
        TierCondition::Request { .. } => true,
    });
    if ascends { Ok(()) } else { wrong(at, "is above a lower count than a tier before it") }
}

fn read_tier(at: &str, raw: &RawValue) -> Parsed<Tier> {
    let (mut above, mut place, mut is, mut not) = (None, None, None, None);
    let (mut factor, mut factors) = (None, Vec::new());
    for (word, value) in members(at, raw)? {
        let within = format!("{at}.{word}");
        match word.as_str() {
            "above" => above = Some(read_above(&within, &value)?),
            "at" => place = Some(member(&within, &value)?),
            "is" => is = Some(words(&within, &value)?),
            "not" => not = Some(words(&within, &value)?),
            "factor" => factor = Some(decimal(&within, &value)?),
            word => match tier_meter(word) {
                Ok(meter) => factors.push((meter, decimal(&within, &value)?)),
                Err(why) => return wrong(within, format!("{why}, and above, at, is, not, factor")),
            },
        }
    }
    factors.sort_by_key(|(meter, _)| *meter);
    let when = match (above, place, is, not) {
        (Some((meter, count)), None, None, None) => TierCondition::Above { meter, count },
        (None, Some(at), Some(words), None) => TierCondition::Request { at, words, is: true },
        (None, Some(at), None, Some(words)) => TierCondition::Request { at, words, is: false },
        _ => return wrong(at, "has to have above, or at with is, or at with not"),
    };
    if factor.is_none() && factors.is_empty() {
        return wrong(at, "has no factor");
    }
    Ok(Tier { when, factor, factors })
}

fn read_above(at: &str, raw: &RawValue) -> Parsed<(Meter, i64)> {
    let mut all = members(at, raw)?.into_iter();
    let (Some((word, value)), None) = (all.next(), all.next()) else {
        return wrong(at, "names one meter and its count, as {\"input\": 200000}");
    };
    let within = format!("{at}.{word}");
    let meter = match tier_meter(&word) {
        Ok(meter) => meter,
        Err(why) => return wrong(within, why),
    };
    match value.get().parse() {
        Ok(count @ 0..=MAX_COUNT) => Ok((meter, count)),
        _ => wrong(within, format!("is not a whole number from 0 to {MAX_COUNT}")),
    }
}

/// `body:/size`: names from the top of the body, as in a JSON pointer; `query:NAME`, `path:NAME`.
fn member(at: &str, raw: &RawValue) -> Parsed<RequestMember> {
    let text: String = match serde_json::from_str(raw.get()) {
        Ok(text) => text,
        Err(_) => return wrong(at, "is not a text"),
    };
    for (front, place) in [("query:", RequestPlace::Query), ("path:", RequestPlace::Path)] {
        let Some(name) = text.strip_prefix(front) else { continue };
        let is_odd = |c: char| matches!(c, '&' | '=' | ';' | '?' | '#' | '{' | '}' | '/' | ' ');
        if !is_word(name) || name.contains(is_odd) {
            return wrong(at, format!("is not {front}NAME"));
        }
        return Ok(RequestMember { place, names: vec![name.to_owned()] });
    }
    let Some(path) = text.strip_prefix("body:/") else {
        return wrong(at, "is not body:/NAME, body:/NAME/NAME, query:NAME or path:NAME");
    };
    let decoded = |name: &str| name.replace("~1", "/").replace("~0", "~");
    let names: Vec<String> = path.split('/').map(decoded).collect();
    let fits = |name: &String| is_word(name);
    if names.len() > MAX_NAMES || !names.iter().all(fits) {
        return wrong(at, format!("has more than {MAX_NAMES} names, or an empty, long or odd one"));
    }
    Ok(RequestMember { place: RequestPlace::Body, names })
}

/// One word, or a list of them: texts, numbers, `true` and `false`.
fn words(at: &str, raw: &RawValue) -> Parsed<Vec<String>> {
    let all: Vec<Box<RawValue>> = match raw.get().starts_with('[') {
        true => serde_json::from_str(raw.get()).unwrap_or_default(),
        false => vec![raw.to_owned()],
    };
    let mut words = Vec::new();
    for raw in &all {
        let text = raw.get();
        let word: Option<String> = match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text).ok(),
            Some(b'{' | b'[' | b'n') => None,
            _ => Some(text.to_owned()),
        };
        match word.filter(|word| is_word(word)) {
            Some(word) => words.push(word),
            None => {
                return wrong(at, "has to be a text, a number, true or false, or a list of them");
            }
        }
    }
    if words.is_empty() || words.len() > MAX_WORDS {
        return wrong(at, format!("has no word, or more than {MAX_WORDS}"));
    }
    Ok(words)
}

/// Whether a word may be printed within the brackets of a calculation.
fn is_word(text: &str) -> bool {
    let is_odd = |c: char| c.is_control() || matches!(c, '[' | ']');
    (1..=MAX_WORD_BYTES).contains(&text.len()) && !text.contains(is_odd)
}

/// A decimal, from its digits: a number, or a text.
fn decimal<T: FromStr<Err: fmt::Display>>(at: &str, raw: &RawValue) -> Parsed<T> {
    let text = raw.get();
    let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    digits.parse().or_else(|why: T::Err| wrong(at, format!("is {why}")))
}

/// The members of an object, in order. None may come twice.
fn members(at: &str, raw: &RawValue) -> Parsed<Vec<(String, Box<RawValue>)>> {
    struct Collect;
    impl<'de> Visitor<'de> for Collect {
        type Value = Vec<(String, Box<RawValue>)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }
    let mut from = serde_json::Deserializer::from_str(raw.get());
    let Ok(members) = from.deserialize_map(Collect) else { return wrong(at, "is not an object") };
    for (number, (name, _)) in members.iter().enumerate() {
        if members[..number].iter().any(|(other, _)| other == name) {
            return wrong(format!("{at}.{name}"), "appears twice");
        }
    }
    Ok(members)
}

/// A number in its shortest form, however it is written: its sign, its digits without zeros at
/// either end, and the power of ten of the last one.
pub(super) fn number(text: &str) -> Option<(bool, String, i64)> {
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return None;
    }
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, places) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{places}");
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let exponent: i64 = exponent.parse().ok().filter(|it: &i64| it.abs() <= MAX_EXPONENT)?;
    let short = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - short.len()).ok()?;
    let power = exponent - i64::try_from(places.len()).ok()? + zeros;
    match short.trim_start_matches('0') {
        "" => Some((false, String::new(), 0)),
        digits => Some((negative, digits.to_owned(), power)),
    }
}
