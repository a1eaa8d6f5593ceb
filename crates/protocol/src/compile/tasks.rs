//! How the tasks of a vendor are polled and read.

use super::problems::ProblemList;
use super::replies::{keep, pointers};
use super::{MAX_LIST, MAX_WORD};
use crate::document::{Document, TaskSection, TaskWords};
use crate::pointer::{Pointer, Segment};
use crate::program::{TestRule, TextRole};
use crate::program_builder::ProgramBuilder;
use crate::task::{TaskRequest, TaskRules};

/// Maximum length of the body of a poll.
const MAX_BODY: usize = 1000;
/// Maximum number of tasks in one poll.
const MAX_BATCH: u16 = 1000;

/// The rules of tasks; `None` where something is wrong.
pub(super) fn rules(
    document: &Document,
    section: &TaskSection,
    found: &mut ProblemList,
) -> Option<TaskRules> {
    let mut builder = ProgramBuilder::new();
    let texts = [
        ("task.id", &section.id, TextRole::Task),
        ("task.status", &section.status, TextRole::Status),
        ("task.progress", &section.progress, TextRole::Progress),
        ("task.error", &section.error, TextRole::Reason),
        ("task.result", &section.result, TextRole::Result),
    ];
    for (at, texts, what) in texts {
        keep(at, texts, what, &mut builder, found);
    }
    if section.id.0.is_empty() {
        found.at("task.id", "names no pointer: a task that has no id can't be asked about");
    }
    if section.status.0.is_empty() {
        found.at("task.status", "names no pointer");
    }
    let fails = pointers("task.fails", &section.fails, found).into_iter().map(|it| it.1);
    let fails = builder.test(&fails.collect::<Vec<_>>(), TestRule::Present);
    let fails = found.ok("task.fails", fails);
    let usage = super::replies::task_usage(document.usage.as_ref(), &mut builder, found);
    words(&section.words, found);
    let ask = question("task.ask.request", &section.ask.request, found);
    let other = |at: &str, text: &Option<String>, found: &mut ProblemList| {
        text.as_ref().map(|text| question(at, text, found))
    };
    let fetch = other("task.fetch", &section.fetch, found);
    let cancel = other("task.cancel", &section.cancel, found);
    let batch = section.ask.batch.unwrap_or(1);
    if batch == 0 || batch > MAX_BATCH {
        found.at("task.ask.batch", format!("is between 1 and {MAX_BATCH}"));
    }
    if batch > 1 && section.ask.each.is_none() {
        found.at("task.ask.batch", "is above 1, but task.ask.each does not say where each stands");
    }
    let body = section.ask.body.clone();
    if body.as_ref().is_some_and(|it| it.len() > MAX_BODY || !is_json(it)) {
        let what = format!("is no JSON of up to {MAX_BODY} bytes once {{ids}} or {{id}} is put in");
        found.at("task.ask.body", what);
    }
    let asks = [Some(&section.ask.request), body.as_ref()];
    let names_task = |it: &&String| ["{id}", "{+id}", "{ids}"].iter().any(|id| it.contains(id));
    if ask.is_some() && !asks.iter().flatten().any(names_task) {
        found.at("task.ask", "has {id} nowhere, or {ids} in its body: it does not say which task");
    }
    let each = section.ask.each.as_ref().and_then(|text| each("task.ask.each", text, found));
    Some(TaskRules {
        program: builder.build(),
        usage,
        fails: fails?,
        words: section.words.clone(),
        ask: TaskRequest { body, ..ask? },
        batch,
        each,
        fetch: fetch.flatten(),
        cancel: cancel.flatten(),
    })
}

fn words(words: &TaskWords, found: &mut ProblemList) {
    let TaskWords { submitted, processing, completed, failed } = words;
    let lists = [
        ("task.words.submitted", submitted),
        ("task.words.processing", processing),
        ("task.words.completed", completed),
        ("task.words.failed", failed),
    ];
    let mut seen: Vec<&str> = Vec::new();
    for (at, list) in lists {
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
        found.at("task.words.completed", "has no word: no task would ever be done");
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
