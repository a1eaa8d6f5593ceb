//! What the envelope of CustomPass says is what `serde_json` reads there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{BodyShape, CallOutcome, Library, ReplyFailure, ReplyHead, ReplyReader};
use serde_json::Value;
use std::sync::OnceLock;

fuzz_target!(|body: &[u8]| {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| Library::builtin().expect("built-in protocols").clone());
    let protocol = library.get("custompass").expect("a protocol");
    let call = protocol.route("POST", "/pass/m").expect("a route");
    let head = ReplyHead { status: 200, content_type: Some("application/json") };
    let mut reader = ReplyReader::new(call.route, head);
    reader.push(body);
    let reading = reader.finish();
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
    let (BodyShape::Json, Some(object)) = (reading.shape, value.as_object()) else { return };
    let failed = reading.outcome == CallOutcome::Failed(ReplyFailure::Said);
    match object.get("code").filter(|code| !code.is_null()) {
        Some(code) => {
            let is_zero = code.as_f64() == Some(0.0) || code.as_str() == Some("0");
            // Numbers too small for a float, and texts too long to be kept, are no zero to us.
            assert!(is_zero || failed);
        }
        None => assert!(!failed),
    }
    let text = |name: &str| object.get(name).and_then(Value::as_str).filter(|it| !it.is_empty());
    // Words of conditions are the same in capitals.
    let is_estimate = text("type").is_some_and(|it| it.eq_ignore_ascii_case("precharge"));
    assert_eq!(reading.estimate, is_estimate);
    if let (Some(said), Some(expected)) = (&reading.message, text("message")) {
        assert!(expected.starts_with(said.as_str()));
        assert!(said == expected || said.chars().count() <= 500);
    }
});
