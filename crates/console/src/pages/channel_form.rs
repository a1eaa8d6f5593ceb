//! Making and changing channels.

use super::channels::name;
use super::for_admins;
use super::keys::listed;
use crate::form::{Complaint, Form, Object};
use crate::lang::{Lang, tell};
use crate::once::{SentOnce, once, once_field};
use crate::parts::{self, FormField, FormFields};
use crate::replaced::{ChangedMeanwhile, FieldTexts, FormSays, in_words, mark_of, replaced};
use crate::shell::{ShellPage, csrf};
use crate::visit::{self, Handled, Here, Path, Visit, done};
use admin::AdminError;
use admin::ops::channel::{self, ChannelInput, ChannelView};
use admin::ops::group;
use admin::ops::protocol::{self, ProtocolView};
use domain::ChannelId;
use http::StatusCode;
use maud::{Markup, html};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeSet;

const ENTRY: &str = "/console/channels";
/// The protocol of a channel that names none.
const CUSTOM_PASS: &str = "custompass";

/// `GET /console/channels/new`
pub(crate) async fn new(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    page(&visit, None, &FormSays::Nothing).await
}

/// `POST /console/channels/new`
pub(crate) async fn create(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let page_of = |id: &i64| format!("/console/channels/{id}");
    match once(&visit, created(&visit), page_of).await {
        Ok(SentOnce::Made(id)) => Ok(done(&visit.then(&page_of(&id)), "created")),
        Ok(SentOnce::Before(to)) => Ok(done(&to, "made-before")),
        Err(error) => {
            let complaint = Complaint::of(error, visit.lang())?;
            page(&visit, None, &FormSays::Complaint(complaint)).await
        }
    }
}

async fn created(visit: &Visit) -> Result<i64, AdminError> {
    let input = ChannelInput::read(object(visit).fields()?)?;
    Ok(channel::create(&visit.state, &visit.actor, input).await?.id.0)
}

/// `GET /console/channels/{id}/edit`
pub(crate) async fn edit(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let channel = channel::get(&visit.state, ChannelId(id)).await?;
    page(&visit, Some(&channel), &FormSays::Nothing).await
}

/// `POST /console/channels/{id}/edit`
pub(crate) async fn save(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let channel = channel::get(&visit.state, ChannelId(id)).await?;
    let says = match saved(&visit, &channel).await {
        Ok(None) => return Ok(done(&format!("/console/channels/{id}"), "saved")),
        Ok(Some(changed)) => FormSays::Replaces(changed),
        Err(error) => FormSays::Complaint(Complaint::of(error, visit.lang())?),
    };
    page(&visit, Some(&channel), &says).await
}

/// `POST /console/channels/new/check`
pub(crate) async fn check_new(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    checked(&visit, None).await
}

/// `POST /console/channels/{id}/check`
pub(crate) async fn check(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let channel = channel::get(&visit.state, ChannelId(id)).await?;
    checked(&visit, Some(&channel)).await
}

/// What is wrong with what was typed so far, or what saving it would change.
async fn checked(visit: &Visit, channel: Option<&ChannelView>) -> Handled {
    let (lang, id) = (visit.lang(), channel.map(|channel| channel.id));
    let input = object(visit).fields().and_then(ChannelInput::read);
    let may_be = match input {
        Ok(input) => channel::check(&visit.state, &visit.actor, id, input).await,
        Err(error) => Err(error),
    };
    let complaint = match may_be {
        Ok(()) => None,
        // A field that nobody has come to yet is no fault.
        Err(error) => {
            let complaint = Complaint::of(error, lang)?;
            let is_ahead = channel.is_none() && visit.form.text(&complaint.field).is_empty();
            Some(complaint).filter(|_| !is_ahead)
        }
    };
    let now = channel.map(texts).unwrap_or_default();
    let changes = replaced(&now, |name| typed(&visit.form, name));
    let new_key = channel.is_some() && !visit.form.text("key").is_empty();
    let part = html! {
        @if let Some(Complaint { field, words }) = &complaint {
            p.bad {
                @if !field.is_empty() {
                    a href={ "#f-" (field) } { (parts::field_label(lang, field)) } ": "
                }
                (words)
            }
        } @else if !changes.is_empty() || new_key {
            p.muted { (lang.say("保存将改为:", "Saving makes it:")) }
            (in_words(lang, &changes))
            @if new_key { p { (lang.say("密钥: 换成新的", "Key: a new one")) } }
        }
    };
    Ok(visit::html(StatusCode::OK, part))
}

/// Saves it; or returns what others have changed since the form was opened.
async fn saved(
    visit: &Visit,
    channel: &ChannelView,
) -> Result<Option<ChangedMeanwhile>, AdminError> {
    let input = ChannelInput::read(object(visit).fields()?)?;
    let changed =
        ChangedMeanwhile::unseen(&visit.form, &texts(channel), |name| typed(&visit.form, name));
    if changed.is_none() {
        channel::update(&visit.state, &visit.actor, channel.id, input).await?;
    }
    Ok(changed)
}

/// The fields of a channel that its form replaces. Its key is none of them: it is not shown.
fn texts(channel: &ChannelView) -> FieldTexts {
    let json = |json: &RawValue| compact(json.get());
    vec![
        ("name", channel.name.clone()),
        ("base_url", channel.base_url.clone()),
        ("protocol", channel.protocol.clone()),
        ("models", channel.models.join(", ")),
        ("groups", channel.groups.join(", ")),
        ("priority", channel.priority.to_string()),
        ("weight", channel.weight.to_string()),
        ("other", channel.other.clone()),
        ("tag", channel.tag.clone()),
        ("remark", channel.remark.clone()),
        ("auto_ban", channel.auto_ban.to_string()),
        ("model_mapping", json(&channel.model_mapping)),
        ("param_override", json(&channel.param_override)),
        ("status_code_mapping", json(&channel.status_code_mapping)),
        ("custompass_status_mapping", json(&channel.custompass_status_mapping)),
        ("setting", json(&channel.setting)),
    ]
}

/// One of them as it was typed; `None`: it is left as it is.
fn typed(form: &Form, name: &'static str) -> Option<String> {
    let text = form.text(name);
    Some(match name {
        "auto_ban" => form.ticked(name).to_string(),
        "protocol" | "priority" | "weight" if text.is_empty() => return None,
        "models" | "groups" => listed(text).join(", "),
        "remark" => text.replace("\r\n", "\n"),
        name if JSON.contains(&name) => compact(text),
        _ => text.to_owned(),
    })
}

/// JSON without blanks; nothing for an object without members.
fn compact(json: &str) -> String {
    match serde_json::from_str::<Value>(json) {
        Ok(Value::Null) => String::new(),
        Ok(Value::Object(members)) if members.is_empty() => String::new(),
        Ok(value) => value.to_string(),
        Err(_) => json.to_owned(),
    }
}

/// The members of a channel that are JSON, as they were typed.
const JSON: [&str; 5] = [
    "model_mapping",
    "param_override",
    "status_code_mapping",
    "custompass_status_mapping",
    "setting",
];

/// The fields of a channel as the API takes them.
fn object(visit: &Visit) -> Object {
    let form = &visit.form;
    let mut object = Object::default()
        .put("name", form.text("name"))
        .put("base_url", form.text("base_url"))
        .put_some("protocol", form.text("protocol"))
        .put_some("key", form.text("key"))
        .put("models", listed(form.text("models")))
        .put("groups", listed(form.text("groups")))
        .put_int("priority", form.text("priority"))
        .put_int("weight", form.text("weight"))
        .put("other", form.text("other"))
        .put("tag", form.text("tag"))
        .put("remark", form.text("remark"))
        .put("auto_ban", form.ticked("auto_ban"));
    for member in JSON {
        object = match form.text(member) {
            "" => object.put(member, Value::Object(serde_json::Map::new())),
            text => object.put_json(member, text),
        };
    }
    object
}

async fn page(
    visit: &Visit,
    channel: Option<&ChannelView>,
    says: &FormSays<ChangedMeanwhile>,
) -> Handled {
    let lang = visit.lang();
    let fields = says.fields(lang, &visit.form);
    let now = channel.map(|channel| mark_of(&texts(channel))).unwrap_or_default();
    let groups = group::names(&visit.state, &visit.actor).await?;
    let protocols = protocols(visit).await?;
    let here = channel.map(|channel| format!("/console/channels/{}", channel.id.0));
    let [action, check] = match &here {
        None => ["", "/check"].map(|step| format!("/console/channels/new{step}")),
        Some(here) => ["/edit", "/check"].map(|step| format!("{here}{step}")),
    };
    let body = html! {
        form.form.wide method="post" action=(action) {
            (csrf(visit))
            (visit.then_field())
            @if channel.is_some() {
                input type="hidden" name="opened" value=(says.opened(&visit.form, &now));
            } @else { (once_field(visit)) }
            (parts::complaint(lang, says.complaint()))
            @if let FormSays::Replaces(changed) = says { (changed.note(lang)) }
            (upstream_fields(lang, &fields, channel, &protocols))
            (routing_fields(lang, &fields, channel, &groups))
            (fields.field(FormField::new("remark", lang.say("备注", "Remark"))
                .kind("prose")
                .value(channel.map_or("", |channel| &channel.remark))
                .hint(lang.say("只有管理员看到", "for administrators alone"))))
            (mapping_fields(lang, &fields, channel))
            div.check role="status" hx-post=(check) hx-include="closest form"
                hx-trigger="change from:'closest form' delay:100ms" hx-swap="innerHTML" {}
            div.buttons {
                button.primary { (match channel {
                    Some(_) => lang.say("保存", "Save"),
                    None => lang.say("创建渠道", "Create channel"),
                }) }
                a.button href=(here.as_deref().unwrap_or(ENTRY)) { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let title = match channel {
        Some(channel) => tell!(lang, "编辑 {}", "Edit {}", name(channel)),
        None => lang.say("新建渠道", "New channel").to_owned(),
    };
    Ok(says.show(visit, ShellPage::new(title, ENTRY), body))
}

/// The protocols that a channel may speak: name, and name with title.
async fn protocols(visit: &Visit) -> Result<Vec<(String, String)>, AdminError> {
    let all = protocol::list(&visit.state).await?.items;
    let choice = |it: ProtocolView| {
        let title = visit.say(&it.title_zh, &it.title_en);
        (it.name.clone(), format!("{} · {title}", it.name))
    };
    Ok(all.into_iter().map(choice).collect())
}

fn upstream_fields(
    lang: Lang,
    fields: &FormFields<'_>,
    channel: Option<&ChannelView>,
    protocols: &[(String, String)],
) -> Markup {
    let protocols: Vec<_> =
        protocols.iter().map(|(name, title)| (name.as_str(), title.as_str())).collect();
    let protocol = channel.map_or(CUSTOM_PASS, |channel| &channel.protocol);
    let key = match channel {
        Some(channel) if channel.has_key => lang
            .say("留空则不变; 换主机时必须重新填写", "empty: unchanged; a new host needs it again"),
        _ => {
            lang.say("上游账户的密钥, 加密保存, 不再显示", "kept encrypted, and never shown again")
        }
    };
    let models = channel.map(|channel| channel.models.join("\n")).unwrap_or_default();
    html! {
        fieldset {
            legend { (lang.say("上游", "Upstream")) }
            div.pair {
                (fields.field(FormField::new("name", lang.say("名称", "Name"))
                    .value(channel.map_or("", |channel| &channel.name))))
                (fields.field(FormField::new("tag", lang.say("标签", "Tag"))
                    .value(channel.map_or("", |channel| &channel.tag))
                    .hint(lang.say("用于筛选与批量修改", "to find and change channels by"))))
            }
            (fields.choice(("protocol", lang.say("协议", "Protocol")), protocol, &protocols))
            p.hint { (lang.say(
                "上游说哪种 API: OpenAI 兼容的选 openai, 其他厂商选其名; 其余的选 custompass, \
                 它把 /pass/模型 原样转给任何 HTTP 服务。",
                "Which API the upstream speaks: openai for all that is compatible with it, a \
                 vendor by its name, and custompass for any other HTTP service, to which \
                 /pass/MODEL is passed as it is.",
            )) " " a href="/console/protocols" { (lang.say("各协议的说明", "What each is for")) } }
            (fields.field(FormField::new("base_url", lang.say("地址", "Address"))
                .required()
                .kind("url")
                .value(channel.map_or("https://", |channel| &channel.base_url))
                .hint(lang.say("如 https://api.openai.com, 末尾有无 /v1 都可以, 写了别的版本则以它为准; \
                    厂商另给路径的照写; 协议不带路径的 (如 custompass、fal) 只写主机。测试会显示实际调用的路径",
                    "like https://api.openai.com, with or without /v1 at its end; another version \
                     there is the one that is called, another path is as the vendor gives it; the \
                     host alone where the protocol takes no path (custompass, fal). A test shows \
                     the path that was called"))))
            (fields.field(FormField::new("key", lang.say("密钥", "Key"))
                .kind("password")
                .hint(key)))
            (fields.field(FormField::new("models", lang.say("模型", "Models"))
                .required()
                .kind("area")
                .value(&models)
                .hint(lang.say("每行一个; 任务模型以 /submit 结尾", "one a line; tasks end in /submit"))))
        }
    }
}

fn routing_fields(
    lang: Lang,
    fields: &FormFields<'_>,
    channel: Option<&ChannelView>,
    known: &BTreeSet<String>,
) -> Markup {
    let known = known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let hint = tell!(
        lang,
        "以逗号分隔。default 也服务那些在本组没有渠道的分组。现有: {known}",
        "commas between. default also serves every group that has no channel of its own for a \
         model. There are: {known}"
    );
    let groups = channel.map_or("default".to_owned(), |channel| channel.groups.join(", "));
    let priority = channel.map_or(0, |channel| channel.priority).to_string();
    let weight = channel.map_or(1, |channel| channel.weight).to_string();
    html! {
        fieldset {
            legend { (lang.say("路由", "Routing")) }
            (fields.field(FormField::new("groups", lang.say("分组", "Groups"))
                .value(&groups)
                .hint(&hint)))
            div.pair {
                (fields.field(FormField::new("priority", lang.say("优先级", "Priority"))
                    .value(&priority)
                    .hint(lang.say("高者先试", "higher is tried first"))))
                (fields.field(FormField::new("weight", lang.say("权重", "Weight"))
                    .value(&weight)
                    .hint(lang.say("同优先级中的份额", "share within a priority"))))
            }
            (fields.tick("auto_ban",
                lang.say("连续失败时暂停", "Pause it while it keeps failing"),
                channel.is_none_or(|channel| channel.auto_ban)))
        }
    }
}

fn mapping_fields(lang: Lang, fields: &FormFields<'_>, channel: Option<&ChannelView>) -> Markup {
    let json = |read: fn(&ChannelView) -> &str| {
        channel.map(read).filter(|json| !matches!(*json, "{}" | "null")).unwrap_or_default()
    };
    let area = |name, label, value, hint| {
        fields.field(FormField::new(name, label).kind("area").value(value).hint(hint))
    };
    html! {
        details open[fields.is_typed] {
            summary { (lang.say("映射与高级设置", "Mappings and advanced settings")) }
            fieldset {
                legend { (lang.say("映射 (JSON)", "Mappings (JSON)")) }
                (area("model_mapping", lang.say("模型映射", "Model mapping"),
                    json(|channel| channel.model_mapping.get()),
                    lang.say("请求的模型 → 上游的模型", "model asked for → model sent")))
                (area("param_override", lang.say("参数覆盖", "Parameters put in"),
                    json(|channel| channel.param_override.get()),
                    lang.say("写入 JSON 请求体的成员", "members put into JSON bodies")))
                (area("status_code_mapping", lang.say("状态码映射", "Status mapping"),
                    json(|channel| channel.status_code_mapping.get()),
                    lang.say("上游状态码 → 返回的状态码", "upstream's status → status returned")))
                (area("custompass_status_mapping", lang.say("任务状态词", "Status words of tasks"),
                    json(|channel| channel.custompass_status_mapping.get()), ""))
                (area("setting", lang.say("设置", "Setting"),
                    json(|channel| channel.setting.get()),
                    "timeout, retry_count, proxy, precharge, concurrency, idempotent, ask_usage"))
                (fields.field(FormField::new("other",
                    lang.say("令牌请求头", "Header of the caller's key"))
                    .value(channel.map_or("", |channel| &channel.other))
                    .hint(lang.say("留空: 默认", "empty: the default"))))
            }
        }
    }
}
