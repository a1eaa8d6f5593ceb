//! An override changes what it names, and not a byte besides.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use upstream::{multipart, splice};

fuzz_target!(|input: &[u8]| {
    form(input);
    let member = splice::top_level_string(input, "model");
    let members = [("model", "\"other\""), ("temperature", "0.25")];
    let Ok(changed) = splice::override_members(input, &members) else {
        assert!(member.is_err());
        return;
    };
    let before: Result<BTreeMap<String, &RawValue>, _> = serde_json::from_slice(input);
    let after: Result<BTreeMap<String, &RawValue>, _> = serde_json::from_slice(&changed);
    let (before, after) = (before.expect("an object"), after.expect("an object"));
    for (name, value) in members {
        assert_eq!(after[name].get(), value);
    }
    for (name, value) in &before {
        if !members.iter().any(|(member, _)| member == name) {
            assert_eq!(after[name].get(), value.get());
        }
    }
    let Ok(member) = member else { return };
    let mapped = splice::replace_string(input, &member, &member.text);
    let again = splice::top_level_string(&mapped, "model").expect("still a model");
    assert_eq!(again.text, member.text);
    let there_and_back = splice::replace_string(&mapped, &again, "x");
    if let Ok(value) = serde_json::from_slice::<Value>(&there_and_back) {
        assert_eq!(value["model"], "x");
    }
});

fn form(input: &[u8]) {
    let content_type = "multipart/form-data; boundary=B";
    let Ok(field) = multipart::field(content_type, input, "model") else { return };
    let changed = multipart::replace(input, &field, "other").expect("a plain value");
    let again = multipart::field(content_type, &changed, "model").expect("still a form");
    assert_eq!(again.text, "other");
    let back = multipart::replace(&changed, &again, &field.text);
    if let Ok(back) = back {
        assert_eq!(back, input);
    }
}
