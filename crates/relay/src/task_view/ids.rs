//! The ids in the body of `list-by-condition`.

use super::paths::can_be_id;
use crate::faults;
use domain::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashSet;

/// Maximum number of ids in one request.
const MAX_IDS: usize = 1000;

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    task_ids: Vec<&'a RawValue>,
}

/// The requested ids, each once, in order. What can't be an id matches no task.
pub(super) fn read(body: &[u8]) -> Result<Vec<String>, Fault> {
    let asked: Asked<'_> = serde_json::from_slice(body).map_err(|_| {
        let zh = "请求体必须为 {\"task_ids\": [...]}";
        faults::invalid(zh, "the body must be {\"task_ids\": […]}")
    })?;
    if asked.task_ids.len() > MAX_IDS {
        let zh = format!("一次最多查询 {MAX_IDS} 个任务");
        return Err(faults::invalid(zh, format!("at most {MAX_IDS} ids at a time")));
    }
    let mut seen = HashSet::new();
    let mut ids = Vec::with_capacity(asked.task_ids.len());
    for raw in asked.task_ids {
        let id = text_of(raw).ok_or_else(|| {
            faults::invalid("task_ids 只能包含字符串或数字", "task_ids holds strings or numbers")
        })?;
        if can_be_id(&id) && seen.insert(id.clone()) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// A string's text, or a number's digits as they were written.
pub(super) fn text_of(raw: &RawValue) -> Option<String> {
    match raw.get().as_bytes().first()? {
        b'"' => serde_json::from_str(raw.get()).ok(),
        b'-' | b'0'..=b'9' => Some(raw.get().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_numbers_each_once_in_order() {
        let body = br#"{"other":1,"task_ids":["b",7,"a","7","\u0062",12345678901234567890123]}"#;
        assert_eq!(read(body).unwrap(), ["b", "7", "a", "12345678901234567890123"]);
        assert_eq!(read(br#"{"task_ids":[]}"#).unwrap(), [""; 0]);
        // Such ids match no task, and would be an error in the database.
        assert_eq!(read(br#"{"task_ids":["","a\u0000b","x"]}"#).unwrap(), ["x"]);
        let long = format!(r#"{{"task_ids":["{}"]}}"#, "x".repeat(256));
        assert_eq!(read(long.as_bytes()).unwrap(), [""; 0]);
    }

    #[test]
    fn anything_else_is_refused() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"task_ids":"a"}"#,
            r#"{"task_ids":[null]}"#,
            r#"{"task_ids":[["a"]]}"#,
            r#"{"task_ids":[true]}"#,
            r#"{"task_ids":["a"]"#,
        ] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
        let many = |count| format!(r#"{{"task_ids":[{}]}}"#, vec!["1"; count].join(","));
        assert!(read(many(1000).as_bytes()).is_ok());
        assert!(read(many(1001).as_bytes()).is_err());
    }
}
