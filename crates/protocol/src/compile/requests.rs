//! How requests are read.

use super::problems::Found;
use super::replies::{keep, pointers, units};
use crate::document::{Document, HoldSection, Texts};
use crate::program::{Builder, Kept};
use crate::request::RequestRules;
use crate::route::{Source, UsageRequest};

/// The rules of a route's requests; `None` where something is wrong.
pub(super) fn rules(
    document: &Document,
    model: &[Source],
    uses: &[Source],
    found: &mut Found,
) -> Option<RequestRules> {
    let mut builder = Builder::new();
    let none = HoldSection::default();
    let hold = document.hold.as_ref().unwrap_or(&none);
    let units = units(&hold.units, &mut builder, found);
    keep("hold.output", &hold.output, Kept::Allowed, &mut builder, found);
    keep("hold.times", &hold.times, Kept::Times, &mut builder, found);
    if let Some(stream) = &document.stream {
        let when = Texts(vec![stream.when.clone()]);
        keep("stream.when", &when, Kept::Stream, &mut builder, found);
    }
    keep("route.model", &from_body(model), Kept::Model, &mut builder, found);
    keep("route.uses", &from_body(uses), Kept::Resource, &mut builder, found);
    for (at, pointer) in pointers("hold.input", &hold.input, found) {
        let done = builder.text(&pointer, true);
        found.ok(&at, done)?;
    }
    Some(RequestRules { program: builder.build(), units })
}

/// How the usage of a route's streams is asked for.
pub(super) fn ask_usage(
    document: &Document,
    wanted: bool,
    at: &str,
    found: &mut Found,
) -> Option<UsageRequest> {
    let at = format!("{at}.ask_usage");
    match &document.stream {
        _ if !wanted => None,
        None => {
            found.at(at, "is true, and there is no [stream] that says how");
            None
        }
        Some(stream) => Some(UsageRequest {
            when: found.pointer("stream.when", &stream.when)?,
            ask: found.pointer("stream.ask", &stream.ask)?,
            extra: found.pointer("stream.extra", &stream.extra)?,
        }),
    }
}

fn from_body(sources: &[Source]) -> Texts {
    let pointer = |source: &Source| match source {
        Source::Body(pointer) => Some(pointer.to_string()),
        _ => None,
    };
    Texts(sources.iter().filter_map(pointer).collect())
}
