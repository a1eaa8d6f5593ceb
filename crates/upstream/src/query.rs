//! The query string: a client may not say `precharge`, because only we may.

use percent_encoding::percent_decode;
use std::borrow::Cow;

/// The word itself.
const WORD: &str = "precharge";
/// How often a name is decoded. Once is what upstreams do; a second and third reading close the
/// door on those that sit behind a decoder of their own.
const ROUNDS: usize = 3;

/// Whether a query string, as it was received, says `precharge` in any spelling that some
/// upstream may read as such: encoded, in capitals, with blanks around it, as an array, after `;`.
#[must_use]
pub fn says_precharge(raw_query: &str) -> bool {
    if !raw_query.contains(['%', '+']) && !contains_word(raw_query) {
        return false;
    }
    raw_query.split(['&', ';', '?']).any(|pair| is_word(pair.as_bytes()))
}

/// The query string with `precharge=true` added at its end, all else untouched.
#[must_use]
pub fn with_precharge(raw_query: Option<&str>) -> String {
    match raw_query {
        None | Some("") => "precharge=true".to_owned(),
        Some(query) => format!("{query}&precharge=true"),
    }
}

fn contains_word(text: &str) -> bool {
    text.as_bytes().windows(WORD.len()).any(|part| part.eq_ignore_ascii_case(WORD.as_bytes()))
}

fn is_word(pair: &[u8]) -> bool {
    let mut name = Cow::Borrowed(pair);
    for _ in 0..ROUNDS {
        if names_it(&name) {
            return true;
        }
        let spaced: Vec<u8> = name.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
        let decoded: Vec<u8> = percent_decode(&spaced).collect();
        if decoded == *name {
            return false;
        }
        name = Cow::Owned(decoded);
    }
    names_it(&name)
}

fn names_it(pair: &[u8]) -> bool {
    let name = pair.split(|&b| matches!(b, b'=' | b'[')).next().unwrap_or_default();
    let name = String::from_utf8_lossy(name);
    name.trim_matches(|c: char| c.is_whitespace() || c.is_control()).eq_ignore_ascii_case(WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_every_spelling() {
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
            "a=1;precharge=1",
            "a&amp;precharge=1",
            "??precharge=1",
            "&&precharge",
        ] {
            assert!(says_precharge(query), "{query}");
        }
    }

    #[test]
    fn leaves_others_alone() {
        for query in ["", "a=precharge", "precharged=1", "x-precharge=1", "a=%ff&b=+", "%", "%%%"] {
            assert!(!says_precharge(query), "{query}");
        }
    }

    #[test]
    fn adds_its_own() {
        assert_eq!(with_precharge(None), "precharge=true");
        assert_eq!(with_precharge(Some("")), "precharge=true");
        assert_eq!(with_precharge(Some("a=%20")), "a=%20&precharge=true");
        assert!(says_precharge(&with_precharge(Some("a"))));
    }
}
