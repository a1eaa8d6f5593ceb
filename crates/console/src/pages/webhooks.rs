//! Webhooks: endpoints, and what was delivered to them. A secret is shown once.

use super::keys::{listed, new_of_user, owner_fact};
use super::{users, webhook_rotation};
use crate::columns::{Column, Columns};
use crate::folds::folds;
use crate::form::{Complaint, Form, Object};
use crate::lang::Lang;
use crate::once::{SentOnce, once, once_field};
use crate::parts::{
    self, FormField, FormFields, action, chosen, filters, on_or_off, pager, pager_with,
};
use crate::replaced::{ChangedMeanwhile, FieldTexts, FormSays, mark_of};
use crate::shell::{ShellPage, csrf};
use crate::unfit::empty_or_unfit;
use crate::visit::{Handled, Here, PageReply, Path, Visit, done, switched};
use crate::{notes, show};
use admin::AdminError;
use admin::ops::user;
use admin::ops::webhook::{self, DeliveryView, WebhookInput, WebhookShown, WebhookView};
use domain::UserId;
use maud::{Markup, html};
use std::collections::BTreeMap;

pub(super) const ENTRY: &str = "/console/webhooks";

/// `GET /console/webhooks`
pub(crate) async fn list(Here(visit): Here) -> Handled {
    let lang = visit.lang();
    let page =
        webhook::list(&visit.state, &visit.actor, &visit.query(), visit.page_request()?).await?;
    let names = match visit.is_admin() {
        true => {
            let owners = page.items.iter().map(|endpoint| endpoint.user_id);
            user::names(&visit.state, &visit.actor, owners).await?
        }
        false => BTreeMap::new(),
    };
    let of_user = users::of_user(&visit).await?;
    let states = [
        ("1", lang.say("启用", "On")),
        ("2", lang.say("禁用", "Off")),
        ("failing", lang.say("启用, 但投递失败", "On, and failing")),
    ];
    let new = new_of_user(&visit, "/console/webhooks/new").await?;
    let row = |endpoint: &WebhookView| {
        html! {
            tr {
                td.cut title=(endpoint.url) {
                    a href={ "/console/webhooks/" (endpoint.id) } { (endpoint.url) }
                }
                td { (on_or_off(lang, endpoint.status)) }
                @if visit.is_admin() {
                    td {
                        a href={ "/console/users/" (endpoint.user_id.0) } {
                            (names.get(&endpoint.user_id).map_or("?", String::as_str))
                        }
                    }
                }
                td.hide { @if endpoint.events.is_empty() { (lang.say("全部", "all")) }
                    @else { (endpoint.events.join(", ")) } }
                (last_cells(lang, endpoint))
                td.wrap.bad { (notes::code(lang, &endpoint.disabled_reason)) }
            }
        }
    };
    let body = html! {
        (filters(&visit, html! {
            (chosen(&visit, "status", lang.say("全部状态", "All states"), &states))
            (of_user)
        }))
        div #list {
            @if page.items.is_empty() {
                (empty_or_unfit(&visit, lang.say("回调在任务结束或余额不足时通知你的服务。",
                    "A webhook tells your service that a task has ended or a balance is low."),
                    new.as_deref().map(|new| (new, lang.say("新建回调", "Create a webhook")))))
            } @else {
                div.scroll {
                    (folds(lang, &html! { table {
                        thead { tr {
                            th { (lang.say("地址", "Address")) }
                            th { (lang.say("状态", "State")) }
                            @if visit.is_admin() { th.hide { (lang.say("用户", "User")) } }
                            th.hide { (lang.say("事件", "Events")) }
                            th.hide { (lang.say("最近投递", "Last delivery")) }
                            th.num.hide title=(lang.say("失败后等待重试的投递",
                                "deliveries that wait for another try")) {
                                (lang.say("重试中", "Failing"))
                            }
                            th.hide { (lang.say("停用原因", "Why it is off")) }
                        } }
                        tbody { @for endpoint in &page.items { (row(endpoint)) } }
                    } }))
                }
            }
            (pager(&visit, &page))
        }
    };
    let beside = html! {
        span.space {}
        @if let Some(new) = &new {
            a.button.primary href=(new) { (lang.say("新建回调", "New webhook")) }
        }
    };
    Ok(ShellPage::new(lang.say("回调", "Webhooks"), ENTRY).beside(beside).show(&visit, body))
}

/// Where the newest delivery stands, and since when; how many wait after a failure.
fn last_cells(lang: Lang, endpoint: &WebhookView) -> Markup {
    html! {
        td.hide {
            @match endpoint.last_delivery_state.as_deref().zip(endpoint.last_delivery_at) {
                Some((state, at)) => { (delivery_state(lang, state)) " " (show::ago(at)) }
                None => span.muted { (show::NOTHING) },
            }
        }
        td.num.hide.bad[endpoint.failing > 0] { (show::count(endpoint.failing)) }
    }
}

/// `GET /console/webhooks/{id}`
pub(crate) async fn show(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    let (state, actor, lang) = (&visit.state, &visit.actor, visit.lang());
    let endpoint = webhook::get(state, actor, id).await?;
    let reaches = is_reached(&visit, endpoint.user_id).await?;
    let is_there = user::deleted(state, [endpoint.user_id]).await?.is_empty();
    let owner = owner_fact(&visit, endpoint.user_id).await?;
    let page = visit.page_request()?;
    let deliveries = webhook::deliveries(state, actor, id, &visit.query(), page).await?;
    let columns = delivery_columns(&visit, reaches);
    let states = [
        ("pending", lang.say("待投递", "Pending")),
        ("delivered", lang.say("已送达", "Delivered")),
        ("failed", lang.say("已放弃", "Given up")),
    ];
    let body = html! {
        dl.facts {
            (owner)
            dt { (lang.say("地址", "Address")) } dd.mono.break { (endpoint.url) }
            dt { (lang.say("状态", "State")) }
            dd { (on_or_off(lang, endpoint.status))
                @if !endpoint.disabled_reason.is_empty() {
                    span.bad { " · " (notes::code(lang, &endpoint.disabled_reason)) } } }
            dt { (lang.say("事件", "Events")) }
            dd { @if endpoint.events.is_empty() { (lang.say("全部", "all")) }
                @else { (endpoint.events.join(", ")) } }
        }
        (webhook_rotation::old_note(&visit, &endpoint, reaches))
        h2.sec { (lang.say("投递", "Deliveries")) }
        (filters(&visit, chosen(&visit, "state", lang.say("全部状态", "All states"), &states)))
        div #list {
            @if deliveries.items.is_empty() {
                (empty_or_unfit(
                    &visit, lang.say("还没有投递。", "Nothing was delivered yet."), None
                ))
            } @else { (delivery_rows(&columns, &deliveries.items)) }
            (pager_with(&visit, &deliveries, &columns.menu()))
        }
    };
    let beside = html! {
        span.muted { "#" (id) }
        span.space {}
        @if reaches { (buttons(&visit, &endpoint, is_there)) }
    };
    Ok(ShellPage::new(lang.say("回调", "Webhook"), ENTRY).beside(beside).show(&visit, body))
}

/// What can be done with a webhook. That of a deleted user gets no new secret, and is not enabled.
fn buttons(visit: &Visit, endpoint: &WebhookView, is_there: bool) -> Markup {
    let (lang, to) = (visit.lang(), format!("/console/webhooks/{}", endpoint.id));
    html! {
        a.button href={ (to) "/edit" } { (lang.say("编辑", "Edit")) }
        @if endpoint.status == 1 {
            (action(visit, &format!("{to}/test"), lang.say("发送测试", "Send a test"), ""))
            (action(visit, &format!("{to}/status?to=off"), lang.say("禁用", "Disable"), ""))
        } @else if is_there {
            (action(visit, &format!("{to}/status?to=on"), lang.say("启用", "Enable"), ""))
        }
        @if is_there {
            a.button href={ (to) "/rotate" } { (lang.say("更换密钥", "Rotate the secret")) }
        }
        (action(visit, &format!("{to}/delete"), lang.say("删除", "Delete"),
            lang.say("删除这个回调? 未送达的通知也会放弃。", "Delete this webhook? What is pending is given up.")))
    }
}

/// Whether the reader may change the webhooks of this user, and send them again.
pub(super) async fn is_reached(visit: &Visit, owner: UserId) -> Result<bool, AdminError> {
    Ok(user::out_of_reach(&visit.state, &visit.actor, [owner]).await?.is_empty())
}

type DeliveryColumn<'a> = Column<'a, DeliveryView>;

fn delivery_columns(visit: &Visit, reaches: bool) -> Columns<'_, DeliveryView> {
    let lang = visit.lang();
    let all = vec![
        DeliveryColumn::thing(lang.say("时间", "Time"), |delivery| {
            html! { td { (show::at(delivery.created_at)) } }
        }),
        DeliveryColumn::new("event", lang.say("事件", "Event"), |delivery| {
            html! { td { (delivery.event) } }
        }),
        DeliveryColumn::new("state", lang.say("状态", "State"), move |delivery| {
            html! { td { (delivery_state(lang, &delivery.state)) } }
        }),
        DeliveryColumn::new("tries", lang.say("次数", "Tries"), |delivery| {
            show::count_cell(delivery.attempts)
        })
        .number()
        .wide(),
        DeliveryColumn::new("status", lang.say("状态码", "Status"), |delivery| {
            html! { td.num { @match delivery.last_status {
                Some(status) => (status),
                None => (show::NOTHING),
            } } }
        })
        .number()
        .wide(),
        DeliveryColumn::new("error", lang.say("错误", "Error"), move |delivery| {
            html! { td { (notes::code(lang, &delivery.last_error)) } }
        })
        .wide(),
        DeliveryColumn::new("next", lang.say("下次", "Next"), |delivery| {
            html! { td { (show::ago(delivery.due_at.unwrap_or(0))) } }
        })
        .wide(),
        DeliveryColumn::tool(parts::acts_head(lang), move |delivery| {
            let to = format!("/console/deliveries/{}/again", delivery.id);
            html! {
                td.acts { @if reaches {
                    (action(visit, &to, lang.say("重新投递", "Deliver again"), ""))
                } }
            }
        }),
    ];
    Columns::of(visit, "deliveries", all)
}

/// The deliveries of a task.
pub(super) fn deliveries_table(
    visit: &Visit,
    deliveries: &[DeliveryView],
    reaches: bool,
) -> Markup {
    let columns = delivery_columns(visit, reaches);
    html! { (delivery_rows(&columns, deliveries)) div.below { (columns.menu()) } }
}

fn delivery_rows(columns: &Columns<'_, DeliveryView>, deliveries: &[DeliveryView]) -> Markup {
    columns.table(&html! { tbody { @for delivery in deliveries {
        tr { (columns.cells(delivery)) }
    } } })
}

fn delivery_state(lang: Lang, state: &str) -> Markup {
    match state {
        "delivered" => parts::state("on", lang.say("已送达", "delivered")),
        "failed" => parts::state("bad", lang.say("已放弃", "given up")),
        _ => parts::state("wait", lang.say("待投递", "pending")),
    }
}

/// `GET /console/webhooks/new`
pub(crate) async fn new(Here(visit): Here) -> Handled {
    page(&visit, None, &FormSays::Nothing).await
}

/// `POST /console/webhooks/new`: returns the secret, which is shown only once.
pub(crate) async fn create(Here(visit): Here) -> Handled {
    let page_of = |shown: &WebhookShown| format!("{ENTRY}/{}", shown.endpoint.id);
    match once(&visit, created(&visit), page_of).await {
        Ok(SentOnce::Made(shown)) => Ok(secret(&visit, &shown, &html! {})),
        Ok(SentOnce::Before(to)) => Ok(done(&to, "made-before")),
        Err(error) => {
            let complaint = Complaint::of(error, visit.lang())?;
            page(&visit, None, &FormSays::Complaint(complaint)).await
        }
    }
}

async fn created(visit: &Visit) -> Result<WebhookShown, AdminError> {
    let mut object = object(visit);
    if let Some(owner) = users::named_owner(visit).await? {
        object = object.put("user_id", owner.0);
    }
    let input = WebhookInput::read(object.fields()?)?;
    webhook::create(&visit.state, &visit.actor, input).await
}

fn object(visit: &Visit) -> Object {
    let object = Object::default().put("events", events_of(&visit.form));
    // The address of submissions is that of each of them.
    match visit.form.ticked("url") {
        true => object.put("url", visit.form.text("url")),
        false => object,
    }
}

/// The events that are ticked, or listed; none where all are meant.
fn events_of(form: &Form) -> Vec<String> {
    form.all("events").flat_map(listed).collect()
}

/// What a webhook may be told of.
fn event_words(lang: Lang) -> [(&'static str, &'static str); 3] {
    [
        ("task.completed", lang.say("任务完成", "a task has ended well")),
        ("task.failed", lang.say("任务失败", "a task has failed")),
        ("balance.low", lang.say("余额低于提醒值", "the balance is below its threshold")),
    ]
}

/// One box an event; none ticked means all of them.
fn event_fields(lang: Lang, fields: &FormFields<'_>, now: &[String]) -> Markup {
    let typed = events_of(fields.form);
    let ticked = if fields.is_typed { &typed[..] } else { now };
    let wrong = fields.complaint.filter(|complaint| complaint.field == "events");
    html! {
        fieldset #f-events {
            legend { (lang.say("事件", "Events")) }
            div.field.ticks {
                @for (event, words) in event_words(lang) {
                    label {
                        input type="checkbox" name="events" value=(event)
                            checked[ticked.iter().any(|it| it == event)];
                        " " (words) " " span.mono.muted.small { (event) }
                    }
                }
            }
            @if let Some(complaint) = wrong { p.hint.bad { (complaint.words) } }
            p.hint { (lang.say("都不选: 全部, 也包括以后新增的", "none ticked: all, also those that are \
                new one day")) }
        }
    }
}

/// `GET /console/webhooks/{id}/edit`
pub(crate) async fn edit(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    let endpoint = webhook::get(&visit.state, &visit.actor, id).await?;
    // A form that can't be sent is not opened.
    user::require_reach(&visit.state, &visit.actor, endpoint.user_id).await?;
    page(&visit, Some(&endpoint), &FormSays::Nothing).await
}

/// `POST /console/webhooks/{id}/edit`
pub(crate) async fn save(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    let endpoint = webhook::get(&visit.state, &visit.actor, id).await?;
    let says = match saved(&visit, &endpoint).await {
        Ok(None) => return Ok(done(&format!("/console/webhooks/{id}"), "saved")),
        Ok(Some(changed)) => FormSays::Replaces(changed),
        Err(error) => FormSays::Complaint(Complaint::of(error, visit.lang())?),
    };
    page(&visit, Some(&endpoint), &says).await
}

/// Saves it; or returns what others have changed since the form was opened.
async fn saved(
    visit: &Visit,
    endpoint: &WebhookView,
) -> Result<Option<ChangedMeanwhile>, AdminError> {
    let input = WebhookInput::read(object(visit).fields()?)?;
    let form = &visit.form;
    let typed = |name| match name {
        "events" => Some(events_of(form).join(", ")),
        name => form.ticked(name).then(|| form.text(name).to_owned()),
    };
    let changed = ChangedMeanwhile::unseen(form, &texts(endpoint), typed);
    if changed.is_none() {
        webhook::update(&visit.state, &visit.actor, endpoint.id, input).await?;
    }
    Ok(changed)
}

/// The fields of a webhook that the form replaces.
fn texts(endpoint: &WebhookView) -> FieldTexts {
    vec![("url", endpoint.url.clone()), ("events", endpoint.events.join(", "))]
}

async fn page(
    visit: &Visit,
    endpoint: Option<&WebhookView>,
    says: &FormSays<ChangedMeanwhile>,
) -> Handled {
    let lang = visit.lang();
    let fields = says.fields(lang, &visit.form);
    let here = endpoint.map(|endpoint| format!("{ENTRY}/{}", endpoint.id));
    let action = here.as_ref().map_or_else(|| format!("{ENTRY}/new"), |to| format!("{to}/edit"));
    let now = endpoint.map(|endpoint| mark_of(&texts(endpoint))).unwrap_or_default();
    let has_url = endpoint.is_none_or(|endpoint| !endpoint.url.is_empty());
    let names_owner = visit.is_admin() && endpoint.is_none();
    let body = html! {
        form.form method="post" action=(action) {
            (csrf(visit))
            @if endpoint.is_some() {
                input type="hidden" name="opened" value=(says.opened(&visit.form, &now));
            } @else { (once_field(visit)) }
            (parts::complaint(lang, says.complaint()))
            @if let FormSays::Replaces(changed) = says { (changed.note(lang)) }
            @if names_owner {
                (users::suggestions(visit).await?)
                (users::owner_field(visit, &fields))
            }
            @if has_url {
                (fields.field(FormField::new("url", lang.say("地址", "Address"))
                    .required()
                    .kind("url")
                    .value(endpoint.map_or("", |endpoint| &endpoint.url))
                    .hint(lang.say("接收 POST 的地址", "where the POST goes"))))
            }
            (event_fields(lang, &fields, endpoint.map_or(&[], |endpoint| &endpoint.events)))
            div.buttons {
                button.primary { (match endpoint {
                    Some(_) => lang.say("保存", "Save"),
                    None => lang.say("创建回调", "Create webhook"),
                }) }
                a.button href=(here.as_deref().unwrap_or(ENTRY)) { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let title = match endpoint {
        Some(_) => lang.say("编辑回调", "Edit a webhook"),
        None => lang.say("新建回调", "New webhook"),
    };
    Ok(says.show(visit, ShellPage::new(title, ENTRY), body))
}

/// Shows the secret of a new webhook, or a new one; `more` is said below it.
pub(super) fn secret(visit: &Visit, shown: &WebhookShown, more: &Markup) -> PageReply {
    let lang = visit.lang();
    let body = html! {
        p.note {
            (lang.say("密钥只显示这一次, 用来校验签名。",
                "This is the only time the secret is shown: signatures are checked with it."))
        }
        div.secret {
            code.mono #new-secret { (shown.secret.expose()) }
            button type="button" data-copy="new-secret" { (lang.say("复制", "Copy")) }
        }
        (more)
        div.buttons {
            a.button.primary href={ "/console/webhooks/" (shown.endpoint.id) } {
                (lang.say("已保存", "I have it"))
            }
        }
    };
    ShellPage::new(lang.say("回调密钥", "Secret of the webhook"), ENTRY).show(visit, body)
}

/// `POST /console/webhooks/{id}/test`
pub(crate) async fn test(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    webhook::test(&visit.state, &visit.actor, id).await?;
    Ok(done(&format!("/console/webhooks/{id}"), "tested"))
}

/// `POST /console/webhooks/{id}/status?to=on|off`
pub(crate) async fn set_status(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    let enabled = visit.asked("to") == "on";
    webhook::set_status(&visit.state, &visit.actor, id, enabled).await?;
    Ok(switched(&visit, &format!("/console/webhooks/{id}"), enabled, &[id]))
}

/// `POST /console/webhooks/{id}/delete`
pub(crate) async fn delete(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    webhook::delete(&visit.state, &visit.actor, id).await?;
    Ok(done(ENTRY, "deleted"))
}

/// `POST /console/deliveries/{id}/again`
pub(crate) async fn again(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    let delivery = webhook::redeliver(&visit.state, &visit.actor, id).await?;
    Ok(done(&format!("/console/webhooks/{}", delivery.endpoint_id), "sent"))
}
