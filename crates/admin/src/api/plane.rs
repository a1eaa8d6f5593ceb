//! The part of the OpenAPI document for the fixed routes outside of this crate: health, and what
//! the data plane serves itself. Their shapes are declared here, and checked against the server by
//! a test.

use serde_json::{Map, Value, json};

/// These paths, by their name.
pub(super) fn paths() -> Map<String, Value> {
    let mut paths = Map::new();
    let mut status = operation("status", "Health; no token is needed", &status(), &json!([]));
    status["responses"]["405"] = json!({ "$ref": "#/components/responses/MethodNotAllowed" });
    status["responses"]["503"] = json!({ "$ref": "#/components/responses/Unavailable" });
    status["security"] = json!([]);
    status["x-role"] = json!("anyone");
    paths.insert("/api/status".to_owned(), json!({ "get": status }));
    let page = json!([
        { "name": "limit", "in": "query", "schema": { "type": "integer" },
            "description": "The most tasks of a page." },
        { "name": "after", "in": "query", "schema": { "type": "string" },
            "description": "The last uid of the page before." },
    ]);
    let one = |words: &str| {
        let id = json!({ "type": "string" });
        json!([{ "name": "id", "in": "path", "required": true, "schema": id,
            "description": words }])
    };
    for (path, id, summary, schema, parameters) in [
        ("/v1/models", "models", "The models that this key may call", models(), json!([])),
        ("/v1/models/{id}", "model", "One of them", model(), one("The model.")),
        ("/v1/tasks", "tasks", "The caller's tasks over all models, newest first", tasks(), page),
        ("/v1/tasks/{id}", "task", "One task, by its uid", task(), one("The task's uid.")),
        (
            "/v1/dashboard/billing/subscription",
            "subscription",
            "What was there in all, in OpenAI's shape",
            subscription(),
            json!([]),
        ),
        (
            "/v1/dashboard/billing/usage",
            "usage",
            "What of it was spent, in cents",
            usage(),
            json!([]),
        ),
    ] {
        let mut operation = operation(id, summary, &schema, &parameters);
        operation["security"] = json!([{ "key": [] }]);
        operation["x-role"] = json!("key");
        operation["responses"]["default"] = json!({
            "description": "A fault; `code` tells them apart.",
            "content": { "application/json": { "schema": fault() } },
        });
        paths.insert(path.to_owned(), json!({ "get": operation }));
    }
    paths
}

fn operation(id: &str, summary: &str, schema: &Value, parameters: &Value) -> Value {
    json!({
        "operationId": id,
        "summary": summary,
        "tags": ["plane"],
        "parameters": parameters,
        "responses": { "200": {
            "description": summary,
            "content": { "application/json": { "schema": schema } },
        } },
    })
}

/// An object that has these members at least.
fn object(members: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "properties": properties, "required": names })
}

/// The same, each with what it means.
fn told(members: &[(&str, Value, &str)]) -> Value {
    let described = members.iter().map(|(name, schema, words)| {
        let mut schema = schema.clone();
        schema["description"] = (*words).into();
        (*name, schema)
    });
    object(&described.collect::<Vec<_>>())
}

fn list(items: &Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn number() -> Value {
    json!({ "type": "number" })
}

fn int() -> Value {
    json!({ "type": "integer" })
}

fn status() -> Value {
    let data = told(&[
        ("status", json!({ "const": "ok" }), "Always `ok`."),
        ("version", text(), "The version of its program."),
        ("start_time", int(), "When it was started, in seconds since 1970."),
    ]);
    object(&[("success", json!({ "const": true })), ("message", text()), ("data", data)])
}

fn model() -> Value {
    told(&[
        ("id", text(), "The model."),
        ("object", json!({ "const": "model" }), "Always `model`."),
        ("created", int(), "A fixed time, in seconds since 1970, which clients of OpenAI expect."),
        ("owned_by", text(), "Always `custompass`."),
    ])
}

fn models() -> Value {
    object(&[("object", json!({ "const": "list" })), ("data", list(&model()))])
}

fn task() -> Value {
    let words = ["submitted", "processing", "completed", "failed", "unknown"];
    let task_id = json!({ "type": ["string", "integer", "null"] });
    told(&[
        ("id", json!({ "type": "string", "format": "uuid" }), "The task's uid."),
        ("object", json!({ "const": "task" }), "Always `task`."),
        ("task_id", task_id, "The upstream's id; `null` until it is known."),
        ("status", json!({ "enum": words }), "Where it stands."),
        ("created_at", int(), "When it was made, in seconds since 1970."),
    ])
}

fn tasks() -> Value {
    let id = json!({ "type": ["string", "null"], "format": "uuid" });
    object(&[
        ("object", json!({ "const": "list" })),
        ("data", list(&task())),
        ("has_more", json!({ "type": "boolean" })),
        ("first_id", id.clone()),
        ("last_id", id),
    ])
}

fn subscription() -> Value {
    let object = json!({ "const": "billing_subscription" });
    told(&[
        ("object", object, "Always `billing_subscription`."),
        ("has_payment_method", json!({ "type": "boolean" }), "Always true."),
        ("system_hard_limit_usd", number(), IN_ALL),
        ("soft_limit_usd", number(), IN_ALL_NOW),
        ("hard_limit_usd", number(), IN_ALL_NOW),
        (
            "access_until",
            int(),
            "When the key ends, in seconds since 1970; of one that never ends, in 2100.",
        ),
    ])
}

const IN_ALL: &str = "What was there in all, in dollars.";
const IN_ALL_NOW: &str = "What was there in all, less what the limits keep back now, in dollars.";

fn usage() -> Value {
    told(&[
        ("object", json!({ "const": "list" }), "Always `list`."),
        ("total_usage", number(), "What of it was spent, in cents."),
    ])
}

fn fault() -> Value {
    let members = ["message", "type", "code", "request_id"].map(|name| (name, text()));
    object(&[("error", object(&members))])
}
