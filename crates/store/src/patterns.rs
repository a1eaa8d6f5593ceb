//! Names of models with `*` in them, in a channel's models and in prices. A `*` stands for any text
//! within one segment of a name, so that `org/*` is what is in `org`, and `*` no submission.

use domain::ModelName;
use std::cmp::Reverse;

/// Whether a name is a pattern.
#[must_use]
pub fn is_pattern(name: &str) -> bool {
    name.contains('*')
}

/// Whether any name fits: a pattern that none fits is a mistake.
#[must_use]
pub fn can_match(pattern: &str) -> bool {
    // A `*` for one character at least: a segment is never empty.
    ModelName::parse(&pattern.replace('*', "x")).is_ok()
}

/// Whether a name fits a pattern.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    all_segments(pattern, name, segment_matches)
}

/// Whether both have as many segments, and each pair of them fits.
fn all_segments(one: &str, other: &str, fit: fn(&str, &str) -> bool) -> bool {
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if fit(one, other) => {}
            _ => return false,
        }
    }
}

/// Whether a list of names and patterns has a name.
pub fn lists<'a>(list: impl IntoIterator<Item = &'a String>, name: &str) -> bool {
    list.into_iter().any(|item| item == name || is_pattern(item) && matches(item, name))
}

/// Whether some name fits both patterns.
#[must_use]
pub fn overlap(one: &str, other: &str) -> bool {
    all_segments(one, other, segments_overlap)
}

/// From the ends to the starts: whether what is left of both can be the same text.
fn segments_overlap(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut after = vec![false; other.len() + 1];
    for at in (0..=one.len()).rev() {
        let mut here = vec![false; other.len() + 1];
        for of_other in (0..=other.len()).rev() {
            let (left, right) = (one.get(at), other.get(of_other));
            let right_on = right.is_some() && here[of_other + 1];
            let left_on = left.is_some() && after[of_other];
            here[of_other] = match (left, right) {
                (None, None) => true,
                // A star ends, or takes what the other one has.
                (Some(b'*'), _) | (_, Some(b'*')) => left_on || right_on,
                (Some(left), Some(right)) => left == right && after[of_other + 1],
                _ => false,
            };
        }
        after = here;
    }
    after[0]
}

/// Each text between two `*` is found where it comes first, which leaves most room for the rest.
fn segment_matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').map_or(("", rest), |(middle, last)| (middle, last));
    let Some(left) = name.strip_suffix(last) else { return false };
    name = left;
    middle.split('*').filter(|text| !text.is_empty()).all(|text| match name.find(text) {
        Some(at) => {
            name = &name[at + text.len()..];
            true
        }
        None => false,
    })
}

/// Patterns, each with what it stands for, in the order in which they count: the longest first.
#[derive(Clone, Debug)]
pub struct Patterns<T>(Vec<(String, T)>);

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Patterns<T> {
    /// Sorts. Of two that are as long the first by name counts, on every node.
    #[must_use]
    pub fn new(mut patterns: Vec<(String, T)>) -> Self {
        patterns.sort_by(|(one, _), (other, _)| {
            (Reverse(one.len()), one).cmp(&(Reverse(other.len()), other))
        });
        Self(patterns)
    }

    /// What the longest pattern stands for that a name fits.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(pattern, _)| matches(pattern, name)).map(|(_, it)| it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_of_a_segment() {
        for (pattern, name, fits) in [
            ("gpt-*", "gpt-4o", true),
            ("gpt-*", "gpt-", true),
            ("gpt-*", "gpt", false),
            ("gpt-*", "my-gpt-4", false),
            ("*", "gpt-4", true),
            ("*", "org/m", false),
            ("org/*", "org/m", true),
            ("org/*", "org/a/b", false),
            ("*/submit", "img/submit", true),
            ("img-*", "img-1/submit", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("*-mini", "gpt-4o-mini", true),
            ("**", "x", true),
            ("字*", "字体", true),
            ("GPT-*", "gpt-4", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_overlap_where_a_name_fits_both() {
        for (one, other, do_overlap) in [
            ("gpt-*", "gpt-4*", true),
            ("gpt-4*", "gpt-5*", false),
            ("*-mini", "gpt-*", true),
            ("*-mini", "gpt-4", false),
            ("gpt-4-mini", "*-mini", true),
            ("a*b", "a*c", false),
            ("a*b*", "a*c", true),
            ("*", "*", true),
            ("*", "org/*", false),
            ("org/*", "*/m", true),
            ("org/a*", "org/b*", false),
            ("**x", "*y*", true),
            ("m", "m", true),
        ] {
            assert_eq!(overlap(one, other), do_overlap, "{one} {other}");
            assert_eq!(overlap(other, one), do_overlap, "{other} {one}");
        }
    }

    #[test]
    fn what_can_match_nothing_is_a_mistake() {
        assert!(can_match("gpt-*") && can_match("*") && can_match("org/*"));
        for pattern in ["a//*", "/*", "*/", "../*", "a?*", &format!("*{}", "x".repeat(200))] {
            assert!(!can_match(pattern), "{pattern}");
        }
    }

    #[test]
    fn the_longest_counts() {
        let patterns = ["*", "gpt-*", "gpt-4*", "g*"].map(|it| (it.to_owned(), it));
        let patterns = Patterns::new(patterns.into());
        let of = |name: &str| patterns.find(name).copied();
        assert_eq!(
            (of("gpt-4o"), of("gpt-3"), of("claude")),
            (Some("gpt-4*"), Some("gpt-*"), Some("*"))
        );
        assert_eq!(of("org/m"), None);
    }
}
