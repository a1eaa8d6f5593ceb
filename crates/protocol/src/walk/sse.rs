//! Server-sent events: lines to fields, fields to documents. Nothing is buffered: the data of an
//! event goes through the JSON reader as it arrives.

use super::DocumentEvents;
use super::json::JsonWalker;
use crate::program::PointerProgram;
use memchr::memchr2;

/// The longest field name and event name that matter.
pub(crate) const MAX_EVENT: usize = 48;

/// A short word as it is read.
#[derive(Debug)]
struct ShortWord {
    bytes: [u8; MAX_EVENT],
    len: usize,
}

impl ShortWord {
    const fn new() -> Self {
        Self { bytes: [0; MAX_EVENT], len: 0 }
    }

    /// Adds `text`; a word longer than any that matters is none of them.
    fn push(&mut self, text: &[u8]) {
        match self.bytes.get_mut(self.len..self.len.saturating_add(text.len())) {
            Some(room) => {
                room.copy_from_slice(text);
                self.len += text.len();
            }
            None => self.len = MAX_EVENT + 1,
        }
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(b"")
    }

    fn is(&self, word: &[u8]) -> bool {
        self.bytes.get(..self.len) == Some(word)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinePart {
    /// In the field's name.
    Name,
    /// Behind the colon, where one blank may stand.
    Colon,
    Data,
    Event,
    /// In a comment, or a field that is not used.
    Ignored,
}

/// Reads an event stream.
#[derive(Debug)]
pub(crate) struct EventStream {
    at: LinePart,
    name: ShortWord,
    event: ShortWord,
    /// The beginning of the line's data, as far as `[DONE]` goes.
    data: ShortWord,
    /// The event has data.
    has_data: bool,
    /// A CR ended the last line: an LF that follows belongs to it.
    after_cr: bool,
    /// The last line that said anything was `[DONE]`.
    ended: bool,
}

impl EventStream {
    pub(crate) const fn new() -> Self {
        Self {
            at: LinePart::Name,
            name: ShortWord::new(),
            event: ShortWord::new(),
            data: ShortWord::new(),
            has_data: false,
            after_cr: false,
            ended: false,
        }
    }

    /// Whether `[DONE]` has come, and no field behind it.
    pub(crate) const fn is_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn feed<D: DocumentEvents>(
        &mut self,
        program: &PointerProgram,
        mut bytes: &[u8],
        walker: &mut JsonWalker,
        to: &mut D,
    ) {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = memchr2(b'\n', b'\r', bytes);
            self.within_line(program, &bytes[..end.unwrap_or(bytes.len())], walker);
            let Some(end) = end else { return };
            self.end_line(walker, to);
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
        }
    }

    /// The stream ends. An event that lacks its blank line is read as it is: the usage that it
    /// reports is valid all the same.
    pub(crate) fn finish<D: DocumentEvents>(&mut self, walker: &mut JsonWalker, to: &mut D) {
        self.end_line(walker, to);
        self.end_event(walker, to);
    }

    fn within_line(&mut self, program: &PointerProgram, mut text: &[u8], walker: &mut JsonWalker) {
        if self.at == LinePart::Name {
            let colon = memchr::memchr(b':', text);
            self.name.push(&text[..colon.unwrap_or(text.len())]);
            let Some(colon) = colon else { return };
            self.at = LinePart::Colon;
            text = &text[colon + 1..];
        }
        if self.at == LinePart::Colon && !text.is_empty() {
            text = text.strip_prefix(b" ").unwrap_or(text);
            self.begin_value(program, walker);
        }
        match self.at {
            LinePart::Data => {
                self.data.push(text);
                walker.feed(program, text);
            }
            LinePart::Event => self.event.push(text),
            LinePart::Name | LinePart::Colon | LinePart::Ignored => {}
        }
    }

    fn begin_value(&mut self, program: &PointerProgram, walker: &mut JsonWalker) {
        // A comment has no name, and says nothing.
        self.ended &= self.name.len == 0;
        self.at = if self.name.is(b"data") {
            if self.has_data {
                // The lines of one event are one text.
                walker.feed(program, b"\n");
            }
            self.has_data = true;
            self.data.len = 0;
            LinePart::Data
        } else if self.name.is(b"event") {
            self.event.len = 0;
            LinePart::Event
        } else {
            LinePart::Ignored
        };
    }

    fn end_line<D: DocumentEvents>(&mut self, walker: &mut JsonWalker, to: &mut D) {
        if self.at == LinePart::Colon {
            // A field without a value. No program is needed: empty data contains nothing.
            self.at = LinePart::Ignored;
            if self.name.is(b"data") {
                self.has_data = true;
            } else if self.name.is(b"event") {
                self.event.len = 0;
            }
        }
        let blank = self.at == LinePart::Name && self.name.len == 0;
        if self.at == LinePart::Data {
            if self.data.is(b"[DONE]") {
                to.done();
                self.ended = true;
                walker.reset();
                self.has_data = false;
            } else if walker.is_done() {
                // Whole already, blank line or not: there are streams without any.
                to.document(walker, self.event.get());
                walker.reset();
                self.has_data = false;
            }
        }
        self.at = LinePart::Name;
        self.name.len = 0;
        if blank {
            self.end_event(walker, to);
        }
    }

    fn end_event<D: DocumentEvents>(&mut self, walker: &mut JsonWalker, to: &mut D) {
        if self.has_data {
            if walker.is_untouched() {
                // Empty data contains nothing, but its event has a name.
                to.bare_event(self.event.get());
            } else {
                to.document(walker, self.event.get());
            }
            walker.reset();
        }
        self.has_data = false;
        self.event.len = 0;
    }
}
