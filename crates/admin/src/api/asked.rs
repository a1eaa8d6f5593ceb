//! What the fields of requests mean that no reply shows.

use serde_json::Value;

/// Says what the fields of a body mean.
pub(super) fn describe(body: &mut Value) {
    for way in body["oneOf"].as_array_mut().into_iter().flatten() {
        describe(way);
    }
    for (name, field) in body["properties"].as_object_mut().into_iter().flatten() {
        let words = meaning(name);
        if !words.is_empty() {
            field["description"] = words.into();
        }
    }
}

fn meaning(name: &str) -> &'static str {
    match name {
        "grace_seconds" => {
            "How long the secret before is still good, in seconds, up to 604800; 0: not at all. \
             Unless it is said, a day."
        }
        _ => "",
    }
}
