//! What a channel is doing now: its state in a list, and its last hours on its own page.

use crate::columns::Column;
use crate::folds::folds;
use crate::lang::{Lang, tell};
use crate::parts::{self, on_or_off, state};
use crate::visit::Visit;
use crate::{notes, show};
use admin::AdminError;
use admin::ops::channel::{
    self, BreakerView, ChannelTrafficView, ChannelView, NodeTraffic, TrafficCounts, TrafficMinute,
};
use maud::{Markup, html};
use serde_json::json;

/// The state in a word: on, off, paused and why, or the breaker open and until when.
pub(super) fn state_of(visit: &Visit, channel: &ChannelView) -> Markup {
    let lang = visit.lang();
    let Some(live) = channel.live.as_ref().filter(|_| channel.status == 1) else {
        return on_or_off(lang, channel.status);
    };
    let again = html! { span.muted.small.broad { " " (retry(visit, live)) } };
    match (&live.pause_reason, live.breaker) {
        (Some(why), _) => html! {
            span title=(why) { (state("bad", lang.say("账户失效, 已暂停", "Paused: account"))) }
            (again)
        },
        (None, BreakerView::Open) => html! {
            span title=(retry(visit, live)) {
                (state("wait", lang.say("熔断中", "Breaker open")))
            }
            (again)
        },
        (None, BreakerView::HalfOpen) => state("wait", lang.say("正在试探", "Being tried")),
        (None, BreakerView::Closed) => on_or_off(lang, channel.status),
    }
}

/// When it is tried again.
fn retry(visit: &Visit, live: &ChannelTrafficView) -> String {
    let lang = visit.lang();
    let Some(at) = live.retry_at else { return String::new() };
    match at - visit.state.clock.now().0.div_euclid(1_000) {
        ..=0 => lang.say("下次调用时重试", "retry with the next call").to_owned(),
        seconds => tell!(lang, "{seconds} 秒后重试", "retry in {seconds} s"),
    }
}

/// How it fares: what failed, how long answers take, and how many calls are in flight.
pub(super) fn columns<'a>(lang: Lang) -> [Column<'a, ChannelView>; 3] {
    let hour = lang.say("最近一小时, 本节点", "the last hour, on this node");
    let failed = move |channel: &ChannelView| match &channel.live {
        Some(ChannelTrafficView { counts, .. }) => html! {
            td.num.bad[counts.fails_much()] title=(why_of(lang, counts)) {
                (show::share(counts.failed, counts.calls))
            }
        },
        None => nothing(),
    };
    let p95 = |channel: &ChannelView| match &channel.live {
        Some(live) => html! { td.num { (show::some_ms(live.counts.p95_ms)) } },
        None => nothing(),
    };
    let in_flight = |channel: &ChannelView| match &channel.live {
        Some(live) => html! { td.num { (in_flight_of(live)) } },
        None => nothing(),
    };
    [
        Column::new("failed", lang.say("失败率", "Failed"), failed).number().wide().title(hour),
        Column::new("p95", "p95", p95).number().wide().title(hour),
        Column::new("in_flight", lang.say("进行中", "In flight"), in_flight).number().wide(),
    ]
}

/// `3 / 20`: the calls in flight, and how many may be, where there is a limit.
fn in_flight_of(live: &ChannelTrafficView) -> String {
    match live.in_flight_limit {
        Some(limit) => format!("{} / {limit}", live.in_flight),
        None => live.in_flight.to_string(),
    }
}

fn nothing() -> Markup {
    html! { td.num.muted { (show::NOTHING) } }
}

/// `429 × 3, cut × 1`
fn why_of(lang: Lang, counts: &TrafficCounts) -> String {
    let one = |failure: &channel::FailureCount| {
        format!("{} × {}", notes::code(lang, failure.code), failure.calls)
    };
    counts.failures.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Why a channel is paused, where its account is broken, and what to do.
pub(super) fn pause(lang: Lang, channel: &ChannelView) -> Markup {
    let live = channel.live.as_ref().filter(|_| channel.status == 1);
    let Some(why) = live.and_then(|live| live.pause_reason.as_deref()) else {
        return html! {};
    };
    html! {
        p.complaint role="status" {
            b { (lang.say("已暂停, 上游账户失效: ",
                "Paused, because its account at the upstream is broken: ")) }
            (why) br;
            (lang.say("请充值或更换密钥; 更换密钥后立即恢复。",
                "Pay its bill, or set another key: with another key it is tried again at once."))
        }
    }
}

/// The part of a channel's page about its calls.
pub(super) fn section(visit: &Visit, channel: &ChannelView) -> Markup {
    let lang = visit.lang();
    let Some(live) = &channel.live else { return html! {} };
    let counts = &live.counts;
    html! {
        h2.sec {
            (lang.say("最近一小时", "The last hour"))
            small { (lang.say("本节点", "this node")) }
        }
        dl.facts {
            dt { (lang.say("调用", "Calls")) }
            dd { (show::count(i64::try_from(counts.calls).unwrap_or(i64::MAX))) }
            dt { (lang.say("失败率", "Failed")) }
            dd {
                (show::share(counts.failed, counts.calls)) " "
                @for failure in &counts.failures {
                    span.chip title=(failure.code) {
                        (notes::code(lang, failure.code)) " × " (failure.calls)
                    }
                }
                @if counts.failed > 0 {
                    " " a href={ "/console/log?show=recent&channel_id=" (channel.id.0) } {
                        (lang.say("查看原因", "See why"))
                    }
                }
            }
            dt { (lang.say("首字节 p50 / p95", "To the first byte, p50 / p95")) }
            dd { (show::some_ms(counts.p50_ms)) " / " (show::some_ms(counts.p95_ms)) }
            dt { (lang.say("进行中", "In flight")) } dd { (in_flight_of(live)) }
        }
        (charts(lang, &channel::minutes_of(&visit.state, channel.id)))
    }
}

/// Calls and failures, and the time to the first byte, minute by minute.
fn charts(lang: Lang, minutes: &[TrafficMinute]) -> Markup {
    if minutes.len() < 2 || minutes.iter().all(|minute| minute.calls == 0) {
        return html! {};
    }
    let times: Vec<i64> = minutes.iter().map(|minute| minute.time).collect();
    let p95: Vec<Option<i64>> = minutes.iter().map(|minute| minute.p95_ms).collect();
    let slow = json!({ "times": times, "unit": "ms", "lines": [
        { "label": "p95", "values": p95 } ] });
    let used = minutes.iter().rev().filter(|minute| minute.calls > 0);
    html! {
        (calls_chart(lang, minutes))
        figure.chart data-chart=(slow.to_string()) {
            figcaption.sr { (lang.say("每分钟首字节时间的 p95; 数值见下表",
                "The 95th percentile of the time to the first byte; the table has the numbers")) }
        }
        details.numbers {
            summary { (lang.say("以表格显示", "Show as a table")) }
            div.scroll {
                table {
                    thead { tr {
                        th { (lang.say("时间 (UTC)", "Time (UTC)")) }
                        th.num { (lang.say("调用", "Calls")) }
                        th.num { (lang.say("失败", "Failed")) }
                        th.num { "p95" }
                    } }
                    tbody { @for minute in used {
                        tr {
                            td { (show::step_start(minute.time, 60)) }
                            td.num { (minute.calls) }
                            td.num { (minute.failed) }
                            td.num { (show::some_ms(minute.p95_ms)) }
                        }
                    } }
                }
            }
        }
    }
}

/// Calls and failures, minute by minute.
fn calls_chart(lang: Lang, minutes: &[TrafficMinute]) -> Markup {
    let times: Vec<i64> = minutes.iter().map(|minute| minute.time).collect();
    let calls: Vec<u64> = minutes.iter().map(|minute| minute.calls).collect();
    let failed: Vec<u64> = minutes.iter().map(|minute| minute.failed).collect();
    let counts = json!({ "times": times, "unit": "count", "lines": [
        { "label": lang.say("调用", "calls"), "values": calls },
        { "label": lang.say("失败", "failed"), "values": failed } ] });
    html! {
        figure.chart data-chart=(counts.to_string()) {
            figcaption.sr { (lang.say("每分钟的调用与失败",
                "Calls and failures in each minute")) }
        }
    }
}

/// What this node is doing; none where no calls are served.
pub(super) async fn of_node(visit: &Visit) -> Result<Option<NodeTraffic>, AdminError> {
    match visit.state.traffic {
        Some(_) => channel::live(&visit.state, &visit.actor, 60).await.map(Some),
        None => Ok(None),
    }
}

/// The part of the first page about calls: how many there are, what fails, and where they go.
pub(super) async fn now(visit: &Visit, node: &NodeTraffic) -> Result<Markup, AdminError> {
    let lang = visit.lang();
    let minutes = channel::minutes_of_requests(&visit.state);
    let mut busiest: Vec<&ChannelTrafficView> =
        node.channels.iter().filter(|channel| channel.counts.calls > 0).collect();
    busiest.sort_by_key(|channel| std::cmp::Reverse(channel.counts.calls));
    busiest.truncate(BUSIEST);
    let ids = busiest.iter().map(|channel| channel.channel_id);
    let names = channel::names(&visit.state, &visit.actor, ids).await?;
    Ok(html! {
        h2.sec {
            (lang.say("调用", "Calls"))
            small {
                (tell!(lang, "节点 {}: 数字为最近一小时, 图为三小时",
                    "of the node {}: the tiles of the last hour, the chart of three", node.node))
            }
        }
        (tiles(visit, node))
        @if minutes.len() > 1 && minutes.iter().any(|minute| minute.calls > 0) {
            (calls_chart(lang, &minutes))
        }
        @if !busiest.is_empty() {
            div.scroll { (folds(lang, &html! { table {
                thead { tr {
                    th { (lang.say("调用最多的渠道", "Busiest channels")) }
                    th.num { (lang.say("调用", "Calls")) }
                    th.num { (lang.say("失败率", "Failed")) }
                    th.num.hide { "p95" }
                    th.num.hide { (lang.say("进行中", "In flight")) }
                } }
                tbody { @for channel in busiest {
                    @let name = names.get(&channel.channel_id).map(String::as_str);
                    (busy_row(lang, channel, name))
                } }
            } })) }
        }
    })
}

/// How many channels the first page names.
const BUSIEST: usize = 5;
/// What is said to be so many a minute is the mean of so many.
const MEAN_MINUTES: i64 = 5;

/// `name`: none where the channel was deleted since.
fn busy_row(lang: Lang, channel: &ChannelTrafficView, name: Option<&str>) -> Markup {
    let (counts, id) = (&channel.counts, channel.channel_id.0);
    html! {
        tr {
            td.cut { @match name {
                Some(name) => { a href={ "/console/channels/" (id) } { (name) } }
                None => { "#" (id) " " span.muted { (lang.say("(已删除)", "(deleted)")) } }
            } }
            td.num { (show::count(i64::try_from(counts.calls).unwrap_or(i64::MAX))) }
            td.num.bad[counts.fails_much()] title=(why_of(lang, counts)) {
                (show::share(counts.failed, counts.calls))
            }
            td.num.hide { (show::some_ms(counts.p95_ms)) }
            td.num.hide { (in_flight_of(channel)) }
        }
    }
}

fn tiles(visit: &Visit, node: &NodeTraffic) -> Markup {
    let recent = channel::requests_of(&visit.state, MEAN_MINUTES).unwrap_or_default();
    let a_minute = |number: u64| html! { (show::mean(number, MEAN_MINUTES)) };
    let in_flight: u32 = node.channels.iter().map(|channel| channel.in_flight).sum();
    let all = &node.requests;
    let failed = "/console/log?show=recent";
    html! {
        div.tiles {
            (parts::tile("/console/log", visit.say("请求 / 分钟", "Requests a minute"),
                &a_minute(recent.calls)))
            (parts::tile(failed, visit.say("失败 / 分钟", "Failed a minute"),
                &a_minute(recent.failed)))
            (parts::tile(failed, visit.say("失败率", "Failed"),
                &html! { (show::share(all.failed, all.calls)) }))
            (parts::tile("/console/channels", visit.say("上游 p95", "Upstream p95"),
                &html! { (show::some_ms(all.p95_ms)) }))
            (parts::tile("/console/channels", visit.say("本网关 p95", "Our share, p95"),
                &html! { (show::some_ms(node.own_p95_ms)) }))
            (parts::tile("/console/channels", visit.say("进行中", "In flight"),
                &html! { (in_flight) }))
        }
    }
}
