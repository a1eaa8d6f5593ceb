//! A user's first page: the balance, what is left, and where it went.

use super::notice as notice_page;
use super::overview::{models_table, request, sums};
use crate::parts::{self, ranges, tile};
use crate::shell::ShellPage;
use crate::show;
use crate::visit::{Handled, Here, Visit};
use admin::ops::log::usage;
use admin::ops::notice;
use admin::ops::user::{self, UserView};
use domain::Quota;
use maud::{Markup, html};

/// `GET /console`, of users
pub(super) async fn show(Here(visit): Here) -> Handled {
    let (state, actor) = (&visit.state, &visit.actor);
    let request = request(&visit);
    let own = user::get(state, actor.user_id).await?;
    let series = usage::series(state, actor, true, &request).await?;
    let models = usage::models(state, actor, true, &request).await?;
    let sums = sums(&series);
    let told = notice::get(state, actor).await?;
    let body = html! {
        (notice_page::shown(visit.lang(), &told))
        div.tiles {
            (tile("/console/statements", visit.say("余额", "Balance"), &show::money(own.quota)))
            (tile("/console/log?type=consume", visit.say("消耗", "Spent"), &show::money(sums.spent)))
            (tile("/console/log?type=consume", visit.say("计费调用", "Charged calls"),
                &html! { (show::count(sums.calls)) }))
            (tile("/console/log?type=consume", "Tokens", &html! { (show::count(sums.tokens)) }))
            (limits(&visit, &own))
        }
        @if own.quota <= Quota::ZERO {
            p.note { (visit.say("余额不足, 调用会被拒绝。", "There is nothing left: calls are refused."))
                " " a href="/console/redeem" { (visit.say("兑换充值", "Redeem a code")) } }
        }
        h2.sec {
            (visit.say("消耗", "Spent"))
            small { (visit.say("按 UTC 划分", "in UTC")) }
        }
        (parts::money_chart(visit.lang(), &series, false))
        h2.sec { (visit.say("消耗最多的模型", "Models that cost most")) }
        (models_table(visit.lang(), &models, false))
    };
    let beside = html! { span.space {} (ranges(&visit)) };
    let title = visit.say("首页", "Home");
    Ok(ShellPage::new(title, "/console").beside(beside).with_chart().show(&visit, body))
}

/// What is left of the limits that are set.
fn limits(visit: &Visit, own: &UserView) -> Markup {
    let all = [
        (visit.say("今日剩余", "Left today"), own.spending.daily_left),
        (visit.say("本月剩余", "Left this month"), own.spending.monthly_left),
    ];
    html! {
        @for (label, left) in all {
            @if let Some(left) = left { (tile("/console/account", label, &show::money(left))) }
        }
    }
}
