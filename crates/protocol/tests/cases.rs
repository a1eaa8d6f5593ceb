//! Runs `cases/PROTOCOL/*.toml`: requests and replies as vendors document them and as people
//! reported them, with what must be read of them; in one piece, in two at every byte, byte by
//! byte, compressed, and broken off at every byte.

#![allow(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use protocol::{
    CallOutcome, Library, Meter, Meters, Protocol, ReplyHead, ReplyReader, ReplyReading, RouteMatch,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Replies longer than this are cut at each byte near their ends, and at some in between.
const CUT_EVERYWHERE: usize = 4_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it is about, and where it comes from.
    about: String,
    /// Method and path, with its query.
    call: String,
    #[serde(default)]
    request: String,
    #[serde(default = "ok")]
    status: u16,
    #[serde(rename = "type", default = "json")]
    content_type: String,
    /// Other headers of the reply.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    reply: String,
    /// An own document, whose case it is.
    #[serde(default)]
    document: String,
    /// Number of bytes of base64 that replace `FILLER` in the reply.
    #[serde(default)]
    filler: usize,
    /// A price of its own, in place of the usual one (`relay/src/outcome/cases.rs`).
    #[serde(default)]
    price: toml::Table,
    /// The page that has it as an example.
    #[serde(default)]
    source: String,
    expect: Expect,
}

const fn ok() -> u16 {
    200
}

fn json() -> String {
    "application/json".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    outcome: String,
    /// What it is charged, which is checked where calls are (`relay/src/outcome/cases.rs`).
    charge: Option<i64>,
    #[serde(default)]
    meters: BTreeMap<String, i64>,
    shape: Option<String>,
    done: Option<bool>,
    message: Option<String>,
    resource: Option<String>,
    fault: Option<String>,
    #[serde(default)]
    account: bool,
    #[serde(default)]
    refused: bool,
    #[serde(default)]
    mismatch: bool,
    /// Something came that no report counts, although there are reports.
    #[serde(default)]
    unreported: bool,
    #[serde(default)]
    estimate: bool,
    #[serde(default)]
    continues: bool,
    model: Option<String>,
    output_limit: Option<i64>,
    stream: Option<bool>,
    #[serde(default)]
    units: BTreeMap<String, i64>,
    /// Tokens of the request, as the vendor's tokenizer counts them: the estimate is within a
    /// quarter.
    input_tokens: Option<i64>,
    /// Likewise of the text that was made.
    text_tokens: Option<i64>,
    /// What is reported about tasks.
    #[serde(default)]
    tasks: Vec<ExpectTask>,
    /// What a call costs, where it is not the model's price.
    #[serde(default)]
    free: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectTask {
    id: Option<String>,
    status: String,
    #[serde(default)]
    progress: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    results: Vec<String>,
    #[serde(default)]
    meters: BTreeMap<String, i64>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

fn cases() -> Vec<(String, String, Case)> {
    let mut cases = Vec::new();
    for protocol in std::fs::read_dir(folder()).unwrap() {
        let protocol = protocol.unwrap();
        let name = protocol.file_name().into_string().unwrap();
        for file in std::fs::read_dir(protocol.path()).unwrap() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let case: Case = toml::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            let label = format!("{name}/{}", path.file_stem().unwrap().to_string_lossy());
            cases.push((name.clone(), label, case));
        }
    }
    assert!(cases.len() > 10);
    cases.sort_by(|a, b| a.1.cmp(&b.1));
    cases
}

impl Case {
    /// That of its folder, or of its own document.
    fn protocol(&self, library: &Library, name: &str) -> Arc<Protocol> {
        if self.document.is_empty() {
            let known = library.get(name).unwrap_or_else(|| panic!("no protocol {name}"));
            return Arc::clone(known);
        }
        library.clone().add(&self.document).unwrap()
    }

    fn route<'a>(&self, protocol: &'a Protocol) -> RouteMatch<'a> {
        let (method, path) = self.call.split_once(' ').unwrap();
        let path = path.split('?').next().unwrap();
        protocol.route(method, path).unwrap_or_else(|| panic!("no route for {}", self.call))
    }

    fn query(&self) -> &str {
        self.call.split_once('?').map_or("", |(_, query)| query)
    }

    fn body(&self) -> Vec<u8> {
        self.reply.replace("FILLER", &"QUJDREVGR0g".repeat(self.filler / 11)).into_bytes()
    }

    fn reader(&self, route: &RouteMatch<'_>) -> ReplyReader {
        let head = ReplyHead { status: self.status, content_type: Some(&self.content_type) };
        let mut reader = ReplyReader::new(route.route, head);
        reader.read_headers(|name| self.headers.get(name).map(String::as_bytes));
        reader
    }

    fn read(&self, route: &RouteMatch<'_>, pieces: &[&[u8]]) -> ReplyReading {
        let mut reader = self.reader(route);
        for piece in pieces {
            reader.push(piece);
        }
        reader.finish()
    }
}

/// Where a body is cut.
fn cuts(body: &[u8]) -> impl Iterator<Item = usize> {
    let len = body.len();
    let near = CUT_EVERYWHERE / 8;
    (0..len).filter(move |at| {
        len < CUT_EVERYWHERE || *at < near || len - at < near || at % (len / 8) == 0
    })
}

fn meters(said: &BTreeMap<String, i64>) -> Meters {
    said.iter().map(|(word, count)| (Meter::parse(word).unwrap(), *count)).collect()
}

fn within_a_quarter(label: &str, real: Option<i64>, estimate: i64) {
    let Some(real) = real else { return };
    let off = (estimate - real).abs() * 4;
    assert!(off <= real, "{label}: {estimate} tokens estimated, {real} are real");
}

fn check_request(label: &str, case: &Case, route: &RouteMatch<'_>) {
    let expect = &case.expect;
    let read = route.route.read_request(&route.captures, case.query(), case.request.as_bytes());
    if expect.model.is_some() {
        assert_eq!(read.model, expect.model, "{label}");
    }
    if expect.output_limit.is_some() {
        assert_eq!(read.output_limit, expect.output_limit, "{label}");
    }
    if let Some(stream) = expect.stream {
        assert_eq!(read.stream, stream, "{label}");
    }
    assert!(!read.ambiguous && !read.models_differ, "{label}");
    if !expect.units.is_empty() {
        assert_eq!(read.units, meters(&expect.units), "{label}");
    }
    within_a_quarter(label, expect.input_tokens, read.input_tokens);
    assert_eq!(route.route.price == protocol::PriceWord::Free, expect.free, "{label}");
}

fn check_tasks(label: &str, case: &Case, (protocol, route): (&Protocol, &RouteMatch<'_>)) {
    let expect = &case.expect.tasks;
    if expect.is_empty() {
        return;
    }
    let rules = route.route.tasks.as_ref().or(protocol.task.as_ref()).unwrap();
    let asked = case.call.contains("list-by-condition");
    let body = case.body();
    let tasks = if asked { rules.read_all(&body) } else { vec![rules.read_one(&body)] };
    assert_eq!(tasks.len(), expect.len(), "{label}: {tasks:?}");
    for (task, expect) in tasks.iter().zip(expect) {
        let at = format!("{label}: {task:?}");
        assert_eq!(task.id, expect.id, "{at}");
        assert_eq!(task.status.as_str(), expect.status, "{at}");
        assert_eq!(task.progress, expect.progress, "{at}");
        assert_eq!(task.reason, expect.reason, "{at}");
        assert_eq!(task.results, expect.results, "{at}");
        assert_eq!(task.meters, meters(&expect.meters), "{at}");
    }
}

fn check_reading(label: &str, case: &Case, reading: &ReplyReading) {
    let expect = &case.expect;
    let at = format!("{label} ({}): {reading:?}", case.about);
    assert_eq!(reading.outcome.as_str(), expect.outcome, "{at}");
    assert_eq!(reading.meters, meters(&expect.meters), "{at}\n{}", reading.meters);
    let fault = reading.fault.as_ref().map(|fault| format!("{} {}", fault.meter, fault.text));
    assert_eq!(fault, expect.fault, "{at}");
    assert_eq!((reading.account, reading.refused), (expect.account, expect.refused), "{at}");
    assert_eq!(reading.mismatch.is_some(), expect.mismatch, "{at}");
    assert_eq!((reading.estimate, reading.continues), (expect.estimate, expect.continues), "{at}");
    let unreported = reading.unreported_tokens > 0 && reading.meters.usage().is_some();
    assert_eq!(unreported, expect.unreported, "{at}");
    if expect.message.is_some() {
        assert_eq!(reading.message, expect.message, "{at}");
    }
    if expect.resource.is_some() {
        assert_eq!(reading.resources.first(), expect.resource.as_ref(), "{at}");
    }
    if let Some(shape) = &expect.shape {
        assert_eq!(reading.shape.as_str(), shape, "{at}");
    }
    if let Some(done) = expect.done {
        assert_eq!(reading.done, done, "{at}");
    }
    within_a_quarter(label, expect.text_tokens, reading.text_tokens);
}

#[test]
fn every_case_is_read_as_it_says() {
    let library = Library::builtin().unwrap();
    for (name, label, case) in cases() {
        let protocol = case.protocol(library, &name);
        let route = case.route(&protocol);
        check_request(&label, &case, &route);
        check_tasks(&label, &case, (&protocol, &route));
        let body = case.body();
        let whole = case.read(&route, &[&body]);
        check_reading(&label, &case, &whole);
        for cut in cuts(&body) {
            let (front, back) = body.split_at(cut);
            assert_eq!(case.read(&route, &[front, back]), whole, "{label} cut at {cut}");
        }
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(case.read(&route, &bytes), whole, "{label} byte by byte");
    }
}

#[test]
fn a_reply_that_breaks_off_never_says_more_than_the_whole_one() {
    let library = Library::builtin().unwrap();
    for (name, label, case) in cases() {
        let protocol = case.protocol(library, &name);
        let route = case.route(&protocol);
        let body = case.body();
        let whole = case.read(&route, &[&body]);
        for cut in cuts(&body) {
            let broken = case.read(&route, &[&body[..cut]]);
            // Parts of a whole may come behind it, so the families are compared.
            for head in [Meter::Input, Meter::Output] {
                let (some, all) = (broken.meters.family(head), whole.meters.family(head));
                assert!(some <= all, "{label} broken off at {cut}: {some} of {all} {head}");
            }
            assert!(broken.text_tokens <= whole.text_tokens + 1, "{label} at {cut}");
            let delivers = matches!(whole.outcome, CallOutcome::Delivered | CallOutcome::Empty);
            let said = CallOutcome::Failed(protocol::ReplyFailure::Said);
            assert!(!delivers || broken.outcome != said, "{label} at {cut}");
        }
    }
}

#[test]
fn a_compressed_reply_reads_the_same() {
    let library = Library::builtin().unwrap();
    for (name, label, case) in cases() {
        let protocol = case.protocol(library, &name);
        let route = case.route(&protocol);
        let body = case.body();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        // With flushes, as streams are sent.
        for line in body.split_inclusive(|byte| *byte == b'\n') {
            encoder.write_all(line).unwrap();
            encoder.flush().unwrap();
        }
        let compressed = encoder.finish().unwrap();
        let mut decoder = GzDecoder::new(case.reader(&route));
        for piece in compressed.chunks(7) {
            decoder.write_all(piece).unwrap();
        }
        let reading = decoder.finish().unwrap().finish();
        assert_eq!(reading, case.read(&route, &[&body]), "{label}");
    }
}

/// What has no vendor, and the one whose example could not be read: its cases have the members that
/// its page names.
const WITHOUT_EXAMPLE: [&str; 3] = ["http", "custompass", "jina"];

/// The kinds of cases that a protocol has to have.
fn wanted(protocol: &Protocol) -> Vec<&'static str> {
    let own = || protocol.routes.iter().filter(|route| route.protocol == protocol.name);
    let has_calls =
        own().any(|route| route.task.is_none() && route.price != protocol::PriceWord::Free);
    let streams = own().any(|route| route.promised().iter().any(|shape| shape.is_stream()));
    let mut kinds = Vec::new();
    if has_calls {
        kinds.extend(["json", "error-in-200", "empty", "refused", "a charge"]);
    }
    if has_calls && streams {
        // One broken off, too: every stream is, at every byte.
        kinds.extend(["stream", "refusal"]);
    }
    if protocol.task.is_some() {
        kinds.extend(["submitted", "running", "done", "error-in-200", "refused", "a charge"]);
    }
    // A batch of Anthropic's ends; what has failed are some of its requests.
    if protocol.task.is_some() && &*protocol.name != "anthropic" {
        kinds.push("failed");
    }
    // CustomPass's contract has neither a filter nor a result that is counted.
    if protocol.task.is_some() && !["anthropic", "custompass"].contains(&&*protocol.name) {
        kinds.extend(["empty", "refusal"]);
    }
    if !WITHOUT_EXAMPLE.contains(&&*protocol.name) {
        kinds.push("documented");
    }
    kinds
}

fn is_of_kind(kind: &str, label: &str, case: &Case) -> bool {
    let has_task = |status: &str| case.expect.tasks.iter().any(|it| it.status == status);
    match kind {
        "a charge" => case.expect.charge.is_some_and(|charge| charge > 0),
        "documented" => case.source.starts_with("https://") && case.expect.outcome == "delivered",
        "stream" => label.contains(kind) && case.expect.outcome == "delivered",
        "submitted" => label.contains(kind) || has_task("submitted"),
        "running" => has_task("processing"),
        "done" => has_task("completed"),
        "failed" => has_task("failed"),
        kind => label.contains(kind),
    }
}

#[test]
fn every_protocol_has_the_cases_that_matter() {
    let cases = cases();
    let mut missing = Vec::new();
    for protocol in Library::builtin().unwrap().iter() {
        let own = || cases.iter().filter(|(name, ..)| **name == *protocol.name);
        for kind in wanted(protocol) {
            if !own().any(|(_, label, case)| is_of_kind(kind, label, case)) {
                missing.push(format!("{}/{kind}", protocol.name));
            }
        }
    }
    // What is free or fails is never charged, and a price of its own is there to be charged.
    for (_, label, case) in &cases {
        let nothing = case.expect.free && case.expect.tasks.is_empty()
            || case.expect.meters.is_empty()
                && (case.expect.outcome.starts_with("failed") || case.expect.outcome == "empty");
        if nothing && case.expect.charge.unwrap_or(0) > 0 {
            missing.push(format!("{label} charges what costs nothing"));
        }
        if !case.price.is_empty() && case.expect.charge.is_none() {
            missing.push(format!("{label} has a price and no charge"));
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}
