//! What a reply says about one task: by CustomPass, or by a protocol's document.

use super::page::Waiting;
use domain::{Meters, StatusWords, TaskStatus, Usage};
use protocol::{TaskReading, TaskRules};
use ring::digest::{Context, SHA256};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use store::Channel;
use upstream::links;
use upstream::task_reply::{Element, Odd, readable};

/// Longest word, progress and reason that are kept, in characters.
const MAX_WORD: usize = 64;
const MAX_REASON: usize = 1_000;
/// A larger part of a reply is not kept.
const MAX_KEPT: usize = 4 * 1024 * 1024;

/// What a reply says about one task.
pub(super) trait Report {
    fn word(&self) -> String;
    fn progress(&self) -> String;
    fn reason(&self) -> String;
    /// What it counts, with every count, for prices that ask for more than its sums.
    ///
    /// # Errors
    /// When that can't be billed.
    fn usage(&self, channel: &Channel) -> Result<Option<Usage>, String>;
    /// Whether it counts what its task has made, which is nothing.
    fn made_nothing(&self) -> bool;
    /// Equal for two reports of equal content.
    fn fingerprint(&self) -> i64;
    /// Its text, as far as it is stored.
    fn kept(&self) -> Cow<'_, str>;
}

impl Report for Element<'_> {
    fn word(&self) -> String {
        self.status()
    }

    fn progress(&self) -> String {
        self.progress()
    }

    fn reason(&self) -> String {
        self.reason()
    }

    fn usage(&self, channel: &Channel) -> Result<Option<Usage>, String> {
        let usage = self.usage()?;
        let rules = egress::protocol_of(channel).ok().and_then(|protocol| protocol.task.as_ref());
        let Some(rules) = rules else { return Ok(usage) };
        let meters = rules.read_one(self.kept().as_bytes()).meters;
        let has_any = usage.is_some() || !meters.is_empty();
        Ok(has_any.then(|| usage.unwrap_or_default().with_meters(meters)))
    }

    /// In CustomPass's contract a completed task needs no result.
    fn made_nothing(&self) -> bool {
        false
    }

    fn fingerprint(&self) -> i64 {
        self.fingerprint()
    }

    fn kept(&self) -> Cow<'_, str> {
        self.kept()
    }
}

/// The usage that these meters are.
pub(super) fn usage_of(meters: &Meters) -> Usage {
    let sums = meters.usage().unwrap_or_default();
    Usage { meters: Some(Box::new(*meters)), ..sums }
}

/// A report in a vendor's own shape.
pub(super) struct VendorReport<'a> {
    reading: TaskReading,
    text: &'a str,
    /// Members that are addresses at the upstream.
    links: &'a [Box<str>],
}

impl VendorReport<'_> {
    /// Reads one; none: it is not JSON, or says nothing of where the task stands.
    fn read<'a>(
        rules: &TaskRules,
        part: &'a [u8],
        links: &'a [Box<str>],
    ) -> Option<VendorReport<'a>> {
        let whole: &RawValue = serde_json::from_slice(part).ok()?;
        let reading = rules.read_one(part);
        // A document may say what a report without a word means.
        let says_status = !reading.word.is_empty() || reading.status != TaskStatus::Unknown;
        says_status.then(|| VendorReport { reading, text: whole.get(), links })
    }

    /// Where the task stands. The words of the channel come before those of the document.
    pub(super) fn status(&self, channel: Option<&StatusWords>) -> TaskStatus {
        let meaning = channel.and_then(|words| words.meaning(&self.reading.word));
        meaning.unwrap_or(self.reading.status)
    }
}

impl Report for VendorReport<'_> {
    fn word(&self) -> String {
        readable(&self.reading.word, MAX_WORD)
    }

    fn progress(&self) -> String {
        readable(&self.reading.progress, MAX_WORD)
    }

    fn reason(&self) -> String {
        readable(&self.reading.reason, MAX_REASON)
    }

    fn usage(&self, _: &Channel) -> Result<Option<Usage>, String> {
        let meters = &self.reading.meters;
        Ok((!meters.is_empty()).then(|| usage_of(meters)))
    }

    fn made_nothing(&self) -> bool {
        self.reading.made_nothing
    }

    fn fingerprint(&self) -> i64 {
        let TaskReading { word, progress, reason, results, meters, .. } = &self.reading;
        let mut hash = Context::new(&SHA256);
        let mut add = |text: &str| {
            hash.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text.as_bytes());
        };
        [word, progress, reason].into_iter().chain(results).for_each(|text| add(text));
        meters.iter().for_each(|(meter, count)| add(&format!("{meter} {count}")));
        let first = hash.finish().as_ref().first_chunk::<8>().copied();
        i64::from_be_bytes(first.unwrap_or_default())
    }

    fn kept(&self) -> Cow<'_, str> {
        let kept = if self.text.len() <= MAX_KEPT { self.text } else { "{}" };
        if self.links.is_empty() {
            return Cow::Borrowed(kept);
        }
        // A client that is shown it later would go there past us.
        let shown = links::shown(kept.to_owned().into(), self.links);
        String::from_utf8(shown.into()).map_or(Cow::Borrowed(kept), Cow::Owned)
    }
}

/// Reads a reply by a protocol's document: calls `report` with each of these tasks that it reports,
/// by its place, at most once.
///
/// # Errors
/// When the reply as a whole can't be used.
pub(super) fn read_by_rules(
    (rules, links): (&TaskRules, &[Box<str>]),
    body: &[u8],
    tasks: &[Waiting],
    mut report: impl FnMut(usize, &VendorReport<'_>),
) -> Result<Odd, &'static str> {
    let parts = rules.parts(body).ok_or("no tasks where the protocol has them")?;
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, task) in tasks.iter().enumerate() {
        places.entry(&task.task_id).or_default().push(place);
    }
    let mut odd = Odd::default();
    let mut seen = vec![false; tasks.len()];
    for part in parts {
        let Some(vendor) = VendorReport::read(rules, part, links) else {
            odd.malformed += 1;
            continue;
        };
        let found = match &vendor.reading.id {
            Some(id) => places.get(id.as_str()).map_or(&[][..], Vec::as_slice),
            // The answer to a question about one task need not repeat which.
            None if rules.has_several() => &[],
            None => &[0],
        };
        odd.strangers += usize::from(found.is_empty());
        for &place in found {
            match seen.get_mut(place) {
                Some(seen) if !*seen => {
                    *seen = true;
                    report(place, &vendor);
                }
                _ => odd.duplicates += 1,
            }
        }
    }
    odd.missing = seen.iter().filter(|seen| !**seen).count();
    if !rules.has_several() && odd.malformed > 0 {
        return Err("it does not say where the task stands");
    }
    Ok(odd)
}
