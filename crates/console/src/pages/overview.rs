//! The operator's first page: money, what needs a look, and where it went.

use super::{channel_live, guide, needs, period};
use crate::folds::folds;
use crate::parts::{self, tile};
use crate::ranges::{Range, days_start, of_range, ranges};
use crate::shell::ShellPage;
use crate::show;
use crate::visit::{Handled, Here, Visit, step};
use admin::ops::attention::{self, Attention};
use admin::ops::log::usage::{self, ModelUsage, Step, UsageRequest, UsageSeries};
use admin::ops::log::{LogFilter, SPENT};
use domain::{Quota, UnixMs};
use maud::{Markup, html};

/// The usage request for the range in the address.
pub(super) fn request(visit: &Visit) -> UsageRequest {
    since(Range::of(visit).start(visit.state.clock.now()))
}

/// The usage request for the last days in UTC, with today, as lists count them.
pub(super) fn of_days(visit: &Visit, days: i64) -> UsageRequest {
    since(days_start(visit.state.clock.now(), days))
}

/// From the beginning of a step, so that the lines of the log that a number leads to are those
/// that it counts.
fn since((start, step): (UnixMs, Step)) -> UsageRequest {
    let filter = LogFilter { start_at: Some(start), ..LogFilter::default() };
    UsageRequest { filter, step, top: 8 }
}

/// The lines of one type in the log, of the same time.
pub(super) fn lines(request: &UsageRequest, kind: &str) -> String {
    let since = request.filter.start_at.map(period::since).unwrap_or_default();
    format!("/console/log?type={kind}&{since}")
}

/// The totals of a series.
pub(super) struct Sums {
    pub(super) paid_in: Quota,
    pub(super) spent: Quota,
    pub(super) calls: i64,
    pub(super) tokens: i64,
}

pub(super) fn sums(series: &UsageSeries) -> Sums {
    let mut sums = Sums { paid_in: Quota::ZERO, spent: Quota::ZERO, calls: 0, tokens: 0 };
    for point in &series.points {
        sums.paid_in = sums.paid_in.sum_with(point.paid_in);
        sums.spent = sums.spent.sum_with(point.spent);
        sums.calls += point.calls;
        sums.tokens += point.prompt_tokens + point.completion_tokens;
    }
    sums
}

/// `GET /console`, of administrators
pub(super) async fn show(Here(visit): Here) -> Handled {
    let (state, actor) = (&visit.state, &visit.actor);
    let request = request(&visit);
    let (series, models) = usage::series_and_models(state, actor, false, &request).await?;
    let attention = attention::now(state, actor).await?;
    let node = channel_live::of_node(&visit).await?;
    let calls = match &node {
        Some(node) => channel_live::now(&visit, node).await?,
        None => html! {},
    };
    let guide = guide::on_first_page(&visit).await?;
    let body = html! {
        (guide)
        (tiles(&visit, &request, &sums(&series), &attention))
        (needs::list(&visit, &attention))
        h2.sec {
            (visit.say("充值与消耗", "Paid in and spent"))
            small { (visit.say("按 UTC 划分", "in UTC")) }
        }
        (parts::money_chart(visit.lang(), &series, true))
        h2.sec {
            (visit.say("消耗最多的模型", "Models that cost most"))
            small { a href={ "/console/usage?per=model&range=" (Range::of(&visit).code) } {
                (visit.say("全部用量", "all usage"))
            } }
        }
        (models_table(&visit, &request, &models))
        (top_users(&visit))
        (tasks(&visit, &attention))
        (calls)
    };
    let beside = html! { span.space {} (ranges(&visit, |code| visit.with("range", code))) };
    let title = visit.say("总览", "Overview");
    Ok(ShellPage::new(title, "/console").beside(beside).with_chart().show(&visit, body))
}

fn tiles(visit: &Visit, request: &UsageRequest, sums: &Sums, attention: &Attention) -> Markup {
    let (paid_in, charges) = (lines(request, "topup"), lines(request, "consume"));
    let spent = lines(request, SPENT);
    let plain = |quota: Quota| html! { (show::amount(quota)) };
    let whole = |number: i64| html! { (show::count(number)) };
    html! {
        div.tiles {
            (tile(&paid_in, &of_range(visit, "充值", "Paid in"), &plain(sums.paid_in)))
            (tile(&spent, &of_range(visit, "消耗", "Spent"), &plain(sums.spent)))
            (tile(&charges, &of_range(visit, "计费调用", "Charged calls"), &whole(sums.calls)))
            (tile(&charges, &of_range(visit, " Tokens", "Tokens"), &whole(sums.tokens)))
            (tile("/console/tasks?status=unfinished", visit.say("未完成任务", "Unfinished tasks"),
                &whole(attention.unfinished_tasks)))
            (tile("/console/doctor#nodes", visit.say("当前预扣", "On hold now"),
                &plain(attention.held)))
            (tile("/console/doctor#nodes", visit.say("节点", "Nodes"), &whole(attention.nodes)))
        }
    }
}

/// Users by what they cost: added up when somebody looks, from many more rows than the models are.
fn top_users(visit: &Visit) -> Markup {
    let all = format!("/console/usage?per=user&range={}", Range::of(visit).code);
    html! {
        details.numbers hx-get={ (all) "&top=5" } hx-trigger="toggle once"
            hx-target="#top-users" hx-select="#usage" hx-swap="outerHTML" {
            summary { (visit.say("消耗最多的用户", "Users who spent most")) }
            p #top-users { a href=(all) { (visit.say("查看", "See them")) } }
        }
    }
}

/// Unfinished tasks by where they stand, and how late the questions about them are.
fn tasks(visit: &Visit, attention: &Attention) -> Markup {
    let counts = [
        ("submitted", visit.say("已提交", "Submitted"), attention.submitted_tasks),
        ("processing", visit.say("处理中", "Processing"), attention.processing_tasks),
        ("unknown", visit.say("未知", "Unknown"), attention.unknown_tasks),
    ];
    let late = match attention.poll_lag {
        Some(seconds) => show::duration_ms(seconds * 1_000),
        None => visit.say("无", "none").to_owned(),
    };
    html! {
        @if attention.unfinished_tasks > 0 {
            h2.sec { (visit.say("未完成任务", "Unfinished tasks")) }
            div.tiles {
                @for (status, word, count) in counts {
                    (tile(&format!("/console/tasks?status={status}"), word,
                        &html! { (show::count(count)) }))
                }
                (tile("/console/tasks?status=unfinished", visit.say("查询滞后", "Poll lag"),
                    &html! { (late) }))
            }
        }
    }
}

/// Models by what they cost; the numbers lead to their lines.
pub(super) fn models_table(visit: &Visit, request: &UsageRequest, models: &[ModelUsage]) -> Markup {
    let lang = visit.lang();
    let of_model = |kind: &str, model: &ModelUsage| {
        format!("{}&model={}", lines(request, kind), step(&model.model_name))
    };
    if models.is_empty() {
        let next = ("/console/prices", lang.say("查看价格", "See the prices"));
        let next = visit.is_admin().then_some(next);
        let words = lang.say("这段时间没有计费调用。", "No charged call in this time.");
        return parts::empty(words, next);
    }
    html! {
        div.scroll {
            (folds(lang, &html! { table {
                thead { tr {
                    th { (lang.say("模型", "Model")) }
                    th.num { (lang.say("消耗", "Spent")) }
                    th.num { (lang.say("计费调用", "Charged calls")) }
                    th.num.hide { (lang.say("输入 Tokens", "Prompt tokens")) }
                    th.num.hide { (lang.say("输出 Tokens", "Completion tokens")) }
                } }
                tbody {
                    @for model in models {
                        tr {
                            td { (model.model_name) }
                            td.num { a href=(of_model(SPENT, model)) {
                                (show::amount_whole(model.spent))
                            } }
                            td.num { a href=(of_model("consume", model)) {
                                (show::count(model.calls))
                            } }
                            td.num.hide { (show::count(model.prompt_tokens)) }
                            td.num.hide { (show::count(model.completion_tokens)) }
                        }
                    }
                }
            } }))
        }
    }
}
