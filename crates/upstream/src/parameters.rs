//! The parameters of a header's value: `word; key=token; key="quoted"`. Stricter than RFC 9110:
//! what a lenient parser could take for something else is refused.

/// The syntax is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The unread rest.
pub(crate) struct Parameters<'a>(&'a str);

/// One parameter.
pub(crate) struct Parameter {
    /// In lower case.
    pub key: String,
    /// Unquoted.
    pub value: String,
    /// It contains no backslash: parsers differ in what one means.
    pub is_plain: bool,
}

/// Whether a byte may be in a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(b: u8) -> bool {
    b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b)
}

impl<'a> Parameters<'a> {
    /// The leading word, and what follows it.
    pub(crate) fn of(value: &'a str) -> (&'a str, Self) {
        let (word, rest) = value.split_at(value.find(';').unwrap_or(value.len()));
        (trim(word), Self(rest))
    }

    /// The next parameter.
    pub(crate) fn next(&mut self) -> Result<Option<Parameter>, Malformed> {
        let rest = self.0.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() {
            return Ok(None);
        }
        let (key, rest) = rest.split_once('=').ok_or(Malformed)?;
        if key.is_empty() || !key.bytes().all(is_token) {
            return Err(Malformed);
        }
        let (value, is_plain, rest) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (value, rest) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
                let value = trim(value);
                // File names may use any script; what is not ASCII separates nothing.
                if value.is_empty() || !value.bytes().all(|b| is_token(b) || !b.is_ascii()) {
                    return Err(Malformed);
                }
                (value.to_owned(), true, rest)
            }
        };
        let rest = rest.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(';') {
            return Err(Malformed);
        }
        self.0 = rest;
        Ok(Some(Parameter { key: key.to_ascii_lowercase(), value, is_plain }))
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The text before the closing quote, whether it has no backslash, and what comes after it.
/// Browsers write a quote as `%22`, RFC 822 as `\"`; a backslash before anything else is itself, as
/// in Windows paths.
fn unquote(text: &str) -> Result<(String, bool, &str), Malformed> {
    let (mut value, mut is_plain) = (String::new(), true);
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value.replace("%22", "\""), is_plain, &text[at + 1..])),
            '\\' => {
                is_plain = false;
                match chars.peek() {
                    Some(&(_, next @ ('"' | '\\'))) => {
                        value.push(next);
                        chars.next();
                    }
                    _ => value.push('\\'),
                }
            }
            _ => value.push(c),
        }
    }
    Err(Malformed)
}
