//! The diagnostics port: the process's CPU time, memory and jobs, in the formats and under the
//! paths that `pprof` and `go tool pprof` expect. Function and job names, counts and source lines;
//! never data of a call.
#![warn(unreachable_pub)]

mod code;
mod cpu;
mod heap;
mod jobs;
mod stacks;
mod strings;

pub use heap::start_sampling;

use domain::{Clock, Fault, FaultKind};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};
use httpd::{ConnectionMetrics, Limits, Place, Stop};
use hyper::body::Incoming;
use pprof::protos::{Message, Profile};
use std::io::Write;
use tokio::net::TcpListener;
use web::Body;

/// An operator or two with curl.
const LIMITS: Limits =
    Limits { max_connections: 8, header_timeout_ms: 30_000, write_timeout_ms: 60_000 };
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROFILE: HeaderValue = HeaderValue::from_static("application/octet-stream");

const INDEX: &str = "\
/debug/pprof/goroutine?debug=1     the jobs alive, by kind and place (without debug: a profile)
/debug/pprof/profile?seconds=N     where processor time goes, for N seconds
/debug/pprof/heap                  what holds memory
";

/// Serves until stopped.
pub async fn serve(listener: TcpListener, clock: Clock, stop: Stop) {
    let handler = move |request: Request<Incoming>, _peer| {
        let clock = clock.clone();
        async move {
            let answered = answer(&request, &clock).await;
            answered.unwrap_or_else(|fault| {
                tracing::warn!(target: "custompass", event = "diagnostics_failed", error = %fault);
                web::render_fault(&fault, "")
            })
        }
    };
    let (places, metrics) = (vec![Place::here(handler)], ConnectionMetrics::default());
    httpd::serve(listener, LIMITS, stop, places, metrics).await;
}

async fn answer(request: &Request<Incoming>, clock: &Clock) -> Result<Response<Body>, Fault> {
    if *request.method() != Method::GET {
        return Err(Fault::new(FaultKind::MethodNotAllowed, "只支持 GET", "only GET"));
    }
    let query = request.uri().query().unwrap_or_default();
    match request.uri().path() {
        "/debug/pprof" | "/debug/pprof/" => Ok(respond(TEXT, INDEX.into())),
        "/debug/pprof/goroutine" => {
            let alive = roster::jobs();
            match parameter(query, "debug") {
                None | Some("0") => packed(&jobs::profile(&alive, clock.now())),
                Some(_) => Ok(respond(TEXT, jobs::text(&alive).into())),
            }
        }
        "/debug/pprof/profile" => packed(&cpu::profile(parameter(query, "seconds")).await?),
        "/debug/pprof/heap" => packed(&heap::profile(clock.now()).await?),
        _ => Err(Fault::new(FaultKind::NotFound, "没有这个路径", "no such path")),
    }
}

fn parameter<'q>(query: &'q str, wanted: &str) -> Option<&'q str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value)
}

/// A profile as its readers expect it: gzipped, in one piece.
fn packed(profile: &Profile) -> Result<Response<Body>, Fault> {
    let mut zip = GzEncoder::new(Vec::new(), Compression::fast());
    let zipped = zip.write_all(&profile.encode_to_vec()).and_then(|()| zip.finish());
    Ok(respond(PROFILE, zipped.map_err(failed)?))
}

fn respond(kind: HeaderValue, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(web::full(body));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
    let fault = Fault::new(FaultKind::System, "无法生成剖析", "the profile can't be made");
    fault.caused_by(cause)
}
