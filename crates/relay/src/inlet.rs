//! The request's body: collected where it must be read or sent twice, else streamed, and never
//! larger than allowed.

use crate::billing::Payer;
use crate::config::SMALL_BODY_BYTES;
use crate::inflate::{Inflation, check_size, is_compressed, must_be_whole};
use crate::pace::Pace;
use crate::{RelayConfig, faults};
use bytes::Bytes;
use domain::Fault;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use upstream::{BoxError, Payload};
use web::Pieces;
use web::memory::Share;

/// A request's body.
pub(crate) enum Inlet {
    /// Complete.
    Whole(Bytes),
    /// Too large to be collected without need: streamed as the upstream takes it.
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

    /// Finds this error among the causes of a failed upstream call.
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

/// Refuses a body whose declared length is too large, before any of it is read.
pub(crate) fn check_length(headers: &HeaderMap, config: &RelayConfig) -> Result<(), Fault> {
    let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match said.and_then(|text| text.parse::<u64>().ok()) {
        Some(bytes) if bytes > config.max_request_bytes => {
            Err(faults::too_large(config.max_request_bytes))
        }
        _ => Ok(()),
    }
}

/// Why a body is taken in.
pub(crate) struct InletRules<'a> {
    pub config: &'a RelayConfig,
    /// It is collected, regardless of its size.
    pub whole: bool,
    /// Whose balance must cover the call before a large body is held in memory.
    pub payer: Option<Payer<'a>>,
}

/// Takes in a body: completely if it is small or has to be collected, else as much as is needed to
/// know that it is not small.
pub(crate) async fn take_in(
    headers: &HeaderMap,
    mut body: Incoming,
    rules: InletRules<'_>,
    share: &mut Share,
) -> Result<Inlet, Fault> {
    if body.is_end_stream() {
        return Ok(Inlet::Whole(Bytes::new()));
    }
    let InletRules { config, whole, mut payer } = rules;
    let in_one_step = must_be_whole(headers);
    let whole = whole || in_one_step;
    let declared = body.size_hint().exact();
    if is_compressed(headers)
        && let Some(payer) = payer.take()
    {
        // A few bytes may be a large body, which takes time to count, and memory to read.
        payer.can_pay().await?;
    }
    let mut count = Count::new(headers, config.max_request_bytes);
    let mut pace = Pace::new(config.body_window_ms, Some(config.body_timeout_ms));
    let mut pieces = Pieces::default();
    loop {
        let piece = poll_fn(|cx| pace.poll_piece(&mut body, cx)).await;
        let Some(piece) = piece.transpose().map_err(|e| e.fault())? else {
            break;
        };
        count.take(&piece).map_err(|e| e.fault())?;
        pieces.push(piece);
        if !share.grow_to(pieces.len()) {
            return Err(faults::overloaded());
        }
        if body.is_end_stream() {
            break;
        }
        if pieces.len() > SMALL_BODY_BYTES {
            if !whole {
                pace.has_no_end();
                let pieces = Some(pieces.joined());
                let (touched, passed) = (false, 0);
                let stream = Stream { pieces, body, pace, count, declared, passed, touched };
                return Ok(Inlet::Flowing(Flowing(Arc::new(Mutex::new(stream)))));
            }
            if let Some(payer) = payer.take() {
                payer.can_pay().await?;
            }
        }
    }
    count.finish().map_err(|e| e.fault())?;
    let bytes = pieces.joined();
    if in_one_step {
        check_size(headers, &bytes, config.max_request_bytes).map_err(|e| e.fault())?;
    }
    Ok(Inlet::Whole(bytes))
}

/// Counts a body as it passes, both as it is and decompressed.
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

/// A body in transit. As long as nothing of it was taken, it can be sent to another upstream.
pub(crate) struct Flowing(Arc<Mutex<Stream>>);

struct Stream {
    /// Already read.
    pieces: Option<Bytes>,
    /// Still arriving.
    body: Incoming,
    pace: Pace,
    count: Count,
    /// The declared total length.
    declared: Option<u64>,
    passed: u64,
    touched: bool,
}

impl Inlet {
    /// The body, for sending. A streamed one can be sent only while it is untouched.
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

    /// The bytes, if the body is complete.
    pub(crate) const fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Flowing(_) => None,
        }
    }
}

/// The body that the upstream's connection reads from.
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
        if let Some(piece) = stream.pieces.take() {
            stream.passed += piece.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Stream { body, pace, .. } = &mut *stream;
        let piece = match std::task::ready!(pace.poll_piece(body, cx)) {
            None => return Poll::Ready(None),
            Some(Err(e)) => return Poll::Ready(Some(Err(e.into()))),
            Some(Ok(piece)) => piece,
        };
        if let Err(e) = stream.count.take(&piece) {
            return Poll::Ready(Some(Err(e.into())));
        }
        stream.passed += piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let stream = lock(&self.0);
        stream.pieces.is_none() && stream.body.is_end_stream()
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
