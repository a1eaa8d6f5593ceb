//! The inner loops of strings and numbers.

use crate::pointer::MAX_NAME;

/// How many bytes are looked at together. The compiler makes vector code of it.
const BLOCK: usize = 32;

/// Whether a byte means something within a string: its end, an escape, or what may not be there.
const fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// How many bytes of `bytes` are plain text of a string.
#[inline]
pub(crate) fn plain_len(bytes: &[u8]) -> usize {
    // Most strings are short: the first bytes are looked at one by one.
    let (front, rest) = bytes.split_at(bytes.len().min(BLOCK));
    if let Some(at) = front.iter().position(|&b| is_special(b)) {
        return at;
    }
    let mut len = front.len();
    for block in rest.chunks(BLOCK) {
        if block.iter().fold(false, |hit, &b| hit | is_special(b)) {
            return len + block.iter().position(|&b| is_special(b)).unwrap_or(block.len());
        }
        len += block.len();
    }
    len
}

/// How far a number has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberState {
    Minus,
    Zero,
    Int,
    Point,
    Fraction,
    E,
    ESign,
    Exponent,
}

impl NumberState {
    /// The number that `byte` begins, if it begins one.
    #[inline]
    pub(crate) const fn begin(byte: u8) -> Option<Self> {
        match byte {
            b'-' => Some(Self::Minus),
            b'0' => Some(Self::Zero),
            b'1'..=b'9' => Some(Self::Int),
            _ => None,
        }
    }

    /// The number with `byte` added; `None` where no number continues so.
    #[inline]
    pub(crate) const fn step(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Int, b'0'..=b'9') => Some(Self::Int),
            (Self::Zero | Self::Int, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Int | Self::Fraction, b'e' | b'E') => Some(Self::E),
            (Self::E, b'+' | b'-') => Some(Self::ESign),
            (Self::E | Self::ESign | Self::Exponent, b'0'..=b'9') => Some(Self::Exponent),
            _ => None,
        }
    }

    /// Reads until the number ends. Returns how far that was.
    #[inline]
    pub(crate) fn run(mut self, bytes: &[u8]) -> (Self, usize) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            // Most of a number is digits that change nothing.
            let plain = matches!(self, Self::Int | Self::Fraction | Self::Exponent);
            if !(plain && byte.is_ascii_digit()) {
                match self.step(byte) {
                    Some(next) => self = next,
                    None => break,
                }
            }
            at += 1;
        }
        (self, at)
    }

    /// Whether the number may end here.
    pub(crate) const fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Int | Self::Fraction | Self::Exponent)
    }
}

/// A key as it is read, decoded; only as much as a key that matters has.
#[derive(Clone, Debug)]
pub(crate) struct MemberName {
    bytes: [u8; MAX_NAME],
    len: usize,
    foreign: bool,
}

impl MemberName {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; MAX_NAME], len: 0, foreign: false }
    }

    pub(crate) const fn clear(&mut self) {
        self.len = 0;
        self.foreign = false;
    }

    /// Nothing has been pushed.
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0 && !self.foreign
    }

    #[inline]
    pub(crate) fn push(&mut self, text: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + text.len()) {
            Some(room) if !self.foreign => {
                room.copy_from_slice(text);
                self.len += text.len();
            }
            _ => self.foreign = true,
        }
    }

    /// The key; `None` for one that is longer than any that matters.
    #[inline]
    pub(crate) fn get(&self) -> Option<&[u8]> {
        if self.foreign { None } else { self.bytes.get(..self.len) }
    }
}
