//! A JSON object, read field by field: every error names its field and the remedy, numbers are read
//! exactly as they were written, and unknown fields are refused.

use crate::AdminError;
use crate::survey::{self, SchemaRecorder};
use domain::{Quota, Ratio, UnixMs};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// Longest list of models, groups, addresses, or members of a mapping.
const MAX_ITEMS: usize = 2000;

/// The last second of the year 9999.
const MAX_SECONDS: i64 = 253_402_300_799;

const NUL: &str = "\\u0000";

/// What is left unread of a JSON object.
#[derive(Debug, Default)]
pub struct Fields {
    /// Where this object stands in the request: `setting.`, or nothing.
    prefix: String,
    members: BTreeMap<String, Box<RawValue>>,
    /// Nothing was sent: what is read is noted, for the document.
    survey: Option<SchemaRecorder>,
}

/// The members of an object, and the first one that came twice.
struct Members {
    members: BTreeMap<String, Box<RawValue>>,
    repeated: Option<String>,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut seen = Members { members: BTreeMap::new(), repeated: None };
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if seen.members.insert(name.clone(), value).is_some() {
                        seen.repeated.get_or_insert(name);
                    }
                }
                Ok(seen)
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl Fields {
    /// Reads a request's body.
    ///
    /// # Errors
    /// When it isn't one JSON object, or a field stands in it twice.
    pub fn parse(body: &[u8]) -> Result<Self, AdminError> {
        // The body may contain a secret: the error gives the position, not the text at it.
        let members = serde_json::from_slice::<Members>(body).map_err(|e| {
            AdminError::malformed(
                format!("请求体不是有效的 JSON 对象 (第 {} 行第 {} 列)", e.line(), e.column()),
                format!("the body is not a JSON object, line {} column {}", e.line(), e.column()),
            )
        })?;
        Self::of("", members)
    }

    /// Returns fields without a request, which record in `survey` what is read from them.
    pub(crate) fn surveyed(survey: SchemaRecorder) -> Self {
        Self { survey: Some(survey), ..Self::default() }
    }

    fn note(&self, name: &str, schema: impl FnOnce() -> serde_json::Value) {
        if let Some(survey) = &self.survey {
            survey.value(name, schema());
        }
    }

    fn of(prefix: &str, seen: Members) -> Result<Self, AdminError> {
        let fields = Self { prefix: prefix.to_owned(), members: seen.members, survey: None };
        // No database stores this character in a text; here, the error can name the field.
        if let Some((name, _)) = fields.members.iter().find(|(_, json)| json.get().contains(NUL)) {
            return Err(fields.wrong(name, "不能包含 \\u0000", "must not contain \\u0000"));
        }
        match seen.repeated {
            Some(name) => Err(fields.wrong(&name, "出现了两次", "appears twice")),
            None => Ok(fields),
        }
    }

    /// A complaint about the field `name` of this object.
    pub fn wrong(&self, name: &str, zh: impl Into<String>, en: impl Into<String>) -> AdminError {
        AdminError::field(format!("{}{name}", self.prefix), zh, en)
    }

    /// Whether the field is there, were it `null`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Whether all of it stands in the one member `name`, as older scripts send it.
    #[must_use]
    pub fn is_wrapped(&self, name: &str) -> bool {
        if let Some(survey) = &self.survey {
            survey.wrapper(name);
        }
        self.has(name)
    }

    /// The value of a field that has to be there.
    ///
    /// # Errors
    /// When it isn't.
    pub fn required<T: Default>(&self, name: &str, value: Option<T>) -> Result<T, AdminError> {
        if let Some(survey) = &self.survey {
            survey.required(name);
            return Ok(T::default());
        }
        value.ok_or_else(|| self.wrong(name, "不能为空", "is required"))
    }

    /// The value of a field that has to be there, where `null` is a value.
    ///
    /// # Errors
    /// When it isn't.
    pub fn mentioned<T: Default>(&self, name: &str, value: Option<T>) -> Result<T, AdminError> {
        if let Some(survey) = &self.survey {
            survey.mentioned(name);
            return Ok(T::default());
        }
        value.ok_or_else(|| self.wrong(name, "缺少该字段", "is missing; null is a value"))
    }

    /// The names of what is left.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// Reads `old` where only that older name of `name` is given.
    pub fn alias(&mut self, name: &str, old: &str) {
        if let Some(survey) = &self.survey {
            survey.alias(name, old);
        }
        if let Some(value) = self.members.remove(old) {
            self.members.entry(name.to_owned()).or_insert(value);
        }
    }

    /// Whether the value of the field is exactly this JSON text.
    #[must_use]
    pub fn raw_is(&self, name: &str, json: &str) -> bool {
        self.members.get(name).is_some_and(|value| value.get() == json)
    }

    /// Returns the field's JSON text. `null` counts as absent.
    pub fn raw(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.note(name, || serde_json::json!({}));
        self.members.remove(name).filter(|value| value.get() != "null")
    }

    /// `Some(None)` for a field that is there and `null`: it is to be unset.
    fn unset(&mut self, name: &str) -> bool {
        let null = self.members.get(name).is_some_and(|value| value.get() == "null");
        if null {
            self.members.remove(name);
        }
        null
    }

    /// A text.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, AdminError> {
        self.note(name, survey::text);
        let Some(value) = self.raw(name) else { return Ok(None) };
        match serde_json::from_str(value.get()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.wrong(name, "必须是字符串", "must be a string")),
        }
    }

    /// An instant in seconds since 1970, where 0, -1 and `null` are never.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn expiry(&mut self, name: &str) -> Result<Option<Option<UnixMs>>, AdminError> {
        match self.nullable_int(name)? {
            None => Ok(None),
            Some(None | Some(-1 | 0)) => Ok(Some(None)),
            Some(Some(seconds @ 1..=MAX_SECONDS)) => Ok(Some(Some(UnixMs(seconds * 1000)))),
            Some(Some(_)) => Err(self.wrong(
                name,
                "必须是秒级 Unix 时间戳, 0 表示永不过期",
                "must be seconds since 1970, or 0 for never",
            )),
        }
    }

    /// A text; `null` unsets it.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn nullable_text(&mut self, name: &str) -> Result<Option<Option<String>>, AdminError> {
        if self.unset(name) {
            return Ok(Some(None));
        }
        Ok(self.text(name)?.map(Some))
    }

    /// A whole number, or its digits in a string.
    ///
    /// # Errors
    /// When it is anything else, or doesn't fit.
    pub fn int(&mut self, name: &str) -> Result<Option<i64>, AdminError> {
        self.note(name, survey::int);
        let Some(value) = self.raw(name) else { return Ok(None) };
        match digits_of(value.get()).parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(self.wrong(name, "必须是整数", "must be a whole number")),
        }
    }

    /// A whole number; `null` unsets it.
    ///
    /// # Errors
    /// When it is anything else, or doesn't fit.
    pub fn nullable_int(&mut self, name: &str) -> Result<Option<Option<i64>>, AdminError> {
        if self.unset(name) {
            return Ok(Some(None));
        }
        Ok(self.int(name)?.map(Some))
    }

    /// A whole number in a range.
    ///
    /// # Errors
    /// When it is anything else, or outside.
    pub fn int_in(&mut self, name: &str, low: i64, high: i64) -> Result<Option<i64>, AdminError> {
        self.note(name, || survey::int_in(low, high));
        match self.int(name)? {
            Some(number) if !(low..=high).contains(&number) => Err(self.wrong(
                name,
                format!("必须在 {low} 到 {high} 之间"),
                format!("must be from {low} to {high}"),
            )),
            other => Ok(other),
        }
    }

    /// An amount of money, not below zero.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn amount(&mut self, name: &str) -> Result<Option<Quota>, AdminError> {
        Ok(self.int_in(name, 0, i64::MAX)?.map(Quota))
    }

    /// A limit: a whole number up to `high`; `null` and 0 take it off.
    ///
    /// # Errors
    /// When it is anything else, or outside.
    pub fn limit(&mut self, name: &str, high: i64) -> Result<Option<Option<i64>>, AdminError> {
        if self.unset(name) {
            return Ok(Some(None));
        }
        Ok(self.int_in(name, 0, high)?.map(|limit| (limit != 0).then_some(limit)))
    }

    /// `true` or `false`; older scripts write 1 and 0.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, AdminError> {
        self.note(name, survey::flag);
        let Some(value) = self.raw(name) else { return Ok(None) };
        match value.get() {
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            _ => Err(self.wrong(name, "必须是 true 或 false", "must be true or false")),
        }
    }

    /// A ratio, read from the digits as they stand: a number, or a string.
    ///
    /// # Errors
    /// When it isn't an exact ratio.
    pub fn ratio(&mut self, name: &str) -> Result<Option<Ratio>, AdminError> {
        self.note(name, survey::ratio);
        let Some(value) = self.raw(name) else { return Ok(None) };
        match digits_of(value.get()).parse() {
            Ok(ratio) => Ok(Some(ratio)),
            Err(why) => Err(self.wrong(
                name,
                "必须是 0 到 1000000 之间的十进制数, 最多 6 位小数",
                format!("{why}; write a decimal from 0 to 1000000 with at most 6 places, like 1.5"),
            )),
        }
    }

    /// A list of texts: an array, or one string with commas. Blanks around items and empty items
    /// vanish, repeated ones stay once.
    ///
    /// # Errors
    /// When it is anything else, or very long.
    pub fn list(&mut self, name: &str) -> Result<Option<Vec<String>>, AdminError> {
        self.note(name, || survey::list(MAX_ITEMS));
        let Some(value) = self.raw(name) else { return Ok(None) };
        let given: Vec<String> = if value.get().starts_with('"') {
            let text: String = serde_json::from_str(value.get())
                .map_err(|_| self.wrong(name, "必须是字符串", "must be a string"))?;
            text.split([',', '\n']).map(str::to_owned).collect()
        } else {
            serde_json::from_str(value.get()).map_err(|_| {
                self.wrong(
                    name,
                    "必须是字符串数组, 或以逗号分隔的字符串",
                    "must be an array of strings, or a string separated by commas",
                )
            })?
        };
        let mut items: Vec<String> = Vec::with_capacity(given.len());
        let mut seen = std::collections::HashSet::new();
        for item in given {
            let item = item.trim();
            if item.contains(',') {
                let en = "an item must not contain a comma";
                return Err(self.wrong(name, "列表项不能包含逗号", en));
            }
            if !item.is_empty() && seen.insert(item.to_owned()) {
                items.push(item.to_owned());
            }
        }
        if items.len() > MAX_ITEMS {
            let en = format!("has more than {MAX_ITEMS} items");
            return Err(self.wrong(name, format!("超过 {MAX_ITEMS} 项"), en));
        }
        Ok(Some(items))
    }

    /// Numbers, at least one and at most `most`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn numbers(&mut self, name: &str, most: usize) -> Result<Option<Vec<i64>>, AdminError> {
        self.note(name, || survey::numbers(most));
        let Some(value) = self.raw(name) else { return Ok(None) };
        let numbers: Result<Vec<i64>, _> = serde_json::from_str(value.get());
        match numbers {
            Ok(numbers) if (1..=most).contains(&numbers.len()) => Ok(Some(numbers)),
            _ => Err(self.wrong(
                name,
                format!("必须是 1 到 {most} 个编号的数组"),
                format!("must be an array of 1 to {most} numbers"),
            )),
        }
    }

    /// An object, or the text of one in a string (empty: an empty object).
    ///
    /// # Errors
    /// When it is anything else.
    pub fn object(&mut self, name: &str) -> Result<Option<Self>, AdminError> {
        if let Some(survey) = &self.survey {
            return Ok(Some(Self::surveyed(survey.object(name))));
        }
        let Some(value) = self.raw(name) else { return Ok(None) };
        let text = if value.get().starts_with('"') {
            let text: String = serde_json::from_str(value.get())
                .map_err(|_| self.wrong(name, "必须是字符串", "must be a string"))?;
            if text.trim().is_empty() { "{}".to_owned() } else { text }
        } else {
            value.get().to_owned()
        };
        let seen = serde_json::from_str::<Members>(&text).map_err(|_| {
            self.wrong(
                name,
                "必须是 JSON 对象, 或内容为 JSON 对象的字符串",
                "must be a JSON object, or a string that holds one",
            )
        })?;
        if seen.members.len() > MAX_ITEMS {
            let en = format!("has more than {MAX_ITEMS} members");
            return Err(self.wrong(name, format!("超过 {MAX_ITEMS} 项"), en));
        }
        Self::of(&format!("{}{name}.", self.prefix), seen).map(Some)
    }

    /// JSON of any kind, or the text of it in a string (empty: none), as it stands.
    ///
    /// # Errors
    /// When it is a string that can't be read.
    pub fn json(&mut self, name: &str) -> Result<Option<String>, AdminError> {
        self.note(name, survey::json_or_text);
        let Some(value) = self.raw(name) else { return Ok(None) };
        if !value.get().starts_with('"') {
            return Ok(Some(value.get().to_owned()));
        }
        let text: Result<String, _> = serde_json::from_str(value.get());
        text.map(Some).map_err(|_| self.wrong(name, "必须是字符串", "must be a string"))
    }

    /// What is left, by name, for objects whose names are data.
    #[must_use]
    pub fn into_members(self) -> BTreeMap<String, Box<RawValue>> {
        self.members
    }

    /// Refuses unknown fields. `ignored` names fields that existing scripts send and that have no
    /// effect; `ignored_if_empty` those that would have one if they were not empty.
    ///
    /// # Errors
    /// When a field is left.
    pub fn finish(self, ignored: &[&str], ignored_if_empty: &[&str]) -> Result<(), AdminError> {
        if let Some(survey) = &self.survey {
            survey.closed(ignored, ignored_if_empty);
        }
        for (name, value) in &self.members {
            let harmless = ignored.contains(&name.as_str())
                || (ignored_if_empty.contains(&name.as_str()) && says_nothing(value.get()));
            if !harmless {
                let en = "unknown field: check its spelling, or leave it out";
                return Err(self.wrong(name, "未知字段, 请检查拼写或删除", en));
            }
        }
        Ok(())
    }
}

/// The digits of a number, or of a string that holds one.
fn digits_of(json: &str) -> &str {
    json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(json).trim()
}

fn says_nothing(json: &str) -> bool {
    matches!(json, "null" | "\"\"" | "\"{}\"" | "\"null\"" | "{}" | "[]" | "false" | "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::parse(json.as_bytes()).unwrap()
    }

    fn complaint<T: fmt::Debug>(result: Result<T, AdminError>) -> String {
        match result.unwrap_err() {
            AdminError::Field { field, .. } => field,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn only_one_object_is_a_request() {
        for bad in ["", "[]", "{", "{}{}", "null", "\"a\"", "{\"a\":1,}", "\u{1}"] {
            let error = Fields::parse(bad.as_bytes()).unwrap_err();
            assert!(matches!(error, AdminError::Malformed { .. }), "{bad}");
        }
        assert!(Fields::parse(b"\xff").is_err());
        assert_eq!(complaint(Fields::parse(br#"{"a":1,"a":2}"#)), "a");
        assert_eq!(complaint(Fields::parse(br#"{"a":{"b":"x\u0000"}}"#)), "a");
    }

    #[test]
    fn ratios_are_read_as_they_stand() {
        let mut f = fields(r#"{"a":2.0,"b":"0.8","c":0.1000001,"d":1e3,"e":-1,"f":null,"g":[]}"#);
        assert_eq!(f.ratio("a").unwrap().unwrap().to_string(), "2");
        assert_eq!(f.ratio("b").unwrap().unwrap().to_string(), "0.8");
        for name in ["c", "d", "e", "g"] {
            assert_eq!(complaint(f.ratio(name)), name);
        }
    }

    #[test]
    fn numbers_keep_their_size() {
        let mut f = fields(r#"{"a":9007199254740993,"b":"12","c":1.5,"d":99999999999999999999}"#);
        assert_eq!(f.int("a").unwrap(), Some(9_007_199_254_740_993));
        assert_eq!(f.int("b").unwrap(), Some(12));
        assert_eq!(complaint(f.int("c")), "c");
        assert_eq!(complaint(f.int("d")), "d");
        assert_eq!(complaint(fields(r#"{"n":5}"#).int_in("n", 0, 4)), "n");
    }

    #[test]
    fn lists_are_arrays_or_comma_texts() {
        let want = Some(vec!["a".to_owned(), "b/submit".to_owned()]);
        assert_eq!(fields(r#"{"m":[" a","b/submit","a",""]}"#).list("m").unwrap(), want);
        assert_eq!(fields(r#"{"m":"a, b/submit,,a"}"#).list("m").unwrap(), want);
        assert_eq!(complaint(fields(r#"{"m":["a,b"]}"#).list("m")), "m");
        assert_eq!(complaint(fields(r#"{"m":[1]}"#).list("m")), "m");
    }

    #[test]
    fn objects_may_come_as_text() {
        let mut f = fields(r#"{"a":{"x":1},"b":"{\"x\":1}","c":"","d":"[1]","e":{"x":1,"x":2}}"#);
        for name in ["a", "b"] {
            assert_eq!(f.object(name).unwrap().unwrap().int("x").unwrap(), Some(1));
        }
        assert!(f.object("c").unwrap().unwrap().into_members().is_empty());
        assert_eq!(complaint(f.object("d")), "d");
        assert_eq!(complaint(f.object("e")), "e.x");
    }

    #[test]
    fn what_nobody_asked_for_is_refused() {
        assert_eq!(complaint(fields(r#"{"nmae":"x"}"#).finish(&[], &[])), "nmae");
        assert!(fields(r#"{"tag":"x","settings":"{}"}"#).finish(&["tag"], &["settings"]).is_ok());
        let meaning = fields(r#"{"settings":"{\"a\":1}"}"#);
        assert_eq!(complaint(meaning.finish(&[], &["settings"])), "settings");
    }

    #[test]
    fn flags_and_aliases() {
        let mut f = fields(r#"{"a":1,"b":false,"c":"yes","old":"v"}"#);
        assert_eq!(f.flag("a").unwrap(), Some(true));
        assert_eq!(f.flag("b").unwrap(), Some(false));
        assert_eq!(complaint(f.flag("c")), "c");
        f.alias("new", "old");
        assert_eq!(f.text("new").unwrap().as_deref(), Some("v"));
    }
}
