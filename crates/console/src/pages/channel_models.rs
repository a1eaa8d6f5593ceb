//! The models that an upstream says it has, to be taken over into a channel.

use super::for_admins;
use crate::parts;
use crate::shell::{ShellPage, csrf};
use crate::visit::{Handled, Here, Path};
use admin::ops::channel::{self, ChannelView};
use domain::ChannelId;
use maud::html;

const ENTRY: &str = "/console/channels";

/// Whether the protocol of the channel may have a list of models: those of our own contract have
/// none.
pub(super) fn may_have_list(channel: &ChannelView) -> bool {
    !matches!(&*channel.protocol, "custompass" | "http")
}

/// `POST /console/channels/{id}/models`: asks the upstream. What is ticked goes the way of a change
/// of many channels, which shows what changes first.
pub(crate) async fn ask(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let lang = visit.lang();
    let channel = channel::get(&visit.state, ChannelId(id)).await?;
    let told = channel::upstream_models(&visit.state, &visit.actor, channel.id).await?;
    let boxes = told.models.iter().map(|model| (model, channel.models.contains(model), ""));
    let unknown = lang.say("上游未列出", "not listed by the upstream");
    let boxes = boxes.chain(told.unknown.iter().map(|model| (model, true, unknown)));
    let body = html! {
        @if told.models.is_empty() {
            (parts::empty(lang.say("上游没有列出任何模型。", "The upstream lists no model."), None))
        }
        form method="post" action="/console/channels/batch" {
            (csrf(&visit))
            input type="hidden" name="id" value=(id);
            p.muted { (lang.say("勾选此渠道提供的模型。", "Tick the models that this channel is to serve.")) }
            div.field.ticks.columns {
                @for (model, served, note) in boxes {
                    label {
                        input type="checkbox" name="models" value=(model) checked[served];
                        " " (model)
                        @if !note.is_empty() { span.muted.small { " (" (note) ")" } }
                    }
                }
            }
            div.buttons {
                button.primary { (lang.say("查看变化", "See what changes")) }
                a.button href={ "/console/channels/" (id) } { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let title = lang.say("上游的模型", "Models of the upstream");
    let beside = html! { span.muted { (channel.name) } };
    Ok(ShellPage::new(title, ENTRY).beside(beside).show(&visit, body))
}
