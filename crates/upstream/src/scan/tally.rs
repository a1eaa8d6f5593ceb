//! The combined content of the documents of a body.

use super::UsageFault;
use super::doc::Doc;
use super::json::TopLevelScanner;
use domain::UsageReport;

/// The sum of the documents seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// How many documents there were, broken ones included.
    pub(super) documents: u64,
    /// How many of them were not JSON.
    pub(super) broken: u64,
    pub(super) has_object: bool,
    pub(super) code_ok: Option<bool>,
    pub(super) message: Option<String>,
    pub(super) is_precharge: bool,
    pub(super) stream_error: bool,
    pub(super) done: bool,
    pub(super) usage: Option<UsageReport>,
    pub(super) usage_error: Option<UsageFault>,
}

impl Tally {
    /// Adds the document that `json` has parsed, complete or broken.
    pub(super) fn add(&mut self, json: &TopLevelScanner, named_error: bool) {
        self.documents += 1;
        self.stream_error |= named_error;
        if !json.is_done() {
            self.broken += 1;
            return;
        }
        self.add_doc(Doc::read(json));
    }

    /// Adds a document that may be incomplete.
    pub(super) fn add_doc(&mut self, doc: Doc) {
        self.has_object |= doc.is_object;
        self.is_precharge |= doc.is_precharge;
        self.stream_error |= doc.is_error || doc.code_ok == Some(false);
        // A failure stays one, with its own message, regardless of later documents.
        if self.code_ok != Some(false) {
            if doc.code_ok == Some(false) || self.message.is_none() {
                self.message = doc.message;
            }
            self.code_ok = doc.code_ok.or(self.code_ok);
        }
        match doc.usage {
            Some(Ok(later)) => {
                match &mut self.usage {
                    Some(usage) => usage.supersede(later),
                    none => *none = Some(later),
                }
                self.usage_error = None;
            }
            Some(Err(fault)) => self.usage_error = Some(fault),
            None => {}
        }
    }
}
