//! The form for a change of many channels: which fields, and as what.

use super::batch::{self, BatchList, label};
use super::channels::name as name_of;
use super::for_admins;
use crate::form::{Complaint, Form, Object};
use crate::lang::{Lang, tell};
use crate::parts::{self, FormField, FormFields, form_page};
use crate::shell::{ShellPage, csrf};
use crate::visit::{Handled, Here, Visit, done, go_to, switched};
use admin::ops::batch::BatchResult;
use admin::ops::channel::{self, COPIED_FIELDS, ChannelFilter};
use admin::{AdminError, PageRequest};
use maud::{Markup, html};

pub(super) const LIST: BatchList = BatchList {
    entry: "/console/channels",
    noun: ["渠道", "channel", "channels", "Channel"],
    on: ("启用", "On"),
    disabling: ("", ""),
};

/// How a list changes, as the API names it: added to, taken from, replaced.
type ListFields = [&'static str; 3];
const MODELS: ListFields = ["add_models", "remove_models", "models"];
const GROUPS: ListFields = ["add_groups", "remove_groups", "groups"];
const NUMBERS: [&str; 4] = ["status", "priority", "weight", "copy_from"];
/// What takes the tag away, when it is typed.
const NO_TAG: &str = "-";
/// Every field of the form.
const FIELDS: [&[&str]; 4] = [&MODELS, &GROUPS, &NUMBERS, &["copy", "auto_ban", "tag"]];

/// The bar below the list of channels.
pub(super) fn bar(visit: &Visit) -> Markup {
    batch::bar(
        visit,
        &LIST,
        html! {
            button name="edit" value="1" { (visit.say("修改…", "Change…")) }
            button formaction="/console/channels/test" { (visit.say("测试", "Test")) }
        },
    )
}

/// `GET /console/channels/batch?id=…&id=…`: the form.
pub(crate) async fn show(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let asked = Form::of(&visit.asked);
    if asked.all("id").next().is_none() {
        return Ok(go_to(LIST.entry));
    }
    form(&visit, &asked, None).await
}

/// `POST /console/channels/batch`: the form, what it would do, and with `apply` doing it.
pub(crate) async fn change(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    if visit.form.all("id").next().is_none() {
        return Ok(go_to(&LIST.origin(&visit)));
    }
    if visit.form.ticked("edit") {
        return form(&visit, &visit.form, None).await;
    }
    let applied = visit.form.ticked("apply");
    match run(&visit, !applied).await {
        Ok(result) if applied => Ok(match batch::switched_ids(&result) {
            Some(ids) => {
                let enables = visit.form.text("status") == "1";
                switched(&visit, &LIST.origin(&visit), enables, &ids)
            }
            None => done(&LIST.origin(&visit), "saved"),
        }),
        Ok(result) => Ok(batch::preview(&visit, &LIST, &FIELDS.concat(), &result)),
        Err(error) => form(&visit, &visit.form, Some(&complaint(error, visit.lang())?)).await,
    }
}

async fn run(visit: &Visit, dry_run: bool) -> Result<BatchResult, AdminError> {
    let (form, mut set) = (&visit.form, Object::default());
    for field in [MODELS, GROUPS].concat() {
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
    set = match form.text("tag") {
        // An empty field stays as it is.
        NO_TAG => set.put("tag", ""),
        text => set.put_some("tag", text),
    };
    let copied: Vec<&str> = form.all("copy").collect();
    if !form.text("copy_from").is_empty() {
        set = set.put("copy", copied);
    }
    let request = channel::read_batch(batch::request(form, set, dry_run)?)?;
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
        channel::rows(&visit.state, &ChannelFilter::default(), PageRequest::first()).await?;
    let sources = html! {
        datalist #sources {
            @for channel in &others.items {
                option value=(channel.id) { (name_of(channel)) }
            }
        }
    };
    let given = &given.joined(&["models"]);
    let fields = FormFields::new(lang, given, complaint);
    let body = html! {
        form.form.wide method="post" action="/console/channels/batch" {
            (csrf(visit))
            (batch::keep_origin(visit, &LIST))
            @for id in &ids { input type="hidden" name="id" value=(id); }
            (parts::complaint(lang, complaint))
            p.muted { (lang.say("留空的不变。提交前会列出每个渠道的变化。",
                "What is left empty stays. What changes of each channel is shown first.")) }
            (set_fields(lang, &fields))
            (copy_fields(lang, &fields, &sources))
            div.buttons {
                button.primary { (lang.say("查看变化", "See what changes")) }
                a.button href=(LIST.origin(visit)) { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let title = tell!(lang, "修改 {}", "Change {}", LIST.many(lang, ids.len()));
    Ok(form_page(visit, ShellPage::new(title, LIST.entry), complaint, body))
}

fn set_fields(lang: Lang, fields: &FormFields<'_>) -> Markup {
    let same = lang.say("不变", "as it is");
    let (on, off) = (lang.say("启用", "On"), lang.say("禁用", "Off"));
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
            (fields.field(FormField::new("tag", lang.say("标签", "Tag"))
                .hint(lang.say("- 去掉标签", "- takes the tag away"))))
            }
        }
        (list_fields(fields, lang, lang.say("模型", "Models"), MODELS))
        (list_fields(fields, lang, lang.say("分组", "Groups"), GROUPS))
    }
}

fn list_fields(fields: &FormFields<'_>, lang: Lang, legend: &str, names: ListFields) -> Markup {
    let labels = [
        lang.say("增加", "Add"),
        lang.say("移除", "Remove"),
        lang.say("全部替换为", "Replace all by"),
    ];
    let listed = lang.say("以逗号分隔", "separated by commas");
    html! {
        fieldset {
            legend { (legend) }
            div.pair {
                @for (name, label) in names.iter().zip(labels) {
                    (fields.field(FormField::new(name, label).hint(listed)))
                }
            }
        }
    }
}

/// Some channels are offered; any can be typed.
fn copy_fields(lang: Lang, fields: &FormFields<'_>, sources: &Markup) -> Markup {
    let ticked = |field: &str| fields.form.all("copy").any(|it| it == field);
    html! {
        fieldset {
            legend { (lang.say("从一个渠道复制", "Copy from one channel")) }
            (fields.field(FormField::new("copy_from", lang.say("渠道编号", "Number of the channel"))
                .list("sources")))
            (sources)
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
