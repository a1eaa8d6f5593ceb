//! Lists of tasks. A small list is sent in one piece; a longer one is rendered as the client reads
//! it, so that no more of it is in memory than the current task.

use super::element::IdShape;
use super::rows::{self, OwnTask, SMALL_DATA_BYTES};
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
use web::memory::{FRAME_BYTES, HeldPieces, Share, next_frame};
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
    /// Rendered, and not sent yet.
    json: Vec<u8>,
    sent_some: bool,
    /// What of `share` is for `rows` and `ids`.
    waiting_bytes: usize,
    /// Counts what is rendered, and what waits to be.
    share: Share,
}

/// Requested upstream ids, in order, with their owner and model.
pub(super) struct Ids {
    pub identity: Arc<Identity>,
    pub model: String,
    pub left: VecDeque<String>,
}

impl Ids {
    fn held_bytes(&self) -> usize {
        self.left.iter().map(|id| id.len() + size_of::<String>()).sum()
    }
}

/// `{"code":0,…,"data":[…]}`, in the order of the request.
pub(super) async fn of_ids(
    relay: &Arc<Relay>,
    ids: Ids,
    mut share: Share,
) -> Result<Response<Body>, Fault> {
    let waiting_bytes = ids.held_bytes();
    if !share.grow_to(waiting_bytes) {
        return Err(faults::overloaded());
    }
    let listing = Listing {
        relay: Arc::clone(relay),
        shape: IdShape::Upstream,
        rows: VecDeque::new(),
        ids: Some(ids),
        tail: Some("]}".to_owned()),
        json: br#"{"code":0,"message":"success","data":["#.to_vec(),
        sent_some: false,
        waiting_bytes,
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
    let mut listing = Listing {
        relay: Arc::clone(relay),
        shape: IdShape::Uid,
        rows: VecDeque::new(),
        ids: None,
        tail: Some(tail),
        json: br#"{"object":"list","data":["#.to_vec(),
        sent_some: false,
        waiting_bytes: 0,
        share,
    };
    listing.keep(rows)?;
    listing.answer().await
}

impl Listing {
    /// Keeps rows until they are rendered, within the share.
    fn keep(&mut self, rows: Vec<OwnTask>) -> Result<(), Fault> {
        let held_bytes = rows.iter().map(OwnTask::held_bytes).sum();
        if !self.share.grow_to(self.share.bytes().saturating_add(held_bytes)) {
            return Err(faults::overloaded());
        }
        self.waiting_bytes += held_bytes;
        self.rows = rows.into();
        Ok(())
    }

    /// Reads the reports of the next tasks together, as many as make a piece, within the share.
    /// Where there is no room for them, or they are large, each is read when it is rendered.
    async fn read_reports(&mut self) -> Result<(), Fault> {
        let (mut ids, mut bytes) = (Vec::new(), 0);
        for row in self.rows.iter().filter(|row| row.data.is_none()) {
            bytes += row.data_bytes;
            if row.data_bytes > SMALL_DATA_BYTES || bytes > FRAME_BYTES {
                break;
            }
            ids.push(row.id);
        }
        let before = self.share.bytes();
        if ids.is_empty() || !self.share.grow_to(before.saturating_add(bytes)) {
            return Ok(());
        }
        let mut reports = rows::reports(&self.relay.db, &ids).await?;
        let read_bytes = reports.values().map(String::len).sum();
        for row in &mut self.rows {
            if let Some(report) = reports.remove(&row.id) {
                row.data = Some(report);
            }
        }
        self.waiting_bytes += read_bytes;
        self.share.shrink_to(before.saturating_add(read_bytes));
        Ok(())
    }

    /// What waits has become less.
    fn waits_for(&mut self, waiting_bytes: usize) {
        let less = self.waiting_bytes.saturating_sub(waiting_bytes);
        self.waiting_bytes = waiting_bytes;
        self.share.shrink_to(self.share.bytes().saturating_sub(less));
    }

    async fn answer(mut self) -> Result<Response<Body>, Fault> {
        // A list that can't be started is a fault with a status of its own.
        let first = self.piece().await?;
        if self.is_over() {
            return Ok(as_json(web::boxed(first.share.hold(first.bytes))));
        }
        let pieces = HeldPieces::default();
        let first = pieces.tie(first.share, first.bytes);
        let made = pieces.clone();
        let frames = stream::try_unfold((first, self), move |(mut bytes, mut listing)| {
            let made = made.clone();
            async move {
                if bytes.is_empty() && !listing.is_over() {
                    let Piece { bytes: next, share } = listing.piece_in_time().await?;
                    bytes = made.tie(share, next);
                }
                Ok::<_, Fault>(next_frame(&mut bytes).map(|frame| (frame, (bytes, listing))))
            }
        });
        let frames = frames.map_ok(Frame::data).map_err(|fault| BodyError::from(fault.en));
        let mut response = as_json(web::boxed(StreamBody::new(frames)));
        response.extensions_mut().insert(pieces);
        Ok(response)
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
            let before = self.share.bytes();
            if !self.share.grow_towards(before.saturating_add(row.data_bytes)) {
                self.rows.push_front(row);
                if self.json.is_empty() {
                    return Err(faults::overloaded());
                }
                break;
            }
            self.share.shrink_to(before);
            let left_bytes = self.waiting_bytes.saturating_sub(row.held_bytes());
            let json = rendered(&self.relay, row, self.shape, &mut self.share).await?;
            self.waits_for(left_bytes);
            let Some(json) = json else { continue };
            if std::mem::replace(&mut self.sent_some, true) {
                self.json.push(b',');
            }
            if self.json.is_empty() {
                self.json = json;
            } else {
                self.json.extend_from_slice(&json);
            }
        }
        if !self.share.grow_towards(self.waiting_bytes.saturating_add(self.json.len())) {
            return Err(faults::overloaded());
        }
        let share = self.share.split_beyond(self.waiting_bytes);
        Ok(Piece { bytes: Bytes::from(std::mem::take(&mut self.json)), share })
    }

    async fn next_row(&mut self) -> Result<Option<OwnTask>, Fault> {
        loop {
            if self.rows.front().is_some_and(|row| row.data.is_none()) {
                self.read_reports().await?;
            }
            if let Some(row) = self.rows.pop_front() {
                return Ok(Some(row));
            }
            let Some(Ids { identity, model, left }) = &self.ids else { return Ok(None) };
            if left.is_empty() {
                return Ok(None);
            }
            let ids: Vec<String> = left.iter().take(LOOKED_FOR).cloned().collect();
            let mut found = rows::by_upstream_ids(&self.relay.db, identity, model, &ids).await?;
            self.keep(ids.iter().filter_map(|id| found.remove(id)).collect())?;
            if let Some(Ids { left, .. }) = &mut self.ids {
                left.drain(..ids.len());
            }
            let looked_for: usize = ids.iter().map(|id| id.len() + size_of::<String>()).sum();
            self.waits_for(self.waiting_bytes.saturating_sub(looked_for));
        }
    }
}

/// The next bytes to send, and their share of the budget.
struct Piece {
    bytes: Bytes,
    share: Share,
}
