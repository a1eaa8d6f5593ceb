//! One request, as a walk: the phases in order. `passage` leads to the claim, `carry_out` from the
//! choice of a channel to the end; `send` and `deliver` branch further.
//!
//! identify → admit → route → price → claim → choose → hold → \[estimate → grow\] → send →
//! relay and scan → settle or release → record. Each phase is a helper in a file of its own;
//! `record` happens when the [`Record`] is dropped, on whatever path that is.

use crate::billing::Payer;
use crate::call::{Call, Target, V1Body, needs_whole};
use crate::carry::Tie;
use crate::deal::Deal;
use crate::deliver::{Ending, deliver};
use crate::flow::FlowBody;
use crate::idempotency::{self, Claimed, fingerprint};
use crate::identify::{Caller, identify, rate_of, token_rate_of};
use crate::inlet::{Inlet, InletRules, check_length, take_in};
use crate::record::Record;
use crate::request_body::{kind, model_in_body};
use crate::send::{none_left, send};
use crate::surface::{Surface, surface};
use crate::verdict::Reading;
use crate::{Relay, billing, faults, models, route, submit, task_view};
use domain::{Fault, FrozenPrice, ModelName, Pricing};
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use store::Channel;
use web::Body;
use web::memory::Share;

/// The whole walk: whatever happens, the client gets a response.
pub(crate) async fn walk(
    relay: Arc<Relay>,
    request: Request<Incoming>,
    peer: SocketAddr,
    tie: Arc<Tie>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let request_id = web::request_id(&head.headers, relay.clock.now());
    let span = relay.tracer.incoming(&head.method, &head.headers);
    let mut record = Record::open(Arc::clone(&relay), Arc::clone(&request_id), span);
    let mut response = match passage(&relay, head, body, peer, &tie, &mut record).await {
        Ok(Ending::Whole(response)) => {
            record.answers(response.status());
            response
        }
        Ok(Ending::Flowing(response, source)) => {
            record.answers(response.status());
            response.map(|()| web::boxed(FlowBody::new(*source, record)))
        }
        Err(fault) => {
            record.fail(&fault);
            let response = web::render_fault(&fault, &request_id);
            record.answers(response.status());
            return response;
        }
    };
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(web::X_REQUEST_ID, id);
    }
    response
}

/// The phases in order. A fault ends the walk; by then nothing is at stake any more.
async fn passage(
    relay: &Arc<Relay>,
    mut head: Parts,
    body: Incoming,
    peer: SocketAddr,
    tie: &Tie,
    record: &mut Record,
) -> Result<Ending, Fault> {
    if relay.refuses.load(Ordering::Relaxed) {
        return Err(faults::out_of_memory());
    }
    let surface = surface_of(relay, &head)?;
    record.trace.call.route(&head.method, surface.route());
    let address = relay.config.trusted_proxies.client_address(peer, &head.headers);
    let caller = identify(&relay.live, &head.headers, address, relay.clock.now()).await?;
    record.user_id = Some(caller.identity.user_id);
    record.key_id = Some(caller.identity.key_id);
    admit(relay, &caller).await?;
    if matches!(surface, Surface::Pass(_) | Surface::V1(_)) {
        record.counts_tokens_of = token_rate_of(&caller.identity);
        look_for_tokens(relay, record).await?;
    }
    check_length(&head.headers, &relay.config)?;
    check_query(&surface, head.uri.query())?;
    let mut share = relay.budget.share_of(caller.identity.user_id);
    let asked = match surface {
        Surface::Pass(model) => Asked { model, v1: None, body: Intake::Coming(body) },
        Surface::V1(path) => read_v1(relay, &caller, &head, (path, body), &mut share).await?,
        own => return Box::pin(answer_ourselves(relay, own, &head, body, &caller, record)).await,
    };
    record.model = Some(asked.model.as_str().into());
    let wish = submit::Wish::of(&asked.model, &mut head.headers, record)?;

    let catalog = relay.live.catalog.load_full();
    let candidates = route::candidates(&catalog, &caller.identity, asked.model.as_str())?;
    let pricing = route::price(&catalog, &caller.identity, asked.model.as_str(), &relay.config)?;
    let price = match pricing {
        Pricing::Free => None,
        Pricing::Priced(price) => Some(price),
    };
    let idempotency_key = idempotency::key_of(&head.headers)?.map(str::to_owned);
    let inlet = match asked.body {
        Intake::Here(inlet) => inlet,
        Intake::Coming(body) => {
            let by_use = price.as_ref().is_some_and(FrozenPrice::is_by_use);
            let kept = wish.is_some() && submit::may_be_repeated(candidates);
            let whole = kept || idempotency_key.is_some() || needs_whole(candidates, by_use);
            let least = price.as_ref().and_then(|price| price.first_hold().ok());
            let payer = least.map(|_| Payer { relay, identity: &caller.identity, least });
            let rules = InletRules { config: &relay.config, whole, payer };
            take_in(&head.headers, body, rules, &mut share).await?
        }
    };
    let mut call = call_of(head, caller.key.clone(), record, asked.model, asked.v1, inlet);
    if let Some(price) = &price {
        call.check_estimate(price, candidates, &relay.config)?;
    }

    let order = Order { call: &call, caller: &caller, candidates, wish: wish.as_ref() };
    let ticket = match claim(relay, order, idempotency_key.as_deref(), tie).await? {
        None => None,
        Some(Claimed::Mine(ticket)) => Some(ticket),
        Some(Claimed::Replay(response)) => {
            record.succeed();
            return Ok(Ending::Whole(response));
        }
    };
    carry_out(relay, order, price, Deal::claimed(ticket), share, tie, record).await
}

/// A call that may be made: by whom, to which channels, and what is wished of its task, if it
/// submits one.
#[derive(Clone, Copy)]
pub(crate) struct Order<'a> {
    pub call: &'a Call,
    pub caller: &'a Caller,
    pub candidates: &'a [Arc<Channel>],
    pub wish: Option<&'a submit::Wish>,
}

/// From the choice of a channel to the end of the deal.
async fn carry_out(
    relay: &Relay,
    order: Order<'_>,
    price: Option<FrozenPrice>,
    mut deal: Deal,
    share: Share,
    tie: &Tie,
    record: &mut Record,
) -> Result<Ending, Fault> {
    let Order { call, candidates, wish, .. } = order;
    let mut excluded = Vec::new();
    let chosen = match relay.channels.pick(candidates, &mut excluded) {
        Ok(chosen) => chosen,
        Err(busy) => {
            deal.release(relay, record, "no_channel").await;
            return Err(none_left(busy));
        }
    };
    record.channel_id = Some(chosen.0.id);
    if let Err(fault) = put_aside(relay, order, price, &mut deal, tie, record).await {
        deal.release(relay, record, "not_held").await;
        return Err(fault);
    }
    if wish.is_some() && tie.is_gone() {
        deal.release(relay, record, "client_gone").await;
        return Err(faults::client_gone());
    }
    match send(relay, call, candidates, chosen, excluded, &mut deal, record, tie).await {
        Ok(answer) if wish.is_some() => {
            Box::pin(submit::deliver(relay, call, answer, deal, record, tie, share)).await
        }
        Ok(answer) => deliver(relay, call, answer, deal, record, tie, share).await,
        Err(failure) => {
            let nothing = Reading::default();
            deal.end(relay, record, failure.money, nothing, None).await?;
            Err(failure.fault)
        }
    }
}

fn surface_of(relay: &Relay, head: &Parts) -> Result<Surface, Fault> {
    let is_model = |name: &str| relay.live.catalog.load().model_exists(name);
    surface(&head.method, head.uri.path(), is_model)
}

/// What a client may not say in its query: some upstreams would believe it before the body.
fn check_query(surface: &Surface, query: Option<&str>) -> Result<(), Fault> {
    let says = |name| query.is_some_and(|query| upstream::says(query.as_bytes(), name));
    if says("precharge") {
        return Err(faults::precharge_said());
    }
    if matches!(surface, Surface::V1(_)) && says("model") {
        return Err(faults::model_said());
    }
    Ok(())
}

/// Holds the money; for a submission, makes its task, too. Then the walk must reach its end.
async fn put_aside(
    relay: &Relay,
    order: Order<'_>,
    price: Option<FrozenPrice>,
    deal: &mut Deal,
    tie: &Tie,
    record: &Record,
) -> Result<(), Fault> {
    if let Some(wish) = order.wish {
        // A row without money is nobody's to take back, so not even its making may be left.
        tie.at_stake();
        return Box::pin(submit::open(relay, order, price, wish, deal, record)).await;
    }
    let Some(price) = price else { return Ok(()) };
    let identity = &order.caller.identity;
    deal.hold(relay, identity, order.candidates, price, None, record).await?;
    tie.at_stake();
    Ok(())
}

/// Rate, and how much is at work already.
async fn admit(relay: &Relay, caller: &Caller) -> Result<(), Fault> {
    if relay.metrics.in_flight.get() > relay.config.max_in_flight {
        return Err(faults::overloaded());
    }
    let Some((key_id, per_minute)) = rate_of(&caller.identity) else { return Ok(()) };
    let taken = relay.limits.take(key_id, per_minute, relay.now_us()).await;
    taken.map_err(|wait_us| faults::rate_limited(seconds(wait_us)))
}

/// Whether the key has tokens left in this minute. What the call uses is known when it has ended.
async fn look_for_tokens(relay: &Relay, record: &Record) -> Result<(), Fault> {
    let Some((key_id, _)) = record.counts_tokens_of else { return Ok(()) };
    let looked = relay.limits.look_for_tokens(key_id, relay.now_us()).await;
    looked.map_err(|wait_us| faults::tokens_used_up(seconds(wait_us)))
}

fn seconds(wait_us: i64) -> u32 {
    u32::try_from(wait_us / 1_000_000).unwrap_or(u32::MAX).saturating_add(1)
}

/// What a request asks for.
struct Asked {
    model: ModelName,
    v1: Option<(ModelName, V1Body)>,
    body: Intake,
}

/// A request's body.
enum Intake {
    /// Taken in already.
    Here(Inlet),
    /// Nobody has looked at it.
    Coming(Incoming),
}

/// Under `/v1` the body says which model is meant.
async fn read_v1(
    relay: &Relay,
    caller: &Caller,
    head: &Parts,
    (path, body): (ModelName, Incoming),
    share: &mut Share,
) -> Result<Asked, Fault> {
    if !body.is_end_stream() {
        // What will be refused need not be taken in.
        kind(&head.headers)?;
    }
    let payer = Some(Payer { relay, identity: &caller.identity, least: None });
    let rules = InletRules { config: &relay.config, whole: true, payer };
    let inlet = take_in(&head.headers, body, rules, share).await?;
    let bytes = inlet.whole().cloned().unwrap_or_default();
    let (model, v1_body) = model_in_body(&head.headers, &bytes, &relay.config)?;
    Ok(Asked { model, v1: Some((path, v1_body)), body: Intake::Here(inlet) })
}

/// What we answer without an upstream.
async fn answer_ourselves(
    relay: &Arc<Relay>,
    surface: Surface,
    head: &Parts,
    body: Incoming,
    caller: &Caller,
    record: &mut Record,
) -> Result<Ending, Fault> {
    record.keep_silent();
    let identity = &*caller.identity;
    let catalog = relay.live.catalog.load_full();
    let response = match surface {
        Surface::Models => models::list(&catalog, identity),
        Surface::Model(model) => models::one(&catalog, identity, model.as_str())?,
        Surface::Subscription => {
            billing::subscription(&relay.db, identity, relay.clock.now()).await?
        }
        Surface::Usage => billing::usage(&relay.db, identity, relay.clock.now()).await?,
        Surface::Tasks(call) => task_view::answer(relay, call, head, body, caller).await?,
        Surface::Pass(_) | Surface::V1(_) | Surface::Unknown => return Err(faults::not_found()),
    };
    Ok(Ending::Whole(response))
}

fn call_of(
    head: Parts,
    key: HeaderValue,
    record: &Record,
    model: ModelName,
    v1: Option<(ModelName, V1Body)>,
    inlet: Inlet,
) -> Call {
    Call {
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        key,
        request_id: Arc::clone(&record.request_id),
        model,
        target: match v1 {
            None => Target::Model,
            Some((path, body)) => Target::V1 { path, body },
        },
        inlet,
        is_json: false,
    }
}

/// Claims the client's idempotency key, if it sent one.
async fn claim(
    relay: &Relay,
    order: Order<'_>,
    key: Option<&str>,
    tie: &Tie,
) -> Result<Option<Claimed>, Fault> {
    let Some(key) = key else { return Ok(None) };
    // A claim must be ended: from here on the walk is carried on.
    tie.at_stake();
    let call = order.call;
    let body = call.inlet.whole().map_or(&[][..], |body| body);
    let webhook_url = order.wish.and_then(|wish| wish.webhook_url.as_deref());
    let fingerprint = fingerprint((&call.method, &call.uri, &call.headers), webhook_url, body);
    let claiming = idempotency::claim(relay, order.caller.identity.user_id, key, &fingerprint);
    Box::pin(claiming).await.map(Some)
}
