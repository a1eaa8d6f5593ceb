//! Which kind of body it is, and where its documents begin and end.

use super::DocumentEvents;
use super::json::JsonWalker;
use super::sse::EventStream;
use crate::program::PointerProgram;
use crate::reading::BodyShape;
use crate::tokens::TokenCounter;

/// What the headers say of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeclaredType {
    Json,
    Events,
    Lines,
    /// Nothing, or nothing of use: the first byte decides.
    Unknown,
    /// Pictures, sound, pages.
    Opaque,
}

impl DeclaredType {
    pub(crate) fn of(content_type: Option<&str>) -> Self {
        let essence = essence(content_type);
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
    pub(crate) const fn shape(self) -> BodyShape {
        match self {
            Self::Json => BodyShape::Json,
            Self::Events => BodyShape::Events,
            Self::Lines => BodyShape::Lines,
            Self::Unknown | Self::Opaque => BodyShape::Opaque,
        }
    }
}

#[derive(Debug)]
enum BodyFraming {
    /// Nothing but blanks has come.
    Undecided,
    /// One document.
    Single {
        trailing: bool,
    },
    /// The elements of an array, each a document.
    Array(ArrayPart),
    /// One after another; each on its own line, or (from upstreams that say one thing and send
    /// another) in any layout.
    Many {
        by_line: bool,
        skipping: bool,
    },
    Events(EventStream),
    Opaque,
}

/// Where in a top-level array reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ArrayPart {
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
    declared: DeclaredType,
    framing: BodyFraming,
    /// How many bytes have come: a byte order mark stands at the first three.
    seen: u64,
    visible: bool,
    /// The headers call it a page.
    page: bool,
    /// Counts the body as a text, where the headers call it one.
    plain: Option<TokenCounter>,
}

impl Framer {
    pub(crate) fn new(content_type: Option<&str>) -> Self {
        let declared = DeclaredType::of(content_type);
        let plain = is_plain_text(content_type).then(TokenCounter::default);
        let framing = match declared {
            DeclaredType::Opaque => BodyFraming::Opaque,
            DeclaredType::Lines => BodyFraming::Many { by_line: true, skipping: false },
            _ => BodyFraming::Undecided,
        };
        Self { declared, framing, seen: 0, visible: false, page: is_page(content_type), plain }
    }

    pub(crate) fn feed<D: DocumentEvents>(
        &mut self,
        program: &PointerProgram,
        bytes: &[u8],
        walker: &mut JsonWalker,
        to: &mut D,
    ) {
        if let Some(plain) = &mut self.plain {
            plain.push(bytes);
        }
        let mut rest = bytes;
        if !self.visible {
            let Some(at) = self.first_visible(bytes) else { return };
            self.visible = true;
            rest = &bytes[at..];
            if matches!(self.framing, BodyFraming::Undecided) {
                self.framing = decide(self.declared, rest[0]);
            }
        }
        match &mut self.framing {
            BodyFraming::Single { trailing } => {
                let used = walker.feed(program, rest);
                *trailing |= rest[used..].iter().any(|b| !b.is_ascii_whitespace());
            }
            BodyFraming::Array(array) => elements(program, walker, to, array, rest),
            BodyFraming::Many { by_line: true, skipping } => {
                lines(program, walker, to, skipping, rest);
            }
            BodyFraming::Many { by_line: false, skipping } => {
                sequence(program, walker, to, skipping, rest);
            }
            BodyFraming::Events(sse) => sse.feed(program, rest, walker, to),
            BodyFraming::Undecided | BodyFraming::Opaque => {}
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

    /// The input ends. The values of a single document count even when it is incomplete: a body
    /// that broke off has still reported them.
    pub(crate) fn finish<D: DocumentEvents>(
        &mut self,
        program: &PointerProgram,
        walker: &mut JsonWalker,
        to: &mut D,
    ) {
        match &mut self.framing {
            BodyFraming::Many { .. } => {
                walker.finish(program);
                end_document(walker, to);
            }
            BodyFraming::Events(sse) => {
                walker.finish(program);
                sse.finish(walker, to);
            }
            BodyFraming::Single { .. } => {
                walker.finish(program);
                to.single(walker);
            }
            BodyFraming::Array(ArrayPart::Within) => {
                walker.finish(program);
                to.document(walker, b"");
            }
            BodyFraming::Undecided | BodyFraming::Array(_) | BodyFraming::Opaque => {}
        }
    }

    /// Whether the stream has ended with `[DONE]`. What a document says of itself is no end: more
    /// may follow, of other choices.
    pub(crate) const fn is_ended(&self) -> bool {
        matches!(&self.framing, BodyFraming::Events(events) if events.is_ended())
    }

    /// Whether the headers say that nothing in the body can be read.
    pub(crate) const fn is_opaque(&self) -> bool {
        matches!(self.framing, BodyFraming::Opaque) && self.plain.is_none()
    }

    /// Whether anything but blanks has come.
    pub(crate) const fn is_blank(&self) -> bool {
        !self.visible
    }

    /// Whether it is a page, which nobody asks an API for.
    pub(crate) const fn is_page(&self) -> bool {
        self.page
    }

    /// Tokens of a body that is a text, about: nothing in it is found by a pointer.
    pub(crate) fn plain_tokens(&self) -> i64 {
        self.plain.as_ref().map_or(0, TokenCounter::tokens)
    }

    /// The kind of body, as far as it can be determined.
    pub(crate) fn shape(&self, walker: &JsonWalker, documents: u64, done: bool) -> BodyShape {
        let guessed = self.declared == DeclaredType::Unknown;
        match &self.framing {
            BodyFraming::Single { .. } if guessed && !self.is_one_document(walker) => {
                BodyShape::Opaque
            }
            BodyFraming::Single { .. } => BodyShape::Json,
            BodyFraming::Array(ArrayPart::Ended) => BodyShape::Array,
            BodyFraming::Array(_) if guessed => BodyShape::Opaque,
            BodyFraming::Array(_) => BodyShape::Array,
            BodyFraming::Many { .. } => BodyShape::Lines,
            BodyFraming::Events(_) if guessed && documents == 0 && !done => BodyShape::Opaque,
            BodyFraming::Events(_) => BodyShape::Events,
            BodyFraming::Undecided => self.declared.shape(),
            BodyFraming::Opaque => BodyShape::Opaque,
        }
    }

    /// The body is one document, from its first byte to its last.
    fn is_one_document(&self, walker: &JsonWalker) -> bool {
        matches!(self.framing, BodyFraming::Single { trailing: false }) && walker.is_done()
    }

    /// The body is the beginning of one document. What is no JSON at all (some write `NaN` into
    /// it) is something else: it may be whole.
    pub(crate) fn is_cut(&self, walker: &JsonWalker) -> bool {
        matches!(self.framing, BodyFraming::Single { .. })
            && !walker.is_done()
            && !walker.is_failed()
    }

    pub(crate) fn is_well_formed(&self, walker: &JsonWalker, broken: u64) -> bool {
        match &self.framing {
            BodyFraming::Single { .. } => self.is_one_document(walker),
            BodyFraming::Array(array) => *array == ArrayPart::Ended && broken == 0,
            BodyFraming::Many { .. } | BodyFraming::Events(_) => broken == 0,
            BodyFraming::Undecided | BodyFraming::Opaque => false,
        }
    }
}

/// Subtitles, transcripts; a page is none.
fn is_plain_text(content_type: Option<&str>) -> bool {
    let texts = ["text/plain", "text/vtt", "text/srt", "application/x-subrip"];
    texts.iter().any(|text| essence(content_type).eq_ignore_ascii_case(text))
}

/// A page of a proxy or a login, in place of what was asked for.
fn is_page(content_type: Option<&str>) -> bool {
    let pages = ["text/html", "application/xhtml+xml"];
    pages.iter().any(|page| essence(content_type).eq_ignore_ascii_case(page))
}

/// A type without its parameters.
fn essence(content_type: Option<&str>) -> &str {
    content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

/// Whether a document begins so, also one with a `NaN` or an `Infinity`.
const fn begins_json(first: u8) -> bool {
    matches!(first, b'{' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' | b'N' | b'I')
}

/// No JSON begins like a line of an event stream, nor the other way round: the first byte is
/// believed before the header.
const fn decide(declared: DeclaredType, first: u8) -> BodyFraming {
    let is_field = matches!(first, b'd' | b'e' | b'i' | b'r' | b':');
    match (declared, first) {
        (DeclaredType::Events, b'{') => BodyFraming::Many { by_line: false, skipping: false },
        (DeclaredType::Events | DeclaredType::Json | DeclaredType::Unknown, b'[') => {
            BodyFraming::Array(ArrayPart::Bracket)
        }
        (DeclaredType::Events, _) => BodyFraming::Events(EventStream::new()),
        (DeclaredType::Json | DeclaredType::Unknown, _) if is_field => {
            BodyFraming::Events(EventStream::new())
        }
        (DeclaredType::Json, first) if begins_json(first) => {
            BodyFraming::Single { trailing: false }
        }
        (DeclaredType::Unknown, b'{') => BodyFraming::Single { trailing: false },
        _ => BodyFraming::Opaque,
    }
}

fn end_document<D: DocumentEvents>(walker: &mut JsonWalker, to: &mut D) {
    if !walker.is_untouched() {
        to.document(walker, b"");
        walker.reset();
    }
}

/// The elements of an array.
fn elements<D: DocumentEvents>(
    program: &PointerProgram,
    walker: &mut JsonWalker,
    to: &mut D,
    array: &mut ArrayPart,
    mut bytes: &[u8],
) {
    while let Some(&byte) = bytes.first() {
        *array = match (*array, byte) {
            (ArrayPart::Before(_) | ArrayPart::Behind | ArrayPart::Ended, b)
                if b.is_ascii_whitespace() =>
            {
                *array
            }
            (ArrayPart::Bracket, _) => ArrayPart::Before(true),
            (ArrayPart::Before(true), b']') => ArrayPart::Ended,
            (ArrayPart::Before(_) | ArrayPart::Within, _) => {
                let used = walker.feed(program, bytes);
                bytes = &bytes[used..];
                if walker.is_failed() {
                    to.broken();
                    *array = ArrayPart::Failed;
                    return;
                }
                if !bytes.is_empty() {
                    end_document(walker, to);
                    *array = ArrayPart::Behind;
                } else {
                    *array = ArrayPart::Within;
                }
                continue;
            }
            (ArrayPart::Behind, b',') => ArrayPart::Before(false),
            (ArrayPart::Behind, b']') => ArrayPart::Ended,
            (ArrayPart::Behind | ArrayPart::Ended, _) => {
                to.broken();
                ArrayPart::Failed
            }
            (ArrayPart::Failed, _) => return,
        };
        bytes = &bytes[1..];
    }
}

/// A document on each line.
fn lines<D: DocumentEvents>(
    program: &PointerProgram,
    walker: &mut JsonWalker,
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
fn sequence<D: DocumentEvents>(
    program: &PointerProgram,
    walker: &mut JsonWalker,
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
