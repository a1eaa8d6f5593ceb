//! What a reader asks of a request's body or address, found out by letting it read: the schema in
//! the OpenAPI document is what is really read, field by field, and can't be anything else.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The fields that were asked for so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct SchemaRecorder(Arc<Mutex<Asked>>);

#[derive(Debug, Default)]
struct Asked {
    fields: BTreeMap<String, Asking>,
    required: Vec<String>,
    /// What has to be there, if only as `null`.
    mentioned: Vec<String>,
    /// Older names, and what they are names of.
    aliases: Vec<(String, String)>,
    /// The one member that the whole object may stand in.
    wrapper: Option<String>,
    /// Nothing but the fields is accepted.
    closed: bool,
}

#[derive(Debug)]
enum Asking {
    Value(Value),
    Object(SchemaRecorder),
}

impl SchemaRecorder {
    /// Records that a value of this schema is read. The first schema wins, being the most specific.
    pub(crate) fn value(&self, name: &str, schema: Value) {
        self.lock().fields.entry(name.to_owned()).or_insert(Asking::Value(schema));
    }

    /// What was asked for, by name, and its schema.
    pub(crate) fn asked(&self) -> Vec<(String, Value)> {
        let asked = self.lock();
        asked.fields.iter().map(|(name, asking)| (name.clone(), asking.schema())).collect()
    }

    /// An object is read, whose fields are asked for next.
    pub(crate) fn object(&self, name: &str) -> Self {
        let inner = Self::default();
        self.lock().fields.entry(name.to_owned()).or_insert(Asking::Object(inner.clone()));
        inner
    }

    /// The field has to be there.
    pub(crate) fn required(&self, name: &str) {
        self.lock().required.push(name.to_owned());
    }

    /// The field has to be there; it may be `null`.
    pub(crate) fn mentioned(&self, name: &str) {
        self.lock().mentioned.push(name.to_owned());
    }

    /// `old` is another name of `name`.
    pub(crate) fn alias(&self, name: &str, old: &str) {
        self.lock().aliases.push((name.to_owned(), old.to_owned()));
    }

    /// All of it may stand in the one member `name`.
    pub(crate) fn wrapper(&self, name: &str) {
        self.lock().wrapper = Some(name.to_owned());
    }

    /// Nothing else is accepted, but these: ignored always, or while they say nothing.
    pub(crate) fn closed(&self, ignored: &[&str], ignored_if_empty: &[&str]) {
        for name in ignored {
            self.value(name, json!({ "description": "Accepted, and ignored." }));
        }
        let nothing = [json!(null), json!(""), json!("{}"), json!("null"), json!({}), json!([])];
        let nothing = [nothing.as_slice(), &[json!(false), json!(0)]].concat();
        for name in ignored_if_empty {
            let why = "Accepted while it is empty; it would mean something elsewhere.";
            self.value(name, json!({ "enum": nothing, "description": why }));
        }
        self.lock().closed = true;
    }

    /// The schema of what is accepted; `also` are fields that have to be there, too.
    pub(crate) fn schema(&self, also: &[&str]) -> Value {
        let asked = self.lock();
        let mut properties = Map::new();
        for (name, asking) in &asked.fields {
            properties.insert(name.clone(), asking.schema());
        }
        let mut rules = Vec::new();
        for (name, old) in &asked.aliases {
            let schema = properties.get(name).cloned().unwrap_or_else(|| json!({}));
            // Beside the newer name it isn't even looked at.
            let given = json!({ "properties": { old: schema } });
            rules.push(json!({ "anyOf": [{ "required": [name] }, given] }));
            let told = format!("Older name of `{name}`, read where that one is absent.");
            properties.insert(old.clone(), json!({ "deprecated": true, "description": told }));
        }
        let mut object = json!({ "type": "object", "properties": properties });
        if asked.closed {
            object["additionalProperties"] = false.into();
        }
        let required = asked.required.iter().map(String::as_str).chain(also.iter().copied());
        rules.extend(required.map(|name| asked.presence(name)));
        rules.extend(asked.mentioned.iter().map(|name| json!({ "required": [name] })));
        if !rules.is_empty() {
            object["allOf"] = rules.into();
        }
        match &asked.wrapper {
            Some(member) => json!({ "oneOf": [object.clone(), wrapped(member, &object)] }),
            None => object,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// That a field is there, under one of its names.
    fn presence(&self, name: &str) -> Value {
        let aliases = self.aliases.iter().filter(|(new, _)| new == name);
        let names = std::iter::once(name).chain(aliases.map(|(_, old)| old.as_str()));
        let mut ways: Vec<Value> = names.map(there).collect();
        if ways.len() == 1 { ways.remove(0) } else { json!({ "anyOf": ways }) }
    }
}

impl Asking {
    fn schema(&self) -> Value {
        match self {
            Self::Value(schema) => schema.clone(),
            Self::Object(inner) => json!({ "anyOf": [
                inner.schema(&[]),
                { "type": "string", "contentMediaType": "application/json",
                  "description": "The same object as text; empty: an empty object." },
                { "type": "null" },
            ] }),
        }
    }
}

fn there(name: &str) -> Value {
    json!({ "required": [name], "properties": { name: { "not": { "type": "null" } } } })
}

/// How older scripts send it: `{"mode":"single","channel":{…}}`.
fn wrapped(member: &str, object: &Value) -> Value {
    json!({
        "type": "object",
        "properties": { "mode": { "const": "single" }, member: object },
        "required": [member],
        "additionalProperties": false,
    })
}

/// A text.
pub(crate) fn text() -> Value {
    json!({ "type": ["string", "null"] })
}

/// A whole number, or its digits in a string.
pub(crate) fn int() -> Value {
    json!({ "anyOf": [
        { "type": "integer", "format": "int64" },
        { "type": "string", "pattern": "^\\s*[+-]?[0-9]+\\s*$" },
        { "type": "null" },
    ] })
}

/// The same in a range.
pub(crate) fn int_in(low: i64, high: i64) -> Value {
    let mut schema = int();
    schema["anyOf"][0]["minimum"] = low.into();
    schema["anyOf"][0]["maximum"] = high.into();
    schema["description"] = format!("From {low} to {high}.").into();
    schema
}

/// `true` or `false`; older scripts write 1 and 0.
pub(crate) fn flag() -> Value {
    json!({ "enum": [true, false, 1, 0, null] })
}

/// An exact decimal, as a number or a string.
pub(crate) fn ratio() -> Value {
    json!({
        "anyOf": [
            { "type": "number", "minimum": 0, "maximum": 1_000_000 },
            { "type": "string", "pattern": "^\\s*[0-9]+(\\.[0-9]{1,6})?\\s*$" },
            { "type": "null" },
        ],
        "description": "An exact decimal from 0 to 1000000 with at most 6 places.",
    })
}

/// An object or a list, or the text of one.
pub(crate) fn json_or_text() -> Value {
    json!({
        "type": ["object", "array", "string", "null"],
        "description": "JSON, or a string that holds it.",
    })
}

/// Numbers in an array.
pub(crate) fn numbers(most: usize) -> Value {
    let whole = json!({ "type": "integer", "format": "int64" });
    json!({ "type": "array", "items": whole, "minItems": 1, "maxItems": most })
}

/// A list of texts: an array, or one string with commas or line breaks.
pub(crate) fn list(max_items: usize) -> Value {
    json!({ "anyOf": [
        { "type": "array", "maxItems": max_items,
          "items": { "type": "string", "pattern": "^[^,]*$" } },
        { "type": "string", "description": "The items, separated by commas or line breaks." },
        { "type": "null" },
    ] })
}
