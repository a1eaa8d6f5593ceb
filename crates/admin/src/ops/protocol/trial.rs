//! Tries a protocol out on a saved request and a saved reply: what would be read.

use super::trial_request::{TrialRequest, TriedRequest, counts};
use super::{checked_size, find};
use crate::fields::Fields;
use crate::{AdminError, AdminState};
use domain::TaskStatus;
use protocol::{
    CallOutcome, PriceNeeds, PriceWord, Protocol, ReplyHead, ReplyReader, ReplyReading,
    RequestReading, RouteMatch, TaskReading,
};
use serde::Serialize;
use std::collections::BTreeMap;
use store::protocols;
use utoipa::ToSchema;

/// A call to be tried.
#[derive(Clone, Debug, Default)]
pub struct TrialInput {
    /// The protocol's name, where there is no document.
    pub protocol: Option<String>,
    /// A document that need not be stored.
    pub document: Option<String>,
    /// Method and path: `POST /v1/messages`.
    pub call: String,
    /// The request's body.
    pub request: String,
    /// The request's headers, one a line: `NAME: VALUE`.
    pub request_headers: String,
    /// The reply's body, if it is to be read as well.
    pub reply: Option<String>,
    /// The reply's status.
    pub status: u16,
    /// The reply's header `content-type`.
    pub content_type: Option<String>,
    /// The reply's headers, one a line: `NAME: VALUE`.
    pub headers: String,
}

/// What would be read of a call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Trial {
    /// The route.
    pub call: TrialCall,
    /// What is read of the request.
    pub request: TrialRequest,
    /// What is read of the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<TrialReply>,
    /// What is read of the task that the reply is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TrialTask>,
}

/// The route of a call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TrialCall {
    /// The protocol whose route it is.
    pub protocol: String,
    /// The route's patterns.
    pub route: String,
    /// What such calls cost: `the model's`, or `free`.
    pub price: String,
}

/// What is read of a reply.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TrialReply {
    /// How its body is made up: `json`, `array`, `sse`, `lines` or `bytes`.
    pub shape: String,
    /// It is whole.
    pub whole: bool,
    /// How many documents there were.
    pub documents: i64,
    /// The stream said that it is over.
    pub done: bool,
    /// What came of the call.
    pub outcome: String,
    /// Another channel may be asked.
    pub next_channel: bool,
    /// The channel's account is broken.
    pub account_broken: bool,
    /// It is an estimate, not a result.
    pub estimate: bool,
    /// What was counted, each without what another counts of it.
    pub meters: BTreeMap<String, i64>,
    /// What a price by use counts of it: what was reported, else what was estimated or asked for.
    pub charged: BTreeMap<String, i64>,
    /// What is odd about that, as the log says it.
    pub note: Option<String>,
    /// What did not add up.
    pub mismatch: Option<String>,
    /// A count that can't be billed.
    pub bad_count: Option<String>,
    /// Tokens of the text that was made, about.
    pub text_tokens: i64,
    /// Why it failed, in the upstream's words.
    pub message: Option<String>,
    /// The id of what was made.
    pub resource: Option<String>,
}

/// What is read of a task.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TrialTask {
    /// Its id.
    pub id: Option<String>,
    /// The upstream's word for where it stands.
    pub word: String,
    /// What the word means.
    pub status: String,
    /// Its progress, as the upstream has it.
    pub progress: String,
    /// Why it failed.
    pub reason: String,
    /// Its results.
    pub results: Vec<String>,
    /// What was counted.
    pub meters: BTreeMap<String, i64>,
    /// It is done, and has made nothing: nothing is charged.
    pub made_nothing: bool,
}

impl TrialInput {
    /// Reads a request.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn read(mut fields: Fields) -> Result<Self, AdminError> {
        let call = fields.text("call")?;
        let input = Self {
            protocol: fields.text("protocol")?,
            document: fields.text("document")?.map(checked_size).transpose()?,
            call: fields.required("call", call)?,
            request: fields.text("request")?.unwrap_or_default(),
            request_headers: fields.text("request_headers")?.unwrap_or_default(),
            reply: fields.text("reply")?,
            status: fields
                .int_in("status", 100, 599)?
                .and_then(|status| u16::try_from(status).ok())
                .unwrap_or(200),
            content_type: fields.text("content_type")?,
            headers: fields.text("headers")?.unwrap_or_default(),
        };
        fields.finish(&[], &[])?;
        Ok(input)
    }

    /// The values of a header of the reply.
    fn header(&self, wanted: &str) -> impl Iterator<Item = &str> {
        let lines = self.headers.lines().filter_map(|line| line.split_once(':'));
        let of_name = lines.filter(move |(name, _)| name.trim().eq_ignore_ascii_case(wanted));
        of_name.map(|(_, value)| value.trim())
    }
}

/// Tries a call out. Nothing is sent, and nothing is stored.
///
/// # Errors
/// When the protocol can't be used, or has no such route; or the database fails.
pub async fn try_out(state: &AdminState, input: &TrialInput) -> Result<Trial, AdminError> {
    let protocol = match (&input.document, &input.protocol) {
        (Some(document), _) => {
            let (mut library, _) = protocols::load(&state.db).await?;
            library.add(document).map_err(|problems| {
                AdminError::field("document", problems.in_chinese(), problems.to_string())
            })?
        }
        (None, Some(name)) => find(state, name).await?,
        (None, None) => {
            return Err(AdminError::field("protocol", "不能为空", "is required"));
        }
    };
    Trial::of(&protocol, input)
}

impl Trial {
    /// What a protocol reads of a call.
    ///
    /// # Errors
    /// When it has no such route.
    pub fn of(protocol: &Protocol, input: &TrialInput) -> Result<Self, AdminError> {
        let wrong = |zh: String, en: String| AdminError::field("call", zh, en);
        let Some((method, target)) = input.call.trim().split_once(' ') else {
            let (zh, en) = ("格式为 POST /v1/…", "is a method and a path, such as POST /v1/…");
            return Err(wrong(zh.to_owned(), en.to_owned()));
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let found = protocol.route(method, path).ok_or_else(|| {
            let name = &protocol.name;
            wrong(
                format!("{name} 没有 {method} {path} 这条路由"),
                format!("{name} has no route {method} {path}"),
            )
        })?;
        let reply = input.reply.as_ref().map(|body| {
            let content_type =
                input.content_type.as_deref().or_else(|| input.header("content-type").next());
            let head = ReplyHead { status: input.status, content_type };
            let mut reader = ReplyReader::new(found.route, head);
            reader.read_headers(|name| input.header(name).map(str::as_bytes).collect::<Vec<_>>());
            reader.push(body.as_bytes());
            reader.finish()
        });
        let tasks = found.route.tasks.as_ref();
        let task = tasks.zip(input.reply.as_ref()).map(|(it, body)| it.read_one(body.as_bytes()));
        let tried = TriedRequest { protocol, found: &found, query, input };
        let (request, asked) = tried.read();
        let is_free = tried.is_free();
        Ok(Self {
            call: of_call(&found),
            request,
            reply: reply.map(|read| of_reply(read, (!is_free).then_some(&asked))),
            task: task.map(of_task),
        })
    }
}

fn of_call(found: &RouteMatch<'_>) -> TrialCall {
    let patterns: Vec<String> = found.route.patterns.iter().map(ToString::to_string).collect();
    let price = match found.route.price {
        PriceWord::Model => "the model's",
        PriceWord::Use => "the model's, by use",
        PriceWord::Call => "the model's, per call",
        PriceWord::Free => "free",
    };
    TrialCall {
        protocol: found.route.protocol.to_string(),
        route: patterns.join(", "),
        price: price.to_owned(),
    }
}

/// What a price by use counts: what the reply reports, else what was made and asked for. Nothing of
/// a call that is not charged.
fn charged(read: &ReplyReading, asked: &RequestReading) -> (BTreeMap<String, i64>, Option<String>) {
    // Of an API that knows no tokens none are counted.
    let has_tokens =
        read.meters.usage().is_some() || read.text_tokens > 0 || asked.input_tokens > 0;
    let needs = if has_tokens { PriceNeeds::Meters } else { PriceNeeds::Units };
    let usage = read.usage(needs, asked.input_tokens, false);
    let Some(usage) = usage.filter(|_| read.outcome == CallOutcome::Delivered) else {
        return (BTreeMap::new(), None);
    };
    let mut counted = usage.counted().into_owned();
    for (unit, count) in asked.units.iter().filter(|(unit, _)| !unit.is_tokens()) {
        if counted.get(unit).is_none() {
            counted.set(unit, count);
        }
    }
    (counts(&counted), usage.inconsistency)
}

/// `asked` is what the request asks for, where it costs something.
fn of_reply(read: ReplyReading, asked: Option<&RequestReading>) -> TrialReply {
    let (charged, note) = asked.map(|asked| charged(&read, asked)).unwrap_or_default();
    TrialReply {
        charged,
        note,
        shape: read.shape.as_str().to_owned(),
        whole: read.well_formed,
        documents: i64::try_from(read.documents).unwrap_or(i64::MAX),
        done: read.done,
        outcome: read.outcome.as_str().to_owned(),
        next_channel: read.refused || read.retry,
        account_broken: read.account,
        estimate: read.estimate,
        meters: counts(&read.meters),
        mismatch: read.mismatch,
        bad_count: read.fault.map(|fault| format!("{} {:?}", fault.meter, fault.text)),
        text_tokens: read.text_tokens,
        message: read.message,
        resource: read.resources.into_iter().next(),
    }
}

fn of_task(task: TaskReading) -> TrialTask {
    TrialTask {
        id: task.id,
        word: task.word,
        status: task.status.as_str().to_owned(),
        progress: task.progress,
        reason: task.reason,
        results: task.results,
        meters: counts(&task.meters),
        made_nothing: task.made_nothing && task.status == TaskStatus::Completed,
    }
}
