//! A client that does exactly what a test requests: one connection per call, no redirects, no
//! retries; and a raw one for what no client library would send.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::wait::within;

/// A call under construction.
#[derive(Debug, Clone)]
pub struct Call {
    addr: SocketAddr,
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Bytes,
}

impl Call {
    /// A call to this address.
    pub fn new(addr: SocketAddr, method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { addr, method, target, headers: vec![], body: Bytes::new() }
    }

    /// Authenticates with `Authorization: Bearer …`.
    pub fn key(self, key: &str) -> Self {
        self.header("Authorization", format!("Bearer {key}"))
    }

    /// One more header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// The body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// A JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    /// Sends it, and reads the complete response. Panics when it is incomplete.
    pub async fn send(self) -> Answer {
        let what = format!("{} {}", self.method, self.target);
        match self.try_send().await {
            Ok(answer) => answer,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// Like [`Call::send`], for responses that are cut.
    pub async fn try_send(self) -> Result<Answer, String> {
        let mut answer = self.try_stream().await?;
        let body = answer.rest().await?;
        Ok(Answer { status: answer.status, headers: answer.headers, body })
    }

    /// Sends it, and returns when the head of the response has arrived.
    pub async fn stream(self) -> StreamAnswer {
        let what = format!("{} {}", self.method, self.target);
        match self.try_stream().await {
            Ok(answer) => answer,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// Like [`Call::stream`], for connections that are refused or cut.
    pub async fn try_stream(self) -> Result<StreamAnswer, String> {
        let what = format!("the answer to {} {}", self.method, self.target);
        let request = self.request();
        let stream = TcpStream::connect(self.addr).await.map_err(chain)?;
        stream.set_nodelay(true).map_err(chain)?;
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(chain)?;
        // Ends with the response: when that is dropped, the connection is closed.
        let connection = tokio::spawn(connection);
        let sent = within(&what, sender.send_request(request)).await.map_err(chain)?;
        let (head, body) = sent.into_parts();
        let status = head.status.as_u16();
        let connection = AbortOnDrop(connection);
        Ok(StreamAnswer { status, headers: head.headers, body, _connection: connection })
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::from_bytes(self.method.as_bytes()).expect("a method");
        let target = self.target.parse();
        *request.uri_mut() = target.expect("a target that hyper takes; RawClient sends the others");
        let headers = request.headers_mut();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            let value = HeaderValue::from_bytes(value).expect("a header value");
            headers.append(name, value);
        }
        if !headers.contains_key("host") {
            let host = HeaderValue::from_str(&self.addr.to_string()).expect("an address");
            headers.insert("host", host);
        }
        request
    }
}

/// A complete response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as received (still compressed, if it was).
    pub body: Bytes,
}

impl Answer {
    /// Fails the test unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "answered: {}", self.text());
        self
    }

    /// Fails the test unless this is an error of the gateway's own, with this status and code,
    /// in the shape of the contract.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Self {
        assert_eq!(self.status, status, "answered: {}", self.text());
        assert_eq!(self.error_code().as_deref(), Some(code), "answered: {}", self.text());
        for field in ["message", "type", "code", "request_id"] {
            let there = self.json()["error"][field].is_string();
            assert!(there, "error.{field} is missing: {}", self.text());
        }
        self
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{} {error}: {}", self.status, self.text()),
        }
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<String> {
        header(&self.headers, name)
    }

    /// `error.code` of an error of the gateway's own.
    pub fn error_code(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        body["error"]["code"].as_str().map(ToOwned::to_owned)
    }
}

/// A response whose body arrives piece by piece. Dropping it closes the connection.
#[derive(Debug)]
pub struct StreamAnswer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    _connection: AbortOnDrop,
}

impl StreamAnswer {
    /// A header.
    pub fn header(&self, name: &str) -> Option<String> {
        header(&self.headers, name)
    }

    /// The next piece of the body; `None` at its proper end, an error when it is cut.
    pub async fn next_chunk(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            let frame = within("the next piece of an answer", self.body.frame()).await?;
            match frame.map(|frame| frame.into_data()) {
                Ok(Ok(piece)) => return Some(Ok(piece)),
                Ok(Err(_trailers)) => {}
                Err(error) => return Some(Err(chain(error))),
            }
        }
    }

    /// Reads until the text read by this call contains `wanted`, and returns that text.
    pub async fn read_until(&mut self, wanted: &str) -> String {
        let mut text = String::new();
        while !text.contains(wanted) {
            match self.next_chunk().await {
                Some(Ok(piece)) => text.push_str(&String::from_utf8_lossy(&piece)),
                Some(Err(error)) => panic!("{wanted:?} did not come: {error}, after {text:?}"),
                None => panic!("{wanted:?} did not come, only {text:?}"),
            }
        }
        text
    }

    /// The rest of the body; an error when it is cut.
    pub async fn rest(&mut self) -> Result<Bytes, String> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next_chunk().await {
            whole.extend_from_slice(&piece?);
        }
        Ok(whole.into())
    }
}

#[derive(Debug)]
struct AbortOnDrop(tokio::task::JoinHandle<Result<(), hyper::Error>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A bare TCP connection, for malformed input and half-open connections.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    read: Vec<u8>,
}

impl RawClient {
    /// Connects.
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("a connection to the server");
        let _ = stream.set_nodelay(true);
        Self { stream, read: Vec::new() }
    }

    /// Writes bytes verbatim. A peer that closed meanwhile is no error.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref()).await;
        self
    }

    /// Reads one response (by its `Content-Length`, its chunks, or to the end), leaving what
    /// follows it; `None` when the connection ends before one.
    pub async fn read_answer(&mut self) -> Option<Answer> {
        loop {
            if let Some((answer, used)) = parse_answer(&self.read, false) {
                self.read.drain(..used);
                return Some(answer);
            }
            if !self.fill().await {
                let (answer, used) = parse_answer(&self.read, true)?;
                self.read.drain(..used);
                return Some(answer);
            }
        }
    }

    /// Reads until the peer closes, and returns all that was not read before.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.read)
    }

    /// Reads until the bytes contain `wanted`, and returns them. Fails when they end without.
    pub async fn read_until(&mut self, wanted: &str) -> Vec<u8> {
        while find(&self.read, wanted.as_bytes()).is_none() {
            if !self.fill().await {
                panic!("{wanted:?} did not come: {:?}", String::from_utf8_lossy(&self.read));
            }
        }
        std::mem::take(&mut self.read)
    }

    /// Reads once what has come, a few kilobytes at most, and forgets it: a slow reader.
    pub async fn read_little(&mut self) {
        let mut few = [0; 4096];
        let _ = within("bytes from the server", self.stream.read(&mut few)).await;
    }

    /// Waits until the peer has closed, reading (and keeping) what it sends before that.
    pub async fn closed(&mut self) {
        while self.fill().await {}
    }

    /// Half-closes the connection, and keeps reading.
    pub async fn shutdown_write(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Resets the connection.
    pub fn reset(self) {
        let _ = self.stream.set_zero_linger();
    }

    async fn fill(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.read);
        matches!(within("bytes from the server", read).await, Ok(count) if count > 0)
    }
}

/// One response at the start of `bytes` and its length. `ended`: no more bytes will come.
fn parse_answer(bytes: &[u8], ended: bool) -> Option<(Answer, usize)> {
    let head_end = find(bytes, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    let rest = &bytes[head_end + 4..];
    let length = header(&headers, "content-length").and_then(|it| it.parse::<usize>().ok());
    let (body, used) = match length {
        _ if header(&headers, "transfer-encoding").is_some() => dechunk(rest)?,
        _ if status == 204 || status == 304 || (100..200).contains(&status) => (vec![], 0),
        Some(length) => (rest.get(..length)?.to_vec(), length),
        None if ended => (rest.to_vec(), rest.len()),
        None => return None,
    };
    Some((Answer { status, headers, body: body.into() }, head_end + 4 + used))
}

fn dechunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line_end = at + find(&bytes[at..], b"\r\n")?;
        let line = std::str::from_utf8(&bytes[at..line_end]).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        let start = line_end + 2;
        if size == 0 {
            let trailers = &bytes[line_end..];
            return find(trailers, b"\r\n\r\n").map(|end| (body, line_end + end + 4));
        }
        body.extend_from_slice(bytes.get(start..start + size)?);
        at = start + size + 2;
        if at > bytes.len() {
            return None;
        }
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// An error with its causes.
fn chain(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
