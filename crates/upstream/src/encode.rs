//! Percent-encoding of what stands in a path.

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a path can't say plainly. Everything else of ASCII (letters, digits and
/// `/ : @ ! $ & ' ( ) * + , ; = - . _ ~`) stands for itself, so that an upstream sees the
/// spelling that its own documentation uses.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What one segment of a path can't say plainly: everything but what no proxy ever changes.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text as one segment of a path.
#[must_use]
pub fn encode_segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A path that decodes to this text, its slashes kept.
#[must_use]
pub fn encode_path(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

/// Appends `path` to `to`, encoded.
pub(crate) fn push_path(to: &mut String, path: &str) {
    to.extend(utf8_percent_encode(path, PATH));
}
