//! Content encodings: a copy of the body is inflated for the scanner, within limits.

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use std::io::{self, Write};

/// The most that is inflated of one reply. The rest is passed on, but not scanned.
pub const MAX_DECODED_BYTES: u64 = 256 * 1024 * 1024;
/// How many times its size a body may inflate to, once it is past [`FREE_DECODED_BYTES`]. Text
/// reaches 30, a bomb 1000.
pub const MAX_EXPANSION: u64 = 200;
/// This much is inflated regardless of the ratio.
pub const FREE_DECODED_BYTES: u64 = 4 * 1024 * 1024;

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
    /// `None` when the coding is not supported.
    pub(crate) fn new(coding: Coding, to: W) -> Result<Self, W> {
        Self::up_to(coding, to, MAX_DECODED_BYTES)
    }

    /// With another limit than [`MAX_DECODED_BYTES`].
    pub(crate) fn up_to(coding: Coding, to: W, max: u64) -> Result<Self, W> {
        let limited = |to| Limited { to, taken: 0, given: 0, max };
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

    pub(super) fn finish(&mut self) -> io::Result<()> {
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
            Self::Undecided(to) => to.as_ref().map(|limited| &limited.to),
            Self::Gzip(decoder) => Some(&decoder.get_ref().to),
            Self::Zlib(decoder) => Some(&decoder.get_ref().to),
            Self::Deflate(decoder) => Some(&decoder.get_ref().to),
        }
    }

    /// What it was inflated into, once [`Self::finish`] has returned well.
    pub(super) fn into_inner(self) -> Option<W> {
        match self {
            Self::Plain(to) => Some(to),
            Self::Undecided(to) => to.map(|limited| limited.to),
            Self::Gzip(decoder) => decoder.finish().ok().map(|limited| limited.to),
            Self::Zlib(decoder) => decoder.finish().ok().map(|limited| limited.to),
            Self::Deflate(decoder) => decoder.finish().ok().map(|limited| limited.to),
        }
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut W> {
        match self {
            Self::Plain(to) => Some(to),
            Self::Undecided(to) => to.as_mut().map(|limited| &mut limited.to),
            other => other.limited().map(|limited| &mut limited.to),
        }
    }
}

/// Forwards inflated bytes, and stops at the limits.
pub(crate) struct Limited<W> {
    to: W,
    taken: u64,
    given: u64,
    max: u64,
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.given += bytes.len() as u64;
        let is_bomb = self.given > FREE_DECODED_BYTES && self.given / MAX_EXPANSION > self.taken;
        if is_bomb || self.given > self.max {
            return Err(io::Error::other("inflates to too much"));
        }
        self.to.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Why an encoded body can't be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// Neither gzip nor deflate, or more than one.
    #[error("the content encoding is not supported")]
    Unsupported,
    /// The encoded bytes are broken or incomplete.
    #[error("the encoded body is broken")]
    Broken,
    /// The decoded body is larger than the limit.
    #[error("the decoded body is too large")]
    TooLarge,
}

/// Decodes a whole body, if the result is no longer than `limit` bytes. For request bodies, whose
/// model has to be read; the body is forwarded encoded.
///
/// # Errors
/// When the body can't be decoded, or is too large.
pub fn inflate(
    content_encoding: Option<&str>,
    body: &[u8],
    limit: usize,
) -> Result<Vec<u8>, InflateError> {
    let to = Bounded { bytes: Vec::new(), limit, full: false };
    let Ok(mut decoder) = Decoder::new(Coding::of(content_encoding), to) else {
        return Err(InflateError::Unsupported);
    };
    let outcome = body.chunks(16 * 1024).try_for_each(|part| decoder.feed(part));
    let outcome = outcome.and_then(|()| decoder.finish());
    let to = decoder.get_mut().ok_or(InflateError::Broken)?;
    match outcome {
        Ok(()) => Ok(std::mem::take(&mut to.bytes)),
        Err(_) if to.full => Err(InflateError::TooLarge),
        Err(e) if e.kind() == io::ErrorKind::Other => Err(InflateError::TooLarge),
        Err(_) => Err(InflateError::Broken),
    }
}

struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            self.full = true;
            return Err(io::Error::other("full"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
