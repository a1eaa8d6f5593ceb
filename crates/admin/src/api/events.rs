//! `/api/events`

use super::envelope::ApiResult;
use super::extract::{CallingActor, QueryParams};
use crate::AdminState;
use crate::ops::events::{self, Event, EventRequest, Following};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use std::convert::Infallible;

/// The header of a client that comes back.
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) async fn follow(
    State(state): State<AdminState>,
    CallingActor(actor): CallingActor,
    QueryParams(query): QueryParams,
    headers: HeaderMap,
) -> ApiResult {
    let mut request = EventRequest::read(&query)?;
    let last = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok()?.parse().ok());
    request.after = last.or(request.after);
    let events = events::open(&state, &actor, request).await?;
    Ok(streamed(events))
}

fn streamed(events: Following) -> Response {
    let pieces = stream::unfold((events, 0), async |(mut events, mut newest)| {
        let event = events.next().await?;
        let piece = written(&event, &mut newest);
        Some((Ok::<_, Infallible>(piece), (events, newest)))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An event as it is sent. Its id is the newest line of the log that the reader knows of.
fn written(event: &Event, newest: &mut i64) -> Bytes {
    let (name, json) = match event {
        Event::State(state) => {
            *newest = state.newest.max(*newest);
            ("state", json(state))
        }
        Event::Call(line) => {
            *newest = line.id.max(*newest);
            ("call", json(line))
        }
        Event::Task(task) => ("task", json(task)),
        Event::Silence => return Bytes::from_static(b": still here\n\n"),
    };
    // JSON of ours has no line break in it: `other` of a line is JSON as it is stored.
    let json = json.replace(['\r', '\n'], " ");
    format!("id: {newest}\nevent: {name}\ndata: {json}\n\n").into()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}
