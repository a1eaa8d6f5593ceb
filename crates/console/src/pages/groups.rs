//! Groups: factors on every price.

use super::for_admins;
use crate::form::{Complaint, Object};
use crate::lang::tell;
use crate::parts::{self, FormField, FormFields, action, form_page, pager};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Visit, done, step};
use admin::AdminError;
use admin::ops::group::{self, GroupInput, GroupView};
use maud::html;

const ENTRY: &str = "/console/groups";

/// `GET /console/groups`
pub(crate) async fn list(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    list_page(&visit, None).await
}

/// `POST /console/groups`
pub(crate) async fn save(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    match saved(&visit).await {
        Ok(_) => Ok(done(ENTRY, "saved")),
        Err(error) => list_page(&visit, Some(&Complaint::of(error, visit.lang())?)).await,
    }
}

async fn saved(visit: &Visit) -> Result<GroupView, AdminError> {
    let object = Object::default()
        .put("group_name", visit.form.text("group_name"))
        .put_some("ratio", visit.form.text("ratio"));
    group::put(&visit.state, &visit.actor, GroupInput::read(object.fields()?)?).await
}

async fn list_page(visit: &Visit, complaint: Option<&Complaint>) -> Handled {
    let lang = visit.lang();
    let page = group::list(&visit.state, visit.page_request()?).await?;
    let fields = FormFields { lang: visit.lang(), form: &visit.form, complaint };
    let row = |group: &GroupView| {
        let name = &group.group_name;
        html! {
            tr {
                td { (name) }
                td.num { (group.ratio.get()) }
                td { (show::ago(group.updated_at)) }
                td.acts {
                    a href={ "/console/users?group=" (step(name)) } { (lang.say("用户", "Users")) }
                    " "
                    a href={ "/console/channels?group=" (step(name)) } {
                        (lang.say("渠道", "Channels"))
                    }
                    (action(visit, &format!("/console/groups/delete?name={}", step(name)),
                        lang.say("删除", "Delete"),
                        &tell!(lang, "删除分组 {name} 的倍率? 从此按 1 计。",
                            "Delete the ratio of {name}? It counts as 1 from then on.")))
                }
            }
        }
    };
    let body = html! {
        @if page.items.is_empty() {
            (parts::empty(lang.say("没有设置倍率的分组按 1 计价。",
                "Groups without a ratio pay the plain price."), None))
        } @else {
            div.scroll {
                table {
                    thead { tr {
                        th { (lang.say("分组", "Group")) }
                        th.num { (lang.say("倍率", "Ratio")) }
                        th { (lang.say("修改于", "Edited")) }
                        (parts::acts_head(lang))
                    } }
                    tbody { @for group in &page.items { (row(group)) } }
                }
            }
        }
        (pager(visit, &page))
        h2.sec { (lang.say("新建或修改", "New or changed")) }
        form.form method="post" action=(ENTRY) {
            (csrf(visit))
            (parts::complaint(lang, complaint))
            div.pair {
                (fields.field(FormField::new("group_name", lang.say("分组", "Group")).required()))
                (fields.field(FormField::new("ratio", lang.say("倍率", "Ratio"))
                    .required()
                    .hint(lang.say("0.8 即八折", "0.8 pays 80 %"))))
            }
            div.buttons { button.primary { (lang.say("保存", "Save")) } }
        }
    };
    let title = lang.say("分组", "Groups");
    Ok(form_page(visit, ShellPage::new(title, ENTRY), complaint, body))
}

/// `POST /console/groups/delete?name=`
pub(crate) async fn delete(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    group::delete(&visit.state, &visit.actor, visit.asked("name")).await?;
    Ok(done(ENTRY, "deleted"))
}
