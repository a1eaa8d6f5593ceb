//! A form that was sent after its session had ended: kept over the login, and sent once its writer
//! says so. Secrets are not kept: they are typed again.

use crate::form::Form;
use crate::lang::Lang;
use crate::parts;
use crate::visit::is_page;
use maud::{Markup, html};

/// Fields that hold secrets, or may.
const SECRETS: [&str; 10] = [
    "again",
    "code",
    "csrf",
    "key",
    "new_password",
    "old_password",
    "param_override",
    "password",
    "secret",
    "setting",
];
/// Larger forms are not kept.
const MAX_BYTES: usize = 16 * 1024;
/// The field with the form's address, and how the names of its fields begin.
const TO: &str = "form";
const FIELD: &str = "f.";

/// Where a form was sent, and what it said.
pub(crate) struct KeptForm {
    pub(crate) to: String,
    fields: Vec<(String, String)>,
}

impl KeptForm {
    /// A form as it was sent; `None` where there is nothing to keep, or too much.
    pub(crate) fn sent(to: &str, form: &Form) -> Option<Self> {
        let fields = form.pairs().filter(|(name, _)| !SECRETS.contains(name));
        Self::new(to, fields.collect())
    }

    /// The form that a login carries.
    pub(crate) fn carried(login: &Form) -> Option<Self> {
        let fields =
            login.pairs().filter_map(|(name, text)| Some((name.strip_prefix(FIELD)?, text)));
        Self::new(login.text(TO), fields.collect())
    }

    fn new(to: &str, fields: Vec<(&str, &str)>) -> Option<Self> {
        let bytes: usize = fields.iter().map(|(name, text)| name.len() + text.len()).sum();
        let is_kept = is_page(to) && !fields.is_empty() && bytes <= MAX_BYTES;
        let owned = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
        is_kept.then(|| Self { to: to.to_owned(), fields: fields.into_iter().map(owned).collect() })
    }

    /// As a part of the login.
    pub(crate) fn carry(&self) -> Markup {
        html! {
            input type="hidden" name=(TO) value=(self.to);
            @for (name, text) in &self.fields {
                input type="hidden" name={ (FIELD) (name) } value=(text);
            }
        }
    }

    /// What it says, and the button that sends it.
    pub(crate) fn show(&self, lang: Lang, csrf: &str, back: &str) -> Markup {
        // What was typed has a label; the rest is the form's own.
        let typed = self.fields.iter().filter_map(|(name, text)| {
            let label = parts::field_label(lang, name);
            (label != name && !text.is_empty()).then_some((label, text))
        });
        html! {
            p.note { (lang.say(
                "会话在提交之前已失效, 表单没有执行。现在提交吗? 密码与密钥需要重新输入。",
                "The session had ended before the form was sent, so nothing was done. Send it now? \
                 Passwords and keys are typed again.",
            )) }
            dl.facts {
                @for (label, text) in typed { dt { (label) } dd.break { (text) } }
            }
            form.buttons method="post" action=(self.to) {
                input type="hidden" name="csrf" value=(csrf);
                @for (name, text) in &self.fields {
                    input type="hidden" name=(name) value=(text);
                }
                button.primary { (lang.say("提交", "Send it")) }
                a.button href=(back) { (lang.say("放弃", "Leave it")) }
            }
        }
    }
}
