//! What a page knows about its request.

use crate::column_choice::ColumnChoice;
use crate::form::Form;
use crate::lang::Lang;
use crate::once::SentForms;
use admin::ops::log::balance::RecentMovement;
use admin::{Actor, AdminError, AdminState, BodyShare, PageRequest, Query};
use axum::body::Body;
use axum::extract::{self, FromRequestParts};
use axum::response::{IntoResponse, Response};
use domain::Fault;
use http::header::{CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderValue, StatusCode, Uri};
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use std::net::IpAddr;
use std::sync::Arc;

/// The response of a handler.
pub(crate) type PageReply = Response<Body>;
/// The result of a handler.
pub(crate) type Handled = Result<PageReply, FormProblem>;

/// Light, dark, or following the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    System,
    Light,
    Dark,
}

impl Theme {
    pub(crate) fn from_code(code: &str) -> Option<Self> {
        match code {
            "system" => Some(Self::System),
            "light" => Some(Self::Light),
            "dark" => Some(Self::Dark),
            _ => None,
        }
    }

    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// How the reader wants pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taste {
    pub(crate) lang: Lang,
    pub(crate) theme: Theme,
    /// How many rows a list has.
    pub(crate) rows: i64,
    /// The first steps were closed in this browser.
    pub(crate) no_guide: bool,
    /// Whether htmx asks, which puts the answer into a page that is there already.
    pub(crate) is_part: bool,
}

impl Taste {
    /// The same in the language that the account has, where it has one.
    pub(crate) fn of_account(self, language: Option<&str>) -> Self {
        Self { lang: language.and_then(Lang::from_code).unwrap_or(self.lang), ..self }
    }
}

/// A session that a request came with.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// The hash of its token.
    pub(crate) hash: [u8; 32],
    /// Guards its writes.
    pub(crate) csrf: String,
}

/// One request of a user who is logged in.
pub(crate) struct Visit {
    pub(crate) state: AdminState,
    pub(crate) actor: Actor,
    pub(crate) session: Session,
    pub(crate) taste: Taste,
    /// Which columns of lists the reader has hidden.
    pub(crate) columns: ColumnChoice,
    /// Where the request came from.
    pub(crate) client: IpAddr,
    /// Scheme and host as the reader reached them, for commands to copy: `https://api.example`.
    pub(crate) origin: String,
    /// The address without its query.
    pub(crate) path: String,
    /// The page that the reader was on, where it is one of ours; without what was just done there.
    pub(crate) came_from: Option<String>,
    /// Where the page is found again: its own address, or, of a page that answers a form, the one
    /// that the form was on.
    pub(crate) address: String,
    /// The query, in order.
    pub(crate) asked: Vec<(String, String)>,
    /// The movement that the address says was just made, as its line has it.
    pub(crate) moved: Option<RecentMovement>,
    /// The forms that were sent lately.
    pub(crate) sent: Arc<SentForms>,
    /// What was sent; empty for reads.
    pub(crate) form: Form,
    /// What the form holds of the memory budget.
    pub(crate) _form_share: BodyShare,
}

impl Visit {
    pub(crate) const fn lang(&self) -> Lang {
        self.taste.lang
    }

    pub(crate) const fn say<'a>(&self, zh: &'a str, en: &'a str) -> &'a str {
        self.taste.lang.say(zh, en)
    }

    /// Whether the reader sees what belongs to others.
    pub(crate) const fn is_admin(&self) -> bool {
        self.actor.is_admin()
    }

    /// The query as the API reads it.
    pub(crate) fn query(&self) -> Query {
        self.asked.iter().cloned().collect()
    }

    /// The page of a list that is asked for.
    pub(crate) fn page_request(&self) -> Result<PageRequest, AdminError> {
        PageRequest::read(&self.query(), self.taste.rows)
    }

    /// A filter of the address; empty where there is none.
    pub(crate) fn asked(&self, name: &str) -> &str {
        let found = self.asked.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// Whether the reader sees a column of a list.
    pub(crate) fn shows(&self, list: &str, column: &str) -> bool {
        !self.columns.hidden(list).is_some_and(|mut hidden| hidden.any(|id| id == column))
    }

    /// This address with one parameter changed.
    pub(crate) fn with(&self, name: &str, value: &str) -> String {
        self.with_both((name, value), ("done", ""))
    }

    /// The same page of this list with one parameter changed.
    pub(crate) fn on_this_page(&self, name: &str, value: &str) -> String {
        let kept = self.asked.iter().filter(|(key, _)| key != name);
        let kept = kept.map(|(key, old)| (key.as_str(), old.as_str()));
        address(&self.path, kept.chain([(name, value)]))
    }

    /// This address with two parameters changed.
    pub(crate) fn with_both(&self, one: (&str, &str), other: (&str, &str)) -> String {
        let gone = [one.0, other.0, "page", "p"];
        let kept = self.asked.iter().filter(|(key, _)| !gone.contains(&key.as_str()));
        let kept = kept.map(|(key, old)| (key.as_str(), old.as_str()));
        address(&self.path, kept.chain([one, other]))
    }

    /// The rows that were just enabled or disabled, as the address says; none where it was not made
    /// here: no link of a stranger offers to switch rows.
    pub(crate) fn just_switched(&self) -> Vec<i64> {
        let Some((ids, mark)) = self.asked("undo").split_once('.') else { return Vec::new() };
        if mark != self.undo_mark(self.asked("done"), ids) {
            return Vec::new();
        }
        ids.split('-').filter_map(|id| id.parse().ok()).collect()
    }

    /// Proves that an address was made for this session.
    fn undo_mark(&self, word: &str, ids: &str) -> String {
        let hash = store::key_hash(&format!("undo {} {word} {ids}", self.session.csrf));
        hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Back to the page that the reader was on, with its filters, when it is one of these; else to
    /// the first of them.
    pub(crate) fn back_to(&self, pages: &[&str]) -> String {
        let from = self.came_from.as_deref().filter(|from| {
            let path = from.split('?').next().unwrap_or(from);
            pages.contains(&path)
        });
        from.or(pages.first().copied()).unwrap_or("/console").to_owned()
    }
}

/// An address with these parameters. Empty ones mean nothing, and what was just done is said once.
pub(crate) fn address<'a>(path: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if !value.is_empty() && !matches!(name, "done" | "line" | "undo") {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// An address without these parameters.
pub(crate) fn without(old: &str, names: &[&str]) -> String {
    let (path, query) = old.split_once('?').unwrap_or((old, ""));
    let query: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let kept = query.iter().filter(|(name, _)| !names.contains(&name.as_str()));
    address(path, kept.map(|(name, value)| (name.as_str(), value.as_str())))
}

/// The page of the console that an address is of, on whichever host, without what was just done.
pub(crate) fn page_of(uri: &Uri) -> Option<String> {
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let query: Vec<_> = query.into_owned().collect();
    let pairs = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Some(address(uri.path(), pairs)).filter(|page| is_page(page))
}

/// Whether this is an address of the console that may be gone to: no login leads elsewhere.
pub(crate) fn is_page(address: &str) -> bool {
    let rest = address.strip_prefix("/console");
    let ours = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    let plain = address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let away = ["/console/login", "/console/logout"].iter().any(|to| address.starts_with(to));
    ours && plain && !away
}

impl Visit {
    /// Where a write leads: back to the first steps, where they led here; else to `to`.
    pub(crate) fn then(&self, to: &str) -> String {
        if self.form.text("then") == SETUP { "/console".to_owned() } else { to.to_owned() }
    }

    /// Whether the first steps led here.
    pub(crate) fn is_setup(&self) -> bool {
        self.asked("then") == SETUP || self.form.text("then") == SETUP
    }

    /// Has the form remember it.
    pub(crate) fn then_field(&self) -> Markup {
        html! { @if self.is_setup() { input type="hidden" name="then" value=(SETUP); } }
    }
}

/// The value of `then` in an address of the first steps.
const SETUP: &str = "setup";

/// The visit of a request, for handlers.
pub(crate) struct Here(pub(crate) Arc<Visit>);

impl<S: Send + Sync> FromRequestParts<S> for Here {
    type Rejection = FormProblem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, FormProblem> {
        let visit = parts.extensions.get::<Arc<Visit>>().cloned();
        let none = || FormProblem::from(AdminError::System("a page without a visit".to_owned()));
        visit.map(Self).ok_or_else(none)
    }
}

/// What stands in an address, for handlers. Where it is of another kind, there is no such page.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = FormProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, FormProblem> {
        let found = extract::Path::<T>::from_request_parts(parts, state).await;
        let none = |_| AdminError::not_found("页面", "there is no such page").into();
        found.map(|extract::Path(found)| Self(found)).map_err(none)
    }
}

/// Why there is no page; rendered by the gate, which knows the reader.
#[derive(Clone, Debug)]
pub(crate) struct FormProblem(pub(crate) Arc<Fault>);

impl<E: Into<Fault>> From<E> for FormProblem {
    fn from(error: E) -> Self {
        Self(Arc::new(error.into()))
    }
}

impl IntoResponse for FormProblem {
    fn into_response(self) -> PageReply {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(self);
        response
    }
}

/// A page with a status.
pub(crate) fn html(status: StatusCode, page: Markup) -> PageReply {
    let mut response = Response::new(Body::from(page.into_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Sends the browser on, to be asked with `GET`.
pub(crate) fn go_to(address: &str) -> PageReply {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(address) = HeaderValue::from_str(address) {
        response.headers_mut().insert(LOCATION, address);
    }
    response
}

/// The same, with a word for the completed action, which the page confirms.
pub(crate) fn done(address: &str, word: &str) -> PageReply {
    let joint = if address.contains('?') { '&' } else { '?' };
    go_to(&format!("{address}{joint}done={word}"))
}

/// The same after rows of a list were enabled or disabled: the page that follows can undo it.
pub(crate) fn switched(visit: &Visit, address: &str, enabled: bool, ids: &[i64]) -> PageReply {
    let word = if enabled { "enabled" } else { "disabled" };
    let ids = ids.iter().map(i64::to_string).collect::<Vec<_>>().join("-");
    let mark = visit.undo_mark(word, &ids);
    done(address, &format!("{word}&undo={ids}.{mark}"))
}

/// `text` as one step of a path.
pub(crate) fn step(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
