//! Settings of this node: what they are, where they come from, and which follow a change.

use crate::folds::folds;
use crate::form::{Complaint, Object};
use crate::lang::{Lang, tell};
use crate::parts::{self, FormField, FormFields, form_page};
use crate::setting_words::{SECTIONS, allowed, meaning};
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
    let word = visit.asked("keyword").to_lowercase();
    let fits = |text: &str| text.to_lowercase().contains(&word);
    let in_file = has_file(&settings);
    settings.retain(|setting| fits(setting.key) || fits(meaning(lang, setting)));
    let (set, default): (Vec<_>, Vec<_>) =
        settings.iter().partition(|setting| setting.source != "default");
    let body = html! {
        (
            parts::filters(
                &visit, parts::typed(&visit, "keyword", lang.say("名称或含义", "Name or meaning"))
            )
        )
        div #list {
            @if settings.is_empty() {
                (parts::empty(lang.say("没有符合条件的设置。", "No setting fits this filter."), None))
            }
            // What was changed comes first.
            (section(&visit, lang.say("已设置", "Set here"), &set, in_file))
            @for part in SECTIONS {
                @let own = default.iter().filter(|it| part.has(it.key)).copied();
                (section(&visit, part.title(lang), &own.collect::<Vec<_>>(), in_file))
            }
            @let rest = default.iter().filter(|it| !SECTIONS.iter().any(|part| part.has(it.key)));
            (section(&visit, lang.say("其他", "Others"), &rest.copied().collect::<Vec<_>>(), in_file))
        }
    };
    let title = lang.say("设置", "Settings");
    Ok(ShellPage::new(title, ENTRY).show(&visit, body))
}

fn section(visit: &Visit, title: &str, settings: &[&OptionView], in_file: bool) -> Markup {
    let lang = visit.lang();
    html! {
        @if !settings.is_empty() {
            h2.sec { (title) }
            div.scroll {
                (folds(lang, &html! { table.settings {
                    thead { tr {
                        th { (lang.say("设置", "Setting")) }
                        th { (lang.say("值", "Value")) }
                        th.hide { (lang.say("含义", "Meaning")) }
                        (parts::acts_head(lang))
                    } }
                    tbody { @for setting in settings { (row(visit, setting, in_file)) } }
                } }))
            }
        }
    }
}

/// Where a value comes from, in words.
fn source(lang: Lang, setting: &OptionView) -> String {
    let source = setting.source.as_str();
    match source.split_once(' ') {
        Some(("file", name)) => tell!(lang, "来自文件 {name}", "from the file {name}"),
        Some(("environment", name)) if name != setting.key => {
            tell!(lang, "来自环境变量 {name}", "from {name}")
        }
        _ if source.starts_with("environment") => {
            lang.say("来自环境变量", "from the environment").to_owned()
        }
        _ if source == "runtime" => {
            lang.say("在此修改, 重启前有效", "changed here, until the restart").to_owned()
        }
        _ => source.to_owned(),
    }
}

fn row(visit: &Visit, setting: &OptionView, in_file: bool) -> Markup {
    let lang = visit.lang();
    let is_default = setting.source == "default";
    html! {
        tr {
            td.mono { (setting.key) }
            td.cut title=(setting.value) {
                @if setting.value.is_empty() { span.muted { (lang.say("(空)", "(empty)")) } }
                @else { span.mono { (setting.value) } }
                @if !is_default { br; span.muted.small { (source(lang, setting)) } }
            }
            td.wrap.muted {
                (meaning(lang, setting))
                @if setting.source == "runtime" {
                    p.small {
                        @if in_file {
                            (lang.say("写入配置文件以长期生效: ", "To keep it, in the file of settings: "))
                        } @else {
                            (lang.say("设置环境变量以长期生效: ", "To keep it, in the environment: "))
                        }
                        code.mono.break { (line_to_keep(setting.key, &setting.value, in_file)) }
                    }
                }
            }
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
    // An empty value is one: a list of nothing, say.
    let value = Some(form.text("value")).filter(|_| !back);
    let object = Object::default().put("key", form.text("key")).put("value", value);
    option::change(&visit.state, &visit.actor, OptionInput::read(object.fields()?)?).await
}

/// Whether this process has a file of settings.
fn has_file(settings: &[OptionView]) -> bool {
    settings.iter().any(|it| it.key == "CUSTOM_PASS_CONFIG_FILE" && !it.value.is_empty())
}

/// The line that keeps a value beyond the restart: of the file, which is JSON, or of the
/// environment, as a shell reads it.
fn line_to_keep(key: &str, value: &str, in_file: bool) -> String {
    if in_file {
        return format!("\"{key}\": {}", serde_json::Value::from(value));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@%+=".contains(c);
    match value.chars().all(is_plain) {
        true => format!("{key}={value}"),
        false => format!("{key}='{}'", value.replace('\'', r"'\''")),
    }
}

fn page(visit: &Visit, key: &str, complaint: Option<&Complaint>) -> Handled {
    let lang = visit.lang();
    let settings = option::list(&visit.state, &visit.actor)?.items;
    let has_file = has_file(&settings);
    let setting = settings.into_iter().find(|setting| setting.key == key);
    let none = || AdminError::not_found("设置项", "setting of this name");
    let setting = setting.ok_or_else(none)?;
    let fields = FormFields::new(visit.lang(), &visit.form, complaint);
    let body = html! {
        form.form method="post" action="/console/settings/edit" {
            (csrf(visit))
            (parts::complaint(lang, complaint))
            input type="hidden" name="key" value=(setting.key);
            p.note {
                (lang.say("只在本节点生效, 直到重启。要长期生效, ",
                    "For this node alone, until it restarts. To keep it, "))
                @if has_file {
                    (lang.say("请写入配置文件: ", "put it into the file of settings: "))
                } @else {
                    (lang.say("请设置服务的环境变量: ", "set it in the service's environment: "))
                }
                code.mono.break {
                    (line_to_keep(setting.key, fields.now("value", &setting.value), has_file))
                }
            }
            p.muted { (meaning(lang, &setting)) }
            (fields.field(FormField::new("value", setting.key)
                .value(&setting.value)
                .hint(&allowed(lang, &setting.allowed))))
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
