//! Searches a body while it is passed on.

use super::{EchoGuard, Echoed};
use crate::decode::{Coding, Decoder};
use bytes::Bytes;
use http::HeaderMap;
use std::collections::VecDeque;
use std::io::{self, Write};

/// The most of a compressed body that is withheld. More is withheld only where pieces decode to
/// next to nothing.
const MAX_WITHHELD_BYTES: usize = 256 * 1024;

/// A streamed body.
///
/// What is withheld doesn't depend on its content. If only possible beginnings of the key were
/// withheld, a client that can have an upstream repeat its own text could derive the key from the
/// pauses.
pub struct EchoWatch {
    guard: EchoGuard,
    /// The last bytes, one fewer than the key has.
    tail: Vec<u8>,
    withholds: bool,
    /// Of a compressed body.
    decoded: Option<Box<DecodedWatch>>,
}

/// A compressed body: a copy is decompressed.
struct DecodedWatch {
    decoder: Decoder<DecodedSearch>,
    /// Pieces, each with the decoded length up to its end.
    withheld: VecDeque<(Bytes, u64)>,
    withheld_bytes: usize,
}

/// Searches decoded bytes.
struct DecodedSearch {
    watch: EchoWatch,
    length: u64,
    has_found: bool,
}

impl EchoWatch {
    pub(super) fn new(guard: EchoGuard, coding: Coding, withholds: bool) -> Result<Self, Echoed> {
        if coding == Coding::Plain {
            return Ok(Self { guard, tail: Vec::new(), withholds, decoded: None });
        }
        let watch =
            Self { guard: guard.clone(), tail: Vec::new(), withholds: false, decoded: None };
        let search = DecodedSearch { watch, length: 0, has_found: false };
        let Ok(decoder) = Decoder::up_to(coding, search, u64::MAX) else {
            return Err(Echoed::Unreadable);
        };
        let decoded = DecodedWatch { decoder, withheld: VecDeque::new(), withheld_bytes: 0 };
        Ok(Self { guard, tail: Vec::new(), withholds, decoded: Some(Box::new(decoded)) })
    }

    /// What it searches for.
    #[must_use]
    pub const fn guard(&self) -> &EchoGuard {
        &self.guard
    }

    /// Takes the next piece, and returns what may be passed on now.
    ///
    /// # Errors
    /// When the key ends in this piece, or the piece can't be decompressed.
    pub fn pass(&mut self, piece: Bytes) -> Result<Bytes, Echoed> {
        if let Some(decoded) = &mut self.decoded {
            let end = decoded.look_through(&piece)?;
            return match self.withholds {
                true => decoded.withhold(piece, end, self.guard.reach()),
                false => Ok(piece),
            };
        }
        let reach = self.guard.reach();
        let before = self.tail.len();
        self.tail.extend_from_slice(&piece[..piece.len().min(reach)]);
        let spans_pieces = before > 0 && self.guard.finds(&self.tail);
        if spans_pieces || self.guard.finds(&piece) {
            return Err(Echoed::Key);
        }
        if self.withholds {
            self.tail.truncate(before);
            self.tail.extend_from_slice(&piece);
            let withheld = self.tail.split_off(self.tail.len().saturating_sub(reach));
            return Ok(std::mem::replace(&mut self.tail, withheld).into());
        }
        if piece.len() >= reach {
            self.tail.clear();
            self.tail.extend_from_slice(&piece[piece.len() - reach..]);
        } else {
            let excess = self.tail.len().saturating_sub(reach);
            self.tail.drain(..excess);
        }
        Ok(piece)
    }

    /// Whether trailers may be passed on: not before what is withheld, and not with the key in
    /// them.
    #[must_use]
    pub fn passes_trailers(&self, trailers: &HeaderMap) -> bool {
        !self.withholds && !trailers.values().any(|value| self.guard.finds(value.as_bytes()))
    }

    /// What was withheld, at the end of the body.
    pub fn rest(&mut self) -> Bytes {
        match &mut self.decoded {
            Some(decoded) => decoded.withheld.drain(..).flat_map(|(piece, _)| piece).collect(),
            None if self.withholds => std::mem::take(&mut self.tail).into(),
            None => Bytes::new(),
        }
    }
}

impl DecodedWatch {
    /// Decodes a piece, and returns the decoded length up to its end.
    fn look_through(&mut self, piece: &[u8]) -> Result<u64, Echoed> {
        let decoded = self.decoder.feed(piece).and_then(|()| self.decoder.flush());
        match self.decoder.get_ref() {
            Some(search) if search.has_found => Err(Echoed::Key),
            Some(search) if decoded.is_ok() => Ok(search.length),
            _ => Err(Echoed::Unreadable),
        }
    }

    /// Withholds a piece; returns those behind which a key that begins in them would have ended.
    fn withhold(&mut self, piece: Bytes, end: u64, reach: usize) -> Result<Bytes, Echoed> {
        self.withheld_bytes += piece.len();
        self.withheld.push_back((piece, end));
        let mut passes = Vec::new();
        while let Some((piece, upto)) = self.withheld.front()
            && end - upto >= reach as u64
        {
            passes.extend_from_slice(piece);
            self.withheld_bytes -= piece.len();
            self.withheld.pop_front();
        }
        if self.withheld_bytes > MAX_WITHHELD_BYTES {
            return Err(Echoed::Unreadable);
        }
        Ok(passes.into())
    }
}

impl Write for DecodedSearch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.length += bytes.len() as u64;
        if self.watch.pass(Bytes::copy_from_slice(bytes)).is_err() {
            self.has_found = true;
            return Err(io::Error::other("the key was found"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
