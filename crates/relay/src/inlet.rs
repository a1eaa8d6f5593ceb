//! The request's body: collected where it must be read or sent twice, else flowing, and never
//! larger than allowed.

use crate::config::SMALL_BODY_BYTES;
use crate::inflate::Inflation;
use crate::memory::Share;
use crate::{RelayConfig, faults};
use bytes::{Bytes, BytesMut};
use domain::Fault;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use upstream::{BoxError, Payload};

/// A request's body.
pub(crate) enum Inlet {
    /// Here to its end.
    Whole(Bytes),
    /// Too large to be collected without need: comes as the upstream takes it.
    Flowing(Flowing),
}

/// Why a request's body can't be passed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InletError {
    #[error("the request's body is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    #[error("the request's body can't be decompressed")]
    Undecodable,
    #[error("the client broke off: {0}")]
    Broken(#[source] hyper::Error),
    #[error("the client paused for too long")]
    TooSlow,
}

impl InletError {
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::TooLarge { limit_bytes } => faults::too_large(*limit_bytes),
            Self::Undecodable => faults::body_undecodable(),
            Self::Broken(_) => faults::body_broken(),
            Self::TooSlow => faults::body_too_slow(),
        }
    }

    /// The one among the causes of an upstream call's failure.
    pub(crate) fn among<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(found) = cause.downcast_ref() {
                return Some(found);
            }
            next = cause.source();
        }
        None
    }
}

/// Refuses what says of itself that it is too large, before any of it is read.
pub(crate) fn check_length(headers: &HeaderMap, config: &RelayConfig) -> Result<(), Fault> {
    let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match said.and_then(|text| text.parse::<u64>().ok()) {
        Some(bytes) if bytes > config.max_request_bytes => {
            Err(faults::too_large(config.max_request_bytes))
        }
        _ => Ok(()),
    }
}

/// Takes in a body: to its end if it is small or `whole` is asked for, else as much as is needed
/// to know that it is not small.
pub(crate) async fn take_in(
    headers: &HeaderMap,
    mut body: Incoming,
    config: &RelayConfig,
    whole: bool,
    share: &mut Share,
) -> Result<Inlet, Fault> {
    if body.is_end_stream() {
        return Ok(Inlet::Whole(Bytes::new()));
    }
    let declared = body.size_hint().exact();
    let mut count = Count::new(headers, config.max_request_bytes);
    let mut pieces = VecDeque::new();
    let mut bytes = 0_usize;
    loop {
        let Some(piece) = next_piece(&mut body, config.request_idle_ms).await? else {
            count.finish().map_err(|e| e.fault())?;
            return Ok(Inlet::Whole(joined(pieces, bytes)));
        };
        count.take(&piece).map_err(|e| e.fault())?;
        bytes += piece.len();
        pieces.push_back(piece);
        if body.is_end_stream() {
            count.finish().map_err(|e| e.fault())?;
            return Ok(Inlet::Whole(joined(pieces, bytes)));
        }
        if bytes > SMALL_BODY_BYTES {
            if !whole {
                let (touched, passed) = (false, 0);
                let stream = Stream { pieces, body, count, declared, passed, touched };
                return Ok(Inlet::Flowing(Flowing(Arc::new(Mutex::new(stream)))));
            }
            if !share.grow_to(bytes) {
                return Err(faults::overloaded());
            }
        }
    }
}

async fn next_piece(body: &mut Incoming, idle_ms: u64) -> Result<Option<Bytes>, Fault> {
    let idle = Duration::from_millis(idle_ms);
    loop {
        let frame = tokio::time::timeout(idle, body.frame()).await;
        match frame.map_err(|_| InletError::TooSlow.fault())? {
            None => return Ok(None),
            Some(Err(e)) => return Err(faults::body_broken().caused_by(e)),
            // Trailers of a request mean nothing to us, and belong to this connection.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                _ => {}
            },
        }
    }
}

fn joined(mut pieces: VecDeque<Bytes>, bytes: usize) -> Bytes {
    if pieces.len() <= 1 {
        return pieces.pop_front().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(bytes);
    for piece in &pieces {
        whole.extend_from_slice(piece);
    }
    whole.freeze()
}

/// Counts a body as it passes, also as it will be once it is decompressed.
struct Count {
    limit_bytes: u64,
    bytes: u64,
    inflation: Option<Inflation>,
}

impl Count {
    fn new(headers: &HeaderMap, limit_bytes: u64) -> Self {
        Self { limit_bytes, bytes: 0, inflation: Inflation::of(headers, limit_bytes) }
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), InletError> {
        self.bytes += piece.len() as u64;
        if self.bytes > self.limit_bytes {
            return Err(InletError::TooLarge { limit_bytes: self.limit_bytes });
        }
        match &mut self.inflation {
            Some(inflation) => inflation.take(piece),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), InletError> {
        self.inflation.as_mut().map_or(Ok(()), Inflation::finish)
    }
}

/// A body on its way. As long as nothing of it was taken, it can be sent to another upstream.
pub(crate) struct Flowing(Arc<Mutex<Stream>>);

struct Stream {
    /// Read already.
    pieces: VecDeque<Bytes>,
    /// Still coming.
    body: Incoming,
    count: Count,
    /// The whole length, where the client said it.
    declared: Option<u64>,
    passed: u64,
    touched: bool,
}

impl Inlet {
    /// The body, to send it. A flowing one can be sent only while it is untouched.
    pub(crate) fn payload(&self) -> Payload {
        match self {
            Self::Whole(bytes) => Payload::Whole(bytes.clone()),
            Self::Flowing(flowing) => {
                Payload::Stream(UnsyncBoxBody::new(Outflow(Arc::clone(&flowing.0))))
            }
        }
    }

    /// Whether the body can be sent (again).
    pub(crate) fn is_fresh(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Flowing(flowing) => !lock(&flowing.0).touched,
        }
    }

    /// The bytes, if they are all here.
    pub(crate) const fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Flowing(_) => None,
        }
    }
}

/// What the upstream's connection reads from.
struct Outflow(Arc<Mutex<Stream>>);

impl Body for Outflow {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut stream = lock(&self.0);
        stream.touched = true;
        if let Some(piece) = stream.pieces.pop_front() {
            stream.passed += piece.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        loop {
            let frame = match std::task::ready!(Pin::new(&mut stream.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(e)) => return Poll::Ready(Some(Err(InletError::Broken(e).into()))),
                Some(Ok(frame)) => frame,
            };
            let Ok(piece) = frame.into_data() else { continue };
            if let Err(e) = stream.count.take(&piece) {
                return Poll::Ready(Some(Err(e.into())));
            }
            stream.passed += piece.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
    }

    fn is_end_stream(&self) -> bool {
        let stream = lock(&self.0);
        stream.pieces.is_empty() && stream.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let stream = lock(&self.0);
        match stream.declared {
            Some(declared) => SizeHint::with_exact(declared.saturating_sub(stream.passed)),
            None => SizeHint::default(),
        }
    }
}

fn lock(stream: &Mutex<Stream>) -> MutexGuard<'_, Stream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}
