//! The smallest honest hyper proxy: the practical floor for a gateway written on hyper. It checks
//! one client key, swaps it for the upstream's, reuses upstream connections, streams bodies both
//! ways and parses nothing.
//!
//! `hyper-pass LISTEN UPSTREAM CLIENT_KEY UPSTREAM_KEY [THREADS]`

use std::sync::Arc;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};

type Body = BoxBody<Bytes, hyper::Error>;

struct Proxy {
    client: Client<HttpConnector, Incoming>,
    upstream: String,
    client_key: HeaderValue,
    upstream_key: HeaderValue,
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}

async fn handle(
    proxy: Arc<Proxy>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, hyper::Error> {
    if request.headers().get(AUTHORIZATION) != Some(&proxy.client_key) {
        return Ok(empty(StatusCode::UNAUTHORIZED));
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let authority = proxy.upstream.as_str();
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(target).build();
    let Ok(uri) = uri else {
        return Ok(empty(StatusCode::BAD_REQUEST));
    };
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, proxy.upstream_key.clone());
    headers.remove(HOST);
    headers.remove(CONNECTION);
    Ok(match proxy.client.request(request).await {
        Ok(response) => response.map(BodyExt::boxed),
        Err(_) => empty(StatusCode::BAD_GATEWAY),
    })
}

async fn serve(listen: String, proxy: Arc<Proxy>) {
    let listener = tokio::net::TcpListener::bind(&listen).await.expect("bind");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let proxy = proxy.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| handle(proxy.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, listen, upstream, client_key, upstream_key, rest @ ..] = arguments.as_slice() else {
        eprintln!("hyper-pass LISTEN UPSTREAM CLIENT_KEY UPSTREAM_KEY [THREADS]");
        std::process::exit(2);
    };
    let threads = rest.first().and_then(|text| text.parse().ok()).unwrap_or(2);
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let key = |text: &str| HeaderValue::from_str(&format!("Bearer {text}")).expect("a key");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(threads).enable_all().build().expect("runtime");
    let _guard = runtime.enter();
    let proxy = Arc::new(Proxy {
        client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1024).build(connector),
        upstream: upstream.clone(),
        client_key: key(client_key),
        upstream_key: key(upstream_key),
    });
    runtime.block_on(serve(listen.clone(), proxy));
}
