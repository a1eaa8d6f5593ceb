//! Reads an `application/x-www-form-urlencoded` request, and replaces its model.
//!
//! As strict as the reading of other forms: what two parsers could read differently is refused,
//! because what is priced has to be what the upstream reads.

use crate::fields::{FieldsJson, MAX_TEXT};
use crate::query;
use bytes::Bytes;
use percent_encoding::percent_decode_str;

/// Most fields of a form: some parsers ignore what is behind the thousandth.
const MAX_FIELDS: usize = 1000;
/// Longest value of the field of a model, in bytes.
const MAX_VALUE: usize = 1024;
/// Longest name of a field, as it is written, in bytes.
const MAX_NAME: usize = 1024;

/// Why a form can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlencodedError {
    /// It is not UTF-8, or names a charset of its own.
    #[error("the form is not UTF-8")]
    Malformed,
    /// It begins as JSON or XML does, which some read whatever its type says.
    #[error("the body is not what application/x-www-form-urlencoded says")]
    NoForm,
    /// More than 1000 fields.
    #[error("the form has too many fields")]
    TooManyFields,
    /// A name of more than 1024 bytes.
    #[error("the name of a field of the form is too long")]
    LongName,
    /// More than one field of that name, or one in another spelling.
    #[error("the form has more than one {0}, or spells it in another way")]
    Ambiguous(Box<str>),
}

impl UrlencodedError {
    /// What is wrong, in Chinese.
    #[must_use]
    pub fn zh(&self) -> String {
        match self {
            Self::Malformed => "表单不是 UTF-8".to_owned(),
            Self::NoForm => "请求体不是 application/x-www-form-urlencoded".to_owned(),
            Self::TooManyFields => "表单字段过多".to_owned(),
            Self::LongName => "表单字段名过长".to_owned(),
            Self::Ambiguous(name) => format!("表单字段 {name} 重复或拼写不同"),
        }
    }
}

/// The value of the field `name`, decoded.
///
/// # Errors
/// When the form can't be parsed, or two readers may take different fields for it.
pub fn field(body: &[u8], name: &str) -> Result<Option<String>, UrlencodedError> {
    let ambiguous = || UrlencodedError::Ambiguous(name.into());
    let text = text_of(body)?;
    if text.split(['&', ';']).any(|pair| is_part(pair, name)) {
        return Err(ambiguous());
    }
    let value = query::parameter(text, name).map_err(|_| ambiguous())?;
    match value {
        Some(value) if value.len() > MAX_VALUE => Err(ambiguous()),
        value => Ok(value),
    }
}

/// Whether the form has a field that a reader may take for `name`, or for a part of it.
///
/// # Errors
/// When the form can't be parsed.
pub fn says(body: &[u8], name: &str) -> Result<bool, UrlencodedError> {
    let is_it = |pair: &str| query::could_be(pair.as_bytes(), name) || is_part(pair, name);
    Ok(text_of(body)?.split(['&', ';']).any(is_it))
}

/// To some `model.x` is a part of `model`.
fn is_part(pair: &str, name: &str) -> bool {
    let key: Vec<u8> = percent_decode_str(pair.split('=').next().unwrap_or_default()).collect();
    let cut = key.split(|byte| *byte == b'.').find(|part| !part.is_empty());
    key.contains(&b'.') && cut.is_some_and(|cut| query::could_be(cut, name))
}

/// The form with this value of the field `name`; all else is untouched.
///
/// # Errors
/// When the form can't be parsed.
pub fn with(body: &[u8], name: &str, value: &str) -> Result<Bytes, UrlencodedError> {
    Ok(query::with(text_of(body)?, name, value).into())
}

/// The fields as the text of a JSON object: every value a string. A name that comes twice is there
/// twice, and one whose value some parsers decode or end otherwise in another spelling.
///
/// # Errors
/// When the form can't be parsed.
pub fn as_json(body: &[u8]) -> Result<String, UrlencodedError> {
    let mut json = FieldsJson::new();
    let text = text_of(body)?;
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let mut parts = pair.split(';');
        add(&mut json, parts.next().unwrap_or_default(), pair.contains(';'));
        // To some a semicolon begins another field.
        parts.for_each(|part| add(&mut json, part, true));
    }
    Ok(json.finish())
}

fn add(json: &mut FieldsJson, pair: &str, is_unclear: bool) {
    let (written, value) = pair.split_once('=').unwrap_or((pair, ""));
    let Some(name) = decoded(written) else {
        // To some it ends before what others can't decode.
        return json.add_unclear(&percent_decode_str(written).decode_utf8_lossy());
    };
    // An escape is three bytes long.
    let is_read = !is_unclear && value.len() <= 3 * MAX_TEXT;
    let value = is_read.then(|| decoded(value)).flatten();
    json.add(&name, value.as_deref());
    // Behind a decoder of its own an upstream decodes again.
    let again = decoded(&name).filter(|again| *again != name);
    if let Some(again) = again {
        json.add_unclear(&again);
    }
}

/// Decoded, if all parsers agree on what it is: some end a text at a byte that is no letter.
fn decoded(text: &str) -> Option<String> {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    let escapes = memchr::memchr_iter(b'%', bytes);
    let is_clear = |at: usize| is_digit(bytes.get(at + 1)) && is_digit(bytes.get(at + 2));
    if !escapes.into_iter().all(is_clear) {
        return None;
    }
    let spaced = text.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8().ok()?;
    let is_odd = |c: char| c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r');
    (!text.contains(is_odd)).then(|| text.into_owned())
}

fn text_of(body: &[u8]) -> Result<&str, UrlencodedError> {
    let text = std::str::from_utf8(body).map_err(|_| UrlencodedError::Malformed)?;
    let is_other = |first: char| matches!(first, '{' | '[' | '<' | '"' | '\u{feff}');
    if text.trim_start().starts_with(is_other) {
        return Err(UrlencodedError::NoForm);
    }
    // By this field some parsers decode all others.
    if query::says(body, "_charset_") {
        return Err(UrlencodedError::Malformed);
    }
    if memchr::memchr2_iter(b'&', b';', body).nth(MAX_FIELDS - 1).is_some() {
        return Err(UrlencodedError::TooManyFields);
    }
    let name_len = |pair: &str| pair.find('=').unwrap_or(pair.len());
    match text.split(['&', ';']).all(|pair| name_len(pair) <= MAX_NAME) {
        true => Ok(text),
        false => Err(UrlencodedError::LongName),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_in_one_way() {
        let of = |body: &str| field(body.as_bytes(), "model");
        assert_eq!(of("a=1&model=big%2Fm+x&b="), Ok(Some("big/m x".to_owned())));
        assert_eq!(of("a=model&b"), Ok(None));
        let twice = Err(UrlencodedError::Ambiguous("model".into()));
        for body in [
            "model=a&model=b",
            "Model=a",
            "model[]=a",
            "a=1;model=b",
            "%6dodel=a",
            "model",
            "model=%ff",
            "model=a&%256dodel=b",
            "model=a&model.x=b",
            "model=a&.model%2Ex=b",
        ] {
            assert_eq!(of(body), twice, "{body}");
        }
        assert_eq!(field(b"model=\xff", "model"), Err(UrlencodedError::Malformed));
        for body in [r#"{"a":"&model=a"}"#, " [1]&model=a", "<a>&model=a", "\u{feff}{&model=a"] {
            assert_eq!(of(body), Err(UrlencodedError::NoForm), "{body}");
        }
        assert_eq!(of("_charset_=utf-7&model=a"), Err(UrlencodedError::Malformed));
        assert_eq!(of(&format!("model=a&{}=b", "n".repeat(1025))), Err(UrlencodedError::LongName));
        let many = "a&".repeat(1000);
        assert_eq!(of(&many), Err(UrlencodedError::TooManyFields));
    }

    #[test]
    fn a_value_is_replaced_and_nothing_else() {
        let form = b"a=%zz+&model=x&b=%E6%97%A5";
        let with = with(form, "model", "big m/1").unwrap();
        assert_eq!(with, "a=%zz+&model=big%20m%2F1&b=%E6%97%A5");
    }

    #[test]
    fn fields_are_a_json_object() {
        let json = |body: &str| as_json(body.as_bytes()).unwrap();
        assert_eq!(json(""), "{}");
        assert_eq!(json("a=1&b=x+y%21&&c"), r#"{"a":"1","b":"x y!","c":""}"#);
        assert_eq!(json("n=1&n=2"), r#"{"n":"1","n":"2"}"#);
        assert_eq!(json("n[]=1&%5Bm%5D=2"), r#"{"n":"1","[[m]":""}"#);
        // What ends or is decoded otherwise by some is spelt so that it is not believed.
        assert_eq!(json("n=1;m=2"), r#"{"[n":"","[m":""}"#);
        assert_eq!(json("n=%zz&m=%00&o=a%01"), r#"{"[n":"","[m":"","[o":""}"#);
        assert_eq!(json("n%00=9&m[%zz]=1"), r#"{"[n\u0000":"","[m[%zz]":""}"#);
        assert_eq!(json("%256e=1"), r#"{"%6e":"1","[n":""}"#);
        assert_eq!(json("a[0][b]=1&c.d=2"), r#"{"[a[0][b]":"","[c[d":""}"#);
        // Nor is what is longer than any text.
        let long = "x".repeat(1 << 20);
        assert_eq!(json(&format!("a={long}&b=1")), r#"{"[a":"","b":"1"}"#);
    }

    #[test]
    fn what_a_form_says() {
        for form in ["file_ids=a", "a&file_ids[]=b", "file_ids%5B0%5D=c", "file_ids.0=d"] {
            assert_eq!(says(form.as_bytes(), "file_ids"), Ok(true), "{form}");
        }
        assert_eq!(says(b"file=file_ids", "file_ids"), Ok(false));
    }
}
