//! The same change of many rows of a list: their boxes, what would change of each, then doing it.
//! Works without the script.

use crate::form::{Complaint, Form, Object};
use crate::lang::{Lang, tell};
use crate::parts::{self, form_page};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Visit, done, go_to, is_page, switched};
use admin::AdminError;
use admin::ops::batch::{BatchItem, BatchRequest, BatchResult, FieldChange, StatusSet};
use maud::{Markup, html};
use serde_json::Value;

/// A list whose rows can be changed together.
pub(super) struct BatchList {
    /// The address of the list; `/batch` behind it changes its rows.
    pub(super) entry: &'static str,
    /// What a row is in Chinese, in English as one, as many, and as a column's head.
    pub(super) noun: [&'static str; 4],
    /// What the states 1 and 2 are called.
    pub(super) on: (&'static str, &'static str),
    /// What disabling does besides, in both languages.
    pub(super) disabling: (&'static str, &'static str),
}

impl BatchList {
    /// So many rows, in words.
    pub(super) fn many(&self, lang: Lang, number: impl TryInto<i64>) -> String {
        let [zh, one, many, _] = self.noun;
        match number.try_into().unwrap_or(i64::MAX) {
            1 => tell!(lang, "1 个{zh}", "1 {one}"),
            number => tell!(lang, "{number} 个{zh}", "{number} {many}"),
        }
    }

    fn address(&self) -> String {
        format!("{}/batch", self.entry)
    }

    /// The list with the filters under which the boxes were ticked.
    pub(super) fn origin(&self, visit: &Visit) -> String {
        let ways =
            [Some(visit.form.text("back")), Some(&visit.address), visit.came_from.as_deref()];
        let mut ways = ways.into_iter().flatten().filter(|way| is_page(way));
        let origin = ways.find(|way| way.split('?').next() == Some(self.entry));
        origin.unwrap_or(self.entry).to_owned()
    }
}

/// Keeps that address through the steps of a change.
pub(super) fn keep_origin(visit: &Visit, list: &BatchList) -> Markup {
    html! { input type="hidden" name="back" value=(list.origin(visit)); }
}

/// The bar below a list whose rows are enabled and disabled, and `more` of its own.
pub(super) fn bar(visit: &Visit, list: &BatchList, more: Markup) -> Markup {
    let lang = visit.lang();
    let buttons = html! {
        button name="status" value="1" { (lang.say("启用", "Enable")) }
        button name="status" value="2" { (lang.say("禁用", "Disable")) }
        (more)
    };
    bar_of(visit, list, buttons)
}

/// The bar below a list, whose boxes belong to it.
pub(super) fn bar_of(visit: &Visit, list: &BatchList, buttons: Markup) -> Markup {
    html! {
        form #batch.bar method="post" action=(list.address()) {
            (csrf(visit))
            (keep_origin(visit, list))
            span.muted { (visit.say("选中的:", "Selected:")) span #ticked {} }
            (buttons)
        }
    }
}

/// The cell at the start of a row with its box; empty where the row can't be changed.
pub(super) fn tick(lang: Lang, id: i64, name: &str, can_change: bool) -> Markup {
    let label = tell!(lang, "选择 {name}", "Select {name}");
    html! {
        td.tick {
            @if can_change {
                input type="checkbox" name="id" value=(id) form="batch" aria-label=(label);
            }
        }
    }
}

/// Its head; the script makes it tick all.
pub(super) fn tick_head(lang: Lang) -> Markup {
    let label = lang.say("全选", "Select all");
    html! { th.tick { input type="checkbox" data-all="id" hidden aria-label=(label); } }
}

/// `GET …/batch`, where a change of the language leads: what was ticked is gone.
pub(crate) async fn leave(Here(visit): Here) -> Handled {
    Ok(go_to(visit.path.trim_end_matches("/batch")))
}

/// `POST …/batch` of a list whose rows are enabled and disabled: what that would do, and with
/// `apply` doing it by `change_many`.
pub(super) async fn set_status<F>(
    visit: &Visit,
    list: &BatchList,
    change_many: impl FnOnce(BatchRequest<StatusSet>) -> F,
) -> Handled
where
    F: Future<Output = Result<BatchResult, AdminError>>,
{
    let form = &visit.form;
    if form.all("id").next().is_none() {
        return Ok(go_to(&list.origin(visit)));
    }
    let set = Object::default().put_int("status", form.text("status"));
    let applied = form.ticked("apply");
    let request = BatchRequest::of_status(request(form, set, !applied)?)?;
    let enables = request.set.status == 1;
    match change_many(request).await {
        Ok(result) if applied => Ok(match switched_ids(&result) {
            Some(ids) => switched(visit, &list.origin(visit), enables, &ids),
            None => done(&list.origin(visit), "saved"),
        }),
        Ok(result) => Ok(preview(visit, list, &["status"], &result)),
        Err(error) => refused(visit, list, &Complaint::of(error, visit.lang())?),
    }
}

/// The rows that changed, where nothing but their switch did: that can be undone. One that was off
/// because it failed would be switched on.
pub(super) fn switched_ids(result: &BatchResult) -> Option<Vec<i64>> {
    let changed = || result.items.iter().filter(|item| !item.changes.is_empty());
    let mut changes = changed().flat_map(|item| &item.changes).peekable();
    changes.peek()?;
    let is_switch = |change: &FieldChange| {
        change.field == "status" && (change.before == 1 || change.before == 2)
    };
    changes.all(is_switch).then(|| changed().map(|item| item.id).collect())
}

/// A request of the API: the rows that are ticked, and what is set of them.
pub(super) fn request(
    form: &Form,
    set: Object,
    dry_run: bool,
) -> Result<admin::Fields, AdminError> {
    let ids = form.all("id").filter_map(|id| id.parse::<i64>().ok()).collect::<Vec<_>>();
    Object::default().put("ids", ids).put("set", set.value()).put("dry_run", dry_run).fields()
}

/// Why nothing can be changed.
fn refused(visit: &Visit, list: &BatchList, complaint: &Complaint) -> Handled {
    let lang = visit.lang();
    let body = html! {
        (parts::complaint(lang, Some(complaint)))
        div.buttons { a.button href=(list.origin(visit)) { (lang.say("返回列表", "To the list")) } }
    };
    let title = lang.say("没有任何变化", "Nothing was changed");
    Ok(form_page(visit, ShellPage::new(title, list.entry), Some(complaint), body))
}

/// What would change of each row, and the button that does it. `fields` of the form stay in it.
pub(super) fn preview(
    visit: &Visit,
    list: &BatchList,
    fields: &[&str],
    result: &BatchResult,
) -> crate::visit::PageReply {
    let lang = visit.lang();
    let is_kept = |field: &str| field == "id" || fields.contains(&field);
    let disables = visit.form.text("status") == "2" && result.changed > 0;
    let body = html! {
        form method="post" action=(list.address()) {
            (csrf(visit))
            (keep_origin(visit, list))
            @for (field, value) in visit.form.pairs().filter(|(field, _)| is_kept(field)) {
                input type="hidden" name=(field) value=(value);
            }
            @if disables && !list.disabling.0.is_empty() {
                p.note { (lang.say(list.disabling.0, list.disabling.1)) }
            }
            @if result.changed == 0 {
                p.muted { (lang.say("选中的已经如此, 没有变化。",
                    "What is selected is so already: nothing changes.")) }
            } @else {
                (differences(lang, list, &result.items))
            }
            div.buttons {
                @if result.changed > 0 {
                    @let many = list.many(lang, result.changed);
                    button.primary name="apply" value="1" {
                        (tell!(lang, "应用到 {many}", "Apply to {many}"))
                    }
                }
                a.button href=(list.origin(visit)) { (lang.say("取消", "Cancel")) }
            }
        }
        @if result.changed > 0 {
            p.muted.small { (tell!(lang, "全部成功或全部不变; 每个{}各记一条操作记录。",
                "All of them or none; each {} is entered in the admin journal.",
                lang.say(list.noun[0], list.noun[1]))) }
        }
    };
    let title = lang.say("将要发生的变化", "What will change");
    ShellPage::new(title, list.entry).show(visit, body)
}

fn differences(lang: Lang, list: &BatchList, items: &[BatchItem]) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr {
                    th { (lang.say(list.noun[0], list.noun[3])) }
                    th { (lang.say("字段", "Field")) }
                    th { (lang.say("现在", "Now")) }
                    th { (lang.say("之后", "Then")) }
                } }
                tbody { @for item in items { (rows(lang, list, item)) } }
            }
        }
    }
}

fn rows(lang: Lang, list: &BatchList, item: &BatchItem) -> Markup {
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
                (before_and_after(lang, list, change))
            }
        }
    }
}

/// Of lists only what comes and goes.
fn before_and_after(lang: Lang, list: &BatchList, change: &FieldChange) -> Markup {
    let (Value::Array(before), Value::Array(after)) = (&change.before, &change.after) else {
        return html! {
            td.wrap { (value(lang, list, change.field, &change.before)) }
            td.wrap { b { (value(lang, list, change.field, &change.after)) } }
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

fn value(lang: Lang, list: &BatchList, field: &str, value: &Value) -> String {
    match (field, value.as_i64(), value) {
        ("status", Some(1), _) => lang.say(list.on.0, list.on.1).to_owned(),
        ("status", Some(3), _) => lang.say("自动禁用", "Off: failed").to_owned(),
        ("status", Some(_), _) => lang.say("禁用", "Off").to_owned(),
        (_, _, Value::Bool(true)) => lang.say("是", "yes").to_owned(),
        (_, _, Value::Bool(false)) => lang.say("否", "no").to_owned(),
        (_, _, Value::Object(members)) if members.is_empty() => show::NOTHING.to_owned(),
        (_, _, Value::String(text)) if text.is_empty() => show::NOTHING.to_owned(),
        _ => text(value),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A field of the API, in words.
pub(super) fn label(lang: Lang, field: &str) -> &str {
    match field {
        "status" => lang.say("状态", "State"),
        "models" => lang.say("模型", "Models"),
        "groups" => lang.say("分组", "Groups"),
        "tag" => lang.say("标签", "Tag"),
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
