//! Users: the list, one user with the journal and its running balance, and what changes them.

use super::account::sessions_table;
use super::batch::{self, BatchList};
use super::{explain, for_admins, log as log_page, overview};
use crate::columns::{Column, Columns};
use crate::folds::folds;
use crate::lang::{Lang, tell};
use crate::parts::{
    self, FormField, FormFields, action, chosen, filters, on_or_off, pager_with, typed,
};
use crate::shell::ShellPage;
use crate::unfit::empty_or_unfit;
use crate::visit::{Handled, Here, Path, Visit, step};
use crate::{notes, show};
use admin::ops::group;
use admin::ops::log::usage::{self, UsageRequest};
use admin::ops::log::{self, LogFilter, LogView, SPENT, balance, month_days};
use admin::ops::own_sessions::{self, SessionView};
use admin::ops::token::{self, KeysOfUser};
use admin::ops::user::{self, UserView};
use admin::{AdminError, PageRequest, Query, ROLE_ADMIN, ROLE_ROOT};
use domain::{Quota, UserId};
use maud::{Markup, html};
use std::collections::{BTreeMap, BTreeSet};

const ENTRY: &str = "/console/users";
/// The state of users who were deleted, as the filter names it.
const DELETED: &str = "deleted";
const LIST: BatchList = BatchList {
    entry: ENTRY,
    noun: ["用户", "user", "users", "User"],
    on: ("启用", "On"),
    disabling: (
        "他们的会话立即结束, 所有令牌停止工作。",
        "Their sessions end, and all their keys stop at once.",
    ),
};

pub(super) const fn role_word(lang: Lang, role: i64) -> &'static str {
    match (role, lang) {
        (ROLE_ROOT, _) => "root",
        (ROLE_ADMIN, Lang::Zh) => "管理员",
        (ROLE_ADMIN, Lang::En) => "admin",
        (_, Lang::Zh) => "用户",
        (_, Lang::En) => "user",
    }
}

/// `GET /console/users`
pub(crate) async fn list(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let (mut query, request) = (visit.query(), visit.page_request()?);
    if query.text("status") == Some(DELETED) {
        query.say("status", "");
        query.say("deleted", "true");
    }
    let page = match visit.shows(COLUMNS, USED_30D) {
        true => user::list(&visit.state, &query, request).await?,
        false => user::rows(&visit.state, &query, request).await?,
    };
    let of_users = OfUsers::read(&visit, &page.items).await?;
    let columns = columns(&visit, &of_users);
    let lang = visit.lang();
    let states = [
        ("1", lang.say("启用", "On")),
        ("2", lang.say("禁用", "Off")),
        (DELETED, lang.say("已删除", "Deleted")),
    ];
    let body = html! {
        (filters(&visit, html! {
            (typed(&visit, "keyword", lang.say("名称或编号", "Name or number")))
            (typed(&visit, "group", lang.say("分组", "Group")))
            (chosen(&visit, "status", lang.say("全部状态", "All states"), &states))
        }))
        div #list {
            @if page.items.is_empty() {
                (empty_or_unfit(&visit, lang.say("还没有用户。", "There is no user yet."), None))
            } @else {
                (columns.table(&html! { tbody { @for user in &page.items {
                    tr id={ "user-" (user.id.0) } { (columns.cells(user)) }
                } } }))
                (batch::bar(&visit, &LIST, html! {}))
            }
            (pager_with(&visit, &page, &columns.menu()))
        }
    };
    let beside = html! {
        span.muted { (show::count(page.total)) }
        span.space {}
        a.button.primary href="/console/users/new" { (lang.say("新建用户", "New user")) }
    };
    Ok(ShellPage::new(lang.say("用户", "Users"), ENTRY).beside(beside).show(&visit, body))
}

/// What users have besides their rows: what is on hold, and their keys.
#[derive(Default)]
struct OfUsers {
    held: BTreeMap<UserId, Quota>,
    keys: BTreeMap<UserId, KeysOfUser>,
}

impl OfUsers {
    /// Reads what the columns that are seen say.
    async fn read(visit: &Visit, users: &[UserView]) -> Result<Self, AdminError> {
        let ids = || users.iter().map(|user| user.id);
        let mut of_users = Self::default();
        if visit.shows(COLUMNS, HELD) {
            of_users.held = user::held(&visit.state, &visit.actor, ids()).await?;
        }
        if visit.shows(COLUMNS, KEYS) || visit.shows(COLUMNS, LAST_USE) {
            of_users.keys = token::of_users(&visit.state, &visit.actor, ids()).await?;
        }
        Ok(of_users)
    }

    fn keys(&self, user: &UserView) -> KeysOfUser {
        self.keys.get(&user.id).copied().unwrap_or_default()
    }
}

type UserColumn<'a> = Column<'a, UserView>;

/// The list in the choice of columns, and columns that are read only where they are seen.
const COLUMNS: &str = "users";
const HELD: &str = "held";
const USED_30D: &str = "used_30d";
const KEYS: &str = "keys";
const LAST_USE: &str = "last_use";

fn columns<'a>(visit: &'a Visit, of_users: &'a OfUsers) -> Columns<'a, UserView> {
    let lang = visit.lang();
    let days = month_days(&visit.state);
    let mut all = account_columns(visit);
    all.extend([
        UserColumn::new("quota", lang.say("余额", "Balance"), |user| {
            html! { td.num.bad[user.quota.is_negative()] { (show::amount_whole(user.quota)) } }
        })
        .number()
        .falls("quota"),
        UserColumn::new(HELD, lang.say("预扣中", "On hold"), |user| {
            some_usd(of_users.held.get(&user.id).copied())
        })
        .number()
        .wide(),
        UserColumn::new("used_quota", lang.say("已消耗", "Spent"), |user| {
            show::amount_cell(user.used_quota)
        })
        .number()
        .wide()
        .falls("used_quota"),
        UserColumn::new(USED_30D, tell!(lang, "{days} 天消耗", "Used {days} d"), |user| {
            show::amount_cell(user.used_30d.unwrap_or_default())
        })
        .number()
        .wide(),
        UserColumn::new("request_count", lang.say("计费调用", "Charged calls"), |user| {
            show::count_cell(user.request_count)
        })
        .number()
        .wide()
        .falls("request_count"),
        UserColumn::new("left_today", lang.say("今日剩余", "Left today"), |user| {
            some_usd(user.spending.daily_left)
        })
        .number()
        .broad(),
        UserColumn::new(KEYS, lang.say("令牌", "Keys"), |user| {
            let to = format!("/console/keys?user_id={}", user.id.0);
            html! { td.num { a href=(to) { (show::count(of_users.keys(user).keys)) } } }
        })
        .number()
        .wide(),
        UserColumn::new(LAST_USE, lang.say("最近使用", "Last use"), |user| {
            html! { td { (show::ago(of_users.keys(user).last_used_at.unwrap_or(0))) } }
        })
        .wide(),
        UserColumn::tool(parts::acts_head(lang), move |user| adjust_cell(visit, user)),
    ]);
    Columns::of(visit, COLUMNS, all)
}

/// Who a user is.
fn account_columns(visit: &Visit) -> Vec<UserColumn<'_>> {
    let lang = visit.lang();
    vec![
        UserColumn::tool(batch::tick_head(lang), move |user| {
            let is_other = visit.actor.user_id != user.id && user.deleted_at.is_none();
            let can_disable = is_other && reaches(visit, user);
            batch::tick(lang, user.id.0, &user.username, can_disable)
        }),
        UserColumn::thing(lang.say("名称", "Name"), |user| {
            html! {
                td.cut title=(user.username) {
                    a href={ "/console/users/" (user.id.0) } { (user.username) }
                    @if !user.display_name.is_empty() {
                        span.muted.hide { " " (user.display_name) }
                    }
                }
            }
        }),
        UserColumn::new("state", lang.say("状态", "State"), move |user| {
            html! { td { (state_of(lang, user)) } }
        }),
        UserColumn::new("role", lang.say("角色", "Role"), move |user| {
            html! { td { (role_word(lang, user.role)) } }
        })
        .wide(),
        UserColumn::new("group", lang.say("分组", "Group"), |user| html! { td { (user.group) } })
            .wide(),
    ]
}

fn some_usd(quota: Option<Quota>) -> Markup {
    match quota {
        Some(quota) => show::amount_cell(quota),
        None => html! { td.num.muted { (show::NOTHING) } },
    }
}

fn adjust_cell(visit: &Visit, user: &UserView) -> Markup {
    html! {
        td.acts {
            @if reaches(visit, user) {
                a href={ "/console/users/" (user.id.0) "/adjust" } {
                    (visit.say("调整余额", "Adjust"))
                }
            }
        }
    }
}

/// Whose rows a list is of, where its address names a user.
pub(super) async fn of_user(visit: &Visit) -> Result<Markup, AdminError> {
    let id = visit.query().number("user_id")?.map(UserId).filter(|_| visit.is_admin());
    let Some(id) = id else { return Ok(html! {}) };
    let names = user::names(&visit.state, &visit.actor, [id]).await?;
    let name = names.get(&id).map_or_else(|| format!("#{id}"), String::clone);
    Ok(parts::of_one(
        visit,
        "user_id",
        &html! {
            a href={ "/console/users/" (id.0) } { (name) }
        },
    ))
}

/// Most users that are suggested.
const SUGGESTED_USERS: i64 = 100;

/// The names of users, for [`owner_field`].
pub(super) async fn suggestions(visit: &Visit) -> Result<Markup, AdminError> {
    let few = PageRequest { page: 1, size: SUGGESTED_USERS };
    let users = user::rows(&visit.state, &Query::default(), few).await?.items;
    Ok(parts::datalist("known-users", users.iter().map(|user| user.username.as_str())))
}

/// Whose it will be what an administrator makes.
pub(super) fn owner_field(visit: &Visit, fields: &FormFields<'_>) -> Markup {
    let lang = visit.lang();
    fields.field(
        FormField::new("user_id", lang.say("用户", "User"))
            .value(visit.asked("user_id"))
            .list("known-users")
            .hint(lang.say("用户名或编号; 留空: 自己", "name or number; empty: yourself")),
    )
}

/// The user that an administrator has named in it.
pub(super) async fn named_owner(visit: &Visit) -> Result<Option<UserId>, AdminError> {
    let owner = visit.form.text("user_id");
    if owner.is_empty() || !visit.is_admin() {
        return Ok(None);
    }
    let found = user::find(&visit.state, owner).await.map_err(|error| match error {
        AdminError::NotFound { zh, en } => AdminError::field("user_id", zh, en),
        other => other,
    });
    Ok(Some(found?.id))
}

/// Leads to the form of what a list has: for its user, where it is of one.
pub(super) fn new_of_user(visit: &Visit, to: &str) -> String {
    match visit.asked("user_id") {
        "" => to.to_owned(),
        id => format!("{to}?user_id={}", step(id)),
    }
}

/// Whether the reader may change this user.
pub(super) fn reaches(visit: &Visit, user: &UserView) -> bool {
    must_reach(visit, user).is_ok()
}

/// Refuses the forms of a user whom the reader may not change.
pub(super) fn must_reach(visit: &Visit, user: &UserView) -> Result<(), AdminError> {
    if visit.actor.user_id == user.id { Ok(()) } else { visit.actor.require_above(user.role) }
}

/// `POST /console/users/batch`
pub(crate) async fn change_many(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let change = |request| user::change_many(&visit.state, &visit.actor, request);
    batch::set_status(&visit, &LIST, change).await
}

/// `GET /console/users/{id}`
pub(crate) async fn show(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let (state, lang) = (&visit.state, visit.lang());
    let user = user::kept(state, UserId(id)).await?;
    let journal = Journal::read(&visit, user.id).await?;
    let keys = keys_of(&visit, user.id).await?;
    let spent = spent_lately(&visit, user.id).await?;
    let below = below_zero(&visit, &user, &journal);
    let of_user = format!("&username={}", step(&user.username));
    let charges = format!("/console/log?type=consume{of_user}");
    let spent_ever = format!("/console/log?type={SPENT}{of_user}");
    let days = month_days(&visit.state);
    let lately = overview::lines(&overview::of_days(&visit, days), SPENT) + &of_user;
    let reaches = reaches(&visit, &user);
    let is_here = user.deleted_at.is_none();
    let is_below = reaches && is_here && user.id != visit.actor.user_id;
    let sessions = match is_below {
        true => own_sessions::list(state, &visit.actor, user.id, None).await?,
        false => Vec::new(),
    };
    let body = html! {
        div.tiles {
            (parts::tile("#journal", lang.say("余额", "Balance"), &show::money(user.quota)))
            (on_hold(&visit, &user))
            (parts::tile(&spent_ever, lang.say("已消耗", "Spent"), &show::money(user.used_quota)))
            (parts::tile(&lately, &tell!(lang, "{days} 天消耗", "Spent, {days} d"),
                &show::money(spent)))
            (parts::tile(&charges, lang.say("计费调用", "Charged calls"),
                &html! { (show::count(user.request_count)) }))
            (left_tile(lang, lang.say("今日剩余", "Left today"), user.spending.daily_left))
            (left_tile(lang, lang.say("本月剩余", "Left this month"), user.spending.monthly_left))
        }
        (available_and_held(lang, &user))
        (deleted(lang, &user))
        p.muted {
            (state_of(lang, &user)) " · " (role_word(lang, user.role))
            " · " (lang.say("分组", "group")) " " (user.group)
            " · " (lang.say("倍率", "ratio")) " " (user.ratio.get())
            " · " (lang.say("创建于", "created")) " " (show::at(user.created_at))
            " · " (keys)
        }
        (below)
        @if is_here {
            (unknown_group(lang, &user, &group::names(state, &visit.actor).await?))
        }
        nav.tabs aria-label=(lang.say("该用户", "This user")) {
            a href="#journal" aria-current="true" { (lang.say("流水", "Journal")) }
            a href={ "/console/keys?user_id=" (id) } { (lang.say("令牌", "Keys")) }
            a href={ "/console/tasks?user_id=" (id) } { (lang.say("任务", "Tasks")) }
            a href={ "/console/usage?per=model" (of_user) } { (lang.say("用量", "Usage")) }
            a href={ "/console/statements?user_id=" (id) } { (lang.say("账单", "Statements")) }
            a href={ "/console/webhooks?user_id=" (id) } { (lang.say("回调", "Webhooks")) }
        }
        div #journal { (journal.show(&visit, reaches)) }
        @if is_below { (account_actions(&visit, &user, &sessions)) }
    };
    let beside = html! {
        span.muted { "#" (id) }
        span.space {}
        @if reaches {
            @if is_here {
                a.button href={ "/console/users/" (id) "/edit" } { (lang.say("编辑", "Edit")) }
                (status_button(&visit, &user))
            }
            a.button.primary href={ "/console/users/" (id) "/adjust" } {
                (lang.say("调整余额", "Adjust balance"))
            }
        }
    };
    Ok(ShellPage::new(user.username.clone(), ENTRY).beside(beside).show(&visit, body))
}

fn state_of(lang: Lang, user: &UserView) -> Markup {
    match user.deleted_at {
        Some(_) => parts::state("off", lang.say("已删除", "deleted")),
        None => on_or_off(lang, user.status),
    }
}

/// What is left of a user who was deleted, and can be done.
fn deleted(lang: Lang, user: &UserView) -> Markup {
    html! {
        @if let Some(at) = user.deleted_at {
            p.note {
                b { (lang.say("已删除于", "Deleted on")) " " (show::at(at)) } " · "
                (lang.say(
                    "余额和流水保留, 用户名不能再用。余额只能扣减, 或以退款、冲正归还。",
                    "Balance and journal are kept, and the name stays taken. The balance can be \
                     taken off, or given back by a refund or a reversal.",
                ))
            }
        }
    }
}

/// How many keys a user has, and when one of them last called.
async fn keys_of(visit: &Visit, id: UserId) -> Result<Markup, AdminError> {
    let lang = visit.lang();
    let of_user: Query = [("user_id".to_owned(), id.0.to_string())].into_iter().collect();
    let all = PageRequest::first();
    let keys = token::list(&visit.state, &visit.actor, &of_user, all).await?;
    let last = keys.items.iter().filter_map(|key| key.last_used_at).max();
    // Of more keys than a page has, the last use is not known.
    let last = last.filter(|_| keys.total <= all.size);
    Ok(html! {
        (match keys.total {
            1 => lang.say("1 个令牌", "1 key").to_owned(),
            number => tell!(lang, "{number} 个令牌", "{number} keys"),
        })
        @if let Some(at) = last { ", " (lang.say("上次使用", "last used")) " " (show::ago(at)) }
    })
}

/// What a user has spent in the last 30 days, as far as the log is kept.
async fn spent_lately(visit: &Visit, id: UserId) -> Result<Quota, AdminError> {
    let request = overview::of_days(visit, month_days(&visit.state));
    let filter = LogFilter { user_id: Some(id), ..request.filter };
    let request = UsageRequest { filter, ..request };
    let series = usage::series(&visit.state, &visit.actor, false, &request).await?;
    Ok(overview::sums(&series).spent)
}

/// What is held for open calls and unfinished tasks: it is not in the balance, and the balances
/// after lines count it as still there. Tasks are listed; calls end within minutes.
pub(super) fn on_hold(visit: &Visit, user: &UserView) -> Markup {
    let lang = visit.lang();
    let held = user.held.unwrap_or(Quota::ZERO);
    let of_tasks = user.held_for_tasks.unwrap_or(Quota::ZERO);
    let value = show::money(held);
    if of_tasks == Quota::ZERO {
        return html! { div.tile { span { (lang.say("预扣中", "On hold")) } b { (value) } } };
    }
    let to = match visit.is_admin() {
        true => format!("/console/tasks?status=unfinished&user_id={}", user.id.0),
        false => "/console/tasks?status=unfinished".to_owned(),
    };
    let part = show::amount(of_tasks);
    let label = match of_tasks == held {
        true => lang.say("预扣中", "On hold").to_owned(),
        false => tell!(lang, "预扣中, 其中任务 {part}", "On hold, for tasks {part}"),
    };
    parts::tile(&to, &label, &value)
}

/// How the balance of the tile and that of the journal go together, while something is on hold.
pub(super) fn available_and_held(lang: Lang, user: &UserView) -> Markup {
    let held = user.held.unwrap_or(Quota::ZERO);
    if held == Quota::ZERO {
        return html! {};
    }
    let [available, all, held] = [user.quota, user.quota.sum_with(held), held].map(show::amount);
    html! {
        p.muted.small { (tell!(lang, "可用 {available} + 预扣中 {held} = 流水中的余额 {all}",
            "{available} available + {held} on hold = {all}, the balance in the journal")) }
    }
}

/// Why a balance is below zero: the line that took it there, as far as the page reaches.
fn below_zero(visit: &Visit, user: &UserView, journal: &Journal) -> Markup {
    let lang = visit.lang();
    // What crossed it on an older page was made up since, or is not the last to have done it.
    if !user.quota.is_negative() || !journal.is_newest {
        return html! {};
    }
    let is_below = |line: &LogView, after: Option<Quota>| {
        let before = after.and_then(|after| after.checked_sub(line.delta));
        after.is_some_and(Quota::is_negative) && before.is_some_and(|it| !it.is_negative())
    };
    let crossing = journal.lines.iter().find(|(line, after)| is_below(line, *after));
    html! {
        p.note {
            b { (lang.say("余额低于零, 调用会被拒绝。", "Below zero: calls are refused.")) } " "
            @match crossing.map(|(line, _)| line) {
                Some(line) if line.r#type == "consume" => {
                    (lang.say("一次按量调用的费用超过了预扣: ",
                        "A call by use came to more than was held for it: "))
                    a href=(explain::address_of(&line.request_id, line.hold_id)) {
                        (lang.say("说明", "how"))
                    }
                    (lang.say("; 价格中的最低预扣可避免。",
                        ". A least hold in the price of the model keeps calls from it."))
                },
                Some(line) => {
                    a href={ "#line-" (line.id) } { "#" (line.id) } ": "
                    (notes::line(lang, &line.content))
                },
                None => {
                    (lang.say("原因见更早的流水。", "An older line of the journal says why."))
                },
            }
        }
    }
}

/// A group that nothing knows is a slip more often than not.
fn unknown_group(lang: Lang, user: &UserView, known: &BTreeSet<String>) -> Markup {
    html! {
        @if !known.contains(&user.group) {
            p.note { (tell!(lang,
                "分组 {} 没有倍率, 也没有渠道提到它: 按倍率 1 计价, 由 default 的渠道服务。",
                "No ratio and no channel knows the group {}: it pays the plain price, and channels \
                 of default serve it.", user.group)) " "
                a href="/console/groups" { (lang.say("分组", "Groups")) } }
        }
    }
}

fn left_tile(lang: Lang, label: &str, left: Option<Quota>) -> Markup {
    let value = match left {
        Some(left) => show::money(left),
        None => html! { span.muted { (lang.say("不限", "no limit")) } },
    };
    parts::tile("#journal", label, &value)
}

/// What is done to another's account besides its balance.
fn account_actions(visit: &Visit, user: &UserView, sessions: &[SessionView]) -> Markup {
    let (lang, to, name) = (visit.lang(), format!("/console/users/{}", user.id.0), &user.username);
    html! {
        @if !sessions.is_empty() {
            h2.sec { (lang.say("登录的会话", "Where they are logged in")) }
            (sessions_table(visit, sessions, &to))
        }
        h2.sec { (lang.say("账户", "Account")) }
        p.muted {
            @if user.has_access_token {
                (lang.say("有一个用于 /api 的访问令牌。", "There is an access token for /api."))
            } @else { (lang.say("没有用于 /api 的访问令牌。", "There is no access token for /api.")) }
        }
        div.buttons {
            (action(visit, &format!("{to}/token"),
                lang.say("生成新的访问令牌", "Make a new access token"),
                &tell!(lang, "为 {name} 生成访问令牌? 之前的立即失效, 新的只显示一次。",
                    "Make an access token for {name}? The one before ends at once; the new one is \
                     shown once.")))
            (action(visit, &format!("{to}/delete"), lang.say("删除用户", "Delete the user"),
                &tell!(lang,
                    "删除 {name}? 会话与令牌立即失效, 余额保留, 用户名不能再用。无法恢复。",
                    "Delete {name}? Sessions and keys end at once, the balance is kept, and the \
                     name stays taken. It can't be undone.")))
        }
    }
}

fn status_button(visit: &Visit, user: &UserView) -> Markup {
    let lang = visit.lang();
    let to = format!("/console/users/{}/status", user.id.0);
    if user.id == visit.actor.user_id {
        return html! {};
    }
    html! {
        @if user.status == 1 {
            (action(visit, &format!("{to}?to=off"), lang.say("禁用", "Disable"),
                &tell!(lang, "禁用 {}? 其会话立即结束, 所有令牌停止工作。",
                    "Disable {}? Sessions end and every key stops at once.", user.username)))
        } @else {
            (action(visit, &format!("{to}?to=on"), lang.say("启用", "Enable"), ""))
        }
    }
}

/// Lines on a page of a user.
const JOURNAL_LINES: i64 = 25;

/// Lines of a user, each with the balance after it.
struct Journal {
    lines: Vec<(LogView, Option<Quota>)>,
    /// Those of them that were reversed.
    reversed: BTreeSet<i64>,
    /// The oldest line, where there are more.
    more: Option<i64>,
    /// No newer lines are left out.
    is_newest: bool,
}

impl Journal {
    async fn read(visit: &Visit, id: UserId) -> Result<Self, AdminError> {
        let before_id = visit.query().number("before_id")?;
        let filter = LogFilter { user_id: Some(id), before_id, ..LogFilter::default() };
        // One more than is shown: it says whether there are older ones.
        let page = PageRequest { page: 1, size: JOURNAL_LINES + 1 };
        let mut page = log::list(&visit.state, &visit.actor, false, &filter, page).await?;
        let shown = usize::try_from(JOURNAL_LINES).unwrap_or(usize::MAX);
        let has_more = page.items.len() > shown;
        page.items.truncate(shown);
        let ids: Vec<i64> = page.items.iter().map(|line| line.id).collect();
        let after = balance::after_lines(&visit.state, &visit.actor, id, &ids).await?;
        let reversed = user::reversed_lines(&visit.state, &visit.actor, id, ids).await?;
        let more = page.items.last().filter(|_| has_more).map(|line| line.id);
        let lines = page.items.into_iter();
        let lines = lines.map(|line| (after.get(&line.id).copied(), line));
        let lines = lines.map(|(after, line)| (line, after)).collect();
        Ok(Self { lines, reversed, more, is_newest: before_id.is_none() })
    }

    fn show(&self, visit: &Visit, reaches: bool) -> Markup {
        let lang = visit.lang();
        if self.lines.is_empty() {
            return parts::empty(lang.say("还没有流水。", "Nothing has happened yet."), None);
        }
        html! {
            div.scroll {
                (folds(lang, &html! { table {
                    thead { tr {
                        th { (lang.say("时间", "Time")) }
                        th.hide { (lang.say("类型", "Type")) }
                        th { (lang.say("模型或原因", "Model or reason")) }
                        th.num { (lang.say("变动", "Moved")) }
                        th.num.hide { (lang.say("变动 (额度)", "Moved (quota)")) }
                        th.num title=(lang.say(
                            "预扣中的金额仍计在内", "what is on hold counts as still there"
                        )) { (lang.say("之后余额", "Balance after")) }
                        (parts::acts_head(lang))
                    } }
                    tbody {
                        @for (line, after) in &self.lines {
                            @let is_reversed = self.reversed.contains(&line.id);
                            (journal_row(visit, line, *after, (reaches, is_reversed)))
                        }
                    }
                } }))
            }
            @if let Some(oldest) = self.more {
                nav.pager { a.button href=(visit.with("before_id", &oldest.to_string())) {
                    (lang.say("更早", "Older")) } }
            }
        }
    }
}

fn journal_row(
    visit: &Visit,
    line: &LogView,
    after: Option<Quota>,
    (reaches, is_reversed): (bool, bool),
) -> Markup {
    let lang = visit.lang();
    let reverses = line.reference.as_deref().is_some_and(|it| it.starts_with("reverse-"));
    let moved_by_hand = matches!(line.r#type.as_str(), "topup" | "adjust" | "refund") && !reverses;
    html! {
        tr id={ "line-" (line.id) } {
            td { (show::at(line.created_at)) }
            td {
                (log_page::type_word(lang, &line.r#type).unwrap_or(&line.r#type))
                // Another line may name it.
                @if matches!(line.r#type.as_str(), "topup" | "adjust" | "refund") {
                    span.muted.small { " #" (line.id) }
                }
            }
            td.wrap { (log_page::subject(line, &log_page::words(lang, line))) }
            (show::moved_cell(line.delta))
            td.num.hide.muted {
                @if line.delta.0 == 0 { (show::NOTHING) } @else { (show::count_moved(line.delta)) }
            }
            td.num { @match after {
                Some(after) => (show::amount_whole(after)),
                None => span.muted { (show::NOTHING) },
            } }
            td.acts {
                @if line.hold_id.is_some() && !line.request_id.is_empty() {
                    a href=(explain::address_of(&line.request_id, line.hold_id))
                        title=(line.request_id) {
                        (lang.say("说明", "Explain"))
                    }
                    " "
                }
                @if is_reversed {
                    span.muted { (lang.say("已冲正", "reversed")) }
                } @else if moved_by_hand && reaches && line.delta.0 != 0 {
                    a href={
                        "/console/users/" (line.user_id.0)
                        "/adjust?reverse=" (line.id)
                        "&amount=" (-line.delta.0)
                        "q"
                    } {
                        (lang.say("冲正", "Reverse"))
                    }
                }
            }
        }
    }
}
