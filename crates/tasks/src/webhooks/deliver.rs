//! One attempt of one delivery: send, judge, record.

use super::claim::DeliveryClaim;
use super::metrics::{AttemptResult, Metrics};
use super::parcel::{Parcel, Unsendable, pack};
use super::retry;
use crate::Parts;
use bytes::Bytes;
use domain::UnixMs;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use spans::{Span, key};
use store::{Statement, StoreError, Value};
use tokio::sync::Mutex;
use upstream::{Deadlines, OutboundRequest, Payload, ProxyChoice, ReplyBody};

/// Time limit for connecting to an endpoint, and for its reply.
const DEADLINES: Deadlines =
    Deadlines { connect_ms: 5_000, first_byte_ms: 15_000, idle_ms: 15_000, total_ms: 15_000 };
/// How long a delivery waits for memory before it is attempted again.
const PUT_OFF_MS: i64 = 1_000;
/// How much of a reply is read, so that its connection can be reused; beyond, it is closed.
const READ_BYTES: usize = 64 * 1024;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Why an endpoint that replied 410 was disabled.
const GONE: &str = "answered 410 Gone";

/// The outcome of an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Delivered(StatusCode),
    /// The endpoint replied 410.
    Gone {
        of_submission: bool,
    },
    Failed {
        status: Option<StatusCode>,
        why: &'static str,
    },
    Unsendable(Unsendable),
}

/// Attempts a delivery. One that can't be recorded is repeated when its claim has expired.
pub(super) async fn attempt(
    parts: &Parts,
    metrics: &Metrics,
    claim: DeliveryClaim,
    packing: &Mutex<()>,
) {
    let mut span = parts.tracer.root(spans::Kind::Client, "webhook");
    span.set(key::ENDPOINT_ID, claim.endpoint_id);
    span.set(key::ATTEMPT, claim.attempt);
    let (outcome, rest) = match pack(parts, &claim, packing).await {
        Ok(Ok(parcel)) => send(parts, parcel).await,
        Ok(Err(why)) => (Outcome::Unsendable(why), None),
        Err(error) => return unrecorded(&claim, &error),
    };
    end_span(span, &outcome);
    // Recorded first: the delivery counts, even if reading the rest of the reply fails.
    match record(parts, &claim, &outcome).await {
        Ok(ended) => {
            metrics.ended(ended);
            log_attempt(&claim, &outcome, ended);
        }
        Err(error) => unrecorded(&claim, &error),
    }
    if let Some(rest) = rest {
        drain(rest).await;
    }
}

async fn send(parts: &Parts, parcel: Parcel) -> (Outcome, Option<ReplyBody>) {
    let of_submission = parcel.of_submission;
    let Some(request) = request(parcel) else {
        let why = "address_unreadable";
        return (Outcome::Failed { status: None, why }, None);
    };
    match parts.webhook_client.send(request, &DEADLINES).await {
        Ok(reply) => (judge(reply.status, of_submission), Some(reply.body)),
        Err(error) => (Outcome::Failed { status: None, why: error.label() }, None),
    }
}

fn request(parcel: Parcel) -> Option<OutboundRequest<'static>> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static("newapi"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(WEBHOOK_ID, HeaderValue::try_from(parcel.id).ok()?);
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(parcel.timestamp));
    headers.insert(WEBHOOK_SIGNATURE, HeaderValue::try_from(parcel.signature).ok()?);
    Some(OutboundRequest {
        method: Method::POST,
        uri: parcel.uri,
        headers,
        body: Payload::Whole(parcel.body),
        proxy: &ProxyChoice::Default,
    })
}

fn judge(status: StatusCode, of_submission: bool) -> Outcome {
    if status.is_success() {
        Outcome::Delivered(status)
    } else if status == StatusCode::GONE {
        Outcome::Gone { of_submission }
    } else {
        let why = if status.is_redirection() { "redirect" } else { "status" };
        Outcome::Failed { status: Some(status), why }
    }
}

/// Reads the rest of a reply, up to a limit.
async fn drain(mut body: ReplyBody) {
    let mut seen = 0;
    while let Some(Ok(frame)) = body.frame().await {
        seen += frame.data_ref().map_or(0, Bytes::len);
        if seen > READ_BYTES {
            return;
        }
    }
}

/// Records the outcome of an attempt, unless the row has been claimed again meanwhile.
async fn record(
    parts: &Parts,
    claim: &DeliveryClaim,
    outcome: &Outcome,
) -> Result<AttemptResult, StoreError> {
    let now = parts.clock.now();
    let (ended, statements) = match *outcome {
        Outcome::Delivered(status) => {
            (AttemptResult::Delivered, vec![mark(claim, "delivered", now, Some(status), "")])
        }
        Outcome::Gone { of_submission } => {
            let own = mark(claim, "failed", now, Some(StatusCode::GONE), "gone");
            // The address of one submission says nothing about those of others.
            let all = if of_submission { vec![own] } else { with_endpoint(own, claim, now) };
            (AttemptResult::Failed, all)
        }
        Outcome::Failed { status, why } => again(claim, now, status, why),
        Outcome::Unsendable(Unsendable::NoRoom) => {
            (AttemptResult::PutOff, vec![put_off(claim, now)])
        }
        Outcome::Unsendable(Unsendable::NotNow(why)) => again(claim, now, None, why),
        Outcome::Unsendable(Unsendable::Never(why)) => {
            (AttemptResult::Failed, vec![mark(claim, "failed", now, None, why)])
        }
        Outcome::Unsendable(Unsendable::NoEndpoint) => {
            (AttemptResult::Failed, vec![give_up_all(claim.endpoint_id)])
        }
    };
    parts.db.write_all(statements).await?;
    Ok(ended)
}

fn again(
    claim: &DeliveryClaim,
    now: UnixMs,
    status: Option<StatusCode>,
    why: &'static str,
) -> (AttemptResult, Vec<Statement>) {
    match retry::pause_ms(claim.attempt, |most| rand::random_range(0..=most)) {
        Some(ms) => {
            (AttemptResult::Retried, vec![mark(claim, "pending", now.plus_ms(ms), status, why)])
        }
        None => (AttemptResult::Failed, vec![mark(claim, "failed", now, status, why)]),
    }
}

/// The state of a row after an attempt. A row that was claimed again meanwhile is that claim's to
/// write.
fn mark(
    claim: &DeliveryClaim,
    state: &'static str,
    due_at: UnixMs,
    status: Option<StatusCode>,
    why: &'static str,
) -> Statement {
    let sql = "UPDATE webhook_deliveries
               SET state = $1, due_at = $2, last_status = $3, last_error = $4
               WHERE id = $5 AND attempts = $6 AND state = 'pending'";
    let params = vec![
        state.into(),
        due_at.into(),
        status.map(|status| Value::from(status.as_u16())).unwrap_or(Value::Null),
        why.into(),
        claim.id.into(),
        claim.attempt.into(),
    ];
    Statement::new(sql, params)
}

fn with_endpoint(own: Statement, claim: &DeliveryClaim, now: UnixMs) -> Vec<Statement> {
    let disable = Statement::new(
        "UPDATE webhook_endpoints SET status = 2, disabled_reason = $1, updated_at = $2
         WHERE id = $3 AND status = 1",
        vec![GONE.into(), now.into(), claim.endpoint_id.into()],
    );
    vec![own, disable, give_up_all(claim.endpoint_id)]
}

/// Reverts the claim, with a short delay.
fn put_off(claim: &DeliveryClaim, now: UnixMs) -> Statement {
    Statement::new(
        "UPDATE webhook_deliveries SET due_at = $1, attempts = attempts - 1
         WHERE id = $2 AND attempts = $3 AND state = 'pending'",
        vec![now.plus_ms(PUT_OFF_MS).into(), claim.id.into(), claim.attempt.into()],
    )
}

/// Disables an endpoint.
fn give_up_all(endpoint_id: i64) -> Statement {
    Statement::new(
        "UPDATE webhook_deliveries SET state = 'failed', last_error = 'endpoint_disabled'
         WHERE endpoint_id = $1 AND state = 'pending'",
        vec![endpoint_id.into()],
    )
}

/// The status received, and a label of what is wrong.
const fn status_and_reason(outcome: &Outcome) -> (Option<StatusCode>, Option<&'static str>) {
    match *outcome {
        Outcome::Delivered(status) => (Some(status), None),
        Outcome::Gone { .. } => (Some(StatusCode::GONE), Some("gone")),
        Outcome::Failed { status, why } => (status, Some(why)),
        Outcome::Unsendable(Unsendable::NotNow(why) | Unsendable::Never(why)) => (None, Some(why)),
        Outcome::Unsendable(Unsendable::NoEndpoint) => (None, Some("endpoint_disabled")),
        Outcome::Unsendable(Unsendable::NoRoom) => (None, Some("no_room")),
    }
}

/// One log line per attempt: never the address, the body or the secret.
fn log_attempt(claim: &DeliveryClaim, outcome: &Outcome, ended: AttemptResult) {
    let (endpoint_id, attempt) = (claim.endpoint_id, claim.attempt);
    let (status, why) = status_and_reason(outcome);
    let status = status.map_or(0, |status| status.as_u16());
    let Some(reason) = why else {
        tracing::debug!(
            target: "custompass", event = "webhook_delivered", endpoint_id, status, attempt,
        );
        return;
    };
    tracing::warn!(
        target: "custompass", event = "webhook_failed", endpoint_id, status, attempt, reason,
        result = ended.as_str(),
    );
}

/// The same in the span of the attempt, which ends.
fn end_span(mut span: Span, outcome: &Outcome) {
    let (status, why) = status_and_reason(outcome);
    if let Some(status) = status {
        span.status(status);
    }
    if let Some(why) = why {
        span.fail(why);
    }
}

fn unrecorded(claim: &DeliveryClaim, error: &StoreError) {
    let endpoint_id = claim.endpoint_id;
    tracing::warn!(target: "custompass", event = "webhook_unrecorded", endpoint_id, %error);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_means() {
        let judged = |status: u16| judge(StatusCode::from_u16(status).unwrap(), false);
        assert!(matches!(judged(200), Outcome::Delivered(_)));
        assert!(matches!(judged(204), Outcome::Delivered(_)));
        assert_eq!(judged(410), Outcome::Gone { of_submission: false });
        for (status, word) in [(302, "redirect"), (404, "status"), (500, "status")] {
            assert!(matches!(judged(status), Outcome::Failed { why, .. } if why == word));
        }
    }
}
