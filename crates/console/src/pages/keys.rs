//! Keys: users see their own, administrators those of all users. A key is shown once.

use super::batch::{self, BatchList};
use super::key_rotation;
use super::play::{self, CallingKey};
use super::users;
use crate::columns::{Column, Columns};
use crate::form::{Complaint, Form, Object};
use crate::lang::{Lang, tell};
use crate::once::{SentOnce, once, once_field};
use crate::parts::{
    self, FormField, FormFields, action, chosen, filters, on_or_off, pager_with, typed,
};
use crate::replaced::{ChangedMeanwhile, FieldTexts, FormSays, mark_of};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::unfit::empty_or_unfit;
use crate::visit::{Handled, Here, Path, Visit, done, switched};
use admin::AdminError;
use admin::ops::token::{self, Created, TokenInput, TokenView};
use admin::ops::user;
use admin::ops::{group, unpriced};
use domain::{KeyId, Quota, UserId};
use maud::{Markup, html};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const ENTRY: &str = "/console/keys";
const LIST: BatchList = BatchList {
    entry: ENTRY,
    noun: ["令牌", "key", "keys", "Key"],
    on: ("启用", "On"),
    disabling: ("使用它们的调用立即被拒绝。", "Calls with them are refused at once."),
};

/// `GET /console/keys`
pub(crate) async fn list(Here(visit): Here) -> Handled {
    let (state, actor, lang) = (&visit.state, &visit.actor, visit.lang());
    let page = token::list(state, actor, &visit.query(), visit.page_request()?).await?;
    let owners = Owners::read(&visit, &page.items).await?;
    let of_user = users::of_user(&visit).await?;
    let new = new_of_user(&visit, "/console/keys/new").await?;
    let columns = columns(&visit, &owners);
    let states = [("1", lang.say("启用", "On")), ("2", lang.say("禁用", "Off"))];
    let body = html! {
        (filters(&visit, html! {
            (typed(&visit, "keyword", lang.say("名称", "Name")))
            @if visit.is_admin() && visit.asked("user_id").is_empty() {
                (typed(&visit, "username", lang.say("用户名", "User name")))
            }
            (of_user)
            (chosen(&visit, "status", lang.say("全部状态", "All states"), &states))
        }))
        div #list {
            @if page.items.is_empty() {
                (empty_or_unfit(&visit, lang.say(
                    "令牌用来调用接口。还没有令牌。", "A key is what calls are made with. There is none here yet."
                ),
                    new.as_deref().map(|new| (new, lang.say("新建令牌", "Create a key")))))
            } @else {
                (columns.table(&html! { tbody { @for key in &page.items {
                    tr id={ "key-" (key.id.0) } { (columns.cells(key)) }
                } } }))
                (batch::bar(&visit, &LIST, html! {}))
            }
            (pager_with(&visit, &page, &columns.menu()))
        }
    };
    let beside = html! {
        span.muted { (show::count(page.total)) }
        span.space {}
        @if let Some(new) = &new {
            a.button.primary href=(new) { (lang.say("新建令牌", "New key")) }
        }
    };
    Ok(ShellPage::new(lang.say("令牌", "Keys"), ENTRY).beside(beside).show(&visit, body))
}

type KeyColumn<'a> = Column<'a, TokenView>;

/// The owners of the keys of a page.
struct Owners {
    /// Their names, for administrators.
    names: BTreeMap<UserId, String>,
    /// Those whose keys the reader may not change.
    beyond: BTreeSet<UserId>,
    /// Those who were deleted: their keys are of no use any more.
    deleted: BTreeSet<UserId>,
}

impl Owners {
    async fn read(visit: &Visit, keys: &[TokenView]) -> Result<Self, AdminError> {
        let (state, actor) = (&visit.state, &visit.actor);
        let owners: Vec<UserId> = keys.iter().map(|key| key.user_id).collect();
        let names = match visit.is_admin() {
            true => user::names(state, actor, owners.clone()).await?,
            false => BTreeMap::new(),
        };
        let beyond = user::out_of_reach(state, actor, owners.clone()).await?;
        Ok(Self { names, beyond, deleted: user::deleted(state, owners).await? })
    }
}

/// Leads to the form of what a list has; nowhere, where the user whose list it is was deleted.
pub(super) async fn new_of_user(visit: &Visit, to: &str) -> Result<Option<String>, AdminError> {
    let asked = visit.query().number("user_id")?.map(UserId).filter(|_| visit.is_admin());
    let is_there = user::deleted(&visit.state, asked).await?.is_empty();
    Ok(is_there.then(|| users::new_of_user(visit, to)))
}

fn columns<'a>(visit: &'a Visit, owners: &'a Owners) -> Columns<'a, TokenView> {
    let (lang, Owners { beyond, deleted, .. }) = (visit.lang(), owners);
    let mut all = named_columns(visit, owners);
    all.extend([
        KeyColumn::new("key", lang.say("令牌", "Key"), move |key| {
            html! { td.mono.muted {
                (key.key_hint) (key_rotation::chip(lang, key))
            } }
        })
        .wide(),
        KeyColumn::new("state", lang.say("状态", "State"), move |key| {
            html! { td { (on_or_off(lang, key.status)) } }
        }),
        KeyColumn::new("group", lang.say("分组", "Group"), |key| {
            html! { td {
                @match &key.group { Some(group) => (group), None => span.muted { (show::NOTHING) } }
            } }
        })
        .wide(),
        KeyColumn::new("models", lang.say("模型", "Models"), move |key| {
            html! { td {
                @if key.models.is_empty() { span.muted { (lang.say("全部", "all")) } }
                @else { (key.models.len()) }
            } }
        })
        .wide(),
        KeyColumn::new("used_quota", lang.say("已用", "Used"), |key| {
            show::amount_cell(key.used_quota)
        })
        .number()
        .falls("used_quota"),
        KeyColumn::new("remain_quota", lang.say("剩余", "Left"), move |key| {
            html! { td.num {
                @if key.unlimited_quota { span.muted { (lang.say("不限", "no limit")) } }
                @else { (show::amount_whole(key.remain_quota)) }
            } }
        })
        .number()
        .wide()
        .falls("remain_quota"),
        KeyColumn::new("left_today", lang.say("今日剩余", "Left today"), move |key| {
            html! { td.num title=[limits(lang, key)] { @match key.spending.daily_left {
                Some(left) => (show::amount_whole(left)),
                None => span.muted { (show::NOTHING) },
            } } }
        })
        .number()
        .title(lang.say(
            "每日限额的剩余; 单元格上有其他限额",
            "of the daily limit; a cell says the other limits",
        ))
        .broad(),
        KeyColumn::new("last_used_at", lang.say("上次使用", "Last used"), move |key| {
            html! { td { @match key.last_used_at {
                Some(at) => (show::at(at)),
                None => span.muted { (lang.say("从未", "never")) },
            } } }
        })
        .wide()
        .falls("last_used_at"),
        KeyColumn::new("ends", lang.say("到期", "Ends"), move |key| {
            html! { td {
                @if key.expired_time < 0 { span.muted { (lang.say("永不", "never")) } }
                @else { (show::at(key.expired_time)) }
            } }
        })
        .wide(),
        KeyColumn::tool(parts::acts_head(lang), move |key| match beyond.contains(&key.user_id) {
            true => html! { td.acts {} },
            false => actions_cell(visit, key, deleted.contains(&key.user_id)),
        }),
    ]);
    Columns::of(visit, "keys", all)
}

/// Which key it is, and for administrators whose.
fn named_columns<'a>(visit: &'a Visit, owners: &'a Owners) -> Vec<KeyColumn<'a>> {
    let (lang, Owners { names, beyond, .. }) = (visit.lang(), owners);
    let owner = move |key: &TokenView| {
        let name = names.get(&key.user_id).map_or("?", String::as_str);
        html! { td.cut.short { a href={ "/console/users/" (key.user_id.0) } { (name) } } }
    };
    let mut all = vec![
        KeyColumn::tool(batch::tick_head(lang), move |key| {
            batch::tick(lang, key.id.0, name_of(lang, key), !beyond.contains(&key.user_id))
        }),
        KeyColumn::thing(lang.say("名称", "Name"), move |key| {
            let name = name_of(lang, key);
            let to = format!("/console/keys/{}/edit", key.id.0);
            html! { td.cut title=(name) {
                @if beyond.contains(&key.user_id) { (name) } @else { a href=(to) { (name) } }
            } }
        })
        .rises("name"),
    ];
    let owner = || KeyColumn::new("user", lang.say("用户", "User"), owner).wide();
    all.extend(visit.is_admin().then(owner));
    all
}

/// The limits of a key in words; none where it has none.
fn limits(lang: Lang, key: &TokenView) -> Option<String> {
    let spending = &key.spending;
    let of = |limit: Option<Quota>, left: Option<Quota>, zh, en| {
        let left = left.map(|left| tell!(lang, " (剩余 {})", " ({} left)", show::amount(left)));
        limit.map(|limit| {
            format!("{}: {}{}", lang.say(zh, en), show::amount(limit), left.unwrap_or_default())
        })
    };
    let rate = |limit: Option<i64>, zh, en| {
        limit.map(|limit| format!("{}: {}", lang.say(zh, en), show::count(limit)))
    };
    let all = [
        of(spending.daily_limit, spending.daily_left, "每日限额", "Daily limit"),
        of(spending.monthly_limit, spending.monthly_left, "每月限额", "Monthly limit"),
        rate(key.rate_limit_rpm, "每分钟请求数", "Requests a minute"),
        rate(key.rate_limit_tpm, "每分钟 Tokens", "Tokens a minute"),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(" · "))
}

fn name_of(lang: Lang, key: &TokenView) -> &str {
    if key.name.is_empty() { lang.say("(未命名)", "(no name)") } else { &key.name }
}

/// What can be done with a key. One of a deleted user can only be ended.
fn actions_cell(visit: &Visit, key: &TokenView, is_deleted: bool) -> Markup {
    let (lang, name) = (visit.lang(), name_of(visit.lang(), key));
    html! {
        td.acts {
            @if !is_deleted {
                a href={ "/console/keys/" (key.id.0) "/rotate" } { (lang.say("更换", "Rotate")) }
            }
            @let to = format!("/console/keys/{}/status", key.id.0);
            @if key.status == 1 {
                (action(visit, &format!("{to}?to=off"), lang.say("禁用", "Disable"),
                    &tell!(
                        lang, "禁用令牌 {name}? 使用它的调用立即被拒绝。",
                        "Disable the key {name}? Calls with it are refused at once."
                    )))
            } @else if !is_deleted {
                (action(visit, &format!("{to}?to=on"), lang.say("启用", "Enable"), ""))
            }
            (action(visit, &format!(
                "/console/keys/{}/delete", key.id.0
            ), lang.say("删除", "Delete"),
                &tell!(
                    lang, "删除令牌 {name}? 无法恢复。",
                    "Delete the key {name}? It can't be brought back."
                )))
        }
    }
}

/// `POST /console/keys/batch`
pub(crate) async fn change_many(Here(visit): Here) -> Handled {
    let change = |request| token::change_many(&visit.state, &visit.actor, request);
    batch::set_status(&visit, &LIST, change).await
}

/// `POST /console/keys/{id}/status?to=on|off`
pub(crate) async fn set_status(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    let enabled = visit.asked("to") == "on";
    token::set_status(&visit.state, &visit.actor, KeyId(id), enabled).await?;
    Ok(switched(&visit, &visit.back_to(&[ENTRY]), enabled, &[id]))
}

/// `POST /console/keys/{id}/delete`
pub(crate) async fn delete(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    token::delete(&visit.state, &visit.actor, KeyId(id)).await?;
    Ok(done(&visit.back_to(&[ENTRY]), "deleted"))
}

/// `GET /console/keys/new`
pub(crate) async fn new(Here(visit): Here) -> Handled {
    edit_page(&visit, None, &FormSays::Nothing).await
}

/// `POST /console/keys/new`: returns the key, which is shown only once.
pub(crate) async fn create(Here(visit): Here) -> Handled {
    let page_of = |created: &Created| format!("{ENTRY}/{}/edit", created.token.id);
    match once(&visit, created(&visit), page_of).await {
        Ok(SentOnce::Made(created)) => {
            shown(&visit, &created, visit.say("新令牌", "New key"), &html! {}).await
        }
        Ok(SentOnce::Before(to)) => Ok(done(&to, "made-before")),
        Err(error) => {
            let complaint = Complaint::of(error, visit.lang())?;
            edit_page(&visit, None, &FormSays::Complaint(complaint)).await
        }
    }
}

async fn created(visit: &Visit) -> Result<Created, AdminError> {
    let mut object = object(visit, None)?;
    if let Some(owner) = users::named_owner(visit).await? {
        object = object.put("user_id", owner.0);
    }
    let input = TokenInput::read(object.fields()?)?;
    token::create(&visit.state, &visit.actor, input).await
}

fn object(visit: &Visit, key: Option<&TokenView>) -> Result<Object, AdminError> {
    let form = &visit.form;
    let mut object = Object::default()
        .put("name", form.text("name"))
        .put("models", listed(form.text("models")))
        .put("allow_ips", listed(form.text("allow_ips")))
        .put("group", Some(form.text("group")).filter(|group| !group.is_empty()));
    // To the minute: an end that was not touched keeps its seconds.
    let now = key.map_or_else(String::new, |key| show::moment(key.expired_time));
    if form.ticked("expired_time") && form.text("expired_time") != now {
        object = object.put("expired_time", form.moment("expired_time")?);
    }
    // Calls are charged while the form is open: what was not touched is not set back.
    let is_untouched =
        form.ticked("remain_was") && form.text("remain_was") == form.text("remain_quota");
    if key.is_none() || !is_untouched {
        let remain = form.amount("remain_quota")?;
        object = object.put("unlimited_quota", remain.is_none());
        if let Some(remain) = remain {
            object = object.put("remain_quota", remain);
        }
    }
    for name in ["rate_limit_rpm", "rate_limit_tpm"] {
        object = match form.text(name) {
            "" => object.put(name, serde_json::Value::Null),
            text => object.put_int(name, text),
        };
    }
    for name in ["daily_limit", "monthly_limit"] {
        object = object.put(name, form.amount(name)?);
    }
    Ok(object)
}

/// Items that stand on lines or behind commas.
pub(super) fn listed(text: &str) -> Vec<String> {
    let items = text.split([',', '\n', '，']).map(str::trim);
    items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// The page of a secret, the one time it is shown; `more` is said below it.
pub(super) async fn shown(visit: &Visit, created: &Created, title: &str, more: &Markup) -> Handled {
    let lang = visit.lang();
    let key = CallingKey { text: created.key.expose(), ..CallingKey::of(&created.token) };
    // The key is made, and shown this once, whatever else can't be read.
    let call = play::snippet(visit, key).await.unwrap_or_default();
    let unknown = unknown_names(visit, &created.token).await.unwrap_or_else(|_| html! {});
    let body = html! {
        (unknown)
        p.note {
            (lang.say("令牌只显示这一次, 请现在复制保存。", "This is the only time the key is shown: copy it now."))
        }
        div.secret {
            code.mono #new-key { (created.key.expose()) }
            button type="button" data-copy="new-key" { (lang.say("复制", "Copy")) }
        }
        (more)
        @if !call.is_empty() {
            h2.sec { (lang.say("试一下", "Try it")) }
            pre #first-call { (call) }
            div.buttons {
                button type="button" data-copy="first-call" {
                    (lang.say("复制命令", "Copy the command"))
                }
                a.button href="/console/play" {
                    (lang.say("在操练场中试用", "Try it in the playground"))
                }
            }
        }
        div.buttons {
            @if visit.is_setup() {
                a.button.primary href="/console?then=setup" {
                    (lang.say("已保存, 去做第一次调用", "I have it: to the first call"))
                }
            } @else {
                a.button.primary href=(ENTRY) { (lang.say("已保存, 返回列表", "I have it: to the list")) }
            }
        }
    };
    Ok(ShellPage::new(title, ENTRY).show(visit, body))
}

/// `GET /console/keys/{id}/edit`
pub(crate) async fn edit(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    let key = token::get(&visit.state, &visit.actor, KeyId(id)).await?;
    // A form that can't be sent is not opened.
    user::require_reach(&visit.state, &visit.actor, key.user_id).await?;
    edit_page(&visit, Some(&key), &FormSays::Nothing).await
}

/// `POST /console/keys/{id}/edit`
pub(crate) async fn save(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    let key = token::get(&visit.state, &visit.actor, KeyId(id)).await?;
    let says = match saved(&visit, &key).await {
        Ok(None) => return Ok(done(&LIST.origin(&visit), "saved")),
        Ok(Some(changed)) => FormSays::Replaces(changed),
        Err(error) => FormSays::Complaint(Complaint::of(error, visit.lang())?),
    };
    edit_page(&visit, Some(&key), &says).await
}

/// Saves it; or returns what others have changed since the form was opened.
async fn saved(visit: &Visit, key: &TokenView) -> Result<Option<ChangedMeanwhile>, AdminError> {
    let input = TokenInput::read(object(visit, Some(key))?.fields()?)?;
    let typed = |name| Some(text_typed(&visit.form, name));
    let changed = ChangedMeanwhile::unseen(&visit.form, &texts(key), typed);
    if changed.is_none() {
        token::update(&visit.state, &visit.actor, key.id, input).await?;
    }
    Ok(changed)
}

/// The fields of a key that its form replaces. What may still be spent has a guard of its own, as
/// calls change it.
fn texts(key: &TokenView) -> FieldTexts {
    let money = |quota: Option<Quota>| quota.map(show::amount).unwrap_or_default();
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    vec![
        ("name", key.name.clone()),
        ("models", key.models.join(", ")),
        ("allow_ips", key.allow_ips.join(", ")),
        ("group", key.group.clone().unwrap_or_default()),
        ("expired_time", show::moment(key.expired_time)),
        ("rate_limit_rpm", number(key.rate_limit_rpm)),
        ("rate_limit_tpm", number(key.rate_limit_tpm)),
        ("daily_limit", money(key.spending.daily_limit)),
        ("monthly_limit", money(key.spending.monthly_limit)),
    ]
}

/// One of them as it was typed.
fn text_typed(form: &Form, name: &'static str) -> String {
    let text = form.text(name);
    match name {
        "models" | "allow_ips" => listed(text).join(", "),
        "daily_limit" | "monthly_limit" => {
            show::read_amount(text).map_or_else(|| text.to_owned(), show::amount)
        }
        _ => text.to_owned(),
    }
}

/// Names to choose from: of users and of groups.
async fn suggestions(visit: &Visit) -> Result<Markup, AdminError> {
    if !visit.is_admin() {
        return Ok(html! {});
    }
    let groups = group::names(&visit.state, &visit.actor).await?;
    Ok(html! {
        (users::suggestions(visit).await?)
        (parts::datalist("known-groups", groups.iter().map(String::as_str)))
    })
}

/// A group or a model that nothing knows is a slip more often than not. Users may not see what
/// others have, and know their own prices.
async fn unknown_names(visit: &Visit, key: &TokenView) -> Result<Markup, AdminError> {
    if !visit.is_admin() {
        return Ok(html! {});
    }
    let lang = visit.lang();
    let group = match key.group.as_deref() {
        Some(group) if !group::is_known(&visit.state, &visit.actor, group).await? => Some(group),
        _ => None,
    };
    let models = unpriced::unserved(&visit.state, &visit.actor, &key.models).await?;
    Ok(html! {
        @if let Some(group) = group {
            p.note { (tell!(lang,
                "分组 {group} 没有倍率, 也没有渠道提到它: 按倍率 1 计价, 由 default 的渠道服务。",
                "No ratio and no channel knows the group {group}: it pays the plain price, and \
                 channels of default serve it.")) }
        }
        @if !models.is_empty() {
            p.note { (tell!(lang, "没有启用的渠道提供: {}", "No enabled channel serves: {}",
                models.join(", "))) }
        }
    })
}

/// Whose key it is, whether it is on, when it was last used, and what it has spent.
pub(super) async fn facts(visit: &Visit, key: &TokenView) -> Result<Markup, AdminError> {
    let lang = visit.lang();
    Ok(html! {
        dl.facts {
            (owner_fact(visit, key.user_id).await?)
            dt { (lang.say("状态", "State")) } dd { (on_or_off(lang, key.status)) }
            dt { (lang.say("上次使用", "Last used")) }
            dd { @match key.last_used_at {
                Some(at) => (show::at(at)),
                None => span.muted { (lang.say("从未", "never")) },
            } }
            dt { (lang.say("已用", "Used")) } dd { (show::amount(key.used_quota)) }
        }
    })
}

/// Whose it is, for administrators: users see their own alone.
pub(super) async fn owner_fact(visit: &Visit, owner: UserId) -> Result<Markup, AdminError> {
    if !visit.is_admin() {
        return Ok(html! {});
    }
    let (lang, state) = (visit.lang(), &visit.state);
    let names = user::names(state, &visit.actor, [owner]).await?;
    let is_deleted = user::deleted(state, [owner]).await?.contains(&owner);
    Ok(html! {
        dt { (lang.say("用户", "User")) }
        dd {
            a href={ "/console/users/" (owner.0) } {
                (names.get(&owner).map_or("?", String::as_str))
            }
            @if is_deleted { span.muted { (lang.say(" (已删除)", " (deleted)")) } }
        }
    })
}

async fn edit_page(
    visit: &Visit,
    key: Option<&TokenView>,
    says: &FormSays<ChangedMeanwhile>,
) -> Handled {
    let lang = visit.lang();
    let fields = says.fields(lang, &visit.form);
    let now = key.map(|key| mark_of(&texts(key))).unwrap_or_default();
    let action = key
        .map_or("/console/keys/new".to_owned(), |key| format!("/console/keys/{}/edit", key.id.0));
    let body = html! {
        @if let Some(key) = key {
            (facts(visit, key).await?)
            (key_rotation::old_note(visit, key))
        }
        form.form method="post" action=(action) {
            (csrf(visit))
            (visit.then_field())
            @if key.is_some() {
                input type="hidden" name="opened" value=(says.opened(&visit.form, &now));
                (batch::keep_origin(visit, &LIST))
            } @else { (once_field(visit)) }
            (parts::complaint(lang, says.complaint()))
            @if let FormSays::Replaces(changed) = says { (changed.note(lang)) }
            (suggestions(visit).await?)
            @if let Some(key) = key { (unknown_names(visit, key).await?) }
            div.pair {
                (fields.field(FormField::new("name", lang.say("名称", "Name"))
                    .value(key.map_or("", |key| &key.name))))
                @if visit.is_admin() && key.is_none() {
                    (users::owner_field(visit, &fields))
                }
            }
            (limit_fields(lang, &fields, key))
            (reach_fields(visit, &fields, key))
            div.buttons {
                button.primary { (match key {
                    Some(_) => lang.say("保存", "Save"),
                    None => lang.say("创建令牌", "Create key"),
                }) }
                a.button href=(LIST.origin(visit)) { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let title = match key {
        Some(key) => tell!(lang, "令牌 {} {}", "Key {} {}", key.name, key.key_hint),
        None => lang.say("新建令牌", "New key").to_owned(),
    };
    let owner = key.map(|key| key.user_id);
    let is_there = user::deleted(&visit.state, owner).await?.is_empty();
    let beside = html! {
        @if let Some(key) = key.filter(|_| is_there) { (key_rotation::button(lang, key)) }
    };
    Ok(says.show(visit, ShellPage::new(title, ENTRY).beside(beside), body))
}

fn limit_fields(lang: Lang, fields: &FormFields<'_>, key: Option<&TokenView>) -> Markup {
    let money = |quota: Option<Quota>| quota.map(show::amount).unwrap_or_default();
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let remain = money(key.filter(|key| !key.unlimited_quota).map(|key| key.remain_quota));
    html! {
        @if key.is_some() {
            input type="hidden" name="remain_was" value=(fields.now("remain_was", &remain));
        }
        div.pair {
            (fields.field(FormField::new("remain_quota", lang.say("剩余额度", "May still spend"))
                .amount()
                .value(&remain)
                .hint(lang.say("留空不限", "empty: no limit"))))
            (fields.field(FormField::new("daily_limit", lang.say("每日限额", "Daily limit"))
                .amount()
                .value(&money(key.and_then(|key| key.spending.daily_limit)))
                .hint(lang.say("UTC 日", "of a UTC day"))))
            (fields.field(FormField::new("monthly_limit", lang.say("每月限额", "Monthly limit"))
                .amount()
                .value(&money(key.and_then(|key| key.spending.monthly_limit)))
                .hint(lang.say("UTC 月", "of a UTC month"))))
        }
        div.pair {
            (fields.field(FormField::new("rate_limit_rpm",
                lang.say("每分钟请求数", "Requests a minute"))
                .value(&number( key.and_then(|key| key.rate_limit_rpm) ))
                .hint(lang.say("留空不限", "empty: no limit"))))
            (fields.field(FormField::new("rate_limit_tpm",
                lang.say("每分钟 Tokens", "Tokens a minute"))
                .value(&number( key.and_then(|key| key.rate_limit_tpm) ))
                .hint(lang.say("留空不限", "empty: no limit"))))
            (fields.field(FormField::new("expired_time", lang.say("到期 (UTC)", "Ends (UTC)"))
                .kind("datetime-local")
                .value(&show::moment(key.map_or(-1, |key| key.expired_time)))
                .hint(lang.say("留空: 永不", "empty: never"))))
        }
    }
}

fn reach_fields(visit: &Visit, fields: &FormFields<'_>, key: Option<&TokenView>) -> Markup {
    let lang = visit.lang();
    let lines =
        |items: Option<&Vec<String>>| items.map(|items| items.join("\n")).unwrap_or_default();
    html! {
        (fields.field(FormField::new("models", lang.say("可用模型", "Models"))
            .kind("area")
            .value(&lines(key.map(|key| &key.models)))
            .hint(lang.say("每行一个; 留空: 全部", "one a line; empty: all"))))
        (fields.field(FormField::new("allow_ips",
            lang.say("允许的地址", "Addresses it may be used from"))
            .kind("area")
            .value(&lines(key.map(|key| &key.allow_ips)))
            .hint(lang.say("每行一个地址或网段; 留空: 任何地址", "one address or network a line; empty: any"))))
        @if visit.is_admin() {
            (fields.field(FormField::new("group", lang.say("分组", "Group"))
                .value(key.and_then( |key| key.group.as_deref() ).unwrap_or_default())
                .list("known-groups")
                .hint(lang.say("留空: 跟随用户", "empty: that of the user"))))
        } @else if let Some(group) = key.and_then(|key| key.group.as_deref()) {
            input type="hidden" name="group" value=(group);
        }
    }
}
