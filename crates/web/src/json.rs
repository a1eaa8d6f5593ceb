//! JSON of our own making.

use crate::{Body, full, render_fault};
use domain::{Fault, FaultKind};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde::Serialize;

/// A JSON response with status 200.
pub fn json(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let mut response = Response::new(full(body));
            let json = HeaderValue::from_static("application/json; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        Err(e) => {
            let fault = Fault::new(FaultKind::System, "系统错误", "internal error").caused_by(e);
            render_fault(&fault, "")
        }
    }
}
