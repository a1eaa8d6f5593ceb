//! Moving a balance: amount, reason, before and after.

use super::users::must_reach;
use super::{explain, for_admins, large_moves};
use crate::form::{Complaint, Form};
use crate::lang::{Lang, tell};
use crate::parts::{self, FormField, FormFields, form_page};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Path, Visit, done};
use admin::AdminError;
use admin::ops::audit;
use admin::ops::log::balance::recent_line;
use admin::ops::user::{self, UserView};
use domain::{Quota, UserId};
use ledger::{ChargeRef, ExplainRequest, HoldStory, LedgerError, Moved};
use maud::{Markup, html};

const ENTRY: &str = "/console/users";

/// `GET /console/users/{id}/adjust`
pub(crate) async fn show(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let user = user::kept(&visit.state, UserId(id)).await?;
    must_reach(&visit, &user)?;
    page(&visit, &user, None).await
}

/// `POST /console/users/{id}/adjust`
pub(crate) async fn save(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let user = user::kept(&visit.state, UserId(id)).await?;
    match move_balance(&visit, &user).await {
        Ok((moved, _)) if moved.repeated => Ok(done(&format!("/console/users/{id}"), "repeated")),
        Ok(_) if visit.is_setup() => Ok(done("/console", "moved")),
        // The page that follows reads in its line by how much, and to what.
        Ok((_, reference)) => {
            let line = recent_line(&visit.state, &visit.actor, user.id, &reference).await;
            let line = line.map(|line| line.to_string()).unwrap_or_default();
            Ok(done(&format!("/console/users/{id}?line={line}"), "moved"))
        }
        Err(error) => page(&visit, &user, Some(&Complaint::of(error, visit.lang())?)).await,
    }
}

/// Least length of a reason, in letters; a Han character says as much as two.
const REASON_LETTERS: usize = 4;

/// Moves it, and says under which reference.
async fn move_balance(visit: &Visit, user: &UserView) -> Result<(Moved, String), AdminError> {
    let reversal_of = reversal_of(&visit.form)?;
    let amount = required_amount(&visit.form)?;
    let reason = reason(&visit.form)?;
    let takes = visit.form.text("direction") == "take";
    let delta = if takes { Quota(-amount.0) } else { amount };
    let then = user.quota.checked_add(delta);
    if takes && then.is_some_and(Quota::is_negative) && !visit.form.ticked("below") {
        let then = then.map(show::amount).unwrap_or_default();
        return Err(AdminError::field(
            "below",
            format!("余额会变为 {then}, 该用户的调用将被拒绝; 确认请勾选"),
            format!("would leave {then}, and calls be refused: tick this to take it all the same"),
        ));
    }
    let reference = visit.form.text("reference");
    let made_as = reversal_of.map_or_else(|| reference.to_owned(), user::reversal);
    let input = user::MovementInput {
        delta,
        reason: reason.to_owned(),
        // Sent with the form, so that a form that is sent twice moves once.
        reference: (!reference.is_empty()).then(|| reference.to_owned()),
        refund_of: charge_of(&visit.form)?,
        reversal_of,
        username: large_moves::typed_name(visit, delta, &user.username)?,
    };
    let refund_of = input.refund_of.clone();
    let moved = user::move_quota(&visit.state, &visit.actor, user.id, input).await;
    match (moved, refund_of) {
        (Ok(moved), _) => Ok((moved, made_as)),
        (Err(AdminError::Ledger(LedgerError::Overflow)), Some(call)) => {
            Err(beyond_refund(refundable(visit, user.id, &call).await))
        }
        (Err(error), _) => Err(of_form(error)),
    }
}

/// The line that is moved back. What names none is refused: it is no movement of another kind.
fn reversal_of(form: &Form) -> Result<Option<i64>, AdminError> {
    match form.text("reversal_of") {
        "" => Ok(None),
        line => line.parse().map(Some).map_err(|_| {
            AdminError::field("reversal_of", "不是流水的编号", "is not the number of a line")
        }),
    }
}

/// The amount to move. Which way is said elsewhere, so it is above 0.
fn required_amount(form: &Form) -> Result<Quota, AdminError> {
    let amount = form.amount("amount")?;
    let amount = amount.ok_or_else(|| AdminError::field("amount", "不能为空", "is required"))?;
    match amount {
        0 => Err(AdminError::field("amount", "必须大于 0", "must be above $0")),
        _ => Ok(Quota(amount)),
    }
}

/// Why money moves: asked wherever it does.
pub(super) fn reason(form: &Form) -> Result<&str, AdminError> {
    let reason = form.text("reason");
    let letters = reason.chars().map(|c| if ('\u{2e80}'..).contains(&c) { 2 } else { 1 });
    if letters.sum::<usize>() < REASON_LETTERS {
        return Err(AdminError::field(
            "reason",
            "请写明原因, 至少 2 个汉字或 4 个字母",
            "needs at least 4 characters: it stays in the journal",
        ));
    }
    Ok(reason)
}

/// The field for it.
pub(super) fn reason_field<'a>(lang: Lang) -> FormField<'a> {
    FormField::new("reason", lang.say("原因", "Reason")).required().hint(lang.say(
        "记入流水, 不可修改; 更正请另记一笔",
        "stays in the journal; a mistake is corrected by another line",
    ))
}

/// The call whose charge is given back.
fn charge_of(form: &Form) -> Result<Option<ChargeRef>, AdminError> {
    let request_id = Some(form.text("refund_of").to_owned()).filter(|id| !id.is_empty());
    user::refunded_charge(request_id, Some(form.text("refund_hold")))
}

/// What can be given back of a call's charge; `None`: it is not known.
async fn refundable(visit: &Visit, owner: UserId, charge: &ChargeRef) -> Option<Quota> {
    let asked = ExplainRequest {
        id: charge.request_id.to_string(),
        hold_id: charge.hold_id.map(|hold| hold.0),
        user_id: Some(owner),
        ..ExplainRequest::default()
    };
    let story = audit::explain(&visit.state, &visit.actor, asked).await.ok()?;
    // Of several calls it is not known which is meant.
    let mut charged = story.holds.iter().filter(|hold| hold.charged.0 > 0);
    charged.next().filter(|_| charged.next().is_none()).map(HoldStory::cost)
}

fn beyond_refund(most: Option<Quota>) -> AdminError {
    let most = most.map(show::amount).unwrap_or_default();
    AdminError::field(
        "amount",
        format!("最多退还 {most}: 这次调用的费用, 减去已退还的"),
        format!("at most {most}: what the call cost, less what was given back"),
    )
}

/// The API's name of an amount is another than the form's, and so are its words.
fn of_form(error: AdminError) -> AdminError {
    match error {
        AdminError::Ledger(LedgerError::ReferenceTaken) => AdminError::conflict(
            "这份表单已经变动过余额, 没有再次变动; 要再变动一次, 请重新打开它",
            "this form has moved the balance already, by another amount, and nothing was moved \
             now: open it anew to move more",
        ),
        AdminError::Ledger(LedgerError::Overflow) => {
            let most = show::amount(Quota::LARGEST_BALANCE);
            AdminError::field(
                "amount",
                format!("过大: 单笔金额和余额最多为 {most}"),
                format!("is too large: a movement and a balance are at most {most}"),
            )
        }
        AdminError::Field { field, zh, en } if field == "delta" => {
            AdminError::field("amount", zh, en)
        }
        other => other,
    }
}

/// An amount in an address, which may be below zero: what a line moves back.
fn signed(text: &str) -> Option<Quota> {
    match text.strip_prefix('-') {
        Some(amount) => show::read_amount(amount).map(|quota| Quota(-quota.0)),
        None => show::read_amount(text),
    }
}

async fn page(visit: &Visit, user: &UserView, complaint: Option<&Complaint>) -> Handled {
    let lang = visit.lang();
    let fields = FormFields::new(visit.lang(), &visit.form, complaint);
    let reverse = match complaint {
        Some(_) => visit.form.text("reversal_of"),
        None => visit.asked("reverse"),
    };
    let reverse = if reverse.parse::<i64>().is_ok() { reverse } else { "" };
    let (refund, hold) = match complaint {
        Some(_) => (visit.form.text("refund_of"), visit.form.text("refund_hold")),
        None => (visit.asked("refund"), visit.asked("hold")),
    };
    let refund = Some(refund.to_owned()).filter(|id| !id.is_empty());
    // What names no hold is a refund of the request, as the API has it.
    let refund = user::refunded_charge(refund.clone(), Some(hold))
        .or_else(|_| user::refunded_charge(refund, None))?;
    let given = signed(visit.asked("amount"));
    let is_given = refund.is_some() || !reverse.is_empty();
    let takes_alone = user.deleted_at.is_some() && !is_given;
    let takes = complaint
        .map_or(given.is_some_and(Quota::is_negative), |_| visit.form.text("direction") == "take")
        || takes_alone;
    let given =
        given.map(|quota| show::amount(Quota(quota.0.saturating_abs()))).unwrap_or_default();
    let amount = if complaint.is_some() { visit.form.text("amount") } else { &given };
    let reference = match visit.form.text("reference") {
        // A reversal has its own.
        _ if !reverse.is_empty() => String::new(),
        "" => format!("console-{}", web::uuid_v7(visit.state.clock.now())),
        typed => typed.to_owned(),
    };
    let most = match &refund {
        None => None,
        Some(charge) => refundable(visit, user.id, charge).await,
    };
    let title = title(lang, (reverse, refund.is_some()), &user.username);
    if let Some(charge) = refund.as_ref().filter(|_| most.is_some_and(|most| most.0 <= 0)) {
        let body = nothing_left(lang, user, (charge, complaint));
        return Ok(form_page(visit, ShellPage::new(title, ENTRY), complaint, body));
    }
    let add = tell!(lang, "给 {} 增加 $", "Add $ to {}", user.username);
    let take = tell!(lang, "从 {} 扣减 $", "Take $ from {}", user.username);
    let body = html! {
        form.form method="post" action={ "/console/users/" (user.id.0) "/adjust" } {
            (csrf(visit))
            (parts::complaint(lang, complaint))
            (visit.then_field())
            input type="hidden" name="reference" value=(reference);
            (what_it_is(lang, user, reverse, refund.as_ref()))
            (facts(visit, user))
            @if reverse.is_empty() {
                @if takes_alone { (taken_alone(lang)) }
                @let both_ways = refund.is_none() && !takes_alone;
                (amount_fields(lang, &fields, (both_ways, takes), (&given, most)))
            } @else {
                (reversed_amount(lang, takes, amount))
            }
            @if complaint.is_some_and(|complaint| complaint.field == "below") {
                (fields.tick("below", lang.say("允许余额低于零", "Let the balance go below zero"), false))
            }
            (fields.field(reason_field(lang)))
            (large_moves::field_of_amount(visit, &fields, show::read_amount(amount)))
            div.buttons {
                button.primary data-says-amount="" data-add=(add) data-take=(take) {
                    @if reverse.is_empty() { (lang.say("变动余额", "Move the balance")) }
                    @else { (lang.say("冲正", "Reverse")) }
                }
                a.button href={ "/console/users/" (user.id.0) } { (lang.say("取消", "Cancel")) }
            }
        }
    };
    Ok(form_page(visit, ShellPage::new(title, ENTRY), complaint, body))
}

/// What the movement is besides one by hand: the reversal of a line, or a refund.
fn what_it_is(lang: Lang, user: &UserView, reverse: &str, refund: Option<&ChargeRef>) -> Markup {
    html! {
        @if !reverse.is_empty() {
            input type="hidden" name="reversal_of" value=(reverse);
            p.note {
                (lang.say("这是一笔冲正: 把流水 ", "This is a reversal: it moves back what line "))
                a href={ "/console/users/" (user.id.0) "#line-" (reverse) } { "#" (reverse) }
                (lang.say(
                    " 的金额原样移回, 只能一次; 若是充值, 充值额随之减少; 若是退款, 该调用重新计费。",
                    " moved, once. That of a deposit is taken off what was paid in; the call of a \
                     refund costs that again.",
                ))
            }
        }
        @if let Some(charge) = refund {
            input type="hidden" name="refund_of" value=(charge.request_id);
            @if let Some(hold) = &charge.hold_id {
                input type="hidden" name="refund_hold" value=(hold);
            }
            p.note {
                (lang.say(
                    "退还这次调用的费用, 全部或部分: ",
                    "Gives the charge of this call back, whole or in part: "
                ))
                (call_link(charge))
            }
        }
    }
}

/// The call whose charge it is.
fn call_link(ChargeRef { request_id, hold_id }: &ChargeRef) -> Markup {
    html! {
        a href=(explain::address_of(request_id, hold_id.map(|hold| hold.0))) {
            span.mono { (request_id) }
        }
    }
}

/// In place of a form that could only be refused.
fn nothing_left(
    lang: Lang,
    user: &UserView,
    (charge, complaint): (&ChargeRef, Option<&Complaint>),
) -> Markup {
    html! {
        (parts::complaint(lang, complaint))
        p.note {
            (lang.say(
                "这次调用的费用已全部退还, 没有可退的: ",
                "The charge of this call was given back, and nothing of it is left to refund: ",
            ))
            (call_link(charge))
        }
        div.buttons {
            a.button.primary href={ "/console/users/" (user.id.0) } {
                (lang.say("返回用户", "Back to the user"))
            }
        }
    }
}

fn title(lang: Lang, (reverse, is_refund): (&str, bool), name: &str) -> String {
    match (reverse, is_refund) {
        ("", false) => tell!(lang, "调整 {name} 的余额", "Adjust the balance of {name}"),
        ("", true) => tell!(lang, "退还 {name} 的费用", "Refund a charge of {name}"),
        _ => tell!(lang, "冲正 {name} 的流水", "Reverse a line of {name}"),
    }
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
fn reversed_amount(lang: Lang, takes: bool, amount: &str) -> Markup {
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

/// Of a deleted user money is taken, or given back by a refund or a reversal.
fn taken_alone(lang: Lang) -> Markup {
    html! {
        input type="radio" name="direction" value="take" checked hidden;
        p.note { (lang.say(
            "该用户已删除: 此处只能扣减余额; 归还请用退款或冲正。",
            "This user was deleted: here the balance can only be taken off. A refund or a reversal \
             gives it back.",
        )) }
    }
}

/// A refund only ever adds, so it has no choice of direction.
fn amount_fields(
    lang: Lang,
    fields: &FormFields<'_>,
    (both_ways, takes): (bool, bool),
    (amount, most): (&str, Option<Quota>),
) -> Markup {
    let how = tell!(
        lang,
        "如 {}, 或以 q 结尾的额度, 如 2500000q",
        "like {}, or quota with a q, like 2500000q",
        show::example(500)
    );
    let hint = match most.map(show::amount) {
        Some(most) => tell!(lang, "最多 {most}; {how}", "at most {most}; {how}"),
        None => how,
    };
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
        (fields.field(FormField::new("amount", lang.say("金额", "Amount"))
            .amount()
            .shown()
            .required()
            .value(amount)
            .hint(&hint)))
    }
}
