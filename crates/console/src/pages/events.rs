//! What happens, for a page that is open: how many lines of the log are new, and that tasks have
//! changed. A page has one stream, which its script closes while the page is hidden.

use crate::lang::{Lang, tell};
use crate::show;
use crate::visit::{Handled, Here, Visit};
use admin::AdminError;
use admin::ops::events::{self, Event, EventRequest, Following};
use axum::body::Body;
use bytes::Bytes;
use domain::{Fault, FaultKind};
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use maud::{Markup, html};
use std::convert::Infallible;

/// Each page has its own stream, and there are only so many.
fn too_many(retry_after_s: u32) -> Fault {
    Fault::new(
        FaultKind::RateLimited,
        "打开的页面过多, 本页不会自动更新",
        "too many pages are open: this one does not update by itself",
    )
    .retry_after(retry_after_s)
}

/// What a stream has told its page.
struct Told {
    lang: Lang,
    /// New lines so far.
    lines: i64,
}

/// `GET /console/events?topics=&after=`
pub(crate) async fn follow(Here(visit): Here) -> Handled {
    let request = EventRequest::read(&visit.query())?;
    let events = match events::open(&visit.state, &visit.actor, request).await {
        Ok(events) => events,
        Err(AdminError::TooMany { retry_after_s }) => return Err(too_many(retry_after_s).into()),
        Err(error) => return Err(error.into()),
    };
    let told = Told { lang: visit.lang(), lines: 0 };
    let pieces = stream::unfold((events, told), next);
    let mut response = Response::new(Body::from_stream(pieces));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

type Next = Option<(Result<Bytes, Infallible>, (Following, Told))>;

/// The next piece: all that has happened since the one before.
async fn next((mut events, mut told): (Following, Told)) -> Next {
    let (mut lines, mut tasks) = (false, false);
    let mut event = events.next().await?;
    loop {
        match event {
            Event::State(state) => {
                told.lines += state.missed;
                (lines, tasks) = (state.missed > 0, true);
            }
            Event::Call(_) => {
                told.lines += 1;
                lines = true;
            }
            Event::Task(_) => tasks = true,
            Event::Silence => break,
        }
        match events.already() {
            Some(more) => event = more,
            None => break,
        }
    }
    let mut piece = String::new();
    if lines {
        piece.push_str(&format!("data: {}\n\n", fresh(told.lang, told.lines).into_string()));
    }
    if tasks {
        piece.push_str("event: tasks\ndata: changed\n\n");
    }
    if piece.is_empty() {
        piece.push_str(": still here\n\n");
    }
    Some((Ok(piece.into()), (events, told)))
}

fn fresh(lang: Lang, lines: i64) -> Markup {
    let count = show::count(lines);
    let words = match lines {
        1 => lang.say("有 1 条新记录", "1 new line").to_owned(),
        _ => tell!(lang, "有 {count} 条新记录", "{count} new lines"),
    };
    html! { a.fresh href="/console/log" { (words) ": " b { (lang.say("显示", "show")) } } }
}

/// The element that follows, and the way to stop it; its address says which.
pub(super) fn live(visit: &Visit, topics: &str, after: i64) -> Markup {
    let to = format!("/console/events?topics={topics}&after={after}");
    html! {
        @if visit.asked("live") != "off" {
            div #live hx-sse:connect=(to) hx-target="this" hx-swap="innerHTML" role="status" {}
        }
    }
}

/// Pauses the updates of a page, or lets them go on.
pub(super) fn pause(visit: &Visit) -> Markup {
    let is_off = visit.asked("live") == "off";
    let to = visit.with("live", if is_off { "" } else { "off" });
    html! {
        @if is_off {
            a.button href=(to) { (visit.say("继续更新", "Resume updates")) }
        } @else {
            a.button href=(to) { (visit.say("暂停更新", "Pause updates")) }
        }
    }
}
