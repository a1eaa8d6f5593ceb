//! What is read does not depend on how a reply is cut, is what `serde_json` reads, and no bytes
//! make it panic.
#![allow(clippy::unwrap_used, reason = "it is a test")]

use proptest::prelude::*;
use protocol::{Library, Meter, ReplyHead, ReplyReader, ReplyReading};
use serde_json::{Value, json};

const TYPES: [&str; 6] = [
    "application/json",
    "text/event-stream",
    "application/x-ndjson",
    "text/plain",
    "",
    "image/png",
];
const CALLS: [(&str, &str); 4] = [
    ("openai", "/v1/chat/completions"),
    ("openai", "/v1/responses"),
    ("anthropic", "/v1/messages"),
    ("gemini", "/v1beta/models/m:streamGenerateContent"),
];

fn reader(call: usize, content_type: &str) -> ReplyReader {
    let (name, path) = CALLS[call];
    let library = Library::builtin().unwrap();
    let call = library.get(name).unwrap().route("POST", path).unwrap();
    ReplyReader::new(call.route, ReplyHead { status: 200, content_type: Some(content_type) })
}

fn whole(call: usize, content_type: &str, body: &[u8]) -> ReplyReading {
    let mut reader = reader(call, content_type);
    reader.push(body);
    reader.finish()
}

fn in_pieces(call: usize, content_type: &str, body: &[u8], lengths: &[usize]) -> ReplyReading {
    let mut reader = reader(call, content_type);
    let mut rest = body;
    for length in lengths.iter().copied().chain([1]).cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at(length.clamp(1, rest.len()));
        reader.push(piece);
        rest = behind;
    }
    reader.finish()
}

/// Pieces of what replies are made of, in any order.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\n",
        "\r",
        "data: ",
        "event: error",
        " ",
        "\\u",
        "d83d",
        "\\ude00",
        "\"usage\":{",
        "\"prompt_tokens\":",
        "\"input_tokens\":5",
        "7",
        "1e3",
        "-0.5",
        "null",
        "true",
        "[DONE]",
        "\"usageMetadata\":{",
        "\"promptTokensDetails\":[",
        "\"modality\":\"AUDIO\"",
        "\"tokenCount\":3",
        "\"choices\":[{\"delta\":{\"content\":\"",
        "字",
        "\u{feff}",
        "\"error\":",
        "\"type\":\"error\"",
        "\"message\":{",
        "\u{1e}",
    ]);
    prop::collection::vec(words, 0..60).prop_map(|words| words.concat().into_bytes())
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => soup(), 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

fn count() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (0..2_000_000_000_i64).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => (0..1000_i64).prop_map(|count| json!(count.to_string())),
        1 => (-5..5_i64).prop_map(Value::from),
    ]
}

/// What a count is, as `serde_json` reads it.
fn expected(value: &Value) -> Option<i64> {
    let count = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
    (0..=1_000_000_000).contains(&count).then_some(count)
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        body in any_body(),
        kind in 0..TYPES.len(),
        call in 0..CALLS.len(),
        lengths in prop::collection::vec(1..40_usize, 0..6),
    ) {
        let one = whole(call, TYPES[kind], &body);
        prop_assert_eq!(in_pieces(call, TYPES[kind], &body, &lengths), one);
    }

    #[test]
    fn what_is_read_is_what_serde_json_reads(
        input in count(),
        write in count(),
        read in count(),
        output in count(),
        noise in "[a-z\"\\\\{}\\[\\]:,字]{0,40}",
    ) {
        let body = json!({
            "content": [{"type": "text", "text": noise.clone(), "usage": {"input_tokens": 99}}],
            noise: {"usage": {"output_tokens": 98}},
            "usage": {
                "input_tokens": input, "output_tokens": output,
                "cache_read_input_tokens": read, "cache_creation_input_tokens": write,
            },
        });
        let pretty = serde_json::to_string_pretty(&body).unwrap();
        let reading = whole(2, "application/json", pretty.as_bytes());
        for (meter, value) in [
            (Meter::Input, &input), (Meter::Output, &output),
            (Meter::Cached, &read), (Meter::CacheWrite, &write),
        ] {
            prop_assert_eq!(reading.meters.get(meter), expected(value), "{}", meter);
        }
        let wrong = |value: &&Value| !value.is_null() && expected(value).is_none();
        let any_wrong = [&input, &output, &read, &write].iter().any(wrong);
        prop_assert_eq!(reading.fault.is_some(), any_wrong);
    }

    #[test]
    fn a_request_is_read_whatever_it_is(body in any_body(), path in "[/a-z:%0-9]{0,30}") {
        let library = Library::builtin().unwrap();
        for protocol in library.iter() {
            let _ = protocol.route("POST", &path);
            let captures = protocol::PathCaptures::default();
            for route in &protocol.routes {
                let _ = route.read_request(&captures, &path, &body);
            }
        }
    }

    #[test]
    fn a_document_is_compiled_or_refused(text in "[a-z\\[\\]{}=\"/.*#\n ]{0,200}") {
        let mut library = Library::builtin().unwrap().clone();
        let _ = library.add(&text);
    }
}

#[test]
fn depth_and_length_have_their_limits() {
    let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let read = |text: String| whole(0, "application/json", text.as_bytes()).well_formed;
    for depth in [511, 512, 513, 600, 65_535] {
        assert!(read(deep(depth)), "{depth}");
    }
    assert!(!read(deep(65_536)));
    let crossed = deep(600).replacen("]}", "}", 1);
    assert!(!read(crossed));
    // Deeper than any pointer, and back: what comes behind is still found.
    let usage = format!("{{\"a\":{},\"usage\":{{\"prompt_tokens\":5}}}}", deep(400));
    let reading = whole(0, "application/json", usage.as_bytes());
    assert_eq!(reading.meters.get(Meter::Input), Some(5));
    let long = format!("{{\"error\":{{\"message\":\"{}\"}}}}", "字".repeat(9_000));
    let reading = whole(0, "application/json", long.as_bytes());
    assert_eq!(reading.message.map(|it| it.chars().count()), Some(500));
}

#[test]
fn a_name_is_found_however_it_comes() {
    for name in ["input_tokens", "inp\\u0075t_tokens", "\\u0069nput_tokens", "input_token\\u0073"] {
        let body = format!("{{\"usage\":{{\"{name}\":5,\"output_tokens\":1}}}}");
        for length in 1..body.len() {
            let reading = in_pieces(2, "application/json", body.as_bytes(), &[length]);
            assert_eq!(reading.meters.get(Meter::Input), Some(5), "{body} in pieces of {length}");
        }
    }
}

#[test]
fn what_is_well_formed_is_what_serde_json_reads() {
    for json in ["{}", "[]", " 1 ", "-0.5e+7", "\"x\"", "null", "{\"a\":[1,{}],\"b\":\"\\u00e9\"}"]
    {
        assert!(whole(0, "application/json", json.as_bytes()).well_formed, "{json}");
    }
    for json in [
        "",
        "{",
        "{}}",
        "{} x",
        "{}{}",
        "[1,]",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{\"a\" 1}",
        "01",
        "1.",
        "1e",
        "-",
        "+1",
        "tru",
        "nulll",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "[}",
        "{]",
        "[1 2]",
        "{\"a\":}",
        "{\"a\"}",
        "'a'",
        "NaN",
        "[",
        "[1",
        "[]]",
        "[,]",
        "[1,,2]",
    ] {
        assert!(!whole(0, "application/json", json.as_bytes()).well_formed, "{json}");
    }
}
