//! Redemption codes: administrators make lots of them, users redeem one.

use super::adjust::reason;
use super::batch::{self, BatchList};
use super::for_admins;
use crate::columns::{Column, Columns};
use crate::form::{Complaint, Object};
use crate::lang::{Lang, tell};
use crate::parts::{
    self, FormField, FormFields, action, chosen, filters, form_page, pager_with, typed,
};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::unfit::empty_or_unfit;
use crate::visit::{Handled, Here, PageReply, Path, Visit, done, go_to, step, switched};
use admin::AdminError;
use admin::ops::redemption::{self, LotRequest, OpenCodes, RedemptionInput, RedemptionView};
use admin::ops::user;
use domain::{RedemptionId, UserId};
use http::StatusCode;
use maud::{Markup, html};
use std::collections::BTreeMap;
use store::Secret;

const ENTRY: &str = "/console/codes";
const LIST: BatchList = BatchList {
    entry: ENTRY,
    noun: ["兑换码", "code", "codes", "Code"],
    on: ("未使用", "Open"),
    disabling: ("启用之前不能兑换。", "They can't be redeemed until they are enabled."),
};

/// `GET /console/codes`
pub(crate) async fn list(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let lang = visit.lang();
    let page = redemption::list(&visit.state, &visit.query(), visit.page_request()?).await?;
    let lot = visit.asked("lot");
    let open = if lot.is_empty() { None } else { open_of(&visit, lot).await? };
    let named = page.items.iter().flat_map(|code| [code.user_id, code.used_user_id]);
    let named = named.filter(|id| id.0 > 0);
    let names = user::names(&visit.state, &visit.actor, named).await?;
    let columns = columns(&visit, &names);
    let states = [
        ("1", lang.say("未使用", "Open")),
        ("2", lang.say("禁用", "Off")),
        ("3", lang.say("已兑换", "Redeemed")),
    ];
    let body = html! {
        (filters(&visit, html! {
            @if lot.is_empty() {
                (typed(&visit, "keyword", lang.say("批次名称", "Name of the lot")))
            } @else {
                (parts::of_one(&visit, "lot", &html! { (lot_name(lot, open.as_ref())) }))
            }
            (chosen(&visit, "status", lang.say("全部状态", "All states"), &states))
        }))
        div #list {
            @if page.items.is_empty() {
                (empty_or_unfit(&visit, lang.say("兑换码由用户兑换成余额, 每个一次。",
                    "A code turns into balance for the user who redeems it, once."),
                    Some(("/console/codes/new", lang.say("生成兑换码", "Make codes")))))
            } @else {
                (columns.table(&html! { tbody { @for code in &page.items {
                    tr { (columns.cells(code)) }
                } } }))
                (batch::bar(&visit, &LIST, html! {}))
            }
            (pager_with(&visit, &page, &columns.menu()))
        }
        @if let Some(open) = open.as_ref().filter(|open| open.changed > 0) {
            (lot_button(&visit, lot, open))
        }
    };
    let beside = html! {
        span.muted { (show::count(page.total)) }
        span.space {}
        a.button.primary href="/console/codes/new" { (lang.say("生成兑换码", "New codes")) }
    };
    Ok(ShellPage::new(lang.say("兑换码", "Codes"), ENTRY).beside(beside).show(&visit, body))
}

/// The codes of a lot that can still be redeemed, if there is such a lot.
async fn open_of(visit: &Visit, lot: &str) -> Result<Option<OpenCodes>, AdminError> {
    let request = LotRequest { lot: lot.to_owned(), count: None, dry_run: true };
    match redemption::disable_lot(&visit.state, &visit.actor, &request).await {
        Ok(open) => Ok(Some(open)),
        Err(AdminError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A lot by its name, or by its reference where it has none.
fn lot_name<'a>(lot: &'a str, open: Option<&'a OpenCodes>) -> &'a str {
    open.map(|open| open.name.as_str()).filter(|name| !name.is_empty()).unwrap_or(lot)
}

/// Leads to what disabling every open code of a lot would do.
fn lot_button(visit: &Visit, lot: &str, open: &OpenCodes) -> Markup {
    let (lang, many) = (visit.lang(), show::count(open.changed));
    html! {
        form.bar method="post" action="/console/codes/lot" {
            (csrf(visit))
            input type="hidden" name="lot" value=(lot);
            button { (tell!(lang, "禁用该批次全部 {many} 个未使用的兑换码",
                "Disable all {many} open of this lot")) }
        }
    }
}

fn list_of(lot: &str) -> String {
    format!("{ENTRY}?lot={}", step(lot))
}

/// `GET /console/codes/lot`: a page that was loaded again.
pub(crate) async fn leave_lot() -> Handled {
    Ok(go_to(ENTRY))
}

/// `POST /console/codes/lot`: what disabling every open code of a lot would do, and with `apply`
/// doing it, to as many as were shown.
pub(crate) async fn disable_lot(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let lot = visit.form.text("lot");
    if visit.form.ticked("apply") {
        match applied(&visit, lot).await {
            Ok(_) => return Ok(done(&list_of(lot), "disabled")),
            Err(error @ AdminError::Conflict { .. }) => {
                let complaint = Complaint::of(error, visit.lang())?;
                return lot_page(&visit, lot, Some(&complaint)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    lot_page(&visit, lot, None).await
}

async fn applied(visit: &Visit, lot: &str) -> Result<OpenCodes, AdminError> {
    let mut seen = Object::default().put_int("count", visit.form.text("count")).fields()?;
    let count = seen.int("count")?;
    let count = Some(seen.required("count", count)?);
    let request = LotRequest { lot: lot.to_owned(), count, dry_run: false };
    redemption::disable_lot(&visit.state, &visit.actor, &request).await
}

async fn lot_page(visit: &Visit, lot: &str, complaint: Option<&Complaint>) -> Handled {
    let lang = visit.lang();
    let request = LotRequest { lot: lot.to_owned(), count: None, dry_run: true };
    let open = redemption::disable_lot(&visit.state, &visit.actor, &request).await?;
    let body = html! {
        form.form method="post" action="/console/codes/lot" {
            (csrf(visit))
            (parts::complaint(lang, complaint))
            input type="hidden" name="lot" value=(lot);
            input type="hidden" name="count" value=(open.changed);
            p.note { (lang.say(LIST.disabling.0, LIST.disabling.1)) }
            dl.facts {
                dt { (lang.say("批次", "Lot")) } dd { b { (lot_name(lot, Some(&open))) } }
                dt { (lang.say("未使用", "Open")) } dd { (show::count(open.changed)) }
                dt { (lang.say("总价值", "Worth in all")) } dd { (show::money(open.quota)) }
                dt { (lang.say("经手人", "Signed by")) } dd { (visit.actor.username) }
            }
            div.buttons {
                @if open.changed > 0 {
                    button.primary name="apply" value="1" {
                        (tell!(lang, "禁用 {}", "Disable {}", LIST.many(lang, open.changed)))
                    }
                }
                a.button href=(list_of(lot)) { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let page = ShellPage::new(lang.say("将要发生的变化", "What will change"), ENTRY);
    let status = if complaint.is_some() { StatusCode::CONFLICT } else { StatusCode::OK };
    Ok(page.status(status).show(visit, body))
}

fn state(lang: Lang, code: &RedemptionView) -> Markup {
    match code.status {
        1 => parts::state("on", lang.say("未使用", "open")),
        3 => parts::state("off", lang.say("已兑换", "redeemed")),
        _ => parts::state("off", lang.say("禁用", "off")),
    }
}

type CodeColumn<'a> = Column<'a, RedemptionView>;

fn columns<'a>(
    visit: &'a Visit,
    names: &'a BTreeMap<UserId, String>,
) -> Columns<'a, RedemptionView> {
    let lang = visit.lang();
    let who = move |id: UserId| {
        html! { @match names.get(&id) {
            Some(name) => a href={ "/console/users/" (id.0) } title={ "#" (id.0) } { (name) },
            None => { "#" (id.0) },
        } }
    };
    let all = vec![
        CodeColumn::tool(batch::tick_head(lang), move |code| {
            let name = format!("{} {}", code.name, code.key_hint);
            batch::tick(lang, code.id.0, &name, code.status != 3)
        }),
        CodeColumn::thing(lang.say("批次", "Lot"), |code| {
            let name = if code.name.is_empty() { show::NOTHING } else { &code.name };
            html! {
                td {
                    @if code.lot.is_empty() { (name) }
                    @else { a href=(list_of(&code.lot)) { (name) } }
                }
            }
        }),
        CodeColumn::new("code", lang.say("兑换码", "Code"), |code| {
            html! { td.mono.muted { (code.key_hint) } }
        })
        .wide(),
        CodeColumn::new("state", lang.say("状态", "State"), move |code| {
            html! { td { (state(lang, code)) } }
        }),
        CodeColumn::new("worth", lang.say("金额", "Worth"), |code| show::amount_cell(code.quota))
            .number(),
        CodeColumn::new("made", lang.say("生成于", "Made"), |code| {
            html! { td { (show::ago(code.created_time)) } }
        })
        .wide(),
        CodeColumn::new("maker", lang.say("生成者", "Made by"), move |code| {
            html! { td { @if code.user_id.0 > 0 { (who(code.user_id)) }
            @else { span.muted { (show::NOTHING) } } } }
        })
        .wide(),
        CodeColumn::new("ends", lang.say("到期", "Ends"), move |code| {
            html! { td {
                @if code.expired_time == 0 { span.muted { (lang.say("永不", "never")) } }
                @else { (show::at(code.expired_time)) }
            } }
        })
        .wide(),
        CodeColumn::new("redeemed", lang.say("兑换者", "Redeemed by"), move |code| {
            html! { td { @if code.used_user_id.0 > 0 {
                (who(code.used_user_id))
                span.muted { " · " (show::ago(code.redeemed_time)) }
            } @else { span.muted { (show::NOTHING) } } } }
        })
        .wide(),
        CodeColumn::tool(parts::acts_head(lang), move |code| actions_cell(visit, code)),
    ];
    Columns::of(visit, "codes", all)
}

fn actions_cell(visit: &Visit, code: &RedemptionView) -> Markup {
    let (lang, id) = (visit.lang(), code.id.0);
    let to = format!("/console/codes/{id}/status");
    html! {
        td.acts {
            @if code.status == 1 {
                (action(visit, &format!("{to}?to=off"), lang.say("禁用", "Disable"), ""))
            } @else if code.status == 2 {
                (action(visit, &format!("{to}?to=on"), lang.say("启用", "Enable"), ""))
            }
            @if code.status != 3 {
                (action(visit, &format!("/console/codes/{id}/delete"), lang.say("删除", "Delete"),
                    lang.say("删除这个兑换码?", "Delete this code?")))
            }
        }
    }
}

/// `GET /console/codes/new`
pub(crate) async fn new(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    page(&visit, None)
}

/// `POST /console/codes/new`: returns the codes, which are shown only once.
pub(crate) async fn create(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    match created(&visit).await {
        Ok(codes) => Ok(shown(&visit, &codes)),
        Err(error @ AdminError::Conflict { .. }) => made_before(&visit, error).await,
        Err(error) => page(&visit, Some(&Complaint::of(error, visit.lang())?)),
    }
}

/// A form that was sent twice made its codes once. They are gone from view: their lot is not.
async fn made_before(visit: &Visit, error: AdminError) -> Handled {
    let lang = visit.lang();
    let complaint = Complaint::of(error, lang)?;
    let list = list_of(visit.form.text("reference"));
    let body = html! {
        p.complaint role="alert" { (complaint.words) }
        p { (lang.say(
            "这个表单已提交过一次。如果没有保存那些兑换码, 请停用它们, 再生成新的。",
            "This form was sent before. If those codes were not kept, disable them, and make \
             others.",
        )) }
        div.buttons {
            a.button.primary href=(list) { (lang.say("查看这些兑换码", "To the codes")) }
            a.button href="/console/codes/new" { (lang.say("生成新的", "Make others")) }
        }
    };
    let title = lang.say("此前已生成", "Made before");
    Ok(ShellPage::new(title, ENTRY).status(StatusCode::CONFLICT).show(visit, body))
}

async fn created(visit: &Visit) -> Result<Vec<Secret>, AdminError> {
    let form = &visit.form;
    let mut object =
        Object::default().put("name", form.text("name")).put_int("count", form.text("count"));
    if let Some(quota) = form.amount("quota")? {
        object = object.put("quota", quota);
    }
    if !form.text("expired_time").is_empty() {
        object = object.put("expired_time", form.moment("expired_time")?);
    }
    // Money that whoever has the codes takes: why is asked as where a balance is moved.
    object = object.put("reason", reason(form)?).put_some("reference", form.text("reference"));
    let input = RedemptionInput::read(object.fields()?)?;
    redemption::create(&visit.state, &visit.actor, input).await
}

fn page(visit: &Visit, complaint: Option<&Complaint>) -> Handled {
    let lang = visit.lang();
    let fields = FormFields::new(visit.lang(), &visit.form, complaint);
    let reference = format!("console-{}", web::uuid_v7(visit.state.clock.now()));
    let body = html! {
        form.form method="post" action="/console/codes/new" {
            (csrf(visit))
            input type="hidden" name="reference" value=(fields.now("reference", &reference));
            (parts::complaint(lang, complaint))
            div.pair {
                (fields.field(FormField::new("name", lang.say("批次名称", "Name of the lot"))))
                (fields.field(FormField::new("expired_time", lang.say("到期 (UTC)", "Ends (UTC)"))
                    .kind("datetime-local")
                    .hint(lang.say("留空: 永不", "empty: never"))))
            }
            div.pair {
                (fields.field(FormField::new("quota", lang.say("每个的金额", "Worth of each"))
                    .amount()
                    .shown()
                    .required()
                    .hint(&tell!(lang, "如 {}", "like {}", show::example(500)))))
                (fields.field(FormField::new("count", lang.say("数量", "How many"))
                    .required()
                    .shown()
                    .kind("number")
                    .value("1")
                    .hint(lang.say("最多 1000", "at most 1000"))))
            }
            dl.facts {
                dt { (lang.say("总价值", "Worth in all")) }
                dd { b #then data-now="0" { (show::NOTHING) } }
                dt { (lang.say("经手人", "Signed by")) } dd { (visit.actor.username) }
            }
            (fields.field(FormField::new("reason", lang.say("原因", "Reason"))
                .required()
                .hint(lang.say(
                    "记入操作记录; 兑换时余额才变动",
                    "stays in the admin journal; balances move as codes are redeemed"
                ))))
            div.buttons {
                button.primary data-says-amount=""
                    data-add=(lang.say("生成价值 $ 的兑换码", "Make codes worth $")) {
                    (lang.say("生成", "Make them"))
                }
                a.button href=(ENTRY) { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let title = lang.say("生成兑换码", "New codes");
    Ok(form_page(visit, ShellPage::new(title, ENTRY), complaint, body))
}

fn shown(visit: &Visit, codes: &[Secret]) -> PageReply {
    let lang = visit.lang();
    let text: Vec<&str> = codes.iter().map(Secret::expose).collect();
    let body = html! {
        p.note {
            (
                lang.say(
                    "兑换码只显示这一次, 请现在复制保存。",
                    "This is the only time the codes are shown: copy them now."
                )
            )
        }
        pre #new-codes { (text.join("\n")) }
        div.buttons {
            button type="button" data-copy="new-codes" { (lang.say("复制", "Copy")) }
            button type="button" data-download="new-codes" data-name="codes.csv" hidden {
                (lang.say("下载 CSV", "Download CSV"))
            }
            a.button.primary href=(ENTRY) { (lang.say("已保存, 返回列表", "I have them: to the list")) }
        }
    };
    let title = tell!(lang, "{} 个新兑换码", "New codes: {}", codes.len());
    ShellPage::new(title, ENTRY).show(visit, body)
}

/// `POST /console/codes/batch`
pub(crate) async fn change_many(Here(visit): Here) -> Handled {
    let change = |request| redemption::change_many(&visit.state, &visit.actor, request);
    batch::set_status(&visit, &LIST, change).await
}

/// `POST /console/codes/{id}/status?to=on|off`
pub(crate) async fn set_status(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    let open = visit.asked("to") == "on";
    redemption::set_status(&visit.state, &visit.actor, RedemptionId(id), open).await?;
    Ok(switched(&visit, &visit.back_to(&[ENTRY]), open, &[id]))
}

/// `POST /console/codes/{id}/delete`
pub(crate) async fn delete(Here(visit): Here, Path(id): Path<i64>) -> Handled {
    for_admins(&visit)?;
    redemption::delete(&visit.state, &visit.actor, RedemptionId(id)).await?;
    Ok(done(&visit.back_to(&[ENTRY]), "deleted"))
}

/// `GET /console/redeem`
pub(crate) async fn redeem_form(Here(visit): Here) -> Handled {
    redeem_page(&visit, None)
}

/// `POST /console/redeem`
pub(crate) async fn redeem(Here(visit): Here) -> Handled {
    match redemption::redeem(&visit.state, &visit.actor, visit.form.text("code")).await {
        Ok(redeemed) if redeemed.repeated => Ok(done("/console", "redeemed-before")),
        Ok(redeemed) => {
            let line = redeemed.line.map(|line| line.to_string()).unwrap_or_default();
            Ok(done(&format!("/console?line={line}"), "redeemed"))
        }
        Err(error) => redeem_page(&visit, Some(&Complaint::of(error, visit.lang())?)),
    }
}

fn redeem_page(visit: &Visit, complaint: Option<&Complaint>) -> Handled {
    let lang = visit.lang();
    let fields = FormFields::new(visit.lang(), &visit.form, complaint);
    let body = html! {
        form.form method="post" action="/console/redeem" {
            (csrf(visit))
            (parts::complaint(lang, complaint))
            (fields.field(FormField::new("code", lang.say("兑换码", "Code")).required()))
            div.buttons { button.primary { (lang.say("兑换", "Redeem")) } }
        }
    };
    let title = lang.say("兑换", "Redeem a code");
    Ok(form_page(visit, ShellPage::new(title, "/console/redeem"), complaint, body))
}
