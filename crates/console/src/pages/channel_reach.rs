//! Which groups reach a channel with which of its models, and what they pay there.

use crate::lang::{Lang, tell};
use crate::parts::{self, state};
use crate::show;
use admin::ops::channel::{ChannelReach, GroupReach};
use domain::Quota;
use maud::{Markup, html};

/// Most models and groups that a page shows: the API has all.
const MAX_MODELS: usize = 40;
const MAX_GROUPS: usize = 12;

/// Models by groups; a cell has the price, or why there is no way.
pub(super) fn matrix(lang: Lang, reach: &ChannelReach) -> Markup {
    if reach.models.is_empty() {
        return parts::empty(lang.say("没有模型。", "It has no model."), None);
    }
    let more = reach.models.len().saturating_sub(MAX_MODELS);
    let more_groups = reach.groups.len().saturating_sub(MAX_GROUPS);
    html! {
        div.scroll {
            table.reach {
                thead { tr {
                    th { (lang.say("模型", "Model")) }
                    @for group in reach.groups.iter().take(MAX_GROUPS) { th.num { (group) } }
                } }
                tbody {
                    @for model in reach.models.iter().take(MAX_MODELS) {
                        tr {
                            td { (model.model_name) }
                            @for cell in model.groups.iter().take(MAX_GROUPS) {
                                td.num { (cell_of(lang, cell)) }
                            }
                        }
                    }
                }
            }
        }
        @if more > 0 || more_groups > 0 {
            p.muted.small { (tell!(lang, "另有 {more} 个模型、{more_groups} 个分组, 见 API。",
                "{more} more models and {more_groups} more groups: the API has all.")) }
        }
    }
}

fn cell_of(lang: Lang, cell: &GroupReach) -> Markup {
    if let Some(why) = cell.why {
        let (kind, word, detail) = reason(lang, why);
        return html! { span.small title=(detail) { (state(kind, word)) } };
    }
    html! {
        @if cell.free { (lang.say("免费", "free")) }
        @else if let Some(call) = cell.a_call {
            (show::amount(call)) small { (lang.say("每次", "a call")) }
        }
        @else if cell.prompt_million.is_none() { (lang.say("按单位", "by units")) }
        @else { (by_use(cell.prompt_million)) " / " (by_use(cell.completion_million)) }
        @if cell.after > 0 {
            small { (tell!(lang, "在 {} 个渠道之后", "after {} others", cell.after)) }
        }
    }
}

fn by_use(million: Option<Quota>) -> Markup {
    html! { @match million {
        Some(quota) => (show::million(quota)),
        None => (show::NOTHING),
    } }
}

/// Why a group has no way here: a state, a word and a sentence.
fn reason(lang: Lang, why: &str) -> (&'static str, &'static str, &'static str) {
    let (kind, zh, en) = match why {
        "disabled" => {
            ("off", ("渠道已禁用", "渠道已禁用"), ("channel off", "The channel is disabled"))
        }
        "other_channels" => (
            "off",
            ("由其他渠道提供", "该分组的此模型由其他渠道提供, 本渠道没有列出该分组"),
            (
                "other channels",
                "Others serve the model for this group, which this one does not name",
            ),
        ),
        "group" => (
            "off",
            ("未对该分组开放", "没有渠道向该分组提供此模型"),
            ("not for the group", "No channel serves the model for this group"),
        ),
        "unpriced" => (
            "bad",
            ("未定价, 被拒绝", "没有价格的模型会被拒绝 (CUSTOM_PASS_UNPRICED)"),
            ("no price: refused", "Models without a price are refused (CUSTOM_PASS_UNPRICED)"),
        ),
        "price" => (
            "bad",
            ("价格无法读取", "价格无法读取, 调用会被拒绝"),
            ("price unreadable", "Its price can't be read, so calls are refused"),
        ),
        _ => (
            "bad",
            ("配置无法读取", "渠道的配置无法读取, 见健康检查"),
            ("unusable", "The channel's row can't be read: see Health"),
        ),
    };
    match lang {
        Lang::Zh => (kind, zh.0, zh.1),
        Lang::En => (kind, en.0, en.1),
    }
}
