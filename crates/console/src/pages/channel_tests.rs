//! Tests of many channels at once: each row asks for its own test, and shows it when it is there.

use super::channel_batch;
use super::channels::name as name_of;
use super::for_admins;
use crate::lang::{Lang, tell};
use crate::shell::{ShellPage, csrf};
use crate::visit::{Handled, Here, Visit, go_to};
use admin::AdminError;
use admin::ops::channel::{self, ChannelView};
use domain::ChannelId;
use maud::{Markup, html};
use std::collections::BTreeSet;

const ENTRY: &str = "/console/channels";
/// Most channels of one page.
const MAX_ROWS: usize = 100;

/// `POST /console/channels/test`: a page whose rows test one channel each, by the script, as many
/// at a time as the browser has connections. It is no `GET`, because opening it makes calls.
pub(crate) async fn run(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let lang = visit.lang();
    let ids = visit.form.all("id").filter_map(|id| id.parse::<i64>().ok());
    let ids: BTreeSet<i64> = ids.take(MAX_ROWS).collect();
    if ids.is_empty() {
        return Ok(go_to(&channel_batch::LIST.origin(&visit)));
    }
    let mut channels = Vec::new();
    for id in ids {
        match channel::get(&visit.state, ChannelId(id)).await {
            Ok(channel) => channels.push(channel),
            // Deleted meanwhile: the others are tested all the same.
            Err(AdminError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let body = html! {
        p.muted { (lang.say(
            "每个渠道发起一次真实调用, 不向任何用户收费。失败的会被勾选。",
            "One real call of each, charged to no user. Those that fail are ticked.",
        )) }
        div.scroll {
            table {
                thead { tr {
                    th { (lang.say("渠道", "Channel")) }
                    th { (lang.say("结果", "Result")) }
                } }
                tbody { @for channel in &channels { (row(&visit, channel)) } }
            }
        }
        (channel_batch::bar(&visit))
        div.buttons {
            a.button href=(channel_batch::LIST.origin(&visit)) {
                (lang.say("返回渠道", "To the channels"))
            }
        }
    };
    let title = lang.say("测试渠道", "Testing channels");
    Ok(ShellPage::new(title, ENTRY).show(&visit, body))
}

fn row(visit: &Visit, channel: &ChannelView) -> Markup {
    let (lang, id) = (visit.lang(), channel.id.0);
    let to = format!("/console/channels/{id}/test?row=1");
    html! {
        tr {
            td { a href={ "/console/channels/" (id) } { (name_of(channel)) } }
            td id={ "result-" (id) } role="status" {
                form.inline method="post" action=(to) hx-post=(to) hx-trigger="load"
                    hx-target={ "#result-" (id) } {
                    (csrf(visit))
                    button.quiet { (lang.say("测试", "Test")) }
                }
            }
        }
    }
}

/// A result in its row; one that failed is ticked, to be disabled.
pub(super) fn cell(lang: Lang, channel: &ChannelView, failed: bool, result: &Markup) -> Markup {
    let label = tell!(lang, "选择 {}", "Select {}", name_of(channel));
    html! {
        @if failed {
            input type="checkbox" name="id" value=(channel.id.0) form="batch" checked
                aria-label=(label);
            " "
        }
        (result)
    }
}
