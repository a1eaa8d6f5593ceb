//! The scanner: reads a reply on its way to the client, and keeps what billing needs of it.
//!
//! It never touches the client's bytes. It holds a few hundred bytes (and what inflating takes, for
//! an encoded body), regardless of the reply's length; how the reply is cut into pieces makes no
//! difference to the result.

pub mod decode;
mod doc;
mod json;
mod reader;
mod slots;
mod sse;
mod tally;
mod text;

pub use doc::read_usage;

use decode::{Coding, Decoder};
use domain::UsageReport;
use http::{HeaderMap, header};
use reader::{Declared, Reader};

/// The kind of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// One JSON document.
    Json,
    /// Server-sent events.
    Sse,
    /// JSON documents, one after another.
    Ndjson,
    /// A kind that is not parsed.
    Opaque,
}

/// The contract's envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Whether `code` is 0 or "0"; `None` where there is no `code`. In a stream, one failure is
    /// enough.
    pub code_ok: Option<bool>,
    /// `message`, or else `msg`, if it is a text; its first 500 characters.
    pub message: Option<String>,
    /// `"type":"precharge"`: the reply is an estimate.
    pub type_precharge: bool,
    /// There is an `error` that is not null, or `"type":"error"`, or an event named so.
    pub error: bool,
}

/// Why the last usage can't be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageFault {
    /// Longer than 64 KiB.
    #[error("usage is too large")]
    TooLarge,
    /// Not an object of numbers.
    #[error("usage is malformed")]
    Malformed,
}

/// The content of a reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Scanned {
    /// The kind of body: by its first byte more than by its header.
    pub kind: BodyKind,
    /// The envelope; `None` where there was no JSON object.
    pub envelope: Option<Envelope>,
    /// The last usage, not validated yet (`UsageReport::check`). A malformed one leaves the one
    /// before it in place: check `usage_error` first.
    pub usage: Option<UsageReport>,
    /// The last usage could not be parsed.
    pub usage_error: Option<UsageFault>,
    /// Why the body could not be scanned: `content_encoding` is an unsupported one,
    /// `broken_encoding` is a supported one that is broken, cut, or inflates to too much. All other
    /// fields but the declared kind are empty then.
    pub unreadable: Option<&'static str>,
    /// JSON: one whole document and nothing else (an object, if there is an envelope). Streams:
    /// every document was whole.
    pub well_formed: bool,
    /// A stream sent `[DONE]`.
    pub done: bool,
    /// How many documents a stream had.
    pub documents: u64,
}

impl Scanned {
    /// Whether this kind is a stream.
    #[must_use]
    pub const fn is_stream(&self) -> bool {
        matches!(self.kind, BodyKind::Sse | BodyKind::Ndjson)
    }
}

/// Scans one reply. Feed it the pieces, then get the result.
pub struct ReplyScanner {
    decoder: Result<Decoder<Reader>, Reader>,
    unreadable: Option<&'static str>,
}

impl ReplyScanner {
    /// A scanner for a reply with these headers.
    #[must_use]
    pub fn new(content_type: Option<&str>, content_encoding: Option<&str>) -> Self {
        let reader = Reader::new(Declared::of(content_type));
        if reader.is_opaque() {
            return Self { decoder: Ok(Decoder::Plain(reader)), unreadable: None };
        }
        let decoder = Decoder::new(Coding::of(content_encoding), reader);
        let unreadable = decoder.is_err().then_some("content_encoding");
        Self { decoder, unreadable }
    }

    /// The same, from the headers themselves.
    #[must_use]
    pub fn for_headers(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).map(|v: &http::HeaderValue| v.to_str().unwrap_or("?"));
        let several = headers.get_all(header::CONTENT_ENCODING).iter().count() > 1;
        let encoding = if several { Some("several") } else { text(header::CONTENT_ENCODING) };
        Self::new(text(header::CONTENT_TYPE), encoding)
    }

    /// Reads the next piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.unreadable.is_none()
            && let Ok(decoder) = &mut self.decoder
            && decoder.feed(bytes).is_err()
        {
            self.unreadable = Some("broken_encoding");
        }
    }

    /// The content of the reply, now that it is over.
    #[must_use]
    pub fn finish(mut self) -> Scanned {
        if self.unreadable.is_none()
            && let Ok(decoder) = &mut self.decoder
            && decoder.finish().is_err()
        {
            self.unreadable = Some("broken_encoding");
        }
        if let Ok(decoder) = &mut self.decoder
            && let Some(reader) = decoder.get_mut()
        {
            reader.finish();
        }
        self.scanned_so_far()
    }

    /// Whether the reply is a stream that has ended with `[DONE]`, behind which nothing has come.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        let reader = self.decoder.as_ref().ok().and_then(Decoder::get_ref);
        reader.is_some_and(Reader::is_ended) && self.unreadable.is_none()
    }

    /// The content of the reply up to now.
    #[must_use]
    pub fn scanned_so_far(&self) -> Scanned {
        let reader = match &self.decoder {
            Ok(decoder) => decoder.get_ref(),
            Err(reader) => Some(reader),
        };
        let kind = match (reader, self.unreadable) {
            (Some(reader), None) => reader.kind(),
            // How much was decoded before it broke is arbitrary: none of it is used.
            (Some(reader), Some(_)) => reader.declared_kind(),
            (None, _) => BodyKind::Opaque,
        };
        let reader = reader.filter(|_| kind != BodyKind::Opaque && self.unreadable.is_none());
        let Some(reader) = reader else { return Scanned::unread(kind, self.unreadable) };
        let tally = reader.tally();
        let envelope = tally.has_object.then_some(Envelope {
            code_ok: tally.code_ok,
            message: tally.message,
            type_precharge: tally.is_precharge,
            error: tally.stream_error,
        });
        Scanned {
            kind,
            envelope,
            usage: tally.usage,
            usage_error: tally.usage_error,
            unreadable: None,
            well_formed: reader.is_well_formed(),
            done: tally.done,
            documents: tally.documents,
        }
    }
}

impl Scanned {
    const fn unread(kind: BodyKind, unreadable: Option<&'static str>) -> Self {
        Self {
            kind,
            envelope: None,
            usage: None,
            usage_error: None,
            unreadable,
            well_formed: false,
            done: false,
            documents: 0,
        }
    }
}

/// A body on its way into `W`, decoded as its headers say.
pub struct Decoded<W: std::io::Write> {
    decoder: Result<Decoder<W>, W>,
    unreadable: Option<&'static str>,
}

impl<W: std::io::Write> Decoded<W> {
    /// For a reply with these headers.
    #[must_use]
    pub fn for_headers(headers: &HeaderMap, to: W) -> Self {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let coding = match (codings.next(), codings.next()) {
            (None, _) => Coding::Plain,
            (Some(one), None) => Coding::of(Some(one.to_str().unwrap_or("?"))),
            (Some(_), Some(_)) => Coding::Other,
        };
        let decoder = Decoder::new(coding, to);
        let unreadable = decoder.is_err().then_some("content_encoding");
        Self { decoder, unreadable }
    }

    /// Decodes the next piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.unreadable.is_none()
            && let Ok(decoder) = &mut self.decoder
            && decoder.feed(bytes).is_err()
        {
            self.unreadable = Some("broken_encoding");
        }
    }

    /// What it was decoded into.
    #[must_use]
    pub fn get_ref(&self) -> Option<&W> {
        match &self.decoder {
            Ok(decoder) => decoder.get_ref(),
            Err(to) => Some(to),
        }
    }

    /// Ends the body. The reason, where it could not be decoded: how much was is chance then.
    ///
    /// # Errors
    /// `content_encoding` is one that is not known; `broken_encoding` is broken, cut, or inflates
    /// to too much.
    pub fn finish(mut self) -> Result<Option<W>, &'static str> {
        if let Some(why) = self.unreadable {
            return Err(why);
        }
        if let Ok(decoder) = &mut self.decoder
            && decoder.finish().is_err()
        {
            return Err("broken_encoding");
        }
        match self.decoder {
            Ok(decoder) => Ok(decoder.into_inner()),
            Err(_) => Err("content_encoding"),
        }
    }
}

/// The content of a whole body: a scanner fed once.
#[must_use]
pub fn scan_whole(headers: &HeaderMap, body: &[u8]) -> Scanned {
    let mut scanner = ReplyScanner::for_headers(headers);
    scanner.feed(body);
    scanner.finish()
}

#[cfg(test)]
mod tests;
