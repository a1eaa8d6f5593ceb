//! Forms that replace what is there: their writer has seen it, or is asked.
//!
//! A form carries the mark of what it was opened with (`opened`). Where that has changed meanwhile,
//! or was never seen, the form comes back with what it would replace and its mark (`replaces`).

use crate::form::{Complaint, Form};
use crate::lang::Lang;
use crate::parts::{FormFields, form_page};
use crate::shell::ShellPage;
use crate::visit::{PageReply, Visit};
use http::StatusCode;
use maud::Markup;

/// A name of exactly this text.
pub(crate) fn mark(text: &str) -> String {
    store::key_hash(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the form's writer has seen what has this mark.
pub(crate) fn is_seen(form: &Form, mark: &str) -> bool {
    [form.text("opened"), form.text("replaces")].contains(&mark)
}

/// What a form says besides its fields.
pub(crate) enum FormSays<T> {
    Nothing,
    /// What is wrong with it.
    Complaint(Complaint),
    /// What it would replace: its writer is asked first.
    Replaces(T),
}

impl<T> FormSays<T> {
    pub(crate) fn complaint(&self) -> Option<&Complaint> {
        match self {
            Self::Complaint(complaint) => Some(complaint),
            Self::Nothing | Self::Replaces(_) => None,
        }
    }

    /// The form's fields: what was typed stands in them again, unless it says nothing.
    pub(crate) fn fields<'a>(&'a self, lang: Lang, form: &'a Form) -> FormFields<'a> {
        let is_typed = !matches!(self, Self::Nothing);
        FormFields { is_typed, ..FormFields::new(lang, form, self.complaint()) }
    }

    /// The mark of what the form was opened with: `now`, when it is opened.
    pub(crate) fn opened<'a>(&self, form: &'a Form, now: &'a str) -> &'a str {
        if matches!(self, Self::Nothing) { now } else { form.text("opened") }
    }

    /// The page of the form: 422 when it complains, 409 when it asks.
    pub(crate) fn show(&self, visit: &Visit, page: ShellPage, body: Markup) -> PageReply {
        match self {
            Self::Replaces(_) => page.status(StatusCode::CONFLICT).show(visit, body),
            _ => form_page(visit, page, self.complaint(), body),
        }
    }
}
