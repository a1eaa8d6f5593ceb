//! How many tokens a text is, about: for holds, and for replies that report no usage.
//!
//! Deliberately simple: one pass over the bytes, a cost for each class of them, no vocabulary. It
//! is within a quarter of what `o200k_base` counts for ordinary text in twenty scripts and shapes
//! (`tests/tokens.toml`); older and other vocabularies count up to twice as much outside of Latin
//! script.
//!
//! | class | costs |
//! |---|---|
//! | a word of Latin letters | 1 token, and 0.15 for each letter after the sixth |
//! | a capital within a word (`camelCase`) | begins a word of 0.7 |
//! | digits | 1 token for each three |
//! | a blank | nothing before a word; two or more in a row 1 token |
//! | ends of line in a row | 1 token |
//! | punctuation | 0.8 token, and 0.3 for each more in a row |
//! | a character of another script | its table entry: Chinese 0.75, kana 0.7, Hangul 0.6, … |
//! | more than 512 letters and digits without a break | nothing beyond those: a picture in base64 |

/// What a byte is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Small,
    Capital,
    Digit,
    Blank,
    Line,
    Punctuation,
    /// The first byte of a character of another script, with its cost.
    Foreign(u8),
    /// A letter of Latin script with a mark, which is a part of its word.
    Marked,
    /// Not the first byte of a character.
    Within,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Punctuation; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte {
            0x61..=0x7a => Class::Small,
            0x41..=0x5a => Class::Capital,
            0x30..=0x39 => Class::Digit,
            0x20 | 0x09 => Class::Blank,
            0x0a | 0x0d => Class::Line,
            0x00..=0x7f => Class::Punctuation,
            0x80..=0xbf => Class::Within,
            0xc0..=0xc9 => Class::Marked,
            // Phonetic signs, Greek, Cyrillic, Armenian; Hebrew, Arabic, Syriac.
            0xca..=0xcd => Class::Foreign(60),
            0xce..=0xd4 => Class::Foreign(30),
            0xd5..=0xdf => Class::Foreign(37),
            // Indic scripts, Thai.
            0xe0 => Class::Foreign(40),
            // Latin letters with two marks, which Vietnamese has.
            0xe1 => Class::Marked,
            // Signs.
            0xe2 => Class::Foreign(85),
            // Kana and CJK marks; ideographs; Hangul; wide forms; emoji.
            0xe3 => Class::Foreign(70),
            0xe4..=0xe9 => Class::Foreign(75),
            0xea..=0xed => Class::Foreign(60),
            0xee..=0xef => Class::Foreign(80),
            _ => Class::Foreign(160),
        };
        byte += 1;
    }
    classes
};

/// Letters of a word that its first token covers.
const WORD_LETTERS: u32 = 6;
/// The cost of each further one, in hundredths of a token.
const LONG_LETTER: u64 = 15;
/// More letters and digits in a row are no text.
const MAX_SOLID: u32 = 512;

/// Counts the tokens of a text that comes in pieces.
#[derive(Clone, Debug, Default)]
pub struct TokenCounter {
    hundredths: u64,
    last: u8,
    /// How many bytes of `last`'s kind have come in a row.
    run: u32,
    /// How many bytes have come that base64 may have.
    solid: u32,
    seen: bool,
}

impl TokenCounter {
    /// A new text begins: it continues no word of the one before.
    pub const fn begin(&mut self) {
        self.last = b'\n';
        self.run = 0;
        self.solid = 0;
    }

    /// Reads the next piece.
    pub fn push(&mut self, text: &[u8]) {
        self.seen |= !text.is_empty();
        let mut rest = text;
        while let Some((&byte, behind)) = rest.split_first() {
            self.byte(byte);
            rest = if byte.is_ascii_lowercase() { self.small_letters(behind) } else { behind };
        }
    }

    /// Reads the small letters that continue a word, most of most texts, at once. Returns the rest.
    fn small_letters<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let len = text.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
        let (letters, rest) = text.split_at(len);
        let Some(&last) = letters.last() else { return rest };
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let covered = WORD_LETTERS.saturating_sub(self.run);
        let counted = MAX_SOLID.saturating_sub(self.solid).min(len);
        let charged = u64::from(counted.saturating_sub(covered));
        self.hundredths = self.hundredths.saturating_add(charged * LONG_LETTER);
        self.run = self.run.saturating_add(len);
        self.solid = self.solid.saturating_add(len);
        self.last = last;
        rest
    }

    /// How many tokens have come, a begun one counted whole.
    #[must_use]
    pub fn tokens(&self) -> i64 {
        i64::try_from(self.hundredths.div_ceil(100)).unwrap_or(i64::MAX)
    }

    /// Whether any text has come.
    #[must_use]
    pub const fn any(&self) -> bool {
        self.seen
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        let class = CLASSES[usize::from(byte)];
        if matches!(class, Class::Within) {
            return;
        }
        let is_base64 =
            byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_');
        self.solid = if is_base64 { self.solid.saturating_add(1) } else { 0 };
        let before = CLASSES[usize::from(self.last)];
        let cost = self.cost(class, before);
        if self.solid <= MAX_SOLID {
            self.hundredths = self.hundredths.saturating_add(cost);
        }
        self.last = byte;
    }

    /// The cost of a byte of `class` behind one of class `before`.
    fn cost(&mut self, class: Class, before: Class) -> u64 {
        let in_word = matches!(before, Class::Small | Class::Capital | Class::Marked);
        let same = class == before;
        let run = if same || (in_word && matches!(class, Class::Small | Class::Marked)) {
            self.run.saturating_add(1)
        } else {
            1
        };
        self.run = run;
        match class {
            Class::Small | Class::Marked if run == 1 => 100,
            Class::Capital if run == 1 && in_word => 70,
            Class::Capital if run == 1 => 100,
            Class::Small | Class::Capital if run > WORD_LETTERS => LONG_LETTER,
            // Capitals in a row are rarely one word of the vocabulary.
            Class::Capital if run > 2 => 25,
            Class::Marked => 20,
            Class::Small | Class::Capital => 0,
            Class::Digit if run % 3 == 1 => 100,
            Class::Digit => 0,
            Class::Blank if run == 2 => 100,
            Class::Line if run == 1 => 100,
            Class::Blank | Class::Line | Class::Within => 0,
            Class::Punctuation if run == 1 => 80,
            Class::Punctuation => 30,
            Class::Foreign(cost) => u64::from(cost),
        }
    }
}

/// How many tokens `text` is, about.
#[must_use]
pub fn count_tokens(text: &str) -> i64 {
    let mut counter = TokenCounter::default();
    counter.begin();
    counter.push(text.as_bytes());
    counter.tokens()
}
