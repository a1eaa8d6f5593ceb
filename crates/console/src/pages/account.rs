//! One's own account: password, access token, low balance.

use crate::folds::folds;
use crate::form::{Complaint, Object};
use crate::parts::{self, FormField, FormFields, action, form_page};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Path, Visit, done};
use admin::AdminError;
use admin::ops::access_token::{self, OwnProof};
use admin::ops::own_sessions::{self, SessionView};
use admin::ops::{low_balance, own_account, session, user};
use domain::Quota;
use maud::{Markup, html};
use store::Secret;

const ENTRY: &str = "/console/account";

/// `GET /console/account`
pub(crate) async fn show(Here(visit): Here) -> Handled {
    page(&visit, None).await
}

/// `POST /console/account/password`
pub(crate) async fn password(Here(visit): Here) -> Handled {
    match changed(&visit).await {
        Ok(()) => Ok(done(ENTRY, "password")),
        Err(error) => page(&visit, Some(&Complaint::of(error, visit.lang())?)).await,
    }
}

async fn changed(visit: &Visit) -> Result<(), AdminError> {
    // A password may begin or end with a blank.
    let [old, new, again] = ["old_password", "new_password", "again"]
        .map(|name| visit.form.all(name).next().unwrap_or_default());
    if new != again {
        return Err(AdminError::field("again", "两次输入不一致", "is not the same"));
    }
    let both = (Secret::new(old.to_owned()), Secret::new(new.to_owned()));
    let kept = Some(visit.session.hash);
    session::change_password(&visit.state, &visit.actor, visit.client, kept, both).await
}

/// `POST /console/account/name`
pub(crate) async fn name(Here(visit): Here) -> Handled {
    match renamed(&visit).await {
        Ok(()) => Ok(done(ENTRY, "saved")),
        Err(error) => page(&visit, Some(&Complaint::of(error, visit.lang())?)).await,
    }
}

async fn renamed(visit: &Visit) -> Result<(), AdminError> {
    let request = Object::default().put("display_name", visit.form.text("display_name"));
    let input = own_account::read(request.fields()?)?;
    own_account::set(&visit.state, &visit.actor, input).await?;
    Ok(())
}

/// `POST /console/account/low-balance`
pub(crate) async fn low_balance(Here(visit): Here) -> Handled {
    match threshold_set(&visit).await {
        Ok(()) => Ok(done(ENTRY, "saved")),
        Err(error) => page(&visit, Some(&Complaint::of(error, visit.lang())?)).await,
    }
}

async fn threshold_set(visit: &Visit) -> Result<(), AdminError> {
    let threshold = visit.form.amount("threshold")?.map(Quota);
    low_balance::set(&visit.state, &visit.actor, threshold).await?;
    Ok(())
}

/// `POST /console/account/sessions/{id}/end`
pub(crate) async fn end_session(Here(visit): Here, Path(id): Path<String>) -> Handled {
    own_sessions::end(&visit.state, &visit.actor, visit.actor.user_id, &id).await?;
    Ok(done(ENTRY, "ended"))
}

/// Where a user is logged in; the address of one's own account, or of the user.
pub(super) fn sessions_table(visit: &Visit, sessions: &[SessionView], entry: &str) -> Markup {
    let lang = visit.lang();
    html! {
        div.scroll {
            (folds(lang, &html! { table {
                thead { tr {
                    th { (lang.say("会话", "Session")) }
                    th.hide { (lang.say("登录于", "Logged in")) }
                    th { (lang.say("最近使用", "Last used")) }
                    (parts::acts_head(lang))
                } }
                tbody {
                    @for session in sessions {
                        tr {
                            td title=(session.user_agent) {
                                @match browser(&session.user_agent) {
                                    Some(browser) => (browser),
                                    None => span.mono { (session.id) },
                                }
                            }
                            td { (show::at(session.created_at)) }
                            td { (show::ago(session.used_at)) }
                            td.acts {
                                @if session.current { span.muted { (lang.say("当前", "this one")) } }
                                @else {
                                    @let to = format!("{entry}/sessions/{}/end", session.id);
                                    (action(visit, &to, lang.say("结束", "End it"), ""))
                                }
                            }
                        }
                    }
                }
            } }))
        }
    }
}

/// A browser and its system, by what it says of itself: `Firefox · Windows`. Of those whose names
/// are in that of another, the more special one comes first.
fn browser(agent: &str) -> Option<String> {
    const BROWSERS: [(&str, &str); 7] = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("CriOS/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ];
    const SYSTEMS: [(&str, &str); 6] = [
        ("Android", "Android"),
        ("iPhone", "iOS"),
        ("iPad", "iOS"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let named = |all: &[(&str, &'static str)]| {
        all.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name)
    };
    match (named(&BROWSERS), named(&SYSTEMS)) {
        (Some(browser), Some(system)) => Some(format!("{browser} · {system}")),
        (browser, system) => browser.or(system).map(str::to_owned),
    }
}

/// `POST /console/account/token`: returns the access token, which is shown only once.
pub(crate) async fn token(Here(visit): Here) -> Handled {
    let lang = visit.lang();
    let given = visit.form.all("password").next().unwrap_or_default();
    let proof = OwnProof {
        password: Some(given).filter(|it| !it.is_empty()).map(|it| Secret::new(it.to_owned())),
        session: Some(visit.session.hash),
        client: visit.client,
    };
    let token = match access_token::renew_own(&visit.state, &visit.actor, proof).await {
        Ok(token) => token,
        Err(error) => return page(&visit, Some(&Complaint::of(error, lang)?)).await,
    };
    let body = html! {
        p.note {
            (lang.say("访问令牌只显示这一次; 之前的已失效。它能做你能做的一切。",
                "Shown this once; the one before has ended. It may do all that you may."))
        }
        div.secret {
            code.mono #new-token { (token.expose()) }
            button type="button" data-copy="new-token" { (lang.say("复制", "Copy")) }
        }
        div.buttons { a.button.primary href=(ENTRY) { (lang.say("已保存", "I have it")) } }
    };
    Ok(ShellPage::new(lang.say("访问令牌", "Access token"), ENTRY).show(&visit, body))
}

async fn page(visit: &Visit, complaint: Option<&Complaint>) -> Handled {
    let lang = visit.lang();
    let own = user::get(&visit.state, visit.actor.user_id).await?;
    let current = Some(&visit.session.hash);
    let sessions = own_sessions::list(&visit.state, &visit.actor, own.id, current).await?;
    let low = low_balance::get(&visit.state, &visit.actor).await?;
    // A complaint stands above the form that it is about.
    let of_form = |name: &str| complaint.filter(|_| visit.path.ends_with(name));
    let [of_name, of_password, of_threshold, of_token] =
        ["/name", "/password", "/low-balance", "/token"].map(of_form);
    let body = html! {
        dl.facts {
            dt { (lang.say("用户名", "User name")) } dd { (own.username) }
            dt { (lang.say("角色", "Role")) } dd { (super::users::role_word(lang, own.role)) }
            dt { (lang.say("分组", "Group")) } dd { (own.group) }
            dt { (lang.say("余额", "Balance")) } dd { (show::money(own.quota)) }
            (limits(visit, &own))
        }
        h2.sec { (lang.say("显示名称", "Display name")) }
        (name_form(visit, of_name, &own.display_name))
        h2.sec { (lang.say("修改密码", "Change the password")) }
        (password_form(visit, of_password))
        h2.sec { (lang.say("登录的会话", "Where you are logged in")) }
        (sessions_table(visit, &sessions, ENTRY))
        h2.sec { (lang.say("余额提醒", "Low balance")) }
        form.form method="post" action="/console/account/low-balance" {
            (csrf(visit))
            (parts::complaint(lang, of_threshold))
            @let threshold = low.threshold.map(show::amount).unwrap_or_default();
            (FormFields::new(visit.lang(), &visit.form, of_threshold).field(
                FormField::new("threshold", lang.say(
                    "余额低于此数时通知", "Notify when the balance is below"
                ))
                    .amount()
                    .value(&threshold)
                    .hint(lang.say(
                        "由回调的 balance.low 事件通知; 留空不通知",
                        "your webhooks get the event balance.low; empty: never",
                    ))))
            div.buttons { button { (lang.say("保存", "Save")) } }
        }
        h2.sec { (lang.say("访问令牌", "Access token")) }
        p.muted {
            @if own.has_access_token { (lang.say("已有一个用于 /api 的访问令牌。", "There is one for /api.")) }
            @else { (lang.say("还没有用于 /api 的访问令牌。", "There is none for /api yet.")) }
        }
        (token_form(visit, of_token))
    };
    let title = lang.say("我的账户", "Account");
    Ok(form_page(visit, ShellPage::new(title, ENTRY), complaint, body))
}

fn limits(visit: &Visit, own: &user::UserView) -> Markup {
    let lang = visit.lang();
    let all = [
        (lang.say("每日限额", "Daily limit"), own.spending.daily_limit, own.spending.daily_left),
        (
            lang.say("每月限额", "Monthly limit"),
            own.spending.monthly_limit,
            own.spending.monthly_left,
        ),
    ];
    html! {
        @for (label, limit, left) in all {
            dt { (label) }
            dd { @match limit {
                Some(limit) => {
                    (show::money(limit))
                    @if let Some(left) = left {
                        span.muted { " · " (lang.say("剩余", "left")) " " } (show::money(left))
                    }
                }
                None => span.muted { (lang.say("不限", "none")) },
            } }
        }
    }
}

fn token_form(visit: &Visit, complaint: Option<&Complaint>) -> Markup {
    let lang = visit.lang();
    let fields = FormFields::new(lang, &visit.form, complaint);
    let hint = lang.say(
        "登录后 10 分钟内可不填。之前的访问令牌立即失效; 修改密码也会使它失效。",
        "not needed within 10 minutes of logging in; the earlier token ends at once, and a new \
         password ends this one",
    );
    let password = FormField::new("password", lang.say("密码", "Password"));
    html! {
        form.form method="post" action="/console/account/token" {
            (csrf(visit))
            (parts::complaint(lang, complaint))
            (fields.field(password.kind("password").hint(hint)))
            div.buttons {
                button { (lang.say("生成新的访问令牌", "Make a new access token")) }
            }
        }
    }
}

fn name_form(visit: &Visit, complaint: Option<&Complaint>, name: &str) -> Markup {
    let lang = visit.lang();
    let fields = FormFields::new(lang, &visit.form, complaint);
    html! {
        form.form method="post" action="/console/account/name" {
            (csrf(visit))
            (parts::complaint(lang, complaint))
            (fields.field(FormField::new("display_name", lang.say("显示名称", "Display name"))
                .value(name)
                .hint(lang.say(
                    "管理员看到的名称; 登录仍用用户名",
                    "what administrators see; the user name stays the one to log in with",
                ))))
            div.buttons { button { (lang.say("保存", "Save")) } }
        }
    }
}

fn password_form(visit: &Visit, complaint: Option<&Complaint>) -> Markup {
    let lang = visit.lang();
    let fields = FormFields::new(visit.lang(), &visit.form, complaint);
    let secret =
        |name, label| fields.field(FormField::new(name, label).kind("password").required());
    html! {
        form.form method="post" action="/console/account/password" {
            (csrf(visit))
            (parts::complaint(lang, complaint))
            input type="text" name="username" value=(visit.actor.username) autocomplete="username"
                hidden;
            (secret("old_password", lang.say("原密码", "Old password")))
            div.pair {
                (secret("new_password", lang.say("新密码", "New password")))
                (secret("again", lang.say("再次输入", "Again")))
            }
            div.buttons { button { (lang.say("修改密码", "Change the password")) } }
        }
    }
}
