//! The health of the installation: what was checked, what is wrong, what to do; and its nodes.

use super::for_admins;
use crate::folds::folds;
use crate::lang::{Lang, tell};
use crate::parts;
use crate::shell::{ShellPage, csrf};
use crate::visit::{Handled, Here, Visit};
use crate::{findings, show};
use admin::ops::doctor::{self, HealthCheck, HealthState, LooseHolds, NodeLoad, NodeView};
use admin::{AdminError, ROLE_ROOT};
use maud::{Markup, html};

const ENTRY: &str = "/console/doctor";

/// `GET /console/doctor`: without asking upstreams.
pub(crate) async fn show(Here(visit): Here) -> Handled {
    page(&visit, false).await
}

/// `POST /console/doctor`: with them.
pub(crate) async fn reach_out(Here(visit): Here) -> Handled {
    page(&visit, true).await
}

async fn page(visit: &Visit, reaches_out: bool) -> Handled {
    for_admins(visit)?;
    let lang = visit.lang();
    // It shows settings, which are root's.
    let is_root = visit.actor.role >= ROLE_ROOT;
    let checks = match is_root {
        true => match doctor::examine(&visit.state, &visit.actor, reaches_out).await {
            Ok(checks) => Some(checks.items),
            // Another one is under way: the nodes are there all the same.
            Err(AdminError::Conflict { .. }) => None,
            Err(error) => return Err(error.into()),
        },
        false => None,
    };
    let nodes = doctor::list_nodes(&visit.state, &visit.actor).await?.items;
    let body = html! {
        @if let Some(checks) = &checks { (health(lang, checks)) }
        @else if is_root { (under_way(visit)) }
        @else {
            p.note { (lang.say(
                "健康检查会显示设置, 只有 root 能看到; 管理员只看到节点。",
                "The health check shows settings, so root alone sees it; administrators see the \
                 nodes.",
            )) }
        }
        h2.sec #nodes { (lang.say("节点", "Nodes")) }
        (node_table(lang, &nodes))
        (loose(lang, &doctor::loose_holds(&visit.state, &visit.actor).await?))
    };
    let beside = html! {
        span.space {}
        @if is_root {
            a.button href=(ENTRY) { (lang.say("重新检查", "Check again")) }
            form.inline method="post" action=(ENTRY) {
                (csrf(visit))
                button.primary { (lang.say("连同上游一起检查", "Check the upstreams, too")) }
            }
        }
    };
    Ok(ShellPage::new(lang.say("健康检查", "Health"), ENTRY).beside(beside).show(visit, body))
}

/// In place of a check, while another is made.
fn under_way(visit: &Visit) -> Markup {
    let lang = visit.lang();
    html! {
        p.note {
            (lang.say(
                "健康检查正在进行 (在另一个页面, 或由另一位管理员发起), 稍后请重新检查。",
                "A health check is under way, from another page or by somebody else: check again \
                 in a moment.",
            ))
            @if let Some(last) = doctor::last(&visit.state, &visit.actor) {
                " " (lang.say("上一次: ", "The last one: ")) (show::ago(last.at)) ", "
                (tell!(lang, "故障 {} 项, 留意 {} 项。", "broken {}, worth a look {}.",
                    last.bad, last.odd))
            }
        }
    }
}

fn health(lang: Lang, checks: &[HealthCheck]) -> Markup {
    let (wrong, well): (Vec<_>, Vec<_>) =
        checks.iter().partition(|check| check.state != HealthState::Good);
    html! {
        @if wrong.is_empty() {
            p.note { (parts::state("on", lang.say("一切正常。", "Everything is well."))) }
        } @else {
            h2.sec { (lang.say("需要处理", "To be looked at")) }
            (check_table(lang, &wrong))
        }
        h2.sec { (lang.say("正常", "In order")) }
        (check_table(lang, &well))
    }
}

fn check_table(lang: Lang, checks: &[&HealthCheck]) -> Markup {
    html! {
        div.scroll {
            (folds(lang, &html! { table {
                thead { tr {
                    th { (lang.say("检查", "Check")) }
                    th { (lang.say("状态", "State")) }
                    th { (lang.say("发现", "Found")) }
                    th.hide { (lang.say("处理", "What to do")) }
                } }
                tbody { @for check in checks {
                    tr {
                        @let (remedy, page) = findings::remedy(lang, check);
                        td { (findings::name(lang, check)) }
                        td { (state(lang, check.state)) }
                        td.wrap { (findings::found(lang, check)) }
                        td.wrap {
                            (remedy)
                            @if let Some((to, label)) = page { " " a href=(to) { (label) } }
                        }
                    }
                } }
            } }))
        }
    }
}

fn state(lang: Lang, state: HealthState) -> Markup {
    match state {
        HealthState::Good => parts::state("on", lang.say("正常", "good")),
        HealthState::Odd => parts::state("wait", lang.say("留意", "worth a look")),
        HealthState::Bad => parts::state("bad", lang.say("故障", "broken")),
    }
}

/// What is on hold besides what nodes hold, so that the table and this are all of it.
fn loose(lang: Lang, holds: &LooseHolds) -> Markup {
    let LooseHolds { tasks: (tasks, of_tasks), unknown: (unknown, of_unknown) } = holds;
    html! {
        dl.facts {
            dt { (lang.say("未完成任务的预扣", "Held for unfinished tasks")) }
            dd {
                a href="/console/tasks?status=unfinished" { (show::count(*tasks)) } " · "
                (show::money(*of_tasks))
            }
            @if *unknown > 0 {
                dt { (lang.say("结果未知, 到期退还", "Outcome unknown, until its deadline")) }
                dd { (show::count(*unknown)) " · " (show::money(*of_unknown)) }
            }
        }
    }
}

fn node_table(lang: Lang, nodes: &[NodeView]) -> Markup {
    html! {
        div.scroll {
            (folds(lang, &html! { table {
                thead { tr {
                    th { (lang.say("名称", "Name")) }
                    th { (lang.say("状态", "State")) }
                    th.hide.broad { (lang.say("版本", "Version")) }
                    th.num { (lang.say("未结预扣", "Open holds")) }
                    th.num.hide { (lang.say("预扣", "Held")) }
                    th.num { (lang.say("内存", "Memory")) }
                    th.num.hide { (lang.say("正文占用", "Bodies")) }
                    th.num.hide { (lang.say("连接", "Connections")) }
                    th.num.hide { (lang.say("数据库连接", "Database")) }
                    th.hide { "Redis" }
                    th.hide { (lang.say("启动于", "Started")) }
                    th.hide.broad { (lang.say("租约至", "Lease until")) }
                } }
                tbody { @for node in nodes {
                    tr {
                        td.cut title=(node.id) { (node.name) }
                        td { @if node.alive { (parts::state("on", lang.say("运行中", "serving"))) }
                            @else { (parts::state("off", lang.say("已停止", "gone"))) } }
                        td.hide.broad.mono { (node.version) }
                        (show::count_cell(node.open_holds))
                        td.num.hide { (show::amount_whole(node.held)) }
                        (load_cells(lang, node.load.as_ref()))
                        td.hide { (show::ago(node.started_at)) }
                        td.hide.broad { (show::ago(node.lease_until)) }
                    }
                } }
            } }))
        }
    }
}

/// What a node measured of itself: each number with the limit it counts against.
fn load_cells(lang: Lang, load: Option<&NodeLoad>) -> Markup {
    let Some(load) = load else {
        let nothing = show::NOTHING;
        return html! {
            td.num.muted { (nothing) }
            @for _ in 0..3 { td.num.hide.muted { (nothing) } }
            td.hide.muted { (nothing) }
        };
    };
    let of = |taken: Option<String>, limit: Option<String>| match (taken, limit) {
        (Some(taken), Some(limit)) => format!("{taken} / {limit}"),
        (Some(taken), None) => taken,
        (None, _) => show::NOTHING.to_owned(),
    };
    let bytes = |number: Option<i64>| number.map(show::bytes);
    let count = |number: Option<i64>| number.map(show::count);
    html! {
        td.num { (of(bytes(load.resident_bytes), bytes(load.memory_limit_bytes))) }
        td.num.hide { (of(bytes(Some(load.body_bytes)), bytes(Some(load.body_budget_bytes)))) }
        td.num.hide { (of(count(Some(load.connections)), count(Some(load.max_connections)))) }
        td.num.hide { (of(count(load.database_in_use), count(load.database_max))) }
        td.hide { @match load.redis_answers {
            Some(true) => (parts::state("on", lang.say("有响应", "answers"))),
            Some(false) => (parts::state("bad", lang.say("无响应", "no answer"))),
            None => (parts::state("off", lang.say("未配置", "none"))),
        } }
    }
}
