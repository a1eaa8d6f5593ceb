//! The journal of money, filtered, with sums; every charge leads to how it came about.

use super::{events, recent};
use crate::lang::{Lang, tell};
use crate::parts::{self, chosen, filters, pager, typed};
use crate::shell::ShellPage;
use crate::visit::{Handled, Here, Visit, go_to, step};
use crate::{entered, notes, show};
use admin::ops::log::{self, LogFilter, LogView, Statistics};
use maud::{Markup, html};
use std::borrow::Cow;

/// The types, in the words of readers.
pub(super) const fn type_word(lang: Lang, kind: &str) -> Option<&'static str> {
    let (zh, en) = match kind.as_bytes() {
        b"topup" => ("充值", "top-up"),
        b"precharge" => ("预扣费", "hold"),
        b"consume" => ("结算", "charge"),
        b"refund" => ("退还", "refund"),
        b"adjust" => ("调整", "adjustment"),
        b"manage" => ("管理", "admin"),
        b"system" => ("系统", "system"),
        b"error" => ("错误", "error"),
        _ => return None,
    };
    Some(match lang {
        Lang::Zh => zh,
        Lang::En => en,
    })
}

/// What a line says, in the reader's language where that is known.
pub(super) fn words(lang: Lang, line: &LogView) -> Cow<'_, str> {
    if line.r#type != "manage" {
        return Cow::Owned(notes::line(lang, &line.content));
    }
    let action = || {
        let other: serde_json::Value = serde_json::from_str(line.other.get()).ok()?;
        entered::in_words(lang, other["action"].as_str()?, &line.content)
    };
    action().map_or(Cow::Borrowed(line.content.as_str()), Cow::Owned)
}

/// The types, as a reader knows them: of the lines of administration, users see their own log-ins.
fn word_for<'a>(visit: &Visit, kind: &'a str) -> &'a str {
    match kind {
        "manage" if !visit.is_admin() => visit.lang().say("账户", "account"),
        _ => type_word(visit.lang(), kind).unwrap_or(kind),
    }
}

/// The journal, and beside it the calls that left no line in it.
fn tabs(visit: &Visit, shows_recent: bool) -> Markup {
    let lang = visit.lang();
    let here = |is_here: bool| is_here.then_some("page");
    html! {
        nav.tabs aria-label=(lang.say("使用日志", "Log")) {
            a href="/console/log" aria-current=[here(!shows_recent)] {
                (lang.say("流水", "Journal"))
            }
            a href="/console/log?show=recent" aria-current=[here(shows_recent)] {
                (lang.say("失败与免费的调用", "Failed and free calls"))
            }
        }
    }
}

/// `GET /console/log`
pub(crate) async fn list(Here(visit): Here) -> Handled {
    let title = visit.say("使用日志", "Log");
    if visit.asked("show") == "recent" {
        let body = html! { (tabs(&visit, true)) (recent::list(&visit).await?) };
        return Ok(ShellPage::new(title, "/console/log").show(&visit, body));
    }
    let (state, actor) = (&visit.state, &visit.actor);
    let own = !visit.is_admin();
    let filter = LogFilter::read(&visit.query())?;
    let page = log::list(state, actor, own, &filter, visit.page_request()?).await?;
    // An id that a client was given may be that of a call without a line.
    let uncharged = match filter.request_id.as_deref() {
        Some(id) => recent::of_request(&visit, id).await?,
        None => Vec::new(),
    };
    let sums = log::statistics(state, actor, own, &LogFilter { before_id: None, ..filter }).await;
    let lang = visit.lang();
    let newest = page.items.first().map_or(0, |line| line.id);
    // New lines stand at the head of the whole list, and nowhere else.
    let is_first = visit.asked.iter().all(|(name, value)| name == "done" || value.is_empty());
    let body = html! {
        (tabs(&visit, false))
        (filter_bar(&visit))
        @if is_first { (events::live(&visit, "calls", newest)) }
        div #list {
            @if page.items.is_empty() {
                (parts::empty(lang.say("没有符合条件的记录。", "No line fits these filters."), None))
            } @else {
                (table(&visit, &page.items))
            }
            (recent::also_here(&visit, &uncharged))
            @if let Ok(sums) = sums { (sums_line(lang, &sums)) }
            (pager(&visit, &page))
        }
    };
    let beside = html! {
        span.space {}
        a.button href=(export_address(&visit)) { (lang.say("导出 CSV", "Export CSV")) }
    };
    Ok(ShellPage::new(title, "/console/log").beside(beside).show(&visit, body))
}

fn filter_bar(visit: &Visit) -> Markup {
    let lang = visit.lang();
    let kinds = ["consume", "topup", "adjust", "refund", "precharge", "error", "manage"];
    let kinds = kinds.map(|kind| (kind, word_for(visit, kind)));
    filters(
        visit,
        html! {
            (chosen(visit, "type", lang.say("全部类型", "All types"), &kinds))
            @if visit.is_admin() {
                (typed(visit, "username", lang.say("用户名", "User name")))
            }
            (typed(visit, "model", lang.say("模型", "Model")))
            (typed(visit, "token_name", lang.say("令牌名称", "Key name")))
            (typed(visit, "request_id", lang.say("请求 ID", "Request id")))
            @if visit.is_admin() {
                (typed(visit, "channel_id", lang.say("渠道编号", "Channel number")))
            }
        },
    )
}

/// The lines; users see no channel and no other user.
pub(super) fn table(visit: &Visit, lines: &[LogView]) -> Markup {
    let (lang, is_admin) = (visit.lang(), visit.is_admin());
    html! {
        div.scroll {
            table {
                thead { tr {
                    th { (lang.say("时间", "Time")) }
                    @if is_admin { th { (lang.say("用户", "User")) } }
                    th { (lang.say("类型", "Type")) }
                    th { (lang.say("模型或说明", "Model or note")) }
                    th.num { (lang.say("变动 $", "Moved $")) }
                    th.num.hide.broad { (lang.say("变动 (额度)", "Moved (quota)")) }
                    th.num.hide { "Tokens" }
                    th.num.hide { (lang.say("耗时", "Took")) }
                    @if is_admin { th.num.hide { (lang.say("渠道", "Channel")) } }
                    (parts::acts_head(lang))
                } }
                tbody { @for line in lines { (row(visit, line)) } }
            }
        }
    }
}

fn row(visit: &Visit, line: &LogView) -> Markup {
    let (lang, is_admin) = (visit.lang(), visit.is_admin());
    let word = word_for(visit, &line.r#type);
    let words = words(lang, line);
    html! {
        tr id={ "line-" (line.id) } {
            td { (show::at(line.created_at)) }
            @if is_admin {
                td { @if line.user_id.0 > 0 {
                    a href={ "/console/users/" (line.user_id.0) } { (line.username) }
                } @else { (line.username) } }
            }
            td { (type_state(&line.r#type, word)) }
            td.cut title=(words) {
                @if line.model_name.is_empty() { span.muted { (words) } }
                @else { (line.model_name) }
            }
            (show::moved_cell(line.delta))
            td.num.hide.broad { (quota_of(line)) }
            td.num.hide { (tokens_of(line)) }
            td.num.hide {
                @if line.use_time_ms > 0 {
                    (show::duration_ms(line.use_time_ms))
                } @else { span.muted { (show::NOTHING) } }
            }
            @if is_admin {
                td.num.hide { @match line.channel_id {
                    Some(id) => { a href={ "/console/channels/" (id.0) } { "#" (id.0) } }
                    None => { span.muted { (show::NOTHING) } }
                } }
            }
            td.acts { @if line.hold_id.is_some() && !line.request_id.is_empty() {
                a href={
                    "/console/explain/" (step(&line.request_id))
                } { (lang.say("说明", "Explain")) }
            } }
        }
    }
}

fn quota_of(line: &LogView) -> Markup {
    html! {
        @if line.delta.0 == 0 {
            span.muted { (show::NOTHING) }
        } @else { (show::count(line.delta.0)) }
    }
}

fn tokens_of(line: &LogView) -> Markup {
    let tokens = line.prompt_tokens + line.completion_tokens;
    html! { @if tokens == 0 { span.muted { (show::NOTHING) } } @else { (show::count(tokens)) } }
}

fn type_state(kind: &str, word: &str) -> Markup {
    let dot = match kind {
        "topup" | "consume" => "on",
        "error" => "bad",
        "adjust" | "precharge" => "wait",
        _ => "off",
    };
    parts::state(dot, word)
}

/// What the filtered lines moved, with the signs of the lines: of the last day unless a period is
/// given.
fn sums_line(lang: Lang, sums: &Statistics) -> Markup {
    html! {
        p.muted.small {
            (lang.say("合计", "Sums"))
            " (" (show::at(sums.start_time)) " – " (show::at(sums.end_time)) "): "
            @if sums.by_type.is_empty() { (lang.say("无", "none")) }
            @for (nth, sum) in sums.by_type.iter().filter(|sum| sum.delta.0 != 0).enumerate() {
                @if nth > 0 { " · " }
                (type_word(lang, &sum.r#type).unwrap_or(&sum.r#type)) " "
                (tell!(lang, "{} 条", "×{}", show::count(sum.count))) " "
                (show::usd_signed(sum.delta))
            }
        }
    }
}

fn export_address(visit: &Visit) -> String {
    visit.with("page", "").replacen("/console/log", "/console/log/export", 1)
}

/// `GET /console/log/export`: the API's own table, which takes the same filters and session.
pub(crate) async fn export(Here(visit): Here) -> Handled {
    let path = if visit.is_admin() { "/api/log/export" } else { "/api/log/self/export" };
    Ok(go_to(&visit.with("page", "").replacen(&visit.path, path, 1)))
}
