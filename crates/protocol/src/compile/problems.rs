//! What is wrong with a document, and where.

use crate::document::Document;
use crate::pointer::Pointer;
use std::borrow::Cow;
use std::fmt;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Most problems of a report.
const MAX_PROBLEMS: usize = 20;

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentProblem {
    /// The line, counted from 1; 0 where it is about the whole document.
    pub line: usize,
    /// What it is about, as `usage.meters.input[1]`; empty where TOML itself is broken.
    pub at: String,
    /// Why it can't be used.
    pub reason: String,
}

impl fmt::Display for DocumentProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.at.is_empty() {
            write!(f, "{}: ", self.at)?;
        }
        f.write_str(&self.reason)
    }
}

impl DocumentProblem {
    /// Where it is in Chinese; why is said in English, as in logs.
    fn in_chinese(&self) -> String {
        let mut text = match self.line {
            0 => "整个文档".to_owned(),
            line => format!("第 {line} 行"),
        };
        if !self.at.is_empty() {
            text.push_str(&format!(" {} 处", self.at));
        }
        format!("{text}有误: {}", self.reason)
    }
}

/// All that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentProblems(pub Vec<DocumentProblem>);

impl std::error::Error for DocumentProblems {}

impl fmt::Display for DocumentProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl DocumentProblems {
    /// The same for readers of Chinese: each problem on a line, with its place.
    #[must_use]
    pub fn in_chinese(&self) -> String {
        self.0.iter().map(DocumentProblem::in_chinese).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn whole(reason: String) -> Self {
        Self(vec![DocumentProblem { line: 0, at: String::new(), reason }])
    }

    pub(crate) fn toml(text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map(|span| span.start);
        let line = start.map_or(0, |start| line(text, start));
        let reason = error.message().trim().to_owned();
        let at = start.and_then(|start| key_at(text, start).or_else(|| section(text, start)));
        let at = at.unwrap_or_default();
        Self(vec![DocumentProblem { line, at, reason }])
    }
}

/// A document, and its keys that are not known: what they stand for is left out, so that the rest
/// is checked all the same.
pub(super) fn read(text: &str) -> Result<(Document, Vec<DocumentProblem>), DocumentProblems> {
    let (mut left, mut found) = (Cow::Borrowed(text), Vec::new());
    loop {
        let error = match toml::from_str(&left) {
            Ok(document) => return Ok((document, found)),
            Err(error) => error,
        };
        found.extend(DocumentProblems::toml(text, &error).0);
        match without_unknown(&left, &error).filter(|_| found.len() < MAX_PROBLEMS) {
            Some(without) => left = Cow::Owned(without),
            None => return Err(DocumentProblems(found)),
        }
    }
}

/// The text with blanks in the place of a key that is not known, or of its whole section.
fn without_unknown(text: &str, error: &toml::de::Error) -> Option<String> {
    let at = error.span().filter(|_| error.message().starts_with("unknown field"))?.start;
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let front = text.get(start..at)?.trim();
    let is_header = text.get(start..)?.trim_start().starts_with('[');
    if !front.is_empty() && !is_header {
        return None;
    }
    let (mut left, mut is_first) = (text.get(..start)?.to_owned(), true);
    let mut is_out = true;
    for line in text.get(start..)?.split_inclusive('\n') {
        is_out &= is_first || is_header && !line.trim_start().starts_with('[');
        is_first = false;
        match is_out {
            true => left.extend(line.chars().map(|c| if c == '\n' { c } else { ' ' })),
            false => left.push_str(line),
        }
    }
    // A value of several lines would leave some of them.
    DeTable::parse(&left).is_ok().then_some(left)
}

/// The key at a place, or whose value lies there, with those that lead to it.
fn key_at(text: &str, at: usize) -> Option<String> {
    let root = DeTable::parse(text).ok()?;
    let mut path = Vec::new();
    key_in(root.get_ref(), at, &mut path);
    (!path.is_empty()).then(|| readable(&path.join(".")))
}

fn key_in(table: &DeTable<'_>, at: usize, path: &mut Vec<String>) {
    let is_there = |key: &Spanned<Cow<'_, str>>| key.span().contains(&at);
    let found = table.iter().find(|(key, value)| is_there(key) || holds(value, at));
    let Some((key, value)) = found else { return };
    path.push(key.get_ref().to_string());
    if !is_there(key) {
        value_in(value.get_ref(), at, path);
    }
}

fn value_in(value: &DeValue<'_>, at: usize, path: &mut Vec<String>) {
    match value {
        DeValue::Table(table) => key_in(table, at, path),
        DeValue::Array(array) => {
            let mut each = array.iter().enumerate();
            if let Some((number, value)) = each.find(|(_, value)| holds(value, at)) {
                path.push(number.to_string());
                value_in(value.get_ref(), at, path);
            }
        }
        _ => {}
    }
}

/// Whether something of a value lies at a place. The span of a section is its header alone.
fn holds(value: &Spanned<DeValue<'_>>, at: usize) -> bool {
    value.span().contains(&at)
        || match value.get_ref() {
            DeValue::Table(table) => {
                table.iter().any(|(key, value)| key.span().contains(&at) || holds(value, at))
            }
            DeValue::Array(array) => array.iter().any(|value| holds(value, at)),
            _ => false,
        }
}

/// The section that begins or lies at a place, without its brackets.
fn section(text: &str, at: usize) -> Option<String> {
    let end = text.get(at..)?.find('\n').map_or(text.len(), |len| at + len);
    let mut lines = text.get(..end)?.lines().rev().map(str::trim);
    let header = lines.find(|line| line.starts_with('[') && line.ends_with(']'))?;
    Some(header.trim_matches(['[', ']']).to_owned())
}

fn line(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// What has been found, by its path in the document.
#[derive(Debug, Default)]
pub(crate) struct ProblemList(Vec<(String, String)>);

impl ProblemList {
    /// Something is wrong at `path`: keys and indices, with dots between.
    pub(crate) fn at(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        let problem = (path.into(), reason.into());
        // Sections that routes share are read once for each.
        if self.0.len() < MAX_PROBLEMS && !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    /// The pointer that stands at `path`.
    pub(crate) fn pointer(&mut self, path: &str, text: &str) -> Option<Pointer> {
        match Pointer::parse(text) {
            Ok(pointer) => Some(pointer),
            Err(error) => {
                self.at(path, format!("{text:?} {error}"));
                None
            }
        }
    }

    /// The value, or why it is none.
    pub(crate) fn ok<T>(&mut self, path: &str, value: Result<T, impl fmt::Display>) -> Option<T> {
        value.map_err(|error| self.at(path, error.to_string())).ok()
    }

    /// Nothing, or all that was found, with its lines, behind what was found before.
    pub(crate) fn ended(
        self,
        text: &str,
        mut before: Vec<DocumentProblem>,
    ) -> Result<(), DocumentProblems> {
        if self.0.is_empty() && before.is_empty() {
            return Ok(());
        }
        let root = DeTable::parse(text).ok();
        let problem = |(path, reason): (String, String)| {
            let at = root.as_ref().and_then(|root| start_of(root, &path));
            DocumentProblem { line: at.map_or(0, |at| line(text, at)), at: readable(&path), reason }
        };
        before.extend(self.0.into_iter().map(problem));
        Err(DocumentProblems(before))
    }
}

/// Where what `path` names begins, or the nearest thing around it.
fn start_of(root: &Spanned<DeTable<'_>>, path: &str) -> Option<usize> {
    let mut keys = path.split('.');
    let first = keys.next()?;
    let (key, mut value) = root.get_ref().get_key_value(first)?;
    let mut start = key.span().start;
    for key in keys {
        let next = match value.get_ref() {
            DeValue::Table(table) => table.get_key_value(key).map(|(key, value)| {
                start = key.span().start;
                value
            }),
            DeValue::Array(array) => key.parse().ok().and_then(|at: usize| {
                let value = array.get(at)?;
                start = value.span().start;
                Some(value)
            }),
            _ => None,
        };
        let Some(next) = next else { break };
        value = next;
    }
    Some(start)
}

/// `route.3.match.0` as `route[3].match[0]`.
fn readable(path: &str) -> String {
    let mut text = String::new();
    for key in path.split('.') {
        if key.bytes().all(|byte| byte.is_ascii_digit()) {
            text.push_str(&format!("[{key}]"));
        } else {
            text.push_str(if text.is_empty() { "" } else { "." });
            text.push_str(key);
        }
    }
    text
}
