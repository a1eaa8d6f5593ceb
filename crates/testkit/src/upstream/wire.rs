//! HTTP/1.1 by hand: reads requests, writes scripted replies.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::reply::{Framing, Head, Reply, Step};
use super::{Handler, Recorded, Shared};

/// The longest request head that is read.
const HEAD_LIMIT: usize = 1 << 20;

/// How much of a request's body is kept; what exceeds it is only counted.
const KEPT_BODY: usize = 64 << 20;

/// Why a connection ends.
enum End {
    /// The peer closed or reset it.
    PeerGone,
    /// The script ends it.
    Scripted,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::PeerGone
    }
}

struct Connection {
    stream: TcpStream,
    /// Read from the peer and not consumed yet.
    input: BytesMut,
    shared: Arc<Shared>,
    number: usize,
}

pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let number = shared.change(|state| {
        state.connections += 1;
        state.open_connections += 1;
        state.connections - 1
    });
    let open = Open(Arc::clone(&shared));
    let mut connection = Connection { stream, input: BytesMut::new(), shared, number };
    while let Ok(Some(index)) = connection.read_head().await {
        if connection.exchange(index).await.is_err() {
            break;
        }
    }
    drop(connection);
    drop(open);
}

/// Counts the connection as open for as long as it lives, also when its job is aborted.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.change(|state| state.open_connections -= 1);
    }
}

impl Connection {
    /// Reads one request head and records it. `None`: the peer has no more requests.
    async fn read_head(&mut self) -> Result<Option<usize>, End> {
        let end = loop {
            if let Some(at) = find(&self.input, b"\r\n\r\n") {
                break at;
            }
            if self.input.len() > HEAD_LIMIT {
                return Err(End::Scripted);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        };
        let head = self.input.split_to(end + 4);
        let mut lines = head[..end].split(|byte| *byte == b'\n').map(trim_cr);
        let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let mut words = first.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default().to_owned();
        let headers = lines.filter_map(split_header).collect();
        let connection = self.number;
        Ok(Some(self.shared.change(|state| {
            let index = state.forgotten + state.requests.len();
            state.requests.push(Recorded {
                index,
                connection,
                at: Instant::now(),
                method,
                target,
                headers,
                body: Bytes::new(),
                received: 0,
                complete: false,
                answered: false,
                peer_gone: false,
                sent: 0,
            });
            index
        })))
    }

    /// Reads the rest of a request and replies to it.
    async fn exchange(&mut self, index: usize) -> Result<(), End> {
        let Some(request) = self.recorded(index) else { return Err(End::Scripted) };
        let early = self.reply_at_head(&request);
        let played = match &early {
            Some(reply) => self.play(index, &request, reply).await,
            None => self.answer(index, &request).await,
        };
        self.record(index, |record| match played {
            Ok(()) => record.answered = true,
            Err(End::PeerGone) => record.peer_gone |= !record.answered,
            Err(End::Scripted) => {}
        });
        // After an early reply the request's body is still unread: nothing more can follow.
        if early.is_some() && played.is_ok() { self.close().await } else { played }
    }

    async fn answer(&mut self, index: usize, request: &Recorded) -> Result<(), End> {
        if request.header("expect").is_some_and(|it| it.eq_ignore_ascii_case("100-continue")) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        self.read_body(index, request).await?;
        self.record(index, |record| record.complete = true);
        let Some(request) = self.recorded(index) else { return Err(End::Scripted) };
        let reply = self.choose(&request);
        self.play(index, &request, &reply).await
    }

    async fn read_body(&mut self, index: usize, request: &Recorded) -> Result<(), End> {
        let coding = request.header("transfer-encoding").unwrap_or_default();
        if coding.to_ascii_lowercase().contains("chunked") {
            loop {
                let line = self.read_line().await?;
                let size = line.split(';').next().unwrap_or_default().trim().to_owned();
                let size = usize::from_str_radix(&size, 16).map_err(|_| End::Scripted)?;
                if size == 0 {
                    break;
                }
                self.read_exactly(index, size).await?;
                self.read_line().await?;
            }
            while !self.read_line().await?.is_empty() {}
            return Ok(());
        }
        let length = request.header("content-length").and_then(|it| it.trim().parse().ok());
        self.read_exactly(index, length.unwrap_or(0)).await
    }

    async fn read_line(&mut self) -> Result<String, End> {
        loop {
            if let Some(at) = find(&self.input, b"\r\n") {
                let line = self.input.split_to(at + 2);
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.fill().await?;
        }
    }

    async fn read_exactly(&mut self, index: usize, mut left: usize) -> Result<(), End> {
        while left > 0 {
            if self.input.is_empty() {
                self.fill().await?;
            }
            let taken = self.input.split_to(left.min(self.input.len()));
            left -= taken.len();
            self.record(index, |record| {
                record.received += taken.len() as u64;
                if record.body.len() + taken.len() > KEPT_BODY {
                    return;
                }
                let mut body = BytesMut::from(std::mem::take(&mut record.body));
                body.extend_from_slice(&taken);
                record.body = body.freeze();
            });
        }
        Ok(())
    }

    async fn fill(&mut self) -> Result<(), End> {
        self.input.reserve(16 * 1024);
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(End::PeerGone),
            _ => Ok(()),
        }
    }

    async fn play(&mut self, index: usize, request: &Recorded, reply: &Reply) -> Result<(), End> {
        for step in &reply.before {
            self.step(index, step, Framing::UntilClose).await?;
        }
        let Some(head) = &reply.head else {
            for step in &reply.steps {
                self.step(index, step, Framing::UntilClose).await?;
            }
            return Ok(());
        };
        self.stream.write_all(&head_bytes(head, reply.body_len())).await?;
        if request.method != "HEAD" {
            for step in &reply.steps {
                self.step(index, step, head.framing).await?;
            }
            if head.framing == Framing::Chunked {
                self.stream.write_all(b"0\r\n\r\n").await?;
            }
        }
        if head.framing == Framing::UntilClose || !head.keep_alive {
            self.record(index, |record| record.answered = true);
            return self.close().await;
        }
        Ok(())
    }

    async fn step(&mut self, index: usize, step: &Step, framing: Framing) -> Result<(), End> {
        match step {
            Step::Send(piece) => self.send(index, piece, framing).await,
            Step::Raw(bytes) => self.send(index, bytes, Framing::UntilClose).await,
            Step::Pause(pause) => self.while_here(tokio::time::sleep(*pause)).await,
            Step::Wait(gate) => self.while_here(gate.pass()).await,
            Step::Hang => self.while_here(std::future::pending()).await,
            Step::Endless(piece, pause) => loop {
                self.send(index, piece, framing).await?;
                if *pause > Duration::ZERO {
                    self.while_here(tokio::time::sleep(*pause)).await?;
                }
            },
            Step::Reset => {
                self.stream.set_zero_linger()?;
                Err(End::Scripted)
            }
            Step::Close => self.close().await,
        }
    }

    async fn send(&mut self, index: usize, piece: &Bytes, framing: Framing) -> Result<(), End> {
        if framing == Framing::Chunked {
            // An empty chunk would end the body.
            if piece.is_empty() {
                return Ok(());
            }
            let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
            chunk.extend_from_slice(piece);
            chunk.extend_from_slice(b"\r\n");
            self.stream.write_all(&chunk).await?;
        } else {
            self.stream.write_all(piece).await?;
        }
        self.record(index, |record| record.sent += piece.len() as u64);
        Ok(())
    }

    /// Awaits something, unless the peer goes away first.
    async fn while_here(&mut self, event: impl Future<Output = ()>) -> Result<(), End> {
        tokio::pin!(event);
        loop {
            tokio::select! {
                () = &mut event => return Ok(()),
                read = self.stream.read_buf(&mut self.input) => if read? == 0 {
                    return Err(End::PeerGone);
                },
            }
        }
    }

    /// Half-closes, then lets the peer finish: closing at once with bytes unread would send a
    /// reset.
    async fn close(&mut self) -> Result<(), End> {
        let _ = self.stream.shutdown().await;
        let mut rest = [0_u8; 4096];
        let linger =
            async { while matches!(self.stream.read(&mut rest).await, Ok(count) if count > 0) {} };
        let _ = tokio::time::timeout(Duration::from_secs(2), linger).await;
        Err(End::Scripted)
    }

    fn record(&self, index: usize, change: impl FnOnce(&mut Recorded)) {
        // A test may have cleared the requests meanwhile.
        self.shared.change(|state| {
            let place = index.checked_sub(state.forgotten);
            place.and_then(|place| state.requests.get_mut(place)).map(change)
        });
    }

    fn recorded(&self, index: usize) -> Option<Recorded> {
        let state = self.shared.lock();
        index.checked_sub(state.forgotten).and_then(|place| state.requests.get(place)).cloned()
    }

    fn reply_at_head(&self, request: &Recorded) -> Option<Reply> {
        let state = self.shared.lock();
        state.scripts.get(request.path()).and_then(|script| script.at_head.clone())
    }

    fn choose(&self, request: &Recorded) -> Reply {
        let handler: Option<Handler> = {
            let mut state = self.shared.lock();
            let script = state.scripts.get_mut(request.path());
            if let Some(reply) = script.and_then(|script| script.queue.pop_front()) {
                return reply;
            }
            let script = state.scripts.get(request.path());
            script.and_then(|it| it.always.clone()).or_else(|| state.other.always.clone())
        };
        match handler {
            Some(handler) => handler(request),
            None => Reply::text(format!("no script for {}", request.path())).status(404),
        }
    }
}

fn head_bytes(head: &Head, body_len: u64) -> Vec<u8> {
    let status = http::StatusCode::from_u16(head.status).ok();
    let reason = status.and_then(|it| it.canonical_reason()).unwrap_or("Scripted");
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    let given = |wanted: &str| head.headers.iter().any(|(it, _)| it.eq_ignore_ascii_case(wanted));
    let bodiless = matches!(head.status, 100..=199 | 204 | 304);
    let framing = match head.framing {
        _ if given("content-length") || given("transfer-encoding") => String::new(),
        Framing::Length if bodiless => String::new(),
        Framing::Length => format!("Content-Length: {body_len}\r\n"),
        Framing::Declared(length) => format!("Content-Length: {length}\r\n"),
        Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
        Framing::UntilClose => String::new(),
    };
    bytes.extend_from_slice(framing.as_bytes());
    if !head.keep_alive || head.framing == Framing::UntilClose {
        bytes.extend_from_slice(b"Connection: close\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn split_header(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8_lossy(&line[..colon]).into_owned();
    Some((name, line[colon + 1..].trim_ascii().to_vec()))
}

fn trim_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
