//! Trying a channel out: one real call with the channel's key, free of charge.

mod cost;
mod models;

pub use cost::ProbeCost;
pub use models::{UpstreamModels, upstream_models};

use super::input::check_model;
use super::not_found;
use crate::ops::record::{self, Subject};
use crate::{Actor, AdminError, AdminState};
use bytes::Bytes;
use cost::{CallMade, CostReader, ReplyRead};
use domain::{ChannelId, Fault};
use egress::{EgressConfig, Prepared};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt;
use protocol::{ReplyHead, ReplyReader};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Secret, Value};
use upstream::{Deadlines, EchoGuard, OutboundRequest, Reply, SendError};
use utoipa::ToSchema;

/// How much of a reply is read.
const MAX_REPLY_BYTES: usize = 16 * 1024 * 1024;
/// How much of it is kept.
const MAX_KEPT_BYTES: usize = 4 * 1024;
/// How much of it is shown.
const SHOWN_CHARS: usize = 500;
const CONNECT_MS: u64 = 10_000;
const FIRST_BYTE_MS: u64 = 30_000;
const TOTAL_MS: u64 = 60_000;

/// What to try.
#[derive(Clone, Debug)]
pub struct ProbeRequest {
    /// The channel, enabled or not.
    pub channel_id: ChannelId,
    /// Model to call; `None`: the channel's first.
    pub model: Option<String>,
    /// Path to call in place of the model's own, like `v1/chat/completions`.
    pub path: Option<String>,
    /// JSON text to send; `None`: a short chat.
    pub test_data: Option<String>,
}

/// How it went.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Probe {
    /// The channel.
    pub channel_id: ChannelId,
    /// The model asked for.
    pub model: String,
    /// Whether the upstream answered, and not with a failure.
    pub ok: bool,
    /// The call that was answered: method and path at the upstream.
    pub call: Option<String>,
    /// Its status.
    pub status: Option<u16>,
    /// How long the call took, in milliseconds.
    pub time_ms: i64,
    /// The first 500 characters of the reply, without the key.
    pub reply: Option<String>,
    /// What was counted by the reply, in meters.
    pub usage: BTreeMap<String, i64>,
    /// What the call would have cost; none without a reply.
    pub cost: Option<ProbeCost>,
    /// What went wrong, in one word: `dns`, `refused`, `tls`, `first_byte_timeout`, `status`,
    /// `reply`: the reply itself says that the call failed …
    pub error: Option<&'static str>,
    /// What went wrong, in words.
    pub detail: Option<String>,
}

/// Calls the upstream regardless of the channel's status, and returns the result.
///
/// # Errors
/// When there is no such channel, it can't be used as it is stored, or the database fails. A
/// failing upstream is not an error: the result of the probe reports it.
pub async fn probe(
    state: &AdminState,
    actor: &Actor,
    request: ProbeRequest,
) -> Result<Probe, AdminError> {
    actor.require_admin()?;
    let target = target(state, request.channel_id).await?;
    let channel = &target.channel;
    let model = request.model.clone().or_else(|| channel.first_model().cloned());
    let model = model.ok_or_else(|| {
        AdminError::field("model", "渠道没有模型, 请指定", "the channel has none: name one")
    })?;
    check_model("model", &model)?;
    record::write(
        state,
        actor,
        vec![],
        Subject::Channel(request.channel_id),
        ("channel.test", format!("测试渠道 {} (#{})", channel.name, request.channel_id)),
        json!({ "model": model }),
    )
    .await?;
    let started = state.clock.now();
    let outcome = call(state, &target, &model, &request).await?;
    let time_ms = state.clock.now().since_ms(started);
    let probe = told(request.channel_id, model, time_ms, outcome, Masks::of(&target));
    keep(state, &probe).await?;
    Ok(probe)
}

/// Keeps the result as the channel's last test.
async fn keep(state: &AdminState, probe: &Probe) -> Result<(), AdminError> {
    let error = match (probe.error, probe.status) {
        (Some("status"), Some(status)) => format!("status {status}"),
        (error, _) => error.unwrap_or_default().to_owned(),
    };
    let sql = "UPDATE channels SET tested_at = $1, test_model = $2, test_ok = $3, test_ms = $4, \
               test_error = $5 WHERE id = $6";
    let values: [Value; 6] = [
        state.clock.now().into(),
        probe.model.as_str().into(),
        probe.ok.into(),
        probe.time_ms.into(),
        error.into(),
        probe.channel_id.into(),
    ];
    state.db.execute(sql, &values).await?;
    Ok(())
}

/// The channel as the relay would call it, but for how long that may take.
async fn target(state: &AdminState, id: ChannelId) -> Result<Prepared, AdminError> {
    let channel = store::channel_now(&state.db, &state.sealer, id).await?.ok_or_else(not_found)?;
    let channel = channel.map_err(|problem| unusable(&problem.why))?;
    let deadlines = Deadlines {
        connect_ms: CONNECT_MS,
        first_byte_ms: FIRST_BYTE_MS,
        idle_ms: FIRST_BYTE_MS,
        total_ms: TOTAL_MS,
    };
    // A probe has no client, so no client's key is forwarded.
    let config = EgressConfig { user_token_header: AUTHORIZATION, deadlines };
    let mut prepared = Prepared::read(&Arc::new(channel), &config).map_err(misread)?;
    prepared.deadlines.total_ms = TOTAL_MS;
    Ok(prepared)
}

fn misread(fault: Fault) -> AdminError {
    unusable(&fault.source.map_or(fault.en, |why| why.to_string()))
}

fn unusable(why: &str) -> AdminError {
    AdminError::field(
        "channel_id",
        format!("渠道配置有误: {why}"),
        format!("is misconfigured: {why}"),
    )
}

/// What a reply is not to show.
#[derive(Clone, Copy)]
struct Masks<'a> {
    /// The channel's key, however short it is.
    key: &'a Secret,
    /// Its other forms.
    echo: Option<&'a EchoGuard>,
}

impl<'a> Masks<'a> {
    fn of(target: &'a Prepared) -> Self {
        Self { key: &target.channel.key, echo: target.echo.as_ref() }
    }
}

/// A reply as far as it was read.
struct Answered {
    call: String,
    /// The path at the upstream.
    at: String,
    status: u16,
    body: Vec<u8>,
    /// Why it is not whole.
    broken: Option<SendError>,
    /// Its status is the one that the protocol's document expects.
    is_expected: bool,
    read: ReplyRead,
}

type Outcome = Result<Answered, SendError>;

/// A guess would be refused, and would look like a broken channel.
fn no_probe(protocol: &str) -> AdminError {
    AdminError::field(
        "path",
        format!("协议 {protocol} 没有标明 probe 的调用, 请给出 path (以及 test_data)"),
        format!("is needed: protocol {protocol} marks no call with probe; its body is test_data"),
    )
}

async fn call(
    state: &AdminState,
    target: &Prepared,
    model: &str,
    request: &ProbeRequest,
) -> Result<Outcome, AdminError> {
    let sent_model = egress::mapped(&target.channel, model).map_err(misread)?;
    let mut cheapest_body = None;
    let (method, path) = match (&request.path, target.cheapest(sent_model)) {
        (Some(path), _) => {
            let path = path.trim_start_matches('/');
            check_model("path", path)?;
            (Method::POST, format!("/{path}"))
        }
        (None, Some((method, path, body))) => {
            cheapest_body = Some(body);
            (method, path)
        }
        // Where a model is its path, it is asked there.
        (None, None) if target.protocol.route("POST", &format!("/pass/{sent_model}")).is_some() => {
            (Method::POST, format!("/{sent_model}"))
        }
        (None, None) => return Err(no_probe(&target.protocol.name)),
    };
    let uri = target.at_path(&path, None);
    let uri = uri.map_err(|why| AdminError::field("path", why.zh(), why.en()))?;
    let body = request.test_data.clone().or(cheapest_body).unwrap_or_else(|| {
        let messages = json!([{ "role": "user", "content": "hi" }]);
        json!({ "model": sent_model, "messages": messages, "max_tokens": 1 }).to_string()
    });
    let mut headers = HeaderMap::new();
    target.set_own_headers((&method, &path), &mut headers);
    target.sign(&mut headers, state.clock.now());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let costs = CostReader::new(state).await?;
    let outgoing = OutboundRequest {
        method: method.clone(),
        uri,
        headers,
        body: Bytes::from(body.clone()).into(),
        proxy: &target.proxy,
    };
    // Without its query, in which there may be the key.
    let at = outgoing.uri.path().to_owned();
    let reply = match state.client.send(outgoing, &target.deadlines).await {
        Ok(reply) => reply,
        Err(why) => return Ok(Err(why)),
    };
    let made = CallMade { model, method: &method, path: &path, body: body.as_bytes() };
    let content_type = reply.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let head = ReplyHead { status: reply.status.as_u16(), content_type };
    let found = costs.route(target, &made);
    let mut reader = found.as_ref().map(|found| ReplyReader::new(found.route, head));
    if let Some(reader) = &mut reader {
        reader.read_headers(|name| reply.headers.get_all(name).iter().map(HeaderValue::as_bytes));
    }
    let Received { status, body, broken } = read(reply, reader.as_mut()).await;
    let read = found.zip(reader.map(ReplyReader::finish));
    let probe = target.protocol.probe().filter(|_| request.path.is_none());
    let probe = probe.and_then(|route| route.probe.as_ref());
    let is_expected = probe.is_some_and(|probe| probe.expects(status));
    let read = costs.settle(target, &made, read);
    let call = format!("{method} {at}");
    Ok(Ok(Answered { call, at, status, body, broken, is_expected, read }))
}

struct Received {
    status: u16,
    /// Its beginning.
    body: Vec<u8>,
    broken: Option<SendError>,
}

/// Reads a reply to its end, and keeps its beginning.
async fn read(mut reply: Reply, mut reader: Option<&mut ReplyReader>) -> Received {
    let mut received = Received { status: reply.status.as_u16(), body: Vec::new(), broken: None };
    let mut bytes = 0;
    while let Some(frame) = reply.body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(why) => {
                received.broken = Some(why);
                break;
            }
        };
        // Trailers have nothing to read.
        let Ok(data) = frame.into_data() else { continue };
        if let Some(reader) = &mut reader {
            reader.push(&data);
        }
        let room = MAX_KEPT_BYTES - received.body.len();
        received.body.extend_from_slice(&data[..data.len().min(room)]);
        bytes += data.len();
        if bytes > MAX_REPLY_BYTES {
            received.broken = Some(SendError::Cut("the reply is too large for a test".to_owned()));
            break;
        }
    }
    received
}

fn told(
    channel_id: ChannelId,
    model: String,
    time_ms: i64,
    outcome: Outcome,
    masks: Masks<'_>,
) -> Probe {
    let mut probe = Probe {
        channel_id,
        model,
        ok: false,
        call: None,
        status: None,
        time_ms,
        reply: None,
        usage: BTreeMap::new(),
        cost: None,
        error: None,
        detail: None,
    };
    match outcome {
        Err(why) => {
            probe.error = Some(why.label());
            probe.detail = Some(why.to_string());
        }
        Ok(Answered { call, at, status, body, broken, is_expected, read }) => {
            probe.call = Some(call);
            probe.status = Some(status);
            probe.reply = Some(shown(&body, masks));
            probe.usage = read.usage;
            probe.cost = Some(read.cost);
            if let Some(why) = broken {
                probe.error = Some(why.label());
                probe.detail = Some(why.to_string());
            } else if is_expected {
                probe.ok = true;
            } else if status >= 400 {
                probe.error = Some("status");
                probe.detail = Some(match status {
                    404 => format!(
                        "the upstream answered 404 at {at}: is that its path? It is made of the \
                         channel's base_url and the call of its protocol"
                    ),
                    _ => format!("the upstream answered {status} at {at}"),
                });
            } else if let Some(why) = read.failure {
                probe.error = Some("reply");
                probe.detail = Some(shown(why.as_bytes(), masks));
            } else {
                probe.ok = true;
            }
        }
    }
    probe
}

/// The beginning of the reply, for people. An upstream that echoes what it was sent must not show
/// the key, nor what is signed by it.
fn shown(body: &[u8], masks: Masks<'_>) -> String {
    let mut text = String::from_utf8_lossy(body).into_owned();
    if let Some(echo) = masks.echo {
        text = echo.masked(&text);
    }
    if !masks.key.expose().is_empty() {
        text = text.replace(masks.key.expose(), "***");
    }
    text.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe_of(outcome: Outcome) -> Probe {
        let key = Secret::new("up-key".to_owned());
        told(ChannelId(1), "m".to_owned(), 5, outcome, Masks { key: &key, echo: None })
    }

    fn answered(status: u16, body: &[u8], failure: Option<&str>) -> Outcome {
        let cost = ProbeCost { group: "vip".to_owned(), quota: None, calculation: String::new() };
        let failure = failure.map(str::to_owned);
        let read = ReplyRead { failure, usage: BTreeMap::new(), cost };
        Ok(Answered {
            call: "GET /x".to_owned(),
            at: "/x".to_owned(),
            status,
            body: body.to_vec(),
            broken: None,
            is_expected: false,
            read,
        })
    }

    #[test]
    fn the_outcome_is_told_in_a_word() {
        let good = probe_of(answered(200, br#"{"code":0,"echo":"Bearer up-key"}"#, None));
        assert!(good.ok && good.error.is_none());
        assert_eq!(good.reply.unwrap(), r#"{"code":0,"echo":"Bearer ***"}"#);
        assert_eq!(probe_of(answered(401, b"no", None)).error, Some("status"));
        let said = probe_of(answered(200, br#"{"code":7}"#, Some("up-key is spent")));
        assert_eq!((said.error, said.detail.as_deref()), (Some("reply"), Some("*** is spent")));
        let mut cut = answered(200, b"", None);
        cut.as_mut().unwrap().broken = Some(SendError::Cut("reset".to_owned()));
        assert_eq!(probe_of(cut).error, Some("cut"));
        let dns = SendError::Connect(upstream::ConnectError::Dns("x".to_owned()));
        assert_eq!(probe_of(Err(dns)).error, Some("dns"));
    }

    #[test]
    fn long_replies_are_cut_by_characters() {
        let key = Secret::new(String::new());
        let text = shown("界".repeat(600).as_bytes(), Masks { key: &key, echo: None });
        assert_eq!(text.chars().count(), 500);
    }
}
