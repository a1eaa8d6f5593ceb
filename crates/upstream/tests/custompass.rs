//! The document `custompass` says what the scanner does: the one can take the other's place.
//!
//! Where they differ on purpose, the document is right: a later 0 erases nothing, a total alone is
//! the input, and counts may be texts.
#![allow(clippy::unwrap_used, reason = "it is a test")]

use domain::Usage;
use proptest::prelude::*;
use protocol::{CallOutcome, Library, ReplyFailure, ReplyHead, ReplyReader, ReplyReading};
use serde_json::{Map, Value, json};
use upstream::{ReplyScanner, Scanned};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const MEMBERS: [&str; 8] = [
    "prompt_tokens",
    "input_tokens",
    "completion_tokens",
    "output_tokens",
    "prompt_cache_hit_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "other_tokens",
];
const DETAILS: [&str; 4] = ["cached_tokens", "image_tokens", "audio_tokens", "text_tokens"];

fn scanned(content_type: &str, body: &str) -> Scanned {
    let mut scanner = ReplyScanner::new(Some(content_type), None);
    scanner.feed(body.as_bytes());
    scanner.finish()
}

fn read(content_type: &str, body: &str) -> ReplyReading {
    let library = Library::builtin().unwrap();
    let call = library.get("custompass").unwrap().route("POST", "/pass/m").unwrap();
    let head = ReplyHead { status: 200, content_type: Some(content_type) };
    let mut reader = ReplyReader::new(call.route, head);
    reader.push(body.as_bytes());
    reader.finish()
}

/// What a call by use is billed for.
fn billed(usage: Option<Usage>) -> Option<[i64; 5]> {
    usage.map(|usage| {
        let Usage { prompt_tokens, completion_tokens, cached_tokens, .. } = usage;
        let (image, audio) = (usage.image_tokens, usage.audio_tokens);
        [prompt_tokens, completion_tokens, cached_tokens, image, audio]
    })
}

fn same(content_type: &str, body: &str) {
    let (old, new) = (scanned(content_type, body), read(content_type, body));
    let usage = old.usage.as_ref().and_then(|usage| usage.check().ok());
    assert_eq!(billed(new.meters.usage()), billed(usage), "{body}");
    let envelope = old.envelope.clone().unwrap_or_default();
    let failed = envelope.code_ok == Some(false) || (old.is_stream() && envelope.error);
    let said = CallOutcome::Failed(ReplyFailure::Said);
    assert_eq!(new.outcome == said, failed, "{body}");
    assert_eq!(new.estimate, envelope.type_precharge, "{body}");
    assert_eq!((new.well_formed, new.done), (old.well_formed, old.done), "{body}");
}

/// A usage in which the parts of the prompt are no more than it.
fn usage() -> impl Strategy<Value = Value> {
    let member = (0..MEMBERS.len(), 0..5_000_i64);
    let detail = (0..DETAILS.len(), 0..900_i64);
    let members = prop::collection::vec(member, 1..6);
    let details = prop::collection::vec(detail, 0..3);
    (members, details, any::<bool>()).prop_map(|(members, details, older)| {
        let mut usage = Map::new();
        for (at, count) in members {
            usage.insert(MEMBERS[at].to_owned(), json!(count));
        }
        let name = if older { "prompt_tokens_details" } else { "input_tokens_details" };
        let details = details.into_iter().map(|(at, n)| (DETAILS[at].to_owned(), json!(n)));
        usage.insert(name.to_owned(), Value::Object(details.collect()));
        // Without a whole there is nothing that they are parts of.
        usage.insert("input_tokens".to_owned(), json!(9_000));
        usage.insert("output_tokens".to_owned(), json!(70));
        Value::Object(usage)
    })
}

fn code() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(0),
        json!("0"),
        json!(0.0),
        Value::Null,
        json!(1),
        json!("ok"),
        json!(""),
        json!(true),
        json!([0]),
        json!({"code": 0}),
        json!("00"),
        json!(200),
    ])
}

proptest! {
    #[test]
    fn a_reply_is_read_alike(usage in usage(), code in code(), estimate in any::<bool>()) {
        let mut body = json!({"code": code, "data": {"usage": {"prompt_tokens": 7}}});
        body["usage"] = usage;
        if estimate {
            body["type"] = json!("precharge");
        }
        same(JSON, &body.to_string());
    }

    #[test]
    fn a_wrapped_usage_is_read_alike(usage in usage(), response in any::<bool>()) {
        let name = if response { "response" } else { "message" };
        same(JSON, &json!({name: {"usage": usage}, "x": [1, 2]}).to_string());
        let event = json!({name: {"usage": usage}});
        same(EVENTS, &format!("event: a\ndata: {event}\n\ndata: [DONE]\n\n"));
    }

    #[test]
    fn a_stream_fails_alike(code in code(), error in any::<bool>(), named in any::<bool>()) {
        let mut event = json!({"code": code});
        if error {
            event["error"] = json!({"message": "no"});
        }
        let name = if named { "event: error\n" } else { "" };
        same(EVENTS, &format!("data: {{\"a\":1}}\n\n{name}data: {event}\n\n"));
    }
}

#[test]
fn what_the_scanner_is_tested_with_is_read_alike() {
    for body in [
        r#"{"prompt_tokens":1}"#,
        r#"{"usage":null}"#,
        r#"{"usage":{"prompt_tokens":1,"completion_tokens":2},"error":{"message":"no"}}"#,
        r#"{"usage":{"prompt_tokens":5,"input_tokens":0,"completion_tokens":6,"output_tokens":7}}"#,
        r#"{"a":{"usage":{"prompt_tokens":1}}}"#,
        r#"{"code":1,"code":0}"#,
        "{\"code\":0,\"c\\u006fde\":7}",
        r#"{"message":{"usage":1}}"#,
        "{",
        "hello",
    ] {
        same(JSON, body);
    }
    let claude = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":\
        {\"input_tokens\":11,\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"type\":\
        \"message_delta\",\"usage\":{\"output_tokens\":40}}\n\n";
    same(EVENTS, claude);
    same(EVENTS, "data: {\"error\":{\"message\":\"no\"}}\n\n");
    same(EVENTS, "event: error\n\n");
    same("application/x-ndjson", "{\"a\":1}\n{oops\n{\"usage\":{\"prompt_tokens\":4}}\r\n");
}
