//! A task as its owner sees it: the upstream's last report, byte for byte, with the members that
//! are ours replaced.

use super::ids::text_of;
use super::rows::OwnTask;
use domain::{TaskStatus, UnixMs};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use store::Sealer;

/// Members that are always the upstream's own.
const RESULT: &str = "result";
const USAGE: &str = "usage";
/// Members that are ours.
const OURS: [&str; 12] = [
    "task_id",
    "status",
    "upstream_status",
    "progress",
    "error",
    RESULT,
    USAGE,
    "created_at",
    "updated_at",
    "finish_time",
    "model",
    "quota",
];
/// Also ours where tasks are addressed by our id.
const OURS_BY_UID: [&str; 2] = ["id", "object"];

/// Space for the members that are ours.
const OUR_BYTES: usize = 512;

/// Which id addresses tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdShape {
    /// The upstream's, as in its own replies.
    Upstream,
    /// Ours, as in OpenAI's lists.
    Uid,
}

/// The upstream's last report of a task: the members of a JSON object, as they were written.
type Said<'a> = BTreeMap<String, &'a RawValue>;

/// The JSON text of a task.
pub(super) fn element(
    mut row: OwnTask,
    shape: IdShape,
    sealer: &Sealer,
) -> serde_json::Result<Vec<u8>> {
    let opened = open(&row, sealer);
    row.data = None;
    let said = serde_json::from_slice(&opened).unwrap_or_default();
    // Grown step by step, a large one would take twice its size.
    let mut json = Vec::with_capacity(opened.len().saturating_add(OUR_BYTES));
    serde_json::to_writer(&mut json, &Element { row: &row, shape, said })?;
    Ok(json)
}

/// The stored report of the upstream; empty where it can't be opened.
fn open(row: &OwnTask, sealer: &Sealer) -> Vec<u8> {
    let data = row.data.as_deref().unwrap_or_default();
    if data.is_empty() {
        return Vec::new();
    }
    sealer.open(store::TASK_DATA, data).unwrap_or_else(|error| {
        tracing::warn!(target: "custompass", event = "task_unreadable", task = %row.uid, %error);
        Vec::new()
    })
}

struct Element<'a> {
    row: &'a OwnTask,
    shape: IdShape,
    said: Said<'a>,
}

impl Element<'_> {
    fn said(&self, name: &str) -> Option<&RawValue> {
        self.said.get(name).copied().filter(|value| value.get() != "null")
    }

    /// Our own members, where the upstream has reported nothing.
    fn said_or<'a>(&'a self, name: &str, ours: &'a str) -> Words<'a> {
        match self.said(name) {
            Some(said) => Words::Said(said),
            None if ours.is_empty() => Words::Nothing,
            None => Words::Ours(ours),
        }
    }

    /// The upstream's id as it wrote it, a string or a number.
    fn task_id(&self) -> Words<'_> {
        let id = self.row.task_id.as_str();
        match self.said("task_id") {
            Some(said) if text_of(said).as_deref() == Some(id) => Words::Said(said),
            _ if id.is_empty() => Words::Nothing,
            _ => Words::Ours(id),
        }
    }

    fn error(&self) -> Words<'_> {
        let failed = self.row.status == TaskStatus::Failed;
        self.said_or("error", if failed { &self.row.fail_reason } else { "" })
    }

    fn is_ours(&self, name: &str) -> bool {
        OURS.contains(&name) || (self.shape == IdShape::Uid && OURS_BY_UID.contains(&name))
    }
}

/// A text about a task, and who wrote it.
enum Words<'a> {
    Said(&'a RawValue),
    Ours(&'a str),
    Nothing,
}

impl Serialize for Words<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Said(raw) => raw.serialize(serializer),
            Self::Ours(text) => serializer.serialize_str(text),
            Self::Nothing => serializer.serialize_none(),
        }
    }
}

const fn seconds(at: UnixMs) -> i64 {
    at.0.div_euclid(1_000)
}

impl Serialize for Element<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.row;
        let mut map = serializer.serialize_map(None)?;
        if self.shape == IdShape::Uid {
            map.serialize_entry("id", &row.uid.0)?;
            map.serialize_entry("object", "task")?;
        }
        map.serialize_entry("task_id", &self.task_id())?;
        map.serialize_entry("status", row.status.as_str())?;
        map.serialize_entry("upstream_status", &row.upstream_status)?;
        map.serialize_entry("progress", &self.said_or("progress", &row.progress))?;
        map.serialize_entry("error", &self.error())?;
        map.serialize_entry(RESULT, &self.said(RESULT))?;
        map.serialize_entry(USAGE, &self.said(USAGE))?;
        map.serialize_entry("created_at", &seconds(row.created_at))?;
        map.serialize_entry("updated_at", &seconds(row.updated_at))?;
        if let Some(at) = row.finish_time {
            map.serialize_entry("finish_time", &seconds(at))?;
        }
        map.serialize_entry("model", &row.model)?;
        map.serialize_entry("quota", &row.quota)?;
        for (name, value) in self.said.iter().filter(|(name, _)| !self.is_ours(name)) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Quota, TaskUid};
    use uuid::Uuid;

    fn row(task_id: &str, status: TaskStatus) -> OwnTask {
        OwnTask {
            id: 1,
            uid: TaskUid(Uuid::from_u128(1)),
            task_id: task_id.to_owned(),
            model: "img/submit".to_owned(),
            status,
            upstream_status: "DONE".to_owned(),
            progress: "50%".to_owned(),
            fail_reason: "too old".to_owned(),
            quota: Quota(7),
            data_bytes: 0,
            data: Some(String::new()),
            version: 3,
            created_at: UnixMs(1_999),
            updated_at: UnixMs(2_000),
            finish_time: status.is_final().then_some(UnixMs(3_500)),
        }
    }

    fn shown(mut row: OwnTask, said: &str, shape: IdShape) -> String {
        let sealer = Sealer::new(b"secret");
        if !said.is_empty() {
            row.data = sealer.seal(store::TASK_DATA, said.as_bytes()).ok();
        }
        String::from_utf8(element(row, shape, &sealer).unwrap()).unwrap()
    }

    #[test]
    fn the_upstream_s_bytes_survive() {
        let said = r#"{"task_id":42,"status":"DONE","progress":0.10,"error":null,
            "result":{"seed":12345678901234567890123,"x":1.0e-7, "y":-0.0},"usage":{"cost":0.30},
            "id":"theirs","extra":[1.50],"model":"other","quota":1,"extra":[2.50]}"#;
        let text = shown(row("42", TaskStatus::Completed), said, IdShape::Upstream);
        assert_eq!(
            text,
            r#"{"task_id":42,"status":"completed","upstream_status":"DONE","progress":0.10,"#
                .to_owned()
                + r#""error":null,"result":{"seed":12345678901234567890123,"x":1.0e-7, "y":-0.0},"#
                + r#""usage":{"cost":0.30},"created_at":1,"updated_at":2,"finish_time":3,"#
                + r#""model":"img/submit","quota":7,"extra":[2.50],"id":"theirs"}"#
        );
    }

    #[test]
    fn where_nothing_was_said_our_words_stand() {
        let text = shown(row("42", TaskStatus::Failed), "", IdShape::Uid);
        assert_eq!(
            text,
            r#"{"id":"00000000-0000-0000-0000-000000000001","object":"task","task_id":"42","#
                .to_owned()
                + r#""status":"failed","upstream_status":"DONE","progress":"50%","#
                + r#""error":"too old","result":null,"usage":null,"created_at":1,"updated_at":2,"#
                + r#""finish_time":3,"model":"img/submit","quota":7}"#
        );
        let said = r#"{"error":"theirs","id":"theirs"}"#;
        let text = shown(row("42", TaskStatus::Failed), said, IdShape::Uid);
        assert!(text.contains(r#""error":"theirs""#) && text.ends_with(r#""quota":7}"#), "{text}");
    }

    #[test]
    fn ids_come_from_the_row() {
        let id_of = |id: &str, said: &str| {
            let text = shown(row(id, TaskStatus::Processing), said, IdShape::Upstream);
            text.split_once(r#","status""#).unwrap().0.to_owned()
        };
        assert_eq!(id_of("a", r#"{"task_id":"\u0061"}"#), r#"{"task_id":"\u0061""#);
        assert_eq!(id_of("7", r#"{"task_id":"7"}"#), r#"{"task_id":"7""#);
        assert_eq!(id_of("7", r#"{"task_id":8}"#), r#"{"task_id":"7""#);
        assert_eq!(id_of("7", r#"{"task_id":[7]}"#), r#"{"task_id":"7""#);
        assert_eq!(id_of("", "{}"), r#"{"task_id":null"#);
    }

    #[test]
    fn what_can_t_be_read_is_as_if_it_was_not_said() {
        let plain = shown(row("7", TaskStatus::Processing), "", IdShape::Upstream);
        for said in ["[1]", "{\"result\":", "text", "\u{0}"] {
            assert_eq!(shown(row("7", TaskStatus::Processing), said, IdShape::Upstream), plain);
        }
        let sealed_by_another = OwnTask {
            data: Sealer::new(b"other").seal(store::TASK_DATA, b"{}").ok(),
            ..row("7", TaskStatus::Processing)
        };
        let text = element(sealed_by_another, IdShape::Upstream, &Sealer::new(b"secret")).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), plain);
    }
}
