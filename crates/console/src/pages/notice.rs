//! The notice to users: set by administrators, read on the first page of users.

use super::for_admins;
use crate::form::{Complaint, Object};
use crate::lang::Lang;
use crate::parts::{self, FormField, FormFields, form_page, state};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Visit, done};
use admin::AdminError;
use admin::ops::notice::{self, NoticeInput, NoticeView};
use maud::{Markup, html};

const ENTRY: &str = "/console/notice";

/// The notice as users see it, in the reader's language where it is written in that.
pub(super) fn shown(lang: Lang, notice: &NoticeView) -> Markup {
    let (zh, en) = (notice.zh.as_str(), notice.en.as_str());
    let (tag, text) = match (lang, zh.is_empty(), en.is_empty()) {
        (Lang::Zh, false, _) | (Lang::En, _, true) => ("zh-CN", zh),
        _ => ("en", en),
    };
    html! {
        @if notice.shown {
            section.note aria-label=(lang.say("公告", "Notice")) {
                div.lines lang=(tag) { (text) }
            }
        }
    }
}

/// `GET /console/notice`
pub(crate) async fn show(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    page(&visit, None).await
}

/// `POST /console/notice`
pub(crate) async fn save(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    match saved(&visit).await {
        Ok(_) => Ok(done(ENTRY, "saved")),
        Err(error) => page(&visit, Some(&Complaint::of(error, visit.lang())?)).await,
    }
}

async fn saved(visit: &Visit) -> Result<NoticeView, AdminError> {
    let form = &visit.form;
    let object = Object::default()
        .put("zh", form.text("zh"))
        .put("en", form.text("en"))
        .put("expired_time", form.moment("expired_time")?);
    notice::put(&visit.state, &visit.actor, NoticeInput::read(object.fields()?)?).await
}

async fn page(visit: &Visit, complaint: Option<&Complaint>) -> Handled {
    let lang = visit.lang();
    let now = notice::get(&visit.state, &visit.actor).await?;
    let fields = FormFields::new(visit.lang(), &visit.form, complaint);
    let has_text = !now.zh.is_empty() || !now.en.is_empty();
    let (kind, word) = match (now.shown, has_text) {
        (true, _) => ("on", lang.say("用户在首页看到", "Users see it on their first page")),
        (false, true) => ("off", lang.say("已结束, 用户看不到", "It has ended: users see none")),
        (false, false) => ("off", lang.say("没有公告", "There is none")),
    };
    let body = html! {
        p {
            (state(kind, word))
            @if now.updated_at > 0 {
                span.muted { " · " (lang.say("设置于", "set")) " " (show::ago(now.updated_at)) }
            }
        }
        form.form method="post" action=(ENTRY) {
            (csrf(visit))
            (parts::complaint(lang, complaint))
            (fields.field(FormField::new("zh", lang.say("中文", "In Chinese"))
                .kind("prose")
                .value(&now.zh)
                .hint(lang.say("留空则显示英文", "empty: the English text is shown"))))
            (fields.field(FormField::new("en", lang.say("英文", "In English"))
                .kind("prose")
                .value(&now.en)
                .hint(lang.say("留空则显示中文; 两者都留空: 没有公告",
                    "empty: the Chinese text is shown; both empty: no notice"))))
            (fields.field(FormField::new("expired_time", lang.say("结束于 (UTC)", "Ends (UTC)"))
                .kind("datetime-local")
                .value(&show::moment(now.expired_time))
                .hint(lang.say("留空: 一直显示", "empty: it stays"))))
            div.buttons { button.primary { (lang.say("保存", "Save")) } }
        }
    };
    let title = lang.say("公告", "Notice");
    Ok(form_page(visit, ShellPage::new(title, ENTRY), complaint, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_language_stands_in() {
        let text = |lang, zh: &str, en: &str| {
            let (zh, en) = (zh.to_owned(), en.to_owned());
            let notice = NoticeView { zh, en, shown: true, ..NoticeView::default() };
            shown(lang, &notice).into_string()
        };
        assert!(text(Lang::Zh, "维护", "down").contains("维护"));
        assert!(text(Lang::En, "维护", "down").contains("down"));
        assert!(text(Lang::Zh, "", "down").contains(r#"lang="en">down"#));
        assert!(text(Lang::En, "维护", "").contains(r#"lang="zh-CN">维护"#));
        assert_eq!(shown(Lang::En, &NoticeView::default()).into_string(), "");
    }
}
