//! The replies of the scripted upstream, their steps, and the gates that tests open.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::wait::within;

/// One step of a reply.
#[derive(Debug, Clone)]
pub enum Step {
    /// A piece of the body, framed as the reply is framed (one chunk when chunked).
    Send(Bytes),
    /// Bytes written verbatim.
    Raw(Bytes),
    /// A pause.
    Pause(Duration),
    /// Waits until the test opens the gate.
    Wait(Gate),
    /// This piece repeatedly, with a pause between, until the peer disconnects.
    Endless(Bytes, Duration),
    /// Stalls, and keeps the connection until the peer disconnects.
    Hang,
    /// Resets the connection (RST).
    Reset,
    /// Closes the connection (FIN) without an end of the body.
    Close,
}

/// How the length of a body is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`, counted from the pieces.
    Length,
    /// `Content-Length`, as given: wrong when the pieces differ.
    Declared(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// No length: the body ends with the connection.
    UntilClose,
}

/// A scripted reply.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) before: Vec<Step>,
    pub(super) head: Option<Head>,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub(super) struct Head {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub framing: Framing,
    pub keep_alive: bool,
}

impl Reply {
    /// A reply with this status and no body yet.
    pub fn new(status: u16) -> Self {
        let head = Head { status, headers: vec![], framing: Framing::Length, keep_alive: true };
        Self { before: vec![], head: Some(head), steps: vec![] }
    }

    /// 200 with these bytes.
    pub fn bytes(content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::new(200).header("Content-Type", content_type).body(body)
    }

    /// 200 with this text.
    pub fn text(body: impl Into<String>) -> Self {
        Self::bytes("text/plain; charset=utf-8", body.into())
    }

    /// 200 with this JSON.
    pub fn json(body: &Value) -> Self {
        Self::raw_json(body.to_string())
    }

    /// 200 with these bytes as JSON, valid or not.
    pub fn raw_json(body: impl Into<Bytes>) -> Self {
        Self::bytes("application/json", body)
    }

    /// A result in the envelope of the contract, with its usage.
    pub fn result(prompt_tokens: i64, completion_tokens: i64) -> Self {
        Self::json(&json!({
            "code": 0, "message": "ok", "data": {"answer": 42},
            "usage": usage(prompt_tokens, completion_tokens),
        }))
    }

    /// An estimate in the envelope of the contract.
    pub fn estimate(prompt_tokens: i64, completion_tokens: i64) -> Self {
        Self::json(&json!({
            "code": 0, "message": "ok", "type": "precharge",
            "usage": usage(prompt_tokens, completion_tokens),
        }))
    }

    /// A failure in the envelope of the contract: 200, and a `code` that is not 0.
    pub fn failure(code: i64, message: &str) -> Self {
        Self::json(&json!({"code": code, "message": message}))
    }

    /// A stream of server-sent events; each item is the text behind `data: `, sent as one chunk.
    pub fn sse<S: AsRef<str>>(events: impl IntoIterator<Item = S>) -> Self {
        let mut reply = Self::new(200).header("Content-Type", "text/event-stream").chunked();
        for event in events {
            reply = reply.event(event);
        }
        reply
    }

    /// An OpenAI-style stream: one event for each word, then the usage, then `[DONE]`.
    pub fn openai_stream(words: &[&str], prompt_tokens: i64, completion_tokens: i64) -> Self {
        let mut reply = Self::sse::<&str>([]);
        for word in words {
            let delta = json!({"index": 0, "delta": {"content": word}, "finish_reason": null});
            reply = reply.event(stream_chunk(&json!([delta]), &Value::Null).to_string());
        }
        let usage = usage(prompt_tokens, completion_tokens);
        reply.event(stream_chunk(&json!([]), &usage).to_string()).event("[DONE]")
    }

    /// 200 with a body that never ends: this piece repeatedly, chunked.
    pub fn endless(piece: impl Into<Bytes>, pause: Duration) -> Self {
        Self::new(200).chunked().step(Step::Endless(piece.into(), pause))
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::new(status).header("Location", location)
    }

    /// No reply at all, until the peer disconnects.
    pub fn hang() -> Self {
        Self { before: vec![], head: None, steps: vec![Step::Hang] }
    }

    /// Resets the connection instead of replying.
    pub fn reset() -> Self {
        Self { before: vec![], head: None, steps: vec![Step::Reset] }
    }

    /// Closes the connection instead of replying.
    pub fn close() -> Self {
        Self { before: vec![], head: None, steps: vec![Step::Close] }
    }

    /// These bytes instead of HTTP, then the connection is closed.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self { before: vec![], head: None, steps: vec![Step::Raw(bytes.into()), Step::Close] }
    }

    /// Another status.
    pub fn status(mut self, status: u16) -> Self {
        self.head_mut().status = status;
        self
    }

    /// Adds a header. A length given here is sent as it is, in place of the true one.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.head_mut().headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// A piece of the body.
    pub fn body(self, piece: impl Into<Bytes>) -> Self {
        self.step(Step::Send(piece.into()))
    }

    /// One server-sent event; `data` is the text behind `data: `.
    pub fn event(self, data: impl AsRef<str>) -> Self {
        self.body(format!("data: {}\n\n", data.as_ref()))
    }

    /// One more step.
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// A pause at this place of the body.
    pub fn pause(self, pause: Duration) -> Self {
        self.step(Step::Pause(pause))
    }

    /// A gate at this place of the body.
    pub fn wait(self, gate: &Gate) -> Self {
        self.step(Step::Wait(gate.clone()))
    }

    /// A pause before the status line.
    pub fn delay(mut self, pause: Duration) -> Self {
        self.before.push(Step::Pause(pause));
        self
    }

    /// A gate before the status line.
    pub fn gated(mut self, gate: &Gate) -> Self {
        self.before.push(Step::Wait(gate.clone()));
        self
    }

    /// Sends the body chunked.
    pub fn chunked(self) -> Self {
        self.framing(Framing::Chunked)
    }

    /// Declares the length of the body in this way.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.head_mut().framing = framing;
        self
    }

    /// Sends `Connection: close`, and closes after the reply.
    pub fn last(mut self) -> Self {
        self.head_mut().keep_alive = false;
        self
    }

    /// Compresses the body written so far, and declares the encoding.
    pub fn gzip(mut self) -> Self {
        let mut plain = Vec::new();
        for step in &self.steps {
            if let Step::Send(piece) = step {
                plain.extend_from_slice(piece);
            }
        }
        self.steps = vec![Step::Send(gzip(&plain).into())];
        self.header("Content-Encoding", "gzip")
    }

    /// Resets the connection when this many bytes of the body written so far are sent.
    pub fn reset_after(self, bytes: usize) -> Self {
        self.cut(bytes, Step::Reset)
    }

    /// Closes the connection when this many bytes of the body written so far are sent.
    pub fn close_after(self, bytes: usize) -> Self {
        self.cut(bytes, Step::Close)
    }

    /// Stalls when this many bytes of the body written so far are sent.
    pub fn hang_after(self, bytes: usize) -> Self {
        self.cut(bytes, Step::Hang)
    }

    fn cut(mut self, bytes: usize, end: Step) -> Self {
        if self.head_mut().framing == Framing::Length {
            // The whole length is declared; only a part is sent.
            let whole = self.body_len();
            self.head_mut().framing = Framing::Declared(whole);
        }
        let mut left = bytes;
        let mut steps = Vec::new();
        for step in std::mem::take(&mut self.steps) {
            match step {
                Step::Send(piece) if piece.len() <= left => {
                    left -= piece.len();
                    steps.push(Step::Send(piece));
                }
                Step::Send(piece) => {
                    if left > 0 {
                        steps.push(Step::Send(piece.slice(..left)));
                    }
                    break;
                }
                other => steps.push(other),
            }
        }
        steps.push(end);
        self.steps = steps;
        self
    }

    pub(super) fn body_len(&self) -> u64 {
        let mut sum = 0;
        for step in &self.steps {
            if let Step::Send(piece) = step {
                sum += piece.len() as u64;
            }
        }
        sum
    }

    fn head_mut(&mut self) -> &mut Head {
        self.head.as_mut().expect("this reply has no head: it does not speak HTTP")
    }
}

/// A `usage` object.
pub fn usage(prompt_tokens: i64, completion_tokens: i64) -> Value {
    json!({
        "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    })
}

/// These bytes, compressed with gzip.
pub fn gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

fn stream_chunk(choices: &Value, usage: &Value) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": choices, "usage": usage,
    })
}

/// A gate in a reply: the upstream stops there until the test opens it.
#[derive(Debug, Clone)]
pub struct Gate(watch::Sender<GateState>);

#[derive(Debug, Clone, Copy, Default)]
struct GateState {
    open: bool,
    reached: usize,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(watch::Sender::new(GateState::default()))
    }

    /// Opens the gate, for good.
    pub fn open(&self) {
        self.0.send_modify(|state| state.open = true);
    }

    /// Waits until `count` replies in all have reached the gate.
    pub async fn reached(&self, count: usize) {
        let mut states = self.0.subscribe();
        let arrived = states.wait_for(|state| state.reached >= count);
        within("a reply to come to the gate", arrived).await.expect("the gate itself is here");
    }

    pub(super) async fn pass(&self) {
        self.0.send_modify(|state| state.reached += 1);
        let mut states = self.0.subscribe();
        states.wait_for(|state| state.open).await.expect("the gate itself is here");
    }
}
