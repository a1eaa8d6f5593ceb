//! Deciding over a task that has not ended: what it moves, why, before and after.

use super::adjust::{reason, reason_field};
use super::{for_admins, large_moves};
use crate::form::Complaint;
use crate::lang::{Lang, tell};
use crate::parts::{self, FormFields, form_page};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Path, Visit, done};
use admin::AdminError;
use admin::ops::task::{self, Decision, TaskView};
use admin::ops::user;
use domain::Quota;
use ledger::TaskProspect;
use maud::{Markup, html};

const ENTRY: &str = "/console/tasks";

pub(super) const fn code(decision: Decision) -> &'static str {
    match decision {
        Decision::SettleNow => "settle",
        Decision::FailAndRefund => "refund",
        Decision::Requeue => "requeue",
    }
}

pub(super) fn of_code(code: &str) -> Result<Decision, AdminError> {
    match code {
        "settle" => Ok(Decision::SettleNow),
        "refund" => Ok(Decision::FailAndRefund),
        "requeue" => Ok(Decision::Requeue),
        _ => Err(AdminError::malformed("没有这种决定", "there is no such decision")),
    }
}

/// The decisions that there are about a task; each is a page, which says what it moves.
pub(super) fn choices(lang: Lang, task: &TaskView) -> Markup {
    let all = [
        (Decision::Requeue, lang.say("立即重新查询…", "Ask the upstream again now…")),
        (Decision::SettleNow, lang.say("按价格结算…", "Settle now at its price…")),
        (Decision::FailAndRefund, lang.say("失败并全额退还…", "Fail it, give everything back…")),
    ];
    html! {
        h2.sec { (lang.say("处理", "Decide")) }
        div.buttons {
            @for (decision, label) in all {
                // One whose id is not known can't be asked about.
                @if !(task.unreadable && decision == Decision::Requeue) {
                    a.button href={ (ENTRY) "/" (task.id) "/decide?decision=" (code(decision)) } {
                        (label)
                    }
                }
            }
        }
    }
}

/// `GET /console/tasks/{id}/decide?decision=`
pub(crate) async fn show(Here(visit): Here, Path(id): Path<String>) -> Handled {
    for_admins(&visit)?;
    let task = task::get(&visit.state, &visit.actor, &id).await?;
    page(&visit, &task, visit.asked("decision"), None).await
}

/// `POST /console/tasks/{id}/decide`
pub(crate) async fn decide(Here(visit): Here, Path(id): Path<String>) -> Handled {
    for_admins(&visit)?;
    match decided(&visit, &id).await {
        Ok(task) => Ok(done(&format!("{ENTRY}/{}", task.id), "decided")),
        Err(error) => {
            let complaint = Complaint::of(error, visit.lang())?;
            let task = task::get(&visit.state, &visit.actor, &id).await?;
            page(&visit, &task, visit.form.text("decision"), Some(&complaint)).await
        }
    }
}

async fn decided(visit: &Visit, id: &str) -> Result<TaskView, AdminError> {
    let decision = of_code(visit.form.text("decision"))?;
    let reason = reason(&visit.form)?;
    let task = task::get(&visit.state, &visit.actor, id).await?;
    if let Some(moves) = task.prospect.as_ref().map(|prospect| Moves::of(decision, prospect)) {
        let owner = owner(visit, &task).await?;
        large_moves::typed_name(visit, moves.largest(), &owner)?;
    }
    task::decide(&visit.state, &visit.actor, id, decision, reason).await
}

async fn owner(visit: &Visit, task: &TaskView) -> Result<String, AdminError> {
    let mut names = user::names(&visit.state, &visit.actor, [task.user_id]).await?;
    Ok(names.remove(&task.user_id).unwrap_or_else(|| "?".to_owned()))
}

async fn page(
    visit: &Visit,
    task: &TaskView,
    decision: &str,
    complaint: Option<&Complaint>,
) -> Handled {
    let lang = visit.lang();
    let decision = of_code(decision)?;
    let owner = &owner(visit, task).await?;
    let fields = FormFields::new(lang, &visit.form, complaint);
    let moves = task.prospect.as_ref().map(|prospect| Moves::of(decision, prospect));
    let body = html! {
        form.form method="post" action={ (ENTRY) "/" (task.id) "/decide" } {
            (csrf(visit))
            (parts::complaint(lang, complaint))
            input type="hidden" name="decision" value=(code(decision));
            dl.facts {
                dt { (lang.say("任务", "Task")) }
                dd {
                    a href={ (ENTRY) "/" (task.id) } { "#" (task.id) }
                    span.muted { " · " (task.action) }
                }
                dt { (lang.say("用户", "User")) }
                dd { b { (owner) } span.muted { " #" (task.user_id.0) } }
                @if let Some(moves) = &moves { (moves.facts(lang)) }
                dt { (lang.say("经手人", "Signed by")) } dd { (visit.actor.username) }
            }
            p.note { (explained(lang, decision)) }
            (fields.field(reason_field(lang)))
            @if let Some(moves) = &moves { (large_moves::field(visit, &fields, moves.largest())) }
            div.buttons {
                button.primary { (button(lang, decision, moves.as_ref(), owner)) }
                a.button href={ (ENTRY) "/" (task.id) } { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let number = task.id;
    let title = match decision {
        Decision::SettleNow => tell!(lang, "结算任务 #{number}", "Settle task #{number}"),
        Decision::FailAndRefund => {
            tell!(lang, "终止任务 #{number} 并退还", "Fail task #{number} and give back")
        }
        Decision::Requeue => {
            tell!(lang, "重新查询任务 #{number}", "Ask again about task #{number}")
        }
    };
    Ok(form_page(visit, ShellPage::new(title, ENTRY), complaint, body))
}

/// What a decision moves.
struct Moves {
    held: Quota,
    charged: Quota,
    returned: Quota,
    before: Quota,
    after: Option<Quota>,
}

impl Moves {
    fn of(decision: Decision, prospect: &TaskProspect) -> Self {
        let (charged, returned, after) = match decision {
            Decision::SettleNow => {
                let rest = Quota((prospect.held.0 - prospect.charge.0).max(0));
                (prospect.charge, rest, prospect.settled())
            }
            Decision::FailAndRefund => (Quota::ZERO, prospect.held, prospect.refunded()),
            Decision::Requeue => (Quota::ZERO, Quota::ZERO, Some(prospect.balance)),
        };
        Self { held: prospect.held, charged, returned, before: prospect.balance, after }
    }

    /// What is charged or given back, whichever is more.
    fn largest(&self) -> Quota {
        self.charged.max(self.returned)
    }

    fn facts(&self, lang: Lang) -> Markup {
        html! {
            dt { (lang.say("预扣中", "On hold")) } dd { (show::money(self.held)) }
            dt { (lang.say("收取", "Charged")) } dd { (show::money(self.charged)) }
            dt { (lang.say("退还", "Given back")) } dd { (show::money(self.returned)) }
            dt { (lang.say("当前余额", "Balance now")) } dd { (show::money(self.before)) }
            dt { (lang.say("之后余额", "Balance then")) }
            dd { b { @match self.after {
                Some(after) => (show::money(after)),
                None => (show::NOTHING),
            } } }
        }
    }
}

pub(super) const fn explained(lang: Lang, decision: Decision) -> &'static str {
    match decision {
        Decision::SettleNow => lang.say(
            "任务按已完成处理: 按冻结的价格收取; 用量未知时收取全部预扣。用户看到任务完成, 没有结果。",
            "Ends the task as completed: it is charged its frozen price, or what it holds where \
             use is unknown. Its owner sees it completed, without a result.",
        ),
        Decision::FailAndRefund => lang.say(
            "任务按失败处理: 预扣全部退还, 原因作为失败原因显示给用户。",
            "Ends the task as failed: what it holds goes back. The reason is what its owner reads.",
        ),
        Decision::Requeue => lang.say(
            "不变动资金: 重新计算任务的最长时间, 并立即查询上游。",
            "Moves no money: its lifetime begins anew, and the upstream is asked at once.",
        ),
    }
}

/// The button says what it does.
fn button(lang: Lang, decision: Decision, moves: Option<&Moves>, owner: &str) -> String {
    match (decision, moves) {
        (Decision::Requeue, _) => lang.say("立即重新查询", "Ask again now").to_owned(),
        (Decision::SettleNow, Some(moves)) => {
            let amount = show::amount(moves.charged);
            tell!(lang, "向 {owner} 收取 {amount}", "Charge {amount} to {owner}")
        }
        (Decision::FailAndRefund, Some(moves)) => {
            let amount = show::amount(moves.returned);
            tell!(lang, "退还 {owner} {amount}", "Give {amount} back to {owner}")
        }
        (Decision::SettleNow, None) => lang.say("结算", "Settle it").to_owned(),
        (Decision::FailAndRefund, None) => lang.say("终止并退还", "Fail it").to_owned(),
    }
}
