//! Usage: what an upstream reports, and what of it is billed.

use crate::Meters;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// More tokens than this in one call is a mistake of the upstream, not a bill.
const MAX_TOKENS: i64 = 1_000_000_000;
/// Longest text that is kept of an upstream's own amount, in characters.
const MAX_COST_CHARS: usize = 40;

/// Usage as an upstream reports it: every field may be missing or null, and none is validated yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsageReport {
    counts: Counts,
    noted: Noted,
}

/// The members that are billed. One that can't be parsed makes the report unusable.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Counts {
    prompt_tokens: Option<Number>,
    completion_tokens: Option<Number>,
    /// Anthropic's and the Responses API's name for the prompt; wins when above 0.
    input_tokens: Option<Number>,
    /// The same for the completion.
    output_tokens: Option<Number>,
    /// DeepSeek's name for the cached part of the prompt.
    prompt_cache_hit_tokens: Option<Number>,
    /// Anthropic counts these beside `input_tokens`, not within.
    cache_read_input_tokens: Option<Number>,
    /// Likewise.
    cache_creation_input_tokens: Option<Number>,
    #[serde(deserialize_with = "null_is_default")]
    prompt_tokens_details: Details,
    #[serde(deserialize_with = "null_is_default")]
    input_tokens_details: Details,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<Number>,
    image_tokens: Option<Number>,
    audio_tokens: Option<Number>,
}

/// Members that are only noted. They may hold anything, and never make a report unusable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Noted {
    total_tokens: Option<i64>,
    reasoning_tokens: Option<i64>,
    cost: Option<String>,
}

/// Checked counts: what a call is billed for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The whole prompt, with its cached, image and audio parts.
    pub prompt_tokens: i64,
    /// The whole completion.
    pub completion_tokens: i64,
    /// The part of the prompt that came from the upstream's cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_tokens: i64,
    /// The part of the prompt that was images.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image_tokens: i64,
    /// The part of the prompt that was sound.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub audio_tokens: i64,
    /// The reasoning part of the completion. Noted, and billed as completion.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning_tokens: i64,
    /// Every count, where the price asks for more than the sums above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meters: Option<Box<Meters>>,
    /// What the call cost the upstream's owner, as the upstream wrote it. Noted only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_cost: Option<String>,
    /// What is inconsistent in the report. The parts are what is billed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inconsistency: Option<String>,
}

/// Why a report can't be billed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// Neither a prompt nor a completion is counted.
    #[error("usage has no token counts")]
    Empty,
    /// Negative, fractional, or above a thousand million.
    #[error("usage.{field} is {value}")]
    Absurd {
        /// The field's name.
        field: &'static str,
        /// The value found.
        value: String,
    },
}

impl<'de> Deserialize<'de> for UsageReport {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // Parsed twice, so that what is only noted can't spoil what is billed.
        let text = Box::<RawValue>::deserialize(from)?;
        let counts = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        Ok(Self { counts, noted: Noted::read(text.get()) })
    }
}

impl Noted {
    fn read(json: &str) -> Self {
        /// Not decoded: a member may be out of any range, and nested to any depth.
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members<'a> {
            #[serde(borrow)]
            total_tokens: Option<&'a RawValue>,
            #[serde(borrow)]
            completion_tokens_details: Option<&'a RawValue>,
            #[serde(borrow)]
            output_tokens_details: Option<&'a RawValue>,
            #[serde(borrow)]
            cost: Option<&'a RawValue>,
            #[serde(borrow)]
            reasoning_tokens: Option<&'a RawValue>,
        }
        let members: Members<'_> = serde_json::from_str(json).unwrap_or_default();
        let reasoning = |details: Option<&RawValue>| {
            let within: Members<'_> = serde_json::from_str(details?.get()).ok()?;
            noted_count(within.reasoning_tokens?)
        };
        Self {
            total_tokens: members.total_tokens.and_then(noted_count),
            reasoning_tokens: reasoning(members.completion_tokens_details)
                .or_else(|| reasoning(members.output_tokens_details)),
            cost: members.cost.and_then(noted_amount),
        }
    }

    fn inconsistency(&self, usage: &Usage) -> Option<String> {
        let parts = usage.cached_tokens + usage.image_tokens + usage.audio_tokens;
        if parts > usage.prompt_tokens {
            return Some(format!("parts {parts} exceed prompt {}", usage.prompt_tokens));
        }
        let sum = usage.prompt_tokens + usage.completion_tokens;
        let total = self.total_tokens.filter(|&total| total != sum)?;
        Some(format!("total {total} is not the sum {sum}"))
    }
}

fn noted_count(member: &RawValue) -> Option<i64> {
    member.get().parse().ok().filter(|count| (0..=MAX_TOKENS).contains(count))
}

/// An amount in its original spelling, a number or a string.
fn noted_amount(member: &RawValue) -> Option<String> {
    let text = member.get().trim_matches('"');
    let is_amount = |b: u8| b.is_ascii_alphanumeric() || b"+-., $".contains(&b);
    let fits = (1..=MAX_COST_CHARS).contains(&text.len()) && text.bytes().all(is_amount);
    (fits && text != "null").then(|| text.to_owned())
}

impl UsageReport {
    /// The counts that can be billed.
    ///
    /// # Errors
    /// When a count is absurd, or none is there.
    pub fn check(&self) -> Result<Usage, UsageError> {
        let Self { counts, noted } = self;
        let prompt = count("prompt_tokens", counts.prompt_tokens.as_ref())?;
        let input = count("input_tokens", counts.input_tokens.as_ref())?;
        let completion = count("completion_tokens", counts.completion_tokens.as_ref())?;
        let output = count("output_tokens", counts.output_tokens.as_ref())?;
        if [prompt, input, completion, output].iter().all(Option::is_none) {
            return Err(UsageError::Empty);
        }
        let cache_read = count("cache_read_input_tokens", counts.cache_read_input_tokens.as_ref())?;
        let cache_creation =
            count("cache_creation_input_tokens", counts.cache_creation_input_tokens.as_ref())?;
        let beside = cache_read.unwrap_or(0) + cache_creation.unwrap_or(0);
        let mut usage = Usage {
            prompt_tokens: wins(input, prompt) + beside,
            completion_tokens: wins(output, completion),
            cached_tokens: cache_read.filter(|read| *read > 0).unwrap_or(counts.cache_hits()?),
            image_tokens: counts.prompt_detail("image_tokens", |d| d.image_tokens.as_ref())?,
            audio_tokens: counts.prompt_detail("audio_tokens", |d| d.audio_tokens.as_ref())?,
            reasoning_tokens: noted.reasoning_tokens.unwrap_or(0),
            meters: None,
            upstream_cost: noted.cost.clone(),
            inconsistency: None,
        };
        usage.inconsistency = noted.inconsistency(&usage);
        Ok(usage)
    }
}

impl Counts {
    fn cache_hits(&self) -> Result<i64, UsageError> {
        let detail = self.prompt_detail("cached_tokens", |d| d.cached_tokens.as_ref())?;
        let hits = count("prompt_cache_hit_tokens", self.prompt_cache_hit_tokens.as_ref())?;
        // A spelling that says 0 hides no other.
        Ok(hits.filter(|hits| *hits > 0).unwrap_or(detail))
    }

    fn prompt_detail(
        &self,
        field: &'static str,
        pick: impl Fn(&Details) -> Option<&Number>,
    ) -> Result<i64, UsageError> {
        let said = pick(&self.prompt_tokens_details).or(pick(&self.input_tokens_details));
        Ok(count(field, said)?.unwrap_or(0))
    }
}

/// How what is inconsistent in a usage begins where its tokens were counted here.
const ESTIMATED: &str = "estimated: ";

impl Usage {
    /// Says that tokens of it were counted here, and why.
    #[must_use]
    pub fn estimated(self, why: impl std::fmt::Display) -> Self {
        Self { inconsistency: Some(format!("{ESTIMATED}{why}")), ..self }
    }

    /// Whether tokens of it were counted here, and not by its upstream.
    #[must_use]
    pub fn is_estimated(&self) -> bool {
        self.inconsistency.as_deref().is_some_and(|why| why.starts_with(ESTIMATED))
    }

    /// The prompt without its cached, image and audio part. A report whose parts exceed their
    /// whole has no plain part: the parts are what is billed.
    #[must_use]
    pub fn plain_prompt_tokens(&self) -> i64 {
        (self.prompt_tokens - self.cached_tokens - self.image_tokens - self.audio_tokens).max(0)
    }

    /// The same with every count. `meters` were read of the same report.
    #[must_use]
    pub fn with_meters(self, meters: Meters) -> Self {
        let Some(sums) = meters.usage() else {
            let all = Meters::from(&self).iter().chain(meters.iter()).collect();
            return Self { meters: Some(Box::new(all)), ..self };
        };
        let Self { upstream_cost, inconsistency, .. } = self;
        Self { meters: Some(Box::new(meters)), upstream_cost, inconsistency, ..sums }
    }

    /// Whether it counts tokens at all, and not units alone.
    #[must_use]
    pub fn counts_tokens(&self) -> bool {
        self.meters.as_ref().is_none_or(|meters| meters.usage().is_some())
    }

    /// The counts by meter.
    #[must_use]
    pub fn counted(&self) -> Cow<'_, Meters> {
        match &self.meters {
            Some(meters) => Cow::Borrowed(meters),
            None => Cow::Owned(Meters::from(self)),
        }
    }
}

/// `input_tokens` and `output_tokens` win when they are there and above 0.
fn wins(newer: Option<i64>, older: Option<i64>) -> i64 {
    newer.filter(|&n| n > 0).or(older).or(newer).unwrap_or(0)
}

fn count(field: &'static str, value: Option<&Number>) -> Result<Option<i64>, UsageError> {
    let Some(value) = value else { return Ok(None) };
    match value.as_i64() {
        Some(n @ 0..=MAX_TOKENS) => Ok(Some(n)),
        _ => Err(UsageError::Absurd { field, value: value.to_string() }),
    }
}

fn null_is_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Details, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
const fn is_zero(n: &i64) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(json: &str) -> UsageReport {
        serde_json::from_str(json).unwrap()
    }

    fn checked(json: &str) -> Usage {
        report(json).check().unwrap()
    }

    #[test]
    fn reads_openai() {
        let usage = checked(
            r#"{"prompt_tokens":24,"completion_tokens":32,"total_tokens":56,
                "prompt_tokens_details":{"cached_tokens":4,"audio_tokens":null,"text_tokens":20},
                "completion_tokens_details":{"reasoning_tokens":8},"cost":0.0012}"#,
        );
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (24, 32));
        assert_eq!((usage.cached_tokens, usage.plain_prompt_tokens()), (4, 20));
        assert_eq!((usage.reasoning_tokens, usage.inconsistency), (8, None));
        assert_eq!(usage.upstream_cost.as_deref(), Some("0.0012"));
    }

    #[test]
    fn reads_deepseek_anthropic_and_responses() {
        assert_eq!(checked(r#"{"prompt_tokens":9,"prompt_cache_hit_tokens":5}"#).cached_tokens, 5);
        let claude =
            checked(r#"{"input_tokens":10,"output_tokens":3,"cache_read_input_tokens":90}"#);
        assert_eq!((claude.prompt_tokens, claude.cached_tokens), (100, 90));
        let responses = checked(
            r#"{"input_tokens":7,"output_tokens":2,"total_tokens":9,
                "input_tokens_details":{"cached_tokens":3}}"#,
        );
        assert_eq!((responses.prompt_tokens, responses.cached_tokens), (7, 3));
        let both = checked(
            r#"{"input_tokens":9,"output_tokens":1,"cache_read_input_tokens":0,
                "prompt_cache_hit_tokens":4}"#,
        );
        assert_eq!(both.cached_tokens, 4, "a spelling that says 0 hides no other");
    }

    #[test]
    fn input_and_output_win_only_above_zero() {
        let usage = checked(
            r#"{"prompt_tokens":5,"input_tokens":0,"completion_tokens":6,"output_tokens":7}"#,
        );
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (5, 7));
    }

    #[test]
    fn refuses_absurd_counts() {
        for json in [
            r#"{"prompt_tokens":-1}"#,
            r#"{"prompt_tokens":1.5}"#,
            r#"{"completion_tokens":1000000001}"#,
            r#"{"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":-3}}"#,
            r#"{"prompt_tokens":99999999999999999999999}"#,
        ] {
            assert!(matches!(report(json).check(), Err(UsageError::Absurd { .. })), "{json}");
        }
        assert_eq!(report("{}").check(), Err(UsageError::Empty));
        assert!(serde_json::from_str::<UsageReport>(r#"{"prompt_tokens":"5"}"#).is_err());
    }

    #[test]
    fn what_is_only_noted_makes_no_report_unusable() {
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        for noted in [
            r#""cost":"a \ud800""#,
            r#""cost":1e999"#,
            r#""cost":1,"cost":2"#,
            &format!(r#""cost":{deep}"#),
            r#""total_tokens":-1,"completion_tokens_details":[]"#,
            r#""output_tokens_details":{"reasoning_tokens":99999999999999999999}"#,
        ] {
            let usage = checked(&format!(r#"{{"prompt_tokens":1,{noted}}}"#));
            assert_eq!((usage.prompt_tokens, usage.reasoning_tokens), (1, 0), "{noted}");
        }
        let cost = |json: &str| checked(&format!(r#"{{"prompt_tokens":1,"cost":{json}}}"#));
        assert_eq!(cost("\"$0.01\"").upstream_cost.as_deref(), Some("$0.01"));
        assert_eq!(cost("1e999").upstream_cost.as_deref(), Some("1e999"));
        for nothing in ["null", "{}", "[1]", "\"\"", "\"\\u0000\"", "\"<b>\""] {
            assert_eq!(cost(nothing).upstream_cost, None, "{nothing}");
        }
    }

    #[test]
    fn notes_what_does_not_add_up() {
        let lie = checked(r#"{"prompt_tokens":2,"completion_tokens":2,"total_tokens":9}"#);
        assert_eq!(lie.inconsistency.as_deref(), Some("total 9 is not the sum 4"));
        let lie = checked(r#"{"prompt_tokens":2,"prompt_cache_hit_tokens":3}"#);
        assert_eq!(lie.plain_prompt_tokens(), 0);
        assert!(lie.inconsistency.is_some());
    }
}
