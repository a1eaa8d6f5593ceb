//! One poll request, and the bytes of its reply: by CustomPass, `POST
//! {base}/{model}/task/list-by-condition`; else as the protocol's document asks.

use super::Core;
use super::page::Waiting;
use bytes::Bytes;
use domain::{Fault, UnixMs, UserId, task_base};
use egress::{CallerKey, Prepared};
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::BodyExt;
use protocol::TaskRules;
use serde_json::value::RawValue;
use spans::{Span, key};
use std::fmt::Write;
use std::sync::Arc;
use store::Channel;
use tokio::sync::SemaphorePermit;
use upstream::{Deadlines, Decoded, OutboundRequest, Reply, SendError, Sent};
use web::memory::Share;

/// Longest reply that is read.
pub(super) const MAX_REPLY: usize = 16 * 1024 * 1024;
/// A larger reply than this needs a permit, so that many at once don't fill the memory.
pub(super) const LARGE_REPLY: usize = 1024 * 1024;
/// What is counted before it is inflated: a piece of so many bytes inflates to a mebibyte at most.
const PIECE: usize = 1024;
/// A reply is in memory so often while it is applied: as it came, sealed, and in a statement.
const COPIES: usize = 4;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PollFailure {
    /// Not sent: the channel, its row or the owner's key can't be used.
    Unasked(String),
    /// No connection.
    Unreachable(String),
    /// No reply in time.
    Timeout,
    /// The connection broke off, or the reply is not HTTP.
    Broken(&'static str),
    /// A status other than success.
    Status(StatusCode),
    /// A reply that can't be used.
    Unusable(String),
    /// A reply longer than the limit.
    TooLarge,
    /// No memory for the reply now.
    NoMemory,
}

impl PollFailure {
    /// Whether further requests would only cost time.
    pub(super) const fn hangs(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Timeout)
    }

    /// Whether the upstream has replied, however badly.
    pub(super) const fn is_answer(&self) -> bool {
        matches!(self, Self::Status(_) | Self::Unusable(_) | Self::TooLarge)
    }

    /// Whether a question about fewer tasks would have a reply that fits.
    pub(super) const fn is_size(&self) -> bool {
        matches!(self, Self::TooLarge | Self::NoMemory)
    }

    /// Whether one of the tasks may have caused it.
    pub(super) const fn may_be_one_task(&self) -> bool {
        !matches!(self, Self::Unasked(_) | Self::Unreachable(_))
    }

    /// A label for metrics.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Unasked(_) => "unasked",
            Self::Unreachable(_) => "unreachable",
            Self::Timeout => "timeout",
            Self::Broken(_) => "broken",
            Self::Status(_) => "status",
            Self::Unusable(_) => "unusable",
            Self::TooLarge => "too_large",
            Self::NoMemory => "no_memory",
        }
    }

    /// A short description for the log. Never a body.
    pub(super) fn error(&self) -> String {
        match self {
            Self::Unasked(why) | Self::Unreachable(why) | Self::Unusable(why) => why.clone(),
            Self::Timeout => "timed out".to_owned(),
            Self::Broken(word) => (*word).to_owned(),
            Self::Status(status) => format!("status {}", status.as_u16()),
            Self::TooLarge => format!("the reply is larger than {MAX_REPLY} bytes"),
            Self::NoMemory => "no memory for the reply".to_owned(),
        }
    }
}

impl From<SendError> for PollFailure {
    fn from(error: SendError) -> Self {
        match &error {
            _ if error.is_timeout() => Self::Timeout,
            _ if error.sent() == Sent::No => Self::Unreachable(error.label().to_owned()),
            _ => Self::Broken(error.label()),
        }
    }
}

/// How a lane's channel is called: what follows from its row, built once for each version of it.
pub(super) struct PollTarget {
    pub(super) prepared: Prepared,
    /// How tasks of CustomPass are asked about.
    uri: Uri,
    /// The upstream's name of the model.
    model: String,
    deadlines: Deadlines,
}

/// Tasks of one owner's key that are asked about together.
#[derive(Clone, Copy)]
pub(super) struct PollQuestion<'a> {
    /// At least one; all were submitted to the same path.
    pub(super) tasks: &'a [Waiting],
    pub(super) owner: &'a CallerKey,
    /// The upstream writes its ids as numbers.
    pub(super) numbers: bool,
}

impl PollTarget {
    /// Validates the channel's row.
    ///
    /// # Errors
    /// When the row can't be used.
    pub(super) fn read(core: &Core, channel: &Arc<Channel>, action: &str) -> Result<Self, Fault> {
        let prepared = Prepared::read(channel, &core.config.load().egress)?;
        let model = egress::mapped(channel, action)?.to_owned();
        let bad = |error: upstream::AddressError| {
            Fault::new(domain::FaultKind::Config, error.zh(), error.en())
        };
        let path = format!("{}/task/list-by-condition", task_base(&model));
        let uri = prepared.base.target(&path, None).map_err(bad)?;
        let total_ms = core.config.load().query_timeout_ms;
        let connect_ms = prepared.deadlines.connect_ms.min(total_ms);
        let deadlines =
            Deadlines { connect_ms, first_byte_ms: total_ms, idle_ms: total_ms, total_ms };
        Ok(Self { prepared, uri, model, deadlines })
    }

    /// The upstream's name of the model.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// Whether an upstream's words show the channel's key.
    pub(super) fn shows_key(&self, words: &str) -> bool {
        self.prepared.echo.as_ref().is_some_and(|echo| echo.finds_in(words))
    }

    /// How long a request may take.
    pub(super) const fn deadlines(&self) -> Deadlines {
        self.deadlines
    }

    /// How a task that was submitted to this path is asked about; none: by CustomPass.
    ///
    /// # Errors
    /// When the channel's protocol has no tasks there (any more).
    pub(super) fn rules(&self, path: &str) -> Result<Option<&Arc<TaskRules>>, PollFailure> {
        if path.is_empty() {
            return Ok(None);
        }
        let route = self.prepared.protocol.submission(path);
        let rules = route.and_then(|route| route.tasks.as_ref());
        let why = || format!("its channel's protocol has no tasks at {path}");
        rules.map(Some).ok_or_else(|| PollFailure::Unasked(why()))
    }

    /// The members of a report about such a task that are addresses at the upstream: those of the
    /// call by which clients ask about it.
    pub(super) fn links(&self, task: &Waiting) -> &[Box<str>] {
        let asked = format!("{}/{}", task.path, task.task_id);
        let found = self.prepared.protocol.route("GET", &asked);
        found.map_or(&[], |found| &found.route.links)
    }

    /// The maximum number of tasks of this path in one request.
    pub(super) fn batch_limit(&self, path: &str) -> usize {
        match self.rules(path) {
            Ok(Some(rules)) if !rules.has_several() => 1,
            Ok(Some(rules)) => usize::from(rules.batch).max(1),
            Ok(None) | Err(_) => usize::MAX,
        }
    }

    /// A request of ours about this user's tasks, to a path of the channel's protocol.
    pub(super) fn request(
        &self,
        (method, path): (&str, &str),
        owner: &CallerKey,
        now: UnixMs,
    ) -> Result<OwnRequest, PollFailure> {
        let unasked = |why: &dyn std::fmt::Display| PollFailure::Unasked(why.to_string());
        let uri = self.prepared.at_encoded(path).map_err(|error| unasked(&error))?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| unasked(&error))?;
        let route_path = path.split('?').next().unwrap_or(path);
        let headers = self.headers(Some((&method, route_path)), owner, now);
        Ok(OwnRequest { method, uri, headers, body: None })
    }

    /// The headers of a request, signed: where it is one of the protocol's calls, with those that
    /// its route sets.
    fn headers(&self, call: Option<(&Method, &str)>, owner: &CallerKey, now: UnixMs) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        self.prepared.authorize(&mut headers, owner);
        if let Some(call) = call {
            self.prepared.set_own_headers(call, &mut headers);
        }
        self.prepared.sign(&mut headers, now);
        headers
    }

    /// The request of a question.
    fn ask(&self, question: PollQuestion<'_>, now: UnixMs) -> Result<OwnRequest, PollFailure> {
        let PollQuestion { tasks, owner, numbers } = question;
        let path = tasks.first().map_or("", |task| task.path.as_str());
        let ids = tasks.iter().map(|task| task.task_id.as_str());
        let mut request = match self.rules(path)? {
            None => {
                let (method, uri, body) =
                    (Method::POST, self.uri.clone(), request_body(ids, numbers));
                let headers = self.headers(None, owner, now);
                OwnRequest { method, uri, headers, body: Some(body) }
            }
            Some(rules) => {
                let (ask, ids) = (&rules.ask, ids.collect::<Vec<_>>());
                let first = ids.first().copied().unwrap_or_default();
                let path = ask.path_for(first, &self.model, &upstream::encode_path(path));
                let request = self.request((&ask.method, &path), owner, now)?;
                OwnRequest { body: ask.body_for(&ids, numbers), ..request }
            }
        };
        if request.body.is_some() {
            let json = HeaderValue::from_static("application/json");
            request.headers.insert(CONTENT_TYPE, json);
        }
        if let Ok(request_id) = HeaderValue::try_from(web::uuid_v7(now).to_string()) {
            request.headers.insert(web::X_REQUEST_ID, request_id);
        }
        Ok(request)
    }
}

/// A request of ours about tasks.
pub(super) struct OwnRequest {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Option<String>,
}

impl OwnRequest {
    /// Sends it.
    pub(super) async fn send(
        self,
        core: &Core,
        target: &PollTarget,
        deadlines: &Deadlines,
    ) -> Result<Reply, PollFailure> {
        let Self { method, uri, headers, body } = self;
        let body = Bytes::from(body.unwrap_or_default()).into();
        let proxy = &target.prepared.proxy;
        let request = OutboundRequest { method, uri, headers, body, proxy };
        Ok(core.parts.client.send(request, deadlines).await?)
    }
}

/// A complete reply.
pub(super) struct PollAnswer<'a> {
    pub(super) body: Vec<u8>,
    /// Held until the reply is dropped.
    _large: Option<SemaphorePermit<'a>>,
    /// Its part of the memory budget, with what will be made of it.
    _share: Share,
}

/// Asks a question.
pub(super) async fn send<'a>(
    core: &'a Core,
    target: &PollTarget,
    question: PollQuestion<'_>,
) -> Result<PollAnswer<'a>, PollFailure> {
    let request = target.ask(question, core.parts.clock.now())?;
    let mut span = core.parts.tracer.root(spans::Kind::Client, "ask about tasks");
    if span.is_recorded() {
        let Prepared { base, channel, .. } = &target.prepared;
        span.set(key::METHOD, request.method.to_string());
        span.set(key::HOST, base.host().to_owned());
        span.set(key::PORT, i64::from(base.port()));
        span.set(key::CHANNEL_ID, channel.id.0);
    }
    let answer = put(core, (target, question), request, &mut span).await;
    if let Err(failure) = &answer {
        span.fail(failure.label());
    }
    answer
}

async fn put<'a>(
    core: &'a Core,
    (target, question): (&PollTarget, PollQuestion<'_>),
    request: OwnRequest,
    span: &mut Span,
) -> Result<PollAnswer<'a>, PollFailure> {
    let reply = request.send(core, target, &target.deadlines).await?;
    span.status(reply.status);
    if !reply.status.is_success() {
        return Err(PollFailure::Status(reply.status));
    }
    let answer = collect(core, reply, question.tasks).await?;
    // The upstream's reports are shown to the tasks' owners.
    if target.prepared.echo.as_ref().is_some_and(|echo| echo.finds(&answer.body)) {
        return Err(PollFailure::Unusable("the reply repeats the channel's key".to_owned()));
    }
    Ok(answer)
}

/// Collects a reply, inflated: some compress what they were asked not to.
async fn collect<'a>(
    core: &'a Core,
    mut reply: Reply,
    tasks: &[Waiting],
) -> Result<PollAnswer<'a>, PollFailure> {
    let (mut body, mut large) = (Decoded::for_headers(&reply.headers, Vec::new()), None);
    let owner = tasks.first().map_or(UserId(0), |task| task.user_id);
    let mut share = core.parts.budget.share_of(owner);
    while let Some(frame) = reply.body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        for piece in data.chunks(PIECE) {
            let length = body.get_ref().map_or(0, Vec::len) + piece.len();
            if length > MAX_REPLY {
                return Err(PollFailure::TooLarge);
            }
            if length > LARGE_REPLY && large.is_none() {
                large = core.permits.large.acquire().await.ok();
            }
            let bytes = length.saturating_mul(COPIES);
            // About fewer tasks there is a shorter reply; about one there is none.
            let has_room =
                if tasks.len() > 1 { share.grow_to(bytes) } else { share.grow_towards(bytes) };
            if !has_room {
                return Err(PollFailure::NoMemory);
            }
            body.feed(piece);
            if let Some(why) = body.unreadable() {
                return Err(unreadable(why));
            }
        }
    }
    let body = body.finish().map_err(unreadable)?.unwrap_or_default();
    if body.len() > MAX_REPLY {
        return Err(PollFailure::TooLarge);
    }
    Ok(PollAnswer { body, _large: large, _share: share })
}

/// Why a reply can't be decoded.
pub(super) fn unreadable(why: &str) -> PollFailure {
    PollFailure::Unusable(format!("unreadable: {why}"))
}

/// `{"task_ids":[…]}`. Ids are kept as text. Where this upstream writes its ids as numbers, numeric
/// ones are sent as numbers, digit by digit; all others as strings.
fn request_body<'i>(ids: impl Iterator<Item = &'i str>, numbers: bool) -> String {
    let mut text = String::with_capacity(64 * 32);
    text.push_str("{\"task_ids\":[");
    for (at, id) in ids.enumerate() {
        if at > 0 {
            text.push(',');
        }
        if numbers && is_number(id) {
            text.push_str(id);
        } else if id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b)) {
            // Writing to a String can't fail.
            let _ = write!(text, "\"{id}\"");
        } else {
            text.push_str(&serde_json::Value::from(id).to_string());
        }
    }
    text.push_str("]}");
    text
}

/// Whether an id, kept as text, may have been a number.
pub(super) fn is_number(id: &str) -> bool {
    id.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && serde_json::from_str::<&RawValue>(id).is_ok()
        && !id.ends_with(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use upstream::{ConnectError, Phase};

    #[test]
    fn ids_go_back_as_they_came() {
        let ids = || ["a-1", "12", "0012", "1e3", "x\"y", "99999999999999999999"].into_iter();
        let texts = r#"{"task_ids":["a-1","12","0012","1e3","x\"y","99999999999999999999"]}"#;
        assert_eq!(request_body(ids(), false), texts);
        let numbers = r#"{"task_ids":["a-1",12,"0012",1e3,"x\"y",99999999999999999999]}"#;
        assert_eq!(request_body(ids(), true), numbers);
        assert_eq!(request_body(std::iter::empty(), true), r#"{"task_ids":[]}"#);
    }

    #[test]
    fn only_silence_hangs() {
        let refused = PollFailure::from(SendError::Connect(ConnectError::Refused("x".into())));
        assert!(refused.hangs() && !refused.is_answer() && !refused.may_be_one_task());
        for phase in [Phase::Connect, Phase::FirstByte, Phase::Idle, Phase::Total] {
            assert_eq!(PollFailure::from(SendError::Timeout(phase)), PollFailure::Timeout);
        }
        let cut = PollFailure::from(SendError::Cut("x".into()));
        assert!(!cut.hangs() && !cut.is_answer() && cut.may_be_one_task());
        let status = PollFailure::Status(StatusCode::BAD_GATEWAY);
        assert!(!status.hangs() && status.is_answer() && status.may_be_one_task());
    }
}
