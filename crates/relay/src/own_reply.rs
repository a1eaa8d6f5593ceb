//! Replies of our own making, which count until their clients have read them, like any other.

use crate::faults;
use domain::Fault;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde::Serialize;
use web::Body;
use web::memory::Share;

/// JSON within a share.
pub(crate) fn json(value: &impl Serialize, mut share: Share) -> Result<Response<Body>, Fault> {
    let json = serde_json::to_vec(value).map_err(faults::system)?;
    if !share.grow_to(json.len()) {
        return Err(faults::overloaded());
    }
    share.shrink_to(json.len());
    let mut response = Response::new(web::boxed(share.hold(json.into())));
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}
