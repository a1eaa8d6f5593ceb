//! The API's document, as its page shows it: each call with its fields.

use crate::lang::Lang;
use crate::meanings;
use crate::summaries::in_chinese;
use admin::{ROLE_ADMIN, openapi};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Every call, in the order of the document.
pub(crate) static CALLS: LazyLock<Vec<DocumentedCall>> = LazyLock::new(|| read(&openapi()));

/// One path with one method.
#[derive(Clone, Debug)]
pub(crate) struct DocumentedCall {
    /// Names it within its page.
    pub(crate) id: String,
    /// In capitals.
    pub(crate) verb: String,
    pub(crate) path: String,
    pub(crate) section: String,
    pub(crate) summary: String,
    /// `anyone`, `user`, `admin`, or `key` on the data plane.
    pub(crate) role: String,
    /// Those of its path.
    pub(crate) places: Vec<FieldDoc>,
    /// Those of its query.
    pub(crate) params: Vec<FieldDoc>,
    pub(crate) body: Vec<FieldDoc>,
    /// The members of `data`, or of each item in it.
    pub(crate) answer: Vec<FieldDoc>,
    pub(crate) is_list: bool,
    /// It reads, and nothing else: it can be tried with a click.
    pub(crate) only_reads: bool,
}

/// A field of a request or a reply.
#[derive(Clone, Debug)]
pub(crate) struct FieldDoc {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) words: String,
    pub(crate) required: bool,
}

impl FieldDoc {
    /// What it means.
    pub(crate) fn meaning(&self, lang: Lang) -> &str {
        lang.say(meanings::in_chinese(&self.words).unwrap_or(&self.words), &self.words)
    }
}

impl DocumentedCall {
    /// Whether a user of this role reaches it.
    pub(crate) fn is_for(&self, role: i64) -> bool {
        self.role != "admin" || role >= ROLE_ADMIN
    }

    /// What it does.
    pub(crate) fn words(&self, lang: Lang) -> &str {
        lang.say(in_chinese(&self.summary).unwrap_or(&self.summary), &self.summary)
    }

    /// Whether a text is in its path, its words or the names of its fields.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let fields = self.places.iter().chain(&self.params).chain(&self.body).chain(&self.answer);
        let mut names = fields.map(|field| field.name.as_str());
        self.path.contains(&text)
            || self.summary.to_lowercase().contains(&text)
            || in_chinese(&self.summary).is_some_and(|words| words.contains(&text))
            || names.any(|name| name.contains(&text))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A text that may be broken into lines.
fn line(value: &Value) -> String {
    text(value).replace('\n', " ")
}

fn read(document: &Value) -> Vec<DocumentedCall> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let calls = paths.flat_map(|(path, item)| {
        let verbs = item.as_object().into_iter().flatten();
        verbs.map(move |(verb, operation)| call(document, path, verb, operation))
    });
    calls.collect()
}

fn call(document: &Value, path: &str, verb: &str, operation: &Value) -> DocumentedCall {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let of = |place: &str| {
        // `p` is another spelling of `page`.
        let here = parameters.clone().filter(|it| it["in"] == place && it["name"] != "p");
        here.map(|it| FieldDoc {
            name: text(&it["name"]),
            kind: kind(document, &it["schema"]),
            words: line(&it["description"]),
            required: it["required"] == true,
        })
        .collect()
    };
    let json = "/content/application~1json/schema";
    let content = &operation["responses"]["200"]["content"];
    let is_stream = content["text/event-stream"].is_object();
    let answer = operation["responses"]["200"].pointer(json).unwrap_or(&Value::Null);
    let data = &answer["properties"]["data"];
    let is_list = answer["properties"]["total"].is_object();
    let shown = if is_list { &data["items"] } else { data };
    let answer = if data.is_null() { answer } else { shown };
    let answer = fields(document, answer, 0);
    let body = operation["requestBody"].pointer(json).unwrap_or(&Value::Null);
    DocumentedCall {
        id: text(&operation["operationId"]),
        verb: verb.to_uppercase(),
        path: path.to_owned(),
        section: text(&operation["tags"][0]),
        summary: text(&operation["summary"]),
        role: text(&operation["x-role"]),
        places: of("path"),
        params: of("query"),
        body: body_fields(document, body, &answer),
        answer,
        is_list,
        only_reads: verb == "get" && operation["x-writes"] != true && !is_stream,
    }
}

/// The members of an object, those of its parts before its own.
fn fields(document: &Value, schema: &Value, depth: usize) -> Vec<FieldDoc> {
    if depth > 4 {
        return Vec::new();
    }
    let schema = resolved(document, schema);
    let required: BTreeSet<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let parts = schema["allOf"].as_array().into_iter().flatten();
    let mut all: Vec<FieldDoc> = parts.flat_map(|part| fields(document, part, depth + 1)).collect();
    let members = schema["properties"].as_object().into_iter().flatten();
    all.extend(members.map(|(name, member)| FieldDoc {
        name: name.clone(),
        kind: kind(document, member),
        words: words_of(member),
        required: required.contains(name.as_str()),
    }));
    all
}

/// Whether words say how a value is written, and not what it means.
fn tells_form(words: &str) -> bool {
    let range = words.strip_prefix("From ").and_then(|rest| rest.bytes().next());
    range.is_some_and(|first| first.is_ascii_digit() || first == b'-')
        || ["An exact decimal", "JSON, or"].iter().any(|form| words.starts_with(form))
}

/// The fields of a body that mean something: in words of their own, or else in those of the reply.
fn body_fields(document: &Value, schema: &Value, answer: &[FieldDoc]) -> Vec<FieldDoc> {
    let flat = schema["oneOf"].get(0).unwrap_or(schema);
    let rules = flat["allOf"].as_array().into_iter().flatten();
    let required: BTreeSet<&str> = rules
        .flat_map(|rule| rule["required"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect();
    let members = flat["properties"].as_object().into_iter().flatten();
    let meant = members.filter(|(_, member)| {
        let words = member["description"].as_str().unwrap_or_default();
        member["deprecated"] != true && !words.starts_with("Accepted")
    });
    meant
        .map(|(name, member)| {
            let shown = answer.iter().find(|field| field.name == *name);
            let shown = shown.map(|field| field.words.clone()).filter(|words| !words.is_empty());
            let own = line(&member["description"]);
            let is_told = !own.is_empty() && !tells_form(&own);
            FieldDoc {
                name: name.clone(),
                kind: kind(document, member),
                words: if is_told { own } else { shown.unwrap_or(own) },
                required: required.contains(name.as_str()),
            }
        })
        .collect()
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let to = schema["$ref"].as_str().and_then(|to| document.pointer(to.strip_prefix('#')?));
    to.unwrap_or(schema)
}

/// What a field means. Of one that may be `null` it stands at what else it may be.
fn words_of(member: &Value) -> String {
    let ways = ["oneOf", "anyOf"].into_iter().filter_map(|name| member[name].as_array()).flatten();
    let mut told = std::iter::once(member).chain(ways).map(|way| line(&way["description"]));
    told.find(|words| !words.is_empty()).unwrap_or_default()
}

/// What a value is, in a word or two.
fn kind(document: &Value, schema: &Value) -> String {
    let schema = resolved(document, schema);
    let ways = ["anyOf", "oneOf"].into_iter().find_map(|name| schema[name].as_array());
    if let Some(ways) = ways {
        let way = ways.iter().find(|way| way["type"] != "null").unwrap_or(&Value::Null);
        return kind(document, way);
    }
    if let Some(words) = schema["enum"].as_array() {
        let texts: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        let word = if words.contains(&Value::Bool(true)) { "boolean" } else { "value" };
        return if texts.is_empty() { word.to_owned() } else { texts.join(" | ") };
    }
    let word = match &schema["type"] {
        Value::Array(words) => words.iter().find(|word| *word != "null").unwrap_or(&Value::Null),
        word => word,
    };
    match word.as_str() {
        Some("array") => format!("{}[]", kind(document, &schema["items"])),
        Some(word) => word.to_owned(),
        None if schema["allOf"].is_array() || schema["properties"].is_object() => {
            "object".to_owned()
        }
        None => "any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(verb: &str, path: &str) -> &'static DocumentedCall {
        CALLS.iter().find(|call| call.verb == verb && call.path == path).unwrap()
    }

    fn field<'a>(fields: &'a [FieldDoc], name: &str) -> &'a FieldDoc {
        fields.iter().find(|field| field.name == name).unwrap()
    }

    #[test]
    fn fields_have_their_kinds_and_words() {
        let new = of("POST", "/api/token");
        assert_eq!(field(&new.body, "models").kind, "string[]");
        assert_eq!(field(&new.body, "remain_quota").kind, "integer");
        assert!(field(&new.body, "name").words.contains("the owner gave it"));
        assert!(new.body.iter().all(|field| field.name != "accessed_time"), "{:?}", new.body);
        assert_eq!(field(&new.answer, "key").kind, "string");
        let list = of("GET", "/api/token");
        assert!(list.is_list && field(&list.answer, "remain_quota").kind == "integer");
        assert_eq!(field(&list.params, "page_size").kind, "integer");
        assert!(field(&of("POST", "/api/channel").body, "base_url").required);
        assert!(!field(&of("PATCH", "/api/channel/{id}").body, "base_url").required);
        assert!(of("GET", "/api/token/{id}").places[0].required);
    }

    /// What may be `null`, or is another type of ours, has its words within.
    #[test]
    fn what_may_be_nothing_has_words_too() {
        let one = of("GET", "/api/token/{id}");
        for (name, words) in [
            ("rate_limit_rpm", "Requests a minute"),
            ("daily_limit", "What may be spent in a day"),
            ("old_key_ends_at", "Until when the secret before"),
        ] {
            let field = field(&one.answer, name);
            assert!(field.words.starts_with(words), "{name}: {}", field.words);
            assert_ne!(field.meaning(Lang::Zh), field.words, "{name}");
        }
        let rotate = of("POST", "/api/token/{id}/rotate");
        assert!(field(&rotate.body, "grace_seconds").words.contains("604800"));
    }

    #[test]
    fn what_writes_is_not_tried_with_a_click() {
        for path in ["/api/user/token", "/api/user/logout", "/api/channel/test/{id}"] {
            assert!(!of("GET", path).only_reads, "{path}");
        }
        for path in ["/api/token", "/api/log/self", "/api/usage", "/v1/models"] {
            assert!(of("GET", path).only_reads, "{path}");
        }
        assert!(CALLS.iter().filter(|call| call.only_reads).count() > 40);
    }

    #[test]
    fn users_see_what_they_reach() {
        assert!(!of("GET", "/api/user").is_for(1) && of("GET", "/api/user").is_for(10));
        assert!(of("GET", "/api/task/self").is_for(1) && of("GET", "/v1/models").is_for(1));
        assert!(CALLS.iter().all(|call| !call.role.is_empty() && !call.section.is_empty()));
    }
}
