//! A user's first page: the balance, what is left, and where it went.

use super::notice as notice_page;
use super::overview::{lines, models_table, of_days, request, sums};
use super::play::{self, CallingKey};
use super::users::{available_and_held, on_hold};
use crate::lang::tell;
use crate::parts::{self, tile};
use crate::ranges::{of_range, ranges};
use crate::shell::ShellPage;
use crate::show;
use crate::visit::{Handled, Here, Visit};
use admin::ops::log::{SPENT, month_days, usage};
use admin::ops::low_balance;
use admin::ops::notice;
use admin::ops::token;
use admin::ops::user::{self, UserView};
use admin::{AdminError, PageRequest, Query};
use domain::Quota;
use maud::{Markup, html};

/// `GET /console`, of users
pub(super) async fn show(Here(visit): Here) -> Handled {
    let (state, actor) = (&visit.state, &visit.actor);
    let request = request(&visit);
    let own = user::get(state, actor.user_id).await?;
    let (series, models) = usage::series_and_models(state, actor, true, &request).await?;
    let (sums, charges) = (sums(&series), lines(&request, "consume"));
    let lately = spent_lately(&visit).await?;
    let low = low_balance::get(state, actor).await?.threshold;
    let told = notice::get(state, actor).await?;
    let start = start(&visit, &own).await?;
    let body = html! {
        (notice_page::shown(visit.lang(), &told))
        div.tiles {
            (tile("/console/statements", visit.say("余额", "Balance"), &show::money(own.quota)))
            (on_hold(&visit, &own))
            (lately)
            (tile(&lines(&request, SPENT), &of_range(&visit, "消耗", "Spent"),
                &show::money(sums.spent)))
            (tile(&charges, &of_range(&visit, "计费调用", "Charged calls"),
                &html! { (show::count(sums.calls)) }))
            (tile(&charges, &of_range(&visit, " Tokens", "Tokens"),
                &html! { (show::count(sums.tokens)) }))
            (limits(&visit, &own))
        }
        (available_and_held(visit.lang(), &own))
        @if own.quota <= Quota::ZERO {
            p.note { (visit.say("余额不足, 调用会被拒绝。", "There is nothing left: calls are refused."))
                " " a href="/console/redeem" { (visit.say("兑换充值", "Redeem a code")) } }
        }
        @if let Some(threshold) = low {
            p.muted.small {
                (tell!(visit.lang(), "余额低于 {} 时通知。",
                    "You are told when the balance falls below {}.",
                    show::amount(threshold))) " "
                a href="/console/account" { (visit.say("修改", "Change it")) }
            }
        }
        (start)
        h2.sec {
            (visit.say("消耗", "Spent"))
            small { (visit.say("按 UTC 划分", "in UTC")) }
        }
        (parts::money_chart(visit.lang(), &series, false))
        h2.sec { (visit.say("消耗最多的模型", "Models that cost most")) }
        (models_table(&visit, &request, &models))
    };
    let beside = html! { span.space {} (ranges(&visit, |code| visit.with("range", code))) };
    let title = visit.say("首页", "Home");
    Ok(ShellPage::new(title, "/console").beside(beside).with_chart().show(&visit, body))
}

/// What was spent today, and this month in UTC, as far as the log is kept.
async fn spent_lately(visit: &Visit) -> Result<Markup, AdminError> {
    let days =
        show::moment(visit.state.clock.now().0 / 1_000).get(8..10).and_then(|day| day.parse().ok());
    let days: i64 = days.unwrap_or(1);
    let has_month = days <= month_days(&visit.state);
    let [today, month] = [1, days].map(|days| of_days(visit, days));
    let wanted = if has_month { &month } else { &today };
    let series = usage::series(&visit.state, &visit.actor, true, wanted).await?;
    let of_today = series.points.last().map_or(Quota::ZERO, |point| point.spent);
    Ok(html! {
        (tile(&lines(&today, SPENT), visit.say("今日消耗", "Spent today"), &show::money(of_today)))
        @if has_month {
            (tile(&lines(&month, SPENT), visit.say("本月消耗", "Spent this month"),
                &show::money(sums(&series).spent)))
        }
    })
}

/// Where calls go; for who has made none yet, how to begin.
async fn start(visit: &Visit, own: &UserView) -> Result<Markup, AdminError> {
    let address = html! {
        p {
            (visit.say("接口地址: ", "Base address: "))
            code.mono #base-address { (visit.origin) "/v1" } " "
            button.quiet type="button" data-copy="base-address" { (visit.say("复制", "Copy")) }
        }
    };
    // Of all times: who has not called lately knows how.
    if own.request_count > 0 {
        return Ok(address);
    }
    let few = PageRequest { page: 1, size: 1 };
    let owner = ("user_id".to_owned(), own.id.0.to_string());
    let query: Query = [owner].into_iter().collect();
    let keys = token::list(&visit.state, &visit.actor, &query, few).await?.total;
    let call = play::snippet(visit, CallingKey::of_reader(visit)).await?;
    Ok(html! {
        h2.sec { (visit.say("开始使用", "First steps")) }
        (address)
        div.buttons {
            @if own.quota <= Quota::ZERO {
                a.button.primary href="/console/redeem" { (visit.say("兑换充值", "Redeem a code")) }
            }
            @if keys == 0 {
                a.button.primary href="/console/keys/new" { (visit.say("新建令牌", "Create a key")) }
            } @else {
                a.button href="/console/keys" { (visit.say("我的令牌", "My keys")) }
            }
            a.button href="/console/play" { (visit.say("操练场", "Playground")) }
        }
        p.muted { (visit.say("第一次调用, 换上你的令牌:", "The first call, with your key in it:")) }
        pre #first-call { (call) }
    })
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
