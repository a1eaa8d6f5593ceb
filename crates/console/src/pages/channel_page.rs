//! One channel: what it is and does, who can reach it, and what was done to it.

use super::channel_live::{self, state_of};
use super::channel_models;
use super::channel_reach;
use super::channels::{last_test, name};
use super::{audit, for_admins};
use crate::lang::{Lang, tell};
use crate::parts::action;
use crate::shell::{self, ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Path, Visit, step};
use admin::PageRequest;
use admin::ops::channel::{self, ChannelView};
use admin::ops::log::{self, LogFilter, LogView, SPENT};
use domain::ChannelId;
use maud::{Markup, html};

const ENTRY: &str = "/console/channels";
/// How many lines of the admin journal the page shows.
const CHANGES_SHOWN: i64 = 5;

/// `GET /console/channels/{id}`
pub(crate) async fn show(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let lang = visit.lang();
    let channel = channel::get(&visit.state, ChannelId(id)).await?;
    let reach = channel::reach(&visit.state, &visit.actor, channel.id).await?;
    let filter =
        LogFilter { r#type: Some("manage"), channel_id: Some(channel.id), ..LogFilter::default() };
    let few = PageRequest { page: 1, size: CHANGES_SHOWN };
    let done_to_it = log::list(&visit.state, &visit.actor, false, &filter, few).await?.items;
    let body = html! {
        (address_refused(&visit, &channel))
        (channel_live::pause(lang, &channel))
        (facts(&visit, &channel))
        (channel_live::section(&visit, &channel))
        h2.sec { (lang.say("测试", "Test")) }
        form.bar method="post" action={ "/console/channels/" (id) "/test" }
            hx-post={ "/console/channels/" (id) "/test?shown=below" } hx-target="#probe" {
            (csrf(&visit))
            select name="model" aria-label=(lang.say("模型", "Model")) {
                @for model in &channel.models { option { (model) } }
            }
            button { (lang.say("发起测试调用", "Make a test call")) }
        }
        div #probe role="status" { (last_test(lang, &channel)) }
        p.muted.small {
            (lang.say("不向任何用户收费; 记入操作记录。", "Charged to no user; entered in the admin journal."))
        }
        h2.sec {
            (lang.say("谁能使用", "Who can reach it"))
            small { (lang.say("每百万 Tokens 的输入 / 输出价格, 或每次",
                "prompt / completion for a million tokens, or a call")) }
        }
        (channel_reach::matrix(lang, &reach))
        h2.sec { (lang.say("映射与设置", "Mappings and settings")) }
        (settings(lang, &channel))
        h2.sec { (lang.say("操作记录", "What was done to it")) }
        (changes(lang, id, &done_to_it))
    };
    let beside = html! {
        span.muted { "#" (id) }
        span.space {}
        (buttons(&visit, &channel))
    };
    Ok(ShellPage::new(name(&channel), ENTRY).beside(beside).with_chart().show(&visit, body))
}

/// That calls can't be sent to its address, and what to do.
fn address_refused(visit: &Visit, channel: &ChannelView) -> Markup {
    let lang = visit.lang();
    let to = "/console/settings?keyword=UPSTREAM_ALLOW_NETS";
    html! {
        @if channel.address_refused {
            p.complaint role="status" {
                b { (tell!(lang, "{} 是私有地址, 对它的调用都会被拒绝。",
                    "{} is a private address: every call to it is refused.", channel.base_url)) }
                " "
                @if shell::has_settings(visit) {
                    (lang.say("如果确实要用, 请在设置中允许它的网络: ",
                        "If it is meant, allow its network in the settings: "))
                    a href=(to) { "UPSTREAM_ALLOW_NETS" }
                } @else {
                    (lang.say("如果确实要用, 请 root 在设置 UPSTREAM_ALLOW_NETS 中允许它的网络。",
                        "If it is meant, root can allow its network with UPSTREAM_ALLOW_NETS."))
                }
            }
        }
    }
}

/// What it is: address, models, groups, and what was charged through it.
fn facts(visit: &Visit, channel: &ChannelView) -> Markup {
    let (lang, id) = (visit.lang(), channel.id.0);
    html! {
        dl.facts {
            dt { (lang.say("状态", "State")) } dd { (state_of(visit, channel)) }
            dt { (lang.say("地址", "Address")) } dd.mono.break { (channel.base_url) }
            dt { (lang.say("协议", "Protocol")) }
            dd { a.mono href={ "/console/protocols/view?name=" (step(&channel.protocol)) } {
                (channel.protocol)
            } }
            dt { (lang.say("密钥", "Key")) }
            dd { @if channel.has_key { (lang.say("已设置", "set")) }
                @else { span.warn { (lang.say("未设置", "not set")) } } }
            dt { (lang.say("模型", "Models")) }
            dd {
                @for model in &channel.models { span.chip { (model) } }
                @if channel_models::may_have_list(channel) {
                    (action(visit, &format!("/console/channels/{id}/models"),
                        lang.say("查询上游模型", "Ask the upstream"), ""))
                }
            }
            dt { (lang.say("分组", "Groups")) }
            dd { @for group in &channel.groups { span.chip { (group) } } }
            dt { (lang.say("优先级 / 权重", "Priority / weight")) }
            dd { (channel.priority) " / " (channel.weight) }
            dt { (lang.say("累计费用", "Charged through it")) }
            dd {
                (show::money(channel.used_quota)) " "
                a href={ "/console/log?type=" (SPENT) "&channel_id=" (id) } {
                    (lang.say("查看日志", "See the log"))
                }
            }
            @if !channel.tag.is_empty() {
                dt { (lang.say("标签", "Tag")) }
                dd { a href={ "/console/channels?tag=" (step(&channel.tag)) } { (channel.tag) } }
            }
            @if !channel.remark.is_empty() {
                dt { (lang.say("备注", "Remark")) } dd.lines { (channel.remark) }
            }
            dt { (lang.say("修改于", "Edited")) } dd { (show::ago(channel.updated_at)) }
        }
    }
}

/// Who changed what, the last few.
fn changes(lang: Lang, id: i64, lines: &[LogView]) -> Markup {
    html! {
        @if lines.is_empty() {
            p.muted { (lang.say("没有操作记录。", "Nothing was done.")) }
        } @else {
            (audit::actions_table(lang, lines))
            p.small { a href={ "/console/actions?channel_id=" (id) } {
                (lang.say("全部操作记录", "All of it"))
            } }
        }
    }
}

fn settings(lang: Lang, channel: &ChannelView) -> Markup {
    let all = [
        (lang.say("模型映射", "Model mapping"), &channel.model_mapping),
        (lang.say("参数覆盖", "Parameters put in"), &channel.param_override),
        (lang.say("状态码映射", "Status mapping"), &channel.status_code_mapping),
        (lang.say("任务状态词", "Status words of tasks"), &channel.custompass_status_mapping),
        (lang.say("设置", "Setting"), &channel.setting),
    ];
    let said = all.into_iter().filter(|(_, json)| !matches!(json.get(), "{}" | "null"));
    let said: Vec<_> = said.collect();
    html! {
        @if said.is_empty() { p.muted { (lang.say("全部为默认。", "All are the defaults.")) } }
        dl.facts { @for (label, json) in said { dt { (label) } dd.mono.break { (json.get()) } } }
    }
}

fn buttons(visit: &Visit, channel: &ChannelView) -> Markup {
    let (lang, id) = (visit.lang(), channel.id.0);
    let to = format!("/console/channels/{id}/status");
    html! {
        @if channel.status == 1 {
            (action(visit, &format!("{to}?to=off"), lang.say("禁用", "Disable"), ""))
        } @else {
            (action(visit, &format!("{to}?to=on"), lang.say("启用", "Enable"), ""))
        }
        (action(visit, &format!("/console/channels/{id}/copy"), lang.say("复制", "Copy"), ""))
        (action(visit, &format!("/console/channels/{id}/delete"), lang.say("删除", "Delete"),
            &tell!(lang, "删除渠道 {}? 它的密钥也会删除, 无法恢复。",
                "Delete the channel {}? Its key goes, too, and can't be brought back.",
                name(channel))))
        a.button.primary href={ "/console/channels/" (id) "/edit" } { (lang.say("编辑", "Edit")) }
    }
}
