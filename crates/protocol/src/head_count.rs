//! Counts that stand in the headers of a reply: `header:character-cost`.

use crate::count::{self, WrittenCount};
use domain::Meter;

/// What a source begins with that is a header.
pub(crate) const PREFIX: &str = "header:";
/// Longest name of a header, in bytes.
const MAX_NAME: usize = 64;
/// Longest value that is looked at: more digits are no count.
const MAX_VALUE: usize = 32;
/// As much of a value is told, in characters.
const MAX_FAULT_CHARS: usize = 40;

/// A header that counts a meter.
#[derive(Clone, Debug)]
pub(crate) struct HeaderSource {
    pub(crate) meter: Meter,
    pub(crate) name: Box<str>,
    /// Counted beside the meter that it is otherwise a part of.
    pub(crate) beside: bool,
    /// Added to what the others say.
    pub(crate) plus: bool,
    /// It is preferred to what the body says.
    pub(crate) first: bool,
}

/// Why a name can't be that of a header that counts.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_part) {
        return Err("is not header:NAME, up to 64 small letters, digits and hyphens");
    }
    Ok(())
}

/// Reads a header's count: digits, perhaps with a point and more of them, the same in each of its
/// lines. `Ok(None)`: it is not there, or empty.
///
/// # Errors
/// What stands there instead.
pub(crate) fn read<'v>(
    meter: Meter,
    values: impl IntoIterator<Item = &'v [u8]>,
) -> Result<Option<i64>, String> {
    let mut found = None;
    for value in values {
        let value = value.trim_ascii();
        if value.is_empty() {
            continue;
        }
        let told = || {
            let text = String::from_utf8_lossy(&value[..value.len().min(4 * MAX_FAULT_CHARS)]);
            let text: String = text.chars().take(MAX_FAULT_CHARS).collect();
            text.replace(char::is_control, " ")
        };
        let count = count_of(meter, value).ok_or_else(told)?;
        match found {
            Some(known) if known != count => return Err(format!("{known} / {count}")),
            _ => found = Some(count),
        }
    }
    Ok(found)
}

fn count_of(meter: Meter, value: &[u8]) -> Option<i64> {
    let is_plain = value.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    if value.len() > MAX_VALUE || !is_plain {
        return None;
    }
    let WrittenCount { whole, fraction } = count::read(value)?;
    // A begun second is one; a begun token is a mistake.
    (!(fraction && meter.is_tokens())).then_some(whole + i64::from(fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(meter: Meter, values: &[&str]) -> Result<Option<i64>, String> {
        super::read(meter, values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn a_count_is_digits() {
        for (values, count) in [
            (&[][..], None),
            (&[""], None),
            (&["12"], Some(12)),
            (&[" 12 ", "12.0"], Some(12)),
            (&["0"], Some(0)),
            (&["1.5"], Some(2)),
            (&["1000000000"], Some(1_000_000_000)),
        ] {
            assert_eq!(read(Meter::Characters, values), Ok(count), "{values:?}");
        }
        assert_eq!(read(Meter::Input, &["1.5"]), Err("1.5".to_owned()));
    }

    #[test]
    fn anything_else_is_none() {
        let long = "0".repeat(33);
        for value in [
            "-1",
            "+1",
            "1e3",
            "1,000",
            "0x10",
            "1 2",
            "12 chars",
            "1..2",
            ".",
            "9999999999",
            &long,
        ] {
            let told = value.chars().take(40).collect::<String>();
            assert_eq!(read(Meter::Characters, &[value]), Err(told), "{value}");
        }
        assert_eq!(read(Meter::Credits, &["3", "4"]), Err("3 / 4".to_owned()));
        let odd = super::read(Meter::Credits, [&b"\xff\x01"[..]]);
        assert_eq!(odd, Err("\u{fffd} ".to_owned()));
    }
}
