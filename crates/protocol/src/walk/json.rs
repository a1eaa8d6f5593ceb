//! An incremental reader of one JSON document: it checks the grammar as the bytes come by, and
//! walks the compiled pointers along. Constant memory, however large it is.
//!
//! What it calls well-formed is what `serde_json` skips over without complaint: strings may hold
//! bytes that are not UTF-8, but nothing else is forgiven.

use super::scalar::Scalar;
use super::text::{MemberName, NumberState, plain_len};
use crate::found::{DocumentValues, ScalarKind, ScalarValue};
use crate::pointer::MAX_SEGMENTS;
use crate::program::{NONE, NodeId, PointerNode, PointerProgram, Spellings};
use crate::tokens::TokenCounter;

/// Deepest nesting. Deeper is taken for malformed. Readers of JSON give up earlier, but what a
/// model was made to write must not decide whether it is charged.
const MAX_DEPTH: usize = 1 << 16;
/// Words of 64 containers, up to the depth that other readers follow.
const WORDS: usize = 8;
/// Containers that a pointer can lead into.
const FRAMES: usize = MAX_SEGMENTS + 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JsonState {
    /// A value, or (with `true`) the end of the array just begun.
    Value(bool),
    /// A key, or (with `true`) the end of the object just begun.
    Key(bool),
    Colon,
    /// A comma, or the end of the container.
    After,
    Text,
    Escape,
    /// The number of digits of `\uXXXX` read so far.
    Hex(u8),
    Number(NumberState),
    Literal(&'static [u8], u8),
    Done,
    Failed,
}

/// An open container: its place in the tree, and how many elements it has had.
#[derive(Clone, Copy, Debug)]
struct OpenContainer {
    node: NodeId,
    elements: u32,
}

const NOWHERE: OpenContainer = OpenContainer { node: NONE, elements: 0 };

/// Reads documents, one after another. See [`JsonWalker::feed`].
#[derive(Debug)]
pub(crate) struct JsonWalker {
    state: JsonState,
    depth: usize,
    /// One bit for each open container: 1 is an object.
    objects: [u64; WORDS],
    /// Those of deeper ones.
    deeper: Vec<u64>,
    frames: [OpenContainer; FRAMES],
    /// The innermost container.
    here: OpenContainer,
    /// The place of the member whose value is next.
    next: NodeId,
    root_is_object: bool,
    in_key: bool,
    key_matters: bool,
    key: MemberName,
    unit: u16,
    /// The first half of a character that is written as two escapes.
    high: Option<u16>,
    /// Something is done with the scalar being read.
    busy: bool,
    scalar: Scalar,
    pub(crate) found: DocumentValues,
}

impl JsonWalker {
    pub(crate) fn new(program: &PointerProgram) -> Self {
        Self {
            state: JsonState::Value(false),
            depth: 0,
            objects: [0; WORDS],
            deeper: Vec::new(),
            frames: [NOWHERE; FRAMES],
            here: NOWHERE,
            next: 0,
            root_is_object: false,
            in_key: false,
            key_matters: false,
            key: MemberName::new(),
            unit: 0,
            high: None,
            busy: false,
            scalar: Scalar::new(),
            found: DocumentValues::new(program),
        }
    }

    /// Resets the walker for the next document.
    pub(crate) fn reset(&mut self) {
        self.state = JsonState::Value(false);
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
        self.state == JsonState::Value(false) && self.depth == 0
    }

    /// The document has come to its end. A number ends only with what follows it.
    pub(crate) fn is_done(&self) -> bool {
        match self.state {
            JsonState::Done => true,
            JsonState::Number(number) => self.depth == 0 && number.is_whole(),
            _ => false,
        }
    }

    /// What was read is no JSON.
    pub(crate) fn is_failed(&self) -> bool {
        self.state == JsonState::Failed
    }

    /// The document is an object.
    pub(crate) const fn is_object(&self) -> bool {
        self.root_is_object
    }

    /// Reads on. Returns how many bytes belong to the document: all of them, unless it ends or
    /// fails within.
    pub(crate) fn feed(&mut self, program: &PointerProgram, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.state {
                JsonState::Text => {
                    at = self.text(program, bytes, at);
                    continue;
                }
                JsonState::Value(_) | JsonState::Key(_) | JsonState::Colon | JsonState::After
                    if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') => {}
                JsonState::Value(may_end) => self.value(program, byte, may_end),
                JsonState::Key(may_end) => match byte {
                    b'"' => self.begin_key(program),
                    b'}' if may_end => self.close(program, true),
                    _ => self.state = JsonState::Failed,
                },
                JsonState::Colon if byte == b':' => self.state = JsonState::Value(false),
                JsonState::After => self.after(program, byte),
                JsonState::Escape => self.escape(byte),
                JsonState::Hex(digits) => self.hex(byte, digits),
                JsonState::Literal(word, done) => self.literal(program, word, done, byte),
                JsonState::Number(number) => {
                    let (number, len) = number.run(&bytes[at..]);
                    if self.busy {
                        self.take(&bytes[at..at + len]);
                    }
                    at += len;
                    self.state = JsonState::Number(number);
                    if at < bytes.len() && number.is_whole() {
                        self.end_scalar(program);
                    } else if at < bytes.len() {
                        self.state = JsonState::Failed;
                    }
                    continue;
                }
                JsonState::Done => return at,
                JsonState::Colon | JsonState::Failed => {
                    self.state = JsonState::Failed;
                    return at;
                }
            }
            at += 1;
        }
        bytes.len()
    }

    /// The input ends: a number at the root is complete, and incomplete values are dropped.
    pub(crate) fn finish(&mut self, program: &PointerProgram) {
        if let JsonState::Number(number) = self.state
            && self.depth == 0
            && number.is_whole()
        {
            self.end_scalar(program);
        }
        if !self.is_done() {
            self.found.break_off();
        }
    }

    fn in_object(&self) -> bool {
        match self.depth.checked_sub(1) {
            Some(top) => {
                let at = top / 64;
                let word = self.objects.get(at).or_else(|| self.deeper.get(at - WORDS));
                word.is_some_and(|word| word >> (top % 64) & 1 == 1)
            }
            None => false,
        }
    }

    fn begin_key(&mut self, program: &PointerProgram) {
        let here = program.node(self.here.node);
        self.key_matters = here.is_some_and(PointerNode::has_keys);
        self.in_key = true;
        self.key.clear();
        self.state = JsonState::Text;
        // Names of members are a part of a text that is counted with all below it.
        if here.is_some_and(PointerNode::is_deep) {
            self.begin_scalar(program, self.here.node, ScalarKind::Text);
            self.scalar.keep = 0;
        }
    }

    /// Reads plain text and what ends it. Returns where reading continues.
    fn text(&mut self, program: &PointerProgram, bytes: &[u8], at: usize) -> usize {
        let end = at + plain_len(&bytes[at..]);
        let plain = &bytes[at..end];
        let ends = bytes.get(end) == Some(&b'"');
        if self.in_key && self.key_matters && !(ends && self.key.is_empty()) {
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
            Some(b'"') if self.in_key => self.end_key(program, plain),
            Some(b'"') => self.end_scalar(program),
            Some(b'\\') => self.state = JsonState::Escape,
            Some(_) => self.state = JsonState::Failed,
        }
        (end + 1).min(bytes.len())
    }

    /// A key ended. One that came in one piece, as nearly all do, is `plain`, and was not copied.
    fn end_key(&mut self, program: &PointerProgram, plain: &[u8]) {
        self.high = None;
        self.in_key = false;
        self.busy = false;
        self.state = JsonState::Colon;
        let whole = if self.key.is_empty() { Some(plain) } else { self.key.get() };
        let own = self.here.node;
        self.next = match (program.node(own), whole) {
            (Some(node), Some(key)) => {
                let member = node.member(key).or_else(|| match program.spellings {
                    Spellings::Apart => None,
                    Spellings::Same => node.other_spelling(key),
                    Spellings::Noted => {
                        self.found.unclear |= node.other_spelling(key).is_some();
                        None
                    }
                });
                member.unwrap_or(node.below)
            }
            (Some(node), None) => node.below,
            (None, _) => NONE,
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
                self.state = JsonState::Hex(0);
                return;
            }
            _ => {
                self.state = JsonState::Failed;
                return;
            }
        };
        self.decoded(&[plain]);
        self.state = JsonState::Text;
    }

    fn hex(&mut self, byte: u8, digits: u8) {
        let Some(digit) = char::from(byte).to_digit(16) else {
            self.state = JsonState::Failed;
            return;
        };
        self.unit = (self.unit << 4) | u16::try_from(digit).unwrap_or(0);
        if digits < 3 {
            self.state = JsonState::Hex(digits + 1);
            return;
        }
        self.state = JsonState::Text;
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

    fn value(&mut self, program: &PointerProgram, byte: u8, may_end: bool) {
        if byte == b']' && may_end {
            self.close(program, false);
            return;
        }
        let (next, kind) = match byte {
            b'"' => (JsonState::Text, ScalarKind::Text),
            b'{' => (JsonState::Key(true), ScalarKind::Container),
            b'[' => (JsonState::Value(true), ScalarKind::Container),
            b't' => (JsonState::Literal(b"true", 1), ScalarKind::Truth),
            b'f' => (JsonState::Literal(b"false", 1), ScalarKind::Truth),
            b'n' => (JsonState::Literal(b"null", 1), ScalarKind::Null),
            _ => match NumberState::begin(byte) {
                Some(number) => (JsonState::Number(number), ScalarKind::Number),
                None => {
                    self.state = JsonState::Failed;
                    return;
                }
            },
        };
        let node = self.place(program);
        self.state = next;
        if kind == ScalarKind::Container {
            self.open(program, byte == b'{', node);
        } else if node != NONE {
            self.begin_scalar(program, node, kind);
            if kind != ScalarKind::Text && self.busy {
                self.take(&[byte]);
            }
        } else {
            self.busy = false;
        }
    }

    /// The place of the value that begins now.
    fn place(&mut self, program: &PointerProgram) -> NodeId {
        if self.depth == 0 || self.in_object() {
            return self.next;
        }
        let Some(node) = program.node(self.here.node) else { return NONE };
        let index = self.here.elements;
        self.here.elements = index.saturating_add(1);
        node.element(index)
    }

    fn begin_scalar(&mut self, program: &PointerProgram, id: NodeId, kind: ScalarKind) {
        let Some(node) = program.node(id) else { return };
        let is_text = (node.text || node.whole || node.is_deep())
            && matches!(kind, ScalarKind::Text | ScalarKind::Number);
        self.busy = true;
        self.scalar.begin(id, kind, node, is_text);
        if is_text {
            self.counter().begin();
        }
    }

    /// A piece of the scalar being read.
    #[inline]
    fn take(&mut self, piece: &[u8]) {
        self.scalar.take(piece);
        if self.scalar.is_text {
            self.counter().push(piece);
        }
    }

    /// Counts the text being read.
    #[inline]
    const fn counter(&mut self) -> &mut TokenCounter {
        if self.scalar.is_whole { &mut self.found.whole } else { &mut self.found.text }
    }

    fn end_scalar(&mut self, program: &PointerProgram) {
        if self.busy {
            self.busy = false;
            let value = self.scalar.value();
            if let Some(node) = program.node(self.scalar.node) {
                self.found.value(program, node, &value);
            }
        }
        self.end_value();
    }

    const fn end_value(&mut self) {
        self.high = None;
        self.state = if self.depth == 0 { JsonState::Done } else { JsonState::After };
    }

    fn open(&mut self, program: &PointerProgram, object: bool, id: NodeId) {
        if self.depth == MAX_DEPTH {
            self.state = JsonState::Failed;
            return;
        }
        if self.depth == 0 {
            self.root_is_object = object;
        }
        if let Some(node) = program.node(id) {
            self.found.begin_element(node);
            let value =
                ScalarValue { kind: ScalarKind::Container, text: b"", cut: false, chars: 0 };
            self.found.value(program, node, &value);
        }
        if let Some(frame) = self.depth.checked_sub(1).and_then(|at| self.frames.get_mut(at)) {
            *frame = self.here;
        }
        let (at, bit) = (self.depth / 64, 1 << (self.depth % 64));
        if at - at.min(WORDS - 1) > self.deeper.len() {
            self.deeper.push(0);
        }
        if let Some(word) = self.objects.get_mut(at).or_else(|| self.deeper.get_mut(at - WORDS)) {
            *word = if object { *word | bit } else { *word & !bit };
        }
        self.depth += 1;
        self.found.depth = self.depth;
        self.here = OpenContainer { node: id, elements: 0 };
    }

    fn close(&mut self, program: &PointerProgram, object: bool) {
        if self.depth == 0 || self.in_object() != object {
            self.state = JsonState::Failed;
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

    fn beyond(&self, program: &PointerProgram) -> OpenContainer {
        let last = self.frames[FRAMES - 1].node;
        let node = program.node(last).map_or(NONE, |node| node.below);
        OpenContainer { node, elements: 0 }
    }

    fn after(&mut self, program: &PointerProgram, byte: u8) {
        match byte {
            b',' if self.in_object() => self.state = JsonState::Key(false),
            b',' => self.state = JsonState::Value(false),
            b'}' => self.close(program, true),
            b']' => self.close(program, false),
            _ => self.state = JsonState::Failed,
        }
    }

    fn literal(&mut self, program: &PointerProgram, word: &'static [u8], done: u8, byte: u8) {
        if word.get(usize::from(done)) != Some(&byte) {
            self.state = JsonState::Failed;
            return;
        }
        if self.busy {
            self.take(&[byte]);
        }
        if usize::from(done) + 1 == word.len() {
            self.end_scalar(program);
        } else {
            self.state = JsonState::Literal(word, done + 1);
        }
    }
}
