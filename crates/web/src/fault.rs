//! Faults as responses.

use crate::{Body, X_REQUEST_ID, full};
use domain::{Fault, FaultKind};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use protocol::{ErrorShape, OwnError};
use serde::Serialize;

/// How a kind of fault is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The status.
    pub status: StatusCode,
    /// The code in the body, by which programs distinguish faults.
    pub code: &'static str,
    /// The coarser error type that clients of OpenAI-style gateways expect.
    pub kind: &'static str,
    /// The default `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
}

const fn shown(status: StatusCode, code: &'static str, kind: &'static str) -> Shown {
    Shown { status, code, kind, retry_after_s: None }
}

const fn later(shown: Shown, seconds: u32) -> Shown {
    Shown { retry_after_s: Some(seconds), ..shown }
}

/// The one table from a kind of fault to its response.
#[must_use]
pub const fn show(kind: FaultKind) -> Shown {
    use FaultKind as K;
    use StatusCode as S;
    const REQUEST: &str = "invalid_request_error";
    const SERVER: &str = "server_error";
    const UPSTREAM: &str = "upstream_error";
    match kind {
        K::InvalidRequest => shown(S::BAD_REQUEST, "INVALID_REQUEST", REQUEST),
        K::Unauthenticated => shown(S::UNAUTHORIZED, "AUTH_ERROR", "authentication_error"),
        K::InsufficientQuota => {
            shown(S::PAYMENT_REQUIRED, "INSUFFICIENT_QUOTA", "insufficient_quota")
        }
        K::SpendingLimit => shown(S::PAYMENT_REQUIRED, "SPENDING_LIMIT", "insufficient_quota"),
        K::Forbidden => shown(S::FORBIDDEN, "FORBIDDEN", "permission_error"),
        K::NotFound => shown(S::NOT_FOUND, "NOT_FOUND", "not_found_error"),
        K::TaskNotFound => shown(S::NOT_FOUND, "TASK_NOT_FOUND", "not_found_error"),
        K::MethodNotAllowed => shown(S::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", REQUEST),
        K::Conflict => shown(S::CONFLICT, "CONFLICT", REQUEST),
        K::IdempotencyConflict => later(shown(S::CONFLICT, "IDEMPOTENCY_CONFLICT", REQUEST), 1),
        K::IdempotencyMismatch => shown(S::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_MISMATCH", REQUEST),
        K::Unprocessable => shown(S::UNPROCESSABLE_ENTITY, "UNPROCESSABLE", REQUEST),
        K::RequestTimeout => shown(S::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", REQUEST),
        K::PayloadTooLarge => shown(S::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", REQUEST),
        K::UnsupportedMediaType => {
            shown(S::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", REQUEST)
        }
        K::RateLimited => later(shown(S::TOO_MANY_REQUESTS, "RATE_LIMITED", "rate_limit_error"), 1),
        K::System => shown(S::INTERNAL_SERVER_ERROR, "SYSTEM_ERROR", SERVER),
        K::Unsupported => shown(S::NOT_IMPLEMENTED, "UNSUPPORTED", SERVER),
        K::Upstream => shown(S::BAD_GATEWAY, "UPSTREAM_ERROR", UPSTREAM),
        K::UpstreamResponse => shown(S::BAD_GATEWAY, "UPSTREAM_RESPONSE", UPSTREAM),
        K::ModelNotFound => shown(S::NOT_FOUND, "MODEL_NOT_FOUND", REQUEST),
        K::NoChannel => later(shown(S::SERVICE_UNAVAILABLE, "NO_CHANNEL", SERVER), 5),
        K::Config => later(shown(S::SERVICE_UNAVAILABLE, "CONFIG_ERROR", SERVER), 30),
        K::AccountBusy => later(shown(S::SERVICE_UNAVAILABLE, "ACCOUNT_BUSY", SERVER), 2),
        K::Overloaded => later(shown(S::SERVICE_UNAVAILABLE, "OVERLOADED", SERVER), 1),
        K::DatabaseUnavailable => {
            later(shown(S::SERVICE_UNAVAILABLE, "DATABASE_UNAVAILABLE", SERVER), 5)
        }
        K::Timeout => shown(S::GATEWAY_TIMEOUT, "TIMEOUT", UPSTREAM),
    }
}

#[derive(Serialize)]
struct AdminBody {
    success: bool,
    message: String,
    data: (),
}

/// A fault on the data plane: `{"error":{"message","type","code","request_id"}}`.
#[must_use]
pub fn render_fault(fault: &Fault, request_id: &str) -> Response<Body> {
    render_fault_as(ErrorShape::Plain, fault, request_id)
}

/// The same, in the shape that the clients of an API read.
#[must_use]
pub fn render_fault_as(shape: ErrorShape, fault: &Fault, request_id: &str) -> Response<Body> {
    let shown = show(fault.kind);
    let error = OwnError {
        status: shown.status.as_u16(),
        code: shown.code,
        kind: shown.kind,
        message: &fault.message(),
        request_id,
    };
    respond(fault, shown, request_id, serde_json::to_vec(&shape.body(&error)).ok())
}

/// A fault of the admin API: `{"success":false,"message","data":null}`.
#[must_use]
pub fn render_admin_fault(fault: &Fault, request_id: &str) -> Response<Body> {
    let body = AdminBody { success: false, message: fault.message(), data: () };
    respond(fault, show(fault.kind), request_id, serde_json::to_vec(&body).ok())
}

fn respond(fault: &Fault, shown: Shown, request_id: &str, body: Option<Vec<u8>>) -> Response<Body> {
    let mut response = Response::new(full(body.unwrap_or_default()));
    *response.status_mut() = shown.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    if let Some(seconds) = fault.retry_after_s.or(shown.retry_after_s) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(methods) = fault.allow {
        headers.insert(ALLOW, HeaderValue::from_static(methods));
    }
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(X_REQUEST_ID, id);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn body_of(response: Response<Body>) -> serde_json::Value {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn a_fault_has_the_members_of_the_contract() {
        let fault = Fault::new(FaultKind::InsufficientQuota, "余额不足", "insufficient quota")
            .caused_by("SELECT secret");
        let response = render_fault(&fault, "r-1");
        assert_eq!(response.status(), 402);
        assert_eq!(response.headers()["x-request-id"], "r-1");
        assert!(!response.headers().contains_key(RETRY_AFTER));
        assert_eq!(
            body_of(response).await,
            serde_json::json!({"error": {
                "message": "余额不足 (insufficient quota)", "type": "insufficient_quota",
                "code": "INSUFFICIENT_QUOTA", "request_id": "r-1",
            }})
        );
    }

    #[tokio::test]
    async fn the_admin_envelope() {
        let fault = Fault::new(FaultKind::NotFound, "没有", "none");
        let response = render_admin_fault(&fault, "r");
        assert_eq!(response.status(), 404);
        let body = serde_json::json!({"success": false, "message": "没有 (none)", "data": null});
        assert_eq!(body_of(response).await, body);
    }

    #[test]
    fn trying_again_is_said_where_it_makes_sense() {
        for kind in [FaultKind::RateLimited, FaultKind::NoChannel, FaultKind::AccountBusy] {
            let response = render_fault(&Fault::new(kind, "", ""), "r");
            assert!(response.headers().contains_key(RETRY_AFTER), "{kind:?}");
        }
        let fault = Fault::new(FaultKind::RateLimited, "", "").retry_after(17);
        assert_eq!(render_fault(&fault, "r").headers()[RETRY_AFTER], "17");
    }
}
