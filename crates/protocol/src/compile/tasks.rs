//! How the tasks of a vendor are polled and read.

use super::problems::ProblemList;
use super::replies::{keep, pointers};
use super::{MAX_LIST, MAX_WORD};
use crate::document::{AskSection, Document, TaskSection, TaskWord, TaskWords};
use crate::pointer::{Pointer, Segment};
use crate::program::{TestRule, TextRole};
use crate::program_builder::ProgramBuilder;
use crate::route::ProtocolRoute;
use crate::task::{TaskCount, TaskRequest, TaskRules};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Maximum length of the body of a poll.
const MAX_BODY: usize = 1000;
/// Maximum number of tasks in one poll.
const MAX_BATCH: u16 = 1000;
/// The longest that a document may say a task takes, in hours.
const MAX_HOURS: u32 = 24 * 31;
const HOUR_MS: u64 = 3_600_000;

/// The tasks of a document that have a name.
pub(super) type TaskKinds = BTreeMap<String, Arc<TaskRules>>;

/// The rules of tasks that have a name.
pub(super) fn kinds(document: &Document, found: &mut ProblemList) -> TaskKinds {
    let mut kinds = TaskKinds::new();
    for (name, section) in document.tasks.iter().flatten().take(MAX_LIST) {
        let place = format!("tasks.{name}");
        if let Some(rules) = rules(document, (&place, section), found) {
            kinds.insert(name.clone(), Arc::new(rules));
        }
    }
    if document.tasks.as_ref().is_some_and(|tasks| tasks.len() > MAX_LIST) {
        found.at("tasks", format!("has more than {MAX_LIST} kinds of tasks"));
    }
    kinds
}

/// The rules of tasks; `None` where something is wrong.
pub(super) fn rules(
    document: &Document,
    (place, section): (&str, &TaskSection),
    found: &mut ProblemList,
) -> Option<TaskRules> {
    let at = |key: &str| format!("{place}.{key}");
    let mut builder = ProgramBuilder::new();
    let texts = [
        ("id", &section.id, TextRole::Task),
        ("status", &section.status, TextRole::Status),
        ("progress", &section.progress, TextRole::Progress),
        ("error", &section.error, TextRole::Reason),
        ("result", &section.result, TextRole::Result),
    ];
    for (key, texts, what) in texts {
        keep(&at(key), texts, what, &mut builder, found);
    }
    if section.id.0.is_empty() {
        found.at(at("id"), "names no pointer: a task that has no id can't be asked about");
    }
    if section.status.0.is_empty() {
        found.at(at("status"), "names no pointer");
    }
    let fails = pointers(&at("fails"), &section.fails, found).into_iter().map(|it| it.1);
    let fails = builder.test(&fails.collect::<Vec<_>>(), TestRule::Present);
    let fails = found.ok(&at("fails"), fails);
    let usage = super::replies::task_usage(document.usage.as_ref(), &mut builder, found);
    let empty = super::replies::empty_of_tasks(document, found);
    words(place, &section.words, found);
    let other = |key: &str, text: &Option<String>, found: &mut ProblemList| {
        text.as_ref().map(|text| question(&at(key), text, found))
    };
    let fetch = other("fetch", &section.fetch, found);
    let cancel = other("cancel", &section.cancel, found);
    let ask = ask(place, &section.ask, found);
    let each = section.ask.each.as_ref().and_then(|text| each(&at("ask.each"), text, found));
    let count = section.count.as_ref().and_then(|count| {
        let request = question(&at("count.request"), &count.request, found)?;
        Some(TaskCount { request, rules: super::replies::count_rules(document, &count.at, found) })
    });
    if section.lifetime_h.is_some_and(|hours| !(1..=MAX_HOURS).contains(&hours)) {
        found.at(at("lifetime_h"), format!("is between 1 and {MAX_HOURS}"));
    }
    if section.gone.0.iter().any(|status| !matches!(status, 404 | 410)) {
        found.at(at("gone"), "has 404 and 410 alone: others don't say that a task is gone");
    }
    Some(TaskRules {
        program: builder.build(),
        usage,
        fails: fails?,
        words: section.words.clone(),
        empty,
        ask: ask?,
        batch: section.ask.batch.unwrap_or(1),
        each,
        fetch: fetch.flatten(),
        cancel: cancel.flatten(),
        gone: section.gone.0.clone(),
        count,
        lifetime_ms: section.lifetime_h.map(|hours| u64::from(hours) * HOUR_MS),
    })
}

/// Whether a task of a route may be taken for one of a route before it, which reads it otherwise:
/// of a task only its path is known.
pub(super) fn may_be_mistaken(route: &ProtocolRoute, before: &ProtocolRoute) -> bool {
    let submits = |it: &ProtocolRoute| it.task == Some(TaskWord::Submit);
    let is_alike = || match (&route.tasks, &before.tasks) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    if !submits(route) || !submits(before) || is_alike() {
        return false;
    }
    let mut pairs = route.patterns.iter().flat_map(|a| before.patterns.iter().map(move |b| (a, b)));
    pairs.any(|(a, b)| a.may_share_paths(b) && !b.has_methods_of(a))
}

/// How one or several tasks are polled.
fn ask(place: &str, section: &AskSection, found: &mut ProblemList) -> Option<TaskRequest> {
    let at = |key: &str| format!("{place}.ask{key}");
    let ask = question(&at(".request"), &section.request, found);
    let batch = section.batch.unwrap_or(1);
    if batch == 0 || batch > MAX_BATCH {
        found.at(at(".batch"), format!("is between 1 and {MAX_BATCH}"));
    }
    if batch > 1 && section.each.is_none() {
        found.at(
            at(".batch"),
            format!("is above 1, but {} does not say where each stands", at(".each")),
        );
    }
    let body = section.body.clone();
    if body.as_ref().is_some_and(|it| it.len() > MAX_BODY || !is_json(it)) {
        let what = format!("is no JSON of up to {MAX_BODY} bytes once {{ids}} or {{id}} is put in");
        found.at(at(".body"), what);
    }
    let asks = [Some(&section.request), body.as_ref()];
    let names_task = |it: &&String| ["{id}", "{+id}", "{ids}"].iter().any(|id| it.contains(id));
    if ask.is_some() && !asks.iter().flatten().any(names_task) {
        found.at(at(""), "has {id} nowhere, or {ids} in its body: it does not say which task");
    }
    Some(TaskRequest { body, ..ask? })
}

fn words(place: &str, words: &TaskWords, found: &mut ProblemList) {
    let TaskWords { submitted, processing, completed, failed } = words;
    let lists = [
        ("submitted", submitted),
        ("processing", processing),
        ("completed", completed),
        ("failed", failed),
    ];
    let mut seen: Vec<&str> = Vec::new();
    for (key, list) in lists {
        let at = &format!("{place}.words.{key}");
        if list.len() > MAX_LIST {
            found.at(at, format!("has more than {MAX_LIST} words"));
        }
        for word in list {
            if seen.iter().any(|other| other.eq_ignore_ascii_case(word)) {
                found.at(at, format!("{word:?} has a meaning already"));
            }
            seen.push(word);
        }
    }
    if completed.is_empty() {
        found.at(format!("{place}.words.completed"), "has no word: no task would ever be done");
    }
}

/// `GET /v1/videos/{id}`.
fn question(at: &str, text: &str, found: &mut ProblemList) -> Option<TaskRequest> {
    let fits = |path: &str| {
        let begins = path.starts_with('/') || path.starts_with("{path}");
        begins
            && path.len() <= MAX_WORD
            && !path.contains([' ', '\\'])
            && !path.contains("..")
            && has_known_braces(path)
    };
    match text.split_once(' ') {
        Some((method @ ("GET" | "POST" | "PUT" | "DELETE"), path)) if fits(path) => {
            Some(TaskRequest { method: method.to_owned(), path: path.to_owned(), body: None })
        }
        _ => {
            found.at(at, format!("{text:?} is not METHOD /path/{{id}}"));
            None
        }
    }
}

/// Whether every brace is of something that is put in.
fn has_known_braces(path: &str) -> bool {
    let rest = ["{id}", "{+id}", "{path}", "{model}", "{base}", "{app}"]
        .iter()
        .fold(path.to_owned(), |rest, known| rest.replace(known, ""));
    !rest.contains(['{', '}'])
}

fn is_json(template: &str) -> bool {
    let filled = template.replace("{ids}", "[\"a\"]").replace("{id}", "a");
    serde_json::from_str::<serde::de::IgnoredAny>(&filled).is_ok()
}

fn each(at: &str, text: &str, found: &mut ProblemList) -> Option<Pointer> {
    let pointer = found.pointer(at, text)?;
    if pointer.segments().iter().all(|segment| matches!(segment, Segment::Name(_))) {
        return Some(pointer);
    }
    found.at(at, "has * or #; it is the array itself, or the object of objects");
    None
}
