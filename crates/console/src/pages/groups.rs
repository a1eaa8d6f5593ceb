//! Groups: factors on every price.

use super::for_admins;
use crate::columns::{Column, Columns};
use crate::form::{Complaint, Object};
use crate::lang::{Lang, tell};
use crate::parts::{self, FormField, action, pager_with};
use crate::replaced::FormSays;
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Visit, done, step};
use admin::AdminError;
use admin::ops::group::{self, GroupExample, GroupInput, GroupView, ListedGroup};
use domain::Quota;
use maud::{Markup, html};

const ENTRY: &str = "/console/groups";

/// `GET /console/groups`
pub(crate) async fn list(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let edited = match visit.asked("edit") {
        "" => None,
        name => match group::get(&visit.state, name).await {
            Ok(group) => Some(group),
            Err(AdminError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        },
    };
    list_page(&visit, FormSays::Nothing, edited.as_ref()).await
}

/// `POST /console/groups`
pub(crate) async fn save(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    match saved(&visit).await {
        Ok(None) => Ok(done(ENTRY, "saved")),
        Ok(Some(old)) => list_page(&visit, FormSays::Replaces(old), None).await,
        Err(error) => {
            let complaint = Complaint::of(error, visit.lang())?;
            list_page(&visit, FormSays::Complaint(complaint), None).await
        }
    }
}

/// Saves it; or returns the ratio that there is, which its writer has not seen.
async fn saved(visit: &Visit) -> Result<Option<GroupView>, AdminError> {
    let object = Object::default()
        .put("group_name", visit.form.text("group_name"))
        .put_some("ratio", visit.form.text("ratio"));
    let input = GroupInput::read(object.fields()?)?;
    let old = match group::get(&visit.state, &input.group_name).await {
        Ok(old) => Some(old),
        Err(AdminError::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    let changes = |old: &GroupView| old.ratio.get().parse() != Ok(input.ratio);
    let seen = visit.form.text("replaces");
    if let Some(old) = old.filter(|old| changes(old) && old.ratio.get() != seen) {
        return Ok(Some(old));
    }
    group::put(&visit.state, &visit.actor, input).await?;
    Ok(None)
}

/// The ratio that the form would replace.
fn replaced(lang: Lang, old: &GroupView, new: &str) -> Markup {
    let group = &old.group_name;
    html! {
        input type="hidden" name="replaces" value=(old.ratio.get());
        div.note role="alert" {
            p { b { (tell!(lang, "分组 {group} 已有倍率, 保存会替换它:",
                "{group} has a ratio already, which this replaces:")) } }
            p {
                (parts::field_label(lang, "ratio")) ": "
                span.muted { (old.ratio.get()) } " → " b { (new) }
            }
            p { (paying(lang, old)) }
        }
    }
}

fn one_or_many(count: i64, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

/// Who pays by a ratio.
fn paying(lang: Lang, group: &GroupView) -> String {
    let (users, keys) = (group.members.users, group.members.keys);
    let (user, key) = (one_or_many(users, "user"), one_or_many(keys, "key"));
    tell!(
        lang,
        "按它付费: {users} 个用户, {keys} 个令牌。",
        "Paying by it: {users} {user}, {keys} {key}."
    )
}

/// The groups, and the form; `edited` is the group that it is opened with.
async fn list_page(
    visit: &Visit,
    says: FormSays<GroupView>,
    edited: Option<&GroupView>,
) -> Handled {
    let lang = visit.lang();
    let page = group::listed(&visit.state, &visit.actor, visit.page_request()?).await?;
    let columns = columns(visit);
    let fields = says.fields(lang, &visit.form);
    let body = html! {
        (columns.table(&html! { tbody { @for group in &page.items {
            tr { (columns.cells(group)) }
        } } }))
        p.muted.small { (lang.say("没有设置倍率的分组按 1 计价。",
            "Groups without a ratio pay the plain price.")) }
        (pager_with(visit, &page, &columns.menu()))
        h2.sec { @match edited {
            Some(group) => (tell!(lang, "修改 {}", "Change {}", group.group_name)),
            None => (lang.say("新建或修改", "New or changed")),
        } }
        form.form method="post" action=(ENTRY) {
            (csrf(visit))
            (parts::complaint(lang, says.complaint()))
            @if let FormSays::Replaces(old) = &says {
                (replaced(lang, old, visit.form.text("ratio")))
            }
            // What it was when the form was opened: one that was changed since is asked about.
            @if let Some(old) = edited {
                input type="hidden" name="replaces" value=(old.ratio.get());
            }
            @let (name, ratio) =
                edited.map_or((visit.asked("name"), ""), |old| (&old.group_name, old.ratio.get()));
            div.pair {
                (fields.field(FormField::new("group_name", lang.say("分组", "Group"))
                    .value(name)
                    .required()))
                (fields.field(FormField::new("ratio", lang.say("倍率", "Ratio"))
                    .value(ratio)
                    .required()
                    .hint(lang.say("0.8 即八折", "0.8 pays 80 %"))))
            }
            div.buttons { button.primary { (match says {
                FormSays::Replaces(_) => lang.say("替换倍率", "Replace the ratio"),
                _ => lang.say("保存", "Save"),
            }) } }
        }
    };
    let page = ShellPage::new(lang.say("分组", "Groups"), ENTRY);
    Ok(says.show(visit, page, body))
}

type GroupColumn<'a> = Column<'a, ListedGroup>;

fn columns(visit: &Visit) -> Columns<'_, ListedGroup> {
    let lang = visit.lang();
    let count = |id: &'static str, label, read: fn(&ListedGroup) -> i64| {
        GroupColumn::new(id, label, move |group| show::count_cell(read(group))).number()
    };
    let linked = |list: &'static str, read: fn(&ListedGroup) -> i64| {
        move |group: &ListedGroup| {
            let to = format!("/console/{list}?group={}", step(&group.view.group_name));
            html! { td.num { a href=(to) { (show::count(read(group))) } } }
        }
    };
    let all = vec![
        GroupColumn::thing(lang.say("分组", "Group"), |group| {
            html! { td { a href=(edit_address(group)) { (group.view.group_name) } } }
        }),
        GroupColumn::new("ratio", lang.say("倍率", "Ratio"), |group| {
            html! { td.num.muted[!group.has_ratio] { (group.view.ratio.get()) } }
        })
        .number(),
        GroupColumn::new("example", lang.say("示例价格", "Example"), move |group| {
            html! { td { @match &group.view.example {
                Some(example) => (example_price(lang, example)),
                None => span.muted { (show::NOTHING) },
            } } }
        })
        .wide(),
        GroupColumn::new(
            "users",
            lang.say("用户", "Users"),
            linked("users", |group| group.view.members.users),
        )
        .number(),
        count("keys", lang.say("令牌", "Keys"), |group| group.view.members.keys).wide(),
        GroupColumn::new(
            "channels",
            lang.say("渠道", "Channels"),
            linked("channels", |group| group.view.members.channels),
        )
        .number()
        .wide(),
        GroupColumn::new("edited", lang.say("修改于", "Edited"), |group| {
            html! { td { (show::ago(group.view.updated_at)) } }
        })
        .wide(),
        GroupColumn::tool(parts::acts_head(lang), move |group| actions_cell(visit, group)),
    ];
    Columns::of(visit, "groups", all)
}

/// The page with the form of a group.
fn edit_address(group: &ListedGroup) -> String {
    let asked = if group.has_ratio { "edit" } else { "name" };
    format!("{ENTRY}?{asked}={}#f-ratio", step(&group.view.group_name))
}

fn actions_cell(visit: &Visit, group: &ListedGroup) -> Markup {
    let (lang, name, edit) = (visit.lang(), &group.view.group_name, edit_address(group));
    html! {
        td.acts {
            @if group.has_ratio {
                a href=(edit) { (lang.say("编辑", "Edit")) }
                " "
                (action(visit, &format!("{ENTRY}/delete?name={}", step(name)),
                    lang.say("删除", "Delete"),
                    &tell!(lang, "删除分组 {name} 的倍率? 从此按 1 计。{}",
                        "Delete the ratio of {name}? It counts as 1 from then on. {}",
                        paying(lang, &group.view))))
            } @else {
                a href=(edit) { (lang.say("设置倍率", "Set a ratio")) }
            }
        }
    }
}

/// What a model costs in a group.
fn example_price(lang: Lang, example: &GroupExample) -> Markup {
    let million =
        |quota: Option<Quota>| quota.map_or_else(|| html! { (show::NOTHING) }, show::million);
    html! {
        span.muted { (example.model_name) ": " }
        @match example.a_call {
            Some(quota) => { (show::amount(quota)) " " (lang.say("每次", "a call")) }
            None => {
                (million(example.prompt_million)) " / " (million(example.completion_million))
                " " span.muted { (lang.say("每百万 Tokens", "a million tokens")) }
            }
        }
    }
}

/// `POST /console/groups/delete?name=`
pub(crate) async fn delete(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    group::delete(&visit.state, &visit.actor, visit.asked("name")).await?;
    Ok(done(ENTRY, "deleted"))
}
