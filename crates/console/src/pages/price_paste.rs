//! Many prices at once: a table is pasted, what it changes is seen, and all of it is saved or
//! nothing.

use super::for_admins;
use super::price_form::changes_list;
use crate::form::Complaint;
use crate::lang::{Lang, tell};
use crate::parts::{self, FormField, FormFields, form_page};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Visit, done};
use admin::AdminError;
use admin::ops::price_changes::{self, ImportPreview, ImportedPrice, RowOutcome};
use admin::ops::price_table::{COLUMNS, PriceTable};
use maud::{Markup, html};

const ENTRY: &str = "/console/prices";
const PATH: &str = "/console/prices/paste";
/// Most lines that a page shows; the counts are of all.
const MAX_SHOWN: usize = 200;

/// `GET /console/prices/paste`
pub(crate) async fn show(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    page(&visit, None)
}

/// `POST /console/prices/paste`: what the table changes, and once that was seen, the change.
pub(crate) async fn save(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    match looked_at(&visit).await {
        Ok(preview) if seen(&visit, &preview) => {
            let table = PriceTable::parse(pasted(&visit).as_bytes())?;
            table.save(&visit.state, &visit.actor).await?;
            Ok(done(ENTRY, "saved"))
        }
        Ok(preview) => Ok(previewed(&visit, &preview)),
        Err(error) => page(&visit, Some(&Complaint::of(error, visit.lang())?)),
    }
}

/// As it was pasted: a line may end with empty cells.
fn pasted(visit: &Visit) -> &str {
    visit.form.all("csv").next().unwrap_or_default()
}

async fn looked_at(visit: &Visit) -> Result<ImportPreview, AdminError> {
    let csv = pasted(visit);
    if csv.trim().is_empty() {
        return Err(AdminError::field("csv", "不能为空", "is required"));
    }
    price_changes::preview(&visit.state, &visit.actor, csv.as_bytes()).await
}

/// Whether exactly these changes were seen, and may be made.
fn seen(visit: &Visit, preview: &ImportPreview) -> bool {
    can_be_saved(preview) && visit.form.text("seen") == preview.mark()
}

const fn can_be_saved(preview: &ImportPreview) -> bool {
    preview.refused == 0 && preview.new + preview.changed > 0
}

fn page(visit: &Visit, complaint: Option<&Complaint>) -> Handled {
    let body = html! {
        (form(visit, complaint))
        p.muted.small { a href="/api/price/export" download="" {
            (visit.say("导出现有价格", "Export the prices there are"))
        } (visit.say(" 可得到这样的表格。", " gives such a table.")) }
    };
    let title = visit.say("粘贴价格表", "Paste a table of prices");
    Ok(form_page(visit, ShellPage::new(title, ENTRY), complaint, body))
}

fn form(visit: &Visit, complaint: Option<&Complaint>) -> Markup {
    let lang = visit.lang();
    let fields = FormFields::new(lang, &visit.form, complaint);
    html! {
        form.form.wide method="post" action=(PATH) {
            (csrf(visit))
            (parts::complaint(lang, complaint))
            (fields.field(FormField::new("csv", lang.say("价格表", "Table"))
                .kind("document")
                .required()
                .hint(&tell!(lang,
                    "第一行是列名, 每行一个模型; 可从电子表格复制, 或粘贴导出的 CSV。空单元格取默认值。\
                     倍率 1 = 每百万 $2。列: {}",
                    "Names of columns on the first line, a model on each; copied from a \
                     spreadsheet, or CSV as the export writes it. An empty cell gets its default; \
                     a ratio of 1 is $2 a million. Columns: {}",
                    COLUMNS.join(", ")))))
            div.buttons {
                button.primary { (lang.say("查看变更", "See what changes")) }
                a.button href=(ENTRY) { (lang.say("取消", "Cancel")) }
            }
        }
    }
}

fn previewed(visit: &Visit, preview: &ImportPreview) -> crate::visit::PageReply {
    let lang = visit.lang();
    let csv = pasted(visit);
    let matters = |row: &&ImportedPrice| row.outcome != RowOutcome::Unchanged;
    // What is refused comes first: it is why nothing can be saved.
    let mut rows: Vec<&ImportedPrice> = preview.rows.iter().filter(matters).collect();
    rows.sort_by_key(|row| row.outcome != RowOutcome::Refused);
    let body = html! {
        p { (counts(lang, preview)) }
        @if !visit.form.text("seen").is_empty() {
            p.note role="alert" { (lang.say("价格在此期间有变动, 请再看一遍。",
                "Prices have changed meanwhile: look at it again.")) }
        }
        @if !rows.is_empty() { (table(lang, &rows)) }
        form.form method="post" action=(PATH) {
            (csrf(visit))
            textarea name="csv" hidden { (csv) }
            input type="hidden" name="seen" value=(preview.mark());
            div.buttons {
                @if can_be_saved(preview) {
                    button.primary { (tell!(lang, "全部保存 ({})", "Save all ({})",
                        preview.new + preview.changed)) }
                }
                a.button href=(ENTRY) { (lang.say("取消", "Cancel")) }
            }
        }
        @if !can_be_saved(preview) {
            h2.sec { (lang.say("修改表格", "Change the table")) }
            // What was pasted stands in the form again.
            (form(visit, Some(&Complaint::default())))
        }
    };
    ShellPage::new(lang.say("价格变更", "What the table changes"), ENTRY).show(visit, body)
}

fn counts(lang: Lang, preview: &ImportPreview) -> Markup {
    let ImportPreview { new, changed, unchanged, refused, .. } = preview;
    html! {
        (tell!(lang, "新增 {new} · 修改 {changed} · 不变 {unchanged}",
            "{new} new · {changed} changed · {unchanged} unchanged"))
        @if *refused > 0 {
            " · " span.bad { (tell!(lang, "{refused} 行有误, 因此不能保存",
                "{refused} refused, so nothing can be saved")) }
        }
    }
}

fn table(lang: Lang, rows: &[&ImportedPrice]) -> Markup {
    let state = |outcome| match outcome {
        RowOutcome::New => parts::state("on", lang.say("新增", "new")),
        RowOutcome::Changed => parts::state("wait", lang.say("修改", "changed")),
        RowOutcome::Unchanged => parts::state("off", lang.say("不变", "unchanged")),
        RowOutcome::Refused => parts::state("bad", lang.say("有误", "refused")),
    };
    html! {
        div.scroll {
            table {
                thead { tr {
                    th.num { (lang.say("行", "Line")) }
                    th { (lang.say("模型", "Model")) }
                    th { (lang.say("结果", "Outcome")) }
                    th { (lang.say("原值 → 新值", "Old → new")) }
                } }
                tbody {
                    @for row in rows.iter().take(MAX_SHOWN) {
                        tr {
                            td.num { (row.line) }
                            td { @if row.model_name.is_empty() { (show::NOTHING) }
                                @else { (row.model_name) } }
                            td { (state(row.outcome)) }
                            td.wrap { @match &row.problem {
                                Some(problem) => span.bad {
                                    @if !problem.field.is_empty() {
                                        (parts::field_label(lang, &problem.field)) ": "
                                    }
                                    (lang.say(&problem.zh, &problem.en))
                                },
                                None => (changes_list(lang, &row.changes)),
                            } }
                        }
                    }
                }
            }
        }
        @if let Some(more) = rows.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0) {
            p.muted.small { (tell!(lang, "另有 {more} 行未显示", "{more} more lines are not shown")) }
        }
    }
}
