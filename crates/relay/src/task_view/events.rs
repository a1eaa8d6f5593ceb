//! A task's changes as server-sent events.

use super::element::{Shape, element};
use super::rows::{self, Standing, TaskRow};
use super::watch::{Look, Waiter, follow};
use crate::{Relay, faults};
use bytes::Bytes;
use domain::{Fault, TaskUid};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use store::Identity;

/// Sent after some silence, so that nobody on the way takes the stream for dead.
const COMMENT: &[u8] = b": still here\n\n";
const LAST_EVENT_ID: &str = "last-event-id";
const X_ACCEL_BUFFERING: &str = "x-accel-buffering";

/// Answers with what becomes of a task. A client that has seen its end already is told (204) not
/// to come back.
pub(super) fn answer(
    relay: &Arc<Relay>,
    identity: &Arc<Identity>,
    headers: &HeaderMap,
    row: &TaskRow,
    shape: Shape,
) -> Result<Response<web::Body>, Fault> {
    let resumed = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let seen = resumed.is_some_and(|id| id.trim() == row.version.to_string());
    if seen && row.status.is_final() {
        let mut response = Response::new(web::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let events = Events {
        relay: Arc::clone(relay),
        identity: Arc::clone(identity),
        uid: row.uid,
        shape,
        known: row.standing(),
        unsent: if seen { None } else { Some(event(relay, row, shape)?) },
        waiter: if row.status.is_final() {
            None
        } else {
            Some(follow(relay, identity.user_id, row.uid)?)
        },
    };
    let mut response = Response::new(web::boxed(EventBody(Some(Box::pin(events.next())))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// One change. The upstream's bytes may have line breaks, between which each line is told as one.
fn event(relay: &Relay, row: &TaskRow, shape: Shape) -> Result<Bytes, Fault> {
    let json = element(row, shape, &relay.sealer).map_err(faults::system)?;
    let mut event = format!("id: {}\nevent: task\n", row.version).into_bytes();
    let lines = json.split(|byte| matches!(byte, b'\r' | b'\n'));
    for line in lines.filter(|line| !line.is_empty()) {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
    }
    event.push(b'\n');
    Ok(event.into())
}

/// A stream of a task's changes.
struct Events {
    relay: Arc<Relay>,
    identity: Arc<Identity>,
    uid: TaskUid,
    shape: Shape,
    /// What the client has been told.
    known: Standing,
    unsent: Option<Bytes>,
    /// None: the task has ended, and so does the stream.
    waiter: Option<Waiter>,
}

impl Events {
    /// The next piece, and what comes after it.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if let Some(unsent) = self.unsent.take() {
            return Some((unsent, self));
        }
        let silence = Duration::from_millis(self.relay.config.task_silence_ms);
        loop {
            let change = self.waiter.as_mut()?.change(self.known);
            let Ok(look) = tokio::time::timeout(silence, change).await else {
                return Some((Bytes::from_static(COMMENT), self));
            };
            if look? == Look::Gone {
                return None;
            }
            // Without an answer the stream ends, and the client comes back for the rest.
            let row = match rows::by_uid(&self.relay.db, &self.identity, self.uid).await {
                Ok(row) => row?,
                Err(error) => {
                    tracing::debug!(%error, "a stream of events ends early");
                    return None;
                }
            };
            if row.standing() == self.known {
                continue;
            }
            self.known = row.standing();
            if row.status.is_final() {
                self.waiter = None;
            }
            let event = event(&self.relay, &row, self.shape).ok()?;
            return Some((event, self));
        }
    }
}

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Events)>> + Send>>;

/// The client's end of the stream.
struct EventBody(Option<Next>);

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(next) = &mut self.0 else { return Poll::Ready(None) };
        let piece = match ready!(next.as_mut().poll(cx)) {
            Some((piece, events)) => {
                self.0 = Some(Box::pin(events.next()));
                Some(Ok(Frame::data(piece)))
            }
            None => {
                self.0 = None;
                None
            }
        };
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}
