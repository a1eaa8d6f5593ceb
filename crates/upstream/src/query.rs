//! Parameters that a client may not send: `precharge`, which is reserved, and `model` in the query
//! of a call whose body names it.

use domain::spelling::resembles;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use std::borrow::Cow;

/// How often a name is decoded. Upstreams decode once; a second and third time covers those behind
/// a decoder of their own.
const ROUNDS: usize = 3;

/// What is encoded in the value of a parameter.
const VALUE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// Whether pairs of names and values, encoded as in a query string or a form, contain `name` in any
/// spelling that a parser may take for it: encoded, in capitals, with blanks around it, as an
/// array, with letters that are folded, after `;`.
#[must_use]
pub fn says(pairs: &[u8], name: &str) -> bool {
    // What stands for `_` may be another sign: `api.key`.
    let is_plain = pairs.is_ascii() && memchr::memchr2(b'%', b'+', pairs).is_none();
    let is_plain = is_plain && !name.contains('_');
    if is_plain && !contains(pairs, name) {
        return false;
    }
    pairs.split(|b| matches!(b, b'&' | b';' | b'?')).any(|pair| could_be(pair, name))
}

/// How a key begins.
const KEY_PREFIX: &str = "sk-";
/// Names under which clients send keys.
const KEY_NAMES: &[&str] = &[
    "access-token",
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "authorization",
    "key",
    "token",
    "x-api-key",
    "x-goog-api-key",
];
/// Under other names a shorter text that begins like a key may be something else.
const MIN_KEY_BYTES: usize = 20;

/// Whether a query has one of our keys in it, in any encoding that a parser may undo.
#[must_use]
pub fn presents_key(pairs: &[u8]) -> bool {
    pairs.split(|b| matches!(b, b'&' | b';' | b'?')).any(|pair| {
        readings(pair).any(|read| {
            let at = read.iter().position(|&b| b == b'=').map_or(0, |at| at + 1);
            let value = String::from_utf8_lossy(&read[at..]);
            let value = value.trim_matches(|c: char| c.is_whitespace() || c.is_control());
            let value = value.rsplit([' ', ',', ':', '"']).find(|word| !word.is_empty());
            let Some(key) = value.filter(|word| word.starts_with(KEY_PREFIX)) else { return false };
            key.len() >= MIN_KEY_BYTES || KEY_NAMES.iter().any(|name| resembles(&read, name))
        })
    })
}

/// A parameter that two readers may read differently: it is there twice, or in another spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmbiguousParameter;

/// The value of the only parameter that a reader may take for `name`, decoded.
///
/// # Errors
/// When there are several of them, or it is spelt otherwise.
pub fn parameter(query: &str, name: &str) -> Result<Option<String>, AmbiguousParameter> {
    let may_be = |pair: &&str| could_be(pair.as_bytes(), name);
    let mut found = query.split(['&', ';', '?']).filter(may_be);
    let Some(pair) = found.next() else { return Ok(None) };
    let plain = query.split('&').any(|whole| whole == pair).then(|| pair.split_once('='));
    match (plain.flatten(), found.next()) {
        (Some((key, value)), None) if key == name => {
            let spaced = value.replace('+', " ");
            let value = percent_decode(spaced.as_bytes()).decode_utf8();
            value.map(|value| Some(value.into_owned())).map_err(|_| AmbiguousParameter)
        }
        _ => Err(AmbiguousParameter),
    }
}

/// The query without the parameter `name`, all else untouched.
#[must_use]
pub fn without(query: &str, name: &str) -> String {
    let stays = |pair: &&str| !could_be(pair.as_bytes(), name);
    query.split('&').filter(stays).collect::<Vec<_>>().join("&")
}

/// The query with this value of the parameter `name`, which is added where there is none; all else
/// is untouched, and so is a parameter that has the value already.
#[must_use]
pub fn with(query: &str, name: &str, value: &str) -> String {
    let known = parameter(query, name);
    if known.as_ref().is_ok_and(|known| known.as_deref() == Some(value)) {
        return query.to_owned();
    }
    let pair = format!("{name}={}", utf8_percent_encode(value, VALUE));
    if query.is_empty() || known == Ok(None) {
        return if query.is_empty() { pair } else { format!("{query}&{pair}") };
    }
    let pairs = query.split('&').map(|own| match could_be(own.as_bytes(), name) {
        true => pair.as_str(),
        false => own,
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Whether `text` contains `word`, in capitals or not.
#[must_use]
pub fn contains(text: &[u8], word: &str) -> bool {
    let Some(&first) = word.as_bytes().first() else { return true };
    memchr::memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), text).any(|at| {
        let end = at + word.len();
        text.get(at..end).is_some_and(|part| part.eq_ignore_ascii_case(word.as_bytes()))
    })
}

/// The query string with `precharge=true` added at its end, all else untouched.
#[must_use]
pub fn with_precharge(raw_query: Option<&str>) -> String {
    match raw_query {
        None | Some("") => "precharge=true".to_owned(),
        Some(query) => format!("{query}&precharge=true"),
    }
}

/// Whether a parser may take `pair` for one with the name `name`.
pub(crate) fn could_be(pair: &[u8], name: &str) -> bool {
    let own = memchr::memchr(b'=', pair).map_or(pair, |end| &pair[..end]);
    readings(own).any(|read| resembles(&read, name))
}

/// A name as it stands, and decoded once and more often.
fn readings(name: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let decoded = |read: &Cow<'_, [u8]>| {
        let spaced: Vec<u8> = read.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
        let decoded: Vec<u8> = percent_decode(&spaced).collect();
        (decoded != **read).then_some(Cow::Owned(decoded))
    };
    std::iter::successors(Some(Cow::Borrowed(name)), decoded).take(ROUNDS + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_has_one_reading() {
        assert_eq!(parameter("a=1&model=x%2Fy+z", "model"), Ok(Some("x/y z".to_owned())));
        assert_eq!(parameter("a=model", "model"), Ok(None));
        for twice in ["model=a&model=b", "Model=a", "model=a;model=b", "a;model=b", "model[]=a"] {
            assert_eq!(parameter(twice, "model"), Err(AmbiguousParameter), "{twice}");
        }
        for odd in ["[model]=b", "model=a&[model]=b", "%5Bmodel%5D=b", "model=a&.model=b"] {
            assert_eq!(parameter(odd, "model"), Err(AmbiguousParameter), "{odd}");
        }
        for folded in ["size=a&ſize=b", "size=a&%C5%BFize=b", "ſize=b"] {
            assert_eq!(parameter(folded, "size"), Err(AmbiguousParameter), "{folded}");
        }
        assert!(says("ſize=b".as_bytes(), "size"));
        assert_eq!(without("a=1&model=x&b=2", "model"), "a=1&b=2");
        assert_eq!(without("model=x", "model"), "");
        assert_eq!(with("a=1&model=x%2Dy&b", "model", "x-y"), "a=1&model=x%2Dy&b");
        assert_eq!(with("a=1&model=x&b=+", "model", "y/z 1"), "a=1&model=y%2Fz%201&b=+");
        assert_eq!(with("a=1", "model", "x"), "a=1&model=x");
        assert_eq!(with("", "model", "x"), "model=x");
    }

    #[test]
    fn finds_every_spelling() {
        for query in [
            "precharge=true",
            "precharge",
            "a=1&precharge=false",
            "PreCharge=1",
            "%70recharge=1",
            "%70%72%65%63%68%61%72%67%65",
            "%2570recharge=1",
            "precharge%3Dtrue",
            "+precharge=1",
            "precharge%20=1",
            "precharge%00=1",
            "%09precharge",
            "precharge[]=1",
            "precharge%5B%5D=1",
            "precharge[x]=1",
            "[precharge]=1",
            "%5Bprecharge%5D=1",
            "a=1;precharge=1",
            "a&amp;precharge=1",
            "??precharge=1",
            "&&precharge",
        ] {
            assert!(says(query.as_bytes(), "precharge"), "{query}");
        }
    }

    #[test]
    fn leaves_others_alone() {
        for query in ["", "a=precharge", "precharged=1", "x-precharge=1", "a=%ff&b=+", "%", "%%%"] {
            assert!(!says(query.as_bytes(), "precharge"), "{query}");
        }
    }

    #[test]
    fn finds_other_names_as_well() {
        assert!(says(b"a=1&MODEL%00x=1", "model") && says(b"m%6fdel", "model"));
        assert!(!says(b"a=model&models=1&m%6fdels", "model"));
    }

    #[test]
    fn finds_keys() {
        for query in [
            "key=sk-a",
            "alt=sse&key=sk-0123456789abcdefghij",
            "a=1&API_KEY=sk-a",
            "access_token=Bearer%20sk-a",
            "%6bey=%73k-a",
            "key=%2573k-a",
            "anything=sk-0123456789abcdefghij",
            "sk-0123456789abcdefghij",
            "key[]=sk-a",
            "a=1;key=+sk-a",
        ] {
            assert!(presents_key(query.as_bytes()), "{query}");
        }
        for query in ["", "key=1", "q=sk-1", "key=task-1", "a=ask-0123456789abcdefghijklm", "%"] {
            assert!(!presents_key(query.as_bytes()), "{query}");
        }
    }

    #[test]
    fn adds_its_own() {
        assert_eq!(with_precharge(None), "precharge=true");
        assert_eq!(with_precharge(Some("")), "precharge=true");
        assert_eq!(with_precharge(Some("a=%20")), "a=%20&precharge=true");
        assert!(says(with_precharge(Some("a")).as_bytes(), "precharge"));
    }
}
