mod properties;

use super::*;
use domain::Usage;
use flate2::Compression;
use std::io::Write;

const JSON: &str = "application/json";
const SSE: &str = "text/event-stream; charset=utf-8";

fn scan(content_type: &str, body: &[u8]) -> Scanned {
    let mut scanner = ReplyScanner::new(Some(content_type), None);
    scanner.feed(body);
    scanner.finish()
}

fn scan_split(content_type: &str, body: &[u8], cuts: &[usize]) -> Scanned {
    let mut scanner = ReplyScanner::new(Some(content_type), None);
    let mut from = 0;
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
    cuts.sort_unstable();
    for cut in cuts {
        scanner.feed(&body[from..cut]);
        from = cut;
    }
    scanner.feed(&body[from..]);
    scanner.finish()
}

fn usage(scanned: &Scanned) -> Usage {
    scanned.usage.as_ref().expect("a usage").check().expect("a sane one")
}

fn envelope(scanned: Scanned) -> Envelope {
    scanned.envelope.expect("an envelope")
}

#[test]
fn reads_an_openai_answer() {
    let body = br#"{"id":"x","object":"chat.completion","choices":[{"index":0,"message":
        {"role":"assistant","content":"a \"usage\":{\"prompt_tokens\":999} \\"},"usage":{}}],
        "usage":{"prompt_tokens":24,"completion_tokens":32,"total_tokens":56}}"#;
    let scanned = scan(JSON, body);
    assert_eq!((scanned.kind, scanned.well_formed), (BodyKind::Json, true));
    assert_eq!((usage(&scanned).prompt_tokens, usage(&scanned).completion_tokens), (24, 32));
    assert_eq!(scanned.envelope, Some(Envelope::default()));
}

#[test]
fn reads_the_envelope() {
    let ok = |json: &str| envelope(scan(JSON, json.as_bytes()));
    for (json, code_ok) in [
        (r#"{"code":0}"#, Some(true)),
        (r#"{"code":"0"}"#, Some(true)),
        (r#"{"code" : "\u0030" }"#, Some(true)),
        (r#"{"code":0.0}"#, Some(true)),
        (r#"{"code":-0}"#, Some(true)),
        (r#"{"code":null}"#, None),
        (r#"{"Code":1}"#, None),
        (r#"{}"#, None),
        (r#"{"data":{"code":1}}"#, None),
        (r#"{"code":1}"#, Some(false)),
        (r#"{"code":200}"#, Some(false)),
        (r#"{"code":"00"}"#, Some(false)),
        (r#"{"code":""}"#, Some(false)),
        (r#"{"code":"ok"}"#, Some(false)),
        (r#"{"code":true}"#, Some(false)),
        (r#"{"code":[0]}"#, Some(false)),
        (r#"{"code":{"code":0}}"#, Some(false)),
        (r#"{"code":1,"code":0}"#, Some(true)),
        (r#"{"code":0,"c\u006fde":7}"#, Some(false)),
    ] {
        assert_eq!(ok(json).code_ok, code_ok, "{json}");
    }
    let long = format!(r#"{{"code":"{}"}}"#, "0".repeat(200));
    assert_eq!(ok(&long).code_ok, Some(false));
    let both = ok(r#"{"msg":"b","message":"a","type":"precharge"}"#);
    assert_eq!((both.message.as_deref(), both.type_precharge), (Some("a"), true));
    assert_eq!(ok(r#"{"msg":"b"}"#).message.as_deref(), Some("b"));
    assert_eq!(ok(r#"{"msg":"b","message":null}"#).message.as_deref(), Some("b"));
    assert_eq!(ok(r#"{"msg":"b","message":{"usage":1}}"#).message.as_deref(), Some("b"));
    assert_eq!(ok(r#"{"msg":"b","message":""}"#).message.as_deref(), Some("b"));
    assert!(!ok(r#"{"type":"Precharge","data":{"type":"precharge"}}"#).type_precharge);
    assert!(ok(r#"{"error":{"message":"no"}}"#).error);
    assert!(!ok(r#"{"error":null}"#).error);
}

#[test]
fn a_message_is_kept_short() {
    let long = format!(r#"{{"code":1,"message":"{}"}}"#, "字\\n\\ud83d\\ude00".repeat(3000));
    let message = envelope(scan(JSON, long.as_bytes())).message.expect("a message");
    assert_eq!(message.chars().count(), 500);
    assert!(message.starts_with("字\n😀字"));
}

#[test]
fn only_the_top_level_usage_counts() {
    for json in [
        r#"{"a":{"usage":{"prompt_tokens":1}}}"#,
        r#"{"a":"\"usage\":{\"prompt_tokens\":1}"}"#,
        r#"[{"usage":{"prompt_tokens":1}}]"#,
        r#"{"a":[{"usage":{"prompt_tokens":1}}]}"#,
        r#"{"response":[{"usage":{"prompt_tokens":1}}]}"#,
        r#"{"response":{"a":{"usage":{"prompt_tokens":1}}}}"#,
        r#"{"usage":null}"#,
        r#"{"usages":{"prompt_tokens":1}}"#,
        r#"{"usage_and_a_long_tail":{"prompt_tokens":1}}"#,
        r#"{"usage":{"prompt_tokens":1},"usage":null}"#,
        r#"{"response":{"usage":{"prompt_tokens":1}},"response":{}}"#,
    ] {
        let scanned = scan(JSON, json.as_bytes());
        assert_eq!((scanned.usage, scanned.usage_error), (None, None), "{json}");
        assert!(scanned.well_formed, "{json}");
    }
    for json in [
        r#"{"usage":{"prompt_tokens":7}}"#,
        r#"{"us\u0061ge":{"prompt_tokens":7}}"#,
        r#"{"usage":{"prompt_tokens":1},"usage":{"prompt_tokens":7}}"#,
        r#"{"type":"response.completed","response":{"usage":{"prompt_tokens":7}}}"#,
        r#"{"type":"message_start","message":{"id":"m","usage":{"prompt_tokens":7}}}"#,
        r#"{"response":{"usage":{"prompt_tokens":1}},"usage":{"prompt_tokens":7}}"#,
        "\u{feff} {\"usage\":{\"prompt_tokens\":7}} \n",
        r#"{"usage":{"prompt_tokens":7,"other":{"usage":[1,{"x":"}"}]}},"z":1}"#,
    ] {
        assert_eq!(usage(&scan(JSON, json.as_bytes())).prompt_tokens, 7, "{json}");
    }
}

#[test]
fn wrong_usage_is_noted() {
    for (json, fault) in [
        (r#"{"usage":5}"#.to_owned(), UsageFault::Malformed),
        (r#"{"usage":[]}"#.to_owned(), UsageFault::Malformed),
        (r#"{"usage":{"prompt_tokens":"5"}}"#.to_owned(), UsageFault::Malformed),
        (r#"{"usage":{"prompt_tokens":1,"prompt_tokens":2}}"#.to_owned(), UsageFault::Malformed),
        (format!(r#"{{"usage":{{"x":"{}"}}}}"#, "y".repeat(70_000)), UsageFault::TooLarge),
    ] {
        let scanned = scan(JSON, json.as_bytes());
        assert_eq!(scanned.usage_error, Some(fault));
        assert_eq!(scanned.usage, None);
        assert!(scanned.well_formed);
    }
}

#[test]
fn accepts_what_is_well_formed() {
    let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let good = ["{}", "[]", " 1 ", "-0.5e+7", "\"x\"", "null", "{\"a\":[1,{}],\"b\":\"\\u00e9\"}"];
    for json in good.iter().copied().map(str::to_owned).chain([deep(511)]) {
        assert!(scan(JSON, json.as_bytes()).well_formed, "{json}");
    }
    let bad = [
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
    ];
    for json in bad.iter().copied().map(str::to_owned).chain([deep(512)]) {
        assert!(!scan(JSON, json.as_bytes()).well_formed, "{json}");
    }
}

#[test]
fn a_cut_body_keeps_what_was_read() {
    let body = br#"{"code":0,"usage":{"prompt_tokens":3},"data":"abc"#;
    let scanned = scan(JSON, body);
    assert!(!scanned.well_formed);
    assert_eq!(usage(&scanned).prompt_tokens, 3);
    let cut_within = scan(JSON, br#"{"code":0,"usage":{"prompt_tokens":3"#);
    assert_eq!((cut_within.usage, cut_within.usage_error), (None, None));
}

const STREAM: &str = "\u{feff}: hello\r\n\r\nevent: message\ndata: {\"choices\":[{\"delta\":\
    {\"content\":\"字\"}}],\"usage\":null}\n\ndata:{\"usage\":{\"prompt_tokens\":5,\"completion_\
    tokens\":1}}\r\rid: 7\rdata: {\"usage\":\r\ndata: {\"prompt_tokens\":5,\r\ndata: \"completion_\
    tokens\":9}}\r\n\r\ndata: [DONE]\n\n";

#[test]
fn reads_a_stream() {
    let scanned = scan(SSE, STREAM.as_bytes());
    assert_eq!((scanned.kind, scanned.well_formed, scanned.done), (BodyKind::Sse, true, true));
    assert_eq!(scanned.documents, 3);
    assert_eq!(usage(&scanned).completion_tokens, 9);
    assert!(!envelope(scanned).error);
}

#[test]
fn every_split_of_a_stream_reads_the_same() {
    let whole = scan(SSE, STREAM.as_bytes());
    for cut in 0..STREAM.len() {
        assert_eq!(scan_split(SSE, STREAM.as_bytes(), &[cut]), whole, "{cut}");
    }
    let every: Vec<usize> = (0..STREAM.len()).collect();
    assert_eq!(scan_split(SSE, STREAM.as_bytes(), &every), whole);
}

#[test]
fn reads_anthropic_and_responses_streams() {
    let claude = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":\
        {\"input_tokens\":11,\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"type\":\
        \"message_delta\",\"usage\":{\"output_tokens\":40}}\n\nevent: message_stop\ndata: \
        {\"type\":\"message_stop\"}\n\n";
    let counted = usage(&scan(SSE, claude.as_bytes()));
    assert_eq!((counted.prompt_tokens, counted.completion_tokens), (11, 40));
    let responses = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":\
        {\"error\":null,\"usage\":null}}\n\nevent: response.completed\ndata: {\"response\":\
        {\"usage\":{\"input_tokens\":2,\"output_tokens\":3,\"total_tokens\":5}}}\n\n";
    let scanned = scan(SSE, responses.as_bytes());
    assert_eq!(usage(&scanned).completion_tokens, 3);
    assert!(!envelope(scanned).error);
}

#[test]
fn a_stream_may_fail_in_many_ways() {
    for stream in [
        "data: {\"error\":{\"message\":\"no\"}}\n\n",
        "event: error\ndata: {\"x\":1}\n\n",
        "data: {\"type\":\"error\"}\n\n",
        "data: {\"code\":0}\n\ndata: {\"code\":7,\"msg\":\"no\"}\n\ndata: {\"code\":0}\n\n",
    ] {
        assert!(envelope(scan(SSE, stream.as_bytes())).error, "{stream}");
    }
    let last = envelope(scan(SSE, b"data: {\"code\":7,\"msg\":\"no\"}\n\ndata: {\"code\":0}"));
    assert_eq!((last.code_ok, last.message.as_deref()), (Some(false), Some("no")));
    let estimate = envelope(scan(SSE, b"data: {\"type\":\"precharge\"}\n\n"));
    assert!(estimate.type_precharge);
}

#[test]
fn a_sloppy_stream_is_read_all_the_same() {
    // No blank lines, no blank behind the colon, no end.
    let scanned = scan(SSE, b"data:{\"a\":1}\ndata:{\"usage\":{\"prompt_tokens\":4}}\ndata:[DONE]");
    assert_eq!((usage(&scanned).prompt_tokens, scanned.done), (4, true));
    // Text that is no JSON between documents that are.
    let scanned =
        scan(SSE, b"data: hello\n\ndata: {\"usage\":{\"prompt_tokens\":4}}\n\ndata: {\n\n");
    assert_eq!((usage(&scanned).prompt_tokens, scanned.well_formed), (4, false));
    // An event far larger than any buffer.
    let large = format!(
        "data: {{\"b\":\"{}\",\"usage\":{{\"prompt_tokens\":4}}}}\n\n",
        "x".repeat(3 << 20)
    );
    assert_eq!(usage(&scan(SSE, large.as_bytes())).prompt_tokens, 4);
    // A later usage that is malformed is noted, and corrected by a valid one.
    let wrong = "data: {\"usage\":{\"prompt_tokens\":4}}\n\ndata: {\"usage\":7}\n\n";
    let scanned = scan(SSE, wrong.as_bytes());
    assert_eq!(scanned.usage_error, Some(UsageFault::Malformed));
    let corrected = format!("{wrong}data: {{\"usage\":{{\"prompt_tokens\":5}}}}\n\n");
    let scanned = scan(SSE, corrected.as_bytes());
    assert_eq!((usage(&scanned).prompt_tokens, scanned.usage_error), (5, None));
}

#[test]
fn reads_json_lines() {
    let body = b"{\"message\":{\"content\":\"a\"}}\n\n{oops\n{\"usage\":{\"prompt_tokens\":4}}\r\n";
    let scanned = scan("application/x-ndjson", body);
    assert_eq!((scanned.kind, scanned.documents), (BodyKind::Ndjson, 3));
    assert_eq!((usage(&scanned).prompt_tokens, scanned.well_formed), (4, false));
    let sequence = b"\x1e{\"a\":1}\n\x1e{\"usage\":{\"prompt_tokens\":4}}\n";
    let scanned = scan("application/json-seq", sequence);
    assert_eq!((usage(&scanned).prompt_tokens, scanned.well_formed), (4, true));
    assert!(!scan("application/jsonl", b"{} {}\n{}\n").well_formed);
}

#[test]
fn the_first_byte_takes_precedence_over_the_header() {
    let sse = b"data: {\"usage\":{\"prompt_tokens\":4}}\n\n";
    for content_type in [JSON, "", "text/plain"] {
        let scanned = scan(content_type, sse);
        assert_eq!((scanned.kind, usage(&scanned).prompt_tokens), (BodyKind::Sse, 4));
    }
    let pretty = b"{\n \"code\": 3,\n \"message\": \"no\"\n}\n";
    assert_eq!(envelope(scan(SSE, pretty)).code_ok, Some(false));
    for content_type in ["", "text/plain; charset=utf-8", "application/octet-stream"] {
        assert_eq!(envelope(scan(content_type, pretty)).code_ok, Some(false));
    }
    for (content_type, body) in [
        ("text/plain", "dear reader,\nhello"),
        ("text/plain", "{not json"),
        ("", "hello"),
        ("image/png", "{\"code\":1}"),
        ("text/html", "{\"code\":1}"),
    ] {
        let scanned = scan(content_type, body.as_bytes());
        assert_eq!((scanned.kind, scanned.envelope), (BodyKind::Opaque, None), "{body}");
    }
    assert_eq!(envelope(scan("application/problem+json", pretty)).code_ok, Some(false));
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn reads_what_is_encoded() {
    let body = br#"{"code":0,"usage":{"prompt_tokens":4}}"#;
    let twice = [gzip(&body[..10]), gzip(&body[10..])].concat();
    for (encoding, bytes) in [
        ("gzip", gzip(body)),
        ("X-GZIP", gzip(body)),
        ("identity, gzip", gzip(body)),
        ("gzip", twice),
        ("deflate", zlib(body)),
        ("deflate", deflate(body)),
        ("identity", body.to_vec()),
        ("", body.to_vec()),
    ] {
        let mut scanner = ReplyScanner::new(Some(JSON), Some(encoding));
        for byte in &bytes {
            scanner.feed(&[*byte]);
        }
        let scanned = scanner.finish();
        assert_eq!(usage(&scanned).prompt_tokens, 4, "{encoding}");
        assert!(scanned.well_formed && scanned.unreadable.is_none());
    }
}

#[test]
fn reports_what_it_can_not_read() {
    for (encoding, body, why) in [
        ("br", b"xx".to_vec(), "content_encoding"),
        ("gzip, gzip", gzip(&gzip(b"{}")), "content_encoding"),
        ("gzip", b"{\"code\":0}".to_vec(), "broken_encoding"),
        ("gzip", gzip(b"{}")[..15].to_vec(), "broken_encoding"),
        ("gzip", gzip(&vec![b' '; 64 << 20]), "broken_encoding"),
    ] {
        let mut scanner = ReplyScanner::new(Some(JSON), Some(encoding));
        scanner.feed(&body);
        let scanned = scanner.finish();
        assert_eq!((scanned.unreadable, scanned.well_formed), (Some(why), false), "{encoding}");
    }
}

#[test]
fn inflates_requests_within_a_limit() {
    use decode::{InflateError, inflate};
    let body = br#"{"model":"m"}"#;
    assert_eq!(inflate(Some("gzip"), &gzip(body), 13).as_deref(), Ok(body.as_slice()));
    assert_eq!(inflate(Some("deflate"), &deflate(body), 13).as_deref(), Ok(body.as_slice()));
    assert_eq!(inflate(None, body, 13).as_deref(), Ok(body.as_slice()));
    assert_eq!(inflate(Some("gzip"), &gzip(body), 12), Err(InflateError::TooLarge));
    assert_eq!(inflate(Some("br"), body, 99), Err(InflateError::Unsupported));
    assert_eq!(inflate(Some("gzip"), body, 99), Err(InflateError::Broken));
    let bomb = gzip(&vec![0; 64 << 20]);
    assert_eq!(inflate(Some("gzip"), &bomb, 1 << 30), Err(InflateError::TooLarge));
}
