//! Profiles of stacks: code addresses with measured values.

use super::code::Code;
use super::strings::Strings;
use pprof::protos::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType};
use std::collections::{BTreeSet, HashMap};
use std::io;

/// The values measured at one stack.
pub(crate) struct Stack {
    /// The return address of each of its functions, the innermost first: one past its call.
    pub addresses: Vec<u64>,
    /// As many as there are `Measure::values`.
    pub values: Vec<i64>,
    pub thread: Option<String>,
}

/// A name and a unit.
pub(crate) type NamedUnit = (&'static str, &'static str);

/// What is measured, and how.
pub(crate) struct Measure {
    pub values: &'static [NamedUnit],
    /// Type and period of the sampling.
    pub period: (NamedUnit, i64),
    pub time_nanos: i64,
    pub duration_nanos: i64,
    /// How many of a stack's innermost functions belong to the measurement; they are left out.
    pub hidden: fn(&[&str]) -> usize,
    /// Whether the innermost function was interrupted, rather than calling: its address is exact.
    pub interrupts: bool,
}

/// Resolves the stacks to names.
pub(crate) fn profile(measure: &Measure, stacks: Vec<Stack>) -> io::Result<Profile> {
    let addresses: BTreeSet<u64> = stacks
        .iter()
        .flat_map(|stack| &stack.addresses)
        .flat_map(|at| [*at, at.saturating_sub(1)])
        .collect();
    let code = Code::around(&addresses)?;
    let mut drawing = Drawing::on(&code);
    for stack in stacks {
        drawing.add(stack, measure);
    }
    Ok(drawing.finish(measure))
}

/// A profile under construction.
struct Drawing<'c> {
    code: &'c Code,
    strings: Strings,
    profile: Profile,
    /// By name.
    functions: HashMap<&'c str, u64>,
    /// By address.
    locations: HashMap<u64, u64>,
}

impl<'c> Drawing<'c> {
    fn on(code: &'c Code) -> Self {
        let mut strings = Strings::default();
        let mapping = (1..).zip(&code.pieces).map(|(id, piece)| Mapping {
            id,
            memory_start: piece.start,
            memory_limit: piece.end,
            file_offset: piece.offset,
            filename: strings.index(&piece.path.to_string_lossy()),
            build_id: strings.index(&piece.build_id),
            ..Mapping::default()
        });
        let profile = Profile { mapping: mapping.collect(), ..Profile::default() };
        Self { code, strings, profile, functions: HashMap::new(), locations: HashMap::new() }
    }

    fn add(&mut self, stack: Stack, measure: &Measure) {
        let mut places: Vec<u64> = stack.addresses.iter().map(|at| at.saturating_sub(1)).collect();
        let named = places.iter().map(|at| self.code.name(*at).unwrap_or_default());
        let hidden = (measure.hidden)(&named.collect::<Vec<_>>());
        places.drain(..hidden.min(places.len()));
        if let Some(innermost) = places.first_mut().filter(|_| measure.interrupts) {
            *innermost += 1;
        }
        let thread = stack.thread.map(|thread| Label {
            key: self.strings.index("thread"),
            str: self.strings.index(&thread),
            ..Label::default()
        });
        let sample = Sample {
            location_id: places.into_iter().map(|address| self.location(address)).collect(),
            value: stack.values,
            label: Vec::from_iter(thread),
        };
        self.profile.sample.push(sample);
    }

    fn location(&mut self, address: u64) -> u64 {
        if let Some(id) = self.locations.get(&address) {
            return *id;
        }
        let id = next_id(self.profile.location.len());
        let name = self.code.name(address);
        let line = name.map(|name| Line { function_id: self.function(name), ..Line::default() });
        let mapping = self.code.place(address).map(|place| &mut self.profile.mapping[place]);
        let mapping_id = mapping.map_or(0, |mapping| {
            // Readers then skip their own symbolisation.
            mapping.has_functions |= name.is_some();
            mapping.id
        });
        let line = Vec::from_iter(line);
        self.profile.location.push(Location {
            id,
            mapping_id,
            address,
            line,
            ..Location::default()
        });
        self.locations.insert(address, id);
        id
    }

    fn function(&mut self, name: &'c str) -> u64 {
        *self.functions.entry(name).or_insert_with(|| {
            let id = next_id(self.profile.function.len());
            let name = self.strings.index(name);
            self.profile.function.push(Function { id, name, ..Function::default() });
            id
        })
    }

    fn finish(mut self, measure: &Measure) -> Profile {
        let strings = &mut self.strings;
        let mut value = |(ty, unit)| ValueType { ty: strings.index(ty), unit: strings.index(unit) };
        let (period_type, period) = measure.period;
        Profile {
            sample_type: measure.values.iter().copied().map(&mut value).collect(),
            period_type: Some(value(period_type)),
            period,
            time_nanos: measure.time_nanos,
            duration_nanos: measure.duration_nanos,
            string_table: self.strings.table(),
            ..self.profile
        }
    }
}

/// The id of a new entry beside `len` others. Ids count from 1.
fn next_id(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX - 1) + 1
}
