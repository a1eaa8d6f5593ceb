//! Tasks as their owners see them: from the database, without calling an upstream.
//!
//! Only the caller's own tasks are found, and only those of the models that the key may call;
//! others do not exist for it.

mod element;
mod events;
mod ids;
mod listing;
mod paths;
mod query;
mod rows;
mod watch;

pub(crate) use paths::{TaskCall, under_pass, under_v1};
pub(crate) use watch::TaskWatch;

use crate::identify::Caller;
use crate::inlet::{InletRules, take_in};
use crate::request_body::plain;
use crate::{Relay, RelayConfig, faults};
use domain::{Fault, TaskUid};
use element::{IdShape, element};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use hyper::body::Incoming;
use listing::Ids;
use paths::TaskPath;
use query::PageQuery;
use rows::OwnTask;
use std::sync::Arc;
use std::time::Duration;
use store::Identity;
use uuid::Uuid;
use web::Body;
use web::memory::Share;

/// Largest body of `list-by-condition`: a thousand ids of maximum length.
const MAX_LIST_BYTES: u64 = 2 << 20;

/// Handles a call about tasks.
pub(crate) async fn answer(
    relay: &Arc<Relay>,
    call: TaskCall,
    (head, body): (&Parts, Incoming),
    caller: &Caller,
) -> Result<Response<Body>, Fault> {
    let identity = &caller.identity;
    let share = relay.budget.share_of(identity.user_id);
    match call {
        TaskCall::List { model } => {
            let ids = ids_in(relay, identity, &head.headers, body).await?;
            let ids = Ids { identity: Arc::clone(identity), model, left: ids.into() };
            listing::of_ids(relay, ids, share).await
        }
        TaskCall::One(wanted) => {
            let wait = query::wait(head.uri.query())?;
            let (row, shape) = find(relay, identity, &wanted).await?;
            one(relay, waited(relay, caller, row, wait).await?, shape, share).await
        }
        TaskCall::Events(wanted) => {
            let task = find(relay, identity, &wanted).await?;
            events::answer(relay, caller, &head.headers, task).await
        }
        TaskCall::Page => {
            let page = PageQuery::read(head.uri.query())?;
            let rows = rows::page(&relay.db, identity, &page).await?;
            listing::of_page(relay, rows, page.limit, share).await
        }
    }
}

async fn ids_in(
    relay: &Relay,
    identity: &Identity,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Vec<String>, Fault> {
    let max_request_bytes = relay.config.max_request_bytes.min(MAX_LIST_BYTES);
    let config = RelayConfig { max_request_bytes, ..RelayConfig::clone(&relay.config) };
    let mut share = relay.budget.share_of(identity.user_id);
    let rules = InletRules { config: &config, whole: true, payer: None };
    let inlet = take_in(headers, body, rules, &mut share).await?;
    let bytes = inlet.whole().cloned().unwrap_or_default();
    ids::read(&plain(headers, &bytes, &config)?)
}

/// The task that a path names.
async fn find(
    relay: &Relay,
    identity: &Identity,
    wanted: &TaskPath,
) -> Result<(OwnTask, IdShape), Fault> {
    let TaskPath { model, id } = wanted;
    let shape = if model.is_some() { IdShape::Upstream } else { IdShape::Uid };
    let mut row = None;
    if let (IdShape::Uid, Ok(uid)) = (shape, Uuid::parse_str(id)) {
        row = rows::by_uid(&relay.db, identity, TaskUid(uid)).await?;
    }
    if row.is_none() {
        row = rows::by_upstream_id(&relay.db, identity, model.as_deref(), id).await?;
    }
    row.map(|row| (row, shape)).ok_or_else(faults::task_not_found)
}

/// Waits until the task has ended, or the time is over, or the service stops. The caller's key may
/// have been withdrawn meanwhile.
async fn waited(
    relay: &Relay,
    caller: &Caller,
    row: OwnTask,
    wait: Duration,
) -> Result<OwnTask, Fault> {
    if row.status.is_final() || wait.is_zero() {
        return Ok(row);
    }
    let (uid, standing) = (row.uid, row.standing());
    // Many may wait, and the data of the task read so far is not needed meanwhile.
    drop(row);
    let mut waiter = watch::follow(relay, caller.identity.user_id, uid)?;
    let _ = tokio::time::timeout(wait, waiter.end(standing)).await;
    drop(waiter);
    let caller = caller.renewed(&relay.live, relay.clock.now()).await?;
    rows::by_uid(&relay.db, &caller.identity, uid).await?.ok_or_else(faults::task_not_found)
}

/// A task addressed by the upstream's id is sent in the upstream's envelope, one by ours as it is.
async fn one(
    relay: &Relay,
    row: OwnTask,
    shape: IdShape,
    mut share: Share,
) -> Result<Response<Body>, Fault> {
    let (head, tail): (_, &[u8]) = match shape {
        IdShape::Upstream => (r#"{"code":0,"message":"success","data":"#, b"}"),
        IdShape::Uid => ("", b""),
    };
    let task = rendered(relay, row, shape, &mut share).await?.ok_or_else(faults::task_not_found)?;
    let json = [head.as_bytes(), &task, tail].concat();
    drop(task);
    if !share.grow_towards(json.len()) {
        return Err(faults::overloaded());
    }
    Ok(as_json(web::boxed(share.hold(json.into()))))
}

/// The JSON of a task, rendered within the share beside what that holds already. A large result is
/// read only now; `None`: the task was deleted meanwhile.
async fn rendered(
    relay: &Relay,
    mut row: OwnTask,
    shape: IdShape,
    share: &mut Share,
) -> Result<Option<Vec<u8>>, Fault> {
    let before = share.bytes();
    if !share.grow_towards(before.saturating_add(row.data_bytes)) {
        return Err(faults::overloaded());
    }
    // Sealed, unsealed and rendered, a large one is in memory three times: one at a time.
    let mut _turn = None;
    if row.data.is_none() {
        _turn = Some(relay.render_lock.lock().await);
        match rows::whole(&relay.db, row.id).await? {
            Some(whole) => row = whole,
            None => return Ok(None),
        }
    }
    let json = element(row, shape, &relay.sealer).map_err(faults::system)?;
    share.shrink_to(before.saturating_add(json.len()));
    Ok(Some(json))
}

fn as_json(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
