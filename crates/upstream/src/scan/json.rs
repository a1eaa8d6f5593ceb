//! An incremental parser of one JSON document: it checks the grammar as the bytes arrive, and keeps
//! the raw text of the few members of interest. Constant memory, regardless of the size.
//!
//! It accepts what `serde_json` skips over without error: strings may hold bytes that are not
//! UTF-8, but nothing else is tolerated.

use super::slots::{Member, Slots};
use super::text::{Key, Number, plain_len};

/// Deepest nesting. Deeper counts as malformed.
const MAX_DEPTH: usize = 512;
const WORDS: usize = MAX_DEPTH / 64;

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
    /// This many digits of `\uXXXX` have been read.
    Hex(u8),
    Number(Number),
    Literal(&'static [u8], u8),
    Done,
    Failed,
}

/// Parses one document. See [`TopLevelScanner::feed`].
#[derive(Debug)]
pub(super) struct TopLevelScanner {
    state: State,
    depth: usize,
    /// One bit for each open container: 1 is an object.
    objects: [u64; WORDS],
    root_is_object: bool,
    /// The string being read is a key, and possibly one of interest.
    in_key: bool,
    key_matters: bool,
    key: Key,
    unit: u16,
    /// The member whose value is next, or open.
    member: Member,
    /// The member of the root that the current container at depth 2 belongs to, if its members are
    /// of interest.
    parent: Member,
    /// The member being kept, and the depth of its value.
    keeping: Option<(Member, usize)>,
    pub(super) slots: Slots,
}

impl TopLevelScanner {
    pub(super) fn new() -> Self {
        Self {
            state: State::Value(false),
            depth: 0,
            objects: [0; WORDS],
            root_is_object: false,
            in_key: false,
            key_matters: false,
            key: Key::default(),
            unit: 0,
            member: Member::Other,
            parent: Member::Other,
            keeping: None,
            slots: Slots::default(),
        }
    }

    /// Resets the parser for another document.
    pub(super) fn reset(&mut self) {
        self.state = State::Value(false);
        self.depth = 0;
        self.root_is_object = false;
        self.in_key = false;
        self.member = Member::Other;
        self.parent = Member::Other;
        self.keeping = None;
        self.slots.clear();
    }

    /// Only blanks have been read.
    pub(super) fn is_untouched(&self) -> bool {
        self.state == State::Value(false) && self.depth == 0
    }

    /// The document has ended. A number ends only with what follows it.
    pub(super) fn is_done(&self) -> bool {
        match self.state {
            State::Done => true,
            State::Number(number) => self.depth == 0 && number.is_whole(),
            _ => false,
        }
    }

    /// The input is not JSON.
    pub(super) fn is_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// The document is an object.
    pub(super) const fn is_object(&self) -> bool {
        self.root_is_object
    }

    /// Parses more input. Returns how many bytes belong to the document: all of them, unless it
    /// ends or fails within.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> usize {
        // A value kept from an earlier piece continues at the beginning of this one.
        let mut kept_from = 0;
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.state {
                State::Text => {
                    at = self.text(bytes, at, &mut kept_from);
                    continue;
                }
                State::Value(_) | State::Key(_) | State::Colon | State::After
                    if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') => {}
                State::Value(may_end) => self.value(byte, may_end, bytes, at, &mut kept_from),
                State::Key(may_end) => match byte {
                    b'"' => self.begin_key(),
                    b'}' if may_end => self.close(true, bytes, at, &mut kept_from),
                    _ => self.state = State::Failed,
                },
                State::Colon if byte == b':' => self.state = State::Value(false),
                State::After => self.after(byte, bytes, at, &mut kept_from),
                State::Escape => self.escape(byte),
                State::Hex(digits) => self.hex(byte, digits),
                State::Literal(word, done) => {
                    self.literal(word, done, byte, bytes, at, &mut kept_from);
                }
                State::Number(number) => {
                    let (number, len) = number.run(&bytes[at..]);
                    at += len;
                    self.state = State::Number(number);
                    if at < bytes.len() && number.is_whole() {
                        self.end_value(bytes, at, &mut kept_from);
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
        if let Some((member, _)) = self.keeping {
            self.slots.push(member, &bytes[kept_from..]);
        }
        bytes.len()
    }

    const fn matters_here(&self) -> bool {
        self.root_is_object && (self.depth == 1 || (self.depth == 2 && self.parent.is_parent()))
    }

    fn begin_key(&mut self) {
        self.key_matters = self.matters_here();
        self.in_key = true;
        self.key.clear();
        self.state = State::Text;
    }

    /// Reads plain text and the byte that ends it. Returns where to continue.
    fn text(&mut self, bytes: &[u8], at: usize, kept_from: &mut usize) -> usize {
        let end = at + plain_len(&bytes[at..]);
        if self.in_key && self.key_matters {
            self.key.push(&bytes[at..end]);
        }
        match bytes.get(end) {
            None => {}
            Some(b'"') if self.in_key => self.end_key(),
            Some(b'"') => self.end_value(bytes, end + 1, kept_from),
            Some(b'\\') => self.state = State::Escape,
            Some(_) => self.state = State::Failed,
        }
        (end + 1).min(bytes.len())
    }

    const fn end_key(&mut self) {
        self.in_key = false;
        self.state = State::Colon;
        self.member = Member::Other;
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
        if self.in_key && self.key_matters {
            self.key.push(&[plain]);
        }
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
        if self.in_key && self.key_matters {
            self.key.push_unit(self.unit);
        }
        self.state = State::Text;
    }

    fn value(&mut self, byte: u8, may_end: bool, bytes: &[u8], at: usize, kept_from: &mut usize) {
        if byte == b']' && may_end {
            self.close(false, bytes, at, kept_from);
            return;
        }
        let next = match byte {
            b'"' => State::Text,
            b'{' => State::Key(true),
            b'[' => State::Value(true),
            b't' => State::Literal(b"true", 1),
            b'f' => State::Literal(b"false", 1),
            b'n' => State::Literal(b"null", 1),
            _ => match Number::begin(byte) {
                Some(number) => State::Number(number),
                None => State::Failed,
            },
        };
        self.begin_member(byte, at, kept_from);
        self.state = next;
        if matches!(byte, b'{' | b'[') {
            self.open(byte == b'{');
        }
    }

    /// A value begins: that of a member, if members are of interest at this depth.
    fn begin_member(&mut self, byte: u8, at: usize, kept_from: &mut usize) {
        if !self.in_object() || !self.matters_here() {
            return;
        }
        self.member = if self.depth == 1 {
            Member::top(self.key.get())
        } else {
            self.parent.within(self.key.get())
        };
        if self.keeping.is_none() && self.slots.begin(self.member, byte) {
            self.keeping = Some((self.member, self.depth));
            *kept_from = at;
        }
    }

    const fn in_object(&self) -> bool {
        match self.depth.checked_sub(1) {
            Some(top) => self.objects[top / 64] >> (top % 64) & 1 == 1,
            None => false,
        }
    }

    fn open(&mut self, object: bool) {
        if self.depth == MAX_DEPTH {
            self.state = State::Failed;
            return;
        }
        match self.depth {
            0 => self.root_is_object = object,
            // Members of an array's elements are not members of the member.
            1 => self.parent = if object { self.member } else { Member::Other },
            _ => {}
        }
        let bit = 1 << (self.depth % 64);
        let word = &mut self.objects[self.depth / 64];
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
    }

    fn close(&mut self, object: bool, bytes: &[u8], at: usize, kept_from: &mut usize) {
        if self.depth == 0 || self.in_object() != object {
            self.state = State::Failed;
            return;
        }
        self.depth -= 1;
        if self.depth == 1 {
            self.parent = Member::Other;
        }
        self.end_value(bytes, at + 1, kept_from);
    }

    fn after(&mut self, byte: u8, bytes: &[u8], at: usize, kept_from: &mut usize) {
        match byte {
            b',' if self.in_object() => self.state = State::Key(false),
            b',' => self.state = State::Value(false),
            b'}' => self.close(true, bytes, at, kept_from),
            b']' => self.close(false, bytes, at, kept_from),
            _ => self.state = State::Failed,
        }
    }

    fn literal(
        &mut self,
        word: &'static [u8],
        done: u8,
        byte: u8,
        bytes: &[u8],
        at: usize,
        kept_from: &mut usize,
    ) {
        if word.get(usize::from(done)) != Some(&byte) {
            self.state = State::Failed;
        } else if usize::from(done) + 1 == word.len() {
            self.end_value(bytes, at + 1, kept_from);
        } else {
            self.state = State::Literal(word, done + 1);
        }
    }

    /// A value ended just before `end`.
    fn end_value(&mut self, bytes: &[u8], end: usize, kept_from: &mut usize) {
        if let Some((member, depth)) = self.keeping
            && depth == self.depth
        {
            self.slots.push(member, &bytes[*kept_from..end]);
            self.slots.end(member);
            self.keeping = None;
        }
        self.state = if self.depth == 0 { State::Done } else { State::After };
    }
}
