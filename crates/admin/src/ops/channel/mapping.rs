//! The mappings of a channel: objects, or the text of objects, checked and put back together with
//! every value as it was written.

use super::input::check_model;
use crate::AdminError;
use crate::fields::Fields;
use std::collections::BTreeMap;

/// The words that a task's status can be mapped to.
const STATUSES: [&str; 3] = ["success", "failed", "processing"];

/// `model_mapping`: model asked for → model sent.
pub(super) fn models(fields: &mut Fields) -> Result<Option<String>, AdminError> {
    const FIELD: &str = "model_mapping";
    let Some(mut mapping) = fields.object(FIELD)? else { return Ok(None) };
    let mut checked = BTreeMap::new();
    for from in names(&mapping) {
        let Some(to) = mapping.text(&from)? else {
            return Err(mapping.wrong(&from, "必须是模型名", "must be the name of a model"));
        };
        check_model(FIELD, &from)?;
        check_model(FIELD, &to)?;
        checked.insert(from, to);
    }
    json(&checked).map(Some)
}

/// `param_override`: top-level members put into JSON request bodies, of any value.
pub(super) fn parameters(fields: &mut Fields) -> Result<Option<String>, AdminError> {
    const FIELD: &str = "param_override";
    let Some(mapping) = fields.object(FIELD)? else { return Ok(None) };
    if mapping.has("precharge") {
        // The estimate call owns this member.
        return Err(mapping.wrong("precharge", "不能覆盖该参数", "must not be overridden"));
    }
    json(&mapping.into_members()).map(Some)
}

/// `status_code_mapping`: upstream's status → status for the client.
pub(super) fn status_codes(fields: &mut Fields) -> Result<Option<String>, AdminError> {
    const FIELD: &str = "status_code_mapping";
    let Some(mut mapping) = fields.object(FIELD)? else { return Ok(None) };
    let mut checked = BTreeMap::new();
    for from in names(&mapping) {
        if !from.parse().is_ok_and(|status: u16| (200..600).contains(&status)) {
            let en = "must be a status from 200 to 599";
            return Err(mapping.wrong(&from, "必须是 200 到 599 之间的状态码", en));
        }
        let Some(to) = mapping.int_in(&from, 200, 599)? else {
            return Err(mapping.wrong(&from, "必须是状态码", "must be a status"));
        };
        checked.insert(from, to);
    }
    json(&checked).map(Some)
}

/// `custompass_status_mapping`: status words of tasks, as lists.
pub(super) fn status_words(fields: &mut Fields) -> Result<Option<String>, AdminError> {
    const FIELD: &str = "custompass_status_mapping";
    let Some(mut mapping) = fields.object(FIELD)? else { return Ok(None) };
    let mut checked: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut owner: BTreeMap<String, &str> = BTreeMap::new();
    for status in STATUSES {
        let Some(words) = mapping.list(status)? else { continue };
        for word in &words {
            if owner.insert(word.to_lowercase(), status).is_some_and(|other| other != status) {
                let en = format!("{word:?} stands under two statuses");
                return Err(mapping.wrong(status, format!("{word:?} 同时属于两种状态"), en));
            }
        }
        checked.insert(status, words);
    }
    mapping.finish(&[], &[])?;
    json(&checked).map(Some)
}

fn names(mapping: &Fields) -> Vec<String> {
    mapping.names().map(str::to_owned).collect()
}

fn json(value: &impl serde::Serialize) -> Result<String, AdminError> {
    serde_json::to_string(value).map_err(|e| AdminError::System(format!("writing JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(
        json: &str,
        read: impl Fn(&mut Fields) -> Result<T, AdminError>,
    ) -> Result<T, String> {
        let mut fields = Fields::parse(json.as_bytes()).unwrap();
        read(&mut fields).map_err(|error| match error {
            AdminError::Field { field, .. } => field,
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn parameters_keep_their_digits() {
        let json = r#"{"param_override":
            "{\"seed\":12345678901234567890123,\"t\":0.10,\"o\":{ \"a\":1}}"}"#;
        let kept = with(json, parameters).unwrap().unwrap();
        assert_eq!(kept, r#"{"o":{ "a":1},"seed":12345678901234567890123,"t":0.10}"#);
        let own = r#"{"param_override":{"precharge":true}}"#;
        assert_eq!(with(own, parameters), Err("param_override.precharge".to_owned()));
        assert_eq!(with("{}", parameters), Ok(None));
        assert_eq!(with(r#"{"param_override":""}"#, parameters), Ok(Some("{}".to_owned())));
    }

    #[test]
    fn models_map_to_models() {
        let json = r#"{"model_mapping":{"gpt-4":"vendor/gpt-4"}}"#;
        assert_eq!(with(json, models), Ok(Some(r#"{"gpt-4":"vendor/gpt-4"}"#.to_owned())));
        let bad = r#"{"model_mapping":{"gpt-4":"../admin"}}"#;
        assert_eq!(with(bad, models), Err("model_mapping".to_owned()));
        let bad = r#"{"model_mapping":{"gpt-4":5}}"#;
        assert_eq!(with(bad, models), Err("model_mapping.gpt-4".to_owned()));
    }

    #[test]
    fn status_codes_are_status_codes() {
        let json = r#"{"status_code_mapping":{"429":"503","400":422}}"#;
        let want = r#"{"400":422,"429":503}"#.to_owned();
        assert_eq!(with(json, status_codes), Ok(Some(want)));
        for bad in [r#"{"42":500}"#, r#"{"x":500}"#, r#"{"500":99}"#, r#"{"500":null}"#] {
            let json = format!(r#"{{"status_code_mapping":{bad}}}"#);
            assert!(with(&json, status_codes).is_err(), "{bad}");
        }
    }

    #[test]
    fn status_words_belong_to_one_status() {
        let json =
            r#"{"custompass_status_mapping":{"success":["OK","done"],"failed":"bad,worse"}}"#;
        let want = r#"{"failed":["bad","worse"],"success":["OK","done"]}"#.to_owned();
        assert_eq!(with(json, status_words), Ok(Some(want)));
        let twice = r#"{"custompass_status_mapping":{"success":["ok"],"failed":["OK"]}}"#;
        assert_eq!(with(twice, status_words), Err("custompass_status_mapping.failed".to_owned()));
        let unknown = r#"{"custompass_status_mapping":{"done":["ok"]}}"#;
        assert_eq!(with(unknown, status_words), Err("custompass_status_mapping.done".to_owned()));
    }
}
