//! What a request may not say: parameters and members by which a call would cost its channel what
//! is not counted.

use crate::count;
use crate::program::TestRule;
use crate::request::{RequestRules, all_parameters};
use crate::route::ProtocolRoute;
use crate::walk::JsonWalker;
use domain::Meter;
use domain::spelling::{begins_like, resembles};

/// What a request may not say, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub(crate) place: RefusalPlace,
    pub(crate) asks: TestRule,
    /// Only where this unit has a price.
    pub(crate) priced: Option<Meter>,
    /// Why, in Chinese.
    pub zh: String,
    /// Why, in English.
    pub en: String,
}

/// Where it would stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RefusalPlace {
    /// The number of a test of the request's program, and the members at the top that it is in.
    Body {
        test: u8,
        members: Vec<Box<str>>,
    },
    Query(ParameterNames),
    Header(Box<str>),
}

/// The parameters that are meant, in any spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ParameterNames {
    One(Box<str>),
    /// Each that begins so, but for these.
    Begins(Box<str>, Vec<Box<str>>),
}

impl ParameterNames {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::One(one) => resembles(name.as_bytes(), one),
            Self::Begins(begin, except) => {
                let head = name.get(..begin.len());
                head.is_some_and(|head| head.eq_ignore_ascii_case(begin))
                    && !except.iter().any(|other| other.eq_ignore_ascii_case(name))
            }
        }
    }
}

/// Why nothing can be said of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreadBody {
    /// It is not one JSON object.
    NoObject,
    /// A member that is read is there twice, or in another spelling.
    Ambiguous,
}

impl TestRule {
    /// Whether it holds for what a parameter or a header says.
    fn holds_for(&self, text: &str) -> bool {
        let is_any = |words: &[String], same: fn(&str, &[u8], bool) -> bool| {
            words.iter().any(|word| same(word, text.as_bytes(), false))
        };
        match self {
            Self::Present => true,
            Self::Is(words) => is_any(words, count::same),
            Self::NotExactly(words) => !is_any(words, count::same_exactly),
            // Replies alone are asked so.
            Self::Not(words) | Self::Text(words) => !is_any(words, count::same),
            Self::Above(limit) => !is_up_to(*limit, text),
        }
    }
}

/// Whether a text is a whole number up to `limit`, perhaps of seconds.
pub(crate) fn is_up_to(limit: i64, text: &str) -> bool {
    let digits = text.strip_suffix('s').unwrap_or(text);
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && digits.parse::<i64>().is_ok_and(|number| number <= limit)
}

impl Refusal {
    /// What a body has that says what is refused: one of the words, else a member at the top.
    pub(crate) fn signs(&self) -> Vec<Box<str>> {
        match (&self.place, &self.asks) {
            (RefusalPlace::Query(_) | RefusalPlace::Header(_), _) => Vec::new(),
            (RefusalPlace::Body { .. }, TestRule::Is(words)) => {
                words.iter().map(|word| word.as_str().into()).collect()
            }
            (RefusalPlace::Body { members, .. }, _) => members.clone(),
        }
    }
}

/// What a body has, at the beginning of a string, that says something that is refused.
#[derive(Debug, Default)]
pub(crate) struct Signs {
    /// Each with the bit of its first letter.
    words: Vec<(u32, Box<str>)>,
    /// The letters that they begin with, of which most strings have none.
    heads: u32,
}

impl Signs {
    pub(crate) fn new(words: impl IntoIterator<Item = Box<str>>) -> Self {
        let head = |word: &str| word.bytes().next().map_or(u32::MAX, letter);
        let words: Vec<_> = words.into_iter().map(|word| (head(&word), word)).collect();
        Self { heads: words.iter().fold(0, |all, (head, _)| all | head), words }
    }

    /// Whether a text may begin with one of them, as any reader may take it: in any spelling, or
    /// with an escape.
    fn may_begin(&self, text: &[u8]) -> bool {
        let Some(&first) = text.first() else { return false };
        let first = letter(first);
        if self.heads & first == 0 {
            return false;
        }
        text.trim_ascii_start().first() == Some(&b'\\')
            || self.words.iter().any(|(head, word)| head & first != 0 && begins_like(text, word))
    }
}

/// The bit of a letter. What is none may be anything, but what mostly follows a string, which no
/// spelling begins with.
pub(crate) const fn letter(byte: u8) -> u32 {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' => 1 << ((byte | 0x20) - b'a'),
        b',' | b':' | b'}' => 0,
        _ => u32::MAX,
    }
}

impl ProtocolRoute {
    /// Whether a request's body may say what it may not, so that it has to be read.
    #[must_use]
    pub fn refuses_by_body(&self) -> bool {
        self.refused_members().next().is_some()
    }

    /// Whether a body may say what it may not. Most have nothing that begins like it, and need not
    /// be read for it.
    #[must_use]
    pub fn may_be_refused(&self, body: &[u8]) -> bool {
        let signs = &self.request.signs;
        // What is written with escapes has to be read.
        signs.heads != 0
            && (memchr::memmem::find(body, b"\\u").is_some()
                || memchr::memchr_iter(b'"', body).any(|at| signs.may_begin(&body[at + 1..])))
    }

    /// The members at the top of a body that are looked at whatever the price: each may be there
    /// once.
    pub fn refused_members(&self) -> impl Iterator<Item = &str> {
        self.members_of(None)
    }

    /// Those that are looked at where a unit has a price.
    pub fn refused_members_of(&self, unit: Meter) -> impl Iterator<Item = &str> {
        self.members_of(Some(unit))
    }

    fn members_of(&self, priced: Option<Meter>) -> impl Iterator<Item = &str> {
        let meant = self.request.refuse.iter().filter(move |it| it.priced == priced);
        let members = meant.filter_map(|it| match &it.place {
            RefusalPlace::Body { members, .. } => Some(members),
            RefusalPlace::Query(_) | RefusalPlace::Header(_) => None,
        });
        members.flatten().map(|name| &**name)
    }

    /// The first thing that a request's query or headers say, and may not.
    #[must_use]
    pub fn refusal_by_head(
        &self,
        query: &str,
        header: impl Fn(&str) -> Vec<String>,
    ) -> Option<&Refusal> {
        self.request.refuse.iter().filter(|it| it.priced.is_none()).find(|it| {
            let holds = |text: &String| it.asks.holds_for(text);
            match &it.place {
                RefusalPlace::Query(names) => {
                    all_parameters(query).any(|(name, value)| names.has(&name) && holds(&value))
                }
                RefusalPlace::Header(name) => header(name).iter().any(holds),
                RefusalPlace::Body { .. } => false,
            }
        })
    }

    /// The first thing that a request's body says, and may not.
    ///
    /// # Errors
    /// When it can't be read, or another reader may find something else in it.
    pub fn refusal_by_body(&self, body: &[u8]) -> Result<Option<&Refusal>, UnreadBody> {
        self.refusal_in(body, None)
    }

    /// The first thing that it says, and may not where a unit has a price: the reply would not
    /// count it.
    ///
    /// # Errors
    /// When it can't be read, or another reader may find something else in it.
    pub fn refusal_of(&self, unit: Meter, body: &[u8]) -> Result<Option<&Refusal>, UnreadBody> {
        self.refusal_in(body, Some(unit))
    }

    fn refusal_in(
        &self,
        body: &[u8],
        priced: Option<Meter>,
    ) -> Result<Option<&Refusal>, UnreadBody> {
        let RequestRules { program, refuse, .. } = &*self.request;
        if body.is_empty() || self.members_of(priced).next().is_none() {
            return Ok(None);
        }
        let mut walker = JsonWalker::new(program);
        let used = walker.feed(program, body);
        walker.finish(program);
        let is_whole = body[used..].iter().all(u8::is_ascii_whitespace);
        if !(is_whole && walker.is_done() && walker.is_object()) {
            return Err(UnreadBody::NoObject);
        }
        if walker.found.unclear {
            return Err(UnreadBody::Ambiguous);
        }
        let holds = |it: &&Refusal| match it.place {
            RefusalPlace::Body { test, .. } => {
                it.priced == priced && walker.found.tests >> test & 1 == 1
            }
            RefusalPlace::Query(_) | RefusalPlace::Header(_) => false,
        };
        Ok(refuse.iter().find(holds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_may_be_refused_is_read() {
        let signs = Signs::new(["models".into(), "fusion".into()]);
        for text in [
            "models\"",
            "Models",
            " \nmodels",
            "\\tmodels",
            "\u{a0}models",
            "\u{3000}fusion",
            "[models]",
            "]models",
            "fuſion",
        ] {
            assert!(signs.may_begin(text.as_bytes()), "{text:?}");
        }
        for text in ["", "model\":1", ":1", "\n}", "模型", "amodels"] {
            assert!(!signs.may_begin(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn so_many_seconds_and_no_more() {
        for fits in ["0", "60", "3600", "3600s", "0007s"] {
            assert!(is_up_to(3600, fits), "{fits}");
        }
        for other in ["3601s", "", "s", "-1s", "3.5s", "1e3", "60m", "99999999999999999999", " 6"] {
            assert!(!is_up_to(3600, other), "{other}");
        }
    }
}
