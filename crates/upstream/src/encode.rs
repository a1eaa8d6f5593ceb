//! Percent-encoding of what stands in a path.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

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

/// Appends `path` to `to`, encoded.
pub(crate) fn push_path(to: &mut String, path: &str) {
    to.extend(utf8_percent_encode(path, PATH));
}
