//! Going somewhere by its name: pages, channels, users, tasks and calls, in the palette and as a
//! page.

use crate::lang::Lang;
use crate::parts;
use crate::shell::{self, ShellPage};
use crate::visit::{Handled, Here, Visit, html as respond, step};
use admin::ops::channel::{self, ChannelFilter};
use admin::ops::{ability, audit, price, task, unpriced, user};
use admin::{AdminError, PageRequest, Query};
use http::StatusCode;
use maud::{Markup, html};

/// Most of a kind.
const MAX_FOUND: usize = 5;
const FEW: PageRequest = PageRequest { page: 1, size: 5 };

/// How many to look through: among those with one letter in their names, one may be called so.
const fn few(wanted: &str) -> PageRequest {
    match wanted.len() {
        0..=4 => PageRequest { page: 1, size: 100 },
        _ => FEW,
    }
}

/// Shorter texts are no id of a request.
const MIN_REQUEST_ID: usize = 4;
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
    lang.say(
        "页面、渠道、用户、模型、任务或请求 ID",
        "Page, channel, user, model, task or request id",
    )
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
    if visit.is_admin() {
        // A single letter is in too many names: it is one alone.
        let is_one = |found: &Found| match wanted.chars().nth(1) {
            None => found.name.to_lowercase() == lower || wanted.parse::<i64>().is_ok(),
            Some(_) => true,
        };
        for all in [channels(visit, wanted).await?, users(visit, wanted).await?] {
            found.extend(all.into_iter().filter(is_one).take(MAX_FOUND));
        }
    }
    found.extend(models(visit, &lower).await?);
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
    if may_be_request(visit, wanted).await? {
        found.push(Found {
            to: format!("/console/explain/{}", step(wanted)),
            name: wanted.to_owned(),
            kind: lang.say("这笔费用的由来", "how this charge came about"),
        });
    }
    Ok(found)
}

/// Whether a text is to be offered as the id of a request: where it looks like one of ours, or the
/// journal has it, as clients may choose theirs.
async fn may_be_request(visit: &Visit, wanted: &str) -> Result<bool, AdminError> {
    let is_ours = wanted.len() == 36 && wanted.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if is_ours || wanted.contains(char::is_whitespace) || wanted.len() < MIN_REQUEST_ID {
        return Ok(is_ours);
    }
    audit::is_explained(&visit.state, &visit.actor, wanted).await
}

/// Models that are priced, or that one may call; each leads to its price.
async fn models(visit: &Visit, lower: &str) -> Result<Vec<Found>, AdminError> {
    // A single letter names a model that is called so, and no other.
    let is_named = |name: &str| match lower.chars().nth(1) {
        None => name.to_lowercase() == lower,
        Some(_) => name.to_lowercase().contains(lower),
    };
    let names: Vec<String> = match visit.is_admin() {
        true => {
            let (query, few) = (by_keyword(lower), few(lower));
            let priced = ability::rows(&visit.state, &query, few).await?.items;
            let others = unpriced::list(&visit.state, &visit.actor, &query, few).await?.items;
            let priced = priced.into_iter().map(|price| price.model_name);
            priced.chain(others.into_iter().map(|model| model.model_name)).collect()
        }
        false => price::own(&visit.state, &visit.actor)
            .await?
            .into_iter()
            .map(|price| price.model_name)
            .collect(),
    };
    let found = names.into_iter().filter(|name| is_named(name)).take(MAX_FOUND);
    Ok(found
        .map(|name| Found {
            to: match visit.is_admin() {
                true => format!("/console/prices/edit?model={}", step(&name)),
                false => super::play::address(&name),
            },
            name,
            kind: visit.say("模型", "model"),
        })
        .collect())
}

fn by_keyword(wanted: &str) -> Query {
    [("keyword".to_owned(), wanted.to_owned())].into_iter().collect()
}

async fn channels(visit: &Visit, wanted: &str) -> Result<Vec<Found>, AdminError> {
    let filter = ChannelFilter::read(&by_keyword(wanted))?;
    let channels = channel::rows(&visit.state, &filter, few(wanted)).await?.items;
    let kind = visit.say("渠道", "channel");
    let found = channels.iter().map(|channel| Found {
        to: format!("/console/channels/{}", channel.id.0),
        name: super::channels::name(channel).to_owned(),
        kind,
    });
    Ok(found.collect())
}

async fn users(visit: &Visit, wanted: &str) -> Result<Vec<Found>, AdminError> {
    let users = user::rows(&visit.state, &by_keyword(wanted), few(wanted)).await?.items;
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
