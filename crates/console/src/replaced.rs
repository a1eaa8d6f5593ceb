//! Forms that replace what is there: their writer has seen it, or is asked.
//!
//! A form carries the mark of what it was opened with (`opened`). Where that has changed meanwhile,
//! or was never seen, the form comes back with what it would replace and its mark (`replaces`).

use crate::form::{Complaint, Form};
use crate::lang::Lang;
use crate::parts::{FormFields, field_label, form_page};
use crate::shell::ShellPage;
use crate::show;
use crate::visit::{PageReply, Visit};
use http::StatusCode;
use maud::{Markup, html};

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

/// A field that a form would change from what is there now.
pub(crate) struct ReplacedField {
    pub(crate) name: &'static str,
    pub(crate) now: String,
    pub(crate) typed: String,
}

/// What a form would replace that others have changed since it was opened.
pub(crate) struct ChangedMeanwhile {
    pub(crate) mark: String,
    pub(crate) fields: Vec<ReplacedField>,
}

/// The fields of a row as its form has them, and as a browser sends them back.
pub(crate) type FieldTexts = Vec<(&'static str, String)>;

/// The mark of a row's fields.
pub(crate) fn mark_of(now: &FieldTexts) -> String {
    let lines: Vec<String> = now.iter().map(|(name, text)| format!("{name}\0{text}")).collect();
    mark(&lines.join("\0"))
}

/// What of `now` a form would change.
pub(crate) fn replaced(
    now: &FieldTexts,
    typed: impl Fn(&'static str) -> Option<String>,
) -> Vec<ReplacedField> {
    let fields = now.iter().filter_map(|(name, now)| {
        let typed = typed(name).filter(|typed| typed != now)?;
        Some(ReplacedField { name, now: now.clone(), typed })
    });
    fields.collect()
}

/// Each field as it is and as it would be.
pub(crate) fn in_words(lang: Lang, fields: &[ReplacedField]) -> Markup {
    let text = |text: &str| match text {
        "" => show::NOTHING.to_owned(),
        text => text.to_owned(),
    };
    html! {
        p { @for (nth, field) in fields.iter().enumerate() {
            @if nth > 0 { br; }
            (field_label(lang, field.name)) ": "
            span.muted.break { (text(&field.now)) } " → "
            b.break { (text(&field.typed)) }
        } }
    }
}

impl ChangedMeanwhile {
    /// What of `now` the form would replace unseen; `None`: nothing.
    pub(crate) fn unseen(
        form: &Form,
        now: &FieldTexts,
        typed: impl Fn(&'static str) -> Option<String>,
    ) -> Option<Self> {
        let mark = mark_of(now);
        if is_seen(form, &mark) {
            return None;
        }
        let fields = replaced(now, typed);
        (!fields.is_empty()).then_some(Self { mark, fields })
    }

    /// What stands above the form.
    pub(crate) fn note(&self, lang: Lang) -> Markup {
        html! {
            input type="hidden" name="replaces" value=(self.mark);
            div.note role="alert" {
                p { b { (lang.say(
                    "打开表单之后已被修改。现在保存会改为: ",
                    "It was changed since this form was opened. Saving now makes it:",
                )) } }
                (in_words(lang, &self.fields))
            }
        }
    }
}
