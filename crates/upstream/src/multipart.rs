//! Reads a `multipart/form-data` request, and replaces its model.
//!
//! Stricter than most parsers: what two parsers could read differently is refused, because what is
//! priced has to be what the upstream reads.

use crate::fields::FieldsJson;
use crate::parameters::{Malformed, Parameters, is_token};
use crate::query::could_be;
use bytes::Bytes;
use memchr::memmem::Finder;
use percent_encoding::percent_decode_str;
use std::ops::Range;

/// Longest headers of one part.
const MAX_PART_HEADERS: usize = 8 * 1024;
/// Most parts of a form.
const MAX_PARTS: usize = 1024;
/// Longest value of the model's part, in bytes: a longer one can't name a model.
const MAX_VALUE: usize = 1024;

/// Why a form can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    /// The structure of the parts is broken.
    #[error("the multipart body is malformed")]
    Malformed,
    /// More than 1024 parts.
    #[error("the multipart body has too many parts")]
    TooManyParts,
    /// No part of that name.
    #[error("the form has no {0}")]
    Missing(Box<str>),
    /// More than one part of that name.
    #[error("the form has more than one {0}")]
    Duplicate(Box<str>),
    /// The part is a file, is encoded, is too long, or is not UTF-8.
    #[error("{0} is not a plain text")]
    NotText(Box<str>),
}

impl MultipartError {
    /// What is wrong, in Chinese.
    #[must_use]
    pub fn zh(&self) -> String {
        match self {
            Self::Malformed => "multipart 请求体格式错误".to_owned(),
            Self::TooManyParts => "multipart 请求体的部分过多".to_owned(),
            Self::Missing(name) => format!("表单缺少字段 {name}"),
            Self::Duplicate(name) => format!("表单字段 {name} 重复"),
            Self::NotText(name) => format!("表单字段 {name} 必须是普通文本"),
        }
    }
}

/// A field of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its value.
    pub text: String,
    /// Position of the value in the body.
    pub range: Range<usize>,
}

/// The field `name` of a form with this boundary.
///
/// # Errors
/// When the form can't be parsed, or doesn't have exactly one such field.
pub fn field(boundary: &str, body: &[u8], name: &str) -> Result<Field, MultipartError> {
    let mut found = None;
    each_part(boundary, body, |part, range| {
        if !part.is_named(name) {
            return Ok(());
        }
        if found.is_some() {
            return Err(MultipartError::Duplicate(name.into()));
        }
        found = Some(Field { text: part.text(body, &range, name)?, range });
        Ok(())
    })?;
    found.ok_or_else(|| MultipartError::Missing(name.into()))
}

/// Whether a form has a field that a parser may take for `name`, or for a part of it. A file of
/// that very name is none: it is no value.
///
/// # Errors
/// When the form can't be parsed.
pub fn says(boundary: &str, body: &[u8], name: &str) -> Result<bool, MultipartError> {
    let mut says = false;
    each_part(boundary, body, |part, _| {
        let is_file = part.is_file && part.name.as_deref() == Some(name);
        says |= part.is_named(name) && !is_file;
        Ok(())
    })?;
    Ok(says)
}

/// The fields of a form as the text of a JSON object, so that both are read in one way: every value
/// a string. A name that comes twice is there twice; one that some parsers cut or decode, or whose
/// value is a file or encoded, is there in another spelling.
///
/// # Errors
/// When the form can't be parsed.
pub fn as_json(boundary: &str, body: &[u8]) -> Result<String, MultipartError> {
    let mut json = FieldsJson::new();
    each_part(boundary, body, |part, range| {
        let name = part.name.as_deref().unwrap_or_default();
        let decoded = percent_decode_str(name).decode_utf8_lossy();
        let value = body.get(range).filter(|_| part.is_plain && *name == decoded);
        let value = value.and_then(|value| std::str::from_utf8(value).ok());
        json.add(&decoded, value);
        Ok(())
    })?;
    Ok(json.finish())
}

/// Calls `look` for each part of a form, with where its value stands.
fn each_part(
    boundary: &str,
    body: &[u8],
    mut look: impl FnMut(Part, Range<usize>) -> Result<(), MultipartError>,
) -> Result<(), MultipartError> {
    let delimiter = format!("--{boundary}");
    let finder = Finder::new(delimiter.as_bytes());
    // Position of the delimiter that starts the next part.
    let mut delimiter_at = 0;
    if !body.starts_with(delimiter.as_bytes()) {
        return Err(MultipartError::Malformed);
    }
    for _ in 0..MAX_PARTS {
        let at = delimiter_at + delimiter.len();
        let rest = body.get(at..).unwrap_or_default();
        if let Some(epilogue) = rest.strip_prefix(b"--") {
            let is_blank = epilogue.iter().all(u8::is_ascii_whitespace);
            return if is_blank { Ok(()) } else { Err(MultipartError::Malformed) };
        }
        let part = rest.strip_prefix(b"\r\n").ok_or(MultipartError::Malformed)?;
        let headers_len = headers_len(part)?;
        let value_at = at + 2 + headers_len;
        let value_end = value_end(body, value_at, &finder)?;
        let part = Part::read(part.get(..headers_len).unwrap_or_default())?;
        look(part, value_at..value_end)?;
        delimiter_at = value_end + 2;
    }
    Err(MultipartError::TooManyParts)
}

/// Replaces the value that [`field`] found.
///
/// # Errors
/// When the value could be taken for the end of its part.
pub fn replace(body: &[u8], field: &Field, value: &str) -> Result<Bytes, MultipartError> {
    if value.contains(['\r', '\n']) {
        return Err(MultipartError::Malformed);
    }
    let mut out = Vec::with_capacity(body.len() + value.len());
    out.extend_from_slice(body.get(..field.range.start).unwrap_or_default());
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(body.get(field.range.end..).unwrap_or_default());
    Ok(Bytes::from(out))
}

/// The end of the value that begins at `from`: before the CRLF of the next delimiter. A delimiter
/// anywhere else is one to some parsers and text to others.
fn value_end(body: &[u8], from: usize, delimiter: &Finder<'_>) -> Result<usize, MultipartError> {
    let rest = body.get(from..).unwrap_or_default();
    let next = delimiter.find(rest).ok_or(MultipartError::Malformed)?;
    let before = rest.get(..next).unwrap_or_default();
    let value = before.strip_suffix(b"\r\n").ok_or(MultipartError::Malformed)?;
    Ok(from + value.len())
}

/// The length of a part's headers with the blank line that ends them.
fn headers_len(part: &[u8]) -> Result<usize, MultipartError> {
    if part.starts_with(b"\r\n") {
        return Ok(2);
    }
    let window = part.get(..part.len().min(MAX_PART_HEADERS)).unwrap_or_default();
    let end = memchr::memmem::find(window, b"\r\n\r\n").ok_or(MultipartError::Malformed)?;
    Ok(end + 4)
}

/// What the headers of a part declare.
#[derive(Default)]
struct Part {
    name: Option<String>,
    is_plain: bool,
    is_file: bool,
}

impl Part {
    fn read(headers: &[u8]) -> Result<Self, MultipartError> {
        let text = std::str::from_utf8(headers).map_err(|_| MultipartError::Malformed)?;
        let mut part = Self { name: None, is_plain: true, is_file: false };
        for line in text.split("\r\n").filter(|line| !line.is_empty()) {
            // A folded line continues the one before: few parsers agree on its meaning.
            if line.starts_with([' ', '\t']) || line.contains(['\r', '\n']) {
                return Err(MultipartError::Malformed);
            }
            let (key, value) = line.split_once(':').ok_or(MultipartError::Malformed)?;
            if !key.bytes().all(is_token) || value.contains(char::is_control) {
                return Err(MultipartError::Malformed);
            }
            match key.to_ascii_lowercase().as_str() {
                "content-disposition" if part.name.is_some() => {
                    return Err(MultipartError::Malformed);
                }
                "content-disposition" => part.read_disposition(value)?,
                "content-transfer-encoding" => {
                    let coding = value.trim().to_ascii_lowercase();
                    part.is_plain &= matches!(coding.as_str(), "7bit" | "8bit" | "binary");
                }
                // Parts within parts are fields to some parsers, and one value to others.
                "content-type"
                    if value.trim_start().to_ascii_lowercase().starts_with("multipart/") =>
                {
                    return Err(MultipartError::Malformed);
                }
                "content-type" => part.is_plain &= is_plain_text(value).unwrap_or(false),
                _ => {}
            }
        }
        Ok(part)
    }

    /// `form-data; name="…"`, and an optional file name. The name comes first, because some parsers
    /// search for the first text that looks like one; for the same reason no other parameter is
    /// allowed.
    fn read_disposition(&mut self, value: &str) -> Result<(), MultipartError> {
        let (word, mut parameters) = Parameters::of(value);
        let name = parameters.next()?.filter(|first| first.key == "name" && first.is_plain);
        let name = name.ok_or(MultipartError::Malformed)?.value;
        // `=?…?=` is decoded by some parsers, and ends a parameter for those who just split.
        if !word.eq_ignore_ascii_case("form-data") || name.contains([';', '=', '"']) {
            return Err(MultipartError::Malformed);
        }
        // By this field some parsers decode all others.
        if name.trim().eq_ignore_ascii_case("_charset_") {
            return Err(MultipartError::Malformed);
        }
        self.name = Some(name);
        let (mut plain, mut encoded) = (false, false);
        while let Some(parameter) = parameters.next()? {
            let seen = match parameter.key.as_str() {
                "filename" => &mut plain,
                "filename*" => &mut encoded,
                // A second name, an encoded or continued one, or another parameter.
                _ => return Err(MultipartError::Malformed),
            };
            if std::mem::replace(seen, true) {
                return Err(MultipartError::Malformed);
            }
            self.is_plain = false;
            self.is_file = true;
        }
        Ok(())
    }

    /// Whether a parser may take it for the field `name`: `model[]`, `[model]` and `model.x`, too.
    fn is_named(&self, name: &str) -> bool {
        let own = self.name.as_deref().unwrap_or_default();
        let cut = own.trim_start_matches(|c: char| c == '.' || c.is_whitespace());
        let cut = cut.split('.').next().unwrap_or_default();
        could_be(cut.as_bytes(), name) || could_be(own.as_bytes(), name)
    }

    fn text(
        &self,
        body: &[u8],
        range: &Range<usize>,
        name: &str,
    ) -> Result<String, MultipartError> {
        if !self.is_plain || range.len() > MAX_VALUE || self.name.as_deref() != Some(name) {
            return Err(MultipartError::NotText(name.into()));
        }
        let value = body.get(range.clone()).unwrap_or_default();
        let text = std::str::from_utf8(value).map_err(|_| MultipartError::NotText(name.into()))?;
        Ok(text.to_owned())
    }
}

impl From<Malformed> for MultipartError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Whether every parser takes a part of this type for text: some decode by its charset.
fn is_plain_text(content_type: &str) -> Result<bool, Malformed> {
    let (essence, mut parameters) = Parameters::of(content_type);
    let mut is_plain = essence.eq_ignore_ascii_case("text/plain");
    while let Some(parameter) = parameters.next()? {
        let is_ours =
            ["utf-8", "us-ascii"].iter().any(|name| parameter.value.eq_ignore_ascii_case(name));
        is_plain &= parameter.key == "charset" && is_ours;
    }
    Ok(is_plain)
}

#[cfg(test)]
mod tests;
