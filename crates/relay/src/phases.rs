//! One request, phase by phase: [`run_phases`] always returns a response; `handle` determines the
//! model; `call_model` leads to the claim; `execute` from the choice of a channel to the end.
//! `send` and `deliver` branch further.
//!
//! identify → admit → take in → route → price → claim → choose → hold → \[estimate → grow\] → send
//! → deliver and read → settle or release → record. Each phase is a helper in a file of its own;
//! `record` happens when the [`Record`] is dropped, on every path.

use crate::api_request::{Intake, ModelRequest, read_api};
use crate::asked::{PricedRequest, reads_request};
use crate::billing::Payer;
use crate::call::{ApiBody, ApiTarget, Call, CallTarget, needs_whole, pass_path};
use crate::channels::Candidates;
use crate::client_link::ClientLink;
use crate::context::Context;
use crate::deliver::{Delivery, deliver};
use crate::flow::FlowBody;
use crate::idempotency::{self, Claimed, fingerprint};
use crate::identify::{Caller, group_of, identify, rate_of, token_rate_of};
use crate::inlet::{InletRules, check_length, take_in};
use crate::models::ModelList;
use crate::outcome::{Outcome, Reading};
use crate::record::Record;
use crate::reservation::Reservation;
use crate::resources::{self, ResourceEffect};
use crate::send::{none_left, send};
use crate::spoken::{PathMeaning, Spoken, priced_routes};
use crate::submit::{self, SubmitOptions};
use crate::surface::{ApiPath, Surface, meant, read_shape, surface_and_method};
use crate::vendor_tasks::{self, TaskCallRead, lists_tasks};
use crate::{Relay, billing, faults, models, route, session, spoken, task_view};
use domain::{ChannelId, Fault, FaultKind, FrozenPrice, ModelName, Pricing, UserId};
use http::header::UPGRADE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use protocol::ListWord;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use store::{Catalog, Channel};
use web::{Body, Unread};

/// Parameters by which APIs take keys.
const KEY_PARAMETERS: [&str; 4] = ["key", "api_key", "access_token", "oauth_token"];

/// A request as it arrived.
struct Arrival {
    head: Parts,
    body: Incoming,
    peer: SocketAddr,
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
    if let Some(preflight) = relay.config.cors.preflight(&head) {
        return preflight;
    }
    let cors = relay.config.cors.granted(&head.headers);
    let request_id = web::request_id(&head.headers, relay.clock.now());
    let span = relay.tracer.incoming(&head.method, &head.headers);
    let mut record = Record::open(Arc::clone(&relay), Arc::clone(&request_id), span);
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    let arrival = Arrival { head, body, peer };
    let mut response = match handle(&relay, arrival, &link, &mut record).await {
        Ok(Delivery::Whole(response)) => {
            record.answers(response.status());
            response
        }
        Ok(Delivery::Flowing(response, mut source)) => {
            record.answers(response.status());
            let user_id = record.user_id.unwrap_or(UserId(0));
            let unread = Unread::new(&relay.budget, user_id);
            let pieces = source.held.take();
            let body = FlowBody::new(*source, record, unread.clone());
            let mut response = response.map(|()| web::boxed(body));
            response.extensions_mut().insert(unread);
            if let Some(pieces) = pieces {
                response.extensions_mut().insert(pieces);
            }
            response
        }
        Err(fault) => {
            record.fail(&fault);
            let response = web::render_fault_as(record.errors, &fault, &request_id);
            record.answers(response.status());
            response
        }
    };
    // Whoever answers: most caches do not know what a key is.
    if is_read {
        upstream::headers::keep_private(response.headers_mut());
    }
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(web::X_REQUEST_ID, id);
    }
    cors.add_to(&mut response);
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
    let Arrival { mut head, body, peer } = arrival;
    let surface = surface_of(relay, &mut head)?;
    record.trace.call.route(&head.method, surface.route());
    record.errors = surface.errors(&head.headers);
    check_no_websocket(&surface, &head.headers)?;
    check_no_key(&surface, head.uri.query())?;
    if let Surface::Api(api) = &surface {
        session::resume(relay, api, &mut head)?;
    }
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
    let over_https = relay.config.trusted_proxies.over_https(peer, &head.headers);
    let mut ctx = Context { relay, link, record, share, over_https };
    let request = match surface {
        Surface::Pass(model) => match api_behind(relay, &caller, &head, &model) {
            Some(api) => {
                ctx.record.errors = api.errors();
                read_api(&mut ctx, &caller, api, (head, body)).await?
            }
            None => {
                let body = Intake::Coming(body);
                ModelRequest { head, model, api: None, pinned: None, body }
            }
        },
        Surface::Api(api) if api.is_about_task() => {
            match vendor_tasks::read(&mut ctx, &caller, api, (head, body)).await? {
                TaskCallRead::Send(request) => *request,
                TaskCallRead::Answer(response) => {
                    ctx.record.keep_silent();
                    return Ok(Delivery::Whole(response));
                }
            }
        }
        Surface::Api(api) if api.list().is_none() => {
            read_api(&mut ctx, &caller, api, (head, body)).await?
        }
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
    let ModelRequest { mut head, model, api, pinned, body } = request;
    ctx.record.model = Some(model.as_str().into());

    let catalog = relay.live.catalog.load_full();
    let api_path = api.as_ref().map(|(api, _)| api);
    let candidates = candidates_for(&catalog, caller, (&head.method, &model, pinned), api_path)?;
    let (candidates, kind) = submit::kind(candidates, (&head.method, api_path), &model);
    let candidates = &*candidates;
    check_no_key_of(candidates, head.uri.query())?;
    let submission = SubmitOptions::take(kind, &mut head.headers)?;
    ctx.record.is_async = submission.is_some();
    let price = price_of(relay, &catalog, caller, (&model, api_path))?;
    let idempotency_key = idempotency::key_of(&head.headers)?.map(str::to_owned);
    let spoken = api.as_ref().and_then(|(api, _)| api.spoken.as_ref());
    let priced = || {
        let path = api_path.map_or_else(|| pass_path(&model).into(), |it| Cow::Borrowed(it.path()));
        priced_routes(candidates, (spoken, &path), &head.method)
    };
    let routes = price.as_ref().map(|_| priced()).unwrap_or_default();
    let reads_it = price.as_ref().is_some_and(|price| reads_request(price, &routes));
    let inlet = match body {
        Intake::Here(inlet) => inlet,
        Intake::Coming(body) => {
            let by_use = price.as_ref().is_some_and(FrozenPrice::is_by_use);
            let kept = submit::may_be_repeated(submission.as_ref(), candidates);
            let whole = kept || idempotency_key.is_some() || reads_it;
            let whole = whole || needs_whole(candidates, by_use);
            let least = price.as_ref().and_then(|price| price.first_hold(None).ok());
            let payer = least.map(|_| Payer { relay, identity: &caller.identity, least });
            let rules = InletRules { config: &relay.config, whole, payer };
            take_in(&head.headers, body, rules, &mut ctx.share).await?
        }
    };
    let request = PricedRequest {
        relay,
        model: &model,
        routes: &routes,
        headers: &head.headers,
        query: head.uri.query().unwrap_or_default(),
        plain: api.as_ref().and_then(|(_, body)| body.plain.as_ref()),
        inlet: &inlet,
        is_submission: submission.is_some(),
    };
    let (price, asked) = request.read(price)?;
    let by = (&head.method, head.uri.query());
    let target = api.map_or(CallTarget::Model, |api| target_of(api, by));
    let mut call = Call {
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        key: caller.key_for_upstream(),
        request_id: Arc::clone(&ctx.record.request_id),
        model,
        target,
        inlet,
        is_json: false,
        asked,
    };
    if let Some(price) = &price {
        call.check_background(price)?;
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

/// What a call costs; nothing where its model has no price, or its route has none.
fn price_of(
    relay: &Relay,
    catalog: &Catalog,
    caller: &Caller,
    (model, api): (&ModelName, Option<&ApiPath>),
) -> Result<Option<FrozenPrice>, Fault> {
    if api.and_then(|api| api.spoken.as_ref()).is_some_and(Spoken::is_free) {
        return Ok(None);
    }
    let price = match route::price(catalog, &caller.identity, model.as_str(), &relay.config)? {
        Pricing::Priced(price) => price,
        Pricing::Free => return Ok(None),
    };
    if let Some(api) = api {
        api.check_price(model.as_str(), &price)?;
    }
    Ok(Some(price))
}

fn target_of((api, body): (ApiPath, ApiBody), by: (&Method, Option<&str>)) -> CallTarget {
    let effect = ResourceEffect::of(&api, by);
    CallTarget::Api(ApiTarget { api, body, effect })
}

/// The channels that may be asked a call. `pinned`: the channel that has what it is about.
fn candidates_for<'a>(
    catalog: &'a Catalog,
    caller: &Caller,
    (method, model, pinned): (&Method, &ModelName, Option<ChannelId>),
    api: Option<&ApiPath>,
) -> Result<Cow<'a, [Arc<Channel>]>, Fault> {
    let identity = &caller.identity;
    let reads = |channel: &Channel| match api {
        None => spoken::takes_as_model(channel, method, model),
        Some(api) => api.is_read_by(channel, method),
    };
    if let Some(id) = pinned
        && api.is_some_and(ApiPath::names_no_model)
    {
        let channel = vec![route::pinned(catalog, identity, id)?];
        return Ok(route::reading(&channel, reads)?.into_owned().into());
    }
    let spoken = api.and_then(|api| api.spoken.as_ref());
    if spoken.is_some_and(Spoken::names_nothing) {
        return Ok(route::any_that(catalog, identity, reads)?.into());
    }
    let candidates = route::candidates(catalog, identity, model.as_str());
    let candidates = candidates.map_err(|fault| match spoken {
        Some(_) => fault,
        None if api.is_none() && fault.kind == FaultKind::ModelNotFound => {
            route::or_unread(catalog, identity, faults::no_model_or_path())
        }
        None => route::or_unread(catalog, identity, fault),
    })?;
    let reading = route::reading(candidates, reads)?;
    match pinned {
        None => Ok(reading),
        Some(id) => Ok(vec![route::that_has(&reading, id)?].into()),
    }
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

fn surface_of(relay: &Relay, head: &mut Parts) -> Result<Surface, Fault> {
    let catalog = relay.live.catalog.load();
    let is_model = |name: &str| catalog.model_exists(name);
    let (protocols, reads) = (catalog.spoken_protocols(), read_shape(&head.headers));
    let meaning = PathMeaning { is_model: &is_model, protocols, reads };
    let (surface, method) = surface_and_method(meaning, &head.method, head.uri.path())?;
    head.method = method;
    Ok(surface)
}

/// The API that a call under `/pass` speaks though its path is the name of a model: where no
/// channel of the model takes the path alone as its model, it is a path like any other.
fn api_behind(relay: &Relay, caller: &Caller, head: &Parts, model: &ModelName) -> Option<ApiPath> {
    let catalog = relay.live.catalog.load();
    let candidates = catalog.candidates(group_of(&caller.identity), model.as_str());
    let takes = |it: &Arc<Channel>| spoken::takes_as_model(it, &head.method, model);
    if candidates.is_empty() || candidates.iter().any(takes) {
        return None;
    }
    let is_model = |name: &str| catalog.model_exists(name);
    let (protocols, reads) = (catalog.spoken_protocols(), read_shape(&head.headers));
    let meaning = PathMeaning { is_model: &is_model, protocols, reads };
    let api = ApiPath::behind_pass(&meaning, &head.method, model);
    (api.spoken.is_some() && !api.is_about_task() && api.list().is_none()).then_some(api)
}

/// Whether a path that is not one of the data plane may mean one.
pub(crate) fn is_meant(relay: &Relay, method: &Method, path: &str) -> bool {
    let catalog = relay.live.catalog.load();
    let is_model = |name: &str| catalog.model_exists(name);
    let protocols = catalog.spoken_protocols();
    let meaning = PathMeaning { is_model: &is_model, protocols, reads: None };
    meant(meaning, method, path).next().is_some()
}

/// A client of `/v1/realtime` would take the answer to a plain call for a broken connection.
fn check_no_websocket(surface: &Surface, headers: &HeaderMap) -> Result<(), Fault> {
    let says = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    match matches!(surface, Surface::Api(_)) && headers.get_all(UPGRADE).iter().any(says) {
        true => Err(faults::no_websocket()),
        false => Ok(()),
    }
}

/// A query is written into logs on its way, here and upstream: no key may be in it. Where a
/// protocol has the path, a parameter by which its API takes keys is refused with any value.
fn check_no_key(surface: &Surface, query: Option<&str>) -> Result<(), Fault> {
    let Some(query) = query else { return Ok(()) };
    let is_spoken = matches!(surface, Surface::Api(ApiPath { spoken: Some(_), .. }));
    let names_key = || KEY_PARAMETERS.iter().any(|name| upstream::says(query.as_bytes(), name));
    if upstream::query::presents_key(query.as_bytes()) || is_spoken && names_key() {
        return Err(faults::key_in_query());
    }
    Ok(())
}

/// The same of the parameter by which a channel's own key is presented: of two, an upstream may
/// take the client's.
fn check_no_key_of(candidates: &[Arc<Channel>], query: Option<&str>) -> Result<(), Fault> {
    let Some(query) = query else { return Ok(()) };
    let protocols = candidates.iter().filter_map(|channel| channel.protocol.found.as_ref());
    let mut names = protocols.filter_map(|protocol| protocol.auth.parameter());
    match names.any(|name| upstream::says(query.as_bytes(), name)) {
        true => Err(faults::key_in_query()),
        false => Ok(()),
    }
}

/// Parameters that a client may not send in its query: some upstreams prefer them to the body. What
/// a call of a model may say is known with its model.
fn check_query(surface: &Surface, query: Option<&str>) -> Result<(), Fault> {
    let Some(query) = query else { return Ok(()) };
    if upstream::says(query.as_bytes(), "precharge") {
        return Err(faults::precharge_said());
    }
    match surface {
        Surface::Api(api) if api.list().is_some() || api.is_about_task() => api.check_query(query),
        _ => Ok(()),
    }
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

/// The rate limit of the key, the number of calls in flight, and room for a client that won't read.
async fn admit(relay: &Relay, caller: &Caller) -> Result<(), Fault> {
    let has_room = relay.budget.has_room_for_unread(caller.identity.user_id);
    if relay.metrics.in_flight.get() > relay.config.max_in_flight || !has_room {
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
    let shape = ModelList::for_client(&head.headers);
    let response = match surface {
        Surface::Models => models::list(shape, &catalog, identity, ctx.share.another())?,
        Surface::Model(model) => models::one(shape, &catalog, identity, model.as_str())?,
        Surface::Subscription => {
            billing::subscription(&relay.db, identity, relay.clock.now()).await?
        }
        Surface::Usage => billing::usage(&relay.db, identity, relay.clock.now()).await?,
        Surface::Tasks(call) => task_view::answer(relay, call, (&head, body), caller).await?,
        Surface::Api(api) => answer_list(relay, caller, &api, &head).await?,
        Surface::Pass(_) | Surface::Unknown => {
            return Err(route::or_unread(&catalog, identity, faults::not_found()));
        }
    };
    Ok(Delivery::Whole(response))
}

/// A list of models, or of what the caller made.
async fn answer_list(
    relay: &Relay,
    caller: &Caller,
    api: &ApiPath,
    head: &Parts,
) -> Result<Response<Body>, Fault> {
    let word = api.list().ok_or_else(faults::not_found)?;
    if word == ListWord::Own && lists_tasks(api) {
        return vendor_tasks::list(relay, caller, api, head.uri.query()).await;
    }
    match ModelList::of(api) {
        Some(shape) => {
            let share = relay.budget.share_of(caller.identity.user_id);
            models::list(shape, &relay.live.catalog.load_full(), &caller.identity, share)
        }
        None => resources::list(relay, caller, (api, word), head.uri.query()).await,
    }
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
