//! Usage: what an upstream says it did, and what we are ready to bill for.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;

/// More tokens than this in one call is a mistake of the upstream, not a bill.
const MAX_TOKENS: i64 = 1_000_000_000;

/// Usage as an upstream reports it: every field may be missing or null, and nothing is believed
/// yet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct UsageReport {
    prompt_tokens: Option<Number>,
    completion_tokens: Option<Number>,
    total_tokens: Option<Number>,
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
    #[serde(deserialize_with = "null_is_default")]
    completion_tokens_details: Details,
    #[serde(deserialize_with = "null_is_default")]
    output_tokens_details: Details,
    cost: Option<Number>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<Number>,
    image_tokens: Option<Number>,
    audio_tokens: Option<Number>,
    reasoning_tokens: Option<Number>,
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
    /// The part of the completion that was thought, not said. Noted, and billed as completion.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning_tokens: i64,
    /// What the upstream said the call cost it, in its own words. Noted only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_cost: Option<String>,
    /// What did not add up in the report. The parts are what is billed.
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
        /// What stood there.
        value: String,
    },
}

impl UsageReport {
    /// The report of a stream: `later` replaces this one. Only where it is silent about the prompt
    /// (Anthropic counts the prompt in a stream's first event) is the prompt of this one kept.
    pub fn supersede(&mut self, mut later: Self) {
        if later.prompt_tokens.is_none() && later.input_tokens.is_none() {
            later.prompt_tokens = self.prompt_tokens.take();
            later.input_tokens = self.input_tokens.take();
            later.prompt_cache_hit_tokens = self.prompt_cache_hit_tokens.take();
            later.cache_read_input_tokens = self.cache_read_input_tokens.take();
            later.cache_creation_input_tokens = self.cache_creation_input_tokens.take();
            later.prompt_tokens_details = std::mem::take(&mut self.prompt_tokens_details);
            later.input_tokens_details = std::mem::take(&mut self.input_tokens_details);
        }
        *self = later;
    }

    /// The counts that can be billed.
    ///
    /// # Errors
    /// When a count is absurd, or none is there.
    pub fn check(&self) -> Result<Usage, UsageError> {
        let prompt = count("prompt_tokens", self.prompt_tokens.as_ref())?;
        let input = count("input_tokens", self.input_tokens.as_ref())?;
        let completion = count("completion_tokens", self.completion_tokens.as_ref())?;
        let output = count("output_tokens", self.output_tokens.as_ref())?;
        if [prompt, input, completion, output].iter().all(Option::is_none) {
            return Err(UsageError::Empty);
        }
        let cache_read = count("cache_read_input_tokens", self.cache_read_input_tokens.as_ref())?;
        let cache_creation =
            count("cache_creation_input_tokens", self.cache_creation_input_tokens.as_ref())?
                .unwrap_or(0);
        let beside = cache_read.unwrap_or(0) + cache_creation;
        let mut usage = Usage {
            prompt_tokens: wins(input, prompt) + beside,
            completion_tokens: wins(output, completion),
            cached_tokens: match (cache_read, self.cache_hits()?) {
                (Some(read), _) => read,
                (None, hits) => hits,
            },
            image_tokens: self.prompt_detail("image_tokens", |d| d.image_tokens.as_ref())?,
            audio_tokens: self.prompt_detail("audio_tokens", |d| d.audio_tokens.as_ref())?,
            reasoning_tokens: self.reasoning()?,
            upstream_cost: self.cost.as_ref().map(Number::to_string),
            inconsistency: None,
        };
        usage.inconsistency = self.inconsistency(&usage)?;
        Ok(usage)
    }

    fn cache_hits(&self) -> Result<i64, UsageError> {
        match count("prompt_cache_hit_tokens", self.prompt_cache_hit_tokens.as_ref())? {
            Some(hits) => Ok(hits),
            None => self.prompt_detail("cached_tokens", |d| d.cached_tokens.as_ref()),
        }
    }

    fn prompt_detail(
        &self,
        field: &'static str,
        pick: impl Fn(&Details) -> Option<&Number>,
    ) -> Result<i64, UsageError> {
        let said = pick(&self.prompt_tokens_details).or(pick(&self.input_tokens_details));
        Ok(count(field, said)?.unwrap_or(0))
    }

    fn reasoning(&self) -> Result<i64, UsageError> {
        let said = self.completion_tokens_details.reasoning_tokens.as_ref();
        let said = said.or(self.output_tokens_details.reasoning_tokens.as_ref());
        Ok(count("reasoning_tokens", said)?.unwrap_or(0))
    }

    fn inconsistency(&self, usage: &Usage) -> Result<Option<String>, UsageError> {
        let parts = usage.cached_tokens + usage.image_tokens + usage.audio_tokens;
        if parts > usage.prompt_tokens {
            return Ok(Some(format!("parts {parts} exceed prompt {}", usage.prompt_tokens)));
        }
        let sum = usage.prompt_tokens + usage.completion_tokens;
        let total = count("total_tokens", self.total_tokens.as_ref())?;
        Ok(total.filter(|&t| t != sum).map(|t| format!("total {t} is not the sum {sum}")))
    }
}

impl Usage {
    /// The prompt without its cached, image and audio part. A report whose parts exceed their
    /// whole has no plain part: the parts are what is billed.
    #[must_use]
    pub fn plain_prompt_tokens(&self) -> i64 {
        (self.prompt_tokens - self.cached_tokens - self.image_tokens - self.audio_tokens).max(0)
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
    fn notes_what_does_not_add_up() {
        let lie = checked(r#"{"prompt_tokens":2,"completion_tokens":2,"total_tokens":9}"#);
        assert_eq!(lie.inconsistency.as_deref(), Some("total 9 is not the sum 4"));
        let lie = checked(r#"{"prompt_tokens":2,"prompt_cache_hit_tokens":3}"#);
        assert_eq!(lie.plain_prompt_tokens(), 0);
        assert!(lie.inconsistency.is_some());
    }

    #[test]
    fn the_last_report_of_a_stream_counts() {
        let mut seen = report(r#"{"prompt_tokens":5,"prompt_cache_hit_tokens":4}"#);
        seen.supersede(report(r#"{"prompt_tokens":6,"completion_tokens":1}"#));
        let usage = seen.check().unwrap();
        assert_eq!((usage.prompt_tokens, usage.cached_tokens), (6, 0));

        let mut claude = report(r#"{"input_tokens":11,"output_tokens":1}"#);
        claude.supersede(report(r#"{"output_tokens":40}"#));
        let usage = claude.check().unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (11, 40));
    }
}
