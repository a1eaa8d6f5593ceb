//! Parses the paths of calls about tasks.

use crate::faults;
use domain::{Fault, ModelName, submission_of};
use http::Method;

/// Longest id of a task that is looked up.
pub(super) const MAX_ID_CHARS: usize = 255;
const TASK: &str = "task";
const LIST: &str = "list-by-condition";
const FETCH: &str = "fetch";
const EVENTS: &str = "events";

/// A call about tasks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TaskCall {
    /// Some of a model's tasks; the body has their ids.
    List { model: String },
    /// One task.
    One(TaskPath),
    /// One task, and its changes.
    Events(TaskPath),
    /// A page of all tasks.
    Page,
}

impl TaskCall {
    /// The model that its path names.
    pub(crate) fn model(&self) -> Option<&str> {
        match self {
            Self::List { model } => Some(model),
            Self::One(path) | Self::Events(path) => path.model.as_deref(),
            Self::Page => None,
        }
    }

    /// The pattern that its paths match.
    pub(crate) const fn route(&self) -> &'static str {
        match self {
            Self::List { .. } => "/pass/{model}/task/list-by-condition",
            Self::One(TaskPath { model: Some(_), .. }) => "/pass/{model}/task/{id}",
            Self::Events(TaskPath { model: Some(_), .. }) => "/pass/{model}/task/{id}/events",
            Self::One(_) => "/v1/tasks/{id}",
            Self::Events(_) => "/v1/tasks/{id}/events",
            Self::Page => "/v1/tasks",
        }
    }
}

/// The task that a path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TaskPath {
    /// Its model, where the path names it.
    pub(super) model: Option<String>,
    /// The upstream's id, or, where the path names no model, ours.
    pub(super) id: String,
}

/// Whether a text can be the id of a task.
pub(super) fn can_be_id(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= MAX_ID_CHARS && !text.chars().any(char::is_control)
}

/// Parses a raw path under `/pass/`. `None`: it is not about tasks. A model that is configured with
/// exactly this name stays reachable.
pub(crate) fn under_pass(
    method: &Method,
    raw: &str,
    is_model: impl Fn(&str) -> bool,
) -> Result<Option<TaskCall>, Fault> {
    let Some((base, place)) = split(raw) else { return Ok(None) };
    if upstream::decode_model_path(raw).is_ok_and(|name| is_model(name.as_str())) {
        return Ok(None);
    }
    let base = upstream::decode_model_path(base).map_err(crate::surface::bad_path)?;
    let model = submission_of(base.as_str());
    ModelName::parse(&model).map_err(|e| crate::surface::bad_path(e.into()))?;
    let call = match place {
        Place::List if *method == Method::POST => return Ok(Some(TaskCall::List { model })),
        Place::List => return Err(faults::method_not_allowed("POST")),
        Place::One(id) => TaskCall::One(wanted(Some(model), id)?),
        Place::Events(id) => TaskCall::Events(wanted(Some(model), id)?),
    };
    if is_reading(method) { Ok(Some(call)) } else { Err(faults::method_not_allowed("GET, HEAD")) }
}

/// Parses a raw path under `/v1/`. Other paths go to an upstream, as everywhere under `/v1`.
pub(crate) fn under_v1(method: &Method, raw: &str) -> Result<Option<TaskCall>, Fault> {
    let raw = raw.strip_suffix('/').unwrap_or(raw);
    if !is_reading(method) {
        return Ok(None);
    }
    if raw == "tasks" {
        return Ok(Some(TaskCall::Page));
    }
    let Some(rest) = raw.strip_prefix("tasks/") else { return Ok(None) };
    match rest.split_once('/') {
        None => Ok(Some(TaskCall::One(wanted(None, rest)?))),
        Some((id, EVENTS)) => Ok(Some(TaskCall::Events(wanted(None, id)?))),
        Some(_) => Ok(None),
    }
}

fn is_reading(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// What follows the base.
enum Place<'a> {
    List,
    One(&'a str),
    Events(&'a str),
}

/// Splits `{base}/task/{place}` at literal slashes: an id may contain encoded ones.
fn split(raw: &str) -> Option<(&str, Place<'_>)> {
    let (head, last) = raw.rsplit_once('/')?;
    if matches!(last, FETCH | EVENTS)
        && let Some((base, id)) = head.rsplit_once('/').and_then(|(b, id)| Some((base_of(b)?, id)))
    {
        return Some((base, if last == EVENTS { Place::Events(id) } else { Place::One(id) }));
    }
    let place = if last == LIST { Place::List } else { Place::One(last) };
    base_of(head).map(|base| (base, place))
}

/// `{base}/task`
fn base_of(head: &str) -> Option<&str> {
    let (base, task) = head.rsplit_once('/')?;
    (task == TASK && !base.is_empty()).then_some(base)
}

fn wanted(model: Option<String>, raw: &str) -> Result<TaskPath, Fault> {
    let id = upstream::percent_decoded(raw).map_err(crate::surface::bad_path)?;
    if !can_be_id(&id) {
        let zh = "任务 ID 必须为 1 到 255 个字符, 不含控制字符";
        let en = "a task's id has 1 to 255 characters, none of them a control character";
        return Err(faults::invalid(zh, en));
    }
    Ok(TaskPath { model, id: id.into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(method: &Method, raw: &str) -> String {
        let read = under_pass(method, raw, |name| name == "org/task/7");
        read.map_or_else(|fault| format!("{:?}", fault.kind), |call| format!("{call:?}"))
    }

    fn of(model: &str, id: &str) -> TaskPath {
        TaskPath { model: Some(model.to_owned()), id: id.to_owned() }
    }

    #[test]
    fn paths_that_name_tasks() {
        let one = |model, id| format!("{:?}", Some(TaskCall::One(of(model, id))));
        let events = |model, id| format!("{:?}", Some(TaskCall::Events(of(model, id))));
        for (raw, meaning) in [
            ("img/task/7", one("img/submit", "7")),
            ("a/b/task/7/fetch", one("a/b/submit", "7")),
            ("a%2Fb/task/x%2Fy%20z", one("a/b/submit", "x/y z")),
            ("img/task/7/events", events("img/submit", "7")),
            // The last position that makes sense is the one that is meant.
            ("img/task/task/fetch", one("img/submit", "task")),
            ("img/task/events", one("img/submit", "events")),
            ("task/task/7", one("task/submit", "7")),
        ] {
            assert_eq!(pass(&Method::GET, raw), meaning, "{raw}");
            assert_eq!(pass(&Method::HEAD, raw), meaning, "{raw}");
            assert_eq!(pass(&Method::POST, raw), "MethodNotAllowed", "{raw}");
        }
        let list = Some(TaskCall::List { model: "a/b/submit".to_owned() });
        assert_eq!(pass(&Method::POST, "a/b/task/list-by-condition"), format!("{list:?}"));
        assert_eq!(pass(&Method::GET, "a/b/task/list-by-condition"), "MethodNotAllowed");
    }

    #[test]
    fn paths_that_do_not() {
        for raw in ["img", "img/submit", "task/7", "/task/7", "img/tasks/7", "img/task/7/cancel"] {
            assert_eq!(pass(&Method::GET, raw), "None", "{raw}");
        }
        // The operator's own name takes precedence.
        assert_eq!(pass(&Method::GET, "org/task/7"), "None");
        assert_eq!(pass(&Method::POST, "org/task/7"), "None");
        for raw in ["img/task/", "img/task/%", "img/task/%00", "a/../b/task/7", "a//task/7"] {
            assert_eq!(pass(&Method::GET, raw), "InvalidRequest", "{raw}");
        }
        let long = |chars| format!("img/task/{}", "x".repeat(chars));
        assert_eq!(pass(&Method::GET, &long(256)), "InvalidRequest");
        assert!(pass(&Method::GET, &long(255)).contains("One"));
        // With its suffix the model's name would be too long to exist.
        let base = format!("{}/task/7", "x".repeat(195));
        assert_eq!(pass(&Method::GET, &base), "InvalidRequest");
    }

    #[test]
    fn paths_over_all_models() {
        let read = |method, raw| under_v1(&method, raw).map_err(|fault| fault.kind);
        let any = |id: &str| TaskPath { model: None, id: id.to_owned() };
        assert_eq!(read(Method::GET, "tasks"), Ok(Some(TaskCall::Page)));
        assert_eq!(read(Method::HEAD, "tasks/"), Ok(Some(TaskCall::Page)));
        assert_eq!(read(Method::GET, "tasks/a%2Fb"), Ok(Some(TaskCall::One(any("a/b")))));
        assert_eq!(read(Method::GET, "tasks/7/events"), Ok(Some(TaskCall::Events(any("7")))));
        for raw in ["tasks/7/cancel", "taskset", "chat/completions"] {
            assert_eq!(read(Method::GET, raw), Ok(None), "{raw}");
        }
        assert_eq!(read(Method::POST, "tasks"), Ok(None));
        assert!(read(Method::GET, "tasks/%0a").is_err());
    }
}
