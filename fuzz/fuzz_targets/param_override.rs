//! An override changes what it names, and not a byte besides.
#![no_main]

use libfuzzer_sys::fuzz_target;
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
    if member.is_ok() {
        let mapped = splice::top_level_string(&changed, "model").expect("still a model");
        assert_eq!(mapped, "other");
    }
});

fn form(input: &[u8]) {
    let Ok(field) = multipart::field("B", input, "model") else { return };
    let changed = multipart::replace(input, &field, "other").expect("a plain value");
    let again = multipart::field("B", &changed, "model").expect("still a form");
    assert_eq!(again.text, "other");
    let back = multipart::replace(&changed, &again, &field.text);
    if let Ok(back) = back {
        assert_eq!(back, input);
    }
}
