//! How requests are read.

use super::problems::ProblemList;
use super::replies::{UnitPlaces, keep, keep_same, pointers, units};
use super::{MAX_LIST, MAX_WORD};
use crate::document::{
    AskUsage, CompareWords, Document, HoldSection, PriceWord, ProbeSection, RefusalSection,
    RouteSection, SessionSection, TextList,
};
use crate::pointer::Pointer;
use crate::probe::RouteProbe;
use crate::program::{PointerProgram, TestRule, TextRole};
use crate::program_builder::ProgramBuilder;
use crate::refusal::{ParameterNames, Refusal, RefusalPlace, Signs};
use crate::request::{BodyNames, RequestRules, UnitSource};
use crate::route::{RoutePattern, RouteSession, UsageMember};
use crate::value_source::ValueSource;
use domain::Meter;
use std::fmt;

/// Longest body of a call that tries a channel, in bytes.
const MAX_PROBE: usize = 1000;

/// What a route's requests are read for.
#[derive(Clone, Copy)]
pub(super) struct RequestSources<'a> {
    pub(super) model: &'a [ValueSource],
    pub(super) uses: &'a [ValueSource],
    pub(super) once: &'a TextList,
    pub(super) section: &'a RouteSection,
    pub(super) at: &'a str,
}

impl fmt::Debug for RequestSources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, uses, once, section, .. } = self;
        let RouteSection { units, refuse, price, .. } = section;
        write!(f, "{model:?} {uses:?} {once:?} {units:?} {refuse:?} {price:?}")
    }
}

/// The rules of a route's requests; `None` where something is wrong.
pub(super) fn rules(
    document: &Document,
    sources: RequestSources<'_>,
    found: &mut ProblemList,
) -> Option<RequestRules> {
    let RequestSources { model, uses, once, section, at } = sources;
    let mut builder = ProgramBuilder::for_requests();
    let none = HoldSection::default();
    let hold = document.hold.as_ref().unwrap_or(&none);
    let own = format!("{at}.units");
    let asked = match &section.units {
        Some(units) => (own.as_str(), units),
        None => ("hold.units", &hold.units),
    };
    let UnitPlaces { slots: units, members: unit_members, sources: unit_sources } =
        units(asked, &mut builder, found);
    captures_units(section, at, &unit_sources, found);
    let first = builder.slots();
    let mut single = TextList::default();
    for (at, pointer) in pointers("hold.output", &hold.output, found) {
        if pointer.is_plural() {
            let done = builder.meter(Meter::Output, &pointer, (false, false));
            found.ok(&at, done)?;
        } else {
            single.0.push(pointer.to_string());
        }
    }
    let allowed = first..builder.slots();
    keep("hold.output", &single, TextRole::Allowed, &mut builder, found);
    keep("hold.times", &hold.times, TextRole::Times, &mut builder, found);
    if let Some(stream) = &document.stream {
        let when = TextList(vec![stream.when.clone()]);
        keep("stream.when", &when, TextRole::Stream, &mut builder, found);
    }
    keep("route.once", once, TextRole::Once, &mut builder, found);
    if model.iter().any(|source| matches!(source, ValueSource::Every(_))) {
        keep_same("route.model", &from_body(model), TextRole::Model, &mut builder, found);
    } else {
        keep("route.model", &from_body(model), TextRole::Model, &mut builder, found);
    }
    keep("route.uses", &from_body(uses), TextRole::Resource, &mut builder, found);
    for (at, pointer) in pointers("hold.input", &hold.input, found) {
        let done = builder.text(&pointer, true);
        found.ok(&at, done)?;
    }
    let (mut refuse, mut signs) = (Vec::new(), Vec::new());
    let own = (format!("{at}.refuse"), section.refuse.as_slice());
    let shared = ("refuse".to_owned(), document.refuse.as_deref().unwrap_or_default());
    // What is free may say most of what is refused for all routes.
    let is_free = section.price == Some(PriceWord::Free);
    for (at, sections, free_alone) in [(own.0, own.1, false), (shared.0, shared.1, is_free)] {
        let meant = sections.iter().enumerate().filter(|(_, it)| it.free || !free_alone);
        for (number, section) in meant {
            let at = format!("{at}.{number}");
            let refused = refusal(&at, section, &mut builder, found);
            let at_any_price = refused.iter().filter(|it| it.priced.is_none());
            signs.extend(at_any_price.flat_map(Refusal::signs));
            refuse.extend(refused);
        }
    }
    let reads_once = !once.0.is_empty();
    let anywhere = anywhere(uses, found);
    let (program, body_names) = (builder.build(), BodyNames::of(uses));
    Some(RequestRules {
        program,
        units,
        unit_members,
        unit_sources,
        reads_once,
        anywhere,
        refuse,
        signs: Signs::new(signs),
        allowed,
        body_names,
    })
}

/// A route's own `path:NAME` needs a capture of that name in every pattern.
fn captures_units(
    section: &RouteSection,
    at: &str,
    sources: &[(Meter, UnitSource)],
    found: &mut ProblemList,
) {
    for (meter, source) in sources.iter().filter(|_| section.units.is_some()) {
        let UnitSource::Path(name) = source else { continue };
        let has = |pattern: &String| {
            let parsed = RoutePattern::parse(pattern);
            parsed.is_ok_and(|parsed| parsed.has_capture(name))
        };
        if !section.matches.0.iter().all(has) {
            let why = format!("is path:{name}, and a pattern has no {{{name}}}");
            found.at(format!("{at}.units.{meter}"), why);
        }
    }
}

/// What a request may not say.
fn refusal(
    at: &str,
    section: &RefusalSection,
    builder: &mut ProgramBuilder,
    found: &mut ProblemList,
) -> Option<Refusal> {
    let RefusalSection { at: places, query, header, is, not, above, priced, why, .. } = section;
    let fits = |CompareWords(words): &CompareWords| words.len() <= MAX_LIST;
    let asks = match (is, not, above) {
        (None, None, None) => TestRule::Present,
        (Some(words), None, None) if fits(words) => TestRule::Is(words.0.clone()),
        (None, Some(words), None) if fits(words) => TestRule::NotExactly(words.0.clone()),
        (None, None, Some(above)) => TestRule::Above(*above),
        _ => {
            found.at(at, format!("has two of is, not and above, or more than {MAX_LIST} words"));
            return None;
        }
    };
    if [&why.zh, &why.en].iter().any(|text| text.trim().is_empty() || text.len() > MAX_WORD) {
        found.at(format!("{at}.why"), format!("is 1 to {MAX_WORD} bytes long, in zh and in en"));
    }
    let is_name = |name: &String| (1..=MAX_WORD).contains(&name.len());
    let place = match (places.0.is_empty(), query, header) {
        (true, Some(query), None) if is_name(query) => {
            RefusalPlace::Query(parameter_names(query, &section.except, at, found)?)
        }
        (true, None, Some(name)) if is_name(name) => {
            RefusalPlace::Header(name.to_ascii_lowercase().into())
        }
        (false, None, None) => {
            let pointers: Vec<Pointer> =
                pointers(&format!("{at}.at"), places, found).into_iter().map(|it| it.1).collect();
            let made = builder.test(&pointers, asks.clone());
            let first = |pointer: &Pointer| pointer.leading_names().into_iter().next();
            let members = pointers.iter().filter_map(first).collect();
            RefusalPlace::Body { test: found.ok(&format!("{at}.at"), made)?, members }
        }
        _ => {
            found.at(at, "says one of at, query and header: where it would stand");
            return None;
        }
    };
    let priced = match priced {
        None => None,
        Some(word) => {
            let at = format!("{at}.priced");
            let unit = found.ok(&at, Meter::parse(word))?;
            if unit.is_tokens() || !matches!(place, RefusalPlace::Body { .. }) {
                found.at(at, "is a unit, such as seconds, of a refusal that says at");
            }
            Some(unit)
        }
    };
    Some(Refusal { place, asks, priced, zh: why.zh.clone(), en: why.en.clone() })
}

/// The parameters of a refusal.
fn parameter_names(
    query: &str,
    except: &TextList,
    at: &str,
    found: &mut ProblemList,
) -> Option<ParameterNames> {
    match query.strip_suffix('*') {
        Some(begin) if !begin.is_empty() && except.0.len() <= MAX_LIST => {
            let except = except.0.iter().map(|name| name.as_str().into()).collect();
            Some(ParameterNames::Begins(begin.into(), except))
        }
        None if except.0.is_empty() => Some(ParameterNames::One(query.into())),
        _ => {
            let what = format!("is a name, or the begin of names and a *, except {MAX_LIST}");
            found.at(format!("{at}.query"), what);
            None
        }
    }
}

/// Members of a reply of which the path is shown.
pub(super) fn links(section: &RouteSection, at: &str, found: &mut ProblemList) -> Vec<Box<str>> {
    let mut links = Vec::new();
    for (at, pointer) in pointers(&format!("{at}.links"), &section.links, found) {
        match pointer.names().as_deref() {
            Some([name]) => links.push(name.clone()),
            _ => found.at(at, "is not at the top of the reply: /results_url"),
        }
    }
    links
}

/// How calls of a route go on.
pub(super) fn session(
    section: &RouteSection,
    at: &str,
    found: &mut ProblemList,
) -> Option<RouteSession> {
    let SessionSection { headers, query, hide } = section.session.as_ref()?;
    let is_name = |name: &String| {
        (1..=MAX_WORD).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let named = [headers, hide].into_iter().flat_map(|list| &list.0);
    if headers.0.is_empty() || named.clone().count() > MAX_LIST || !named.clone().all(is_name) {
        found.at(format!("{at}.session.headers"), "are names of headers, in small letters");
        return None;
    }
    if query.is_empty() || !section.uses.0.contains(&format!("query:{query}")) {
        let what = format!("the route has to use \"query:{query}\": only its owner may continue");
        found.at(format!("{at}.session.query"), what);
        return None;
    }
    let names = |list: &TextList| list.0.iter().map(|name| name.as_str().into()).collect();
    Some(RouteSession { headers: names(headers), query: query.as_str().into(), hide: names(hide) })
}

/// The call that tries a channel. A guess at its body would be refused, and look like a channel
/// that is broken.
pub(super) fn probe(
    (section, patterns): (&RouteSection, &[RoutePattern]),
    at: &str,
    found: &mut ProblemList,
) -> Option<RouteProbe> {
    let ProbeSection { wanted: true, body, ok } = &section.probe else { return None };
    let at = format!("{at}.probe");
    let probe = RouteProbe { body: body.as_deref().map(Into::into), ok: ok.clone() };
    let first = patterns.first()?;
    let Some(call) = probe.call(first, "m") else {
        found.at(at, format!("{first} has something other than {{model}} and {{app}} in its path"));
        return None;
    };
    let is_json = |body: &str| serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok();
    match (call.method, body) {
        ("GET" | "HEAD", Some(_)) => found.at(&*at, format!("{first} has no body")),
        ("GET" | "HEAD", None) => {}
        (_, None) => {
            let body = "{ body = '{\"model\":\"{model}\"}' }";
            found.at(&*at, format!("{first} has a body: probe = {body}"));
        }
        (_, Some(body)) if body.len() > MAX_PROBE || !is_json(&call.body) => {
            let what = format!("is no JSON of up to {MAX_PROBE} bytes once {{model}} is put in");
            found.at(format!("{at}.body"), what);
        }
        _ => {}
    }
    if ok.len() > MAX_LIST || ok.iter().any(|status| !(400..600).contains(status)) {
        found.at(format!("{at}.ok"), "names statuses between 400 and 599");
    }
    Some(probe)
}

/// The list that shows what a route makes.
pub(super) fn collection(
    section: &RouteSection,
    at: &str,
    found: &mut ProblemList,
) -> Option<Box<str>> {
    let path = section.collection.as_deref()?;
    let fits = path.starts_with('/') && path.len() <= MAX_WORD && !path.contains(['{', '*', '?']);
    if !fits || section.makes.0.is_empty() && section.list.is_none() {
        let what = "is the path of a list, of a route that makes things or lists them";
        found.at(format!("{at}.collection"), what);
        return None;
    }
    Some(path.into())
}

/// How the usage of a route's replies is asked for.
pub(super) fn ask_usage(
    document: &Document,
    wanted: &AskUsage,
    at: &str,
    found: &mut ProblemList,
) -> Option<UsageMember> {
    let at = format!("{at}.ask_usage");
    match (wanted, &document.stream) {
        (AskUsage::Never, _) => None,
        (AskUsage::Streams, None) => {
            found.at(at, "is true, and there is no [stream] that says how");
            None
        }
        (AskUsage::Streams, Some(stream)) => Some(UsageMember {
            ask: found.pointer("stream.ask", &stream.ask)?,
            extra: Some(found.pointer("stream.extra", &stream.extra)?),
        }),
        (AskUsage::All(ask), _) => {
            let ask = found.pointer(&at, ask)?;
            if ask.names().is_none_or(|names| names.is_empty()) {
                found.at(at, "is a member of the request: /include_usage");
                return None;
            }
            Some(UsageMember { ask, extra: None })
        }
    }
}

/// The program for ids that stand anywhere in a body.
fn anywhere(uses: &[ValueSource], found: &mut ProblemList) -> Option<PointerProgram> {
    let mut builder = ProgramBuilder::for_requests();
    let mut any = false;
    for source in uses {
        let ValueSource::Anywhere(pointer) = source else { continue };
        let done = builder.keep_anywhere(pointer, TextRole::Resource);
        found.ok("route.uses", done)?;
        any = true;
    }
    any.then(|| builder.build())
}

fn from_body(sources: &[ValueSource]) -> TextList {
    let pointer = |source: &ValueSource| match source {
        ValueSource::Body(pointer) | ValueSource::Every(pointer) => Some(pointer.to_string()),
        _ => None,
    };
    TextList(sources.iter().filter_map(pointer).collect())
}
