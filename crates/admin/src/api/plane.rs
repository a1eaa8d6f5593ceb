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
        { "name": "limit", "in": "query", "schema": { "type": "integer" } },
        { "name": "after", "in": "query", "schema": { "type": "string" } },
    ]);
    let one = json!([
        { "name": "id", "in": "path", "required": true, "schema": { "type": "string" } },
    ]);
    for (path, id, summary, schema, parameters) in [
        ("/v1/models", "models", "The models that this key may call", models(), json!([])),
        ("/v1/models/{id}", "model", "One of them", model(), one.clone()),
        ("/v1/tasks", "tasks", "The caller's tasks over all models, newest first", tasks(), page),
        ("/v1/tasks/{id}", "task", "One task, by its uid", task(), one),
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
            object(&[("object", json!({ "const": "list" })), ("total_usage", number())]),
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
    let data = [("status", json!({ "const": "ok" })), ("version", text()), ("start_time", int())];
    object(&[("success", json!({ "const": true })), ("message", text()), ("data", object(&data))])
}

fn model() -> Value {
    object(&[
        ("id", text()),
        ("object", json!({ "const": "model" })),
        ("created", int()),
        ("owned_by", text()),
    ])
}

fn models() -> Value {
    object(&[("object", json!({ "const": "list" })), ("data", list(&model()))])
}

fn task() -> Value {
    let words = ["submitted", "processing", "completed", "failed", "unknown"];
    object(&[
        ("id", json!({ "type": "string", "format": "uuid" })),
        ("object", json!({ "const": "task" })),
        ("task_id", json!({ "type": ["string", "integer", "null"] })),
        ("status", json!({ "enum": words })),
        ("created_at", int()),
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
    object(&[
        ("object", json!({ "const": "billing_subscription" })),
        ("has_payment_method", json!({ "type": "boolean" })),
        ("soft_limit_usd", number()),
        ("hard_limit_usd", number()),
        ("system_hard_limit_usd", number()),
        ("access_until", int()),
    ])
}

fn fault() -> Value {
    let members = ["message", "type", "code", "request_id"].map(|name| (name, text()));
    object(&[("error", object(&members))])
}
