//! Asynchronous tasks: where they stand, what they hold or cost, and what an operator decides.

use super::{batch, events, explain, task_batch, task_decision, users, webhooks};
use crate::columns::{Column, Columns};
use crate::lang::{Lang, tell};
use crate::parts::{self, BACKGROUND, chosen, filters, pager_with, typed};
use crate::shell::{ShellPage, csrf};
use crate::unfit::empty_or_unfit;
use crate::visit::{Handled, Here, Path, Visit, go_to, step};
use crate::{notes, show};
use admin::AdminError;
use admin::ops::task::{self, TaskFilter, TaskView};
use admin::ops::{channel, user, webhook};
use domain::UserId;
use maud::{Markup, html};
use std::collections::BTreeMap;

const ENTRY: &str = "/console/tasks";
/// What makes the list ask again.
const CHANGES: &str = "tasks from:#live delay:200ms";
/// The most that a page shows of a reply.
const MAX_REPLY_CHARS: usize = 50_000;

pub(super) fn state(lang: Lang, status: &str) -> Markup {
    let (kind, zh, en) = match status {
        "submitted" => ("wait", "已提交", "submitted"),
        "processing" => ("wait", "处理中", "processing"),
        "completed" => ("on", "已完成", "completed"),
        "failed" => ("bad", "失败", "failed"),
        _ => ("wait", "未知", "unknown"),
    };
    parts::state(kind, lang.say(zh, en))
}

/// The same of a task, of which an administrator may have to decide; its owner can't.
fn state_of(visit: &Visit, task: &TaskView) -> Markup {
    let lang = visit.lang();
    if visit.is_admin() && task.unreadable && is_open(task) {
        return parts::state("bad", lang.say("待处理", "needs a decision"));
    }
    state(lang, &task.status)
}

fn is_open(task: &TaskView) -> bool {
    matches!(task.status.as_str(), "submitted" | "processing" | "unknown")
}

/// `GET /console/tasks`
pub(crate) async fn list(Here(visit): Here) -> Handled {
    let (app, actor, lang) = (&visit.state, &visit.actor, visit.lang());
    let filter = TaskFilter::read(&visit.query())?;
    let page = task::list(app, actor, !visit.is_admin(), &filter, visit.page_request()?).await?;
    let names = match visit.is_admin() {
        true => user::names(app, actor, page.items.iter().map(|task| task.user_id)).await?,
        false => BTreeMap::new(),
    };
    let of_user = users::of_user(&visit).await?;
    let states = [
        ("unfinished", lang.say("未完成", "Unfinished")),
        ("completed", lang.say("已完成", "Completed")),
        ("failed", lang.say("失败", "Failed")),
        // Administrators decide.
        ("undecided", lang.say("待处理", "Needs a decision")),
    ];
    let states = if visit.is_admin() { &states[..] } else { &states[..3] };
    let columns = columns(&visit, &names);
    let is_live = visit.asked("live") != "off";
    let here = visit.with("page", visit.asked("page"));
    let body = html! {
        (filters(&visit, html! {
            (chosen(&visit, "status", lang.say("全部状态", "All states"), states))
            (typed(&visit, "model", lang.say("模型", "Model")))
            (typed(&visit, "task_id", lang.say("上游任务 ID", "Upstream's id")))
            @if visit.is_admin() && visit.asked("user_id").is_empty() {
                (typed(&visit, "username", lang.say("用户名", "User name")))
            }
            (of_user)
        }))
        (events::live(&visit, "tasks", 0))
        div #list hx-get=[is_live.then_some(here.as_str())] hx-trigger=[is_live.then_some(CHANGES)]
            hx-target="this" hx-select="#list" hx-select-oob="#total" hx-swap="outerMorph"
            hx-headers=[is_live.then_some(BACKGROUND)] {
            @if page.items.is_empty() {
                (empty_or_unfit(&visit, lang.say("没有任务。向以 /submit 结尾的模型提交即产生任务。",
                    "No task. A call of a model that ends in /submit makes one."), None))
            } @else {
                (columns.table(&html! { tbody { @for task in &page.items {
                    tr id={ "task-" (task.id) } { (columns.cells(task)) }
                } } }))
                @if visit.is_admin() && page.items.iter().any(is_open) { (task_batch::bar(&visit)) }
            }
            (pager_with(&visit, &page, &columns.menu()))
        }
    };
    let beside = html! {
        span.muted #total { (show::count(page.total)) }
        span.space {}
        (events::pause(&visit))
    };
    Ok(ShellPage::new(lang.say("任务", "Tasks"), ENTRY).beside(beside).show(&visit, body))
}

type TaskColumn<'a> = Column<'a, TaskView>;

fn columns<'a>(visit: &'a Visit, names: &'a BTreeMap<UserId, String>) -> Columns<'a, TaskView> {
    let (lang, is_admin) = (visit.lang(), visit.is_admin());
    let tick =
        move |task: &TaskView| batch::tick(lang, task.id, &format!("#{}", task.id), is_open(task));
    let owner = |task: &TaskView| {
        let name = names.get(&task.user_id).map_or("?", String::as_str);
        html! { td { a href={ "/console/users/" (task.user_id.0) } { (name) } } }
    };
    let mut all = Vec::new();
    all.extend(is_admin.then(|| TaskColumn::tool(batch::tick_head(lang), tick)));
    all.extend([
        TaskColumn::thing(lang.say("编号", "Number"), |task| {
            html! { td { a href={ "/console/tasks/" (task.id) } { "#" (task.id) } } }
        }),
        TaskColumn::new("state", lang.say("状态", "State"), move |task| {
            html! { td { (state_of(visit, task)) } }
        }),
        TaskColumn::new("model", lang.say("模型", "Model"), |task| html! { td { (task.action) } })
            .wide(),
    ]);
    all.extend(is_admin.then(|| TaskColumn::new("user", lang.say("用户", "User"), owner).wide()));
    all.extend([
        TaskColumn::new("progress", lang.say("进度", "Progress"), |task| {
            html! { td { @if task.progress.is_empty() { span.muted { (show::NOTHING) } }
            @else { (task.progress) } } }
        })
        .wide(),
        TaskColumn::new("held", lang.say("预扣", "Held"), |task| {
            show::amount_cell(task.precharge_quota)
        })
        .number(),
        TaskColumn::new("charged", lang.say("费用", "Charged"), |task| {
            if is_open(task) {
                return html! { td.num.muted { (show::NOTHING) } };
            }
            show::amount_cell(task.used_quota)
        })
        .number(),
        TaskColumn::new("made", lang.say("提交于", "Made"), |task| {
            html! { td { (show::ago(task.created_at)) } }
        })
        .wide(),
        TaskColumn::new("note", lang.say("说明", "Note"), move |task| note_cell(lang, task)).wide(),
    ]);
    Columns::of(visit, "tasks", all)
}

fn note_cell(lang: Lang, task: &TaskView) -> Markup {
    let next = task.polling.as_ref().and_then(|polling| polling.next_at);
    if let Some(at) = next {
        return html! {
            td.muted { (lang.say("下次查询 ", "asked next ")) (show::ago(at)) }
        };
    }
    let why = notes::failure(lang, &task.fail_reason);
    html! { td.cut.muted title=(why) { (why) } }
}

/// `GET /console/tasks/{id}`
pub(crate) async fn show(Here(visit): Here, Path(id): Path<String>) -> Handled {
    page(&visit, &id, false).await
}

/// `POST /console/tasks/{id}/reply`: what the upstream last said, for others than the owner. That
/// they read it is entered in the admin journal, so it is a write.
pub(crate) async fn read_reply(Here(visit): Here, Path(id): Path<String>) -> Handled {
    page(&visit, &id, true).await
}

/// `GET /console/tasks/{id}/reply`: a page that was loaded again.
pub(crate) async fn leave_reply(Path(id): Path<String>) -> Handled {
    Ok(go_to(&format!("{ENTRY}/{}", step(&id))))
}

async fn page(visit: &Visit, id: &str, asked: bool) -> Handled {
    let (app, actor, lang) = (&visit.state, &visit.actor, visit.lang());
    let task = task::get(app, actor, id).await?;
    let deliveries = webhook::of_task(app, actor, &task).await?;
    let is_own = task.user_id == actor.user_id;
    let of_others = match visit.is_admin() {
        true => of_others(visit, &task).await?,
        false => html! {},
    };
    let reply = match is_own || asked {
        true => match task::reply(app, actor, &task.uid.to_string()).await {
            Ok(reply) => Some(reply.reply),
            Err(AdminError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        },
        false => None,
    };
    let results = match &reply {
        Some(reply) => task::results(app, &task, reply).await?,
        None => Vec::new(),
    };
    let reaches = webhooks::is_reached(visit, task.user_id).await?;
    let content = html! {
        div.receipt { (facts(visit, &task, &of_others)) }
        (timeline(lang, &task))
        @if !task.request_id.is_empty() {
            p { a href=(explain::address_of(&task.request_id, Some(task.uid.0)))
                title=(task.request_id) {
                (lang.say("这笔费用的由来", "How this charge came about"))
            } }
        }
        (links(lang, &results))
        @if task.unreadable && is_open(&task) { (unreadable(lang, &task)) }
        @else { (last_reply(visit, &task, reply.as_deref(), (is_own, asked))) }
        @if !deliveries.items.is_empty() {
            h2.sec { (lang.say("回调投递", "Webhooks about it")) }
            (webhooks::deliveries_table(visit, &deliveries.items, reaches))
        }
        @if visit.is_admin() && reaches && is_open(&task) {
            (task_decision::choices(lang, &task))
        }
    };
    let title = tell!(lang, "任务 #{}", "Task #{}", task.id);
    // A reply that was asked for is read once: what follows the task would not have it.
    let follows = is_open(&task) && !asked;
    let beside = html! { @if follows { span.space {} (events::pause(visit)) } };
    let body = followed(visit, &task, follows, &content);
    Ok(ShellPage::new(title, ENTRY).beside(beside).show(visit, body))
}

/// The page of a task, which follows it until it has ended, unless that is paused.
fn followed(visit: &Visit, task: &TaskView, follows: bool, content: &Markup) -> Markup {
    let here = format!("{ENTRY}/{}", task.id);
    let is_live = follows && visit.asked("live") != "off";
    html! {
        @if follows { (events::live(visit, "tasks", 0)) }
        div #task hx-get=[is_live.then_some(here.as_str())] hx-trigger=[is_live.then_some(CHANGES)]
            hx-target="this" hx-select="#task" hx-swap="outerMorph"
            hx-headers=[is_live.then_some(BACKGROUND)] {
            (content)
        }
    }
}

/// Whose task it is, and where it runs, by name.
async fn of_others(visit: &Visit, task: &TaskView) -> Result<Markup, AdminError> {
    let (app, lang) = (&visit.state, visit.lang());
    let names = user::names(app, &visit.actor, [task.user_id]).await?;
    let channel = match task.channel_id {
        None => None,
        // A channel may be deleted after its tasks have ended.
        Some(id) => match channel::get(app, id).await {
            Ok(channel) => Some((id, Some(channel))),
            Err(AdminError::NotFound { .. }) => Some((id, None)),
            Err(error) => return Err(error),
        },
    };
    Ok(html! {
        dt { (lang.say("用户", "User")) }
        dd {
            @match names.get(&task.user_id) {
                Some(name) => a href={ "/console/users/" (task.user_id.0) } { (name) },
                None => "?",
            }
            span.muted { " #" (task.user_id.0) }
        }
        @if let Some((id, channel)) = &channel {
            dt { (lang.say("渠道", "Channel")) }
            dd {
                @match channel {
                    Some(channel) => a href={ "/console/channels/" (id.0) } {
                        (super::channels::name(channel))
                    },
                    None => (lang.say("已删除", "deleted")),
                }
                span.muted { " #" (id.0) }
            }
        }
    })
}

fn facts(visit: &Visit, task: &TaskView, of_others: &Markup) -> Markup {
    let lang = visit.lang();
    html! {
        dl.facts {
            dt { (lang.say("状态", "State")) }
            dd {
                (state_of(visit, task))
                @if !task.upstream_status.is_empty() {
                    span.muted {
                        " · " (lang.say("上游", "upstream")) ": " (task.upstream_status)
                    }
                }
                @if !task.progress.is_empty() { span.muted { " · " (task.progress) } }
            }
            dt { (lang.say("模型", "Model")) } dd { (task.action) }
            (of_others)
            dt { (lang.say("上游任务 ID", "Upstream's id")) }
            dd.mono.break {
                @if task.task_id.is_empty() { (show::NOTHING) } @else { (task.task_id) }
            }
            dt { "uid" } dd.mono.break { (task.uid) }
            dt { (lang.say("预扣", "Held")) } dd { (show::money(task.precharge_quota)) }
            dt { (lang.say("费用", "Charged")) }
            dd { @if is_open(task) { (lang.say("尚未结算", "not yet")) }
                @else { (show::money(task.used_quota)) } }
            @if !task.fail_reason.is_empty() {
                dt { (lang.say("失败原因", "Why it failed")) } dd.bad {
                    (notes::failure(lang, &task.fail_reason))
                }
            }
        }
    }
}

fn timeline(lang: Lang, task: &TaskView) -> Markup {
    let polling = task.polling.as_ref();
    let asked = polling.and_then(|polling| polling.asked_at).unwrap_or(0);
    let next = polling.and_then(|polling| polling.next_at).unwrap_or(0);
    let steps = [
        (lang.say("创建并预扣", "made, money held"), task.created_at),
        (lang.say("上游已接受", "taken by the upstream"), task.submit_time),
        (lang.say("最近变化", "last changed"), task.updated_at),
        (lang.say("最近查询", "upstream last asked"), asked),
        (lang.say("下次查询", "asked next"), next),
        (lang.say("结束", "ended"), task.finish_time),
    ];
    html! {
        h2.sec { (lang.say("经过", "Timeline")) }
        dl.facts {
            @for (word, at) in steps.iter().filter(|(_, at)| *at > 0) {
                dt { (word) } dd { (show::at(*at)) }
            }
            @if let Some(error) = polling.and_then(|polling| polling.error.as_deref()) {
                dt { (lang.say("查询出错", "asking failed")) } dd.bad {
                    (notes::code(lang, error))
                }
            }
        }
    }
}

/// Where the results are. They are upstreams' words, so nothing of ours is told to their hosts.
fn links(lang: Lang, results: &[String]) -> Markup {
    html! {
        @if !results.is_empty() {
            h2.sec { (lang.say("结果", "Results")) }
            @for address in results {
                p { a.break href=(address) target="_blank" rel="noopener noreferrer" { (address) } }
            }
        }
    }
}

/// What the upstream last said: shown to the owner, and to others who ask for it.
fn last_reply(
    visit: &Visit,
    task: &TaskView,
    reply: Option<&str>,
    (is_own, asked): (bool, bool),
) -> Markup {
    let lang = visit.lang();
    html! {
        @if reply.is_some() || asked || !is_own {
            h2.sec { (lang.say("上游的最近应答", "What the upstream last said")) }
        }
        @match reply {
            Some(reply) => {
                @let shown: String = reply.chars().take(MAX_REPLY_CHARS).collect();
                pre.reply.break #task-reply data-json="" tabindex="0" role="region"
                    aria-label=(lang.say("应答", "Reply")) { (shown) }
                @if shown.len() < reply.len() {
                    p.hint {
                        (lang.say("只显示开头; 全文见 API", "Only its beginning; the API has all"))
                    }
                }
                div.buttons {
                    button type="button" data-copy="task-reply" { (lang.say("复制", "Copy")) }
                }
            }
            None if asked => {
                p.muted { (lang.say("还没有应答。", "Nothing was said yet.")) }
            }
            None if !is_own => {
                form method="post" action={ (ENTRY) "/" (task.id) "/reply" } {
                    (csrf(visit))
                    button { (lang.say("查看应答", "Show it")) }
                    span.muted.small { " " (lang.say(
                        "应答属于用户; 查看会记入操作记录。",
                        "It is the user's; that you read it is entered in the admin journal.",
                    )) }
                }
            }
            None => {}
        }
    }
}

/// A submission that an upstream accepted with a reply that can't be read.
fn unreadable(lang: Lang, task: &TaskView) -> Markup {
    html! {
        h2.sec { (lang.say("无法读取的应答", "A reply that can't be read")) }
        p { (lang.say(
            "上游已接受提交, 但应答中没有可用的任务 ID。额度保持预扣, 由管理员决定结算或退还。",
            "The upstream accepted the submission, but its reply names no task. The money stays \
             held until an administrator settles or refunds it.",
        )) }
        @if let Some(reply) = &task.reply { pre.mono.break { (reply) } }
    }
}
