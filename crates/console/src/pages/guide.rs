//! The way from an empty database to the first paid call, on the first page until there is one.

use super::explain;
use super::play::{self, CallingKey};
use crate::lang::{Lang, tell};
use crate::parts::BACKGROUND;
use crate::show;
use crate::visit::{Handled, Here, Visit, go_to, html as respond, step};
use admin::ops::first_steps::{self, FirstSteps};
use admin::ops::{token, unpriced};
use admin::{AdminError, ROLE_ROOT};
use http::StatusCode;
use maud::{Markup, html};

/// How often the page asks whether the first call has come.
const EVERY: &str = "every 2s";

/// One step: what there is of it, and where it is made.
struct SetupStep {
    title: &'static str,
    /// What there is, or why it is needed.
    words: Markup,
    is_done: bool,
    /// Where it is made, and looked at once it is.
    to: (String, &'static str),
}

/// `GET /console/setup`: the guide alone, for a page that waits for the first call.
pub(crate) async fn show(Here(visit): Here) -> Handled {
    if !visit.taste.is_part {
        return Ok(go_to("/console"));
    }
    let steps = first_steps::get(&visit.state, &visit.actor).await?;
    Ok(respond(StatusCode::OK, shown(&visit, &steps).await?))
}

/// The guide on the first page: until all its steps are done, or the reader has closed it. Whom it
/// led here sees its end.
pub(super) async fn on_first_page(visit: &Visit) -> Result<Markup, AdminError> {
    let (state, actor) = (&visit.state, &visit.actor);
    let steps = match visit.is_setup() {
        true => Some(first_steps::get(state, actor).await?),
        false if visit.taste.no_guide => None,
        false => first_steps::ahead(state, actor).await?,
    };
    match steps {
        Some(steps) => shown(visit, &steps).await,
        None => Ok(html! {}),
    }
}

/// The guide as a part of the first page.
pub(super) async fn shown(visit: &Visit, steps: &FirstSteps) -> Result<Markup, AdminError> {
    let lang = visit.lang();
    let all = made(visit, steps);
    let ready = all.iter().filter(|step| step.is_done).count();
    let done = ready + usize::from(steps.call.is_some());
    let waits = ready == all.len() && steps.call.is_none();
    let next = all.iter().position(|step| !step.is_done);
    Ok(html! {
        section.guide #setup hx-get=[waits.then_some("/console/setup")]
            hx-trigger=[waits.then_some(EVERY)] hx-target="this" hx-swap="outerMorph"
            hx-headers=[waits.then_some(BACKGROUND)]
            aria-label=(lang.say("开始使用", "First steps")) {
            h2 { (lang.say("开始使用: 到第一次计费调用", "First steps: to the first paid call"))
                small { (tell!(lang, "{done} / 5", "{done} of 5")) }
                form.inline method="post" action="/console/preferences" {
                    input type="hidden" name="back" value="/console";
                    button.quiet name="guide" value="off" { (lang.say("关闭", "Close")) }
                }
            }
            ol {
                @for (nth, step) in all.iter().enumerate() { (row(lang, step, next == Some(nth))) }
                (call_row(visit, steps, waits).await?)
            }
            @if visit.actor.role >= ROLE_ROOT {
                p.muted {
                    (lang.say(
                        "首次启动时打印的密码与访问令牌也在 DATA_DIR/first-run.txt 中: ",
                        "The password and the token that the first start printed are in \
                         DATA_DIR/first-run.txt as well: ",
                    ))
                    a href="/console/account" { (lang.say("换成自己的", "have your own")) }
                    (lang.say(", 再删除该文件。", ", and delete the file."))
                }
            }
        }
    })
}

/// The steps before the call.
fn made(visit: &Visit, steps: &FirstSteps) -> [SetupStep; 4] {
    let lang = visit.lang();
    let refused = unpriced::are_refused(&visit.state);
    [channel(lang, steps), price(lang, steps, refused), user(lang, steps), key(lang, steps)]
}

fn channel(lang: Lang, steps: &FirstSteps) -> SetupStep {
    let title = lang.say("添加渠道", "Add a channel");
    let Some(channel) = &steps.channel else {
        let words = lang.say(
            "上游的地址、密钥与模型: 调用发往这里。",
            "The address of an upstream, its key, and the models it serves: where calls go.",
        );
        return ahead(title, words, "/console/channels/new?then=setup");
    };
    let name =
        if channel.name.is_empty() { format!("#{}", channel.id) } else { channel.name.clone() };
    let (state, class) = match channel.tested {
        Some(true) => (lang.say("测试通过", "its test went well"), "good"),
        Some(false) => (lang.say("测试失败", "its test failed"), "bad"),
        None => (lang.say("尚未测试", "not tested yet"), "muted"),
    };
    let label = match channel.tested {
        Some(true) => lang.say("查看", "Open"),
        _ => lang.say("测试", "Test it"),
    };
    SetupStep {
        title,
        words: html! { b { (name) } " · " span class=(class) { (state) } },
        is_done: true,
        to: (format!("/console/channels/{}", channel.id), label),
    }
}

fn price(lang: Lang, steps: &FirstSteps, refused: bool) -> SetupStep {
    let title = lang.say("设置价格", "Set a price");
    match (&steps.priced_model, &steps.unpriced_model) {
        (Some(model), _) => SetupStep {
            title,
            words: html! { b { (model) } },
            is_done: true,
            to: (format!("/console/prices/edit?model={}", step(model)), lang.say("查看", "Open")),
        },
        (None, Some(model)) => {
            let to = format!("/console/prices/edit?model={}&then=setup", step(model));
            let now = match refused {
                true => lang.say("现在被拒绝", "is refused now"),
                false => lang.say("现在免费", "is free now"),
            };
            let words = tell!(
                lang,
                "{model} {now}。按上游的价目表填写每百万 Tokens 的美元价, 或每次的价格。",
                "{model} {now}. Dollars a million tokens, as vendors list them, or of a call."
            );
            ahead(title, &words, &to)
        }
        (None, None) => {
            let then = match refused {
                true => lang.say("被拒绝", "refused"),
                false => lang.say("免费", "free"),
            };
            let words = tell!(
                lang,
                "每百万 Tokens 的美元价, 或每次的价格。没有价格的模型{then}。",
                "Dollars a million tokens, or of a call. A model without a price is {then}."
            );
            ahead(title, &words, "/console/prices/edit?then=setup")
        }
    }
}

fn user(lang: Lang, steps: &FirstSteps) -> SetupStep {
    let title = lang.say("创建有余额的用户", "Create a user with a balance");
    match &steps.user {
        Some(user) => SetupStep {
            title,
            words: html! { b { (user.username) } " · " (show::amount(user.quota)) },
            is_done: true,
            to: (format!("/console/users/{}", user.id), lang.say("查看", "Open")),
        },
        None => {
            let words = lang.say(
                "谁付钱: 用户名、密码与首笔充值。",
                "Who pays: a name, a password, and a first deposit.",
            );
            ahead(title, words, "/console/users/new?then=setup")
        }
    }
}

fn key(lang: Lang, steps: &FirstSteps) -> SetupStep {
    let title = lang.say("创建令牌", "Create a key");
    match (&steps.key, &steps.user) {
        (Some(key), _) => SetupStep {
            title,
            words: html! { b {
                @if key.name.is_empty() { "#" (key.id) } @else { (key.name) }
            } },
            is_done: true,
            to: ("/console/keys".to_owned(), lang.say("查看", "Open")),
        },
        (None, user) => {
            let owner = user.as_ref().map(|user| format!("&user_id={}", step(&user.username)));
            let words = lang
                .say("程序用它调用; 只显示一次。", "What programs call with; it is shown once.");
            let to = format!("/console/keys/new?then=setup{}", owner.unwrap_or_default());
            ahead(title, words, &to)
        }
    }
}

/// A step that is still to be made.
fn ahead(title: &'static str, words: &str, to: &str) -> SetupStep {
    SetupStep { title, words: html! { (words) }, is_done: false, to: (to.to_owned(), title) }
}

fn row(lang: Lang, step: &SetupStep, is_next: bool) -> Markup {
    let SetupStep { title, words, is_done, to: (to, label) } = step;
    html! {
        li.done[*is_done] aria-current=[is_next.then_some("step")] {
            div {
                b { (title) } (state(lang, *is_done))
                p.muted { (words) }
            }
            @if is_next { a.button.primary href=(to) { (label) } }
            @else if *is_done { a.button href=(to) { (label) } }
        }
    }
}

/// A step says in words, too, whether it is done.
fn state(lang: Lang, is_done: bool) -> Markup {
    html! { @if is_done { span.sr { " (" (lang.say("已完成", "done")) ")" } } }
}

/// The last step: the call, and its receipt once it has come.
async fn call_row(visit: &Visit, steps: &FirstSteps, waits: bool) -> Result<Markup, AdminError> {
    let lang = visit.lang();
    let title = lang.say("第一次调用", "Make the first call");
    if let Some(call) = &steps.call {
        let charge = show::amount(call.quota);
        return Ok(html! {
            li.done {
                div {
                    b { (title) } (state(lang, true))
                    p role="status" { (tell!(lang,
                        "第一次计费调用已到达: {}, 收取 {charge}。",
                        "The first paid call has come: {}, charged {charge}.", call.model_name)) }
                }
                a.button.primary href=(explain::address_of(&call.request_id, call.hold_id)) {
                    (lang.say("这笔费用的由来", "How this charge came about"))
                }
            }
        });
    }
    let key = match &steps.key {
        Some(key) => token::get(&visit.state, &visit.actor, key.id).await.ok(),
        None => None,
    };
    let key = key.as_ref().map_or_else(|| CallingKey::of_reader(visit), CallingKey::of);
    let command = play::snippet(visit, key).await?;
    Ok(html! {
        li aria-current=[waits.then_some("step")] {
            div {
                b { (title) }
                @if waits {
                    p.muted role="status" { (lang.say(
                        "换上你的令牌运行; 调用到达时, 这里会显示它的费用。正在等待…",
                        "Run it with your key in it; this page shows what the call cost as it \
                         comes. Waiting…",
                    )) }
                    pre #guide-call { (command) }
                    div.buttons {
                        button type="button" data-copy="guide-call" {
                            (lang.say("复制命令", "Copy the command"))
                        }
                        a.button href="/console/play" {
                            (lang.say("或在操练场中调用", "Or call from the playground"))
                        }
                    }
                } @else {
                    p.muted { (lang.say(
                        "一条 curl 命令, 或你的程序; 然后看这笔费用的由来。",
                        "One curl command, or your program; then see how its charge came about.",
                    )) }
                }
            }
        }
    })
}
