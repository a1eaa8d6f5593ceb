//! What is read of a reply does not depend on how it is cut, and is what `serde_json` finds there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{BodyShape, Library, Meter, ReplyHead, ReplyReader, ReplyReading};
use serde_json::Value;
use std::sync::OnceLock;

const CALLS: [(&str, &str); 6] = [
    ("anthropic", "/v1/messages"),
    ("openai", "/v1/responses"),
    ("gemini", "/v1beta/models/m:streamGenerateContent"),
    ("custompass", "/pass/m"),
    ("cohere", "/v2/chat"),
    ("ollama", "/api/chat"),
];
const TYPES: [&str; 6] = [
    "application/json",
    "text/event-stream",
    "application/x-ndjson",
    "text/plain",
    "",
    "image/png",
];

fn reader(how: u8) -> ReplyReader {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| Library::builtin().expect("built-in protocols").clone());
    let (name, path) = CALLS[usize::from(how) % CALLS.len()];
    let protocol = library.get(name).expect("a protocol");
    let call = protocol.route("POST", path).expect("a route");
    let content_type = Some(TYPES[usize::from(how / 6) % TYPES.len()]);
    ReplyReader::new(call.route, ReplyHead { status: 200, content_type })
}

fn whole(how: u8, body: &[u8]) -> ReplyReading {
    let mut reader = reader(how);
    reader.push(body);
    reader.finish()
}

/// The pieces go round: their lengths are the cuts, over and over.
fn in_pieces(how: u8, body: &[u8], cuts: &[u8]) -> ReplyReading {
    let mut reader = reader(how);
    let mut rest = body;
    for length in cuts.iter().map(|&cut| usize::from(cut)).chain([1]).cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at(length.clamp(1, rest.len()));
        reader.push(piece);
        rest = behind;
    }
    reader.finish()
}

fuzz_target!(|input: &[u8]| {
    let Some((&[how, cuts], rest)) = input.split_first_chunk::<2>() else { return };
    let Some((cuts, body)) = rest.split_at_checked(usize::from(cuts % 8)) else { return };
    let reading = whole(how, body);
    assert_eq!(in_pieces(how, body, cuts), reading);
    if usize::from(how) % CALLS.len() != 0 || reading.shape != BodyShape::Json {
        return;
    }
    // serde_json's own depth ends at 128, and its numbers at what fits: it may refuse what we read.
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
    assert!(reading.well_formed);
    // Of two members of one name a Value keeps the last, and we what any of them counted.
    let output = &value["usage"]["output_tokens"];
    if let Some(count) = output.as_u64().filter(|count| (1..=1_000_000_000).contains(count)) {
        assert!(reading.meters.get(Meter::Output) >= i64::try_from(count).ok());
    }
});
