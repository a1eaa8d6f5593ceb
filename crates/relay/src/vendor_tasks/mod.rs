//! Calls of a vendor's own API about a task that was submitted before: it is asked about, a file of
//! its result is fetched, it is cancelled.
//!
//! They go to the channel that has the task, for its owner alone, and the vendor's own reply is
//! passed on: it is what the vendor's clients read, and its links are fresh. What is kept here
//! decides who may call, and what a task that was refunded still shows.

mod list;
mod rows;

pub(crate) use list::{list, lists_tasks};

use crate::Relay;
use crate::api_request::{Intake, ModelRequest};
use crate::call::ApiBody;
use crate::context::Context;
use crate::faults;
use crate::identify::{Caller, may_call};
use crate::inflate::decoded;
use crate::inlet::{InletRules, take_in};
use crate::outcome::BodyEnd;
use crate::reply::collect;
use crate::resources::Owned;
use crate::spoken::Spoken;
use crate::surface::ApiPath;
use domain::{Fault, TaskStatus, UserId};
use egress::Prepared;
use egress::request_body::{NamedBy, model_name};
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use protocol::{Protocol, TaskRules, TaskWord};
use rows::VendorTask;
use std::sync::Arc;
use store::Channel;
use upstream::OutboundRequest;
use web::Body;

/// A call about a task, as it was read.
pub(crate) enum TaskCallRead {
    /// It is sent to the task's channel.
    Send(Box<ModelRequest>),
    /// It is answered from our own record.
    Answer(Response<Body>),
}

/// A task, its channel, and what the call is to it.
struct FoundTask {
    task: VendorTask,
    channel: Arc<Channel>,
    spoken: Spoken,
}

/// Reads a call about a task. `api` has a route of that kind.
pub(crate) async fn read(
    ctx: &mut Context<'_>,
    caller: &Caller,
    api: ApiPath,
    (head, body): (Parts, Incoming),
) -> Result<TaskCallRead, Fault> {
    let found = find(ctx, caller, &api, &head).await?;
    let word = found.spoken.task();
    if found.task.status == TaskStatus::Failed {
        // It was refunded: what its vendor may have made all the same is not given away.
        return failed(ctx, &found, word == Some(TaskWord::Ask)).await.map(TaskCallRead::Answer);
    }
    let cancels = word == Some(TaskWord::Cancel) && !found.task.status.is_final();
    let body = match cancels {
        // Whoever sends it slowly could wait for the task to complete in between.
        true => {
            let rules = InletRules { config: &ctx.relay.config, whole: true, payer: None };
            Intake::Here(take_in(&head.headers, body, rules, &mut ctx.share).await?)
        }
        false => Intake::Coming(body),
    };
    if cancels && has_completed(ctx, &found).await? {
        return Err(faults::task_completed(ctx.relay.config.poll_interval_ms));
    }
    let model = model_name(&found.task.model)?;
    let pinned = Some(found.channel.id);
    let api = api.spoken_by(found.spoken);
    let api = Some((api, ApiBody { plain: None, named_by: NamedBy::Elsewhere }));
    let request = ModelRequest { head, model, api, pinned, body };
    Ok(TaskCallRead::Send(Box::new(request)))
}

/// The task that a submission builds on, where its path names one: a remix.
pub(crate) async fn source(
    relay: &Relay,
    caller: &Caller,
    spoken: &Spoken,
) -> Result<Option<VendorTask>, Fault> {
    if spoken.task() != Some(TaskWord::Submit) {
        return Ok(None);
    }
    let Some(id) = spoken.captures().get("id") else { return Ok(None) };
    let found = rows::of_id(&relay.db, caller.identity.user_id, id).await?;
    let mut found = found.into_iter().filter(|task| may_call(&caller.identity, &task.model));
    let task = found.next().filter(|task| task.status != TaskStatus::Failed);
    task.map(Some).ok_or_else(faults::task_not_found)
}

/// A user's own task that a submission's body names, as what it builds on.
pub(crate) async fn made(relay: &Relay, user_id: UserId, id: &str) -> Result<Option<Owned>, Fault> {
    let mut found = rows::of_id(&relay.db, user_id, id).await?.into_iter();
    let task = found.find(|task| task.status != TaskStatus::Failed);
    Ok(task.map(|task| Owned { channel_id: task.channel_id, model: task.model }))
}

/// The caller's own task that a call is about, in whichever of the protocols that have such a path.
async fn find(
    ctx: &Context<'_>,
    caller: &Caller,
    api: &ApiPath,
    head: &Parts,
) -> Result<FoundTask, Fault> {
    let catalog = ctx.relay.live.catalog.load_full();
    let path = api.path();
    let (method, query, identity) = (&head.method, head.uri.query(), &caller.identity);
    let mut seen: Vec<String> = Vec::new();
    for protocol in catalog.spoken_protocols().iter() {
        let Some(spoken) = about_task(protocol, method, path) else { continue };
        let Some(id) = one_id(&spoken, query)?.filter(|id| !seen.contains(id)) else { continue };
        for task in rows::of_id(&ctx.relay.db, identity.user_id, &id).await? {
            let Some(channel) = catalog.channel(task.channel_id) else { continue };
            let spoken = egress::protocol_of(channel)?;
            let Some(spoken) = about_task(spoken, method, path) else { continue };
            if one_id(&spoken, query)?.as_ref() == Some(&id) && may_call(identity, &task.model) {
                return Ok(FoundTask { task, channel: Arc::clone(channel), spoken });
            }
        }
        seen.push(id);
    }
    Err(faults::task_not_found())
}

fn about_task(protocol: &Arc<Protocol>, method: &Method, path: &str) -> Option<Spoken> {
    Spoken::by(protocol, method, path).filter(Spoken::is_about_task)
}

fn one_id(spoken: &Spoken, query: Option<&str>) -> Result<Option<String>, Fault> {
    let mut ids = spoken.ids_outside_of_body(query)?;
    Ok(if ids.len() == 1 { ids.pop() } else { None })
}

/// What is shown of a task that has failed: its vendor's own words, where it said so.
async fn failed(
    ctx: &Context<'_>,
    found: &FoundTask,
    shows: bool,
) -> Result<Response<Body>, Fault> {
    let fault = || faults::task_failed(&found.task.fail_reason);
    let rules = found.spoken.route().tasks.as_ref().ok_or_else(fault)?;
    let said = rows::data(ctx.relay, found.task.id).await?.filter(|_| shows).ok_or_else(fault)?;
    if rules.has_several() || rules.read_one(&said).status != TaskStatus::Failed {
        return Err(fault());
    }
    let mut share = ctx.share.another();
    if !share.grow_towards(said.len()) {
        return Err(faults::overloaded());
    }
    let mut response = Response::new(web::boxed(share.hold(said.into())));
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// Whether a task that is unfinished here has completed at its vendor. Cancelling it would hide
/// that from the poller, and it would be free.
async fn has_completed(ctx: &mut Context<'_>, found: &FoundTask) -> Result<bool, Fault> {
    let (relay, FoundTask { task, channel, spoken }) = (ctx.relay, found);
    let Some(rules) = spoken.route().tasks.as_ref() else { return Ok(false) };
    let prepared = Prepared::read(channel, &relay.config.egress())?;
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let model = egress::mapped(channel, &task.model)?;
    let target = rules.ask.path_for(&task.task_id, model, &upstream::encode_path(&task.path));
    let uri = prepared.at_encoded(&target).map_err(|e| faults::invalid(e.zh(), e.en()))?;
    let method = Method::from_bytes(rules.ask.method.as_bytes()).map_err(faults::system)?;
    let path = target.split('?').next().unwrap_or(&target);
    prepared.set_own_headers((&method, path), &mut headers);
    prepared.sign(&mut headers, relay.clock.now());
    let body = rules.ask.body_for(&[&task.task_id], false).unwrap_or_default();
    let body = bytes::Bytes::from(body).into();
    let request = OutboundRequest { method, uri, headers, body, proxy: &prepared.proxy };
    let failed = |why: String| faults::upstream_failed().caused_by(why);
    let sent = relay.client.send(request, &prepared.deadlines).await;
    let mut reply = sent.map_err(|error| failed(error.to_string()))?;
    match reply.status {
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(false),
        status if !status.is_success() => return Err(failed(format!("status {status}"))),
        _ => {}
    }
    let limit = relay.config.max_collected_reply_bytes;
    let mut share = ctx.share.another();
    let collected = collect(&mut reply.body, limit, ctx.link, &mut share).await;
    if collected.end != Some(BodyEnd::Complete) {
        return Err(failed("the reply about its task broke off".to_owned()));
    }
    let said = decoded(&reply.headers, &collected.bytes);
    let said = said.ok_or_else(|| failed("the reply about its task can't be read".to_owned()))?;
    Ok(says_completed(rules, &said, &task.task_id))
}

fn says_completed(rules: &TaskRules, body: &[u8], id: &str) -> bool {
    rules.read_all(body).iter().any(|read| {
        let is_it = read.id.as_deref().is_none_or(|named| named == id);
        is_it && read.status == TaskStatus::Completed
    })
}
