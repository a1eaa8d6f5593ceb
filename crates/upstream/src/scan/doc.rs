//! The content of one JSON document: the envelope and the usage.

use super::UsageFault;
use super::json::TopLevelScanner;
use super::slots::{MAX_USAGE, Slot, Slots};
use domain::UsageReport;

/// The longest message that is passed on, in characters.
const MAX_MESSAGE_CHARS: usize = 500;
/// An escape has at most six bytes, two of them twelve.
const LONGEST_ESCAPE: usize = 12;

/// The content of one document.
#[derive(Debug, Default)]
pub(super) struct Doc {
    pub(super) is_object: bool,
    pub(super) code_ok: Option<bool>,
    pub(super) message: Option<String>,
    pub(super) is_precharge: bool,
    /// There is an `error` that is not null, or `"type":"error"`.
    pub(super) is_error: bool,
    pub(super) usage: Option<Result<UsageReport, UsageFault>>,
}

impl Doc {
    pub(super) fn read(scanner: &TopLevelScanner) -> Self {
        if !scanner.is_object() {
            return Self::default();
        }
        let slots = &scanner.slots;
        Self {
            is_object: true,
            code_ok: code_ok(&slots.code),
            message: text(&slots.message).or_else(|| text(&slots.msg)),
            is_precharge: is_word(&slots.kind, "precharge"),
            is_error: slots.error || is_word(&slots.kind, "error"),
            usage: usage(slots),
        }
    }
}

/// 0 and "0" are success; a missing or null `code` says nothing; anything else is failure.
fn code_ok(slot: &Slot) -> Option<bool> {
    if slot.is_cut() {
        return Some(false);
    }
    match slot.whole()? {
        b"0" | b"\"0\"" => Some(true),
        b"null" => None,
        text @ [b'"', ..] => Some(string(text).is_some_and(|s| s == "0")),
        // 0.0, -0 and 0e5 are the same number.
        number => {
            let digits = number.split(|&b| matches!(b, b'e' | b'E')).next().unwrap_or_default();
            Some(digits.contains(&b'0') && digits.iter().all(|b| matches!(b, b'0' | b'.' | b'-')))
        }
    }
}

fn is_word(slot: &Slot, word: &str) -> bool {
    slot.whole().and_then(string).is_some_and(|text| text == word)
}

fn string(json: &[u8]) -> Option<String> {
    serde_json::from_slice(json).ok()
}

/// The beginning of a string, decoded; `None` when it is no string, or an empty one.
fn text(slot: &Slot) -> Option<String> {
    let json = slot.beginning()?;
    let whole = string(json).or_else(|| {
        // Cut off, possibly within an escape or a character.
        (slot.is_cut() && json.first() == Some(&b'"')).then_some(())?;
        let ends = (json.len().saturating_sub(LONGEST_ESCAPE)..=json.len()).rev();
        let closed = |end: usize| [&json[..end], b"\"".as_slice()].concat();
        ends.map(closed).find_map(|json| string(&json))
    })?;
    let short = match whole.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => whole[..end].to_owned(),
        None => whole,
    };
    (!short.is_empty()).then_some(short)
}

/// The document's own usage wins over that of what it wraps.
fn usage(slots: &Slots) -> Option<Result<UsageReport, UsageFault>> {
    [&slots.usage, &slots.response_usage, &slots.message_usage].into_iter().find_map(report)
}

fn report(slot: &Slot) -> Option<Result<UsageReport, UsageFault>> {
    if slot.is_cut() {
        return Some(Err(UsageFault::TooLarge));
    }
    read_usage(slot.whole()?)
}

/// The usage that a member's value reports; `null` reports none.
#[must_use]
pub fn read_usage(json: &[u8]) -> Option<Result<UsageReport, UsageFault>> {
    match json {
        b"null" => None,
        _ if json.len() > MAX_USAGE => Some(Err(UsageFault::TooLarge)),
        [b'{', ..] => Some(serde_json::from_slice(json).map_err(|_| UsageFault::Malformed)),
        _ => Some(Err(UsageFault::Malformed)),
    }
}
