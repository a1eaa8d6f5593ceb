//! Going somewhere by its name: pages, channels, users, tasks and calls, in the palette and as a
//! page.

use crate::lang::Lang;
use crate::parts;
use crate::shell::{self, ShellPage};
use crate::visit::{Handled, Here, Visit, html as respond, step};
use admin::ops::channel::{self, ChannelFilter};
use admin::ops::{task, user};
use admin::{AdminError, PageRequest, Query};
use http::StatusCode;
use maud::{Markup, html};

/// Most of a kind.
const MAX_FOUND: usize = 5;
const FEW: PageRequest = PageRequest { page: 1, size: 5 };
/// Longer texts name nothing.
const MAX_CHARS: usize = 128;

/// Where a name leads.
struct Found {
    to: String,
    name: String,
    kind: &'static str,
}

/// `GET /console/find?q=`: the results alone for the palette, else a page.
pub(crate) async fn show(Here(visit): Here) -> Handled {
    let wanted = visit.asked("q").trim();
    let found = match wanted.chars().count() {
        0..=MAX_CHARS => search(&visit, wanted).await?,
        _ => Vec::new(),
    };
    if visit.taste.is_part {
        return Ok(respond(StatusCode::OK, results(visit.lang(), &found, Some(wanted))));
    }
    let body = html! {
        form.bar method="get" action="/console/find" {
            (parts::typed(&visit, "q", words(visit.lang())))
            button { (visit.say("搜索", "Search")) }
        }
        (results(visit.lang(), &found, None))
    };
    Ok(ShellPage::new(visit.say("搜索", "Search"), "/console/find").show(&visit, body))
}

pub(crate) const fn words(lang: Lang) -> &'static str {
    lang.say("页面、渠道、用户、任务或请求 ID", "Page, channel, user, task or request id")
}

async fn search(visit: &Visit, wanted: &str) -> Result<Vec<Found>, AdminError> {
    let lang = visit.lang();
    let lower = wanted.to_lowercase();
    let is_named = |name: &str| name.to_lowercase().contains(&lower);
    let pages = shell::pages(visit).filter(|(_, zh, en)| is_named(zh) || is_named(en));
    let limit = if wanted.is_empty() { usize::MAX } else { MAX_FOUND };
    let mut found: Vec<Found> = pages
        .take(limit)
        .map(|(to, zh, en)| Found {
            to: to.to_owned(),
            name: visit.say(zh, en).to_owned(),
            kind: lang.say("页面", "page"),
        })
        .collect();
    if wanted.is_empty() {
        return Ok(found);
    }
    // A single letter is in too many names.
    let may_be_name = wanted.chars().nth(1).is_some() || wanted.parse::<i64>().is_ok();
    if visit.is_admin() && may_be_name {
        found.extend(channels(visit, wanted).await?);
        found.extend(users(visit, wanted).await?);
    }
    if let Ok(number) = wanted.strip_prefix('#').unwrap_or(wanted).parse::<i64>() {
        match task::get(&visit.state, &visit.actor, &number.to_string()).await {
            Ok(task) => found.push(Found {
                to: format!("/console/tasks/{}", task.id),
                name: format!("#{} {}", task.id, task.action),
                kind: lang.say("任务", "task"),
            }),
            Err(AdminError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    if !wanted.contains(char::is_whitespace) {
        found.push(Found {
            to: format!("/console/explain/{}", step(wanted)),
            name: wanted.to_owned(),
            kind: lang.say("这笔费用的由来", "how this charge came about"),
        });
    }
    Ok(found)
}

fn by_keyword(wanted: &str) -> Query {
    [("keyword".to_owned(), wanted.to_owned())].into_iter().collect()
}

async fn channels(visit: &Visit, wanted: &str) -> Result<Vec<Found>, AdminError> {
    let filter = ChannelFilter::read(&by_keyword(wanted))?;
    let channels = channel::list(&visit.state, &filter, FEW).await?.items;
    let kind = visit.say("渠道", "channel");
    let found = channels.iter().map(|channel| Found {
        to: format!("/console/channels/{}", channel.id.0),
        name: super::channels::name(channel).to_owned(),
        kind,
    });
    Ok(found.collect())
}

async fn users(visit: &Visit, wanted: &str) -> Result<Vec<Found>, AdminError> {
    let users = user::list(&visit.state, &by_keyword(wanted), FEW).await?.items;
    let kind = visit.say("用户", "user");
    let found = users.into_iter().map(|user| Found {
        to: format!("/console/users/{}", user.id.0),
        name: user.username,
        kind,
    });
    Ok(found.collect())
}

/// `of`: in the palette, which asks on and on, what was looked for.
fn results(lang: Lang, found: &[Found], of: Option<&str>) -> Markup {
    html! {
        ul.found id=[of.map(|_| "found")] data-of=[of] {
            @for Found { to, name, kind } in found {
                li { a href=(to) { span.cut { (name) } span.muted { (kind) } } }
            }
            @if found.is_empty() { li.muted { (lang.say("没有找到。", "Nothing is called so.")) } }
        }
    }
}
