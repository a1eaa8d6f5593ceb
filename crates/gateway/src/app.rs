//! The front door: which surface a request belongs to.

use crate::health::Health;
use axum::Router;
use domain::{Clock, Fault, FaultKind};
use http::header::{ACCEPT, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use relay::Relay;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt;
use web::Body;

/// The surfaces.
pub(crate) struct App {
    /// `/api`.
    pub admin: Router,
    /// `/console`.
    pub console: Router,
    /// `/livez`, `/readyz` and `/api/status`.
    pub health: Health,
    /// For ids of requests that no surface takes.
    pub clock: Clock,
    /// Where everything but the data plane runs, so that no report keeps calls waiting.
    pub runtime: Handle,
}

impl App {
    /// Handles one request; `relay` is the data plane of the connection's runtime.
    pub(crate) async fn answer(
        self: Arc<Self>,
        relay: Arc<Relay>,
        mut request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Body> {
        if !is_own(request.uri().path()) && relay.serves(&request) {
            return relay.handle(request, peer).await;
        }
        // The admin API limits logins by this address.
        request.extensions_mut().insert(peer);
        let answering = self.runtime.spawn(self.clone().answer_other(request));
        // A client that hangs up ends it.
        match AbortOnDropHandle::new(answering).await {
            Ok(response) => response,
            Err(_) => web::render_fault(&Fault::new(FaultKind::System, "系统错误", "panicked"), ""),
        }
    }

    async fn answer_health(&self, request: &Request<Incoming>) -> Response<Body> {
        let id = web::request_id(request.headers(), self.clock.now());
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return only_read(&id);
        }
        match request.uri().path() {
            "/livez" => Health::alive(),
            "/readyz" => self.health.ready(&id).await,
            _ => self.health.status(&id).await,
        }
    }

    async fn answer_other(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        match request.uri().path() {
            "/livez" | "/readyz" | "/api/status" | "/api/status/" => {
                self.answer_health(&request).await
            }
            path if path == "/api" || path.starts_with("/api/") => {
                ask(self.admin.clone(), request).await
            }
            path if path == "/console" || path.starts_with("/console/") => {
                ask(self.console.clone(), request).await
            }
            "/" if is_browser(request.headers()) => to_console(),
            "/" => web::json(&json!({
                "name": "newapi",
                "version": env!("CARGO_PKG_VERSION"),
                "status": "/api/status",
            })),
            _ => self.refuse(
                &request,
                FaultKind::NotFound,
                "没有这个路径; API 在 /v1/… 和 /pass/{模型} 下",
                "no such path; APIs are served under /v1/ and the other paths of their vendors, \
                 models under /pass/{model}",
            ),
        }
    }

    fn refuse(
        &self,
        request: &Request<Incoming>,
        kind: FaultKind,
        zh: &str,
        en: &str,
    ) -> Response<Body> {
        let id = web::request_id(request.headers(), self.clock.now());
        web::render_fault(&Fault::new(kind, zh, en), &id)
    }
}

async fn ask(surface: Router, request: Request<Incoming>) -> Response<Body> {
    match surface.oneshot(request).await {
        Ok(response) => response.map(web::boxed),
        Err(never) => match never {},
    }
}

/// Whether a path is one of this process, and never one of an API.
fn is_own(path: &str) -> bool {
    let own = ["/api", "/console"];
    let is_below = |own: &&str| path.strip_prefix(own).is_some_and(is_end_of_segment);
    own.iter().any(is_below) || matches!(path, "/" | "/livez" | "/readyz")
}

fn is_end_of_segment(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

/// Whether a person asks; scripts take anything, or JSON.
fn is_browser(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

fn to_console() -> Response<Body> {
    let mut response = Response::new(web::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/console"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

/// The health is read, and nothing else.
fn only_read(request_id: &str) -> Response<Body> {
    let fault =
        Fault::new(FaultKind::MethodNotAllowed, "该接口只支持 GET", "this path is read with GET");
    web::render_admin_fault(&fault.allowing("GET,HEAD"), request_id)
}
