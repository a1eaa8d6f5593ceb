//! `setting` of a channel: timeout, retry_count, proxy, precharge, concurrency, idempotent,
//! ask_usage.

use crate::AdminError;
use crate::fields::Fields;
use domain::millis;
use serde::{Deserialize, Serialize};
use store::Precharge;
use store::Sealer;
use store::channel_fields::{self, CONCURRENCY_MAX, RETRY_MAX, TIMEOUT_MAX_MS};
use upstream::ProxyChoice;

/// Replaces a proxy's password in responses.
const MASK: &str = "***";
/// Fields that similar servers keep here; harmless while empty.
const IGNORED_IF_EMPTY: &[&str] = &[
    "force_format",
    "thinking_to_content",
    "pass_through_body_enabled",
    "system_prompt",
    "system_prompt_override",
];

/// What a channel decides for itself. `None`: the general setting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingInput {
    /// How long the upstream may take: seconds, or `30s`, `2m`, `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// How many other channels may be tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_count: Option<i64>,
    /// Proxy of this channel; `direct`: none, regardless of the global setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// How an estimate is asked for: `query`, `body` or `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precharge: Option<String>,
    /// Most calls at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<i64>,
    /// The upstream honours `Idempotency-Key`: a submission that a crash left open is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// Streams are asked for their usage where the client's request does not ask for it; unless
    /// `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_usage: Option<bool>,
}

/// Reads and checks the field `setting`.
pub(super) fn read(fields: &mut Fields) -> Result<Option<SettingInput>, AdminError> {
    let Some(mut given) = fields.object("setting")? else { return Ok(None) };
    let setting = SettingInput {
        timeout: read_timeout(&mut given)?,
        retry_count: given.int_in("retry_count", 0, i64::from(RETRY_MAX))?,
        proxy: read_proxy(&mut given)?,
        precharge: read_precharge(&mut given)?,
        // Forms send 0 for "no limit".
        concurrency: given
            .int_in("concurrency", 0, i64::from(CONCURRENCY_MAX))?
            .filter(|&limit| limit != 0),
        idempotent: given.flag("idempotent")?,
        ask_usage: given.flag("ask_usage")?,
    };
    agreed(&given, &setting)?;
    given.finish(&[], IGNORED_IF_EMPTY)?;
    Ok(Some(setting))
}

impl SettingInput {
    /// Puts the kept proxy back where an answer's masked one came in again.
    #[must_use]
    pub fn unmasked(mut self, kept: Option<&str>) -> Self {
        if let (Some(given), Some(kept)) = (&self.proxy, kept)
            && *given == masked(kept)
        {
            self.proxy = Some(kept.to_owned());
        }
        self
    }
}

/// The proxy's address without its password; nothing of one that can't be opened.
pub(super) fn masked(proxy: &str) -> String {
    if Sealer::is_sealed(proxy) {
        return MASK.to_owned();
    }
    let Some((scheme, rest)) = proxy.split_once("://") else { return proxy.to_owned() };
    match rest.rsplit_once('@') {
        Some((login, host)) => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:{MASK}@{host}")
        }
        None => proxy.to_owned(),
    }
}

/// What is saved has to be read again when it is loaded.
fn agreed(given: &Fields, setting: &SettingInput) -> Result<(), AdminError> {
    match channel_fields::setting(&json(setting)?, Precharge::default()) {
        Ok(_) => Ok(()),
        Err(why) => {
            let name = why.field.trim_start_matches("setting.").to_owned();
            Err(given.wrong(&name, "取值无效", why.why))
        }
    }
}

/// The setting as it is stored.
pub(super) fn stored(sealer: &Sealer, setting: &SettingInput) -> Result<String, AdminError> {
    let plain = json(setting)?;
    let sealed = store::seal_proxy(sealer, &plain);
    Ok(sealed.map_err(|e| AdminError::System(e.to_string()))?.unwrap_or(plain))
}

fn json(setting: &SettingInput) -> Result<String, AdminError> {
    serde_json::to_string(setting).map_err(|e| AdminError::System(format!("writing JSON: {e}")))
}

fn read_timeout(given: &mut Fields) -> Result<Option<String>, AdminError> {
    let Some(value) = given.raw("timeout") else { return Ok(None) };
    let text = value.get().trim_matches('"').trim().to_owned();
    match millis(&text) {
        Some(1..=TIMEOUT_MAX_MS) => Ok(Some(text)),
        _ => Err(given.wrong(
            "timeout",
            "必须是 1ms 到 24h 之间的时长, 例如 30、30s 或 2m",
            "must be a duration up to 24h, like 30, 30s or 2m",
        )),
    }
}

fn read_proxy(given: &mut Fields) -> Result<Option<String>, AdminError> {
    let Some(text) = given.text("proxy")? else { return Ok(None) };
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if let Err(why) = ProxyChoice::parse(text) {
        return Err(given.wrong("proxy", why.zh(), why.to_string()));
    }
    Ok(Some(text.trim_end_matches('/').to_owned()))
}

fn read_precharge(given: &mut Fields) -> Result<Option<String>, AdminError> {
    match given.text("precharge")? {
        None => Ok(None),
        Some(word) if word.is_empty() => Ok(None),
        Some(word) if matches!(word.as_str(), "query" | "body" | "off") => Ok(Some(word)),
        Some(_) => {
            Err(given.wrong("precharge", "必须是 query、body 或 off", "must be query, body or off"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(json: &str) -> Result<Option<SettingInput>, String> {
        let body = format!(r#"{{"setting":{json}}}"#);
        read(&mut Fields::parse(body.as_bytes()).unwrap()).map_err(|error| match error {
            AdminError::Field { field, .. } => field,
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn reads_what_it_knows() {
        let json = r#"{"timeout":30,"retry_count":2,"proxy":"http://u:p@proxy:8080/",
            "precharge":"body","concurrency":5,"idempotent":true}"#;
        let read = setting(json).unwrap().unwrap();
        let stored = r#"{"timeout":"30","retry_count":2,"proxy":"http://u:p@proxy:8080",
            "precharge":"body","concurrency":5,"idempotent":true}"#;
        let stored: SettingInput = serde_json::from_str(stored).unwrap();
        assert_eq!(read, stored);
        assert_eq!(setting(r#""""#), Ok(Some(SettingInput::default())));
        assert_eq!(
            setting(r#"{"timeout":"2m","proxy":"","force_format":false}"#)
                .unwrap()
                .unwrap()
                .timeout
                .as_deref(),
            Some("2m")
        );
    }

    #[test]
    fn refuses_what_it_does_not() {
        for (json, field) in [
            (r#"{"timeout":0}"#, "setting.timeout"),
            (r#"{"timeout":"2 days"}"#, "setting.timeout"),
            (r#"{"timeout":"25h"}"#, "setting.timeout"),
            (r#"{"timeout":1.5}"#, "setting.timeout"),
            (r#"{"retry_count":-1}"#, "setting.retry_count"),
            (r#"{"proxy":"ftp://proxy:8080"}"#, "setting.proxy"),
            (r#"{"precharge":"yes"}"#, "setting.precharge"),
            (r#"{"concurrency":-1}"#, "setting.concurrency"),
            (r#"{"time_out":5}"#, "setting.time_out"),
            (r#"{"force_format":true}"#, "setting.force_format"),
        ] {
            assert_eq!(setting(json), Err(field.to_owned()), "{json}");
        }
    }

    #[test]
    fn a_masked_proxy_comes_back_whole() {
        let kept = "http://user:se@cret@proxy:8080";
        assert_eq!(masked(kept), "http://user:***@proxy:8080");
        assert_eq!(masked("http://proxy:8080"), "http://proxy:8080");
        let given =
            |proxy: &str| SettingInput { proxy: Some(proxy.to_owned()), ..SettingInput::default() };
        assert_eq!(given(&masked(kept)).unmasked(Some(kept)), given(kept));
        assert_eq!(given("http://new:1").unmasked(Some(kept)), given("http://new:1"));
        assert_eq!(given("http://new:1").unmasked(None), given("http://new:1"));
    }
}
