//! Rules for the fields of a channel. Applied when rows are read from the database, and by the
//! administrative calls before they write.

use crate::Secret;
use crate::patterns;
use domain::{ModelName, StatusWords, millis};
use foldhash::HashMap;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;

/// Longest timeout of a channel: a day; longer is a mistake.
pub const TIMEOUT_MAX_MS: u64 = 24 * 3600 * 1000;
/// Most further channels that may be tried: as many as any installation has for one model.
pub const RETRY_MAX: u32 = 100;
/// Most calls at the same time: more than a node lets in.
pub const CONCURRENCY_MAX: u32 = 1_000_000;

/// Why a field can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct FieldError {
    /// The field, `setting.timeout` for one within.
    pub field: String,
    /// What is wrong, and what is allowed.
    pub why: String,
}

impl FieldError {
    fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }
}

/// How estimates are requested from a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precharge {
    /// With `?precharge=true`, under `/pass` alone: elsewhere the protocol says how much is held.
    #[default]
    PassQuery,
    /// With `?precharge=true`.
    Query,
    /// With a member `"precharge": true` in the JSON body.
    Body,
    /// Never.
    Off,
}

/// The column `setting`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelSetting {
    /// How long the upstream may take, instead of the general setting.
    pub timeout_ms: Option<u64>,
    /// How many further channels may be tried after this one failed.
    pub retry_count: Option<u32>,
    /// The proxy to go through. May hold a password.
    pub proxy: Option<Secret>,
    /// How estimates are requested.
    pub precharge: Precharge,
    /// Calls at the same time; none: no limit.
    pub concurrency: Option<u32>,
    /// Usage is not asked for where a client's stream does not ask for it.
    pub leaves_usage_unasked: bool,
    /// The upstream honours `Idempotency-Key`: a submission that a crash left open is repeated.
    pub idempotent: bool,
}

/// The items of a comma list: trimmed, without empty ones, each once, in order.
#[must_use]
pub fn list(text: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    let items = text.split([',', '，', '\n']).map(str::trim).filter(|item| !item.is_empty());
    items.filter(|item| seen.insert(*item)).map(ToOwned::to_owned).collect()
}

/// The column `models`.
///
/// # Errors
/// The first name that no client could request.
pub fn models(text: &str) -> Result<Vec<String>, FieldError> {
    let models = list(text);
    for model in &models {
        model_name("models", model)?;
    }
    Ok(models)
}

fn model_name(field: &str, name: &str) -> Result<(), FieldError> {
    if patterns::is_pattern(name) && !patterns::can_match(name) {
        return Err(FieldError::new(field, format!("{name:?} is a pattern that no model can fit")));
    }
    let named = ModelName::parse(name);
    named.map(drop).map_err(|error| FieldError::new(field, format!("{name:?} {error}")))
}

/// A key as it is typed: surrounding blanks don't count.
///
/// # Errors
/// When it holds characters that a header can't.
pub fn key(text: &str) -> Result<Secret, FieldError> {
    let key = text.trim();
    if key.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(FieldError::new("key", "has blanks or line breaks inside"));
    }
    if !key.is_ascii() {
        return Err(FieldError::new("key", "has characters that a header can't carry"));
    }
    Ok(Secret::from(key))
}

/// In the column `other`: the caller's key goes in no header.
pub const NO_USER_TOKEN: &str = "-";

/// The column `other`: the name of the header that carries the caller's key, or
/// [`NO_USER_TOKEN`].
///
/// # Errors
/// When it is no header's name, or one that newapi sets itself.
pub fn user_token_header(text: &str) -> Result<Option<String>, FieldError> {
    const OURS: [&str; 9] = [
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    let name = text.trim();
    if name.is_empty() {
        return Ok(None);
    }
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !name.bytes().all(token) || name.len() > 100 {
        return Err(FieldError::new("other", "is not the name of a header"));
    }
    if OURS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(FieldError::new("other", format!("{name} is set by newapi itself")));
    }
    Ok(Some(name.to_owned()))
}

/// An object as a list, in order, with each value's text unchanged.
struct RawObject(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = RawObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(RawObject(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

fn object(field: &str, text: &str) -> Result<Vec<(String, Box<RawValue>)>, FieldError> {
    let text = text.trim();
    if text.is_empty() || text == "null" {
        return Ok(Vec::new());
    }
    let read: Result<RawObject, _> = serde_json::from_str(text);
    read.map(|object| object.0)
        .map_err(|error| FieldError::new(field, format!("is not a JSON object: {error}")))
}

/// A string as such, a number or boolean as its text.
fn scalar(raw: &RawValue) -> Option<String> {
    match serde_json::from_str::<serde_json::Value>(raw.get()).ok()? {
        serde_json::Value::String(text) => Some(text.trim().to_owned()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The column `model_mapping`: requested model → model sent.
///
/// # Errors
/// When it isn't an object of names.
pub fn model_mapping(text: &str) -> Result<HashMap<String, String>, FieldError> {
    const FIELD: &str = "model_mapping";
    let mut mapping = HashMap::default();
    for (asked, sent) in object(FIELD, text)? {
        let sent: String = serde_json::from_str(sent.get())
            .map_err(|_| FieldError::new(FIELD, format!("{asked:?} is not mapped to text")))?;
        model_name(FIELD, &asked)?;
        model_name(FIELD, &sent)?;
        mapping.insert(asked, sent);
    }
    Ok(mapping)
}

/// The column `param_override`: members for JSON bodies, each value's text unchanged.
///
/// # Errors
/// When it isn't an object.
pub fn param_override(text: &str) -> Result<Vec<(String, String)>, FieldError> {
    let members = object("param_override", text)?;
    Ok(members.into_iter().map(|(name, raw)| (name, raw.get().to_owned())).collect())
}

/// The column `status_code_mapping`: upstream's status → ours. Numbers may be text.
///
/// # Errors
/// When it isn't an object of statuses.
pub fn status_code_mapping(text: &str) -> Result<HashMap<u16, u16>, FieldError> {
    const FIELD: &str = "status_code_mapping";
    let status = |text: &str, lowest: u16| {
        let read = text.trim().parse().ok().filter(|status| (lowest..=599).contains(status));
        read.ok_or_else(|| FieldError::new(FIELD, format!("{text:?} is not a status")))
    };
    let mut mapping = HashMap::default();
    for (from, to) in object(FIELD, text)? {
        let to = scalar(&to).unwrap_or_default();
        mapping.insert(status(&from, 100)?, status(&to, 200)?);
    }
    Ok(mapping)
}

/// The column `custompass_status_mapping`: words as a comma text or an array.
///
/// # Errors
/// When it isn't an object of words.
pub fn status_words(text: &str) -> Result<Option<StatusWords>, FieldError> {
    const FIELD: &str = "custompass_status_mapping";
    let members = object(FIELD, text)?;
    if members.is_empty() {
        return Ok(None);
    }
    let mut words = StatusWords::default();
    for (name, raw) in members {
        let said = match serde_json::from_str::<serde_json::Value>(raw.get()) {
            Ok(serde_json::Value::String(text)) => list(&text),
            Ok(serde_json::Value::Array(items)) => {
                let items = items.iter().map(|item| item.as_str().map(ToOwned::to_owned));
                let items: Option<Vec<String>> = items.collect();
                items.ok_or_else(|| FieldError::new(FIELD, format!("{name:?} is not text")))?
            }
            _ => return Err(FieldError::new(FIELD, format!("{name:?} is not text"))),
        };
        match name.as_str() {
            "success" => words.success = said,
            "failed" => words.failed = said,
            "processing" => words.processing = said,
            _ => {
                let why = format!("{name:?} is none of success, failed, processing");
                return Err(FieldError::new(FIELD, why));
            }
        }
    }
    Ok(Some(words))
}

const SWITCH: &str = "must be true or false";

fn switch(raw: &RawValue) -> Option<bool> {
    match raw.get() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// The column `setting`, and the names of its unknown members. `precharge` holds where the column
/// does not set it: an estimate call is CustomPass's, and other APIs don't know it.
///
/// # Errors
/// When a known member can't be used.
pub fn setting(
    text: &str,
    precharge: Precharge,
) -> Result<(ChannelSetting, Vec<String>), FieldError> {
    let mut setting = ChannelSetting { precharge, ..ChannelSetting::default() };
    let mut unknown = Vec::new();
    for (name, raw) in object("setting", text)? {
        let field = format!("setting.{name}");
        let bad = |why: &str| FieldError::new(&field, why);
        let value = scalar(&raw).filter(|text| !text.is_empty());
        if raw.get() == "null" || raw.get() == "\"\"" {
            continue;
        }
        match name.as_str() {
            "timeout" => {
                let ms = value.as_deref().and_then(millis);
                let ms = ms.filter(|ms| (1..=TIMEOUT_MAX_MS).contains(ms));
                setting.timeout_ms = Some(ms.ok_or_else(|| bad("must be 30, \"30s\" or \"2m\""))?);
            }
            "retry_count" => setting.retry_count = Some(count(value, RETRY_MAX, &field)?),
            "concurrency" => {
                // 0 is how a form writes "no limit".
                let limit = count(value, CONCURRENCY_MAX, &field)?;
                setting.concurrency = Some(limit).filter(|limit| *limit > 0);
            }
            "proxy" => setting.proxy = Some(proxy(value, &field)?),
            "precharge" => {
                setting.precharge = match value.as_deref() {
                    Some("query") => Precharge::Query,
                    Some("body") => Precharge::Body,
                    Some("off") => Precharge::Off,
                    _ => return Err(bad("must be query, body or off")),
                };
            }
            "idempotent" => setting.idempotent = switch(&raw).ok_or_else(|| bad(SWITCH))?,
            "ask_usage" => {
                setting.leaves_usage_unasked = !switch(&raw).ok_or_else(|| bad(SWITCH))?;
            }
            _ => unknown.push(name),
        }
    }
    Ok((setting, unknown))
}

fn count(value: Option<String>, max: u32, field: &str) -> Result<u32, FieldError> {
    let read = value.and_then(|text| text.parse().ok()).filter(|count| *count <= max);
    read.ok_or_else(|| FieldError::new(field, format!("must be a number from 0 to {max}")))
}

/// `direct` goes around the installation's own proxy.
fn proxy(value: Option<String>, field: &str) -> Result<Secret, FieldError> {
    const SCHEMES: [&str; 4] = ["http://", "https://", "socks5://", "socks5h://"];
    let known = |text: &str| {
        text.eq_ignore_ascii_case("direct") || SCHEMES.iter().any(|s| text.starts_with(s))
    };
    match value {
        Some(text) if known(&text) => Ok(text.into()),
        _ => Err(FieldError::new(field, "must be direct, or http(s):// or socks5:// host:port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_trimmed_and_each_once() {
        assert_eq!(list(" a, b,,a ，c\n"), ["a", "b", "c"]);
        assert_eq!(models("m, img/submit").unwrap(), ["m", "img/submit"]);
        assert_eq!(models("m, ../x").unwrap_err().field, "models");
    }

    #[test]
    fn overrides_keep_every_digit() {
        let text = r#"{"seed": 12345678901234567890123, "t": 1.0, "s": {"a": [1, 2.50]}}"#;
        let members = param_override(text).unwrap();
        assert_eq!(members[0], ("seed".into(), "12345678901234567890123".into()));
        assert_eq!(members[1].1, "1.0");
        assert_eq!(members[2].1, r#"{"a": [1, 2.50]}"#);
        assert!(param_override("[1]").is_err());
        assert!(param_override("").unwrap().is_empty());
    }

    #[test]
    fn mappings() {
        let codes = status_code_mapping(r#"{"500":"502","429":503}"#).unwrap();
        assert_eq!((codes[&500], codes[&429]), (502, 503));
        assert!(status_code_mapping(r#"{"500":"fine"}"#).is_err());
        assert!(status_code_mapping(r#"{"500":100}"#).is_err());
        assert_eq!(model_mapping(r#"{"a":"b/c"}"#).unwrap()["a"], "b/c");
        assert!(model_mapping(r#"{"a":"../c"}"#).is_err());
        assert!(model_mapping(r#"{"a":1}"#).is_err());
        let words = status_words(r#"{"success":"done, ok","failed":["bad"]}"#).unwrap().unwrap();
        assert_eq!((words.success.len(), words.failed.len()), (2, 1));
        assert!(status_words(r#"{"sucess":"done"}"#).is_err());
        assert_eq!(status_words("{}").unwrap(), None);
    }

    #[test]
    fn settings() {
        let read = |text: &str| setting(text, Precharge::Query);
        assert_eq!(setting("{}", Precharge::Off).unwrap().0.precharge, Precharge::Off);
        for (text, ms) in [("30", 30_000), ("\"30s\"", 30_000), ("\"2m\"", 120_000)] {
            let (setting, _) = read(&format!(r#"{{"timeout":{text}}}"#)).unwrap();
            assert_eq!(setting.timeout_ms, Some(ms));
        }
        let (setting_, unknown) = read(
            r#"{"retry_count":2,"proxy":"http://u:p@h:1","precharge":"off","concurrency":0,"x":1}"#,
        )
        .unwrap();
        assert_eq!((setting_.retry_count, setting_.concurrency), (Some(2), None));
        assert_eq!((setting_.precharge, unknown), (Precharge::Off, vec!["x".to_owned()]));
        assert!(!format!("{setting_:?}").contains("u:p"));
        for proxy in ["direct", "https://h:1", "socks5://h:1080"] {
            assert!(read(&format!(r#"{{"proxy":"{proxy}"}}"#)).is_ok(), "{proxy}");
        }
        for bad in [
            r#"{"timeout":0}"#,
            r#"{"timeout":"soon"}"#,
            r#"{"timeout":1.5}"#,
            r#"{"retry_count":-1}"#,
            r#"{"precharge":"maybe"}"#,
            r#"{"proxy":"ftp://h"}"#,
            "[]",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_and_headers() {
        assert_eq!(key(" up-key\n").unwrap().expose(), "up-key");
        assert!(key("up key").is_err() && key("上").is_err());
        assert_eq!(user_token_header(" X-Token ").unwrap().as_deref(), Some("X-Token"));
        assert_eq!(user_token_header("").unwrap(), None);
        assert!(user_token_header("X Token").is_err());
        assert!(user_token_header("authorization").is_err());
    }
}
