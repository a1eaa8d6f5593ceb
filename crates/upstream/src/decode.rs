//! Content encodings: a copy of the body is inflated for who reads it, within limits.

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};
use std::io::{self, Write};

/// The most that is inflated of one reply. The rest is passed on, but not read.
const MAX_DECODED_BYTES: u64 = 256 * 1024 * 1024;
/// How many times its size a body may inflate to, once it is past [`FREE_DECODED_BYTES`]. Text
/// reaches 30, a bomb 1000.
const MAX_EXPANSION: u64 = 200;
/// This much is inflated regardless of the ratio.
const FREE_DECODED_BYTES: u64 = 4 * 1024 * 1024;

/// Why a body can't be decoded that is not of the coding that it declares, or breaks off.
pub const BROKEN_ENCODING: &str = "broken_encoding";
/// Why no more of a body is read that inflates beyond the limits: others may read it to its end.
const INFLATES_TOO_FAR: &str = "inflates_too_far";

/// The coding of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Plain,
    Gzip,
    Deflate,
    /// An unsupported one, or several on top of one another.
    Other,
}

impl Coding {
    pub(crate) fn of(content_encoding: Option<&str>) -> Self {
        let mut found = Self::Plain;
        let tokens = content_encoding.unwrap_or_default().split(',').map(str::trim);
        for token in tokens {
            let coding = match token {
                "" => continue,
                t if t.eq_ignore_ascii_case("identity") => continue,
                t if t.eq_ignore_ascii_case("gzip") || t.eq_ignore_ascii_case("x-gzip") => {
                    Self::Gzip
                }
                t if t.eq_ignore_ascii_case("deflate") => Self::Deflate,
                _ => Self::Other,
            };
            found = if found == Self::Plain { coding } else { Self::Other };
        }
        found
    }
}

/// Inflates into `W`.
pub(crate) enum Decoder<W: Write> {
    Plain(W),
    Gzip(Box<MultiGzDecoder<Limited<W>>>),
    /// `deflate` before its first byte: some servers mean zlib, some raw deflate.
    Undecided(Option<Limited<W>>),
    Zlib(Box<ZlibDecoder<Limited<W>>>),
    Deflate(Box<DeflateDecoder<Limited<W>>>),
}

impl<W: Write> Decoder<W> {
    /// Inflates so many bytes at most; an error when the coding is not supported.
    pub(crate) fn up_to(coding: Coding, to: W, max: u64) -> Result<Self, W> {
        let limited = |to| Limited { to: Some(to), taken: 0, given: 0, max, is_over: false };
        match coding {
            Coding::Plain => Ok(Self::Plain(to)),
            Coding::Gzip => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(limited(to))))),
            Coding::Deflate => Ok(Self::Undecided(Some(limited(to)))),
            Coding::Other => Err(to),
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(&first) = bytes.first() else { return Ok(()) };
        if let Self::Undecided(to) = self
            && let Some(to) = to.take()
        {
            // A zlib header has method 8 in its low bits; a raw block with those bits set would be
            // one of a type that compressors don't begin with.
            *self = if first & 0x0f == 8 {
                Self::Zlib(Box::new(ZlibDecoder::new(to)))
            } else {
                Self::Deflate(Box::new(DeflateDecoder::new(to)))
            };
        }
        if let Some(limited) = self.limited() {
            limited.taken += bytes.len() as u64;
        }
        match self {
            Self::Plain(to) => to.write_all(bytes),
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Zlib(decoder) => decoder.write_all(bytes),
            Self::Deflate(decoder) => decoder.write_all(bytes),
            Self::Undecided(_) => Ok(()),
        }
    }

    /// Passes on all that the bytes so far decode to.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) | Self::Undecided(_) => Ok(()),
            Self::Gzip(decoder) => decoder.flush(),
            Self::Zlib(decoder) => decoder.flush(),
            Self::Deflate(decoder) => decoder.flush(),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) | Self::Undecided(_) => Ok(()),
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zlib(decoder) => decoder.try_finish(),
            Self::Deflate(decoder) => decoder.try_finish(),
        }
    }

    fn limited(&mut self) -> Option<&mut Limited<W>> {
        match self {
            Self::Plain(_) | Self::Undecided(_) => None,
            Self::Gzip(decoder) => Some(decoder.get_mut()),
            Self::Zlib(decoder) => Some(decoder.get_mut()),
            Self::Deflate(decoder) => Some(decoder.get_mut()),
        }
    }

    pub(crate) fn get_ref(&self) -> Option<&W> {
        match self {
            Self::Plain(to) => Some(to),
            Self::Undecided(to) => to.as_ref().and_then(|limited| limited.to.as_ref()),
            Self::Gzip(decoder) => decoder.get_ref().to.as_ref(),
            Self::Zlib(decoder) => decoder.get_ref().to.as_ref(),
            Self::Deflate(decoder) => decoder.get_ref().to.as_ref(),
        }
    }

    /// What it was inflated into, as far as it was.
    fn into_inner(mut self) -> Option<W> {
        match self {
            Self::Plain(to) => Some(to),
            Self::Undecided(to) => to.and_then(|limited| limited.to),
            _ => self.limited().and_then(|limited| limited.to.take()),
        }
    }

    /// Why it goes on no more.
    fn trouble(&mut self) -> &'static str {
        match self.limited() {
            Some(limited) if limited.is_over => INFLATES_TOO_FAR,
            _ => BROKEN_ENCODING,
        }
    }

    /// Whether bytes have come that must be inflated.
    fn is_begun(&mut self) -> bool {
        self.limited().is_some_and(|limited| limited.taken > 0)
    }
}

/// Forwards inflated bytes, and stops at the limits.
pub(crate) struct Limited<W> {
    /// None once it was taken: a decoder that is dropped writes what it still has.
    to: Option<W>,
    taken: u64,
    given: u64,
    max: u64,
    is_over: bool,
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.given += bytes.len() as u64;
        let is_bomb = self.given > FREE_DECODED_BYTES && self.given / MAX_EXPANSION > self.taken;
        if is_bomb || self.given > self.max {
            self.is_over = true;
            return Err(io::Error::other("inflates to too much"));
        }
        match &mut self.to {
            Some(to) => to.write_all(bytes)?,
            None => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.as_mut().map_or(Ok(()), Write::flush)
    }
}

/// A body on its way into `W`, decoded as its headers say.
pub struct Decoded<W: Write> {
    decoder: Result<Decoder<W>, W>,
    unreadable: Option<&'static str>,
}

impl<W: Write> Decoded<W> {
    /// For a reply of which nothing is read but how much there is: as it comes.
    #[must_use]
    pub const fn undecoded(to: W) -> Self {
        Self { decoder: Ok(Decoder::Plain(to)), unreadable: None }
    }

    /// For a reply with these headers.
    #[must_use]
    pub fn for_headers(headers: &HeaderMap, to: W) -> Self {
        Self::up_to(headers, to, MAX_DECODED_BYTES)
    }

    /// The same with another limit to what is inflated.
    #[must_use]
    pub fn up_to(headers: &HeaderMap, to: W, max_bytes: u64) -> Self {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let coding = match (codings.next(), codings.next()) {
            (None, _) => Coding::Plain,
            (Some(one), None) => Coding::of(Some(one.to_str().unwrap_or("?"))),
            (Some(_), Some(_)) => Coding::Other,
        };
        let decoder = Decoder::up_to(coding, to, max_bytes);
        let unreadable = decoder.is_err().then_some("content_encoding");
        Self { decoder, unreadable }
    }

    /// Decodes the next piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.unreadable.is_none()
            && let Ok(decoder) = &mut self.decoder
            && decoder.feed(bytes).is_err()
        {
            self.unreadable = Some(decoder.trouble());
        }
    }

    /// Why no more of it can be decoded.
    #[must_use]
    pub const fn unreadable(&self) -> Option<&'static str> {
        self.unreadable
    }

    /// What it was decoded into.
    #[must_use]
    pub fn get_ref(&self) -> Option<&W> {
        match &self.decoder {
            Ok(decoder) => decoder.get_ref(),
            Err(to) => Some(to),
        }
    }

    /// Ends the body. The reason, where it could not be decoded as a whole.
    ///
    /// # Errors
    /// `content_encoding` is one that is not known; `broken_encoding` is broken or cut;
    /// `inflates_too_far` is beyond the limits.
    pub fn finish(self) -> Result<Option<W>, &'static str> {
        let (to, unreadable) = self.finish_in_part();
        unreadable.map_or(Ok(to), Err)
    }

    /// Ends the body: what it was decoded into, as far as it was, and why it was no further. Of a
    /// coding that is not known nothing is. An empty body is not broken.
    #[must_use]
    pub fn finish_in_part(self) -> (Option<W>, Option<&'static str>) {
        let Self { decoder, mut unreadable } = self;
        let Ok(mut decoder) = decoder else { return (None, unreadable) };
        if decoder.is_begun() {
            // What is inflated already waits in the decoder for more.
            let _ = decoder.flush();
            if unreadable.is_none() && decoder.finish().is_err() {
                unreadable = Some(decoder.trouble());
            }
        }
        (decoder.into_inner(), unreadable)
    }
}

#[cfg(test)]
mod tests;
