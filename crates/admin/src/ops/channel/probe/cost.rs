//! What was read of the reply to a trial, and what the call would have cost.

use crate::ops::unpriced;
use crate::{AdminError, AdminState};
use domain::{FrozenPrice, Pricing, Quota, Ratio, Usage};
use egress::{CUSTOM_PASS, Prepared, RequestTexts, price_for};
use http::Method;
use protocol::{CallOutcome, PriceNeeds, PriceWord, ReplyReading, RouteMatch};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Catalog;
use utoipa::ToSchema;

/// What the call would have cost a user of the channel's first group whose own ratio is 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProbeCost {
    /// That group.
    pub group: String,
    /// The charge; none where the call would have been refused.
    pub quota: Option<Quota>,
    /// Where it comes from: the formula with its numbers, or why nothing is charged.
    pub calculation: String,
}

/// A call that was made.
pub(super) struct CallMade<'a> {
    pub model: &'a str,
    pub method: &'a Method,
    pub path: &'a str,
    pub body: &'a [u8],
}

/// What a reply was read as.
pub(super) struct ReplyRead {
    /// It says that the call failed: in these words, where it has any.
    pub failure: Option<String>,
    /// What was counted.
    pub usage: BTreeMap<String, i64>,
    pub cost: ProbeCost,
}

/// The routes and prices by which a call is read.
pub(super) struct CostReader {
    catalog: Arc<Catalog>,
    refuses_unpriced: bool,
}

impl CostReader {
    pub(super) async fn new(state: &AdminState) -> Result<Self, AdminError> {
        let catalog = match &state.live {
            Some(live) => live.catalog.load_full(),
            None => Arc::new(Catalog::load(&state.db, &state.sealer).await?),
        };
        Ok(Self { catalog, refuses_unpriced: unpriced::are_refused(state) })
    }

    /// What a reply was read as, and what the relay would charge for it.
    pub(super) fn settle(
        &self,
        target: &Prepared,
        call: &CallMade<'_>,
        read: Option<(RouteMatch<'_>, ReplyReading)>,
    ) -> ReplyRead {
        let group = target.channel.groups.first().map_or("default", String::as_str).to_owned();
        let Some((found, reading)) = read else {
            let calculation = "no route of the protocol has this path".to_owned();
            let cost = ProbeCost { group, quota: None, calculation };
            return ReplyRead { failure: None, usage: BTreeMap::new(), cost };
        };
        let (quota, calculation) = match self.cost(&group, &found, call, &reading) {
            Ok((quota, calculation)) => (Some(quota), calculation),
            Err(why) => (None, why),
        };
        let counts = reading.meters.iter().map(|(meter, count)| (meter.as_str().to_owned(), count));
        ReplyRead {
            usage: counts.collect(),
            failure: matches!(reading.outcome, CallOutcome::Failed(_)).then(|| {
                reading.message.clone().unwrap_or_else(|| reading.outcome.as_str().to_owned())
            }),
            cost: ProbeCost { group, quota, calculation },
        }
    }

    /// The route by which a call is read: under `/v1` one of the protocols that are spoken there.
    pub(super) fn route<'a>(
        &'a self,
        target: &'a Prepared,
        call: &CallMade<'_>,
    ) -> Option<RouteMatch<'a>> {
        let (method, protocol) = (call.method.as_str(), &target.protocol);
        let path = path_of_client(target, call);
        protocol.route(method, &path).or_else(|| {
            let spoken = self.catalog.spoken_protocols().iter();
            let mut spoken = spoken.filter(|_| *protocol.name == *CUSTOM_PASS);
            spoken.find_map(|protocol| protocol.route(method, &path))
        })
    }

    /// The charge and its calculation, or why the call would have been refused.
    fn cost(
        &self,
        group: &str,
        found: &RouteMatch<'_>,
        call: &CallMade<'_>,
        reading: &ReplyReading,
    ) -> Result<(Quota, String), String> {
        let nothing = |why: &str| Ok((Quota::ZERO, why.to_owned()));
        if found.route.price == PriceWord::Free {
            return nothing("calls of this route are free");
        }
        match reading.outcome {
            CallOutcome::Failed(_) => return nothing("not charged: the call failed"),
            CallOutcome::Empty => return nothing("not charged: the reply has nothing in it"),
            CallOutcome::Delivered => {}
        }
        let price = self.price(group, found, call)?;
        let price = match price {
            Some(price) => price,
            None if self.refuses_unpriced => {
                return Err("refused: the model has no price".to_owned());
            }
            None => return nothing("the model has no price: it is free"),
        };
        let asked = found.route.read_request(&found.captures, "", call.body);
        let usage = match *found.route.protocol == *CUSTOM_PASS {
            true => reading.reported(PriceNeeds::of(Some(&price))).unwrap_or_default(),
            false => reading.usage(PriceNeeds::of(Some(&price)), asked.input_tokens, false),
        };
        let Some(usage) = usage.or_else(|| (!price.is_by_use()).then(Usage::default)) else {
            return Err("refused: the price is by use, and the reply reports none".to_owned());
        };
        let charge = price.charge(&usage).map_err(|why| format!("refused: {why}"))?;
        let calculation = price.calculation(&usage, charge);
        Ok((
            charge,
            match &usage.inconsistency {
                Some(note) if price.is_by_use() => format!("{calculation} ({note})"),
                _ => calculation,
            },
        ))
    }

    /// The model's price in a group, for this request.
    fn price(
        &self,
        group: &str,
        found: &RouteMatch<'_>,
        call: &CallMade<'_>,
    ) -> Result<Option<FrozenPrice>, String> {
        let body = if call.body.is_empty() { b"{}".as_slice() } else { call.body };
        let in_path = |name: &str| found.captures.get(name).map(str::to_owned);
        let texts = RequestTexts { body, query: "", in_path: &in_path };
        let row = self.catalog.price(call.model).map_err(|why| format!("refused: {why}"))?;
        let ratio = self.catalog.group_ratio(group).unwrap_or(Ratio::ONE);
        match Pricing::freeze(row, ratio, Ratio::ONE).map_err(|why| format!("refused: {why}"))? {
            Pricing::Free => Ok(None),
            Pricing::Priced(price) => price_for(price, texts)
                .map(Some)
                .map_err(|why| format!("refused: the price depends on the request, and {why}")),
        }
    }
}

/// The path by which a client would have made the call.
fn path_of_client<'a>(target: &Prepared, call: &CallMade<'a>) -> Cow<'a, str> {
    let is_spoken = call.path.starts_with("/v1");
    match *target.protocol.name == *CUSTOM_PASS && !is_spoken {
        true => Cow::Owned(format!("/pass{}", call.path)),
        false => Cow::Borrowed(call.path),
    }
}
