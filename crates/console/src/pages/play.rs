//! The playground: a call of the data plane, made by the reader's browser as any client makes it,
//! and what it cost. This page sends nothing itself; its script does.

use super::{explain, log, overview, recent};
use crate::form::{Complaint, Object};
use crate::lang::{Lang, tell};
use crate::parts::{self, BACKGROUND};
use crate::shell::{ShellPage, csrf};
use crate::visit::{Handled, Here, Path, Visit, html as respond, step};
use crate::{formula, show};
use admin::ops::audit;
use admin::ops::log::usage;
use admin::ops::price;
use admin::ops::recent::RecentCallView;
use admin::ops::route::{self, SpokenRoutes};
use admin::ops::token::{self, Created, TokenInput, TokenView};
use admin::{AdminError, PageRequest, Query};
use domain::{KeyId, Quota, UserId};
use http::StatusCode;
use ledger::{ExplainRequest, HoldStory};
use maud::{Markup, html};
use serde_json::json;

const ENTRY: &str = "/console/play";
/// The name of the keys that are made here.
const KEY_NAME: &str = "playground";
/// How long they live.
const KEY_SECONDS: i64 = 15 * 60;
/// What they may spend.
const KEY_QUOTA: i64 = Quota::PER_USD / 2;
/// The most suggestions of one kind.
const MAX_SUGGESTED: usize = 300;
/// How often a page asks again for the cost of a call that has not ended.
const MAX_ASKED: u32 = 60;
/// What is typed for the reader on request: method, path and body of calls that are common.
/// `MODEL` stands for the model that is chosen.
const EXAMPLES: [(&str, &str, &str); 6] = [
    (
        "POST",
        "/v1/chat/completions",
        r#"{"model": "MODEL", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}"#,
    ),
    ("POST", "/v1/responses", r#"{"model": "MODEL", "input": "Hello"}"#),
    (
        "POST",
        "/v1/messages",
        r#"{"model": "MODEL", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]}"#,
    ),
    ("POST", "/v1/embeddings", r#"{"model": "MODEL", "input": "Hello"}"#),
    ("POST", "/v1/images/generations", r#"{"model": "MODEL", "prompt": "A lighthouse"}"#),
    ("POST", "/pass/MODEL", "{}"),
];

/// `GET /console/play?method=&path=&body=&model=`
pub(crate) async fn show(Here(visit): Here) -> Handled {
    page(&visit, None, None).await
}

/// `POST /console/play/key`: a key with little money and little time, shown this once.
pub(crate) async fn make_key(Here(visit): Here) -> Handled {
    match made(&visit).await {
        Ok(created) => page(&visit, Some(&created), None).await,
        Err(error) => page(&visit, None, Some(&Complaint::of(error, visit.lang())?)).await,
    }
}

async fn made(visit: &Visit) -> Result<Created, AdminError> {
    let (state, actor) = (&visit.state, &visit.actor);
    let now = state.clock.now().0 / 1_000;
    let made_here = named_keys(visit, KEY_NAME).await?;
    let is_over = |key: &&TokenView| key.name == KEY_NAME && (0..now).contains(&key.expired_time);
    for key in made_here.iter().filter(is_over) {
        token::delete(state, actor, key.id).await?;
    }
    let mut object = Object::default()
        .put("name", KEY_NAME)
        .put("remain_quota", KEY_QUOTA)
        .put("unlimited_quota", false)
        .put("expired_time", now + KEY_SECONDS);
    if let Ok(id) = visit.form.text("like").parse() {
        let like = token::get(state, actor, KeyId(id)).await?;
        object = object
            .put("models", like.models)
            .put("allow_ips", like.allow_ips)
            .put("group", like.group)
            .put("rate_limit_rpm", like.rate_limit_rpm)
            .put("rate_limit_tpm", like.rate_limit_tpm);
    }
    token::create(state, actor, TokenInput::read(object.fields()?)?).await
}

/// The reader's own keys, of administrators, too.
async fn own_keys(visit: &Visit) -> Result<Vec<TokenView>, AdminError> {
    named_keys(visit, "").await
}

/// Those of them with this in their name: of many keys the others do not hide them.
async fn named_keys(visit: &Visit, keyword: &str) -> Result<Vec<TokenView>, AdminError> {
    let own = ("user_id".to_owned(), visit.actor.user_id.0.to_string());
    let query: Query = [own, ("keyword".to_owned(), keyword.to_owned())].into_iter().collect();
    let page = PageRequest::read(&query, 100)?;
    Ok(token::list(&visit.state, &visit.actor, &query, page).await?.items)
}

async fn page(visit: &Visit, made: Option<&Created>, complaint: Option<&Complaint>) -> Handled {
    let lang = visit.lang();
    let keys = own_keys(visit).await?;
    let routes = route::list(&visit.state)?;
    let models = price::own(&visit.state, &visit.actor).await?;
    let mut models: Vec<&str> = models.iter().map(|price| price.model_name.as_str()).collect();
    // The one that is used most stands first.
    let request = overview::request(visit);
    let used = usage::models(&visit.state, &visit.actor, !visit.is_admin(), &request).await?;
    let rank = |name: &str| used.iter().position(|it| it.model_name == name);
    models.sort_by_key(|name| rank(name).unwrap_or(usize::MAX));
    let body = html! {
        (call_line(visit))
        datalist #play-paths { @for path in paths(&routes, &models) { option value=(path) {} } }
        div.halves {
            section aria-label=(lang.say("请求", "Request")) {
                (key_box(visit, &keys, made, complaint))
                (examples(visit, &routes, &models))
                (typed(visit))
                details.numbers {
                    summary { (lang.say("等价的 curl 命令", "As curl")) }
                    pre #play-curl {}
                    div.buttons {
                        button type="button" data-copy="play-curl" { (lang.say("复制", "Copy")) }
                        span.muted.small {
                            (lang.say("命令含令牌", "the key is in it"))
                        }
                    }
                }
            }
            (reply(lang))
        }
    };
    let status = complaint.map_or(StatusCode::OK, |_| StatusCode::UNPROCESSABLE_ENTITY);
    let title = lang.say("操练场", "Playground");
    Ok(ShellPage::new(title, ENTRY).status(status).show(visit, body))
}

fn call_line(visit: &Visit) -> Markup {
    let lang = visit.lang();
    let method = match visit.asked("method") {
        "" => "POST",
        method => method,
    };
    html! {
        form.bar.line #play data-play="" {
            select #play-method aria-label=(lang.say("方法", "Method")) {
                @for word in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
                    option selected[word == method] { (word) }
                }
            }
            input #play-path.mono type="text" list="play-paths" required autocomplete="off"
                spellcheck="false" aria-label=(lang.say("路径", "Path"))
                placeholder="/v1/chat/completions" value=(visit.asked("path"));
            button.primary #play-send { (lang.say("发送", "Send")) }
            button #play-stop type="button" disabled { (lang.say("停止", "Stop")) }
        }
    }
}

/// The key of the call: typed, or made for it. What is typed is never sent to this page.
fn key_box(
    visit: &Visit,
    keys: &[TokenView],
    made: Option<&Created>,
    complaint: Option<&Complaint>,
) -> Markup {
    let lang = visit.lang();
    let key = made.map_or("", |made| made.key.expose());
    let most = show::amount(Quota(KEY_QUOTA));
    html! {
        form.field #key-box method="post" action="/console/play/key" hx-post="/console/play/key"
            hx-target="#key-box" hx-select="#key-box" hx-swap="outerHTML" {
            (csrf(visit))
            label for="play-key" { (lang.say("令牌", "Key")) }
            input #play-key.mono type="password" autocomplete="off" placeholder="sk-…" value=(key);
            @if let Some(made) = made {
                p.hint role="status" {
                    (lang.say("已生成, 到期: ", "Made for you; it ends "))
                    (show::at(made.token.expired_time))
                    (tell!(lang, "; 最多消费 {most}", ", and spends {most} at most"))
                }
            } @else {
                p.hint { (tell!(
                    lang,
                    "粘贴已有令牌, 或生成一个 15 分钟、最多 {most} 的令牌。",
                    "Paste one that you have, or make one for 15 minutes and {most} at most."
                )) }
            }
            (parts::complaint(lang, complaint))
            div.buttons.tight {
                select name="like" aria-label=(lang.say("与哪个令牌相同的权限", "May do what this key may")) {
                    option value="" { (lang.say("我能调用的全部模型", "All models that I may call")) }
                    @for key in keys.iter().filter(|key| key.name != KEY_NAME) {
                        option value=(key.id.0) {
                            (tell!(lang, "同 {} {}", "As {} {}", key.name, key.key_hint))
                        }
                    }
                }
                button { (lang.say("生成令牌", "Make a key")) }
            }
        }
    }
}

/// Calls that are typed for the reader who chooses them.
fn examples(visit: &Visit, routes: &[SpokenRoutes], models: &[&str]) -> Markup {
    let lang = visit.lang();
    let is_spoken = |method: &str, path: &str| {
        let path = path.replace("MODEL", "{+model}");
        let calls = routes.iter().flat_map(|protocol| &protocol.calls);
        let mut parts = calls.filter_map(|call| call.split_once(' '));
        parts.any(|(methods, pattern)| {
            pattern == path && (methods == "*" || methods.split('|').any(|word| word == method))
        })
    };
    html! {
        div.pair {
            div.field {
                label for="play-model" { (lang.say("模型", "Model")) }
                select #play-model {
                    @for model in models.iter().take(MAX_SUGGESTED) {
                        option selected[*model == visit.asked("model")] { (model) }
                    }
                }
            }
            div.field {
                label for="play-example" { (lang.say("填入示例", "Fill in an example")) }
                select #play-example {
                    option value="" { (lang.say("选择…", "Choose…")) }
                    @let spoken = EXAMPLES.iter().filter(|it| is_spoken(it.0, it.1));
                    @for (method, path, body) in spoken {
                        option value=(path) data-method=(method) data-body=(body) { (path) }
                    }
                }
            }
        }
    }
}

fn typed(visit: &Visit) -> Markup {
    let lang = visit.lang();
    html! {
        div.field {
            label for="play-headers" { (lang.say("请求头", "Headers")) }
            textarea #play-headers rows="2" spellcheck="false" { "Content-Type: application/json" }
            p.hint { (lang.say(
                "每行一个; 除令牌外, 只发送这里写的。",
                "One a line. Besides the key nothing is sent but what stands here.",
            )) }
        }
        div.field {
            label for="play-body" { (lang.say("正文", "Body")) }
            textarea #play-body rows="10" spellcheck="false" { (visit.asked("body")) }
            p.hint { kbd { "Ctrl" } " " kbd { "Enter" } " " (lang.say("发送", "sends it")) }
        }
    }
}

fn reply(lang: Lang) -> Markup {
    let views = [
        ("raw", lang.say("原文", "Raw")),
        ("events", lang.say("事件", "Events")),
        ("json", "JSON"),
    ];
    html! {
        section #reply aria-label=(lang.say("应答", "Reply")) {
            p #play-status role="status" {
                (lang.say("尚未发送。", "Nothing was sent yet."))
            }
            div.seg role="group" aria-label=(lang.say("显示方式", "Show as")) {
                @for (code, word) in views {
                    button type="button" data-view=(code) aria-pressed=(code == "raw") { (word) }
                }
            }
            pre.reply #play-raw tabindex="0" role="region" aria-label=(views[0].1) {}
            ol.reply.events #play-events tabindex="0" aria-label=(views[1].1) hidden {}
            pre.reply #play-json tabindex="0" role="region" aria-label=(views[2].1) hidden {}
            details.numbers {
                summary { (lang.say("应答头", "Headers of the reply")) }
                pre #play-reply-headers {}
            }
            div #play-cost {}
        }
    }
}

/// Paths to choose from: those that protocols have, a model in the place of one.
fn paths(routes: &[SpokenRoutes], models: &[&str]) -> Vec<String> {
    let mut paths = Vec::new();
    let calls = routes.iter().flat_map(|protocol| &protocol.calls);
    for pattern in calls.filter_map(|call| Some(call.split_once(' ')?.1)) {
        let place = ["{+model}", "{model}"].into_iter().find(|place| pattern.contains(place));
        match place {
            Some(place) => paths.extend(models.iter().map(|model| pattern.replace(place, model))),
            None => paths.push(pattern.to_owned()),
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    paths.retain(|path| !path.contains(['{', '*']) && seen.insert(path.clone()));
    paths.truncate(MAX_SUGGESTED);
    paths
}

/// `GET /console/play/cost/{id}?asked=`: what a call cost, as a part of the page. A call that has
/// not ended is asked about again.
pub(crate) async fn cost(Here(visit): Here, Path(id): Path<String>) -> Handled {
    let lang = visit.lang();
    // Of several calls with this id it is the newest that was just made.
    let newest = ExplainRequest { id: id.clone(), limit: 1, ..ExplainRequest::default() };
    let part = match audit::explain(&visit.state, &visit.actor, newest).await {
        Ok(story) => {
            let hold = story.holds.first().map(|hold| hold.hold_id);
            let to = explain::address_of(&id, hold);
            let is_open = story.holds.iter().any(|hold| hold.state == "held");
            let asked: u32 = visit.asked("asked").parse().unwrap_or(0);
            let again = (is_open && asked < MAX_ASKED)
                .then(|| format!("/console/play/cost/{}?asked={}", step(&id), asked + 1));
            html! {
                div hx-get=[again.as_deref()] hx-trigger=[again.as_ref().map(|_| "load delay:1s")]
                    hx-headers=[again.as_ref().map(|_| BACKGROUND)] hx-swap="outerHTML" {
                    h2.sec { (lang.say("费用", "What it cost")) }
                    @for hold in &story.holds { (charge(lang, hold)) }
                    p { a href=(to) { (lang.say("这笔费用的由来", "How this charge came about")) } }
                }
            }
        }
        Err(AdminError::NotFound { .. }) => {
            let calls = recent::of_request(&visit, &id).await?;
            let to = explain::address_of(&id, None);
            html! {
                h2.sec { (lang.say("费用", "What it cost")) }
                @match calls.first() {
                    Some(call) => (uncharged(lang, call, &to)),
                    None => p { (lang.say(
                        "流水中没有这次调用: 免费, 或未被接受。",
                        "Nothing: the journal has no line of this call. It was free, or refused.",
                    )) },
                }
            }
        }
        Err(error) => return Err(error.into()),
    };
    Ok(respond(StatusCode::OK, part))
}

/// A call that left no line in the journal.
fn uncharged(lang: Lang, call: &RecentCallView, to: &str) -> Markup {
    let (kind, word) = recent::state_of(lang, call);
    html! {
        dl.facts {
            dt { (lang.say("状态", "State")) } dd { (parts::state(kind, word)) }
            (recent::failure_rows(lang, call))
        }
        p { a href=(to) { (lang.say("说明", "Explain")) } }
    }
}

fn charge(lang: Lang, hold: &HoldStory) -> Markup {
    let (kind, word) = explain::state_of(lang, hold.state);
    html! {
        dl.facts {
            dt { (lang.say("状态", "State")) } dd { (parts::state(kind, word)) }
            dt { (lang.say("费用", "Charge")) } dd { b #play-charge { (show::money(hold.charged)) } }
            @if !hold.calculation.is_empty() {
                dt { (lang.say("计算", "Calculation")) } dd.mono.break {
                    (formula::in_words(lang, &hold.calculation))
                }
            }
        }
        table {
            thead { tr {
                th { (lang.say("流水", "Journal")) }
                th.num { (lang.say("变动", "Moved")) }
                th.num { (lang.say("额度", "Quota")) }
            } }
            tbody {
                @for line in &hold.lines {
                    tr {
                        td { (log::type_word(lang, &line.kind).unwrap_or(&line.kind)) }
                        (show::moved_cell(line.delta))
                        (show::count_cell(line.quota.0))
                    }
                }
            }
        }
    }
}

/// What a call is made with: whose key it is, in which group it calls, and what it may call.
#[derive(Clone, Copy)]
pub(super) struct CallingKey<'a> {
    /// As a shell is to send it.
    pub(super) text: &'a str,
    pub(super) owner: UserId,
    /// None: its owner's.
    pub(super) group: Option<&'a str>,
    /// None: all models.
    pub(super) models: &'a [String],
}

impl<'a> CallingKey<'a> {
    /// A key that the page does not know the text of.
    pub(super) fn of(key: &'a TokenView) -> Self {
        let TokenView { user_id, group, models, .. } = key;
        Self { text: "sk-…", owner: *user_id, group: group.as_deref(), models }
    }

    /// Any key of the reader.
    pub(super) fn of_reader(visit: &Visit) -> Self {
        Self { text: "sk-…", owner: visit.actor.user_id, group: None, models: &[] }
    }
}

/// A first call with a key, to be pasted into a shell as it is: of a model that the key reaches,
/// and of one with a price where there is one.
pub(super) async fn snippet(visit: &Visit, key: CallingKey<'_>) -> Result<String, AdminError> {
    let CallingKey { text: key, owner, group, models: allowed } = key;
    let mut models = price::of_user(&visit.state, &visit.actor, owner, group).await?;
    models.retain(|price| allowed.is_empty() || allowed.contains(&price.model_name));
    let price = models.iter().find(|price| !price.free).or(models.first());
    let model =
        price.map(|price| price.model_name.as_str()).or(allowed.first().map(String::as_str));
    let model = model.unwrap_or("MODEL");
    let hello = json!([{ "role": "user", "content": "Hello" }]);
    let (path, body) = match price.map_or("", |price| price.protocol.as_str()) {
        "custompass" | "http" => (format!("/pass/{model}"), json!({})),
        "anthropic" => (
            "/v1/messages".to_owned(),
            json!({ "model": model, "max_tokens": 99, "messages": hello }),
        ),
        _ => ("/v1/chat/completions".to_owned(), json!({ "model": model, "messages": hello })),
    };
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    Ok(format!(
        "curl {} \\\n  -H {} \\\n  -H 'Content-Type: application/json' \\\n  -d {}",
        quoted(&format!("{}{path}", visit.origin)),
        quoted(&format!("Authorization: Bearer {key}")),
        quoted(&body.to_string()),
    ))
}

/// The address of the playground with a call in it.
pub(super) fn address(model: &str) -> String {
    format!("{ENTRY}?model={}", step(model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_models_in_their_place() {
        let routes = [SpokenRoutes {
            protocol: "x".to_owned(),
            title_zh: String::new(),
            title_en: String::new(),
            calls: ["* /pass/{+model}", "GET /v1/files/*", "POST /v1/chat", "GET /v1/{id}"]
                .map(str::to_owned)
                .to_vec(),
        }];
        assert_eq!(paths(&routes, &["a", "b/c"]), ["/pass/a", "/pass/b/c", "/v1/chat"]);
    }
}
