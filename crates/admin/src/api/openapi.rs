//! The OpenAPI document: the route table, written out.

use super::asked;
use super::session::WRITING_GETS;
use super::table::{ApiCall, BodyDoc, Data, RequiredRole, ResponseShape, Verb};
use serde_json::{Map, Value, json};

/// What a call can come to besides working: status, name, and when.
const ERRORS: [(u16, &str, &str); 11] = [
    (400, "BadRequest", "The request can't be read: its address, or a body that is not JSON"),
    (401, "Unauthenticated", "No access token, or an unknown one"),
    (403, "Forbidden", "The role does not reach, or the user is disabled"),
    (404, "NotFound", "No such thing, or not the caller's"),
    (405, "MethodNotAllowed", "Not a method of this path; `Allow` names those it has"),
    (409, "Conflict", "The name is taken, or the state of things forbids it"),
    (413, "PayloadTooLarge", "The body is larger than 1 MiB, or a login than 8 KiB"),
    (
        422,
        "Unprocessable",
        "A field breaks its rule; the message names it, the rule and the remedy",
    ),
    (429, "RateLimited", "Too many calls; `Retry-After` says when to come again"),
    (500, "System", "Our own mistake; the log has its cause under the request id"),
    (503, "Unavailable", "The database is away or the server is full; `Retry-After` says when"),
];

const INTRODUCTION: &str = "Administration of the gateway, under `/api`. Every answer is an \
    envelope: `success`, `message` and `data`; a collection has its array in `data`, and `total`, \
    `page` and `page_size` beside it. Messages are Chinese with the English in parentheses. \
    A path with a trailing slash is the same path. Bodies are JSON whatever their content type \
    says. Amounts are whole numbers of quota; 500000 quota are 1 USD. `null` and an absent field \
    mean the same, but where a description says otherwise. An unknown field is refused.";

/// The document of these calls.
pub(super) fn document(calls: &[ApiCall]) -> Value {
    let mut schemas = common_schemas();
    let mut paths = super::plane::paths();
    for call in calls {
        if let ResponseShape::One(data)
        | ResponseShape::OneOrCsv(data)
        | ResponseShape::Page(data) = &call.doc.answer
        {
            for (name, schema) in &data.named {
                schemas.insert(name.clone(), json!(schema));
            }
        }
        let path = spelt(call.path);
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[call.verb.word()] = operation(call);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "newapi",
            "version": env!("CARGO_PKG_VERSION"),
            "description": INTRODUCTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "accessToken": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": error_responses(),
            "headers": { "RequestId": text_header("The id of the call, in our log.") },
            "parameters": { "NewApiUser": {
                "name": "New-Api-User", "in": "header", "schema": { "type": "string" },
                "description": "Not needed. If it is there it has to be the number of the user \
                    whose access token is sent.",
            } },
            "securitySchemes": { "accessToken": {
                "type": "http", "scheme": "bearer",
                "description": "A user's access token; `Bearer` may be left out.",
            }, "key": {
                "type": "http", "scheme": "bearer",
                "description": "A key, `sk-…`; `x-api-key` takes it, too.",
            } },
        },
    })
}

/// A path as OpenAPI writes it: it has no word for "the rest of the path".
fn spelt(path: &str) -> String {
    path.replace("{*", "{")
}

fn operation(call: &ApiCall) -> Value {
    let mut parameters = path_parameters(call.path);
    let query = call.doc.params.iter();
    parameters.extend(query.map(|param| {
        json!({ "name": param.name, "in": "query", "schema": param.schema,
            "description": asked::of_parameter(call.path, param) })
    }));
    parameters.push(json!({ "$ref": "#/components/parameters/NewApiUser" }));
    let (word, role) = match call.role {
        RequiredRole::Anyone => ("anyone", "For everybody."),
        RequiredRole::User => ("user", "For every user, about what is theirs."),
        RequiredRole::Admin => ("admin", "For administrators."),
    };
    let mut operation = json!({
        "operationId": operation_id(call),
        "summary": call.doc.summary,
        "description": role,
        "tags": [call.path.split('/').nth(2).unwrap_or_default()],
        "parameters": parameters,
        "responses": responses(&call.doc.answer),
        "x-role": word,
    });
    if call.verb == Verb::Get && WRITING_GETS.iter().any(|path| call.path.starts_with(path)) {
        operation["x-writes"] = json!(true);
    }
    if call.role == RequiredRole::Anyone {
        operation["security"] = json!([]);
    }
    if let Some(BodyDoc { schema, required }) = &call.doc.body {
        let mut schema = schema.clone();
        asked::describe(call.path, &mut schema);
        operation["requestBody"] = json!({
            "required": required,
            "content": { "application/json": { "schema": schema } },
        });
    }
    operation
}

/// `get_channel_id_copy`: one a path and method, and steady.
fn operation_id(call: &ApiCall) -> String {
    let words = call.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    let mut id = call.verb.word().to_owned();
    for word in words.skip(1) {
        id.push('_');
        id.push_str(word);
    }
    id
}

/// `{id}` is a number, `{*name}` has slashes in it, any other is a text.
fn path_parameters(path: &str) -> Vec<Value> {
    let open = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    open.map(|name| {
        let (name, schema) = match (name, name.strip_prefix('*')) {
            ("id", _) => (name, json!({ "type": "integer", "format": "int64" })),
            (_, Some(rest)) => (
                rest,
                json!({ "type": "string", "minLength": 1,
                "description": "May contain slashes, as they are." }),
            ),
            _ => (name, json!({ "type": "string", "minLength": 1 })),
        };
        json!({ "name": name, "in": "path", "required": true, "schema": schema,
            "description": asked::of_place(path, name) })
    })
    .collect()
}

fn responses(answer: &ResponseShape) -> Value {
    let json = |schema: Value| json!({ "application/json": { "schema": schema } });
    let csv = || json!({ "text/csv": { "schema": { "type": "string" } } });
    let (description, content) = match answer {
        ResponseShape::One(data) => ("Done", json(envelope(&data.schema, &json!({})))),
        ResponseShape::OneOrCsv(data) => {
            let mut either = json(envelope(&data.schema, &json!({})));
            either["text/csv"] = csv()["text/csv"].take();
            ("Done", either)
        }
        ResponseShape::Csv => ("The lines, below a line of names", csv()),
        ResponseShape::Page(Data { schema, .. }) => {
            let items = json!({ "type": "array", "items": schema, "maxItems": 100 });
            ("A page", json(envelope(&items, &page_members())))
        }
        ResponseShape::Events => {
            let schema = json!({ "type": "string" });
            ("Events, without an end", json!({ "text/event-stream": { "schema": schema } }))
        }
        ResponseShape::Object => ("The document", json(json!({ "type": "object" }))),
    };
    let mut responses = json!({ "200": {
        "description": description,
        "headers": { "X-Request-Id": { "$ref": "#/components/headers/RequestId" } },
        "content": content,
    } });
    for (status, name, _) in ERRORS {
        let reference = format!("#/components/responses/{name}");
        responses[status.to_string()] = json!({ "$ref": reference });
    }
    responses
}

fn envelope(data: &Value, beside: &Value) -> Value {
    let mut properties = json!({
        "success": { "type": "boolean" },
        "message": { "type": "string" },
        "data": data,
    });
    let mut required = vec!["success", "message", "data"];
    for (name, schema) in beside.as_object().into_iter().flatten() {
        properties[name] = schema.clone();
        required.push(name);
    }
    json!({ "type": "object", "properties": properties, "required": required,
        "additionalProperties": false })
}

fn page_members() -> Value {
    let number = |low: i64, text: &str| {
        let mut schema = json!({ "type": "integer", "minimum": low });
        schema["description"] = text.into();
        schema
    };
    json!({
        "total": number(0, "How many there are on all pages; counting stops at 10000."),
        "page": number(1, "Which page this is."),
        "page_size": number(1, "How many a page holds."),
    })
}

fn common_schemas() -> Map<String, Value> {
    let failed = json!({
        "type": "object",
        "description": "What went wrong.",
        "properties": {
            "success": { "const": false },
            "message": { "type": "string", "description": "Chinese (English)." },
            "data": { "type": "null" },
        },
        "required": ["success", "message", "data"],
        "additionalProperties": false,
    });
    [("Failed".to_owned(), failed)].into_iter().collect()
}

fn error_responses() -> Value {
    let mut responses = json!({});
    for (status, name, description) in ERRORS {
        let mut headers = json!({ "X-Request-Id": { "$ref": "#/components/headers/RequestId" } });
        match status {
            405 => headers["Allow"] = text_header("The methods of this path."),
            429 | 503 => headers["Retry-After"] = text_header("When to try again, in seconds."),
            _ => {}
        }
        responses[name] = json!({
            "description": description,
            "headers": headers,
            "content": { "application/json": {
                "schema": { "$ref": "#/components/schemas/Failed" },
            } },
        });
    }
    responses
}

fn text_header(description: &str) -> Value {
    json!({ "description": description, "schema": { "type": "string" } })
}

#[cfg(test)]
mod tests {
    use crate::api::openapi;
    use serde_json::Value;
    use std::collections::BTreeSet;

    /// Every operation, with the path and method it stands under.
    fn operations(document: &Value) -> Vec<(String, &Value)> {
        let paths = document["paths"].as_object().unwrap();
        let calls = paths.iter().flat_map(|(path, item)| {
            let item = item.as_object().unwrap();
            item.iter().map(move |(verb, operation)| (format!("{verb} {path}"), operation))
        });
        calls.collect()
    }

    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn what_is_spoken_of_is_there() {
        let document = openapi();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.contains("#/components/schemas/TokenView"));
        for reference in found {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_operation_has_its_own_id() {
        let document = openapi();
        let operations = operations(&document);
        let ids = operations.iter().map(|(_, operation)| operation["operationId"].as_str());
        assert_eq!(ids.collect::<BTreeSet<_>>().len(), operations.len());
    }

    /// A reader that gave up early, because it insists on a field that was not sent, would leave
    /// the fields after it out.
    #[test]
    fn every_body_was_read_to_its_end() {
        let document = openapi();
        let mut bodies = 0;
        for (call, operation) in operations(&document) {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            if body.is_null() {
                continue;
            }
            let flat = if body["oneOf"].is_array() { &body["oneOf"][0] } else { body };
            assert_eq!(flat["additionalProperties"], false, "{call} calls Fields::finish last");
            bodies += 1;
        }
        assert!(bodies > 10);
    }

    #[test]
    fn spellings_are_told_as_they_are_read() {
        let document = openapi();
        let body = |path: &str| {
            let pointer = "/post/requestBody/content/application~1json/schema";
            document["paths"][path].pointer(pointer).unwrap()
        };
        let key = body("/api/token");
        assert_eq!(key["properties"]["models"]["anyOf"][0]["type"], "array");
        assert_eq!(key["properties"]["models"]["anyOf"][1]["type"], "string");
        assert_eq!(key["properties"]["quota"]["deprecated"], true);
        assert_eq!(key["properties"]["status"]["anyOf"][0]["maximum"], 2);
        let channel = body("/api/channel");
        let wrapped = &channel["oneOf"][1]["properties"]["channel"]["properties"];
        assert_eq!(wrapped, &channel["oneOf"][0]["properties"]);
        let setting = &wrapped["setting"]["anyOf"];
        let most = store::channel_fields::RETRY_MAX;
        assert_eq!(setting[0]["properties"]["retry_count"]["anyOf"][0]["maximum"], most);
        assert_eq!(setting[1]["type"], "string");
    }
}
