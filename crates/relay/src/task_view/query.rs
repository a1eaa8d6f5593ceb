//! The query parameters of calls about tasks.

use crate::faults;
use domain::{Fault, ModelName, TaskStatus, submission_of};
use std::borrow::Cow;
use std::time::Duration;
use uuid::Uuid;

/// The longest time that a response is held; a longer request is capped.
const MAX_WAIT_S: u64 = 60;
const DEFAULT_PAGE: usize = 20;
const MAX_PAGE: usize = 100;

/// The requested page of all tasks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageQuery {
    pub limit: usize,
    /// Continues after this task.
    pub after: Option<Uuid>,
    pub status: Option<TaskStatus>,
    pub model: Option<String>,
}

impl PageQuery {
    pub(super) fn read(query: Option<&str>) -> Result<Self, Fault> {
        let mut page = Self { limit: DEFAULT_PAGE, after: None, status: None, model: None };
        for (name, value) in pairs(query) {
            let value = || text(name, value);
            match name {
                "limit" => page.limit = limit(&value()?)?,
                "after" => {
                    let uid = Uuid::parse_str(&value()?);
                    page.after = Some(uid.map_err(|_| faults::bad_parameter(name, "a task's id"))?);
                }
                "status" => page.status = Some(status(&value()?)?),
                "model" => page.model = Some(model(&value()?)?),
                _ => {}
            }
        }
        Ok(page)
    }
}

/// How long the response may be held.
pub(super) fn wait(query: Option<&str>) -> Result<Duration, Fault> {
    let mut wait = Duration::ZERO;
    for (name, value) in pairs(query) {
        if name == "wait" {
            let seconds = text(name, value)?.parse::<u64>();
            let seconds =
                seconds.map_err(|_| faults::bad_parameter(name, "a whole number of seconds"))?;
            wait = Duration::from_secs(seconds.min(MAX_WAIT_S));
        }
    }
    Ok(wait)
}

/// Non-empty parameters, as they were received.
fn pairs(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(_, value)| !value.is_empty())
}

fn text(name: &str, raw: &str) -> Result<String, Fault> {
    let spaced = if raw.contains('+') { Cow::from(raw.replace('+', " ")) } else { raw.into() };
    let text = upstream::percent_decoded(&spaced).map(Cow::into_owned);
    text.map_err(|_| faults::bad_parameter(name, "percent-encoded text"))
}

fn limit(text: &str) -> Result<usize, Fault> {
    let limit = text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
    limit.ok_or_else(|| faults::bad_parameter("limit", "a number from 1 to 100"))
}

fn status(text: &str) -> Result<TaskStatus, Fault> {
    TaskStatus::parse(text).ok_or_else(|| {
        let words = TaskStatus::ALL.map(TaskStatus::as_str).join(", ");
        faults::bad_parameter("status", &format!("one of {words}"))
    })
}

/// A model, with or without its `/submit`.
fn model(text: &str) -> Result<String, Fault> {
    let bad = |_| faults::bad_parameter("model", "the name of a model");
    let name = ModelName::parse(text).map_err(bad)?;
    Ok(if name.is_submission() { text.to_owned() } else { submission_of(text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let uid = "018f5b2e-1111-7000-8000-000000000001";
        let read = PageQuery::read(Some(&format!(
            "limit=100&after={uid}&status=failed&model=a%2Fb+c&other=%&limit="
        )));
        let page = PageQuery {
            limit: 100,
            after: Some(uid.parse().unwrap()),
            status: Some(TaskStatus::Failed),
            model: Some("a/b c/submit".to_owned()),
        };
        assert_eq!(read.unwrap(), page);
        assert_eq!(PageQuery::read(None).unwrap().limit, 20);
        assert_eq!(PageQuery::read(Some("model=m/submit")).unwrap().model.unwrap(), "m/submit");
        for bad in ["limit=0", "limit=101", "limit=x", "after=x", "status=done", "model=%00"] {
            assert!(PageQuery::read(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn waits() {
        let seconds = |query| wait(Some(query)).map(|wait| wait.as_secs()).ok();
        assert_eq!(wait(None).unwrap(), Duration::ZERO);
        for (query, read) in [
            ("wait=20", Some(20)),
            ("a=b&wait=0", Some(0)),
            ("wait=3600", Some(60)),
            ("wait=", Some(0)),
            ("wait=-1", None),
            ("wait=1.5", None),
            ("wait=soon", None),
        ] {
            assert_eq!(seconds(query), read, "{query}");
        }
    }
}
