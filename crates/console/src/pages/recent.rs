//! Calls that no charge in the journal tells of, as this node remembers them: why they failed, and
//! those that cost nothing.

use super::channels;
use super::log::{ChannelNames, KeyNames, channel_cell, channel_names, key_name};
use crate::columns::{Column, Columns};
use crate::lang::{Lang, tell};
use crate::parts::{self, filters, pager_with, typed};
use crate::show;
use crate::unfit::empty_or_unfit;
use crate::visit::{Visit, step};
use admin::ops::channel;
use admin::ops::recent::{self, RecentCallView, RecentFilter, RecentState};
use admin::ops::token;
use admin::{AdminError, Page, PageRequest};
use domain::{ChannelId, KeyId};
use maud::{Markup, html};

/// What this node remembers of a request; nothing where no calls are served.
pub(super) async fn of_request(
    visit: &Visit,
    request_id: &str,
) -> Result<Vec<RecentCallView>, AdminError> {
    let filter =
        RecentFilter { request_id: Some(request_id.to_owned()), ..RecentFilter::default() };
    Ok(page(visit, &filter, PageRequest::first()).await?.items)
}

async fn page(
    visit: &Visit,
    filter: &RecentFilter,
    request: PageRequest,
) -> Result<Page<RecentCallView>, AdminError> {
    let own = !visit.is_admin();
    recent::list(&visit.state, &visit.actor, own, filter, request).await
}

/// How a call ended, in words.
pub(super) fn state_of(lang: Lang, call: &RecentCallView) -> (&'static str, &'static str) {
    let (kind, zh, en) = match call.state {
        RecentState::Free => ("on", "成功, 免费", "succeeded, free"),
        RecentState::Gone => ("off", "客户端已断开", "the client disconnected"),
        RecentState::Failed if is_refusal(call) => ("bad", "被拒绝", "refused"),
        RecentState::Failed => ("bad", "失败", "failed"),
    };
    (
        kind,
        match lang {
            Lang::Zh => zh,
            Lang::En => en,
        },
    )
}

/// Whether it was refused here: no upstream's own error.
fn is_refusal(call: &RecentCallView) -> bool {
    let is_ours = call.code.is_some_and(|code| !code.starts_with("UPSTREAM"));
    is_ours && call.status.is_some_and(|status| (400..500).contains(&status))
}

/// Why it failed: for operators the cause, for users what they were told.
pub(super) fn why(lang: Lang, call: &RecentCallView) -> String {
    let told = lang.say(&call.message_zh, &call.message_en);
    match call.cause.as_deref().filter(|cause| !cause.is_empty() && *cause != call.message_en) {
        Some(cause) if told.is_empty() => cause.to_owned(),
        Some(cause) => format!("{told} · {cause}"),
        None if told.is_empty() && call.state == RecentState::Failed => {
            lang.say("上游的错误, 已原样返回", "the upstream's own error, passed on").to_owned()
        }
        None => told.to_owned(),
    }
}

/// A channel by its name, and its number.
pub(super) async fn channel_link(visit: &Visit, id: Option<i64>) -> Markup {
    let Some(id) = id.filter(|_| visit.is_admin()) else { return html! {} };
    let found = channel::get(&visit.state, ChannelId(id)).await.ok();
    html! {
        span.muted { " · " (visit.say("渠道", "channel")) " " }
        @match &found {
            Some(channel) => {
                a href={ "/console/channels/" (id) } { (channels::name(channel)) } " "
                span.muted { "#" (id) }
            }
            None => { "#" (id) " " span.muted { (visit.say("(已删除)", "(deleted)")) } }
        }
    }
}

/// The failure of a call: status, code, and why.
pub(super) fn failure_rows(lang: Lang, call: &RecentCallView) -> Markup {
    html! {
        @if call.state == RecentState::Failed {
            dt { (lang.say("原因", "Why")) } dd.break { (why(lang, call)) }
            dt { (lang.say("状态码", "Status")) }
            dd {
                @match call.status {
                    Some(status) => (status),
                    None => span.muted { (lang.say("客户端已断开", "the client had gone")) },
                }
                @if let Some(code) = call.code { " · " span.mono { (code) } }
            }
        }
    }
}

/// All that is known of a call without a charge.
pub(super) async fn receipt(visit: &Visit, call: &RecentCallView) -> Markup {
    let lang = visit.lang();
    let (kind, word) = state_of(lang, call);
    let channel = channel_link(visit, call.channel_id.map(|id| id.0)).await;
    html! {
        div.receipt {
            dl.facts {
                dt { (lang.say("状态", "State")) } dd { (parts::state(kind, word)) }
                (failure_rows(lang, call))
                dt { (lang.say("用户", "User")) }
                dd { (user(visit, call)) }
                dt { (lang.say("模型", "Model")) }
                dd {
                    @if call.model_name.is_empty() { span.muted { (show::NOTHING) } }
                    (call.model_name) (channel)
                }
                dt { (lang.say("时间", "Time")) }
                dd {
                    (show::at(call.ended_at))
                    span.muted { " · " (show::some_ms(Some(call.use_time_ms))) }
                }
                dt { (lang.say("费用", "Charge")) }
                dd { (lang.say("无, 流水中没有这次调用", "none: the journal has no line of this call")) }
            }
        }
    }
}

fn user(visit: &Visit, call: &RecentCallView) -> Markup {
    let lang = visit.lang();
    match call.user_id {
        Some(id) if visit.is_admin() => {
            let name = if call.username.is_empty() { "?" } else { &call.username };
            html! { a href={ "/console/users/" (id.0) } { (name) } }
        }
        Some(_) => html! { (call.username) },
        None => html! { span.muted { (lang.say("未知: 令牌无效", "not known: no valid key")) } },
    }
}

/// Where this comes from, and where to look when it is gone.
pub(super) fn only_in_memory(visit: &Visit) -> Markup {
    let words = match visit.is_admin() {
        true => visit.say(
            "来自本节点的内存: 最近的约 2000 次失败与 1000 次免费调用, 重启后消失, 其他节点各有自己的。\
             更早的见各节点的日志文件 (按请求 ID 搜索)。",
            "From this node's memory: about the last 2000 failed and 1000 free calls. A restart \
             empties it, and other nodes have their own. Older ones are in the log file of the \
             node, by their request id.",
        ),
        false => visit.say(
            "只保留最近的失败与免费调用, 服务重启后消失。",
            "Only the last failed and free calls are kept, and until the service restarts.",
        ),
    };
    html! { p.muted.small { (words) } }
}

/// The list, for the page of the log.
pub(super) async fn list(visit: &Visit) -> Result<Markup, AdminError> {
    let lang = visit.lang();
    let found = page(visit, &RecentFilter::read(&visit.query())?, visit.page_request()?).await?;
    let names = Names::read(visit, &found.items).await?;
    let columns = columns(visit, &names);
    Ok(html! {
        (filters(visit, html! {
            input type="hidden" name="show" value="recent";
            @if visit.is_admin() {
                (typed(visit, "username", lang.say("用户名", "User name")))
            }
            (typed(visit, "model", lang.say("模型", "Model")))
            (typed(visit, "request_id", lang.say("请求 ID", "Request id")))
            (typed(visit, "code", lang.say("错误码", "Code")))
            @if visit.is_admin() {
                (typed(visit, "channel_id", lang.say("渠道编号", "Channel number")))
            }
        }))
        (only_in_memory(visit))
        div #list {
            @if found.items.is_empty() {
                (empty_or_unfit(visit, lang.say(
                    "还没有失败或免费的调用。", "No call has failed or was free yet.",
                ), None))
            } @else {
                (table(&columns, &found.items))
            }
            (pager_with(visit, &found, &columns.menu()))
        }
    })
}

/// What calls name by number.
struct Names {
    keys: KeyNames,
    channels: ChannelNames,
}

impl Names {
    async fn read(visit: &Visit, calls: &[RecentCallView]) -> Result<Self, AdminError> {
        let keys: Vec<KeyId> = calls.iter().filter_map(|call| call.token_id).collect();
        let keys = token::names(&visit.state, &visit.actor, keys).await?;
        let channels = calls.iter().filter_map(|call| call.channel_id).collect();
        let channels = channel_names(visit, channels).await?;
        Ok(Self { keys, channels })
    }
}

type CallColumn<'a> = Column<'a, RecentCallView>;

/// The columns, one of them with why a call failed.
fn columns<'a>(visit: &'a Visit, names: &'a Names) -> Columns<'a, RecentCallView> {
    let (lang, is_admin) = (visit.lang(), visit.is_admin());
    let mut all = vec![CallColumn::thing(lang.say("时间", "Time"), |call| {
        html! { td { (show::at(call.ended_at)) } }
    })];
    let user = move |call: &RecentCallView| html! { td { (user(visit, call)) } };
    all.extend(is_admin.then(|| CallColumn::new("user", lang.say("用户", "User"), user).wide()));
    all.extend([
        CallColumn::new("result", lang.say("结果", "Result"), move |call| {
            result_cell(lang, call)
        }),
        CallColumn::new("model", lang.say("模型", "Model"), |call| {
            html! { td.cut title=(call.model_name) { (call.model_name) } }
        }),
        CallColumn::new("key", lang.say("令牌", "Key"), move |call| {
            let key = call.token_id.map(|key| key_name(lang, key, &names.keys));
            let key = key.unwrap_or_else(|| show::NOTHING.to_owned());
            html! { td.cut.short title=(key) { (key) } }
        })
        .wide(),
        CallColumn::new("why", lang.say("原因", "Why"), move |call| {
            html! {
                td.wrap.muted {
                    @if let Some(code) = call.code { span.mono { (code) } " " }
                    (why(lang, call))
                }
            }
        })
        .wide(),
        CallColumn::new("took", lang.say("耗时", "Took"), |call| {
            html! { td.num { (show::some_ms(Some(call.use_time_ms))) } }
        })
        .number()
        .wide(),
    ]);
    let channel = move |call: &RecentCallView| channel_cell(lang, call.channel_id, &names.channels);
    let channel =
        || CallColumn::new("channel", lang.say("渠道", "Channel"), channel).number().wide();
    all.extend(is_admin.then(channel));
    all.push(CallColumn::tool(parts::acts_head(lang), move |call| {
        html! {
            td.acts {
                a href={ "/console/explain/" (step(&call.request_id)) } data-open=""
                    title=(call.request_id) { (lang.say("说明", "Explain")) }
            }
        }
    }));
    Columns::of(visit, "recent", all)
}

fn result_cell(lang: Lang, call: &RecentCallView) -> Markup {
    let (kind, word) = state_of(lang, call);
    html! {
        td {
            (parts::state(kind, word))
            @if let Some(status) = call.status.filter(|_| call.state == RecentState::Failed) {
                span.muted { " " (status) }
            }
        }
    }
}

fn table(columns: &Columns<'_, RecentCallView>, calls: &[RecentCallView]) -> Markup {
    columns.table(&html! { tbody { @for call in calls { tr { (columns.cells(call)) } } } })
}

/// How many lines of the journal were not found, and where they may be.
pub(super) async fn also_here(
    visit: &Visit,
    calls: &[RecentCallView],
) -> Result<Markup, AdminError> {
    if calls.is_empty() {
        return Ok(html! {});
    }
    let (lang, names) = (visit.lang(), Names::read(visit, calls).await?);
    Ok(html! {
        p.note { (tell!(lang, "不在流水中: 以下 {} 次调用失败或免费。",
            "Not in the journal, because nothing was charged: {}.", calls.len())) }
        (table(&columns(visit, &names), calls))
        (only_in_memory(visit))
    })
}
