//! Collects bodies that are read whole, however many pieces they come in.

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;

/// Collected pieces. A single piece stays as it is; several are copied together at once: a small
/// piece may keep all of the memory that it was read into, and each takes more than its bytes.
#[derive(Debug, Default)]
pub struct Pieces {
    first: Bytes,
    more: BytesMut,
}

impl Pieces {
    /// Appends a piece.
    pub fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() && self.more.is_empty() {
            self.first = piece;
            return;
        }
        if self.more.is_empty() {
            self.more.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.more.extend_from_slice(&piece);
    }

    /// The bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.first.len().max(self.more.len())
    }

    /// Whether nothing has come yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, as one.
    #[must_use]
    pub fn joined(self) -> Bytes {
        if self.more.is_empty() { self.first } else { self.more.freeze() }
    }
}

/// Limits of a body that is collected.
#[derive(Clone, Copy, Debug)]
pub struct CollectLimits {
    /// Its largest size.
    pub max_bytes: usize,
    /// How long its sender may take.
    pub within: Duration,
}

/// Why a body was not collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectError {
    /// It is larger than allowed.
    TooLarge,
    /// Its sender took too long.
    TooSlow,
    /// It broke off.
    Broken,
    /// There was no memory for it.
    NoRoom,
}

impl fmt::Display for CollectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the body is too large",
            Self::TooSlow => "the body did not arrive in time",
            Self::Broken => "the body broke off",
            Self::NoRoom => "there is no memory for the body",
        })
    }
}

/// Collects a body. `has_room` is asked for all bytes so far whenever more is awaited: what came
/// at once keeps nothing in memory for as long as its sender likes.
///
/// # Errors
/// When it breaks a limit, breaks off, or finds no room.
pub async fn collect<B>(
    body: B,
    limits: CollectLimits,
    has_room: impl FnMut(usize) -> bool,
) -> Result<Bytes, CollectError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let CollectLimits { max_bytes, within } = limits;
    let collected = timeout(within, collect_pieces(body, max_bytes, has_room)).await;
    collected.unwrap_or(Err(CollectError::TooSlow))
}

async fn collect_pieces<B>(
    mut body: B,
    max_bytes: usize,
    mut has_room: impl FnMut(usize) -> bool,
) -> Result<Bytes, CollectError>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(CollectError::TooLarge);
    }
    let mut pieces = Pieces::default();
    while !body.is_end_stream() {
        if !has_room(pieces.len()) {
            return Err(CollectError::NoRoom);
        }
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|_| CollectError::Broken)?;
        // Trailers are not read.
        let Ok(piece) = frame.into_data() else { continue };
        if pieces.len().saturating_add(piece.len()) > max_bytes {
            return Err(CollectError::TooLarge);
        }
        pieces.push(piece);
    }
    Ok(pieces.joined())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};
    use std::convert::Infallible;

    const LIMITS: CollectLimits = CollectLimits { max_bytes: 10, within: Duration::from_secs(30) };

    /// A body in these pieces, which ends, or of which more is awaited.
    fn body(
        pieces: &'static [&'static str],
    ) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let frames =
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
        StreamBody::new(futures_util::stream::iter(frames))
    }

    #[tokio::test]
    async fn pieces_are_joined_within_limits() {
        let whole = collect(body(&["a", "", "bc", "d"]), LIMITS, |_| true).await;
        assert_eq!(whole.unwrap(), "abcd");
        let most = collect(body(&["01234", "56789"]), LIMITS, |_| true).await;
        assert_eq!(most.unwrap().len(), 10);
        let more = collect(body(&["01234", "56789", "x"]), LIMITS, |_| true).await;
        assert_eq!(more, Err(CollectError::TooLarge));
        let declared = Full::new(Bytes::from_static(b"0123456789x"));
        let declared = collect(declared, LIMITS, |_| panic!("refused before")).await;
        assert_eq!(declared, Err(CollectError::TooLarge));
        let no_room = collect(body(&["01", "23", "45"]), LIMITS, |bytes| bytes < 4).await;
        assert_eq!(no_room, Err(CollectError::NoRoom));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_too_long_is_not_waited_for() {
        let never = StreamBody::new(futures_util::stream::pending::<Result<_, Infallible>>());
        assert_eq!(collect(never, LIMITS, |_| true).await, Err(CollectError::TooSlow));
    }
}
