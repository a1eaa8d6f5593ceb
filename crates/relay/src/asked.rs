//! What a request asks for, as far as its price, its hold and the reading of its reply depend on
//! it. Read before anything is held; where nothing depends on the body, it is not read.

use crate::inlet::Inlet;
use crate::request_body::plain;
use crate::{HoldMode, Relay, faults};
use bytes::Bytes;
use domain::{Fault, FrozenPrice, Meter, Meters, ModelName, Schedule};
use egress::RequestTexts;
use egress::request_body::{form_as_json, kind};
use egress::request_units::{PricedReading, PricedRoute, unclear, usage_to_ask};
use http::HeaderMap;
use protocol::ProtocolRoute;
use std::sync::Arc;
use upstream::media::MediaKind;
use upstream::urlencoded;

/// More output than any call may have is held by none.
const MOST_TOKENS: i64 = 1_000_000_000;

/// What a request asks for. Of a price per call, nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Tokens of its text, about, which stand in for a usage that is not reported.
    pub input_tokens: i64,
    /// It allows no output: a reply without any is what was asked for.
    pub allows_nothing: bool,
    /// The route by which usage is asked for, because the client has not.
    pub usage: Option<Arc<ProtocolRoute>>,
    /// What has a price of its own, as far as the request says how much.
    pub units: Option<Arc<Meters>>,
    /// What the call may come to: for the hold. Of units, one of all that the request could have
    /// said and did not, and that the reply counts.
    pub expected: Option<Arc<Meters>>,
}

/// A request, as it is read for its price.
pub(crate) struct PricedRequest<'a> {
    pub relay: &'a Relay,
    pub model: &'a ModelName,
    /// The calls that it may be, in the protocols of its channels.
    pub routes: &'a [PricedRoute],
    pub headers: &'a HeaderMap,
    pub query: &'a str,
    /// The body, where it was decompressed already.
    pub plain: Option<&'a Bytes>,
    pub inlet: &'a Inlet,
    /// It submits a task.
    pub is_submission: bool,
}

/// Whether the price, or the hold, depends on the request.
pub(crate) fn reads_request(price: &FrozenPrice, routes: &[PricedRoute]) -> bool {
    let has_members = |it: &Arc<Schedule>| it.request_members().next().is_some();
    price.schedule.as_ref().is_some_and(has_members) || price.is_by_use() && !routes.is_empty()
}

impl PricedRequest<'_> {
    /// The price for this request, and what it asks for.
    pub(crate) fn read(
        &self,
        price: Option<FrozenPrice>,
    ) -> Result<(Option<FrozenPrice>, Asked), Fault> {
        match price {
            Some(price) if reads_request(&price, self.routes) => {
                let (mut price, asked) = self.read_for(price)?;
                // A task's result comes when nothing else is known of its request.
                let units = asked.units.as_deref().filter(|_| self.is_submission);
                price.asked = units.map(|units| Box::new(*units));
                Ok((Some(price), asked))
            }
            price => Ok((price, Asked::default())),
        }
    }

    fn read_for(&self, price: FrozenPrice) -> Result<(FrozenPrice, Asked), Fault> {
        let schedule = price.schedule.clone();
        let reads_text = price.is_by_use() && !self.routes.is_empty();
        let json = self.json(schedule.as_deref().is_some_and(|it| self.is_priced_by_body(it)))?;
        let asked = match reads_text {
            true => self.asked(&json, schedule.as_deref(), price.is_of_units())?,
            false => Asked::default(),
        };
        let in_path = |name: &str| {
            let captured = self.routes.iter().find_map(|it| it.captures.get(name));
            captured.map(str::to_owned)
        };
        let texts = RequestTexts { body: &json, query: self.query, in_path: &in_path };
        Ok((egress::price_for(price, texts).map_err(unclear)?, asked))
    }

    /// What the request asks for, of several protocols the most.
    fn asked(
        &self,
        json: &[u8],
        schedule: Option<&Schedule>,
        is_of_units: bool,
    ) -> Result<Asked, Fault> {
        let priced_units: Vec<Meter> =
            schedule.map_or_else(Vec::new, |it| it.units().iter().map(|(unit, _)| *unit).collect());
        let priced = |meter: &Meter| priced_units.contains(meter);
        let mut all = Asked::default();
        let (mut units, mut could_say) = (Meters::default(), Meters::default());
        let mut output: Option<i64> = None;
        for priced_route in self.routes {
            let route = &priced_route.route;
            let read = route.read_request(&priced_route.captures, self.query, json);
            if read.ambiguous {
                return Err(faults::body_ambiguous());
            }
            let reading = PricedReading { read: &read, query: self.query, json };
            priced_route.check_units(&priced_units, reading)?;
            if is_of_units {
                priced_route.check_known(&priced_units)?;
            }
            let said = route.unit_members().map(|(meter, _)| meter);
            let said = said.chain(route.unit_sources().map(|(meter, _)| meter));
            said.filter(priced).for_each(|meter| could_say.set(meter, 1));
            if usage_to_ask(route, &read, json).is_some() {
                all.usage = Some(Arc::clone(route));
            }
            all.input_tokens = all.input_tokens.max(read.input_tokens);
            all.allows_nothing |= read.output_limit == Some(0);
            let allowed = read.output_limit.map(|limit| limit.saturating_mul(read.times));
            output = output.max(allowed.map(|allowed| allowed.min(MOST_TOKENS)));
            for (meter, count) in read.units.iter().filter(|(meter, _)| priced(meter)) {
                units.set(meter, count.max(units.get(meter).unwrap_or(1)));
            }
        }
        let mut expected = could_say;
        units.iter().for_each(|(meter, count)| expected.set(meter, count));
        let mode = self.relay.config.hold;
        if mode != HoldMode::Min {
            expected.set(Meter::Input, all.input_tokens);
        }
        if mode == HoldMode::Full
            && let Some(output) = output.or_else(|| self.usual_output())
        {
            expected.set(Meter::Output, output);
        }
        let some = |meters: Meters| (!meters.is_empty()).then(|| Arc::new(meters));
        all.units = some(units);
        all.expected = some(expected);
        Ok(all)
    }

    /// The output of calls of the model, for those whose requests name no limit.
    fn usual_output(&self) -> Option<i64> {
        self.relay.usual_outputs.most(self.model.as_str(), self.relay.clock.now())
    }

    /// Whether the body decides what the call costs: by a tier, or by a unit that it may count, or
    /// that replies count in some forms only.
    fn is_priced_by_body(&self, schedule: &Schedule) -> bool {
        let is_in_body = |route: &ProtocolRoute, unit: Meter| {
            let is_counted = route.unit_members().any(|(counted, _)| counted == unit);
            is_counted || route.refused_members_of(unit).next().is_some()
        };
        let mut pairs = schedule.units().iter().flat_map(|(unit, _)| {
            self.routes.iter().map(move |priced_route| (&*priced_route.route, *unit))
        });
        schedule.reads_bodies() || pairs.any(|(route, unit)| is_in_body(route, unit))
    }

    /// The body as one JSON object. Where the price depends on it, one that can't be read is
    /// refused: what can't be read could ask for anything.
    fn json(&self, is_needed: bool) -> Result<Bytes, Fault> {
        let plain = match (self.plain, self.inlet.whole()) {
            (Some(plain), _) => plain.clone(),
            (None, Some(body)) => plain(self.headers, body, &self.relay.config)?,
            (None, None) => Bytes::new(),
        };
        if plain.is_empty() {
            return Ok(Bytes::from_static(b"{}"));
        }
        match kind(self.headers) {
            Err(fault) if is_needed => Err(fault),
            // Where nothing depends on it, it may be anything.
            Ok(MediaKind::Urlencoded) if !is_needed => {
                Ok(urlencoded::as_json(&plain).map_or(plain, Bytes::from))
            }
            kind => Ok(form_as_json(kind.ok().as_ref(), &plain)?.map_or(plain, Bytes::from)),
        }
    }
}
