//! Reading the replies of an upstream about its tasks.

use crate::document::TaskWords;
use crate::pointer::{Pointer, Segment};
use crate::program::{PointerProgram, TextRole};
use crate::reading::{ReplyHead, ReplyReader, is_empty};
use crate::rules::{MeterReports, Rules, UsageRules};
use crate::walk::JsonWalker;
use domain::{Meter, Meters, TaskStatus};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest id of a task, in characters.
const MAX_ID: usize = 255;
/// Most tasks that are read of one reply.
const MAX_TASKS: usize = 10_000;

/// What is encoded in several segments of a path, and in one.
const SEGMENTS: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'/');
const SEGMENT: &AsciiSet = &SEGMENTS.add(b'/').add(b':');

/// The request of a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRequest {
    /// The method.
    pub method: String,
    /// The path, perhaps with a query. `{id}` is the task's id, `{+id}` the same with its slashes,
    /// `{path}` the path that it was submitted to, `{model}` its model, `{base}` the model without
    /// `/submit`, `{app}` the first two segments of the model.
    pub path: String,
    /// The body, with `{id}` or `{ids}`.
    pub body: Option<String>,
}

/// How the tasks of a vendor are polled and read.
#[derive(Debug)]
pub struct TaskRules {
    pub(crate) program: PointerProgram,
    pub(crate) usage: UsageRules,
    /// The number of the test for a failed task.
    pub(crate) fails: u8,
    pub(crate) words: TaskWords,
    /// Meters that are all 0 in the report about a completed task that made nothing.
    pub(crate) empty: Vec<Meter>,
    /// How one or several tasks are polled.
    pub ask: TaskRequest,
    /// The maximum number of tasks in one poll.
    pub batch: u16,
    pub(crate) each: Option<Pointer>,
    /// How a file of the result is fetched, where it is not at an address of its own.
    pub fetch: Option<TaskRequest>,
    /// How a task is cancelled.
    pub cancel: Option<TaskRequest>,
    /// Statuses by which a task that was cancelled, and is asked about, is gone.
    pub gone: Vec<u16>,
    /// Where a completed task's use is counted, which its report does not say.
    pub count: Option<TaskCount>,
    /// How long one may take, where that is longer than tasks usually do.
    pub lifetime_ms: Option<u64>,
}

/// Lines that count a completed task's use.
#[derive(Debug)]
pub struct TaskCount {
    /// How they are fetched.
    pub request: TaskRequest,
    pub(crate) rules: Arc<Rules>,
}

impl TaskCount {
    /// A reader of the lines, whose meters are the sum of theirs.
    #[must_use]
    pub fn reader(&self) -> ReplyReader {
        let head = ReplyHead { status: 200, content_type: Some("application/x-ndjson") };
        ReplyReader::with_rules(Arc::clone(&self.rules), head)
    }
}

/// What a reply reports about one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskReading {
    /// Its id; exact, also where it is a number.
    pub id: Option<String>,
    /// The vendor writes the id as a number.
    pub id_is_number: bool,
    /// The vendor's word for where it stands.
    pub word: String,
    /// What the word means.
    pub status: TaskStatus,
    /// How far it is, in the vendor's words.
    pub progress: String,
    /// Why it failed, in the vendor's words.
    pub reason: String,
    /// Where its results stand.
    pub results: Vec<String>,
    /// What it counted.
    pub meters: Meters,
    /// It reports that nothing was made.
    pub made_nothing: bool,
}

impl TaskRequest {
    /// The path for one task. The id and the model are encoded where they have to be.
    #[must_use]
    pub fn path_for(&self, id: &str, model: &str, submitted: &str) -> String {
        let model = utf8_percent_encode(model, SEGMENTS).to_string();
        let base = model.strip_suffix("/submit").unwrap_or(&model);
        // One that would climb in a path is a single segment of it.
        let climbs = id.split('/').any(|part| part.chars().all(|c| c == '.'));
        let whole = utf8_percent_encode(id, if climbs { SEGMENT } else { SEGMENTS }).to_string();
        let id = utf8_percent_encode(id, SEGMENT).to_string();
        fill(&self.path, |name| match name {
            "id" => Some(&id),
            "+id" => Some(&whole),
            "path" => Some(submitted),
            "base" => Some(base),
            "app" => Some(app_of(&model)),
            "model" => Some(&model),
            _ => None,
        })
    }

    /// The body for these tasks, as JSON. Ids are texts; where the vendor writes its own as
    /// numbers, those that can be are numbers.
    #[must_use]
    pub fn body_for(&self, ids: &[&str], as_numbers: bool) -> Option<String> {
        let body = self.body.as_ref()?;
        let written: Vec<String> = ids
            .iter()
            .map(|id| match as_numbers && may_be_number(id) {
                true => (*id).to_owned(),
                false => serde_json::Value::from(*id).to_string(),
            })
            .collect();
        let all = format!("[{}]", written.join(","));
        let one = within_quotes(ids.first().copied().unwrap_or_default());
        Some(fill(body, |name| match name {
            "ids" => Some(&all),
            "id" => Some(&one),
            _ => None,
        }))
    }
}

/// A text as it stands in JSON, within the quotes that a template has.
pub(crate) fn within_quotes(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let within = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    within.unwrap_or(&quoted).to_owned()
}

/// The first two segments of a model.
pub(crate) fn app_of(model: &str) -> &str {
    let end = model.match_indices('/').nth(1).map_or(model.len(), |(at, _)| at);
    &model[..end]
}

/// The template with each `{name}` that has a value replaced, in one pass: what is put in is not
/// looked at again.
pub(crate) fn fill<'a>(template: &str, value: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut filled = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        filled.push_str(before);
        let end = from.find('}');
        match end.and_then(|end| Some((end, value(&from[1..end])?))) {
            Some((end, text)) => {
                filled.push_str(text);
                rest = &from[end + 1..];
            }
            None => {
                filled.push('{');
                rest = &from[1..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// Whether an id, kept as text, may have been a number.
fn may_be_number(id: &str) -> bool {
    id.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && !id.ends_with(char::is_whitespace)
        && serde_json::from_str::<&RawValue>(id).is_ok()
}

impl TaskRules {
    /// Reads a reply to a submission, or to a poll of one task.
    #[must_use]
    pub fn read_one(&self, body: &[u8]) -> TaskReading {
        let mut walker = JsonWalker::new(&self.program);
        walker.feed(&self.program, body);
        walker.finish(&self.program);
        let found = &walker.found;
        let first = |what| found.texts(&self.program, what).next().unwrap_or_default().to_owned();
        let mut reports = MeterReports::default();
        reports.add(&self.usage, &self.program, found);
        let (id, word) = (first(TextRole::Task), first(TextRole::Status));
        // One of dots alone would climb in a path.
        let fits = (1..=MAX_ID).contains(&id.chars().count())
            && !id.chars().any(char::is_control)
            && !id.chars().all(|c| c == '.');
        let failed = found.tests >> self.fails & 1 == 1;
        let mut ids = found.kept_as(&self.program, TextRole::Task);
        let (meters, _) = reports.settle(&self.usage);
        TaskReading {
            id_is_number: fits && ids.next().is_some_and(|id| id.is_number),
            id: fits.then_some(id),
            status: if failed { TaskStatus::Failed } else { self.status(&word) },
            word,
            progress: first(TextRole::Progress),
            reason: first(TextRole::Reason),
            results: found.texts(&self.program, TextRole::Result).map(str::to_owned).collect(),
            made_nothing: is_empty(&self.empty, &meters, false),
            meters,
        }
    }

    /// Whether a reply to a poll may contain several tasks.
    #[must_use]
    pub fn has_several(&self) -> bool {
        self.each.is_some()
    }

    /// The parts of a reply that report one task each; none: it is not what the document says.
    #[must_use]
    pub fn parts<'a>(&self, body: &'a [u8]) -> Option<Vec<&'a [u8]>> {
        let Some(each) = &self.each else { return Some(vec![body]) };
        let elements = elements(body, each)?.into_iter().take(MAX_TASKS);
        Some(elements.map(|raw| raw.get().as_bytes()).collect())
    }

    /// Reads a reply that may contain several tasks.
    #[must_use]
    pub fn read_all(&self, body: &[u8]) -> Vec<TaskReading> {
        let parts = self.parts(body).unwrap_or_default();
        parts.into_iter().map(|part| self.read_one(part)).collect()
    }

    /// What a vendor's word means.
    #[must_use]
    pub fn status(&self, word: &str) -> TaskStatus {
        let TaskWords { submitted, processing, completed, failed } = &self.words;
        let on = |list: &[String]| list.iter().any(|it| it.eq_ignore_ascii_case(word.trim()));
        match () {
            () if on(completed) => TaskStatus::Completed,
            () if on(failed) => TaskStatus::Failed,
            () if on(processing) => TaskStatus::Processing,
            () if on(submitted) => TaskStatus::Submitted,
            () => TaskStatus::Unknown,
        }
    }
}

/// The value at a pointer of names.
pub(crate) fn at<'a>(body: &'a [u8], pointer: &Pointer) -> Option<&'a RawValue> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut raw: &RawValue = serde_json::from_slice(body).ok()?;
    for segment in pointer.segments() {
        let Segment::Name(name) = segment else { return None };
        let members: BTreeMap<std::borrow::Cow<'a, str>, &RawValue> =
            serde_json::from_str(raw.get()).ok()?;
        raw = members.get(&**name).copied()?;
    }
    Some(raw)
}

/// The elements of the array, or the members of the object, that stands at `each`.
fn elements<'a>(body: &'a [u8], each: &Pointer) -> Option<Vec<&'a RawValue>> {
    let raw = at(body, each)?;
    if raw.get().starts_with('[') {
        return serde_json::from_str(raw.get()).ok();
    }
    let members: BTreeMap<std::borrow::Cow<'a, str>, &RawValue> =
        serde_json::from_str(raw.get()).ok()?;
    Some(members.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, body: Option<&str>) -> TaskRequest {
        TaskRequest { method: "GET".into(), path: path.into(), body: body.map(Into::into) }
    }

    #[test]
    fn a_path_is_filled_in_and_encoded() {
        let path = |template: &str, id: &str, model: &str| {
            request(template, None).path_for(id, model, "/v1/videos/text2video")
        };
        assert_eq!(path("/v1/tasks/{id}", "a/../b?c", "m"), "/v1/tasks/a%2F..%2Fb%3Fc");
        assert_eq!(path("{path}/{id}", "7", "m"), "/v1/videos/text2video/7");
        assert_eq!(path("/{base}/task/list", "", "org/film/submit"), "/org/film/task/list");
        assert_eq!(path("/{app}/requests/{id}", "7", "fal-ai/flux/dev"), "/fal-ai/flux/requests/7");
        assert_eq!(path("/{model}/x", "", "a b/c?d"), "/a%20b/c%3Fd/x");
        let operation = "models/veo/operations/7:x";
        assert_eq!(path("/v1/{+id}", operation, "m"), "/v1/models/veo/operations/7:x");
        for climbing in ["a/../b", "/a", "a/", "./a"] {
            assert!(!path("/v1/{+id}", climbing, "m")[4..].contains('/'), "{climbing}");
        }
        // What is put in is not read again.
        assert_eq!(path("/v1/{id}", "{model}", "m"), "/v1/%7Bmodel%7D");
    }

    #[test]
    fn ids_go_back_as_they_came() {
        let body = |numbers| {
            let ids = ["a-1", "12", "0012", "1e3", "x\"y", "99999999999999999999"];
            request("/x", Some("{\"task_ids\":{ids}}")).body_for(&ids, numbers).unwrap()
        };
        let texts = r#"{"task_ids":["a-1","12","0012","1e3","x\"y","99999999999999999999"]}"#;
        assert_eq!(body(false), texts);
        let numbers = r#"{"task_ids":["a-1",12,"0012",1e3,"x\"y",99999999999999999999]}"#;
        assert_eq!(body(true), numbers);
        let one = request("/x", Some("{\"id\":\"{id}\"}"));
        assert_eq!(one.body_for(&["a\"b\""], false).unwrap(), r#"{"id":"a\"b\""}"#);
        assert_eq!(one.body_for(&["{id}"], false).unwrap(), r#"{"id":"{id}"}"#);
        assert_eq!(request("/x", None).body_for(&["a"], false), None);
    }
}
