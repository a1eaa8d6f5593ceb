//! A scripted upstream for trials: it responds like a chat API, reports the same tokens every
//! time, so that charges can be checked by hand, and fails on request.
//!
//! Its behavior is controlled by the query, which the gateway forwards unchanged:
//!
//! | query | effect |
//! |---|---|
//! | `precharge=true` | an estimate in place of an answer |
//! | `prompt_tokens=N`, `completion_tokens=N` | what the answer counts (20 and 60) |
//! | `estimate_tokens=N` | completion tokens of an estimate (80) |
//! | `usage=off` | no usage in the answer |
//! | `status=N` | this status and an error |
//! | `code=N` | status 200 and an envelope that says so |
//! | `delay_ms=N` | a pause before the answer, or before each event of a stream |
//! | `cut=true` | the connection breaks in the middle of the answer |
//! | `polls=N` | a task submitted with it is done at the N-th poll (2) |
//! | `outcome=failed` | and has failed then |

mod tasks;

use self::tasks::{Part, TrialTasks};
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::StreamBody;
use httpd::{ConnectionMetrics, Limits, Place, Stop};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use web::{Body, BodyError, CollectLimits, collect};

const LIMITS: Limits =
    Limits { max_connections: 10_000, header_timeout_ms: 60_000, write_timeout_ms: 60_000 };
const MAX_REQUEST_BYTES: usize = 64 << 20;
const REQUEST_WITHIN: Duration = Duration::from_secs(600);
/// The time of every answer: the same bytes every time.
const CREATED_S: u64 = 1_704_067_200;
const BEFORE_CUT: Duration = Duration::from_millis(20);
const WORDS: [&str; 5] = ["Hello", " from", " the", " trial", " upstream."];

/// Serves until `stop`.
pub(crate) async fn serve(listener: TcpListener, stop: Stop) {
    let tasks = Arc::new(TrialTasks::default());
    let place = Place::here(move |request, _| answer(request, Arc::clone(&tasks)));
    httpd::serve(listener, LIMITS, stop, vec![place], ConnectionMetrics::default()).await;
}

/// The behavior that the query selects.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Script {
    precharge: bool,
    prompt_tokens: u64,
    completion_tokens: u64,
    estimate_tokens: u64,
    usage: bool,
    status: Option<StatusCode>,
    code: Option<i64>,
    delay: Duration,
    cut: bool,
    polls: u64,
    fails: bool,
}

impl Script {
    fn from_query(query: &str) -> Self {
        let value = |name: &str| {
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == name)
        };
        let number = |name: &str| value(name).and_then(|(_, v)| v.parse::<u64>().ok());
        let is = |name: &str, word: &str| value(name).is_some_and(|(_, v)| v == word);
        Self {
            precharge: is("precharge", "true"),
            prompt_tokens: number("prompt_tokens").unwrap_or(20),
            completion_tokens: number("completion_tokens").unwrap_or(60),
            estimate_tokens: number("estimate_tokens").unwrap_or(80),
            usage: !is("usage", "off"),
            status: value("status").and_then(|(_, v)| v.parse().ok()),
            code: value("code").and_then(|(_, v)| v.parse().ok()),
            delay: Duration::from_millis(number("delay_ms").unwrap_or(0)),
            cut: is("cut", "true"),
            polls: number("polls").unwrap_or(2).max(1),
            fails: is("outcome", "failed"),
        }
    }

    fn usage(&self, completion_tokens: u64) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens.saturating_add(completion_tokens),
        })
    }
}

async fn answer(request: Request<Incoming>, tasks: Arc<TrialTasks>) -> Response<Body> {
    let mut script = Script::from_query(request.uri().query().unwrap_or_default());
    let echoes = request.uri().path().ends_with("/echo");
    let part = Part::of(request.uri().path());
    let key = request.headers().get("idempotency-key").cloned();
    let content_type = request.headers().get(CONTENT_TYPE).cloned();
    let limits = CollectLimits { max_bytes: MAX_REQUEST_BYTES, within: REQUEST_WITHIN };
    let Ok(body) = collect(request.into_body(), limits, |_| true).await else {
        return reply(StatusCode::PAYLOAD_TOO_LARGE, &error("the body is too large"));
    };
    if echoes {
        let mut response = Response::new(web::full(body));
        if let Some(content_type) = content_type {
            response.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        return response;
    }
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    script.precharge |= asked.get("precharge").and_then(Value::as_bool).unwrap_or_default();
    let model = asked.get("model").and_then(Value::as_str).unwrap_or("trial").to_owned();
    let streams = asked.get("stream").and_then(Value::as_bool).unwrap_or_default();
    let pauses_each_event = streams && !script.precharge;
    if !pauses_each_event && !script.delay.is_zero() {
        tokio::time::sleep(script.delay).await;
    }
    if let Some(status) = script.status {
        return reply(status, &error("the script asks for this failure"));
    }
    if let Some(code) = script.code {
        let words = "the script asks for this failure";
        return reply(StatusCode::OK, &json!({"code": code, "message": words}));
    }
    if script.precharge {
        let usage = script.usage(script.estimate_tokens);
        let estimate = json!({"code": 0, "message": "", "type": "precharge", "usage": usage});
        return reply(StatusCode::OK, &estimate);
    }
    match part {
        Part::Submission => {
            let key = key.as_ref().and_then(|key| key.to_str().ok());
            return reply(StatusCode::OK, &tasks.submit(script, key));
        }
        Part::Question => return reply(StatusCode::OK, &tasks.list(&asked)),
        Part::Neither => {}
    }
    if streams { streamed(&script, &model) } else { whole(&script, &model) }
}

fn error(message: &str) -> Value {
    json!({"error": {"message": message, "type": "trial_error", "code": "trial_error"}})
}

fn reply(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = web::json(value);
    *response.status_mut() = status;
    response
}

fn whole(script: &Script, model: &str) -> Response<Body> {
    let mut value = json!({
        "id": "chatcmpl-trial",
        "object": "chat.completion",
        "created": CREATED_S,
        "model": model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": WORDS.concat()},
            "finish_reason": "stop",
        }],
    });
    if script.usage {
        value["usage"] = script.usage(script.completion_tokens);
    }
    if !script.cut {
        return reply(StatusCode::OK, &value);
    }
    let text = value.to_string();
    let half = text.get(..text.len() / 2).unwrap_or_default().to_owned();
    flowing("application/json", vec![Ok(half.into()), broken()], Duration::ZERO)
}

fn streamed(script: &Script, model: &str) -> Response<Body> {
    let chunk = |delta: Value, finish: Option<&str>| {
        json!({
            "id": "chatcmpl-trial",
            "object": "chat.completion.chunk",
            "created": CREATED_S,
            "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
    };
    let mut events: Vec<Value> =
        WORDS.iter().map(|word| chunk(json!({"content": word}), None)).collect();
    events.push(chunk(json!({}), Some("stop")));
    if script.usage {
        let mut last = chunk(json!({}), None);
        last["choices"] = json!([]);
        last["usage"] = script.usage(script.completion_tokens);
        events.push(last);
    }
    let mut pieces: Vec<Result<Bytes, BodyError>> =
        events.iter().map(|event| Ok(format!("data: {event}\n\n").into())).collect();
    if script.cut {
        pieces.truncate(3);
        pieces.push(broken());
    } else {
        pieces.push(Ok("data: [DONE]\n\n".into()));
    }
    flowing("text/event-stream", pieces, script.delay)
}

fn broken() -> Result<Bytes, BodyError> {
    Err("the script cuts the answer here".into())
}

fn flowing(
    content_type: &'static str,
    pieces: Vec<Result<Bytes, BodyError>>,
    pause: Duration,
) -> Response<Body> {
    let frames = stream::unfold(pieces.into_iter(), move |mut pieces| async move {
        let piece = pieces.next()?;
        // What came before a cut has to be on its way before the connection goes.
        let pause = if piece.is_err() { pause.max(BEFORE_CUT) } else { pause };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Some((piece.map(Frame::data), pieces))
    });
    let mut response = Response::new(web::boxed(StreamBody::new(frames)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_the_script() {
        let script = Script::from_query("precharge=true&status=503&delay_ms=7&usage=off&code=-1");
        assert!(script.precharge && !script.usage && !script.cut);
        assert_eq!(script.status, Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(script.code, Some(-1));
        assert_eq!(script.delay, Duration::from_millis(7));
        assert_eq!(script.usage(80)["total_tokens"], 100);
        assert_eq!(Script::from_query("status=x").status, None);
    }
}
