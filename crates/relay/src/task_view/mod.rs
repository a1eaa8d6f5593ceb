//! Tasks as their owners see them: from our record, without asking an upstream.
//!
//! Everything is looked for among the caller's own tasks, and among those of the models that the
//! key may call; whatever else there is does not exist for them.

mod element;
mod events;
mod ids;
mod paths;
mod query;
mod rows;
mod watch;

pub(crate) use paths::{TaskCall, under_pass, under_v1};
pub(crate) use watch::Watch;

use crate::identify::Caller;
use crate::inlet::take_in;
use crate::memory::Share;
use crate::request_body::plain;
use crate::{Relay, RelayConfig, faults};
use domain::{Fault, TaskUid};
use element::{Shape, element};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use hyper::body::Incoming;
use paths::Wanted;
use query::PageQuery;
use rows::TaskRow;
use std::sync::Arc;
use std::time::Duration;
use store::Identity;
use uuid::Uuid;
use web::Body;

/// Largest body of `list-by-condition`: a thousand ids of the greatest length.
const MAX_LIST_BYTES: u64 = 2 << 20;
/// Tasks read at a time for it: with all that the upstream said of them they may be large.
const READ_AT_A_TIME: usize = 100;

/// Answers a call about tasks.
pub(crate) async fn answer(
    relay: &Arc<Relay>,
    call: TaskCall,
    head: &Parts,
    body: Incoming,
    caller: &Caller,
) -> Result<Response<Body>, Fault> {
    let share = relay.budget.share();
    let identity = &caller.identity;
    match call {
        TaskCall::List { model } => {
            let ids = ids_in(relay, &head.headers, body).await?;
            list(relay, identity, &model, &ids, share).await
        }
        TaskCall::One(wanted) => {
            let wait = query::wait(head.uri.query())?;
            let (row, shape) = find(relay, identity, &wanted).await?;
            one(&waited(relay, identity, row, wait).await?, shape, relay, share)
        }
        TaskCall::Events(wanted) => {
            let (row, shape) = find(relay, identity, &wanted).await?;
            events::answer(relay, identity, &head.headers, &row, shape)
        }
        TaskCall::Page => {
            let page = PageQuery::read(head.uri.query())?;
            let rows = rows::page(&relay.db, identity, &page).await?;
            page_of(rows, page.limit, relay, share)
        }
    }
}

async fn ids_in(relay: &Relay, headers: &HeaderMap, body: Incoming) -> Result<Vec<String>, Fault> {
    let max_request_bytes = relay.config.max_request_bytes.min(MAX_LIST_BYTES);
    let config = RelayConfig { max_request_bytes, ..RelayConfig::clone(&relay.config) };
    let mut share = relay.budget.share();
    let inlet = take_in(headers, body, &config, true, &mut share).await?;
    let bytes = inlet.whole().cloned().unwrap_or_default();
    ids::read(&plain(headers, &bytes, &config)?)
}

/// `{"code":0,…,"data":[…]}`, in the order asked for.
async fn list(
    relay: &Relay,
    identity: &Identity,
    model: &str,
    ids: &[String],
    share: Share,
) -> Result<Response<Body>, Fault> {
    let mut answer = Answer::begin(r#"{"code":0,"message":"success","data":["#, share);
    let mut separator: &[u8] = b"";
    for ids in ids.chunks(READ_AT_A_TIME) {
        let found = rows::by_upstream_ids(&relay.db, identity, model, ids).await?;
        for row in ids.iter().filter_map(|id| found.get(id)) {
            answer.push(separator)?;
            answer.push_task(row, Shape::Upstream, relay)?;
            separator = b",";
        }
    }
    answer.push(b"]}")?;
    Ok(answer.end())
}

/// The task that a path names.
async fn find(
    relay: &Relay,
    identity: &Identity,
    wanted: &Wanted,
) -> Result<(TaskRow, Shape), Fault> {
    let Wanted { model, id } = wanted;
    let shape = if model.is_some() { Shape::Upstream } else { Shape::Uid };
    let mut row = None;
    if let (Shape::Uid, Ok(uid)) = (shape, Uuid::parse_str(id)) {
        row = rows::by_uid(&relay.db, identity, TaskUid(uid)).await?;
    }
    if row.is_none() {
        row = rows::by_upstream_id(&relay.db, identity, model.as_deref(), id).await?;
    }
    row.map(|row| (row, shape)).ok_or_else(faults::task_not_found)
}

/// The same task when it has ended, or so much later, or when the service stops.
async fn waited(
    relay: &Relay,
    identity: &Identity,
    row: TaskRow,
    wait: Duration,
) -> Result<TaskRow, Fault> {
    if row.status.is_final() || wait.is_zero() {
        return Ok(row);
    }
    let mut waiter = watch::follow(relay, identity.user_id, row.uid)?;
    let _ = tokio::time::timeout(wait, waiter.end(row.standing())).await;
    drop(waiter);
    rows::by_uid(&relay.db, identity, row.uid).await?.ok_or_else(faults::task_not_found)
}

/// A task by the upstream's id is told in the upstream's envelope, one by ours as it is.
fn one(row: &TaskRow, shape: Shape, relay: &Relay, share: Share) -> Result<Response<Body>, Fault> {
    let (head, tail): (_, &[u8]) = match shape {
        Shape::Upstream => (r#"{"code":0,"message":"success","data":"#, b"}"),
        Shape::Uid => ("", b""),
    };
    let mut answer = Answer::begin(head, share);
    answer.push_task(row, shape, relay)?;
    answer.push(tail)?;
    Ok(answer.end())
}

/// A page in OpenAI's list shape.
fn page_of(
    mut rows: Vec<TaskRow>,
    limit: usize,
    relay: &Relay,
    share: Share,
) -> Result<Response<Body>, Fault> {
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let mut answer = Answer::begin(r#"{"object":"list","data":["#, share);
    for (at, row) in rows.iter().enumerate() {
        answer.push(if at == 0 { b"" } else { b"," })?;
        answer.push_task(row, Shape::Uid, relay)?;
    }
    let id = |row: Option<&TaskRow>| match row {
        Some(row) => format!(r#""{}""#, row.uid),
        None => "null".to_owned(),
    };
    let (first_id, last_id) = (id(rows.first()), id(rows.last()));
    let tail = format!(r#"],"has_more":{has_more},"first_id":{first_id},"last_id":{last_id}}}"#);
    answer.push(tail.as_bytes())?;
    Ok(answer.end())
}

/// JSON that grows, within what all held bodies may take together.
struct Answer {
    json: Vec<u8>,
    share: Share,
}

impl Answer {
    fn begin(head: &str, share: Share) -> Self {
        Self { json: head.as_bytes().to_vec(), share }
    }

    fn push(&mut self, json: &[u8]) -> Result<(), Fault> {
        if !self.share.grow_to(self.json.len().saturating_add(json.len())) {
            return Err(faults::overloaded());
        }
        self.json.extend_from_slice(json);
        Ok(())
    }

    fn push_task(&mut self, row: &TaskRow, shape: Shape, relay: &Relay) -> Result<(), Fault> {
        self.push(&element(row, shape, &relay.sealer).map_err(faults::system)?)
    }

    fn end(self) -> Response<Body> {
        let mut response = Response::new(web::boxed(self.share.hold(self.json.into())));
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}
