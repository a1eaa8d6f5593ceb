//! Channels: the list, and what is done with one: test, enable, copy, delete.

use super::channel_live::{self, state_of};
use super::channel_tests;
use super::for_admins;
use super::{batch, channel_batch};
use crate::columns::{Column, Columns};
use crate::form::Complaint;
use crate::lang::{Lang, tell};
use crate::parts::{self, action, chosen, filters, pager_with, typed};
use crate::shell::{ShellPage, csrf};
use crate::unfit::empty_or_unfit;
use crate::visit::{Handled, Here, Path, Visit, done, html as respond, switched};
use crate::{formula, notes, show};
use admin::AdminError;
use admin::ops::channel::{self, ChannelFilter, ChannelView, Probe, ProbeCost, ProbeRequest};
use domain::ChannelId;
use http::StatusCode;
use maud::{Markup, html};

const ENTRY: &str = "/console/channels";

/// `GET /console/channels`
pub(crate) async fn list(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let filter = ChannelFilter::read(&visit.query())?;
    let page = channel::list(&visit.state, &filter, visit.page_request()?).await?;
    let (lang, columns) = (visit.lang(), columns(&visit));
    let states = [
        ("1", lang.say("启用", "On")),
        ("2", lang.say("禁用", "Off")),
        ("3", lang.say("自动禁用", "Off: failed")),
        ("paused", lang.say("启用, 但本节点暂停", "On, paused on this node")),
    ];
    let body = html! {
        (filters(&visit, html! {
            (typed(&visit, "keyword", lang.say("名称、地址或编号", "Name or address")))
            (typed(&visit, "model", lang.say("模型", "Model")))
            (typed(&visit, "group", lang.say("分组", "Group")))
            (typed(&visit, "tag", lang.say("标签", "Tag")))
            (chosen(&visit, "status", lang.say("全部状态", "All states"), &states))
        }))
        div #list {
            @if page.items.is_empty() {
                (empty_or_unfit(
                    &visit,
                    lang.say(
                        "渠道是上游的一个账户: 地址、密钥和模型。",
                        "A channel is an account at an upstream: address, key and models.",
                    ),
                    Some(("/console/channels/new", lang.say("新建渠道", "Create a channel"))),
                ))
            } @else {
                (columns.table(&html! { tbody { @for channel in &page.items {
                    tr id={ "channel-" (channel.id.0) } { (columns.cells(channel)) }
                } } }))
                (channel_batch::bar(&visit))
            }
            (pager_with(&visit, &page, &columns.menu()))
        }
    };
    let beside = html! {
        span.muted { (show::count(page.total)) }
        span.space {}
        a.button.primary href="/console/channels/new" { (lang.say("新建渠道", "New channel")) }
    };
    Ok(ShellPage::new(lang.say("渠道", "Channels"), ENTRY).beside(beside).show(&visit, body))
}

type ChannelColumn<'a> = Column<'a, ChannelView>;

fn columns(visit: &Visit) -> Columns<'_, ChannelView> {
    let lang = visit.lang();
    let mut all = named_columns(visit);
    all.extend([
        ChannelColumn::new("models", lang.say("模型", "Models"), |channel| {
            html! { td.num title=(channel.models.join(", ")) { (channel.models.len()) } }
        })
        .number()
        .wide(),
        ChannelColumn::new("groups", lang.say("分组", "Groups"), |channel| {
            let groups = channel.groups.join(", ");
            html! { td.cut.short title=(groups) { (groups) } }
        })
        .wide(),
        ChannelColumn::new("priority", lang.say("优先级", "Priority"), |channel| {
            html! { td.num { (channel.priority) } }
        })
        .number()
        .wide()
        .falls("priority"),
        ChannelColumn::new("weight", lang.say("权重", "Weight"), |channel| {
            html! { td.num { (channel.weight) } }
        })
        .number()
        .wide()
        .falls("weight"),
    ]);
    all.extend(channel_live::columns(lang));
    all.extend([
        ChannelColumn::new("used_today", lang.say("今日", "Today"), |channel| {
            show::amount_cell(channel.used_today.unwrap_or_default())
        })
        .number()
        .wide(),
        ChannelColumn::new("used_quota", lang.say("累计", "Used"), |channel| {
            show::amount_cell(channel.used_quota)
        })
        .number()
        .falls("used_quota"),
        ChannelColumn::new("last_test", lang.say("上次测试", "Last test"), move |channel| {
            html! { td { (test_button(visit, channel.id.0, last_test(lang, channel))) } }
        })
        .wide(),
        ChannelColumn::tool(parts::acts_head(lang), move |channel| switch_cell(visit, channel)),
    ]);
    Columns::of(visit, "channels", all)
}

/// What a channel is, how it stands, and where it leads.
fn named_columns(visit: &Visit) -> Vec<ChannelColumn<'_>> {
    let lang = visit.lang();
    vec![
        ChannelColumn::tool(batch::tick_head(lang), move |channel| {
            batch::tick(lang, channel.id.0, name(channel), true)
        }),
        ChannelColumn::thing(lang.say("名称", "Name"), move |channel| {
            html! {
                td.cut title={ (channel.protocol) " · " (channel.base_url) } {
                    a href={ "/console/channels/" (channel.id.0) } { (name(channel)) }
                    @if !channel.tag.is_empty() {
                        " " a.chip href=(visit.with("tag", &channel.tag)) { (channel.tag) }
                    }
                }
            }
        })
        .rises("name"),
        ChannelColumn::new("state", lang.say("状态", "State"), move |channel| {
            html! { td { (state_of(visit, channel)) } }
        }),
        ChannelColumn::new("address", lang.say("地址", "Address"), |channel| {
            html! {
                td.cut.short title=(channel.base_url) {
                    span.warn[channel.address_refused] { (host(channel)) }
                }
            }
        })
        .broad(),
    ]
}

fn switch_cell(visit: &Visit, channel: &ChannelView) -> Markup {
    let to = format!("/console/channels/{}/status", channel.id.0);
    html! {
        td.acts {
            @if channel.status == 1 {
                (action(visit, &format!("{to}?to=off"), visit.say("禁用", "Disable"), ""))
            } @else {
                (action(visit, &format!("{to}?to=on"), visit.say("启用", "Enable"), ""))
            }
        }
    }
}

/// A channel's name; that of its host where it has none.
pub(super) fn name(channel: &ChannelView) -> &str {
    if channel.name.is_empty() { host(channel) } else { &channel.name }
}

fn host(view: &ChannelView) -> &str {
    channel::host(&view.base_url)
}

/// How the last test went, and when.
pub(super) fn last_test(lang: Lang, channel: &ChannelView) -> Markup {
    let Some(test) = &channel.last_test else { return html! {} };
    let (kind, word) = match test.ok {
        true => ("on", show::duration_ms(test.time_ms)),
        false => ("bad", notes::code(lang, &test.error).to_owned()),
    };
    let model = tell!(lang, "模型 {}", "model {}", test.model);
    html! {
        span.small.last title=(model) {
            (parts::state(kind, &word)) span.muted.broad { " · " (show::ago(test.at)) }
        }
        " "
    }
}

/// Tests the upstream; the result replaces the last one.
fn test_button(visit: &Visit, id: i64, last: Markup) -> Markup {
    let to = format!("/console/channels/{id}/test");
    html! {
        form.inline method="post" action=(to) hx-post=(to) hx-target="this" hx-swap="outerHTML" {
            (last)
            (csrf(visit))
            button.quiet { (visit.say("测试", "Test")) }
        }
    }
}

/// `POST /console/channels/{id}/test`: one real call, free of charge.
pub(crate) async fn test(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let model = Some(visit.form.text("model")).filter(|model| !model.is_empty());
    let request = ProbeRequest {
        channel_id: ChannelId(id),
        model: model.map(str::to_owned),
        path: None,
        test_data: None,
    };
    let probed = channel::probe(&visit.state, &visit.actor, request).await;
    if visit.taste.is_part && visit.asked("row") == "1" {
        return test_in_row(&visit, ChannelId(id), probed).await;
    }
    if visit.taste.is_part {
        let is_below = visit.asked("shown") == "below";
        let (_, result) = shown(visit.lang(), probed, is_below)?;
        // On the channel's own page the form stays, with the model that was chosen.
        let part = match is_below {
            true => result,
            false => test_button(&visit, id, html! { (result) " " }),
        };
        return Ok(respond(StatusCode::OK, part));
    }
    let probe = probed?;
    let body = html! {
        (result(visit.lang(), &probe, true))
        div.buttons {
            a.button href={ "/console/channels/" (id) } { (visit.say("返回渠道", "To the channel")) }
        }
    };
    Ok(ShellPage::new(visit.say("测试结果", "Test result"), ENTRY).show(&visit, body))
}

/// The result for a page of tests, of a channel that can't be used as well.
async fn test_in_row(visit: &Visit, id: ChannelId, probed: Result<Probe, AdminError>) -> Handled {
    let lang = visit.lang();
    let (failed, shown) = shown(lang, probed, false)?;
    let channel = channel::get(&visit.state, id).await?;
    Ok(respond(StatusCode::OK, channel_tests::cell(lang, &channel, failed, &shown)))
}

/// Whether a test failed, and how it went, or why there was none.
fn shown(
    lang: Lang,
    probed: Result<Probe, AdminError>,
    is_open: bool,
) -> Result<(bool, Markup), AdminError> {
    Ok(match probed {
        Ok(probe) => (!probe.ok, result(lang, &probe, is_open)),
        Err(error) => (true, parts::state("bad", &Complaint::of(error, lang)?.words)),
    })
}

/// How a test went: state, status, time, what went wrong, and what the upstream said.
fn result(lang: Lang, probe: &Probe, is_open: bool) -> Markup {
    let (kind, word) = match probe.ok {
        true => ("on", lang.say("正常", "works")),
        false => ("bad", lang.say("失败", "failed")),
    };
    html! {
        span.probe {
            (parts::state(kind, word))
            span.muted.small {
                " "
                @if let Some(call) = &probe.call { span.mono { (call) } " · " }
                @if let Some(status) = probe.status { (status) " · " }
                (show::duration_ms(probe.time_ms))
                @if let Some(error) = probe.error {
                    " · " (notes::test_failure(lang, error, probe.detail.as_deref().unwrap_or("")))
                }
                @for (meter, count) in &probe.usage {
                    " · " (count) " " (formula::in_words(lang, meter))
                }
                @if let Some(ProbeCost { quota: Some(quota), calculation, .. }) = &probe.cost {
                    " · " span title=(formula::in_words(lang, calculation)) {
                        (show::money(*quota))
                    }
                }
            }
        }
        @if let Some(reply) = probe.reply.as_deref().filter(|reply| !reply.is_empty()) {
            details.numbers open[is_open] {
                summary { (lang.say("上游的应答", "What the upstream said")) }
                pre tabindex="0" role="region" aria-label=(lang.say("应答", "Reply")) { (reply) }
            }
        }
    }
}

/// `POST /console/channels/{id}/status?to=on|off`
pub(crate) async fn set_status(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let enabled = visit.asked("to") == "on";
    channel::set_status(&visit.state, &visit.actor, ChannelId(id), enabled).await?;
    let back = visit.back_to(&[ENTRY, &format!("{ENTRY}/{id}")]);
    Ok(switched(&visit, &back, enabled, &[id]))
}

/// `POST /console/channels/{id}/copy`
pub(crate) async fn copy(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let copy = channel::copy(&visit.state, &visit.actor, ChannelId(id)).await?;
    Ok(done(&format!("/console/channels/{}", copy.id.0), "created"))
}

/// `POST /console/channels/{id}/delete`
pub(crate) async fn delete(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    channel::delete(&visit.state, &visit.actor, ChannelId(id)).await?;
    Ok(done(&visit.back_to(&[ENTRY]), "deleted"))
}
