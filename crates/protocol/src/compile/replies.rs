//! How replies are read: usage, outcome, text.

use super::MAX_LIST;
use super::problems::ProblemList;
use crate::document::{
    CompareWords, ConditionSection, Document, Merge, MeterSources, OutcomeSection, RouteSection,
    SourceSection, TaskWord, TextList, TextSection, UsageSection,
};
use crate::head_count::{self, HeaderSource};
use crate::ids::IdRules;
use crate::pointer::Pointer;
use crate::program::{TestRule, TextRole, TextSlot};
use crate::program_builder::ProgramBuilder;
use crate::reading::BodyShape;
use crate::request::{UnitMembers, UnitSlots, UnitSource};
use crate::rules::{Condition, Rules, UsageRules};
use domain::{METERS, Meter};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most pointers of a list.
const MAX_POINTERS: usize = 64;
/// Most headers that count one meter.
const MAX_HEADERS: usize = 8;
/// As much of a message is kept, in bytes.
const MESSAGE_BYTES: u16 = 4096;
/// Longest id of a resource, in bytes.
const ID_BYTES: u16 = 256;
/// Largest count that a request which names none stands for.
const MAX_USUAL: i64 = 1_000_000;

/// Where a document says which meters are 0 in a reply that made nothing.
const OUTCOME_EMPTY: &str = "outcome.empty";

/// The rules of a route's replies; `None` where something is wrong.
pub(super) fn rules(
    (document, ids): (&Document, Arc<IdRules>),
    route: &RouteSection,
    at: &str,
    found: &mut ProblemList,
) -> Option<Rules> {
    let mut builder = ProgramBuilder::new();
    let none = OutcomeSection::default();
    let outcome = document.outcome.as_ref().unwrap_or(&none);
    let heads = Heads::of(route);
    let own = route.meters.iter().filter(|_| heads == Heads::LeftOut);
    for (word, _) in own.filter(|(_, it)| it.0.iter().any(|it| header_name(it).is_some())) {
        let why = "names a header: what a task uses is counted by the reports about it";
        found.at(format!("{at}.meters.{word}"), why);
    }
    let usage = usage(document.usage.as_ref(), (&route.meters, heads, at), &mut builder, found);
    let mut conditions = |name: &str, sections: &[ConditionSection]| {
        conditions(&format!("outcome.{name}"), sections, &mut builder, found)
    };
    let failed = conditions("failed", &outcome.failed);
    let account = conditions("account", &outcome.account);
    let estimate = conditions("estimate", &outcome.estimate);
    let continues = conditions("continues", &outcome.continues);
    keep("outcome.message", &outcome.message, TextRole::Message, &mut builder, found);
    keep(&format!("{at}.makes"), &route.makes, TextRole::Resource, &mut builder, found);
    text(document, route, at, &mut builder, found);
    let nothing = TextList::default();
    let (empty_at, empty) = match &route.empty {
        Some(own) => (format!("{at}.empty"), own),
        // A report about a task is there, whatever the task has made so far.
        None if reports_about_tasks(route) => (String::new(), &nothing),
        None => (OUTCOME_EMPTY.to_owned(), &outcome.empty),
    };
    statuses("outcome.refused", &outcome.refused.0, found);
    statuses("outcome.retry", &outcome.retry.0, found);
    Some(Rules {
        program: builder.build(),
        usage,
        failed,
        account,
        estimate,
        continues,
        empty: meters(&empty_at, empty, found),
        refused: outcome.refused.0.clone(),
        retry: outcome.retry.0.clone(),
        promised: shapes(route, at, found),
        ids,
    })
}

/// Whether a reply of the route is about a task that another call has submitted.
fn reports_about_tasks(route: &RouteSection) -> bool {
    route.task.is_some_and(|task| task != TaskWord::Submit)
}

/// The meters that are all 0 in the report about a task that made nothing.
pub(super) fn empty_of_tasks(document: &Document, found: &mut ProblemList) -> Vec<Meter> {
    let empty = document.outcome.as_ref().map(|outcome| &outcome.empty);
    empty.map(|empty| meters(OUTCOME_EMPTY, empty, found)).unwrap_or_default()
}

/// What of a reply a list shows: the object that has the first of the ids.
pub(super) fn shown(route: &RouteSection) -> Option<Pointer> {
    let (object, _) = route.makes.0.first()?.rsplit_once('/')?;
    let pointer = Pointer::parse(object).ok()?;
    pointer.names().filter(|names| !names.is_empty()).map(|_| pointer)
}

/// What was made, to be counted where no usage is reported.
fn text(
    document: &Document,
    route: &RouteSection,
    at: &str,
    builder: &mut ProgramBuilder,
    found: &mut ProblemList,
) {
    let none = TextSection::default();
    let shared = document.text.as_ref().unwrap_or(&none);
    let output = match &route.text {
        Some(own) => pointers(&format!("{at}.text"), own, found),
        None => pointers("text.output", &shared.output, found),
    };
    for (at, pointer) in output {
        let done = builder.text(&pointer, false);
        found.ok(&at, done);
    }
    let whole = match &route.whole {
        Some(own) => pointers(&format!("{at}.whole"), own, found),
        None => pointers("text.whole", &shared.whole, found),
    };
    for (at, pointer) in whole {
        let done = builder.whole(&pointer);
        found.ok(&at, done);
    }
    for (at, pointer) in pointers("text.below", &shared.below, found) {
        let done = builder.text(&pointer, true);
        found.ok(&at, done);
    }
    for (at, pointer) in pointers("text.data", &shared.data, found) {
        let done = builder.data(&pointer);
        found.ok(&at, done);
    }
}

fn shapes(route: &RouteSection, at: &str, found: &mut ProblemList) -> Vec<BodyShape> {
    let mut shapes = Vec::new();
    for (number, word) in route.reply.0.iter().enumerate() {
        let all = [
            BodyShape::Json,
            BodyShape::Array,
            BodyShape::Events,
            BodyShape::Lines,
            BodyShape::Opaque,
        ];
        match all.into_iter().find(|shape| shape.as_str() == word) {
            Some(shape) => shapes.push(shape),
            None => found.at(
                format!("{at}.reply.{number}"),
                format!("{word:?} is none of json, array, sse, lines and bytes"),
            ),
        }
    }
    shapes
}

/// Whether headers are read, which a report about a task has none of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heads {
    Read,
    /// Those of all routes are left out here.
    LeftOut,
}

impl Heads {
    fn of(route: &RouteSection) -> Self {
        if route.task.is_none() { Self::Read } else { Self::LeftOut }
    }
}

/// The headers among the sources of a meter.
fn headers(
    meter: Meter,
    sources: &MeterSources,
    at: &str,
    found: &mut ProblemList,
) -> Vec<HeaderSource> {
    let mut headers: Vec<HeaderSource> = Vec::new();
    let is_pointer = |source: &SourceSection| header_name(source).is_none() && !source.plus;
    for (number, source) in sources.0.iter().enumerate() {
        let Some(name) = header_name(source) else { continue };
        let at = format!("{at}.{number}");
        found.ok(&at, head_count::check_name(name));
        let first = !sources.0.iter().take(number).any(is_pointer);
        if !source.plus && !first && sources.0.iter().skip(number).any(is_pointer) {
            found.at(&*at, "stands between pointers: headers are first or last");
        }
        if headers.iter().any(|known| *known.name == *name) {
            found.at(&*at, format!("names {name} twice"));
        }
        let SourceSection { beside, plus, .. } = *source;
        headers.push(HeaderSource { meter, name: name.into(), beside, plus, first });
    }
    if headers.len() > MAX_HEADERS {
        found.at(at, format!("names more than {MAX_HEADERS} headers"));
    }
    headers
}

fn header_name(source: &SourceSection) -> Option<&str> {
    source.at.strip_prefix(head_count::PREFIX)
}

fn usage(
    section: Option<&UsageSection>,
    (own, heads, at): (&BTreeMap<String, MeterSources>, Heads, &str),
    builder: &mut ProgramBuilder,
    found: &mut ProblemList,
) -> UsageRules {
    let none = UsageSection::default();
    let section = section.unwrap_or(&none);
    let (mut slots, mut headers_read) = (Vec::new(), Vec::new());
    let mut number = 0;
    let mut seen = BTreeMap::new();
    let own = (format!("{at}.meters"), own, &[][..]);
    let shared = ("usage.meters".to_owned(), &section.meters, section.at.0.as_slice());
    for (at, meters, places) in [own, shared] {
        for (word, sources) in meters {
            let at = format!("{at}.{word}");
            let Some(meter) = found.ok(&at, Meter::parse(word)) else { continue };
            // A route's own meter stands in the place of the protocol's.
            if seen.insert(meter, ()).is_some() {
                continue;
            }
            let read = headers(meter, sources, &at, found);
            headers_read.extend(read.into_iter().filter(|_| heads == Heads::Read));
            let added = meter_slots(meter, sources, places, &at, builder, found);
            slots.push((meter, number..number + added));
            number += added;
        }
    }
    let inside = inside(section, found);
    let total = section.total.as_ref();
    let mut word = |name: &str, word: Option<&String>| {
        let at = format!("usage.total.{name}");
        word.and_then(|word| found.ok(&at, Meter::parse(word)))
    };
    UsageRules {
        merge: section.merge,
        slots,
        headers: headers_read,
        inside,
        alone: word("alone", total.and_then(|it| it.alone.as_ref())),
        above: word("above", total.and_then(|it| it.above.as_ref())),
    }
}

/// The usage of tasks: the usage section for all replies of the document.
pub(super) fn task_usage(
    section: Option<&UsageSection>,
    builder: &mut ProgramBuilder,
    found: &mut ProblemList,
) -> UsageRules {
    usage(section, (&BTreeMap::new(), Heads::LeftOut, "task"), builder, found)
}

/// The rules of lines that count a task's use: each is a document, and all are added up.
pub(super) fn count_rules(
    document: &Document,
    at: &TextList,
    found: &mut ProblemList,
) -> Arc<Rules> {
    let section = document.usage.as_ref().map(|section| UsageSection {
        at: at.clone(),
        merge: Merge::Sum,
        ..section.clone()
    });
    let mut builder = ProgramBuilder::new();
    let usage = task_usage(section.as_ref(), &mut builder, found);
    Arc::new(Rules {
        program: builder.build(),
        usage,
        failed: Vec::new(),
        account: Vec::new(),
        estimate: Vec::new(),
        continues: Vec::new(),
        empty: Vec::new(),
        refused: Vec::new(),
        retry: Vec::new(),
        promised: Vec::new(),
        ids: Arc::default(),
    })
}

/// Adds the sources of a meter. Returns how many there are.
fn meter_slots(
    meter: Meter,
    sources: &MeterSources,
    places: &[String],
    at: &str,
    builder: &mut ProgramBuilder,
    found: &mut ProblemList,
) -> usize {
    let mut added = 0;
    for (number, source) in absolute(&sources.0, places) {
        let at = format!("{at}.{number}");
        let Some(pointer) = found.pointer(&at, &source.at) else { continue };
        let done = builder.meter(meter, &pointer, (source.beside, source.plus));
        added += usize::from(found.ok(&at, done).is_some());
    }
    added
}

/// The sources with their whole pointers: those of the first place before those of the second.
fn absolute(sources: &[SourceSection], places: &[String]) -> Vec<(usize, SourceSection)> {
    let is_absolute = |it: &SourceSection| it.at.is_empty() || it.at.starts_with('/');
    let sources = || sources.iter().enumerate().filter(|(_, it)| header_name(it).is_none());
    let mut all = Vec::new();
    for (number, source) in sources().filter(|(_, it)| is_absolute(it)) {
        all.push((number, source.clone()));
    }
    for place in places {
        for (number, source) in sources().filter(|(_, it)| !is_absolute(it)) {
            let at = format!("{place}/{}", source.at);
            all.push((number, SourceSection { at, ..source.clone() }));
        }
    }
    if places.is_empty() {
        // Refused where the pointer is read: it has no slash.
        let relative = sources().filter(|(_, it)| !is_absolute(it));
        all.extend(relative.map(|(number, it)| (number, it.clone())));
    }
    all
}

fn inside(section: &UsageSection, found: &mut ProblemList) -> [Option<Meter>; METERS] {
    let mut inside = [None; METERS];
    for (part, whole) in &section.inside {
        let at = format!("usage.inside.{part}");
        let read = found.ok(&at, Meter::parse(part)).zip(found.ok(&at, Meter::parse(whole)));
        let Some((part, whole)) = read else { continue };
        let above = std::iter::successors(part.parent(), |meter| meter.parent());
        if !above.into_iter().any(|meter| meter == whole) {
            let all: Vec<_> =
                std::iter::successors(part.parent(), |meter| meter.parent()).collect();
            let may = all.iter().map(|meter| meter.as_str()).collect::<Vec<_>>().join(" or ");
            let may = if may.is_empty() { "part of none" } else { &may };
            found.at(&*at, format!("{part} can't be inside {whole}; it is {may}"));
            continue;
        }
        inside[part as usize] = Some(whole);
    }
    inside
}

fn conditions(
    at: &str,
    sections: &[ConditionSection],
    builder: &mut ProgramBuilder,
    found: &mut ProblemList,
) -> Vec<Condition> {
    let each = sections.iter().enumerate();
    each.filter_map(|(number, section)| {
        condition(&format!("{at}.{number}"), section, builder, found)
    })
    .collect()
}

fn condition(
    at: &str,
    section: &ConditionSection,
    builder: &mut ProgramBuilder,
    found: &mut ProblemList,
) -> Option<Condition> {
    let ConditionSection { at: places, is, not, text, missing, status, event, stream } = section;
    let has_words = is.is_some() || not.is_some() || *text || *missing;
    if places.0.is_empty() && (has_words || (status.0.is_empty() && event.0.is_empty())) {
        found.at(at, "says neither at, status nor event");
        return None;
    }
    statuses(&format!("{at}.status"), &status.0, found);
    if *missing && (is.is_some() || not.is_some() || *text) {
        found
            .at(format!("{at}.missing"), "is beside is, not or text: what is not there is no word");
        return None;
    }
    if *missing && (!event.0.is_empty() || *stream == Some(true)) {
        let why = "is true of a whole JSON reply alone, which has no events: most events of a \
                   stream lack something";
        found.at(format!("{at}.missing"), why);
        return None;
    }
    let asks = match (is, not, *text) {
        (Some(CompareWords(words)), None, false) => TestRule::Is(words.clone()),
        (None, Some(CompareWords(words)), false) => TestRule::Not(words.clone()),
        (None, not, true) => {
            TestRule::Text(not.as_ref().map_or_else(Vec::new, |words| words.0.clone()))
        }
        (None, None, false) => TestRule::Present,
        _ => {
            found.at(format!("{at}.is"), "is beside not or text; one of them is enough");
            return None;
        }
    };
    if let TestRule::Is(words) | TestRule::Not(words) | TestRule::Text(words) = &asks
        && (words.len() > MAX_LIST || words.iter().any(|word| word.len() > 100))
    {
        let key = if matches!(asks, TestRule::Is(_)) { "is" } else { "not" };
        let what = format!("has more than {MAX_LIST} words, or one of more than 100 bytes");
        found.at(format!("{at}.{key}"), what);
        return None;
    }
    let mut test = None;
    if !places.0.is_empty() {
        let pointers: Vec<Pointer> =
            pointers(&format!("{at}.at"), places, found).into_iter().map(|it| it.1).collect();
        let made = builder.test(&pointers, asks);
        test = Some(found.ok(&format!("{at}.at"), made)?);
    }
    let (missing, status, stream) = (*missing, status.0.clone(), *stream);
    Some(Condition { test, missing, status, events: event.0.clone(), stream })
}

/// Keeps the texts at pointers, the first one preferred.
pub(super) fn keep(
    at: &str,
    texts: &TextList,
    what: TextRole,
    builder: &mut ProgramBuilder,
    found: &mut ProblemList,
) {
    let limit = match what {
        TextRole::Message | TextRole::Reason | TextRole::Result => MESSAGE_BYTES,
        _ => ID_BYTES,
    };
    for (rank, (at, pointer)) in (0..).zip(pointers(at, texts, found)) {
        let plural = pointer.is_plural();
        let slot = TextSlot { what, rank, limit, plural, same: false, filter: None };
        let done = builder.keep(&pointer, slot);
        found.ok(&at, done);
    }
}

/// Keeps the one text that stands at each of several places.
pub(super) fn keep_same(
    at: &str,
    texts: &TextList,
    what: TextRole,
    builder: &mut ProgramBuilder,
    found: &mut ProblemList,
) {
    for (at, pointer) in pointers(at, texts, found) {
        let slot =
            TextSlot { what, rank: 0, limit: ID_BYTES, plural: true, same: true, filter: None };
        let done = builder.keep(&pointer, slot);
        found.ok(&at, done);
    }
}

/// The pointers of a list, each with its path.
pub(super) fn pointers(
    at: &str,
    texts: &TextList,
    found: &mut ProblemList,
) -> Vec<(String, Pointer)> {
    if texts.0.len() > MAX_POINTERS {
        found.at(at, format!("names more than {MAX_POINTERS} pointers"));
        return Vec::new();
    }
    let mut read = Vec::new();
    for (number, text) in texts.0.iter().enumerate() {
        let at = format!("{at}.{number}");
        if let Some(pointer) = found.pointer(&at, text) {
            read.push((at, pointer));
        }
    }
    read
}

/// Where the units of requests stand.
#[derive(Default)]
pub(super) struct UnitPlaces {
    pub(super) slots: UnitSlots,
    pub(super) members: UnitMembers,
    pub(super) sources: Vec<(Meter, UnitSource)>,
}

/// The slots of units of a request.
pub(super) fn units(
    (place, section): (&str, &BTreeMap<String, TextList>),
    builder: &mut ProgramBuilder,
    found: &mut ProblemList,
) -> UnitPlaces {
    let UnitPlaces { mut slots, mut members, mut sources } = UnitPlaces::default();
    let mut number = 0;
    for (word, texts) in section {
        let at = format!("{place}.{word}");
        let Some(meter) = found.ok(&at, Meter::parse(word)) else { continue };
        if meter.is_tokens() {
            found.at(&*at, format!("{meter} counts tokens; hold.input and hold.output do"));
            continue;
        }
        let (texts, usual) = usual(texts, &at, found);
        let (outside, texts) = outside(&texts, &at, found);
        sources.extend(outside.into_iter().map(|source| (meter, source)));
        let first = number;
        for (at, pointer) in pointers(&at, &texts, found) {
            let done = builder.meter(meter, &pointer, (false, false));
            number += usize::from(found.ok(&at, done).is_some());
            members.push((meter, pointer.leading_names()));
        }
        slots.push((meter, first..number, usual));
    }
    UnitPlaces { slots, members, sources }
}

/// The sources of a list that are `query:NAME` or `path:NAME`, and the pointers.
fn outside(texts: &TextList, at: &str, found: &mut ProblemList) -> (Vec<UnitSource>, TextList) {
    let (mut sources, mut pointers) = (Vec::new(), Vec::new());
    for (number, text) in texts.0.iter().enumerate() {
        let (source, name) = match (text.strip_prefix("query:"), text.strip_prefix("path:")) {
            (Some(name), _) => (UnitSource::Query(name.into()), name),
            (None, Some(name)) => (UnitSource::Path(name.into()), name),
            (None, None) => {
                pointers.push(text.clone());
                continue;
            }
        };
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > MAX_LIST * 2 || !name.bytes().all(is_part) {
            let at = format!("{at}.{number}");
            found.at(at, format!("{text:?} is not query:NAME or path:NAME"));
        }
        sources.push(source);
    }
    (sources, TextList(pointers))
}

/// The pointers of a list, and the count of its `default:8`.
fn usual(texts: &TextList, at: &str, found: &mut ProblemList) -> (TextList, Option<i64>) {
    let Some((last, pointers)) = texts.0.split_last() else { return (texts.clone(), None) };
    let Some(usual) = last.strip_prefix("default:") else { return (texts.clone(), None) };
    let count = usual.parse().ok().filter(|count| (1..=MAX_USUAL).contains(count));
    if count.is_none() {
        found.at(at, format!("{last:?} is not a count between 1 and {MAX_USUAL}"));
    }
    (TextList(pointers.to_vec()), count)
}

fn meters(at: &str, texts: &TextList, found: &mut ProblemList) -> Vec<Meter> {
    let each = texts.0.iter().enumerate();
    each.filter_map(|(number, word)| found.ok(&format!("{at}.{number}"), Meter::parse(word)))
        .collect()
}

fn statuses(at: &str, statuses: &[u16], found: &mut ProblemList) {
    if statuses.len() > MAX_LIST || statuses.iter().any(|status| !(200..600).contains(status)) {
        found.at(at, "names a status that is none");
    }
}
