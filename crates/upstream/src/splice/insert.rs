//! Adds a member to a JSON request, and leaves every other byte as it is.

use super::{Span, SpliceError, open_brace, spans};
use bytes::Bytes;
use domain::spelling::resembles;
use std::ops::Range;

/// The body with `true` where the `names` lead to, from its top, if the client left that out.
/// `None`: it says something there, or in a spelling that some would take for it.
///
/// # Errors
/// When the body is no JSON object.
pub fn with_true<S: AsRef<str>>(body: &[u8], names: &[S]) -> Result<Option<Bytes>, SpliceError> {
    let (mut value, mut offset) = (body, 0);
    for (at, name) in names.iter().enumerate() {
        let name = name.as_ref();
        let mut is_empty = true;
        let mut found = spans(value, &mut is_empty, |key| resembles(key.as_bytes(), name))?;
        let Some(Span { key, range }) = found.pop() else {
            let front = offset + open_brace(value)? + 1;
            let comma = if is_empty { "" } else { "," };
            let name = serde_json::Value::from(name);
            let member = format!("{name}:{}{comma}", nested(&names[at + 1..]));
            return Ok(Some(replaced(body, front..front, &member)));
        };
        if !found.is_empty() || key != name {
            return Ok(None);
        }
        let inner = value.get(range.clone()).unwrap_or_default();
        let range = offset + range.start..offset + range.end;
        if inner == b"null" {
            return Ok(Some(replaced(body, range, &nested(&names[at + 1..]))));
        }
        if inner.first() != Some(&b'{') {
            return Ok(None);
        }
        (value, offset) = (inner, range.start);
    }
    Ok(None)
}

/// `true`, within objects with these names.
fn nested<S: AsRef<str>>(names: &[S]) -> String {
    let names = names.iter().rev().map(|name| serde_json::Value::from(name.as_ref()));
    names.fold("true".to_owned(), |inner, name| format!("{{{name}:{inner}}}"))
}

fn replaced(body: &[u8], range: Range<usize>, text: &str) -> Bytes {
    let before = body.get(..range.start).unwrap_or_default();
    let after = body.get(range.end..).unwrap_or_default();
    [before, text.as_bytes(), after].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: [&str; 2] = ["stream_options", "include_usage"];

    fn added(body: &str) -> Option<String> {
        let added = with_true(body.as_bytes(), &AT).unwrap()?;
        Some(String::from_utf8(added.to_vec()).unwrap())
    }

    #[test]
    fn what_is_left_out_is_added() {
        for (body, after) in [
            (r#" {"a": 1.50}"#, r#" {"stream_options":{"include_usage":true},"a": 1.50}"#),
            ("{}", r#"{"stream_options":{"include_usage":true}}"#),
            (
                r#"{"a":"{", "stream_options" : { "x":1 } }"#,
                r#"{"a":"{", "stream_options" : {"include_usage":true, "x":1 } }"#,
            ),
            (r#"{"stream_options":{}}"#, r#"{"stream_options":{"include_usage":true}}"#),
            (r#"{"stream_options":null}"#, r#"{"stream_options":{"include_usage":true}}"#),
            (
                r#"{"stream_options":{"include_usage":null}}"#,
                r#"{"stream_options":{"include_usage":true}}"#,
            ),
        ] {
            assert_eq!(added(body).as_deref(), Some(after), "{body}");
            serde_json::from_str::<serde_json::Value>(after).unwrap();
        }
    }

    #[test]
    fn what_the_client_says_stays() {
        for body in [
            r#"{"stream_options":{"include_usage":false}}"#,
            r#"{"stream_options":{"include_usage":true}}"#,
            r#"{"stream_options":{"Include_Usage":true}}"#,
            r#"{"stream_options":[]}"#,
            r#"{"stream_options":{},"stream_options":{}}"#,
        ] {
            assert_eq!(added(body), None, "{body}");
        }
        assert!(with_true(b"[1]", &AT).is_err());
    }
}
