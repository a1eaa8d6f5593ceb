//! Usage over time and as a table, a user's own or everybody's: by user, by key, by channel, by
//! model or by day. Its numbers lead to the lines of the log that they count.

use super::period::{self, LogPeriod};
use crate::columns::{Column, Columns};
use crate::lang::{Lang, tell};
use crate::parts::{self, filters, typed};
use crate::ranges::{Range, days_start, ranges};
use crate::shell::ShellPage;
use crate::show;
use crate::visit::{Handled, Here, Visit, address};
use admin::AdminError;
use admin::ops::log::usage::{self, MAX_STEPS, Step, UsageRequest};
use admin::ops::log::usage_table::{self, MAX_ROWS, UsageGroup, UsageRow, UsageTableRequest};
use admin::ops::log::{LogFilter, SPENT, month_days};
use admin::ops::user;
use domain::{DAY_MS, HOUR_MS, Quota, UnixMs};
use maud::{Markup, html};

const ENTRY: &str = "/console/usage";
/// Up to so many days are drawn hour by hour.
const MAX_DAYS_OF_HOURS: i64 = 8;
/// What narrows usage, as addresses name it.
const FILTERS: [&str; 6] = ["username", "user_id", "model", "token_name", "token_id", "channel_id"];
/// Those of them that administrators have alone.
const FILTERS_OF_ALL: [&str; 3] = ["username", "user_id", "channel_id"];

/// What the address asks for.
struct AskedUsage<'a> {
    visit: &'a Visit,
    /// By what, and the word for it.
    group: UsageGroup,
    word: &'static str,
    /// Over which lines; from the beginning of a step.
    usage: UsageRequest,
    start: UnixMs,
}

impl<'a> AskedUsage<'a> {
    fn read(visit: &'a Visit) -> Result<Self, AdminError> {
        let all = visit.is_admin();
        let (group, word) = match visit.asked("per") {
            "user" if all => (UsageGroup::User, "user"),
            "channel" if all => (UsageGroup::Channel, "channel"),
            "day" => (UsageGroup::Day, "day"),
            "key" => (UsageGroup::Key, "key"),
            // Everybody's keys are many; their models are added up already.
            "model" => (UsageGroup::Model, "model"),
            _ if all => (UsageGroup::Model, "model"),
            _ => (UsageGroup::Key, "key"),
        };
        let asked = LogFilter::of_sums(&visit.query())?;
        let (start, end_at, step) = times(visit, group)?;
        let filter = LogFilter {
            user_id: asked.user_id.filter(|_| all),
            username: asked.username.filter(|_| all),
            channel_id: asked.channel_id.filter(|_| all),
            model: asked.model,
            token_id: asked.token_id,
            token_name: asked.token_name,
            start_at: Some(start),
            end_at,
            ..LogFilter::default()
        };
        let usage = UsageRequest { filter, step, top: MAX_ROWS };
        Ok(Self { visit, group, word, usage, start })
    }

    /// The filters, also those that are not set.
    fn filters(&self) -> Vec<(&str, &str)> {
        let is_mine = |name: &&str| self.visit.is_admin() || !FILTERS_OF_ALL.contains(name);
        let mine = FILTERS.into_iter().filter(is_mine);
        mine.map(|name| (name, self.visit.asked(name))).collect()
    }

    /// The same page with these parameters, without an order: each table has one of its own.
    fn page(&self, with: &[(&str, &str)]) -> String {
        let mut pairs = vec![("per", self.word)];
        pairs.extend(["range", "from", "to"].map(|name| (name, self.visit.asked(name))));
        pairs.extend(self.filters());
        pairs.retain(|(name, _)| with.iter().all(|(other, _)| other != name));
        pairs.extend(with);
        address(ENTRY, pairs.into_iter())
    }

    /// The lines of the log that a number of a row counts, of one type; none of a row that no
    /// filter names.
    fn lines(&self, kind: &str, row: &UsageRow) -> Option<String> {
        let is_of_day = self.group == UsageGroup::Day;
        let named = match self.group {
            UsageGroup::User if row.name.is_empty() => ("user_id", row.user_id?.0.to_string()),
            UsageGroup::User => ("username", row.name.clone()),
            UsageGroup::Key => ("token_id", row.token_id.filter(|id| *id != 0)?.to_string()),
            UsageGroup::Channel => ("channel_id", row.channel_id?.0.to_string()),
            UsageGroup::Model => ("model", row.name.clone()),
            UsageGroup::Day => ("from", row.name.clone()),
        };
        // Of the last day a part, where its time ends within it.
        let until = self.visit.asked("to");
        let (from, to) = match is_of_day {
            true if until.contains('T') && until.starts_with(&row.name) => (String::new(), until),
            true => (String::new(), row.name.as_str()),
            false => (period::text(self.start), until),
        };
        let mut pairs = vec![("type", kind)];
        pairs.extend(self.filters());
        pairs.retain(|(name, _)| *name != named.0);
        pairs.extend([(named.0, &*named.1), ("from", &*from), ("to", to)]);
        Some(address("/console/log", pairs.into_iter()))
    }
}

/// From when, until when, and how long the steps of the chart are.
fn times(visit: &Visit, group: UsageGroup) -> Result<(UnixMs, Option<UnixMs>, Step), AdminError> {
    let now = visit.state.clock.now();
    let LogFilter { start_at, end_at, .. } = LogPeriod::read(visit)?.of(LogFilter::default());
    // No line is later than now.
    let end_at = end_at.filter(|end| *end <= now);
    let end = end_at.unwrap_or(now);
    let (start, step) = match start_at {
        None if end_at.is_none() => Range::of(visit).start(now),
        None => days_start(end.plus_ms(-1), month_days(&visit.state)),
        Some(start) if end.since_ms(start) > MAX_DAYS_OF_HOURS * DAY_MS => (start, Step::Day),
        Some(start) => (start, Step::Hour),
    };
    // Days are whole.
    let ms = match (group, step) {
        (UsageGroup::Day, _) | (_, Step::Day) => DAY_MS,
        (_, Step::Hour) => HOUR_MS,
    };
    Ok((UnixMs(start.0 - start.0.rem_euclid(ms)), end_at, step))
}

/// `GET /console/usage?per=&range=&from=&to=&sort=&order=`, with the filters
pub(crate) async fn show(Here(visit): Here) -> Handled {
    let lang = visit.lang();
    let asked = AskedUsage::read(&visit)?;
    let (state, own) = (&visit.state, !visit.is_admin());
    // A table by day is the chart in numbers.
    let is_drawn = asked.usage.fits_series(state.clock.now());
    let is_listed = is_drawn || asked.group != UsageGroup::Day;
    let wanted = UsageTableRequest { usage: asked.usage.clone(), group: asked.group };
    let mut rows = match is_listed {
        true => usage_table::table(state, &visit.actor, own, &wanted).await?.rows,
        false => Vec::new(),
    };
    // As the first page has it.
    let is_top = visit.asked("top") == "5";
    if is_top {
        rows.truncate(5);
    }
    sort(&visit, &mut rows);
    let chart = match (rows.is_empty() || is_top, is_drawn) {
        (true, _) => html! {},
        (false, false) => html! {
            p.note { (tell!(lang, "图表最多画 {MAX_STEPS} 天: 选择更短的时间即可显示。",
                "A chart is of at most {MAX_STEPS} days: choose a shorter time to see one.")) }
        },
        (false, true) => {
            let series = usage::series(state, &visit.actor, own, &asked.usage).await?;
            parts::money_chart(lang, &series, false)
        }
    };
    let rows = match rows.is_empty() {
        true => parts::empty(&no_row(&asked, is_listed).await?, None),
        false => table(&asked, &rows, is_top),
    };
    let body = html! {
        (filter_bar(&visit))
        div #list {
            (tabs(&asked))
            (chart)
            div #usage { (rows) }
        }
    };
    let beside = html! {
        span.space {}
        (ranges(&visit, |code| asked.page(&[("range", code), ("from", ""), ("to", "")])))
        @if is_listed { a.button href=(csv(&asked)) { (lang.say("下载 CSV", "Download CSV")) } }
    };
    let page = ShellPage::new(lang.say("用量", "Usage"), ENTRY).beside(beside).with_chart();
    Ok(page.show(&visit, body))
}

/// Why there is no row.
async fn no_row(asked: &AskedUsage<'_>, is_listed: bool) -> Result<String, AdminError> {
    let lang = asked.visit.lang();
    if !is_listed {
        return Ok(tell!(
            lang,
            "按天最多列出 {MAX_STEPS} 天: 请选择更短的时间, 或按其他方式分组。",
            "By day at most {MAX_STEPS} days are listed: choose a shorter time, or another tab."
        ));
    }
    if let Some(name) = asked.usage.filter.username.as_deref()
        && !is_user(asked.visit, name).await?
    {
        return Ok(tell!(
            lang,
            "没有名为 {name} 的用户, 或已被删除。",
            "There is no user {name}, or they were deleted."
        ));
    }
    Ok(lang.say("这段时间没有计费的调用。", "No call was charged in this time.").to_owned())
}

async fn is_user(visit: &Visit, name: &str) -> Result<bool, AdminError> {
    match user::find(&visit.state, name).await {
        // A number is found as well, and is nobody's name.
        Ok(user) => Ok(user.username == name),
        Err(AdminError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The same from the API, for a spreadsheet.
fn csv(asked: &AskedUsage<'_>) -> String {
    let whose = match asked.visit.is_admin() {
        true => "/api/usage/table",
        false => "/api/usage/self/table",
    };
    let by = if asked.usage.step == Step::Hour { "hour" } else { "day" };
    let seconds = |at: UnixMs| (at.0 / 1_000).to_string();
    let start = seconds(asked.start);
    let end = asked.usage.filter.end_at.map(seconds).unwrap_or_default();
    let mut pairs = vec![("per", asked.word), ("by", by)];
    pairs.extend(asked.filters());
    pairs.extend([("start_time", &*start), ("end_time", &*end), ("format", "csv")]);
    address(whose, pairs.into_iter())
}

fn filter_bar(visit: &Visit) -> Markup {
    let lang = visit.lang();
    // Where a link names them.
    let by_number = [
        ("user_id", lang.say("用户编号", "User number")),
        ("token_id", lang.say("令牌编号", "Key number")),
    ];
    let is_mine = |name: &str| visit.is_admin() || !FILTERS_OF_ALL.contains(&name);
    filters(
        visit,
        html! {
            @if visit.is_admin() {
                (typed(visit, "username", lang.say("用户名", "User name")))
            }
            (typed(visit, "model", lang.say("模型", "Model")))
            (typed(visit, "token_name", lang.say("令牌名称", "Key name")))
            @if visit.is_admin() {
                (typed(visit, "channel_id", lang.say("渠道编号", "Channel number")))
            }
            @for (name, label) in by_number {
                @if is_mine(name) && !visit.asked(name).is_empty() { (typed(visit, name, label)) }
            }
            (period::fields(visit))
        },
    )
}

fn tabs(asked: &AskedUsage<'_>) -> Markup {
    let visit = asked.visit;
    let all = [
        ("user", visit.say("按用户", "By user")),
        ("key", visit.say("按令牌", "By key")),
        ("channel", visit.say("按渠道", "By channel")),
        ("model", visit.say("按模型", "By model")),
        ("day", visit.say("按天", "By day")),
    ];
    let is_mine = |code: &str| visit.is_admin() || !matches!(code, "user" | "channel");
    html! {
        nav.tabs aria-label=(visit.say("分组方式", "By")) {
            @for (code, name) in all.into_iter().filter(|(code, _)| is_mine(code)) {
                @let here = (code == asked.word).then_some("page");
                a href=(asked.page(&[("per", code)])) aria-current=[here] { (name) }
            }
        }
    }
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

fn table(asked: &AskedUsage<'_>, rows: &[UsageRow], is_top: bool) -> Markup {
    let lang = asked.visit.lang();
    // What is added up has to be all there is.
    let is_full = i64::try_from(rows.len()).is_ok_and(|count| count >= MAX_ROWS);
    let is_cut = is_top || asked.group != UsageGroup::Day && is_full;
    let columns = columns(asked, rows, is_top);
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
    asked: &'a AskedUsage<'a>,
    rows: &[UsageRow],
    is_top: bool,
) -> Columns<'a, UsageRow> {
    let visit = asked.visit;
    let lang = visit.lang();
    let sum = |read: fn(&UsageRow) -> i64| rows.iter().map(read).fold(0, i64::saturating_add);
    let count = |id: &'static str, label: &'a str, read: fn(&UsageRow) -> i64| {
        let column = UsageColumn::new(id, label, move |row| {
            let number = read(row);
            let to = asked.lines("consume", row).filter(|_| number != 0);
            linked(to, &show::count(number))
        });
        column.number().sum(show::count_cell(sum(read)))
    };
    let sorts = |column: UsageColumn<'a>, by: &'static str| match is_top {
        true => column,
        false => column.falls(by),
    };
    let spent = UsageColumn::new("spent", lang.say("消耗", "Spent"), |row| {
        linked(asked.lines(SPENT, row), &show::amount_whole(row.spent))
    });
    let spent = spent.number().sum(show::amount_cell(Quota(sum(|row| row.spent.0))));
    let calls = count("calls", lang.say("计费调用", "Charged calls"), |row| row.calls);
    let prompt = count("prompt", lang.say("输入 Tokens", "Prompt"), |row| row.prompt_tokens);
    let completion =
        count("completion", lang.say("输出 Tokens", "Completion"), |row| row.completion_tokens);
    let mut all = vec![UsageColumn::thing(
        head(lang, asked.group),
        |row| html! { td { (name(asked, row)) } },
    )];
    if asked.group == UsageGroup::Key && visit.is_admin() {
        all.push(UsageColumn::new("owner", lang.say("用户", "User"), |row| {
            html! { td { (user(row, row.username.as_deref().unwrap_or_default())) } }
        }));
    }
    all.extend([
        sorts(calls, "calls"),
        sorts(spent, "spent"),
        sorts(prompt.wide(), "prompt"),
        sorts(completion.wide(), "completion"),
    ]);
    Columns::of(visit, "usage", all)
}

const fn head(lang: Lang, group: UsageGroup) -> &'static str {
    match group {
        UsageGroup::User => lang.say("用户", "User"),
        UsageGroup::Key => lang.say("令牌", "Key"),
        UsageGroup::Channel => lang.say("渠道", "Channel"),
        UsageGroup::Model => lang.say("模型", "Model"),
        UsageGroup::Day => lang.say("日期 (UTC)", "Day (UTC)"),
    }
}

/// A cell of a number that leads to what it counts.
fn linked(to: Option<String>, number: &str) -> Markup {
    html! { td.num { @match to { Some(to) => { a href=(to) { (number) } }, None => (number) } } }
}

fn user(row: &UsageRow, name: &str) -> Markup {
    html! {
        @if let Some(id) = row.user_id {
            a href={ "/console/users/" (id.0) } {
                @if name.is_empty() { "#" (id.0) } @else { (name) }
            }
        }
    }
}

/// What a row is about. Keys of one name have their numbers.
fn name(asked: &AskedUsage<'_>, row: &UsageRow) -> Markup {
    let visit = asked.visit;
    let deleted = || visit.say("(已删除)", "(deleted)");
    html! {
        @match asked.group {
            UsageGroup::User => (user(row, &row.name)),
            UsageGroup::Key => {
                @match row.token_id.filter(|id| *id != 0) {
                    None => { span.muted { (visit.say("(没有令牌)", "(no key)")) } }
                    Some(id) => {
                        @if row.name.is_empty() {
                            span.muted { (visit.say("(已删除或未命名)", "(deleted, or no name)")) }
                        } @else {
                            @let of_key = [("per", "model"), ("token_id", &id.to_string())];
                            a href=(asked.page(&of_key)) {
                                (row.name)
                            }
                        }
                        " " span.muted { "#" (id) }
                    }
                }
            }
            UsageGroup::Channel => {
                @if let Some(id) = row.channel_id {
                    @if row.name.is_empty() { span.muted { (deleted()) } } @else {
                        a href={ "/console/channels/" (id.0) } { (row.name) }
                    }
                    " " span.muted { "#" (id.0) }
                }
            }
            UsageGroup::Model | UsageGroup::Day => (row.name),
        }
    }
}
