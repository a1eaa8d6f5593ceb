//! The path rule: what a model name may be, and so what may be sent to an upstream.

use std::fmt;

/// Longest model name, in characters.
const MAX_CHARS: usize = 200;
const SUBMIT_SUFFIX: &str = "/submit";

/// The name of a model as a client requests it: one or more path segments, already decoded.
///
/// Being a `ModelName` is the proof that the name can be appended to an upstream's address
/// without changing what is addressed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelName(Box<str>);

/// Why a text is not a [`ModelName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelNameError {
    /// The name is empty.
    #[error("is empty")]
    Empty,
    /// More than 200 characters.
    #[error("is longer than 200 characters")]
    TooLong,
    /// An empty, `.` or `..` segment.
    #[error("has an empty or dot segment")]
    Segment,
    /// `?`, `#`, `\`, or a control character.
    #[error("has a character that a path may not have")]
    Character,
}

impl ModelName {
    /// Checks a decoded name.
    ///
    /// # Errors
    /// The first rule that `name` breaks.
    pub fn parse(name: &str) -> Result<Self, ModelNameError> {
        if name.is_empty() {
            return Err(ModelNameError::Empty);
        }
        if name.chars().count() > MAX_CHARS {
            return Err(ModelNameError::TooLong);
        }
        if name.chars().any(|c| matches!(c, '?' | '#' | '\\') || c.is_control()) {
            return Err(ModelNameError::Character);
        }
        // `..` is refused anywhere, not only as a whole segment: no upstream's own reading of
        // the path may climb.
        if name.contains("..") || name.split('/').any(|s| s.is_empty() || s == ".") {
            return Err(ModelNameError::Segment);
        }
        Ok(Self(name.into()))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is an asynchronous model: its name ends in `/submit`.
    #[must_use]
    pub fn is_submission(&self) -> bool {
        self.0.len() > SUBMIT_SUFFIX.len() && self.0.ends_with(SUBMIT_SUFFIX)
    }
}

/// What an asynchronous model is called without `/submit`: the part that addresses its tasks.
#[must_use]
pub fn task_base(model: &str) -> &str {
    model.strip_suffix(SUBMIT_SUFFIX).unwrap_or(model)
}

/// The model whose tasks `base` addresses.
#[must_use]
pub fn submission_of(base: &str) -> String {
    format!("{base}{SUBMIT_SUFFIX}")
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_upstreams_call_their_models() {
        for name in ["gpt-4", "img/submit", "org/model:free", "a.b", "图像/生成", "a b", "%2e"]
        {
            assert_eq!(ModelName::parse(name).map(|m| m.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn refuses_what_could_address_something_else() {
        use ModelNameError::{Character, Empty, Segment, TooLong};
        for (name, why) in [
            ("", Empty),
            ("/a", Segment),
            ("a/", Segment),
            ("a//b", Segment),
            ("a/./b", Segment),
            ("a/../b", Segment),
            ("a..b", Segment),
            ("a?b", Character),
            ("a#b", Character),
            ("a\\b", Character),
            ("a\nb", Character),
            ("a\u{85}b", Character),
            (&"x".repeat(201), TooLong),
        ] {
            assert_eq!(ModelName::parse(name), Err(why), "{name:?}");
        }
        assert!(ModelName::parse(&"字".repeat(200)).is_ok());
    }

    #[test]
    fn recognises_a_submission() {
        let is = |name| ModelName::parse(name).is_ok_and(|m| m.is_submission());
        assert!(is("img/submit"));
        assert!(!is("submit") && !is("img/submits") && !is("img/submit/x"));
    }
}
