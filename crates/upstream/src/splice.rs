//! Changes members of a JSON request without touching any other byte of it.
//!
//! Big integers, blanks, order, escapes and duplicates stay as the client wrote them: the body is
//! never parsed and serialised again, only spliced.

use bytes::Bytes;
use domain::spelling::resembles;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

mod insert;
mod member;

pub use insert::with_true;
pub use member::{MemberError, text_at};

/// Why a body can't be read or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpliceError {
    /// Not JSON. The text is serde_json's, and repeats nothing of the body.
    #[error("the body is not valid JSON: {0}")]
    Malformed(String),
    /// JSON, but no object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// The member is not there.
    #[error("the body has no {0}")]
    Missing(Box<str>),
    /// The member is there more than once, or in another spelling that some would take for it.
    #[error("the body has more than one {0}")]
    Duplicate(Box<str>),
    /// The member is there in another spelling alone, that some would take for it.
    #[error("the body spells {0} otherwise")]
    Misspelt(Box<str>),
    /// The member is not a string.
    #[error("{0} is not a string")]
    NotAString(Box<str>),
    /// The new value is not JSON.
    #[error("the new value of {0} is not valid JSON")]
    BadValue(String),
}

impl SpliceError {
    /// What is wrong, in Chinese.
    #[must_use]
    pub fn zh(&self) -> String {
        match self {
            Self::Malformed(_) => "请求体不是有效的 JSON".to_owned(),
            Self::NotAnObject => "请求体不是 JSON 对象".to_owned(),
            Self::Missing(name) => format!("请求体缺少字段 {name}"),
            Self::Duplicate(name) => format!("请求体中字段 {name} 重复"),
            Self::Misspelt(name) => format!("请求体中字段 {name} 的拼写不符"),
            Self::NotAString(name) => format!("字段 {name} 必须是字符串"),
            Self::BadValue(name) => format!("字段 {name} 的新值不是有效的 JSON"),
        }
    }
}

/// Position of a member's value.
struct Span<'a> {
    key: Cow<'a, str>,
    range: Range<usize>,
}

/// Replaces the value of each named member, wherever it occurs at the top, or inserts the member
/// at the front. `members` are names and JSON texts; of two with one name, the last counts.
///
/// # Errors
/// When the body is no JSON object, or a new value is no JSON.
pub fn override_members<K: AsRef<str>, V: AsRef<str>>(
    body: &[u8],
    members: &[(K, V)],
) -> Result<Bytes, SpliceError> {
    let members: Vec<(&str, &str)> =
        members.iter().map(|(key, value)| (key.as_ref(), value.as_ref().trim())).collect();
    for (key, value) in &members {
        if serde_json::from_str::<&RawValue>(value).is_err() {
            return Err(SpliceError::BadValue((*key).to_owned()));
        }
    }
    let value_of = |key: &str| members.iter().rfind(|(k, _)| *k == key).map(|(_, v)| *v);
    let mut is_empty = true;
    let found = spans(body, &mut is_empty, |key| value_of(key).is_some())?;
    let front = open_brace(body)? + 1;
    let mut out = Vec::with_capacity(
        body.len() + members.iter().map(|(k, v)| k.len() + v.len() + 8).sum::<usize>(),
    );
    out.extend_from_slice(&body[..front]);
    for (at, (key, value)) in members.iter().enumerate() {
        let is_last = !members[at + 1..].iter().any(|(k, _)| k == key);
        if !is_last || found.iter().any(|span| span.key == *key) {
            continue;
        }
        if out.len() > front {
            out.push(b',');
        }
        let name = serde_json::to_string(key).map_err(|e| malformed(&e))?;
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    }
    if out.len() > front && !is_empty {
        out.push(b',');
    }
    let mut from = front;
    for span in &found {
        out.extend_from_slice(&body[from..span.range.start]);
        out.extend_from_slice(value_of(&span.key).unwrap_or_default().as_bytes());
        from = span.range.end;
    }
    out.extend_from_slice(&body[from..]);
    Ok(Bytes::from(out))
}

/// The value of the member `name`, which must be a string.
///
/// Some upstreams take `Model` or `model\u0000` for `model`, and of duplicate members the first or
/// the last. A body that could be parsed in two ways is refused, because only one reading of it
/// would be paid for.
///
/// # Errors
/// [`SpliceError::Missing`] only where no reader finds the member in any spelling. Others when the
/// body is not a JSON object, has several such members or one spelt otherwise, or when the value
/// is not a string.
pub fn top_level_string(body: &[u8], name: &str) -> Result<String, SpliceError> {
    let range = only_span(body, name)?.ok_or_else(|| SpliceError::Missing(name.into()))?;
    serde_json::from_slice(&body[range]).map_err(|_| SpliceError::NotAString(name.into()))
}

/// Checks that every reader finds the same of the member `name`, or nothing.
///
/// # Errors
/// As of [`top_level_string`], for a value of any type.
pub fn check_unambiguous(body: &[u8], name: &str) -> Result<(), SpliceError> {
    only_span(body, name).map(drop)
}

/// An object of these members alone, as far as they are there, in the bytes of the body.
///
/// # Errors
/// As of [`check_unambiguous`], for the first that another reader may find otherwise.
pub fn members_alone(body: &[u8], names: &[&str]) -> Result<Option<Vec<u8>>, SpliceError> {
    let found =
        spans(body, &mut true, |key| names.iter().any(|name| resembles(key.as_bytes(), name)))?;
    let mut alone = Vec::new();
    for name in
        names.iter().enumerate().filter_map(|(at, it)| (!names[..at].contains(it)).then_some(it))
    {
        let mut same = found.iter().filter(|span| resembles(span.key.as_bytes(), name));
        let Some(span) = same.next() else { continue };
        if same.next().is_some() {
            return Err(SpliceError::Duplicate((*name).into()));
        }
        if span.key != *name {
            return Err(SpliceError::Misspelt((*name).into()));
        }
        alone.push(if alone.is_empty() { b'{' } else { b',' });
        let name = serde_json::to_string(name).map_err(|e| malformed(&e))?;
        alone.extend_from_slice(name.as_bytes());
        alone.push(b':');
        alone.extend_from_slice(&body[span.range.clone()]);
    }
    let any = !alone.is_empty();
    alone.push(b'}');
    Ok(any.then_some(alone))
}

/// Where the value of the only member is that a reader may take for `name`.
fn only_span(body: &[u8], name: &str) -> Result<Option<Range<usize>>, SpliceError> {
    let mut found = spans(body, &mut true, |key| resembles(key.as_bytes(), name))?;
    if found.len() > 1 {
        return Err(SpliceError::Duplicate(name.into()));
    }
    match found.pop() {
        Some(span) if span.key != name => Err(SpliceError::Misspelt(name.into())),
        found => Ok(found.map(|span| span.range)),
    }
}

/// Whether the body is a JSON object with a top-level member `name`, in any case.
///
/// # Errors
/// When the body is no JSON object.
pub fn has_member(body: &[u8], name: &str) -> Result<bool, SpliceError> {
    Ok(!spans(body, &mut true, |key| resembles(key.as_bytes(), name))?.is_empty())
}

/// The members of the body whose keys are wanted, in order.
fn spans<'a>(
    body: &'a [u8],
    is_empty: &mut bool,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Span<'a>>, SpliceError> {
    // Skipped values are not decoded, so UTF-8 is checked separately.
    let text = std::str::from_utf8(body)
        .map_err(|e| SpliceError::Malformed(format!("not UTF-8 at byte {}", e.valid_up_to())))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let seed = Members { start: body.as_ptr() as usize, wanted, is_empty };
    let spans = seed.deserialize(&mut reader).map_err(|error| {
        // A malformed body is reported as malformed, even if it is not an object.
        if error.is_data() { SpliceError::NotAnObject } else { malformed(&error) }
    })?;
    reader.end().map_err(|e| malformed(&e))?;
    Ok(spans)
}

fn malformed(error: &serde_json::Error) -> SpliceError {
    let (line, column) = (error.line(), error.column());
    let what = match error.classify() {
        serde_json::error::Category::Eof => "ends too early",
        _ => "breaks off",
    };
    SpliceError::Malformed(format!("{what} at line {line} column {column}"))
}

/// The offset of the object: only blanks come before it.
fn open_brace(body: &[u8]) -> Result<usize, SpliceError> {
    memchr::memchr(b'{', body).ok_or(SpliceError::NotAnObject)
}

struct Members<'s, F> {
    start: usize,
    wanted: F,
    is_empty: &'s mut bool,
}

impl<'de, F: Fn(&str) -> bool> DeserializeSeed<'de> for Members<'_, F> {
    type Value = Vec<Span<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, F: Fn(&str) -> bool> Visitor<'de> for Members<'_, F> {
    type Value = Vec<Span<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut spans = Vec::new();
        while let Some(Name(key)) = map.next_key()? {
            *self.is_empty = false;
            if !(self.wanted)(&key) {
                map.next_value::<serde::de::IgnoredAny>()?;
                continue;
            }
            // The raw value is borrowed from the body, so its address gives the offset.
            let value: &RawValue = map.next_value()?;
            let from = (value.get().as_ptr() as usize).saturating_sub(self.start);
            spans.push(Span { key, range: from..from + value.get().len() });
        }
        Ok(spans)
    }
}

/// A key, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests;
