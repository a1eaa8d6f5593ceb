//! Splits plain bytes into documents: the kind of the body, and where its documents begin and end.

use super::BodyKind;
use super::doc::Doc;
use super::json::TopLevelScanner;
use super::sse::SseScanner;
use super::tally::Tally;
use std::io::{self, Write};

/// The kind that the headers declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    Json,
    Sse,
    Ndjson,
    /// None, or one of no use: the first byte decides.
    Unknown,
    /// Pictures, sound, pages.
    Opaque,
}

impl Declared {
    pub(super) fn of(content_type: Option<&str>) -> Self {
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        let suffix = essence.len().checked_sub(5).and_then(|at| essence.get(at..));
        if is("application/json") || suffix.is_some_and(|s| s.eq_ignore_ascii_case("+json")) {
            Self::Json
        } else if is("text/event-stream") {
            Self::Sse
        } else if [
            "application/x-ndjson",
            "application/ndjson",
            "application/jsonl",
            "application/x-jsonlines",
            "application/jsonlines",
            "application/json-seq",
        ]
        .iter()
        .any(|name| is(name))
        {
            Self::Ndjson
        } else if is("text/json") {
            Self::Json
        } else if essence.is_empty() || is("text/plain") || is("application/octet-stream") {
            Self::Unknown
        } else {
            Self::Opaque
        }
    }
}

enum Framing {
    /// Only blanks so far.
    Undecided,
    /// One document.
    Single {
        trailing: bool,
    },
    /// Several documents; each on its own line, or (from upstreams that declare one kind and send
    /// another) in any layout.
    Many {
        by_line: bool,
        skipping: bool,
    },
    Sse(SseScanner),
    Opaque,
}

/// Reads a plain body.
pub(super) struct Reader {
    declared: Declared,
    framing: Framing,
    json: TopLevelScanner,
    tally: Tally,
    /// How many bytes have arrived: a byte order mark is within the first three.
    seen: u64,
}

impl Reader {
    pub(super) fn new(declared: Declared) -> Self {
        let framing = match declared {
            Declared::Opaque => Framing::Opaque,
            Declared::Ndjson => Framing::Many { by_line: true, skipping: false },
            _ => Framing::Undecided,
        };
        let (json, tally) = (TopLevelScanner::new(), Tally::default());
        Self { declared, framing, json, tally, seen: 0 }
    }

    pub(super) const fn is_opaque(&self) -> bool {
        matches!(self.framing, Framing::Opaque)
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if matches!(self.framing, Framing::Undecided) {
            let Some(at) = self.first_visible(bytes) else { return };
            rest = &bytes[at..];
            self.framing = decide(self.declared, rest[0]);
        }
        match &mut self.framing {
            Framing::Single { trailing } => {
                let used = self.json.feed(rest);
                *trailing |= rest[used..].iter().any(|b| !b.is_ascii_whitespace());
            }
            Framing::Many { by_line: true, skipping } => {
                lines(&mut self.json, &mut self.tally, skipping, rest);
            }
            Framing::Many { by_line: false, skipping } => {
                sequence(&mut self.json, &mut self.tally, skipping, rest);
            }
            Framing::Sse(sse) => sse.feed(rest, &mut self.json, &mut self.tally),
            Framing::Undecided | Framing::Opaque => {}
        }
    }

    /// The offset of the first byte that is neither blank nor part of a byte order mark.
    fn first_visible(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, &byte) in bytes.iter().enumerate() {
            let mark = matches!((self.seen, byte), (0, 0xef) | (1, 0xbb) | (2, 0xbf));
            if !mark && !byte.is_ascii_whitespace() {
                return Some(at);
            }
            self.seen += 1;
        }
        None
    }

    /// The body has ended.
    pub(super) fn finish(&mut self) {
        match &mut self.framing {
            Framing::Many { .. } => end_document(&mut self.json, &mut self.tally),
            Framing::Sse(sse) => sse.finish(&mut self.json, &mut self.tally),
            Framing::Undecided | Framing::Single { .. } | Framing::Opaque => {}
        }
    }

    /// Whether the stream has ended with `[DONE]`, and nothing has come behind it.
    pub(super) const fn is_ended(&self) -> bool {
        matches!(&self.framing, Framing::Sse(sse) if sse.is_ended())
    }

    /// The kind of body, as far as it is known.
    pub(super) fn kind(&self) -> BodyKind {
        let guessed = self.declared == Declared::Unknown;
        match &self.framing {
            Framing::Single { .. } if guessed && !self.is_one_document() => BodyKind::Opaque,
            Framing::Single { .. } => BodyKind::Json,
            Framing::Many { .. } => BodyKind::Ndjson,
            Framing::Sse(_) if guessed && self.tally.documents == 0 && !self.tally.done => {
                BodyKind::Opaque
            }
            Framing::Sse(_) => BodyKind::Sse,
            Framing::Undecided => self.declared_kind(),
            Framing::Opaque => BodyKind::Opaque,
        }
    }

    /// The kind of body that the headers declared.
    pub(super) const fn declared_kind(&self) -> BodyKind {
        match self.declared {
            Declared::Json => BodyKind::Json,
            Declared::Sse => BodyKind::Sse,
            Declared::Ndjson => BodyKind::Ndjson,
            Declared::Unknown | Declared::Opaque => BodyKind::Opaque,
        }
    }

    /// The body is one document, from its first byte to its last.
    fn is_one_document(&self) -> bool {
        matches!(self.framing, Framing::Single { trailing: false }) && self.json.is_done()
    }

    pub(super) fn is_well_formed(&self) -> bool {
        match &self.framing {
            Framing::Single { .. } => self.is_one_document(),
            Framing::Many { .. } | Framing::Sse(_) => self.tally.broken == 0,
            Framing::Undecided | Framing::Opaque => false,
        }
    }

    /// The sum so far; of a single document, its content so far.
    pub(super) fn tally(&self) -> Tally {
        let mut tally = self.tally.clone();
        if matches!(self.framing, Framing::Single { .. }) {
            tally.documents += 1;
            tally.add_doc(Doc::read(&self.json));
        }
        tally
    }
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.feed(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// No JSON begins like a line of an event stream, nor vice versa: the first byte takes precedence
/// over the header.
fn decide(declared: Declared, first: u8) -> Framing {
    let is_field = matches!(first, b'd' | b'e' | b'i' | b'r' | b':');
    match declared {
        Declared::Sse if first == b'{' => Framing::Many { by_line: false, skipping: false },
        Declared::Sse => Framing::Sse(SseScanner::new()),
        Declared::Json | Declared::Unknown if is_field => Framing::Sse(SseScanner::new()),
        Declared::Json => Framing::Single { trailing: false },
        Declared::Unknown if first == b'{' => Framing::Single { trailing: false },
        _ => Framing::Opaque,
    }
}

fn end_document(json: &mut TopLevelScanner, to: &mut Tally) {
    if !json.is_untouched() {
        to.add(json, false);
        json.reset();
    }
}

/// A document on each line.
fn lines(json: &mut TopLevelScanner, to: &mut Tally, skipping: &mut bool, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // RFC 7464 puts a record separator before each document.
        let end = memchr::memchr3(b'\n', b'\r', 0x1e, bytes);
        let line = &bytes[..end.unwrap_or(bytes.len())];
        let used = json.feed(line);
        *skipping |= line[used..].iter().any(|b| !b.is_ascii_whitespace());
        let Some(end) = end else { return };
        if std::mem::take(skipping) && json.is_done() {
            // There was more after the document: the line is malformed.
            to.broken += 1;
        }
        end_document(json, to);
        bytes = &bytes[end + 1..];
    }
}

/// Documents one after another, in any layout. After a broken one, parsing resumes at the next
/// line.
fn sequence(json: &mut TopLevelScanner, to: &mut Tally, skipping: &mut bool, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        if *skipping {
            let Some(end) = memchr::memchr(b'\n', bytes) else { return };
            *skipping = false;
            bytes = &bytes[end + 1..];
            continue;
        }
        let used = json.feed(bytes);
        bytes = &bytes[used..];
        if json.is_failed() {
            *skipping = true;
            end_document(json, to);
        } else if !bytes.is_empty() {
            end_document(json, to);
        }
    }
}
