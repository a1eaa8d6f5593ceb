//! Routes: which calls a protocol has, and where their model stands.

use crate::ErrorShape;
use crate::document::{ListWord, PriceWord, TaskWord};
use crate::ids::IdRules;
use crate::probe::RouteProbe;
use crate::request::RequestRules;
use crate::rules::Rules;
use crate::task::TaskRules;
use crate::value_source::ValueSource;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

mod overlap;

use overlap::PathEnds;

/// Longest pattern, in bytes.
const MAX_BYTES: usize = 256;
/// Most parts of a pattern.
const MAX_PARTS: usize = 32;
/// The methods that a pattern may name.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// A part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PathPart {
    Literal(Box<str>),
    /// `{name}`: something without a slash; `{+name}`: anything. Not empty.
    Capture {
        name: Box<str>,
        slashes: bool,
    },
    /// `{name=…}`: what stands between the two is captured.
    Open(Box<str>),
    /// `*` in between: something without a slash.
    Any,
    Close,
}

/// Methods and a path: `POST /v1beta/models/{model}:generateContent`, `* /pass/{+model}`,
/// `GET|POST /v1/files/*`, `GET /v1beta/{id=files/*}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePattern {
    /// None: any.
    methods: Vec<&'static str>,
    parts: Vec<PathPart>,
    /// It ends in `/*`: anything may follow.
    pub(crate) open: bool,
    ends: PathEnds,
}

/// Why a text is not a [`RoutePattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutePatternError {
    /// Not a method and a path.
    #[error("is not METHOD /path, such as POST /v1/chat/completions")]
    Form,
    /// A method that is none.
    #[error("has a method other than *, GET, HEAD, POST, PUT, PATCH and DELETE")]
    Method,
    /// Too long.
    #[error("is longer than {MAX_BYTES} bytes or {MAX_PARTS} parts")]
    TooLong,
    /// A capture that is not `{name}`, `{+name}` or `{name=things/*}`.
    #[error("has a brace that is none of {{name}}, {{+name}} and {{name=things/*}}")]
    Capture,
    /// Two captures of one name, or one directly behind another.
    #[error("has two captures of one name, or with nothing between them")]
    PathCaptures,
    /// A `*` within.
    #[error("has a * elsewhere than at its end, behind a slash")]
    Star,
}

/// What a pattern captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathCaptures(Vec<Capture>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Capture {
    name: Box<str>,
    /// Decoded.
    text: String,
    /// Where it stands in the path.
    at: Range<usize>,
}

impl PathCaptures {
    /// What stands for `{name}`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name).map(|capture| capture.text.as_str())
    }

    /// `path`, of which this was captured, with another text in the place of `{name}`.
    #[must_use]
    pub fn replaced(&self, path: &str, name: &str, text: &str) -> Option<String> {
        let Capture { at, .. } = self.find(name)?;
        Some([path.get(..at.start)?, text, path.get(at.end..)?].concat())
    }

    fn find(&self, name: &str) -> Option<&Capture> {
        self.0.iter().find(|capture| *capture.name == *name)
    }
}

impl RoutePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, RoutePatternError> {
        if text.len() > MAX_BYTES {
            return Err(RoutePatternError::TooLong);
        }
        let (methods, path) = text.split_once(' ').ok_or(RoutePatternError::Form)?;
        if !path.starts_with('/') || path.contains([' ', '?', '#']) {
            return Err(RoutePatternError::Form);
        }
        let (path, open) = match path.strip_suffix('*') {
            Some(front) if front.ends_with('/') => (front, true),
            Some(_) => return Err(RoutePatternError::Star),
            None => (path, false),
        };
        let parts = parts(path)?;
        let ends = PathEnds::of(&parts, open);
        Ok(Self { methods: read_methods(methods)?, parts, open, ends })
    }

    /// A call that it matches, with these in the place of its captures.
    pub(crate) fn filled<'a>(
        &self,
        value: impl Fn(&str) -> Option<&'a str>,
    ) -> Option<(&'static str, String)> {
        let mut path = String::new();
        for part in &self.parts {
            match part {
                PathPart::Literal(text) => path.push_str(text),
                PathPart::Capture { name, .. } => path.push_str(value(name)?),
                PathPart::Open(_) | PathPart::Any | PathPart::Close => return None,
            }
        }
        let method = self.methods.first().copied().unwrap_or("GET");
        (!self.open).then_some((method, path))
    }

    /// What it captures of a call, if it is one of its own. The path is as it came, encoded.
    #[must_use]
    pub fn captures(&self, method: &str, path: &str) -> Option<PathCaptures> {
        if !self.methods.is_empty() && !self.methods.contains(&method) {
            return None;
        }
        self.captures_of_path(path)
    }

    /// The same of a call of any method.
    pub(crate) fn captures_of_path(&self, path: &str) -> Option<PathCaptures> {
        let mut captures = PathCaptures::default();
        let fits = fit(&self.parts, self.open, path, &mut captures.0);
        fits.then_some(captures)
    }

    /// Whether all calls of `later` are this one's, so that a route behind it is never reached.
    #[must_use]
    pub fn hides(&self, later: &Self) -> bool {
        // No literal has these letters: what matches them matches anything there.
        const ANY: &str = "~any~";
        let mut path = String::new();
        for part in &later.parts {
            match part {
                PathPart::Literal(text) => path.push_str(text),
                PathPart::Capture { slashes: false, .. } | PathPart::Any => path.push_str(ANY),
                PathPart::Capture { slashes: true, .. } => path.push_str("~any~/~any~"),
                PathPart::Open(_) | PathPart::Close => {}
            }
        }
        if later.open {
            path.push_str("~any~/~any~");
        }
        let methods = if later.methods.is_empty() { &["ANY"][..] } else { &later.methods };
        methods.iter().all(|method| self.captures(method, &path).is_some())
    }

    /// Whether all its paths begin so.
    #[must_use]
    pub fn begins_with(&self, text: &str) -> bool {
        matches!(self.parts.first(), Some(PathPart::Literal(first)) if first.starts_with(text))
    }

    /// Whether a path has a capture of this name.
    #[must_use]
    pub fn has_capture(&self, wanted: &str) -> bool {
        self.parts.iter().any(|part| part.name() == Some(wanted))
    }
}

impl PathPart {
    /// The name by which it, or what it begins, is captured.
    fn name(&self) -> Option<&str> {
        match self {
            Self::Capture { name, .. } | Self::Open(name) => Some(name),
            Self::Literal(_) | Self::Any | Self::Close => None,
        }
    }
}

fn read_methods(text: &str) -> Result<Vec<&'static str>, RoutePatternError> {
    if text == "*" {
        return Ok(Vec::new());
    }
    let known = |word| METHODS.iter().copied().find(|method| *method == word);
    let methods: Option<Vec<_>> = text.split('|').map(known).collect();
    methods.ok_or(RoutePatternError::Method)
}

fn parts(path: &str) -> Result<Vec<PathPart>, RoutePatternError> {
    let mut parts: Vec<PathPart> = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if parts.len() == MAX_PARTS {
            return Err(RoutePatternError::TooLong);
        }
        let end = rest.find(['{', '}']).unwrap_or(rest.len());
        if end > 0 {
            if rest[..end].contains('*') {
                return Err(RoutePatternError::Star);
            }
            parts.push(PathPart::Literal(rest[..end].into()));
            rest = &rest[end..];
            continue;
        }
        let close =
            rest.find('}').filter(|_| rest.starts_with('{')).ok_or(RoutePatternError::Capture)?;
        let inner = &rest[1..close];
        let (name, within) = match inner.split_once('=') {
            Some((name, within)) => (name, Some(within)),
            None => (inner, None),
        };
        let (name, slashes) = match name.strip_prefix('+') {
            Some(name) if within.is_none() => (name, true),
            _ => (name, false),
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            return Err(RoutePatternError::Capture);
        }
        let follows = matches!(
            parts.last(),
            Some(PathPart::Capture { .. } | PathPart::Any | PathPart::Close)
        );
        if follows || parts.iter().any(|it| it.name() == Some(name)) {
            return Err(RoutePatternError::PathCaptures);
        }
        match within {
            Some(within) => parts.extend(captured_parts(name, within)?),
            None => parts.push(PathPart::Capture { name: name.into(), slashes }),
        }
        rest = &rest[close + 1..];
    }
    Ok(parts)
}

/// The parts of `{name=files/*}`: a name of things, and each `*` something without a slash.
fn captured_parts(name: &str, within: &str) -> Result<Vec<PathPart>, RoutePatternError> {
    let mut parts = vec![PathPart::Open(name.into())];
    let mut literal = String::new();
    for (at, segment) in within.split('/').enumerate() {
        if at > 0 {
            literal.push('/');
        }
        match segment {
            "*" if at > 0 => {
                parts.push(PathPart::Literal(std::mem::take(&mut literal).into()));
                parts.push(PathPart::Any);
            }
            plain if plain.is_empty() || plain.contains('*') => {
                return Err(RoutePatternError::Capture);
            }
            plain => literal.push_str(plain),
        }
    }
    if !literal.is_empty() {
        parts.push(PathPart::Literal(literal.into()));
    }
    if parts.len() > MAX_PARTS {
        return Err(RoutePatternError::TooLong);
    }
    parts.push(PathPart::Close);
    Ok(parts)
}

/// Whether `path` is made of `parts`. A capture is as short as what follows it allows, so this
/// takes no more than one look at each byte for each part.
fn fit(parts: &[PathPart], open: bool, path: &str, found: &mut Vec<Capture>) -> bool {
    let mut rest = path;
    let mut opened: Option<(&str, usize)> = None;
    for (at, part) in parts.iter().enumerate() {
        let start = path.len() - rest.len();
        match part {
            PathPart::Literal(text) => match rest.strip_prefix(&**text) {
                Some(behind) => rest = behind,
                None => return false,
            },
            PathPart::Open(name) => opened = Some((name, start)),
            PathPart::Close => {
                let Some((name, from)) = opened.take() else { return false };
                let Some(text) = decode(&path[from..start]) else { return false };
                found.push(Capture { name: name.into(), text, at: from..start });
            }
            PathPart::Capture { .. } | PathPart::Any => {
                let slashes = matches!(part, PathPart::Capture { slashes: true, .. });
                let Some(end) = end_of(&parts[at + 1..], open, rest) else { return false };
                if !slashes && rest[..end].contains('/') {
                    return false;
                }
                if let PathPart::Capture { name, .. } = part {
                    let Some(text) = decode(&rest[..end]) else { return false };
                    found.push(Capture { name: name.clone(), text, at: start..start + end });
                }
                rest = &rest[end..];
            }
        }
    }
    if open { !rest.is_empty() } else { rest.is_empty() }
}

/// Where what is captured ends, which `following` follows; it is not empty.
fn end_of(following: &[PathPart], open: bool, rest: &str) -> Option<usize> {
    let mut following = following.iter().filter(|it| !matches!(it, PathPart::Close));
    let end = match following.next() {
        // What ends the path stands at its end: a model may have a colon.
        Some(PathPart::Literal(text)) if following.next().is_none() && !open => {
            rest.strip_suffix(&**text).map(str::len)
        }
        Some(PathPart::Literal(text)) => rest.find(&**text),
        _ => Some(rest.len()),
    };
    end.filter(|end| *end > 0)
}

/// The decoded text, if it is one that a name may be.
fn decode(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    (!decoded.chars().any(char::is_control)).then(|| decoded.into_owned())
}

impl fmt::Display for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods = self.methods.join("|");
        write!(f, "{} ", if methods.is_empty() { "*" } else { &methods })?;
        for part in &self.parts {
            match part {
                PathPart::Literal(text) => f.write_str(text)?,
                PathPart::Capture { name, slashes: true } => write!(f, "{{+{name}}}")?,
                PathPart::Capture { name, slashes: false } => write!(f, "{{{name}}}")?,
                PathPart::Open(name) => write!(f, "{{{name}=")?,
                PathPart::Any => f.write_str("*")?,
                PathPart::Close => f.write_str("}")?,
            }
        }
        f.write_str(if self.open { "*" } else { "" })
    }
}

/// How a request asks for the usage of its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageMember {
    /// The member that asks for usage: `true` is added where the client left it out.
    pub ask: crate::Pointer,
    /// Only a stream has to be asked: this array is empty in the event that comes only then, and
    /// that is not passed on.
    pub extra: Option<crate::Pointer>,
}

/// An address at the upstream at which a call continues, without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSession {
    /// Headers of the reply that are such addresses.
    pub headers: Vec<Box<str>>,
    /// The parameter of them that is the id.
    pub query: Box<str>,
    /// Headers of the reply that are not passed on.
    pub hide: Vec<Box<str>>,
}

/// A kind of call that a protocol has.
#[derive(Debug)]
pub struct ProtocolRoute {
    /// Which calls these are.
    pub patterns: Vec<RoutePattern>,
    /// Where the model stands; the first that is there counts.
    pub model: Vec<ValueSource>,
    /// What a call costs.
    pub price: PriceWord,
    /// Where the ids of resources stand that it is about: it goes to the channel of theirs.
    pub uses: Vec<ValueSource>,
    /// Its reply names the id of something that was made.
    pub makes: bool,
    /// How long it is remembered who made a thing, in days.
    pub resource_days: u32,
    /// Its upstream gives an id again once what had it is gone: its last maker owns it.
    pub reuses_ids: bool,
    /// The list that shows what it makes, if that is not the one at its own path.
    pub collection: Option<Box<str>>,
    /// What of a reply a list shows, if not all of it.
    pub shown: Option<crate::Pointer>,
    /// What stands before the model's name in a body, and stays there.
    pub model_prefix: Option<Box<str>>,
    /// What the name of the model that a call is priced as has behind that of its body.
    pub model_suffix: Option<Box<str>>,
    /// The upstream gets the parameter of the query that names the model.
    pub model_stays: bool,
    /// Members at the top of its reply that are addresses at the upstream: their path is shown.
    pub links: Vec<Box<str>>,
    /// How a call of it continues, where it does.
    pub session: Option<RouteSession>,
    pub(crate) ids: Arc<IdRules>,
    /// What is done with a route that would list what others made.
    pub list: Option<ListWord>,
    /// What it is to a task.
    pub task: Option<TaskWord>,
    /// How the tasks are read that it is about, if it is about any.
    pub tasks: Option<Arc<TaskRules>>,
    /// Every call of it must not be made twice; else its body may say so.
    pub(crate) once: bool,
    /// How usage is asked for, where it has to be.
    pub ask_usage: Option<UsageMember>,
    /// It is the one that tries a channel.
    pub probe: Option<RouteProbe>,
    /// Headers of its calls, whatever the client sends; without a value, those that it has not.
    pub headers: Vec<(String, String)>,
    /// The shape of our own errors.
    pub errors: ErrorShape,
    /// The protocol that it was written in.
    pub protocol: Arc<str>,
    /// What its requests are read for, and how, as its document says it.
    pub(crate) reads: Box<str>,
    /// How long the first byte of a reply may take, in seconds, if the protocol specifies it.
    pub first_byte_s: Option<u32>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) request: Arc<RequestRules>,
}

/// A route, and what its pattern captured.
#[derive(Clone, Debug)]
pub struct RouteMatch<'a> {
    /// The route.
    pub route: &'a Arc<ProtocolRoute>,
    /// What stands in the path for `{model}`, `{id}`.
    pub captures: PathCaptures,
}

impl ProtocolRoute {
    /// A model's name without what stands before it in a body.
    #[must_use]
    pub fn without_prefix<'a>(&self, model: &'a str) -> &'a str {
        let prefix = self.model_prefix.as_deref().unwrap_or_default();
        model.strip_prefix(prefix).unwrap_or(model)
    }

    /// The model that a call is priced as whose body names this one.
    #[must_use]
    pub fn priced_as(&self, model: &str) -> String {
        [model, self.model_suffix.as_deref().unwrap_or_default()].concat()
    }

    /// Whether its model stands at several places of a body.
    #[must_use]
    pub fn has_models(&self) -> bool {
        self.model.iter().any(|source| matches!(source, ValueSource::Every(_)))
    }

    /// What of a reply a list shows.
    #[must_use]
    pub fn shown_of<'a>(&self, reply: &'a [u8]) -> Option<&'a [u8]> {
        match &self.shown {
            None => Some(reply),
            Some(shown) => crate::task::at(reply, shown).map(|raw| raw.get().as_bytes()),
        }
    }

    /// Whether clients can make such a call: it names a model, or what was made before, or is
    /// answered without an upstream, or costs nothing.
    #[must_use]
    pub fn is_served(&self) -> bool {
        let names_something = !self.model.is_empty() || !self.uses.is_empty();
        names_something || self.list.is_some() || self.price == PriceWord::Free
    }

    /// What a reply may be; nothing: anything.
    #[must_use]
    pub fn promised(&self) -> &[crate::BodyShape] {
        &self.rules.promised
    }

    /// Whether an upstream that returns this status has done no work, so that the call may be
    /// retried on another channel.
    #[must_use]
    pub fn is_refused_by(&self, status: u16) -> bool {
        self.rules.refused.contains(&status)
    }

    /// Whether this status alone says that the channel's account is broken.
    #[must_use]
    pub fn is_account_broken_by(&self, status: u16) -> bool {
        self.rules.account.iter().any(|condition| condition.holds_by_status(status))
    }

    /// Whether another channel may be asked after this status, where nothing was delivered and the
    /// call may be made twice.
    #[must_use]
    pub fn is_retried_after(&self, status: u16) -> bool {
        self.rules.retry.contains(&status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(pattern: &str, method: &str, path: &str) -> Option<Vec<(String, String)>> {
        let pattern = RoutePattern::parse(pattern).unwrap();
        let captures = pattern.captures(method, path)?.0;
        Some(captures.into_iter().map(|it| (it.name.into(), it.text)).collect())
    }

    fn model(pattern: &str, path: &str) -> Option<String> {
        captured(pattern, "POST", path).map(|mut captures| captures.remove(0).1)
    }

    #[test]
    fn a_path_is_matched_and_its_model_captured() {
        let gemini = "POST /v1beta/models/{model}:generateContent";
        let of = |path| model(gemini, path);
        assert_eq!(of("/v1beta/models/gemini-2.5-pro:generateContent").unwrap(), "gemini-2.5-pro");
        assert_eq!(of("/v1beta/models/a:b:generateContent").unwrap(), "a:b");
        assert_eq!(of("/v1beta/models/org%2Fm:generateContent").unwrap(), "org/m");
        for other in [
            "/v1beta/models/:generateContent",
            "/v1beta/models/a/b:generateContent",
            "/v1beta/models/m:streamGenerateContent",
            "/v1beta/models/m:generateContent/x",
            "/v1beta/models/a%00b:generateContent",
            "/v1beta/models/%ff:generateContent",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        let azure = "* /openai/deployments/{model}/*";
        assert_eq!(model(azure, "/openai/deployments/gpt/chat/completions").unwrap(), "gpt");
        assert_eq!(model(azure, "/openai/deployments/gpt/"), None);
        assert_eq!(model("* /pass/{+model}", "/pass/org/m/submit").unwrap(), "org/m/submit");
        let ids = captured("GET /v1/threads/{thread}/runs/{run}", "GET", "/v1/threads/a/runs/b");
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(ids, Some(vec![pair("thread", "a"), pair("run", "b")]));
        assert_eq!(captured("GET|POST /a", "PUT", "/a"), None);
        assert_eq!(captured("GET|POST /a", "POST", "/a"), Some(vec![]));
    }

    #[test]
    fn a_name_of_several_segments_is_captured_as_one() {
        let of = |pattern: &str, path: &str| {
            captured(pattern, "GET", path).map(|mut captures| captures.remove(0).1)
        };
        let file = "GET /v1beta/{id=files/*}";
        assert_eq!(of(file, "/v1beta/files/abc-1").as_deref(), Some("files/abc-1"));
        let content = "GET /v1beta/{id=files/*}:download";
        assert_eq!(of(content, "/v1beta/files/abc:download").as_deref(), Some("files/abc"));
        let operation = "GET /v1beta/{id=models/*/operations/*}";
        let path = "/v1beta/models/veo/operations/o1";
        assert_eq!(of(operation, path).as_deref(), Some("models/veo/operations/o1"));
        for (pattern, other) in [
            (file, "/v1beta/files/"),
            (file, "/v1beta/files/a/b"),
            (file, "/v1beta/caches/a"),
            (content, "/v1beta/files/:download"),
            (content, "/v1beta/files/abc"),
            (operation, "/v1beta/models/veo/operations/"),
            (operation, "/v1beta/models/veo/x/operations/o1"),
        ] {
            assert_eq!(of(pattern, other), None, "{pattern} {other}");
        }
    }

    #[test]
    fn a_captured_model_is_replaced_where_it_stands() {
        let of = |pattern: &str, path: &str| {
            let captures = RoutePattern::parse(pattern).unwrap().captures("POST", path)?;
            captures.replaced(path, "model", "other")
        };
        let gemini = of("POST /v1beta/models/{model}:predict", "/v1beta/models/models:predict");
        assert_eq!(gemini.as_deref(), Some("/v1beta/models/other:predict"));
        let azure = of("* /openai/deployments/{model}/*", "/openai/deployments/chat/chat/x");
        assert_eq!(azure.as_deref(), Some("/openai/deployments/other/chat/x"));
        assert_eq!(of("POST /a", "/a"), None);
    }

    #[test]
    fn a_pattern_is_read_and_written() {
        for text in [
            "POST /v1/a",
            "GET|POST /v1/{id}/*",
            "* /pass/{+model}",
            "* /*",
            "GET /v1beta/{id=files/*}:download",
            "GET /v1beta/{id=models/*/operations/*}/more",
        ] {
            assert_eq!(RoutePattern::parse(text).map(|it| it.to_string()), Ok(text.to_owned()));
        }
        for (text, why) in [
            ("/v1", RoutePatternError::Form),
            ("POST v1", RoutePatternError::Form),
            ("POST /v1?x", RoutePatternError::Form),
            ("FETCH /v1", RoutePatternError::Method),
            ("POST /v1/{}", RoutePatternError::Capture),
            ("POST /v1/{a", RoutePatternError::Capture),
            ("POST /v1/}a", RoutePatternError::Capture),
            ("POST /v1/{A}", RoutePatternError::Capture),
            ("POST /v1/{a}{b}", RoutePatternError::PathCaptures),
            ("POST /v1/{a}/{a}", RoutePatternError::PathCaptures),
            ("POST /v1/*/a", RoutePatternError::Star),
            ("POST /v1*", RoutePatternError::Star),
            ("GET /{id=}", RoutePatternError::Capture),
            ("GET /{id=*}", RoutePatternError::Capture),
            ("GET /{id=a/**}", RoutePatternError::Capture),
            ("GET /{id=a//*}", RoutePatternError::Capture),
            ("GET /{+id=a/*}", RoutePatternError::Capture),
            ("GET /{id=a/*}{more}", RoutePatternError::PathCaptures),
            ("GET /{id=a/*}/{id}", RoutePatternError::PathCaptures),
        ] {
            assert_eq!(RoutePattern::parse(text), Err(why), "{text}");
        }
        assert_eq!(
            RoutePattern::parse(&format!("GET /{}", "a".repeat(300))),
            Err(RoutePatternError::TooLong)
        );
    }
}
