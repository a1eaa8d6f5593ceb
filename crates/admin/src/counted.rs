//! Answers count in the memory budget, and in their user's part of it, until they are sent: those
//! of the data plane do, and a client that reads nothing is no different here.

use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::response::Response;
use domain::{Fault, FaultKind, UserId};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body_util::BodyExt as _;
use std::sync::Arc;
use web::memory::{Budget, HeldPieces, Share};

/// Counts an answer to this user.
///
/// # Errors
/// When there is no room for it. One of unknown length is cut where there is no room for its next
/// piece.
pub async fn counted(
    budget: &Arc<Budget>,
    user_id: UserId,
    answer: Response,
) -> Result<Response, Fault> {
    let mut share = budget.share_of(user_id);
    let (mut head, body) = answer.into_parts();
    let body = match body.size_hint().exact() {
        Some(0) => body,
        Some(length) => {
            let room = usize::try_from(length).is_ok_and(|length| share.grow_to(length));
            let bytes = to_bytes(body, usize::MAX).await.map_err(|_| overloaded())?;
            if !room {
                return Err(overloaded());
            }
            Body::new(share.hold(bytes))
        }
        None => {
            let held = HeldPieces::default();
            head.extensions.insert(held.clone());
            pieces(share, body, held)?
        }
    };
    Ok(Response::from_parts(head, body))
}

/// A body of unknown length. What there is of it already has its place, or the answer is refused.
fn pieces(share: Share, mut body: Body, held: HeldPieces) -> Result<Body, Fault> {
    let counted = move |piece: Bytes| {
        let mut part = share.another();
        part.grow_to(piece.len()).then(|| held.tie(part, piece)).ok_or_else(overloaded)
    };
    let first = body.frame().now_or_never().flatten();
    let first = first.and_then(|frame| frame.map(|it| it.into_data().ok()).transpose());
    let first = match first {
        Some(Ok(piece)) => Some(Ok(counted(piece)?)),
        first => first,
    };
    let rest = body.into_data_stream();
    let rest = rest.map(move |piece| counted(piece?).map_err(axum::Error::new));
    Ok(Body::from_stream(stream::iter(first).chain(rest)))
}

/// There is no room for an answer.
pub(crate) fn overloaded() -> Fault {
    Fault::new(FaultKind::Overloaded, "系统繁忙, 请稍后重试", "overloaded, try again")
        .retry_after(1)
}
