//! Deciding over many tasks: what it moves of each, why, then what became of each.

use super::adjust::{reason, reason_field};
use super::batch::{self, BatchList, keep_origin};
use super::task_decision::{code, explained, of_code};
use super::{for_admins, large_moves};
use crate::folds::folds;
use crate::form::Complaint;
use crate::lang::{Lang, tell};
use crate::parts::{self, FormFields, form_page};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Visit, done, go_to};
use admin::AdminError;
use admin::ops::task::Decision;
use admin::ops::task_batch::{self, TaskBatch, TaskBatchItem, TaskBatchResult};
use admin::ops::user;
use domain::{Quota, UserId};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// The list; its rows are decided over, not enabled and disabled.
pub(super) const LIST: BatchList = BatchList {
    entry: "/console/tasks",
    noun: ["任务", "task", "tasks", "Task"],
    on: ("", ""),
    disabling: ("", ""),
};

/// The bar below the list.
pub(super) fn bar(visit: &Visit) -> Markup {
    let lang = visit.lang();
    batch::bar_of(
        visit,
        &LIST,
        html! {
            button name="decision" value=(code(Decision::Requeue)) {
                (lang.say("重新查询…", "Ask again…"))
            }
            button name="decision" value=(code(Decision::SettleNow)) {
                (lang.say("结算…", "Settle…"))
            }
            button name="decision" value=(code(Decision::FailAndRefund)) {
                (lang.say("失败并退还…", "Fail and give back…"))
            }
        },
    )
}

/// `POST /console/tasks/batch`: what a decision over the ticked tasks would move, and with `apply`
/// deciding.
pub(crate) async fn decide(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let form = &visit.form;
    let ids = form.all("id").filter_map(|id| id.parse().ok()).collect();
    let decision = of_code(form.text("decision"))?;
    let mut request = TaskBatch { ids, decision, reason: String::new(), dry_run: true };
    if request.ids.is_empty() {
        return Ok(go_to(&LIST.origin(&visit)));
    }
    let complaint = match form.ticked("apply") {
        false => None,
        true => match applied(&visit, &mut request).await {
            Ok(result) if result.items.iter().all(|item| item.problem.is_none()) => {
                return Ok(done(&LIST.origin(&visit), "decided-many"));
            }
            Ok(result) => return outcome(&visit, decision, &result).await,
            Err(error) => Some(Complaint::of(error, visit.lang())?),
        },
    };
    request.dry_run = true;
    preview(&visit, &request, complaint.as_ref()).await
}

async fn applied(visit: &Visit, request: &mut TaskBatch) -> Result<TaskBatchResult, AdminError> {
    reason(&visit.form)?.clone_into(&mut request.reason);
    request.dry_run = true;
    let planned = task_batch::decide_many(&visit.state, &visit.actor, request).await?;
    if let Some((owner, moved)) = most_moved(&planned) {
        let name = owners(visit, &planned).await?.remove(&owner).unwrap_or_default();
        large_moves::typed_name(visit, moved, &name)?;
    }
    request.dry_run = false;
    task_batch::decide_many(&visit.state, &visit.actor, request).await
}

/// The user whose money moves most, and by how much: the one whose name is asked for when that is
/// much.
fn most_moved(result: &TaskBatchResult) -> Option<(UserId, Quota)> {
    let mut moved = BTreeMap::<UserId, Quota>::new();
    for item in &result.items {
        let Some(owner) = item.user_id else { continue };
        let so_far = moved.entry(owner).or_default();
        *so_far = Quota(so_far.0.saturating_add(item.charged.max(item.returned).0));
    }
    moved.into_iter().max_by_key(|(_, moved)| *moved)
}

async fn preview(visit: &Visit, request: &TaskBatch, complaint: Option<&Complaint>) -> Handled {
    let lang = visit.lang();
    let result = task_batch::decide_many(&visit.state, &visit.actor, request).await?;
    let names = owners(visit, &result).await?;
    let fields = FormFields::new(lang, &visit.form, complaint);
    let body = html! {
        form.form method="post" action={ (LIST.entry) "/batch" } {
            (csrf(visit))
            (parts::complaint(lang, complaint))
            (keep_origin(visit, &LIST))
            input type="hidden" name="decision" value=(code(request.decision));
            @for id in &request.ids { input type="hidden" name="id" value=(id); }
            (table(lang, &result, &names))
            @if result.decided > 0 {
                dl.facts {
                    dt { (lang.say("预扣中", "On hold")) } dd { (show::money(result.held)) }
                    dt { (lang.say("收取", "Charged")) } dd { (show::money(result.charged)) }
                    dt { (lang.say("退还", "Given back")) } dd { (show::money(result.returned)) }
                    dt { (lang.say("经手人", "Signed by")) } dd { (visit.actor.username) }
                }
                p.note { (explained(lang, request.decision)) }
                (fields.field(reason_field(lang)))
                @if let Some((owner, moved)) = most_moved(&result) {
                    @let owner = names.get(&owner).map_or("?", String::as_str);
                    (large_moves::field_of_one(visit, &fields, (owner, moved)))
                }
            }
            div.buttons {
                @if result.decided > 0 {
                    button.primary name="apply" value="1" {
                        (button(lang, request.decision, &result))
                    }
                }
                a.button href=(LIST.origin(visit)) { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let page = ShellPage::new(title(lang, request.decision), LIST.entry);
    Ok(form_page(visit, page, complaint, body))
}

/// What became of each, where it is not all that was wanted.
async fn outcome(visit: &Visit, decision: Decision, result: &TaskBatchResult) -> Handled {
    let lang = visit.lang();
    let names = owners(visit, result).await?;
    let left = result.items.len() - usize::try_from(result.decided).unwrap_or(0);
    let (some, left) = (LIST.many(lang, result.decided), LIST.many(lang, left as u64));
    let body = html! {
        p.note role="status" {
            (tell!(lang, "已处理 {some}, 未处理 {left}:", "{some} decided, {left} not:"))
        }
        (table(lang, result, &names))
        div.buttons {
            a.button.primary href=(LIST.origin(visit)) { (lang.say("返回列表", "To the list")) }
        }
    };
    Ok(ShellPage::new(title(lang, decision), LIST.entry).show(visit, body))
}

async fn owners(
    visit: &Visit,
    result: &TaskBatchResult,
) -> Result<BTreeMap<UserId, String>, AdminError> {
    let ids = result.items.iter().filter_map(|item| item.user_id);
    user::names(&visit.state, &visit.actor, ids).await
}

fn table(lang: Lang, result: &TaskBatchResult, names: &BTreeMap<UserId, String>) -> Markup {
    html! {
        div.scroll {
            (folds(lang, &html! { table {
                thead { tr {
                    th { (lang.say("任务", "Task")) }
                    th.hide { (lang.say("模型", "Model")) }
                    th { (lang.say("用户", "User")) }
                    th.num.hide { (lang.say("预扣", "Held")) }
                    th.num { (lang.say("收取", "Charged")) }
                    th.num { (lang.say("退还", "Given back")) }
                } }
                tbody { @for item in &result.items { (row(lang, item, names)) } }
            } }))
        }
    }
}

fn row(lang: Lang, item: &TaskBatchItem, names: &BTreeMap<UserId, String>) -> Markup {
    let owner = item.user_id.and_then(|id| names.get(&id)).map_or("?", String::as_str);
    html! {
        tr {
            td { a href={ (LIST.entry) "/" (item.id) } { "#" (item.id) } }
            td.hide { (item.action.as_deref().unwrap_or(show::NOTHING)) }
            td { (owner) }
            @match &item.problem {
                Some(problem) => td.bad.wrap colspan="3" { (lang.say(&problem.zh, &problem.en)) },
                None => {
                    (show::amount_cell(item.held))
                    (show::amount_cell(item.charged))
                    (show::amount_cell(item.returned))
                }
            }
        }
    }
}

const fn title(lang: Lang, decision: Decision) -> &'static str {
    match decision {
        Decision::SettleNow => lang.say("结算任务", "Settle tasks"),
        Decision::FailAndRefund => lang.say("终止任务并退还", "Fail tasks and give back"),
        Decision::Requeue => lang.say("重新查询任务", "Ask again about tasks"),
    }
}

/// The button says what it does.
fn button(lang: Lang, decision: Decision, result: &TaskBatchResult) -> String {
    let many = LIST.many(lang, result.decided);
    match decision {
        Decision::Requeue => tell!(lang, "立即重新查询 {many}", "Ask again about {many} now"),
        Decision::SettleNow => {
            let amount = show::amount(result.charged);
            tell!(lang, "结算 {many}, 共收取 {amount}", "Settle {many}: charge {amount}")
        }
        Decision::FailAndRefund => {
            let amount = show::amount(result.returned);
            tell!(lang, "终止 {many}, 共退还 {amount}", "Fail {many}: give {amount} back")
        }
    }
}
