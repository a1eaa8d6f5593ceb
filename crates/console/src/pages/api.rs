//! The API's reference: of the OpenAPI document, for the reader's role, by section or by search.

use crate::folds::folds;
use crate::lang::Lang;
use crate::parts;
use crate::reference::{CALLS, DocumentedCall, FieldDoc};
use crate::shell::ShellPage;
use crate::visit::{Handled, Here, Visit, go_to, step};
use admin::AdminError;
use domain::{Fault, FaultKind};
use maud::{Markup, html};
use std::collections::BTreeMap;

const ENTRY: &str = "/console/api";
/// The most results of a search.
const MAX_FOUND: usize = 40;

/// What the sections are about.
const SECTIONS: [(&str, &str, &str); 23] = [
    ("plane", "数据面: 模型与任务", "Data plane: models and tasks"),
    ("token", "令牌", "Keys"),
    ("log", "使用日志", "Log"),
    ("task", "任务", "Tasks"),
    ("webhook", "回调", "Webhooks"),
    ("price", "价格表", "Price lists"),
    ("route", "可调用的路径", "Paths of calls"),
    ("usage", "用量", "Usage"),
    ("statement", "账单", "Statements"),
    ("user", "用户与登录", "Users and sessions"),
    ("channel", "渠道", "Channels"),
    ("protocol", "协议", "Protocols"),
    ("ability", "定价", "Prices"),
    ("group", "分组", "Groups"),
    ("redemption", "兑换码", "Codes"),
    ("audit", "审计与说明", "Audit and explanations"),
    ("attention", "待处理", "What needs a look"),
    ("doctor", "健康检查", "Health check"),
    ("node", "节点", "Nodes"),
    ("option", "设置", "Settings"),
    ("events", "实时事件", "Events"),
    ("notice", "公告", "Notice"),
    ("setup", "开始使用", "First steps"),
];

/// What can go wrong, wherever it is.
const ERRORS: [(u16, &str, &str); 10] = [
    (400, "请求无法读取: 地址有误, 或正文不是 JSON", "the address or the body can't be read"),
    (401, "没有访问令牌, 或令牌无效", "no access token, or one that is not known"),
    (403, "权限不足, 或用户被禁用", "the role does not reach, or the user is disabled"),
    (404, "不存在, 或不属于调用者", "no such thing, or it is not the caller's"),
    (405, "该路径不支持此方法", "not a method of this path"),
    (409, "名称已被占用, 或当前状态不允许", "the name is taken, or the state forbids it"),
    (413, "正文超过 1 MiB", "the body is larger than 1 MiB"),
    (422, "某个字段不合规则, 信息中有字段名", "a field breaks its rule; the message names it"),
    (429, "过于频繁, 见 Retry-After", "too many calls; Retry-After says when to come again"),
    (503, "数据库不可用或服务已满", "the database is away, or the server is full"),
];

/// The word for a section; its own name where it has none.
fn title(lang: Lang, section: &str) -> &str {
    let known = SECTIONS.iter().find(|(name, ..)| *name == section);
    known.map_or(section, |(_, zh, en)| lang.say(zh, en))
}

/// `GET /console/api?tag=&q=`
pub(crate) async fn show(Here(visit): Here) -> Handled {
    let lang = visit.lang();
    let (tag, query) = (visit.asked("tag"), visit.asked("q").trim());
    let mine = CALLS.iter().filter(|call| call.is_for(visit.actor.role));
    let content = if !query.is_empty() {
        found(lang, &mine.filter(|call| call.mentions(query)).collect::<Vec<_>>())
    } else if tag.is_empty() {
        index(lang, mine)
    } else {
        let calls: Vec<_> = mine.filter(|call| call.section == tag).collect();
        if calls.is_empty() {
            return Err(Fault::new(FaultKind::NotFound, "没有这一节", "no such section").into());
        }
        section(&visit, &calls)
    };
    let body = html! {
        form.bar method="get" action=(ENTRY) role="search" {
            input type="search" name="q" value=(query)
                placeholder=(lang.say("路径、说明或字段", "Path, words or field"))
                aria-label=(lang.say("搜索接口", "Search the API"));
            button { (lang.say("搜索", "Search")) }
            @if !(tag.is_empty() && query.is_empty()) {
                a.quiet href=(ENTRY) { (lang.say("全部章节", "All sections")) }
            }
        }
        (content)
    };
    let name = match tag {
        "" => lang.say("接口", "API").to_owned(),
        tag => format!("{} · {}", lang.say("接口", "API"), title(lang, tag)),
    };
    let beside = html! {
        span.space {}
        a.button href="/api/openapi.json" { "OpenAPI" }
    };
    Ok(ShellPage::new(name, ENTRY).beside(beside).show(&visit, body))
}

fn index<'a>(lang: Lang, calls: impl Iterator<Item = &'a DocumentedCall>) -> Markup {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for call in calls {
        *counts.entry(&call.section).or_default() += 1;
    }
    counts.remove("openapi.json");
    let known = SECTIONS.iter().map(|(name, ..)| *name);
    let known: Vec<&str> = known.filter(|name| counts.contains_key(name)).collect();
    let others = counts.keys().copied().filter(|name| !known.contains(name));
    let sections: Vec<&str> = known.iter().copied().chain(others).collect();
    html! {
        p { (lang.say(
            "除数据面外, 接口都在 /api 下, 用访问令牌 (在“我的账户”生成) 调用。应答是一个信封: \
             success、message 与 data; 列表另有 total、page、page_size。额度是整数, 500000 = $1。",
            "All but the data plane stands under /api and takes an access token, which is made \
             under Account. A reply is an envelope: success, message and data; lists have total, \
             page and page_size beside them. Amounts are whole quota: 500000 is $1.",
        )) }
        ul.sections {
            @for name in sections {
                li {
                    a href={ (ENTRY) "?tag=" (step(name)) } { (title(lang, name)) }
                    span.muted { " " (counts.get(name).copied().unwrap_or(0)) }
                }
            }
        }
        h2.sec { (lang.say("错误", "Errors")) }
        p.muted { (lang.say("每个接口都可能给出:", "Any call may answer:")) }
        dl.facts {
            @for (status, zh, en) in ERRORS { dt { (status) } dd { (lang.say(zh, en)) } }
        }
    }
}

fn found(lang: Lang, calls: &[&DocumentedCall]) -> Markup {
    if calls.is_empty() {
        return parts::empty(lang.say("没有找到接口。", "No call has that."), None);
    }
    html! {
        div.scroll {
            (folds(lang, &html! { table {
                thead { tr {
                    th { (lang.say("接口", "Call")) }
                    th.hide { (lang.say("说明", "What it does")) }
                    th.hide { (lang.say("章节", "Section")) }
                } }
                tbody { @for call in calls.iter().take(MAX_FOUND) {
                    tr {
                        @let section = step(&call.section);
                        td.cut.mono { a href={ (ENTRY) "?tag=" (section) "#" (call.id) } {
                            (call.verb) " " (call.path)
                        } }
                        td.hide { (call.words(lang)) }
                        td.hide.muted { (title(lang, &call.section)) }
                    }
                } }
            } }))
        }
    }
}

fn section(visit: &Visit, calls: &[&DocumentedCall]) -> Markup {
    html! { @for call in calls { (one(visit, call)) } }
}

fn one(visit: &Visit, call: &DocumentedCall) -> Markup {
    let lang = visit.lang();
    let role = match call.role.as_str() {
        "anyone" => lang.say("任何人", "anyone"),
        "admin" => lang.say("管理员", "administrators"),
        "key" => lang.say("用令牌 (sk-…)", "with a key (sk-…)"),
        _ => lang.say("每个用户", "every user"),
    };
    let asked: Vec<&FieldDoc> = call.places.iter().chain(&call.params).collect();
    html! {
        details.call id=(call.id) {
            summary {
                b.mono { (call.verb) } " " span.mono.break { (call.path) }
                span.muted { (call.words(lang)) }
            }
            p.muted.small { (lang.say("权限", "For")) ": " (role) }
            pre { (curl(visit, call)) }
            @if call.only_reads { (attempt(visit, call)) }
            (fields(lang, lang.say("地址", "Address"), &asked))
            (fields(lang, lang.say("正文 (JSON)", "Body (JSON)"),
                &call.body.iter().collect::<Vec<_>>()))
            @let shown = if call.is_list { lang.say("data 中的每一项", "Each item of data") }
                else { lang.say("data", "data") };
            (fields(lang, shown, &call.answer.iter().collect::<Vec<_>>()))
        }
    }
}

fn fields(lang: Lang, title: &str, fields: &[&FieldDoc]) -> Markup {
    html! {
        @if !fields.is_empty() {
            h2.part { (title) }
            div.scroll {
                table.fields {
                    thead.sr { tr {
                        th { (lang.say("字段", "Field")) }
                        th { (lang.say("类型", "Type")) }
                        th { (lang.say("含义", "Meaning")) }
                    } }
                    tbody { @for field in fields {
                        tr {
                            td.mono { (field.name) @if field.required && title != "data" {
                                span.muted { " *" } } }
                            td.muted { (field.kind) }
                            td.wrap { (field.meaning(lang)) }
                        }
                    } }
                }
            }
        }
    }
}

/// The call at a command line; places in its path stand in capitals.
fn curl(visit: &Visit, call: &DocumentedCall) -> String {
    let mut path = call.path.clone();
    for place in &call.places {
        path = path.replace(&format!("{{{}}}", place.name), &place.name.to_uppercase());
    }
    let mut line = format!("curl '{}{path}'", visit.origin);
    let implied = if call.body.is_empty() { "GET" } else { "POST" };
    if call.verb != implied {
        line.push_str(&format!(" -X {}", call.verb));
    }
    match call.role.as_str() {
        "anyone" => {}
        "key" => line.push_str(" \\\n  -H \"Authorization: Bearer $NEWAPI_KEY\""),
        _ => line.push_str(" \\\n  -H \"Authorization: Bearer $NEWAPI_TOKEN\""),
    }
    if !call.body.is_empty() {
        line.push_str(&format!(" \\\n  -d '{}'", example(&call.body)));
    }
    line
}

/// A body with its required fields, or with its first one.
fn example(fields: &[FieldDoc]) -> String {
    let required: Vec<_> = fields.iter().filter(|field| field.required).collect();
    let some = if required.is_empty() { fields.iter().take(1).collect() } else { required };
    let members = some.iter().map(|field| {
        let value = match field.kind.as_str() {
            "integer" | "number" => "1",
            "boolean" => "true",
            "object" => "{}",
            kind if kind.ends_with("[]") => "[]",
            _ => "\"…\"",
        };
        format!("\"{}\": {value}", field.name)
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
}

/// Fields for the address, and a button: the reply stands below.
fn attempt(visit: &Visit, call: &DocumentedCall) -> Markup {
    let lang = visit.lang();
    if call.role == "key" {
        let to = format!("/console/play?method=GET&path={}", step(&call.path));
        return html! { p { a href=(to) { (lang.say("在操练场中试用", "Try it in the playground")) } } };
    }
    let result = format!("try-{}", call.id);
    let params = call.params.iter().filter(|param| param.name != "page_size");
    html! {
        form.bar method="get" action="/console/api/try" hx-get="/console/api/try"
            hx-target={ "#" (result) } hx-swap="textContent" {
            input type="hidden" name="call" value=(call.id);
            @for field in call.places.iter().chain(params.take(4)) {
                input type="text" name=(field.name) placeholder=(field.name)
                    aria-label=(field.name) required[field.required] autocomplete="off";
            }
            button { (lang.say("试用", "Try it")) }
        }
        pre.reply id=(result) data-json="" tabindex="0" role="region"
            aria-label=(lang.say("应答", "Reply")) {}
    }
}

/// `GET /console/api/try?call=&…`: to the call itself, with what was typed in its address. It
/// reads, in the reader's own session, and nothing else.
pub(crate) async fn attempt_call(Here(visit): Here) -> Handled {
    let unknown = || Fault::new(FaultKind::NotFound, "没有这个接口", "no such call");
    let mut calls = CALLS.iter().filter(|call| call.only_reads && call.role != "key");
    let call = calls.find(|call| call.id == visit.asked("call")).ok_or_else(unknown)?;
    let mut path = call.path.clone();
    for place in &call.places {
        let given = visit.asked(&place.name).trim();
        if given.is_empty() || matches!(given, "." | "..") {
            let (zh, en) = ("请填写地址中的参数", "a part of the address is missing");
            return Err(AdminError::malformed(zh, en).into());
        }
        path = path.replace(&format!("{{{}}}", place.name), &step(given));
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    for param in &call.params {
        match visit.asked(&param.name).trim() {
            "" => {}
            given => drop(query.append_pair(&param.name, given)),
        }
    }
    let query = query.finish();
    Ok(go_to(&if query.is_empty() { path } else { format!("{path}?{query}") }))
}
