//! Making and changing users.

use super::adjust::reason;
use super::for_admins;
use super::users::{must_reach, role_word};
use crate::form::{Complaint, Form, Object};
use crate::lang::{Lang, tell};
use crate::parts::{self, FormField, FormFields};
use crate::replaced::{ChangedMeanwhile, FieldTexts, FormSays, mark_of};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Path, Visit, done, switched};
use admin::ops::user::{self, UserInput, UserView};
use admin::ops::{access_token, group, own_sessions};
use admin::{AdminError, ROLE_ADMIN, ROLE_ROOT, ROLE_USER};
use domain::{Quota, Ratio, UserId};
use maud::{Markup, html};

const ENTRY: &str = "/console/users";

/// `POST /console/users/{id}/status?to=on|off`
pub(crate) async fn set_status(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let enabled = visit.asked("to") == "on";
    user::set_status(&visit.state, &visit.actor, UserId(id), enabled).await?;
    Ok(switched(&visit, &format!("/console/users/{id}"), enabled, &[id]))
}

/// `POST /console/users/{id}/delete`
pub(crate) async fn delete(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    user::delete(&visit.state, &visit.actor, UserId(id)).await?;
    Ok(done(ENTRY, "deleted"))
}

/// `POST /console/users/{id}/sessions/{session}/end`
pub(crate) async fn end_session(
    Here(visit): Here,
    Path((id, session)): Path<(i64, String)>,
) -> Handled {
    for_admins(&visit)?;
    own_sessions::end(&visit.state, &visit.actor, UserId(id), &session).await?;
    Ok(done(&format!("/console/users/{id}"), "ended"))
}

/// `POST /console/users/{id}/token`: returns the access token, which is shown only once.
pub(crate) async fn token(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let lang = visit.lang();
    let user = user::get(&visit.state, UserId(id)).await?;
    let token = access_token::renew(&visit.state, &visit.actor, user.id).await?;
    let name = &user.username;
    let body = html! {
        p.note { (tell!(lang,
            "{name} 的访问令牌只显示这一次; 之前的已失效。它能做 {name} 能做的一切。",
            "The access token of {name}, shown this once; the one before has ended. It may do all \
             that {name} may.")) }
        div.secret {
            code.mono #new-token { (token.expose()) }
            button type="button" data-copy="new-token" { (lang.say("复制", "Copy")) }
        }
        div.buttons { a.button.primary href={ "/console/users/" (id) } {
            (lang.say("已保存", "I have it"))
        } }
    };
    Ok(ShellPage::new(lang.say("访问令牌", "Access token"), ENTRY).show(&visit, body))
}

/// `GET /console/users/new`
pub(crate) async fn new(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    edit_page(&visit, None, &FormSays::Nothing).await
}

/// `POST /console/users/new`
pub(crate) async fn create(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    match created(&visit).await {
        Ok(id) => Ok(done(&visit.then(&format!("/console/users/{id}")), "created")),
        Err(error) => {
            let complaint = Complaint::of(error, visit.lang())?;
            edit_page(&visit, None, &FormSays::Complaint(complaint)).await
        }
    }
}

async fn created(visit: &Visit) -> Result<i64, AdminError> {
    let mut object = object(visit)?;
    if let Some(quota) = visit.form.amount("quota")? {
        object = object.put("quota", quota);
        if quota > 0 {
            object = object.put("reason", reason(&visit.form)?);
        }
    }
    let input = UserInput::read_new(object.fields()?)?;
    Ok(user::create(&visit.state, &visit.actor, input).await?.id.0)
}

/// The fields of a user as the API takes them.
fn object(visit: &Visit) -> Result<Object, AdminError> {
    let form = &visit.form;
    let limit = |name: &str| form.amount(name);
    let mut object = Object::default()
        .put("username", form.text("username"))
        .put("display_name", form.text("display_name"))
        .put_some("group", form.text("group"))
        .put_some("ratio", form.text("ratio"))
        .put_int("role", form.text("role"));
    let password = form.all("password").next().unwrap_or_default();
    object = object.put_some("password", password);
    for name in ["daily_limit", "monthly_limit"] {
        object = object.put(name, limit(name)?);
    }
    Ok(object)
}

/// `GET /console/users/{id}/edit`
pub(crate) async fn edit(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let user = user::get(&visit.state, UserId(id)).await?;
    must_reach(&visit, &user)?;
    edit_page(&visit, Some(&user), &FormSays::Nothing).await
}

/// `POST /console/users/{id}/edit`
pub(crate) async fn save(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let user = user::get(&visit.state, UserId(id)).await?;
    let says = match saved(&visit, &user).await {
        Ok(None) => return Ok(done(&format!("/console/users/{id}"), "saved")),
        Ok(Some(changed)) => FormSays::Replaces(changed),
        Err(error) => FormSays::Complaint(Complaint::of(error, visit.lang())?),
    };
    edit_page(&visit, Some(&user), &says).await
}

/// Saves it; or returns what others have changed since the form was opened.
async fn saved(visit: &Visit, user: &UserView) -> Result<Option<ChangedMeanwhile>, AdminError> {
    let input = UserInput::read_change(object(visit)?.fields()?)?;
    let typed = |name| typed(&visit.form, name);
    let changed = ChangedMeanwhile::unseen(&visit.form, &texts(user), typed);
    if changed.is_none() {
        user::update(&visit.state, &visit.actor, user.id, input).await?;
    }
    Ok(changed)
}

/// The fields of a user that the form replaces.
fn texts(user: &UserView) -> FieldTexts {
    let limit = |quota: Option<Quota>| quota.map(show::amount).unwrap_or_default();
    vec![
        ("username", user.username.clone()),
        ("display_name", user.display_name.clone()),
        ("group", user.group.clone()),
        ("ratio", plain(user.ratio.get())),
        ("role", user.role.to_string()),
        ("daily_limit", limit(user.spending.daily_limit)),
        ("monthly_limit", limit(user.spending.monthly_limit)),
    ]
}

/// One of them as it was typed; `None`: it is left as it is.
fn typed(form: &Form, name: &'static str) -> Option<String> {
    let text = form.text(name);
    Some(match name {
        "group" | "ratio" | "role" if text.is_empty() => return None,
        "ratio" => plain(text),
        "daily_limit" | "monthly_limit" => {
            show::read_amount(text).map_or_else(|| text.to_owned(), show::amount)
        }
        _ => text.to_owned(),
    })
}

/// A ratio without the zeros that say nothing.
fn plain(ratio: &str) -> String {
    ratio.parse::<Ratio>().map_or_else(|_| ratio.to_owned(), |ratio| ratio.to_string())
}

async fn edit_page(
    visit: &Visit,
    user: Option<&UserView>,
    says: &FormSays<ChangedMeanwhile>,
) -> Handled {
    let lang = visit.lang();
    let now = user.map(|user| mark_of(&texts(user))).unwrap_or_default();
    let groups = group::names(&visit.state, &visit.actor).await?;
    let fields = says.fields(lang, &visit.form);
    let own = user.is_some_and(|user| user.id == visit.actor.user_id);
    let action = user.map_or("/console/users/new".to_owned(), |user| {
        format!("/console/users/{}/edit", user.id.0)
    });
    let back =
        user.map_or_else(|| ENTRY.to_owned(), |user| format!("/console/users/{}", user.id.0));
    let body = html! {
        form.form method="post" action=(action) {
            (csrf(visit))
            (visit.then_field())
            @if user.is_some() {
                input type="hidden" name="opened" value=(says.opened(&visit.form, &now));
            }
            (parts::complaint(lang, says.complaint()))
            @if let FormSays::Replaces(changed) = says { (changed.note(lang)) }
            (parts::datalist("known-groups", groups.iter().map(String::as_str)))
            (name_fields(lang, &fields, user, own))
            (price_fields(visit, &fields, user, own))
            (limit_fields(lang, &fields, user))
            @if user.is_none() { (deposit_fields(visit, &fields)) }
            div.buttons {
                @if user.is_some() { button.primary { (lang.say("保存", "Save")) } }
                @else {
                    @let none = lang.say("创建用户", "Create user");
                    button.primary data-says-amount="" data-none=(none)
                        data-add=(lang.say("创建用户并充值 $", "Create user with $")) { (none) }
                }
                a.button href=(back) { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let title = match user {
        Some(user) => tell!(lang, "编辑 {}", "Edit {}", user.username),
        None => lang.say("新建用户", "New user").to_owned(),
    };
    Ok(says.show(visit, ShellPage::new(title, ENTRY), body))
}

fn name_fields(lang: Lang, fields: &FormFields<'_>, user: Option<&UserView>, own: bool) -> Markup {
    let password = match user {
        Some(_) => lang.say(
            "留空则不变; 修改后该用户的会话全部结束",
            "empty: unchanged; a new one ends all sessions of the user",
        ),
        None => lang.say(
            "至少 8 个字符; 留空则不能登录控制台",
            "at least 8 characters; empty: cannot log in to the console",
        ),
    };
    html! {
        div.pair {
            (fields.field(FormField::new("username", lang.say("用户名", "User name"))
                .required()
                .value(user.map_or("", |user| &user.username))))
            (fields.field(FormField::new("display_name", lang.say("显示名称", "Display name"))
                .value(user.map_or("", |user| &user.display_name))))
        }
        @if !own {
            (fields.field(FormField::new("password", lang.say("密码", "Password"))
                .kind("password")
                .hint(password)))
        }
    }
}

fn price_fields(
    visit: &Visit,
    fields: &FormFields<'_>,
    user: Option<&UserView>,
    own: bool,
) -> Markup {
    let lang = visit.lang();
    let roles: Vec<(String, &str)> = [ROLE_USER, ROLE_ADMIN, ROLE_ROOT]
        .into_iter()
        .filter(|role| visit.actor.require_above(*role).is_ok())
        .map(|role| (role.to_string(), role_word(lang, role)))
        .collect();
    let roles: Vec<(&str, &str)> =
        roles.iter().map(|(code, word)| (code.as_str(), *word)).collect();
    let role = user.map_or(ROLE_USER, |user| user.role).to_string();
    html! {
        div.pair {
            (fields.field(FormField::new("group", lang.say("分组", "Group"))
                .value(user.map_or("default", |user| &user.group))
                .list("known-groups")
                .hint(lang.say(
                    "分组决定价格倍率与可用渠道",
                    "decides the ratio of prices, and which channels serve",
                ))))
            (fields.field(FormField::new("ratio", lang.say("倍率", "Ratio"))
                .value(user.map_or("1", |user| user.ratio.get()))
                .hint(lang.say("乘到该用户的每个价格上", "factor on every price of this user"))))
            @if !own { (fields.choice(("role", lang.say("角色", "Role")), &role, &roles)) }
        }
    }
}

fn limit_fields(lang: Lang, fields: &FormFields<'_>, user: Option<&UserView>) -> Markup {
    let limit = |quota: Option<Quota>| quota.map(show::amount).unwrap_or_default();
    let daily = limit(user.and_then(|user| user.spending.daily_limit));
    let monthly = limit(user.and_then(|user| user.spending.monthly_limit));
    html! {
        div.pair {
            (fields.field(FormField::new("daily_limit", lang.say("每日限额", "Daily limit"))
                .amount()
                .value(&daily)
                .hint(lang.say("UTC 日; 留空不限", "of a UTC day; empty: none"))))
            (fields.field(FormField::new("monthly_limit", lang.say("每月限额", "Monthly limit"))
                .amount()
                .value(&monthly)
                .hint(lang.say("UTC 月; 留空不限", "of a UTC month; empty: none"))))
        }
    }
}

/// The balance that a user begins with: money, so it says before, after, and why.
fn deposit_fields(visit: &Visit, fields: &FormFields<'_>) -> Markup {
    let lang = visit.lang();
    let why = lang.say(
        "有金额时必填, 至少 2 个汉字或 4 个字母; 记入流水",
        "needed with an amount, at least 4 characters: it stays in the journal",
    );
    html! {
        fieldset {
            legend { (lang.say("首笔充值", "First deposit")) }
            div.pair {
                (fields.field(FormField::new("quota", lang.say("金额", "Amount"))
                    .amount()
                    .shown()
                    .hint(&tell!(lang, "如 {}; 留空为 0", "like {}; empty: none", show::example(500)))))
                (fields.field(FormField::new("reason", lang.say("原因", "Reason")).hint(why)))
            }
            dl.facts {
                dt { (lang.say("当前余额", "Balance now")) } dd { (show::money(Quota::ZERO)) }
                dt { (lang.say("之后余额", "Balance then")) }
                dd { b #then data-now="0" { (show::NOTHING) } }
                dt { (lang.say("经手人", "Signed by")) } dd { (visit.actor.username) }
            }
        }
    }
}
