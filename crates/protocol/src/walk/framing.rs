//! Which kind of body it is, and where its documents begin and end.

use super::Documents;
use super::json::Walker;
use super::sse::Sse;
use crate::program::Program;
use crate::reading::Shape;

/// What the headers say of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    Json,
    Events,
    Lines,
    /// Nothing, or nothing of use: the first byte decides.
    Unknown,
    /// Pictures, sound, pages.
    Opaque,
}

impl Declared {
    pub(crate) fn of(content_type: Option<&str>) -> Self {
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        let suffix = essence.len().checked_sub(5).and_then(|at| essence.get(at..));
        let lines = [
            "application/x-ndjson",
            "application/ndjson",
            "application/jsonl",
            "application/x-jsonlines",
            "application/jsonlines",
            "application/json-seq",
            "application/stream+json",
        ];
        if lines.iter().any(|name| is(name)) {
            Self::Lines
        } else if is("application/json")
            || is("text/json")
            || suffix.is_some_and(|s| s.eq_ignore_ascii_case("+json"))
        {
            Self::Json
        } else if is("text/event-stream") {
            Self::Events
        } else if essence.is_empty() || is("text/plain") || is("application/octet-stream") {
            Self::Unknown
        } else {
            Self::Opaque
        }
    }

    /// The shape that the headers promise.
    pub(crate) const fn shape(self) -> Shape {
        match self {
            Self::Json => Shape::Json,
            Self::Events => Shape::Events,
            Self::Lines => Shape::Lines,
            Self::Unknown | Self::Opaque => Shape::Opaque,
        }
    }
}

#[derive(Debug)]
enum Framing {
    /// Nothing but blanks has come.
    Undecided,
    /// One document.
    Single {
        trailing: bool,
    },
    /// The elements of an array, each a document.
    Array(Array),
    /// One after another; each on its own line, or (from upstreams that say one thing and send
    /// another) in any layout.
    Many {
        by_line: bool,
        skipping: bool,
    },
    Events(Sse),
    Opaque,
}

/// Where in a top-level array reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Array {
    /// Before the array's own bracket.
    Bracket,
    /// Before an element, or (with `true`) the end of the empty array.
    Before(bool),
    Within,
    Behind,
    Ended,
    Failed,
}

/// Cuts a plain body into documents.
#[derive(Debug)]
pub(crate) struct Framer {
    declared: Declared,
    framing: Framing,
    /// How many bytes have come: a byte order mark stands at the first three.
    seen: u64,
    visible: bool,
}

impl Framer {
    pub(crate) const fn new(declared: Declared) -> Self {
        let framing = match declared {
            Declared::Opaque => Framing::Opaque,
            Declared::Lines => Framing::Many { by_line: true, skipping: false },
            _ => Framing::Undecided,
        };
        Self { declared, framing, seen: 0, visible: false }
    }

    pub(crate) fn feed<D: Documents>(
        &mut self,
        program: &Program,
        bytes: &[u8],
        walker: &mut Walker,
        to: &mut D,
    ) {
        let mut rest = bytes;
        if !self.visible {
            let Some(at) = self.first_visible(bytes) else { return };
            self.visible = true;
            rest = &bytes[at..];
            if matches!(self.framing, Framing::Undecided) {
                self.framing = decide(self.declared, rest[0]);
            }
        }
        match &mut self.framing {
            Framing::Single { trailing } => {
                let used = walker.feed(program, rest);
                *trailing |= rest[used..].iter().any(|b| !b.is_ascii_whitespace());
            }
            Framing::Array(array) => elements(program, walker, to, array, rest),
            Framing::Many { by_line: true, skipping } => {
                lines(program, walker, to, skipping, rest);
            }
            Framing::Many { by_line: false, skipping } => {
                sequence(program, walker, to, skipping, rest);
            }
            Framing::Events(sse) => sse.feed(program, rest, walker, to),
            Framing::Undecided | Framing::Opaque => {}
        }
    }

    /// Where the first byte stands that is neither blank nor part of a byte order mark.
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

    /// No more comes. What a single document says is told even when it is not whole: a body that
    /// broke off said what it said.
    pub(crate) fn finish<D: Documents>(
        &mut self,
        program: &Program,
        walker: &mut Walker,
        to: &mut D,
    ) {
        match &mut self.framing {
            Framing::Many { .. } => {
                walker.finish(program);
                end_document(walker, to);
            }
            Framing::Events(sse) => {
                walker.finish(program);
                sse.finish(walker, to);
            }
            Framing::Single { .. } => {
                walker.finish(program);
                to.single(walker);
            }
            Framing::Array(Array::Within) => {
                walker.finish(program);
                to.document(walker, b"");
            }
            Framing::Undecided | Framing::Array(_) | Framing::Opaque => {}
        }
    }

    /// Whether anything but blanks has come.
    pub(crate) const fn is_blank(&self) -> bool {
        !self.visible
    }

    /// What kind of body this is, as far as can be said.
    pub(crate) fn shape(&self, walker: &Walker, documents: u64, done: bool) -> Shape {
        let guessed = self.declared == Declared::Unknown;
        match &self.framing {
            Framing::Single { .. } if guessed && !self.is_one_document(walker) => Shape::Opaque,
            Framing::Single { .. } => Shape::Json,
            Framing::Array(Array::Ended) => Shape::Array,
            Framing::Array(_) if guessed => Shape::Opaque,
            Framing::Array(_) => Shape::Array,
            Framing::Many { .. } => Shape::Lines,
            Framing::Events(_) if guessed && documents == 0 && !done => Shape::Opaque,
            Framing::Events(_) => Shape::Events,
            Framing::Undecided => self.declared.shape(),
            Framing::Opaque => Shape::Opaque,
        }
    }

    /// The body is one document, from its first byte to its last.
    fn is_one_document(&self, walker: &Walker) -> bool {
        matches!(self.framing, Framing::Single { trailing: false }) && walker.is_done()
    }

    pub(crate) fn is_well_formed(&self, walker: &Walker, broken: u64) -> bool {
        match &self.framing {
            Framing::Single { .. } => self.is_one_document(walker),
            Framing::Array(array) => *array == Array::Ended && broken == 0,
            Framing::Many { .. } | Framing::Events(_) => broken == 0,
            Framing::Undecided | Framing::Opaque => false,
        }
    }
}

/// No JSON begins like a line of an event stream, nor the other way round: the first byte is
/// believed before the header.
const fn decide(declared: Declared, first: u8) -> Framing {
    let is_field = matches!(first, b'd' | b'e' | b'i' | b'r' | b':');
    match (declared, first) {
        (Declared::Events, b'{') => Framing::Many { by_line: false, skipping: false },
        (Declared::Events | Declared::Json | Declared::Unknown, b'[') => {
            Framing::Array(Array::Bracket)
        }
        (Declared::Events, _) => Framing::Events(Sse::new()),
        (Declared::Json | Declared::Unknown, _) if is_field => Framing::Events(Sse::new()),
        (Declared::Json, _) | (Declared::Unknown, b'{') => Framing::Single { trailing: false },
        _ => Framing::Opaque,
    }
}

fn end_document<D: Documents>(walker: &mut Walker, to: &mut D) {
    if !walker.is_untouched() {
        to.document(walker, b"");
        walker.reset();
    }
}

/// The elements of an array.
fn elements<D: Documents>(
    program: &Program,
    walker: &mut Walker,
    to: &mut D,
    array: &mut Array,
    mut bytes: &[u8],
) {
    while let Some(&byte) = bytes.first() {
        *array = match (*array, byte) {
            (Array::Before(_) | Array::Behind | Array::Ended, b) if b.is_ascii_whitespace() => {
                *array
            }
            (Array::Bracket, _) => Array::Before(true),
            (Array::Before(true), b']') => Array::Ended,
            (Array::Before(_) | Array::Within, _) => {
                let used = walker.feed(program, bytes);
                bytes = &bytes[used..];
                if walker.is_failed() {
                    to.broken();
                    *array = Array::Failed;
                    return;
                }
                if !bytes.is_empty() {
                    end_document(walker, to);
                    *array = Array::Behind;
                } else {
                    *array = Array::Within;
                }
                continue;
            }
            (Array::Behind, b',') => Array::Before(false),
            (Array::Behind, b']') => Array::Ended,
            (Array::Behind | Array::Ended, _) => {
                to.broken();
                Array::Failed
            }
            (Array::Failed, _) => return,
        };
        bytes = &bytes[1..];
    }
}

/// A document on each line.
fn lines<D: Documents>(
    program: &Program,
    walker: &mut Walker,
    to: &mut D,
    skipping: &mut bool,
    mut bytes: &[u8],
) {
    while !bytes.is_empty() {
        // RFC 7464 puts a record separator before each document.
        let end = memchr::memchr3(b'\n', b'\r', 0x1e, bytes);
        let line = &bytes[..end.unwrap_or(bytes.len())];
        let used = walker.feed(program, line);
        *skipping |= line[used..].iter().any(|b| !b.is_ascii_whitespace());
        let Some(end) = end else { return };
        if std::mem::take(skipping) && walker.is_done() {
            // More stood behind the document: the line is not what it should be.
            to.broken();
        }
        end_document(walker, to);
        bytes = &bytes[end + 1..];
    }
}

/// Documents one after another, in any layout. After a broken one, reading continues at the next
/// line.
fn sequence<D: Documents>(
    program: &Program,
    walker: &mut Walker,
    to: &mut D,
    skipping: &mut bool,
    mut bytes: &[u8],
) {
    while !bytes.is_empty() {
        if *skipping {
            let Some(end) = memchr::memchr(b'\n', bytes) else { return };
            *skipping = false;
            bytes = &bytes[end + 1..];
            continue;
        }
        let used = walker.feed(program, bytes);
        bytes = &bytes[used..];
        if walker.is_failed() {
            *skipping = true;
            end_document(walker, to);
        } else if !bytes.is_empty() {
            end_document(walker, to);
        }
    }
}
