//! A small, fast upstream for the benchmarks. It responds with prebuilt bytes over plain
//! HTTP/1.1, so that on a small machine it takes as little as possible of the CPU that the
//! gateway under test needs.
//!
//! `stub ADDRESS [BEARER]` (with a bearer: any other key gets 401).
//!
//! | request                            | answer                                             |
//! |------------------------------------|----------------------------------------------------|
//! | POST any path                      | a chat completion of about 600 bytes, with usage   |
//! | … whose body has `"stream":true`   | 20 events, one with usage, `[DONE]`                |
//! | … with `?precharge=true`           | an estimate                                        |
//! | … with `?size=N`                   | N bytes                                            |
//! | GET /stats                         | counters                                           |
//! | tasks                              | see tasks.rs                                       |
//!
//! `?gap_ms=N` waits N ms after the first event of a stream and after each that follows.
//! `?events=N` makes a stream some N events long, sent at once.
//! A request body of any length is read and dropped: memory does not grow with it.

mod tasks;

use std::cell::Cell;
use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use tasks::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const HEAD_MAX: usize = 64 << 10;
/// How much of a request body is kept, to look for `"stream":true` or the ids of tasks.
const BODY_KEPT: usize = 32 << 10;
const EVENTS: usize = 20;

// tidy:allow(columns) bytes as an upstream sends them
const CHAT: &str = r#"{"id":"chatcmpl-stub000000000000000000000001","object":"chat.completion","created":1760000000,"model":"stub-model","system_fingerprint":"fp_stub","choices":[{"index":0,"message":{"role":"assistant","content":"This is a fixed answer from the benchmark stub. It is long enough to look like a short reply of a real model, and it never changes.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":24,"completion_tokens":32,"total_tokens":56,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}}}"#;
// tidy:allow(columns) bytes as an upstream sends them
const ESTIMATE: &str = r#"{"code":0,"msg":"success","type":"precharge","usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150}}"#;

/// The prebuilt answers and the counters; one thread serves everything.
struct Stub {
    authorization: Option<String>,
    chat: Vec<u8>,
    /// The head with the first event, then one part an event.
    stream: Vec<Vec<u8>>,
    requests: Cell<u64>,
    streams: Cell<u64>,
    open: Cell<u64>,
    open_peak: Cell<u64>,
    tasks: Tasks,
}

struct Request {
    post: bool,
    target: String,
    authorized: bool,
    close: bool,
    body_start: Vec<u8>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9900".to_owned());
    let authorization = arguments.next().map(|bearer| format!("Bearer {bearer}"));
    let stub = Stub {
        authorization,
        chat: whole("200 OK", CHAT),
        stream: stream_parts(),
        requests: Cell::new(0),
        streams: Cell::new(0),
        open: Cell::new(0),
        open_peak: Cell::new(0),
        tasks: Tasks::new(),
    };
    // Alive as long as the process: nothing has to count references to it.
    let stub: &'static Stub = Box::leak(Box::new(stub));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.and_then(|runtime| {
        runtime.block_on(tokio::task::LocalSet::new().run_until(serve(&address, stub)))
    });
    if let Err(error) = result {
        eprintln!("stub: {address}: {error}");
        std::process::exit(1);
    }
}

async fn serve(address: &str, stub: &'static Stub) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address.parse().map_err(|_| bad("address"))?)?;
    let listener = socket.listen(4096)?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        tokio::task::spawn_local(async move {
            stub.open.set(stub.open.get() + 1);
            stub.open_peak.set(stub.open_peak.get().max(stub.open.get()));
            let _ = connection(stream, stub).await;
            stub.open.set(stub.open.get() - 1);
        });
    }
}

async fn connection(mut peer: TcpStream, stub: &Stub) -> Result<()> {
    let mut buffer = Vec::with_capacity(4 << 10);
    while let Some(request) = read_request(&mut peer, &mut buffer, stub).await? {
        stub.requests.set(stub.requests.get() + 1);
        let query = request.target.split_once('?').map_or("", |(_, query)| query);
        let parameter = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let number = |name: &str| parameter(name).and_then(|text| text.parse::<u64>().ok());
        if !request.authorized {
            peer.write_all(&whole("401 Unauthorized", r#"{"error":"wrong key"}"#)).await?;
        } else if request.target.contains("/hang/") {
            std::future::pending::<()>().await;
        } else if let Some(answer) = of_tasks(&request, &number, stub) {
            peer.write_all(&whole("200 OK", &answer)).await?;
        } else if let Some(size) = number("size") {
            send_bytes(&mut peer, size).await?;
        } else if !request.post {
            peer.write_all(&whole("200 OK", &stats(stub))).await?;
        } else if parameter("precharge") == Some("true") {
            peer.write_all(&whole("200 OK", ESTIMATE)).await?;
        } else if wants_stream(&request.body_start) {
            stub.streams.set(stub.streams.get() + 1);
            match number("events") {
                Some(count) => send_events(&mut peer, count, stub).await?,
                None => send_stream(&mut peer, number("gap_ms").unwrap_or(0), stub).await?,
            }
        } else {
            peer.write_all(&stub.chat).await?;
        }
        if request.close {
            break;
        }
    }
    Ok(())
}

/// The answer to what is about tasks.
fn of_tasks(
    request: &Request,
    number: &impl Fn(&str) -> Option<u64>,
    stub: &Stub,
) -> Option<String> {
    let path = request.target.split('?').next().unwrap_or_default();
    match (request.post, path) {
        (true, path) if path.contains("/garbage/") => Some("<html>not today</html>".to_owned()),
        (true, path) if path.ends_with("/submit") => Some(stub.tasks.submit()),
        (true, path) if path.ends_with("/task/list-by-condition") => {
            Some(stub.tasks.list(&request.body_start))
        }
        (false, "/tasks/begin") => Some(stub.tasks.begin()),
        (false, "/tasks/done") => Some(stub.tasks.done(number("every")?)),
        (false, "/tasks/stats") => {
            Some(stub.tasks.stats(usize::try_from(number("count")?).ok()?))
        }
        _ => None,
    }
}

/// Reads one request; `None` when the peer closed between two requests.
async fn read_request(
    peer: &mut TcpStream,
    buffer: &mut Vec<u8>,
    stub: &Stub,
) -> Result<Option<Request>> {
    let (mut request, head_len, length, chunked, expect) = loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        let status = parsed.parse(buffer).map_err(|error| bad(&error.to_string()))?;
        if let httparse::Status::Complete(head_len) = status {
            let header = |name: &str| {
                let found = parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
                found.map(|header| header.value)
            };
            let length = header("content-length").map_or(Ok(0), number)?;
            let chunked = header("transfer-encoding").is_some();
            let wanted = stub.authorization.as_deref().map(str::as_bytes);
            let request = Request {
                post: parsed.method != Some("GET"),
                target: parsed.path.unwrap_or("/").to_owned(),
                authorized: wanted.is_none() || wanted == header("authorization"),
                close: header("connection").is_some_and(|v| v.eq_ignore_ascii_case(b"close")),
                body_start: Vec::new(),
            };
            break (request, head_len, length, chunked, header("expect").is_some());
        }
        if buffer.len() > HEAD_MAX {
            return Err(bad("head too large"));
        }
        if peer.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    buffer.drain(..head_len);
    if expect {
        peer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    if !chunked {
        skim(peer, buffer, length, &mut request.body_start).await?;
        return Ok(Some(request));
    }
    loop {
        let size = chunk_size(peer, buffer).await?;
        skim(peer, buffer, size, &mut request.body_start).await?;
        skim(peer, buffer, 2, &mut Vec::new()).await?;
        if size == 0 {
            return Ok(Some(request));
        }
    }
}

async fn chunk_size(peer: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<u64> {
    loop {
        if let Some(end) = buffer.windows(2).position(|pair| pair == b"\r\n") {
            let line = std::str::from_utf8(&buffer[..end]).map_err(|_| bad("chunk size"))?;
            let size = u64::from_str_radix(line.trim(), 16).map_err(|_| bad("chunk size"))?;
            buffer.drain(..end + 2);
            return Ok(size);
        }
        if peer.read_buf(buffer).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Takes `length` bytes off the connection and keeps the first few.
async fn skim(
    peer: &mut TcpStream,
    buffer: &mut Vec<u8>,
    mut length: u64,
    kept: &mut Vec<u8>,
) -> Result<()> {
    let mut far = Vec::new();
    while length > 0 {
        if buffer.is_empty() {
            // A long rest is read in large pieces, into memory that ends with this request.
            if length > 64 << 10 && far.is_empty() {
                far = vec![0; 64 << 10];
            }
            if !far.is_empty() {
                let most = far.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                let read = peer.read(&mut far[..most]).await?;
                if read == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                length -= read as u64;
                continue;
            }
            if peer.read_buf(buffer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let taken = buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        let room = BODY_KEPT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..taken.min(room)]);
        buffer.drain(..taken);
        length -= taken as u64;
    }
    Ok(())
}

async fn send_stream(peer: &mut TcpStream, gap_ms: u64, stub: &Stub) -> Result<()> {
    if gap_ms == 0 {
        return peer.write_all(&stub.stream.concat()).await;
    }
    for part in &stub.stream {
        peer.write_all(part).await?;
        // A peer that leaves meanwhile ends the stream at once.
        let gap = Duration::from_millis(gap_ms);
        let mut byte = [0];
        match tokio::time::timeout(gap, peer.peek(&mut byte)).await {
            Ok(Ok(0)) | Ok(Err(_)) => return Err(ErrorKind::BrokenPipe.into()),
            _ => {}
        }
    }
    Ok(())
}

/// The stream with its second event so many times, as fast as they are taken.
async fn send_events(peer: &mut TcpStream, count: u64, stub: &Stub) -> Result<()> {
    let [first, event, .., last] = &*stub.stream else { return Ok(()) };
    peer.write_all(first).await?;
    let many = event.repeat(64);
    for _ in 0..count / 64 {
        peer.write_all(&many).await?;
    }
    peer.write_all(last).await
}

async fn send_bytes(peer: &mut TcpStream, size: u64) -> Result<()> {
    let head = format!(
        // tidy:allow(columns) bytes as an upstream sends them
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {size}\r\n\r\n"
    );
    peer.write_all(head.as_bytes()).await?;
    let piece = vec![b'x'; 64 << 10];
    let mut left = size;
    while left > 0 {
        let part = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        peer.write_all(&piece[..part]).await?;
        left -= part as u64;
    }
    Ok(())
}

fn whole(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        // tidy:allow(columns) bytes as an upstream sends them
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn stream_parts() -> Vec<Vec<u8>> {
    let chunk = |data: &str| {
        let event = format!("data: {data}\n\n");
        format!("{:x}\r\n{event}\r\n", event.len())
    };
    // tidy:allow(columns) bytes as an upstream sends them
    let object = r#"{"id":"chatcmpl-stub000000000000000000000001","object":"chat.completion.chunk","created":1760000000,"model":"stub-model","choices":["#;
    let mut parts = Vec::new();
    for index in 0..EVENTS {
        let role = if index == 0 { r#""role":"assistant","# } else { "" };
        let choice = format!(
            r#"{{"index":0,"delta":{{{role}"content":"word{index} "}},"finish_reason":null}}"#
        );
        parts.push(chunk(&format!(r#"{object}{choice}],"usage":null}}"#)));
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
                transfer-encoding: chunked\r\n\r\n";
    parts[0].insert_str(0, head);
    let stop = r#"{"index":0,"delta":{},"finish_reason":"stop"}"#;
    parts.push(chunk(&format!(r#"{object}{stop}],"usage":null}}"#)));
    let usage = r#"{"prompt_tokens":24,"completion_tokens":20,"total_tokens":44}"#;
    parts.push(chunk(&format!(r#"{object}],"usage":{usage}}}"#)));
    parts.push(chunk("[DONE]") + "0\r\n\r\n");
    parts.into_iter().map(String::into_bytes).collect()
}

/// True when the body has `"stream": true`, without parsing it.
fn wants_stream(body: &[u8]) -> bool {
    let key = b"\"stream\"";
    body.windows(key.len()).enumerate().filter(|(_, window)| window == key).any(|(at, _)| {
        let rest = body[at + key.len()..].iter().filter(|byte| !byte.is_ascii_whitespace());
        rest.take(2).eq(b":t")
    })
}

fn stats(stub: &Stub) -> String {
    format!(
        r#"{{"requests":{},"streams":{},"connections_open":{},"connections_peak":{}}}"#,
        stub.requests.get(),
        stub.streams.get(),
        stub.open.get(),
        stub.open_peak.get()
    )
}

fn number(text: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
    text.ok_or_else(|| bad("content-length"))
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what.to_owned())
}
