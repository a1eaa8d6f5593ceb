//! The OpenAPI document against the server it describes.

use crate::world::World;
use serde_json::Value;
use std::collections::BTreeSet;
use testkit::{Reply, TestDb, json};

/// The methods that a path's item has, as `Allow` names them.
fn told(item: &Value) -> BTreeSet<String> {
    let mut methods: BTreeSet<String> =
        item.as_object().unwrap().keys().map(|verb| verb.to_uppercase()).collect();
    if methods.contains("GET") {
        methods.insert("HEAD".to_owned());
    }
    methods
}

#[tokio::test]
async fn the_document_has_the_methods_that_the_server_has() {
    let world = World::open(TestDb::sqlite().await).await;
    let admin = world.admin();
    let document = admin.call("GET", "/api/openapi.json").send().await.expect(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    let printed: Value = serde_json::from_str(&world.server.cli_ok(&["openapi"]).await).unwrap();
    assert_eq!(document, printed);

    let paths = document["paths"].as_object().unwrap();
    let administration = paths.iter().filter(|(path, _)| path.starts_with("/api/"));
    for (path, item) in administration {
        let target = path.replace("{id}", "1").replace(['{', '}'], "");
        let refused = admin.call("OPTIONS", &target).send().await.expect(405);
        let allowed = refused.header("allow").unwrap();
        let allowed = allowed.split(',').map(|method| method.trim().to_owned()).collect();
        assert_eq!(told(item), allowed, "{path}");
        let is_open = |verb: &str| item[verb]["security"] == json!([]);
        let want = match (is_open("get"), is_open("post")) {
            (true, _) => 200,
            (false, true) => 405,
            (false, false) => 401,
        };
        world.server.call("GET", &target).send().await.expect(want);
    }
    world.close().await;
}

/// Whether a response conforms to the schema.
fn fits(schema: &Value, answer: &Value) -> bool {
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => Vec::from_iter(one.as_str()),
    };
    let typed = types.is_empty() || types.iter().any(|name| is_a(name, answer));
    let constant = schema.get("const").is_none_or(|wanted| wanted == answer);
    let listed = schema["enum"].as_array().is_none_or(|words| words.contains(answer));
    let required = schema["required"].as_array().into_iter().flatten();
    let complete = required.filter_map(Value::as_str).all(|name| answer.get(name).is_some());
    let members = schema["properties"].as_object().into_iter().flatten();
    let inside = members.filter_map(|(name, schema)| Some((schema, answer.get(name)?)));
    let items = answer.as_array().into_iter().flatten().map(|item| (&schema["items"], item));
    typed && constant && listed && complete && inside.chain(items).all(|(s, a)| fits(s, a))
}

fn is_a(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other:?} is no type"),
    }
}

#[tokio::test]
async fn the_data_plane_answers_what_the_document_says() {
    let world = World::open(TestDb::sqlite().await).await;
    let admin = world.admin();
    world.channel(&["m", "img/submit"], json!({})).await;
    world.upstream.on("/img/submit", Reply::json(&json!({"code": 0, "data": {"task_id": "t1"}})));
    let ann = world.payer(1_000).await;
    let made = world.server.post("/pass/img/submit", &ann.key, &json!({})).await.expect(200);
    let location = made.header("location").unwrap();
    let tasks = world.server.call("GET", "/v1/tasks").key(&ann.key).send().await.expect(200).json();
    let uid = tasks["data"][0]["id"].as_str().unwrap_or_else(|| panic!("{location} {tasks}"));

    let document = admin.call("GET", "/api/openapi.json").send().await.expect(200).json();
    let paths = document["paths"].as_object().unwrap();
    let plane = paths.iter().filter(|(path, _)| path.starts_with("/v1/") || *path == "/api/status");
    let mut asked = 0;
    for (path, item) in plane {
        let id = if path.contains("models") { "m" } else { uid };
        let target = path.replace("{id}", id);
        let answer = world.server.call("GET", &target).key(&ann.key).send().await.expect(200);
        let content = &item["get"]["responses"]["200"]["content"]["application/json"];
        assert!(fits(&content["schema"], &answer.json()), "{path}: {}", answer.text());
        asked += 1;
        if path.starts_with("/v1/") {
            let refused = world.server.call("GET", &target).send().await.expect(401).json();
            let content = &item["get"]["responses"]["default"]["content"]["application/json"];
            assert!(fits(&content["schema"], &refused), "{path}: {refused}");
        }
    }
    assert_eq!(asked, 7);
    world.close().await;
}
