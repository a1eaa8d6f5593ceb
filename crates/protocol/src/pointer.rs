//! Pointers: where in a JSON document a value stands.
//!
//! RFC 6901, with two words of ours: `*` is each element of an array, and `#`, at the end, is the
//! number of elements of an array, or of characters of a string. Both may be narrowed by a member
//! of the elements, or one of such a member: `/details/*[modality=AUDIO]/tokens`,
//! `/output/#[type=search|browse]`, `/output/#[action/type=search]`. An empty word beside others is
//! a member that is absent: `/input/*[type=item_reference|]/id`. Several conditions are joined by
//! `&`, and `!=` is none of the words: `/output/#[type=image&status!=failed]`.

use std::fmt;

/// Longest pointer, in bytes.
const MAX_BYTES: usize = 256;
/// Most segments of a pointer.
pub(crate) const MAX_SEGMENTS: usize = 15;
/// Most conditions of a filter.
const MAX_CONDITIONS: usize = 3;
/// Longest member name that can be found, in bytes.
pub(crate) const MAX_NAME: usize = 64;

/// Which elements of an array are meant: those for which all of it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementFilter {
    /// What is asked of an element.
    pub conditions: Vec<ElementCondition>,
}

/// What is asked of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementCondition {
    /// The member of an element that is looked at, behind those that lead to it.
    pub member: Vec<Box<str>>,
    /// What it may be. An empty one: there is none, or it is null.
    pub words: Vec<Box<str>>,
    /// It is none of them, or there is none.
    pub is_not: bool,
}

/// One step of a [`Pointer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A member of an object, or, in digits, an element of an array.
    Name(Box<str>),
    /// Each element of an array.
    Each(Option<ElementFilter>),
    /// The number of elements of an array, or of characters of a string.
    Count(Option<ElementFilter>),
}

/// Where a value stands. See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    segments: Vec<Segment>,
}

/// Why a text is not a [`Pointer`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// More than 256 bytes, or more than 15 segments.
    #[error("is longer than {MAX_BYTES} bytes or {MAX_SEGMENTS} segments")]
    TooLong,
    /// It has to begin with `/`, or to be empty.
    #[error("does not begin with /: a pointer is written /a/b, its elements /a/*")]
    NoSlash,
    /// A member's name is too long.
    #[error("names a member of more than {MAX_NAME} bytes")]
    LongName,
    /// `~` is followed by neither 0 nor 1.
    #[error("has a ~ that is neither ~0 (a tilde) nor ~1 (a slash)")]
    Tilde,
    /// `#` is the end.
    #[error("continues after #")]
    AfterCount,
    /// More than one filter.
    #[error("has more than one [filter]")]
    TwoFilters,
    /// A filter that can't be read.
    #[error("has a filter that is not [member=value], [member=value|value] or [a=b&c!=d]")]
    BadFilter,
}

impl Pointer {
    /// The names of the members that lead to it, as far as all its steps are names.
    #[must_use]
    pub fn names(&self) -> Option<Vec<Box<str>>> {
        let names = self.leading_names();
        (names.len() == self.segments.len()).then_some(names)
    }

    /// The names of the members that lead to the first step that is none, or to its end.
    #[must_use]
    pub fn leading_names(&self) -> Vec<Box<str>> {
        let name = |segment: &Segment| match segment {
            Segment::Name(name) => Some(name.clone()),
            Segment::Each(_) | Segment::Count(_) => None,
        };
        self.segments.iter().map_while(name).collect()
    }

    /// Reads a pointer.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if text.len() > MAX_BYTES {
            return Err(PointerError::TooLong);
        }
        if text.is_empty() {
            return Ok(Self { segments: Vec::new() });
        }
        let rest = text.strip_prefix('/').ok_or(PointerError::NoSlash)?;
        // A slash within a filter begins no step.
        let mut within = false;
        let steps = rest.split(|at: char| {
            within = at == '[' || within && at != ']';
            at == '/' && !within
        });
        let segments = steps.map(segment).collect::<Result<Vec<_>, _>>()?;
        if segments.len() > MAX_SEGMENTS {
            return Err(PointerError::TooLong);
        }
        let is_count = |segment: &&Segment| matches!(segment, Segment::Count(_));
        if segments.iter().rev().skip(1).any(|segment| is_count(&segment)) {
            return Err(PointerError::AfterCount);
        }
        let filters = segments.iter().filter(|segment| segment.filter().is_some()).count();
        if filters > 1 {
            return Err(PointerError::TwoFilters);
        }
        Ok(Self { segments })
    }

    /// Its steps, from the document's root.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether it may meet several values in one document.
    #[must_use]
    pub fn is_plural(&self) -> bool {
        self.segments.iter().any(|segment| !matches!(segment, Segment::Name(_)))
    }
}

impl Segment {
    /// The filter, where there is one.
    #[must_use]
    pub const fn filter(&self) -> Option<&ElementFilter> {
        match self {
            Self::Each(filter) | Self::Count(filter) => filter.as_ref(),
            Self::Name(_) => None,
        }
    }
}

fn segment(text: &str) -> Result<Segment, PointerError> {
    match text.as_bytes() {
        [b'*', rest @ ..] if rest.is_empty() || rest.starts_with(b"[") => {
            filter(&text[1..]).map(Segment::Each)
        }
        [b'#', rest @ ..] if rest.is_empty() || rest.starts_with(b"[") => {
            filter(&text[1..]).map(Segment::Count)
        }
        _ => name(text).map(Segment::Name),
    }
}

fn filter(text: &str) -> Result<Option<ElementFilter>, PointerError> {
    if text.is_empty() {
        return Ok(None);
    }
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let conditions = inner.ok_or(PointerError::BadFilter)?.split('&').map(condition);
    let conditions: Vec<_> = conditions.collect::<Result<_, _>>()?;
    if conditions.len() > MAX_CONDITIONS {
        return Err(PointerError::BadFilter);
    }
    Ok(Some(ElementFilter { conditions }))
}

fn condition(text: &str) -> Result<ElementCondition, PointerError> {
    let (member, words) = text.split_once('=').ok_or(PointerError::BadFilter)?;
    let (member, is_not) = match member.strip_suffix('!') {
        Some(member) => (member, true),
        None => (member, false),
    };
    let words: Vec<Box<str>> = words.split('|').map(Box::from).collect();
    let blank = words.iter().filter(|word| word.is_empty()).count();
    let is_bad = blank == words.len() || is_not && blank > 0;
    if member.is_empty() || is_bad {
        return Err(PointerError::BadFilter);
    }
    let member = member.split('/').map(name).collect::<Result<_, _>>()?;
    Ok(ElementCondition { member, words, is_not })
}

fn name(text: &str) -> Result<Box<str>, PointerError> {
    if text.len() > MAX_NAME {
        return Err(PointerError::LongName);
    }
    let mut name = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match next {
            '~' => match chars.next() {
                Some('0') => name.push('~'),
                Some('1') => name.push('/'),
                _ => return Err(PointerError::Tilde),
            },
            other => name.push(other),
        }
    }
    Ok(name.into())
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Name(name) => {
                    write!(f, "/{}", name.replace('~', "~0").replace('/', "~1"))?;
                }
                Segment::Each(_) => f.write_str("/*")?,
                Segment::Count(_) => f.write_str("/#")?,
            }
            if let Some(filter) = segment.filter() {
                for (number, condition) in filter.conditions.iter().enumerate() {
                    f.write_str(if number == 0 { "[" } else { "&" })?;
                    let ElementCondition { member, words, is_not } = condition;
                    let is = if *is_not { "!=" } else { "=" };
                    write!(f, "{}{is}{}", member.join("/"), words.join("|"))?;
                }
                f.write_str("]")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_read_and_written() {
        for text in [
            "",
            "/",
            "/usage/input_tokens",
            "/a~1b/c~0d/0",
            "/data/#",
            "/details/*[modality=AUDIO]/tokens",
            "/output/#[type=search|browse]",
            "/output/#[action/type=search]",
            "/input/*[type=item_reference|]/id",
            "/output/#[type=image&status!=failed|broken]",
        ] {
            assert_eq!(Pointer::parse(text).map(|it| it.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn a_bad_pointer_says_why() {
        for (text, why) in [
            ("usage", PointerError::NoSlash),
            ("/a/#/b", PointerError::AfterCount),
            ("/a~2", PointerError::Tilde),
            ("/a/*[b]", PointerError::BadFilter),
            ("/a/*[b=]", PointerError::BadFilter),
            ("/a/*[b!=]", PointerError::BadFilter),
            ("/a/*[b=c&]", PointerError::BadFilter),
            ("/a/*[b=c&d=e&f=g&h=i]", PointerError::BadFilter),
            ("/a/*[b=c", PointerError::BadFilter),
            ("/a/*[b=c]/*[d=e]", PointerError::TwoFilters),
            (&"/a".repeat(16), PointerError::TooLong),
            (&"/a".repeat(200), PointerError::TooLong),
            (&format!("/{}", "a".repeat(65)), PointerError::LongName),
        ] {
            assert_eq!(Pointer::parse(text), Err(why), "{text}");
        }
    }
}
