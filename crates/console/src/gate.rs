//! What every request of the console goes through: who asks, whether a write is theirs, and the
//! headers of an answer.

use crate::column_choice::{COLUMNS, ColumnChoice};
use crate::form::Form;
use crate::lang::Lang;
use crate::once::SentForms;
use crate::pages;
use crate::parts;
use crate::parts::PAGE_SIZES;
use crate::visit::{FormProblem, PageReply, Session, Taste, Theme, Visit, go_to, page_of, step};
use admin::ops::log::balance::{self, RecentMovement};
use admin::ops::session;
use admin::{Actor, AdminError, AdminState, BodyShare, check_site, foreign_site, session_cookie};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use domain::{Fault, FaultKind, UserId};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, REFERER, REFERRER_POLICY, SET_COOKIE,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use std::net::SocketAddr;
use std::sync::Arc;

/// Nothing inline, nothing from another host.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; \
     frame-ancestors 'none'; base-uri 'none'";
const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");
/// The header that htmx adds to its requests,
const HX_REQUEST: HeaderName = HeaderName::from_static("hx-request");
/// the one it adds when it wants a whole page, for the browser's button "back",
const HX_HISTORY: HeaderName = HeaderName::from_static("hx-history-restore-request");
/// the one that says which page it asks from,
const HX_CURRENT_URL: HeaderName = HeaderName::from_static("hx-current-url");
/// and the one of answers by which it leaves that page.
const HX_REDIRECT: HeaderName = HeaderName::from_static("hx-redirect");
/// How many rows lists have, in this browser.
const ROWS: &str = "newapi_rows";
/// A year.
pub(crate) const TASTE_SECONDS: u32 = 31_536_000;
/// What pages add to requests that nobody made: they ask again by themselves.
const BACKGROUND: HeaderName = HeaderName::from_static("x-background");

/// Adds the security policy to every response.
pub(crate) async fn guard(request: Request, next: Next) -> PageReply {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    // Pages contain financial data of a single user: they must not be cached.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.append(VARY, HeaderValue::from_static("hx-request, cookie, accept-language"));
    response
}

/// Pages of those who are logged in. Others are led to the login.
pub(crate) async fn enter(
    State(state): State<AdminState>,
    request: Request,
    next: Next,
) -> PageReply {
    let taste = taste(request.headers());
    let is_background = is_background(request.uri(), request.headers());
    let visit = match visit(&state, taste, request).await {
        Ok(Entered::As(visit, request)) => (visit, request),
        Ok(Entered::Anonymous(away)) => return away,
        Err(problem) => return pages::problem(None, taste, &problem.0),
    };
    let (visit, mut request) = visit;
    let taste = visit.taste;
    let writes = !is_read(request.method());
    if writes && visit.form.ticked(parts::ASKS) {
        return parts::question(&visit);
    }
    request.extensions_mut().insert(Arc::clone(&visit));
    let answer = next.run(*request);
    let response = if writes {
        // A write goes to its end, also when the browser does not wait for it.
        match state.jobs.spawn(answer).await {
            Ok(response) => response,
            Err(error) => {
                let fault = Fault::new(FaultKind::System, "系统错误", "internal error");
                return pages::problem(Some(&visit), taste, &fault.caused_by(error.to_string()));
            }
        }
    } else {
        answer.await
    };
    let mut page = match response.extensions().get::<FormProblem>() {
        Some(problem) => pages::problem(Some(&visit), taste, &problem.0),
        None => response,
    };
    // A page that is open asks again by itself, as it was asked then.
    if !is_background {
        keep_rows(&visit, &mut page);
    }
    match admin::counted(&state.budget, visit.actor.user_id, page).await {
        Ok(page) => page,
        Err(fault) => pages::problem(Some(&visit), taste, &fault),
    }
}

enum Entered {
    As(Arc<Visit>, Box<Request>),
    /// Nobody is logged in: to the login.
    Anonymous(PageReply),
}

async fn visit(state: &AdminState, taste: Taste, request: Request) -> Result<Entered, FormProblem> {
    let (mut parts, body) = request.into_parts();
    let uri = parts.uri.clone();
    let token = session_cookie::read(&parts.headers).map(str::to_owned);
    let hash = token.as_deref().map(store::key_hash);
    let session = match &hash {
        Some(hash) if is_background(&parts.uri, &parts.headers) => {
            session::find_unused(state, hash).await?
        }
        Some(hash) => session::find(state, hash).await?,
        None => None,
    };
    let (Some(token), Some(hash), Some(session)) = (token, hash, session) else {
        return Ok(Entered::Anonymous(to_login(&parts, taste)));
    };
    let session::ActiveSession { actor, language } = session;
    let taste = taste.of_account(language.as_deref());
    let csrf = session_cookie::csrf_token(&token);
    let share = BodyShare::of(&state.budget, actor.user_id);
    let form = match is_read(&parts.method) {
        true => Form::default(),
        false => Form::read(body, &share).await?,
    };
    if !is_read(&parts.method) {
        check_site(&parts.headers)?;
        let header = parts.headers.get(&CSRF).and_then(|value| value.to_str().ok());
        if !session_cookie::csrf_matches(&token, header.unwrap_or_else(|| form.text("csrf"))) {
            return Err(foreign_site().into());
        }
    }
    let asked = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let asked: Vec<(String, String)> = asked.into_owned().collect();
    if asked.iter().any(|(_, value)| value.contains('\0')) {
        return Err(AdminError::malformed("请求地址无法解析", "the address can't be read").into());
    }
    let moved = just_moved(state, &actor, uri.path(), &asked).await?;
    let peer = peer(&parts.extensions)?;
    let columns = ColumnChoice::read(cookie(&parts.headers, COLUMNS));
    let came_from = came_from(&parts.headers);
    let own = || page_of(&uri).unwrap_or_else(|| uri.path().to_owned());
    let address = came_from.clone().filter(|_| !is_read(&parts.method)).unwrap_or_else(own);
    let visit = Visit {
        state: state.clone(),
        actor,
        origin: origin(state.logins.over_https(peer, &parts.headers), &parts),
        session: Session { hash, csrf },
        taste,
        columns,
        client: state.logins.client(peer, &parts.headers),
        path: uri.path().to_owned(),
        came_from,
        address,
        asked,
        moved,
        sent: parts.extensions.get::<Arc<SentForms>>().cloned().unwrap_or_default(),
        form,
        _form_share: share,
    };
    parts.headers.remove(COOKIE);
    Ok(Entered::As(Arc::new(visit), Box::new(Request::from_parts(parts, Body::empty()))))
}

/// The movement that an address says was just made: of the user whose page it is, or the reader's
/// own. It names the line alone, so that no link can make an amount up.
async fn just_moved(
    state: &AdminState,
    actor: &Actor,
    path: &str,
    asked: &[(String, String)],
) -> Result<Option<RecentMovement>, AdminError> {
    let named = |name: &str| asked.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let is_said = matches!(named("done").map(String::as_str), Some("moved" | "redeemed"));
    let line = named("line").filter(|_| is_said).and_then(|line| line.parse::<i64>().ok());
    let Some(line) = line else { return Ok(None) };
    let of_page = path.strip_prefix("/console/users/").and_then(|id| id.parse().ok()).map(UserId);
    let user_id = of_page.unwrap_or(actor.user_id);
    if !actor.owns(user_id) {
        return Ok(None);
    }
    balance::recent_movement(state, actor, user_id, line).await
}

/// Pages that need no session: the login, and the appearance of pages.
pub(crate) async fn enter_open(request: Request, next: Next) -> PageReply {
    let taste = taste(request.headers());
    if !is_read(request.method())
        && let Err(error) = check_site(request.headers())
    {
        return pages::problem(None, taste, &error.into());
    }
    let mut request = request;
    request.extensions_mut().insert(taste);
    let response = next.run(request).await;
    match response.extensions().get::<FormProblem>() {
        Some(problem) => pages::problem(None, taste, &problem.0),
        None => response,
    }
}

/// Streams, and pages that ask again by themselves: a page that is open is not a reader.
fn is_background(uri: &Uri, headers: &HeaderMap) -> bool {
    uri.path() == "/console/events" || headers.contains_key(&BACKGROUND)
}

/// The page that a request was made from, where it is one of ours.
fn came_from(headers: &HeaderMap) -> Option<String> {
    let from = headers.get(&HX_CURRENT_URL).or_else(|| headers.get(REFERER))?;
    page_of(&from.to_str().ok()?.parse::<Uri>().ok()?)
}

/// To the login, which says so where something was sent, and from there back to the page. htmx
/// would put a login that it was led to into the page, and take it for the answer.
fn to_login(parts: &Parts, taste: Taste) -> PageReply {
    let by_script = parts.headers.contains_key(&HX_REQUEST);
    let next = match is_read(&parts.method) && !by_script {
        true => parts.uri.path_and_query().map(|to| to.as_str().to_owned()),
        false => came_from(&parts.headers),
    };
    let is_moot = is_read(&parts.method) || parts.uri.path() == "/console/logout";
    let sent = if is_moot { "" } else { "&sent=no" };
    let to = format!("/console/login?next={}{sent}", step(next.as_deref().unwrap_or("/console")));
    if !by_script {
        return go_to(&to);
    }
    let ended = AdminError::unauthenticated(
        "登录已失效, 请重新登录",
        "the session has ended: log in again",
    );
    let mut response = pages::problem(None, Taste { is_part: true, ..taste }, &ended.into());
    if let Ok(to) = HeaderValue::try_from(to) {
        response.headers_mut().insert(HX_REDIRECT, to);
    }
    response
}

const fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Who is at the other end of the connection.
pub(crate) fn peer(extensions: &http::Extensions) -> Result<SocketAddr, AdminError> {
    let peer = extensions.get::<SocketAddr>().copied();
    peer.ok_or_else(|| AdminError::System("a request from nowhere".to_owned()))
}

/// Scheme and host of a request; a host that is none is not repeated.
fn origin(https: bool, parts: &Parts) -> String {
    let named = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let named = named.or_else(|| parts.uri.authority().map(Authority::as_str));
    let is_host = |host: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        !host.is_empty() && host.len() <= 255 && host.chars().all(plain)
    };
    let scheme = if https { "https" } else { "http" };
    format!("{scheme}://{}", named.filter(is_host).unwrap_or("localhost"))
}

fn taste(headers: &HeaderMap) -> Taste {
    let lang = cookie(headers, "newapi_lang").and_then(Lang::from_code);
    let theme = cookie(headers, "newapi_theme").and_then(Theme::from_code);
    Taste {
        lang: lang.unwrap_or_else(|| Lang::of_browser(headers)),
        theme: theme.unwrap_or(Theme::System),
        no_guide: cookie(headers, "newapi_guide") == Some("off"),
        rows: cookie(headers, ROWS).and_then(rows).unwrap_or(PAGE_SIZES[0]),
        is_part: headers.contains_key(&HX_REQUEST) && !headers.contains_key(&HX_HISTORY),
    }
}

/// How many rows a list has, as a cookie or an address says.
fn rows(text: &str) -> Option<i64> {
    text.parse().ok().filter(|rows| PAGE_SIZES.contains(rows))
}

/// Remembers in this browser how many rows a list was asked to have.
fn keep_rows(visit: &Visit, page: &mut PageReply) {
    let Some(rows) = rows(visit.asked("page_size")).filter(|rows| *rows != visit.taste.rows) else {
        return;
    };
    let cookie =
        format!("{ROWS}={rows}; Path=/console; HttpOnly; SameSite=Lax; Max-Age={TASTE_SECONDS}");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        page.headers_mut().append(SET_COOKIE, cookie);
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|p| p.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}
