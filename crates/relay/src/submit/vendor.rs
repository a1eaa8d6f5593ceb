//! Parses the first reply to a submission by a route of a protocol.

use super::first_reply::{Accepted, FirstReply, SubmissionRefusal};
use crate::account::{AccountFault, AccountWatch};
use crate::inflate::decoded;
use crate::outcome::FirstReplyKind;
use domain::TaskStatus;
use egress::Prepared;
use http::header::CONTENT_TYPE;
use protocol::{CallOutcome, ProtocolRoute, ReplyFailure, ReplyHead, ReplyReader, TaskReading};
use std::sync::Arc;
use upstream::Reply;
use upstream::task_reply::readable;

/// Longest word, progress and reason that are kept, in characters.
const MAX_WORD: usize = 64;
const MAX_REASON: usize = 1_000;
/// A larger reply is not stored.
const MAX_KEPT: usize = 1024 * 1024;
/// Of a reply that can't be read, so many characters are kept for the operator.
const MAX_UNREAD: usize = 20_000;

/// Parses a complete reply. One that was accepted and can't be read is no refusal: the vendor may
/// be doing the work, so its task is kept until an operator has looked.
pub(super) fn read(route: &ProtocolRoute, path: String, reply: &Reply, bytes: &[u8]) -> FirstReply {
    let body = decoded(&reply.headers, bytes).unwrap_or_default();
    let content_type = reply.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let status = reply.status.as_u16();
    let mut reader = ReplyReader::new(route, ReplyHead { status, content_type });
    reader.push(&body);
    let reading = reader.finish();
    let refused = |kind, code, error: String| {
        let message = reading.message.as_deref().map(|words| readable(words, MAX_REASON));
        let message = message.filter(|words| !words.is_empty()).unwrap_or_else(|| error.clone());
        let continues = if reading.continues { reading.resources.clone() } else { Vec::new() };
        FirstReply::Refused(SubmissionRefusal { kind, code, error, message, continues })
    };
    if !reply.status.is_success() {
        let error = format!("status {status}");
        return refused(FirstReplyKind::BadStatus, "UPSTREAM_STATUS", error);
    }
    if reading.outcome == CallOutcome::Failed(ReplyFailure::Said) {
        let error = "the upstream's reply says that it failed".to_owned();
        return refused(FirstReplyKind::Failed, "UPSTREAM_ENVELOPE", error);
    }
    let task = route.tasks.as_ref().map(|rules| rules.read_one(&body));
    match task {
        Some(TaskReading { id: Some(id), word, status, progress, .. }) => {
            // A document need not say what a reply without a word means.
            let status = if word.is_empty() { TaskStatus::Submitted } else { status };
            FirstReply::Accepted(Accepted {
                task_id: id,
                status: readable(&word, MAX_WORD),
                progress: readable(&progress, MAX_WORD),
                data: kept(&body),
                usage: None,
                by_route: Some((path, status)),
            })
        }
        _ => {
            let text = String::from_utf8_lossy(&body);
            FirstReply::Accepted(unread(path, text.chars().take(MAX_UNREAD).collect()))
        }
    }
}

/// What a whole reply says of the channel's account.
pub(super) fn account_fault(
    route: &Arc<ProtocolRoute>,
    (reply, bytes): (&Reply, &[u8]),
    prepared: &Prepared,
) -> Option<AccountFault> {
    let mut watch = AccountWatch::by(route, reply);
    watch.feed(bytes);
    watch.finish(prepared.echo.as_ref())
}

/// The reply as it is stored: the poller's next one takes its place.
fn kept(body: &[u8]) -> String {
    match std::str::from_utf8(body) {
        Ok(text) if text.len() <= MAX_KEPT => text.to_owned(),
        _ => "{}".to_owned(),
    }
}

/// A task that was accepted, as far as its status says, and of which nothing else is known.
pub(super) fn unread(path: String, data: String) -> Accepted {
    Accepted {
        task_id: String::new(),
        status: String::new(),
        progress: String::new(),
        data,
        usage: None,
        by_route: Some((path, TaskStatus::Unknown)),
    }
}
