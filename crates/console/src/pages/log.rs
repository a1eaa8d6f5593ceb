//! The journal of money, filtered, with sums; every charge leads to how it came about.

use super::period::{self, LogPeriod};
use super::{events, explain, recent};
use crate::columns::{Column, Columns};
use crate::lang::{Lang, tell};
use crate::parts::{self, chosen, filters, pager_with, typed};
use crate::shell::ShellPage;
use crate::unfit::empty_or_unfit;
use crate::visit::{Handled, Here, Visit, address, go_to};
use crate::{entered, notes, show};
use admin::AdminError;
use admin::ops::log::{self, LogFilter, LogView, MAX_SUM_DAYS, Statistics};
use admin::ops::{channel, token};
use domain::{ChannelId, KeyId};
use maud::{Markup, html};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The types, in the words of readers.
pub(super) const fn type_word(lang: Lang, kind: &str) -> Option<&'static str> {
    let (zh, en) = match kind.as_bytes() {
        b"topup" => ("充值", "top-up"),
        b"precharge" => ("预扣费", "hold"),
        b"consume" => ("结算", "charge"),
        b"refund" => ("退款", "refund"),
        b"spent" => ("结算与退款", "charges and refunds"),
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
    action().map_or(Cow::Borrowed(notes::one_of_two(lang, &line.content)), Cow::Owned)
}

/// What a line is about: its model, its words, or both, where somebody has moved money for a call.
pub(super) fn subject(line: &LogView, words: &str) -> Markup {
    html! {
        @if line.model_name.is_empty() { (words) }
        @else {
            (line.model_name)
            @if line.reference.is_some() { span.muted { " · " (words) } }
        }
    }
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
    let filter = LogPeriod::read(&visit)?.of(LogFilter::read(&visit.query())?);
    let page = log::list(state, actor, own, &filter, visit.page_request()?).await?;
    // An id that a client was given may be that of a call without a line.
    let uncharged = match filter.request_id.as_deref() {
        Some(id) => recent::of_request(&visit, id).await?,
        None => Vec::new(),
    };
    let uncharged = recent::also_here(&visit, &uncharged).await?;
    let keys: Vec<KeyId> = page.items.iter().filter_map(|line| line.token_id).collect();
    let keys = token::names(state, actor, keys).await?;
    let channels = page.items.iter().filter_map(|line| line.channel_id).collect();
    let channels = channel_names(&visit, channels).await?;
    let sums = sums(&visit, LogFilter { before_id: None, ..filter }).await?;
    let (lang, columns) = (visit.lang(), columns(&visit, &keys, &channels));
    let newest = page.items.first().map_or(0, |line| line.id);
    // New lines stand at the head of the whole list, and nowhere else.
    let is_first = visit.asked.iter().all(|(name, value)| name == "done" || value.is_empty());
    let body = html! {
        (tabs(&visit, false))
        (filter_bar(&visit))
        div #list {
            @if is_first { (events::live(&visit, "calls", newest)) }
            @if page.items.is_empty() {
                (empty_or_unfit(&visit, lang.say(
                    "还没有流水: 充值、计费调用和退款都记在这里。",
                    "Nothing has happened yet: what is paid in, charged and refunded stands here.",
                ), None))
            } @else {
                (columns.table(&html! { tbody { @for line in &page.items {
                    tr id={ "line-" (line.id) } { (columns.cells(line)) }
                } } }))
            }
            (uncharged)
            (sums)
            (pager_with(&visit, &page, &columns.menu()))
        }
    };
    let beside = html! {
        span.space {}
        a.button href=(export_address(&visit, None)) { (lang.say("导出 CSV", "Export CSV")) }
    };
    Ok(ShellPage::new(title, "/console/log").beside(beside).show(&visit, body))
}

fn filter_bar(visit: &Visit) -> Markup {
    let lang = visit.lang();
    let kinds = [
        "consume",
        "refund",
        log::SPENT,
        "topup",
        "adjust",
        "precharge",
        "error",
        "manage",
        "system",
    ];
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
            @if !visit.asked("token_id").is_empty() {
                (typed(visit, "token_id", lang.say("令牌编号", "Key number")))
            }
            (period::fields(visit))
        },
    )
}

type LogColumn<'a> = Column<'a, LogView>;

/// The columns; users see no channel and no other user.
fn columns<'a>(
    visit: &'a Visit,
    keys: &'a KeyNames,
    channels: &'a ChannelNames,
) -> Columns<'a, LogView> {
    let (lang, is_admin) = (visit.lang(), visit.is_admin());
    let mut all = vec![LogColumn::thing(lang.say("时间", "Time"), |line| {
        html! { td { (show::at(line.created_at)) } }
    })];
    all.extend(
        is_admin.then(|| LogColumn::new("user", lang.say("用户", "User"), user_cell).wide()),
    );
    all.extend([
        LogColumn::new("type", lang.say("类型", "Type"), move |line| {
            html! { td { (type_state(&line.r#type, word_for(visit, &line.r#type))) } }
        }),
        LogColumn::new("model", lang.say("模型或说明", "Model or note"), move |line| {
            let words = words(lang, line);
            html! {
                td.cut title=(words) {
                    @if line.model_name.is_empty() { span.muted { (words) } }
                    @else { (subject(line, &words)) }
                }
            }
        }),
        LogColumn::new("key", lang.say("令牌", "Key"), move |line| key_cell(visit, line, keys))
            .wide(),
        LogColumn::new("moved", lang.say("变动", "Moved"), |line| show::moved_cell(line.delta))
            .number(),
        LogColumn::new("quota", lang.say("变动 (额度)", "Moved (quota)"), |line| {
            html! { td.num { (quota_of(line)) } }
        })
        .number()
        .broad(),
        LogColumn::new("tokens", "Tokens", |line| html! { td.num { (tokens_of(line)) } })
            .number()
            .wide(),
        LogColumn::new("took", lang.say("耗时", "Took"), |line| {
            html! { td.num {
                @if line.use_time_ms > 0 { (show::duration_ms(line.use_time_ms)) }
                @else { span.muted { (show::NOTHING) } }
            } }
        })
        .number()
        .wide(),
    ]);
    let channel = move |line: &LogView| channel_cell(lang, line.channel_id, channels);
    let channel =
        || LogColumn::new("channel", lang.say("渠道", "Channel"), channel).number().wide();
    all.extend(is_admin.then(channel));
    all.push(LogColumn::tool(parts::acts_head(lang), move |line| explain_cell(lang, line)));
    Columns::of(visit, "log", all)
}

fn user_cell(line: &LogView) -> Markup {
    html! {
        td.cut.short title=(line.username) { @if line.user_id.0 > 0 {
            a href={ "/console/users/" (line.user_id.0) } { (line.username) }
        } @else { (line.username) } }
    }
}

/// Names of the channels that are there, by their numbers.
pub(super) type ChannelNames = BTreeMap<ChannelId, String>;

/// Those of these lines, for who may see them.
pub(super) async fn channel_names(
    visit: &Visit,
    ids: Vec<ChannelId>,
) -> Result<ChannelNames, AdminError> {
    match visit.is_admin() {
        true => channel::names(&visit.state, &visit.actor, ids).await,
        false => Ok(ChannelNames::new()),
    }
}

/// The channel of a line, or of a call, which leads to its page while there is one.
pub(super) fn channel_cell(lang: Lang, id: Option<ChannelId>, known: &ChannelNames) -> Markup {
    html! {
        td.num { @match (id, id.and_then(|id| known.get(&id))) {
            (Some(id), Some(name)) => {
                a href={ "/console/channels/" (id.0) } title=(name) { "#" (id.0) }
            }
            (Some(id), None) => {
                span.muted title=(lang.say("已删除", "deleted")) { "#" (id.0) }
            }
            (None, _) => { span.muted { (show::NOTHING) } }
        } }
    }
}

fn explain_cell(lang: Lang, line: &LogView) -> Markup {
    html! {
        td.acts { @if line.hold_id.is_some() && !line.request_id.is_empty() {
            a href=(explain::address_of(&line.request_id, line.hold_id)) data-open=""
                title=(line.request_id) {
                (lang.say("说明", "Explain"))
            }
        } }
    }
}

/// The key that a call was made with, which leads to its other calls.
fn key_cell(visit: &Visit, line: &LogView, keys: &KeyNames) -> Markup {
    let Some(key) = line.token_id else { return html! { td.muted { (show::NOTHING) } } };
    let to = visit.with("token_id", &key.0.to_string());
    let name = key_name(visit.lang(), key, keys);
    html! { td.cut.short title=(name) { a href=(to) { (name) } } }
}

/// Names of keys, by their numbers.
pub(super) type KeyNames = BTreeMap<KeyId, String>;

pub(super) fn key_name(lang: Lang, key: KeyId, keys: &KeyNames) -> String {
    let deleted = || tell!(lang, "#{} (已删除)", "#{} (deleted)", key.0);
    keys.get(&key).cloned().unwrap_or_else(deleted)
}

fn quota_of(line: &LogView) -> Markup {
    html! {
        @if line.delta.0 == 0 {
            span.muted { (show::NOTHING) }
        } @else { (show::count_moved(line.delta)) }
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

/// What the lines of the list add up to; of a time that is too long for that, which times are not.
async fn sums(visit: &Visit, filter: LogFilter) -> Result<Markup, AdminError> {
    let (state, lang) = (&visit.state, visit.lang());
    if filter.request_id.is_some() {
        return Ok(html! {});
    }
    if !period::is_summed(&filter, state.clock.now()) {
        let words = tell!(
            lang,
            "合计: 最多 {MAX_SUM_DAYS} 天, 请选择时间段: ",
            "Sums are of at most {MAX_SUM_DAYS} days. Choose a time: "
        );
        return Ok(html! { p.muted.small { (words) (period::choices(visit)) } });
    }
    match log::statistics(state, &visit.actor, !visit.is_admin(), &filter).await {
        Ok(sums) => Ok(sums_line(lang, &sums)),
        Err(AdminError::Field { zh, en, .. }) => {
            Ok(html! { p.muted.small { (lang.say("合计", "Sums")) ": " (lang.say(&zh, &en)) } })
        }
        Err(error) => Err(error),
    }
}

/// What the filtered lines moved, with the signs of the lines.
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
                (show::signed(sum.delta))
            }
        }
    }
}

/// The lines of a list as a table: the log's, or those of one type.
pub(super) fn export_address(visit: &Visit, of_type: Option<&str>) -> String {
    let asked = visit.asked.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let kept = asked.filter(|(name, _)| !["page", "p"].contains(name));
    let kept = kept.filter(|(name, _)| of_type.is_none() || *name != "type");
    address("/console/log/export", kept.chain(of_type.map(|of| ("type", of))))
}

/// The filters of a list in the words of the API.
fn filters_of_api(visit: &Visit) -> Result<Vec<(&str, String)>, AdminError> {
    let ours = ["from", "to", "page", "p"];
    let asked = visit.asked.iter().filter(|(name, _)| !ours.contains(&name.as_str()));
    let asked = asked.map(|(name, value)| (name.as_str(), value.clone()));
    Ok(asked.chain(LogPeriod::read(visit)?.of_api()).collect())
}

/// `GET /console/log/export`: the API's own table, which takes the same filters and session.
pub(crate) async fn export(Here(visit): Here) -> Handled {
    let path = if visit.is_admin() { "/api/log/export" } else { "/api/log/self/export" };
    let filters = filters_of_api(&visit)?;
    let pairs = filters.iter().map(|(name, value)| (*name, value.as_str()));
    Ok(go_to(&address(path, pairs)))
}
