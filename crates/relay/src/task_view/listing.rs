//! Lists of tasks. A small list is sent in one piece; a longer one is rendered as the client reads
//! it, so that no more of it is in memory than the current task.

use super::element::IdShape;
use super::rows::{self, OwnTask};
use super::{as_json, rendered};
use crate::{Relay, faults};
use bytes::Bytes;
use domain::{Fault, FaultKind};
use futures_util::stream::{self, TryStreamExt as _};
use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use store::Identity;
use web::memory::{FRAME_BYTES, Share, next_frame};
use web::{Body, BodyError};

/// Tasks that are looked up at a time, by the upstream's ids.
const LOOKED_FOR: usize = 100;

/// How long a list in progress waits for memory: 600 times 50 ms, which is more than a client that
/// reads needs for a result. Then it breaks off.
const TRIES: u32 = 600;
const PAUSE: Duration = Duration::from_millis(50);

/// A list being rendered.
struct Listing {
    relay: Arc<Relay>,
    shape: IdShape,
    /// Found, and not rendered yet.
    rows: VecDeque<OwnTask>,
    /// Not looked up yet.
    ids: Option<Ids>,
    /// The end of the list; `None`: it has been sent.
    tail: Option<String>,
    /// Rendered, and not sent yet; counted in `share`.
    json: Vec<u8>,
    sent_some: bool,
    share: Share,
}

/// Requested upstream ids, in order, with their owner and model.
pub(super) struct Ids {
    pub identity: Arc<Identity>,
    pub model: String,
    pub left: VecDeque<String>,
}

/// `{"code":0,…,"data":[…]}`, in the order of the request.
pub(super) async fn of_ids(
    relay: &Arc<Relay>,
    ids: Ids,
    share: Share,
) -> Result<Response<Body>, Fault> {
    let listing = Listing {
        relay: Arc::clone(relay),
        shape: IdShape::Upstream,
        rows: VecDeque::new(),
        ids: Some(ids),
        tail: Some("]}".to_owned()),
        json: br#"{"code":0,"message":"success","data":["#.to_vec(),
        sent_some: false,
        share,
    };
    listing.answer().await
}

/// A page in OpenAI's list format.
pub(super) async fn of_page(
    relay: &Arc<Relay>,
    mut rows: Vec<OwnTask>,
    limit: usize,
    share: Share,
) -> Result<Response<Body>, Fault> {
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let id = |row: Option<&OwnTask>| match row {
        Some(row) => format!(r#""{}""#, row.uid),
        None => "null".to_owned(),
    };
    let (first_id, last_id) = (id(rows.first()), id(rows.last()));
    let tail = format!(r#"],"has_more":{has_more},"first_id":{first_id},"last_id":{last_id}}}"#);
    let listing = Listing {
        relay: Arc::clone(relay),
        shape: IdShape::Uid,
        rows: rows.into(),
        ids: None,
        tail: Some(tail),
        json: br#"{"object":"list","data":["#.to_vec(),
        sent_some: false,
        share,
    };
    listing.answer().await
}

impl Listing {
    async fn answer(mut self) -> Result<Response<Body>, Fault> {
        // A list that can't be started is a fault with a status of its own.
        let first = self.piece().await?;
        if self.is_over() {
            return Ok(as_json(web::boxed(first.share.hold(first.bytes))));
        }
        let first = first.share.tie(first.bytes);
        let frames = stream::try_unfold((first, self), |(mut bytes, mut listing)| async move {
            if bytes.is_empty() && !listing.is_over() {
                let Piece { bytes: next, share } = listing.piece_in_time().await?;
                bytes = share.tie(next);
            }
            Ok::<_, Fault>(next_frame(&mut bytes).map(|frame| (frame, (bytes, listing))))
        });
        let frames = frames.map_ok(Frame::data).map_err(|fault| BodyError::from(fault.en));
        Ok(as_json(web::boxed(StreamBody::new(frames))))
    }

    const fn is_over(&self) -> bool {
        self.tail.is_none() && self.json.is_empty()
    }

    /// The next piece, as soon as there is memory for it: what was sent before may still be in
    /// transit, and be most of what its user may hold.
    async fn piece_in_time(&mut self) -> Result<Piece, Fault> {
        for _ in 0..TRIES {
            match self.piece().await {
                Err(fault) if fault.kind == FaultKind::Overloaded => {
                    tokio::time::sleep(PAUSE).await;
                }
                made => return made,
            }
        }
        self.piece().await
    }

    /// The next piece: as many tasks as fit into a frame, or a single larger one.
    async fn piece(&mut self) -> Result<Piece, Fault> {
        while self.json.len() < FRAME_BYTES {
            let Some(row) = self.next_row().await? else {
                let tail = self.tail.take().unwrap_or_default();
                self.json.extend_from_slice(tail.as_bytes());
                break;
            };
            if !self.share.another().grow_towards(row.data_bytes) {
                self.rows.push_front(row);
                if self.json.is_empty() {
                    return Err(faults::overloaded());
                }
                break;
            }
            let Some(json) = rendered(&self.relay, row, self.shape, &mut self.share).await? else {
                continue;
            };
            if std::mem::replace(&mut self.sent_some, true) {
                self.json.push(b',');
            }
            if self.json.is_empty() {
                self.json = json;
            } else {
                self.json.extend_from_slice(&json);
            }
        }
        let rest = self.share.another();
        let mut share = std::mem::replace(&mut self.share, rest);
        let bytes = Bytes::from(std::mem::take(&mut self.json));
        if !share.grow_towards(bytes.len()) {
            return Err(faults::overloaded());
        }
        Ok(Piece { bytes, share })
    }

    async fn next_row(&mut self) -> Result<Option<OwnTask>, Fault> {
        loop {
            if let Some(row) = self.rows.pop_front() {
                return Ok(Some(row));
            }
            let Some(Ids { identity, model, left }) = &mut self.ids else { return Ok(None) };
            if left.is_empty() {
                return Ok(None);
            }
            let ids: Vec<String> = left.drain(..left.len().min(LOOKED_FOR)).collect();
            let mut found = rows::by_upstream_ids(&self.relay.db, identity, model, &ids).await?;
            self.rows = ids.iter().filter_map(|id| found.remove(id)).collect();
        }
    }
}

/// The next bytes to send, and their share of the budget.
struct Piece {
    bytes: Bytes,
    share: Share,
}
