//! The proof of the books, and who did what.

use super::for_admins;
use super::log::export_address;
use super::period::{self, LogPeriod};
use crate::folds::folds;
use crate::lang::{Lang, tell};
use crate::parts::{self, BACKGROUND, action, chosen, filters, pager, typed};
use crate::shell::ShellPage;
use crate::unfit::empty_or_unfit;
use crate::visit::{Handled, Here, Visit, go_to};
use crate::{breaches, formula, show};
use admin::ops::audit::{self, AuditRun, AuditStanding, AuditStep};
use admin::ops::log::{self, ACTION_KINDS, LogFilter, LogView};
use maud::{Markup, html};
use serde_json::Value;
use std::borrow::Cow;

const ENTRY: &str = "/console/audit";

/// How often a page asks while a check is under way.
const EVERY: &str = "every 1s";

/// `GET /console/audit`
pub(crate) async fn show(Here(visit): Here) -> Handled {
    let lang = visit.lang();
    let checks = audit::standing(&visit.state, &visit.actor)?;
    let running = checks.running_since;
    let body = html! {
        div #proof hx-get=[running.map(|_| ENTRY)] hx-trigger=[running.map(|_| EVERY)]
            hx-headers=[running.map(|_| BACKGROUND)]
            hx-target="this" hx-select="#proof" hx-swap="outerHTML" {
            @if let (Some(since), Some(standing)) = (running, &checks.progress) {
                (under_way(lang, since, standing))
            }
            @else if let Some(fault) = &checks.failed {
                p.complaint role="alert" {
                    (lang.say("核对未能完成: ", "The check could not be made: "))
                    (lang.say(&fault.zh, &fault.en))
                }
            }
            @match &checks.last {
                Some(run) => (report(lang, run)),
                None if running.is_some() => {},
                None => (parts::empty(lang.say("本节点启动后还没有核对过账目。",
                    "This node has not checked the books since its start."), None)),
            }
        }
        p.muted.small {
            (lang.say(
                "核对: 每个余额等于其流水之和减去未结预扣; 每笔费用只有一次; 每个兑换码只兑换一次。",
                "The check: every balance is the sum of its journal lines less its open holds; \
                 every charge was made once; every code was redeemed once.",
            ))
        }
    };
    let beside = html! {
        span.space {}
        (action(&visit, "/console/audit/run", lang.say("立即核对", "Check now"), ""))
    };
    Ok(ShellPage::new(lang.say("审计", "Audit"), ENTRY).beside(beside).show(&visit, body))
}

/// A check is under way: this page follows it, and another click is the same check.
fn under_way(lang: Lang, since: i64, standing: &AuditStanding) -> Markup {
    let AuditStanding { steps_done, steps, step, running_ms } = standing;
    html! {
        p.note role="status" {
            (parts::state("wait", lang.say("正在核对", "Checking the books")))
            " · " (lang.say("开始于", "since")) " " (show::ago(since))
            " · " (show::duration_ms(*running_ms))
            br;
            progress value=(steps_done) max=(steps) {}
            " " (tell!(lang, "已完成 {} / {} 步", "{} of {} steps done", steps_done, steps))
            @if let Some(step) = step { ": " (step_words(lang, *step)) }
            br;
            span.muted { (lang.say(
                "完成后本页自动更新, 也可以离开; 流水越多越久。",
                "This page shows when it is done, and may be left: more lines take longer.",
            )) }
        }
    }
}

/// What is being checked.
const fn step_words(lang: Lang, step: AuditStep) -> &'static str {
    match step {
        AuditStep::Balances => lang.say("核对余额与流水", "balances and their journals"),
        AuditStep::Charges => lang.say("核对费用", "charges"),
        AuditStep::Holds => lang.say("核对未结预扣", "open holds"),
        AuditStep::Tasks => lang.say("核对未完成的任务", "unfinished tasks"),
        AuditStep::Codes => lang.say("核对兑换码", "redeemed codes"),
        AuditStep::Counts => lang.say("核对已计入限额的消耗", "what is counted as spent"),
        AuditStep::Totals => lang.say("汇总", "the sums of the report"),
    }
}

/// `POST /console/audit/run`: starts the check, which goes on in the background.
pub(crate) async fn run(Here(visit): Here) -> Handled {
    audit::start(&visit.state, &visit.actor)?;
    Ok(go_to(ENTRY))
}

fn report(lang: Lang, run: &AuditRun) -> Markup {
    let report = &run.report;
    html! {
        div.receipt {
            dl.facts {
                dt { (lang.say("结果", "Result")) }
                dd {
                    @if report.clean { (parts::state("on", lang.say("账目无误", "the books balance"))) }
                    @else { (parts::state("bad", &tell!(lang, "{} 处不符", "Breaches: {}",
                        report.breaches.len()))) }
                }
                dt { (lang.say("核对于", "Checked")) }
                dd { (show::ago(run.at)) span.muted { " · " (show::duration_ms(run.took_ms)) } }
                dt { (lang.say("用户", "Users")) } dd { (show::count(report.users)) }
                dt { (lang.say("未结预扣", "Open holds")) }
                dd { (show::count(report.open_holds)) " · " (show::money(report.held)) }
                dt { (lang.say("结果未知而退还", "Given back, outcome unknown")) }
                dd { (show::money(report.unknown_outcome)) }
            }
        }
        @if !report.breaches.is_empty() {
            h2.sec { (lang.say("不符之处", "Breaches")) }
            div.scroll {
                (folds(lang, &html! { table {
                    thead { tr {
                        th { (lang.say("规则", "Rule")) }
                        th { (lang.say("对象", "Row")) }
                        th { (lang.say("详情", "What it says, and should")) }
                    } }
                    tbody {
                        @for breach in &report.breaches {
                            tr {
                                td.wrap { (breaches::rule(lang, breach.rule)) }
                                td { (breach.subject) }
                                td.wrap { (breaches::detail(lang, &breach.detail)) }
                            }
                        }
                    }
                } }))
            }
        }
    }
}

/// `GET /console/actions`
pub(crate) async fn actions(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let lang = visit.lang();
    let filter = LogFilter { r#type: Some("manage"), ..LogFilter::of_lines(&visit.query())? };
    let filter = LogPeriod::read(&visit)?.of(filter);
    let request = visit.page_request()?;
    let page = log::list(&visit.state, &visit.actor, false, &filter, request).await?;
    let body = html! {
        (action_filters(&visit))
        div #list {
            @if page.items.is_empty() {
                (empty_or_unfit(&visit, lang.say("没有操作记录。", "Nothing was done."), None))
            } @else {
                (actions_table(lang, &page.items))
            }
            (pager(&visit, &page))
        }
    };
    let beside = html! {
        span.space {}
        a.button href=(export_address(&visit, Some("manage"))) {
            (lang.say("导出 CSV", "Export CSV"))
        }
    };
    let title = lang.say("操作记录", "Admin journal");
    Ok(ShellPage::new(title, "/console/actions").beside(beside).show(&visit, body))
}

fn action_filters(visit: &Visit) -> Markup {
    let lang = visit.lang();
    let kinds = ACTION_KINDS.map(|kind| (kind, kind_words(lang, kind)));
    filters(
        visit,
        html! {
            (chosen(visit, "kind", lang.say("全部操作", "All actions"), &kinds))
            (typed(visit, "username", lang.say("操作者", "Who")))
            @if visit.asked("target_user_id").is_empty() {
                (typed(visit, "target_username", lang.say("对哪个用户", "Done to (user)")))
            } @else {
                (typed(visit, "target_user_id", lang.say("用户编号", "Done to (number)")))
            }
            (typed(visit, "channel_id", lang.say("渠道编号", "Channel number")))
            (period::fields(visit))
        },
    )
}

fn kind_words(lang: Lang, kind: &str) -> &'static str {
    match kind {
        "refused" => lang.say("登录被拒", "Logins refused"),
        "logins" => lang.say("登录", "Logins"),
        "money" => lang.say("资金: 余额、兑换码、任务", "Money: balances, codes, tasks"),
        "users" => lang.say("用户", "Users"),
        "keys" => lang.say("令牌", "Keys"),
        "channels" => lang.say("渠道", "Channels"),
        "protocols" => lang.say("协议", "Protocols"),
        "prices" => lang.say("价格和分组", "Prices and groups"),
        "settings" => lang.say("设置和公告", "Settings and notice"),
        "tasks" => lang.say("任务查询", "Tasks read or asked again"),
        _ => lang.say("回调", "Webhooks"),
    }
}

/// Lines of the admin journal.
pub(super) fn actions_table(lang: Lang, lines: &[LogView]) -> Markup {
    html! {
        div.scroll {
            (folds(lang, &html! { table {
                thead { tr {
                    th { (lang.say("时间", "Time")) }
                    th { (lang.say("操作者", "Who")) }
                    th.hide { (lang.say("操作", "What")) }
                    th { (lang.say("说明", "Note")) }
                    th.hide { (lang.say("细节", "Details")) }
                } }
                tbody { @for line in lines { (action_row(lang, line)) } }
            } }))
        }
    }
}

/// A value of a line's details; what is null was not given.
fn detail(lang: Lang, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(all) => {
            let one = |it: &Value| match it.as_str() {
                Some(field) => detail_label(lang, field).into_owned(),
                None => detail(lang, it),
            };
            all.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        Value::Object(members) => {
            let given = members.iter().filter(|(_, value)| !value.is_null());
            let one = |(field, value): (&String, &Value)| {
                format!("{} {}", detail_label(lang, field), detail(lang, value))
            };
            given.map(one).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// A member of a line's details, in words.
fn detail_label(lang: Lang, field: &str) -> Cow<'_, str> {
    Cow::Borrowed(match field {
        "address" => lang.say("来自", "from"),
        "lot" => lang.say("批次编号", "lot"),
        "fields" => lang.say("修改的字段", "fields"),
        "reason" => lang.say("原因", "reason"),
        "target_user_id" => lang.say("用户编号", "user number"),
        "meters" => lang.say("计量倍率", "meters"),
        "price" => lang.say("价格", "price"),
        "schedule" => lang.say("其他计量", "schedule"),
        "tiers" => lang.say("分档", "tiers"),
        "units" => lang.say("计件", "units"),
        // Of a price it may be a meter.
        other => match parts::field_label(lang, other) {
            label if label == other => return formula::in_words(lang, other),
            label => label,
        },
    })
}

fn action_row(lang: Lang, line: &LogView) -> Markup {
    let other: serde_json::Value = serde_json::from_str(line.other.get()).unwrap_or_default();
    let mut details = other.as_object().cloned().unwrap_or_default();
    let action = details.remove("action");
    for known in ["by", "by_role"] {
        details.remove(known);
    }
    details.retain(|_, value| !value.is_null());
    let details: Vec<String> = details
        .iter()
        .map(|(field, value)| format!("{}: {}", detail_label(lang, field), detail(lang, value)))
        .collect();
    let details = details.join(" · ");
    let action = action.as_ref().and_then(serde_json::Value::as_str).unwrap_or(show::NOTHING);
    html! {
        tr {
            td { (show::at(line.created_at)) }
            td { (line.username) }
            td.mono { (action) }
            td.wrap { (super::log::words(lang, line)) }
            td.cut.muted title=(details) { (details) }
        }
    }
}
