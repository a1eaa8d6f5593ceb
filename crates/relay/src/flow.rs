//! A streamed reply: each piece goes to the client as it arrives, its reader reads along, and the
//! end is withheld until the settlement is durable.
//!
//! The end that clients recognise differs: the end of a chunked body, the last byte of one with a
//! length, `[DONE]` in a stream of events. The earliest of these is withheld. What an upstream
//! sends behind `[DONE]` would be free, because all is settled by then: it is not passed on.

use crate::Relay;
use crate::account::AccountWatch;
use crate::channels::Attempt;
use crate::config::CutStream;
use crate::deliver::warn_of_echo;
use crate::extra_event::ExtraEvent;
use crate::faults;
use crate::idempotency::Tee;
use crate::outcome::{BodyEnd, CallEnd, ClientOutcome, Money, Outcome, Seen, decide};
use crate::record::Record;
use crate::reply::{ChargeReader, ended_by};
use crate::reservation::Reservation;
use crate::resources::ResourceKeeper;
use bytes::Bytes;
use domain::{Fault, UserId};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;
use upstream::{EchoGuard, EchoWatch, Echoed, Phase, ReplyBody, SendError};
use web::memory::{FRAME_BYTES, HeldPieces, Share, next_frame};
use web::{BodyError, Unread};

/// The source of a streamed reply, and what its end settles.
pub(crate) struct FlowSource {
    pub body: ReplyBody,
    /// Read already, not sent yet. The reader has not seen it.
    pub prefix: Option<Bytes>,
    /// Tells the connection of a large prefix: a client that hardly reads it would keep its share
    /// for hours.
    pub held: Option<HeldPieces>,
    /// The remaining length, where the upstream declared it.
    pub left: Option<u64>,
    /// Searches for the channel's key.
    pub echo: Option<EchoWatch>,
    /// What the end of the reply settles; `None` for a free call, or once it is settled.
    pub pending: Option<Pending>,
    /// Reads an error for what it says of the channel's account, and the guard of its key.
    pub account: Option<(AccountWatch, Option<EchoGuard>)>,
    /// The channel's slot, kept until the end.
    pub attempt: Attempt,
}

impl FlowSource {
    /// What was collected is sent first.
    pub(crate) fn send_first(&mut self, bytes: Bytes, share: Share) {
        if bytes.len() > FRAME_BYTES {
            let pieces = HeldPieces::default();
            self.prefix = Some(pieces.tie(share, bytes));
            self.held = Some(pieces);
        } else {
            self.prefix = Some(share.tie(bytes)).filter(|bytes| !bytes.is_empty());
        }
    }
}

impl Drop for FlowSource {
    fn drop(&mut self) {
        if let Some((watch, echo)) = self.account.take() {
            self.attempt.account_is_broken(watch.finish(echo.as_ref()));
        }
    }
}

/// A streamed reply.
struct Flow {
    source: FlowSource,
    record: Record,
    /// `[DONE]` has come, and is settled.
    is_done: bool,
}

/// What the end of a reply settles.
pub(crate) struct Pending {
    pub reservation: Reservation,
    pub reader: ChargeReader,
    pub tee: Option<Tee>,
    /// Keeps back an event that the client has not asked for.
    pub extra: Option<ExtraEvent>,
    /// Keeps the id of what the reply says was made.
    pub keeper: Option<ResourceKeeper>,
}

/// Whether a piece contains the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    More,
    /// The last byte of a body with a length.
    Last,
    /// `[DONE]`, and nothing behind it.
    Done,
}

type Closing = Pin<Box<dyn Future<Output = (Box<Flow>, ClientOutcome)> + Send>>;

enum State {
    Passing(Box<Flow>),
    /// The end has been seen, and waits for its settlement.
    Closing {
        closing: Closing,
        withheld: Option<Bytes>,
        over: bool,
    },
    Over,
}

/// The client's side of a flow.
pub(crate) struct FlowBody {
    relay: Arc<Relay>,
    state: State,
    unread: Unread,
}

impl FlowBody {
    pub(crate) fn new(source: FlowSource, record: Record, unread: Unread) -> Self {
        let relay = Arc::clone(record.relay());
        Self {
            relay,
            unread,
            state: State::Passing(Box::new(Flow { source, record, is_done: false })),
        }
    }
}

impl Flow {
    /// Scans a piece.
    fn take(&mut self, piece: Bytes) -> (Bytes, Piece) {
        let (mut seen, length) = (Piece::More, piece.len() as u64);
        if let Some((watch, _)) = &mut self.source.account {
            watch.feed(&piece);
        }
        let mut passes = piece;
        if let Some(pending) = &mut self.source.pending {
            pending.reader.feed(&passes);
            let is_ended = pending.reader.is_ended();
            if let Some(extra) = &mut pending.extra {
                passes = extra.pass(&passes);
                if is_ended {
                    passes = joined(passes, extra.rest());
                }
            }
            if let Some(tee) = &mut pending.tee {
                tee.feed(&passes);
            }
            if is_ended {
                seen = Piece::Done;
                if let Some(tee) = &mut pending.tee {
                    tee.close_event();
                }
            }
        }
        if let Some(left) = &mut self.source.left {
            *left = left.saturating_sub(length);
            if *left == 0 {
                seen = Piece::Last;
            }
        }
        (passes, seen)
    }

    /// Scans a piece, and returns what of it may be sent now.
    fn look_through(&mut self, piece: Bytes) -> Result<(Bytes, Piece), Echoed> {
        let (piece, seen) = self.take(piece);
        let Some(watch) = &mut self.source.echo else { return Ok((piece, seen)) };
        let mut passes = watch.pass(piece)?;
        if seen == Piece::Last {
            passes = joined(passes, watch.rest());
        }
        Ok((passes, seen))
    }

    /// What may still be sent once the upstream has completed.
    fn rest(&mut self) -> Result<Option<Bytes>, Echoed> {
        let mut rest = Bytes::new();
        if let Some(pending) = &mut self.source.pending
            && let Some(extra) = &mut pending.extra
        {
            rest = extra.rest();
            if let Some(tee) = &mut pending.tee {
                tee.feed(&rest);
            }
        }
        if let Some(watch) = &mut self.source.echo {
            rest = joined(watch.pass(rest)?, watch.rest());
        }
        Ok((!rest.is_empty()).then_some(rest))
    }

    fn passes_trailers(&self, trailers: &Frame<Bytes>) -> bool {
        let watch = self.source.echo.as_ref();
        self.source.pending.is_none()
            && trailers
                .trailers_ref()
                .is_none_or(|trailers| watch.is_none_or(|watch| watch.passes_trailers(trailers)))
    }

    /// Ends the reservation; durable, or given up, when this returns.
    async fn close(mut self: Box<Self>, end: BodyEnd) -> (Box<Self>, ClientOutcome) {
        self.record.upstream_ends();
        let Some(pending) = self.source.pending.take() else {
            return (self, ClientOutcome::Reply);
        };
        let Pending { reservation, reader, tee, keeper, .. } = pending;
        let mut reading = reader.finish();
        if let Some(watch) = &self.source.echo {
            reading.hide(watch.guard());
        }
        self.source.attempt.account_said(reading.account.as_deref());
        if reading.failed {
            self.source.attempt.says_failed();
        }
        reservation.counted(&mut reading);
        let cut_stream = self.record.relay().config.cut_stream;
        reading.is_free_when_cut = cut_stream == CutStream::Seen && !reading.has_content;
        if let Some(keeper) = keeper {
            keeper.keep(self.record.relay(), &reading, None).await;
        }
        let reply = CallEnd::Reply { reading: &reading, end, seen: Seen::Part };
        let Outcome { money, client } = decide(reservation.terms(), reply);
        let charged = matches!(money, Money::Charge { .. });
        let failed = reading.failed.then_some(reading.failure);
        let tee = tee.map(|tee| tee.ended(end));
        if let Err(fault) = reservation.end(&mut self.record, money, reading, tee).await {
            self.record.fail(&fault);
            return (self, ClientOutcome::Cut);
        }
        match &client {
            ClientOutcome::Reply if charged => self.record.succeed(),
            ClientOutcome::Reply => {
                if let Some(failure) = failed {
                    let error = failure.words().to_owned();
                    self.record.fail_upstream("UPSTREAM_ENVELOPE", error);
                }
            }
            ClientOutcome::Cut => self.record.fail(&faults::upstream_failed()),
            ClientOutcome::Fault(fault) => self.record.fail(fault),
        }
        (self, client)
    }

    /// Drains the reply for a disconnected client, within limits, and ends the reservation.
    async fn drain(mut self: Box<Self>, drain_ms: u64) {
        self.record.relay().metrics.drained();
        self.source.body.client_leaves();
        let end = self.read_rest(drain_ms).await;
        let _ = self.close(end).await;
    }

    /// Reads what is left of the reply, which nobody sees now. It is searched all the same: what
    /// is stored of it is seen later.
    async fn read_rest(&mut self, drain_ms: u64) -> BodyEnd {
        let relay = Arc::clone(self.record.relay());
        let until = Instant::now() + Duration::from_millis(drain_ms);
        let mut left_bytes = relay.config.drain_bytes;
        let prefix = self.source.prefix.take().filter(|prefix| !prefix.is_empty());
        if let Some(end) = prefix.and_then(|prefix| self.read_unseen(prefix)) {
            return end;
        }
        loop {
            let frame = tokio::select! {
                frame = self.source.body.frame() => frame,
                () = tokio::time::sleep_until(until) => return BodyEnd::DrainedOut,
                () = relay.drains_cancelled.cancelled() => return BodyEnd::DrainedOut,
            };
            let frame = match frame {
                None => {
                    let rest = self.rest();
                    return rest.map_or_else(|echoed| self.echoes(echoed), |_| BodyEnd::Complete);
                }
                Some(Err(e)) => return ended_by(&e),
                Some(Ok(frame)) => frame,
            };
            let Ok(piece) = frame.into_data() else { continue };
            let length = piece.len() as u64;
            if let Some(end) = self.read_unseen(piece) {
                return end;
            }
            left_bytes = left_bytes.saturating_sub(length);
            if left_bytes == 0 {
                return BodyEnd::DrainedOut;
            }
        }
    }

    /// Reads a piece that goes to nobody; returns the end of the reply, if it is that.
    fn read_unseen(&mut self, piece: Bytes) -> Option<BodyEnd> {
        match self.look_through(piece) {
            Ok((_, Piece::More)) => None,
            Ok((_, Piece::Last | Piece::Done)) => Some(BodyEnd::Complete),
            Err(echoed) => Some(self.echoes(echoed)),
        }
    }

    /// The reply shows the channel's key, or may do so: it ends here, and is not stored.
    fn echoes(&self, echoed: Echoed) -> BodyEnd {
        if let Some(channel_id) = self.record.channel_id {
            warn_of_echo(channel_id, echoed);
        }
        BodyEnd::Cut
    }
}

/// Concatenates two pieces.
fn joined(first: Bytes, second: Bytes) -> Bytes {
    if second.is_empty() {
        return first;
    }
    [first, second].concat().into()
}

/// Why a client's reply ends early.
#[derive(Debug, thiserror::Error)]
#[error("the reply broke off")]
struct BrokeOff;

/// The result of polling a body.
type Step = Option<Result<Frame<Bytes>, BodyError>>;

impl FlowBody {
    /// Ends a reply on which no money depends.
    fn break_off(&mut self, fault: &Fault) -> Step {
        if let State::Passing(mut flow) = std::mem::replace(&mut self.state, State::Over) {
            flow.record.fail(fault);
        }
        Some(Err(BrokeOff.into()))
    }

    /// Ends a reply whose upstream continues behind `[DONE]`. Of this piece the blank line that may
    /// still belong to it is passed on.
    fn end_at_done(&mut self, mut piece: Bytes) -> Step {
        let State::Passing(flow) = std::mem::replace(&mut self.state, State::Over) else {
            return None;
        };
        tracing::warn!(
            target: "custompass", event = "stream_continued",
            channel_id = flow.record.channel_id.map(|id| id.0),
            error = "the upstream continued its stream behind [DONE]; the rest was not passed on",
            request_id = &*flow.record.request_id,
        );
        if flow.source.left.is_some() {
            // A declared length can't be reached any more.
            return Some(Err(BrokeOff.into()));
        }
        piece.truncate(piece.len() - piece.trim_ascii_start().len());
        (!piece.is_empty()).then(|| Ok(Frame::data(piece)))
    }

    /// Reads the reply on without its client: it counts as one that is not read. What found no room
    /// so is not read on.
    fn read_on(&self, flow: Box<Flow>) {
        let user_id = flow.record.user_id.unwrap_or(UserId(0));
        let unread = match self.unread.is_counted() {
            true => self.unread.clone(),
            false => Unread::new(&self.relay.budget, user_id),
        };
        let has_room = !self.unread.is_refused() && unread.client_is_awaited();
        let drain_ms = if has_room { self.relay.config.drain_ms } else { 0 };
        self.relay.spawn("drain", async move {
            flow.drain(drain_ms).await;
            drop(unread);
        });
    }

    /// The client was too slow: it is disconnected, and pays like one that has disconnected. This
    /// says nothing about the upstream.
    fn disconnect(&mut self, error: SendError) -> Step {
        let State::Passing(mut flow) = std::mem::replace(&mut self.state, State::Over) else {
            return None;
        };
        if flow.source.pending.is_none() {
            flow.record.fail(&faults::reader_too_slow().caused_by(error));
        } else if matches!(error, SendError::Timeout(Phase::ClientReply)) {
            self.read_on(flow);
        } else {
            // The request broke off, and with it the connection to the upstream.
            self.relay.spawn("settlement", async {
                let _ = flow.close(BodyEnd::ClientSlow).await;
            });
        }
        Some(Err(BrokeOff.into()))
    }

    /// One step of a streamed reply. `None`: the state has changed, continue with that.
    fn pass(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        let State::Passing(flow) = &mut self.state else { return Poll::Ready(None) };
        let polled = match flow.source.prefix.as_mut().and_then(next_frame) {
            Some(prefix) => Some(Ok(Frame::data(prefix))),
            None => ready!(Pin::new(&mut flow.source.body).poll_frame(cx)),
        };
        let (end, withheld, over) = match polled {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) => match flow.look_through(piece) {
                    Ok((piece, _)) if flow.is_done && !piece.trim_ascii().is_empty() => {
                        return Poll::Ready(Some(self.end_at_done(piece)));
                    }
                    Ok((piece, Piece::More)) => {
                        return Poll::Ready(Some(Some(Ok(Frame::data(piece)))));
                    }
                    Ok((piece, Piece::Last)) => (BodyEnd::Complete, Some(piece), true),
                    Ok((piece, Piece::Done)) => (BodyEnd::Complete, Some(piece), false),
                    Err(echoed) => {
                        let end = flow.echoes(echoed);
                        if flow.source.pending.is_none() {
                            return Poll::Ready(Some(self.break_off(&faults::echoed(echoed))));
                        }
                        (end, None, true)
                    }
                },
                Err(trailers) if flow.passes_trailers(&trailers) => {
                    return Poll::Ready(Some(Some(Ok(trailers))));
                }
                // Trailers come with the end, and would reveal it.
                Err(_) => return self.pass(cx),
            },
            None => match flow.rest() {
                Ok(rest) => (BodyEnd::Complete, rest, true),
                Err(echoed) => (flow.echoes(echoed), None, true),
            },
            Some(Err(e)) if e.is_clients_fault() => {
                return Poll::Ready(Some(self.disconnect(e)));
            }
            Some(Err(e)) => {
                flow.source.attempt.breaks_off();
                if flow.source.pending.is_none() {
                    let fault = faults::upstream_failed().caused_by(e);
                    return Poll::Ready(Some(self.break_off(&fault)));
                }
                (ended_by(&e), None, true)
            }
        };
        let State::Passing(flow) = std::mem::replace(&mut self.state, State::Over) else {
            return Poll::Ready(None);
        };
        if flow.source.pending.is_none() {
            let last = withheld.map(|piece| Ok(Frame::data(piece)));
            return Poll::Ready(Some(last));
        }
        self.state = State::Closing { closing: Box::pin(flow.close(end)), withheld, over };
        Poll::Ready(None)
    }
}

impl Body for FlowBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Over => return Poll::Ready(None),
                State::Passing(_) => {
                    if let Some(step) = ready!(this.pass(cx)) {
                        return Poll::Ready(step);
                    }
                }
                State::Closing { closing, withheld, over } => {
                    let (mut flow, client) = ready!(closing.as_mut().poll(cx));
                    let (withheld, over) = (withheld.take(), *over);
                    this.state = State::Over;
                    if !matches!(client, ClientOutcome::Reply) {
                        return Poll::Ready(Some(Err(BrokeOff.into())));
                    }
                    if !over {
                        flow.is_done = true;
                        this.state = State::Passing(flow);
                    }
                    return Poll::Ready(withheld.map(|piece| Ok(Frame::data(piece))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Over)
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.state {
            // The current piece has not been counted yet.
            State::Passing(flow) => flow.source.left,
            State::Closing { .. } => None,
            State::Over => Some(0),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for FlowBody {
    fn drop(&mut self) {
        self.unread.is_over();
        match std::mem::replace(&mut self.state, State::Over) {
            State::Passing(flow) if flow.source.pending.is_some() => {
                self.read_on(flow);
            }
            State::Closing { closing, .. } => {
                self.relay.spawn("settlement", async {
                    let _ = closing.await;
                });
            }
            State::Passing(_) | State::Over => {}
        }
    }
}
