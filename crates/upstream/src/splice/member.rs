//! Reads a member of a JSON request that its price depends on.

use super::{Span, SpliceError, spans};
use domain::spelling::resembles;
use std::borrow::Cow;

/// Why what a request says can't be read in one way only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// The body is no JSON object.
    #[error(transparent)]
    Body(#[from] SpliceError),
    /// The member is there more than once.
    #[error("the body has more than one {0}")]
    Doubled(String),
    /// The member is spelt in a way that some readers take for it.
    #[error("the body spells {0} otherwise")]
    Misspelt(String),
    /// A parameter of the query is there more than once, or spelt otherwise.
    #[error("the query has more than one {0}, or spells it otherwise")]
    Parameter(String),
}

impl MemberError {
    /// What is wrong, in Chinese.
    #[must_use]
    pub fn zh(&self) -> String {
        match self {
            Self::Body(error) => error.zh(),
            Self::Doubled(name) => format!("请求体中字段 {name} 重复"),
            Self::Misspelt(name) => format!("请求体中字段 {name} 的拼写不符"),
            Self::Parameter(name) => format!("查询参数 {name} 重复或拼写不符"),
        }
    }
}

/// The text of the member that the `names` lead to, from the top of the body: a string without its
/// quotes, anything else as it is written. `None` where there is none, or null.
///
/// # Errors
/// When the body is no JSON object, or two readers could find two members there.
pub fn text_at<S: AsRef<str>>(body: &[u8], names: &[S]) -> Result<Option<String>, MemberError> {
    let mut value = body;
    for (at, name) in names.iter().enumerate() {
        let name = name.as_ref();
        if at > 0 && value.first() != Some(&b'{') {
            return Ok(None);
        }
        let mut found = spans(value, &mut true, |key| resembles(key.as_bytes(), name))?;
        if found.len() > 1 {
            return Err(MemberError::Doubled(name.to_owned()));
        }
        let Some(Span { key, range }) = found.pop() else { return Ok(None) };
        if key != name {
            return Err(MemberError::Misspelt(name.to_owned()));
        }
        value = value.get(range).unwrap_or_default();
    }
    Ok(match value {
        b"null" => None,
        [b'"', ..] => serde_json::from_slice::<Cow<'_, str>>(value).ok().map(Cow::into_owned),
        other => Some(String::from_utf8_lossy(other).into_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_body_says() {
        let body = br#"{"size":"1792x1024","n":2,"o":{"q":"h\u0064","deep":[1]},"none":null}"#;
        let at = |names: &[&str]| text_at(body, names).unwrap();
        assert_eq!(at(&["size"]).as_deref(), Some("1792x1024"));
        assert_eq!(at(&["n"]).as_deref(), Some("2"));
        assert_eq!(at(&["o", "q"]).as_deref(), Some("hd"));
        assert_eq!(at(&["o", "deep"]).as_deref(), Some("[1]"));
        for nothing in [&["none"][..], &["other"], &["n", "x"], &["o", "deep", "0"]] {
            assert_eq!(at(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn what_two_readers_read_apart_is_refused() {
        for (body, names) in [
            (r#"{"size":"a","size":"b"}"#, &["size"][..]),
            (r#"{"Size":"a"}"#, &["size"]),
            (r#"{"s\u0049ze ":"a"}"#, &["size"]),
            (r#"{"size[]":"a","size":"b"}"#, &["size"]),
            (r#"{"size":"a","ſize":"b"}"#, &["size"]),
            (r#"{"\u017fize":"b"}"#, &["size"]),
            (r#"{"size":"a","[size]":"b"}"#, &["size"]),
            (r#"{"o":{"Q":1}}"#, &["o", "q"]),
            (r#"{"o":{},"O":{"q":1}}"#, &["o", "q"]),
            (r"[1]", &["size"]),
            (r#"{"size":1"#, &["size"]),
        ] {
            assert!(text_at(body.as_bytes(), names).is_err(), "{body}");
        }
    }
}
