//! The pages, one file a subject, and the addresses they have.

mod account;
mod adjust;
mod api;
mod audit;
mod batch;
mod channel_batch;
mod channel_form;
mod channel_live;
mod channel_models;
mod channel_page;
mod channel_reach;
mod channel_tests;
mod channels;
mod codes;
mod doctor;
mod events;
mod explain;
pub(crate) mod find;
mod groups;
mod guide;
mod home;
mod key_rotation;
mod keys;
mod large_moves;
mod log;
mod login;
mod needs;
mod notice;
mod overview;
mod period;
mod play;
mod price_dollars;
mod price_form;
mod price_paste;
mod price_schedule;
mod prices;
mod protocols;
mod recent;
mod settings;
mod statements;
mod task_batch;
mod task_decision;
mod tasks;
mod usage;
mod user_form;
mod users;
mod webhook_rotation;
mod webhooks;

use crate::lang::Lang;
use crate::shell::{self, ShellPage};
use crate::visit::{Handled, Here, PageReply, Taste, Visit, go_to, html as respond};
use crate::{column_choice, parts};
use admin::{AdminError, AdminState};
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use domain::{Fault, FaultKind};
use http::header::RETRY_AFTER;
use http::{HeaderValue, Method, StatusCode, Uri};
use maud::html;

/// Pages of those who are logged in.
pub(crate) fn inside() -> Router<AdminState> {
    Router::new()
        .route("/console", get(front))
        .route("/console/setup", get(guide::show))
        .route("/console/find", get(find::show))
        .route("/console/session", get(login::session))
        .route("/console/logout", post(login::leave))
        .route("/console/columns", post(column_choice::choose))
        .route("/console/log", get(log::list))
        .route("/console/log/export", get(log::export))
        .route("/console/explain", get(explain::search))
        .route("/console/explain/{id}", get(explain::show))
        .merge(of_users())
        .merge(of_keys())
        .merge(of_channels())
        .merge(of_protocols())
        .merge(of_prices())
        .merge(of_codes())
        .merge(of_calls())
        .merge(of_system())
}

fn of_users() -> Router<AdminState> {
    Router::new()
        .route("/console/users", get(users::list))
        .route("/console/users/batch", get(batch::leave).post(users::change_many))
        .route("/console/users/new", get(user_form::new).post(user_form::create))
        .route("/console/users/{id}", get(users::show))
        .route("/console/users/{id}/edit", get(user_form::edit).post(user_form::save))
        .route("/console/users/{id}/adjust", get(adjust::show).post(adjust::save))
        .route("/console/users/{id}/status", post(user_form::set_status))
        .route("/console/users/{id}/sessions/{session}/end", post(user_form::end_session))
        .route("/console/users/{id}/token", post(user_form::token))
        .route("/console/users/{id}/delete", post(user_form::delete))
}

fn of_keys() -> Router<AdminState> {
    Router::new()
        .route("/console/keys", get(keys::list))
        .route("/console/keys/batch", get(batch::leave).post(keys::change_many))
        .route("/console/keys/new", get(keys::new).post(keys::create))
        .route("/console/keys/{id}/edit", get(keys::edit).post(keys::save))
        .route("/console/keys/{id}/rotate", get(key_rotation::form).post(key_rotation::rotate))
        .route("/console/keys/{id}/end-old", post(key_rotation::end_old))
        .route("/console/keys/{id}/status", post(keys::set_status))
        .route("/console/keys/{id}/delete", post(keys::delete))
}

fn of_channels() -> Router<AdminState> {
    Router::new()
        .route("/console/channels", get(channels::list))
        .route("/console/channels/new", get(channel_form::new).post(channel_form::create))
        .route("/console/channels/batch", get(channel_batch::show).post(channel_batch::change))
        .route("/console/channels/test", post(channel_tests::run))
        .route("/console/channels/{id}", get(channel_page::show))
        .route("/console/channels/new/check", post(channel_form::check_new))
        .route("/console/channels/{id}/check", post(channel_form::check))
        .route("/console/channels/{id}/edit", get(channel_form::edit).post(channel_form::save))
        .route("/console/channels/{id}/test", post(channels::test))
        .route("/console/channels/{id}/models", post(channel_models::ask))
        .route("/console/channels/{id}/status", post(channels::set_status))
        .route("/console/channels/{id}/copy", post(channels::copy))
        .route("/console/channels/{id}/delete", post(channels::delete))
}

fn of_protocols() -> Router<AdminState> {
    Router::new()
        .route("/console/protocols", get(protocols::list))
        .route("/console/protocols/view", get(protocols::view))
        .route("/console/protocols/edit", get(protocols::edit).post(protocols::save))
        .route("/console/protocols/check", post(protocols::check))
        .route("/console/protocols/try", post(protocols::try_out))
        .route("/console/protocols/delete", post(protocols::delete))
}

fn of_prices() -> Router<AdminState> {
    Router::new()
        .route("/console/prices", get(prices::list))
        .route("/console/prices/edit", get(price_form::edit).post(price_form::save))
        .route("/console/prices/preview", post(price_form::preview))
        .route("/console/prices/paste", get(price_paste::show).post(price_paste::save))
        .route("/console/prices/delete", post(prices::delete))
        .route("/console/groups", get(groups::list).post(groups::save))
        .route("/console/groups/delete", post(groups::delete))
}

fn of_codes() -> Router<AdminState> {
    Router::new()
        .route("/console/codes", get(codes::list))
        .route("/console/codes/batch", get(batch::leave).post(codes::change_many))
        .route("/console/codes/lot", get(codes::leave_lot).post(codes::disable_lot))
        .route("/console/codes/new", get(codes::new).post(codes::create))
        .route("/console/codes/{id}/status", post(codes::set_status))
        .route("/console/codes/{id}/delete", post(codes::delete))
        .route("/console/redeem", get(codes::redeem_form).post(codes::redeem))
}

fn of_calls() -> Router<AdminState> {
    Router::new()
        .route("/console/tasks", get(tasks::list))
        .route("/console/tasks/batch", get(batch::leave).post(task_batch::decide))
        .route("/console/tasks/{id}", get(tasks::show))
        .route("/console/tasks/{id}/decide", get(task_decision::show).post(task_decision::decide))
        .route("/console/tasks/{id}/reply", get(tasks::leave_reply).post(tasks::read_reply))
        .route("/console/events", get(events::follow))
        .route("/console/usage", get(usage::show))
        .route("/console/api", get(api::show))
        .route("/console/api/try", get(api::attempt_call))
        .route("/console/play", get(play::show))
        .route("/console/play/key", post(play::make_key))
        .route("/console/play/cost/{id}", get(play::cost))
        .route("/console/webhooks", get(webhooks::list))
        .route("/console/webhooks/new", get(webhooks::new).post(webhooks::create))
        .route("/console/webhooks/{id}", get(webhooks::show))
        .route("/console/webhooks/{id}/edit", get(webhooks::edit).post(webhooks::save))
        .route(
            "/console/webhooks/{id}/rotate",
            get(webhook_rotation::form).post(webhook_rotation::rotate),
        )
        .route("/console/webhooks/{id}/end-old", post(webhook_rotation::end_old))
        .route("/console/webhooks/{id}/test", post(webhooks::test))
        .route("/console/webhooks/{id}/status", post(webhooks::set_status))
        .route("/console/webhooks/{id}/delete", post(webhooks::delete))
        .route("/console/deliveries/{id}/again", post(webhooks::again))
}

fn of_system() -> Router<AdminState> {
    Router::new()
        .route("/console/audit", get(audit::show))
        .route("/console/audit/run", post(audit::run))
        .route("/console/doctor", get(doctor::show).post(doctor::reach_out))
        .route("/console/actions", get(audit::actions))
        .route("/console/notice", get(notice::show).post(notice::save))
        .route("/console/settings", get(settings::list))
        .route("/console/settings/edit", get(settings::edit).post(settings::save))
        .route("/console/statements", get(statements::show))
        .route("/console/account", get(account::show))
        .route("/console/account/password", post(account::password))
        .route("/console/account/name", post(account::name))
        .route("/console/account/low-balance", post(account::low_balance))
        .route("/console/account/token", post(account::token))
        .route("/console/account/sessions/{id}/end", post(account::end_session))
}

/// Pages that need no session.
pub(crate) fn open() -> Router<AdminState> {
    Router::new()
        .route("/console/login", get(login::show).post(login::enter))
        .route("/console/preferences", post(login::prefer))
}

async fn front(State(_): State<AdminState>, here: Here) -> Handled {
    if here.0.is_admin() { overview::show(here).await } else { home::show(here).await }
}

/// `/console/log/` is `/console/log`.
pub(crate) async fn unknown(method: Method, uri: Uri) -> Handled {
    let bare = uri.path().trim_end_matches('/');
    if method == Method::GET && bare.len() < uri.path().len() && bare.starts_with("/console") {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        return Ok(go_to(&format!("{bare}{query}")));
    }
    Err(Fault::new(FaultKind::NotFound, "没有这个页面", "no such page").into())
}

/// A page that only answers a form, asked for by its address: after a reload, or from a bookmark.
pub(crate) async fn only_a_form() -> Handled {
    let fault = Fault::new(
        FaultKind::MethodNotAllowed,
        "这个页面是对一次提交的应答, 不能单独打开",
        "this page answers a form, and can't be opened by its address",
    );
    Err(fault.into())
}

/// Refuses users who are no administrators.
fn for_admins(visit: &Visit) -> Result<(), AdminError> {
    visit.actor.require_admin()
}

/// What went wrong, in the reader's language and shell.
pub(crate) fn problem(visit: Option<&Visit>, taste: Taste, fault: &Fault) -> PageReply {
    let status = web::show(fault.kind).status;
    if status.is_server_error() {
        tracing::error!(
            target: "custompass",
            event = "console_error",
            error = %fault.en,
            cause = %fault.cause_chain(),
        );
    }
    let words = in_labels(visit, taste.lang, taste.lang.say(&fault.zh, &fault.en));
    let mut response = if taste.is_part {
        problem_part(status, &words)
    } else {
        problem_page(visit, taste, (status, &words))
    };
    if let Some(seconds) = fault.retry_after_s {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The words, with the label of the parameter of this address that they are about for its name.
fn in_labels(visit: Option<&Visit>, lang: Lang, words: &str) -> String {
    let about = words.split_once(": ").filter(|(name, _)| {
        visit.is_some_and(|visit| visit.asked.iter().any(|(asked, _)| asked == name))
    });
    match about {
        Some((name, rest)) => format!("{}: {rest}", parts::field_label(lang, name)),
        None => words.to_owned(),
    }
}

/// The same in a line, for the part of a page that was asked for: whatever would be taken of the
/// answer, and whatever it would have replaced, the line stands in its place.
fn problem_part(status: StatusCode, words: &str) -> PageReply {
    let mut response = respond(status, html! { p.complaint role="alert" { (words) } });
    let headers = response.headers_mut();
    headers.insert("hx-reselect", HeaderValue::from_static(".complaint"));
    headers.insert("hx-reswap", HeaderValue::from_static("innerHTML"));
    headers.insert("hx-push-url", HeaderValue::from_static("false"));
    response
}

fn problem_page(
    visit: Option<&Visit>,
    taste: Taste,
    (status, words): (StatusCode, &str),
) -> PageReply {
    let from = visit.and_then(|visit| {
        let from = visit.came_from.as_deref();
        let from = from.filter(|from| from.split('?').next() != Some(visit.path.as_str()));
        // What only answers a form is below the page that has it.
        let is_answer = status == StatusCode::METHOD_NOT_ALLOWED;
        let parent = visit.path.rsplit_once('/').map(|(parent, _)| parent);
        from.or(parent.filter(|_| is_answer))
    });
    let body = html! {
        p.complaint role="alert" { (words) }
        div.buttons {
            @if let Some(from) = from {
                a.button.primary href=(from) { (taste.lang.say("返回", "Back")) }
            }
            a.button href="/console" { (taste.lang.say("回到首页", "To the start")) }
        }
    };
    let title = match status {
        StatusCode::NOT_FOUND => taste.lang.say("没有找到", "Not found"),
        StatusCode::FORBIDDEN => taste.lang.say("没有权限", "Not allowed"),
        _ if status.is_server_error() => taste.lang.say("暂时不可用", "Not available"),
        _ => taste.lang.say("请求有误", "This can't be done"),
    };
    match visit {
        Some(visit) => ShellPage::new(title, "").status(status).show(visit, body),
        None => {
            let content = html! { h1 { (title) } (body) };
            shell::bare(taste, status, title, content)
        }
    }
}
