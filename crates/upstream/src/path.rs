//! The path rule: from the raw path of a request line to the model that it names.

use domain::{ModelName, ModelNameError};
use std::borrow::Cow;

/// Why a path names no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("the path has a malformed percent-encoding")]
    Encoding,
    /// What the path decodes to is not UTF-8.
    #[error("the path is not UTF-8")]
    Utf8,
    /// The decoded name breaks a rule.
    #[error("the path {0}")]
    Name(#[from] ModelNameError),
}

impl PathError {
    /// What is wrong, in Chinese.
    #[must_use]
    pub const fn zh(self) -> &'static str {
        match self {
            Self::Encoding => "路径中的百分号编码不完整",
            Self::Utf8 => "路径不是有效的 UTF-8",
            Self::Name(ModelNameError::Empty) => "路径中缺少模型名",
            Self::Name(ModelNameError::TooLong) => "模型名超过 200 个字符",
            Self::Name(ModelNameError::Segment) => "路径中有空段、. 或 ..",
            Self::Name(ModelNameError::Character) => "路径中有不允许的字符",
        }
    }

    /// The same in English.
    #[must_use]
    pub const fn en(self) -> &'static str {
        match self {
            Self::Encoding => "the path has a malformed percent-encoding",
            Self::Utf8 => "the path is not UTF-8",
            Self::Name(ModelNameError::Empty) => "the path names no model",
            Self::Name(ModelNameError::TooLong) => "the model is longer than 200 characters",
            Self::Name(ModelNameError::Segment) => "the path has an empty or dot segment",
            Self::Name(ModelNameError::Character) => "the path has a character that is not allowed",
        }
    }
}

/// The model that `raw` (a path as it was received, without the leading slash) names.
///
/// Decoded exactly once: `%2F` is a slash, `%2e%2e` would climb and is refused, `%252e` is the text
/// `%2e` and is sent as such.
///
/// # Errors
/// When the encoding is broken, or the decoded name can't be a model's.
pub fn decode_model_path(raw: &str) -> Result<ModelName, PathError> {
    Ok(ModelName::parse(&percent_decoded(raw)?)?)
}

/// A part of a request's target, decoded exactly once.
///
/// # Errors
/// When the encoding is broken, or the result is not UTF-8.
pub fn percent_decoded(raw: &str) -> Result<Cow<'_, str>, PathError> {
    let bytes = raw.as_bytes();
    if memchr::memchr(b'%', bytes).is_none() {
        return Ok(Cow::Borrowed(raw));
    }
    let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    if !memchr::memchr_iter(b'%', bytes).all(|at| is_hex(at + 1) && is_hex(at + 2)) {
        return Err(PathError::Encoding);
    }
    percent_encoding::percent_decode(bytes).decode_utf8().map_err(|_| PathError::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BaseUrl;
    use proptest::prelude::*;

    #[test]
    fn decodes_once() {
        for (raw, name) in [
            ("gpt-4", "gpt-4"),
            ("a%2Fb", "a/b"),
            ("a%252e", "a%2e"),
            ("%E5%AD%97", "字"),
            ("字", "字"),
            ("a+b%20c", "a+b c"),
        ] {
            assert_eq!(decode_model_path(raw).unwrap().as_str(), name, "{raw}");
        }
    }

    #[test]
    fn refuses_what_climbs_or_is_broken() {
        use PathError::{Encoding, Name, Utf8};
        for (raw, why) in [
            ("", Name(ModelNameError::Empty)),
            ("a%", Encoding),
            ("a%2", Encoding),
            ("a%2x", Encoding),
            ("a%%32", Encoding),
            ("%ff", Utf8),
            ("%c0%af", Utf8),
            ("..%2fx", Name(ModelNameError::Segment)),
            ("a/%2e%2E/b", Name(ModelNameError::Segment)),
            ("a/%2e/b", Name(ModelNameError::Segment)),
            ("a%2f%2fb", Name(ModelNameError::Segment)),
            ("a%2f", Name(ModelNameError::Segment)),
            ("a%00", Name(ModelNameError::Character)),
            ("a%3fb", Name(ModelNameError::Character)),
            ("a%23b", Name(ModelNameError::Character)),
            ("a%5cb", Name(ModelNameError::Character)),
            ("a%0d%0ab", Name(ModelNameError::Character)),
        ] {
            assert_eq!(decode_model_path(raw), Err(why), "{raw}");
            assert!(!why.zh().is_empty() && !why.en().is_empty());
        }
    }

    proptest! {
        #[test]
        fn what_is_priced_is_what_is_sent(raw in "[ -~字é]{0,40}") {
            if let Ok(name) = decode_model_path(&raw) {
                let base = BaseUrl::parse("http://up").unwrap();
                let target = base.target(name.as_str(), None).unwrap();
                prop_assert_eq!(target.query(), None);
                let again = decode_model_path(&target.path()[1..]).unwrap();
                prop_assert_eq!(again, name);
            }
        }
    }
}
