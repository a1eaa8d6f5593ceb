//! Protocols: what is built in, the operator's own, and both on trial.

use super::{for_admins, tasks};
use crate::folds::folds;
use crate::form::{Complaint, Form, Object};
use crate::lang::{Lang, tell};
use crate::parts::{self, FormField, FormFields, action};
use crate::replaced::{self, FormSays};
use crate::shell::{ShellPage, csrf};
use crate::visit::{Handled, Here, Visit, done, html as respond, step};
use crate::{formula, show};
use admin::AdminError;
use admin::ops::protocol::{self, ProtocolView, Trial, TrialInput, TrialText};
use http::StatusCode;
use maud::{Markup, html};
use std::collections::BTreeMap;

const ENTRY: &str = "/console/protocols";
/// What a new document begins as.
const BLANK: &str =
    "name = \"mine\"\ntitle = { zh = \"我的\", en = \"Mine\" }\nbase = \"openai\"\n";

/// `GET /console/protocols`
pub(crate) async fn list(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let lang = visit.lang();
    let page = protocol::list(&visit.state).await?;
    let body = html! {
        p.muted { (lang.say(
            "协议说明如何调用一类接口: 有哪些调用、密钥放在哪里、回复如何计量、怎样算失败。渠道按名称使用它。",
            "A protocol says how one kind of API is spoken to: its calls, where a key goes, what a \
             reply counts, and what a failure is. Channels name theirs.",
        )) }
        div.scroll {
            (folds(lang, &html! { table {
                thead { tr {
                    th { (lang.say("名称", "Name")) }
                    th.hide { (lang.say("说明", "Title")) }
                    th { (lang.say("来源", "From")) }
                    th.num.hide { (lang.say("调用", "Calls")) }
                    th.hide { (lang.say("任务", "Tasks")) }
                    th.num { (lang.say("渠道", "Channels")) }
                    th.hide { (lang.say("修改于", "Edited")) }
                } }
                tbody { @for protocol in &page.items { (row(lang, protocol)) } }
            } }))
        }
    };
    let beside = html! {
        span.muted { (show::count(page.total)) }
        span.space {}
        a.button.primary href="/console/protocols/edit" { (lang.say("新建协议", "New protocol")) }
    };
    Ok(ShellPage::new(lang.say("协议", "Protocols"), ENTRY).beside(beside).show(&visit, body))
}

fn row(lang: Lang, protocol: &ProtocolView) -> Markup {
    html! {
        tr {
            td { a.mono href=(address("view", &protocol.name)) { (protocol.name) } }
            td { (title(lang, protocol)) }
            td { (origin(lang, protocol)) }
            td.num { (protocol.routes) }
            td.hide { @if protocol.tasks { (lang.say("有", "yes")) } }
            td.num { @if !protocol.channels.is_empty() { (protocol.channels.len()) } }
            td.hide { @if let Some(at) = protocol.updated_at { (show::ago(at)) } }
        }
    }
}

fn address(page: &str, name: &str) -> String {
    format!("/console/protocols/{page}?name={}", step(name))
}

fn title(lang: Lang, protocol: &ProtocolView) -> &str {
    lang.say(&protocol.title_zh, &protocol.title_en)
}

fn origin(lang: Lang, protocol: &ProtocolView) -> Markup {
    match (&protocol.problem, protocol.built_in) {
        (Some(_), _) => parts::state("bad", lang.say("无法使用", "can't be used")),
        (None, true) => html! { span.muted { (lang.say("内置", "built in")) } },
        (None, false) => parts::state("on", lang.say("自定义", "yours")),
    }
}

/// `GET /console/protocols/view?name=`
pub(crate) async fn view(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let lang = visit.lang();
    let protocol = protocol::get(&visit.state, visit.asked("name")).await?;
    let document = protocol.document.as_deref().unwrap_or_default();
    let body = html! {
        @if let Some(problem) = &protocol.problem {
            p.complaint role="alert" { (visit.say("文档有误: ", "")) (problem) }
        }
        dl.facts {
            dt { (lang.say("来源", "From")) } dd { (origin(lang, &protocol)) }
            dt { (lang.say("调用", "Calls")) }
            dd { @for call in &protocol.calls { span.chip.mono { (call) } } }
            dt { (lang.say("渠道", "Channels")) }
            dd {
                @if protocol.channels.is_empty() { span.muted { (lang.say("无", "none")) } }
                @for id in &protocol.channels {
                    a.chip href={ "/console/channels/" (id) } { "#" (id) }
                }
            }
            @if !protocol.sources.is_empty() {
                dt { (lang.say("资料", "Sources")) }
                dd { @for source in &protocol.sources { p.small.break { (source) } } }
            }
        }
        h2.sec { (lang.say("试运行", "Try it out")) }
        (trial_form(&visit, &Form::default(), &protocol.name, first_call(&protocol)))
        h2.sec { (lang.say("文档", "Document")) }
        pre tabindex="0" { (document) }
    };
    let beside = html! {
        span.muted { (title(lang, &protocol)) }
        span.space {}
        a.button href={ "/console/protocols/edit?from=" (step(&protocol.name)) } {
            (lang.say("以此新建", "New one like it"))
        }
        @if !protocol.built_in {
            (action(&visit, &address("delete", &protocol.name), lang.say("删除", "Delete"),
                &tell!(lang, "删除协议 {}?", "Delete the protocol {}?", protocol.name)))
            a.button.primary href=(address("edit", &protocol.name)) { (lang.say("编辑", "Edit")) }
        }
    };
    Ok(ShellPage::new(protocol.name.as_str(), ENTRY).beside(beside).show(&visit, body))
}

/// `GET /console/protocols/edit`, of `name=`, or of a new one, perhaps like `from=`.
pub(crate) async fn edit(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let named = [visit.asked("name"), visit.asked("from")].into_iter().find(|it| !it.is_empty());
    let document = match named {
        Some(name) => protocol::get(&visit.state, name).await?.document.unwrap_or_default(),
        None => BLANK.to_owned(),
    };
    let opened = if visit.asked("name").is_empty() { String::new() } else { mark(&document) };
    editor(&visit, (&document, &opened), "", &FormSays::Nothing)
}

/// Tells whether a document is the one that was seen.
fn mark(document: &str) -> String {
    replaced::mark(document.trim_end())
}

/// `POST /console/protocols/edit`
pub(crate) async fn save(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let document = document(&visit.form);
    let says = match saved(&visit, &document).await {
        Ok(Saved::As(name)) => return Ok(done(&address("view", &name), "saved")),
        Ok(Saved::Asks(old)) => FormSays::Replaces(old),
        Err(error) => FormSays::Complaint(Complaint::of(error, visit.lang())?),
    };
    editor(&visit, (&document, visit.form.text("opened")), "", &says)
}

/// What became of a document.
enum Saved {
    As(String),
    /// There is another of this name than the one that the editor was opened with.
    Asks(Box<ProtocolView>),
}

async fn saved(visit: &Visit, document: &str) -> Result<Saved, AdminError> {
    let name = protocol::check(&visit.state, document.to_owned()).await?.name;
    let old = match protocol::get(&visit.state, &name).await {
        Ok(old) => old.document.as_deref().map(mark).map(|mark| (old, mark)),
        Err(AdminError::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    if let Some((old, now)) = old
        && now != mark(document)
        && !replaced::is_seen(&visit.form, &now)
    {
        return Ok(Saved::Asks(Box::new(old)));
    }
    let saved = protocol::put(&visit.state, &visit.actor, document.to_owned()).await?;
    Ok(Saved::As(saved.name))
}

/// `POST /console/protocols/check`: what saving would say, and nothing is saved.
pub(crate) async fn check(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let lang = visit.lang();
    let document = document(&visit.form);
    let (words, says) = match protocol::check(&visit.state, document.clone()).await {
        Ok(protocol) => {
            let words = tell!(
                lang,
                "{} 没有问题: {} 个调用。",
                "{} is in order. Calls: {}.",
                protocol.name,
                protocol.routes
            );
            (words, FormSays::Nothing)
        }
        Err(error) => (String::new(), FormSays::Complaint(Complaint::of(error, lang)?)),
    };
    editor(&visit, (&document, visit.form.text("opened")), &words, &says)
}

/// The protocol that the document would replace.
fn replaces(lang: Lang, old: &ProtocolView) -> Markup {
    let (name, channels) = (&old.name, old.channels.len());
    let document = old.document.as_deref().unwrap_or_default();
    html! {
        input type="hidden" name="replaces" value=(mark(document));
        div.note role="alert" {
            p { b { (tell!(lang, "协议 {name} 已存在, 保存会替换它; 使用它的渠道: {channels}。",
                "{name} exists already, and this replaces it. Channels that name it: {channels}."
            )) } }
            details { summary { (lang.say("现在的文档", "Its document now")) }
                pre tabindex="0" { (document) } }
        }
    }
}

/// A browser sends the lines of a text with CR LF.
fn document(form: &Form) -> String {
    form.text("document").replace("\r\n", "\n") + "\n"
}

/// The editor. `words` say that the document is in order.
fn editor(
    visit: &Visit,
    (document, opened): (&str, &str),
    words: &str,
    says: &FormSays<Box<ProtocolView>>,
) -> Handled {
    let lang = visit.lang();
    let fields = says.fields(lang, &visit.form);
    let body = html! {
        form.form.wide method="post" action="/console/protocols/edit" {
            (csrf(visit))
            input type="hidden" name="opened" value=(opened);
            (parts::complaint(lang, says.complaint()))
            @if !words.is_empty() { p.note role="status" { (words) } }
            @if let FormSays::Replaces(old) = says { (replaces(lang, old)) }
            (fields.field(FormField::new("document", lang.say("文档 (TOML)", "Document (TOML)"))
                .required()
                .kind("document")
                .value(document)
                .hint(lang.say(
                    "没有写的部分取自 base。保存后一秒内在所有节点生效。",
                    "Sections left out are those of base. Live on all nodes within a second.",
                ))))
            div.buttons {
                button.primary { (match says {
                    FormSays::Replaces(_) => lang.say("替换协议", "Replace the protocol"),
                    _ => lang.say("保存", "Save"),
                }) }
                button formaction="/console/protocols/check" { (lang.say("检查", "Check")) }
                a.button href=(ENTRY) { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let page = ShellPage::new(lang.say("编辑协议", "Edit a protocol"), ENTRY);
    Ok(says.show(visit, page, body))
}

/// `POST /console/protocols/delete?name=`
pub(crate) async fn delete(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    protocol::delete(&visit.state, &visit.actor, visit.asked("name")).await?;
    Ok(done(ENTRY, "deleted"))
}

/// `POST /console/protocols/try`: what would be read of a call. Nothing is sent.
pub(crate) async fn try_out(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let name = visit.form.text("protocol").to_owned();
    let (complaint, trial) = match tried(&visit).await {
        Ok(trial) => (None, Some(trial)),
        Err(error) => (Some(Complaint::of(error, visit.lang())?), None),
    };
    let lang = visit.lang();
    let body = html! {
        (parts::complaint(visit.lang(), complaint.as_ref()))
        @if let Some(trial) = &trial { (findings(lang, trial)) }
        h2.sec { (lang.say("再试一次", "Once more")) }
        (trial_form(&visit, &visit.form, &name, ""))
        div.buttons { a.button href=(address("view", &name)) {
            (lang.say("返回协议", "To the protocol"))
        } }
    };
    let title = tell!(lang, "试运行 {name}", "Trying {name} out");
    let status =
        if complaint.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    if visit.taste.is_part {
        return Ok(respond(status, body));
    }
    Ok(ShellPage::new(title, ENTRY).status(status).show(&visit, body))
}

async fn tried(visit: &Visit) -> Result<Trial, AdminError> {
    let form = &visit.form;
    let object = Object::default()
        .put("protocol", form.text("protocol"))
        .put("call", form.text("call"))
        .put("request", form.text("request"))
        .put_some("request_headers", form.text("request_headers"))
        .put_some("reply", form.text("reply"))
        .put_int("status", form.text("status"))
        .put_some("content_type", form.text("content_type"))
        .put_some("headers", form.text("headers"));
    protocol::try_out(&visit.state, &TrialInput::read(object.fields()?)?).await
}

/// A call of the protocol's first route, for a start.
fn first_call(protocol: &ProtocolView) -> &str {
    let pattern = protocol.calls.first().map_or("", String::as_str);
    // Of several methods, one.
    let (methods, _) = pattern.split_once(' ').unwrap_or_default();
    &pattern[methods.rfind('|').map_or(0, |at| at + 1)..]
}

fn trial_form(visit: &Visit, form: &Form, name: &str, call: &str) -> Markup {
    let lang = visit.lang();
    // What was typed stands in it again.
    let fields = FormFields::new(lang, form, None);
    let value = |field: &str, or: &str| match form.text(field) {
        "" => or.to_owned(),
        typed => typed.to_owned(),
    };
    let (call, request) = (value("call", call), value("request", ""));
    let (reply, status) = (value("reply", ""), value("status", "200"));
    let content_type = value("content_type", "application/json");
    html! {
        form.form.wide method="post" action="/console/protocols/try" {
            (csrf(visit))
            input type="hidden" name="protocol" value=(name);
            (fields.field(FormField::new("call", lang.say("调用", "Call")).required().value(&call)
                .hint(lang.say("方法和路径", "method and path"))))
            (fields.field(FormField::new("request", lang.say("请求体", "Body of the request"))
                .kind("area").value(&request)))
            (fields.field(FormField::new("request_headers",
                lang.say("请求头", "Headers of the request"))
                .kind("area").value(&value("request_headers", ""))
                .hint(lang.say("每行一个 (名称: 值)。没有 Content-Type 时请求体按 JSON 读取",
                    "one a line, NAME: VALUE; without a Content-Type the body is JSON"))))
            (fields.field(FormField::new("reply", lang.say("回复体", "Body of the reply"))
                .kind("area").value(&reply)
                .hint(lang.say("事件流也可以; 不会向上游发送任何内容",
                    "a stream of events, too; nothing is sent to an upstream"))))
            div.pair {
                (fields.field(FormField::new("status", lang.say("回复状态码", "Status of the reply"))
                    .kind("number").value(&status)))
                (fields.field(FormField::new("content_type", "Content-Type").value(&content_type)))
            }
            (fields.field(FormField::new("headers", lang.say("回复头", "Headers of the reply"))
                .kind("area").value(&value("headers", ""))
                .hint(lang.say("每行一个 (名称: 值), 仅当其中有计数时需要",
                    "one a line, NAME: VALUE; only where one of them is a count"))))
            div.buttons { button { (lang.say("试运行", "Try it out")) } }
        }
    }
}

/// What was read, with the words of the API.
fn findings(lang: Lang, trial: &Trial) -> Markup {
    html! {
        (of_request(lang, trial))
        (of_reply(lang, trial))
    }
}

fn of_request(lang: Lang, trial: &Trial) -> Markup {
    let Trial { call, request, .. } = trial;
    let yes = |holds: bool| if holds { lang.say("是", "yes") } else { lang.say("否", "no") };
    html! {
        h2.sec { (lang.say("请求", "Request")) }
        dl.facts {
            dt { (lang.say("路由", "Route")) }
            dd.mono.break { (call.protocol) ": " (call.route) }
            dt { (lang.say("费用", "Costs")) }
            dd { @if call.price == "free" { (lang.say("免费", "nothing")) }
                @else { (lang.say("按模型定价", "what the model costs")) } }
            @if let Some(refused) = &request.refused {
                dt { (lang.say("会被拒绝", "Refused")) }
                dd { span.warn { (said(lang, refused)) } }
            }
            dt { (lang.say("模型", "Model")) }
            dd { (request.model.as_deref().unwrap_or("–")) }
            @if request.ambiguous {
                dt { (lang.say("有歧义", "Ambiguous")) }
                dd { span.warn { (lang.say("这样的请求会被拒绝", "such a request is refused")) } }
            }
            dt { (lang.say("输入 Token (约)", "Tokens of input, about")) }
            dd { (request.input_tokens) }
            dt { (lang.say("输出上限", "Output allowed")) }
            dd { (request.output_limit.map_or("–".to_owned(), |limit| limit.to_string())) }
            dt { (lang.say("流式", "Stream")) } dd { (yes(request.stream)) }
            @if !request.units.is_empty() {
                dt { (lang.say("单位", "Units")) } dd { (counts(lang, &request.units)) }
            }
            @if !request.units_of_reply.is_empty() {
                dt { (lang.say("由回复计量", "Counted by the reply")) }
                dd { @for unit in &request.units_of_reply {
                    span.chip { (formula::in_words(lang, unit)) }
                } }
            }
            @for (unit, why) in &request.units_refused {
                dt { (tell!(lang, "按{}计价时", "Where {} have a price",
                    formula::in_words(lang, unit))) }
                dd { span.warn { (said(lang, why)) } }
            }
            @if !request.added.is_empty() {
                dt { (lang.say("发送时加入", "Added on its way up")) }
                dd { @for member in &request.added { span.chip.mono { (member) } } }
            }
        }
    }
}

fn of_reply(lang: Lang, trial: &Trial) -> Markup {
    let Trial { reply, task, .. } = trial;
    let yes = |holds: bool| if holds { lang.say("是", "yes") } else { lang.say("否", "no") };
    html! {
        @if let Some(reply) = reply {
            h2.sec { (lang.say("回复", "Reply")) }
            dl.facts {
                dt { (lang.say("结果", "Outcome")) } dd { b { (trial_word(lang, &reply.outcome)) } }
                dt { (lang.say("计量", "Counted")) }
                dd { @if reply.meters.is_empty() { "–" } @else { (counts(lang, &reply.meters)) } }
                dt { (lang.say("按量计费的数量", "A price by use counts")) }
                dd {
                    @if reply.charged.is_empty() { "–" } @else { (counts(lang, &reply.charged)) }
                    @if let Some(note) = &reply.note { " (" (note) ")" }
                }
                dt { (lang.say("形式", "Shape")) } dd { (trial_word(lang, &reply.shape)) }
                dt { (lang.say("完整", "Whole")) } dd { (yes(reply.whole)) }
                dt { (lang.say("换渠道重试", "Another channel may be asked")) }
                dd { (yes(reply.next_channel)) }
                dt { (lang.say("账户失效", "Account is broken")) } dd { (yes(reply.account_broken)) }
                dt { (lang.say("生成文本 Token (约)", "Tokens of text, about")) }
                dd { (reply.text_tokens) }
                @for (label, said) in [
                    (lang.say("不一致", "Mismatch"), &reply.mismatch),
                    (lang.say("无法计费的计数", "Count that can't be billed"), &reply.bad_count),
                    (lang.say("上游的说明", "The upstream's words"), &reply.message),
                    (lang.say("资源", "Resource"), &reply.resource),
                ] {
                    @if let Some(said) = said { dt { (label) } dd.break { (said) } }
                }
            }
        }
        @if let Some(task) = task {
            h2.sec { (lang.say("任务", "Task")) }
            dl.facts {
                dt { "ID" } dd.mono { (task.id.as_deref().unwrap_or("–")) }
                dt { (lang.say("状态", "State")) } dd {
                    (tasks::state(lang, &task.status))
                    @if !task.word.is_empty() { " (" (task.word) ")" }
                }
                dt { (lang.say("进度", "Progress")) } dd { (task.progress) }
                @if !task.results.is_empty() {
                    dt { (lang.say("结果", "Results")) }
                    dd { @for result in &task.results { p.small.break { (result) } } }
                }
                @if !task.reason.is_empty() {
                    dt { (lang.say("原因", "Why")) } dd { (task.reason) }
                }
            }
        }
    }
}

fn said(lang: Lang, text: &TrialText) -> &str {
    lang.say(&text.zh, &text.en)
}

/// How a reply is made up, and what came of it.
fn trial_word(lang: Lang, word: &str) -> &str {
    match word {
        "array" => lang.say("JSON 数组", "array"),
        "lines" => lang.say("逐行 JSON", "lines"),
        "bytes" => lang.say("不读取的内容", "bytes"),
        "sse" => lang.say("事件流", "sse"),
        "delivered" => lang.say("已送达", "delivered"),
        "empty" => lang.say("没有内容", "empty"),
        "failed" => lang.say("失败", "failed"),
        "failed by status" => lang.say("失败: 状态码", "failed by status"),
        "failed: not what the route promises" => {
            lang.say("失败: 与路由的约定不符", "failed: not what the route promises")
        }
        "failed: nothing came" => lang.say("失败: 没有应答", "failed: nothing came"),
        other => other,
    }
}

fn counts(lang: Lang, counts: &BTreeMap<String, i64>) -> Markup {
    html! {
        @for (meter, count) in counts {
            span.chip { (count) " " (formula::in_words(lang, meter)) }
        }
    }
}
