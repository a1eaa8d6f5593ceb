//! Why calls failed, in words that are known when the program is built: their number has a bound,
//! regardless of what upstreams and clients send.

use std::sync::OnceLock;

/// How many codes are told apart.
pub(crate) const MAX_CODES: usize = 96;
/// Stands for all codes beyond.
pub const UNLISTED: &str = "other";

/// Gives each code a number, in the order in which they come up.
#[derive(Debug)]
pub(crate) struct Codes([OnceLock<&'static str>; MAX_CODES]);

impl Default for Codes {
    fn default() -> Self {
        Self([const { OnceLock::new() }; MAX_CODES])
    }
}

impl Codes {
    /// The number of a code; [`MAX_CODES`] where there are too many.
    pub(crate) fn number(&self, code: &'static str) -> usize {
        let is_it = |cell: &OnceLock<&'static str>| *cell.get_or_init(|| code) == code;
        self.0.iter().position(is_it).unwrap_or(MAX_CODES)
    }

    /// The code of a number.
    pub(crate) fn code(&self, number: usize) -> &'static str {
        self.0.get(number).and_then(|cell| cell.get().copied()).unwrap_or(UNLISTED)
    }
}

/// The code of a status that is a failure; of the rarer ones only the kind.
#[must_use]
pub const fn status_code(status: u16) -> Option<&'static str> {
    let listed = match status {
        200..=299 => return None,
        400 => "400",
        401 => "401",
        402 => "402",
        403 => "403",
        404 => "404",
        408 => "408",
        409 => "409",
        413 => "413",
        422 => "422",
        429 => "429",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        529 => "529",
        _ => match status / 100 {
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => UNLISTED,
        },
    };
    Some(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_codes_than_fit_are_one() {
        let codes = Codes::default();
        let words: Vec<&'static str> =
            (0..MAX_CODES + 2).map(|n| &*Box::leak(n.to_string().into_boxed_str())).collect();
        for (number, word) in words.iter().enumerate() {
            assert_eq!(codes.number(word), number.min(MAX_CODES));
        }
        assert_eq!(codes.number(words[3]), 3);
        assert_eq!((codes.code(3), codes.code(MAX_CODES)), ("3", UNLISTED));
    }

    #[test]
    fn statuses_are_few() {
        let told: std::collections::BTreeSet<_> = (0..=u16::MAX).filter_map(status_code).collect();
        assert_eq!(told.len(), 19);
        assert_eq!(status_code(204), None);
    }
}
