//! Moving a balance: amount, reason, before and after.

use super::for_admins;
use crate::form::Complaint;
use crate::lang::tell;
use crate::parts::{self, FormField, FormFields, form_page};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Visit, done, step};
use admin::AdminError;
use admin::ops::user::{self, UserView};
use axum::extract::Path;
use domain::{Quota, UserId};
use ledger::Moved;
use maud::{Markup, html};

const ENTRY: &str = "/console/users";

/// `GET /console/users/{id}/adjust`
pub(crate) async fn show(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let user = user::get(&visit.state, UserId(id)).await?;
    page(&visit, &user, None)
}

/// `POST /console/users/{id}/adjust`
pub(crate) async fn save(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let user = user::get(&visit.state, UserId(id)).await?;
    match move_balance(&visit, &user).await {
        Ok(moved) => {
            let word = if moved.repeated { "repeated" } else { "moved" };
            Ok(done(&format!("/console/users/{id}"), word))
        }
        Err(error) => page(&visit, &user, Some(&Complaint::of(error, visit.lang())?)),
    }
}

/// Least length of a reason.
const REASON_CHARS: usize = 4;

async fn move_balance(visit: &Visit, user: &UserView) -> Result<Moved, AdminError> {
    let amount = visit.form.amount("amount")?;
    let amount = amount.ok_or_else(|| AdminError::field("amount", "不能为空", "is required"))?;
    let reason = visit.form.text("reason");
    if reason.chars().count() < REASON_CHARS {
        return Err(AdminError::field(
            "reason",
            "请写明原因, 至少 4 个字符",
            "needs at least 4 characters: it stays in the journal",
        ));
    }
    let delta =
        if visit.form.text("direction") == "take" { amount.checked_neg() } else { Some(amount) };
    let delta = delta.ok_or(AdminError::Ledger(ledger::LedgerError::Overflow))?;
    let reference = visit.form.text("reference");
    let input = user::MovementInput {
        delta: Quota(delta),
        reason: reason.to_owned(),
        // Sent with the form, so that a form that is sent twice moves once.
        reference: (!reference.is_empty()).then(|| reference.to_owned()),
        refund_of: Some(visit.form.text("refund_of").to_owned()).filter(|id| !id.is_empty()),
    };
    user::move_quota(&visit.state, &visit.actor, user.id, input).await
}

fn page(visit: &Visit, user: &UserView, complaint: Option<&Complaint>) -> Handled {
    let lang = visit.lang();
    let fields = FormFields { form: &visit.form, complaint };
    let reverse = visit.asked("reverse");
    let refund = match complaint {
        Some(_) => visit.form.text("refund_of"),
        None => visit.asked("refund"),
    };
    let given = show::read_amount(visit.asked("amount"));
    let takes = complaint
        .map_or(given.is_some_and(Quota::is_negative), |_| visit.form.text("direction") == "take");
    let given = given.map(|quota| show::usd(Quota(quota.0.saturating_abs())));
    let amount = match complaint {
        Some(_) => visit.form.text("amount"),
        None => given.as_deref().unwrap_or_default(),
    };
    let reason = match reverse {
        "" => String::new(),
        line => tell!(lang, "冲正流水 #{line}", "reverses line #{line}"),
    };
    let reference = match complaint {
        Some(_) => visit.form.text("reference").to_owned(),
        None if reverse.is_empty() => format!("console-{}", web::uuid_v7(visit.state.clock.now())),
        None => format!("reverse-{reverse}"),
    };
    let add = tell!(lang, "给 {} 增加 $", "Add $ to {}", user.username);
    let take = tell!(lang, "从 {} 扣减 $", "Take $ from {}", user.username);
    let body = html! {
        form.form method="post" action={ "/console/users/" (user.id.0) "/adjust" } {
            (csrf(visit))
            (parts::complaint(complaint))
            input type="hidden" name="reference" value=(reference);
            @if !refund.is_empty() {
                input type="hidden" name="refund_of" value=(refund);
                p.note {
                    (lang.say(
                        "退还这次调用的费用, 全部或部分: ",
                        "Gives the charge of this call back, whole or in part: "
                    ))
                    a href={ "/console/explain/" (step(refund)) } { span.mono { (refund) } }
                }
            }
            dl.facts {
                dt { (lang.say("用户", "User")) }
                dd { b { (user.username) } span.muted { " #" (user.id.0) } }
                dt { (lang.say("当前余额", "Balance now")) } dd { (show::money(user.quota)) }
                dt { (lang.say("之后余额", "Balance then")) }
                dd { b #then data-now=(user.quota.0) { (show::NOTHING) } }
                dt { (lang.say("经手人", "Signed by")) } dd { (visit.actor.username) }
            }
            (amount_fields(visit, (refund.is_empty(), takes), amount))
            (fields.field(FormField::new("reason", lang.say("原因", "Reason"))
                .required()
                .value(&reason)
                .hint(lang.say(
                    "记入流水, 不可修改; 更正请另记一笔",
                    "stays in the journal; a mistake is corrected by another line"
                ))))
            div.buttons {
                button.primary data-says-amount="" data-add=(add) data-take=(take) {
                    (lang.say("变动余额", "Move the balance"))
                }
                a.button href={ "/console/users/" (user.id.0) } { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let title = tell!(lang, "调整 {} 的余额", "Adjust the balance of {}", user.username);
    Ok(form_page(visit, ShellPage::new(title, ENTRY), complaint, body))
}

/// A refund only ever adds, so it has no choice of direction.
fn amount_fields(visit: &Visit, (both_ways, takes): (bool, bool), amount: &str) -> Markup {
    let lang = visit.lang();
    html! {
        @if both_ways { div.field {
            span.choice role="radiogroup" aria-label=(lang.say("方向", "Direction")) {
                label {
                    input type="radio" name="direction" value="add" checked[!takes] data-amount="";
                    " " (lang.say("增加", "Add"))
                }
                label {
                    input type="radio" name="direction" value="take" checked[takes] data-amount="";
                    " " (lang.say("扣减", "Take"))
                }
            }
        } }
        div.field {
            label for="f-amount" { (lang.say("金额", "Amount")) span.muted { " *" } }
            input #f-amount name="amount" type="text" required data-amount="" autocomplete="off"
                inputmode="decimal" value=(amount);
            p.hint {
                (lang.say(
                    "美元, 如 $5; 或以 q 结尾的额度, 如 2500000q",
                    "dollars, like $5, or quota with a q, like 2500000q"
                ))
            }
        }
    }
}
