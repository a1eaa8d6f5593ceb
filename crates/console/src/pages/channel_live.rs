//! What a channel is doing now: its state in a list, and its last hours on its own page.

use crate::lang::{Lang, tell};
use crate::parts::{self, on_or_off, state};
use crate::visit::Visit;
use crate::{notes, show};
use admin::ops::channel::{
    self, BreakerView, ChannelMinute, ChannelTrafficView, ChannelView, TrafficCounts,
};
use domain::ChannelId;
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

/// The heads of the columns of [`cells`].
pub(super) fn heads(lang: Lang) -> Markup {
    let hour = lang.say("最近一小时, 本节点", "the last hour, on this node");
    html! {
        th.num.hide title=(hour) { (lang.say("失败率", "Failed")) }
        th.num.hide title=(hour) { "p95" }
        th.num.hide { (lang.say("进行中", "In flight")) }
    }
}

/// How it fares: what failed, how long answers take, and how many calls are in flight.
pub(super) fn cells(lang: Lang, channel: &ChannelView) -> Markup {
    let Some(ChannelTrafficView { counts, in_flight, .. }) = &channel.live else {
        return html! {
            @for _ in 0..3 { td.num.hide.muted { (show::NOTHING) } }
        };
    };
    html! {
        td.num.hide.bad[is_much(counts)] title=(why_of(lang, counts)) {
            (show::share(counts.failed, counts.calls))
        }
        td.num.hide { (show::some_ms(counts.p95_ms)) }
        td.num.hide { (in_flight) }
    }
}

/// A tenth and more of the calls failed.
fn is_much(counts: &TrafficCounts) -> bool {
    counts.failed > 0 && counts.failed * 10 >= counts.calls
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
            dt { (lang.say("进行中", "In flight")) } dd { (live.in_flight) }
        }
        (charts(lang, &channel::minutes_of(&visit.state, channel.id)))
    }
}

/// Calls and failures, and the time to the first byte, minute by minute.
fn charts(lang: Lang, minutes: &[ChannelMinute]) -> Markup {
    if minutes.len() < 2 || minutes.iter().all(|minute| minute.calls == 0) {
        return html! {};
    }
    let times: Vec<i64> = minutes.iter().map(|minute| minute.time).collect();
    let calls: Vec<u64> = minutes.iter().map(|minute| minute.calls).collect();
    let failed: Vec<u64> = minutes.iter().map(|minute| minute.failed).collect();
    let p95: Vec<Option<i64>> = minutes.iter().map(|minute| minute.p95_ms).collect();
    let counts = json!({ "times": times, "unit": "count", "lines": [
        { "label": lang.say("调用", "calls"), "values": calls },
        { "label": lang.say("失败", "failed"), "values": failed } ] });
    let slow = json!({ "times": times, "unit": "ms", "lines": [
        { "label": "p95", "values": p95 } ] });
    let used = minutes.iter().rev().filter(|minute| minute.calls > 0);
    html! {
        figure.chart data-chart=(counts.to_string()) {
            figcaption.sr { (lang.say("每分钟的调用与失败; 数值见下表",
                "Calls and failures in each minute; the table has the numbers")) }
        }
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

/// Tiles of the first page: what failed of all requests, and how slow upstreams are.
pub(super) fn tiles(visit: &Visit) -> Markup {
    let Some(requests) = channel::requests_now(&visit.state) else { return html! {} };
    let failed = html! { (show::share(requests.failed, requests.calls)) };
    let slow = html! { (show::some_ms(requests.p95_ms)) };
    html! {
        (parts::tile("/console/channels", visit.say("失败率 (1 小时)", "Failed (1 h)"), &failed))
        (parts::tile("/console/channels", visit.say("上游 p95", "Upstream p95"), &slow))
    }
}

/// Paused channels, for the list of what needs attention: name, address, and what is the matter.
pub(super) async fn paused(visit: &Visit) -> Result<Vec<(ChannelId, String)>, admin::AdminError> {
    if visit.state.traffic.is_none() {
        return Ok(Vec::new());
    }
    let live = channel::live(&visit.state, &visit.actor, 60).await?;
    let paused = live.channels.into_iter().filter_map(|channel| {
        let why = channel.pause_reason?;
        Some((channel.channel_id, why))
    });
    Ok(paused.collect())
}
