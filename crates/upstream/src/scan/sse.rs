//! Server-sent events: lines to fields, fields to documents. Nothing is buffered: event data goes
//! through the JSON parser as it arrives.

use super::json::TopLevelScanner;
use super::tally::Tally;
use memchr::memchr2;

/// The longest field name and event name of interest.
const MAX_WORD: usize = 8;

/// A short word as it is read.
#[derive(Debug, Default)]
struct Word {
    bytes: [u8; MAX_WORD],
    len: usize,
}

impl Word {
    /// Appends `text`; a word longer than any of interest matches none of them.
    fn push(&mut self, text: &[u8]) {
        for &byte in text.iter().take(MAX_WORD + 1 - self.len.min(MAX_WORD + 1)) {
            if let Some(room) = self.bytes.get_mut(self.len) {
                *room = byte;
            }
            self.len += 1;
        }
    }

    fn is(&self, word: &[u8]) -> bool {
        self.bytes.get(..self.len) == Some(word)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In the field's name.
    Name,
    /// Behind the colon, where one blank is optional.
    Colon,
    Data,
    Event,
    /// In a comment, or a field that is ignored.
    Ignored,
}

/// Reads an event stream.
#[derive(Debug)]
pub(super) struct SseScanner {
    at: At,
    name: Word,
    event: Word,
    /// The beginning of the line's data.
    data: Word,
    /// The event has data.
    has_data: bool,
    /// A CR ended the last line: an LF that follows belongs to it.
    after_cr: bool,
    /// The last line that said anything was `[DONE]`.
    ended: bool,
}

impl SseScanner {
    pub(super) fn new() -> Self {
        Self {
            at: At::Name,
            name: Word::default(),
            event: Word::default(),
            data: Word::default(),
            has_data: false,
            after_cr: false,
            ended: false,
        }
    }

    /// Whether `[DONE]` has come, and no field behind it.
    pub(super) const fn is_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8], json: &mut TopLevelScanner, to: &mut Tally) {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = memchr2(b'\n', b'\r', bytes);
            self.within_line(&bytes[..end.unwrap_or(bytes.len())], json);
            let Some(end) = end else { return };
            self.end_line(json, to);
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
        }
    }

    /// The stream is over. An event that lacks its blank line is taken as it is: its usage is valid
    /// all the same.
    pub(super) fn finish(&mut self, json: &mut TopLevelScanner, to: &mut Tally) {
        self.end_line(json, to);
        self.end_event(json, to);
    }

    fn within_line(&mut self, mut text: &[u8], json: &mut TopLevelScanner) {
        if self.at == At::Name {
            let colon = memchr::memchr(b':', text);
            self.name.push(&text[..colon.unwrap_or(text.len())]);
            let Some(colon) = colon else { return };
            self.at = At::Colon;
            text = &text[colon + 1..];
        }
        if self.at == At::Colon && !text.is_empty() {
            text = text.strip_prefix(b" ").unwrap_or(text);
            self.begin_value(json);
        }
        match self.at {
            At::Data => {
                self.data.push(text);
                json.feed(text);
            }
            At::Event => self.event.push(text),
            At::Name | At::Colon | At::Ignored => {}
        }
    }

    fn begin_value(&mut self, json: &mut TopLevelScanner) {
        // A comment has no name, and says nothing.
        self.ended &= self.name.len == 0;
        self.at = if self.name.is(b"data") {
            if self.has_data {
                // The lines of one event are one text.
                json.feed(b"\n");
            }
            self.has_data = true;
            self.data = Word::default();
            At::Data
        } else if self.name.is(b"event") {
            self.event = Word::default();
            At::Event
        } else {
            At::Ignored
        };
    }

    fn end_line(&mut self, json: &mut TopLevelScanner, to: &mut Tally) {
        if self.at == At::Colon {
            self.begin_value(json);
        }
        let blank = self.at == At::Name && self.name.len == 0;
        if self.at == At::Data {
            if self.data.is(b"[DONE]") {
                to.done = true;
                self.ended = true;
                json.reset();
                self.has_data = false;
            } else if json.is_done() {
                // Complete already, blank line or not: there are streams without any.
                self.end_document(json, to);
            }
        }
        self.at = At::Name;
        self.name = Word::default();
        if blank {
            self.end_event(json, to);
        }
    }

    fn end_document(&mut self, json: &mut TopLevelScanner, to: &mut Tally) {
        to.add(json, self.event.is(b"error"));
        json.reset();
        self.has_data = false;
    }

    fn end_event(&mut self, json: &mut TopLevelScanner, to: &mut Tally) {
        if self.has_data {
            if json.is_untouched() {
                // Empty data is ignored, but a named error is one.
                to.stream_error |= self.event.is(b"error");
            } else {
                to.add(json, self.event.is(b"error"));
            }
            json.reset();
        }
        self.has_data = false;
        self.event = Word::default();
    }
}
