//! The kind of a request's body, by its `Content-Type`: parsed so strictly that no other parser of
//! the same header reads the body differently.
//!
//! The header is forwarded unchanged. A charset, a second boundary or a second header that one
//! parser honours and another ignores would make them read two different bodies.

use crate::parameters::{Malformed, Parameter, Parameters, is_token};
use crate::query::contains;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// Longest boundary (RFC 2046).
const MAX_BOUNDARY: usize = 70;

/// A supported kind of body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// JSON in UTF-8.
    Json,
    /// `multipart/form-data`.
    Form {
        /// What separates its parts.
        boundary: String,
    },
    /// `application/x-www-form-urlencoded`, in UTF-8.
    Urlencoded,
}

/// Why a body of this type is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// None, or more than one.
    #[error("exactly one Content-Type is needed")]
    NotOne,
    /// Neither JSON nor a form.
    #[error("this Content-Type can't be read")]
    Other,
    /// Parameters that could be parsed in two ways.
    #[error("the parameters of the Content-Type can't be read")]
    Parameters,
    /// A charset other than UTF-8.
    #[error("only UTF-8 can be read")]
    Charset,
}

impl MediaError {
    /// What is wrong, in Chinese.
    #[must_use]
    pub const fn zh(self) -> &'static str {
        match self {
            Self::NotOne => "必须有且只有一个 Content-Type",
            Self::Other => "不支持该 Content-Type",
            Self::Parameters => "Content-Type 的参数无效",
            Self::Charset => "请求体必须使用 UTF-8",
        }
    }
}

impl From<Malformed> for MediaError {
    fn from(_: Malformed) -> Self {
        Self::Parameters
    }
}

/// The kind of body that a request's headers declare.
///
/// # Errors
/// When they don't declare a body that can be parsed in one way only.
pub fn media_kind(headers: &HeaderMap) -> Result<MediaKind, MediaError> {
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return Err(MediaError::NotOne) };
    let text = value.to_str().map_err(|_| MediaError::Other)?;
    let (essence, parameters) = Parameters::of(text);
    if is_json(essence) {
        plain(parameters, MediaKind::Json)
    } else if is_urlencoded(essence) {
        plain(parameters, MediaKind::Urlencoded)
    } else if is_form(essence) {
        form(parameters)
    } else {
        Err(MediaError::Other)
    }
}

/// `application/json`, or any type of the syntax `+json`.
fn is_json(essence: &str) -> bool {
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    if !kind.bytes().all(is_token) || !subtype.bytes().all(is_token) {
        return false;
    }
    let suffix = subtype.len().checked_sub("+json".len()).and_then(|at| subtype.get(at..));
    let is_suffixed = suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"));
    let is_plain =
        || kind.eq_ignore_ascii_case("application") && subtype.eq_ignore_ascii_case("json");
    is_suffixed || is_plain()
}

fn is_form(essence: &str) -> bool {
    essence.eq_ignore_ascii_case("multipart/form-data")
}

fn is_urlencoded(essence: &str) -> bool {
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Whether one of the headers contains `word` (in lower case), and so claims that kind, however
/// malformed.
#[must_use]
pub fn mentions(headers: &HeaderMap, word: &str) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|value| contains(value.as_bytes(), word))
}

fn plain(mut parameters: Parameters<'_>, kind: MediaKind) -> Result<MediaKind, MediaError> {
    let mut charset = false;
    while let Some(parameter) = parameters.next()? {
        check_plain(&parameter)?;
        if parameter.key == "charset" {
            check_charset(&parameter, &mut charset)?;
        }
    }
    Ok(kind)
}

fn form(mut parameters: Parameters<'_>) -> Result<MediaKind, MediaError> {
    let (mut boundary, mut charset) = (None, false);
    while let Some(parameter) = parameters.next()? {
        match parameter.key.as_str() {
            "charset" => check_charset(&parameter, &mut charset)?,
            "boundary" if boundary.is_none() && parameter.is_plain => {
                boundary = Some(parameter.value);
            }
            // A second boundary, an encoded or continued one, or anything else that a parser may
            // look for a boundary in.
            _ => return Err(MediaError::Parameters),
        }
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&b);
    let boundary = boundary
        .filter(|b| (1..=MAX_BOUNDARY).contains(&b.len()) && b.bytes().all(allowed))
        .ok_or(MediaError::Parameters)?;
    Ok(MediaKind::Form { boundary })
}

/// A value that reads the same to a parser that splits at `;` and `=` without regard to quotes,
/// under a name that is neither encoded nor continued (RFC 8187, RFC 2231).
fn check_plain(Parameter { key, value, is_plain }: &Parameter) -> Result<(), MediaError> {
    let fits = *is_plain && !key.contains('*') && value.bytes().all(is_token);
    if fits { Ok(()) } else { Err(MediaError::Parameters) }
}

fn check_charset(parameter: &Parameter, seen: &mut bool) -> Result<(), MediaError> {
    check_plain(parameter)?;
    if std::mem::replace(seen, true) {
        return Err(MediaError::Parameters);
    }
    let is_utf8 = ["utf-8", "utf8"].iter().any(|name| parameter.value.eq_ignore_ascii_case(name));
    if is_utf8 { Ok(()) } else { Err(MediaError::Charset) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn read(types: &[&str]) -> Result<MediaKind, MediaError> {
        let mut headers = HeaderMap::new();
        for text in types {
            headers.append(CONTENT_TYPE, HeaderValue::from_bytes(text.as_bytes()).unwrap());
        }
        media_kind(&headers)
    }

    fn form(boundary: &str) -> Result<MediaKind, MediaError> {
        Ok(MediaKind::Form { boundary: boundary.to_owned() })
    }

    #[test]
    fn what_can_be_read() {
        for text in [
            "application/json",
            "Application/JSON;charset=UTF-8",
            "application/json; charset=\"utf-8\"",
            "application/problem+json; x=y;",
        ] {
            assert_eq!(read(&[text]), Ok(MediaKind::Json), "{text}");
        }
        assert_eq!(read(&["multipart/form-data; boundary=b"]), form("b"));
        let urlencoded = "application/x-www-form-urlencoded; charset=UTF-8";
        assert_eq!(read(&[urlencoded]), Ok(MediaKind::Urlencoded));
        let quoted = "Multipart/Form-Data; charset=utf-8; Boundary=\"a=b:c\"";
        assert_eq!(read(&[quoted]), form("a=b:c"));
        assert!(read(&[&format!("multipart/form-data; boundary={}", "x".repeat(70))]).is_ok());
    }

    proptest! {
        #[test]
        fn noise_does_no_harm(text in "(application/json|multipart/form-data)?[ -~]{0,60}") {
            let _ = read(&[&text]);
        }

        /// A parser that splits at `;` and `=` finds what was parsed.
        #[test]
        fn a_naive_reader_reads_the_same(
            parameters in prop::collection::vec(
                "(boundary|charset|x|boundary\\*)=(\"?(b|utf-8|evil)\"?)", 0..4),
        ) {
            let text = format!("multipart/form-data; {}", parameters.join("; "));
            if let Ok(MediaKind::Form { boundary }) = read(&[&text]) {
                let pairs = text.split(';').filter_map(|pair| pair.trim().split_once('='));
                let found: Vec<_> = pairs
                    .filter(|(key, _)| key.starts_with("boundary"))
                    .map(|(_, value)| value.trim_matches('"'))
                    .collect();
                prop_assert_eq!(found, [boundary.as_str()]);
            }
        }
    }

    #[test]
    fn what_could_be_read_otherwise() {
        use MediaError::{Charset, NotOne, Other, Parameters};
        assert_eq!(read(&[]), Err(NotOne));
        assert_eq!(read(&["application/json", "application/json"]), Err(NotOne));
        for text in [
            "",
            "json",
            "text/json",
            "text/plain",
            "application/json, text/plain",
            "multipart/mixed; boundary=b",
            "application/json\u{e9}",
            "a b/x+json",
        ] {
            assert_eq!(read(&[text]), Err(Other), "{text}");
        }
        for charset in ["utf-7", "utf-16", "latin1", "\"utf-7\""] {
            let text = format!("application/json; charset={charset}");
            assert_eq!(read(&[&text]), Err(Charset), "{text}");
        }
        for text in [
            "application/json; charset",
            "application/json; charset=",
            "application/json; charset = utf-8",
            "application/json; charset=utf-8; charset=utf-8",
            "application/json; charset*=utf-7''x",
            "application/json; charset*0=utf-7",
            "application/json; a=\"; charset=utf-7\"",
            "application/json; a=\"b\\\"\"",
            "application/json; a=\"b",
            "application/json; a=\"b\"c",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"\"",
            "multipart/form-data; boundary=\"a ",
            "multipart/form-data; boundary=\"a b\"",
            "multipart/form-data; boundary=a/b",
            "multipart/form-data; boundary=\"a\\b\"",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/form-data; boundary=a; boundary*=us-ascii''b",
            "multipart/form-data; boundary*0=a",
            "multipart/form-data; boundary=a; x=y",
            "multipart/form-data; boundary=a\"b",
        ] {
            assert_eq!(read(&[text]), Err(Parameters), "{text}");
        }
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        assert_eq!(read(&[&long]), Err(Parameters));
    }
}
