//! Reads a request for its price: what it asks for in units, and what is refused because nobody
//! would count it. Calls and trials of documents read by the same.

use crate::faults;
use domain::{Fault, Meter};
use protocol::{PathCaptures, ProtocolRoute, Refusal, RequestReading, UnitSource, UsageMember};
use std::sync::Arc;
use upstream::query;
use upstream::splice::{MemberError, text_at, with_true};

/// A route by which a call is read for its price.
pub struct PricedRoute {
    /// The route.
    pub route: Arc<ProtocolRoute>,
    /// What it captures of the path.
    pub captures: PathCaptures,
    /// Those by which its channels' replies are read; none: a reply may be read by none.
    pub readers: Vec<Arc<ProtocolRoute>>,
}

/// A request, as a route reads it.
#[derive(Clone, Copy)]
pub struct PricedReading<'a> {
    /// What was read.
    pub read: &'a RequestReading,
    /// The query.
    pub query: &'a str,
    /// The body as one JSON object, also of a form.
    pub json: &'a [u8],
}

impl PricedRoute {
    /// Whether the reply counts a unit, whichever channel it comes from.
    #[must_use]
    pub fn counts(&self, unit: Meter) -> bool {
        !self.readers.is_empty() && self.readers.iter().all(|reader| reader.counts(unit))
    }

    /// The units that are known of the call, from the request or from the reply.
    pub fn known_units(&self) -> impl Iterator<Item = Meter> {
        let units = Meter::ALL.into_iter().filter(|meter| !meter.is_tokens());
        units.filter(|unit| self.route.says_before(*unit) || self.counts(*unit))
    }

    /// Refuses a request if one of these units has a price that the request does not let count: its
    /// count is none, or may be read differently, or nobody says it.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check_units(&self, units: &[Meter], request: PricedReading<'_>) -> Result<(), Fault> {
        let PricedReading { read, query, json } = request;
        let route = &self.route;
        for unit in units {
            self.check_count(*unit, read)?;
        }
        for (_, names) in route.unit_members().filter(|(unit, _)| units.contains(unit)) {
            text_at(json, names).map_err(unclear)?;
        }
        for (_, source) in route.unit_sources().filter(|(unit, _)| units.contains(unit)) {
            if let UnitSource::Query(name) = source {
                query::parameter(query, name).map_err(|_| faults::ambiguous(name))?;
            }
        }
        self.check_counted(units, read)?;
        units.iter().try_for_each(|unit| check_form(route, *unit, json))
    }

    /// Refuses a count that is none.
    fn check_count(&self, unit: Meter, read: &RequestReading) -> Result<(), Fault> {
        match read.bad_units.iter().find(|(meter, _)| *meter == unit) {
            Some((_, text)) => Err(faults::unit_unread(unit, &self.places_of(unit), text)),
            None => Ok(()),
        }
    }

    /// Refuses a request that leaves a count of something that has a price to its vendor, where
    /// neither the protocol knows what the vendor takes then, nor the replies of all its channels
    /// say what it was; and one of which it is known that nobody says it.
    fn check_counted(&self, units: &[Meter], read: &RequestReading) -> Result<(), Fault> {
        let route = &self.route;
        let mut uncounted = units.iter().copied().filter(|unit| !self.counts(*unit));
        if let Some(unit) = uncounted.clone().find(|unit| route.leaves_unsaid(*unit)) {
            return Err(faults::units_unknown(unit.as_str(), &words(self.known_units())));
        }
        let is_unsaid = |unit: &Meter| route.says_before(*unit) && read.units.get(*unit).is_none();
        match uncounted.find(is_unsaid) {
            Some(unit) => Err(faults::unit_unsaid(unit, &self.places_of(unit))),
            None => Ok(()),
        }
    }

    /// Refuses a call that is priced by these units alone, none of which is known of it: neither
    /// its request nor its reply says how many.
    ///
    /// # Errors
    /// When it is so.
    pub fn check_known(&self, units: &[Meter]) -> Result<(), Fault> {
        if self.known_units().any(|unit| units.contains(&unit)) {
            return Ok(());
        }
        Err(faults::units_unknown(&words(units.iter().copied()), &words(self.known_units())))
    }

    /// Where a request says a unit, in words.
    fn places_of(&self, unit: Meter) -> String {
        let members = self.route.unit_members().filter(|(known, _)| *known == unit);
        let members = members.map(|(_, names)| names.join("."));
        let others = self.route.unit_sources().filter(|(known, _)| *known == unit);
        let others = others.map(|(_, source)| match source {
            UnitSource::Query(name) => format!("?{name}="),
            UnitSource::Path(name) => format!("{{{name}}}"),
        });
        members.chain(others).collect::<Vec<_>>().join(" / ")
    }
}

/// What asks for usage, where the reply reports it only if the request asks for it, and this one
/// says nothing of it.
#[must_use]
pub fn usage_to_ask<'a>(
    route: &'a ProtocolRoute,
    read: &RequestReading,
    json: &[u8],
) -> Option<&'a UsageMember> {
    let asked = route.ask_usage.as_ref().filter(|asked| read.stream || asked.extra.is_none())?;
    let names = asked.ask.names()?;
    matches!(with_true(json, &names), Ok(Some(_))).then_some(asked)
}

fn words(units: impl Iterator<Item = Meter>) -> String {
    units.map(Meter::as_str).collect::<Vec<_>>().join(", ")
}

/// Refuses a request for a reply that does not count what has a price, in a form in which others
/// do.
fn check_form(route: &ProtocolRoute, unit: Meter, json: &[u8]) -> Result<(), Fault> {
    for name in route.refused_members_of(unit) {
        text_at(json, &[name]).map_err(unclear)?;
    }
    match route.refusal_of(unit, json) {
        Ok(Some(Refusal { zh, en, .. })) => Err(faults::invalid(zh, en)),
        Ok(None) => Ok(()),
        Err(_) => Err(faults::body_ambiguous()),
    }
}

/// The fault of a member that two readers may read differently.
#[must_use]
pub fn unclear(error: MemberError) -> Fault {
    faults::invalid(error.zh(), error.to_string())
}
