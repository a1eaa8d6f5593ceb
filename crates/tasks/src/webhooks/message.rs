//! The content of webhooks.

use domain::{Quota, TaskUid, UnixMs, UserId};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;

/// An ended task, from its row.
#[derive(Debug)]
pub(super) struct EndedTaskRow {
    pub uid: TaskUid,
    pub task_id: String,
    pub model: String,
    pub status: String,
    pub upstream_status: String,
    pub progress: String,
    pub fail_reason: String,
    pub quota: Quota,
    /// The upstream's last report: an object, or nothing.
    pub said: String,
    pub created_at: UnixMs,
    pub finish_time: UnixMs,
}

/// A balance that fell below its owner's threshold.
#[derive(Debug, Serialize)]
pub(super) struct LowBalance {
    pub user_id: UserId,
    pub quota: Quota,
    pub threshold: Quota,
}

#[derive(Serialize)]
struct Message<D> {
    r#type: String,
    timestamp: String,
    data: D,
}

#[derive(Serialize)]
struct Data<'a> {
    id: TaskUid,
    task_id: &'a str,
    model: &'a str,
    status: &'a str,
    upstream_status: &'a str,
    progress: &'a str,
    error: Option<Cow<'a, RawValue>>,
    result: Option<&'a RawValue>,
    usage: Option<&'a RawValue>,
    quota: Quota,
    created_at: i64,
    finish_time: i64,
}

/// The event of a low balance.
pub(super) const LOW_BALANCE: &str = "balance.low";

/// The event of a trial, which its owner asked for.
pub(super) const TEST: &str = "webhook.test";

/// The event of a final status.
pub(super) fn event(status: &str) -> String {
    format!("task.{status}")
}

/// The id of a delivery, the same in every attempt: receivers recognise repetitions by it.
pub(super) fn message_id(uid: TaskUid, endpoint_id: i64) -> String {
    format!("msg_{}_{endpoint_id}", uid.0.simple())
}

/// The body. The upstream's report is embedded byte for byte.
pub(super) fn body(task: &EndedTaskRow) -> Result<Vec<u8>, serde_json::Error> {
    // The members of an element; of one that appears twice, the last.
    let said: HashMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(&task.said).unwrap_or_default();
    let member = |name: &str| said.get(name).copied().filter(|raw| raw.get() != "null");
    let error = match member("error") {
        Some(raw) => Some(Cow::Borrowed(raw)),
        None if task.fail_reason.is_empty() => None,
        None => Some(Cow::Owned(serde_json::value::to_raw_value(&task.fail_reason)?)),
    };
    serde_json::to_vec(&Message {
        r#type: event(&task.status),
        timestamp: iso8601(task.finish_time),
        data: Data {
            id: task.uid,
            task_id: &task.task_id,
            model: &task.model,
            status: &task.status,
            upstream_status: &task.upstream_status,
            progress: &task.progress,
            error,
            result: member("result"),
            usage: member("usage"),
            quota: task.quota,
            created_at: seconds(task.created_at),
            finish_time: seconds(task.finish_time),
        },
    })
}

/// The body of the event of a low balance.
pub(super) fn low_balance(seen_at: UnixMs, low: LowBalance) -> Result<Vec<u8>, serde_json::Error> {
    let r#type = LOW_BALANCE.to_owned();
    serde_json::to_vec(&Message { r#type, timestamp: iso8601(seen_at), data: low })
}

/// The body of a trial.
pub(super) fn test(asked_at: UnixMs, endpoint_id: i64) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Trial {
        webhook_id: i64,
    }
    let (r#type, data) = (TEST.to_owned(), Trial { webhook_id: endpoint_id });
    serde_json::to_vec(&Message { r#type, timestamp: iso8601(asked_at), data })
}

const fn seconds(instant: UnixMs) -> i64 {
    instant.0.div_euclid(1_000)
}

fn iso8601(instant: UnixMs) -> String {
    jiff::Timestamp::from_millisecond(instant.0).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: &str, said: &str) -> EndedTaskRow {
        EndedTaskRow {
            uid: TaskUid(uuid::Uuid::from_u128(7)),
            task_id: "up-1".to_owned(),
            model: "img/submit".to_owned(),
            status: status.to_owned(),
            upstream_status: "done".to_owned(),
            progress: "100%".to_owned(),
            fail_reason: String::new(),
            quota: Quota(40),
            said: said.to_owned(),
            created_at: UnixMs(1_700_000_000_500),
            finish_time: UnixMs(1_700_000_060_250),
        }
    }

    fn text(task: &EndedTaskRow) -> String {
        String::from_utf8(body(task).unwrap()).unwrap()
    }

    #[test]
    fn contains_everything() {
        let said = r#"{"task_id":"up-1","result":{"n": 12345678901234567890.50, "a":1,"a":2}}"#;
        assert_eq!(
            text(&ended("completed", said)),
            "{\"type\":\"task.completed\",\"timestamp\":\"2023-11-14T22:14:20.25Z\",\"data\":\
             {\"id\":\"00000000-0000-0000-0000-000000000007\",\"task_id\":\"up-1\",\
             \"model\":\"img/submit\",\"status\":\"completed\",\"upstream_status\":\"done\",\
             \"progress\":\"100%\",\"error\":null,\
             \"result\":{\"n\": 12345678901234567890.50, \"a\":1,\"a\":2},\"usage\":null,\
             \"quota\":40,\"created_at\":1700000000,\"finish_time\":1700000060}}"
        );
    }

    #[test]
    fn contains_the_balance() {
        let low = LowBalance { user_id: UserId(2), quota: Quota(-3), threshold: Quota(10) };
        assert_eq!(
            String::from_utf8(low_balance(UnixMs(1_700_000_060_250), low).unwrap()).unwrap(),
            "{\"type\":\"balance.low\",\"timestamp\":\"2023-11-14T22:14:20.25Z\",\
             \"data\":{\"user_id\":2,\"quota\":-3,\"threshold\":10}}"
        );
    }

    #[test]
    fn our_own_reason_is_used_where_the_upstream_gave_none() {
        let mut task = ended("failed", r#"{"error":{"code":7}}"#);
        task.fail_reason = "expired \"by us\"".to_owned();
        assert!(text(&task).contains(r#""error":{"code":7},"#));
        for said in ["", "[]", "{", r#"{"error":null}"#] {
            task.said = said.to_owned();
            assert!(text(&task).contains(r#""error":"expired \"by us\"","#), "{said}");
        }
    }

    #[test]
    fn a_repeated_or_strange_member_spoils_nothing() {
        let said = r#"{"status":1,"status":2,"result":[1],"result":[2],"us\u0061ge":{"x":1}}"#;
        let text = text(&ended("completed", said));
        assert!(text.contains(r#""result":[2],"usage":{"x":1}"#), "{text}");
    }

    #[test]
    fn a_message_keeps_its_name() {
        let uid = TaskUid(uuid::Uuid::from_u128(0xabc));
        assert_eq!(message_id(uid, 12), "msg_00000000000000000000000000000abc_12");
    }
}
