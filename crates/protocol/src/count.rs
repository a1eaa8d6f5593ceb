//! Numbers as APIs write them: `100`, `100.0`, `1e2`, `"100"`. Exact, without floats.

/// More of anything in one call is a mistake of the upstream, not a bill.
pub(crate) const MAX_COUNT: i64 = 1_000_000_000;
/// More digits than this are no count.
const MAX_DIGITS: usize = 120;

/// A count as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrittenCount {
    /// Without what stands behind the point.
    pub(crate) whole: i64,
    /// Something other than 0 stands behind the point.
    pub(crate) fraction: bool,
}

/// Reads a number; `None` when it is none, negative, or above [`MAX_COUNT`].
pub(crate) fn read(text: &[u8]) -> Option<WrittenCount> {
    let text = text.trim_ascii();
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if text.len() > MAX_DIGITS {
        return None;
    }
    let at_exponent = text.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = match at_exponent {
        Some(at) => (&text[..at], exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let (whole, behind) = match point {
        Some(at) if at + 1 == mantissa.len() => return None,
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &[][..]),
    };
    let digits = || whole.iter().chain(behind);
    if whole.is_empty() || !digits().all(u8::is_ascii_digit) {
        return None;
    }
    let before_point = i64::try_from(whole.len()).ok()? + exponent;
    let mut written = WrittenCount { whole: 0, fraction: false };
    for (&digit, at) in digits().zip(0_i64..) {
        let digit = i64::from(digit - b'0');
        if at < before_point {
            written.whole = written.whole.checked_mul(10)?.checked_add(digit)?;
        } else {
            written.fraction |= digit != 0;
        }
    }
    let read = i64::try_from(digits().count()).ok()?;
    for _ in read..before_point {
        if written.whole == 0 {
            break;
        }
        written.whole = written.whole.checked_mul(10)?;
    }
    let is_zero = written.whole == 0 && !written.fraction;
    ((!negative || is_zero) && written.whole <= MAX_COUNT).then_some(written)
}

fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Beyond this no digit of the mantissa is on the other side of the point.
    let value = digits
        .iter()
        .fold(0_i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(1_000_000));
    Some(if negative { -value } else { value })
}

/// Whether `said` is `word`: the same text, in capitals or not, or the same number.
pub(crate) fn same(word: &str, said: &[u8], said_is_number: bool) -> bool {
    word.as_bytes().eq_ignore_ascii_case(said) || same_exactly(word, said, said_is_number)
}

/// Whether `said` is `word` letter by letter, or the same number.
pub(crate) fn same_exactly(word: &str, said: &[u8], said_is_number: bool) -> bool {
    let same_number = || read(said).is_some_and(|said| Some(said) == read(word.as_bytes()));
    word.as_bytes() == said || said_is_number && same_number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact() {
        for (text, whole, fraction) in [
            ("100", 100, false),
            ("100.0", 100, false),
            ("1e2", 100, false),
            ("1.005E+3", 1005, false),
            ("100000e-3", 100, false),
            ("5.01", 5, true),
            ("0.3", 0, true),
            ("1e-7", 0, true),
            ("-0", 0, false),
            ("0e99999999999", 0, false),
            ("1000000000", MAX_COUNT, false),
            ("12.34567890123456789012345678901234567890", 12, true),
            (" 7 ", 7, false),
        ] {
            assert_eq!(read(text.as_bytes()), Some(WrittenCount { whole, fraction }), "{text}");
        }
    }

    #[test]
    fn what_is_no_count_is_none() {
        let long = "1".repeat(200);
        for text in
            ["", "-1", "-0.5", "1000000001", "1e99", "1e", "1.", ".5", "1,000", "0x1", "ten", &long]
        {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn words_are_compared_as_texts_and_numbers() {
        assert!(same("0", b"0.0", true) && same("0", b"-0", true) && same("ok", b"OK", false));
        assert!(same_exactly("0", b"0.0", true) && !same_exactly("ok", b"OK", false));
        assert!(!same("0", b"00", false) && !same("0", b"", false) && !same("0", b"0.5", true));
    }
}
