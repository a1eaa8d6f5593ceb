//! A new secret for a webhook: the one before signs for a day more, and can be ended before that.

use super::key_rotation::{SecretRotation, sent};
use super::keys::owner_fact;
use super::webhooks::{ENTRY, secret};
use crate::lang::Lang;
use crate::once::once_field;
use crate::parts::{self, action};
use crate::replaced::{ChangedMeanwhile, FieldTexts, FormSays, mark_of};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Path, Visit, done};
use admin::AdminError;
use admin::ops::user;
use admin::ops::webhook::{self, WebhookShown, WebhookView};
use maud::{Markup, html};

/// `GET /console/webhooks/{id}/rotate`
pub(crate) async fn form(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    let endpoint = reached(&visit, id).await?;
    page(&visit, &endpoint, &FormSays::Nothing).await
}

/// `POST /console/webhooks/{id}/rotate`: returns the secret, which is shown only once.
pub(crate) async fn rotate(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    let endpoint = reached(&visit, id).await?;
    let replaces = (texts(&endpoint), visit.say("从现在起一天", "a day from now"));
    let rotated = webhook::rotate_seen(&visit.state, &visit.actor, &endpoint, None);
    let page_of = |_: &WebhookShown| format!("{ENTRY}/{id}");
    match sent(&visit, replaces, rotated, page_of).await? {
        SecretRotation::Made(shown) => {
            Ok(secret(&visit, &shown, &after(visit.lang(), &shown.endpoint)))
        }
        SecretRotation::Before(to) => Ok(done(&to, "hook-rotated-before")),
        SecretRotation::Asks(says) => page(&visit, &endpoint, &says).await,
    }
}

/// A webhook that the reader may give a new secret: a form that can't be sent is not opened.
async fn reached(visit: &Visit, id: i64) -> Result<WebhookView, AdminError> {
    let endpoint = webhook::get(&visit.state, &visit.actor, id).await?;
    user::require_reach(&visit.state, &visit.actor, endpoint.user_id).await?;
    user::require_there(&visit.state, endpoint.user_id).await?;
    Ok(endpoint)
}

/// What the form replaces. Each rotation has its own end of the secret before, so it names that.
fn texts(endpoint: &WebhookView) -> FieldTexts {
    let until = endpoint.previous_until.and_then(|at| jiff::Timestamp::from_second(at).ok());
    vec![("previous_until", until.map(|until| until.to_string()).unwrap_or_default())]
}

/// `POST /console/webhooks/{id}/end-old?of=`: ends the secret that the page showed, and no other.
pub(crate) async fn end_old(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    let endpoint = webhook::get(&visit.state, &visit.actor, id).await?;
    if endpoint.previous_until.is_some_and(|until| until.to_string() != visit.asked("of")) {
        return Err(AdminError::conflict(
            "密钥又被更换过: 现在的旧密钥不是页面上的那个, 请重新查看",
            "the secret was rotated again: the old one is another than the page showed",
        )
        .into());
    }
    webhook::end_old_secret_seen(&visit.state, &visit.actor, &endpoint).await?;
    Ok(done(&format!("{ENTRY}/{id}"), "old-ended"))
}

async fn page(visit: &Visit, endpoint: &WebhookView, says: &FormSays<ChangedMeanwhile>) -> Handled {
    let (lang, now) = (visit.lang(), mark_of(&texts(endpoint)));
    let here = format!("{ENTRY}/{}", endpoint.id);
    let body = html! {
        dl.facts {
            (owner_fact(visit, endpoint.user_id).await?)
            dt { (lang.say("地址", "Address")) } dd.mono.break { (endpoint.url) }
        }
        p { (lang.say(
            "现在的密钥再签名一天, 接收方可在此期间改用新密钥; 新密钥只显示这一次。",
            "The present secret signs as well for another day, so that the receiver can change \
             over meanwhile; the new one is shown once.",
        )) }
        form.form method="post" action={ (here) "/rotate" } {
            (csrf(visit))
            (once_field(visit))
            input type="hidden" name="opened" value=(says.opened(&visit.form, &now));
            (parts::complaint(lang, says.complaint()))
            @if let FormSays::Replaces(changed) = says { (changed.note(lang)) }
            @if let Some(until) = endpoint.previous_until {
                p.note {
                    (lang.say("更早的密钥仍在签名 (至 ", "The secret before still signs (until "))
                    (show::at(until))
                    (lang.say("); 再次更换会立即使它失效。", "): another rotation ends it at once."))
                }
            }
            div.buttons {
                button.primary { (lang.say("更换密钥", "Rotate")) }
                a.button href=(here) { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let title = lang.say("更换回调的密钥", "Rotate the secret of a webhook");
    Ok(says.show(visit, ShellPage::new(title, ENTRY), body))
}

/// What has become of the secret before.
fn after(lang: Lang, endpoint: &WebhookView) -> Markup {
    html! {
        @if let Some(until) = endpoint.previous_until {
            p {
                (lang.say("旧密钥仍在签名, 至 ", "The old secret still signs, until "))
                (show::at(until))
                (lang.say("; 在回调的页面上可以提前结束它。",
                    "; the page of the webhook ends it before that."))
            }
        }
    }
}

/// The secret before, while it signs: until when, and for who `reaches` it a button that ends it.
pub(super) fn old_note(visit: &Visit, endpoint: &WebhookView, reaches: bool) -> Markup {
    let lang = visit.lang();
    let Some(until) = endpoint.previous_until else { return html! {} };
    let to = format!("{ENTRY}/{}/end-old?of={until}", endpoint.id);
    html! {
        div.note #old-secret {
            (lang.say("旧密钥仍在签名, 至 ", "The old secret still signs, until "))
            (show::at(until)) ". "
            @if reaches {
                (action(visit, &to, lang.say("立即失效", "End it now"), lang.say(
                    "让旧密钥立即失效? 只知道它的接收方将无法校验通知。",
                    "End the old secret now? Receivers that know no other can't verify what comes.",
                )))
            }
        }
    }
}
