//! A month of a balance: what was there, what moved it, what was left.

use crate::folds::folds;
use crate::lang::Lang;
use crate::parts;
use crate::shell::ShellPage;
use crate::show;
use crate::visit::{Handled, Here, Visit, step};
use admin::AdminError;
use admin::ops::log::statement::{self, MonthStatement, StatementKind, StatementLine};
use domain::Quota;
use maud::{Markup, html};

/// `GET /console/statements?month=&user_id=`
pub(crate) async fn show(Here(visit): Here) -> Handled {
    let lang = visit.lang();
    let of_other = visit.is_admin() && !visit.asked("user_id").is_empty();
    let entry = if of_other { "/console/users" } else { "/console/statements" };
    let statement =
        statement::of_month(&visit.state, &visit.actor, !of_other, &visit.query()).await;
    let statement = match statement {
        Ok(statement) => statement,
        Err(AdminError::NotFound { zh, en }) => {
            let body = html! {
                (months(&visit, visit.asked("month"), true))
                (parts::empty(lang.say(&zh, &en), Some(("/console", lang.say("返回", "Back")))))
            };
            return Ok(ShellPage::new(lang.say("账单", "Statement"), entry).show(&visit, body));
        }
        Err(error) => return Err(error.into()),
    };
    let body = html! {
        (months(&visit, &statement.month, statement.complete))
        (table(lang, &statement))
    };
    let title =
        format!("{} {} · {}", lang.say("账单", "Statement"), statement.month, statement.username);
    let csv = match of_other {
        true => format!("/api/statement?format=csv&user_id={}", statement.user_id.0),
        false => "/api/statement/self?format=csv".to_owned(),
    };
    let beside = html! {
        span.space {}
        a.button href={
            (csv) "&month=" (step(&statement.month))
        } { (lang.say("下载 CSV", "Download CSV")) }
    };
    Ok(ShellPage::new(title, entry).beside(beside).show(&visit, body))
}

/// Ways to another month.
fn months(visit: &Visit, month: &str, is_complete: bool) -> Markup {
    let lang = visit.lang();
    html! {
        form.bar method="get" action="/console/statements" {
            @if !visit.asked("user_id").is_empty() {
                input type="hidden" name="user_id" value=(visit.asked("user_id"));
            }
            label for="f-month" { (lang.say("月份 (UTC)", "Month (UTC)")) }
            input #f-month type="month" name="month" value=(month);
            button { (lang.say("查看", "Show")) }
            @if !is_complete { span.muted { (lang.say("本月尚未结束", "the month is not over")) } }
        }
    }
}

fn table(lang: Lang, statement: &MonthStatement) -> Markup {
    let sum = |label: &str, amount: Quota| {
        html! {
            tr {
                td { b { (label) } }
                td.hide {}
                td.num.hide {}
                td.num.hide {}
                td.num { b { (show::amount_whole(amount)) } }
                td.num.muted { (show::count(amount.0)) }
            }
        }
    };
    html! {
        div.scroll {
            (folds(lang, &html! { table {
                thead { tr {
                    th { (lang.say("项目", "Line")) }
                    th.hide { (lang.say("模型", "Model")) }
                    th.num.hide { (lang.say("次数", "Times")) }
                    th.num.hide { "Tokens" }
                    th.num { (lang.say("金额", "Amount")) }
                    th.num { (lang.say("额度", "Quota")) }
                } }
                tbody {
                    (sum(lang.say("期初余额", "Opening balance"), statement.opening))
                    @for line in &statement.lines { (row(lang, line)) }
                    (sum(lang.say("期末余额", "Closing balance"), statement.closing))
                }
            } }))
        }
        @if statement.held.0 != 0 {
            p.muted { (lang.say("其中预扣中", "Of it on hold")) ": " (show::money(statement.held)) }
        }
    }
}

fn row(lang: Lang, line: &StatementLine) -> Markup {
    let word = match line.kind {
        StatementKind::Topup => lang.say("充值", "paid in"),
        StatementKind::Charge => lang.say("结算", "charged"),
        StatementKind::Refund => lang.say("退款", "refunded"),
        StatementKind::Adjust => lang.say("调整", "adjusted"),
    };
    let tokens = line.prompt_tokens + line.completion_tokens;
    html! {
        tr {
            td { (word) }
            td.hide { (line.model_name) }
            td.num.hide { (show::count(line.count)) }
            td.num.hide { @if tokens == 0 { (show::NOTHING) } @else { (show::count(tokens)) } }
            (show::moved_cell(line.amount))
            td.num.muted { (show::count(line.amount.0)) }
        }
    }
}
