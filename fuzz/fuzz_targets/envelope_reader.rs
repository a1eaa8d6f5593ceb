//! What the envelope reader finds is what `serde_json` reads there.
#![no_main]

use fuzz::Reply;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use upstream::BodyKind;

fuzz_target!(|input: &[u8]| {
    let Some(reply) = Reply::read(input) else { return };
    let whole = reply.scan_whole();
    assert_eq!(whole, reply.scan_in_pieces());
    if reply.encoding.is_some() || whole.kind != BodyKind::Json {
        return;
    }
    let Ok(value) = serde_json::from_slice::<Value>(reply.body) else { return };
    assert_eq!(whole.envelope.is_some(), value.is_object());
    let (Some(envelope), Some(object)) = (whole.envelope, value.as_object()) else { return };
    if let Some(code) = object.get("code").filter(|code| !code.is_null()) {
        let is_zero = code.as_f64() == Some(0.0) || code.as_str() == Some("0");
        // Numbers too small for a float, and texts too long to be kept, are no zero to us.
        assert!(envelope.code_ok.is_some() && (is_zero || envelope.code_ok == Some(false)));
    } else {
        assert_eq!(envelope.code_ok, None);
    }
    assert_eq!(envelope.type_precharge, object.get("type").is_some_and(|t| t == "precharge"));
    let text = |name: &str| object.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
    let expected = text("message").or_else(|| text("msg"));
    assert_eq!(envelope.message.is_some(), expected.is_some());
    if let (Some(message), Some(expected)) = (envelope.message, expected) {
        assert!(expected.starts_with(&message));
        assert!(message == expected || message.chars().count() <= 500);
    }
});
