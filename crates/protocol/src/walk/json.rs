//! An incremental reader of one JSON document: it checks the grammar as the bytes come by, and
//! walks the compiled pointers along. Constant memory, whatever the size.
//!
//! What it calls well-formed is what `serde_json` skips over without complaint: strings may hold
//! bytes that are not UTF-8, but nothing else is forgiven.

use super::text::{Key, Number, plain_len};
use crate::found::{Found, Kind, Value};
use crate::pointer::MAX_SEGMENTS;
use crate::program::{NONE, Node, NodeId, Program};

/// Deepest nesting. Deeper is taken for malformed.
const MAX_DEPTH: usize = 512;
const WORDS: usize = MAX_DEPTH / 64;
/// Containers that a pointer can lead into.
const FRAMES: usize = MAX_SEGMENTS + 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value, or (with `true`) the end of the array just begun.
    Value(bool),
    /// A key, or (with `true`) the end of the object just begun.
    Key(bool),
    Colon,
    /// A comma, or the end of the container.
    After,
    Text,
    Escape,
    /// So many digits of `\uXXXX` have been read.
    Hex(u8),
    Number(Number),
    Literal(&'static [u8], u8),
    Done,
    Failed,
}

/// An open container: its place in the tree, and how many elements it has had.
#[derive(Clone, Copy, Debug)]
struct Frame {
    node: NodeId,
    elements: u32,
}

const NOWHERE: Frame = Frame { node: NONE, elements: 0 };

/// The scalar that is being read.
#[derive(Debug)]
struct Scalar {
    node: NodeId,
    kind: Kind,
    text: Vec<u8>,
    /// As much is kept.
    keep: usize,
    cut: bool,
    chars: u64,
    count_chars: bool,
    is_text: bool,
}

/// Reads documents, one after another. See [`Walker::feed`].
#[derive(Debug)]
pub(crate) struct Walker {
    state: State,
    depth: usize,
    /// One bit for each open container: 1 is an object.
    objects: [u64; WORDS],
    frames: [Frame; FRAMES],
    /// The innermost container.
    here: Frame,
    /// The place of the member whose value is next.
    next: NodeId,
    root_is_object: bool,
    in_key: bool,
    key_matters: bool,
    key: Key,
    unit: u16,
    /// The first half of a character that is written as two escapes.
    high: Option<u16>,
    /// Something is done with the scalar being read.
    busy: bool,
    scalar: Scalar,
    pub(crate) found: Found,
}

impl Walker {
    pub(crate) fn new(program: &Program) -> Self {
        Self {
            state: State::Value(false),
            depth: 0,
            objects: [0; WORDS],
            frames: [NOWHERE; FRAMES],
            here: NOWHERE,
            next: 0,
            root_is_object: false,
            in_key: false,
            key_matters: false,
            key: Key::new(),
            unit: 0,
            high: None,
            busy: false,
            scalar: Scalar {
                node: NONE,
                kind: Kind::Null,
                text: Vec::new(),
                keep: 0,
                cut: false,
                chars: 0,
                count_chars: false,
                is_text: false,
            },
            found: Found::new(program),
        }
    }

    /// Makes ready for another document.
    pub(crate) fn reset(&mut self) {
        self.state = State::Value(false);
        self.depth = 0;
        self.here = NOWHERE;
        self.next = 0;
        self.root_is_object = false;
        self.in_key = false;
        self.busy = false;
        self.found.clear();
    }

    /// Nothing but blanks has been read.
    pub(crate) fn is_untouched(&self) -> bool {
        self.state == State::Value(false) && self.depth == 0
    }

    /// The document has come to its end. A number ends only with what follows it.
    pub(crate) fn is_done(&self) -> bool {
        match self.state {
            State::Done => true,
            State::Number(number) => self.depth == 0 && number.is_whole(),
            _ => false,
        }
    }

    /// What was read is no JSON.
    pub(crate) fn is_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// The document is an object.
    pub(crate) const fn is_object(&self) -> bool {
        self.root_is_object
    }

    /// Reads on. Returns how many bytes belong to the document: all of them, unless it ends or
    /// fails within.
    pub(crate) fn feed(&mut self, program: &Program, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.state {
                State::Text => {
                    at = self.text(program, bytes, at);
                    continue;
                }
                State::Value(_) | State::Key(_) | State::Colon | State::After
                    if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') => {}
                State::Value(may_end) => self.value(program, byte, may_end),
                State::Key(may_end) => match byte {
                    b'"' => self.begin_key(program),
                    b'}' if may_end => self.close(program, true),
                    _ => self.state = State::Failed,
                },
                State::Colon if byte == b':' => self.state = State::Value(false),
                State::After => self.after(program, byte),
                State::Escape => self.escape(byte),
                State::Hex(digits) => self.hex(byte, digits),
                State::Literal(word, done) => self.literal(program, word, done, byte),
                State::Number(number) => {
                    let (number, len) = number.run(&bytes[at..]);
                    if self.busy {
                        self.take(&bytes[at..at + len]);
                    }
                    at += len;
                    self.state = State::Number(number);
                    if at < bytes.len() && number.is_whole() {
                        self.end_scalar(program);
                    } else if at < bytes.len() {
                        self.state = State::Failed;
                    }
                    continue;
                }
                State::Done => return at,
                State::Colon | State::Failed => {
                    self.state = State::Failed;
                    return at;
                }
            }
            at += 1;
        }
        bytes.len()
    }

    /// No more comes: a number at the root is over, and what is half said is forgotten.
    pub(crate) fn finish(&mut self, program: &Program) {
        if let State::Number(number) = self.state
            && self.depth == 0
            && number.is_whole()
        {
            self.end_scalar(program);
        }
        if !self.is_done() {
            self.found.break_off();
        }
    }

    const fn in_object(&self) -> bool {
        match self.depth.checked_sub(1) {
            Some(top) => self.objects[top / 64] >> (top % 64) & 1 == 1,
            None => false,
        }
    }

    fn begin_key(&mut self, program: &Program) {
        let here = program.node(self.here.node);
        self.key_matters = here.is_some_and(Node::has_keys);
        self.in_key = true;
        self.key.clear();
        self.state = State::Text;
        // Names of members are a part of a text that is counted with all below it.
        if here.is_some_and(Node::is_deep) {
            self.begin_scalar(program, self.here.node, Kind::Text);
            self.scalar.keep = 0;
        }
    }

    /// Reads plain text and whatever ends it. Returns where reading continues.
    fn text(&mut self, program: &Program, bytes: &[u8], at: usize) -> usize {
        let end = at + plain_len(&bytes[at..]);
        let plain = &bytes[at..end];
        if self.in_key && self.key_matters {
            self.key.push(plain);
        }
        if !plain.is_empty() {
            self.high = None;
            if self.busy {
                self.take(plain);
            }
        }
        match bytes.get(end) {
            None => {}
            Some(b'"') if self.in_key => self.end_key(program),
            Some(b'"') => self.end_scalar(program),
            Some(b'\\') => self.state = State::Escape,
            Some(_) => self.state = State::Failed,
        }
        (end + 1).min(bytes.len())
    }

    fn end_key(&mut self, program: &Program) {
        self.high = None;
        self.in_key = false;
        self.busy = false;
        self.state = State::Colon;
        self.next = match (program.node(self.here.node), self.key.get()) {
            (Some(node), Some(key)) => node.member(self.here.node, key),
            (Some(node), None) if node.is_deep() => self.here.node,
            _ => NONE,
        };
    }

    fn escape(&mut self, byte: u8) {
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.unit = 0;
                self.state = State::Hex(0);
                return;
            }
            _ => {
                self.state = State::Failed;
                return;
            }
        };
        self.decoded(&[plain]);
        self.state = State::Text;
    }

    fn hex(&mut self, byte: u8, digits: u8) {
        let Some(digit) = char::from(byte).to_digit(16) else {
            self.state = State::Failed;
            return;
        };
        self.unit = (self.unit << 4) | u16::try_from(digit).unwrap_or(0);
        if digits < 3 {
            self.state = State::Hex(digits + 1);
            return;
        }
        self.state = State::Text;
        let units = match self.high.take() {
            Some(high) => [high, self.unit],
            None if (0xd800..0xdc00).contains(&self.unit) => {
                self.high = Some(self.unit);
                return;
            }
            None => [self.unit, 0],
        };
        let len = if units[1] == 0 { 1 } else { 2 };
        for unit in char::decode_utf16(units.into_iter().take(len)) {
            let mut utf8 = [0; 4];
            let decoded = unit.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut utf8);
            self.decoded(decoded.as_bytes());
        }
    }

    /// A character that was written as an escape.
    fn decoded(&mut self, utf8: &[u8]) {
        if self.in_key && self.key_matters {
            self.key.push(utf8);
        }
        if self.busy {
            self.take(utf8);
        }
    }

    fn value(&mut self, program: &Program, byte: u8, may_end: bool) {
        if byte == b']' && may_end {
            self.close(program, false);
            return;
        }
        let (next, kind) = match byte {
            b'"' => (State::Text, Kind::Text),
            b'{' => (State::Key(true), Kind::Container),
            b'[' => (State::Value(true), Kind::Container),
            b't' => (State::Literal(b"true", 1), Kind::Truth),
            b'f' => (State::Literal(b"false", 1), Kind::Truth),
            b'n' => (State::Literal(b"null", 1), Kind::Null),
            _ => match Number::begin(byte) {
                Some(number) => (State::Number(number), Kind::Number),
                None => {
                    self.state = State::Failed;
                    return;
                }
            },
        };
        let node = self.place(program);
        self.state = next;
        if kind == Kind::Container {
            self.open(program, byte == b'{', node);
        } else if node != NONE {
            self.begin_scalar(program, node, kind);
            if kind != Kind::Text && self.busy {
                self.take(&[byte]);
            }
        } else {
            self.busy = false;
        }
    }

    /// The place of the value that begins now.
    fn place(&mut self, program: &Program) -> NodeId {
        if self.depth == 0 || self.in_object() {
            return self.next;
        }
        let Some(node) = program.node(self.here.node) else { return NONE };
        let index = self.here.elements;
        self.here.elements = index.saturating_add(1);
        node.element(self.here.node, index)
    }

    fn begin_scalar(&mut self, program: &Program, id: NodeId, kind: Kind) {
        let Some(node) = program.node(id) else { return };
        let is_text = (node.text || node.is_deep()) && matches!(kind, Kind::Text | Kind::Number);
        self.busy = true;
        let scalar = &mut self.scalar;
        (scalar.node, scalar.kind, scalar.is_text) = (id, kind, is_text);
        (scalar.keep, scalar.count_chars) = (usize::from(node.keep), node.chars);
        (scalar.cut, scalar.chars) = (false, 0);
        scalar.text.clear();
        if is_text {
            self.found.text.begin();
        }
    }

    /// A piece of the scalar being read.
    #[inline]
    fn take(&mut self, piece: &[u8]) {
        let scalar = &mut self.scalar;
        if scalar.keep > 0 {
            let room = scalar.keep - scalar.text.len().min(scalar.keep);
            scalar.cut |= piece.len() > room;
            scalar.text.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        if scalar.count_chars {
            let begun = piece.iter().filter(|byte| !matches!(byte, 0x80..=0xbf)).count();
            scalar.chars = scalar.chars.saturating_add(begun as u64);
        }
        if scalar.is_text {
            self.found.text.push(piece);
        }
    }

    fn end_scalar(&mut self, program: &Program) {
        if self.busy {
            self.busy = false;
            let scalar = &self.scalar;
            let (kind, cut, chars) = (scalar.kind, scalar.cut, scalar.chars);
            let value = Value { kind, text: &scalar.text, cut, chars };
            if let Some(node) = program.node(scalar.node) {
                self.found.value(program, node, &value);
            }
        }
        self.end_value();
    }

    const fn end_value(&mut self) {
        self.high = None;
        self.state = if self.depth == 0 { State::Done } else { State::After };
    }

    fn open(&mut self, program: &Program, object: bool, id: NodeId) {
        if self.depth == MAX_DEPTH {
            self.state = State::Failed;
            return;
        }
        if self.depth == 0 {
            self.root_is_object = object;
        }
        if let Some(node) = program.node(id) {
            self.found.begin_element(node);
            let value = Value { kind: Kind::Container, text: b"", cut: false, chars: 0 };
            self.found.value(program, node, &value);
        }
        if let Some(frame) = self.depth.checked_sub(1).and_then(|at| self.frames.get_mut(at)) {
            *frame = self.here;
        }
        let bit = 1 << (self.depth % 64);
        let word = &mut self.objects[self.depth / 64];
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        self.found.depth = self.depth;
        self.here = Frame { node: id, elements: 0 };
    }

    fn close(&mut self, program: &Program, object: bool) {
        if self.depth == 0 || self.in_object() != object {
            self.state = State::Failed;
            return;
        }
        if let Some(node) = program.node(self.here.node) {
            self.found.end_container(program, node, self.here.elements);
        }
        self.found.close(self.depth);
        self.depth -= 1;
        self.found.depth = self.depth;
        self.here = match self.depth.checked_sub(1) {
            None => NOWHERE,
            // Beyond the last frame all is as in it: deep text, or nothing.
            Some(at) => self.frames.get(at).copied().unwrap_or_else(|| self.beyond(program)),
        };
        self.end_value();
    }

    fn beyond(&self, program: &Program) -> Frame {
        let last = self.frames[FRAMES - 1].node;
        let is_deep = program.node(last).is_some_and(Node::is_deep);
        Frame { node: if is_deep { last } else { NONE }, elements: 0 }
    }

    fn after(&mut self, program: &Program, byte: u8) {
        match byte {
            b',' if self.in_object() => self.state = State::Key(false),
            b',' => self.state = State::Value(false),
            b'}' => self.close(program, true),
            b']' => self.close(program, false),
            _ => self.state = State::Failed,
        }
    }

    fn literal(&mut self, program: &Program, word: &'static [u8], done: u8, byte: u8) {
        if word.get(usize::from(done)) != Some(&byte) {
            self.state = State::Failed;
            return;
        }
        if self.busy {
            self.take(&[byte]);
        }
        if usize::from(done) + 1 == word.len() {
            self.end_scalar(program);
        } else {
            self.state = State::Literal(word, done + 1);
        }
    }
}
