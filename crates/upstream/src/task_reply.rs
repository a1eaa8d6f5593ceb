//! Parses replies about tasks: `{"code":0,"data":[{"task_id", "status", …}]}`, and, to a
//! submission, `{"code":0,"data":{"task_id", …}}`.
//!
//! Nothing is copied before it is known to be needed: in a reply without news, each element costs
//! one pass over its bytes and one hash. Elements are parsed one by one, so that a malformed one
//! doesn't affect its neighbours.

use domain::{Usage, UsageError, UsageReport};
use ring::digest::{Context, SHA256};
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::ControlFlow;

/// Longest status and longest progress that are kept, in characters.
const MAX_STATUS: usize = 64;
/// Longest task id, in characters.
const MAX_ID: usize = 255;
/// Longest reason for a failure that is kept, in characters.
const MAX_REASON: usize = 1_000;
/// Largest element that is kept whole; a larger one is kept without its result.
const MAX_KEPT: usize = 4 * 1024 * 1024;
/// Largest usage, in bytes.
const MAX_USAGE: usize = 64 * 1024;
/// The number of unusable elements after which a reply is rejected as a whole.
const MAX_ODD: usize = 10_000;

/// The task ids of a request.
#[derive(Debug)]
pub struct RequestedIds<'a> {
    /// Sorted, each with its position in the request.
    ids: Vec<(&'a str, usize)>,
}

impl<'a> FromIterator<&'a str> for RequestedIds<'a> {
    fn from_iter<I: IntoIterator<Item = &'a str>>(ids: I) -> Self {
        let mut ids: Vec<_> = ids.into_iter().zip(0..).collect();
        ids.sort_unstable();
        Self { ids }
    }
}

impl RequestedIds<'_> {
    /// The positions of `id` in the request: several, when two tasks have the same id.
    fn places(&self, id: &str) -> &[(&str, usize)] {
        let from = self.ids.partition_point(|(requested, _)| *requested < id);
        let count = self.ids[from..].partition_point(|(requested, _)| *requested == id);
        &self.ids[from..from + count]
    }
}

/// What was wrong with a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Odd {
    /// Elements that can't be parsed.
    pub malformed: usize,
    /// Elements about tasks that were not in the request.
    pub strangers: usize,
    /// Repeated elements about one task. The first is used.
    pub duplicates: usize,
    /// Tasks of the request without an element.
    pub missing: usize,
}

impl Odd {
    /// Whether anything was wrong.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// Why a reply can't be used at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not a JSON object.
    #[error("not a JSON object")]
    NotJson,
    /// `code` is not 0.
    #[error("code {0}")]
    Code(String),
    /// `data` is missing, or no array.
    #[error("no array in data")]
    NoData,
    /// Far more elements than were requested.
    #[error("nothing but noise in data")]
    Noise,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    code: Option<&'a RawValue>,
    /// `None` when it is missing; `null` is the empty list of some languages.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default)]
    task_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    progress: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

/// The element about one task.
pub struct Element<'a> {
    members: Members<'a>,
    raw: &'a RawValue,
    status: Cow<'a, str>,
}

/// Parses a reply: calls `report` with each task of the request that has an element, by its
/// position in the request, at most once.
///
/// # Errors
/// When the reply as a whole can't be used. `report` may have been called for some tasks before.
pub fn read_reply<'a>(
    body: &'a [u8],
    requested: &RequestedIds<'_>,
    mut report: impl FnMut(usize, &Element<'a>),
) -> Result<Odd, Unreadable> {
    let data = envelope(body)?;
    let mut odd = Odd::default();
    let mut seen = vec![false; requested.ids.len()];
    let mut each = |raw: &'a RawValue| {
        match Element::read(raw) {
            None => odd.malformed += 1,
            Some((id, element)) => {
                let places = requested.places(&id);
                odd.strangers += usize::from(places.is_empty());
                for &(_, place) in places {
                    if std::mem::replace(&mut seen[place], true) {
                        odd.duplicates += 1;
                    } else {
                        report(place, &element);
                    }
                }
            }
        }
        match odd.malformed + odd.strangers + odd.duplicates > MAX_ODD {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    if data.get() != "null" {
        let mut elements = serde_json::Deserializer::from_str(data.get());
        elements.deserialize_seq(Each(&mut each)).map_err(|_| Unreadable::Noise)?;
    }
    odd.missing = seen.iter().filter(|seen| !**seen).count();
    Ok(odd)
}

/// Parses the reply to a submission: the new task's id, and its element (`data`, or the reply
/// itself), which may have no other members. `None` when it has no usable id. Whether the
/// submission succeeded is decided by the envelope, elsewhere.
#[must_use]
pub fn read_submission(body: &[u8]) -> Option<(String, Element<'_>)> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    // Some upstreams write the task without an envelope.
    envelope.data.and_then(submitted).or_else(|| submitted(serde_json::from_slice(body).ok()?))
}

fn submitted(raw: &RawValue) -> Option<(String, Element<'_>)> {
    let members = members(raw)?;
    let id = text_or_number(members.task_id?)?;
    let is_good = (1..=MAX_ID).contains(&id.chars().count()) && !id.chars().any(char::is_control);
    let status = members.status.and_then(text_or_number).unwrap_or_default();
    is_good.then(|| (id.into_owned(), Element { members, raw, status }))
}

/// `data`, when the envelope reports success.
fn envelope(body: &[u8]) -> Result<&RawValue, Unreadable> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    // serde parses a struct from an array, too.
    if body.first() != Some(&b'{') {
        return Err(Unreadable::NotJson);
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|_| Unreadable::NotJson)?;
    if let Some(code) = envelope.code.filter(|code| !is_zero(code.get())) {
        return Err(Unreadable::Code(code.get().chars().take(20).collect()));
    }
    let data = envelope.data.filter(|data| data.get() == "null" || data.get().starts_with('['));
    data.ok_or(Unreadable::NoData)
}

/// 0 in any spelling: `0`, `"0"`, `0.0`, `-0`, `0e5`.
fn is_zero(json: &str) -> bool {
    let digits = json.split(['e', 'E']).next().unwrap_or_default();
    json == "\"0\"" || digits.contains('0') && digits.bytes().all(|b| b"0.-".contains(&b))
}

struct Each<'a, F>(&'a mut F);

impl<'de, F: FnMut(&'de RawValue) -> ControlFlow<()>> Visitor<'de> for Each<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(raw) = elements.next_element()? {
            if (self.0)(raw).is_break() {
                return Err(A::Error::custom("too many"));
            }
        }
        Ok(())
    }
}

impl<'a> Element<'a> {
    /// An element and its id; `None` when it has no id or no status.
    fn read(raw: &'a RawValue) -> Option<(Cow<'a, str>, Self)> {
        let members = members(raw)?;
        let id = text_or_number(members.task_id?)?;
        let status = text_of(members.status?)?;
        Some((id, Self { members, raw, status }))
    }

    /// The upstream's status word.
    #[must_use]
    pub fn status(&self) -> String {
        readable(&self.status, MAX_STATUS)
    }

    /// The status word, unabridged.
    #[must_use]
    pub fn raw_status(&self) -> &str {
        &self.status
    }

    /// The progress.
    #[must_use]
    pub fn progress(&self) -> String {
        let progress = self.members.progress.and_then(text_or_number).unwrap_or_default();
        readable(&progress, MAX_STATUS)
    }

    /// The reason of a failure, as the upstream wrote it; empty when there is none.
    #[must_use]
    pub fn reason(&self) -> String {
        #[derive(Deserialize)]
        struct Said<'a> {
            #[serde(borrow, default)]
            message: Option<&'a RawValue>,
            #[serde(borrow, default)]
            msg: Option<&'a RawValue>,
        }
        let Some(error) = self.members.error else { return String::new() };
        if let Some(text) = text_of(error) {
            return readable(&text, MAX_REASON);
        }
        let said = error.get().starts_with('{').then(|| serde_json::from_str(error.get()).ok());
        let message = said.flatten().and_then(|said: Said<'_>| {
            let text = |raw: Option<&'a RawValue>| raw.and_then(text_of).filter(|t| !t.is_empty());
            text(said.message).or_else(|| text(said.msg))
        });
        readable(message.as_deref().unwrap_or(error.get()), MAX_REASON)
    }

    /// The usage; `None` when there is none, or it counts no tokens.
    ///
    /// # Errors
    /// When the usage can't be billed.
    pub fn usage(&self) -> Result<Option<Usage>, String> {
        let report = self.members.usage.map(|raw| raw.get().as_bytes());
        let report = report.and_then(read_usage).transpose()?;
        match report.map(|report| report.check()).transpose() {
            // It may count units alone.
            Err(UsageError::Empty) => Ok(None),
            checked => checked.map_err(|error| error.to_string()),
        }
    }

    /// A fingerprint: equal for two elements of equal content.
    #[must_use]
    pub fn fingerprint(&self) -> i64 {
        let Members { status, progress, error, result, usage, .. } = &self.members;
        let mut hash = Context::new(&SHA256);
        for member in [status, progress, error, result, usage] {
            let text = member.map_or("", RawValue::get);
            hash.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text.as_bytes());
        }
        let first = hash.finish().as_ref().first_chunk::<8>().copied();
        i64::from_be_bytes(first.unwrap_or_default())
    }

    /// The element's text as it is stored. The result of one that is too large is left out.
    #[must_use]
    pub fn kept(&self) -> Cow<'a, str> {
        if self.raw.get().len() <= MAX_KEPT {
            return Cow::Borrowed(self.raw.get());
        }
        let Members { task_id, status, progress, .. } = &self.members;
        let small = |raw: &Option<&'a RawValue>| {
            raw.map(RawValue::get).filter(|text| text.len() <= MAX_REASON).unwrap_or("null")
        };
        let (id, status, progress) = (small(task_id), small(status), small(progress));
        let kept = format!(
            "{{\"task_id\":{id},\"status\":{status},\"progress\":{progress},\"result\":null}}"
        );
        Cow::Owned(kept)
    }

    /// Whether the upstream writes the id as a number.
    #[must_use]
    pub fn id_is_number(json: &str) -> bool {
        let members: Option<Members<'_>> =
            json.starts_with('{').then(|| serde_json::from_str(json).ok()).flatten();
        let id = members.and_then(|members| members.task_id);
        id.is_some_and(|id| text_of(id).is_none() && text_or_number(id).is_some())
    }
}

/// The members of an object; serde would parse them from an array, too.
fn members(raw: &RawValue) -> Option<Members<'_>> {
    raw.get().starts_with('{').then(|| serde_json::from_str(raw.get()).ok()).flatten()
}

fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(raw.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

fn text_or_number(raw: &RawValue) -> Option<Cow<'_, str>> {
    let is_number = raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
    if is_number { Some(Cow::Borrowed(raw.get())) } else { text_of(raw) }
}

/// The beginning of a text, safe to store and to display.
#[must_use]
pub fn readable(text: &str, most: usize) -> String {
    text.trim().chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The usage that a member's value reports; `null` reports none.
fn read_usage(json: &[u8]) -> Option<Result<UsageReport, String>> {
    match json {
        b"null" => None,
        _ if json.len() > MAX_USAGE => Some(Err("usage is too large".to_owned())),
        [b'{', ..] => {
            Some(serde_json::from_slice(json).map_err(|_| "usage is malformed".to_owned()))
        }
        _ => Some(Err("usage is malformed".to_owned())),
    }
}

#[cfg(test)]
mod tests;
