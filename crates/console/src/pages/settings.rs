//! Settings of this node: what they are, where they come from, and which follow a change.

use crate::form::{Complaint, Object};
use crate::lang::tell;
use crate::parts::{self, FormField, FormFields, form_page};
use crate::shell::{ShellPage, csrf};
use crate::visit::{Handled, Here, Visit, done, step};
use admin::AdminError;
use admin::ops::option;
use admin::{OptionView, ops::option::OptionInput};
use maud::{Markup, html};

const ENTRY: &str = "/console/settings";

/// `GET /console/settings`, of root
pub(crate) async fn list(Here(visit): Here) -> Handled {
    let lang = visit.lang();
    let mut settings = option::list(&visit.state, &visit.actor)?.items;
    // What was changed comes first.
    settings.sort_by_key(|setting| setting.source == "default");
    let word = visit.asked("keyword").to_lowercase();
    settings.retain(|setting| {
        setting.key.to_lowercase().contains(&word) || setting.meaning.to_lowercase().contains(&word)
    });
    let body = html! {
        (
            parts::filters(
                &visit, parts::typed(&visit, "keyword", lang.say("名称或含义", "Name or meaning"))
            )
        )
        div #list.scroll {
            table {
                thead { tr {
                    th { (lang.say("设置", "Setting")) }
                    th { (lang.say("值", "Value")) }
                    th { (lang.say("来源", "Source")) }
                    th { (lang.say("含义", "Meaning")) }
                    (parts::acts_head(lang))
                } }
                tbody { @for setting in &settings { (row(&visit, setting)) } }
            }
        }
    };
    let title = lang.say("设置", "Settings");
    Ok(ShellPage::new(title, ENTRY).show(&visit, body))
}

fn row(visit: &Visit, setting: &OptionView) -> Markup {
    let lang = visit.lang();
    let is_default = setting.source == "default";
    html! {
        tr {
            td.mono { (setting.key) }
            td.mono.cut title=(setting.value) {
                @if setting.value.is_empty() { span.muted { (lang.say("(空)", "(empty)")) } }
                @else { (setting.value) }
            }
            td { @if is_default { span.muted { (lang.say("默认", "default")) } }
                @else { (setting.source) } }
            td.wrap.muted { (setting.meaning) }
            td.acts { @if setting.live {
                a href={
                    "/console/settings/edit?key=" (step(setting.key))
                } { (lang.say("修改", "Change")) }
            } }
        }
    }
}

/// `GET /console/settings/edit?key=`
pub(crate) async fn edit(Here(visit): Here) -> Handled {
    page(&visit, visit.asked("key"), None)
}

/// `POST /console/settings/edit`
pub(crate) async fn save(Here(visit): Here) -> Handled {
    match saved(&visit).await {
        Ok(_) => Ok(done(ENTRY, "saved")),
        Err(error) => {
            page(&visit, visit.form.text("key"), Some(&Complaint::of(error, visit.lang())?))
        }
    }
}

async fn saved(visit: &Visit) -> Result<OptionView, AdminError> {
    let form = &visit.form;
    let back = form.text("do") == "back";
    let value = Some(form.text("value")).filter(|value| !back && !value.is_empty());
    let object = Object::default().put("key", form.text("key")).put("value", value);
    option::change(&visit.state, &visit.actor, OptionInput::read(object.fields()?)?).await
}

fn page(visit: &Visit, key: &str, complaint: Option<&Complaint>) -> Handled {
    let lang = visit.lang();
    let settings = option::list(&visit.state, &visit.actor)?.items;
    let setting = settings.into_iter().find(|setting| setting.key == key);
    let none = || AdminError::not_found("设置项", "setting of this name");
    let setting = setting.ok_or_else(none)?;
    let fields = FormFields { lang: visit.lang(), form: &visit.form, complaint };
    let body = html! {
        form.form method="post" action="/console/settings/edit" {
            (csrf(visit))
            (parts::complaint(lang, complaint))
            input type="hidden" name="key" value=(setting.key);
            p.note {
                (lang.say("只在本节点生效, 直到重启。要长期生效, 请写入配置文件: ",
                    "For this node alone, until it restarts. To keep it, put into the file: "))
                code.mono { (setting.key) "=…" }
            }
            p.muted { (setting.meaning) }
            (fields.field(FormField::new("value", setting.key)
                .value(&setting.value)
                .hint(&setting.allowed)))
            div.buttons {
                button.primary { (lang.say("修改", "Change")) }
                @if setting.source == "runtime" {
                    button name="do" value="back" {
                        (lang.say("恢复为配置的值", "Back to what is configured"))
                    }
                }
                a.button href=(ENTRY) { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let title = tell!(lang, "修改 {}", "Change {}", setting.key);
    Ok(form_page(visit, ShellPage::new(title, ENTRY), complaint, body))
}
