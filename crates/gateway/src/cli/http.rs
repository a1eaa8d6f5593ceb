//! The smallest HTTP client that shows what came back, also when it broke off.

use anyhow::Context;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// What came back.
pub(crate) struct HttpReply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as far as it came.
    pub body: String,
    /// How many pieces it came in.
    pub pieces: usize,
    /// Whether it broke off before its end.
    pub cut: bool,
}

impl HttpReply {
    /// A header's text, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON, or null.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Sends one call on its own connection.
///
/// # Errors
/// When there is no response.
pub(crate) async fn call(
    address: SocketAddr,
    method: Method,
    path: &str,
    bearer: &str,
    body: Option<&Value>,
) -> anyhow::Result<HttpReply> {
    let stream = TcpStream::connect(address).await.with_context(|| address.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the reply: the connection is used once.
    let driver = tokio::spawn(connection);
    let body = body.map(|value| Bytes::from(value.to_string())).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address.to_string())
        .header(AUTHORIZATION, format!("Bearer {bearer}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    let response = sender.send_request(request).await?;
    let (head, mut body) = response.into_parts();
    let (mut bytes, mut pieces, mut cut) = (Vec::new(), 0, false);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                if let Some(data) = frame.data_ref() {
                    bytes.extend_from_slice(data);
                    pieces += 1;
                }
            }
            Err(_) => {
                cut = true;
                break;
            }
        }
    }
    drop(sender);
    driver.abort();
    let body = String::from_utf8_lossy(&bytes).into_owned();
    Ok(HttpReply { status: head.status, headers: head.headers, body, pieces, cut })
}
