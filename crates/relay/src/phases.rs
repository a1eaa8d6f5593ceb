//! One request, phase by phase: [`run_phases`] always returns a response; `handle` determines the
//! model; `call_model` leads to the claim; `execute` from the choice of a channel to the end.
//! `send` and `deliver` branch further.
//!
//! identify → admit → take in → route → price → claim → choose → hold → \[estimate → grow\] → send
//! → deliver and scan → settle or release → record. Each phase is a helper in a file of its own;
//! `record` happens when the [`Record`] is dropped, on every path.

use crate::billing::Payer;
use crate::call::{ApiBody, ApiTarget, Call, CallTarget, NamedBy, needs_whole, pass_path};
use crate::channels::Candidates;
use crate::client_link::ClientLink;
use crate::context::Context;
use crate::deliver::{Delivery, deliver};
use crate::flow::FlowBody;
use crate::idempotency::{self, Claimed, fingerprint};
use crate::identify::{Caller, identify, rate_of, token_rate_of};
use crate::inlet::{Inlet, InletRules, check_length, take_in};
use crate::outcome::{Outcome, Reading};
use crate::record::Record;
use crate::request_body::{kind, model_in_body, plain};
use crate::reservation::Reservation;
use crate::send::{none_left, send};
use crate::spoken::{PathMeaning, Spoken};
use crate::submit::{self, SubmitOptions};
use crate::surface::{ApiPath, Surface, surface};
use crate::{Relay, billing, faults, models, route, spoken, task_view};
use domain::{Fault, FrozenPrice, ModelName, Pricing};
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use store::Channel;
use web::Body;

/// A request as it arrived.
struct Arrival {
    head: Parts,
    body: Incoming,
    peer: SocketAddr,
}

/// A request for a model, as far as its path determines it.
struct ModelRequest {
    head: Parts,
    model: ModelName,
    /// Of a call of an API: its path, and its body.
    api: Option<(ApiPath, ApiBody)>,
    body: Intake,
}

/// A request's body.
enum Intake {
    /// Taken in already.
    Here(Inlet),
    /// Not read yet.
    Coming(Incoming),
}

/// A call that may be made: its caller, its channels, and its options, if it submits a task.
#[derive(Clone, Copy)]
pub(crate) struct Order<'a> {
    pub call: &'a Call,
    pub caller: &'a Caller,
    pub candidates: &'a [Arc<Channel>],
    pub submission: Option<&'a SubmitOptions>,
}

/// All phases: the client gets a response on every path.
pub(crate) async fn run_phases(
    relay: Arc<Relay>,
    request: Request<Incoming>,
    peer: SocketAddr,
    link: Arc<ClientLink>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let request_id = web::request_id(&head.headers, relay.clock.now());
    let span = relay.tracer.incoming(&head.method, &head.headers);
    let mut record = Record::open(Arc::clone(&relay), Arc::clone(&request_id), span);
    let arrival = Arrival { head, body, peer };
    let mut response = match handle(&relay, arrival, &link, &mut record).await {
        Ok(Delivery::Whole(response)) => {
            record.answers(response.status());
            response
        }
        Ok(Delivery::Flowing(response, source)) => {
            record.answers(response.status());
            response.map(|()| web::boxed(FlowBody::new(*source, record)))
        }
        Err(fault) => {
            record.fail(&fault);
            let response = web::render_fault_as(record.errors, &fault, &request_id);
            record.answers(response.status());
            return response;
        }
    };
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(web::X_REQUEST_ID, id);
    }
    response
}

/// From the path to the model. A fault ends the request; nothing is reserved any more by then.
async fn handle(
    relay: &Arc<Relay>,
    arrival: Arrival,
    link: &ClientLink,
    record: &mut Record,
) -> Result<Delivery, Fault> {
    if relay.refuses.load(Ordering::Relaxed) {
        return Err(faults::out_of_memory());
    }
    let Arrival { head, body, peer } = arrival;
    let surface = surface_of(relay, &head)?;
    record.trace.call.route(&head.method, surface.route());
    if let Surface::Api(ApiPath { spoken: Some(spoken), .. }) = &surface {
        record.errors = spoken.errors();
    }
    check_no_key(&surface, head.uri.query())?;
    let address = relay.config.trusted_proxies.client_address(peer, &head.headers);
    let caller = identify(&relay.live, &head.headers, address, relay.clock.now()).await?;
    record.user_id = Some(caller.identity.user_id);
    record.key_id = Some(caller.identity.key_id);
    admit(relay, &caller).await?;
    if matches!(surface, Surface::Pass(_) | Surface::Api(_)) {
        record.counts_tokens_of = token_rate_of(&caller.identity);
        look_for_tokens(relay, record).await?;
    }
    check_length(&head.headers, &relay.config)?;
    check_query(&surface, head.uri.query())?;
    let share = relay.budget.share_of(caller.identity.user_id);
    let mut ctx = Context { relay, link, record, share };
    let request = match surface {
        Surface::Pass(model) => ModelRequest { head, model, api: None, body: Intake::Coming(body) },
        Surface::Api(api) => read_api(&mut ctx, &caller, api, (head, body)).await?,
        own => return Box::pin(answer_ourselves(&mut ctx, own, &caller, (head, body))).await,
    };
    call_model(ctx, &caller, request).await
}

/// Route, price, take in and claim: everything before the choice of a channel.
async fn call_model(
    mut ctx: Context<'_>,
    caller: &Caller,
    request: ModelRequest,
) -> Result<Delivery, Fault> {
    let relay = ctx.relay;
    let ModelRequest { mut head, model, api, body } = request;
    ctx.record.model = Some(model.as_str().into());
    let submission = SubmitOptions::take(&model, &mut head.headers)?;
    ctx.record.is_async = submission.is_some();

    let catalog = relay.live.catalog.load_full();
    let candidates = route::candidates(&catalog, &caller.identity, model.as_str())?;
    let candidates = match &api {
        None if candidates.iter().all(|it| spoken::is_custom_pass(it)) => Cow::Borrowed(candidates),
        None => route::speaking(candidates, &head.method, &pass_path(&model))?,
        Some((api, _)) => route::speaking(candidates, &head.method, &api.absolute())?,
    };
    let candidates = &*candidates;
    let is_free = |api: &ApiPath| api.spoken.as_ref().is_some_and(Spoken::is_free);
    let price = match route::price(&catalog, &caller.identity, model.as_str(), &relay.config)? {
        Pricing::Priced(price) if !api.as_ref().is_some_and(|(api, _)| is_free(api)) => Some(price),
        Pricing::Priced(_) | Pricing::Free => None,
    };
    let idempotency_key = idempotency::key_of(&head.headers)?.map(str::to_owned);
    let inlet = match body {
        Intake::Here(inlet) => inlet,
        Intake::Coming(body) => {
            let by_use = price.as_ref().is_some_and(FrozenPrice::is_by_use);
            let kept = submission.is_some() && submit::may_be_repeated(candidates);
            let whole = kept || idempotency_key.is_some() || needs_whole(candidates, by_use);
            let least = price.as_ref().and_then(|price| price.first_hold(None).ok());
            let payer = least.map(|_| Payer { relay, identity: &caller.identity, least });
            let rules = InletRules { config: &relay.config, whole, payer };
            take_in(&head.headers, body, rules, &mut ctx.share).await?
        }
    };
    let mut call = Call {
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        key: caller.key.clone(),
        request_id: Arc::clone(&ctx.record.request_id),
        model,
        target: api.map_or(CallTarget::Model, |(api, body)| {
            let is_by_use = price.as_ref().is_some_and(FrozenPrice::is_by_use);
            let counted = api.spoken.as_ref().filter(|_| is_by_use);
            let asked = counted.map(|spoken| spoken.asked(&body.plain)).unwrap_or_default();
            CallTarget::Api(ApiTarget { api, body, asked })
        }),
        inlet,
        is_json: false,
    };
    if let Some(price) = &price {
        call.check_estimate(price, candidates, &relay.config)?;
    }

    let order = Order { call: &call, caller, candidates, submission: submission.as_ref() };
    let ticket = match claim(&ctx, order, idempotency_key.as_deref()).await? {
        None => None,
        Some(Claimed::Mine(ticket)) => Some(ticket),
        Some(Claimed::Replay(response)) => {
            ctx.record.succeed();
            return Ok(Delivery::Whole(response));
        }
    };
    execute(ctx, order, price, Reservation::claimed(ticket)).await
}

/// From the choice of a channel to the end of the reservation.
async fn execute(
    mut ctx: Context<'_>,
    order: Order<'_>,
    price: Option<FrozenPrice>,
    mut reservation: Reservation,
) -> Result<Delivery, Fault> {
    let Order { call, submission, .. } = order;
    let user_id = order.caller.identity.user_id;
    let mut candidates = Candidates::new(&ctx.relay.channels, order.candidates, user_id);
    let first = match candidates.choose() {
        Ok(chosen) => chosen,
        Err(busy) => {
            reservation.release(ctx.record, "no_channel").await;
            return Err(none_left(busy));
        }
    };
    ctx.record.channel_id = Some(first.0.id);
    if let Err(fault) = reserve(&ctx, order, price, &mut reservation).await {
        reservation.release(ctx.record, "not_held").await;
        return Err(fault);
    }
    if submission.is_some() && ctx.link.is_disconnected() {
        reservation.release(ctx.record, "client_gone").await;
        return Err(faults::client_gone());
    }
    match send(&mut ctx, call, (candidates, first), &mut reservation).await {
        Ok(answer) if submission.is_some() => {
            Box::pin(submit::deliver(ctx, call, answer, reservation)).await
        }
        Ok(answer) => deliver(ctx, call, answer, reservation).await,
        Err(Outcome { money, client }) => {
            reservation.end(ctx.record, money, Reading::default(), None).await?;
            Err(client.into_fault())
        }
    }
}

fn surface_of(relay: &Relay, head: &Parts) -> Result<Surface, Fault> {
    let catalog = relay.live.catalog.load();
    let is_model = |name: &str| catalog.model_exists(name);
    let meaning = PathMeaning { is_model: &is_model, protocols: catalog.spoken_protocols() };
    surface(meaning, &head.method, head.uri.path())
}

/// A query is written into logs on its way, here and upstream: no key may be in it. Where a
/// protocol has the path, a parameter by which its API takes keys is refused whatever it says.
fn check_no_key(surface: &Surface, query: Option<&str>) -> Result<(), Fault> {
    let Some(query) = query else { return Ok(()) };
    let is_spoken = matches!(surface, Surface::Api(ApiPath { spoken: Some(_), .. }));
    let names_key = || {
        ["key", "api_key", "access_token"].iter().any(|name| upstream::says(query.as_bytes(), name))
    };
    if upstream::query::presents_key(query.as_bytes()) || is_spoken && names_key() {
        return Err(faults::key_in_query());
    }
    Ok(())
}

/// Parameters that a client may not send in its query: some upstreams prefer them to the body.
fn check_query(surface: &Surface, query: Option<&str>) -> Result<(), Fault> {
    let says = |name| query.is_some_and(|query| upstream::says(query.as_bytes(), name));
    if says("precharge") {
        return Err(faults::precharge_said());
    }
    if matches!(surface, Surface::Api(_)) && says("model") {
        return Err(faults::model_said());
    }
    Ok(())
}

/// Holds the money; for a submission, creates its task, too. Then the phases must complete.
async fn reserve(
    ctx: &Context<'_>,
    order: Order<'_>,
    price: Option<FrozenPrice>,
    reservation: &mut Reservation,
) -> Result<(), Fault> {
    if order.submission.is_some() {
        // No deadline reverts a row without money, so even its creation must complete.
        ctx.link.must_complete();
        return Box::pin(submit::open(ctx, order, price, reservation)).await;
    }
    let Some(price) = price else { return Ok(()) };
    reservation.hold(ctx, order, price, None).await?;
    ctx.link.must_complete();
    Ok(())
}

/// The rate limit of the key, and the number of calls in flight.
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

/// Reads which model a call of an API means: as a rule its body names it.
async fn read_api(
    ctx: &mut Context<'_>,
    caller: &Caller,
    api: ApiPath,
    (head, body): (Parts, Incoming),
) -> Result<ModelRequest, Fault> {
    let relay = ctx.relay;
    let named = api.spoken.as_ref().and_then(Spoken::model_in_path).transpose()?;
    if !body.is_end_stream() && named.is_none() {
        // A request that will be refused need not be taken in.
        kind(&head.headers)?;
    }
    let payer = Some(Payer { relay, identity: &caller.identity, least: None });
    let rules = InletRules { config: &relay.config, whole: true, payer };
    let inlet = take_in(&head.headers, body, rules, &mut ctx.share).await?;
    let bytes = inlet.whole().cloned().unwrap_or_default();
    let (model, body) = match named {
        Some(model) => {
            let plain = plain(&head.headers, &bytes, &relay.config)?;
            (model, ApiBody { plain, named_by: NamedBy::Path })
        }
        None => {
            let default = api.spoken.as_ref().and_then(Spoken::default_model);
            model_in_body(&head.headers, &bytes, default, &relay.config)?
        }
    };
    Ok(ModelRequest { head, model, api: Some((api, body)), body: Intake::Here(inlet) })
}

/// Requests answered without an upstream.
async fn answer_ourselves(
    ctx: &mut Context<'_>,
    surface: Surface,
    caller: &Caller,
    (head, body): (Parts, Incoming),
) -> Result<Delivery, Fault> {
    ctx.record.keep_silent();
    let (relay, identity) = (ctx.relay, &*caller.identity);
    let catalog = relay.live.catalog.load_full();
    let response = match surface {
        Surface::Models => models::list(&catalog, identity),
        Surface::Model(model) => models::one(&catalog, identity, model.as_str())?,
        Surface::Subscription => {
            billing::subscription(&relay.db, identity, relay.clock.now()).await?
        }
        Surface::Usage => billing::usage(&relay.db, identity, relay.clock.now()).await?,
        Surface::Tasks(call) => task_view::answer(relay, call, (&head, body), caller).await?,
        Surface::Pass(_) | Surface::Api(_) | Surface::Unknown => return Err(faults::not_found()),
    };
    Ok(Delivery::Whole(response))
}

/// Claims the client's idempotency key, if it sent one.
async fn claim(
    ctx: &Context<'_>,
    order: Order<'_>,
    key: Option<&str>,
) -> Result<Option<Claimed>, Fault> {
    let Some(key) = key else { return Ok(None) };
    // A claim must be ended: from here on the phases complete.
    ctx.link.must_complete();
    let call = order.call;
    let body = call.inlet.whole().map_or(&[][..], |body| body);
    let webhook_url = order.submission.and_then(|options| options.webhook_url.as_deref());
    let fingerprint = fingerprint((&call.method, &call.uri, &call.headers), webhook_url, body);
    let user_id = order.caller.identity.user_id;
    Box::pin(idempotency::claim(ctx.relay, user_id, key, &fingerprint)).await.map(Some)
}
