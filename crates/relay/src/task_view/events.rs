//! A task's changes as server-sent events.

use super::element::IdShape;
use super::rendered;
use super::rows::{self, OwnTask, Standing};
use super::watch::{Look, Waiter, follow};
use crate::identify::Caller;
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
use web::memory::{HeldPieces, Share, next_frame};

/// Sent after some silence, so that no proxy takes the connection for dead.
const COMMENT: &[u8] = b": still here\n\n";
/// Space for what surrounds a line.
const LINE_BYTES: usize = 16;
const LAST_EVENT_ID: &str = "last-event-id";
const X_ACCEL_BUFFERING: &str = "x-accel-buffering";

/// Streams the changes of a task. A client that has seen its end already gets 204, which tells it
/// not to reconnect.
pub(super) async fn answer(
    relay: &Arc<Relay>,
    caller: &Caller,
    headers: &HeaderMap,
    (row, shape): (OwnTask, IdShape),
) -> Result<Response<web::Body>, Fault> {
    let resumed = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let seen = resumed.is_some_and(|id| id.trim() == row.version.to_string());
    if seen && row.status.is_final() {
        let mut response = Response::new(web::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let (uid, known) = (row.uid, row.standing());
    let waiter = match known.status.is_final() {
        true => None,
        false => Some(follow(relay, caller.identity.user_id, uid)?),
    };
    let pieces = HeldPieces::default();
    let mut unsent = Bytes::new();
    if !seen {
        let share = relay.budget.share_of(caller.identity.user_id);
        let event = event(relay, (row, shape), share, &pieces).await?;
        unsent = event.ok_or_else(faults::task_not_found)?;
    }
    let (relay, caller, held) = (Arc::clone(relay), caller.clone(), pieces.clone());
    let events = Events { relay, caller, uid, shape, known, unsent, pieces, waiter };
    let mut response = Response::new(web::boxed(EventBody(Some(Box::pin(events.next())))));
    response.extensions_mut().insert(held);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// One change, counted until it is sent; `None`: the task is gone. The upstream's bytes may contain
/// line breaks, and each line is sent as one.
async fn event(
    relay: &Relay,
    (row, shape): (OwnTask, IdShape),
    mut share: Share,
    pieces: &HeldPieces,
) -> Result<Option<Bytes>, Fault> {
    let version = row.version;
    let Some(json) = rendered(relay, row, shape, &mut share).await? else { return Ok(None) };
    let head = format!("id: {version}\nevent: task\n");
    let mut event = Vec::with_capacity(head.len() + json.len() + LINE_BYTES);
    event.extend_from_slice(head.as_bytes());
    let lines = json.split(|byte| matches!(byte, b'\r' | b'\n'));
    for line in lines.filter(|line| !line.is_empty()) {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
    }
    event.push(b'\n');
    if !share.grow_towards(event.len()) {
        return Err(faults::overloaded());
    }
    Ok(Some(pieces.tie(share, event.into())))
}

/// A stream of a task's changes.
struct Events {
    relay: Arc<Relay>,
    /// As it stood when it was last looked at, which is before each piece.
    caller: Caller,
    uid: TaskUid,
    shape: IdShape,
    /// The version that the client has been sent.
    known: Standing,
    unsent: Bytes,
    /// Each event is one: a client that hardly reads it would keep its share for hours.
    pieces: HeldPieces,
    /// `None`: the task has ended, and so does the stream.
    waiter: Option<Waiter>,
}

impl Events {
    /// The next piece, and the state after it.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if let Some(frame) = next_frame(&mut self.unsent) {
            return Some((frame, self));
        }
        let silence = Duration::from_millis(self.relay.config.task_silence_ms);
        loop {
            let change = self.waiter.as_mut()?.change(self.known);
            let look = tokio::time::timeout(silence, change).await.ok();
            // Whoever may no longer call reads no more; the client is told when it reconnects.
            let now = self.relay.clock.now();
            self.caller = self.caller.renewed(&self.relay.live, now).await.ok()?;
            let Some(look) = look else {
                return Some((Bytes::from_static(COMMENT), self));
            };
            if look? == Look::Gone {
                return None;
            }
            // On an error the stream ends, and the client reconnects for the rest.
            let row = match rows::by_uid(&self.relay.db, &self.caller.identity, self.uid).await {
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
            let share = self.relay.budget.share_of(self.caller.identity.user_id);
            let event = event(&self.relay, (row, self.shape), share, &self.pieces).await;
            self.unsent = event.ok()??;
            let frame = next_frame(&mut self.unsent)?;
            return Some((frame, self));
        }
    }
}

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Events)>> + Send>>;

/// The client's side of the stream.
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
