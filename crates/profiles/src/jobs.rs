//! The running jobs, by kind and place.

use super::strings::Strings;
use domain::UnixMs;
use pprof::protos::{Function, Line, Location, Profile, Sample, ValueType};
use roster::Job;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

/// Jobs started by the same source line.
struct Group {
    count: i64,
    oldest: Instant,
}

type Groups = BTreeMap<(&'static str, &'static str, u32), Group>;

fn grouped(alive: &[Job]) -> Groups {
    let mut groups = Groups::new();
    for job in alive {
        let key = (job.kind, job.place.file(), job.place.line());
        let group = groups.entry(key).or_insert(Group { count: 0, oldest: job.since });
        group.count += 1;
        group.oldest = group.oldest.min(job.since);
    }
    groups
}

/// As text: how many, of what kind, since when, started where.
pub(crate) fn text(alive: &[Job]) -> String {
    let mut text = format!("goroutine profile: total {}\n", alive.len());
    for ((kind, file, line), group) in grouped(alive) {
        let age = group.oldest.elapsed();
        let (seconds, millis) = (age.as_secs(), age.subsec_millis());
        let count = group.count;
        let _ = writeln!(text, "{count} {kind}, oldest {seconds}.{millis:03}s @ {file}:{line}");
    }
    text
}

/// As a profile: each group is a stack of one frame, named like its kind.
pub(crate) fn profile(alive: &[Job], now: UnixMs) -> Profile {
    let mut strings = Strings::default();
    let unit = ValueType { ty: strings.index("goroutine"), unit: strings.index("count") };
    let mut profile = Profile {
        sample_type: vec![unit.clone()],
        period_type: Some(unit),
        period: 1,
        time_nanos: now.0.saturating_mul(1_000_000),
        ..Profile::default()
    };
    for (id, ((kind, file, line), group)) in (1..).zip(grouped(alive)) {
        let (name, filename) = (strings.index(kind), strings.index(file));
        let line = Line { function_id: id, line: line.into() };
        let function = Function { id, name, system_name: name, filename, start_line: line.line };
        profile.function.push(function);
        profile.location.push(Location { id, line: vec![line], ..Location::default() });
        let sample =
            Sample { location_id: vec![id], value: vec![group.count], ..Sample::default() };
        profile.sample.push(sample);
    }
    profile.string_table = strings.table();
    profile
}
