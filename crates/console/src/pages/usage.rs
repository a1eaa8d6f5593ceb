//! Usage as a table, a user's own or everybody's: by user, by key, by model or by day.

use super::overview::request;
use crate::columns::{Column, Columns};
use crate::parts;
use crate::ranges::{Range, ranges};
use crate::shell::ShellPage;
use crate::show;
use crate::visit::{Handled, Here, Visit};
use admin::ops::log::usage::Step;
use admin::ops::log::usage_table::{self, MAX_ROWS, UsageGroup, UsageRow, UsageTableRequest};
use domain::Quota;
use maud::{Markup, html};

const ENTRY: &str = "/console/usage";

/// `GET /console/usage?per=&range=&sort=&order=`
pub(crate) async fn show(Here(visit): Here) -> Handled {
    let lang = visit.lang();
    let all = visit.is_admin();
    let (group, word) = match visit.asked("per") {
        "user" if all => (UsageGroup::User, "user"),
        "day" => (UsageGroup::Day, "day"),
        "key" => (UsageGroup::Key, "key"),
        // Everybody's keys are many; their models are added up already.
        "model" => (UsageGroup::Model, "model"),
        _ if all => (UsageGroup::Model, "model"),
        _ => (UsageGroup::Key, "key"),
    };
    let usage = request(&visit);
    let by = if usage.step == Step::Hour { "hour" } else { "day" };
    let start = usage.filter.start_at.map_or(0, |at| at.0 / 1_000);
    let wanted = UsageTableRequest { usage, group };
    let mut rows = usage_table::table(&visit.state, &visit.actor, !all, &wanted).await?.rows;
    // As the first page has it.
    let is_top = visit.asked("top") == "5";
    if is_top {
        rows.truncate(5);
    }
    sort(&visit, &mut rows);
    let range = Range::of(&visit).code;
    let body = html! {
        nav.tabs aria-label=(lang.say("分组方式", "By")) {
            @for (code, name) in groups(&visit) {
                @let here = (code == word).then_some("page");
                a href={ (ENTRY) "?per=" (code) "&range=" (range) } aria-current=[here] {
                    (name)
                }
            }
        }
        div #usage {
            @if rows.is_empty() {
                (parts::empty(
                    lang.say("这段时间没有计费的调用。", "No call was charged in this time."), None))
            } @else { (table(&visit, group, &rows, is_top)) }
        }
    };
    let whose = if all { "/api/usage/table" } else { "/api/usage/self/table" };
    let csv = format!("{whose}?per={word}&by={by}&start_time={start}&format=csv");
    // One address for each table: tabs and times begin without an order.
    let of_time = |code: &str| format!("{ENTRY}?per={word}&range={code}");
    let beside = html! {
        span.space {}
        (ranges(&visit, of_time))
        a.button href=(csv) { (lang.say("下载 CSV", "Download CSV")) }
    };
    Ok(ShellPage::new(lang.say("用量", "Usage"), ENTRY).beside(beside).show(&visit, body))
}

fn groups(visit: &Visit) -> impl Iterator<Item = (&'static str, &str)> {
    let all = [
        ("user", visit.say("按用户", "By user")),
        ("key", visit.say("按令牌", "By key")),
        ("model", visit.say("按模型", "By model")),
        ("day", visit.say("按天", "By day")),
    ];
    all.into_iter().filter(|(code, _)| visit.is_admin() || *code != "user")
}

fn sort(visit: &Visit, rows: &mut [UsageRow]) {
    let by: fn(&UsageRow) -> i64 = match visit.asked("sort") {
        "calls" => |row| row.calls,
        "spent" => |row| row.spent.0,
        "prompt" => |row| row.prompt_tokens,
        "completion" => |row| row.completion_tokens,
        _ => return,
    };
    match visit.asked("order") {
        "asc" => rows.sort_by_key(by),
        _ => rows.sort_by_key(|row| std::cmp::Reverse(by(row))),
    }
}

fn table(visit: &Visit, group: UsageGroup, rows: &[UsageRow], is_top: bool) -> Markup {
    let lang = visit.lang();
    // What is added up has to be all there is.
    let is_full = i64::try_from(rows.len()).is_ok_and(|count| count >= MAX_ROWS);
    let is_cut = is_top || group != UsageGroup::Day && is_full;
    let columns = columns(visit, group, rows, is_top);
    html! {
        (columns.table(&html! {
            tbody { @for row in rows { tr { (columns.cells(row)) } } }
            @if !is_cut { (columns.sums(lang.say("合计", "Sum"))) }
        }))
        @if is_cut && !is_top {
            p.note { (lang.say("只列出消耗最多的 100 行。", "These are the 100 that cost most.")) }
        }
        @if !is_top { div.below { (columns.menu()) } }
    }
}

type UsageColumn<'a> = Column<'a, UsageRow>;

fn columns<'a>(
    visit: &'a Visit,
    group: UsageGroup,
    rows: &[UsageRow],
    is_top: bool,
) -> Columns<'a, UsageRow> {
    let lang = visit.lang();
    let head = match group {
        UsageGroup::User => lang.say("用户", "User"),
        UsageGroup::Key => lang.say("令牌", "Key"),
        UsageGroup::Model => lang.say("模型", "Model"),
        UsageGroup::Day => lang.say("日期 (UTC)", "Day (UTC)"),
    };
    let sum = |read: fn(&UsageRow) -> i64| rows.iter().map(read).fold(0, i64::saturating_add);
    let count = |id: &'static str, label: &'a str, read: fn(&UsageRow) -> i64| {
        let column = UsageColumn::new(id, label, move |row| show::count_cell(read(row)));
        column.number().sum(show::count_cell(sum(read)))
    };
    let sorts = |column: UsageColumn<'a>, by: &'static str| match is_top {
        true => column,
        false => column.falls(by),
    };
    let spent =
        UsageColumn::new("spent", lang.say("消耗", "Spent"), |row| show::amount_cell(row.spent));
    let spent = spent.number().sum(show::amount_cell(Quota(sum(|row| row.spent.0))));
    let calls = count("calls", lang.say("计费调用", "Charged calls"), |row| row.calls);
    let prompt = count("prompt", lang.say("输入 Tokens", "Prompt"), |row| row.prompt_tokens);
    let completion =
        count("completion", lang.say("输出 Tokens", "Completion"), |row| row.completion_tokens);
    let all = vec![
        UsageColumn::thing(head, move |row| html! { td { (name(visit, row)) } }),
        sorts(calls, "calls"),
        sorts(spent, "spent"),
        sorts(prompt.wide(), "prompt"),
        sorts(completion.wide(), "completion"),
    ];
    Columns::of(visit, "usage", all)
}

fn name(visit: &Visit, row: &UsageRow) -> Markup {
    html! {
        @match (row.user_id, row.token_id) {
            (Some(id), _) => {
                a href={ "/console/users/" (id.0) } {
                    @if row.name.is_empty() { "#" (id.0) } @else { (row.name) }
                }
            }
            (None, Some(id)) if row.name.is_empty() => {
                span.muted { (visit.say("(已删除或未命名)", "(deleted, or no name)")) " #" (id) }
            }
            _ => (row.name),
        }
    }
}
