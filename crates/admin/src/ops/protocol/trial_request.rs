//! What the data plane would do with a request on trial: refuse it, or read and add to it. All is
//! read by what calls are read by.

use super::trial::TrialInput;
use domain::{Fault, Meter};
use egress::faults;
use egress::request_body::{
    ModelPlaces, Named, NamedBy, check_body, check_head, check_readable, form_as_json, kind,
    model_in_body, models_in_body, resource_ids, unreadable,
};
use egress::request_units::{PricedReading, PricedRoute, usage_to_ask};
use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::{Meters, PriceWord, Protocol, RequestReading, RouteMatch, TaskWord};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use upstream::media::{MediaKind, media_kind};
use utoipa::ToSchema;

/// What is read of a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TrialRequest {
    /// Why such a call would be refused, whatever its model costs.
    pub refused: Option<TrialText>,
    /// The model.
    pub model: Option<String>,
    /// A member that is read stands twice, or in another spelling: such a request is refused.
    pub ambiguous: bool,
    /// It asks for a stream.
    pub stream: bool,
    /// Tokens of its text, about.
    pub input_tokens: i64,
    /// How many tokens of output it allows.
    pub output_limit: Option<i64>,
    /// How many replies it asks for.
    pub replies: i64,
    /// What it asks for in units.
    pub units: BTreeMap<String, i64>,
    /// Units that its reply counts.
    pub units_of_reply: Vec<String>,
    /// Units for which such a request is refused where they have a price, and why.
    pub units_refused: BTreeMap<String, TrialText>,
    /// What is added to it on its way up, or taken from it: members and headers.
    pub added: Vec<String>,
    /// The ids of resources that it is about.
    pub resources: Vec<String>,
}

/// A message, in both languages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TrialText {
    /// In Chinese.
    pub zh: String,
    /// In English.
    pub en: String,
}

impl From<Fault> for TrialText {
    fn from(fault: Fault) -> Self {
        Self { zh: fault.zh, en: fault.en }
    }
}

/// A request that is tried, and the route that it takes.
pub(super) struct TriedRequest<'a> {
    pub protocol: &'a Protocol,
    pub found: &'a RouteMatch<'a>,
    pub query: &'a str,
    pub input: &'a TrialInput,
}

/// Who names the model, and what it is about.
struct NamedModel {
    model: Option<String>,
    by: NamedBy,
    ids: Vec<String>,
}

impl TriedRequest<'_> {
    /// What is read of it, for clients and for its price.
    pub(super) fn read(&self) -> (TrialRequest, RequestReading) {
        let headers = self.headers();
        let body = self.input.request.as_bytes();
        let found = self.found;
        let named = self.named(&headers, body);
        let (fields, unread) = match form_as_json(kind(&headers).ok().as_ref(), body) {
            Ok(fields) => (fields, None),
            Err(fault) => (None, Some(fault)),
        };
        let json = match &fields {
            Some(fields) => fields.as_bytes(),
            None if body.is_empty() => b"{}",
            None => body,
        };
        let read = found.route.read_request(&found.captures, self.query, json);
        let is_free = self.is_free();
        let (of_reply, refused) = match is_free {
            true => (Vec::new(), BTreeMap::new()),
            false => self.units(&read, json),
        };
        let named = named.and_then(|named| unread.map_or(Ok(named), Err));
        let added = match &named {
            Ok(named) => self.added(&headers, (named, is_free), (&read, json)),
            Err(_) => Vec::new(),
        };
        let (refused_as, named) = match named {
            Ok(named) => (None, Some(named)),
            Err(fault) => (Some(TrialText::from(fault)), None),
        };
        let (model, resources) = match named {
            Some(named) => (named.model, named.ids),
            None => (read.model.clone(), read.resources.clone()),
        };
        let request = TrialRequest {
            refused: refused_as,
            model,
            ambiguous: read.ambiguous,
            stream: read.stream,
            input_tokens: read.input_tokens,
            output_limit: read.output_limit,
            replies: read.times,
            units: counts(&read.units),
            units_of_reply: of_reply,
            units_refused: refused,
            added,
            resources,
        };
        (request, read)
    }

    /// Whether such calls cost nothing, whatever their model's price is.
    pub(super) fn is_free(&self) -> bool {
        let route = self.found.route;
        let is_about_task =
            matches!(route.task, Some(TaskWord::Ask | TaskWord::Fetch | TaskWord::Cancel));
        route.price == PriceWord::Free || is_about_task
    }

    /// The request's headers; a body whose type is not said is JSON.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let lines = self.input.request_headers.lines().filter_map(|line| line.split_once(':'));
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.trim().as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value.trim())) {
                headers.append(name, value);
            }
        }
        let json = HeaderValue::from_static("application/json");
        headers.entry(http::header::CONTENT_TYPE).or_insert(json);
        headers
    }

    /// Who names the model, as far as the call is not refused.
    fn named(&self, headers: &HeaderMap, body: &[u8]) -> Result<NamedModel, Fault> {
        let (route, captures) = (&**self.found.route, &self.found.captures);
        let read_by = (route, captures);
        let places = ModelPlaces::of(route);
        places.check_query(self.query)?;
        check_head(route, Some(self.query), headers)?;
        let named = Named::outside_of_body(read_by, self.query)?;
        let reads_body = matches!(named, Named::InBody) && !body.is_empty();
        let declared = media_kind(headers);
        let media = declared.as_ref().ok().filter(|_| !body.is_empty());
        if reads_body {
            declared.clone().map_err(unreadable)?;
        }
        check_readable(route, (media, body), reads_body)?;
        check_body(route, media, body)?;
        let ids = resource_ids(read_by, Some(self.query), (media, body))?;
        let (model, by) = match named {
            _ if route.has_models() => (models_in_body(read_by, body)?, NamedBy::Elsewhere),
            Named::Outside(model, by) => (model, by),
            Named::ByResource => {
                return Ok(NamedModel { model: None, by: NamedBy::Elsewhere, ids });
            }
            Named::InBody => match media {
                Some(media) => model_in_body(media, body, &places)?,
                None => return Err(faults::model_missing()),
            },
        };
        // What names the protocol, where a call names nothing, is no model.
        let is_named = !(route.model.is_empty() && route.uses.is_empty());
        let model = is_named.then(|| model.to_string());
        Ok(NamedModel { model, by, ids })
    }

    /// Of all units that could have a price: those that the reply counts, and those for which the
    /// request would be refused.
    fn units(
        &self,
        read: &RequestReading,
        json: &[u8],
    ) -> (Vec<String>, BTreeMap<String, TrialText>) {
        let route = self.found.route;
        let readers = vec![Arc::clone(route)];
        let captures = self.found.captures.clone();
        let priced = PricedRoute { route: Arc::clone(route), captures, readers };
        let units = || Meter::ALL.into_iter().filter(|meter| !meter.is_tokens());
        let reading = PricedReading { read, query: self.query, json };
        let refused = |unit: Meter| {
            let is_known = priced.known_units().any(|known| known == unit);
            let is_meant = is_known || route.leaves_unsaid(unit);
            let fault = is_meant.then(|| priced.check_units(&[unit], reading).err()).flatten()?;
            Some((unit.as_str().to_owned(), TrialText::from(fault)))
        };
        let of_reply = units().filter(|unit| priced.counts(*unit));
        (
            of_reply.map(|unit| unit.as_str().to_owned()).collect(),
            units().filter_map(refused).collect(),
        )
    }

    /// What is added on the way up.
    fn added(
        &self,
        headers: &HeaderMap,
        (named, is_free): (&NamedModel, bool),
        (read, json): (&RequestReading, &[u8]),
    ) -> Vec<String> {
        let route = self.found.route;
        let mut added = Vec::new();
        let model = named.model.as_deref().unwrap_or_default();
        match &named.by {
            NamedBy::Default(member) => added.push(format!("/{member}: {model:?}")),
            NamedBy::Query(name) if upstream::query::parameter(self.query, name) == Ok(None) => {
                added.push(format!("?{name}={model}"));
            }
            _ => {}
        }
        let is_json = !self.input.request.is_empty() && media_kind(headers) == Ok(MediaKind::Json);
        let asked = usage_to_ask(route, read, json).filter(|_| is_json && !is_free);
        if let Some(names) = asked.and_then(|asked| asked.ask.names()) {
            added.push(format!("/{}: true", names.join("/")));
        }
        let defaults = self.protocol.auth.default_headers();
        let defaults = defaults.filter(|(name, _)| !headers.contains_key(*name));
        let own = route.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        added.extend(defaults.chain(own).map(|(name, value)| match value {
            "" => format!("{name} is not sent"),
            value => format!("{name}: {value}"),
        }));
        added
    }
}

pub(super) fn counts(meters: &Meters) -> BTreeMap<String, i64> {
    meters.iter().map(|(meter, count)| (meter.as_str().to_owned(), count)).collect()
}
