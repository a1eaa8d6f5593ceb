//! `{"success","message","data"}`, and a collection's `total`, `page`, `page_size` beside it.

use crate::{AdminError, Page, sheet};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use domain::{Fault, FaultKind, UnixMs};
use http::header::{ALLOW, CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use std::sync::Arc;

/// The result of a handler.
pub(super) type ApiResult = Result<Response, ApiFailure>;

#[derive(Serialize)]
struct One<'a, T> {
    success: bool,
    message: &'a str,
    data: T,
}

#[derive(Serialize)]
struct Many<T> {
    success: bool,
    message: &'static str,
    data: Vec<T>,
    total: i64,
    page: i64,
    page_size: i64,
}

/// A thing.
pub(super) fn one(data: impl Serialize) -> ApiResult {
    Ok(respond(&One { success: true, message: "", data }))
}

/// A thing, with a word about whether what was tried worked.
pub(super) fn tried(success: bool, message: &str, data: impl Serialize) -> ApiResult {
    Ok(respond(&One { success, message, data }))
}

/// Done; there is nothing to show.
pub(super) fn done() -> ApiResult {
    one(())
}

/// A page of things.
pub(super) fn many<T: Serialize>(page: Page<T>) -> ApiResult {
    Ok(respond(&Many {
        success: true,
        message: "",
        data: page.items,
        total: page.total,
        page: page.page,
        page_size: page.page_size,
    }))
}

/// A table to be kept as a file.
pub(super) fn attached(what: &str, made: UnixMs, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    // Names are generated here: letters, digits, `-` and `.`.
    let disposition = format!("attachment; filename=\"{}\"", sheet::file_name(what, made));
    if let Ok(disposition) = HeaderValue::try_from(disposition) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    response
}

fn respond(value: &impl Serialize) -> Response {
    web::json(value).map(Body::new)
}

/// A fault on its way to the one place that renders it.
#[derive(Clone, Debug)]
pub(super) struct ApiFailure(pub(super) Arc<Fault>);

impl ApiFailure {
    /// Our own mistake.
    pub(super) fn system(cause: String) -> Self {
        AdminError::System(cause).into()
    }
}

impl From<Fault> for ApiFailure {
    fn from(fault: Fault) -> Self {
        Self(Arc::new(fault))
    }
}

impl From<AdminError> for ApiFailure {
    fn from(error: AdminError) -> Self {
        Self(Arc::new(error.into()))
    }
}

impl IntoResponse for ApiFailure {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ApiFailure> for Response {
    fn from(failure: ApiFailure) -> Self {
        failure.into_response()
    }
}

/// The fault as its caller sees it; what is not the caller's doing is logged with its cause.
pub(super) fn render(fault: &Fault, request_id: &str, given: &HeaderMap) -> Response {
    if is_ours(fault.kind) {
        tracing::error!(
            target: "custompass",
            event = "admin_error",
            error = %fault.en,
            cause = %fault.cause_chain(),
            request_id,
        );
    }
    let mut response = web::render_admin_fault(fault, request_id).map(Body::new);
    if let Some(allowed) = given.get(ALLOW) {
        response.headers_mut().insert(ALLOW, allowed.clone());
    }
    response
}

const fn is_ours(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::System
            | FaultKind::Config
            | FaultKind::DatabaseUnavailable
            | FaultKind::Overloaded
    )
}
