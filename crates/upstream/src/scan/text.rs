//! The inner loops of strings and numbers.

/// How many bytes are tested together. The compiler vectorises it.
const BLOCK: usize = 32;

/// Whether a byte is special within a string: its end, an escape, or one that is not allowed.
const fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// How many bytes of `bytes` are plain text of a string.
#[inline]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    // Most strings are short: the first bytes are tested one by one.
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

/// The state of a number being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Minus,
    Zero,
    Int,
    Point,
    Fraction,
    E,
    ESign,
    Exponent,
}

impl Number {
    /// The state after the first byte, if it begins a number.
    #[inline]
    pub(super) const fn begin(byte: u8) -> Option<Self> {
        match byte {
            b'-' => Some(Self::Minus),
            b'0' => Some(Self::Zero),
            b'1'..=b'9' => Some(Self::Int),
            _ => None,
        }
    }

    /// The state after `byte`; `None` where the number can't continue like that.
    #[inline]
    pub(super) const fn step(self, byte: u8) -> Option<Self> {
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

    /// Reads until the number can't continue. Returns how many bytes that was.
    #[inline]
    pub(super) fn run(mut self, bytes: &[u8]) -> (Self, usize) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            // Most bytes of a number are digits that don't change the state.
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
    pub(super) const fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Int | Self::Fraction | Self::Exponent)
    }
}

/// A key as it is read, decoded; only as much as is needed to recognise the keys of interest.
#[derive(Clone, Debug, Default)]
pub(super) struct Key {
    bytes: [u8; 16],
    len: u8,
    foreign: bool,
}

impl Key {
    pub(super) const fn clear(&mut self) {
        self.len = 0;
        self.foreign = false;
    }

    pub(super) fn push(&mut self, text: &[u8]) {
        let at = usize::from(self.len);
        match self.bytes.get_mut(at..at + text.len()) {
            Some(room) if !self.foreign => {
                room.copy_from_slice(text);
                self.len += u8::try_from(text.len()).unwrap_or(0);
            }
            _ => self.foreign = true,
        }
    }

    /// A character written as `\uXXXX`.
    pub(super) fn push_unit(&mut self, unit: u16) {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => self.push(&[byte]),
            // No key of interest contains any other.
            _ => self.foreign = true,
        }
    }

    pub(super) fn get(&self) -> &[u8] {
        if self.foreign { b"" } else { &self.bytes[..usize::from(self.len)] }
    }
}
