//! The same change of many channels: what is to change, what that would do to each, then doing it.
//! Works without the script.

use super::channels::name as name_of;
use super::for_admins;
use crate::form::{Complaint, Form, Object};
use crate::lang::{Lang, tell};
use crate::parts::{self, FormField, FormFields, form_page};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Visit, done, go_to};
use admin::ops::batch::{BatchItem, BatchResult, FieldChange};
use admin::ops::channel::{self, COPIED_FIELDS, ChannelFilter};
use admin::{AdminError, PageRequest};
use maud::{Markup, html};
use serde_json::Value;

const ENTRY: &str = "/console/channels";
const HERE: &str = "/console/channels/batch";

/// The fields of a change, as the API names them.
const LISTS: [&str; 6] =
    ["models", "add_models", "remove_models", "groups", "add_groups", "remove_groups"];
const NUMBERS: [&str; 4] = ["status", "priority", "weight", "copy_from"];

/// The bar below the list, whose boxes belong to it.
pub(super) fn bar(visit: &Visit) -> Markup {
    let lang = visit.lang();
    html! {
        form #batch.bar.hide method="post" action=(HERE) {
            (csrf(visit))
            span.muted { (lang.say("选中的渠道:", "Selected:")) }
            button name="status" value="1" { (lang.say("启用", "Enable")) }
            button name="status" value="2" { (lang.say("禁用", "Disable")) }
            button name="edit" value="1" { (lang.say("修改…", "Change…")) }
            button formaction="/console/channels/test" { (lang.say("测试", "Test")) }
        }
    }
}

/// The box of a row; the bar's form has it.
pub(super) fn tick(lang: Lang, channel: &channel::ChannelView) -> Markup {
    let label = tell!(lang, "选择 {}", "Select {}", name_of(lang, channel));
    html! {
        td.tick.hide {
            input type="checkbox" name="id" value=(channel.id.0) form="batch" aria-label=(label);
        }
    }
}

/// Its head; the script makes it tick all.
pub(super) fn tick_head(lang: Lang) -> Markup {
    let label = lang.say("全选", "Select all");
    html! { th.tick.hide { input type="checkbox" data-all="id" hidden aria-label=(label); } }
}

/// `GET /console/channels/batch?id=…&id=…`: the form; with `status` what that would do.
pub(crate) async fn show(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let asked = Form::of(&visit.asked);
    if asked.all("id").next().is_none() {
        return Ok(go_to(ENTRY));
    }
    if asked.text("status").is_empty() {
        return form(&visit, &asked, None).await;
    }
    preview(&visit, &asked).await
}

/// `POST /console/channels/batch`: the form, what it would do, and with `apply` doing it.
pub(crate) async fn change(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    if visit.form.all("id").next().is_none() {
        return Ok(go_to(ENTRY));
    }
    if visit.form.ticked("edit") {
        return form(&visit, &visit.form, None).await;
    }
    if !visit.form.ticked("apply") {
        return preview(&visit, &visit.form).await;
    }
    match run(&visit, &visit.form, false).await {
        Ok(_) => Ok(done(ENTRY, "saved")),
        Err(error) => form(&visit, &visit.form, Some(&complaint(error, visit.lang())?)).await,
    }
}

async fn run(visit: &Visit, form: &Form, dry_run: bool) -> Result<BatchResult, AdminError> {
    let mut set = Object::default();
    for field in LISTS {
        // The boxes of a page send a list item by item.
        let items: Vec<&str> = form.all(field).collect();
        set = set.put_some(field, items.join(",").trim());
    }
    for field in NUMBERS {
        set = set.put_int(field, form.text(field));
    }
    set = match form.text("auto_ban") {
        "" => set,
        text => set.put("auto_ban", text == "on"),
    };
    let copied: Vec<&str> = form.all("copy").collect();
    if !form.text("copy_from").is_empty() {
        set = set.put("copy", copied);
    }
    let ids = form.all("id").filter_map(|id| id.parse::<i64>().ok()).collect::<Vec<_>>();
    let request = Object::default().put("ids", ids).put("set", set.value()).put("dry_run", dry_run);
    let request = channel::read_batch(request.fields()?)?;
    channel::change_many(&visit.state, &visit.actor, request).await
}

/// What is wrong, by the field of the form.
fn complaint(error: AdminError, lang: Lang) -> Result<Complaint, AdminError> {
    let mut complaint = Complaint::of(error, lang)?;
    complaint.field = complaint.field.trim_start_matches("set.").to_owned();
    Ok(complaint)
}

/// The form; what was typed stands in it again.
async fn form(visit: &Visit, given: &Form, complaint: Option<&Complaint>) -> Handled {
    let lang = visit.lang();
    let ids: Vec<&str> = given.all("id").collect();
    let others =
        channel::list(&visit.state, &ChannelFilter::default(), PageRequest::first()).await?;
    let mut sources = vec![(String::new(), lang.say("不复制", "nothing").to_owned())];
    sources.extend(others.items.iter().map(|channel| {
        (channel.id.0.to_string(), format!("#{} {}", channel.id, name_of(lang, channel)))
    }));
    let sources: Vec<_> = sources.iter().map(|(id, name)| (id.as_str(), name.as_str())).collect();
    let fields = FormFields { form: given, complaint };
    let body = html! {
        form.form.wide method="post" action=(HERE) {
            (csrf(visit))
            @for id in &ids { input type="hidden" name="id" value=(id); }
            (parts::complaint(complaint))
            p.muted { (lang.say("留空的不变。提交前会列出每个渠道的变化。",
                "What is left empty stays. What changes of each channel is shown first.")) }
            (set_fields(lang, &fields))
            (copy_fields(lang, &fields, &sources))
            div.buttons {
                button.primary { (lang.say("查看变化", "See what changes")) }
                a.button href=(ENTRY) { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let title = tell!(lang, "修改 {}", "Change {}", many(lang, ids.len()));
    Ok(form_page(visit, ShellPage::new(title, ENTRY), complaint, body))
}

fn set_fields(lang: Lang, fields: &FormFields<'_>) -> Markup {
    let same = lang.say("不变", "as it is");
    let (on, off) = (lang.say("启用", "On"), lang.say("禁用", "Off"));
    let listed = lang.say("以逗号分隔", "separated by commas");
    let list = |field: &'static str, label: &'static str| {
        fields.field(FormField::new(field, label).hint(listed))
    };
    html! {
        fieldset {
            legend { (lang.say("状态与路由", "State and routing")) }
            div.pair {
            (fields.choice(("status", lang.say("状态", "State")), "",
                &[("", same), ("1", on), ("2", off)]))
            (fields.choice(("auto_ban", lang.say("失败时自动暂停", "Pause when it keeps failing")), "",
                &[("", same), ("on", on), ("off", off)]))
            (fields.field(FormField::new("priority", lang.say("优先级", "Priority")).kind("number")))
            (fields.field(FormField::new("weight", lang.say("权重", "Weight")).kind("number")))
            }
        }
        fieldset {
            legend { (lang.say("模型", "Models")) }
            div.pair {
            (list("add_models", lang.say("增加", "Add")))
            (list("remove_models", lang.say("移除", "Remove")))
            (list("models", lang.say("全部替换为", "Replace all by")))
            }
        }
        fieldset {
            legend { (lang.say("分组", "Groups")) }
            div.pair {
            (list("add_groups", lang.say("增加", "Add")))
            (list("remove_groups", lang.say("移除", "Remove")))
            (list("groups", lang.say("全部替换为", "Replace all by")))
            }
        }
    }
}

fn copy_fields(lang: Lang, fields: &FormFields<'_>, sources: &[(&str, &str)]) -> Markup {
    let ticked = |field: &str| fields.form.all("copy").any(|it| it == field);
    html! {
        fieldset {
            legend { (lang.say("从一个渠道复制", "Copy from one channel")) }
            (fields.choice(("copy_from", lang.say("渠道", "Channel")), "", sources))
            div.field.ticks {
                @for field in COPIED_FIELDS {
                    label {
                        input type="checkbox" name="copy" value=(field) checked[ticked(field)];
                        " " (label(lang, field))
                    }
                }
            }
            p.hint { (lang.say("地址、密钥与代理不会复制。", "Address, key and proxy are not copied.")) }
        }
    }
}

/// What would change of each channel, and the button that does it.
async fn preview(visit: &Visit, given: &Form) -> Handled {
    let lang = visit.lang();
    let result = match run(visit, given, true).await {
        Ok(result) => result,
        Err(error) => return form(visit, given, Some(&complaint(error, lang)?)).await,
    };
    let body = html! {
        form method="post" action=(HERE) {
            (csrf(visit))
            @for (field, value) in given.pairs().filter(|(field, _)| is_kept(field)) {
                input type="hidden" name=(field) value=(value);
            }
            @if result.changed == 0 {
                p.muted { (lang.say("所选渠道已经如此, 没有变化。",
                    "The selected channels are so already: nothing changes.")) }
            } @else {
                (differences(lang, &result.items))
            }
            div.buttons {
                @if result.changed > 0 {
                    button.primary name="apply" value="1" {
                        (tell!(lang, "应用到 {}", "Apply to {}", many(lang, result.changed)))
                    }
                }
                a.button href=(ENTRY) { (lang.say("取消", "Cancel")) }
            }
        }
        @if result.changed > 0 {
            p.muted.small { (lang.say("全部成功或全部不变; 每个渠道各记一条操作记录。",
                "All of them or none; each is entered in the admin journal.")) }
        }
    };
    let title = lang.say("将要发生的变化", "What will change");
    Ok(ShellPage::new(title, ENTRY).show(visit, body))
}

fn many(lang: Lang, number: impl TryInto<i64>) -> String {
    match number.try_into().unwrap_or(i64::MAX) {
        1 => lang.say("1 个渠道", "1 channel").to_owned(),
        number => tell!(lang, "{number} 个渠道", "{number} channels"),
    }
}

fn is_kept(field: &str) -> bool {
    LISTS.contains(&field)
        || NUMBERS.contains(&field)
        || matches!(field, "id" | "copy" | "auto_ban")
}

fn differences(lang: Lang, items: &[BatchItem]) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr {
                    th { (lang.say("渠道", "Channel")) }
                    th { (lang.say("字段", "Field")) }
                    th { (lang.say("现在", "Now")) }
                    th { (lang.say("之后", "Then")) }
                } }
                tbody { @for item in items { (rows(lang, item)) } }
            }
        }
    }
}

fn rows(lang: Lang, item: &BatchItem) -> Markup {
    let name = if item.name.is_empty() { format!("#{}", item.id) } else { item.name.clone() };
    html! {
        @if item.changes.is_empty() {
            tr {
                td { (name) }
                td.muted colspan="3" { (lang.say("没有变化", "nothing changes")) }
            }
        }
        @for (nth, change) in item.changes.iter().enumerate() {
            tr {
                td { @if nth == 0 { (name) } }
                td { (label(lang, change.field)) }
                (before_and_after(lang, change))
            }
        }
    }
}

/// Of lists only what comes and goes.
fn before_and_after(lang: Lang, change: &FieldChange) -> Markup {
    let (Value::Array(before), Value::Array(after)) = (&change.before, &change.after) else {
        return html! {
            td.wrap { (value(lang, change.field, &change.before)) }
            td.wrap { b { (value(lang, change.field, &change.after)) } }
        };
    };
    let gone = before.iter().filter(|item| !after.contains(item));
    let come = after.iter().filter(|item| !before.contains(item));
    html! {
        td.muted { (before.len()) }
        td.wrap {
            @for item in come { span.chip.good { "+ " (text(item)) } }
            @for item in gone { span.chip.bad { "− " (text(item)) } }
            span.muted { " = " (after.len()) }
        }
    }
}

fn value(lang: Lang, field: &str, value: &Value) -> String {
    match (field, value.as_i64(), value) {
        ("status", Some(1), _) => lang.say("启用", "On").to_owned(),
        ("status", Some(3), _) => lang.say("自动禁用", "Off: failed").to_owned(),
        ("status", Some(_), _) => lang.say("禁用", "Off").to_owned(),
        (_, _, Value::Bool(true)) => lang.say("是", "yes").to_owned(),
        (_, _, Value::Bool(false)) => lang.say("否", "no").to_owned(),
        (_, _, Value::Object(members)) if members.is_empty() => show::NOTHING.to_owned(),
        _ => text(value),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn label(lang: Lang, field: &str) -> &str {
    match field {
        "status" => lang.say("状态", "State"),
        "models" => lang.say("模型", "Models"),
        "groups" => lang.say("分组", "Groups"),
        "priority" => lang.say("优先级", "Priority"),
        "weight" => lang.say("权重", "Weight"),
        "auto_ban" => lang.say("自动暂停", "Pauses by itself"),
        "protocol" => lang.say("协议", "Protocol"),
        "model_mapping" => lang.say("模型映射", "Model mapping"),
        "param_override" => lang.say("参数覆盖", "Parameters put in"),
        "status_code_mapping" => lang.say("状态码映射", "Status mapping"),
        "custompass_status_mapping" => lang.say("任务状态词", "Status words of tasks"),
        "setting" => lang.say("设置 (代理除外)", "Setting, but the proxy"),
        other => other,
    }
}
