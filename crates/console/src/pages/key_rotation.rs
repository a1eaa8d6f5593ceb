//! A new secret for a key: how long the one before is good, and its end before that.

use super::keys::{ENTRY, facts, shown};
use crate::form::{Complaint, Object};
use crate::lang::{Lang, tell};
use crate::once::{SentOnce, once, once_field};
use crate::parts::{self, action};
use crate::replaced::{ChangedMeanwhile, FieldTexts, FormSays, mark_of};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Path, Visit, done};
use admin::AdminError;
use admin::ops::token::{self, Created, TokenView};
use admin::ops::user;
use domain::KeyId;
use maud::{Markup, html};

/// `GET /console/keys/{id}/rotate`
pub(crate) async fn form(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    let key = reached(&visit, id).await?;
    page(&visit, &key, &FormSays::Nothing).await
}

/// `POST /console/keys/{id}/rotate`: returns the secret, which is shown only once.
pub(crate) async fn rotate(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    let key = reached(&visit, id).await?;
    let replaces = (texts(&key), visit.say("新的密钥", "a new one"));
    let page_of = |_: &Created| format!("{ENTRY}/{id}/edit");
    match sent(&visit, replaces, rotated(&visit, &key), page_of).await? {
        SecretRotation::Made(created) => {
            let (lang, token) = (visit.lang(), &created.token);
            let title = tell!(lang, "{} 的新密钥", "New secret of {}", named(lang, token));
            shown(&visit, &created, &title, &after(lang, &key, token)).await
        }
        SecretRotation::Before(to) => Ok(done(&to, "rotated-before")),
        SecretRotation::Asks(says) => page(&visit, &key, &says).await,
    }
}

/// What became of the form of a rotation.
pub(super) enum SecretRotation<T> {
    Made(T),
    /// It was sent before: the page of what has a new secret since then.
    Before(String),
    /// Nothing was rotated: the form comes back.
    Asks(FormSays<ChangedMeanwhile>),
}

/// Rotates as a form says: once, and only if its writer has seen these texts, which it replaces by
/// `new`.
pub(super) async fn sent<T>(
    visit: &Visit,
    (now, new): (FieldTexts, &str),
    rotate: impl Future<Output = Result<T, AdminError>>,
    page_of: impl FnOnce(&T) -> String,
) -> Result<SecretRotation<T>, AdminError> {
    let mut changed = None;
    let made = async {
        changed = ChangedMeanwhile::unseen(&visit.form, &now, |_| Some(new.to_owned()));
        match &changed {
            None => rotate.await,
            Some(_) => Err(AdminError::conflict("已被修改", "it was changed meanwhile")),
        }
    };
    let ended = once(visit, made, page_of).await;
    Ok(match (ended, changed) {
        (Ok(SentOnce::Made(made)), _) => SecretRotation::Made(made),
        (Ok(SentOnce::Before(to)), _) => SecretRotation::Before(to),
        (Err(_), Some(changed)) => SecretRotation::Asks(FormSays::Replaces(changed)),
        (Err(error), None) => {
            SecretRotation::Asks(FormSays::Complaint(Complaint::of(error, visit.lang())?))
        }
    })
}

/// A key that the reader may give a new secret: a form that can't be sent is not opened.
async fn reached(visit: &Visit, id: i64) -> Result<TokenView, AdminError> {
    let key = token::get(&visit.state, &visit.actor, KeyId(id)).await?;
    user::require_reach(&visit.state, &visit.actor, key.user_id).await?;
    user::require_there(&visit.state, key.user_id).await?;
    Ok(key)
}

async fn rotated(visit: &Visit, key: &TokenView) -> Result<Created, AdminError> {
    let grace = visit.form.text("grace_seconds");
    let fields = Object::default().put_int("grace_seconds", grace).fields()?;
    token::rotate_seen(&visit.state, &visit.actor, key, token::read_grace(fields)?).await
}

/// What the form replaces.
fn texts(key: &TokenView) -> FieldTexts {
    vec![("key_hint", key.key_hint.clone())]
}

/// `POST /console/keys/{id}/end-old?of=`: ends the secret that the page showed, and no other.
pub(crate) async fn end_old(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    let key = token::get(&visit.state, &visit.actor, KeyId(id)).await?;
    if key.old_key_hint.as_deref().is_some_and(|hint| hint != visit.asked("of")) {
        return Err(AdminError::conflict(
            "令牌又被更换过: 现在的旧密钥不是页面上的那个, 请重新查看",
            "the key was rotated again: its old secret is another one than the page showed",
        )
        .into());
    }
    token::end_old_key_seen(&visit.state, &visit.actor, &key).await?;
    Ok(done(&format!("{ENTRY}/{id}/edit"), "old-ended"))
}

async fn page(visit: &Visit, key: &TokenView, says: &FormSays<ChangedMeanwhile>) -> Handled {
    let (lang, now) = (visit.lang(), mark_of(&texts(key)));
    let fields = says.fields(lang, &visit.form);
    let graces = [
        ("86400", lang.say("24 小时", "24 hours")),
        ("3600", lang.say("1 小时", "1 hour")),
        ("604800", lang.say("7 天", "7 days")),
        ("0", lang.say("不再有效: 密钥已泄露", "not at all: it has leaked")),
    ];
    let body = html! {
        (facts(visit, key).await?)
        p { (lang.say(
            "名称、限额、用量、任务和日志都不变, 只换密钥。新密钥只显示这一次。",
            "Its name, limits, use, tasks and log stay; only its secret is replaced. The new one \
             is shown once.",
        )) }
        (works_once_on(lang, key))
        form.form method="post" action={ (ENTRY) "/" (key.id) "/rotate" } {
            (csrf(visit))
            (once_field(visit))
            input type="hidden" name="opened" value=(says.opened(&visit.form, &now));
            (parts::complaint(lang, says.complaint()))
            @if let FormSays::Replaces(changed) = says { (changed.note(lang)) }
            @if let Some((hint, ends)) = old_secret(key) {
                p.note {
                    (lang.say("更早的密钥 ", "The secret before, "))
                    span.mono { (hint) } (lang.say("", ","))
                    (works_until(lang, key, ends))
                    (lang.say("; 再次更换会立即使它失效。", "; another rotation ends it at once."))
                }
            }
            (fields.choice(
                ("grace_seconds", lang.say("现在的密钥还有效", "The present secret still works for")),
                "86400",
                &graces,
            ))
            p.hint {
                span.mono { (key.key_hint) } " · "
                @if key.status == 1 {
                    (lang.say("在此期间两个密钥都能用, 以便逐个更换客户端",
                        "both work meanwhile, so that clients can be moved one by one"))
                } @else {
                    (lang.say("在此期间令牌启用后两个密钥都能用",
                        "both work meanwhile, once the key is on"))
                }
            }
            div.buttons {
                button.primary { (lang.say("更换密钥", "Rotate")) }
                a.button href={ (ENTRY) "/" (key.id) "/edit" } { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let title = tell!(lang, "更换令牌 {} 的密钥", "Rotate the key {}", named(lang, key));
    Ok(says.show(visit, ShellPage::new(title, ENTRY), body))
}

/// The way to the page above, from that of the key.
pub(super) fn button(lang: Lang, key: &TokenView) -> Markup {
    html! {
        span.space {}
        a.button href={ (ENTRY) "/" (key.id) "/rotate" } { (lang.say("更换密钥", "Rotate")) }
    }
}

/// The secret before, while it is good: until when, whether it is in use, and a button that ends
/// it.
pub(super) fn old_note(visit: &Visit, key: &TokenView) -> Markup {
    let lang = visit.lang();
    let Some((hint, ends)) = old_secret(key) else { return html! {} };
    let mut to = form_urlencoded::Serializer::new(format!("{ENTRY}/{}/end-old?", key.id));
    let to = to.append_pair("of", hint).finish();
    html! {
        div.note #old-secret {
            (lang.say("旧密钥 ", "The old secret ")) span.mono { (hint) }
            (works_until(lang, key, ends)) ". "
            @match key.old_key_used_at {
                Some(at) => {
                    (lang.say("更换后最近一次使用: ", "Last used since it was replaced: "))
                    (show::at(at)) ". "
                }
                None => (lang.say("更换后没有使用过。 ", "Not used since it was replaced. ")),
            }
            (action(visit, &to, lang.say("立即失效", "End it now"), lang.say(
                "让旧密钥立即失效? 仍在使用它的客户端会被拒绝。",
                "End the old secret now? Clients that still use it are refused.",
            )))
        }
    }
}

/// First and last characters of the secret before, and until when it is good.
fn old_secret(key: &TokenView) -> Option<(&str, i64)> {
    key.old_key_hint.as_deref().zip(key.old_key_ends_at)
}

/// What has become of the secret before.
fn after(lang: Lang, before: &TokenView, now: &TokenView) -> Markup {
    html! {
        p {
            (lang.say("旧密钥 ", "The old secret ")) span.mono { (before.key_hint) }
            @match now.old_key_ends_at {
                Some(ends) => (works_until(lang, now, ends)),
                None => (lang.say(" 已失效。", " has ended.")),
            }
        }
        (works_once_on(lang, now))
    }
}

/// That the secret before works, or will, and until when.
fn works_until(lang: Lang, key: &TokenView, ends: i64) -> Markup {
    html! {
        @if key.status == 1 { (lang.say(" 仍有效, 至 ", " still works, until ")) }
        @else { (lang.say(" 在令牌启用后有效, 至 ", " works once the key is on, until ")) }
        (show::at(ends))
    }
}

/// That no secret of a disabled key works.
fn works_once_on(lang: Lang, key: &TokenView) -> Markup {
    html! {
        @if key.status != 1 {
            p.note #key-is-off { (lang.say(
                "令牌已禁用, 更换密钥不会启用它: 启用后密钥才有效。",
                "The key is off, and a new secret does not turn it on: its secrets work once it is \
                 on.",
            )) }
        }
    }
}

/// The mark in the list of a key whose secret before is good.
pub(super) fn chip(lang: Lang, key: &TokenView) -> Markup {
    html! {
        @if key.old_key_ends_at.is_some() {
            br;
            span.chip {
                @if key.status == 1 { (lang.say("旧密钥有效", "old one works")) }
                @else { (lang.say("旧密钥: 启用后有效", "old one: works once on")) }
            }
        }
    }
}

fn named(lang: Lang, key: &TokenView) -> String {
    match key.name.as_str() {
        "" => format!("{} {}", lang.say("(未命名)", "(no name)"), key.key_hint),
        name => name.to_owned(),
    }
}
