//! What every request of the console goes through: who asks, whether a write is theirs, and the
//! headers of an answer.

use crate::form::Form;
use crate::lang::Lang;
use crate::pages;
use crate::visit::{FormProblem, PageReply, Session, Taste, Theme, Visit, go_to, step};
use admin::ops::session;
use admin::{AdminError, AdminState, session_cookie};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use domain::{Fault, FaultKind};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::net::SocketAddr;
use std::sync::Arc;

/// Nothing inline, nothing from another host.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; \
     frame-ancestors 'none'; base-uri 'none'";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");
/// The header that htmx adds to its requests.
const HX_REQUEST: HeaderName = HeaderName::from_static("hx-request");

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
    let visit = match visit(&state, taste, request).await {
        Ok(Entered::As(visit, request)) => (visit, request),
        Ok(Entered::Anonymous(path)) => {
            return go_to(&format!("/console/login?next={}", step(&path)));
        }
        Err(problem) => return pages::problem(None, taste, &problem.0),
    };
    let (visit, mut request) = visit;
    let writes = !is_read(request.method());
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
    let page = match response.extensions().get::<FormProblem>() {
        Some(problem) => pages::problem(Some(&visit), taste, &problem.0),
        None => response,
    };
    match admin::counted(&state.budget, visit.actor.user_id, page).await {
        Ok(page) => page,
        Err(fault) => pages::problem(Some(&visit), taste, &fault),
    }
}

enum Entered {
    As(Arc<Visit>, Box<Request>),
    /// Who was on the way to this address.
    Anonymous(String),
}

async fn visit(state: &AdminState, taste: Taste, request: Request) -> Result<Entered, FormProblem> {
    let (mut parts, body) = request.into_parts();
    let uri = parts.uri.clone();
    let token = session_cookie::read(&parts.headers).map(str::to_owned);
    let hash = token.as_deref().map(store::key_hash);
    let actor = match &hash {
        Some(hash) => session::find(state, hash).await?,
        None => None,
    };
    let (Some(token), Some(hash), Some(actor)) = (token, hash, actor) else {
        let to = uri.path_and_query().map_or("/console", |to| to.as_str());
        let to = if is_read(&parts.method) { to } else { "/console" };
        return Ok(Entered::Anonymous(to.to_owned()));
    };
    let csrf = session_cookie::csrf_token(&token);
    let form = if is_read(&parts.method) { Form::default() } else { Form::read(body).await? };
    if !is_read(&parts.method) {
        check_site(&parts.headers)?;
        let header = parts.headers.get(&CSRF).and_then(|value| value.to_str().ok());
        if !session_cookie::csrf_matches(&token, header.unwrap_or_else(|| form.text("csrf"))) {
            return Err(foreign().into());
        }
    }
    let asked = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let asked: Vec<(String, String)> = asked.into_owned().collect();
    if asked.iter().any(|(_, value)| value.contains('\0')) {
        return Err(AdminError::malformed("请求地址无法解析", "the address can't be read").into());
    }
    let peer = peer(&parts.extensions)?;
    let visit = Visit {
        state: state.clone(),
        actor,
        origin: origin(state.logins.over_https(peer, &parts.headers), &parts),
        session: Session { hash, csrf },
        taste,
        client: state.logins.client(peer, &parts.headers),
        path: uri.path().to_owned(),
        asked,
        form,
        is_part: parts.headers.contains_key(&HX_REQUEST),
    };
    parts.headers.remove(COOKIE);
    Ok(Entered::As(Arc::new(visit), Box::new(Request::from_parts(parts, Body::empty()))))
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

const fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Refuses requests that a browser marks as coming from another site.
fn check_site(headers: &HeaderMap) -> Result<(), AdminError> {
    match headers.get(&SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(foreign()),
    }
}

fn foreign() -> AdminError {
    AdminError::forbidden(
        "请求不是从本页面发出的, 请刷新后重试",
        "this request did not come from a page of the console: reload and try again",
    )
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
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|p| p.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}
