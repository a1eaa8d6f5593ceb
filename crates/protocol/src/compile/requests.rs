//! How requests are read.

use super::problems::ProblemList;
use super::replies::{keep, pointers, units};
use crate::document::{Document, HoldSection, TextList};
use crate::program::{PointerProgram, TextRole};
use crate::program_builder::ProgramBuilder;
use crate::request::RequestRules;
use crate::route::{UsageMember, ValueSource};

/// The rules of a route's requests; `None` where something is wrong.
pub(super) fn rules(
    document: &Document,
    (model, uses, once): (&[ValueSource], &[ValueSource], &TextList),
    found: &mut ProblemList,
) -> Option<RequestRules> {
    let mut builder = ProgramBuilder::new();
    let none = HoldSection::default();
    let hold = document.hold.as_ref().unwrap_or(&none);
    let (units, unit_members) = units(&hold.units, &mut builder, found);
    keep("hold.output", &hold.output, TextRole::Allowed, &mut builder, found);
    keep("hold.times", &hold.times, TextRole::Times, &mut builder, found);
    if let Some(stream) = &document.stream {
        let when = TextList(vec![stream.when.clone()]);
        keep("stream.when", &when, TextRole::Stream, &mut builder, found);
    }
    keep("route.once", once, TextRole::Once, &mut builder, found);
    keep("route.model", &from_body(model), TextRole::Model, &mut builder, found);
    keep("route.uses", &from_body(uses), TextRole::Resource, &mut builder, found);
    for (at, pointer) in pointers("hold.input", &hold.input, found) {
        let done = builder.text(&pointer, true);
        found.ok(&at, done)?;
    }
    let reads_once = !once.0.is_empty();
    let anywhere = anywhere(uses, found);
    Some(RequestRules { program: builder.build(), units, unit_members, reads_once, anywhere })
}

/// How the usage of a route's streams is asked for.
pub(super) fn ask_usage(
    document: &Document,
    wanted: bool,
    at: &str,
    found: &mut ProblemList,
) -> Option<UsageMember> {
    let at = format!("{at}.ask_usage");
    match &document.stream {
        _ if !wanted => None,
        None => {
            found.at(at, "is true, and there is no [stream] that says how");
            None
        }
        Some(stream) => Some(UsageMember {
            when: found.pointer("stream.when", &stream.when)?,
            ask: found.pointer("stream.ask", &stream.ask)?,
            extra: found.pointer("stream.extra", &stream.extra)?,
        }),
    }
}

/// The program for ids that stand anywhere in a body.
fn anywhere(uses: &[ValueSource], found: &mut ProblemList) -> Option<PointerProgram> {
    let mut builder = ProgramBuilder::new();
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
        ValueSource::Body(pointer) => Some(pointer.to_string()),
        _ => None,
    };
    TextList(sources.iter().filter_map(pointer).collect())
}
