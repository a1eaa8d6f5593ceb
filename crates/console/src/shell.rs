//! What all pages share: the head, the side bar, and what was just done.

use crate::assets;
use crate::lang::{Lang, tell};
use crate::pages::find;
use crate::show;
use crate::unit::Unit;
use crate::visit::{PageReply, Taste, Visit, html as respond};
use admin::ROLE_ROOT;
use admin::ops::log::balance::RecentMovement;
use domain::Quota;
use http::StatusCode;
use maud::{DOCTYPE, Markup, html};

/// A page inside the shell.
pub(crate) struct ShellPage {
    title: String,
    /// Address of its entry in the side bar.
    entry: &'static str,
    beside: Markup,
    chart: bool,
    status: StatusCode,
}

impl ShellPage {
    pub(crate) fn new(title: impl Into<String>, entry: &'static str) -> Self {
        Self { title: title.into(), entry, beside: html! {}, chart: false, status: StatusCode::OK }
    }

    /// What stands beside the title: a count, buttons.
    pub(crate) fn beside(mut self, beside: Markup) -> Self {
        self.beside = beside;
        self
    }

    /// Loads what charts need.
    pub(crate) const fn with_chart(mut self) -> Self {
        self.chart = true;
        self
    }

    /// Sets the status of the response.
    pub(crate) const fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The whole page.
    pub(crate) fn show(self, visit: &Visit, body: Markup) -> PageReply {
        let content = html! {
            (side_bar(visit, self.entry))
            main #main {
                header.top #top {
                    h1 { (self.title) }
                    (self.beside)
                }
                (body)
            }
            (just_done(visit, &self.title))
            (confirmation(visit.lang()))
            (ended(visit))
            (palette(visit.lang()))
            (shortcuts(visit.lang()))
        };
        let body = html! { body hx-headers:inherited=(headers(visit)) { (content) } };
        respond(self.status, document(visit.taste, &self.title, self.chart, body))
    }
}

fn headers(visit: &Visit) -> String {
    serde_json::json!({ "X-CSRF-Token": visit.session.csrf }).to_string()
}

/// A page of its own, outside the shell.
pub(crate) fn bare(taste: Taste, status: StatusCode, title: &str, content: Markup) -> PageReply {
    let body = html! { body.bare { main #main { (content) } } };
    respond(status, document(taste, title, false, body))
}

fn document(taste: Taste, title: &str, chart: bool, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(taste.lang.tag()) data-theme=(taste.theme.code())
            data-sign=(Unit::shown().sign()) data-worth=(Unit::shown().worth_of_one()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="htmx-config" content=r#"{"includeIndicatorCSS":false}"#;
                title { (title) " · newapi" }
                link rel="icon" href=(assets::ICON.as_str());
                link rel="stylesheet" href=(assets::STYLE.path);
                @if chart { link rel="stylesheet" href=(assets::CHART_STYLE.path); }
                script src=(assets::SCRIPTS.path) defer {}
                @if chart { script src=(assets::CHART.path) defer {} }
            }
            (body)
        }
    }
}

/// An entry of the side bar: address, both names, and the key that goes there after `g`.
type Entry = (&'static str, &'static str, &'static str, &'static str);

const MONEY: &[Entry] = &[
    ("/console", "总览", "Overview", "o"),
    ("/console/log", "使用日志", "Log", "l"),
    ("/console/usage", "用量", "Usage", "v"),
    ("/console/users", "用户", "Users", "u"),
    ("/console/keys", "令牌", "Keys", "k"),
    ("/console/prices", "价格", "Prices", "p"),
    ("/console/groups", "分组", "Groups", "g"),
    ("/console/codes", "兑换码", "Codes", "r"),
];
const CALLS: &[Entry] = &[
    ("/console/channels", "渠道", "Channels", "c"),
    ("/console/protocols", "协议", "Protocols", "y"),
    ("/console/tasks", "任务", "Tasks", "t"),
    ("/console/webhooks", "回调", "Webhooks", "w"),
    ("/console/play", "操练场", "Playground", "x"),
    ("/console/api", "接口", "API", "i"),
];
const SYSTEM: &[Entry] = &[
    ("/console/audit", "审计", "Audit", "a"),
    ("/console/doctor", "健康检查", "Health", "h"),
    ("/console/actions", "操作记录", "Admin journal", "j"),
    ("/console/notice", "公告", "Notice", "n"),
    ("/console/settings", "设置", "Settings", "s"),
    ("/console/account", "我的账户", "Account", "m"),
];
const OWN: &[Entry] = &[
    ("/console", "首页", "Home", "o"),
    ("/console/keys", "令牌", "Keys", "k"),
    ("/console/log", "使用日志", "Log", "l"),
    ("/console/usage", "用量", "Usage", "u"),
    ("/console/tasks", "任务", "Tasks", "t"),
    ("/console/prices", "价格", "Prices", "p"),
    ("/console/statements", "账单", "Statements", "b"),
    ("/console/redeem", "兑换", "Redeem", "r"),
    ("/console/webhooks", "回调", "Webhooks", "w"),
    ("/console/play", "操练场", "Playground", "x"),
    ("/console/api", "接口", "API", "i"),
    ("/console/account", "我的账户", "Account", "m"),
];

fn side_bar(visit: &Visit, here: &str) -> Markup {
    let lang = visit.lang();
    html! {
        a.skip href="#main" { (lang.say("跳到内容", "Skip to content")) }
        nav.side aria-label=(lang.say("主菜单", "Main menu")) {
            a.brand href="/console" { "newapi" }
            input #menu type="checkbox" aria-label=(lang.say("显示菜单", "Show menu"));
            label.menu for="menu" { (lang.say("菜单", "Menu")) }
            form.who method="post" action="/console/logout" {
                (csrf(visit))
                a href="/console/account" title=(lang.say("我的账户", "Account")) {
                    (visit.actor.username)
                }
                button.quiet { (lang.say("退出", "Log out")) }
            }
            div.entries {
                // The script opens the palette instead.
                a href="/console/find" data-palette=""
                    aria-current=[(here == "/console/find").then_some("page")] {
                    (lang.say("搜索", "Search")) kbd aria-hidden="true" { "Ctrl K" }
                }
                @if visit.is_admin() {
                    (entries(visit, here, Some(lang.say("资金", "Money")), MONEY))
                    (entries(visit, here, Some(lang.say("调用", "Calls")), CALLS))
                    (entries(visit, here, Some(lang.say("系统", "System")), SYSTEM))
                } @else {
                    (entries(visit, here, None, OWN))
                }
                div.foot {
                    @if visit.is_admin() { (books(visit)) } @else { (own_books(visit)) }
                    (tastes(visit.taste, &visit.address))
                    // The script knows the reader's own.
                    span #zone data-label=(lang.say("时间: ", "Times: ")) {
                        (lang.say("时间: UTC", "Times: UTC"))
                    }
                }
            }
        }
    }
}

/// Whether the reader reaches the page of settings: it is root's.
pub(crate) fn has_settings(visit: &Visit) -> bool {
    visit.actor.role >= ROLE_ROOT && visit.state.options.is_some()
}

/// The pages of the menu that the reader reaches: address, and both names.
pub(crate) fn pages(
    visit: &Visit,
) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let all = if visit.is_admin() { [MONEY, CALLS, SYSTEM] } else { [OWN, &[], &[]] };
    let has_settings = has_settings(visit);
    let reached = all.into_iter().flatten().filter(move |(to, ..)| is_reached(to, has_settings));
    reached.map(|(to, zh, en, _)| (*to, *zh, *en))
}

fn is_reached(to: &str, has_settings: bool) -> bool {
    to != "/console/settings" || has_settings
}

fn entries(visit: &Visit, here: &str, title: Option<&str>, entries: &[Entry]) -> Markup {
    let has_settings = has_settings(visit);
    html! {
        @if let Some(title) = title { h2 { (title) } }
        @for (to, zh, en, key) in entries.iter().filter(|(to, ..)| is_reached(to, has_settings)) {
            a href=(to) aria-current=[(*to == here).then_some("page")] data-go=(key) {
                (visit.say(zh, en)) kbd aria-hidden="true" { (key) }
            }
        }
    }
}

/// How the last check of the books ended, on every page.
fn books(visit: &Visit) -> Markup {
    let last = admin::ops::audit::last(&visit.state, &visit.actor).ok().flatten();
    html! {
        a.books href="/console/audit" {
            @match last {
                Some(run) if run.report.clean => {
                    span.state.on { (visit.say("账目无误", "Books balance")) }
                    (show::ago(run.at))
                }
                Some(_) => { span.state.bad { (visit.say("账目有误", "Books do not balance")) } }
                None => { span.state.wait { (visit.say("启动后未核对", "Not checked yet")) } }
            }
        }
    }
}

/// The same for users: when the books were last found to balance, where they were.
fn own_books(visit: &Visit) -> Markup {
    html! {
        @if let Some(clean) = admin::ops::audit::last_clean(&visit.state) {
            div.books {
                span.state.on title=(visit.say(
                    "定期核对: 每个余额等于其流水之和",
                    "checked regularly: every balance is the sum of its journal",
                )) { (visit.say("余额已核对", "Balances verified")) }
                (show::ago(clean.at))
            }
        }
    }
}

/// Language and theme. They are no secret and change nothing else, so they need no session.
pub(crate) fn tastes(taste: Taste, back: &str) -> Markup {
    let lang = taste.lang;
    let themes = [
        ("system", lang.say("跟随系统", "System")),
        ("light", lang.say("浅色", "Light")),
        ("dark", lang.say("深色", "Dark")),
    ];
    html! {
        form.tastes method="post" action="/console/preferences" {
            input type="hidden" name="back" value=(back);
            select name="theme" aria-label=(lang.say("主题", "Theme")) data-submits="" {
                @for (code, name) in themes {
                    option value=(code) selected[code == taste.theme.code()] { (name) }
                }
            }
            button name="lang" value=(lang.say("en", "zh")) lang=(lang.say("en", "zh-CN")) {
                (lang.say("English", "中文"))
            }
            noscript { button { (lang.say("应用", "Apply")) } }
        }
    }
}

/// Proves that a form came from a page of ours.
pub(crate) fn csrf(visit: &Visit) -> Markup {
    html! { input type="hidden" name="csrf" value=(visit.session.csrf); }
}

/// The confirmation of a completed action after a redirect.
fn just_done(visit: &Visit, title: &str) -> Markup {
    if let Some(RecentMovement { delta, now }) = visit.moved {
        let (amount, now) = (show::amount(Quota(delta.0.saturating_abs())), show::amount(now));
        let words = match (visit.asked("done"), delta.is_negative()) {
            ("redeemed", _) => tell!(
                visit.lang(),
                "兑换成功: +{amount}, 余额 {now}",
                "Redeemed: +{amount}; now {now}"
            ),
            (_, true) => tell!(
                visit.lang(),
                "已从 {title} 扣减 {amount}, 余额 {now}",
                "{amount} taken from {title}; now {now}"
            ),
            (_, false) => tell!(
                visit.lang(),
                "已给 {title} 增加 {amount}, 余额 {now}",
                "{amount} added to {title}; now {now}"
            ),
        };
        return html! { div #toasts role="status" { p.toast { (words) } } };
    }
    let words = match visit.asked("done") {
        "saved" => visit.say("已保存", "Saved"),
        "created" => visit.say("已创建", "Created"),
        "made-before" => visit.say(
            "这份表单此前已提交, 没有重复创建; 若有密钥, 只在那时显示一次: 没看到就删除它, 另建一个",
            "This form was sent before: here is what it made. A secret was shown then, once: if \
             you did not see it, delete this and make another one",
        ),
        "rotated-before" => visit.say(
            "这份表单此前已提交, 密钥只更换了一次; 新密钥只在那时显示: 没看到就再更换一次",
            "This form was sent before, and the key was rotated once. Its secret was shown then: \
             if you did not see it, rotate it again",
        ),
        "hook-rotated-before" => visit.say(
            "这份表单此前已提交, 密钥只更换了一次; 新密钥只在那时显示: 没看到就再更换一次",
            "This form was sent before, and the secret was rotated once. The new one was shown \
             then: if you did not see it, rotate it again",
        ),
        "old-ended" => visit.say("旧密钥已失效", "The old secret has ended"),
        "deleted" => visit.say("已删除", "Deleted"),
        "enabled" => visit.say("已启用", "Enabled"),
        "disabled" => visit.say("已禁用", "Disabled"),
        "moved" => visit.say("余额已变动, 见流水", "The balance moved; see the journal"),
        "repeated" => {
            visit.say("此前已经变动过, 没有重复", "It had moved before; nothing was repeated")
        }
        "redeemed" => visit.say("兑换成功", "Redeemed"),
        "redeemed-before" => visit.say(
            "您此前已兑换过该兑换码, 余额没有变动",
            "You had redeemed this code before; the balance did not move",
        ),
        "ended" => visit.say("会话已结束", "The session ended"),
        "tested" => visit.say(
            "测试事件将立即投递, 结果见投递记录",
            "A test is delivered now; the deliveries say how it went",
        ),
        "sent" => visit.say("将立即重新投递", "It is delivered again now"),
        "decided" => visit.say("任务已处理", "The task was decided"),
        "decided-many" => visit.say("选中的任务已处理", "The selected tasks were decided"),
        "password" => {
            visit.say("密码已修改, 其他会话已结束", "Password changed; other sessions ended")
        }
        _ => "",
    };
    html! { div #toasts role="status" {
        @match visit.just_switched().as_slice() {
            [] if words.is_empty() => {}
            [] => p.toast { (words) },
            ids => div.toast { (words) (undo(visit, ids)) },
        }
    } }
}

/// Takes back that rows of this list were enabled or disabled: by the calls of a row, or of many.
fn undo(visit: &Visit, ids: &[i64]) -> Markup {
    let list: Vec<&str> = visit.path.split('/').take(3).collect();
    let list = list.join("/");
    let enables = visit.asked("done") == "disabled";
    let to = match ids {
        [id] => format!("{list}/{id}/status?to={}", if enables { "on" } else { "off" }),
        _ => format!("{list}/batch"),
    };
    html! {
        form.inline method="post" action=(to) {
            (csrf(visit))
            @if ids.len() > 1 {
                input type="hidden" name="status" value=(if enables { 1 } else { 2 });
                input type="hidden" name="apply" value="1";
                @for id in ids { input type="hidden" name="id" value=(id); }
            }
            button { (visit.say("撤销", "Undo")) }
        }
    }
}

fn confirmation(lang: Lang) -> Markup {
    html! {
        dialog #confirm aria-labelledby="confirm-words" {
            form method="dialog" {
                p #confirm-words {}
                div.buttons {
                    button value="no" { (lang.say("取消", "Cancel")) }
                    button.danger value="yes" { (lang.say("确定", "Yes")) }
                }
            }
        }
    }
}

/// What a form is stopped with when it can't be sent: what was typed in it stays.
fn ended(visit: &Visit) -> Markup {
    html! {
        dialog #ended data-user=(visit.actor.user_id.0) aria-labelledby="ended-words" {
            form method="dialog" {
                p #ended-words {
                    span data-when="over" { (visit.say(
                        "登录已失效, 内容尚未提交, 仍保留在本页。请在新标签页登录, 然后回到这里继续。",
                        "The session has ended. Nothing was sent, and what you typed is still \
                         here: log in in another tab, come back, and go on.",
                    )) }
                    span data-when="other" { (tell!(
                        visit.lang(),
                        "此浏览器现在登录的是另一个用户, 内容尚未提交。\
                         请在新标签页以 {} 登录, 然后回到这里继续。",
                        "This browser is logged in as another user now. Nothing was sent: log in \
                         as {} in another tab, come back, and go on.",
                        visit.actor.username
                    )) }
                    span data-when="silent" { (visit.say(
                        "服务器没有应答, 内容尚未提交, 仍保留在本页。",
                        "The server did not answer. Nothing was sent, and what you typed is still \
                         here.",
                    )) }
                }
                div.buttons {
                    a.button href="/console/login" target="_blank" { (visit.say("登录", "Log in")) }
                    button value="no" { (visit.say("取消", "Cancel")) }
                    button.primary value="again" { (visit.say("继续", "Go on")) }
                }
            }
        }
    }
}

/// Where a name that is typed leads.
fn palette(lang: Lang) -> Markup {
    html! {
        dialog #palette aria-label=(lang.say("搜索", "Search")) {
            form method="get" action="/console/find" hx-get="/console/find" hx-target="#found"
                hx-swap="outerHTML" hx-trigger="input delay:150ms" hx-sync="this:replace" {
                input type="search" name="q" autocomplete="off" placeholder=(find::words(lang))
                    aria-label=(find::words(lang));
            }
            ul #found.found {}
        }
    }
}

fn shortcuts(lang: Lang) -> Markup {
    let keys = [
        ("Ctrl K", lang.say("按名称前往", "Go by a name")),
        (
            "g …",
            lang.say("前往: 菜单中各项右侧的字母", "Go to: the letters beside the menu's entries"),
        ),
        ("/", lang.say("搜索", "Search")),
        ("j  k", lang.say("在表格中上下移动", "Down and up in a table")),
        ("x", lang.say("选择该行", "Select the row")),
        ("Enter", lang.say("打开该行", "Open the row")),
        ("t", lang.say("切换相对与绝对时间", "Times: so long ago, or of the clock")),
        ("?", lang.say("显示快捷键", "Show the shortcuts")),
        ("Esc", lang.say("关闭", "Close")),
    ];
    html! {
        dialog #shortcuts aria-labelledby="shortcuts-title" {
            h2 #shortcuts-title { (lang.say("快捷键", "Shortcuts")) }
            dl.keys {
                @for (key, words) in keys { dt { kbd { (key) } } dd { (words) } }
            }
            form method="dialog" { button { (lang.say("关闭", "Close")) } }
        }
    }
}
