//! Coming in, going out, and how pages look.

use crate::form::{Complaint, Form};
use crate::gate::{self, TASTE_SECONDS};
use crate::lang::Lang;
use crate::parts;
use crate::shell;
use crate::visit::{Handled, Here, PageReply, Taste, Theme, go_to, is_page, page_of, step};
use admin::ops::own_account;
use admin::ops::session::{self, LoggedIn, LoginClient};
use admin::{AdminError, AdminState, BodyShare, session_cookie};
use axum::Extension;
use axum::extract::{Request, State};
use http::header::{CONTENT_TYPE, REFERER, RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use maud::html;
use serde_json::json;
use std::collections::HashMap;
use store::Secret;

const LOGIN: &str = "/console/login";

/// `GET /console/login`
pub(crate) async fn show(Extension(taste): Extension<Taste>, uri: Uri) -> PageReply {
    let asked = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned();
    let asked: HashMap<String, String> = asked.collect();
    let next = inside(asked.get("next").map_or("", String::as_str));
    let ended = asked.contains_key("sent").then(|| Complaint {
        field: String::new(),
        words: taste
            .lang
            .say(
                "登录已失效, 刚才提交的内容没有执行: 请重新登录后再次提交",
                "the session has ended, and what was sent was not carried out: log in, and send \
                 it again",
            )
            .to_owned(),
    });
    page(taste, StatusCode::OK, ("", &next), ended.as_ref())
}

/// `POST /console/login`
pub(crate) async fn enter(
    State(state): State<AdminState>,
    Extension(taste): Extension<Taste>,
    request: Request,
) -> Handled {
    let (parts, body) = request.into_parts();
    let peer = gate::peer(&parts.extensions)?;
    let form = Form::read(body, &BodyShare::of_nameless(&state.budget)).await?;
    let client = LoginClient::new(state.logins.client(peer, &parts.headers), &parts.headers);
    let secure = state.logins.over_https(peer, &parts.headers);
    let (name, next) = (form.text("username").to_owned(), inside(form.text("next")));
    // A password may begin or end with a blank.
    let password = form.all("password").next().unwrap_or_default().to_owned();
    let job = {
        let (state, name) = (state.clone(), name.clone());
        async move { session::login(&state, &client, &name, Secret::new(password)).await }
    };
    // A login goes to its end, also when the browser does not wait for it.
    let done = state.jobs.spawn(job).await;
    let done = done.map_err(|error| AdminError::System(error.to_string()))?;
    match done {
        Ok(LoggedIn { token, .. }) => {
            let mut response = go_to(&next);
            let cookie = session_cookie::set(token.expose(), secure)?;
            response.headers_mut().insert(SET_COOKIE, cookie);
            Ok(response)
        }
        Err(error) => {
            let (status, wait) = match &error {
                AdminError::TooMany { retry_after_s } => {
                    (StatusCode::TOO_MANY_REQUESTS, Some(*retry_after_s))
                }
                _ => (StatusCode::UNPROCESSABLE_ENTITY, None),
            };
            let complaint = Complaint::of(error, taste.lang)?;
            let mut response = page(taste, status, (&name, &next), Some(&complaint));
            if let Some(seconds) = wait {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            Ok(response)
        }
    }
}

/// An address of the console, or its front page: no login leads elsewhere.
fn inside(next: &str) -> String {
    if is_page(next) { next.to_owned() } else { "/console".to_owned() }
}

fn page(
    taste: Taste,
    status: StatusCode,
    (name, next): (&str, &str),
    complaint: Option<&Complaint>,
) -> PageReply {
    let lang = taste.lang;
    let content = html! {
        h1 { "newapi" }
        p.muted { (lang.say("登录控制台", "Log in to the console")) }
        form.form method="post" action="/console/login" {
            (parts::complaint(lang, complaint))
            input type="hidden" name="next" value=(next);
            div.field {
                label for="username" { (lang.say("用户名", "User name")) }
                input #username name="username" value=(name) required autocomplete="username"
                    autofocus[name.is_empty()];
            }
            div.field {
                label for="password" { (lang.say("密码", "Password")) }
                input #password name="password" type="password" required
                    autocomplete="current-password" autofocus[!name.is_empty()];
            }
            button.primary { (lang.say("登录", "Log in")) }
        }
        (shell::tastes(taste, &format!("{LOGIN}?next={}", step(next))))
    };
    shell::bare(taste, status, lang.say("登录", "Log in"), content)
}

/// `GET /console/session`: whose session the browser has now, and the token of its forms, for a
/// page that was open while it changed.
pub(crate) async fn session(Here(visit): Here) -> Handled {
    let session = json!({ "user_id": visit.actor.user_id.0, "csrf": visit.session.csrf });
    let mut reply = PageReply::new(session.to_string().into());
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(reply)
}

/// `POST /console/logout`
pub(crate) async fn leave(State(state): State<AdminState>, Here(visit): Here) -> Handled {
    session::logout(&state, &visit.session.hash).await?;
    let mut response = go_to("/console/login");
    response.headers_mut().insert(SET_COOKIE, session_cookie::clear());
    Ok(response)
}

/// `POST /console/preferences`: kept in cookies of this browser, and the language also with the
/// account of who is logged in.
pub(crate) async fn prefer(State(state): State<AdminState>, request: Request) -> Handled {
    let (parts, body) = request.into_parts();
    let form = Form::read(body, &BodyShare::of_nameless(&state.budget)).await?;
    let back = back(form.text("back"), &parts.headers);
    let lang = Lang::from_code(form.text("lang"));
    if let Some(lang) = lang {
        keep_language(&state, &parts.headers, lang).await?;
    }
    let mut response = go_to(&back);
    let lang = lang.map(|lang| ("newapi_lang", lang.code()));
    let theme = Theme::from_code(form.text("theme")).map(|theme| ("newapi_theme", theme.code()));
    let guide = (form.text("guide") == "off").then_some(("newapi_guide", "off"));
    for (name, code) in lang.into_iter().chain(theme).chain(guide) {
        let cookie = format!(
            "{name}={code}; Path=/console; HttpOnly; SameSite=Lax; Max-Age={TASTE_SECONDS}"
        );
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
    Ok(response)
}

/// Stores the language with the account. No token guards it: the gate refuses requests of other
/// sites, and it changes nothing but how pages look.
async fn keep_language(
    state: &AdminState,
    headers: &HeaderMap,
    lang: Lang,
) -> Result<(), AdminError> {
    let Some(token) = session_cookie::read(headers) else { return Ok(()) };
    if let Some(active) = session::find(state, &store::key_hash(token)).await? {
        own_account::set_language(state, &active.actor, Some(lang.code())).await?;
    }
    Ok(())
}

/// The page that the reader was on, as it says itself, or as the browser does: filters change its
/// address after it was sent.
fn back(said: &str, headers: &HeaderMap) -> String {
    if let Some(next) = said.strip_prefix(LOGIN) {
        let next = next.strip_prefix("?next=").filter(|next| is_step(next));
        return next.map_or(LOGIN.to_owned(), |next| format!("{LOGIN}?next={next}"));
    }
    let path = |address: &str| address.split('?').next().map(str::to_owned);
    let shown = headers.get(REFERER).and_then(|from| from.to_str().ok()?.parse::<Uri>().ok());
    let shown = shown.as_ref().and_then(page_of).filter(|shown| path(shown) == path(said));
    shown.unwrap_or_else(|| inside(said))
}

/// Whether this may be a value in an address.
fn is_step(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_into_the_console_alone() {
        for next in ["/console", "/console/log?user_id=2", "/console?range=7d"] {
            assert_eq!(inside(next), next);
        }
        for next in [
            "",
            "//evil.example",
            "/consolex",
            "https://evil.example/console",
            "/console/login",
            "/console/\\evil",
            "/console/a b",
            "/console/logout",
            "/api/user",
        ] {
            assert_eq!(inside(next), "/console", "{next}");
        }
    }
}
