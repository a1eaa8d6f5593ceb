//! Parses the first reply to a submission.

use crate::inflate::decoded;
use crate::outcome::FirstReplyKind;
use crate::reply::{ReadAs, read_whole};
use crate::{Relay, faults};
use domain::{Fault, FrozenPrice, Quota, StatusWords, TaskStatus, TaskUid, Usage, task_status};
use http::{HeaderMap, StatusCode};
use ledger::TaskRecord;
use store::{Channel, TASK_DATA};
use upstream::task_reply::{read_submission, readable};

/// Longest reason of an upstream for a failure that is kept.
const MAX_REASON_CHARS: usize = 1_000;
/// A larger refusal is not searched for a message.
const MAX_REFUSAL_BYTES: usize = 256 * 1024;

/// The meaning of the reply to a submission.
pub(super) enum FirstReply {
    /// The task was accepted.
    Accepted(Accepted),
    /// The task was not accepted.
    Refused(SubmissionRefusal),
    /// The reply is an estimate, with the usage that it expects.
    Estimate(Option<Usage>),
}

/// An upstream's report about a task that it accepted.
pub(super) struct Accepted {
    /// Empty: the reply does not name it, or can't be read.
    pub task_id: String,
    pub status: String,
    pub progress: String,
    /// The element itself.
    pub data: String,
    pub usage: Option<Usage>,
    /// Where a protocol has its tasks: the path that it was submitted to, and what its word means.
    pub by_route: Option<(String, TaskStatus)>,
}

/// An upstream's refusal.
pub(super) struct SubmissionRefusal {
    pub kind: FirstReplyKind,
    /// A label for metrics and log.
    pub code: &'static str,
    pub error: String,
    /// For the task's owner, in the upstream's words.
    pub message: String,
    /// What the caller may go on with.
    pub continues: Vec<String>,
}

impl FirstReply {
    /// The kind of the reply.
    pub(super) const fn kind(&self) -> FirstReplyKind {
        match self {
            Self::Accepted(_) => FirstReplyKind::Accepted,
            Self::Refused(refusal) => refusal.kind,
            Self::Estimate(_) => FirstReplyKind::Estimate,
        }
    }
}

/// Parses a complete reply.
pub(super) fn read(
    status: StatusCode,
    headers: &HeaderMap,
    bytes: &[u8],
    read_as: &ReadAs,
) -> FirstReply {
    let money = read_whole(headers, bytes, read_as);
    let plain = decoded(headers, bytes);
    let refused = |kind, code, error: String| {
        let message = plain.as_deref().and_then(message_of).unwrap_or_else(|| error.clone());
        let continues = Vec::new();
        FirstReply::Refused(SubmissionRefusal { kind, code, error, message, continues })
    };
    if status.as_u16() >= 400 {
        let error = format!("status {}", status.as_u16());
        return refused(FirstReplyKind::BadStatus, "UPSTREAM_STATUS", error);
    }
    if money.failed {
        let error = "the upstream's reply says that it failed".to_owned();
        return refused(FirstReplyKind::Failed, "UPSTREAM_ENVELOPE", error);
    }
    if money.is_estimate {
        return FirstReply::Estimate(money.usage);
    }
    match plain.as_deref().and_then(read_submission) {
        Some((task_id, element)) => FirstReply::Accepted(Accepted {
            task_id,
            status: element.status(),
            progress: element.progress(),
            data: element.kept().into_owned(),
            usage: money.usage,
            by_route: None,
        }),
        None => {
            let error = "the upstream's reply names no usable data.task_id".to_owned();
            refused(FirstReplyKind::NamesNoTask, "UPSTREAM_RESPONSE", error)
        }
    }
}

/// The reason, in the upstream's words.
fn message_of(plain: &[u8]) -> Option<String> {
    const PLACES: [&str; 6] =
        ["/message", "/msg", "/error/message", "/error", "/data/error", "/detail"];
    let plain = Some(plain).filter(|plain| plain.len() <= MAX_REFUSAL_BYTES)?;
    let value: serde_json::Value = serde_json::from_slice(plain).ok()?;
    let said = |place: &&str| value.pointer(place)?.as_str().map(str::trim);
    let words = PLACES.iter().filter_map(said).find(|words| !words.is_empty())?;
    Some(readable(words, MAX_REASON_CHARS))
}

impl Accepted {
    /// The row's new state.
    pub(super) fn record(
        self,
        relay: &Relay,
        uid: TaskUid,
        channel: &Channel,
    ) -> Result<TaskRecord, Fault> {
        let sealed = relay.sealer.seal(TASK_DATA, self.data.as_bytes());
        let words = (channel.status_words.as_ref(), &relay.config.status_words);
        let (path, status) = match self.by_route {
            Some((path, status)) => (path, unended(status)),
            None => (String::new(), first_status(&self.status, words.0, words.1)),
        };
        Ok(TaskRecord {
            path,
            status,
            upstream_status: self.status,
            progress: self.progress,
            data: sealed.map_err(faults::system)?,
            ..TaskRecord::new(uid, self.task_id, channel.id)
        })
    }

    /// Whether it is a task of CustomPass.
    pub(super) const fn is_by_envelope(&self) -> bool {
        self.by_route.is_none()
    }

    /// The price of the usage that the upstream reported.
    pub(super) fn price_of_use(&self, price: &FrozenPrice) -> Option<Quota> {
        price_of_use(price, self.usage.clone())
    }
}

/// The price of a usage, with what the request asked for.
pub(super) fn price_of_use(price: &FrozenPrice, usage: Option<Usage>) -> Option<Quota> {
    price.charge(&price.counts_of(usage, None)?).ok()
}

/// The status of a task that was just accepted. One that has ended already is ended by the poller,
/// which also reads its result and its usage.
fn first_status(
    word: &str,
    channel: Option<&StatusWords>,
    installation: &StatusWords,
) -> TaskStatus {
    if word.is_empty() {
        return TaskStatus::Submitted;
    }
    unended(task_status(word, channel, installation))
}

fn unended(status: TaskStatus) -> TaskStatus {
    if status.is_final() { TaskStatus::Processing } else { status }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> FirstReply {
        let status = StatusCode::from_u16(status).unwrap();
        read(status, &HeaderMap::new(), body.as_bytes(), &ReadAs::SUMS)
    }

    fn accepted(body: &str) -> Accepted {
        match reply(200, body) {
            FirstReply::Accepted(accepted) => accepted,
            _ => panic!("not accepted: {body}"),
        }
    }

    fn refused(status: u16, body: &str) -> (FirstReplyKind, String) {
        match reply(status, body) {
            FirstReply::Refused(refusal) => (refusal.kind, refusal.message),
            _ => panic!("not refused: {body}"),
        }
    }

    #[test]
    fn ids_are_strings_or_numbers() {
        let id = |id: &str| accepted(&format!(r#"{{"code":0,"data":{{"task_id":{id}}}}}"#)).task_id;
        assert_eq!(id(r#""t-1""#), "t-1");
        assert_eq!(id(r#""字\u00fc""#), "字ü");
        assert_eq!(id("123456789012345678901234567890"), "123456789012345678901234567890");
        assert_eq!(id("-1"), "-1");
        let long = "x".repeat(255);
        assert_eq!(id(&format!("\"{long}\"")), long);
    }

    #[test]
    fn what_names_no_task_is_no_task() {
        // Without an envelope.
        assert_eq!(accepted(r#"{"task_id":"t"}"#).task_id, "t");
        let bare = accepted(r#"{"task_id":7,"status":"queued","data":{"eta":3}}"#);
        assert_eq!((&*bare.task_id, &*bare.status), ("7", "queued"));
        let long = format!(r#"{{"data":{{"task_id":"{}"}}}}"#, "x".repeat(256));
        for body in [
            "",
            "<html>",
            "{}",
            "[]",
            r#"{"data":null}"#,
            r#"{"data":[]}"#,
            r#"{"data":["t"]}"#,
            r#"{"data":{"task_id":""}}"#,
            r#"{"data":{"task_id":null}}"#,
            r#"{"data":{"task_id":true}}"#,
            r#"{"data":{"task_id":{"a":1}}}"#,
            r#"{"data":{"task_id":"a\u0000b"}}"#,
            r#"{"data":{"task_id":"a\nb"}}"#,
            r#"{"task_id":""}"#,
            r#"[{"task_id":"t"}]"#,
            r#"{"data":{"task_id":"t"}"#,
            &long,
        ] {
            assert_eq!(refused(200, body).0, FirstReplyKind::NamesNoTask, "{body}");
        }
    }

    #[test]
    fn refusals_have_words() {
        let body = r#"{"code":7,"message":"too\u0000 rude","data":{"task_id":"t"}}"#;
        assert_eq!(refused(200, body), (FirstReplyKind::Failed, "too  rude".to_owned()));
        let openai = r#"{"error":{"message":"no"}}"#;
        assert_eq!(refused(400, openai), (FirstReplyKind::BadStatus, "no".to_owned()));
        assert_eq!(refused(500, "oops"), (FirstReplyKind::BadStatus, "status 500".to_owned()));
        let long = format!(r#"{{"code":1,"message":"{}"}}"#, "x".repeat(5_000));
        assert_eq!(refused(200, &long).1.len(), MAX_REASON_CHARS);
        let estimate = r#"{"code":0,"type":"precharge","data":{"task_id":"t"}}"#;
        assert!(matches!(reply(200, estimate), FirstReply::Estimate(None)));
    }

    #[test]
    fn words_and_use_are_kept() {
        let said = accepted(
            r#"{"code":"0","usage":{"prompt_tokens":3,"completion_tokens":4},
                "data":{"task_id":1,"status":"Queued","progress":30,"more":[1.50]}}"#,
        );
        assert_eq!((said.status.as_str(), said.progress.as_str()), ("Queued", "30"));
        assert!(said.data.contains("1.50"), "as the upstream wrote it");
        assert_eq!(said.usage.map(|u| (u.prompt_tokens, u.completion_tokens)), Some((3, 4)));
    }

    #[test]
    fn no_first_word_is_the_last() {
        let usual = StatusWords::usual();
        for (word, status) in [
            ("", TaskStatus::Submitted),
            ("submitted", TaskStatus::Submitted),
            ("queued", TaskStatus::Processing),
            ("done", TaskStatus::Processing),
            ("failed", TaskStatus::Processing),
            ("huh", TaskStatus::Unknown),
        ] {
            assert_eq!(first_status(word, None, &usual), status, "{word}");
        }
    }
}
