//! Properties that hold for every body and every way of cutting it.

use super::*;
use proptest::prelude::*;

/// Any JSON document, with the keys that matter in all places.
fn document() -> impl Strategy<Value = serde_json::Value> {
    let key = prop_oneof![
        Just("usage".to_owned()),
        Just("code".to_owned()),
        Just("message".to_owned()),
        Just("response".to_owned()),
        Just("type".to_owned()),
        Just("prompt_tokens".to_owned()),
        "[a-z\"\\\\\u{e9}\n]{0,4}",
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (0..1000u32).prop_map(Into::into),
        "\\PC{0,40}".prop_map(Into::into),
        Just("precharge".into()),
        Just("0".into()),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn expected_usage(value: &serde_json::Value) -> Option<Result<UsageReport, ()>> {
    let object = value.as_object()?;
    let nested = |name: &str| object.get(name)?.as_object()?.get("usage");
    let found = [object.get("usage"), nested("response"), nested("message")];
    let found = found.into_iter().flatten().find(|usage| !usage.is_null())?;
    if !found.is_object() {
        return Some(Err(()));
    }
    Some(serde_json::from_value(found.clone()).map_err(|_| ()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn agrees_with_serde_json(
        value in document(),
        pretty in any::<bool>(),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let text = if pretty {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            value.to_string()
        };
        let scanned = scan_split(JSON, text.as_bytes(), &cuts);
        prop_assert_eq!(&scanned, &scan(JSON, text.as_bytes()));
        prop_assert!(scanned.well_formed);
        prop_assert_eq!(scanned.envelope.is_some(), value.is_object());
        match expected_usage(&value) {
            Some(Ok(usage)) => prop_assert_eq!(scanned.usage, Some(usage)),
            Some(Err(())) => prop_assert_eq!(scanned.usage_error, Some(UsageFault::Malformed)),
            None => prop_assert_eq!((scanned.usage, scanned.usage_error), (None, None)),
        }
        if let (Some(envelope), Some(object)) = (scanned.envelope, value.as_object()) {
            let code = object.get("code").filter(|code| !code.is_null());
            let ok = code.map(|code| *code == 0 || *code == "0");
            prop_assert_eq!(envelope.code_ok, ok);
            let precharge = object.get("type").is_some_and(|t| t == "precharge");
            prop_assert_eq!(envelope.type_precharge, precharge);
            let message = object.get("message").and_then(|m| m.as_str()).filter(|m| !m.is_empty());
            prop_assert_eq!(envelope.message.as_deref(), message);
        }
    }

    #[test]
    fn is_as_strict_as_serde_json(
        value in document(),
        at in any::<usize>(),
        byte in prop_oneof![prop::sample::select(&b"\"\\,}1"[..]), any::<u8>()],
    ) {
        let mut text = value.to_string().into_bytes();
        let at = at % text.len();
        text[at] = byte;
        let ours = scan(JSON, &text);
        let theirs = serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok();
        let starts_like_a_stream =
            text.iter().find(|b| !b.is_ascii_whitespace()).is_some_and(|b| b"deir:".contains(b));
        // A form feed is whitespace in ASCII, but not in JSON; it is skipped in front and behind.
        if !starts_like_a_stream && byte != 12 {
            prop_assert_eq!(ours.well_formed, theirs, "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn streams_read_the_same_however_they_are_cut(
        values in prop::collection::vec(document(), 0..6),
        ends in prop::collection::vec(prop_oneof![Just("\n"), Just("\r\n"), Just("\r")], 3),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let mut body = String::new();
        for (i, value) in values.iter().enumerate() {
            let end = ends[i % ends.len()];
            body.push_str(&format!("event: message{end}data: {value}{end}{end}"));
        }
        let scanned = scan_split(SSE, body.as_bytes(), &cuts);
        prop_assert_eq!(&scanned, &scan(SSE, body.as_bytes()));
        prop_assert_eq!(scanned.documents, values.len() as u64);
        prop_assert_eq!(scanned.well_formed, !values.is_empty());
        let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
        let split = scan_split("application/jsonl", lines.as_bytes(), &cuts);
        prop_assert_eq!(&split, &scan("application/jsonl", lines.as_bytes()));
        prop_assert_eq!(split.usage, scanned.usage);
    }

    #[test]
    fn noise_does_no_harm(
        body in prop::collection::vec(any::<u8>(), 0..400),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
        which in 0..5usize,
    ) {
        let content_type = [JSON, SSE, "application/jsonl", "", "image/png"][which];
        prop_assert_eq!(scan_split(content_type, &body, &cuts), scan(content_type, &body));
    }
}
