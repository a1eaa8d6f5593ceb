//! Moving a balance: amount, reason, before and after.

use super::for_admins;
use crate::form::Complaint;
use crate::lang::{Lang, tell};
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
        Ok((moved, _)) if moved.repeated => Ok(done(&format!("/console/users/{id}"), "repeated")),
        // The page that follows says by how much, and to what.
        Ok((moved, by)) => {
            let to = format!("/console/users/{id}?by={}&now={}", by.0, moved.balance.0);
            Ok(done(&to, "moved"))
        }
        Err(error) => page(&visit, &user, Some(&Complaint::of(error, visit.lang())?)),
    }
}

/// Least length of a reason.
const REASON_CHARS: usize = 4;

/// Moves it, and says by how much.
async fn move_balance(visit: &Visit, user: &UserView) -> Result<(Moved, Quota), AdminError> {
    let reversal_of = visit.form.text("reversal_of").parse().ok();
    let amount = visit.form.amount("amount")?;
    let amount = amount.ok_or_else(|| AdminError::field("amount", "不能为空", "is required"))?;
    let reason = visit.form.text("reason");
    // A reversal names its line, which is reason enough.
    if reversal_of.is_none() && reason.chars().count() < REASON_CHARS {
        return Err(AdminError::field(
            "reason",
            "请写明原因, 至少 4 个字符",
            "needs at least 4 characters: it stays in the journal",
        ));
    }
    let delta =
        if visit.form.text("direction") == "take" { amount.checked_neg() } else { Some(amount) };
    let delta = delta.ok_or(AdminError::Ledger(ledger::LedgerError::Overflow))?;
    let delta = Quota(delta);
    let then = user.quota.checked_add(delta);
    if delta.is_negative() && then.is_some_and(Quota::is_negative) && !visit.form.ticked("below") {
        let then = then.map(show::usd).unwrap_or_default();
        return Err(AdminError::field(
            "below",
            format!("余额会变为 {then}, 该用户的调用将被拒绝; 确认请勾选"),
            format!("would leave {then}, and calls be refused: tick this to take it all the same"),
        ));
    }
    let reference = visit.form.text("reference");
    let input = user::MovementInput {
        delta,
        reason: reason.to_owned(),
        // Sent with the form, so that a form that is sent twice moves once.
        reference: (!reference.is_empty()).then(|| reference.to_owned()),
        refund_of: Some(visit.form.text("refund_of").to_owned()).filter(|id| !id.is_empty()),
        reversal_of,
    };
    Ok((user::move_quota(&visit.state, &visit.actor, user.id, input).await?, delta))
}

fn page(visit: &Visit, user: &UserView, complaint: Option<&Complaint>) -> Handled {
    let lang = visit.lang();
    let fields = FormFields { lang: visit.lang(), form: &visit.form, complaint };
    let reverse = match complaint {
        Some(_) => visit.form.text("reversal_of"),
        None => visit.asked("reverse"),
    };
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
    let reference = match complaint {
        Some(_) => visit.form.text("reference").to_owned(),
        None if reverse.is_empty() => format!("console-{}", web::uuid_v7(visit.state.clock.now())),
        // A reversal has its own.
        None => String::new(),
    };
    let add = tell!(lang, "给 {} 增加 $", "Add $ to {}", user.username);
    let take = tell!(lang, "从 {} 扣减 $", "Take $ from {}", user.username);
    let body = html! {
        form.form method="post" action={ "/console/users/" (user.id.0) "/adjust" } {
            (csrf(visit))
            (parts::complaint(lang, complaint))
            input type="hidden" name="reference" value=(reference);
            @if !reverse.is_empty() {
                input type="hidden" name="reversal_of" value=(reverse);
                p.note {
                    (lang.say("这是一笔冲正: 把流水 ", "This is a reversal: it moves back what line "))
                    a href={ "/console/users/" (user.id.0) "#line-" (reverse) } { "#" (reverse) }
                    (lang.say(" 的金额原样移回, 只能一次, 不计为充值。",
                        " moved, once, and does not count as paid in."))
                }
            }
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
            (facts(visit, user))
            @if reverse.is_empty() {
                (amount_fields(visit, (refund.is_empty(), takes), amount))
            } @else {
                (reversed_amount(visit, takes, amount))
            }
            @if complaint.is_some_and(|complaint| complaint.field == "below") {
                (fields.tick("below", lang.say("允许余额低于零", "Let the balance go below zero"), false))
            }
            (fields.field(required_unless(!reverse.is_empty(),
                    FormField::new("reason", lang.say("原因", "Reason")))
                .hint(lang.say(
                    "记入流水, 不可修改; 更正请另记一笔",
                    "stays in the journal; a mistake is corrected by another line"
                ))))
            div.buttons {
                button.primary data-says-amount="" data-add=(add) data-take=(take) {
                    @if reverse.is_empty() { (lang.say("变动余额", "Move the balance")) }
                    @else { (lang.say("冲正", "Reverse")) }
                }
                a.button href={ "/console/users/" (user.id.0) } { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let title = title(lang, reverse, &user.username);
    Ok(form_page(visit, ShellPage::new(title, ENTRY), complaint, body))
}

fn title(lang: Lang, reverse: &str, name: &str) -> String {
    match reverse {
        "" => tell!(lang, "调整 {name} 的余额", "Adjust the balance of {name}"),
        _ => tell!(lang, "冲正 {name} 的流水", "Reverse a line of {name}"),
    }
}

const fn required_unless(optional: bool, field: FormField<'_>) -> FormField<'_> {
    if optional { field } else { field.required() }
}

fn facts(visit: &Visit, user: &UserView) -> Markup {
    let lang = visit.lang();
    html! {
        dl.facts {
            dt { (lang.say("用户", "User")) }
            dd { b { (user.username) } span.muted { " #" (user.id.0) } }
            dt { (lang.say("当前余额", "Balance now")) } dd { (show::money(user.quota)) }
            dt { (lang.say("之后余额", "Balance then")) }
            dd { b #then data-now=(user.quota.0) { (show::NOTHING) } }
            dt { (lang.say("经手人", "Signed by")) } dd { (visit.actor.username) }
        }
    }
}

/// The amount of a reversal is that of its line.
fn reversed_amount(visit: &Visit, takes: bool, amount: &str) -> Markup {
    let lang = visit.lang();
    let direction = if takes { "take" } else { "add" };
    html! {
        div.field {
            label for="f-amount" {
                @if takes { (lang.say("扣减", "Take")) } @else { (lang.say("增加", "Add")) }
            }
            input type="radio" name="direction" value=(direction) checked hidden;
            input #f-amount name="amount" type="text" readonly data-amount="" value=(amount);
        }
    }
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
