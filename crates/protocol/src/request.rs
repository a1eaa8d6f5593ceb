//! Reads a request: its model, what it is about, and what it may cost.

use crate::count;
use crate::found::DocumentValues;
use crate::pointer::MAX_NAME;
use crate::program::{PointerProgram, TextRole};
use crate::refusal::{Refusal, Signs, letter};
use crate::route::{PathCaptures, ProtocolRoute};
use crate::value_source::ValueSource;
use crate::walk::JsonWalker;
use domain::spelling::resembles;
use domain::{Meter, Meters};
use percent_encoding::percent_decode_str;
use std::ops::Range;

/// No longer key is looked at: six bytes for each of the longest name, if all were escapes.
const MAX_SPELLING: usize = 6 * MAX_NAME;

/// Longest text of a count that is none, in characters.
const MAX_FAULT_CHARS: usize = 40;

/// The slots of each unit, the preferred one first, and what stands for it where none is there.
pub(crate) type UnitSlots = Vec<(Meter, Range<usize>, Option<i64>)>;
/// What says a unit elsewhere than in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitSource {
    /// This parameter of the query.
    Query(Box<str>),
    /// What stands in the path for this name.
    Path(Box<str>),
}

/// The members that units are read of, by the names that lead to them.
pub(crate) type UnitMembers = Vec<(Meter, Vec<Box<str>>)>;

/// What is read of requests of a route.
#[derive(Debug)]
pub(crate) struct RequestRules {
    pub(crate) program: PointerProgram,
    pub(crate) units: UnitSlots,
    pub(crate) unit_members: UnitMembers,
    pub(crate) unit_sources: Vec<(Meter, UnitSource)>,
    /// The places of ids that may stand anywhere.
    pub(crate) anywhere: Option<PointerProgram>,
    /// The body may ask for work that continues without its client.
    pub(crate) reads_once: bool,
    /// What it may not say.
    pub(crate) refuse: Vec<Refusal>,
    /// What a body has that says something of it.
    pub(crate) signs: Signs,
    /// Counts of what is allowed that are added up: of each request of a batch.
    pub(crate) allowed: Range<usize>,
    /// The names that lead to ids.
    pub(crate) body_names: BodyNames,
}

/// What a body contains that names something at one of a few places: keys that are, in any
/// spelling, all the names that lead there.
#[derive(Debug, Default)]
pub(crate) struct BodyNames {
    /// Each with the bit of its first letter, and its own.
    names: Vec<(u32, u128, Box<str>)>,
    /// The letters that they begin with, of which most keys have none.
    heads: u32,
    /// The names of each place, as their bits.
    places: Vec<u128>,
}

impl BodyNames {
    pub(crate) fn of(sources: &[ValueSource]) -> Self {
        let mut names = Self::default();
        for leading in sources.iter().filter_map(ValueSource::body_names) {
            let bits = leading.fold(0, |bits, name| bits | names.bit_of(name));
            names.places.push(bits);
        }
        names.heads = names.names.iter().fold(0, |heads, (head, ..)| heads | head);
        names
    }

    /// The bit of a name. One that has none left is taken for seen: such bodies are read.
    fn bit_of(&mut self, name: &str) -> u128 {
        if let Some((_, bit, _)) = self.names.iter().find(|(.., known)| **known == *name) {
            return *bit;
        }
        let number = u32::try_from(self.names.len()).ok();
        let bit = number.and_then(|number| 1_u128.checked_shl(number)).unwrap_or(0);
        if bit != 0 {
            let head = name.bytes().next().map_or(u32::MAX, letter);
            self.names.push((head, bit, name.into()));
        }
        bit
    }

    /// Whether a body may name something there. It is not parsed: a key stands between two quotes
    /// and before a colon, as little else does.
    fn may_be_in(&self, body: &[u8]) -> bool {
        if self.places.is_empty() {
            return false;
        }
        let mut seen = 0;
        let mut begin = None;
        for at in memchr::memchr_iter(b'"', body) {
            let Some(key) = begin.replace(at + 1).and_then(|begin| body.get(begin..at)) else {
                continue;
            };
            let ends = || body[at + 1..].iter().find(|b| !b.is_ascii_whitespace());
            if key.len() > MAX_SPELLING || ends() != Some(&b':') {
                continue;
            }
            // One with an escape may be any.
            if memchr::memchr(b'\\', key).is_some() {
                return true;
            }
            let first = key.first().map_or(0, |first| letter(*first));
            if self.heads & first != 0 {
                let of_letter = self.names.iter().filter(|(head, ..)| head & first != 0);
                let same = of_letter.filter(|(.., name)| resembles(key, name));
                seen = same.fold(seen, |seen, (_, bit, _)| seen | bit);
            }
            if self.places.iter().any(|place| place & seen == *place) {
                return true;
            }
        }
        false
    }
}

/// What was read from a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestReading {
    /// The model.
    pub model: Option<String>,
    /// A member that is read appears twice, or in another spelling: the request must be refused,
    /// because another reader may take the other one.
    pub ambiguous: bool,
    /// The ids of resources that it is about.
    pub resources: Vec<String>,
    /// Tokens of its text, about.
    pub input_tokens: i64,
    /// How many tokens of output it allows.
    pub output_limit: Option<i64>,
    /// How many replies it asks for, each of which may have that length.
    pub times: i64,
    /// What it asks for in units.
    pub units: Meters,
    /// Counts of them that are none, as they are written, and those of which the request has two.
    pub bad_units: Vec<(Meter, String)>,
    /// It asks for a stream.
    pub stream: bool,
    /// It asks for work that continues without it: made twice, the work would be done twice.
    pub once: bool,
    /// The body is one JSON object.
    pub well_formed: bool,
    /// It names several models where there may be one.
    pub models_differ: bool,
}

impl ProtocolRoute {
    /// Whether a call with this body must not be made twice, whatever an upstream replies: it
    /// submits work that continues without it.
    #[must_use]
    pub fn is_made_once(&self, body: &[u8]) -> bool {
        if self.once || !self.request.reads_once {
            return self.once;
        }
        let read = self.read_request(&PathCaptures::default(), "", body);
        read.once || read.ambiguous
    }

    /// Whether this body asks for work that continues without its client.
    #[must_use]
    pub fn continues_without_client(&self, body: &[u8]) -> bool {
        self.request.reads_once && self.read_request(&PathCaptures::default(), "", body).once
    }

    /// The members of a request's body that units are read of, by the names that lead to them.
    pub fn unit_members(&self) -> impl Iterator<Item = (Meter, &[Box<str>])> {
        self.request.unit_members.iter().map(|(meter, names)| (*meter, &**names))
    }

    /// What else than members of the body says units.
    pub fn unit_sources(&self) -> impl Iterator<Item = (Meter, &UnitSource)> {
        self.request.unit_sources.iter().map(|(meter, source)| (*meter, source))
    }

    /// Reads a request: what its path captured, its query, and its JSON body (empty, where it has
    /// none or is of another type).
    #[must_use]
    pub fn read_request(
        &self,
        captures: &PathCaptures,
        query: &str,
        body: &[u8],
    ) -> RequestReading {
        let RequestRules { program, units, unit_sources, .. } = &*self.request;
        let mut walker = JsonWalker::new(program);
        let used = walker.feed(program, body);
        walker.finish(program);
        let whole = body[used..].iter().all(u8::is_ascii_whitespace);
        let found = &walker.found;
        // Of several places that bound the same, which one its vendor reads is not known here.
        let largest = |what| {
            let counts = found.texts(program, what).filter_map(|it| count::read(it.as_bytes()));
            counts.map(|count| count.whole).max()
        };
        let stand_in = |sources: &[ValueSource], what: TextRole| {
            let mut found = found.texts(program, what).map(str::to_owned);
            sources.iter().find_map(|source| source.read(&mut found, captures, query))
        };
        let heads = HeadUnits::read(unit_sources, captures, query);
        let (resources, ambiguous) = self.resources(found, captures, (query, body));
        RequestReading {
            model: stand_in(&self.model, TextRole::Model)
                .map(|model| self.priced_as(self.without_prefix(&model))),
            models_differ: found.differs,
            ambiguous: found.unclear || ambiguous,
            resources,
            input_tokens: found.text.tokens(),
            // Of a batch only the sum of its requests: a member beside them bounds nothing.
            output_limit: match self.has_models() {
                true => self.request.allowed.clone().filter_map(|slot| found.number(slot)).max(),
                false => largest(TextRole::Allowed),
            },
            times: largest(TextRole::Times).map_or(1, |count| count.max(1)),
            units: read_units(units, found, &heads),
            bad_units: bad_units(program, units, (found, &heads)),
            once: found.texts(program, TextRole::Once).any(|it| it != "false"),
            stream: found.texts(program, TextRole::Stream).any(|it| it == "true"),
            well_formed: whole && walker.is_done() && walker.is_object(),
        }
    }

    /// Whether a request may say how many of a unit it asks for.
    #[must_use]
    pub fn says_before(&self, unit: Meter) -> bool {
        let said = |slots: &Range<usize>, usual: &Option<i64>| !slots.is_empty() || usual.is_some();
        let mut units = self.request.units.iter();
        units.any(|(known, slots, usual)| *known == unit && said(slots, usual))
            || self.unit_sources().any(|(known, _)| known == unit)
    }

    /// Whether a call comes to some of a unit, of which its document knows that the request does
    /// not say how much.
    #[must_use]
    pub fn leaves_unsaid(&self, unit: Meter) -> bool {
        let mut units = self.request.units.iter();
        units.any(|(known, ..)| *known == unit) && !self.says_before(unit)
    }

    /// Whether its replies may count a unit, or the reports about the task that it submits.
    #[must_use]
    pub fn counts(&self, unit: Meter) -> bool {
        let usage = &self.rules.usage;
        usage.slots.iter().any(|(meter, slots)| *meter == unit && !slots.is_empty())
            || usage.headers.iter().any(|source| source.meter == unit)
    }

    /// Whether a JSON body may name something that was made before. Most bodies can't, and need
    /// not be read for it.
    #[must_use]
    pub fn may_use_resources(&self, body: &[u8]) -> bool {
        self.request.body_names.may_be_in(body)
    }

    fn resources(
        &self,
        found: &DocumentValues,
        captures: &PathCaptures,
        (query, body): (&str, &[u8]),
    ) -> (Vec<String>, bool) {
        let mut ids: Vec<String> =
            found.texts(&self.request.program, TextRole::Resource).map(str::to_owned).collect();
        let mut ambiguous = false;
        if let Some(program) =
            self.request.anywhere.as_ref().filter(|_| self.may_use_resources(body))
        {
            let mut walker = JsonWalker::new(program);
            walker.feed(program, body);
            let texts = walker.found.texts(program, TextRole::Resource);
            ids.extend(texts.map(str::to_owned));
            ambiguous = walker.found.unclear;
        }
        for source in &self.uses {
            let other = match source {
                ValueSource::Path => captures.get("id").map(str::to_owned),
                ValueSource::Query(name) => parameter(query, name),
                ValueSource::Body(_)
                | ValueSource::Every(_)
                | ValueSource::Anywhere(_)
                | ValueSource::Default(_) => None,
            };
            ids.extend(other);
        }
        ids.retain(|id| !self.ids.is_public(id));
        ids.iter_mut().for_each(|id| self.ids.shorten(id));
        // What stands behind a blank is no part of an id: "1320098173412546 U2".
        ids.iter_mut().for_each(|id| {
            if let Some(first) = id.split_whitespace().next().filter(|it| it.len() < id.len()) {
                *id = first.to_owned();
            }
        });
        ids.dedup();
        (ids, ambiguous)
    }
}

impl ValueSource {
    /// The value of this source; `body` gives the texts that pointers found.
    fn read(
        &self,
        body: &mut impl Iterator<Item = String>,
        captures: &PathCaptures,
        query: &str,
    ) -> Option<String> {
        match self {
            Self::Body(_) | Self::Every(_) | Self::Anywhere(_) => body.next(),
            Self::Path => captures.get("model").map(str::to_owned),
            Self::Query(name) => parameter(query, name),
            Self::Default(name) => Some(name.to_string()),
        }
    }
}

/// The units that a request's query and path say.
struct HeadUnits {
    counts: Vec<(Meter, i64)>,
    bad: Vec<(Meter, String)>,
}

impl HeadUnits {
    fn read(sources: &[(Meter, UnitSource)], captures: &PathCaptures, query: &str) -> Self {
        let mut heads = Self { counts: Vec::new(), bad: Vec::new() };
        for (meter, source) in sources {
            let text = match source {
                UnitSource::Query(name) => parameter(query, name),
                UnitSource::Path(name) => captures.get(name).map(str::to_owned),
            };
            let Some(text) = text else { continue };
            // As in a body: some write a length with its unit.
            let digits = text.strip_suffix('s').filter(|_| *meter == Meter::Seconds);
            match count::read(digits.unwrap_or(&text).as_bytes()) {
                Some(said) => heads.counts.push((*meter, said.whole + i64::from(said.fraction))),
                None => heads.bad.push((*meter, text.chars().take(MAX_FAULT_CHARS).collect())),
            }
        }
        heads
    }

    fn of(&self, unit: Meter) -> impl Iterator<Item = i64> {
        let own = self.counts.iter().filter(move |(meter, _)| *meter == unit);
        own.map(|(_, count)| *count)
    }
}

/// All counts of a unit above 0, the preferred one first: none of it is what many read as, as many
/// as usual.
fn counts_of(
    (unit, slots): (Meter, &Range<usize>),
    found: &DocumentValues,
    heads: &HeadUnits,
) -> impl Iterator<Item = i64> {
    let in_body = slots.clone().filter_map(|slot| found.number(slot));
    in_body.chain(heads.of(unit)).filter(|count| *count > 0)
}

fn read_units(units: &UnitSlots, found: &DocumentValues, heads: &HeadUnits) -> Meters {
    let counted = units.iter().filter_map(|(meter, slots, usual)| {
        let said = counts_of((*meter, slots), found, heads).next();
        Some((*meter, said.or(*usual)?))
    });
    counted.collect()
}

/// Units whose count can't be billed: what is written is none, or two places of the same unit have
/// two, of which one vendor reads this and another that.
fn bad_units(
    program: &PointerProgram,
    units: &UnitSlots,
    (found, heads): (&DocumentValues, &HeadUnits),
) -> Vec<(Meter, String)> {
    let bad = found.bad_counts(program).map(|(meter, text)| (meter, text.to_owned()));
    let differing = units.iter().filter_map(|(meter, slots, _)| {
        let mut counts = counts_of((*meter, slots), found, heads);
        let first = counts.next()?;
        let other = counts.find(|count| *count != first)?;
        Some((*meter, format!("{first} / {other}")))
    });
    bad.chain(heads.bad.iter().cloned()).chain(differing).collect()
}

/// The first value of a query's parameter, decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8().map(|it| it.into_owned()).ok()
    };
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| decode(key).is_some_and(|key| key == name))?;
    decode(value).filter(|value| !value.is_empty())
}

/// All parameters, decoded; one without a value is empty.
pub(crate) fn all_parameters(query: &str) -> impl Iterator<Item = (String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(move |(name, value)| (decode(name), decode(value)))
}
